"""Compiled callables on a simulated device: control flow, gradients, training steps, files, and what is refused."""

import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit, nn, optim
from ingot.jit.codegen.cuda import frontend
from ingot.jit.device_program import DeviceProgram
from ingot.nn import functional as F

needs_nvvm = pytest.mark.skipif(bool(frontend.nvvm_problem()), reason=frontend.nvvm_problem() or "NVVM is here")


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    ingot.manual_seed(0)
    with ingot.cuda.simulate(devices=2):
        yield


def program_of(function: Any) -> DeviceProgram:
    (found,) = [s.device_program for s in function.specialisations if s.device_program is not None]
    assert isinstance(found, DeviceProgram)
    return found


def close(a: ingot.Tensor, b: ingot.Tensor, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().cpu().numpy(), rtol=tolerance, atol=tolerance)


def chain(x: ingot.Tensor, w: ingot.Tensor) -> tuple[ingot.Tensor, ingot.Tensor]:
    y = ingot.tanh(x * w)
    return ingot.softmax(y, dim=-1), y.sum()


@pytest.mark.parametrize(
    "compile", [jit.script, lambda f: jit.trace(f, (ingot.ones(2, 3).cuda(), ingot.ones(3).cuda()))]
)
def test_one_callable_runs_where_its_arguments_are(compile: Callable[..., Any]) -> None:
    function = compile(chain)
    x, w = ingot.randn(4, 5), ingot.randn(5)
    for shape in ((4, 5), (1, 5)):
        on_host = chain(x[: shape[0]], w)
        found = function(x[: shape[0]].cuda(), w.cuda())
        assert all(str(r.device) == "cuda:0" for r in found)
        for a, b in zip(found, on_host, strict=True):
            close(a, b)
    if compile is jit.script:
        close(function(x, w)[0], chain(x, w)[0])
        assert function(x, w)[0].device.type == "cpu"
        assert {str(s.place) for s in function.specialisations} == {"cpu", "cuda:0"}
        assert str(function(x.to("cuda:1"), w.to("cuda:1"))[0].device) == "cuda:1"


def test_tensors_on_two_devices_are_refused_as_eager_does() -> None:
    function = jit.script(chain)
    with pytest.raises(RuntimeError, match=r"Expected all tensors to be on the same device.*cuda:0 and cpu"):
        function(ingot.ones(2, 3).cuda(), ingot.ones(3))
    close(jit.script(lambda x, s: x * s)(ingot.ones(2).cuda(), ingot.tensor(3.0)), ingot.full((2,), 3.0))


def test_sources_and_reports_name_the_device_and_its_kernels() -> None:
    function = jit.script(lambda x: ingot.sort(ingot.exp(x) + x)[0] * 2)
    function(ingot.randn(5).cuda())
    source, report = function.kernel_source(), function.explain()
    assert "@cuda.jit" in source and "cuda.gridsize(1)" in source and "sort by the array module" in source
    assert "on cuda:0" in report and "sort: computed by the array module" in report and "exp" in report
    space: dict[str, Any] = {}
    exec(compile(source, "kernels.py", "exec"), space)  # the text is a module of Python's
    assert any(name.startswith("k_exp_add") for name in space)


@pytest.mark.parametrize("executor", ["native", "python", "interpreter"])
def test_executors(executor: str) -> None:
    function = jit.script(chain)
    x, w = ingot.randn(3, 4).cuda(), ingot.randn(4).cuda()
    with jit.executor(executor):
        for a, b in zip(function(x, w), chain(x, w), strict=True):
            close(a, b)


# -- control flow ------------------------------------------------------------------------------------------------------


def test_loops_and_branches_on_numbers_and_on_data() -> None:
    @jit.script
    def grow(x: ingot.Tensor, most: int) -> tuple[ingot.Tensor, int]:
        steps = 0
        while x.sum() < 100.0:
            x = x * 2
            steps += 1
            if steps >= most:
                break
        if x.max() > 50.0:
            x = x - 1
        return x, steps

    for most in (3, 50):
        a, n = grow(ingot.ones(3).cuda(), most)
        b, m = grow(ingot.ones(3), most)
        close(a, b)
        assert n == m


