"""float16 and bfloat16 in kernels: stored in 16 bits, computed in float32, each operation rounded as PyTorch does."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.nn import functional as F

pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
from ingot.jit.codegen.target import host_target

pytestmark = pytest.mark.skipif(not host_target().fused, reason="this CPU has no conversions of float16")
random = np.random.default_rng(0)
DTYPES = [ingot.float16, ingot.bfloat16]


def numbers(shape: tuple[int, ...], dtype: Any, *, special: bool = False) -> ingot.Tensor:
    values = random.standard_normal(shape).astype(np.float32)
    if special:
        values.flat[::7], values.flat[::5], values.flat[::13] = np.inf, 1e-6, -0.0
    return ingot.from_numpy(values).to(dtype)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "pointwise": lambda x, y: ((x * y).sigmoid() + x * 0.3 - y / 2).tanh(),
    "with float32": lambda x, y: x.float() * y.float().exp(),
    "choice": lambda x, y: ingot.where(x > y, x, y * 2),
    "reductions": lambda x, y: x.sum(0) + y.mean(1, keepdim=True).sum() + y.amax(1),
    "normalisation": lambda x, y: F.layer_norm(x.softmax(-1), (24,)) + F.gelu(y),
    "products": lambda x, y: F.linear(x @ y.transpose(0, 1), y.transpose(0, 1), y.sum(0)),
    "casts": lambda x, y: (x.float() * 1.0001).to(x.dtype) + y.double().to(x.dtype) + y.int().to(x.dtype),
    "order": lambda x, y: x.sort(-1)[0] + y.cumsum(1),
    "views": lambda x, y: ingot.cat((x.t(), y.t()), 1).contiguous(),
    "tests": lambda x, y: x.isnan() | y.isinf(),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_like_the_interpreter(name: str, dtype: Any) -> None:
    function = FUNCTIONS[name]
    special = name in ("choice", "views", "tests")
    tensors = numbers((24, 24), dtype, special=special), numbers((24, 24), dtype, special=special)
    compiled = jit.trace(function, tensors, check_trace=False)
    expected = function(*tensors)
    tolerance = 2e-3 if dtype is ingot.float16 else 1.6e-2
    for executor in ("native", "python"):
        with jit.executor(executor):
            result = compiled(*tensors)
        assert result.dtype == expected.dtype
        actual, wanted = result.float().numpy(), expected.float().numpy()
        np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_all_conversions() -> None:
    import ml_dtypes

    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    widen = jit.trace(lambda x: x.float(), ingot.from_numpy(halves[:8]), check_trace=False)
    np.testing.assert_array_equal(widen(ingot.from_numpy(halves)).numpy(), halves.astype(np.float32))
    singles = np.frombuffer(random.bytes(1 << 20), np.float32).copy()
    finite = halves.astype(np.float64)[:30000]
    middles = finite[:-1] + (finite[1:] - finite[:-1]) / 2
    doubles = np.concatenate([np.frombuffer(random.bytes(1 << 20), np.float64), middles, middles * (1 + 1e-12)])
    for values in (singles, doubles):
        narrow = jit.trace(lambda x: x.half(), ingot.from_numpy(values[:8]), check_trace=False)
        np.testing.assert_array_equal(narrow(ingot.from_numpy(values)).numpy(), values.astype(np.float16))
    brain = jit.trace(lambda x: x.bfloat16().float(), ingot.from_numpy(singles[:8]), check_trace=False)
    expected = singles.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(brain(ingot.from_numpy(singles)).numpy(), expected)


# -- products that read weights as they are stored --------------------------------------------------------------------

PRODUCTS: dict[str, Callable[[ingot.Tensor, ingot.Tensor], ingot.Tensor]] = {
    "linear": lambda x, w: F.linear(x, w.float()),
    "linear with scales": lambda x, w: F.linear(x, w.float() * (w.float().sum(1, keepdim=True) * 0.01)).relu(),
    "matmul": lambda x, w: x @ w.float().transpose(0, 1) + 1,
    "matmul of columns": lambda x, w: x @ w.transpose(0, 1).contiguous().float(),
    "batches": lambda x, w: x.reshape(1, *x.shape).expand(3, *x.shape) @ w.float().transpose(0, 1).unsqueeze(0),
}


def weights(shape: tuple[int, ...], dtype: str) -> ingot.Tensor:
    if dtype.endswith("int8"):
        return ingot.from_numpy(random.integers(0, 100, shape).astype(dtype))
    return numbers(shape, getattr(ingot, dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint8"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_narrow_weights(name: str, dtype: str) -> None:
    function = PRODUCTS[name]

    def arguments(m: int, k: int, n: int) -> tuple[ingot.Tensor, ingot.Tensor]:
        return numbers((m, k), ingot.float32), weights((n, k), dtype)

    compiled = jit.trace(function, arguments(3, 5, 7), check_trace=False)
    for sizes in ((3, 5, 7), (2, 300, 40), (33, 600, 65), (4, 64, 32), (2, 0, 3), (0, 4, 4)):
        x, w = arguments(*sizes)
        result, expected = compiled(x, w).numpy(), function(x, w).numpy()
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(expected).max(initial=0)))
    x, w = arguments(6, 40, 35)
    with jit.executor("python"):
        result = compiled(x, w).numpy()
    np.testing.assert_allclose(result, function(x, w).numpy(), rtol=1e-4, atol=1e-2)


def test_narrow_weights_are_not_copied() -> None:
    compiled = jit.trace(PRODUCTS["linear"], (numbers((3, 64), ingot.float32), weights((48, 64), "int8")))
    compiled(numbers((3, 64), ingot.float32), weights((48, 64), "int8"))
    assert "cast" not in compiled.kernel_source()
