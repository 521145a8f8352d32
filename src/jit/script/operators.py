"""Python's operators on what variables hold: numbers, tensors, sequences, and unions of them."""

import operator
from collections.abc import Callable
from typing import Any

from ...ir.core import Block, Value
from ...ir.dims import Dim
from ...ir.ops._op import Op
from ...ir.types import BoolType, ComplexType, FloatType, IntType, StrType
from .arrays import array_operation
from .context import Context
from .library_iteration import range_contains
from .regions import branch, choose
from .values import (
    UNBOUND,
    Abstract,
    Constant,
    DictRef,
    Items,
    ListRef,
    Method,
    ObjectRef,
    RunTimeItems,
    Scalar,
    Sequence,
    SetRef,
    TensorRef,
    Tuple,
    Union,
    constant_key,
)

__all__ = [
    "as_bool", "binary", "compare", "contains", "is_number", "narrow", "number", "scalar_kind", "spread", "truth",
    "unary",
]  # fmt: skip

_BINARY: dict[str, tuple[str, Callable[[Any, Any], Any], str]] = {
    "Add": ("add", operator.add, "+"),
    "Sub": ("sub", operator.sub, "-"),
    "Mult": ("mul", operator.mul, "*"),
    "Div": ("truediv", operator.truediv, "/"),
    "FloorDiv": ("floordiv", operator.floordiv, "//"),
    "Mod": ("mod", operator.mod, "%"),
    "Pow": ("pow", operator.pow, "**"),
    "MatMult": ("matmul", operator.matmul, "@"),
    "BitAnd": ("and", operator.and_, "&"),
    "BitOr": ("or", operator.or_, "|"),
    "BitXor": ("xor", operator.xor, "^"),
    "LShift": ("lshift", operator.lshift, "<<"),
    "RShift": ("rshift", operator.rshift, ">>"),
}
_SCALAR_OPS = {"and": "scalar.and_", "or": "scalar.or_", "xor": "scalar.xor"}
_COMPARE: dict[str, tuple[str, Callable[[Any, Any], Any], str]] = {
    "Eq": ("eq", operator.eq, "=="),
    "NotEq": ("ne", operator.ne, "!="),
    "Lt": ("lt", operator.lt, "<"),
    "LtE": ("le", operator.le, "<="),
    "Gt": ("gt", operator.gt, ">"),
    "GtE": ("ge", operator.ge, ">="),
}
_UNARY: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "USub": ("neg", operator.neg, "-"),
    "UAdd": ("pos", operator.pos, "+"),
    "Invert": ("invert", operator.invert, "~"),
}
_SWAPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
_MAX_REPEAT = 4096


def spread(context: Context, function: Callable[..., Abstract], *values: Abstract) -> Abstract:
    """Call `function` on values without unions: where there is one, on each alternative, chosen at run time."""
    for position, value in enumerate(values):
        if isinstance(value, Union):

            def alternative(chosen: Abstract, position: int = position) -> Callable[[], Abstract]:
                rest = (*values[:position], chosen, *values[position + 1 :])
                return lambda: spread(context, function, *rest)

            context.speculative += 1
            try:
                return choose(context, value.tag, [alternative(a) for a in value.alternatives])
            finally:
                context.speculative -= 1
    return function(*values)


def narrow(context: Context, value: Union, keep: Callable[[Abstract], bool]) -> Abstract:
    """The union without the alternatives that a test has ruled out."""
    kept = [i for i, a in enumerate(value.alternatives) if keep(a)]
    if len(kept) == len(value.alternatives) or not kept:
        return value
    if len(kept) == 1:
        return value.alternatives[kept[0]]
    tag = context.constant(len(kept) - 1)
    for position in range(len(kept) - 2, -1, -1):
        condition = context.emit("scalar.eq", value.tag, context.constant(kept[position]))
        regions = [Block(), Block()]
        with context.inside(regions[0]):
            context.builder.yield_([context.constant(position)])
        with context.inside(regions[1]):
            context.builder.yield_([tag])
        (tag,) = context.builder.emit_all("if", [condition], {}, regions, (IntType(),))
    return Union(tag, tuple(value.alternatives[i] for i in kept))


# -- numbers -----------------------------------------------------------------------------------------------------------


def scalar_kind(value: Abstract) -> str | None:
    """ "bool", "int", "float", "complex" or "str" for a scalar, known or not; None for anything else."""
    if isinstance(value, Scalar):
        match value.value.type:
            case BoolType():
                return "bool"
            case IntType():
                return "int"
            case FloatType():
                return "float"
            case ComplexType():
                return "complex"
            case StrType():
                return "str"
        return None
    if isinstance(value, Constant) and isinstance(value.value, (bool, int, float, complex, str)):
        return next(t.__name__ for t in (bool, int, float, complex, str) if isinstance(value.value, t))
    return None


