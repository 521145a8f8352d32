"""Elementwise ops of two operands: arithmetic, comparison, logic and bits, with broadcasting and promotion."""

import cmath
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType, bool_, float32
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    broadcast_types,
    cast,
    conjugating,
    floating,
    ints,
    promoted,
    promoted_array_dtype,
    randoms,
    sum_to,
)
from ._op import Elementwise, ErrorSample, F, Op, Sample, Trait, VjpContext, define

_BINARY_PUBLIC = ("", "method")
_OF_COMPLEX = {
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "eq",
    "ne",
    "logical_and",
    "logical_or",
    "logical_xor",
    "xlogy",
    "logaddexp",
}


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
    check: Callable[[Any, Any], None] = lambda a, b: None,
    traits: tuple[str, ...] = (),
    low: float = -2.0,
    **fields: Any,
) -> Op:
    """An op of two operands, each a tensor or a number; `numbers` says which may be numbers in users' calls.

    Operands are promoted to a common dtype, `operate(dtype)` says in which dtype to compute, `result(dtype)` which the
    result has. `vjp(context, g, a, b)` returns both gradients before they are summed over broadcast dimensions.
    """

    def infer(sizes: Sizes, input: Any, other: Any) -> TensorType:
        dtype = operate(promoted((input, other)))
        if dtype.is_complex and name not in _OF_COMPLEX:
            kind = RuntimeError if name in ("maximum", "minimum") else NotImplementedError
            raise kind(f"{name}: complex tensors are not supported, given {input} and {other}")
        if refuse_bool and any(isinstance(t, TensorType) and t.dtype is bool_ for t in (input, other)):
            raise RuntimeError(f"{name}: bool tensors are not supported, given {input} and {other}; use ^ or ~ instead")
        return broadcast_types(sizes, name, (input, other), result(dtype))

    def evaluate(xp: Any, input: Any, other: Any) -> Any:
        check(input, other)
        promoted_dtype = promoted_array_dtype((input, other))
        dtype = operate(promoted_dtype)
        value = compute(xp, cast(xp, input, dtype), cast(xp, other, dtype))
        return cast(xp, value, result(dtype))

    rule = None if vjp is None else conjugating(vjp)

    def gradients(context: VjpContext, gradient: Any, input: Any, other: Any) -> tuple[Any, Any]:
        assert rule is not None
        left, right = rule(context, gradient, input, other)
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
    "Elementwise difference.\n\n>>> ingot.sub(ingot.tensor([7., -7.]), 2)\ntensor([ 5., -9.])",
    _quiet("subtract"),
    "{input} - {other}",
    lambda c, g, a, b: (g, F.neg(g) if c.needs[1] else None),
    ufunc=np.subtract,
    refuse_bool=True,
    inplace=True,
    aliases=("subtract",),
    dunders=("__sub__", "__rsub__", "__isub__"),
)
MUL = binary(
    "mul",
    "Elementwise product.\n\n>>> ingot.mul(ingot.tensor([7., -7.]), 2)\ntensor([ 14., -14.])",
    _quiet("multiply"),
    "{input} * {other}",
    lambda c, g, a, b: (
        F.mul(g, b) if c.needs[0] else None,
        F.mul(g, a) if c.needs[1] else None,
    ),
    ufunc=np.multiply,
    traits=(Trait.COMMUTATIVE,),
    inplace=True,
    aliases=("multiply",),
    dunders=("__mul__", "__rmul__", "__imul__"),
)
DIV = binary(
    "div",
    "Elementwise true quotient; integers give the default float dtype.\n\n"
    ">>> ingot.div(ingot.tensor([7., -7.]), 2)\n"
    "tensor([ 3.5000, -3.5000])",
    _compute_divide,
    "{input} / {other}",
    lambda c, g, a, b: (
        F.div(g, b) if c.needs[0] else None,
        F.neg(F.div(F.mul(g, c.output), b)) if c.needs[1] else None,
    ),
    operate=floating,
    inplace=True,
    aliases=("divide", "true_divide"),
    dunders=("__truediv__", "__rtruediv__", "__itruediv__"),
    low=0.5,
)
FLOOR_DIVIDE = binary(
    "floor_divide",
    "Elementwise quotient rounded down. Division of integers by zero raises ZeroDivisionError.\n\n"
    ">>> ingot.floor_divide(ingot.tensor([7., -7.]), 2)\n"
    "tensor([ 3., -4.])",
    lambda xp, a, b: _integer_division(xp.floor_divide, a, b),
    "floor_divide({input}, {other})",
    lambda c, g, a, b: (None, None),
    inplace=True,
    dunders=("__floordiv__", "__rfloordiv__", "__ifloordiv__"),
    low=0.5,
)
REMAINDER = binary(
    "remainder",
    "Elementwise remainder with the sign of the divisor, as Python's %.\n\n"
    ">>> ingot.remainder(ingot.tensor([7., -7.]), 2)\n"
    "tensor([1., 1.])",
    lambda xp, a, b: _integer_division(xp.remainder, a, b),
    "remainder({input}, {other})",
    lambda c, g, a, b: (g, F.neg(F.mul(g, F.floor_divide(a, b))) if c.needs[1] else None),
    inplace=True,
    dunders=("__mod__", "__rmod__", "__imod__"),
    low=0.5,
)
FMOD = binary(
    "fmod",
    "Elementwise remainder with the sign of the dividend, as C's fmod.\n\n"
    ">>> ingot.fmod(ingot.tensor([7., -7.]), 2)\n"
    "tensor([ 1., -1.])",
    lambda xp, a, b: _integer_division(xp.fmod, a, b),
    "fmod({input}, {other})",
    lambda c, g, a, b: (g, F.neg(F.mul(g, F.trunc(F.div(a, b)))) if c.needs[1] else None),
    inplace=True,
    low=0.5,
    numbers=("other",),
)


