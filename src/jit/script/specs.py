"""What a variable can hold where paths meet, described; and what describes two such things at once.

A spec says how many graph values (slots) carry a thing across the end of a branch or around a loop. Python's
variables have no fixed type, so what does not join into one type becomes a tagged union.
"""

import functools
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ...eager.tensor import Size
from ...ir.core import Value
from ...ir.dims import Dim, symbols
from ...ir.types import (
    BoolType,
    ComplexType,
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
    join_types,
)
from .context import Context
from .open_elements import note_types, with_open_sizes
from .unknown import annotated_type, literal_type, resolve_unknown
from .values import (
    Abstract,
    Cell,
    Closure,
    Constant,
    DictItems,
    DictRef,
    Items,
    ListRef,
    Method,
    ObjectRef,
    RunTimeDict,
    RunTimeObject,
    RunTimeSet,
    Scalar,
    Sequence,
    SetRef,
    Slice,
    TensorRef,
    Tuple,
    Union,
    constant_key,
)

__all__ = [
    "ConstantSpec",
    "ContainerSpec",
    "EntriesSpec",
    "ListSpec",
    "SameSpec",
    "ScalarSpec",
    "Spec",
    "TensorSpec",
    "TupleSpec",
    "UnionSpec",
    "container_type",
    "element_type",
    "join",
    "key_value",
    "list_element",
    "localise",
    "spec_of",
    "widened",
]

MAX_ALTERNATIVES = 8


_SCALARS: dict[type, type[Type]] = {bool: BoolType, int: IntType, float: FloatType, complex: ComplexType}


