"""`ingot.cuda`: what is there, memory, streams and events, errors; and programs where there is no GPU at all."""

import ctypes
import importlib
import json
import pickle
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.cuda import backends, cupy_backend, simulator

MEBIBYTE = 1 << 20


def test_without_a_gpu_programs_that_ask_go_on() -> None:
    if ingot.cuda.is_available():
        pytest.skip("there is a GPU")
    assert ingot.cuda.device_count() == ingot.cuda.memory_allocated() == ingot.cuda.max_memory_allocated() == 0
    assert ingot.cuda.memory_reserved() == 0 and ingot.cuda.get_arch_list() == [] and not ingot.cuda.is_initialized()
    ingot.cuda.manual_seed(1)
    ingot.cuda.manual_seed_all(1)
    ingot.cuda.empty_cache()
    assert not ingot.cuda.is_bf16_supported()
    for call in (
        lambda: ingot.ones(1, device="cuda"), lambda: ingot.ones(1).cuda(), lambda: ingot.nn.Linear(1, 1).cuda(),
        ingot.cuda.current_device, ingot.cuda.synchronize, lambda: ingot.cuda.get_device_name(0), ingot.cuda.init,
        lambda: ingot.cuda.set_device(0), ingot.cuda.Stream, ingot.cuda.Event, lambda: ingot.device("cuda").__enter__(),
        lambda: ingot.load("nowhere", map_location="cuda"), lambda: ingot.set_default_device("cuda"),
    ):  # fmt: skip
        with pytest.raises(ingot.cuda.GpuUnavailable, match=r"no GPU can be used.*(install|Install|use device='cpu')"):
            call()
    assert (ingot.ones(2) + 1).tolist() == [2.0, 2.0]
    assert ingot.device("cuda").type == "cuda"
    assert ingot.cuda.unavailable_reason() is not None


class Driver:
    """A CUDA driver that says which version it is."""

    def __init__(self, version: int, status: int = 0) -> None:
        self.version, self.status = version, status

    def cuDriverGetVersion(self, pointer: Any) -> int:
        pointer._obj.value = self.version
        return self.status


def fake_cupy(count: int, error: Exception | None = None) -> types.SimpleNamespace:
    def devices() -> int:
        if error is not None:
            raise error
        return count

    return types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=devices)))


