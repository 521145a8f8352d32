"""Range kernels that change the layout of images: NCHW to padded NHWC and back, and clearing a border."""

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
