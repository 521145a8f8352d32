"""Special functions of one element, in float64, as device functions: branches and loops with one return at the end.

The formulas are those of the op records (`ir.ops.special_functions`, `bessel`, `special_pairs`, `polynomials`), which
name their sources; here each element stops its own series. What CUDA's own library has is taken from there.
"""

import ast
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....ir import dtypes
from ....ir.dtypes import DType

__all__ = ["FUNCTIONS", "SpecialFunction", "looping", "special_source"]

libdevice: Any = None  # kernels see the front end's own


def signbit(x: Any) -> Any:
    return libdevice.double_as_longlong(x) < 0


def greatest_divisor(a: Any, b: Any) -> Any:
    a = -a if a < 0 else a
    b = -b if b < 0 else b
    while b != 0:
        rest = a % b
        a = b
        b = rest
    return a


def gcd(a: Any, b: Any) -> Any:
    return greatest_divisor(a, b)


def lcm(a: Any, b: Any) -> Any:
    divisor = greatest_divisor(a, b)
    size = a // (divisor if divisor != 0 else 1) * b
    return -size if size < 0 else size


def erfcx(x: Any) -> Any:
    return libdevice.erfcx(x)


def log_ndtr(x: Any) -> Any:
    if x > -1.0:
        value = math.log1p(-0.5 * math.erfc(x * 0.7071067811865476))
    else:
        value = -x * x * 0.5 + math.log(libdevice.erfcx(-x * 0.7071067811865476) * 0.5)
        value = x if x == -np.inf else value
    return value


def ndtri(p: Any) -> Any:
    return libdevice.normcdfinv(p)


def log_add(a: Any, b: Any) -> Any:
    top = a if a > b or a != a else b
    value = top + math.log1p(math.exp(-math.fabs(a - b)))
    return a + 0.6931471805599453 if a == b else value


# -- Bessel functions --------------------------------------------------------------------------------------------------


def bessel_j0(x: Any) -> Any:
    return libdevice.j0(x)


def bessel_j1(x: Any) -> Any:
    return libdevice.j1(x)


def bessel_y0(x: Any) -> Any:
    return libdevice.y0(x)


def bessel_y1(x: Any) -> Any:
    return libdevice.y1(x)


def scaled_bessel_i(x: Any, order: Any) -> Any:
    """exp(-|x|) * I(x): the power series up to 30, the asymptotic one from there."""
    size = math.fabs(x)
    if size <= 30.0:
        quarter = size * size * 0.25
        term = 1.0 if order == 0 else size * 0.5
        value = term
        k = 1
        while k < 90 and term > value * 1e-18:
            term = term * quarter / (k * (k + order))
            value = value + term
            k = k + 1
        value = value * math.exp(-size)
    else:
        term = 1.0
        value = 1.0
        for k in range(1, 24):
            term = -term * (4 * order * order - (2 * k - 1) * (2 * k - 1)) / (k * 8.0 * size)
            value = value + term
        value = value / math.sqrt(6.283185307179586 * size)
    return -value if order == 1 and x < 0.0 else value


def bessel_i(x: Any, order: Any) -> Any:
    size = math.fabs(x)
    # In two factors, since the scaled function is small where the exponential overflows.
    first = 700.0 if size > 700.0 else size
    value = scaled_bessel_i(x, order) * math.exp(first) * math.exp(size - first)
    whole = size if order == 0 else x
    return whole if size == np.inf else value


def i0e(x: Any) -> Any:
    return scaled_bessel_i(x, 0)


def i1e(x: Any) -> Any:
    return scaled_bessel_i(x, 1)


def modified_bessel_i0(x: Any) -> Any:
    return bessel_i(x, 0)


def modified_bessel_i1(x: Any) -> Any:
    return bessel_i(x, 1)


def scaled_macdonald(x: Any, order: Any) -> Any:
    """exp(x) * K(x) for x > 0: the trapezoidal rule over exp(-x (cosh t - 1)) cosh(order t)."""
    step = math.acosh(1.0 + 42.0 / x) / 120.0
    total = 0.5
    for k in range(1, 121):
        t = step * k
        half = math.sinh(t * 0.5)
        total = total + math.exp(-2.0 * x * half * half) * math.cosh(order * t)
    return total * step