def _integer_division(function: Any, a: Any, b: Any) -> Any:
    if a.dtype.kind in "iub" and a.size and not np.all(b):
        raise RuntimeError("ZeroDivisionError: an integer tensor is divided by zero")
    with np.errstate(all="ignore"):
        return function(a, b)


def _compute_power(xp: Any, a: Any, b: Any) -> Any:
    if a.dtype.kind in "iu" and (b < 0).any():
        # As in integer division: 1 and -1 have powers, those of other numbers are 0.
        odd = xp.where(b % 2 == 0, 1, -1)
        units = xp.where(a == 1, 1, xp.where(a == -1, odd, 0))
        return xp.where(b < 0, units, xp.power(a, xp.maximum(b, 0))).astype(a.dtype)
    with np.errstate(all="ignore"):
        return xp.power(a, b)


def _require_powers(a: Any, b: Any) -> None:
    if isinstance(b, int) and b < 0 and hasattr(a, "dtype") and a.dtype.kind in "iu":
        raise RuntimeError("pow: integers to negative integer powers are not allowed; convert to a floating dtype")


def _log_of_number(a: Any) -> Any:
    if isinstance(a, complex):
        return cmath.log(a) if a else 0.0
    return math.log(a) if a > 0 else (0.0 if a == 0 else math.nan)


def _power_vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    left = right = None
    if c.needs[0]:
        if isinstance(b, (int, float, complex)) and not hasattr(b, "shape"):
            left = F.mul(g, F.mul(F.pow(a, b - 1), b)) if b != 0 else F.mul(g, 0.0)
        else:
            # d/da a**b = b * a**(b-1), and 0 (not 0 * inf) where b is 0
            left = F.where(F.eq(b, 0), 0.0, F.mul(g, F.mul(b, F.pow(a, F.sub(b, 1)))))
    if c.needs[1]:
        # a**b * log(a), and 0 where a is 0 and b >= 0
        exponent = F.real(b) if b.dtype.is_complex else b
        zero = F.logical_and(F.eq(a, 0), F.ge(exponent, 0)) if hasattr(a, "shape") else None
        if zero is None:
            right = F.mul(g, F.mul(c.output, _log_of_number(a)))
        else:
            right = F.mul(g, F.where(zero, 0.0, F.mul(c.output, F.log(a))))
    return left, right


POW = binary(
    "pow",
    "Elementwise power.\n\n>>> ingot.pow(ingot.tensor([1., 3.]), ingot.tensor([2., 2.]))\ntensor([1., 9.])",
    _compute_power,
    "pow({input}, {other})",
    _power_vjp,
    check=_require_powers,
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
    "Elementwise maximum; NaN where either operand is NaN.\n\n"
    ">>> ingot.maximum(ingot.tensor([1., 3.]), ingot.tensor([2., 2.]))\n"
    "tensor([2., 3.])",
    _quiet("maximum"),
    "maximum({input}, {other})",
    _tie_vjp("gt", "lt"),
    ufunc=np.maximum,
    traits=(Trait.COMMUTATIVE,),
    numbers=(),
)
MINIMUM = binary(
    "minimum",
    "Elementwise minimum; NaN where either operand is NaN.\n\n"
    ">>> ingot.minimum(ingot.tensor([1., 3.]), ingot.tensor([2., 2.]))\n"
    "tensor([1., 2.])",
    _quiet("minimum"),
    "minimum({input}, {other})",
    _tie_vjp("lt", "gt"),
    ufunc=np.minimum,
    traits=(Trait.COMMUTATIVE,),
    numbers=(),
)


