"""Eager convolutions, pooling, normalisation and activations on arrays, by the kernels of this package.

Operands are float32 or float64, all of one dtype and not empty; they were checked. What is not contiguous is copied.
Results are what the op records' `evaluate` gives, up to rounding.
"""

import functools
import struct
from typing import Any

import numpy as np

from ...ir.ops.conv_reference import Padding, Pair, windows_in
from ..runtime.memory import address_of, workspace
from .geometry import Tile, host_tile
from .library import grain_of, kernels, ready, run, short_name

__all__ = [
    "activation", "activation_gradient", "average_pool", "average_pool_gradient", "batch_norm", "batch_norm_gradient",
    "convolve", "group_norm", "group_norm_gradient", "input_gradient", "layer_norm", "layer_norm_gradient", "max_pool",
    "max_pool_gradient", "ready", "relu_gradient", "row_gradient", "row_result", "weight_gradient",
]  # fmt: skip

_Array = np.ndarray[Any, np.dtype[Any]]
_Window = tuple[Pair, Pair, Pair, Pair]
# Elements of the kernel gathered at once: with a panel of pixels they stay in the second level of cache.
_DEPTH = 512
# Rows of the kernel's elements in an item of the weight's gradient, in tiles; and items that are enough for any CPU.
_BLOCK_TILES = 8
_ITEMS = 16
# Elements of the gradient that an item reads again for every tile: they stay in the second level of cache.
_REUSED = 1 << 15
# Multiply-adds that cost as much as copying an element.
_PER_ELEMENT = 16


def _plain(array: _Array) -> _Array:
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.array(array, order="C", subok=False)


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


