"""The loop nests of matrix products as text: how the work is cut into items, and what an item does.

Products whose B was packed ahead have one way. The others look at sizes and strides when they run: few rows or columns
are dot products or sums of rows (`dots.py`), which read the large matrix once, as it lies; the rest packs panels of B
as it goes, or reads them in place.
"""

from .dots import DOT_GROUP
from .epilogue import indent
from .microkernel import NARROW, PANEL_ROWS, TILES_PER_ITEM

__all__ = [
    "CACHE_SET_PERIOD", "DIRECT_TILES", "DOT_COLUMNS", "GRAIN_MULTIPLY_ADDS", "blocking_source", "narrow_functions",
    "narrow_loops", "narrow_path", "packed_loops", "unpacked_head", "unpacked_loops", "unpacked_path",
]  # fmt: skip

# Below this many multiply-adds, handing an item to another thread costs more than it saves (a few microseconds).
GRAIN_MULTIPLY_ADDS = 100_000
# Rows of A that lie a multiple of this apart compete for the same lines of an L1 cache (64 sets of 64 bytes).
CACHE_SET_PERIOD = 4096
# So many rows that compete are left where they are.
GATHERED_ROWS = 4
# Up to this many rows, products with a transposed B are dot products of rows, with no copy of B.
DOT_ROWS = 16
# The same where B is converted as it is read.
NARROW_DOT_ROWS, NARROW_SUM_ROWS = 8, 4
# Shorter dot products take longer to start than packed tiles take.
DOT_DEPTH = 32
# Up to this many columns, products are dot products of the rows of A with them.
DOT_COLUMNS = 4
# Up to this many rows (or columns), the rows of the other matrix are added up, so many elements of each at a time, in
# steps of so many rows.
SUM_ROWS, SUM_WIDTH, SUM_DEPTH = 2, 1024, 32
# Panels of an item at most where they are packed block by block of K.
MOST_PANELS = 8
# The bytes of `row_buffer` that sums take, of either dtype; behind them are copies of columns of B.
_SUM_BYTES = SUM_ROWS * SUM_WIDTH * 8
_COLUMN_BYTES = 24 << 10

# What the slot `path` says: tiles of packed panels, or of panels as they lie; dot products of columns of B, or of rows
# of A; sums of rows of B, or of columns of A.
TILES, DIRECT_TILES, COLUMN_DOTS, ROW_DOTS, ROW_SUMS, COLUMN_SUMS = range(6)

# Statements that choose `row_block` and `panel_block` (in tiles) and give `items` and `grain`. They read `row_tiles`,
# `panels`, `batches`, `threads`, `m`, `k` (the whole depth), `depth` (of one block of it), `rows` and `columns` (of a
# tile), `l2_bytes` and, set here, `packed` and `path`.
_BLOCKING = f"""
panel_block, row_block = 1, {TILES_PER_ITEM}
if packed:
    panel_block = max(1, min(panels, l2_bytes // 2 // max(1, depth * columns * SIZE)))
    row_block = 4
    if depth < k:
        # All tiles of an item keep their sums on the stack from one block of K to the next.
        panel_block = min(panel_block, {TILES_PER_ITEM // 2})
        row_block = min(row_tiles, {TILES_PER_ITEM} // panel_block)
elif path == {ROW_SUMS}:
    panel_block = max(1, {SUM_WIDTH} // columns)
elif path == {COLUMN_SUMS}:
    row_block = max(1, {SUM_WIDTH} // rows)
elif path == {TILES}:
    # Several panels share the buffer, so that rows of B are read in longer runs. Where K takes several blocks, all
    # tiles of an item keep their sums on the stack meanwhile; where it is short, rows of the result are written in
    # long runs.
    row_block = max(1, min(row_block, row_tiles))
    if k > {PANEL_ROWS} and panels <= 4:
        row_block = min(row_block, {TILES_PER_ITEM} // max(1, panels))
    panel_block = max(1, min({TILES_PER_ITEM} // row_block, {MOST_PANELS}, panels))
    if k <= {PANEL_ROWS} // panel_block:
        panel_block, row_block = {PANEL_ROWS} // max(1, k), 64
    depth = {PANEL_ROWS} // panel_block
elif path == {DIRECT_TILES}:
    depth = {PANEL_ROWS}
row_block, panel_block = max(1, min(row_block, row_tiles)), max(1, min(panel_block, panels))
row_blocks = (row_tiles + row_block - 1) // row_block
panel_blocks = (panels + panel_block - 1) // panel_block
# Smaller items while there are too few of them for the threads to share evenly.
while threads > 1 and batches * row_blocks * panel_blocks < 4 * threads and (row_block > 1 or panel_block > 1):
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
    """The statements of a plan function that cut a product into items; without `packed`, they read `path`."""
    text = _BLOCKING.strip().replace("SIZE", str(4 if dtype == "f32" else 8))
    return f"packed = {packed}\n{f'path = {TILES}{chr(10)}' if packed else ''}{text}"


def unpacked_path(size: int, runs: bool) -> str:
    """Statements of a plan function that set `path`, from strides counted in elements."""
    sums = f"""\
