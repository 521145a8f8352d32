"""Sine, cosine, tangent and their inverses in float64, for arguments of any size.

The argument is reduced by Payne and Hanek's method ("Radian reduction for trigonometric functions", 1983): the
mantissa, an integer, times those bits of 1 / (2 pi) that decide the angle, in 64-bit integers. Near zero are forms
that take multiples of pi / 2 from the argument, `*_near`, as in float32.
"""

from typing import Any

import numpy as np

from ..bits import (
    bits_to_float_f64,
    copy_sign,
    float_to_bits_f64,
    fma,
    horner,
    integer_to_f64,
    inverse_turn_word,
    magnitude,
    mul_add,
    select,
    shift_right_logical,
    square_root,
    wrap_i64,
)
from .exponential_f64 import quotient_reduced_f64

WORD_F64 = 0xFFFFFFFF
# An exponent that puts a 32-bit integer into the last bits of a float64: 2^52.
INTEGER_BITS_F64 = 0x4330000000000000
INTEGER_BIAS_F64 = 4503599627370496.0
TWO_PI_F64 = 6.283185307179586
TWO_PI_LOW_F64 = 2.4492935982947064e-16
PI_F64 = 3.141592653589793
PI_LOW_F64 = 1.2246467991473532e-16
HALF_PI_F64 = 1.5707963267948966
HALF_PI_LOW_F64 = 6.123233995736766e-17
QUARTER_PI_F64 = 0.7853981633974483
QUARTER_PI_LOW_F64 = 3.061616997868383e-17

# Below this, multiples of 33 bits of pi / 2 are exact.
NEAR_F64 = 1048576.0
QUARTERS_F64 = 0.6366197723675814
HALF_PI_PARTS_F64 = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
# Adding 1.5 * 2^52 leaves the nearest integer in the low bits of the sum.
WIDE_ROUNDER_F64 = 6755399441055744.0

# sin(r) = r + r z S(z), cos(r) = 1 - z / 2 + z^2 C(z), z = r^2
SIN_F64 = (
    -7.482999218181403e-13,
    1.605620857970713e-10,
    -2.5052085636975783e-08,
    2.755731912795134e-06,
    -0.00019841269841054624,
    0.008333333333333099,
    -0.16666666666666666,
)
COS_F64 = (
    -1.1359910841452633e-11,
    2.087572895583548e-09,
    -2.75573143995603e-07,
    2.480158728966939e-05,
    -0.0013888888888874474,
    0.0416666666666666,
)

# asin(x) = x + x z A(z), z = x^2 <= 1 / 4
ASIN_F64 = (
    0.032646572130530065,
    -0.021026248444574975,
    0.02172551870551596,
    0.0036994839576567767,
    0.010781941627249384,
    0.011398639264261132,
    0.013980850030880702,
    0.017351609924312582,
    0.022372215079690966,
    0.03038194270557106,
    0.04464285717462959,
    0.07499999999970823,
    0.1666666666666676,
)

# atan(t) = t + t z A(z), z = t^2, |t| <= 0.6
ATAN_F64 = (
    -0.0029528663986397165,
    0.0116456679827101,
    -0.023564825568869723,
    0.03407814676970412,
    -0.041537351318275004,
    0.0471434669169403,
    -0.05254453872930076,
    0.05881171004873546,
    -0.06666549242869296,
    0.07692299355665347,
    -0.0909090868322061,
    0.11111111098142128,
    -0.1428571428546979,
    0.19999999999997692,
    -0.33333333333333326,
)


def word_reduced_f64(word: int) -> Any:
    """An integer from 0 to 2^32 - 1 as a float64; few processors have a conversion instruction for vectors of them."""
    return bits_to_float_f64(word | INTEGER_BITS_F64) - INTEGER_BIAS_F64


def angle_near_f64(size: Any) -> Any:
    """(r, r_low, n) as `angle_reduced_f64` gives them, n plus a multiple of 4, for 0 <= size < NEAR_F64."""
    shifted = mul_add(size, QUARTERS_F64, WIDE_ROUNDER_F64)
    n = shifted - WIDE_ROUNDER_F64
    first = mul_add(-n, HALF_PI_PARTS_F64[0], size)
    part = n * HALF_PI_PARTS_F64[1]
    second = first - part
    back = second - first
    error = (first - (second - back)) - (part + back)
    rest = mul_add(-n, HALF_PI_PARTS_F64[3], mul_add(-n, HALF_PI_PARTS_F64[2], error))
    r = second + rest
    return r, (second - r) + rest, float_to_bits_f64(shifted)


