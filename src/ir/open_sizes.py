"""Containers of tensors that differ in their sizes: `List[f32[_, 4]]`, whose elements have any size where `_` stands.

A tensor has no open size of its own: what is read from such a container, or is unwrapped where it may be None, has new
symbols for them, which get their value there, as have the sizes of `nonzero`.
"""

from collections.abc import Callable, Iterator

from .dims import OPEN, Dim
from .types import (
    DictType,
    ListType,
    OptionalType,
    RecordType,
    SetType,
    TensorType,
    TupleType,
    Type,
    contained_types,
)

__all__ = ["axes_that_differ", "has_open_sizes", "join_elements", "opened", "tensor_pairs"]


def has_open_sizes(type: Type) -> bool:
    """Whether a value of the type surely has a size that is open; what is in containers or optional may have some."""
    match type:
        case TensorType(shape=shape):
            return OPEN in shape
        case ListType() | DictType() | SetType() | OptionalType():
            return False
    return any(map(has_open_sizes, contained_types(type)))


def opened(type: Type, fresh: Callable[[], Dim]) -> Type:
    """The type of an element that was read: with a new symbol, which `fresh` makes, for each size that is open."""
    if not has_open_sizes(type):
        return type
    match type:
        case TensorType(dtype=dtype, shape=shape, device=device):
            return TensorType(dtype, tuple(fresh() if d == OPEN else d for d in shape), device)
        case TupleType(elements=elements):
            return TupleType(tuple(opened(e, fresh) for e in elements))
        case RecordType(name=name, fields=fields):
            return RecordType(name, tuple((n, opened(t, fresh)) for n, t in fields))
    return type


def join_elements(a: Type, b: Type) -> Type | None:
    """The type of the elements of two lists together: open where their sizes differ; None where more than that does."""
    match a, b:
        case TensorType(dtype=dtype, shape=s1, device=device), TensorType(shape=s2):
            if (dtype, len(s1), device) != (b.dtype, len(s2), b.device):
                return None
            return TensorType(dtype, tuple(x if x == y else OPEN for x, y in zip(s1, s2, strict=True)), device)
    return a if a == b else None


def tensor_pairs(a: Type, b: Type) -> Iterator[tuple[TensorType, TensorType]]:
    """The tensor types at the same places of two types that differ in sizes only."""
    if isinstance(a, TensorType) and isinstance(b, TensorType):
        if (a.dtype, a.rank, a.device) == (b.dtype, b.rank, b.device):
            yield a, b
        return
    for optional, other in ((a, b), (b, a)):
        if isinstance(optional, OptionalType) and not isinstance(other, OptionalType):
            yield from tensor_pairs(optional.element, other)
            return
    if a.__class__ is b.__class__:
        for x, y in zip(contained_types(a), contained_types(b), strict=False):
            yield from tensor_pairs(x, y)


def axes_that_differ(a: TensorType, b: TensorType) -> list[int]:
    """The dimensions in which two tensor types have different sizes."""
    pairs: Iterator[tuple[Dim, Dim]] = zip(a.shape, b.shape, strict=True)
    return [axis for axis, (x, y) in enumerate(pairs) if x != y]
