"""Square roots, rounding to integers and remainders, in float32 and float64."""

from typing import Any

from ..bits import division_rest, round_down, round_to_even, round_to_zero, round_up, select, square_root
from .exponential_f32 import ONE_F32, ZERO_F32


def sqrt_f32(x: Any) -> Any:
    """The square root, correctly rounded; NaN below 0."""
    return square_root(x)


def rsqrt_f32(x: Any) -> Any:
    """1 / sqrt(x); infinite at 0, NaN below."""
    return ONE_F32 / square_root(x)


def floor_f32(x: Any) -> Any:
    """The largest integer not above x."""
    return round_down(x)


def ceil_f32(x: Any) -> Any:
    """The smallest integer not below x."""
    return round_up(x)


def trunc_f32(x: Any) -> Any:
    """x without its fraction."""
    return round_to_zero(x)


def round_f32(x: Any) -> Any:
    """The nearest integer, halves to even."""
    return round_to_even(x)


def fmod_f32(x: Any, y: Any) -> Any:
    """The remainder of the division that rounds to zero, exactly: it has the sign of x. Not vectorised."""
    return division_rest(x, y)


def remainder_f32(x: Any, y: Any) -> Any:
    """The remainder of the division that rounds down: it has the sign of y, as in Python. Not vectorised."""
    rest = division_rest(x, y)
    return select((rest != ZERO_F32) & ((rest < ZERO_F32) != (y < ZERO_F32)), rest + y, rest)


def sqrt_f64(x: Any) -> Any:
    """The square root, correctly rounded; NaN below 0."""
    return square_root(x)


def rsqrt_f64(x: Any) -> Any:
    """1 / sqrt(x); infinite at 0, NaN below."""
    return 1.0 / square_root(x)


def floor_f64(x: Any) -> Any:
    """The largest integer not above x."""
    return round_down(x)


def ceil_f64(x: Any) -> Any:
    """The smallest integer not below x."""
    return round_up(x)


def trunc_f64(x: Any) -> Any:
    """x without its fraction."""
    return round_to_zero(x)


def round_f64(x: Any) -> Any:
    """The nearest integer, halves to even."""
    return round_to_even(x)


def fmod_f64(x: Any, y: Any) -> Any:
    """The remainder of the division that rounds to zero, exactly: it has the sign of x. Not vectorised."""
    return division_rest(x, y)


def remainder_f64(x: Any, y: Any) -> Any:
    """The remainder of the division that rounds down: it has the sign of y, as in Python. Not vectorised."""
    rest = division_rest(x, y)
    return select((rest != 0.0) & ((rest < 0.0) != (y < 0.0)), rest + y, rest)
