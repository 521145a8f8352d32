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

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_ELEMENTS = {"f32": (ir.FloatType(), np.dtype(np.float32)), "f64": (ir.DoubleType(), np.dtype(np.float64))}
# Enough independent accumulators to cover the latency of a fused multiply-add (4 cycles, two a cycle, on current CPUs).
_INDEPENDENT_ACCUMULATORS = 8
# Tiles of one work item that are kept while their sums grow over blocks of K (see gemm.py).
TILES_PER_ITEM = 16
# Rows of B that are packed at a time when B was not packed ahead.
PANEL_ROWS = 64


@dataclass(frozen=True)
class TileShape:
    """What one micro-kernel computes: `rows` x (`vectors` * `lanes`) elements of type `dtype` ("f32" or "f64").

    `fused` says that the CPU has fused multiply-add. With `per_channel`, element (i, j) takes A from column j of row i
    instead of one A for the whole row: a depthwise convolution.
    """

    dtype: str
    rows: int
    vectors: int
    lanes: int
    fused: bool = True
    per_channel: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _ELEMENTS:
            raise ValueError(f"TileShape: dtype is {self.dtype!r}, expected one of {sorted(_ELEMENTS)}")
        for field in ("rows", "vectors", "lanes"):
            if getattr(self, field) < 1:
                raise ValueError(f"TileShape: {field} is {getattr(self, field)}, expected at least 1")

    @property
    def columns(self) -> int:
        """The width of a panel, in elements."""
        return self.vectors * self.lanes

    @property
    def element_bytes(self) -> int:
        """The size of one element in bytes."""
        return int(_ELEMENTS[self.dtype][1].itemsize)

    @property
    def name(self) -> str:
        """A short identifier, such as `f32_14x2x16`."""
        return f"{self.dtype}_{self.rows}x{self.vectors}x{self.lanes}" + self._suffix

    @property
    def _suffix(self) -> str:
        return ("" if self.fused else "_unfused") + ("_per_channel" if self.per_channel else "")


@dataclass(frozen=True)
class Microkernel:
    """The functions that generated kernels call for one tile shape; each also runs in plain Python."""

    shape: TileShape
    multiply_tile: Callable[..., None]
    tile_buffer: Callable[[], int]
    panel_buffer: Callable[[], int]
    row_table: Callable[[], int]


def row_counts(rows: int) -> tuple[int, ...]:
    """The tile heights for which code exists, ascending: few, since every one costs compile time.

    >>> row_counts(14)
    (1, 2, 4, 8, 14)
    """
    heights = [rows]
    height = 1 << ((rows - 1).bit_length() - 1) if rows > 1 else 0
    while height >= 1:
        heights.append(height)
        height //= 2
    return tuple(sorted(heights))


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
        return builder.ptrtoint(memory, _I64)

    return stack


