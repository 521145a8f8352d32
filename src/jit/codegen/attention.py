"""Attention as one kernel: tiles of scores that never leave the cache, with the softmax carried along the keys.

An item is a block of query rows of one head. It goes over the keys in blocks: scores by the GEMM micro-kernel, scale
and mask, the running maximum and sum of each row, and the products with the values added to the rows of the result,
which are rescaled when the maximum grows (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018;
Dao et al., "FlashAttention", 2022). A causal item stops at its last row's diagonal. Few queries against many keys
(decoding) take dot products with the keys as they lie. The order of all sums depends on the sizes alone.
"""

import re
from dataclasses import dataclass
from functools import cache

from .epilogue import indent
from .gemm import GRAIN_MULTIPLY_ADDS, IMPORTS, block_lanes, shared_sources
from .kernel_text import preamble
from .microkernel import TABLE_BYTES, copies_name, microkernel_call
from .scalar_code import Requirements
from .target import Target, TileShape, tile_shape

__all__ = ["ATTENTION_SLOTS", "AttentionSpec"]

# The slots of the kernel's table. Strides count elements; a head of the query reads head // share of key and value.
ATTENTION_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "q", "k", "v", "mask", "y", "batches", "inner_batches", "k_share", "v_share",
            "queries", "keys", "depth", "columns",
            "q_outer", "q_inner", "q_row", "q_depth", "k_outer", "k_inner", "k_row", "k_depth",
            "v_outer", "v_inner", "v_row", "v_column", "mask_outer", "mask_inner", "mask_row", "mask_column",
            "y_outer", "y_inner", "y_row",
            "causal",
            "mask_kind",  # 0: none, 1: bytes that say what takes part, 2: numbers to add
            "scale",  # a float; 0 stands for 1 / sqrt(depth)
            "row_tiles",  # written by the plan function, as is the next
            "grain",
        )
    )
}  # fmt: skip

# Rows of an item, keys of a block, and columns of the result (and positions of the depth) at a time, in tiles. Together
# they keep an item's memory within the stack of any thread, and within the buffers of `microkernel.py`. Results of more
# columns have half as many rows, so that scores are not computed twice.
_ROW_TILES, _KEY_TILES, _COLUMN_TILES = 4, 4, 4
# Up to this many queries, scores are dot products with the keys as they lie.
_FEW = 3


@dataclass(frozen=True)
class AttentionSpec:
    """The kernel of a dtype on a CPU: one serves all shapes, masks and strides."""

    dtype: str
    target: Target

    @property
    def tile(self) -> TileShape:
        """The micro-kernel tile of both products."""
        return tile_shape(self.target, self.dtype)

    @property
    def name(self) -> str:
        """The name of the range kernel; `<name>_plan(p, threads)` is its plan function."""
        return f"attention_{self.tile.name}"

    def shared_sources(self) -> dict[str, str]:
        """The modules to link with it, itself among them, by name."""
        return shared_sources((self.tile,), self.target) | {self.name: attention_source(self)}


def _read(*names: str) -> str:
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {ATTENTION_SLOTS[n]})' for n in names)}"


def _read_bytes(size: int, *names: str) -> str:
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {ATTENTION_SLOTS[n]}) * {size}' for n in names)}"


