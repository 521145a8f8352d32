"""A bound on the work that reading a text from elsewhere may take, so that no file can keep its reader busy."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["TooMuchWork", "limited_work", "spend"]


class TooMuchWork(ValueError):
    """What is read takes more work than the reader allows."""


class _Local(threading.local):
    deadline: float | None = None


_local = _Local()


@contextmanager
def limited_work(seconds: float) -> Iterator[None]:
    """Let what is read in here take so much time of this thread's CPU; then `spend` raises TooMuchWork."""
    previous = _local.deadline
    _local.deadline = time.thread_time() + seconds
    try:
        yield
    finally:
        _local.deadline = previous


def spend() -> None:
    """Say that another piece of work is about to be done; called wherever a text decides how much there is."""
    if _local.deadline is not None and time.thread_time() > _local.deadline:
        raise TooMuchWork("reading it takes longer than is allowed for a file from elsewhere")
