"""`ingot bench`: how long a model takes, beside the same model in ONNX Runtime or PyTorch."""

import argparse
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ..ir.dims import Dim, substitute
from ..ir.types import BoolType, FloatType, IntType, TensorType, Type, type_symbols
from ..runtime import Model, get_num_threads, load, set_num_threads
from .errors import CommandError
from .result import Result
from .run import method_of, prepare
from .units import time_text
from .values import random_array, read_inputs

__all__ = ["command"]

_ROUNDS = 5
# Batches of calls shorter than this say more about the clock than about the model.
_SHORTEST_BATCH = 0.002


def command(options: argparse.Namespace) -> Result:
    """Time calls with the same arguments, interleaved, and compare the results first."""
    if options.seconds <= 0:
        raise CommandError(f"--seconds {options.seconds}: expected a positive number")
    if options.threads is not None:
        try:
            set_num_threads(options.threads)
        except ValueError as error:
            raise CommandError(str(error)) from None
    threads = get_num_threads()
    start = time.perf_counter()
    model = method_of(load(options.model, trust=options.trust), options.method)
    loading = (time.perf_counter() - start) * 1e6
    positional, named = prepare(model, *read_inputs(options.input))
    if not positional and not named:
        positional = random_arguments(model, _sizes(options.size))
    start = time.perf_counter()
    result = model(*positional, **named)
    first = (time.perf_counter() - start) * 1e6
    candidates: dict[str, Callable[[], Any]] = {"ingot": lambda: model(*positional, **named)}
    differences: dict[str, float] = {}
    for path in options.against:
        name, call = _peer(path, [*positional, *named.values()], threads)
        differences[name] = _difference(result, call())
        candidates[name] = call
    times = measure(candidates, options.seconds)
    data: dict[str, Any] = {
        "model": options.model,
        "threads": threads,
        "arguments": [_describe(value) for value in [*positional, *named.values()]],
        "load_us": loading,
        "first_call_us": first,
        "call_us": times,
        "largest_difference": differences,
    }
    lines = [
        f"arguments   {', '.join(data['arguments']) or 'none'}; {threads} threads",
        f"load        {time_text(loading)}",
        f"first call  {time_text(first)}",
    ]
    for name, value in times.items():
        ratio = "" if name == "ingot" else f", {value / times['ingot']:.2f} of ingot's time"
        apart = f", results differ by {differences[name]:.2g}" if name in differences else ""
        lines.append(f"{name:<11} {time_text(value)} per call{ratio}{apart}")
    return Result("\n".join(lines), data)


def _sizes(texts: Sequence[str]) -> dict[str, int]:
    sizes = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name.isidentifier() or not value.isdecimal():
            raise CommandError(f"--size {text}: expected a name of the model's sizes and a number, as s0=32")
        sizes[name] = int(value)
    return sizes


def random_arguments(model: Model, sizes: dict[str, int]) -> list[Any]:
    """Random arguments for the model's first program; sizes that are not given are those of its example, or 1."""
    types = model.argument_types
    known = {
        **dict.fromkeys(sorted(frozenset[str]().union(*(type_symbols(kind) for _, kind in types))), 1),
        **model.examples,
        **sizes,
    }
    return [_random(kind, known) for _, kind in types]


def _random(kind: Type, sizes: dict[str, int]) -> Any:
    match kind:
        case TensorType():
            return random_array(kind.dtype.numpy, tuple(_size(dim, sizes) for dim in kind.shape))
        case BoolType():
            return True
        case IntType():
            return 1 if kind.value is None else _size(kind.value, sizes)
        case FloatType():
            return 1.0
    raise CommandError(f"give the arguments with --input: there is no example of a {kind}")


def _size(dim: Dim, sizes: dict[str, int]) -> int:
    value = substitute(dim, sizes)
    assert isinstance(value, int)
    return value


def measure(candidates: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Microseconds per call: the median over rounds in which the candidates take turns."""
    counts: dict[str, int] = {}
    for name, call in candidates.items():
        counts[name] = 1
        while (spent := _time(call, counts[name])) < min(_SHORTEST_BATCH, seconds):
            counts[name] *= 2
        counts[name] = max(1, int(counts[name] * seconds / _ROUNDS / max(spent, 1e-9)))
    rounds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(_ROUNDS):
        for name, call in candidates.items():
            rounds[name].append(_time(call, counts[name]) / counts[name] * 1e6)
    return {name: median(values) for name, values in rounds.items()}


def _time(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start


def _peer(path: str, arguments: Sequence[Any], threads: int) -> tuple[str, Callable[[], Any]]:
    """A peer's name and the call of its model."""
    if not Path(path).is_file():
        raise CommandError(f"--against {path}: there is no such file")
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        runtime = _require("onnxruntime", path)
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = threads
        session = runtime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        feeds = dict(zip([node.name for node in session.get_inputs()], arguments, strict=False))
        return "onnxruntime", lambda: session.run(None, feeds)
    if suffix in (".pt", ".pth"):
        torch = _require("torch", path)
        torch.set_num_threads(threads)
        loaded = torch.jit.load(path)
        tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]

        def run() -> Any:
            with torch.inference_mode():
                return loaded(*tensors)

        return "torch", run
    raise CommandError(f"--against {path}: expected a .onnx or .pt file")


def _require(module: str, path: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise CommandError(f"--against {path}: {module} is not installed") from None


def _difference(ours: Any, theirs: Any) -> float:
    """The largest absolute difference of the first results."""
    first, second = (value[0] if isinstance(value, (list, tuple)) else value for value in (ours, theirs))
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape:
        raise CommandError(f"the results have different shapes: {list(a.shape)} and {list(b.shape)}", code=1)
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def _describe(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else str(value)
