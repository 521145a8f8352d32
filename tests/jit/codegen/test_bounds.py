"""INGOT_CHECK_BOUNDS: un-jitted kernels check each index, and generated kernels stay inside their memory."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.jit.codegen.primitives import check_bounds, pointer_f32
from ingot.nn import functional as F


@pytest.fixture(autouse=True)
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_CHECK_BOUNDS", "1")


def test_elements_outside_are_refused() -> None:
    memory = np.arange(8, dtype=np.float32)
    with check_bounds([(memory.ctypes.data, memory.nbytes)]):
        start, middle = pointer_f32(memory.ctypes.data), pointer_f32(memory.ctypes.data + 12)
        assert (start[0], start[7], middle[-3], middle[4]) == (0, 7, 0, 7)
        middle[1] = 9
        for pointer, index in ((start, 8), (start, -1), (middle, 5), (middle, -4)):
            with pytest.raises(IndexError, match="memory that has elements"):
                pointer[index]
            with pytest.raises(IndexError, match="memory that has elements"):
                pointer[index] = 0
    assert memory[4] == 9
    pointer_f32(memory.ctypes.data)[0]  # no checks any more


CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "pointwise": (lambda x, y: (x + y).tanh(), ((3, 7), (7,))),
    "rows": (lambda x: x.softmax(-1), ((3, 17),)),
    "padded rows": (lambda x: F.pad(x.exp() * x, (1, 2), value=0.5).softmax(-1), ((3, 17),)),
    "padded variance": (lambda x, y: F.pad(x.exp() * y, (1, 2)).var(-1), ((1, 17), (1, 17))),
    "columns": (lambda x: x.sum(0) + x.amax(0), ((13, 5),)),
    "transposed": (lambda x: x.transpose(0, 1).contiguous(), ((33, 40),)),
    "gather": (lambda x: x[x.argmax(0)], ((4, 5),)),
    "order": (lambda x: x.sort(-1)[0] + x.cumsum(1), ((3, 9),)),
    "product": (lambda x, y: F.relu(x @ y), ((5, 9), (9, 3))),
    "attention": (lambda q, k: F.scaled_dot_product_attention(q, k, k, is_causal=True), ((2, 5, 4), (2, 7, 4))),
    "convolution": (lambda x, w: F.max_pool2d(F.conv2d(x, w, padding=1).relu(), 2), ((2, 3, 7, 5), (4, 3, 3, 3))),
    "two convolutions": (lambda x, w: F.conv2d(F.conv2d(x, w, padding=1), w, padding=2), ((1, 3, 5, 6), (3, 3, 3, 3))),
}


@pytest.mark.parametrize("name", CASES)
def test_kernels_stay_inside(name: str) -> None:
    function, shapes = CASES[name]
    random = np.random.default_rng(0)
    tensors = tuple(ingot.from_numpy(random.standard_normal(s).astype(np.float32)) for s in shapes)
    with jit.executor("python"):
        result = jit.trace(function, tensors, check_trace=False)(*tensors)
    np.testing.assert_allclose(result.numpy(), function(*tensors).numpy(), rtol=1e-4, atol=1e-5)
