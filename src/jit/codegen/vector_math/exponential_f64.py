"""Exponentials, logarithms, powers and hyperbolic functions in float64.

Branch-free, on scalars; see the package for how the code generator uses them. Coefficients come from
benchmarks/vector_math_coefficients.py. Range reductions: Cody and Waite, "Software Manual for the Elementary
Functions", 1980. Logarithms: log(1 + f) = 2 atanh(f / (2 + f)), as in Sun's fdlibm (1993). Sums and products in two
parts: Dekker, "A floating-point technique for extending the available precision", 1971.
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
    magnitude,
    mul_add,
    power_of_two_f64,
    round_to_even,
    select,
    square_root,
)

SMALLEST_NORMAL_F64 = 2.2250738585072014e-308
LOG2E_F64 = 1.4426950408889634
LOG2E_LOW_F64 = 2.0355273740931033e-17
LOG10E_F64 = 0.4342944819032518
LOG10E_LOW_F64 = 1.098319650216765e-17
# ln 2 in two parts; the first has 32 bits, so its product with an exponent is exact.
LN2_HIGH_F64 = 0.6931471803691238
LN2_LOW_F64 = 1.9082149292705877e-10
# Adding 1.5 * 2^52 leaves the nearest integer in the low bits of the sum.
ROUNDER_F64 = 6755399441055744.0
ROUNDER_BITS_F64 = 0x4338000000000000
# Beyond these, exp times any float64 is 0 or exp is infinity; powers of two split in halves stay normal.
EXP_LOWEST_F64 = -1400.0
EXP_HIGHEST_F64 = 711.0
SQRT_HALF_BITS_F64 = 0x3FE6A09E667F3BCD
# 2 / 3 beyond its float64
TWO_THIRDS_F64 = 0.6666666666666666
TWO_THIRDS_LOW_F64 = 3.700743415417188e-17

# exp(r) = 1 + r + r^2 E(r)
EXP_F64 = (
    2.511362428189189e-08,
    2.763160181533893e-07,
    2.755723026539365e-06,
    2.480148899762996e-05,
    0.00019841269900911293,
    0.0013888888947992206,
    0.008333333333315337,
    0.041666666666511296,
    0.16666666666666685,
    0.5000000000000013,
)

# 2^r = 1 + r E(r)
EXP2_F64 = (
    2.4878355940529485e-11,
    4.46529822255972e-10,
    7.055563184346611e-09,
    1.017798726938883e-07,
    1.3215484838219715e-06,
    1.5252734032853694e-05,
    0.00015403530396084538,
    0.0013333558146168413,
    0.00961812910762678,
    0.05550410866482292,
    0.24022650695910075,
    0.6931471805599453,
)

# sinh(x) = x + x z S(z), z = x^2, |x| <= 1
SINH_F64 = (
    7.766116399612206e-13,
    1.6056993221520094e-10,
    2.5052126949654677e-08,
    2.7557319129808467e-06,
    0.0001984126984153284,
    0.008333333333332969,
    0.16666666666666669,
)

# log(1 + f) = 2 s + s z L(z), s = f / (2 + f), z = s^2
LOG_F64 = (
    0.14797717768965168,
    0.1531388061893051,
    0.18183570705400584,
    0.22222198455340214,
    0.28571428743492044,
    0.3999999999940987,
    0.6666666666666735,
)

# log(1 + f) = 2 s + s z (2 / 3 + z L(z))
LOG_PAIR_F64 = (
    0.11981523641264534,
    0.11675819224472819,
    0.13336262063909235,
    0.15384558504713866,
    0.1818181884273756,
    0.22222222217800094,
    0.2857142857144381,
    0.3999999999999998,
)


def exp_reduced_f64(x: Any, tail: Any) -> Any:
    """exp(x + tail) as (q, n) with exp(x + tail) = (1 + q) 2^n and |q| < 0.42; tail is small beside x."""
    x = select(x < EXP_LOWEST_F64, EXP_LOWEST_F64, x)
    x = select(x > EXP_HIGHEST_F64, EXP_HIGHEST_F64, x)
    shifted = mul_add(x + tail, LOG2E_F64, ROUNDER_F64)
    n = shifted - ROUNDER_F64
    high = mul_add(-n, LN2_HIGH_F64, x)
    low = mul_add(-n, LN2_LOW_F64, tail)
    r = high + low
    r_low = (high - r) + low
    q = r + mul_add(r * r, horner(r, EXP_F64), r_low)
    return q, float_to_bits_f64(shifted) - ROUNDER_BITS_F64


def exp_f64(x: Any) -> Any:
    """e^x."""
    q, n = exp_reduced_f64(x, 0.0)
    half = n >> 1
    return (q + 1.0) * power_of_two_f64(half) * power_of_two_f64(n - half)


def exp2_f64(x: Any) -> Any:
    """2^x."""
    x = select(x < EXP_LOWEST_F64, EXP_LOWEST_F64, x)
    x = select(x > 1025.0, 1025.0, x)
    shifted = x + ROUNDER_F64
    r = x - (shifted - ROUNDER_F64)
    n = float_to_bits_f64(shifted) - ROUNDER_BITS_F64
    half = n >> 1
    return mul_add(r, horner(r, EXP2_F64), 1.0) * power_of_two_f64(half) * power_of_two_f64(n - half)


def expm1_pair_f64(x: Any) -> Any:
    """(e^x - 1) / 4 in two parts, for x at most 711."""
    q, n = exp_reduced_f64(x, 0.0)
    # A quarter, so that 2^1025 (1 + q) does not overflow early.
    scale = power_of_two_f64(select(n < -100, -100, n) - 2)
    base = scale - 0.25
    t = mul_add(scale, q, base)
    return t, mul_add(scale, q, base - t)


def expm1_f64(x: Any) -> Any:
    """e^x - 1, accurate near 0."""
    t, _ = expm1_pair_f64(x)
    y = select(x > 710.0, np.inf, t * 4.0)
    return select(magnitude(x) < 1e-290, x, y)


def quotient_reduced_f64(high: Any, low: Any, divisor: Any, divisor_low: Any) -> Any:
    """(high + low) / (divisor + divisor_low), finite, to little more than half a unit in the last place."""
    reciprocal = 1.0 / divisor
    rough = high * reciprocal
    rest = mul_add(-rough, divisor, high) + mul_add(-rough, divisor_low, low)
    return mul_add(rest, reciprocal, rough)


def log_reduced_f64(x: Any) -> Any:
    """(f, e) with x = (1 + f) 2^e and sqrt(1/2) <= 1 + f < sqrt(2), for positive finite x, subnormal ones too."""
    subnormal = x < SMALLEST_NORMAL_F64
    bits = float_to_bits_f64(select(subnormal, x * 4503599627370496.0, x))
    e = (bits - SQRT_HALF_BITS_F64) >> 52
    f = bits_to_float_f64(bits - (e << 52)) - 1.0
    return f, e - select(subnormal, 52, 0)


def log_special_f64(x: Any, y: Any) -> Any:
    """y where x is positive and finite, and what a logarithm gives elsewhere."""
    y = select(x == np.inf, x, y)
    return select(x > 0.0, y, select(x == 0.0, -np.inf, np.nan))


def log_sum_reduced_f64(f: Any, n: Any, correction: Any) -> Any:
    """n log(2) + log(1 + f) + correction, the last being small beside f."""
    s = f / (f + 2.0)
    z = s * s
    half_square = 0.5 * f * f
    rest = mul_add(n, LN2_LOW_F64, mul_add(s, mul_add(z, horner(z, LOG_F64), half_square), correction))
    return mul_add(n, LN2_HIGH_F64, f - (half_square - rest))


def log_f64(x: Any) -> Any:
    """The natural logarithm; -inf at 0, NaN below."""
    f, e = log_reduced_f64(x)
    return log_special_f64(x, log_sum_reduced_f64(f, integer_to_f64(e), 0.0))


def log1p_sum_reduced_f64(x: Any, tail: Any) -> Any:
    """log(1 + x + tail) for finite x > -1 that is normal, the tail being small beside x."""
    e = (float_to_bits_f64(x + 1.0) - SQRT_HALF_BITS_F64) >> 52
    # 1 + f = (1 + x) 2^-e; for x near 0, e is 0 and f is x. e reaches 1024, so 2^-e is taken in two steps.
    half = e >> 1
    scale = power_of_two_f64(-half)
    rest = power_of_two_f64(half - e)
    base = scale * rest - 1.0
    shrunk = x * scale * rest
    f = shrunk + base
    lost = select(magnitude(shrunk) > magnitude(base), (shrunk - f) + base, (base - f) + shrunk)
    return log_sum_reduced_f64(f, integer_to_f64(e), mul_add(tail * scale, rest, lost) / (f + 1.0))


def log1p_f64(x: Any) -> Any:
    """log(1 + x), accurate near 0; -inf at -1, NaN below."""
    y = log1p_sum_reduced_f64(x, 0.0)
    y = select(magnitude(x) < SMALLEST_NORMAL_F64, x, y)
    y = select(x == np.inf, x, y)
    return select(x > -1.0, y, select(x == -1.0, -np.inf, np.nan))


def log_pair_f64(x: Any) -> Any:
    """The natural logarithm of a positive finite number as a sum of two float64s, to about 65 bits."""
    f, e = log_reduced_f64(x)
    n = integer_to_f64(e)
    divisor = f + 2.0
    reciprocal = 1.0 / divisor
    s = f * reciprocal
    s_low = (fma(-s, divisor, f) - s * ((2.0 - divisor) + f)) * reciprocal
    z = s * s
    z_low = mul_add(s + s, s_low, fma(s, s, -z))
    tail = z * horner(z, LOG_PAIR_F64)
    factor = tail + TWO_THIRDS_F64
    factor_low = (TWO_THIRDS_F64 - factor) + tail + TWO_THIRDS_LOW_F64
    product = z * factor
    product_low = mul_add(z, factor_low, mul_add(z_low, factor, fma(z, factor, -product)))
    term = s * product
    term_low = mul_add(s, product_low, mul_add(s_low, product, fma(s, product, -term)))
    double = s + s
    total = double + term
    total_low = (double - total) + term + (term_low + (s_low + s_low))
    whole = n * LN2_HIGH_F64
    high = whole + total
    low = (whole - high) + total + mul_add(n, LN2_LOW_F64, total_low)
    sum_ = high + low
    return sum_, (high - sum_) + low


def log2_f64(x: Any) -> Any:
    """The base-2 logarithm; -inf at 0, NaN below."""
    high, low = log_pair_f64(x)
    y = high * LOG2E_F64
    y = y + (fma(high, LOG2E_F64, -y) + mul_add(high, LOG2E_LOW_F64, low * LOG2E_F64))
    return log_special_f64(x, y)


def log10_f64(x: Any) -> Any:
    """The base-10 logarithm; -inf at 0, NaN below."""
    high, low = log_pair_f64(x)
    y = high * LOG10E_F64
    y = y + (fma(high, LOG10E_F64, -y) + mul_add(high, LOG10E_LOW_F64, low * LOG10E_F64))
    return log_special_f64(x, y)


def pow_f64(x: Any, y: Any) -> Any:
    """x^y with the special cases of C99's pow (annex F.10.4.4)."""
    size = magnitude(x)
    high, low = log_pair_f64(size)
    high = select(size == 0.0, -np.inf, high)
    high = select(size == np.inf, np.inf, high)
    product = y * high
    product_low = mul_add(y, low, fma(y, high, -product))
    # Infinities leave NaN in the low part.
    product_low = select(magnitude(product) < 1500.0, product_low, 0.0)
    q, n = exp_reduced_f64(product, product_low)
    power = n >> 1
    result = (q + 1.0) * power_of_two_f64(power) * power_of_two_f64(n - power)
    is_integer = round_to_even(y) == y
    half = y * 0.5
    is_odd = is_integer & (round_to_even(half) != half)
    result = select((float_to_bits_f64(x) < 0) & is_odd, -result, result)
    result = select((x < 0.0) & (size != np.inf) & (not is_integer), np.nan, result)
    result = select((x != x) | (y != y), x + y, result)
    one = (y == 0.0) | (x == 1.0) | ((size == 1.0) & (magnitude(y) == np.inf))
    return select(one, 1.0, result)


