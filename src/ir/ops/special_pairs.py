"""Special functions of two operands: fmax, gcd, heaviside, zeta, incomplete gamma functions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    broadcast_types,
    cast,
    conjugating,
    double,
    floating,
    ints,
    largest,
    promoted,
    promoted_array_dtype,
    randoms,
    special,
    sum_to,
)
from ._op import Elementwise, ErrorSample, F, Op, Sample, Trait, VjpContext, define
from .elementwise import binary

_SPECIAL = ("special",)
_PUBLIC = ("", "method")


def _quiet(function: Any) -> Callable[[Any, Any, Any], Any]:
    def compute(xp: Any, a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(a, b)

    return compute


def _tensors(a: Any, b: Any, like: Any) -> tuple[Any, Any]:
    a, b = (v if hasattr(v, "shape") else F.full((), v, dtype=like.dtype) for v in (a, b))
    return a, b


def _choice_vjp(first: str) -> Callable[[VjpContext, Any, Any, Any], tuple[Any, Any]]:
    """The gradient goes to the chosen operand (half to each where equal), and past NaN to the other."""

    def vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
        a, b = _tensors(a, b, g)
        left = F.logical_or(getattr(F, first)(a, b), F.isnan(b))
        equal = F.eq(a, b)
        half = F.mul(g, 0.5)
        return F.where(equal, half, F.where(left, g, 0.0)), F.where(equal, half, F.where(left, 0.0, g))

    return vjp


FMAX = binary(
    "fmax",
    "Elementwise maximum of what is not NaN.\n\n"
    ">>> ingot.fmax(ingot.tensor([1., float('nan')]), ingot.tensor([2., 3.]))\n"
    "tensor([2., 3.])",
    _quiet(np.fmax),
    "select({input} != {input}, {other}, select({other} != {other}, {input}, maximum({input}, {other})))",
    _choice_vjp("gt"),
    traits=(Trait.COMMUTATIVE,),
    numbers=(),
)
FMIN = binary(
    "fmin",
    "Elementwise minimum of what is not NaN.\n\n"
    ">>> ingot.fmin(ingot.tensor([1., float('nan')]), ingot.tensor([2., 3.]))\n"
    "tensor([1., 3.])",
    _quiet(np.fmin),
    "select({input} != {input}, {other}, select({other} != {other}, {input}, minimum({input}, {other})))",
    _choice_vjp("lt"),
    traits=(Trait.COMMUTATIVE,),
    numbers=(),
)


def _logaddexp2_vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    return F.mul(g, F.exp2(F.sub(a, c.output))), F.mul(g, F.exp2(F.sub(b, c.output)))


def _xlog1py(a: Any, b: Any) -> Any:
    return np.where((a == 0) & ~np.isnan(b), a.dtype.type(0), a * np.log1p(b))


def _xlog1py_vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    a, b = _tensors(a, b, g)
    zero = F.logical_and(F.eq(a, 0), F.le(b, -1))
    return F.where(zero, 0.0, F.mul(g, F.log1p(b))), F.div(F.mul(g, a), F.add(b, 1.0))


def _plain(
    name: str,
    doc: str,
    compute: Callable[[Any, Any], Any],
    vjp: Any,
    kind: str,
    *,
    expression: str = "",
    public: tuple[str, ...] = _PUBLIC,
    low: float = 0.5,
    **fields: Any,
) -> Op:
    """An op of two operands; `kind` says what it takes: "float", "int" or "any".

    Without an `expression` for native code it is a function of its own name, which devices have.
    """
    operate: Callable[[DType], DType] = floating if kind == "float" else lambda dtype: dtype

    def infer(sizes: Sizes, input: Any, other: Any) -> TensorType:
        dtype = operate(promoted((input, other)))
        if dtype.is_complex or (kind == "int" and dtype.category != 1):
            wanted = "integer" if kind == "int" else "real"
            raise RuntimeError(f"{name}: expected {wanted} tensors, given {input} and {other}")
        return broadcast_types(sizes, name, (input, other), dtype)

    def evaluate(xp: Any, input: Any, other: Any) -> Any:
        dtype = operate(promoted_array_dtype((input, other)))
        with np.errstate(all="ignore"):
            return xp.asarray(compute(cast(xp, input, dtype), cast(xp, other, dtype))).astype(dtype.numpy)

    def gradients(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
        left, right = vjp(c, g, a, b)
        return None if left is None else sum_to(left, a), None if right is None else sum_to(right, b)

    def samples() -> list[Sample]:
        if kind == "int":
            return [Sample((ints(3, 4), ints(4, seed=1))), Sample((ints(5, dtype="int32"), 6))]
        return [
            Sample((randoms(3, 4, low=low), randoms(4, seed=1, low=low)), differentiable=name not in _NOT_BY_FIRST),
            Sample((randoms(5, low=low), 1.5), differentiable=name not in _NOT_BY_FIRST),
            Sample((ints(3, low=1), randoms(3, low=low)), differentiable=False),
            Sample((randoms(0), randoms(1)), differentiable=False),
        ]

    return define(
        f"{name}(input: Tensor | Scalar, other: Tensor | Scalar)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=None if vjp is None else conjugating(gradients),
        lower=Elementwise(expression or f"{name}({{input}}, {{other}})"),
        public=public,
        samples=samples,
        errors=lambda: [ErrorSample((randoms(3, 4), randoms(2, 4)), RuntimeError, "broadcast|integer")],
        **fields,
    )


# Functions whose derivative by the first operand has no closed form; PyTorch has none either.
_NOT_BY_FIRST = {"gammainc", "gammaincc", "zeta", "nextafter", "heaviside"}

LOGADDEXP2 = _plain(
    "logaddexp2",
    "log2(2**input + 2**other), without overflow.\n\n"
    ">>> ingot.logaddexp2(ingot.tensor([1., 1000.]), ingot.tensor([1., 1000.]))\n"
    "tensor([   2., 1001.])",
    np.logaddexp2,
    _logaddexp2_vjp,
    "float",
    expression="select({input} == {other}, {input} + 1, maximum({input}, {other}) + "
    "log1p(exp2(-absolute({input} - {other}))) * 1.4426950408889634)",
    numbers=(),
)
XLOG1PY = _plain(
    "xlog1py",
    "input * log1p(other), and 0 where input is 0.\n\n"
    ">>> ingot.special.xlog1py(ingot.tensor([0., 2.]), ingot.tensor([-1., 0.]))\n"
    "tensor([0., 0.])",
    _xlog1py,
    _xlog1py_vjp,
    "float",
    expression="select(({input} == 0) and ({other} == {other}), 0, {input} * log1p({other}))",
    public=_SPECIAL,
)
GCD = _plain(
    "gcd",
    "Elementwise greatest common divisor of integers.\n\n"
    ">>> ingot.gcd(ingot.tensor([4, 6]), ingot.tensor(10))\n"
    "tensor([2, 2])",
    np.gcd,
    None,
    "int",
    inplace=True,
    numbers=(),
)
LCM = _plain(
    "lcm",
    "Elementwise least common multiple of integers.\n\n"
    ">>> ingot.lcm(ingot.tensor([4, 6]), ingot.tensor(10))\n"
    "tensor([20, 30])",
    np.lcm,
    None,
    "int",
    inplace=True,
    numbers=(),
)
HEAVISIDE = _plain(
    "heaviside",
    "0 where the input is below 0, 1 where it is above, and the values where it is 0.\n\n"
    ">>> ingot.heaviside(ingot.tensor([-1., 0., 2.]), ingot.tensor([0.5]))\n"
    "tensor([0.0000, 0.5000, 1.0000])",
    lambda a, b: np.where(a == 0, b, (a > 0).astype(a.dtype)),
    None,
    "any",
    expression="select({input} == 0, {other}, select({input} > 0, 1, 0))",
    inplace=True,
    numbers=(),
)
NEXTAFTER = _plain(
    "nextafter",
    "The next floating-point number after the input toward `other`.\n\n"
    ">>> ingot.nextafter(ingot.tensor([1.]), ingot.tensor([2.])) > 1\n"
    "tensor([True])",
    np.nextafter,
    None,
    "float",
    inplace=True,
    numbers=(),
)


def zeta(x: Any, q: Any) -> Any:
    """The Hurwitz zeta function for x > 1, by the Euler-Maclaurin formula (Abramowitz and Stegun, 23.1.30)."""
    x, q = np.broadcast_arrays(double(x), double(q))
    total = np.zeros_like(x)
    z = np.where(q > 0, q, 1.0)
    # Below 0 the terms up to the first positive one are added as they are; x must be an integer there.
    shift = np.where(q > 0, 0, np.ceil(-q) + (q == np.floor(q)))
    count = int(largest(np.nan_to_num(shift, posinf=0), None, False, 0))
    start = q.copy()
    for _ in range(min(count, 10**6)):
        below = start <= 0
        total = np.where(below, total + start**-x, total)
        start = np.where(below, start + 1, start)
    z = start
    for _ in range(16):
        total = total + z**-x
        z = z + 1
    total = total + z ** (1 - x) / (x - 1) + z**-x / 2
    factor, term = x.copy(), z ** -(x + 1)
    for k, bernoulli in enumerate((1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6), 1):
        total = total + bernoulli / math.factorial(2 * k) * factor * term
        factor = factor * (x + 2 * k - 1) * (x + 2 * k)
        term = term / (z * z)
    total = np.where((q <= 0) & (q == np.floor(q)), np.inf, total)
    total = np.where((q < 0) & (x != np.floor(x)), np.nan, total)
    return np.where(x == 1, np.inf, np.where(x < 1, np.nan, total))


ZETA = _plain(
    "zeta",
    "The Hurwitz zeta function, the sum over k >= 0 of (other + k)**-input.\n\n"
    ">>> ingot.special.zeta(ingot.tensor([2.]), ingot.tensor([1.]))\n"
    "tensor([1.6449])",
    zeta,
    lambda c, g, a, b: (None, F.mul(g, F.mul(F.neg(a), F.zeta(F.add(a, 1.0), b)))),
    "float",
    public=_SPECIAL,
    low=1.25,
)


_lgamma = special("gammaln", math.lgamma)


def _incomplete_gamma(a: Any, x: Any, upper: bool) -> Any:
    """The regularised incomplete gamma functions: a series below a + 1, a continued fraction above.

    Press et al., Numerical Recipes, section 6.2, with Lentz's method.
    """
    a, x = np.broadcast_arrays(double(a), double(x))
    good = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    safe_a, safe_x = np.where(good, a, 1.0), np.where(good, x, 1.0)
    gamma = _lgamma(safe_a) if a.size else safe_a
    weight = np.exp(safe_a * np.log(safe_x) - safe_x - gamma)
    use_series = safe_x < safe_a + 1
    term = 1 / safe_a
    total, divisor = term.copy(), safe_a.copy()
    for _ in range(20000):
        divisor = divisor + 1
        term = np.where(use_series, term * safe_x / divisor, 0.0)
        total = total + term
        if not np.any(np.abs(term) > np.abs(total) * 1e-17):
            break
    lower = weight * total
    tiny = 1e-300
    b = safe_x + 1 - safe_a
    c, d = np.full_like(a, 1 / tiny), 1 / np.where(b == 0, tiny, b)
    h = d.copy()
    for k in range(1, 20000):
        step = -k * (k - safe_a)
        b = b + 2
        d = step * d + b
        d = 1 / np.where(np.abs(d) < tiny, tiny, d)
        c = b + step / c
        c = np.where(np.abs(c) < tiny, tiny, c)
        change = d * c
        h = np.where(use_series, h, h * change)
        if not np.any(~use_series & (np.abs(change - 1) > 1e-16 * 4)):
            break
    above = weight * h
    value = np.where(use_series, 1 - lower if upper else lower, above if upper else 1 - above)
    zero, one = (1.0, 0.0) if upper else (0.0, 1.0)
    value = np.where(good, value, np.nan)
    value = np.where((x == 0) & (a > 0), zero, value)
    value = np.where((a == 0) & (x > 0), one, value)
    return np.where(
        np.isposinf(x) & (a >= 0) & np.isfinite(a),
        one,
        np.where(np.isposinf(a) & (x >= 0) & np.isfinite(x), zero, value),
    )


def _density(g: Any, a: Any, x: Any) -> Any:
    a, x = _tensors(a, x, g)
    return F.mul(g, F.exp(F.sub(F.sub(F.mul(F.sub(a, 1.0), F.log(x)), x), F.lgamma(a))))


GAMMAINC = _plain(
    "gammainc",
    "The regularised lower incomplete gamma function P(input, other); differentiable by `other` only.\n\n"
    ">>> ingot.special.gammainc(ingot.tensor([1.]), ingot.tensor([1.]))\n"
    "tensor([0.6321])",
    lambda a, x: _incomplete_gamma(a, x, False),
    lambda c, g, a, x: (None, _density(g, a, x)),
    "float",
    public=_SPECIAL,
)
GAMMAINCC = _plain(
    "gammaincc",
    "The regularised upper incomplete gamma function Q(input, other); differentiable by `other` only.\n\n"
    ">>> ingot.special.gammaincc(ingot.tensor([1.]), ingot.tensor([1.]))\n"
    "tensor([0.3679])",
    lambda a, x: _incomplete_gamma(a, x, True),
    lambda c, g, a, x: (None, F.neg(_density(g, a, x))),
    "float",
    public=_SPECIAL,
)
