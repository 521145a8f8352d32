"""What computes on GPUs: cupy where there is one, the simulator where that was asked for, else an error that says why.

A backend has the array module `xp`, makes arrays of the host's, and tells of memory. Nothing here is imported before a
program asks for a GPU, and asking whether there is one imports cupy only where a driver is installed.
"""

import contextlib
import os
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..eager import modes
from ..ir.ops._op import Trait
from ..ir.random_state import default_generator
from . import simulator
from .errors import GpuUnavailable, OutOfMemoryError
from .simulated_module import SimulatedModule
from .simulator import SimulatedDevice

__all__ = ["Backend", "Simulator", "backend", "current_backend", "is_simulated", "simulate", "unavailable_reason"]

_GIBIBYTE = 1 << 30


class Backend(ABC):
    """What computes on GPUs, as the rest of the package asks for it."""

    name = ""
    xp: Any
    fatal: tuple[type[BaseException], ...] = (OutOfMemoryError,)  # errors of the device itself, not of one op

    @abstractmethod
    def count(self) -> int:
        """How many devices there are."""

    @abstractmethod
    def current(self) -> int:
        """The device of this thread."""

    @abstractmethod
    def set_current(self, index: int) -> None:
        """Let this thread compute on a device."""

    @abstractmethod
    def on(self, index: int) -> Any:
        """A context in which this thread computes on a device."""

    def checking(self) -> Any:
        """A context in which matrices that have no result (singular ones) raise, as numpy's do."""
        return contextlib.nullcontext()

    def put(self, array: np.ndarray[Any, Any], index: int) -> Any:
        """A copy of an array of the host on a device."""
        with self.on(index):
            try:
                return self.xp.array(array, order="K")
            except self.fatal as error:
                raise self.clear(error) from error

    def move(self, array: Any, index: int) -> Any:
        """A copy on another device."""
        return self.put(array.get(), index)

    @abstractmethod
    def synchronize(self, index: int) -> None:
        """Wait until a device has done all that it was given."""

    def clear(self, error: BaseException) -> Exception:
        """An error of the device as one that says what to do."""
        return error if isinstance(error, OutOfMemoryError) else RuntimeError(str(error))

    @abstractmethod
    def memory(self, index: int) -> dict[str, int]:
        """Bytes: allocated, reserved, their peaks, free and total."""

    @abstractmethod
    def reset_peak(self, index: int) -> None:
        """Count peaks of memory from here on."""

    @abstractmethod
    def trim(self) -> None:
        """Give memory that nobody uses back to the devices."""

    @abstractmethod
    def properties(self, index: int) -> dict[str, Any]:
        """name, major, minor, total_memory, multi_processor_count, warp_size, ..."""

    def stream(self, index: int, priority: int) -> Any:
        """A new stream of the array module, or None where there are none."""
        return None

    def default_stream(self) -> Any:
        """The stream that work goes to where no other was chosen, or None where there are no streams."""
        return None

    def event(self, timing: bool) -> Any:
        """A new event of the array module, or None where there are none."""
        return None

    def elapsed(self, start: Any, end: Any) -> float:
        """Milliseconds between two events of the array module; RuntimeError where there are none (see `event`)."""
        raise RuntimeError(f"{self.name or 'this device'} has no events, so none to measure between")


class Simulator(Backend):
    """Devices whose arrays are numpy's (see `simulator`)."""

    name = "simulator"

    def __init__(self, devices: int = 1, memory: int = 8 * _GIBIBYTE) -> None:
        self.devices = [SimulatedDevice(i, memory) for i in range(devices)]
        self.xp = SimulatedModule.of(np)
        self._local = threading.local()
        simulator._first[:] = self.devices[:1]

    def count(self) -> int:
        return len(self.devices)

    def current(self) -> int:
        return simulator.current().id

    def set_current(self, index: int) -> None:
        simulator._state.device = self.devices[index]

    def on(self, index: int) -> Any:
        return simulator.using(self.devices[index])

    def synchronize(self, index: int) -> None:
        pass  # every call waits for its result

    def memory(self, index: int) -> dict[str, int]:
        device = self.devices[index]
        return {
            "allocated": device.allocated,
            "reserved": device.reserved,
            "peak_allocated": device.peak,
            "peak_reserved": device.peak_reserved,
            "free": device.capacity - device.reserved,
            "total": device.capacity,
        }

    def reset_peak(self, index: int) -> None:
        device = self.devices[index]
        device.peak, device.peak_reserved = device.allocated, device.reserved

    def trim(self) -> None:
        for device in self.devices:
            device.trim()

    def properties(self, index: int) -> dict[str, Any]:
        return {
            "name": "Simulated GPU",
            "major": 8,
            "minor": 0,
            "total_memory": self.devices[index].capacity,
            "multi_processor_count": 1,
            "warp_size": 32,
            "max_threads_per_multi_processor": 2048,
            "shared_memory_per_block": 48 * 1024,
            "L2_cache_size": 0,
        }


