"""Activations and the functions they rest on (tanh, erf, erfc) in float32.

Branch-free, on scalars. Where a result is a product with a vanishing exponential, its power of two is multiplied in last, so
that subnormal results are rounded once.
"""

from typing import Any

import numpy as np

from ..bits import bits_to_float_f32, copy_sign, fma, float_to_bits_f32, horner, magnitude, mul_add, power_of_two_f32, select
from .exponential_f32 import (
    EXP_LOWEST_F32,
    HALF_F32,
    ONE_F32,
    TWO_F32,
    ZERO_F32,
    exp_f32,
    exp_reduced_f32,
    log1p_f32,
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

# erfcx(a) = N(t) / (a + 3), t = (a - 3) / (a + 3)
ERFCX_F32 = tuple(
    np.float32(c)
    for c in (
        -0.00031713623,
        -0.00047055562,
        0.0030775429,
        -0.0012360374,
        -0.02683988,
        0.1195317,
        -0.310466,
        0.590228,
        -0.8833945,
        1.0740069,
    )
)
ERFCX_K_F32 = np.float32(3)
ERFC_LIMIT_F32 = np.float32(10.6)


def tanh_f32(x: Any) -> Any:
    """The hyperbolic tangent: with t = e^(2|x|) - 1 it is t / (t + 2)."""
    size = magnitude(x)
    size = select(size > np.float32(20), np.float32(20), size)
    q, n = exp_reduced_f32(size + size, ZERO_F32)
    scale = power_of_two_f32(n)
    t = mul_add(scale, q, scale - ONE_F32)
    return copy_sign(t / (t + TWO_F32), x)


def sigmoid_f32(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    e = exp_f32(-magnitude(x))
    return select(x < ZERO_F32, e, ONE_F32) / (ONE_F32 + e)


def silu_f32(x: Any) -> Any:
    """x / (1 + e^-x); its limit, -0, at -inf."""
    q, n = exp_reduced_f32(-magnitude(x), ZERO_F32)
    half = n >> 1
    e = (q + ONE_F32) * power_of_two_f32(half)
    rest = power_of_two_f32(n - half)
    negative = x < ZERO_F32
    bounded = select(x < EXP_LOWEST_F32, EXP_LOWEST_F32, x)
    numerator = select(negative, bounded * e, x)
    return numerator / mul_add(e, rest, ONE_F32) * select(negative, rest, ONE_F32)


def erfc_reduced_f32(a: Any) -> Any:
    """erfc(a) as the product of two numbers, for 0 <= a <= 10.6."""
    w = ONE_F32 / (a + ERFCX_K_F32)
    scaled = horner(mul_add(ERFCX_K_F32 + ERFCX_K_F32, -w, ONE_F32), ERFCX_F32) * w
    # a^2 to more than 24 bits: the square of its 12 leading bits is exact, and the rest is small.
    leading = bits_to_float_f32(float_to_bits_f32(a) & -4096)
    q, n = exp_reduced_f32(-leading * leading, (leading - a) * (leading + a))
    half = n >> 1
    return mul_add(scaled, q, scaled) * power_of_two_f32(half), power_of_two_f32(n - half)


def erf_f32(x: Any) -> Any:
    """The error function."""
    size = magnitude(x)
    a = select(size > ERFC_LIMIT_F32, ERFC_LIMIT_F32, size)
    value, rest = erfc_reduced_f32(a)
    near_zero = mul_add(a, horner(a * a, ERF_F32), a)
    return copy_sign(select(a < ONE_F32, near_zero, ONE_F32 - value * rest), x)


def erfc_f32(x: Any) -> Any:
    """The complementary error function, 1 - erf(x), accurate where it vanishes."""
    size = magnitude(x)
    value, rest = erfc_reduced_f32(select(size > ERFC_LIMIT_F32, ERFC_LIMIT_F32, size))
    value = value * rest
    return select(x < ZERO_F32, TWO_F32 - value, value)


def gelu_f32(x: Any) -> Any:
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016); its limit, -0, at -inf."""
    size = magnitude(x)
    size = select(size > np.float32(14.9), np.float32(14.9), size)
    w = ONE_F32 / (size + np.float32(4.242640687119285))
    scaled = horner(mul_add(np.float32(8.48528137423857), -w, ONE_F32), ERFCX_F32) * (w * np.float32(0.7071067811865476))
    leading = bits_to_float_f32(float_to_bits_f32(size) & -4096)
    q, n = exp_reduced_f32(-HALF_F32 * leading * leading, HALF_F32 * (leading - size) * (leading + size))
    half = n >> 1
    tail = mul_add(scaled, q, scaled) * size * power_of_two_f32(half) * power_of_two_f32(n - half)
    return copy_sign(select(x > ZERO_F32, x - tail, tail), x)
