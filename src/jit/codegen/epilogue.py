"""What a contraction does with each finished element, fused into its store: bias, activation, residual."""

import textwrap
from dataclasses import dataclass

from .target import TileShape

_POINTER_TYPES = ("f32", "f64", "i8", "u8", "i16", "i32", "i64")
_NUMPY_TYPES = {"f32": "np.float32", "f64": "np.float64"}


def indent(text: str, columns: int) -> str:
    """The text with every line moved right, without its common margin."""
    return textwrap.indent(textwrap.dedent(text).strip("\n"), " " * columns)


@dataclass(frozen=True)
class Epilogue:
    """What happens to each element of a product before it is stored, as Python statements that rebind `v`.

    The statements see `v` (the sum), `i` and `j` (row and column; a convolution's pixel and channel), `batch` (a
    convolution's group), `at` (the offset of the element in the result, for a residual of the same layout) and the
    parameters. A parameter is a name and a kind: `"f32*"` and so on is a pointer, `"i64"` an integer, `"f32"` or
    `"f64"` a float; each takes one slot of the table, in order, after those of the kernel. `functions` is source that
    the statements call, such as vector math. `start` are statements for the first row of a tile (`i`), such as its
    place in an image, and `advance` those that lead from one row to the next: so that no row divides.

    >>> bias_relu = Epilogue((("bias", "f32*"),), "v = v + bias[j]\\nv = v if v > 0 else v * 0")
    """

    parameters: tuple[tuple[str, str], ...] = ()
    body: str = ""
    functions: str = ""
    start: str = ""
    advance: str = ""

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

    def unpack(self, first_slot: int) -> str:
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
        return "\n".join(lines)


def store_source(
    name: str, tile: TileShape, epilogue: Epilogue, slots: dict[str, int], *, result: str, columns: int | None
) -> str:
    """Source of `<name>_store`, which finishes one tile and writes its valid part to the result.

    `slots` is the layout of the kernel's table, in which `result` names the result's address. `columns` is the number
    of columns if it is known: whole panels, and the only panel of a narrow result, get a loop of constant length, which
    LLVM unrolls into vectors.
    """
    body = indent(epilogue.body, 16) + "\n" if epilogue.body.strip() else ""
    loops = []
    if columns is None or columns >= tile.columns:
        loops.append(("if columns == " + str(tile.columns), str(tile.columns)))
    if columns is not None and columns < tile.columns:
        loops.append((f"if columns == {columns}", str(columns)))  # the only panel
    elif columns is None or columns % tile.columns != 0:
        loops.append(("if columns != " + str(tile.columns), "columns"))
    text = "".join(
        f"        {condition}:\n"
        f"            for s in range({count}):\n"
        f"                j = first_column + s\n"
        f"                at = row_start + j\n"
        f"                v = tile[t * {tile.columns} + s]\n"
        f"{body}"
        f"                c[at] = v\n"
        for condition, count in loops
    )
    finish = f"""
@body
def {name}_finish(tile, c{epilogue.names}, offsets, batch, first_row, first_column, rows, columns):
    i = first_row
{indent(epilogue.start, 4)}
    for t in range(rows):
        i = first_row + t
        row_start = offsets[t]
{text}
{indent(epilogue.advance, 8)}
"""
    return finish_and_store(name, tile, epilogue, slots, result, finish)


def finish_and_store(
    name: str, tile: TileShape, epilogue: Epilogue, slots: dict[str, int], result: str, finish: str, more: str = ""
) -> str:
    """Source of `<name>_store` around a given `<name>_finish`, after the functions that the epilogue calls.

    `more` is the tail of the arguments of `<name>_finish`: `, slot_i64(p, 3)`.
    """
    functions = epilogue.functions.strip("\n") + "\n\n\n" if epilogue.functions.strip() else ""
    store = f"""
@kernel
def {name}_store(p, tile, offsets, batch, first_row, first_column, rows, columns):
    c = pointer_{tile.dtype}(slot_i64(p, {slots[result]}))
{indent(epilogue.unpack(len(slots)), 4)}
    {name}_finish(pointer_{tile.dtype}(tile), c{epilogue.names}, pointer_i64(offsets), batch, first_row,
        first_column, rows, columns{more})


{name}_store_address = address_of({name}_store)
"""
    return functions + finish.strip("\n") + "\n\n\n" + store.strip("\n") + "\n"
