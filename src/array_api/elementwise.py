"""Elementwise functions of the array API standard: tensors and Python numbers in, a tensor out.

A Python number takes the dtype of the tensor beside it; where it does not fit (a float beside integers), TypeError.
"""

import builtins
from collections.abc import Callable
from typing import Any

from ..eager import Tensor
from ..eager.creation import full
from .data_types import FLOATS, INTEGERS, KINDS, bool, require_kind
from .functions import named, namespace

Number = complex
Operand = Tensor | Number
Kinds = tuple[str, ...]


def _pair(name: str, x1: Any, x2: Any, kinds: Kinds) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of one dtype."""
    if isinstance(x1, Tensor):
        first = require_kind(name, x1, *kinds)
        second = require_kind(name, x2 if isinstance(x2, Tensor) else _scalar(name, x2, first), *kinds)
    elif isinstance(x2, Tensor):
        second = require_kind(name, x2, *kinds)
        first = _scalar(name, x1, second)
    else:
        raise TypeError(f"{name}: got {type(x1).__name__} and {type(x2).__name__}, expected a tensor among them")
    if first.dtype is not second.dtype:
        # Tensors of no dimensions count as tensors in the standard's promotion; PyTorch's takes them for scalars.
        together = namespace.promote_types(first.dtype, second.dtype)
        first, second = first.to(together), second.to(together)
    return first, second


def _scalar(name: str, value: Any, beside: Tensor) -> Tensor:
    dtype = beside.dtype
    fits = (
        (isinstance(value, int) and (dtype is bool) == isinstance(value, builtins.bool))
        or (isinstance(value, float) and dtype in FLOATS)
        or (isinstance(value, complex) and dtype in KINDS["complex floating"])
    )
    if not fits:
        raise TypeError(f"{name}: {value!r} beside a tensor of {dtype}: convert one of them first")
    if dtype in INTEGERS and not namespace.iinfo(dtype).min <= value <= namespace.iinfo(dtype).max:
        raise OverflowError(f"{name}: {value} does not fit {dtype}")
    return full((), value, dtype=dtype)


REAL = ("real floating", "integral")
FLOATING = ("real floating", "complex floating")
NUMERIC = ("numeric",)
ANY = ("bool", "numeric")
BITS = ("bool", "integral")


def _unary(
    name: str, kinds: Kinds, summary: str, function: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    compute = function or getattr(namespace, name)

    def elementwise(x: Tensor, /) -> Tensor:
        result: Tensor = compute(require_kind(name, x, *kinds))
        return result

    return named(elementwise, name, summary)


def _binary(
    name: str, kinds: Kinds, summary: str, function: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Callable[[Operand, Operand], Tensor]:
    compute = function or getattr(namespace, name)

    def elementwise(x1: Operand, x2: Operand, /) -> Tensor:
        result: Tensor = compute(*_pair(name, x1, x2, kinds))
        return result

    return named(elementwise, name, summary)


def _unless_integer(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Rounding, which leaves integers as they are."""
    return lambda x: x.clone() if x.dtype in INTEGERS else function(x)


