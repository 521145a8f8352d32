"""Branches and loops: runs what is inside on copies of the state, then joins variables and memory at the end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...ir.core import Block, Value
from ...ir.types import DictType, ListType, SetType, Type, type_symbols
from .context import Context, Exit, PathEnds
from .open_elements import note_local
from .slots import convert, fill, materialise_list, placeholders, rebuild, slot_types
from .specs import (
    ContainerSpec,
    EntriesSpec,
    ListSpec,
    Spec,
    container_type,
    join,
    list_element,
    localise,
    spec_of,
)
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Constant,
    DictItems,
    DictRef,
    Entries,
    Items,
    ListRef,
    ObjectRef,
    RunTimeDict,
    RunTimeItems,
    RunTimeObject,
    RunTimeSet,
    Scalar,
    SetItems,
    SetRef,
    TensorRef,
    Tuple,
    Union,
    constant_key,
)

__all__ = [
    "RESULT",
    "Snapshot",
    "aligned",
    "branch",
    "changes_form",
    "known_cells",
    "choose",
    "content_value",
    "list_type",
    "shared_cells",
    "with_content",
]


RESULT = "$result"
"""The name under which a frame keeps what it returns."""


class Snapshot:
    """The compile-time state at a point, to come back to."""

    def __init__(self, context: Context) -> None:
        self.context = context
        frame = context.frame
        self.frame = frame
        self.variables = dict(frame.variables)
        self.exit = frame.exit
        self.heap = context.heap.copy()
        self.block = context.builder.block
        self.length = len(self.block.instructions)
        self.sizes = context.builder.sizes.save()
        self.symbols = context.builder.sizes.names()
        self.iterating = list(context.iterating)

    def start(self) -> None:
        """Put variables and memory back, keeping instructions and what is known about sizes."""
        context = self.context
        self.frame.variables = dict(self.variables)
        self.frame.exit = self.exit
        context.heap = self.heap.copy()
        context.iterating = list(self.iterating)

    def restore(self) -> None:
        """Undo everything since."""
        self.start()
        del self.block.instructions[self.length :]
        self.context.bound.clear()
        self.context.builder.sizes.load(self.sizes)


@dataclass
class _Arm:
    block: Block
    variables: dict[str, Abstract]
    heap: dict[Cell, Any]
    exit: Exit
    value: Abstract
    dead: bool

    @property
    def returns(self) -> bool:
        """Whether the path surely returns, so that its variables no longer matter."""
        return self.exit.only == Exit.RETURN


def _run(context: Context, body: Callable[[], Abstract]) -> _Arm:
    block = Block()
    frame = context.frame
    dead = False
    value: Abstract = UNBOUND
    with context.inside(block):
        try:
            value = body()
        except PathEnds:
            dead = True
    return _Arm(block, frame.variables, context.heap, frame.exit, value, dead or frame.exit.only == Exit.RAISE)


def branch(
    context: Context,
    condition: Value,
    then: Callable[[], Abstract],
    otherwise: Callable[[], Abstract],
    live: Iterable[str] | None = None,
) -> Abstract:
    """Compile both ways of a run-time condition and join what they leave; the joined value of the two is returned.

    `live` names the variables that matter afterwards (None: all).
    """
    while True:
        before = Snapshot(context)
        arms = []
        for body in (then, otherwise):
            before.start()
            arms.append(_run(context, body))
        lists = _lists_to_materialise(context, before, arms)
        if lists is None:
            return _join_arms(context, before, condition, arms, live)
        before.restore()
        for cell, element in lists:
            materialise_list(context, cell, element)


def _lists_to_materialise(
    context: Context, before: Snapshot, arms: list[_Arm]
) -> list[tuple[Cell, Type | None]] | None:
    """Lists from before whose length differs between the ways, with the type of their elements; None where none do."""
    found: list[tuple[Cell, Type | None]] = []
    live = [a for a in arms if not a.dead]
    for cell in known_cells(context, before.heap, *(a.heap for a in live)):
        content = before.heap[cell]
        if isinstance(content, (Items, DictItems, SetItems, Entries)):
            contents = [a.heap[cell] for a in live]
            if changes_form(content, contents):
                found.append(
                    (cell, list_type(context, before, [content, *contents], [before.heap, *(a.heap for a in live)]))
                )
    return found or None


def known_cells(context: Context, before: dict[Cell, Any], *heaps: dict[Cell, Any]) -> dict[Cell, None]:
    """The cells from before: those in that heap, and those from outside that were first met on the way."""
    return dict.fromkeys([*before, *(c for heap in heaps for c in heap if c in context.initial)])


def changes_form(content: Any, ends: list[Any]) -> bool:
    """Whether a list's length, or what a dict or set has as keys, differs between the ways, or from what it was."""
    forms = {_form(end) for end in ends}
    return (
        len(forms) > 1
        or None in forms
        or (not isinstance(content, Items) and bool(forms) and forms != {_form(content)})
    )


