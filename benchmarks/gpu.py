"""Compiled programs on a GPU beside its measured copy bandwidth, cuBLAS, and PyTorch's compiler where that is there.

Run with `python -m benchmarks.gpu`; `--only softmax` runs the rows whose name contains the text. `--json FILE` keeps
the figures, row by row, and `--resume` goes on with the rows that the file lacks. `--docs` writes those of the file
into docs/gpu.md. `--simulate` runs the rows on tiny sizes, op by op, with the stand-in for a GPU: that shows that all
but the kernels works, and its times mean nothing.
"""

import argparse
import contextlib
import importlib.metadata
import json
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import ingot
import numpy as np

from . import models

try:
    import torch
except ImportError:  # without the peer only Ingot's own figures and the device's limits are shown
    torch = None  # type: ignore[assignment]

__all__ = ["ROWS", "Row", "data", "main", "markdown", "run_row"]


@dataclass(frozen=True)
class Row:
    """One line: a model as a function of the library, the shapes of its inputs, and what is required of it.

    traffic: bytes that must be moved once, to compare with copying so many. against: "copy", "cublas", or the mode of
    `torch.compile`. bound: the least part of the copy's bandwidth, or the largest ratio of times.
    """

    name: str
    make: Callable[[Any], Any]
    shapes: tuple[tuple[int, ...], ...]
    tiny: tuple[tuple[int, ...], ...]
    against: str
    bound: float
    tolerance: float = 2e-3  # of the largest value; convolutions round what they multiply to 10 bits


def _pointwise(lib: Any, x: Any, y: Any) -> Any:
    return ((x + y) * 0.5 - x * y).tanh() * 2.0 + 1.0


ROWS = [
    Row("pointwise chain, 2^25", models.function(_pointwise), ((1 << 25,),) * 2, ((64,),) * 2, "copy", 0.85),
    Row("sum of all, 2^26", models.function(lambda lib, x: x.sum()), ((1 << 26,),), ((64,),), "copy", 0.85),
    Row("row sums, 8192 x 4096", models.function(lambda lib, x: x.sum(-1)), ((8192, 4096),), ((4, 33),), "copy", 0.85),
    Row("row maxima of a chain, 8192 x 4096", models.function(lambda lib, x: (x * x + 1.0).amax(-1)),
        ((8192, 4096),), ((4, 33),), "copy", 0.85),
    Row("softmax, 8192 x 4096", models.function(lambda lib, x: x.softmax(-1)), ((8192, 4096),), ((4, 33),),
        "default", 1.0),
    Row("layer_norm, 8192 x 4096", lambda lib: lib.nn.LayerNorm(4096), ((8192, 4096),), ((2, 4096),), "default", 1.0),
    Row("MLP, batch 1", models.mlp, ((1, 784),), ((1, 784),), "reduce-overhead", 1.0),
    Row("transformer block, 8 x 256 x 512", models.transformer(512, 8), ((8, 256, 512),), ((1, 3, 512),),
        "default", 1.2),
    Row("ResNet-18, 8 x 3 x 224 x 224", models.resnet18, ((8, 3, 224, 224),), ((1, 3, 32, 32),), "default", 1.2),
    Row("GEMM, 4096", models.function(lambda lib, a, b: a @ b), ((4096, 4096),) * 2, ((5, 5),) * 2, "cublas", 1.05),
]  # fmt: skip


