"""The shortest way into a driver: one native function checks the tensors of a call, runs it, and makes the result.

A call of a small graph costs more than its work. Here everything between the callable and the driver is one function
in the form that the interpreter calls (`METH_FASTCALL`): the tensors' arrays are compared with what the plan is for
(dtype, sizes, contiguous and aligned memory), the result's array is made through numpy's C API, and its tensor too.
Where anything is not as expected it returns None, having done nothing, and the caller goes the long way.
"""

import ctypes
import functools
import os
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .call import function_object, interpreter_symbols
from .loader import provide_symbol
from .memory import (
    ARRAY_DATA_OFFSET,
    ARRAY_DESCR_OFFSET,
    ARRAY_FLAGS_OFFSET,
    ARRAY_LAYOUT_KNOWN,
    ARRAY_NDIM_OFFSET,
    ARRAY_SHAPE_OFFSET,
    Block,
)
from .support import filled, load_support

__all__ = ["MOST_RESULT_BYTES", "MOST_WORKSPACE_BYTES", "QuickPlan", "quick_call"]

# Where there is more memory to go through, a microsecond does not count.
MOST_WORKSPACE_BYTES, MOST_RESULT_BYTES = 1 << 20, 1 << 20
_MOST_SLOTS = 1024

_BYTES_OFFSET = bytes.__basicsize__ - 1
_TYPE_OFFSET = object.__basicsize__ - 8
# NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED (numpy's ndarraytypes.h)
_FLAGS = 0x0001 | 0x0100
# Where PyArray_NewFromDescr lies in numpy's table of functions (numpy_api.py, "multiarray_funcs_api"): a fixed place.
_NEW_FROM_DESCR = 94

Shape = tuple[int, ...]


class QuickPlan(NamedTuple):
    """What a quick call needs to know: addresses, numbers of slots, and arrays as (dtype, shape)."""

    driver: int
    plan: int
    generator: int
    descriptor: int
    pool_cell: int
    workspace: int  # bytes
    scratch_slots: int
    arguments: Sequence[tuple[np.dtype[Any], Shape]]
    result: tuple[np.dtype[Any], Shape]


