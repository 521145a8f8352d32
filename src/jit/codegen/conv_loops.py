"""The loop nests of convolutions over images with channels last: tiles of pixels, and filters of one channel each.

Row i of a tile is the window of an output pixel. Kernel rows and columns that only meet padding are left out; where
most of a window is padding, the rows of a tile are one place of several images, which meets even fewer.
"""

from typing import TYPE_CHECKING

from .epilogue import indent
from .gemm import CACHE_SET_PERIOD, GRAIN_MULTIPLY_ADDS, IMPORTS, block_lanes, blocking_source
from .microkernel import TABLE_BYTES, copies_name
from .target import TileShape

if TYPE_CHECKING:
    from .conv import ConvSpec

__all__ = ["CONV_SLOTS", "core_source"]

# Up to so many pixels of an image, a tile may have one place of several images.
_FEW_PLACES = 64
# The slots of a convolution's table; those of the epilogue follow. Strides count elements.
CONV_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "x",  # address of the first window's first element
            "w",  # address of the packed weights
            "y",  # address of the first output element
            "images",
            "channels",  # input channels of one group
            "out_channels",  # output channels of one group
            "groups",
            "out_height",
            "out_width",
            "kernel_height",
            "kernel_width",
            "stride_height",
            "stride_width",
            "dilation_height",
            "dilation_width",
            "x_image_stride",  # of the buffer, border included
            "x_row_stride",
            "x_pixel_stride",  # NHWC: channels of the buffer
            "y_image_stride",
            "y_row_stride",
            "y_pixel_stride",  # NHWC: channels of the buffer; NCHW: 1
            "y_channel_stride",  # NHWC: 1; NCHW: pixels of the buffer
            "in_height",  # of the images without padding, which is 0 or more pixels above and to the left
            "in_width",
            "pad_height",
            "pad_width",
            "row_block",  # written by the plan function, as is all below
            "panel_block",
            "grain",
            "outer_block",
            "inner_block",
            "length_block",
            "by_place",  # whether the rows of a tile are one pixel of several images
        )
    )
}


def core_source(spec: "ConvSpec") -> str:
    """Source of the loop nest `<spec.core_name>(p, lo, hi, store, multiply, height, width)` and its plan function.

    The parameters are those of GEMM's loop nest: one loop nest serves all tiles.
    """
    return _depthwise_core(spec) if spec.depthwise else _dense_core(spec)


def _read(*names: str) -> str:
    """A statement that reads slots into variables of the same names."""
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {CONV_SLOTS[n]})' for n in names)}"


def _live(name: str, first: str, last: str, axis: str) -> str:
    """Statements for the kernel elements of one direction that the windows of some pixels have inside the image."""
    stride, dilation, pad = f"stride_{axis}", f"dilation_{axis}", f"pad_{axis}"
    return f"""
first_{name} = min(max(0, (pad_{axis} - {last} * {stride} + {dilation} - 1) // {dilation}), kernel_{axis})
last_{name} = max(first_{name}, min(kernel_{axis}, (in_{axis} - 1 + {pad} - {first} * {stride}) // {dilation} + 1))
"""


# The segments of one window: kernel rows where a row of the window is contiguous, else single kernel elements.
_SEGMENTS = f"""
{_live("live_row", "0", "(out_height - 1)", "height").strip()}
{_live("live_column", "0", "(out_width - 1)", "width").strip()}
outer, inner, length = kernel_height, kernel_width, channels
first_inner, last_inner, first_place, last_place = first_live_column, last_live_column, 0, channels
if groups == 1 and dilation_width == 1 and x_pixel_stride == channels:
    inner, length = 1, kernel_width * channels
    first_inner, last_inner = 0, 1
    first_place, last_place = first_live_column * channels, last_live_column * channels
"""


