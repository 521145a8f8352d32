"""Runs one piece of code with PyTorch and with Ingot, and compares what comes out."""

import math
from typing import Any

import numpy as np

TOLERANCE = {"float16": 2e-3, "float32": 2e-5, "complex64": 2e-5}


def run(code: str, library: Any) -> Any:
    """The value of the code's last line, or the exception that it raises; `T` is the library."""

    def x(*shape: int, seed: int = 0, dtype: str = "float32", grad: bool = False, low: float = -2.0) -> Any:
        draws = low + (2.0 - low) * np.random.default_rng([seed, *shape]).random(shape)
        tensor = library.from_numpy(np.asarray(draws.astype(dtype)))
        return tensor.requires_grad_() if grad else tensor

    def i(*shape: int, seed: int = 0, low: int = -5, high: int = 6, dtype: str = "int64") -> Any:
        draws = np.random.default_rng([seed, *shape]).integers(low, high, shape)
        return library.from_numpy(np.asarray(draws, dtype))

    *statements, last = [line for line in code.split("\n") if line.strip()]
    indented = last.startswith((" ", "\t"))
    names: dict[str, Any] = {"T": library, "x": x, "i": i, "np": np, "math": math, "F": library.nn.functional}
    try:
        exec("\n".join([*statements, last] if indented else statements), names)
        return names.get("result") if indented else eval(last, names)
    except Exception as error:
        return error


def difference(theirs: Any, ours: Any, path: str = "result") -> str | None:
    """How the two values differ, in words; None where they agree."""
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        if type(theirs) is type(ours):
            return None
        return f"{path}: torch gives {theirs!r}, ingot {ours!r}"
    if hasattr(theirs, "numpy") and hasattr(theirs, "requires_grad"):
        if not hasattr(ours, "requires_grad"):
            return f"{path}: torch gives a tensor, ingot {type(ours).__name__}"
        return _tensor_difference(theirs, ours, path)
    if isinstance(theirs, dict):
        if not isinstance(ours, dict) or list(theirs) != list(ours):
            return f"{path}: torch gives {theirs!r}, ingot {ours!r}"
        return next((d for k in theirs if (d := difference(theirs[k], ours[k], f"{path}[{k!r}]"))), None)
    if isinstance(theirs, (tuple, list)):
        if not isinstance(ours, (tuple, list)) or len(theirs) != len(ours):
            return f"{path}: torch gives {theirs!r}, ingot {ours!r}"
        pairs = zip(theirs, ours, strict=True)
        return next((d for n, (a, b) in enumerate(pairs) if (d := difference(a, b, f"{path}[{n}]"))), None)
    if isinstance(theirs, float) and isinstance(ours, float):
        same = theirs == ours or (theirs != theirs and ours != ours) or abs(theirs - ours) <= 1e-5 * abs(theirs)
        return None if same else f"{path}: torch gives {theirs}, ingot {ours}"
    if isinstance(theirs, np.ndarray):
        return None if np.array_equal(theirs, ours, equal_nan=True) else f"{path}: {theirs!r} and {ours!r}"
    if isinstance(theirs, str):
        ours, theirs = str(ours), theirs
        return None if theirs == ours.replace("ingot.", "torch.") else f"{path}: torch gives\n{theirs}\ningot\n{ours}"
    if type(theirs).__module__.startswith("torch"):
        a, b = repr(theirs), repr(ours).replace("ingot.", "torch.")
        return None if a == b else f"{path}: torch gives {a}, ingot {b}"
    return None if type(theirs) is type(ours) and theirs == ours else f"{path}: torch gives {theirs!r}, ingot {ours!r}"


def _tensor_difference(theirs: Any, ours: Any, path: str) -> str | None:
    dtype = str(theirs.dtype).removeprefix("torch.")
    if dtype != ours.dtype.name:
        return f"{path}: dtype: torch gives {dtype}, ingot {ours.dtype.name}"
    if tuple(theirs.shape) != tuple(ours.shape):
        return f"{path}: shape: torch gives {list(theirs.shape)}, ingot {list(ours.shape)}"
    if theirs.requires_grad != ours.requires_grad:
        return f"{path}: requires_grad: torch gives {theirs.requires_grad}, ingot {ours.requires_grad}"
    a, b = theirs.detach().resolve_conj().resolve_neg().numpy(), ours.detach().numpy()
    tolerance = TOLERANCE.get(dtype, 1e-9)
    if not np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True):
        return f"{path}: values: torch gives\n{a}\ningot\n{b}"
    return None


def recorded_difference(expected: Any, ours: Any, path: str = "result") -> str | None:
    """How a value differs from an outcome that `record_calls.py` wrote; None where they agree."""
    if isinstance(expected, dict) and "raises" in expected:
        same = isinstance(ours, Exception) and type(ours).__name__ == expected["raises"]
        return None if same else f"{path}: expected {expected['raises']}, got {ours!r}"
    if isinstance(ours, Exception):
        return f"{path}: expected a result, got {ours!r}"
    if isinstance(expected, list):
        if not isinstance(ours, (tuple, list)) or len(ours) != len(expected):
            return f"{path}: expected {len(expected)} values, got {ours!r}"
        pairs = zip(expected, ours, strict=True)
        return next((d for n, (a, b) in enumerate(pairs) if (d := recorded_difference(a, b, f"{path}[{n}]"))), None)
    if not isinstance(expected, dict):
        if isinstance(expected, float) and type(ours) is float:
            return None if np.isclose(expected, ours, 1e-5, equal_nan=True) else f"{path}: {expected} and {ours}"
        return None if type(ours) is type(expected) and ours == expected else f"{path}: {expected!r} and {ours!r}"
    if "entries" in expected:
        keys = [k for k, _ in expected["entries"]]
        if not isinstance(ours, dict) or list(ours) != keys:
            return f"{path}: expected the keys {keys}, got {ours!r}"
        return next((d for k, v in expected["entries"] if (d := recorded_difference(v, ours[k], f"{path}[{k}]"))), None)
    if "complex" in expected:
        return None if ours == complex(*expected["complex"]) else f"{path}: {expected['complex']} and {ours!r}"
    if "string" in expected or "text" in expected:
        text = expected["string"] if "string" in expected else expected["text"]
        found = str(ours) if "string" in expected else repr(ours)
        return None if found == text else f"{path}: expected\n{text}\ngot\n{found}"
    return _recorded_array(expected, ours, path)


def _recorded_array(expected: dict[str, Any], ours: Any, path: str) -> str | None:
    array = ours.detach().numpy() if "tensor" in expected and hasattr(ours, "requires_grad") else ours
    dtype = expected.get("tensor", expected.get("array"))
    if not isinstance(array, np.ndarray) or str(array.dtype) != dtype or list(array.shape) != expected["shape"]:
        return f"{path}: expected {dtype} {expected['shape']}, got {ours!r}"
    if "tensor" in expected and ours.requires_grad != expected.get("requires_grad", False):
        return f"{path}: requires_grad is {ours.requires_grad}"
    values = [complex(*v) if isinstance(v, list) else v for v in expected["values"]]
    wanted = np.array(values, dtype).reshape(array.shape)
    tolerance = TOLERANCE.get(dtype, 1e-7)
    if not np.allclose(array, wanted, rtol=tolerance, atol=tolerance, equal_nan=True):
        return f"{path}: expected\n{wanted}\ngot\n{array}"
    return None
