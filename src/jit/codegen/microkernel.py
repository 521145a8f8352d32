"""The register-tiled inner kernel of GEMM and convolution: vector accumulators over segments of A and a panel of B.

`multiply_tile` adds, for every row i of a tile and every column j of a panel of width `vectors * lanes`,

    tile[i, j] (+)= sum over segments s and positions k of A[row i, segment s, k] * B[s * length + k, j]

The rows of A are given by a table of addresses, one per row, so that they may lie anywhere: the rows of a matrix,
or the pixels of an NHWC image, whatever its stride, padding or number of images. Segments are runs of `length`
elements whose starts lie on a two-level grid (`outer` x `inner`): a GEMM has one, a convolution has one per kernel row
(or per kernel element when dilated or grouped), and so needs no im2col. B is read one row of the panel after the other.

The accumulators never leave registers inside the loops; there is one LLVM function per tile height in
`row_counts(rows)`, and the caller's row count picks the smallest that holds it, so callers fill the table up to
`rows` entries (repeating a valid row): nothing is read outside the operands.

The tile shape rests on the analysis of K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", ACM TOMS 34(3), 2008; the table of addresses on M. Dukhan, "The Indirect Convolution Algorithm", 2019.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from textwrap import indent
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from .external import indirect, load, lower, lower_external
from .microkernel_llvm import (
    I64,
    TileFunction,
    emit_clear,
    emit_copy,
    emit_prefetch,
    emit_stream,
    emit_transpose,
    row_counts,
)
from .row_copies import has_masks
from .target import LARGEST_TILE, MOST_ROWS, WIDEST_ROW, TileShape

_DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
PARAMETERS = (
    "table",
    "rows",
    "a_offset",
    "b",
    "out",
    "accumulate",
    "outer",
    "outer_stride",
    "inner",
    "inner_stride",
    "length",
    "a_step",
    "b_step",
)
# The bytes of one table of addresses.
TABLE_BYTES = 8 * MOST_ROWS
# Calls the micro-kernel at an address.
call_tile = indirect(PARAMETERS)

# Added to a number of rows, asks for the first vector of each row of the tile only: the last columns of a matrix.
NARROW = 64
# The heights of such tiles, if not the whole one.
_NARROW_HEIGHTS = (4,)

# Tiles of one work item that are kept while their sums grow over blocks of K (see gemm.py).
TILES_PER_ITEM = 16
# Rows of B that are packed at a time when B was not packed ahead.
PANEL_ROWS = 256
# Bytes of stack for copied rows of A: threads may have stacks of 128 KiB (musl).
_ROW_BUFFER_BYTES = 56 << 10


def longest_row(shape: TileShape) -> int:
    """The longest rows of A that `gather_rows` can copy, in elements; blocks of K are not longer.

    >>> longest_row(TileShape("f32", 14, 2, 16)), longest_row(TileShape("f64", 14, 2, 8))
    (1024, 512)
    """
    return min(1024, _ROW_BUFFER_BYTES // (shape.rows * shape.element_bytes))


@dataclass(frozen=True)
class Microkernel:
    """The micro-kernel of a shape, which also runs in plain Python.

    `multiply_tile` is an external symbol in compiled code, which `define_tile` defines.
    """

    shape: TileShape
    multiply_tile: Callable[..., None]
    define_tile: Callable[..., None]


class _StackAddress(int):
    """The address of memory that lives as long as this integer: what `alloca` is to compiled code."""

    memory: np.ndarray[Any, Any]


def _python_stack(n_bytes: int) -> Callable[[], int]:
    def stack() -> int:
        memory = np.empty(n_bytes + 64, np.uint8)
        address = _StackAddress((memory.ctypes.data + 63) // 64 * 64)
        address.memory = memory
        return address

    return stack


def _stack_function(name: str, n_bytes: int) -> Callable[[], int]:
    """A function that returns the address of `n_bytes` of 64-byte aligned memory on the calling kernel's stack."""
    stack = _python_stack(n_bytes)
    stack.__name__ = stack.__qualname__ = name

    @type_callable(stack)  # type: ignore[untyped-decorator]
    def type_stack(context: Any) -> Any:
        return lambda: types.int64

    @lower_builtin(stack)  # type: ignore[untyped-decorator, no-untyped-call]
    def lower_stack(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(ir.IntType(8), n_bytes))
            memory.align = 64
        return builder.ptrtoint(memory, I64)

    return stack


# Stack memory of a kernel: for the tiles of an item, for rows of a panel, for copied rows of A, and for three tables of
# as many integers as a tile has rows.
tile_buffer = _stack_function("tile_buffer", TILES_PER_ITEM * LARGEST_TILE)
panel_buffer = _stack_function("panel_buffer", PANEL_ROWS * WIDEST_ROW)
row_buffer = _stack_function("row_buffer", _ROW_BUFFER_BYTES + 128 * MOST_ROWS)
row_table = _stack_function("row_table", 3 * TABLE_BYTES)


