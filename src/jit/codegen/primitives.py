"""Addresses, slots and pointers for generated kernels: each has a Numba form and a plain Python form.

A kernel gets the address of a table of 8-byte slots (see docs/architecture.md, "Kernel ABI"). These functions read the
slots and turn addresses into indexable pointers. Called from compiled code they are a few instructions (typed and
lowered directly, so that they add nothing to compile time); called from Python they go through ctypes and numpy on the
same memory, so that generated source runs under a debugger.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

_I64 = ir.IntType(64)
# How far an un-jitted pointer can be indexed: numpy needs some extent; the kernel's own loops keep to the real one.
_PYTHON_EXTENT_BYTES = 1 << 40


def _view(address: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """A one-dimensional numpy array that starts at `address` and has no useful end."""

    class Memory:
        def __init__(self) -> None:
            self.__array_interface__ = {
                "shape": (_PYTHON_EXTENT_BYTES // dtype.itemsize,),
                "typestr": dtype.str,
                "data": (int(address), False),
                "version": 3,
            }

    return np.asarray(Memory())


_checked = threading.local()


@contextmanager
def check_bounds(regions: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Let pointers into these regions (address, bytes), made by un-jitted code of this thread, check every index.

    IndexError for an element outside; pointers to other memory (the stack, the arena) are not checked.
    """
    previous = getattr(_checked, "regions", ())
    _checked.regions = [(address, address + count) for address, count in regions]
    try:
        yield
    finally:
        _checked.regions = previous


class _CheckedPointer:
    """A pointer of un-jitted code that refuses elements outside the memory that it points into."""

    __slots__ = ("first", "last", "values")

    def __init__(self, values: np.ndarray[Any, Any], first: int, last: int) -> None:
        self.values, self.first, self.last = values, first, last

    def inside(self, index: int) -> int:
        if not self.first <= index < self.last:
            raise IndexError(
                f"a generated kernel uses element {index} of memory that has elements {self.first} to {self.last - 1}"
            )
        return index

    def __getitem__(self, index: int) -> Any:
        return self.values[self.inside(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self.values[self.inside(index)] = value


def _pointer_into(address: int, dtype: np.dtype[Any]) -> Any:
    """A pointer of un-jitted code, checked where its memory is known."""
    found = [r for r in getattr(_checked, "regions", ()) if r[0] <= address < r[1]]
    view = _view(address, dtype)
    if not found:
        return view
    first, last = min(r[0] for r in found), max(r[1] for r in found)
    size = dtype.itemsize
    # Elements in front of the address have negative places, which numpy would count from the end.
    before = (address - first) // size
    if not before:
        return _CheckedPointer(view, 0, (last - address) // size)
    return _Shifted(_view(address - before * size, dtype), -before, (last - address) // size)


class _Shifted(_CheckedPointer):
    """A checked pointer into the middle of its memory."""

    __slots__ = ()

    def inside(self, index: int) -> int:
        return super().inside(index) - self.first


def _make_pointer(name: str, dtype: str, numba_type: Any, llvm_type: ir.Type) -> Callable[[int], Any]:
    numpy_dtype = np.dtype(dtype)

    def pointer(address: int) -> Any:
        return _pointer_into(address, numpy_dtype)

    pointer.__name__ = pointer.__qualname__ = name
    pointer.__doc__ = f"The address as a pointer to {dtype}: `pointer[i]` reads and writes element i, unchecked."

    @type_callable(pointer)  # type: ignore[untyped-decorator]
    def typing(context: Any) -> Any:
        return lambda address: types.CPointer(numba_type)

    @lower_builtin(pointer, types.Integer)  # type: ignore[untyped-decorator]
    def lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], llvm_type.as_pointer())

    return pointer


pointer_f32 = _make_pointer("pointer_f32", "float32", types.float32, ir.FloatType())
pointer_f64 = _make_pointer("pointer_f64", "float64", types.float64, ir.DoubleType())
pointer_i8 = _make_pointer("pointer_i8", "int8", types.int8, ir.IntType(8))
pointer_u8 = _make_pointer("pointer_u8", "uint8", types.uint8, ir.IntType(8))
pointer_i16 = _make_pointer("pointer_i16", "int16", types.int16, ir.IntType(16))
pointer_i32 = _make_pointer("pointer_i32", "int32", types.int32, ir.IntType(32))
pointer_i64 = _make_pointer("pointer_i64", "int64", types.int64, _I64)


def slot_i64(table: int, index: int) -> int:
    """Slot `index` of the table at address `table`, as a 64-bit integer (an address, a size or a stride)."""
    return ctypes.c_int64.from_address(table + 8 * index).value


def slot_f64(table: int, index: int) -> float:
    """Slot `index` of the table at address `table`, as a float64."""
    return ctypes.c_double.from_address(table + 8 * index).value


def set_slot_i64(table: int, index: int, value: int) -> None:
    """Write a 64-bit integer into slot `index` of the table at address `table`."""
    ctypes.c_int64.from_address(table + 8 * index).value = value


def set_slot_f64(table: int, index: int, value: float) -> None:
    """Write a float64 into slot `index` of the table at address `table`."""
    ctypes.c_double.from_address(table + 8 * index).value = value


def _lower_slot_access(
    read: Callable[..., Any], write: Callable[..., Any], numba_type: Any, llvm_type: ir.Type
) -> None:
    def slot_pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, index = (
            context.cast(builder, value, given, types.int64)
            for value, given in zip(arguments[:2], signature.args[:2], strict=True)
        )
        return builder.gep(builder.inttoptr(table, llvm_type.as_pointer()), [index])

    @type_callable(read)  # type: ignore[untyped-decorator]
    def read_typing(context: Any) -> Any:
        return lambda table, index: numba_type

    @lower_builtin(read, types.Integer, types.Integer)  # type: ignore[untyped-decorator]
    def read_lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(slot_pointer(context, builder, signature, arguments))

    @type_callable(write)  # type: ignore[untyped-decorator]
    def write_typing(context: Any) -> Any:
        return lambda table, index, value: types.void

    @lower_builtin(write, types.Integer, types.Integer, types.Number)  # type: ignore[untyped-decorator]
    def write_lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[2], signature.args[2], numba_type)
        builder.store(value, slot_pointer(context, builder, signature, arguments))
        return context.get_dummy_value()


_lower_slot_access(slot_i64, set_slot_i64, types.int64, _I64)
_lower_slot_access(slot_f64, set_slot_f64, types.float64, ir.DoubleType())
