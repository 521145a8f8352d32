"""Modules, optimisers, random numbers and files with tensors on a simulated GPU: as on the CPU."""

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import nn, optim
from ingot.nn import functional as F
from ingot.utils.data import DataLoader, TensorDataset


@pytest.fixture(autouse=True)
def gpu() -> Iterator[Any]:
    with ingot.cuda.simulate() as simulated:
        yield simulated


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25),
        nn.Linear(64, 12), nn.LayerNorm(12), nn.Linear(12, 5),
    )  # fmt: skip


OPTIMISERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}), ("Adam", {}), ("AdamW", {}),
    ("Adamax", {}), ("NAdam", {}), ("RAdam", {}), ("RMSprop", {"centered": True, "momentum": 0.5}), ("Adagrad", {}),
    ("Adadelta", {}), ("ASGD", {}), ("Rprop", {}), ("LBFGS", {"max_iter": 3}), ("Adafactor", {}),
]  # fmt: skip


def trained(device: str, name: str, options: dict[str, Any]) -> tuple[list[float], nn.Module, optim.Optimizer]:
    ingot.manual_seed(1)
    model = network().to(device)
    optimiser = getattr(optim, name)(model.parameters(), **options)
    inputs, targets = ingot.randn(6, 1, 8, 8, device=device), ingot.randint(0, 5, (6,), device=device)
    losses = []

    def closure() -> ingot.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    for _ in range(3):
        losses.append(float(optimiser.step(closure)))
    return losses, model, optimiser


@pytest.mark.parametrize(("name", "options"), OPTIMISERS, ids=[f"{n} {o}" for n, o in OPTIMISERS])
def test_training_gives_the_losses_of_the_cpu(name: str, options: dict[str, Any]) -> None:
    expected, _, _ = trained("cpu", name, options)
    losses, model, optimiser = trained("cuda", name, options)
    np.testing.assert_allclose(losses, expected, rtol=2e-4)
    assert all(t.device == "cuda:0" for t in (*model.parameters(), *model.buffers()))
    if name != "LBFGS":
        state = next(iter(optimiser.state.values())) if optimiser.state else {}
        assert all(v.device == "cuda:0" for v in state.values() if isinstance(v, ingot.Tensor) and v.ndim)


def test_modules_move_in_place() -> None:
    model = network()
    weight = model[0].weight
    model[0].weight.grad = ingot.ones_like(weight)
    assert model.cuda() is model and model[0].weight is weight
    assert weight.device == weight.grad.device == model[1].running_mean.device == "cuda:0"
    assert model[1].num_batches_tracked.device == "cuda:0"
    assert model.double().to("cpu")[0].weight.dtype is ingot.float64 and weight.device == "cpu"
    assert model.to("cuda", ingot.float32)[0].weight.dtype is ingot.float32 and weight.device == "cuda:0"
    assert model.cpu()[0].weight.grad.device == "cpu"
    assert model.to(ingot.ones(1, device="cuda"))[0].weight.device == "cuda:0"
    assert nn.Linear(2, 3, device="cuda").bias.device == "cuda:0"
    assert nn.LazyLinear(3, device="cuda")(ingot.ones(1, 2, device="cuda")).device == "cuda:0"
    assert nn.Linear(2, 2).to_empty(device="cuda").weight.device == "cuda:0"
    with pytest.raises(RuntimeError, match="same device"):
        model(ingot.ones(1, 1, 8, 8))
    assert copy.deepcopy(model)[0].weight.device == "cuda:0"


INITIALISERS = [
    "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "orthogonal_", "trunc_normal_",
    "uniform_", "normal_", "zeros_", "ones_", "eye_",
]  # fmt: skip


@pytest.mark.parametrize("name", INITIALISERS)
def test_initialisers_draw_what_they_draw_on_the_cpu(name: str) -> None:
    values = []
    for device in ("cpu", "cuda"):
        ingot.manual_seed(5)
        values.append(getattr(nn.init, name)(ingot.empty(4, 6, device=device)).cpu().numpy())
    np.testing.assert_array_equal(*values)


