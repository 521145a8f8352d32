"""grid_sample in a kernel: all modes against the reference, places far outside, on edges and NaN, any thread count."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.eager.functions import call

F = ingot.nn.functional
KINDS = [
    (mode, padding, aligned)
    for mode, aligned in (("bilinear", False), ("nearest", True), ("bicubic", False), ("bilinear", True))
    for padding in ("zeros", "border", "reflection")
    if (mode, padding, aligned) != ("bicubic", "border", False)
]


def _random(*shape: int, scale: float = 1.0) -> ingot.Tensor:
    return ingot.from_numpy((np.random.default_rng(shape).standard_normal(shape) * scale).astype(np.float32))


def _grids(*shape: int) -> ingot.Tensor:
    grid = _random(*shape, scale=1.2)
    flat = grid.reshape(-1, shape[-1])
    for i, special in enumerate((-1.0, 1.0, 0.0, 37.5, -1e5, float("inf"), float("nan"), -1.0001)):
        if i < flat.shape[0]:
            flat[i, i % shape[-1]] = special
    return grid


@pytest.fixture
def threads() -> Any:
    before = ingot.get_num_threads()
    yield ingot.set_num_threads
    ingot.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_images(kind: tuple[str, str, bool], threads: Callable[[int], None]) -> None:
    mode, padding, aligned = kind

    def sample(x: ingot.Tensor, g: ingot.Tensor) -> ingot.Tensor:
        return F.grid_sample(x, g, mode, padding, aligned)

    traced = jit.trace(sample, (_random(2, 3, 5, 7), _grids(2, 4, 9, 2)), check_trace=False)
    for image, grid in (((2, 3, 5, 7), (2, 4, 9, 2)), ((1, 5, 1, 3), (1, 150, 1, 2)), ((3, 1, 2, 2), (3, 0, 2, 2))):
        x, g = _random(*image), _grids(*grid)
        x[0, 0, 0, 0] = float("nan")
        with jit.executor("interpreter"):
            expected = traced(x, g).numpy()
        near = np.abs(g.numpy()).max(-1)[:, None] < 100  # far away, places are rounded to whole pixels and more
        for count in (1, 3):
            threads(count)
            found = traced(x, g).numpy()
            np.testing.assert_allclose(np.where(near, found, 0), np.where(near, expected, 0), rtol=1e-4, atol=1e-4)
        if padding == "zeros":
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        with jit.executor("python"):
            small = x[:, :1], g[:, :2, :3]
            found = traced(*small).numpy()
        near = near[:, :, :2, :3]
        expected = expected[:, :1, :2, :3]
        np.testing.assert_allclose(np.where(near, found, 0), np.where(near, expected, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_volumes_and_gradients(mode: str) -> None:
    def loss(x: ingot.Tensor, g: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        y = F.grid_sample(x, g, mode, "border", False)
        return (y, *ingot.autograd.grad((y * y).sum(), (x, g)))

    x, g = _random(2, 2, 3, 4, 5).requires_grad_(), _random(2, 2, 3, 2, 3).requires_grad_()
    expected = loss(x, g)
    compiled = jit.trace(loss, (x, g), check_trace=False)
    for found, wanted in zip(compiled(x, g), expected, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), rtol=1e-4, atol=1e-4)
    if mode == "nearest":
        assert not expected[2].any() and expected[1].any()


@pytest.mark.parametrize("kind", [k for k in KINDS if k[0] != "bicubic"], ids=str)
def test_gradients_of_images(kind: tuple[str, str, bool], threads: Callable[[int], None]) -> None:
    def gradients(dy: ingot.Tensor, x: ingot.Tensor, g: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        return tuple(call("grid_sample_grad", dy, x, g, *kind))

    given = _random(2, 19, 30, 5), _random(2, 19, 4, 5), _random(2, 30, 5, 2)
    traced = jit.trace(gradients, given, check_trace=False)
    with jit.executor("interpreter"):
        expected = traced(*given)
    for count in (1, 3):
        threads(count)
        for found, wanted in zip(traced(*given), expected, strict=True):
            np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-3, atol=1e-4)
    small = _random(1, 1, 2, 2), _random(1, 1, 3, 2), _random(1, 2, 2, 2)
    with jit.executor("python"):
        steps = traced(*small)
    for a, b in zip(steps, traced(*small), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
