"""Reductions over leading and middle dimensions: blocks of columns, whole rows, several rows at once, in any number."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

Array = np.ndarray[Any, Any]

# (name, function of a tensor, the same of an array); each is compiled once for all shapes of its rank.
CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "sum": (lambda x: x.sum(0), lambda a: a.sum(0)),
    "mean of squares": (lambda x: (x * x - x).mean(0), lambda a: (a * a - a).mean(0)),
    "largest": (lambda x: x.amax(0), lambda a: a.max(0)),
    "two at once": (lambda x: x.sum(0) - x.amin(0), lambda a: a.sum(0) - a.min(0)),
    "variance": (lambda x: x.var(0, correction=0), lambda a: a.var(0)),
    "of exponentials": (lambda x: x.exp().sum(0), lambda a: np.exp(a).sum(0)),
    "any": (lambda x: (x > 1.0).any(0), lambda a: (a > 1.0).any(0)),
}
# Rows and columns: none, one, primes, more columns than one item has, several items, rows that leave a rest of four.
SHAPES = ((1, 1), (3, 1), (5, 7), (1000, 3), (700, 8), (131, 127), (4, 64), (13, 257), (9, 1031), (2, 4099), (6, 9001))


@pytest.mark.parametrize("name", CASES)
def test_columns(name: str) -> None:
    function, expected = CASES[name]
    compiled = jit.trace(function, ingot.zeros(2, 3), check_trace=False)
    random = np.random.default_rng(1)
    with jit.executor("native"):
        for rows, columns in SHAPES:
            array = random.standard_normal((rows, columns)).astype(np.float32)
            result = compiled(ingot.tensor(array)).numpy()
            np.testing.assert_allclose(result, expected(array), rtol=2e-5, atol=2e-5, err_msg=f"{name} {array.shape}")
        # A view with gaps between its rows, and one that runs backwards in memory order.
        wide = random.standard_normal((11, 3000)).astype(np.float32)
        np.testing.assert_allclose(
            compiled(ingot.tensor(wide)[::2, 5:2905]).numpy(), expected(wide[::2, 5:2905]), 2e-5, 2e-5
        )
        np.testing.assert_allclose(compiled(ingot.tensor(wide).T).numpy(), expected(wide.T), 2e-5, 2e-5)


def test_no_rows_and_no_columns() -> None:
    compiled = jit.trace(lambda x: x.sum(0), ingot.zeros(2, 3), check_trace=False)
    assert compiled(ingot.zeros(0, 5)).tolist() == [0.0] * 5
    assert compiled(ingot.zeros(4, 0)).shape == (0,)


def test_middle_dimensions_and_nan() -> None:
    array = np.random.default_rng(2).standard_normal((3, 7, 2, 65)).astype(np.float32)
    array[1, 3, 1, 5], array[2, 6, 0, 64] = np.nan, np.inf
    compiled = jit.trace(lambda x: (x.sum((1, 2)), x.amax(1)), ingot.tensor(array), check_trace=False)
    total, largest = compiled(ingot.tensor(array))
    np.testing.assert_allclose(total.numpy(), array.sum((1, 2)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(largest.numpy(), array.max(1))


@pytest.mark.parametrize("dtype", [ingot.int32, ingot.float64, ingot.bool])
def test_other_dtypes(dtype: Any) -> None:
    array = (np.arange(10 * 2100).reshape(10, 2100) % 13 - 5).astype(np.float64)
    x = ingot.tensor(array).to(dtype)
    compiled = jit.trace(lambda x: x.sum(0), x, check_trace=False)
    np.testing.assert_array_equal(compiled(x).numpy(), x.numpy().sum(0))
