"""Branches and loops: runs what is inside on copies of the state, then joins variables and memory at the end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...ir.core import Block, Value
from ...ir.types import BoolType, IntType, Type
from .context import Context, Exit, PathEnds
from .join import (
    ConstantSpec,
    EntriesSpec,
    ListSpec,
    Spec,
    TupleSpec,
    agree,
    convert,
    fill,
    join,
    list_element,
    localise,
    materialise_list,
    rebuild,
    slot_types,
    spec_of,
    widened,
)
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Constant,
    DictItems,
    Entries,
    Items,
    RunTimeItems,
    Scalar,
    TensorRef,
    Tuple,
    Union,
)

__all__ = ["RESULT", "Snapshot", "branch", "choose", "loop", "stops"]

RESULT = "$result"
"""The name under which a frame keeps what it returns."""

_MAX_TRIALS = 24


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
    for cell, content in before.heap.items():
        if not isinstance(content, Items):
            continue
        contents = [a.heap[cell] for a in live]
        lengths = {len(c.items) if isinstance(c, Items) else None for c in contents}
        if len(lengths) > 1 or None in lengths:
            found.append((cell, _list_type(context, before, [content, *contents])))
    return found or None


def _list_type(context: Context, before: Snapshot, contents: list[Any]) -> Type | None:
    specs = []
    for content in contents:
        if isinstance(content, RunTimeItems):
            specs.append(ListSpec(None, content.element, frozenset()))
        else:
            items = tuple(
                localise(context, spec_of(context, i), before.heap, before.symbols, {}) for i in content.items
            )
            specs.append(ListSpec(items, None, frozenset()))
    return list_element(context, *specs)


# -- joining ------------------------------------------------------------------------------------------------------------


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
        case Abstract() if (cell := getattr(value, "cell", None)) is not None:
            if cell not in found:
                found |= cell.origins
                _cells(context, heap[cell], heap, found)


def _shared(context: Context, values: list[Abstract], heap: dict[Cell, Any], token: Cell) -> dict[Cell, Cell]:
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


def _content_value(content: Any) -> Abstract | None:
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


def _with_content(content: Any, value: Abstract) -> Any:
    match content:
        case Value():
            assert isinstance(value, Scalar)
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


def _aligned(context: Context, contents: list[Any]) -> list[Any]:
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
    caring = [a for a in alive if not a.returns] or alive
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
        shared.append(_shared(context, leaving, arm.heap, token))
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
        if cell.kind == "escape":
            heap[cell] = True
            continue
        if not context.existed(cell, before.heap):
            continue
        contents = [a.heap[cell] for a in alive]
        if all(c is contents[0] for c in contents) and (len(contents) == 2 or contents[0] is before.heap[cell]):
            heap[cell] = contents[0]
            continue
        contents = _aligned(context, contents)
        parts = [_content_value(c) for c in contents]
        if parts[0] is None:
            heap[cell] = contents[0]
            continue
        indices = [i for i, a in enumerate(arms) if not a.dead]

        def put(v: Abstract, cell: Cell = cell, content: Any = contents[0]) -> None:
            heap[cell] = _with_content(content, v)

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
        with context.inside(arm.block):
            outs: list[Value] = []
            for spec, per_arm in slots:
                found = per_arm[index]
                outs += convert(context, found, spec) if found is not None else fill(context, slot_types(context, spec))
            context.builder.yield_(outs)
    produced = context.builder.emit_all("if", [condition], {}, [a.block for a in arms], tuple(types))
    for arm in alive:  # what became an element of a run-time list just now
        heap.update((c, True) for c in arm.heap if c.kind == "escape")
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


# -- loops --------------------------------------------------------------------------------------------------------------


@dataclass
class _Trial:
    """One compilation of a loop's body under assumptions about what is carried."""

    block: Block
    ends: dict[str, Abstract]
    heap: dict[Cell, Any]
    condition: Value | None
    exit: Exit
    dead: bool
    result: Abstract