elif b_column == 1 and m <= {SUM_ROWS}:
    path = {ROW_SUMS}
elif a_row == 1 and n <= {SUM_ROWS}:
    path = {COLUMN_SUMS}
"""
    return f"""\
path = {TILES}
if a_k == 1 and b_k == 1 and m <= {DOT_ROWS} and (k >= {DOT_DEPTH} or m <= {DOT_GROUP}):
    path = {COLUMN_DOTS}
elif a_k == 1 and k >= {DOT_DEPTH} and n <= {DOT_COLUMNS} and (b_k == 1 or k * n * {size} <= {_COLUMN_BYTES}):
    path = {ROW_DOTS}
{"" if runs else sums}\
elif b_column == 1 and (m <= rows and k * n * {size} <= 8 * l2_bytes or m <= 2 * rows and k * n * {size} <= l2_bytes):
    # Few rows do not pay for a copy of a B that is at hand.
    path = {DIRECT_TILES}"""


# Points the row table at rows i .. i + height - 1; missing ones repeat the last row.
_FILL_TABLE = """
for t in range(height):
    row = i + min(t, rows - 1)
    addresses[t] = a_batch + row * a_row
    row_starts[t] = c_batch + row * c_row_stride
"""
# The same where runs of `run_rows` rows lie `a_run` and `c_run` apart.
_FILL_TABLE_RUNS = """
for t in range(height):
    row = i + min(t, rows - 1)
    run, row = row // run_rows, row % run_rows
    addresses[t] = a_batch + run * a_run + row * a_row
    row_starts[t] = c_batch + run * c_run + row * c_row_stride
"""


def _fill_table(runs: bool) -> str:
    return _FILL_TABLE_RUNS if runs else _FILL_TABLE


def packed_loops(runs: bool) -> tuple[str, str]:
    """What precedes the items, and what an item does, of products whose B was packed ahead; SIZE is an element's."""
    head = f"""
gathered, gathered_stride = row_buffer(), k_block * SIZE // 64 * 64 + 128
# Rows that would push each other out of the L1 cache, or are not contiguous, are copied where several panels use them.
gather = panel_block > 1 and m > 1 and (a_k != SIZE or a_row % {CACHE_SET_PERIOD} == 0)
tile_step = height * row_bytes if k > k_block else 0
"""
    return (
        head,
        f"""
for k_start in range(0, max(k, 1), k_block):
    length = min(k_block, k - k_start)
    tile = tiles
    for i in range(first_row, last_row, height):
        rows = min(height, last_row - i)
{indent(_fill_table(runs), 8)}
        windows, offset, step = table, k_start * a_k, a_k
        if gather:
            step = gather_rows(table, dense, height, rows, offset, 1, 0, 1, 0, length, a_k, gathered, gathered_stride)
            windows, offset = dense, 0
        for panel in range(first_panel, last_panel):
            b_rows = b_batch + (panel * k + k_start) * row_bytes
            column = panel * width
            columns = min(width, n - column)
            count = rows + {NARROW} if columns <= narrow else rows
            call_tile(multiply, windows, count, offset, b_rows, tile, k_start, 1, 0, 1, 0, length, step, row_bytes)
            if k_start + length >= k:
                call_store(store, p, tile, offsets, batch, i, column, rows, columns)
            tile += tile_step
""",
    )


def unpacked_head(b_bytes: int) -> str:
    """What precedes the items of products whose B is read as it lies, with elements of `b_bytes`."""
    return f"""
panel_rows = panel_buffer()
b_k, b_column = b_k * {b_bytes}, b_column * {b_bytes}
# The addresses of columns of B.
b_table = dense
b_addresses = pointer_i64(b_table)
wide = row_buffer()
gathered_stride = {PANEL_ROWS} * SIZE + 128
# Rows that would push each other out of the L1 cache are copied.
gather = path <= {DIRECT_TILES} and m > {GATHERED_ROWS}
gather = gather and (a_row % {CACHE_SET_PERIOD} == 0 if a_k == SIZE else a_k % {CACHE_SET_PERIOD} == 0)
"""


