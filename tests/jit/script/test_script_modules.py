"""Modules, classes and calls in compiled programs."""

import copy
import dataclasses
import functools
from typing import Any

import ingot
import pytest
from ingot import jit, nn
from ingot.jit.script import ScriptFunction, script
from ingot.nn import functional as F

v = ingot.tensor([[1.0, -2.0, 3.0], [0.5, 0.25, -1.0]])


def check_module(compare: Any, module: nn.Module, *calls: Any) -> Any:
    scripted = script(module)
    return compare(module, *calls, scripted=scripted)


class Net(nn.Module):
    def __init__(self, depth: int = 2, width: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, 2))
        self.scale = 0.5
        self.names = ["a", "b"]
        self.extra = None

    def block(self, x: Any, i: int) -> Any:
        return self.layers[i](x) * self.scale + x

    def forward(self, x: Any, twice: bool = False) -> Any:
        x = ingot.tanh(self.first(x))
        for i, layer in enumerate(self.layers):
            x = x + layer(x) * (i + 1)
        for i in range(len(self.layers)):
            x = self.block(x, i)
        if self.extra is not None:
            x = self.extra(x)
        y = self.head(x)
        if self.training:
            y = y * 2
        return (y, x) if twice else y


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", ingot.tensor(0))
        self.register_buffer("mean", ingot.zeros(3))

    def forward(self, x: Any) -> Any:
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        if self.count > 2:
            self.mean.mul_(2)
        return x - self.mean, self.count.item()


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ih = nn.Linear(3, 8)
        self.hh = nn.Linear(2, 8)

    def forward(self, x: Any, state: Any) -> Any:
        h, c = state
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, 1)
        c = ingot.sigmoid(f) * c + ingot.sigmoid(i) * ingot.tanh(g)
        h = ingot.sigmoid(o) * ingot.tanh(c)
        return h, (h, c)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()

    def forward(self, x: Any, state: Any = None) -> Any:
        if state is None:
            zeros = ingot.zeros(x.size(1), 2)
            state = (zeros, zeros)
        outputs = []
        for t in range(x.size(0)):
            out, state = self.cell(x[t], state)
            outputs.append(out)
        return ingot.stack(outputs), state


def test_a_model_with_submodules_lists_and_attributes(compare: Any) -> None:
    net = Net()
    scripted = check_module(compare, net, (v,), (v[:1], True))
    assert "first.weight" in scripted.graph.parameters
    assert "layers.1.bias" in scripted.graph.parameters
    assert set(dict(scripted.named_parameters())) == set(dict(net.named_parameters()))


def test_training_and_attributes_choose_the_graph(compare: Any) -> None:
    net = Net(1)
    scripted = check_module(compare, net, (v,))
    net.eval()
    assert not scripted.training
    compare(net, (v,), scripted=scripted)
    net.scale = 0.25
    compare(net, (v,), scripted=scripted)
    scripted.train()
    assert net.training
    compare(net, (v,), scripted=scripted)
    assert len(scripted.specialisations) >= 2


def test_new_parameter_values_are_used(compare: Any) -> None:
    net = Net()
    scripted = check_module(compare, net, (v,))
    with ingot.no_grad():
        net.first.weight.zero_()
    compare(net, (v,), scripted=scripted)
    assert len(scripted.specialisations) == 1


def test_buffers_are_written() -> None:
    plain, compiled = Counter(), Counter()
    scripted = script(compiled)
    for _ in range(4):
        expected, count = plain(v)
        with jit.executor("interpreter"):
            got, compiled_count = scripted(v)
        assert count == compiled_count
        assert ingot.allclose(expected, got)
        assert ingot.allclose(plain.mean, compiled.mean)
    assert plain.count.item() == compiled.count.item() == 4


def test_a_recurrent_network(compare: Any) -> None:
    model = Recurrent()
    x = ingot.arange(24.0).reshape(4, 2, 3) / 10
    state = (ingot.ones(2, 2), ingot.zeros(2, 2))
    with ingot.no_grad():
        scripted = check_module(compare, model, (x,), (x[:1],), (x, state))
    assert any(i.op.name == "loop" for i in scripted.graph.walk())


def test_batch_norm_in_training_updates_its_statistics() -> None:
    plain, compiled = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    scripted = script(compiled)
    with ingot.no_grad():
        for _ in range(2):
            expected = plain(v)
            with jit.executor("interpreter"):
                got = scripted(v)
            assert ingot.allclose(expected, got, atol=1e-5)
        assert ingot.allclose(plain.running_mean, compiled.running_mean)
        assert ingot.allclose(plain.running_var, compiled.running_var)


