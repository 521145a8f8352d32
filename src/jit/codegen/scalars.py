"""Python scalars in the driver: expressions over locals, with the checks that make them raise as Python does."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...ir.core import Instruction
from ...ir.types import BoolType, FloatType, IntType, TensorType
from .access import strided_view
from .bounds import LARGEST, is_count
from .driver import Driver
from .fusion import Unsupported
from .scalar_code import is_half, pointer_kind

__all__ = ["SCALARS", "run_item", "run_scalar"]

Check = tuple[str, str, str]  # condition, exception, message


@dataclass
class _Result:
    text: str
    checks: list[Check] = field(default_factory=list)


def _message(function: Callable[..., Any], *arguments: Any) -> str:
    """What Python says where the function refuses these arguments."""
    try:
        function(*arguments)
    except Exception as error:
        return str(error)
    raise AssertionError(f"{function} accepts {arguments}")


_TOO_LARGE = "an integer of a compiled program does not fit in 64 bits"


class _Operands:
    """The operands of a scalar instruction as typed text."""

    def __init__(self, driver: Driver, instruction: Instruction) -> None:
        self.driver = driver
        self.instruction = instruction
        self.values = instruction.inputs
        self.texts = [driver.scalar(v) for v in self.values]
        self.result = instruction.results[0].type

    def use(self, *helpers: str) -> None:
        self.driver.imports.update(helpers)

    def is_float(self, index: int) -> bool:
        return isinstance(self.values[index].type, FloatType)

    def number(self, index: int, *, real: bool) -> str:
        """An operand as a float (`real`) or an int."""
        type, text = self.values[index].type, self.texts[index]
        if isinstance(type, FloatType):
            if not real:
                raise Unsupported("a float where an int is expected", self.instruction.location)
            return text
        if real:
            self.use("as_f64")
            return f"as_f64({text})"
        if isinstance(type, BoolType):
            self.use("as_i64")
            return f"as_i64({text})"
        if not isinstance(type, IntType):
            raise Unsupported(f"{self.instruction.op.name} of {type}", self.instruction.location)
        return text

    def pair(self) -> tuple[str, str, bool]:
        """Both operands as the higher type of the two, and whether that is float."""
        real = self.is_float(0) or self.is_float(1)
        return self.number(0, real=real), self.number(1, real=real), real


Emit = Callable[[_Operands], _Result]


def _arithmetic(symbol: str, helper: str) -> Emit:
    def emit(o: _Operands) -> _Result:
        a, b, real = o.pair()
        if real:
            return _Result(f"{a} {symbol} {b}")
        if all(map(o.driver.is_nonnegative, o.instruction.inputs)):
            most = [o.driver.upper_bound(v) for v in o.instruction.inputs]
            if symbol == "-" or (most[0] + most[1] if symbol == "+" else most[0] * most[1]) <= LARGEST:
                return _Result(f"{a} {symbol} {b}")  # not below 0 - LARGEST, and not above LARGEST
        if symbol == "+" and is_count(o.instruction):
            return _Result(f"{a} + {b}")
        o.use(helper)
        return _Result(f"{a} {symbol} {b}", [(f"{helper}({a}, {b})", "OverflowError", _TOO_LARGE)])

    return emit


def _truediv(o: _Operands) -> _Result:
    a, b, real = o.number(0, real=True), o.number(1, real=True), o.is_float(0) or o.is_float(1)
    message = _message(operator.truediv, 1.0, 0.0) if real else _message(operator.truediv, 1, 0)
    return _Result(f"{a} / {b}", [(f"{b} == 0.0", "ZeroDivisionError", message)])


_OF_COUNTS = {"floor_divide": "count_quotient", "floor_remainder": "count_remainder"}


def _division(helper: str, function: Callable[[Any, Any], Any]) -> Emit:
    def emit(o: _Operands) -> _Result:
        a, b, real = o.pair()
        zero = "0.0" if real else "0"
        message = _message(function, 1.0, 0.0) if real else _message(function, 1, 0)
        checks = [(f"{b} == {zero}", "ZeroDivisionError", message)]
        if not real and all(map(o.driver.is_nonnegative, o.instruction.inputs)):
            return _Result(f"{_OF_COUNTS[helper]}({a}, {b})", checks)  # signs need no care
        o.use(helper)
        if not real and helper == "floor_divide":
            lowest = f"(-{(1 << 63) - 1} - 1)"
            checks.append((f"{b} == -1 and {a} == {lowest}", "OverflowError", _TOO_LARGE))
        return _Result(f"{helper}({a}, {b})", checks)

    return emit


def _power(o: _Operands) -> _Result:
    if isinstance(o.result, IntType):
        a, b = o.number(0, real=False), o.number(1, real=False)
        o.use("integer_power", "power_overflows")
        return _Result(
            f"integer_power({a}, {b})",
            [
                (f"{b} < 0", "ValueError", "an int to a negative power known only at run time: convert it to float"),
                (f"power_overflows({a}, {b})", "OverflowError", _TOO_LARGE),
            ],
        )
    a, b = o.number(0, real=True), o.number(1, real=True)
    o.use("is_infinite", "is_finite", "floor")
    result = o.driver.fresh("s")
    by_zero = _message(operator.pow, 0.0, -1.0)
    too_large = "(34, 'Numerical result out of range')"
    is_complex = "a negative number to a fractional power is complex; make an operand complex to compute it"
    return _Result(
        result,
        [
            (f"{a} == 0.0 and {b} < 0.0", "ZeroDivisionError", by_zero),
            (f"{a} < 0.0 and is_finite({a}) and is_finite({b}) and floor({b}) != {b}", "ValueError", is_complex),
            ("", f"{result} = math.pow({a}, {b})", ""),
            (f"is_infinite({result}) and is_finite({a}) and is_finite({b})", "OverflowError", too_large),
        ],
    )


def _extreme(symbol: str) -> Emit:
    def emit(o: _Operands) -> _Result:
        a, b, _ = (o.texts[0], o.texts[1], False) if isinstance(o.result, BoolType) else o.pair()
        if isinstance(o.result, BoolType):
            return _Result(f"{a} {'and' if symbol == '<' else 'or'} {b}")
        return _Result(f"{b} if {b} {symbol} {a} else {a}")

    return emit


def _bits(symbol: str) -> Emit:
    def emit(o: _Operands) -> _Result:
        if isinstance(o.result, BoolType):
            return _Result(f"{o.texts[0]} {symbol} {o.texts[1]}")
        return _Result(f"{o.number(0, real=False)} {symbol} {o.number(1, real=False)}")

    return emit


def _lshift(o: _Operands) -> _Result:
    a, b = o.number(0, real=False), o.number(1, real=False)
    checks = [
        (f"{b} < 0", "ValueError", "negative shift count"),
        (f"{a} != 0 and ({b} > 62 or ({a} << {b}) >> {b} != {a})", "OverflowError", _TOO_LARGE),
    ]
    return _Result(f"{a} << min({b}, 63)", checks)


def _rshift(o: _Operands) -> _Result:
    a, b = o.number(0, real=False), o.number(1, real=False)
    return _Result(f"{a} >> min({b}, 63)", [(f"{b} < 0", "ValueError", "negative shift count")])


def _comparison(symbol: str) -> Emit:
    def emit(o: _Operands) -> _Result:
        if o.is_float(0) == o.is_float(1):
            if all(isinstance(v.type, BoolType) for v in o.values):
                o.use("as_i64")
            return _Result(f"{o.number(0, real=o.is_float(0))} {symbol} {o.number(1, real=o.is_float(1))}")
        # An int with a float: exactly, as Python does, not by rounding the int.
        flipped = o.is_float(0)
        whole, real = (1, 0) if flipped else (0, 1)
        o.use("compare_int_float", "as_i64", "as_f64")
        order = o.driver.fresh("s")
        setup = ("", f"{order} = compare_int_float({o.number(whole, real=False)}, {o.texts[real]})", "")
        mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
        operator_symbol = mirrored.get(symbol, symbol) if flipped else symbol
        if symbol in ("==", "!="):
            return _Result(f"{order} {operator_symbol} 0", [setup])
        return _Result(f"{order} != 2 and {order} {operator_symbol} 0", [setup])

    return emit


def _not(o: _Operands) -> _Result:
    text = o.texts[0]
    return _Result(f"not {text}" if isinstance(o.values[0].type, BoolType) else f"{text} == 0")


def _to_bool(o: _Operands) -> _Result:
    return _Result(o.texts[0] if isinstance(o.values[0].type, BoolType) else f"{o.texts[0]} != 0")


def _whole(function: Callable[[Any], int], helper: str | None) -> Emit:
    """Conversions of floats to ints, of ints to themselves."""

    def emit(o: _Operands) -> _Result:
        if not o.is_float(0):
            return _Result(o.number(0, real=False))
        text = o.texts[0]
        o.use("as_i64", "is_infinite")
        value = text
        if helper is not None:
            o.use(helper)
            value = f"{helper}({text})"
        checks = [
            (f"{text} != {text}", "ValueError", _message(function, math.nan)),
            (f"is_infinite({text})", "OverflowError", _message(function, math.inf)),
            (
                f"{value} >= 9223372036854775808.0 or {value} < -9223372036854775808.0",
                "OverflowError",
                _TOO_LARGE,
            ),
        ]
        return _Result(f"as_i64({value})", checks)

    return emit


def _to_float(o: _Operands) -> _Result:
    return _Result(o.number(0, real=True))


def _absolute(o: _Operands) -> _Result:
    if o.is_float(0):
        o.use("absolute")
        return _Result(f"absolute({o.texts[0]})")
    a = o.number(0, real=False)
    lowest = f"(-{(1 << 63) - 1} - 1)"
    return _Result(f"-{a} if {a} < 0 else {a}", [(f"{a} == {lowest}", "OverflowError", _TOO_LARGE)])


def _negative(o: _Operands) -> _Result:
    if o.is_float(0):
        return _Result(f"-{o.texts[0]}")
    a = o.number(0, real=False)
    lowest = f"(-{(1 << 63) - 1} - 1)"
    return _Result(f"-{a}", [(f"{a} == {lowest}", "OverflowError", _TOO_LARGE)])


def _invert(o: _Operands) -> _Result:
    return _Result(f"~{o.number(0, real=False)}")


def _positive(o: _Operands) -> _Result:
    return _Result(o.number(0, real=isinstance(o.result, FloatType)))


def _math(name: str, domain: str = "", bad: float = 0.0, *, overflows: bool = False) -> Emit:
    """A function of `math`; `domain` is the condition that it refuses, `bad` an argument that it refuses."""

    def emit(o: _Operands) -> _Result:
        x = o.number(0, real=True)
        value = o.driver.fresh("s")
        checks: list[Check] = [("", f"{value} = {x}", "")]
        if domain:
            checks.append((domain.format(x=value), "ValueError", _message(getattr(math, name), bad)))
        text = f"math.{name}({value})"
        if overflows:
            o.use("is_infinite")
            result = o.driver.fresh("s")
            checks.append(("", f"{result} = {text}", ""))
            message = _message(getattr(math, name), 1e4)
            checks.append((f"is_infinite({result}) and not is_infinite({value})", "OverflowError", message))
            text = result
        return _Result(text, checks)

    return emit


def _math_pair(name: str) -> Emit:
    def emit(o: _Operands) -> _Result:
        a, b = o.number(0, real=True), o.number(1, real=True)
        checks: list[Check] = []
        if name == "fmod":
            o.use("fmod", "is_infinite")
            message = _message(math.fmod, 1.0, 0.0)
            refused = f"{a} == {a} and {b} == {b} and ({b} == 0.0 or is_infinite({a}))"
            return _Result(f"fmod({a}, {b})", [(refused, "ValueError", message)])
        return _Result(f"math.{name}({a}, {b})", checks)

    return emit


def _classify(helper: str) -> Emit:
    def emit(o: _Operands) -> _Result:
        if not o.is_float(0):
            return _Result("True" if helper == "is_finite" else "False")
        if helper == "isnan":
            return _Result(f"{o.texts[0]} != {o.texts[0]}")
        o.use(helper)
        return _Result(f"{helper}({o.texts[0]})")

    return emit


def _range_item(o: _Operands) -> _Result:
    start, index, step, _ = o.texts
    scaled = {"1": index, "(-1)": f"-{index}"}.get(step, f"{index} * {step}")
    return _Result(scaled if start == "0" else f"{start} + {scaled}")


SCALARS: dict[str, Emit] = {
    "scalar.range_item": _range_item,
    "scalar.add": _arithmetic("+", "sum_overflows"),
    "scalar.sub": _arithmetic("-", "difference_overflows"),
    "scalar.mul": _arithmetic("*", "product_overflows"),
    "scalar.truediv": _truediv,
    "scalar.floordiv": _division("floor_divide", operator.floordiv),
    "scalar.mod": _division("floor_remainder", operator.mod),
    "scalar.pow": _power,
    "scalar.min": _extreme("<"),
    "scalar.max": _extreme(">"),
    "scalar.and_": _bits("&"),
    "scalar.or_": _bits("|"),
    "scalar.xor": _bits("^"),
    "scalar.lshift": _lshift,
    "scalar.rshift": _rshift,
    "scalar.eq": _comparison("=="),
    "scalar.ne": _comparison("!="),
    "scalar.lt": _comparison("<"),
    "scalar.le": _comparison("<="),
    "scalar.gt": _comparison(">"),
    "scalar.ge": _comparison(">="),
    "scalar.not_": _not,
    "scalar.neg": _negative,
    "scalar.pos": _positive,
    "scalar.abs": _absolute,
    "scalar.invert": _invert,
    "scalar.to_bool": _to_bool,
    "scalar.to_int": _whole(int, None),
    "scalar.to_float": _to_float,
    "scalar.floor": _whole(math.floor, "floor"),
    "scalar.ceil": _whole(math.ceil, "ceil"),
    "scalar.trunc": _whole(math.trunc, "trunc"),
    "scalar.round": _whole(round, "rint"),
    "scalar.isnan": _classify("isnan"),
    "scalar.isinf": _classify("is_infinite"),
    "scalar.isfinite": _classify("is_finite"),
    "scalar.sqrt": _math("sqrt", "{x} < 0.0", -1.0),
    "scalar.log": _math("log", "{x} <= 0.0", -1.0),
    "scalar.log2": _math("log2", "{x} <= 0.0", -1.0),
    "scalar.log10": _math("log10", "{x} <= 0.0", -1.0),
    "scalar.log1p": _math("log1p", "{x} <= -1.0", -1.0),
    "scalar.exp": _math("exp", overflows=True),
    "scalar.expm1": _math("expm1", overflows=True),
    "scalar.sinh": _math("sinh", overflows=True),
    "scalar.cosh": _math("cosh", overflows=True),
    "scalar.sin": _math("sin", "is_infinite({x})", math.inf),
    "scalar.cos": _math("cos", "is_infinite({x})", math.inf),
    "scalar.tan": _math("tan", "is_infinite({x})", math.inf),
    "scalar.asin": _math("asin", "{x} > 1.0 or {x} < -1.0", 1.5),
    "scalar.acos": _math("acos", "{x} > 1.0 or {x} < -1.0", 1.5),
    "scalar.atanh": _math("atanh", "{x} >= 1.0 or {x} <= -1.0", 1.5),
    "scalar.acosh": _math("acosh", "{x} < 1.0", 0.5),
    **{f"scalar.{name}": _math(name) for name in ("atan", "tanh", "asinh", "erf", "erfc", "fabs")},
    **{f"scalar.{name}": _math_pair(name) for name in ("atan2", "hypot", "copysign", "fmod")},
}


_NEVER = re.compile(r"(\d*[1-9]\d* == 0|\d*[1-9]\d*\.\d+ == 0\.0|\d*[1-9]\d* < 0|\d*[1-9]\d* == -1 and .*)")


def run_scalar(driver: Driver, instruction: Instruction) -> None:
    """Compute a Python scalar from Python scalars."""
    emit = SCALARS[instruction.op.name]
    for value in (*instruction.inputs, *instruction.results):
        if not isinstance(value.type, (IntType, FloatType, BoolType)):
            raise Unsupported(f"{instruction.op.name} of {value.type}", instruction.location)
    operands = _Operands(driver, instruction)
    if instruction.op.name in ("scalar.sin", "scalar.cos", "scalar.tan"):
        operands.use("is_infinite")
    result = emit(operands)
    for condition, exception, message in result.checks:
        if _NEVER.fullmatch(condition):
            continue  # a divisor that is known
        if condition:
            driver.fail_if(condition, exception, message.replace("{", "(").replace("}", ")"), instruction.location)
        else:
            driver.line(exception)  # a statement that the checks after it need
    driver.set_scalar(instruction.results[0], result.text)


def run_item(driver: Driver, instruction: Instruction) -> None:
    """The only element of a tensor as a Python number."""
    source = instruction.inputs[0]
    assert isinstance(source.type, TensorType)
    kind = pointer_kind(source.type.dtype)
    view = strided_view(source, instruction.block)  # read where it lies: an element of a larger tensor is not copied
    address = driver.address(view.base)
    if view.offset != 0:
        address = f"{address} + {driver.size(view.offset * source.type.dtype.itemsize)}"
    text = f"pointer_{kind}({address})[0]"
    if is_half(source.type.dtype):
        raise Unsupported(f"item of {source.type.dtype.name} has no native form", instruction.location)
    result = instruction.results[0]
    match result.type:
        case FloatType():
            driver.imports.add("as_f64")
            driver.set_scalar(result, f"as_f64({text})")
        case BoolType():
            driver.set_scalar(result, f"{text} != 0")
        case _:
            driver.imports.add("as_i64")
            driver.set_scalar(result, f"as_i64({text})")
