"""Values to the slots of a spec and back, where branches end and loops go round."""

import contextlib
from collections.abc import Iterator

from ...ir.core import Block, Value
from ...ir.dims import OPEN
from ...ir.types import (
    DictType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    SetType,
    StrType,
    TensorType,
    TupleType,
    Type,
)
from ..record_values import is_object
from .context import Context
from .open_elements import note_types
from .specs import (
    _SCALARS,
    ConstantSpec,
    ContainerSpec,
    EntriesSpec,
    ListSpec,
    SameSpec,
    ScalarSpec,
    Spec,
    TensorSpec,
    TupleSpec,
    UnionSpec,
    container_type,
    element_type,
    key_value,
    list_element,
    spec_of,
)
from .unknown import NeedsTypes, UnknownType, resolve_unknown
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Constant,
    DictItems,
    DictRef,
    Entries,
    Items,
    ListRef,
    ObjectRef,
    RunTimeDict,
    RunTimeItems,
    RunTimeObject,
    RunTimeSet,
    Scalar,
    SetItems,
    SetRef,
    TensorRef,
    Tuple,
    Union,
)

__all__ = [
    "agree",
    "convert",
    "fill",
    "materialise_list",
    "placeholders",
    "rebuild",
    "slot_types",
    "to_element",
]


# -- types of list elements --------------------------------------------------------------------------------------------


# -- values to slots and back ------------------------------------------------------------------------------------------


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
        case ContainerSpec(type=container):
            return [] if container is None else [container]
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
                agree(context, part, alternatives[_find(context, part, alternatives)])


def fill(context: Context, types: list[Type]) -> list[Value]:
    """Values for slots at the end of a path that raises before."""
    return [context.emit("undefined", type=t) for t in types]


def placeholders(context: Context, spec: Spec) -> list[Value]:
    """Values for slots that are passed on but not read, where something else counts: tensors have real memory."""
    match spec:
        case TensorSpec(type=type, shape=shape):
            sizes = [context.builder.dim(0 if d is None else d) for d in shape]
            return [context.emit("full", *sizes, context.constant(0), dtype=type.dtype)]
        case TupleSpec(items=items) | EntriesSpec(items=items) | ListSpec(items=tuple() as items):
            return [v for i in items for v in placeholders(context, i)]
        case UnionSpec(alternatives=alternatives):
            return [context.constant(0), *(v for a in alternatives for v in placeholders(context, a))]
    return fill(context, slot_types(context, spec))


def materialise_list(context: Context, cell: Cell, element: Type | None) -> Value:
    """The graph list of a list's cell, made from its known elements where it had none; likewise for a dict or set.

    `element` is the type of a list's elements, or that of the whole dict or set.
    """
    content = context.heap[cell]
    if isinstance(content, (RunTimeItems, RunTimeDict, RunTimeSet, RunTimeObject)):
        return content.value
    if isinstance(content, Entries):
        assert isinstance(element, ListType)
        return _materialise_object(context, cell, content, element)
    if isinstance(content, (DictItems, SetItems)):
        return _materialise_container(context, cell, content, element)
    assert isinstance(content, Items)
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


def _materialise_object(context: Context, cell: Cell, content: Entries, type: ListType) -> Value:
    """An object as one of the graph, which all that refer to it share from now on."""
    if cell.is_ambiguous:
        context.ambiguous = True
        raise context.error(
            "which object this is depends on the path taken, and it is put into a container that grows at run time",
            "put it in where it is made",
        )
    record = type.element
    assert isinstance(record, RecordType)
    held = {name: value for name, value in content.attributes.items() if value is not UNBOUND}
    names = [name for name, _ in record.fields]
    if held.keys() != set(names):
        raise context.error(
            f"an object with the attributes {', '.join(held)} is put where others have {', '.join(names)}",
            "give all objects of a class the same attributes in __init__",
        )
    parts = [to_element(context, context.bound_value(held[n], f"attribute {n!r}"), t) for n, t in record.fields]
    made = context.emit("tuple.record", *parts, type=record)
    value: Value = context.emit("list.make", made, element=record)
    context.heap[cell] = RunTimeObject(value, record)
    return value


def _materialise_container(context: Context, cell: Cell, content: DictItems | SetItems, type: Type | None) -> Value:
    if type is None:
        ref: Abstract = DictRef(cell) if isinstance(content, DictItems) else SetRef(cell)
        type = container_type(context, spec_of(context, ref))
    if type is None:
        raise context.error(
            "the types of what an empty dict or set holds are not known here", "put something in before the loop"
        )
    if isinstance(content, DictItems):
        assert isinstance(type, DictType)
        pairs: list[Value] = []
        for key, held in content.entries:
            pairs.append(to_element(context, key_value(key), type.key))
            pairs.append(to_element(context, held, type.element))
        value: Value = context.emit("dict.make", *pairs, key=type.key, element=type.element)
        context.heap[cell] = RunTimeDict(value, type.key, type.element)
        return value
    assert isinstance(type, SetType)
    values = [to_element(context, item, type.element) for item in content.items]
    value = context.emit("set.make", *values, element=type.element)
    context.heap[cell] = RunTimeSet(value, type.element)
    return value


