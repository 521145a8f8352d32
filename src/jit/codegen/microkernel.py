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
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from .microkernel_llvm import I64, TileFunction, row_counts
from .target import TileShape

_DTYPES = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
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
# Tiles of one work item that are kept while their sums grow over blocks of K (see gemm.py).
TILES_PER_ITEM = 16
# Rows of B that are packed at a time when B was not packed ahead.
PANEL_ROWS = 64


@dataclass(frozen=True)
class Microkernel:
    """The functions that generated kernels call for one tile shape; each also runs in plain Python."""

    shape: TileShape
    multiply_tile: Callable[..., None]
    define_tile: Callable[..., None]
    tile_buffer: Callable[[], int]
    panel_buffer: Callable[[], int]
    row_table: Callable[[], int]


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


def _stack_function(name: str, n_bytes: int, doc: str) -> Callable[[], int]:
    """A function that returns the address of `n_bytes` of 64-byte aligned memory on the caller's stack."""
    stack = _python_stack(n_bytes)
    stack.__name__ = stack.__qualname__ = name
    stack.__doc__ = doc

    @type_callable(stack)  # type: ignore[untyped-decorator]
    def type_stack(context: Any) -> Any:
        return lambda: types.int64

    @lower_builtin(stack)  # type: ignore[untyped-decorator]
    def lower_stack(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(ir.IntType(8), n_bytes))
            memory.align = 64
        return builder.ptrtoint(memory, I64)

    return stack


