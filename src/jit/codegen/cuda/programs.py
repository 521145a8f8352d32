"""Device programs of graphs: on a GPU with kernels compiled when they are first launched, or in the simulator."""

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....eager.device import CPU, array_module, device
from ....ir.core import Block, Graph
from ...device_program import DeviceProgram
from ...errors import Unsupported
from ...runtime import cache
from ...runtime.cuda_launch import CupyLauncher, Launcher, Threads
from ..driver import KERNEL_ERRORS
from ..prepare import prepare
from . import frontend
from .device_text import SIMULATED, DeviceKernel, DeviceTarget
from .planning import BlockPlan, plan_device_block
from .wide import widen

__all__ = [
    "SimulatorLauncher", "architecture_of", "device_kernels", "device_program", "kernel_ptx", "plain_device_program",
    "require_nvvm",
]  # fmt: skip


def architecture_of(name: str) -> tuple[int, int]:
    """The compute capability that a name stands for; ValueError for other names.

    >>> architecture_of("sm_90")
    (9, 0)
    """
    digits = name.removeprefix("sm_").removeprefix("compute_")
    if not name.startswith(("sm_", "compute_")) or not digits.isdigit() or len(digits) < 2:
        raise ValueError(f"{name!r} is no GPU architecture: expected one such as 'sm_80' or 'sm_90'")
    return int(digits[:-1]), int(digits[-1])


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
        self._recording: list[Callable[[], None]] | None = None

    def launch(self, kernel: DeviceKernel, threads: Threads, shared: int, arguments: Sequence[Any]) -> None:
        with self._lock:
            run = self._kernels.get(kernel.name)
            if run is None:
                run = self._kernels[kernel.name] = frontend.simulated_kernel(kernel.source, kernel.name)
        self.launched.append(kernel.name)
        grid, block, _ = threads
        given = [getattr(a, "_host", a) for a in arguments]
        if self._recording is not None:
            self._recording.append(lambda: run(grid, block, shared, given))
        run(grid, block, shared, given)

    records_library = False

    def record(self, run: Callable[[], Any]) -> "_NotedCall":
        """Note the launches of a call."""
        launches: list[Callable[[], None]] = []
        self._recording = launches
        try:
            run()
        finally:
            self._recording = None
        return _NotedCall(launches)


class _NotedCall:
    """Launches that are done again."""

    def __init__(self, launches: Sequence[Callable[[], None]]) -> None:
        self._launches = launches

    def begin(self) -> None:
        """Nothing runs at once here."""

    def repeat(self) -> None:
        for launch in self._launches:
            launch()

    def copy(self, target: Any, source: Any) -> None:
        target[...] = source


@functools.cache
def _launcher(xp: Any, stored: frozenset[tuple[tuple[str, str], str]] = frozenset()) -> Launcher:
    if getattr(xp, "__name__", "") != "cupy":
        return SimulatorLauncher()
    known = dict(stored)

    def ptx_of(kernel: DeviceKernel, architecture: tuple[int, int]) -> str:
        """PTX runs on its own architecture and all later ones: of those in the file, the latest that fits."""
        have = [a for name, a in known if name == kernel.name and architecture_of(a) <= architecture]
        if have:
            return known[kernel.name, max(have, key=architecture_of)]
        return kernel_ptx(kernel, architecture)

    return CupyLauncher(xp, ptx_of)


def device_program(
    graph: Graph,
    place: device,
    exceptions: Mapping[str, type[BaseException]] | None = None,
    launcher: Launcher | None = None,
    target: DeviceTarget | None = None,
    ptx: Mapping[tuple[str, str], str] | None = None,
) -> DeviceProgram:
    """The program of an optimised graph on a device; `ptx` is code that a file had, by kernel and architecture."""
    if launcher is None:
        launcher = _launcher(array_module(place), frozenset((ptx or {}).items()))
        if not isinstance(launcher, SimulatorLauncher) and not ptx and (problem := frontend.nvvm_problem()):
            raise Unsupported(problem)
    target = target or (SIMULATED if isinstance(launcher, SimulatorLauncher) else DeviceTarget())
    return DeviceProgram(prepare(graph), place, launcher, target, plan_device_block, KERNEL_ERRORS, exceptions)


def device_kernels(graph: Graph) -> list[DeviceKernel]:
    """The kernels of an optimised graph as GPUs run them; no GPU is needed."""
    program = DeviceProgram(prepare(graph), CPU, SimulatorLauncher(), DeviceTarget(), plan_device_block, KERNEL_ERRORS)
    return program.kernels()


def require_nvvm() -> None:
    """RuntimeError, which says what to install, where no PTX can be compiled."""
    if problem := frontend.nvvm_problem():
        raise RuntimeError(problem)


def plain_device_program(
    graph: Graph, place: device, exceptions: Mapping[str, type[BaseException]] | None = None
) -> DeviceProgram:
    """The program that computes a graph op by op with the device's array module: the reference."""

    def plan(block: Block, target: DeviceTarget) -> BlockPlan:
        return BlockPlan(list(block.instructions[:-1]), {}, [])

    return DeviceProgram(graph, place, SimulatorLauncher(), SIMULATED, plan, KERNEL_ERRORS, exceptions)
