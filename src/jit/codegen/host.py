"""Requests to Python in a driver: `host_call`, and the ops that need it, formatting and printing among them."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from ...ir.core import Instruction, Value
from ...ir.types import BoolType, ComplexType, FloatType, IntType, NoneType, StrType, TensorType
from ..runtime import host
from .driver import Driver
from .fusion import Unsupported
from .module import STATUS_OUT_OF_MEMORY

__all__ = ["HOST", "ask", "host_call"]

_I64 = ir.IntType(64)


def host_call(frame: int, request: int, record: int, arena: int) -> int:
    """Ask Python: 0, or 1 where it raises. The function to ask is the last slot of the program's descriptor."""
    return host.serve(request, record, arena)


@type_callable(host_call)  # type: ignore[untyped-decorator]
def _typing(context: Any) -> Any:
    return lambda frame, request, record, arena: types.int64


@lower_builtin(host_call, types.Integer, types.Integer, types.Integer, types.Integer)  # type: ignore[untyped-decorator]
def _lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    frame, *rest = [
        context.cast(builder, value, given, types.int64) for value, given in zip(arguments, signature.args, strict=True)
    ]

    def load(table: Any, index: Any) -> Any:
        return builder.load(builder.gep(builder.inttoptr(table, _I64.as_pointer()), [index]))

    descriptor = load(load(frame, _I64(7)), _I64(0))
    function = load(descriptor, builder.add(load(descriptor, _I64(3)), _I64(4)))
    kind = ir.FunctionType(_I64, [_I64] * 3)
    return builder.call(builder.inttoptr(function, kind.as_pointer()), rest)


# -- ops ---------------------------------------------------------------------------------------------------------------


def _record(driver: Driver, value: Value) -> None:
    """Write a value's slots into the scratch table."""
    match value.type:
        case StrType():
            address, length = driver.text(value)
            texts = ["3", address, length]
        case FloatType():
            driver.line("set_slot_i64(p, 0, 1)")
            driver.line(f"set_slot_f64(p, 1, {driver.scalar(value)})")
            return
        case ComplexType():
            driver.line("set_slot_i64(p, 0, 6)")
            driver.line(f"set_slot_f64(p, 1, ({driver.scalar(value)}).real)")
            driver.line(f"set_slot_f64(p, 2, ({driver.scalar(value)}).imag)")
            return
        case BoolType():
            texts = ["2", driver.slot_value(value)]
        case IntType():
            texts = ["0", driver.scalar(value)]
        case NoneType():
            texts = ["5", "0"]
        case TensorType(dtype=dtype, shape=shape):
            if dtype.name not in host.DTYPES:
                raise Unsupported(f"text of a tensor of {dtype.name}")
            place = host.DTYPES.index(dtype.name)
            texts = ["4", driver.address(value), str((place << 8) + len(shape))]
            for axis, size in enumerate(shape, host.SIZES):
                driver.set_slot(axis, "i64", driver.size(size))
        case _:
            raise Unsupported(f"text of a {value.type}")
    for slot, text in enumerate(texts):
        driver.set_slot(slot, "i64", text)


def ask(
    driver: Driver,
    request: int,
    instruction: Instruction,
    exception: str,
    *others: str,
    listed: Sequence[str] = host.EXCEPTIONS,
    arena: bool = True,
) -> None:
    """Make a request whose record is in the scratch table; what it raises (`exception`, or one of
    `others`, which the answer counts by their place in `listed`) is the program's own exception."""
    driver.uses_arena |= arena
    driver.scratch_slots = max(driver.scratch_slots, 16)
    answer = f"host_call(frame, {request}, p, {'arena' if arena else 0})"
    if others:
        held = driver.fresh("s")
        driver.line(f"{held} = {answer}")
        answer = held
    for other in others:
        with driver.block(f"if {answer} == {2 + listed.index(other)}:"):
            driver.line(f"return {driver.error(other, '{host}', instruction.location)}")
    status = driver.error(exception, "{host}", instruction.location)
    with driver.block(f"if {answer} != 0:"):
        driver.line(f"return {status}")


def _take_text(driver: Driver, result: Value) -> None:
    driver.set_text(result, f"slot_i64(p, {host.ANSWER})", f"slot_i64(p, {host.ANSWER + 1})")


def _format(driver: Driver, instruction: Instruction) -> None:
    value, spec = instruction.inputs
    _record(driver, value)
    for slot, text in enumerate((*driver.text(spec), str(instruction.attributes["conversion"])), 3):
        driver.set_slot(slot, "i64", text)
    ask(driver, host.FORMAT, instruction, "ValueError")
    _take_text(driver, instruction.results[0])


