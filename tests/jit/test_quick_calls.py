"""Calls that native code does by itself: what they return and hold, and all that sends a call the long way."""

import os
import sys
import threading
from collections.abc import Callable

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.jit.runtime import quick_call


def affine(x: ingot.Tensor, y: ingot.Tensor) -> ingot.Tensor:
    return (x * 2 + y).cumsum(0).cumsum(1)


@pytest.fixture(scope="module")
def compiled() -> Callable[..., ingot.Tensor]:
    x = ingot.ones(3, 4)
    function = jit.trace(affine, (x, x), check_trace=False)
    for _ in range(3):
        function(x, x)
    assert function._repeated is not None
    if not quick_call._is_possible():
        pytest.skip("this interpreter has no quick calls")
    return function


def quick(function: Callable[..., ingot.Tensor]) -> Callable[..., ingot.Tensor | None]:
    (*_, found) = function._repeated
    assert found is not None
    return found


def numbers(*shape: int) -> ingot.Tensor:
    return ingot.from_numpy(np.random.default_rng(shape).standard_normal(shape).astype(np.float32))


def test_the_result_is_a_tensor_like_any_other(compiled: Callable[..., ingot.Tensor]) -> None:
    x, y = numbers(3, 4), numbers(3, 4)
    result = quick(compiled)(x, y)
    assert type(result) is ingot.Tensor and result.dtype is ingot.float32
    np.testing.assert_allclose(result.numpy(), affine(x, y).numpy(), rtol=1e-6)
    assert not result.requires_grad and result.is_leaf and result.grad is None
    result += 1
    result.requires_grad_().sum().backward()
    assert result.grad.shape == (3, 4)


def test_what_is_not_as_expected_goes_the_long_way(compiled: Callable[..., ingot.Tensor]) -> None:
    x, y = numbers(3, 4), numbers(3, 4)
    call = quick(compiled)

    class Special(ingot.Tensor):
        pass

    wide = numbers(4, 3)
    unusual = [
        (),
        (x,),
        (x, y, x),
        (x, 1.0),
        (x, y.numpy()),
        (x, numbers(3, 5)),
        (numbers(1, 3, 4), y),
        (x, y.to(ingot.float64)),
        (x, y.to(ingot.int32)),
        (x, ingot.Tensor(wide.numpy().T)),
        (x, ingot.Tensor(numbers(3, 8).numpy()[:, ::2])),
        (x, wide.transpose(0, 1)),
        (x, numbers(6, 4)[::2]),
        (x, Special(y.numpy())),
        (x, y.clone().requires_grad_()),
        (x, ingot.Tensor.__new__(ingot.Tensor)),
        (None, y),
    ]
    for arguments in unusual:
        assert call(*arguments) is None, arguments
    held = ingot.ones(2, 3, 4)
    for given in (held[0], numbers(4, 3).transpose(0, 1), Special(y.numpy())):
        np.testing.assert_allclose(compiled(x, given).numpy(), affine(x, given).numpy(), rtol=1e-6)
    leaf = y.clone().requires_grad_()
    compiled(x, leaf).sum().backward()
    assert leaf.grad is not None


def test_nothing_is_leaked(compiled: Callable[..., ingot.Tensor]) -> None:
    x, y = numbers(3, 4), numbers(3, 4)
    other = numbers(4, 4)
    call = quick(compiled)
    held = (x._array, y._array, other._array, x._array.dtype, None, False, ingot.Tensor, x, y)
    before = [sys.getrefcount(thing) for thing in held]
    for _ in range(1000):
        call(x, y)
        call(x, other)
        call(x, None)
    after = [sys.getrefcount(thing) for thing in held]
    # Others may hold a few more of what everybody uses.
    assert all(abs(a - b) < 100 for a, b in zip(after, before, strict=True))
    assert after[:3] == before[:3] and after[-2:] == before[-2:]
    result = call(x, y)
    array = result._array
    del result
    count = sys.getrefcount(array)
    assert count == 2


