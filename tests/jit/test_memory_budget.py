"""`jit.memory_budget`: the same results from less memory, in training steps and in compiled gradients."""

import ingot
import pytest
from ingot import ir, jit, nn
from ingot.ir import passes


def make_model() -> nn.Sequential:
    ingot.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(5, 16), nn.GELU(), nn.Linear(16, 16), nn.Tanh(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 3))


def traced_step():
    model = make_model()
    optimizer = ingot.optim.SGD(model.parameters(), lr=0.1)

    def step(x, target):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss

    data = ingot.randn(64, 5), ingot.randint(0, 3, (64,))
    return jit.trace(step, data, check_trace=False), data, model


def test_a_training_step_needs_less_memory_and_does_the_same() -> None:
    losses, planned, weights = [], [], []
    for budget in ("1 GiB", 0):
        step, data, model = traced_step()
        ingot.manual_seed(1)
        with jit.memory_budget(budget):
            losses.append([step(*data).item() for _ in range(3)])
        planned.append(step.planned_bytes(*data))
        weights.append([p.detach().clone() for p in model.parameters()])
    assert losses[0] == losses[1]
    assert planned[1] < 0.9 * planned[0]
    for a, b in zip(*weights, strict=True):
        ingot.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_compiled_gradient_keeps_less_and_is_the_same() -> None:
    found = []
    for budget in ("1 GiB", 0):
        model = make_model().eval()
        x = ingot.linspace(-1, 1, 40).reshape(8, 5).requires_grad_()
        traced = jit.trace(model, x, check_trace=False)
        with jit.memory_budget(budget):
            traced(x).square().sum().backward()
        (derivative,) = traced.specialisations[0].derivatives.values()
        kept = [str(r.type) for r in derivative.forward.graph.results]
        found.append((x.grad, [p.grad for p in model.parameters()], kept))
    ingot.testing.assert_close(found[0][:2], found[1][:2])
    assert len(found[1][2]) < len(found[0][2])


GRAPH = """
graph @f(%x: f32[n], %y: f32[n]) -> (f32[n]) {
  %a: f32[n] = mul(%x, %y)
  %b: f32[n] = tanh(%a)
  %c: f32[n] = cumsum(%b) {dim=0}
  %d: f32[n] = mul(%c, %b)
  return(%d)
}
"""


def test_residuals_fall_to_the_budget_and_not_further() -> None:
    graph = ir.parse(GRAPH)
    derivative = passes.differentiate(graph)
    size = {"n": 100}
    all_of_them = passes.residual_bytes(derivative, size)
    assert passes.recompute_residuals(derivative, all_of_them, size).residuals == derivative.residuals
    least = passes.recompute_residuals(derivative, 0, size)
    ir.verify(least.forward)
    ir.verify(least.backward)
    # The running sum costs more than an expression, so it is kept.
    assert passes.residual_bytes(least, size) == 400 < all_of_them
    arguments = [ingot.linspace(-1, 1, 7).numpy(), ingot.linspace(0, 2, 7).numpy()]
    gradients = []
    for each in (derivative, least):
        results = ir.run(each.forward, arguments)
        ones = ingot.ones(7).numpy()
        gradients.append(ir.run(each.backward, [*results[len(results) - each.residuals :], ones]))
    for a, b in zip(*gradients, strict=True):
        assert (a == b).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, 0), (7, 7), ("64 MiB", 64 << 20), ("1.5kB", 1500), ("2g", 2_000_000_000), (" 3 kib ", 3072), ("12", 12)],
)
def test_sizes_are_bytes_or_text(size: int | str, expected: int) -> None:
    with jit.memory_budget(size) as budget:
        assert budget == expected


@pytest.mark.parametrize(
    ("size", "error"), [(-1, ValueError), ("much", ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_other_sizes_are_refused(size: object, error: type[Exception]) -> None:
    with pytest.raises(error, match='expected a number of bytes, or text such as "64 MiB"'), jit.memory_budget(size):
        pass
