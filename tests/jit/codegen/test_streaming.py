"""Large results that are written past the caches: every element once, whatever the range, alignment and dtype."""

from collections.abc import Iterator

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.jit import expected_sizes
from ingot.jit.codegen import loops
from ingot.jit.runtime.memory import recycler


def outputs(x: ingot.Tensor, y: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
    total = x + y
    return total, total > 1.0, (x * y).to(ingot.float64)


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loops._Map, "streamed_elements", lambda self: 64)
    monkeypatch.setattr(expected_sizes, "LARGE", 0)
    monkeypatch.setattr(recycler, "smallest", 0)  # aligned to 64 bytes
    before = ingot.get_num_threads()
    yield
    ingot.set_num_threads(before)


def pair(n: int) -> tuple[ingot.Tensor, ingot.Tensor]:
    x, y = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
    x[::7], y[3::11] = np.nan, np.inf
    return ingot.from_numpy(x), ingot.from_numpy(y)


def check(results: tuple[ingot.Tensor, ...], x: ingot.Tensor, y: ingot.Tensor) -> None:
    for result, expected in zip(results, outputs(x, y), strict=True):
        np.testing.assert_array_equal(result.numpy(), expected.numpy())


def test_whole_lines_and_what_is_left(everything_is_large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = jit.trace(lambda x, y: outputs(x, y), pair(500), check_trace=False)
    assert "stream_block" in compiled.specialisations[0].source()
    sizes = (0, 1, 63, 64, 65, 191, 1009, 300_007)
    for n in sizes:
        for threads in (1, 2, 3):
            ingot.set_num_threads(threads)
            check(compiled(*pair(n)), *pair(n))
    with jit.executor("python"):
        for n in (63, 200):
            check(compiled(*pair(n)), *pair(n))
    # Results that are not aligned take the way through the caches.
    monkeypatch.setattr(recycler, "smallest", 1 << 40)
    for n in (70, 1013, 1021):
        check(compiled(*pair(n)), *pair(n))


def test_large_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops._Map, "streamed_elements", lambda self: 1 << 22)  # whatever the cache of this machine
    n = (1 << 22) + 77
    compiled = jit.trace(lambda x, y: outputs(x, y), pair(n), check_trace=False)
    assert "stream_block" in compiled.specialisations[0].source()
    x, y = pair(n)
    check(compiled(x, y), x, y)
    small = jit.trace(lambda x, y: outputs(x, y), pair(1000), check_trace=False)
    assert "stream_block" not in small.specialisations[0].source()
