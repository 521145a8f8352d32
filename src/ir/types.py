"""The types of IR values: tensors with symbolic sizes, Python scalars, and containers of them."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from .dims import OPEN, Dim, DimExpr, substitute
from .dtypes import DType
from .records import field, record

__all__ = [
    "BoolType", "ComplexType", "DictType", "FloatType", "IntType", "ListType", "NoneType", "OptionalType", "RecordType",
    "ScalarType", "SetType", "StrType", "TensorType", "TupleType", "Type", "contained_types", "join_types",
    "substitute_type", "type_dims", "type_symbols",
]  # fmt: skip


@record
class Type:
    """Base of all IR types. Types are values: equal where they mean the same."""


@record
class TensorType(Type):
    """A tensor: element type, sizes (ints or symbolic) and device ("cpu", "cuda:0")."""

    dtype: DType
    shape: tuple[Dim, ...]
    device: str = "cpu"

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        suffix = "" if self.device == "cpu" else f"@{self.device}"
        return f"{self.dtype.short}[{', '.join(map(str, self.shape))}]{suffix}"


@record
class ScalarType(Type):
    """Base of the Python scalars' types."""


@record
class IntType(ScalarType):
    """A 64-bit integer; `value` is its size expression where it is known to be one."""

    value: Dim | None = None

    def __str__(self) -> str:
        return "int" if self.value is None else f"int<{self.value}>"


@record
class FloatType(ScalarType):
    """A Python float (64 bits)."""

    def __str__(self) -> str:
        return "float"


@record
class BoolType(ScalarType):
    """A Python bool."""

    def __str__(self) -> str:
        return "bool"


@record
class ComplexType(ScalarType):
    """A Python complex number (two 64-bit floats)."""

    def __str__(self) -> str:
        return "complex"


@record
class StrType(Type):
    """A Python string."""

    def __str__(self) -> str:
        return "str"


@record
class NoneType(Type):
    """The type of None."""

    def __str__(self) -> str:
        return "None"


@record
class OptionalType(Type):
    """A value or None."""

    element: Type

    def __str__(self) -> str:
        return f"Optional[{self.element}]"


@record
class ListType(Type):
    """A list; an object with identity, so that two names can share it."""

    element: Type

    def __str__(self) -> str:
        return f"List[{self.element}]"


@record
class TupleType(Type):
    """A tuple of known length."""

    elements: tuple[Type, ...]

    def __str__(self) -> str:
        return f"Tuple[{', '.join(map(str, self.elements))}]"


@record
class DictType(Type):
    """A dictionary; an object with identity."""

    key: Type
    element: Type

    def __str__(self) -> str:
        return f"Dict[{self.key}, {self.element}]"


@record
class SetType(Type):
    """A set; an object with identity."""

    element: Type

    def __str__(self) -> str:
        return f"Set[{self.element}]"


@record
class RecordType(Type):
    """A named tuple or dataclass: a name and named fields."""

    name: str
    fields: tuple[tuple[str, Type], ...] = field(default=())

    def __str__(self) -> str:
        # A local class's name ("f.<locals>.Point") is no identifier, so that it is quoted.
        name = self.name if all(part.isidentifier() for part in self.name.split(".")) else f'"{self.name}"'
        return f"Record[{', '.join([name, *(f'{n}: {t}' for n, t in self.fields)])}]"


def contained_types(type: Type) -> tuple[Type, ...]:
    """The types directly inside a container type."""
    match type:
        case OptionalType(element=element) | ListType(element=element) | SetType(element=element):
            return (element,)
        case TupleType(elements=elements):
            return elements
        case DictType(key=key, element=element):
            return (key, element)
        case RecordType(fields=fields):
            return tuple(t for _, t in fields)
    return ()


def substitute_type(type: Type, values: Mapping[str, Dim]) -> Type:
    """The type with dimension symbols replaced."""
    match type:
        case TensorType(dtype=dtype, shape=shape, device=device):
            return TensorType(dtype, tuple(substitute(d, values) for d in shape), device)
        case IntType(value=value) if value is not None:
            return IntType(substitute(value, values))
        case OptionalType(element=element):
            return OptionalType(substitute_type(element, values))
        case ListType(element=element):
            return ListType(substitute_type(element, values))
        case SetType(element=element):
            return SetType(substitute_type(element, values))
        case TupleType(elements=elements):
            return TupleType(tuple(substitute_type(e, values) for e in elements))
        case DictType(key=key, element=element):
            return DictType(substitute_type(key, values), substitute_type(element, values))
        case RecordType(name=name, fields=fields):
            return RecordType(name, tuple((n, substitute_type(t, values)) for n, t in fields))
    return type


def type_dims(type: Type) -> Iterator[DimExpr]:
    """The size expressions in a type, from left to right, but for sizes that are open."""
    if isinstance(type, TensorType):
        yield from (d for d in type.shape if isinstance(d, DimExpr) and d != OPEN)
    elif isinstance(type, IntType):
        if isinstance(type.value, DimExpr):
            yield type.value
    else:
        for element in contained_types(type):
            yield from type_dims(element)


@lru_cache(maxsize=4096)
def type_symbols(type: Type) -> frozenset[str]:
    """Names of the dimension symbols in a type."""
    return frozenset().union(*(d.symbols() for d in type_dims(type)))


def join_types(a: Type, b: Type) -> Type | None:
    """The smallest type that holds values of both, as at the end of a branch; None where there is none.

    Sizes are not joined: two tensor types of one dtype, rank and device whose sizes differ give None for the caller to
    widen with fresh symbols.
    """
    if a == b:
        return a
    if isinstance(a, IntType) and isinstance(b, IntType):
        return IntType()
    if isinstance(a, NoneType):
        a, b = b, a
    if isinstance(b, NoneType):
        return a if isinstance(a, (OptionalType, NoneType)) else OptionalType(a)
    if isinstance(b, OptionalType) and not isinstance(a, OptionalType):
        a, b = b, a
    if isinstance(a, OptionalType):
        inner = join_types(a.element, b.element if isinstance(b, OptionalType) else b)
        return None if inner is None else OptionalType(inner)
    if isinstance(a, TupleType) and isinstance(b, TupleType) and len(a.elements) == len(b.elements):
        joined = [join_types(x, y) for x, y in zip(a.elements, b.elements, strict=True)]
        return None if any(j is None for j in joined) else TupleType(tuple(j for j in joined if j is not None))
    return None
