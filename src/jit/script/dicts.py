"""Dicts: their keys are known when compiling as long as they can be; with a key of run time they become the graph's."""

from typing import Any

from ...ir.types import DictType
from . import iteration
from .context import Context
from .operators import compare, number, truth
from .slots import materialise_list, to_element
from .specs import ContainerSpec, container_type, element_type, key_value, spec_of
from .text import constant_of
from .unknown import resolve_unknown
from .values import (
    Abstract,
    Cell,
    Constant,
    DictItems,
    DictRef,
    ListRef,
    RunTimeDict,
    Scalar,
    Sequence,
    SetRef,
    TensorRef,
    Tuple,
    constant_key,
)

__all__ = [
    "contains", "copy", "delete", "dict_method", "equals", "get", "iterate", "known_entries", "length", "merged",
    "new_dict", "put", "update",
]  # fmt: skip

Entries = list[tuple[Any, Abstract]]


def new_dict(context: Context, entries: Entries) -> DictRef:
    """A new dict with known keys."""
    cell = Cell("dict")
    if not entries:
        context.new_literal(cell)
    context.heap[cell] = DictItems(tuple(entries))
    return DictRef(cell)


def _run_time(context: Context, value: Any) -> DictRef:
    type = context.type_of(value)
    assert isinstance(type, DictType)
    cell = Cell("dict")
    context.heap[cell] = RunTimeDict(value, type.key, type.element)
    return DictRef(cell)


def put_entry(entries: Entries, key: Any, value: Abstract) -> None:
    """Set a key's value among the entries of a dict with known keys."""
    for position, (k, _) in enumerate(entries):
        if k == key:
            entries[position] = (k, value)
            return
    entries.append((key, value))


def _known_key(context: Context, key: Abstract) -> tuple[Any] | None:
    """A key as a Python object, in a tuple, where it is known when compiling; what cannot be a key is refused."""
    if isinstance(key, TensorRef):
        raise context.error(
            f"the key of a dict must be a number, a string or a tuple of them, given {context.describe(key)}",
            "take the number out: `x.item()`",
        )
    if isinstance(key, (ListRef, DictRef, SetRef)):
        context.fails(TypeError(f"unhashable type: '{context.describe(key)}'"))
    known = constant_of(context, key) if isinstance(key, (Constant, Tuple)) else None
    if known is not None:
        try:
            hash(known[0])
        except TypeError as error:
            context.fails(error)
    return known


def _content(context: Context, target: DictRef) -> DictItems | RunTimeDict:
    found = context.heap[target.cell]
    assert isinstance(found, (DictItems, RunTimeDict))
    return found


def known_entries(context: Context, target: DictRef) -> tuple[tuple[Any, Abstract], ...]:
    """The keys and values of a dict whose keys are known when compiling; ScriptError for others."""
    content = _content(context, target)
    if isinstance(content, RunTimeDict):
        raise context.error(
            "the keys of a dict must be known when the program is compiled to be passed on as arguments",
            "pass the arguments by name",
        )
    return content.entries


def _changes(context: Context, target: DictRef) -> None:
    context.check_write(context, target.cell)
    if target.cell.kind.startswith("outside"):
        raise context.error("a dict from outside the function changes in it", "make a copy: `dict(d)`")


def _made(context: Context, target: DictRef, key: Abstract | None = None, value: Abstract | None = None) -> RunTimeDict:
    """The dict as one of the graph; a key and value that it is about to get take part in its types."""
    content = _content(context, target)
    if isinstance(content, DictItems):
        specs = [spec_of(context, target)]
        if key is not None and value is not None:
            types = DictType(*(element_type(context, spec_of(context, v)) for v in (key, value)))
            specs.append(ContainerSpec("dict", types, (), frozenset()))
        materialise_list(context, target.cell, container_type(context, *specs))
    found = _content(context, target)
    assert isinstance(found, RunTimeDict)
    return found


def _key(context: Context, content: RunTimeDict, key: Abstract) -> Any:
    return to_element(context, key, content.key)


def get(context: Context, target: DictRef, key: Abstract) -> Abstract:
    """`dict[key]`."""
    content = _content(context, target)
    known = _known_key(context, key)
    if isinstance(content, DictItems):
        if known is not None:
            entry = content.find(known[0])
            if entry is None:
                context.fails(KeyError(known[0]))
            return entry
        if not content.entries:
            context.fails(KeyError("the dict is empty"))
        content = _made(context, target)
    found: Abstract = context.lists.from_element(
        context, context.emit("dict.get", content.value, _key(context, content, key))
    )
    return found