@cache
def attention_source(spec: AttentionSpec) -> str:
    """Source of the range kernel and its plan function."""
    tile, dtype, slots = spec.tile, spec.dtype, ATTENTION_SLOTS
    lanes = block_lanes(spec.target, dtype)
    requirements = Requirements(
        helpers={"maximum_step", "sum_step", f"stack_{dtype}"}, vector={("exp", dtype)}, bits={"square_root"}
    )
    width, height, size = tile.columns, tile.rows, tile.element_bytes
    names = {
        "WIDTH": width,
        "HEIGHT": height,
        "SIZE": size,
        "TILE_BYTES": height * tile.row_bytes,
        "TILE": height * width,
        "ROW_BYTES": tile.row_bytes,
        "POINTER": f"pointer_{dtype}",
        "STACK": f"stack_{dtype}",
        "REAL": "np.float32" if dtype == "f32" else "np.float64",
        "EXP": f"exp_{dtype}",
        "COLUMN_TILES": _COLUMN_TILES,
        "ROW_TILES": _ROW_TILES,
        "KEY_TILES": _KEY_TILES,
        "ITEM_ROWS": _ROW_TILES * height,
        "DEPTH": _COLUMN_TILES * width,
        "FEW": _FEW,
    }
    text = f"""{IMPORTS}
{preamble(requirements)}
multiply_tile = {microkernel_call(tile)}.multiply_tile
pack_panel = copies({dtype!r}, {lanes})["pack_panel_{copies_name(dtype, lanes)}"]


@kernel
def {spec.name}_plan(p, threads):
    {_read("batches", "queries", "keys", "depth", "columns")}
    column_room = COLUMN_TILES if columns <= DEPTH else 2 * COLUMN_TILES
    row_tiles = ROW_TILES * COLUMN_TILES // column_room
    blocks = batches * ((columns + column_room * WIDTH - 1) // (column_room * WIDTH))
    while row_tiles > 1 and blocks * ((queries + row_tiles * HEIGHT - 1) // (row_tiles * HEIGHT)) < 3 * threads:
        row_tiles -= 1
    rows = row_tiles * HEIGHT
    set_slot_i64(p, {slots["row_tiles"]}, row_tiles)
    work = min(rows, queries) * (keys + 1) * (depth + columns + 8)
    set_slot_i64(p, {slots["grain"]}, {GRAIN_MULTIPLY_ADDS} // (work + 1) + 1)
    return blocks * ((queries + rows - 1) // rows)


{_ROWS}


@kernel
def {spec.name}(p, lo, hi):
    {_read("q", "k", "v", "mask", "y", "inner_batches", "k_share", "v_share", "queries", "keys", "depth", "columns")}
    {_read("mask_outer", "mask_inner", "mask_row", "mask_column", "causal", "mask_kind", "row_tiles")}
    {_read_bytes(size, "q_outer", "q_inner", "q_row", "q_depth", "k_outer", "k_inner", "k_row", "k_depth")}
    {_read_bytes(size, "v_outer", "v_inner", "v_row", "v_column", "y_outer", "y_inner", "y_row")}
    wanted = slot_f64(p, {slots["scale"]})
    scale = REAL(wanted if wanted != 0.0 else 1.0 / square_root(max(depth, 1) * 1.0))
{indent(_ITEMS, 4)}
"""
    return re.sub("|".join(rf"\b{name}\b" for name in names), lambda match: str(names[match.group()]), text)


