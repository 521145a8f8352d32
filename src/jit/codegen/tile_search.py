"""The search for the fastest tiles of matrix products: candidates are compiled and timed on products of some sizes."""

import ctypes
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..runtime.loader import load_object
from ..runtime.static_library import pack_objects
from ..tuning import TileChoice
from .compile import CpuTarget, compile_kernels
from .gemm import GEMM_SLOTS, GemmSpec, gemm_source
from .module import KernelSource
from .packing import aligned_empty, pack_b_numpy
from .target import Target, detected_target, tile_shape

__all__ = ["VERSION", "candidates", "search_tiles"]

# Changes when the search or what it measures does.
VERSION = 1
# Rows, columns and depth of the products: few rows, cache-resident, and with several blocks of the depth.
_SIZES = ((16, 256, 256), (197, 256, 384), (256, 512, 1024))
_ROUNDS = 5


def candidates(target: Target) -> list[Target]:
    """The CPU with each choice that is tried, the model's own first."""
    rows = tile_shape(target, "f32").rows
    heights = [rows, *(r for r in (rows - 2, rows - 4, rows - 6) if r >= 4)]
    sizes = (target.l2_bytes, target.l2_bytes // 2, target.l2_bytes * 2)
    return [replace(target, tile_rows=r, l2_bytes=size) for r in heights for size in sizes]


def search_tiles(sizes: tuple[tuple[int, int, int], ...] = _SIZES) -> TileChoice:
    """The choice that takes the least time, relative to the model's, over all sizes; one thread measures."""
    tried = candidates(detected_target())
    runs = [_runs(target, sizes) for target in tried]
    best = np.full((len(tried), len(sizes)), np.inf)
    # The candidates alternate, so that a disturbance meets them all.
    for _ in range(_ROUNDS):
        for i, products in enumerate(runs):
            for j, run in enumerate(products):
                run()
                start = time.perf_counter()
                run()
                best[i, j] = min(best[i, j], time.perf_counter() - start)
    scores = (best / best[0]).prod(axis=1)
    # The model's choice stays unless another one is clearly faster.
    winner = int(scores.argmin())
    chosen = tried[winner if scores[winner] < 0.97 ** len(sizes) else 0]
    return TileChoice(chosen.tile_rows, chosen.l2_bytes)


def _runs(target: Target, sizes: tuple[tuple[int, int, int], ...]) -> list[Callable[[], Any]]:
    spec = GemmSpec("f32", target=target)
    sources = {"product": gemm_source("product", spec), **spec.shared_sources()}
    objects, entries, _ = compile_kernels([KernelSource(n, s) for n, s in sources.items()], CpuTarget(), None)
    addresses = load_object(pack_objects(objects), [entry.name for entry in entries])
    plan = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(addresses[f"{spec.name}_plan"])
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(addresses["product"])
    random = np.random.default_rng(0)
    runs: list[Callable[[], Any]] = []
    for m, n, k in sizes:
        a, c = aligned_empty((m, k), np.float32), aligned_empty((m, n), np.float32)
        a[...] = random.standard_normal((m, k))
        b = pack_b_numpy(random.standard_normal((k, n)).astype(np.float32), spec.tile)
        table = np.zeros(len(GEMM_SLOTS), np.int64)
        values = {"a": a.ctypes.data, "b": b.ctypes.data, "c": c.ctypes.data, "m": m, "n": n, "k": k}
        values |= {"a_row_stride": k, "a_k_stride": 1, "c_row_stride": n}
        for slot, value in values.items():
            table[GEMM_SLOTS[slot]] = value
        items = plan(table.ctypes.data, 1)

        def run(items: int = items, table: Any = table, memory: Any = (a, b, c)) -> None:
            kernel(table.ctypes.data, 0, items)

        runs.append(run)
    return runs
