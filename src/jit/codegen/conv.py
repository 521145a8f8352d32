"""Two-dimensional convolution for the CPU: range kernels over NHWC images, with no im2col.

The public layout is NCHW; kernels work on NHWC buffers whose border already holds the padding (see `layout.py` for the
changes of layout), so that consecutive convolutions stay in NHWC; the result can go to the inside of the next buffer.

A convolution is the GEMM micro-kernel over pixels: row i of A is the window of output pixel i, whatever its image, row
or stride, and B the weights packed as (kernel row, kernel column, channel) x output channel. A kernel row of an
undilated, ungrouped window is contiguous in NHWC: it is one segment. A depthwise convolution (one filter per channel)
has a micro-kernel of its own, vectorised over channels. As for GEMM, the loop nests are shared and compiled once
(`ConvSpec.shared_sources`); the kernel of one convolution (`conv_source`) is little more than its epilogue.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .conv_loops import CONV_SLOTS, core_source
from .epilogue import Epilogue, finish_and_store, indent, store_source
from .external import load
from .gemm import (
    IMPORTS,
    block_lanes,
    dot_tile,
    entry_source,
    pack_b_numpy,
    shared_sources,
    tile_source,
)
from .target import Target, TileShape, host_target, tile_shape

__all__ = ["CONV_SLOTS", "ConvSpec", "Epilogue", "conv_source", "pack_conv_numpy", "pack_depthwise_numpy"]


@dataclass(frozen=True)
class ConvSpec:
    """What is known about a convolution when its kernel is generated; all sizes and strides are read at run time.

    `out_channels` (of one group), if known, picks a tile that fits few channels, for which the weights must have been
    packed. `depthwise` means one input and one output channel per group, or `inputs` of each, a divisor of a
    vector's lanes. `nchw_output` stores the result in NCHW.

    >>> ConvSpec("f32", out_channels=6, target=Target("avx512", 512, 32, True)).name
    'conv_f32_28x1x8_l2_512k'
    """

    dtype: str = "f32"
    out_channels: int | None = None
    depthwise: bool = False
    nchw_output: bool = False
    target: Target = field(default_factory=host_target)
    inputs: int = 1

    @property
    def tile(self) -> TileShape:
        """The micro-kernel tile; weights must have been packed for it."""
        if self.depthwise:
            return replace(dot_tile(self.target, self.dtype), inputs=self.inputs)
        return tile_shape(self.target, self.dtype, self.out_channels)

    @property
    def name(self) -> str:
        """The name of the loop nest for this tile and cache; `<name>_plan(p, threads)` is its plan function."""
        return f"conv_{self.tile.name}_l2_{self.target.l2_bytes >> 10}k"

    @property
    def core_name(self) -> str:
        """The name of the loop nest that all tiles share."""
        suffix = self.tile.name if self.depthwise else f"{self.dtype}_{block_lanes(self.target, self.dtype)}"
        return f"conv_loops_{suffix}"

    def shared_sources(self) -> dict[str, str]:
        """The modules to link with the kernels of this spec, by name."""
        # What does not change the loop nest is not in its source either.
        common = replace(self, out_channels=None, nchw_output=False)
        own = tile_source(self.name, self.core_name, "conv", common, self.tile, self.target)
        return shared_sources((self.tile,), self.target) | {self.core_name: core_source(self), self.name: own}


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


def pack_depthwise_numpy(weight: np.ndarray[Any, Any], tile: TileShape) -> np.ndarray[Any, Any]:
    """Weights (C, inputs, KH, KW) packed as (panels, KH * KW * inputs, tile.columns), zero past the end.

    >>> pack_depthwise_numpy(np.ones((40, 1, 3, 3), np.float32), TileShape("f32", 14, 1, 16, True, True)).shape
    (3, 9, 16)
    """
    if weight.ndim != 4 or weight.shape[1] != tile.inputs:
        wanted = f"(C, {tile.inputs}, KH, KW)"
        raise ValueError(f"pack_depthwise_numpy: weight has shape {list(weight.shape)}, expected {wanted}")
    return pack_b_numpy(weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]), tile)


def conv_source(name: str, spec: ConvSpec, epilogue: Epilogue | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over items, self-contained but for `spec.shared_sources()`.

    The table `p` is laid out as `CONV_SLOTS` says, followed by the epilogue's parameters. The driver fills it, calls
    the plan function `<spec.name>_plan(p, threads)`, which writes the last slots and returns the number of items, and
    runs the kernel over the items with the grain that it finds in its slot. In the epilogue `i` is the output pixel
    (counted over all images), `j` the output channel, and `at` the offset of the element from the address `y`.

    A depthwise convolution, or one with `inputs` channels in a group, has `channels` and `out_channels` 1, `groups` the
    number of channels, and weights packed by `pack_depthwise_numpy`; others are packed by `pack_conv_numpy`.
    """
    columns = None if spec.depthwise else spec.out_channels
    store = conv_store(name, spec.tile, epilogue or Epilogue(), CONV_SLOTS, spec.nchw_output, columns, spec.target)
    # The loop nest is the same for both output layouts.
    return (
        f"{IMPORTS}"
        f"from ingot.jit.codegen.conv import ConvSpec, loops\n\n"
        f"{spec.name} = loops({spec!r})\n\n\n"
        f"{store}"
        f"{entry_source(name, spec.name)}"
    )


