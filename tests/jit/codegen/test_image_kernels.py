"""Pooling, gradients of weights and Winograd's convolutions: against the interpreter, and within error bounds."""

from collections.abc import Callable, Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit, nn
from ingot.jit.codegen.winograd import output_size
from ingot.nn import functional as F

Arrays = tuple[np.ndarray[Any, Any], ...]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = ingot.get_num_threads()
    yield ingot.set_num_threads
    ingot.set_num_threads(before)


def _normal(*shape: int, seed: int = 0) -> ingot.Tensor:
    return ingot.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32))


def _run(function: Any, executor: str, *inputs: ingot.Tensor) -> Arrays:
    with jit.executor(executor):
        results = function(*inputs)
    return tuple(r.numpy() for r in (results if isinstance(results, tuple) else (results,)))


def _agree(results: Arrays, expected: Arrays) -> None:
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == wanted.shape
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(wanted).max(initial=0)))


# -- pooling -----------------------------------------------------------------------------------------------------------

WINDOWS = [(3, 2, 1, 1, False), ((2, 5), (3, 2), (1, 2), 1, True), (3, 1, 1, 2, False), ((1, 17), 2, 0, 1, False)]


def _pools(window: Any) -> Callable[..., Any]:
    kernel, stride, padding, dilation, ceil = window

    def pools(x: ingot.Tensor, w: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        """Pools of a convolution's images and of contiguous ones, to results and to another convolution."""
        y = F.conv2d(x, w)
        pooled = F.max_pool2d(y, kernel, stride, padding, dilation, ceil)
        plain = F.max_pool2d(x * 1.0, kernel, stride, padding, dilation, ceil)
        if dilation != 1:
            return pooled, plain
        means = F.avg_pool2d(y, kernel, stride, padding, ceil, False), F.avg_pool2d(x, kernel, stride, padding, ceil)
        return pooled, plain, *means, F.conv2d(F.relu(pooled), w.transpose(0, 1))

    return pools


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_pools_in_either_layout(window: Any) -> None:
    traced = jit.trace(_pools(window), (_normal(2, 3, 17, 23), _normal(7, 3, 1, 1)), check_trace=False)
    for images, height, width in ((2, 17, 23), (1, 19, 40), (0, 17, 17)):
        x = _normal(images, 3, height, width)
        if images == 2:
            x[0, 1, 3, 4] = float("nan")
            x[1, 2, 5, 6] = float("inf")
        w = ingot.nan_to_num(_normal(7, 3, 1, 1))
        expected = _run(traced, "interpreter", x, w)
        for result, wanted in zip(_run(traced, "native", x, w), expected, strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)
    small = _normal(1, 3, 5, 18), _normal(7, 3, 1, 1)
    _agree(_run(traced, "python", *small), _run(traced, "interpreter", *small))


@pytest.mark.slow
@pytest.mark.parametrize("window", [(2, 2, 0, 1, False), *WINDOWS[:2]], ids=str)
def test_gradients_of_pools(window: Any, threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, stride, padding, dilation, ceil = window

    def gradients(x: ingot.Tensor, w: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        x, w = x.detach().requires_grad_(True), w.detach().requires_grad_(True)
        y = F.conv2d(x, w)
        total = (F.max_pool2d(y, kernel, stride, padding, dilation, ceil) ** 2).sum()
        total = total + (F.max_pool2d(x, kernel, stride, padding, dilation, ceil) ** 2).sum()
        if dilation == 1:
            total = total + (F.avg_pool2d(y, kernel, stride, padding, ceil, False) ** 2).sum()
            total = total + (F.avg_pool2d(x, kernel, stride, padding, ceil) ** 2).sum()
        total.backward()
        return x.grad, w.grad

    traced = jit.trace(gradients, (_normal(2, 3, 9, 11), _normal(5, 3, 1, 1)), check_trace=False)
    for shape in ((2, 3, 9, 11), (1, 3, 13, 8)):
        inputs = _normal(*shape), _normal(5, 3, 1, 1)
        expected = _run(traced, "interpreter", *inputs)
        threads(1)
        alone = _run(traced, "native", *inputs)
        threads(3)
        _agree(alone, expected)
        for one, three in zip(alone, _run(traced, "native", *inputs), strict=True):
            np.testing.assert_array_equal(one, three)
    monkeypatch.setenv("INGOT_CHECK_BOUNDS", "1")
    small = _normal(1, 2, 6, 6), _normal(3, 2, 1, 1)
    _agree(_run(traced, "python", *small), _run(traced, "interpreter", *small))


# -- gradients of weights ----------------------------------------------------------------------------------------------

CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 9, 11), (5, 3, 3, 3), {"padding": 1}),
    ((3, 4, 13, 7), (6, 2, 3, 2), {"padding": (1, 0), "stride": 2, "groups": 2}),
    ((2, 20, 8, 8), (20, 1, 5, 3), {"padding": 2, "groups": 20, "stride": (2, 1)}),
    ((1, 2, 20, 300), (3, 2, 3, 3), {"dilation": 2, "padding": 2}),
    ((70, 1, 8, 8), (33, 1, 3, 3), {}),
    ((1, 66, 5, 5), (66, 1, 3, 3), {"groups": 66, "padding": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda c: f"{c[0]}x{c[1]}")
def test_gradients_of_weights(case: Any, threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    shape, weight, options = case

    def gradients(x: ingot.Tensor, w: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        x, w = x.detach().requires_grad_(True), w.detach().requires_grad_(True)
        (F.conv2d(F.relu(x), w, None, **options) ** 2).sum().backward()
        return x.grad, w.grad

    traced = jit.trace(gradients, (_normal(*shape), _normal(*weight)), check_trace=False)
    for images in (shape[0], 1, 0):
        inputs = _normal(images, *shape[1:]), _normal(*weight)
        expected = _run(traced, "interpreter", *inputs)
        threads(1)
        alone = _run(traced, "native", *inputs)
        threads(3)
        _agree(alone, expected)
        for one, three in zip(alone, _run(traced, "native", *inputs), strict=True):
            np.testing.assert_array_equal(one, three)
    if np.prod(shape) < 1500:
        inputs = _normal(1, *shape[1:]), _normal(*weight)
        monkeypatch.setenv("INGOT_CHECK_BOUNDS", "1")
        _agree(_run(traced, "python", *inputs), _run(traced, "interpreter", *inputs))


def test_sums_over_all_of_an_image_with_channels_last() -> None:
    def sums(x: ingot.Tensor, w: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        y = F.conv2d(x, w)
        return F.max_pool2d(y, 2).cos().sum(), F.conv2d(y, w[:, :1].expand(-1, 5, -1, -1)), y.sum((1, 2)), y.mean()

    inputs = _normal(2, 3, 7, 12), _normal(5, 3, 1, 1)
    traced = jit.trace(sums, inputs, check_trace=False)
    _agree(_run(traced, "native", *inputs), _run(traced, "interpreter", *inputs))


# -- Winograd ----------------------------------------------------------------------------------------------------------


class Pair(nn.Module):
    """Two convolutions with what usually follows them: a bias, a residual and a ReLU."""

    def __init__(self, channels: int, out_channels: int, padding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out_channels, 3, padding=padding)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        y = F.relu(self.first(x))
        return F.relu(self.second(y) + y), self.second(y)


def _frozen(model: nn.Module, x: ingot.Tensor) -> Any:
    return jit.freeze(jit.trace(model.eval().requires_grad_(False), x, check_trace=False))


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "out_channels", "padding"), [(16, 16, 1), (17, 35, 0), (260, 257, 1)])
def test_rounding_errors_of_winograd(channels: int, out_channels: int, padding: int) -> None:
    """F(4x4) within 3e-5 of the largest value, F(2x2) within 5e-6; the direct form is within 2e-6."""
    ingot.manual_seed(0)
    model = Pair(channels, out_channels, padding)
    shapes = [(2, 9, 14), (1, 3, 3), (3, 8, 5), (0, 6, 6), (1, 30, 31)] if channels < 100 else [(1, 7, 7), (2, 3, 6)]
    frozen = _frozen(model, _normal(2, channels, 9, 14))
    exact = Pair(channels, out_channels, padding).double().requires_grad_(False)
    exact.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    bound = {4: 3e-5, 2: 5e-6}[output_size(channels, out_channels)]
    for images, height, width in shapes:
        x = _normal(images, channels, height, width)
        for result, wanted in zip(frozen(x), exact(x.double()), strict=True):
            assert result.shape == wanted.shape
            error = (result.double() - wanted).abs().numpy().max(initial=0)
            assert error <= bound * np.abs(wanted.numpy()).max(initial=1e-30)
    assert f"Winograd F({output_size(channels, out_channels)}x" in str(frozen.explain())


def test_winograd_can_be_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Pair(16, 16, 1), _normal(1, 16, 6, 6)
    with jit.winograd(False):
        direct = _frozen(model, x)
    monkeypatch.setenv("INGOT_WINOGRAD", "0")
    by_environment = _frozen(model, x)
    monkeypatch.delenv("INGOT_WINOGRAD")
    quick = _frozen(model, x)
    results = [f(x)[0].numpy() for f in (direct, by_environment, quick)]
    assert ["Winograd" in str(f.explain()) for f in (direct, by_environment, quick)] == [False, False, True]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(results[0], results[2], rtol=1e-4, atol=1e-5)


def test_winograd_on_any_number_of_threads_and_in_python(threads: Callable[[int], None]) -> None:
    model, x = Pair(16, 40, 1), _normal(3, 16, 13, 18)
    frozen = _frozen(model, x)
    threads(1)
    alone = _run(frozen, "native", x)
    threads(4)
    for one, four in zip(alone, _run(frozen, "native", x), strict=True):
        np.testing.assert_array_equal(one, four)
    small = _normal(1, 16, 3, 5)
    _agree(_run(frozen, "python", small), _run(frozen, "interpreter", small))


def test_weights_that_are_no_constants_are_convolved_directly() -> None:
    traced = jit.trace(lambda x, w: F.conv2d(x, w), (_normal(1, 16, 6, 6), _normal(16, 16, 3, 3)))
    traced(_normal(1, 16, 6, 6), _normal(16, 16, 3, 3))
    assert "Winograd" not in str(traced.explain())


# -- groups ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("groups", "channels", "kernel"), [(9, 72, (3, 2)), (3, 6, (1, 3)), (4, 16, (3, 3))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_groups_of_few_channels(groups: int, channels: int, kernel: tuple[int, int], dtype: Any) -> None:
    random = np.random.default_rng(3)
    w = ingot.from_numpy(random.standard_normal((channels, channels // groups, *kernel)).astype(dtype))
    x = ingot.from_numpy(random.standard_normal((2, channels, 7, 9)).astype(dtype))

    def convolve(x: ingot.Tensor, w: ingot.Tensor) -> ingot.Tensor:
        return F.relu(F.conv2d(x, w, None, (1, 2), (1, 0), 2 if kernel[1] > 2 else 1, groups))

    traced = jit.trace(convolve, (x, w), check_trace=False)
    for inputs in ((x, w), (x[:1, :, :6], w), (x[:0], w)):
        expected = _run(traced, "interpreter", *inputs)
        for result, wanted in zip(_run(traced, "native", *inputs), expected, strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)
    _agree(_run(traced, "python", x[:1], w), _run(traced, "interpreter", x[:1], w))
    frozen = jit.freeze(jit.trace(lambda x: convolve(x, w), (x,), check_trace=False, on_bake="ignore"))
    _agree(_run(frozen, "native", x), _run(traced, "interpreter", x, w))


# -- one filter per channel --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "kernel", "options"),
    [
        (17, (3, 3), {"padding": 1}),
        (24, (5, 2), {"stride": (1, 2), "padding": (2, 0)}),
        (300, (1, 3), {"stride": 2, "dilation": (1, 2), "padding": (0, 2)}),
    ],
)
def test_one_filter_per_channel(channels: int, kernel: Any, options: dict[str, Any], threads: Any) -> None:
    """Between other convolutions, where images have channels last."""
    model = nn.Sequential(
        nn.Conv2d(3, channels, 1),
        nn.Conv2d(channels, channels, kernel, groups=channels, **options),
        nn.Hardswish(),
        nn.Conv2d(channels, 4, 1, bias=False),
    ).eval()
    traced = jit.freeze(jit.trace(model, _normal(2, 3, 9, 9), check_trace=False))
    for shape in ((2, 3, 9, 9), (1, 3, 6, 33), (3, 3, 5, 5), (0, 3, 9, 9)):
        x = _normal(*shape)
        _agree(_run(traced, "native", x), _run(traced, "interpreter", x))
    assert "_rows(x, w, c" in traced.kernel_source()
    assert "one filter per channel, its elements written out" in str(traced.explain())
    small = _normal(1, 3, 5, 6)
    _agree(_run(traced, "python", small), _run(traced, "interpreter", small))
    bits = []
    for count in (1, 2, 3):
        threads(count)
        bits.append(traced(_normal(2, 3, 21, 33)).numpy().tobytes())
    assert bits[0] == bits[1] == bits[2]
