"""Evaluating an operation for native code that has no kernel for it, on arrays over native memory."""

import ctypes
import functools
from typing import Any

import numpy as np

from ...ir.core import Instruction
from ...ir.types import TensorType, Type
from .arena import allocate, write_slots
from .memory import address_of

__all__ = ["evaluate", "evaluated_op"]


@functools.lru_cache(maxsize=1024)
def _instruction(text: str) -> Instruction:
    """The instruction that a driver's text holds."""
    from ...ir.text import parse

    return parse(text, file="<native code>", check=False).block.instructions[0]


def evaluated_op(text: str) -> str:
    """The name of the op in a driver's text."""
    return _instruction(text).op.name


def evaluate(text: str, address: int, arena: int) -> None:
    """Run the instruction in `text`; at `address` lie the slots of its operands, and then those of its results.

    Operands are read where they lie. A result is copied to the address in its slots, or into the arena if that is 0,
    and what was not known of it (address, sizes, a number) is written into its slots.
    """
    from ..memory_form import Transfer, width

    instruction = _instruction(text)
    transfer = Transfer(arena, copies=True)
    operands: list[Any] = []
    for operand in instruction.operands:
        if operand is None:
            operands.append(None)
            continue
        count = width(operand.type)
        slots = (ctypes.c_int64 * count).from_address(address)
        if isinstance(operand.type, TensorType):
            operands.append(_array(operand.type.dtype.numpy, slots[0], tuple(slots[1:])))
        else:
            operands.append(transfer.value(operand.type, list(slots)))
        address += 8 * count
    op = instruction.op
    found = op.run(np, op.schema.unflatten(operands), instruction.attributes)
    results = found if isinstance(found, tuple) else (found,)
    for result, value in zip(instruction.results, results, strict=True):
        _store(op.name, result.type, value, address, arena, transfer)
        address += 8 * width(result.type)


def _array(dtype: np.dtype[Any], address: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """An array over native memory."""
    count = dtype.itemsize
    for size in shape:
        count *= size
    if not count:
        return np.empty(shape, dtype)
    memory: Any = (ctypes.c_char * count).from_address(address)
    return np.ndarray(shape, dtype, buffer=memory)


def _store(name: str, type: Type, value: Any, slots: int, arena: int, transfer: Any) -> None:
    """Put a result where native code expects it."""
    if not isinstance(type, TensorType):
        write_slots(slots, transfer.slots(type, value))
        return
    array, dtype = np.asarray(value), type.dtype.numpy
    address, *sizes = (ctypes.c_int64 * (1 + len(type.shape))).from_address(slots)
    fits = len(sizes) == array.ndim and all(size in (-1, n) for size, n in zip(sizes, array.shape, strict=True))
    if not fits or array.dtype != dtype:
        raise RuntimeError(f"{name} must give {type}, gave {array.dtype}{list(array.shape)}")
    if not address and -1 in sizes:
        array = np.require(array, dtype, "C")
        address = allocate(arena, max(array.nbytes, 1))
        if not address:
            raise MemoryError("out of memory")
        ctypes.memmove(address, address_of(array), array.nbytes)
        write_slots(slots, [address, *array.shape])
    elif array.size:
        np.copyto(_array(dtype, address, array.shape), array)
