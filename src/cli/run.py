"""`ingot run`: a model on inputs from files."""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.types import TensorType, Type
from ..jit.structure import take_apart
from ..runtime import Model, load
from .errors import CommandError
from .result import Result
from .values import describe, read_inputs, to_plain, write_outputs

__all__ = ["command", "method_of", "prepare"]


def command(options: argparse.Namespace) -> Result:
    """Run a model once."""
    model = method_of(load(options.model, trust=options.trust), options.method)
    positional, named = prepare(model, *read_inputs(options.input))
    try:
        model.check(*positional, **named)
    except TypeError as error:
        raise CommandError(str(error)) from None
    result = model(*positional, **named)
    leaves: list[Any] = []
    take_apart(result, leaves, lambda value: isinstance(value, (np.ndarray, np.generic)))
    if options.output:
        write_outputs(options.output, leaves, result)
        lines = [f"wrote {file}" for file in options.output]
        return Result("\n".join(lines), {"written": list(options.output), "outputs": [_kind(x) for x in leaves]})
    return Result(describe(result), {"result": to_plain(result), "outputs": [_kind(leaf) for leaf in leaves]})


def _kind(value: Any) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "shape": list(value.shape)}
    return {"type": type(value).__name__}


def method_of(model: Model, name: str | None) -> Model:
    """The method of a model that was asked for, or the model itself."""
    if name is None or name == "forward":
        return model
    if name not in model.methods:
        raise CommandError(f"--method {name}: the model has {', '.join(['forward', *sorted(model.methods)])}")
    return model.methods[name]


def prepare(model: Model, positional: Sequence[Any], named: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with JSON's lists and numbers as the arrays and floats that the model takes in their places."""
    types = model.argument_types
    by_name = dict(types)
    prepared = [
        _fit(value, types[i][1] if i < len(types) else None, f"argument {i + 1}") for i, value in enumerate(positional)
    ]
    return prepared, {name: _fit(value, by_name.get(name), name) for name, value in named.items()}


def _fit(value: Any, kind: Type | None, what: str) -> Any:
    """A value of JSON as what an argument of this type takes; arrays stay as they are."""
    if isinstance(value, np.ndarray) or not isinstance(kind, TensorType):
        return float(value) if str(kind) == "float" and type(value) is int else value
    try:
        return np.asarray(value, kind.dtype.numpy)
    except (TypeError, ValueError, OverflowError):
        raise CommandError(f"{what}: expected numbers for {kind}, in lists of equal lengths") from None
