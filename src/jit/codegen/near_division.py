"""Divisions of floats that round, without a branch: for numbers that are near enough to their divisors.

Kernels ask `is_near` of all elements of a block first, and then call these: LLVM vectorises both. Elsewhere they give
other numbers than the forms without `near_` in `helpers`; where they are right, the same bits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import lower_builtin, type_callable

from .bits_lowering import is_near_quotient, near_remainder

__all__ = ["floor_quotient", "floored", "is_near", "near_floor_divide", "near_floor_remainder", "near_fmod"]

Lowering = Callable[[Any, Any, Any], Any]


def is_near(a: Any, b: Any) -> Any:
    """Whether the quotient of two floats has so few digits that one division gives the remainder; both are finite.

    >>> is_near(7.0, 3.0), is_near(1e300, 3.0), is_near(1.0, 0.0)
    (True, False, False)
    """
    digits = 2.0**23 if isinstance(a, np.float32) else 2.0**52
    return bool(np.isfinite(a) and np.isfinite(b) and abs(float(a)) < abs(float(b)) * digits)


def near_fmod(a: Any, b: Any) -> Any:
    """C's fmod of numbers that are near.

    >>> float(near_fmod(-7.0, 3.0))
    -1.0
    """
    return np.fmod(a, b)


def near_floor_remainder(a: Any, b: Any) -> Any:
    """Python's `%` of numbers that are near.

    >>> float(near_floor_remainder(-7.0, 3.0))
    2.0
    """
    return np.remainder(a, b)


def near_floor_divide(a: Any, b: Any) -> Any:
    """Python's `//` of numbers that are near.

    >>> float(near_floor_divide(-7.0, 3.0))
    -3.0
    """
    return np.floor_divide(a, b)


def floored(builder: Any, a: Any, b: Any, remainder: Any) -> tuple[Any, Any]:
    """(remainder, whether it was moved by one divisor): C's remainder brought to the sign of the divisor."""
    zero = a.type(0)
    nonzero = builder.fcmp_ordered("!=", remainder, zero)
    negative = builder.fcmp_ordered("<", remainder, zero)
    moved = builder.and_(nonzero, builder.xor(negative, builder.fcmp_ordered("<", b, zero)))
    adjusted = builder.select(moved, builder.fadd(remainder, b), remainder)
    # A zero remainder takes the divisor's sign.
    signed_zero = _call(builder, "llvm.copysign", [zero, b])
    return builder.select(builder.fcmp_ordered("==", adjusted, zero), signed_zero, adjusted), moved


def floor_quotient(builder: Any, a: Any, b: Any, remainder: Any) -> Any:
    """The quotient rounded down, as numpy: from C's remainder, so that it is right where a / b rounds up."""
    _, moved = floored(builder, a, b, remainder)
    quotient = builder.fdiv(builder.fsub(a, remainder), b)
    quotient = builder.select(moved, builder.fsub(quotient, a.type(1)), quotient)
    down = _call(builder, "llvm.floor", [quotient])
    up = builder.fcmp_ordered(">", builder.fsub(quotient, down), a.type(0.5))
    result = builder.select(up, builder.fadd(down, a.type(1)), down)
    plain = builder.fdiv(a, b)
    signed_zero = _call(builder, "llvm.copysign", [a.type(0), plain])
    result = builder.select(builder.fcmp_ordered("==", quotient, a.type(0)), signed_zero, result)
    return builder.select(builder.fcmp_ordered("==", b, b.type(0)), plain, result)


def _call(builder: Any, name: str, arguments: list[Any]) -> Any:
    kind = arguments[0].type
    function_type = builder.module.declare_intrinsic(name, [kind])
    return builder.call(function_type, arguments)


def _give(function: Callable[..., Any], lowering: Lowering, result: Any = None) -> None:
    """Give a function of two floats of one type its native form."""

    @type_callable(function)  # type: ignore[untyped-decorator]
    def typing(context: Any) -> Any:
        def of_floats(a: Any, b: Any) -> Any:
            return (result or a) if isinstance(a, types.Float) and a == b else None

        return of_floats

    @lower_builtin(function, types.Float, types.Float)  # type: ignore[no-untyped-call, untyped-decorator]
    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        return lowering(builder, *arguments)


_give(is_near, is_near_quotient, types.boolean)
_give(near_fmod, near_remainder)
_give(near_floor_remainder, lambda builder, a, b: floored(builder, a, b, near_remainder(builder, a, b))[0])
_give(near_floor_divide, lambda builder, a, b: floor_quotient(builder, a, b, near_remainder(builder, a, b)))
