"""How deep functions of a graph may call each other, and room for that on Python's own stack."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["RECURSION_MESSAGE", "deep_recursion", "recursion_limit"]

RECURSION_MESSAGE = "maximum recursion depth exceeded"

# Frames of Python that run one call of a graph's function, through branches and loops around the call. They take memory
# from the heap, not from the C stack.
_FRAMES = 48

_lock = threading.Lock()
_active = 0
_limit = 0


def recursion_limit() -> int:
    """How many calls of a program's functions may be in progress: as many as Python allows of its own.

    >>> recursion_limit() == sys.getrecursionlimit()
    True
    """
    return _limit if _active else sys.getrecursionlimit()


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Let a program that runs in Python itself make `recursion_limit()` calls, each of which takes many frames.

    The limit is the process's: it is raised while any thread is inside, and put back when the last one leaves.
    """
    global _active, _limit
    with _lock:
        if _active == 0:
            _limit = sys.getrecursionlimit()
            sys.setrecursionlimit(min(_limit * _FRAMES, 2**31 - 1))
        _active += 1
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if _active == 0:
                sys.setrecursionlimit(_limit)
