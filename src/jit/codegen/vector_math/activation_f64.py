"""Activations and the functions they rest on (tanh, erf, erfc) in float64.

Branch-free, on scalars. Where a result is a product with a vanishing exponential, its power of two is multiplied in last, so
that subnormal results are rounded once.
"""

from typing import Any

from ..bits import (
    bits_to_float_f64,
    copy_sign,
    fma,
    float_to_bits_f64,
    horner,
    magnitude,
    mul_add,
    power_of_two_f64,
    select,
)
from .exponential_f64 import (
    EXP_LOWEST_F64,
    SMALLEST_NORMAL_F64,
    exp_f64,
    exp_reduced_f64,
    log1p_f64,
    quotient_reduced_f64,
)

# erf(x) = x + x E(x^2) for |x| <= 1
ERF_F64 = (
    -3.0560073728201685e-11,
    2.6572661719044673e-10,
    -1.7553726430193944e-09,
    1.5745070878461478e-08,
    -1.6474107084599474e-07,
    1.6470617669693459e-06,
    -1.4926114065256542e-05,
    0.00012055350561075977,
    -0.0008548327479847662,
    0.005223977633292176,
    -0.026866170645975063,
    0.11283791670960251,
    -0.376126389031839,
    0.1283791670955126,
)

# erfcx(a) = N(v) / (a + K), v = (a - C) / (a + K)
ERFC_K_F64 = 4.0
ERFC_C_F64 = 2.0
ERFC_LIMIT_F64 = 27.6
ERFCX_0_F64 = 1.5323740578630345
ERFCX_F64 = (
    3.239482057084648e-07,
    -1.001862147151296e-06,
    1.0650066827247966e-06,
    -1.8041786312732009e-06,
    2.3986446932420914e-06,
    8.69030046406342e-06,
    -1.745051431782441e-05,
    -3.503076345149429e-05,
    8.171826083851864e-05,
    0.00015091888718993444,
    -0.00044570807521262704,
    -0.0005321381447626159,
    0.0027568058899454864,
    2.0510730567449406e-05,
    -0.01594062584117917,
    0.028694209617676707,
    0.03686330355684027,
    -0.30781222631439387,
    0.878178813277227,
    -1.689122989296656,
    2.489287622431294,
    -2.9504466777497873,
    2.8724233667735106,
    -2.312298568862591,
)

# The same for Phi(-a) e^(a^2 / 2), Phi the normal distribution function
GELU_K_F64 = 5.656854152679443
GELU_C_F64 = 2.8284270763397217
GELU_LIMIT_F64 = 39.0
GELU_0_F64 = 1.0835520845940132
GELU_F64 = (
    8.898355026096166e-07,
    -3.283033992745275e-06,
    3.7841898306202313e-06,
    -6.283581142334789e-07,
    -2.235648222307491e-06,
    7.958597257008996e-06,
    -1.0619292532004128e-05,
    -2.634069422554718e-05,
    5.753062367867978e-05,
    0.00010731046195165977,
    -0.00031520989532517576,
    -0.00037640714939974024,
    0.0019493820049490541,
    1.4518944593868055e-05,
    -0.01127172638805583,
    0.020289870818179973,
    0.026066270013328282,
    -0.21765605290719958,
    0.6209660925225144,
    -1.1943901931359469,
    1.7601920367516726,
    -2.086280764501478,
    2.0311099931313805,
    -1.6350419809993109,
)

# Phi(x) = 1/2 + x P(x^2) for |x| <= 0.6
NORMAL_F64 = (
    -3.4164880306282356e-09,
    7.945568386124952e-09,
    -4.532302427544957e-08,
    6.67586774560228e-07,
    -9.445035739146423e-06,
    0.0001154347414228412,
    -0.001187328219961656,
    0.009973557010237957,
    -0.06649038006690959,
    0.3989422804014327,
)

# 2 sqrt(2 / pi) and 0.044715 times that, in two parts each
GELU_C1_F64 = 1.5957691216057308
GELU_C1_LOW_F64 = -9.96930880911092e-17
GELU_C3_F64 = 0.07135481627260025
GELU_C3_LOW_F64 = -6.175149918155315e-19


