"""Products with few rows on a device: a team of threads for each element of the result, which reads a row of weights.

Tiles of such a product would be nearly empty, and few. Here the weights are read once and side by side, as fast as
memory gives them, and the work is spread over as many teams as there are elements.
"""

from collections.abc import Callable
from dataclasses import replace

from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ..fusion import Group
from ..products import product_of
from ..scalar_code import literal
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid
from .lanes import divisible_by, repeated
from .product_parts import product_parts, store_product, tensor_type, title_of

__all__ = ["lower_thin_product"]

# Rows up to which a team for each element is faster than tiles: so often are the weights read (from the cache).
_MOST_ROWS = 8


def lower_thin_product(
    instruction: Instruction, group: Group | None, storage: Callable[[Value], Value], target: DeviceTarget
) -> DeviceKernel | None:
    """The kernel of a product whose operands lie along the depth, with a faster form; None for other products."""
    if instruction.op.name not in ("matmul", "linear"):
        return None
    product = product_of(instruction)
    if product.a_depth != 1 or product.b_depth != 1:
        return None
    result = tensor_type(instruction.results[0])
    places: list[Dim] = [product.a.offset, product.b.offset, product.rows.a, product.columns.b, product.depth]
    places += [stride for axis in product.batches for stride in (axis.a, axis.b)]
    lanes = 16 // result.dtype.itemsize
    kernel = _written(instruction, group, storage, target, 1)
    divisible = divisible_by(places, lanes)
    if divisible is None or any(tensor_type(v.base).dtype is not result.dtype for v in (product.a, product.b)):
        return kernel
    wide = _written(instruction, group, storage, target, lanes)
    return replace(kernel, faster=replace(wide, lanes=lanes, divisible=divisible))


def _written(
    instruction: Instruction, group: Group | None, storage: Callable[[Value], Value], target: DeviceTarget, lanes: int
) -> DeviceKernel:
    text = DeviceText()
    tiles = product_parts(instruction, text, storage)
    result = tensor_type(instruction.results[0])
    dtype, warp = result.dtype, target.warp
    count = tiles.batches * tiles.rows * tiles.columns
    size, depth = text.size(count), text.size(tiles.depth)
    text.requirements.helpers.add("shuffle_down")
    text.line(f"shared = cuda.shared.array({max(target.threads // warp, 1)}, types.{dtype.name})")
    with text.block(
        f"for first in range(cuda.blockIdx.x * cuda.blockDim.y, {size}, cuda.blockDim.y * cuda.gridDim.x):"
    ):
        # All threads of a block take part in exchanges: past the last element they compute it once more.
        text.line(f"item = min(first + cuda.threadIdx.y, {size} - 1)")
        text.line(f"column = item % {text.size(tiles.columns)}")
        text.line(f"row = item // {text.size(tiles.columns)} % {text.size(tiles.rows)}")
        text.line(f"batch = item // {text.size(tiles.columns * tiles.rows)}")
        for line in tiles.bases:
            text.line(line)
        text.line(f"value = {literal(0, dtype)}")
        by = "" if lanes == 1 else f" * {lanes}"
        with text.block(f"for k in range(cuda.threadIdx.x{by}, {depth}, cuda.blockDim.x{by}):"):
            body = [f"left = {tiles.left[1]}", f"right = {tiles.right[1]}", "value = value + left * right"]
            for line in repeated(body, "k", lanes) or body:
                text.line(line)
        offset = warp // 2
        while offset:
            text.line(f"value += shuffle_down(value, {offset})")
            offset //= 2
        thread = "(cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x)"
        text.line(f"if cuda.threadIdx.x % {warp} == 0:")
        text.line(f"    shared[{thread} // {warp}] = value")
        text.line("cuda.syncthreads()")
        text.line(f"base = cuda.threadIdx.y * cuda.blockDim.x // {warp}")
        text.line("value = shared[base]")
        text.line(f"for other in range(1, cuda.blockDim.x // {warp}):")
        text.line("    value += shared[base + other]")
        text.line("cuda.syncthreads()")
        with text.condition("if cuda.threadIdx.x == 0 and first + cuda.threadIdx.y == item:"):
            store_product(text, instruction, group, storage, dtype, tiles)
    traffic: dict[str, Dim | None] = {"bytes_moved": None, "flops": 2 * count * tiles.depth}
    stem, title = title_of(instruction, group)
    kernel = text.finish_kernel(
        f"{stem}_thin{'_wide' if lanes > 1 else ''}", title, traffic, Grid("rows", count, tiles.depth)
    )
    return replace(kernel, most=((tiles.rows, _MOST_ROWS),))