def cbrt_f64(x: Any) -> Any:
    """The real cube root: that of a float64 from logarithm and exponential, and one step of Halley's iteration."""
    size = magnitude(x)
    subnormal = size < SMALLEST_NORMAL_F64
    scaled = select(subnormal, size * 18014398509481984.0, size)
    f, e = log_reduced_f64(scaled)
    q, n = exp_reduced_f64(log_sum_reduced_f64(f, integer_to_f64(e), 0.0) * 0.3333333333333333, 0.0)
    y = mul_add(power_of_two_f64(n), q, power_of_two_f64(n))
    # Newton's correction (y^3 - x) / (3 y^2), the residual in two parts.
    square = y * y
    square_low = fma(y, y, -square)
    cube = square * y
    residual = (cube - scaled) + mul_add(square_low, y, fma(square, y, -cube))
    y = y - residual / (3.0 * square)
    y = select(subnormal, y * 3.814697265625e-06, y)
    return copy_sign(select((size > 0.0) & (size < np.inf), y, size), x)


def sinh_f64(x: Any) -> Any:
    """The hyperbolic sine: an odd polynomial up to 1; beyond, with t = e^|x| - 1, (t + t / (t + 1)) / 2."""
    size = magnitude(x)
    t, low = expm1_pair_f64(select(size > 711.0, 711.0, size))
    y = 2.0 * (t + (t / mul_add(4.0, t, 1.0) + low))
    z = x * x
    near_zero = mul_add(size * z, horner(z, SINH_F64), size)
    return copy_sign(select(size < 1.0, near_zero, select(size > 710.6, np.inf, y)), x)