# What happens to one row of scores, which lies in the tiles of its keys: runs of WIDTH elements, TILE apart.
_ROWS = """
@body
def scale_row(s, panels, scale):
    for j in range(panels):
        for c in range(WIDTH):
            s[j * TILE + c] = s[j * TILE + c] * scale


@body
def choose_row(s, panels, count, mask, step):
    for j in range(panels):
        for c in range(min(WIDTH, count - j * WIDTH)):
            s[j * TILE + c] = s[j * TILE + c] if mask[(j * WIDTH + c) * step] != 0 else REAL(-np.inf)


@body
def add_row(s, panels, count, mask, step):
    for j in range(panels):
        for c in range(min(WIDTH, count - j * WIDTH)):
            s[j * TILE + c] = s[j * TILE + c] + mask[(j * WIDTH + c) * step]


@body
def peak_of_lanes(lanes):
    peak = lanes[0]
    for c in range(1, WIDTH):
        peak = maximum_step(peak, lanes[c])
    return peak


@body
def scale_and_peak(s, lanes, panels, count, scale):
    for c in range(WIDTH):
        lanes[c] = REAL(-np.inf)
    for j in range(panels):
        for c in range(WIDTH):
            v = s[j * TILE + c] * scale if j * WIDTH + c < count else REAL(-np.inf)
            s[j * TILE + c] = v
            lanes[c] = maximum_step(lanes[c], v)
    return peak_of_lanes(lanes)


@body
def choose_and_peak(s, lanes, panels, scale, mask):
    for c in range(WIDTH):
        lanes[c] = REAL(-np.inf)
    for j in range(panels):
        for c in range(WIDTH):
            v = s[j * TILE + c] * scale
            v = v if mask[j * WIDTH + c] != 0 else REAL(-np.inf)
            s[j * TILE + c] = v
            lanes[c] = maximum_step(lanes[c], v)
    return peak_of_lanes(lanes)


@body
def advance_rows(peaks, new_peaks, shifts, changes, sums, rows):
    for r in range(rows):
        peak = maximum_step(peaks[r], new_peaks[r])
        # Where nothing was seen yet, minus infinity less itself would not be a number.
        shift = REAL(0) if peak == REAL(-np.inf) else peak
        change = EXP(peaks[r] - shift)
        peaks[r] = peak
        shifts[r] = shift
        changes[r] = change
        sums[r] = sums[r] * change


@body
def exponentials_of_row(s, lanes, panels, shift):
    for c in range(WIDTH):
        lanes[c] = REAL(0)
    for j in range(panels):
        for c in range(WIDTH):
            e = EXP(s[j * TILE + c] - shift)
            s[j * TILE + c] = e
            lanes[c] = lanes[c] + e
    total = REAL(0)
    for c in range(WIDTH):
        total = sum_step(total, lanes[c])
    return total


@body
def scale_tiles(o, panels, factor):
    for j in range(panels):
        for c in range(WIDTH):
            o[j * TILE + c] = o[j * TILE + c] * factor


@body
def store_row(o, out, count, factor):
    for j in range((count + WIDTH - 1) // WIDTH):
        for c in range(min(WIDTH, count - j * WIDTH)):
            out[j * WIDTH + c] = o[j * TILE + c] * factor


@body
def clear_row(out, count):
    for c in range(count):
        out[c] = REAL(0)


@body
def dots(q, k, s, count, depth, step):
    for j in range(count):
        total = REAL(0)
        for e in range(depth):
            total = sum_step(total, q[e] * k[j * step + e])
        s[j // WIDTH * TILE + j % WIDTH] = total


@body
def start_rows(peaks, sums, count):
    for r in range(count):
        peaks[r] = REAL(-np.inf)
        sums[r] = REAL(0)
""".strip("\n")

