"""The kernels' machine code: compiled with the first op that needs one, then kept in the kernel cache.

An object holds all kernels of a family for one dtype: convolutions take some 0.3 s to compile, the rest 0.1 s, without
Numba. The key covers the sources that write them, the versions and the CPU.
"""

import functools
import importlib
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..runtime.cache import cache_key, default_cache
from ..runtime.loader import emit_object, load_object
from ..runtime.memory import address_of
from ..runtime.pool import get_num_threads, parallel_for
from ..runtime.targets import feature_string, host_cpu_name, host_features, host_triple, llvm_version
from .geometry import host_tile

__all__ = ["KERNELS", "grain_of", "kernels", "ready", "run", "running_once", "short_name"]

KERNELS = {
    "activations": (
        "silu", "silu_gradient", "gelu", "gelu_gradient", "leaky_relu", "leaky_relu_gradient", "hardtanh",
        "hardtanh_gradient",
    ),
    "convolution": ("pad_images", "convolve", "input_gradient", "weight_gradient", "gradient_rows", "sum_chunks"),
    "images": (
        "max_pool", "max_pool_gradient", "average_pool", "average_pool_gradient", "batch_norm", "batch_norm_gradient",
        "relu_gradient",
    ),
    "rows": (
        "softmax", "log_softmax", "softmax_gradient", "log_softmax_gradient", "layer_norm", "layer_norm_gradient",
    ),
}  # fmt: skip
# Work, in elements that are copied, that is worth waking a thread for.
_GRAIN = 1 << 14


def short_name(dtype: Any) -> str:
    """ "f32" or "f64"."""
    return "f32" if dtype.char == "f" else "f64"


@functools.cache
def _sources() -> tuple[str, ...]:
    """What is written here and in the micro-kernel, as text."""
    folder = Path(__file__).parent
    files = [*sorted(folder.glob("*.py")), folder.parent / "codegen" / "microkernel_llvm.py"]
    return tuple(path.read_text() for path in files)


# Seconds that numpy may take in place of kernels that are not compiled yet, about what compiling them takes.
_PATIENCE = 0.3
_local = threading.local()


@contextmanager
def running_once() -> Iterator[None]:
    """Compile nothing in this thread as long as numpy is fast enough: what a trace runs, it runs once."""
    before = getattr(_local, "until", 0.0)
    _local.until = time.monotonic() + _PATIENCE
    try:
        yield
    finally:
        _local.until = before


_loaded: dict[tuple[str, str], dict[str, int] | None] = {}
_lock = threading.RLock()


def ready(family: str, dtype: Any) -> bool:
    """Whether there are the kernels of a family for a dtype, after compiling them if need be.

    What fails, fails once, with a warning: numpy computes instead. Inside `jit.no_compile()` nothing is compiled.
    """
    key = (family, short_name(dtype))
    if key not in _loaded:
        with _lock:
            if key not in _loaded:
                try:
                    found = _load(*key)
                except Exception as error:
                    from ..specialisation import user_level

                    found = None
                    warnings.warn(
                        f"eager {family} runs on numpy, because its kernels could not be compiled: {error}",
                        RuntimeWarning,
                        stacklevel=user_level(),
                    )
                else:
                    if found is None:
                        return False
                _loaded[key] = found
    return _loaded[key] is not None


def kernels(family: str, dtype: str) -> dict[str, int]:
    """The addresses of a family's kernels by name; those that are `ready`."""
    found = _loaded[family, dtype]
    assert found is not None
    return found


def _load(family: str, dtype: str) -> dict[str, int] | None:
    """The addresses of kernels by name; None where they would have to be compiled, and must not be."""
    cpu, features = host_cpu_name(), feature_string(host_features())
    key = cache_key("eager", family, dtype, *_sources(), llvm_version(), host_triple(), cpu, features)
    blob = default_cache().get(key)
    names = KERNELS[family]
    if blob is None:
        from ..codegen.compile import compiling_allowed

        if not compiling_allowed() or time.monotonic() < getattr(_local, "until", 0.0):
            return None
        # Optimised a little less than most: it takes half the time, and what counts is written as vectors already.
        blob = emit_object(_text(family, dtype), cpu=cpu, features=features, opt=2, keep=names)
        default_cache().put(key, blob)
    return load_object(blob, names)


def _text(family: str, dtype: str) -> str:
    """The LLVM module of a family."""
    from llvmlite import ir

    writer: ModuleType = importlib.import_module(f".{family}", __package__)
    module = ir.Module(family)
    writer.build(module, dtype, host_tile(dtype))
    return str(module)


def grain_of(items: int, elements: int) -> int:
    """How many items a thread takes at once, of `items` that move so many elements or do as much work.

    There are at most four ranges for each thread, so that scratch memory for each range is little.
    """
    if elements < 2 * _GRAIN or items < 2:
        return max(items, 1)
    ranges = min(4 * get_num_threads(), items, elements // _GRAIN)
    return -(-items // ranges)


def run(kernel: int, slots: list[int], items: int, grain: int) -> None:
    """Run a kernel over items, with the numbers and addresses that it reads."""
    table = np.array(slots, np.int64)
    parallel_for(kernel, address_of(table), items, grain)
