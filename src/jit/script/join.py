"""What a variable can hold where paths meet: *specs* describe it, and values are converted to and from graph values.

A spec says how many graph values (slots) carry a thing across the end of a branch or around a loop. Python's
variables have no fixed type, so what does not join into one type becomes a tagged union.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...ir.core import Block, Value
from ...ir.dims import Dim, symbols
from ...ir.types import (
    BoolType,
    ComplexType,
    FloatType,
    IntType,
    ListType,
    StrType,
    TensorType,
    TupleType,
    Type,
)
from .context import Context
from .values import (
    Abstract,
    Cell,
    Closure,
    Constant,
    DictItems,
    DictRef,
    Entries,
    Items,
    ListRef,
    Method,
    ObjectRef,
    RunTimeItems,
    Scalar,
    Sequence,
    Slice,
    TensorRef,
    Tuple,
    Union,
    constant_key,
)

__all__ = [
    "ListSpec", "Spec", "agree", "convert", "fill", "join", "list_element", "localise", "materialise_list", "rebuild",
    "slot_types", "spec_of", "to_element", "widened",
]  # fmt: skip

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

    @property
    def kind(self) -> Any:
        return self.degraded.kind

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

    @property
    def kind(self) -> Any:
        return ("entries", self.type, tuple(constant_key(k) for k in self.keys))


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
            return ScalarSpec(context.type_of(graph_value))
        case TensorRef(cell=cell, views=views):
            type = context.tensor_type(value)
            spec: Spec = TensorSpec(type, type.shape, cell.origins)
            known = context.existed(cell, outer) and all(
                o is None or context.is_in_scope(o) for v in views for o in v.operands
            )
            return SameSpec(cell, value, spec) if known else spec
        case Tuple(items=items, type=cls):
            return TupleSpec(tuple(spec_of(context, i, outer) for i in items), cls)
        case ListRef(cell=cell):
            content = context.heap[cell]
            if isinstance(content, Items):
                spec = ListSpec(tuple(spec_of(context, i, outer) for i in content.items), None, cell.origins)
            else:
                spec = ListSpec(None, content.element, cell.origins)
            return SameSpec(cell, value, spec) if context.existed(cell, outer) else spec
        case DictRef(cell=cell) | ObjectRef(cell=cell):
            content = context.heap[cell]
            pairs = content.entries if isinstance(content, DictItems) else tuple(content.attributes.items())
            spec = EntriesSpec(
                tuple(k for k, _ in pairs),
                tuple(spec_of(context, v, outer) for _, v in pairs),
                value.type if isinstance(value, ObjectRef) else dict,
                cell.origins,
            )
            return SameSpec(cell, value, spec) if context.existed(cell, outer) else spec
        case Union(alternatives=alternatives):
            return UnionSpec(tuple(spec_of(context, a, outer) for a in alternatives))
        case Constant(value=constant):
            return ConstantSpec(value, constant_key(constant))
    return ConstantSpec(value, (None, id(value)))


def widened(spec: Spec, *, identity: bool) -> Spec:
    """A first guess for what a loop carries: numbers that change, and memory that is not the same (unless `identity`)."""
    match spec:
        case ConstantSpec(value=Constant(value=constant)) if constant.__class__ in _SCALARS:
            return ScalarSpec(_SCALARS[constant.__class__]())
        case ScalarSpec(type=IntType()):
            return ScalarSpec(IntType())
        case SameSpec(degraded=TensorSpec() as degraded) if not identity:
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
                return ListSpec(None if items is None else tuple(map(visit, items)), element, cells(origins))
            case EntriesSpec(keys=keys, items=items, type=cls, origins=origins):
                return EntriesSpec(keys, tuple(map(visit, items)), cls, cells(origins))
            case UnionSpec(alternatives=alternatives):
                return UnionSpec(tuple(map(visit, alternatives)))
            case SameSpec(cell=cell, value=value, degraded=degraded):
                return SameSpec(cell, value, visit(degraded))
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
            return ListSpec(None, list_element(context, a, b), origins)
        case EntriesSpec(), EntriesSpec():
            items = tuple(join(context, x, y) for x, y in zip(a.items, b.items, strict=True))
            return EntriesSpec(a.keys, items, a.type, a.origins | b.origins)
        case ((ConstantSpec() | ScalarSpec()), (ConstantSpec() | ScalarSpec())):
            return ScalarSpec(_join_scalar(a, b))
    return None


def _join_scalar(a: Spec, b: Spec) -> Type:
    types = []
    for spec in (a, b):
        if isinstance(spec, ScalarSpec):
            types.append(spec.type)
        else:
            assert isinstance(spec, ConstantSpec) and isinstance(spec.value, Constant)
            types.append(_SCALARS[type(spec.value.value)]())
    return types[0] if types[0] == types[1] else IntType()


# -- types of list elements ---------------------------------------------------------------------------------------------


def element_type(context: Context, spec: Spec) -> Type:
    """The graph type of a list element; ScriptError where a run-time list cannot hold such a thing."""
    match spec:
        case ScalarSpec(type=IntType()):
            return IntType()
        case ScalarSpec(type=type):
            return type
        case ConstantSpec(value=Constant(value=constant)) if constant.__class__ in _SCALARS:
            return _SCALARS[constant.__class__]()
        case ConstantSpec(value=Constant(value=str())):
            return StrType()
        case TensorSpec(type=tensor_type, shape=shape):
            if None in shape:
                raise context.error(
                    "a list whose length is known at run time only holds tensors of different sizes",
                    "make the sizes the same (for example by padding), or concatenate the tensors as you go",
                )
            return tensor_type
        case SameSpec(degraded=degraded):
            return element_type(context, degraded)
        case TupleSpec(items=items, type=cls) if cls is tuple:
            return TupleType(tuple(element_type(context, i) for i in items))
        case ListSpec(items=None, element=element) if element is not None:
            return ListType(element)
        case ListSpec(items=items) if items:
            joined = items[0]
            for item in items[1:]:
                joined = join(context, joined, item)
            return ListType(element_type(context, joined))
    raise context.error(
        f"a list whose length is known at run time only cannot hold {_show(spec)}",
        "lists that grow in a loop or branch hold tensors, numbers, bools, strings or tuples of them, all of one type",
    )


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
    found: Type | None = None
    for spec in lists:
        types = [spec.element] if spec.items is None else [element_type(context, i) for i in spec.items]
        for type in types:
            if type is None:
                continue
            if found is not None and found != type:
                raise context.error(
                    f"a list whose length is known at run time only has elements of different types: {found} and "
                    f"{type}",
                    "make all elements of a list the same type and size",
                )
            found = type
    return found


# -- values to slots and back -------------------------------------------------------------------------------------------


def slot_types(context: Context, spec: Spec) -> list[Type]:
    """The types of a spec's slots, with new symbols for sizes that differ."""
    match spec:
        case ScalarSpec(type=type):
            return [type]
        case TensorSpec(type=type, shape=shape):
            dims = tuple(context.builder.sizes.fresh(prefix="d") if d is None else d for d in shape)
            return [TensorType(type.dtype, dims, type.device)]
        case TupleSpec(items=items) | EntriesSpec(items=items):
            return [t for i in items for t in slot_types(context, i)]
        case ListSpec(items=items, element=element):
            if items is not None:
                return [t for i in items for t in slot_types(context, i)]
            if element is None:
                raise context.error(
                    "the type of the elements of an empty list is not known here",
                    "put an element in before the branch or loop",
                )
            return [ListType(element)]
        case UnionSpec(alternatives=alternatives):
            return [IntType(), *(t for a in alternatives for t in slot_types(context, a))]
    return []


