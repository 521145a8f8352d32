"""Whether convolutions may be computed by Winograd's method, which rounds differently from the direct form."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["is_winograd_allowed", "winograd"]

_allowed: ContextVar[bool | None] = ContextVar("winograd", default=None)


@contextmanager
def winograd(allowed: bool) -> Iterator[None]:
    """Allow or forbid Winograd's method in what is traced, scripted, frozen or loaded inside.

    3x3 convolutions with constant weights use it: it needs 4 (for large weights) or 2.25 products instead of 9, and
    rounds up to about ten times as much as the direct form; `explain()` says where it is used. It is allowed unless the
    environment has `INGOT_WINOGRAD=0`.

    >>> with ingot.jit.winograd(False):
    ...     layer = ingot.jit.freeze(ingot.jit.trace(ingot.nn.Conv2d(16, 16, 3).eval(), ingot.ones(1, 16, 5, 5)))
    >>> layer(ingot.ones(1, 16, 5, 5)).shape
    ingot.Size([1, 16, 3, 3])
    """
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def is_winograd_allowed() -> bool:
    """Whether code that is generated now may use it."""
    allowed = _allowed.get()
    return os.environ.get("INGOT_WINOGRAD", "1") != "0" if allowed is None else allowed
