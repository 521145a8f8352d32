"""Compiles generated kernels for tests, the way programs do, and calls them on tables of slots."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from ingot.jit.codegen.compile import CpuTarget, compile_kernels
from ingot.jit.codegen.module import KernelSource
from ingot.jit.codegen.numba_internals import run_source
from ingot.jit.runtime import cache
from ingot.jit.runtime.loader import load_object
from ingot.jit.runtime.static_library import pack_objects


def functions_of(sources: dict[str, str], jit: bool) -> dict[str, Callable[..., Any]]:
    """The `@kernel` functions of generated sources that are linked together, compiled or as they are."""
    if not jit:
        return {key: value for name, source in sources.items() for key, value in run_source(name, source, {}).items()}
    kernels = [KernelSource(name, source) for name, source in sources.items()]
    objects, entries, _ = compile_kernels(kernels, CpuTarget(), cache.default_cache())
    addresses = load_object(pack_objects(objects), [entry.name for entry in entries])
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