def to_element(context: Context, value: Abstract, element: Type) -> Value:
    """A value as an element of a run-time container; what that holds from now on shares the value's memory."""
    if isinstance(element, UnknownType):
        raise NeedsTypes(element, element_type(context, spec_of(context, value)))
    if isinstance(element, OptionalType):
        return _optional(context, value, element)
    match value:
        case Union() if isinstance(element, StrType):
            from .operators import number, spread

            found = number(context, spread(context, lambda v: Scalar(number(context, v)), value))
        case TensorRef(cell=cell):
            context.escape(cell.origins)
            found = context.read(value)
        case Tuple(items=items) if isinstance(element, TupleType) and len(items) == len(element.elements):
            parts = [to_element(context, i, e) for i, e in zip(items, element.elements, strict=True)]
            return context.emit("tuple.make", *parts)
        case Tuple(items=items, type=cls) if (
            isinstance(element, RecordType) and context.records.get(element.name) is cls
        ):
            parts = [to_element(context, i, t) for i, (_, t) in zip(items, element.fields, strict=True)]
            return context.emit("tuple.record", *parts, type=element)
        case ObjectRef(cell=inner, type=cls) if is_object(element) and context.records[element.element.name] is cls:  # type: ignore[attr-defined]
            return _same_container(context, inner, element, element)
        case Union() if is_object(element):
            from .operators import spread

            found = spread(context, lambda v: Scalar(to_element(context, v, element)), value).value  # type: ignore[attr-defined]
        case ListRef(cell=inner) if isinstance(element, ListType):
            return _same_container(context, inner, element.element, element)
        case DictRef(cell=inner) if isinstance(element, DictType):
            return _same_container(context, inner, element, element)
        case SetRef(cell=inner) if isinstance(element, SetType):
            return _same_container(context, inner, element, element)
        case Scalar(value=graph_value):
            found = graph_value
        case Constant(value=constant) if constant is None or constant.__class__ in (*_SCALARS, str):
            found = context.constant(constant)
        case _:
            raise _cannot_hold(context, value, element)
    type = context.type_of(found)
    if isinstance(type, IntType):
        type = IntType()
    if type != element and not _unify(context, type, element):
        raise _cannot_hold(context, value, element)
    return found


def _cannot_hold(context: Context, value: Abstract, element: Type) -> Exception:
    return context.error(
        f"a list of {element} cannot hold {context.describe(value)}",
        "all elements of a list that grows in a loop have one type",
    )


def _same_container(context: Context, cell: Cell, inner: Type, type: Type) -> Value:
    """A container inside another: the object itself, so that changes show through both names."""
    value = materialise_list(context, cell, inner)
    resolve_unknown(context.type_of(value), type)
    if context.type_of(value) != type:
        note_types(context, context.type_of(value), type)
        raise context.error(
            f"a container of {type} cannot hold a {context.type_of(value)}",
            "all elements of a list that grows in a loop have one type",
        )
    return value


def _optional(context: Context, value: Abstract, element: OptionalType) -> Value:
    if isinstance(value, Union):
        from .operators import spread

        made = spread(context, lambda v: Scalar(_optional(context, v, element)), value)
        assert isinstance(made, Scalar)
        return made.value
    if isinstance(value, Constant) and value.value is None:
        return context.emit("optional.make", None, element=element.element)
    return context.emit("optional.make", to_element(context, value, element.element), element=element.element)


def _unify(context: Context, a: Type, b: Type) -> bool:
    if not (isinstance(a, TensorType) and isinstance(b, TensorType)):
        return False
    if (a.dtype, a.rank, a.device) != (b.dtype, b.rank, b.device):
        return False
    try:
        for x, y in zip(a.shape, b.shape, strict=True):
            if y == OPEN:
                continue
            context.builder.sizes.equal(x, y, f"list: elements of one size expected, given {a} and {b}")
    except RuntimeError:
        note_types(context, a, b)
        return False
    if context.builder.sizes.requirements:
        note_types(context, a, b)
        return False
    return True