class _TileFunction:
    """Builds the LLVM function of one tile height: void(table, b, out, accumulate, outer, ..., b_step)."""

    PARAMETERS = (
        "table",
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

    def __init__(self, module: ir.Module, shape: TileShape, rows: int) -> None:
        self.module, self.shape, self.rows = module, shape, rows
        self.element = _ELEMENTS[shape.dtype][0]
        self.vector = ir.VectorType(self.element, shape.lanes)
        self.tile = [(i, j) for i in range(rows) for j in range(shape.vectors)]
        # Short tiles keep several partial sums per element, which are added at the end.
        self.unroll = max(1, _INDEPENDENT_ACCUMULATORS // len(self.tile))

    def get(self) -> ir.Function:
        """The function in this module, built on first use."""
        name = f"multiply_tile_{self.shape.name}_{self.rows}"
        existing = self.module.globals.get(name)
        if existing is not None:
            return existing
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [_I64] * len(self.PARAMETERS)), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        self._build(function)
        return function

    def _build(self, function: ir.Function) -> None:
        builder = self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        argument = dict(zip(self.PARAMETERS, function.args, strict=True))
        byte_pointer = ir.IntType(8).as_pointer()
        b_start, out = (builder.inttoptr(argument[n], byte_pointer) for n in ("b", "out"))
        table = builder.inttoptr(argument["table"], _I64.as_pointer())
        self.a_step, self.b_step = argument["a_step"], argument["b_step"]

        start, segment, finish = (function.append_basic_block(n) for n in ("start", "segment", "finish"))
        load_tile, zero_tile = (function.append_basic_block(n) for n in ("load_tile", "zero_tile"))
        builder.cbranch(builder.icmp_signed("!=", argument["accumulate"], _I64(0)), load_tile, zero_tile)
        builder.position_at_end(load_tile)
        loaded = {position: builder.load(self._tile_pointer(out, position)) for position in self.tile}
        for value in loaded.values():
            value.align = self.shape.element_bytes
        builder.branch(start)
        builder.position_at_end(zero_tile)
        builder.branch(start)

        builder.position_at_end(start)
        zero = ir.Constant(self.vector, [0.0] * self.shape.lanes)
        accumulators = []
        for copy in range(self.unroll):
            values = {}
            for position in self.tile:
                values[position] = builder.phi(self.vector)
                values[position].add_incoming(loaded[position] if copy == 0 else zero, load_tile)
                values[position].add_incoming(zero, zero_tile)
            accumulators.append(values)
        segments = builder.mul(argument["outer"], argument["inner"])
        something = builder.and_(
            builder.icmp_signed(">", segments, _I64(0)), builder.icmp_signed(">", argument["length"], _I64(0))
        )
        builder.cbranch(something, segment, finish)

        # One pass per segment; `offset` walks the outer x inner grid of segment starts.
        builder.position_at_end(segment)
        remaining, column = builder.phi(_I64), builder.phi(_I64)
        offset, outer_offset = builder.phi(_I64), builder.phi(_I64)
        b_segment = builder.phi(byte_pointer)
        sums = [{p: builder.phi(self.vector) for p in self.tile} for _ in range(self.unroll)]
        for phi, value in (
            (remaining, segments),
            (column, _I64(0)),
            (offset, argument["a_offset"]),
            (outer_offset, argument["a_offset"]),
            (b_segment, b_start),
        ):
            phi.add_incoming(value, start)
        for copy in range(self.unroll):
            for p in self.tile:
                sums[copy][p].add_incoming(accumulators[copy][p], start)
        rows = []
        for i in range(self.rows):
            address = builder.add(builder.load(builder.gep(table, [_I64(i)])), offset)
            rows.append(builder.inttoptr(address, byte_pointer))

        new_sums, b_after = self._segment_loops(function, rows, b_segment, argument["length"], sums)

        end = builder.block
        next_column = builder.add(column, _I64(1))
        wraps = builder.icmp_signed(">=", next_column, argument["inner"])
        next_outer = builder.add(outer_offset, builder.select(wraps, argument["outer_stride"], _I64(0)))
        stepped = builder.add(offset, argument["inner_stride"])
        next_remaining = builder.sub(remaining, _I64(1))
        for phi, value in (
            (remaining, next_remaining),
            (column, builder.select(wraps, _I64(0), next_column)),
            (offset, builder.select(wraps, next_outer, stepped)),
            (outer_offset, next_outer),
            (b_segment, b_after),
        ):
            phi.add_incoming(value, end)
        for copy in range(self.unroll):
            for p in self.tile:
                sums[copy][p].add_incoming(new_sums[copy][p], end)
        builder.cbranch(builder.icmp_signed(">", next_remaining, _I64(0)), segment, finish)

        builder.position_at_end(finish)
        for p in self.tile:
            for copy in range(self.unroll):
                phi = builder.phi(self.vector)
                phi.add_incoming(accumulators[copy][p], start)
                phi.add_incoming(new_sums[copy][p], end)
                accumulators[copy][p] = phi
        for p in self.tile:
            total = accumulators[0][p]
            for copy in range(1, self.unroll):
                total = builder.fadd(total, accumulators[copy][p])
            builder.store(total, self._tile_pointer(out, p), align=self.shape.element_bytes)
        builder.ret_void()

    def _tile_pointer(self, out: ir.Value, position: tuple[int, int]) -> ir.Value:
        i, j = position
        offset = (i * self.shape.columns + j * self.shape.lanes) * self.shape.element_bytes
        return self.builder.bitcast(self.builder.gep(out, [_I64(offset)]), self.vector.as_pointer())

    def _segment_loops(
        self,
        function: ir.Function,
        rows: list[ir.Value],
        b: ir.Value,
        length: ir.Value,
        sums: list[dict[Any, ir.Value]],
    ) -> tuple[list[dict[Any, ir.Value]], ir.Value]:
        """The loop over the positions of one segment: in strides of `unroll`, then the rest one by one."""
        builder = self.builder
        offset: ir.Value = _I64(0)
        done: ir.Value = _I64(0)
        if self.unroll > 1:
            main = builder.sub(length, builder.srem(length, _I64(self.unroll)))
            sums, b, offset, done = self._loop(function, rows, b, offset, done, main, sums, self.unroll)
        sums, b, _, _ = self._loop(function, rows, b, offset, done, length, sums, 1)
        return sums, b

    def _loop(
        self,
        function: ir.Function,
        rows: list[ir.Value],
        b: ir.Value,
        offset: ir.Value,
        k: ir.Value,
        stop: ir.Value,
        sums: list[dict[Any, ir.Value]],
        unroll: int,
    ) -> tuple[list[dict[Any, ir.Value]], ir.Value, ir.Value, ir.Value]:
        """Multiply-adds for positions k .. stop - 1; returns the new sums and where B, A and k stand."""
        builder = self.builder
        before = builder.block
        body, after = function.append_basic_block("k"), function.append_basic_block("after_k")
        # A segment is never empty, so the only loop that may run zero times is one beside an unrolled one.
        may_be_empty = self.unroll > 1
        if may_be_empty:
            builder.cbranch(builder.icmp_signed("<", k, stop), body, after)
        else:
            builder.branch(body)
        builder.position_at_end(body)
        k_phi, b_phi, offset_phi = builder.phi(_I64), builder.phi(b.type), builder.phi(_I64)
        sum_phis = [{p: builder.phi(self.vector) for p in self.tile} for _ in range(self.unroll)]
        for phi, value in ((k_phi, k), (b_phi, b), (offset_phi, offset)):
            phi.add_incoming(value, before)
        for copy in range(self.unroll):
            for p in self.tile:
                sum_phis[copy][p].add_incoming(sums[copy][p], before)
        new = [dict(copy_sums) for copy_sums in sum_phis]
        b_next, offset_next = b_phi, offset_phi
        for step in range(unroll):
            self._multiply_add(rows, b_next, offset_next, new[step])
            b_next = builder.gep(b_next, [self.b_step])
            offset_next = builder.add(offset_next, self.a_step)
        k_next = builder.add(k_phi, _I64(unroll))
        for phi, value in ((k_phi, k_next), (b_phi, b_next), (offset_phi, offset_next)):
            phi.add_incoming(value, body)
        for copy in range(self.unroll):
            for p in self.tile:
                sum_phis[copy][p].add_incoming(new[copy][p], body)
        branch = builder.cbranch(builder.icmp_signed("<", k_next, stop), body, after)
        branch.set_metadata("llvm.loop", self._no_unroll())
        builder.position_at_end(after)
        if not may_be_empty:
            return new, b_next, offset_next, k_next

        def merge(skipped: ir.Value, ran: ir.Value) -> ir.Value:
            phi = builder.phi(skipped.type)
            phi.add_incoming(skipped, before)
            phi.add_incoming(ran, body)
            return phi

        merged = [{p: merge(sums[copy][p], new[copy][p]) for p in self.tile} for copy in range(self.unroll)]
        return merged, merge(b, b_next), merge(offset, offset_next), merge(k, k_next)

    def _multiply_add(
        self, rows: list[ir.Value], b: ir.Value, offset: ir.Value, sums: dict[tuple[int, int], ir.Value]
    ) -> None:
        builder, shape = self.builder, self.shape
        b_vectors = []
        for j in range(shape.vectors):
            pointer = builder.gep(b, [_I64(j * shape.lanes * shape.element_bytes)])
            b_vectors.append(
                builder.load(builder.bitcast(pointer, self.vector.as_pointer()), align=shape.element_bytes)
            )
        undefined = ir.Constant(self.vector, ir.Undefined)
        first_lane = ir.Constant(ir.VectorType(_I32, shape.lanes), [0] * shape.lanes)
        for i, row in enumerate(rows):
            start = builder.gep(row, [offset])
            if not shape.per_channel:
                element = builder.load(builder.bitcast(start, self.element.as_pointer()))
                one_lane = builder.insert_element(undefined, element, _I32(0))
                a = builder.shuffle_vector(one_lane, undefined, first_lane)
            for j in range(shape.vectors):
                if shape.per_channel:
                    pointer = builder.gep(start, [_I64(j * shape.lanes * shape.element_bytes)])
                    pointer = builder.bitcast(pointer, self.vector.as_pointer())
                    a = builder.load(pointer, align=shape.element_bytes)
                if shape.fused:
                    sums[i, j] = builder.call(self._fma(), [a, b_vectors[j], sums[i, j]])
                else:
                    sums[i, j] = builder.fadd(builder.fmul(a, b_vectors[j]), sums[i, j])

    def _no_unroll(self) -> Any:
        """Loop metadata: the bodies are unrolled here already, and LLVM would only grow them."""
        disable = self.module.add_metadata([ir.MetaDataString(self.module, "llvm.loop.unroll.disable")])
        loop = self.module.add_metadata([disable])
        # A loop's identity is a node that refers to itself (LLVM language reference, "llvm.loop").
        loop.operands = (loop, disable)
        return loop

    def _fma(self) -> ir.Function:
        name = f"llvm.fma.v{self.shape.lanes}{self.shape.dtype}"
        existing = self.module.globals.get(name)
        if existing is not None:
            return existing
        return ir.Function(self.module, ir.FunctionType(self.vector, [self.vector] * 3), name)


def _python_multiply_tile(shape: TileShape) -> Callable[..., None]:
    dtype = _ELEMENTS[shape.dtype][1]
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
    heights = row_counts(rows)
    multiply_tile = _python_multiply_tile(shape)
    multiply_tile.__name__ = multiply_tile.__qualname__ = f"multiply_tile_{shape.name}"
    n_parameters = len(_TileFunction.PARAMETERS) + 1

    @type_callable(multiply_tile)  # type: ignore[untyped-decorator]
    def type_multiply_tile(context: Any) -> Any:
        def typer(
            table, rows, a_offset, b, out, accumulate, outer, outer_stride, inner, inner_stride, length, a_step, b_step
        ):  # type: ignore[no-untyped-def]
            return types.void(*[types.int64] * n_parameters)

        return typer

    @lower_builtin(multiply_tile, *[types.int64] * n_parameters)  # type: ignore[untyped-decorator]
    def lower_multiply_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, arguments = arguments[1], [arguments[0], *arguments[2:]]
        done, full = builder.append_basic_block("tile_done"), builder.append_basic_block("tile_full")
        switch = builder.switch(count, full)
        for low, height in zip((0, *heights), heights[:-1], strict=False):
            block = builder.append_basic_block(f"tile_{height}")
            for rows_given in range(low + 1, height + 1):
                switch.add_case(_I64(rows_given), block)
            with builder.goto_block(block):
                builder.call(_TileFunction(builder.module, shape, height).get(), arguments)
                builder.branch(done)
        builder.position_at_end(full)
        builder.call(_TileFunction(builder.module, shape, heights[-1]).get(), arguments)
        builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    tile_bytes = shape.rows * shape.columns * shape.element_bytes
    return Microkernel(
        shape,
        multiply_tile,
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
