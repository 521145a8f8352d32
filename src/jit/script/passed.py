"""What is passed to a function of the graph and comes back: descriptions of arguments and results, and their memory."""

from collections.abc import Callable, Iterator
from typing import Any

from ...ir.dims import Dim, DimExpr, symbol, symbols
from ...ir.types import IntType, ListType, Type, substitute_type, type_symbols
from ..errors import ScriptError
from .context import Context
from .slots import materialise_list
from .specs import (
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
    element_type,
    join,
    spec_of,
    widened,
)
from .values import (
    Abstract,
    Cell,
    Constant,
    DictItems,
    DictRef,
    Entries,
    Items,
    ListRef,
    ObjectRef,
    SetItems,
    SetRef,
    TensorRef,
    Tuple,
    Union,
)

__all__ = ["cell_pairs", "fit", "map_container", "parameter_spec", "prepare", "result_spec"]

_NUMBERS = (bool, int, float, complex, str)


def prepare(context: Context, value: Abstract) -> None:
    """Make the lists, dicts and sets of an argument ones of the graph, where they hold what such ones can."""
    match value:
        case Tuple(items=items):
            for item in items:
                prepare(context, item)
        case ObjectRef(cell=cell):
            for item in getattr(context.heap[cell], "attributes", {}).values():
                prepare(context, item)
        case ListRef(cell=cell) | SetRef(cell=cell) | DictRef(cell=cell):
            content = context.heap[cell]
            if not isinstance(content, (Items, SetItems, DictItems)):
                return
            held = [v for _, v in content.entries] if isinstance(content, DictItems) else list(content.items)
            if held and all(isinstance(v, Constant) and not isinstance(v.value, _NUMBERS) for v in held):
                return  # layers, functions: known when compiling, which they must stay
            try:
                type = element_type(context, spec_of(context, value))
            except ScriptError:
                for item in held:
                    prepare(context, item)
                return
            materialise_list(context, cell, type.element if isinstance(type, ListType) else type)


def cell_pairs(
    context: Context, inner: Abstract, entry: dict[Cell, Any], outer: Abstract
) -> Iterator[tuple[Cell, Abstract]]:
    """The memory of a function's argument with what a caller passes for it."""
    match inner, outer:
        case (TensorRef(cell=cell), TensorRef()):
            yield cell, outer
        case (Tuple(items=items), Tuple(items=others)):
            for one, other in zip(items, others, strict=True):
                yield from cell_pairs(context, one, entry, other)
        case (Union(alternatives=alternatives), _):
            for one in alternatives:
                for other in outer.alternatives if isinstance(outer, Union) else (outer,):
                    if type(one) is type(other):
                        yield from cell_pairs(context, one, entry, other)
        case (
            (ListRef(cell=cell), ListRef(cell=actual))
            | (DictRef(cell=cell), DictRef(cell=actual))
            | (SetRef(cell=cell), SetRef(cell=actual))
            | (ObjectRef(cell=cell), ObjectRef(cell=actual))
        ):
            yield cell, outer
            content, other = entry[cell], context.heap[actual]
            if isinstance(content, Items) and isinstance(other, Items):
                for one, two in zip(content.items, other.items, strict=False):
                    yield from cell_pairs(context, one, entry, two)
            elif isinstance(content, DictItems) and isinstance(other, DictItems):
                for (_, one), (_, two) in zip(content.entries, other.entries, strict=False):
                    yield from cell_pairs(context, one, entry, two)
            elif isinstance(content, Entries) and isinstance(other, Entries):
                for name, one in content.attributes.items():
                    if name in other.attributes:
                        yield from cell_pairs(context, one, entry, other.attributes[name])


# -- descriptions ------------------------------------------------------------------------------------------------------


def map_container(
    spec: Spec,
    visit: Callable[[Spec], Spec],
    of_type: Callable[[Type], Type],
    cells: Callable[[frozenset[Cell]], frozenset[Cell]],
) -> Spec:
    """A list, dict or set described with its parts and types changed; anything else as it is."""
    match spec:
        case ListSpec(items=items, element=element, origins=origins, literal=literal):
            known = None if items is None else tuple(map(visit, items))
            return ListSpec(known, None if element is None else of_type(element), cells(origins), literal)
        case ContainerSpec(container=name, type=type, items=items, origins=origins, literal=literal):
            return ContainerSpec(
                name, None if type is None else of_type(type), tuple(map(visit, items)), cells(origins), literal
            )
    return spec


def _nowhere(origins: frozenset[Cell]) -> frozenset[Cell]:
    return frozenset()