# self is a bytes object: see `_described`. The frame is that of `frame`: eight slots, arguments, the result.
_TEMPLATE = """
declare void @ingot_Py_DecRef(ptr)
declare void @ingot_Py_IncRef(ptr)
declare void @ingot_PyErr_Clear()
declare void @ingot_PyEval_RestoreThread(ptr)
declare ptr @ingot_PyEval_SaveThread()
declare ptr @ingot_PyObject_GetAttr(ptr, ptr)
declare i32 @ingot_PyObject_SetAttr(ptr, ptr, ptr)
declare ptr @ingot_PyType_GenericAlloc(ptr, i64)
declare ptr @ingot_new_from_descr(ptr, ptr, i32, ptr, ptr, ptr, i32, ptr)
@ingot_ndarray = external global i8
@ingot_tensor = external global i8
@ingot_none = external global i8
@ingot_false = external global i8
@ingot_name_array = external global i8
@ingot_name_requires_grad = external global i8
@ingot_name_view = external global i8
@ingot_quick_block = external global i64

; Whether an attribute of an object is a given one.
define internal i1 @attribute_is(ptr %object, ptr %name, ptr %wanted) {
  %value = call ptr @ingot_PyObject_GetAttr(ptr %object, ptr %name)
  %missing = icmp eq ptr %value, null
  br i1 %missing, label %error, label %found
error:
  call void @ingot_PyErr_Clear()
  ret i1 false
found:
  call void @ingot_Py_DecRef(ptr %value)
  %same = icmp eq ptr %value, %wanted
  ret i1 %same
}

; Whether an array is as described: dtype, number of dimensions, sizes; contiguous and aligned.
define internal i1 @array_is(ptr %array, ptr %description) {
entry:
  %type_at = getelementptr i8, ptr %array, i64 $TYPE_OFFSET
  %type = load ptr, ptr %type_at, align 8
  %exact = icmp eq ptr %type, @ingot_ndarray
  br i1 %exact, label %look, label %no
look:
  %dtype_at = getelementptr i8, ptr %array, i64 $DESCR_OFFSET
  %dtype = load ptr, ptr %dtype_at, align 8
  %wanted_dtype = load ptr, ptr %description, align 1
  %same_dtype = icmp eq ptr %dtype, %wanted_dtype
  %flags_at = getelementptr i8, ptr %array, i64 $FLAGS_OFFSET
  %flags = load i32, ptr %flags_at, align 4
  %held = and i32 %flags, $FLAGS
  %good = icmp eq i32 %held, $FLAGS
  %ndim_at = getelementptr i8, ptr %array, i64 $NDIM_OFFSET
  %ndim = load i32, ptr %ndim_at, align 4
  %wanted_ndim_at = getelementptr i8, ptr %description, i64 8
  %wanted_ndim = load i64, ptr %wanted_ndim_at, align 1
  %wide_ndim = sext i32 %ndim to i64
  %same_ndim = icmp eq i64 %wide_ndim, %wanted_ndim
  %both = and i1 %same_dtype, %good
  %all = and i1 %both, %same_ndim
  br i1 %all, label %sizes, label %no
sizes:
  %shape_at = getelementptr i8, ptr %array, i64 $SHAPE_OFFSET
  %shape = load ptr, ptr %shape_at, align 8
  %wanted_sizes = getelementptr i8, ptr %description, i64 16
  br label %test
test:
  %k = phi i64 [ 0, %sizes ], [ %following, %size ]
  %more = icmp slt i64 %k, %wide_ndim
  br i1 %more, label %size, label %yes
size:
  %size_at = getelementptr i64, ptr %shape, i64 %k
  %size_value = load i64, ptr %size_at, align 8
  %wanted_at = getelementptr i64, ptr %wanted_sizes, i64 %k
  %wanted = load i64, ptr %wanted_at, align 1
  %following = add i64 %k, 1
  %equal = icmp eq i64 %size_value, %wanted
  br i1 %equal, label %test, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

define ptr @ingot_quick_call(ptr %self, ptr %arguments, i64 %count) {
entry:
  %about = getelementptr i8, ptr %self, i64 $BYTES_OFFSET
  %expected_at = getelementptr i64, ptr %about, i64 5
  %expected = load i64, ptr %expected_at, align 1
  %pool_cell_at = getelementptr i64, ptr %about, i64 4
  %pool_cell = load ptr, ptr %pool_cell_at, align 1
  %pool = load i64, ptr %pool_cell, align 8
  %right = icmp eq i64 %count, %expected
  %ready = icmp ne i64 %pool, 0
  %block = load i64, ptr @ingot_quick_block, align 8
  %free = icmp ne i64 %block, 0
  %possible = and i1 %right, %ready
  %start = and i1 %possible, %free
  br i1 %start, label %prepare, label %long_way
long_way:
  call void @ingot_Py_IncRef(ptr @ingot_none)
  ret ptr @ingot_none
prepare:
  %scratch_slots_at = getelementptr i64, ptr %about, i64 6
  %scratch_slots = load i64, ptr %scratch_slots_at, align 1
  %slots = add i64 %count, 9
  %arrays = alloca ptr, i64 %count, align 8
  %frame = alloca i64, i64 %slots, align 8
  %scratch = alloca i64, i64 %scratch_slots, align 64
  %call = alloca i64, i64 4, align 8
  %result_about = getelementptr i64, ptr %about, i64 7
  %result_ndim_at = getelementptr i64, ptr %about, i64 8
  %result_ndim = load i64, ptr %result_ndim_at, align 1
  %result_words = add i64 %result_ndim, 2
  %first_about = getelementptr i64, ptr %result_about, i64 %result_words
  br label %next
next:
  %i = phi i64 [ 0, %prepare ], [ %i_next, %good ]
  %described = phi ptr [ %first_about, %prepare ], [ %described_next, %good ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %argument, label %allocate
argument:
  %object_at = getelementptr ptr, ptr %arguments, i64 %i
  %object = load ptr, ptr %object_at, align 8
  %object_type_at = getelementptr i8, ptr %object, i64 $TYPE_OFFSET
  %object_type = load ptr, ptr %object_type_at, align 8
  %is_tensor = icmp eq ptr %object_type, @ingot_tensor
  br i1 %is_tensor, label %plain, label %give_up
plain:
  %no_grad = call i1 @attribute_is(ptr %object, ptr @ingot_name_requires_grad, ptr @ingot_false)
  br i1 %no_grad, label %whole, label %give_up
whole:
  %no_view = call i1 @attribute_is(ptr %object, ptr @ingot_name_view, ptr @ingot_none)
  br i1 %no_view, label %read, label %give_up
read:
  %array = call ptr @ingot_PyObject_GetAttr(ptr %object, ptr @ingot_name_array)
  %missing = icmp eq ptr %array, null
  br i1 %missing, label %no_array, label %keep
no_array:
  call void @ingot_PyErr_Clear()
  br label %give_up
keep:
  %kept_at = getelementptr ptr, ptr %arrays, i64 %i
  store ptr %array, ptr %kept_at, align 8
  %i_next = add i64 %i, 1
  %as_expected = call i1 @array_is(ptr %array, ptr %described)
  br i1 %as_expected, label %good, label %give_up
good:
  %data_at = getelementptr i8, ptr %array, i64 $DATA_OFFSET
  %data = load i64, ptr %data_at, align 8
  %slot_number = add i64 %i, 8
  %slot = getelementptr i64, ptr %frame, i64 %slot_number
  store i64 %data, ptr %slot, align 8
  %ndim_at = getelementptr i64, ptr %described, i64 1
  %ndim = load i64, ptr %ndim_at, align 1
  %words = add i64 %ndim, 2
  %described_next = getelementptr i64, ptr %described, i64 %words
  br label %next
give_up:
  %taken = phi i64 [ %i, %argument ], [ %i, %plain ], [ %i, %whole ], [ %i, %no_array ], [ %i_next, %keep ]
  call void @release(ptr %arrays, i64 %taken)
  br label %long_way
allocate:
  %result_dtype = load ptr, ptr %result_about, align 1
  call void @ingot_Py_IncRef(ptr %result_dtype)
  %result_sizes = getelementptr i64, ptr %result_about, i64 2
  %narrow_ndim = trunc i64 %result_ndim to i32
  %result = call ptr @ingot_new_from_descr(
      ptr @ingot_ndarray, ptr %result_dtype, i32 %narrow_ndim, ptr %result_sizes, ptr null, ptr null, i32 0, ptr null)
  %no_result = icmp eq ptr %result, null
  br i1 %no_result, label %out_of_memory, label %run
out_of_memory:
  call void @release(ptr %arrays, i64 %count)
  ret ptr null
run:
  %result_data_at = getelementptr i8, ptr %result, i64 $DATA_OFFSET
  %result_data = load i64, ptr %result_data_at, align 8
  %result_number = add i64 %count, 8
  %result_slot = getelementptr i64, ptr %frame, i64 %result_number
  store i64 %result_data, ptr %result_slot, align 8
  %plan_at = getelementptr i64, ptr %about, i64 1
  %plan = load i64, ptr %plan_at, align 1
  store i64 %plan, ptr %frame, align 8
  %frame1 = getelementptr i64, ptr %frame, i64 1
  store i64 %block, ptr %frame1, align 8
  %frame2 = getelementptr i64, ptr %frame, i64 2
  store i64 %pool, ptr %frame2, align 8
  %frame3 = getelementptr i64, ptr %frame, i64 3
  store i64 0, ptr %frame3, align 8
  %generator_at = getelementptr i64, ptr %about, i64 2
  %generator = load i64, ptr %generator_at, align 1
  %frame4 = getelementptr i64, ptr %frame, i64 4
  store i64 %generator, ptr %frame4, align 8
  %frame5 = getelementptr i64, ptr %frame, i64 5
  store i64 0, ptr %frame5, align 8
  %scratch_address = ptrtoint ptr %scratch to i64
  %frame6 = getelementptr i64, ptr %frame, i64 6
  store i64 %scratch_address, ptr %frame6, align 8
  %descriptor_at = getelementptr i64, ptr %about, i64 3
  %descriptor = load i64, ptr %descriptor_at, align 1
  store i64 %descriptor, ptr %call, align 8
  %call_address = ptrtoint ptr %call to i64
  %frame7 = getelementptr i64, ptr %frame, i64 7
  store i64 %call_address, ptr %frame7, align 8
  %driver = load ptr, ptr %about, align 1
  %frame_address = ptrtoint ptr %frame to i64
  store i64 0, ptr @ingot_quick_block, align 8
  %state = call ptr @ingot_PyEval_SaveThread()
  %status = call i64 %driver(i64 %frame_address)
  call void @ingot_PyEval_RestoreThread(ptr %state)
  store i64 %block, ptr @ingot_quick_block, align 8
  call void @release(ptr %arrays, i64 %count)
  %fine = icmp eq i64 %status, 0
  br i1 %fine, label %wrap, label %failed
failed:
  call void @ingot_Py_DecRef(ptr %result)
  br label %long_way
wrap:
  %tensor = call ptr @ingot_PyType_GenericAlloc(ptr @ingot_tensor, i64 0)
  %no_tensor = icmp eq ptr %tensor, null
  br i1 %no_tensor, label %lost, label %fill
lost:
  call void @ingot_Py_DecRef(ptr %result)
  ret ptr null
fill:
  %set = call i32 @ingot_PyObject_SetAttr(ptr %tensor, ptr @ingot_name_array, ptr %result)
  call void @ingot_Py_DecRef(ptr %result)
  %written = icmp eq i32 %set, 0
  br i1 %written, label %done, label %broken
broken:
  call void @ingot_Py_DecRef(ptr %tensor)
  ret ptr null
done:
  ret ptr %tensor
}

define internal void @release(ptr %arrays, i64 %count) {
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %following, %one ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %at = getelementptr ptr, ptr %arrays, i64 %i
  %array = load ptr, ptr %at, align 8
  call void @ingot_Py_DecRef(ptr %array)
  %following = add i64 %i, 1
  br label %test
done:
  ret void
}
"""


