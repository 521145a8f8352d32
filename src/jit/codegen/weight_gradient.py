"""The gradient of a convolution's weight: a product over pixels, summed in registers.

Element (tap, channel, output channel) is the sum over all pixels of the input under the tap times the gradient: a
matrix product whose depth is the pixels. Its rows are read where they lie, each from an address of its own on with the
pixels' stride (the micro-kernel takes a table of addresses), inside the border that the padding needs; the gradient is
packed into panels, block of pixels by block. Few results of many pixels are cut into chunks, which a second kernel adds
in order: how many depends on the sizes alone. With one filter per channel, rows are taps, and channels are multiplied
with channels.
"""

from collections.abc import Sequence

from ...ir.core import Instruction, Value
from ...ir.dims import Dim, dim_max
from ...ir.dtypes import DType
from ...ir.types import TensorType
from .access import StridedView, forward_view
from .contraction import add_shared, view_address
from .convolution import padded_images
from .driver import Driver
from .epilogue import indent
from .gemm import GRAIN_MULTIPLY_ADDS, IMPORTS, block_lanes, dot_tile, shared_sources
from .image_layout import ImageLayout, layout_of
from .indexing import element_count
from .kernel_text import named_source
from .microkernel import PANEL_ROWS, TILES_PER_ITEM, copies_name, microkernel_call
from .module import KernelSource
from .target import Target, TileShape, tile_shape

__all__ = ["run_weight_gradient", "weight_gradient_reads"]

# Items that a sum over pixels is cut into at most, where there are fewer results.
_CHUNKS = 16
# Images up to this many pixels are taken several at a time.
_SMALL_IMAGE = 128

_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "x",
            "g",
            "partial",
            "images",
            "out_height",
            "out_width",
            "groups",
            "channels",  # of a group
            "out_channels",  # of a group
            "kernel_height",
            "kernel_width",
            "x_image",  # strides, in elements
            "x_channel",
            "x_row",
            "x_pixel",
            "x_down",  # between the windows of neighbouring output pixels
            "x_right",
            "x_tap_down",  # between neighbouring elements of a window
            "x_tap_right",
            "g_image",
            "g_channel",
            "g_row",
            "g_pixel",
            "chunks",
        )
    )
}


def weight_gradient_reads(instruction: Instruction) -> list[Value] | None:
    """What the gradient of a weight reads from memory."""
    if instruction.op.name != "conv2d_weight_grad":
        return None
    return [v if layout_of(v) is not None else forward_view(v, instruction.block).base for v in instruction.inputs[:2]]


def _read(*names: str) -> str:
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {_SLOTS[n]})' for n in names)}"


_HEAD = f"""
{_read("x", "g", "partial")}
{_read("images", "out_height", "out_width", "groups", "channels", "out_channels")}
{_read("kernel_height", "kernel_width")}
{_read("x_image", "x_channel", "x_down", "x_right", "x_tap_down", "x_tap_right")}
{_read("g_image", "g_channel", "g_row", "g_pixel", "chunks")}
# Blocks of pixels: several small images, rows of an image, or a part of a long row.
images_step, rows_step, columns_step = 1, 1, min(out_width, {PANEL_ROWS})
if out_height * out_width <= {_SMALL_IMAGE}:
    images_step, rows_step = {_SMALL_IMAGE} // max(1, out_height * out_width), out_height
elif out_width <= {PANEL_ROWS}:
    rows_step = {PANEL_ROWS} // out_width
column_parts = (out_width + columns_step - 1) // max(1, columns_step)
row_parts = (out_height + rows_step - 1) // max(1, rows_step)
blocks = (images + images_step - 1) // images_step * row_parts * column_parts
"""


