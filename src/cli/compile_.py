"""`ingot compile`: a function or module of a Python file, or an ONNX model, to an ingot."""

import argparse
import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .. import jit
from ..eager.tensor import Tensor, wrap
from ..jit.cross import named_target
from ..jit.errors import ScriptError
from ..jit.function import CompiledFunction
from ..nn.module import Module
from .errors import CommandError
from .result import Result
from .units import size_text
from .values import example_value

__all__ = ["command"]


def command(options: argparse.Namespace) -> Result:
    """Compile what the source names, for the example arguments, and save it."""
    for target in options.target:
        try:
            named_target(target)
        except ValueError as error:
            raise CommandError(f"--target {error}") from None
    path, _, name = options.source.partition(":")
    examples = tuple(_tensor(example_value(text)) for text in options.example)
    if path.endswith(".onnx"):
        function = _onnx(path)
        examples = examples or _onnx_examples(function)
    elif path.endswith(".py"):
        if not name:
            raise CommandError(f"{path}: name what to compile, as in {path}:model")
        function = _compiled(_find(Path(path), name), examples, options.trace, options.source)
    else:
        raise CommandError(f"{options.source}: expected FILE.py:NAME or FILE.onnx")
    if options.freeze:
        function = jit.freeze(function)
    if examples:
        function.graph_for(*examples)
    elif not function.specialisations:
        raise CommandError(f"{options.source}: give an example of each argument, as --example 'f32[1,784]'")
    jit.save(function, options.output, targets=options.target)
    fallbacks = [s.fallback.reason for s in function.specialisations if s.fallback is not None]
    size = Path(options.output).stat().st_size
    data = {"written": options.output, "bytes": size, "graphs": len(function.specialisations), "fallbacks": fallbacks}
    return Result(f"wrote {options.output}, {size_text(size)}", data)


def _tensor(value: Any) -> Any:
    return wrap(value) if isinstance(value, np.ndarray) else value


def _find(path: Path, name: str) -> Any:
    """The object of this (dotted) name in a Python file, which is run."""
    if not path.is_file():
        raise CommandError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CommandError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # As for a script: the file's folder comes first, and what looks for the module finds it.
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CommandError(
            f"{path}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise CommandError(f"{path}: has no {name}")
        found = getattr(found, part)
    return found


def _compiled(found: Any, examples: tuple[Any, ...], trace: bool, what: str) -> CompiledFunction:
    """What was found, compiled from its source, or traced if that is asked for or the source has no compiled form."""
    if isinstance(found, type) and issubclass(found, Module):
        found = found()
    if isinstance(found, CompiledFunction):
        return found
    if isinstance(found, Module):
        found.eval()
    if not callable(found):
        raise CommandError(f"a {type(found).__name__} cannot be compiled: name a function or a module")
    has_tensors = any(isinstance(example, Tensor) for example in examples)
    if not trace:
        if isinstance(found, Module) and not examples:
            raise CommandError(f"{what}: give an example of each argument, as --example 'f32[1,784]'")
        try:
            scripted: CompiledFunction = jit.script(found)
            if examples:
                scripted.graph_for(*examples)
            return scripted
        except ScriptError as error:
            if not isinstance(found, Module) or not has_tensors:
                raise
            warnings.warn(f"{what} is traced: {error.message}", stacklevel=1)
    if not has_tensors:
        raise CommandError("give an example of each argument, as --example 'f32[1,784]'")
    return jit.trace(found, examples)


def _onnx_examples(function: Any) -> tuple[Any, ...]:
    """An argument of zeros for each input of an ONNX model; sizes that it leaves open are 2, and stay open."""
    from ..onnx.proto import element_type

    examples = []
    for declared in function._inputs:
        kind = declared.type.tensor_type
        if not declared.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise CommandError(f"the type of the input {declared.name} is open: give examples with --example")
        shape = [dim.dim_value if dim.HasField("dim_value") else 2 for dim in kind.shape.dim]
        examples.append(wrap(np.zeros(shape, element_type(kind.elem_type).numpy)))
    return tuple(examples)


def _onnx(path: str) -> CompiledFunction:
    if not Path(path).is_file():
        raise CommandError(f"{path}: there is no such file")
    try:
        onnx = importlib.import_module("..onnx", __package__)
    except ImportError as error:
        raise CommandError(
            f"{path}: reading ONNX needs the onnx package ({error}): pip install 'ingot[onnx]'"
        ) from None
    function: CompiledFunction = onnx.load(path)
    return function
