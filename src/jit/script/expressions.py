"""Compiles expressions."""

import ast
import builtins
from collections.abc import Callable
from typing import Any

from ...ir.types import StrType
from . import calls, iteration, lists, regions
from .context import Context, Frame
from .indexing import get_item as tensor_item
from .objects import attribute, lift
from .operators import binary, compare, narrow, scalar_kind, spread, truth, unary
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Closure,
    Constant,
    DictItems,
    DictRef,
    Items,
    ListRef,
    Method,
    ObjectRef,
    Scalar,
    Slice,
    TensorRef,
    Tuple,
    Union,
)

__all__ = ["assign_name", "bound_value", "evaluate", "get_item", "name_value", "narrowings"]


def evaluate(context: Context, node: ast.expr) -> Abstract:
    """The value of an expression."""
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise context.error(f"{type(node).__name__} expressions cannot be compiled", node=node)
    with context.at(node):
        return handler(context, node)


# -- names --------------------------------------------------------------------------------------------------------------


def _name(context: Context, node: ast.Name) -> Abstract:
    return name_value(context, node.id)


def name_value(context: Context, name: str) -> Abstract:
    """What a name stands for in the function being compiled."""
    frame = context.frame
    if frame.scope is not None and name in frame.scope:
        return frame.scope[name]
    found = frame.variables.get(name)
    if found is not None and found is not UNBOUND:
        if isinstance(found, Union) and UNBOUND in found.alternatives:
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
    if frame.scope is not None and name in frame.scope:
        frame.scope[name] = value
    else:
        frame.variables[name] = value


# -- narrowing ----------------------------------------------------------------------------------------------------------

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
                cls = evaluate(context, classes)
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


# -- operators ----------------------------------------------------------------------------------------------------------


def _constant(context: Context, node: ast.Constant) -> Abstract:
    return Constant(node.value)


def _binary(context: Context, node: ast.BinOp) -> Abstract:
    left = evaluate(context, node.left)
    right = evaluate(context, node.right)
    if isinstance(node.op, ast.Mod) and isinstance(left, Constant) and isinstance(left.value, str):
        return _percent(context, left.value, right)
    return binary(context, type(node.op).__name__, left, right)


def _percent(context: Context, template: str, right: Abstract) -> Abstract:
    values = right.items if isinstance(right, Tuple) else (right,)
    if all(isinstance(v, Constant) for v in values):
        try:
            return Constant(template % tuple(v.value for v in values))  # type: ignore[attr-defined]
        except (TypeError, ValueError) as error:
            raise context.type_error(str(error)) from error
    raise context.error("% formatting of run-time values is not supported", "use an f-string without format specs")


def _unary(context: Context, node: ast.UnaryOp) -> Abstract:
    return unary(context, type(node.op).__name__, evaluate(context, node.operand))


def _boolean(context: Context, node: ast.BoolOp) -> Abstract:
    return _short_circuit(context, node, node.values)


def _short_circuit(context: Context, node: ast.BoolOp, values: list[ast.expr]) -> Abstract:
    first = evaluate(context, values[0])
    if len(values) == 1:
        return first
    conjunction = isinstance(node.op, ast.And)
    test = truth(context, first)
    if isinstance(test, bool):
        return _short_circuit(context, node, values[1:]) if test == conjunction else first
    rest = narrowed(context, values[0], conjunction, lambda: _short_circuit(context, node, values[1:]))
    stop = Constant(not conjunction) if scalar_kind(first) == "bool" else first
    with context.at(node):
        if conjunction:
            return regions.branch(context, test, rest, lambda: stop)
        return regions.branch(context, test, lambda: stop, rest)


def _compare(context: Context, node: ast.Compare) -> Abstract:
    left = evaluate(context, node.left)
    return _compare_chain(context, node, left, list(zip(node.ops, node.comparators, strict=True)))


def _compare_chain(
    context: Context, node: ast.Compare, left: Abstract, rest: list[tuple[ast.cmpop, ast.expr]]
) -> Abstract:
    operator, comparator = rest[0]
    right = evaluate(context, comparator)
    with context.at(node):
        result = compare(context, type(operator).__name__, left, right)
        if len(rest) == 1:
            return result
        test = truth(context, result)
        if isinstance(test, bool):
            return _compare_chain(context, node, right, rest[1:]) if test else result
        stop = Constant(False) if scalar_kind(result) == "bool" else result
        return regions.branch(context, test, lambda: _compare_chain(context, node, right, rest[1:]), lambda: stop)


