"""`try`: its body becomes a region that saves, wherever something changes, what the handlers will find.

An exception leaves a region from any of its instructions, so that the values at its end do not say what variables were
then. After every statement in the body whose end differs from what was saved last, a `save` instruction gives the
`try` the present values; handlers start from what was saved last. What is saved has one form (a spec), which is
widened until all places agree, as that of what a loop carries.
"""

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ...ir.core import Block, Value
from ...ir.exception_names import exception_name
from ...ir.types import IntType, ListType, Type
from . import regions
from .context import Context, Exit, Frame, PathEnds
from .liveness import assigned_names
from .raised import Caught, forget_raised, raised_value
from .regions import RESULT, Snapshot, aligned, changes_form, content_value, list_type, with_content
from .slots import agree, convert, fill, materialise_list, placeholders, rebuild, slot_types
from .specs import Spec, join, localise, spec_of
from .values import (
    NOTHING,
    UNBOUND,
    Abstract,
    Cell,
    Constant,
    DictItems,
    Entries,
    Items,
    RunTimeItems,
    RunTimeObject,
    Scalar,
    SetItems,
)

__all__ = ["protect", "try_statement"]

_MAX_TRIALS = 24


@dataclass(eq=False)
class Region:
    """A `try` being compiled: what it carries, in which form, and what was saved last."""

    name: str
    frame: Frame
    names: list[str]
    before: Snapshot
    specs: dict[str, Spec] = field(default_factory=dict)
    cells: dict[Cell, tuple[Spec, Any]] = field(default_factory=dict)
    result: Spec | None = None
    extra: list[Value] = field(default_factory=list)  # what is passed for the way out and the result by a save
    settled: bool = True
    lists: dict[Cell, Type | None] = field(default_factory=dict)
    last: tuple[list[Abstract], dict[Cell, Any]] | None = None

    def start(self) -> None:
        """Begin a compilation of the body."""
        self.settled, self.last = True, None
        self.lists.clear()

    def spec(self, context: Context, value: Abstract) -> Spec:
        before = self.before
        return localise(context, spec_of(context, value, before.heap), before.heap, before.symbols, {})

    def variable(self, context: Context, name: str) -> Abstract:
        """What a variable holds now, also one that lives in memory while a context manager's generator runs."""
        cell = self.frame.boxes.get(name)
        found: Abstract = (
            self.frame.variables.get(name, UNBOUND)
            if cell is None
            else context.heap[cell].attributes.get(name, UNBOUND)
        )
        return found

    def state(self, context: Context) -> tuple[list[Abstract], dict[Cell, Any]]:
        variables = [self.variable(context, n) for n in self.names]
        return variables, dict(context.heap)

    def widen(self, context: Context) -> None:
        """Make the specs hold what variables and memory are now."""
        for name in self.names:
            found = self.spec(context, self.variable(context, name))
            joined = join(context, self.specs[name], found) if name in self.specs else found
            if joined != self.specs.get(name):
                self.settled, self.specs[name] = False, joined
        for cell in list(context.heap):
            if not context.existed(cell, self.before.heap):
                continue
            start, now = self.before.heap[cell], context.heap[cell]
            if start is now and cell not in self.cells:
                continue
            if isinstance(start, (Items, DictItems, SetItems, Entries)) and changes_form(start, [start, now]):
                self.lists[cell] = list_type(context, self.before, [start, now], [self.before.heap, context.heap])
                self.settled = False
                continue
            start, now = aligned(context, [start, now])
            if isinstance(now, (RunTimeItems, RunTimeObject)):
                continue
            first, last = content_value(start), content_value(now)
            if first is None or last is None:
                continue
            spec = join(context, self.spec(context, first), self.spec(context, last))
            if cell in self.cells:
                spec = join(context, self.cells[cell][0], spec)
            if cell not in self.cells or spec != self.cells[cell][0]:
                self.settled = False
                self.cells[cell] = (spec, start if isinstance(start, Entries) else now)

    def slots(self, context: Context) -> list[Value]:
        """The values of what is carried."""
        found: list[Value] = []
        for name, spec in self.specs.items():
            found += convert(context, self.variable(context, name), spec)
        for cell, (spec, model) in self.cells.items():
            content = context.heap[cell]
            if isinstance(content, RunTimeObject):
                self.lists[cell], self.settled = ListType(content.record), False
                continue
            if isinstance(content, RunTimeItems):  # passing it on under a name made it a list of the graph
                self.lists[cell], self.settled = content.element, False
                continue
            value = content_value(_like(content, model))
            assert value is not None
            found += convert(context, value, spec)
        return found

    def save(self, context: Context) -> None:
        """Save what changed since the last time."""
        state = self.state(context)
        if self.last is not None and _unchanged(self.last, state):
            return
        self.last = state
        self.widen(context)
        if self.settled:
            frame = context.frame
            exit, frame.exit = frame.exit, Exit()  # converting may branch
            context.builder.emit_all("save", [*self.extra, *self.slots(context)], {"name": self.name})
            frame.exit = exit