def _source(name: str, tile: TileShape, lanes: int) -> str:
    """Source of `<name>(p, lo, hi)` over chunks x groups x panels x blocks of rows, which stores partial sums."""
    size, width, height = tile.element_bytes, tile.columns, tile.rows
    whole_rows, row_bytes = TILES_PER_ITEM * height, tile.row_bytes
    pointer = f"pointer_{tile.dtype}"
    if tile.per_channel:
        row = f"(row // kernel_width * x_tap_down + row % kernel_width * x_tap_right + panel * {width}) * {size}"
        product = f"""
if columns == {width}:
    multiply_tile(table, rows, offset, panel_rows, tile, seen, image_count, x_image * {size}, row_count,
        x_down * {size}, column_count, x_right * {size}, {row_bytes})
else:
    # Whole vectors would read past the last pixel's channels.
    for t in range(rows):
        add_products({pointer}(tile + t * {row_bytes}), {pointer}(addresses[t] + offset), {pointer}(panel_rows),
            columns, seen, image_count, x_image, row_count, x_down, column_count, x_right)
"""
        sizes, channel = "rows_all, channels_all, groups_all = kernel_height * kernel_width, groups, 1", "0"
    else:
        row = (
            "(row // channels // kernel_width * x_tap_down + row // channels % kernel_width * x_tap_right"
            f" + (group * channels + row % channels) * x_channel) * {size}"
        )
        product = f"""
multiply_tile(table, rows, offset, panel_rows, tile, seen, image_count, x_image * {size}, row_count,
    x_down * {size}, column_count, x_right * {size}, {row_bytes})
"""
        sizes = "rows_all, channels_all, groups_all = kernel_height * kernel_width * channels, out_channels, groups"
        channel = "group * out_channels"
    return f"""{IMPORTS}
pack_panel = copies({tile.dtype!r}, {lanes})["pack_panel_{copies_name(tile.dtype, lanes)}"]
multiply_tile = {microkernel_call(tile)}.multiply_tile


@body
def add_products(total, x, g, columns, seen, images, x_image, rows, x_down, length, x_right):
    if seen == 0:
        for s in range(columns):
            total[s] = 0
    for n in range(images):
        for r in range(rows):
            for q in range(length):
                place, given = n * x_image + r * x_down + q * x_right, ((n * rows + r) * length + q) * {width}
                for s in range(columns):
                    total[s] += x[place + s] * g[given + s]


@body
def copy_tile(source, target, count, clear):
    for s in range(count):
        target[s] = source[s] if clear == 0 else source[s] * 0


@body
def clear_tile(target, count):
    for s in range(count):
        target[s] = 0


@kernel
def {name}(p, lo, hi):
{indent(_HEAD, 4)}
    {sizes}
    panels, row_blocks = (channels_all + {width - 1}) // {width}, (rows_all + {whole_rows - 1}) // {whole_rows}
    tiles, table, panel_rows = tile_buffer(), row_table(), panel_buffer()
    addresses = pointer_i64(table)
    for item in range(lo, hi):
        first_row = item % row_blocks * {whole_rows}
        last_row = min(first_row + {whole_rows}, rows_all)
        panel, group = item // row_blocks % panels, item // (row_blocks * panels) % groups_all
        chunk = item // (row_blocks * panels * groups_all)
        columns, seen = min({width}, channels_all - panel * {width}), 0
        for block in range(chunk * blocks // chunks, (chunk + 1) * blocks // chunks):
            column, row_at = block % column_parts * columns_step, block // column_parts % row_parts * rows_step
            image = block // (column_parts * row_parts) * images_step
            column_count, row_count = min(columns_step, out_width - column), min(rows_step, out_height - row_at)
            image_count = min(images_step, images - image)
            target = panel_rows
            for n in range(image_count):
                for r in range(row_count):
                    start = (image + n) * g_image + (row_at + r) * g_row + column * g_pixel
                    start += ({channel} + panel * {width}) * g_channel
                    pack_panel(g + start * {size}, target, {width}, g_pixel * {size}, g_channel * {size},
                        column_count, columns)
                    target += column_count * {row_bytes}
            offset = (image * x_image + row_at * x_down + column * x_right) * {size}
            tile = tiles
            for first in range(first_row, last_row, {height}):
                rows = min({height}, last_row - first)
                for t in range({height}):
                    row = first + min(t, rows - 1)
                    addresses[t] = x + {row}
{indent(product, 16)}
                tile += {height * row_bytes}
            seen = 1
        out = partial + (((chunk * groups_all + group) * panels + panel) * rows_all + first_row) * {row_bytes}
        if seen == 0:
            clear_tile({pointer}(out), (last_row - first_row) * {width})
        else:
            copy_tile({pointer}(tiles), {pointer}(out), (last_row - first_row) * {width}, 0)
"""


