"""What native code asks Python to do in the middle of a call: format values, read numbers from text, print.

A driver writes a record of 8-byte slots and calls one C function with a request's number, the record's address and the
call's arena; the answer goes into the record. An exception is kept until the driver has returned.
"""

import ctypes
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .arena import allocate, write_slots
from .host_ops import evaluate

__all__ = [
    "CALL",
    "COMPLEX",
    "COMPLEX_HASH",
    "COMPLEX_POWER",
    "EVALUATE",
    "FORMAT",
    "MESSAGE",
    "OPERANDS",
    "PRINT",
    "TO_FLOAT",
    "TO_INT",
    "callback_address",
    "serve",
    "take_error",
    "text_in",
]

FORMAT, PRINT, TO_INT, TO_FLOAT, MESSAGE, ROUND, COMPLEX, CALL, EVALUATE = range(9)
COMPLEX_POWER, COMPLEX_HASH = (
    -1,
    -2,
)  # the function of a request for one of complex numbers: else a place in `CMATH_FUNCTIONS`

# Slots of a record: what kind of value, the value (or the address of its characters or elements), their number or the
# dtype; the format spec's characters and their number; the conversion; the answer in two slots; sizes of a tensor.
KINDS = ("int", "float", "bool", "str", "tensor", "none", "complex")
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
ANSWER = 6
EXCEPTIONS = ("OverflowError", "ZeroDivisionError")
SIZES = 8
OPERANDS = 8  # where the slots of an operation to evaluate begin, after the record

_CONVERSIONS: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}
_state = threading.local()


def _text(address: int, length: int) -> str:
    return ctypes.string_at(address, 4 * length).decode("utf-32-le", "surrogatepass") if length else ""


def text_in(record: int) -> str:
    """The text whose address and length are in the first slots of a record."""
    return _text(*(ctypes.c_int64 * 2).from_address(record))


def _float(slot: int) -> float:
    value: float = struct.unpack("=d", struct.pack("=q", slot))[0]
    return value


def _value(record: int) -> Any:
    kind, value, extra = (ctypes.c_int64 * 3).from_address(record)
    match KINDS[kind]:
        case "float":
            return _float(value)
        case "bool":
            return value != 0
        case "str":
            return _text(value, extra)
        case "none":
            return None
        case "complex":
            return complex(_float(value), _float(extra))
        case "tensor":
            return _tensor(record, value, extra)
    return value


def _tensor(record: int, address: int, extra: int) -> Any:
    """A copy of a tensor; `extra` is the place of its dtype in `DTYPES`, times 256, plus its rank."""
    from ...eager.tensor import wrap
    from ...ir.dtypes import dtype_named

    dtype = dtype_named(DTYPES[extra >> 8]).numpy
    shape = list((ctypes.c_int64 * (extra & 255)).from_address(record + 8 * SIZES))
    array = np.empty(shape, dtype)
    if array.nbytes:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)
    return wrap(array)


