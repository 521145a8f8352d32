"""Lists: of known length as long as they can be, lists of the graph where they grow in a loop or branch."""

from typing import Any

from ...ir.core import Value
from ...ir.types import (
    BoolType,
    DictType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    OptionalType,
    RecordType,
    SetType,
    StrType,
    TensorType,
    TupleType,
    Type,
)
from ..errors import ScriptError
from ..record_values import OBJECT
from .context import Context, PathEnds
from .open_elements import note_types
from .operators import number, scalar_kind
from .slots import materialise_list, to_element
from .specs import ListSpec, list_element, spec_of
from .unknown import UnknownType, resolve_unknown
from .values import (
    Abstract,
    Cell,
    Constant,
    DictRef,
    Items,
    ListRef,
    ObjectRef,
    RunTimeDict,
    RunTimeItems,
    RunTimeObject,
    RunTimeSet,
    Scalar,
    SetRef,
    Slice,
    Tuple,
    Union,
)

__all__ = [
    "alike", "concatenate", "contains", "copy", "delete", "extend", "from_element", "get", "length", "method", "new",
    "repeat", "repeat_in_place", "set_item", "sort",
]  # fmt: skip


def new(context: Context, items: tuple[Abstract, ...]) -> ListRef:
    """A new list of known length."""
    cell = Cell("list")
    if not items:
        context.new_literal(cell)
    context.heap[cell] = Items(items)
    return ListRef(cell)


def _run_time(value: Value, element: Type, context: Context) -> ListRef:
    cell = Cell("list")
    context.heap[cell] = RunTimeItems(value, element)
    return ListRef(cell)


def from_element(context: Context, value: Value) -> Abstract:
    """What an element read from a run-time container is."""
    match context.type_of(value):
        case TensorType():
            found = context.new_tensor(value)
            context.escape([found.cell])
            return found
        case TupleType(elements=elements):
            parts = [context.emit("tuple.get", value, index=i) for i in range(len(elements))]
            return Tuple(tuple(from_element(context, p) for p in parts))
        case RecordType(name=name, fields=fields):
            parts = [context.emit("tuple.get", value, index=i) for i in range(len(fields))]
            return Tuple(tuple(from_element(context, p) for p in parts), context.records[name])
        case OptionalType():
            absent = context.emit("scalar.to_int", context.emit("optional.is_none", value))
            held = from_element(context, context.emit("optional.unwrap", value))
            return Union(absent, (held, Constant(None)))
        case NoneType():
            return Constant(None)
        case UnknownType():
            if context.in_functions:
                raise PathEnds  # nothing is in it yet, as far as this compilation of the function has come
            raise context.error(
                "what this container holds is not known here", "annotate it: `items: list[list[int]] = []`"
            )
        case ListType(element=RecordType(name=name) as record) if name.startswith(OBJECT):
            cell = Cell("object")
            context.heap[cell] = RunTimeObject(value, record)
            return ObjectRef(cell, context.records[name])
        case ListType(element=element):
            return _run_time(value, element, context)
        case DictType(key=key, element=element):
            cell = Cell("dict")
            context.heap[cell] = RunTimeDict(value, key, element)
            return DictRef(cell)
        case SetType(element=element):
            cell = Cell("set")
            context.heap[cell] = RunTimeSet(value, element)
            return SetRef(cell)
    return Scalar(value)


def length(context: Context, target: ListRef) -> Abstract:
    """`len(list)`."""
    content = context.list_items(target.cell)
    if isinstance(content, Items):
        return Constant(len(content.items))
    return Scalar(context.emit("list.length", content.value))


def _changes(context: Context, cell: Cell, *, resizes: bool = True) -> None:
    """Refuse a change that another name may or may not see, or that a loop over the list would."""
    if resizes and any(cell is c for c in context.iterating):
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
    if isinstance(content, Items) and isinstance(index, Scalar) and _hold_objects(content):
        # One object of several: as objects of the graph, whichever it is, a change of it is seen.
        content = _of_objects(context, target.cell, content)
    if isinstance(content, Items):
        return context.item_of(context, content.items, index, "list")
    position = context.int_value(_index(context, index, 0))
    return from_element(context, context.emit("list.get", content.value, position))


def _hold_objects(content: Items) -> bool:
    classes = {i.type if isinstance(i, ObjectRef) else None for i in content.items}
    return len(content.items) > 1 and len(classes) == 1 and None not in classes