_ITEMS = f"""
tiles, table, packed = tile_buffer(), row_table(), panel_buffer()
p_table = table + {TABLE_BYTES}
q_addresses, p_addresses = pointer_i64(table), pointer_i64(p_table)
# The rows of the result, and after them a packed block of values.
results = row_buffer()
values = results + ROW_TILES * COLUMN_TILES * TILE_BYTES
lanes = STACK(WIDTH)
peaks, sums = STACK(ITEM_ROWS), STACK(ITEM_ROWS)
new_peaks, shifts, changes = STACK(ITEM_ROWS), STACK(ITEM_ROWS), STACK(ITEM_ROWS)
row_block = row_tiles * HEIGHT
row_blocks = (queries + row_block - 1) // row_block
# Wide rows of the result leave room for fewer of them.
column_room = COLUMN_TILES if columns <= DEPTH else 2 * COLUMN_TILES
column_blocks = (columns + column_room * WIDTH - 1) // (column_room * WIDTH)
few = queries <= FEW and q_depth == SIZE and k_depth == SIZE
for item in range(lo, hi):
    batch = item // (row_blocks * column_blocks)
    first = item % row_blocks * row_block
    first_column = item // row_blocks % column_blocks * column_room * WIDTH
    outer, inner = batch // inner_batches, batch % inner_batches
    q_head = q + outer * q_outer + inner * q_inner
    k_head = k + outer * k_outer + inner // k_share * k_inner
    v_head = v + outer * v_outer + inner // v_share * v_inner + first_column * v_column
    mask_head = outer * mask_outer + inner * mask_inner
    y_head = y + outer * y_outer + inner * y_inner + first_column * SIZE
    rows, wide = min(row_block, queries - first), min(column_room * WIDTH, columns - first_column)
    column_tiles = (wide + WIDTH - 1) // WIDTH
    start_rows(peaks, sums, rows)
    last_key = min(keys, first + rows) if causal != 0 else keys
    for start in range(0, last_key, KEY_TILES * WIDTH):
        count = min(KEY_TILES * WIDTH, last_key - start)
        panels = (count + WIDTH - 1) // WIDTH
        # The scores of all rows of the item with this block of keys.
        if few:
            for r in range(rows):
                dots(POINTER(q_head + (first + r) * q_row), POINTER(k_head + start * k_row),
                    POINTER(tiles + r * ROW_BYTES), count, depth, k_row // SIZE)
        else:
            for j in range(panels):
                key = start + j * WIDTH
                for d in range(0, max(depth, 1), DEPTH):
                    length = min(DEPTH, depth - d)
                    pack_panel(k_head + key * k_row + d * k_depth, packed, WIDTH, k_depth, k_row, length,
                        min(WIDTH, last_key - key))
                    for i in range(0, rows, HEIGHT):
                        high = min(HEIGHT, rows - i)
                        for t in range(HEIGHT):
                            q_addresses[t] = q_head + (first + i + min(t, high - 1)) * q_row
                        out = tiles + (i // HEIGHT * KEY_TILES + j) * TILE_BYTES
                        multiply_tile(table, high, d * q_depth, packed, out, d, 1, 0, 1, 0, length, q_depth, ROW_BYTES)
        # Each row's softmax so far.
        for r in range(rows):
            s = POINTER(tiles + r // HEIGHT * KEY_TILES * TILE_BYTES + r % HEIGHT * ROW_BYTES)
            at = mask_head + (first + r) * mask_row + start * mask_column
            seen = min(count, first + r + 1 - start) if causal != 0 else count
            if mask_kind == 0:
                new_peaks[r] = scale_and_peak(s, lanes, panels, seen, scale)
            elif mask_kind == 1 and mask_column == 1 and seen == panels * WIDTH:
                new_peaks[r] = choose_and_peak(s, lanes, panels, scale, pointer_u8(mask + at))
            else:
                scale_row(s, panels, scale)
                if mask_kind == 1:
                    choose_row(s, panels, count, pointer_u8(mask + at), mask_column)
                else:
                    add_row(s, panels, count, POINTER(mask + at * SIZE), mask_column)
                new_peaks[r] = scale_and_peak(s, lanes, panels, seen, REAL(1))
        advance_rows(peaks, new_peaks, shifts, changes, sums, rows)
        for r in range(rows):
            s = POINTER(tiles + r // HEIGHT * KEY_TILES * TILE_BYTES + r % HEIGHT * ROW_BYTES)
            sums[r] += exponentials_of_row(s, lanes, panels, shifts[r])
            if start > 0 and changes[r] != REAL(1):
                o = POINTER(results + r // HEIGHT * column_room * TILE_BYTES + r % HEIGHT * ROW_BYTES)
                scale_tiles(o, column_tiles, changes[r])
        # The products with the values, added to the results.
        whole = count // WIDTH
        rest = count - whole * WIDTH
        for j in range(column_tiles):
            b, b_step = v_head + start * v_row + j * WIDTH * v_column, v_row
            if v_column != SIZE or wide - j * WIDTH < WIDTH:
                pack_panel(b, values, WIDTH, v_row, v_column, count, min(WIDTH, wide - j * WIDTH))
                b, b_step = values, ROW_BYTES
            for i in range(0, rows, HEIGHT):
                high = min(HEIGHT, rows - i)
                for t in range(HEIGHT):
                    p_addresses[t] = tiles + i // HEIGHT * KEY_TILES * TILE_BYTES + min(t, high - 1) * ROW_BYTES
                out = results + (i // HEIGHT * column_room + j) * TILE_BYTES
                if whole > 0:
                    multiply_tile(p_table, high, 0, b, out, start, whole, TILE_BYTES, 1, 0, WIDTH, SIZE, b_step)
                if rest > 0:
                    multiply_tile(p_table, high, whole * TILE_BYTES, b + whole * WIDTH * b_step, out, start + whole,
                        1, 0, 1, 0, rest, SIZE, b_step)
    for r in range(rows):
        out = POINTER(y_head + (first + r) * y_row)
        if last_key == 0 or (mask_kind == 1 and sums[r] == 0):
            # A row that may look at nothing gives zeros.
            clear_row(out, wide)
        else:
            o = POINTER(results + r // HEIGHT * column_room * TILE_BYTES + r % HEIGHT * ROW_BYTES)
            store_row(o, out, wide, REAL(1) / sums[r])
"""
