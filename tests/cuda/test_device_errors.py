"""Bad input reaches compiled programs and files as one clear error, and the CPU goes on: no GPU, no memory, no NVVM."""

import io
import warnings
from collections.abc import Iterator
from typing import Any

import ingot
import pytest
from ingot import jit, nn
from ingot.cuda import backends
from ingot.jit.codegen.cuda import frontend, programs
from ingot.jit.runtime.cuda_launch import CupyLauncher
from strict_cupy import StrictCupy

needs_nvvm = pytest.mark.skipif(bool(frontend.nvvm_problem()), reason=frontend.nvvm_problem() or "NVVM is here")
NO_NVVM = "no PTX can be compiled here (libNVVM cannot be found): install a CUDA toolkit, or `pip install NAME`"


def chain(x: ingot.Tensor, w: ingot.Tensor) -> ingot.Tensor:
    return (x * w).exp().sum(-1)


def on_cpu_still(function: Any) -> None:
    """The same callable runs on the CPU."""
    x, w = ingot.randn(3, 4), ingot.randn(4)
    assert ingot.allclose(function(x, w), chain(x, w))


class IllegalAccess(RuntimeError):
    """The driver's error."""


class Broken(backends.Simulator):
    """A device whose driver reports errors."""

    fatal = (IllegalAccess,)

    def clear(self, error: BaseException) -> Exception:
        return ingot.cuda.AcceleratorError(f"CUDA error: {error}. The CPU can still be used")


@pytest.fixture
def gpu() -> Iterator[Any]:
    with ingot.cuda.simulate(memory=1 << 20) as simulated:
        yield simulated


def test_a_compiled_program_without_memory_says_what_to_free(gpu: Any) -> None:
    function = jit.script(lambda x: ingot.cat([x, x, x]).cumsum(0))
    x = ingot.ones(200, 1000, device="cuda")
    with pytest.raises(ingot.cuda.OutOfMemoryError, match=r"Tried to allocate 2\.29 MiB.*empty_cache\(\).*the CPU can"):
        function(x)
    assert function(x[:2, :3]).cpu().tolist() == [[float(n)] * 3 for n in range(1, 7)]
    assert function(x.cpu()).sum().item() == 1000 * 600 * 601 / 2
    del x
    assert gpu.devices[0].allocated < 1 << 12, "memory of a failed call is given back"


def test_an_illegal_access_in_a_kernel_is_one_clear_error(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise IllegalAccess("an illegal memory access was encountered")

    gpu.__class__ = Broken
    function = jit.script(chain)
    monkeypatch.setattr(programs.SimulatorLauncher, "launch", refuse)
    with pytest.raises(ingot.cuda.AcceleratorError, match=r"illegal memory access.*The CPU can still be used"):
        function(ingot.ones(2, 3).cuda(), ingot.ones(3).cuda())
    on_cpu_still(function)


def test_a_device_without_nvvm_computes_op_by_op_and_says_why(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = CupyLauncher(StrictCupy(), lambda kernel, architecture: "")
    monkeypatch.setattr(programs, "_launcher", lambda xp, stored: launcher)
    monkeypatch.setattr(frontend, "nvvm_problem", lambda: NO_NVVM)
    function = jit.script(chain)
    x, w = ingot.randn(3, 4), ingot.randn(4)
    with pytest.warns(UserWarning, match="no PTX can be compiled here.*pip install NAME"):
        found = function(x.cuda(), w.cuda())
    assert found.is_cuda and ingot.allclose(found.cpu(), chain(x, w))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on_cpu_still(function)


def test_a_driver_older_than_the_code_is_named_by_a_program(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = StrictCupy()

    def refuse(path: str) -> Any:
        raise OSError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION")

    cupy.RawModule = refuse
    launcher = CupyLauncher(cupy, lambda kernel, architecture: ".version 9.9\n")
    monkeypatch.setattr(programs, "_launcher", lambda xp, stored: launcher)
    monkeypatch.setattr(frontend, "nvvm_problem", lambda: "")
    function = jit.script(chain)
    with pytest.raises(RuntimeError, match=r"UNSUPPORTED_PTX_VERSION.*PTX 9\.9.*update the driver"):
        function(ingot.ones(2, 3).cuda(), ingot.ones(3).cuda())
    on_cpu_still(function)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Any:
    """A compiled network, and it on a device, where it was called."""
    plain = nn.Sequential(nn.Linear(5, 3), nn.ReLU()).eval()
    x = ingot.randn(4, 5)
    with ingot.no_grad(), ingot.cuda.simulate():
        expected = plain(x)
        compiled = jit.script(plain.cuda())
        compiled(x.cuda())
        yield compiled, x, expected


@needs_nvvm
def test_a_file_with_code_for_gpus_runs_where_there_is_none(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, x, expected = network
    file = io.BytesIO()
    compiled.save(file, targets=["sm_80"])
    monkeypatch.setattr(backends, "_active", None)
    monkeypatch.setattr(backends, "_reason", "no GPU can be used: no NVIDIA driver was found; use device='cpu'")
    with pytest.raises(RuntimeError, match=r"saved from cuda:0, and no GPU can be used.*pass map_location='cpu'"):
        jit.load(io.BytesIO(file.getvalue()))
    with pytest.raises(RuntimeError, match="no GPU can be used: no NVIDIA driver"):
        jit.load(io.BytesIO(file.getvalue()), map_location="cuda")
    loaded = jit.load(io.BytesIO(file.getvalue()), map_location="cpu")
    with ingot.no_grad():
        assert ingot.allclose(loaded(x), expected)
    with pytest.raises(ingot.cuda.GpuUnavailable, match="use device='cpu'"):
        loaded(x.cuda())


@needs_nvvm
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("sm_99", "NVVM does not know the target 'sm_99', the nearest is 'sm_90', whose code runs on later GPUs, too"),
        ("sm_20", "no code can be made for the target 'sm_20': .*not supported"),
        ("sm_9x", "'sm_9x' is no GPU architecture: expected one such as 'sm_80' or 'sm_90'"),
        ("gfx90a", "'gfx90a' is not the name of a CPU"),
    ],
)
def test_targets_that_are_not_known_are_refused(network: Any, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network[0].save(io.BytesIO(), targets=[target])


def test_targets_without_nvvm_say_what_to_install(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, x, expected = network
    monkeypatch.setattr(frontend, "nvvm_problem", lambda: NO_NVVM)
    with pytest.raises(RuntimeError, match=r"no PTX can be compiled here.*pip install NAME"):
        compiled.save(io.BytesIO(), targets=["sm_80"])
    file = io.BytesIO()
    compiled.save(file)
    with ingot.no_grad():
        assert ingot.allclose(jit.load(io.BytesIO(file.getvalue()), map_location="cpu")(x), expected)
