"""Elementwise functions of one tensor: signs, powers, exponentials, logarithms, trigonometry, rounding, tests."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType, bool_, int64
from ..sizes import Sizes
from ..types import TensorType
from ._common import array_dtype, cast, floating, ints, randoms, require_tensor
from ._op import Elementwise, ErrorSample, F, Op, Sample, Trait, VjpContext, define

_PUBLIC = ("", "method")


def unary(
    name: str,
    doc: str,
    compute: Callable[[Any, Any], Any],
    expression: str,
    vjp: Callable[[VjpContext, Any, Any], Any] | None,
    *,
    float_only: bool = True,
    refuse_bool: bool = False,
    result: Callable[[DType], DType] | None = None,
    low: float = -2.0,
    high: float = 2.0,
    public: tuple[str, ...] = _PUBLIC,
    **fields: Any,
) -> Op:
    """An op of one tensor. `float_only` ones compute integers in the default float dtype.

    `vjp(context, g, x)` returns the gradient.
    """
    operate: Callable[[DType], DType] = floating if float_only else lambda dtype: dtype
    result = result or operate

    def infer(sizes: Sizes, input: Any) -> TensorType:
        input = require_tensor(name, "input", input)
        if refuse_bool and input.dtype is bool_:
            raise RuntimeError(
                f"{name}: bool tensors are not supported, given {input}; use logical_not or convert first"
            )
        return TensorType(result(input.dtype), input.shape, input.device)

    def evaluate(xp: Any, input: Any) -> Any:
        dtype = array_dtype(input)
        with np.errstate(all="ignore"):
            value = compute(xp, cast(xp, input, operate(dtype)))
        return cast(xp, value, result(dtype))

    def samples() -> list[Sample]:
        return [
            Sample((randoms(3, 5, low=low, high=high),)),
            Sample((randoms(low=low, high=high),)),
            Sample((randoms(0, 2, low=low, high=high),)),
            Sample((ints(4, low=1, high=3),), differentiable=False),
            Sample((randoms(2, 3, 7, low=low, high=high, dtype="float64"),)),
        ]

    return define(
        f"{name}(input: Tensor)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=(lambda c, g, x: (vjp(c, g, x),)) if vjp is not None else None,
        lower=Elementwise(expression),
        traits=fields.pop("traits", (Trait.PURE,)),
        public=public,
        samples=fields.pop("samples", samples),
        errors=lambda: [ErrorSample(("x",), TypeError, "must be Tensor")],
        **fields,
    )


_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
_RECIPROCAL_LN2 = 1.0 / math.log(2.0)
_RECIPROCAL_LN10 = 1.0 / math.log(10.0)

NEG = unary(
    "neg",
    "Elementwise negation.",
    lambda xp, x: xp.negative(x),
    "-{input}",
    lambda c, g, x: F.neg(g),
    float_only=False,
    refuse_bool=True,
    inplace=True,
    ufunc=np.negative,
    aliases=("negative",),
    dunders=("__neg__",),
)
ABS = unary(
    "abs",
    "Elementwise absolute value.",
    lambda xp, x: xp.absolute(x),
    "absolute({input})",
    lambda c, g, x: F.mul(g, F.sign(x)),
    float_only=False,
    inplace=True,
    ufunc=np.absolute,
    aliases=("absolute",),
    dunders=("__abs__",),
)
SIGN = unary(
    "sign",
    "Elementwise sign: -1, 0 or 1; NaN stays NaN.",
    lambda xp, x: xp.sign(x) if x.dtype.kind != "b" else x,
    "sign({input})",
    lambda c, g, x: F.mul(g, 0.0),
    float_only=False,
    inplace=True,
)


def _smooth(
    name: str,
    doc: str,
    compute: Callable[[Any, Any], Any],
    vjp: Callable[[VjpContext, Any, Any], Any],
    *,
    expression: str | None = None,
    **fields: Any,
) -> Op:
    """A differentiable function of reals, computed by the vector function of the same name."""
    return unary(name, doc, compute, expression or f"{name}({{input}})", vjp, inplace=True, **fields)


EXP = _smooth("exp", "Elementwise e**x.", lambda xp, x: xp.exp(x), lambda c, g, x: F.mul(g, c.output), ufunc=np.exp)
EXP2 = _smooth(
    "exp2",
    "Elementwise 2**x.",
    lambda xp, x: xp.exp2(x),
    lambda c, g, x: F.mul(g, F.mul(c.output, math.log(2.0))),
)
EXPM1 = _smooth(
    "expm1",
    "Elementwise e**x - 1, accurate near 0.",
    lambda xp, x: xp.expm1(x),
    lambda c, g, x: F.mul(g, F.add(c.output, 1.0)),
)
LOG = _smooth(
    "log", "Elementwise natural logarithm.", lambda xp, x: xp.log(x), lambda c, g, x: F.div(g, x), low=0.1, high=4.0
)
LOG2 = _smooth(
    "log2",
    "Elementwise logarithm to base 2.",
    lambda xp, x: xp.log2(x),
    lambda c, g, x: F.mul(F.div(g, x), _RECIPROCAL_LN2),
    low=0.1,
    high=4.0,
)
LOG10 = _smooth(
    "log10",
    "Elementwise logarithm to base 10.",
    lambda xp, x: xp.log10(x),
    lambda c, g, x: F.mul(F.div(g, x), _RECIPROCAL_LN10),
    low=0.1,
    high=4.0,
)
LOG1P = _smooth(
    "log1p",
    "Elementwise log(1 + x), accurate near 0.",
    lambda xp, x: xp.log1p(x),
    lambda c, g, x: F.div(g, F.add(x, 1.0)),
    low=-0.5,
)
SQRT = _smooth(
    "sqrt",
    "Elementwise square root; NaN below 0.",
    lambda xp, x: xp.sqrt(x),
    lambda c, g, x: F.div(g, F.mul(c.output, 2.0)),
    low=0.1,
    high=4.0,
    ufunc=np.sqrt,
)
RSQRT = _smooth(
    "rsqrt",
    "Elementwise 1 / sqrt(x).",
    lambda xp, x: xp.reciprocal(xp.sqrt(x)),
    lambda c, g, x: F.mul(g, F.mul(F.div(c.output, x), -0.5)),
    low=0.1,
    high=4.0,
)
RECIPROCAL = _smooth(
    "reciprocal",
    "Elementwise 1 / x.",
    lambda xp, x: xp.reciprocal(x),
    lambda c, g, x: F.neg(F.mul(g, F.mul(c.output, c.output))),
    expression="1 / {input}",
    low=0.3,
)
SQUARE = unary(
    "square",
    "Elementwise x * x.",
    lambda xp, x: xp.square(x.astype(np.int64) if x.dtype == bool else x),
    "{input} * {input}",
    lambda c, g, x: F.mul(g, F.mul(x, 2.0)),
    float_only=False,
    result=lambda dtype: int64 if dtype is bool_ else dtype,
    inplace=True,
)
SIN = _smooth("sin", "Elementwise sine of radians.", lambda xp, x: xp.sin(x), lambda c, g, x: F.mul(g, F.cos(x)))
COS = _smooth(
    "cos", "Elementwise cosine of radians.", lambda xp, x: xp.cos(x), lambda c, g, x: F.neg(F.mul(g, F.sin(x)))
)
TAN = _smooth(
    "tan",
    "Elementwise tangent of radians.",
    lambda xp, x: xp.tan(x),
    lambda c, g, x: F.mul(g, F.add(F.mul(c.output, c.output), 1.0)),
    low=-1.2,
    high=1.2,
)
ASIN = _smooth(
    "asin",
    "Elementwise arcsine, in radians.",
    lambda xp, x: xp.arcsin(x),
    lambda c, g, x: F.mul(g, F.rsqrt(F.sub(1.0, F.mul(x, x)))),
    low=-0.9,
    high=0.9,
    aliases=("arcsin",),
)
ACOS = _smooth(
    "acos",
    "Elementwise arccosine, in radians.",
    lambda xp, x: xp.arccos(x),
    lambda c, g, x: F.neg(F.mul(g, F.rsqrt(F.sub(1.0, F.mul(x, x))))),
    low=-0.9,
    high=0.9,
    aliases=("arccos",),
)
ATAN = _smooth(
    "atan",
    "Elementwise arctangent, in radians.",
    lambda xp, x: xp.arctan(x),
    lambda c, g, x: F.div(g, F.add(F.mul(x, x), 1.0)),
    aliases=("arctan",),
)
SINH = _smooth("sinh", "Elementwise hyperbolic sine.", lambda xp, x: xp.sinh(x), lambda c, g, x: F.mul(g, F.cosh(x)))
COSH = _smooth("cosh", "Elementwise hyperbolic cosine.", lambda xp, x: xp.cosh(x), lambda c, g, x: F.mul(g, F.sinh(x)))
TANH = _smooth(
    "tanh",
    "Elementwise hyperbolic tangent.",
    lambda xp, x: xp.tanh(x),
    lambda c, g, x: F.mul(g, F.sub(1.0, F.mul(c.output, c.output))),
    ufunc=np.tanh,
)
_erf = np.vectorize(math.erf, otypes=[float])
_erfc = np.vectorize(math.erfc, otypes=[float])
_ERF_EDGE = 4.0  # erf(4) is 1 in float32
_BLOCK = 8192


@functools.cache
def _erf_coefficients() -> tuple[float, ...]:
    """Chebyshev coefficients of erf(s) / s as a function of s**2 in [0, 16], to about 1e-12."""

    def function(v: Any) -> Any:
        s = np.sqrt((v + 1) * (_ERF_EDGE**2 / 2))
        return _erf(s) / s

    return tuple(float(c) for c in np.polynomial.chebyshev.chebinterpolate(function, 27))


def _erf_blocks(x: Any) -> Any:
    """erf for float32 and float16: Clenshaw's recurrence in double precision, on blocks that stay in cache."""
    flat = x.ravel()
    result = np.empty(flat.shape, x.dtype)
    first, *rest = _erf_coefficients()
    for start in range(0, flat.size, _BLOCK):
        s = np.clip(flat[start : start + _BLOCK].astype(np.float64), -_ERF_EDGE, _ERF_EDGE)
        v = s * s * (2 / _ERF_EDGE**2) - 1
        twice = v + v
        last, current = np.zeros_like(v), np.zeros_like(v)
        for coefficient in reversed(rest):
            following = twice * current
            following -= last
            following += coefficient
            last, current = current, following
        v *= current
        v -= last
        v += first
        result[start : start + _BLOCK] = v * s
    return result.reshape(x.shape)


