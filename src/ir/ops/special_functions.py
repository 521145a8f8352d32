"""Special functions: Bessel functions, the normal distribution, incomplete gamma functions, zeta, and small ones."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType, bool_
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    array_dtype,
    cast,
    conjugating,
    double,
    floating,
    randoms,
    require_tensor,
    special,
)
from ._op import Decompose, Elementwise, ErrorSample, F, Op, Sample, VjpContext, define

__all__ = ["erfcx", "log_ndtr", "modified_bessel", "ndtri", "unary_special"]

_SPECIAL = ("special",)
_PUBLIC = ("", "method")
_erfc = special("erfc", math.erfc)


def unary_special(
    name: str,
    doc: str,
    compute: Callable[[Any], Any],
    vjp: Callable[[VjpContext, Any, Any], Any] | None,
    *,
    expression: str,
    public: tuple[str, ...] = _SPECIAL,
    low: float = -2.0,
    high: float = 2.0,
    result: Callable[[DType], DType] = floating,
    complexes: bool = False,
    **fields: Any,
) -> Op:
    """An op of reals (and of `complexes`) whose reference computes in double precision."""

    def infer(sizes: Sizes, input: Any) -> TensorType:
        input = require_tensor(name, "input", input)
        if input.dtype.is_complex and not complexes:
            raise RuntimeError(f"{name}: complex tensors are not supported, given {input}")
        return TensorType(result(input.dtype), input.shape, input.device)

    def evaluate(xp: Any, input: Any) -> Any:
        with np.errstate(all="ignore"):
            kind = np.complex128 if input.dtype.kind == "c" else np.float64
            wide = input.astype(kind, copy=False) if result is floating else input
            value = compute(wide) if wide.size else wide
            return xp.asarray(value).astype(result(array_dtype(input)).numpy)

    return define(
        f"{name}(input: Tensor)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=None if vjp is None else conjugating(lambda c, g, x: (vjp(c, g, x),)),
        lower=Elementwise(expression),
        public=public,
        samples=lambda: [
            Sample((randoms(3, 5, low=low, high=high),)),
            Sample((randoms(low=low, high=high),)),
            Sample((randoms(0, 2, low=low, high=high),)),
            Sample((np.array([1, 0, 1]),), differentiable=False),
            Sample((np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 40.0, -40.0], np.float32),), differentiable=False),
        ],
        errors=lambda: [ErrorSample((1.5,), TypeError, "must be Tensor")],
        **fields,
    )


# -- modified Bessel functions of the first kind -----------------------------------------------------------------------


def _scaled_bessel(x: Any, order: int) -> Any:
    """exp(-|x|) * I(x) of order 0 or 1.

    The power series (Abramowitz and Stegun, 9.6.10), whose terms are all positive, up to 30; the asymptotic series
    (9.7.1) from there.
    """
    size = np.abs(x)
    small = np.minimum(size, 30.0)
    quarter = small * small / 4
    term = np.ones_like(small) if order == 0 else small / 2
    total = term.copy()
    for k in range(1, 90):
        term = term * quarter / (k * (k + order))
        total = total + term
    series = total * np.exp(-small)
    large = np.maximum(size, 30.0)
    term = np.ones_like(large)
    tail = term.copy()
    for k in range(1, 24):
        term = -term * (4 * order * order - (2 * k - 1) ** 2) / (k * 8 * large)
        tail = tail + term
    asymptotic = np.where(np.isinf(large), 0.0, tail / np.sqrt(2 * np.pi * large))
    value = np.where(size <= 30.0, series, asymptotic)
    value = np.where(np.isnan(x), x, value)
    return value if order == 0 else np.copysign(1.0, x) * value


def modified_bessel(x: Any, order: int) -> Any:
    size = np.abs(x)
    value = _scaled_bessel(x, order) * np.exp(np.minimum(size, 700.0)) * np.exp(np.maximum(size - 700.0, 0.0))
    return np.where(np.isinf(size), size if order == 0 else x, value)


I0E = unary_special(
    "i0e",
    "Elementwise exp(-|x|) * i0(x).\n\n>>> ingot.special.i0e(ingot.tensor([0., 1.]))\ntensor([1.0000, 0.4658])",
    lambda x: _scaled_bessel(x, 0),
    lambda c, g, x: F.mul(g, F.sub(F.i1e(x), F.mul(F.sign(x), c.output))),
    expression="i0e({input})",
)
I0 = unary_special(
    "i0",
    "Elementwise modified Bessel function of the first kind of order 0.\n\n"
    ">>> ingot.i0(ingot.tensor([0., 1.]))\n"
    "tensor([1.0000, 1.2661])",
    lambda x: modified_bessel(x, 0),
    lambda c, g, x: F.mul(g, F.i1(x)),
    public=("", "method", "special"),
    inplace=True,
    expression="i0({input})",
)


def _first_order_slope(value: Any, zeroth: Any, x: Any, sign: Any = None) -> Any:
    """I0(x) - I1(x) / x, which is 1/2 at 0; `sign` for the scaled functions, less sign(x) * I1."""
    zero = F.eq(x, 0)
    slope = F.sub(zeroth, F.div(value, F.where(zero, 1.0, x)))
    if sign is not None:
        slope = F.sub(slope, F.mul(sign, value))
    return F.where(zero, 0.5, slope)


I1E = unary_special(
    "i1e",
    "Elementwise exp(-|x|) * i1(x).\n\n>>> ingot.special.i1e(ingot.tensor([0., 1.]))\ntensor([0.0000, 0.2079])",
    lambda x: _scaled_bessel(x, 1),
    lambda c, g, x: F.mul(g, _first_order_slope(c.output, F.i0e(x), x, F.sign(x))),
    expression="i1e({input})",
)
I1 = unary_special(
    "i1",
    "Elementwise modified Bessel function of the first kind of order 1.\n\n"
    ">>> ingot.special.i1(ingot.tensor([0., 1.]))\n"
    "tensor([0.0000, 0.5652])",
    lambda x: modified_bessel(x, 1),
    lambda c, g, x: F.mul(g, _first_order_slope(c.output, F.i0(x), x)),
    expression="i1({input})",
)


# -- the normal distribution -------------------------------------------------------------------------------------------


def erfcx(x: Any) -> Any:
    """exp(x**2) * erfc(x): as it stands up to 3, then by its continued fraction (Abramowitz and Stegun, 7.1.14)."""
    x = double(x)
    small = np.minimum(x, 3.0)
    direct = np.exp(small * small) * _erfc(small)
    large = np.maximum(x, 3.0)
    fraction = large.copy()
    for k in range(80, 0, -1):
        fraction = large + k / 2 / fraction
    return np.where(x <= 3.0, direct, np.where(np.isnan(x), x, 1 / (np.sqrt(np.pi) * fraction)))


def log_ndtr(x: Any) -> Any:
    """The logarithm of the normal distribution function, accurate in both tails."""
    x = double(x)
    upper = np.log1p(-0.5 * _erfc(np.maximum(x, -1.0) / math.sqrt(2)))
    negative = np.minimum(x, -1.0)
    lower = np.where(np.isneginf(x), -np.inf, -negative * negative / 2 + np.log(erfcx(-negative / math.sqrt(2)) / 2))
    return np.where(np.isnan(x), x, np.where(x > -1, upper, lower))


def ndtri(p: Any) -> Any:
    """The inverse of the normal distribution function: Newton's method on the logarithm, in the lower tail."""
    p = double(p)
    tail = np.minimum(p, 1 - p)
    inside = np.clip(tail, np.finfo(np.float64).tiny, 0.5)
    goal = np.log(inside)
    y = -np.sqrt(np.maximum(-2 * goal - np.log(-2 * goal * 2 * np.pi), 0.0))
    for _ in range(12):
        value = log_ndtr(y)
        slope = np.exp(-y * y / 2 - value) / math.sqrt(2 * np.pi)
        y = y - (value - goal) / slope
    y = np.where(p > 0.5, -y, y)
    y = np.where(p == 0.5, 0.0, y)
    y = np.where(p == 0, -np.inf, np.where(p == 1, np.inf, y))
    return np.where((p >= 0) & (p <= 1), y, np.nan)