def angle_reduced_f64(size: Any) -> Any:
    """(r, r_low, n) with size = r + r_low + n pi / 2 up to whole turns, |r| <= pi / 4; for finite size >= 0."""
    bits = float_to_bits_f64(size)
    mantissa_low = bits & WORD_F64
    mantissa_high = shift_right_logical(bits, 32) & 0xFFFFF | 0x100000
    # size = mantissa 2^(exponent - 1075): the bits of 1 / (2 pi) from here on give the fraction of a turn.
    offset = (shift_right_logical(bits, 52) & 0x7FF) - 1022
    offset = select(offset < 0, 0, offset)
    index = offset >> 6
    shift = offset & 63
    complement = 63 - shift
    word_0 = inverse_turn_word(index)
    word_1 = inverse_turn_word(index + 1)
    word_2 = inverse_turn_word(index + 2)
    word_3 = inverse_turn_word(index + 3)
    first = wrap_i64(word_0 << shift) | shift_right_logical(shift_right_logical(word_1, 1), complement)
    second = wrap_i64(word_1 << shift) | shift_right_logical(shift_right_logical(word_2, 1), complement)
    third = wrap_i64(word_2 << shift) | shift_right_logical(shift_right_logical(word_3, 1), complement)
    # Digits of 32 bits, digit k of weight 2^-32(k + 1).
    digit_0 = shift_right_logical(first, 32)
    digit_1 = first & WORD_F64
    digit_2 = shift_right_logical(second, 32)
    digit_3 = second & WORD_F64
    digit_4 = shift_right_logical(third, 32)
    digit_5 = third & WORD_F64
    # Columns of the product in units of 2^-64 and 2^-128, with their carries; whole turns overflow and are gone.
    low_3 = wrap_i64(mantissa_low * digit_3)
    column_3 = mantissa_high * digit_4 + (low_3 & WORD_F64)
    column_3 = (
        column_3 + shift_right_logical(mantissa_low * digit_4, 32) + shift_right_logical(mantissa_high * digit_5, 32)
    )
    high_3 = mantissa_high * digit_3
    column_2 = shift_right_logical(column_3, 32) + (high_3 & WORD_F64) + shift_right_logical(low_3, 32)
    low_2 = wrap_i64(mantissa_low * digit_2)
    column_2 = column_2 + (low_2 & WORD_F64)
    turn = wrap_i64(mantissa_high * digit_2) + shift_right_logical(high_3, 32) + shift_right_logical(low_2, 32)
    turn = turn + wrap_i64(mantissa_low * digit_1) + wrap_i64((mantissa_high * digit_1 + mantissa_low * digit_0) << 32)
    turn = wrap_i64(turn + shift_right_logical(column_2, 32))
    n = (shift_right_logical(turn, 61) + 1) >> 1
    rest = wrap_i64(turn - (n << 62))
    # The signed fraction as four 32-bit digits, summed from the least.
    upper = integer_to_f64(rest >> 32) * 2.3283064365386963e-10
    lower = word_reduced_f64(rest & WORD_F64) * 5.421010862427522e-20
    last = mul_add(word_reduced_f64(column_3 & WORD_F64), 2.938735877055719e-39, 0.0)
    last = mul_add(word_reduced_f64(column_2 & WORD_F64), 1.262177448353619e-29, last)
    total = upper + lower
    total_low = (upper - total) + lower + last
    fraction = total + total_low
    fraction_low = (total - fraction) + total_low
    r = fraction * TWO_PI_F64
    r_low = mul_add(fraction, TWO_PI_LOW_F64, mul_add(fraction_low, TWO_PI_F64, fma(fraction, TWO_PI_F64, -r)))
    near = size < NEAR_F64
    near_r, near_low, near_n = angle_near_f64(size)
    return select(near, near_r, r), select(near, near_low, r_low), select(near, near_n, n)


def sine_pair_f64(r: Any, r_low: Any) -> Any:
    """sin(r + r_low) in two parts, |r| <= pi / 4."""
    z = r * r
    correction = mul_add(r * z, horner(z, SIN_F64), r_low * mul_add(z, -0.5, 1.0))
    sine = r + correction
    return sine, (r - sine) + correction


def cosine_pair_f64(r: Any, r_low: Any) -> Any:
    """cos(r + r_low) in two parts, |r| <= pi / 4."""
    z = r * r
    half = 0.5 * z
    base = 1.0 - half
    # The square's own rounding error counts as well.
    square_low = mul_add(r, r, -z)
    correction = (1.0 - base) - half + mul_add(z * z, horner(z, COS_F64), -mul_add(0.5, square_low, r * r_low))
    cosine = base + correction
    return cosine, (base - cosine) + correction


def sine_reduced_f64(r: Any, r_low: Any, n: Any) -> Any:
    """sin(r + r_low + n pi / 2), for |r| <= pi / 4."""
    sine, _ = sine_pair_f64(r, r_low)
    cosine, _ = cosine_pair_f64(r, r_low)
    y = select((n & 1) == 0, sine, cosine)
    return select((n & 2) == 0, y, -y)


def signed_f64(x: Any, y: Any) -> Any:
    """y with its sign changed where x is below 0."""
    return select(float_to_bits_f64(x) < 0, -y, y)


def sin_f64(x: Any) -> Any:
    """The sine; NaN at infinity."""
    size = magnitude(x)
    r, r_low, n = angle_reduced_f64(size)
    return select(size < np.inf, signed_f64(x, sine_reduced_f64(r, r_low, n)), np.nan)


def sin_near_f64(x: Any) -> Any:
    """The sine, for |x| < NEAR_F64."""
    r, r_low, n = angle_near_f64(magnitude(x))
    return signed_f64(x, sine_reduced_f64(r, r_low, n))


