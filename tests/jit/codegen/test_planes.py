"""Convolutions that are computed plane by plane, against the interpreter."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit, nn
from ingot.nn import functional as F


def _normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> ingot.Tensor:
    return ingot.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype))


def _run(function: Any, executor: str, *inputs: ingot.Tensor) -> list[np.ndarray[Any, Any]]:
    with jit.executor(executor):
        results = function(*inputs)
    return [r.numpy() for r in (results if isinstance(results, tuple) else (results,))]


def _agree(function: Any, executor: str, *inputs: ingot.Tensor) -> None:
    for result, wanted in zip(_run(function, executor, *inputs), _run(function, "interpreter", *inputs), strict=True):
        assert result.shape == wanted.shape
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(wanted).max(initial=0)))


# (channels in a group, output channels in a group, groups, kernel, options)
CASES: list[tuple[int, int, int, tuple[int, int], dict[str, Any]]] = [
    (1, 17, 1, (3, 3), {"padding": 1}),
    (3, 5, 1, (5, 2), {"padding": (2, 1)}),
    (2, 3, 1, (3, 3), {"stride": 2, "padding": 1}),
    (1, 30, 1, (3, 4), {"stride": (3, 2), "padding": (0, 2), "dilation": (2, 3)}),
    (1, 1, 7, (3, 3), {"padding": 1}),
    (1, 2, 5, (5, 5), {"stride": 2, "padding": 2}),
    (3, 4, 2, (3, 1), {"padding": (1, 0), "dilation": (3, 1)}),
    (33, 15, 1, (1, 1), {}),
    (20, 6, 1, (2, 2), {}),
]
SHAPES = [(2, 9, 40), (1, 33, 7), (3, 5, 5), (0, 9, 9)]


class _Layer(nn.Module):
    """A convolution and what follows it."""

    def __init__(self, case: Any) -> None:
        super().__init__()
        channels, outputs, groups, kernel, options = case
        self.convolution = nn.Conv2d(channels * groups, outputs * groups, kernel, groups=groups, **options)

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return F.relu(self.convolution(x))


def _traced(case: Any, *, freeze: bool = False) -> Any:
    with ingot.no_grad():
        traced = jit.trace(_Layer(case).eval(), _normal(1, case[0] * case[2], 9, 9), check_trace=False)
        return jit.freeze(traced) if freeze else traced


@pytest.mark.parametrize("case", CASES, ids=str)
def test_shapes(case: Any) -> None:
    traced = _traced(case)
    channels = case[0] * case[2]
    with ingot.no_grad():
        for images, height, width in SHAPES:
            x = _normal(images, channels, height, width)
            _agree(traced, "native", x)
        assert "planes_f32" in traced.kernel_source()
        assert "plane by plane" in str(traced.explain())
        _agree(traced, "python", _normal(2, channels, 7, 19))
        # Images of any strides.
        _agree(traced, "native", _normal(9, 2, 20, channels).permute(1, 3, 0, 2)[:, :, :, ::2])


def test_long_rows_and_tall_images() -> None:
    traced = _traced((3, 4, 1, (3, 3), {"padding": 1}), freeze=True)
    for height, width in ((3, 2001), (2001, 3), (1, 1), (70, 64)):
        _agree(traced, "native", _normal(1, 3, height, width))


def test_float64() -> None:
    layer = nn.Conv2d(3, 10, 3).double()
    traced = jit.freeze(jit.trace(layer.eval(), _normal(1, 3, 8, 8, dtype=np.float64), check_trace=False))
    for shape in ((2, 3, 17, 9), (5, 3, 3, 3)):
        _agree(traced, "native", _normal(*shape, dtype=np.float64))
    assert "planes_f64" in traced.kernel_source()


def test_not_a_number_reaches_its_windows_only() -> None:
    x = np.zeros((1, 1, 9, 21), np.float32)
    x[0, 0, 4, 5], x[0, 0, 0, 20] = np.nan, np.inf
    layer = nn.Conv2d(1, 3, 3, padding=1)
    traced = jit.freeze(jit.trace(layer.eval(), ingot.from_numpy(x), check_trace=False))
    (result,) = _run(traced, "native", ingot.from_numpy(x))
    touched = ~np.isfinite(result[0]).all(0)
    assert touched[3:6, 4:7].all()
    assert not touched[:, 8:18].any()
    assert not touched[6:].any()


def test_what_follows_is_done_as_the_result_is_stored() -> None:
    first, second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
    first.requires_grad_(False)
    second.requires_grad_(False)

    def function(x: ingot.Tensor, whole: ingot.Tensor, row: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        return (first(x) + whole).tanh(), second(x * 2) * row[:, None, None, :]

    def inputs(images: int, height: int, width: int) -> tuple[ingot.Tensor, ...]:
        return _normal(images, 2, height, width), _normal(images, 4, height, width), _normal(images, width)

    traced = jit.trace(function, inputs(2, 6, 7), check_trace=False, on_bake="ignore")
    for shape in ((2, 6, 7), (1, 40, 33), (3, 2, 64)):
        _agree(traced, "native", *inputs(*shape))
    assert "planes_f32" in traced.kernel_source()


@pytest.mark.parametrize("kernel", [1, 4])
def test_sequences(kernel: int) -> None:
    layer = nn.Sequential(nn.Conv1d(40, 18, kernel, padding=kernel // 2), nn.ReLU())
    traced = jit.freeze(jit.trace(layer.eval(), _normal(2, 40, 30), check_trace=False))
    for images, length in ((2, 30), (1, 1000), (5, 3)):
        _agree(traced, "native", _normal(images, 40, length))
    assert "planes_f32" in traced.kernel_source()


def test_bits_do_not_depend_on_threads() -> None:
    before = ingot.get_num_threads()
    try:
        for case in ((3, 20, 1, (3, 3), {"padding": 1}), (1, 1, 19, (5, 5), {"padding": 2})):
            traced = _traced(case, freeze=True)
            x = _normal(3, case[0] * case[2], 61, 47)
            results = []
            for threads in (1, 2, 3):
                ingot.set_num_threads(threads)
                results.append(traced(x).numpy().tobytes())
            assert results[0] == results[1] == results[2]
    finally:
        ingot.set_num_threads(before)


VOLUMES: list[tuple[int, int, int, Any, dict[str, Any]]] = [
    (3, 5, 1, 3, {"padding": 1}),
    (1, 2, 4, (2, 3, 1), {"stride": (2, 1, 2), "padding": (0, 1, 0)}),
    (2, 17, 1, 2, {"stride": 2, "dilation": (1, 3, 1)}),
]


@pytest.mark.parametrize("case", VOLUMES, ids=str)
def test_volumes(case: Any) -> None:
    channels, outputs, groups, kernel, options = case
    layer = nn.Conv3d(channels * groups, outputs * groups, kernel, groups=groups, **options)
    traced = jit.trace(nn.Sequential(layer, nn.SiLU()), _normal(1, channels * groups, 5, 6, 7), check_trace=False)
    with ingot.no_grad():
        for shape in ((2, 5, 6, 7), (1, 4, 33, 5), (0, 4, 4, 4)):
            x = _normal(shape[0], channels * groups, *shape[1:])
            _agree(traced, "native", x)
        _agree(traced, "python", _normal(1, channels * groups, 4, 5, 6))
    assert "planes_f32" in traced.kernel_source()


@pytest.mark.slow
def test_gradients_of_volumes() -> None:
    model = nn.Sequential(nn.Conv3d(2, 3, 3, stride=(1, 2, 1), padding=1), nn.Tanh(), nn.ConvTranspose3d(3, 2, 2))
    x = _normal(2, 2, 5, 6, 4)
    traced = jit.trace(model, x, check_trace=False)
    found = []
    for function in (model, traced):
        given = x.clone().requires_grad_()
        parameters = list(model.parameters())
        for p in parameters:
            p.grad = None
        (function(given) ** 2).sum().backward()
        found.append([t.grad.numpy() for t in (given, *parameters)])
    for expected, result in zip(*found, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
