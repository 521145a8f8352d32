"""Strings and containers among the arguments of a call: values of run time where their elements have one type."""

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


class Fixed:
    """A string that is a constant of the program whatever others are, as a default is."""

    def __init__(self, value: str) -> None:
        self.value = value


def leaf_type(value: Any, dynamic: int) -> Type | None:
    """The graph type of a string, list, dict or set as a value of run time; None where it is none."""
    kind = type(value)
    if kind is str:
        return StrType() if dynamic == MOST_DYNAMIC else None
    return _container_type(value, 0) if dynamic and kind in (list, dict, set) else None


def _container_type(value: Any, depth: int) -> Type | None:
    kind = type(value)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind not in (tuple, list, dict, set) or not value or depth > _MAX_DEPTH:
        return None
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
        found = type_of if found is None else join_types(found, type_of)
        if found is None:
            return None
    return found
