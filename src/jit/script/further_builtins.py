"""Functions of `torch.jit` and of modes that programs call while they are compiled: types asked for, gradients off."""

import types
import typing
from typing import Any

from ...eager import modes, scripting
from ...ir.types import DictType, ListType, SetType
from .calls import python_type
from .context import Context
from .iteration import iterate
from .operators import spread
from .registry import expect, handles
from .unknown import annotated_type
from .values import (
    Abstract,
    Constant,
    DictItems,
    DictRef,
    Items,
    ListRef,
    RunTimeDict,
    RunTimeItems,
    RunTimeSet,
    SetRef,
    Tuple,
)


@handles(scripting.isinstance)
def _isinstance(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "jit.isinstance", arguments, 2)
    hint = arguments[1]
    hints = [h.value for h in hint.items] if isinstance(hint, Tuple) else [hint.value]  # type: ignore[attr-defined]
    return spread(context, lambda v: Constant(any(_fits(context, v, h) for h in hints)), arguments[0])


def _fits(context: Context, value: Abstract, hint: Any) -> bool:
    """Whether a value is of a type, the types of what it holds included."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(context, value, h) for h in parts)
    if hint is typing.Any:
        return True
    if origin is None:
        cls = python_type(value)
        wanted = type(None) if hint is None else hint
        return cls is wanted if wanted in (int, float, complex) else cls is not None and issubclass(cls, wanted)
    content = context.heap[value.cell] if isinstance(value, (ListRef, DictRef, SetRef)) else None
    match value, content:
        case ListRef(), Items(items=items) if origin is list:
            return all(_fits(context, i, parts[0]) for i in items)
        case DictRef(), DictItems(entries=entries) if origin is dict:
            return all(isinstance(k, parts[0]) and _fits(context, v, parts[1]) for k, v in entries)
        case ListRef(), RunTimeItems(element=element) if origin is list:
            return annotated_type(hint) == ListType(element)
        case DictRef(), RunTimeDict(key=key, element=element) if origin is dict:
            return annotated_type(hint) == DictType(key, element)
        case SetRef(), RunTimeSet(element=element) if origin in (set, frozenset):
            return annotated_type(hint) == SetType(element)
        case Tuple(items=items), None if origin is tuple:
            if len(parts) == 2 and parts[1] is Ellipsis:
                return all(_fits(context, i, parts[0]) for i in items)
            return len(parts) == len(items) and all(_fits(context, i, p) for i, p in zip(items, parts, strict=True))
    return False


@handles(iter)
def _iter(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    if context.frame.source.name.rpartition(".")[2] != "__iter__" or len(arguments) != 1:
        raise context.error(
            "an iterator that keeps its place cannot be compiled", "use a `for` loop, an index, or `next(iter(...))`"
        )
    return iterate(context, arguments[0])


@handles(modes.set_grad_enabled)
def _set_grad_enabled(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    mode = arguments[0] if arguments else keywords.get("mode")
    if not isinstance(mode, Constant):
        raise context.error("whether gradients are enabled must be known when the program is compiled")
    return Constant(modes.enable_grad() if mode.value else modes.no_grad())
