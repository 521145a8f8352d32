"""Whether a value of one type may stand where another type is declared, and what that says about its symbols."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from .dims import OPEN, Dim, DimExpr, substitute, symbol
from .types import (
    DictType,
    IntType,
    ListType,
    NoneType,
    OptionalType,
    RecordType,
    SetType,
    TensorType,
    TupleType,
    Type,
    type_symbols,
)

__all__ = ["binding_symbols", "match_types", "required_symbols"]


def match_types(
    declared: Type,
    actual: Type,
    bound: Collection[str],
    bindings: dict[str, Dim],
    *,
    same: Callable[[Dim, Dim], bool] = lambda a, b: a == b,
    widen: bool = False,
) -> bool:
    """Whether a value of type `actual` fits `declared`; adds what new symbols of `declared` stand for to `bindings`.

    Symbols in `bound` mean the same on both sides. Another symbol that stands alone in `declared` is new there: it may
    stand for a new symbol of `actual`, or, with `widen` (as where branches join), for any size. A declared `int`
    accepts an int whose size expression is known, and `Optional[T]` accepts T and None.
    """
    pairs: list[tuple[Dim, Dim | None]] = []
    if not _collect(declared, actual, pairs):
        return False
    rest: list[tuple[Dim, Dim | None]] = []
    for wanted, given in pairs:
        name = _new_symbol(wanted, bound)
        if name is None or name in bindings:
            rest.append((wanted, given))
        elif widen or (given is not None and _new_symbol(given, bound) is not None):
            bindings[name] = symbol(name) if given is None else given
        else:
            return False
    return all(
        given is not None and (wanted == given or same(substitute(wanted, bindings), given)) for wanted, given in rest
    )


def _new_symbol(dim: Dim, bound: Collection[str]) -> str | None:
    if isinstance(dim, DimExpr) and dim.is_symbol() and dim != OPEN:
        (name,) = dim.symbols()
        return None if name in bound else name
    return None


def _collect(declared: Type, actual: Type, pairs: list[tuple[Dim, Dim | None]]) -> bool:
    """Put the sizes that correspond into `pairs`; False where the types differ in anything else."""
    match declared, actual:
        case TensorType(dtype=d1, shape=s1, device=v1), TensorType(dtype=d2, shape=s2, device=v2):
            pairs.extend(zip(s1, s2, strict=False))
            return d1 is d2 and len(s1) == len(s2) and v1 == v2
        case IntType(value=wanted), IntType(value=given):
            if wanted is not None:
                pairs.append((wanted, given))
            return True
        case OptionalType(element=element), OptionalType(element=other):
            return _collect(element, other, pairs)
        case OptionalType(), NoneType():
            return True
        case OptionalType(element=element), _:
            return _collect(element, actual, pairs)
        case ListType(element=element), ListType(element=other):
            return _collect(element, other, pairs)
        case SetType(element=element), SetType(element=other):
            return _collect(element, other, pairs)
        case TupleType(elements=left), TupleType(elements=right):
            return len(left) == len(right) and all(_collect(a, b, pairs) for a, b in zip(left, right, strict=True))
        case DictType(), DictType():
            return _collect(declared.key, actual.key, pairs) and _collect(declared.element, actual.element, pairs)
        case RecordType(fields=left_fields), RecordType(fields=right_fields):
            return (
                declared.name == actual.name
                and [n for n, _ in left_fields] == [n for n, _ in right_fields]
                and all(_collect(a, b, pairs) for (_, a), (_, b) in zip(left_fields, right_fields, strict=True))
            )
    return declared == actual


def _visible(type: Type) -> Iterator[TensorType | IntType]:
    """The tensor and int types of which a value of the type surely has one: not those of elements of a list."""
    match type:
        case TensorType() | IntType():
            yield type
        case TupleType(elements=elements):
            for element in elements:
                yield from _visible(element)
        case RecordType(fields=fields):
            for _, element in fields:
                yield from _visible(element)


@lru_cache(maxsize=4096)
def binding_symbols(type: Type) -> Mapping[str, None]:
    """The symbols that a value of the type gives a value to: those that stand alone as a size, in order."""
    found: dict[str, None] = {}
    for part in _visible(type):
        dims: Any = part.shape if isinstance(part, TensorType) else (part.value,)
        for dim in dims:
            if isinstance(dim, DimExpr) and dim.is_symbol():
                found.update(dict.fromkeys(dim.symbols()))
    return found


@lru_cache(maxsize=4096)
def required_symbols(type: Type) -> frozenset[str]:
    """The symbols that must have a value where the type is used; sizes of elements of a list are left open."""
    return frozenset().union(*(type_symbols(part) for part in _visible(type)))
