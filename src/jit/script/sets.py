"""Sets: their elements are known when compiling as long as they can be; otherwise they are sets of the graph."""

from collections.abc import Callable

from ...ir.core import Value
from ...ir.types import SetType
from . import iteration
from .context import Context
from .operators import compare, either, number, truth
from .slots import materialise_list, to_element
from .specs import ContainerSpec, container_type, element_type, spec_of
from .unknown import resolve_unknown
from .values import (
    Abstract,
    Cell,
    Constant,
    ListRef,
    RunTimeItems,
    RunTimeSet,
    Scalar,
    Sequence,
    SetItems,
    SetRef,
)

__all__ = [
    "add", "combined", "compared", "contains", "copy", "iterate", "length", "method", "new", "of",
    "update_in_place",
]  # fmt: skip

_FEW = 16  # known elements with which a value is compared one by one
_OPERATORS = {
    "BitOr": "union", "BitAnd": "intersection", "Sub": "difference", "BitXor": "symmetric_difference"
}  # fmt: skip
_COMPARISONS = {"LtE": "issubset", "GtE": "issuperset", "Eq": "equals"}


def new(context: Context, items: tuple[Abstract, ...]) -> SetRef:
    """A new set of these elements."""
    cell = Cell("set")
    context.new_literal(cell)
    context.heap[cell] = SetItems(())
    result = SetRef(cell)
    for item in items:
        add(context, result, item)
    return result


def of(context: Context, value: Abstract) -> SetRef:
    """`set(value)`."""
    if isinstance(value, SetRef):
        return copy(context, value)
    result = new(context, ())
    if isinstance(value, ListRef) and isinstance(content := context.list_items(value.cell), RunTimeItems):
        made = context.emit("set.of", content.value)
        context.heap[result.cell] = RunTimeSet(made, content.element)
        return result
    iteration.for_each(context, value, lambda item: add(context, result, item))
    return result


def _content(context: Context, target: SetRef) -> SetItems | RunTimeSet:
    found = context.heap[target.cell]
    assert isinstance(found, (SetItems, RunTimeSet))
    return found


def _made(context: Context, target: SetRef, item: Abstract | None = None) -> RunTimeSet:
    """The set as one of the graph; an element that it is about to get takes part in its type."""
    content = _content(context, target)
    if isinstance(content, SetItems):
        specs = [spec_of(context, target)]
        if item is not None:
            type = SetType(element_type(context, spec_of(context, item)))
            specs.append(ContainerSpec("set", type, (), frozenset()))
        materialise_list(context, target.cell, container_type(context, *specs))
    found = _content(context, target)
    assert isinstance(found, RunTimeSet)
    return found


def _known(context: Context, item: Abstract) -> bool:
    """Whether an element is known when compiling; unhashable ones are refused."""
    if not isinstance(item, Constant):
        return False
    try:
        hash(item.value)
    except TypeError as error:
        context.fails(error)
    return True


def _find(items: tuple[Abstract, ...], item: Constant) -> bool:
    return any(isinstance(i, Constant) and i.value == item.value for i in items)


def add(context: Context, target: SetRef, item: Abstract) -> None:
    """`set.add(item)`."""
    context.check_write(context, target.cell)
    content = _content(context, target)
    if isinstance(content, SetItems) and isinstance(item, Constant) and _known(context, item):
        if not _find(content.items, item):
            context.heap[target.cell] = SetItems((*content.items, item))
        return
    made = _made(context, target, item)
    context.emit_all("set.add", [made.value, to_element(context, item, made.element)])


def contains(context: Context, target: SetRef, item: Abstract) -> Abstract:
    """`item in set`."""
    content = _content(context, target)
    if isinstance(content, SetItems):
        if isinstance(item, Constant):
            return Constant(_find(content.items, item))
        if len(content.items) <= _FEW:
            found: bool | Value = False
            for known in content.items:
                found = either(context, found, truth(context, compare(context, "Eq", item, known)))
            return Constant(found) if isinstance(found, bool) else Scalar(found)
    made = _made(context, target)
    return Scalar(context.emit("set.contains", made.value, to_element(context, item, made.element)))


def length(context: Context, target: SetRef) -> Abstract:
    """`len(set)`."""
    content = _content(context, target)
    if isinstance(content, SetItems):
        return Constant(len(content.items))
    return Scalar(context.emit("set.length", content.value))