def _column_dots() -> str:
    """A tile as dot products of its columns of B, which are contiguous, with its rows."""
    return f"""
for first in range(0, columns, {DOT_GROUP}):
    count = min({DOT_GROUP}, columns - first)
    for t in range({DOT_GROUP}):
        b_addresses[t] = b_batch + (column + first + min(t, count - 1)) * b_column
    for group in range(0, rows, {DOT_GROUP}):
        # Groups overlap, so that all addresses of a group are there.
        r = max(0, min(group, rows - {DOT_GROUP}))
        dot_rows(b_table, count, table + r * 8, min({DOT_GROUP}, rows),
            tiles + r * row_bytes + first * SIZE, SIZE, row_bytes, k)
"""


def _sums_of_rows(dtype: str, few: str, x: str, x_next: str, x_step: str, rows: str, rows_step: str) -> str:
    """`few` sums of multiples of rows, of which `count` elements each are wanted; the multiples begin at `x`."""
    zero = "np.float32(0)" if dtype == "f32" else "np.float64(0)"
    return f"""
for r in range({few}):
    sums = pointer_{dtype}(wide + r * {SUM_WIDTH} * SIZE)
    for s in range(count):
        sums[s] = {zero}
for k_start in range(0, k, {SUM_DEPTH}):
    for r in range({few}):
        add_rows(wide + r * {SUM_WIDTH} * SIZE, {x} + r * {x_next} + k_start * {x_step}, {x_step},
            {rows} + k_start * {rows_step}, {rows_step}, count, min({SUM_DEPTH}, k - k_start))
""".strip()


def unpacked_loops(dtype: str, runs: bool) -> str:
    """What an item does where B is read as it lies, for each path."""
    return f"""
block, b_start, b_step, b_next = k_block if gather else max(k, 1), b_batch + first_panel * width * b_column, b_k, b_k
panel_step = width * b_column
if path == {TILES} or path == {DIRECT_TILES} and last_panel * width > n:
    block, b_start, b_step, b_next = k_block, panel_rows, row_bytes, 0
    panel_step = k_block * row_bytes
elif path == {ROW_DOTS}:
    for t in range({DOT_GROUP}):
        b_addresses[t] = b_batch + min(t, n - 1) * b_column
    if b_k != SIZE:
        for t in range({DOT_GROUP}):
            copy_strided(b_addresses[t], b_k, wide + {_SUM_BYTES} + t * k * SIZE, SIZE, k)
            b_addresses[t] = wide + {_SUM_BYTES} + t * k * SIZE
elif path >= {ROW_SUMS}:
    # Sums of `few` multiples of rows, of which an item has `count` elements each.
    few, count, x, x_next, x_step = m, min(last_panel * width, n) - first_panel * width, a_batch, a_row, a_k
    b_rows, rows_step = b_start, b_k
    if path == {COLUMN_SUMS}:
        few, count, x, x_next, x_step = n, last_row - first_row, b_batch, b_column, b_k
        b_rows, rows_step = a_batch + first_row * SIZE, a_k
{indent(_sums_of_rows(dtype, "few", "x", "x_next", "x_step", "b_rows", "rows_step"), 4)}
for k_start in range(0, max(k, 1), block):
    length = min(block, k - k_start)
    if b_start == panel_rows:
        packed_panel = first_panel
        if b_column == SIZE:
            packed_panel = min(last_panel, n // width)
            pack_rows(b_batch + k_start * b_k + first_panel * width * SIZE, panel_rows, panel_step, row_bytes, b_k,
                length, packed_panel - first_panel)
        for panel in range(packed_panel, last_panel):
            column = panel * width
            pack_panel(b_batch + k_start * b_k + column * b_column, panel_rows + (panel - first_panel) * panel_step,
                width, b_k, b_column, length, min(width, n - column))
    tile = tiles
    for i in range(first_row, last_row, height):
        rows = min(height, last_row - i)
{indent(_fill_table(runs), 8)}
        windows, offset, step = table, k_start * a_k, a_k
        if gather:
            step = gather_rows(table, dense, height, rows, offset, 1, 0, 1, 0, length, a_k, wide, gathered_stride)
            windows, offset = dense, 0
        for panel in range(first_panel, last_panel):
            column = panel * width
            columns = min(width, n - column)
            if path <= {DIRECT_TILES}:
                count = rows + {NARROW} if columns <= narrow else rows
                b_rows = b_start + k_start * b_next + (panel - first_panel) * panel_step
                call_tile(multiply, windows, count, offset, b_rows, tile, k_start, 1, 0, 1, 0, length, step, b_step)
            elif path == {COLUMN_DOTS}:
{indent(_column_dots(), 16)}
            elif path == {ROW_DOTS}:
                for group in range(0, rows, {DOT_GROUP}):
                    r = max(0, min(group, rows - {DOT_GROUP}))
                    target = tiles + r * row_bytes
                    dot_rows(table + r * 8, min({DOT_GROUP}, rows), b_table, n, target, row_bytes, SIZE, k)
            elif path == {ROW_SUMS}:
                for r in range(rows):
                    source = wide + (r * {SUM_WIDTH} + column - first_panel * width) * SIZE
                    copy_strided(source, SIZE, tiles + r * row_bytes, SIZE, columns)
            else:
                for s in range(n):
                    source = wide + (s * {SUM_WIDTH} + i - first_row) * SIZE
                    copy_strided(source, SIZE, tiles + s * SIZE, row_bytes, rows)
            if k_start + length >= k:
                call_store(store, p, tile, offsets, batch, i, column, rows, columns)
            if k > block:
                tile += height * row_bytes
"""


