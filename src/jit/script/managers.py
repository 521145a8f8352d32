"""`with`: the modes of gradients, and the context managers of users, whose body is protected as that of a `try`."""

import ast
import inspect
import types
from typing import Any

from ...eager import modes
from . import generator_managers, regions
from .context import Context, PathEnds
from .exceptions import protect
from .liveness import assigned_names
from .operators import spread, truth
from .raised import Caught, exception_class_of, forget_raised, raised_value
from .values import NOTHING, Abstract, Constant, Method, ObjectRef, Scalar, TensorRef, Tuple, Union

__all__ = ["with_statement"]


def with_statement(context: Context, node: ast.With) -> None:
    """Compile a `with` statement."""
    _items(context, node, list(node.items))


def _items(context: Context, node: ast.With, items: list[ast.withitem]) -> None:
    if not items:
        context.run_block(node.body)
        return
    item, rest = items[0], items[1:]
    manager = context.evaluate(item.context_expr)
    if isinstance(manager, generator_managers.GeneratorManager):
        generator_managers.run(context, node, item.optional_vars, manager, lambda: _items(context, node, rest))
        return
    with context.at(item.context_expr):
        kind = _kind(manager)
        if kind is None and not _is_user_manager(manager):
            raise context.error(
                f"`with` over {context.describe(manager)} cannot be compiled",
                "use no_grad(), enable_grad(), inference_mode(), or an object of a class of your own with "
                "__enter__ and __exit__",
            )
    if kind is None:
        _protected(context, node, item, manager, rest)
        return
    if item.optional_vars is not None:
        context.assign(item.optional_vars, Constant(None))
    before = dict(context.frame.variables)
    context.detaching += kind == "no_grad"
    try:
        _items(context, node, rest)
    finally:
        context.detaching -= kind == "no_grad"
    if kind == "no_grad":
        _detach(context, before)


def _kind(manager: Abstract) -> str | None:
    """What a manager of gradients does: "no_grad", or nothing; None for other objects."""
    if isinstance(manager, Constant):
        if isinstance(manager.value, (modes.no_grad, modes.inference_mode)):
            return "no_grad"
        if isinstance(manager.value, modes.enable_grad):
            return ""
        if type(manager.value).__name__ in ("nullcontext", "record_function", "set_grad_enabled"):
            return ""
    return None


def _detach(context: Context, before: dict[str, Abstract]) -> None:
    """Tensors made without gradients have none."""
    for name, value in context.frame.variables.items():
        if not isinstance(value, TensorRef) or before.get(name) is value or value.views:
            continue
        if value.cell.kind == "tensor":
            context.heap[value.cell] = context.emit("detach", context.read(value))


def _method(manager: Abstract, name: str) -> Method | None:
    cls: Any = None
    if isinstance(manager, ObjectRef):
        cls = manager.type
    elif isinstance(manager, Constant) and not isinstance(manager.value, type):
        cls = type(manager.value)
    found = inspect.getattr_static(cls, name, None) if cls is not None else None
    return Method(manager, name, found) if isinstance(found, types.FunctionType) else None


def _is_user_manager(manager: Abstract) -> bool:
    return _method(manager, "__enter__") is not None and _method(manager, "__exit__") is not None


def _class_of(thrown: Abstract) -> Abstract:
    """The class of what was raised, or what is known of it."""
    if isinstance(thrown, Tuple) and isinstance(thrown.items[0], Union):
        return thrown.items[0]
    return Constant(exception_class_of(thrown) or Exception)


def _protected(
    context: Context, node: ast.With, item: ast.withitem, manager: Abstract, rest: list[ast.withitem]
) -> None:
    """A user's context manager: `__exit__` runs however the body is left, and may say that an exception is over."""
    frame = context.frame
    enter, leave = _method(manager, "__enter__"), _method(manager, "__exit__")
    assert enter is not None and leave is not None
    with context.at(item.context_expr):
        value = context.call(enter, [], {})
    target = item.optional_vars
    if target is not None:
        context.assign(target, value)
    live = {
        *frame.liveness.after.get(node, ()), *frame.liveness.leaving.get(node, ()),
        *frame.liveness.head.get(node, ()), *frame.liveness.captured,
    }  # fmt: skip
    assigned = assigned_names(node.body)[0]
    for inner in rest:
        assigned |= {n.id for n in ast.walk(inner) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    context.wants_raised += 1
    frame.finals += 1
    try:
        protected = protect(context, lambda: _items(context, node, rest), [(BaseException,)], assigned & live)
    finally:
        context.wants_raised -= 1
        frame.finals -= 1
    none = Constant(None)

    def normally() -> Abstract:
        with context.at(item.context_expr):
            context.call(leave, [none, none, none], {})
        frame.exit = protected.exit
        return NOTHING

    def raised() -> Abstract:
        thrown = raised_value(context)
        forget_raised(context)
        caught = Caught.of(Scalar(protected.error), thrown, (Exception,))
        context.checkpoint()
        kind = spread(context, _class_of, thrown)
        with context.at(item.context_expr):
            over = truth(context, context.call(leave, [kind, caught, none], {}))
        if over is True:
            return NOTHING

        def again() -> Abstract:
            context.builder.emit_all("reraise", [protected.error])
            raise PathEnds

        if over is False:
            return again()
        return regions.branch(context, over, lambda: NOTHING, again, live)

    if protected.dead:
        raised()
        return
    test = context.emit("scalar.eq", protected.handler, context.constant(0))
    regions.branch(context, test, normally, raised, live)
