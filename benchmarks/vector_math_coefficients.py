"""Polynomial coefficients of src/jit/codegen/vector_math: near-minimax fits, rounded to the working precision.

Run `python benchmarks/vector_math_coefficients.py [NAME ...]` with mpmath installed; it prints the tuples pasted there.
The fits are least squares on Chebyshev points, reweighted towards level errors (Lawson, 1961; Rice, "The Approximation
of Functions", vol. 2, 1969). Coefficients are rounded one at a time, lowest power first, and the rest refitted after
each, so rounding errors are absorbed by the higher powers (the idea of Brisebarre and Chevillard, "Efficient polynomial
L-infinity approximations", 2007).
"""

import struct
import sys
from collections.abc import Callable
from typing import Any

import mpmath as mp

mp.mp.prec = 400
Real = Any


def single(value: Real) -> Real:
    """The nearest float32."""
    return mp.mpf(struct.unpack("<f", struct.pack("<f", float(value)))[0])


def double(value: Real) -> Real:
    """The nearest float64."""
    return mp.mpf(float(value))


def solve(target: list[Real], density: list[Real], grid: list[Real], first: int, degree: int) -> list[Real]:
    """The coefficients of x^first ... x^degree that minimise sum density * (target - polynomial)^2 on the grid."""
    count = degree - first + 1
    moments, right = [mp.mpf(0)] * (2 * count - 1), [mp.mpf(0)] * count
    for x, t, d in zip(grid, target, density, strict=True):
        scaled = d * x ** (2 * first)
        for k in range(2 * count - 1):
            moments[k] += scaled
            scaled *= x
        scaled = d * t * x**first
        for k in range(count):
            right[k] += scaled
            scaled *= x
    matrix = mp.matrix(count, count)
    for i in range(count):
        for j in range(count):
            matrix[i, j] = moments[i + j]
    return list(mp.lu_solve(matrix, mp.matrix(right)))


def minimax(
    function: Callable[[Real], Real],
    low: Real,
    high: Real,
    degree: int,
    rounding: Callable[[Real], Real],
    weight: Callable[[Real], Real] = lambda x: mp.mpf(1),
) -> tuple[list[Real], Real]:
    """Rounded coefficients, lowest power first, and the largest weighted error."""
    size = 12 * (degree + 2)
    low, high = mp.mpf(low), mp.mpf(high)
    grid = [low + (high - low) * (1 - mp.cos(mp.pi * (i + mp.mpf(1) / 2) / size)) / 2 for i in range(size)]
    target = [function(x) for x in grid]
    weights = [abs(weight(x)) for x in grid]
    density = [w * w for w in weights]
    # Lawson's iteration: weigh the points by their errors until the errors are level.
    for _ in range(40):
        coefficients = solve(target, density, grid, 0, degree)
        errors = [abs(t - mp.polyval(coefficients[::-1], x)) * w for t, w, x in zip(target, weights, grid, strict=True)]
        mean = sum(errors) / size
        density = [d * (e / mean + mp.mpf("0.001")) for d, e in zip(density, errors, strict=True)]
    done: list[Real] = []
    while len(done) <= degree:
        c = rounding(solve(target, density, grid, len(done), degree)[0])
        target = [t - c * x ** len(done) for t, x in zip(target, grid, strict=True)]
        done.append(c)
    return done, max(abs(t * w) for t, w in zip(target, weights, strict=True))


