"""Layers, losses and optimisers against PyTorch on the same weights: outputs, gradients, names, texts, 20 steps."""

import itertools
from typing import Any

import ingot
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests; install the bench extra to run them")

# Constructor, and the shapes (or arrays of integers below a bound) that it is called with.
LAYERS: list[tuple[str, tuple[Any, ...]]] = [
    ("nn.Identity()", ((2, 3),)),
    ("nn.Linear(3, 5)", ((2, 3),)),
    ("nn.Linear(3, 5, bias=False)", ((3,),)),
    ("nn.Linear(3, 5)", ((2, 1, 4, 3),)),
    ("nn.Linear(3, 5)", ((0, 3),)),
    ("nn.Conv2d(2, 4, 3)", ((2, 2, 7, 6),)),
    ("nn.Conv2d(2, 4, 3, padding=1)", ((1, 2, 5, 5),)),
    ("nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)", ((2, 4, 9, 8),)),
    ("nn.Conv2d(2, 4, 3, padding='same', bias=False)", ((1, 2, 5, 6),)),
    ("nn.Conv2d(2, 4, 3, padding='valid')", ((1, 2, 5, 6),)),
    ("nn.Conv2d(4, 4, 3, groups=4)", ((4, 5, 5),)),
    ("nn.BatchNorm1d(3)", ((5, 3),)),
    ("nn.BatchNorm1d(3)", ((5, 3, 4),)),
    ("nn.BatchNorm2d(3)", ((2, 3, 4, 5),)),
    ("nn.BatchNorm2d(3, affine=False, track_running_stats=False)", ((2, 3, 4, 5),)),
    ("nn.BatchNorm2d(3, momentum=None)", ((2, 3, 4, 5),)),
    ("nn.BatchNorm2d(3).eval()", ((2, 3, 4, 5),)),
    ("nn.LayerNorm(5)", ((2, 3, 5),)),
    ("nn.LayerNorm((3, 5), bias=False)", ((2, 3, 5),)),
    ("nn.LayerNorm(5, elementwise_affine=False)", ((2, 3, 5),)),
    ("nn.MaxPool2d(2)", ((2, 3, 6, 5),)),
    ("nn.MaxPool2d(3, stride=2, padding=1)", ((2, 3, 6, 5),)),
    ("nn.MaxPool2d((2, 3), ceil_mode=True)", ((2, 3, 6, 5),)),
    ("nn.MaxPool2d(2, return_indices=True)", ((2, 3, 6, 5),)),
    ("nn.MaxPool2d(2)", ((3, 6, 5),)),
    ("nn.AvgPool2d(2)", ((2, 3, 6, 5),)),
    ("nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)", ((2, 3, 6, 5),)),
    ("nn.AdaptiveAvgPool2d(1)", ((2, 3, 6, 5),)),
    ("nn.AdaptiveAvgPool2d((3, 2))", ((2, 3, 6, 5),)),
    ("nn.AdaptiveAvgPool2d((None, 2))", ((2, 3, 6, 5),)),
    ("nn.Dropout(0.5).eval()", ((2, 3),)),
    ("nn.Dropout(0.0)", ((2, 3),)),
    ("nn.Dropout(1.0)", ((2, 3),)),
    ("nn.Flatten()", ((2, 3, 4),)),
    ("nn.Flatten(0, 1)", ((2, 3, 4),)),
    ("nn.Unflatten(1, (2, 3))", ((2, 6),)),
    ("nn.Embedding(7, 3)", (("index", 7, (2, 5)),)),
    ("nn.Embedding(7, 3, padding_idx=-1)", (("index", 7, (20,)),)),
    ("nn.ReLU()", ((2, 3),)),
    ("nn.ReLU(inplace=True)", ((2, 3),)),
    ("nn.LeakyReLU(0.2)", ((2, 3),)),
    ("nn.ELU(0.7)", ((2, 3),)),
    ("nn.GELU()", ((2, 3),)),
    ("nn.GELU(approximate='tanh')", ((2, 3),)),
    ("nn.SiLU()", ((2, 3),)),
    ("nn.Sigmoid()", ((2, 3),)),
    ("nn.Tanh()", ((2, 3),)),
    ("nn.Softplus(2.0, 1.5)", ((2, 3),)),
    ("nn.Softmax(dim=1)", ((2, 3),)),
    ("nn.LogSoftmax(dim=0)", ((2, 3),)),
    ("nn.MSELoss()", ((2, 3), (2, 3))),
    ("nn.MSELoss(reduction='sum')", ((2, 3), (2, 3))),
    ("nn.MSELoss(reduction='none')", ((2, 3), (2, 3))),
    ("nn.L1Loss()", ((2, 3), (2, 3))),
    ("nn.CrossEntropyLoss()", ((4, 3), ("index", 3, (4,)))),
    ("nn.CrossEntropyLoss(label_smoothing=0.1)", ((4, 3), ("index", 3, (4,)))),
    ("nn.CrossEntropyLoss(ignore_index=1, reduction='sum')", ((4, 3), ("index", 3, (4,)))),
    ("nn.CrossEntropyLoss(reduction='none')", ((4, 3, 5), ("index", 3, (4, 5)))),
    ("nn.CrossEntropyLoss()", ((3,), ("index", 3, ()))),
    ("nn.CrossEntropyLoss()", ((4, 3), (4, 3))),
    ("nn.NLLLoss()", ((4, 3), ("index", 3, (4,)))),
    ("nn.NLLLoss(ignore_index=0)", ((4, 3), ("index", 3, (4,)))),
    ("nn.BCEWithLogitsLoss()", ((4, 3), ("unit", (4, 3)))),
    ("nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2)))", ((2, 3),)),
    ("nn.ModuleList([nn.Linear(2, 3), nn.Tanh()])[0]", ((2, 2),)),
    ("nn.ModuleDict({'a': nn.Linear(2, 3), 'b': nn.Tanh()})['a']", ((2, 2),)),
]


