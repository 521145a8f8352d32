"""The default generator of random numbers, as `torch.random`."""

import contextlib
from collections.abc import Iterator
from typing import Any

from .eager.random import get_rng_state, initial_seed, manual_seed, seed, set_rng_state

__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """Draw what one likes inside: afterwards the generator is where it was.

    >>> _ = ingot.manual_seed(0)
    >>> with ingot.random.fork_rng():
    ...     first = ingot.rand(1)
    >>> bool(ingot.rand(1) == first)
    True
    """
    if not enabled:
        yield
        return
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