def narrow_path(runs: bool) -> str:
    """Statements of a plan function that set `path` where B is converted as it is read."""
    sums = f"elif b_column == 1 and m <= {NARROW_SUM_ROWS}:\n    path = {ROW_SUMS}" if not runs else ""
    return f"""\
path = {DIRECT_TILES}
if a_k == 1 and b_k == 1 and m <= {NARROW_DOT_ROWS}:
    path = {COLUMN_DOTS}
{sums}"""


def narrow_functions(dtype: str, narrow: str) -> str:
    """Source of what reads a B of another dtype: a product of a row with a column, and the copy of a run."""
    convert, pointer = {"f16": ("from_f16", "i16"), "bf16": ("from_bf16", "i16")}.get(narrow, (f"as_{dtype}", narrow))
    module = "halves" if narrow in ("f16", "bf16") else "helpers"
    real = "np.float32" if dtype == "f32" else "np.float64"
    return f"""\
from ingot.jit.codegen.{module} import {convert}


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


def narrow_loops(dtype: str, b_bytes: int, runs: bool) -> str:
    """The same where B is converted: for few rows while it streams by, for more rows into packed panels."""
    pointer = f"pointer_{dtype}"
    return f"""
column = first_panel * width
columns = min(width, n - column)
b_panel = b_batch + column * b_column
if path == {COLUMN_DOTS}:
    i, rows = first_row, last_row - first_row
{indent(_fill_table(runs), 4)}
{indent(_column_dots(), 4)}
    call_store(store, p, tiles, offsets, batch, i, column, rows, columns)
elif path == {ROW_SUMS}:
    count = min(last_panel * width, n) - column
{indent(_sums_of_rows(dtype, "m", "a_batch", "a_row", "a_k", "b_panel", "b_k"), 4)}
    i, rows = 0, m
{indent(_fill_table(runs), 4)}
    for panel in range(first_panel, last_panel):
        columns = min(width, n - panel * width)
        for r in range(rows):
            copy_strided(wide + (r * {SUM_WIDTH} + panel * width - column) * SIZE, SIZE, tiles + r * row_bytes, SIZE,
                columns)
        call_store(store, p, tiles, offsets, batch, 0, panel * width, rows, columns)
else:
    for k_start in range(0, max(k, 1), {PANEL_ROWS}):
        length = min({PANEL_ROWS}, k - k_start)
        b_rows = b_panel + k_start * b_k
        if b_column == {b_bytes}:
            for q in range(length):
                target = panel_rows + q * row_bytes
                widen(narrow_pointer(b_rows + q * b_k), {pointer}(target), columns)
                clear({pointer}(target + columns * SIZE), width - columns)
        elif b_k == {b_bytes}:
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
{indent(_fill_table(runs), 12)}
            offset = k_start * a_k
            call_tile(multiply, table, rows, offset, panel_rows, tile, k_start, 1, 0, 1, 0, length, a_k, row_bytes)
            if k_start + length >= k:
                call_store(store, p, tile, offsets, batch, i, column, rows, columns)
            tile += height * row_bytes
"""