def _answer(record: int, text: str, arena: int) -> None:
    data = text.encode("utf-32-le", "surrogatepass")
    address = allocate(arena, max(len(data), 1))
    if not address:
        raise MemoryError("out of memory")
    ctypes.memmove(address, data, len(data))
    write_slots(record + 8 * ANSWER, [address, len(data) // 4])


def _format(record: int, arena: int) -> None:
    value = _value(record)
    spec, length, conversion = (ctypes.c_int64 * 3).from_address(record + 24)
    if conversion:
        value = _CONVERSIONS[conversion](value)
    _answer(record, format(value, _text(spec, length)), arena)


def _message(record: int, arena: int) -> None:
    from ..raising import arguments_of

    address, length, quoted, *details = (ctypes.c_int64 * 5).from_address(record)
    template = _text(address, length)
    if template == "{host}":
        text = str(getattr(_state, "error", ""))
    else:
        arguments = arguments_of(template, (details[0], details[1]))
        text = str((KeyError if quoted else Exception)(*arguments))
    _answer(record, text, arena)


def _complex(record: int) -> None:
    """A function of complex numbers; the record holds its number, how many there are, and their parts."""
    import cmath
    import operator

    from ...ir.ops.complex_scalars import CMATH_FUNCTIONS

    function, count = (ctypes.c_int64 * 2).from_address(record)
    parts = (ctypes.c_double * (2 * count)).from_address(record + 16)
    operands = [complex(parts[2 * i], parts[2 * i + 1]) for i in range(count)]
    if function == COMPLEX_POWER:
        found: Any = operator.pow(*operands)
    elif function == COMPLEX_HASH:
        write_slots(record + 8 * ANSWER, [hash(operands[0])])
        return
    else:
        name = CMATH_FUNCTIONS[function]
        found = getattr(cmath, name)(*([o.real for o in operands] if name == "rect" else operands))
    answer = (ctypes.c_double * 2).from_address(record + 8 * ANSWER)
    answer[0], answer[1] = found.real, found.imag


def _call(record: int, arena: int) -> None:
    """Call a Python function; the record holds its name, and the address of its arguments' slots."""
    from ...ir.callbacks import callback
    from ..memory_form import Transfer, width

    address, length, arguments = (ctypes.c_int64 * 3).from_address(record)
    called = callback(_text(address, length))
    transfer = Transfer(arena, copies=True)
    values, place = [], arguments
    for type in called.operands:
        count = width(type)
        values.append(transfer.value(type, list((ctypes.c_int64 * count).from_address(place)) if count else []))
        place += 8 * count
    slots: list[int] = []
    for type, result in zip(called.results, called.on_arrays(values), strict=True):
        slots += transfer.slots(type, result)
    write_slots(record + 8 * ANSWER, [transfer.block(slots)])


def _request(request: int, record: int, arena: int) -> None:
    match request:
        case 0:
            _format(record, arena)
        case 1:
            sys.stdout.write(_value(record))
            sys.stdout.flush()
        case 2:
            (base,) = (ctypes.c_int64 * 1).from_address(record + 24)
            number = int(_value(record), base)
            if not -(1 << 63) <= number < 1 << 63:
                raise OverflowError("an integer of a compiled program does not fit in 64 bits")
            write_slots(record + 8 * ANSWER, [number])
        case 3:
            ctypes.c_double.from_address(record + 8 * ANSWER).value = float(_value(record))
        case 4:
            _message(record, arena)
        case 5:
            (digits,) = (ctypes.c_int64 * 1).from_address(record + 24)
            ctypes.c_double.from_address(record + 8 * ANSWER).value = round(_value(record), digits)
        case 6:
            _complex(record)
        case 7:
            _call(record, arena)
        case 8:
            evaluate(text_in(record), record + 8 * OPERANDS, arena)


def serve(request: int, record: int, arena: int) -> int:
    """Do what a driver asks; 0, or more where that raises: the exception is kept for `take_error`.

    The answer says which of `EXCEPTIONS` it is, from 2 on, or that it is another.
    """
    try:
        _request(request, record, arena)
    except BaseException as error:
        _state.error = error
        return 1 + _place(error, _listed(record) if request in (CALL, EVALUATE) else EXCEPTIONS)
    return 0


def _listed(record: int) -> Sequence[str]:
    """The names of exceptions that a request to call a function, or to evaluate an operation, lists."""
    address, length = (ctypes.c_int64 * 2).from_address(record + 24)
    return _text(address, length).split("\n")


def _place(error: BaseException, names: Sequence[str]) -> int:
    """Which of the names is that of the nearest class of an error, from 1 on; 0 where none is."""
    from ...ir.exception_names import exception_name

    for kind in type(error).__mro__:
        if issubclass(kind, BaseException) and (name := exception_name(kind)) in names:
            return names.index(name) + 1
    return 0


_OWN = str(Path(__file__).parent.parent.parent)


def _is_own(file: str) -> bool:
    return file.startswith(_OWN)


def take_error() -> BaseException:
    """The exception of this thread's last request that failed."""
    error: BaseException = _state.error
    traceback = error.__traceback__
    while traceback is not None and _is_own(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return error.with_traceback(traceback)


_callback = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(serve)
_address = ctypes.cast(_callback, ctypes.c_void_p).value or 0


def callback_address() -> int:
    """The address of `serve` for native code."""
    return _address
