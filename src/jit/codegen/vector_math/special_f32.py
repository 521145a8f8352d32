"""Special functions in float32: inverse error function, normal distribution, sinc, modified Bessel functions.

Branch-free, on scalars. Coefficients come from benchmarks/vector_math_coefficients.py.
"""

from typing import Any

import numpy as np

from ..bits import (
    bits_to_float_f32,
    copy_sign,
    float_to_bits_f32,
    horner,
    integer_to_f32,
    magnitude,
    mul_add,
    round_to_even,
    scaled,
    select,
    square_root,
)
from .activation_f32 import NORMAL_F32, NORMAL_LIMIT_F32, tail_reduced_f32
from .exponential_f32 import (
    EXP_F32,
    HALF_F32,
    INFINITY_F32,
    LN2_HIGH_F32,
    LN2_LOW_F32,
    LOG2E_F32,
    LOG_F32,
    NAN_F32,
    ONE_F32,
    ROUNDER_BITS_F32,
    ROUNDER_F32,
    SQRT_HALF_BITS_F32,
    ZERO_F32,
)

# erfinv(x) = x + x N(w - 5/2) where w = -log(1 - x^2) is below 5, and x + x F(sqrt(w) - 3) beyond (the variables of
# Giles, "Approximating the erfinv function", 2010)
ERFINV_NEAR_F32 = tuple(
    np.float32(c)
    for c in (
        -8.8554355e-09,
        2.3086224e-08,
        4.671394e-07,
        -3.460663e-06,
        -4.96835e-06,
        0.00021833497,
        -0.0012527318,
        -0.0041773706,
        0.24664028,
        0.50140935,
    )
)
ERFINV_FAR_F32 = tuple(
    np.float32(c)
    for c in (
        0.0001268868,
        -0.00031485505,
        -7.520605e-05,
        0.0014905687,
        -0.0035866632,
        0.0056856424,
        -0.0076397415,
        0.009445242,
        1.0016751,
        1.8329768,
    )
)

# sin(pi y) / (pi y) = 1 + z S(z), z = y^2, |y| <= 1/2
SINC_F32 = tuple(
    np.float32(c)
    for c in (
        -4.052207e-06,
        -0.0022255422,
        0.026110955,
        -0.19074649,
        0.81174207,
        -1.644934,
    )
)

# Phi(-a) e^(a^2 / 2) = N(v) / (a + K), v = (a - C) / (a + K), Phi the normal distribution function
NORMAL_TAIL_K_F32 = np.float32(4.242640495300293)
NORMAL_TAIL_C_F32 = np.float32(3.2526912689208984)
NORMAL_TAIL_LIMIT_F32 = np.float32(14.5)
NORMAL_TAIL_0_F32 = np.float32(0.8497516)
NORMAL_TAIL_F32 = tuple(
    np.float32(c)
    for c in (
        6.703183e-05,
        -0.00066732045,
        -0.00025708167,
        0.0056750393,
        -0.0062920405,
        -0.03245261,
        0.1587311,
        -0.38800707,
        0.6582487,
        -0.8458808,
    )
)

# I_0(x) = 1 + z N(z) and I_1(x) = x (1/2 + z N(z)), z = x^2, up to 5; beyond, e^-x I(x) = F(1 / x) / sqrt(x), where the
# last coefficient lacks a part of 1 / sqrt(2 pi)
BESSEL_NEAR_F32 = np.float32(5)
BESSEL_HIGHEST_F32 = np.float32(100)
BESSEL_LOW_F32 = np.float32(-2.8413057e-08)
I0_NEAR_F32 = tuple(
    np.float32(c)
    for c in (
        1.2523064e-14,
        2.2799063e-12,
        4.733354e-10,
        6.779258e-08,
        6.7818055e-06,
        0.00043402755,
        0.015625,
        0.25,
    )
)
I0_FAR_F32 = tuple(
    np.float32(c)
    for c in (
        -25.446304,
        15.850898,
        -3.3126729,
        0.401078,
        0.010524181,
        0.028500514,
        0.04986417,
        0.3989423,
    )
)
I1_NEAR_F32 = tuple(
    np.float32(c)
    for c in (
        6.9523723e-16,
        1.4242181e-13,
        3.3817525e-11,
        5.6491167e-09,
        6.781846e-07,
        5.4253414e-05,
        0.0026041667,
        0.0625,
    )
)
I1_FAR_F32 = tuple(
    np.float32(c)
    for c in (
        95.4264,
        -46.50161,
        5.8638268,
        -0.13417065,
        -0.11594985,
        -0.03611851,
        -0.046892032,
        -0.14960207,
        0.3989423,
    )
)


def erfinv_f32(x: Any) -> Any:
    """The inverse of the error function; infinite at +-1, NaN beyond."""
    size = magnitude(x)
    a = select(size < ONE_F32, size, ZERO_F32)
    bits = float_to_bits_f32((ONE_F32 - a) * (ONE_F32 + a))
    e = (bits - SQRT_HALF_BITS_F32) >> 23
    f = bits_to_float_f32(bits - (e << 23)) - ONE_F32
    square = f * f
    n = integer_to_f32(-e)
    w = mul_add(n, LN2_LOW_F32, mul_add(square, HALF_F32, -f * square * horner(f, LOG_F32)))
    w = mul_add(n, LN2_HIGH_F32, w - f)
    near = w < np.float32(5)
    v = select(near, w - np.float32(2.5), square_root(w) - np.float32(3))
    # One polynomial, whose coefficients are chosen.
    y = select(near, ERFINV_NEAR_F32[0], ERFINV_FAR_F32[0])
    for k in range(1, 10):
        y = mul_add(y, v, select(near, ERFINV_NEAR_F32[k], ERFINV_FAR_F32[k]))
    y = mul_add(a, y, a)
    return copy_sign(select(size < ONE_F32, y, select(size == ONE_F32, INFINITY_F32, NAN_F32)), x)


