"""Rows that are short at the first call: a second form with the length as a constant, beside that for all lengths."""

from collections.abc import Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

LENGTHS = (2, 3, 5, 8)


def statistics(x: Any) -> Any:
    return (
        x.sum(1), x.amax(1), x.prod(1), x.softmax(1), x.logsumexp(1), x.argmax(1), x.argmin(1), x.max(1)[1],
        x.min(1)[0], (x > 0).any(1), x.var(1),
    )  # fmt: skip


def numbers(rows: int, columns: int) -> Any:
    values = np.random.default_rng([rows, columns]).integers(-4, 5, (rows, columns)) / 2
    values = values.astype(np.float32)
    if values.size > 60:
        values.flat[[3, 17, 40]] = [np.nan, np.inf, -np.inf]
    return ingot.tensor(values)


@pytest.fixture(scope="module")
def compiled() -> dict[int, Any]:
    return {n: jit.trace(statistics, numbers(37, n), check_trace=False) for n in LENGTHS}


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = ingot.get_num_threads()
    yield
    ingot.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_is_right(compiled: dict[int, Any], length: int) -> None:
    function = compiled[length]
    function(numbers(37, length))
    assert f"== {length}:" in function.kernel_source()
    for rows, columns in ((37, length), (1, length), (1031, length), (29, 1), (7, 6), (5, 19), (3, 131)):
        x = numbers(rows, columns)
        for result, expected in zip(function(x), statistics(x), strict=True):
            np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    with jit.executor("python"):
        for result, expected in zip(function(numbers(2, length)), statistics(numbers(2, length)), strict=True):
            np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    assert [tuple(r.shape) for r in function(numbers(0, length))[:4]] == [(0,), (0,), (0,), (0, length)]


@pytest.mark.slow
def test_threads_do_not_matter(compiled: dict[int, Any]) -> None:
    x = numbers(40001, 3)
    results = []
    for threads in (1, 2, 3):
        ingot.set_num_threads(threads)
        results.append([r.numpy().tobytes() for r in compiled[3](x)])
    assert results[0] == results[1] == results[2]


def test_long_rows_have_one_form() -> None:
    function = jit.trace(lambda x: x.amax(1), numbers(5, 100), check_trace=False)
    assert "else:" not in function.kernel_source()


def rows_of(table: Any, index: Any, scale: Any) -> Any:
    return (
        ingot.nn.functional.embedding(index, table), table * scale, table[:, None, :] + scale, table.flip(1),
        table.index_add(0, index, ingot.nn.functional.embedding(index, table)), table.cumsum(0).roll(1, 1),
    )  # fmt: skip


@pytest.mark.slow
def test_short_rows_of_maps_and_lookups() -> None:
    def given(rows: int, columns: int, count: int) -> Any:
        random = np.random.default_rng([rows, columns, count])
        table, scale = (random.standard_normal(s).astype(np.float32) for s in ((rows, columns), (columns,)))
        return ingot.tensor(table), ingot.tensor(random.integers(0, rows, count)), ingot.tensor(scale)

    compiled = jit.trace(rows_of, given(11, 6, 50), check_trace=False)
    for shape in ((11, 6, 50), (1, 6, 3), (701, 6, 9001), (5, 8, 0), (31, 129, 7), (2, 9, 5)):
        for result, expected in zip(compiled(*given(*shape)), rows_of(*given(*shape)), strict=True):
            np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=1e-5, atol=1e-3)
    assert "== 6:" in compiled.kernel_source()
