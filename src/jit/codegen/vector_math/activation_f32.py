"""Activations and the functions they rest on (tanh, erf, erfc) in float32.

Branch-free, on scalars. Where a result is a product with a vanishing exponential, its power of two is multiplied in
last, so that subnormal results are rounded once.
"""

from typing import Any

import numpy as np

from ..bits import (
    bits_to_float_f32,
    copy_sign,
    float_to_bits_f32,
    fma,
    horner,
    magnitude,
    mul_add,
    power_of_two_f32,
    scaled,
    select,
)
from .exponential_f32 import (
    EXP2_F32,
    EXP_F32,
    EXP_LOWEST_F32,
    HALF_F32,
    LN2_HIGH_F32,
    LN2_LOW_F32,
    LOG2E_F32,
    ONE_F32,
    ROUNDER_BITS_F32,
    ROUNDER_F32,
    TWO_F32,
    ZERO_F32,
    exp_f32,
    exp_reduced_f32,
    log1p_f32,
    quotient_reduced_f32,
)

# erf(x) = x + x E(x^2) for |x| <= 1
ERF_F32 = tuple(
    np.float32(c)
    for c in (
        -8.666783e-06,
        0.00010888574,
        -0.00084270793,
        0.005216643,
        -0.02686362,
        0.11283744,
        -0.37612635,
        0.12837917,
    )
)

# erf(x) = x + x N(x^2) / D(x^2) for |x| <= 1.05, and 1 - 1 / P(|x|)^8 from there to the limit, where erf rounds to 1
# (the form of 7.1.28 in Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964)
ERF_NEAR_F32 = np.float32(1.05)
ERF_LIMIT_F32 = np.float32(4)
ERF_NUMERATOR_F32 = tuple(
    np.float32(c)
    for c in (
        -0.034264106,
        -0.40056431,
        -8.6538267,
        3.359309,
    )
)
ERF_DENOMINATOR_F32 = tuple(
    np.float32(c)
    for c in (
        1.0,
        9.2561474,
        26.16709,
    )
)
ERF_ROOT_F32 = tuple(
    np.float32(c)
    for c in (
        0.00058376836,
        -0.0044894139,
        0.020240212,
        -0.039966818,
        0.085121758,
        0.038398813,
        0.16503446,
        0.99518913,
    )
)

# tanh(x) = x + x z (N_1 z + N_0) / (z + D), z = x^2, for |x| <= 0.55
TANH_NEAR_F32 = np.float32(0.55)
TANH_N1_F32 = np.float32(-0.0038335607)
TANH_N0_F32 = np.float32(-0.82376468)
TANH_D_F32 = np.float32(2.4712949)
TWO_LOG2E_F32 = np.float32(2.885390043258667)

# Below and above these the logistic function rounds to 0 and to 1, also where x times it is subnormal.
LOGISTIC_LOWEST_F32 = np.float32(-109)
LOGISTIC_HIGHEST_F32 = np.float32(60)

# erfcx(a) = N(v) / (a + K), v = (a - C) / (a + K)
ERFC_K_F32 = np.float32(3)
ERFC_C_F32 = np.float32(2.450000047683716)
ERFC_LIMIT_F32 = np.float32(10.6)
ERFCX_0_F32 = np.float32(1.1694996)
ERFCX_F32 = tuple(
    np.float32(c)
    for c in (
        6.785124e-05,
        -0.0007188772,
        -0.00047174052,
        0.0065203244,
        -0.006227417,
        -0.041087024,
        0.19503434,
        -0.48224717,
        0.838475,
        -1.1146942,
    )
)

# a Phi(-a) e^(a^2 / 2) = G(v), v = (a - C) / (a + K), from the limit of the series at 0 on, Phi the normal distribution
# function
GELU_K_F32 = np.float32(3)
GELU_C_F32 = np.float32(1.5)
GELU_LIMIT_F32 = np.float32(14.9)
GELU_F32 = tuple(
    np.float32(c)
    for c in (
        -0.0054987976,
        0.0107428115,
        0.01311021,
        -0.036289573,
        -0.06250594,
        0.29651958,
        -0.44251046,
        0.31668186,
        0.308671,
    )
)

# Phi(x) = 1/2 + x P(x^2) for |x| <= 0.75
NORMAL_LIMIT_F32 = np.float32(0.75)
NORMAL_F32 = tuple(
    np.float32(c)
    for c in (
        0.000106540996,
        -0.0011858259,
        0.009974255,
        -0.06649059,
        0.3989423,
    )
)

# 2 log2(e) sqrt(2 / pi) (x + 0.044715 x^3) = x (x^2 + A) K, A and K in two parts each
GELU_TANH_LOWEST_F32 = np.float32(-11)
GELU_TANH_HIGHEST_F32 = np.float32(8)
GELU_TANH_A_F32 = np.float32(22.363859176635742)
GELU_TANH_A_LOW_F32 = np.float32(8.256006367446389e-07)
GELU_TANH_K_F32 = np.float32(0.10294324159622192)
GELU_TANH_K_LOW_F32 = np.float32(-2.016198319410023e-09)


