"""What is asked of cupy, with a stand-in for the module: devices, memory and its peaks, streams, events and errors."""

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.cuda import backends, cupy_backend
from ingot.cuda.simulated_module import SimulatedModule
from ingot.cuda.simulator import SimulatedArray, SimulatedDevice, using
from ingot.ir.ops import _common


class Exhausted(MemoryError):
    """The pool's error."""


class DriverError(RuntimeError):
    """The runtime's error."""


class Pool:
    """A memory pool that counts what it was asked for."""

    def __init__(self) -> None:
        self.used = self.held = 0
        self.limit = 1 << 20

    def malloc(self, size: int) -> str:
        if self.used + size > self.limit:
            raise Exhausted(f"Out of memory allocating {size:,} bytes")
        self.used += size
        self.held = max(self.held, self.used)
        return f"memory {size}"

    def used_bytes(self) -> int:
        return self.used

    def total_bytes(self) -> int:
        return self.held

    def free_all_blocks(self) -> None:
        self.held = self.used


class Queue:
    """A stream or an event: what was done with it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.calls: list[Any] = []
        self.options = options
        self.done, self.ptr = True, 7

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


class Cupy(SimulatedModule):
    """The module, over simulated devices."""

    def __init__(self) -> None:
        super().__init__(np)
        devices = [SimulatedDevice(i, 1 << 30) for i in range(2)]
        self.pool, self.broken, self.allocator = Pool(), False, None
        self.ndarray = SimulatedArray

        class Device:
            def __init__(self, index: int) -> None:
                self.index, self.contexts = index, contextlib.ExitStack()

            def __enter__(self) -> None:
                self.contexts.enter_context(using(devices[self.index]))

            def __exit__(self, *exception: object) -> None:
                self.contexts.close()

            def use(self) -> None:
                backends.simulator._state.device = devices[self.index]

            def synchronize(device) -> None:
                if self.broken:
                    raise DriverError("cudaErrorIllegalAddress: an illegal memory access was encountered")

        properties = {
            "name": b"Fake GPU", "major": 9, "minor": 0, "totalGlobalMem": 1 << 34, "multiProcessorCount": 132,
            "warpSize": 32, "maxThreadsPerMultiProcessor": 2048, "sharedMemPerBlock": 49152, "l2CacheSize": 1 << 25,
        }  # fmt: skip
        self.cuda = SimpleNamespace(
            Device=Device, Event=Queue, Stream=Queue, set_allocator=lambda f: setattr(self, "allocator", f),
            get_elapsed_time=lambda a, b: 2.5, memory=SimpleNamespace(OutOfMemoryError=Exhausted),
            driver=SimpleNamespace(CUDADriverError=DriverError),
            runtime=SimpleNamespace(
                CUDARuntimeError=DriverError, getDevice=lambda: backends.simulator.current().id,
                memGetInfo=lambda: (1 << 33, 1 << 34), getDeviceProperties=lambda index: properties,
                getDeviceCount=lambda: 2,
            ),
        )  # fmt: skip
        self.cuda.Stream.null = Queue()
        backends.simulator._first[:] = devices[:1]

    def asarray(self, value: Any, *options: Any, **named: Any) -> Any:
        """The array on the current device."""
        on_other = isinstance(value, SimulatedArray) and value.device is not backends.simulator.current()
        return SimulatedModule.of(np).asarray(value.get() if on_other else value, *options, **named)

    def get_default_memory_pool(self) -> Pool:
        return self.pool


@pytest.fixture
def cupy() -> Iterator[Cupy]:
    """cupy's backend is the one that computes."""
    special, quiet = ModuleType("cupyx.scipy.special"), ModuleType("cupyx")
    quiet.errstate = lambda **options: contextlib.nullcontext()  # type: ignore[attr-defined]
    with ingot.cuda.simulate(), pytest.MonkeyPatch.context() as monkeypatch:  # which put back what this changes
        module = Cupy()
        for name, value in (("cupy", module), ("cupyx", quiet), ("cupyx.scipy.special", special)):
            monkeypatch.setitem(sys.modules, name, value)
        monkeypatch.setattr(cupy_backend, "driver_version", lambda: 12040)
        functions = dict(_common._SPECIAL)
        found, reason = cupy_backend.find()
        assert isinstance(found, cupy_backend.CupyBackend) and reason is None
        _common._SPECIAL.update(functions)
        monkeypatch.setattr(backends, "_active", found)
        yield module


def test_tensors_are_made_and_computed_with_the_module(cupy: Cupy) -> None:
    x = ingot.arange(6.0, device="cuda:1").reshape(2, 3).requires_grad_()
    (x.softmax(-1) @ ingot.ones(3, 1, device="cuda:1")).sum().backward()
    assert x.grad.device == "cuda:1" and x.cpu().tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert x.detach().to("cuda:0").device == "cuda:0" and ingot.cuda.device_count() == 2
    ingot.cuda.set_device(1)
    assert ingot.cuda.current_device() == 1 and ingot.ones(1).cuda().device == "cuda:1"
    assert ingot.cuda.get_device_name(1) == "Fake GPU" and ingot.cuda.get_device_capability() == (9, 0)
    assert ingot.cuda.get_device_properties().multi_processor_count == 132


def test_peaks_and_errors_of_memory(cupy: Cupy) -> None:
    assert cupy.allocator is not None and cupy.allocator(1000) == "memory 1000"
    cupy.pool.used = 400
    assert ingot.cuda.memory_allocated() == 400 and ingot.cuda.max_memory_allocated() == 1000
    assert ingot.cuda.memory_reserved() == ingot.cuda.max_memory_reserved() == 1000
    ingot.cuda.reset_peak_memory_stats()
    ingot.cuda.empty_cache()
    assert ingot.cuda.max_memory_allocated() == ingot.cuda.memory_reserved() == 400
    assert ingot.cuda.mem_get_info() == (1 << 33, 1 << 34)
    with pytest.raises(
        ingot.cuda.OutOfMemoryError, match=r"Tried to allocate 2.00 MiB. GPU 0 has a total capacity of 16"
    ):
        cupy.allocator(2 << 20)


def test_streams_and_events_are_the_modules(cupy: Cupy) -> None:
    stream, start, end = ingot.cuda.Stream(priority=-1), *(ingot.cuda.Event(enable_timing=True) for _ in range(2))
    assert stream.native.options == {"non_blocking": True, "priority": -1} and stream.cuda_stream == 7
    with ingot.cuda.stream(stream):
        start.record()
    assert stream.native.calls == [("use",)] and start.native.calls == [("record", stream.native)]
    assert cupy.cuda.Stream.null.calls[-1] == ("use",)
    end.record()
    stream.wait_event(end)
    assert stream.native.calls[-1] == ("wait_event", end.native) and start.elapsed_time(end) == 2.5
    stream.synchronize()
    end.synchronize()
    assert stream.native.calls[-1] == ("synchronize",) and start.native.options == {"disable_timing": False}


def test_errors_of_the_device_are_one_clear_error(cupy: Cupy) -> None:
    cupy.broken = True
    with pytest.raises(ingot.cuda.AcceleratorError, match=r"CUDA error: cudaErrorIllegalAddress.*start it again"):
        ingot.cuda.synchronize()
    with pytest.raises(BufferError, match="shared"):
        ingot.ones(1, device="cuda").__dlpack__()
