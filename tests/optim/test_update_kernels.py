"""The three ways to run an optimiser's formula give the same numbers, bit for bit where they are arrays."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot.optim import kernels

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("Adamax", {"weight_decay": 0.1}),
    ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {"weight_decay": 0.1}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adadelta", {"maximize": True}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Rprop", {}),
    ("ASGD", {"t0": 2}),
]
# One vector and a part of one, a scalar, no element, and enough for several threads.
SHAPES = ((17,), (3, 5), (), (0, 3), (130, 301))


def trained(name: str, options: dict[str, Any], dtype: Any, native: bool, monkeypatch: Any) -> list[Any]:
    """Parameters and state after six steps."""
    monkeypatch.setattr(kernels, "_FEW_ELEMENTS", 0 if native else 1 << 60)
    monkeypatch.setattr(kernels, "_FEW_PARAMETERS", 0 if native else 1 << 60)
    draws = np.random.default_rng(0)
    params = [ingot.nn.Parameter(ingot.tensor(draws.standard_normal(s), dtype=dtype)) for s in SHAPES]
    optimizer = getattr(ingot.optim, name)(params, **options)
    for step in range(6):
        for p in params:
            gradient = draws.standard_normal(tuple(p.shape))
            if p.numel() > 4 and step == 4:
                gradient.reshape(-1)[:3] = [np.nan, np.inf, 0.0]
            p.grad = ingot.tensor(gradient, dtype=dtype)
        optimizer.step()
    state = [v for p in params for v in optimizer.state[p].values() if v is not None]
    return [t.detach().numpy() for t in (*params, *state)]


@pytest.mark.parametrize("dtype", [ingot.float32, ingot.float64])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_native_updates_are_exactly_those_of_arrays(
    name: str, options: dict[str, Any], dtype: Any, monkeypatch: Any
) -> None:
    reference = trained(name, options, dtype, False, monkeypatch)
    found = trained(name, options, dtype, True, monkeypatch)
    for a, b in zip(reference, found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_traced_step_is_that_of_arrays(name: str, options: dict[str, Any]) -> None:
    draws = np.random.default_rng(0)
    start = draws.standard_normal((3, 4)).astype(np.float32)
    gradients = draws.standard_normal((5, 3, 4)).astype(np.float32)

    def make() -> tuple[Any, Any]:
        p = ingot.nn.Parameter(ingot.tensor(start))
        return p, getattr(ingot.optim, name)([p], **options)

    plain, optimizer = make()
    for gradient in gradients:
        plain.grad = ingot.tensor(gradient)
        optimizer.step()
    traced, second = make()
    traced.grad = ingot.tensor(gradients[0])
    second.step()

    def step(gradient: Any) -> Any:
        traced.grad = gradient
        second.step()
        return traced.detach() * 1.0

    with ingot.jit.executor("interpreter"), ingot.no_grad():
        compiled = ingot.jit.trace(step, ingot.tensor(gradients[1]), check_trace=False, on_bake="ignore")
        for gradient in gradients[1:]:
            compiled(ingot.tensor(gradient))
    np.testing.assert_allclose(traced.detach().numpy(), plain.detach().numpy(), rtol=2e-5, atol=2e-6)


def test_arrays_that_are_not_plain_are_updated_too(monkeypatch: Any) -> None:
    monkeypatch.setattr(kernels, "_FEW_ELEMENTS", 0)
    base = ingot.zeros(4, 6)
    strided = base.T.detach().requires_grad_()
    gradient = ingot.ones(1).expand(6, 4)  # one element under all
    strided.grad = gradient
    ingot.optim.SGD([strided], lr=0.5).step()
    assert (base.numpy() == -0.5).all()


def test_complex_parameters_are_updated_by_their_parts() -> None:
    p = ingot.tensor([1 + 2j, 3 - 4j], requires_grad=True)
    q = ingot.tensor([1.0, 2.0, 3.0, -4.0], requires_grad=True)
    first, second = ingot.optim.Adam([p], lr=0.1), ingot.optim.Adam([q], lr=0.1)
    for _ in range(3):
        p.grad = ingot.tensor([0.5 - 1j, 2 + 1j])
        q.grad = ingot.tensor([0.5, -1.0, 2.0, 1.0])
        first.step()
        second.step()
    np.testing.assert_array_equal(p.detach().numpy().view(np.float32), q.detach().numpy())


def test_the_kernel_is_text_that_can_be_read() -> None:
    text = kernels.kernel_text(ingot.optim.SGD.formula, (False, False, False, False, False), "f", 2, 4)
    assert "fsub <16 x float>" in text and "contract" not in text
