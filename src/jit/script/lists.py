"""Lists: of known length as long as they can be, lists of the graph where they grow in a loop or branch."""

from typing import Any

from ...ir.core import Value
from ...ir.types import ListType, TensorType, TupleType, Type
from .context import Context
from .operators import number, scalar_kind
from .slots import materialise_list, to_element
from .specs import ListSpec, list_element, spec_of
from .values import (
    Abstract,
    Cell,
    Constant,
    Items,
    ListRef,
    RunTimeItems,
    Scalar,
    Slice,
    Tuple,
)

__all__ = [
    "concatenate", "contains", "copy", "extend", "from_element", "get", "length", "method", "new", "repeat", "set_item",
]  # fmt: skip


def new(context: Context, items: tuple[Abstract, ...]) -> ListRef:
    """A new list of known length."""
    cell = Cell("list")
    context.heap[cell] = Items(items)
    return ListRef(cell)


def _run_time(value: Value, element: Type, context: Context) -> ListRef:
    cell = Cell("list")
    context.heap[cell] = RunTimeItems(value, element)
    return ListRef(cell)


def from_element(context: Context, value: Value) -> Abstract:
    """What an element read from a run-time list is."""
    match context.type_of(value):
        case TensorType():
            found = context.new_tensor(value)
            context.escape([found.cell])
            return found
        case TupleType(elements=elements):
            parts = [context.emit("tuple.get", value, index=i) for i in range(len(elements))]
            return Tuple(tuple(from_element(context, p) for p in parts))
        case ListType(element=element):
            return _run_time(value, element, context)
    return Scalar(value)


def length(context: Context, target: ListRef) -> Abstract:
    """`len(list)`."""
    content = context.list_items(target.cell)
    if isinstance(content, Items):
        return Constant(len(content.items))
    return Scalar(context.emit("list.length", content.value))


def _changes(context: Context, cell: Cell) -> None:
    """Refuse a change that another name may or may not see, or that a loop over the list would."""
    if any(cell is c for c in context.iterating):
        raise context.error(
            "a list changes while a loop iterates over it", "iterate over a copy: `for item in list(items)`"
        )
    if cell.kind.startswith("outside"):
        raise context.error(
            "a list from outside the function changes in it", "make a copy first: `items = list(items)`"
        )
    context.check_write(context, cell)


def _index(context: Context, value: Abstract, size: int) -> int | Value:
    if isinstance(value, Constant) and isinstance(value.value, int):
        return value.value if not isinstance(value.value, bool) else int(value.value)
    if scalar_kind(value) in ("int", "bool"):
        return number(context, value)
    raise context.type_error(f"list indices must be integers or slices, not {context.describe(value)}")


def get(context: Context, target: ListRef, index: Abstract) -> Abstract:
    """`list[index]`."""
    content = context.list_items(target.cell)
    if isinstance(index, Slice):
        return _slice(context, content, index)
    if isinstance(content, Items):
        return context.item_of(context, content.items, index, "list")
    position = context.int_value(_index(context, index, 0))
    return from_element(context, context.emit("list.get", content.value, position))


def _bounds(context: Context, index: Slice) -> list[Any]:
    bounds: list[Any] = []
    for part in (index.start, index.stop, index.step):
        if isinstance(part, Constant):
            bounds.append(part.value)
        else:
            bounds.append(number(context, part))
    return bounds


def _slice(context: Context, content: Items | RunTimeItems, index: Slice) -> Abstract:
    bounds = _bounds(context, index)
    if isinstance(content, Items):
        if any(isinstance(b, Value) for b in bounds):
            content = _made(context, content)
        else:
            try:
                return new(context, content.items[slice(*bounds)])
            except (TypeError, ValueError) as error:
                context.fails(error)
    operands = [None if b is None else context.int_value(b) for b in bounds]
    return _run_time(context.emit("list.slice", content.value, *operands), content.element, context)


