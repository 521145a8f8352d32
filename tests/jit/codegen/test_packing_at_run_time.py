"""Products whose second matrix is packed first where there are many rows: one kernel, whatever the sizes of a call."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

# On AVX-512 up to 224 rows are one item, which packs as it goes.
ROWS = (1, 5, 224, 225, 300, 0)
DEPTH, COLUMNS = (1, 65, 1030), (1, 32, 77)


def sample(*shape: int, dtype: str = "float32") -> Any:
    return np.random.default_rng([3, *shape]).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("transposed", ["none", "first", "second"])
def test_every_number_of_rows(transposed: str) -> None:
    def product(a: Any, b: Any, c: Any) -> Any:
        a = a.transpose(0, 1) if transposed == "first" else a
        b = b.transpose(0, 1) if transposed == "second" else b
        return (a @ b + c).relu()

    compiled = jit.trace(product, (ingot.zeros(4, 4), ingot.zeros(4, 4), ingot.zeros(4)), check_trace=False)
    for rows in ROWS:
        for depth, columns in zip(DEPTH, COLUMNS, strict=True):
            a, b, c = sample(rows, depth), sample(depth, columns), sample(columns)
            first = np.ascontiguousarray(a.T) if transposed == "first" else a
            second = np.ascontiguousarray(b.T) if transposed == "second" else b
            result = compiled(*(ingot.tensor(x) for x in (first, second, c))).numpy()
            expected = np.maximum(a.astype(np.float64) @ b + c, 0)
            np.testing.assert_allclose(result, expected, rtol=1e-4, atol=2e-4, err_msg=f"{rows}x{depth}x{columns}")


def test_views_and_double_precision() -> None:
    a, b = sample(250, 90, dtype="float64"), sample(200, 61, dtype="float64")
    compiled = jit.trace(lambda a, b: a[:, 3::2] @ b[7:180:4], (ingot.tensor(a), ingot.tensor(b)), check_trace=False)
    np.testing.assert_allclose(
        compiled(ingot.tensor(a), ingot.tensor(b)).numpy(), a[:, 3::2] @ b[7:180:4], rtol=1e-12, atol=1e-12
    )


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    a, b = ingot.tensor(sample(700, 300)), ingot.tensor(sample(300, 130))
    compiled = jit.trace(lambda a, b: a @ b, (a, b), check_trace=False)
    threads = ingot.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            ingot.set_num_threads(count)
            results.append(compiled(a, b).numpy())
    finally:
        ingot.set_num_threads(threads)
    assert all(np.array_equal(results[0], r) for r in results[1:])


def test_products_in_branches_and_loops() -> None:
    @jit.script
    def repeated(x: ingot.Tensor, w: ingot.Tensor, n: int) -> ingot.Tensor:
        if n > 1:
            for _ in range(n):
                x = x @ w
        else:
            x = x @ w.t()
        return x

    x, w = sample(230, 9), sample(9, 9)
    for n, expected in ((1, x @ w.T), (3, x @ w @ w @ w)):
        np.testing.assert_allclose(
            repeated(ingot.tensor(x), ingot.tensor(w), n).numpy(), expected, rtol=1e-3, atol=1e-3
        )
