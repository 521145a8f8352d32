"""Types of empty containers inside others: not known where the literal stands, found where something is put in.

Such a container gets a type with an `UnknownType`. When the program shows what it is, `NeedsTypes` ends the
compilation, which starts again with that knowledge. An annotation says it at once.
"""

import types as python_types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...ir.types import (
    BoolType,
    ComplexType,
    DictType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    OptionalType,
    SetType,
    StrType,
    TupleType,
    Type,
    contained_types,
)

__all__ = ["Literal", "NeedsTypes", "UnknownType", "annotated_type", "literal_type", "resolve_unknown", "unknown_parts"]

Literal = tuple[str, int, int]
"""The place of an empty container's literal: file, line and column."""


@dataclass(frozen=True)
class UnknownType(Type):
    """The type of what an empty container will hold: its elements ("element") or a dict's keys ("key")."""

    literal: Literal
    part: str

    def __str__(self) -> str:
        return "?"


class NeedsTypes(Exception):
    """What an empty container holds was found out: compilation must start again."""

    def __init__(self, unknown: UnknownType, type: Type) -> None:
        super().__init__(f"{unknown.literal} holds {type}")
        self.unknown, self.type = unknown, type


def literal_type(found: dict[Literal, dict[str, Type]], literal: Literal, kind: str) -> Type:
    """The type of an empty "list", "dict" or "set", as far as it was found."""
    known = found.get(literal, {})

    def part(name: str) -> Type:
        return known.get(name) or UnknownType(literal, name)

    if kind == "dict":
        return DictType(part("key"), part("element"))
    return ListType(part("element")) if kind == "list" else SetType(part("element"))


def unknown_parts(type: Type) -> list[UnknownType]:
    """The unknown types inside a type."""
    if isinstance(type, UnknownType):
        return [type]
    return [u for t in contained_types(type) for u in unknown_parts(t)]


def resolve_unknown(a: Type, b: Type) -> None:
    """NeedsTypes where one of two types that must be one has what the other does not know."""
    for one, other in ((a, b), (b, a)):
        if isinstance(one, UnknownType) and one != other:
            raise NeedsTypes(one, other)
    if type(a) is type(b):
        for x, y in zip(contained_types(a), contained_types(b), strict=False):
            resolve_unknown(x, y)


_SIMPLE: dict[Any, Callable[[], Type]] = {
    int: IntType, float: FloatType, complex: ComplexType, bool: BoolType, str: StrType, type(None): NoneType,
    None: NoneType,
}  # fmt: skip


def annotated_type(hint: Any) -> Type | None:
    """The graph type that an annotation names; None where it names none, as for tensors."""
    if hint in _SIMPLE if isinstance(hint, (type, python_types.NoneType)) else False:
        return _SIMPLE[hint]()
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    parts = [annotated_type(h) for h in inside if h is not Ellipsis]
    if any(p is None for p in parts):
        return None
    known = [p for p in parts if p is not None]
    if origin is list and len(known) == 1:
        return ListType(known[0])
    if origin is set and len(known) == 1:
        return SetType(known[0])
    if origin is dict and len(known) == 2:
        return DictType(known[0], known[1])
    if origin is tuple and Ellipsis not in inside:
        return TupleType(tuple(known))
    if origin in (typing.Union, python_types.UnionType):
        rest = [p for p in known if not isinstance(p, NoneType)]
        if len(rest) == 1 and len(known) == 2:
            return OptionalType(rest[0])
    return None