def arguments(specification: tuple[Any, ...], library: Any) -> list[Any]:
    generator = np.random.default_rng(0)
    found = []
    for entry in specification:
        if entry and entry[0] == "index":
            found.append(library.from_numpy(np.asarray(generator.integers(0, entry[1], entry[2]))))
        elif entry and entry[0] == "unit":
            found.append(library.from_numpy(generator.random(entry[1]).astype("float32")))
        else:
            array = np.asarray(generator.standard_normal(entry)).astype("float32")
            found.append(library.from_numpy(array).requires_grad_())
    return found


def pair(constructor: str) -> tuple[Any, Any]:
    """The same module in both libraries, with the weights of PyTorch's."""
    torch.manual_seed(0)
    theirs = eval(constructor, {"nn": torch.nn})
    ours = eval(constructor, {"nn": ingot.nn})
    state = {k: ingot.from_numpy(v.detach().numpy().copy()) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    return theirs, ours


def numpy(value: Any) -> Any:
    return value.detach().numpy()


def assert_close(ours: Any, theirs: Any, what: str) -> None:
    assert (ours is None) == (theirs is None), what
    if ours is not None:
        ours, theirs = numpy(ours), numpy(theirs)
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, what
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5, err_msg=what)


@pytest.mark.parametrize(("constructor", "specification"), LAYERS, ids=[f"{c} {s}" for c, s in LAYERS])
def test_layer(constructor: str, specification: tuple[Any, ...]) -> None:
    theirs, ours = pair(constructor)
    assert repr(ours) == repr(theirs)
    inputs = {who: arguments(specification, library) for who, library in (("a", torch), ("b", ingot))}
    inplace = "inplace=True" in constructor
    results: dict[str, list[Any]] = {}
    for who, module in (("a", theirs), ("b", ours)):
        for _ in range(2):  # twice, for the running statistics
            given = [x * 1 if inplace else x for x in inputs[who]]
            result = module(*given)
        results[who] = list(result) if isinstance(result, tuple) else [result]
    for a, b in zip(results["a"], results["b"], strict=True):
        assert_close(b, a, "output")
    weight = np.random.default_rng(1).standard_normal(tuple(results["a"][0].shape)).astype("float32")
    for who, library in (("a", torch), ("b", ingot)):
        results[who][0].backward(library.from_numpy(np.asarray(weight)))
    for n, (a, b) in enumerate(zip(inputs["a"], inputs["b"], strict=True)):
        if a.requires_grad:
            assert_close(b.grad, a.grad, f"gradient of input {n}")
    for (name, a), (other, b) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        assert name == other
        assert_close(b.grad, a.grad, f"gradient of {name}")
    states = theirs.state_dict(), ours.state_dict()
    assert list(states[0]) == list(states[1])
    for name in states[0]:
        assert_close(states[1][name], states[0][name], name)