def is_number(value: Abstract) -> bool:
    return scalar_kind(value) in ("bool", "int", "float", "complex")


def number(context: Context, value: Abstract) -> Value:
    """A scalar as a graph value."""
    if isinstance(value, Scalar):
        return value.value
    assert isinstance(value, Constant)
    return context.constant(value.value)


def as_bool(context: Context, value: Abstract) -> bool | Value:
    """A bool as Python's or the graph's."""
    if isinstance(value, Constant):
        return bool(value.value)
    assert isinstance(value, Scalar)
    return value.value


def _wrap(context: Context, value: Value) -> Abstract:
    """An int whose size expression is a plain number is a constant."""
    type = context.type_of(value)
    if isinstance(type, IntType) and isinstance(type.value, int):
        return Constant(type.value)
    return Scalar(value)


# -- arithmetic --------------------------------------------------------------------------------------------------------


def binary(context: Context, node_type: str, left: Abstract, right: Abstract) -> Abstract:
    """`left op right`; `node_type` is the name of the operator's syntax node."""
    return spread(context, lambda a, b: _binary(context, node_type, a, b), left, right)


def tensor_operator(context: Context, dunder: str) -> Op | None:
    """The op record behind an operator method of tensors."""
    method = getattr(context.tensor_class, dunder, None)
    found: Op | None = getattr(method, "__ingot_op__", None)
    return found


def _binary(context: Context, node_type: str, left: Abstract, right: Abstract) -> Abstract:
    name, function, symbol = _BINARY[node_type]
    array = array_operation(context, function, left, right)
    if array is not None:
        return array
    if isinstance(left, TensorRef) or isinstance(right, TensorRef):
        if all(isinstance(v, TensorRef) or is_number(v) for v in (left, right)):
            op = tensor_operator(context, f"__{name}__")
            if op is not None:
                return context.call_op(op, (left, right), {})
        return _refuse(context, symbol, left, right)
    if (
        isinstance(left, Constant)
        and isinstance(right, Constant)
        and (is_number(left) or is_number(right) or isinstance(left.value, str))
    ):
        return _fold(context, function, left.value, right.value)
    kinds = scalar_kind(left), scalar_kind(right)
    if None not in kinds:
        if name == "mul" and set(kinds) in ({"str", "int"}, {"str", "bool"}):
            text, count = (left, right) if kinds[0] == "str" else (right, left)
            repeated: Abstract = context.strings.repeat(context, text, count)
            return repeated
        if "str" in kinds and not (kinds == ("str", "str") and name == "add"):
            return _refuse(context, symbol, left, right)
        op_name = _SCALAR_OPS.get(name, f"scalar.{name}")
        return _wrap(context, context.emit(op_name, number(context, left), number(context, right)))
    if isinstance(left, Tuple) and isinstance(right, Tuple) and name == "add":
        return Tuple(left.items + right.items)
    if name == "mul" and (isinstance(left, (Tuple, ListRef)) or isinstance(right, (Tuple, ListRef))):
        return _repeat(context, symbol, left, right)
    if isinstance(left, ListRef) and isinstance(right, ListRef) and name == "add":
        joined: Abstract = context.lists.concatenate(context, left, right)
        return joined
    if isinstance(left, DictRef) and isinstance(right, DictRef) and node_type == "BitOr":
        merged: Abstract = context.dicts.merged(context, left, right)
        return merged
    if isinstance(left, SetRef) and isinstance(right, SetRef):
        combined: Abstract | None = context.sets.combined(context, node_type, left, right)
        if combined is not None:
            return combined
    found = context.user_operator(name, left, right)
    return found if found is not None else _refuse(context, symbol, left, right)


def _repeat(context: Context, symbol: str, left: Abstract, right: Abstract) -> Abstract:
    sequence, count = (left, right) if isinstance(left, (Tuple, ListRef)) else (right, left)
    if not isinstance(count, Constant) or type(count.value) is not int:
        if isinstance(sequence, ListRef) and scalar_kind(count) == "int":
            repeated: Abstract = context.lists.repeat(context, sequence, count)
            return repeated
        return _refuse(context, symbol, left, right)
    if isinstance(sequence, Tuple):
        if len(sequence.items) * count.value > _MAX_REPEAT:
            raise context.error(f"a tuple of more than {_MAX_REPEAT} elements", "use a tensor")
        return Tuple(sequence.items * count.value)
    assert isinstance(sequence, ListRef)
    result: Abstract = context.lists.repeat(context, sequence, count)
    return result


