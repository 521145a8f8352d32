"""The attention kernel in the simulator: tiles that do not divide anything, masks, values that are not finite."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from device_cases import agree
from ingot.cuda import simulate

RANDOM = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    with simulate():
        yield


def floats(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def attended(s: int, t: int, d: int, e: int, mask: str = "", *more: Any, causal: bool = False) -> Any:
    given = f", %m: {mask}[s, t]" if mask else ""
    text = (
        f"graph @f(%q: f32[b, s, {d}], %k: f32[b, t, {d}], %v: f32[b, t, {e}]{given}) -> (f32[b, s, {e}]) {{ "
        f"%a: f32[b, s, {e}] = scaled_dot_product_attention(%q, %k, %v, {'%m' if mask else '_'}) "
        f"{{is_causal={causal}}} return(%a) }}"
    )
    q, k, v = floats(2, s, d), floats(2, t, d), floats(2, t, e)
    if causal:
        q[0, 0, 0], v[1, 0, 0] = np.inf, np.nan
    program = agree(text, q, k, v, *more)
    assert all("attention" in name for name in program.launcher.launched)  # type: ignore[attr-defined]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (5, 7, 3, 4), (2, 4, 16, 16), (3, 9, 13, 2), (7, 1, 5, 3)])
@pytest.mark.parametrize("causal", [False, True])
def test_sizes(sizes: tuple[int, int, int, int], causal: bool) -> None:
    attended(*sizes, causal=causal)


def test_masks() -> None:
    allowed = RANDOM.integers(0, 2, (3, 9)).astype(bool)
    allowed[1] = False  # a query that may look at nothing
    attended(3, 9, 4, 5, "bool", allowed)
    added = floats(3, 9)
    added[0, 2:] = -np.inf
    attended(3, 9, 4, 5, "f32", added)