OPTIMISERS = [
    "SGD({}, lr=0.1)",
    "SGD({}, lr=0.1, momentum=0.9)",
    "SGD({}, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)",
    "SGD({}, lr=0.1, momentum=0.9, dampening=0.3)",
    "SGD({}, lr=0.1, maximize=True, weight_decay=0.1)",
    "Adam({}, lr=0.05)",
    "Adam({}, lr=0.05, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1)",
    "Adam({}, lr=0.05, amsgrad=True)",
    "Adam({}, lr=0.05, maximize=True)",
    "AdamW({}, lr=0.05)",
    "AdamW({}, lr=0.05, weight_decay=0.2, amsgrad=True)",
]


def train(library: Any, text: str, steps: int = 20) -> tuple[list[Any], Any]:
    generator = np.random.default_rng(3)
    shapes = [(3, 4), (4,), ()]
    parameters = [
        library.nn.Parameter(library.from_numpy(np.asarray(generator.standard_normal(s)).astype("float32")))
        for s in shapes
    ]
    unused = library.nn.Parameter(library.ones(2))
    optimiser = eval("optim." + text.format("p"), {"optim": library.optim, "p": [*parameters, unused]})
    data = library.from_numpy(generator.standard_normal((5, 3)).astype("float32"))
    for _ in range(steps):
        optimiser.zero_grad()
        a, b, c = parameters
        loss = ((data @ a + b).tanh() * c - 0.3).pow(2).mean()
        loss.backward()
        optimiser.step()
    return [*parameters, unused], optimiser


@pytest.mark.parametrize("text", OPTIMISERS)
def test_twenty_steps(text: str) -> None:
    theirs, their_optimiser = train(torch, text)
    ours, our_optimiser = train(ingot, text)
    for a, b in zip(theirs, ours, strict=True):
        assert_close(b, a, text)
    their_state, our_state = their_optimiser.state_dict(), our_optimiser.state_dict()
    assert their_state["state"].keys() == our_state["state"].keys()
    for number, entries in their_state["state"].items():
        kept = {k: v for k, v in entries.items() if v is not None}
        assert kept.keys() == our_state["state"][number].keys()
        for key, value in kept.items():
            assert_close(our_state["state"][number][key], value, f"{number} {key}")
    known = their_state["param_groups"][0]
    for key, value in our_state["param_groups"][0].items():
        assert known[key] == value, key