def _dense_core(spec: "ConvSpec") -> str:
    slots, size = CONV_SLOTS, spec.tile.element_bytes
    lanes = block_lanes(spec.target, spec.dtype)
    return f"""{IMPORTS}
gather_rows = copies({spec.dtype!r}, {lanes})["gather_rows_{copies_name(spec.dtype, lanes)}"]


@kernel
def {spec.core_name}_plan(p, threads, rows, columns, block, l2_bytes):
    {_read("images", "channels", "out_channels", "groups", "out_height", "out_width")}
    {_read("kernel_height", "kernel_width", "stride_height", "stride_width", "x_pixel_stride")}
    {_read("dilation_height", "dilation_width", "in_height", "in_width", "pad_height", "pad_width")}
    batches, m = groups, images * out_height * out_width
    panels, row_tiles = (out_channels + columns - 1) // columns, (m + rows - 1) // rows
{indent(_SEGMENTS, 4)}
    # Where most of a window is padding, the pixels of a tile are one place of several images: it meets fewer elements.
    by_place, downs, rights = 0, 0, 0
    if out_height * out_width <= {_FEW_PLACES} and images > 0:
        for y in range(out_height):
{indent(_live("row", "y", "y", "height"), 12)}
            downs += last_row - first_row
        for x in range(out_width):
{indent(_live("column", "x", "x", "width"), 12)}
            rights += last_column - first_column
        image_tiles = (images + rows - 1) // rows
        # A tile of few rows costs as much as one of four.
        together = row_tiles * rows if m > rows else max(m, 4)
        apart = image_tiles * rows if images > rows else max(images, 4)
        together *= (last_live_row - first_live_row) * (last_live_column - first_live_column)
        if downs * rights * apart * 4 < together * 3:
            by_place, row_tiles = 1, out_height * out_width * image_tiles
    k = outer * inner * length
    # Blocks of at most `block`: whole kernel rows, or parts of one, or parts of a segment, of equal length.
    outer_block, inner_block, length_block = max(1, block // max(1, inner * length)), inner, length
    if inner * length > block:
        inner_block = block // max(1, length)
    if length > block:
        parts = (length + block - 1) // block
        length_block = (length + parts - 1) // parts
    outer_block, inner_block, length_block = min(outer_block, max(1, outer)), max(1, inner_block), max(1, length_block)
    if by_place == 1 or last_live_column - first_live_column < kernel_width:
        # What is left of each kernel row does not follow the one before in the packed weights.
        outer_block = 1
    depth = min(outer_block, outer) * min(inner_block, inner) * min(length_block, length)
{indent(blocking_source(spec.dtype), 4)}
    set_slot_i64(p, {slots["row_block"]}, row_block * rows)
    set_slot_i64(p, {slots["panel_block"]}, panel_block)
    set_slot_i64(p, {slots["grain"]}, grain)
    set_slot_i64(p, {slots["outer_block"]}, outer_block)
    set_slot_i64(p, {slots["inner_block"]}, inner_block)
    set_slot_i64(p, {slots["length_block"]}, length_block)
    set_slot_i64(p, {slots["by_place"]}, by_place)
    return items


{_kernel_head(spec)}
    {_read("channels", "out_channels", "groups")}
    {_read("row_block", "panel_block")}
    {_read("outer_block", "inner_block", "length_block", "by_place")}
    {_read("in_height", "in_width", "pad_height", "pad_width")}
{indent(_SEGMENTS, 4)}
    k, m = outer * inner * length, images * out_height * out_width
    image_tiles = (images + height - 1) // height
    if by_place == 1:
        m = out_height * out_width * image_tiles * height
    panels = (out_channels + width - 1) // width
    panel_blocks = (panels + panel_block - 1) // panel_block
    row_blocks = (m + row_block - 1) // row_block
    row_bytes = width * {size}
    one_block = outer_block >= last_live_row - first_live_row and inner_block >= last_inner - first_inner
    one_block = one_block and length_block >= last_place - first_place
    tile_step = 0 if one_block else height * row_bytes
    # Neighbouring windows that would push each other out of the L1 cache are copied where several panels use them.
    gather = panel_block > 1 and m > 1 and x_right % {CACHE_SET_PERIOD} == 0
    dense, gathered = table + {2 * TABLE_BYTES}, row_buffer()
    gathered_stride = outer_block * inner_block * length_block * {size} // 64 * 64 + 128
    for item in range(lo, hi):
        group = item // (row_blocks * panel_blocks)
        first_row = item % row_blocks * row_block
        last_row = min(first_row + row_block, m)
        first_panel = item // row_blocks % panel_blocks * panel_block
        last_panel = min(first_panel + panel_block, panels)
        x_group, w_group = x + group * channels * {size}, w + group * panels * k * row_bytes
        # One block of the window after the other; an empty window (no channels) still stores its zeros.
        seen = 0
        for outer_start in range(first_live_row, max(last_live_row, first_live_row + 1), outer_block):
            for inner_start in range(first_inner, max(last_inner, first_inner + 1), inner_block):
                for start in range(first_place, max(last_place, first_place + 1), length_block):
                    outer_count = min(outer_block, last_live_row - outer_start)
                    inner_count = min(inner_block, last_inner - inner_start)
                    length_count = min(length_block, last_place - start)
                    is_last = (
                        outer_start + outer_block >= last_live_row
                        and inner_start + inner_block >= last_inner
                        and start + length_block >= last_place
                    )
                    tile = tiles
                    for i in range(first_row, last_row, height):
                        rows = min(height, last_row - i)
                        outer_at, inner_at, at = outer_start, inner_start, start
                        outers, inners, segment = outer_count, inner_count, length_count
                        first_image, down, right = 0, 0, 0
                        if by_place == 1:
                            first_image, place = i % (image_tiles * height), i // (image_tiles * height)
                            down, right = place // out_width, place % out_width
                            rows = min(height, images - first_image)
{indent(_fill_place("x_group"), 28)}
{indent(_live("row_live", "down", "down", "height"), 28)}
{indent(_live("column", "right", "right", "width"), 28)}
                            outer_at = max(outer_start, first_row_live)
                            outers = max(0, min(outer_start + outer_count, last_row_live) - outer_at)
                            if length == channels:
                                inner_at = max(inner_start, first_column)
                                inners = max(0, min(inner_start + inner_count, last_column) - inner_at)
                            else:
                                at = max(start, first_column * channels)
                                segment = max(0, min(start + length_count, last_column * channels) - at)
                            if inners * segment == 0:
                                outers = 0
                        else:
{indent(_fill_tables("x_group"), 28)}
                        start_offset = outer_at * outer_stride + inner_at * inner_stride + at * {size}
                        depth, windows = (outer_at * inner + inner_at) * length + at, table
                        if gather and outers > 0:
                            gather_rows(table, dense, height, rows, start_offset, outers, outer_stride,
                                inners, inner_stride, segment, {size}, gathered, gathered_stride)
                            windows, start_offset, segment = dense, 0, outers * inners * segment
                            outers, inners = 1, 1
                        for panel in range(first_panel, last_panel):
                            channel = panel * width
                            w_rows = w_group + (panel * k + depth) * row_bytes
                            call_tile(multiply, windows, rows, start_offset, w_rows, tile, seen,
                                outers, outer_stride, inners, inner_stride, segment, {size}, row_bytes)
                            if is_last and by_place == 1:
                                for t in range(rows):
                                    pixel = ((first_image + t) * out_height + down) * out_width + right
                                    call_store(store, p, tile + t * row_bytes, offset_table + t * 8, group, pixel,
                                        group * out_channels + channel, 1, min(width, out_channels - channel))
                            elif is_last:
                                call_store(store, p, tile, offset_table, group, i, group * out_channels + channel,
                                    rows, min(width, out_channels - channel))
                            tile += tile_step
                    seen = 1
"""