def data(shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    return [np.random.default_rng(i).standard_normal(s, np.float32) for i, s in enumerate(shapes)]


def _bytes(inputs: list[Any], output: Any) -> int:
    return sum(a.nbytes for a in inputs) + int(output.nbytes)


class _Timer:
    """Milliseconds of calls on the device, by its own events."""

    def __init__(self, library: Any) -> None:
        self._cuda = library.cuda

    def __call__(self, function: Callable[[], Any], calls: int) -> float:
        start, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            function()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / calls


def measured(candidates: dict[str, tuple[Any, Callable[[], Any]]], calls: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each candidate (its library, and the call), in turn, after calls that do not count."""
    for _, function in candidates.values():
        for _ in range(3 if rounds == 1 else 10):  # PyTorch captures a graph after a few calls
            function()
    found: dict[str, list[float]] = {who: [] for who in candidates}
    for _ in range(rounds):
        for who, (library, function) in candidates.items():
            found[who].append(_Timer(library)(function, calls))
    return {who: median(times) for who, times in found.items()}


def _host_microseconds(library: Any, function: Callable[[], Any], calls: int) -> float:
    """Microseconds in which the host hands a call to the device."""
    library.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    taken = time.perf_counter() - start
    library.cuda.synchronize()
    return taken / calls * 1e6


def _ingot_call(row: Row, inputs: list[Any], weights: Any) -> tuple[Any, Callable[[], Any]]:
    """The compiled model over tensors on the device, with a peer's weights where there is one, and its call."""
    model = row.make(ingot).eval().cuda()
    if weights:
        model.load_state_dict({name: ingot.tensor(array) for name, array in weights.items()})
    tensors = [ingot.tensor(a, device="cuda") for a in inputs]
    with ingot.no_grad():
        traced = ingot.jit.trace(model, tuple(tensors), check_trace=False)

    def call() -> Any:
        with ingot.no_grad():
            return traced(*tensors)

    return traced, call


def _torch_call(row: Row, inputs: list[Any]) -> tuple[Callable[[], Any], dict[str, Any], str]:
    """The same by PyTorch: by its compiler, or plainly where cuBLAS is the measure or the compiler fails (and why)."""
    model = row.make(torch).eval().cuda()
    weights = {name: t.cpu().numpy() for name, t in model.state_dict().items()}
    tensors = [torch.from_numpy(a).cuda() for a in inputs]
    note, compiled = "", model
    if row.against in ("default", "reduce-overhead"):
        try:
            compiled = torch.compile(model) if row.against == "default" else torch.compile(model, mode=row.against)
            with torch.no_grad():
                compiled(*tensors)
        except Exception as error:  # no C compiler, say: the plain model is still a measure
            note, compiled = f"torch.compile failed ({type(error).__name__}), so without it", model

    def call() -> Any:
        with torch.no_grad():
            return compiled(*tensors)

    return call, weights, note


def _cublas_call(inputs: list[Any]) -> Callable[[], Any]:
    """The product of two matrices by cuBLAS itself, through the array module."""
    tensors = [ingot.tensor(a, device="cuda") for a in inputs]
    module = ingot.cuda.backends.backend().xp
    a, b = (t._array for t in tensors)
    out = module.empty((a.shape[0], b.shape[1]), a.dtype)
    return lambda: module.matmul(a, b, out)


def _copy_call(traffic: int) -> Callable[[], Any]:
    """A copy of memory that moves so many bytes, read and written."""
    arrays = [ingot.empty(max(traffic // 8, 1), device="cuda")._array for _ in range(2)]
    source, target, size = arrays[0].data, arrays[1].data, arrays[0].nbytes
    return lambda: target.copy_from_device_async(source, size)


def _difference(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest value; infinite where shapes or places of NaN differ."""
    if found.shape != expected.shape or not np.array_equal(np.isnan(found), np.isnan(expected)):
        return float("inf")
    return float(np.nanmax(np.abs(found - expected)) / max(float(np.nanmax(np.abs(expected))), 1e-30))


def run_row(row: Row, simulated: bool) -> dict[str, Any]:
    """What a row gives: milliseconds by candidate, and whether the bound holds (absent where nothing was compared)."""
    inputs = data(row.tiny if simulated else row.shapes)
    calls, rounds = (1, 1) if simulated else (20, 15)
    has_torch = torch is not None and torch.cuda.is_available() and not simulated
    found: dict[str, Any] = {"row": row.name, "bound": row.bound}
    weights: dict[str, Any] = {}
    candidates: dict[str, tuple[Any, Callable[[], Any]]] = {}
    if has_torch:
        peer, weights, note = _torch_call(row, inputs)
        candidates["torch"] = (torch, peer)
        if note:
            found["note"] = note
    traced, ours = _ingot_call(row, inputs, weights)
    candidates = {"ingot": (ingot, ours), **candidates}
    result = ours()
    if has_torch:
        found["difference"] = _difference(result.cpu().numpy(), candidates["torch"][1]().cpu().numpy())
        found["same"] = found["difference"] <= row.tolerance
    traffic = _bytes(inputs, result)
    if row.against == "cublas":
        candidates["cublas"] = (ingot, _cublas_call(inputs))
    if row.against == "copy":
        candidates["copy"] = (ingot, _copy_call(traffic))
    del result
    times = found["milliseconds"] = measured(candidates, calls, rounds)
    found["host_microseconds"] = {w: _host_microseconds(lib, f, calls) for w, (lib, f) in candidates.items()}
    found["gigabytes_per_second"] = traffic / times["ingot"] / 1e6
    if (program := traced.specialisations[-1].device_program) is not None:
        found["recorded"] = program.recording_failure or bool(program.recorded)
    other = "copy" if row.against == "copy" else "cublas" if row.against == "cublas" else "torch"
    if other in times:
        found["against"] = other
        found["ratio"] = times[other] / times["ingot"] if other == "copy" else times["ingot"] / times[other]
        held = found["ratio"] >= row.bound if other == "copy" else found["ratio"] <= row.bound
        found["holds"] = held and found.get("same", True)
    return found


def _line(found: dict[str, Any], simulated: bool) -> str:
    if "error" in found:
        return f"{found['row']:36s} FAILED: {found['error']}"
    times = "  ".join(f"{who} {t:9.4f} ms" for who, t in found["milliseconds"].items())
    text = f"{found['row']:36s} {times}  {found['gigabytes_per_second']:8.1f} GB/s"
    if not found.get("same", True):
        text += f"  WRONG: differs from torch by {found['difference']:.2g}"
    if isinstance(found.get("recorded"), str):
        text += f"  (not recorded: {found['recorded']})"
    if "note" in found:
        text += f"  ({found['note']})"
    if "ratio" not in found:
        return f"{text}  (no torch here to compare with)"
    if simulated:
        return f"{text}  (of no meaning)"
    sign, mark = (">=" if found["against"] == "copy" else "<="), "ok" if found["holds"] else "NOT REACHED"
    return f"{text}  {found['ratio']:.2f} {sign} {found['bound']} {mark}"


def markdown(results: dict[str, Any]) -> str:
    """The figures as a section of docs/gpu.md."""
    head = "| row | Ingot, ms | host, us | GB/s | compared with | ms | ratio | bound | |"
    lines = [
        f"Measured on {results['device']} ({results['versions']}).",
        "",
        head,
        "|---|--:|--:|--:|---|--:|--:|--:|---|",
    ]
    for found in results["rows"]:
        if "error" in found:
            lines.append(f"| {found['row']} | | | | | | | | failed: {found['error']} |")
            continue
        other = found.get("against", "")
        sign = ">=" if other == "copy" else "<="
        told = ("reached" if found["holds"] else "not reached") if other else "not compared"
        theirs = f"{found['milliseconds'][other]:.4f} | {found['ratio']:.2f}" if other else " | "
        lines.append(
            f"| {found['row']} | {found['milliseconds']['ingot']:.4f} | {found['host_microseconds']['ingot']:.0f} | "
            f"{found['gigabytes_per_second']:.0f} | {other} | {theirs} | {sign} {found['bound']} | {told} |"
        )
    return "\n".join(lines)


@contextlib.contextmanager
def _device(simulated: bool) -> Iterator[str]:
    if not simulated:
        yield f"{ingot.cuda.get_device_name()}, compute capability {ingot.cuda.get_device_capability()}"
        return
    with ingot.cuda.simulate(), ingot.jit.executor("interpreter"):
        yield "the stand-in: times mean nothing"


def _versions() -> str:
    names = ("numba", "numba-cuda", "cupy-cuda12x", "cupy-cuda13x", "torch", "triton", "numpy")
    known = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known[name] = importlib.metadata.version(name)
    return ", ".join([f"Python {platform.python_version()}", *(f"{n} {v}" for n, v in known.items())])


def _is_fatal(error: BaseException) -> bool:
    """Whether the device refuses further work in this process."""
    return isinstance(error, ingot.cuda.AcceleratorError) or "illegal memory access" in str(error)


def main(arguments: list[str] | None = None) -> int:
    """Run the rows; 0 where all ran and every bound that was compared holds, 1 else, 3 where the device gave up."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains the text")
    parser.add_argument("--simulate", action="store_true", help="tiny sizes on the stand-in for a GPU")
    parser.add_argument("--json", help="keep the figures in this file, row by row")
    parser.add_argument("--resume", action="store_true", help="only the rows that the file lacks")
    parser.add_argument("--docs", action="store_true", help="write the figures of the file into docs/gpu.md, and end")
    options = parser.parse_args(arguments)
    if options.docs:
        from .gpu_kernels import write_section

        write_section(markdown(json.loads(Path(options.json).read_text())), "figures")
        return 0
    if not options.simulate and not ingot.cuda.is_available():
        print(f"benchmarks.gpu: {ingot.cuda.unavailable_reason()}: nothing was measured")
        return 0
    results: dict[str, Any] = {"device": "", "versions": _versions(), "rows": []}
    if options.resume and Path(options.json).exists():
        results = json.loads(Path(options.json).read_text())
    done = {found["row"] for found in results["rows"]}

    def keep() -> None:
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=1))

    with _device(options.simulate) as device:
        if not results["device"]:
            results["device"] = device
            print(f"{device}; {results['versions']}", flush=True)
        for row in ROWS:
            if options.only not in row.name or row.name in done:
                continue
            # Should the process end here, the row is known to have been the reason.
            results["rows"].append({"row": row.name, "error": "the process ended"})
            keep()
            fatal = False
            try:
                found = run_row(row, options.simulate)
            except (Exception, SystemExit) as error:  # the other rows still say something
                fatal = _is_fatal(error)
                found = {"row": row.name, "error": f"{type(error).__name__}: {error}"[:2000]}
                traceback.print_exc()
            results["rows"][-1] = found
            keep()
            print(_line(found, options.simulate), flush=True)
            if fatal:
                return 3
    failed = [f for f in results["rows"] if "error" in f or not (options.simulate or f.get("holds", True))]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