def test_a_scripted_module_inside_another(compare: Any) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = script(Net())

        def forward(self, x: Any) -> Any:
            return self.inner(x) + 1

    outer = Outer()
    assert isinstance(outer.inner, nn.Module)
    assert "inner.first.weight" in dict(outer.named_parameters())
    with jit.executor("interpreter"):
        expected = outer(v)
    scripted = script(outer)
    with jit.executor("interpreter"):
        assert ingot.allclose(scripted(v), expected)
    assert scripted.graph.parameters[0].startswith("inner.")


def test_exported_methods_are_compiled(compare: Any) -> None:
    class WithExport(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        @jit.export
        def double(self, x: Any) -> Any:
            return self.linear(x) * 2

        def forward(self, x: Any) -> Any:
            return self.double(x) + 1

    module = WithExport()
    scripted = script(module)
    assert isinstance(scripted.double, ScriptFunction)
    with jit.executor("interpreter"):
        assert ingot.allclose(scripted.double(v), module.double(v))
    assert scripted.double.graph.parameters == ("linear.weight", "linear.bias")


class Everything(nn.Module):
    factor = 3

    def __init__(self) -> None:
        super().__init__()
        self.d = nn.ModuleDict({"x": nn.Linear(3, 3), "y": nn.ReLU()})
        self.seq = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        self.layer0 = nn.Linear(3, 3)
        self.layer1 = nn.Linear(3, 3)
        self.act = F.relu
        self.mode = "mean"
        self.cfg = {"k": 2, "names": ("p", "q")}
        self.register_buffer("steps", ingot.zeros(2))
        self.p = nn.Parameter(ingot.ones(3))
        self.none = None
        self.drop = nn.Dropout(0.5)
        self.norm = nn.LayerNorm(3)
        self.emb = nn.Embedding(5, 3)

    @property
    def size(self) -> int:
        return self.p.shape[0]

    @staticmethod
    def scale(x: Any) -> Any:
        return x * 2

    def helper(self, x: Any, *, k: int = 1) -> Any:
        return x * k

    def forward(self, x: Any, idx: Any = None) -> Any:
        for name, layer in self.d.items():
            x = layer(x)
            if name == "y":
                x = x + 1
        for key in self.d:
            x = self.d[key](x)
        x = self.seq(x) + self.seq[0](x)[:, :3]
        for layer in self.seq[1:]:
            x = layer(x) if not isinstance(layer, nn.Linear) else x
        for i in range(2):
            x = getattr(self, f"layer{i}")(x)
        x = self.act(x) * self.size * self.factor
        x = self.scale(self.helper(x, k=self.cfg["k"]))
        if self.mode == "mean":
            x = x - x.mean(-1, keepdim=True)
        elif self.mode == "bad":
            x = x.nonexistent()
        if self.none is not None:
            x = self.none(x)
        y = x
        for p in (self.p, self.steps.sum()):
            y = y + p
        y = self.norm(self.drop(y))
        if idx is not None:
            y = y + self.emb(idx)
        return y, len(self.d), "x" in self.d, list(self.cfg["names"])


def test_what_modules_are_made_of(compare: Any) -> None:
    module = Everything().eval()
    with ingot.no_grad():
        scripted = check_module(compare, module, (v,), (v, ingot.tensor([1, 2])))
    assert "d.x.weight" in scripted.graph.parameters


def test_a_scripted_module_can_be_copied() -> None:
    scripted = script(Net())
    copied = copy.deepcopy(scripted)
    with ingot.no_grad(), jit.executor("interpreter"):
        expected = scripted(v)
        copied.head[1].bias.add_(1)
        assert not ingot.allclose(copied(v), expected)
        assert ingot.allclose(scripted(v), expected)


# -- calls -----------------------------------------------------------------------------------------------------------


def helper(x: Any, y: Any = 2, *rest: Any, scale: float = 1.0, **named: Any) -> Any:
    total = x * scale + y
    for r in rest:
        total = total + r
    if "bonus" in named:
        total = total + named["bonus"]
    return total


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) + 1

    return wrapper


@decorated
def with_decorator(x: Any) -> Any:
    return x * 3


def make_adder(n: Any) -> Any:
    return lambda x: x + n


add_five = make_adder(5)
partial = functools.partial(helper, 10, scale=3.0)
offset = ingot.tensor([1.0, 2.0, 3.0])