def loop(
    context: Context,
    trip_count: Value | None,
    condition: Value | None,
    body: Callable[[Value], None],
    test: Callable[[], Value | None] | None,
    *,
    assigned: set[str],
    augmented: set[str],
    live: Iterable[str],
    live_after: Iterable[str],
    wants_break: bool,
) -> Value | None:
    """Compile a loop; `body(iteration)` compiles one iteration and `test()` the condition of the next (None: true).

    Returns whether the loop ended by `break`, where `wants_break` asks for it and it may have.
    """
    frame = context.frame
    keep = {*live, *frame.liveness.captured}
    names = sorted(n for n in assigned if n in keep)
    before = Snapshot(context)
    specs: dict[str, Spec] = {}

    def enter(entering: list[str]) -> None:
        for name in entering:
            entry = spec_of(context, frame.variables.get(name, UNBOUND), before.heap)
            local = localise(context, entry, before.heap, before.symbols, {})
            specs[name] = widened(local, identity=name in augmented)

    cells: dict[Cell, tuple[Spec, Any]] = {}  # memory written in the loop: its description, and a model of its form
    token = Cell("shared")
    # Names that get their first value in the loop matter to its body only where an iteration reads them before.
    late = [n for n in names if frame.variables.get(n, UNBOUND) is UNBOUND]
    enter([n for n in names if n not in late])
    for _ in range(_MAX_TRIALS):
        trial = _try_body(context, before, body, test, specs, cells, names)
        lists = _loop_lists(context, before, trial)
        if lists:
            before.restore()
            for cell, element in lists:
                materialise_list(context, cell, element)
            before = Snapshot(context)
            enter(list(specs))
            cells = {}
            continue
        early = [n for n in late if (frame, n) in context.unbound_reads or _maybe_unbound(trial.ends[n])]
        late = [n for n in late if n not in early]
        specs.update(dict.fromkeys(early, spec_of(context, UNBOUND)))
        settled = _settle(context, before, trial, specs, cells, token)
        if settled and not early:
            after = [n for n in late if trial.ends[n] is not UNBOUND and not trial.dead]
            for name in after:
                context.heap = trial.heap
                end = spec_of(context, trial.ends[name], before.heap)
                specs[name] = join(
                    context, spec_of(context, UNBOUND), localise(context, end, before.heap, before.symbols, {})
                )
            return _finish_loop(
                context, before, trip_count, condition, trial, specs, after, cells, live_after, wants_break
            )
        before.restore()
    raise context.error(
        "the types of this loop's variables do not settle",
        "keep the type of a variable the same in all iterations",
    )


def _try_body(
    context: Context,
    before: Snapshot,
    body: Callable[[Value], None],
    test: Callable[[], Value | None] | None,
    specs: dict[str, Spec],
    cells: dict[Cell, tuple[Spec, Any]],
    names: list[str],
) -> _Trial:
    frame = before.frame
    context.unbound_reads.clear()
    block = Block()
    iteration = block.add_argument(IntType(), "i")
    before.start()
    for name, spec in specs.items():
        agree(context, frame.variables.get(name, UNBOUND), spec)
    dead = False
    next_condition: Value | None = None
    with context.inside(block):
        for name, spec in specs.items():
            arguments = [block.add_argument(t, name) for t in slot_types(context, spec)]
            frame.variables[name] = rebuild(context, spec, iter(arguments))
        for cell, (spec, model) in cells.items():
            arguments = [block.add_argument(t, cell.name or None) for t in slot_types(context, spec)]
            context.heap[cell] = _with_content(model, rebuild(context, spec, iter(arguments)))
        for name in specs:
            if frame.variables[name] is UNBOUND:
                del frame.variables[name]
        frame.exit = Exit()
        try:
            body(iteration)
            exit = frame.exit
            dead = exit.only == Exit.RAISE
            if not dead:
                next_condition = _next_condition(context, test)
        except PathEnds:
            dead = True
        exit = Exit(frozenset({Exit.RAISE})) if dead else exit
    ends = {n: frame.variables.get(n, UNBOUND) for n in names}
    return _Trial(block, ends, context.heap, next_condition, exit, dead, frame.variables.get(RESULT, UNBOUND))


