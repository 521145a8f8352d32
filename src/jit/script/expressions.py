"""Compiles expressions."""

import ast
import operator
from collections.abc import Callable
from typing import Any

from . import calls, iteration, lists, regions
from .arrays import array_operation
from .context import Context
from .dicts import new_dict
from .generators import early_generator
from .indexing import get_item as tensor_item
from .iterations import counted_loop
from .library_iteration import range_item
from .names import name_value, narrowed
from .objects import attribute, lift
from .operators import binary, compare, scalar_kind, spread, truth, unary
from .text import formatted_value, joined_string, percent_format
from .values import (
    Abstract,
    Closure,
    Constant,
    DictRef,
    ListRef,
    Method,
    ObjectRef,
    Scalar,
    Sequence,
    Slice,
    TensorRef,
    Tuple,
)

__all__ = ["elements", "evaluate", "get_item"]


def evaluate(context: Context, node: ast.expr) -> Abstract:
    """The value of an expression."""
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise context.error(f"{type(node).__name__} expressions cannot be compiled", node=node)
    with context.at(node):
        return handler(context, node)


# -- names -------------------------------------------------------------------------------------------------------------


def _name(context: Context, node: ast.Name) -> Abstract:
    return name_value(context, node.id)


# -- narrowing ---------------------------------------------------------------------------------------------------------


# -- operators ---------------------------------------------------------------------------------------------------------


def _constant(context: Context, node: ast.Constant) -> Abstract:
    return Constant(node.value)


def _binary(context: Context, node: ast.BinOp) -> Abstract:
    left = evaluate(context, node.left)
    right = evaluate(context, node.right)
    if isinstance(node.op, ast.Mod) and isinstance(left, Constant) and isinstance(left.value, str):
        return percent_format(context, left.value, right)
    return binary(context, type(node.op).__name__, left, right)


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


def _yield(context: Context, node: ast.Yield) -> Abstract:
    if context.frame.on_yield is None:
        raise context.error("generators cannot be compiled", "append to a list and return it")
    value = Constant(None) if node.value is None else evaluate(context, node.value)
    found: Abstract = context.frame.on_yield(value)
    return found


def _walrus(context: Context, node: ast.NamedExpr) -> Abstract:
    value = evaluate(context, node.value)
    context.frame.variables[node.target.id] = value
    return value


# -- containers --------------------------------------------------------------------------------------------------------


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
    parts: list[list[Abstract] | ListRef] = [[]]
    for item in node.elts:
        last = parts[-1]
        if not isinstance(item, ast.Starred):
            value = evaluate(context, item)
            parts.append([value]) if isinstance(last, ListRef) else last.append(value)
            continue
        with context.at(item):
            value = evaluate(context, item.value)
            sequence = iteration.iterate(context, value)
            if sequence.items is not None or isinstance(sequence.length, int):
                known = iteration.known_items(context, sequence)
                parts.append([*known]) if isinstance(last, ListRef) else last.extend(known)
            else:
                whole = context.call(Constant(list), [value], {})
                assert isinstance(whole, ListRef)
                parts.append(whole)
    made = [p if isinstance(p, ListRef) else lists.new(context, tuple(p)) for p in parts if isinstance(p, ListRef) or p]
    result: Abstract = made[0] if made else lists.new(context, ())
    for part in made[1:]:
        result = binary(context, "Add", result, part)
    return result


def _dict(context: Context, node: ast.Dict) -> Abstract:
    result = new_dict(context, [])
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            other = evaluate(context, value)
            if not isinstance(other, DictRef):
                raise context.type_error(f"{context.describe(other)} is not a mapping")
            context.dicts.update(context, result, other)
            continue
        context.dicts.put(context, result, evaluate(context, key), evaluate(context, value))
    return result


def _set(context: Context, node: ast.Set) -> Abstract:
    made: Abstract = context.sets.new(context, elements(context, node.elts))
    return made


def _comprehension(context: Context, node: ast.ListComp | ast.GeneratorExp) -> Abstract:
    result = lists.new(context, ())

    def append() -> None:
        value = evaluate(context, node.elt)
        lists.method(context, result, "append", [value])

    _generate(context, node, node.generators, append)
    return result


def _dict_comprehension(context: Context, node: ast.DictComp) -> Abstract:
    result = new_dict(context, [])

    def put() -> None:
        context.dicts.put(context, result, evaluate(context, node.key), evaluate(context, node.value))

    _generate(context, node, node.generators, put)
    return result


def _set_comprehension(context: Context, node: ast.SetComp) -> Abstract:
    result: Abstract = context.sets.new(context, ())
    _generate(context, node, node.generators, lambda: context.sets.add(context, result, evaluate(context, node.elt)))
    return result


_FEW = 16


