"""Evaluating an operation for native code that has no kernel for it, on arrays over native memory."""

import ctypes
import functools
from typing import Any

import numpy as np

from ...ir.types import TensorType, Type
from .arena import allocate, write_slots
from .memory import address_of

__all__ = ["evaluate", "evaluated_op"]


class _Evaluation:
    """An instruction from a driver's text, with what each call of it needs: what lies in which slots."""

    def __init__(self, text: str) -> None:
        from ...ir.text import parse
        from ..memory_form import Transfer, width

        self.transfer = Transfer
        self.instruction = parse(text, file="<native code>", check=False).block.instructions[0]
        self.op = self.instruction.op
        self.operands: list[tuple[Type, int, int] | None] = []  # type, first slot and the one after the last
        place = 0
        for operand in self.instruction.operands:
            if operand is None:
                self.operands.append(None)
                continue
            self.operands.append((operand.type, place, place + width(operand.type)))
            place += width(operand.type)
        self.results: list[tuple[Type, int, int]] = []
        for result in self.instruction.results:
            self.results.append((result.type, place, place + width(result.type)))
            place += width(result.type)
        self.slots = ctypes.c_int64 * max(place, 1)

    def run(self, address: int, arena: int) -> None:
        slots = list(self.slots.from_address(address))
        transfer: Any = None
        operands: list[Any] = []
        for entry in self.operands:
            if entry is None:
                operands.append(None)
                continue
            type, first, end = entry
            if isinstance(type, TensorType):
                operands.append(_array(type.dtype.numpy, slots[first], tuple(slots[first + 1 : end])))
            else:
                transfer = transfer or self.transfer(arena, copies=True)
                operands.append(transfer.value(type, slots[first:end]))
        found = self.op.run(np, self.op.schema.unflatten(operands), self.instruction.attributes)
        results = found if isinstance(found, tuple) else (found,)
        for (type, first, end), value in zip(self.results, results, strict=True):
            if isinstance(type, TensorType):
                self.store(type, value, slots[first:end], address + 8 * first, arena)
            else:
                transfer = transfer or self.transfer(arena, copies=True)
                write_slots(address + 8 * first, transfer.slots(type, value))

    def store(self, type: TensorType, value: Any, given: list[int], place: int, arena: int) -> None:
        """Put a tensor where native code expects it, or into the arena, of which it is told at `place`."""
        array, dtype = np.asarray(value), type.dtype.numpy
        address, *sizes = given
        shape = array.shape
        fits = tuple(sizes) == shape or (
            len(sizes) == len(shape) and all(size in (-1, n) for size, n in zip(sizes, shape, strict=True))
        )
        if not fits or array.dtype != dtype:
            raise RuntimeError(f"{self.op.name} must give {type}, gave {array.dtype}{list(shape)}")
        if not address and -1 in sizes:
            array = np.require(array, dtype, "C")
            address = allocate(arena, max(array.nbytes, 1))
            if not address:
                raise MemoryError("out of memory")
            ctypes.memmove(address, address_of(array), array.nbytes)
            write_slots(place, [address, *shape])
        elif array.size:
            _array(dtype, address, shape)[...] = array


_evaluation = functools.lru_cache(maxsize=1024)(_Evaluation)


def evaluated_op(text: str) -> str:
    """The name of the op in a driver's text."""
    return _evaluation(text).op.name


def evaluate(text: str, address: int, arena: int) -> None:
    """Run the instruction in `text`; at `address` lie the slots of its operands, and then those of its results.

    Operands are read where they lie. A result is copied to the address in its slots, or into the arena if that is 0,
    and what was not known of it (address, sizes, a number) is written into its slots.
    """
    _evaluation(text).run(address, arena)


def _array(dtype: np.dtype[Any], address: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """An array over native memory."""
    count = dtype.itemsize
    for size in shape:
        count *= size
    if not count:
        return np.empty(shape, dtype)
    memory: Any = (ctypes.c_char * count).from_address(address)
    return np.ndarray(shape, dtype, buffer=memory)
