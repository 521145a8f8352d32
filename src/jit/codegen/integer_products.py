"""Products of matrices of 8-bit integers with sums of 32 bits: four products to an instruction where the CPU has it.

An item is a panel of columns times some tiles of rows. Blocks of the depth of both matrices are copied to where four
positions in a row lie together, as `vpdpbusd` wants them (Intel, "Vector Neural Network Instructions"): it multiplies
unsigned bytes by signed ones. Where both sides have one sign, the rows change theirs by adding 128 to each byte or
taking it away, and 128 times the sums of the columns, which are one more row of the product, make up for it. Other CPUs
widen the bytes. Sums wrap around as those of int32 do, so that no order matters: all are exact.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .epilogue import indent
from .external import lower
from .gemm_loops import GRAIN_MULTIPLY_ADDS
from .microkernel_llvm import I64, row_counts
from .packing import aligned_empty
from .target import LARGEST_TILE, Target

__all__ = ["INTEGER_SLOTS", "IntegerSpec", "byte_products", "integer_source", "pack_bytes"]

INTEGER_SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "a", "b", "c", "m", "n", "k", "a_row_stride", "a_k_stride", "b_k_stride", "b_column_stride", "c_row_stride",
            "b_is_packed",  # 1 where B was packed ahead of time (`pack_bytes`)
            "row_block",  # written by the plan function, as is the next
            "grain",
        )
    )
}  # fmt: skip

_I32, _I8 = ir.IntType(32), ir.IntType(8)
# Positions of a block of the depth, a multiple of four, and tiles of rows of an item.
_DEPTH, _ROW_TILES = 512, 8
_PARAMETERS = ("a", "a_step", "b", "out", "rows", "groups", "accumulate")


@dataclass(frozen=True)
class IntegerSpec:
    """The kernel of a pair of types ("i8" or "u8") on a CPU; one serves all sizes and strides.

    >>> IntegerSpec("u8", "i8", Target("example", 512, 32, True, byte_dots=True)).name
    'integer_product_u8_i8_14x2x16_dots'
    """

    a: str
    b: str
    target: Target

    @property
    def lanes(self) -> int:
        """The sums in a vector."""
        return self.target.lanes("f32")

    @property
    def rows(self) -> int:
        """The rows of a tile: what the registers hold beside two vectors of B and one of A."""
        return 14 if self.target.registers == 32 else 6 if self.target.byte_dots else 4

    @property
    def name(self) -> str:
        """The name of the range kernel; `<name>_plan(p, threads)` is its plan function."""
        dots = "dots" if self.target.byte_dots else "wide"
        return f"integer_product_{self.a}_{self.b}_{self.rows}x2x{self.lanes}_{dots}"


def integer_source(spec: IntegerSpec) -> str:
    """Source of the range kernel and its plan function."""
    slots, width = INTEGER_SLOTS, 2 * spec.lanes
    flip = 128 if spec.a == spec.b else 0
    correction = f" {'-' if spec.b == 'i8' else '+'} 128 * sums[s]" if flip else ""

    def read(*names: str) -> str:
        return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {slots[n]})' for n in names)}"

    sums = f"multiply(ones, 0, b_panel, tiles + {_ROW_TILES * LARGEST_TILE}, 1, groups, start)"
    loops = f"""
