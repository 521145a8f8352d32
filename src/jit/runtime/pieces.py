"""Large parts in pieces, which several threads check."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from .cpus import available_cpus

__all__ = ["PIECE_BYTES", "in_threads", "piece_digests"]

PIECE_BYTES = 1 << 20

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """What `work` gives for each item, in order; several threads take items in turn.

    The first error of an item is raised when all threads are done.

    >>> in_threads(len, ["a", "bc"])
    [1, 2]
    """
    results: dict[int, _Result] = {}
    errors: list[BaseException] = []
    remaining = iter(enumerate(items))
    lock = threading.Lock()

    def run() -> None:
        while not errors:
            with lock:
                entry = next(remaining, None)
            if entry is None:
                return
            try:
                results[entry[0]] = work(entry[1])
            except BaseException as error:
                errors.append(error)

    helpers = [threading.Thread(target=run) for _ in range(min(available_cpus(), len(items)) - 1)]
    for helper in helpers:
        helper.start()
    run()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]


def piece_digests(part: bytes | memoryview) -> list[bytes]:
    """The SHA-256 of each piece."""
    view = memoryview(part)
    return in_threads(
        lambda start: hashlib.sha256(view[start : start + PIECE_BYTES]).digest(), range(0, len(view), PIECE_BYTES)
    )