def stops(context: Context, exit: Exit, ways: tuple[int, ...]) -> Value | None:
    """Whether control left in one of these ways; None where it surely did not."""
    possible = [w for w in ways if w in exit.ways]
    if not possible:
        return None
    if exit.value is None:
        return context.true()
    result = context.emit("scalar.eq", exit.value, context.constant(possible[0]))
    for way in possible[1:]:
        other = context.emit("scalar.eq", exit.value, context.constant(way))
        result = context.emit("scalar.or_", result, other)
    return result


def _maybe_unbound(value: Abstract) -> bool:
    return isinstance(value, Union) and UNBOUND in value.alternatives


def _next_condition(context: Context, test: Callable[[], Value | None] | None) -> Value | None:
    frame = context.frame
    exit = frame.exit
    frame.exit = Exit()
    if exit.only in (Exit.BREAK, Exit.RETURN):
        return context.constant(False)
    stopped = stops(context, exit, (Exit.BREAK, Exit.RETURN))
    if stopped is None:
        return None if test is None else test()
    if test is None:
        return context.emit("scalar.not_", stopped)

    def go_on() -> Abstract:
        value = test()
        return Constant(True) if value is None else Scalar(value)

    result = branch(context, stopped, lambda: Constant(False), go_on)
    return result.value if isinstance(result, Scalar) else context.constant(result.value)  # type: ignore[attr-defined]


def _loop_lists(context: Context, before: Snapshot, trial: _Trial) -> list[tuple[Cell, Type | None]]:
    if trial.dead:
        return []
    found: list[tuple[Cell, Type | None]] = []
    for cell, content in before.heap.items():
        if isinstance(content, Items):
            end = trial.heap[cell]
            if not isinstance(end, Items) or len(end.items) != len(content.items):
                found.append((cell, _list_type(context, before, [content, end])))
    return found


def _settle(
    context: Context,
    before: Snapshot,
    trial: _Trial,
    specs: dict[str, Spec],
    cells: dict[Cell, tuple[Spec, Any]],
    token: Cell,
) -> bool:
    """Widen what is carried by what the iteration left; whether nothing changed."""
    if trial.dead:
        return True
    settled = True
    shared = _shared(context, list(trial.ends.values()), trial.heap, token)

    def local(spec: Spec) -> Spec:
        return localise(context, spec, before.heap, before.symbols, shared)

    for name in specs:
        end = trial.ends[name]
        joined = join(context, local(specs[name]), local(spec_of(context, end, before.heap)))
        if joined != specs[name]:
            settled = settled and joined == local(specs[name])
            specs[name] = joined
    for cell in list(trial.heap):
        if cell.kind == "escape" or not context.existed(cell, before.heap):
            continue
        start, end = before.heap[cell], trial.heap[cell]
        if start is end and cell not in cells:
            continue
        start, end = _aligned(context, [start, end])
        if isinstance(end, RunTimeItems):
            continue
        if context.has_escaped(cell):
            raise context.error(
                "a tensor is written in place while a list that grows in this loop holds it",
                "append a copy: `items.append(x.clone())`",
            )
        values = [_content_value(start), _content_value(end)]
        assert values[0] is not None and values[1] is not None
        one, two = (local(spec_of(context, v, before.heap)) for v in values)
        if isinstance(start, Entries):
            model: Any = start
        else:
            model = end
        old = cells[cell][0] if cell in cells else None
        one = widened(one, identity=True) if not isinstance(start, Value) else one
        joined = join(context, one if old is None else local(old), two)
        if joined != old:
            settled = settled and old is not None and joined == local(old)
            cells[cell] = (joined, model)
    return settled


