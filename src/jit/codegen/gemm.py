"""Matrix multiplication for the CPU: source of range kernels C[i, j] = epilogue(sum over k of A[i, k] * B[k, j]).

A kernel works on *items*: a block of rows times a block of *panels* (groups of `tile.columns` columns of B). Inside an
item it walks K in blocks, then row tiles, then panels, so that the panels stay in the L2 cache and the rows in L1; the
tiles of the item keep their sums on the stack meanwhile, and the epilogue runs once on each finished tile. The
plan function cuts the work into items at run time, so that one kernel serves every size.

The order of the sums depends on K alone, never on the number of threads. Blocking after K. Goto and R. van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.
"""

import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .microkernel import LONGEST_ROW, PANEL_ROWS, TILES_PER_ITEM, microkernel_call
from .target import Target, TileShape, host_target, tile_shape

# The slots of a GEMM kernel's table. Strides count elements. Those that are constant in the spec are not read.
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
# The first slot of the epilogue's own parameters.
GEMM_FIRST_EXTRA = len(GEMM_SLOTS)

# Below this many multiply-adds, handing an item to another thread costs more than it saves (a few microseconds).
GRAIN_MULTIPLY_ADDS = 100_000
# What a module binds for a tile: see `microkernel`.
MICROKERNEL_FUNCTIONS = ("multiply_tile", "gather_rows", "pack_panel")
MICROKERNEL_BUFFERS = ("tile_buffer", "panel_buffer", "row_buffer", "row_table")
# Rows of A that lie a multiple of this apart compete for the same lines of an L1 cache (64 sets of 64 bytes).
CACHE_SET_PERIOD = 4096
_POINTER_TYPES = ("f32", "f64", "i8", "u8", "i16", "i32", "i64")


@dataclass(frozen=True)
class Epilogue:
    """What happens to each element of a product before it is stored, as Python statements that rebind `v`.

    The statements see `v` (the sum), `i` and `j` (row and column), `batch`, `at` (the offset of the element in C, for a
    residual of the same layout) and the parameters. A parameter is a name
    and a kind: `"f32*"` and so on is a pointer, `"i64"` an integer, `"f32"` or `"f64"` a float; each takes one slot of
    the table, in order, after those of the kernel.

    >>> bias_relu = Epilogue((("bias", "f32*"),), "v = v + bias[j]\\nv = v if v > 0 else v * 0")
    """

    parameters: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def __post_init__(self) -> None:
        kinds = {f"{kind}*" for kind in _POINTER_TYPES} | {"i64", "f32", "f64"}
        for name, kind in self.parameters:
            if not name.isidentifier():
                raise ValueError(f"Epilogue: parameter name {name!r} is not an identifier")
            if kind not in kinds:
                raise ValueError(f"Epilogue: parameter {name} has kind {kind!r}, expected one of {sorted(kinds)}")

    @property
    def names(self) -> str:
        """The parameters as the tail of an argument list: `, bias, scale`."""
        return "".join(f", {name}" for name, _ in self.parameters)

    def unpack(self, first_slot: int) -> list[str]:
        """Statements that read the parameters from the table `p`."""
        lines = []
        for index, (name, kind) in enumerate(self.parameters, first_slot):
            if kind.endswith("*"):
                value = f"pointer_{kind[:-1]}(slot_i64(p, {index}))"
            elif kind == "i64":
                value = f"slot_i64(p, {index})"
            else:
                value = f"{_NUMPY_TYPES[kind]}(slot_f64(p, {index}))"
            lines.append(f"{name} = {value}")
        return lines


_NUMPY_TYPES = {"f32": "np.float32", "f64": "np.float64"}