@pytest.mark.parametrize(
    ("driver", "cupy", "message"),
    [
        (None, None, "no NVIDIA driver was found.*pip install 'ingot\\[cuda\\]'"),
        (11040, None, r"driver is too old: it supports CUDA 11\.4, and CUDA 12\.0 is needed. Update the driver"),
        (12040, ImportError("No module named 'cupy'"), "cupy is missing.*pip install 'ingot\\[cuda\\]'"),
        (12040, fake_cupy(0), "the driver finds none.*CUDA_VISIBLE_DEVICES"),
        (
            12040,
            fake_cupy(0, RuntimeError("cudaErrorUnknown")),
            "the driver reports cudaErrorUnknown. Check nvidia-smi",
        ),
    ],
)
def test_one_clear_error_says_what_to_install(
    driver: int | None, cupy: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def library(name: str) -> Any:
        if driver is None:
            raise OSError(name)
        return Driver(driver)

    def module(name: str) -> Any:
        if isinstance(cupy, Exception):
            raise cupy
        return cupy

    monkeypatch.setattr(ctypes, "CDLL", library)
    monkeypatch.setattr(cupy_backend.importlib, "import_module", module)
    found, reason = cupy_backend.find()
    assert found is None and reason is not None
    with pytest.raises(ingot.cuda.GpuUnavailable, match=message):
        raise ingot.cuda.GpuUnavailable(reason)


def test_names_that_the_backend_takes_from_cupy_are_there() -> None:
    pytest.importorskip("cupy", reason="cupy is not installed")
    import cupy
    import cupyx

    assert all(hasattr(cupy.cuda, name) for name in ("Device", "Stream", "Event", "set_allocator", "get_elapsed_time"))
    assert hasattr(cupyx, "errstate") and hasattr(cupy.cuda.memory, "OutOfMemoryError")


# -- memory ------------------------------------------------------------------------------------------------------------


def test_memory_is_counted() -> None:
    with ingot.cuda.simulate(devices=2) as gpu:
        before = ingot.cuda.memory_allocated()
        x = ingot.zeros(256, 1024, device="cuda")
        assert ingot.cuda.memory_allocated() - before == MEBIBYTE == ingot.cuda.memory_reserved()
        view = x[1:].t()
        assert ingot.cuda.memory_allocated() == MEBIBYTE and ingot.cuda.memory_allocated(1) == 0
        y = x + 1
        assert ingot.cuda.max_memory_allocated() >= 2 * MEBIBYTE
        del y
        ingot.cuda.reset_peak_memory_stats()
        assert ingot.cuda.max_memory_allocated() == MEBIBYTE < ingot.cuda.memory_reserved()
        del x
        assert ingot.cuda.memory_allocated() == MEBIBYTE
        del view
        assert ingot.cuda.memory_allocated() == 0 < ingot.cuda.memory_reserved()
        ingot.cuda.empty_cache()
        assert ingot.cuda.memory_reserved() == 0
        free, total = ingot.cuda.mem_get_info(1)
        assert free == total == gpu.devices[1].capacity
        assert ingot.cuda.memory_stats()["allocated_bytes.all.current"] == 0
        assert "allocated_bytes.all.peak" in ingot.cuda.memory_summary()


def test_copies_are_counted() -> None:
    with ingot.cuda.simulate() as gpu:
        device = gpu.devices[0]
        x = ingot.ones(1024).cuda()
        assert device.copied_in == 4096 and device.copied_out == 0
        (x * 2).sum()
        assert device.copied_out == 0
        x.cpu()
        x[0].item()
        assert device.copied_out == 4096 + 4


def test_out_of_memory_says_what_to_free_and_the_rest_goes_on() -> None:
    with ingot.cuda.simulate(memory=MEBIBYTE):
        x = ingot.ones(128, 1024, device="cuda")
        for call in (lambda: ingot.zeros(1024, 1024, device="cuda"), lambda: ingot.cat([x, x, x]),
                     lambda: ingot.ones(1024, 1024).cuda()):  # fmt: skip
            with pytest.raises(ingot.cuda.OutOfMemoryError, match=r"CUDA out of memory. Tried to allocate .* MiB") as e:
                call()
            assert "GPU 0 has a total capacity of 1.00 MiB" in str(e.value) and "empty_cache" in str(e.value)
        assert isinstance(e.value, RuntimeError)
        assert x.sum().item() == 128 * 1024 and ingot.ones(1024, 1024).sum() == 1 << 20


def test_an_illegal_access_is_one_clear_error() -> None:
    class IllegalAccess(RuntimeError):
        pass

    class Broken(backends.Simulator):
        fatal = (IllegalAccess,)

        def clear(self, error: BaseException) -> Exception:
            return ingot.cuda.AcceleratorError(f"CUDA error: {error}")

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        raise IllegalAccess("an illegal memory access was encountered")

    with ingot.cuda.simulate() as gpu:
        gpu.__class__ = Broken
        op = types.SimpleNamespace(name="broken", traits=frozenset(), run=evaluate)
        with pytest.raises(ingot.cuda.AcceleratorError, match="CUDA error: an illegal memory access"):
            backends.run(op, (), {}, 0)
        assert "broken" not in ingot.cuda.host_ops()


def test_ops_without_a_form_on_the_device_run_on_the_host_with_one_warning() -> None:
    calls: list[Any] = []

    def evaluate(xp: Any, arrays: Any, attributes: Any) -> Any:
        calls.append(xp)
        if xp is not np and arrays[0].dtype.kind == "f":
            raise TypeError("not there")
        return arrays[0] + 1

    op = types.SimpleNamespace(name="only on the host", traits=frozenset(), run=evaluate)
    with ingot.cuda.simulate() as gpu:
        x = ingot.ones(2, device="cuda")._array
        with pytest.warns(ingot.cuda.HostFallbackWarning, match=r"only on the host has no form .* \(not there\)"):
            first = backends.run(op, (x,), {}, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            second = backends.run(op, (x,), {}, 0)
        assert first.tolist() == second.tolist() == [2.0, 2.0] and first.device.id == 0
        assert "only on the host" in ingot.cuda.host_ops()
        assert calls == [gpu.xp, np, np], "once it is known, the device is not asked again"
        whole = ingot.ones(2, device="cuda", dtype=ingot.int32)._array
        assert backends.run(op, (whole,), {}, 0).tolist() == [2, 2] and calls[3:] == [gpu.xp]
    backends._on_host.discard("only on the host")


# -- devices, streams, events ------------------------------------------------------------------------------------------


def test_what_a_device_is() -> None:
    with ingot.cuda.simulate(devices=3):
        assert ingot.cuda.is_available() and ingot.cuda.device_count() == 3 and ingot.cuda.is_initialized()
        assert ingot.cuda.get_device_name() == ingot.cuda.get_device_properties("cuda:2").name == "Simulated GPU"
        assert ingot.cuda.get_device_capability(0) == (8, 0) and ingot.cuda.get_device_properties(0).total_memory > 0
        assert "multi_processor_count" in repr(ingot.cuda.get_device_properties(0))
        assert ingot.cuda.get_arch_list() == ["sm_75", "sm_80", "sm_90"] and ingot.cuda.is_bf16_supported()
        ingot.cuda.synchronize()
        ingot.cuda.synchronize(1)
        ingot.cuda.synchronize("cuda:2")
        with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
            ingot.cuda.synchronize("cpu")
    assert ingot.cuda.unavailable_reason() is not None or ingot.cuda.is_available()


def test_streams_and_events() -> None:
    with ingot.cuda.simulate(devices=2):
        side = ingot.cuda.Stream()
        start, end = ingot.cuda.Event(enable_timing=True), ingot.cuda.Event(enable_timing=True)
        with pytest.raises(RuntimeError, match="must be recorded"):
            start.elapsed_time(end)
        start.record()
        with ingot.cuda.stream(side):
            assert ingot.cuda.current_stream() == side
            x = ingot.ones(3, device="cuda")
        assert ingot.cuda.current_stream() == ingot.cuda.default_stream()
        side.wait_stream(ingot.cuda.current_stream())
        end.record(side)
        end.synchronize()
        assert start.elapsed_time(end) >= 0 and side.query() and end.query() and x.sum() == 3
        with ingot.cuda.stream(ingot.cuda.Stream("cuda:1")):
            assert ingot.cuda.current_device() == 1
        assert ingot.cuda.current_device() == 0
        with side as entered, ingot.cuda.stream(None):
            assert entered is side and ingot.cuda.current_stream() == side
        side.record_event().wait()
        with pytest.raises(RuntimeError, match="enable_timing=True"):
            ingot.cuda.Event().elapsed_time(end)
        assert "cuda:0" in repr(side)
        x.record_stream(side)


# -- the stand-in ------------------------------------------------------------------------------------------------------

REFUSED: list[Callable[[Any, Any], Any]] = [
    lambda xp, a: np.asarray(a), lambda xp, a: np.array(a), lambda xp, a: a + np.ones(2), lambda xp, a: np.ones(2) * a,
    lambda xp, a: np.add(a, np.ones(2)), lambda xp, a: np.concatenate([a, np.ones(2)]),
    lambda xp, a: xp.add(a, np.ones(2)), lambda xp, a: xp.where(np.ones(2) > 0, a, a),
    lambda xp, a: a.__setitem__(0, np.ones(())), lambda xp, a: xp.errstate,
    lambda xp, a: a.max(initial=0), lambda xp, a: xp.sum(a, where=a > 0), lambda xp, a: xp.linalg.vector_norm(a),
    lambda xp, a: a.flags.writeable, lambda xp, a: np.spacing(a) and xp.spacing, lambda xp, a: a.__array_interface__,
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_what_cupy_refuses_is_refused(index: int) -> None:
    with ingot.cuda.simulate() as gpu:
        array = gpu.put(np.ones(2), 0)
        with pytest.raises((TypeError, AttributeError, ValueError)):
            REFUSED[index](gpu.xp, array)


def test_arrays_of_the_stand_in_are_as_cupys() -> None:
    with ingot.cuda.simulate(devices=2) as gpu:
        a = gpu.put(np.arange(6.0).reshape(2, 3), 0)
        assert a.sum().shape == () and type(a.sum()) is type(a) is simulator.SimulatedArray
        assert a[0].base is not None and a.base is None and a.T.flags.f_contiguous and a[0].data.ptr == a.data.ptr
        assert [type(v) for v in np.linalg.eigh(gpu.put(np.eye(2), 0))] == [type(a)] * 2
        assert np.exp(a).get().tolist() == np.exp(np.arange(6.0)).reshape(2, 3).tolist()
        out = gpu.xp.empty_like(a)
        assert np.add(a, 1, out=out) is out and out[1, 2] == 6
        with pytest.raises(ValueError, match="Array device must be same"):
            gpu.xp.add(a, gpu.put(np.ones(3), 1))
        assert a.real.get().tolist() == a.get().tolist()


def test_an_environment_variable_switches_the_stand_in_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("INGOT_CUDA", "simulator"), ("INGOT_CUDA_DEVICES", "2"), ("NUMBA_ENABLE_CUDASIM", "1")):
        monkeypatch.setenv(name, value)
    with ingot.cuda.simulate(), monkeypatch.context() as inside:
        inside.setattr(backends, "_active", None)
        found = backends.current_backend()
        assert isinstance(found, ingot.cuda.Simulator) and found.count() == ingot.cuda.device_count() == 2


def test_importing_ingot_looks_for_no_gpu() -> None:
    code = "import sys, ingot; ingot.ones(1); print([n for n in sys.modules if n.startswith(('cupy', 'ingot.cuda'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pickles_say_where_no_gpu_is() -> None:
    with ingot.cuda.simulate():
        data = pickle.dumps(ingot.ones(1, device="cuda"))
    if not ingot.cuda.is_available():
        with pytest.raises(ingot.cuda.GpuUnavailable):
            pickle.loads(data)


# -- make gpu-check ----------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]


def test_the_check_says_that_there_is_no_gpu() -> None:
    if ingot.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, ROOT / "tests" / "cuda" / "gpu_check.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gpu-check: NOTHING WAS CHECKED: no GPU can be used")


@pytest.mark.filterwarnings("ignore")
def test_the_benchmark_runs_on_the_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    gpu = importlib.import_module("benchmarks.gpu")
    monkeypatch.setattr(gpu, "ROWS", [r for r in gpu.ROWS if "Net" not in r.name and "block" not in r.name])  # seconds
    figures = tmp_path / "figures.json"
    assert gpu.main(["--simulate", "--json", str(figures)]) == 0
    rows = json.loads(figures.read_text())["rows"]
    assert [r["row"] for r in rows] == [r.name for r in gpu.ROWS] and all(r["milliseconds"]["ingot"] > 0 for r in rows)
    assert "times mean nothing" in capsys.readouterr().out
    if not ingot.cuda.is_available():
        assert gpu.main([]) == 0
        assert "nothing was measured" in capsys.readouterr().out