def _generate(context: Context, node: ast.expr, generators: list[ast.comprehension], body: Callable[[], None]) -> None:
    """Run a comprehension's body for every item; its variables are its own."""
    frame = context.frame
    if not generators:
        body()
        return
    generator = generators[0]
    with context.at(generator.iter):
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

        def inside() -> Abstract:
            conditions(tests[1:])
            return Constant(None)

        regions.branch(context, test, narrowed(context, tests[0], True, inside), lambda: Constant(None))

    def step(item: Abstract) -> None:
        context.assign(generator.target, item)
        conditions(generator.ifs)

    saved = {n: frame.variables.get(n) for n in targets}
    saved_locals = frame.locals
    frame.locals = frame.locals | targets
    try:
        if sequence.items is not None:
            for item in sequence.items:
                step(item)
        elif isinstance(sequence.length, int) and sequence.length <= _FEW:
            # Apart, elements may be known when compiling, and the length of the result is.
            for index in range(sequence.length):
                step(sequence.element(Constant(index)))
        else:
            counted_loop(context, node, sequence, lambda i: step(sequence.element(i)), set(), set(), (), ())
    finally:
        frame.locals = saved_locals
        for name, value in saved.items():
            if value is None:
                frame.variables.pop(name, None)
            else:
                frame.variables[name] = value


# -- attributes, subscripts --------------------------------------------------------------------------------------------


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
        case DictRef():
            entry: Abstract = context.dicts.get(context, value, index)
            return entry
        case Scalar() if scalar_kind(value) == "str":
            found_text: Abstract = context.strings.get(context, value, index)
            return found_text
        case Sequence(kind="range", parts=parts) if not isinstance(index, Slice):
            return context.call(Constant(range_item), [*parts, index], {})
        case Constant(value=constant):
            array = array_operation(context, operator.getitem, value, index)
            return array if array is not None else _constant_item(context, constant, index)
        case ObjectRef(type=cls) if hasattr(cls, "__getitem__"):
            return context.call(Method(value, "__getitem__", cls.__getitem__), [index], {})
    raise context.type_error(f"{context.describe(value)} is not subscriptable")


def _constant_item(context: Context, constant: Any, index: Abstract) -> Abstract:
    if isinstance(index, Slice) and all(isinstance(p, Constant) for p in (index.start, index.stop, index.step)):
        index = Constant(slice(index.start.value, index.stop.value, index.step.value))  # type: ignore[attr-defined]
    if isinstance(index, Tuple) and all(isinstance(i, Constant) for i in index.items):
        index = Constant(tuple(i.value for i in index.items))  # type: ignore[attr-defined]
    if isinstance(index, Constant):
        if isinstance(constant, type) and hasattr(constant, "__class_getitem__"):
            return Constant(constant[index.value])  # type: ignore[index]
        if (isinstance(constant, type) and not hasattr(constant, "__members__")) or not hasattr(
            type(constant), "__getitem__"
        ):
            raise context.type_error(f"{context.describe(Constant(constant))} is not subscriptable")
        try:
            return lift(context, constant[index.value])
        except (IndexError, KeyError, TypeError) as error:
            context.fails(error)
    if hasattr(constant, "__len__") and not isinstance(constant, (str, dict)):
        items = iteration.known_items(context, Constant(constant))
        return iteration.item_of(context, items, index, type(constant).__name__)
    if isinstance(constant, str):
        found: Abstract = context.strings.get(context, Constant(constant), index)
        return found
    raise context.type_error(
        f"{context.describe(Constant(constant))} cannot be indexed by {context.describe(index)} at run time"
    )


def _slice(context: Context, node: ast.Slice) -> Abstract:
    parts = [Constant(None) if p is None else evaluate(context, p) for p in (node.lower, node.upper, node.step)]
    return Slice(*parts)


# -- calls, functions, strings -----------------------------------------------------------------------------------------


def _call(context: Context, node: ast.Call) -> Abstract:
    if isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args:
        return calls.super_of(context)
    function = evaluate(context, node.func)
    found = early_generator(context, node, function)
    if found is not None:
        return found
    arguments = list(elements(context, node.args))
    keywords: dict[str, Abstract] = {}
    for keyword in node.keywords:
        value = evaluate(context, keyword.value)
        if keyword.arg is None:
            if not isinstance(value, DictRef):
                raise context.type_error(f"argument after ** must be a mapping, not {context.describe(value)}")
            for key, entry in context.dicts.known_entries(context, value):
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
    ast.Yield: _yield,
    ast.Tuple: _tuple,
    ast.List: _list,
    ast.Dict: _dict,
    ast.ListComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _dict_comprehension,
    ast.Set: _set,
    ast.SetComp: _set_comprehension,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.Call: _call,
    ast.Lambda: _lambda,
    ast.JoinedStr: joined_string,
    ast.FormattedValue: formatted_value,
    ast.Starred: _starred,
}
