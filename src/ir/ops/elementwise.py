"""Elementwise ops: arithmetic, comparison, logic and functions of one element, with broadcasting and promotion."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType, bool_, float32
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    array_dtype,
    broadcast_types,
    cast,
    floating,
    ints,
    promoted,
    promoted_array_dtype,
    randoms,
    require_tensor,
    sum_to,
)
from ._op import Decompose, Elementwise, ErrorSample, F, Op, Sample, Trait, VjpContext, define

_BINARY_PUBLIC = ("", "method")


# -- binary -----------------------------------------------------------------------------------------------------------


def binary(
    name: str,
    doc: str,
    compute: Callable[..., Any],
    expression: str,
    vjp: Callable[[VjpContext, Any, Any, Any], tuple[Any, Any]] | None,
    *,
    ufunc: Any = None,
    result: Callable[[DType], DType] = lambda dtype: dtype,
    operate: Callable[[DType], DType] = lambda dtype: dtype,
    refuse_bool: bool = False,
    traits: tuple[str, ...] = (),
    low: float = -2.0,
    **fields: Any,
) -> Op:
    """An op of two operands, each a tensor or a number.

    Operands are promoted to a common dtype, `operate(dtype)` says in which dtype to compute, `result(dtype)` which the
    result has. `vjp(context, g, a, b)` returns both gradients before they are summed over broadcast dimensions.
    """

    def infer(sizes: Sizes, input: Any, other: Any) -> TensorType:
        dtype = operate(promoted((input, other)))
        if refuse_bool and dtype is bool_:
            raise RuntimeError(f"{name}: bool tensors are not supported, given {input} and {other}; use ^ or ~ instead")
        return broadcast_types(sizes, name, (input, other), result(dtype))

    def evaluate(xp: Any, input: Any, other: Any) -> Any:
        promoted_dtype = promoted_array_dtype((input, other))
        dtype = operate(promoted_dtype)
        value = compute(xp, cast(xp, input, dtype), cast(xp, other, dtype))
        return cast(xp, value, result(dtype))

    def gradients(context: VjpContext, gradient: Any, input: Any, other: Any) -> tuple[Any, Any]:
        assert vjp is not None
        left, right = vjp(context, gradient, input, other)
        return (
            sum_to(left, input) if context.needs[0] and left is not None else None,
            sum_to(right, other) if context.needs[1] and right is not None else None,
        )

    def samples() -> list[Sample]:
        return [
            Sample((randoms(3, 4, low=low), randoms(3, 4, seed=1, low=low))),
            Sample((randoms(3, 1, 5, low=low), randoms(4, 1, seed=1, low=low))),
            Sample((randoms(7, low=low), 2.5)),
            Sample((ints(5, low=1), ints(5, seed=1, low=1)), differentiable=False),
            Sample((ints(2, 3, dtype="int32", low=1), randoms(3, low=low)), differentiable=False),
            Sample((randoms(0, 3, low=low), randoms(1, 3, low=low))),
            Sample((1.5 + randoms(low=low), randoms(3, low=low))),
        ]

    def errors() -> list[ErrorSample]:
        return [
            ErrorSample((randoms(3, 4), randoms(2, 4)), RuntimeError, r"\[3, 4\] and \[2, 4\]"),
            ErrorSample((randoms(3), "x"), TypeError, r"'?str'?|number"),
        ]

    comparison = result(float32) is bool_
    return define(
        f"{name}(input: Tensor | Scalar, other: Tensor | Scalar)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=gradients if vjp is not None else None,
        lower=Elementwise(expression, compute="operands" if comparison else "result"),
        traits=(Trait.PURE, *traits),
        public=_BINARY_PUBLIC,
        samples=fields.pop("samples", samples),
        errors=errors,
        ufunc=ufunc,
        **fields,
    )


def _compute_divide(xp: Any, a: Any, b: Any) -> Any:
    with np.errstate(all="ignore"):
        return xp.true_divide(a, b)


def _quiet(function_name: str) -> Callable[[Any, Any, Any], Any]:
    def compute(xp: Any, a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):
            return getattr(xp, function_name)(a, b)

    return compute


ADD = binary(
    "add",
    "Elementwise sum.\n\n>>> ingot.add(ingot.tensor([1.0, 2.0]), 1)\ntensor([2., 3.])",
    _quiet("add"),
    "{input} + {other}",
    lambda c, g, a, b: (g, g),
    ufunc=np.add,
    traits=(Trait.COMMUTATIVE,),
    inplace=True,
    dunders=("__add__", "__radd__", "__iadd__"),
)
SUB = binary(
    "sub",
    "Elementwise difference.",
    _quiet("subtract"),
    "{input} - {other}",
    lambda c, g, a, b: (g, F.neg(g)),
    ufunc=np.subtract,
    refuse_bool=True,
    inplace=True,
    aliases=("subtract",),
    dunders=("__sub__", "__rsub__", "__isub__"),
)
MUL = binary(
    "mul",
    "Elementwise product.",
    _quiet("multiply"),
    "{input} * {other}",
    lambda c, g, a, b: (F.mul(g, _conjugate(b)), F.mul(g, _conjugate(a))),
    ufunc=np.multiply,
    traits=(Trait.COMMUTATIVE,),
    inplace=True,
    aliases=("multiply",),
    dunders=("__mul__", "__rmul__", "__imul__"),
)
DIV = binary(
    "div",
    "Elementwise true quotient; integers give the default float dtype.",
    _compute_divide,
    "{input} / {other}",
    lambda c, g, a, b: (F.div(g, _conjugate(b)), F.neg(F.div(F.mul(g, c.output), _conjugate(b)))),
    operate=floating,
    inplace=True,
    aliases=("divide", "true_divide"),
    dunders=("__truediv__", "__rtruediv__", "__itruediv__"),
    low=0.5,
)
FLOOR_DIVIDE = binary(
    "floor_divide",
    "Elementwise quotient rounded down. Division of integers by zero raises ZeroDivisionError.",
    lambda xp, a, b: _integer_division(xp.floor_divide, a, b),
    "floor_divide({input}, {other})",
    lambda c, g, a, b: (None, None),
    inplace=True,
    dunders=("__floordiv__", "__rfloordiv__", "__ifloordiv__"),
    low=0.5,
)
REMAINDER = binary(
    "remainder",
    "Elementwise remainder with the sign of the divisor, as Python's %.",
    lambda xp, a, b: _integer_division(xp.remainder, a, b),
    "remainder({input}, {other})",
    lambda c, g, a, b: (g, F.neg(F.mul(g, F.floor_divide(a, b)))),
    inplace=True,
    dunders=("__mod__", "__rmod__", "__imod__"),
    low=0.5,
)
FMOD = binary(
    "fmod",
    "Elementwise remainder with the sign of the dividend, as C's fmod.",
    lambda xp, a, b: _integer_division(xp.fmod, a, b),
    "fmod({input}, {other})",
    lambda c, g, a, b: (g, F.neg(F.mul(g, F.trunc(F.div(a, b))))),
    inplace=True,
    low=0.5,
)


def _integer_division(function: Any, a: Any, b: Any) -> Any:
    if a.dtype.kind in "iub" and not np.all(b):
        raise RuntimeError("ZeroDivisionError: an integer tensor is divided by zero")
    with np.errstate(all="ignore"):
        return function(a, b)


def _conjugate(value: Any) -> Any:
    return value  # complex gradients conjugate here once complex ops are differentiable


def _compute_power(xp: Any, a: Any, b: Any) -> Any:
    if a.dtype.kind in "iu" and (b < 0).any():
        raise RuntimeError("pow: integers to negative integer powers are not allowed; convert to a floating dtype")
    with np.errstate(all="ignore"):
        return xp.power(a, b)


def _power_vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    left = right = None
    if c.needs[0]:
        if isinstance(b, (int, float)) and not hasattr(b, "shape"):
            left = F.mul(g, F.mul(F.pow(a, b - 1), b)) if b != 0 else F.mul(g, 0.0)
        else:
            # d/da a**b = b * a**(b-1), and 0 (not 0 * inf) where b is 0
            left = F.where(F.eq(b, 0), 0.0, F.mul(g, F.mul(b, F.pow(a, F.sub(b, 1)))))
    if c.needs[1]:
        # a**b * log(a), and 0 where a is 0 and b >= 0
        zero = F.logical_and(F.eq(a, 0), F.ge(b, 0)) if hasattr(a, "shape") else None
        if zero is None:
            right = F.mul(g, F.mul(c.output, math.log(a) if a > 0 else (0.0 if a == 0 else math.nan)))
        else:
            right = F.mul(g, F.where(zero, 0.0, F.mul(c.output, F.log(a))))
    return left, right


POW = binary(
    "pow",
    "Elementwise power.",
    _compute_power,
    "pow({input}, {other})",
    _power_vjp,
    inplace=True,
    dunders=("__pow__", "__rpow__", "__ipow__"),
    low=0.5,
)


def _tie_vjp(first: str, second: str) -> Callable[[VjpContext, Any, Any, Any], tuple[Any, Any]]:
    """The gradient goes to the chosen operand, half to each where they are equal."""

    def vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
        half = F.mul(g, 0.5)
        equal = F.eq(a, b)
        better = getattr(F, first)(a, b)
        return (
            F.where(equal, half, F.where(better, g, 0.0)),
            F.where(equal, half, F.where(better, 0.0, g)),
        )

    return vjp


MAXIMUM = binary(
    "maximum",
    "Elementwise maximum; NaN where either operand is NaN.",
    _quiet("maximum"),
    "maximum({input}, {other})",
    _tie_vjp("gt", "lt"),
    ufunc=np.maximum,
    traits=(Trait.COMMUTATIVE,),
)
MINIMUM = binary(
    "minimum",
    "Elementwise minimum; NaN where either operand is NaN.",
    _quiet("minimum"),
    "minimum({input}, {other})",
    _tie_vjp("lt", "gt"),
    ufunc=np.minimum,
    traits=(Trait.COMMUTATIVE,),
)
def _atan2_vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    a, b = (v if hasattr(v, "shape") else F.full((), v, dtype=g.dtype) for v in (a, b))
    radius = F.add(F.square(a), F.square(b))
    return F.div(F.mul(g, b), radius), F.neg(F.div(F.mul(g, a), radius))


ATAN2 = binary(
    "atan2",
    "The angle of the point (other, input), in radians in [-pi, pi].",
    _quiet("arctan2"),
    "atan2({input}, {other})",
    _atan2_vjp,
    operate=floating,
    aliases=("arctan2",),
)


def _comparison(name: str, symbol: str, doc: str, dunder: str, numpy_name: str) -> Op:
    return binary(
        name,
        doc,
        _quiet(numpy_name),
        f"{{input}} {symbol} {{other}}",
        None,
        ufunc=getattr(np, numpy_name),
        result=lambda dtype: bool_,
        traits=(Trait.COMMUTATIVE,) if name in ("eq", "ne") else (),
        dunders=(dunder,),
        aliases=(numpy_name,) if numpy_name not in (name,) else (),
    )


EQ = _comparison("eq", "==", "Whether elements are equal.", "__eq__", "equal")
NE = _comparison("ne", "!=", "Whether elements differ.", "__ne__", "not_equal")
LT = _comparison("lt", "<", "Whether elements of the first are less.", "__lt__", "less")
LE = _comparison("le", "<=", "Whether elements of the first are less or equal.", "__le__", "less_equal")
GT = _comparison("gt", ">", "Whether elements of the first are greater.", "__gt__", "greater")
GE = _comparison("ge", ">=", "Whether elements of the first are greater or equal.", "__ge__", "greater_equal")


def _logical(name: str, expression: str, doc: str) -> Op:
    return binary(
        name,
        doc,
        _quiet(name),
        expression,
        None,
        ufunc=getattr(np, name),
        result=lambda dtype: bool_,
        traits=(Trait.COMMUTATIVE,),
    )


LOGICAL_AND = _logical("logical_and", "({input} != 0) & ({other} != 0)", "Elementwise logical and; nonzero is true.")
LOGICAL_OR = _logical("logical_or", "({input} != 0) | ({other} != 0)", "Elementwise logical or; nonzero is true.")
LOGICAL_XOR = _logical("logical_xor", "({input} != 0) != ({other} != 0)", "Elementwise exclusive or; nonzero is true.")


def _bitwise(name: str, symbol: str, doc: str, dunders: tuple[str, ...]) -> Op:
    def infer(sizes: Sizes, input: Any, other: Any) -> TensorType:
        dtype = promoted((input, other))
        if dtype.category > 1:
            raise RuntimeError(f"{name}: expected integer or bool tensors, given {input} and {other}")
        return broadcast_types(sizes, name, (input, other), dtype)

    def evaluate(xp: Any, input: Any, other: Any) -> Any:
        dtype = promoted_array_dtype((input, other))
        return getattr(xp, name)(cast(xp, input, dtype), cast(xp, other, dtype))

    return define(
        f"{name}(input: Tensor | Scalar, other: Tensor | Scalar)",
        doc,
        infer=infer,
        evaluate=evaluate,
        lower=Elementwise(f"{{input}} {symbol} {{other}}"),
        traits=(Trait.PURE, Trait.COMMUTATIVE),
        public=_BINARY_PUBLIC,
        inplace=True,
        dunders=dunders,
        samples=lambda: [
            Sample((ints(3, 4), ints(4, seed=1)), differentiable=False),
            Sample((ints(5) > 0, ints(5, seed=1) > 0), differentiable=False),
            Sample((ints(5, dtype="int16"), 3), differentiable=False),
        ],
        errors=lambda: [ErrorSample((randoms(3), ints(3)), RuntimeError, "integer or bool")],
    )


BITWISE_AND = _bitwise("bitwise_and", "&", "Elementwise bitwise and.", ("__and__", "__rand__", "__iand__"))
BITWISE_OR = _bitwise("bitwise_or", "|", "Elementwise bitwise or.", ("__or__", "__ror__", "__ior__"))
BITWISE_XOR = _bitwise("bitwise_xor", "^", "Elementwise bitwise exclusive or.", ("__xor__", "__rxor__", "__ixor__"))


# -- unary ------------------------------------------------------------------------------------------------------------


def unary(
    name: str,
    doc: str,
    compute: Callable[[Any, Any], Any],
    expression: str,
    vjp: Callable[[VjpContext, Any, Any], Any] | None,
    *,
    float_only: bool = True,
    result: Callable[[DType], DType] | None = None,
    low: float = -2.0,
    high: float = 2.0,
    public: tuple[str, ...] = _BINARY_PUBLIC,
    **fields: Any,
) -> Op:
    """An op of one tensor. `float_only` ones compute integers in the default float dtype.

    `vjp(context, g, x)` returns the gradient.
    """
    operate: Callable[[DType], DType] = floating if float_only else lambda dtype: dtype
    result = result or operate

    def infer(sizes: Sizes, input: Any) -> TensorType:
        input = require_tensor(name, "input", input)
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
_SQRT_HALF = math.sqrt(0.5)
_ONE_OVER_SQRT_TWO_PI = 1.0 / math.sqrt(2.0 * math.pi)
_RECIPROCAL_LN2 = 1.0 / math.log(2.0)
_RECIPROCAL_LN10 = 1.0 / math.log(10.0)

NEG = unary(
    "neg",
    "Elementwise negation.",
    lambda xp, x: xp.negative(x),
    "-{input}",
    lambda c, g, x: F.neg(g),
    float_only=False,
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
    lambda xp, x: xp.square(x),
    "{input} * {input}",
    lambda c, g, x: F.mul(g, F.mul(x, 2.0)),
    float_only=False,
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


def _compute_erf(xp: Any, x: Any) -> Any:
    return _erf(x).astype(x.dtype) if x.size else x


def _compute_erfc(xp: Any, x: Any) -> Any:
    return _erfc(x).astype(x.dtype) if x.size else x


ERF = _smooth(
    "erf",
    "Elementwise error function.",
    _compute_erf,
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.neg(F.mul(x, x))), _TWO_OVER_SQRT_PI)),
)
ERFC = _smooth(
    "erfc",
    "Elementwise 1 - erf(x), accurate for large x.",
    _compute_erfc,
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.neg(F.mul(x, x))), -_TWO_OVER_SQRT_PI)),
)


def _compute_sigmoid(xp: Any, x: Any) -> Any:
    # Written with exp of a negative number only, so that nothing overflows.
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, small).astype(x.dtype) / (1 + small)


SIGMOID = _smooth(
    "sigmoid",
    "Elementwise 1 / (1 + e**-x).",
    _compute_sigmoid,
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


# -- activations that are one instruction in the graph ---------------------------------------------------------------


def _relu_vjp(c: VjpContext, g: Any, x: Any) -> Any:
    return F.where(F.le(c.output, 0), 0.0, g)


RELU = unary(
    "relu",
    "Elementwise max(x, 0); NaN stays NaN.",
    lambda xp, x: xp.maximum(x, x.dtype.type(0)),
    "maximum({input}, 0)",
    _relu_vjp,
    float_only=False,
    inplace=True,
    public=("", "method", "functional"),
    traits=(Trait.PURE, Trait.IDEMPOTENT),
)
SILU = unary(
    "silu",
    "Elementwise x * sigmoid(x).",
    lambda xp, x: x * _compute_sigmoid(xp, x),
    "{input} * sigmoid({input})",
    lambda c, g, x: F.mul(g, F.mul(F.sigmoid(x), F.add(F.mul(x, F.sub(1.0, F.sigmoid(x))), 1.0))),
    public=("functional",),
)


def _infer_gelu(sizes: Sizes, input: Any, *, approximate: str) -> TensorType:
    input = require_tensor("gelu", "input", input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', given {approximate!r}")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"gelu: expected a floating-point tensor, given {input}")
    return input


def _decompose_gelu(input: Any, *, approximate: str) -> Any:
    if approximate == "tanh":
        cube = F.mul(F.mul(input, input), input)
        inner = F.mul(F.add(input, F.mul(cube, 0.044715)), math.sqrt(2.0 / math.pi))
        return F.mul(F.mul(input, 0.5), F.add(F.tanh(inner), 1.0))
    return F.mul(F.mul(input, 0.5), F.add(F.erf(F.mul(input, _SQRT_HALF)), 1.0))


def _compute_gelu(xp: Any, x: Any, *, approximate: str) -> Any:
    if approximate == "tanh":
        inner = x.dtype.type(math.sqrt(2.0 / math.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
        return x * x.dtype.type(0.5) * (1 + xp.tanh(inner))
    return x * x.dtype.type(0.5) * (1 + _compute_erf(xp, x * x.dtype.type(_SQRT_HALF)))


def _gelu_vjp(c: VjpContext, g: Any, x: Any, *, approximate: str) -> tuple[Any]:
    if approximate == "tanh":
        scale = math.sqrt(2.0 / math.pi)
        square = F.mul(x, x)
        t = F.tanh(F.mul(F.add(x, F.mul(F.mul(square, x), 0.044715)), scale))
        inner = F.mul(F.add(F.mul(square, 3 * 0.044715), 1.0), scale)
        slope = F.mul(F.mul(F.mul(x, F.sub(1.0, F.mul(t, t))), inner), 0.5)
        return (F.mul(g, F.add(slope, F.mul(F.add(t, 1.0), 0.5))),)
    cumulative = F.mul(F.add(F.erf(F.mul(x, _SQRT_HALF)), 1.0), 0.5)
    density = F.mul(F.exp(F.mul(F.mul(x, x), -0.5)), _ONE_OVER_SQRT_TWO_PI)
    return (F.mul(g, F.add(cumulative, F.mul(x, density))),)


GELU = define(
    "gelu(input: Tensor, *, approximate: str = 'none')",
    "Elementwise x * P(X <= x) for a standard normal X (Hendrycks and Gimpel, 2016), exact or by tanh.",
    infer=_infer_gelu,
    evaluate=_compute_gelu,
    vjp=_gelu_vjp,
    lower=Decompose(_decompose_gelu),
    public=("functional",),
    samples=lambda: [Sample((randoms(3, 5),)), Sample((randoms(7),), {"approximate": "tanh"}), Sample((randoms(0),))],
    errors=lambda: [
        ErrorSample((ints(3),), RuntimeError, "floating"),
        ErrorSample((randoms(3),), RuntimeError, "'none' or 'tanh'", {"approximate": "x"}),
    ],
)


# -- selection and conversion --------------------------------------------------------------------------------------


def _infer_where(sizes: Sizes, condition: Any, input: Any, other: Any) -> TensorType:
    condition = require_tensor("where", "condition", condition)
    if condition.dtype is not bool_:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype.name}"
        )
    return broadcast_types(sizes, "where", (condition, input, other), promoted((input, other)))


def _evaluate_where(xp: Any, condition: Any, input: Any, other: Any) -> Any:
    dtype = promoted_array_dtype((input, other))
    return xp.where(condition, cast(xp, input, dtype), cast(xp, other, dtype))


def _where_vjp(c: VjpContext, g: Any, condition: Any, input: Any, other: Any) -> tuple[Any, Any, Any]:
    return (
        None,
        sum_to(F.where(condition, g, 0.0), input) if c.needs[1] else None,
        sum_to(F.where(condition, 0.0, g), other) if c.needs[2] else None,
    )


WHERE = define(
    "where(condition: Tensor, input: Tensor | Scalar, other: Tensor | Scalar)",
    "Elements of `input` where the condition is true, of `other` elsewhere.",
    infer=_infer_where,
    evaluate=_evaluate_where,
    vjp=_where_vjp,
    lower=Elementwise("select({condition}, {input}, {other})"),
    samples=lambda: [
        Sample((ints(3, 4) > 0, randoms(3, 4), randoms(3, 4, seed=1))),
        Sample((ints(4) > 0, randoms(3, 1), 0.0)),
        Sample((ints(2, 1) > 0, 1.5, randoms(2, 3))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), randoms(3), randoms(3)), RuntimeError, "boolean"),
        ErrorSample((ints(3) > 0, randoms(4), randoms(3)), RuntimeError, "broadcast"),
    ],
)


def _infer_cast(sizes: Sizes, input: Any, *, dtype: DType) -> TensorType:
    input = require_tensor("cast", "input", input)
    return TensorType(dtype, input.shape, input.device)


def _evaluate_cast(xp: Any, input: Any, *, dtype: DType) -> Any:
    with np.errstate(all="ignore"):
        return input.astype(dtype.numpy)


def _cast_vjp(c: VjpContext, g: Any, input: Any, *, dtype: DType) -> tuple[Any]:
    return (g if input.dtype is g.dtype else F.cast(g, dtype=input.dtype),)


CAST = define(
    "cast(input: Tensor, *, dtype: dtype)",
    "The tensor with another element type (`Tensor.to(dtype)`).",
    infer=_infer_cast,
    evaluate=_evaluate_cast,
    vjp=_cast_vjp,
    lower=Elementwise("{input}"),
    samples=lambda: [
        Sample((randoms(3, 4),), {"dtype": "float64"}),
        Sample((randoms(5) * 3,), {"dtype": "int32"}, differentiable=False),
        Sample((ints(5),), {"dtype": "bool"}, differentiable=False),
        Sample((ints(5) > 0,), {"dtype": "float32"}, differentiable=False),
    ],
)