RANDOM: list[Callable[[str], Any]] = [
    lambda d: ingot.rand(5, device=d), lambda d: ingot.randn(3, 4, device=d), lambda d: ingot.randperm(9, device=d),
    lambda d: ingot.randint(0, 100, (7,), device=d), lambda d: F.dropout(ingot.ones(64, device=d), 0.5),
    lambda d: ingot.bernoulli(ingot.full((16,), 0.5, device=d)), lambda d: ingot.ones(5, device=d).uniform_(),
    lambda d: ingot.multinomial(ingot.ones(2, 9, device=d), 3),
    lambda d: ingot.poisson(ingot.full((4,), 3.0, device=d)),
    lambda d: ingot.empty(5, device=d).normal_(), lambda d: ingot.empty(5, device=d).exponential_(),
    lambda d: ingot.rand(4, device=d, dtype=ingot.complex64), lambda d: F.gumbel_softmax(ingot.ones(3, 4, device=d)),
    lambda d: ingot.empty(6, device=d).random_(10), lambda d: ingot.normal(ingot.zeros(3, device=d), 1.0),
]  # fmt: skip


GUMBEL = 12


@pytest.mark.parametrize("index", range(len(RANDOM)))
def test_equal_seeds_draw_equal_numbers_on_every_device(index: int) -> None:
    values = []
    for device in ("cpu", "cuda"):
        ingot.manual_seed(11)
        drawn = RANDOM[index](device)
        assert drawn.device.type == device
        values.append(drawn.cpu().numpy())
    np.testing.assert_allclose(*values, rtol=0 if index != GUMBEL else 1e-6)  # its softmax has a short form on the CPU
    ingot.cuda.manual_seed(11)
    np.testing.assert_array_equal(RANDOM[index]("cuda").cpu().numpy(), values[1])
    state = ingot.cuda.get_rng_state()
    first = RANDOM[index]("cuda")
    ingot.cuda.set_rng_state(state)
    assert ingot.equal(first, RANDOM[index]("cuda"))


def test_generators_of_a_device() -> None:
    generator = ingot.Generator(device="cuda").manual_seed(3)
    assert generator.device == ingot.device("cuda:0")
    first = ingot.rand(4, generator=generator, device="cuda")
    again = ingot.rand(4, generator=ingot.Generator().manual_seed(3))
    assert first.tolist() == again.tolist()
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        ingot.rand(2, generator=ingot.Generator(), device="cuda")
    with pytest.raises(RuntimeError, match="Expected a 'cpu' device type for generator but found 'cuda'"):
        ingot.rand(2, generator=generator)


# -- files -------------------------------------------------------------------------------------------------------------


def reloaded(value: Any, **options: Any) -> Any:
    file = io.BytesIO()
    ingot.save(value, file)
    return ingot.load(io.BytesIO(file.getvalue()), **options)


def test_map_location_says_where_tensors_are_loaded() -> None:
    state = network().cuda().state_dict()
    assert {t.device for t in state.values()} == {ingot.device("cuda:0")}
    for location, device in (
        (None, "cuda:0"), ("cpu", "cpu"), ("cuda", "cuda:0"), (ingot.device("cuda:0"), "cuda:0"),
        ({"cuda:0": "cpu"}, "cpu"), ({"cuda:1": "cpu"}, "cuda:0"), (lambda t, saved: None, "cuda:0"),
        (lambda t, saved: t if saved == "cuda:0" else None, "cpu"),
    ):  # fmt: skip
        for loaded in (reloaded(state, map_location=location), reloaded([state, 3], map_location=location)[0]):
            assert {str(t.device) for t in loaded.values()} == {device}
            assert all(ingot.equal(a.cpu(), b.cpu()) for a, b in zip(loaded.values(), state.values(), strict=True))
    leaf = reloaded([ingot.ones(1, device="cuda", requires_grad=True), ingot.ones(1)])
    assert leaf[0].is_leaf and leaf[0].requires_grad and leaf[0].is_cuda and not leaf[1].is_cuda
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        reloaded(state, map_location="cuda:3")
    with pytest.raises(RuntimeError, match="map_location returned int"):
        reloaded(state, map_location=lambda t, where: 3)


