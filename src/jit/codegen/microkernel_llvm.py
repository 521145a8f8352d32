"""LLVM code of the micro-kernel, one function per tile height, and of the transposition of a square block."""

from typing import Any

from llvmlite import ir

from .target import TileShape

I64 = ir.IntType(64)
_I32 = ir.IntType(32)
ELEMENTS = {"f32": ir.FloatType(), "f64": ir.DoubleType()}
# What blocks that are transposed consist of: smaller elements are moved as integers.
ELEMENT_BYTES = {"f64": 8, "f32": 4, "i16": 2, "u8": 1}
# Enough independent accumulators to cover the latency of a fused multiply-add (4 cycles, two a cycle, on current CPUs).
_INDEPENDENT_ACCUMULATORS = 8


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


class TileFunction:
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

    def __init__(self, module: ir.Module, shape: TileShape, rows: int, vectors: int = 0) -> None:
        self.module, self.shape, self.rows = module, shape, rows
        # Fewer vectors than the tile has leave its last columns as they are.
        self.vectors = vectors or shape.vectors
        self.element = ELEMENTS[shape.dtype]
        self.vector = ir.VectorType(self.element, shape.lanes)
        self.tile = [(i, j) for i in range(rows) for j in range(self.vectors)]
        # Short tiles keep several partial sums per element, which are added at the end.
        self.unroll = max(1, _INDEPENDENT_ACCUMULATORS // len(self.tile))

    def get(self) -> ir.Function:
        """The function in this module, built on first use."""
        name = f"multiply_tile_{self.shape.name}_{self.rows}"
        if self.vectors != self.shape.vectors:
            name += f"_of_{self.vectors}"
        existing = self.module.globals.get(name)
        if existing is not None:
            return existing
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [I64] * len(self.PARAMETERS)), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        self._build(function)
        return function

    def _build(self, function: ir.Function) -> None:
        builder = self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        argument = dict(zip(self.PARAMETERS, function.args, strict=True))
        byte_pointer = ir.IntType(8).as_pointer()
        b_start, out = (builder.inttoptr(argument[n], byte_pointer) for n in ("b", "out"))
        table = builder.inttoptr(argument["table"], I64.as_pointer())
        self.a_step, self.b_step = argument["a_step"], argument["b_step"]

        start, segment, finish = (function.append_basic_block(n) for n in ("start", "segment", "finish"))
        load_tile, zero_tile = (function.append_basic_block(n) for n in ("load_tile", "zero_tile"))
        builder.cbranch(builder.icmp_signed("!=", argument["accumulate"], I64(0)), load_tile, zero_tile)
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
            builder.icmp_signed(">", segments, I64(0)), builder.icmp_signed(">", argument["length"], I64(0))
        )
        builder.cbranch(something, segment, finish)

        # One pass per segment; `offset` walks the outer x inner grid of segment starts.
        builder.position_at_end(segment)
        remaining, column = builder.phi(I64), builder.phi(I64)
        offset, outer_offset = builder.phi(I64), builder.phi(I64)
        b_segment = builder.phi(byte_pointer)
        sums = [{p: builder.phi(self.vector) for p in self.tile} for _ in range(self.unroll)]
        for phi, value in (
            (remaining, segments),
            (column, I64(0)),
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
            address = builder.add(builder.load(builder.gep(table, [I64(i)])), offset)
            rows.append(builder.inttoptr(address, byte_pointer))

        new_sums, b_after = self._segment_loops(function, rows, b_segment, argument["length"], sums)

        end = builder.block
        next_column = builder.add(column, I64(1))
        wraps = builder.icmp_signed(">=", next_column, argument["inner"])
        next_outer = builder.add(outer_offset, builder.select(wraps, argument["outer_stride"], I64(0)))
        stepped = builder.add(offset, argument["inner_stride"])
        next_remaining = builder.sub(remaining, I64(1))
        for phi, value in (
            (remaining, next_remaining),
            (column, builder.select(wraps, I64(0), next_column)),
            (offset, builder.select(wraps, next_outer, stepped)),
            (outer_offset, next_outer),
            (b_segment, b_after),
        ):
            phi.add_incoming(value, end)
        for copy in range(self.unroll):
            for p in self.tile:
                sums[copy][p].add_incoming(new_sums[copy][p], end)
        builder.cbranch(builder.icmp_signed(">", next_remaining, I64(0)), segment, finish)

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
        return self.builder.bitcast(self.builder.gep(out, [I64(offset)]), self.vector.as_pointer())

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
        offset: ir.Value = I64(0)
        done: ir.Value = I64(0)
        if self.unroll > 1:
            main = builder.sub(length, builder.srem(length, I64(self.unroll)))
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
        k_phi, b_phi, offset_phi = builder.phi(I64), builder.phi(b.type), builder.phi(I64)
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
        k_next = builder.add(k_phi, I64(unroll))
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
        shape = self.shape
        if shape.inputs == 1:
            self._multiply_row(rows, self._vectors(b), offset, sums)
            return
        # Each lane meets the inputs of its group, one after the other, with a row of B for each.
        starts = [self.builder.gep(row, [offset]) for row in rows]
        loaded = [self._vectors(start) for start in starts]
        undefined = ir.Constant(self.vector, ir.Undefined)
        for k in range(shape.inputs):
            b_vectors = self._vectors(self.builder.gep(b, [I64(k * shape.row_bytes)]))
            lanes = [lane // shape.inputs * shape.inputs + k for lane in range(shape.lanes)]
            mask = ir.Constant(ir.VectorType(_I32, shape.lanes), lanes)
            for i, vectors in enumerate(loaded):
                for j, vector in enumerate(vectors):
                    self._add_product(self.builder.shuffle_vector(vector, undefined, mask), b_vectors[j], sums, (i, j))

    def _vectors(self, start: ir.Value) -> list[ir.Value]:
        """The vectors of a row of B, or of A where it has one for each column, from an address on."""
        builder, shape = self.builder, self.shape
        pointers = (builder.gep(start, [I64(j * shape.lanes * shape.element_bytes)]) for j in range(self.vectors))
        return [builder.load(builder.bitcast(p, self.vector.as_pointer()), align=shape.element_bytes) for p in pointers]

    def _multiply_row(
        self, rows: list[ir.Value], b_vectors: list[ir.Value], offset: ir.Value, sums: dict[tuple[int, int], ir.Value]
    ) -> None:
        builder, shape = self.builder, self.shape
        undefined = ir.Constant(self.vector, ir.Undefined)
        first_lane = ir.Constant(ir.VectorType(_I32, shape.lanes), [0] * shape.lanes)
        for i, row in enumerate(rows):
            start = builder.gep(row, [offset])
            if shape.per_channel:
                for j, a in enumerate(self._vectors(start)):
                    self._add_product(a, b_vectors[j], sums, (i, j))
                continue
            element = builder.load(builder.bitcast(start, self.element.as_pointer()))
            one_lane = builder.insert_element(undefined, element, _I32(0))
            a = builder.shuffle_vector(one_lane, undefined, first_lane)
            for j in range(self.vectors):
                self._add_product(a, b_vectors[j], sums, (i, j))

    def _add_product(
        self, a: ir.Value, b: ir.Value, sums: dict[tuple[int, int], ir.Value], at: tuple[int, int]
    ) -> None:
        if self.shape.fused:
            sums[at] = self.builder.call(self._fma(), [a, b, sums[at]])
        else:
            sums[at] = self.builder.fadd(self.builder.fmul(a, b), sums[at])

    def _no_unroll(self) -> Any:
        """Loop metadata: the bodies are unrolled here already, and LLVM would only grow them."""
        disable = self.module.add_metadata([ir.MetaDataString(self.module, "llvm.loop.unroll.disable")])
        loop = self.module.add_metadata([disable])
        # A loop's identity is a node that refers to itself (LLVM language reference, "llvm.loop").
        loop.operands = (loop, disable)
        return loop

    def _fma(self) -> ir.Function:
        return self._declared(f"llvm.fma.v{self.shape.lanes}{self.shape.dtype}", self.vector, [self.vector] * 3)

    def _declared(self, name: str, result: ir.Type, parameters: list[ir.Type]) -> ir.Function:
        existing = self.module.globals.get(name)
        if existing is not None:
            return existing
        return ir.Function(self.module, ir.FunctionType(result, parameters), name)


def emit_transpose(
    builder: ir.IRBuilder, dtype: str, lanes: int, arguments: list[ir.Value], *, past: bool = False
) -> None:
    """Copy a `lanes` x `lanes` block transposed; the arguments are source, its row stride, target, its row stride.

    In step s = 1, 2, 4, ... rows i and i + s exchange the lanes in which their indices differ from their lanes'. Where
    a row has 16 bytes, all rows are interleaved with those of the other half instead, as often: that is one
    instruction for a row on any CPU. With `past`, rows are whole lines of the cache and do not stay there.
    """
    source, source_stride, target, target_stride = arguments
    size = ELEMENT_BYTES[dtype]
    element = ELEMENTS.get(dtype) or ir.IntType(8 * size)
    vector = ir.VectorType(element, lanes)

    def row(start: ir.Value, stride: ir.Value, i: int) -> ir.Value:
        return builder.inttoptr(builder.add(start, builder.mul(stride, I64(i))), vector.as_pointer())

    def shuffled(pair: tuple[ir.Value, ir.Value], lanes_of: list[int]) -> ir.Value:
        return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_I32, lanes), lanes_of))

    rows = [builder.load(row(source, source_stride, i), align=size) for i in range(lanes)]
    half = lanes // 2
    step = 1
    while step < lanes:
        if size * lanes == 16 and size < 4:
            low, high = ([first + i // 2 + lanes * (i % 2) for i in range(lanes)] for first in (0, half))
            pairs = [(rows[i], rows[i + half]) for i in range(half)]
            rows = [shuffled(pair, mask) for pair in pairs for mask in (low, high)]
        else:
            low = [lane if lane & step == 0 else lanes + lane - step for lane in range(lanes)]
            high = [lane + step if lane & step == 0 else lanes + lane for lane in range(lanes)]
            for i in range(lanes):
                if i & step == 0:
                    both = rows[i], rows[i + step]
                    rows[i], rows[i + step] = shuffled(both, low), shuffled(both, high)
        step *= 2
    for i in range(lanes):
        store = builder.store(rows[i], row(target, target_stride, i), align=64 if past else size)
        if past:
            store.set_metadata("nontemporal", builder.module.add_metadata([_I32(1)]))


def emit_copy(builder: ir.IRBuilder, arguments: list[ir.Value]) -> None:
    """Copy memory that does not overlap; the arguments are target, source and a byte count."""
    byte_pointer = ir.IntType(8).as_pointer()
    memcpy = _intrinsic(builder, "llvm.memcpy.p0.p0.i64", [byte_pointer, byte_pointer, I64, ir.IntType(1)])
    target, source, n_bytes = arguments
    pointers = (builder.inttoptr(address, byte_pointer) for address in (target, source))
    builder.call(memcpy, [*pointers, n_bytes, ir.IntType(1)(0)])


def emit_clear(builder: ir.IRBuilder, arguments: list[ir.Value]) -> None:
    """Fill memory with zeros; the arguments are target and a byte count."""
    byte, truth = ir.IntType(8), ir.IntType(1)
    target, n_bytes = arguments
    memset = _intrinsic(builder, "llvm.memset.p0.i64", [byte.as_pointer(), byte, I64, truth])
    builder.call(memset, [builder.inttoptr(target, byte.as_pointer()), byte(0), n_bytes, truth(0)])


def emit_prefetch(builder: ir.IRBuilder, arguments: list[ir.Value]) -> None:
    """Fetch the cache line at an address: to be read, to the second level of caches and those behind it."""
    pointer = ir.IntType(8).as_pointer()
    function = _intrinsic(builder, "llvm.prefetch.p0", [pointer, _I32, _I32, _I32])
    builder.call(function, [builder.inttoptr(arguments[0], pointer), _I32(0), _I32(2), _I32(1)])


def _intrinsic(builder: ir.IRBuilder, name: str, parameters: list[ir.Type]) -> ir.Function:
    existing = builder.module.globals.get(name)
    return existing or ir.Function(builder.module, ir.FunctionType(ir.VoidType(), parameters), name)


def emit_stream(builder: ir.IRBuilder, n_bytes: int, arguments: list[ir.Value]) -> None:
    """Copy `n_bytes` past the caches; the arguments are target and source. All three are multiples of 64."""
    line = ir.VectorType(_I32, 16)
    target, source = arguments
    hint = builder.module.add_metadata([_I32(1)])
    for offset in range(0, n_bytes, 64):
        value = builder.load(builder.inttoptr(builder.add(source, I64(offset)), line.as_pointer()), align=64)
        store = builder.store(value, builder.inttoptr(builder.add(target, I64(offset)), line.as_pointer()), align=64)
        store.set_metadata("nontemporal", hint)
