"""Convolutions with one filter per channel over contiguous images, against the interpreter."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit, nn
from ingot.nn import functional as F


def _normal(*shape: int, dtype: Any = np.float32) -> ingot.Tensor:
    return ingot.from_numpy(np.random.default_rng([3, *shape]).standard_normal(shape).astype(dtype))


def _agree(function: Any, executor: str, *inputs: ingot.Tensor) -> None:
    with jit.executor(executor):
        result = function(*inputs).numpy()
    with jit.executor("interpreter"):
        wanted = function(*inputs).numpy()
    assert result.shape == wanted.shape
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(wanted).max(initial=0)))


# (channels, kernel, options)
CASES: list[tuple[int, Any, dict[str, Any]]] = [
    (24, 3, {"padding": 1}),
    (16, (5, 2), {"padding": (2, 0), "stride": (2, 3)}),
    (32, 7, {"padding": 3}),
    (29, (2, 31), {"padding": (4, 15), "dilation": (2, 1)}),
    (16, 1, {"padding": 2, "stride": 2}),
    (23, 3, {"padding": 5, "dilation": (1, 4), "stride": (1, 2)}),
]
SHAPES = [(2, 9, 40), (1, 33, 7), (3, 5, 5), (2, 3, 3), (0, 9, 9), (1, 1, 2)]


def _layer(case: Any) -> nn.Module:
    channels, kernel, options = case
    layer = nn.Sequential(nn.Conv2d(channels, channels, kernel, groups=channels, **options), nn.Hardtanh())
    return layer.eval().requires_grad_(False)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_shapes(case: Any) -> None:
    layer, channels = _layer(case), case[0]
    traced = jit.freeze(jit.trace(layer, _normal(1, channels, 9, 9), check_trace=False))
    for images, height, width in SHAPES:
        x = _normal(images, channels, height, width)
        try:
            layer(x)
        except RuntimeError:
            continue  # the kernel does not fit
        _agree(traced, "native", x)
    assert "blocks of channels" in str(traced.explain())
    _agree(traced, "python", _normal(2, channels, 8, 19))
    # Images of any strides.
    _agree(traced, "native", _normal(9, 2, 20, channels).permute(1, 3, 0, 2)[:, :, :, ::2])


def test_weights_that_are_not_constant() -> None:
    def function(x: ingot.Tensor, weight: ingot.Tensor, other: ingot.Tensor) -> ingot.Tensor:
        return F.conv2d(x, weight[:, :, ::2, 1:].transpose(2, 3), padding=1, groups=18).tanh() + other

    def inputs(images: int, height: int, width: int) -> tuple[ingot.Tensor, ...]:
        return _normal(images, 18, height, width), _normal(18, 1, 5, 4), _normal(images, 18, height, width)

    layer = nn.Conv2d(18, 18, 3, padding=1, groups=18)
    gradient = jit.trace(lambda x: layer(x).sum(), _normal(1, 18, 4, 4), check_trace=False, on_bake="ignore")
    assert gradient(_normal(1, 18, 4, 4)).shape == ()
    traced = jit.trace(function, inputs(2, 6, 7), check_trace=False)
    for shape in ((2, 6, 7), (1, 40, 33)):
        _agree(traced, "native", *inputs(*shape))


def test_float64_and_what_is_not_finite() -> None:
    layer = nn.Conv2d(9, 9, 3, padding=1, groups=9).double().eval().requires_grad_(False)
    traced = jit.freeze(jit.trace(layer, _normal(1, 9, 8, 8, dtype=np.float64), check_trace=False))
    x = _normal(2, 9, 17, 9, dtype=np.float64)
    _agree(traced, "native", x)
    x = ingot.zeros(1, 9, 9, 21, dtype=ingot.float64)
    x[0, 2, 4, 5], x[0, 3, 0, 20] = float("nan"), float("inf")
    result = traced(x).numpy()[0]
    touched = ~np.isfinite(result)
    assert touched[2, 3:6, 4:7].all() and touched[3, :2, 19:].all()
    assert touched.sum() == 9 + 4


def test_bits_do_not_depend_on_threads() -> None:
    traced = jit.freeze(jit.trace(_layer(CASES[2]), _normal(1, 32, 9, 9), check_trace=False))
    x, before = _normal(3, 32, 61, 47), ingot.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            ingot.set_num_threads(threads)
            results.append(traced(x).numpy().tobytes())
        assert results[0] == results[1] == results[2]
    finally:
        ingot.set_num_threads(before)
