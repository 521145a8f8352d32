"""Who runs compiled callables: native code, the same generated sources as plain Python, or the interpreter.

The default is `INGOT_EXECUTOR` as it was at the first call, or native; `executor(name)` changes it for a thread.
"""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["EXECUTORS", "current_executor", "executor"]

EXECUTORS = ("native", "interpreter", "python")

_local = threading.local()
_lock = threading.Lock()
# How many contexts are active over all threads.
_active = 0
# While there are none, and the environment asks for no other executor, calls need not look further.
plain = os.environ.get("INGOT_EXECUTOR") in (None, "", "native")


def _checked(name: object, where: str) -> str:
    if name not in EXECUTORS:
        raise ValueError(f"{where}: {name!r} is not an executor, expected one of {', '.join(EXECUTORS)}")
    return str(name)


@functools.cache  # reading the environment takes longer than a small compiled call
def _from_environment() -> str:
    return _checked(os.environ.get("INGOT_EXECUTOR") or "native", "INGOT_EXECUTOR")


def current_executor() -> str:
    """The executor that runs compiled callables in this thread: "native", "interpreter" or "python"."""
    name: str | None = getattr(_local, "name", None)
    return name if name is not None else _from_environment()


@contextmanager
def executor(name: str) -> Iterator[None]:
    """Choose who runs compiled callables in this thread: "native", "interpreter" or "python".

    "python" runs the generated kernels un-jitted, for a debugger; "interpreter" is the reference. ValueError for
    another name.

    >>> from ingot import jit
    >>> with jit.executor("interpreter"):
    ...     jit.current_executor()
    'interpreter'
    """
    _checked(name, "executor")
    previous = getattr(_local, "name", None)
    _count(1)
    _local.name = name
    try:
        yield
    finally:
        _local.name = previous
        _count(-1)


def _count(change: int) -> None:
    global _active, plain
    with _lock:
        _active += change
        plain = not _active and os.environ.get("INGOT_EXECUTOR") in (None, "", "native")