def _conditional(context: Context, node: ast.IfExp) -> Abstract:
    test = truth(context, evaluate(context, node.test))
    if isinstance(test, bool):
        return evaluate(context, node.body if test else node.orelse)
    return regions.branch(
        context,
        test,
        narrowed(context, node.test, True, lambda: evaluate(context, node.body)),
        narrowed(context, node.test, False, lambda: evaluate(context, node.orelse)),
    )


def _walrus(context: Context, node: ast.NamedExpr) -> Abstract:
    value = evaluate(context, node.value)
    context.frame.variables[node.target.id] = value
    return value


# -- containers ---------------------------------------------------------------------------------------------------------


def elements(context: Context, nodes: list[ast.expr]) -> tuple[Abstract, ...]:
    """The values of expressions, `*starred` ones taken apart."""
    items: list[Abstract] = []
    for node in nodes:
        if isinstance(node, ast.Starred):
            with context.at(node):
                items += iteration.known_items(context, evaluate(context, node.value))
        else:
            items.append(evaluate(context, node))
    return tuple(items)


def _tuple(context: Context, node: ast.Tuple) -> Abstract:
    return Tuple(elements(context, node.elts))


def _list(context: Context, node: ast.List) -> Abstract:
    return lists.new(context, elements(context, node.elts))


def _dict(context: Context, node: ast.Dict) -> Abstract:
    entries: list[tuple[Any, Abstract]] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            other = evaluate(context, value)
            if not isinstance(other, DictRef):
                raise context.type_error(f"{context.describe(other)} is not a mapping")
            for k, v in context.heap[other.cell].entries:
                _put(entries, k, v)
            continue
        _put(entries, dict_key(context, evaluate(context, key)), evaluate(context, value))
    return new_dict(context, entries)


def new_dict(context: Context, entries: list[tuple[Any, Abstract]]) -> DictRef:
    """A new dict with known keys."""
    cell = Cell("dict")
    context.heap[cell] = DictItems(tuple(entries))
    return DictRef(cell)


def _put(entries: list[tuple[Any, Abstract]], key: Any, value: Abstract) -> None:
    for position, (k, _) in enumerate(entries):
        if k == key:
            entries[position] = (k, value)
            return
    entries.append((key, value))


def dict_key(context: Context, key: Abstract) -> Any:
    """A key as a Python object; ScriptError where it is known at run time only."""
    if isinstance(key, Constant):
        return key.value
    if isinstance(key, Tuple):
        return tuple(dict_key(context, k) for k in key.items)
    raise context.error(
        f"the key of a dict must be known when the program is compiled, given {context.describe(key)}",
        "use a list, or a tensor indexed by the key",
    )


def _comprehension(context: Context, node: ast.ListComp | ast.GeneratorExp) -> Abstract:
    cell = Cell("list")
    context.heap[cell] = Items(())
    result = ListRef(cell)

    def append() -> None:
        value = evaluate(context, node.elt)
        lists.method(context, result, "append", [value])

    _generate(context, node, node.generators, append)
    return result


def _dict_comprehension(context: Context, node: ast.DictComp) -> Abstract:
    entries: list[tuple[Any, Abstract]] = []

    def put() -> None:
        key = dict_key(context, evaluate(context, node.key))
        _put(entries, key, evaluate(context, node.value))

    depth = context.depth
    _generate(context, node, node.generators, put)
    if context.depth != depth:
        raise context.error("a dict comprehension over a sequence of unknown length", "use a list")
    return new_dict(context, entries)


def _generate(context: Context, node: ast.expr, generators: list[ast.comprehension], body: Callable[[], None]) -> None:
    """Run a comprehension's body for every item; its variables are its own."""
    from .statements import assign

    frame = context.frame
    if not generators:
        body()
        return
    generator = generators[0]
    sequence = iteration.iterate(context, evaluate(context, generator.iter))
    targets = {n.id for n in ast.walk(generator.target) if isinstance(n, ast.Name)}

    def conditions(tests: list[ast.expr]) -> None:
        if not tests:
            _generate(context, node, generators[1:], body)
            return
        test = truth(context, evaluate(context, tests[0]))
        if isinstance(test, bool):
            if test:
                conditions(tests[1:])
            return
        if isinstance(node, ast.DictComp):
            raise context.error("a dict's keys must be known when the program is compiled", "use a list")

        def inside() -> Abstract:
            conditions(tests[1:])
            return Constant(None)

        regions.branch(context, test, narrowed(context, tests[0], True, inside), lambda: Constant(None))

    def step(item: Abstract) -> None:
        assign(context, generator.target, item)
        conditions(generator.ifs)

    saved = {n: frame.variables.get(n) for n in targets}
    saved_locals = frame.locals
    frame.locals = frame.locals | targets
    try:
        if sequence.items is not None:
            for item in sequence.items:
                step(item)
        else:
            if isinstance(node, ast.DictComp):
                raise context.error("a dict's keys must be known when the program is compiled", "use a list")
            from .statements import counted_loop

            counted_loop(context, node, sequence, lambda i: step(sequence.element(i)), set(), set(), (), ())  # type: ignore[arg-type]
    finally:
        frame.locals = saved_locals
        for name, value in saved.items():
            if value is None:
                frame.variables.pop(name, None)
            else:
                frame.variables[name] = value