def iterate(context: Context, target: SetRef) -> Sequence:
    """The elements, in the order in which Python has them."""
    content = _content(context, target)
    if isinstance(content, SetItems):
        ordered = {i.value for i in content.items if isinstance(i, Constant)}
        items = tuple(Constant(value) for value in ordered)
        return Sequence(len(items), lambda index: index, items, "set")
    count = context.emit("set.length", content.value)
    items_value = context.emit("set.values", content.value)

    def element(index: Abstract) -> Abstract:
        context.emit_all("set.unchanged", [content.value, count])
        found: Abstract = context.lists.from_element(
            context, context.emit("list.get", items_value, number(context, index))
        )
        return found

    return Sequence(count, element, kind="set")


def _run_time(context: Context, value: Value) -> SetRef:
    type = context.type_of(value)
    assert isinstance(type, SetType)
    cell = Cell("set")
    context.heap[cell] = RunTimeSet(value, type.element)
    return SetRef(cell)


def copy(context: Context, target: SetRef) -> SetRef:
    """A new set of the same elements."""
    content = _content(context, target)
    if isinstance(content, SetItems):
        return new(context, content.items)
    return _run_time(context, context.emit("set.copy", content.value))


def combined(context: Context, operator: str, left: SetRef, right: SetRef) -> Abstract | None:
    """`left op right` for the operators of sets; None for others."""
    name = _OPERATORS.get(operator)
    return None if name is None else _combine(context, name, left, right)


def _empty(context: Context, target: SetRef) -> bool:
    content = _content(context, target)
    return isinstance(content, SetItems) and not content.items


def _combine(context: Context, name: str, left: SetRef, right: SetRef) -> SetRef:
    a, b = _content(context, left), _content(context, right)
    if isinstance(a, SetItems) and isinstance(b, SetItems):
        values = [{i.value for i in c.items if isinstance(i, Constant)} for c in (a, b)]
        return new(context, tuple(Constant(v) for v in getattr(values[0], name)(values[1])))
    if _empty(context, right):
        return new(context, ()) if name == "intersection" else copy(context, left)
    if _empty(context, left):
        return copy(context, right) if name in ("union", "symmetric_difference") else new(context, ())
    x, y = _pair(context, left, right)
    return _run_time(context, context.emit("set.combine", x.value, y.value, method=name))


def _pair(context: Context, left: SetRef, right: SetRef) -> tuple[RunTimeSet, RunTimeSet]:
    x, y = _made(context, left), _made(context, right)
    resolve_unknown(x.element, y.element)
    if x.element != y.element:
        raise context.type_error(f"a set of {x.element} and a set of {y.element} cannot be combined or compared")
    return x, y


def compared(context: Context, operator: str, left: SetRef, right: SetRef) -> Abstract:
    """`left op right` for a comparison."""
    a, b = _content(context, left), _content(context, right)
    if isinstance(a, SetItems) and isinstance(b, SetItems):
        values = [{i.value for i in c.items if isinstance(i, Constant)} for c in (a, b)]
        tests: dict[str, Callable[[], bool]] = {
            "Eq": lambda: values[0] == values[1],
            "NotEq": lambda: values[0] != values[1],
            "Lt": lambda: values[0] < values[1],
            "LtE": lambda: values[0] <= values[1],
            "Gt": lambda: values[0] > values[1],
            "GtE": lambda: values[0] >= values[1],
        }
        return Constant(tests[operator]())
    if operator == "NotEq":
        return _negated(context, compared(context, "Eq", left, right))
    if operator in ("Lt", "Gt"):
        weak = truth(context, compared(context, "LtE" if operator == "Lt" else "GtE", left, right))
        other = truth(context, compare(context, "NotEq", length(context, left), length(context, right)))
        from .operators import both

        answer = both(context, weak, other)
        return Constant(answer) if isinstance(answer, bool) else Scalar(answer)
    return _test(context, _COMPARISONS[operator], left, right)


def _negated(context: Context, value: Abstract) -> Abstract:
    if isinstance(value, Constant):
        return Constant(not value.value)
    return Scalar(context.emit("scalar.not_", number(context, value)))