def sinc_f32(x: Any) -> Any:
    """sin(pi x) / (pi x), exactly 0 at whole numbers but 0, where it is 1; NaN at infinity."""
    n = round_to_even(x)
    y = x - n
    half = n * HALF_F32
    z = y * y
    value = mul_add(y * z, horner(z, SINC_F32), y) / select(x == ZERO_F32, ONE_F32, x)
    value = select(round_to_even(half) == half, value, -value)
    return select(x == ZERO_F32, ONE_F32, value)


def ndtr_f32(x: Any) -> Any:
    """The distribution function of the standard normal distribution."""
    size = magnitude(x)
    a = select(size > NORMAL_TAIL_LIMIT_F32, NORMAL_TAIL_LIMIT_F32, size)
    value, rest = tail_reduced_f32(
        a, NORMAL_TAIL_K_F32, NORMAL_TAIL_C_F32, NORMAL_TAIL_F32, NORMAL_TAIL_0_F32, HALF_F32, ONE_F32
    )
    tail = value * rest
    near_zero = mul_add(x, horner(x * x, NORMAL_F32), HALF_F32)
    return select(size < NORMAL_LIMIT_F32, near_zero, select(x > ZERO_F32, ONE_F32 - tail, tail))


def bessel_near_f32(size: Any, coefficients: Any, constant: Any) -> Any:
    """constant + z N(z), z the square of size in two parts."""
    z = size * size
    upper = horner(z, coefficients)
    return mul_add(z, upper, mul_add(mul_add(size, size, -z), upper, constant))


def bessel_far_f32(size: Any, coefficients: Any) -> Any:
    """(y, d) with F(1 / size) / sqrt(size) = y (1 + d), for finite size."""
    w = ONE_F32 / square_root(size)
    product = size * w
    rest = mul_add(-product, w, ONE_F32) - mul_add(size, w, -product) * w
    return horner(w * w, coefficients) * w, mul_add(rest, HALF_F32, BESSEL_LOW_F32)


def bessel_exponential_f32(size: Any) -> Any:
    """(q, n) with e^size = (1 + q) 2^n, for numbers up to the highest."""
    shifted = mul_add(size, LOG2E_F32, ROUNDER_F32)
    n = shifted - ROUNDER_F32
    r = mul_add(-n, LN2_LOW_F32, mul_add(-n, LN2_HIGH_F32, size))
    return mul_add(r * r, horner(r, EXP_F32), r), float_to_bits_f32(shifted) - ROUNDER_BITS_F32


def bessel_scaled_f32(size: Any, near: Any, coefficients: Any) -> Any:
    """e^-size I(size), from I(size) where that is near."""
    inside = size < BESSEL_NEAR_F32
    far, rest = bessel_far_f32(select(inside, BESSEL_NEAR_F32, size), coefficients)
    q, n = bessel_exponential_f32(select(inside, -size, ZERO_F32))
    y = select(inside, near, far)
    y = scaled(mul_add(y, select(inside, q, rest), y), n)
    return select(size < INFINITY_F32, y, select(size == INFINITY_F32, ZERO_F32, size))


def bessel_unscaled_f32(size: Any, near: Any, coefficients: Any) -> Any:
    """I(size), from its value where that is near."""
    bounded = select(size > BESSEL_HIGHEST_F32, BESSEL_HIGHEST_F32, size)
    inside = bounded < BESSEL_NEAR_F32
    far, rest = bessel_far_f32(select(inside, BESSEL_NEAR_F32, bounded), coefficients)
    q, n = bessel_exponential_f32(bounded)
    return select(inside, near, scaled(mul_add(far, mul_add(rest, q, q + rest), far), n))


def i0e_f32(x: Any) -> Any:
    """e^-|x| times the modified Bessel function of the first kind of order 0."""
    size = magnitude(x)
    return bessel_scaled_f32(size, bessel_near_f32(size, I0_NEAR_F32, ONE_F32), I0_FAR_F32)


def i0_f32(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 0."""
    size = magnitude(x)
    return bessel_unscaled_f32(size, bessel_near_f32(size, I0_NEAR_F32, ONE_F32), I0_FAR_F32)


def i1e_f32(x: Any) -> Any:
    """e^-|x| times the modified Bessel function of the first kind of order 1."""
    size = magnitude(x)
    return copy_sign(bessel_scaled_f32(size, size * bessel_near_f32(size, I1_NEAR_F32, HALF_F32), I1_FAR_F32), x)


def i1_f32(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 1."""
    size = magnitude(x)
    return copy_sign(bessel_unscaled_f32(size, size * bessel_near_f32(size, I1_NEAR_F32, HALF_F32), I1_FAR_F32), x)
