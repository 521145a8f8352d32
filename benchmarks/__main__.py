"""Measures Ingot beside its peers in one process, at the same number of threads, results compared first.

Run with `make bench`; `python -m benchmarks --only mlp` runs the workloads whose name contains the text. The table may
be measured in parts: `python -m benchmarks --json FILE --resume --minutes 9`, again until nothing is left.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import ingot
import numpy as np
from ingot import jit

from . import models
from .bars import best_peer, misses, summary
from .machine import limits
from .measure import compare, require_same
from .peers import PEERS, candidates, warm_up
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
        made = candidates(workload, options.threads, peers, options.limit)
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
        "skipped": {who: c.note[:300] for who, c in made.items() if c.note},
        "rate": rate,
        "share": rate / limit[workload.kind] if workload.kind else None,
        "reasons": workload.reasons,
    }


def row_text(row: dict[str, Any], peers: list[str]) -> str:
    """One row of the table."""
    if "failed" in row:
        return f"{row['name']:<40} failed: {row['failed']}"
    times, compiled = row["times"], row["compile"]
    best = best_peer(row)
    ratio = f"{best[1]:7.2f}x" if best is not None else f"{'-':>8}"
    cells = "".join(f"{times[who]:12,.1f}" if who in times else f"{'-':>12}" for who in peers)
    unit = "GFLOP/s" if row["kind"] == "compute" else "GB/s"
    rate = f"{row['rate']:6.0f} {unit:<7} {row['share']:4.0%}" if row["share"] is not None else " " * 19
    cold = "  ".join(f"{compiled[who]:5.1f}" if who in compiled else "    -" for who in ("ingot", "inductor", "jax"))
    return f"{row['name']:<40}{times['ingot']:12,.1f}{cells}{ratio} {rate}  {cold}"


class Record:
    """The figures so far, in a file after each workload where one is given: another run can go on from there."""

    def __init__(self, path: str | None, peers: list[str], resume: bool) -> None:
        self.path = Path(path) if path else None
        self.content: dict[str, Any] = {"machine": {}, "peers": peers, "workloads": [], "begun": {}}
        if resume and self.path is not None and self.path.exists():
            self.content |= json.loads(self.path.read_text())
        self.content.setdefault("begun", {})

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The workloads that were measured, in the order of the table."""
        order = {w.name: number for number, w in enumerate(WORKLOADS)}
        return sorted(self.content["workloads"], key=lambda row: order.get(row["name"], len(order)))

    def begin(self, name: str) -> bool:
        """Note that a workload begins; False where it ended the process twice, and is then listed as failed."""
        begun = self.content["begun"]
        begun[name] = begun.get(name, 0) + 1
        if begun[name] > 2:
            self.add({"name": name, "failed": "the process ended while it was measured, twice"})
            return False
        self.save()
        return True

    def add(self, row: dict[str, Any]) -> None:
        """Another workload's figures."""
        if self.content["begun"].get(row["name"], 0) <= 2:
            self.content["begun"].pop(row["name"], None)
        self.content["workloads"] = [r for r in self.content["workloads"] if r["name"] != row["name"]] + [row]
        self.content["workloads"] = self.rows
        self.save()

    def save(self) -> None:
        """Write the file, and the picture beside it."""
        if self.path is None:
            return
        self.path.write_text(json.dumps(self.content, indent=1))
        measured = {**self.content, "workloads": [r for r in self.rows if "failed" not in r]}
        self.path.with_suffix(".svg").write_text(picture(measured))


def run_table(options: argparse.Namespace) -> bool:
    """All workloads, in interleaved runs, with the machine's limits measured beside them; whether none is left."""
    peers = [p for p in options.peers.split(",") if p in PEERS and available(p)]
    deadline = time.monotonic() + 60 * options.minutes
    limit = limits(options.threads)
    record = Record(options.json, peers, options.resume)
    text = f"{options.threads} threads; measured limits: {limit['compute']:.0f} GFLOP/s, " + ", ".join(
        f"{what} {limit[kind]:.1f} GB/s" for kind, what in (("read", "reading"), ("copy", "copying"), ("add", "adding"))
    )
    print(f"Microseconds per call (medians, interleaved). {text}\n")
    head = "".join(f"{who:>12}" for who in peers)
    print(f"{'workload':<40}{'ingot':>12}{head}{'best peer':>9}{'rate, of limit':>19}  cold: ingot inductor jax, s")
    warm_up(options.threads, peers)
    known = {row["name"]: row for row in record.rows if "failed" not in row}  # failures are tried again
    measured_here = 0  # each part measures something, so that the last one comes
    chosen = [w for w in WORKLOADS if options.only in w.name]
    for workload in chosen:
        row = known.get(workload.name)
        if row is None:
            if time.monotonic() > deadline and measured_here:
                break
            measured_here += 1
            record.content["machine"] = {"text": text, "limits": limit}  # what the shares that are added are of
            if not record.begin(workload.name):
                continue
            try:
                row = run_workload(workload, options, peers, limit)
            except (Exception, SystemExit) as error:  # a failure is listed, and the others are still measured
                row = {"name": workload.name, "failed": f"{type(error).__name__}: {str(error)[:150]}"}
            record.add(row)
        else:
            row["reasons"] = workload.reasons
        print(row_text(row, peers), flush=True)
        for who, note in row.get("skipped", {}).items() if options.verbose else ():
            print(f"    {who}: {note[:200]}")
    record.save()
    done = {row["name"] for row in record.rows}
    left = sum(w.name not in done for w in chosen)
    measured = [row for row in record.rows if "failed" not in row]
    print(f"\n{summary(measured)}")
    if left:
        print(f"{left} workloads are left: the same command with --resume goes on")
        return False
    print("\nBars that are missed:")
    for line in misses(measured):
        print(f"  {line}")
    return True


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


def share_cpus(threads: int) -> None:
    """Leave the process as many CPUs as threads: some libraries start a thread for each CPU, whatever they are told."""
    if hasattr(os, "sched_setaffinity") and threads < len(os.sched_getaffinity(0)):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the workloads whose name contains this text")
    parser.add_argument("--threads", type=int, default=ingot.get_num_threads())
    parser.add_argument("--peers", default=",".join(PEERS), help="which peers, separated by commas")
    parser.add_argument("--json", help="write the figures to this file, and a picture of them beside it (.svg)")
    parser.add_argument("--resume", action="store_true", help="keep what the file has, and measure the rest")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no workload after so many minutes")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds in which a peer must have compiled")
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
    share_cpus(options.threads)
    if run_table(options) and not options.only:
        print()
        for line in (new_batch_sizes, scripted_loop, fresh_process):
            print(line(), flush=True)


if __name__ == "__main__":
    main()