def _view(address: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The elements that begin at an address and lie `strides` bytes apart, as an array."""
    steps = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    low = address + sum(min(0, step) for step in steps)
    extent = sum(abs(step) for step in steps) + dtype.itemsize
    memory = memoryview((ctypes.c_char * extent).from_address(int(low)))
    return np.ndarray(shape, dtype, memory, address - low, strides)


def _python_multiply_tile(shape: TileShape) -> Callable[..., None]:
    dtype = _DTYPES[shape.dtype]
    heights = row_counts(shape.rows)

    def multiply_tile(
        table: int,
        rows: int,
        a_offset: int,
        b: int,
        out: int,
        accumulate: int,
        outer: int,
        outer_stride: int,
        inner: int,
        inner_stride: int,
        length: int,
        a_step: int,
        b_step: int,
    ) -> None:
        columns = shape.lanes if rows > NARROW else shape.columns
        height = next(h for h in heights if h >= rows % NARROW)
        tile = _view(out, dtype, (height, columns), (shape.columns * dtype.itemsize, dtype.itemsize))
        if not accumulate:
            tile[...] = 0
        if outer <= 0 or inner <= 0 or length <= 0:
            return
        addresses = (ctypes.c_int64 * height).from_address(table)
        with np.errstate(all="ignore"):
            for s in range(outer * inner):
                first = b + s * length * b_step
                panel = _view(first, dtype, (length, columns), (b_step, dtype.itemsize))
                start = a_offset + s // inner * outer_stride + s % inner * inner_stride
                for i in range(height):
                    if shape.per_channel:
                        row = _view(addresses[i] + start, dtype, (length, columns), (a_step, dtype.itemsize))
                    else:
                        row = _view(addresses[i] + start, dtype, (length, 1), (a_step, dtype.itemsize))
                    if shape.inputs > 1:
                        tile[i] += _grouped_products(shape, row, first, b_step)
                        continue
                    # A sum of products, not BLAS: NaN and infinity behave as in the compiled form.
                    tile[i] += (row * panel).sum(axis=0)

    return multiply_tile


def _grouped_products(shape: TileShape, row: Any, b: int, b_step: int) -> Any:
    """The products of a row with panels of B whose positions have a row for each input of a group, summed."""
    size, columns = row.dtype.itemsize, np.arange(shape.columns)
    total = np.zeros(shape.columns, row.dtype)
    for k in range(shape.inputs):
        panel = _view(b + k * shape.row_bytes, row.dtype, (len(row), shape.columns), (b_step, size))
        total += (row[:, columns // shape.inputs * shape.inputs + k] * panel).sum(axis=0)
    return total


def copy_memory(target: int, source: int, n_bytes: int) -> None:
    """Copy `n_bytes` between addresses; a constant size becomes vector moves, any other a call of memcpy."""
    ctypes.memmove(int(target), int(source), n_bytes)


lower(copy_memory, ("target", "source", "n_bytes"), emit_copy)


def clear_memory(target: int, n_bytes: int) -> None:
    """Fill `n_bytes` at an address with zeros."""
    ctypes.memset(target, 0, n_bytes)


lower(clear_memory, ("target", "n_bytes"), emit_clear)


def prefetch(address: int) -> None:
    """Ask for the cache line at an address, which nothing has to be at, for soon."""


lower(prefetch, ("address",), emit_prefetch)


@cache
def transpose_block(dtype: str, lanes: int, past: bool = False) -> Callable[..., None]:
    """The function `(source, source_stride, target, target_stride)` that copies a lanes x lanes block transposed.

    Addresses, and strides of rows in bytes. With `past`, rows of 64 bytes are written past the caches to addresses
    that are multiples of 64; `stream_end` is called before others may read them.
    """
    numpy_dtype = _DTYPES.get(dtype) or np.dtype({"i16": np.int16, "u8": np.uint8}[dtype])

    def transpose(source: int, source_stride: int, target: int, target_stride: int) -> None:
        block = _view(source, numpy_dtype, (lanes, lanes), (source_stride, numpy_dtype.itemsize)).copy()
        _view(target, numpy_dtype, (lanes, lanes), (target_stride, numpy_dtype.itemsize))[...] = block.T

    lower(
        transpose,
        ("source", "source_stride", "target", "target_stride"),
        lambda builder, arguments: emit_transpose(builder, dtype, lanes, arguments, past=past),
    )
    return transpose


@cache
def stream_block(n_bytes: int) -> Callable[[int, int], None]:
    """The function `(target, source)` that copies `n_bytes`, a multiple of 64, without reading the target to the cache.

    Both addresses are multiples of 64. `stream_end` is called before others may read the target.
    """

    def stream(target: int, source: int) -> None:
        if target % 64 or source % 64:
            raise ValueError("stream_block: an address is not a multiple of 64")
        ctypes.memmove(target, source, n_bytes)

    lower(stream, ("target", "source"), lambda builder, arguments: emit_stream(builder, n_bytes, arguments))
    return stream


def stream_end() -> None:
    """Make what `stream_block` wrote visible to other threads."""


lower(stream_end, (), lambda builder, arguments: builder.fence("seq_cst"))


def copies_name(dtype: str, lanes: int) -> str:
    """The name of the module of `copies_source`, and what its functions' names end in."""
    return f"copies_{dtype}_{lanes}"


def copies_source(dtype: str, lanes: int) -> str:
    """Source of copies of A and B into buffers that suit the micro-kernels; `lanes` is the edge of transposed blocks.

    `gather_rows_*` copies windows of A, given as to `multiply_tile`, to dense rows, whose addresses it writes to
    `dense_table`; it returns the step between positions. `pack_rows_*` copies `count` whole panels of a row-major B,
    each `panel_step` after the one before. `pack_panel_*` copies rows of B to a panel of `width` columns, with zeros
    past `columns`. Strides are in bytes.
    """
    size, pointer, name = _DTYPES[dtype].itemsize, f"pointer_{dtype}", copies_name(dtype, lanes)
    copy = f"""\
        for r in range(rows):
            copy_memory(panel + r * row_bytes, b + r * b_k, columns * {size})"""
    unless_masked = ""
    if has_masks(dtype, lanes):
        unless_masked = f" and (b_column != {size} or row_bytes % {lanes * size} != 0)"
        copy = f"""\
        if row_bytes % {lanes * size} == 0:
            copy_rows(b, b_k, panel, row_bytes, rows, columns)
        else:
{indent(copy, "    ")}"""
    return f"""\
from ingot.jit.codegen.microkernel import clear_memory, copy_memory, prefetch, transpose_block
from ingot.jit.codegen.row_copies import row_copies
from ingot.jit.codegen.primitives import {pointer}, pointer_i64

transpose = transpose_block({dtype!r}, {lanes})
copy_rows = row_copies({dtype!r}, {lanes})


@body
def copy_elements(source, source_step, target, target_step, count):
    for s in range(count):
        target[s * target_step] = source[s * source_step]


@kernel
def copy_strided_{name}(source, source_step, target, target_step, count):
    if source_step == {size} and target_step == {size}:
        copy_memory(target, source, count * {size})
    else:
        copy_elements({pointer}(source), source_step // {size}, {pointer}(target), target_step // {size}, count)


@kernel
def gather_rows_{name}(
    table, dense_table, height, rows, a_offset, outer, outer_stride, inner, inner_stride, length, a_step, buffer, stride
):
    addresses, dense = pointer_i64(table), pointer_i64(dense_table)
    first, step = stride, {size}
    if a_step != {size} and rows > 1 and addresses[1] - addresses[0] == {size} and outer * inner == 1:
        # Rows side by side in memory (a transposed A) are copied as they lie: position after position.
        first, step = {size}, height * {size}
        source, n_bytes = addresses[0] + a_offset, rows * {size}
        # Copies of constant size are vector moves: two that overlap make up any number of bytes.
        if 32 <= n_bytes and n_bytes <= 64:
            for k in range(length):
                copy_memory(buffer + k * step, source + k * a_step, 32)
                copy_memory(buffer + k * step + n_bytes - 32, source + k * a_step + n_bytes - 32, 32)
        elif 64 < n_bytes and n_bytes <= 128:
            for k in range(length):
                copy_memory(buffer + k * step, source + k * a_step, 64)
                copy_memory(buffer + k * step + n_bytes - 64, source + k * a_step + n_bytes - 64, 64)
        else:
            for k in range(length):
                copy_memory(buffer + k * step, source + k * a_step, n_bytes)
    else:
        if a_step == {size} and outer * inner == 1:
            # What is copied next is the same rows' next positions: too short a run for the CPU to foresee.
            for t in range(rows):
                following = addresses[t] + a_offset + length * {size}
                for s in range(0, length * {size}, 64):
                    prefetch(following + s)
        for t in range(rows):
            target = buffer + t * stride
            for y in range(outer):
                for z in range(inner):
                    source = addresses[t] + a_offset + y * outer_stride + z * inner_stride
                    if a_step == {size}:
                        copy_memory(target, source, length * {size})
                    else:
                        copy_elements({pointer}(source), a_step // {size}, {pointer}(target), 1, length)
                    target += length * {size}
    for t in range(height):
        dense[t] = buffer + min(t, rows - 1) * first
    return step


@kernel
def pack_rows_{name}(b, panels, panel_step, row_bytes, b_k, rows, count):
    # Rows are read in long runs; copies of constant size are vector moves.
    for r in range(rows):
        for q in range(count):
            source, target = b + r * b_k + q * row_bytes, panels + r * row_bytes + q * panel_step
            if row_bytes % 64 == 0:
                for s in range(0, row_bytes, 64):
                    copy_memory(target + s, source + s, 64)
            else:
                copy_memory(target, source, row_bytes)


@kernel
def pack_panel_{name}(b, panel, width, b_k, b_column, rows, columns):
    row_bytes = width * {size}
    whole_rows, whole_columns = rows - rows % {lanes}, columns - columns % {lanes}
    # Zeros beside the last columns: what a tile computes there is dropped, whatever it is.
    if columns < width{unless_masked}:
        clear_memory(panel, rows * row_bytes)
    if b_column == {size}:
{copy}
    elif b_k == {size}:
        # B is transposed: its columns are contiguous.
        for s in range(0, whole_columns, {lanes}):
            for r in range(0, whole_rows, {lanes}):
                transpose(b + s * b_column + r * {size}, b_column, panel + r * row_bytes + s * {size}, row_bytes)
        for s in range(columns):
            first = whole_rows if s < whole_columns else 0
            copy_elements({pointer}(b + s * b_column + first * {size}), 1,
                {pointer}(panel + first * row_bytes + s * {size}), width, rows - first)
    else:
        for r in range(rows):
            copy_elements({pointer}(b + r * b_k), b_column // {size}, {pointer}(panel + r * row_bytes), 1, columns)
"""


def microkernel_source(shape: TileShape) -> str:
    """Source of the module that defines `multiply_tile_<shape>`, an external symbol of other kernels.

    It is a module of its own, so that it is compiled once, not once for each kernel, and every program shares it.
    """
    parameters = ", ".join(PARAMETERS)
    return (
        f"from ingot.jit.codegen.microkernel import microkernel\n\n"
        f"define_tile = {microkernel_call(shape)}.define_tile\n\n\n"
        f"@kernel\n"
        f"def multiply_tile_{shape.name}({parameters}):\n"
        f"    define_tile({parameters})\n"
    )


def microkernel_call(shape: TileShape) -> str:
    """The expression that gives the micro-kernel of a shape in generated source."""
    options = ("" if shape.fused else ", fused=False") + (", per_channel=True" if shape.per_channel else "")
    options += f", inputs={shape.inputs}" if shape.inputs > 1 else ""
    return f"microkernel({shape.dtype!r}, {shape.rows}, {shape.vectors}, {shape.lanes}{options})"


@cache
def copies(dtype: str, lanes: int) -> dict[str, Callable[..., Any]]:
    """The functions of `copies_source` by name, callable from compiled code as external symbols."""
    return load(copies_source(dtype, lanes))


@cache
def microkernel(
    dtype: str, rows: int, vectors: int, lanes: int, fused: bool = True, per_channel: bool = False, inputs: int = 1
) -> Microkernel:
    """The micro-kernel of one tile shape, for generated modules.

    `multiply_tile(table, rows, a_offset, b, out, accumulate, outer, outer_stride, inner, inner_stride, length, a_step,
    b_step)` takes addresses, counts, and strides in bytes; `a_offset` is added to every address of the table. With
    `NARROW` added to `rows` only the first vector of each row is computed, where the shape `has_narrow`.
    """
    shape = TileShape(dtype, rows, vectors, lanes, fused, per_channel, inputs)
    multiply_tile = _python_multiply_tile(shape)
    multiply_tile.__name__ = multiply_tile.__qualname__ = f"multiply_tile_{shape.name}"

    def define_tile(*arguments: int) -> None:
        multiply_tile(*arguments)

    def define(builder: Any, arguments: Any) -> None:
        count, arguments = arguments[1], [arguments[0], *arguments[2:]]
        done, full = builder.append_basic_block("tile_done"), builder.append_basic_block("tile_full")
        switch = builder.switch(count, full)
        widths = [(vectors, 0, row_counts(rows))]
        if shape.has_narrow:
            widths.append((1, NARROW, (*(h for h in _NARROW_HEIGHTS if h < rows), rows)))
        for wide, more, heights in widths:
            for low, height in zip((0, *heights), heights, strict=False):
                block = full if height == rows and not more else builder.append_basic_block(f"tile_{height}_{wide}")
                for rows_given in range(low + 1, height + 1):
                    switch.add_case(I64(more + rows_given), block)
                with builder.goto_block(block):
                    builder.call(TileFunction(builder.module, shape, height, wide).get(), arguments)
                    builder.branch(done)
        builder.position_at_end(done)

    lower(define_tile, PARAMETERS, define)
    lower_external(multiply_tile, PARAMETERS)
    return Microkernel(shape, multiply_tile, define_tile)
