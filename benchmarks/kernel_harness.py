"""Timing shared by the kernel benchmarks: generated kernels on the pool, numpy, and PyTorch in a process of its own.

PyTorch runs in another interpreter (`--torch PYTHON`), so that its environment need not have numba. Rounds of the
candidates alternate; each gives a median, and the best round of each counts, as the one that other programs disturbed
least.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from ingot.jit.codegen import compile
from ingot.jit.codegen.module import KernelSource
from ingot.jit.runtime import pool
from ingot.jit.runtime.loader import load_object
from ingot.jit.runtime.static_library import pack_objects

ROUNDS = 7
SECONDS = 0.04

_TORCH_WORKER = """
import json, statistics, sys, time, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(int(sys.argv[1]))
F = torch.nn.functional
cases = {}

def build(kind, shape):
    if kind == "matmul":
        m, n, k = shape
        a, b, out = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
        return lambda: torch.matmul(a, b, out=out)
    if kind == "linear":
        m, n, k = shape
        x, w, b = torch.randn(m, k), torch.randn(n, k), torch.randn(n)
        return lambda: F.relu(F.linear(x, w, b), inplace=True)
    if kind == "bmm":
        batch, m, n, k = shape
        a, b, out = torch.randn(batch, m, k), torch.randn(batch, n, k).mT, torch.empty(batch, m, n)
        return lambda: torch.bmm(a, b, out=out)
    n, c, h, w, o, kernel, stride, padding, groups = shape
    x, weight, bias = torch.randn(n, c, h, w), torch.randn(o, c // groups, kernel, kernel), torch.randn(o)
    if kind == "conv_channels_last":
        x, weight = x.to(memory_format=torch.channels_last), weight.to(memory_format=torch.channels_last)
    return lambda: F.relu(F.conv2d(x, weight, bias, stride, padding, 1, groups), inplace=True)

for line in sys.stdin:
    kind, shape, seconds = json.loads(line)
    key = (kind, tuple(shape))
    with torch.inference_mode():
        if key not in cases:
            cases[key] = build(kind, shape)
            for _ in range(3):
                cases[key]()
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            cases[key]()
            times.append(time.perf_counter() - start)
    print(statistics.median(times) * 1e6, flush=True)
"""


def arguments(description: str) -> argparse.Namespace:
    """The command line of a kernel benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--torch", help="a Python interpreter that has PyTorch, to compare with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    return parser.parse_args()


class Torch:
    """PyTorch in a process of its own; `time(kind, shape)` gives microseconds."""

    def __init__(self, python: str, threads: int) -> None:
        self.process = subprocess.Popen(
            [python, "-c", _TORCH_WORKER, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def time(self, kind: str, shape: tuple[int, ...]) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([kind, shape, SECONDS]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def measure(function: Callable[[], object]) -> float:
    """The median time of one call in microseconds."""
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def compare(candidates: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Microseconds of every candidate: each measures itself when called, in turns."""
    results: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            results[name].append(run())
    return {name: min(values) for name, values in results.items()}


def compile_kernels(sources: dict[str, str]) -> dict[str, int]:
    """Compile sources, and print what each cost; returns the addresses of their functions."""
    kernels = [KernelSource(name, source) for name, source in sources.items()]
    objects, entries, records = compile.compile_kernels(kernels, compile.CpuTarget(), None)
    for record, blob in zip(records, objects, strict=True):
        print(f"    {record.name} compiled in {record.milliseconds:.0f} ms, {len(blob)} bytes")
    return load_object(pack_objects(objects), [entry.name for entry in entries])


def plan_function(addresses: dict[str, int], spec: Any) -> Callable[[int, int], int]:
    """The plan function of a GemmSpec or ConvSpec."""
    return ctypes.CFUNCTYPE(*[ctypes.c_int64] * 3)(addresses[f"{spec.name}_plan"])


def launcher() -> Callable[..., None]:
    """A compiled function `launch(times, calls)` that runs (kernel, table, items, grain) rows on the pool."""
    parallel_for = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(pool.parallel_for_address())
    address = pool.pool_address()

    @numba.njit("void(int64, int64[:, ::1], int64)", nogil=True)
    def launch(times: int, calls: Any, pool_address: int) -> None:
        for _ in range(times):
            for i in range(len(calls)):
                parallel_for(pool_address, calls[i, 0], calls[i, 1], calls[i, 2], calls[i, 3])

    def run(times: int, calls: list[tuple[int, int, int, int]]) -> None:
        launch(times, np.array(calls, np.int64).reshape(-1, 4), address)

    return run


def native_timer(launch: Callable[..., None], calls: list[tuple[int, int, int, int]]) -> Callable[[], float]:
    """A candidate for `compare`: the time of one run of the calls, with the Python call spread over many."""
    launch(2, calls)
    start = time.perf_counter()
    launch(3, calls)
    times = max(1, int(20e-6 // ((time.perf_counter() - start) / 3)))
    return lambda: measure(lambda: launch(times, calls)) / times


def report(name: str, flops: float, results: dict[str, float]) -> None:
    """One line: microseconds and GFLOP/s of ours, then the ratio to each of the others (above 1: ours is faster)."""
    ours = results["ingot"]
    others = "  ".join(f"{n} {t:9.1f} us x{t / ours:4.2f}" for n, t in results.items() if n != "ingot")
    print(f"{name:34s} {ours:9.1f} us {flops / ours / 1e3:6.1f} GFLOP/s  {others}", flush=True)


def start(description: str) -> tuple[argparse.Namespace, Torch | None]:
    """Parse the command line, set the threads, and start PyTorch if it was asked for."""
    options = arguments(description)
    pool.set_num_threads(options.threads)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return options, Torch(options.torch, options.threads) if options.torch else None
