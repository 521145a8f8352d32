"""Rows not much longer than vectors are turned in tiles on the stack: then vectors run across rows, and are full.

A row of ten elements fills no vector of sixteen lanes, and reducing it takes steps between lanes. Of many rows beside
each other, every element has a vector of its own.
"""

from ...ir import dtypes
from ...ir.dims import Dim
from ...ir.dtypes import DType
from ..expected_sizes import SHORT, expected_size

__all__ = ["LANES", "LONGEST", "are_turned", "turning_statements"]

# Rows that lie in a tile beside each other, and the longest that are turned: two tiles of float32 stay in L1.
LANES, LONGEST = 32, 64
_BLOCK = 8


def are_turned(length: Dim, dtype: DType, *, shortest: int = SHORT, longest: int = LONGEST) -> bool:
    """Whether rows are expected to be longer than `shortest`, and not too long, of elements that can be turned."""
    size = expected_size(length)
    kinds = (dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64)
    return dtype in kinds and size is not None and shortest < size <= longest


def turning_statements(dtype: DType) -> list[str]:
    """Functions that fill a tile from rows, `turn_rows_*`, and rows from a tile, `turn_back_*`.

    Both take the address of the rows, the elements from one row to the next, the length and the number of the rows, and
    the address of the tile. Blocks are transposed in registers; the last one of a row overlaps the one before.
    """
    kind, size = dtype.short, dtype.itemsize
    block = "f32" if size == 4 else "f64"  # integers of the same size are moved like floats

    def copy(name: str, transposition: str, assignment: str) -> str:
        return f"""

def {name}_{kind}(rows, step, n, count, tile):
    whole = count - count % {_BLOCK} if n >= {_BLOCK} else 0
    for row in range(0, whole, {_BLOCK}):
        for k in range(0, n, {_BLOCK}):
            column = min(k, n - {_BLOCK})
            there = rows + (row * step + column) * {size}
            here = tile + (column * {LANES} + row) * {size}
            {transposition}
    x, y = pointer_{kind}(rows), pointer_{kind}(tile)
    for row in range(whole, count):
        for k in range(n):
            {assignment}
"""

    inner, outer = "x[row * step + k]", f"y[k * {LANES} + row]"
    turn, there, here = f"turn_{block}", f"there, step * {size}", f"here, {LANES * size}"
    return [
        "from ingot.jit.codegen.microkernel import tile_buffer, transpose_block",
        f"{turn} = transpose_block({block!r}, {_BLOCK})",
        copy("turn_rows", f"{turn}({there}, {here})", f"{outer} = {inner}"),
        copy("turn_back", f"{turn}({here}, {there})", f"{inner} = {outer}"),
    ]