class _Geometry:
    """What sizes decide: how images lie inside their border, and where the kernel's elements meet them."""

    def __init__(
        self, shape: tuple[int, ...], weight: tuple[int, ...], stride: Pair, pads: Padding, dilation: Pair, groups: int
    ) -> None:
        self.images, self.channels, self.height, self.width = shape
        self.out_channels, self.in_group, kernel_height, kernel_width = weight
        self.kernel = kernel_height * kernel_width
        self.groups, self.out_group = groups, self.out_channels // groups
        self.depth = self.in_group * self.kernel
        self.top, _, self.left, _ = pads
        self.stride = stride[1]
        out = [
            windows_in(shape[2 + i], pads[2 * i], pads[2 * i + 1], weight[2 + i], stride[i], dilation[i])
            for i in (0, 1)
        ]
        self.out_height, self.out_width = int(out[0]), int(out[1])  # type: ignore[call-overload]
        self.pixels = self.out_height * self.out_width
        self.phase = -(-(self.width + pads[2] + pads[3]) // self.stride)
        self.row = self.phase * self.stride
        self.plane = (self.height + pads[0] + pads[1]) * self.row
        self.row_step = stride[0] * self.row
        rows = np.arange(kernel_height) * (dilation[0] * self.row)
        columns = np.arange(kernel_width) * dilation[1]
        columns = columns % self.stride * self.phase + columns // self.stride
        channels = np.arange(self.in_group) * self.plane
        self.offsets = (channels[:, None, None] + rows[:, None] + columns).astype(np.int64).reshape(-1)
        self.image = self.channels * self.plane
        self.group = self.in_group * self.plane


_geometry = functools.lru_cache(256)(_Geometry)


def _pad(code: dict[str, int], x: _Array, shape: _Geometry, into: int) -> None:
    """The images inside their border, at an address."""
    planes = shape.images * shape.channels
    slots = [address_of(x), into, shape.height, shape.width, shape.top, shape.left, shape.stride, shape.phase,
             shape.row, shape.plane]  # fmt: skip
    run(code["pad_images"], slots, planes, grain_of(planes, planes * shape.plane))


class _Memory:
    """Scratch memory of one call, cut into parts that begin at cache lines."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = [_up(size, 64) for size in sizes]

    def __enter__(self) -> list[int]:
        self.block = workspace.acquire(sum(self.sizes))
        places, at = [], self.block.address
        for size in self.sizes:
            places.append(at)
            at += size
        return places

    def __exit__(self, *exception: object) -> None:
        workspace.release(self.block)


def _ranges(items: int, grain: int) -> int:
    return -(-items // grain)


def convolve(
    x: _Array, w: _Array, bias: _Array | None, stride: Pair, pads: Padding, dilation: Pair, groups: int
) -> _Array:
    """Cross-correlation of [N, C, H, W] with [O, C / groups, kh, kw]."""
    dtype = short_name(x.dtype)
    code, tile, size = kernels("convolution", dtype), host_tile(dtype), x.itemsize
    x, w = _plain(x), _plain(w)
    shape = _geometry(x.shape, w.shape, stride, pads, dilation, groups)
    y = np.empty((shape.images, shape.out_channels, shape.out_height, shape.out_width), x.dtype)
    added = np.zeros(shape.out_channels, x.dtype) if bias is None else _plain(bias)
    w_stride = shape.depth
    if w_stride * size % 2048 == 0:  # the rows of a tile would push each other out of the first level of cache
        wide = np.empty((shape.out_channels, w_stride + 64 // size), x.dtype)
        wide[:, :w_stride] = w.reshape(shape.out_channels, w_stride)
        w, w_stride = wide, wide.shape[1]
    panels = -(-shape.images * shape.pixels // tile.columns)
    items = panels * groups
    grain = grain_of(items, items * tile.columns * shape.depth * shape.out_group // _PER_ELEMENT)
    block = min(shape.depth, _DEPTH)
    gathered = block * tile.columns + tile.lanes
    sums = (shape.out_group + tile.heights[-1]) * tile.columns + tile.lanes
    scratch = _up(8 * (tile.table + 4 * tile.columns) + size * (gathered + sums), 64)
    padded = size * (shape.images * shape.image + tile.lanes)
    with _Memory(padded, _ranges(items, grain) * scratch) as (images, own):
        _pad(code, x, shape, images)
        slots = [
            images, address_of(w), address_of(added), address_of(y), address_of(shape.offsets), shape.images,
            shape.out_group, shape.group, shape.image, shape.out_width, shape.pixels, shape.row_step, shape.depth,
            block, w_stride, panels, own, scratch, grain,
        ]  # fmt: skip
        run(code["convolve"], slots, items, grain)
    return y


def input_gradient(
    g: _Array, w: _Array, size: Pair, stride: Pair, pads: Padding, dilation: Pair, groups: int
) -> _Array:
    """The gradient of `convolve` with respect to images of spatial size `size`."""
    dtype = short_name(g.dtype)
    code, tile, bytes_ = kernels("convolution", dtype), host_tile(dtype), g.itemsize
    g, w = _plain(g), _plain(w)
    shape = _geometry((len(g), w.shape[1] * groups, *size), w.shape, stride, pads, dilation, groups)
    y = np.empty((shape.images, shape.channels, *size), g.dtype)
    # Some 64 rows of products at once: a gathered panel of the gradient serves them all.
    block = min(shape.in_group, max(1, 64 // shape.kernel))
    blocks = -(-shape.in_group // block)
    items = shape.images * groups * blocks
    work = shape.images * shape.pixels * shape.out_channels * shape.depth // _PER_ELEMENT
    grain = grain_of(items, work)
    product = (shape.out_group + block * shape.kernel + tile.heights[-1]) * tile.columns + tile.lanes
    scratch = 8 * (tile.table + 4 * tile.columns) + bytes_ * (product + block * shape.plane + 2 * tile.lanes)
    scratch = _up(scratch, 64)
    with _Memory(_ranges(items, grain) * scratch) as (own,):
        slots = [
            address_of(g), address_of(w), address_of(y), address_of(shape.offsets), shape.out_group, groups,
            shape.in_group, block, blocks, shape.plane, shape.row, shape.height, shape.width, shape.top, shape.left,
            shape.stride, shape.phase, shape.out_width, shape.pixels, shape.row_step, shape.depth, shape.kernel, own,
            scratch, grain,
        ]  # fmt: skip
        run(code["input_gradient"], slots, items, grain)
    return y


def weight_gradient(
    g: _Array, x: _Array, kernel: Pair, stride: Pair, pads: Padding, dilation: Pair, groups: int
) -> _Array:
    """The gradient of `convolve` with respect to a weight of kernel size `kernel`."""
    dtype = short_name(g.dtype)
    code, tile, size = kernels("convolution", dtype), host_tile(dtype), g.itemsize
    g, x = _plain(g), _plain(x)
    weight = (g.shape[1], x.shape[1] // groups, *kernel)
    shape = _geometry(x.shape, weight, stride, pads, dilation, groups)
    y = np.empty(weight, g.dtype)
    panels, tiles, blocks, chunks, depth_block = _weight_parts(shape, tile)
    items = blocks * chunks * groups
    work = shape.images * shape.pixels * shape.out_channels * shape.depth // _PER_ELEMENT
    grain = grain_of(items, work)
    line = panels * tile.columns
    rows = shape.images * groups
    with _Memory(
        size * (shape.images * shape.image + tile.lanes),
        size * rows * shape.pixels * line,
        size * chunks * groups * tiles * tile.heights[-1] * line,
        _ranges(items, grain) * 8 * tile.table,
    ) as (images, gradient, sums, own):
        _pad(code, x, shape, images)
        run(code["gradient_rows"], [address_of(g), gradient, shape.out_group, shape.pixels, panels], rows,
            grain_of(rows, rows * shape.pixels * line))  # fmt: skip
        slots = [
            images, gradient, sums, address_of(shape.offsets), shape.images, groups, shape.group, shape.image,
            shape.out_height, shape.out_width, shape.row_step, shape.depth, depth_block, blocks, tiles, chunks, panels,
            max(1, _REUSED // (shape.out_width * line)), own, 8 * tile.table, grain,
        ]  # fmt: skip
        run(code["weight_gradient"], slots, items, grain)
        slots = [sums, address_of(y), shape.out_group, shape.depth, groups, tiles, panels, chunks]
        channels = shape.out_channels
        run(code["sum_chunks"], slots, channels, grain_of(channels, channels * shape.depth * chunks))
    return y


def _weight_parts(shape: _Geometry, tile: Tile) -> tuple[int, int, int, int, int]:
    """Panels of output channels, tiles of kernel elements, blocks of these, chunks of images, elements in a block."""
    high = tile.heights[-1]
    panels, tiles = -(-shape.out_group // tile.columns), -(-shape.depth // high)
    block = min(_BLOCK_TILES, tiles)
    blocks = -(-tiles // block)
    # The sums of all chunks should be no more than the images and gradients that they are made of.
    most = max(1, shape.images * (shape.pixels + shape.image // shape.channels) // shape.depth)
    chunks = max(1, min(shape.images, -(-_ITEMS // (blocks * shape.groups)), most))
    return panels, tiles, blocks, chunks, block * high


# -- pooling -----------------------------------------------------------------------------------------------------------


def _pool(
    name: str,
    sources: tuple[_Array | None, _Array | None],
    result: _Array,
    image: tuple[int, ...],
    pooled: tuple[int, ...],
    window: _Window,
    border: int = 0,
    divisor: int = 0,
) -> _Array:
    code = kernels("images", short_name(result.dtype))[name]
    kernel, stride, pads, dilation = window
    places = [0 if a is None else address_of(a) for a in sources]
    slots = [*places, address_of(result), *image[-2:], *pooled[-2:], *kernel, *stride, *pads, *dilation, border,
             divisor]  # fmt: skip
    planes = result.size // max(result.shape[-2] * result.shape[-1], 1)
    work = planes * pooled[-2] * pooled[-1] * kernel[0] * kernel[1]
    run(code, slots, planes, grain_of(planes, work))
    return result


def max_pool(x: _Array, out: Pair, window: _Window) -> _Array:
    """The maximum of each window; `window` is kernel, stride, padding and dilation, `out` the result's size."""
    x = _plain(x)
    result = np.empty((*x.shape[:-2], *out), x.dtype)
    return _pool("max_pool", (x, None), result, x.shape, out, window)


def max_pool_gradient(g: _Array, x: _Array, window: _Window) -> _Array:
    """Each gradient at the first place of its window's maximum."""
    g, x = _plain(g), _plain(x)
    result = np.empty(x.shape, x.dtype)
    return _pool("max_pool_gradient", (x, g), result, x.shape, g.shape, window)


def average_pool(x: _Array, out: Pair, window: _Window, border: bool, divisor: int) -> _Array:
    """The mean of each window: over its border, too, or divided by `divisor` where that is not 0."""
    x = _plain(x)
    result = np.empty((*x.shape[:-2], *out), x.dtype)
    return _pool("average_pool", (x, None), result, x.shape, out, window, border, divisor)


def average_pool_gradient(g: _Array, size: Pair, window: _Window, border: bool, divisor: int) -> _Array:
    """Each gradient spread over its window."""
    g = _plain(g)
    result = np.empty((*g.shape[:-2], *size), g.dtype)
    return _pool("average_pool_gradient", (None, g), result, result.shape, g.shape, window, border, divisor)


# -- normalisation and relu --------------------------------------------------------------------------------------------


def _bits(number: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits


def _channels(x: _Array) -> tuple[int, int, int]:
    """Images, channels, and elements of a channel in an image."""
    images, channels = x.shape[:2]
    return images, channels, x.size // (images * channels)


def batch_norm(x: _Array, weight: _Array | None, bias: _Array | None, eps: float) -> tuple[_Array, _Array, _Array]:
    """[N, C, ...] normalised per channel, the means, and the (biased) variances."""
    x = _plain(x)
    channels = x.shape[1]
    scale = np.ones(channels, x.dtype) if weight is None else _plain(weight)
    shift = np.zeros(channels, x.dtype) if bias is None else _plain(bias)
    result = np.empty(x.shape, x.dtype)
    mean, variance = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    slots = [*map(address_of, (x, scale, shift, result, mean, variance)), *_channels(x), _bits(eps)]
    run(kernels("images", short_name(x.dtype))["batch_norm"], slots, channels, grain_of(channels, x.size))
    return result, mean, variance


def batch_norm_gradient(
    g: _Array, x: _Array, weight: _Array | None, mean: _Array, variance: _Array, eps: float
) -> tuple[_Array, _Array, _Array]:
    """The gradients of `batch_norm`'s normalised result: for x, weight and bias."""
    g, x, mean, variance = _plain(g), _plain(x), _plain(mean), _plain(variance)
    channels = x.shape[1]
    scale = np.ones(channels, x.dtype) if weight is None else _plain(weight)
    result = np.empty(x.shape, x.dtype)
    slope, total = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    slots = [*map(address_of, (g, x, scale, mean, variance, result, slope, total)), *_channels(x), _bits(eps)]
    run(kernels("images", short_name(x.dtype))["batch_norm_gradient"], slots, channels, grain_of(channels, x.size))
    return result, slope, total


def relu_gradient(g: _Array, out: _Array) -> _Array:
    """The gradient where the result is positive, zero elsewhere; both of one shape."""
    g, out = _plain(g), _plain(out)
    result = np.empty(out.shape, out.dtype)
    slots = list(map(address_of, (g, out, result)))
    run(kernels("images", short_name(out.dtype))["relu_gradient"], slots, out.size, grain_of(out.size, out.size))
    return result


def activation(name: str, x: _Array, first: float = 0.0, second: float = 0.0) -> _Array:
    """An activation function of each element."""
    return _activation(name, None, x, first, second)


def activation_gradient(name: str, g: _Array, x: _Array, first: float = 0.0, second: float = 0.0) -> _Array:
    """Its gradient times `g`, which is of the operand's shape."""
    return _activation(f"{name}_gradient", g, x, first, second)


def _activation(name: str, g: _Array | None, x: _Array, first: float, second: float) -> _Array:
    x = _plain(x)
    g = x if g is None else _plain(g)
    result = np.empty(x.shape, x.dtype)
    slots = [*map(address_of, (x, g, result)), _bits(first), _bits(second)]
    run(kernels("activations", short_name(x.dtype))[name], slots, x.size, grain_of(x.size, 2 * x.size))
    return result


# -- over the last dimension -------------------------------------------------------------------------------------------

# Rows in a chunk, whose sums are kept: as many that the sums are a small part of the rows.
_CHUNK_ROWS = 32
_CHUNK_IMAGES = 8


def row_result(name: str, x: _Array) -> _Array:
    """`softmax` or `log_softmax` over the last dimension."""
    x = _plain(x)
    result = np.empty(x.shape, x.dtype)
    size = x.shape[-1]
    slots = [address_of(x), address_of(result), size]
    rows = x.size // size
    run(kernels("rows", short_name(x.dtype))[name], slots, rows, grain_of(rows, 2 * x.size))
    return result


def row_gradient(name: str, g: _Array, out: _Array) -> _Array:
    """The gradient of one of these by its result."""
    g, out = _plain(g), _plain(out)
    result = np.empty(out.shape, out.dtype)
    size = out.shape[-1]
    slots = [address_of(g), address_of(out), address_of(result), size]
    rows = out.size // size
    run(kernels("rows", short_name(out.dtype))[f"{name}_gradient"], slots, rows, grain_of(rows, 2 * out.size))
    return result


def layer_norm(x: _Array, weight: _Array | None, bias: _Array | None, size: int, eps: float, period: int = 1) -> _Array:
    """Rows of `size` elements with mean 0 and variance 1, times weight plus bias, which `period` rows have together."""
    x = _plain(x)
    scale = np.ones(period * size, x.dtype) if weight is None else _plain(weight)
    shift = np.zeros(period * size, x.dtype) if bias is None else _plain(bias)
    result = np.empty(x.shape, x.dtype)
    rows = x.size // size
    slots = [*map(address_of, (x, scale, shift, result)), size, _bits(eps), period]
    run(kernels("rows", short_name(x.dtype))["layer_norm"], slots, rows, grain_of(rows, x.size))
    return result


def layer_norm_gradient(
    g: _Array, x: _Array, weight: _Array | None, size: int, eps: float, period: int = 1
) -> tuple[_Array, _Array, _Array]:
    """The gradients of `layer_norm` for x, weight and bias, the last two as rows of `period * size`."""
    g, x = _plain(g), _plain(x)
    scale = np.ones(period * size, x.dtype) if weight is None else _plain(weight)
    result = np.empty(x.shape, x.dtype)
    rows = x.size // size
    chunk = _CHUNK_ROWS if period == 1 else _CHUNK_IMAGES * period
    chunks = -(-rows // chunk)
    sums = np.empty((chunks, 2, period * size), x.dtype)
    slots = [*map(address_of, (g, x, scale, result, sums)), rows, chunk, size, _bits(eps), period]
    run(kernels("rows", short_name(x.dtype))["layer_norm_gradient"], slots, chunks, grain_of(chunks, 2 * x.size))
    total = sums.sum(0)
    return result, total[0], total[1]


def group_norm(x: _Array, weight: _Array | None, bias: _Array | None, groups: int, eps: float) -> _Array:
    """[N, C, ...] with mean 0 and variance 1 over each group of channels, times weight plus bias per channel."""
    _, channels, length = _channels(x)
    scale, shift = (None if v is None else np.repeat(v, length) for v in (weight, bias))
    return layer_norm(x, scale, shift, channels // groups * length, eps, groups)


def group_norm_gradient(
    g: _Array, x: _Array, weight: _Array | None, groups: int, eps: float
) -> tuple[_Array, _Array, _Array]:
    """The gradients of `group_norm` for x, weight and bias."""
    _, channels, length = _channels(x)
    scale = None if weight is None else np.repeat(weight, length)
    result, *sums = layer_norm_gradient(g, x, scale, channels // groups * length, eps, groups)
    for_weight, for_bias = (total.reshape(channels, length).sum(1) for total in sums)
    return result, for_weight, for_bias
