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

from .dots import rows_call, rows_name, rows_source
from .epilogue import Epilogue, indent, store_source
from .external import load
from .gemm_loops import (
    CACHE_SET_PERIOD,
    GRAIN_MULTIPLY_ADDS,
    blocking_source,
    narrow_functions,
    narrow_loops,
    narrow_path,
    packed_loops,
    unpacked_head,
    unpacked_loops,
    unpacked_path,
)
from .microkernel import TABLE_BYTES, copies_name, copies_source, longest_row, microkernel_call, microkernel_source
from .packing import aligned_empty, pack_b_numpy, packed_elements
from .target import Target, TileShape, host_target, tile_shape

__all__ = [
    "CACHE_SET_PERIOD", "GEMM_SLOTS", "GRAIN_MULTIPLY_ADDS", "PACK_SLOTS", "Epilogue", "GemmSpec", "aligned_empty",
    "blocking_source", "gemm_source", "pack_b_numpy", "pack_b_source", "packed_elements",
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
            "inner_batches",  # batch = outer * inner_batches + inner; the rows of a run, whose strides are outer ones
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
            "path",  # what products do whose B is not packed (see gemm_loops.py)
            "b_is_packed",  # 1 where B was packed before the product, read by kernels that take both forms
        )
    )
}
IMPORTS = """\
import numpy as np
from ingot.jit.codegen.dots import row_kernels
from ingot.jit.codegen.external import address_of, call_store
from ingot.jit.codegen.microkernel import call_tile, copies, microkernel
from ingot.jit.codegen.microkernel import panel_buffer, row_buffer, row_table, tile_buffer
from ingot.jit.codegen.primitives import pointer_f32, pointer_f64, pointer_i8, pointer_u8, pointer_i16, pointer_i32
from ingot.jit.codegen.primitives import pointer_i64, set_slot_i64, slot_f64, slot_i64
from ingot.jit.codegen.target import Target
"""


@dataclass(frozen=True)
class GemmSpec:
    """What is known about a product when its kernel is generated; all sizes and strides are read at run time.

    `packed` says that B was packed ahead of time (`pack_b_numpy`, `pack_b_source`); otherwise B has any strides and is
    packed on the fly. `batched` adds two batch dimensions with strides of their own (0 broadcasts). `n`, if known,
    picks a tile that fits few columns; packed operands must have been packed for that tile. `narrow` ("f16", "bf16",
    "i8", "u8") says that B, which is not packed then, is stored so, and converted where it is read. With `runs`, rows
    come in runs with strides of their own between them: a batch whose B is the same.

    >>> GemmSpec("f32", n=10, target=Target("avx512", 512, 32, True)).name
    'gemm_f32_28x1x16_packed_l2_512k'
    """

    dtype: str = "f32"
    packed: bool = True
    batched: bool = False
    n: int | None = None
    target: Target = field(default_factory=host_target)
    narrow: str = ""
    runs: bool = False

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
        # Products with a transposed B call dot products of the CPU, and packing transposes blocks of its vectors.
        return name if self.packed else f"{name}_{rows_name(self.target, self.dtype, self.narrow)}"

    @property
    def _options(self) -> str:
        options = ("_packed" if self.packed else "") + ("_batched" if self.batched else "")
        return options + (f"_{self.narrow}" if self.narrow else "") + ("_runs" if self.runs else "")

    @property
    def b_bytes(self) -> int:
        """The size of an element of B."""
        return {"f16": 2, "bf16": 2, "i8": 1, "u8": 1}.get(self.narrow, self.tile.element_bytes)

    def shared_sources(self) -> dict[str, str]:
        """The modules to link with the kernels of this spec, by name."""
        # What does not change the loop nest is not in its source either.
        own = tile_source(self.name, self.core_name, "gemm", replace(self, n=None), self.tile, self.target, narrow=True)
        sources = shared_sources((self.tile,), self.target)
        if not self.packed:
            kinds = (self.target, self.dtype, self.narrow)
            sources[rows_name(*kinds)] = rows_source(*kinds)
        return sources | {self.core_name: core_source(self), self.name: own}


def block_lanes(target: Target, dtype: str) -> int:
    """The edge of the blocks in which matrices are transposed."""
    return min(target.lanes(dtype), 8)


def shared_sources(tiles: tuple[TileShape, ...], target: Target) -> dict[str, str]:
    """The sources of micro-kernels and of the copies that go with them, by name."""
    dtype, lanes = tiles[0].dtype, block_lanes(target, tiles[0].dtype)
    sources = {f"microkernel_{tile.name}": microkernel_source(tile) for tile in tiles}
    return sources | {copies_name(dtype, lanes): copies_source(dtype, lanes)}