def put(context: Context, target: DictRef, key: Abstract, value: Abstract) -> None:
    """`dict[key] = value`."""
    _changes(context, target)
    content = _content(context, target)
    known = _known_key(context, key)
    if isinstance(content, DictItems) and known is not None:
        entries = list(content.entries)
        put_entry(entries, known[0], value)
        context.heap[target.cell] = DictItems(tuple(entries))
        return
    content = _made(context, target, key, value)
    held = to_element(context, value, content.element)
    context.emit_all("dict.set", [content.value, _key(context, content, key), held])


def delete(context: Context, target: DictRef, key: Abstract) -> None:
    """`del dict[key]`."""
    dict_method(context, target, "pop", [key], {})


def contains(context: Context, target: DictRef, key: Abstract) -> Abstract:
    """`key in dict`."""
    content = _content(context, target)
    known = _known_key(context, key)
    if isinstance(content, DictItems):
        if known is not None:
            return Constant(content.find(known[0]) is not None)
        if not content.entries:
            return Constant(False)
        content = _made(context, target)
    return Scalar(context.emit("dict.contains", content.value, _key(context, content, key)))


def length(context: Context, target: DictRef) -> Abstract:
    """`len(dict)`."""
    content = _content(context, target)
    if isinstance(content, DictItems):
        return Constant(len(content.entries))
    return Scalar(context.emit("dict.length", content.value))


def iterate(context: Context, target: DictRef, part: str = "keys") -> Sequence:
    """The keys, values or items of a dict of the graph; the dict must keep its size meanwhile."""
    content = _content(context, target)
    assert isinstance(content, RunTimeDict)
    count = context.emit("dict.length", content.value)
    items = context.emit(f"dict.{part}", content.value)

    def element(index: Abstract) -> Abstract:
        context.emit_all("dict.unchanged", [content.value, count])
        found: Abstract = context.lists.from_element(context, context.emit("list.get", items, number(context, index)))
        return found

    return Sequence(count, element, kind=f"dict_{part}")


def copy(context: Context, target: DictRef) -> DictRef:
    """A new dict with the same keys and values."""
    content = _content(context, target)
    if isinstance(content, DictItems):
        return new_dict(context, list(content.entries))
    return _run_time(context, context.emit("dict.copy", content.value))


def merged(context: Context, left: DictRef, right: DictRef) -> DictRef:
    """`left | right`."""
    result = copy(context, left)
    update(context, result, right)
    return result


def update(context: Context, target: DictRef, other: Abstract) -> None:
    """`dict.update(other)`, of a dict or of pairs."""
    _changes(context, target)
    if isinstance(other, DictRef):
        theirs = _content(context, other)
        ours = _content(context, target)
        if isinstance(theirs, DictItems):
            for key, value in theirs.entries:
                put(context, target, key_value(key), value)
            return
        if isinstance(ours, DictItems):
            types = ContainerSpec("dict", DictType(theirs.key, theirs.element), (), frozenset())
            materialise_list(context, target.cell, container_type(context, spec_of(context, target), types))
            ours = _content(context, target)
        assert isinstance(ours, RunTimeDict)
        resolve_unknown(ours.key, theirs.key)
        resolve_unknown(ours.element, theirs.element)
        if (ours.key, ours.element) != (theirs.key, theirs.element):
            raise context.type_error(
                f"a dict of {ours.key} to {ours.element} cannot take keys and values from one of {theirs.key} to "
                f"{theirs.element}"
            )
        context.emit_all("dict.update", [ours.value, theirs.value])
        return
    iteration.for_each(context, other, lambda pair: put(context, target, *_pair(context, pair)))


def _pair(context: Context, pair: Abstract) -> tuple[Abstract, Abstract]:
    items = context.known_items(context, pair)
    if len(items) != 2:
        context.fails(ValueError(f"dictionary update sequence element has length {len(items)}; 2 is required"))
    return items[0], items[1]


def equals(context: Context, left: DictRef, right: DictRef) -> Abstract:
    """`left == right`."""
    a, b = _content(context, left), _content(context, right)
    if isinstance(a, DictItems) and isinstance(b, DictItems):
        ours, theirs = ({constant_key(k): v for k, v in c.entries} for c in (a, b))
        if ours.keys() != theirs.keys():
            return Constant(False)
        answer: Abstract = Constant(True)
        for key, value in ours.items():
            same = truth(context, compare(context, "Eq", value, theirs[key]))
            if same is False:
                return Constant(False)
            if same is not True:
                both = (
                    same if isinstance(answer, Constant) else context.emit("scalar.and_", number(context, answer), same)
                )
                answer = Scalar(both)
        return answer
    for ref, content in ((left, a), (right, b)):
        if isinstance(content, DictItems) and not content.entries:
            other = right if ref is left else left
            return Scalar(context.emit("scalar.eq", number(context, length(context, other)), context.constant(0)))
    x, y = _made(context, left), _made(context, right)
    if (x.key, x.element) != (y.key, y.element):
        raise context.type_error(f"a dict of {x.key} to {x.element} is compared with one of {y.key} to {y.element}")
    return Scalar(context.emit("dict.equals", x.value, y.value))


