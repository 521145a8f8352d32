"""Matrix products and convolutions on a device: one tiled kernel, whose tiles are kept in shared memory.

A convolution is the product of its weight with patches of its images that are gathered while tiles are read (implicit
GEMM; Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014). Operations that follow are applied to the
elements before they are stored.
"""

from collections.abc import Callable
from dataclasses import replace

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.types import TensorType
from ..access import strided_view
from ..contraction import contraction_reads as product_reads
from ..fusion import Group
from ..scalar_code import literal
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid
from .patches import lower_patches, reads_images
from .product_parts import convolution_parts, product_parts, store_product, tensor_type, title_of
from .thin_products import lower_thin_product

__all__ = ["accepts_epilogue", "contraction_reads", "lower_contraction"]

_FLOATS = (dtypes.float32, dtypes.float64)


def contraction_reads(instruction: Instruction) -> list[Value] | None:
    """What a product or convolution reads from memory; None for other instructions."""
    if not instruction.results or not isinstance(instruction.results[0].type, TensorType):
        return None
    if instruction.op.name == "conv2d":
        images, weight, bias = instruction.operands
        if bias is not None or tensor_type(images).rank != 4 or tensor_type(images).dtype not in _FLOATS:
            return None
        assert images is not None and weight is not None
        return [strided_view(v, instruction.block).base for v in (images, weight)]
    if instruction.op.name not in ("matmul", "linear") or tensor_type(instruction.results[0]).dtype not in _FLOATS:
        return None
    if instruction.op.name == "linear" and instruction.operands[2] is not None:
        return None
    return product_reads(instruction)


def accepts_epilogue(instruction: Instruction, group: Group) -> bool:
    """Whether a group's operations can be applied to a product's elements before they are stored."""
    return contraction_reads(instruction) is not None


def lower_contraction(
    instruction: Instruction, group: Group | None, storage: Callable[[Value], Value], target: DeviceTarget
) -> DeviceKernel:
    """The kernel of a product or convolution, with a group's operations on its result."""
    tiled = _tiled(instruction, group, storage, target)
    if instruction.op.name == "conv2d":
        return tiled if reads_images(instruction) else replace(tiled, patches=lower_patches(instruction))
    thin = lower_thin_product(instruction, group, storage, target)
    return tiled if thin is None else replace(tiled, faster=thin)


def _tiled(
    instruction: Instruction, group: Group | None, storage: Callable[[Value], Value], target: DeviceTarget
) -> DeviceKernel:
    text = DeviceText()
    make = convolution_parts if instruction.op.name == "conv2d" else product_parts
    tiles = make(instruction, text, storage)
    value = instruction.results[0]
    dtype = tensor_type(value).dtype
    tile_rows, tile_columns, tile_depth, each = (
        target.tile_rows, target.tile_columns, target.tile_depth, target.per_thread,
    )  # fmt: skip
    across, down = tile_columns // each, tile_rows // each
    threads = across * down
    if dtype.itemsize == 8:
        tile_depth = max(tile_depth // 2, 1)  # or the tiles are more than a block's shared memory
    zero = literal(0, dtype)
    lines = [
        f"left = cuda.shared.array(({tile_depth}, {tile_rows + 1}), types.{dtype.name})",
        f"right = cuda.shared.array(({tile_depth}, {tile_columns + 1}), types.{dtype.name})",
        f"sums = cuda.local.array(({each}, {each}), types.{dtype.name})",
        f"a = cuda.local.array({each}, types.{dtype.name})",
        f"b = cuda.local.array({each}, types.{dtype.name})",
        f"rows, columns, depth = {text.size(tiles.rows)}, {text.size(tiles.columns)}, {text.size(tiles.depth)}",
        f"tiles_across = (columns + {tile_columns - 1}) // {tile_columns}",
        f"tiles_down = (rows + {tile_rows - 1}) // {tile_rows}",
        f"first_column = cuda.blockIdx.x % tiles_across * {tile_columns}",
        f"first_row = cuda.blockIdx.x // tiles_across % tiles_down * {tile_rows}",
        "batch = cuda.blockIdx.x // (tiles_across * tiles_down)",
        *tiles.bases,
        f"thread = cuda.threadIdx.y * {across} + cuda.threadIdx.x",
        f"for i in range({each}):",
        f"    for j in range({each}):",
        f"        sums[i, j] = {zero}",
        f"for start in range(0, depth, {tile_depth}):",
    ]

    def read(tile: str, count: int, along_first: bool, size: int, name: str, element: tuple[list[str], str]) -> None:
        """Statements that fill a tile of depth x `size`; neighbouring threads read neighbouring elements."""
        inner = f"item % {size}" if along_first else f"item // {tile_depth}"
        k = f"item // {size}" if along_first else f"item % {tile_depth}"
        limit = "rows" if name == "row" else "columns"
        before, found = element
        lines.extend(
            [
                f"    for item in range(thread, {count}, {threads}):",
                f"        {name} = first_{name} + {inner}",
                f"        k = start + {k}",
                f"        value = {zero}",
                f"        if {name} < {limit} and k < depth:",
                *(f"            {line}" for line in before),
                f"            value = {found}",
                f"        {tile}[{k}, {inner}] = value",
            ]
        )

    read("left", tile_depth * tile_rows, tiles.left_along_rows, tile_rows, "row", tiles.left)
    read("right", tile_depth * tile_columns, not tiles.right_along_depth, tile_columns, "column", tiles.right)
    lines += [
        "    cuda.syncthreads()",
        f"    for k in range({tile_depth}):",
        f"        for i in range({each}):",
        f"            a[i] = left[k, cuda.threadIdx.y * {each} + i]",
        f"        for j in range({each}):",
        f"            b[j] = right[k, cuda.threadIdx.x + j * {across}]",
        f"        for i in range({each}):",
        f"            for j in range({each}):",
        "                sums[i, j] += a[i] * b[j]",
        "    cuda.syncthreads()",
    ]
    for line in lines:
        text.line(line)
    # Through shared memory, so that neighbouring threads store neighbours; it keeps the sums in registers, too.
    fast, size, slow = ("row", tile_rows, "column") if tiles.stored_along_rows else ("column", tile_columns, "row")
    held = f"cuda.threadIdx.y * {each} + i, cuda.threadIdx.x + j * {across}"
    text.line(f"tile = cuda.shared.array(({tile_rows}, {tile_columns + 1}), types.{dtype.name})")
    for line in (f"for i in range({each}):", f"    for j in range({each}):", f"        tile[{held}] = sums[i, j]"):
        text.line(line)
    text.line("cuda.syncthreads()")
    with text.block(f"for item in range(thread, {tile_rows * tile_columns}, {threads}):"):
        text.line(f"{fast} = item % {size}")
        text.line(f"{slow} = item // {size}")
        text.line("value = tile[row, column]")
        text.line("row += first_row")
        text.line("column += first_column")
        with text.condition("if row < rows and column < columns:"):
            store_product(text, instruction, group, storage, dtype, tiles)
    blocks = (
        tiles.batches
        * ((tiles.rows + (tile_rows - 1)) // tile_rows)
        * ((tiles.columns + (tile_columns - 1)) // tile_columns)
    )
    stem, title = title_of(instruction, group)
    traffic: dict[str, Dim | None] = {
        "bytes_moved": None,
        "flops": 2 * tiles.batches * tiles.rows * tiles.columns * tiles.depth,
    }
    return text.finish_kernel(stem, title, traffic, Grid("blocks", blocks, threads=(across, down)))
