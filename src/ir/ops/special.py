"""Elementwise functions that are less common: logaddexp, hypot, shifts, gamma functions and the inverse of erf."""

import math
from typing import Any

import numpy as np

from ..dtypes import bool_
from ..sizes import Sizes
from ..types import TensorType
from ._common import broadcast_types, cast, double, floating, ints, promoted, promoted_array_dtype, randoms, special
from ._op import Elementwise, ErrorSample, F, Op, Sample, VjpContext, define
from .elementwise import binary
from .unary import unary

_PUBLIC = ("", "method")


def _quietly(name: str) -> Any:
    def compute(xp: Any, a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):
            return getattr(xp, name)(a, b)

    return compute


def _logaddexp(xp: Any, a: Any, b: Any) -> Any:
    with np.errstate(all="ignore"):
        if a.dtype.kind != "c":
            return xp.logaddexp(a, b)
        larger, smaller = xp.where(a.real >= b.real, a, b), xp.where(a.real >= b.real, b, a)
        return xp.where(xp.isinf(larger.real) & (a == b), a, larger + xp.log1p(xp.exp(smaller - larger)))


LOGADDEXP = binary(
    "logaddexp",
    "log(e**input + e**other), without overflow.\n\n"
    ">>> ingot.logaddexp(ingot.tensor([0., 1000.]), ingot.tensor([0., 1000.]))\n"
    "tensor([6.9315e-01, 1.0007e+03])",
    _logaddexp,
    "select({input} == {other}, {input} + 0.6931471805599453, "
    "maximum({input}, {other}) + log1p(exp(-absolute({input} - {other}))))",
    lambda c, g, a, b: (
        F.mul(g, F.exp(F.sub(a, c.output))),
        F.mul(g, F.exp(F.sub(b, c.output))),
    ),
    operate=floating,
    numbers=(),
)
HYPOT = binary(
    "hypot",
    "sqrt(input**2 + other**2), without overflow.\n\n"
    ">>> ingot.hypot(ingot.tensor([3.]), ingot.tensor([4.]))\n"
    "tensor([5.])",
    _quietly("hypot"),
    "select(isinf({input}) or isinf({other}), inf, select(maximum(absolute({input}), absolute({other})) == 0, 0, "
    "maximum(absolute({input}), absolute({other})) * sqrt(1 + (minimum(absolute({input}), absolute({other})) / "
    "maximum(absolute({input}), absolute({other}))) * (minimum(absolute({input}), absolute({other})) / "
    "maximum(absolute({input}), absolute({other}))))))",
    lambda c, g, a, b: (F.mul(g, F.div(a, c.output)), F.mul(g, F.div(b, c.output))),
    operate=floating,
    inplace=True,
    numbers=(),
)


def _xlogy(xp: Any, a: Any, b: Any) -> Any:
    with np.errstate(all="ignore"):
        return xp.where((a == 0) & ~xp.isnan(b), a.dtype.type(0), a * xp.log(b))


def _xlogy_vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    a, b = (v if hasattr(v, "shape") else F.full((), v, dtype=g.dtype) for v in (a, b))
    zero = F.logical_and(F.eq(a, 0), F.le(b, 0))
    return F.where(zero, 0.0, F.mul(g, F.log(b))), F.div(F.mul(g, a), b)


XLOGY = binary(
    "xlogy",
    "input * log(other), and 0 where input is 0.\n\n"
    ">>> ingot.xlogy(ingot.tensor([0., 2.]), ingot.tensor([0., 1.]))\n"
    "tensor([0., 0.])",
    _xlogy,
    "select(({input} == 0) and ({other} == {other}), 0, {input} * log({other}))",
    _xlogy_vjp,
    operate=floating,
    low=0.5,
)
COPYSIGN = binary(
    "copysign",
    "The size of one number with the sign of the other.\n\n"
    ">>> ingot.copysign(ingot.tensor([1., -2.]), -1.)\n"
    "tensor([-1., -2.])",
    _quietly("copysign"),
    "select(({other} < 0) or (1 / {other} < 0), -absolute({input}), absolute({input}))",
    lambda c, g, a, b: (F.mul(g, F.mul(F.sign(a), F.sign(c.output))) if hasattr(a, "shape") else None, None),
    operate=floating,
    numbers=("other",),
)