def conv_store(
    name: str,
    tile: TileShape,
    epilogue: Epilogue,
    slots: dict[str, int],
    nchw: bool,
    columns: int | None,
    target: Target,
) -> str:
    """Source of `<name>_store`, which finishes a tile of pixels and stores it in NHWC or NCHW."""
    if not nchw:
        return store_source(name, tile, epilogue, slots, result="y", columns=columns)
    more = f", slot_i64(p, {slots['y_channel_stride']}), tile, slot_i64(p, {slots['y']})"
    return finish_and_store(name, tile, epilogue, slots, "y", _nchw_finish(name, tile, epilogue, target), more)


def _nchw_finish(name: str, tile: TileShape, epilogue: Epilogue, target: Target) -> str:
    """Finishes the tile in place, where it vectorises over channels, then stores it channel by channel."""
    body = f"""
    i = first_row
{indent(epilogue.start, 4)}
    for t in range(rows):
        i = first_row + t
        for s in range(columns):
            j = first_column + s
            at = offsets[t] + j * channel_stride
            v = tile[t * {tile.columns} + s]
{indent(epilogue.body, 12)}
            tile[t * {tile.columns} + s] = v
{indent(epilogue.advance, 8)}
"""
    lanes, size = block_lanes(target, tile.dtype), tile.element_bytes
    return f"""
from ingot.jit.codegen.microkernel import transpose_block

{name}_transpose = transpose_block({tile.dtype!r}, {lanes})


@body
def {name}_finish(tile, c{epilogue.names}, offsets, batch, first_row, first_column, rows, columns, channel_stride,
        tile_address, c_address):
{body if epilogue.body.strip() else ""}
    at = first_column * channel_stride + offsets[0]
    if rows >= {lanes} and columns >= {lanes} and offsets[rows - 1] - offsets[0] == rows - 1:
        # Blocks that are transposed in registers; the last of each direction overlaps the one before.
        for s in range(0, columns, {lanes}):
            s = min(s, columns - {lanes})
            for t in range(0, rows, {lanes}):
                t = min(t, rows - {lanes})
                {name}_transpose(tile_address + (t * {tile.columns} + s) * {size}, {tile.row_bytes},
                    c_address + (at + s * channel_stride + t) * {size}, channel_stride * {size})
    else:
        for s in range(columns):
            plane = (first_column + s) * channel_stride
            for t in range(rows):
                c[plane + offsets[t]] = tile[t * {tile.columns} + s]
"""


def loops(spec: ConvSpec) -> Callable[..., Any]:
    """The loop nest of a spec: a function `(p, lo, hi, store)`."""
    return load(spec.shared_sources()[spec.name])[spec.name]


def core(spec: ConvSpec) -> dict[str, Callable[..., Any]]:
    """The functions of `core_source` by name."""
    return load(core_source(spec))