def agree(context: Context, value: Abstract, spec: Spec) -> None:
    """Make the sizes of a value those of a spec that was found under the same conditions before they were undone."""
    match spec, value:
        case TensorSpec(shape=shape), TensorRef():
            for known, size in zip(shape, context.tensor_type(value).shape, strict=True):
                if known is not None:
                    context.builder.sizes.equal(size, known, f"a loop expects size {known}, given {size}")
        case TupleSpec(items=items), Tuple(items=values):
            for item, part in zip(items, values, strict=True):
                agree(context, part, item)
        case (ListSpec(items=tuple() as items), ListRef(cell=cell)) if isinstance(context.heap[cell], Items):
            for item, part in zip(items, context.heap[cell].items, strict=True):
                agree(context, part, item)
        case UnionSpec(alternatives=alternatives), _:
            for part in value.alternatives if isinstance(value, Union) else (value,):
                agree(context, part, alternatives[_find(spec_of(context, part), alternatives)])


def fill(context: Context, types: list[Type]) -> list[Value]:
    """Values for slots that are not read on this path."""
    return [context.emit("undefined", type=t) for t in types]


def materialise_list(context: Context, cell: Cell, element: Type | None) -> Value:
    """The graph list of a list's cell, made from its known elements where it had none."""
    content = context.list_items(cell)
    if isinstance(content, RunTimeItems):
        return content.value
    if element is None:
        element = list_element(context, ListSpec(tuple(spec_of(context, i) for i in content.items), None, frozenset()))
    if element is None:
        raise context.error(
            "the type of the elements of an empty list is not known here", "put an element in before the loop"
        )
    values = [to_element(context, item, element) for item in content.items]
    value: Value = context.emit("list.make", *values, element=element)
    context.heap[cell] = RunTimeItems(value, element)
    return value


