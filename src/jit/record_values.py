"""Objects that native code and graphs have as lists of one tuple: back to instances of their classes.

An object in a container of run time is a list, for its identity, whose only element is a record of its attributes. The
name of such a record begins with "&"; other records are named tuples.
"""

import functools
from collections import namedtuple
from collections.abc import Mapping
from typing import Any

from ..ir.types import (
    DictType,
    ListType,
    OptionalType,
    RecordType,
    SetType,
    TupleType,
    Type,
    contained_types,
)
from .argument_objects import make_object, set_attributes

__all__ = ["OBJECT", "Converter", "has_records", "is_object", "record_class", "record_names"]

OBJECT = "&"


def is_object(type: Type) -> bool:
    """Whether a type is that of objects."""
    return isinstance(type, ListType) and isinstance(type.element, RecordType) and type.element.name.startswith(OBJECT)


def record_names(type: Type) -> set[str]:
    """The names of the records in a type."""
    own = {type.name} if isinstance(type, RecordType) else set()
    return own.union(*map(record_names, contained_types(type)))


def has_records(type: Type) -> bool:
    """Whether values of a type hold objects or named tuples."""
    return bool(record_names(type))


@functools.lru_cache(maxsize=1000)
def record_class(name: str, fields: tuple[str, ...]) -> Any:
    """The class of records whose own is not known: a named tuple, made when one is first put together."""
    return namedtuple(name, fields)


def _plain_name(name: str) -> str:
    last = name.removeprefix(OBJECT).rpartition(".")[2].partition("#")[0]
    return last if last.isidentifier() else "Record"


class Converter:
    """Makes instances of values as programs have them; one object for each identity."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, Any]] = {}  # the program's object, kept alive, and ours

    def convert(self, value: Any, type: Type, classes: Mapping[str, Any]) -> Any:
        """The value as the user knows it; `classes` are those of records, by name."""
        if not has_records(type):
            return value
        if isinstance(type, (ListType, DictType, SetType)):
            known = self.known.get(id(value))
            if known is not None:
                return known[1]
        match type:
            case ListType(element=RecordType(name=name)) if name.startswith(OBJECT) and not value:
                return None  # of an alternative that does not count
            case ListType(element=RecordType(name=name, fields=fields)) if name.startswith(OBJECT):
                made = make_object(classes.get(name), _plain_name(name))
                self.known[id(value)] = (value, made)
                parts = [self.convert(v, t, classes) for v, (_, t) in zip(value[0], fields, strict=True)]
                set_attributes(made, [n for n, _ in fields], parts)
                return made
            case ListType(element=element):
                items: list[Any] = []
                self.known[id(value)] = (value, items)
                items.extend([self.convert(v, element, classes) for v in value])
                return items
            case DictType(key=key, element=element):
                entries: dict[Any, Any] = {}
                self.known[id(value)] = (value, entries)
                for k, v in value.items():
                    entries[self.convert(k, key, classes)] = self.convert(v, element, classes)
                return entries
            case SetType(element=element):
                return {self.convert(v, element, classes) for v in value}
            case OptionalType(element=element):
                return None if value is None else self.convert(value, element, classes)
            case TupleType(elements=elements):
                return tuple([self.convert(v, t, classes) for v, t in zip(value, elements, strict=True)])
            case RecordType(name=name, fields=fields):
                cls = classes.get(name) or record_class(_plain_name(name), tuple([n for n, _ in fields]))
                return cls(*[self.convert(v, t, classes) for v, (_, t) in zip(value, fields, strict=True)])
        return value
