"""Matrix multiplication for the CPU: range kernels that compute C[i, j] = epilogue(sum over k of A[i, k] * B[k, j]).

A kernel works on *items*: a block of rows times a block of *panels* (groups of `tile.columns` columns of B). Inside an
item it walks K in blocks, then row tiles, then panels, so that the panels stay in the L2 cache and the rows in L1; the
tiles of the item keep their sums on the stack meanwhile, and the epilogue runs once on each finished tile. The plan
function cuts the work into items at run time, so that one kernel serves every size.

What all products share is compiled once: the micro-kernels, the copies and the loop nest (`GemmSpec.shared_sources`).
The kernel of one product (`gemm_source`) is linked with them, and is little more than its epilogue.

The order of the sums depends on the sizes alone, never on the number of threads. Blocking after K. Goto and R. van de
Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .epilogue import Epilogue, indent, store_source
from .external import load
from .microkernel import (
    PANEL_ROWS,
    TABLE_BYTES,
    TILES_PER_ITEM,
    copies_name,
    copies_source,
    longest_row,
    microkernel_call,
    microkernel_source,
)
from .packing import aligned_empty, pack_b_numpy, packed_elements
from .target import LARGEST_TILE, Target, TileShape, host_target, tile_shape

__all__ = [
    "GEMM_SLOTS", "PACK_SLOTS", "Epilogue", "GemmSpec", "aligned_empty", "gemm_source", "pack_b_numpy", "pack_b_source",
    "packed_elements",
]  # fmt: skip

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
            "k_block",
            "grain",
            "b_is_packed",  # 1 where B was packed before the product, read by kernels that take both forms
        )
    )
}
# Below this many multiply-adds, handing an item to another thread costs more than it saves (a few microseconds).
GRAIN_MULTIPLY_ADDS = 100_000
# Rows of A that lie a multiple of this apart compete for the same lines of an L1 cache (64 sets of 64 bytes).
CACHE_SET_PERIOD = 4096

IMPORTS = """\
import numpy as np
from ingot.jit.codegen.external import address_of, call_store
from ingot.jit.codegen.microkernel import call_tile, copies, lane_sum, microkernel
from ingot.jit.codegen.microkernel import panel_buffer, row_buffer, row_table, tile_buffer
from ingot.jit.codegen.primitives import pointer_f32, pointer_f64, pointer_i8, pointer_u8, pointer_i16, pointer_i32
from ingot.jit.codegen.primitives import pointer_i64, set_slot_i64, slot_f64, slot_i64
from ingot.jit.codegen.target import Target
"""

# Statements that choose `row_block` and `panel_block` (in tiles) and give `items` and `grain`. They read `row_tiles`,
# `panels`, `batches`, `threads`, `m`, `k` (the whole depth), `depth` (of one block of it), `rows` and `columns` (of a
# tile), `l2_bytes` and, set here, `packed`.
_BLOCKING = f"""
panel_block, row_block = 1, {TILES_PER_ITEM}
if packed:
    panel_block = max(1, min(panels, l2_bytes // 2 // max(1, depth * columns * SIZE)))
    row_block = 4
    if depth < k:
        # All tiles of an item keep their sums on the stack from one block of K to the next.
        panel_block = min(panel_block, {TILES_PER_ITEM // 2})
        row_block = min(row_tiles, {TILES_PER_ITEM} // panel_block)
row_block = max(1, min(row_block, row_tiles))
row_blocks = (row_tiles + row_block - 1) // row_block
panel_blocks = (panels + panel_block - 1) // panel_block
# Smaller items while there are too few of them for the threads to share evenly.
while batches * row_blocks * panel_blocks < 4 * threads and (row_block > 1 or panel_block > 1):
    if row_block > 1:
        row_block = (row_block + 1) // 2
    else:
        panel_block = (panel_block + 1) // 2
    row_blocks = (row_tiles + row_block - 1) // row_block
    panel_blocks = (panels + panel_block - 1) // panel_block
items = batches * row_blocks * panel_blocks
grain = {GRAIN_MULTIPLY_ADDS} // (min(m, row_block * rows) * panel_block * columns * (k + 8) + 1) + 1
"""


def blocking_source(dtype: str, *, packed: bool = True) -> str:
    """The statements of a plan function that cut a product into items."""
    return f"packed = {packed}\n{_BLOCKING.strip().replace('SIZE', str(4 if dtype == 'f32' else 8))}"


@dataclass(frozen=True)
class GemmSpec:
    """What is known about a product when its kernel is generated; all sizes and strides are read at run time.

    `packed` says that B was packed ahead of time (`pack_b_numpy`, `pack_b_source`); otherwise B has any strides and is
    packed on the fly. `batched` adds two batch dimensions with strides of their own (0 broadcasts). `n`, if known,
    picks a tile that fits few columns; packed operands must have been packed for that tile. `narrow` ("f16", "bf16",
    "i8", "u8") says that B, which is not packed then, is stored so, and converted where it is read.

    >>> GemmSpec("f32", n=10, target=Target("avx512", 512, 32, True)).name
    'gemm_f32_28x1x16_packed_l2_512k'
    """

    dtype: str = "f32"
    packed: bool = True
    batched: bool = False
    n: int | None = None
    target: Target = field(default_factory=host_target)
    narrow: str = ""

    @property
    def tile(self) -> TileShape:
        """The micro-kernel tile."""
        return tile_shape(self.target, self.dtype, self.n)

    @property
    def name(self) -> str:
        """The name of the loop nest for this tile and cache; `<name>_plan(p, threads)` is its plan function."""
        return f"gemm_{self.tile.name}{self._options}_l2_{self.target.l2_bytes >> 10}k"

    @property
    def core_name(self) -> str:
        """The name of the loop nest that all tiles share."""
        name = f"gemm_{self.dtype}{self._options}"
        # Products with a transposed B call a micro-kernel of the CPU, and packing transposes blocks of its vectors.
        return name if self.packed else f"{name}_{dot_tile(self.target, self.dtype).name}"

    @property
    def _options(self) -> str:
        options = ("_packed" if self.packed else "") + ("_batched" if self.batched else "")
        return options + (f"_{self.narrow}" if self.narrow else "")

    @property
    def b_bytes(self) -> int:
        """The size of an element of B."""
        return {"f16": 2, "bf16": 2, "i8": 1, "u8": 1}.get(self.narrow, self.tile.element_bytes)

    def shared_sources(self) -> dict[str, str]:
        """The modules to link with the kernels of this spec, by name."""
        tiles = (self.tile,) if self.packed else (self.tile, dot_tile(self.target, self.dtype))
        # What does not change the loop nest is not in its source either.
        own = tile_source(self.name, self.core_name, "gemm", replace(self, n=None), self.tile, self.target)
        return shared_sources(tiles, self.target) | {self.core_name: core_source(self), self.name: own}


def block_lanes(target: Target, dtype: str) -> int:
    """The edge of the blocks in which matrices are transposed."""
    return min(target.lanes(dtype), 8)


def shared_sources(tiles: tuple[TileShape, ...], target: Target) -> dict[str, str]:
    """The sources of micro-kernels and of the copies that go with them, by name."""
    dtype, lanes = tiles[0].dtype, block_lanes(target, tiles[0].dtype)
    sources = {f"microkernel_{tile.name}": microkernel_source(tile) for tile in tiles}
    return sources | {copies_name(dtype, lanes): copies_source(dtype, lanes)}


def tile_source(name: str, core_name: str, module: str, spec: Any, tile: TileShape, target: Target) -> str:
    """Source of `<name>(p, lo, hi, store)` and `<name>_plan(p, threads)`: a shared loop nest for one tile and cache."""
    return f"""\
from ingot.jit.codegen.external import address_of
from ingot.jit.codegen.microkernel import microkernel
from ingot.jit.codegen.{module} import {type(spec).__name__}, core
from ingot.jit.codegen.target import Target

functions = core({spec!r})
run, plan = functions["{core_name}"], functions["{core_name}_plan"]
multiply_tile = address_of({microkernel_call(tile)}.multiply_tile)


@kernel
def {name}_plan(p, threads):
    return plan(p, threads, {tile.rows}, {tile.columns}, {k_block(tile, target)}, {target.l2_bytes})


@kernel
def {name}(p, lo, hi, store):
    run(p, lo, hi, store, multiply_tile(), {tile.rows}, {tile.columns})
"""


def entry_source(name: str, loops: str) -> str:
    """Source of the range kernel `<name>(p, lo, hi)`: the loop nest named `loops` with the function `<name>_store`."""
    return f"\n\n@kernel\ndef {name}(p, lo, hi):\n    {loops}(p, lo, hi, {name}_store_address())\n"


def k_block(tile: TileShape, target: Target) -> int:
    """The block of the depth for which ten panels' worth fits in L2, within reason.

    >>> k_block(TileShape("f32", 14, 2, 16), Target("t", 512, 32, True, l2_bytes=1 << 20))
    512
    """
    block = target.l2_bytes // (16 * tile.columns * tile.element_bytes)
    return min(max(block // 64 * 64, 256), longest_row(tile))


def gemm_source(name: str, spec: GemmSpec, epilogue: Epilogue | None = None, packed: GemmSpec | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over items, self-contained but for `spec.shared_sources()`.

    The table `p` is laid out as `GEMM_SLOTS` says, followed by the epilogue's parameters. The driver fills it, calls
    the plan function `<spec.name>_plan(p, threads)`, which writes the last slots and returns the number of items, and
    runs the kernel over the items with the grain that it finds in its slot. With `packed` the kernel takes B in either
    form: where the slot `b_is_packed` is 1 it runs the loop nest of that spec, whose plan function is then the one.
    """
    loops = "".join(f"{s.name} = loops({s!r})\n" for s in (spec, packed) if s is not None)
    if packed is None:
        entry = entry_source(name, spec.name)
    else:
        entry = f"""

@kernel
def {name}(p, lo, hi):
    if slot_i64(p, {GEMM_SLOTS["b_is_packed"]}) != 0:
        {packed.name}(p, lo, hi, {name}_store_address())
    else:
        {spec.name}(p, lo, hi, {name}_store_address())
"""
    return (
        f"{IMPORTS}"
        f"from ingot.jit.codegen.gemm import GemmSpec, loops\n\n"
        f"{loops}\n\n"
        f"{store_source(name, spec.tile, epilogue or Epilogue(), GEMM_SLOTS, result='c', columns=spec.n)}"
        f"{entry}"
    )


def loops(spec: GemmSpec) -> Callable[..., Any]:
    """The loop nest of a spec: a function `(p, lo, hi, store)`."""
    return load(spec.shared_sources()[spec.name])[spec.name]


def core(spec: GemmSpec) -> dict[str, Callable[..., Any]]:
    """The functions of `core_source` by name."""
    return load(core_source(spec))


def core_source(spec: GemmSpec) -> str:
    """Source of the loop nest `<spec.core_name>(p, lo, hi, store, multiply, height, width)` and its plan function.

    `store` is the address of a function with `external.STORE_PARAMETERS`, called with each finished tile; `multiply`
    that of a micro-kernel, whose tiles have `height` rows and `width` columns: one loop nest serves all tiles.
    """
    slots, size = GEMM_SLOTS, spec.tile.element_bytes

    def slot(slot_name: str) -> str:
        return f"slot_i64(p, {slots[slot_name]})"

    batch_read, batch_use = "", "batch, a_batch, b_batch, c_batch = 0, a, b, 0"
    if spec.batched:
        batch_read = f"""
            inner_batches = {slot("inner_batches")}
            a_outer, a_inner = {slot("a_outer_stride")} * {size}, {slot("a_inner_stride")} * {size}
            b_outer, b_inner = {slot("b_outer_stride")} * {spec.b_bytes}, {slot("b_inner_stride")} * {spec.b_bytes}
            c_outer, c_inner = {slot("c_outer_stride")}, {slot("c_inner_stride")}
        """
        batch_use = """
            batch = item // (row_blocks * panel_blocks)
            outer, inner = batch // inner_batches, batch % inner_batches
            a_batch = a + outer * a_outer + inner * a_inner
            b_batch = b + outer * b_outer + inner * b_inner
            c_batch = outer * c_outer + inner * c_inner
        """
    dot, lanes = dot_tile(spec.target, spec.dtype), block_lanes(spec.target, spec.dtype)
    copies = copies_name(spec.dtype, lanes)
    if spec.packed:
        functions = f"gather_rows = copies({spec.dtype!r}, {lanes})['gather_rows_{copies}']"
        head, loops = _PACKED_HEAD, _PACKED_LOOPS
    else:
        functions = (
            f"pack_panel = copies({spec.dtype!r}, {lanes})['pack_panel_{copies}']\n"
            f"multiply_dot = {microkernel_call(dot)}.multiply_tile\n"
            f"sum_lanes = lane_sum({spec.dtype!r}, {dot.lanes})"
        )
        if spec.narrow:
            functions += "\n" + _narrow_functions(spec)
        head, loops = _unpacked_head(spec), _narrow_loops(spec) if spec.narrow else _unpacked_loops(spec)
    head, loops = (text.replace("SIZE", str(size)) for text in (head, loops))
    return f"""{IMPORTS}
{functions}


@kernel
def {spec.core_name}_plan(p, threads, rows, columns, block, l2_bytes):
    m, n, k = {slot("m")}, {slot("n")}, {slot("k")}
    batches = {slot("batches") if spec.batched else "1"}
    panels, row_tiles = (n + columns - 1) // columns, (m + rows - 1) // rows
    # Blocks of K of equal length: the last one should not be a sliver.
    k_blocks = max(1, (k + block - 1) // block)
    depth = (k + k_blocks - 1) // k_blocks
{indent(blocking_source(spec.dtype, packed=spec.packed), 4)}
    set_slot_i64(p, {slots["row_block"]}, row_block * rows)
    set_slot_i64(p, {slots["panel_block"]}, panel_block)
    set_slot_i64(p, {slots["k_block"]}, max(1, depth))
    set_slot_i64(p, {slots["grain"]}, grain)
    return items


@kernel
def {spec.core_name}(p, lo, hi, store, multiply, height, width):
    a, b = {slot("a")}, {slot("b")}
    m, n, k = {slot("m")}, {slot("n")}, {slot("k")}
    a_row, a_k = {slot("a_row_stride")} * {size}, {slot("a_k_stride")} * {size}
    c_row_stride = {slot("c_row_stride")}
{indent(batch_read, 4)}
    row_block, panel_block, k_block = {slot("row_block")}, {slot("panel_block")}, {slot("k_block")}
    panels = (n + width - 1) // width
    panel_blocks = (panels + panel_block - 1) // panel_block
    row_blocks = (m + row_block - 1) // row_block
    row_bytes = width * {size}
    # The addresses of a tile's rows of A; where they were gathered; the offsets of its rows in C.
    tiles, table = tile_buffer(), row_table()
    dense, offsets = table + {TABLE_BYTES}, table + {2 * TABLE_BYTES}
    addresses, row_starts = pointer_i64(table), pointer_i64(offsets)
{indent(head, 4)}
    for item in range(lo, hi):
{indent(batch_use, 8)}
        first_row = item % row_blocks * row_block
        last_row = min(first_row + row_block, m)
        first_panel = item // row_blocks % panel_blocks * panel_block
        last_panel = min(first_panel + panel_block, panels)
{indent(loops, 8)}
"""


# Points the row table at rows i .. i + height - 1; missing ones repeat the last row.
_FILL_TABLE = """
for t in range(height):
    row = i + min(t, rows - 1)
    addresses[t] = a_batch + row * a_row
    row_starts[t] = c_batch + row * c_row_stride
"""

_PACKED_HEAD = f"""
gathered, gathered_stride = row_buffer(), k_block * SIZE // 64 * 64 + 128
# Rows that would push each other out of the L1 cache, or are not contiguous, are copied where several panels use them.
gather = panel_block > 1 and m > 1 and (a_k != SIZE or a_row % {CACHE_SET_PERIOD} == 0)
tile_step = height * row_bytes if k > k_block else 0
"""

_PACKED_LOOPS = f"""
for k_start in range(0, max(k, 1), k_block):
    length = min(k_block, k - k_start)
    tile = tiles
    for i in range(first_row, last_row, height):
        rows = min(height, last_row - i)
{indent(_FILL_TABLE, 8)}
        windows, offset, step = table, k_start * a_k, a_k
        if gather:
            step = gather_rows(table, dense, height, rows, offset, 1, 0, 1, 0, length, a_k, gathered, gathered_stride)
            windows, offset = dense, 0
        for panel in range(first_panel, last_panel):
            b_rows = b_batch + (panel * k + k_start) * row_bytes
            call_tile(multiply, windows, rows, offset, b_rows, tile, k_start, 1, 0, 1, 0, length, step, row_bytes)
            if k_start + length >= k:
                column = panel * width
                call_store(store, p, tile, offsets, batch, i, column, rows, min(width, n - column))
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
    slots = GEMM_SLOTS
    return f"""
panel_rows = panel_buffer()
b_k = slot_i64(p, {slots["b_k_stride"]}) * {spec.b_bytes}
b_column = slot_i64(p, {slots["b_column_stride"]}) * {spec.b_bytes}
# For dot products: the addresses of columns of B, and their products with a row of A.
b_table, products = dense, tiles + {(TILES_PER_ITEM - 1) * LARGEST_TILE}
b_addresses = pointer_i64(b_table)
{"wide = row_buffer()" if spec.narrow else ""}
"""


def _unpacked_loops(spec: GemmSpec) -> str:
    return f"""
column = first_panel * width
columns = min(width, n - column)
b_panel = b_batch + column * b_column
if b_k == SIZE and a_k == SIZE and m <= {DOT_ROWS}:
{indent(_dot_products(spec), 4)}
else:
    # Few rows do not pay for a copy: whole panels of a row-major B are read where they lie.
    direct = b_column == SIZE and columns == width and m <= 2 * height
    block = max(k, 1) if direct else {PANEL_ROWS}
    for k_start in range(0, max(k, 1), block):
        length = min(block, k - k_start)
        b_rows, b_step = b_panel + k_start * b_k, b_k
        if not direct:
            pack_panel(b_rows, panel_rows, width, b_k, b_column, length, columns)
            b_rows, b_step = panel_rows, row_bytes
        tile = tiles
        for i in range(first_row, last_row, height):
            rows = min(height, last_row - i)
{indent(_FILL_TABLE, 12)}
            call_tile(multiply, table, rows, k_start * a_k, b_rows, tile, k_start, 1, 0, 1, 0, length, a_k, b_step)
            if k_start + length >= k:
                call_store(store, p, tile, offsets, batch, i, column, rows, columns)
            tile += height * row_bytes
"""


def _narrow_functions(spec: GemmSpec) -> str:
    """Source of what reads a B of another dtype: a product of a row with a column, and the copy of a run."""
    convert, pointer = {"f16": ("from_f16", "i16"), "bf16": ("from_bf16", "i16")}.get(
        spec.narrow, (f"as_{spec.dtype}", spec.narrow)
    )
    module = "halves" if spec.narrow in ("f16", "bf16") else "helpers"
    real = "np.float32" if spec.dtype == "f32" else "np.float64"
    return f"""\
from ingot.jit.codegen.{module} import {convert}
from ingot.jit.codegen.helpers import sum_step


@body
def narrow_dot(a, b, count):
    total = {real}(0)
    for q in range(count):
        total = sum_step(total, a[q] * {convert}(b[q]))
    return total


@body
def widen(b, target, count):
    for q in range(count):
        target[q] = {convert}(b[q])


@body
def clear(target, count):
    for q in range(count):
        target[q] = {real}(0)


narrow_pointer = pointer_{pointer}
"""


def _narrow_loops(spec: GemmSpec) -> str:
    """The same where B is converted: for few rows while it streams by, for more rows into packed panels."""
    pointer = f"pointer_{spec.dtype}"
    return f"""
column = first_panel * width
columns = min(width, n - column)
b_panel = b_batch + column * b_column
if b_k == {spec.b_bytes} and a_k == SIZE and m <= {DOT_ROWS}:
    i, rows = first_row, last_row - first_row
{indent(_FILL_TABLE, 4)}
    for s in range(columns):
        for r in range(rows):
            tile_row = {pointer}(tiles + r * row_bytes)
            tile_row[s] = narrow_dot({pointer}(addresses[r]), narrow_pointer(b_panel + s * b_column), k)
    call_store(store, p, tiles, offsets, batch, i, column, rows, columns)
else:
    for k_start in range(0, max(k, 1), {PANEL_ROWS}):
        length = min({PANEL_ROWS}, k - k_start)
        b_rows = b_panel + k_start * b_k
        if b_column == {spec.b_bytes}:
            for q in range(length):
                target = panel_rows + q * row_bytes
                widen(narrow_pointer(b_rows + q * b_k), {pointer}(target), columns)
                clear({pointer}(target + columns * SIZE), width - columns)
        elif b_k == {spec.b_bytes}:
            for s in range(columns):
                widen(narrow_pointer(b_rows + s * b_column), {pointer}(wide + s * {PANEL_ROWS} * SIZE), length)
            pack_panel(wide, panel_rows, width, SIZE, {PANEL_ROWS} * SIZE, length, columns)
        else:
            for q in range(length):
                for s in range(columns):
                    widen(narrow_pointer(b_rows + q * b_k + s * b_column),
                        {pointer}(panel_rows + q * row_bytes + s * SIZE), 1)
                clear({pointer}(panel_rows + q * row_bytes + columns * SIZE), width - columns)
        tile = tiles
        for i in range(first_row, last_row, height):
            rows = min(height, last_row - i)
{indent(_FILL_TABLE, 12)}
            offset = k_start * a_k
            call_tile(multiply, table, rows, offset, panel_rows, tile, k_start, 1, 0, 1, 0, length, a_k, row_bytes)
            if k_start + length >= k:
                call_store(store, p, tile, offsets, batch, i, column, rows, columns)
            tile += height * row_bytes
"""


def _dot_products(spec: GemmSpec) -> str:
    """Statements for the few rows of an item: B's columns are contiguous, and are read once, vectors of K at a time.

    The micro-kernel multiplies position by position: row t of its tile gets the products of column t of B with a row of
    A, added up lane by lane; then the lanes are added, and the positions that fill no vector.
    """
    dot, pointer = dot_tile(spec.target, spec.dtype), f"pointer_{spec.dtype}"
    return f"""
i, rows = first_row, last_row - first_row
{indent(_FILL_TABLE, 0)}
whole = k - k % {dot.columns}
for first in range(0, columns, {dot.rows}):
    count = min({dot.rows}, columns - first)
    for t in range({dot.rows}):
        b_addresses[t] = b_panel + (first + min(t, count - 1)) * b_column
    for r in range(rows):
        multiply_dot(b_table, count, 0, addresses[r], products, 0, 1, 0, 1, 0, whole // {dot.columns},
            {dot.row_bytes}, {dot.row_bytes})
        a_rest = {pointer}(addresses[r] + whole * SIZE)
        sums = {pointer}(tiles + r * row_bytes + first * SIZE)
        for t in range(count):
            sum_lanes(products + t * {dot.row_bytes}, tiles + r * row_bytes + (first + t) * SIZE)
            b_rest = {pointer}(b_addresses[t] + whole * SIZE)
            for q in range(k - whole):
                sums[t] += a_rest[q] * b_rest[q]
call_store(store, p, tiles, offsets, batch, i, column, rows, columns)
"""


PACK_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(("b", "packed", "n", "k", "b_k_stride", "b_column_stride", "b_batch_stride"))
}


def pack_b_source(name: str, tile: TileShape, target: Target | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over panels that packs B at run time, laid out as `PACK_SLOTS`.

    There are `batches * ceil(n / tile.columns)` panels. Any strides do, so a transposed weight (`x @ W.T`) needs no
    copy before. Link it with `shared_sources((tile,), target)`.
    """
    slots, size, columns = PACK_SLOTS, tile.element_bytes, tile.columns
    lanes = block_lanes(target or host_target(), tile.dtype)
    return f"""{IMPORTS}
pack_panel = copies({tile.dtype!r}, {lanes})["pack_panel_{copies_name(tile.dtype, lanes)}"]


@kernel
def {name}(p, lo, hi):
    b, packed = slot_i64(p, {slots["b"]}), slot_i64(p, {slots["packed"]})
    n, k = slot_i64(p, {slots["n"]}), slot_i64(p, {slots["k"]})
    b_k, b_column = slot_i64(p, {slots["b_k_stride"]}), slot_i64(p, {slots["b_column_stride"]})
    b_batch = slot_i64(p, {slots["b_batch_stride"]})
    panels = (n + {columns - 1}) // {columns}
    for item in range(lo, hi):
        column = item % panels * {columns}
        start = b + (item // panels * b_batch + column * b_column) * {size}
        pack_panel(start, packed + item * k * {tile.row_bytes}, {columns}, b_k * {size}, b_column * {size}, k,
            min({columns}, n - column))
"""