_JOIN = ("partial", "y", "chunks", "groups", "panels", "rows", "out_channels", "channels", "taps")


def _join_source(name: str, tile: TileShape) -> str:
    """Source of `<name>(p, lo, hi)` over groups x panels x rows, which adds the chunks in order."""
    width, pointer = tile.columns, f"pointer_{tile.dtype}"
    return f"""{IMPORTS}

@body
def add_chunks(total, partial, chunks, step):
    for s in range({width}):
        total[s] = partial[s]
    for c in range(1, chunks):
        for s in range({width}):
            total[s] += partial[c * step + s]


@body
def spread(total, y, count, step):
    for s in range(count):
        y[s * step] = total[s]


@kernel
def {name}(p, lo, hi):
    {", ".join(_JOIN)} = {", ".join(f"slot_i64(p, {i})" for i in range(len(_JOIN)))}
    total = {pointer}(panel_buffer())
    for item in range(lo, hi):
        row, panel, group = item % rows, item // rows % panels, item // (rows * panels)
        add_chunks(total, {pointer}(partial + item * {tile.row_bytes}), chunks, groups * panels * rows * {width})
        place = ((group * out_channels + panel * {width}) * channels + row % channels) * taps + row // channels
        spread(total, {pointer}(y + place * {tile.element_bytes}), min({width}, out_channels - panel * {width}),
            channels * taps)
"""