def _finish_loop(
    context: Context,
    before: Snapshot,
    trip_count: Value | None,
    condition: Value | None,
    trial: _Trial,
    specs: dict[str, Spec],
    late: list[str],
    cells: dict[Cell, tuple[Spec, Any]],
    live_after: Iterable[str],
    wants_break: bool,
) -> Value | None:
    frame = before.frame
    block = trial.block
    returns = Exit.RETURN in trial.exit.ways
    breaks = wants_break and Exit.BREAK in trial.exit.ways
    result_spec: Spec | None = None
    if returns and trial.result is not UNBOUND:
        context.heap = trial.heap
        result_spec = localise(context, spec_of(context, trial.result, before.heap), before.heap, before.symbols, {})
    # -- the end of an iteration
    context.heap = trial.heap
    late_specs = {n: specs.pop(n) for n in late}
    for name, spec in late_specs.items():
        for type in slot_types(context, spec):
            block.add_argument(type, name)
    flags = [w for w, wanted in ((Exit.RETURN, returns), (Exit.BREAK, breaks)) if wanted]
    for _ in flags:
        block.add_argument(BoolType())
    if result_spec is not None:
        for type in slot_types(context, result_spec):
            block.add_argument(type)
    with context.inside(block):
        if trial.dead:
            outs = fill(context, [BoolType(), *(a.type for a in block.arguments[1:])])
            outs[0] = context.constant(False)
        else:
            outs = [trial.condition if trial.condition is not None else context.true()]
            for name, spec in specs.items():
                outs += convert(context, trial.ends[name], spec)
            for cell, (spec, model) in cells.items():
                value = _content_value(_with_keys(trial.heap[cell], model))
                assert value is not None
                outs += convert(context, value, spec)
            for name, spec in late_specs.items():
                outs += convert(context, trial.ends[name], spec)
            for way in flags:
                stopped = stops(context, trial.exit, (way,))
                outs.append(stopped if stopped is not None else context.constant(False))
            if result_spec is not None:
                outs += convert(context, trial.result, result_spec)
        context.builder.yield_(outs)
    # -- the loop itself
    before.start()
    entry: list[Value] = []
    types: list[Type] = []
    for name, spec in specs.items():
        entry += convert(context, frame.variables.get(name, UNBOUND), spec)
        types += slot_types(context, spec)
    for cell, (spec, model) in cells.items():
        value = _content_value(_with_keys(before.heap[cell], model))
        assert value is not None
        entry += convert(context, value, spec)
        types += slot_types(context, spec)
    for spec in late_specs.values():
        entry += convert(context, UNBOUND, spec)
        types += slot_types(context, spec)
    for _ in flags:
        entry.append(context.constant(False))
        types.append(BoolType())
    if result_spec is not None:
        entry += fill(context, slot_types(context, result_spec))
        types += slot_types(context, result_spec)
    first = condition if condition is not None else context.true()
    results = context.builder.emit_all("loop", [trip_count, first, *entry], {}, [block], tuple(types))
    stream = iter(results)
    after = {*live_after, *frame.liveness.captured, RESULT}
    for name, spec in specs.items():
        value = rebuild(context, spec, stream)
        if value is not UNBOUND and name in after:
            frame.variables[name] = value
        else:
            frame.variables.pop(name, None)
    for cell, (spec, model) in cells.items():
        context.heap[cell] = _with_content(model, rebuild(context, spec, stream))
    for name, spec in late_specs.items():
        value = rebuild(context, spec, stream)
        if name in after:
            frame.variables[name] = value
    for cell in trial.heap:
        if cell.kind == "escape":
            context.heap[cell] = True
    flagged = {way: next(stream) for way in flags}
    if result_spec is not None:
        frame.variables[RESULT] = rebuild(context, result_spec, stream)
    frame.exit = Exit()
    if returns:
        code = context.emit("scalar.mul", context.emit("scalar.to_int", flagged[Exit.RETURN]), context.constant(3))
        frame.exit = Exit(frozenset({Exit.NONE, Exit.RETURN}), code)
    return flagged.get(Exit.BREAK)


def _with_keys(content: Any, model: Any) -> Any:
    """An object's attributes in the order of the model, unset ones as unbound."""
    if isinstance(model, Entries) and isinstance(content, Entries):
        return Entries({n: content.attributes.get(n, UNBOUND) for n in model.attributes})
    return content


__all__ += ["ConstantSpec", "EntriesSpec", "TupleSpec"]
