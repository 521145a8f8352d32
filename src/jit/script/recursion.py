"""Functions that call themselves: compiled once, as functions of the graph, with what they see as arguments.

Calls are inlined until a function meets itself again under arguments of the same form. Then compilation starts again,
and the function becomes one of the graph: its parameters, the variables of functions around it that it reads, and the
tensors from outside that it uses are arguments; what it returns and what it writes are results. Assumptions about both
are widened until they hold, as those of loops are. At first a call of the function itself is taken not to return, so
that the returns that need no such call say what is returned.
"""

import ast
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ...ir.core import Block, Graph, Value
from ...ir.dims import Dim, DimExpr, substitute, symbols
from ...ir.types import Type, substitute_type, type_symbols
from .context import Context, Exit, Frame, Heap, PathEnds
from .passed import cell_pairs, fit, map_container, parameter_spec, prepare, result_spec
from .regions import aligned, content_value, shared_cells, with_content
from .slots import convert, fill, rebuild, slot_types
from .specs import EntriesSpec, SameSpec, Spec, TensorSpec, TupleSpec, UnionSpec, join, localise, spec_of
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Closure,
    Entries,
    Items,
    Method,
    RunTimeDict,
    RunTimeItems,
    RunTimeSet,
    SetItems,
    TensorRef,
    Tuple,
    Union,
)

__all__ = ["call_function"]

_MAX_TRIALS = 40


# -- a function of the graph -------------------------------------------------------------------------------------------

Key = tuple[str, str, int]  # where an argument comes from: "parameter" or "variable", a name, whose variable


@dataclass(eq=False)
class Function:
    """A function of the graph, as far as it is compiled."""

    name: str
    frame: Frame
    specs: dict[Key, Spec]
    boxes: dict[Cell, Spec]  # variables of functions around that it assigns to
    block: Block = field(default_factory=Block)
    values: dict[Key, Abstract] = field(default_factory=dict)
    entry: dict[Cell, Any] = field(default_factory=dict)  # what memory holds when it is entered
    outside: dict[Cell, Any] = field(default_factory=dict)  # the same of memory from outside the program
    result: Spec | None = None
    written: dict[Cell, tuple[Spec, Any]] = field(default_factory=dict)
    active: bool = True
    changed: bool = False  # whether an assumption was found wrong meanwhile
    unfinished: bool = False  # whether a call of itself was taken not to return
    graph: Graph | None = None

    def from_outside(self, context: Context, cell: Cell) -> Any:
        """Make memory from outside an argument, and say what it holds at first."""
        content = context.initial[cell]
        if isinstance(content, Value):
            content = self.block.add_argument(content.type, cell.name or None)
        self.outside[cell] = content
        self.changed = True  # calls before this did not pass it
        return content


class FunctionHeap(Heap):
    """The heap while a function is compiled: memory from outside that it uses becomes an argument of it.

    Memory of the functions around can be looked at, but is no part of this.
    """

    def __init__(self, context: Context, function: Function, content: dict[Cell, Any], around: dict[Cell, Any]) -> None:
        super().__init__(context, content)
        self.function = function
        self.around = around

    def __missing__(self, cell: Cell) -> Any:
        function = self.function
        if cell not in function.outside and cell not in self.context.initial:
            return self.around[cell]
        return function.outside[cell] if cell in function.outside else function.from_outside(self.context, cell)

    def copy(self) -> "FunctionHeap":
        return FunctionHeap(self.context, self.function, self, self.around)