def quick_call(tensor: type, plan: QuickPlan, keep: object) -> Callable[..., Any] | None:
    """A function `(*tensors) -> tensor` that runs a driver without errors of its own on tensors of exact sizes.

    `tensor` is the class of tensors: their array is the attribute `_array`; with a true `_requires_grad` or with a
    `_view` they are not for this function, which then returns None, as it does for all other arguments. `keep` is what
    holds the memory of the plan. None where this interpreter, or the plan, is not for quick calls.
    """
    known = (*plan.arguments, plan.result)
    if plan.workspace > MOST_WORKSPACE_BYTES or plan.scratch_slots > _MOST_SLOTS or len(known) > _MOST_SLOTS:
        return None
    dtype, shape = plan.result
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > MOST_RESULT_BYTES or not _is_possible():
        return None
    address = _address(tensor)
    return function_object(address, _described(plan), (keep, *(d for d, _ in known)))


def _described(plan: QuickPlan) -> bytes:
    """Driver, plan, generator, descriptor, cell of the pool, number of arguments, slots; result and arguments."""
    words = [plan.driver, plan.plan, plan.generator, plan.descriptor, plan.pool_cell]
    words += [len(plan.arguments), max(plan.scratch_slots, 1)]
    for dtype, shape in (plan.result, *plan.arguments):
        words += [id(dtype), len(shape), *shape]
    return struct.pack(f"={len(words)}q", *words)


