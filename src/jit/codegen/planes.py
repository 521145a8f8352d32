"""Convolutions over planes: one, two or three dimensions, contiguous images in and out (NCHW), pixels in vectors.

An item is a block of output rows of an image (or several small images), for some groups of channels. Its input is
copied into scratch memory that stays in cache: each channel (and each slice that the kernel meets in depth) is a plane
inside a border of zeros, with rows and columns sorted by their remainder modulo the stride. So what a kernel element
meets, for pixel after pixel and row after row, is contiguous, and a tap is one offset (`plane_tile.py`). Between two
rows of results lie the pixels of the border, which are computed too and left out when results are stored.

Nothing is changed in layout, and few channels waste no lanes: it suits first layers, few output channels, groups,
sequences and volumes. Convolutions between which images are kept with channels last are in `conv.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .epilogue import Epilogue, indent
from .external import load
from .gemm import GRAIN_MULTIPLY_ADDS, IMPORTS, entry_source
from .packing import aligned_empty
from .plane_tile import PlaneTile, plane_tile_call, plane_tile_of, plane_tile_source
from .target import Target, host_target

__all__ = ["PLANE_SLOTS", "SLACK", "WORKERS", "PlaneSpec", "pack_planes_numpy", "planes_source"]

_SPATIAL = ("depth", "height", "width")
# The slots of the table; those of the epilogue follow. Strides count elements.
PLANE_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "x",
            "w",  # address of the packed weights
            "y",
            "scratch",
            "scratch_elements",  # of one worker
            "images",
            "channels",  # input channels of one group
            "out_channels",  # output channels of one group
            "groups",
            *(f"in_{n}" for n in _SPATIAL),
            *(f"out_{n}" for n in _SPATIAL),
            *(f"kernel_{n}" for n in _SPATIAL),
            *(f"stride_{n}" for n in _SPATIAL),
            *(f"dilation_{n}" for n in _SPATIAL),
            *(f"pad_{n}" for n in _SPATIAL),
            "x_image_stride",
            "x_channel_stride",
            "x_depth_stride",
            "x_row_stride",
            "x_pixel_stride",
            "image_block",  # the most images, rows and columns of an item
            "row_block",
            "column_block",
            "group_block",  # written by the plan function, as is all below
            "tile_block",
            "items",
            "workers",
            "grain",
        )
    )
}
# How many items have scratch memory at a time.
WORKERS = 8
# Elements between planes and rows of results: what tiles read and write past the last pixel.
SLACK = 144


@dataclass(frozen=True)
class PlaneSpec:
    """What is known about a convolution when its kernel is generated; all sizes and strides are read at run time.

    `by_rows` says that the epilogue needs rows and columns of pixels, not only their places in an image.

    >>> PlaneSpec("f32", target=Target("avx512", 512, 32, True)).name
    'planes_f32_14x16'
    """

    dtype: str = "f32"
    by_rows: bool = False
    target: Target = field(default_factory=host_target)

    @property
    def tile(self) -> PlaneTile:
        """The tile of output channels and pixels; weights are packed for its rows."""
        return plane_tile_of(self.target, self.dtype)

    @property
    def name(self) -> str:
        """The name of the loop nest; `<name>_plan(p, threads)` is its plan function."""
        return f"planes_{self.tile.name}"

    def shared_sources(self) -> dict[str, str]:
        """The modules to link with the kernels of this spec, by name."""
        tile = self.tile
        return {f"plane_tile_{tile.name}": plane_tile_source(tile), self.name: _core_source(tile)}


def pack_planes_numpy(weight: np.ndarray[Any, Any], groups: int, rows: int) -> np.ndarray[Any, Any]:
    """Weights (O, C / groups, ...) as (groups, tiles, C / groups * kernel elements, rows), zero past the end.

    >>> pack_planes_numpy(np.ones((40, 3, 5, 5), np.float32), 1, 14).shape
    (1, 3, 75, 14)
    """
    out_channels, depth = weight.shape[0] // groups, int(np.prod(weight.shape[1:], dtype=np.int64))
    tiles = -(-out_channels // rows)
    packed = aligned_empty((groups, tiles, depth, rows), weight.dtype)
    padded = np.zeros((groups, tiles * rows, depth), weight.dtype)
    padded[:, :out_channels] = weight.reshape(groups, out_channels, depth)
    packed[...] = padded.reshape(groups, tiles, rows, depth).swapaxes(2, 3)
    return packed


def planes_source(name: str, spec: PlaneSpec, epilogue: Epilogue | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over workers, self-contained but for `spec.shared_sources()`.

    The table `p` is laid out as `PLANE_SLOTS` says, followed by the epilogue's parameters. In the epilogue `n` is the
    image, `j` the output channel, `z`, `y` and `x` the pixel; without `by_rows` `x` is its place in the plane.
    """
    return (
        f"{IMPORTS}"
        f"from ingot.jit.codegen.planes import PlaneTile, loops\n\n"
        f"{spec.name} = loops({spec.tile!r})\n\n\n"
        f"{_store_source(name, spec, epilogue or Epilogue())}"
        f"{entry_source(name, spec.name)}"
    )


