"""Arguments and results of models as files: .npy, .npz and JSON; and example arguments from their types."""

import json
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CommandError

__all__ = ["describe", "example_value", "read_inputs", "to_plain", "write_outputs"]

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_TYPE = re.compile(r"([a-z]+\d*)\[([\d,\s]*)\]")


def read_inputs(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that `--input` options give, by position and by name: arrays, numbers, and lists of JSON."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for text in texts:
        match = _NAMED.fullmatch(text)
        name, source = (match[1], match[2]) if match else (None, text)
        value = _read(source)
        if isinstance(value, _Archive):
            if name is not None:
                raise CommandError(f"--input {text}: an .npz file has names of its own")
            named |= value.arrays
        elif name is not None:
            named[name] = value
        else:
            positional.append(value)
    return positional, named


class _Archive:
    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays


def _read(source: str) -> Any:
    suffix = Path(source).suffix.lower()
    if suffix in (".npy", ".npz"):
        return _read_numpy(source)
    if source == "-":
        return _parse(sys.stdin.read(), "standard input")
    if suffix == ".json":
        try:
            return _parse(Path(source).read_text(encoding="utf-8"), source)
        except UnicodeDecodeError:
            raise CommandError(f"{source}: not JSON: it is not text") from None
    return _parse(source, f"--input {source}")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = "; a file's name must end in .npy, .npz or .json" if where.startswith("--input") else ""
        raise CommandError(f"{where}: not JSON: {error}{hint}") from None


def _read_numpy(source: str) -> Any:
    try:
        with open(source, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return _Archive({name: loaded[name] for name in loaded.files})
    except OSError as error:
        if error.errno is not None:
            raise
        raise CommandError(f"{source}: not a file of arrays: {error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError, MemoryError, SyntaxError) as error:
        raise CommandError(f"{source}: not a file of arrays: {error}") from None


def write_outputs(files: Sequence[str], leaves: Sequence[Any], result: Any) -> None:
    """Write results: each to its file, or all of them to one .npz or .json."""
    suffixes = [Path(file).suffix.lower() for file in files]
    for file, suffix in zip(files, suffixes, strict=True):
        if suffix not in (".npy", ".npz", ".json"):
            raise CommandError(f"--output {file}: the name must end in .npy, .npz or .json")
    if len(files) == 1 and suffixes[0] == ".json":
        Path(files[0]).write_text(json.dumps(to_plain(result)) + "\n", encoding="utf-8")
    elif len(files) == 1 and suffixes[0] == ".npz":
        arrays: dict[str, Any] = {f"output{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        np.savez(files[0], **arrays)
    elif len(files) != len(leaves):
        raise CommandError(
            f"{len(files)} --output files were given for {len(leaves)} results: give one each, or one .npz or .json"
        )
    else:
        for file, suffix, leaf in zip(files, suffixes, leaves, strict=True):
            if suffix == ".npy":
                np.save(file, np.asarray(leaf), allow_pickle=False)
            else:
                write_outputs([file], [leaf], leaf)


def to_plain(value: Any) -> Any:
    """Nested lists and numbers of a result."""
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return to_plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, complex):
        return [value.real, value.imag]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def describe(value: Any) -> str:
    """A result as text for people."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}\n{value}"
    if isinstance(value, dict):
        return "\n".join(f"{key}: {describe(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return "\n".join(describe(item) for item in value)
    return str(value)


def example_value(text: str) -> Any:
    """The example argument that a text describes: `f32[1, 784]` (random), a number, `true`, or a .npy file.

    >>> example_value("f32[2, 3]").shape
    (2, 3)
    >>> example_value("3")
    3
    """
    from ..ir.dtypes import as_dtype

    match = _TYPE.fullmatch(text.strip())
    if match:
        try:
            dtype = as_dtype(match[1]).numpy
        except (TypeError, ValueError):
            raise CommandError(f"--example {text}: {match[1]!r} is not a dtype") from None
        shape = tuple(int(size) for size in match[2].split(",") if size.strip())
        return random_array(dtype, shape)
    if Path(text).suffix.lower() == ".npy":
        return _read(text)
    try:
        value = json.loads(text)
    except ValueError:
        raise CommandError(
            f"--example {text}: expected dtype and sizes (f32[1,784]), a number, true or false, or a .npy file"
        ) from None
    return np.asarray(value, np.float32) if isinstance(value, list) else value


def random_array(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """An array of reproducible random numbers: normal for floats, 0 and 1 for bools and integers."""
    generator = np.random.default_rng(0)
    if dtype.kind in "biu":
        return generator.integers(0, 2, shape).astype(dtype)
    return generator.standard_normal(shape).astype(dtype)