_LOG_TWO_PI = math.log(2 * math.pi)

NDTR = unary_special(
    "ndtr",
    "Elementwise distribution function of the standard normal distribution.\n\n"
    ">>> ingot.special.ndtr(ingot.tensor([0., 1.]))\n"
    "tensor([0.5000, 0.8413])",
    lambda x: 0.5 * _erfc(-x / math.sqrt(2)),
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.mul(F.square(x), -0.5)), 1 / math.sqrt(2 * math.pi))),
    expression="ndtr({input})",
)
LOG_NDTR = unary_special(
    "log_ndtr",
    "Elementwise logarithm of `ndtr`, accurate in both tails.\n\n"
    ">>> ingot.special.log_ndtr(ingot.tensor([0., -10.]))\n"
    "tensor([ -0.6931, -53.2313])",
    log_ndtr,
    lambda c, g, x: F.mul(g, F.exp(F.sub(F.sub(F.mul(F.square(x), -0.5), _LOG_TWO_PI / 2), c.output))),
    expression="log_ndtr({input})",
)
NDTRI = unary_special(
    "ndtri",
    "Elementwise inverse of `ndtr`; NaN outside [0, 1].\n\n"
    ">>> ingot.special.ndtri(ingot.tensor([0.5, 0.975]))\n"
    "tensor([0.0000, 1.9600])",
    ndtri,
    lambda c, g, x: F.mul(g, F.mul(F.exp(F.mul(F.square(c.output), 0.5)), math.sqrt(2 * math.pi))),
    low=0.05,
    high=0.95,
    expression="ndtri({input})",
)
ERFCX = unary_special(
    "erfcx",
    "Elementwise exp(x**2) * erfc(x).\n\n>>> ingot.special.erfcx(ingot.tensor([0., 10.]))\ntensor([1.0000, 0.0561])",
    erfcx,
    lambda c, g, x: F.mul(g, F.sub(F.mul(F.mul(x, 2.0), c.output), 2 / math.sqrt(math.pi))),
    expression="erfcx({input})",
)
ENTR = unary_special(
    "entr",
    "Elementwise -x * log(x): 0 at 0 and -inf below.\n\n"
    ">>> ingot.special.entr(ingot.tensor([0., 0.5]))\n"
    "tensor([0.0000, 0.3466])",
    lambda x: np.where(x > 0, -x * np.log(np.where(x > 0, x, 1.0)), np.where(x == 0, 0.0, np.where(x < 0, -np.inf, x))),
    lambda c, g, x: F.mul(g, F.sub(F.neg(F.log(x)), 1.0)),
    expression="select({input} > 0, -{input} * log({input}), "
    "select({input} == 0, 0, select({input} < 0, -inf, {input})))",
    low=0.1,
)


