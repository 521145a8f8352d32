"""From the start of a process to the first result, on a model that was saved before and kernels that are cached.

    python -m benchmarks.startup [--peer-python PYTHON] [--rounds N] [--only NAME]

Beside Ingot's runtime: PyTorch (`torch.jit.load`) and ONNX Runtime, where this interpreter or the peer's has them. All
run the same architecture with random weights; rounds are interleaved, and the first is left out.
"""

import argparse
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import ingot
import numpy as np
from ingot import jit, nn, runtime

from . import architectures

SHAPES = {"digits": (1, 1, 8, 8), "resnet18": (1, 3, 224, 224)}

_INGOT = """
import numpy
from ingot import runtime
runtime.load({path!r})(numpy.zeros({shape}, numpy.float32))
"""
_TORCH_SAVE = """
import sys
sys.path.insert(0, {folder!r})
import architectures, torch
model = architectures.{name}(torch.nn).eval()
torch.jit.freeze(torch.jit.trace(model, torch.zeros({shape}))).save({path!r})
"""
_TORCH = """
import torch
with torch.inference_mode():
    torch.jit.load({path!r})(torch.zeros({shape}))
"""
_ONNX_RUNTIME = """
import numpy, onnxruntime
session = onnxruntime.InferenceSession({path!r}, providers=["CPUExecutionProvider"])
session.run(None, {{session.get_inputs()[0].name: numpy.zeros({shape}, numpy.float32)}})
"""


@dataclass(frozen=True)
class Candidate:
    """A program that loads a model and predicts once."""

    name: str
    python: str
    code: str


def _can_import(python: str, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code]).returncode == 0


def candidates(name: str, folder: Path, pythons: list[str]) -> list[Candidate]:
    """The programs for a model, whose files are written here."""
    shape = SHAPES[name]
    ingot.manual_seed(0)
    model = getattr(architectures, name)(nn).eval()
    traced = jit.freeze(jit.trace(model, ingot.zeros(*shape), check_trace=False))
    path = str(folder / f"{name}.ingot")
    with ingot.no_grad():
        traced(ingot.zeros(*shape))
    traced.save(path)
    found = [Candidate("ingot", sys.executable, _INGOT.format(path=path, shape=shape))]
    python = next((p for p in pythons if _can_import(p, "torch")), None)
    if python is not None:
        saved = str(folder / f"{name}.pt")
        code = _TORCH_SAVE.format(folder=str(Path(__file__).parent), name=name, shape=shape, path=saved)
        subprocess.run([python, "-c", code], check=True, stderr=subprocess.DEVNULL)
        found.append(Candidate("torch", python, _TORCH.format(path=saved, shape=shape)))
    python = next((p for p in pythons if _can_import(p, "onnxruntime")), None)
    if python is not None and (exported := _export(traced, shape, folder / f"{name}.onnx")) is not None:
        found.append(Candidate("onnxruntime", python, _ONNX_RUNTIME.format(path=exported, shape=shape)))
    return found


def _export(traced: Any, shape: tuple[int, ...], path: Path) -> str | None:
    try:
        from ingot.onnx import export
    except ImportError:
        return None
    export(traced, (ingot.zeros(*shape),), str(path))
    return str(path)


def _time(candidate: Candidate) -> float:
    # As installed programs run: with the byte code that is there.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(
        [candidate.python, "-W", "ignore", "-c", candidate.code], check=True, env=environment, stderr=subprocess.DEVNULL
    )
    return (time.perf_counter() - start) * 1e3


def load_milliseconds(path: str) -> float:
    """The median time of loading a file in a process that has loaded one before."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        runtime.load(path)
        times.append((time.perf_counter() - start) * 1e3)
    return median(times[1:])


_MODULES = """
import json, sys, numpy
from ingot import runtime
runtime.load({path!r})(numpy.zeros({shape}, numpy.float32))
own = [m for n, m in sys.modules.items() if n.partition(".")[0] == "ingot" and getattr(m, "__file__", None)]
others = {{n.partition(".")[0] for n in sys.modules}} - set(sys.stdlib_module_names) - {{"ingot", "__main__"}}
print(json.dumps([[m.__file__ for m in own], sorted(n for n in others if not n.startswith("_"))]))
"""


def install_size(path: str, shape: tuple[int, ...]) -> str:
    """What running a model takes of a disk beside numpy and llvmlite, shown by a copy of just that, which runs it."""
    code = _MODULES.format(path=path, shape=shape)
    files, others = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    root = Path(ingot.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "ingot"
        for file in map(Path, files):
            (package / file.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, package / file.relative_to(root))
        environment = {**os.environ, "PYTHONPATH": folder}
        # First on the path, so that nothing of the installed package is imported.
        copied = json.loads(
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment).stdout
        )
        assert all(Path(file).is_relative_to(package) for file in copied[0])
        compileall.compile_dir(package, quiet=2)
        size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    return f"{size / 1e6:.2f} MB in {len(files)} files with their byte code, beside {' and '.join(others)}"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="an interpreter that has the peers, if this one lacks them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="run the models whose name contains this text")
    options = parser.parse_args()
    pythons = [sys.executable, *([options.peer_python] if options.peer_python else [])]
    with tempfile.TemporaryDirectory() as folder:
        for name in SHAPES:
            if options.only not in name:
                continue
            programs = candidates(name, Path(folder), pythons)
            times: dict[str, list[float]] = {program.name: [] for program in programs}
            for _ in range(options.rounds + 1):
                for program in programs:
                    times[program.name].append(_time(program))
            for program, values in times.items():
                ratio = median(values[1:]) / median(times["ingot"][1:])
                print(f"{name:<10} {program:<12} {median(values[1:]):8.0f} ms from start to result {ratio:7.2f}x")
            path = str(Path(folder) / f"{name}.ingot")
            size = os.path.getsize(path) / 1e6
            print(f"{name:<10} load alone   {load_milliseconds(path):8.1f} ms for {size:.1f} MB", flush=True)
            print(f"{name:<10} runtime      {install_size(path, SHAPES[name])}", flush=True)


if __name__ == "__main__":
    np.random.seed(0)
    main()
