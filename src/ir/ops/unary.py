"""Elementwise functions of one tensor: signs, powers, exponentials, logarithms, trigonometry, rounding, tests."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType, bool_, complex64, complex128, float32, float64, int64
from ..sizes import Sizes
from ..types import TensorType
from ._common import array_dtype, cast, conjugating, floating, ints, randoms, require_tensor, special
from ._op import Elementwise, ErrorSample, F, Op, Sample, Trait, VjpContext, define

_PUBLIC = ("", "method")
_OF_COMPLEX = {
    "neg", "abs", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "square",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid",
    "isnan", "isinf", "isfinite", "logical_not",
}  # fmt: skip


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
        if input.dtype.is_complex and name not in _OF_COMPLEX:
            raise NotImplementedError(f"{name}: complex tensors are not supported, given {input}")
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
        vjp=conjugating(lambda c, g, x: (vjp(c, g, x),)) if vjp is not None else None,
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
    "Elementwise negation.\n\n>>> ingot.neg(ingot.tensor([-1.5, 0.25]))\ntensor([ 1.5000, -0.2500])",
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
    "Elementwise absolute value.\n\n>>> ingot.abs(ingot.tensor([-1.5, 0.25]))\ntensor([1.5000, 0.2500])",
    lambda xp, x: xp.absolute(x),
    "absolute({input})",
    lambda c, g, x: F.mul(g, F.sgn(x) if x.dtype.is_complex else F.sign(x)),
    float_only=False,
    result=lambda dtype: {complex64: float32, complex128: float64}.get(dtype, dtype),
    inplace=True,
    ufunc=np.absolute,
    aliases=("absolute",),
    dunders=("__abs__",),
)
SIGN = unary(
    "sign",
    "Elementwise sign: -1, 0 or 1; 0 for NaN.\n\n>>> ingot.sign(ingot.tensor([-1.5, 0.25]))\ntensor([-1.,  1.])",
    lambda xp, x: xp.asarray(x > 0, x.dtype) - (x < 0) if x.dtype.kind != "b" else x,
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


EXP = _smooth(
    "exp",
    "Elementwise e**x.\n\n>>> ingot.exp(ingot.tensor([0., 0.5]))\ntensor([1.0000, 1.6487])",
    lambda xp, x: xp.exp(x),
    lambda c, g, x: F.mul(g, c.output),
    ufunc=np.exp,
)
EXP2 = _smooth(
    "exp2",
    "Elementwise 2**x.\n\n>>> ingot.exp2(ingot.tensor([0., 0.5]))\ntensor([1.0000, 1.4142])",
    lambda xp, x: xp.exp2(x),
    lambda c, g, x: F.mul(g, F.mul(c.output, math.log(2.0))),
)
EXPM1 = _smooth(
    "expm1",
    "Elementwise e**x - 1, accurate near 0.\n\n>>> ingot.expm1(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.6487])",
    lambda xp, x: xp.expm1(x),
    lambda c, g, x: F.mul(g, F.add(c.output, 1.0)),
)
LOG = _smooth(
    "log",
    "Elementwise natural logarithm.\n\n>>> ingot.log(ingot.tensor([1., 4.]))\ntensor([0.0000, 1.3863])",
    lambda xp, x: xp.log(x),
    lambda c, g, x: F.div(g, x),
    low=0.1,
    high=4.0,
)
LOG2 = _smooth(
    "log2",
    "Elementwise logarithm to base 2.\n\n>>> ingot.log2(ingot.tensor([1., 4.]))\ntensor([0., 2.])",
    lambda xp, x: xp.log2(x),
    lambda c, g, x: F.mul(F.div(g, x), _RECIPROCAL_LN2),
    low=0.1,
    high=4.0,
)
LOG10 = _smooth(
    "log10",
    "Elementwise logarithm to base 10.\n\n>>> ingot.log10(ingot.tensor([1., 4.]))\ntensor([0.0000, 0.6021])",
    lambda xp, x: xp.log10(x),
    lambda c, g, x: F.mul(F.div(g, x), _RECIPROCAL_LN10),
    low=0.1,
    high=4.0,
)
LOG1P = _smooth(
    "log1p",
    "Elementwise log(1 + x), accurate near 0.\n\n>>> ingot.log1p(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.4055])",
    lambda xp, x: xp.log1p(x),
    lambda c, g, x: F.div(g, F.add(x, 1.0)),
    low=-0.5,
)
SQRT = _smooth(
    "sqrt",
    "Elementwise square root; NaN below 0.\n\n>>> ingot.sqrt(ingot.tensor([1., 4.]))\ntensor([1., 2.])",
    lambda xp, x: xp.sqrt(x),
    lambda c, g, x: F.div(g, F.mul(c.output, 2.0)),
    low=0.1,
    high=4.0,
    ufunc=np.sqrt,
)
RSQRT = _smooth(
    "rsqrt",
    "Elementwise 1 / sqrt(x).\n\n>>> ingot.rsqrt(ingot.tensor([1., 4.]))\ntensor([1.0000, 0.5000])",
    lambda xp, x: xp.reciprocal(xp.sqrt(x)),
    lambda c, g, x: F.mul(g, F.mul(F.div(c.output, x), -0.5)),
    low=0.1,
    high=4.0,
)
RECIPROCAL = _smooth(
    "reciprocal",
    "Elementwise 1 / x.\n\n>>> ingot.reciprocal(ingot.tensor([1., 4.]))\ntensor([1.0000, 0.2500])",
    lambda xp, x: xp.reciprocal(x),
    lambda c, g, x: F.neg(F.mul(g, F.mul(c.output, c.output))),
    expression="1 / {input}",
    low=0.3,
)
SQUARE = unary(
    "square",
    "Elementwise x * x.\n\n>>> ingot.square(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.2500])",
    lambda xp, x: xp.square(x.astype(np.int64) if x.dtype == bool else x),
    "{input} * {input}",
    lambda c, g, x: F.mul(g, F.mul(x, 2.0)),
    float_only=False,
    result=lambda dtype: int64 if dtype is bool_ else dtype,
    inplace=True,
)
SIN = _smooth(
    "sin",
    "Elementwise sine of radians.\n\n>>> ingot.sin(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.4794])",
    lambda xp, x: xp.sin(x),
    lambda c, g, x: F.mul(g, F.cos(x)),
)
COS = _smooth(
    "cos",
    "Elementwise cosine of radians.\n\n>>> ingot.cos(ingot.tensor([0., 0.5]))\ntensor([1.0000, 0.8776])",
    lambda xp, x: xp.cos(x),
    lambda c, g, x: F.neg(F.mul(g, F.sin(x))),
)
TAN = _smooth(
    "tan",
    "Elementwise tangent of radians.\n\n>>> ingot.tan(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.5463])",
    lambda xp, x: xp.tan(x),
    lambda c, g, x: F.mul(g, F.add(F.mul(c.output, c.output), 1.0)),
    low=-1.2,
    high=1.2,
)
ASIN = _smooth(
    "asin",
    "Elementwise arcsine, in radians.\n\n>>> ingot.asin(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.5236])",
    lambda xp, x: xp.arcsin(x),
    lambda c, g, x: F.mul(g, F.rsqrt(F.sub(1.0, F.mul(x, x)))),
    low=-0.9,
    high=0.9,
    aliases=("arcsin",),
)
ACOS = _smooth(
    "acos",
    "Elementwise arccosine, in radians.\n\n>>> ingot.acos(ingot.tensor([0., 0.5]))\ntensor([1.5708, 1.0472])",
    lambda xp, x: xp.arccos(x),
    lambda c, g, x: F.neg(F.mul(g, F.rsqrt(F.sub(1.0, F.mul(x, x))))),
    low=-0.9,
    high=0.9,
    aliases=("arccos",),
)
ATAN = _smooth(
    "atan",
    "Elementwise arctangent, in radians.\n\n>>> ingot.atan(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.4636])",
    lambda xp, x: xp.arctan(x),
    lambda c, g, x: F.div(g, F.add(F.mul(x, x), 1.0)),
    aliases=("arctan",),
)
SINH = _smooth(
    "sinh",
    "Elementwise hyperbolic sine.\n\n>>> ingot.sinh(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.5211])",
    lambda xp, x: xp.sinh(x),
    lambda c, g, x: F.mul(g, F.cosh(x)),
)
COSH = _smooth(
    "cosh",
    "Elementwise hyperbolic cosine.\n\n>>> ingot.cosh(ingot.tensor([0., 0.5]))\ntensor([1.0000, 1.1276])",
    lambda xp, x: xp.cosh(x),
    lambda c, g, x: F.mul(g, F.sinh(x)),
)
TANH = _smooth(
    "tanh",
    "Elementwise hyperbolic tangent.\n\n>>> ingot.tanh(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.4621])",
    lambda xp, x: xp.tanh(x),
    lambda c, g, x: F.mul(g, F.sub(1.0, F.mul(c.output, c.output))),
    ufunc=np.tanh,
)
_erf = special("erf", math.erf)
_erfc = special("erfc", math.erfc)
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
    if xp is np and x.size > 1024 and x.dtype.itemsize < 8:
        return _erf_blocks(x)
    return _erf(x).astype(x.dtype) if x.size else x


def _compute_erfc(xp: Any, x: Any) -> Any:
    return _erfc(x).astype(x.dtype) if x.size else x


ERF = _smooth(
    "erf",
    "Elementwise error function.\n\n>>> ingot.erf(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.5205])",
    compute_erf,
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.neg(F.mul(x, x))), _TWO_OVER_SQRT_PI)),
)
ERFC = _smooth(
    "erfc",
    "Elementwise 1 - erf(x), accurate for large x.\n\n"
    ">>> ingot.erfc(ingot.tensor([0., 0.5]))\n"
    "tensor([1.0000, 0.4795])",
    _compute_erfc,
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.neg(F.mul(x, x))), -_TWO_OVER_SQRT_PI)),
)


def compute_sigmoid(xp: Any, x: Any) -> Any:
    """sigmoid of an array, with exp of negative numbers only, so that nothing overflows."""
    if x.dtype.kind == "c":
        return 1 / (1 + xp.exp(-x))
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, x.dtype.type(1), small) / (1 + small)


SIGMOID = _smooth(
    "sigmoid",
    "Elementwise 1 / (1 + e**-x).\n\n>>> ingot.sigmoid(ingot.tensor([0., 0.5]))\ntensor([0.5000, 0.6225])",
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


FLOOR = _rounding(
    "floor", "Elementwise rounding down.\n\n>>> ingot.floor(ingot.tensor([-1.5, 0.25]))\ntensor([-2.,  0.])", "floor"
)
CEIL = _rounding(
    "ceil", "Elementwise rounding up.\n\n>>> ingot.ceil(ingot.tensor([-1.5, 0.25]))\ntensor([-1.,  1.])", "ceil"
)
TRUNC = _rounding(
    "trunc",
    "Elementwise rounding toward 0.\n\n>>> ingot.trunc(ingot.tensor([-1.5, 0.25]))\ntensor([-1.,  0.])",
    "trunc",
)
ROUND = _rounding(
    "round",
    "Elementwise rounding to the nearest integer, ties to even.\n\n"
    ">>> ingot.round(ingot.tensor([-1.5, 0.25]))\n"
    "tensor([-2.,  0.])",
    "rint",
)


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


ISNAN = _predicate(
    "isnan",
    "Whether elements are NaN.\n\n"
    '>>> ingot.isnan(ingot.tensor([1., float("nan"), float("inf")]))\n'
    "tensor([False,  True, False])",
    "{input} != {input}",
    "isnan",
)
ISINF = _predicate(
    "isinf",
    "Whether elements are infinite.\n\n"
    '>>> ingot.isinf(ingot.tensor([1., float("nan"), float("inf")]))\n'
    "tensor([False, False,  True])",
    "isinf({input})",
    "isinf",
)
ISFINITE = _predicate(
    "isfinite",
    "Whether elements are neither infinite nor NaN.\n\n"
    '>>> ingot.isfinite(ingot.tensor([1., float("nan"), float("inf")]))\n'
    "tensor([ True, False, False])",
    "isfinite({input})",
    "isfinite",
)
LOGICAL_NOT = _predicate(
    "logical_not",
    "Whether elements are zero (false).\n\n>>> ingot.logical_not(ingot.tensor([0, 2]))\ntensor([ True, False])",
    "{input} == 0",
    "logical_not",
)


# -- more functions ----------------------------------------------------------------------------------------------------

ASINH = _smooth(
    "asinh",
    "Elementwise inverse hyperbolic sine.\n\n>>> ingot.asinh(ingot.tensor([0., 0.5]))\ntensor([0.0000, 0.4812])",
    lambda xp, x: xp.arcsinh(x),
    lambda c, g, x: F.mul(g, F.rsqrt(F.add(F.mul(x, x), 1.0))),
    aliases=("arcsinh",),
)
ACOSH = _smooth(
    "acosh",
    "Elementwise inverse hyperbolic cosine; NaN below 1.\n\n"
    ">>> ingot.acosh(ingot.tensor([1., 4.]))\n"
    "tensor([0.0000, 2.0634])",
    lambda xp, x: xp.arccosh(x),
    lambda c, g, x: F.mul(g, F.rsqrt(F.sub(F.mul(x, x), 1.0))),
    low=1.2,
    high=4.0,
    aliases=("arccosh",),
)
ATANH = _smooth(
    "atanh",
    "Elementwise inverse hyperbolic tangent; NaN outside [-1, 1].\n\n"
    ">>> ingot.atanh(ingot.tensor([0., 0.5]))\n"
    "tensor([0.0000, 0.5493])",
    lambda xp, x: xp.arctanh(x),
    lambda c, g, x: F.div(g, F.sub(1.0, F.mul(x, x))),
    low=-0.9,
    high=0.9,
    aliases=("arctanh",),
)
FRAC = unary(
    "frac",
    "Elementwise fractional part, with the sign of the number.\n\n"
    ">>> ingot.frac(ingot.tensor([-1.5, 0.25]))\n"
    "tensor([-0.5000,  0.2500])",
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
    "Elementwise bitwise not; logical not of bools.\n\n>>> ingot.bitwise_not(ingot.tensor([0, 5]))\ntensor([-1, -6])",
    infer=_infer_bitwise_not,
    evaluate=lambda xp, input: xp.invert(input),
    lower=Elementwise("~{input}"),
    public=_PUBLIC,
    inplace=True,
    dunders=("__invert__",),
    samples=lambda: [Sample((ints(5),)), Sample((ints(3, 2) > 0,)), Sample((ints(0, dtype="uint8", low=0),))],
    errors=lambda: [ErrorSample((randoms(3),), RuntimeError, "integer or bool")],
)