def _unchanged(a: tuple[list[Abstract], dict[Cell, Any]], b: tuple[list[Abstract], dict[Cell, Any]]) -> bool:
    return all(x is y for x, y in zip(a[0], b[0], strict=True)) and all(
        a[1].get(cell) is content for cell, content in b[1].items()
    )


def _like(content: Any, model: Any) -> Any:
    """An object's attributes in the order of the model, unset ones as unbound."""
    if isinstance(model, Entries) and isinstance(content, Entries):
        return Entries({n: content.attributes.get(n, UNBOUND) for n in model.attributes})
    return content


# -- a protected region ------------------------------------------------------------------------------------------------


@dataclass
class Protected:
    """What came of a region: which handler is to run (0: none) and the error; how control leaves where none does."""

    handler: Value
    error: Value
    exit: Exit
    dead: bool


def protect(
    context: Context, body: Callable[[], None], classes: list[tuple[type[BaseException], ...]], names: Iterable[str]
) -> Protected:
    """Compile a body whose exceptions are caught; variables and memory are then what the body left, or what was saved
    last where something was raised."""
    frame = context.frame
    context.try_count += 1
    before = Snapshot(context)
    region = Region(f"try{context.try_count}", frame, sorted({*names} - {RESULT}), before)
    for name in region.names:
        region.specs[name] = region.spec(context, frame.variables.get(name, UNBOUND))
    ways: frozenset[int] = frozenset({Exit.NONE})
    for _ in range(_MAX_TRIALS):
        region.start()
        for name, spec in region.specs.items():
            agree(context, frame.variables.get(name, UNBOUND), spec)
        region.extra = [context.constant(0)] if len(ways) > 1 else []
        if region.result is not None:
            region.extra += placeholders(context, region.result)
        entry = [*region.extra, *region.slots(context)]
        if region.lists:
            before = _materialise(context, region)
            continue
        block, exit, dead = _run(context, region, body)
        found = Exit(frozenset({Exit.RAISE})) if dead else exit
        result = frame.variables.get(RESULT, UNBOUND)
        returned = None
        if Exit.RETURN in found.ways and result is not UNBOUND:
            returned = region.spec(context, result)
            if region.result is not None:
                returned = join(context, region.result, returned)
        if found.ways != ways or returned != region.result:
            region.settled = False
        if region.settled:
            return _finish(context, region, block, entry, found, dead, classes)
        ways, region.result = found.ways, returned
        if region.lists:
            before = _materialise(context, region)
        else:
            before.restore()
    raise context.error(
        "the types of the variables of this `try` do not settle", "keep the type of a variable the same in its body"
    )


def _materialise(context: Context, region: Region) -> Snapshot:
    """Start again with lists whose length changes in the body as lists of the graph."""
    lists = dict(region.lists)
    region.before.restore()
    for cell, element in lists.items():
        materialise_list(context, cell, element)
    region.before = Snapshot(context)
    region.cells.clear()
    variables = context.frame.variables
    region.specs = {n: region.spec(context, variables.get(n, UNBOUND)) for n in region.names}
    return region.before


