"""The primitives of vector mathematics: the compiled form and the Python form compute the same."""

import doctest
import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from ingot.jit.codegen import bits

F32 = [np.float32(v) for v in (0.0, -0.0, 1.0, -1.5, 2.5, 3.0e38, 1e-45, np.inf, -np.inf, np.nan, 0.1, -7.0)]
F64 = [np.float64(v) for v in (0.0, -0.0, 1.0, -1.5, 2.5, 1e308, 5e-324, np.inf, -np.inf, np.nan, 0.1, -7.0)]
INTEGERS = [0, 1, -1, 12345, -(1 << 31), (1 << 31) - 1]


def same(a: Any, b: Any) -> bool:
    """Equal, with the sign of zero, and NaN equal to NaN."""
    return bool(np.array_equal(a, b, equal_nan=True) and (a != 0 or np.signbit(a) == np.signbit(b)))


def all_same(first: Any, second: Any) -> bool:
    """Two tuples that are the same, value for value."""
    return all(same(a, b) for a, b in zip(first, second, strict=True))


@numba.njit(error_model="numpy")
def unary(x: Any) -> Any:
    """All primitives of one float."""
    return (
        bits.magnitude(x),
        bits.square_root(x),
        bits.round_down(x),
        bits.round_up(x),
        bits.round_to_zero(x),
        bits.round_to_even(x),
    )


@numba.njit(error_model="numpy")
def binary(x: Any, y: Any) -> Any:
    """All primitives of two floats."""
    return bits.copy_sign(x, y), bits.division_rest(x, y), bits.select(x < y, x, y), bits.fma(x, y, x)


@numba.njit(error_model="numpy")
def scaled(x: Any, n: Any) -> Any:
    return bits.scaled(x, n)


def test_scaling_rounds_once() -> None:
    with np.errstate(all="ignore"):
        for x, n in itertools.product((*F32, np.float32(1.9999999)), (-252, -150, -149, -127, -1, 0, 1, 127, 128, 254)):
            exact = np.float32(np.ldexp(np.float64(x), n))
            assert same(scaled(x, n), exact) and same(bits.scaled(x, n), exact), (x, n)


@pytest.mark.parametrize("values", [F32, F64], ids=["f32", "f64"])
def test_floats(values: list[Any]) -> None:
    with np.errstate(all="ignore"):
        for x in values:
            assert all_same(unary(x), unary.py_func(x)), x
        for x, y in itertools.product(values, repeat=2):
            assert all_same(binary(x, y), binary.py_func(x, y)), (x, y)


@numba.njit
def of_integer(n: int) -> Any:
    """All primitives of an integer that fits in 32 bits."""
    return (
        bits.bits_to_float_f32(n),
        bits.bits_to_float_f64(n),
        bits.integer_to_f32(n),
        bits.integer_to_f64(n),
        bits.wrap_i64(n),
        bits.shift_right_logical(n, 7),
        bits.select(n > 3, n, 17),
    )


@numba.njit
def to_bits(single: Any, double: Any) -> tuple[int, int]:
    """Both bit patterns."""
    return bits.float_to_bits_f32(single), bits.float_to_bits_f64(double)


@numba.njit
def small_integers(n: int) -> Any:
    """The primitives of a small integer."""
    return bits.power_of_two_f32(n), bits.power_of_two_f64(n), bits.inverse_turn_word(bits.select(n < 0, 0, n) % 20)


def test_integers() -> None:
    for n in INTEGERS:
        assert all_same(of_integer(n), of_integer.py_func(n)), n
    for single, double in zip(F32, F64, strict=True):
        assert to_bits(single, double) == to_bits.py_func(single, double)
        assert same(bits.bits_to_float_f32(bits.float_to_bits_f32(single)), single)
        assert same(bits.bits_to_float_f64(bits.float_to_bits_f64(double)), double)
    for n in (-126, -1, 0, 1, 19, 127, 128):
        assert small_integers(n) == small_integers.py_func(n)
        assert small_integers(n)[1] == 2.0**n
        assert small_integers(n)[0] == (np.inf if n == 128 else 2.0**n)


@numba.njit
def wrapping(a: int, b: int) -> int:
    """A product that leaves 64 bits."""
    return bits.wrap_i64(bits.wrap_i64(a * b) << 5)


def test_integers_wrap_alike() -> None:
    assert wrapping(0x123456789ABCDEF, 0x7EDCBA987654321) == wrapping.py_func(0x123456789ABCDEF, 0x7EDCBA987654321)


COEFFICIENTS = {np.float32: tuple(map(np.float32, (1, -2, 3, 0.5))), np.float64: (1.0, -2.0, 3.0, 0.5)}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_horner_is_a_polynomial(kind: Any) -> None:
    coefficients = COEFFICIENTS[kind]

    @numba.njit
    def polynomial(x: Any) -> Any:
        return bits.horner(x, coefficients), bits.mul_add(x, x, x)

    x = kind(1.5)
    expected = (np.polyval([float(c) for c in coefficients], 1.5), 1.5 * 1.5 + 1.5)
    assert polynomial(x) == polynomial.py_func(x) == expected
    assert all(isinstance(v, kind) for v in polynomial.py_func(x))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_fma_rounds_once(kind: Callable[[float], Any]) -> None:
    random = np.random.default_rng(5)
    for _ in range(300):
        a, b = (kind(v) for v in random.normal(0, 1, 2))
        c = kind(-float(a) * float(b) * (1 + random.normal(0, 1e-9)))
        got = bits.fma(a, b, c)
        assert got == binary_fma(a, b, c)
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        above, below = np.nextafter(got, kind(np.inf)), np.nextafter(got, kind(-np.inf))
        nearest = min(abs(Fraction(float(v)) - exact) for v in (got, above, below))
        assert abs(Fraction(float(got)) - exact) == nearest


@numba.njit
def binary_fma(a: Any, b: Any, c: Any) -> Any:
    """The compiled fma."""
    return bits.fma(a, b, c)


@numba.njit
def log_gamma(x: Any) -> Any:
    """The C library's lgamma."""
    return bits.c_lgamma(x)


@pytest.mark.parametrize("x", [0.0, -3.0, 5.0, 1e308, -2.5, np.inf, -np.inf])
def test_lgamma(x: float) -> None:
    assert np.isclose(log_gamma(x), bits.c_lgamma(x), rtol=1e-14)


def test_select_keeps_numpy_division() -> None:
    with np.errstate(all="ignore"):
        assert np.isinf(1.0 / bits.select(True, 0.0, 1.0))


def test_examples() -> None:
    results = doctest.testmod(bits)
    assert results.attempted > 20
    assert results.failed == 0
