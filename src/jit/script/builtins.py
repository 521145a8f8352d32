"""Python's builtins, `math`, and Ingot's own functions that are not single ops, as the compiler knows them."""

import builtins
import warnings
from typing import Any

from . import iteration, lists
from .calls import call, is_instance, python_type
from .context import Context
from .dicts import new_dict
from .iterations import counted_loop
from .objects import attribute, attribute_names
from .operators import number, scalar_kind, spread, truth
from .registry import Handler, expect, handles
from .text import format_value, print_values
from .values import (
    Abstract,
    Constant,
    DictRef,
    Entries,
    ListRef,
    Method,
    ObjectRef,
    Scalar,
    TensorRef,
    Tuple,
    Union,
)

# -- types -------------------------------------------------------------------------------------------------------------


@handles(builtins.isinstance)
def _isinstance(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "isinstance", arguments, 2)

    def one(value: Abstract) -> Abstract:
        answer = is_instance(context, value, arguments[1])
        if answer is None:
            raise context.error(f"isinstance of {context.describe(value)} is not known when compiling")
        return Constant(answer)

    known = is_instance(context, arguments[0], arguments[1])
    return Constant(known) if known is not None else spread(context, one, arguments[0])


@handles(builtins.type)
def _type(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "type", arguments, 1)
    return spread(context, lambda v: Constant(python_type(v)), arguments[0])


@handles(builtins.issubclass)
def _issubclass(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "issubclass", arguments, 2)

    def one(cls: Abstract) -> Abstract:
        found = [a.value if isinstance(a, Constant) else tuple(i.value for i in a.items) for a in (cls, arguments[1])]  # type: ignore[attr-defined]
        try:
            return Constant(issubclass(found[0], found[1]))  # type: ignore[arg-type]
        except TypeError as error:
            raise context.type_error(str(error)) from error

    return spread(context, one, arguments[0])


