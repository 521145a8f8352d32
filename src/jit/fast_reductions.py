"""Whether reductions may be cut by threads, so that their rounding depends on how many there are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["are_reductions_fast", "fast_reductions"]

_allowed: ContextVar[bool | None] = ContextVar("fast_reductions", default=None)


@contextmanager
def fast_reductions(allowed: bool = True) -> Iterator[None]:
    """Let sums over everything be cut by threads, in what is traced, scripted, frozen or loaded inside.

    Otherwise they are cut into chunks by their sizes alone, and give the same bits on any number of threads. With
    this, a thread goes through its share in one run, with results whose last digits depend on the
    number of threads. `explain()` says where it is so. `INGOT_FAST_REDUCTIONS=1` does the same for a whole process.

    The gain is small, since chunks are long: a sum of 2^20 float32 takes 25.1 us in chunks and 24.7 us without on two
    threads, one of 2^24 the same time. Measured by `python -m timeit -s "import ingot; x = ingot.rand(1 << 20);
    f = ingot.jit.trace(lambda x: x.sum(), x)" "f(x)"`, with the variable and without.

    >>> with ingot.jit.fast_reductions():
    ...     total = ingot.jit.trace(lambda x: x.sum(), ingot.ones(100_000))
    >>> float(total(ingot.ones(100_000)))
    100000.0
    """
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def are_reductions_fast() -> bool:
    """Whether code that is generated now may cut reductions by threads."""
    allowed = _allowed.get()
    return os.environ.get("INGOT_FAST_REDUCTIONS", "0") == "1" if allowed is None else allowed
