"""Rows not much longer than vectors: turned in tiles, sorted by a network; at other lengths, the other form."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit


def numbers(rows: int, length: int, dtype: str = "float32") -> ingot.Tensor:
    values = np.random.default_rng([rows, length]).integers(-8, 9, (rows, length)) / 4
    if values.size > 400 and dtype.startswith("float"):
        values.flat[[30, 70, 71, 200, 333]] = [np.nan, np.inf, -np.inf, -0.0, np.nan]
    return ingot.tensor(values.astype(dtype))


def fused(x: Any, weight: Any, bias: Any, scale: Any) -> Any:
    centred = x - x.mean(1, keepdim=True)
    scaled = x * scale[:, None]
    return (
        x.softmax(1), x.log_softmax(1) * scale[:, None], x.sum(1) + scale, x.logsumexp(1), x.std(1),
        centred * (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt() * weight + bias,
        scaled * (scaled.square().mean(1, keepdim=True) + 1e-5).rsqrt(), x - x.amax(1, keepdim=True),
    )  # fmt: skip


def ordered(x: Any) -> Any:
    return (
        *x.sort(1), x.argsort(1, descending=True), *x.topk(3, 1), *x.topk(2, 1, largest=False), x.topk(1, 1)[1],
        x.argmax(1), x.argmin(1), *x.max(1), *x.kthvalue(2, 1), *x.median(1),
    )  # fmt: skip


def operands(rows: int, length: int, dtype: str = "float32") -> tuple[ingot.Tensor, ...]:
    weight, scale = numbers(1, length, dtype)[0], numbers(rows, 1, dtype)[:, 0]
    return numbers(rows, length, dtype), weight, weight * 2 + 1, scale


def check(function: Callable[..., Any], inputs: tuple[ingot.Tensor, ...]) -> None:
    results = function(*inputs)
    with jit.executor("interpreter"):
        expected = function(*inputs)
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype is wanted.dtype
        np.testing.assert_allclose(result.numpy(), wanted.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reductions_across_rows(dtype: str) -> None:
    function = jit.trace(fused, operands(37, 17, dtype), check_trace=False)
    function(*operands(37, 17, dtype))
    assert "turn_rows" in function.kernel_source() and "turn_back" in function.kernel_source()
    for rows, length in ((37, 17), (1, 9), (64, 32), (101, 10), (33, 16), (5, 5), (3, 33), (29, 130), (0, 17), (70, 2)):
        check(function, operands(rows, length, dtype))
    with jit.executor("python"):
        check(function, operands(35, 9, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
def test_order_of_short_rows(dtype: str) -> None:
    function = jit.trace(ordered, numbers(37, 17, dtype), check_trace=False)
    function(numbers(37, 17, dtype))
    assert "distance" in function.kernel_source()
    for rows, length in ((37, 17), (1, 3), (64, 64), (101, 10), (33, 16), (40, 65), (3, 300), (0, 17), (2, 2000)):
        check(function, (numbers(rows, length, dtype),))
    with jit.executor("python"):
        check(function, (numbers(34, 5, dtype),))


@pytest.mark.slow
def test_threads_do_not_matter() -> None:
    function = jit.trace(lambda *inputs: (*fused(*inputs), *ordered(inputs[0])), operands(40, 12), check_trace=False)
    inputs = operands(20011, 12)
    before, results = ingot.get_num_threads(), []
    for threads in (1, 2, 3):
        ingot.set_num_threads(threads)
        results.append([r.numpy().tobytes() for r in function(*inputs)])
    ingot.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_a_part_of_the_order_is_selected() -> None:
    x = numbers(3, 5000)
    function = jit.trace(
        lambda x: (*x.kthvalue(700, 1), *x.median(1), x.topk(200, 1)[0], x.topk(150, 1, largest=False)[1]),
        x, check_trace=False,
    )  # fmt: skip
    check(function, (x,))
    check(function, (ingot.zeros(2, 1000),))
    check(function, (numbers(2, 701),))