def macdonald(x: Any, order: Any, scaled: Any) -> Any:
    if x >= 0.1 and x < np.inf:
        value = scaled_macdonald(x, order)
        value = value if scaled else value * math.exp(-x)
    elif x > 0.0 and x < 0.1:
        # The ascending series, all of whose terms but the first are small.
        quarter = x * x * 0.25
        logarithm = math.log(x * 0.5)
        near = 0.0
        power = 1.0
        harmonic = 0.0
        for k in range(12):
            if order == 0:
                near = near + power * (harmonic - logarithm - 0.5772156649015329)
            else:
                near = near + power * (logarithm - (2.0 * harmonic + 1.0 / (k + 1) - 1.1544313298030657) * 0.5)
            harmonic = harmonic + 1.0 / (k + 1)
            power = power * quarter / ((k + 1) * (k + 1 + order))
        value = near if order == 0 else 1.0 / x + x * 0.5 * near
        value = value * math.exp(x) if scaled else value
    elif x == np.inf:
        value = 0.0
    elif x == 0.0:
        value = np.inf
    else:
        value = np.nan
    return value


def modified_bessel_k0(x: Any) -> Any:
    return macdonald(x, 0, False)


def modified_bessel_k1(x: Any) -> Any:
    return macdonald(x, 1, False)


def scaled_modified_bessel_k0(x: Any) -> Any:
    return macdonald(x, 0, True)


def scaled_modified_bessel_k1(x: Any) -> Any:
    return macdonald(x, 1, True)


