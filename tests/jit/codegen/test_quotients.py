"""Quotients by numbers that are known, computed with the nearest inverse: the same bits as quotients."""

import ingot
import numpy as np
import pytest
from ingot import jit

DIVISORS = (255.0, 3.0, 0.1, -7.0, 1.9999999, 1e9, 0.0, 2.0, float("inf"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_are_those_of_quotients(dtype: type) -> None:
    random = np.random.default_rng(0)
    info = np.finfo(dtype)
    wide = random.standard_normal(20000) * 2.0 ** random.integers(info.minexp // 2, info.maxexp - 8, 20000)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, 1.0]
    x = np.concatenate([wide.astype(dtype), np.arange(4001, dtype=dtype), np.array(special, dtype)])
    tiny = np.array([info.tiny, info.smallest_subnormal, -info.tiny / 2, info.tiny * 300], dtype)

    def quotients(x: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        return tuple(x / divisor for divisor in DIVISORS)

    compiled = jit.trace(quotients, ingot.from_numpy(x[:8]), check_trace=False)
    with np.errstate(all="ignore"):
        for result, divisor in zip(compiled(ingot.from_numpy(x)), DIVISORS, strict=True):
            wanted = x / dtype(divisor)
            np.testing.assert_array_equal(result.numpy(), wanted)
            np.testing.assert_array_equal(np.signbit(result.numpy()), np.signbit(wanted))
        for result, divisor in zip(compiled(ingot.from_numpy(tiny)), DIVISORS, strict=True):
            np.testing.assert_allclose(result.numpy(), tiny / dtype(divisor), rtol=0, atol=info.smallest_subnormal)
    assert "quotient_of" in compiled.kernel_source()
    with jit.executor("python"):
        for result, divisor in zip(compiled(ingot.from_numpy(x[-40:-8])), DIVISORS, strict=True):
            np.testing.assert_array_equal(result.numpy(), (ingot.from_numpy(x[-40:-8]) / divisor).numpy())