def tanh_f64(x: Any) -> Any:
    """The hyperbolic tangent: with t = e^(2|x|) - 1 it is t / (t + 2)."""
    size = magnitude(x)
    size = select(size > 22.0, 22.0, size)
    q, n = exp_reduced_f64(size + size, 0.0)
    scale = power_of_two_f64(n)
    base = scale - 1.0
    t = mul_add(scale, q, base)
    t_low = mul_add(scale, q, base - t)
    divisor = t + 2.0
    y = quotient_reduced_f64(t, t_low, divisor, t_low + select(t > 2.0, (t - divisor) + 2.0, (2.0 - divisor) + t))
    # The correction's own rounding would be felt where the quotient is subnormal.
    return copy_sign(select(size < SMALLEST_NORMAL_F64, size, y), x)


def logistic_reduced_f64(q: Any, n: Any, negative: Any) -> Any:
    """1 / (1 + e^-x) as the product of a normal number and a power of two, from e^-|x| = (1 + q) 2^n."""
    half = n >> 1
    scale = power_of_two_f64(half)
    rest = power_of_two_f64(n - half)
    y = q + 1.0
    y_low = (1.0 - y) + q
    e = y * scale * rest
    divisor = e + 1.0
    divisor_low = (1.0 - divisor) + e + y_low * scale * rest
    high = select(negative, y * scale, 1.0)
    low = select(negative, y_low * scale, 0.0)
    return quotient_reduced_f64(high, low, divisor, divisor_low), select(negative, rest, 1.0)


