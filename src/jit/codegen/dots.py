"""Dot products of rows, and sums of rows, each read once as it lies: what products with few rows or columns consist of.

`dot_rows` takes the addresses of up to four rows of contiguous elements on either side. So few rows at a time are what
a CPU's prefetching follows; what fills no vector is read with a mask, so that no length is slow. The order of the
additions depends on the length and on whether there is one row on the other side, on nothing else. `add_rows` adds
multiples of rows to a vector, several at a time.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .external import lower, lower_external
from .microkernel_llvm import ELEMENTS, I64
from .target import Target

__all__ = ["DOT_GROUP", "row_kernels", "rows_call", "rows_name", "rows_source"]

# Rows on each side; the tables have so many entries, of which those past the counts are valid addresses, too.
DOT_GROUP = 4
_I32 = ir.IntType(32)
# Rows that `add_rows` adds in one pass over the sums.
_SUM_GROUP = 8
_DOT_PARAMETERS = ("table", "count", "others", "other_count", "out", "out_step", "out_row", "length")
_SUM_PARAMETERS = ("y", "x", "x_step", "b", "b_step", "count", "depth")


def rows_name(target: Target, dtype: str, narrow: str = "") -> str:
    """The name of the module of `rows_source`, which the names of its kernels end in.

    >>> rows_name(Target("avx512", 512, 32, True), "f32")
    'rows_f32_16'
    """
    return _name(dtype, target.lanes(dtype), target.fused, narrow)


def _name(dtype: str, lanes: int, fused: bool, narrow: str) -> str:
    return f"rows_{dtype}_{lanes}" + ("" if fused else "_unfused") + (f"_{narrow}" if narrow else "")


def rows_call(target: Target, dtype: str, narrow: str = "") -> str:
    """The expression that gives the kernels in generated source that imports `row_kernels`."""
    return f"row_kernels({dtype!r}, {target.lanes(dtype)}, {target.fused}, {narrow!r})"


def rows_source(target: Target, dtype: str, narrow: str = "") -> str:
    """Source of the module that defines the kernels, external symbols of others."""
    dots, sums = ", ".join(_DOT_PARAMETERS), ", ".join(_SUM_PARAMETERS)
    name = rows_name(target, dtype, narrow)
    return f"""\
from ingot.jit.codegen.dots import row_kernels

kernels = {rows_call(target, dtype, narrow)}
define_dots, define_sums = kernels.define_dots, kernels.define_sums


@kernel
def dot_{name}({dots}):
    define_dots({dots})


@kernel
def add_{name}({sums}):
    define_sums({sums})
