"""Pairs of rows: a short dimension is reduced or kept inside of two long ones."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit


def pairs(x: Any, y: Any, mass: Any) -> Any:
    apart = x[:, None, :] - y[None, :, :]
    squares = apart.square().sum(-1)
    weight = mass[None, :] * (squares + 0.5) ** -1.5
    return (
        squares, apart.abs().amax(-1), apart.norm(dim=-1), (apart * weight[:, :, None]).sum(1),
        (-squares).exp().sum(1), (apart[None] * 2).sum(-1), (mass[None, :, None].exp() * apart).sum((0, 1)),
    )  # fmt: skip


def inputs(n: int, m: int, d: int) -> tuple[ingot.Tensor, ...]:
    random = np.random.default_rng([n, m, d])
    arrays = random.standard_normal((n, d)), random.standard_normal((m, d)), random.random(m)
    if n * d > 60:
        arrays[0].flat[[3, 17, 40]] = [np.nan, np.inf, -np.inf]
    return tuple(ingot.tensor(a.astype(np.float32)) for a in arrays)


@pytest.mark.slow
def test_pairs() -> None:
    function = jit.trace(pairs, inputs(5, 7, 3), check_trace=False)
    before = ingot.get_num_threads()
    for sizes in ((5, 7, 3), (1, 1, 3), (37, 41, 3), (11, 13, 2), (6, 5, 20), (9, 3, 600), (0, 4, 3), (4, 0, 3)):
        results = []
        for threads in (1, 2, 3):
            ingot.set_num_threads(threads)
            results.append([r.numpy() for r in function(*inputs(*sizes))])
        ingot.set_num_threads(before)
        assert (
            [r.tobytes() for r in results[0]] == [r.tobytes() for r in results[1]] == [r.tobytes() for r in results[2]]
        )
        with jit.executor("interpreter"):
            expected = function(*inputs(*sizes))
        for result, wanted in zip(results[0], expected, strict=True):
            np.testing.assert_allclose(result, wanted.numpy(), rtol=1e-4, atol=1e-4)
    with jit.executor("python"):
        for result, wanted in zip(function(*inputs(3, 4, 3)), pairs(*inputs(3, 4, 3)), strict=True):
            np.testing.assert_allclose(result.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4)