def _form(content: Any) -> Any:
    """The number of a list's elements, a dict's keys, a set's elements; None of what the graph holds."""
    match content:
        case Items(items=items):
            return len(items)
        case DictItems(entries=entries):
            return tuple(constant_key(k) for k, _ in entries)
        case SetItems(items=items):
            return tuple(constant_key(i.value) for i in items if isinstance(i, Constant))
        case Entries():
            return "attributes"
    return None


def list_type(context: Context, before: Snapshot, contents: list[Any], heaps: list[dict[Cell, Any]]) -> Type | None:
    """The type of a list's elements, or of a whole dict, set or object, that holds all of these contents.

    `heaps` are the memories that the contents are of.
    """
    for content in contents:
        if isinstance(content, RunTimeObject):
            return ListType(content.record)
    present = context.heap
    specs = []
    try:
        for content, heap in zip(contents, heaps, strict=True):
            context.heap = heap
            specs.append(_content_spec(context, before, content))
        if isinstance(contents[0], (Items, RunTimeItems)):
            return list_element(context, *specs)
        return container_type(context, *specs)
    finally:
        context.heap = present


def _content_spec(context: Context, before: Snapshot, content: Any) -> Any:
    """What a list, dict or set holds."""

    def spec(value: Abstract) -> Spec:
        return localise(context, spec_of(context, value), before.heap, before.symbols, {})

    if isinstance(content, (RunTimeItems, RunTimeDict)) and not (
        type_symbols(context.builder.resolve(content.element)) <= before.symbols
    ):
        note_local(context, context.builder.resolve(content.element), before.symbols)
        raise context.error(
            "a container whose length is known at run time only holds tensors of different sizes",
            "make the sizes the same (for example by padding), or concatenate the tensors as you go",
        )
    match content:
        case RunTimeItems(element=element):
            return ListSpec(None, element, frozenset())
        case RunTimeDict(key=key, element=element):
            return ContainerSpec("dict", DictType(key, element), (), frozenset())
        case RunTimeSet(element=element):
            return ContainerSpec("set", SetType(element), (), frozenset())
        case DictItems(entries=entries):
            return EntriesSpec(tuple(k for k, _ in entries), tuple(spec(v) for _, v in entries), dict, frozenset())
    made = tuple(spec(i) for i in content.items)
    return (
        ListSpec(made, None, frozenset())
        if isinstance(content, Items)
        else ContainerSpec("set", None, made, frozenset())
    )


# -- joining -----------------------------------------------------------------------------------------------------------


def _cells(context: Context, value: Any, heap: dict[Cell, Any], found: set[Cell]) -> None:
    """Every cell that a value refers to."""
    match value:
        case TensorRef(cell=cell):
            found |= cell.origins
        case Tuple(items=items) | Items(items=items) | Union(alternatives=items):
            for item in items:
                _cells(context, item, heap, found)
        case DictItems(entries=entries):
            for _, item in entries:
                _cells(context, item, heap, found)
        case Entries(attributes=attributes):
            for item in attributes.values():
                _cells(context, item, heap, found)
        case ListRef(cell=held) | DictRef(cell=held) | SetRef(cell=held) | ObjectRef(cell=held):
            if held not in found:
                found |= held.origins
                _cells(context, heap[held], heap, found)


