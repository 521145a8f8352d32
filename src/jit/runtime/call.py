"""Calling native code from Python: function objects that unpack arguments in native code and release the GIL.

ctypes takes 0.2 us for a call with one argument and 1 us with eight; this takes 0.05 and 0.09. LLVM compiles, once per
process, one C function in the form that the interpreter itself calls (`METH_FASTCALL`), and every entry is a built-in
function object around it. Only the stable C API is used, besides the layouts of `PyObject`, `bytes` and numpy arrays,
which are checked; where they differ from what is known, ctypes does the work.
"""

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from .loader import provide_symbol
from .memory import ARRAY_DATA_OFFSET, ARRAY_LAYOUT_KNOWN, address_of
from .support import filled, load_support

# How an argument becomes a 64-bit slot.
KINDS = {
    "a": "a numpy array: the address of the array object itself (native code reads its fields)",
    "p": "a numpy array: the address of its first element",
    "i": "an int",
    "f": "a float: its bits",
}
MAX_ARGUMENTS = 1024
# More than this many arguments are passed in a table.
MAX_VALUES = 8

_CODES = {kind: code for code, kind in enumerate(KINDS)}
_METH_FASTCALL = 0x80
_BYTES_OFFSET = bytes.__basicsize__ - 1
_TYPE_OFFSET = object.__basicsize__ - 8

_TEMPLATE = """
declare ptr @ingot_PyErr_Format(ptr, ptr, ...)
declare ptr @ingot_PyErr_Occurred()
declare void @ingot_PyEval_RestoreThread(ptr)
declare ptr @ingot_PyEval_SaveThread()
declare double @ingot_PyFloat_AsDouble(ptr)
declare i64 @ingot_PyLong_AsLongLong(ptr)
declare ptr @ingot_PyLong_FromLongLong(i64)
declare i32 @ingot_PyType_IsSubtype(ptr, ptr)
@ingot_PyExc_TypeError = external global ptr
@ingot_ndarray = external global i8

@count_message = internal constant [57 x i8] c"native entry: expected %zd positional arguments, got %zd\\00"
@array_message = internal constant [57 x i8] c"native entry: argument %zd must be a numpy array, not %s\\00"

; self is a bytes object: the entry's address, how many arguments, whether they are passed in a table, a kind for each.
define ptr @ingot_fastcall(ptr %self, ptr %arguments, i64 %count) {
entry:
  %descriptor = getelementptr i8, ptr %self, i64 $BYTES_OFFSET
  %target = load ptr, ptr %descriptor, align 1
  %expected_at = getelementptr i8, ptr %descriptor, i64 8
  %expected = load i64, ptr %expected_at, align 1
  %in_table_at = getelementptr i8, ptr %descriptor, i64 16
  %in_table = load i64, ptr %in_table_at, align 1
  %kinds = getelementptr i8, ptr %descriptor, i64 24
  %right = icmp eq i64 %count, %expected
  br i1 %right, label %start, label %wrong_count
wrong_count:
  %type_error = load ptr, ptr @ingot_PyExc_TypeError, align 8
  %ignored = call ptr (ptr, ptr, ...) @ingot_PyErr_Format(
      ptr %type_error, ptr @count_message, i64 %expected, i64 %count)
  ret ptr null
start:
  %table = alloca i64, i64 %count, align 8
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %argument, label %call
argument:
  %i = phi i64 [ 0, %start ], [ %following, %store ]
  %object_at = getelementptr ptr, ptr %arguments, i64 %i
  %object = load ptr, ptr %object_at, align 8
  %kind_at = getelementptr i8, ptr %kinds, i64 %i
  %kind = load i8, ptr %kind_at, align 1
  switch i8 %kind, label %array [ i8 2, label %integer i8 3, label %float ]
array:
  %type_at = getelementptr i8, ptr %object, i64 $TYPE_OFFSET
  %type = load ptr, ptr %type_at, align 8
  %exact = icmp eq ptr %type, @ingot_ndarray
  br i1 %exact, label %is_array, label %check_subclass
check_subclass:
  %subclass = call i32 @ingot_PyType_IsSubtype(ptr %type, ptr @ingot_ndarray)
  %is_subclass = icmp ne i32 %subclass, 0
  br i1 %is_subclass, label %is_array, label %not_array
not_array:
  %type_error_too = load ptr, ptr @ingot_PyExc_TypeError, align 8
  %name_at = getelementptr i8, ptr %type, i64 $TYPE_NAME_OFFSET
  %name = load ptr, ptr %name_at, align 8
  %ignored_too = call ptr (ptr, ptr, ...) @ingot_PyErr_Format(
      ptr %type_error_too, ptr @array_message, i64 %i, ptr %name)
  ret ptr null
is_array:
  %whole = icmp eq i8 %kind, 0
  br i1 %whole, label %array_object, label %array_data
array_object:
  %object_value = ptrtoint ptr %object to i64
  br label %store
array_data:
  %data_at = getelementptr i8, ptr %object, i64 $ARRAY_DATA_OFFSET
  %data_value = load i64, ptr %data_at, align 8
  br label %store
integer:
  %integer_value = call i64 @ingot_PyLong_AsLongLong(ptr %object)
  %maybe_error = icmp eq i64 %integer_value, -1
  br i1 %maybe_error, label %check_error, label %store
float:
  %number = call double @ingot_PyFloat_AsDouble(ptr %object)
  %float_value = bitcast double %number to i64
  %maybe_float_error = fcmp oeq double %number, -1.0
  br i1 %maybe_float_error, label %check_error, label %store
check_error:
  %minus_one = phi i64 [ %integer_value, %integer ], [ %float_value, %float ]
  %error = call ptr @ingot_PyErr_Occurred()
  %no_error = icmp eq ptr %error, null
  br i1 %no_error, label %store, label %failed
failed:
  ret ptr null
store:
  %value = phi i64 [ %object_value, %array_object ], [ %data_value, %array_data ],
                   [ %integer_value, %integer ], [ %float_value, %float ], [ %minus_one, %check_error ]
  %slot = getelementptr i64, ptr %table, i64 %i
  store i64 %value, ptr %slot, align 8
  %following = add i64 %i, 1
  %more = icmp slt i64 %following, %count
  br i1 %more, label %argument, label %call
call:
  %state = call ptr @ingot_PyEval_SaveThread()
  %by_table = icmp ne i64 %in_table, 0
  br i1 %by_table, label %table_call, label %value_call
table_call:
  %table_address = ptrtoint ptr %table to i64
  %table_status = call i64 %target(i64 %table_address)
  br label %return
value_call:
  switch i64 %count, label %impossible [ $CASES ]
impossible:
  unreachable
$CALLS
return:
  %status = phi i64 [ %table_status, %table_call ], $STATUSES
  call void @ingot_PyEval_RestoreThread(ptr %state)
  %result = call ptr @ingot_PyLong_FromLongLong(i64 %status)
  ret ptr %result
}
"""


