"""Complex numbers of scripted programs: made of parts and taken apart, and the functions of Python's `cmath`."""

import cmath
import math
from typing import Any

from ..sizes import Sizes
from ..types import BoolType, ComplexType, FloatType, Type
from ._op import Custom, ErrorSample, Op, Sample, define
from .scalar import MAY_RAISE, PURE, rank_of

__all__ = ["CMATH_FUNCTIONS", "CONJUGATE", "FUNCTION", "IMAG", "MAKE", "REAL"]

CMATH_FUNCTIONS = (
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "isfinite", "isinf", "isnan", "log",
    "log10", "phase", "rect", "sin", "sinh", "sqrt", "tan", "tanh",
)  # fmt: skip
"""The functions of `cmath` that `scalar.cmath` computes; native code asks for them by their place."""


def _make_type(sizes: Sizes, real: Any, imag: Any) -> ComplexType:
    for part in (real, imag):
        rank_of("complex()", part)
    return ComplexType()


MAKE = define(
    "complex_(real: Scalar, imag: Scalar)",
    "complex(real, imag).",
    name="scalar.complex",
    infer=_make_type,
    evaluate=lambda xp, real, imag: complex(real, imag),
    lower=Custom("scalar.complex"),
    traits=PURE,
    samples=lambda: [Sample((1.5, -2)), Sample((1j, 2j)), Sample((True, -0.0)), Sample((math.nan, math.inf))],
    errors=lambda: [ErrorSample((1, "a"), TypeError, "expected numbers")],
)


def _part(name: str, doc: str, result: Type) -> Op:
    def infer(sizes: Sizes, value: Any) -> Type:
        if not isinstance(value, ComplexType):
            raise TypeError(f"complex.{name}: expected a complex number, given {value}")
        return result

    def evaluate(xp: Any, value: complex) -> Any:
        found = getattr(value, name)
        return found() if callable(found) else found

    return define(
        f"{name}_(value: Scalar)",
        doc,
        name=f"scalar.{name}",
        infer=infer,
        evaluate=evaluate,
        lower=Custom(f"scalar.{name}"),
        traits=PURE,
        samples=lambda: [Sample((2 - 3j,)), Sample((complex(-0.0, math.inf),))],
        errors=lambda: [ErrorSample((1.5,), TypeError, "expected a complex number")],
    )


REAL = _part("real", "The real part of a complex number.", FloatType())
IMAG = _part("imag", "The imaginary part of a complex number.", FloatType())
CONJUGATE = _part("conjugate", "The complex number with the other sign of its imaginary part.", ComplexType())


def _function_type(sizes: Sizes, value: Any, other: Any, *, function: str) -> Type:
    if function not in CMATH_FUNCTIONS:
        raise ValueError(f"scalar.cmath: cmath has no function {function!r} that can be computed")
    for operand in (value, other):
        rank = 0 if operand is None else rank_of(f"cmath.{function}()", operand)
        if rank > 2 and function == "rect":
            raise TypeError(f"cmath.rect(): must be real number, given {operand}")
    if (other is None and function == "rect") or not (other is None or function in ("rect", "log")):
        raise TypeError(f"cmath.{function}(): wrong number of arguments")
    if function.startswith("is"):
        return BoolType()
    return FloatType() if function == "phase" else ComplexType()


def _function(xp: Any, value: Any, other: Any, *, function: str) -> Any:
    return getattr(cmath, function)(*((value,) if other is None else (value, other)))


FUNCTION = define(
    "cmath(value: Scalar, other: Scalar = None, *, function: str)",
    "What the function of Python's `cmath` of that name gives; `other` is the base of log, or the angle of rect.",
    name="scalar.cmath",
    infer=_function_type,
    evaluate=_function,
    lower=Custom("scalar.cmath"),
    traits=MAY_RAISE,
    samples=lambda: [
        Sample((1 - 2j, None), {"function": "sqrt"}),
        Sample((-4, None), {"function": "sqrt"}),
        Sample((1j, 2), {"function": "log"}),
        Sample((2.0, 0.5), {"function": "rect"}),
        Sample((-1 + 0j, None), {"function": "phase"}),
        Sample((complex(math.nan, 1), None), {"function": "isnan"}),
    ],
    errors=lambda: [
        ErrorSample((0j, None), ValueError, "domain", {"function": "log"}),
        ErrorSample((1e4, None), OverflowError, "range", {"function": "exp"}),
        ErrorSample((1j, 1.0), TypeError, "real number", {"function": "rect"}),
        ErrorSample((1j, None), ValueError, "no function", {"function": "erf"}),
    ],
)
