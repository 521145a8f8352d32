"""Names: where they are looked up, and what tests say about the types of variables."""

import ast
import builtins
from collections.abc import Callable
from typing import Any

from . import calls, regions
from .context import Context, Frame
from .objects import lift
from .operators import narrow
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Constant,
    Entries,
    Union,
)

__all__ = [
    "apply_narrowings",
    "assign_name",
    "bound_value",
    "name_value",
    "narrowed",
    "narrowings",
]


def name_value(context: Context, name: str) -> Abstract:
    """What a name stands for in the function being compiled."""
    frame = context.frame
    if frame.scope is not None and name in frame.scope:
        return frame.scope[name]
    box = _box(frame, name)
    if box is not None:
        return _unboxed(context, box, name)
    found = frame.variables.get(name)
    if found is not None and found is not UNBOUND:
        if isinstance(found, Union) and UNBOUND in found.alternatives:
            context.unbound_reads.add((frame, name))
            found = bound_value(context, found, f"local variable {name!r}")
            frame.variables[name] = found
        return found
    if name in frame.locals:
        context.unbound_reads.add((frame, name))
        message = f"cannot access local variable '{name}' where it is not associated with a value"
        context.fails(UnboundLocalError(message))
    outer: Frame | None = frame.outer
    while outer is not None:
        if name in outer.locals or name in outer.variables:
            value = outer.variables.get(name, UNBOUND)
            if value is UNBOUND or (isinstance(value, Union) and UNBOUND in value.alternatives):
                context.fails(
                    NameError(f"cannot access free variable '{name}' where it is not associated with a value")
                )
            return value
        if outer.scope is not None and name in outer.scope:
            return outer.scope[name]
        if name in outer.closure:
            return _lift_named(context, outer.closure[name], name)
        frame, outer = outer, outer.outer
    if name in frame.closure:
        return _lift_named(context, frame.closure[name], name)
    if name in frame.globals:
        return _lift_named(context, frame.globals[name], name)
    if hasattr(builtins, name):
        return Constant(getattr(builtins, name))
    names = {*frame.locals, *frame.globals, *frame.closure, *dir(builtins)}
    raise context.error(f"name {name!r} is not defined", context.near(name, names))


def _box(frame: Frame, name: str) -> Cell | None:
    """The cell of a variable that functions inside its own assign to."""
    if name in frame.boxes:
        return frame.boxes[name]
    owner: Frame | None = frame
    if name in frame.locals and name not in frame.declared:
        return None
    while owner is not None:
        if name in owner.boxes:
            return owner.boxes[name]
        if owner is not frame and name in owner.locals and name not in owner.declared:
            return None
        owner = owner.outer
    return None


def _unboxed(context: Context, box: Cell, name: str) -> Abstract:
    value = context.heap[box].attributes.get(name, UNBOUND)
    if value is UNBOUND:
        message = f"cannot access local variable '{name}' where it is not associated with a value"
        context.fails(UnboundLocalError(message))
    return bound_value(context, value, f"local variable {name!r}")


def _lift_named(context: Context, value: Any, name: str) -> Abstract:
    if isinstance(value, context.tensor_class):
        from .objects import parameter

        return parameter(context, value, name)
    return lift(context, value)


def bound_value(context: Context, value: Abstract, what: str) -> Abstract:
    """A value that may be unbound, after a run-time check that it is not."""
    if not (isinstance(value, Union) and UNBOUND in value.alternatives):
        return value
    place = value.alternatives.index(UNBOUND)
    unbound = context.emit("scalar.eq", value.tag, context.constant(place))

    def fail() -> Abstract:
        context.fails(
            UnboundLocalError(f"cannot access {what} where it is not associated with a value")
            if what.startswith("local")
            else AttributeError(f"{what} is not set")
        )

    regions.branch(context, unbound, fail, lambda: Constant(None))
    return narrow(context, value, lambda a: a is not UNBOUND)


def assign_name(context: Context, name: str, value: Abstract) -> None:
    """`name = value`."""
    frame = context.frame
    box = _box(frame, name) if frame.boxes or frame.declared else None
    if frame.scope is not None and name in frame.scope:
        frame.scope[name] = value
    elif box is not None:
        context.heap[box] = Entries({name: value})
    else:
        frame.variables[name] = value


Narrowing = tuple[str, Callable[[Abstract], bool]]


def narrowings(context: Context, test: ast.expr, positive: bool) -> list[Narrowing]:
    """What a test that came out `positive` says about which alternatives a variable can still be."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return narrowings(context, operand, not positive)
        case ast.BoolOp(op=ast.And(), values=values) if positive:
            return [n for v in values for n in narrowings(context, v, True)]
        case ast.BoolOp(op=ast.Or(), values=values) if not positive:
            return [n for v in values for n in narrowings(context, v, False)]
        case ast.Compare(
            left=ast.Name(id=name), ops=[ast.Is() | ast.IsNot() as operator], comparators=[ast.Constant(value=None)]
        ):
            wants_none = isinstance(operator, ast.Is) == positive
            return [(name, lambda a: (isinstance(a, Constant) and a.value is None) == wants_none)]
        case ast.Name(id=name):
            if positive:
                return [(name, lambda a: not (isinstance(a, Constant) and not a.value) and a is not UNBOUND)]
            return []
        case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=name), classes], keywords=[]):
            try:
                cls = context.evaluate(classes)
            except Exception:
                return []

            def keep(a: Abstract) -> bool:
                answer = calls.is_instance(context, a, cls)
                return answer is None or answer == positive

            return [(name, keep)]
    return []


def apply_narrowings(context: Context, found: list[Narrowing]) -> dict[str, tuple[Abstract, Abstract]]:
    """Narrow variables; what they were and are, by name."""
    changed: dict[str, tuple[Abstract, Abstract]] = {}
    variables = context.frame.variables
    for name, keep in found:
        value = variables.get(name)
        if isinstance(value, Union):
            new = narrow(context, value, keep)
            if new is not value:
                changed[name] = (changed[name][0] if name in changed else value, new)
                variables[name] = new
    return changed


def undo_narrowings(context: Context, changed: dict[str, tuple[Abstract, Abstract]]) -> None:
    """Give variables that still are what narrowing made of them their wider value back."""
    variables = context.frame.variables
    for name, (old, new) in changed.items():
        if variables.get(name) is new:
            variables[name] = old


def narrowed(context: Context, test: ast.expr, positive: bool, body: Callable[[], Abstract]) -> Callable[[], Abstract]:
    """The body, run under what the test says."""

    def run() -> Abstract:
        changed = apply_narrowings(context, narrowings(context, test, positive))
        value = body()
        undo_narrowings(context, changed)
        return value

    return run