class _MethodDefinition(ctypes.Structure):
    # PyMethodDef of the C API ("Common Object Structures").
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    ]


def native_entry(address: int, kinds: str, *, table: bool = True) -> Callable[..., int]:
    """A Python function that calls the native function at `address` with the interpreter lock released.

    `kinds` has one letter per argument: `a` passes the address of a numpy array object, `p` the address of an array's
    first element, `i` an int, `f` the bits of a float. The native function is `int64(int64 slots)`, where `slots` is
    the address of a table with one 8-byte slot per argument, valid during the call; with `table=False` it takes the
    slots themselves, `int64(int64, ...)`, at most 8. What it returns comes back as an int.

    Arrays are borrowed: the caller's references keep them alive, so nobody else may resize them during the call.

    Raises ValueError for kinds that are not understood; the function raises TypeError for a wrong number or type of
    arguments and OverflowError for an int beyond 64 bits, before any native code runs.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"native_entry: unknown kinds {', '.join(map(repr, unknown))}; expected letters of 'apif'")
    most = MAX_ARGUMENTS if table else MAX_VALUES
    if len(kinds) > most:
        raise ValueError(f"native_entry: {len(kinds)} arguments, but at most {most} can be passed with table={table}")
    if address <= 0:
        raise ValueError(f"native_entry: {address} is not the address of a function")
    if not _fast_calls_work():
        return ctypes_entry(address, kinds, table=table)
    codes = bytes(_CODES[kind] for kind in kinds)
    descriptor = struct.pack("=qqq", address, len(kinds), table) + codes
    return function_object(_fastcall_address(), descriptor, None)


def ctypes_entry(address: int, kinds: str, *, table: bool = True) -> Callable[..., int]:
    """What `native_entry` makes, by ctypes alone: slower, and independent of the interpreter's layout."""
    convert = [_CONVERTERS[kind] for kind in kinds]
    count = len(kinds)

    def slots(arguments: tuple[Any, ...]) -> list[int]:
        if len(arguments) != count:
            raise TypeError(f"native entry: expected {count} positional arguments, got {len(arguments)}")
        return [function(argument) for function, argument in zip(convert, arguments, strict=True)]

    if table:
        table_type = ctypes.c_int64 * count
        call_table = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)

        def entry(*arguments: Any) -> int:
            slot_table = table_type(*slots(arguments))
            return int(call_table(ctypes.addressof(slot_table)))

    else:
        call_values = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * count)(address)

        def entry(*arguments: Any) -> int:
            return int(call_values(*slots(arguments)))

    return entry