def sigmoid_f64(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    q, n = exp_reduced_f64(-magnitude(x), 0.0)
    value, rest = logistic_reduced_f64(q, n, x < 0.0)
    return value * rest


def silu_f64(x: Any) -> Any:
    """x / (1 + e^-x); its limit, -0, at -inf."""
    q, n = exp_reduced_f64(-magnitude(x), 0.0)
    value, rest = logistic_reduced_f64(q, n, x < 0.0)
    return select(x < EXP_LOWEST_F64, EXP_LOWEST_F64, x) * value * rest


def softplus_f64(x: Any, beta: Any, threshold: Any) -> Any:
    """log(1 + e^(beta x)) / beta, and x itself where beta x is above the threshold."""
    scaled = x * beta
    y = select(scaled > 0.0, scaled, 0.0) + log1p_f64(exp_f64(-magnitude(scaled)))
    return select(scaled > threshold, x, y / beta)


def log_sigmoid_f64(x: Any) -> Any:
    """log(1 / (1 + e^-x))."""
    return select(x > 0.0, 0.0, x) - log1p_f64(exp_f64(-magnitude(x)))


def mish_f64(x: Any) -> Any:
    """x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2) (Misra, 2019); its limit, -0, at -inf."""
    bounded = select(x > 40.0, 40.0, x)
    bounded = select(bounded < EXP_LOWEST_F64, EXP_LOWEST_F64, bounded)
    q, n = exp_reduced_f64(bounded, 0.0)
    half = n >> 1
    scale = power_of_two_f64(half)
    rest = power_of_two_f64(n - half)
    y = q + 1.0
    y_low = (1.0 - y) + q
    # The quotient over `rest`, which is multiplied in last for the sake of subnormal results.
    e = y * scale * rest
    e_low = y_low * scale * rest
    factor = e + 2.0
    factor_low = select(e > 2.0, (e - factor) + 2.0, (2.0 - factor) + e) + e_low
    high = y * scale * factor
    low = mul_add(y * scale, factor, -high) + mul_add(y * scale, factor_low, y_low * scale * factor)
    product = high * rest
    divisor = product + 2.0
    divisor_low = select(product > 2.0, (product - divisor) + 2.0, (2.0 - divisor) + product) + low * rest
    return select(x < EXP_LOWEST_F64, EXP_LOWEST_F64, x) * quotient_reduced_f64(high, low, divisor, divisor_low) * rest


def tail_reduced_f64(a: Any, k: Any, c: Any, coefficients: Any, constant: Any, factor: Any, times: Any) -> Any:
    """times N(v) / (a + k) e^(-factor a^2), v = (a - c) / (a + k), as a product of two numbers; factor is 1 or 1/2."""
    divisor = a + k
    w = 1.0 / divisor
    # What w lacks of the reciprocal of the unrounded a + k, relative to it.
    error = mul_add(-w, divisor, 1.0) - w * select(a > k, (a - divisor) + k, (k - divisor) + a)
    v = (a - c) * w
    v = mul_add(v, error, v)
    # The last steps in two parts each, for all the roundings together would come to more than two units.
    upper = horner(v, coefficients)
    value = mul_add(v, upper, constant)
    value_low = mul_add(v, upper, constant - value)
    multiplier = w * times
    scaled = value * multiplier
    scaled_low = mul_add(value, multiplier, -scaled) + mul_add(value, error, value_low) * multiplier
    scaled_low = mul_add(value, mul_add(w, times, -multiplier), scaled_low)
    # a^2 to more than 53 bits: the square of its 26 leading bits is exact, and the rest is small.
    leading = bits_to_float_f64(float_to_bits_f64(a) & -134217728)
    q, n = exp_reduced_f64(-leading * leading * factor, (leading - a) * (leading + a) * factor)
    half = n >> 1
    scaled = scaled + mul_add(scaled, q, mul_add(scaled_low, q, scaled_low))
    return scaled * power_of_two_f64(half), power_of_two_f64(n - half)


def erf_f64(x: Any) -> Any:
    """The error function."""
    size = magnitude(x)
    a = select(size > ERFC_LIMIT_F64, ERFC_LIMIT_F64, size)
    value, rest = tail_reduced_f64(a, ERFC_K_F64, ERFC_C_F64, ERFCX_F64, ERFCX_0_F64, 1.0, 1.0)
    near_zero = mul_add(a, horner(a * a, ERF_F64), a)
    return copy_sign(select(a < 1.0, near_zero, 1.0 - value * rest), x)


def erfc_f64(x: Any) -> Any:
    """The complementary error function, 1 - erf(x), accurate where it vanishes."""
    size = magnitude(x)
    a = select(size > ERFC_LIMIT_F64, ERFC_LIMIT_F64, size)
    value, rest = tail_reduced_f64(a, ERFC_K_F64, ERFC_C_F64, ERFCX_F64, ERFCX_0_F64, 1.0, 1.0)
    value = select(a < 0.75, 1.0 - mul_add(a, horner(a * a, ERF_F64), a), value * rest)
    return select(x < 0.0, 2.0 - value, value)


def gelu_f64(x: Any) -> Any:
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016); its limit, -0, at -inf."""
    size = magnitude(x)
    size = select(size > GELU_LIMIT_F64, GELU_LIMIT_F64, size)
    value, rest = tail_reduced_f64(size, GELU_K_F64, GELU_C_F64, GELU_F64, GELU_0_F64, 0.5, size)
    tail = value * rest
    near_zero = x * mul_add(x, horner(x * x, NORMAL_F64), 0.5)
    return copy_sign(select(size < 0.6, near_zero, select(x > 0.0, x - tail, tail)), x)


def gelu_tanh_f64(x: Any) -> Any:
    """x (1 + tanh(u)) / 2 = x / (1 + e^(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3); its limit, -0, at -inf."""
    size = magnitude(x)
    size = select(size > 25.0, 25.0, size)
    # 2u = size (c1 + c3 size^2) in two parts: e^(2u) magnifies its relative error up to a hundredfold.
    square = size * size
    square_low = fma(size, size, -square)
    product = square * GELU_C3_F64
    product_low = fma(square, GELU_C3_F64, -product) + mul_add(square_low, GELU_C3_F64, square * GELU_C3_LOW_F64)
    total = product + GELU_C1_F64
    part = total - product
    total_low = (product - (total - part)) + (GELU_C1_F64 - part) + (product_low + GELU_C1_LOW_F64)
    high = total * size
    low = fma(total, size, -high) + total_low * size
    q, n = exp_reduced_f64(-high, -low)
    value, rest = logistic_reduced_f64(q, n, x < 0.0)
    return select(x < EXP_LOWEST_F64, EXP_LOWEST_F64, x) * value * rest