def to_str(driver: Driver, instruction: Instruction) -> None:
    """`str()` of a number."""
    (value,) = instruction.inputs
    result = instruction.results[0]
    if isinstance(value.type, IntType):
        driver.functions.setdefault("text_of_int", _TEXT_OF_INT.strip())
        driver.uses_arena = True
        names = driver.fresh("m"), driver.fresh("k")
        driver.line(f"{names[0]}, {names[1]} = text_of_int(arena, {driver.scalar(value)})")
        with driver.block(f"if {names[0]} == -1:"):
            driver.line(f"return {STATUS_OUT_OF_MEMORY}")
        driver.texts[result] = names
        return
    _record(driver, value)
    for slot in (3, 4, 5):
        driver.set_slot(slot, "i64", "0")
    ask(driver, host.FORMAT, instruction, "ValueError")
    _take_text(driver, result)


_TEXT_OF_INT = '''
def text_of_int(arena, value):
    """The decimal digits of an int; -1 when out of memory."""
    memory = arena_allocate(arena, 80)
    if memory == 0:
        return -1, 0
    negative = value < 0
    place = 20
    while True:
        # Digits of negative numbers are taken as such: the lowest int has no positive counterpart.
        digit = value - value // 10 * 10 if not negative else -(value - -(-value // 10) * 10)
        value = value // 10 if not negative else -(-value // 10)
        place -= 1
        set_char(memory, place, 48 + digit)
        if value == 0:
            break
    if negative:
        place -= 1
        set_char(memory, place, 45)
    return memory + 4 * place, 20 - place
'''


def _print(driver: Driver, instruction: Instruction) -> None:
    _record(driver, instruction.inputs[0])
    ask(driver, host.PRINT, instruction, "OSError")


def to_int(driver: Driver, instruction: Instruction) -> None:
    """`int(text, base)`."""
    _record(driver, instruction.inputs[0])
    base = instruction.inputs[1] if len(instruction.inputs) > 1 else None
    driver.set_slot(3, "i64", "10" if base is None else driver.scalar(base))
    ask(driver, host.TO_INT, instruction, "ValueError")
    driver.set_scalar(instruction.results[0], f"slot_i64(p, {host.ANSWER})")


def to_float(driver: Driver, instruction: Instruction) -> None:
    """`float(text)`."""
    _record(driver, instruction.inputs[0])
    ask(driver, host.TO_FLOAT, instruction, "ValueError")
    driver.set_scalar(instruction.results[0], f"slot_f64(p, {host.ANSWER})")


def _round(driver: Driver, instruction: Instruction) -> None:
    value, digits = instruction.inputs
    _record(driver, value)
    driver.set_slot(3, "i64", driver.scalar(digits))
    ask(driver, host.ROUND, instruction, "OverflowError")
    driver.set_scalar(instruction.results[0], f"slot_f64(p, {host.ANSWER})")


def _error_text(driver: Driver, instruction: Instruction) -> None:
    (error,) = instruction.inputs
    record, result = driver.scalar(error), instruction.results[0]
    names = driver.fresh("m"), driver.fresh("k")
    driver.texts[result] = names
    driver.line(f"{names[0]} = 0")
    driver.line(f"{names[1]} = 0")
    for status in sorted(driver.caught_by(error)):
        site = driver.errors[status - 1]
        quoted = site.exception == "KeyError"
        with driver.block(f"if cell({record}, 0) == {status}:"):
            if "{" not in site.message:
                address, length = driver.literal_text(repr(site.message) if quoted else site.message)
                driver.line(f"{names[0]} = {address}")
                driver.line(f"{names[1]} = {length}")
                continue
            address, length = driver.literal_text(site.message)
            texts = [address, length, str(int(quoted)), f"cell({record}, 1)", f"cell({record}, 2)"]
            for slot, text in enumerate(texts):
                driver.set_slot(slot, "i64", text)
            ask(driver, host.MESSAGE, instruction, "RuntimeError")
            driver.line(f"{names[0]} = slot_i64(p, {host.ANSWER})")
            driver.line(f"{names[1]} = slot_i64(p, {host.ANSWER + 1})")


HOST = {
    "text.format": _format,
    "text.print": _print,
    "text.to_int": to_int,
    "text.round": _round,
    "error.text": _error_text,
}