def tanh_f32(x: Any) -> Any:
    """The hyperbolic tangent: a quotient of polynomials near 0, beyond 1 - 2 / (e^(2|x|) + 1), with one division."""
    size = magnitude(x)
    size = select(size > np.float32(10), np.float32(10), size)
    shifted = mul_add(size, TWO_LOG2E_F32, ROUNDER_F32)
    r = mul_add(size, TWO_LOG2E_F32, ROUNDER_F32 - shifted)
    scale = power_of_two_f32(float_to_bits_f32(shifted) - ROUNDER_BITS_F32)
    e = mul_add(scale * r, horner(r, EXP2_F32), scale)
    square = size * size
    near = size < TANH_NEAR_F32
    numerator = select(near, square * mul_add(square, TANH_N1_F32, TANH_N0_F32), -TWO_F32)
    denominator = select(near, square + TANH_D_F32, e + ONE_F32)
    base = select(near, size, ONE_F32)
    return copy_sign(mul_add(base, numerator / denominator, base), x)


def logistic_quotient_f32(q: Any, n: Any, times: Any) -> Any:
    """times / (1 + e^-x), from e^-x = (1 + q) 2^-n."""
    scale = scaled(ONE_F32, n)
    # Added in the order that loses least; the power of two comes last, so that subnormal results are rounded once.
    larger = select(scale > ONE_F32, scale, ONE_F32)
    smaller = select(scale > ONE_F32, ONE_F32, scale)
    return scaled(times / (larger + (smaller + q)), n)


def logistic_f32(x: Any, times: Any) -> Any:
    """times / (1 + e^-x)."""
    bounded = select(x < LOGISTIC_LOWEST_F32, LOGISTIC_LOWEST_F32, x)
    bounded = select(bounded > LOGISTIC_HIGHEST_F32, LOGISTIC_HIGHEST_F32, bounded)
    shifted = mul_add(bounded, LOG2E_F32, ROUNDER_F32)
    n = shifted - ROUNDER_F32
    r = mul_add(n, LN2_LOW_F32, mul_add(n, LN2_HIGH_F32, -bounded))
    q = mul_add(r * r, horner(r, EXP_F32), r)
    return logistic_quotient_f32(q, float_to_bits_f32(shifted) - ROUNDER_BITS_F32, times)