def _made(context: Context, content: Items) -> RunTimeItems:
    """A copy of a list of known length as a list of the graph."""
    copy = new(context, content.items)
    materialise_list(context, copy.cell, None)
    made = context.list_items(copy.cell)
    assert isinstance(made, RunTimeItems)
    return made


def set_item(context: Context, target: ListRef, index: Abstract, value: Abstract) -> None:
    """`list[index] = value`."""
    cell = target.cell
    content = context.list_items(cell)
    _changes(context, cell)
    if isinstance(index, Slice):
        if not isinstance(content, Items) or any(isinstance(b, Value) for b in _bounds(context, index)):
            raise context.error(
                "slices of a list that grows at run time cannot be assigned", "assign element by element"
            )
        items = list(content.items)
        try:
            items[slice(*_bounds(context, index))] = context.known_items(context, value)
        except (TypeError, ValueError) as error:
            context.fails(error)
        context.heap[cell] = Items(tuple(items))
        return
    position = _index(context, index, 0)
    if isinstance(content, Items):
        if isinstance(position, int):
            if not -len(content.items) <= position < len(content.items):
                context.fails(IndexError("list assignment index out of range"))
            items = list(content.items)
            items[position] = value
            context.heap[cell] = Items(tuple(items))
            return
        context.needs_unroll(context.error("the index of a list of known length is not known when compiling"))
        specs = [spec_of(context, v) for v in (*content.items, value)]
        materialise_list(context, cell, list_element(context, ListSpec(tuple(specs), None, frozenset())))
        content = context.list_items(cell)
        assert isinstance(content, RunTimeItems)
    element = to_element(context, value, content.element)
    context.emit_all("list.set", [content.value, context.int_value(position), element])


def concatenate(context: Context, left: ListRef, right: ListRef) -> Abstract:
    """`left + right`."""
    a, b = context.list_items(left.cell), context.list_items(right.cell)
    if isinstance(a, Items) and isinstance(b, Items):
        return new(context, a.items + b.items)
    if isinstance(a, Items) and not a.items:
        a, b = b, a
    if isinstance(b, Items) and not b.items:
        assert isinstance(a, RunTimeItems)
        return _run_time(context.emit("list.slice", a.value, None, None, None), a.element, context)
    x, y = (_made(context, c) if isinstance(c, Items) else c for c in (a, b))
    if x.element != y.element:
        raise context.type_error(f"cannot join a list of {x.element} and a list of {y.element}")
    return _run_time(context.emit("list.concatenate", x.value, y.value), x.element, context)


def repeat(context: Context, target: ListRef, count: Abstract) -> Abstract:
    """`list * count`."""
    content = context.list_items(target.cell)
    if isinstance(content, Items):
        if isinstance(count, Constant) and len(content.items) * count.value <= 256:
            return new(context, content.items * count.value)
        content = _made(context, content)
    value = context.emit("list.repeat", content.value, number(context, count))
    return _run_time(value, content.element, context)


def contains(context: Context, target: ListRef, item: Abstract) -> Abstract:
    """`item in list` for a run-time list."""
    content = context.list_items(target.cell)
    assert isinstance(content, RunTimeItems)
    if scalar_kind(item) is None:
        raise context.error(f"`in` on a list of {content.element} needs a number or a string")
    return Scalar(context.emit("list.contains", content.value, number(context, item)))


def copy(context: Context, target: ListRef) -> ListRef:
    """A new list of the same elements."""
    content = context.list_items(target.cell)
    if isinstance(content, Items):
        return new(context, content.items)
    return _run_time(context.emit("list.slice", content.value, None, None, None), content.element, context)