def compute_erf(xp: Any, x: Any) -> Any:
    """erf of an array."""
    if x.size > 1024 and x.dtype.itemsize < 8:
        return _erf_blocks(x)
    return _erf(x).astype(x.dtype) if x.size else x


def _compute_erfc(xp: Any, x: Any) -> Any:
    return _erfc(x).astype(x.dtype) if x.size else x


ERF = _smooth(
    "erf",
    "Elementwise error function.",
    compute_erf,
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.neg(F.mul(x, x))), _TWO_OVER_SQRT_PI)),
)
ERFC = _smooth(
    "erfc",
    "Elementwise 1 - erf(x), accurate for large x.",
    _compute_erfc,
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.neg(F.mul(x, x))), -_TWO_OVER_SQRT_PI)),
)


def compute_sigmoid(xp: Any, x: Any) -> Any:
    """sigmoid of an array, with exp of negative numbers only, so that nothing overflows."""
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, x.dtype.type(1), small) / (1 + small)


SIGMOID = _smooth(
    "sigmoid",
    "Elementwise 1 / (1 + e**-x).",
    compute_sigmoid,
    lambda c, g, x: F.mul(g, F.mul(c.output, F.sub(1.0, c.output))),
)


def _rounding(name: str, doc: str, numpy_name: str) -> Op:
    return unary(
        name,
        doc,
        lambda xp, x: getattr(xp, numpy_name)(x) if x.dtype.kind == "f" else x,
        f"{name}({{input}})",
        lambda c, g, x: F.mul(g, 0.0),
        float_only=False,
        inplace=True,
        traits=(Trait.PURE, Trait.IDEMPOTENT),
    )