def test_modes_are_respected(compiled: Callable[..., ingot.Tensor]) -> None:
    x, y = numbers(3, 4), numbers(3, 4)
    with ingot.inference_mode():
        assert compiled(x, y).is_inference()
    assert not compiled(x, y).is_inference()
    with jit.executor("interpreter"):
        np.testing.assert_allclose(compiled(x, y).numpy(), affine(x, y).numpy(), rtol=1e-6)


def test_what_may_fail_or_is_large_is_left_to_python() -> None:
    rows, index = ingot.ones(5, 3), ingot.tensor([0, 4])
    gather = jit.trace(lambda x, i: x[i], (rows, index), check_trace=False)
    large = jit.trace(lambda x: x + 1, ingot.ones(1 << 19), check_trace=False)
    pair = jit.trace(lambda x: (x + 1, x * 2), rows, check_trace=False)
    for _ in range(3):
        gather(rows, index)
        large(ingot.ones(1 << 19))
        pair(rows)
    assert all(f._repeated[-1] is None for f in (gather, large, pair))
    with pytest.raises(IndexError):
        gather(rows, ingot.tensor([0, 5]))


def test_calls_at_the_same_time(compiled: Callable[..., ingot.Tensor]) -> None:
    tensors = [(numbers(3, 4) * k, numbers(3, 4)) for k in range(4)]
    expected = [affine(*pair).numpy() for pair in tensors]
    wrong: list[int] = []

    def repeat(k: int) -> None:
        for _ in range(3000):
            if not np.allclose(compiled(*tensors[k]).numpy(), expected[k], rtol=1e-5):
                wrong.append(k)

    threads = [threading.Thread(target=repeat, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_after_a_fork_memory_is_there_and_the_pool_starts_again(compiled: Callable[..., ingot.Tensor]) -> None:
    x, y = numbers(3, 4), numbers(3, 4)
    expected = affine(x, y).numpy()
    block, quick_call._block_cell.value = quick_call._block_cell.value, 0  # as if another thread were in a call
    child = os.fork()
    if child == 0:
        there = quick_call._block_cell.value == block
        same = all(np.allclose(compiled(x, y).numpy(), expected, rtol=1e-5) for _ in range(3))
        os._exit(0 if there and same and quick(compiled)(x, y) is not None else 1)
    quick_call._block_cell.value = block
    assert os.waitpid(child, 0)[1] == 0


@jit.script
def scalars(x: ingot.Tensor, k: int, by: float) -> tuple[int, bool, float, ingot.Tensor]:
    return x.numel() // k, k > 2, by / 2, x * by


@jit.script
def sizes(x: ingot.Tensor):
    return x.shape


def test_numbers_are_returned_the_short_way() -> None:
    x = numbers(3, 4)
    for k, by in ((3, 1.5), (2, -0.0), (5, float("inf")), (-7, 0.25)):
        count, large, half, product = scalars(x, k, by)
        assert (count, large) == (12 // k, k > 2) and type(count) is int and type(large) is bool
        assert str(half) == str(by / 2)
        np.testing.assert_array_equal(product.numpy(), x.numpy() * np.float32(by))
    for _ in range(3):
        assert type(sizes(x)) is type(x.shape) and sizes(x) == (3, 4)
        with pytest.raises(ZeroDivisionError):
            scalars(x, 0, 1.0)


def test_parameters_are_those_of_the_moment() -> None:
    layer, x = ingot.nn.Linear(4, 3), numbers(2, 4)
    compiled = jit.trace(layer, x, check_trace=False)
    for _ in range(4):
        with ingot.no_grad():
            layer.weight.mul_(-1.5)
            np.testing.assert_allclose(compiled(x).numpy(), layer(x).numpy(), rtol=1e-5, atol=1e-6)
            layer.bias.data = layer.bias.data + 1
            np.testing.assert_allclose(compiled(x).numpy(), layer(x).numpy(), rtol=1e-5, atol=1e-6)
        layer.zero_grad()
        compiled(x).sum().backward()
        np.testing.assert_allclose(layer.bias.grad.numpy(), np.full(3, 2.0))