# A machine shifts by the lowest bits of a count only. Numbers are computed in 64 bits and cut to their own width.
_OUTSIDE = "({other} < 0) | ({other} > 63)"
_SHIFTS = {
    "<<": f"select({_OUTSIDE}, 0, {{input}} << select({_OUTSIDE}, 0, {{other}}))",
    ">>": f"{{input}} >> select({_OUTSIDE}, 63, {{other}})",
}


def _shift(name: str, symbol: str, dunders: tuple[str, ...], example: str) -> Op:
    def infer(sizes: Sizes, input: Any, other: Any) -> TensorType:
        dtype = promoted((input, other))
        if dtype.category > 1 or dtype is bool_:
            raise RuntimeError(f"{name}: expected integer tensors, given {input} and {other}")
        return broadcast_types(sizes, name, (input, other), dtype)

    def evaluate(xp: Any, input: Any, other: Any) -> Any:
        dtype = promoted_array_dtype((input, other))
        a, b = cast(xp, input, dtype), cast(xp, other, dtype)
        bits = 8 * dtype.itemsize
        outside = (b < 0) | (b >= bits)
        inside = xp.where(outside, 0, b).astype(dtype.numpy)
        if symbol == "<<":
            return xp.where(outside, 0, xp.left_shift(a, inside)).astype(dtype.numpy)
        return xp.where(outside, xp.where(a < 0, -1, 0), xp.right_shift(a, inside)).astype(dtype.numpy)

    return define(
        f"{name}(input: Tensor | Scalar, other: Tensor | Scalar)",
        f"Elementwise input {symbol} other of integers.\n\n{example}",
        infer=infer,
        evaluate=evaluate,
        lower=Elementwise(_SHIFTS[symbol]),
        public=_PUBLIC,
        inplace=True,
        dunders=dunders,
        samples=lambda: [
            Sample((ints(3, 4), ints(4, seed=1, low=0, high=5))),
            Sample((ints(5, dtype="int32"), 2)),
            Sample((ints(3, dtype="uint8", low=0), 3)),
            Sample((np.array([[5], [-3]]), np.array([0, 1, 62, 63, 64, 65, 128, -1, -64]))),
            Sample((np.array([[5], [-3]], np.int32), np.array([0, 31, 32, 33, 63, 64, 70, -1], np.int32))),
        ],
        errors=lambda: [ErrorSample((randoms(3), ints(3)), RuntimeError, "integer tensors")],
    )


LEFT_SHIFT = _shift(
    "bitwise_left_shift",
    "<<",
    ("__lshift__", "__rlshift__", "__ilshift__"),
    ">>> ingot.tensor([1, 2]) << 3\ntensor([ 8, 16])",
)
RIGHT_SHIFT = _shift(
    "bitwise_right_shift",
    ">>",
    ("__rshift__", "__rrshift__", "__irshift__"),
    ">>> ingot.tensor([8, 5]) >> 1\ntensor([4, 2])",
)


# -- gamma functions and erfinv ----------------------------------------------------------------------------------------


def _lgamma_of(x: float) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


_lgamma = special("gammaln", _lgamma_of)
# B(2k) / (2k): the asymptotic series of digamma (Abramowitz and Stegun, 1964, 6.3.18).
_DIGAMMA_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def digamma(x: Any) -> Any:
    """The derivative of lgamma, in double precision."""
    x = double(x)
    negative = x < 0
    pole = (x <= 0) & (x == np.floor(x))
    # digamma(1 - x) - digamma(x) = pi / tan(pi * x); the distance to the nearest integer keeps the tangent exact.
    reflected = np.where(negative, np.pi / np.tan(np.pi * (x - np.rint(x))), 0.0)
    z = np.where(negative, 1 - x, x)
    shift = np.zeros_like(z)
    for _ in range(8):  # digamma(z) = digamma(z + 1) - 1 / z, until the series converges
        small = z < 8
        shift = np.where(small, shift - 1 / z, shift)
        z = np.where(small, z + 1, z)
    square = 1 / (z * z)
    series = np.zeros_like(z)
    for coefficient in reversed(_DIGAMMA_SERIES):
        series = square * (coefficient + series)
    value = np.log(z) - 0.5 / z - series + shift - reflected
    value = np.where(pole & (x == 0), np.where(np.signbit(x), np.inf, -np.inf), np.where(pole, np.nan, value))
    return np.where(x == np.inf, np.inf, value)


