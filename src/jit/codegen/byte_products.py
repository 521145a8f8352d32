"""Products of 8-bit integers in the driver: int32 matrices that are casts of 8-bit ones are read as those lie."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.types import TensorType
from .access import StridedView, forward_view
from .driver import Driver
from .indexing import element_count
from .integer_products import INTEGER_SLOTS, IntegerSpec, integer_source, pack_bytes
from .kernel_text import Text
from .module import KernelSource
from .target import Target

if TYPE_CHECKING:
    from .products import Product

__all__ = ["ByteOperand", "byte_operands", "byte_reads", "is_byte_product", "run_byte_product"]

_BYTES = ("i8", "u8")


@dataclass(frozen=True)
class ByteOperand:
    """A matrix of 8-bit integers: where it lies, its type, and its data where it is a constant of int32."""

    view: StridedView
    kind: str
    data: np.ndarray[Any, Any] | None = None


def is_byte_product(instruction: Instruction) -> bool:
    """Whether an instruction is an int32 product of two 8-bit matrices, for which there is a kernel."""
    return byte_operands(instruction) is not None


def byte_operands(instruction: Instruction) -> tuple[ByteOperand, ByteOperand] | None:
    """The two sides of a product of 8-bit integers; None for other instructions."""
    if instruction.op.name != "matmul" or not instruction.results:
        return None
    result = instruction.results[0].type
    if not isinstance(result, TensorType) or result.dtype is not dtypes.int32:
        return None
    left, right = (_operand(value, instruction) for value in instruction.inputs[:2])
    return (left, right) if left is not None and right is not None else None


def byte_reads(instruction: Instruction) -> list[Value] | None:
    """What a product of 8-bit integers reads from memory; None for other instructions."""
    operands = byte_operands(instruction)
    return None if operands is None else [operand.view.base for operand in operands if operand.data is None]


def _operand(value: Value, user: Instruction) -> ByteOperand | None:
    # An instruction that a rewrite is about to place has no block yet, but is beside what it reads.
    block = user.block or (value.instruction.block if value.instruction is not None else None)
    view = forward_view(value, block)
    made = view.base.instruction
    if made is None or not isinstance(view.base.type, TensorType):
        return None
    if made.op.name == "constant":
        data = made.attributes["value"].data
        kind = _kind(data) if data is not None and view.base.type.dtype is dtypes.int32 else None
        return None if kind is None else ByteOperand(view, kind, data)
    if made.op.name != "cast" or made.block is not block:
        return None
    source = made.inputs[0]
    if not isinstance(source.type, TensorType) or source.type.dtype.short not in _BYTES:
        return None
    kind, stored = source.type.dtype.short, forward_view(source, block)
    if view.base is value:
        return ByteOperand(stored, kind)
    # A view of the cast matrix is the same view of its source, if that is stored as it is.
    return ByteOperand(StridedView(source, view.offset, view.strides), kind) if stored.base is source else None


def _kind(data: np.ndarray[Any, Any]) -> str | None:
    low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
    return "i8" if low >= -128 and high <= 127 else "u8" if low >= 0 and high <= 255 else None


def run_byte_product(
    driver: Driver, instruction: Instruction, product: "Product", target: Target, launch: Callable[..., None]
) -> None:
    """Run a product of 8-bit integers, its batches in loops of the driver; `launch` fills the table and runs it."""
    operands = byte_operands(instruction)
    assert operands is not None
    left, right = operands
    output = instruction.results[0]
    storage = driver.store(output)
    spec = IntegerSpec(left.kind, right.kind, target)
    rows, columns = product.rows, product.columns
    work = element_count([*(axis.extent for axis in product.batches), rows.extent, columns.extent, product.depth])
    title = f"product of {left.kind} and {right.kind} ({instruction.location})"
    driver.add_kernel(KernelSource(spec.name, integer_source(spec), title=title, flops=work * 2))
    packed = _packed(driver, right, product, spec)
    addresses = [_address(driver, left), packed or _address(driver, right), storage.address]
    for axis in product.batches:
        index = driver.fresh("t")
        driver.line(f"for {index} in range({driver.size(axis.extent)}):")
        driver.depth += 1
        steps = (axis.a, axis.b, axis.c * 4)
        addresses = [f"{x} + {index} * {driver.size(step)}" for x, step in zip(addresses, steps, strict=True)]
    slots = dict(zip(("a", "b", "c"), addresses, strict=True))
    sizes = {
        "m": rows.extent,
        "n": columns.extent,
        "k": product.depth,
        "a_row_stride": rows.a,
        "a_k_stride": product.a_depth,
        "b_k_stride": product.b_depth,
        "b_column_stride": columns.b,
        "c_row_stride": rows.c if rows.extent != 1 else columns.extent,
        "b_is_packed": 0 if packed is None else 1,
    }
    slots |= {slot: driver.size(size) for slot, size in sizes.items()}
    launch(driver, spec.name, spec, INTEGER_SLOTS, slots, Text(), output)
    driver.depth -= len(product.batches)
    driver.clock += 1


def _packed(driver: Driver, operand: ByteOperand, product: "Product", spec: IntegerSpec) -> str | None:
    """The packed form of a constant matrix that all batches share, made now."""
    shape, strides = (product.depth, product.columns.extent), (product.b_depth, product.columns.b)
    known = (*shape, *strides, operand.view.offset)
    if operand.data is None or any(axis.b != 0 for axis in product.batches):
        return None
    numbers = [size for size in known if isinstance(size, int)]
    if len(numbers) < len(known):
        return None
    k, n, k_stride, column_stride, offset = numbers
    flat = np.ascontiguousarray(operand.data.astype(np.int8 if operand.kind == "i8" else np.uint8)).reshape(-1)
    matrix = np.lib.stride_tricks.as_strided(flat[offset:], (k, n), (k_stride, column_stride), writeable=False)
    return driver.constant(pack_bytes(matrix, spec), ("packed bytes", id(operand.data), *numbers, spec.lanes))


def _address(driver: Driver, operand: ByteOperand) -> str:
    view = operand.view
    if operand.data is None:
        address = driver.address(view.base)
    else:
        narrow = np.ascontiguousarray(operand.data.astype(np.int8 if operand.kind == "i8" else np.uint8))
        address = driver.constant(narrow, ("bytes", id(operand.data)))
    return address if view.offset == 0 else f"{address} + {driver.size(view.offset)}"