def _sinc(x: Any) -> Any:
    angle = np.pi * np.where(x == 0, 1.0, x)
    if np.iscomplexobj(x):
        return np.where(x == 0, 1.0, np.sin(angle) / angle)
    # The sine of pi times what is left of the nearest integer, for pi x itself is rounded.
    nearest = np.rint(x)
    sine = np.sin(np.pi * (x - nearest)) * np.where(np.fmod(nearest, 2) == 0, 1.0, -1.0)
    return np.where(x == 0, 1.0, sine / angle)


def _sinc_vjp(c: VjpContext, g: Any, x: Any) -> Any:
    zero = F.eq(x, 0)
    safe = F.where(zero, 1.0, x)
    return F.mul(g, F.where(zero, 0.0, F.div(F.sub(F.cos(F.mul(safe, math.pi)), c.output), safe)))


SINC = unary_special(
    "sinc",
    "Elementwise sin(pi * x) / (pi * x), and 1 at 0.\n\n"
    ">>> ingot.sinc(ingot.tensor([0., 0.5]))\n"
    "tensor([1.0000, 0.6366])",
    _sinc,
    _sinc_vjp,
    public=("", "method", "special"),
    inplace=True,
    complexes=True,
    expression="sinc({input})",
)


# -- small functions ---------------------------------------------------------------------------------------------------