def test_lists_of_tensors_and_sizes_from_data() -> None:
    @jit.script
    def collect(x: ingot.Tensor, n: int) -> ingot.Tensor:
        parts = []
        for i in range(n):
            parts.append(x[x > i].sum() + x)
        return ingot.stack(parts)

    x = ingot.arange(5.0)
    close(collect(x.cuda(), 3), collect(x, 3))


def test_errors_of_the_program_and_of_kernels() -> None:
    @jit.script
    def pick(x: ingot.Tensor, i: ingot.Tensor) -> ingot.Tensor:
        if x.sum() < 0.0:
            raise ValueError("negative")
        try:
            y = x[i] * 2
        except IndexError:
            y = x - 1
        return y

    x = ingot.arange(3.0)
    close(pick(x.cuda(), ingot.tensor([2, 0]).cuda()), ingot.tensor([4.0, 0.0]))
    close(pick(x.cuda(), ingot.tensor([2, 5]).cuda()), x - 1)
    with pytest.raises(ValueError, match="negative"):
        pick((x - 9).cuda(), ingot.tensor([0]).cuda())


def test_in_place_writes_reach_the_arguments() -> None:
    @jit.script
    def add_to(x: ingot.Tensor, y: ingot.Tensor) -> ingot.Tensor:
        x.add_(y)
        x[0] = 7.0
        return x.sum()

    x = ingot.ones(2, 3).cuda()
    total = add_to(x, ingot.ones(3).cuda())
    close(x, ingot.tensor([[7.0] * 3, [2.0] * 3]))
    close(total, x.sum())


# -- gradients and training --------------------------------------------------------------------------------------------


def small_network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))


def test_gradients_through_compiled_modules() -> None:
    ingot.manual_seed(0)
    network = small_network()
    x = ingot.randn(4, 5)
    network(x).square().sum().backward()
    expected = [p.grad for p in network.parameters()]
    network.zero_grad()
    network.cuda()
    compiled = jit.script(network)
    given = x.cuda().requires_grad_()
    compiled(given).square().sum().backward()
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert str(parameter.grad.device) == "cuda:0"
        close(parameter.grad, gradient, 1e-4)
    assert given.grad is not None and "the gradient of" in compiled.explain()


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, 0.1, momentum=0.9), lambda p: optim.AdamW(p, 0.01)], ids=["sgd", "adamw"]
)
def test_a_compiled_training_step(make: Callable[..., Any]) -> None:
    random = np.random.default_rng(0)
    batches = [(random.standard_normal((4, 5)).astype(np.float32), random.integers(0, 3, 4)) for _ in range(3)]
    losses, networks = [], []
    for device in ("cpu", "cuda"):
        ingot.manual_seed(1)
        network = small_network().to(device)
        optimizer = make(network.parameters())

        def step(x: ingot.Tensor, y: ingot.Tensor, network: Any = network, optimizer: Any = optimizer) -> ingot.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            return loss

        given = [(ingot.from_numpy(x).to(device), ingot.from_numpy(y).to(device)) for x, y in batches]
        if device == "cuda":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", jit.TraceWarning)
                step = jit.trace(step, given[0])
        losses.append([float(step(x, y)) for x, y in given])
        networks.append(network)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        close(a, b)


def test_a_convolutional_network_and_its_gradients() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    x = ingot.randn(2, 1, 4, 4)
    network(x).square().sum().backward()
    expected = [p.grad for p in network.parameters()]
    network.zero_grad()
    network.cuda()
    compiled = jit.script(network)
    compiled(x.cuda()).square().sum().backward()
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        close(parameter.grad, gradient, 2e-3)


def test_attention_in_a_transformer_layer_is_one_kernel() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    x = ingot.randn(2, 3, 8)
    with ingot.no_grad():
        expected = layer(x)
        compiled = jit.trace(layer.cuda(), (x.cuda(),))
        close(compiled(x.cuda()), expected, 1e-4)
    assert any("attention" in kernel.name for kernel in program_of(compiled).kernels())


# -- recorded calls ----------------------------------------------------------------------------------------------------


