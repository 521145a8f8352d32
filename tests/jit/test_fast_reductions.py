"""`jit.fast_reductions`: sums over everything that threads cut, where it is asked for and nowhere else."""

from collections.abc import Callable, Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = ingot.get_num_threads()
    yield
    ingot.set_num_threads(before)


def statistics(x: Any) -> Any:
    return (x * x).sum(), x.amax(), x.sum(1)


def numbers(rows: int, columns: int) -> Any:
    return ingot.tensor(np.random.default_rng(7).standard_normal((rows, columns)).astype(np.float32))


def on_threads(function: Callable[..., Any], x: Any) -> list[list[Any]]:
    results = []
    for threads in (1, 2, 3, 5):
        ingot.set_num_threads(threads)
        results.append([r.numpy() for r in function(x)])
    return results


def test_threads_cut_what_is_reduced_to_one_number() -> None:
    example = numbers(997, 1009)
    with jit.fast_reductions():
        fast = jit.trace(statistics, example, check_trace=False)
    expected = [r.numpy() for r in statistics(example)]
    for results in on_threads(fast, example):
        np.testing.assert_allclose(results[0], expected[0], rtol=1e-5)
        np.testing.assert_array_equal(results[1], expected[1])
        np.testing.assert_allclose(results[2], expected[2], rtol=1e-4, atol=1e-4)
    assert fast.explain().count("cut by threads (jit.fast_reductions)") == 2  # the sum, and the maximum
    for shape in ((1, 1), (3, 16384), (1, 7)):
        other = numbers(*shape)
        np.testing.assert_allclose(fast(other)[0].numpy(), np.square(other.numpy()).sum(), rtol=1e-5)


def test_nothing_is_summed_to_zero() -> None:
    with jit.fast_reductions():
        total = jit.trace(lambda x: x.sum(), numbers(300, 100), check_trace=False)
    assert float(total(ingot.zeros(0, 100))) == 0.0


def test_otherwise_the_sizes_decide_to_the_last_bit() -> None:
    example = numbers(997, 1009)
    compiled = jit.trace(statistics, example, check_trace=False)
    first, *others = on_threads(compiled, example)
    for other in others:
        assert [r.tobytes() for r in other] == [r.tobytes() for r in first]
    assert "cut by threads" not in compiled.explain()


def test_the_environment_and_the_innermost_choice_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    example = numbers(200, 500)

    def is_fast() -> bool:
        compiled = jit.trace(lambda x: x.sum(), example, check_trace=False)
        compiled(example)
        return "cut by threads" in compiled.explain()

    assert not is_fast()
    monkeypatch.setenv("INGOT_FAST_REDUCTIONS", "1")
    assert is_fast()
    with jit.fast_reductions(False):
        assert not is_fast()
        with jit.fast_reductions():
            assert is_fast()
