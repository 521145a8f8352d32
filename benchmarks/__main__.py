"""Measures Ingot beside its peers in one process, at the same number of threads, results compared first.

Run with `make bench`; `python -m benchmarks --only mlp` runs the workloads whose name contains the text.
"""

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import ingot
import numpy as np
from ingot import jit

from . import models
from .machine import limits
from .measure import compare, require_same
from .peers import PEERS, candidates
from .picture import picture
from .workloads import WORKLOADS, Workload

try:
    import torch
except ImportError:  # the peers are optional: without them only Ingot's own figures are shown
    torch = None  # type: ignore[assignment]


def longest_collatz(limit: int) -> int:
    """The start below `limit` with the longest Collatz sequence: two nested data-dependent loops."""
    best = 1
    longest = 0
    n = 1
    while n < limit:
        steps = 0
        k = n
        while k != 1:
            if k % 2 == 0:
                k = k // 2
            else:
                k = 3 * k + 1
            steps += 1
        if steps > longest:
            longest = steps
            best = n
        n += 1
    return best


def run_workload(
    workload: Workload, options: argparse.Namespace, peers: list[str], limit: dict[str, float]
) -> dict[str, Any]:
    """Everything that is measured of a workload: times in microseconds, seconds of compiling, share of the limit."""
    with torch.inference_mode() if torch is not None else nullcontext(), ingot.no_grad():
        made = candidates(workload, options.threads, peers)
        usable = {who: c for who, c in made.items() if not c.note}
        results = {who: c.array(c.run()) for who, c in usable.items()}
        require_same(workload.name, results, workload.tolerance)
        times = compare(
            {who: c.run for who, c in usable.items()}, seconds=0.25 * len(usable), quietest=options.quietest
        )
    rate = 0.0
    if workload.kind == "compute":
        rate = workload.flops / times["ingot"] / 1e3
    elif workload.kind:
        rate = workload.nbytes / times["ingot"] / 1e3
    return {
        "name": workload.name,
        "kind": workload.kind,
        "times": times,
        "compile": {who: c.compile_seconds for who, c in usable.items() if c.compile_seconds is not None},
        "skipped": {who: c.note for who, c in made.items() if c.note},
        "rate": rate,
        "share": rate / limit[workload.kind] if workload.kind else None,
    }


def row_text(row: dict[str, Any], peers: list[str]) -> str:
    """One row of the table."""
    times, compiled = row["times"], row["compile"]
    others = {who: t for who, t in times.items() if who != "ingot"}
    best = f"{min(others.values()) / times['ingot']:7.2f}x" if others else f"{'-':>8}"
    cells = "".join(f"{times[who]:12,.1f}" if who in times else f"{'-':>12}" for who in peers)
    unit = "GFLOP/s" if row["kind"] == "compute" else "GB/s"
    rate = f"{row['rate']:6.0f} {unit:<7} {row['share']:4.0%}" if row["share"] is not None else " " * 19
    cold = "  ".join(f"{compiled[who]:5.1f}" if who in compiled else "    -" for who in ("ingot", "inductor", "jax"))
    return f"{row['name']:<40}{times['ingot']:12,.1f}{cells}{best} {rate}  {cold}"


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / max(1, len(logs)))


