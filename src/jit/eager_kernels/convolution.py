"""Kernels of two-dimensional convolution and its gradients over [N, C, H, W], for all sizes, strides and groups.

Images are first copied into a border of zeros, the columns of each row sorted by their remainder modulo the stride
(*phases*): then what one element of the kernel meets along a row of the output is contiguous, whatever the stride, and
its place is the sum of an offset of the kernel's element (a table) and one of the output's pixel.

- The result: a panel of pixels is gathered, one row for each element of the kernel, and multiplied by the weights as
  they lie; the tile of the micro-kernel has output channels for rows and pixels for columns.
- The gradient of the input: the weights transposed times a panel of the gradient, added where the pixels came from.
- The gradient of the weight: the tile has elements of the kernel for rows, which the micro-kernel reads from the images
  directly, and output channels for columns. Images are summed in chunks, whose number depends on sizes only.

No result depends on the number of threads.
"""

from typing import Any

from llvmlite import ir

from ..codegen.microkernel_llvm import TileFunction, emit_transpose
from ..codegen.target import TileShape
from .code import Code, Number, Pointer
from .geometry import Tile
from .stretch import zero

__all__ = ["GRADIENT_ROWS", "INPUT_GRADIENT", "PAD", "RESULT", "SUM_CHUNKS", "WEIGHT_GRADIENT", "build"]

PAD = ("x", "y", "height", "width", "top", "left", "stride", "phase", "row", "plane")
RESULT = (
    "x", "w", "bias", "y", "offsets", "images", "channels", "group_plane", "image_plane", "out_width", "pixels",
    "row_step", "depth", "depth_block", "w_stride", "panels", "scratch", "scratch_size", "grain",
)  # fmt: skip
INPUT_GRADIENT = (
    "g", "w", "y", "offsets", "channels", "groups", "in_channels", "block", "blocks", "plane", "row", "height", "width",
    "top", "left", "stride", "phase", "out_width", "pixels", "row_step", "depth", "kernel", "scratch", "scratch_size",
    "grain",
)  # fmt: skip
WEIGHT_GRADIENT = (
    "x", "g", "y", "offsets", "images", "groups", "group_plane", "image_plane", "out_height", "out_width", "row_step",
    "depth", "depth_block", "blocks", "tiles", "chunks", "panels", "rows_block", "scratch", "scratch_size", "grain",
)  # fmt: skip
GRADIENT_ROWS = ("g", "y", "channels", "pixels", "panels")
SUM_CHUNKS = ("x", "y", "channels", "depth", "groups", "tiles", "panels", "chunks")


def build(module: Any, dtype: str, tile: Tile) -> None:
    """Write the kernels into an LLVM module."""
    _pad(Code(module, "pad_images", dtype, tile.lanes, PAD))
    _result(Code(module, "convolve", dtype, tile.lanes, RESULT), tile)
    _input_gradient(Code(module, "input_gradient", dtype, tile.lanes, INPUT_GRADIENT), tile)
    _weight_gradient(Code(module, "weight_gradient", dtype, tile.lanes, WEIGHT_GRADIENT), tile)
    _gradient_rows(Code(module, "gradient_rows", dtype, tile.lanes, GRADIENT_ROWS), tile)
    _sum_chunks(Code(module, "sum_chunks", dtype, tile.lanes, SUM_CHUNKS), tile)


class _Multiply:
    """Calls the micro-kernel's functions for tiles of a few heights."""

    def __init__(self, code: Code, tile: Tile) -> None:
        self.code, self.tile = code, tile
        shape = TileShape(code.dtype, tile.heights[-1], 2, tile.lanes, tile.fused)
        self.functions = {h: TileFunction(code.module, shape, h).get() for h in tile.heights}

    def rows(self, left: Number) -> Number:
        """The height of the tile for so many rows: the least that holds them, or the highest."""
        code, height = self.code, Number(self.code, ir.IntType(64)(self.tile.heights[-1]))
        for lower in reversed(self.tile.heights[:-1]):
            height = code.select(left <= lower, lower, height)
        return height

    def __call__(self, height: Number, *arguments: Any) -> None:
        for h, function in self.functions.items():
            with self.code.when(height.equals(h)):
                self.code.call(function, *arguments)


