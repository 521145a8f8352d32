"""Memory of native code: where a numpy array's data lies, scratch memory to borrow, and recycled result arrays."""

import ctypes
import math
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]]
# Memory of the recycler: an array of bytes, and the offset of the first aligned one.
_Base = tuple[_Array, int]

# One cache line, and one AVX-512 register.
ALIGNMENT = 64

# The fields of numpy's PyArrayObject, as offsets from id(array): public C layout (`PyArrayObject_fields` in numpy's
# ndarraytypes.h), after the object header, whose size Python tells. Native code reads them without a Python call.
ARRAY_DATA_OFFSET = object.__basicsize__
ARRAY_NDIM_OFFSET = ARRAY_DATA_OFFSET + 8  # a C int
ARRAY_SHAPE_OFFSET = ARRAY_DATA_OFFSET + 16  # a pointer to ndim int64
ARRAY_STRIDES_OFFSET = ARRAY_DATA_OFFSET + 24  # a pointer to ndim int64, in bytes
ARRAY_BASE_OFFSET = ARRAY_DATA_OFFSET + 32
ARRAY_DESCR_OFFSET = ARRAY_DATA_OFFSET + 40
ARRAY_FLAGS_OFFSET = ARRAY_DATA_OFFSET + 48  # a C int


def _layout_matches(array: _Array) -> bool:
    start = id(array)
    if ctypes.c_int.from_address(start + ARRAY_NDIM_OFFSET).value != array.ndim:
        return False
    shape_at = ctypes.c_void_p.from_address(start + ARRAY_SHAPE_OFFSET).value or 0
    strides_at = ctypes.c_void_p.from_address(start + ARRAY_STRIDES_OFFSET).value or 0
    vector = ctypes.c_int64 * array.ndim
    return (
        (ctypes.c_void_p.from_address(start + ARRAY_DATA_OFFSET).value or 0) == array.ctypes.data
        and (array.ndim == 0 or tuple(vector.from_address(shape_at)) == array.shape)
        and (array.ndim == 0 or tuple(vector.from_address(strides_at)) == array.strides)
        and (ctypes.c_void_p.from_address(start + ARRAY_BASE_OFFSET).value or id(None)) == id(array.base)
        and ctypes.c_void_p.from_address(start + ARRAY_DESCR_OFFSET).value == id(array.dtype)
        and ctypes.c_int.from_address(start + ARRAY_FLAGS_OFFSET).value & 0x0707 == array.flags.num & 0x0707
    )


def _layout_is_known() -> bool:
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    # An ndarray without a subclass is at least as long as its last field that is read here; else reading it is unsafe.
    if np.ndarray.__basicsize__ < ARRAY_FLAGS_OFFSET + 4:
        return False
    base = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    samples: list[_Array] = [
        base,
        base[1:, ::-2, 2:3],
        base.T,
        np.zeros(()),
        np.zeros((0, 7), np.int8),
        base.ravel()[1:],
    ]
    return all(_layout_matches(sample) for sample in samples)


# Whether the offsets above are right in this process; where False, native code must be given addresses and sizes.
ARRAY_LAYOUT_KNOWN = _layout_is_known()


_size_at = ctypes.c_size_t.from_address