def _kernel_head(spec: "ConvSpec") -> str:
    """The start of a loop nest: the parameters, the strides that follow from them (of x in bytes), the stack memory."""
    slots, size = CONV_SLOTS, spec.tile.element_bytes
    return f"""
@kernel
def {spec.core_name}(p, lo, hi, store, multiply, height, width):
    x, w = slot_i64(p, {slots["x"]}), slot_i64(p, {slots["w"]})
    {_read("images", "out_height", "out_width")}
    {_read("kernel_height", "kernel_width", "stride_height", "stride_width")}
    {_read("dilation_height", "dilation_width")}
    {_read("x_image_stride", "x_row_stride", "x_pixel_stride")}
    {_read("y_image_stride", "y_row_stride", "y_pixel_stride")}
    x_image, x_row, x_pixel = x_image_stride * {size}, x_row_stride * {size}, x_pixel_stride * {size}
    x_down, x_right = stride_height * x_row, stride_width * x_pixel
    outer_stride, inner_stride = dilation_height * x_row, dilation_width * x_pixel
    # The addresses of a tile's windows, and the offsets of their pixels in the result.
    tiles, table = tile_buffer(), row_table()
    offset_table = table + {TABLE_BYTES}
    addresses, offsets = pointer_i64(table), pointer_i64(offset_table)
""".strip("\n")


