"""`vmap` and what it makes of gradients: one run for the whole batch, equal to one run per sample."""

import warnings
from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import func, nn
from ingot.nn import functional as F


def randn(*shape: int, seed: int = 0) -> Any:
    return ingot.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape))


@pytest.fixture(autouse=True)
def one_run_for_all() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a fallback to one run per sample is a warning
        yield


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found.numpy(force=True), expected.numpy(force=True), rtol=1e-9, atol=1e-12)


def test_a_function_is_called_once_and_sees_one_sample() -> None:
    calls = []

    def sample(a: Any) -> Any:
        calls.append((tuple(a.shape), a.ndim, a.dtype, a.size(-1), len(a)))
        return a.sum()

    assert func.vmap(sample)(randn(5, 3, 4)).shape == (5,)
    assert calls == [((3, 4), 2, ingot.float64, 4, 3)]


def test_gradients_per_sample_of_shared_parameters() -> None:
    weight, bias, x, y = randn(3, 4), randn(3, seed=1), randn(5, 4, seed=2), ingot.arange(5) % 3

    def loss(parameters: Any, a: Any, target: Any) -> Any:
        return F.cross_entropy((parameters["w"] @ a + parameters["b"])[None], target[None])

    found = func.vmap(func.grad(loss), (None, 0, 0))({"w": weight, "b": bias}, x, y)
    for k in range(5):
        expected = func.grad(loss)({"w": weight, "b": bias}, x[k], y[k])
        assert_close(found["w"][k], expected["w"])
        assert_close(found["b"][k], expected["b"])


def test_gradients_per_sample_of_a_convolution() -> None:
    images, filters = randn(4, 2, 3, 6, 6), randn(5, 3, 3, 3)

    def loss(f: Any, i: Any) -> Any:
        return F.max_pool2d(F.conv2d(i, f, padding=1, stride=2), 2).pow(2).sum()

    found = func.vmap(func.grad(loss), (None, 0))(filters, images)
    for k in range(4):
        assert_close(found[k], func.grad(loss)(filters, images[k]))


DERIVATIVES: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "grad": lambda f: func.grad(lambda a: f(a).sum()),
    "jacrev": func.jacrev,
    "jacfwd": func.jacfwd,
    "hessian": lambda f: func.hessian(lambda a: f(a).sum()),
    "grad of grad": lambda f: func.grad(lambda a: func.grad(lambda b: f(b).sum())(a).pow(2).sum()),
    "jvp": lambda f: lambda a: func.jvp(f, (a,), (a * 2,))[1],
    "vjp": lambda f: lambda a: func.vjp(f, a)[1](a.cos())[0],
    "linearize": lambda f: lambda a: func.linearize(f, a)[1](a),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_inside(name: str) -> None:
    x = randn(4, 3)
    derivative = DERIVATIVES[name](lambda a: a.tanh().cumsum(0) * a.sum())
    found = func.vmap(derivative)(x)
    assert_close(found, ingot.stack([derivative(x[k]) for k in range(4)]))


def test_forward_and_reverse_jacobians_agree_for_several_arguments_and_results() -> None:
    def f(a: Any, b: Any) -> Any:
        return {"p": (a @ b).sin(), "q": a.sum() * b.prod()}

    reverse, forward = (j(f, argnums=(0, 1))(randn(2, 3), randn(3, seed=1)) for j in (func.jacrev, func.jacfwd))
    for name in ("p", "q"):
        for r, w in zip(reverse[name], forward[name], strict=True):
            assert_close(r, w)
    assert_close(func.jacrev(lambda a: a.exp(), chunk_size=2)(randn(5)), func.jacfwd(lambda a: a.exp())(randn(5)))


def test_maps_nest_inside_and_around_gradients() -> None:
    x, y = randn(3, 4), randn(5, 4, seed=1)
    outer = func.vmap(lambda a: func.vmap(lambda b: (a * b).sum().sin())(y))(x)
    assert_close(outer, (x @ y.T).sin())
    inner = func.vmap(lambda a: func.vmap(func.grad(lambda b: (a * b).sum().sin()))(y))(x)
    assert_close(inner, (x @ y.T).cos()[..., None] * x[:, None])
    around = func.vmap(lambda a: func.grad(lambda c: func.vmap(lambda b: (c * b).sum().sin())(y).sum())(a))(x)
    assert_close(around, (x @ y.T).cos() @ y)
    whole = func.grad(lambda t: func.vmap(func.grad(lambda a: a.pow(3).sum()))(t).sum())(x)
    assert_close(whole, 6 * x)


def test_gradients_flow_through_a_map_to_what_it_captured() -> None:
    w = randn(4).requires_grad_()
    x = randn(6, 4, seed=1)
    func.vmap(lambda a: (a * w).sum().exp())(x).sum().backward()
    assert_close(w.grad, (x * (x @ w.detach()).exp()[:, None]).sum(0))


def test_where_dimensions_come_from_and_go_to() -> None:
    x = randn(2, 3, 4)
    assert_close(func.vmap(lambda a: a.sum(0), in_dims=1)(x), x.sum(0))
    assert_close(func.vmap(lambda a: a * 2, in_dims=-1, out_dims=-1)(x), x * 2)
    a, b = func.vmap(lambda a: (a, a.sum()), out_dims=(1, 0))(x)
    assert_close(a, x.transpose(0, 1))
    assert_close(b, x.sum((1, 2)))
    nested = func.vmap(lambda d, k: d["p"] * k[0] + d["q"], in_dims=({"p": 0, "q": None}, 0))(
        {"p": x, "q": x[0]}, [x[:, 0, 0]]
    )
    assert_close(nested, x * x[:, 0, 0][:, None, None] + x[0])
    assert_close(func.vmap(lambda a: ingot.ones(2, dtype=a.dtype))(x), ingot.ones(2, 2, dtype=ingot.float64))
    assert_close(func.vmap(lambda a, *, k: a * k)(x, k=x), x[:, None] * x)
    assert_close(func.vmap(lambda a: a.exp(), chunk_size=2, out_dims=1)(randn(5, 3)), randn(5, 3).exp().T)