def convert(context: Context, value: Abstract, spec: Spec) -> list[Value]:
    """The slots of a spec for a value that it describes; instructions go to the present block."""
    match spec, value:
        case UnionSpec(alternatives=alternatives), _:
            return _convert_union(context, value, alternatives)
        case ScalarSpec(), Scalar(value=graph_value):
            return [graph_value]
        case ScalarSpec(), Constant(value=constant):
            return [context.constant(constant)]
        case ScalarSpec(), Union():
            from .operators import number, spread

            return [number(context, spread(context, lambda v: Scalar(number(context, v)), value))]
        case TensorSpec(), TensorRef():
            return [context.read(value)]
        case TensorSpec(), Scalar(value=graph_value):
            return [graph_value]
        case TupleSpec(items=items), Tuple(items=values):
            return [v for s, x in zip(items, values, strict=True) for v in convert(context, x, s)]
        case ListSpec(items=items, element=element), ListRef(cell=cell):
            content = context.list_items(cell)
            if items is not None:
                known = content.items if isinstance(content, Items) else _taken_apart(context, content, len(items))
                return [v for s, x in zip(items, known, strict=True) for v in convert(context, x, s)]
            return [materialise_list(context, cell, element)]
        case ContainerSpec(type=container), (DictRef(cell=cell) | SetRef(cell=cell) | ObjectRef(cell=cell)):
            return [] if container is None else [materialise_list(context, cell, container)]
        case EntriesSpec(items=items), DictRef(cell=cell):
            return [
                v for s, (_, x) in zip(items, context.heap[cell].entries, strict=True) for v in convert(context, x, s)
            ]
        case EntriesSpec(items=items, keys=keys), ObjectRef(cell=cell):
            attributes = context.heap[cell].attributes
            return [v for s, k in zip(items, keys, strict=True) for v in convert(context, attributes[k], s)]
    return []


def _taken_apart(context: Context, content: RunTimeItems, count: int) -> tuple[Abstract, ...]:
    """The elements of a list of known length that became a list of the graph under another name."""
    values = [context.emit("list.get", content.value, context.constant(i)) for i in range(count)]
    return tuple(context.lists.from_element(context, v) for v in values)


def _convert_union(context: Context, value: Abstract, alternatives: tuple[Spec, ...]) -> list[Value]:
    slots: list[list[Value]] = []
    if isinstance(value, Union):
        places = [_find(context, a, alternatives) for a in value.alternatives]
        if len(set(places)) < len(places):  # strings known apart become one run-time string
            return _convert_merged(context, value, alternatives)
        tag = value.tag if places == list(range(len(places))) else _map_tag(context, value.tag, places)
        inside = dict(zip(places, value.alternatives, strict=True))
    else:
        place = _find(context, value, alternatives)
        tag = context.constant(place)
        inside = {place: value}
    for place, alternative in enumerate(alternatives):
        if place in inside:
            slots.append(convert(context, inside[place], alternative))
        else:
            slots.append(placeholders(context, alternative))
    return [tag, *(v for s in slots for v in s)]


def _convert_merged(context: Context, value: Union, alternatives: tuple[Spec, ...]) -> list[Value]:
    """The slots of a union of which several alternatives become one."""
    rows: list[list[Value]] = []
    regions: list[Block] = []
    for alternative in value.alternatives:
        regions.append(Block())
        with context.inside(regions[-1]):
            rows.append(_convert_union(context, alternative, alternatives))
            context.builder.yield_(rows[-1])
    types = tuple(slot_types(context, UnionSpec(alternatives)))
    region, row = regions[-1], rows[-1]
    for index in range(len(regions) - 2, -1, -1):
        outer = Block() if index else None
        place = context.inside(outer) if outer is not None else contextlib.nullcontext()
        with place:
            condition = context.emit("scalar.eq", value.tag, context.constant(index))
            row = context.builder.emit_all("if", [condition], {}, [regions[index], region], types)
            if outer is not None:
                context.builder.yield_(row)
                region = outer
    return row


def _find(context: Context, value: Abstract, alternatives: tuple[Spec, ...]) -> int:
    """The place of the alternative that describes a value."""
    cell, views = getattr(value, "cell", None), getattr(value, "views", ())
    for place, one in enumerate(alternatives):
        if isinstance(one, SameSpec) and one.kept and one.cell is cell:
            known = getattr(one.value, "views", ())
            if known is views or not (known or views):
                return place
    spec = spec_of(context, value)
    found = next((i for i, a in enumerate(alternatives) if a.kind == spec.kind), None)
    if found is None and spec.kind[0] == "constant":
        found = next(i for i, a in enumerate(alternatives) if a.kind == "str")
    assert found is not None
    return found


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
        case SameSpec(value=TensorRef(cell=cell, value=graph_value, views=views)) if not context.is_in_scope(
            graph_value
        ):
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
        case ContainerSpec(container=name, type=container, items=items, origins=origins):
            cell = Cell(name, origins)
            if name == "object":
                assert isinstance(container, ListType) and isinstance(container.element, RecordType)
                context.heap[cell] = RunTimeObject(next(values), container.element)
                return ObjectRef(cell, context.records[container.element.name])
            if isinstance(container, DictType):
                context.heap[cell] = RunTimeDict(next(values), container.key, container.element)
            elif isinstance(container, SetType):
                context.heap[cell] = RunTimeSet(next(values), container.element)
            else:
                context.heap[cell] = SetItems(tuple(rebuild(context, i, values) for i in items))
            return DictRef(cell) if name == "dict" else SetRef(cell)
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