"""


@dataclass(frozen=True)
class RowKernels:
    """Kernels as others call them (external symbols), and what defines them in their module.

    `dot_rows(table, count, others, other_count, out, out_step, out_row, length)`: out[r * out_row + t * out_step] is
    the dot product of row t of `table` with row r of `others`. `add_rows(y, x, x_step, b, b_step, count, depth)`:
    y[j] += sum over q < depth of x[q * x_step] * b[q * b_step + j], for j < count. Addresses, and steps in bytes.
    """

    dot_rows: Callable[..., None]
    add_rows: Callable[..., None]
    define_dots: Callable[..., None]
    define_sums: Callable[..., None]


@cache
def row_kernels(dtype: str, lanes: int, fused: bool, narrow: str = "") -> RowKernels:
    """The kernels for one vector length, which also run in plain Python.

    With `narrow` ("f16", "bf16", "i8", "u8") the rows of `table`, and b, are stored so, and converted as they are read.
    """
    real = np.dtype(np.float32 if dtype == "f32" else np.float64)
    stored = np.dtype({"f16": np.float16, "bf16": np.uint16, "i8": np.int8, "u8": np.uint8}.get(narrow, real))

    def elements(address: int, count: int) -> Any:
        memory = memoryview((ctypes.c_char * (count * real.itemsize)).from_address(int(address)))
        return np.ndarray(count, real, memory)

    def converted(address: int, count: int) -> Any:
        if not narrow:
            return elements(address, count)
        memory = memoryview((ctypes.c_char * (count * stored.itemsize)).from_address(int(address)))
        values = np.ndarray(count, stored, memory)
        return (values.astype(np.uint32) << 16).view(np.float32) if narrow == "bf16" else values.astype(real)

    def dot_rows(
        table: int, count: int, others: int, other_count: int, out: int, out_step: int, out_row: int, length: int
    ) -> None:
        addresses, other = ((ctypes.c_int64 * DOT_GROUP).from_address(x) for x in (table, others))
        for r in range(other_count):
            for t in range(count):
                total = elements(out + r * out_row + t * out_step, 1)
                total[0] = 0
                if length > 0:
                    with np.errstate(all="ignore"):
                        total[0] = (converted(addresses[t], length) * elements(other[r], length)).sum()

    def define_dots(
        table: int, count: int, others: int, other_count: int, out: int, out_step: int, out_row: int, length: int
    ) -> None:
        dot_rows(table, count, others, other_count, out, out_step, out_row, length)

    def add_rows(y: int, x: int, x_step: int, b: int, b_step: int, count: int, depth: int) -> None:
        for q in range(depth if count > 0 else 0):
            with np.errstate(all="ignore"):
                elements(y, count)[...] += elements(x + q * x_step, 1) * converted(b + q * b_step, count)

    def define_sums(y: int, x: int, x_step: int, b: int, b_step: int, count: int, depth: int) -> None:
        add_rows(y, x, x_step, b, b_step, count, depth)

    def emit_dots(builder: ir.IRBuilder, arguments: list[ir.Value]) -> None:
        with builder.if_else(builder.icmp_signed("==", arguments[3], I64(1))) as (one, several):
            with one:
                _Products(builder, dtype, lanes, fused, arguments, narrow, others=1, vectors=2).emit()
            with several:
                _Products(builder, dtype, lanes, fused, arguments, narrow, others=DOT_GROUP, vectors=1).emit()

    def emit_sums(builder: ir.IRBuilder, arguments: list[ir.Value]) -> None:
        _Sums(builder, dtype, lanes, fused, arguments, narrow).emit()

    name = _name(dtype, lanes, fused, narrow)
    for function, prefix in ((dot_rows, "dot"), (add_rows, "add")):
        function.__name__ = function.__qualname__ = f"{prefix}_{name}"
    lower_external(dot_rows, _DOT_PARAMETERS)
    lower_external(add_rows, _SUM_PARAMETERS)
    lower(define_dots, _DOT_PARAMETERS, emit_dots)
    lower(define_sums, _SUM_PARAMETERS, emit_sums)
    return RowKernels(dot_rows, add_rows, define_dots, define_sums)


class Vectors:
    """Vectors of one length: loads and stores, whole and masked, and multiply-adds."""

    def __init__(self, builder: ir.IRBuilder, dtype: str, lanes: int, fused: bool, narrow: str = "") -> None:
        self.builder, self.lanes, self.fused, self.narrow = builder, lanes, fused, narrow
        self.element, self.size = ELEMENTS[dtype], 4 if dtype == "f32" else 8
        self.vector = ir.VectorType(self.element, lanes)
        self.mask_type = ir.VectorType(ir.IntType(1), lanes)
        self.suffix = f"v{lanes}{dtype}"
        self.zero = ir.Constant(self.vector, [0.0] * lanes)

    def at(self, start: ir.Value, k: ir.Value) -> ir.Value:
        """The pointer to the vector k elements after an address."""
        address = self.builder.add(start, self.builder.mul(k, I64(self.size)))
        return self.builder.inttoptr(address, self.vector.as_pointer())

    def splat(self, value: ir.Value) -> ir.Value:
        """A vector of one value."""
        kind = ir.VectorType(value.type, self.lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, value, _I32(0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        )

    def mask(self, left: ir.Value) -> ir.Value:
        """The lanes before `left`."""
        lanes = ir.Constant(ir.VectorType(_I32, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", lanes, self.splat(self.builder.trunc(left, _I32)))

    def load(self, pointer: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """The vector at a pointer; with zeros where a mask is off."""
        if mask is None:
            return self.builder.load(pointer, align=self.size)
        parameters = [self.vector.as_pointer(), _I32, self.mask_type, self.vector]
        load = self._intrinsic(f"llvm.masked.load.{self.suffix}.p0", self.vector, parameters)
        return self.builder.call(load, [pointer, _I32(self.size), mask, self.zero])

    def load_narrow(self, start: ir.Value, k: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """The vector k elements after an address where they are stored narrow, converted."""
        if not self.narrow:
            return self.load(self.at(start, k), mask)
        builder, bits = self.builder, 16 if self.narrow in ("f16", "bf16") else 8
        stored = ir.VectorType(ir.IntType(bits), self.lanes)
        address = builder.add(start, builder.mul(k, I64(bits // 8)))
        pointer = builder.inttoptr(address, stored.as_pointer())
        if mask is None:
            value = builder.load(pointer, align=1)
        else:
            parameters = [stored.as_pointer(), _I32, self.mask_type, stored]
            load = self._intrinsic(f"llvm.masked.load.v{self.lanes}i{bits}.p0", stored, parameters)
            value = builder.call(load, [pointer, _I32(1), mask, ir.Constant(stored, [0] * self.lanes)])
        if self.narrow == "f16":
            return builder.fpext(builder.bitcast(value, ir.VectorType(ir.HalfType(), self.lanes)), self.vector)
        wide = ir.VectorType(_I32, self.lanes)
        if self.narrow == "bf16":
            shift = ir.Constant(wide, [16] * self.lanes)
            return builder.bitcast(builder.shl(builder.zext(value, wide), shift), self.vector)
        integers = builder.sext(value, wide) if self.narrow == "i8" else builder.zext(value, wide)
        return builder.sitofp(integers, self.vector)

    def store(self, value: ir.Value, pointer: ir.Value, mask: ir.Value | None = None) -> None:
        """Store a vector, where a mask is on."""
        if mask is None:
            self.builder.store(value, pointer, align=self.size)
            return
        parameters = [self.vector, self.vector.as_pointer(), _I32, self.mask_type]
        store = self._intrinsic(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), parameters)
        self.builder.call(store, [value, pointer, _I32(self.size), mask])

    def multiply_add(self, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
        """x * y + total."""
        if self.fused:
            fma = self._intrinsic(f"llvm.fma.{self.suffix}", self.vector, [self.vector] * 3)
            return self.builder.call(fma, [x, y, total])
        return self.builder.fadd(self.builder.fmul(x, y), total)

    def sum_of_lanes(self, total: ir.Value) -> ir.Value:
        """The sum of a vector, added in halves."""
        builder, lanes = self.builder, self.lanes
        while lanes > 1:
            lanes //= 2
            halves = (
                ir.Constant(ir.VectorType(_I32, lanes), list(range(first, first + lanes))) for first in (0, lanes)
            )
            undefined = ir.Constant(total.type, ir.Undefined)
            low, high = (builder.shuffle_vector(total, undefined, half) for half in halves)
            total = builder.fadd(low, high)
        return builder.extract_element(total, _I32(0))

    def sums_of_lanes(self, totals: list[ir.Value]) -> list[ir.Value]:
        """The sums of several vectors, each added as `sum_of_lanes` adds it, four at a time."""
        if self.lanes < 4 or len(totals) % 4:
            return [self.sum_of_lanes(total) for total in totals]
        sums = []
        for first in range(0, len(totals), 4):
            a, b, c, d = totals[first : first + 4]
            pairs = self._halves(a, b, self.lanes), self._halves(c, d, self.lanes)
            total, lanes = self._halves(*pairs, self.lanes // 2), self.lanes // 4
            while lanes > 1:
                total, lanes = self._halves(total, None, lanes), lanes // 2
            sums += [self.builder.extract_element(total, _I32(i)) for i in range(4)]
        return sums

    def _halves(self, a: ir.Value, b: ir.Value | None, lanes: int) -> ir.Value:
        """The sums of the halves of each run of `lanes` lanes, of one vector or of two."""
        both = a.type.count * (1 if b is None else 2)
        masks = []
        for half in (0, lanes // 2):
            chosen = [run + half + i for run in range(0, both, lanes) for i in range(lanes // 2)]
            masks.append(ir.Constant(ir.VectorType(_I32, len(chosen)), chosen))
        other = ir.Constant(a.type, ir.Undefined) if b is None else b
        return self.builder.fadd(*(self.builder.shuffle_vector(a, other, mask) for mask in masks))

    def _intrinsic(self, name: str, result: ir.Type, parameters: list[ir.Type]) -> ir.Function:
        module = self.builder.module
        existing = module.globals.get(name)
        if existing is not None:
            return existing
        return ir.Function(module, ir.FunctionType(result, parameters), name)

    def loop(
        self, start: ir.Value, stop: ir.Value, step: int, values: list[ir.Value], body: Callable[..., list[ir.Value]]
    ) -> list[ir.Value]:
        """What `body(k, values)` makes of values, for k from start to stop."""
        builder = self.builder
        before = builder.block
        inside, after = (builder.append_basic_block(name) for name in ("rows", "rows_done"))
        builder.cbranch(builder.icmp_signed("<", start, stop), inside, after)
        builder.position_at_end(inside)
        k = builder.phi(I64)
        phis = [builder.phi(value.type) for value in values]
        new = body(k, phis)
        next_k = builder.add(k, I64(step))
        end = builder.block
        builder.cbranch(builder.icmp_signed("<", next_k, stop), inside, after)
        k.add_incoming(start, before)
        k.add_incoming(next_k, end)
        builder.position_at_end(after)
        merged = []
        for phi, old, value in zip(phis, values, new, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(value, end)
            merged.append(builder.phi(value.type))
            merged[-1].add_incoming(old, before)
            merged[-1].add_incoming(value, end)
        return merged


class _Sums(Vectors):
    """Writes `add_rows`: groups of rows, each in one pass over the sums, then single rows."""

    def __init__(
        self, builder: ir.IRBuilder, dtype: str, lanes: int, fused: bool, arguments: list[ir.Value], narrow: str
    ) -> None:
        super().__init__(builder, dtype, lanes, fused, narrow)
        self.y, self.x, self.x_step, self.b, self.b_step, self.count, self.depth = arguments

    def emit(self) -> None:
        """The sums, in memory."""
        whole = self.builder.sub(self.depth, self.builder.srem(self.depth, I64(_SUM_GROUP)))
        self.loop(I64(0), whole, _SUM_GROUP, [], lambda q, _: self._add(q, _SUM_GROUP))
        self.loop(whole, self.depth, 1, [], lambda q, _: self._add(q, 1))

    def _add(self, q: ir.Value, rows: int) -> list[ir.Value]:
        builder = self.builder
        factors, starts = [], []
        for row in range(rows):
            index = builder.add(q, I64(row))
            factor = builder.inttoptr(builder.add(self.x, builder.mul(index, self.x_step)), self.element.as_pointer())
            factors.append(self.splat(builder.load(factor, align=self.size)))
            starts.append(builder.add(self.b, builder.mul(index, self.b_step)))
        whole = builder.sub(self.count, builder.srem(self.count, I64(self.lanes)))

        def add(j: ir.Value, mask: ir.Value | None) -> list[ir.Value]:
            # Two chains, so that short rows do not wait for every multiply-add.
            totals = [self.load(self.at(self.y, j), mask)]
            for row, (factor, start) in enumerate(zip(factors, starts, strict=True)):
                value = self.load_narrow(start, j, mask)
                if row == 1:
                    totals.append(builder.fmul(factor, value))
                else:
                    totals[row % 2] = self.multiply_add(factor, value, totals[row % 2])
            total = totals[0] if len(totals) == 1 else builder.fadd(*totals)
            self.store(total, self.at(self.y, j), mask)
            return []

        self.loop(I64(0), whole, self.lanes, [], lambda j, _: add(j, None))
        with builder.if_then(builder.icmp_signed("<", whole, self.count)):
            add(whole, self.mask(builder.sub(self.count, whole)))
        return []


class _Products(Vectors):
    """Writes `dot_rows`: loops over `vectors` vectors of each row at a time, the masked rest, and the sums of lanes."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        dtype: str,
        lanes: int,
        fused: bool,
        arguments: list[ir.Value],
        narrow: str,
        *,
        others: int,
        vectors: int,
    ) -> None:
        super().__init__(builder, dtype, lanes, fused, narrow)
        self.vectors = vectors
        table, self.count, other_table, self.other_count, self.out, self.out_step, self.out_row, self.length = arguments
        self.rows = self._addresses(table, DOT_GROUP)
        self.others = self._addresses(other_table, others)
        self.pairs = [(t, r) for t in range(DOT_GROUP) for r in range(others)]

    def _addresses(self, table: ir.Value, count: int) -> list[ir.Value]:
        pointers = self.builder.inttoptr(table, I64.as_pointer())
        return [self.builder.load(self.builder.gep(pointers, [I64(t)])) for t in range(count)]

    def emit(self) -> None:
        """The products, stored."""
        builder, length, vectors = self.builder, self.length, self.vectors
        step = vectors * self.lanes
        whole = builder.sub(length, builder.srem(length, I64(step)))
        sums = [self.zero] * (vectors * len(self.pairs))
        sums = self.loop(I64(0), whole, step, sums, lambda k, values: self._add(k, values, vectors, None))
        # The vectors of a product become one: a step of the rest adds a single vector.
        if vectors == 2:
            sums = [builder.fadd(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]
        sums = self.loop(
            whole,
            length,
            self.lanes,
            sums,
            lambda k, values: self._add(k, values, 1, self.mask(builder.sub(length, k))),
        )
        for (t, r), result in zip(self.pairs, self.sums_of_lanes(sums), strict=True):
            wanted = builder.and_(
                builder.icmp_signed(">", self.count, I64(t)), builder.icmp_signed(">", self.other_count, I64(r))
            )
            with builder.if_then(wanted):
                offset = builder.add(builder.mul(self.out_step, I64(t)), builder.mul(self.out_row, I64(r)))
                pointer = builder.inttoptr(builder.add(self.out, offset), self.element.as_pointer())
                builder.store(result, pointer, align=self.size)

    def _add(self, k: ir.Value, sums: list[ir.Value], vectors: int, mask: ir.Value | None) -> list[ir.Value]:
        """The sums (`vectors` for each pair) with the products of positions k and on."""

        places = [self.builder.add(k, I64(v * self.lanes)) for v in range(vectors)]
        others = [[self.load(self.at(row, place), mask) for place in places] for row in self.others]
        new: list[ir.Value] = []
        for row in self.rows:
            own = [self.load_narrow(row, place, mask) for place in places]
            for other in others:
                for x, y in zip(own, other, strict=True):
                    new.append(self.multiply_add(x, y, sums[len(new)]))
        return new