DEG2RAD = unary_special(
    "deg2rad",
    "Elementwise degrees as radians.\n\n>>> ingot.deg2rad(ingot.tensor([180.]))\ntensor([3.1416])",
    np.deg2rad,
    lambda c, g, x: F.mul(g, math.pi / 180),
    expression="{input} * 0.017453292519943295",
    public=_PUBLIC,
    inplace=True,
)
RAD2DEG = unary_special(
    "rad2deg",
    "Elementwise radians as degrees.\n\n>>> ingot.rad2deg(ingot.tensor([0.5]))\ntensor([28.6479])",
    np.rad2deg,
    lambda c, g, x: F.mul(g, 180 / math.pi),
    expression="{input} * 57.29577951308232",
    public=_PUBLIC,
    inplace=True,
)
SIGNBIT = unary_special(
    "signbit",
    "Whether the sign of each element is negative, also of -0.\n\n"
    ">>> ingot.signbit(ingot.tensor([1., -0.]))\n"
    "tensor([False,  True])",
    lambda x: np.signbit(x) if x.dtype.kind == "f" else x < 0,
    None,
    public=_PUBLIC,
    result=lambda dtype: bool_,
    expression="signbit({input})",
)
ISPOSINF = unary_special(
    "isposinf",
    "Whether each element is infinity.\n\n>>> ingot.isposinf(ingot.tensor([float('inf'), 1.]))\ntensor([ True, False])",
    lambda x: x == np.inf,
    None,
    public=_PUBLIC,
    result=lambda dtype: bool_,
    expression="isinf({input}) & ({input} > 0)",
)
ISNEGINF = unary_special(
    "isneginf",
    "Whether each element is minus infinity.\n\n"
    ">>> ingot.isneginf(ingot.tensor([-float('inf'), 1.]))\n"
    "tensor([ True, False])",
    lambda x: x == -np.inf,
    None,
    public=_PUBLIC,
    result=lambda dtype: bool_,
    expression="isinf({input}) & ({input} < 0)",
)


def _infer_logit(sizes: Sizes, input: Any, *, eps: float | None) -> TensorType:
    input = require_tensor("logit", "input", input)
    if input.dtype.is_complex:
        raise RuntimeError(f"logit: complex tensors are not supported, given {input}")
    return TensorType(floating(input.dtype), input.shape, input.device)


def _evaluate_logit(xp: Any, input: Any, *, eps: float | None) -> Any:
    dtype = floating(array_dtype(input))
    x = cast(xp, input, dtype)
    x = x if eps is None else xp.clip(x, eps, 1 - eps)
    with np.errstate(all="ignore"):
        return xp.asarray(xp.log(x / (1 - x)), dtype.numpy)


def _logit_vjp(c: VjpContext, g: Any, x: Any, *, eps: float | None) -> tuple[Any]:
    slope = F.div(g, F.mul(x, F.sub(1.0, x)))
    if eps is None:
        return (slope,)
    outside = F.logical_or(F.lt(x, eps), F.gt(x, 1 - eps))
    return (F.where(outside, 0.0, slope),)


def _decompose_logit(input: Any, *, eps: float | None) -> Any:
    x = input if input.dtype.is_floating_point else F.cast(input, dtype=floating(input.dtype))
    x = x if eps is None else F.clamp(x, eps, 1 - eps)
    return F.log(F.div(x, F.sub(1.0, x)))


LOGIT = define(
    "logit(input: Tensor, eps: float | None = None)",
    "Elementwise log(x / (1 - x)), of x cut off to [eps, 1 - eps] where `eps` is given.\n\n"
    ">>> ingot.logit(ingot.tensor([0.5, 0.75]))\n"
    "tensor([0.0000, 1.0986])",
    infer=_infer_logit,
    evaluate=_evaluate_logit,
    vjp=_logit_vjp,
    lower=Decompose(_decompose_logit),
    public=("", "method", "special"),
    inplace=True,
    samples=lambda: [
        Sample((randoms(3, 5, low=0.1, high=0.9),)),
        Sample((randoms(7, low=-0.5, high=1.5), 0.2)),
        Sample((np.array([0, 1]),), differentiable=False),
    ],
    errors=lambda: [ErrorSample((0.5,), TypeError, "must be Tensor")],
)
