"""Compiled programs on a GPU beside its measured copy bandwidth, cuBLAS, and PyTorch's compiler where PyTorch is there.

Run with `python -m benchmarks.gpu`; `--only softmax` runs the rows whose name contains the text. `--simulate` runs the
rows on tiny sizes with the stand-in for a GPU: that shows that they work, and its times mean nothing.
"""

import argparse
import contextlib
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import ingot
import numpy as np

from . import models
from .measure import require_same

try:
    import torch
except ImportError:  # without the peer only Ingot's own figures and the device's limits are shown
    torch = None  # type: ignore[assignment]

__all__ = ["ROWS", "Row", "main"]


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
        for _ in range(3):
            function()
    found: dict[str, list[float]] = {who: [] for who in candidates}
    for _ in range(rounds):
        for who, (library, function) in candidates.items():
            found[who].append(_Timer(library)(function, calls))
    return {who: median(times) for who, times in found.items()}


def _ingot_call(row: Row, inputs: list[Any], weights: Any) -> Callable[[], Any]:
    """The compiled model over tensors on the device, with a peer's weights where there is one."""
    model = row.make(ingot).eval().cuda()
    if weights:
        model.load_state_dict({name: ingot.tensor(array) for name, array in weights.items()})
    tensors = [ingot.tensor(a, device="cuda") for a in inputs]
    with ingot.no_grad():
        traced = ingot.jit.trace(model, tuple(tensors), check_trace=False)
        return lambda: traced(*tensors)


def _torch_call(row: Row, inputs: list[Any]) -> tuple[Any, dict[str, Any]]:
    """The same by PyTorch: by its compiler, or plainly where cuBLAS is the measure."""
    model = row.make(torch).eval().cuda()
    weights = {name: t.cpu().numpy() for name, t in model.state_dict().items()}
    tensors = [torch.from_numpy(a).cuda() for a in inputs]
    if row.against == "default":
        model = torch.compile(model)
    elif row.against == "reduce-overhead":
        model = torch.compile(model, mode="reduce-overhead")

    def call() -> Any:
        with torch.no_grad():
            return model(*tensors)

    return call, weights


def _cublas_call(inputs: list[Any]) -> Callable[[], Any]:
    """The product of two matrices by cuBLAS itself, through the array module."""
    tensors = [ingot.tensor(a, device="cuda") for a in inputs]
    module = ingot.cuda.backends.backend().xp
    a, b = (t._array for t in tensors)
    out = module.empty((a.shape[0], b.shape[1]), a.dtype)
    return lambda: module.matmul(a, b, out)


def run_row(row: Row, simulated: bool) -> dict[str, Any]:
    """What a row gives: milliseconds by candidate, and whether the bound holds (None where nothing was compared)."""
    inputs = data(row.tiny if simulated else row.shapes)
    calls, rounds = (1, 1) if simulated else (20, 15)
    has_torch = torch is not None and torch.cuda.is_available() and not simulated
    peer: Any = None
    weights: dict[str, Any] = {}
    if has_torch:
        peer, weights = _torch_call(row, inputs)
    ours = _ingot_call(row, inputs, weights)
    candidates: dict[str, tuple[Any, Callable[[], Any]]] = {"ingot": (ingot, ours)}
    result = ours()
    if has_torch:
        require_same(row.name, {"ingot": result.cpu().numpy(), "torch": peer().cpu().numpy()}, 2e-3)
        candidates["torch"] = (torch, peer)
    if row.against == "cublas":
        candidates["cublas"] = (ingot, _cublas_call(inputs))
    traffic = _bytes(inputs, result)
    if row.against == "copy":
        source, target = (ingot.empty(max(traffic // 8, 1), device="cuda") for _ in range(2))
        candidates["copy"] = (ingot, lambda: target.copy_(source))
    times = measured(candidates, calls, rounds)
    found: dict[str, Any] = {
        "row": row.name,
        "milliseconds": times,
        "gigabytes_per_second": traffic / times["ingot"] / 1e6,
    }
    other = "copy" if row.against == "copy" else "cublas" if row.against == "cublas" else "torch"
    if other in times:
        found["against"] = other
        found["ratio"] = times[other] / times["ingot"] if other == "copy" else times["ingot"] / times[other]
        found["holds"] = found["ratio"] >= row.bound if other == "copy" else found["ratio"] <= row.bound
    return found


def _line(found: dict[str, Any], row: Row, simulated: bool) -> str:
    times = "  ".join(f"{who} {t:9.4f} ms" for who, t in found["milliseconds"].items())
    text = f"{row.name:36s} {times}  {found['gigabytes_per_second']:8.1f} GB/s"
    if "ratio" not in found:
        return f"{text}  (no torch here to compare with)"
    if simulated:
        return f"{text}  (of no meaning)"
    sign, mark = (">=" if found["against"] == "copy" else "<="), "ok" if found["holds"] else "NOT REACHED"
    return f"{text}  {found['ratio']:.2f} {sign} {row.bound} {mark}"


@contextlib.contextmanager
def _device(simulated: bool) -> Iterator[str]:
    if not simulated:
        yield f"{ingot.cuda.get_device_name()}, compute capability {ingot.cuda.get_device_capability()}"
        return
    with ingot.cuda.simulate():
        yield "the stand-in: times mean nothing"


def main(arguments: list[str] | None = None) -> int:
    """Run the rows; 0 where all ran and every bound that was compared holds, 1 else."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains the text")
    parser.add_argument("--simulate", action="store_true", help="tiny sizes on the stand-in for a GPU")
    parser.add_argument("--json", help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    if not options.simulate and not ingot.cuda.is_available():
        print(f"benchmarks.gpu: {ingot.cuda.unavailable_reason()}: nothing was measured")
        return 0
    results: list[dict[str, Any]] = []
    failed = 0
    with _device(options.simulate) as device:
        peer = "without PyTorch" if torch is None else f"PyTorch {torch.__version__}"
        print(f"{device}; Python {platform.python_version()}; {peer}")
        for row in ROWS:
            if options.only not in row.name:
                continue
            try:
                found = run_row(row, options.simulate)
            except Exception as error:  # the other rows still say something
                failed += 1
                print(f"{row.name:36s} FAILED: {type(error).__name__}: {error}", flush=True)
                continue
            results.append(found)
            failed += not options.simulate and not found.get("holds", True)
            print(_line(found, row, options.simulate), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"device": device, "rows": results}, file, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
