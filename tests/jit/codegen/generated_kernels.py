"""Compiles generated kernels for tests, the way programs do, and calls them on tables of slots."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from ingot.jit.codegen.compile import CpuTarget, _compile_kernel, link
from ingot.jit.codegen.module import KernelSource
from ingot.jit.codegen.numba_internals import run_source
from ingot.jit.runtime import cache
from ingot.jit.runtime.loader import load_object


def functions_of(sources: dict[str, str], jit: bool) -> dict[str, Callable[..., Any]]:
    """The `@kernel` functions of generated sources that are linked together, compiled or as they are."""
    if not jit:
        return {key: value for name, source in sources.items() for key, value in run_source(name, source, {}).items()}
    target, store = CpuTarget(), cache.default_cache()
    modules = [_compile_kernel(KernelSource(name, source), target, store) for name, source in sources.items()]
    entries = [entry for _, references, _ in modules for entry in references]
    blob = link([bitcode for bitcode, _, _ in modules], target, [entry.name for entry in entries])
    addresses = load_object(blob, [entry.name for entry in entries])
    return {
        entry.name: ctypes.CFUNCTYPE(ctypes.c_int64 if entry.returns else None, *[ctypes.c_int64] * entry.arity)(
            addresses[entry.name]
        )
        for entry in entries
    }


def table_of(slots: dict[str, int], values: dict[str, int], extra: tuple[Any, ...] = ()) -> np.ndarray[Any, Any]:
    """A kernel's table: named slots, then the epilogue's parameters (floats as float64)."""
    table = np.zeros(len(slots) + len(extra), np.int64)
    for name, value in values.items():
        table[slots[name]] = value
    for index, value in enumerate(extra, len(slots)):
        if isinstance(value, float):
            table[index : index + 1].view(np.float64)[0] = value
        else:
            table[index] = value
    return table


def run_in_pieces(kernel: Callable[..., Any], table: np.ndarray[Any, Any], items: int, pieces: int = 3) -> None:
    """Run a range kernel over [0, items) in several calls."""
    for piece in range(pieces):
        kernel(table.ctypes.data, items * piece // pieces, items * (piece + 1) // pieces)