def _scratch(code: Code) -> Number:
    """The address of this range's part of the scratch memory: ranges start at different multiples of the grain."""
    return code.slots.scratch + code.lo // code.slots.grain * code.slots.scratch_size


class _Pieces:
    """Runs of pixels that lie in one row of the output, each at most a vector: where they are, in four tables."""

    def __init__(self, code: Code, address: Number, tile: Tile) -> None:
        step = 8 * tile.columns
        self.code = code
        self.sources, self.targets, self.outs, self.lengths = (code.integers(address + i * step) for i in range(4))
        self.count = code.variable(0)

    def find(self, first: Number, count: Number, place: Any) -> None:
        """Cut pixels [first, first + count) into runs; `place(pixel)` gives source, result, and pixels to the row's
        end."""
        code, position = self.code, self.code.variable(0)
        self.count.set(0)
        with code.repeat(lambda: position.get() < count):
            at = position.get()
            source, out, left = place(first + at)
            length = code.smaller(code.smaller(left, count - at), code.lanes)
            n = self.count.get()
            self.sources[n], self.targets[n], self.outs[n], self.lengths[n] = source, at, out, length
            position.add(length)
            self.count.add(1)


def _rows_of(code: Code, multiply: _Multiply, table: Pointer, first: Number, end: Number, address: Any) -> Number:
    """Fill the micro-kernel's table with the addresses of rows [first, end), the last one again where there are fewer;
    returns the tile's height."""
    height = multiply.rows(end - first)
    with code.loop(0, height) as i:
        table[i] = address(code.smaller(first + i, end - 1))
    return height


def _copy(code: Code, source: Pointer, target: Pointer, count: Number) -> None:
    with code.vectors(count) as (i, n):
        target.set_part(i, source.part(i, n), n)