def _atan2_vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    a, b = (v if hasattr(v, "shape") else F.full((), v, dtype=g.dtype) for v in (a, b))
    radius = F.add(F.square(a), F.square(b))
    return F.div(F.mul(g, b), radius), F.neg(F.div(F.mul(g, a), radius))


ATAN2 = binary(
    "atan2",
    "The angle of the point (other, input), in radians in [-pi, pi].\n\n"
    ">>> ingot.atan2(ingot.tensor([1., -1.]), ingot.tensor([1., 0.]))\n"
    "tensor([ 0.7854, -1.5708])",
    _quiet("arctan2"),
    "atan2({input}, {other})",
    _atan2_vjp,
    operate=floating,
    aliases=("arctan2",),
    numbers=(),
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
        numbers=("other",),
        dunders=(dunder,),
        aliases=(numpy_name,) if numpy_name not in (name,) else (),
    )


EQ = _comparison(
    "eq",
    "==",
    "Whether elements are equal.\n\n>>> ingot.eq(ingot.tensor([1, 2, 3]), 2)\ntensor([False,  True, False])",
    "__eq__",
    "equal",
)
NE = _comparison(
    "ne",
    "!=",
    "Whether elements differ.\n\n>>> ingot.ne(ingot.tensor([1, 2, 3]), 2)\ntensor([ True, False,  True])",
    "__ne__",
    "not_equal",
)
LT = _comparison(
    "lt",
    "<",
    "Whether elements of the first are less.\n\n"
    ">>> ingot.lt(ingot.tensor([1, 2, 3]), 2)\n"
    "tensor([ True, False, False])",
    "__lt__",
    "less",
)
LE = _comparison(
    "le",
    "<=",
    "Whether elements of the first are less or equal.\n\n"
    ">>> ingot.le(ingot.tensor([1, 2, 3]), 2)\n"
    "tensor([ True,  True, False])",
    "__le__",
    "less_equal",
)
GT = _comparison(
    "gt",
    ">",
    "Whether elements of the first are greater.\n\n"
    ">>> ingot.gt(ingot.tensor([1, 2, 3]), 2)\n"
    "tensor([False, False,  True])",
    "__gt__",
    "greater",
)
GE = _comparison(
    "ge",
    ">=",
    "Whether elements of the first are greater or equal.\n\n"
    ">>> ingot.ge(ingot.tensor([1, 2, 3]), 2)\n"
    "tensor([False,  True,  True])",
    "__ge__",
    "greater_equal",
)


def _logical(name: str, expression: str, doc: str) -> Op:
    return binary(
        name,
        doc,
        _quiet(name),
        expression,
        None,
        ufunc=getattr(np, name),
        result=lambda dtype: bool_,
        numbers=(),
        traits=(Trait.COMMUTATIVE,),
    )


LOGICAL_AND = _logical(
    "logical_and",
    "({input} != 0) & ({other} != 0)",
    "Elementwise logical and; nonzero is true.\n\n"
    ">>> ingot.logical_and(ingot.tensor([0, 1, 2]), ingot.tensor([1, 1, 0]))\n"
    "tensor([False,  True, False])",
)
LOGICAL_OR = _logical(
    "logical_or",
    "({input} != 0) | ({other} != 0)",
    "Elementwise logical or; nonzero is true.\n\n"
    ">>> ingot.logical_or(ingot.tensor([0, 1, 2]), ingot.tensor([1, 1, 0]))\n"
    "tensor([True, True, True])",
)
LOGICAL_XOR = _logical(
    "logical_xor",
    "({input} != 0) != ({other} != 0)",
    "Elementwise exclusive or; nonzero is true.\n\n"
    ">>> ingot.logical_xor(ingot.tensor([0, 1, 2]), ingot.tensor([1, 1, 0]))\n"
    "tensor([ True, False,  True])",
)


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


BITWISE_AND = _bitwise(
    "bitwise_and",
    "&",
    "Elementwise bitwise and.\n\n>>> ingot.bitwise_and(ingot.tensor([5, 6]), 3)\ntensor([1, 2])",
    ("__and__", "__rand__", "__iand__"),
)
BITWISE_OR = _bitwise(
    "bitwise_or",
    "|",
    "Elementwise bitwise or.\n\n>>> ingot.bitwise_or(ingot.tensor([5, 6]), 3)\ntensor([7, 7])",
    ("__or__", "__ror__", "__ior__"),
)
BITWISE_XOR = _bitwise(
    "bitwise_xor",
    "^",
    "Elementwise bitwise exclusive or.\n\n>>> ingot.bitwise_xor(ingot.tensor([5, 6]), 3)\ntensor([6, 5])",
    ("__xor__", "__rxor__", "__ixor__"),
)
