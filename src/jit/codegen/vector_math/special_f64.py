"""The gamma function's logarithm and its derivative, and the inverse error function.

Float32 functions here work in float64.
"""

from typing import Any

import numpy as np

from ..bits import (
    c_lgamma,
    copy_sign,
    horner,
    magnitude,
    mul_add,
    round_down,
    round_to_even,
    select,
    square_root,
)
from .activation_f64 import (
    ERF_F64,
    GELU_0_F64,
    GELU_C_F64,
    GELU_F64,
    GELU_K_F64,
    GELU_LIMIT_F64,
    NORMAL_F64,
    erfc_f64,
    tail_reduced_f64,
)
from .exponential_f64 import exp_f64, log_f64
from .trigonometric_f64 import COS_F64, PI_F64, SIN_F64

HALF_LOG_TWO_PI_F64 = 0.9189385332046728

# Bernoulli numbers B_2k / (2k (2k - 1)), k = 7 ... 1, of Stirling's series (DLMF 5.11.1)
STIRLING_F64 = (
    0.00641025641025641,
    -0.0019175269175269176,
    0.0008417508417508417,
    -0.0005952380952380953,
    0.0007936507936507937,
    -0.002777777777777778,
    0.08333333333333333,
)
# B_2k / 2k, k = 8 ... 1, of the series of its derivative (DLMF 5.11.2)
DIGAMMA_F64 = (
    -0.4432598039215686,
    0.08333333333333333,
    -0.021092796092796094,
    0.007575757575757576,
    -0.004166666666666667,
    0.003968253968253968,
    -0.008333333333333333,
    0.08333333333333333,
)

# erfinv(x) / x roughly, in w = -log(1 - x^2) up to 5 and in sqrt(w) beyond
ERFINV_CENTER_F64 = (
    2.8534405504604194e-08,
    -2.2696126337095095e-07,
    -4.550554217168151e-06,
    6.868259601611602e-05,
    -0.0001672201372679785,
    -0.0022978691392255904,
    0.011532139191845973,
    0.23201665103614152,
    0.8862268424385442,
)
ERFINV_TAIL_F64 = (
    1.7825393823507486e-05,
    -0.0006493304470402029,
    0.01028597687050073,
    -0.09260231205028242,
    0.518737251026346,
    -1.854597164812504,
    4.14385446748713,
    -4.3022870581865,
    2.8085718269921522,
)


# sin(pi y) / (pi y) = 1 + z S(z), z = y^2, |y| <= 1/2
SINC_F64 = (
    -6.207856729727775e-09,
    2.519670694885551e-07,
    -6.975325578216698e-06,
    0.00014842864877334717,
    -0.0023460810129167812,
    0.0261478478155513,
    -0.19075182412197206,
    0.8117424252833506,
    -1.6449340668482264,
)


def half_turn_reduced_f64(x: Any) -> Any:
    """(sin(pi y), cos(pi y)) for the y in [-1/2, 1/2] that differs from x by an integer."""
    y = x - round_to_even(x)
    size = magnitude(y)
    steep = size > 0.25
    r = select(steep, 0.5 - size, size) * PI_F64
    z = r * r
    sine = mul_add(r * z, horner(z, SIN_F64), r)
    cosine = mul_add(z * z, horner(z, COS_F64), mul_add(z, -0.5, 1.0))
    return copy_sign(select(steep, cosine, sine), y), select(steep, sine, cosine)


def digamma_f64(x: Any) -> Any:
    """The logarithmic derivative of the gamma function; infinite at 0, NaN at -1, -2 ..."""
    reflected = x <= 0.0
    a = select(reflected, 1.0 - x, x)
    # psi(a) = psi(a + 9) - sum of 1 / (a + k) for k = 0 ... 8. The first apart, the sums of terms k and 9 - k are
    # (2a + 9) / (q + k (9 - k)) with q = a (a + 9).
    near = a < 9.0
    base = select(near, a, 1.0)
    shifted = select(near, base + 9.0, a)
    q = base * (base + 9.0)
    pairs = (q + 14.0) / ((q + 8.0) * (q + 20.0)) + (q + 16.0) / ((q + 14.0) * (q + 18.0))
    inverse = 1.0 / shifted
    square = inverse * inverse
    y = log_f64(shifted) - select(near, pairs * mul_add(4.0, base, 18.0), 0.0)
    y = y - mul_add(square, horner(square, DIGAMMA_F64), 0.5 * inverse) - select(near, 1.0 / base, 0.0)
    sine, cosine = half_turn_reduced_f64(x)
    y = select(reflected, y - PI_F64 * cosine / sine, y)
    pole = select(x == 0.0, copy_sign(np.inf, -x), np.nan)
    y = select((x <= 0.0) & (round_down(x) == x), pole, y)
    return select(x == np.inf, x, y)


