"""Random numbers: eager, interpreted and compiled code draw the same ones from the same generator."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit, nn
from ingot.ir.random_state import Generator, default_generator, random_words
from ingot.jit.codegen.random_stream import random_word, take_random
from ingot.jit.executors import EXECUTORS


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", jit.FallbackWarning)
        yield


def everything(x: Any) -> tuple[Any, ...]:
    n = x.shape[0]
    return (
        ingot.rand(n, 5),
        ingot.randn(n, 7),
        ingot.randn(3, dtype=ingot.float64),
        ingot.rand(5, dtype=ingot.float64),
        ingot.randint(-3, 17, (n,)),
        ingot.randint(0, n, (50,)),
        ingot.bernoulli(ingot.full((50,), 0.3)),
        nn.functional.dropout(x, 0.25),
        ingot.multinomial(ingot.tensor([0.1, 0.2, 0.7]), 6, True),
    )


@pytest.fixture(scope="module")
def traced() -> Any:
    return jit.trace(everything, ingot.ones(11, 13))


def _numbers(function: Callable[[Any], Any], n: int) -> list[Any]:
    ingot.manual_seed(5)
    results = function(ingot.ones(n, 13))
    return [*(r.numpy() for r in results), ingot.rand(3).numpy()]


@pytest.mark.parametrize("n", [11, 30])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_draws_what_eager_draws_and_leaves_the_generator_there(
    traced: Any, executor: str, n: int
) -> None:
    expected = _numbers(everything, n)
    with jit.executor(executor):
        found = _numbers(traced, n)
    for a, b in zip(expected, found, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


def test_a_call_advances_the_generator_and_the_state_can_be_put_back(traced: Any) -> None:
    x = ingot.ones(4, 13)
    state = ingot.get_rng_state()
    first, second = traced(x), traced(x)
    assert not bool((first[0] == second[0]).all())
    ingot.set_rng_state(state)
    assert bool((traced(x)[0] == first[0]).all())


def test_probabilities_outside_0_and_1_are_refused_at_run_time() -> None:
    function = jit.trace(lambda p: ingot.bernoulli(p), ingot.full((3,), 0.5))
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        function(ingot.full((3,), 1.5))
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        function(ingot.full((3,), math.nan))


def test_the_gradient_of_dropout_uses_the_forward_mask() -> None:
    traced = jit.trace(lambda x: nn.functional.dropout(x * x, 0.5).sum(), ingot.ones(64))
    x = ingot.linspace(1, 2, 64, requires_grad=True)
    ingot.manual_seed(3)
    traced(x).backward()
    ingot.manual_seed(3)
    kept = nn.functional.dropout(ingot.ones(64), 0.5)
    np.testing.assert_allclose(x.grad.numpy(), (2 * x.detach() * kept).numpy(), rtol=1e-6)


def test_a_scripted_loop_draws_in_order() -> None:
    @jit.script
    def walk(steps: int) -> ingot.Tensor:
        position = ingot.zeros(3)
        for _ in range(steps):
            position = position + ingot.randn(3)
        return position

    ingot.manual_seed(1)
    found = walk(5)
    ingot.manual_seed(1)
    np.testing.assert_allclose(found.numpy(), sum(ingot.randn(3).numpy() for _ in range(5)), rtol=1e-5, atol=1e-6)


def test_words_are_those_of_splitmix64() -> None:
    # The first outputs for seed 1234567, as published with the reference implementation.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    step = 0x9E3779B97F4A7C15
    assert random_words(1234567 + step, 4).tolist() == published
    assert [random_word(1234567 + step, i) % (1 << 64) for i in range(4)] == published


def test_taking_wraps_around_and_gives_signed_positions() -> None:
    generator = Generator().manual_seed(0)
    for count in (3, 0, 1 << 40):
        start = generator.take(0)
        assert take_random(generator.address, count) % (1 << 64) == start
        assert generator.take(0) == (start + count * 0x9E3779B97F4A7C15) % (1 << 64)


def test_the_distributions_have_the_right_moments() -> None:
    default_generator.manual_seed(11)
    n = 200_000
    for dtype in (np.float32, np.float64):
        uniform, normal = default_generator.uniform((n,), dtype), default_generator.normal((n,), dtype)
        assert (
            abs(uniform.mean(dtype=np.float64) - 1 / 2) < 0.003 and abs(uniform.var(dtype=np.float64) - 1 / 12) < 0.001
        )
        moments = [float(np.mean(normal.astype(np.float64) ** k)) for k in (1, 2, 3, 4)]
        np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.05)
    counts = np.bincount(default_generator.integers(0, 7, (n,)), minlength=7)
    assert ((counts - n / 7) ** 2 / (n / 7)).sum() < 30  # chi squared with 6 degrees of freedom: 1 in 25,000
    assert abs(default_generator.keep((n,), 0.1).mean() - 0.9) < 0.004
    # Neighbouring words, and the same word of neighbouring seeds, are not correlated.
    words = default_generator.uniform((n,), np.float64)
    assert abs(np.corrcoef(words[:-1], words[1:])[0, 1]) < 0.01
    firsts = np.array([Generator().manual_seed(s).uniform((1,), np.float64)[0] for s in range(2000)])
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 0.08


def test_dropout_keeps_exactly_what_its_floats_say() -> None:
    for drop in (0.0, 0.1, 1 / 3, 0.5, 0.999999, 1.0):
        default_generator.manual_seed(2)
        kept = default_generator.keep((5000,), drop)
        default_generator.manual_seed(2)
        np.testing.assert_array_equal(kept, default_generator.uniform((5000,)) >= np.float32(drop))


def test_a_range_of_more_than_63_bits() -> None:
    low, high = -(1 << 63), (1 << 63) - 1
    function = jit.trace(lambda x: x + ingot.randint(low, high, (20,)), ingot.zeros(20, dtype=ingot.int64))
    ingot.manual_seed(8)
    expected = ingot.randint(low, high, (20,))
    ingot.manual_seed(8)
    assert bool((function(ingot.zeros(20, dtype=ingot.int64)) == expected).all())
    assert bool((expected < 0).any()) and bool((expected > 0).any())