def to_element(context: Context, value: Abstract, element: Type) -> Value:
    """A value as an element of a run-time list; what the list holds from now on shares the value's memory."""
    match value:
        case TensorRef(cell=cell):
            context.escape(cell)
            found = context.read(value)
        case Tuple(items=items) if isinstance(element, TupleType) and len(items) == len(element.elements):
            parts = [to_element(context, i, e) for i, e in zip(items, element.elements, strict=True)]
            return context.emit("tuple.make", *parts)
        case ListRef(cell=inner) if isinstance(element, ListType):
            return materialise_list(context, inner, element.element)
        case Scalar(value=graph_value):
            found = graph_value
        case Constant(value=constant) if constant.__class__ in (*_SCALARS, str):
            found = context.constant(constant)
        case _:
            raise context.error(
                f"a list of {element} cannot hold {context.describe(value)}",
                "all elements of a list that grows in a loop have one type",
            )
    type = context.type_of(found)
    if isinstance(type, IntType):
        type = IntType()
    if type != element and not _unify(context, type, element):
        raise context.error(
            f"a list of {element} cannot hold {context.describe(value)}",
            "all elements of a list that grows in a loop have one type",
        )
    return found


def _unify(context: Context, a: Type, b: Type) -> bool:
    if not (isinstance(a, TensorType) and isinstance(b, TensorType)):
        return False
    if (a.dtype, a.rank, a.device) != (b.dtype, b.rank, b.device):
        return False
    try:
        for x, y in zip(a.shape, b.shape, strict=True):
            context.builder.sizes.equal(x, y, f"list: elements of one size expected, given {a} and {b}")
    except RuntimeError:
        return False
    return not context.builder.sizes.requirements


