"""Device programs of graphs: on a GPU with kernels compiled when they are first launched, or in the simulator."""

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....eager.device import array_module, device
from ....ir.core import Graph
from ...device_program import DeviceProgram
from ...runtime import cache
from ...runtime.cuda_launch import CupyLauncher, Launcher, Threads
from ..driver import KERNEL_ERRORS
from ..prepare import prepare
from . import frontend
from .device_text import SIMULATED, DeviceKernel, DeviceTarget
from .planning import plan_device_block
from .wide import widen

__all__ = ["SimulatorLauncher", "device_program", "kernel_ptx"]


def kernel_ptx(kernel: DeviceKernel, architecture: tuple[int, int]) -> str:
    """A kernel's PTX for a compute capability, from the kernel cache or compiled."""
    key = cache.cache_key(
        "ptx", kernel.source, kernel.name, ",".join(kernel.kinds), *map(str, architecture), _toolchain()
    )
    store = cache.default_cache()
    found = store.get(key)
    if found is not None:
        return found.decode()
    ptx = frontend.compile_ptx(kernel.source, kernel.name, kernel.kinds, architecture)
    if kernel.lanes > 1:
        ptx = widen(ptx)
    store.put(key, ptx.encode())
    return ptx


@functools.cache
def _toolchain() -> str:
    """Stands for what makes PTX of a source: Numba, and the passes here."""
    import numba

    own = hashlib.sha256()
    for name in ("frontend.py", "flatten.py", "wide.py"):
        own.update(Path(__file__).with_name(name).read_bytes())
    return f"{numba.__version__} {frontend.cuda().__name__} {own.hexdigest()}"


class SimulatorLauncher:
    """Runs kernels in the simulator."""

    def __init__(self) -> None:
        self._kernels: dict[str, Callable[..., None]] = {}
        self._lock = threading.Lock()
        self.launched: list[str] = []  # the names of the kernels that ran, for tests

    def launch(self, kernel: DeviceKernel, threads: Threads, shared: int, arguments: Sequence[Any]) -> None:
        with self._lock:
            run = self._kernels.get(kernel.name)
            if run is None:
                run = self._kernels[kernel.name] = frontend.simulated_kernel(kernel.source, kernel.name)
        self.launched.append(kernel.name)
        grid, block, _ = threads
        run(grid, block, shared, [getattr(a, "_host", a) for a in arguments])


@functools.cache
def _launcher(xp: Any) -> Launcher:
    if getattr(xp, "__name__", "") == "cupy":
        return CupyLauncher(xp, kernel_ptx)
    return SimulatorLauncher()


def device_program(
    graph: Graph,
    place: device,
    exceptions: Mapping[str, type[BaseException]] | None = None,
    launcher: Launcher | None = None,
    target: DeviceTarget | None = None,
) -> DeviceProgram:
    """The program of an optimised graph on a device."""
    launcher = launcher or _launcher(array_module(place))
    target = target or (SIMULATED if isinstance(launcher, SimulatorLauncher) else DeviceTarget())
    return DeviceProgram(prepare(graph), place, launcher, target, plan_device_block, KERNEL_ERRORS, exceptions)
