"""Transformations of functions, higher derivatives, checkpoints and distributions on a simulated GPU."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import ingot
import ingot.autograd.forward_ad as forward_ad
import numpy as np
import pytest
from ingot import distributions, func, nn
from ingot.utils.checkpoint import checkpoint


@pytest.fixture(autouse=True)
def gpu() -> Iterator[Any]:
    with ingot.cuda.simulate() as simulated:
        yield simulated


def waves(v: Any) -> Any:
    return (v.sin() * v).sum()


def through_views(v: Any) -> Any:
    base = v * 1
    base[0].mul_(3)
    base.t()[1:].zero_()
    return base.square().sum()


FUNCTIONS: list[Callable[[Any], Any]] = [
    lambda x: func.vmap(lambda row: (row * row).sum())(x),
    lambda x: func.vmap(func.grad(waves))(x),
    lambda x: func.vmap(lambda row: ingot.zeros(3).to(row.device) + row.sort().values)(x),
    lambda x: func.vmap(lambda row: ingot.zeros_like(row).scatter(0, row.argsort(), row))(x),
    lambda x: func.jacrev(lambda v: v.sin())(x[0]),
    lambda x: func.jacfwd(lambda v: v.exp())(x[0]),
    lambda x: func.hessian(waves)(x[0]),
    lambda x: func.jvp(lambda v: v.tanh(), (x,), (x,))[1],
    lambda x: func.vjp(lambda v: v.tanh(), x)[1](x)[0],
    lambda x: func.grad(through_views)(x),
    lambda x: ingot.autograd.functional.jacobian(lambda v: v.cos(), x[0]),
    lambda x: ingot.autograd.functional.hessian(waves, x[0]),
    lambda x: func.functional_call(nn.Linear(3, 3), {"weight": x[:3], "bias": x[0]}, (x,)),
    lambda x: functools.reduce(lambda a, _: ingot.autograd.grad(waves(a), a, create_graph=True)[0], range(2),
                               x.clone().requires_grad_()),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(FUNCTIONS)))
def test_transformations_give_what_they_give_on_the_cpu(index: int) -> None:
    x = ingot.tensor(np.random.default_rng(0).standard_normal((5, 3)), dtype=ingot.float32)
    found = FUNCTIONS[index](x.cuda())
    assert found.device == "cuda:0"
    np.testing.assert_allclose(found.detach().cpu().numpy(), FUNCTIONS[index](x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_forward_derivatives() -> None:
    x = ingot.arange(3.0).cuda()
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(forward_ad.make_dual(x, ingot.ones_like(x)).square()).tangent
    assert tangent.device == "cuda:0" and tangent.tolist() == [0.0, 2.0, 4.0]


def test_checkpoints_draw_the_same_again() -> None:
    x = ingot.ones(64, device="cuda", requires_grad=True)
    result = checkpoint(lambda v: nn.functional.dropout(v.exp(), 0.5), x, use_reentrant=False)
    result.sum().backward()
    assert ingot.equal(x.grad, result.detach()) and 0 < int((result == 0).sum()) < 64


class Doubled(ingot.autograd.Function):
    """2x with a gradient written by hand."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * 2, x.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Any, other: Any) -> Any:
        (x,) = ctx.saved_tensors
        assert gradient.device == other.device == x.device
        return gradient * 2 + other


def test_functions_and_hooks() -> None:
    x = ingot.ones(3, device="cuda", requires_grad=True)
    seen: list[Any] = []
    x.register_hook(lambda g: seen.append(g.device) or g * 10)
    Doubled.apply(x)[0].sum().backward()
    assert x.grad.tolist() == [20.0] * 3 and seen == [ingot.device("cuda:0")]
    assert ingot.autograd.gradcheck(lambda v: v.sin().cumsum(0), (x.detach().double().requires_grad_(),))
    wrong = (x.detach().double().requires_grad_(),)
    assert not ingot.autograd.gradcheck(lambda v: v.detach() * v, wrong, raise_exception=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda t: distributions.Normal(t, 1.0), lambda t: distributions.Uniform(t, t + 1),
        lambda t: distributions.Categorical(logits=t), lambda t: distributions.Bernoulli(t.sigmoid()),
        lambda t: distributions.Exponential(t.exp()), lambda t: distributions.Laplace(t, 2.0),
    ],
)  # fmt: skip
def test_distributions(make: Any) -> None:
    parameters = ingot.arange(4.0)
    drawn = []
    for device in ("cpu", "cuda"):
        ingot.manual_seed(9)
        made = make(parameters.to(device))
        sample = made.sample((2,))
        assert sample.device.type == made.log_prob(sample).device.type == made.entropy().device.type == device
        drawn.append(sample.cpu().numpy())
    np.testing.assert_allclose(*drawn, rtol=1e-6)
