"""Convolutions and what lies between them keep images with their channels last: the same results, fewer copies."""

import ingot
import numpy as np
import pytest
from ingot import jit, nn
from ingot.nn import functional as F


class Mixed(nn.Module):
    """Borders of several widths over one value, a concatenation, pooling, sums, and results in the usual layout."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 17, 3, padding=1)
        self.norm = nn.BatchNorm2d(17)
        self.depthwise = nn.Conv2d(17, 17, 3, padding=2, dilation=2, groups=17)
        self.strided = nn.Conv2d(17, 5, 1, stride=2)
        self.last = nn.Conv2d(22, 4, 3, padding=(0, 2))
        self.wide = nn.Conv2d(17, 17, 5, padding=2, bias=False)

    def forward(self, x: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        y = F.relu(self.norm(self.first(x)))
        z = self.depthwise(y) + y * 0.5
        pooled = F.max_pool2d(z, 3, stride=2, padding=1)
        joined = self.last(ingot.cat((self.strided(y), pooled), 1))
        scaled = self.wide(z * z.mean((2, 3), keepdim=True))
        averaged = F.avg_pool2d(scaled, 2)
        flat = self.wide(averaged).reshape(averaged.shape[0], -1)
        return joined, z.sum((2, 3)), averaged.flatten(1), self.wide(y).permute(0, 2, 3, 1), flat.softmax(1)


@pytest.fixture(scope="module")
def model() -> Mixed:
    ingot.manual_seed(0)
    return Mixed().eval().requires_grad_(False)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 3, 13, 11)])
@pytest.mark.parametrize("executor", ["native", "python"])
def test_a_network_with_images_in_all_layouts(model: Mixed, shape: tuple[int, ...], executor: str) -> None:
    x = ingot.from_numpy(np.random.default_rng(1).standard_normal(shape).astype(np.float32))
    compiled = jit.freeze(jit.trace(model, x, check_trace=False))
    for batch in (shape[0], 5) if executor == "native" else (shape[0],):
        x = ingot.from_numpy(np.random.default_rng(batch).standard_normal((batch, *shape[1:])).astype(np.float32))
        with jit.executor(executor):
            results = compiled(x)
        for result, expected in zip(results, model(x), strict=True):
            assert result.shape == expected.shape
            np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_images_change_their_layout_at_the_edges_only(model: Mixed) -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
    network = nn.Sequential(network, nn.MaxPool2d(2), nn.Conv2d(16, 4, 3)).eval().requires_grad_(False)
    x = ingot.randn(1, 3, 12, 12)
    compiled = jit.freeze(jit.trace(network, x, check_trace=False))
    np.testing.assert_allclose(compiled(x).numpy(), network(x).numpy(), rtol=1e-4, atol=1e-5)
    driver = compiled.kernel_source().rsplit("def driver_", 1)[1]
    assert driver.count("launch(k_to_nhwc") == 1  # the network's own input


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "groups"),
    [
        (4, 2, 1, 0, 1),
        (3, 2, 1, 1, 1),
        (3, 3, 0, 1, 2),
        (1, 2, 0, 0, 1),
        ((2, 5), (3, 2), (0, 2), (1, 0), 3),
        ((2, 6), (2, 3), (1, 4), (1, 2), 2),
        (4, 1, 0, 0, 1),
    ],
)
def test_transposed_convolutions(kernel: int, stride: int, padding: int, extra: int, groups: int) -> None:
    layer = nn.ConvTranspose2d(6, 4 * groups, kernel, stride, padding, extra, groups=groups)
    layer = layer.eval().requires_grad_(False)
    compiled = jit.freeze(jit.trace(layer, ingot.randn(2, 6, 5, 7), check_trace=False))
    for shape in ((2, 6, 5, 7), (1, 6, 9, 4), (17, 6, 3, 3)):
        x = ingot.randn(*shape)
        np.testing.assert_allclose(compiled(x).numpy(), layer(x).numpy(), rtol=1e-4, atol=1e-5)


def test_convolutions_of_the_same_images_share_their_padded_copy() -> None:
    first, second = (nn.Conv2d(17, 18, 3, padding=1).requires_grad_(False) for _ in range(2))
    other = nn.Conv2d(17, 18, 5, padding=2).requires_grad_(False)
    x = ingot.randn(2, 17, 7, 6)

    def both(x: ingot.Tensor) -> ingot.Tensor:
        return first(x) * second(x) + other(x)

    traced = jit.trace(both, (x,), check_trace=False, on_bake="ignore")
    np.testing.assert_allclose(traced(x).numpy(), both(x).numpy(), rtol=1e-4, atol=1e-5)
    driver = traced.kernel_source().rsplit("def driver_", 1)[1]
    assert driver.count("launch(k_to_nhwc") == 2
