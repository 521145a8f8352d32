"""Generators: the same seed gives the same stream, a state can be put back, and edges of what they draw."""

import numpy as np
import pytest
from ingot.ir.random_state import Generator


def test_equal_seeds_give_equal_streams() -> None:
    a, b = Generator().manual_seed(3), Generator().manual_seed(3)
    np.testing.assert_array_equal(a.normal((5,)), b.normal((5,)))
    np.testing.assert_array_equal(a.integers(0, 100, (5,)), b.integers(0, 100, (5,)))
    assert not np.array_equal(a.uniform((8,)), Generator().manual_seed(4).uniform((8,)))


@pytest.mark.parametrize("seed", [0, -1, (1 << 64) - 1, -(1 << 63)])
def test_state_round_trips(seed: int) -> None:
    generator = Generator().manual_seed(seed)
    generator.uniform((3,), np.float32)  # leaves half a word behind
    state = generator.get_state()
    expected = generator.uniform((7,)), generator.permutation(5)
    other = Generator()
    other.set_state(state)
    for a, b in zip(expected, (other.uniform((7,)), other.permutation(5)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.initial_seed() == seed


def test_seeds_and_states_that_make_no_sense_are_refused() -> None:
    generator = Generator()
    with pytest.raises(TypeError, match="expected an int"):
        generator.manual_seed(1.5)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="64 bits"):
        generator.manual_seed(1 << 64)
    with pytest.raises(RuntimeError, match="17 elements"):
        generator.set_state(np.zeros(3, np.uint8))


def test_uniform_numbers_stay_below_1_in_every_dtype() -> None:
    generator = Generator().manual_seed(0)
    for dtype in (np.float16, np.float32, np.float64):
        values = generator.uniform((20000,), dtype)
        assert values.dtype == dtype
        assert values.min() >= 0 and values.max() < 1
        assert abs(float(values.mean(dtype=np.float64)) - 0.5) < 0.02


def test_a_seed_from_the_system_is_reported() -> None:
    generator = Generator()
    seed = generator.seed()
    values = generator.normal((4,))
    np.testing.assert_array_equal(values, Generator().manual_seed(seed).normal((4,)))