def convert(context: Context, value: Abstract, spec: Spec) -> list[Value]:
    """The slots of a spec for a value that it describes; instructions go to the present block."""
    match spec, value:
        case UnionSpec(alternatives=alternatives), _:
            return _convert_union(context, value, alternatives)
        case ScalarSpec(), Scalar(value=graph_value):
            return [graph_value]
        case ScalarSpec(), Constant(value=constant):
            return [context.constant(constant)]
        case TensorSpec(), TensorRef():
            return [context.read(value)]
        case TupleSpec(items=items), Tuple(items=values):
            return [v for s, x in zip(items, values, strict=True) for v in convert(context, x, s)]
        case ListSpec(items=items, element=element), ListRef(cell=cell):
            content = context.list_items(cell)
            if items is not None:
                assert isinstance(content, Items)
                return [v for s, x in zip(items, content.items, strict=True) for v in convert(context, x, s)]
            return [materialise_list(context, cell, element)]
        case EntriesSpec(items=items), DictRef(cell=cell):
            return [
                v for s, (_, x) in zip(items, context.heap[cell].entries, strict=True) for v in convert(context, x, s)
            ]
        case EntriesSpec(items=items, keys=keys), ObjectRef(cell=cell):
            attributes = context.heap[cell].attributes
            return [v for s, k in zip(items, keys, strict=True) for v in convert(context, attributes[k], s)]
    return []


def _convert_union(context: Context, value: Abstract, alternatives: tuple[Spec, ...]) -> list[Value]:
    slots: list[list[Value]] = []
    if isinstance(value, Union):
        places = [_find(spec_of(context, a), alternatives) for a in value.alternatives]
        tag = value.tag if places == list(range(len(places))) else _map_tag(context, value.tag, places)
        inside = dict(zip(places, value.alternatives, strict=True))
    else:
        place = _find(spec_of(context, value), alternatives)
        tag = context.constant(place)
        inside = {place: value}
    for place, alternative in enumerate(alternatives):
        if place in inside:
            slots.append(convert(context, inside[place], alternative))
        else:
            slots.append(fill(context, slot_types(context, alternative)))
    return [tag, *(v for s in slots for v in s)]


def _find(spec: Spec, alternatives: tuple[Spec, ...]) -> int:
    return next(i for i, a in enumerate(alternatives) if a.kind == spec.kind)


def _map_tag(context: Context, tag: Value, places: list[int]) -> Value:
    """The tag in another order of alternatives."""
    result = context.constant(places[-1])
    for index in range(len(places) - 2, -1, -1):
        condition = context.emit("scalar.eq", tag, context.constant(index))
        regions = [Block(), Block()]
        with context.inside(regions[0]):
            context.builder.yield_([context.constant(places[index])])
        with context.inside(regions[1]):
            context.builder.yield_([result])
        (result,) = context.builder.emit_all("if", [condition], {}, regions, (IntType(),))
    return result


def rebuild(context: Context, spec: Spec, values: Iterator[Value]) -> Abstract:
    """The thing that a spec's slots carry; mutable things get new cells."""
    match spec:
        case ConstantSpec(value=value):
            return value
        case SameSpec(value=TensorRef(cell=cell, value=graph_value, views=views)) if not context.is_in_scope(graph_value):
            # A view made inside the region: outside it is taken again from the memory as it is there.
            return TensorRef(cell, graph_value, Value(graph_value.type), views)
        case SameSpec(value=value):
            return value
        case ScalarSpec():
            return Scalar(next(values))
        case TensorSpec(origins=origins):
            return context.new_tensor(next(values), origins)
        case TupleSpec(items=items, type=cls):
            return Tuple(tuple(rebuild(context, i, values) for i in items), cls)
        case ListSpec(items=items, element=element, origins=origins):
            cell = Cell("list", origins)
            if items is not None:
                context.heap[cell] = Items(tuple(rebuild(context, i, values) for i in items))
            else:
                assert element is not None
                context.heap[cell] = RunTimeItems(next(values), element)
            return ListRef(cell)
        case EntriesSpec(keys=keys, items=items, type=cls, origins=origins):
            cell = Cell("dict" if cls is dict else "object", origins)
            built = [rebuild(context, i, values) for i in items]
            if cls is dict:
                context.heap[cell] = DictItems(tuple(zip(keys, built, strict=True)))
                return DictRef(cell)
            context.heap[cell] = Entries(dict(zip(keys, built, strict=True)))
            return ObjectRef(cell, cls)
        case UnionSpec(alternatives=alternatives):
            tag = next(values)
            return Union(tag, tuple(rebuild(context, a, values) for a in alternatives))
    raise AssertionError(spec)