def _fold(context: Context, function: Callable[..., Any], *values: Any) -> Abstract:
    if function is operator.pow and all(isinstance(v, int) for v in values) and abs(values[1]) > 4096:
        raise context.error("the integer power is too large", "ints of compiled programs have 64 bits")
    if function is operator.lshift and all(isinstance(v, int) for v in values) and values[1] > 4096:
        raise context.error("the shifted integer is too large", "ints of compiled programs have 64 bits")
    try:
        return Constant(function(*values))
    except TypeError as error:
        raise context.type_error(str(error)) from error
    except Exception as error:
        context.fails(error)


def _refuse(context: Context, symbol: str, left: Abstract, right: Abstract) -> Abstract:
    raise context.type_error(
        f"unsupported operand types for {symbol}: {context.describe(left)} and {context.describe(right)}"
    )


def unary(context: Context, node_type: str, operand: Abstract) -> Abstract:
    """`op operand`."""
    if node_type == "Not":
        value = truth(context, operand)
        return Constant(not value) if isinstance(value, bool) else Scalar(context.emit("scalar.not_", value))
    return spread(context, lambda v: _unary(context, node_type, v), operand)


def _unary(context: Context, node_type: str, operand: Abstract) -> Abstract:
    name, function, symbol = _UNARY[node_type]
    if isinstance(operand, TensorRef):
        if name == "pos":
            return operand
        op = tensor_operator(context, f"__{name}__")
        if op is not None:
            return context.call_op(op, (operand,), {})
    elif isinstance(operand, Constant) and is_number(operand):
        return _fold(context, function, operand.value)
    elif scalar_kind(operand) in ("bool", "int", "float", "complex"):
        value = number(context, operand)
        kind = scalar_kind(operand)
        if name == "neg":
            return _wrap(context, context.emit("scalar.neg", value))
        if name == "pos":
            return Scalar(context.emit("scalar.to_int", value)) if kind == "bool" else operand
        if kind in ("bool", "int"):  # ~x == -x - 1
            return Scalar(context.emit("scalar.sub", context.emit("scalar.neg", value), context.constant(1)))
    found = context.user_operator(name, operand)
    if found is not None:
        return found
    raise context.type_error(f"unsupported operand type for unary {symbol}: {context.describe(operand)}")


# -- truth -------------------------------------------------------------------------------------------------------------


def truth(context: Context, value: Abstract) -> bool | Value:
    """Whether a value counts as true: known now, or a bool of the graph."""
    return as_bool(context, spread(context, lambda v: _truth(context, v), value))


def _truth(context: Context, value: Abstract) -> Abstract:
    match value:
        case Constant(value=constant):
            try:
                return Constant(bool(constant))
            except Exception as error:
                context.fails(error)
        case Scalar(value=graph_value):
            match context.type_of(graph_value):
                case BoolType():
                    return value
                case StrType():
                    return Scalar(context.emit("scalar.ne", graph_value, context.constant("")))
            return Scalar(context.emit("scalar.to_bool", graph_value))
        case TensorRef():
            return _truth(context, context.item(value, "bool"))
        case Tuple(items=items):
            return Constant(bool(items))
        case ListRef() | DictRef() | SetRef():
            return _truth(context, context.length(value))
        case ObjectRef():
            for method in ("__bool__", "__len__"):
                if hasattr(value.type, method):
                    return _truth(context, context.call(Method(value, method), [], {}))
    return Constant(True)


# -- comparison --------------------------------------------------------------------------------------------------------


def compare(context: Context, node_type: str, left: Abstract, right: Abstract) -> Abstract:
    """`left op right` for one comparison operator."""
    match node_type:
        case "Is" | "IsNot":
            same = spread(context, lambda a, b: _is(context, a, b), left, right)
            return same if node_type == "Is" else unary(context, "Not", same)
        case "In" | "NotIn":
            found = spread(context, lambda a, b: contains(context, b, a), left, right)
            return found if node_type == "In" else unary(context, "Not", found)
    return spread(context, lambda a, b: _compare(context, node_type, a, b), left, right)