def call_function(context: Context, frame: Frame, variables: dict[str, Abstract]) -> Abstract:
    """A call of a function that calls itself; what it returns."""
    inputs: dict[Key, Abstract] = {("parameter", n, 0): v for n, v in variables.items()}
    boxes: dict[Cell, None] = {}
    _capture(context, frame, inputs, boxes)
    for value in (*inputs.values(), *(v for b in boxes for v in context.heap[b].attributes.values())):
        prepare(context, value)
    for function in context.functions.get(frame.source.node, []):
        sizes: dict[str, Dim] = {}
        if function.specs.keys() != inputs.keys() or function.boxes.keys() != boxes.keys():
            continue
        fitted = {k: fit(context, s, spec_of(context, inputs[k]), sizes) for k, s in function.specs.items()}
        contents = {b: fit(context, s, _box_spec(context, b), sizes) for b, s in function.boxes.items()}
        if fitted == function.specs and contents == function.boxes:
            return _emit_call(context, function, inputs, sizes)
        if function.active:
            function.specs, function.boxes, function.changed = fitted, contents, True
            raise PathEnds  # this compilation is given up anyway
    function = _compile(context, frame, inputs, list(boxes))
    sizes = {}
    for key, spec in function.specs.items():
        fit(context, spec, spec_of(context, inputs[key]), sizes)
    for box, spec in function.boxes.items():
        fit(context, spec, _box_spec(context, box), sizes)
    return _emit_call(context, function, inputs, sizes)


def _box_spec(context: Context, box: Cell) -> Spec:
    return spec_of(context, Tuple(tuple(context.heap[box].attributes.values())))


def _capture(context: Context, frame: Frame, inputs: dict[Key, Abstract], boxes: dict[Cell, None]) -> None:
    """Add the variables of functions around that a function, or one that it can call, reads or assigns to."""
    pending: list[tuple[ast.AST, Frame | None]] = [(frame.source.node, frame.outer)]
    seen: set[tuple[ast.AST, int]] = set()

    def visit(value: Abstract) -> None:
        match value:
            case Closure(source=source, frame=owner, defaults=defaults, keyword_defaults=named):
                pending.append((source.node, owner))
                for default in (*defaults, *named.values()):
                    visit(default)
            case Tuple(items=items) | Union(alternatives=items):
                for item in items:
                    visit(item)
            case Method(instance=instance):
                visit(instance)

    for value in list(inputs.values()):
        visit(value)
    while pending:
        node, outer = pending.pop()
        if outer is None or (node, id(outer)) in seen:
            continue
        seen.add((node, id(outer)))
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        owner: Frame | None = outer
        while owner is not None:
            for name in sorted(names):
                if name in owner.boxes:
                    boxes[owner.boxes[name]] = None
                elif (value := owner.variables.get(name, UNBOUND)) is not UNBOUND:
                    key = ("variable", name, id(owner))
                    if key not in inputs:
                        inputs[key] = value
                        context.captured_frames[id(owner)] = owner
                        visit(value)
            names -= {n for n in names if n in owner.locals or n in owner.boxes}
            owner = owner.outer


# -- compiling it ------------------------------------------------------------------------------------------------------


def _compile(context: Context, frame: Frame, inputs: dict[Key, Abstract], boxes: list[Cell]) -> Function:
    sizes: dict[Dim, DimExpr] = {}
    specs = {k: parameter_spec(context, spec_of(context, v), sizes) for k, v in inputs.items()}
    contents = {b: parameter_spec(context, _box_spec(context, b), sizes) for b in boxes}
    function = Function(_new_name(context, frame.source.name), frame, specs, contents)
    known = context.functions.setdefault(frame.source.node, [])
    known.append(function)
    try:
        widened: tuple[dict[Key, Spec], dict[Cell, Spec]] | None = None
        for _ in range(_MAX_TRIALS):
            if widened != (function.specs, function.boxes):
                widened = (dict(function.specs), dict(function.boxes))
                _enter(context, function)
            function.changed = function.unfinished = False
            _try_body(context, function)
            if not function.changed:
                function.active = False
                return function
    except BaseException:
        known.remove(function)
        raise
    known.remove(function)
    raise context.error(
        f"the types of what {frame.source.name} takes and returns do not settle",
        "it calls itself: keep the types of its arguments and of what it returns the same in all calls",
    )


def _new_name(context: Context, name: str) -> str:
    plain = name if name.isidentifier() else "function"
    chosen, count = plain, 1
    while chosen in context.function_names:
        chosen, count = f"{plain}_{count}", count + 1
    context.function_names.add(chosen)
    return chosen


