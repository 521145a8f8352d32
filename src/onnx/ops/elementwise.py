"""Arithmetic, comparison, logic and casts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.ops._op import F
from ..proto import element_type
from ..registry import op
from ..values import Known

_UNARY = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh", "Atan": "atan", "Atanh": "atanh",
    "BitwiseNot": "bitwise_not", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp",
    "Floor": "floor", "IsNaN": "isnan", "Log": "log", "Neg": "neg", "Not": "logical_not", "Reciprocal": "reciprocal",
    "Round": "round", "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt", "Tan": "tan",
    "Tanh": "tanh",
}  # fmt: skip
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
    "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor", "Equal": "eq",
    "Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt", "LessOrEqual": "le",
}  # fmt: skip


def _legacy_axis(node: Any, a: Any, b: Any) -> Any:
    """The second operand with trailing dimensions added, as operator sets before 7 broadcast by the attribute axis."""
    if node.version < 7 and node.attribute("broadcast", 0) and node.has("axis"):
        for _ in range(a.ndim - b.ndim - node.axis(node.attribute("axis"), a.ndim)):
            b = F.unsqueeze(b, -1)
    return b


def _unary(name: str) -> Callable[..., Any]:
    return lambda node, x: getattr(F, name)(x)


def _binary(name: str) -> Callable[..., Any]:
    return lambda node, a, b: getattr(F, name)(a, _legacy_axis(node, a, b))


for _onnx_name, _name in _UNARY.items():
    op(_onnx_name)(_unary(_name))
for _onnx_name, _name in _BINARY.items():
    op(_onnx_name)(_binary(_name))


@op("Identity", raw=True)
def identity(node: Any, scope: Any, x: Any) -> Any:
    return x


@op("Div")
def divide(node: Any, a: Any, b: Any) -> Any:
    """The quotient; integers are rounded towards zero, as in C."""
    b = _legacy_axis(node, a, b)
    if a.dtype.is_floating_point or a.dtype.is_complex:
        return F.div(a, b)
    quotient = F.floor_divide(a, b)
    if not a.dtype.is_signed:
        return quotient
    inexact = F.ne(F.mul(quotient, b), a)
    below = F.logical_and(inexact, F.lt(F.bitwise_xor(a, b), 0))
    return F.add(quotient, F.cast(below, dtype=a.dtype))


@op("Mod")
def modulo(node: Any, a: Any, b: Any) -> Any:
    """The remainder with the sign of the divisor, or of the dividend with fmod=1."""
    return F.fmod(a, b) if node.attribute("fmod", 0) else F.remainder(a, b)


@op("Pow")
def power(node: Any, a: Any, b: Any) -> Any:
    b = _legacy_axis(node, a, b)
    if b.dtype == a.dtype:
        return F.pow(a, b)
    if a.dtype.is_floating_point:
        return F.pow(a, F.cast(b, dtype=a.dtype))
    wide = dtypes.float64 if b.dtype.is_floating_point else dtypes.int64
    return F.cast(F.pow(F.cast(a, dtype=wide), F.cast(b, dtype=wide)), dtype=a.dtype)


@op("BitShift")
def shift(node: Any, a: Any, b: Any) -> Any:
    return F.bitwise_left_shift(a, b) if node.attribute("direction") == "LEFT" else F.bitwise_right_shift(a, b)


def _joined(name: str) -> Callable[..., Any]:
    def emit(node: Any, *inputs: Any) -> Any:
        result = inputs[0]
        for other in inputs[1:]:
            result = getattr(F, name)(result, other)
        return result

    return emit


op("Sum")(_joined("add"))
op("Max")(_joined("maximum"))
op("Min")(_joined("minimum"))


@op("Mean")
def mean(node: Any, *inputs: Any) -> Any:
    return F.div(_joined("add")(node, *inputs), len(inputs))


@op("Cast")
def cast(node: Any, x: Any) -> Any:
    return F.cast(x, dtype=element_type(node.attribute("to")))


@op("CastLike", raw=True)
def cast_like(node: Any, scope: Any, x: Any, target: Any) -> Any:
    dtype = target.dtype if isinstance(target, Known) else node.tensor(target).dtype.numpy
    if isinstance(x, Known) and x.array.dtype != object:
        with np.errstate(all="ignore"):
            return Known.of(x.array.astype(dtype))
    return F.cast(node.tensor(x), dtype=dtypes.as_dtype(dtype))


@op("Where")
def where(node: Any, condition: Any, a: Any, b: Any) -> Any:
    return F.where(condition, a, b)


@op("Clip", values=(1, 2))
def clip(node: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    """Values between two bounds, either of which may be absent."""
    low = node.attribute("min", None) if low is None else node.tensor(low)
    high = node.attribute("max", None) if high is None else node.tensor(high)
    x = x if low is None else F.maximum(x, low)
    return x if high is None else F.minimum(x, high)


@op("IsInf")
def is_inf(node: Any, x: Any) -> Any:
    found = F.isinf(x)
    if not node.attribute("detect_negative", 1):
        found = F.logical_and(found, F.gt(x, 0))
    if not node.attribute("detect_positive", 1):
        found = F.logical_and(found, F.lt(x, 0))
    return found