def shared_cells(context: Context, values: list[Abstract], heap: dict[Cell, Any], token: Cell) -> dict[Cell, Cell]:
    """Cells that more than one of the values refers to, each mapped to the token that will stand for them."""
    seen: set[Cell] = set()
    shared: dict[Cell, Cell] = {}
    for value in values:
        cells: set[Cell] = set()
        _cells(context, value, heap, cells)
        for cell in cells & seen:
            shared[cell] = token
        seen |= cells
    return shared


def content_value(content: Any) -> Abstract | None:
    """What a cell holds, as a value to join; None where it is nothing that joins."""
    match content:
        case Value():
            return Scalar(content)
        case Items(items=items):
            return Tuple(items)
        case DictItems(entries=entries):
            return Tuple(tuple(v for _, v in entries))
        case Entries(attributes=attributes):
            return Tuple(tuple(attributes.values()))
    return None


def with_content(content: Any, value: Abstract) -> Any:
    match content:
        case Value():
            assert isinstance(value, (Scalar, TensorRef))
            return value.value
        case Items():
            assert isinstance(value, Tuple)
            return Items(value.items)
        case DictItems(entries=entries):
            assert isinstance(value, Tuple)
            return DictItems(tuple((k, v) for (k, _), v in zip(entries, value.items, strict=True)))
        case Entries(attributes=attributes):
            assert isinstance(value, Tuple)
            return Entries(dict(zip(attributes, value.items, strict=True)))
    return content


def aligned(context: Context, contents: list[Any]) -> list[Any]:
    """Contents of one dict or object on different ways, with the same keys in the same order."""
    if isinstance(contents[0], DictItems):
        keys = [tuple(k for k, _ in c.entries) for c in contents]
        if any(k != keys[0] for k in keys):
            raise context.error(
                "the keys of a dict differ between the two ways of a branch, or change in a loop",
                "give every key a value before the branch or loop",
            )
    elif isinstance(contents[0], Entries):
        names = list(dict.fromkeys(n for c in contents for n in c.attributes))
        return [Entries({n: c.attributes.get(n, UNBOUND) for n in names}) for c in contents]
    return contents