def run_weight_gradient(driver: Driver, instruction: Instruction, target: Target) -> None:
    """Run the gradient of a weight."""
    gradient, source = instruction.inputs[:2]
    result = instruction.results[0]
    g_type, x_type, w_type = (v.type for v in (gradient, source, result))
    assert isinstance(g_type, TensorType) and isinstance(x_type, TensorType) and isinstance(w_type, TensorType)
    dtype = x_type.dtype
    a = instruction.attributes
    stride, pads, dilation, groups = (a[n] for n in ("stride", "padding", "dilation", "groups"))
    out_channels, channels = w_type.shape[0] // groups, w_type.shape[1]
    per_channel = groups > 1 and channels == 1 and out_channels == 1
    known = out_channels if isinstance(out_channels, int) else None
    tile = dot_tile(target, dtype.short) if per_channel else tile_shape(target, dtype.short, known)
    x, x_strides = _input_of(driver, instruction, source, tuple(pads), per_channel, dtype)
    g, g_strides = _stored(driver, gradient, instruction, dtype)
    storage = driver.store(result)
    kernel = w_type.shape[2:]
    rows = element_count(kernel) if per_channel else element_count([*kernel, channels])
    columns, outer = (groups, 1) if per_channel else (out_channels, groups)
    panels = (columns + (tile.columns - 1)) // tile.columns
    row_blocks = (rows + (TILES_PER_ITEM * tile.rows - 1)) // (TILES_PER_ITEM * tile.rows)
    whole = outer * panels * row_blocks
    chunks = dim_max(1, _CHUNKS // dim_max(whole, 1))
    partial = driver.temporary(chunks * outer * panels * rows * tile.columns, dtype)
    lanes = block_lanes(target, dtype.short)
    title = instruction.op.name + (f" ({instruction.location})" if instruction.location is not None else "")
    name, text = named_source("k_weight_gradient", lambda n: _source(n, tile, lanes))
    work = element_count([*g_type.shape, channels, *kernel])
    driver.add_kernel(KernelSource(name, f"# {title}\n{text}", title=title, flops=work * 2))
    add_shared(driver, shared_sources((tile,), target))
    sizes: dict[str, Dim] = {
        "images": g_type.shape[0],
        "out_height": g_type.shape[2],
        "out_width": g_type.shape[3],
        "groups": groups,
        "channels": channels,
        "out_channels": out_channels,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "x_image": x_strides[0],
        "x_channel": x_strides[1],
        "x_row": x_strides[2],
        "x_pixel": x_strides[3],
        "x_down": x_strides[2] * stride[0],
        "x_right": x_strides[3] * stride[1],
        "x_tap_down": x_strides[2] * dilation[0],
        "x_tap_right": x_strides[3] * dilation[1],
        "g_image": g_strides[0],
        "g_channel": g_strides[1],
        "g_row": g_strides[2],
        "g_pixel": g_strides[3],
        "chunks": chunks,
    }
    driver.touch(partial)
    slots = {"x": x, "g": g, "partial": partial.address} | {n: driver.size(d) for n, d in sizes.items()}
    for slot, value in slots.items():
        driver.set_slot(_SLOTS[slot], "i64", value)
    per_item = work // dim_max(whole * chunks, 1) + 1
    grain = f"{GRAIN_MULTIPLY_ADDS} // {driver.size(per_item)} + 1"
    driver.line(f"launch({name}, p, {driver.size(chunks * whole)}, {grain}, pool)")
    driver.clock += 1
    driver.touch(partial)
    join, text = named_source("k_weight_gradient_join", lambda n: _join_source(n, tile))
    driver.add_kernel(KernelSource(join, f"# {title}, chunks joined\n{text}", title=f"{title}, chunks joined"))
    taps = element_count(kernel)
    joined: list[Dim] = [chunks, outer, panels, rows, columns, 1 if per_channel else channels, taps]
    for index, value in enumerate([partial.address, storage.address, *(driver.size(d) for d in joined)]):
        driver.set_slot(index, "i64", value)
    driver.line(f"launch({join}, p, {driver.size(outer * panels * rows)}, 64, pool)")
    driver.touch(storage)
    driver.clock += 1


def _stored(driver: Driver, value: Value, instruction: Instruction, dtype: DType) -> tuple[str, Sequence[Dim]]:
    """The address of an image's first pixel, and its strides: of channels last, or of the view that it is."""
    assert isinstance(value.type, TensorType)
    layout = layout_of(value)
    if layout is None:
        view = forward_view(value, instruction.block)
        return view_address(driver, view, dtype.itemsize), view.strides
    first = layout.first(value.type.shape)
    address = driver.address(value)
    return (
        address if first == 0 else f"{address} + {driver.size(first * dtype.itemsize)}",
        layout.strides(value.type.shape),
    )


def _input_of(
    driver: Driver,
    instruction: Instruction,
    source: Value,
    pads: tuple[int, int, int, int],
    channels_last: bool,
    dtype: DType,
) -> tuple[str, Sequence[Dim]]:
    """The address of the padded input's first element, and its strides."""
    assert isinstance(source.type, TensorType)
    shape = source.type.shape
    layout = layout_of(source)
    if layout is None and (any(pads) or channels_last):
        view: StridedView = forward_view(source, instruction.block)
        buffer = padded_images(driver, instruction, view, shape, pads, dtype)
        driver.touch(buffer)
        return buffer.address, ImageLayout(*pads).strides(shape)
    address, strides = _stored(driver, source, instruction, dtype)
    before = strides[2] * pads[0] + strides[3] * pads[2]
    return address if before == 0 else f"{address} - {driver.size(before * dtype.itemsize)}", strides
