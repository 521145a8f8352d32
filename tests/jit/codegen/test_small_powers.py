"""Powers with small constant exponents are products, roots and quotients, with the special values of these."""

import ingot
import numpy as np
import pytest
from ingot import jit

EXPONENTS = (2, 3, 4, 5, 6, 7, 8, 0.5, -0.5, -1, -2, -3, -7, 2.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_powers(dtype: type) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny, np.finfo(dtype).max, -np.finfo(dtype).max, 1.0, -1.0]
    x = np.concatenate([special, np.random.default_rng(3).standard_normal(1000) * 10.0]).astype(dtype)
    compiled = jit.trace(lambda t: tuple(t**e for e in EXPONENTS), ingot.from_numpy(x), check_trace=False)
    results = compiled(ingot.from_numpy(x))
    with np.errstate(all="ignore"):
        for exponent, result in zip(EXPONENTS, results, strict=True):
            wide = x.astype(np.longdouble)
            exact = (np.sqrt(wide) if exponent == 0.5 else np.power(wide, exponent)).astype(dtype)
            np.testing.assert_allclose(result.numpy(), exact, rtol=4 * float(np.finfo(dtype).eps))
            assert np.array_equal(np.signbit(result.numpy()[:2]), np.signbit(exact[:2]))


@pytest.mark.parametrize("dtype", [ingot.float32, ingot.float64])
def test_no_power_is_computed_for_them(dtype: ingot.dtype) -> None:
    compiled = jit.trace(
        lambda t: t**2 + t**3 + t**5 + t**6 + t**0.5 + t**-0.5 + t**-1, ingot.ones(3, dtype=dtype), check_trace=False
    )
    assert "pow_f" not in compiled.kernel_source()
