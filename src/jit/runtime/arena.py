"""The arena of one call, for memory whose size is known at run time only: a doubly linked list of `malloc`ed blocks.

Native drivers allocate and release blocks themselves (see `codegen.calls`); the same operations are here in Python, for
un-jitted drivers, and `clear`, which frees what a call left behind.
"""

import contextlib
import ctypes
import sys
from collections.abc import Sequence
from typing import Any

# A block is preceded by a header of this size (three of its slots are used: raw address, next block, previous block),
# which keeps the block itself aligned to a cache line.
ARENA_HEADER = 64


def _c_library() -> Any:
    return ctypes.CDLL("ucrtbase") if sys.platform == "win32" else ctypes.CDLL(None)


_library = _c_library()
_malloc = _library.malloc
_malloc.argtypes = [ctypes.c_size_t]
_malloc.restype = ctypes.c_void_p
_free = _library.free
_free.argtypes = [ctypes.c_void_p]
_free.restype = None

copy_memory = ctypes.memmove  # ctypes has no memcpy, and the difference is none that a caller could see
move_memory = ctypes.memmove
fill_memory = ctypes.memset


def _read(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _write(address: int, value: int) -> None:
    ctypes.c_int64.from_address(address).value = value


def write_slots(address: int, values: Sequence[int]) -> None:
    """Write 64-bit integers one after the other."""
    block = (ctypes.c_int64 * len(values))(*values)
    ctypes.memmove(address, block, ctypes.sizeof(block))


def allocate(arena: int, nbytes: int) -> int:
    """A new block in the arena whose handle is at address `arena`; 0 when out of memory."""
    raw = _malloc(nbytes + 2 * ARENA_HEADER)
    if not raw:
        return 0
    block = (raw + 2 * ARENA_HEADER - 1) // ARENA_HEADER * ARENA_HEADER
    header = block - ARENA_HEADER
    first = _read(arena)
    for index, value in enumerate((raw, first, 0)):
        _write(header + 8 * index, value)
    if first:
        _write(first - ARENA_HEADER + 16, block)
    _write(arena, block)
    return int(block)


def release(arena: int, block: int) -> None:
    """Free one block."""
    header = block - ARENA_HEADER
    raw, following, previous = (_read(header + 8 * index) for index in range(3))
    _write(previous - ARENA_HEADER + 8 if previous else arena, following)
    if following:
        _write(following - ARENA_HEADER + 16, previous)
    _free(raw)


def clear(arena: int) -> None:
    """Free every block."""
    block = _read(arena)
    _write(arena, 0)
    while block:
        raw, block = _read(block - ARENA_HEADER), _read(block - ARENA_HEADER + 8)
        _free(raw)


class Arena:
    """An arena handle as a context manager: `with Arena() as handle:` frees every block at the end.

    >>> with Arena() as handle:
    ...     allocate(handle, 100) % 64
    0
    """

    def __init__(self) -> None:
        self._handle = ctypes.c_int64(0)
        self.address = ctypes.addressof(self._handle)

    def __enter__(self) -> int:
        return self.address

    def __exit__(self, *exception: object) -> None:
        clear(self.address)

    def __del__(self) -> None:
        with contextlib.suppress(TypeError):  # at interpreter shutdown the functions may be gone
            clear(self.address)
