"""How values lie in the memory of run-time objects: a number takes one slot, a string two (address of its characters
and length), a tensor its address and sizes, a tuple what its parts take; lists, dicts and sets are addresses.

`to_slots` and `from_slots` write the driver's code that stores a value as elements of a list or dict and reads it back.
"""

from collections.abc import Sequence

from ...ir.core import Value
from ...ir.location import Location
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
    contained_types,
)
from ..errors import Unsupported
from .driver import Driver, Storage

__all__ = ["adopt", "copy_slots", "kinds", "parts", "read_slots", "stride", "width", "write_slots"]


def kinds(type: Type, location: Location | None = None) -> str:
    """One letter per slot of a value: "i" an integer or address, "f" a float; Unsupported for other types."""
    match type:
        case TensorType(shape=shape):
            return "i" * (1 + len(shape))
        case IntType() | BoolType() | ListType() | DictType() | SetType():
            return "i"
        case FloatType():
            return "f"
        case ComplexType():
            return "ff"
        case StrType():
            return "ii"
        case NoneType():
            return ""
        case OptionalType(element=element):
            return "i" + kinds(element, location)
        case TupleType() | RecordType():
            return "".join(kinds(t, location) for t in contained_types(type))
    raise Unsupported(f"a value of type {type}", location)


def width(type: Type) -> int:
    """The slots of a value."""
    return len(kinds(type))


def stride(type: Type) -> int:
    """The bytes of a list's element: a bool takes one, everything else whole slots."""
    return 1 if isinstance(type, BoolType) else 8 * width(type)


def parts(driver: Driver, value: Value, element: Type | None = None) -> list[str]:
    """The texts of a value's slots; a tensor is copied into the arena, so that it is the object's own."""
    type = element or value.type
    match type:
        case TensorType():
            assert isinstance(value.type, TensorType)
            driver.uses_arena = True
            memory = driver.fresh("m")
            nbytes = driver.size(driver.nbytes(value.type))
            driver.allocate(memory, nbytes)
            driver.line(f"copy_bytes({memory}, {driver.address(value)}, {nbytes})")
            return [memory, *(driver.size(size) for size in value.type.shape)]
        case StrType():
            return list(driver.text(value))
        case NoneType():
            return []
        case OptionalType(element=inner):
            present, held = driver.tuples[value]
            return [driver.slot_value(present), *parts(driver, held, inner)]
        case TupleType() | RecordType():
            pieces = driver.tuples[value]
            return [t for p, e in zip(pieces, contained_types(type), strict=True) for t in parts(driver, p, e)]
        case FloatType():
            return [driver.scalar(value)]
        case ComplexType():
            return [f"({driver.scalar(value)}).real", f"({driver.scalar(value)}).imag"]
    return [driver.slot_value(value)]


def write_slots(driver: Driver, place: str, texts: Sequence[str], type: Type, first: int = 0) -> None:
    """Write the texts of a value's slots at an address."""
    for index, (kind, text) in enumerate(zip(kinds(type), texts, strict=True), first):
        driver.line(f"set_cell{'_f64' if kind == 'f' else ''}({place}, {index}, {text})")


def read_slots(place: str, type: Type, first: int = 0) -> list[str]:
    """The texts that read a value's slots from an address."""
    return [f"cell{'_f64' if k == 'f' else ''}({place}, {i})" for i, k in enumerate(kinds(type), first)]


def copy_slots(driver: Driver, texts: Sequence[str]) -> list[str]:
    """Locals that hold what the texts give now."""
    names = []
    for text in texts:
        names.append(driver.fresh("e"))
        driver.line(f"{names[-1]} = {text}")
    return names


def adopt(driver: Driver, value: Value, texts: Sequence[str], type: Type | None = None) -> None:
    """Make a value of the texts of its slots."""
    type = type or value.type
    match type:
        case TensorType():
            name = driver.fresh("m")
            driver.line(f"{name} = {texts[0]}")
            driver.storages[value] = Storage(name, arena=True)
            driver.bind_symbols(type, list(texts[1:]))
        case StrType():
            driver.set_text(value, texts[0], texts[1])
        case NoneType():
            pass
        case BoolType():
            driver.set_scalar(value, f"{texts[0]} != 0")
        case ComplexType():
            driver.set_scalar(value, f"complex({texts[0]}, {texts[1]})")
        case OptionalType(element=inner):
            present, held = Value(BoolType()), driver.held(inner)
            driver.tuples[value] = [present, held]
            adopt(driver, present, texts[:1])
            adopt(driver, held, texts[1:])
        case TupleType() | RecordType():
            pieces = [Value(t) for t in contained_types(type)]
            driver.tuples[value] = pieces
            position = 0
            for piece in pieces:
                count = width(piece.type)
                adopt(driver, piece, texts[position : position + count])
                position += count
        case _:
            driver.set_scalar(value, texts[0])
