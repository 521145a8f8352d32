"""Python values as they lie in native memory, and back: strings, lists, dicts, sets and tuples of programs.

The forms are those that `codegen.forms`, `codegen.list_code` and `codegen.dict_code` describe. A `Transfer` belongs to
one call. It remembers which Python object is which object in native memory, so that a container that was passed in is
the one that comes out, changed where the program changed it.
"""

import ctypes
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.types import (
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
from .errors import JitError
from .runtime.arena import allocate, write_slots
from .runtime.memory import address_of

if TYPE_CHECKING:
    from .codegen.module import ResultSpec

__all__ = ["Transfer", "read_arguments", "read_float", "read_text", "slot_count", "width"]

_HASH_MASK = 0x1FFFFFFFFFFFFF


def width(type: Type) -> int:
    """The slots of a value."""
    match type:
        case TensorType(shape=shape):
            return 1 + len(shape)
        case StrType() | ComplexType():
            return 2
        case NoneType():
            return 0
        case OptionalType(element=element):
            return 1 + width(element)
        case TupleType() | RecordType():
            return sum(map(width, contained_types(type)))
    return 1


def slot_count(result: "ResultSpec") -> int:
    """The slots of the frame that a result takes."""
    if result.kind in ("runtime", "list"):
        return max(width(result.type), 1)
    return 1


def read_text(address: int, length: int) -> str:
    """The string whose characters lie at an address."""
    return ctypes.string_at(address, 4 * length).decode("utf-32-le", "surrogatepass") if length else ""


def read_float(slot: int) -> float:
    """The float in a slot."""
    value: float = struct.unpack("=d", struct.pack("=q", slot))[0]
    return value


def _float_slot(value: float) -> int:
    slot: int = struct.unpack("=q", struct.pack("=d", value))[0]
    return slot


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


class Transfer:
    """Values on their way into native memory and out of it, in one call; `kept` is memory that must live meanwhile."""

    def __init__(self, arena: int, *, copies: bool = False) -> None:
        self.arena = arena
        self.copies = copies  # whether arrays and texts are copied into the arena, to live as long as it does
        self.kept: list[Any] = []
        self.objects: dict[int, Any] = {}  # Python objects by native address
        self.addresses: dict[int, int] = {}  # native addresses by id of a Python object
        self.read: set[int] = set()

    # -- in --

    def argument(self, type: Type, value: Any) -> int:
        """The frame's slot for an argument that is a string or container."""
        slots = self.slots(type, value)
        if isinstance(type, (ListType, DictType, SetType)):
            return slots[0]
        return self.block(slots)

    def block(self, slots: Sequence[int]) -> int:
        """The address of new memory that holds slots."""
        address = allocate(self.arena, 8 * max(len(slots), 1))
        if not address:
            raise MemoryError("out of memory")
        if slots:
            write_slots(address, slots)
        return address

    def held(self, array: np.ndarray[Any, Any]) -> int:
        """The address of an array that lives as long as native code needs it."""
        if not self.copies:
            self.kept.append(array)
            return address_of(array)
        memory = allocate(self.arena, max(array.nbytes, 1))
        if not memory:
            raise MemoryError("out of memory")
        ctypes.memmove(memory, address_of(array), array.nbytes)
        return memory

    def slots(self, type: Type, value: Any) -> list[int]:
        """The slots of a value."""
        match type:
            case TensorType(dtype=dtype):
                array = np.require(value, dtype.numpy, ["C", "A"])
                return [self.held(array), *array.shape]
            case FloatType():
                return [_float_slot(value)]
            case ComplexType():
                return [_float_slot(value.real), _float_slot(value.imag)]
            case IntType() | BoolType():
                return [int(value)]
            case StrType():
                codes = np.frombuffer(value.encode("utf-32-le", "surrogatepass"), np.uint32)
                return [self.held(codes) if len(codes) else 0, len(codes)]
            case NoneType():
                return []
            case OptionalType(element=element):
                if value is None:
                    return [0] * (1 + width(element))
                return [1, *self.slots(element, value)]
            case TupleType() | RecordType():
                return [s for t, v in zip(contained_types(type), value, strict=True) for s in self.slots(t, v)]
            case ListType() | DictType() | SetType():
                return [self.container(type, value)]
        raise JitError(f"native code takes no value of type {type}")

    def container(self, type: ListType | DictType | SetType, value: Any) -> int:
        """The address of a container, the same for the same Python object."""
        known = self.addresses.get(id(value))
        if known is not None:
            return known
        slots = {ListType: 3, DictType: 6, SetType: 5}[type.__class__]
        address = self.block([0] * slots)
        self.addresses[id(value)] = address
        self.objects[address] = value
        match type:
            case ListType(element=element):
                header = self.list_slots(element, value)
            case DictType():
                header = self.dict_slots(type, value)
            case SetType(element=element):
                header = self.set_slots(element, value)
        write_slots(address, header)
        return address

    def list_slots(self, element: Type, values: Sequence[Any]) -> list[int]:
        if isinstance(element, BoolType):
            array = np.array(values, np.uint8)
        elif isinstance(element, (IntType, FloatType)):
            array = np.array(values, np.int64 if isinstance(element, IntType) else np.float64)
        else:
            array = np.array([_signed(s) for v in values for s in self.slots(element, v)], np.int64)
        memory = allocate(self.arena, max(array.nbytes, 1))
        if not memory:
            raise MemoryError("out of memory")
        ctypes.memmove(memory, address_of(array), array.nbytes)
        return [len(values), len(values), memory]

    def dict_slots(self, type: DictType, values: dict[Any, Any]) -> list[int]:
        if not values:
            return [0, 0, 0, 0, 0, -1]
        size = 16
        while size < 2 * len(values):
            size *= 2
        entries: list[int] = []
        table = [0] * size
        for position, (key, value) in enumerate(values.items(), 1):
            hashed = hash_of(type.key, key)
            entries += [hashed + 1, *self.slots(type.key, key), *self.slots(type.element, value)]
            place = hashed & (size - 1)
            while table[place]:
                place = (place + 1) & (size - 1)
            table[place] = position
        return [len(values), len(values), len(values), self.block(entries), self.block(table), size - 1]

    def set_slots(self, element: Type, values: set[Any]) -> list[int]:
        # What takes part in the order of a set in CPython is its table, which is read back from the order of its
        # elements as far as it can be: they are put in one after the other.
        size, stride = 8, 2 + width(element)
        while size <= 4 * len(values) and len(values) * 5 >= (size - 1) * 3:
            size *= 2
        table = [0] * (size * stride)
        for value in values:
            hashed = _signed(python_hash(element, value) & 0xFFFFFFFFFFFFFFFF)
            place = stride * _free_slot(table, size - 1, stride, hashed)
            table[place : place + stride] = [1, hashed, *self.slots(element, value)]
        return [len(values), len(values), size - 1, self.block(table), 0]

    # -- out --

    def value(self, type: Type, slots: Sequence[int]) -> Any:
        """The Python value of slots."""
        match type:
            case TensorType(dtype=dtype):
                array: np.ndarray[Any, Any] = np.empty(tuple(slots[1:]), dtype.numpy)
                if array.nbytes:
                    ctypes.memmove(address_of(array), slots[0], array.nbytes)
                return array
            case FloatType():
                return read_float(slots[0])
            case ComplexType():
                return complex(read_float(slots[0]), read_float(slots[1]))
            case BoolType():
                return slots[0] != 0
            case IntType():
                return slots[0]
            case StrType():
                return read_text(slots[0], slots[1])
            case NoneType():
                return None
            case OptionalType(element=element):
                return self.value(element, slots[1:]) if slots[0] else None
            case TupleType() | RecordType():
                parts, position = [], 0
                for part in contained_types(type):
                    parts.append(self.value(part, slots[position : position + width(part)]))
                    position += width(part)
                return tuple(parts)
            case ListType() | DictType() | SetType():
                return self.object(type, slots[0])
        raise JitError(f"a native program cannot return a {type}")

    def object(self, type: ListType | DictType | SetType, address: int) -> Any:
        """The Python container of a native one: that which was passed in, with what it holds now, or a new one."""
        if address in self.read:
            return self.objects[address]
        self.read.add(address)
        made = self.objects.get(address)
        if made is None:
            made = {ListType: list, DictType: dict, SetType: set}[type.__class__]()
            self.objects[address] = made
        match type:
            case ListType(element=element):
                made[:] = self.list_values(element, address)
            case DictType(key=key, element=element):
                slots = _slots(address, 6)
                stride = 1 + width(key) + width(element)
                rows = [row for row in _rows(slots[3], slots[1], stride) if row[0]]
                pairs = [(self.value(key, row[1:]), self.value(element, row[1 + width(key) :])) for row in rows]
                made.clear()
                made.update(pairs)
            case SetType(element=element):
                slots = _slots(address, 5)
                rows = [row for row in _rows(slots[3], slots[2] + 1, 2 + width(element)) if row[0] == 1]
                elements = {self.value(element, row[2:]) for row in rows}
                if elements != made:
                    made.clear()
                    made.update(elements)
        return made

    def list_values(self, element: Type, address: int) -> Iterable[Any]:
        length, _, memory = _slots(address, 3)
        if not length:
            return []
        if isinstance(element, BoolType):
            return [byte != 0 for byte in ctypes.string_at(memory, length)]
        if isinstance(element, IntType):
            return list((ctypes.c_int64 * length).from_address(memory))
        if isinstance(element, FloatType):
            return list((ctypes.c_double * length).from_address(memory))
        return [self.value(element, row) for row in _rows(memory, length, width(element))]

    def update_arguments(self, types: Iterable[tuple[Type, Any]]) -> None:
        """Bring containers that were passed in to what they hold now."""
        for type, value in types:
            if isinstance(type, (ListType, DictType, SetType)):
                self.object(type, self.addresses[id(value)])


def _slots(address: int, count: int) -> list[int]:
    return list((ctypes.c_int64 * count).from_address(address)) if count else []


def _rows(address: int, count: int, width: int) -> list[list[int]]:
    flat = _slots(address, count * width)
    return [flat[i : i + width] for i in range(0, count * width, width)] if width else [[] for _ in range(count)]


def _free_slot(table: list[int], mask: int, stride: int, hashed: int) -> int:
    """The slot of a set's table for a new element, as CPython probes (Objects/setobject.c)."""
    place, perturb = hashed & mask, hashed & 0xFFFFFFFFFFFFFFFF
    while True:
        for step in range(10 if place + 9 <= mask else 1):
            if not table[(place + step) * stride]:
                return place + step
        perturb >>= 5
        place = (place * 5 + 1 + perturb) & mask


def hash_of(type: Type, value: Any) -> int:
    """The hash of a dict's key, as `codegen.equality` computes it."""
    match type:
        case IntType() | BoolType():
            return (int(value) ^ (int(value) >> 31)) & _HASH_MASK
        case FloatType():
            bits = _float_slot(value + 0.0)
            return (bits ^ (bits >> 29)) & _HASH_MASK
        case ComplexType():
            parts = [hash_of(FloatType(), part) for part in (value.real, value.imag)]
            return ((parts[0] * 435) ^ parts[1]) & _HASH_MASK
        case StrType():
            found = 1469598103934665603
            for character in value:
                found = ((found ^ ord(character)) * 435) & _HASH_MASK
            return found
        case TupleType() | RecordType():
            found = 17
            for part, item in zip(contained_types(type), value, strict=True):
                found = ((found ^ hash_of(part, item)) * 435) & _HASH_MASK
            return found
    return 0


def python_hash(type: Type, value: Any) -> int:
    """The hash of a set's element, as `codegen.dicts` computes it."""
    return hash(value) if isinstance(type, (IntType, BoolType, FloatType)) else hash_of(type, value)


def read_arguments(kinds: str, address: int) -> tuple[Any, ...]:
    """The arguments of an exception (see `codegen.module.ErrorSite`) from their slots."""
    stack: list[list[Any]] = [[]]
    for kind in kinds:
        match kind:
            case "(":
                stack.append([])
            case ")":
                items = tuple(stack.pop())
                stack[-1].append(items)
            case "n":
                stack[-1].append(None)
            case "c":
                stack[-1].append(complex(*(ctypes.c_double * 2).from_address(address)))
                address += 16
            case "s":
                stack[-1].append(read_text(*(ctypes.c_int64 * 2).from_address(address)))
                address += 16
            case _:
                slot = ctypes.c_int64.from_address(address).value
                stack[-1].append(slot if kind == "i" else slot != 0 if kind == "b" else read_float(slot))
                address += 8
    return tuple(stack[0])
