"""Loops: the body is compiled under assumptions about what it carries, which are widened until they hold."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...ir.core import Block, Value
from ...ir.types import BoolType, IntType, Type
from .context import Context, Exit, PathEnds
from .regions import (
    RESULT,
    Snapshot,
    aligned,
    branch,
    changes_form,
    content_value,
    known_cells,
    list_type,
    shared_cells,
    with_content,
)
from .slots import agree, convert, fill, materialise_list, placeholders, rebuild, slot_types
from .specs import SameSpec, Spec, TensorSpec, TupleSpec, join, localise, spec_of, widened
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Constant,
    DictItems,
    Entries,
    Items,
    RunTimeDict,
    RunTimeItems,
    RunTimeObject,
    RunTimeSet,
    Scalar,
    SetItems,
    Union,
)

__all__ = [
    "loop",
    "stops",
]

_MAX_TRIALS = 24


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
            context.heap[cell] = with_content(model, rebuild(context, spec, iter(arguments)))
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
    for cell in known_cells(context, before.heap, trial.heap):
        content = before.heap[cell]
        if isinstance(content, (Items, DictItems, SetItems, Entries)):
            end = trial.heap[cell]
            if changes_form(content, [content, end]):
                found.append((cell, list_type(context, before, [content, end], [before.heap, trial.heap])))
    return found


def _with_kept_sizes(context: Context, start: Spec, end: Spec) -> Spec:
    """What an iteration leaves, with the sizes that a tensor had before where in this call it keeps them.

    That it does becomes a condition of the graph.
    """
    start, found = (s.degraded if isinstance(s, SameSpec) else s for s in (start, end))
    if isinstance(start, TensorSpec) and isinstance(found, TensorSpec) and start.kind == found.kind:
        sizes, shape = context.builder.sizes, list(found.shape)
        for axis, (was, now) in enumerate(zip(start.shape, found.shape, strict=True)):
            if was is None or now is None or was == now:
                continue
            hints = sizes.hint(was), sizes.hint(now)
            if None not in hints and hints[0] == hints[1]:
                sizes.equal(was, now, "a loop keeps the sizes of its variables")
                shape[axis] = was
        return end if tuple(shape) == found.shape else TensorSpec(found.type, tuple(shape), found.origins)
    if isinstance(start, TupleSpec) and isinstance(found, TupleSpec) and start.kind == found.kind:
        pairs = zip(start.items, found.items, strict=True)
        return TupleSpec(tuple(_with_kept_sizes(context, a, b) for a, b in pairs), found.type)
    return end


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
    shared = shared_cells(context, list(trial.ends.values()), trial.heap, token)

    def local(spec: Spec) -> Spec:
        return localise(context, spec, before.heap, before.symbols, shared)

    for name in specs:
        end = trial.ends[name]
        ending = local(spec_of(context, end, before.heap))
        ending = _with_kept_sizes(context, local(specs[name]), ending)
        joined = join(context, local(specs[name]), local(ending))
        if joined != specs[name]:
            settled = settled and joined == local(specs[name])
            specs[name] = joined
    for cell in list(trial.heap):
        if not context.existed(cell, before.heap):
            continue
        start, end = before.heap[cell], trial.heap[cell]
        if start is end and cell not in cells:
            continue
        start, end = aligned(context, [start, end])
        if isinstance(end, (RunTimeItems, RunTimeDict, RunTimeSet, RunTimeObject, SetItems)):
            continue
        if context.has_escaped(cell):
            raise context.error(
                "a tensor is written in place while a list that grows in this loop holds it",
                "append a copy: `items.append(x.clone())`",
            )
        first, last = content_value(start), content_value(end)
        assert first is not None and last is not None
        one, two = (local(spec_of(context, v, before.heap)) for v in (first, last))
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
    frame.exit = Exit()  # converting may branch
    with context.inside(block):
        if trial.dead:
            outs = fill(context, [BoolType(), *(a.type for a in block.arguments[1:])])
            outs[0] = context.constant(False)
        else:
            outs = [trial.condition if trial.condition is not None else context.true()]
            for name, spec in specs.items():
                outs += convert(context, trial.ends[name], spec)
            for cell, (spec, model) in cells.items():
                value = content_value(_with_keys(trial.heap[cell], model))
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
        value = content_value(_with_keys(before.heap[cell], model))
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
        entry += placeholders(context, result_spec)
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
        context.heap[cell] = with_content(model, rebuild(context, spec, stream))
    for name, spec in late_specs.items():
        value = rebuild(context, spec, stream)
        if name in after:
            frame.variables[name] = value
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
