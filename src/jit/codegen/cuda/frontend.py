"""The one place that imports a front end for CUDA: `numba.cuda`, or `numba-cuda` where that is installed in its place.

Only what both document is used: `cuda.jit`, `cuda.compile_ptx` and the names that kernels use. Compiling to PTX needs
NVVM and libdevice, but no GPU and no driver; they come with the CUDA toolkit, or with `pip install
nvidia-cuda-nvcc-cu12`. With `NUMBA_ENABLE_CUDASIM=1` in the environment the simulator takes the place of both.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import math
import os
import re
import shutil
import sys
import threading
import types as python_types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.cache import default_directory
from ..source import register_source
from .flatten import flatten
from .simulation import NAMES as SIMULATED_NAMES
from .simulation import of_numpy_floats

__all__ = [
    "ARCHITECTURES",
    "compile_ptx",
    "cuda",
    "find_toolkit",
    "is_simulator",
    "nvvm_problem",
    "ptxas",
    "simulated_kernel",
]

# The compute capabilities that every kernel is tested for: Turing, Ampere, Hopper.
ARCHITECTURES = ((7, 5), (8, 0), (9, 0))
# The version of PTX that first had a target (PTX ISA, "Release Notes"). NVVM writes its own, which drivers older than
# it do not read; the instructions used here are as old as their targets.
_FIRST_VERSIONS = {
    (7, 5): (6, 3), (8, 0): (7, 0), (8, 6): (7, 1), (8, 7): (7, 4), (8, 9): (7, 8), (9, 0): (7, 8), (10, 0): (8, 6),
    (12, 0): (8, 7),
}  # fmt: skip
_compiling = threading.Lock()
_simulating = threading.Lock()  # the simulator runs one kernel at a time


def find_toolkit() -> None:
    """Let Numba find NVVM in a wheel of NVIDIA's, where the environment names no toolkit.

    Numba takes a library with a version in its name, which the wheel's has not: CUDA_HOME becomes a folder of links.
    """
    if os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return
    for wheel in _wheels():
        nvvm = wheel / "nvvm"
        libraries = sorted(nvvm.glob("lib*/libnvvm.so*"))
        devices = sorted(nvvm.glob("libdevice/libdevice*.bc"))
        if not libraries or not devices:
            continue
        name = hashlib.sha256(str(nvvm.resolve()).encode()).hexdigest()[:12]
        home = default_directory() / f"toolkit-{name}"
        with contextlib.suppress(OSError):
            _link(libraries[-1], home / "nvvm" / "lib64" / "libnvvm.so.4")
            _link(devices[-1], home / "nvvm" / "libdevice" / "libdevice.10.bc")
            os.environ["CUDA_HOME"] = str(home)
            return


def ptxas() -> str | None:
    """The assembler of PTX, of a CUDA toolkit or of NVIDIA's wheel; None where there is none."""
    if (found := shutil.which("ptxas")) is not None:
        return found
    programs = (wheel / "bin" / "ptxas" for wheel in _wheels())
    return next((str(program) for program in programs if program.exists()), None)


def _wheels() -> list[Path]:
    """Where NVIDIA's wheels with the compiler's parts would lie."""
    spec = importlib.util.find_spec("nvidia")
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return [Path(place, wheel) for place in places for wheel in ("cuda_nvcc", "cu13")]