@functools.cache
def _new_from_descr() -> int:
    multiarray = sys.modules.get("numpy._core.multiarray") or sys.modules.get("numpy.core.multiarray")
    capsule = getattr(multiarray, "_ARRAY_API", None)
    if capsule is None:
        return 0
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = pointer(capsule, None)
    return (ctypes.c_size_t * (_NEW_FROM_DESCR + 1)).from_address(table)[_NEW_FROM_DESCR]


@functools.cache
def _is_possible() -> bool:
    gil: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if not ARRAY_LAYOUT_KNOWN or not gil() or not _new_from_descr():
        return False
    # The function makes an array as it is told, or the table is another one.
    kinds: list[Any] = [ctypes.py_object, ctypes.py_object, ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_int]
    kinds.append(ctypes.c_void_p)
    make = ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(_new_from_descr())
    dtype = np.dtype(np.float32)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dtype))
    made = make(np.ndarray, dtype, 2, ctypes.addressof((ctypes.c_int64 * 2)(3, 5)), None, None, 0, None)
    return type(made) is np.ndarray and made.shape == (3, 5) and made.dtype is dtype and made.flags.c_contiguous


# Scratch memory of the call in progress, 0 while one has it; calls at the same time, or within, go the long way.
_block_cell = ctypes.c_int64(0)


@functools.cache
def _block() -> Block:
    return Block(MOST_WORKSPACE_BYTES)


def _give_back() -> None:
    """In a new process nobody has the memory, whatever another thread was doing at the fork."""
    if _block_cell.value == 0 and _block.cache_info().currsize:
        _block_cell.value = _block().address


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_back)


@functools.cache
def _address(tensor: type) -> int:
    names = [sys.intern(name) for name in ("_array", "_requires_grad", "_view")]
    _block_cell.value = _block().address
    objects: dict[str, Any] = {
        "ingot_tensor": tensor,
        "ingot_none": None,
        "ingot_false": False,
        **{f"ingot_name{name}": name for name in names},
    }
    for symbol, thing in objects.items():
        # Native code refers to it for ever.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
        provide_symbol(symbol, functools.partial(id, thing))
    provide_symbol("ingot_ndarray", lambda: id(np.ndarray))
    provide_symbol("ingot_quick_block", lambda: ctypes.addressof(_block_cell))
    provide_symbol("ingot_new_from_descr", _new_from_descr)
    interpreter_symbols(
        "Py_DecRef", "Py_IncRef", "PyErr_Clear", "PyEval_RestoreThread", "PyEval_SaveThread", "PyObject_GetAttr",
        "PyObject_SetAttr", "PyType_GenericAlloc",
    )  # fmt: skip
    text = filled(
        _TEMPLATE,
        BYTES_OFFSET=_BYTES_OFFSET,
        TYPE_OFFSET=_TYPE_OFFSET,
        DATA_OFFSET=ARRAY_DATA_OFFSET,
        DESCR_OFFSET=ARRAY_DESCR_OFFSET,
        FLAGS_OFFSET=ARRAY_FLAGS_OFFSET,
        NDIM_OFFSET=ARRAY_NDIM_OFFSET,
        SHAPE_OFFSET=ARRAY_SHAPE_OFFSET,
        FLAGS=_FLAGS,
    )
    return load_support(text, ["ingot_quick_call"])["ingot_quick_call"]