def _compare(context: Context, node_type: str, left: Abstract, right: Abstract) -> Abstract:
    name, function, symbol = _COMPARE[node_type]
    if isinstance(left, TensorRef) or isinstance(right, TensorRef):
        if all(isinstance(v, TensorRef) or is_number(v) for v in (left, right)):
            if not isinstance(left, TensorRef):
                left, right, name = right, left, _SWAPPED[name]
            op = tensor_operator(context, f"__{name}__")
            if op is not None:
                return context.call_op(op, (left, right), {})
        if name in ("eq", "ne"):
            return Constant(name == "ne")
        raise _uncomparable(context, symbol, left, right)
    if isinstance(left, Constant) and isinstance(right, Constant):
        return _fold(context, function, left.value, right.value)
    kinds = scalar_kind(left), scalar_kind(right)
    if None not in kinds:
        if ("str" in kinds) != (kinds == ("str", "str")):
            if name in ("eq", "ne"):
                return Constant(name == "ne")
            raise _uncomparable(context, symbol, left, right)
        known = _compare_sizes(context, function, left, right) if set(kinds) == {"int"} else None
        if known is not None:
            return Constant(known)
        return Scalar(context.emit(f"scalar.{name}", number(context, left), number(context, right)))
    left_items, right_items = _known_items(context, left), _known_items(context, right)
    if left_items is not None and right_items is not None and isinstance(left, Tuple) == isinstance(right, Tuple):
        return _compare_items(context, node_type, left_items, right_items)
    if isinstance(left, SetRef) and isinstance(right, SetRef):
        compared: Abstract = context.sets.compared(context, node_type, left, right)
        return compared
    if isinstance(left, DictRef) and isinstance(right, DictRef) and name in ("eq", "ne"):
        same_dict: Abstract = context.dicts.equals(context, left, right)
        return same_dict if name == "eq" else unary(context, "Not", same_dict)
    if isinstance(left, ListRef) and isinstance(right, ListRef):
        return _compare_lists(context, node_type, left, right)
    found = context.user_operator(name, left, right)
    if found is not None:
        return found
    if name in ("eq", "ne") and not (isinstance(left, ListRef) and isinstance(right, ListRef)):
        same = _is(context, left, right)
        return same if name == "eq" else unary(context, "Not", same)
    raise _uncomparable(context, symbol, left, right)


def _compare_lists(context: Context, node_type: str, left: ListRef, right: ListRef) -> Abstract:
    """The comparison of lists of which one is a list of the graph."""
    values = context.lists.alike(context, left, right)
    if values is None:  # one is empty, so that its length says it all
        return _compare(context, node_type, context.length(left), context.length(right))
    if node_type in ("Eq", "NotEq"):
        same = Scalar(context.emit("list.equals", *values))
        return same if node_type == "Eq" else unary(context, "Not", same)
    return _compare(context, node_type, Scalar(context.emit("list.compare", *values)), Constant(0))


def _uncomparable(context: Context, symbol: str, left: Abstract, right: Abstract) -> Exception:
    return context.type_error(
        f"{symbol} is not supported between {context.describe(left)} and {context.describe(right)}"
    )


def _compare_sizes(
    context: Context, function: Callable[[Any, Any], Any], left: Abstract, right: Abstract
) -> bool | None:
    """The comparison of two ints whose difference is known, as that of a size with itself."""
    dims: list[Dim] = []
    for value in (left, right):
        if isinstance(value, Constant):
            dims.append(int(value.value))
        else:
            assert isinstance(value, Scalar)
            type = context.type_of(value.value)
            if not isinstance(type, IntType) or type.value is None:
                return None
            dims.append(type.value)
    difference = dims[0] - dims[1]
    return bool(function(difference, 0)) if isinstance(difference, int) else None


def _known_items(context: Context, value: Abstract) -> tuple[Abstract, ...] | None:
    if isinstance(value, Tuple):
        return value.items
    if isinstance(value, ListRef) and isinstance(content := context.heap[value.cell], Items):
        return content.items
    if isinstance(value, Constant) and isinstance(value.value, tuple):
        return tuple(Constant(v) for v in value.value)
    return None


def _compare_items(
    context: Context, node_type: str, left: tuple[Abstract, ...], right: tuple[Abstract, ...]
) -> Abstract:
    if node_type in ("Eq", "NotEq"):
        equal: bool | Value = len(left) == len(right)
        if equal:
            for a, b in zip(left, right, strict=True):
                equal = both(context, equal, truth(context, compare(context, "Eq", a, b)))
        result = Constant(equal) if isinstance(equal, bool) else Scalar(equal)
        return result if node_type == "Eq" else unary(context, "Not", result)
    # Lexicographic order: the first elements that differ decide.
    if not left or not right:
        return Constant(_COMPARE[node_type][1](len(left), len(right)))
    same = truth(context, compare(context, "Eq", left[0], right[0]))
    if isinstance(same, bool):
        return (
            _compare_items(context, node_type, left[1:], right[1:])
            if same
            else compare(context, node_type, left[0], right[0])
        )
    return branch(
        context,
        same,
        lambda: _compare_items(context, node_type, left[1:], right[1:]),
        lambda: compare(context, node_type, left[0], right[0]),
    )