@dataclass(frozen=True)
class GemmSpec:
    """What is known about a product when its kernel is generated; sizes that are None are read at run time.

    `packed` says that B was packed ahead of time (`pack_b_numpy`, `pack_b_source`); otherwise B has any strides and is
    packed on the fly, 64 rows at a time. `batched` adds two batch dimensions with strides of their own (0 broadcasts).
    """

    dtype: str = "f32"
    packed: bool = True
    batched: bool = False
    n: int | None = None
    k: int | None = None
    target: Target = field(default_factory=host_target)

    @property
    def tile(self) -> TileShape:
        """The micro-kernel tile; packed operands must have been packed for it."""
        return tile_shape(self.target, self.dtype, self.n)

    @property
    def k_block(self) -> int:
        """How much of K is summed before the next panel's turn: a panel block then stays in L2, a row tile near L1."""
        block = self.target.l2_bytes // (10 * self.tile.columns * self.tile.element_bytes)
        return min(max(block // 64 * 64, 256), LONGEST_ROW)


def preamble(*tiles: TileShape) -> str:
    """The lines a module needs before kernels that use these tiles: imports and the names of the micro-kernels.

    `multiply_tile_<tile>` is an external symbol, which `microkernel_source(tile)` defines; link both.
    """
    lines = [
        "import numpy as np",
        "from ingot.jit.codegen.microkernel import microkernel",
        "from ingot.jit.codegen.primitives import pointer_f32, pointer_f64, pointer_i8, pointer_u8, pointer_i16",
        "from ingot.jit.codegen.primitives import pointer_i32, pointer_i64, set_slot_i64, slot_f64, slot_i64",
    ]
    for tile in dict.fromkeys(tiles):
        lines.append(f"_{tile.name} = {microkernel_call(tile)}")
        for function in (*MICROKERNEL_FUNCTIONS, *MICROKERNEL_BUFFERS):
            lines.append(f"{function}_{tile.name} = _{tile.name}.{function}")
    return "\n".join(lines) + "\n"


def indent(text: str, columns: int) -> str:
    """The text with every line moved right, without its common margin."""
    return textwrap.indent(textwrap.dedent(text).strip("\n"), " " * columns)


def store_source(
    name: str, tile: TileShape, epilogue: Epilogue, row_start: str, parameters: str, *, full: bool, edge: bool
) -> str:
    """Source of `<name>_store`: finishes one tile that lies on the stack and writes its valid part to C.

    `row_start` is the offset of row `t` in C, an expression over `parameters`. `full` and `edge` say which panels
    occur: whole ones get a loop of constant length, which LLVM unrolls into vectors.
    """
    body = indent(epilogue.body, 16) + "\n" if epilogue.body.strip() else ""

    def loop(count: str) -> str:
        return (
            f"            for s in range({count}):\n"
            f"                j = first_column + s\n"
            f"                at = row_start + j\n"
            f"                v = tile[t * {tile.columns} + s]\n"
            f"{body}"
            f"                c[at] = v\n"
        )

    if full and edge:
        loops = f"        if columns == {tile.columns}:\n{loop(str(tile.columns))}        else:\n{loop('columns')}"
    else:
        loops = textwrap.indent(textwrap.dedent(loop(str(tile.columns) if full else "columns")), " " * 8)
    return (
        f"@body\n"
        f"def {name}_store(tile, c{epilogue.names}, c_start, {parameters}, batch,\n"
        f"    first_row, first_column, rows, columns):\n"
        f"    for t in range(rows):\n"
        f"        i = first_row + t\n"
        f"        row_start = c_start + {row_start}\n"
        f"{loops}\n"
    )


def _size(name: str, known: int | None) -> str:
    return str(known) if known is not None else f"slot_i64(p, {GEMM_SLOTS[name]})"


def blocking_source(tile: TileShape, target: Target, k_block: int, *, packed: bool = True) -> str:
    """Statements that choose `row_block` and `panel_block` (in tiles) and give `items` and `grain`.

    They read `row_tiles`, `panels`, `batches`, `threads`, `m`, `k` (the whole depth) and `depth` (of one block of it).
    """
    if packed:
        choice = f"""
            panel_bytes = max(1, depth * {tile.columns * tile.element_bytes})
            panel_block = max(1, min(panels, {target.l2_bytes // 2} // panel_bytes))
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


def gemm_plan_source(name: str, spec: GemmSpec) -> str:
    """Source of `<name>(p, threads)`, which cuts a product into items: it writes the last three slots of `GEMM_SLOTS`.

    It returns the number of items. It depends on the spec alone, so that kernels with other epilogues share it.
    """
    tile, slots = spec.tile, GEMM_SLOTS
    batches = f"slot_i64(p, {slots['batches']})" if spec.batched else "1"
    return f"""
@kernel
def {name}(p, threads):
    m, n, k = {_size("m", None)}, {_size("n", spec.n)}, {_size("k", spec.k)}
    batches = {batches}
    panels = (n + {tile.columns - 1}) // {tile.columns}
    row_tiles = (m + {tile.rows - 1}) // {tile.rows}
    depth = min(k, {spec.k_block})
{indent(blocking_source(tile, spec.target, spec.k_block, packed=spec.packed), 4)}
    set_slot_i64(p, {slots["row_block"]}, row_block * {tile.rows})
    set_slot_i64(p, {slots["panel_block"]}, panel_block)
    set_slot_i64(p, {slots["grain"]}, grain)
    return items
""".lstrip("\n")


def gemm_source(name: str, spec: GemmSpec, epilogue: Epilogue | None = None) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over items, and of its inner function `<name>_store`.

    The table `p` is laid out as `GEMM_SLOTS` says, followed by the epilogue's parameters. The driver fills it, calls
    the plan function (`gemm_plan_source`), and runs the kernel over the items with the grain that it finds in its slot.
    `@body` marks an inner function whose pointers do not alias, `@kernel` an entry.
    """
    epilogue = epilogue or Epilogue()
    full = spec.n is None or spec.n >= spec.tile.columns
    edge = spec.n is None or spec.n % spec.tile.columns != 0
    parts = [
        store_source(name, spec.tile, epilogue, "i * c_row_stride", "c_row_stride", full=full, edge=edge),
        _kernel_source(name, spec, epilogue),
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _kernel_source(name: str, spec: GemmSpec, epilogue: Epilogue) -> str:
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
    b_read = f"""
        row_buffer, dense = row_buffer_{tile.name}(), table + {tile.rows * 16}
        # Rows that would push each other out of the L1 cache, or are not contiguous, are copied if several panels pay.
        gather = panel_block > 1 and m > 1 and (a_k != {size} or a_row % {CACHE_SET_PERIOD} == 0)
    """
    if not spec.packed:
        b_read = f"""
            panel = panel_buffer_{tile.name}()
            b_k, b_column = {slot("b_k_stride")}, {slot("b_column_stride")}
        """
    head = [
        f"a, b = {slot('a')}, {slot('b')}",
        f"c = pointer_{tile.dtype}({slot('c')})",
        f"m, n, k = {_size('m', None)}, {_size('n', spec.n)}, {_size('k', spec.k)}",
        f"a_row, a_k = {slot('a_row_stride')} * {size}, {slot('a_k_stride')} * {size}",
        f"c_row_stride = {slot('c_row_stride')}",
        *textwrap.dedent(batch_read).strip().splitlines(),
        f"row_block, panel_block = {slot('row_block')}, {slot('panel_block')}",
        *epilogue.unpack(GEMM_FIRST_EXTRA),
        f"panels = (n + {tile.columns - 1}) // {tile.columns}",
        "panel_blocks = (panels + panel_block - 1) // panel_block",
        "row_blocks = (m + row_block - 1) // row_block",
        f"tiles, table = tile_buffer_{tile.name}(), row_table_{tile.name}()",
        "addresses = pointer_i64(table)",
        *textwrap.dedent(b_read).strip().splitlines(),
    ]
    loops = _packed_loops(name, spec, epilogue) if spec.packed else _unpacked_loops(name, spec, epilogue)
    panel_of_item = "item // row_blocks % panel_blocks" if spec.batched else "item // row_blocks"
    return (
        f"@kernel\n"
        f"def {name}(p, lo, hi):\n"
        + textwrap.indent("\n".join(head), "    ")
        + "\n    for item in range(lo, hi):\n"
        + indent(batch_use, 8)
        + f"""
        first_row = item % row_blocks * row_block
        last_row = min(first_row + row_block, m)
        first_panel = {panel_of_item} * panel_block
        last_panel = min(first_panel + panel_block, panels)
"""
        + indent(loops, 8)
        + "\n"
    )


def _fill_table(tile: TileShape) -> str:
    """Statements that point the row table at rows i .. i + rows - 1; missing ones repeat the last row."""
    return f"for t in range({tile.rows}):\n    addresses[t] = a_batch + (i + min(t, rows - 1)) * a_row"


def _packed_loops(name: str, spec: GemmSpec, epilogue: Epilogue) -> str:
    tile = spec.tile
    tile_bytes = tile.rows * tile.columns * tile.element_bytes
    row_bytes = tile.columns * tile.element_bytes
    if spec.k is not None and spec.k <= spec.k_block:
        loop, last = "k_start, length = 0, k\n", None
        margin = 0
        tile_step = "0"
    else:
        # Blocks of equal length: the last one should not be a sliver.
        loop = (
            f"k_blocks = max(1, (k + {spec.k_block - 1}) // {spec.k_block})\n"
            f"k_block = max(1, (k + k_blocks - 1) // k_blocks)\n"
            f"tile_step = {tile_bytes} if k > k_block else 0\n"
            f"for k_start in range(0, max(k, 1), k_block):\n"
            f"    length = min(k_block, k - k_start)\n"
        )
        last, margin, tile_step = "k_start + length >= k", 4, "tile_step"
    store = (
        f"{name}_store(pointer_{tile.dtype}(tile), c{epilogue.names}, c_batch, c_row_stride, batch,\n"
        f"    i, panel * {tile.columns}, rows, min({tile.columns}, n - panel * {tile.columns}))\n"
    )
    if last is not None:
        store = f"if {last}:\n" + textwrap.indent(store, "    ")
    rows = (
        f"tile = tiles\n"
        f"for i in range(first_row, last_row, {tile.rows}):\n"
        f"    rows = min({tile.rows}, last_row - i)\n"
        + textwrap.indent(_fill_table(tile), "    ")
        + f"\n    windows, offset, step = table, k_start * a_k, a_k\n"
        f"    if gather:\n"
        f"        step = gather_rows_{tile.name}(table, dense, rows, offset, 1, 0, 1, 0, length, a_k, row_buffer)\n"
        f"        windows, offset = dense, 0\n"
        f"    for panel in range(first_panel, last_panel):\n"
        f"        b_rows = b_batch + (panel * k + k_start) * {row_bytes}\n"
        f"        multiply_tile_{tile.name}(windows, rows, offset, b_rows, tile,\n"
        f"            {'k_start' if last else '0'}, 1, 0, 1, 0, length, step, {row_bytes})\n"
        + textwrap.indent(store, " " * 8)
        + f"        tile += {tile_step}\n"
    )
    return loop + textwrap.indent(rows, " " * margin)


def _unpacked_loops(name: str, spec: GemmSpec, epilogue: Epilogue) -> str:
    tile = spec.tile
    size, row_bytes = tile.element_bytes, tile.columns * tile.element_bytes
    tile_bytes = tile.rows * row_bytes
    return f"""
        first_column = first_panel * {tile.columns}
        columns = min({tile.columns}, n - first_column)
        b_panel = b_batch + first_column * b_column * {size}
        # Few rows do not pay for a copy: whole panels of a row-major B are read where they lie.
        direct = b_column == 1 and columns == {tile.columns} and m <= {2 * tile.rows}
        k_block = max(k, 1) if direct else {PANEL_ROWS}
        for k_start in range(0, max(k, 1), k_block):
            length = min(k_block, k - k_start)
            b_rows, b_step = b_panel + k_start * b_k * {size}, b_k * {size}
            if not direct:
                pack_panel_{tile.name}(b_rows, panel, b_k * {size}, b_column * {size}, length, columns)
                b_rows, b_step = panel, {row_bytes}
            tile = tiles
            for i in range(first_row, last_row, {tile.rows}):
                rows = min({tile.rows}, last_row - i)
{indent(_fill_table(tile), 16)}
                multiply_tile_{tile.name}(table, rows, k_start * a_k, b_rows, tile,
                    k_start, 1, 0, 1, 0, length, a_k, b_step)
                if k_start + length >= k:
                    {name}_store(pointer_{tile.dtype}(tile), c{epilogue.names}, c_batch, c_row_stride, batch,
                        i, first_column, rows, columns)
                tile += {tile_bytes}
    """


PACK_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(("b", "packed", "n", "k", "b_k_stride", "b_column_stride", "b_batch_stride"))
}


def pack_b_source(name: str, tile: TileShape) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over panels that packs B at run time, laid out as `PACK_SLOTS`.

    There are `batches * ceil(n / tile.columns)` panels. Any strides do, so a transposed weight (`x @ W.T`) needs no
    copy before.
    """
    slots, size = PACK_SLOTS, tile.element_bytes
    return f"""
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
""".lstrip("\n")


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
    a cache line.

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
