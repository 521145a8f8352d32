"""One tensor in several places of a call, and recorded in-place writes: gradients are those of the plain form."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.eager.dispatch import dispatch
from ingot.ir.ops._op import Op
from op_samples import OPS


def alike(op: Op) -> list[tuple[tuple[Any, ...], dict[str, Any], int, int]]:
    """Samples with two operands of one floating-point dtype and shape, and which those are."""
    found = []
    for sample in op.samples():
        operands, attributes = op.schema.bind(*sample.args, **sample.kwargs)
        floats = [
            i
            for i, o in enumerate(operands)
            if isinstance(o, np.ndarray) and o.dtype.kind == "f" and sample.differentiable
        ]
        pairs = [
            (i, j)
            for i in floats
            for j in floats
            if i < j and operands[i].shape == operands[j].shape and operands[i].size
        ]
        found += [(operands, attributes, i, j) for i, j in pairs[:1]]
    return found[:1]


CASES = [(op, *case) for op in OPS if op.vjp is not None and op.evaluate is not None for case in alike(op)]


@pytest.mark.parametrize(("op", "operands", "attributes", "i", "j"), CASES, ids=[c[0].name for c in CASES])
def test_a_tensor_that_is_given_twice_gets_both_gradients(
    op: Op, operands: Any, attributes: Any, i: int, j: int
) -> None:
    def gradient(same: bool) -> np.ndarray:
        x = ingot.tensor(operands[i].astype(np.float64), requires_grad=True)
        tensors: list[Any] = [
            ingot.tensor(o.astype(np.float64) if o.dtype.kind == "f" else o) if isinstance(o, np.ndarray) else o
            for o in operands
        ]
        tensors[i], tensors[j] = x, x if same else x.clone()
        results = dispatch(op, tuple(tensors), attributes)
        results = results if isinstance(results, tuple) else (results,)
        floating = [r for r in results if isinstance(r, ingot.Tensor) and r.requires_grad]
        if not floating:
            return np.zeros(0)
        seeds = [ingot.from_numpy(np.random.default_rng(0).random(r.shape)) for r in floating]
        ingot.autograd.backward(floating, seeds)
        return np.zeros(0) if x.grad is None else x.grad.numpy()

    try:
        expected = gradient(False)
    except RuntimeError:
        pytest.skip("the op refuses equal operands")
    np.testing.assert_allclose(gradient(True), expected, rtol=1e-9, atol=1e-12)


IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    "sin": lambda y, x: y.sin_(),
    "mul by another": lambda y, x: y.mul_(x),
    "mul by itself": lambda y, x: y.mul_(y),
    "mul by a number, then another": lambda y, x: y.mul_(2).mul_(x),
    "mul, broadcast": lambda y, x: y.mul_(x[:1]),
    "div": lambda y, x: y.div_(x),
    "pow": lambda y, x: y.pow_(3),
    "pow of a tensor": lambda y, x: y.pow_(x),
    "log": lambda y, x: y.log_(),
    "exp": lambda y, x: y.exp_(),
    "sqrt": lambda y, x: y.sqrt_(),
    "rsqrt": lambda y, x: y.rsqrt_(),
    "reciprocal": lambda y, x: y.reciprocal_(),
    "abs": lambda y, x: y.abs_(),
    "square": lambda y, x: y.square_(),
    "tanh": lambda y, x: y.tanh_(),
    "sigmoid": lambda y, x: y.sigmoid_(),
    "relu": lambda y, x: y.relu_(),
    "erf": lambda y, x: y.erf_(),
    "clamp": lambda y, x: y.clamp_(0, 2.5),
    "lerp": lambda y, x: y.lerp_(x, 0.3),
    "addcmul": lambda y, x: y.addcmul_(x, x),
    "addcdiv": lambda y, x: y.addcdiv_(x, x + 1),
    "atan2": lambda y, x: y.atan2_(x),
    "fmod": lambda y, x: y.fmod_(x + 0.3),
    "remainder": lambda y, x: y.remainder_(x + 0.3),
    "masked_fill": lambda y, x: y.masked_fill_(x > 1.2, 0.0),
    "cumsum": lambda y, x: y.cumsum_(0),
    "cumprod": lambda y, x: y.cumprod_(0),
    "floor": lambda y, x: y.floor_(),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_recorded_writes_have_the_gradients_of_the_plain_ops(name: str) -> None:
    """By central differences of the same function: y is written in place, and used before and after."""

    def function(x: Any) -> Any:
        y = x * 2
        view = y[1:]
        before = y + 1  # needs no values of y
        IN_PLACE[name](y, x)
        return (y * y).sum() + view.sum() + before.sum()

    x = ingot.tensor([1.05, 1.55, 2.1], dtype=ingot.float64, requires_grad=True)
    assert ingot.autograd.gradcheck(function, (x,))
