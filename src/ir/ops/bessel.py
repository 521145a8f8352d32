"""Bessel functions of orders 0 and 1, of the first and second kind, plain and modified, and the Airy function."""

import math
from typing import Any

import numpy as np

from ._op import Op
from .special_functions import modified_bessel, unary_special

_EULER = 0.5772156649015329
_LARGE = 25.0  # from here Hankel's expansions are exact to double precision


def _neumann(x: Any) -> tuple[Any, list[Any]]:
    """A size in (0, 25], and J of orders 0 to 80 there, by Miller's backward recurrence (DLMF 3.6(iii)).

    The recurrence is run on ratios scaled by the largest value so far, and normalised by J0 + 2 (J2 + J4 + ...) = 1.
    """
    size = np.clip(np.abs(x), 1e-3, _LARGE)
    start = 80
    values: list[Any] = [np.zeros_like(size)] * (start + 2)
    values[start] = np.full_like(size, 1e-300)
    for n in range(start, 0, -1):
        values[n - 1] = 2 * n / size * values[n] - values[n + 1]
        huge = np.abs(values[n - 1]) > 1e200
        if huge.any():
            scale = np.where(huge, 1e-200, 1.0)
            values = [v * scale for v in values]
    total = values[0] + 2 * sum(values[2 : start + 1 : 2])
    return size, [v / total for v in values]