def tile_source(
    name: str, core_name: str, module: str, spec: Any, tile: TileShape, target: Target, *, narrow: bool = False
) -> str:
    """Source of `<name>(p, lo, hi, store)` and `<name>_plan(p, threads)`: a shared loop nest for one tile and cache.

    With `narrow` the loop nest takes, too, up to how many columns the first vector of a tile's rows is enough for.
    """
    more = f", {tile.lanes if tile.has_narrow else 0}" if narrow else ""
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
    run(p, lo, hi, store, multiply_tile(), {tile.rows}, {tile.columns}{more})
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
    """Source of the loop nest `<spec.core_name>(p, lo, hi, store, multiply, height, width, narrow)` and its plan.

    `store` is the address of a function with `external.STORE_PARAMETERS`, called with each finished tile; `multiply`
    that of a micro-kernel, whose tiles have `height` rows and `width` columns: one loop nest serves all tiles. For up
    to `narrow` columns the first vector of its rows is enough.
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
    if spec.runs:
        batch_read = f"""
            run_rows = {slot("inner_batches")}
            a_run, c_run = {slot("a_outer_stride")} * {size}, {slot("c_outer_stride")}
        """
    lanes = block_lanes(spec.target, spec.dtype)
    copies = f"copies({spec.dtype!r}, {lanes})"
    gather_rows, pack_panel, pack_rows, copy_strided = (
        f"{function} = {copies}['{function}_{copies_name(spec.dtype, lanes)}']\n"
        for function in ("gather_rows", "pack_panel", "pack_rows", "copy_strided")
    )
    rows = f"rows = {rows_call(spec.target, spec.dtype, spec.narrow)}\n"
    rows += "dot_rows, add_rows = rows.dot_rows, rows.add_rows\n"
    path = ""
    if spec.packed:
        functions = gather_rows
        head, loops = packed_loops(spec.runs)
    elif spec.narrow:
        functions = pack_panel + copy_strided + rows + narrow_functions(spec.dtype, spec.narrow)
        head, loops = unpacked_head(spec.b_bytes), narrow_loops(spec.dtype, spec.b_bytes, spec.runs)
        path = narrow_path(spec.runs)
    else:
        functions = gather_rows + pack_panel + pack_rows + copy_strided
        functions += rows
        head, loops = unpacked_head(spec.b_bytes), unpacked_loops(spec.dtype, spec.runs)
        path = unpacked_path(size, spec.runs)
    if not spec.packed:
        head = f"b_k, b_column, path = {slot('b_k_stride')}, {slot('b_column_stride')}, {slot('path')}\n{head}"
        path = f"""
            a_row, a_k = {slot("a_row_stride")}, {slot("a_k_stride")}
            b_k, b_column = {slot("b_k_stride")}, {slot("b_column_stride")}
{indent(path, 12)}
            set_slot_i64(p, {slots["path"]}, path)
        """
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
{indent(path, 4)}
{indent(blocking_source(spec.dtype, packed=spec.packed), 4)}
    set_slot_i64(p, {slots["row_block"]}, row_block * rows)
    set_slot_i64(p, {slots["panel_block"]}, panel_block)
    set_slot_i64(p, {slots["k_block"]}, max(1, depth))
    set_slot_i64(p, {slots["grain"]}, grain)
    return items


@kernel
def {spec.core_name}(p, lo, hi, store, multiply, height, width, narrow):
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


def dot_tile(target: Target, dtype: str) -> TileShape:
    """The tile of dot products: rows of a transposed B x one vector of positions.

    >>> dot_tile(Target("avx512", 512, 32, True), "f32").name
    'f32_14x1x16_per_channel'
    """
    return TileShape(dtype, 8 if target.registers < 32 else 14, 1, target.lanes(dtype), target.fused, True)


# Panels that are packed together.
_PANELS_AT_ONCE = 8
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
pack_rows = copies({tile.dtype!r}, {lanes})["pack_rows_{copies_name(tile.dtype, lanes)}"]


@kernel
def {name}(p, lo, hi):
    b, packed = slot_i64(p, {slots["b"]}), slot_i64(p, {slots["packed"]})
    n, k = slot_i64(p, {slots["n"]}), slot_i64(p, {slots["k"]})
    b_k, b_column = slot_i64(p, {slots["b_k_stride"]}), slot_i64(p, {slots["b_column_stride"]})
    b_batch = slot_i64(p, {slots["b_batch_stride"]})
    panels = (n + {columns - 1}) // {columns}
    item = lo
    while item < hi:
        panel = item % panels
        column = panel * {columns}
        start = b + (item // panels * b_batch + column * b_column) * {size}
        target = packed + item * k * {tile.row_bytes}
        # Panels beside each other are copied together, so that rows are read in longer runs.
        count = max(1, min({_PANELS_AT_ONCE}, hi - item, n // {columns} - panel)) if b_column == 1 else 1
        if count > 1:
            pack_rows(start, target, k * {tile.row_bytes}, {tile.row_bytes}, b_k * {size}, k, count)
        else:
            pack_panel(start, target, {columns}, b_k * {size}, b_column * {size}, k, min({columns}, n - column))
        item += count
"""
