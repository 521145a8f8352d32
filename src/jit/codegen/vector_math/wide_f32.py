"""Float32 functions that work in float64, where float32 arithmetic would need two parts for each number.

Their only error to speak of is the final rounding. Half as many elements fit into a vector.
"""

from typing import Any

import numpy as np

from ..bits import (
    bits_to_float_f64,
    copy_sign,
    float_to_bits_f32,
    float_to_bits_f64,
    horner,
    integer_to_f64,
    magnitude,
    mul_add,
    power_of_two_f64,
    round_to_even,
    select,
    square_root,
)
from .exponential_f32 import HALF_F32, INFINITY_F32, NAN_F32, ONE_F32, ZERO_F32, log_special_f32

# Adding 1.5 * 2^52 leaves the nearest integer in the low bits of the sum.
ROUNDER_WIDE_F32 = 6755399441055744.0
ROUNDER_BITS_WIDE_F32 = 0x4338000000000000
SQRT_HALF_BITS_WIDE_F32 = 0x3FE6A09E667F3BCD
LN2_WIDE_F32 = 0.6931471805599453
LOG2E_WIDE_F32 = 1.4426950408889634
PI_WIDE_F32 = 3.141592653589793
HALF_PI_WIDE_F32 = 1.5707963267948966

# log2(1 + f) = s L(s^2), s = f / (2 + f)
LOG2_WIDE_F32 = (
    0.28293019824214766,
    0.31990363426060037,
    0.4122093017450998,
    0.5770779418842455,
    0.9617966941149818,
    2.885390081777849,
)

# 2^r
EXP2_WIDE_F32 = (
    1.531658379222839e-05,
    0.00015469864390098086,
    0.0013333422126685266,
    0.009618025188944796,
    0.05550410976738344,
    0.2402265121670095,
    0.6931471805348356,
    0.999999999959224,
)

# 2^r = 1 + r E(r)
EXPM1_WIDE_F32 = (
    1.5310190811134546e-05,
    0.00015461563210805867,
    0.0013333454154940648,
    0.009618056380289345,
    0.055504109291022515,
    0.24022650923701908,
    0.693147180553675,
)

# asin(x) = x A(x^2) for |x| <= 1/2
ASIN_WIDE_F32 = (
    0.03501365540705197,
    0.007170263135541988,
    0.024729693923962105,
    0.030089159051556364,
    0.04466229871629449,
    0.07499937117390307,
    0.1666666743835114,
    0.9999999999844823,
)

# atan(x) = x A(x^2) for |x| <= 0.6
ATAN_WIDE_F32 = (
    0.01631235545677569,
    -0.045088726202058144,
    0.07015115320195038,
    -0.08959637219782293,
    0.1109572845646317,
    -0.14284685930518454,
    0.19999965264885786,
    -0.3333333287961767,
    0.9999999999902308,
)


def log2_wide_f32(x: Any) -> Any:
    """log2 of a positive finite float32 in float64, to about 43 bits."""
    bits = float_to_bits_f64(np.float64(x))
    e = (bits - SQRT_HALF_BITS_WIDE_F32) >> 52
    f = bits_to_float_f64(bits - (e << 52)) - 1.0
    s = f / (f + 2.0)
    return mul_add(s, horner(s * s, LOG2_WIDE_F32), integer_to_f64(e))


def exp2_wide_f32(x: Any) -> Any:
    """2^x in float64 to about 34 bits; x beyond +-300 counts as that."""
    x = select(x < -300.0, -300.0, x)
    x = select(x > 300.0, 300.0, x)
    shifted = x + ROUNDER_WIDE_F32
    r = x - (shifted - ROUNDER_WIDE_F32)
    return horner(r, EXP2_WIDE_F32) * power_of_two_f64(float_to_bits_f64(shifted) - ROUNDER_BITS_WIDE_F32)


