"""Transformations of functions and checkpointing: nested, with captured values, with random numbers."""

import ingot
import numpy as np
import pytest
from ingot.utils.checkpoint import checkpoint, checkpoint_sequential

func, functional = ingot.func, ingot.autograd.functional


def test_gradients_nest_and_see_values_of_the_function_around() -> None:
    outer = func.grad(lambda x: func.grad(lambda y: x * y * y)(ingot.tensor(3.0)))
    assert outer(ingot.tensor(2.0)).item() == 6.0
    third = func.grad(func.grad(func.grad(lambda x: x**4)))
    assert third(ingot.tensor(2.0)).item() == 48.0


def test_gradients_of_nested_arguments_keep_their_structure() -> None:
    found, aux = func.grad(lambda p: ((p["w"] * p["b"][0]).sum(), p["w"]), has_aux=True)(
        {"w": ingot.tensor([1.0, 2.0]), "b": [ingot.tensor(3.0)]}
    )
    assert found["w"].tolist() == [3.0, 3.0]
    assert found["b"][0].item() == 3.0
    assert not aux.requires_grad and not found["w"].requires_grad


def test_forward_and_backward_products_agree_with_the_jacobian() -> None:
    x = ingot.tensor([0.5, -1.0, 2.0], dtype=ingot.float64)

    def f(x: ingot.Tensor) -> ingot.Tensor:
        return ingot.stack([x.sin().sum(), (x * x.roll(1)).sum()])

    jacobian = func.jacrev(f)(x).numpy()
    direction = ingot.tensor([1.0, 2.0, 3.0], dtype=ingot.float64)
    np.testing.assert_allclose(func.jvp(f, (x,), (direction,))[1].numpy(), jacobian @ direction.numpy())
    weights = ingot.tensor([1.0, -2.0], dtype=ingot.float64)
    np.testing.assert_allclose(func.vjp(f, x)[1](weights)[0].numpy(), weights.numpy() @ jacobian)
    np.testing.assert_allclose(functional.jacobian(f, x).numpy(), jacobian)
    np.testing.assert_allclose(functional.jvp(f, x, direction)[1].numpy(), jacobian @ direction.numpy())


def test_hessians_and_their_products_agree() -> None:
    def f(x: ingot.Tensor, y: ingot.Tensor) -> ingot.Tensor:
        return (x**3 * y).sum()

    x, y = ingot.tensor([1.0, 2.0]), ingot.tensor([3.0, 4.0])
    whole = functional.hessian(f, (x, y))
    assert whole[0][0].tolist() == [[18.0, 0.0], [0.0, 48.0]]
    assert whole[0][1].tolist() == [[3.0, 0.0], [0.0, 12.0]]
    assert functional.hvp(f, (x, y), (ingot.ones(2), ingot.zeros(2)))[1][1].tolist() == [3.0, 12.0]


def test_vmap_of_a_gradient_gives_one_per_sample() -> None:
    per_sample = func.vmap(func.grad(lambda w, x: (w * x).sum() ** 2), in_dims=(None, 0))
    found = per_sample(ingot.ones(2), ingot.tensor([[1.0, 2.0], [0.0, 1.0]]))
    assert found.tolist() == [[6.0, 12.0], [0.0, 2.0]]
    with pytest.raises(ValueError, match="same size"):
        func.vmap(lambda x, y: x)(ingot.ones(2), ingot.ones(3))


def test_functional_call_leaves_the_module_as_it_was() -> None:
    layer = ingot.nn.Linear(2, 1)
    before = layer.weight
    loss = lambda p: func.functional_call(layer, p, (ingot.ones(2),)).sum()  # noqa: E731
    found = func.grad(loss)({"weight": ingot.zeros(1, 2), "bias": ingot.zeros(1)})
    assert found["weight"].tolist() == [[1.0, 1.0]]
    assert layer.weight is before
    with pytest.raises(KeyError, match="nothing"):
        func.functional_call(layer, {"nothing": ingot.zeros(1)}, (ingot.ones(2),))


def test_checkpointed_gradients_are_the_same_with_dropout_and_captured_tensors() -> None:
    layer = ingot.nn.Linear(3, 3)
    scale = (ingot.ones(3, requires_grad=True) * 2).requires_grad_()
    x = ingot.randn(4, 3, requires_grad=True)

    def block(x: ingot.Tensor) -> ingot.Tensor:
        return ingot.nn.functional.dropout(layer(x) * scale, 0.5).tanh()

    ingot.manual_seed(3)
    plain = ingot.autograd.grad(block(x).sum(), [x, scale, *layer.parameters()])
    ingot.manual_seed(3)
    kept = ingot.autograd.grad(checkpoint(block, x).sum(), [x, scale, *layer.parameters()])
    for a, b in zip(plain, kept, strict=True):
        assert a.tolist() == b.tolist()
    checkpoint_sequential(ingot.nn.Sequential(layer, ingot.nn.Tanh()), 2, x).sum().backward()
    assert layer.weight.grad is not None and x.grad is not None


def test_a_checkpoint_keeps_no_intermediate_tensors() -> None:
    calls = []

    def block(x: ingot.Tensor) -> ingot.Tensor:
        calls.append(1)
        return x.exp().exp()

    x = ingot.zeros(2, requires_grad=True)
    y = checkpoint(block, x)
    assert len(calls) == 1
    y.sum().backward()
    assert len(calls) == 2
    np.testing.assert_allclose(x.grad.numpy(), np.full(2, np.e), rtol=1e-6)
