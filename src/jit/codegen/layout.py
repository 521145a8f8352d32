"""Range kernels that change the layout of images: NCHW to padded NHWC and back, and clearing a border."""

from .target import Target, host_target

# What the sources of this file call, for modules of their own.
LAYOUT_IMPORTS = """import numpy as np
from ingot.jit.codegen.primitives import pointer_f32, pointer_f64, slot_i64

"""

# How many channels one item of `to_nchw_source` copies: a cache line of each pixel in float32.
STRIP = 16

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


def _transpose_source(name: str, dtype: str, target: Target) -> str:
    """Source of a body that copies a matrix transposed: `y[j, i] = x[i, j]`, in blocks where it is large enough.

    Arguments: addresses and sizes, then the strides, in elements: of i in x, of j in x, of j in y (that of i is 1).
    """
    size, lanes = 4 if dtype == "f32" else 8, min(target.lanes(dtype), 8)
    return f"""\
from ingot.jit.codegen.microkernel import transpose_block
from ingot.jit.codegen.primitives import pointer_{dtype}, slot_i64

transpose_{lanes} = transpose_block({dtype!r}, {lanes})


@body
def copy_strided(x, y, count, x_step, y_step):
    for s in range(count):
        y[s * y_step] = x[s * x_step]


@body
def {name}_transpose(x, y, rows, columns, x_row, x_column, y_column):
    if rows >= {lanes} and columns >= {lanes} and x_column == 1:
        # The last block of each direction overlaps the one before: the same elements are copied twice.
        for j in range(0, columns, {lanes}):
            column = min(j, columns - {lanes})
            for i in range(0, rows, {lanes}):
                row = min(i, rows - {lanes})
                transpose_{lanes}(x + (row * x_row + column) * {size}, x_row * {size},
                    y + (column * y_column + row) * {size}, y_column * {size})
    elif rows < {lanes}:
        for i in range(rows):
            copy_strided(pointer_{dtype}(x + i * x_row * {size}), pointer_{dtype}(y + i * {size}), columns,
                x_column, y_column)
    else:
        for j in range(columns):
            copy_strided(pointer_{dtype}(x + j * x_column * {size}), pointer_{dtype}(y + j * y_column * {size}), rows,
                x_row, 1)
"""


def to_nhwc_source(name: str, dtype: str, target: Target | None = None) -> str:
    """Source of `<name>(p, lo, hi)` over the `images * y_height` rows of a padded NHWC buffer (see `LAYOUT_SLOTS`).

    Copies images of any strides (NCHW for one) into the buffer and zeroes the border around each.
    """
    slots, size = LAYOUT_SLOTS, 4 if dtype == "f32" else 8
    return f"""{_transpose_source(name, dtype, target or host_target())}

@kernel
def {name}(p, lo, hi):
    x, y = slot_i64(p, {slots["x"]}), slot_i64(p, {slots["y"]})
    {_read_layout("channels", "height", "width", "y_height", "y_width", "top", "left")}
    {_read_layout("x_image_stride", "x_channel_stride", "x_row_stride", "x_column_stride")}
    for item in range(lo, hi):
        image, row = item // y_height, item % y_height - top
        line = y + item * y_width * channels * {size}
        out = pointer_{dtype}(line)
        inside = row >= 0 and row < height
        before = (left if inside else y_width) * channels
        for s in range(before):
            out[s] = 0
        for s in range((left + width) * channels, y_width * channels):
            out[s] = 0
        if inside:
            start = x + (image * x_image_stride + row * x_row_stride) * {size}
            {name}_transpose(start, line + before * {size}, channels, width,
                x_channel_stride, x_column_stride, channels)
"""


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


def to_nchw_source(name: str, dtype: str, target: Target | None = None) -> str:
    """Source of `<name>(p, lo, hi)` that copies an NHWC buffer's inside to dense NCHW (see `LAYOUT_SLOTS`).

    It runs over `images * ceil(channels / STRIP)` items. `x` has the given strides; its channel stride is usually 1.
    """
    slots, size = LAYOUT_SLOTS, 4 if dtype == "f32" else 8
    return f"""{_transpose_source(name, dtype, target or host_target())}

@kernel
def {name}(p, lo, hi):
    x, y = slot_i64(p, {slots["x"]}), slot_i64(p, {slots["y"]})
    {_read_layout("channels", "height", "width")}
    {_read_layout("x_image_stride", "x_channel_stride", "x_row_stride", "x_column_stride")}
    plane = height * width
    # Rows that follow each other without a gap are one long row.
    rows, columns = height, width
    if x_row_stride == width * x_column_stride:
        rows, columns = 1, plane
    strips = (channels + {STRIP - 1}) // {STRIP}
    for item in range(lo, hi):
        image, channel = item // strips, item % strips * {STRIP}
        count = min({STRIP}, channels - channel)
        for row in range(rows):
            start = x + (image * x_image_stride + row * x_row_stride + channel * x_channel_stride) * {size}
            out = y + ((image * channels + channel) * plane + row * columns) * {size}
            {name}_transpose(start, out, columns, count, x_column_stride, x_channel_stride, plane)
"""