def _run(context: Context, region: Region, body: Callable[[], None]) -> tuple[Block, Exit, bool]:
    frame, block, dead = context.frame, Block(), False
    frame.exit = Exit()
    context.tries.append(region)
    try:
        with context.inside(block):
            try:
                body()
            except PathEnds:
                dead = True
            exit = frame.exit
            dead = dead or exit.only == Exit.RAISE
            if not dead:
                region.widen(context)
    finally:
        context.tries.pop()
    return block, exit, dead


def _finish(
    context: Context,
    region: Region,
    block: Block,
    entry: list[Value],
    exit: Exit,
    dead: bool,
    classes: list[tuple[type[BaseException], ...]],
) -> Protected:
    frame, before = region.frame, region.before
    coded = len(exit.ways) > 1
    types: list[Type] = [IntType()] if coded else []
    if region.result is not None:
        types += slot_types(context, region.result)
    for spec in region.specs.values():
        types += slot_types(context, spec)
    for spec, _ in region.cells.values():
        types += slot_types(context, spec)
    with context.inside(block):
        if dead:
            outs = fill(context, types)
        else:
            outs = []
            frame.exit = Exit()
            if coded:
                assert exit.value is not None
                outs.append(exit.value)
            if region.result is not None:
                outs += convert(context, frame.variables[RESULT], region.result)
            outs += region.slots(context)
        context.builder.yield_(outs)
    before.start()
    attributes = {"name": region.name, "catches": _catches(context, classes)}
    results = context.builder.emit_all("try", entry, attributes, [block], (IntType(), IntType(), *types))
    handler, error, *slots = results
    stream = iter(slots)
    if coded:
        exit = Exit(exit.ways, next(stream))
    if region.result is not None:
        frame.variables[RESULT] = rebuild(context, region.result, stream)
    for name, spec in region.specs.items():
        value = rebuild(context, spec, stream)
        if value is not UNBOUND:
            frame.variables[name] = value
        else:
            frame.variables.pop(name, None)
    for cell, (spec, model) in region.cells.items():
        context.heap[cell] = with_content(model, rebuild(context, spec, stream))
    return Protected(handler, error, exit, dead)


# -- statements --------------------------------------------------------------------------------------------------------


def try_statement(context: Context, node: ast.Try) -> None:
    """Compile a `try` statement."""
    if node.finalbody:
        _with_finally(context, node)
    elif node.handlers:
        _with_handlers(context, node)
    else:
        context.run_block([*node.body, *node.orelse])


def _live(context: Context, node: ast.stmt) -> set[str]:
    liveness = context.frame.liveness
    return {*liveness.after.get(node, ()), *liveness.leaving.get(node, ()), *liveness.captured}


def _with_handlers(context: Context, node: ast.Try) -> None:
    frame = context.frame
    classes = [_classes(context, handler) for handler in node.handlers]
    wants = any(h.name is not None for h in node.handlers)
    context.wants_raised += wants
    try:
        protected = protect(
            context,
            lambda: context.run_block(node.body),
            classes,
            assigned_names(node.body)[0] & {*frame.liveness.head.get(node, ()), *frame.liveness.captured},
        )
    finally:
        context.wants_raised -= wants
    live = _live(context, node)

    def normally() -> Abstract:
        frame.exit = protected.exit
        context.run_block(node.orelse)
        return NOTHING

    def handle(handler: ast.ExceptHandler, kinds: tuple[type[BaseException], ...]) -> Abstract:
        with context.at(handler):
            frame.exit = Exit()
            raised = raised_value(context) if wants else Constant(None)
            if wants:
                forget_raised(context)
            caught = Caught.of(Scalar(protected.error), raised, kinds)
            if handler.name is not None:
                frame.variables[handler.name] = caught
            context.checkpoint()
            context.handling.append(caught)
            try:
                context.run_block(handler.body)
            finally:
                context.handling.pop()
            if handler.name is not None:
                frame.variables.pop(handler.name, None)
            return NOTHING

    bodies: list[tuple[int, Callable[[], Abstract]]] = [] if protected.dead else [(0, normally)]
    for number, (handler, kinds) in enumerate(zip(node.handlers, classes, strict=True), 1):
        if any(n == number for _, n in _catches(context, classes)):
            bodies.append((number, lambda h=handler, k=kinds: handle(h, k)))  # type: ignore[misc]
    _choose(context, protected.handler, bodies, live)