def airy_ai(x: Any) -> Any:
    """To 1e-10: below 0 the power series loses digits that the record keeps in a longer format."""
    if x > 1.0:
        above = 200.0 if x > 200.0 else x
        zeta = above * math.sqrt(above) * 0.6666666666666666
        value = math.sqrt(above / 3.0) * 0.3183098861837907 * scaled_macdonald(zeta, 1.0 / 3.0) * math.exp(-zeta)
        value = 0.0 if x == np.inf else value
    elif x >= -8.0:
        cube = x * x * x
        f = 1.0
        g = x
        f_term = 1.0
        g_term = x
        for k in range(1, 60):
            f_term = f_term * cube / ((3 * k - 1) * (3 * k))
            g_term = g_term * cube / ((3 * k) * (3 * k + 1))
            f = f + f_term
            g = g + g_term
        value = 0.355028053887817239 * f - 0.258819403792806798 * g
    else:
        below = 1e6 if x < -1e6 else -x
        zeta = below * math.sqrt(below) * 0.6666666666666666
        u = 1.0
        power = 1.0
        even = 1.0
        odd = 0.0
        for k in range(1, 14):
            u = u * ((6 * k - 5) * (6 * k - 3) * (6 * k - 1)) / (216.0 * k * (2 * k - 1))
            power = power * zeta
            part = -u / power if (k // 2) % 2 == 1 else u / power
            if k % 2 == 1:
                odd = odd + part
            else:
                even = even + part
        angle = zeta - 0.7853981633974483
        wave = math.cos(angle) * even + math.sin(angle) * odd
        value = wave / (1.7724538509055159 * math.sqrt(math.sqrt(below)))
        value = np.nan if x == -np.inf else value
    return value


# -- zeta and the incomplete gamma functions ---------------------------------------------------------------------------


def power_tail(z: Any, x: Any) -> Any:
    """The sum over k >= 0 of (z + k)**-x, for a z of 16 or more, by the Euler-Maclaurin formula."""
    term = math.pow(z, -x)
    total = math.pow(z, 1.0 - x) / (x - 1.0) + term * 0.5
    term = term / z * x
    square = z * z
    total = total + term * 0.08333333333333333
    term = term * (x + 1.0) * (x + 2.0) / square
    total = total - term * 0.001388888888888889
    term = term * (x + 3.0) * (x + 4.0) / square
    total = total + term * 3.306878306878307e-05
    term = term * (x + 5.0) * (x + 6.0) / square
    total = total - term * 8.267195767195768e-07
    term = term * (x + 7.0) * (x + 8.0) / square
    total = total + term * 2.08767569878681e-08
    term = term * (x + 9.0) * (x + 10.0) / square
    return total - term * 5.284190138687493e-10


def zeta(x: Any, q: Any) -> Any:
    if x == 1.0:
        value = np.inf
    elif x < 1.0 or (q < 0.0 and x != math.floor(x)):
        value = np.nan
    elif q <= 0.0 and q == math.floor(q):
        value = np.inf
    else:
        value = 0.0
        count = 0
        start = q
        while start <= 0.0 and count < 1000000:
            value = value + math.pow(start, -x)
            start = start + 1.0
            count = count + 1
        for _ in range(16):
            value = value + math.pow(start, -x)
            start = start + 1.0
        value = value + power_tail(start, x)
    return value


def polygamma(x: Any, order: Any) -> Any:
    total = 0.0
    z = x
    for _ in range(24):
        total = total + math.pow(z, -(order + 1.0))
        z = z + 1.0
    total = total + power_tail(z, order + 1.0)
    factor = -1.0
    k = 1.0
    while k <= order:
        factor = factor * -k
        k = k + 1.0
    return factor * total


def incomplete_gamma(a: Any, x: Any, upper: Any) -> Any:
    """The series below a + 1, Lentz's continued fraction above."""
    zero = 1.0 if upper else 0.0
    if not (a >= 0.0 and x >= 0.0) or (a == 0.0 and x == 0.0) or (a == np.inf and x == np.inf):
        value = np.nan
    elif a == np.inf or x == 0.0:
        value = zero
    elif x == np.inf or a == 0.0:
        value = 1.0 - zero
    else:
        weight = math.exp(a * math.log(x) - x - math.lgamma(a))
        if x < a + 1.0:
            term = 1.0 / a
            total = term
            divisor = a
            k = 0
            while k < 20000 and term > total * 1e-17:
                divisor = divisor + 1.0
                term = term * x / divisor
                total = total + term
                k = k + 1
            value = weight * total
            value = 1.0 - value if upper else value
        else:
            b = x + 1.0 - a
            c = 1e300
            d = 1.0 / (1e-300 if b == 0.0 else b)
            h = d
            change = 0.0
            k = 1
            while k < 20000 and math.fabs(change - 1.0) > 4e-16:
                step = -k * (k - a)
                b = b + 2.0
                d = step * d + b
                d = 1.0 / (1e-300 if math.fabs(d) < 1e-300 else d)
                c = b + step / c
                c = 1e-300 if math.fabs(c) < 1e-300 else c
                change = d * c
                h = h * change
                k = k + 1
            value = weight * h
            value = value if upper else 1.0 - value
    return value


def gammainc(a: Any, x: Any) -> Any:
    return incomplete_gamma(a, x, False)


def gammaincc(a: Any, x: Any) -> Any:
    return incomplete_gamma(a, x, True)


# -- orthogonal polynomials: 1, `now`, and on by the recurrence; 0 for a negative degree -------------------------------


def whole_degree(n: Any) -> Any:
    """The degree as a whole number; -1 for none."""
    return math.trunc(n) if math.fabs(n) < np.inf else -1.0


def chebyshev_polynomial(x: Any, n: Any, slope: Any, shift: Any) -> Any:
    degree = whole_degree(n)
    before = 1.0
    now = slope * x + shift
    k = 1.0
    while k < degree:
        after = 2.0 * x * now - before
        before = now
        now = after
        k = k + 1.0
    value = now if degree > 0.0 else 1.0
    return 0.0 if degree < 0.0 else value


def chebyshev_polynomial_t(x: Any, n: Any) -> Any:
    return chebyshev_polynomial(x, n, 1.0, 0.0)


def chebyshev_polynomial_u(x: Any, n: Any) -> Any:
    return chebyshev_polynomial(x, n, 2.0, 0.0)


def chebyshev_polynomial_v(x: Any, n: Any) -> Any:
    return chebyshev_polynomial(x, n, 2.0, -1.0)


def chebyshev_polynomial_w(x: Any, n: Any) -> Any:
    return chebyshev_polynomial(x, n, 2.0, 1.0)


def shifted_chebyshev_polynomial_t(x: Any, n: Any) -> Any:
    return chebyshev_polynomial(2.0 * x - 1.0, n, 1.0, 0.0)


def shifted_chebyshev_polynomial_u(x: Any, n: Any) -> Any:
    return chebyshev_polynomial(2.0 * x - 1.0, n, 2.0, 0.0)


def shifted_chebyshev_polynomial_v(x: Any, n: Any) -> Any:
    return chebyshev_polynomial(2.0 * x - 1.0, n, 2.0, -1.0)


def shifted_chebyshev_polynomial_w(x: Any, n: Any) -> Any:
    return chebyshev_polynomial(2.0 * x - 1.0, n, 2.0, 1.0)


def hermite_polynomial(x: Any, n: Any, scale: Any) -> Any:
    degree = whole_degree(n)
    last = 512.0 if degree > 512.0 else degree
    before = 1.0
    now = scale * x
    k = 1.0
    while k < last:
        after = scale * (x * now - k * before)
        before = now
        now = after
        k = k + 1.0
    value = now if degree > 0.0 else 1.0
    value = np.nan if degree > 512.0 else value
    return 0.0 if degree < 0.0 else value


def hermite_polynomial_h(x: Any, n: Any) -> Any:
    return hermite_polynomial(x, n, 2.0)


def hermite_polynomial_he(x: Any, n: Any) -> Any:
    return hermite_polynomial(x, n, 1.0)


def laguerre_polynomial_l(x: Any, n: Any) -> Any:
    degree = whole_degree(n)
    before = 1.0
    now = 1.0 - x
    k = 1.0
    while k < degree:
        after = ((2.0 * k + 1.0 - x) * now - k * before) / (k + 1.0)
        before = now
        now = after
        k = k + 1.0
    value = now if degree > 0.0 else 1.0
    return 0.0 if degree < 0.0 else value


def legendre_polynomial_p(x: Any, n: Any) -> Any:
    degree = whole_degree(n)
    before = 1.0
    now = x
    k = 1.0
    while k < degree:
        after = ((2.0 * k + 1.0) * x * now - k * before) / (k + 1.0)
        before = now
        now = after
        k = k + 1.0
    value = now if degree > 0.0 else 1.0
    return 0.0 if degree < 0.0 else value


# -- what expressions of ops may call ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpecialFunction:
    """A function's operands are cast to `takes`, and it gives `gives`; None is the dtype of the computation.

    `name` is what kernels call it, where that is not its name in expressions.
    """

    takes: DType | None = dtypes.float64
    gives: DType | None = dtypes.float64
    name: str = ""


_PARTS = (
    "log_add",
    "greatest_divisor", "scaled_bessel_i", "bessel_i", "scaled_macdonald", "macdonald", "power_tail",
    "incomplete_gamma", "whole_degree", "chebyshev_polynomial", "hermite_polynomial",
)  # fmt: skip
_OTHERS = {
    "signbit": SpecialFunction(gives=dtypes.bool_),
    "gcd": SpecialFunction(dtypes.int64, dtypes.int64),
    "lcm": SpecialFunction(dtypes.int64, dtypes.int64),
    # In `library`, with a form for each dtype.
    "nextafter": SpecialFunction(None, None),
    # Kernels have loops over i0 and i1.
    "i0": SpecialFunction(name="modified_bessel_i0"),
    "i1": SpecialFunction(name="modified_bessel_i1"),
}


def _functions() -> dict[str, Callable[..., Any]]:
    own = {n: f for n, f in globals().items() if inspect.isfunction(f) and f.__module__ == __name__}
    return {n: f for n, f in own.items() if not n.startswith("_") and n not in ("looping", "special_source")}


@functools.cache
def special_source(name: str) -> str | None:
    """The text of a function, without annotations and docstring; None for other names."""
    function = _functions().get(name)
    if function is None:
        return None
    tree = ast.parse(inspect.getsource(function))
    (node,) = tree.body
    assert isinstance(node, ast.FunctionDef)
    node.returns = None
    for argument in node.args.args:
        argument.annotation = None
    if ast.get_docstring(node) is not None:
        del node.body[0]
    return ast.unparse(tree)


def looping() -> frozenset[str]:
    """The functions that loop, or call one that does."""
    trees = {name: ast.parse(special_source(name) or "") for name in _functions()}
    found = {n for n, tree in trees.items() if any(isinstance(node, (ast.For, ast.While)) for node in ast.walk(tree))}
    while True:
        calls = {
            name
            for name, tree in trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in found
        }
        if calls <= found:
            return frozenset(found)
        found |= calls


FUNCTIONS = {name: SpecialFunction() for name in _functions() if name not in _PARTS} | _OTHERS
"""What expressions of ops may call on a device, by name."""