@dataclass(frozen=True)
class Spec:
    """Base of the descriptions."""

    @property
    def kind(self) -> Any:
        """Two specs of one kind join into one; others become alternatives of a union."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ConstantSpec(Spec):
    """One object known at compile time."""

    value: Abstract
    key: Any

    @property
    def kind(self) -> Any:
        if isinstance(self.value, Constant) and type(self.value.value) in _SCALARS:
            return type(self.value.value).__name__
        return ("constant", self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConstantSpec) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class ScalarSpec(Spec):
    """A number, bool or string of a run-time value."""

    type: Type

    @property
    def kind(self) -> Any:
        match self.type:
            case BoolType():
                return "bool"
            case IntType():
                return "int"
            case FloatType():
                return "float"
            case ComplexType():
                return "complex"
        return "str"


@dataclass(frozen=True)
class TensorSpec(Spec):
    """A tensor; None for a size that differs. `origins` is memory that it may share."""

    type: TensorType
    shape: tuple[Dim | None, ...]
    origins: frozenset[Cell]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TensorSpec)
            and self.kind == other.kind
            and self.shape == other.shape
            and self.origins == other.origins
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.shape))

    @property
    def kind(self) -> Any:
        return ("tensor", self.type.dtype.short, len(self.shape), self.type.device)


@dataclass(frozen=True)
class SameSpec(Spec):
    """The same mutable object as before the paths parted; it is described by `degraded` where it meets another."""

    cell: Cell
    value: Abstract
    degraded: Spec
    kept: bool = False  # whether it stays itself, as an alternative, where it meets something else

    @property
    def kind(self) -> Any:
        return self.identity if self.kept else self.degraded.kind

    @property
    def identity(self) -> Any:
        """What tells it from other objects: its memory, and the way to it for a view."""
        views = getattr(self.value, "views", ())
        return ("same", id(self.cell), id(views) if views else 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SameSpec) or self.cell is not other.cell:
            return False
        return getattr(self.value, "views", ()) is getattr(other.value, "views", ()) or (
            not getattr(self.value, "views", ()) and not getattr(other.value, "views", ())
        )

    def __hash__(self) -> int:
        return hash(self.cell)


@dataclass(frozen=True)
class TupleSpec(Spec):
    """A tuple of known length."""

    items: tuple[Spec, ...]
    type: type

    @property
    def kind(self) -> Any:
        return ("tuple", len(self.items), self.type)


@dataclass(frozen=True)
class ListSpec(Spec):
    """A list: with `items` where its length is known, else with the type of its elements."""

    items: tuple[Spec, ...] | None
    element: Type | None
    origins: frozenset[Cell]
    literal: Any = field(default=None, compare=False)

    @property
    def kind(self) -> Any:
        return "list"


@dataclass(frozen=True)
class EntriesSpec(Spec):
    """A dict or an object: its keys and what they map to."""

    keys: tuple[Any, ...]
    items: tuple[Spec, ...]
    type: type
    origins: frozenset[Cell]
    literal: Any = field(default=None, compare=False)

    @property
    def kind(self) -> Any:
        return ("entries", self.type, tuple(constant_key(k) for k in self.keys))


@dataclass(frozen=True)
class ContainerSpec(Spec):
    """A dict or set of the graph, of this type; or a set whose elements are all known (`items`)."""

    container: str
    type: Type | None
    items: tuple[Spec, ...]
    origins: frozenset[Cell]
    literal: Any = field(default=None, compare=False)

    @property
    def kind(self) -> Any:
        return ("object", self.type) if self.container == "object" else self.container


@dataclass(frozen=True)
class UnionSpec(Spec):
    """One of several."""

    alternatives: tuple[Spec, ...]

    @property
    def kind(self) -> Any:
        return "union"


def spec_of(context: Context, value: Abstract, outer: "dict[Cell, Any] | None" = None) -> Spec:
    """The description of a value; cells of `outer` (the heap before the paths parted) keep their identity."""
    match value:
        case Scalar(value=graph_value):
            scalar_type = context.type_of(graph_value)
            if isinstance(scalar_type, TensorType):  # what a tensor's memory holds
                return TensorSpec(scalar_type, scalar_type.shape, frozenset())
            return ScalarSpec(scalar_type)
        case TensorRef(cell=cell, views=views):
            type = context.tensor_type(value)
            spec: Spec = TensorSpec(type, type.shape, cell.origins)
            known = context.existed(cell, outer) and all(
                o is None or context.is_in_scope(o) for v in views for o in v.operands
            )
            return SameSpec(cell, value, spec, context.keep_identity) if known else spec
        case Tuple(items=items, type=cls):
            return TupleSpec(tuple(spec_of(context, i, outer) for i in items), cls)
        case ListRef(cell=cell):
            content = context.heap[cell]
            if isinstance(content, Items):
                parts = tuple(spec_of(context, i, outer) for i in content.items)
                spec = ListSpec(parts, None, cell.origins, cell.literal)
            else:
                spec = ListSpec(None, content.element, cell.origins)
            return SameSpec(cell, value, spec, context.keep_identity) if context.existed(cell, outer) else spec
        case SetRef(cell=cell):
            content = context.heap[cell]
            if isinstance(content, RunTimeSet):
                spec = ContainerSpec("set", SetType(content.element), (), cell.origins)
            else:
                known_items = tuple(spec_of(context, i) for i in content.items)
                spec = ContainerSpec("set", None, known_items, cell.origins, cell.literal)
            return SameSpec(cell, value, spec, context.keep_identity) if context.existed(cell, outer) else spec
        case DictRef(cell=cell) if isinstance(content := context.heap[cell], RunTimeDict):
            spec = ContainerSpec("dict", DictType(content.key, content.element), (), cell.origins)
            return SameSpec(cell, value, spec, context.keep_identity) if context.existed(cell, outer) else spec
        case ObjectRef(cell=cell) if isinstance(content := context.heap[cell], RunTimeObject):
            spec = ContainerSpec("object", ListType(content.record), (), cell.origins)
            return SameSpec(cell, value, spec, context.keep_identity) if context.existed(cell, outer) else spec
        case DictRef(cell=cell) | ObjectRef(cell=cell):
            content = context.heap[cell]
            pairs = content.entries if isinstance(content, DictItems) else tuple(content.attributes.items())
            spec = EntriesSpec(
                tuple(k for k, _ in pairs),
                tuple(spec_of(context, v, outer) for _, v in pairs),
                value.type if isinstance(value, ObjectRef) else dict,
                cell.origins,
                cell.literal,
            )
            return SameSpec(cell, value, spec, context.keep_identity) if context.existed(cell, outer) else spec
        case Union(alternatives=alternatives):
            return UnionSpec(tuple(spec_of(context, a, outer) for a in alternatives))
        case Constant(value=constant):
            return ConstantSpec(value, constant_key(constant))
    return ConstantSpec(value, (None, id(value)))


def widened(spec: Spec, *, identity: bool) -> Spec:
    """A first guess for what a loop carries: numbers that change, and memory of its own (unless `identity`)."""
    match spec:
        case ConstantSpec(value=Constant(value=constant)) if constant.__class__ in _SCALARS:
            return ScalarSpec(_SCALARS[constant.__class__]())
        case ScalarSpec(type=IntType()):
            return ScalarSpec(IntType())
        case SameSpec(degraded=TensorSpec() as degraded, kept=False) if not identity:
            return degraded
        case TupleSpec(items=items, type=cls):
            return TupleSpec(tuple(widened(i, identity=identity) for i in items), cls)
    return spec


def localise(
    context: Context, spec: Spec, outer: "dict[Cell, Any]", symbols_known: frozenset[str], shared: dict[Cell, Cell]
) -> Spec:
    """The spec without what only exists inside a region: sizes become unknown, memory is forgotten.

    `shared` maps memory made inside the region, to which more than one thing that leaves it refers, to a cell that
    stands for it outside.
    """

    def cells(origins: frozenset[Cell]) -> frozenset[Cell]:
        kept = {c for c in origins if context.existed(c, outer)} | {shared[c] for c in origins if c in shared}
        if any(context.has_escaped(c) for c in origins):
            kept.add(context.escaped_cell)
        return frozenset(kept)

    def visit(spec: Spec) -> Spec:
        match spec:
            case ScalarSpec(type=IntType(value=value)) if value is not None:
                value = context.builder.sizes.resolve(value)
                return ScalarSpec(IntType(value if symbols(value) <= symbols_known else None))
            case TensorSpec(type=type, shape=shape, origins=origins):
                dims = [None if d is None else context.builder.sizes.resolve(d) for d in shape]
                known = tuple(None if d is None or not symbols(d) <= symbols_known else d for d in dims)
                return TensorSpec(context.builder.resolve(type), known, cells(origins))  # type: ignore[arg-type]
            case TupleSpec(items=items, type=cls):
                return TupleSpec(tuple(map(visit, items)), cls)
            case ListSpec(items=items, element=element, origins=origins):
                if element is not None:
                    element = context.builder.resolve(element)
                known_items = None if items is None else tuple(map(visit, items))
                return ListSpec(known_items, element, cells(origins), spec.literal)
            case ContainerSpec(container=name, type=container, items=items, origins=origins):
                if container is not None:
                    container = context.builder.resolve(container)
                return ContainerSpec(name, container, items, cells(origins), spec.literal)
            case EntriesSpec(keys=keys, items=items, type=cls, origins=origins):
                return EntriesSpec(keys, tuple(map(visit, items)), cls, cells(origins), spec.literal)
            case UnionSpec(alternatives=alternatives):
                return UnionSpec(tuple(map(visit, alternatives)))
            case SameSpec(cell=cell, value=value, degraded=degraded):
                return SameSpec(cell, value, visit(degraded), spec.kept)
            case ConstantSpec(value=value) if not _is_portable(context, value):
                raise context.error(
                    f"{context.describe(value)} is made inside a branch or loop and used after it",
                    "make it where it is used",
                )
        return spec

    return visit(spec)


def _is_portable(context: Context, value: Abstract) -> bool:
    """Whether something that has no slots refers to no value that is only defined inside a region."""
    match value:
        case Scalar(value=graph_value):
            return context.is_in_scope(graph_value)
        case TensorRef(cell=cell, views=views):
            return cell in context.initial or all(
                o is None or context.is_in_scope(o) for v in views for o in v.operands
            )
        case Tuple(items=items) | Union(alternatives=items):
            return all(_is_portable(context, i) for i in items)
        case Slice(start=start, stop=stop, step=step):
            return all(_is_portable(context, p) for p in (start, stop, step))
        case Sequence(length=length, parts=parts):
            known = not isinstance(length, Value) or context.is_in_scope(length)
            return known and all(_is_portable(context, p) for p in parts if isinstance(p, Abstract))
        case Method(instance=instance):
            return _is_portable(context, instance)
        case Closure(frame=frame, defaults=defaults, keyword_defaults=keyword_defaults):
            captured = () if frame in context.frames else frame.variables.values()
            return all(_is_portable(context, d) for d in (*defaults, *keyword_defaults.values(), *captured))
    return True


def join(context: Context, a: Spec, b: Spec) -> Spec:
    """The smallest description of both."""
    if a == b:
        return a
    a, b = _texts_joined(a, b)
    alternatives = list(a.alternatives) if isinstance(a, UnionSpec) else [a]
    for other in b.alternatives if isinstance(b, UnionSpec) else (b,):
        for i, one in enumerate(alternatives):
            if one.kind == other.kind and (joined := _join_same(context, one, other)) is not None:
                alternatives[i] = joined
                break
        else:
            alternatives.append(other)
    if len(alternatives) > MAX_ALTERNATIVES:
        raise context.error(
            f"a variable takes more than {MAX_ALTERNATIVES} different types here",
            "keep the type of a variable the same on all paths and in all iterations",
        )
    return alternatives[0] if len(alternatives) == 1 else UnionSpec(tuple(alternatives))


_MOST_TEXTS = 4


def _texts_joined(a: Spec, b: Spec) -> tuple[Spec, Spec]:
    """The two with all strings as run-time ones, where one of them is, or where there are many known ones.

    A few known strings stay apart: they may be modes of operations.
    """
    pieces = [p for s in (a, b) for p in (s.alternatives if isinstance(s, UnionSpec) else (s,))]
    known = {p.key for p in pieces if _is_known_text(p)}
    if not known or not (len(known) > _MOST_TEXTS or any(p == ScalarSpec(StrType()) for p in pieces)):
        return a, b

    def visit(spec: Spec) -> Spec:
        if isinstance(spec, UnionSpec):
            made = tuple(dict.fromkeys(map(visit, spec.alternatives)))
            return made[0] if len(made) == 1 else UnionSpec(made)
        return ScalarSpec(StrType()) if _is_known_text(spec) else spec

    return visit(a), visit(b)


def _is_known_text(spec: Spec) -> TypeGuard[ConstantSpec]:
    return isinstance(spec, ConstantSpec) and isinstance(spec.value, Constant) and type(spec.value.value) is str


def _join_same(context: Context, a: Spec, b: Spec) -> Spec | None:
    if a == b:
        return a
    a = a.degraded if isinstance(a, SameSpec) else a
    b = b.degraded if isinstance(b, SameSpec) else b
    match a, b:
        case TensorSpec(), TensorSpec():
            shape = tuple(x if x == y else None for x, y in zip(a.shape, b.shape, strict=True))
            return TensorSpec(
                a.type, shape, a.origins | b.origins
            )  # the type gives dtype and device; sizes are in shape
        case TupleSpec(), TupleSpec():
            items = tuple(join(context, x, y) for x, y in zip(a.items, b.items, strict=True))
            return TupleSpec(items, a.type)
        case ListSpec(), ListSpec():
            origins = a.origins | b.origins
            if a.items is not None and b.items is not None and len(a.items) == len(b.items):
                items = tuple(join(context, x, y) for x, y in zip(a.items, b.items, strict=True))
                return ListSpec(items, None, origins)
            for spec in (a, b):
                context.escape(c for item in spec.items or () for c in _origins(item))
            return ListSpec(None, list_element(context, a, b), origins)
        case ContainerSpec(), ContainerSpec():
            origins = a.origins | b.origins
            if a.type == b.type and a.items == b.items:
                return ContainerSpec(a.container, a.type, a.items, origins)
            return ContainerSpec(a.container, container_type(context, a, b), (), origins)
        case EntriesSpec(), EntriesSpec():
            items = tuple(join(context, x, y) for x, y in zip(a.items, b.items, strict=True))
            return EntriesSpec(a.keys, items, a.type, a.origins | b.origins)
        case ((ConstantSpec() | ScalarSpec()), (ConstantSpec() | ScalarSpec())):
            return ScalarSpec(_join_scalar(a, b))
    return None


def _origins(spec: Spec) -> frozenset[Cell]:
    """The memory that something described may share."""
    match spec:
        case TensorSpec(origins=origins):
            return origins
        case SameSpec(degraded=degraded):
            return _origins(degraded)
        case TupleSpec(items=items) | ListSpec(items=tuple() as items) | UnionSpec(alternatives=items):
            return frozenset().union(*map(_origins, items))
    return frozenset()


def _join_scalar(a: Spec, b: Spec) -> Type:
    types = []
    for spec in (a, b):
        if isinstance(spec, ScalarSpec):
            types.append(spec.type)
        else:
            assert isinstance(spec, ConstantSpec) and isinstance(spec.value, Constant)
            types.append(_SCALARS[type(spec.value.value)]())
    return types[0] if types[0] == types[1] else IntType()


def element_type(context: Context, spec: Spec) -> Type:
    """The graph type of an element of a container; ScriptError where a run-time one cannot hold such a thing."""
    match spec:
        case ScalarSpec(type=IntType()):
            return IntType()
        case ScalarSpec(type=type):
            return type
        case ConstantSpec(value=Constant(value=constant)) if constant.__class__ in _SCALARS:
            return _SCALARS[constant.__class__]()
        case ConstantSpec(value=Constant(value=str())):
            return StrType()
        case ConstantSpec(value=Constant(value=None)):
            return NoneType()
        case TensorSpec(type=tensor_type, shape=shape):
            found = with_open_sizes(context, tensor_type, shape)
            if found is None:
                raise context.error(
                    "a list whose length is known at run time only holds tensors of different sizes",
                    "make the sizes the same (for example by padding), or concatenate the tensors as you go",
                )
            return found
        case SameSpec(degraded=degraded):
            return element_type(context, degraded)
        case TupleSpec(items=items, type=cls) if cls in (tuple, Size):
            return TupleType(tuple(element_type(context, i) for i in items))
        case TupleSpec(items=items, type=cls) if hasattr(cls, "_fields"):
            fields = zip(cls._fields, items, strict=True)
            return RecordType(context.record_name(cls), tuple((n, element_type(context, i)) for n, i in fields))
        case ListSpec(items=None, element=element) if element is not None:
            return ListType(element)
        case ListSpec(items=items) if items:
            return ListType(_common_type(context, [element_type(context, i) for i in items]))
        case ListSpec(items=(), literal=literal) if literal is not None:
            return literal_type(context.literal_types, literal, "list")
        case ContainerSpec(type=container) if container is not None:
            return container
        case ContainerSpec(items=(), literal=literal) if literal is not None:
            return literal_type(context.literal_types, literal, "set")
        case EntriesSpec(type=cls, keys=(), literal=literal) if cls is dict and literal is not None:
            return literal_type(context.literal_types, literal, "dict")
        case ContainerSpec(items=items) if items:
            return SetType(_common_type(context, [element_type(context, i) for i in items]))
        case EntriesSpec(type=cls) if cls is dict:
            made = container_type(context, spec)
            if made is not None:
                return made
        case EntriesSpec(type=cls, keys=keys, items=items):
            declared = _declared_attributes(cls)
            held = [(k, declared.get(k) or element_type(context, i)) for k, i in zip(keys, items, strict=True)]
            return ListType(RecordType(context.object_name(cls), tuple(held)))
        case UnionSpec(alternatives=alternatives):
            types = [element_type(context, a) for a in alternatives]
            joined: Type | None = types[0]
            for other in types[1:]:
                joined = None if joined is None else join_types(joined, other)
            if joined is not None:
                return joined
    raise context.error(
        f"a list whose length is known at run time only cannot hold {_show(spec)}",
        "containers that grow in a loop or branch hold tensors, numbers, bools, strings, None, or tuples, lists, dicts "
        "and sets of them, all of one type",
    )


@functools.lru_cache(maxsize=1000)
def _declared_attributes(cls: type) -> dict[str, Type]:
    """What annotations of a class say of attributes that may be None, or start as empty containers."""
    try:
        hints = typing.get_type_hints(cls)
    except Exception:
        return {}  # names that exist for type checkers only
    found = {name: annotated_type(hint) for name, hint in hints.items()}
    kinds = (OptionalType, ListType, DictType, SetType)
    return {name: type for name, type in found.items() if isinstance(type, kinds)}


def _same_sizes(context: Context, a: Type | None, b: Type) -> bool:
    """Whether two tensor types differ in sizes only, which are the same in this call: that becomes a condition."""
    if not isinstance(a, TensorType) or not isinstance(b, TensorType):
        return False
    sizes = context.builder.sizes
    pairs = [(x, y) for x, y in zip(a.shape, b.shape, strict=False) if x != y]
    hints = [(sizes.hint(x), sizes.hint(y)) for x, y in pairs]
    if (a.dtype, a.rank, a.device) != (b.dtype, b.rank, b.device) or any(x is None or x != y for x, y in hints):
        return False
    for x, y in pairs:
        sizes.equal(x, y, f"list: elements of one size expected, given {a} and {b}")
    return True


def _common_type(context: Context, types: Iterable[Type | None]) -> Type:
    found: Type | None = None
    for type in types:
        if type is None or type == found:
            continue
        if found is not None:
            resolve_unknown(found, type)
        joined = type if found is None else join_types(found, type)
        if joined is None and _same_sizes(context, found, type):
            joined = found
        if joined is None:
            note_types(context, found or type, type)
            raise context.error(
                f"a list whose length is known at run time only has elements of different types: {found} and {type}",
                "make all elements of a list the same type, with the same number of dimensions",
            )
        found = joined
    assert found is not None
    return found


def container_type(context: Context, *specs: Spec) -> Type | None:
    """The graph type that holds the dicts, or the sets, that are described; None where all are empty."""
    keys: list[Type] = []
    elements: list[Type] = []
    is_dict = False
    for spec in specs:
        match spec:
            case ContainerSpec(type=DictType(key=key, element=element)):
                keys.append(key)
                elements.append(element)
                is_dict = True
            case ContainerSpec(type=SetType(element=element)):
                elements.append(element)
            case ContainerSpec(items=items):
                elements += [element_type(context, i) for i in items]
            case EntriesSpec(keys=known, items=items):
                is_dict = True
                keys += [element_type(context, spec_of(context, key_value(k))) for k in known]
                elements += [element_type(context, i) for i in items]
    if not elements:
        return _declared(context, specs)
    element = _common_type(context, elements)
    return DictType(_common_type(context, keys), element) if is_dict else SetType(element)


def _declared(context: Context, specs: Iterable[Spec]) -> Type | None:
    """The type of empty dicts or sets, where an annotation says it."""
    for spec in specs:
        literal = getattr(spec, "literal", None)
        if literal is not None and literal in context.literal_types:
            return literal_type(context.literal_types, literal, "set" if isinstance(spec, ContainerSpec) else "dict")
    return None


def key_value(key: Any) -> Abstract:
    """A dict's key that is a Python object, as the program sees it."""
    return Tuple(tuple(map(key_value, key)), type(key)) if isinstance(key, tuple) else Constant(key)


def _show(spec: Spec) -> str:
    match spec:
        case UnionSpec(alternatives=alternatives):
            return "elements of different types (" + ", ".join(_show(a) for a in alternatives) + ")"
        case ScalarSpec(type=type):
            return str(type)
        case TensorSpec(type=type):
            return f"Tensor {type}"
        case ConstantSpec(value=Constant(value=value)):
            return repr(value) if value is None else type_name(value)
    return spec.__class__.__name__.removesuffix("Spec").lower()


def type_name(value: Any) -> str:
    return type(value).__name__


def list_element(context: Context, *lists: ListSpec) -> Type | None:
    """The element type of lists that meet; None where all are empty."""
    types: list[Type] = []
    for spec in lists:
        if spec.items is not None:
            types += [element_type(context, i) for i in spec.items]
        elif spec.element is not None:
            types.append(spec.element)
    if not types:
        known = [context.literal_types[s.literal] for s in lists if s.literal in context.literal_types]
        return known[0].get("element") if known else None
    return _common_type(context, types)