def loops(tile: PlaneTile) -> Callable[..., Any]:
    """The loop nest of a tile: a function `(p, lo, hi, store)`."""
    return load(_core_source(tile))[f"planes_{tile.name}"]


def _store_source(name: str, spec: PlaneSpec, epilogue: Epilogue) -> str:
    """Source of `<name>_store`, which finishes the pixels of some channels and stores them.

    It is called with the address of the results, that of a table (elements between channels, image, depth, first row
    and column, columns), the group, the first channel, the place of the first pixel in the image's plane, the number of
    channels and the number of pixels, which are contiguous.
    """
    pointer = f"pointer_{spec.dtype}"
    element = f"""
v = tile[t * stride + s]
{indent(epilogue.body, 0)}
c[out + s] = v
"""
    if spec.by_rows:
        loops = f"""
s = 0
for y in range(first_row, first_row + count // columns):
    for x in range(first_column, first_column + columns):
{indent(element, 8)}
        s += 1
"""
    else:
        loops = f"""
for s in range(count):
    x = first + s
{indent(element, 4)}
"""
    functions = epilogue.functions.strip("\n") + "\n\n\n" if epilogue.functions.strip() else ""
    slot = PLANE_SLOTS
    return f"""{functions}@body
def {name}_finish(tile, c{epilogue.names}, stride, n, z, first_row, first_column, columns, first_channel, first, rows,
        count, start, plane):
    for t in range(rows):
        j = first_channel + t
        out = start + j * plane
{indent(loops, 8)}


@kernel
def {name}_store(p, tile, table, group, first_channel, first, rows, count):
    c = pointer_{spec.dtype}(slot_i64(p, {slot["y"]}))
    depth, area = slot_i64(p, {slot["out_depth"]}), slot_i64(p, {slot["out_height"]}) * slot_i64(p, {slot["out_width"]})
    channels = slot_i64(p, {slot["out_channels"]}) * slot_i64(p, {slot["groups"]})
{indent(epilogue.unpack(len(slot)), 4)}
    given = pointer_i64(table)
    start = given[1] * channels * depth * area + given[2] * area + first
    {name}_finish({pointer}(tile), c{epilogue.names}, given[0], given[1], given[2], given[3], given[4], given[5],
        first_channel, first, rows, count, start, depth * area)


{name}_store_address = address_of({name}_store)
"""


def _read(*names: str) -> str:
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {PLANE_SLOTS[n]})' for n in names)}"