def address_of(array: _Array) -> int:
    """The address of the array's first element; valid while the array lives. Raises TypeError for anything else.

    It takes a fifth of the time of `array.ctypes.data`.

    >>> x = np.arange(10.0)
    >>> address_of(x[3:]) - address_of(x)
    24
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"address_of: expected a numpy array, got {type(array).__name__}")
    if ARRAY_LAYOUT_KNOWN:
        return _size_at(id(array) + ARRAY_DATA_OFFSET).value
    return array.ctypes.data


class Block:
    """Scratch memory: `capacity` bytes at `address`, which is a multiple of 64; it lives as long as this object."""

    __slots__ = ("_memory", "address", "capacity")

    def __init__(self, capacity: int) -> None:
        self._memory = np.empty(capacity + ALIGNMENT, np.uint8)
        self.address = -(-address_of(self._memory) // ALIGNMENT) * ALIGNMENT
        self.capacity = capacity


class Workspace:
    """Scratch memory that calls borrow: concurrent and nested calls get different blocks, and blocks are used again.

    In the steady state of one caller, `acquire` returns the same warm block every time: no allocation, no page faults.

    >>> workspace = Workspace()
    >>> block = workspace.acquire(1000)
    >>> block.address % 64, block.capacity >= 1000
    (0, True)
    >>> workspace.release(block)
    """

    def __init__(self) -> None:
        # Appending to a list and popping from it are atomic, which is all the locking that is needed.
        self._free: list[Block] = []

    def acquire(self, nbytes: int) -> Block:
        """Borrow a block of at least `nbytes` bytes, contents undefined; give it back with `release`."""
        try:
            block = self._free.pop()
        except IndexError:
            return Block(_rounded(nbytes))
        if block.capacity < nbytes:
            # The small one goes: the next callers of its size fit into the large one.
            block = Block(_rounded(nbytes))
        return block

    def release(self, block: Block) -> None:
        """Give a borrowed block back; its memory may be handed out again at once."""
        self._free.append(block)

    def trim(self) -> None:
        """Return the memory of all blocks that nobody has borrowed to the system."""
        self._free.clear()


class ArrayRecycler:
    """Makes large result arrays from the memory of earlier ones that are garbage by now.

    glibc's allocator hands memory above 32 MiB back to the system at once, and the page faults of the next allocation
    can cost more than the kernel that fills it (64 MiB: 7.1 ms against 2.0 ms). Below `smallest` bytes `numpy.empty`,
    which is 1 us faster where memory is at hand, is used.

    The memory of an array belongs to a hidden base array, to which every view of it refers. When nothing but the
    recycler refers to the base, the array and all its views are gone, and the memory is used again. At most `limit`
    bytes are remembered.

    >>> recycler = ArrayRecycler()
    >>> result = recycler.empty((2048, 1024), np.dtype(np.float32))
    >>> result.shape, address_of(result) % 64
    ((2048, 1024), 0)
    """

    def __init__(self, limit: int = 1 << 28, smallest: int = 1 << 22) -> None:
        self.limit = limit
        self.smallest = smallest
        self._lock = threading.Lock()
        self._remembered = 0
        # By size class, the least recently handed out first.
        self._bases: dict[int, deque[_Base]] = {}
        # Reference counts tell nothing without the global interpreter lock.
        gil: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
        self._enabled = sys.implementation.name == "cpython" and gil()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Array:
        """A C-contiguous array of undefined contents; aligned to 64 bytes if it has at least `smallest` bytes."""
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < self.smallest:
            return np.empty(shape, dtype)
        size = _rounded(nbytes)
        bases = self._bases.get(size)
        if bases is not None and (array := self._reuse(bases, shape, dtype)) is not None:
            return array
        return self._create(shape, dtype, size)

    def _reuse(self, bases: "deque[_Base]", shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Array | None:
        """An array over a base that nobody uses, if one of those looked at is free."""
        busy: list[_Base] = []
        # What was handed out last is the likeliest to be in the caches, and after it what was handed out longest ago is
        # the likeliest to be free; looking at all could take long.
        for newest in (True, True, True, False, False):
            try:
                item = bases.pop() if newest else bases.popleft()
            except IndexError:
                break  # none is left, or another thread was faster
            # Popped, it is this thread's alone until it is put back, and by then the new array refers to it.
            if _references(item) == _ALONE:
                array: _Array = np.ndarray(shape, dtype, buffer=item[0], offset=item[1])
                bases.extend(reversed(busy))
                bases.append(item)
                return array
            busy.append(item)
        bases.extend(reversed(busy))
        return None

    def trim(self) -> None:
        """Forget all memory; what is not in use goes back to the system."""
        with self._lock:
            self._bases.clear()
            self._remembered = 0

    def _create(self, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> _Array:
        try:
            base = np.empty(size + ALIGNMENT, np.uint8)
        except MemoryError:
            self.trim()
            base = np.empty(size + ALIGNMENT, np.uint8)
        item = (base, -address_of(base) % ALIGNMENT)
        array: _Array = np.ndarray(shape, dtype, buffer=base, offset=item[1])
        if self._enabled and size <= self.limit:
            with self._lock:
                self._forget_until(self.limit - size)
                self._bases.setdefault(size, deque()).append(item)
                self._remembered += size
        return array

    def _forget_until(self, limit: int) -> None:
        # Forgetting memory that is in use is harmless: it returns to the system when its array goes.
        for size, bases in list(self._bases.items()):
            while self._remembered > limit:
                try:
                    bases.popleft()
                except IndexError:
                    del self._bases[size]
                    break
                self._remembered -= size


def _rounded(nbytes: int) -> int:
    """`nbytes` rounded up to one of eight sizes per power of two (and to whole cache lines), so that sizes repeat."""
    step = max(1 << max(nbytes.bit_length() - 4, 0), ALIGNMENT)
    return -(-nbytes // step) * step


def _references(item: _Base) -> int:
    return sys.getrefcount(item[0])


# What `_references` says of a base that nothing else refers to: it depends on the version of Python.
_ALONE = _references((np.empty(1, np.uint8), 0))

# Shared by all programs: blocks move between them.
workspace = Workspace()
recycler = ArrayRecycler()