def _enter(context: Context, function: Function) -> None:
    """Make the arguments of a function from what is assumed of them; all else that was found is forgotten."""
    function.block, function.outside, function.written = Block(), {}, {}
    function.result = None
    saved, context.heap = context.heap, Heap(context)
    try:
        for key, spec in function.specs.items():
            arguments = [function.block.add_argument(t, key[1]) for t in slot_types(context, spec)]
            function.values[key] = rebuild(context, spec, iter(arguments))
        for box, spec in function.boxes.items():
            arguments = [function.block.add_argument(t, box.name or None) for t in slot_types(context, spec)]
            value = rebuild(context, spec, iter(arguments))
            assert isinstance(value, Tuple)
            context.heap[box] = Entries(dict(zip(saved[box].attributes, value.items, strict=True)))
        function.entry = dict(context.heap)
    finally:
        context.heap = saved


@contextmanager
def _alone(context: Context, function: Function) -> Iterator[None]:
    """Compile into a function: nothing of the state around is there, and nothing of it changes."""
    names = ("heap", "tries", "handling", "wants_raised", "raised_cell", "iterating", "unrollable", "speculative",
             "bound", "blocks", "node", "depth")  # fmt: skip
    saved = {name: getattr(context, name) for name in names}
    context.heap = FunctionHeap(context, function, function.entry, context.heap)
    context.in_functions += 1
    context.tries, context.handling, context.iterating, context.blocks = [], [], [], []
    context.wants_raised = context.unrollable = context.speculative = 0
    context.raised_cell, context.node, context.bound = None, None, {}
    variables: list[tuple[Frame, dict[str, Abstract]]] = []
    frames = len(context.frames)
    for (kind, name, owner), value in function.values.items():
        if kind == "variable":
            outer = context.captured_frames[owner]
            variables.append((outer, outer.variables))
            outer.variables = {**outer.variables, name: value}
    try:
        with context.inside(function.block):
            yield
    finally:
        context.in_functions -= 1
        for outer, before in reversed(variables):
            outer.variables = before
        del context.frames[frames:]
        for name, value in saved.items():
            setattr(context, name, value)


def _try_body(context: Context, function: Function) -> None:
    """Compile the body once under what is assumed; `changed` says whether it was right."""
    from .calls import push_frame
    from .statements import run_body

    function.block.instructions = []
    outer, call = function.frame, context.location()
    with _alone(context, function):
        frame = Frame(outer.source, outer.liveness, outer.globals, outer.closure, outer.outer, place=outer.place)
        frame.cls = outer.cls
        push_frame(context, frame, {k[1]: v for k, v in function.values.items() if k[0] == "parameter"})
        frame.call = call
        result: Abstract | None = None
        with suppress(PathEnds):
            result = run_body(context)
        frame.exit = Exit()  # converting may branch
        if result is not None:
            _settle_result(context, function, result)
            _settle_written(context, function, result)
        elif function.unfinished and function.result is None and not function.changed:
            function.result = _annotated(context, function)
            function.changed = True
        if not function.changed:
            _return(context, function, result)


def _settle_result(context: Context, function: Function, result: Abstract) -> None:
    """Widen what is assumed to be returned by what was."""
    token = Cell("shared")
    shared = shared_cells(context, [result], context.heap, token)
    known = _known_symbols(function)
    spec = spec_of(context, result, function.entry)
    found = result_spec(localise(context, spec, function.entry, known, shared), first=function.result is None)
    joined = found if function.result is None else join(context, function.result, found)
    if joined != function.result:
        # Where it never calls itself with this assumption, the first guess is what it returns.
        function.changed = function.changed or function.unfinished or function.result is not None
        function.result = joined