def calls(x: Any, n: int) -> Any:
    args = (n, n)
    options = {"scale": 2.0}
    return helper(x), helper(x, n), helper(x, *args, 4), helper(x, **options), helper(y=1, x=n, bonus=9), partial(n)


def closures(x: Any, n: int) -> Any:
    def inner(k: Any, j: int = n) -> Any:
        return k + n * j

    double = lambda q: q * 2  # noqa: E731
    n += 1
    functions = [inner, double, lambda q: inner(double(q))]
    out = x
    for f in functions:
        out = f(out)
    return out, add_five(n), with_decorator(n), list(map(double, (1, n))), (lambda *a: len(a))(1, 2, 3)


def factorial(n: int) -> Any:
    return 1 if n <= 1 else n * factorial(n - 1)


def known_recursion(x: Any) -> Any:
    return x * factorial(5)


def captured(x: Any) -> Any:
    return x + offset, x * offset[0]


def chosen_function(x: Any, flag: bool) -> Any:
    f = ingot.exp if flag else ingot.tanh
    return f(x)


@dataclasses.dataclass
class State:
    h: Any
    steps: int = 0

    def advance(self, x: Any) -> Any:
        self.h = self.h * 0.5 + x
        self.steps += 1
        return self

    @property
    def double(self) -> Any:
        return self.h * 2


class Accumulator:
    limit = 10

    def __init__(self, start: Any) -> None:
        self.total = start
        self.n = 0

    def __call__(self, x: Any) -> Any:
        self.total = self.total + x
        self.n += 1
        return self.total

    def __add__(self, other: Any) -> Any:
        return self.total + other

    def __len__(self) -> int:
        return self.n

    @staticmethod
    def scale(x: Any) -> Any:
        return x * 2

    @classmethod
    def make(cls, x: Any) -> Any:
        return cls(x * cls.limit)


class Special(Accumulator):
    def __init__(self, start: Any) -> None:
        super().__init__(start)
        self.extra = 1

    def __call__(self, x: Any) -> Any:
        return super().__call__(x) + self.extra


def objects(x: Any, n: int) -> Any:
    state = State(x)
    for _ in range(n):
        state.advance(x)
    acc = Accumulator.make(x)
    acc(x)
    acc(n)
    special = Special(n)
    r = special(1)
    return state.h, state.steps, state.double, acc.total, len(acc), acc + 1, Accumulator.scale(n), acc.limit, r


def returned_state(x: Any) -> Any:
    return State(x, 3)


CALLS: list[Any] = [
    (calls, [(v, 3), (2, 3)]),
    (closures, [(v, 2)]),
    (known_recursion, [(v,)]),
    (captured, [(v,)]),
    (chosen_function, [(v, True), (v, False)]),
    (objects, [(v, 0), (v, 3)]),
    (with_decorator, [(v,)]),
    (add_five, [(v,)]),
]


@pytest.mark.parametrize(("function", "arguments"), CALLS, ids=[str(i) for i in range(len(CALLS))])
def test_calls_are_inlined(compare: Any, function: Any, arguments: Any) -> None:
    assert compare(function, *arguments).specialisations


def test_a_dataclass_can_be_returned() -> None:
    with jit.executor("interpreter"):
        state = script(returned_state)(v)
    assert isinstance(state, State)
    assert state.steps == 3


def test_scripted_functions_call_each_other(compare: Any) -> None:
    inner = script(helper)

    def outer(x: Any) -> Any:
        return inner(x, 3) * 2

    with jit.executor("interpreter"):
        assert ingot.allclose(script(outer)(v), (v + 3) * 2)


def test_default_arguments_and_keywords_of_the_call() -> None:
    def f(a: Any, b: int = 2, *, c: float = 0.5) -> Any:
        return a * b + c

    scripted = script(f)
    with jit.executor("interpreter"):
        for args, kwargs in (((1,), {}), ((1, 3), {}), ((1,), {"b": 4}), ((1,), {"c": 2.0, "b": 1})):
            assert scripted(*args, **kwargs) == f(*args, **kwargs)
        with pytest.raises(TypeError, match="missing a required argument: 'a'"):
            scripted()


def test_no_grad_and_is_scripting() -> None:
    def f(x: Any) -> Any:
        with ingot.no_grad():
            y = x * 2
        if jit.is_scripting():
            y = y + 1
        return y

    with jit.executor("interpreter"):
        assert ingot.allclose(script(f)(v), v * 2 + 1)
    assert ingot.allclose(f(v), v * 2)
