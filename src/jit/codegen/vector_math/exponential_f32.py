"""Exponentials, logarithms and powers in float32.

Branch-free, on scalars; see the package for how the code generator uses them. Coefficients come from
benchmarks/vector_math_coefficients.py. Range reductions: Cody and Waite, "Software Manual for the Elementary
Functions", 1980.
"""

from typing import Any

import numpy as np

from ..bits import (
    bits_to_float_f32,
    float_to_bits_f32,
    horner,
    integer_to_f32,
    magnitude,
    mul_add,
    power_of_two_f32,
    scaled,
    select,
)

ZERO_F32 = np.float32(0)
HALF_F32 = np.float32(0.5)
ONE_F32 = np.float32(1)
TWO_F32 = np.float32(2)
INFINITY_F32 = np.float32(np.inf)
NAN_F32 = np.float32(np.nan)
SMALLEST_NORMAL_F32 = np.float32(1.1754943508222875e-38)
LOG2E_F32 = np.float32(1.4426950408889634)
# ln 2 in two parts; the first has 9 bits, so its product with an exponent is exact.
LN2_HIGH_F32 = np.float32(0.693359375)
LN2_LOW_F32 = np.float32(-2.1219444005469057e-4)
# Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
ROUNDER_F32 = np.float32(12582912.0)
ROUNDER_BITS_F32 = 0x4B400000
# Beyond these, exp times any float32 is 0 or exp is infinity; powers of two split in halves stay normal.
EXP_LOWEST_F32 = np.float32(-170)
EXP_HIGHEST_F32 = np.float32(90)
SQRT_HALF_BITS_F32 = 0x3F3504F3

# exp(r) = 1 + r + r^2 E(r)
EXP_F32 = tuple(
    np.float32(c)
    for c in (
        0.0013937848,
        0.008368968,
        0.041666433,
        0.16666518,
        0.5,
    )
)

# 2^r = 1 + r E(r)
EXP2_F32 = tuple(
    np.float32(c)
    for c in (
        0.00015593131,
        0.0013391834,
        0.009617565,
        0.055503577,
        0.24022655,
        0.6931472,
    )
)

# log(1 + f) = f - f^2 / 2 + f^3 L(f)
LOG_F32 = tuple(
    np.float32(c)
    for c in (
        -0.07637368,
        0.1276268,
        -0.13159479,
        0.14201505,
        -0.16623414,
        0.20001245,
        -0.2500082,
        0.3333333,
    )
)


def exp_reduced_f32(x: Any, tail: Any) -> Any:
    """exp(x + tail) as (q, n) with exp(x + tail) = (1 + q) 2^n and |q| < 0.42; tail is small beside x."""
    x = select(x < EXP_LOWEST_F32, EXP_LOWEST_F32, x)
    x = select(x > EXP_HIGHEST_F32, EXP_HIGHEST_F32, x)
    shifted = mul_add(x + tail, LOG2E_F32, ROUNDER_F32)
    n = shifted - ROUNDER_F32
    high = mul_add(-n, LN2_HIGH_F32, x)
    low = mul_add(-n, LN2_LOW_F32, tail)
    r = high + low
    r_low = (high - r) + low
    q = r + mul_add(r * r, horner(r, EXP_F32), r_low)
    return q, float_to_bits_f32(shifted) - ROUNDER_BITS_F32


def exp_range_f32(x: Any) -> Any:
    """exp(x) as (r, n) with exp(x) = e^r 2^n and |r| < 0.35."""
    x = select(x < EXP_LOWEST_F32, EXP_LOWEST_F32, x)
    x = select(x > EXP_HIGHEST_F32, EXP_HIGHEST_F32, x)
    shifted = mul_add(x, LOG2E_F32, ROUNDER_F32)
    n = shifted - ROUNDER_F32
    r = mul_add(-n, LN2_LOW_F32, mul_add(-n, LN2_HIGH_F32, x))
    return r, float_to_bits_f32(shifted) - ROUNDER_BITS_F32


def exp_parts_f32(x: Any) -> Any:
    """exp(x) as (q, n) with exp(x) = (1 + q) 2^n and |q| < 0.42; faster than `exp_reduced_f32`, q less exact."""
    r, n = exp_range_f32(x)
    return mul_add(r * r, horner(r, EXP_F32), r), n


