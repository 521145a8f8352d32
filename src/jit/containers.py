"""Strings and containers among the arguments of a call: values of run time where their elements have one type."""

from collections.abc import Callable
from typing import Any

from ..ir.types import (
    BoolType,
    ComplexType,
    DictType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    SetType,
    StrType,
    TupleType,
    Type,
    contained_types,
    join_types,
)

__all__ = ["MOST_DYNAMIC", "Fixed", "leaf_type"]

MOST_DYNAMIC = 2
"""How much of the arguments is known at run time only: 2 strings and containers, 1 containers, 0 neither."""

_SCALARS: dict[type, Type] = {
    bool: BoolType(), int: IntType(), float: FloatType(), complex: ComplexType(), str: StrType(),
    type(None): NoneType(),
}  # fmt: skip
_MAX_DEPTH = 16
_UNKNOWN = Type()
_ONE_TYPE: dict[type, Callable[[Type], Type]] = {list: ListType, set: SetType}


class Fixed:
    """A string that is a constant of the program whatever others are, as a default is."""

    def __init__(self, value: str) -> None:
        self.value = value


def leaf_type(value: Any, dynamic: int) -> Type | None:
    """The graph type of a string, list, dict or set as a value of run time; None where it is none."""
    kind = type(value)
    if kind is str:
        return StrType() if dynamic == MOST_DYNAMIC else None
    if not dynamic or kind not in (list, dict, set):
        return None
    found = _container_type(value, 0)
    return None if found is None or _is_unknown(found) else found


def _container_type(value: Any, depth: int) -> Type | None:
    kind = type(value)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind not in (tuple, list, dict, set) or depth > _MAX_DEPTH or value == ():
        return None
    if not value:  # what the others like it hold, as in {0: [1], 1: []}
        return DictType(_UNKNOWN, _UNKNOWN) if kind is dict else _ONE_TYPE[kind](_UNKNOWN)
    if kind is tuple:
        parts = [_container_type(v, depth + 1) for v in value]
        known = [p for p in parts if p is not None]
        return TupleType(tuple(known)) if len(known) == len(parts) else None
    if kind is list or kind is set:
        element = _common(value, depth)
        if element is None or isinstance(element, NoneType):
            return None
        return ListType(element) if kind is list else SetType(element)
    if kind is dict:
        key, element = _common(value, depth), _common(value.values(), depth)
        if key is None or element is None or isinstance(element, NoneType):
            return None
        return DictType(key, element)
    return None


def _common(values: Any, depth: int) -> Type | None:
    """The one type of several values; None where they have none."""
    kinds = {type(v) for v in values}
    if len(kinds) == 1 and kinds <= _SCALARS.keys():
        return _SCALARS[kinds.pop()]
    found: Type | None = None
    for value in values:
        type_of = _container_type(value, depth + 1)
        if type_of is None:
            return None
        found = type_of if found is None else _joined(found, type_of)
        if found is None:
            return None
    return found


def _joined(a: Type, b: Type) -> Type | None:
    """The type of both, where what an empty container would hold is what the other one holds."""
    if a is _UNKNOWN or b is _UNKNOWN:
        return b if a is _UNKNOWN else a
    if type(a) is type(b) and isinstance(a, (ListType, SetType, DictType)):
        parts = [_joined(x, y) for x, y in zip(contained_types(a), contained_types(b), strict=True)]
        return None if None in parts else type(a)(*parts)  # type: ignore[arg-type]
    return join_types(a, b)


def _is_unknown(type: Type) -> bool:
    return type is _UNKNOWN or any(map(_is_unknown, contained_types(type)))
