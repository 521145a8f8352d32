"""`while` and `for` statements: loops of the graph, or iterations one after another where items are known."""

import ast
from collections.abc import Callable, Iterable
from typing import Any

from ...ir.core import Value
from ..errors import ScriptError
from . import iteration, regions
from .context import Context, Exit, NeedsUnroll
from .liveness import assigned_names
from .loops import loop, stops
from .names import apply_narrowings, narrowings
from .operators import truth
from .regions import Snapshot
from .values import (
    NOTHING,
    Abstract,
    Constant,
    Scalar,
    Sequence,
)

__all__ = [
    "counted_loop",
    "for_statement",
    "unrolled",
    "while_statement",
]

_UNROLL_LIMIT = 256
_RETRY_LIMIT = 64


def _as_test(value: bool | Value, context: Context) -> Value | None:
    if isinstance(value, bool):
        return None if value else context.constant(False)
    return value


def while_statement(context: Context, node: ast.While) -> None:
    frame = context.frame
    first = truth(context, context.evaluate(node.test))
    if first is False:
        context.run_block(node.orelse)
        return

    def body(iteration_value: Value) -> None:
        changed = apply_narrowings(context, narrowings(context, node.test, True))
        del changed
        context.run_block(node.body)

    def test() -> Value | None:
        with context.at(node):
            return _as_test(truth(context, context.evaluate(node.test)), context)

    assigned, augmented = assigned_names([node])
    broke = loop(
        context,
        None,
        None if first is True else first,
        body,
        test,
        assigned=assigned,
        augmented=augmented,
        live=frame.liveness.head.get(node, frozenset()),
        live_after={*frame.liveness.after.get(node, ()), *_reads_of(node.orelse, frame, node)},
        wants_break=bool(node.orelse),
    )
    _orelse(context, node, node.orelse, broke)


def _reads_of(orelse: list[ast.stmt], frame: Any, node: ast.stmt) -> Iterable[str]:
    return frame.liveness.head.get(node, ()) if orelse else ()


def _orelse(context: Context, node: ast.stmt, orelse: list[ast.stmt], broke: Value | None) -> None:
    """The `else` of a loop, run where it did not end by `break`."""
    if not orelse:
        return
    if broke is None:
        context.run_block(orelse)
        return

    def run() -> Abstract:
        context.run_block(orelse)
        return NOTHING

    regions.branch(context, broke, lambda: NOTHING, run, context.frame.liveness.after.get(node, frozenset()))


def counted_loop(
    context: Context,
    node: Any,
    sequence: Sequence,
    body: Callable[[Abstract], None],
    assigned: set[str],
    augmented: set[str],
    live: Iterable[str],
    live_after: Iterable[str],
    wants_break: bool = False,
) -> Value | None:
    """A loop over a sequence by index, which `body` takes; iterations one after another where only that compiles."""
    length = sequence.length

    def run(count: Value) -> Value | None:
        def one(iteration_value: Value) -> None:
            context.nonnegative.add(iteration_value)
            watched = [p for p in sequence.parts if sequence.kind != "range" and getattr(p, "kind", "") == "list"]
            context.iterating += watched
            body(Scalar(iteration_value))

        return loop(
            context, count, None, one, None, assigned=assigned, augmented=augmented, live=live,
            live_after=live_after, wants_break=wants_break,
        )  # fmt: skip

    if isinstance(length, int) and length <= _UNROLL_LIMIT:
        before = Snapshot(context)
        context.unrollable += 1
        refused: ScriptError | None = None
        try:
            return run(context.constant(length))
        except NeedsUnroll:
            before.restore()
        except ScriptError as error:
            if length > _RETRY_LIMIT:
                raise
            # One after another, iterations may know what a loop cannot: the counter, sizes, what aliases what.
            before.restore()
            refused = error
        finally:
            context.unrollable -= 1
        try:
            return unrolled(context, [lambda i=i: body(Constant(i)) for i in range(length)], live)  # type: ignore[misc]
        except ScriptError as error:
            raise error from refused
    assert length is not None
    return run(context.int_value(length))