def cosh_f64(x: Any) -> Any:
    """The hyperbolic cosine: with e = e^|x| it is (e + 1 / e) / 2."""
    size = magnitude(x)
    q, n = exp_reduced_f64(size, 0.0)
    # A quarter of e, so that it does not overflow early.
    scale = power_of_two_f64(n - 2)
    e = mul_add(scale, q, scale)
    y = 2.0 * (e + (0.0625 / e + mul_add(scale, q, scale - e)))
    return select(size > 710.6, np.inf, y)


def asinh_f64(x: Any) -> Any:
    """The inverse hyperbolic sine: log(1 + u), u = |x| + x^2 / (1 + sqrt(1 + x^2)); log(|x|) + log(2) for large x."""
    size = magnitude(x)
    large = size > 1e8
    bounded = select(large, 1.0, size)
    u = mul_add(bounded, bounded / (square_root(mul_add(bounded, bounded, 1.0)) + 1.0), bounded)
    y = select(large, log_f64(size) + 0.6931471805599453, log1p_sum_reduced_f64(u, 0.0))
    return copy_sign(select(size < SMALLEST_NORMAL_F64, size, y), x)


def acosh_f64(x: Any) -> Any:
    """The inverse hyperbolic cosine: log(1 + u), u = t + sqrt(2t + t^2), t = x - 1; NaN below 1."""
    large = x > 1e8
    t = select(large, 1.0, x - 1.0)
    factor = t + 2.0
    product = t * factor
    root = square_root(product)
    u = t + root
    # u's rounding errors; t + 2 is x + 1 and loses at most a bit that does not matter.
    lost = select(t > root, (t - u) + root, (root - u) + t)
    product_low = fma(t, factor, -product) + fma(-root, root, product)
    tail = lost + select(t > 0.0, 0.5 * product_low / root, 0.0)
    y = select(large, log_f64(x) + 0.6931471805599453, log1p_sum_reduced_f64(u, tail))
    return select(x >= 1.0, y, np.nan)


def atanh_f64(x: Any) -> Any:
    """The inverse hyperbolic tangent: log(1 + u) / 2, u = 2|x| / (1 - |x|); infinite at +-1, NaN beyond."""
    size = magnitude(x)
    divisor = select(size < 1.0, 1.0 - size, 1.0)
    reciprocal = 1.0 / divisor
    u = (size + size) * reciprocal
    tail = (fma(-u, divisor, size + size) - u * ((1.0 - divisor) - size)) * reciprocal
    y = select(size < 1e-290, size, 0.5 * log1p_sum_reduced_f64(u, tail))
    return copy_sign(select(size < 1.0, y, select(size == 1.0, np.inf, np.nan)), x)