def expm1_wide_f32(x: Any) -> Any:
    """e^x - 1 in float64, for a float64 x between 0 and 200."""
    scaled = x * LOG2E_WIDE_F32
    shifted = scaled + ROUNDER_WIDE_F32
    r = scaled - (shifted - ROUNDER_WIDE_F32)
    scale = power_of_two_f64(float_to_bits_f64(shifted) - ROUNDER_BITS_WIDE_F32)
    return mul_add(scale * r, horner(r, EXPM1_WIDE_F32), scale - 1.0)


def log1p_wide_f32(x: Any) -> Any:
    """log(1 + x) in float64, for a finite float64 x >= 0, relatively accurate near 0."""
    e = (float_to_bits_f64(x + 1.0) - SQRT_HALF_BITS_WIDE_F32) >> 52
    scale = power_of_two_f64(-e)
    f = mul_add(x, scale, scale - 1.0)
    s = f / (f + 2.0)
    return mul_add(s, horner(s * s, LOG2_WIDE_F32), integer_to_f64(e)) * LN2_WIDE_F32


def log2_f32(x: Any) -> Any:
    """The base-2 logarithm; -inf at 0, NaN below."""
    return log_special_f32(x, np.float32(log2_wide_f32(x)))


def log10_f32(x: Any) -> Any:
    """The base-10 logarithm; -inf at 0, NaN below."""
    return log_special_f32(x, np.float32(log2_wide_f32(x) * 0.3010299956639812))


def cbrt_f32(x: Any) -> Any:
    """The real cube root."""
    size = magnitude(x)
    y = np.float32(exp2_wide_f32(log2_wide_f32(size) * 0.3333333333333333))
    y = select((size > ZERO_F32) & (size < INFINITY_F32), y, size)
    return copy_sign(y, x)


def pow_f32(x: Any, y: Any) -> Any:
    """x^y with the special cases of C99's pow (annex F.10.4.4)."""
    size = magnitude(x)
    logarithm = log2_wide_f32(size)
    logarithm = select(size == ZERO_F32, -np.inf, logarithm)
    logarithm = select(size == INFINITY_F32, np.inf, logarithm)
    wide = np.float64(y) * logarithm
    result = np.float32(exp2_wide_f32(wide))
    is_integer = round_to_even(y) == y
    half = y * HALF_F32
    is_odd = is_integer & (round_to_even(half) != half)
    negative = float_to_bits_f32(x) < 0
    result = select(negative & is_odd, -result, result)
    result = select((x < ZERO_F32) & (size != INFINITY_F32) & (not is_integer), NAN_F32, result)
    result = select((x != x) | (y != y), x + y, result)
    one = (y == ZERO_F32) | (x == ONE_F32) | ((size == ONE_F32) & (magnitude(y) == INFINITY_F32))
    return select(one, ONE_F32, result)


def sinh_f32(x: Any) -> Any:
    """The hyperbolic sine: with t = e^|x| - 1 it is (t + t / (t + 1)) / 2."""
    size = np.float64(magnitude(x))
    t = expm1_wide_f32(select(size > 100.0, 100.0, size))
    return copy_sign(np.float32(0.5 * (t + t / (t + 1.0))), x)


def cosh_f32(x: Any) -> Any:
    """The hyperbolic cosine: with e = e^|x| it is (e + 1 / e) / 2."""
    size = np.float64(magnitude(x))
    e = expm1_wide_f32(select(size > 100.0, 100.0, size)) + 1.0
    return np.float32(0.5 * (e + 1.0 / e))


def asinh_f32(x: Any) -> Any:
    """The inverse hyperbolic sine: log(1 + u), u = |x| + x^2 / (1 + sqrt(1 + x^2))."""
    size = magnitude(x)
    a = np.float64(size)
    square = a * a
    y = np.float32(log1p_wide_f32(a + square / (1.0 + square_root(1.0 + square))))
    return copy_sign(select(size < INFINITY_F32, y, size), x)


