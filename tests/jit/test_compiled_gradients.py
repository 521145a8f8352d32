"""Gradients through compiled callables: as of eager execution, checked against it, whoever runs the backward."""

import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ingot import autograd, ir
from ingot.eager import modes
from ingot.eager.functions import add, mul, sum
from ingot.eager.tensor import Tensor, wrap
from ingot.jit.errors import FallbackWarning
from ingot.jit.executors import executor
from ingot.jit.function import Call, CompiledFunction, Specialised
from ingot.jit.tree import LEAF, Structure, tuple_structure


class FromText(CompiledFunction):
    def __init__(self, text: str, results: Structure = LEAF, writes: Any = (), outputs: int | None = None) -> None:
        super().__init__("from_text")
        self.made = ir.parse(text)
        self.made.writes, self.made.outputs = list(writes), outputs
        self.results = results

    def specialise(self, call: Call) -> Specialised:
        return Specialised(self.made, self.results)


POLYNOMIAL = """
graph @f(%x: f32[n, m], %y: f32[m]) -> (f32[n, m], f32[m]) {
  %0: f32[n, m] = mul(%x, %y)
  %1: f32[n, m] = mul(%0, %0)
  %2: f32[n, m] = add(%1, %x)
  %3: f32[m] = mul(%y, %y)
  return(%2, %3)
}
"""
PAIR = tuple_structure([LEAF, LEAF])


def eager(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    product = mul(x, y)
    return add(mul(product, product), x), mul(y, y)


def inputs() -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(0)
    x = wrap(generator.standard_normal((3, 5)).astype(np.float32)).requires_grad_()
    y = wrap(generator.standard_normal(5).astype(np.float32)).requires_grad_()
    return x, y


def gradients(function: Callable[..., Any]) -> list[np.ndarray]:
    x, y = inputs()
    first, second = function(x, y)
    assert first.requires_grad and second.requires_grad and first.grad_fn is not None
    add(sum(mul(first, first)), sum(second)).backward()
    assert x.grad is not None and y.grad is not None
    return [x.grad.numpy(), y.grad.numpy()]


@pytest.fixture(scope="module")
def polynomial() -> FromText:
    return FromText(POLYNOMIAL, PAIR)


@pytest.mark.parametrize("name", ["native", "interpreter", "python"])
def test_gradients_are_those_of_eager_execution(polynomial: FromText, name: str) -> None:
    with executor(name):
        for compiled, expected in zip(gradients(polynomial), gradients(eager), strict=True):
            np.testing.assert_allclose(compiled, expected, rtol=2e-5, atol=1e-6)


def test_gradients_in_some_of_the_arguments(polynomial: FromText) -> None:
    x, y = inputs()
    first, second = polynomial(x.detach(), y)
    sum(first).backward()
    assert y.grad is not None and x.grad is None and second.requires_grad
    first, second = polynomial(x, y.detach())
    assert first.requires_grad and not second.requires_grad


def test_unused_results_count_as_zero(polynomial: FromText) -> None:
    x, y = inputs()
    _, second = polynomial(x, y)
    sum(second).backward()
    assert y.grad is not None and x.grad is not None
    np.testing.assert_allclose(y.grad.numpy(), 2 * y.detach().numpy())
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros((3, 5)))


def test_no_grad_and_integers_have_no_graph(polynomial: FromText) -> None:
    x, y = inputs()
    with modes.no_grad():
        first, second = polynomial(x, y)
    assert not first.requires_grad and not second.requires_grad


def test_a_second_backward_needs_retain_graph(polynomial: FromText) -> None:
    x, y = inputs()
    loss = sum(polynomial(x, y)[0])
    loss.backward(retain_graph=True)
    assert x.grad is not None
    once = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * once, rtol=1e-6)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_gradients_of_gradients(polynomial: FromText) -> None:
    results = []
    for function in (polynomial, eager):
        x, y = inputs()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (first,) = autograd.grad(sum(function(x, y)[0]), x, create_graph=True)
        # A compiled callable says that it runs op by op here.
        assert ["op by op" in str(w.message) for w in caught] == [True] * (function is polynomial)
        (second,) = autograd.grad(sum(first), y)
        results.append(second.numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=2e-5)


@pytest.mark.parametrize("which", [0, 1])
def test_arguments_that_were_written_since_are_found(polynomial: FromText, which: int) -> None:
    arguments = inputs()
    loss = sum(polynomial(*arguments)[0])
    with modes.no_grad():
        arguments[which].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_results_are_freed_without_garbage_collection(polynomial: FromText) -> None:
    gc.disable()
    try:
        first, second = polynomial(*inputs())
        watched = weakref.ref(first)
        del first, second
        assert watched() is None
    finally:
        gc.enable()


def test_hooks_see_the_gradient(polynomial: FromText) -> None:
    x, y = inputs()
    first, _ = polynomial(x, y)
    seen: list[Any] = []
    first.register_hook(lambda g: seen.append(g.shape))
    sum(first).backward()
    assert seen == [(3, 5)]


def test_new_sizes_use_the_same_derivative(polynomial: FromText) -> None:
    count = len(polynomial.specialisations[0].derivatives)
    x = wrap(np.ones((7, 2), np.float32)).requires_grad_()
    y = wrap(np.full(2, 3.0, np.float32)).requires_grad_()
    sum(polynomial(x, y)[0]).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), np.full((7, 2), 19.0))
    assert len(polynomial.specialisations) == 1 and len(polynomial.specialisations[0].derivatives) == count


class TestWrites:
    TEXT = """
    graph @f(%x: f32[n], %buffer: f32[n]) -> (f32[n], f32[n]) {
      %0: f32[n] = mul(%x, %x)
      %1: f32[n] = add(%buffer, %buffer)
      return(%0, %1)
    }
    """

    def test_buffers_are_updated_beside_gradients(self) -> None:
        function = FromText(self.TEXT, writes=[(1, 1)], outputs=1)
        x, buffer = wrap(np.array([1, 2], np.float32)).requires_grad_(), wrap(np.array([1, 1], np.float32))
        sum(function(x, buffer)).backward()
        assert x.grad is not None and x.grad.tolist() == [2, 4] and buffer.tolist() == [2, 2]

    def test_written_arguments_that_need_gradients_run_op_by_op(self) -> None:
        text = self.TEXT.replace("add(%buffer, %buffer)", "mul(%buffer, %x)")
        function = FromText(text, writes=[(1, 1)], outputs=1)
        x, buffer = wrap(np.array([1, 2], np.float32)).requires_grad_(), wrap(np.array([3, 3], np.float32))
        with pytest.warns(FallbackWarning, match="from_text runs op by op where gradients are needed: an argument"):
            result = function(x, buffer)
        assert buffer.requires_grad and buffer.tolist() == [3, 6]
        sum(add(result, buffer)).backward()
        assert x.grad is not None and x.grad.tolist() == [5, 7]
        assert "with gradients it runs op by op" in function.explain()


def test_no_warning_where_nothing_falls_back(polynomial: FromText) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients(polynomial)