def _test(context: Context, name: str, left: SetRef, right: SetRef) -> Abstract:
    a, b = _content(context, left), _content(context, right)
    if isinstance(a, SetItems) and isinstance(b, SetItems):
        values = [{i.value for i in c.items if isinstance(i, Constant)} for c in (a, b)]
        return Constant(values[0] == values[1] if name == "equals" else getattr(values[0], name)(values[1]))
    for empty, other in ((left, right), (right, left)):
        if _empty(context, empty):
            if (
                name == "isdisjoint"
                or (name == "issubset" and empty is left)
                or (name == "issuperset" and empty is right)
            ):
                return Constant(True)
            return compare(context, "Eq", length(context, other), Constant(0))
    x, y = _pair(context, left, right)
    return Scalar(context.emit("set.compare", x.value, y.value, method=name))


def method(
    context: Context, target: SetRef, name: str, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    """`set.name(...)`."""
    if keywords:
        raise context.type_error(f"set.{name}() takes no keyword arguments")
    count = len(arguments)
    match name, count:
        case "copy", 0:
            return copy(context, target)
        case (("issubset" | "issuperset" | "isdisjoint"), 1):
            return _test(context, name, target, _as_set(context, arguments[0]))
        case (("union" | "intersection" | "difference"), _):
            result = copy(context, target)
            for other in arguments:
                result = _combine(context, name, result, _as_set(context, other))
            return result
        case "symmetric_difference", 1:
            return _combine(context, name, target, _as_set(context, arguments[0]))
    context.check_write(context, target.cell)
    content = _content(context, target)
    match name, count:
        case "add", 1:
            add(context, target, arguments[0])
            return Constant(None)
        case (("discard" | "remove"), 1):
            return _remove(context, target, name, arguments[0])
        case "clear", 0:
            if isinstance(content, SetItems):
                context.heap[target.cell] = SetItems(())
            else:
                context.emit_all("set.clear", [content.value])
            return Constant(None)
        case "pop", 0:
            if _empty(context, target):
                context.fails(KeyError("pop from an empty set"))
            made = _made(context, target)
            found: Abstract = context.lists.from_element(context, context.emit("set.pop", made.value))
            return found
        case "update", _:
            for other in arguments:
                _update(context, target, "update", _as_set(context, other))
            return Constant(None)
        case (("intersection_update" | "difference_update" | "symmetric_difference_update"), 1):
            _update(context, target, name, _as_set(context, arguments[0]))
            return Constant(None)
    if hasattr(set, name):
        raise context.error(f"set.{name} with {count} arguments is not supported in a compiled program")
    raise context.type_error(f"'set' object has no attribute '{name}'")


def _as_set(context: Context, value: Abstract) -> SetRef:
    return value if isinstance(value, SetRef) else of(context, value)


def _update(context: Context, target: SetRef, name: str, other: SetRef) -> None:
    a, b = _content(context, target), _content(context, other)
    if isinstance(a, SetItems) and isinstance(b, SetItems):
        result = _combine(context, "union" if name == "update" else name.removesuffix("_update"), target, other)
        context.heap[target.cell] = context.heap[result.cell]
        return
    if _empty(context, other):
        if name == "intersection_update":
            context.emit_all("set.clear", [_made(context, target).value])
        return
    if _empty(context, target):
        if name in ("update", "symmetric_difference_update"):
            context.heap[target.cell] = context.heap[copy(context, other).cell]
        return
    x, y = _pair(context, target, other)
    context.emit_all("set.update", [x.value, y.value], {"method": name})


def update_in_place(context: Context, operator: str, target: SetRef, other: SetRef) -> bool:
    """`target op= other` for the operators of sets; whether it is one."""
    name = _OPERATORS.get(operator)
    if name is None:
        return False
    context.check_write(context, target.cell)
    _update(context, target, "update" if name == "union" else f"{name}_update", other)
    return True


def _remove(context: Context, target: SetRef, name: str, item: Abstract) -> Abstract:
    content = _content(context, target)
    if isinstance(content, SetItems) and isinstance(item, Constant):
        kept = tuple(i for i in content.items if not (isinstance(i, Constant) and i.value == item.value))
        if name == "remove" and len(kept) == len(content.items):
            context.fails(KeyError(item.value))
        context.heap[target.cell] = SetItems(kept)
        return Constant(None)
    if _empty(context, target):
        if name == "remove":
            context.fails(KeyError("the set is empty"))
        return Constant(None)
    made = _made(context, target, item)
    context.emit_all(f"set.{name}", [made.value, to_element(context, item, made.element)])
    return Constant(None)
