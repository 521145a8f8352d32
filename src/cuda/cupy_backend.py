"""GPUs through cupy: its arrays, memory pool, streams and events; and why that cannot be, where it cannot."""

import ctypes
import importlib
import threading
from typing import Any

from ..ir.ops._common import register_special
from .backends import Backend
from .errors import AcceleratorError, OutOfMemoryError

__all__ = ["CupyBackend", "find"]

_MINIMUM_DRIVER = 12000  # CUDA 12.0: what cupy-cuda12x needs
_INSTALL = "pip install 'ingot[cuda]'"


def driver_version() -> int | None:
    """The version of CUDA that the installed driver supports, as 12040 for 12.4; None where there is no driver."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        found = ctypes.c_int()
        return found.value if library.cuDriverGetVersion(ctypes.byref(found)) == 0 else 0
    return None


def find() -> tuple[Backend | None, str | None]:
    """A backend, or why there is none and what to install."""
    version = driver_version()
    if version is None:
        return None, (
            "no GPU can be used: no NVIDIA driver was found (libcuda.so.1). Install the driver and "
            f"{_INSTALL}, use device='cpu', or set INGOT_CUDA=simulator to try programs without a GPU"
        )
    if version < _MINIMUM_DRIVER:
        return None, (
            f"no GPU can be used: the NVIDIA driver is too old: it supports CUDA {version // 1000}."
            f"{version % 1000 // 10}, and CUDA {_MINIMUM_DRIVER // 1000}.0 is needed. Update the driver, or use "
            "device='cpu'"
        )
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        return None, f"no GPU can be used: cupy is missing ({error}). Install it with {_INSTALL}, or use device='cpu'"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # cupy's own error classes come from the module that may be broken
        return None, f"no GPU can be used: the driver reports {error}. Check nvidia-smi, or use device='cpu'"
    if not count:
        return None, "no GPU can be used: the driver finds none (CUDA_VISIBLE_DEVICES may hide it); use device='cpu'"
    return CupyBackend(cupy, count), None


class CupyBackend(Backend):
    """Devices of the CUDA driver, by cupy."""

    name = "cupy"

    def __init__(self, cupy: Any, count: int) -> None:
        self.xp = cupy
        self._count = count
        self._pool = cupy.get_default_memory_pool()
        self._peaks: dict[int, int] = {}
        self._reserved_peaks: dict[int, int] = {}
        self._lock = threading.Lock()
        cuda = cupy.cuda
        self.fatal = (OutOfMemoryError, cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError)
        register_special(cupy.ndarray, importlib.import_module("cupyx.scipy.special"))
        self._errstate = importlib.import_module("cupyx").errstate
        self._watch()

    def _watch(self) -> None:
        """Hear of every request for memory: the pool keeps no peaks, and its error does not say what can be done."""
        pool, exhausted = self._pool, self.xp.cuda.memory.OutOfMemoryError

        def allocate(size: int) -> Any:
            index = self.current()
            try:
                found = pool.malloc(size)
            except exhausted as error:
                memory = self.memory(index)
                raise OutOfMemoryError.of(index, size, memory["total"], memory["allocated"]) from error
            with self._lock:
                self._peaks[index] = max(self._peaks.get(index, 0), pool.used_bytes())
                self._reserved_peaks[index] = max(self._reserved_peaks.get(index, 0), pool.total_bytes())
            return found

        self.xp.cuda.set_allocator(allocate)

    def count(self) -> int:
        return self._count

    def current(self) -> int:
        return int(self.xp.cuda.runtime.getDevice())

    def set_current(self, index: int) -> None:
        self.xp.cuda.Device(index).use()

    def on(self, index: int) -> Any:
        return self.xp.cuda.Device(index)

    def synchronize(self, index: int) -> None:
        try:
            self.xp.cuda.Device(index).synchronize()
        except self.fatal as error:
            raise self.clear(error) from error

    def clear(self, error: BaseException) -> Exception:
        if isinstance(error, OutOfMemoryError):
            return error
        return AcceleratorError(
            f"CUDA error: {error}. The device refuses further work in this process: start it again; "
            "INGOT_CHECK_BOUNDS=1 with jit.executor('python') on the CPU finds indices that are out of bounds, and "
            "CUDA_LAUNCH_BLOCKING=1 shows the call that failed. The CPU can still be used"
        )

    def memory(self, index: int) -> dict[str, int]:
        with self.xp.cuda.Device(index):
            free, total = self.xp.cuda.runtime.memGetInfo()
            used, reserved = self._pool.used_bytes(), self._pool.total_bytes()
        return {
            "allocated": used,
            "reserved": reserved,
            "peak_allocated": max(used, self._peaks.get(index, 0)),
            "peak_reserved": max(reserved, self._reserved_peaks.get(index, 0)),
            "free": free,
            "total": total,
        }

    def reset_peak(self, index: int) -> None:
        with self._lock:
            self._peaks.pop(index, None)
            self._reserved_peaks.pop(index, None)

    def trim(self) -> None:
        for index in range(self._count):
            with self.xp.cuda.Device(index):
                self._pool.free_all_blocks()

    def properties(self, index: int) -> dict[str, Any]:
        found = self.xp.cuda.runtime.getDeviceProperties(index)
        name = found["name"]
        return {
            "name": name.decode() if isinstance(name, bytes) else name,
            "major": found["major"],
            "minor": found["minor"],
            "total_memory": found["totalGlobalMem"],
            "multi_processor_count": found["multiProcessorCount"],
            "warp_size": found["warpSize"],
            "max_threads_per_multi_processor": found["maxThreadsPerMultiProcessor"],
            "shared_memory_per_block": found["sharedMemPerBlock"],
            "L2_cache_size": found["l2CacheSize"],
        }

    def move(self, array: Any, index: int) -> Any:
        with self.on(index):
            return self.xp.asarray(array)  # which copies from another device to the current one

    def checking(self) -> Any:
        return self._errstate(linalg="raise")

    def stream(self, index: int, priority: int) -> Any:
        with self.on(index):
            return self.xp.cuda.Stream(non_blocking=True, priority=priority)

    def default_stream(self) -> Any:
        return self.xp.cuda.Stream.null

    def event(self, timing: bool) -> Any:
        return self.xp.cuda.Event(disable_timing=not timing)

    def elapsed(self, start: Any, end: Any) -> float:
        end.synchronize()
        return float(self.xp.cuda.get_elapsed_time(start, end))
