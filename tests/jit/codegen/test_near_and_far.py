"""Angles and quotients of any size: blocks in which all are near take a shorter way to the same bits."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "angles": lambda x, y: (x.sin(), x.cos(), x.tan(), (x + y).sin()),
    "remainders": lambda x, y: (ingot.fmod(x, y), x % y, x // y),
    "by a number": lambda x, y: (ingot.fmod(x, 1.3), x % -0.7, x // 3e-5 % y),
}
FAR = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40, 2.0**20, -(2.0**20), 1e6, 3e7, -1e22, 3e38, 1e-30, 1048575.9, 355.0]


def numbers(dtype: Any, count: int, *, far: bool) -> tuple[ingot.Tensor, ingot.Tensor]:
    rng = np.random.default_rng(count)
    x = (rng.uniform(-9, 9, count) * 10.0 ** rng.integers(-3, 5, count)).astype(dtype)
    y = rng.uniform(0.1, 9, count).astype(dtype) * rng.choice([-1, 1], count).astype(dtype)
    if far:
        places = rng.integers(0, count, (2, count // 40))
        x[places[0]], y[places[1]] = rng.choice(FAR, places.shape).astype(dtype)
    return ingot.from_numpy(x), ingot.from_numpy(y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [pytest.param("angles", marks=pytest.mark.slow), "remainders", "by a number"])
def test_far_and_near_give_the_same_bits(name: str, dtype: Any) -> None:
    program = FUNCTIONS[name]
    before = ingot.get_num_threads()
    with ingot.no_grad(), np.errstate(all="ignore"):
        mixed = numbers(dtype, 20011, far=True)
        compiled = jit.trace(program, mixed, check_trace=False)
        found = [r.numpy() for r in compiled(*mixed)]
        expected = [r.numpy() for r in program(*(v.double() for v in mixed) if name == "angles" else mixed)]
        for a, b in zip(found[:3], expected[:3], strict=True):
            tolerance = 0.0 if name != "angles" else 3e-7 if dtype is np.float32 else 1e-15
            np.testing.assert_allclose(a, b, rtol=tolerance)
        # Every element by itself, each in a block of its own kind, and in blocks that other threads begin.
        some = np.random.default_rng(1).integers(0, 20011, 60)
        for k in some:
            alone = compiled(*(v[k : k + 1] for v in mixed))
            for a, b in zip(alone, found, strict=True):
                np.testing.assert_array_equal(a.numpy(), b[k : k + 1])
        try:
            for count in (2, 3):
                ingot.set_num_threads(count)
                for a, b in zip(compiled(*mixed), found, strict=True):
                    np.testing.assert_array_equal(a.numpy(), b)
        finally:
            ingot.set_num_threads(before)
        assert "far = 1 if" in compiled.kernel_source()


def test_one_far_number_changes_no_other() -> None:
    x, y = numbers(np.float32, 1500, far=False)
    program = FUNCTIONS["angles"]
    compiled = jit.trace(program, (x, y), check_trace=False)
    first = [r.numpy() for r in compiled(x, y)]
    x[700] = 1e30
    for a, b in zip(first, [r.numpy() for r in compiled(x, y)], strict=True):
        same = a == b
        assert not same[700] and same.sum() == 1499


def test_halves_and_places_in_rows() -> None:
    x, y = numbers(np.float64, 13 * 50, far=True)
    x, y = x.to(ingot.float16).reshape(50, 13), y.to(ingot.float16)[:13]
    with np.errstate(all="ignore"):
        compiled = jit.trace(lambda x, y: (x % y, (x * y).sin()), (x, y), check_trace=False)
        for a, b in zip(compiled(x, y), ((x % y), (x * y).sin()), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-3)
