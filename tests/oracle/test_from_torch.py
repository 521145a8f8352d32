"""`from_torch` against PyTorch: rebuilt layers, exported programs with open sizes, and what cannot be taken over."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit, nn

torch = pytest.importorskip("torch", reason="the modules that are taken over are PyTorch's")
pytestmark = pytest.mark.filterwarnings("ignore")


def ours(value: Any) -> Any:
    return ingot.from_numpy(value.numpy().copy())


def leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [] if value is None else [value.detach().numpy()]


def assert_same(given: Any, expected: Any) -> None:
    given, expected = leaves(given), leaves(expected)
    assert len(given) == len(expected)
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one, other, 1e-4, 1e-5)


def block() -> Any:
    return torch.nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True, batch_first=True)


LAYERS: dict[str, Any] = {
    "sequential": lambda: (
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
            torch.nn.BatchNorm2d(4),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(16, 3),
        ),
        (torch.randn(2, 3, 8, 8),),
    ),
    "lstm": lambda: (torch.nn.LSTM(3, 5, 2, bidirectional=True, batch_first=True), (torch.randn(2, 4, 3),)),
    "gru": lambda: (torch.nn.GRU(3, 5), (torch.randn(4, 2, 3),)),
    "rnn": lambda: (torch.nn.RNN(2, 3, nonlinearity="relu"), (torch.randn(2, 1, 2),)),
    "encoder": lambda: (
        torch.nn.TransformerEncoder(block(), 2, norm=torch.nn.LayerNorm(8)),
        (torch.randn(2, 4, 8),),
    ),
    "attention": lambda: (torch.nn.MultiheadAttention(8, 2), (torch.randn(4, 2, 8),) * 3),
    "embedding": lambda: (torch.nn.Embedding(5, 3, padding_idx=0), (torch.tensor([[1, 0]]),)),
    "transposed": lambda: (
        torch.nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1),
        (torch.randn(1, 2, 4, 4),),
    ),
    "loss": lambda: (
        torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1),
        (torch.randn(4, 3), torch.tensor([0, 1, 2, 1])),
    ),
    "upsample": lambda: (torch.nn.Upsample(scale_factor=2, mode="bilinear"), (torch.randn(1, 2, 3, 3),)),
    "group norm": lambda: (torch.nn.GroupNorm(2, 4), (torch.randn(2, 4, 3),)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("route", ["layers", "export"])
def test_layers_compute_the_same(name: str, route: str) -> None:
    torch.manual_seed(0)
    layer, inputs = LAYERS[name]()
    layer.eval()
    taken = ingot.from_torch(layer, None if route == "layers" else inputs)
    assert_same(taken(*map(ours, inputs)), layer(*inputs))


class Forked(torch.nn.Module):
    """A forward of its own, with sizes, slices, a dictionary of results and a keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.project = torch.nn.Linear(6, 4)
        self.register_buffer("shift", torch.arange(4.0))

    def forward(self, x: Any, *, scale: Any) -> Any:
        y = self.project(x.reshape(x.shape[0], -1)) * scale + self.shift
        y = torch.cat([y[:, ::2], y.flip(1)[:, 1:]], dim=1)
        return {"scores": y.softmax(-1), "rest": (y.mean(), y.argmax(1))}


def test_an_exported_program_keeps_its_structure_and_open_sizes() -> None:
    torch.manual_seed(0)
    model = Forked().eval()
    x, scale = torch.randn(2, 2, 3), torch.tensor(2.0)
    shapes = {"x": {0: torch.export.Dim("batch")}, "scale": None}
    program = torch.export.export(model, (x,), {"scale": scale}, dynamic_shapes=shapes)
    taken = ingot.from_torch(program)
    traced = jit.trace(lambda x, scale: taken(x, scale=scale), (ours(x), ours(scale)))
    for rows in (2, 5):
        x = torch.randn(rows, 2, 3)
        expected = model(x, scale=scale)
        assert_same(taken(ours(x), scale=ours(scale)), expected)
        assert_same(traced(ours(x), ours(scale)), expected)
    with pytest.raises(
        TypeError, match=r"the inputs\[1\] are a dictionary of nothing, expected a dictionary of 'scale'"
    ):
        taken(ours(x))


def test_weights_go_into_a_model_of_the_same_architecture() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(6, 4)
            self.register_buffer("shift", ingot.zeros(4))

        def forward(self, x: Any) -> Any:
            return self.project(x) + self.shift

    theirs = Forked()
    taken = ingot.from_torch(theirs, into=Net())
    assert taken.shift.tolist() == [0, 1, 2, 3]
    assert_same(taken.project.weight, theirs.project.weight)
    taken.project.weight.data.fill_(0)
    assert theirs.project.weight.abs().sum() > 0  # a copy
    with pytest.raises(RuntimeError, match="size mismatch"):
        ingot.from_torch(torch.nn.Linear(2, 2), into=nn.Linear(3, 2))


def test_what_cannot_be_taken_over_is_named() -> None:
    with pytest.raises(
        TypeError, match=r"the module is a .*Forked, which is no layer that Ingot has; give example_inputs="
    ):
        ingot.from_torch(Forked())

    class Odd(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.ops.aten._pdist_forward(x), torch.ops.aten._cdist_forward(x, x, 2.0, None)

    with pytest.raises(RuntimeError, match=r"no counterpart for aten\._pdist_forward .*, aten\._cdist_forward"):
        ingot.from_torch(Odd(), (torch.randn(3, 2),))