def _core_source(tile: PlaneTile) -> str:
    slots, size, name = PLANE_SLOTS, tile.element_bytes, f"planes_{tile.name}"
    pointer, height = f"pointer_{tile.dtype}", tile.rows
    return f"""{IMPORTS}
from ingot.jit.codegen.microkernel import copy_memory
from ingot.jit.codegen.plane_tile import copy_alternate, plane_tile

copy_pairs = copy_alternate({tile.dtype!r}, {tile.lanes})
multiply_planes = {plane_tile_call(tile)}.multiply


@kernel
def {name}_plan(p, threads):
    {_read("images", "channels", "out_channels", "groups", "out_depth", "out_height", "out_width")}
    {_read("kernel_depth", "kernel_height", "kernel_width", "image_block", "row_block", "column_block")}
    tiles = (out_channels + {height - 1}) // {height}
    group_block, tile_block, wanted = groups, max(tiles, 1), 4 * threads
    if threads == 1:
        wanted = 1
    items = 0
    while True:
        items = (images + image_block - 1) // image_block * out_depth
        items *= (out_height + row_block - 1) // row_block * ((out_width + column_block - 1) // column_block)
        items *= (groups + group_block - 1) // max(1, group_block) * ((tiles + tile_block - 1) // tile_block)
        # Smaller items while there are too few of them for the threads to share evenly.
        if items >= wanted:
            break
        if group_block > 1:
            group_block = (group_block + 1) // 2
        elif image_block > 1:
            image_block = (image_block + 1) // 2
        elif row_block > 1 and row_block * column_block > {8 * tile.lanes}:
            row_block = (row_block + 1) // 2
        elif tile_block > 2:
            tile_block = (tile_block + 1) // 2
        else:
            break
    set_slot_i64(p, {slots["image_block"]}, image_block)
    set_slot_i64(p, {slots["row_block"]}, row_block)
    set_slot_i64(p, {slots["group_block"]}, group_block)
    set_slot_i64(p, {slots["tile_block"]}, tile_block)
    set_slot_i64(p, {slots["items"]}, items)
    workers = min(items, {WORKERS})
    set_slot_i64(p, {slots["workers"]}, workers)
    work = images * out_depth * out_height * out_width * groups * out_channels
    work *= channels * kernel_depth * kernel_height * kernel_width + 8
    set_slot_i64(p, {slots["grain"]}, {GRAIN_MULTIPLY_ADDS} // (work // max(1, workers) + 1) + 1)
    return workers


@body
def copy_apart(source, step, target, count):
    for s in range(count):
        target[s] = source[s * step]


@body
def clear(target, count):
    for s in range(count):
        target[s] = 0


@kernel
def {name}(p, lo, hi, store):
    {_read("x", "w", "scratch", "scratch_elements", "images", "channels", "out_channels", "groups")}
    {_read("in_depth", "in_height", "in_width", "out_depth", "out_height", "out_width")}
    {_read("kernel_depth", "kernel_height", "kernel_width", "stride_depth", "stride_height", "stride_width")}
    {_read("dilation_depth", "dilation_height", "dilation_width", "pad_depth", "pad_height", "pad_width")}
    {_read("x_image_stride", "x_channel_stride", "x_depth_stride", "x_row_stride", "x_pixel_stride")}
    {_read("image_block", "row_block", "column_block", "group_block", "tile_block", "items", "workers")}
    tiles, count = (out_channels + {height - 1}) // {height}, channels * kernel_depth * kernel_height * kernel_width
    # Rows and columns by their remainder modulo the stride; those that the kernel reaches past the last pixel.
    reach_down, reach_right = (kernel_height - 1) * dilation_height, (kernel_width - 1) * dilation_width
    reach_back = (kernel_depth - 1) * dilation_depth
    downs, rights = min(stride_height, reach_down + 1), min(stride_width, reach_right + 1)
    rows_in, pitch = row_block + reach_down // stride_height, column_block + reach_right // stride_width
    plane = (image_block * rows_in * pitch + 31) // 16 * 16
    row_bytes, result_bytes = pitch * {size}, (plane + {SLACK}) * {size}
    # Where planes are whole, rows follow each other as they do in memory.
    whole = pitch == column_block and rows_in == row_block and stride_height * stride_width == 1
    whole = whole and in_width == out_width and in_height == out_height and pad_width == 0 and pad_height == 0
    whole = whole and column_block == out_width and x_pixel_stride == 1 and x_row_stride == in_width
    # Whether kernels reach past the image: a window that ends with it in every direction does not.
    padded = pad_depth + pad_height + pad_width > 0 or (out_depth - 1) * stride_depth + reach_back >= in_depth
    padded = padded or (out_height - 1) * stride_height + reach_down >= in_height
    padded = padded or (out_width - 1) * stride_width + reach_right >= in_width
    image_blocks, row_blocks = (images + image_block - 1) // image_block, (out_height + row_block - 1) // row_block
    column_blocks, tile_blocks = (out_width + column_block - 1) // column_block, (tiles + tile_block - 1) // tile_block
    table = row_table()
    place = pointer_i64(table)
    for worker in range(lo, hi):
        tap_table = scratch + worker * scratch_elements * {size}
        results = tap_table + (count * 8 + 63) // 64 * 64
        dense = results + {height} * result_bytes
        planes = dense + {height} * result_bytes
        taps = pointer_i64(tap_table)
        k = 0
        for c in range(channels * kernel_depth):
            for a in range(kernel_height):
                for b in range(kernel_width):
                    down, right = a * dilation_height, b * dilation_width
                    tap = ((c * downs + down % stride_height) * rights + right % stride_width) * plane
                    taps[k] = (tap + down // stride_height * pitch + right // stride_width) * {size}
                    k += 1
        for item in range(worker, items, workers):
            first_tile, part = item % tile_blocks * tile_block, item // tile_blocks
            last_tile = min(first_tile + tile_block, tiles)
            column, part = part % column_blocks * column_block, part // column_blocks
            row, part = part % row_blocks * row_block, part // row_blocks
            z, part = part % out_depth, part // out_depth
            image = part % image_blocks * image_block
            first_group = part // image_blocks * group_block
            last_group = min(first_group + group_block, groups)
            columns, rows = min(column_block, out_width - column), min(row_block, out_height - row)
            image_count = min(image_block, images - image)
            flat = (image_count * rows_in - reach_down // stride_height - row_block + rows - 1) * pitch + columns
            place[0], place[2], place[3], place[4], place[5] = 0, z, row, column, columns
            # Rows that fill vectors are computed one by one where that costs less than what lies between them.
            exact = pitch != columns and columns % {tile.lanes} == 0 and image_count == 1
            exact = exact and (count >= 64 or columns >= {4 * tile.lanes}
                or (columns >= {2 * tile.lanes} and out_channels > 4))
            if padded:
                # The border, once for all groups: what lies inside is copied over it.
                clear({pointer}(planes), channels * kernel_depth * downs * rights * plane)
            width, lines = columns + pitch - column_block, rows_in - row_block + rows
            for group in range(first_group, last_group):
                # The input, plane by plane.
                for c in range(channels * kernel_depth):
                    slice = z * stride_depth + c % kernel_depth * dilation_depth - pad_depth
                    if slice < 0 or slice >= in_depth:
                        continue
                    channel = group * channels + c // kernel_depth
                    start = x + (image * x_image_stride + channel * x_channel_stride + slice * x_depth_stride) * {size}
                    for phase in range(downs * rights):
                        # The rows and columns of the plane that lie in the image.
                        down, right = pad_height - phase // rights, pad_width - phase % rights
                        top = min(max(0, (down + stride_height - 1) // stride_height - row), lines)
                        bottom = max(top, min((in_height - 1 + down) // stride_height + 1 - row, lines))
                        before = min(max(0, (right + stride_width - 1) // stride_width - column), width)
                        after = max(before, min((in_width - 1 + right) // stride_width + 1 - column, width))
                        at, offset = (row + top) * stride_height - down, (column + before) * stride_width - right
                        inside, n_bytes, line_count = after - before, (after - before) * {size}, bottom - top
                        target = planes + ((c * downs * rights + phase) * plane + top * pitch + before) * {size}
                        if whole:
                            n_bytes, line_count = n_bytes * line_count, 1
                        for i in range(image_count):
                            source = start + (i * x_image_stride + at * x_row_stride + offset * x_pixel_stride) * {size}
                            for r in range(line_count):
                                if stride_width * x_pixel_stride == 2 and inside >= {tile.lanes}:
                                    for s in range(0, inside, {tile.lanes}):
                                        s = min(s, inside - {tile.lanes})
                                        copy_pairs(target + s * {size}, source + s * {2 * size})
                                elif stride_width * x_pixel_stride != 1:
                                    copy_apart({pointer}(source), stride_width * x_pixel_stride, {pointer}(target),
                                        inside)
                                elif n_bytes >= 64:
                                    # Copies of constant size are vector moves: two that overlap make up any number.
                                    for s in range(0, n_bytes - 63, 64):
                                        copy_memory(target + s, source + s, 64)
                                    if n_bytes % 64 != 0:
                                        copy_memory(target + n_bytes - 64, source + n_bytes - 64, 64)
                                elif n_bytes >= 32:
                                    copy_memory(target, source, 32)
                                    copy_memory(target + n_bytes - 32, source + n_bytes - 32, 32)
                                elif n_bytes >= 16:
                                    copy_memory(target, source, 16)
                                    copy_memory(target + n_bytes - 16, source + n_bytes - 16, 16)
                                else:
                                    for s in range(0, n_bytes, {size}):
                                        copy_memory(target + s, source + s, {size})
                                target += row_bytes
                                source += stride_height * x_row_stride * {size}
                            target += rows_in * row_bytes - line_count * row_bytes
                for tile in range(first_tile, last_tile):
                    channel = tile * {height}
                    channel_count = min({height}, out_channels - channel)
                    weights = w + (group * tiles + tile) * count * {height * size}
                    done = 0
                    if exact:
                        for r in range(rows):
                            start, out = planes + r * row_bytes, results + r * columns * {size}
                            done = 0
                            while done < columns:
                                done += multiply_planes(weights, channel_count, start + done * {size}, tap_table, count,
                                    out + done * {size}, result_bytes, columns - done)
                        done = flat
                    while done < flat:
                        done += multiply_planes(weights, channel_count, planes + done * {size}, tap_table, count,
                            results + done * {size}, result_bytes, flat - done)
                    for i in range(image_count):
                        finished = results + i * rows_in * row_bytes
                        place[0], place[1], first = plane + {SLACK}, image + i, row * out_width + column
                        if exact:
                            pass  # they follow each other already
                        elif pitch != columns and columns % {4 * tile.lanes} == 0:
                            for r in range(rows):
                                place[3] = row + r
                                call_store(store, p, finished, table, group, group * out_channels + channel,
                                    first + r * out_width, channel_count, columns)
                                finished += row_bytes
                            place[3] = row
                            continue
                        elif pitch != columns and rows > 1:
                            # Rows of pixels without what lies between them.
                            for t in range(channel_count):
                                source, target = finished + t * result_bytes, dense + t * result_bytes
                                for r in range(rows):
                                    for s in range(0, columns * {size}, 64):
                                        copy_memory(target + s, source + s, 64)
                                    source += row_bytes
                                    target += columns * {size}
                            finished = dense
                        call_store(store, p, finished, table, group, group * out_channels + channel, first,
                            channel_count, rows * columns)
"""