def quotient(
    function: Callable[[Real], Real],
    high: Real,
    degrees: tuple[int, int],
    rounding: Callable[[Real], Real],
    weight: Callable[[Real], Real],
) -> tuple[list[Real], list[Real], Real]:
    """N and D, whose last coefficient is 1, with N / D near the function from 0 to `high`, and the largest error.

    The equation N - D f = 0 is linear in the coefficients (Loeb's iteration divides it by the last D).
    """
    top, bottom = degrees
    size, unknowns = 24 * (top + bottom + 2), top + 1 + bottom
    grid = [mp.mpf(high) * (1 - mp.cos(mp.pi * (i + mp.mpf(1) / 2) / size)) / 2 for i in range(size)]
    target = [function(x) for x in grid]
    weights = [abs(weight(x)) for x in grid]
    density, divisors = [w * w for w in weights], [mp.mpf(1)] * size
    below: list[Real] = []
    for step in range(60):
        matrix, right = mp.matrix(unknowns, unknowns), mp.matrix(unknowns, 1)
        for x, t, d, divisor in zip(grid, target, density, divisors, strict=True):
            row = [x**k for k in range(top + 1)] + [-t * x**k for k in range(bottom)]
            for i in range(unknowns):
                right[i] += d / divisor**2 * row[i] * t * x**bottom
                for j in range(unknowns):
                    matrix[i, j] += d / divisor**2 * row[i] * row[j]
        found = list(mp.lu_solve(matrix, right))
        above, below = found[: top + 1], [*found[top + 1 :], mp.mpf(1)]
        divisors = [mp.polyval(below[::-1], x) for x in grid]
        fits = zip(grid, target, weights, divisors, strict=True)
        errors = [abs(t - mp.polyval(above[::-1], x) / divisor) * w for x, t, w, divisor in fits]
        if step > 3:
            density = [d * (e * size / sum(errors) + mp.mpf("0.001")) for d, e in zip(density, errors, strict=True)]
    below = [rounding(c) for c in below[:-1]] + [mp.mpf(1)]
    divisors = [mp.polyval(below[::-1], x) for x in grid]
    rest = [t * divisor for t, divisor in zip(target, divisors, strict=True)]
    density = [d / divisor**2 for d, divisor in zip(density, divisors, strict=True)]
    done: list[Real] = []
    while len(done) <= top:
        c = rounding(solve(rest, density, grid, len(done), top)[0])
        rest = [t - c * x ** len(done) for t, x in zip(rest, grid, strict=True)]
        done.append(c)
    return done, below, max(abs(t * w / d) for t, w, d in zip(rest, weights, divisors, strict=True))


def show(name: str, coefficients: list[Real], worst: Real) -> None:
    """Print a tuple as the sources have it, highest power first."""
    print(f"# largest error 2^{float(mp.log(worst, 2)):.1f}")
    print(f"{name} = (")
    single_precision = "F32" in name and "WIDE" not in name
    for c in reversed(coefficients):
        text = repr(float(c))
        if single_precision:
            digits = next(d for d in range(6, 12) if single(float(f"{float(c):.{d}g}")) == single(c))
            text = f"{float(c):.{digits}g}"
        print(f"    {text},")
    print(")", flush=True)


def mills(a: Real) -> Real:
    """erfcx(a) = exp(a^2) erfc(a)."""
    return mp.exp(a * a) * mp.erfc(a)


def near_zero(function: Callable[[Real], Real], limit: Real) -> Callable[[Real], Real]:
    """The function with its value at 0 given, where the formula divides by zero."""
    return lambda x: limit if x == 0 else function(x)


LN2_HALF = mp.log(2) / 2 * mp.mpf("1.001")
SQRT_HALF = mp.sqrt(mp.mpf(1) / 2)

Table = dict[str, Callable[[], tuple[list[Real], Real]]]
TABLE: Table = {}


def both(name: str, degree32: int | None, degree64: int | None, **options: Any) -> None:
    """Register a fit in the two precisions."""
    if degree32 is not None:
        TABLE[f"{name}_F32"] = lambda: minimax(degree=degree32, rounding=single, **options)
    if degree64 is not None:
        TABLE[f"{name}_F64"] = lambda: minimax(degree=degree64, rounding=double, **options)


