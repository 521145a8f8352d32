"""The inner kernel of convolutions over planes: pixels side by side in vectors, output channels as rows.

`multiply_planes` adds, for rows i (output channels) and columns j (pixels),

    out[i, j] = sum over k of weights[k, i] * image[taps[k] + j]

where a tap is the place of a kernel element's input, relative to that of the output pixel: any kernel, stride, dilation
and number of dimensions is a list of taps. Each sum runs over k in order, whatever the tile that it is computed in, so
that results do not depend on how the pixels are cut into tiles.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .external import lower, lower_external
from .microkernel_llvm import I64, row_counts
from .target import Target

__all__ = ["PlaneTile", "copy_alternate", "plane_tile", "plane_tile_source", "plane_tile_of"]

_I32 = ir.IntType(32)
DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
_ELEMENTS = {"f32": ir.FloatType(), "f64": ir.DoubleType()}
PARAMETERS = ("weights", "rows", "image", "taps", "count", "out", "out_stride", "columns")
# The vectors of a tile with few rows: as many accumulators as hide the latency of multiply-adds.
_WIDE = {1: 8, 2: 4}


@dataclass(frozen=True)
class PlaneTile:
    """The shape of the tiles: up to `rows` output channels, vectors of `lanes` pixels.

    >>> PlaneTile("f32", 14, 16).variants
    ((1, (8, 2, 1)), (2, (4, 2, 1)), (4, (2, 1)), (8, (2, 1)), (14, (2, 1)))
    """

    dtype: str
    rows: int
    lanes: int
    fused: bool = True

    @property
    def element_bytes(self) -> int:
        """The size of one element in bytes."""
        return DTYPES[self.dtype].itemsize

    @property
    def name(self) -> str:
        """A short identifier, such as `f32_14x16`."""
        return f"{self.dtype}_{self.rows}x{self.lanes}" + ("" if self.fused else "_unfused")

    @property
    def variants(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The heights of tiles, and for each the numbers of vectors, descending."""
        return tuple((rows, (_WIDE[rows], 2, 1) if rows in _WIDE else (2, 1)) for rows in row_counts(self.rows))

    @property
    def most_columns(self) -> int:
        """The columns of the widest tile: so many elements past the last pixel may be read and written."""
        return self.lanes * max(_WIDE.values())


