"""Large arrays in parts, one a thread: numpy computes without the interpreter's lock, but on one thread only."""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["LARGE", "binary", "in_parts", "set_thread_source", "unary"]

# Elements from which on sharing pays: waking a thread takes some 50 us, in which numpy adds 50,000 numbers.
LARGE = 1 << 18


def _one() -> int:
    return 1


_threads: Callable[[], int] = _one
_pool: "ThreadPoolExecutor | None" = None
_pool_size = 0
_lock = threading.Lock()


def set_thread_source(count: Callable[[], int]) -> None:
    """Say who knows how many threads there may be (`ingot.get_num_threads`, which this package must not import)."""
    global _threads
    _threads = count


def _forget_pool() -> None:
    """A forked process has the pool, but not its threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def in_parts(work: Callable[[int, int], Any], size: int) -> list[Any]:
    """`work(first, end)` for consecutive parts of [0, size), at the same time, and what each returned, in order."""
    global _pool, _pool_size
    count = min(_threads(), size // (LARGE // 2))
    if count < 2:
        return [work(0, size)]
    from concurrent.futures import ThreadPoolExecutor  # it takes 5 ms to import, which starting a program need not pay

    with _lock:
        if _pool is None or _pool_size < count - 1:
            _pool, _pool_size = ThreadPoolExecutor(count - 1, "ingot-eager"), count - 1
        pool = _pool
    step = -(-size // count)
    others = [pool.submit(work, first, min(first + step, size)) for first in range(step, size, step)]
    return [work(0, step), *[other.result() for other in others]]


def unary(call: Callable[..., Any], ufunc: Any, x: Any) -> Any:
    """`ufunc(x)` of a contiguous array, of its own dtype."""
    result = np.empty(x.shape, x.dtype)
    source, into = x.reshape(-1), result.reshape(-1)
    in_parts(lambda a, b: call(ufunc, source[a:b], into[a:b]), x.size)
    return result


def _write(ufunc: Any, x: Any, y: Any, out: Any) -> None:
    ufunc(x, y, out=out)  # by name: numpy deprecates a third argument of maximum and minimum


def binary(call: Callable[..., Any], ufunc: Any, x: Any, y: Any) -> Any:
    """`ufunc(x, y)` of contiguous arrays of one shape and dtype, which the result has too."""
    result = np.empty(x.shape, x.dtype)
    left, right, into = x.reshape(-1), y.reshape(-1), result.reshape(-1)
    in_parts(lambda a, b: call(_write, ufunc, left[a:b], right[a:b], into[a:b]), x.size)
    return result