def run_table(options: argparse.Namespace) -> None:
    """All workloads, in interleaved runs, with the machine's limits measured beside them."""
    peers = [p for p in options.peers.split(",") if p in PEERS and available(p)]
    limit = limits(options.threads)
    text = (
        f"{options.threads} threads; measured limits: {limit['compute']:.0f} GFLOP/s, "
        f"reading {limit['read']:.1f} GB/s, copying {limit['copy']:.1f} GB/s"
    )
    print(f"Microseconds per call (medians, interleaved). {text}\n")
    head = "".join(f"{who:>12}" for who in peers)
    print(f"{'workload':<40}{'ingot':>12}{head}{'best peer':>9}{'rate, of limit':>19}  cold: ingot inductor jax, s")
    rows: list[dict[str, Any]] = []
    warm_up()
    for workload in WORKLOADS:
        if options.only not in workload.name:
            continue
        try:
            row = run_workload(workload, options, peers, limit)
        except Exception as error:  # a workload that fails is listed, and the others are still measured
            print(f"{workload.name:<40} failed: {type(error).__name__}: {str(error)[:150]}", flush=True)
            continue
        rows.append(row)
        if options.json:
            record = {"machine": {"text": text, "limits": limit}, "peers": peers, "workloads": rows}
            Path(options.json).write_text(json.dumps(record, indent=1))
            Path(options.json).with_suffix(".svg").write_text(picture(record))
        print(row_text(row, peers), flush=True)
        for who, note in row["skipped"].items() if options.verbose else ():
            print(f"    {who}: {note[:200]}")
    best = [
        min(t for who, t in r["times"].items() if who != "ingot") / r["times"]["ingot"]
        for r in rows
        if len(r["times"]) > 1
    ]
    eager = [r["times"]["torch"] / r["times"]["ingot"] for r in rows if "torch" in r["times"]]
    print(f"\ngeometric means: {geometric_mean(best):.2f}x the best peer, {geometric_mean(eager):.2f}x PyTorch eager")


def warm_up() -> None:
    """Import what compilers import at first use: it is no part of a workload's compile time."""
    ingot.jit.trace(lambda x: x + 1, ingot.ones(3), check_trace=False)(ingot.ones(3))


def available(peer: str) -> bool:
    """Whether a peer is installed."""
    module = {"onnxruntime": "onnxruntime", "jax": "jax"}.get(peer, "torch")
    return torch is not None and importlib.util.find_spec(module) is not None


def new_batch_sizes() -> str:
    """That a compiled callable compiles nothing at new batch sizes."""
    with ingot.no_grad():
        function = jit.freeze(jit.trace(models.mlp(ingot).eval(), ingot.randn(1, 784), check_trace=False))
        function(ingot.randn(1, 784))
        with jit.no_compile():
            for batch in (2, 7, 64, 1000):
                function(ingot.randn(batch, 784))
    return "a new batch size compiles nothing: held for batches 2, 7, 64, 1000 under jit.no_compile()"


def scripted_loop() -> str:
    """A data-dependent while loop, scripted, against Python."""
    native = jit.script(longest_collatz)
    limit = 20_000
    require_same("while loop", {"native": native(limit), "python": longest_collatz(limit)})
    times = compare({"native": lambda: native(limit), "python": lambda: longest_collatz(limit)}, seconds=3.0, rounds=3)
    return (
        f"a scripted while loop: Python {times['python'] / 1e3:,.1f} ms, native {times['native'] / 1e3:,.3f} ms: "
        f"{times['python'] / times['native']:.0f}x"
    )


def fresh_process() -> str:
    """Load an ingot and predict once in a fresh process, process start included, kernels cached."""
    images = ingot.randn(1, 1, 8, 8)
    with ingot.no_grad():
        function = jit.freeze(jit.trace(models.digits(ingot).eval(), images, check_trace=False))
        function(images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.ingot"
        function.save(path)
        code = f"import ingot; ingot.jit.load({str(path)!r})(ingot.zeros(1, 1, 8, 8))"
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
    return f"load digits.ingot and predict in a fresh process: {median(times[1:]) * 1e3:.0f} ms (median of 6)"


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the workloads whose name contains this text")
    parser.add_argument("--threads", type=int, default=ingot.get_num_threads())
    parser.add_argument("--peers", default=",".join(PEERS), help="which peers, separated by commas")
    parser.add_argument("--json", help="write the figures to this file, and a picture of them beside it (.svg)")
    parser.add_argument("--quietest", action="store_true", help="the best round counts, not the median: a busy machine")
    parser.add_argument("--verbose", action="store_true", help="say why a peer was left out")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    # Each library's threads are told before it starts them.
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads={options.threads}"
    ingot.set_num_threads(options.threads)
    if torch is not None:
        torch.set_num_threads(options.threads)
        torch.manual_seed(0)
    np.random.seed(0)
    run_table(options)
    if not options.only:
        print()
        for line in (new_batch_sizes, scripted_loop, fresh_process):
            print(line(), flush=True)


if __name__ == "__main__":
    main()