# exp(r) = 1 + r + r^2 E(r) on |r| <= ln2 / 2; the weight makes it the error of exp(r).
both("EXP", 4, 9, function=lambda r: (mp.exp(r) - 1 - r) / r**2, low=-LN2_HALF, high=LN2_HALF, weight=lambda r: r * r)
# 2^r = 1 + r E(r) on |r| <= 1/2.
both("EXP2", 5, 11, function=lambda r: (mp.mpf(2) ** r - 1) / r, low=-0.5005, high=0.5005, weight=abs)
# log(1 + f) = f - f^2 / 2 + f^3 L(f), relative to f.
both(
    "LOG",
    7,
    None,
    function=lambda f: (mp.log1p(f) - f + f * f / 2) / f**3,
    low=SQRT_HALF - 1,
    high=2 * SQRT_HALF - 1,
    weight=lambda f: f**3 / mp.log1p(f),
)
# With s = f / (2 + f): log(1 + f) = 2 s + s z L(z), z = s^2.
_s = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)
both(
    "LOG",
    None,
    6,
    function=lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z,
    low=0,
    high=_s * _s * mp.mpf("1.001"),
    weight=lambda z: z,
)
# The same for a logarithm in two float64s: log(1 + f) = 2 s + s z (2 / 3 + z L(z)).
both(
    "LOG_PAIR",
    None,
    7,
    function=lambda z: ((2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z - mp.mpf(2) / 3) / z,
    low=0,
    high=_s * _s * mp.mpf("1.001"),
    weight=lambda z: z * z,
)
# sinh(x) = x + x z S(z), z = x^2, |x| <= 1.
both(
    "SINH",
    None,
    6,
    function=near_zero(lambda z: (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, mp.mpf(1) / 6),
    low=0,
    high=1,
    weight=lambda z: z * mp.sqrt(z) / mp.sinh(mp.sqrt(z)),
)
# erf(x) = x + x E(x^2) for |x| <= 1.
both(
    "ERF",
    7,
    13,
    function=lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
    low=0,
    high=1,
    weight=lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
)


# erfc(a) = exp(-a T(a)) from 1 to where erf rounds to 1.
for _top, _degrees in ((4, (6, None)), (6, (None, 17))):
    both(
        "ERF_TAIL",
        *_degrees,
        function=lambda a: -mp.log(mp.erfc(a)) / a,
        low=1,
        high=_top,
        weight=lambda a: a * mp.erfc(a),
    )


# erfcx(a) = N(v) / (a + K), v = (a - C) / (a + K), from 0 to where erfc underflows; and the same for Phi(-a) exp(a^2 /
# 2). After Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x", 1981, with C < K, so that v
# is small where its rounding error matters, and a denominator that saves a division.
def scaled_tail(tail: Callable[[Real], Real], k: Real, c: Real) -> Callable[[Real], Real]:
    """N as a function of v."""
    return lambda v: tail((c + k * v) / (1 - v)) * ((c + k * v) / (1 - v) + k)


def normal_tail(a: Real) -> Real:
    """Phi(-a) exp(a^2 / 2)."""
    return mills(a / mp.sqrt(2)) / 2


def inverse(function: Callable[[Real], Real]) -> Callable[[Real], Real]:
    """The weight for relative errors."""
    return lambda x: 1 / function(x)


# In float32 C is such that the rounding of N(0), which no other coefficient can make up for, happens to be small.
for _name, _tail, _stretch, _k32 in (("ERFCX", mills, mp.mpf(1), (3, 2.45)), ("GELU", normal_tail, mp.sqrt(2), None)):
    for _k, _c, _top, _degrees in ((*(_k32 or (3, 2.7)), 10.6, (10, None)), (4, 3, 27.6, (None, 24))):
        _kk, _cc, _end = single(_k * _stretch), single(_c * _stretch), _top * _stretch
        _scaled = scaled_tail(_tail, _kk, _cc)
        if _degrees[0] is None or _k32 is not None:
            both(
                _name,
                *_degrees,
                function=_scaled,
                low=-_cc / _kk,
                high=(_end - _cc) / (_end + _kk),
                weight=inverse(_scaled),
            )


def gelu_tail(v: Real) -> Real:
    """a Phi(-a) exp(a^2 / 2) as a function of v = (a - 3/2) / (a + 3): a sum of its own, with no factor to round."""
    a = (mp.mpf("1.5") + 3 * v) / (1 - v)
    return a * normal_tail(a)


both(
    "GELU",
    8,
    None,
    function=gelu_tail,
    low=-mp.mpf("0.75") / mp.mpf("3.75"),
    high=mp.mpf("13.4") / mp.mpf("17.9"),
    weight=inverse(gelu_tail),
)
# Phi(x) = 1/2 + x P(x^2) for |x| <= 0.75 and 0.6.
for _top, _degrees in (("0.5625", (4, None)), ("0.361", (None, 9))):
    both(
        "NORMAL",
        *_degrees,
        function=lambda z: mp.erf(mp.sqrt(z / 2)) / mp.sqrt(z) / 2,
        low=0,
        high=mp.mpf(_top),
    )
# sin(r) = r + r z S(z), cos(r) = 1 - z / 2 + z^2 C(z), z = r^2, |r| <= pi / 4.
_z = (mp.pi / 4) ** 2 * mp.mpf("1.001")
both(
    "SIN",
    3,
    6,
    function=near_zero(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, -mp.mpf(1) / 6),
    low=0,
    high=_z,
    weight=lambda z: z * mp.sqrt(z) / mp.sin(mp.sqrt(z)),
)
both("COS", 2, 5, function=lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, low=0, high=_z, weight=lambda z: z * z)
# asin(x) = x + x z A(z), z = x^2 <= 1 / 4.
both(
    "ASIN",
    None,
    12,
    function=lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
    low=0,
    high=mp.mpf("0.2501"),
    weight=lambda z: z * mp.sqrt(z) / mp.asin(mp.sqrt(z)),
)
# atan(t) = t + t z A(z), z = t^2, |t| <= 0.6.
both(
    "ATAN",
    None,
    14,
    function=lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
    low=0,
    high=mp.mpf("0.3605"),
    weight=lambda z: z * mp.sqrt(z) / mp.atan(mp.sqrt(z)),
)


def erfinv_ratio(w: Real) -> Real:
    """erfinv(x) / x as a function of w = -log(1 - x^2)."""
    x = mp.sqrt(-mp.expm1(-w))
    return mp.erfinv(x) / x


# First approximations of erfinv(x) / x: in w up to 5, in sqrt(w) beyond, up to the x next to 1 (the variables of Giles,
# "Approximating the erfinv function", 2010).
both("ERFINV_CENTER", None, 8, function=erfinv_ratio, low=mp.mpf("1e-5"), high=5, weight=inverse(erfinv_ratio))
both(
    "ERFINV_TAIL",
    None,
    8,
    function=lambda s: erfinv_ratio(s * s),
    low=mp.mpf("2.2"),
    high=mp.mpf("6.1"),
    weight=inverse(lambda s: erfinv_ratio(s * s)),
)


def wide(name: str, degree: int, **options: Any) -> None:
    """Register a fit for a float32 function that works in float64."""
    TABLE[f"{name}_WIDE_F32"] = lambda: minimax(degree=degree, rounding=double, **options)


# log2(1 + f) = s L(s^2), s = f / (2 + f).
wide(
    "LOG2",
    5,
    function=lambda z: 2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) / mp.log(2),
    low=0,
    high=_s * _s * mp.mpf("1.001"),
)
wide("EXP2", 7, function=lambda r: mp.mpf(2) ** r, low=-0.5005, high=0.5005)
# 2^r = 1 + r E(r).
wide("EXPM1", 6, function=lambda r: (mp.mpf(2) ** r - 1) / r, low=-0.5005, high=0.5005)
# As for float64, in z: sin(r) / r, cos(r), asin(x) / x, atan(t) / t.
wide("SIN", 4, function=lambda z: mp.sin(mp.sqrt(z)) / mp.sqrt(z), low=0, high=_z)
wide("COS", 4, function=lambda z: mp.cos(mp.sqrt(z)), low=0, high=_z)
wide("ASIN", 7, function=lambda z: mp.asin(mp.sqrt(z)) / mp.sqrt(z), low=0, high=mp.mpf("0.2501"))
wide("ATAN", 8, function=lambda z: mp.atan(mp.sqrt(z)) / mp.sqrt(z), low=0, high=mp.mpf("0.3605"))


def half(part: int, **options: Any) -> Callable[[], tuple[list[Real], Real]]:
    """The numerator (0) or denominator (1) of a quotient, with its error."""

    def fit() -> tuple[list[Real], Real]:
        found = quotient(**options)
        return found[part], found[2]

    return fit


def tanh_rest(z: Real) -> Real:
    """tanh(x) = x + x z f(z), z = x^2."""
    return -mp.mpf(1) / 3 if z == 0 else (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z


# Quotients in z = x^2: tanh up to 0.55, erf up to 1.05.
_tanh = {"function": tanh_rest, "weight": lambda z: z * mp.sqrt(z) / mp.tanh(mp.sqrt(z))}
_erf = {
    "function": lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
    "weight": lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
    "high": mp.mpf("1.05") ** 2,
}
for _part, _word in enumerate(("NUMERATOR", "DENOMINATOR")):
    TABLE[f"TANH_{_word}_F32"] = half(_part, high=mp.mpf("0.305525"), degrees=(1, 1), rounding=single, **_tanh)
    TABLE[f"TANH_{_word}_F64"] = half(_part, high=mp.mpf("0.3040125"), degrees=(2, 3), rounding=double, **_tanh)
    TABLE[f"ERF_{_word}_F32"] = half(_part, degrees=(3, 2), rounding=single, **_erf)
# 1 - erf(x) = 1 / P(x)^8.
both(
    "ERF_ROOT",
    7,
    None,
    function=lambda a: mp.erfc(a) ** (-mp.mpf(1) / 8),
    low=mp.mpf("1.05"),
    high=4,
    weight=lambda a: 8 * mp.erfc(a) ** (mp.mpf(9) / 8),
)
# erfinv(x) / x - 1 in float32, in w - 5/2 and sqrt(w) - 3.
for _name, _argument, _low, _high in (
    ("NEAR", lambda t: mp.mpf("2.5") + t, mp.mpf("-2.499999"), mp.mpf("2.5")),
    ("FAR", lambda t: (3 + t) ** 2, mp.sqrt(5) - 3, 1),
):
    both(
        f"ERFINV_{_name}",
        9,
        None,
        function=lambda t, w=_argument: erfinv_ratio(w(t)) - 1,
        low=_low,
        high=_high,
        weight=lambda t, w=_argument: 1 / erfinv_ratio(w(t)),
    )


def sinc_rest(z: Real) -> Real:
    """sin(pi y) / (pi y) = 1 + z f(z), z = y^2."""
    return (mp.sin(mp.pi * mp.sqrt(z)) / (mp.pi * mp.sqrt(z)) - 1) / z


both("SINC", 5, 8, function=sinc_rest, low="1e-20", high="0.2502", weight=lambda z: z / (1 + z * sinc_rest(z)))
_kk, _cc, _end = single(3 * mp.sqrt(2)), single(mp.mpf("2.3") * mp.sqrt(2)), mp.mpf("14.4")
_normal = scaled_tail(normal_tail, _kk, _cc)
both(
    "NORMAL_TAIL",
    10,
    None,
    function=_normal,
    low=-_cc / _kk,
    high=(_end - _cc) / (_end + _kk),
    weight=inverse(_normal),
)


def bessel(order: int) -> tuple[Callable[[Real], Real], Callable[[Real], Real]]:
    """The modified Bessel function over x^order in z = x^2, and sqrt(x) e^-x times it in 1 / x."""
    return (
        lambda z: mp.besseli(order, mp.sqrt(z)) / mp.sqrt(z) ** order,
        lambda t: mp.besseli(order, 1 / t) * mp.exp(-1 / t) / mp.sqrt(t),
    )


def last_exact() -> Callable[[Real], Real]:
    """Rounds to float32 all but 1 / sqrt(2 pi), which the functions take in two parts."""
    exact = 1 / mp.sqrt(2 * mp.pi)
    return lambda value: exact if abs(value / exact - 1) < mp.mpf("1e-7") else single(value)


for _order, _degree in ((0, 7), (1, 8)):
    _near, _far = bessel(_order)
    both(
        f"I{_order}_NEAR",
        7,
        None,
        function=lambda z, f=_near, o=_order: (f(z) - mp.mpf(1) / (1 + o)) / z,
        low="1e-12",
        high=25,
        weight=lambda z, f=_near: z / f(z),
    )
    TABLE[f"I{_order}_FAR_F32"] = lambda f=_far, d=_degree: minimax(
        f, "1e-6", mp.mpf(1) / 5, d, last_exact(), inverse(f)
    )


def main(names: list[str]) -> None:
    """Print the fits asked for, or all."""
    for name in names or TABLE:
        coefficients, worst = TABLE[name]()
        show(name, coefficients, worst)


if __name__ == "__main__":
    main(sys.argv[1:])
