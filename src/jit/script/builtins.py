"""Python's builtins, `math`, and Ingot's own functions that are not single ops, as the compiler knows them."""

import builtins
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

from . import iteration, lists
from .calls import call, is_instance, python_type
from .context import Context
from .objects import attribute
from .operators import binary, compare, is_number, number, scalar_kind, spread, truth, unary
from .values import (
    UNBOUND,
    Abstract,
    Constant,
    DictRef,
    ListRef,
    Method,
    ObjectRef,
    Scalar,
    TensorRef,
    Tuple,
    Union,
)

__all__ = ["BUILTINS", "find_handler", "handles"]

Handler = Callable[[Context, list[Abstract], dict[str, Abstract]], Abstract]
BUILTINS: dict[int, tuple[Any, Handler]] = {}


def handles(*targets: Any) -> Callable[[Handler], Handler]:
    """Register how calls of these objects are compiled."""

    def register(handler: Handler) -> Handler:
        for target in targets:
            BUILTINS[id(target)] = (target, handler)
        return handler

    return register


def find_handler(target: Any) -> Handler | None:
    """How a call of this object is compiled; None where it has no handler."""
    found = BUILTINS.get(id(target))
    if found is not None:
        return found[1]
    from .functions import find_function

    return find_function(target)


def expect(context: Context, name: str, arguments: list[Abstract], low: int, high: int | None = None) -> None:
    """Refuse a wrong number of arguments."""
    high = low if high is None else high
    if not low <= len(arguments) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise context.type_error(f"{name}() expected {wanted} arguments, got {len(arguments)}")


# -- types --------------------------------------------------------------------------------------------------------------


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
    classes = [a.value if isinstance(a, Constant) else tuple(i.value for i in a.items) for a in arguments]  # type: ignore[attr-defined]
    return Constant(issubclass(*classes))