def _settle_written(context: Context, function: Function, result: Abstract) -> None:
    """Find the memory that the function has written, of its arguments and from outside."""
    for cell, content in list(context.heap.items()):
        start = function.entry.get(cell)
        if start is None and cell in context.initial:
            # Where it is written before it is read, it has to become an argument here.
            start = function.outside.get(cell) or function.from_outside(context, cell)
        if start is None:
            continue
        if content is start or isinstance(content, (RunTimeItems, RunTimeDict, RunTimeSet)):
            continue
        if isinstance(content, SetItems) or (isinstance(start, Items) and len(start.items) != len(content.items)):
            raise context.error(
                f"{function.frame.source.name} calls itself and changes a list, dict or set of elements of several "
                "types, or one from outside the program",
                "pass it as an argument, with elements of one type",
            )
        start, content = aligned(context, [start, content])
        first, last = content_value(start), content_value(content)
        assert first is not None and last is not None
        known = _known_symbols(function)
        specs = [result_spec(localise(context, spec_of(context, v), function.entry, known, {})) for v in (first, last)]
        old = function.written.get(cell)
        joined = join(context, specs[0] if old is None else old[0], specs[1])
        if old is None or joined != old[0]:
            function.written[cell] = (joined, content)
            function.changed = True


def _known_symbols(function: Function) -> frozenset[str]:
    return frozenset().union(*(type_symbols(a.type) for a in function.block.arguments))


def _annotated(context: Context, function: Function) -> Spec:
    """What a function that always calls itself returns, as its annotation says."""
    from .annotations import type_of_annotation

    node = function.frame.source.node
    annotation = node.returns if isinstance(node, ast.FunctionDef) else None
    type = None if annotation is None else type_of_annotation(function.frame, annotation)
    if type is None:
        raise context.error(
            f"{function.frame.source.name} calls itself in every way through it, so that what it returns is not known",
            "let one way return without a call of itself, or annotate what it returns, as in `-> int`",
            node=node,
        )
    from .lists import from_element

    return result_spec(spec_of(context, from_element(context, Value(type))))


def _return(context: Context, function: Function, result: Abstract | None) -> None:
    """End the function: its results are what it returns, and then what it has written."""
    values: list[Value] = []
    if result is None:
        for spec in (function.result, *(s for s, _ in function.written.values())):
            values += fill(context, slot_types(context, spec)) if spec is not None else []
    else:
        assert function.result is not None
        values += convert(context, result, function.result)
        for cell, (spec, model) in function.written.items():
            content = context.heap[cell]
            if isinstance(model, Entries):
                content = Entries({n: content.attributes.get(n, UNBOUND) for n in model.attributes})
            value = content_value(content)
            assert value is not None
            values += convert(context, value, spec)
    context.builder.emit_all("return", values, result_types=())
    function.graph = Graph(function.name, function.block)


# -- calling it --------------------------------------------------------------------------------------------------------


def _emit_call(context: Context, function: Function, inputs: dict[Key, Abstract], sizes: dict[str, Dim]) -> Abstract:
    if function.active and function.result is None:
        function.unfinished = True
        raise PathEnds
    operands: list[Value] = []
    actual: dict[Cell, Abstract] = {}  # for the memory of the function's arguments, what is passed
    for key, parameter in function.specs.items():
        operands += convert(context, inputs[key], parameter)
        actual.update(cell_pairs(context, function.values[key], function.entry, inputs[key]))
    for box, parameter in function.boxes.items():
        held = Tuple(tuple(context.heap[box].attributes.values()))
        operands += convert(context, held, parameter)
        inner = Tuple(tuple(function.entry[box].attributes.values()))
        actual.update(cell_pairs(context, inner, function.entry, held))
    for cell, content in list(function.outside.items()):
        now = context.heap[cell]
        if isinstance(content, Value):
            operands.append(now)
        elif now is not context.initial[cell]:
            raise context.error(
                f"{function.frame.source.name} calls itself and reads something from outside that has changed",
                "pass it as an argument",
            )
    _check_aliases(context, function, actual)
    if context.tries:
        if function.written:
            raise context.error(
                f"{function.frame.source.name} calls itself and writes to tensors or attributes, which a `try` around "
                "its call cannot follow",
                "let it return what it computes, or catch the exception inside it",
            )
        context.forget_raised()
    spec: Spec | None = None
    if function.result is not None:
        spec = _translated(context, function.result, sizes, actual)
    written = [(c, _translated(context, s, sizes, actual), m) for c, (s, m) in function.written.items()]
    types: list[Type] = []
    for one in (spec, *(s for _, s, _ in written)):
        types += slot_types(context, one) if one is not None else []
    results = context.builder.emit_all("call", operands, {"function": function.name}, None, tuple(types))
    stream = iter(results)
    if spec is None:
        raise PathEnds  # it never returns
    result = rebuild(context, spec, stream)
    for cell, one, model in written:
        _write_back(context, function, cell, with_content(model, rebuild(context, one, stream)), actual)
    for inside, outside in actual.items():
        if inside.escaped and isinstance(outside, TensorRef):
            context.escape(outside.cell.origins)
    context.checkpoint()
    return result


