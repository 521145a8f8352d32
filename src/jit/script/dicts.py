"""Dicts: keys are known when compiling, values are anything."""

from typing import Any

from .context import Context
from .values import (
    Abstract,
    Cell,
    Constant,
    DictItems,
    DictRef,
    Tuple,
)


def new_dict(context: Context, entries: list[tuple[Any, Abstract]]) -> DictRef:
    """A new dict with known keys."""
    cell = Cell("dict")
    context.heap[cell] = DictItems(tuple(entries))
    return DictRef(cell)


def put_entry(entries: list[tuple[Any, Abstract]], key: Any, value: Abstract) -> None:
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


def dict_method(context: Context, target: DictRef, name: str, arguments: list[Abstract]) -> Abstract:
    content: DictItems = context.heap[target.cell]
    count = len(arguments)
    match name, count:
        case "keys", 0:
            return Tuple(tuple(Constant(k) for k, _ in content.entries))
        case "values", 0:
            return Tuple(tuple(v for _, v in content.entries))
        case "items", 0:
            return Tuple(tuple(Tuple((Constant(k), v)) for k, v in content.entries))
        case "get", 1 | 2:
            found = content.find(dict_key(context, arguments[0]))
            return found if found is not None else arguments[1] if count == 2 else Constant(None)
        case "copy", 0:
            return new_dict(context, list(content.entries))
    context.check_write(context, target.cell)
    if target.cell.kind.startswith("outside"):
        raise context.error("a dict from outside the function changes in it", "make a copy: `dict(d)`")
    match name, count:
        case "pop" | "setdefault", 1 | 2:
            key = dict_key(context, arguments[0])
            found = content.find(key)
            if name == "setdefault":
                if found is None:
                    found = arguments[1] if count == 2 else Constant(None)
                    context.heap[target.cell] = DictItems((*content.entries, (key, found)))
                return found
            if found is None:
                if count == 1:
                    context.fails(KeyError(key))
                return arguments[1]
            context.heap[target.cell] = DictItems(tuple((k, v) for k, v in content.entries if k != key))
            return found
        case "update", 1:
            if not isinstance(arguments[0], DictRef):
                raise context.type_error(f"dict.update() of {context.describe(arguments[0])} is not supported")
            entries = dict(content.entries)
            entries.update(context.heap[arguments[0].cell].entries)
            context.heap[target.cell] = DictItems(tuple(entries.items()))
            return Constant(None)
        case "clear", 0:
            context.heap[target.cell] = DictItems(())
            return Constant(None)
    raise context.error(f"dict.{name} with {count} arguments is not supported in a compiled program")