@handles(builtins.callable)
def _callable(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    value = arguments[0]
    if isinstance(value, Constant):
        return Constant(callable(value.value))
    return Constant(python_type(value) is not None and hasattr(python_type(value), "__call__"))


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
            found = context.heap[v.cell].attributes.get(name.value, UNBOUND)
            if found is not UNBOUND and not isinstance(found, Union):
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


# -- conversions --------------------------------------------------------------------------------------------------------


def _convert(name: str, python: type) -> Handler:
    def handler(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
        expect(context, name, arguments, 0, 2 if name in ("int", "complex") else 1)
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
            if kind in ("bool", "int", "float") or (kind == "str" and name in ("int", "float")):
                return Scalar(context.emit(f"scalar.to_{name}", number(context, value)))
            raise context.type_error(f"{name}() cannot convert {context.describe(value)}")

        return spread(context, one, arguments[0])

    return handler


for _name, _python in (("int", int), ("float", float)):
    handles(_python)(_convert(_name, _python))


@handles(complex)
def _complex(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    if all(isinstance(a, Constant) for a in arguments):
        return Constant(complex(*(a.value for a in arguments)))  # type: ignore[attr-defined]
    raise context.error("complex numbers computed at run time are not supported", "use a complex tensor")


@handles(bool)
def _bool(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "bool", arguments, 0, 1)
    value = truth(context, arguments[0]) if arguments else False
    return Constant(value) if isinstance(value, bool) else Scalar(value)


@handles(str)
def _str(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .expressions import format_value

    if not arguments:
        return Constant("")
    return spread(context, lambda v: format_value(context, v, Constant("")), arguments[0])


@handles(repr)
def _repr(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .expressions import format_value

    return spread(context, lambda v: format_value(context, v, Constant(""), ord("r")), arguments[0])


@handles(format)
def _format(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .expressions import format_value

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
    from .statements import counted_loop

    def body(index: Abstract) -> None:
        lists.method(context, result, "append", [sequence.element(index)])  # type: ignore[arg-type]

    counted_loop(context, context.node, sequence, body, set(), set(), (), ())
    return result


@handles(dict)
def _dict(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .expressions import dict_key, new_dict

    entries: list[tuple[Any, Abstract]] = []
    if arguments:
        source = arguments[0]
        if isinstance(source, DictRef):
            entries = list(context.heap[source.cell].entries)
        else:
            for pair in context.known_items(context, source):
                key, value = context.known_items(context, pair)
                entries.append((dict_key(context, key), value))
    for key_name, value in keywords.items():
        entries = [(k, v) for k, v in entries if k != key_name] + [(key_name, value)]
    return new_dict(context, entries)


# -- sequences ----------------------------------------------------------------------------------------------------------


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


@handles(filter)
def _filter(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "filter", arguments, 2)
    function, source = arguments
    kept = []
    for item in context.known_items(context, source):
        test = truth(
            context,
            item if isinstance(function, Constant) and function.value is None else call(context, function, [item], {}),
        )
        if not isinstance(test, bool):
            raise context.error("filter() by a condition that is known at run time only", "use a list comprehension")
        if test:
            kept.append(item)
    return lists.new(context, tuple(kept))


@handles(sorted)
def _sorted(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "sorted", arguments, 1)
    items = arguments[0]
    backwards = keywords.pop("reverse", Constant(False))
    key = keywords.pop("key", Constant(None))
    if not isinstance(backwards, Constant) or not (isinstance(key, Constant) and key.value is None):
        raise context.error("sorted() with a key is not supported", "sort a tensor with ingot.sort")
    result = _list(context, [items], {})
    assert isinstance(result, ListRef)
    lists.method(context, result, "sort", [])
    if backwards.value:
        lists.method(context, result, "reverse", [])
    return result


def fold(
    context: Context, source: Abstract, start: Abstract, step: Callable[[Abstract, Abstract], Abstract]
) -> Abstract:
    """Combine the elements of something iterable from left to right, in a loop where its length is not known."""
    sequence = iteration.iterate(context, source)
    if sequence.items is not None:
        for item in sequence.items:
            start = step(start, item)
        return start
    from .statements import counted_loop

    frame = context.frame
    name = f"$fold{len(frame.variables)}"
    frame.variables[name] = start

    def body(index: Abstract) -> None:
        frame.variables[name] = step(frame.variables[name], sequence.element(index))  # type: ignore[arg-type]

    counted_loop(context, context.node, sequence, body, {name}, set(), (name,), (name,))
    return frame.variables.pop(name)


@handles(sum)
def _sum(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "sum", arguments, 1, 2)
    start = arguments[1] if len(arguments) > 1 else keywords.get("start", Constant(0))
    return fold(context, arguments[0], start, lambda a, b: binary(context, "Add", a, b))


@handles(any, all)
def _any_all(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    raise AssertionError("replaced below")


def _quantifier(name: str) -> Handler:
    def handler(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
        expect(context, name, arguments, 1)

        def step(accumulated: Abstract, item: Abstract) -> Abstract:
            test = truth(context, item)
            value = Constant(test) if isinstance(test, bool) else Scalar(test)
            if isinstance(accumulated, Constant):
                return value if accumulated.value == (name == "all") else accumulated
            if isinstance(value, Constant):
                return accumulated if value.value == (name == "all") else value
            op = "scalar.or_" if name == "any" else "scalar.and_"
            return Scalar(context.emit(op, number(context, accumulated), number(context, value)))

        return fold(context, arguments[0], Constant(name == "all"), step)

    return handler


handles(any)(_quantifier("any"))
handles(all)(_quantifier("all"))


def _extreme(name: str) -> Handler:
    python: Callable[..., Any] = getattr(builtins, name)

    def pick(context: Context, a: Abstract, b: Abstract) -> Abstract:
        """The first of equal ones, as Python does; NaN compares false."""
        if isinstance(a, Constant) and isinstance(b, Constant):
            try:
                return Constant(python(a.value, b.value))
            except TypeError as error:
                raise context.type_error(str(error)) from error
        kinds = scalar_kind(a), scalar_kind(b)
        if kinds == ("int", "int"):
            return Scalar(context.emit(f"scalar.{name}", number(context, a), number(context, b)))
        test = truth(context, compare(context, "Lt" if name == "min" else "Gt", b, a))
        if isinstance(test, bool):
            return b if test else a
        from .regions import branch

        return branch(context, test, lambda: b, lambda: a, live=None)

    def handler(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
        default = keywords.get("default")
        if "key" in keywords:
            raise context.error(f"{name}() with a key is not supported", "use a loop")
        if len(arguments) == 1:
            sequence = iteration.iterate(context, arguments[0])
            if sequence.items is None:
                if sequence.length is None or not isinstance(sequence.length, int) or default is not None:
                    raise context.error(
                        f"{name}() of a sequence whose length is known at run time only",
                        f"use ingot.a{name} on a tensor, or a loop",
                    )
            items = list(context.known_items(context, sequence))
            if not items:
                if default is not None:
                    return default
                context.fails(ValueError(f"{name}() iterable argument is empty"))
        else:
            items = list(arguments)
        result = items[0]
        for item in items[1:]:
            result = spread(context, lambda a, b: pick(context, a, b), result, item)
        return result

    return handler


handles(max)(_extreme("max"))
handles(min)(_extreme("min"))


# -- numbers ------------------------------------------------------------------------------------------------------------


@handles(abs)
def _abs(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "abs", arguments, 1)

    def one(value: Abstract) -> Abstract:
        if isinstance(value, Constant) and is_number(value):
            return Constant(abs(value.value))
        if isinstance(value, TensorRef):
            return call(context, Method(value, "abs"), [], {})
        if is_number(value):
            operand = number(context, value)
            if scalar_kind(value) == "bool":
                operand = context.emit("scalar.to_int", operand)
            return Scalar(context.emit("scalar.abs", operand))
        found = context.user_operator("abs", value)
        if found is not None:
            return found
        raise context.type_error(f"bad operand type for abs(): {context.describe(value)}")

    return spread(context, one, arguments[0])


@handles(round)
def _round(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "round", arguments, 1, 2)
    digits = arguments[1] if len(arguments) == 2 else keywords.get("ndigits", Constant(None))

    def one(value: Abstract) -> Abstract:
        if isinstance(value, Constant) and isinstance(digits, Constant):
            try:
                return Constant(round(value.value, digits.value) if digits.value is not None else round(value.value))
            except (ValueError, OverflowError) as error:
                context.fails(error)
        if isinstance(value, TensorRef):
            return call(context, Method(value, "round"), [], {})
        if isinstance(digits, Constant) and digits.value is None and scalar_kind(value) in ("float", "int"):
            if scalar_kind(value) == "int":
                return value
            return Scalar(context.emit("scalar.round", number(context, value)))
        raise context.error(
            "round() to a number of digits is not supported at run time", "scale, round to an integer and scale back"
        )

    return spread(context, one, arguments[0])


@handles(divmod)
def _divmod(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "divmod", arguments, 2)
    return Tuple((binary(context, "FloorDiv", *arguments), binary(context, "Mod", *arguments)))


@handles(pow)
def _pow(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "pow", arguments, 2)
    return binary(context, "Pow", *arguments)


@handles(print)
def _print(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    raise context.error("print() cannot be compiled", "return the value and print it outside")


@handles(warnings.warn)
def _warn(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    return Constant(None)


@handles(id, hash, open, input, eval, exec, iter, next, vars, dir, globals, locals, set, frozenset, bytes, bytearray)
def _refused(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    raise context.error("this builtin cannot be compiled", "compute it outside the compiled function")


# -- math and operator --------------------------------------------------------------------------------------------------

_MATH_TO_INT = {"floor", "ceil", "trunc"}


def _math(name: str) -> Handler:
    python: Callable[..., Any] = getattr(math, name)

    def handler(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
        def one(*values: Abstract) -> Abstract:
            values = tuple(context.item(v) if isinstance(v, TensorRef) else v for v in values)
            if all(isinstance(v, Constant) for v in values):
                try:
                    return Constant(python(*(v.value for v in values)))  # type: ignore[attr-defined]
                except TypeError as error:
                    raise context.type_error(str(error)) from error
                except (ValueError, OverflowError, ZeroDivisionError) as error:
                    context.fails(error)
            if not all(is_number(v) for v in values):
                shown = ", ".join(context.describe(v) for v in values)
                raise context.type_error(f"math.{name}: expected numbers, given {shown}")
            if name in _MATH_TO_INT and all(scalar_kind(v) == "int" for v in values):
                return values[0]
            operands = [number(context, v) for v in values]
            if name not in _MATH_TO_INT and name not in ("gcd", "isqrt"):
                operands = [
                    o if scalar_kind(v) == "float" else context.emit("scalar.to_float", o)
                    for v, o in zip(values, operands, strict=True)
                ]
            try:
                return Scalar(context.emit(f"scalar.{name}", *operands))
            except KeyError:
                raise context.error(f"math.{name} of run-time numbers is not supported") from None

        return spread(context, one, *arguments)

    return handler


for _name in dir(math):
    if callable(getattr(math, _name)) and not _name.startswith("_"):
        handles(getattr(math, _name))(_math(_name))

_OPERATORS = {
    "add": "Add", "sub": "Sub", "mul": "Mult", "truediv": "Div", "floordiv": "FloorDiv", "mod": "Mod", "pow": "Pow",
    "matmul": "MatMult", "and_": "BitAnd", "or_": "BitOr", "xor": "BitXor", "lshift": "LShift", "rshift": "RShift",
}  # fmt: skip
for _name, _node in _OPERATORS.items():
    handles(getattr(operator, _name))(lambda c, a, k, _node=_node: binary(c, _node, *a))  # type: ignore[misc]
for _name, _node in {"eq": "Eq", "ne": "NotEq", "lt": "Lt", "le": "LtE", "gt": "Gt", "ge": "GtE"}.items():
    handles(getattr(operator, _name))(lambda c, a, k, _node=_node: compare(c, _node, *a))  # type: ignore[misc]
for _name, _node in {"neg": "USub", "pos": "UAdd", "invert": "Invert", "not_": "Not"}.items():
    handles(getattr(operator, _name))(lambda c, a, k, _node=_node: unary(c, _node, *a))  # type: ignore[misc]


@handles(operator.getitem)
def _getitem(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .expressions import get_item

    return get_item(context, *arguments)
