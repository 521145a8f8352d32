"""Matrix products and convolutions on a device: one tiled kernel, whose tiles are kept in shared memory.

A convolution is the product of its weight with patches of its images that are gathered while tiles are read (implicit
GEMM; Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014). Operations that follow are applied to the
elements before they are stored.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.ops.conv import geometry
from ....ir.types import TensorType
from ..access import strided_view
from ..contraction import Product, product_of, view_strides
from ..contraction import contraction_reads as product_reads
from ..elements import Elements
from ..fusion import Group
from ..image_layout import position
from ..indexing import element_count, row_major_strides
from ..inline import INLINE
from ..scalar_code import Code, cast, literal
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid

__all__ = ["accepts_epilogue", "contraction_reads", "lower_contraction"]

_FLOATS = (dtypes.float32, dtypes.float64)


def _tensor(value: Value | None) -> TensorType:
    assert value is not None and isinstance(value.type, TensorType)
    return value.type


def contraction_reads(instruction: Instruction) -> list[Value] | None:
    """What a product or convolution reads from memory; None for other instructions."""
    if not instruction.results or not isinstance(instruction.results[0].type, TensorType):
        return None
    if instruction.op.name == "conv2d":
        images, weight, bias = instruction.operands
        if bias is not None or _tensor(images).rank != 4 or _tensor(images).dtype not in _FLOATS:
            return None
        assert images is not None and weight is not None
        return [strided_view(v, instruction.block).base for v in (images, weight)]
    if instruction.op.name not in ("matmul", "linear") or _tensor(instruction.results[0]).dtype not in _FLOATS:
        return None
    if instruction.op.name == "linear" and instruction.operands[2] is not None:
        return None
    return product_reads(instruction)


def accepts_epilogue(instruction: Instruction, group: Group) -> bool:
    """Whether a group's operations can be applied to a product's elements before they are stored."""
    return contraction_reads(instruction) is not None


@dataclass
class _Tiles:
    """A product as texts: its sizes, and how its operands' elements are found.

    `bases` run once per block and see `batch`; `left` and `right` are the elements at (row, depth) and (depth, column),
    with the statements before them; `place` is the position of an element in the contiguous result, and sees `batch`,
    `row` and `column`; `known` are dimensions of the result whose index needs no division.
    """

    batches: Dim
    rows: Dim
    columns: Dim
    depth: Dim
    bases: list[str]
    left: tuple[list[str], str]
    right: tuple[list[str], str]
    place: str
    known: dict[int, str] = field(default_factory=dict)
    left_along_rows: bool = False
    right_along_depth: bool = False
    stored_along_rows: bool = False


def lower_contraction(
    instruction: Instruction, group: Group | None, storage: Callable[[Value], Value], target: DeviceTarget
) -> DeviceKernel:
    """The tiled kernel of a product or convolution, with a group's operations on its result."""
    text = DeviceText()
    make = _convolution if instruction.op.name == "conv2d" else _product
    tiles = make(instruction, text, storage)
    value = instruction.results[0]
    dtype = _tensor(value).dtype
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
            _store(text, instruction, group, storage, dtype, tiles)
    blocks = (
        tiles.batches
        * ((tiles.rows + (tile_rows - 1)) // tile_rows)
        * ((tiles.columns + (tile_columns - 1)) // tile_columns)
    )
    members = [instruction, *(group.instructions if group is not None else [])]
    names = list(dict.fromkeys(i.op.name for i in members if i.op.name not in ("constant", "full")))
    where = dict.fromkeys(str(i.location) for i in members if i.location is not None)
    title = ", ".join(names) + (f" ({', '.join(where)})" if where else "")
    traffic: dict[str, Dim | None] = {
        "bytes_moved": None,
        "flops": 2 * tiles.batches * tiles.rows * tiles.columns * tiles.depth,
    }
    stem = "k_" + "_".join(n.replace(".", "_") for n in names[:3])
    return text.finish_kernel(stem, title, traffic, Grid("blocks", blocks, threads=(across, down)))


def _store(
    text: DeviceText,
    instruction: Instruction,
    group: Group | None,
    storage: Callable[[Value], Value],
    dtype: dtypes.DType,
    tiles: _Tiles,
) -> None:
    """Store an element of the result, `value`, or what the group makes of it."""
    value = instruction.results[0]
    if group is None:
        text.line(f"place = {tiles.place}")
        text.store(text.pointer(storage(value), dtype, written=True), "place", Code("value", dtype))
        return
    (read,) = group.accesses[value]
    names = {loop.name: f"i{number}" for number, loop in enumerate(group.loops)}
    text.names = names
    shape = _tensor(value).shape
    wanted = [axis for axis, index in enumerate(read) if not isinstance(index, int)]
    if any(axis not in tiles.known for axis in wanted):
        text.line(f"place = {tiles.place}")
    strides = row_major_strides(shape)
    for axis in wanted:
        part = tiles.known.get(axis)
        if part is None:
            part = "place" if strides[axis] == 1 else f"place // {text.size(strides[axis])}"
            part = part if axis == 0 else f"{part} % {text.size(shape[axis])}"
        text.line(f"{names[str(read[axis])]} = {part}")
    text.scope.variables |= frozenset(names)
    elements = Elements(text, group, storage, INLINE)
    elements.overridden[value] = lambda indices: Code("value", dtype)
    for output, indices in group.outputs.items():
        code = elements.element(output, indices)
        stored = _tensor(output).dtype
        code = cast(code, stored, text.requirements)
        text.store(text.pointer(storage(output), stored, written=True), text.index(position(output, indices)), code)


def _product(instruction: Instruction, text: DeviceText, storage: Callable[[Value], Value]) -> _Tiles:
    product = product_of(instruction)
    left_type, right_type = _tensor(product.a.base), _tensor(product.b.base)
    result = _tensor(instruction.results[0])
    dtype = result.dtype
    bases = [
        "rest = batch",
        "left_base = " + text.size(product.a.offset),
        "right_base = " + text.size(product.b.offset),
    ]
    place = "0"
    for axis in reversed(product.batches):
        at = text.fresh("axis")
        bases += [
            f"{at} = rest % {text.size(axis.extent)}",
            f"rest = rest // {text.size(axis.extent)}",
            f"left_base += {at} * {text.size(axis.a)}",
            f"right_base += {at} * {text.size(axis.b)}",
        ]
        place += f" + {at} * {text.size(axis.c)}"
    place += f" + row * {text.size(product.rows.c)} + column * {text.size(product.columns.c)}"
    x = text.pointer(storage(product.a.base), left_type.dtype)
    w = text.pointer(storage(product.b.base), right_type.dtype)

    def element(pointer: str, address: str, given: dtypes.DType) -> str:
        loaded = text.load(pointer, address, given)
        if given is dtype:
            return loaded
        text.requirements.helpers.add(f"as_{dtype.short}")
        return f"as_{dtype.short}({loaded})"

    a_place = f"left_base + row * {text.size(product.rows.a)} + k * {text.size(product.a_depth)}"
    b_place = f"right_base + k * {text.size(product.b_depth)} + column * {text.size(product.columns.b)}"
    return _Tiles(
        element_count([axis.extent for axis in product.batches]),
        product.rows.extent,
        product.columns.extent,
        product.depth,
        bases,
        ([], element(x, a_place, left_type.dtype)),
        ([], element(w, b_place, right_type.dtype)),
        place,
        _known_dimensions(product, result),
        left_along_rows=product.a_depth != 1,
        right_along_depth=product.b_depth == 1 and product.columns.b != 1,
    )


def _known_dimensions(product: Product, result: TensorType) -> dict[int, str]:
    """Dimensions of a product's result that its rows or its columns are."""
    found = {}
    for axis, (size, stride) in enumerate(zip(result.shape, row_major_strides(result.shape), strict=True)):
        for part, name in ((product.rows, "row"), (product.columns, "column")):
            if size != 1 and part.extent == size and part.c == stride:
                found[axis] = name
    return found


def _convolution(instruction: Instruction, text: DeviceText, storage: Callable[[Value], Value]) -> _Tiles:
    images, weight = instruction.operands[:2]
    assert images is not None and weight is not None
    given, filters, result = _tensor(images), _tensor(weight), _tensor(instruction.results[0])
    groups = instruction.attributes["groups"]
    stride, pads, dilation = geometry(
        "conv2d", filters, *(instruction.attributes[n] for n in ("stride", "padding", "dilation"))
    )
    x_view, w_view = strided_view(images, instruction.block), strided_view(weight, instruction.block)
    xs, ws = view_strides(x_view, given.shape), view_strides(w_view, filters.shape)
    n, channels, height, width = result.shape
    per_group, in_group = channels // groups, filters.shape[1]
    kernel = filters.shape[2:]
    x = text.pointer(storage(x_view.base), given.dtype)
    w = text.pointer(storage(w_view.base), filters.dtype)
    size = text.size
    bases = [
        f"left_base = {size(x_view.offset)} + batch * {size(in_group)} * {size(xs[1])}",
        f"right_base = {size(w_view.offset)} + batch * {size(per_group)} * {size(ws[0])}",
    ]
    taps = kernel[0] * kernel[1]
    before = [
        f"channel, tap = k // {size(taps)}, k % {size(taps)}",
        f"down, right_step = tap // {size(kernel[1])}, tap % {size(kernel[1])}",
        f"y = row // {size(width)} % {size(height)} * {stride[0]} - {size(pads[0])} + down * {dilation[0]}",
        f"z = row % {size(width)} * {stride[1]} - {size(pads[2])} + right_step * {dilation[1]}",
        f"image = row // {size(width * height)}",
        f"inside = y >= 0 and y < {size(given.shape[2])} and z >= 0 and z < {size(given.shape[3])}",
    ]
    address = f"left_base + image * {size(xs[0])} + channel * {size(xs[1])} + y * {size(xs[2])} + z * {size(xs[3])}"
    zero = literal(0, given.dtype)
    filter_address = f"right_base + column * {size(ws[0])} + channel * {size(ws[1])}"
    filter_address += f" + down * {size(ws[2])} + right_step * {size(ws[3])}"
    place = (
        f"((row // {size(width * height)} * {size(channels)} + batch * {size(per_group)} + column) * {size(height)} "
        f"+ row // {size(width)} % {size(height)}) * {size(width)} + row % {size(width)}"
    )
    return _Tiles(
        groups,
        n * height * width,
        per_group,
        in_group * taps,
        bases,
        (before, f"{x}[{address}] if inside else {zero}"),
        (before[:2], f"{w}[{filter_address}]"),
        place,
        {1: f"batch * {size(per_group)} + column"},
        left_along_rows=True,
        right_along_depth=True,
        stored_along_rows=True,
    )
