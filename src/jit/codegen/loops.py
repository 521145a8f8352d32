"""Loop nests: a fused group as the source of one or two range kernels.

Four shapes of nest cover all groups. *Map*: no reduction; the range is over elements. *Rows*: the innermost dimension
is reduced; the range is over rows, and each row may be swept several times while it is in cache (softmax: maximum, sum,
quotient). *Columns*: the innermost dimension is kept; the range is over blocks of columns, with one accumulator per
column on the stack. *Split*: few results of a long reduction; a first kernel reduces chunks of fixed size in parallel,
a second one combines them. The order of every sum is fixed by the sizes alone.
"""

from collections.abc import Callable

from ...ir.core import Value
from ...ir.dims import Dim, substitute
from ...ir.dtypes import DType
from ...ir.types import TensorType
from ..expected_sizes import expected_size
from .borders import inside_and_border
from .buffered import buffers_of
from .columns import Columns, ceil_div
from .elements import Elements
from .groups import Group, own_cost
from .image_layout import position
from .indexing import Indices, Loop, coefficient, element_count, terms
from .inline import INLINE
from .kernel_text import Text
from .nest import Launch, Nest, Temporary
from .rows import Rows
from .scalar_code import Code, cast, pointer_kind
from .segments import loop_in_segments
from .splits import Split
from .target import host_target
from .transposing import lower_transposed_copy
from .turned_rows import TurnedRows

__all__ = ["Launch", "Temporary", "lower_group"]

# The edge of the tiles in which transposed operands are read, and of the blocks that registers transpose.
_TILE, _BLOCK = 32, 8
# Up to so many elements, rows are not cut.
_WHOLE_ROW = 64
# The cost of an exponential and more: there gathered vectors are better than single elements.
_MUCH = 10
# Elements of these bytes are moved in blocks as this type, so many by so many: whatever they are.
_MOVED_AS = {8: ("f64", 8), 4: ("f32", 8), 2: ("i16", 8), 1: ("u8", 16)}
# Kernels of at most this cost write their outputs past the caches, so many elements at a time, where what they read and
# write is more than this and does not fit into the last cache.
_STREAMED_COST, _STREAMED, _STREAMED_BYTES = 12, 64, 1 << 24
# As many of them as the stack buffer of the micro-kernels holds.
_MOST_TILES = 4


def lower_group(group: Group, storage: Callable[[Value], Value]) -> list[Launch]:
    """The kernels of a group, in order. `storage` maps a value to the stored value in whose memory it lies."""
    if not group.reductions:
        return [_Map(group, storage).lower_map()]
    split = Split(group, storage)
    if split.should_split():
        return split.lower_split()
    if not split.reduced or split.loops[-1].reduced:
        turned = TurnedRows(group, storage)
        return [turned.lower_turned() if turned.should_turn() else Rows(group, storage).lower_rows()]
    return [Columns(group, storage).lower_columns()]