def both(context: Context, a: bool | Value, b: bool | Value) -> bool | Value:
    """The conjunction of two bools without short circuit."""
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return context.emit("scalar.and_", a, b)


def either(context: Context, a: bool | Value, b: bool | Value) -> bool | Value:
    """The disjunction of two bools without short circuit."""
    if isinstance(a, bool):
        return True if a else b
    if isinstance(b, bool):
        return True if b else a
    return context.emit("scalar.or_", a, b)


def _is(context: Context, left: Abstract, right: Abstract) -> Abstract:
    if left is right:
        return Constant(True)
    if isinstance(left, Constant) and isinstance(right, Constant):
        if left is UNBOUND or right is UNBOUND:
            return Constant(False)
        simple = (bool, int, float, complex, str, bytes)
        if type(left.value) in simple or type(right.value) in simple:
            return Constant(constant_key(left.value) == constant_key(right.value))
        return Constant(left.value is right.value)
    kinds = scalar_kind(left), scalar_kind(right)
    if kinds == ("bool", "bool"):
        return Scalar(context.emit("scalar.eq", number(context, left), number(context, right)))
    if None not in kinds and kinds[0] == kinds[1]:
        raise context.error(
            "`is` between numbers compares identities, which numbers of a compiled program do not have", "use `==`"
        )
    left_cell, right_cell = getattr(left, "cell", None), getattr(right, "cell", None)
    if left_cell is not None and right_cell is not None:
        if isinstance(left, TensorRef) and isinstance(right, TensorRef):
            if left_cell is right_cell and not left.views and not right.views:
                return Constant(True)
            if not left_cell.origins & right_cell.origins:
                return Constant(False)
            raise context.error("whether these are one tensor is not known when the program is compiled")
        if left_cell is right_cell:
            return Constant(True)
        held = [getattr(context.heap[c], "value", None) for c in (left_cell, right_cell)]
        values = [v for v in held if isinstance(v, Value)]
        if type(left) is type(right) and len(values) == 2:
            # Objects of the graph, which may have come by different ways.
            same_type = context.type_of(values[0]) == context.type_of(values[1])
            return Scalar(context.emit("scalar.same", *values)) if same_type else Constant(False)
        if left_cell.origins & right_cell.origins:
            raise context.error("whether these are one object is not known when the program is compiled")
    return Constant(False)


def contains(context: Context, container: Abstract, item: Abstract) -> Abstract:
    """`item in container`."""
    items = _known_items(context, container)
    if items is None and isinstance(container, Constant):
        value = container.value
        if isinstance(item, Constant):
            return _fold(context, lambda c, i: i in c, value, item.value)
        if isinstance(value, (list, set, frozenset, dict)):
            items = tuple(Constant(v) for v in value)
    if scalar_kind(container) == "str":
        found_text: Abstract = context.strings.contains(context, container, item)
        return found_text
    if isinstance(container, DictRef):
        has_key: Abstract = context.dicts.contains(context, container, item)
        return has_key
    if isinstance(container, SetRef):
        has_element: Abstract = context.sets.contains(context, container, item)
        return has_element
    if items is not None:
        found: bool | Value = False
        for candidate in items:
            if candidate is item:
                return Constant(True)
            found = either(context, found, truth(context, compare(context, "Eq", candidate, item)))
        return Constant(found) if isinstance(found, bool) else Scalar(found)
    if isinstance(container, ListRef) and isinstance(context.heap[container.cell], RunTimeItems):
        inside: Abstract = context.lists.contains(context, container, item)
        return inside
    if isinstance(container, TensorRef) and (is_number(item) or isinstance(item, TensorRef)):
        equal = compare(context, "Eq", container, item)
        found_in_tensor: Abstract = context.item(context.call(Method(equal, "any"), [], {}), "bool")  # type: ignore[arg-type]
        return found_in_tensor
    if isinstance(container, Sequence) and container.kind == "range":
        return context.call(Constant(range_contains), [*container.parts, item], {})
    if isinstance(container, ObjectRef) and hasattr(container.type, "__contains__"):
        return context.call(Method(container, "__contains__"), [item], {})
    raise context.type_error(f"argument of type {context.describe(container)} is not iterable")
