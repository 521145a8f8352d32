"""Compiles statements: assignments, branches, loops and the ways out of them."""

import ast
import importlib
from collections.abc import Callable, Iterable
from typing import Any

from . import iteration, lists, regions
from .context import Context, Exit
from .exceptions import try_statement
from .expressions import closure, evaluate, get_item
from .indexing import set_item as set_tensor_item
from .iterations import for_statement, while_statement
from .managers import with_statement
from .names import apply_narrowings, assign_name, name_value, narrowed, narrowings
from .objects import attribute, lift, set_attribute
from .operators import binary, compare, spread, tensor_operator, truth
from .raised import assertion, raise_value
from .regions import RESULT
from .tensors import inplace_op
from .values import (
    NOTHING,
    Abstract,
    Constant,
    DictRef,
    ListRef,
    Method,
    ObjectRef,
    Scalar,
    SetRef,
    Slice,
    TensorRef,
    Union,
)

__all__ = ["assign", "block", "run_body"]


def block(context: Context, statements: list[ast.stmt]) -> None:
    """Compile statements one after another, as far as control reaches."""
    frame = context.frame
    for position, statement in enumerate(statements):
        exit = frame.exit
        if exit.only is None:
            if Exit.NONE in exit.ways:
                _guarded(context, statements[position:])
            return
        if exit.only != Exit.NONE:
            return
        with context.at(statement):
            if isinstance(statement, ast.If):
                if _if(context, statement, statements[position + 1 :]):
                    return
            else:
                handler = _HANDLERS.get(type(statement))
                if handler is None:
                    raise context.error(f"{type(statement).__name__} statements cannot be compiled")
                handler(context, statement)
            if context.tries and frame.exit.only != Exit.RAISE:
                context.checkpoint()


def _live_after(context: Context, statements: list[ast.stmt]) -> Iterable[str]:
    return context.frame.liveness.after.get(statements[-1], frozenset())


def _guarded(context: Context, statements: list[ast.stmt]) -> None:
    """Statements that are reached only where control has not left before."""
    frame = context.frame
    assert frame.exit.value is not None
    live = {*_live_after(context, statements)}
    for statement in statements:
        live |= frame.liveness.leaving.get(statement, frozenset())
    # Where control has left by `break` or `continue`, variables matter further out.
    for name in frame.variables:
        if name not in live and (Exit.BREAK in frame.exit.ways or Exit.CONTINUE in frame.exit.ways):
            live.add(name)
    condition = context.emit("scalar.eq", frame.exit.value, context.constant(Exit.NONE))
    left = Exit(frame.exit.ways - {Exit.NONE}, frame.exit.value if len(frame.exit.ways) > 2 else None)

    def go_on() -> Abstract:
        frame.exit = Exit()
        block(context, statements)
        return NOTHING

    def leave() -> Abstract:
        frame.exit = left
        return NOTHING

    regions.branch(context, condition, go_on, leave, live)


# -- branches ----------------------------------------------------------------------------------------------------------


def _always_leaves(statements: list[ast.stmt]) -> bool:
    """Whether a block surely ends in return, break or continue."""
    if not statements:
        return False
    match statements[-1]:
        case ast.Return() | ast.Break() | ast.Continue():
            return True
        case ast.If(body=body, orelse=orelse):
            return _always_leaves(body) and _always_leaves(orelse)
    return False


def _if(context: Context, node: ast.If, rest: list[ast.stmt]) -> bool:
    """Compile an `if`; whether what follows it was compiled too, inside the way that falls through."""
    test = truth(context, evaluate(context, node.test))
    if isinstance(test, bool):
        block(context, node.body if test else node.orelse)
        return False
    body, orelse = node.body, node.orelse
    consumed = False
    if _always_leaves(body):
        orelse, consumed = orelse + rest, True
    elif _always_leaves(orelse):
        body, consumed = body + rest, True
    live = {*_live_after(context, rest if consumed and rest else [node])}
    for statement in (node, *rest) if consumed else (node,):
        live |= context.frame.liveness.leaving.get(statement, frozenset())
    alive: list[bool] = []

    def arm(statements: list[ast.stmt]) -> Callable[[], Abstract]:
        def run() -> Abstract:
            alive.append(False)
            block(context, statements)
            alive[-1] = context.frame.exit.only != Exit.RAISE
            return NOTHING

        return run

    regions.branch(
        context,
        test,
        narrowed(context, node.test, True, arm(body)),
        narrowed(context, node.test, False, arm(orelse)),
        live,
    )
    then_alive, else_alive = alive[-2:]
    if then_alive != else_alive:  # the other way raises: what the test says holds from here on
        apply_narrowings(context, narrowings(context, node.test, then_alive))
    return consumed


