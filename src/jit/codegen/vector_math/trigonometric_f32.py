"""Sine, cosine and tangent in float32, for arguments of any size.

The argument is reduced by Payne and Hanek's method ("Radian reduction for trigonometric functions", 1983): the
mantissa, an integer, times those bits of 1 / (2 pi) that decide the angle, in 64-bit integers. The same operations
serve all arguments, so there is nothing to branch on. Near zero they take multiples of pi / 2 from the argument instead
(Cody and Waite, "Software Manual for the Elementary Functions", 1980): kernels ask whether all elements of a block are
there, and then call the functions that do that only, `*_near`. All give the same bits.
"""

from typing import Any

import numpy as np

from ..bits import (
    float_to_bits_f32,
    float_to_bits_f64,
    horner,
    magnitude,
    mul_add,
    select,
    shift_right_logical,
    wrap_i64,
)
from .exponential_f32 import HALF_F32, INFINITY_F32, NAN_F32, ONE_F32

# 1 / (2 pi) in binary behind 24 zero bits, 64 bits a word
TURN_0_F32 = 0x28BE60DB93
TURN_1_F32 = -0x6EFAB580F62A0B83
TURN_2_F32 = 0x4D377036D8A5664F
TURN_3_F32 = 0x10E4107F9458EAF7
TURN_4_F32 = -0x510EA79236E47170
# 2 pi / 2^64
TURN_UNIT_F32 = 3.406121580086554e-19

# Below this, multiples of the first 33 bits of pi / 2 are exact in float64.
NEAR_F32 = np.float32(1048576.0)
QUARTERS_F32 = 0.6366197723675814
HALF_PI_HIGH_F32 = 1.5707963267341256
HALF_PI_LOW_F32 = 6.077100506506192e-11
# Adding 1.5 * 2^52 leaves the nearest integer in the low bits of the sum.
WIDE_ROUNDER_F32 = 6755399441055744.0

# sin(r) = r + r z S(z), cos(r) = 1 - z / 2 + z^2 C(z), z = r^2
SIN_F32 = tuple(
    np.float32(c)
    for c in (
        2.8042914e-06,
        -0.00019850291,
        0.008333373,
        -0.16666667,
    )
)
COS_F32 = tuple(
    np.float32(c)
    for c in (
        2.4432959e-05,
        -0.0013887313,
        0.041666646,
    )
)

# sin(r) = r S(z), cos(r) = C(z), in float64
SIN_WIDE_F32 = (
    2.7173151202152137e-06,
    -0.00019839199028123808,
    0.008333328772447053,
    -0.16666666631495602,
    0.99999999999566,
)
COS_WIDE_F32 = (
    2.4379510953998243e-05,
    -0.0013886614691832559,
    0.04166661658984753,
    -0.49999999613897406,
    0.9999999999523631,
)


def angle_near_f32(size: Any) -> Any:
    """(r, n) as `angle_reduced_f32` gives them, n plus a multiple of 4, for 0 <= size < NEAR_F32."""
    wide = np.float64(size)
    shifted = mul_add(wide, QUARTERS_F32, WIDE_ROUNDER_F32)
    n = shifted - WIDE_ROUNDER_F32
    return mul_add(-n, HALF_PI_LOW_F32, mul_add(-n, HALF_PI_HIGH_F32, wide)), float_to_bits_f64(shifted)


def angle_reduced_f32(size: Any) -> Any:
    """(r, n) with size = r + n pi / 2 up to whole turns, |r| <= pi / 4, r in float64; for finite size >= 0."""
    bits = float_to_bits_f32(size)
    mantissa = (bits & 0x7FFFFF) | 0x800000
    # size = mantissa 2^(exponent - 150): the bits of 1 / (2 pi) from here on give the fraction of a turn.
    offset = (bits >> 23) - 126
    offset = select(offset < 0, 0, offset)
    shift = offset & 63
    complement = 63 - shift
    first = offset < 64
    second = offset < 128
    word_0 = select(first, TURN_0_F32, select(second, TURN_1_F32, TURN_2_F32))
    word_1 = select(first, TURN_1_F32, select(second, TURN_2_F32, TURN_3_F32))
    word_2 = select(first, TURN_2_F32, select(second, TURN_3_F32, TURN_4_F32))
    high = wrap_i64(word_0 << shift) | shift_right_logical(shift_right_logical(word_1, 1), complement)
    low = wrap_i64(word_1 << shift) | shift_right_logical(shift_right_logical(word_2, 1), complement)
    # The product modulo 2^96, without its last 32 bits.
    turn = wrap_i64((mantissa * shift_right_logical(high, 32)) << 32) + mantissa * (high & 0xFFFFFFFF)
    turn = wrap_i64(turn + shift_right_logical(mantissa * shift_right_logical(low, 32), 32))
    n = (shift_right_logical(turn, 61) + 1) >> 1
    r = np.float64(wrap_i64(turn - (n << 62))) * TURN_UNIT_F32
    near = size < NEAR_F32
    near_r, near_n = angle_near_f32(size)
    return select(near, near_r, r), select(near, near_n, n)


def sine_reduced_f32(r: Any, n: Any) -> Any:
    """sin(r + n pi / 2), for |r| <= pi / 4."""
    r = np.float32(r)
    z = r * r
    sine = mul_add(r * z, horner(z, SIN_F32), r)
    cosine = mul_add(z * z, horner(z, COS_F32), mul_add(z, -HALF_F32, ONE_F32))
    y = select((n & 1) == 0, sine, cosine)
    return select((n & 2) == 0, y, -y)


def signed_f32(x: Any, y: Any) -> Any:
    """y with its sign changed where x is below 0."""
    return select(float_to_bits_f32(x) < 0, -y, y)


def sin_f32(x: Any) -> Any:
    """The sine; NaN at infinity."""
    size = magnitude(x)
    r, n = angle_reduced_f32(size)
    return select(size < INFINITY_F32, signed_f32(x, sine_reduced_f32(r, n)), NAN_F32)


def sin_near_f32(x: Any) -> Any:
    """The sine, for |x| < NEAR_F32."""
    r, n = angle_near_f32(magnitude(x))
    return signed_f32(x, sine_reduced_f32(r, n))


def cos_f32(x: Any) -> Any:
    """The cosine; NaN at infinity."""
    size = magnitude(x)
    r, n = angle_reduced_f32(size)
    return select(size < INFINITY_F32, sine_reduced_f32(r, n + 1), NAN_F32)


def cos_near_f32(x: Any) -> Any:
    """The cosine, for |x| < NEAR_F32."""
    r, n = angle_near_f32(magnitude(x))
    return sine_reduced_f32(r, n + 1)


def tangent_reduced_f32(r: Any, n: Any) -> Any:
    """tan(r + n pi / 2), for |r| <= pi / 4."""
    z = r * r
    sine = r * horner(z, SIN_WIDE_F32)
    cosine = horner(z, COS_WIDE_F32)
    even = (n & 1) == 0
    return np.float32(select(even, sine, -cosine) / select(even, cosine, sine))


def tan_f32(x: Any) -> Any:
    """The tangent; NaN at infinity."""
    size = magnitude(x)
    r, n = angle_reduced_f32(size)
    return select(size < INFINITY_F32, signed_f32(x, tangent_reduced_f32(r, n)), NAN_F32)


def tan_near_f32(x: Any) -> Any:
    """The tangent, for |x| < NEAR_F32."""
    r, n = angle_near_f32(magnitude(x))
    return signed_f32(x, tangent_reduced_f32(r, n))
