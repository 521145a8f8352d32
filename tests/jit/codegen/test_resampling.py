"""Interpolation and its gradients in kernels of their own: all kinds, odd sizes, NaN and infinity."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.eager.functions import call

F = ingot.nn.functional

KINDS: dict[str, dict[str, Any]] = {
    "twice": {"scale_factor": 2},
    "four times, exact": {"scale_factor": 4, "mode": "nearest-exact"},
    "nearest": {"size": (7, 11)},
    "bilinear": {"size": (9, 4), "mode": "bilinear"},
    "bilinear aligned": {"scale_factor": 3, "mode": "bilinear", "align_corners": True},
    "bilinear twice": {"scale_factor": 2, "mode": "bilinear"},
    "bicubic": {"size": (5, 13), "mode": "bicubic"},
    "smoothed": {"size": (3, 2), "mode": "bilinear", "antialias": True},
    "smoothed from afar": {"size": (1, 1), "mode": "bicubic", "antialias": True},
}


def _image(*shape: int) -> ingot.Tensor:
    return ingot.from_numpy(np.random.default_rng(shape).standard_normal(shape).astype(np.float32))


def _loss(x: ingot.Tensor, kind: dict[str, Any]) -> tuple[ingot.Tensor, ingot.Tensor]:
    y = F.interpolate(x, **kind)
    (gradient,) = ingot.autograd.grad((y * y.cos()).sum(), x)
    return y, gradient


@pytest.mark.parametrize("name", KINDS)
def test_images(name: str) -> None:
    traced = jit.trace(lambda x: F.interpolate(x, **KINDS[name]), (_image(2, 3, 6, 5),), check_trace=False)
    fixed = "size" not in KINDS[name] or ("antialias" not in KINDS[name] and "bicubic" not in KINDS[name].values())
    for shape in (
        (2, 3, 6, 5),
        (5, 1, 6, 5),
        *(((1, 2, 70, 3), (1, 1, 1, 1), (0, 3, 6, 5), (1, 2, 7, 23)) if fixed else ()),
    ):
        x = _image(*shape)
        if x.numel() > 20:
            x[0, 0, 2, 2], x[-1, -1, 0, 0] = float("nan"), float("inf")
        results = []
        for executor in ("native", "interpreter", "python"):
            if executor == "python" and x.numel() > 200:
                continue
            with jit.executor(executor):
                results.append(traced(x).numpy())
        for other in results[1:]:
            np.testing.assert_allclose(other, results[0], rtol=1e-5, atol=1e-5)
    assert "interpreter" not in traced.explain().splitlines()[0]


def test_rows_with_weights_that_repeat() -> None:
    """Rows that get two or four times as long, but for tables that only look so."""
    x = _image(3, 2, 9)
    bend = np.arange(36)[:, None] == 17

    def resampled(x: ingot.Tensor, start: ingot.Tensor, weight: ingot.Tensor) -> ingot.Tensor:
        return call("resample", x, start, weight, 2, -1)

    start = np.arange(36) // 4 - (np.arange(36) % 4 < 2)
    weight = np.tile(np.random.default_rng(0).random((4, 2)).astype(np.float32), (9, 1))
    tables = [(start, weight), (start + bend[:, 0], weight), (start, weight + bend), (start * 0 - 3, weight)]
    traced = jit.trace(resampled, (x, *map(ingot.from_numpy, tables[0])), check_trace=False)
    for s, w in tables:
        places = np.clip(s[:, None] + np.arange(2), 0, 8)
        expected = (x.numpy()[..., places] * w).sum(-1)
        found = traced(x, ingot.from_numpy(s), ingot.from_numpy(w.astype(np.float32)))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["twice", "nearest", "bilinear", "bicubic", "smoothed"])
def test_gradients(name: str) -> None:
    x = _image(2, 3, 6, 5).requires_grad_()
    y, gradient = _loss(x, KINDS[name])
    compiled = jit.trace(lambda x: _loss(x, KINDS[name]), (x,), check_trace=False)
    for found, wanted in zip(compiled(x), (y, gradient), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), rtol=1e-4, atol=1e-4)
    step = 1e-2
    moved = x.detach().numpy().astype(np.float64)
    moved[1, 2, 3, 1] += step
    above = F.interpolate(ingot.from_numpy(moved), **KINDS[name])
    moved[1, 2, 3, 1] -= 2 * step
    below = F.interpolate(ingot.from_numpy(moved), **KINDS[name])
    slope = float(((above * above.cos()).sum() - (below * below.cos()).sum()).item()) / (2 * step)
    assert gradient[1, 2, 3, 1].item() == pytest.approx(slope, rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear"])
def test_sequences_and_volumes(shape: tuple[int, ...], mode: str) -> None:
    mode = {3: "linear", 5: "trilinear"}[len(shape)] if mode == "linear" else mode
    x = _image(*shape)
    traced = jit.trace(lambda x: F.interpolate(x, scale_factor=2, mode=mode), (x,), check_trace=False)
    np.testing.assert_allclose(
        traced(x).numpy(), F.interpolate(x, scale_factor=2, mode=mode).numpy(), rtol=1e-5, atol=1e-6
    )
    for executor in ("python", "interpreter"):
        with jit.executor(executor):
            np.testing.assert_allclose(
                traced(x).numpy(), F.interpolate(x, scale_factor=2, mode=mode).numpy(), rtol=1e-5
            )


def test_what_convolutions_read_keeps_their_layout() -> None:
    """Between convolutions, images are made larger where their channels lie last, with no kernel in between."""
    w = _image(16, 16, 3, 3)

    def decoder(x: ingot.Tensor) -> ingot.Tensor:
        y = F.interpolate(F.conv2d(x, w, padding=1).relu(), scale_factor=2)
        return F.interpolate(F.conv2d(y, w, padding=1), scale_factor=2, mode="bilinear")

    x = _image(1, 16, 5, 6)
    traced = jit.trace(decoder, (x,), check_trace=False, on_bake="ignore")
    np.testing.assert_allclose(traced(x).numpy(), decoder(x).numpy(), rtol=1e-3, atol=1e-3)
    print(traced.kernel_source())
    names = [line for line in traced.kernel_source().splitlines() if line.startswith("def k_")]
    assert not any("interpolate" in name for name in names) and any("resample" in name for name in names)