# -- assignments -------------------------------------------------------------------------------------------------------


def assign(context: Context, target: ast.expr, value: Abstract) -> None:
    """`target = value` for any kind of target."""
    match target:
        case ast.Name(id=name):
            assign_name(context, name, value)
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            with context.at(target):
                _unpack(context, targets, value)
        case ast.Attribute(value=owner, attr=name):
            instance = evaluate(context, owner)
            with context.at(target):
                set_attribute(context, instance, name, value)
        case ast.Subscript(value=owner, slice=index):
            container = evaluate(context, owner)
            position = evaluate(context, index)
            with context.at(target):
                set_item(context, container, position, value)
        case _:
            raise context.error(f"cannot assign to {type(target).__name__}", node=target)


def _unpack(context: Context, targets: list[ast.expr], value: Abstract) -> None:
    if isinstance(value, Union):
        raise context.error(
            f"the unpacked value may be {context.describe(value)}", "decide which with an `if` before unpacking"
        )
    sequence = iteration.iterate(context, value)
    star = next((i for i, t in enumerate(targets) if isinstance(t, ast.Starred)), None)
    if sequence.items is None and star is None and isinstance(value, TensorRef):
        # The number of names says what the size must be.
        dim = context.tensor_type(value).shape[0]
        message = f"a tensor of {dim} rows cannot be unpacked into {len(targets)} variables"
        try:
            context.builder.sizes.equal(dim, len(targets), message)
        except RuntimeError:
            context.fails(ValueError(message), value.value)
        items: tuple[Abstract, ...] = tuple(sequence.element(Constant(i)) for i in range(len(targets)))
    elif sequence.items is None and star is None and sequence.kind in ("list", "str", "set"):
        _check_count(context, sequence.length, len(targets))
        items = tuple(sequence.element(Constant(i)) for i in range(len(targets)))
    elif sequence.items is None and star is not None and not isinstance(sequence.length, int):
        _unpack_list(context, targets, star, context.call(Constant(list), [value], {}))
        return
    else:
        items = iteration.known_items(context, sequence, "the number of unpacked elements")
    if star is None:
        if len(items) != len(targets):
            word = "too many" if len(items) > len(targets) else "not enough"
            got = f", got {len(items)}" if len(items) < len(targets) else ""
            context.fails(ValueError(f"{word} values to unpack (expected {len(targets)}{got})"))
        for target, item in zip(targets, items, strict=True):
            assign(context, target, item)
        return
    after = len(targets) - star - 1
    if len(items) < star + after:
        context.fails(ValueError(f"not enough values to unpack (expected at least {star + after}, got {len(items)})"))
    middle = items[star : len(items) - after]
    for target, item in zip(targets[:star], items[:star], strict=True):
        assign(context, target, item)
    starred = targets[star]
    assert isinstance(starred, ast.Starred)
    assign(context, starred.value, lists.new(context, middle))
    for target, item in zip(targets[star + 1 :], items[len(items) - after :], strict=True):
        assign(context, target, item)


def _unpack_list(context: Context, targets: list[ast.expr], star: int, value: Abstract) -> None:
    """`first, *rest, last = value` for a list whose length is known at run time only."""
    assert isinstance(value, ListRef)
    after = len(targets) - star - 1
    size = context.length(value)
    short = compare(context, "Lt", size, Constant(star + after))

    def not_enough() -> Abstract:
        text = Constant(f"not enough values to unpack (expected at least {star + after}, got ")
        message = binary(
            context, "Add", binary(context, "Add", text, context.call(Constant(str), [size], {})), Constant(")")
        )
        context.forget_raised()
        context.raises([message.value], ValueError)  # type: ignore[attr-defined]

    test = truth(context, short)
    if test is True:
        not_enough()
    if not isinstance(test, bool):
        regions.branch(context, test, not_enough, lambda: NOTHING)
    middle = Slice(Constant(star), Constant(-after if after else None), Constant(None))
    places: list[Abstract] = [Constant(i) for i in range(star)]
    places += [middle, *(Constant(i) for i in range(-after, 0))]
    parts = [lists.get(context, value, place) for place in places]
    for target, part in zip(targets, parts, strict=True):
        assign(context, target.value if isinstance(target, ast.Starred) else target, part)


def _check_count(context: Context, length: Any, wanted: int) -> None:
    """ValueError at run time where a list does not have as many elements as there are names for them."""
    count = context.int_value(length)

    def too_many() -> Abstract:
        context.fails(ValueError(f"too many values to unpack (expected {wanted})"))

    def not_enough() -> Abstract:
        text = binary(
            context, "Add", Constant(f"not enough values to unpack (expected {wanted}, got "), Scalar(shown())
        )
        message = binary(context, "Add", text, Constant(")"))
        context.raises([message.value], ValueError)  # type: ignore[attr-defined]

    def shown() -> Any:
        return context.emit("scalar.to_str", count)

    for op, fail in (("scalar.gt", too_many), ("scalar.lt", not_enough)):
        regions.branch(context, context.emit(op, count, context.constant(wanted)), fail, lambda: NOTHING)