BAD_CALLS = [
    "nn.Linear(3, 5)(x(2, 4))",
    "nn.Conv2d(2, 4, 3)(x(1, 3, 5, 5))",
    "nn.Conv2d(2, 4, 9)(x(1, 2, 5, 5))",
    "nn.Conv2d(3, 4, 3, groups=2)",
    "nn.BatchNorm2d(3)(x(2, 3))",
    "nn.BatchNorm1d(3)(x(2, 4))",
    "nn.BatchNorm1d(3)(x(1, 3))",
    "nn.LayerNorm(5)(x(2, 4))",
    "nn.Embedding(3, 2)(T.tensor([3]))",
    "nn.CrossEntropyLoss()(x(4, 3), T.tensor([0, 1, 2, 3]))",
    "nn.CrossEntropyLoss()(x(4, 3), T.tensor([0, 1]))",
    "nn.Dropout(1.5)",
    "nn.Linear(3, 5).load_state_dict({})",
    "nn.Linear(3, 5).load_state_dict({'weight': x(5, 3), 'bias': x(5), 'other': x(1)})",
    "nn.Linear(3, 5).load_state_dict({'weight': x(5, 4), 'bias': x(5)})",
    "nn.Linear(3, 5).load_state_dict({'weight': x(5, 4)}, strict=False)",
    "nn.Linear(3, 5).load_state_dict(3)",
    "nn.Module()(1)",
    "nn.Module().missing",
    "nn.Sequential(nn.ReLU())[1]",
    "nn.ModuleList([3])",
    "nn.Module().register_buffer('a.b', x(2))",
    "nn.Module().register_buffer('', x(2))",
    "nn.Module().register_parameter('a', x(2))",
    "nn.Linear(2, 2).register_buffer('weight', x(2))",
    "setattr(nn.Linear(2, 2), 'weight', x(2))",
    "nn.Parameter(T.tensor([1]))",
    "nn.Module().train(3)",
    "nn.Linear(2, 2).get_submodule('x')",
    "optim.SGD([])",
    "optim.SGD(x(2), lr=0.1)",
    "optim.SGD([x(2)], lr=-1.0)",
    "optim.SGD([3], lr=0.1)",
    "optim.SGD([nn.Parameter(x(2)) * 2], lr=0.1)",
    "optim.SGD([nn.Parameter(x(2))], lr=0.1, nesterov=True)",
    "optim.SGD([{'params': p}, {'params': p}], lr=0.1)",
    "optim.Adam([nn.Parameter(x(2))], betas=(1.0, 0.9))",
    "optim.Adam([nn.Parameter(x(2))], eps=-1.0)",
    "optim.SGD([p], lr=0.1).load_state_dict(optim.SGD([p, nn.Parameter(x(2))], lr=0.1).state_dict())",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", BAD_CALLS)
def test_refused_alike(call: str) -> None:
    kinds = []
    for library in (torch, ingot):
        names = {"nn": library.nn, "optim": library.optim, "T": library, "p": library.nn.Parameter(library.ones(2))}
        names["x"] = library.randn
        try:
            kinds.append(f"returned {type(eval(call, names)).__name__}")
        except Exception as error:
            kinds.append(type(error).__name__)
    assert kinds[0] == kinds[1]


def test_names_are_listed_alike() -> None:
    def build(nn: Any) -> Any:
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ModuleList([nn.Linear(3, 3)]))
        model.add_module("again", model[0])
        model[0].register_buffer("kept", None)
        model.register_buffer("scratch", nn.Parameter(model[0].bias.detach()), persistent=False)
        return model

    theirs, ours = build(torch.nn), build(ingot.nn)
    for listing in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [n for n, _ in getattr(ours, listing)()] == [n for n, _ in getattr(theirs, listing)()], listing
    names = [n for n, _ in ours.named_parameters(remove_duplicate=False)]
    assert names == [n for n, _ in theirs.named_parameters(remove_duplicate=False)]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert list(ours.state_dict(prefix="m.")) == list(theirs.state_dict(prefix="m."))
    assert repr(ours) == repr(theirs)


def test_initial_values_have_the_same_spread() -> None:
    ingot.manual_seed(0)
    for constructor, name in itertools.product(["nn.Linear(200, 300)", "nn.Conv2d(30, 40, 5)"], ["weight", "bias"]):
        theirs = numpy(getattr(eval(constructor, {"nn": torch.nn}), name))
        ours = numpy(getattr(eval(constructor, {"nn": ingot.nn}), name))
        assert abs(ours.std() / theirs.std() - 1) < 0.15
        assert abs(np.abs(ours).max() / np.abs(theirs).max() - 1) < 0.05