def _fill_place(start: str) -> str:
    """The same for one place (`down`, `right`) of images first_image .. first_image + rows - 1."""
    return f"""
address = {start} + first_image * x_image + down * x_down + right * x_right
offset = first_image * y_image_stride + down * y_row_stride + right * y_pixel_stride
for t in range(height):
    addresses[t], offsets[t] = address, offset
    if t < rows - 1:
        address += x_image
        offset += y_image_stride
"""


def _fill_tables(start: str) -> str:
    """Statements that give the windows' addresses and the results' offsets of pixels i .. i + height - 1.

    Rows that are missing from the tile repeat the last pixel.
    """
    return f"""
image, pixel = i // (out_height * out_width), i % (out_height * out_width)
down, right = pixel // out_width, pixel % out_width
t = 0
while t < rows:
    # As many pixels as follow on this output row.
    count = min(rows - t, out_width - right)
    address = {start} + image * x_image + down * x_down + right * x_right
    offset = image * y_image_stride + down * y_row_stride + right * y_pixel_stride
    for s in range(t, t + count):
        addresses[s] = address
        offsets[s] = offset
        address += x_right
        offset += y_pixel_stride
    t += count
    right = 0
    down += 1
    if down == out_height:
        down = 0
        image += 1
for t in range(rows, height):
    addresses[t] = addresses[rows - 1]
"""


def _grouped_sum(tile: TileShape) -> str:
    """Statements that add the products of one place of a window, for some columns."""
    if tile.inputs == 1:
        return f"""
for s in range(columns):
    total[s] += x[y * x_down + z * x_right + s] * w[(y * kernel_width + z) * {tile.columns} + s]
"""
    return f"""
for k in range({tile.inputs}):
    for s in range(columns):
        near = y * x_down + z * x_right + s // {tile.inputs} * {tile.inputs} + k
        total[s] += x[near] * w[((y * kernel_width + z) * {tile.inputs} + k) * {tile.columns} + s]
"""


def _depthwise_core(spec: "ConvSpec") -> str:
    tile, slots = spec.tile, CONV_SLOTS
    size, row_bytes, pointer = tile.element_bytes, tile.columns * tile.element_bytes, f"pointer_{spec.dtype}"
    return f"""{IMPORTS}

@kernel
def {spec.core_name}_plan(p, threads, rows, columns, block, l2_bytes):
    {_read("images", "groups", "out_height", "out_width", "kernel_height", "kernel_width")}
    m = images * out_height * out_width
    row_block = min(4, max(1, m // ({4 * tile.rows} * threads))) * {tile.rows}
    set_slot_i64(p, {slots["row_block"]}, row_block)
    # Each multiply-add is a load, so an item of the same cost does fewer of them than a product.
    work = min(m, row_block) * groups * (kernel_height * kernel_width * {tile.inputs} + 4)
    set_slot_i64(p, {slots["grain"]}, {GRAIN_MULTIPLY_ADDS // 4} // (work + 1) + 1)
    return (m + row_block - 1) // row_block


@body
def add_products(total, x, w, columns, kernel_height, kernel_width, x_down, x_right):
    for s in range(columns):
        total[s] = 0
    for y in range(kernel_height):
        for z in range(kernel_width):
{indent(_grouped_sum(tile), 12)}


{_kernel_head(spec)}
    {_read("groups", "row_block")}
    m, channels = images * out_height * out_width, groups
    panels = (channels + {tile.columns - 1}) // {tile.columns}
    panel_bytes = kernel_height * kernel_width * {tile.inputs * row_bytes}
    for item in range(lo, hi):
        last_row = min((item + 1) * row_block, m)
        for i in range(item * row_block, last_row, height):
            rows = min(height, last_row - i)
{indent(_fill_tables("x"), 12)}
            for panel in range(panels):
                columns = min({tile.columns}, channels - panel * {tile.columns})
                if columns == {tile.columns}:
                    call_tile(multiply, table, rows, panel * {row_bytes}, w + panel * panel_bytes, tiles, 0,
                        kernel_height, outer_stride, 1, 0, kernel_width, inner_stride, {tile.inputs * row_bytes})
                else:
                    # Whole vectors would read past the last pixel's channels.
                    for t in range(rows):
                        add_products({pointer}(tiles + t * {row_bytes}), {pointer}(addresses[t] + panel * {row_bytes}),
                            {pointer}(w + panel * panel_bytes), columns, kernel_height, kernel_width,
                            outer_stride // {size}, inner_stride // {size})
                call_store(store, p, tiles, offset_table, 0, i, panel * {tile.columns}, rows, columns)
"""
