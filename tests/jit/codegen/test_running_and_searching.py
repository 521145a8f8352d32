"""Running extremes and sums of exponentials, searches and reducing scatters: native against the interpreter."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

RANDOM = np.random.default_rng(11)


def both(function: Any, *arrays: Any) -> None:
    """The same from native code and from the interpreter, on one thread and on three."""
    tensors = tuple(ingot.from_numpy(a) for a in arrays)
    compiled = jit.trace(function, tensors, check_trace=False)
    with jit.executor("interpreter"):
        expected = compiled(*tensors)
    before = ingot.get_num_threads()
    try:
        for threads in (1, 3):
            ingot.set_num_threads(threads)
            for got, wanted in zip(compiled(*tensors), expected, strict=True):
                assert got.dtype is wanted.dtype
                if got.dtype.is_floating_point:
                    np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=2e-5, atol=1e-6)
                else:
                    np.testing.assert_array_equal(got.numpy(), wanted.numpy())
    finally:
        ingot.set_num_threads(before)


def with_specials(array: Any) -> Any:
    array = array.astype(np.float32)
    for at, value in zip((1, 5, 9, 10, 11), (np.nan, np.inf, -np.inf, -0.0, 0.0), strict=True):
        if array.size > 100 * at:
            array.flat[at * 100] = value
    return array


@pytest.mark.slow
def test_running_extremes_and_sums() -> None:
    def function(x: Any, whole: Any, flags: Any) -> Any:
        result = []
        for dim in (0, 2):
            result += [*x.cummax(dim), *x.cummin(dim), *whole.cummax(dim), x.logcumsumexp(dim)]
        return (*result, *flags.cummin(1))

    x = with_specials(RANDOM.standard_normal((5, 67, 13)) * 20)
    both(function, x, RANDOM.integers(-3, 4, (7, 11, 5)), RANDOM.random((5, 9)) < 0.5)


def test_what_is_infinite_from_the_start() -> None:
    x = np.array([[-np.inf, -np.inf, 1, 2], [np.inf, 1, np.inf, 0], [np.nan, 1, 2, 3], [0, -np.inf, np.inf, 1]], "f4")
    both(lambda t: (t.logcumsumexp(1), t.logcumsumexp(0), *t.cummax(1), *t.cummin(0)), x)


@pytest.mark.slow
def test_searches() -> None:
    def function(edges: Any, x: Any, rows: Any, values: Any, whole: Any) -> Any:
        result = [ingot.bucketize(x, edges, right=right) for right in (False, True)]
        result += [ingot.searchsorted(rows, values, right=right, out_int32=right) for right in (False, True)]
        return (*result, ingot.searchsorted(whole, whole), ingot.searchsorted(whole[:0], whole))

    edges = np.sort(np.append(np.round(RANDOM.standard_normal(100), 1), [np.nan, np.inf, -np.inf])).astype(np.float32)
    x = with_specials(np.round(RANDOM.standard_normal((31, 37)), 1))
    rows = np.sort(RANDOM.integers(0, 9, (3, 7)), axis=1)
    both(function, edges, x, rows, RANDOM.integers(-1, 11, (3, 5)), np.arange(1))


@pytest.mark.slow
def test_reducing_scatters() -> None:
    def function(x: Any, index: Any, values: Any, flags: Any) -> Any:
        result = []
        for dim, reduce, include_self in ((0, "sum", False), (1, "prod", False), (1, "amax", False), (0, "amin", True)):
            options = {"reduce": reduce, "include_self": include_self}
            result.append(x.scatter_reduce(dim, index, values, **options))
            result.append((x * 4).long().scatter_reduce(dim, index, (values * 4).long(), **options))
            result.append(flags.scatter_reduce(dim, index, values > 0, **options))
        return tuple(result)

    both(
        function, RANDOM.standard_normal((13, 11)).astype(np.float32), RANDOM.integers(0, 11, (9, 11)),
        RANDOM.standard_normal((10, 11)).astype(np.float32), RANDOM.random((13, 11)) < 0.5,
    )  # fmt: skip