def set_item(context: Context, container: Abstract, index: Abstract, value: Abstract) -> None:
    """`container[index] = value`."""
    if isinstance(container, Union):

        def one(part: Abstract) -> Abstract:
            set_item(context, part, index, value)
            return NOTHING

        spread(context, one, container)
        return
    match container:
        case TensorRef():
            set_tensor_item(context, container, index, value)
        case ListRef():
            if isinstance(index, TensorRef):
                index = context.item(index, "int")
            lists.set_item(context, container, index, value)
        case DictRef():
            context.dicts.put(context, container, index, value)
        case ObjectRef(type=cls) if hasattr(cls, "__setitem__"):
            context.call(Method(container, "__setitem__", cls.__setitem__), [index, value], {})
        case _:
            raise context.type_error(f"{context.describe(container)} does not support item assignment")


def _assign(context: Context, node: ast.Assign) -> None:
    value = evaluate(context, node.value)
    for target in node.targets:
        assign(context, target, value)


def _annotated(context: Context, node: ast.AnnAssign) -> None:
    if node.value is not None:
        value = evaluate(context, node.value)
        context.declare(value, node.annotation)
        assign(context, node.target, value)


_INPLACE = {
    "Add": "iadd", "Sub": "isub", "Mult": "imul", "Div": "itruediv", "FloorDiv": "ifloordiv", "Mod": "imod",
    "Pow": "ipow", "MatMult": "imatmul", "BitAnd": "iand", "BitOr": "ior", "BitXor": "ixor", "LShift": "ilshift",
    "RShift": "irshift",
}  # fmt: skip


def _augmented(context: Context, node: ast.AugAssign) -> None:
    operator = type(node.op).__name__
    match node.target:
        case ast.Name(id=name):
            old = name_value(context, name)
            new = _augment(context, operator, old, evaluate(context, node.value))
            assign_name(context, name, new)
        case ast.Attribute(value=owner, attr=name):
            instance = evaluate(context, owner)
            old = attribute(context, instance, name)
            new = _augment(context, operator, old, evaluate(context, node.value))
            if new is not old and not (
                isinstance(new, TensorRef) and isinstance(old, TensorRef) and new.cell is old.cell
            ):
                set_attribute(context, instance, name, new)
        case ast.Subscript(value=owner, slice=index):
            container = evaluate(context, owner)
            position = evaluate(context, index)
            old = get_item(context, container, position)
            new = _augment(context, operator, old, evaluate(context, node.value))
            if not (isinstance(container, TensorRef) and isinstance(new, TensorRef) and new.cell is container.cell):
                set_item(context, container, position, new)
    return


def _augment(context: Context, operator: str, old: Abstract, value: Abstract) -> Abstract:
    return spread(context, lambda a, b: _augment_one(context, operator, a, b), old, value)


def _augment_one(context: Context, operator: str, old: Abstract, value: Abstract) -> Abstract:
    if isinstance(old, TensorRef):
        op = tensor_operator(context, f"__{_INPLACE[operator]}__")
        if op is not None and isinstance(value, (TensorRef, Scalar, Constant)):
            return inplace_op(context, op, old, [value], {})
    if isinstance(old, ListRef) and operator == "Add":
        lists.extend(context, old, value)
        return old
    if isinstance(old, DictRef) and operator == "BitOr":
        context.dicts.update(context, old, value)
        return old
    if (
        isinstance(old, SetRef)
        and isinstance(value, SetRef)
        and context.sets.update_in_place(context, operator, old, value)
    ):
        return old
    if isinstance(old, ListRef) and operator == "Mult":
        lists.repeat_in_place(context, old, value)
        return old
    if isinstance(old, ObjectRef):
        found = context.user_operator(_INPLACE[operator], old, value)
        if found is not None:
            return found
    return binary(context, operator, old, value)


def _delete(context: Context, node: ast.Delete) -> None:
    for target in node.targets:
        match target:
            case ast.Name(id=name):
                name_value(context, name)
                context.frame.variables.pop(name, None)
            case ast.Subscript(value=owner, slice=index):
                container, position = evaluate(context, owner), evaluate(context, index)
                if isinstance(container, ListRef) and not isinstance(position, Slice):
                    lists.method(context, container, "pop", [position])
                elif isinstance(container, ListRef):
                    lists.delete(context, container, position)
                elif isinstance(container, DictRef):
                    context.dicts.delete(context, container, position)
                elif isinstance(container, ObjectRef) and hasattr(container.type, "__delitem__"):
                    context.call(Method(container, "__delitem__", container.type.__delitem__), [position], {})
                else:
                    raise context.error(f"del of an item of {context.describe(container)} is not supported")
            case _:
                raise context.error("del of attributes is not supported")