FLOOR = _rounding("floor", "Elementwise rounding down.", "floor")
CEIL = _rounding("ceil", "Elementwise rounding up.", "ceil")
TRUNC = _rounding("trunc", "Elementwise rounding toward 0.", "trunc")
ROUND = _rounding("round", "Elementwise rounding to the nearest integer, ties to even.", "rint")


def _predicate(name: str, doc: str, expression: str, numpy_name: str) -> Op:
    return unary(
        name,
        doc,
        lambda xp, x: getattr(xp, numpy_name)(x),
        expression,
        None,
        float_only=False,
        result=lambda dtype: bool_,
    )


ISNAN = _predicate("isnan", "Whether elements are NaN.", "{input} != {input}", "isnan")
ISINF = _predicate("isinf", "Whether elements are infinite.", "isinf({input})", "isinf")
ISFINITE = _predicate("isfinite", "Whether elements are neither infinite nor NaN.", "isfinite({input})", "isfinite")
LOGICAL_NOT = _predicate("logical_not", "Whether elements are zero (false).", "{input} == 0", "logical_not")


# -- more functions ----------------------------------------------------------------------------------------------------

ASINH = _smooth(
    "asinh",
    "Elementwise inverse hyperbolic sine.",
    lambda xp, x: xp.arcsinh(x),
    lambda c, g, x: F.mul(g, F.rsqrt(F.add(F.mul(x, x), 1.0))),
    aliases=("arcsinh",),
)
ACOSH = _smooth(
    "acosh",
    "Elementwise inverse hyperbolic cosine; NaN below 1.",
    lambda xp, x: xp.arccosh(x),
    lambda c, g, x: F.mul(g, F.rsqrt(F.sub(F.mul(x, x), 1.0))),
    low=1.2,
    high=4.0,
    aliases=("arccosh",),
)
ATANH = _smooth(
    "atanh",
    "Elementwise inverse hyperbolic tangent; NaN outside [-1, 1].",
    lambda xp, x: xp.arctanh(x),
    lambda c, g, x: F.div(g, F.sub(1.0, F.mul(x, x))),
    low=-0.9,
    high=0.9,
    aliases=("arctanh",),
)
FRAC = unary(
    "frac",
    "Elementwise fractional part, with the sign of the number.",
    lambda xp, x: x - xp.trunc(x),
    "{input} - trunc({input})",
    lambda c, g, x: g,
    inplace=True,
    low=0.1,
    high=0.9,
)


def _infer_bitwise_not(sizes: Sizes, input: TensorType) -> TensorType:
    input = require_tensor("bitwise_not", "input", input)
    if input.dtype.category > 1:
        raise RuntimeError(f"bitwise_not: expected an integer or bool tensor, given {input}")
    return input


BITWISE_NOT = define(
    "bitwise_not(input: Tensor)",
    "Elementwise bitwise not; logical not of bools.",
    infer=_infer_bitwise_not,
    evaluate=lambda xp, input: xp.invert(input),
    lower=Elementwise("~{input}"),
    public=_PUBLIC,
    inplace=True,
    dunders=("__invert__",),
    samples=lambda: [Sample((ints(5),)), Sample((ints(3, 2) > 0,)), Sample((ints(0, dtype="uint8", low=0),))],
    errors=lambda: [ErrorSample((randoms(3),), RuntimeError, "integer or bool")],
)