def cos_f64(x: Any) -> Any:
    """The cosine; NaN at infinity."""
    size = magnitude(x)
    r, r_low, n = angle_reduced_f64(size)
    return select(size < np.inf, sine_reduced_f64(r, r_low, n + 1), np.nan)


def cos_near_f64(x: Any) -> Any:
    """The cosine, for |x| < NEAR_F64."""
    r, r_low, n = angle_near_f64(magnitude(x))
    return sine_reduced_f64(r, r_low, n + 1)


def tangent_reduced_f64(r: Any, r_low: Any, n: Any) -> Any:
    """tan(r + r_low + n pi / 2), for |r| <= pi / 4."""
    sine, sine_low = sine_pair_f64(r, r_low)
    cosine, cosine_low = cosine_pair_f64(r, r_low)
    even = (n & 1) == 0
    return quotient_reduced_f64(
        select(even, sine, -cosine),
        select(even, sine_low, -cosine_low),
        select(even, cosine, sine),
        select(even, cosine_low, sine_low),
    )


def tan_f64(x: Any) -> Any:
    """The tangent; NaN at infinity."""
    size = magnitude(x)
    r, r_low, n = angle_reduced_f64(size)
    y = select(size < 1e-290, size, tangent_reduced_f64(r, r_low, n))
    return select(size < np.inf, signed_f64(x, y), np.nan)


def tan_near_f64(x: Any) -> Any:
    """The tangent, for |x| < NEAR_F64."""
    size = magnitude(x)
    r, r_low, n = angle_near_f64(size)
    return signed_f64(x, select(size < 1e-290, size, tangent_reduced_f64(r, r_low, n)))


def asin_reduced_f64(size: Any) -> Any:
    """(root, rest, large): asin(size) is root + rest, or pi / 2 - 2 (root + rest) where 1/2 < size <= 1."""
    large = size > 0.5
    z = select(large, mul_add(size, -0.5, 0.5), size * size)
    root = select(large, square_root(z), size)
    return root, root * z * horner(z, ASIN_F64), large


def asin_f64(x: Any) -> Any:
    """The inverse sine; NaN beyond +-1."""
    size = magnitude(x)
    root, rest, large = asin_reduced_f64(size)
    # pi / 4 - root is exact or nearly so, and everything else is small.
    far = (QUARTER_PI_F64 - root - root) + (HALF_PI_LOW_F64 - 2.0 * rest) + QUARTER_PI_F64
    return copy_sign(select(size <= 1.0, select(large, far, root + rest), np.nan), x)


def acos_f64(x: Any) -> Any:
    """The inverse cosine; NaN beyond +-1."""
    size = magnitude(x)
    root, rest, large = asin_reduced_f64(size)
    negative = x < 0.0
    far = select(negative, PI_F64 - 2.0 * (root + (rest - HALF_PI_LOW_F64)), 2.0 * (root + rest))
    near = HALF_PI_F64 - (x + (select(negative, -rest, rest) - HALF_PI_LOW_F64))
    return select(size <= 1.0, select(large, far, near), np.nan)


def atan_reduced_f64(numerator: Any, denominator: Any) -> Any:
    """atan(numerator / denominator) for 0 <= numerator <= denominator."""
    # atan(q) = pi / 4 + atan((q - 1) / (q + 1))
    large = numerator > 0.6 * denominator
    t = select(large, numerator - denominator, numerator) / select(large, numerator + denominator, denominator)
    z = t * t
    rest = mul_add(t * z, horner(z, ATAN_F64), select(large, QUARTER_PI_LOW_F64, 0.0))
    return select(large, QUARTER_PI_F64 + (t + rest), t + rest)


def atan_f64(x: Any) -> Any:
    """The inverse tangent."""
    size = magnitude(x)
    large = size > 1.0
    y = atan_reduced_f64(select(large, 1.0, size), select(large, size, 1.0))
    y = select(large, HALF_PI_F64 - (y - HALF_PI_LOW_F64), y)
    return copy_sign(select(x == x, y, x), x)


def atan2_f64(y: Any, x: Any) -> Any:
    """The angle of the point (x, y), from -pi to pi, with the special cases of C99's atan2 (annex F.10.1.4)."""
    a = magnitude(y)
    b = magnitude(x)
    steep = a > b
    high = select(steep, a, b)
    low = select(steep, b, a)
    # Two zeros give 0 and two infinities pi / 4.
    both_infinite = low == np.inf
    low = select(both_infinite, 1.0, low)
    high = select(both_infinite | (high == 0.0), 1.0, high)
    # Sums of the largest numbers would overflow, and products of the smallest are rounded too much to be compared.
    scale = select(high > 1e300, 0.25, select(high < 1e-200, 1.2676506002282294e30, 1.0))
    angle = atan_reduced_f64(low * scale, high * scale)
    angle = select(steep, HALF_PI_F64 - (angle - HALF_PI_LOW_F64), angle)
    angle = select(float_to_bits_f64(x) < 0, PI_F64 - (angle - PI_LOW_F64), angle)
    return select((x != x) | (y != y), x + y, copy_sign(angle, y))