def _pad(code: Code) -> None:
    """One plane an item: [height, width] into [rows, phases, phase] inside zeros."""
    s = code.slots
    x, y = code.pointer(s.x), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        target = y + item * s.plane
        zero(code, target, s.plane)
        with code.loop(0, s.height) as i:
            source, row = x + (item * s.height + i) * s.width, target + (i + s.top) * s.row
            with code.either(s.stride.equals(1)) as (one, more):
                with one:
                    _copy(code, source, row + s.left, s.width)
                with more, code.loop(0, s.width) as j:
                    column = j + s.left
                    row[column % s.stride * s.phase + column // s.stride] = source[j]
    code.finish()


def _result(code: Code, tile: Tile) -> None:
    """One panel of pixels, of all images, and one group an item."""
    s, width = code.slots, tile.columns
    x, y, bias = code.pointer(s.x), code.pointer(s.y), code.pointer(s.bias)
    offsets = code.integers(s.offsets)
    scratch, multiply = _scratch(code), _Multiply(code, tile)
    table = code.integers(scratch)
    pieces = _Pieces(code, scratch + 8 * tile.table, tile)
    gathered = code.pointer(scratch + 8 * (tile.table + 4 * width))
    sums = gathered + (s.depth_block * width + tile.lanes)

    def place(pixel: Number) -> tuple[Number, Number, Number]:
        image, rest = pixel // s.pixels, pixel % s.pixels
        row, column = rest // s.out_width, rest % s.out_width
        out = image * (s.channels * (s.image_plane // s.group_plane)) * s.pixels + rest
        return image * s.image_plane + row * s.row_step + column, out, s.out_width - column

    with code.loop(code.lo, code.hi) as item:
        group, first = item // s.panels, item % s.panels * width
        pieces.find(first, code.smaller(s.images * s.pixels - first, width), place)
        count = pieces.count.get()
        source = x + group * s.group_plane
        weights = s.w + group * s.channels * s.w_stride * code.size
        start = code.variable(0)
        with code.repeat(lambda: start.get() < s.depth):
            begin = start.get()
            length = code.smaller(s.depth - begin, s.depth_block)
            with code.loop(0, length) as k:
                from_, row = source + offsets[begin + k], gathered + k * width
                # A vector may write past its run: the next run, or the next row, comes after it.
                with code.loop(0, count) as r:
                    row.set_vector(pieces.targets[r], from_.vector(pieces.sources[r]))
            channel = code.variable(0)
            with code.repeat(lambda: channel.get() < s.channels):
                c = channel.get()
                height = _rows_of(code, multiply, table, c, s.channels, lambda o: weights + o * s.w_stride * code.size)
                places = (table.address, begin * code.size, gathered.address, (sums + c * width).address)
                multiply(height, *places, begin, 1, 0, 1, 0, length, code.size, width * code.size)
                channel.add(height)
            start.add(length)
        with code.loop(0, s.channels) as o:
            number = code.splat(bias[group * s.channels + o])
            row, out = sums + o * width, y + (group * s.channels + o) * s.pixels
            with code.loop(0, count) as r:
                out.set_part(pieces.outs[r], row.vector(pieces.targets[r]) + number, pieces.lengths[r])
    code.finish()


def _input_gradient(code: Code, tile: Tile) -> None:
    """A block of input channels of one image an item."""
    s, width = code.slots, tile.columns
    g, w, y = code.pointer(s.g), code.pointer(s.w), code.pointer(s.y)
    offsets = code.integers(s.offsets)
    scratch, multiply = _scratch(code), _Multiply(code, tile)
    table = code.integers(scratch)
    pieces = _Pieces(code, scratch + 8 * tile.table, tile)
    panel = code.pointer(scratch + 8 * (tile.table + 4 * width))
    product = panel + s.channels * width
    image = product + ((s.block * s.kernel + tile.heights[-1]) * width + tile.lanes)

    def place(pixel: Number) -> tuple[Number, Number, Number]:
        row, column = pixel // s.out_width, pixel % s.out_width
        return row * s.row_step + column, pixel, s.out_width - column

    with code.loop(code.lo, code.hi) as item:
        n, group, block = item // s.blocks // s.groups, item // s.blocks % s.groups, item % s.blocks
        first_channel = block * s.block
        channels = code.smaller(s.in_channels - first_channel, s.block)
        rows = channels * s.kernel
        zero(code, image, channels * s.plane + tile.lanes)
        gradient = g + (n * s.groups + group) * s.channels * s.pixels
        weights = w + (group * s.channels * s.depth + first_channel * s.kernel)
        with code.loop(0, s.pixels, width) as first:
            size = code.smaller(s.pixels - first, width)
            pieces.find(first, size, place)
            count = pieces.count.get()
            with code.loop(0, s.channels) as o:
                _copy(code, gradient + (o * s.pixels + first), panel + o * width, size)
            k = code.variable(0)
            with code.repeat(lambda: k.get() < rows):
                at = k.get()
                height = _rows_of(code, multiply, table, at, rows, lambda row: (weights + row).address)
                multiply(height, table.address, 0, panel.address, (product + at * width).address, 0, 1, 0, 1, 0,
                         s.channels, s.depth * code.size, width * code.size)  # fmt: skip
                k.add(height)
            # Channels inside, and no more than the pieces: a load that overlaps a store which is still on its way to
            # memory waits for it, and neighbouring elements of the kernel add to overlapping places.
            with code.loop(0, s.kernel) as element, code.loop(0, channels) as c:
                row = product + (c * s.kernel + element) * width
                into = image + (offsets[element] + c * s.plane)
                with code.loop(0, count) as r:
                    source, length = pieces.sources[r], pieces.lengths[r]
                    into.set_part(source, into.part(source, length) + row.vector(pieces.targets[r]), length)
        with code.loop(0, channels) as c, code.loop(0, s.height) as i:
            row = image + (c * s.plane + (i + s.top) * s.row)
            plane = (n * s.groups + group) * s.in_channels + first_channel + c
            out = y + (plane * s.height + i) * s.width
            with code.either(s.stride.equals(1)) as (one, more):
                with one:
                    _copy(code, row + s.left, out, s.width)
                with more, code.loop(0, s.width) as j:
                    column = j + s.left
                    out[j] = row[column % s.stride * s.phase + column // s.stride]
    code.finish()


def _weight_gradient(code: Code, tile: Tile) -> None:
    """A chunk of images and a block of the kernel's elements an item; the sums of a tile lie together."""
    s, width, high = code.slots, tile.columns, tile.heights[-1]
    x, g, y = code.pointer(s.x), code.pointer(s.g), code.pointer(s.y)
    offsets = code.integers(s.offsets)
    multiply = _Multiply(code, tile)
    table = code.integers(_scratch(code))
    line = s.panels * width
    with code.loop(code.lo, code.hi) as item:
        block, chunk, group = item % s.blocks, item // s.blocks % s.chunks, item // s.blocks // s.chunks
        begin = block * s.depth_block
        end = code.smaller(begin + s.depth_block, s.depth)
        first, last = chunk * s.images // s.chunks, (chunk + 1) * s.images // s.chunks
        with code.loop(first, last) as n:
            image = x + (n * s.image_plane + group * s.group_plane)
            top = code.variable(0)
            with code.repeat(lambda: top.get() < s.out_height):
                row = top.get()
                rows = code.smaller(s.out_height - row, s.rows_block)
                part = image + row * s.row_step
                gradient = g + ((n * s.groups + group) * s.out_height + row) * s.out_width * line
                again = code.select(n.equals(first) & row.equals(0), 0, Number(code, ir.IntType(64)(1)))
                k = code.variable(begin)
                with code.repeat(lambda: k.get() < end):
                    at = k.get()
                    height = _rows_of(code, multiply, table, at, end, lambda i: (part + offsets[i]).address)
                    sums = y + ((chunk * s.groups + group) * s.tiles + at // high) * s.panels * (high * width)
                    with code.loop(0, s.panels) as panel:
                        multiply(height, table.address, 0, (gradient + panel * width).address,
                                 (sums + panel * (high * width)).address, again, rows, s.row_step * code.size, 1, 0,
                                 s.out_width, code.size, line * code.size)  # fmt: skip
                    k.add(height)
                top.add(rows)
    code.finish()


def _gradient_rows(code: Code, tile: Tile) -> None:
    """One image and group an item: [channels, pixels] into [pixels, panels of channels], zeros past the end."""
    s, lanes = code.slots, tile.lanes
    g, y = code.pointer(s.g), code.pointer(s.y)
    line = s.panels * tile.columns
    with code.loop(code.lo, code.hi) as item:
        source, target = g + item * s.channels * s.pixels, y + item * s.pixels * line
        with code.loop(0, s.pixels, lanes) as p, code.loop(0, line, lanes) as o:
            whole = (p + lanes <= s.pixels) & (o + lanes <= s.channels)
            with code.either(whole) as (full, part):
                with full:
                    places = ((source + (o * s.pixels + p)).address, s.pixels * code.size,
                              (target + (p * line + o)).address, line * code.size)  # fmt: skip
                    emit_transpose(code.builder, code.dtype, lanes, [place.value for place in places])
                with part, code.loop(p, code.smaller(s.pixels, p + lanes)) as i:
                    known = code.smaller(code.larger(s.channels - o, 0), lanes)
                    with code.loop(0, known) as j:
                        target[i * line + o + j] = source[(o + j) * s.pixels + i]
                    with code.loop(known, lanes) as j:
                        target[i * line + o + j] = 0.0
    code.finish()


def _sum_chunks(code: Code, tile: Tile) -> None:
    """One output channel an item: the sums of all chunks, in their order, as a row of the weight's gradient."""
    s, width, high = code.slots, tile.columns, tile.heights[-1]
    x, y = code.pointer(s.x), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        group, channel = item // s.channels, item % s.channels
        with code.loop(0, s.depth) as k:
            place = ((group * s.tiles + k // high) * s.panels + channel // width) * (high * width)
            place = place + k % high * width + channel % width
            total = code.variable(x[place])
            with code.loop(1, s.chunks) as chunk:
                total.add(x[place + chunk * s.groups * s.tiles * s.panels * (high * width)])
            y[item * s.depth + k] = total.get()
    code.finish()
