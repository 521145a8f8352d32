"""Fused elementwise chains, row normalisations and sums: generated code against PyTorch, and what compiling costs.

    python benchmarks/pointwise.py [--torch PYTHON] [--threads 2] [--only softmax]

Times are medians of alternating rounds, in microseconds per call from Python.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ingot import ir
from ingot.jit.codegen.compile import compile_module
from ingot.jit.codegen.generate import generate
from ingot.jit.program import Layout, NativeProgram
from ingot.jit.runtime import pool

ROUNDS = 7
SECONDS = 0.1

CHAIN = """graph @chain(%x: f32[n], %y: f32[n]) -> (f32[n]) {
  %h: float = constant() {value=0.5}
  %o: float = constant() {value=1.0}
  %z: float = constant() {value=0.0}
  %c: float = constant() {value=0.044715}
  %k: float = constant() {value=0.7978845608}
  %1: f32[n] = mul(%x, %x)
  %2: f32[n] = mul(%1, %x)
  %3: f32[n] = mul(%2, %c)
  %4: f32[n] = add(%x, %3)
  %5: f32[n] = mul(%4, %k)
  %6: f32[n] = tanh(%5)
  %7: f32[n] = add(%6, %o)
  %8: f32[n] = mul(%x, %h)
  %9: f32[n] = mul(%8, %7)
  %10: f32[n] = mul(%9, %y)
  %11: f32[n] = sigmoid(%10)
  %12: f32[n] = mul(%9, %9)
  %13: f32[n] = neg(%12)
  %14: f32[n] = exp(%13)
  %15: f32[n] = mul(%14, %y)
  %16: f32[n] = add(%11, %15)
  %17: f32[n] = sub(%x, %y)
  %18: f32[n] = maximum(%17, %z)
  %19: f32[n] = sub(%16, %18)
  return(%19)
}"""
SOFTMAX = "graph @f(%x: f32[1024, 1024]) -> (f32[1024, 1024]) { %r: f32[1024, 1024] = softmax(%x) {dim=-1} return(%r) }"
NORM = """graph @f(%x: f32[1024, 1024], %w: f32[1024], %b: f32[1024]) -> (f32[1024, 1024]) {
  %y: f32[1024, 1024] = layer_norm(%x, %w, %b) {normalized_shape=(1024,)}
  %r: f32[1024, 1024] = gelu(%y)
  return(%r)
}"""


def _sum(dim: str, shape: str) -> str:
    return f"graph @f(%x: f32[m, n]) -> (f32[{shape}]) {{ %r: f32[{shape}] = sum(%x) {{dim={dim}}} return(%r) }}"


CASES: dict[str, tuple[str, tuple[tuple[int, ...], ...], str]] = {
    "chain of 19, 1000": (CHAIN, ((1000,), (1000,)), "chain(*a)"),
    "chain of 19, 2^20": (CHAIN, ((1 << 20,), (1 << 20,)), "chain(*a)"),
    "softmax 1024x1024": (SOFTMAX, ((1024, 1024),), "torch.softmax(a[0], -1)"),
    "layer_norm, gelu 1024x1024": (
        NORM,
        ((1024, 1024), (1024,), (1024,)),
        "F.gelu(F.layer_norm(a[0], (1024,), a[1], a[2]))",
    ),
    "sum of all": (_sum("None", ""), ((1024, 1024),), "a[0].sum()"),
    "sum over rows": (_sum("(0,)", "n"), ((1024, 1024),), "a[0].sum(0)"),
    "sum over columns": (_sum("(1,)", "m"), ((1024, 1024),), "a[0].sum(1)"),
}

_TORCH_WORKER = """
import json, statistics, sys, time, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(int(sys.argv[1]))
F = torch.nn.functional

def chain(x, y):
    a = x * 0.5 * (torch.tanh((x + x * x * x * 0.044715) * 0.7978845608) + 1.0)
    return torch.sigmoid(a * y) + torch.exp(-(a * a)) * y - torch.clamp(x - y, min=0.0)

cases = {}
for line in sys.stdin:
    text, shapes, seconds = json.loads(line)
    key = text + str(shapes)
    if key not in cases:
        cases[key] = [torch.randn(s) for s in shapes]
    a = cases[key]
    code = compile(text, "case", "eval")
    with torch.inference_mode():
        for _ in range(3):
            eval(code)
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            eval(code)
            times.append(time.perf_counter() - start)
    print(statistics.median(times) * 1e6, flush=True)
"""


def median_time(function: Callable[[], object]) -> float:
    """The median time of a call in microseconds."""
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Fused kernels against PyTorch.")
    parser.add_argument("--torch", help="a Python interpreter that has PyTorch, to compare with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    options = parser.parse_args()
    pool.set_num_threads(options.threads)
    worker: Any = None
    if options.torch:
        command = [options.torch, "-c", _TORCH_WORKER, str(options.threads)]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for name, (text, shapes, torch_text) in CASES.items():
        if options.only not in name:
            continue
        graph = ir.parse(text)
        start = time.perf_counter()
        module = generate(graph)
        generated = (time.perf_counter() - start) * 1e3
        compiled = compile_module(module, use_cache=False)
        program = NativeProgram(Layout.of(module), compiled.object)
        arguments = [np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in shapes]
        program(arguments)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(ROUNDS):
            ours.append(median_time(lambda: program(arguments)))  # noqa: B023
            if worker is not None:
                worker.stdin.write(json.dumps([torch_text, shapes, SECONDS]) + "\n")
                worker.stdin.flush()
                theirs.append(float(worker.stdout.readline()))
        kernels = [r.milliseconds for r in compiled.records if r.name.startswith("k_")]
        line = f"{name:28s} {statistics.median(ours):9.1f} us"
        if theirs:
            other = statistics.median(theirs)
            line += f"  torch {other:9.1f} us x{other / statistics.median(ours):5.2f}"
        print(
            f"{line}  generate {generated:5.1f} ms, kernels {', '.join(f'{k:.0f}' for k in kernels)} ms, "
            f"all {compiled.milliseconds:.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
