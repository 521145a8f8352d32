"""Activations and the functions they rest on (tanh, erf, erfc) in float64.

Branch-free, on scalars. Where a result is a product with a vanishing exponential, its power of two is multiplied in
last, so that subnormal results are rounded once.
"""

from typing import Any

from ..bits import (
    bits_to_float_f64,
    copy_sign,
    float_to_bits_f64,
    fma,
    horner,
    magnitude,
    mul_add,
    power_of_two_f64,
    select,
)
from .exponential_f64 import (
    EXP2_F64,
    EXP_F64,
    EXP_LOWEST_F64,
    LN2_HIGH_F64,
    LN2_LOW_F64,
    LOG2E_F64,
    ROUNDER_BITS_F64,
    ROUNDER_F64,
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

# erfc(a) = e^(-a T(a)) from 1 to the limit, where erf rounds to 1
ERF_TAIL_F64 = (
    -1.5077504542552418e-12,
    6.700690413350159e-11,
    -1.3943068665320354e-09,
    1.8038693990303705e-08,
    -1.6230362124414157e-07,
    1.0740017431602272e-06,
    -5.367324677636644e-06,
    2.029113658024276e-05,
    -5.587992246194144e-05,
    9.515745869731003e-05,
    -4.368256192229572e-07,
    -0.0005753478398801227,
    0.0016932911502783418,
    -0.0002125498240968513,
    -0.01912468225400746,
    0.10277071988554679,
    0.6366202777468873,
    1.1283791081379932,
)
ERF_LIMIT_F64 = 6.0

# erfcx(a) = N(v) / (a + K), v = (a - C) / (a + K)
ERFC_K_F64 = 4.0
ERFC_C_F64 = 3.0
ERFC_LIMIT_F64 = 27.6
ERFCX_0_F64 = 1.2530080582697296
ERFCX_F64 = (
    -5.9303134465536e-09,
    4.484918786965143e-09,
    3.9146972608882346e-08,
    -7.265477686921955e-08,
    -1.6670989544063165e-07,
    5.280534352068857e-07,
    7.103905004899001e-07,
    -3.2937489311888583e-06,
    -2.6161689859041116e-06,
    2.124982377874082e-05,
    -8.210225580360372e-07,
    -0.00013590561311743044,
    0.00018680749889700592,
    0.0006475311887283613,
    -0.002738464918827323,
    0.0018752464326325447,
    0.01737768908515388,
    -0.08499782158417425,
    0.23678573611212392,
    -0.4909007342804156,
    0.8212427967254524,
    -1.1498101143896464,
    1.372865885402664,
    -1.411232682081741,
)

# The same for Phi(-a) e^(a^2 / 2), Phi the normal distribution function
GELU_K_F64 = 5.656854152679443
GELU_C_F64 = 4.242640495300293
GELU_LIMIT_F64 = 39.0
GELU_0_F64 = 0.8860105055549036
GELU_F64 = (
    2.923866971454538e-09,
    1.3086502791139068e-08,
    -6.239705465182246e-09,
    -8.349031789766298e-08,
    -5.076018362714059e-08,
    4.1868269167675064e-07,
    4.282933048688927e-07,
    -2.365512729503634e-06,
    -1.799005332411069e-06,
    1.5044395119518467e-05,
    -6.035117586078222e-07,
    -9.610591368949936e-05,
    0.0001320998438106069,
    0.00045787484240774516,
    -0.0019363886287981755,
    0.0013260008368851319,
    0.012287877861764891,
    -0.06010252990423586,
    0.1674327954667277,
    -0.34711924243229775,
    0.5807063690043461,
    -0.8130385609465369,
    0.9707628141111044,
    -0.997892228105378,
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

# tanh(x) = x + x z N(z) / D(z), z = x^2, for |x| <= 0.55
TANH_NEAR_F64 = 0.55
TANH_NUMERATOR_F64 = (
    -0.9643742410467495,
    -99.2241768413269,
    -1613.3757077437797,
)
TANH_DENOMINATOR_F64 = (
    1.0,
    112.74284517464903,
    2233.723379816496,
    4840.127123231339,
)
TWO_LOG2E_F64 = 2.8853900817779268

# Below and above these the logistic function rounds to 0 and to 1, also where x times it is subnormal.
LOGISTIC_LOWEST_F64 = -760.0
LOGISTIC_HIGHEST_F64 = 100.0

# 2 log2(e) sqrt(2 / pi) (x + 0.044715 x^3) = x (x^2 + A) K, A and K in two parts each
GELU_TANH_LOWEST_F64 = -23.0
GELU_TANH_HIGHEST_F64 = 10.0
GELU_TANH_A_F64 = 22.363860002236386
GELU_TANH_A_LOW_F64 = -3.734262393014057e-17
GELU_TANH_K_F64 = 0.1029432395800235
GELU_TANH_K_LOW_F64 = -5.978177400718744e-18


def tanh_f64(x: Any) -> Any:
    """The hyperbolic tangent: a quotient of polynomials near 0, beyond 1 - 2 / (e^(2|x|) + 1), with one division."""
    size = magnitude(x)
    size = select(size > 22.0, 22.0, size)
    shifted = mul_add(size, TWO_LOG2E_F64, ROUNDER_F64)
    r = mul_add(size, TWO_LOG2E_F64, ROUNDER_F64 - shifted)
    scale = power_of_two_f64(float_to_bits_f64(shifted) - ROUNDER_BITS_F64)
    e = mul_add(scale * r, horner(r, EXP2_F64), scale)
    square = size * size
    near = size < TANH_NEAR_F64
    numerator = select(near, square * horner(square, TANH_NUMERATOR_F64), -2.0)
    denominator = select(near, horner(square, TANH_DENOMINATOR_F64), e + 1.0)
    base = select(near, size, 1.0)
    return copy_sign(mul_add(base, numerator / denominator, base), x)


def logistic_quotient_f64(q: Any, n: Any, times: Any) -> Any:
    """times / (1 + e^-x), from e^-x = (1 + q) 2^-n."""
    half = n >> 1
    first = power_of_two_f64(half)
    second = power_of_two_f64(n - half)
    scale = first * second
    # Added in the order that loses least; the power of two comes last, so that subnormal results are rounded once.
    larger = select(scale > 1.0, scale, 1.0)
    smaller = select(scale > 1.0, 1.0, scale)
    return times / (larger + (smaller + q)) * first * second


def logistic_f64(x: Any, times: Any) -> Any:
    """times / (1 + e^-x)."""
    bounded = select(x < LOGISTIC_LOWEST_F64, LOGISTIC_LOWEST_F64, x)
    bounded = select(bounded > LOGISTIC_HIGHEST_F64, LOGISTIC_HIGHEST_F64, bounded)
    shifted = mul_add(bounded, LOG2E_F64, ROUNDER_F64)
    n = shifted - ROUNDER_F64
    r = mul_add(n, LN2_LOW_F64, mul_add(n, LN2_HIGH_F64, -bounded))
    q = mul_add(r * r, horner(r, EXP_F64), r)
    return logistic_quotient_f64(q, float_to_bits_f64(shifted) - ROUNDER_BITS_F64, times)


def sigmoid_f64(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return logistic_f64(x, 1.0)


def silu_f64(x: Any) -> Any:
    """x / (1 + e^-x); NaN, as of a product with 0, at -inf."""
    return logistic_f64(x, select(x < LOGISTIC_LOWEST_F64, x * 0.0, x))


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
    a = select(size > ERF_LIMIT_F64, ERF_LIMIT_F64, size)
    near_zero = mul_add(a, horner(a * a, ERF_F64), a)
    q, n = exp_reduced_f64(-a * horner(a, ERF_TAIL_F64), 0.0)
    scale = power_of_two_f64(n)
    return copy_sign(select(a < 1.0, near_zero, 1.0 - mul_add(scale, q, scale)), x)


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
    """x (1 + tanh(u)) / 2 = x / (1 + e^(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3); NaN at -inf."""
    bounded = select(x < GELU_TANH_LOWEST_F64, GELU_TANH_LOWEST_F64, x)
    bounded = select(bounded > GELU_TANH_HIGHEST_F64, GELU_TANH_HIGHEST_F64, bounded)
    # x (x^2 + A) in two parts: e^(2u) magnifies its relative error up to a thousandfold.
    square = bounded * bounded
    total = square + GELU_TANH_A_F64
    part = total - square
    square_low = fma(bounded, bounded, -square)
    total_low = (square - (total - part)) + (GELU_TANH_A_F64 - part) + (square_low + GELU_TANH_A_LOW_F64)
    high = total * bounded
    low = mul_add(total_low, bounded, fma(total, bounded, -high))
    shifted = mul_add(high, GELU_TANH_K_F64, ROUNDER_F64)
    r = fma(high, -GELU_TANH_K_F64, shifted - ROUNDER_F64)
    r = r - mul_add(high, GELU_TANH_K_LOW_F64, low * GELU_TANH_K_F64)
    n = float_to_bits_f64(shifted) - ROUNDER_BITS_F64
    return logistic_quotient_f64(r * horner(r, EXP2_F64), n, select(x < GELU_TANH_LOWEST_F64, x * 0.0, x))