def _python_multiply_tile(shape: TileShape) -> Callable[..., None]:
    dtype = _DTYPES[shape.dtype]
    heights = row_counts(shape.rows)

    def view(address: int, shape_: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray[Any, Any]:
        extent = 1 + sum((n - 1) * abs(s) for n, s in zip(shape_, strides, strict=True)) // dtype.itemsize
        low = address + sum(min(0, (n - 1) * s) for n, s in zip(shape_, strides, strict=True))
        memory = (ctypes.c_char * (extent * dtype.itemsize)).from_address(low)
        return np.ndarray(shape_, dtype, memory, address - low, strides)

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
        height = next(h for h in heights if h >= rows)
        tile = view(out, (height, shape.columns), (shape.columns * dtype.itemsize, dtype.itemsize))
        if not accumulate:
            tile[...] = 0
        if outer <= 0 or inner <= 0 or length <= 0:
            return
        addresses = (ctypes.c_int64 * height).from_address(table)
        with np.errstate(all="ignore"):
            for s in range(outer * inner):
                panel = view(b + s * length * b_step, (length, shape.columns), (b_step, dtype.itemsize))
                start = a_offset + s // inner * outer_stride + s % inner * inner_stride
                for i in range(height):
                    if shape.per_channel:
                        row = view(addresses[i] + start, (length, shape.columns), (a_step, dtype.itemsize))
                    else:
                        row = view(addresses[i] + start, (length, 1), (a_step, dtype.itemsize))
                    # A sum of products, not BLAS: NaN and infinity behave as in the compiled form.
                    tile[i] += (row * panel).sum(axis=0)

    return multiply_tile


def _lower(function: Callable[..., None], emit: Callable[[Any, Any], None]) -> None:
    """Let compiled code call `function(<PARAMETERS>)`: `emit(builder, arguments)` writes the instructions."""
    result = types.void(*[types.int64] * len(PARAMETERS))

    @type_callable(function)  # type: ignore[untyped-decorator]
    def typing(context: Any) -> Any:
        def typer(
            table: Any,
            rows: Any,
            a_offset: Any,
            b: Any,
            out: Any,
            accumulate: Any,
            outer: Any,
            outer_stride: Any,
            inner: Any,
            inner_stride: Any,
            length: Any,
            a_step: Any,
            b_step: Any,
        ) -> Any:
            return result

        return typer

    @lower_builtin(function, *result.args)  # type: ignore[untyped-decorator]
    def lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit(builder, arguments)
        return context.get_dummy_value()


def microkernel_source(shape: TileShape) -> str:
    """Source of the module that defines `multiply_tile_<shape>`, an external symbol of the kernels that call it.

    It is a module of its own, so that it is compiled once, not once for each kernel, and every program shares it.
    """
    parameters = ", ".join(PARAMETERS)
    return (
        f"from ingot.jit.codegen.microkernel import microkernel\n"
        f"define_tile = {microkernel_call(shape)}.define_tile\n\n\n"
        f"@kernel\n"
        f"def multiply_tile_{shape.name}({parameters}):\n"
        f"    define_tile({parameters})\n"
    )


def microkernel_call(shape: TileShape) -> str:
    """The expression that gives the micro-kernel of a shape in generated source."""
    options = ("" if shape.fused else ", fused=False") + (", per_channel=True" if shape.per_channel else "")
    return f"microkernel({shape.dtype!r}, {shape.rows}, {shape.vectors}, {shape.lanes}{options})"


@cache
def microkernel(
    dtype: str, rows: int, vectors: int, lanes: int, fused: bool = True, per_channel: bool = False
) -> Microkernel:
    """The micro-kernel functions for one tile shape, which generated modules bind to names of their own.

    `multiply_tile(table, rows, a_offset, b, out, accumulate, outer, outer_stride, inner, inner_stride, length, a_step,
    b_step)` takes addresses, counts, and strides in bytes; `a_offset` is added to every address of the table.
    `tile_buffer()` is stack memory for `TILES_PER_ITEM` tiles, `panel_buffer()` for `PANEL_ROWS` rows of a panel, and
    `row_table()` for twice `rows` 8-byte integers.
    """
    shape = TileShape(dtype, rows, vectors, lanes, fused, per_channel)
    multiply_tile = _python_multiply_tile(shape)
    multiply_tile.__name__ = multiply_tile.__qualname__ = f"multiply_tile_{shape.name}"

    def declared(builder: Any, arguments: Any) -> None:
        module = builder.module
        kernel = module.globals.get(multiply_tile.__name__)
        if kernel is None:
            function_type = ir.FunctionType(ir.VoidType(), [I64] * len(arguments))
            kernel = ir.Function(module, function_type, multiply_tile.__name__)
        builder.call(kernel, arguments)

    def defined(builder: Any, arguments: Any) -> None:
        count, arguments = arguments[1], [arguments[0], *arguments[2:]]
        heights = row_counts(rows)
        done, full = builder.append_basic_block("tile_done"), builder.append_basic_block("tile_full")
        switch = builder.switch(count, full)
        for low, height in zip((0, *heights), heights, strict=False):
            block = full if height == rows else builder.append_basic_block(f"tile_{height}")
            for rows_given in range(low + 1, height + 1):
                switch.add_case(I64(rows_given), block)
            with builder.goto_block(block):
                builder.call(TileFunction(builder.module, shape, height).get(), arguments)
                builder.branch(done)
        builder.position_at_end(done)

    def define_tile(*arguments: int) -> None:
        multiply_tile(*arguments)

    _lower(multiply_tile, declared)
    _lower(define_tile, defined)
    tile_bytes = shape.rows * shape.columns * shape.element_bytes
    return Microkernel(
        shape,
        multiply_tile,
        define_tile,
        _stack_function(
            f"tile_buffer_{shape.name}",
            TILES_PER_ITEM * tile_bytes,
            f"The address of memory for {TILES_PER_ITEM} tiles that lives until the calling kernel returns.",
        ),
        _stack_function(
            f"panel_buffer_{shape.name}",
            PANEL_ROWS * shape.columns * shape.element_bytes,
            f"The address of memory for {PANEL_ROWS} rows of a panel that lives until the calling kernel returns.",
        ),
        _stack_function(
            f"row_table_{shape.name}",
            2 * rows * 8,
            f"The address of memory for {2 * rows} integers that lives until the calling kernel returns.",
        ),
    )