def acosh_f32(x: Any) -> Any:
    """The inverse hyperbolic cosine: log(1 + t + sqrt(2t + t^2)), t = x - 1; NaN below 1."""
    t = np.float64(x) - 1.0
    y = np.float32(log1p_wide_f32(t + square_root(t * (t + 2.0))))
    return select(x >= ONE_F32, select(x == INFINITY_F32, x, y), NAN_F32)


def atanh_f32(x: Any) -> Any:
    """The inverse hyperbolic tangent: log(1 + 2|x| / (1 - |x|)) / 2; infinite at +-1, NaN beyond."""
    size = magnitude(x)
    a = np.float64(size)
    y = np.float32(0.5 * log1p_wide_f32((a + a) / (1.0 - a)))
    y = select(size < ONE_F32, y, select(size == ONE_F32, INFINITY_F32, NAN_F32))
    return copy_sign(y, x)


def asin_wide_f32(size: Any) -> Any:
    """(y, large) in float64 with asin(size) = y, or pi / 2 - y where size > 1/2, for 0 <= size <= 1."""
    a = np.float64(size)
    large = a > 0.5
    z = select(large, mul_add(a, -0.5, 0.5), a * a)
    root = select(large, square_root(z), a)
    y = root * horner(z, ASIN_WIDE_F32)
    return select(large, y + y, y), large


def asin_f32(x: Any) -> Any:
    """The inverse sine; NaN beyond +-1."""
    size = magnitude(x)
    y, large = asin_wide_f32(size)
    return select(size <= ONE_F32, copy_sign(np.float32(select(large, HALF_PI_WIDE_F32 - y, y)), x), NAN_F32)


def acos_f32(x: Any) -> Any:
    """The inverse cosine; NaN beyond +-1."""
    size = magnitude(x)
    y, large = asin_wide_f32(size)
    # Far from 0 y is acos(|x|); near 0 it is asin(|x|).
    signed = select(x < ZERO_F32, -y, y)
    far = select(x < ZERO_F32, PI_WIDE_F32 - y, y)
    return select(size <= ONE_F32, np.float32(select(large, far, HALF_PI_WIDE_F32 - signed)), NAN_F32)


def atan_wide_f32(numerator: Any, denominator: Any) -> Any:
    """atan(numerator / denominator) for 0 <= numerator <= denominator in float64."""
    # atan(q) = pi / 4 + atan((q - 1) / (q + 1))
    large = numerator > 0.6 * denominator
    t = select(large, numerator - denominator, numerator) / select(large, numerator + denominator, denominator)
    return mul_add(t, horner(t * t, ATAN_WIDE_F32), select(large, 0.7853981633974483, 0.0))


def atan_f32(x: Any) -> Any:
    """The inverse tangent."""
    size = magnitude(x)
    a = np.float64(size)
    large = a > 1.0
    y = atan_wide_f32(select(large, 1.0, a), select(large, a, 1.0))
    y = select(large, HALF_PI_WIDE_F32 - y, y)
    return copy_sign(select(x == x, np.float32(y), x), x)


def atan2_f32(y: Any, x: Any) -> Any:
    """The angle of the point (x, y), from -pi to pi, with the special cases of C99's atan2 (annex F.10.1.4)."""
    a = np.float64(magnitude(y))
    b = np.float64(magnitude(x))
    steep = a > b
    high = select(steep, a, b)
    low = select(steep, b, a)
    # Two zeros give 0 and two infinities pi / 4.
    both_infinite = low == np.inf
    angle = atan_wide_f32(select(both_infinite, 1.0, low), select(both_infinite | (high == 0.0), 1.0, high))
    angle = select(steep, HALF_PI_WIDE_F32 - angle, angle)
    angle = select(float_to_bits_f32(x) < 0, PI_WIDE_F32 - angle, angle)
    return select((x != x) | (y != y), x + y, copy_sign(np.float32(angle), y))
