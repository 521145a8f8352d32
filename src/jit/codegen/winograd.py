"""Convolutions 3x3 of stride 1 by Winograd's minimal filtering: fewer multiplications, for a bounded rounding error.

F(m x m, 3 x 3) makes m x m outputs of an (m+2) x (m+2) tile of the input: tile and weights are transformed, multiplied
place by place, and the sums over channels transformed back. F(4x4) needs 36 products where the direct form needs 144,
F(2x2) 16 for 36. Over all tiles, each place is a product of matrices, (tiles x channels) * (channels x output
channels), which the micro-kernel does. Weights are transformed when they are packed. An item is a block of tiles and a
group of panels of output channels: its tiles are transformed, multiplied and stored while they are in cache.

Rounding errors grow with the transforms' coefficients: for m = 2 about as those of the direct form, for m = 4 about ten
times those. One infinite or NaN input reaches the whole tile. So it is used for float32 and constant weights only, and
`jit.winograd(False)` forbids it. After A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
2016.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .conv import conv_store
from .epilogue import Epilogue, indent
from .external import load
from .gemm import GRAIN_MULTIPLY_ADDS, IMPORTS, entry_source, pack_b_numpy, shared_sources
from .microkernel import TABLE_BYTES, microkernel_call
from .target import MOST_ROWS, Target, TileShape, host_target, tile_shape

__all__ = [
    "WINOGRAD_SLOTS",
    "WinogradSpec",
    "output_size",
    "pack_winograd_numpy",
    "scratch_elements",
    "winograd_source",
]

WINOGRAD_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "x",  # address of the first tile's first element, inside the border
            "w",  # address of the packed, transformed weights
            "y",
            "scratch",
            "images",
            "channels",
            "out_channels",
            "out_height",
            "out_width",
            "x_image_stride",
            "x_row_stride",
            "x_pixel_stride",
            "y_image_stride",
            "y_row_stride",
            "y_pixel_stride",
            "y_channel_stride",
            "tile_block",  # written by the plan function, as is all below
            "panel_block",
            "items",
            "workers",
            "grain",
        )
    )
}

# Tiles of one item: all where there are few of them, else as many as most micro-kernels have rows.
_TILES, _USUAL_TILES = 16, 14
# How many items have scratch memory at a time, and the panels of output channels of one item, by m.
_WORKERS = 8
_PANELS = {2: 4, 4: 2}
# Channels that are transformed and multiplied at a time.
_CHANNELS = 128
# Between transformed tiles: rows a power of two apart would compete for the same cache lines.
_ROW_GAP = 16
# Beyond these weights the larger transform would read more memory than it saves products.
_LARGE_WEIGHTS = 256 * 256
_FEWEST_CHANNELS = 16

Rows = tuple[tuple[float, ...], ...]
# The transforms of inputs (B^T), weights (G) and outputs (A^T), from Lavin and Gray.
_TRANSFORMS: dict[int, tuple[Rows, Rows, Rows]] = {
    2: (
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: (
        (
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        (
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}


def output_size(channels: Any, out_channels: Any) -> int:
    """The outputs of a tile in each direction for so many channels; 0 where the direct form is better.

    >>> output_size(64, 64), output_size(512, 512), output_size(3, 64)
    (4, 2, 0)
    """
    if not isinstance(channels, int) or not isinstance(out_channels, int):
        return 0
    if min(channels, out_channels) < _FEWEST_CHANNELS:
        return 0
    return 4 if channels * out_channels <= _LARGE_WEIGHTS else 2


@dataclass(frozen=True)
class WinogradSpec:
    """What is known about such a convolution when its kernel is generated; `outputs` is m of F(m x m, 3 x 3).

    >>> WinogradSpec(4, target=Target("avx512", 512, 32, True)).name
    'winograd_4_f32_14x2x16'
    """

    outputs: int
    out_channels: int | None = None
    nchw_output: bool = False
    target: Target = field(default_factory=host_target)

    @property
    def tile(self) -> TileShape:
        """The micro-kernel tile; weights must have been packed for it."""
        return tile_shape(self.target, "f32", self.out_channels)

    @property
    def places(self) -> int:
        """The elements of a transformed tile."""
        return (self.outputs + 2) ** 2

    @property
    def name(self) -> str:
        """The name of the loop nest; `<name>_plan(p, threads)` is its plan function."""
        return f"winograd_{self.outputs}_{self.tile.name}"

    def shared_sources(self) -> dict[str, str]:
        """The modules to link with the kernels of this spec, by name."""
        return shared_sources((self.tile,), self.target) | {self.name: _core_source(self)}


def pack_winograd_numpy(weight: np.ndarray[Any, Any], outputs: int, tile: TileShape) -> np.ndarray[Any, Any]:
    """Weights (O, C, 3, 3) transformed and packed as (places, panels, C, tile.columns), zero past the end.

    The transform is computed in float64 and rounded once.

    >>> pack_winograd_numpy(np.ones((40, 3, 3, 3), np.float32), 2, TileShape("f32", 14, 2, 16)).shape
    (16, 2, 3, 32)
    """
    if weight.ndim != 4 or weight.shape[2:] != (3, 3):
        raise ValueError(f"pack_winograd_numpy: weight has shape {list(weight.shape)}, expected (O, C, 3, 3)")
    out_channels, channels = weight.shape[:2]
    g = np.array(_TRANSFORMS[outputs][1])
    both = np.kron(g, g)  # (places, 9): rows and columns at once
    transformed = both @ weight.reshape(-1, 9).T.astype(np.float64)
    matrices = transformed.astype(np.float32).reshape(len(both), out_channels, channels)
    return pack_b_numpy(np.swapaxes(matrices, 1, 2), tile)


def scratch_elements(spec: WinogradSpec, channels: int) -> int:
    """The scratch memory of a call, in elements."""
    row = min(channels, _CHANNELS) + _ROW_GAP
    return _WORKERS * spec.places * _TILES * (row + _PANELS[spec.outputs] * spec.tile.columns)


def winograd_source(name: str, spec: WinogradSpec, epilogue: Epilogue | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over workers, self-contained but for `spec.shared_sources()`.

    The table `p` is laid out as `WINOGRAD_SLOTS` says, followed by the epilogue's parameters.
    """
    store = conv_store(
        name, spec.tile, epilogue or Epilogue(), WINOGRAD_SLOTS, spec.nchw_output, spec.out_channels, spec.target
    )
    return (
        f"{IMPORTS}"
        f"from ingot.jit.codegen.winograd import WinogradSpec, loops\n\n"
        f"{spec.name} = loops({spec!r})\n\n\n"
        f"{store}"
        f"{entry_source(name, spec.name)}"
    )


