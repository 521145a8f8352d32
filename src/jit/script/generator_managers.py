"""Context managers written as generators (`contextlib.contextmanager`).

The generator's body is compiled where the `with` stands, and where it yields, the body of the `with`: so an exception
is thrown in at the yield, and what is around the yield sees it. The two have frames of their own; what the body assigns
lives in memory meanwhile, as variables do that nested functions assign to, and so does the way by which it is left.
"""

import ast
import types
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import calls, regions
from .context import Context, Exit, Frame, PathEnds
from .liveness import assigned_names
from .operators import narrow
from .regions import RESULT
from .source import function_source
from .syntax import check_syntax
from .values import UNBOUND, Abstract, Cell, Constant, Entries, Scalar, TensorRef, Union

__all__ = ["GeneratorManager", "is_generator_manager", "run"]

_MAKER = contextmanager(lambda: iter(())).__code__


@dataclass(frozen=True, eq=False)
class GeneratorManager(Abstract):
    """What calling a function made by `contextlib.contextmanager` gives."""

    function: types.FunctionType
    arguments: tuple[Abstract, ...]
    keywords: dict[str, Abstract]


def is_generator_manager(target: types.FunctionType) -> bool:
    """Whether a function was made by `contextlib.contextmanager`."""
    return target.__code__ is _MAKER and isinstance(getattr(target, "__wrapped__", None), types.FunctionType)


def run(
    context: Context, node: ast.With, target: ast.expr | None, manager: GeneratorManager, body: Callable[[], None]
) -> None:
    """Compile a `with` over such a manager; `body` compiles the rest of the statement."""
    frame = context.frame
    boxes = _box(context, node)
    control = Cell("variable", name="with")
    context.heap[control] = Entries({"yielded": Constant(False), "exit": Constant(Exit.NONE), "result": UNBOUND})
    ways: set[int] = set()
    variables = dict(frame.variables)
    detaching = context.detaching

    def on_yield(value: Abstract) -> Abstract:
        _require(context, context.heap[control].attributes["yielded"], False, "generator didn't stop")
        before = {name: context.heap[cell].attributes[name] for name, cell in boxes.items()}
        # What is around the yield may be compiled more than once.
        frame.variables, frame.exit = dict(variables), Exit()
        context.heap[control] = Entries({**context.heap[control].attributes, "yielded": Constant(True)})
        context.checkpoint()
        context.frames.append(frame)
        try:
            if target is not None:
                context.assign(target, value)
            body()
        finally:
            context.frames.pop()
        left, frame.exit = frame.exit, Exit()
        result = frame.variables.pop(RESULT, UNBOUND)
        if left.only == Exit.RAISE:
            raise PathEnds
        ways.update(left.ways)
        if context.detaching > detaching:
            _detach(context, boxes, before)
        code = Constant(left.only) if left.value is None else Scalar(left.value)
        context.heap[control] = Entries({"yielded": Constant(True), "exit": code, "result": result})
        return Constant(None)

    frame.finals += 1
    try:
        _run_generator(context, manager, on_yield)
    finally:
        frame.finals -= 1
        frame.variables = dict(variables)
        for name, cell in boxes.items():
            del frame.boxes[name]
            value = context.heap[cell].attributes.get(name, UNBOUND)
            if value is UNBOUND:
                frame.variables.pop(name, None)
            else:
                frame.variables[name] = value
    state = context.heap[control].attributes
    _require(context, state["yielded"], True, "generator didn't yield")
    code = state["exit"]
    frame.exit = Exit(frozenset(ways), code.value) if isinstance(code, Scalar) else Exit(frozenset({code.value}))
    if Exit.RETURN in frame.exit.ways:
        result = state["result"]
        frame.variables[RESULT] = (
            narrow(context, result, lambda a: a is not UNBOUND) if isinstance(result, Union) else result
        )


def _box(context: Context, node: ast.With) -> dict[str, Cell]:
    """Put what the statement assigns into memory: cells of variables, by name."""
    frame = context.frame
    names = assigned_names(node.body)[0]
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, (ast.Store, ast.Del)):
            names.add(child.id)
    boxes: dict[str, Cell] = {}
    for name in sorted(names - frame.declared - frame.boxes.keys()):
        cell = boxes[name] = Cell("variable", name=name)
        context.heap[cell] = Entries({name: frame.variables.pop(name, UNBOUND)})
    frame.boxes.update(boxes)
    return boxes


def _require(context: Context, found: Abstract, wanted: bool, message: str) -> None:
    """RuntimeError, where it may be at run time, unless whether the generator has yielded is as wanted."""
    error = RuntimeError(message)
    if isinstance(found, Constant):
        if found.value is not wanted:
            context.fails(error)
        return
    assert isinstance(found, Scalar)

    def fail() -> Abstract:
        context.fails(error)

    def go_on() -> Abstract:
        return Constant(None)

    regions.branch(context, found.value, *((go_on, fail) if wanted else (fail, go_on)))


def _detach(context: Context, boxes: dict[str, Cell], before: dict[str, Abstract]) -> None:
    """What was computed under a `no_grad()` of the generator's has no gradients."""
    for name, cell in boxes.items():
        value = context.heap[cell].attributes[name]
        is_new = isinstance(value, TensorRef) and value is not before[name] and not value.views
        if is_new and value.cell.kind == "tensor":
            context.heap[value.cell] = context.emit("detach", context.read(value))


def _run_generator(context: Context, manager: GeneratorManager, on_yield: Callable[[Abstract], Abstract]) -> None:
    """Compile the generator's body, with what to do where it yields."""
    function = manager.function
    source = function_source(function)
    check_syntax(source, yields=True)
    closure: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        closure[name] = cell.cell_contents
    defaults = tuple(context.lift(d) for d in function.__defaults__ or ())
    keyword_defaults = {k: context.lift(v) for k, v in (function.__kwdefaults__ or {}).items()}
    bound = calls.bind(context, source, list(manager.arguments), manager.keywords, defaults, keyword_defaults)
    frame = Frame(source, calls.liveness_of(source), function.__globals__, closure)
    frame.on_yield = on_yield
    calls.inline(context, frame, bound)