# -- attributes, subscripts ---------------------------------------------------------------------------------------------


def _attribute(context: Context, node: ast.Attribute) -> Abstract:
    return attribute(context, evaluate(context, node.value), node.attr)


def _subscript(context: Context, node: ast.Subscript) -> Abstract:
    value = evaluate(context, node.value)
    index = evaluate(context, node.slice)
    return get_item(context, value, index)


def get_item(context: Context, value: Abstract, index: Abstract) -> Abstract:
    """`value[index]`."""
    return spread(context, lambda v, i: _get_item(context, v, i), value, index)


def _get_item(context: Context, value: Abstract, index: Abstract) -> Abstract:
    match value:
        case TensorRef():
            return tensor_item(context, value, index)
        case Tuple(items=items):
            found = iteration.item_of(context, items, index, "tuple")
            if isinstance(index, Slice) and isinstance(found, Tuple) and value.type.__name__ == "Size":
                return Tuple(found.items, value.type)
            return found
        case ListRef():
            return lists.get(context, value, index)
        case DictRef(cell=cell):
            key = dict_key(context, index)
            entry: Abstract | None = context.heap[cell].find(key)
            if entry is None:
                context.fails(KeyError(key))
            return entry
        case Constant(value=constant):
            return _constant_item(context, constant, index)
        case ObjectRef(type=cls) if hasattr(cls, "__getitem__"):
            return context.call(Method(value, "__getitem__", cls.__getitem__), [index], {})
    raise context.type_error(f"{context.describe(value)} is not subscriptable")


def _constant_item(context: Context, constant: Any, index: Abstract) -> Abstract:
    if isinstance(index, Slice) and all(isinstance(p, Constant) for p in (index.start, index.stop, index.step)):
        index = Constant(slice(index.start.value, index.stop.value, index.step.value))  # type: ignore[attr-defined]
    if isinstance(index, Tuple) and all(isinstance(i, Constant) for i in index.items):
        index = Constant(tuple(i.value for i in index.items))  # type: ignore[attr-defined]
    if isinstance(index, Constant):
        if isinstance(constant, type) or not hasattr(type(constant), "__getitem__"):
            raise context.type_error(f"{context.describe(Constant(constant))} is not subscriptable")
        try:
            return lift(context, constant[index.value])
        except (IndexError, KeyError, TypeError) as error:
            context.fails(error)
    if hasattr(constant, "__len__") and not isinstance(constant, (str, dict)):
        items = iteration.known_items(context, Constant(constant))
        return iteration.item_of(context, items, index, type(constant).__name__)
    raise context.type_error(
        f"{context.describe(Constant(constant))} cannot be indexed by {context.describe(index)} at run time"
    )


def _slice(context: Context, node: ast.Slice) -> Abstract:
    parts = [Constant(None) if p is None else evaluate(context, p) for p in (node.lower, node.upper, node.step)]
    return Slice(*parts)


# -- calls, functions, strings ------------------------------------------------------------------------------------------


def _call(context: Context, node: ast.Call) -> Abstract:
    if isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args:
        return calls.super_of(context)
    function = evaluate(context, node.func)
    arguments = list(elements(context, node.args))
    keywords: dict[str, Abstract] = {}
    for keyword in node.keywords:
        value = evaluate(context, keyword.value)
        if keyword.arg is None:
            if not isinstance(value, DictRef):
                raise context.type_error(f"argument after ** must be a mapping, not {context.describe(value)}")
            for key, entry in context.heap[value.cell].entries:
                keywords[key] = entry
        elif keyword.arg in keywords:
            raise context.type_error(f"got multiple values for keyword argument {keyword.arg!r}")
        else:
            keywords[keyword.arg] = value
    return calls.call(context, function, arguments, keywords)


