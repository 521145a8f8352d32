"""Fused groups over rows not much longer than vectors: tiles of rows are turned, and vectors run across the rows."""

from collections.abc import Callable
from dataclasses import dataclass

from ...ir import dtypes
from ...ir.core import Value
from ...ir.dims import Dim, substitute
from ...ir.dtypes import DType
from ...ir.ops._op import Elementwise, Reduce, View
from ...ir.types import TensorType
from .columns import Columns
from .elements import Elements
from .fusion import own_cost
from .image_layout import position
from .indexing import Indices, Loop, coefficient, depends_on, element_count
from .inline import INLINE
from .kernel_text import Text
from .nest import Launch
from .rows import Rows, Spill
from .scalar_code import Code, cast
from .turning import LANES, are_turned, turning_statements

__all__ = ["TurnedRows"]

# Longer rows fill vectors well enough.
_LONGEST = 32
_TILE_BYTES = 32 << 10  # what the stack buffer of the micro-kernels holds
# Lanes without a row compute whatever they find: floats, which no value of theirs can stop.
_KINDS = (dtypes.float32, dtypes.float64)


@dataclass(frozen=True)
class _Tile:
    """A value of rows, or of one number for each row: where the first one begins, and how far the next one is."""

    value: Value
    indices: Indices
    start: Dim
    step: Dim
    dtype: DType
    is_row: bool


