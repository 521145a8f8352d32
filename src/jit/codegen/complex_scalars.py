"""Complex numbers in the driver: locals of two floats, arithmetic as Python does it, and functions asked of Python."""

from ...ir.core import Instruction, Value
from ...ir.ops.complex_scalars import CMATH_FUNCTIONS
from ...ir.types import BoolType, ComplexType, FloatType
from ..errors import Unsupported
from ..runtime import host
from .driver import Driver
from .host import ask

__all__ = ["is_complex", "run_complex"]


def is_complex(instruction: Instruction) -> bool:
    """Whether a scalar instruction computes with complex numbers."""
    values = (*instruction.inputs, *instruction.results)
    return instruction.op.name.startswith("scalar.") and (
        instruction.op.name == "scalar.cmath" or any(isinstance(v.type, ComplexType) for v in values)
    )


def _operand(driver: Driver, value: Value) -> str:
    """An operand as a complex number."""
    if isinstance(value.type, ComplexType):
        return driver.scalar(value)
    driver.imports.add("as_f64")
    return f"complex(as_f64({driver.scalar(value)}), 0.0)"


def run_complex(driver: Driver, instruction: Instruction) -> None:
    """Compute a number from numbers of which one is complex."""
    name = instruction.op.name.removeprefix("scalar.")
    operands = [_operand(driver, v) for v in instruction.inputs]
    result = instruction.results[0]
    match name:
        case "add" | "sub" | "eq" | "ne":
            symbol = {"add": "+", "sub": "-", "eq": "==", "ne": "!="}[name]
            text = f"{operands[0]} {symbol} {operands[1]}"
        case "mul":
            _paste(driver, "complex_product")
            text = f"complex_product({', '.join(operands)})"
        case "truediv":
            _paste(driver, "complex_quotient")
            a, b = driver.fresh("s"), driver.fresh("s")
            driver.line(f"{a} = {operands[0]}")
            driver.line(f"{b} = {operands[1]}")
            zero = f"{b}.real == 0.0 and {b}.imag == 0.0"
            driver.fail_if(zero, "ZeroDivisionError", _message(1j, 0j), instruction.location)
            text = f"complex_quotient({a}, {b})"
        case "pow":
            _ask(driver, instruction, host.COMPLEX_POWER)
            return
        case "hash":
            _ask(driver, instruction, host.COMPLEX_HASH)
            return
        case "cmath":
            _ask(driver, instruction, CMATH_FUNCTIONS.index(instruction.attributes["function"]))
            return
        case "neg":
            a = _held(driver, operands[0])
            text = f"complex(-{a}.real, -{a}.imag)"
        case "pos" | "to_complex":
            text = operands[0]
        case "conjugate":
            a = _held(driver, operands[0])
            text = f"complex({a}.real, -{a}.imag)"
        case "real" | "imag":
            text = f"({operands[0]}).{name}"
        case "abs":
            _absolute(driver, instruction, operands[0])
            return
        case "to_bool" | "not_":
            a = _held(driver, operands[0])
            text = f"{'not ' if name == 'not_' else ''}({a}.real != 0.0 or {a}.imag != 0.0)"
        case "complex":
            text = _made(driver, instruction)
        case _:
            raise Unsupported(f"{instruction.op.name} of complex numbers", instruction.location)
    driver.set_scalar(result, text)


def _message(a: complex, b: complex) -> str:
    """What Python says of a division by zero."""
    try:
        return str(a / b)
    except ZeroDivisionError as error:
        return str(error)


def _held(driver: Driver, text: str) -> str:
    """A local that holds what a text gives."""
    name = driver.fresh("s")
    driver.line(f"{name} = {text}")
    return name


def _made(driver: Driver, instruction: Instruction) -> str:
    """`complex(real, imag)`, whose operands may be complex themselves."""
    real, imag = instruction.inputs
    driver.imports.add("as_f64")
    parts = [
        driver.scalar(v) if isinstance(v.type, ComplexType) else f"as_f64({driver.scalar(v)})" for v in (real, imag)
    ]
    if not isinstance(real.type, ComplexType) and not isinstance(imag.type, ComplexType):
        return f"complex({parts[0]}, {parts[1]})"
    # As complex_new in CPython: real + imag * 1j, part by part.
    a, b = _held(driver, parts[0]), _held(driver, parts[1])
    first, second = (f"{a}.real" if isinstance(real.type, ComplexType) else a), b
    if isinstance(imag.type, ComplexType):
        first, second = f"{first} - {b}.imag", f"{b}.real"
    if isinstance(real.type, ComplexType):
        second = f"{second} + {a}.imag"
    return f"complex({first}, {second})"


def _absolute(driver: Driver, instruction: Instruction, operand: str) -> None:
    driver.imports.update(("is_infinite", "is_finite", "absolute"))
    a, length = _held(driver, operand), driver.fresh("s")
    driver.line(f"{length} = math.hypot({a}.real, {a}.imag)")
    overflows = f"is_infinite({length}) and is_finite({a}.real) and is_finite({a}.imag)"
    driver.fail_if(overflows, "OverflowError", "absolute value too large", instruction.location)
    driver.locals[instruction.results[0]] = length


def _ask(driver: Driver, instruction: Instruction, function: int) -> None:
    """Ask Python for a function of one or two complex numbers, which gives the same to the last digit."""
    operands = [_held(driver, _operand(driver, v)) for v in instruction.inputs]
    driver.set_slot(0, "i64", str(function))
    driver.set_slot(1, "i64", str(len(operands)))
    for slot, name in zip((2, 4), operands, strict=False):
        driver.set_slot(slot, "f64", f"{name}.real")
        driver.set_slot(slot + 1, "f64", f"{name}.imag")
    ask(driver, host.COMPLEX, instruction, "ValueError", *host.EXCEPTIONS)
    real = f"slot_f64(p, {host.ANSWER})"
    result = instruction.results[0]
    match result.type:
        case ComplexType():
            driver.set_scalar(result, f"complex({real}, slot_f64(p, {host.ANSWER + 1}))")
        case BoolType():
            driver.set_scalar(result, f"{real} != 0.0")
        case FloatType():
            driver.set_scalar(result, real)
        case _:
            driver.set_scalar(result, f"slot_i64(p, {host.ANSWER})")


def _paste(driver: Driver, name: str) -> None:
    driver.functions.setdefault(name, {"complex_product": _PRODUCT, "complex_quotient": _QUOTIENT}[name].strip())


_PRODUCT = '''
def complex_product(a, b):
    """a * b, each part by two products and a sum."""
    return complex(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)
'''

_QUOTIENT = '''
def complex_quotient(a, b):
    """a / b by Smith's method (R. L. Smith, Algorithm 116, CACM 1962), as CPython divides; b is not zero."""
    larger, smaller = abs(b.real), abs(b.imag)
    if larger >= smaller:
        ratio = b.imag / b.real
        scale = b.real + b.imag * ratio
        return complex((a.real + a.imag * ratio) / scale, (a.imag - a.real * ratio) / scale)
    if smaller >= larger:
        ratio = b.real / b.imag
        scale = b.real * ratio + b.imag
        return complex((a.real * ratio + a.imag) / scale, (a.imag * ratio - a.real) / scale)
    return complex(math.nan, math.nan)
'''