def test_calls_that_only_launch_kernels_are_recorded_and_repeated() -> None:
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).cuda()
    compiled = jit.script(network)
    with ingot.no_grad():
        results = []
        for _ in range(4):
            x = ingot.randn(2, 5).cuda()
            results.append((compiled(x), network(x)))
        network[0].weight.mul_(2.0)  # in place: the recording reads it where it is
        results.append((compiled(x), network(x)))
        network[0].weight.data = network[0].weight.data * 2  # elsewhere: recorded anew
        results.append((compiled(x), network(x)))
    for found, expected in results:
        close(found, expected)
    program = program_of(compiled)
    assert program.is_static and not program.recording_failure and len(program._replays) == 1


def test_what_looks_at_data_is_not_recorded() -> None:
    function = jit.script(lambda x: x * 2 if x.sum() > 0 else x)
    for _ in range(3):
        close(function(ingot.ones(2).cuda()), ingot.full((2,), 2.0))
    assert not program_of(function).is_static


# -- files -------------------------------------------------------------------------------------------------------------


@needs_nvvm
@pytest.mark.slow
def test_files_carry_ptx_and_are_loaded_to_a_device() -> None:
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = ingot.randn(4, 5)
    with ingot.no_grad():
        expected = network(x)
        compiled = jit.script(network.cuda())
        compiled(x.cuda())
        file = io.BytesIO()
        compiled.save(file, targets=["sm_80", "sm_90"])
        loaded = jit.load(io.BytesIO(file.getvalue()))
        assert all(str(p.device) == "cuda:0" for p in loaded.parameters())
        close(loaded(x.cuda()), expected)
        (on_device,) = [s for s in loaded.specialisations if s.device_program is not None]
        from ingot.jit.codegen.cuda.programs import device_kernels

        kernels = device_kernels(on_device.optimised)
        for architecture in ("sm_80", "sm_90"):
            assert all(f".target {architecture}" in on_device.ptx[k.name, architecture] for k in kernels)
        on_host = jit.load(io.BytesIO(file.getvalue()), map_location="cpu")
        close(on_host(x), expected)
        second = jit.load(io.BytesIO(file.getvalue()), map_location="cuda:1")
        assert str(second(x.to("cuda:1")).device) == "cuda:1"


def test_a_file_for_the_cpu_runs_on_a_device_too() -> None:
    function = jit.script(chain)
    x, w = ingot.randn(3, 4), ingot.randn(4)
    expected = function(x, w)
    file = io.BytesIO()
    function.save(file)
    loaded = jit.load(io.BytesIO(file.getvalue()))
    close(loaded(x.cuda(), w.cuda())[0], expected[0])
    close(loaded(x, w)[0], expected[0])


def test_names_of_targets_and_of_places() -> None:
    function = jit.script(chain)
    function(ingot.ones(2, 3), ingot.ones(3))
    with pytest.raises(ValueError, match="'sm_x' is no GPU architecture"):
        function.save(io.BytesIO(), targets=["sm_x"])
    file = io.BytesIO()
    function.save(file)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        jit.load(io.BytesIO(file.getvalue()), map_location="cuda:7")


# -- where a program is ------------------------------------------------------------------------------------------------


def test_scripts_know_their_device_and_stay_on_it() -> None:
    @jit.script
    def made_here(x: ingot.Tensor) -> ingot.Tensor:
        if x.device.type == "cuda":
            return x.to(x.device) + ingot.ones(3, device=x.device)
        return x - 1

    close(made_here(ingot.zeros(3).cuda()), ingot.ones(3))
    close(made_here(ingot.zeros(3)), -ingot.ones(3))
    leave = jit.script(lambda x: x.cpu() + 1)
    close(leave(ingot.zeros(3)), ingot.ones(3))
    with pytest.raises(jit.ScriptError, match="moved to cpu, in a program that runs on cuda:0"):
        leave(ingot.zeros(3).cuda())


def test_frozen_modules_and_traces_follow_their_arguments() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    x = ingot.randn(2, 4)
    with ingot.no_grad():
        expected = network(x)
        frozen = jit.freeze(jit.script(network.cuda()))
        close(frozen(x.cuda()), expected)
        traced = jit.trace(network, (x.cuda(),))
        close(traced(x.cuda()), expected)
        network.cpu()
        close(traced(x), expected)


def test_bisect_compares_kernels_with_the_array_module() -> None:
    function = jit.script(chain)
    function(ingot.randn(2, 3).cuda(), ingot.randn(3).cuda())
    assert function.bisect(ingot.randn(2, 3).cuda(), ingot.randn(3).cuda()).agrees
