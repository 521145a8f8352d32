"""Convolutions with one filter per channel, over images with channels last: channels in vectors, pixels side by side.

The kernel elements are written out, for a few neighbouring pixels of a row at a time, which share the inputs that their
windows have in common, and the weights; what follows the convolution is computed in registers. Larger kernels, groups
of several channels, and weights that are not constant go through the micro-kernel (`conv.py`).
"""

from typing import Any

import numpy as np

from .epilogue import Epilogue, indent
from .gemm import GRAIN_MULTIPLY_ADDS
from .packing import aligned_empty

__all__ = ["DEPTHWISE_SLOTS", "MOST_TAPS", "depthwise_source", "pack_taps_numpy"]

DEPTHWISE_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "x",  # address of the first window's first element
            "w",  # address of the weights, (kernel elements, channels)
            "y",
            "images",
            "groups",  # channels
            "out_height",
            "out_width",
            "x_image_stride",
            "x_row_stride",
            "x_pixel_stride",
            "y_image_stride",
            "y_row_stride",
            "y_pixel_stride",
            "grain",  # written by the plan function
        )
    )
}
# The most kernel elements that are written out, and the pixels that are computed side by side.
MOST_TAPS, _PIXELS = 25, 4
# The channels that a row is computed for at a time: their weights and inputs stay in the L1 cache.
_CHANNELS = 256


def pack_taps_numpy(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Weights (C, 1, KH, KW) as (KH * KW, C).

    >>> pack_taps_numpy(np.ones((40, 1, 3, 5), np.float32)).shape
    (15, 40)
    """
    packed = aligned_empty((weight.shape[2] * weight.shape[3], weight.shape[0]), weight.dtype)
    packed[...] = weight.reshape(weight.shape[0], -1).T
    return packed


def depthwise_source(
    name: str,
    dtype: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    epilogue: Epilogue,
) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over rows of all images, and of its plan function.

    In the epilogue `n` is the image, `j` the channel, `z` the row and `q` the column.
    """
    slots = DEPTHWISE_SLOTS
    functions = epilogue.functions.strip("\n") + "\n\n\n" if epilogue.functions.strip() else ""
    sizes = ("images", "groups", "out_height", "out_width")
    strides = tuple(n for n in slots if n.endswith("_stride"))
    given = ", ".join(f"slot_i64(p, {slots[n]})" for n in (*sizes, *strides))
    return f"""import numpy as np
from ingot.jit.codegen.primitives import pointer_f32, pointer_f64, pointer_i8, pointer_u8, pointer_i16, pointer_i32
from ingot.jit.codegen.primitives import pointer_i64, set_slot_i64, slot_f64, slot_i64

{functions}
@kernel
def {name}_plan(p, threads):
    images, channels = slot_i64(p, {slots["images"]}), slot_i64(p, {slots["groups"]})
    height, width = slot_i64(p, {slots["out_height"]}), slot_i64(p, {slots["out_width"]})
    # Each multiply-add is a load, so an item of the same cost does fewer of them than a product.
    work = width * channels * {kernel[0] * kernel[1] + 4}
    set_slot_i64(p, {slots["grain"]}, {GRAIN_MULTIPLY_ADDS // 4} // (work + 1) + 1)
    return images * height


@body
def {name}_rows(x, w, c{epilogue.names}, {", ".join((*sizes, *strides))}, lo, hi):
    for item in range(lo, hi):
        n, z = item // out_height, item % out_height
        x_start = n * x_image_stride + z * {stride[0]} * x_row_stride
        y_start = n * y_image_stride + z * y_row_stride
        for first in range(0, groups, {_CHANNELS}):
            last = min(first + {_CHANNELS}, groups)
            left = 0
            while left < out_width:
                if out_width >= {_PIXELS}:
                    left = min(left, out_width - {_PIXELS})
{indent(_pixels(_PIXELS, kernel, stride, dilation, epilogue), 20)}
                    left += {_PIXELS}
                else:
{indent(_pixels(1, kernel, stride, dilation, epilogue), 20)}
                    left += 1


@kernel
def {name}(p, lo, hi):
    c = pointer_{dtype}(slot_i64(p, {slots["y"]}))
{indent(epilogue.unpack(len(slots)), 4)}
    x, w = pointer_{dtype}(slot_i64(p, {slots["x"]})), pointer_{dtype}(slot_i64(p, {slots["w"]}))
    {name}_rows(x, w, c{epilogue.names}, {given}, lo, hi)
"""


def _pixels(
    count: int, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], epilogue: Epilogue
) -> str:
    """Statements for `count` pixels from column `left` on: a loop over channels, which LLVM vectorises."""
    lines = []
    for a in range(kernel[0]):
        seen: set[int] = set()
        for b in range(kernel[1]):
            lines.append(f"factor = w[{a * kernel[1] + b} * groups + j]")
            for p in range(count):
                column = p * stride[1] + b * dilation[1]
                if column not in seen:
                    seen.add(column)
                    lines.append(
                        f"in{column} = x[place + {a * dilation[0]} * x_row_stride + {column} * x_pixel_stride + j]"
                    )
                start = f"sum{p} = " + (f"sum{p} + " if a or b else "")
                lines.append(f"{start}in{column} * factor")
    for p in range(count):
        lines += [f"q, v = left + {p}, sum{p}", epilogue.body.strip("\n"), f"c[out + {p} * y_pixel_stride + j] = v"]
    body = "\n".join(line for line in lines if line)
    return f"""
place, out = x_start + left * {stride[1]} * x_pixel_stride, y_start + left * y_pixel_stride
for j in range(first, last):
{indent(body, 4)}
"""