def test_writes_go_to_the_samples() -> None:
    x = randn(3, 4)
    start = x.clone()

    def write(a: Any) -> Any:
        copy = a.clone()
        copy[1:3] = a[:2] * 2
        copy[0] += 1.0
        copy.mul_(copy)
        copy.view(2, 2)[1].zero_()
        return copy

    def plain(a: Any) -> Any:
        return write(a)

    assert_close(func.vmap(write)(x), ingot.stack([plain(x[k]) for k in range(3)]))
    assert_close(x, start)
    func.vmap(lambda a: a.add_(1))(x)
    assert_close(x, start + 1)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        func.vmap(lambda a: ingot.zeros(4, dtype=ingot.float64).add_(a))(x)


def test_random_numbers_are_refused_shared_or_drawn_for_each() -> None:
    x = ingot.ones(4, 50)
    for draw in (lambda a: ingot.rand(50) + 0 * a, lambda a: F.dropout(a, 0.5), lambda a: ingot.bernoulli(a * 0.5)):
        with pytest.raises(RuntimeError, match="randomness error mode"):
            func.vmap(draw)(x)
        same = func.vmap(draw, randomness="same")(x)
        assert bool((same == same[0]).all())
        different = func.vmap(draw, randomness="different")(x)
        assert not bool((different[0] == different[1]).all())


def test_an_ensemble_of_modules() -> None:
    models = [nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)) for _ in range(4)]
    parameters, buffers = func.stack_module_state(models)
    assert parameters["0.weight"].shape == (4, 5, 3) and parameters["0.weight"].requires_grad and not buffers
    x = ingot.randn(6, 3)
    found = func.vmap(lambda p, a: func.functional_call(models[0], p, (a,)), (0, None))(parameters, x)
    np.testing.assert_allclose(
        found.numpy(force=True), ingot.stack([m(x) for m in models]).numpy(force=True), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(RuntimeError, match="at least one model"):
        func.stack_module_state([])
    with pytest.raises(RuntimeError, match="same class"):
        func.stack_module_state([nn.Linear(2, 2), nn.Sequential()])


def test_values_that_differ_between_samples_are_not_given_to_python() -> None:
    x = randn(3, 4)
    with pytest.raises(RuntimeError, match="data-dependent control flow"):
        func.vmap(lambda a: a if a.sum() > 0 else -a)(x)
    for take in (lambda a: a.sum().item(), lambda a: a.tolist(), lambda a: float(a[0]), lambda a: a.numpy()):
        with pytest.raises(RuntimeError, match="vmap"):
            func.vmap(take)(x)
    with pytest.raises(RuntimeError, match="vmap"):
        func.vmap(lambda a: np.asarray(a))(x)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: func.vmap(lambda a: a, in_dims=5)(x), ValueError, "dimensionality 2"),
        (lambda x: func.vmap(lambda a: a, in_dims=(0, 0))(x), ValueError, "not compatible with the structure"),
        (lambda x: func.vmap(lambda a: a, in_dims=None)(x), ValueError, "expected `in_dims` to be int"),
        (lambda x: func.vmap(lambda a: a, in_dims=(None,))(x), ValueError, "at least one input"),
        (lambda x: func.vmap(lambda a: a, in_dims=("x",))(x), ValueError, "integer dimension or None"),
        (lambda x: func.vmap(lambda a: a)(3.0), ValueError, "cannot vmap over non-Tensor"),
        (lambda x: func.vmap(lambda a, b: a)(x, x[:2]), ValueError, "same size in the mapped dimension"),
        (lambda x: func.vmap(lambda: 1)(), ValueError, "got no inputs"),
        (lambda x: func.vmap(lambda a: 1.0)(x), ValueError, "must only return Tensors"),
        (lambda x: func.vmap(lambda a: a, out_dims=5)(x), IndexError, "out of range"),
        (lambda x: func.vmap(lambda a: a, out_dims=(0, 0))(x), ValueError, "out_dims is not compatible"),
        (lambda x: func.vmap(lambda a: a, out_dims=None)(x), ValueError, "differs between samples"),
        (lambda x: func.vmap(lambda a: a, chunk_size=0)(x), ValueError, "chunk_size"),
        (lambda x: func.vmap(lambda a: a, randomness="some")(x), RuntimeError, "randomness"),
        (lambda x: func.vmap(lambda a: a.reshape(5, 5))(x), RuntimeError, "invalid"),
        (lambda x: func.vmap(lambda a: a.sum(3))(x), IndexError, "out of range"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(randn(3, 4))


def test_a_function_without_a_rule_runs_once_per_sample_and_says_so() -> None:
    x = ingot.arange(6).reshape(2, 3) % 2
    with pytest.warns(UserWarning, match="performance drop"):
        found = func.vmap(lambda a: ingot.bincount(a, minlength=3))(x)
    assert found.tolist() == [[2, 1, 0], [1, 2, 0]]


def test_a_trace_holds_what_a_map_ran() -> None:
    traced = ingot.jit.trace(lambda x, w: func.vmap(lambda a: (w @ a).relu().sum())(x), (randn(3, 4), randn(2, 4)))
    x, w = randn(7, 4, seed=3), randn(2, 4, seed=4)
    assert_close(traced(x, w), (x @ w.T).relu().sum(1))
