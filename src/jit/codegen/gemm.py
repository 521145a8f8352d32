"""Matrix multiplication for the CPU: range kernels that compute C[i, j] = epilogue(sum over k of A[i, k] * B[k, j]).

A kernel works on *items*: a block of rows times a block of *panels* (groups of `tile.columns` columns of B). Inside an
item it walks K in blocks, then row tiles, then panels, so that the panels stay in the L2 cache and the rows in L1; the
tiles of the item keep their sums on the stack meanwhile, and the epilogue runs once on each finished tile. The plan
function cuts the work into items at run time, so that one kernel serves every size.

Three modules are linked: the micro-kernel and the loop nest, which all products share and which are compiled once
(`GemmSpec.shared_sources`), and the kernel of one product (`gemm_source`): little more than its epilogue.

The order of the sums depends on the sizes alone, never on the number of threads. Blocking after K. Goto and R. van de
Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .epilogue import Epilogue, indent, store_source
from .external import load
from .microkernel import PANEL_ROWS, TILES_PER_ITEM, longest_row, microkernel_call, microkernel_source
from .target import Target, TileShape, host_target, tile_shape

__all__ = ["GEMM_SLOTS", "PACK_SLOTS", "Epilogue", "GemmSpec", "aligned_empty", "gemm_source", "pack_b_numpy"]

# The slots of a GEMM kernel's table; those of the epilogue follow. Strides count elements.
GEMM_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "a",  # address of A
            "b",  # address of B (packed: its panels)
            "c",  # address of C
            "m",
            "n",
            "k",
            "a_row_stride",
            "a_k_stride",
            "b_k_stride",  # the strides of B are read only when it is not packed
            "b_column_stride",
            "c_row_stride",
            "batches",  # all batches: outer * inner
            "inner_batches",  # batch = outer * inner_batches + inner
            "a_outer_stride",
            "a_inner_stride",
            "b_outer_stride",
            "b_inner_stride",
            "c_outer_stride",
            "c_inner_stride",
            "row_block",  # written by the plan function, as is all below
            "panel_block",
            "grain",
        )
    )
}
# Below this many multiply-adds, handing an item to another thread costs more than it saves (a few microseconds).
GRAIN_MULTIPLY_ADDS = 100_000
# Rows of A that lie a multiple of this apart compete for the same lines of an L1 cache (64 sets of 64 bytes).
CACHE_SET_PERIOD = 4096

IMPORTS = """\
import numpy as np
from ingot.jit.codegen.external import call_store, store_address
from ingot.jit.codegen.microkernel import lane_sum, microkernel
from ingot.jit.codegen.primitives import pointer_f32, pointer_f64, pointer_i8, pointer_u8, pointer_i16, pointer_i32
from ingot.jit.codegen.primitives import pointer_i64, set_slot_i64, slot_f64, slot_i64
from ingot.jit.codegen.target import Target
"""


def preamble(*tiles: TileShape) -> str:
    """The lines that a source needs to use the micro-kernels of tiles: imports, and their functions by name."""
    names = ("multiply_tile", "gather_rows", "pack_panel", "tile_buffer", "panel_buffer", "row_buffer", "row_table")
    lines = [IMPORTS]
    for tile in tiles:
        lines.append(f"functions = {microkernel_call(tile)}\n")
        lines += [f"{name}_{tile.name} = functions.{name}\n" for name in names]
    return "".join(lines)


def blocking_source(tile: TileShape, l2_bytes: int, *, packed: bool = True) -> str:
    """Statements that choose `row_block` and `panel_block` (in tiles) and give `items` and `grain`.

    They read `row_tiles`, `panels`, `batches`, `threads`, `m`, `k` (the whole depth) and `depth` (of one block of it).
    """
    if packed:
        choice = f"""
            panel_bytes = max(1, depth * {tile.columns * tile.element_bytes})
            panel_block = max(1, min(panels, {l2_bytes // 2} // panel_bytes))
            row_block = 4
            if depth < k:
                # All tiles of an item keep their sums on the stack from one block of K to the next.
                panel_block = min(panel_block, {TILES_PER_ITEM // 4})
                row_block = min(row_tiles, {TILES_PER_ITEM} // panel_block)
        """
    else:
        choice = f"""
            panel_block = 1
            row_block = {TILES_PER_ITEM}
        """
    count = "batches * ((row_tiles + row_block - 1) // row_block) * ((panels + panel_block - 1) // panel_block)"
    return f"""
{indent(choice, 0)}
row_block = max(1, min(row_block, row_tiles))
# Smaller items while there are too few of them for the threads to share evenly.
items = {count}
while items < 4 * threads and (row_block > 1 or panel_block > 1):
    if row_block > 1:
        row_block = (row_block + 1) // 2
    else:
        panel_block = (panel_block + 1) // 2
    items = {count}
work = min(m, row_block * {tile.rows}) * panel_block * {tile.columns} * (k + 8)
grain = {GRAIN_MULTIPLY_ADDS} // (work + 1) + 1
"""


@dataclass(frozen=True)
class GemmSpec:
    """What is known about a product when its kernel is generated; all sizes and strides are read at run time.

    `packed` says that B was packed ahead of time (`pack_b_numpy`, `pack_b_source`); otherwise B has any strides and is
    packed on the fly. `batched` adds two batch dimensions with strides of their own (0 broadcasts). `n`, if known,
    picks a tile that fits few columns; packed operands must have been packed for that tile.

    >>> GemmSpec("f32", n=10, target=Target("avx512", 512, 32, True)).name
    'gemm_f32_28x1x16_packed_l2_512k'
    """

    dtype: str = "f32"
    packed: bool = True
    batched: bool = False
    n: int | None = None
    target: Target = field(default_factory=host_target)

    @property
    def tile(self) -> TileShape:
        """The micro-kernel tile."""
        return tile_shape(self.target, self.dtype, self.n)

    @property
    def tiles(self) -> tuple[TileShape, ...]:
        """The tiles of all micro-kernels that the loop nest calls."""
        return (self.tile,) if self.packed else (self.tile, dot_tile(self.target, self.dtype))

    @property
    def k_block(self) -> int:
        """How much of K is summed before the next panel's turn: a panel block then stays in L2, a row tile near L1."""
        return k_block(self.tile, self.target)

    @property
    def name(self) -> str:
        """The name of the shared loop nest; `<name>_plan(p, threads)` is its plan function."""
        options = ("_packed" if self.packed else "") + ("_batched" if self.batched else "")
        return f"gemm_{self.tile.name}{options}_l2_{self.target.l2_bytes >> 10}k"

    def shared_sources(self) -> dict[str, str]:
        """The modules to link with the kernels of this spec, by name."""
        sources = {f"microkernel_{tile.name}": microkernel_source(tile) for tile in self.tiles}
        return sources | {self.name: core_source(self)}


def k_block(tile: TileShape, target: Target) -> int:
    """The block of the depth for which ten panels' worth fits in L2, within reason.

    >>> k_block(TileShape("f32", 14, 2, 16), Target("t", 512, 32, True, l2_bytes=1 << 20))
    768
    """
    block = target.l2_bytes // (10 * tile.columns * tile.element_bytes)
    return min(max(block // 64 * 64, 256), longest_row(tile))


def gemm_source(name: str, spec: GemmSpec, epilogue: Epilogue | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over items, self-contained but for `spec.shared_sources()`.

    The table `p` is laid out as `GEMM_SLOTS` says, followed by the epilogue's parameters. The driver fills it, calls
    the plan function `<spec.name>_plan(p, threads)`, which writes the last three slots and returns the number of items,
    and runs the kernel over the items with the grain that it finds in its slot.
    """
    return (
        f"{IMPORTS}"
        f"from ingot.jit.codegen.gemm import GemmSpec, core\n\n"
        f"{spec.name} = core({spec!r})\n\n\n"
        f"{store_source(name, spec.tile, epilogue or Epilogue(), GEMM_SLOTS, result='c', columns=spec.n)}\n\n"
        f"@kernel\n"
        f"def {name}(p, lo, hi):\n"
        f"    {spec.name}(p, lo, hi, {name}_store_address())\n"
    )


def core(spec: GemmSpec) -> Any:
    """The loop nest of a spec as a function `(p, lo, hi, store)`."""
    return load(core_source(spec))[spec.name]


def core_source(spec: GemmSpec) -> str:
    """Source of the loop nest `<spec.name>(p, lo, hi, store)` and of its plan function; all products share it.

    `store` is the address of a function with `external.STORE_PARAMETERS`, called with each finished tile.
    """
    tile, slots = spec.tile, GEMM_SLOTS
    size = tile.element_bytes

    def slot(slot_name: str) -> str:
        return f"slot_i64(p, {slots[slot_name]})"

    batch_read, batch_use = "", "batch, a_batch, b_batch, c_batch = 0, a, b, 0"
    if spec.batched:
        batch_read = f"""
            inner_batches = {slot("inner_batches")}
            a_outer, a_inner = {slot("a_outer_stride")} * {size}, {slot("a_inner_stride")} * {size}
            b_outer, b_inner = {slot("b_outer_stride")} * {size}, {slot("b_inner_stride")} * {size}
            c_outer, c_inner = {slot("c_outer_stride")}, {slot("c_inner_stride")}
        """
        batch_use = """
            batch = item // (row_blocks * panel_blocks)
            outer, inner = batch // inner_batches, batch % inner_batches
            a_batch = a + outer * a_outer + inner * a_inner
            b_batch = b + outer * b_outer + inner * b_inner
            c_batch = outer * c_outer + inner * c_inner
        """
    return f"""{preamble(*spec.tiles)}
{f"sum_lanes = lane_sum({tile.dtype!r}, {spec.tiles[1].lanes})" if not spec.packed else ""}

@kernel
def {spec.name}_plan(p, threads):
    m, n, k = {slot("m")}, {slot("n")}, {slot("k")}
    batches = {slot("batches") if spec.batched else "1"}
    panels = (n + {tile.columns - 1}) // {tile.columns}
    row_tiles = (m + {tile.rows - 1}) // {tile.rows}
    depth = min(k, {spec.k_block})
{indent(blocking_source(tile, spec.target.l2_bytes, packed=spec.packed), 4)}
    set_slot_i64(p, {slots["row_block"]}, row_block * {tile.rows})
    set_slot_i64(p, {slots["panel_block"]}, panel_block)
    set_slot_i64(p, {slots["grain"]}, grain)
    return items


@kernel
def {spec.name}(p, lo, hi, store):
    a, b = {slot("a")}, {slot("b")}
    m, n, k = {slot("m")}, {slot("n")}, {slot("k")}
    a_row, a_k = {slot("a_row_stride")} * {size}, {slot("a_k_stride")} * {size}
    c_row_stride = {slot("c_row_stride")}
{indent(batch_read, 4)}
    row_block, panel_block = {slot("row_block")}, {slot("panel_block")}
    panels = (n + {tile.columns - 1}) // {tile.columns}
    panel_blocks = (panels + panel_block - 1) // panel_block
    row_blocks = (m + row_block - 1) // row_block
    # The addresses of a tile's rows of A; where they were gathered; the offsets of its rows in C.
    tiles, table = tile_buffer_{tile.name}(), row_table_{tile.name}()
    dense, offsets = table + {tile.rows * 8}, table + {tile.rows * 16}
    addresses, row_starts = pointer_i64(table), pointer_i64(offsets)
{indent(_packed_head(spec) if spec.packed else _unpacked_head(spec), 4)}
    for item in range(lo, hi):
{indent(batch_use, 8)}
        first_row = item % row_blocks * row_block
        last_row = min(first_row + row_block, m)
        first_panel = item // row_blocks % panel_blocks * panel_block
        last_panel = min(first_panel + panel_block, panels)
{indent(_packed_loops(spec) if spec.packed else _unpacked_loops(spec), 8)}
"""


def _fill_table(tile: TileShape) -> str:
    """Statements that point the row table at rows i .. i + rows - 1; missing ones repeat the last row."""
    return f"""
for t in range({tile.rows}):
    row = i + min(t, rows - 1)
    addresses[t] = a_batch + row * a_row
    row_starts[t] = c_batch + row * c_row_stride
"""


def _packed_head(spec: GemmSpec) -> str:
    tile = spec.tile
    return f"""
row_buffer = row_buffer_{tile.name}()
# Rows that would push each other out of the L1 cache, or are not contiguous, are copied where several panels use them.
gather = panel_block > 1 and m > 1 and (a_k != {tile.element_bytes} or a_row % {CACHE_SET_PERIOD} == 0)
# Blocks of K of equal length: the last one should not be a sliver.
k_blocks = max(1, (k + {spec.k_block - 1}) // {spec.k_block})
k_block = max(1, (k + k_blocks - 1) // k_blocks)
tile_step = {tile.rows * tile.columns * tile.element_bytes} if k > k_block else 0
"""


def _packed_loops(spec: GemmSpec) -> str:
    tile = spec.tile
    row_bytes = tile.columns * tile.element_bytes
    return f"""
for k_start in range(0, max(k, 1), k_block):
    length = min(k_block, k - k_start)
    tile = tiles
    for i in range(first_row, last_row, {tile.rows}):
        rows = min({tile.rows}, last_row - i)
{indent(_fill_table(tile), 8)}
        windows, offset, step = table, k_start * a_k, a_k
        if gather:
            step = gather_rows_{tile.name}(table, dense, rows, offset, 1, 0, 1, 0, length, a_k, row_buffer)
            windows, offset = dense, 0
        for panel in range(first_panel, last_panel):
            b_rows = b_batch + (panel * k + k_start) * {row_bytes}
            multiply_tile_{tile.name}(windows, rows, offset, b_rows, tile,
                k_start, 1, 0, 1, 0, length, step, {row_bytes})
            if k_start + length >= k:
                column = panel * {tile.columns}
                call_store(store, p, tile, offsets, batch, i, column, rows, min({tile.columns}, n - column))
            tile += tile_step
"""


# Up to this many rows, products with a transposed B are dot products of rows, with no copy of B.
DOT_ROWS = 4


def dot_tile(target: Target, dtype: str) -> TileShape:
    """The tile of dot products: rows of a transposed B x one vector of positions.

    >>> dot_tile(Target("avx512", 512, 32, True), "f32").name
    'f32_14x1x16_per_channel'
    """
    return TileShape(dtype, 8 if target.registers < 32 else 14, 1, target.lanes(dtype), target.fused, True)


def _unpacked_head(spec: GemmSpec) -> str:
    slots, tile, dot = GEMM_SLOTS, spec.tile, dot_tile(spec.target, spec.dtype)
    size = tile.element_bytes
    return f"""
panel = panel_buffer_{tile.name}()
b_k, b_column = slot_i64(p, {slots["b_k_stride"]}) * {size}, slot_i64(p, {slots["b_column_stride"]}) * {size}
dot_table, products = row_table_{dot.name}(), tile_buffer_{dot.name}()
b_addresses = pointer_i64(dot_table)
"""


def _unpacked_loops(spec: GemmSpec) -> str:
    tile = spec.tile
    row_bytes = tile.columns * tile.element_bytes
    return f"""
column = first_panel * {tile.columns}
columns = min({tile.columns}, n - column)
b_panel = b_batch + column * b_column
if b_k == {tile.element_bytes} and a_k == {tile.element_bytes} and m <= {DOT_ROWS}:
{indent(_dot_products(spec), 4)}
else:
    # Few rows do not pay for a copy: whole panels of a row-major B are read where they lie.
    direct = b_column == {tile.element_bytes} and columns == {tile.columns} and m <= {2 * tile.rows}
    k_block = max(k, 1) if direct else {PANEL_ROWS}
    for k_start in range(0, max(k, 1), k_block):
        length = min(k_block, k - k_start)
        b_rows, b_step = b_panel + k_start * b_k, b_k
        if not direct:
            pack_panel_{tile.name}(b_rows, panel, b_k, b_column, length, columns)
            b_rows, b_step = panel, {row_bytes}
        tile = tiles
        for i in range(first_row, last_row, {tile.rows}):
            rows = min({tile.rows}, last_row - i)
{indent(_fill_table(tile), 12)}
            multiply_tile_{tile.name}(table, rows, k_start * a_k, b_rows, tile,
                k_start, 1, 0, 1, 0, length, a_k, b_step)
            if k_start + length >= k:
                call_store(store, p, tile, offsets, batch, i, column, rows, columns)
            tile += {tile.rows * row_bytes}
"""


def _dot_products(spec: GemmSpec) -> str:
    """Statements for the few rows of an item: B's columns are contiguous, and are read once, vectors of K at a time.

    The micro-kernel multiplies position by position: row t of its tile gets the products of column t of B with a row of
    A, added up lane by lane; then the lanes are added, and the positions that fill no vector.
    """
    tile, dot = spec.tile, dot_tile(spec.target, spec.dtype)
    size, dot_bytes, pointer = tile.element_bytes, dot.columns * tile.element_bytes, f"pointer_{tile.dtype}"
    return f"""
i, rows = first_row, last_row - first_row
{indent(_fill_table(tile), 0)}
whole = k - k % {dot.columns}
for first in range(0, columns, {dot.rows}):
    count = min({dot.rows}, columns - first)
    for t in range({dot.rows}):
        b_addresses[t] = b_panel + (first + min(t, count - 1)) * b_column
    for r in range(rows):
        multiply_tile_{dot.name}(dot_table, count, 0, addresses[r], products, 0, 1, 0, 1, 0,
            whole // {dot.columns}, {dot_bytes}, {dot_bytes})
        a_rest = {pointer}(addresses[r] + whole * {size})
        sums = {pointer}(tiles + (r * {tile.columns} + first) * {size})
        for t in range(count):
            sum_lanes(products + t * {dot_bytes}, tiles + (r * {tile.columns} + first + t) * {size})
            b_rest = {pointer}(b_addresses[t] + whole * {size})
            for q in range(k - whole):
                sums[t] += a_rest[q] * b_rest[q]
call_store(store, p, tiles, offsets, batch, i, column, rows, columns)
"""


PACK_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(("b", "packed", "n", "k", "b_k_stride", "b_column_stride", "b_batch_stride"))
}


def pack_b_source(name: str, tile: TileShape) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over panels that packs B at run time, laid out as `PACK_SLOTS`.

    There are `batches * ceil(n / tile.columns)` panels. Any strides do, so a transposed weight (`x @ W.T`) needs no
    copy before. Link it with `microkernel_source(tile)`.
    """
    slots, size = PACK_SLOTS, tile.element_bytes
    return f"""{preamble(tile)}

@kernel
def {name}(p, lo, hi):
    b, packed = slot_i64(p, {slots["b"]}), slot_i64(p, {slots["packed"]})
    n, k = slot_i64(p, {slots["n"]}), slot_i64(p, {slots["k"]})
    b_k, b_column = slot_i64(p, {slots["b_k_stride"]}), slot_i64(p, {slots["b_column_stride"]})
    b_batch = slot_i64(p, {slots["b_batch_stride"]})
    panels = (n + {tile.columns - 1}) // {tile.columns}
    for item in range(lo, hi):
        first_column = item % panels * {tile.columns}
        start = item // panels * b_batch + first_column * b_column
        pack_panel_{tile.name}(b + start * {size}, packed + item * k * {tile.columns * size}, b_k * {size},
            b_column * {size}, k, min({tile.columns}, n - first_column))
"""


def packed_elements(k: int, n: int, tile: TileShape) -> int:
    """How many elements a packed K x N matrix takes: N is rounded up to whole panels.

    >>> packed_elements(3, 33, TileShape("f32", 14, 2, 16))
    192
    """
    return -(-n // tile.columns) * k * tile.columns


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An uninitialised array whose data starts on a cache line, so that no vector load of it crosses two."""
    count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.empty(count + 64, np.uint8)
    start = -memory.ctypes.data % 64
    array: np.ndarray[Any, Any] = memory[start : start + count].view(dtype).reshape(shape)
    return array


def pack_b_numpy(b: np.ndarray[Any, Any], tile: TileShape) -> np.ndarray[Any, Any]:
    """B packed for the kernels: `packed[..., panel, k, s] = B[..., k, panel * tile.columns + s]`, zero past the end.

    `b` is `(..., K, N)` of the tile's dtype; pass `weight.T` for a linear layer. The result is contiguous and starts on
    a cache line. Raises ValueError for another dtype or fewer than two dimensions.

    >>> pack_b_numpy(np.ones((5, 40), np.float32), TileShape("f32", 14, 2, 16)).shape
    (2, 5, 32)
    """
    expected = np.dtype(np.float32 if tile.dtype == "f32" else np.float64)
    if b.ndim < 2 or b.dtype != expected:
        raise ValueError(f"pack_b_numpy: got {b.dtype}{list(b.shape)}, expected (..., K, N) of {expected}")
    *batch, k, n = b.shape
    panels = -(-n // tile.columns)
    packed = aligned_empty((*batch, panels, k, tile.columns), expected)
    whole = n // tile.columns
    head = b[..., : whole * tile.columns].reshape(*batch, k, whole, tile.columns)
    packed[..., :whole, :, :] = np.moveaxis(head, -3, -2)
    if whole < panels:
        packed[..., whole, :, : n - whole * tile.columns] = b[..., whole * tile.columns :]
        packed[..., whole, :, n - whole * tile.columns :] = 0
    return packed