def closure(context: Context, node: ast.FunctionDef | ast.Lambda) -> Closure:
    """A function defined in the program."""
    frame = context.frame
    defaults = tuple(evaluate(context, d) for d in node.args.defaults)
    keyword_defaults = {
        a.arg: evaluate(context, d)
        for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if d is not None
    }
    return Closure(frame.source.nested(node), frame, defaults, keyword_defaults)


def _lambda(context: Context, node: ast.Lambda) -> Abstract:
    return closure(context, node)


def _joined(context: Context, node: ast.JoinedStr) -> Abstract:
    result: Abstract = Constant("")
    for part in node.values:
        piece = _formatted(context, part) if isinstance(part, ast.FormattedValue) else evaluate(context, part)
        empty = isinstance(result, Constant) and result.value == ""
        result = piece if empty else binary(context, "Add", result, piece)
    return result


def _formatted(context: Context, node: ast.FormattedValue) -> Abstract:
    value = evaluate(context, node.value)
    spec = Constant("") if node.format_spec is None else evaluate(context, node.format_spec)
    with context.at(node):
        return spread(context, lambda v: format_value(context, v, spec, node.conversion), value)


def format_value(context: Context, value: Abstract, spec: Abstract, conversion: int = -1) -> Abstract:
    """A value as text, as in an f-string."""
    if not isinstance(spec, Constant):
        raise context.error("a format spec must be known when the program is compiled")
    known = constant_of(context, value)
    if known is not None:
        python = known[0]
        if conversion != -1:
            python = {ord("r"): repr, ord("s"): str, ord("a"): ascii}[conversion](python)
        try:
            return Constant(format(python, spec.value))
        except (TypeError, ValueError) as error:
            context.fails(error)
    if isinstance(value, Scalar) and not spec.value and conversion in (-1, ord("s"), ord("r")):
        if isinstance(context.type_of(value.value), StrType):
            return value
        return Scalar(context.emit("scalar.to_str", value.value))
    if isinstance(value, (Tuple, ListRef)) and not spec.value:
        items = iteration.known_items(context, value)
        parts: list[Abstract] = [Constant("(" if isinstance(value, Tuple) else "[")]
        if isinstance(value, Tuple) and value.type.__name__ == "Size":
            parts = [Constant("ingot.Size([")]
        for position, item in enumerate(items):
            if position:
                parts.append(Constant(", "))
            parts.append(format_value(context, item, spec, ord("r")))
        closing = ")" if isinstance(value, Tuple) else "]"
        if parts[0].value == "ingot.Size([":  # type: ignore[attr-defined]
            closing = "])"
        elif isinstance(value, Tuple) and len(items) == 1:
            closing = ",)"
        parts.append(Constant(closing))
        result = parts[0]
        for part in parts[1:]:
            result = binary(context, "Add", result, part)
        return result
    raise context.error(
        f"{context.describe(value)} cannot be formatted in a compiled program",
        "format numbers and strings, without a format spec; or move the message out of the function",
    )


def constant_of(context: Context, value: Abstract) -> tuple[Any] | None:
    """The Python object that a value is, in a tuple, where it is known when compiling."""
    match value:
        case Constant(value=constant):
            return (constant,)
        case Tuple(items=items, type=cls):
            parts = [constant_of(context, i) for i in items]
            if all(p is not None for p in parts):
                known = [p[0] for p in parts if p is not None]
                return (cls(*known) if hasattr(cls, "_fields") else cls(known),)
        case ListRef(cell=cell) if isinstance(content := context.heap[cell], Items):
            parts = [constant_of(context, i) for i in content.items]
            if all(p is not None for p in parts):
                return ([p[0] for p in parts if p is not None],)
    return None


def _starred(context: Context, node: ast.Starred) -> Abstract:
    raise context.error("`*` is only allowed in calls, assignments and list or tuple displays", node=node)


_HANDLERS: dict[type[ast.expr], Callable[[Context, Any], Abstract]] = {
    ast.Name: _name,
    ast.Constant: _constant,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.NamedExpr: _walrus,
    ast.Tuple: _tuple,
    ast.List: _list,
    ast.Dict: _dict,
    ast.ListComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _dict_comprehension,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.Call: _call,
    ast.Lambda: _lambda,
    ast.JoinedStr: _joined,
    ast.FormattedValue: _formatted,
    ast.Starred: _starred,
}
