"""Python's numeric builtins, `math` and `operator`, on numbers known now or at run time."""

import builtins
import math
import operator
from collections.abc import Callable
from typing import Any

from . import iteration
from .calls import call
from .context import Context
from .iterations import counted_loop
from .operators import binary, compare, is_number, number, scalar_kind, spread, truth, unary
from .regions import branch
from .registry import Handler, expect, handles
from .values import (
    Abstract,
    Constant,
    ListRef,
    Method,
    Scalar,
    Slice,
    TensorRef,
    Tuple,
)


def fold(
    context: Context, source: Abstract, start: Abstract, step: Callable[[Abstract, Abstract], Abstract]
) -> Abstract:
    """Combine the elements of something iterable from left to right, in a loop where its length is not known."""
    sequence = iteration.iterate(context, source)
    if sequence.items is not None:
        for item in sequence.items:
            start = step(start, item)
        return start
    frame = context.frame
    name = f"$fold{len(frame.variables)}"
    frame.variables[name] = start

    def body(index: Abstract) -> None:
        frame.variables[name] = step(frame.variables[name], sequence.element(index))

    counted_loop(context, context.node, sequence, body, {name}, set(), (name,), (name,))
    return frame.variables.pop(name)


@handles(sum)
def _sum(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "sum", arguments, 1, 2)
    start = arguments[1] if len(arguments) > 1 else keywords.get("start", Constant(0))
    return fold(context, arguments[0], start, lambda a, b: binary(context, "Add", a, b))


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

    def choose(context: Context, key: Abstract | None, best: Abstract, item: Abstract) -> Abstract:
        """The better of two; with a key, both are pairs (key, item)."""
        if key is None:
            return spread(context, lambda a, b: pick(context, a, b), best, item)
        assert isinstance(best, Tuple) and isinstance(item, Tuple)
        left, right = best.items[0], item.items[0]
        test = truth(context, compare(context, "Lt" if name == "min" else "Gt", right, left))
        if isinstance(test, bool):
            return item if test else best
        from .regions import branch

        return branch(context, test, lambda: item, lambda: best, live=None)

    def handler(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
        default = keywords.get("default")
        key = keywords.get("key", Constant(None))
        chooser = None if isinstance(key, Constant) and key.value is None else key

        def keyed(item: Abstract) -> Abstract:
            return item if chooser is None else Tuple((call(context, chooser, [item], {}), item))

        def unkeyed(item: Abstract) -> Abstract:
            return item.items[1] if chooser is not None and isinstance(item, Tuple) else item

        def better(best: Abstract, item: Abstract) -> Abstract:
            return choose(context, chooser, best, keyed(item))

        if len(arguments) == 1:
            sequence = iteration.iterate(context, arguments[0])
            if sequence.items is None and not isinstance(sequence.length, int):
                # Elements that are computed must be computed once: a list holds them.
                items = (
                    arguments[0] if isinstance(arguments[0], ListRef) else call(context, Constant(list), [sequence], {})
                )
                return _extreme_of_list(context, name, items, default, keyed, unkeyed, better)
            known = list(context.known_items(context, sequence))
            if not known:
                if default is not None:
                    return default
                context.fails(ValueError(f"{name}() iterable argument is empty"))
        else:
            known = list(arguments)
        result = keyed(known[0])
        for item in known[1:]:
            result = better(result, item)
        return unkeyed(result)

    return handler


def _extreme_of_list(
    context: Context,
    name: str,
    items: Abstract,
    default: Abstract | None,
    keyed: Callable[[Abstract], Abstract],
    unkeyed: Callable[[Abstract], Abstract],
    better: Callable[[Abstract, Abstract], Abstract],
) -> Abstract:
    """min() or max() of a list whose length is known at run time only."""
    from .regions import branch

    assert isinstance(items, ListRef)

    def empty() -> Abstract:
        if default is None:
            context.fails(ValueError(f"{name}() iterable argument is empty"))
        return default

    def found() -> Abstract:
        first = keyed(context.lists.get(context, items, Constant(0)))
        return unkeyed(fold(context, context.lists.get(context, items, _FROM_SECOND), first, better))

    has_some = truth(context, items)
    if isinstance(has_some, bool):
        return found() if has_some else empty()
    return branch(context, has_some, found, empty, live=None)


_FROM_SECOND = Slice(Constant(1), Constant(None), Constant(None))


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
        kinds = scalar_kind(value), scalar_kind(digits)
        if kinds[0] == "float" and kinds[1] in ("int", "bool"):
            places = context.call(Constant(int), [digits], {})
            return Scalar(context.emit("text.round", number(context, value), number(context, places)))
        if kinds[0] in ("int", "bool") and isinstance(digits, Constant) and isinstance(digits.value, int):
            return _round_int(context, context.call(Constant(int), [value], {}), digits.value)
        raise context.error(
            f"round() of {context.describe(value)} to {context.describe(digits)} digits cannot be compiled",
            "round a float to an int number of digits",
        )

    return spread(context, one, arguments[0])


def _round_int(context: Context, value: Abstract, digits: int) -> Abstract:
    """An int rounded to tens, hundreds, ...: half to even."""
    if digits >= 0:
        return value
    unit = Constant(10**-digits)
    quotient, rest = (binary(context, op, value, unit) for op in ("FloorDiv", "Mod"))
    twice = binary(context, "Mult", rest, Constant(2))
    odd = compare(context, "Eq", binary(context, "Mod", quotient, Constant(2)), Constant(1))
    more = compare(context, "Gt", twice, unit)
    half = compare(context, "Eq", twice, unit)
    up = binary(context, "BitOr", more, binary(context, "BitAnd", half, odd))
    return binary(context, "Mult", binary(context, "Add", quotient, up), unit)


@handles(divmod)
def _divmod(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "divmod", arguments, 2)
    kinds = {scalar_kind(a) for a in arguments}
    if "float" in kinds and kinds <= {"bool", "int", "float"}:
        zero = truth(context, compare(context, "Eq", arguments[1], Constant(0)))
        if zero is True:
            context.fails(ZeroDivisionError("float divmod()"))
        if not isinstance(zero, bool):

            def refuse() -> Abstract:
                context.fails(ZeroDivisionError("float divmod()"))

            branch(context, zero, refuse, lambda: Constant(None))
    return Tuple((binary(context, "FloorDiv", *arguments), binary(context, "Mod", *arguments)))


@handles(pow)
def _pow(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "pow", arguments, 2)
    return binary(context, "Pow", *arguments)


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


_OPERATORS = {
    "add": "Add", "sub": "Sub", "mul": "Mult", "truediv": "Div", "floordiv": "FloorDiv", "mod": "Mod", "pow": "Pow",
    "matmul": "MatMult", "and_": "BitAnd", "or_": "BitOr", "xor": "BitXor", "lshift": "LShift", "rshift": "RShift",
}  # fmt: skip


@handles(operator.getitem)
def _getitem(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .expressions import get_item

    return get_item(context, *arguments)


handles(any)(_quantifier("any"))
handles(all)(_quantifier("all"))
handles(max)(_extreme("max"))
handles(min)(_extreme("min"))
for _name in dir(math):
    if callable(getattr(math, _name)) and not _name.startswith("_"):
        handles(getattr(math, _name))(_math(_name))

for _name, _node in _OPERATORS.items():
    handles(getattr(operator, _name))(lambda c, a, k, _node=_node: binary(c, _node, *a))  # type: ignore[misc]
for _name, _node in {"eq": "Eq", "ne": "NotEq", "lt": "Lt", "le": "LtE", "gt": "Gt", "ge": "GtE"}.items():
    handles(getattr(operator, _name))(lambda c, a, k, _node=_node: compare(c, _node, *a))  # type: ignore[misc]
for _name, _node in {"neg": "USub", "pos": "UAdd", "invert": "Invert", "not_": "Not"}.items():
    handles(getattr(operator, _name))(lambda c, a, k, _node=_node: unary(c, _node, *a))  # type: ignore[misc]
