"""Modules in ingots: state, attributes, shared parts, methods and both modes come back."""

import copy
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit, nn, runtime
from ingot.eager.tensor import Tensor
from ingot.jit.archive import LoadedModule
from ingot.jit.errors import JitError, LoadError


class Block(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.normal = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return ingot.relu(self.normal(self.linear(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        shared = nn.Linear(3, 3)
        self.layers = nn.ModuleList([Block(shared), Block(nn.Linear(3, 3))])
        self.last = nn.Linear(3, 3)
        self.last.weight = shared.weight
        self.again = self.layers[1]
        self.scale = 2.5
        self.names = ["a", "b"]
        self.options = {"k": (1, None), "dtype": ingot.float64}
        self.function = len  # has no saved form
        self.table = ingot.tensor([1.0, 2.0, 3.0])
        self.register_buffer("steps", ingot.tensor(7))
        self.register_buffer("scratch", ingot.zeros(2), persistent=False)
        self.unused = nn.Parameter(ingot.ones(2), requires_grad=False)
        self.register_parameter("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.last(x) * self.scale + self.table

    @jit.export
    def encode(self, x: Tensor, times: int = 2) -> Tensor:
        return self.layers[0].linear(x) * times

    @jit.export
    def never_called(self, x: Tensor) -> Tensor:
        return x


X = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)


@pytest.fixture(scope="module")
def original() -> Any:
    ingot.manual_seed(1)
    scripted = jit.script(Net().eval())
    scripted(ingot.from_numpy(X))
    scripted.encode(ingot.from_numpy(X))
    return scripted


@pytest.fixture(scope="module")
def path(original: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("modules") / "net.ingot"
    jit.save(original, file)
    return file


@pytest.fixture
def loaded(path: Path) -> LoadedModule:
    module = jit.load(path)
    assert isinstance(module, LoadedModule)
    return module


def test_results_and_methods(loaded: LoadedModule, original: Any) -> None:
    x = ingot.from_numpy(X)
    assert ingot.equal(loaded(x), original(x))
    assert ingot.equal(loaded.forward(x[:2]), original(x[:2]))
    assert ingot.equal(loaded.encode(x), original.encode(x))
    assert ingot.equal(loaded.encode(x, times=3), original.encode(x, 3))
    with pytest.raises(JitError, match="has no graph for"):
        loaded.never_called(x)


def test_state_and_structure(loaded: LoadedModule, original: Any) -> None:
    module = original.original
    assert list(loaded.state_dict()) == list(module.state_dict())
    for name, value in module.state_dict().items():
        assert ingot.equal(loaded.state_dict()[name], value) and loaded.state_dict()[name].shape == value.shape
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in module.named_parameters()]
    assert [n for n, _ in loaded.named_modules()] == [n for n, _ in module.named_modules()]
    assert loaded.last.weight is loaded.layers[0].linear.weight and loaded.again is loaded.layers[1]
    assert loaded.nothing is None and not loaded.unused.requires_grad and loaded.last.bias.requires_grad
    assert loaded.scratch.shape == (2,) and len(loaded.layers) == 2
    assert "Block" in repr(loaded)
    with pytest.raises(JitError, match="loaded as a part of another module"):
        loaded.last(ingot.from_numpy(X))


def test_attributes(loaded: LoadedModule) -> None:
    assert (loaded.scale, loaded.names, loaded.options) == (2.5, ["a", "b"], {"k": (1, None), "dtype": ingot.float64})
    assert loaded.table.tolist() == [1, 2, 3] and not hasattr(loaded, "function")


def test_an_attribute_that_is_a_constant_of_the_graphs(loaded: LoadedModule) -> None:
    loaded.scale = 3.0
    with pytest.raises(JitError, match=r"none for the present values of scale: save it again"):
        loaded(ingot.from_numpy(X))
    loaded.scale = 2.5
    loaded(ingot.from_numpy(X))


@pytest.mark.filterwarnings("ignore::ingot.jit.errors.FallbackWarning")
def test_the_training_flag_and_the_other_mode(loaded: LoadedModule, original: Any) -> None:
    x = ingot.from_numpy(X)
    assert not loaded.training and not loaded.layers[0].training
    reference = jit.script(copy.deepcopy(original.original))
    loaded.train()
    reference.train()
    assert loaded.layers[0].normal.training
    np.testing.assert_allclose(loaded(x).detach().numpy(), reference(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    ours, theirs = loaded.layers[0].normal, reference.layers[0].normal
    np.testing.assert_allclose(ours.running_mean.numpy(), theirs.running_mean.numpy(), rtol=1e-5, atol=1e-6)
    assert ours.num_batches_tracked.item() == 1
    loaded(x).sum().backward()
    assert loaded.last.weight.grad is not None


def test_updates_stay_out_of_the_file(loaded: LoadedModule, original: Any, path: Path) -> None:
    with ingot.no_grad():
        loaded.last.bias.fill_(100)
    assert float(loaded(ingot.from_numpy(X)).detach().min()) > 100
    assert ingot.equal(jit.load(path)(ingot.from_numpy(X)), original(ingot.from_numpy(X)))
    loaded.load_state_dict(original.original.state_dict())
    assert ingot.equal(loaded(ingot.from_numpy(X)), original(ingot.from_numpy(X)))


def test_copies_and_saving_again(loaded: LoadedModule, original: Any) -> None:
    x = ingot.from_numpy(X)
    buffer = io.BytesIO()
    jit.save(loaded, buffer, native=False)
    again = jit.load(io.BytesIO(buffer.getvalue()))
    for module in (again, copy.deepcopy(loaded)):
        assert ingot.equal(module(x), original(x)) and ingot.equal(module.encode(x), original.encode(x))
        assert module.last.weight is module.layers[0].linear.weight
        assert module.last.weight is not loaded.last.weight


def test_the_runtime_has_the_methods(path: Path, original: Any) -> None:
    model = runtime.load(path)
    np.testing.assert_allclose(model(X), original(ingot.from_numpy(X)).detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.encode(X, 3), original.encode(ingot.from_numpy(X), 3).detach().numpy(), rtol=1e-5)
    assert sorted(model.methods) == ["encode", "never_called"] and model.is_native
    with pytest.raises(AttributeError, match="decode"):
        _ = model.decode


def test_traced_and_frozen_modules() -> None:
    x = ingot.from_numpy(X)
    module = Net().eval()
    buffer = io.BytesIO()
    jit.save(jit.trace(module, x, on_bake="ignore"), buffer, native=False)
    traced = jit.load(io.BytesIO(buffer.getvalue()))
    assert list(traced.state_dict()) == list(module.state_dict())
    with jit.executor("interpreter"):
        assert ingot.allclose(traced(x), module(x))
    frozen = jit.freeze(module)
    frozen.graph_for(x)
    buffer = io.BytesIO()
    jit.save(frozen, buffer, native=False)
    loaded = jit.load(io.BytesIO(buffer.getvalue()))
    assert isinstance(loaded, LoadedModule) and not loaded.training and not list(loaded.parameters())
    with jit.executor("interpreter"):
        assert ingot.allclose(loaded.eval()(x), module(x))


def damaged(path: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with its description changed."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copied:
        for name in source.namelist():
            data = source.read(name)
            if name == "ingot.json":
                description = json.loads(data)
                change(description)
                data = json.dumps(description).encode()
            copied.writestr(name, data)
    return target


def nested(depth: int) -> Any:
    module: Any = None
    for _ in range(depth):
        module = {
            "type": "M", "training": True, "parameters": {}, "buffers": {}, "attributes": {}, "modules": {"m": module}
        }  # fmt: skip
    return module


CHANGES: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("attribute", lambda d: d["module"]["attributes"].update(__class__={"constant": {"int": "1"}}), "not the name of"),
    ("method", lambda d: d["module"]["attributes"].update(save={"constant": {"int": "1"}}), "not the name of"),
    ("internals", lambda d: d["module"]["attributes"].update(_known={"constant": {"int": "1"}}), "not the name of"),
    ("dot", lambda d: d["module"]["modules"].update({"a.b": None}), "cannot be the name"),
    ("cycle", lambda d: d["module"]["modules"].update(loop={"same": ""}), "to be used again"),
    ("ancestor", lambda d: d["module"]["modules"]["last"]["modules"].update(up={"same": "last"}), "to be used again"),
    ("unknown", lambda d: d["module"]["modules"].update(loop={"same": "nowhere"}), "to be used again"),
    ("tensor", lambda d: d["module"]["parameters"].update(w=["nope", True]), "is missing"),
    ("gradient", lambda d: d["module"]["parameters"].update(w=["steps", True]), "no gradients"),
    ("depth", lambda d: d["module"]["modules"].update(deep=nested(300)), "nested deeper"),
    ("type", lambda d: d["module"].update(type="a b"), "not a module"),
    ("guard", lambda d: d["guarded"].append(["nowhere", "x"]), "not an attribute of the module"),
    ("state", lambda d: d["specialisations"][0]["state"].pop(), "state of a graph"),
    ("name", lambda d: d["methods"].update(save=d["methods"]["never_called"]), "not a method"),
    ("private", lambda d: d["methods"].update(__class__=d["methods"]["never_called"]), "not a method"),
    ("taken", lambda d: d["methods"].update(scale=d["methods"]["never_called"]), "not a method"),
    ("function", lambda d: d.update(module=None), "not described as expected|the methods are not"),
]


@pytest.mark.parametrize(("change", "message"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_descriptions_that_are_wrong(
    path: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(LoadError, match=message):
        jit.load(damaged(path, tmp_path / "damaged.ingot", change))
