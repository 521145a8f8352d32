"""Functions of Ingot's own that are written in Python beyond the language: recorded as a trace, with sizes kept open.

A trace needs tensors: it is made with several sets of made-up elements. Where these do not give one graph, the function
looks at elements, and a trace of it would be wrong.
"""

import os
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...eager.parameter import Parameter
from ...eager.tensor import Tensor, wrap
from ...ir.core import Graph, Value
from ...ir.dims import substitute
from ...ir.ops._op import Trait
from ...ir.random_state import Generator
from ...ir.types import TensorType
from ..function import Call
from ..inline_graph import inline_graph
from ..structure import Structure, with_constant_numbers
from ..trace import _differ, _record
from .context import Context
from .regions import Snapshot
from .tensors import _settled, write
from .values import Abstract, Constant, DictRef, Items, ListRef, Scalar, TensorRef, Tuple, View

__all__ = ["is_library", "is_library_file", "traced"]


def is_library(function: types.FunctionType) -> bool:
    """Whether a function is Ingot's own."""
    module: str = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] == "ingot" and not module.startswith("ingot.jit")


_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "")


def is_library_file(file: str) -> bool:
    """Whether a file is of Ingot's own."""
    return file.startswith(_PACKAGE)


class _Unknown(Exception):
    """An argument that a trace cannot be given."""


def traced(
    context: Context,
    function: Callable[..., Any],
    arguments: list[Abstract],
    keywords: dict[str, Abstract],
    before: Snapshot,
) -> Abstract | None:
    """What the call gives, from a trace; None where it cannot be traced. `before` is the state to start from."""
    after = Snapshot(context)
    instructions = context.builder.block.instructions[before.length :]
    before.restore()
    try:
        found = _trace(context, function, arguments, keywords)
    except Exception:
        found = None
    if found is None:
        before.restore()
        context.builder.block.instructions[before.length :] = instructions
        after.start()
    return found


def _trace(
    context: Context, function: Callable[..., Any], arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract | None:
    inputs: list[TensorRef] = []
    graphs: list[Graph] = []
    structure: Structure | None = None
    for fill in _FILLS:
        inputs.clear()
        samples = _Samples(context, inputs, fill)
        given = tuple(samples.python(a) for a in arguments)
        call = Call(given, {k: samples.python(v) for k, v in keywords.items()})
        call.structure, call.leaves = with_constant_numbers(
            call.structure, call.leaves, lambda leaf: not isinstance(leaf, Tensor)
        )
        try:
            recording, structure = _record(function, "library", call, {}, {}, 1.0)
        except np.linalg.LinAlgError:
            continue
        if recording.parameters or recording.conditions or recording.gradients or recording.trains:
            return None
        if any(entry.kind not in _HARMLESS for entry in recording.baked):
            return None
        if graphs and _differ(graphs[0], recording.graph):
            return None
        graphs.append(recording.graph)
        if not inputs:
            break
    if structure is None or len(graphs) < min(2, len(inputs) + 1):
        return None
    graph = graphs[0]
    place = context.location()
    for instruction in graph.walk():
        instruction.location = place
    values = [context.read(tensor) for tensor in inputs]
    symbols: dict[str, Any] = {}
    pairs = []
    for argument, value in zip(graph.arguments, values, strict=True):
        actual = context.type_of(value)
        assert isinstance(argument.type, TensorType) and isinstance(actual, TensorType)
        for dim, size in zip(argument.type.shape, actual.shape, strict=True):
            if not isinstance(dim, int) and dim.is_symbol():
                symbols.setdefault(str(dim), size)
            pairs.append((dim, size))
    for dim, size in pairs:
        context.builder.sizes.equal(substitute(dim, symbols), size, f"{_name(function)} was recorded with these sizes")
    results = inline_graph(context.builder, graph, values)
    known = dict(zip((id(v) for v in values), inputs, strict=True))
    result = _rebuild(context, structure, iter(results), known)
    for position, output in graph.writes:
        write(context, inputs[position], results[output], _name(function))
    return result


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", "function"))


# How elements are made up: at random, and all the same.
_FILLS = (None, 0, 1)
# What a trace may have fixed: what Python knows, sizes (which become conditions), and constants.
_HARMLESS = frozenset({"mode", "size", "tensor"})


class _Samples:
    """Arguments as Python objects, with made-up tensors of the call's sizes."""

    def __init__(self, context: Context, inputs: list[TensorRef], fill: int | None) -> None:
        self.context, self.inputs, self.fill = context, inputs, fill
        self.generator = np.random.default_rng(0)

    def python(self, value: Abstract) -> Any:
        match value:
            case Constant(value=constant):
                if isinstance(constant, (types.FunctionType, types.MethodType)) or not _has_state(constant):
                    return constant
            case TensorRef():
                return self.tensor(value)
            case Tuple(items=items, type=cls):
                parts = [self.python(i) for i in items]
                return cls(*parts) if hasattr(cls, "_fields") else cls(parts)
            case ListRef(cell=cell) if isinstance(content := self.context.heap[cell], Items):
                return [self.python(i) for i in content.items]
            case DictRef():
                return {k: self.python(v) for k, v in self.context.dicts.known_entries(self.context, value)}
            case Scalar():
                settled = _settled(self.context, value)
                if isinstance(settled, int):
                    return settled
        raise _Unknown

    def tensor(self, tensor: TensorRef) -> Tensor:
        type = self.context.tensor_type(tensor)
        sizes = [self.context.builder.sizes.hint(d) for d in type.shape]
        if None in sizes:
            raise _Unknown
        self.inputs.append(tensor)
        shape = tuple(int(s) for s in sizes if s is not None)
        kind = type.dtype.kind
        draws: Any = self.generator.random(shape) if self.fill is None else np.full(shape, self.fill)
        if self.fill is None and kind in "iub":
            draws = self.generator.integers(0, 2, shape)
        elif self.fill is None and kind == "c":
            draws = draws + 1j * self.generator.random(shape)
        return wrap(np.asarray(draws).astype(type.dtype.numpy))


def _has_state(value: Any) -> bool:
    return isinstance(value, (Tensor, Parameter, Generator)) or hasattr(value, "_parameters")


def _rebuild(context: Context, structure: Structure, results: Iterator[Value], known: dict[int, TensorRef]) -> Abstract:
    """The results: inputs as they are, views of them as such, and tensors of their own."""
    match structure.kind:
        case "leaf":
            return _result(context, next(results), known)
        case "constant":
            return Constant(getattr(structure.value, "value", structure.value))
    parts = [_rebuild(context, child, results, known) for child in structure.children]
    if structure.kind in ("tuple", "record") and (structure.cls is None or issubclass(structure.cls, tuple)):
        return Tuple(tuple(parts), structure.cls or tuple)
    if structure.kind == "list":
        return context.lists.new(context, tuple(parts))  # type: ignore[no-any-return]
    raise _Unknown


def _result(context: Context, value: Value, known: dict[int, TensorRef]) -> Abstract:
    if not isinstance(context.type_of(value), TensorType):
        return Scalar(value)
    steps: list[View] = []
    source: Value | None = value
    while source is not None and id(source) not in known:
        made = source.instruction
        if made is None or Trait.VIEW not in made.op.traits:
            return context.new_tensor(value)
        steps.insert(0, View(made.op, tuple(made.operands[1:]), dict(made.attributes)))
        source = made.operands[0]
    if source is None:
        return context.new_tensor(value)
    base = known[id(source)]
    if not steps:
        return base
    return TensorRef(base.cell, value, context.heap[base.cell], (*base.views, *steps))