def loops(spec: WinogradSpec) -> Callable[..., Any]:
    """The loop nest of a spec: a function `(p, lo, hi, store)`."""
    return load(spec.shared_sources()[spec.name])[spec.name]


def _combination(row: tuple[float, ...]) -> str:
    """A linear combination of `x0[s]`, `x1[s]`, ... as text."""
    text = ""
    for index, factor in enumerate(row):
        if factor == 0:
            continue
        sign = "-" if factor < 0 else "+"
        size = "" if abs(factor) == 1 else f"np.float32({abs(factor):.1f}) * "
        text += f" {sign} {size}x{index}[s]"
    return text.removeprefix(" + ").strip()


def _transform_source(name: str, rows: Rows) -> str:
    """Source of a body that combines vectors: `y[q] = sum over k of rows[q][k] * x[k]`."""
    inputs = ", ".join(f"x{k}" for k in range(len(rows[0])))
    outputs = ", ".join(f"y{q}" for q in range(len(rows)))
    lines = "\n".join(f"        y{q}[s] = {_combination(row)}" for q, row in enumerate(rows))
    return f"@body\ndef {name}({inputs}, {outputs}, count):\n    for s in range(count):\n{lines}\n"


def _call(name: str, sources: list[str], targets: list[str], count: str) -> str:
    pointers = [f"pointer_f32({address})" for address in (*sources, *targets)]
    return f"{name}({', '.join(pointers)}, {count})"


