"""Complex numbers: `complex()`, their parts and conjugates, and the functions of `cmath`."""

import cmath
from collections.abc import Callable
from typing import Any

from ...ir.ops.complex_scalars import CMATH_FUNCTIONS
from .context import Context
from .operators import is_number, number, scalar_kind, spread
from .registry import Handler, expect, handles
from .values import Abstract, Constant, Scalar, TensorRef, Tuple

__all__ = ["conjugate", "scalar_part"]


def scalar_part(context: Context, value: Abstract, name: str) -> Abstract:
    """`value.real` or `value.imag` of a number."""
    kind = scalar_kind(value)
    if kind == "complex":
        return Scalar(context.emit(f"scalar.{name}", number(context, value)))
    if name == "imag":
        return Constant(0.0 if kind == "float" else 0)
    return Scalar(context.emit("scalar.to_int", number(context, value))) if kind == "bool" else value


def conjugate(context: Context, value: Abstract) -> Abstract:
    """`value.conjugate()` of a number."""
    if scalar_kind(value) == "complex":
        return Scalar(context.emit("scalar.conjugate", number(context, value)))
    return scalar_part(context, value, "real")


def _known(values: tuple[Abstract, ...]) -> list[Any] | None:
    return (
        [v.value for v in values if isinstance(v, Constant)] if all(isinstance(v, Constant) for v in values) else None
    )


def _computed(context: Context, function: Callable[..., Any], values: list[Any]) -> Abstract:
    """What a function gives for constants."""
    try:
        return context.lift(function(*values))
    except TypeError as error:
        raise context.type_error(str(error)) from error
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        context.fails(error)


@handles(complex)
def _complex(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    given = [*arguments, *(keywords[k] for k in ("real", "imag") if k in keywords)]
    if "imag" in keywords and len(given) == 1:
        given.insert(0, Constant(0.0))
    expect(context, "complex", given, 0, 2)
    if not given:
        return Constant(0j)

    def one(*values: Abstract) -> Abstract:
        values = tuple(context.item(v) if isinstance(v, TensorRef) else v for v in values)
        known = _known(values)
        if known is not None:
            return _computed(context, complex, known)
        if not all(is_number(v) for v in values):
            shown = ", ".join(context.describe(v) for v in values)
            raise context.type_error(f"complex(): expected numbers, given {shown}")
        operands = [number(context, v) for v in values]
        if len(operands) == 2:
            return Scalar(context.emit("scalar.complex", *operands))
        return (
            values[0] if scalar_kind(values[0]) == "complex" else Scalar(context.emit("scalar.to_complex", *operands))
        )

    return spread(context, one, *given)


def _function(name: str) -> Handler:
    function = getattr(cmath, name)

    def handler(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
        expect(context, f"cmath.{name}", arguments, 2 if name == "rect" else 1, 2 if name in ("rect", "log") else 1)

        def one(*values: Abstract) -> Abstract:
            values = tuple(context.item(v) if isinstance(v, TensorRef) else v for v in values)
            known = _known(values)
            if known is not None:
                return _computed(context, function, known)
            if not all(is_number(v) for v in values):
                shown = ", ".join(context.describe(v) for v in values)
                raise context.type_error(f"cmath.{name}: expected numbers, given {shown}")
            operands = [number(context, v) for v in values]
            if name == "polar":
                length = context.emit("scalar.abs", context.emit("scalar.to_complex", *operands))
                return Tuple((Scalar(length), Scalar(context.emit("scalar.cmath", *operands, None, function="phase"))))
            other = operands[1] if len(operands) == 2 else None
            return Scalar(context.emit("scalar.cmath", operands[0], other, function=name))

        return spread(context, one, *arguments)

    return handler


for _name in (*CMATH_FUNCTIONS, "polar"):
    handles(getattr(cmath, _name))(_function(_name))