def plane_tile_of(target: Target, dtype: str) -> PlaneTile:
    """The tile for a CPU: two vectors of pixels, one weight, and accumulators.

    >>> plane_tile_of(Target("avx512", 512, 32, True), "f32").name
    'f32_14x16'
    """
    registers = target.registers - 3 - (0 if target.fused else 1)
    return PlaneTile(dtype, min(registers // 2 // 2 * 2, 14), target.lanes(dtype), target.fused)


def _array(address: int, dtype: np.dtype[Any], count: int) -> np.ndarray[Any, Any]:
    """The elements that begin at an address."""
    memory = memoryview((ctypes.c_char * (count * dtype.itemsize)).from_address(int(address)))
    return np.ndarray((count,), dtype, memory)


def _python_multiply(tile: PlaneTile) -> Callable[..., int]:
    dtype, size = DTYPES[tile.dtype], tile.element_bytes

    def multiply_planes(
        weights: int, rows: int, image: int, taps: int, count: int, out: int, out_stride: int, columns: int
    ) -> int:
        _, widths = next(v for v in tile.variants if v[0] >= rows)
        vectors = next((v for v in widths if v * tile.lanes <= columns), 1)
        if vectors == 1 and columns > tile.lanes:
            vectors = 2
        width = vectors * tile.lanes
        places = _array(taps, np.dtype(np.int64), count)
        total = np.zeros((rows, width), dtype)
        with np.errstate(all="ignore"):
            for k, tap in enumerate(places):
                factors = _array(weights + k * tile.rows * size, dtype, rows)
                total += factors[:, None] * _array(image + int(tap), dtype, width)
        for i in range(rows):
            ctypes.memmove(int(out + i * out_stride), total[i].ctypes.data, width * size)
        return width

    return multiply_planes


class _TileFunction:
    """Builds the LLVM function of one height and width: void(weights, image, taps, count, out, out_stride)."""

    def __init__(self, module: ir.Module, tile: PlaneTile, rows: int, vectors: int) -> None:
        self.module, self.tile, self.rows, self.vectors = module, tile, rows, vectors
        self.element = _ELEMENTS[tile.dtype]
        self.vector = ir.VectorType(self.element, tile.lanes)

    def get(self) -> ir.Function:
        """The function in this module, built on first use."""
        name = f"multiply_planes_{self.tile.name}_{self.rows}_{self.vectors}"
        existing = self.module.globals.get(name)
        if existing is not None:
            return existing
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [I64] * 6), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        self._build(function)
        return function

    def _build(self, function: ir.Function) -> None:
        entry, body, done = (function.append_basic_block(n) for n in ("entry", "k", "done"))
        builder = ir.IRBuilder(entry)
        byte_pointer = ir.IntType(8).as_pointer()
        weights, image, taps, count, out, out_stride = function.args
        zero = ir.Constant(self.vector, [0.0] * self.tile.lanes)
        places = [(i, j) for i in range(self.rows) for j in range(self.vectors)]
        first_weight, table = builder.inttoptr(weights, byte_pointer), builder.inttoptr(taps, I64.as_pointer())
        builder.cbranch(builder.icmp_signed(">", count, I64(0)), body, done)
        builder.position_at_end(body)
        k, weight = builder.phi(I64), builder.phi(byte_pointer)
        k.add_incoming(I64(0), entry)
        weight.add_incoming(first_weight, entry)
        sums = {p: builder.phi(self.vector) for p in places}
        for phi in sums.values():
            phi.add_incoming(zero, entry)
        size = self.tile.element_bytes
        pixel = builder.add(image, builder.load(builder.gep(table, [k])))
        start = builder.inttoptr(pixel, byte_pointer)
        columns = [self._load(builder, start, j * self.tile.lanes * size) for j in range(self.vectors)]
        after = {}
        for i in range(self.rows):
            factor = self._broadcast(builder, builder.gep(weight, [I64(i * size)]))
            for j in range(self.vectors):
                after[i, j] = self._multiply_add(builder, factor, columns[j], sums[i, j])
        next_k, next_weight = builder.add(k, I64(1)), builder.gep(weight, [I64(self.tile.rows * size)])
        k.add_incoming(next_k, body)
        weight.add_incoming(next_weight, body)
        for p in places:
            sums[p].add_incoming(after[p], body)
        branch = builder.cbranch(builder.icmp_signed("<", next_k, count), body, done)
        disable = self.module.add_metadata([ir.MetaDataString(self.module, "llvm.loop.unroll.disable")])
        loop = self.module.add_metadata([disable])
        loop.operands = (loop, disable)  # a loop's identity is a node that refers to itself
        branch.set_metadata("llvm.loop", loop)
        builder.position_at_end(done)
        results = {p: builder.phi(self.vector) for p in places}
        for p in places:
            results[p].add_incoming(zero, entry)
            results[p].add_incoming(after[p], body)
        for i in range(self.rows):
            row = builder.inttoptr(builder.add(out, builder.mul(out_stride, I64(i))), byte_pointer)
            for j in range(self.vectors):
                target = builder.gep(row, [I64(j * self.tile.lanes * size)])
                builder.store(results[i, j], builder.bitcast(target, self.vector.as_pointer()), align=size)
        builder.ret_void()

    def _load(self, builder: ir.IRBuilder, start: ir.Value, offset: int) -> ir.Value:
        pointer = builder.bitcast(builder.gep(start, [I64(offset)]), self.vector.as_pointer())
        return builder.load(pointer, align=self.tile.element_bytes)

    def _broadcast(self, builder: ir.IRBuilder, place: ir.Value) -> ir.Value:
        element = builder.load(builder.bitcast(place, self.element.as_pointer()))
        undefined = ir.Constant(self.vector, ir.Undefined)
        one_lane = builder.insert_element(undefined, element, _I32(0))
        first = ir.Constant(ir.VectorType(_I32, self.tile.lanes), [0] * self.tile.lanes)
        return builder.shuffle_vector(one_lane, undefined, first)

    def _multiply_add(self, builder: ir.IRBuilder, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
        if not self.tile.fused:
            return builder.fadd(builder.fmul(a, b), total)
        name = f"llvm.fma.v{self.tile.lanes}{self.tile.dtype}"
        fma = self.module.globals.get(name)
        if fma is None:
            fma = ir.Function(self.module, ir.FunctionType(self.vector, [self.vector] * 3), name)
        return builder.call(fma, [a, b, total])


def emit_alternate(builder: ir.IRBuilder, arguments: list[ir.Value], *, tile: PlaneTile) -> None:
    """Copy every second element, a vector of them; the arguments are target and source. Nothing past them is read."""
    target, source = arguments
    element, lanes = _ELEMENTS[tile.dtype], tile.lanes
    vector = ir.VectorType(element, lanes)

    def load(first: int) -> ir.Value:
        place = builder.inttoptr(builder.add(source, I64(first * tile.element_bytes)), vector.as_pointer())
        return builder.load(place, align=tile.element_bytes)

    mask = [2 * lane if 2 * lane < lanes else 2 * lane + 1 for lane in range(lanes)]
    chosen = builder.shuffle_vector(load(0), load(lanes - 1), ir.Constant(ir.VectorType(_I32, lanes), mask))
    builder.store(chosen, builder.inttoptr(target, vector.as_pointer()), align=tile.element_bytes)


@cache
def copy_alternate(dtype: str, lanes: int) -> Callable[[int, int], None]:
    """The function `(target, source)` that copies `lanes` elements which lie two apart at `source`."""
    tile = PlaneTile(dtype, 1, lanes)

    def copy(target: int, source: int) -> None:
        size = tile.element_bytes
        elements = _array(source, DTYPES[dtype], 2 * lanes - 1)
        ctypes.memmove(int(target), np.ascontiguousarray(elements[::2]).ctypes.data, lanes * size)

    lower(copy, ("target", "source"), lambda builder, arguments: emit_alternate(builder, arguments, tile=tile))
    return copy


def plane_tile_source(tile: PlaneTile) -> str:
    """Source of the module that defines `multiply_planes_<tile>`, an external symbol of other kernels."""
    parameters = ", ".join(PARAMETERS)
    return (
        f"from ingot.jit.codegen.plane_tile import plane_tile\n\n"
        f"define_tile = {plane_tile_call(tile)}.define_tile\n\n\n"
        f"@kernel\n"
        f"def multiply_planes_{tile.name}({parameters}):\n"
        f"    return define_tile({parameters})\n"
    )


def plane_tile_call(tile: PlaneTile) -> str:
    """The expression that gives the inner kernel of a shape in generated source."""
    return f"plane_tile({tile.dtype!r}, {tile.rows}, {tile.lanes}{'' if tile.fused else ', fused=False'})"


@dataclass(frozen=True)
class PlaneKernel:
    """The inner kernel of a shape: `multiply` is an external symbol in compiled code, which `define_tile` defines."""

    multiply: Callable[..., int]
    define_tile: Callable[..., int]


@cache
def plane_tile(dtype: str, rows: int, lanes: int, fused: bool = True) -> PlaneKernel:
    """The inner kernel of one shape, for generated modules.

    `multiply(weights, rows, image, taps, count, out, out_stride, columns)` takes addresses, counts, and strides in
    bytes. It computes as many columns as one tile has, whether or not so many are left, and returns their number.
    """
    tile = PlaneTile(dtype, rows, lanes, fused)
    multiply = _python_multiply(tile)
    multiply.__name__ = multiply.__qualname__ = f"multiply_planes_{tile.name}"

    def define_tile(*arguments: int) -> int:
        return multiply(*arguments)

    def define(builder: Any, arguments: Any) -> ir.Value:
        weights, count, image, taps, depth, out, out_stride, columns = arguments
        given = [weights, image, taps, depth, out, out_stride]
        done = builder.append_basic_block("planes_done")
        results: list[tuple[ir.Value, ir.Block]] = []

        def call(height: int, vectors: int) -> None:
            builder.call(_TileFunction(builder.module, tile, height, vectors).get(), given)
            results.append((I64(vectors * lanes), builder.block))
            builder.branch(done)

        full = builder.append_basic_block("planes_full")
        switch = builder.switch(count, full)
        low = 0
        for height, widths in tile.variants:
            block = full if height == rows else builder.append_basic_block(f"planes_{height}")
            for given_rows in range(low + 1, height + 1):
                switch.add_case(I64(given_rows), block)
            low = height
            builder.position_at_end(block)
            for vectors in widths[:-1]:
                # The widest that is full, two vectors for more than one.
                least = lanes + 1 if vectors == 2 else vectors * lanes
                here, other = (builder.append_basic_block(f"planes_{height}_{n}") for n in (vectors, "fewer"))
                builder.cbranch(builder.icmp_signed(">=", columns, I64(least)), here, other)
                builder.position_at_end(here)
                call(height, vectors)
                builder.position_at_end(other)
            call(height, widths[-1])
        builder.position_at_end(done)
        width = builder.phi(I64)
        for value, block in results:
            width.add_incoming(value, block)
        return width

    lower(define_tile, PARAMETERS, define, returns=True)
    lower_external(multiply, PARAMETERS, returns=True)
    return PlaneKernel(multiply, define_tile)