class TurnedRows(Rows, Columns):
    """One item of the range is a row; so many at a time lie beside each other in tiles."""

    def should_turn(self) -> bool:
        """Whether all that is read and stored are rows of a fit length, one number for each row, or one row for all."""
        if len(self.kept) != 1 or len(self.reduced) != 1 or not self.loops[-1].reduced:
            return False
        group = self.group
        if (
            not are_turned(self.reduced[0].extent, dtypes.float32, longest=_LONGEST)
            or group.placements
            or group.origin is not None
        ):
            return False
        if not all(isinstance(i.op.lower, (Elementwise, View, Reduce)) for i in group.instructions):
            return False
        tiles = self.tiles()
        return tiles is not None and len(tiles) > 0 and self.offset(tiles, len(tiles)) <= _TILE_BYTES

    def tiles(self) -> list[_Tile] | None:
        """The operands and results that are turned, operands first; None where something cannot be."""
        group, found = self.group, []
        row, inner = self.kept[0].name, self.reduced[0].name
        outputs = [(value, indices) for value, indices in group.outputs.items()]
        reads = [
            (value, indices)
            for value, accesses in group.accesses.items()
            if value not in group.inlined and value not in group.reductions and value not in group.outputs
            for indices in sorted(accesses, key=str)
        ]
        for value, indices in (*reads, *outputs):
            assert isinstance(value.type, TensorType)
            place = substitute(position(value, indices), self.merged)
            along, across = coefficient(place, inner), coefficient(place, row)
            if along is None or across is None:
                return None
            if across == 0 or (along == 0 and (value, indices) in outputs):
                continue  # a row for all rows, a number for all, or one that is stored for each
            if along not in (0, 1) or value.type.dtype not in _KINDS:
                return None
            start = substitute(substitute(place, {row: 0}), {inner: 0})
            found.append(_Tile(value, indices, start, across, value.type.dtype, along == 1))
        return found

    def offset(self, tiles: list[_Tile], number: int) -> int:
        """Where a tile begins, in bytes."""
        return sum((_LONGEST if t.is_row else 1) * LANES * t.dtype.itemsize for t in tiles[:number])

    def rows(self) -> list[Loop]:
        return []

    def most_columns(self) -> int:
        return LANES

    def columns_header(self, text: Text, column: Loop) -> str:
        return f"for {text.variable(column.name)} in range(first, first + {LANES}):"

    def lower_turned(self) -> Launch:
        text, elements = self.start()
        rows, length = element_count([loop.extent for loop in self.kept]), self.reduced[0].extent
        if isinstance(length, int):
            self.write_turned(text, elements)
        else:
            with text.block(f"if {text.size(length)} > {_LONGEST}:"):
                Rows(self.group, self.storage).write_rows(text, Elements(text, self.group, self.storage, INLINE))
            with text.block("else:"):
                self.write_turned(text, elements)
        return self.finish(text, rows, length)

    def write_turned(self, text: Text, elements: Elements) -> None:
        tiles = self.tiles()
        assert tiles is not None
        for statement in (s for dtype in dict.fromkeys(t.dtype for t in tiles) for s in turning_statements(dtype)):
            if statement not in text.requirements.statements:
                text.requirements.statements.append(statement)
        text.line("tile = tile_buffer()")
        self.tile_names: dict[tuple[Value, Indices], str] = {}
        for number, tile in enumerate(tiles):
            name = self.tile_names[tile.value, tile.indices] = text.fresh("t")
            text.line(f"{name} = pointer_{tile.dtype.short}(tile + {self.offset(tiles, number)})")
        arrays = self.column_arrays(text)
        self.kept_values: set[Value] = set()
        self.stacks: list[str] = []
        at = len(text.scope.lines)
        row, inner = self.kept[0], self.reduced[0]
        with text.block(f"for first in range(lo, hi, {LANES}):"):
            text.barrier = len(text.scopes) - 1
            text.line(f"last = min(first + {LANES}, hi)")
            for number, tile in enumerate(tiles):
                if tile.value not in self.group.outputs:
                    self.turn(text, elements, "turn_rows", tiles, number)
                    elements.overrides[tile.value, tile.indices] = self.loader(text, tile.value, tile.indices)
            self.write_stages(text, elements, arrays)
            with text.block(f"for {text.variable(row.name)} in range(first, last):", {row.name}):
                self.store_outputs(text, elements, self.kept)
            left = [i for v, i in self.group.outputs.items() if v not in self.done]
            if any(self.level(i) != frozenset({row.name}) for i in left):
                header = f"for {text.variable(inner.name)} in range({text.size(inner.extent)}):"
                with text.block(header, {inner.name}), text.block(self.columns_header(text, row), {row.name}):
                    self.store_outputs(text, elements, self.loops)
            for number, tile in enumerate(tiles):
                if tile.value in self.group.outputs:
                    self.turn(text, elements, "turn_back", tiles, number)
        text.scope.lines[at:at] = self.stacks

    def turn(self, text: Text, elements: Elements, function: str, tiles: list[_Tile], number: int) -> None:
        """Fill a tile from rows of memory, or those from a tile."""
        tile, length = tiles[number], text.size(self.reduced[0].extent)
        step = text.size(tile.step)
        if not tile.is_row:
            name, pointer = (
                self.tile_names[tile.value, tile.indices],
                text.pointer(self.storage(tile.value), tile.dtype),
            )
            with text.block("for c in range(last - first):"):
                text.line(f"{name}[c] = {pointer}[{text.index(tile.start)} + (first + c) * {step}]")
            return
        address = text.parameter("n", "i64", "address", self.storage(tile.value))
        start = f"({text.index(tile.start)} + first * {step}) * {tile.dtype.itemsize}"
        text.line(
            f"{function}_{tile.dtype.short}({address} + {start}, {step}, {length}, last - first, "
            f"tile + {self.offset(tiles, number)})"
        )

    def in_tile(self, text: Text) -> str:
        """The place of the current element in its tile."""
        row, inner = text.variable(self.kept[0].name), text.variable(self.reduced[0].name)
        return f"{inner} * {LANES} + {row} - first"

    def loader(self, text: Text, value: Value, indices: Indices) -> Callable[[], Code]:
        assert isinstance(value.type, TensorType)
        name, dtype = self.tile_names[value, indices], value.type.dtype
        row = self.kept[0].name
        inner = coefficient(substitute(position(value, indices), self.merged), self.reduced[0].name)
        place = f"{text.variable(row)} - first" if inner == 0 else self.in_tile(text)
        return lambda: text.assign(text.scope, f"{name}[{place}]", dtype)

    def row_place(self, text: Text, value: Value, indices: Indices) -> tuple[str, str]:
        return self.tile_names[value, indices], self.in_tile(text)

    def store_output(self, text: Text, elements: Elements, value: Value) -> Callable[[], Code]:
        indices = self.group.outputs[value]
        if (value, indices) not in self.tile_names:
            return super().store_output(text, elements, value)
        assert isinstance(value.type, TensorType)
        code = cast(elements.element(value, indices), value.type.dtype, text.requirements)
        text.store(self.tile_names[value, indices], self.in_tile(text), code)
        return self.loader(text, value, indices)

    def write_stages(self, text: Text, elements: Elements, arrays: dict[Value, str]) -> None:
        """Every stage: clear the accumulators, sweep the rows, and finish."""
        row, inner = self.kept[0], self.reduced[0]
        spill = Spill(self, elements)
        for number, stage in enumerate(self.stages()):
            self.clear(text, elements, stage, arrays, row)
            store = spill.of_stage(number)
            header = f"for {text.variable(inner.name)} in range({text.size(inner.extent)}):"
            with text.block(header, {inner.name}), text.block(self.columns_header(text, row), {row.name}):
                if store is not None:
                    store()
                self.store_swept(text, elements, stage)
                self.add_rows(text, elements, stage, arrays, row, inner, [text.variable(inner.name)])
            self.done.update(self.swept_outputs(stage))
            self.finish_stage(text, elements, stage, arrays, row)
            self.keep_row_values(text, elements, number)

    def keep_row_values(self, text: Text, elements: Elements, number: int) -> None:
        """Compute what depends on the reductions so far and on the row only, once for each row."""
        row = self.kept[0]
        known = {v for stage in self.stages()[: number + 1] for v in stage.reductions}
        for value in self.group.inlined:
            accesses = self.group.accesses.get(value, set())
            instruction = value.instruction
            if value in self.kept_values or instruction is None or own_cost(instruction) == 0 or len(accesses) != 1:
                continue
            (indices,) = accesses
            if depends_on(self.text_indices(text, indices)) != {row.name} or not self.needs(value) <= known:
                continue
            assert isinstance(value.type, TensorType)
            dtype = value.type.dtype
            if dtype not in _KINDS or not self.needs(value):
                continue
            name = text.fresh("b")
            text.requirements.helpers.add(f"stack_{dtype.short}")
            self.stacks.append(f"{name} = stack_{dtype.short}({LANES})")
            with text.block(self.columns_header(text, row), {row.name}):
                code = elements.element(value, indices)
                text.line(f"{name}[{text.variable(row.name)} - first] = {code.text}")
            self.kept_values.add(value)
            kept = Code(f"{name}[{text.variable(row.name)} - first]", dtype)
            elements.overridden[value] = lambda indices, kept=kept: kept  # type: ignore[misc]

    def text_indices(self, text: Text, indices: Indices) -> list[Dim]:
        return [text.resolve(i) for i in indices]

    def needs(self, value: Value) -> set[Value]:
        """The reductions that a value is computed from."""
        found: set[Value] = set()
        for v in self.reach([value]):
            assert v.instruction is not None
            found.update(o for o in v.instruction.inputs if o in self.group.reductions)
        return found
