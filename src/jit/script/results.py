"""What a compiled function returns, and what it leaves in the objects of its arguments, as a structure of values."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from ...ir.core import Block, Value
from ...ir.types import TensorType
from ..argument_objects import is_plain_class
from ..record_values import record_names
from ..structure import IDENTITY
from ..tree import LEAF, Structure, constant_structure, tuple_structure
from .context import Context
from .objects import attribute, attribute_names
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Constant,
    DictRef,
    Entries,
    ListRef,
    ObjectRef,
    RunTimeDict,
    RunTimeItems,
    RunTimeObject,
    RunTimeSet,
    Scalar,
    SetRef,
    TensorRef,
    Tuple,
    Union,
)

__all__ = ["Results"]

Path = tuple[Any, ...]


class Results:
    """Builds the structure of a function's results; the graph's values for it are appended to `values`."""

    def __init__(
        self, context: Context, values: list[Value], objects: Mapping[Path, ListRef | DictRef | ObjectRef]
    ) -> None:
        self.context = context
        self.values = values
        self.objects = objects
        self.paths = {reference.cell: path for path, reference in objects.items()}
        self.met: dict[Cell, int] = {}  # containers and objects of the results, by their number
        self.count = 0

    def structure(self, result: Abstract) -> Structure:
        """How the result is put together, with what objects of the arguments hold now where that has changed."""
        paths: list[Path] = []
        changes: list[Structure] = []
        # Objects that the program has at run time first: what else holds them then holds the caller's.
        heap = self.context.heap
        order = sorted(self.objects.items(), key=lambda pair: not isinstance(heap[pair[1].cell], RunTimeObject))
        for path, reference in order:
            change = self.change(reference)
            if change is not None:
                paths.append(path)
                changes.append(change)
        returned = self.part(result)
        if not changes:
            return returned
        return Structure("updates", (*changes, returned), tuple(paths))

    def change(self, reference: ListRef | DictRef | ObjectRef) -> Structure | None:
        """What an object of the arguments holds now; None where that is what it held."""
        context = self.context
        before, now = context.initial[reference.cell], context.heap[reference.cell]
        if now is before:
            return None
        if isinstance(reference, ObjectRef) and isinstance(now, RunTimeObject):
            # All attributes: a name for the same object may have changed any. Its identity comes first.
            self.values.append(now.value)
            self.count += 1
            known = attribute_names(now)
            held = [self.part(attribute(self.context, reference, n)) for n in known]
            return Structure("object", (LEAF, *held), (IDENTITY, *known), reference.type.__name__)
        if isinstance(reference, ObjectRef):
            names = [n for n, v in now.attributes.items() if v is not UNBOUND and before.attributes.get(n) is not v]
            gone = [n for n in before.attributes if now.attributes.get(n, UNBOUND) is UNBOUND]
            if gone:
                raise context.error(f"attribute {gone[0]!r} of an argument is deleted", "give it a value, as None")
            self.count += 1
            children = tuple([self.part(self.bound(now.attributes[n], n)) for n in names])
            return Structure("object", children, tuple(names), reference.type.__name__) if names else None
        kept = _same(before, now)
        return None if kept else self.content(reference, now)

    def bound(self, value: Abstract, name: str) -> Abstract:
        return self.context.bound_value(value, f"attribute {name!r}")

    def part(self, value: Abstract) -> Structure:
        """How a value is put together."""
        context, values = self.context, self.values
        match value:
            case TensorRef():
                values.append(context.read(value))
                return LEAF
            case Scalar(value=graph_value):
                values.append(graph_value)
                return LEAF
            case Tuple(items=items, type=cls):
                if not hasattr(cls, "_fields"):
                    children = tuple([self.part(i) for i in items])
                    return tuple_structure(children) if cls is tuple else Structure("tuple", children, cls=cls)
                self.count += 1
                children = tuple([self.part(i) for i in items])
                return Structure("record", children, tuple(cls._fields), cls.__name__, cls=cls)
            case ListRef(cell=cell) | SetRef(cell=cell) | DictRef(cell=cell) | ObjectRef(cell=cell):
                if cell in self.paths:
                    return Structure("argument", keys=self.paths[cell])
                if cell in self.met:
                    return Structure("again", keys=(self.met[cell],))
                content = context.heap[cell]
                if isinstance(content, (RunTimeItems, RunTimeSet, RunTimeDict, RunTimeObject)):
                    return self.run_time(content.value)
                self.met[cell] = self.count
                if isinstance(value, ObjectRef):
                    made = self.instance(value, content)
                    if made is not None:
                        return made
                else:
                    return self.content(value, content)
            case Union(tag=tag, alternatives=alternatives):
                return self.union(tag, alternatives)
            case Constant(value=constant) if not isinstance(constant, (types.FunctionType, types.ModuleType)):
                return constant_structure(constant)
        raise context.error(
            f"{context.describe(value)} cannot be returned from a compiled program",
            "return tensors, numbers, strings, None, or tuples, lists and dicts of them",
        )

    def run_time(self, value: Value) -> Structure:
        """A container or object of the graph."""
        self.values.append(value)
        type = self.context.type_of(value)
        names = record_names(type)
        if not names:
            return LEAF
        return Structure("objects", value=type, cls={name: self.context.records[name] for name in names})

    def content(self, reference: Abstract, content: Any) -> Structure:
        """How what a container holds is put together."""
        if isinstance(content, (RunTimeItems, RunTimeSet, RunTimeDict)):
            return self.run_time(content.value)
        self.count += 1
        match reference:
            case ListRef():
                return Structure("list", tuple([self.part(i) for i in content.items]))
            case SetRef():
                return Structure("set", tuple([self.part(i) for i in content.items]))
        parts = tuple([self.part(v) for _, v in content.entries])
        return Structure("dict", parts, tuple([k for k, _ in content.entries]))

    def instance(self, value: ObjectRef, content: Entries) -> Structure | None:
        """How an object that the program made is put together; None where its class is none that can be."""
        cls, attributes = value.type, content.attributes
        is_data = dataclasses.is_dataclass(cls)
        if not is_data and not is_plain_class(cls):
            return None
        names = tuple([n for n, v in attributes.items() if v is not UNBOUND])
        kind = "object"
        if is_data and not hasattr(cls, "__post_init__"):
            fields = dataclasses.fields(cls)
            if all(f.init for f in fields) and {f.name for f in fields} == set(names):
                kind, names = "record", tuple([f.name for f in fields])
        self.count += 1
        parts = tuple([self.part(self.bound(attributes[n], n)) for n in names])
        return Structure(kind, parts, names, cls.__name__, cls=cls)

    def union(self, tag: Value, alternatives: tuple[Abstract, ...]) -> Structure:
        """How one of several things is put together."""
        values = self.values
        values.append(tag)
        built: list[Structure] = []
        for number, alternative in enumerate(alternatives):
            start = len(values)
            built.append(self.part(alternative))
            values[start:] = [_made_sure(self.context, tag, number, v) for v in values[start:]]
        return Structure("union", tuple(built))


def _same(before: Any, now: Any) -> bool:
    """Whether a list or dict holds the very things that it held."""
    if type(before) is not type(now):
        return False
    pairs = [
        (c.items, ()) if hasattr(c, "items") else ([v for _, v in c.entries], [k for k, _ in c.entries])
        for c in (before, now)
    ]
    (old, old_keys), (new, new_keys) = pairs
    return len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True)) and old_keys == new_keys


def _made_sure(context: Context, tag: Value, number: int, value: Value) -> Value:
    """A tensor of an alternative that is returned: an empty one where another alternative counts."""
    type = context.type_of(value)
    if not isinstance(type, TensorType) or not type.shape:
        return value
    regions = [Block(), Block()]
    with context.inside(regions[0]):
        context.builder.yield_([value])
    with context.inside(regions[1]):
        zero = context.constant(0)
        empty = context.emit("full", *([zero] * type.rank), context.constant(0), dtype=type.dtype)
        context.builder.yield_([empty])
    shape = tuple(context.builder.sizes.fresh(prefix="d") for _ in type.shape)
    condition = context.emit("scalar.eq", tag, context.constant(number))
    (result,) = context.builder.emit_all("if", [condition], {}, regions, (TensorType(type.dtype, shape, type.device),))
    return result
