"""bfloat16 and float16: made, promoted, computed in float32 and rounded once, differentiated, stored."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.ir import parse
from ingot.ir.safetensors import read_safetensors, write_safetensors

HALVES = [ingot.float16, ingot.bfloat16]


def test_what_bfloat16_is() -> None:
    info = ingot.finfo(ingot.bfloat16)
    assert (info.bits, info.eps, info.max) == (16, 2.0**-7, float.fromhex("0x1.fep127"))
    assert (
        ingot.bfloat16.itemsize == 2 and ingot.bfloat16.is_floating_point and repr(ingot.bfloat16) == "ingot.bfloat16"
    )
    x = ingot.tensor([1.0, 2.0 + 2.0**-7, 3.0 + 3 * 2.0**-7], dtype=ingot.bfloat16)
    assert x.tolist() == [1.0, 2.0, 3.03125]  # halves go to the even neighbour
    assert x[0].item() == 1.0 and type(x[0].item()) is float and bool(x[0]) and float(x[2]) == 3.03125
    assert repr(x) == "tensor([1.0000, 2.0000, 3.0312], dtype=ingot.bfloat16)"
    with pytest.raises(TypeError, match="BFloat16"):
        x.numpy()
    assert ingot.tensor([float("nan"), float("inf")], dtype=ingot.bfloat16).isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("other", "result"),
    [
        (ingot.float16, ingot.float32),
        (ingot.float32, ingot.float32),
        (ingot.float64, ingot.float64),
        (ingot.int64, ingot.bfloat16),
        (ingot.bool, ingot.bfloat16),
        (ingot.complex64, ingot.complex64),
        (ingot.bfloat16, ingot.bfloat16),
    ],
)
def test_promotion(other: Any, result: Any) -> None:
    assert ingot.promote_types(ingot.bfloat16, other) is result
    assert (ingot.ones(2, dtype=ingot.bfloat16) + ingot.ones(2, dtype=other)).dtype is result


def rounded(array: np.ndarray, dtype: Any) -> list[float]:
    return ingot.from_numpy(array.astype(np.float32)).to(dtype).tolist()


@pytest.mark.parametrize("dtype", HALVES)
def test_ops_compute_in_float32_and_round_once(dtype: Any) -> None:
    values = np.random.default_rng(0).standard_normal((5, 300)).astype(np.float32)
    x = ingot.from_numpy(values).to(dtype)
    wide = np.asarray(x.float().numpy())
    assert (x * 0.1).tolist() == rounded(wide * np.float32(0.1), dtype)  # the number is not rounded first
    assert (x + x).tolist() == rounded(wide + wide, dtype)
    exponentials = np.exp(wide - wide.max(1, keepdims=True))
    found, expected = x.softmax(1).float().numpy(), exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=ingot.finfo(dtype).eps)
    np.testing.assert_allclose(x.sum(1).float().numpy(), wide.sum(1, dtype=np.float64), rtol=ingot.finfo(dtype).eps)
    product = (x @ x.T).float().numpy()
    np.testing.assert_allclose(product, wide @ wide.T, rtol=ingot.finfo(dtype).eps, atol=1e-5)
    assert x.sum(1).dtype is dtype and x.mean().dtype is dtype and (x > 0).dtype is ingot.bool
    x.mul_(2).add_(0.5)
    assert x.tolist() == [rounded(np.asarray(rounded(r, dtype), np.float32) + 0.5, dtype) for r in wide * 2]


@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_have_the_dtype(dtype: Any) -> None:
    layer = ingot.nn.Linear(4, 3).to(dtype)
    x = ingot.ones(2, 4, dtype=dtype, requires_grad=True)
    (layer(x).relu() * 0.5).sum().backward()
    assert x.grad.dtype is dtype and layer.weight.grad.dtype is dtype
    w = ingot.ones(3, requires_grad=True)
    (w.to(dtype) * 2).sum().backward()
    assert w.grad.dtype is ingot.float32 and w.grad.tolist() == [2, 2, 2]


def test_moving_elements_keeps_their_bits() -> None:
    x = ingot.tensor([3.0, float("nan"), -1.0, float("-inf")], dtype=ingot.bfloat16)
    assert x[[2, 0]].tolist() == [-1, 3] and x.flip(0)[0].item() == float("-inf")
    assert ingot.cat([x, x]).view(2, 4).t()[2].tolist() == [-1, -1]
    assert x.view(ingot.int16).view(ingot.bfloat16)[0].item() == 3.0
    assert x.nan_to_num().tolist() == [3, 0, -1, ingot.finfo(ingot.bfloat16).min]
    one = ingot.tensor([1.0], dtype=ingot.bfloat16)
    assert ingot.nextafter(one, one * 2).item() == 1 + 2.0**-7
    assert ingot.rand(1000, dtype=ingot.bfloat16).max().item() < 1


def test_files_and_graphs_keep_it() -> None:
    x = ingot.tensor([1.5, -2.25], dtype=ingot.bfloat16)
    stored = write_safetensors({"w": x._array})
    assert b'"BF16"' in stored and read_safetensors(stored)[0]["w"].tolist() == x._array.tolist()
    traced = jit.trace(lambda a: (a * 2 + ingot.tensor([1.0], dtype=ingot.bfloat16)).exp(), (x,))
    text = str(traced.graph)
    assert "bf16[" in text and str(parse(text)) == text
    with jit.executor("interpreter"):
        assert traced(x).tolist() == (x * 2 + 1).exp().tolist()