def _read(*names: str) -> str:
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {WINOGRAD_SLOTS[n]})' for n in names)}"


def _core_source(spec: WinogradSpec) -> str:
    m, n, tile, slots = spec.outputs, spec.outputs + 2, spec.tile, WINOGRAD_SLOTS
    into, _, out = _TRANSFORMS[m]
    width, height, row_bytes, step = tile.columns, tile.rows, tile.row_bytes, _CHANNELS * 4
    places = range(n)
    choose = "\n".join(
        f"a{i} = start + {i} * x_row if row_at + {i} < rows_in and column_at + j < columns_in else zeros"
        for i in places
    )
    down = _call("transform_in", [f"a{i}" for i in places], [f"between + ({i * n} + j) * {step}" for i in places],
                 "count")  # fmt: skip
    across = _call(
        "transform_in",
        [f"between + (i * {n} + {q}) * {step}" for q in places],
        [f"target + (i * {n} + {q}) * place_bytes" for q in places],
        "count",
    )
    up = _call(
        "transform_out",
        [f"source + ({i * n} + j) * sum_bytes" for i in places],
        [f"between + ({r * n} + j) * {row_bytes}" for r in range(m)],
        str(width),
    )
    back = _call(
        "transform_out",
        [f"between + (r * {n} + {q}) * {row_bytes}" for q in places],
        [f"results + (r * {MOST_ROWS} + t * {m} + {q}) * {row_bytes}" for q in range(m)],
        str(width),
    )
    return f"""{IMPORTS}
multiply_tile = {microkernel_call(tile)}.multiply_tile


{_transform_source("transform_in", into)}

{_transform_source("transform_out", out)}

@kernel
def {spec.name}_plan(p, threads):
    {_read("images", "channels", "out_channels", "out_height", "out_width")}
    tiles = images * ((out_height + {m - 1}) // {m}) * ((out_width + {m - 1}) // {m})
    panels = (out_channels + {width - 1}) // {width}
    # The order of sums depends on the blocks of tiles: they are chosen by the sizes, and the panels of an item by how
    # much the busiest thread has to do (products, transforms, and reading weights).
    tile_block = {_TILES} if tiles <= {_TILES} else {_USUAL_TILES}
    best, panel_block, group = -1, 1, min(panels, {_PANELS[m]})
    while group >= 1:
        items = ((tiles + tile_block - 1) // tile_block) * ((panels + group - 1) // group)
        cost = tile_block * ({spec.places * width // 16} * group * channels)
        cost += tile_block * (channels * {spec.places // 4} + group * {width * spec.places // 5})
        cost += {spec.places * row_bytes // 8} * group * channels
        cost *= (items + threads - 1) // threads
        if best < 0 or cost < best:
            best, panel_block = cost, group
        group = group // 2
    items = ((tiles + tile_block - 1) // tile_block) * ((panels + panel_block - 1) // panel_block)
    set_slot_i64(p, {slots["tile_block"]}, tile_block)
    set_slot_i64(p, {slots["panel_block"]}, panel_block)
    set_slot_i64(p, {slots["items"]}, items)
    workers = min(items, {_WORKERS})
    set_slot_i64(p, {slots["workers"]}, workers)
    work = tiles * {spec.places} * channels * out_channels // max(1, workers)
    set_slot_i64(p, {slots["grain"]}, {GRAIN_MULTIPLY_ADDS} // (work + 1) + 1)
    return workers


@kernel
def {spec.name}(p, lo, hi, store):
    {_read("x", "w", "scratch", "images", "channels", "out_channels", "out_height", "out_width")}
    {_read("x_image_stride", "x_row_stride", "x_pixel_stride")}
    {_read("y_image_stride", "y_row_stride", "y_pixel_stride")}
    {_read("tile_block", "panel_block", "items", "workers")}
    x_image, x_row, x_pixel = x_image_stride * 4, x_row_stride * 4, x_pixel_stride * 4
    tiles_down, tiles_right = (out_height + {m - 1}) // {m}, (out_width + {m - 1}) // {m}
    tiles, panels = images * tiles_down * tiles_right, (out_channels + {width - 1}) // {width}
    groups = (panels + panel_block - 1) // panel_block
    rows_in, columns_in = out_height + 2, out_width + 2
    row_stride = (min(channels, {_CHANNELS}) + {_ROW_GAP}) * 4
    place_bytes, sum_bytes = {_TILES} * row_stride, panel_block * {_TILES * row_bytes}
    # Between two transforms; zeros in the place of what lies outside the input; finished pixels.
    between, results, table = row_buffer(), tile_buffer(), row_table()
    zeros = between + {max(n * n * step, m * n * row_bytes)}
    nothing = pointer_f32(zeros)
    for s in range({_CHANNELS}):
        nothing[s] = 0
    addresses, offset_table = pointer_i64(table), table + {TABLE_BYTES}
    offsets = pointer_i64(offset_table)
    for worker in range(lo, hi):
        inputs = scratch + worker * {spec.places * _TILES} * (row_stride + {_PANELS[m] * row_bytes})
        sums = inputs + {spec.places} * place_bytes
        for item in range(worker, items, workers):
            first_tile = item // groups * tile_block
            last_tile = min(first_tile + tile_block, tiles)
            first_panel = item % groups * panel_block
            last_panel = min(first_panel + panel_block, panels)
            for channel in range(0, channels, {_CHANNELS}):
                count = min({_CHANNELS}, channels - channel)
                for t in range(first_tile, last_tile):
                    image, row_at = t // (tiles_down * tiles_right), t // tiles_right % tiles_down * {m}
                    column_at = t % tiles_right * {m}
                    for j in range({n}):
                        start = x + image * x_image + row_at * x_row + (column_at + j) * x_pixel + channel * 4
{indent(choose, 24)}
                        {down}
                    target = inputs + (t - first_tile) * row_stride
                    for i in range({n}):
                        {across}
                for place in range({spec.places}):
                    for first in range(0, last_tile - first_tile, {height}):
                        rows = min({height}, last_tile - first_tile - first)
                        for t in range({height}):
                            addresses[t] = inputs + place * place_bytes + (first + min(t, rows - 1)) * row_stride
                        for panel in range(first_panel, last_panel):
                            target = sums + place * sum_bytes + ((panel - first_panel) * {_TILES} + first) * {row_bytes}
                            weights = w + ((place * panels + panel) * channels + channel) * {row_bytes}
                            multiply_tile(table, rows, 0, weights, target, channel, 1, 0, 1, 0, count, 4, {row_bytes})
            first = first_tile
            while first < last_tile:
                # Tiles beside each other make rows of pixels.
                right = first % tiles_right
                run = min({MOST_ROWS // m}, tiles_right - right, last_tile - first)
                image, row_at = first // (tiles_down * tiles_right), first // tiles_right % tiles_down * {m}
                pixels = min(run * {m}, out_width - right * {m})
                for panel in range(first_panel, last_panel):
                    for t in range(run):
                        source = (panel - first_panel) * {_TILES} + first - first_tile + t
                        source = sums + source * {row_bytes}
                        for j in range({n}):
                            {up}
                        for r in range({m}):
                            {back}
                    for r in range(min({m}, out_height - row_at)):
                        offset = image * y_image_stride + (row_at + r) * y_row_stride + right * {m} * y_pixel_stride
                        for t in range(pixels):
                            offsets[t] = offset + t * y_pixel_stride
                        call_store(store, p, results + r * {MOST_ROWS * row_bytes}, offset_table, 0,
                            (image * out_height + row_at + r) * out_width + right * {m}, panel * {width}, pixels,
                            min({width}, out_channels - panel * {width}))
                first += run
"""