def method(context: Context, target: ListRef, name: str, arguments: list[Abstract]) -> Abstract:
    """`list.name(...)`."""
    cell = target.cell
    content = context.list_items(cell)
    count = len(arguments)
    match name, count:
        case "append", 1:
            _changes(context, cell)
            if isinstance(content, Items):
                context.heap[cell] = Items((*content.items, arguments[0]))
            else:
                value = to_element(context, arguments[0], content.element)
                context.emit_all("list.append", [content.value, value])
            return Constant(None)
        case "extend", 1:
            return extend(context, target, arguments[0])
        case "copy", 0:
            return copy(context, target)
        case "pop", 0 | 1:
            return _pop(context, cell, content, arguments[0] if arguments else Constant(-1))
        case "insert", 2:
            _changes(context, cell)
            position = _index(context, arguments[0], 0)
            if isinstance(content, Items) and isinstance(position, int):
                items = list(content.items)
                items.insert(position, arguments[1])
                context.heap[cell] = Items(tuple(items))
                return Constant(None)
            made = _as_run_time(context, cell, content)
            value = to_element(context, arguments[1], made.element)
            context.emit_all("list.insert", [made.value, context.int_value(position), value])
            return Constant(None)
        case "reverse" | "clear" | "sort", 0:
            _changes(context, cell)
            if isinstance(content, Items) and name != "sort":
                context.heap[cell] = Items(tuple(reversed(content.items)) if name == "reverse" else ())
                return Constant(None)
            if isinstance(content, Items) and all(isinstance(i, Constant) for i in content.items):
                ordered = sorted(content.items, key=lambda i: i.value)  # type: ignore[attr-defined]
                context.heap[cell] = Items(tuple(ordered))
                return Constant(None)
            made = _as_run_time(context, cell, content)
            if name == "sort" and isinstance(made.element, (TensorType, ListType, TupleType)):
                raise context.type_error(f"a list of {made.element} cannot be sorted")
            context.emit_all(f"list.{name}", [made.value])
            return Constant(None)
        case "count" | "index", 1:
            if isinstance(content, Items) and all(isinstance(i, Constant) for i in (*content.items, arguments[0])):
                values = [i.value for i in content.items]  # type: ignore[attr-defined]
                try:
                    return Constant(getattr(values, name)(arguments[0].value))  # type: ignore[attr-defined]
                except ValueError as error:
                    context.fails(error)
            made = content if isinstance(content, RunTimeItems) else _made(context, content)
            if scalar_kind(arguments[0]) is None:
                raise context.error(f"list.{name} needs a number or a string here")
            return Scalar(context.emit(f"list.{name}", made.value, number(context, arguments[0])))
    if hasattr(list, name):
        raise context.error(f"list.{name} with {count} arguments is not supported")
    raise context.type_error(f"'list' object has no attribute '{name}'")


def _as_run_time(context: Context, cell: Cell, content: Items | RunTimeItems) -> RunTimeItems:
    materialise_list(context, cell, None)
    made = context.list_items(cell)
    assert isinstance(made, RunTimeItems)
    return made


def _pop(context: Context, cell: Cell, content: Items | RunTimeItems, index: Abstract) -> Abstract:
    _changes(context, cell)
    position = _index(context, index, 0)
    if isinstance(content, Items) and isinstance(position, int):
        items = list(content.items)
        try:
            value = items.pop(position)
        except IndexError as error:
            context.fails(error)
        context.heap[cell] = Items(tuple(items))
        return value
    made = _as_run_time(context, cell, content)
    return from_element(context, context.emit("list.pop", made.value, context.int_value(position)))


def extend(context: Context, target: ListRef, other: Abstract) -> Abstract:
    """`list.extend(other)`, also `list += other`."""
    cell = target.cell
    content = context.list_items(cell)
    _changes(context, cell)
    if isinstance(other, ListRef) and isinstance(theirs := context.list_items(other.cell), RunTimeItems):
        if isinstance(content, Items):
            element = theirs.element
            materialise_list(context, cell, element)
            content = context.list_items(cell)
            assert isinstance(content, RunTimeItems)
        context.emit_all("list.extend", [content.value, theirs.value])
        return Constant(None)
    items = context.known_items(context, other)
    if isinstance(content, Items):
        context.heap[cell] = Items((*content.items, *items))
    else:
        for item in items:
            context.emit_all("list.append", [content.value, to_element(context, item, content.element)])
    return Constant(None)