def parameter_spec(context: Context, spec: Spec, sizes: dict[Dim, DimExpr], *, inside_union: bool = False) -> Spec:
    """The description of an argument for a function of its own: memory and sizes are the function's.

    Sizes become symbols, equal ones the same; in alternatives, of which only one is there, they are left open.
    """

    def new_symbol(dim: Dim) -> DimExpr:
        if dim not in sizes:
            sizes[dim] = context.builder.sizes.fresh(prefix="r")
        return sizes[dim]

    def of_type(type: Type) -> Type:
        return substitute_type(type, {n: new_symbol(symbol(n)) for n in sorted(type_symbols(type))})

    def visit(spec: Spec) -> Spec:
        return parameter_spec(context, spec, sizes, inside_union=inside_union)

    match spec:
        case SameSpec(degraded=degraded):
            return visit(degraded)
        case ScalarSpec(type=IntType()):
            return ScalarSpec(IntType())
        case TensorSpec(type=type, shape=shape):
            dims: list[Dim | None] = []
            for size in shape:
                size = None if size is None else context.builder.sizes.resolve(size)
                open_size = size is None or (inside_union and not isinstance(size, int))
                dims.append(None if open_size else size if isinstance(size, int) else new_symbol(size))  # type: ignore[arg-type]
            if not inside_union:
                dims = [context.builder.sizes.fresh(prefix="r") if d is None else d for d in dims]
            return TensorSpec(type, tuple(dims), frozenset())
        case TupleSpec(items=items, type=cls):
            return TupleSpec(tuple(map(visit, items)), cls)
        case EntriesSpec(keys=keys, items=items, type=cls, literal=literal):
            return EntriesSpec(keys, tuple(map(visit, items)), cls, frozenset(), literal)
        case UnionSpec(alternatives=alternatives):
            return UnionSpec(tuple(parameter_spec(context, a, sizes, inside_union=True) for a in alternatives))
    return map_container(spec, visit, of_type, _nowhere)


def fit(context: Context, parameter: Spec, given: Spec, sizes: dict[str, Dim]) -> Spec:
    """The description of a parameter widened so that it holds what is given, itself where it does already.

    What the sizes of the parameter are in this call is added to `sizes`.
    """
    given = given.degraded if isinstance(given, SameSpec) else given
    if parameter.kind == given.kind:
        match parameter, given:
            case TensorSpec(type=type, shape=shape), TensorSpec(shape=actual):
                return TensorSpec(type, _fit_shape(context, shape, actual, sizes), frozenset())
            case TupleSpec(items=items, type=cls), TupleSpec(items=others):
                return TupleSpec(_fit_all(context, items, others, sizes), cls)
            case EntriesSpec(keys=keys, items=items, type=cls, literal=literal), EntriesSpec(items=others):
                return EntriesSpec(keys, _fit_all(context, items, others, sizes), cls, frozenset(), literal)
            case ListSpec(items=tuple() as items), ListSpec(items=tuple() as others) if len(items) == len(others):
                return ListSpec(_fit_all(context, items, others, sizes), None, frozenset())
            case ListSpec(element=Type() as element), ListSpec(element=Type() as other):
                return ListSpec(None, _fit_type(context, element, other, sizes), frozenset())
            case ContainerSpec(type=Type() as type), ContainerSpec(type=Type() as other):
                return ContainerSpec(parameter.container, _fit_type(context, type, other, sizes), (), frozenset())
    own = parameter_spec(context, given, {}, inside_union=True)
    joined = join(context, _open(context, parameter) if parameter.kind != own.kind else parameter, own)
    if isinstance(joined, UnionSpec):
        return parameter_spec(context, joined, {}, inside_union=True)
    return joined


def _open(context: Context, spec: Spec) -> Spec:
    """A description that becomes an alternative: its sizes are left open."""
    return parameter_spec(context, spec, {}, inside_union=True)


def _fit_all(
    context: Context, parameters: tuple[Spec, ...], given: tuple[Spec, ...], sizes: dict[str, Dim]
) -> tuple[Spec, ...]:
    return tuple(fit(context, p, g, sizes) for p, g in zip(parameters, given, strict=True))


def _fit_shape(
    context: Context, shape: tuple[Dim | None, ...], actual: tuple[Dim | None, ...], sizes: dict[str, Dim]
) -> tuple[Dim | None, ...]:
    dims: list[Dim | None] = []
    for declared, given in zip(shape, actual, strict=True):
        given = None if given is None else context.builder.sizes.resolve(given)
        dims.append(_fit_dim(context, declared, given, sizes))
    return tuple(dims)


def _fit_dim(context: Context, declared: Dim | None, given: Dim | None, sizes: dict[str, Dim]) -> Dim | None:
    if declared is None or (isinstance(declared, int) and declared == given):
        return declared
    if isinstance(declared, DimExpr) and given is not None:
        (name,) = symbols(declared)
        if sizes.setdefault(name, given) == given:
            return declared
    # A size that differs between calls has a symbol of its own.
    return context.builder.sizes.fresh(prefix="r")


def _fit_type(context: Context, declared: Type, given: Type, sizes: dict[str, Dim]) -> Type:
    """The type of a container's elements, where it is the same but for sizes; ScriptError where it is another."""
    from ...ir.matching import match_types

    found: dict[str, Dim] = {}
    if not match_types(declared, given, (), found, widen=True):
        raise context.error(
            f"a function that calls itself is given a container of {given} and one of {declared}",
            "pass containers of one type",
        )
    for name, size in found.items():
        sizes.setdefault(name, size)
    return declared


def result_spec(spec: Spec, *, first: bool = False) -> Spec:
    """The description of a result: a view of an argument is a tensor of its own that may share the argument's memory.

    With `first`, numbers that are known are taken to be others in other calls.
    """
    match spec:
        case SameSpec(value=TensorRef(views=views), degraded=degraded) if views:
            return degraded
        case TupleSpec(items=items, type=cls):
            return TupleSpec(tuple(result_spec(i, first=first) for i in items), cls)
        case ConstantSpec() | ScalarSpec() if first:
            return widened(spec, identity=True)
    return spec