for item in range(lo, hi):
    first_row = item % row_blocks * row_block
    last_row = min(first_row + row_block, m)
    column = item // row_blocks * {width}
    columns = min({width}, n - column)
    for start in range(0, max(k, 1), {_DEPTH}):
        length = min({_DEPTH}, k - start)
        groups = (length + 3) // 4
        b_panel = b_block
        if b_is_packed != 0:
            b_panel = b + column * ((k + 3) // 4 * 4) + start * {width}
        else:
            done = 0
            if b_k == 1:
                # Four positions of a column lie together already.
                done = length // 4
                for s in range(columns):
                    copy_groups(pointer_i32(b + start + (column + s) * b_column), pointer_i32(b_block + 4 * s), done)
            pack_columns(pointer_i8(b + start * b_k + column * b_column), pointer_i8(b_block), b_k, b_column, length,
                columns, done)
        {sums if flip else ""}
        tile = tiles
        for i in range(first_row, last_row, {spec.rows}):
            rows = min({spec.rows}, last_row - i)
            if in_place:
                multiply(a + i * a_row + start, a_row, b_panel, tile, rows, groups, start)
            else:
                pack_rows(pointer_u8(a + i * a_row + start * a_k), pointer_u8(a_block), a_row, a_k, length, rows)
                multiply(a_block, {_DEPTH}, b_panel, tile, rows, groups, start)
            if start + length >= k:
                store(pointer_i32(tile), pointer_i32(tiles + {_ROW_TILES * LARGEST_TILE}),
                    pointer_i32(c + (i * c_row + column) * 4), c_row, rows, columns)
            tile += {LARGEST_TILE}
"""
    return f"""\
from ingot.jit.codegen.integer_products import byte_products
from ingot.jit.codegen.microkernel import panel_buffer, row_buffer, tile_buffer
from ingot.jit.codegen.primitives import pointer_i8, pointer_i32, pointer_u8, set_slot_i64, slot_i64

multiply = byte_products({spec.rows}, {spec.lanes}, {spec.b == "i8"}, {spec.target.byte_dots})


@kernel
def {spec.name}_plan(p, threads):
    {read("m", "n", "k")}
    row_tiles, panels = (m + {spec.rows - 1}) // {spec.rows}, (n + {width - 1}) // {width}
    row_block = max(1, min({_ROW_TILES}, row_tiles))
    while threads > 1 and row_block > 1 and (row_tiles + row_block - 1) // row_block * panels < 4 * threads:
        row_block = (row_block + 1) // 2
    set_slot_i64(p, {slots["row_block"]}, row_block * {spec.rows})
    work = (min(m, row_block * {spec.rows}) + 8) * {width} * (k + 8)
    set_slot_i64(p, {slots["grain"]}, {4 * GRAIN_MULTIPLY_ADDS} // (work + 1) + 1)
    return (row_tiles + row_block - 1) // row_block * panels


@body
def pack_rows(a, block, a_row, a_k, length, rows):
    for t in range(rows):
        for q in range(length):
            block[t * {_DEPTH} + q] = a[t * a_row + q * a_k] ^ {flip}


@body
def copy_groups(column, block, groups):
    for g in range(groups):
        block[g * {width}] = column[g]


@body
def pack_columns(b, block, b_k, b_column, length, columns, done):
    whole = length // 4
    for g in range(done, whole):
        for s in range(columns):
            block[(g * {width} + s) * 4] = b[4 * g * b_k + s * b_column]
            block[(g * {width} + s) * 4 + 1] = b[(4 * g + 1) * b_k + s * b_column]
            block[(g * {width} + s) * 4 + 2] = b[(4 * g + 2) * b_k + s * b_column]
            block[(g * {width} + s) * 4 + 3] = b[(4 * g + 3) * b_k + s * b_column]
    # Zeros past the end of the depth, so that it does not matter what the rows have there.
    if length % 4 != 0:
        for s in range(columns):
            for q in range(4):
                position = 4 * whole + q
                block[(whole * {width} + s) * 4 + q] = b[position * b_k + s * b_column] if position < length else 0


@body
def store(tile, sums, c, c_row, rows, columns):
    for t in range(rows):
        for s in range(columns):
            c[t * c_row + s] = tile[t * {width} + s]{correction}


@body
def fill(target, count, value):
    for q in range(count):
        target[q] = value


@kernel
def {spec.name}(p, lo, hi):
    {read("a", "b", "c", "m", "n", "k", "a_row_stride", "a_k_stride", "b_k_stride", "b_column_stride", "c_row_stride")}
    a_row, a_k, b_k, b_column, c_row = a_row_stride, a_k_stride, b_k_stride, b_column_stride, c_row_stride
    {read("row_block", "b_is_packed")}
    # Rows whose bytes lie together, in whole groups, and keep their signs, are read as they lie.
    in_place = {"False" if flip else "a_k == 1 and k % 4 == 0"}
    row_blocks = max(1, (m + row_block - 1) // row_block)
    a_block, b_block, tiles = row_buffer(), panel_buffer(), tile_buffer()
    ones = a_block + {spec.rows * _DEPTH}
    fill(pointer_u8(ones), {_DEPTH}, 1)
    # What no column fills is multiplied, too, and dropped.
    fill(pointer_u8(a_block), {spec.rows * _DEPTH}, 0)
    fill(pointer_u8(b_block), {width * _DEPTH}, 0)
{indent(loops, 4)}
"""


def pack_bytes(b: np.ndarray[Any, Any], spec: IntegerSpec) -> np.ndarray[Any, Any]:
    """A K x N matrix as the kernel reads panels: for each, groups of four positions of each of its columns.

    >>> spec = IntegerSpec("u8", "i8", Target("example", 512, 32, True, byte_dots=True))
    >>> pack_bytes(np.ones((5, 33), np.int8), spec).shape
    (2, 2, 32, 4)
    """
    width = 2 * spec.lanes
    (k, n), panels = b.shape, -(-b.shape[1] // width)
    groups = -(-k // 4)
    packed = np.zeros((groups * 4, panels * width), b.dtype)
    packed[:k, :n] = b
    ordered = packed.reshape(groups, 4, panels, width).transpose(2, 0, 3, 1)
    aligned = aligned_empty(ordered.shape, b.dtype)
    aligned[...] = ordered
    return aligned


@cache
def byte_products(rows: int, lanes: int, b_signed: bool, dots: bool) -> Callable[..., None]:
    """The micro-kernel `(a, a_step, b, out, rows, groups, accumulate)`: a tile (+)= rows of A times a panel of B.

    Row t of A begins at `a + t * a_step`; `b` has, for each group of four positions, four bytes for each of 2 * lanes
    columns. One of the two is signed, the other one is not.
    """

    def multiply(a: int, a_step: int, b: int, out: int, count: int, groups: int, accumulate: int) -> None:
        width, a_type, b_type = 2 * lanes, np.uint8 if b_signed else np.int8, np.int8 if b_signed else np.uint8
        if groups <= 0 and accumulate:
            return
        tile = np.ndarray((count, width), np.int32, memoryview((ctypes.c_char * (count * width * 4)).from_address(out)))
        if not accumulate:
            tile[...] = 0
        if groups <= 0:
            return
        rows = [(ctypes.c_char * (4 * groups)).from_address(a + t * a_step) for t in range(count)]
        left = np.array([np.frombuffer(memoryview(row), a_type) for row in rows], np.int32)
        depth = left.reshape(count, groups, 4)
        right = np.ndarray(
            (groups, width, 4), b_type, memoryview((ctypes.c_char * (groups * width * 4)).from_address(b))
        )
        tile += np.einsum("tgq,gsq->ts", depth, right.astype(np.int32))

    def emit(builder: ir.IRBuilder, arguments: list[ir.Value]) -> None:
        count = arguments[4]
        heights = row_counts(rows)
        done = builder.append_basic_block("done")
        full = builder.append_basic_block("full")
        switch = builder.switch(count, full)
        for low, height in zip((0, *heights), heights, strict=False):
            block = full if height == rows else builder.append_basic_block(f"rows_{height}")
            for given in range(low + 1, height + 1):
                switch.add_case(I64(given), block)
            with builder.goto_block(block):
                builder.call(_tile_function(builder.module, height, lanes, b_signed, dots), arguments)
                builder.branch(done)
        builder.position_at_end(done)

    lower(multiply, _PARAMETERS, emit)
    return multiply


def _tile_function(module: ir.Module, rows: int, lanes: int, b_signed: bool, dots: bool) -> ir.Function:
    """void(a, a_step, b, out, rows, groups, accumulate) for tiles of one height, of which `rows` are there."""
    name = f"multiply_bytes_{rows}"
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 7), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    a, a_step, b, out, count, groups, accumulate = function.args
    last = builder.sub(count, I64(1))
    first_bytes = []
    for i in range(rows):
        # Rows that are not there repeat the last one.
        row = builder.select(builder.icmp_signed("<", I64(i), last), I64(i), last)
        first_bytes.append(builder.inttoptr(builder.add(a, builder.mul(row, a_step)), _I8.as_pointer()))
    vector = ir.VectorType(_I32, lanes)
    tile = [(i, j) for i in range(rows) for j in range(2)]

    def place(i: int, j: int) -> ir.Value:
        return builder.inttoptr(builder.add(out, I64((i * 2 + j) * lanes * 4)), vector.as_pointer())

    # Sums that begin are not read: memory may hold anything, but integers of any value times zero are zero.
    factor = builder.sext(builder.icmp_signed("!=", accumulate, I64(0)), _I32)
    keep = _splat(builder, factor, lanes)
    starts = [builder.and_(builder.load(place(i, j), align=4), keep) for i, j in tile]
    entry, body, end = builder.block, builder.append_basic_block("group"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", groups, I64(0)), body, end)
    builder.position_at_end(body)
    g = builder.phi(I64)
    sums = [builder.phi(vector) for _ in tile]
    b_row = builder.add(b, builder.mul(g, I64(8 * lanes)))
    columns = [
        builder.load(builder.inttoptr(builder.add(b_row, I64(j * lanes * 4)), vector.as_pointer()), align=4)
        for j in range(2)
    ]
    new = list(sums)
    for i in range(rows):
        address = builder.gep(first_bytes[i], [builder.mul(g, I64(4))])
        four = _splat(builder, builder.load(builder.bitcast(address, _I32.as_pointer()), align=1), lanes)
        for j in range(2):
            new[2 * i + j] = _add_dots(builder, new[2 * i + j], four, columns[j], b_signed, dots)
    following = builder.add(g, I64(1))
    g.add_incoming(I64(0), entry)
    g.add_incoming(following, body)
    for phi, start, value in zip(sums, starts, new, strict=True):
        phi.add_incoming(start, entry)
        phi.add_incoming(value, body)
    builder.cbranch(builder.icmp_signed("<", following, groups), body, end)
    builder.position_at_end(end)
    for (i, j), start, value in zip(tile, starts, new, strict=True):
        result = builder.phi(vector)
        result.add_incoming(start, entry)
        result.add_incoming(value, body)
        starts[2 * i + j] = result
    for (i, j), result in zip(tile, starts, strict=True):
        builder.store(result, place(i, j), align=4)
    builder.ret_void()
    return function


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    undefined = ir.Constant(ir.VectorType(_I32, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def _add_dots(builder: ir.IRBuilder, total: ir.Value, a: ir.Value, b: ir.Value, b_signed: bool, dots: bool) -> ir.Value:
    """total + the products of the four bytes of each lane, of which one side is signed."""
    vector = total.type
    unsigned, signed = (a, b) if b_signed else (b, a)
    if dots:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * vector.count}"
        # Later releases of LLVM take vectors of bytes, and read this form too.
        dot = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(vector, [vector] * 3), name
        )
        return builder.call(dot, [total, unsigned, signed])

    def shift(by: int) -> ir.Constant:
        return ir.Constant(vector, [by] * vector.count)

    for q in range(4):
        low = builder.and_(builder.lshr(unsigned, shift(8 * q)), shift(255))
        high = builder.ashr(builder.shl(signed, shift(24 - 8 * q)), shift(24))
        total = builder.add(total, builder.mul(low, high))
    return total