def _of_objects(context: Context, cell: Cell, content: Items) -> Items | RunTimeItems:
    """A list of objects as a list of the graph, where that can hold what they have."""
    try:
        element = list_element(context, spec_of(context, ListRef(cell)))  # type: ignore[arg-type]
    except ScriptError:
        return content
    materialise_list(context, cell, element)
    return context.list_items(cell)


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
    _changes(context, cell, resizes=isinstance(index, Slice))
    if isinstance(index, Slice):
        run_time = isinstance(value, ListRef) and isinstance(context.list_items(value.cell), RunTimeItems)
        if run_time or not isinstance(content, Items) or any(isinstance(b, Value) for b in _bounds(context, index)):
            _assign_slice(context, target, index, value)
            return
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
    resolve_unknown(x.element, y.element)
    if x.element != y.element:
        note_types(context, x.element, y.element)
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
    kind = scalar_kind(item)
    if kind is not None and isinstance(content.element, (BoolType, IntType, FloatType)):
        # Numbers of different types may be equal; strings and numbers never are.
        if kind == "str":
            return Constant(False)
        return Scalar(context.emit("list.contains", content.value, number(context, item)))
    return Scalar(context.emit("list.contains", content.value, to_element(context, item, content.element)))


def copy(context: Context, target: ListRef) -> ListRef:
    """A new list of the same elements."""
    content = context.list_items(target.cell)
    if isinstance(content, Items):
        return new(context, content.items)
    return _run_time(context.emit("list.slice", content.value, None, None, None), content.element, context)


def method(
    context: Context,
    target: ListRef,
    name: str,
    arguments: list[Abstract],
    keywords: dict[str, Abstract] | None = None,
) -> Abstract:
    """`list.name(...)`."""
    if name == "sort" and not arguments:
        sort(context, target, keywords or {})
        return Constant(None)
    if keywords:
        raise context.type_error(f"list.{name}() takes no keyword arguments")
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
        case "reverse" | "clear", 0:
            _changes(context, cell)
            if isinstance(content, Items):
                context.heap[cell] = Items(tuple(reversed(content.items)) if name == "reverse" else ())
            else:
                context.emit_all(f"list.{name}", [content.value])
            return Constant(None)
        case "remove", 1:
            return _remove(context, target, arguments[0])
        case "index", 2 | 3:
            from .calls import inline_function
            from .library_iteration import list_index

            place = context.location()
            return inline_function(context, list_index, [target, *arguments], {}, place)  # type: ignore[arg-type]
        case "count" | "index", 1:
            if isinstance(content, Items) and all(isinstance(i, Constant) for i in (*content.items, arguments[0])):
                values = [i.value for i in content.items]  # type: ignore[attr-defined]
                try:
                    return Constant(getattr(values, name)(arguments[0].value))  # type: ignore[attr-defined]
                except ValueError as error:
                    context.fails(error)
            if isinstance(content, Items) and not content.items:
                if name == "index":
                    context.fails(ValueError(f"{context.describe(arguments[0])} is not in list"))
                return Constant(0)
            made = content if isinstance(content, RunTimeItems) else _made(context, content)
            if name == "index" and type(made.element) in (BoolType, IntType, FloatType, StrType):
                return method(context, target, name, [arguments[0], Constant(0)])  # its error names the value
            wanted = to_element(context, arguments[0], made.element)
            return Scalar(context.emit(f"list.{name}", made.value, wanted))
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
        resolve_unknown(content.element, theirs.element)
        context.emit_all("list.extend", [content.value, theirs.value])
        return Constant(None)
    items = context.known_items(context, other)
    if isinstance(content, Items):
        context.heap[cell] = Items((*content.items, *items))
    else:
        for item in items:
            context.emit_all("list.append", [content.value, to_element(context, item, content.element)])
    return Constant(None)


def _assign_slice(context: Context, target: ListRef, index: Slice, value: Abstract) -> None:
    other = value if isinstance(value, ListRef) else context.call(Constant(list), [value], {})
    assert isinstance(other, ListRef)
    values = alike(context, target, other)
    bounds = [None if b is None else context.int_value(b) for b in _bounds(context, index)]
    if values is None:
        if isinstance(context.list_items(target.cell), RunTimeItems):  # nothing is put in
            delete(context, target, index)
            return
        content = context.list_items(other.cell)
        assert isinstance(content, RunTimeItems)
        materialise_list(context, target.cell, content.element)
        values = context.list_items(target.cell).value, content.value  # type: ignore[union-attr]
    context.emit_all("list.assign", [values[0], *bounds, values[1]])


def delete(context: Context, target: ListRef, index: Abstract) -> None:
    """`del list[start:stop:step]`."""
    assert isinstance(index, Slice)
    _changes(context, target.cell)
    content = context.list_items(target.cell)
    bounds = _bounds(context, index)
    if isinstance(content, Items) and not any(isinstance(b, Value) for b in bounds):
        items = list(content.items)
        try:
            del items[slice(*bounds)]
        except (TypeError, ValueError) as error:
            context.fails(error)
        context.heap[target.cell] = Items(tuple(items))
        return
    made = _as_run_time(context, target.cell, content)
    context.emit_all("list.delete", [made.value, *(None if b is None else context.int_value(b) for b in bounds)])


