"""`jit.trace`: what is recorded, that sizes are followed, and that what is baked in is told."""

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import ingot
import numpy as np
import pytest
from ingot import ir, jit, nn
from ingot.jit.errors import TraceError, TraceWarning
from ingot.jit.executors import executor
from ingot.jit.trace import TracedFunction, trace
from ingot.nn import functional as F


@pytest.fixture(autouse=True)
def interpreted() -> Any:
    """Graphs run in the interpreter here: what is tested is the recording."""
    with executor("interpreter"):
        yield


def random(*shape: int, seed: int = 0) -> ingot.Tensor:
    return ingot.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32))


def check(function: Callable[..., Any], examples: tuple[Any, ...], *others: tuple[Any, ...]) -> TracedFunction:
    """Trace with every warning an error; the graph verifies and agrees with the function on all arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traced = trace(function, examples)
    ir.verify(traced.graph)
    assert ir.parse(str(traced.graph)) == traced.graph
    for arguments in (examples, *others):
        expected = function(*copy.deepcopy(arguments))
        given = copy.deepcopy(arguments)
        assert_same(traced(*given), expected)
    return traced


def assert_same(actual: Any, expected: Any) -> None:
    assert type(actual) is type(expected)
    if isinstance(expected, ingot.Tensor):
        assert actual.dtype is expected.dtype
        np.testing.assert_allclose(actual.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    elif isinstance(expected, (tuple, list)):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e)
    elif isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key in expected:
            assert_same(actual[key], expected[key])
    else:
        assert actual == expected


def ops(traced: TracedFunction) -> list[str]:
    return [i.op.name for i in traced.graph.walk()]


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_sizes_stay_symbolic() -> None:
    def function(x: ingot.Tensor) -> ingot.Tensor:
        n, features = x.shape
        y = x.view(x.size(0), -1) + ingot.zeros(n, features)
        return y.reshape(len(x) * features) * ingot.arange(n * features)

    traced = check(function, (random(3, 4),), (random(7, 4),), (random(1, 5),))
    (argument,) = traced.graph.arguments
    assert all(not isinstance(d, int) for d in argument.type.shape)
    assert not traced.baked


def test_equal_sizes_become_one_symbol_and_others_are_traced_again() -> None:
    def add(x: ingot.Tensor, y: ingot.Tensor) -> ingot.Tensor:
        return x + y

    traced = check(add, (random(3, 4), random(3, 4)), (random(5, 2), random(5, 2)))
    first, second = traced.graph.arguments
    assert first.type == second.type
    broadcast = (random(3, 4), random(1, 4))
    assert_same(traced(*broadcast), add(*broadcast))
    assert len(traced.specialisations) == 2
    with pytest.raises(RuntimeError, match="broadcast"):
        traced(random(3, 4), random(2, 4))


def test_weights_make_sizes_static() -> None:
    traced = check(nn.Linear(4, 2), (random(3, 4),), (random(1, 4),), (random(0, 4),))
    assert str(traced.graph.arguments[0].type) == "f32[s0, 4]"
    with pytest.raises(RuntimeError, match="4"):
        traced(random(3, 5))


def test_slices_and_parts_of_unknown_sizes() -> None:
    def function(x: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
        half = x.shape[1] // 2
        return x[:, :half], x[:, half:], x[-1], x[1:, None], x[..., 0]

    check(function, (random(3, 6),), (random(5, 10),), (random(2, 7),))


def test_a_size_as_a_number_in_arithmetic_is_followed() -> None:
    def function(x: ingot.Tensor) -> ingot.Tensor:
        return x.sum(0) / x.size(0) + x.shape[0] * 2 - 1

    check(function, (random(3, 2),), (random(8, 2),))


# -- what is baked in -------------------------------------------------------------------------------------------------


def branch(x: ingot.Tensor) -> ingot.Tensor:
    if x.sum() > 0:
        return x + 1
    return x - 1


def test_a_branch_on_data_is_reported_with_its_line() -> None:
    with pytest.warns(TraceWarning, match=r"if x\.sum\(\) > 0"):
        traced = trace(branch, ingot.ones(3))
    (entry,) = traced.baked
    assert entry.kind == "bool"
    assert entry.location is not None and entry.location.source_line() == "    if x.sum() > 0:"


def test_on_bake_error_refuses_and_says_what_to_do() -> None:
    with pytest.raises(TraceError, match=r"(?s)recorded as the example took it.*if x\.sum.*@jit\.script"):
        trace(branch, ingot.ones(3), on_bake="error")


def test_on_bake_ignore_lists_only() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traced = trace(branch, ingot.ones(3), on_bake="ignore")
    assert [e.kind for e in traced.baked] == ["bool"]
    assert_same(traced(-ingot.ones(3)), -ingot.ones(3) + 1)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x * float(x[0]), "float"),
        (lambda x: x * x[0].item(), "float"),
        (lambda x: x * int(x.sum()), "int"),
        (lambda x: x + ingot.from_numpy(x.numpy() * 2), "numpy"),
        (lambda x: x + ingot.tensor(x.tolist()), "list"),
        (lambda x: sum(row for row in x) + x, "iteration"),
        (lambda x: x * 2 if x.shape[0] > 2 else x, "size"),
        (lambda x: x * math.sqrt(x.shape[0]), "size"),
    ],
)
def test_values_taken_from_tensors_are_reported(function: Callable[..., Any], kind: str) -> None:
    with pytest.warns(TraceWarning):
        traced = trace(function, ingot.ones(3))
    assert kind in [e.kind for e in traced.baked]
    assert all(e.location is not None and e.location.file == __file__ for e in traced.baked)


@pytest.mark.parametrize("function", [lambda x: x * (1.0 / x.shape[0]), lambda x: x + 0.5 * len(x)])
def test_numbers_that_hide_a_size_are_found_by_another_size(function: Callable[..., Any]) -> None:
    with pytest.warns(TraceWarning, match="depends on the size"):
        traced = trace(function, ingot.ones(3, 2))
    (entry,) = traced.baked
    assert entry.kind == "size"
    assert entry.location is not None and "lambda x" in (entry.location.source_line() or "")


def test_a_tensor_from_outside_is_reported_as_a_constant() -> None:
    outside = ingot.ones(3)
    with pytest.warns(TraceWarning, match="from outside"):
        traced = trace(lambda x: x + outside, ingot.zeros(3))
    outside.add_(1)
    assert_same(traced(ingot.zeros(3)), ingot.ones(3))


def test_constants_made_inside_are_not_reported() -> None:
    check(lambda x: x * ingot.tensor([1.0, 2.0]) + ingot.tensor(3.0).item(), (random(4, 2),))


def test_numbers_among_the_arguments_hold_for_their_value_only() -> None:
    traced = check(lambda x, k: x * k, (random(3), 2))
    with pytest.raises(TraceError, match="number"):
        traced(random(3), 5)


# -- writes -----------------------------------------------------------------------------------------------------------


def test_in_place_ops_on_new_tensors_and_views() -> None:
    def function(x: ingot.Tensor) -> tuple[ingot.Tensor, ingot.Tensor]:
        y = x.clone()
        row = y[1:]
        row.add_(10)
        y.view(-1).mul_(2)
        y[0, 0] = 5.0
        y.transpose(0, 1)[1] += 1
        return y, row

    check(function, (random(3, 4),), (random(5, 4),))


def test_arguments_that_are_written_are_written_back() -> None:
    def function(x: ingot.Tensor) -> ingot.Tensor:
        x[1:] *= 2
        return x.sum()

    argument = random(4, 2)
    before = argument.clone()
    traced = trace(function, argument)
    assert_same(argument, before)  # tracing itself leaves no mark
    assert_same(traced(argument), function(before))
    assert_same(argument, before)


def test_a_written_argument_that_is_returned_is_that_argument() -> None:
    def function(x: ingot.Tensor, y: ingot.Tensor) -> tuple[ingot.Tensor, ingot.Tensor]:
        z = x + y
        return x.add_(y), z

    x, y = random(3), random(3, seed=1)
    traced = trace(function, (x, y))
    expected = x + y
    first, second = traced(x, y)
    assert first is x
    assert second is not x
    assert_same(x, expected)
    assert_same(second, expected)


def test_batch_norm_updates_its_buffers_each_call() -> None:
    model, reference = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    traced = trace(model, random(4, 3, 2, 2))
    for seed in range(3):
        x = random(6, 3, 2, 2, seed=seed)
        assert_same(traced(x).detach(), reference(x).detach())
    for name, buffer in reference.named_buffers():
        assert_same(dict(model.named_buffers())[name], buffer)


def test_dropout_draws_anew_and_notes_its_mode() -> None:
    model = nn.Dropout(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traced = trace(model, ingot.ones(100))
    assert any(e.kind == "mode" and "active" in e.message for e in traced.baked)
    assert not bool((traced(ingot.ones(100)) == traced(ingot.ones(100))).all())
    off = trace(model.eval(), ingot.ones(100))
    assert_same(off(ingot.ones(7)), ingot.ones(7))


# -- structures -------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    first: ingot.Tensor
    second: ingot.Tensor


@dataclass
class Batch:
    images: ingot.Tensor
    scale: float


def test_nested_inputs_and_outputs() -> None:
    def function(batch: Batch, extra: dict[str, Any], *, pair: Pair) -> Any:
        y = batch.images * batch.scale + extra["a"][0]
        return {"y": y, "pair": Pair(y.sum(), pair.second), "list": [y, (pair.first,)], "n": 3}

    keywords = {"pair": Pair(random(2), random(3))}
    arguments = (Batch(random(2, 3), 2.0), {"a": [random(3)]})
    traced = trace(function, arguments, example_kwarg_inputs=keywords)
    assert_same(traced(*arguments, **keywords), function(*arguments, **keywords))
    with pytest.raises(TraceError, match="structure"):
        traced(arguments[0], {"b": [random(3)]}, **keywords)


def test_wrong_dtype_and_rank_are_errors() -> None:
    traced = trace(lambda x: x * 2, random(3))
    with pytest.raises(TraceError, match="float64"):
        traced(random(3).double())
    with pytest.raises(TraceError, match="rank 2"):
        traced(random(3, 1))


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((3,), {}, TypeError, "expected a function"),
        ((branch, random(2)), {"on_bake": "maybe"}, ValueError, "on_bake"),
        ((branch, ()), {}, Exception, "x|no tensor"),
        ((lambda x: {1, 2}, random(2)), {}, TraceError, "returned set"),
    ],
)
def test_bad_calls(arguments: Any, keywords: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trace(*arguments, **keywords)


def test_check_trace_finds_hidden_state() -> None:
    count = [0]

    def function(x: ingot.Tensor) -> ingot.Tensor:
        count[0] += 1
        return x * count[0]

    with pytest.raises(TraceError, match="second trace"):
        trace(function, random(3))
    assert_same(trace(function, ingot.ones(1), check_trace=False)(ingot.ones(1)), ingot.ones(1) * count[0])


# -- modules and gradients --------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return F.log_softmax(self.layers(x), dim=-1)


def test_parameters_are_arguments_of_the_graph_and_stay_live() -> None:
    model = Net()
    traced = check(model, (random(2, 4),), (random(5, 4),))
    assert traced.graph.parameters[0] == "layers.0.weight"
    with ingot.no_grad():
        model.layers[0].weight.mul_(2.0)
    assert_same(traced(random(5, 4)), model(random(5, 4)))


def test_gradients_reach_parameters_and_inputs() -> None:
    model = Net()
    traced = trace(model, random(2, 4))
    x, y = random(5, 4).requires_grad_(), random(5, 4).requires_grad_()
    traced(x).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    model(y).sum().backward()
    assert_same(x.grad, y.grad)
    for name, parameter in model.named_parameters():
        assert_same(gradients[name], parameter.grad)


def test_a_training_step_is_one_graph_with_writes() -> None:
    def make() -> tuple[nn.Module, Callable[..., ingot.Tensor]]:
        ingot.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        optimizer = ingot.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x: ingot.Tensor, target: ingot.Tensor) -> ingot.Tensor:
            optimizer.zero_grad()
            loss = ((model(x) - target) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return model, step

    model, step = make()
    reference, reference_step = make()
    arguments = random(6, 4), random(6, 2)
    reference_step(*arguments), step(*arguments)  # the momentum buffers exist from the first step on
    traced = trace(step, arguments, check_trace=False, on_bake="ignore")
    assert len(traced.graph.writes) == 8
    for seed in range(3):
        batch = random(6, 4, seed=seed), random(6, 2, seed=seed)
        with ingot.no_grad():
            loss = traced(*batch)
        assert_same(loss, reference_step(*batch).detach())
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5)


def test_a_tensor_that_is_given_twice_is_two_arguments() -> None:
    x = ingot.ones(2)
    traced = trace(lambda a, b: a - b * 2, (x, x))
    assert traced(ingot.ones(2), ingot.zeros(2)).tolist() == [1, 1]


# -- modules with several methods ------------------------------------------------------------------------------------


class TwoWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("calls", ingot.zeros(1))

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return self.layer(x)

    def counted(self, x: ingot.Tensor, scale: ingot.Tensor) -> ingot.Tensor:
        self.calls.add_(1)
        return self.layer(x) * scale


def test_methods_of_a_module_share_its_parameters() -> None:
    module = TwoWays()
    x = random(4, 3)
    traced = jit.trace_module(module, {"forward": x, "counted": (x, ingot.ones(1))})
    with ingot.no_grad():
        assert_same(traced(x), module(x))
        assert_same(traced.counted(x, ingot.full((1,), 3.0)), module(x) * 3)
        assert module.calls.tolist() == [1] and traced.calls is module.calls
        module.layer.weight.zero_()
        assert_same(traced(x), module.layer.bias.expand(4, 2))
    assert traced.baked == [] and "forward, counted" in repr(traced)


def test_bad_arguments_of_trace_module() -> None:
    module = TwoWays()
    with pytest.raises(TypeError, match="expected a module, given function"):
        jit.trace_module(lambda x: x, {"forward": random(2, 3)})
    with pytest.raises(TypeError, match="names of methods"):
        jit.trace_module(module, random(2, 3))
    with pytest.raises(jit.TraceError, match="no method 'backwards'"):
        jit.trace_module(module, {"backwards": random(2, 3)})
    only = jit.trace_module(module, {"counted": (random(2, 3), ingot.ones(1))})
    with pytest.raises(jit.JitError, match="forward was not traced"):
        only(random(2, 3))


@dataclass
class Point:
    x: ingot.Tensor
    y: ingot.Tensor
    label: str = "point"


def test_dataclasses_and_keywords() -> None:
    def move(point: Point, *, by: dict[str, ingot.Tensor]) -> Point:
        return Point(point.x + by["x"], point.y * by["y"], point.label)

    example = Point(random(2), random(3))
    traced = trace(move, (example,), example_kwarg_inputs={"by": {"x": random(2), "y": random(3)}})
    point, by = Point(random(2, seed=5), random(3, seed=6)), {"x": random(2, seed=7), "y": random(3, seed=8)}
    found, wanted = traced(point, by=by), move(point, by=by)
    assert isinstance(found, Point) and found.label == "point"
    assert_same(found.x, wanted.x)
    assert_same(found.y, wanted.y)
    with pytest.raises(jit.TraceError, match="structure"):
        traced((random(2), random(3)), by=by)


def test_scripted_functions_in_traces_and_traced_ones_in_scripts() -> None:
    @jit.script
    def halve(x: ingot.Tensor) -> ingot.Tensor:
        while bool(x.sum() > 1):
            x = x / 2
        return x

    traced = trace(lambda x: halve(x) + 1, ingot.full((2,), 8.0), on_bake="error")
    assert any(i.op.name == "loop" for i in traced.graph.walk())
    for value in (0.1, 3.0, 100.0):
        assert_same(traced(ingot.full((2,), value)), halve(ingot.full((2,), value)) + 1)

    double = trace(lambda x: x * 2, ingot.ones(2))

    @jit.script
    def use(x: ingot.Tensor, n: int) -> ingot.Tensor:
        for _ in range(n):
            x = double(x)
        return x

    assert use(ingot.ones(3), 4).tolist() == [16, 16, 16]


def test_the_report_names_the_function_to_script() -> None:
    def sign_of(x: ingot.Tensor) -> ingot.Tensor:
        if x.sum() > 0:
            return x
        return -x

    with pytest.raises(jit.TraceError) as caught:
        trace(lambda x: sign_of(x) * 2, ingot.ones(3), on_bake="error")
    assert "@jit.script" in str(caught.value) and "sign_of" in str(caught.value)


def test_sums_in_another_order_are_the_same_graph() -> None:
    """They differ by what the largest results do, also where little is left of a sum."""
    x = ingot.from_numpy(np.random.default_rng(0).standard_normal((4096, 4096), np.float32))
    traced = jit.trace(lambda x: x.sum(1), (x,))
    np.testing.assert_allclose(traced(x).numpy(), x.numpy().astype(np.float64).sum(1), rtol=0, atol=1e-3)