def sigmoid_f32(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return logistic_f32(x, ONE_F32)


def silu_f32(x: Any) -> Any:
    """x / (1 + e^-x); NaN, as of a product with 0, at -inf."""
    return logistic_f32(x, select(x < LOGISTIC_LOWEST_F32, x * ZERO_F32, x))


def softplus_f32(x: Any, beta: Any, threshold: Any) -> Any:
    """log(1 + e^(beta x)) / beta, and x itself where beta x is above the threshold."""
    scaled = x * beta
    y = select(scaled > ZERO_F32, scaled, ZERO_F32) + log1p_f32(exp_f32(-magnitude(scaled)))
    return select(scaled > threshold, x, y / beta)


def log_sigmoid_f32(x: Any) -> Any:
    """log(1 / (1 + e^-x))."""
    return select(x > ZERO_F32, ZERO_F32, x) - log1p_f32(exp_f32(-magnitude(x)))


def mish_f32(x: Any) -> Any:
    """x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2) (Misra, 2019); its limit, -0, at -inf."""
    bounded = select(x > np.float32(20), np.float32(20), x)
    bounded = select(bounded < EXP_LOWEST_F32, EXP_LOWEST_F32, bounded)
    q, n = exp_reduced_f32(bounded, ZERO_F32)
    half = n >> 1
    scale = power_of_two_f32(half)
    rest = power_of_two_f32(n - half)
    y = q + ONE_F32
    y_low = (ONE_F32 - y) + q
    # The quotient over `rest`, which is multiplied in last for the sake of subnormal results.
    e = y * scale * rest
    e_low = y_low * scale * rest
    factor = e + TWO_F32
    factor_low = select(e > TWO_F32, (e - factor) + TWO_F32, (TWO_F32 - factor) + e) + e_low
    high = y * scale * factor
    low = mul_add(y * scale, factor, -high) + mul_add(y * scale, factor_low, y_low * scale * factor)
    product = high * rest
    divisor = product + TWO_F32
    divisor_low = select(product > TWO_F32, (product - divisor) + TWO_F32, (TWO_F32 - divisor) + product) + low * rest
    return select(x < EXP_LOWEST_F32, EXP_LOWEST_F32, x) * quotient_reduced_f32(high, low, divisor, divisor_low) * rest


def tail_reduced_f32(a: Any, k: Any, c: Any, coefficients: Any, constant: Any, factor: Any, times: Any) -> Any:
    """times N(v) / (a + k) e^(-factor a^2), v = (a - c) / (a + k), as a product of two numbers; factor is 1 or 1/2."""
    divisor = a + k
    w = ONE_F32 / divisor
    # What w lacks of the reciprocal of the unrounded a + k, relative to it.
    error = mul_add(-w, divisor, ONE_F32) - w * select(a > k, (a - divisor) + k, (k - divisor) + a)
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
    # a^2 to more than 24 bits: the square of its 12 leading bits is exact, and the rest is small.
    leading = bits_to_float_f32(float_to_bits_f32(a) & -4096)
    q, n = exp_reduced_f32(-leading * leading * factor, (leading - a) * (leading + a) * factor)
    half = n >> 1
    scaled = scaled + mul_add(scaled, q, mul_add(scaled_low, q, scaled_low))
    return scaled * power_of_two_f32(half), power_of_two_f32(n - half)


def erf_f32(x: Any) -> Any:
    """The error function, with one division."""
    size = magnitude(x)
    size = select(size > ERF_LIMIT_F32, ERF_LIMIT_F32, size)
    square = size * size
    near = size < ERF_NEAR_F32
    root = horner(size, ERF_ROOT_F32)
    power = root * root
    power = power * power
    numerator = select(near, horner(square, ERF_NUMERATOR_F32), -ONE_F32)
    denominator = select(near, horner(square, ERF_DENOMINATOR_F32), power * power)
    base = select(near, size, ONE_F32)
    return copy_sign(mul_add(base, numerator / denominator, base), x)


def erfc_f32(x: Any) -> Any:
    """The complementary error function, 1 - erf(x), accurate where it vanishes."""
    size = magnitude(x)
    a = select(size > ERFC_LIMIT_F32, ERFC_LIMIT_F32, size)
    value, rest = tail_reduced_f32(a, ERFC_K_F32, ERFC_C_F32, ERFCX_F32, ERFCX_0_F32, ONE_F32, ONE_F32)
    value = select(a < np.float32(0.75), ONE_F32 - mul_add(a, horner(a * a, ERF_F32), a), value * rest)
    return select(x < ZERO_F32, TWO_F32 - value, value)


def gelu_f32(x: Any) -> Any:
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016); its limit, -0, at -inf."""
    size = magnitude(x)
    a = select(size > GELU_LIMIT_F32, GELU_LIMIT_F32, size)
    # e^(-a^2 / 2) = (1 + q) 2^n; the exponent in two parts, for its rounding would be felt where it is large.
    half = a * HALF_F32
    high = half * a
    low = fma(half, a, -high)
    shifted = mul_add(high, -LOG2E_F32, ROUNDER_F32)
    n = shifted - ROUNDER_F32
    r = mul_add(-n, LN2_LOW_F32, mul_add(-n, LN2_HIGH_F32, -high) - low)
    q = mul_add(r * r, horner(r, EXP_F32), r)
    value = horner((a - GELU_C_F32) / (a + GELU_K_F32), GELU_F32)
    tail = scaled(mul_add(value, q, value), float_to_bits_f32(shifted) - ROUNDER_BITS_F32)
    near_zero = x * mul_add(x, horner(x * x, NORMAL_F32), HALF_F32)
    return copy_sign(select(size < NORMAL_LIMIT_F32, near_zero, select(x > ZERO_F32, x - tail, tail)), x)


def gelu_tanh_f32(x: Any) -> Any:
    """x (1 + tanh(u)) / 2 = x / (1 + e^(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3); NaN at -inf."""
    bounded = select(x < GELU_TANH_LOWEST_F32, GELU_TANH_LOWEST_F32, x)
    bounded = select(bounded > GELU_TANH_HIGHEST_F32, GELU_TANH_HIGHEST_F32, bounded)
    # x (x^2 + A) in two parts: e^(2u) magnifies its relative error up to a hundredfold.
    square = bounded * bounded
    total = square + GELU_TANH_A_F32
    part = total - square
    total_low = (
        (square - (total - part)) + (GELU_TANH_A_F32 - part) + (fma(bounded, bounded, -square) + GELU_TANH_A_LOW_F32)
    )
    high = total * bounded
    low = mul_add(total_low, bounded, fma(total, bounded, -high))
    shifted = mul_add(high, GELU_TANH_K_F32, ROUNDER_F32)
    r = fma(high, -GELU_TANH_K_F32, shifted - ROUNDER_F32)
    r = r - mul_add(high, GELU_TANH_K_LOW_F32, low * GELU_TANH_K_F32)
    n = float_to_bits_f32(shifted) - ROUNDER_BITS_F32
    return logistic_quotient_f32(r * horner(r, EXP2_F32), n, select(x < GELU_TANH_LOWEST_F32, x * ZERO_F32, x))