def _join_arms(
    context: Context, before: Snapshot, condition: Value, arms: list[_Arm], live: Iterable[str] | None
) -> Abstract:
    alive = [a for a in arms if not a.dead]
    frame = before.frame
    if not alive:
        for arm in arms:
            with context.inside(arm.block):
                context.builder.yield_([])
        context.builder.emit_all("if", [condition], {}, [a.block for a in arms], ())
        before.start()
        raise PathEnds
    caring = alive if frame.finals else [a for a in alive if not a.returns] or alive
    keep = None if live is None else {*live, *frame.liveness.captured, RESULT}
    token = Cell("shared")
    slots: list[tuple[Spec, list[Abstract | None]]] = []  # per arm: the value to carry, None where none matters
    finish: list[Callable[[Abstract], None]] = []

    variables: dict[str, Abstract] = {}
    names = [n for n in dict.fromkeys(n for a in alive for n in a.variables) if keep is None or n in keep]

    def carry(values: dict[int, Abstract], done: Callable[[Abstract], None]) -> None:
        spec: Spec | None = None
        for index, value in values.items():
            context.heap = arms[index].heap
            one = localise(context, spec_of(context, value, before.heap), before.heap, before.symbols, shared[index])
            spec = one if spec is None else join(context, spec, one)
        assert spec is not None
        slots.append((spec, [values.get(i) for i in range(2)]))
        finish.append(done)

    shared: list[dict[Cell, Cell]] = []
    for arm in arms:
        leaving = [v for n in names if (v := arm.variables.get(n)) is not None and before.variables.get(n) is not v]
        leaving = [] if arm.dead else [*leaving, arm.value]
        shared.append(shared_cells(context, leaving, arm.heap, token))
    for name in names:
        concerned = alive if name == RESULT else caring
        values = {i: a.variables.get(name, UNBOUND) for i, a in enumerate(arms) if a in concerned}
        if name == RESULT:
            values = {i: v for i, v in values.items() if v is not UNBOUND} or values
        first = next(iter(values.values()))
        old = before.variables.get(name)
        if all(v is first for v in values.values()) and (len(values) == 2 or first is old or first is UNBOUND):
            variables[name] = first
            continue
        carry(values, lambda v, n=name: variables.__setitem__(n, v))  # type: ignore[misc]
    heap = before.heap.copy()
    for cell in {c: None for a in alive for c in a.heap}:
        if not context.existed(cell, before.heap):
            continue
        contents = [a.heap[cell] for a in alive]
        if all(c is contents[0] for c in contents) and (len(contents) == 2 or contents[0] is before.heap[cell]):
            heap[cell] = contents[0]
            continue
        contents = aligned(context, contents)
        parts = [content_value(c) for c in contents]
        if parts[0] is None:
            heap[cell] = contents[0]
            continue
        indices = [i for i, a in enumerate(arms) if not a.dead]

        def put(v: Abstract, cell: Cell = cell, content: Any = contents[0]) -> None:
            heap[cell] = with_content(content, v)

        carry({i: p for i, p in zip(indices, parts, strict=True) if p is not None}, put)
    value: Abstract = UNBOUND
    results: list[Abstract] = []
    values = {i: a.value for i, a in enumerate(arms) if a in alive}
    if (
        all(v is next(iter(values.values())) for v in values.values())
        and isinstance(next(iter(values.values())), Constant)
    ) or (len(values) == 1 and isinstance(next(iter(values.values())), Constant)):
        value = next(iter(values.values()))
    else:
        carry(values, results.append)
    ways = frozenset(w for a in alive for w in a.exit.ways)
    if len(ways) > 1:
        codes = {i: _exit_code(context, a) for i, a in enumerate(arms) if a in alive}
        carry(codes, results.append)
    types: list[Type] = []
    for spec, _ in slots:
        types += slot_types(context, spec)
    for index, arm in enumerate(arms):
        context.heap = arm.heap
        frame.exit = Exit()  # converting may branch, too
        with context.inside(arm.block):
            outs: list[Value] = []
            for spec, per_arm in slots:
                found = per_arm[index]
                if found is not None:
                    outs += convert(context, found, spec)
                elif arm.dead:
                    outs += fill(context, slot_types(context, spec))
                else:
                    outs += placeholders(context, spec)
            context.builder.yield_(outs)
    produced = context.builder.emit_all("if", [condition], {}, [a.block for a in arms], tuple(types))
    context.heap = heap
    stream = iter(produced)
    for (spec, _), done in zip(slots, finish, strict=True):
        done(rebuild(context, spec, stream))
    frame.variables = {n: v for n, v in variables.items() if v is not UNBOUND or n == RESULT}
    if len(ways) > 1:
        code = results.pop()
        assert isinstance(code, Scalar)
        frame.exit = Exit(ways, code.value)
    else:
        frame.exit = alive[0].exit
    return results[0] if results else value


def _exit_code(context: Context, arm: _Arm) -> Abstract:
    return Constant(arm.exit.only) if arm.exit.value is None else Scalar(arm.exit.value)


def choose(context: Context, tag: Value, bodies: list[Callable[[], Abstract]]) -> Abstract:
    """Compile the body whose index `tag` is at run time; the last one stands for every further index."""
    if len(bodies) == 1:
        return bodies[0]()
    condition = context.emit("scalar.eq", tag, context.constant(0))

    def rest(start: int) -> Abstract:
        if start == len(bodies) - 1:
            return bodies[start]()
        test = context.emit("scalar.eq", tag, context.constant(start))
        return branch(context, test, bodies[start], lambda: rest(start + 1))

    return branch(context, condition, bodies[0], lambda: rest(1))


# -- loops -------------------------------------------------------------------------------------------------------------