def unrolled(context: Context, steps: list[Callable[[], None]], live: Iterable[str]) -> Value | None:
    """Iterations one after another; whether they ended by `break`, where that is possible."""
    _steps(context, steps, live)
    frame = context.frame
    exit = frame.exit
    breaks = Exit.BREAK in exit.ways
    if exit.only is not None:
        if exit.only in (Exit.BREAK, Exit.CONTINUE):
            frame.exit = Exit()
        return context.true() if exit.only == Exit.BREAK else None
    assert exit.value is not None
    broke = context.emit("scalar.eq", exit.value, context.constant(Exit.BREAK)) if breaks else None
    if Exit.RETURN in exit.ways:
        returned = context.emit("scalar.eq", exit.value, context.constant(Exit.RETURN))
        code = context.emit("scalar.mul", context.emit("scalar.to_int", returned), context.constant(Exit.RETURN))
        frame.exit = Exit(frozenset({Exit.NONE, Exit.RETURN}), code)
    else:
        frame.exit = Exit()
    return broke


def _steps(context: Context, steps: list[Callable[[], None]], live: Iterable[str]) -> None:
    frame = context.frame
    for position, step in enumerate(steps):
        frame.exit = Exit()
        step()
        exit = frame.exit
        if exit.ways <= {Exit.NONE, Exit.CONTINUE}:
            frame.exit = Exit()
            continue
        if exit.only is not None:
            return
        stopped = stops(context, exit, (Exit.BREAK, Exit.RETURN))
        assert stopped is not None
        if position == len(steps) - 1:
            return

        def leave(exit: Exit = exit) -> Abstract:
            kept = exit.ways & {Exit.BREAK, Exit.RETURN}
            frame.exit = Exit(kept, exit.value if len(kept) > 1 else None)
            return NOTHING

        def go_on(rest: list[Callable[[], None]] = steps[position + 1 :]) -> Abstract:
            frame.exit = Exit()
            _steps(context, rest, live)
            if frame.exit.ways == {Exit.CONTINUE}:
                frame.exit = Exit()
            return NOTHING

        regions.branch(context, stopped, leave, go_on, live)
        return


def for_statement(context: Context, node: ast.For) -> None:
    frame = context.frame
    with context.at(node.iter):
        sequence = iteration.iterate(context, context.evaluate(node.iter))
    live = frame.liveness.head.get(node, frozenset())

    def body(item: Abstract) -> None:
        with context.at(node.target):
            context.assign(node.target, item)
        context.run_block(node.body)

    if sequence.items is not None:
        if sequence.parts:  # elements of lists that the body may assign
            steps: list[Callable[[], None]] = [
                lambda i=i: body(sequence.element(Constant(i)))  # type: ignore[misc]
                for i in range(len(sequence.items))
            ]
        else:
            steps = [lambda item=item: body(item) for item in sequence.items]  # type: ignore[misc]
        before = len(context.iterating)
        context.iterating += [p for p in sequence.parts if getattr(p, "kind", "") in ("list", "outside list")]
        broke = unrolled(context, steps, live)
        del context.iterating[before:]
    elif sequence.length == 0:
        broke = None
    else:
        assigned, augmented = assigned_names([node])
        bind = sequence.kind in ("range", "enumerate", "reversed") and _indexes(node)

        def step(index: Abstract) -> None:
            if bind and isinstance(index, Scalar):
                index = Scalar(context.as_size(index.value))
            body(sequence.element(index))

        broke = counted_loop(
            context,
            node,
            sequence,
            step,
            assigned,
            augmented,
            live,
            {*frame.liveness.after.get(node, ()), *_reads_of(node.orelse, frame, node)},
            wants_break=bool(node.orelse),
        )
    _orelse(context, node, node.orelse, broke)


def _indexes(node: ast.For) -> bool:
    """Whether the loop's variable takes part in slices or sizes, so that it is best a size itself."""
    names = {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
    for statement in node.body:
        for child in ast.walk(statement):
            parts: list[ast.AST] = []
            if isinstance(child, ast.Slice):
                parts = [child]
            elif isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
                parts = [*child.args]
            for part in parts:
                if any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(part)):
                    return True
    return False