def _choose(
    context: Context, number: Value, bodies: list[tuple[int, Callable[[], Abstract]]], live: set[str]
) -> Abstract:
    """Compile the body whose number a run-time int is; the last one stands for what is left."""
    (first, body), rest = bodies[0], bodies[1:]
    if not rest:
        return body()
    test = context.emit("scalar.eq", number, context.constant(first))
    return regions.branch(context, test, body, lambda: _choose(context, number, rest, live), live)


def _classes(context: Context, handler: ast.ExceptHandler) -> tuple[type[BaseException], ...]:
    if handler.type is None:
        return (BaseException,)
    with context.at(handler.type):
        value = context.evaluate(handler.type)
        items = value.items if hasattr(value, "items") else (value,)
        found = tuple(i.value if isinstance(i, Constant) else None for i in items)
        for kind in found:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise context.type_error(
                    "catching classes that do not inherit from BaseException is not allowed",
                    "name an exception class, or a tuple of them",
                )
    return found  # type: ignore[return-value]


def _catches(context: Context, classes: list[tuple[type[BaseException], ...]]) -> tuple[tuple[str, int], ...]:
    """The handler of each class that is named or that the program raises; the first that fits counts."""
    named = [(kind, number) for number, kinds in enumerate(classes, 1) for kind in kinds]
    known = dict.fromkeys((*(k for k, _ in named), *context.exceptions.values()))
    found = ((kind, next((n for k, n in named if issubclass(kind, k)), 0)) for kind in known)
    return tuple((exception_name(kind), number) for kind, number in found if number)


def _with_finally(context: Context, node: ast.Try) -> None:
    frame = context.frame
    inner = ast.copy_location(ast.Try(node.body, node.handlers, node.orelse, []), node)
    frame.liveness.head[inner] = frame.liveness.head.get(node, frozenset())
    live = {*_live(context, node), *frame.liveness.final.get(node, ())}
    frame.liveness.after[inner] = frozenset(live)
    frame.liveness.leaving[inner] = frame.liveness.leaving.get(node, frozenset())
    statements: list[ast.stmt] = [inner] if node.handlers else [*node.body, *node.orelse]
    assigned = assigned_names(statements)[0]
    frame.finals += 1
    try:
        protected = protect(
            context,
            lambda: context.run_block(statements),
            [(BaseException,)],
            assigned & {*live, *frame.liveness.head.get(node, ()), *frame.liveness.captured},
        )
    finally:
        frame.finals -= 1
    frame.exit = Exit()
    context.checkpoint()
    context.run_block(node.finalbody)

    def resume() -> Abstract:
        """Go on as the body left."""
        raised = context.emit("scalar.ne", protected.handler, context.constant(0))

        def again() -> Abstract:
            context.builder.emit_all("reraise", [protected.error])
            raise PathEnds

        if protected.dead:
            again()
        regions.branch(context, raised, again, lambda: NOTHING, None)
        frame.exit = protected.exit
        return NOTHING

    if frame.exit.only == Exit.NONE:
        resume()
    elif frame.exit.only is None and Exit.NONE in frame.exit.ways:
        assert frame.exit.value is not None
        left = Exit(frame.exit.ways - {Exit.NONE}, frame.exit.value if len(frame.exit.ways) > 2 else None)
        normal = context.emit("scalar.eq", frame.exit.value, context.constant(Exit.NONE))

        def leave() -> Abstract:
            frame.exit = left
            return NOTHING

        regions.branch(context, normal, resume, leave, None)