def _array_object(value: Any) -> int:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"native entry: expected a numpy array, got {type(value).__name__}")
    return id(value)


def _integer(value: Any) -> int:
    number = value.__index__() if hasattr(value, "__index__") else None
    if number is None:
        raise TypeError(f"native entry: expected an int, got {type(value).__name__}")
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"native entry: {number} does not fit into 64 bits")
    return int(number)


def _float_bits(value: Any) -> int:
    if isinstance(value, str | bytes):
        raise TypeError(f"native entry: expected a float, got {type(value).__name__}")
    bits: int = struct.unpack("=q", struct.pack("=d", float(value)))[0]
    return bits


_CONVERTERS: dict[str, Callable[[Any], int]] = {
    "a": _array_object,
    "p": address_of,
    "i": _integer,
    "f": _float_bits,
}


@functools.cache
def _fast_calls_work() -> bool:
    sample = b"\x01layout\xff"
    return (
        ARRAY_LAYOUT_KNOWN
        and ctypes.string_at(id(sample) + _BYTES_OFFSET, len(sample)) == sample
        and ctypes.c_size_t.from_address(id(sample) + _TYPE_OFFSET).value == id(bytes)
        and ctypes.string_at(_type_name(np.ndarray)) == b"numpy.ndarray"
    )


# tp_name is the first field after PyVarObject's header: "Type Object Structures" in the C API.
_TYPE_NAME_OFFSET = object.__basicsize__ + 8


def _type_name(kind: type) -> int:
    return ctypes.c_size_t.from_address(id(kind) + _TYPE_NAME_OFFSET).value


def interpreter_symbols(*names: str) -> None:
    """Let objects refer to functions of the C API, as `ingot_` and their name."""
    for name in names:
        provide_symbol(f"ingot_{name}", functools.partial(_interpreter_function, name))


def _interpreter_function(name: str) -> int:
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def _type_error_address() -> int:
    return ctypes.addressof(ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyExc_TypeError"))


def function_object(address: int, bound: bytes, keep: object) -> Callable[..., Any]:
    """A built-in function around native code of the form `METH_FASTCALL`, which gets `bound`; it keeps `keep` alive."""
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    # What is meant to be the name of the function's module may be any object.
    function: Callable[..., Any] = new(ctypes.addressof(_method(address)), bound, keep)
    return function


@functools.cache
def _method(address: int) -> _MethodDefinition:
    method = _MethodDefinition(b"native_entry", address, _METH_FASTCALL, b"Calls native code.")
    # Function objects point to it, and they may outlive this module at shutdown.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(method))
    return method


@functools.cache
def _fastcall_address() -> int:
    interpreter_symbols(
        "PyErr_Format", "PyErr_Occurred", "PyEval_RestoreThread", "PyEval_SaveThread", "PyFloat_AsDouble",
        "PyLong_AsLongLong", "PyLong_FromLongLong", "PyType_IsSubtype",
    )  # fmt: skip
    provide_symbol("ingot_PyExc_TypeError", _type_error_address)
    provide_symbol("ingot_ndarray", lambda: id(np.ndarray))
    return load_support(_module(), ["ingot_fastcall"])["ingot_fastcall"]


def _module() -> str:
    cases, calls, statuses = [], [], []
    for count in range(MAX_VALUES + 1):
        cases.append(f"i64 {count}, label %values{count}")
        statuses.append(f"[ %status{count}, %values{count} ]")
        lines = [f"values{count}:"]
        for i in range(count):
            lines.append(f"  %at{count}_{i} = getelementptr i64, ptr %table, i64 {i}")
            lines.append(f"  %value{count}_{i} = load i64, ptr %at{count}_{i}, align 8")
        passed = ", ".join(f"i64 %value{count}_{i}" for i in range(count))
        lines.append(f"  %status{count} = call i64 %target({passed})")
        lines.append("  br label %return")
        calls.append("\n".join(lines))
    return filled(
        _TEMPLATE,
        ARRAY_DATA_OFFSET=ARRAY_DATA_OFFSET,
        BYTES_OFFSET=_BYTES_OFFSET,
        TYPE_OFFSET=_TYPE_OFFSET,
        TYPE_NAME_OFFSET=_TYPE_NAME_OFFSET,
        CASES=" ".join(cases),
        CALLS="\n".join(calls),
        STATUSES=", ".join(statuses),
    )