_lock = threading.Lock()
_active: Backend | None = None
_reason: str | None = None  # why there is no backend, once that is known


def is_simulated() -> bool:
    """Whether the simulator stands in for a GPU."""
    found = current_backend()
    return found is not None and found.name == "simulator"


def _asked_for_simulator() -> bool:
    return os.environ.get("INGOT_CUDA", "").strip().lower() == "simulator"


def current_backend() -> Backend | None:
    """The backend, or None where no GPU can be used; the first call finds out."""
    global _active, _reason
    if _active is not None or _reason is not None:
        return _active
    with _lock:
        if _active is None and _reason is None:
            if _asked_for_simulator():
                # Kernels are simulated by Numba, which looks at this when it is imported.
                os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
                _active = Simulator(int(os.environ.get("INGOT_CUDA_DEVICES", "1")))
            else:
                from .cupy_backend import find

                _active, _reason = find()
    return _active


def unavailable_reason() -> str | None:
    """Why no GPU can be used, and what to do; None where one can."""
    return None if current_backend() is not None else _reason


def backend() -> Backend:
    """The backend; GpuUnavailable (a RuntimeError) says why there is none and what to install."""
    found = current_backend()
    if found is None:
        raise GpuUnavailable(_reason or "no GPU can be used")
    if not modes.devices:
        modes.use_devices(True)
    return found


@contextlib.contextmanager
def simulate(devices: int = 1, memory: int = 8 * _GIBIBYTE) -> Iterator[Simulator]:
    """Let numpy stand in for `devices` GPUs of `memory` bytes each, in the whole process, while this lasts.

    >>> with ingot.cuda.simulate():
    ...     ingot.ones(2, device="cuda")
    tensor([1., 1.], device='cuda:0')
    """
    global _active, _reason
    previous, device = (_active, _reason), simulator._state.device
    first, used = list(simulator._first), modes.devices
    simulated = Simulator(devices, memory)
    _active, _reason = simulated, None
    simulator._state.device = None
    modes.use_devices(True)
    try:
        yield simulated
    finally:
        (_active, _reason), simulator._state.device = previous, device
        simulator._first[:] = first
        if not used:
            modes.use_devices(False)


class HostFallbackWarning(UserWarning):
    """An op has no form on the GPU and ran on the CPU, with copies there and back."""


_on_host: set[str] = set()  # names of what was found not to run on the device
# Such ops with the dtypes of their operands: what fails for one dtype may have a form for another.
_without_form: set[tuple[Any, ...]] = set()


def host_ops() -> frozenset[str]:
    """The names of the ops that were found to have no form on the GPU, at least for some dtypes."""
    return frozenset(_on_host)


def warn_of_host(name: str, reason: str) -> None:
    """Say once that a function runs on the CPU, and why."""
    if name not in _on_host:
        _on_host.add(name)
        warnings.warn(
            f"{name} has no form on the GPU and runs on the CPU, with copies there and back ({reason})",
            HostFallbackWarning,
            stacklevel=4,
        )


def run(op: Any, arrays: tuple[Any, ...], attributes: dict[str, Any], index: int) -> Any:
    """What an op's record computes, on a device; on the host, with one warning, where the array module cannot.

    Errors of the user are the host's: what failed on the device is computed once more there.
    """
    active = backend()
    reason: BaseException | None = None
    drawn = default_generator.get_state() if Trait.RANDOM in op.traits else None
    form = (op.name, *[_dtypes(a) for a in arrays])
    with active.on(index), active.checking():
        if form not in _without_form:
            try:
                return on_device(active, op.run(active.xp, arrays, attributes), index)
            except active.fatal as error:
                raise active.clear(error) from error
            except Exception as error:
                reason = error
                if drawn is not None:
                    default_generator.set_state(drawn)  # the host draws the same numbers
        results = op.run(np, tuple([_hosted(a) for a in arrays]), attributes)
        _without_form.add(form)
        warn_of_host(op.name, str(reason))
        try:
            return on_device(active, results, index)
        except active.fatal as error:
            raise active.clear(error) from error


def _dtypes(value: Any) -> Any:
    """The dtype of an array, or those of a group; None for anything else."""
    return tuple([_dtypes(v) for v in value]) if value.__class__ is tuple else getattr(value, "dtype", None)


def _hosted(value: Any) -> Any:
    if value.__class__ is tuple:
        return tuple([_hosted(v) for v in value])
    return value.get() if hasattr(value, "__cuda_array_interface__") else value


def on_device(active: Backend, value: Any, index: int) -> Any:
    """Results as arrays of the device: constants that a record made on the host are copied there."""
    if value.__class__ is tuple:
        return tuple([on_device(active, v, index) for v in value])
    if isinstance(value, (np.ndarray, np.generic)):
        return active.put(np.asarray(value), index)
    return value