def _by_parts(function: Callable[[Tensor], Tensor], join: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """A function of complex numbers from the function of their parts."""

    def compute(x: Tensor) -> Tensor:
        if x.dtype not in KINDS["complex floating"]:
            return function(x)
        return join(function(namespace.real(x)), function(namespace.imag(x)))

    return compute


def _round_parts(x: Tensor) -> Tensor:
    return _by_parts(_unless_integer(namespace.round), namespace.complex)(x)


def _sign(x: Tensor) -> Tensor:
    if x.dtype in KINDS["complex floating"]:
        return namespace.sgn(x)
    # The sign of NaN is NaN; `namespace.sign` follows PyTorch, where it is 0.
    return namespace.where(namespace.isnan(x), x, namespace.sign(x)) if x.dtype in FLOATS else namespace.sign(x)


abs = _unary("abs", NUMERIC, "The magnitude of each element.")
acos = _unary("acos", FLOATING, "The inverse cosine, in radians.")
acosh = _unary("acosh", FLOATING, "The inverse hyperbolic cosine.")
add = _binary("add", NUMERIC, "The sum.")
asin = _unary("asin", FLOATING, "The inverse sine, in radians.")
asinh = _unary("asinh", FLOATING, "The inverse hyperbolic sine.")
atan = _unary("atan", FLOATING, "The inverse tangent, in radians.")
atan2 = _binary("atan2", ("real floating",), "The angle of the point (x2, x1), in radians.")
atanh = _unary("atanh", FLOATING, "The inverse hyperbolic tangent.")
bitwise_and = _binary("bitwise_and", BITS, "AND of the bits.")
bitwise_invert = _unary("bitwise_invert", BITS, "NOT of the bits.", namespace.bitwise_not)
bitwise_left_shift = _binary("bitwise_left_shift", ("integral",), "The bits of x1 shifted left by x2.")
bitwise_or = _binary("bitwise_or", BITS, "OR of the bits.")
bitwise_right_shift = _binary("bitwise_right_shift", ("integral",), "The bits of x1 shifted right by x2, sign kept.")
bitwise_xor = _binary("bitwise_xor", BITS, "Exclusive OR of the bits.")
ceil = _unary("ceil", REAL, "Rounded up.", _unless_integer(namespace.ceil))
conj = _unary("conj", NUMERIC, "The complex conjugate.")
copysign = _binary("copysign", ("real floating",), "The magnitude of x1 with the sign of x2.")
cos = _unary("cos", FLOATING, "The cosine of an angle in radians.")
cosh = _unary("cosh", FLOATING, "The hyperbolic cosine.")
divide = _binary("divide", FLOATING, "The quotient.", namespace.div)
equal = _binary("equal", ANY, "Whether both are equal.", namespace.eq)
exp = _unary("exp", FLOATING, "The exponential.")
expm1 = _unary("expm1", FLOATING, "exp(x) - 1, accurate near 0.")
floor = _unary("floor", REAL, "Rounded down.", _unless_integer(namespace.floor))
floor_divide = _binary("floor_divide", REAL, "The quotient rounded down.")
greater = _binary("greater", REAL, "Whether x1 > x2.", namespace.gt)
greater_equal = _binary("greater_equal", REAL, "Whether x1 >= x2.", namespace.ge)
hypot = _binary("hypot", ("real floating",), "sqrt(x1^2 + x2^2).")
imag = _unary("imag", ("complex floating",), "The imaginary part.")
isfinite = _unary("isfinite", NUMERIC, "Whether it is neither infinite nor NaN.")
isinf = _unary("isinf", NUMERIC, "Whether it is infinite.")
isnan = _unary("isnan", NUMERIC, "Whether it is NaN.")
less = _binary("less", REAL, "Whether x1 < x2.", namespace.lt)
less_equal = _binary("less_equal", REAL, "Whether x1 <= x2.", namespace.le)
log = _unary("log", FLOATING, "The natural logarithm.")
log10 = _unary("log10", FLOATING, "The logarithm to base 10.")
log1p = _unary("log1p", FLOATING, "log(1 + x), accurate near 0.")
log2 = _unary("log2", FLOATING, "The logarithm to base 2.")
logaddexp = _binary("logaddexp", ("real floating",), "log(exp(x1) + exp(x2)).")
logical_and = _binary("logical_and", ("bool",), "Whether both are true.")
logical_not = _unary("logical_not", ("bool",), "Whether it is false.")
logical_or = _binary("logical_or", ("bool",), "Whether one of them is true.")
logical_xor = _binary("logical_xor", ("bool",), "Whether just one of them is true.")
maximum = _binary("maximum", REAL, "The greater one; NaN where one of them is NaN.")
minimum = _binary("minimum", REAL, "The lesser one; NaN where one of them is NaN.")
multiply = _binary("multiply", NUMERIC, "The product.")
negative = _unary("negative", NUMERIC, "The number with its sign changed.", lambda x: -x)
nextafter = _binary("nextafter", ("real floating",), "The next floating-point number after x1 in the direction of x2.")
not_equal = _binary("not_equal", ANY, "Whether both differ.", namespace.ne)
positive = _unary("positive", NUMERIC, "The number itself, copied.", lambda x: x.clone())
pow = _binary("pow", NUMERIC, "x1 to the power of x2.")
real = _unary("real", NUMERIC, "The real part.")
reciprocal = _unary("reciprocal", FLOATING, "1 / x.")
remainder = _binary("remainder", REAL, "The remainder of the division, with the sign of x2.")
round = _unary("round", NUMERIC, "Rounded to the nearest integer, halves to even.", _round_parts)
sign = _unary("sign", NUMERIC, "-1, 0 or 1; of a complex number x / abs(x).", _sign)
signbit = _unary("signbit", ("real floating",), "Whether the sign bit is set, as it is for -0.0.")
sin = _unary("sin", FLOATING, "The sine of an angle in radians.")
sinh = _unary("sinh", FLOATING, "The hyperbolic sine.")
sqrt = _unary("sqrt", FLOATING, "The square root.")
square = _unary("square", NUMERIC, "x * x.")
subtract = _binary("subtract", NUMERIC, "The difference.", namespace.sub)
tan = _unary("tan", FLOATING, "The tangent of an angle in radians.")
tanh = _unary("tanh", FLOATING, "The hyperbolic tangent.")
trunc = _unary("trunc", REAL, "Rounded toward 0.", _unless_integer(namespace.trunc))


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """`x` within [min, max]; each bound a number, a tensor that broadcasts, or None; the dtype stays that of `x`.

    >>> from ingot import array_api as xp
    >>> xp.clip(xp.asarray([1, 5, 9]), 2, 6)
    tensor([2, 5, 6])
    """
    result = require_kind("clip", x, *REAL)
    for bound, limit in ((min, maximum), (max, minimum)):
        if bound is not None:
            if isinstance(bound, builtins.float) and result.dtype in INTEGERS:
                raise TypeError(f"clip: bound {bound} for a tensor of {result.dtype}, expected an integer")
            result = limit(result, bound)
    if result is x:
        return x.clone()
    return result.to(x.dtype)
