"""Two-dimensional convolution for the CPU: source of range kernels over NHWC images, with no im2col.

The public layout is NCHW; kernels work on NHWC buffers whose border already holds the padding. The pieces are

- `to_nhwc_source`: NCHW (any strides) to padded NHWC, border included;
- `conv_source`: NHWC to NHWC (inside a padded buffer or not) or to NCHW, with an epilogue;
- `depthwise_source`: the same for one filter per channel, vectorised over channels;
- `zero_border_source`: clears the border of a buffer whose inside a convolution writes;
- `to_nchw_source`: NHWC to NCHW,

so that consecutive convolutions stay in NHWC. A convolution is the GEMM micro-kernel over pixels: row i of A is the
window of output pixel i, whatever its image, row or stride, and B the weights packed as (kernel row, kernel column,
channel) x output channel. A kernel row of an undilated, ungrouped window is contiguous in NHWC: it is one segment.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .gemm import GRAIN_MULTIPLY_ADDS, Epilogue, blocking_source, indent, pack_b_numpy, store_source
from .target import Target, TileShape, host_target, tile_shape

# The slots of a convolution's table. Strides count elements.
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
            "row_block",  # written by the plan function, as is all below
            "panel_block",
            "grain",
            "outer_block",
            "inner_block",
            "length_block",
        )
    )
}
# The first slot of the epilogue's own parameters.
CONV_FIRST_EXTRA = len(CONV_SLOTS)


@dataclass(frozen=True)
class ConvSpec:
    """What is known about a convolution when its kernel is generated; everything else is read at run time.

    `out_channels` (of one group) picks the tile, as the packed weights need; `nchw_output` stores the result in NCHW.
    """

    dtype: str = "f32"
    out_channels: int | None = None
    nchw_output: bool = False
    target: Target = field(default_factory=host_target)

    @property
    def tile(self) -> TileShape:
        """The micro-kernel tile; weights must have been packed for it."""
        return tile_shape(self.target, self.dtype, self.out_channels)

    @property
    def k_block(self) -> int:
        """How much of (kernel row, kernel column, channel) is summed before the next panel's turn."""
        block = self.target.l2_bytes // (10 * self.tile.columns * self.tile.element_bytes)
        return min(max(block // 64 * 64, 256), 1024)


def pack_conv_numpy(weight: np.ndarray[Any, Any], groups: int, tile: TileShape) -> np.ndarray[Any, Any]:
    """Weights (O, C / groups, KH, KW) as (groups, panels, KH * KW * C / groups, tile.columns), zero past the end.

    >>> pack_conv_numpy(np.ones((40, 3, 5, 5), np.float32), 1, TileShape("f32", 14, 2, 16)).shape
    (1, 2, 75, 32)
    """
    if weight.ndim != 4 or groups < 1 or weight.shape[0] % groups != 0:
        raise ValueError(
            f"pack_conv_numpy: weight has shape {list(weight.shape)} with {groups} groups, expected "
            f"(out_channels, channels / groups, height, width) and out_channels divisible by groups"
        )
    out_channels, channels, height, width = weight.shape
    matrix = weight.reshape(groups, out_channels // groups, channels, height, width).transpose(0, 3, 4, 2, 1)
    return pack_b_numpy(matrix.reshape(groups, height * width * channels, out_channels // groups), tile)


def _read(*names: str) -> str:
    """A statement that reads slots into variables of the same names."""
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {CONV_SLOTS[n]})' for n in names)}"


# The segments of one window: kernel rows where a row of the window is contiguous, else single kernel elements.
_SEGMENTS = """
outer, inner, length = kernel_height, kernel_width, channels
if groups == 1 and dilation_width == 1 and x_pixel_stride == channels:
    inner, length = 1, kernel_width * channels
"""


def conv_plan_source(name: str, spec: ConvSpec) -> str:
    """Source of `<name>(p, threads)`, which cuts a convolution into items: it writes the last slots of `CONV_SLOTS`.

    It returns the number of items. It depends on the spec alone, so that kernels with other epilogues share it.
    """
    tile, slots = spec.tile, CONV_SLOTS
    return f"""
@kernel
def {name}(p, threads):
    {_read("images", "channels", "out_channels", "groups", "out_height", "out_width")}
    {_read("kernel_height", "kernel_width", "dilation_width", "x_pixel_stride")}
    batches, m = groups, images * out_height * out_width
    panels = (out_channels + {tile.columns - 1}) // {tile.columns}
    row_tiles = (m + {tile.rows - 1}) // {tile.rows}
{indent(_SEGMENTS, 4)}
    k = outer * inner * length
    # Blocks of about {spec.k_block}: whole kernel rows, or parts of one, or parts of a segment, of equal length.
    outer_block, inner_block, length_block = max(1, {spec.k_block} // max(1, inner * length)), inner, length
    if inner * length > {spec.k_block}:
        inner_block = max(1, {spec.k_block} // max(1, length))
    if length > {spec.k_block}:
        parts = (length + {spec.k_block - 1}) // {spec.k_block}
        length_block = (length + parts - 1) // parts
    outer_block, inner_block, length_block = min(outer_block, max(1, outer)), max(1, inner_block), max(1, length_block)
    depth = min(outer_block, outer) * min(inner_block, inner) * min(length_block, length)
{indent(blocking_source(tile, spec.target, spec.k_block), 4)}
    set_slot_i64(p, {slots["row_block"]}, row_block * {tile.rows})
    set_slot_i64(p, {slots["panel_block"]}, panel_block)
    set_slot_i64(p, {slots["grain"]}, grain)
    set_slot_i64(p, {slots["outer_block"]}, outer_block)
    set_slot_i64(p, {slots["inner_block"]}, inner_block)
    set_slot_i64(p, {slots["length_block"]}, length_block)
    return items
""".lstrip("\n")


def conv_source(name: str, spec: ConvSpec, epilogue: Epilogue | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over items, and of its inner function `<name>_store`.

    The table is laid out as `CONV_SLOTS` says, followed by the epilogue's parameters. In the epilogue `i` is the output
    pixel (counted over all images), `j` the output channel, and `at` the offset of the element from the address `y`.
    """
    epilogue = epilogue or Epilogue()
    tile = spec.tile
    size, row_bytes = tile.element_bytes, tile.columns * tile.element_bytes
    kernel = f"""
{_kernel_head(name, tile, epilogue)}
    {_read("row_block", "panel_block")}
    {_read("outer_block", "inner_block", "length_block")}
{indent(_SEGMENTS, 4)}
    k, m = outer * inner * length, images * out_height * out_width
    panels = (out_channels + {tile.columns - 1}) // {tile.columns}
    panel_blocks = (panels + panel_block - 1) // panel_block
    row_blocks = (m + row_block - 1) // row_block
    one_block = outer_block >= outer and inner_block >= inner and length_block >= length
    tile_step = 0 if one_block else {tile.rows * row_bytes}
    for item in range(lo, hi):
        group = item // (row_blocks * panel_blocks)
        first_row = item % row_blocks * row_block
        last_row = min(first_row + row_block, m)
        first_panel = item // row_blocks % panel_blocks * panel_block
        last_panel = min(first_panel + panel_block, panels)
        x_group, w_group = x + group * channels * {size}, w + group * panels * k * {row_bytes}
        # One block of the window after the other; an empty window (no channels) still stores its zeros.
        for outer_start in range(0, max(outer, 1), outer_block):
            for inner_start in range(0, max(inner, 1), inner_block):
                for start in range(0, max(length, 1), length_block):
                    outer_count = min(outer_block, outer - outer_start)
                    inner_count = min(inner_block, inner - inner_start)
                    count = min(length_block, length - start)
                    depth = (outer_start * inner + inner_start) * length + start
                    is_last = (
                        outer_start + outer_block >= outer
                        and inner_start + inner_block >= inner
                        and start + length_block >= length
                    )
                    window = outer_start * outer_stride + inner_start * inner_stride + start * {size}
                    tile = tiles
                    for i in range(first_row, last_row, {tile.rows}):
                        rows = min({tile.rows}, last_row - i)
{indent(_fill_tables(tile, "x_group"), 24)}
                        for panel in range(first_panel, last_panel):
                            first_channel = panel * {tile.columns}
                            multiply_tile_{tile.name}(table, rows, window, w_group + (panel * k + depth) * {row_bytes},
                                tile, depth, outer_count, outer_stride, inner_count, inner_stride, count,
                                {size}, {row_bytes})
                            if is_last:
                                {name}_store(pointer_{tile.dtype}(tile), y{epilogue.names}, 0, offsets,
                                    y_channel_stride, group, i, group * out_channels + first_channel, rows,
                                    min({tile.columns}, out_channels - first_channel))
                            tile += tile_step
"""
    store = _store(name, spec, tile, epilogue, known=spec.out_channels)
    return store.strip("\n") + "\n\n\n" + kernel.lstrip("\n")


def _kernel_head(name: str, tile: TileShape, epilogue: Epilogue) -> str:
    """The start of a kernel: the parameters, the strides that follow from them (of x in bytes), the stack memory."""
    slots, size = CONV_SLOTS, tile.element_bytes
    return f"""
@kernel
def {name}(p, lo, hi):
    x, w = slot_i64(p, {slots["x"]}), slot_i64(p, {slots["w"]})
    y = pointer_{tile.dtype}(slot_i64(p, {slots["y"]}))
    {_read("images", "channels", "out_channels", "groups", "out_height", "out_width")}
    {_read("kernel_height", "kernel_width", "stride_height", "stride_width")}
    {_read("dilation_height", "dilation_width")}
    {_read("x_image_stride", "x_row_stride", "x_pixel_stride")}
    {_read("y_image_stride", "y_row_stride", "y_pixel_stride", "y_channel_stride")}
{indent(chr(10).join(epilogue.unpack(CONV_FIRST_EXTRA)), 4)}
    x_image, x_row, x_pixel = x_image_stride * {size}, x_row_stride * {size}, x_pixel_stride * {size}
    x_down, x_right = stride_height * x_row, stride_width * x_pixel
    outer_stride, inner_stride = dilation_height * x_row, dilation_width * x_pixel
    tiles, table = tile_buffer_{tile.name}(), row_table_{tile.name}()
    addresses, offsets = pointer_i64(table), pointer_i64(table + {tile.rows * 8})
""".strip("\n")


def _fill_tables(tile: TileShape, start: str) -> str:
    """Statements that give the windows' addresses and the results' offsets of pixels i .. i + rows - 1.

    Rows that are missing from the tile repeat the last pixel.
    """
    return f"""
image, pixel = i // (out_height * out_width), i % (out_height * out_width)
down, right = pixel // out_width, pixel % out_width
for t in range({tile.rows}):
    addresses[t] = {start} + image * x_image + down * x_down + right * x_right
    offsets[t] = image * y_image_stride + down * y_row_stride + right * y_pixel_stride
    if t < rows - 1:
        right += 1
        if right == out_width:
            right = 0
            down += 1
            if down == out_height:
                down = 0
                image += 1
"""


def _store(name: str, spec: ConvSpec, tile: TileShape, epilogue: Epilogue, known: int | None = None) -> str:
    """Source of `<name>_store`, which finishes a tile of pixels x channels and stores its valid part."""
    if spec.nchw_output:
        return _nchw_store(name, tile, epilogue)
    return store_source(
        name,
        tile,
        epilogue,
        "offsets[t]",
        "offsets, y_channel_stride",
        full=known is None or known >= tile.columns,
        edge=known is None or known % tile.columns != 0,
    )


def _nchw_store(name: str, tile: TileShape, epilogue: Epilogue) -> str:
    """Finishes the tile in place, where it vectorises over channels, then stores it channel by channel."""
    body = indent(epilogue.body, 12)
    finish = (
        (
            f"    for t in range(rows):\n"
            f"        i = first_row + t\n"
            f"        for s in range(columns):\n"
            f"            j = first_channel + s\n"
            f"            at = offsets[t] + j * y_channel_stride\n"
            f"            v = tile[t * {tile.columns} + s]\n"
            f"{body}\n"
            f"            tile[t * {tile.columns} + s] = v\n"
        )
        if epilogue.body.strip()
        else ""
    )
    return (
        f"@body\n"
        f"def {name}_store(tile, c{epilogue.names}, c_start, offsets, y_channel_stride, batch,\n"
        f"    first_row, first_channel, rows, columns):\n"
        f"{finish}"
        f"    for s in range(columns):\n"
        f"        plane = (first_channel + s) * y_channel_stride\n"
        f"        for t in range(rows):\n"
        f"            c[plane + offsets[t]] = tile[t * {tile.columns} + s]\n"
    )


def depthwise_tile(target: Target, dtype: str) -> TileShape:
    """The tile of depthwise kernels: pixels x one vector of channels.

    >>> from .target import AVX2
    >>> depthwise_tile(AVX2, "f32").name
    'f32_8x1x8_per_channel'
    """
    return TileShape(dtype, 8 if target.registers < 32 else 14, 1, target.lanes(dtype), target.fused, True)


def pack_depthwise_numpy(weight: np.ndarray[Any, Any], tile: TileShape) -> np.ndarray[Any, Any]:
    """Weights (C, 1, KH, KW) of a depthwise convolution packed as (panels, KH * KW, tile.columns), zero past the end.

    >>> pack_depthwise_numpy(np.ones((40, 1, 3, 3), np.float32), TileShape("f32", 14, 1, 16, True, True)).shape
    (3, 9, 16)
    """
    if weight.ndim != 4 or weight.shape[1] != 1:
        raise ValueError(f"pack_depthwise_numpy: weight has shape {list(weight.shape)}, expected (C, 1, KH, KW)")
    return pack_b_numpy(weight.reshape(weight.shape[0], -1).T, tile)


def depthwise_plan_source(name: str, spec: ConvSpec) -> str:
    """Source of `<name>(p, threads)`: returns the number of items and writes `row_block` and `grain`."""
    tile, slots = depthwise_tile(spec.target, spec.dtype), CONV_SLOTS
    return f"""
@kernel
def {name}(p, threads):
    {_read("images", "groups", "out_height", "out_width", "kernel_height", "kernel_width")}
    m = images * out_height * out_width
    row_block = min(4, max(1, m // ({4 * tile.rows} * threads))) * {tile.rows}
    set_slot_i64(p, {slots["row_block"]}, row_block)
    # Each multiply-add is a load, so an item of the same cost does fewer of them than a product.
    work = min(m, row_block) * groups * (kernel_height * kernel_width + 4)
    set_slot_i64(p, {slots["grain"]}, {GRAIN_MULTIPLY_ADDS // 4} // (work + 1) + 1)
    return (m + row_block - 1) // row_block
""".lstrip("\n")


def depthwise_source(name: str, spec: ConvSpec, epilogue: Epilogue | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over items of a depthwise convolution: one filter per channel.

    The table is that of `conv_source` with `channels` and `out_channels` 1 and `groups` the number of channels; the
    weights are packed by `pack_depthwise_numpy`. Whole vectors of channels go through the micro-kernel, the rest
    through a loop.
    """
    epilogue = epilogue or Epilogue()
    tile = depthwise_tile(spec.target, spec.dtype)
    size, row_bytes = tile.element_bytes, tile.columns * tile.element_bytes
    edge = f"""
@body
def {name}_edge(total, x, w, columns, kernel_height, kernel_width, x_down, x_right):
    for s in range(columns):
        total[s] = 0
    for y in range(kernel_height):
        for z in range(kernel_width):
            for s in range(columns):
                total[s] += x[y * x_down + z * x_right + s] * w[(y * kernel_width + z) * {tile.columns} + s]
"""
    kernel = f"""
{_kernel_head(name, tile, epilogue)}
    {_read("row_block")}
    m, channels = images * out_height * out_width, groups
    panels = (channels + {tile.columns - 1}) // {tile.columns}
    panel_bytes = kernel_height * kernel_width * {row_bytes}
    for item in range(lo, hi):
        last_row = min((item + 1) * row_block, m)
        for i in range(item * row_block, last_row, {tile.rows}):
            rows = min({tile.rows}, last_row - i)
{indent(_fill_tables(tile, "x"), 12)}
            for panel in range(panels):
                columns = min({tile.columns}, channels - panel * {tile.columns})
                if columns == {tile.columns}:
                    multiply_tile_{tile.name}(table, rows, panel * {row_bytes}, w + panel * panel_bytes, tiles, 0,
                        kernel_height, outer_stride, kernel_width, inner_stride, 1, 0, {row_bytes})
                else:
                    for t in range(rows):
                        {name}_edge(pointer_{tile.dtype}(tiles + t * {row_bytes}),
                            pointer_{tile.dtype}(addresses[t] + panel * {row_bytes}),
                            pointer_{tile.dtype}(w + panel * panel_bytes), columns, kernel_height, kernel_width,
                            outer_stride // {size}, inner_stride // {size})
                {name}_store(pointer_{tile.dtype}(tiles), y{epilogue.names}, 0, offsets, y_channel_stride,
                    0, i, panel * {tile.columns}, rows, columns)
"""
    return "\n\n".join(part.strip("\n") + "\n" for part in (edge, _store(name, spec, tile, epilogue), kernel))


# The layout kernels' slots. `x` has any strides; buffers are dense.
LAYOUT_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "x",
            "y",
            "images",
            "channels",
            "height",
            "width",
            "x_image_stride",
            "x_channel_stride",
            "x_row_stride",
            "x_column_stride",
            "y_height",  # of the padded buffer, in pixels
            "y_width",
            "top",  # where the image starts in it
            "left",
        )
    )
}


def _read_layout(*names: str) -> str:
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {LAYOUT_SLOTS[n]})' for n in names)}"


def to_nhwc_source(name: str, dtype: str) -> str:
    """Source of `<name>(p, lo, hi)` over the `images * y_height` rows of a padded NHWC buffer (see `LAYOUT_SLOTS`).

    Copies images of any strides (NCHW for one) into the buffer and zeroes the border around each.
    """
    slots, size = LAYOUT_SLOTS, 4 if dtype == "f32" else 8
    return f"""
@body
def {name}_row(x, y, channels, width, x_channel, x_column, y_width, left):
    for s in range(left * channels):
        y[s] = 0
    for s in range((left + width) * channels, y_width * channels):
        y[s] = 0
    start = left * channels
    if channels == 1:
        for s in range(width):
            y[start + s] = x[s * x_column]
    elif x_channel == 1:
        for s in range(width):
            for c in range(channels):
                y[start + s * channels + c] = x[s * x_column + c]
    elif channels < 8:
        for c in range(channels):
            for s in range(width):
                y[start + s * channels + c] = x[c * x_channel + s * x_column]
    else:
        for s in range(width):
            for c in range(channels):
                y[start + s * channels + c] = x[c * x_channel + s * x_column]


@kernel
def {name}(p, lo, hi):
    x, y = slot_i64(p, {slots["x"]}), slot_i64(p, {slots["y"]})
    {_read_layout("channels", "height", "width", "y_height", "y_width", "top", "left")}
    {_read_layout("x_image_stride", "x_channel_stride", "x_row_stride", "x_column_stride")}
    for item in range(lo, hi):
        image, row = item // y_height, item % y_height - top
        out = pointer_{dtype}(y + item * y_width * channels * {size})
        if row < 0 or row >= height:
            for s in range(y_width * channels):
                out[s] = 0
        else:
            start = x + (image * x_image_stride + row * x_row_stride) * {size}
            {name}_row(pointer_{dtype}(start), out, channels, width, x_channel_stride, x_column_stride, y_width, left)
""".lstrip("\n")


def zero_border_source(name: str, dtype: str) -> str:
    """Source of `<name>(p, lo, hi)` over the `images * y_height` rows of a padded NHWC buffer (see `LAYOUT_SLOTS`).

    Zeroes the border around each image, for a buffer whose inside a convolution writes.
    """
    slots, size = LAYOUT_SLOTS, 4 if dtype == "f32" else 8
    return f"""
@kernel
def {name}(p, lo, hi):
    y = slot_i64(p, {slots["y"]})
    {_read_layout("channels", "height", "width", "y_height", "y_width", "top", "left")}
    for item in range(lo, hi):
        row = item % y_height - top
        out = pointer_{dtype}(y + item * y_width * channels * {size})
        first = left if row >= 0 and row < height else y_width
        for s in range(first * channels):
            out[s] = 0
        for s in range((first + width) * channels, y_width * channels):
            out[s] = 0
""".lstrip("\n")


def to_nchw_source(name: str, dtype: str) -> str:
    """Source of `<name>(p, lo, hi)` over the `images * height` rows of dense NCHW images (see `LAYOUT_SLOTS`).

    Copies the inside of an NHWC buffer `x` with the given strides (`x_channel_stride` is usually 1) to NCHW `y`.
    """
    slots, size = LAYOUT_SLOTS, 4 if dtype == "f32" else 8
    return f"""
@body
def {name}_row(x, y, channels, width, x_channel, x_column, plane):
    # Strips of 16 channels, so that what is read of each pixel is a cache line.
    for start in range(0, channels, 16):
        for c in range(start, min(start + 16, channels)):
            for s in range(width):
                y[c * plane + s] = x[s * x_column + c * x_channel]


@kernel
def {name}(p, lo, hi):
    x, y = slot_i64(p, {slots["x"]}), slot_i64(p, {slots["y"]})
    {_read_layout("channels", "height", "width")}
    {_read_layout("x_image_stride", "x_channel_stride", "x_row_stride", "x_column_stride")}
    plane = height * width
    for item in range(lo, hi):
        image, row = item // height, item % height
        start = x + (image * x_image_stride + row * x_row_stride) * {size}
        out = y + (image * channels * plane + row * width) * {size}
        {name}_row(pointer_{dtype}(start), pointer_{dtype}(out), channels, width,
            x_channel_stride, x_column_stride, plane)
""".lstrip("\n")