@handles(builtins.callable)
def _callable(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    value = arguments[0]
    if isinstance(value, Constant):
        return Constant(callable(value.value))
    return Constant(python_type(value) is not None and callable(python_type(value)))


@handles(builtins.hasattr)
def _hasattr(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "hasattr", arguments, 2)
    value, name = arguments
    if not isinstance(name, Constant):
        raise context.error("the name of an attribute must be known when the program is compiled")

    def one(v: Abstract) -> Abstract:
        if isinstance(v, Constant):
            return Constant(hasattr(v.value, name.value))
        if isinstance(v, ObjectRef):
            content = context.heap[v.cell]
            if name.value in attribute_names(content):
                is_sure = not isinstance(content, Entries) or not isinstance(content.attributes[name.value], Union)
                if is_sure:
                    return Constant(True)
        cls = python_type(v)
        return Constant(cls is not None and hasattr(cls, name.value))

    return spread(context, one, value)


@handles(builtins.getattr)
def _getattr(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "getattr", arguments, 2, 3)
    if not isinstance(arguments[1], Constant):
        raise context.error("the name of an attribute must be known when the program is compiled")
    if len(arguments) == 3:
        present = _hasattr(context, arguments[:2], {})
        if isinstance(present, Constant) and not present.value:
            return arguments[2]
    return attribute(context, arguments[0], arguments[1].value)


@handles(builtins.setattr)
def _setattr(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .objects import set_attribute

    expect(context, "setattr", arguments, 3)
    if not isinstance(arguments[1], Constant):
        raise context.error("the name of an attribute must be known when the program is compiled")
    set_attribute(context, arguments[0], arguments[1].value, arguments[2])
    return Constant(None)


# -- conversions -------------------------------------------------------------------------------------------------------


def _convert(name: str, python: type) -> Handler:
    def handler(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
        expect(context, name, arguments, 0, 2 if name == "int" else 1)
        if not arguments:
            return Constant(python())

        def one(value: Abstract) -> Abstract:
            if all(isinstance(a, Constant) for a in arguments) and isinstance(value, Constant):
                rest = [a.value for a in arguments[1:]]  # type: ignore[attr-defined]
                try:
                    return Constant(python(value.value, *rest))
                except (ValueError, OverflowError) as error:
                    context.fails(error)
                except TypeError as error:
                    raise context.type_error(str(error)) from error
            if isinstance(value, TensorRef):
                value = context.item(value)
            if isinstance(value, ObjectRef) and hasattr(value.type, f"__{name}__"):
                return call(context, Method(value, f"__{name}__", getattr(value.type, f"__{name}__")), [], {})
            kind = scalar_kind(value)
            if kind == name:
                return value
            if kind == "str" and name == "int" and len(arguments) > 1:
                return Scalar(context.emit("text.to_int", number(context, value), number(context, arguments[1])))
            if kind in ("bool", "int", "float") or (kind == "str" and name in ("int", "float")):
                return Scalar(context.emit(f"scalar.to_{name}", number(context, value)))
            raise context.type_error(f"{name}() cannot convert {context.describe(value)}")

        return spread(context, one, arguments[0])

    return handler


for _name, _python in (("int", int), ("float", float)):
    handles(_python)(_convert(_name, _python))


@handles(bool)
def _bool(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "bool", arguments, 0, 1)
    value = truth(context, arguments[0]) if arguments else False
    return Constant(value) if isinstance(value, bool) else Scalar(value)


@handles(str)
def _str(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    if not arguments:
        return Constant("")
    return spread(context, lambda v: format_value(context, v, Constant("")), arguments[0])


@handles(repr)
def _repr(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    return spread(context, lambda v: format_value(context, v, Constant(""), ord("r")), arguments[0])


@handles(format)
def _format(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    spec = arguments[1] if len(arguments) > 1 else Constant("")
    return spread(context, lambda v: format_value(context, v, spec), arguments[0])


@handles(tuple)
def _tuple(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    return Tuple(context.known_items(context, arguments[0]) if arguments else ())


@handles(list)
def _list(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    if not arguments:
        return lists.new(context, ())
    if isinstance(arguments[0], ListRef):
        return lists.copy(context, arguments[0])
    sequence = iteration.iterate(context, arguments[0])
    if sequence.items is not None or (isinstance(sequence.length, int) and sequence.length <= 256):
        return lists.new(context, context.known_items(context, sequence))
    result = lists.new(context, ())

    def body(index: Abstract) -> None:
        lists.method(context, result, "append", [sequence.element(index)])

    counted_loop(context, context.node, sequence, body, set(), set(), (), ())
    return result


@handles(dict)
def _dict(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "dict", arguments, 0, 1)
    if arguments and isinstance(arguments[0], DictRef):
        result = context.dicts.copy(context, arguments[0])
    else:
        result = new_dict(context, [])
        for source in arguments:
            context.dicts.update(context, result, source)
    for key_name, value in keywords.items():
        context.dicts.put(context, result, Constant(key_name), value)
    copied: Abstract = result
    return copied


@handles(dict.fromkeys)
def _fromkeys(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "dict.fromkeys", arguments, 1, 2)
    value = arguments[1] if len(arguments) == 2 else Constant(None)
    result = new_dict(context, [])
    iteration.for_each(context, arguments[0], lambda key: context.dicts.put(context, result, key, value))
    return result


@handles(set)
def _set(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "set", arguments, 0, 1)
    made: Abstract = context.sets.of(context, arguments[0]) if arguments else context.sets.new(context, ())
    return made


# -- sequences ---------------------------------------------------------------------------------------------------------


@handles(len)
def _len(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "len", arguments, 1)
    return context.length(arguments[0])


@handles(range)
def _range(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    return iteration.range_of(context, arguments)


@handles(enumerate)
def _enumerate(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "enumerate", arguments, 1, 2)
    start = arguments[1] if len(arguments) > 1 else keywords.get("start", Constant(0))
    return iteration.enumerated(context, arguments[0], start)


@handles(zip)
def _zip(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    return iteration.zipped(context, arguments)


@handles(reversed)
def _reversed(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "reversed", arguments, 1)
    return iteration.reverse(context, arguments[0])


@handles(map)
def _map(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    return iteration.mapped(context, arguments[0], arguments[1:])


@handles(sorted)
def _sorted(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "sorted", arguments, 1)
    result = _list(context, [arguments[0]], {})
    assert isinstance(result, ListRef)
    lists.method(context, result, "sort", [], keywords)
    return result


# -- what has no place in a graph --------------------------------------------------------------------------------------


@handles(print)
def _print(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    return print_values(context, arguments, keywords)


@handles(warnings.warn)
def _warn(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    return Constant(None)


def _refused(name: str) -> Handler:
    def handler(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
        raise context.error(f"{name}() cannot be compiled", "compute it outside the compiled function")

    return handler


_builtin: Any
for _builtin in (id, open, input, eval, exec, iter, next, vars, dir, globals, locals, frozenset, bytes, bytearray):
    handles(_builtin)(_refused(_builtin.__name__))
