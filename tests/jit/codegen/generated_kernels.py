"""Compiles generated kernels for tests, the way programs do, and calls them on tables of slots."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from ingot.jit.codegen.compile import CpuTarget, link, optimise
from ingot.jit.codegen.microkernel import microkernel_source
from ingot.jit.codegen.numba_internals import compile_source, run_source
from ingot.jit.codegen.target import TileShape
from ingot.jit.runtime.loader import load_object


@functools.cache
def _microkernel(tile: TileShape) -> bytes:
    compiled = compile_source(f"microkernel_{tile.name}", microkernel_source(tile))
    return optimise(compiled.bitcode, CpuTarget(), [entry.name for entry in compiled.entries])


def functions_of(name: str, source: str, jit: bool, tile: TileShape) -> dict[str, Callable[..., Any]]:
    """The `@kernel` functions of generated source, compiled or as they are."""
    if not jit:
        return run_source(name, source, {})
    compiled = compile_source(name, source, fastmath={"contract"})
    names = [entry.name for entry in compiled.entries]
    target = CpuTarget()
    blob = link([optimise(compiled.bitcode, target, names), _microkernel(tile)], target, names)
    addresses = load_object(blob, names)
    return {
        entry.name: ctypes.CFUNCTYPE(ctypes.c_int64 if entry.returns else None, *[ctypes.c_int64] * entry.arity)(
            addresses[entry.name]
        )
        for entry in compiled.entries
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