def dict_method(
    context: Context, target: DictRef, name: str, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    """`dict.name(...)`."""
    content = _content(context, target)
    count = len(arguments)
    if keywords and name != "update":
        raise context.type_error(f"dict.{name}() takes no keyword arguments")
    match name, count:
        case (("keys" | "values" | "items"), 0):
            if isinstance(content, RunTimeDict):
                return iterate(context, target, name)
            if name == "keys":
                return Tuple(tuple(key_value(k) for k, _ in content.entries))
            if name == "values":
                return Tuple(tuple(v for _, v in content.entries))
            return Tuple(tuple(Tuple((key_value(k), v)) for k, v in content.entries))
        case "get", 1 | 2:
            return _get_or(context, target, arguments)
        case "copy", 0:
            return copy(context, target)
    _changes(context, target)
    match name, count:
        case "pop", 1 | 2:
            return _pop(context, target, arguments)
        case "setdefault", 1 | 2:
            return _setdefault(context, target, arguments)
        case "update", 0 | 1:
            for other in arguments:
                update(context, target, other)
            for key, value in keywords.items():
                put(context, target, Constant(key), value)
            return Constant(None)
        case "clear", 0:
            if isinstance(content, DictItems):
                context.heap[target.cell] = DictItems(())
            else:
                context.emit_all("dict.clear", [content.value])
            return Constant(None)
        case "popitem", 0:
            if isinstance(content, RunTimeDict):
                pair = context.emit("dict.popitem", content.value)
                found: Abstract = context.lists.from_element(context, pair)
                return found
            if not content.entries:
                context.fails(KeyError("popitem(): dictionary is empty"))
            key, value = content.entries[-1]
            context.heap[target.cell] = DictItems(content.entries[:-1])
            return Tuple((key_value(key), value))
    if hasattr(dict, name):
        raise context.error(f"dict.{name} with {count} arguments is not supported in a compiled program")
    raise context.type_error(f"'dict' object has no attribute '{name}'")


def _get_or(context: Context, target: DictRef, arguments: list[Abstract]) -> Abstract:
    content = _content(context, target)
    key, default = arguments[0], arguments[1] if len(arguments) == 2 else Constant(None)
    known = _known_key(context, key)
    if isinstance(content, DictItems):
        if known is not None:
            found = content.find(known[0])
            return found if found is not None else default
        if not content.entries:
            return default
    return _either(context, target, key, lambda: get(context, target, key), lambda: default)


def _either(context: Context, target: DictRef, key: Abstract, there: Any, missing: Any) -> Abstract:
    """What one of two functions gives, as the key is there or not."""
    from .regions import branch

    if isinstance(_content(context, target), DictItems):
        _made(context, target)
    inside = contains(context, target, key)
    assert isinstance(inside, Scalar)
    return branch(context, inside.value, there, missing)


def _pop(context: Context, target: DictRef, arguments: list[Abstract]) -> Abstract:
    content = _content(context, target)
    key = arguments[0]
    known = _known_key(context, key)
    if isinstance(content, DictItems):
        if known is not None:
            found = content.find(known[0])
            if found is None:
                if len(arguments) == 1:
                    context.fails(KeyError(known[0]))
                return arguments[1]
            context.heap[target.cell] = DictItems(tuple((k, v) for k, v in content.entries if k != known[0]))
            return found
        if not content.entries:
            if len(arguments) == 1:
                context.fails(KeyError("the dict is empty"))
            return arguments[1]

    def pop() -> Abstract:
        made = _made(context, target)
        value: Abstract = context.lists.from_element(
            context, context.emit("dict.pop", made.value, _key(context, made, key))
        )
        return value

    if len(arguments) == 1:
        return pop()
    return _either(context, target, key, pop, lambda: arguments[1])


def _setdefault(context: Context, target: DictRef, arguments: list[Abstract]) -> Abstract:
    content = _content(context, target)
    key, default = arguments[0], arguments[1] if len(arguments) == 2 else Constant(None)
    known = _known_key(context, key)
    if isinstance(content, DictItems) and known is not None:
        found = content.find(known[0])
        if found is None:
            found = default
            context.heap[target.cell] = DictItems((*content.entries, (known[0], found)))
        return found
    made = _made(context, target, key, default)
    held = to_element(context, default, made.element)
    value = context.emit("dict.setdefault", made.value, _key(context, made, key), held)
    result: Abstract = context.lists.from_element(context, value)
    return result