def test_files_from_a_gpu_are_read_where_there_is_none(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    ingot.save(network().cuda().state_dict(), file)
    monkeypatch.setattr(gpu, "devices", [])  # a machine without one
    with pytest.raises(RuntimeError, match=r"saved from cuda:0, and .*; pass map_location='cpu'"):
        ingot.load(io.BytesIO(file.getvalue()))
    assert not ingot.load(io.BytesIO(file.getvalue()), map_location="cpu")["0.weight"].is_cuda
    for damaged in (b"tpu:00", b"cuda:x"):
        with pytest.raises(ValueError, match="devices are damaged"):
            ingot.load(io.BytesIO(file.getvalue().replace(b"cuda:0", damaged)))


def test_states_are_loaded_across_devices() -> None:
    losses, model, optimiser = trained("cuda", "Adam", {})
    other = network()
    other.load_state_dict(model.state_dict())
    assert other[0].weight.device == "cpu" and ingot.equal(other[0].weight, model[0].weight.cpu())
    again = optim.Adam(network().cuda().parameters())
    again.load_state_dict(reloaded(optimiser.state_dict()))
    state = next(iter(again.state.values()))
    assert state["exp_avg"].device == "cuda:0" and state["step"].device == "cpu" and losses


def test_loaders_make_batches_on_the_cpu() -> None:
    data = TensorDataset(ingot.arange(12.0).reshape(6, 2), ingot.arange(6))
    for inputs, targets in DataLoader(data, batch_size=3, pin_memory=True):
        assert inputs.device == "cpu" and inputs.to("cuda", non_blocking=True).sum().device == "cuda:0"
        assert targets.pin_memory().cuda().device == "cuda:0"


def test_tools_of_training() -> None:
    model = network().cuda()
    loss = model(ingot.ones(2, 1, 8, 8, device="cuda")).square().mean()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    assert norm.device == "cuda:0"
    nn.utils.clip_grad_value_(model.parameters(), 0.01)
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector * 2, model.parameters())
    assert vector.device == "cuda:0"
    nn.utils.prune.l1_unstructured(model[0], "weight", 0.5)
    nn.utils.prune.ln_structured(model[6], "weight", 0.5, 2, 0)
    assert model[0].weight_mask.device == model[6].weight.device == "cuda:0"
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4).cuda())
    assert layer.weight.device == "cuda:0"
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3).cuda())
    assert normed(ingot.ones(2, 4, device="cuda")).device == "cuda:0"
    averaged = optim.swa_utils.AveragedModel(network().cuda())
    averaged.update_parameters(network().cuda())
    assert next(averaged.parameters()).device == "cuda:0"
    rnn = nn.LSTM(3, 4, batch_first=True).cuda()
    packed = nn.utils.rnn.pack_padded_sequence(
        ingot.ones(2, 5, 3, device="cuda"), ingot.tensor([5, 3]), batch_first=True
    )
    output, lengths = nn.utils.rnn.pad_packed_sequence(rnn(packed)[0], batch_first=True)
    assert output.device == "cuda:0" and lengths.device == "cpu" and packed.is_cuda


MODULES: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True), (5, 2, 3)),
    (lambda: nn.GRU(3, 4), (5, 2, 3)),
    (lambda: nn.RNN(3, 4), (5, 2, 3)),
    (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), (4, 2, 8)),
    (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), (1, 2, 4, 4)),
    (lambda: nn.GroupNorm(2, 4), (2, 4, 3)),
    (lambda: nn.InstanceNorm1d(4, affine=True), (2, 4, 5)),
    (lambda: nn.AdaptiveAvgPool2d(2), (1, 2, 5, 5)),
    (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 3, 3)),
    (lambda: nn.AlphaDropout(0.3), (4, 4)),
    (lambda: nn.Bilinear(3, 3, 2), (2, 3)),
]


@pytest.mark.parametrize("index", range(len(MODULES)))
def test_layers_compute_what_they_compute_on_the_cpu(index: int) -> None:
    make, shape = MODULES[index]
    results = []
    for device in ("cpu", "cuda"):
        ingot.manual_seed(2)
        module = make()
        module.to(device)
        x = ingot.randn(*shape).to(device).requires_grad_()
        output = module(x, x) if isinstance(module, nn.Bilinear) else module(x)
        output = output[0] if isinstance(output, tuple) else output
        output.square().sum().backward()
        assert output.device.type == x.grad.device.type == device
        results.append([output.detach().cpu().numpy(), x.grad.cpu().numpy()])
    for on_cpu, on_gpu in zip(*results, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=2e-4, atol=1e-5)