def _check_aliases(context: Context, function: Function, actual: dict[Cell, Abstract]) -> None:
    """Refuse a call where something written is, or shares memory with, something else that is passed."""
    for cell in function.written:
        mine = _origins(actual[cell]) if cell in actual else cell.origins
        others = [_origins(v) for c, v in actual.items() if c is not cell]
        others += [c.origins for c in (*function.outside, *function.boxes) if c is not cell]
        if any(mine & other for other in others):
            raise context.error(
                f"{function.frame.source.name} calls itself and writes to an argument that shares memory with another "
                "one, or with something that it uses from outside",
                "pass a copy: `x.clone()`",
            )


def _origins(value: Abstract) -> frozenset[Cell]:
    cell = getattr(value, "cell", None)
    return cell.origins if isinstance(cell, Cell) else frozenset()


def _write_back(context: Context, function: Function, cell: Cell, content: Any, actual: dict[Cell, Abstract]) -> None:
    """What the function has written, put where the caller has it."""
    from .tensors import write

    value = actual.get(cell)
    if isinstance(value, TensorRef):
        write(context, value, content, function.frame.source.name)
        return
    target = getattr(value, "cell", cell)
    if isinstance(content, Value):
        context.check_write(context, target)
    context.heap[target] = content


def _translated(context: Context, spec: Spec, sizes: dict[str, Dim], actual: dict[Cell, Abstract]) -> Spec:
    """A spec of the function as its caller sees it: sizes and memory are those of the call."""

    def dim(size: Dim | None) -> Dim | None:
        if size is None or not symbols(size) <= known:
            return None
        return substitute(size, sizes)

    def of_type(type: Type) -> Type:
        for name in sorted(type_symbols(type) - known):
            sizes[name] = context.builder.sizes.fresh(prefix="d")
        return substitute_type(type, sizes)

    def cells(origins: frozenset[Cell]) -> frozenset[Cell]:
        found: set[Cell] = set()
        for origin in origins:
            found |= _origins(actual[origin]) if origin in actual else {origin}
        return frozenset(found)

    def visit(spec: Spec) -> Spec:
        match spec:
            case SameSpec(cell=cell, value=value, degraded=degraded):
                if cell in actual:
                    value, cell = actual[cell], getattr(actual[cell], "cell", cell)
                return SameSpec(cell, value, visit(degraded))
            case TensorSpec(type=type, shape=shape, origins=origins):
                return TensorSpec(type, tuple(map(dim, shape)), cells(origins))
            case TupleSpec(items=items, type=cls):
                return TupleSpec(tuple(map(visit, items)), cls)
            case EntriesSpec(keys=keys, items=items, type=cls, origins=origins):
                return EntriesSpec(keys, tuple(map(visit, items)), cls, cells(origins))
            case UnionSpec(alternatives=alternatives):
                return UnionSpec(tuple(map(visit, alternatives)))
        return map_container(spec, visit, of_type, cells)

    known = frozenset(sizes) | _outer_symbols(context)
    return visit(spec)


def _outer_symbols(context: Context) -> frozenset[str]:
    return frozenset(context.builder.sizes.hints)
