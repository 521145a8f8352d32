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
    EXP_F32,
    EXP_LOWEST_F32,
    HALF_F32,
    LN2_HIGH_F32,
    LN2_LOW_F32,
    LOG2E_F32,
    ONE_F32,
    ROUNDER_BITS_F32,
    ROUNDER_F32,
    SMALLEST_NORMAL_F32,
    TWO_F32,
    ZERO_F32,
    exp_f32,
    exp_parts_f32,
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

# erfc(a) = e^(-a T(a)) from 1 to the limit, where erf rounds to 1
ERF_TAIL_F32 = tuple(
    np.float32(c)
    for c in (
        1.4131646e-05,
        -0.0003523131,
        0.0037645958,
        -0.024025403,
        0.10654902,
        0.6349583,
        1.1286972,
    )
)
ERF_LIMIT_F32 = np.float32(4)

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

# 2 sqrt(2 / pi) and 0.044715 times that, in two parts each
GELU_C1_F32 = np.float32(1.5957691669464111)
GELU_C1_LOW_F32 = np.float32(-4.534068054340423e-08)
GELU_C3_F32 = np.float32(0.07135481387376785)
GELU_C3_LOW_F32 = np.float32(2.3988324659995897e-09)


def tanh_f32(x: Any) -> Any:
    """The hyperbolic tangent: with t = e^(2|x|) - 1 it is t / (t + 2)."""
    size = magnitude(x)
    size = select(size > np.float32(10), np.float32(10), size)
    q, n = exp_parts_f32(size + size)
    scale = power_of_two_f32(n)
    base = scale - ONE_F32
    t = mul_add(scale, q, base)
    t_low = mul_add(scale, q, base - t)
    divisor = t + TWO_F32
    y = quotient_reduced_f32(
        t, t_low, divisor, t_low + select(t > TWO_F32, (t - divisor) + TWO_F32, (TWO_F32 - divisor) + t)
    )
    # The correction's own rounding would be felt where the quotient is subnormal.
    return copy_sign(select(size < SMALLEST_NORMAL_F32, size, y), x)


def logistic_parts_f32(q: Any, n: Any, negative: Any) -> Any:
    """1 / (1 + e^-x) as (y, m), y 2^m with y a normal number, from e^-|x| = (1 + q) 2^n."""
    y = q + ONE_F32
    e = scaled(y, n)
    divisor = e + ONE_F32
    high, low = select(negative, y, ONE_F32), select(negative, (ONE_F32 - y) + q, ZERO_F32)
    return quotient_reduced_f32(high, low, divisor, (ONE_F32 - divisor) + e), select(negative, n, 0)


def sigmoid_f32(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    q, n = exp_parts_f32(-magnitude(x))
    y, m = logistic_parts_f32(q, n, x < ZERO_F32)
    return scaled(y, m)


def silu_f32(x: Any) -> Any:
    """x / (1 + e^-x); its limit, -0, at -inf."""
    q, n = exp_parts_f32(-magnitude(x))
    y, m = logistic_parts_f32(q, n, x < ZERO_F32)
    return scaled(select(x < EXP_LOWEST_F32, EXP_LOWEST_F32, x) * y, m)


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
    """The error function."""
    size = magnitude(x)
    a = select(size > ERF_LIMIT_F32, ERF_LIMIT_F32, size)
    near_zero = mul_add(a, horner(a * a, ERF_F32), a)
    q, n = exp_parts_f32(-a * horner(a, ERF_TAIL_F32))
    scale = power_of_two_f32(n)
    return copy_sign(select(a < ONE_F32, near_zero, ONE_F32 - mul_add(scale, q, scale)), x)


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
    """x (1 + tanh(u)) / 2 = x / (1 + e^(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3); its limit, -0, at -inf."""
    size = magnitude(x)
    size = select(size > np.float32(15), np.float32(15), size)
    # 2u = size (c1 + c3 size^2) in two parts: e^(2u) magnifies its relative error up to a hundredfold.
    square = size * size
    square_low = fma(size, size, -square)
    product = square * GELU_C3_F32
    product_low = fma(square, GELU_C3_F32, -product) + mul_add(square_low, GELU_C3_F32, square * GELU_C3_LOW_F32)
    total = product + GELU_C1_F32
    part = total - product
    total_low = (product - (total - part)) + (GELU_C1_F32 - part) + (product_low + GELU_C1_LOW_F32)
    high = total * size
    low = fma(total, size, -high) + total_low * size
    q, n = exp_reduced_f32(-high, -low)
    y, m = logistic_parts_f32(q, n, x < ZERO_F32)
    return scaled(select(x < EXP_LOWEST_F32, EXP_LOWEST_F32, x) * y, m)