def _link(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.unlink(missing_ok=True)  # a link to a wheel that is gone
        place.symlink_to(source.resolve())


@functools.cache
def cuda() -> python_types.ModuleType:
    """The front end's module; imported when first asked for."""
    find_toolkit()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from numba import cuda as module
    return module


def _libdevice() -> python_types.ModuleType:
    cuda()
    from numba.cuda import libdevice

    return libdevice


def is_simulator() -> bool:
    """Whether kernels run in the simulator, on the CPU."""
    from numba import config

    return bool(config.ENABLE_CUDASIM)


@functools.cache
def nvvm_problem() -> str:
    """Why no PTX can be compiled here; empty where it can."""
    if is_simulator():
        return "the simulator of CUDA is in use (NUMBA_ENABLE_CUDASIM), which compiles nothing"
    try:
        compile_ptx("def probe(x):\n    x[0] = math.exp(x[0])\n", "probe", ["f32*"], ARCHITECTURES[1])
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return (
            f"no PTX can be compiled here ({reason}): install a CUDA toolkit, or `pip install nvidia-cuda-nvcc-cu12`, "
            "which brings NVVM without a GPU"
        )
    return ""


def _type(kind: str) -> Any:
    """A parameter's Numba type: "f32*", "i64", "f64"."""
    from numba import types

    names = {
        "f16": types.float16, "f32": types.float32, "f64": types.float64, "u8": types.uint8, "i8": types.int8,
        "i16": types.int16, "i32": types.int32, "i64": types.int64,
    }  # fmt: skip
    # Flat arrays have the atomics that pointers have not; see `launch_arguments`.
    if kind.endswith("[]"):
        return types.Array(names[kind[:-2]], 1, "C")
    return types.CPointer(names[kind[:-1]]) if kind.endswith("*") else names[kind]


def compile_ptx(source: str, name: str, kinds: Sequence[str], architecture: tuple[int, int]) -> str:
    """The PTX of a kernel for a compute capability, with the kernel's own name as entry point.

    `kinds` are its parameters: "f32*" (a pointer), "f32[]" (a flat array), "i64" or "f64". RuntimeError where there is
    no NVVM.
    """
    front_end = cuda()
    text = flatten(source, name)
    if hasattr(front_end, "shfl_sync_intrinsic"):
        # The wrapper around it is an overload, which Numba's own front end compiles for the GPU of the process only.
        text = re.sub(
            r"cuda\.shfl_down_sync\((\w+), ([^,()]+), ([^,()]+)\)",
            r"cuda.shfl_sync_intrinsic(\1, 2, \2, \3, 31)[0]",
            text,
        )
    space: dict[str, Any] = {"cuda": front_end, "np": np, "math": math, "libdevice": _libdevice()}
    # Generated from a verified graph, as all kernels: names and constants from a file never reach it unescaped.
    exec(compile(text, register_source(f"cuda.{name}", text), "exec"), space)
    with _compiling, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ptx, _ = front_end.compile_ptx(space[name], tuple(_type(kind) for kind in kinds), cc=architecture)
    text = ptx.decode() if isinstance(ptx, bytes) else str(ptx)
    entry = re.search(r"\.visible \.entry ([\w$]+)\(", text)
    assert entry is not None
    return _for_older_drivers(text.replace(entry.group(1), name), architecture)


def _for_older_drivers(ptx: str, architecture: tuple[int, int]) -> str:
    """The PTX with the oldest version that has its target."""
    first = _FIRST_VERSIONS.get(architecture)
    written = re.search(r"^\.version (\d+)\.(\d+)", ptx, re.MULTILINE)
    if first is None or written is None or (int(written[1]), int(written[2])) <= first:
        return ptx
    return ptx[: written.start()] + f".version {first[0]}.{first[1]}" + ptx[written.end() :]


class _Memory:
    """A flat array of the simulated device as a kernel sees it: an index outside is an error."""

    __slots__ = ("array", "size")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.size = len(array)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.size:
            raise IndexError(f"a kernel reads element {index} of {self.size}")
        return self.array[index]

    def __setitem__(self, index: int, value: Any) -> None:
        if not 0 <= index < self.size:
            raise IndexError(f"a kernel writes element {index} of {self.size}")
        self.array[index] = value


# The simulator polls its threads: with the usual interval it would wait most of the time.
_SWITCH_INTERVAL = 1e-4


def simulated_kernel(source: str, name: str) -> Callable[[Sequence[int], Sequence[int], int, Sequence[Any]], None]:
    """A function (grid, block, shared bytes, arguments) that runs a kernel in the simulator on flat numpy arrays.

    Device functions are plain functions there. numpy's warnings are off in every simulated thread.
    """
    # The simulator is there beside the front end that compiles, too.
    simulator = cuda() if is_simulator() else importlib.import_module("numba.cuda.simulator")
    text = source.replace("@cuda.jit(device=True)\n", "").replace("@cuda.jit\n", "")
    # All but what is sized at the launch, which has size 0 here.
    text = re.sub(r"cuda\.shared\.array\((?!0\b)", "shared_array(cuda.shared, ", text)
    space: dict[str, Any] = {}
    text += f"\n\ndef {name}_quiet(*arguments):\n    with np.errstate(all='ignore'):\n        {name}(*arguments)\n"
    # Generated likewise; see `compile_ptx`.
    exec(compile(of_numpy_floats(text), register_source(f"cuda.{name}", text), "exec"), space)
    space |= {key: SIMULATED_NAMES[key] for key in ("shared_array", "math", "libdevice", "exchange")}
    if "shuffle_down" in space:
        # In the kernel's own namespace, where the simulator puts the running kernel's `cuda`.
        space["shuffle_down"] = python_types.FunctionType(
            SIMULATED_NAMES["shuffle_down"].__code__, space, "shuffle_down"
        )
    kernel = simulator.jit(space[f"{name}_quiet"])

    def run(grid: Sequence[int], block: Sequence[int], shared: int, arguments: Sequence[Any]) -> None:
        given = [_Memory(a) if isinstance(a, np.ndarray) else a for a in arguments]
        with _simulating:
            interval = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_INTERVAL)
            try:
                kernel[tuple(grid), tuple(block), 0, shared](*given)
            finally:
                sys.setswitchinterval(interval)

    return run