# -- leaving -----------------------------------------------------------------------------------------------------------


def _return(context: Context, node: ast.Return) -> None:
    frame = context.frame
    value = Constant(None) if node.value is None else evaluate(context, node.value)
    frame.variables[RESULT] = value
    frame.exit = Exit(frozenset({Exit.RETURN}))


def _break(context: Context, node: ast.Break) -> None:
    context.frame.exit = Exit(frozenset({Exit.BREAK}))


def _continue(context: Context, node: ast.Continue) -> None:
    context.frame.exit = Exit(frozenset({Exit.CONTINUE}))


def _raise(context: Context, node: ast.Raise) -> None:
    if node.exc is None:
        if not context.handling:
            context.fails(RuntimeError("No active exception to reraise"))
        raise_value(context, context.handling[-1])
    if node.cause is not None:
        evaluate(context, node.cause)
    raise_value(context, evaluate(context, node.exc))


def _assert(context: Context, node: ast.Assert) -> None:
    test = truth(context, evaluate(context, node.test))
    if test is True:
        return

    def fail() -> Abstract:
        assertion(context, None if node.msg is None else evaluate(context, node.msg))

    if test is False:
        fail()
        return
    regions.branch(context, test, lambda: NOTHING, narrowed(context, node.test, False, fail))
    apply_narrowings(context, narrowings(context, node.test, True))


# -- loops -------------------------------------------------------------------------------------------------------------


# -- the rest ----------------------------------------------------------------------------------------------------------


def _expression(context: Context, node: ast.Expr) -> None:
    if not isinstance(node.value, ast.Constant):
        evaluate(context, node.value)


def _pass(context: Context, node: ast.Pass) -> None:
    return


def _import(context: Context, node: ast.Import) -> None:
    for alias in node.names:
        module = _module(context, alias.name)
        if alias.asname is None:
            module = _module(context, alias.name.partition(".")[0])
        assign_name(context, alias.asname or alias.name.partition(".")[0], Constant(module))


def _import_from(context: Context, node: ast.ImportFrom) -> None:
    module = _module(context, "." * node.level + (node.module or ""))
    for alias in node.names:
        if alias.name == "*":
            raise context.error("`import *` is only allowed at module level", "name what is imported")
        found = getattr(module, alias.name, None)
        if found is None and not hasattr(module, alias.name):
            found = _module(context, f"{module.__name__}.{alias.name}")
        assign_name(context, alias.asname or alias.name, lift(context, found))


def _module(context: Context, name: str) -> Any:
    try:
        return importlib.import_module(name, context.frame.globals.get("__package__"))
    except ImportError as error:
        raise context.error(
            f"{type(error).__name__}: {error}", "import what is installed where this is compiled"
        ) from error


def _declare(context: Context, node: ast.Nonlocal | ast.Global) -> None:
    """Which names are those of a function around is known from the start, and that globals are not assigned, too."""


def _define(context: Context, node: ast.FunctionDef) -> None:
    if node.decorator_list:
        raise context.error("functions defined in a compiled function cannot have decorators", "define it outside")
    context.frame.variables[node.name] = closure(context, node)


_HANDLERS: dict[type[ast.stmt], Callable[[Context, Any], None]] = {
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.Delete: _delete,
    ast.Return: _return,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.Raise: _raise,
    ast.Assert: _assert,
    ast.While: while_statement,
    ast.For: for_statement,
    ast.Expr: _expression,
    ast.Pass: _pass,
    ast.FunctionDef: _define,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Nonlocal: _declare,
    ast.Global: _declare,
    ast.With: with_statement,
    ast.Try: try_statement,
}


def run_body(context: Context) -> Abstract:
    """Compile the body of the innermost frame's function and give what it returns."""
    frame = context.frame
    node = frame.source.node
    if isinstance(node, ast.Lambda):
        return evaluate(context, node.body)
    block(context, node.body)
    exit = frame.exit
    if exit.only == Exit.RETURN:
        return frame.variables[RESULT]
    if exit.only == Exit.NONE:
        return Constant(None)
    if exit.only is None:
        assert exit.value is not None
        returned = context.emit("scalar.eq", exit.value, context.constant(Exit.RETURN))
        result = frame.variables[RESULT]
        frame.exit = Exit()
        return regions.branch(context, returned, lambda: result, lambda: Constant(None), live=())
    raise AssertionError(f"a function ends by {exit}")
