"""Makes the graph of a Python function for given argument types: arguments in, results and writes out."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...eager.module import Module
from ...eager.tensor import Tensor
from ...ir.core import Graph, Value
from ...ir.sizes import Sizes
from ...ir.types import DictType, IntType, ListType, SetType, TensorType, Type
from ..errors import ScriptError
from ..tree import Structure, constant_structure, unflatten
from .annotations import check_arguments
from .calls import call_object, inline_function
from .context import Context, Frame, PathEnds
from .lists import from_element
from .liveness import Liveness
from .module_state import ModuleNumber, NeedsState, begin_state, state_results
from .open_elements import OpenSize
from .results import Results
from .self_calls import NeedsFunction, finish_functions
from .source import FunctionSource, function_source
from .unknown import NeedsTypes, unknown_parts
from .values import (
    Abstract,
    Cell,
    Constant,
    DictItems,
    DictRef,
    Entries,
    Items,
    ListRef,
    ObjectRef,
    Scalar,
    TensorRef,
    Tuple,
)

__all__ = ["Specialised", "specialise"]


@dataclass(frozen=True)
class ScriptResult:
    """A graph, the structure of its results, the exceptions it raises, the tensors that it takes from outside by
    parameter name, and the attributes of modules that were taken as constants: (owner, name, value)."""

    graph: Graph
    results: Structure
    exceptions: Mapping[str, type[BaseException]] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    guards: tuple[tuple[Any, str, Any], ...] = ()


Specialised = ScriptResult


def specialise(
    target: Any,
    structure: Structure,
    leaf_types: Sequence[Type],
    sizes: Sizes | None = None,
    *,
    name: str | None = None,
    root: Module | None = None,
    returned: Mapping[Any, Any] | None = None,
    states: dict[tuple[int, str], ModuleNumber] | None = None,
) -> ScriptResult:
    """The graph of a function, method or module for arguments of these types.

    structure: that of `(args, kwargs)`, whose leaves have the given types. `root` is the module whose parameters keep
    their names; `returned` is what ignored functions were seen to return, `states` the numbers in attributes of modules
    that programs assign, to which those of this one are added. ScriptError for what cannot be compiled.
    """
    known: dict[Any, dict[str, Type]] = {}
    open_sizes: set[OpenSize] = set()
    recursive: set[Any] = set()
    refused: ScriptError | None = None
    start = sizes.save() if sizes is not None else None
    for _ in range(_MAX_TRIALS):
        context = Context(name or _name_of(target))
        context.literal_types = known
        context.open_sizes = open_sizes
        context.returned.update(returned or {})
        context.recursive = recursive
        context.states = states if states is not None else {}
        if sizes is not None and start is not None:
            sizes.load(start)
            context.builder.sizes = sizes
        context.keep_identity = refused is not None
        try:
            return _specialise(context, target, structure, leaf_types, root)
        except NeedsFunction as found_function:
            recursive.add(found_function.node)
        except NeedsState as found_state:
            if states is None:
                raise found_state.error from None
            states[id(found_state.found.owner), found_state.found.name] = found_state.found
        except NeedsTypes as found:
            known.setdefault(found.unknown.literal, {})[found.unknown.part] = found.type
        except ScriptError as error:
            # Containers of tensors of different sizes: their types leave these sizes open.
            if not context.differing <= open_sizes:
                open_sizes |= context.differing
                known.clear()
                continue
            # A write that may be to one object or another is decided at run time, where they are kept apart.
            if refused is not None:
                raise refused from None
            if not context.ambiguous:
                raise
            refused = error
    raise context.error("the types of empty containers do not settle", "annotate them: `items: list[int] = []`")


_MAX_TRIALS = 50


def _specialise(
    context: Context, target: Any, structure: Structure, leaf_types: Sequence[Type], root: Module | None
) -> ScriptResult:
    _name_parameters(context, target if isinstance(target, Module) else root)
    leaves = iter(leaf_types)
    arguments: list[tuple[int, Cell, Value]] = []
    values = _Arguments(context, leaves, arguments)
    args, kwargs = structure.children
    names = _parameter_names(target)
    positional = [
        values.build(child, names[i] if i < len(names) else f"arg{i}", (0, i)) for i, child in enumerate(args.children)
    ]
    keywords = {k: values.build(child, k, (1, k)) for k, child in zip(kwargs.keys, kwargs.children, strict=True)}
    _check_annotations(context, target, positional, keywords)
    begin_state(context)
    result: Abstract = Constant(None)
    ended = False
    try:
        result = _call(context, target, positional, keywords)
    except PathEnds:
        ended = True
    return _finish(context, result, arguments, ended, values.objects)


def _check_annotations(
    context: Context, target: Any, positional: list[Abstract], keywords: dict[str, Abstract]
) -> None:
    function = target
    if isinstance(target, Module):
        function = target.__dict__.get("forward") or target.forward
    if isinstance(function, (types.FunctionType, types.MethodType)):
        plain = getattr(function, "__func__", function)
        check_arguments(function, function_source(plain), positional, keywords, context.describe)


def _call(context: Context, target: Any, positional: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    if isinstance(target, types.FunctionType):
        return inline_function(context, target, positional, keywords)
    if isinstance(target, types.MethodType):
        return inline_function(context, target.__func__, [Constant(target.__self__), *positional], keywords)  # type: ignore[arg-type]
    # Errors of the call itself need a place: that of the callable's own definition.
    source = _definition(target)
    if source is None:
        return call_object(context, target, positional, keywords)
    frame = Frame(source, Liveness(), {}, {})
    context.frames.append(frame)
    try:
        return call_object(context, target, positional, keywords)
    finally:
        context.frames.pop()


def _definition(target: Any) -> FunctionSource | None:
    forward = getattr(type(target), "forward", None)
    try:
        return function_source(forward) if forward is not None else None
    except Exception:
        return None


def _name_of(target: Any) -> str:
    name = getattr(target, "__name__", None) or type(target).__name__
    return name if name.isidentifier() else "function"


def _parameter_names(target: Any) -> list[str]:
    function = target
    if isinstance(target, Module):
        function = target.__dict__.get("forward") or type(target).forward
        skip = 0 if "forward" in target.__dict__ else 1
    else:
        skip = 1 if isinstance(target, types.MethodType) else 0
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return list(code.co_varnames[skip : code.co_argcount]) if code is not None else []


def _name_parameters(context: Context, module: Module | None) -> None:
    if module is None:
        return
    for name, inner in module.named_modules():
        context.module_names[id(inner)] = name
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        context.parameter_names.setdefault(id(tensor), name)


class _Arguments:
    """Builds what a function's parameters hold from the structure and types of a call's arguments."""

    def __init__(self, context: Context, leaves: Any, arguments: list[tuple[int, Cell, Value]]) -> None:
        self.context, self.leaves, self.arguments = context, leaves, arguments
        self.objects: dict[tuple[Any, ...], ListRef | DictRef | ObjectRef] = {}  # by the path to them

    def build(self, structure: Structure, name: str, path: tuple[Any, ...]) -> Abstract:
        context = self.context
        match structure.kind:
            case "leaf":
                type = next(self.leaves)
                value = context.builder.argument(name, type)
                if isinstance(type, (ListType, DictType, SetType)):
                    return from_element(context, value)
                if not isinstance(type, TensorType):
                    return Scalar(value)
                cell = Cell("argument", name=name)
                context.initial[cell] = value
                self.arguments.append((len(context.builder.graph.arguments) - 1, cell, value))
                return TensorRef(cell, value, value)
            case "constant":
                return Constant(unflatten(structure, ()))
            case "tuple":
                return Tuple(self.parts(structure, name, path), structure.cls or tuple)
            case "argument":
                return self.objects[structure.keys]
        cls = structure.cls
        if structure.kind == "record" and cls is not None and issubclass(cls, tuple):
            return Tuple(self.parts(structure, name, path), cls)
        reference: ListRef | DictRef | ObjectRef
        cell = Cell("list" if structure.kind == "list" else "dict" if structure.kind == "dict" else "object", name=name)
        if structure.kind in ("list", "dict"):
            reference = ListRef(cell) if structure.kind == "list" else DictRef(cell)
        else:
            assert cls is not None
            reference = ObjectRef(cell, cls)
        self.objects[path] = reference  # before its parts, which may refer to it
        parts = self.parts(structure, name, path)
        match structure.kind:
            case "list":
                context.initial[cell] = Items(parts)
            case "dict":
                context.initial[cell] = DictItems(tuple(zip(structure.keys, parts, strict=True)))
            case _:
                context.initial[cell] = Entries(dict(zip(structure.keys, parts, strict=True)))
        return reference

    def parts(self, structure: Structure, name: str, path: tuple[Any, ...]) -> tuple[Abstract, ...]:
        """What the parts of a container or object hold."""
        steps = structure.keys if structure.kind in ("dict", "record", "object") else range(len(structure.children))
        if structure.kind == "record" and structure.cls is not None and issubclass(structure.cls, tuple):
            steps = range(len(structure.children))
        return tuple(
            [
                self.build(
                    child,
                    f"{name}_{step}" if str(step).isidentifier() or isinstance(step, int) else name,
                    (*path, step),
                )
                for step, child in zip(steps, structure.children, strict=True)
            ]
        )


def _finish(
    context: Context,
    result: Abstract,
    arguments: list[tuple[int, Cell, Value]],
    ended: bool,
    objects: Mapping[tuple[Any, ...], ListRef | DictRef | ObjectRef],
) -> ScriptResult:
    builder = context.builder
    values: list[Value] = []
    structure = constant_structure(None) if ended else Results(context, values, objects).structure(result)
    outputs = len(values)
    writes: list[tuple[int, int]] = []
    if not ended:
        for index, cell, initial in arguments:
            _write_back(context, index, context.heap[cell], initial, values, writes)
        positions = {id(v): i for i, v in enumerate(builder.graph.arguments)}
        for _, reference, _ in context.parameters.values():
            initial = context.initial[reference.cell]
            _write_back(context, positions[id(initial)], context.heap[reference.cell], initial, values, writes)
        for reference, new_value in state_results(context):
            _write_back(context, positions[id(context.initial[reference.cell])], new_value, None, values, writes)
        for cell in context.attributes.values():
            if cell in context.state_tensors:
                continue
            (old,) = context.initial[cell].items
            (new,) = context.heap[cell].items
            index = positions[id(context.initial[old.cell])]
            if new is not old:
                writes[:] = [w for w in writes if w[0] != index]
                _write_back(context, index, context.read(new), None, values, writes)
    finish_functions(context, builder.graph)
    for instruction in builder.graph.walk_all():
        for value in instruction.results:
            for unknown in unknown_parts(value.type):
                raise NeedsTypes(unknown, IntType())  # nothing is ever put in
    builder.return_(values, outputs if len(values) > outputs else None)
    graph = builder.finish()
    graph.writes = writes
    used = _drop_unused(context, graph, len(builder.graph.arguments) - len(context.parameters))
    names = _unique([n for n, _, _ in used])
    graph.parameters = tuple(names)
    for position, name in enumerate(names):
        graph.arguments[len(graph.arguments) - len(names) + position].name = name
    return ScriptResult(
        graph,
        structure,
        dict(context.exceptions),
        dict(zip(names, (t for _, _, t in used), strict=True)),
        tuple(context.guards.values()),
    )


def _write_back(
    context: Context,
    index: int,
    value: Value,
    initial: Value | None,
    values: list[Value],
    writes: list[tuple[int, int]],
) -> None:
    if value is initial:
        return
    for position, existing in enumerate(values):
        if existing is value:
            writes.append((index, position))
            return
    values.append(value)
    writes.append((index, len(values) - 1))


def _drop_unused(context: Context, graph: Graph, first: int) -> list[tuple[str, TensorRef, Tensor]]:
    """Remove parameters that nothing uses (they were met on ways not taken)."""
    used = {id(v) for instruction in graph.walk() for v in instruction.inputs}
    kept: list[tuple[str, TensorRef, Tensor]] = []
    arguments = graph.block.arguments[:first]
    moved = {i: i for i in range(first)}
    by_value = {id(context.initial[entry[1].cell]): entry for entry in context.parameters.values()}
    for position, value in enumerate(graph.block.arguments[first:], first):
        entry = by_value[id(value)]
        if id(value) in used:
            moved[position] = len(arguments)
            value.index = len(arguments)
            arguments.append(value)
            kept.append(entry)
    graph.block.arguments = arguments
    graph.writes = [(moved[a], r) for a, r in graph.writes]
    return kept


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    result = []
    for name in names:
        unique, count = name, 1
        while unique in seen:
            unique, count = f"{name}_{count}", count + 1
        seen.add(unique)
        result.append(unique)
    return result
