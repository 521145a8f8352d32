"""Sorting, the few largest, places of extremes and prefix sums: as in the interpreter, ties and NaN included."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit


def data(shape: tuple[int, ...], dtype: str) -> ingot.Tensor:
    """Numbers with ties, both zeros, infinities and NaN."""
    random = np.random.default_rng(len(shape) + shape[-1])
    values = random.standard_normal(shape) * 20
    if dtype.startswith("float"):
        kinds = random.random(shape)
        for low, special in ((0.1, np.nan), (0.2, 0.0), (0.25, -0.0), (0.3, np.inf), (0.35, -np.inf), (0.5, 1.0)):
            values[(kinds < low) & (kinds >= low - 0.05)] = special
    return ingot.from_numpy(np.asarray(values > 0 if dtype == "bool" else values.astype(dtype)))


def check(compiled: Callable[..., Any], x: ingot.Tensor) -> None:
    results = compiled(x)
    with jit.executor("interpreter"):
        expected = compiled(x)
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == wanted.shape
        np.testing.assert_array_equal(result.numpy(), wanted.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("dim", [-1, 1])
def test_order(dtype: str, dim: int) -> None:
    def order(x: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        few = x.topk(3, dim), x.topk(2, dim, largest=False)
        return (*x.sort(dim), *x.sort(dim, descending=True), x.argsort(dim), *few[0], *few[1])

    compiled = jit.trace(order, data((4, 5, 6), dtype), check_trace=False)
    for shape in ((4, 5, 6), (3, 70, 7), (2, 3, 300)):
        check(compiled, data(shape, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("dim", [-1, 0])
def test_places_of_extremes(dtype: str, dim: int) -> None:
    def places(x: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        return (x.argmax(dim), x.argmin(dim), *x.max(dim), *x.min(dim))

    compiled = jit.trace(places, data((4, 6), dtype), check_trace=False)
    for shape in ((4, 6), (1, 1), (3, 1300), (1300, 3), (7, 512)):
        check(compiled, data(shape, dtype))


def test_many_of_a_row_are_taken_from_the_sorted_row() -> None:
    x = data((3, 400), "float32")
    check(jit.trace(lambda x: tuple(x.topk(200, -1)), x, check_trace=False), x)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
@pytest.mark.parametrize("dim", [-1, 0])
def test_prefix_sums(dtype: str, dim: int) -> None:
    random = np.random.default_rng(0)
    compiled = jit.trace(
        lambda x: (x.cumsum(dim), x.cumprod(dim)),
        ingot.from_numpy((random.standard_normal((3, 4)) * 2).astype(dtype)),
        check_trace=False,
    )
    for shape in ((3, 4), (9, 300), (6, 1), (7, 0), (0, 3)):
        x = ingot.from_numpy((random.standard_normal(shape) * 2).astype(dtype))
        for result, expected in zip(compiled(x), (x.cumsum(dim), x.cumprod(dim)), strict=True):
            np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def test_the_sources_run_as_python() -> None:
    compiled = jit.trace(
        lambda x: (*x.sort(-1), *x.topk(2, 0), x.argmax(0), x.argmax(-1), x.cumsum(0), x.cumsum(1)),
        data((5, 70), "float32"),
        check_trace=False,
    )
    x = data((5, 70), "float32")
    with jit.executor("python"):
        results = compiled(x)
    for result, expected in zip(results, compiled(x), strict=True):
        np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=1e-4)
