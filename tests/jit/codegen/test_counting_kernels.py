"""Different elements and counts of small numbers, whose number the data says, and scatters through views."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.nn import functional as F


def same(function: Any, *inputs: ingot.Tensor) -> None:
    results = function(*inputs)
    with jit.executor("interpreter"):
        expected = function(*inputs)
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype is wanted.dtype
        np.testing.assert_allclose(result.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_unique(dtype: str) -> None:
    def different(x: Any) -> Any:
        return (*ingot.unique(x, return_inverse=True, return_counts=True), *ingot.unique_consecutive(x, True, True))

    random = np.random.default_rng(0)
    function = jit.trace(different, ingot.tensor(np.arange(6).astype(dtype)), check_trace=False)
    assert "interpreter" not in str(function.explain()).split("\n")[0]
    for n in (6, 0, 1, 7, 500, 3000):
        values = random.integers(0, 1 + n // 5, n).astype(dtype)
        if dtype == "float32" and n > 10:
            values[7] = np.nan
        same(function, ingot.tensor(values))


def test_bincount() -> None:
    function = jit.trace(
        lambda x, w: (ingot.bincount(x), ingot.bincount(x, w, minlength=5)),
        (ingot.tensor([1, 2, 1]), ingot.ones(3)),
        check_trace=False,
    )
    random = np.random.default_rng(0)
    for n in (3, 0, 1, 1000):
        same(function, ingot.tensor(random.integers(0, 40, n)), ingot.tensor(random.random(n).astype(np.float32)))
    with pytest.raises(RuntimeError, match="non-negative"):
        function(ingot.tensor([1, -2, 1]), ingot.ones(3))


def test_scatters_look_through_views() -> None:
    def scattered(x: Any, index: Any, source: Any) -> Any:
        wide = index[:, None].expand(-1, source.shape[1])
        return (
            x.scatter_add(0, wide, source), x.scatter_reduce(0, wide, source, "mean"),
            x.scatter_reduce(0, wide, source.T.contiguous().T, "amax", include_self=False),
            x.scatter_reduce(0, wide, source, "mean", include_self=False), x.scatter(0, wide.flip(0), source.flip(1)),
            x.long().scatter_reduce(0, wide, (source * 9).long(), "mean"),
        )  # fmt: skip

    random = np.random.default_rng(0)

    def inputs(rows: int, columns: int, n: int) -> list[ingot.Tensor]:
        index = random.permutation(max(rows, n))[:n] % rows
        arrays = random.standard_normal((rows, columns)), random.standard_normal((n, columns))
        return [ingot.tensor(a.astype(np.float32)) for a in arrays[:1]] + [
            ingot.tensor(index), ingot.tensor(arrays[1].astype(np.float32))
        ]  # fmt: skip

    function = jit.trace(scattered, tuple(inputs(5, 4, 5)), check_trace=False)
    for sizes in ((5, 4, 5), (7, 1, 3), (300, 33, 200), (2, 3, 0)):
        same(function, *inputs(*sizes))
    x, index, source = inputs(5, 4, 3)
    with pytest.raises(IndexError):
        function(x, index + 5, source)


def test_bags_of_one_length() -> None:
    table, index = ingot.randn(20, 7), ingot.tensor(np.random.default_rng(0).integers(0, 20, (5, 3)))
    for mode, rows in (("sum", table[index].sum(1)), ("mean", table[index].mean(1)), ("max", table[index].amax(1))):
        np.testing.assert_allclose(F.embedding_bag(index, table, mode=mode).numpy(), rows.numpy(), rtol=1e-5)
    assert not F.embedding_bag(index[:, :0], table, mode="mean").numpy().any()