def _hankel(size: Any, order: int) -> tuple[Any, Any]:
    """J and Y of a large argument by Hankel's expansions (DLMF 10.17.3 and 10.17.4)."""
    p, q = np.ones_like(size), np.zeros_like(size)
    term = np.ones_like(size)
    for k in range(1, 25):
        term = term * (4 * order * order - (2 * k - 1) ** 2) / (k * 8 * size)
        sign = -1.0 if (k // 2) % 2 else 1.0
        if k % 2:
            q = q + sign * term
        else:
            p = p + sign * term
    # cos(size - (2 * order + 1) * pi / 4) without subtracting from a large number.
    sine, cosine = np.sin(size), np.cos(size)
    root = np.sqrt(0.5)
    if order == 0:
        c, s = (cosine + sine) * root, (sine - cosine) * root
    else:
        c, s = (sine - cosine) * root, -(sine + cosine) * root
    factor = np.sqrt(2 / (np.pi * size))
    return factor * (p * c - q * s), factor * (p * s + q * c)


def _ascending_j(x: Any, order: int) -> Any:
    """J of a small argument by its power series (DLMF 10.2.2)."""
    quarter = -x * x / 4
    term = np.ones_like(x) if order == 0 else x / 2
    total = term
    for k in range(1, 12):
        term = term * quarter / (k * (k + order))
        total = total + term
    return total


def _first_kind(x: Any, order: int) -> Any:
    _, values = _neumann(x)
    large = np.maximum(np.abs(x), _LARGE)
    beyond, _ = _hankel(np.where(np.isinf(large), _LARGE, large), order)
    beyond = np.where(np.isinf(x), 0.0, beyond)
    value = np.where(np.abs(x) <= _LARGE, values[order], beyond)
    value = value if order == 0 else np.copysign(1.0, x) * value
    value = np.where(np.abs(x) < 1.0, _ascending_j(np.clip(x, -1, 1), order), value)
    return np.where(np.isnan(x), x, value)


def _second_kind(x: Any, order: int) -> Any:
    """Y by Neumann's series of J (Abramowitz and Stegun, 9.1.88); Hankel's expansion where the argument is large."""
    size, j = _neumann(x)
    logarithm = np.log(size / 2)
    terms = np.zeros_like(size)
    if order == 0:
        for k in range(1, 40):
            terms = terms + (-1) ** k * j[2 * k] / k
        value = 2 / np.pi * (logarithm + _EULER) * j[0] - 4 / np.pi * terms
    else:
        for k in range(1, 39):
            terms = terms + (-1) ** k * (1 + 2 * k) / (k * (k + 1)) * j[1 + 2 * k]
        value = -2 / (np.pi * size) * j[0] + 2 / np.pi * ((logarithm + _EULER - 1) * j[1] - terms)
    tiny = np.clip(np.abs(x), 1e-300, 1e-3)  # the first terms of the series
    if order == 0:
        near = 2 / np.pi * (np.log(tiny / 2) + _EULER) * (1 - tiny * tiny / 4) + tiny * tiny / (2 * np.pi)
    else:
        near = -2 / (np.pi * tiny) + tiny / np.pi * (np.log(tiny / 2) + _EULER - 0.5)
    value = np.where(size <= 1e-3, near, value)
    large = np.maximum(np.abs(x), _LARGE)
    _, beyond = _hankel(np.where(np.isinf(large), _LARGE, large), order)
    value = np.where(np.abs(x) > _LARGE, beyond, value)
    value = np.where(np.isposinf(x), 0.0, np.where(x == 0, -np.inf, np.where(x < 0, np.nan, value)))
    return np.where(np.isnan(x), x, value)


def _scaled_macdonald(x: Any, order: float) -> Any:
    """exp(x) * K(x) for x > 0: the integral of exp(-x (cosh t - 1)) cosh(order t) (DLMF 10.32.9).

    The trapezoidal rule converges exponentially; it ends where the integrand is below 1e-18 of its start.
    """
    end = np.arccosh(1 + 42 / x)
    count = 120
    step = end / count
    total = np.full_like(x, 0.5)
    for k in range(1, count + 1):
        t = step * k
        total = total + np.exp(-2 * x * np.sinh(t / 2) ** 2) * np.cosh(order * t)
    return total * step


def _modified_second_kind(x: Any, order: int, scaled: bool) -> Any:
    inside = np.where((x > 0) & np.isfinite(x), x, 1.0)
    value = _scaled_macdonald(np.maximum(inside, 0.1), order)
    if not scaled:
        value = value * np.exp(-np.maximum(inside, 0.1))
    # Near 0 by the ascending series (DLMF 10.31.1 and 10.31.2), all of whose terms but the first are small.
    small = np.minimum(inside, 0.1)
    quarter, logarithm = small * small / 4, np.log(small / 2)
    near = np.zeros_like(small)
    power = np.ones_like(small)  # (x/2)^2k / (k! (k + order)!)
    harmonic = 0.0
    for k in range(12):
        if order == 0:
            near = near + power * (harmonic - logarithm - _EULER)
        else:
            near = near + power * (logarithm - (2 * harmonic + 1 / (k + 1) - 2 * _EULER) / 2)
        harmonic += 1 / (k + 1)
        power = power * quarter / ((k + 1) * (k + 1 + order))
    near = near if order == 0 else 1 / small + small / 2 * near
    value = np.where(inside < 0.1, near * np.exp(small) if scaled else near, value)
    value = np.where(np.isposinf(x), 0.0, np.where(x == 0, np.inf, np.where(x < 0, np.nan, value)))
    return np.where(np.isnan(x), x, value)


def _airy_ai(x: Any) -> Any:
    """The Airy function: power series (DLMF 9.4.1), K of order 1/3 above 1 (9.6.2), an expansion below -8 (9.7.9)."""
    middle = np.clip(x, -8.0, 1.0).astype(np.longdouble)
    cube = middle**3
    f, g = np.ones_like(middle), middle.copy()
    f_term, g_term = f, g
    for k in range(1, 60):
        f_term = f_term * cube / ((3 * k - 1) * (3 * k))
        g_term = g_term * cube / ((3 * k) * (3 * k + 1))
        f, g = f + f_term, g + g_term
    at_zero = 1 / (3 ** (2 / 3) * math.gamma(2 / 3)), -1 / (3 ** (1 / 3) * math.gamma(1 / 3))
    series = (at_zero[0] * f + at_zero[1] * g).astype(np.float64)
    above = np.minimum(np.maximum(x, 1.0), 200.0)
    zeta = 2 / 3 * above**1.5
    decaying = np.sqrt(above / 3) / np.pi * _scaled_macdonald(zeta, 1 / 3) * np.exp(-zeta)
    below = np.maximum(-np.maximum(x, -1e6), 8.0)
    zeta = 2 / 3 * below**1.5
    u = 1.0
    even, odd = np.ones_like(below), np.zeros_like(below)
    for k in range(1, 14):
        u = u * (6 * k - 5) * (6 * k - 3) * (6 * k - 1) / (216 * k * (2 * k - 1))
        sign = -1.0 if (k // 2) % 2 else 1.0
        if k % 2:
            odd = odd + sign * u / zeta**k
        else:
            even = even + sign * u / zeta**k
    angle = zeta - np.pi / 4
    waving = (np.cos(angle) * even + np.sin(angle) * odd) / (np.sqrt(np.pi) * below**0.25)
    value = np.where(x > 1, decaying, np.where(x < -8, waving, series))
    return np.where(np.isnan(x) | np.isinf(x), np.where(np.isposinf(x), 0.0, np.nan), value)


def _spherical_bessel_j0(x: Any) -> Any:
    inside = np.where((x == 0) | np.isinf(x), 1.0, x)
    return np.where(x == 0, 1.0, np.where(np.isinf(x), 0.0, np.sin(inside) / inside))


def _bessel(name: str, text: str, compute: Any, values: str, **fields: Any) -> Op:
    doc = f"Elementwise {text}.\n\n>>> ingot.special.{name}(ingot.tensor([0.5, 1.]))\ntensor([{values}])"
    return unary_special(name, doc, compute, None, **{"expression": f"{name}({{input}})", **fields})


BESSEL_J0 = _bessel(
    "bessel_j0", "Bessel function of the first kind of order 0", lambda x: _first_kind(x, 0), "0.9385, 0.7652"
)
BESSEL_J1 = _bessel(
    "bessel_j1", "Bessel function of the first kind of order 1", lambda x: _first_kind(x, 1), "0.2423, 0.4401"
)
BESSEL_Y0 = _bessel(
    "bessel_y0", "Bessel function of the second kind of order 0; NaN below 0", lambda x: _second_kind(x, 0),
    "-0.4445,  0.0883",
)  # fmt: skip
BESSEL_Y1 = _bessel(
    "bessel_y1", "Bessel function of the second kind of order 1; NaN below 0", lambda x: _second_kind(x, 1),
    "-1.4715, -0.7812",
)  # fmt: skip
MODIFIED_BESSEL_I0 = _bessel(
    "modified_bessel_i0", "modified Bessel function of the first kind of order 0", lambda x: modified_bessel(x, 0),
    "1.0635, 1.2661",
)  # fmt: skip
MODIFIED_BESSEL_I1 = _bessel(
    "modified_bessel_i1", "modified Bessel function of the first kind of order 1", lambda x: modified_bessel(x, 1),
    "0.2579, 0.5652",
)  # fmt: skip
MODIFIED_BESSEL_K0 = _bessel(
    "modified_bessel_k0", "modified Bessel function of the second kind of order 0; NaN below 0",
    lambda x: _modified_second_kind(x, 0, False), "0.9244, 0.4210",
)  # fmt: skip
MODIFIED_BESSEL_K1 = _bessel(
    "modified_bessel_k1", "modified Bessel function of the second kind of order 1; NaN below 0",
    lambda x: _modified_second_kind(x, 1, False), "1.6564, 0.6019",
)  # fmt: skip
SCALED_MODIFIED_BESSEL_K0 = _bessel(
    "scaled_modified_bessel_k0", "exp(x) * modified_bessel_k0(x)",
    lambda x: _modified_second_kind(x, 0, True), "1.5241, 1.1445",
)  # fmt: skip
SCALED_MODIFIED_BESSEL_K1 = _bessel(
    "scaled_modified_bessel_k1", "exp(x) * modified_bessel_k1(x)",
    lambda x: _modified_second_kind(x, 1, True), "2.7310, 1.6362",
)  # fmt: skip
SPHERICAL_BESSEL_J0 = _bessel(
    "spherical_bessel_j0", "spherical Bessel function of the first kind of order 0: sin(x) / x",
    _spherical_bessel_j0, "0.9589, 0.8415",
    expression="select({input} == 0, 1, select(isinf({input}), 0, sin({input}) / {input}))",
)  # fmt: skip
AIRY_AI = _bessel("airy_ai", "Airy function", _airy_ai, "0.2317, 0.1353")