def exp_f32(x: Any) -> Any:
    """e^x."""
    r, n = exp_range_f32(x)
    return scaled(mul_add(r, mul_add(r, horner(r, EXP_F32), ONE_F32), ONE_F32), n)


def exp2_f32(x: Any) -> Any:
    """2^x."""
    x = select(x < EXP_LOWEST_F32, EXP_LOWEST_F32, x)
    x = select(x > EXP_HIGHEST_F32 + EXP_HIGHEST_F32, EXP_HIGHEST_F32 + EXP_HIGHEST_F32, x)
    shifted = x + ROUNDER_F32
    r = x - (shifted - ROUNDER_F32)
    n = float_to_bits_f32(shifted) - ROUNDER_BITS_F32
    return scaled(mul_add(r, horner(r, EXP2_F32), ONE_F32), n)


def expm1_f32(x: Any) -> Any:
    """e^x - 1, accurate near 0."""
    q, n = exp_reduced_f32(x, ZERO_F32)
    # Half the scale, so that 2^128 (1 + q) / 2 does not overflow early.
    scale = power_of_two_f32(select(n < -60, -60, n) - 1)
    y = mul_add(scale, q, scale - HALF_F32) * TWO_F32
    y = select(x > np.float32(89), INFINITY_F32, y)
    return select(magnitude(x) < SMALLEST_NORMAL_F32 * np.float32(1e6), x, y)


def quotient_reduced_f32(high: Any, low: Any, divisor: Any, divisor_low: Any) -> Any:
    """(high + low) / (divisor + divisor_low), finite, to little more than half a unit in the last place."""
    reciprocal = ONE_F32 / divisor
    rough = high * reciprocal
    rest = mul_add(-rough, divisor, high) + mul_add(-rough, divisor_low, low)
    return mul_add(rest, reciprocal, rough)


def log_reduced_f32(x: Any) -> Any:
    """(f, e) with x = (1 + f) 2^e and sqrt(1/2) <= 1 + f < sqrt(2), for positive finite x, subnormal ones too."""
    subnormal = x < SMALLEST_NORMAL_F32
    bits = float_to_bits_f32(select(subnormal, x * np.float32(8388608), x))
    e = (bits - SQRT_HALF_BITS_F32) >> 23
    f = bits_to_float_f32(bits - (e << 23)) - ONE_F32
    return f, e - select(subnormal, 23, 0)


def log_special_f32(x: Any, y: Any) -> Any:
    """y where x is positive and finite, and what a logarithm gives elsewhere."""
    y = select(x == INFINITY_F32, x, y)
    return select(x > ZERO_F32, y, select(x == ZERO_F32, -INFINITY_F32, NAN_F32))


def log_f32(x: Any) -> Any:
    """The natural logarithm; -inf at 0, NaN below."""
    f, e = log_reduced_f32(x)
    n = integer_to_f32(e)
    square = f * f
    y = mul_add(n, LN2_LOW_F32, mul_add(square, -HALF_F32, f * square * horner(f, LOG_F32)))
    return log_special_f32(x, mul_add(n, LN2_HIGH_F32, f + y))


def log1p_f32(x: Any) -> Any:
    """log(1 + x), accurate near 0; -inf at -1, NaN below."""
    e = (float_to_bits_f32(x + ONE_F32) - SQRT_HALF_BITS_F32) >> 23
    # 1 + f = (1 + x) 2^-e; for x near 0, e is 0 and f is x. e reaches 128, so 2^-e is taken in two steps.
    half = e >> 1
    scale = power_of_two_f32(-half)
    rest = power_of_two_f32(half - e)
    f = mul_add(x * scale, rest, scale * rest - ONE_F32)
    n = integer_to_f32(e)
    square = f * f
    y = mul_add(n, LN2_LOW_F32, mul_add(square, -HALF_F32, f * square * horner(f, LOG_F32)))
    y = mul_add(n, LN2_HIGH_F32, f + y)
    y = select(magnitude(x) < SMALLEST_NORMAL_F32, x, y)
    y = select(x == INFINITY_F32, x, y)
    return select(x > -ONE_F32, y, select(x == -ONE_F32, -INFINITY_F32, NAN_F32))