def digamma_f32(x: Any) -> Any:
    """The logarithmic derivative of the gamma function; infinite at 0, NaN at -1, -2 ..."""
    return np.float32(digamma_f64(np.float64(x)))


def lgamma_f64(x: Any) -> Any:
    """log(|gamma(x)|), from the C library; infinite at 0, -1, -2 ... Not vectorised."""
    return c_lgamma(x)


def lgamma_f32(x: Any) -> Any:
    """log(|gamma(x)|); infinite at 0, -1, -2 ..."""
    wide = np.float64(x)
    size = magnitude(wide)
    # gamma(a + 8) = gamma(a) a (a + 1) ... (a + 7), and Stirling's series there.
    near = size < 8.0
    base = select(near, size, 1.0)
    product = base
    for k in range(1, 8):
        product = product * (base + k)
    shifted = select(near, base + 8.0, select(size < np.inf, size, 1.0))
    inverse = 1.0 / shifted
    series = mul_add(inverse, horner(inverse * inverse, STIRLING_F64), HALF_LOG_TWO_PI_F64 - shifted)
    y = mul_add(shifted - 0.5, log_f64(shifted), series) - log_f64(select(near, product, 1.0))
    # gamma(-a) gamma(a) = -pi / (a sin(pi a))
    sine, _ = half_turn_reduced_f64(wide)
    negative = wide < 0.0
    y = select(negative, log_f64(PI_F64 / select(negative, size * magnitude(sine), 1.0)) - y, y)
    pole = (wide <= 0.0) & (round_down(wide) == wide)
    return select(x == x, np.float32(select(pole | (size == np.inf), np.inf, y)), x)


def erfinv_f64(x: Any) -> Any:
    """The inverse of the error function; infinite at +-1, NaN beyond."""
    size = magnitude(x)
    a = select(size < 1.0, size, 0.0)
    w = -log_f64((1.0 - a) * (1.0 + a))
    y = a * select(w < 5.0, horner(w, ERFINV_CENTER_F64), horner(square_root(w), ERFINV_TAIL_F64))
    # Three terms of the inverse function's Taylor series from there.
    square = y * y
    below = a - mul_add(y, horner(square, ERF_F64), y)
    above = erfc_f64(y) - (1.0 - a)
    d = select(a < 0.5, below, above) * exp_f64(square) * 0.886226925452758
    y = mul_add(d, mul_add(d, mul_add(d, mul_add(square, 1.3333333333333333, 0.3333333333333333), y), 1.0), y)
    return copy_sign(select(size < 1.0, y, select(size == 1.0, np.inf, np.nan)), x)


def sinc_f64(x: Any) -> Any:
    """sin(pi x) / (pi x), exactly 0 at whole numbers but 0, where it is 1; NaN at infinity."""
    n = round_to_even(x)
    y = x - n
    half = n * 0.5
    z = y * y
    value = y / select(x == 0.0, 1.0, x) * mul_add(z, horner(z, SINC_F64), 1.0)
    value = select(round_to_even(half) == half, value, -value)
    return select(x == 0.0, 1.0, value)


def ndtr_f64(x: Any) -> Any:
    """The distribution function of the standard normal distribution."""
    size = magnitude(x)
    a = select(size > GELU_LIMIT_F64, GELU_LIMIT_F64, size)
    value, rest = tail_reduced_f64(a, GELU_K_F64, GELU_C_F64, GELU_F64, GELU_0_F64, 0.5, 1.0)
    tail = value * rest
    near_zero = mul_add(x, horner(x * x, NORMAL_F64), 0.5)
    return select(size < 0.6, near_zero, select(x > 0.0, 1.0 - tail, tail))