LGAMMA = unary(
    "lgamma",
    "Elementwise logarithm of the absolute value of the gamma function.\n\n"
    ">>> ingot.lgamma(ingot.tensor([1., 4.]))\n"
    "tensor([0.0000, 1.7918])",
    lambda xp, x: _lgamma(x).astype(x.dtype) if x.size else x,
    "lgamma({input})",
    lambda c, g, x: F.mul(g, F.digamma(x)),
    inplace=True,
    low=0.2,
    high=5.0,
)
DIGAMMA = unary(
    "digamma",
    "Elementwise derivative of lgamma.\n\n>>> ingot.digamma(ingot.tensor([1., 4.]))\ntensor([-0.5772,  1.2561])",
    lambda xp, x: digamma(x).astype(x.dtype),
    "digamma({input})",
    lambda c, g, x: F.mul(g, F.polygamma(x, order=1)),
    inplace=True,
    low=0.2,
    high=5.0,
)


def _polygamma(x: Any, order: int) -> Any:
    """(-1)**(n + 1) * n! * sum over k >= 0 of (x + k)**-(n + 1) (Abramowitz and Stegun, 6.4.10), n = order.

    The first terms are summed; the rest is the Euler-Maclaurin formula of the tail.
    """
    x = double(x)
    power = order + 1
    total = np.zeros_like(x)
    z = x.copy()
    for _ in range(24):
        total += z**-power
        z += 1
    tail = z ** (1 - power) / (power - 1) + z**-power / 2
    term, factor = z ** -(power + 1), float(power)
    for k, bernoulli in enumerate((1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66), 1):
        tail += bernoulli / math.factorial(2 * k) * factor * term
        factor *= (power + 2 * k - 1) * (power + 2 * k)
        term = term / (z * z)
    return (-1) ** (order + 1) * math.factorial(order) * (total + tail)


def _infer_polygamma(sizes: Sizes, input: Any, *, order: int) -> TensorType:
    if order < 1:
        raise RuntimeError(f"polygamma: expected an order of at least 1, given {order}; order 0 is digamma")
    if not isinstance(input, TensorType):
        raise TypeError(f"polygamma(): argument 'input' must be Tensor, not {input}")
    return TensorType(floating(input.dtype), input.shape, input.device)


def _evaluate_polygamma(xp: Any, input: Any, *, order: int) -> Any:
    with np.errstate(all="ignore"):
        return _polygamma(input, order).astype(floating(promoted_array_dtype((input,))).numpy)


POLYGAMMA = define(
    "polygamma(input: Tensor, *, order: int)",
    "Elementwise derivative of digamma, of that order, for numbers above 0.",
    infer=_infer_polygamma,
    evaluate=_evaluate_polygamma,
    vjp=lambda c, g, x, *, order: (F.mul(g, F.polygamma(x, order=order + 1)),),
    lower=Elementwise("polygamma({input}, {order})"),
    samples=lambda: [
        Sample((randoms(3, 4, low=0.2, high=5.0),), {"order": 1}),
        Sample((randoms(5, low=0.2, high=5.0),), {"order": 2}),
    ],
    errors=lambda: [ErrorSample((randoms(3),), RuntimeError, "at least 1", {"order": 0})],
)
_erf = special("erf", math.erf)


def erfinv(x: Any) -> Any:
    """The inverse of erf in double precision: an approximation (Winitzki, 2008), then Halley's method."""
    x = double(x)
    inside = np.clip(x, -1 + 2**-53, 1 - 2**-53)
    logarithm = np.log1p(-inside * inside)
    middle = 2 / (np.pi * 0.147) + logarithm / 2
    y = np.sign(inside) * np.sqrt(np.sqrt(middle * middle - logarithm / 0.147) - middle)
    for _ in range(3):
        error = (_erf(y) if y.size else y) - inside
        slope = 2 / np.sqrt(np.pi) * np.exp(-y * y)
        y = y - error / (slope + y * error)
    y = np.where(np.abs(x) == 1, np.copysign(np.inf, x), y)
    return np.where(np.abs(x) > 1, np.nan, np.where(x == 0, x, y))


ERFINV = unary(
    "erfinv",
    "Elementwise inverse of erf; NaN outside [-1, 1].\n\n"
    ">>> ingot.erfinv(ingot.tensor([0., 0.5]))\n"
    "tensor([0.0000, 0.4769])",
    lambda xp, x: erfinv(x).astype(x.dtype),
    "erfinv({input})",
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.square(c.output)), math.sqrt(math.pi) / 2)),
    inplace=True,
    low=-0.95,
    high=0.95,
)