def alike(context: Context, left: ListRef, right: ListRef) -> tuple[Value, Value] | None:
    """Two lists as lists of the graph with elements of one type; None where one is empty."""
    contents = [context.list_items(r.cell) for r in (left, right)]
    if any(isinstance(c, Items) and not c.items for c in contents):
        return None
    specs = [spec_of(context, r) for r in (left, right)]
    element = list_element(context, *(s for s in specs if isinstance(s, ListSpec)))
    values = [materialise_list(context, r.cell, element) for r in (left, right)]
    types = [context.type_of(v) for v in values]
    resolve_unknown(*types)
    if types[0] != types[1]:
        note_types(context, *types)
        raise context.type_error(f"a {types[0]} and a {types[1]} cannot be combined or compared")
    return values[0], values[1]


def repeat_in_place(context: Context, target: ListRef, count: Abstract) -> None:
    """`list *= count`."""
    _changes(context, target.cell)
    content = context.list_items(target.cell)
    if isinstance(content, Items) and isinstance(count, Constant) and len(content.items) * count.value <= 256:
        context.heap[target.cell] = Items(content.items * count.value)
        return
    made = _as_run_time(context, target.cell, content)
    repeated = context.emit("list.repeat", made.value, number(context, count))
    context.emit_all("list.assign", [made.value, None, None, None, repeated])


def _remove(context: Context, target: ListRef, value: Abstract) -> Abstract:
    """`list.remove(value)`."""
    content = context.list_items(target.cell)
    if isinstance(content, Items) and all(isinstance(i, Constant) for i in (*content.items, value)):
        values = [i.value for i in content.items]  # type: ignore[attr-defined]
        try:
            position = values.index(value.value)  # type: ignore[attr-defined]
        except ValueError:
            context.fails(ValueError("list.remove(x): x not in list"))
        _changes(context, target.cell)
        context.heap[target.cell] = Items(content.items[:position] + content.items[position + 1 :])
        return Constant(None)
    from .calls import inline_function
    from .library_iteration import list_remove

    place = context.location()
    return inline_function(context, list_remove, [target, value], {}, place)  # type: ignore[arg-type]


def sort(context: Context, target: ListRef, keywords: dict[str, Abstract]) -> None:
    """`list.sort(key=..., reverse=...)`."""
    unknown = set(keywords) - {"key", "reverse"}
    if unknown:
        raise context.type_error(f"sort() got an unexpected keyword argument {min(unknown)!r}")
    backwards, key = keywords.get("reverse", Constant(False)), keywords.get("key", Constant(None))
    if not isinstance(backwards, Constant):
        from .regions import branch

        def one(reverse: bool) -> Abstract:
            sort(context, target, {"key": key, "reverse": Constant(reverse)})
            return Constant(None)

        branch(context, number(context, backwards), lambda: one(True), lambda: one(False))
        return
    from .text import constant_of

    cell = target.cell
    _changes(context, cell)
    content = context.list_items(cell)
    if isinstance(content, Items) and len(content.items) < 2:
        return
    chooser = None if isinstance(key, Constant) and key.value is None else key
    if isinstance(content, Items):
        keys = content.items if chooser is None else tuple(context.call(chooser, [i], {}) for i in content.items)
        found = [constant_of(context, k) for k in keys]
        if all(k is not None for k in found):
            values = [k[0] for k in found if k is not None]
            try:
                order = sorted(range(len(values)), key=values.__getitem__, reverse=bool(backwards.value))
            except TypeError as error:
                raise context.type_error(str(error)) from error
            context.heap[cell] = Items(tuple(content.items[i] for i in order))
            return
        made, key_list = _as_run_time(context, cell, content), new(context, keys)
        key_value: Value = made.value if chooser is None else materialise_list(context, key_list.cell, None)
    else:
        made = content
        key_value = content.value if chooser is None else _keys(context, target, chooser)
    _orderable(context, context.type_of(key_value))
    context.emit_all("list.sort_by", [made.value, key_value], {"reverse": bool(backwards.value)})


def _orderable(context: Context, type: Type) -> None:
    inner = type
    while isinstance(inner, ListType):
        inner = inner.element
    parts = inner.elements if isinstance(inner, TupleType) else (inner,)
    for part in parts:
        if isinstance(part, (TensorType, DictType, SetType, OptionalType, NoneType)):
            raise context.type_error(f"a list of {part} cannot be sorted")


def _keys(context: Context, target: ListRef, chooser: Abstract) -> Value:
    """The keys of a list's elements, as a new list of the graph."""
    from . import iteration

    keys = new(context, ())

    def append(item: Abstract) -> None:
        method(context, keys, "append", [context.call(chooser, [item], {})])

    iteration.for_each(context, target, append)
    return materialise_list(context, keys.cell, None)