class _Map(Nest):
    """One item of the range is an element."""

    def lower_map(self) -> Launch:
        self.loops = self.interleaved()
        text, elements = self.start()
        if len(self.loops) > 1 and (found := self.transposed()) is not None:
            across, reads = found
            if len(reads) == 1 and (launch := lower_transposed_copy(self, text, across, *reads[0], self.storage)):
                return launch
            return self.lower_tiles(text, elements, across, reads)
        loops, short = self.loops, self.unrolled()
        if (buffers := buffers_of(self, short)) is not None:
            buffers.lower(text, elements)
            return self.finish(text, element_count([loop.extent for loop in loops]), 1)
        *outer, inner = loops[: len(loops) - len(short)] or [Loop("_", 1)]
        n = element_count([loop.extent for loop in (*outer, inner)])

        def store() -> None:
            self.nested(text, short, lambda: self.store_outputs(text, elements, loops))

        def along(first: str, stop: str) -> None:
            if loops:
                inside_and_border(
                    text,
                    elements,
                    inner.name,
                    first,
                    stop,
                    lambda a, b: loop_in_segments(text, inner.name, a, b, self.positions(), store),
                )
            else:
                with text.block(f"for _ in range({first}, {stop}):"):
                    store()

        if not outer and self.streams():
            self.lower_streaming(text, elements, inner)
        elif not outer:
            along("lo", "hi")
        elif not short and (expected_size(inner.extent) or _WHOLE_ROW + 1) <= _WHOLE_ROW:
            # An item is a row, so that LLVM knows how long it is.
            n = element_count([loop.extent for loop in outer])
            row = "row" if len(outer) > 1 else text.variable(outer[0].name)
            if len(outer) > 1:
                self.recover(text, outer, "lo")
            with text.block(f"for {row} in range(lo, hi):", {loop.name for loop in outer}):
                along("0", text.size(inner.extent))
                if all(own_cost(i) < _MUCH for i in self.group.instructions):
                    self.keep_rows(text)
                if len(outer) > 1:
                    self.advance(text, outer)
            short, self.unrolls = [inner], True
        else:
            size = text.size(inner.extent)
            with self.rows_of(text, outer, size, "lo", "hi") as row:
                along(f"max(lo - {row} * {size}, 0)", f"min(hi - {row} * {size}, {size})")
        stored: Dim = 0
        for value in self.group.outputs:
            stored = stored + element_count([loop.extent for loop in self.group.rows.get(value, ())])
        return self.finish(text, n, element_count([loop.extent for loop in short]) * stored)

    def keep_rows(self, text: Text) -> None:
        """A statement that keeps LLVM from vectorising across rows, which it would gather and scatter.

        No vector instruction fetches memory in advance, and the line of this address is in the cache.
        """
        target, _ = self.group.stores()[0]
        text.requirements.statements.append("from ingot.jit.codegen.microkernel import prefetch")
        text.line(f"prefetch({text.parameter('n', 'i64', 'address', self.storage(target))})")

    def streams(self) -> bool:
        """Whether the outputs may be so large that they had better not go through the caches.

        They are contiguous, and not what is read: that is in the cache when it is written. Their code is there twice,
        which takes long for kernels that compute much; and those are not bound by memory.
        """
        expected = expected_size(self.loops[0].extent) if len(self.loops) == 1 else None
        # Expected sizes are rounded down.
        if expected is None or 2 * expected < self.streamed_elements():
            return False
        read = {self.storage(value) for value in self.group.accesses if value not in self.group.inlined}
        outputs = self.group.stores()
        return self.cost <= _STREAMED_COST and all(
            coefficient(substitute(position(v, i), self.merged), self.loops[0].name) == 1
            and self.storage(v) not in read
            for v, i in outputs
        )

    def streamed_elements(self) -> int:
        """From how many elements on the outputs go past the caches."""
        (loop,) = self.loops
        stored = self.group.stores()
        read = [(v, i) for v, accesses in self.group.accesses.items() if v not in self.group.inlined for i in accesses]
        each = sum(
            value.type.dtype.itemsize
            for value, indices in (*stored, *read)
            if isinstance(value.type, TensorType)
            and coefficient(substitute(position(value, indices), self.merged), loop.name) not in (None, 0)
        )
        return max(_STREAMED_BYTES, host_target().l3_bytes * 5 // 4) // max(each, 1)

    def lower_streaming(self, text: Text, elements: Elements, loop: Loop) -> None:
        """A flat loop that writes large outputs in whole lines of the cache, past the caches.

        A store to memory that is not in the cache reads it first, which is a third of the traffic of `x + y`.
        """
        name = text.variable(loop.name)
        outputs = list(self.group.outputs.items())
        requirements = text.requirements.statements
        requirements.append("from ingot.jit.codegen.microkernel import stream_block, stream_end, tile_buffer")
        addresses, tiles, bytes_each = [], [], []
        text.line("tiles = tile_buffer()")
        for number, (value, indices) in enumerate(outputs):
            target, _ = self.group.placements.get(value, (value, indices))
            assert isinstance(target.type, TensorType)
            size = target.type.dtype.itemsize
            place = position(target, self.group.placements.get(value, (value, indices))[1])
            first = substitute(substitute(place, self.merged), {loop.name: 0})
            addresses.append(
                f"{text.parameter('n', 'i64', 'address', self.storage(target))} + ({text.index(first)}) * {size}"
            )
            statement = f"stream_{size * _STREAMED} = stream_block({size * _STREAMED})"
            if statement not in requirements:
                requirements.append(statement)
            tiles.append(text.fresh("t"))
            bytes_each.append(size)
            kind = pointer_kind(target.type.dtype)
            text.line(f"{tiles[-1]} = pointer_{kind}(tiles + {number * 8 * _STREAMED})")
        text.line("left = hi")
        text.line("right = hi")
        misaligned = " | ".join(f"({address})" for address in addresses)
        enough = f"{text.size(loop.extent)} >= {self.streamed_elements()}"
        with text.block(f"if {enough} and ({misaligned}) % 64 == 0:"):
            text.line(f"left = min((lo + {_STREAMED - 1}) // {_STREAMED} * {_STREAMED}, hi)")
            text.line(f"right = max(hi // {_STREAMED} * {_STREAMED}, left)")
        with text.block(f"for block in range(left, right, {_STREAMED}):"):
            with text.block(f"for {name} in range(block, block + {_STREAMED}):", {loop.name}):
                for (value, indices), tile in zip(outputs, tiles, strict=True):
                    target, _ = self.group.placements.get(value, (value, indices))
                    assert isinstance(target.type, TensorType)
                    code = cast(elements.element(value, indices), target.type.dtype, text.requirements)
                    text.store(tile, f"{name} - block", code)
            for number, (address, size) in enumerate(zip(addresses, bytes_each, strict=True)):
                text.line(f"stream_{size * _STREAMED}({address} + block * {size}, tiles + {number * 8 * _STREAMED})")
        with text.block("if right > left:"):
            text.line("stream_end()")
        with text.block("for part in range(2):"):
            text.line("first = lo if part == 0 else right")
            text.line("stop = left if part == 0 else hi")
            with text.block(f"for {name} in range(first, stop):", {loop.name}):
                self.store_outputs(text, elements, self.loops)

    def interleaved(self) -> list[Loop]:
        """The loops, a short one innermost where what it runs over lies interleaved: the channels of an image's pixels.

        Whole pixels are then read at once, though each channel is stored somewhere else.
        """
        inner = self.loops[-1] if self.loops else None
        if inner is None or _is_short(inner) or self.group.rows:
            return self.loops
        places = [substitute(p, self.merged) for p in self.positions()]
        for loop in self.loops[:-1]:
            size = expected_size(loop.extent) or 0
            if not 1 < size <= _BLOCK:
                continue
            for place in places:
                step = coefficient(place, inner.name)
                if step is not None and expected_size(step) == size and coefficient(place, loop.name) == 1:
                    return [other for other in self.loops if other is not loop] + [loop]
        return self.loops

    def unrolled(self) -> list[Loop]:
        """The innermost loops that are so short that LLVM shall unroll them, and vectorise the one around them.

        Where a size is not known, what is expected counts: the loops are right for all.
        """
        loops = list(self.loops)
        count = 1
        short: list[Loop] = []
        while len(loops) > 1 and 0 < count * (expected_size(loops[-1].extent) or 0) <= _BLOCK:
            short.insert(0, loops.pop())
            count *= expected_size(short[0].extent) or 1
        return short

    def rows(self) -> list[Loop]:
        return self.unrolled()

    def transposed(self) -> tuple[Loop, list[tuple[Value, Indices]]] | None:
        """A loop along which some operands are contiguous that the inner loop strides over, and those operands."""
        if self.group.rows:
            return None
        inner = self.loops[-1]
        found: dict[str, list[tuple[Value, Indices]]] = {}
        guarded = self.guarded()
        for value, accesses in self.group.accesses.items():
            if (
                value in guarded
                or value in self.group.inlined
                or (value in self.group.outputs and value not in self.group.placements)
            ):
                continue
            assert isinstance(value.type, TensorType)
            if value.type.dtype.itemsize not in _MOVED_AS:
                continue
            for indices in accesses:
                place = substitute(position(value, indices), self.merged)
                step = coefficient(place, inner.name)
                if step in (None, 0, 1) or any(not isinstance(p, int) and not p.is_symbol() for p, _ in terms(place)):
                    continue
                for loop in self.loops[:-1]:
                    if coefficient(place, loop.name) == 1:
                        found.setdefault(loop.name, []).append((value, indices))
        if not found or _is_short(inner):
            return None
        name = max(found, key=lambda n: len(found[n]))
        loop = next(x for x in self.loops if x.name == name)
        return None if _is_short(loop) or len(found[name]) > _MOST_TILES else (loop, found[name])

    def guarded(self) -> set[Value]:
        """What a border or a window reads, itself or through views: it may lie outside, and is read conditionally."""
        seen: set[Value] = set()
        pending = [o for i in self.group.instructions if i.op.name in INLINE for o in i.inputs]
        while pending:
            value = pending.pop()
            if value not in seen:
                seen.add(value)
                if value in self.group.inlined and value.instruction is not None:
                    pending.extend(value.instruction.inputs)
        return seen

    def lower_tiles(self, text: Text, elements: Elements, across: Loop, reads: list[tuple[Value, Indices]]) -> Launch:
        """Tiles of two loops: operands that lie across are first read along themselves, into a tile on the stack."""
        inner = self.loops[-1]
        others = [loop for loop in self.loops[:-1] if loop is not across]
        i, j = text.variable(inner.name), text.variable(across.name)
        edge = tile_edge(reads)
        tiles = []
        text.requirements.statements.append("from ingot.jit.codegen.microkernel import tile_buffer, transpose_block")
        text.line("tiles = tile_buffer()")
        for number, (value, _) in enumerate(reads):
            assert isinstance(value.type, TensorType)
            tiles.append(text.fresh("t"))
            text.line(f"{tiles[-1]} = pointer_{pointer_kind(value.type.dtype)}(tiles + {number * edge * edge * 8})")
        columns, rows = ceil_div(inner.extent, edge), ceil_div(across.extent, edge)
        with text.block("for item in range(lo, hi):", {loop.name for loop in others}):
            text.line(f"left = item % {text.size(columns)} * {edge}")
            text.line(f"right = min(left + {edge}, {text.size(inner.extent)})")
            text.line(f"top = item // {text.size(columns)} % {text.size(rows)} * {edge}")
            text.line(f"bottom = min(top + {edge}, {text.size(across.extent)})")
            text.line(f"rest = item // ({text.size(columns)} * {text.size(rows)})")
            self.recover(text, others, "rest")
            for number, (value, indices) in enumerate(reads):
                self.fill_tile(text, elements, across, value, indices, tiles[number], number, edge)
            for (value, indices), tile in zip(reads, tiles, strict=True):
                assert isinstance(value.type, TensorType)

                def load(tile: str = tile, dtype: DType = value.type.dtype) -> Code:
                    loaded = text.load(tile, f"({j} - top) * {edge} + {i} - left", dtype)
                    return text.assign(text.scope, loaded, dtype)

                elements.overrides[value, indices] = load
            with (
                text.block(f"for {j} in range(top, bottom):", {across.name}),
                text.block(f"for {i} in range(left, right):", {inner.name}),
            ):
                self.store_outputs(text, elements, self.loops)
        count = element_count([loop.extent for loop in others])
        return self.finish(text, count * rows * columns, edge * edge)

    def fill_tile(
        self,
        text: Text,
        elements: Elements,
        across: Loop,
        value: Value,
        indices: Indices,
        tile: str,
        number: int,
        edge: int,
    ) -> None:
        """Read an operand's tile along itself: in blocks that are transposed in registers, and what they leave over."""
        assert isinstance(value.type, TensorType)
        dtype, inner = value.type.dtype, self.loops[-1]
        i, j = text.variable(inner.name), text.variable(across.name)
        place = substitute(position(value, indices), self.merged)
        step = coefficient(place, inner.name)
        assert step is not None
        size = dtype.itemsize
        kind, block = _MOVED_AS[size]
        transpose = f"transpose_{kind}"
        statement = f"{transpose} = transpose_block({kind!r}, {block})"
        if statement not in text.requirements.statements:
            text.requirements.statements.append(statement)
        address = text.parameter("n", "i64", "address", elements.storage(value))
        text.line(f"right_blocks, bottom_blocks = right - (right - left) % {block}, bottom - (bottom - top) % {block}")
        with (
            text.block(f"for {i} in range(left, right_blocks, {block}):", {inner.name}),
            text.block(f"for {j} in range(top, bottom_blocks, {block}):", {across.name}),
        ):
            text.line(
                f"{transpose}({address} + ({text.index(place)}) * {size}, {text.size(step)} * {size}, "
                f"tiles + {number * edge * edge * 8} + (({j} - top) * {edge} + {i} - left) * {size}, "
                f"{edge * size})"
            )
        with text.block(f"for {i} in range(left, right):", {inner.name}):
            text.line(f"first = bottom_blocks if {i} < right_blocks else top")
            with text.block(f"for {j} in range(first, bottom):", {across.name}):
                code = elements.load(value, indices)
                text.store(tile, f"({j} - top) * {edge} + {i} - left", code)


def tile_edge(reads: list[tuple[Value, Indices]]) -> int:
    """The edge of the tiles: long runs of memory where the tiles of all operands leave room for them in L1."""
    types = [value.type for value, _ in reads if isinstance(value.type, TensorType)]
    return 2 * _TILE if len(types) == 1 and types[0].dtype.itemsize <= 4 else _TILE


def _is_short(loop: Loop) -> bool:
    """Whether tiles of a loop would be mostly empty."""
    size = expected_size(loop.extent)
    return size is not None and size < _BLOCK
