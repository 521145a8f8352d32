"""Matrix products as strides: batch axes, rows, columns and depth, of operands that are read as they lie."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim, dim_min
from ...ir.types import TensorType
from .access import StridedView, forward_view
from .byte_products import byte_operands
from .indexing import row_major_strides

__all__ = [
    "MATMULS", "Axis", "Product", "batch_stride", "in_runs", "narrow_source", "product_of", "streamed", "view_strides"
]  # fmt: skip

MATMULS = ("matmul", "linear")


@dataclass(frozen=True)
class Axis:
    """A dimension of the result: its size, and the strides of A, B and C along it, in elements."""

    extent: Dim
    a: Dim
    b: Dim
    c: Dim
    loops: tuple[str, ...] = ()  # the group's loops that make it up, outermost first
    sizes: tuple[Dim, ...] = ()  # their extents


@dataclass(frozen=True)
class Product:
    """A matrix product as strides: batch axes, rows, columns and depth."""

    a: StridedView
    b: StridedView
    batches: tuple[Axis, ...]
    rows: Axis
    columns: Axis
    depth: Dim
    a_depth: Dim
    b_depth: Dim


def _tensor(value: Value | None) -> TensorType:
    assert value is not None and isinstance(value.type, TensorType)
    return value.type


def narrow_source(value: Value | None) -> Value | None:
    """What a cast to float32 reads where products read it themselves: numbers of 8 and 16 bits; None for others."""
    instruction = value.instruction if value is not None else None
    if instruction is None or instruction.op.name != "cast" or _tensor(value).dtype is not dtypes.float32:
        return None
    source = instruction.inputs[0]
    known = _tensor(source).dtype.short in ("f16", "bf16", "i8", "u8")
    return source if known and instruction.block is not None else None


def view_strides(view: StridedView, shape: Sequence[Dim]) -> list[Dim]:
    return [0 if size == 1 else stride for size, stride in zip(shape, view.strides, strict=True)]


def product_of(instruction: Instruction, store: dict[int, tuple[str, Dim]] | None = None) -> Product:
    """The product that an instruction computes.

    `store` gives, per dimension of the result, the loop that stands for it and the stride of the stored result; without
    it the result is contiguous.
    """
    left, right = instruction.operands[:2]
    a_type, b_type, result = _tensor(left), _tensor(right), _tensor(instruction.results[0])
    assert left is not None and right is not None
    right = narrow_source(right) or right
    if (integers := byte_operands(instruction)) is not None:
        a, b = (operand.view for operand in integers)
    else:
        a, b = forward_view(left, instruction.block), forward_view(right, instruction.block)
    a_strides, b_strides = view_strides(a, a_type.shape), view_strides(b, b_type.shape)
    b_shape = list(b_type.shape)
    if instruction.op.name == "linear":
        # The weight is [N, K] (or [K]).
        b_strides, b_shape = b_strides[::-1], b_shape[::-1]
    has_rows, has_columns = a_type.rank > 1, len(b_shape) > 1
    # Both sides of the product have this size; where one is a number, it lets a constant be packed now.
    depth, other = a_type.shape[-1], b_shape[-2] if has_columns else b_shape[-1]
    depth = other if isinstance(other, int) else depth
    a_depth = a_strides[-1]
    b_depth = b_strides[-2] if has_columns else b_strides[-1]
    contiguous = row_major_strides(result.shape)

    def axis(position: int, extent: Dim, a_stride: Dim, b_stride: Dim) -> Axis:
        if store is None or position not in store:
            return Axis(extent, a_stride, b_stride, contiguous[position])
        loop, stride = store[position]
        return Axis(extent, a_stride, b_stride, stride, (loop,), (extent,))

    rank = result.rank
    n_batch = rank - has_rows - has_columns if instruction.op.name == "matmul" else rank - has_columns
    leading: list[Axis] = []
    for position in range(n_batch):
        strides = []
        for shape, operand_strides, own in ((a_type.shape, a_strides, 1 + has_rows), (b_shape, b_strides, 2)):
            place = position - n_batch + len(shape) - own
            if instruction.op.name == "linear":
                place = position if operand_strides is a_strides else -1
            strides.append(batch_stride(shape, operand_strides, len(shape) - 1 - place, result.shape[position]))
        leading.append(axis(position, result.shape[position], strides[0], strides[1]))
    if has_rows and instruction.op.name == "matmul":
        leading.append(axis(n_batch, result.shape[n_batch], a_strides[-2], 0))
    columns = Axis(1, 0, 0, 1)
    if has_columns:
        columns = axis(rank - 1, result.shape[-1], 0, b_strides[-1])
    merged = _merge(leading)
    if merged and merged[-1].b == 0:
        *batches, rows = merged
    else:
        batches, rows = merged, Axis(1, 0, 0, 0)
    return Product(a, b, tuple(batches), rows, columns, depth, a_depth, b_depth)


def streamed(product: Product, instruction: Instruction) -> Product:
    """The product with its operands exchanged where B is a single column: then the matrix is what streams by."""
    rows, columns = product.rows, product.columns
    if columns.extent != 1 or rows.c != 1 or narrow_source(instruction.operands[1]) is not None:
        return product

    def exchanged(axis: Axis) -> Axis:
        return replace(axis, a=axis.b, b=axis.a)

    batches = tuple(exchanged(axis) for axis in product.batches)
    return Product(
        product.b,
        product.a,
        batches,
        exchanged(columns),
        exchanged(rows),
        product.depth,
        product.b_depth,
        product.a_depth,
    )


def in_runs(product: Product) -> tuple[Product, dict[str, Dim]]:
    """The product with its last batch axis among its rows, where all share one B, and the slots of such runs."""
    if not product.batches or product.a_depth != 1 or any(axis.b != 0 for axis in product.batches):
        return product, {}
    *batches, outer = product.batches
    inner = product.rows
    rows = replace(
        inner, extent=outer.extent * inner.extent, loops=outer.loops + inner.loops, sizes=outer.sizes + inner.sizes
    )
    slots: dict[str, Dim] = {"inner_batches": inner.extent, "a_outer_stride": outer.a, "c_outer_stride": outer.c}
    return replace(product, batches=tuple(batches), rows=rows), slots


def _merge(axes: Sequence[Axis]) -> list[Axis]:
    """Neighbouring axes made one where all strides allow it."""
    merged: list[Axis] = []
    for axis in axes:
        if axis.extent == 1:
            continue
        if merged:
            outer = merged[-1]
            if (outer.a, outer.b, outer.c) == tuple(s * axis.extent for s in (axis.a, axis.b, axis.c)):
                merged[-1] = Axis(
                    outer.extent * axis.extent,
                    axis.a,
                    axis.b,
                    axis.c,
                    outer.loops + axis.loops,
                    outer.sizes + axis.sizes,
                )
                continue
        merged.append(axis)
    return merged


def batch_stride(shape: Sequence[Dim], strides: Sequence[Dim], position: int, whole: Dim) -> Dim:
    """The stride of an operand along a batch dimension of the result, counted from the end; 0 where it is broadcast."""
    place = len(shape) - 1 - position
    if place < 0:
        return 0
    stride = strides[place]
    if shape[place] != whole and not isinstance(shape[place], int):
        stride = stride * dim_min(shape[place] - 1, 1)  # 0 where the size turns out to be 1
    return stride
