"""Measures Ingot beside PyTorch in one process, at the same number of threads, results compared first.

Run with `make bench`; `python -m benchmarks --only mlp` runs the workloads whose name contains the text.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import ingot
import numpy as np
from ingot import jit

from .measure import compare, require_same
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


def run_workload(workload: Workload) -> str:
    """One row of the table."""
    function, arguments = workload.ingot()
    with ingot.no_grad():
        compiled = function(*arguments)
        candidates: dict[str, Callable[[], Any]] = {"ingot": lambda: function(*arguments)}
        results = {"ingot": compiled.numpy()}
        if torch is not None:
            peer, peer_arguments = workload.torch()
            with torch.inference_mode():
                results["torch"] = peer(*peer_arguments).numpy()
                require_same(workload.name, results, workload.tolerance)

                def run_peer() -> Any:
                    return peer(*peer_arguments)

                candidates["torch"] = run_peer
                times = compare(candidates)
        else:
            times = compare(candidates)
    ours = times["ingot"]
    theirs = times.get("torch")
    ratio = f"{theirs / ours:8.2f}x" if theirs is not None else f"{'-':>9}"
    other = f"{theirs:12,.1f}" if theirs is not None else f"{'-':>12}"
    return f"{workload.name:<34} {ours:12,.1f} {other} {ratio}"


def new_batch_sizes() -> str:
    """That a compiled callable compiles nothing at new batch sizes."""
    workload = next(w for w in WORKLOADS if w.name == "mlp 784-256-128-10, batch 1")
    function, _ = workload.ingot()
    with ingot.no_grad():
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
    workload = next(w for w in WORKLOADS if w.name == "digits cnn, batch 1")
    function, arguments = workload.ingot()
    with ingot.no_grad():
        function(*arguments)
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
    options = parser.parse_args()
    warnings.simplefilter("error", jit.FallbackWarning)
    ingot.set_num_threads(options.threads)
    if torch is not None:
        torch.set_num_threads(options.threads)
        torch.manual_seed(0)
    np.random.seed(0)
    peer = f"PyTorch {torch.__version__} eager" if torch is not None else "PyTorch is not installed"
    print(f"{options.threads} threads, microseconds per call (medians, interleaved); peer: {peer}\n")
    print(f"{'workload':<34} {'ingot':>12} {'torch':>12} {'ratio':>9}")
    for workload in WORKLOADS:
        if options.only in workload.name:
            print(run_workload(workload), flush=True)
    if not options.only:
        print()
        for line in (new_batch_sizes, scripted_loop, fresh_process):
            print(line(), flush=True)


if __name__ == "__main__":
    main()
