"""Columns: the innermost dimension is kept, and each column has an accumulator on the stack."""

import os
from collections.abc import Sequence

from ...ir import dtypes
from ...ir.core import Value
from ...ir.dims import Dim, dim_max, dim_min, substitute
from ...ir.ops._op import Elementwise, View
from ...ir.types import TensorType
from ..expected_sizes import SHORT, expected_size
from .elements import Elements
from .fusion import own_cost
from .image_layout import position
from .indexing import Loop, element_count
from .kernel_text import Text
from .nest import Launch, Nest, Stage, move_together
from .scalar_code import Code

__all__ = ["COLUMNS", "Columns", "ceil_div"]

# Columns that one item of a scan or of a chunk handles.
COLUMNS = 256
# The bytes of accumulators of one item of a column reduction: they stay in L1, and rows are read in long runs.
_ACCUMULATORS = 16 << 10
# Items are narrower where there would be fewer than this (the processors, but two to four), down to a number of columns
# whose runs still stream: a thread reads memory the faster the longer its runs are. How wide they are changes no sum.
_ITEMS, _FEWEST = min(max(os.cpu_count() or 1, 2), 4), 512
# Rows that items narrower than a row read side by side (each in streams of its own, which hides memory's latency), and
# operations on an element up to which that pays. Whole rows are read one after the other, as they lie.
_ROWS_AT_ONCE, _CHEAP = 4, 8
# Where rows are short and lie one behind the other, as many as have this many elements in all are added as one.
_FLAT = 256


def ceil_div(a: Dim, b: int) -> Dim:
    """The quotient rounded up."""
    return (a + (b - 1)) // b


class Columns(Nest):
    """One item of the range is a block of columns."""

    def lower_columns(self) -> Launch:
        text, elements = self.start()
        *outer, column = self.kept
        width = self.width(outer, column)
        blocks = (column.extent + width - 1) // width
        item = "item"
        arrays = self.column_arrays(text)
        with text.block(f"for {item} in range(lo, hi):", {loop.name for loop in outer}):
            self.open_columns(text, outer, column, blocks, item, width)
            self.column_stages(text, elements, arrays, column)
            with text.block(self.columns_header(text, column), {column.name}):
                self.store_outputs(text, elements, self.kept)
        n = element_count([loop.extent for loop in outer]) * blocks
        rows = element_count([loop.extent for loop in self.reduced])
        return self.finish(text, n, rows * width)

    def width(self, outer: Sequence[Loop], column: Loop) -> Dim:
        """The columns of an item, from the sizes alone."""
        columns = element_count([loop.extent for loop in outer]) * column.extent
        return dim_min(dim_max(ceil_div(columns, _ITEMS * _FEWEST) * _FEWEST, _FEWEST), self.most_columns())

    def short_column(self) -> int | None:
        """The expected number of columns, where it is so small that vectors run along what is reduced instead."""
        if len(self.reduced) != 1 or not self.kept or self.loops[-1].reduced:
            return None
        size = expected_size(self.kept[-1].extent)
        flat = all(self.lies_flat(stage, self.reduced[0], self.kept[-1]) for stage in self.stages())
        return None if flat or size is None or size > SHORT else size

    def rows(self) -> list[Loop]:
        return [self.kept[-1]] if self.short_column() is not None else super().rows()

    def most_columns(self) -> int:
        """The most columns that an item can have."""
        sizes = [self.reduction_parts(value)[2] for value in self.group.reductions]
        return max(_ACCUMULATORS // sum(d.itemsize if d.kind == "f" else 8 for d in sizes) // 64 * 64, COLUMNS)

    def column_arrays(self, text: Text) -> dict[Value, str]:
        """One accumulator per column and reduction, on the stack."""
        arrays: dict[Value, str] = {}
        for value in self.group.reductions:
            arrays[value] = text.fresh("a")
            text.line(f"{arrays[value]} = {self.stack(text, value)}({self.most_columns()})")
        return arrays

    def stack(self, text: Text, value: Value) -> str:
        _, _, dtype = self.reduction_parts(value)
        kind = dtype.short if dtype.kind == "f" else "i64"
        text.requirements.helpers.add(f"stack_{kind}")
        return f"stack_{kind}"

    def open_columns(self, text: Text, outer: Sequence[Loop], column: Loop, blocks: Dim, item: str, width: Dim) -> None:
        size, step = text.size(blocks), text.size(width)
        if self.short_column() is not None:
            # Where the columns are a known few, so are the bounds of their loop, which LLVM then unrolls.
            text.line(f"blocks = {size} if {text.size(column.extent)} > {SHORT} else 1")
            size = "blocks"
        if outer:
            row = "row" if len(outer) > 1 else text.variable(outer[0].name)
            text.line(f"{row} = {item} // {size}")
            text.line(f"first = {item} % {size} * {step}")
            if len(outer) > 1:
                self.recover(text, outer, "row")
        else:
            text.line(f"first = {item} * {step}")
        last = f"min(first + {step}, {text.size(column.extent)})"
        text.line(
            f"last = {last}" if size != "blocks" else f"last = {text.size(column.extent)} if blocks == 1 else {last}"
        )

    def columns_header(self, text: Text, column: Loop) -> str:
        return f"for {text.variable(column.name)} in range(first, last):"

    def column_stages(
        self,
        text: Text,
        elements: Elements,
        arrays: dict[Value, str],
        column: Loop,
        bounds: tuple[str, str] | None = None,
        *,
        finish: bool = True,
    ) -> None:
        """Every stage: clear the accumulators, sweep the reduced loops, and finish."""
        for stage in self.stages():
            self.clear(text, elements, stage, arrays, column)
            self.sweep_rows(text, elements, stage, arrays, column, self.reduced, bounds)
            self.done.update(self.swept_outputs(stage))
            if finish:
                self.finish_stage(text, elements, stage, arrays, column)

    def clear(self, text: Text, elements: Elements, stage: Stage, arrays: dict[Value, str], column: Loop) -> None:
        """Give the accumulators of a stage their first values."""
        name = text.variable(column.name)
        with text.block(self.columns_header(text, column), {column.name}):
            for value in stage.reductions:
                text.line(f"{arrays[value]}[{name} - first] = {self.initial(elements, value)}")

    def finish_stage(
        self, text: Text, elements: Elements, stage: Stage, arrays: dict[Value, str], column: Loop
    ) -> None:
        """Make the results of a stage from its accumulators, for what reads them."""
        name = text.variable(column.name)
        if any(self.is_finished_later(v) for v in stage.reductions):
            with text.block(self.columns_header(text, column), {column.name}):
                for value in stage.reductions:
                    place = f"{arrays[value]}[{name} - first]"
                    code = self.complete(elements, value, self.accumulator(value, place))
                    text.line(f"{place} = {self.stored(text, value, code.text)}")
        for value in stage.reductions:
            _, _, dtype = self.reduction_parts(value)
            place = f"{arrays[value]}[{name} - first]"
            code = Code(self.accumulator(value, place), dtype)
            elements.overridden[value] = lambda indices, code=code: code  # type: ignore[misc]

    def sweep_rows(
        self,
        text: Text,
        elements: Elements,
        stage: Stage,
        arrays: dict[Value, str],
        column: Loop,
        loops: Sequence[Loop],
        bounds: tuple[str, str] | None,
    ) -> None:
        """The loops over what is reduced; the innermost handles several rows at once where that is cheap."""
        loop = loops[0]
        name = text.variable(loop.name)
        start, stop = bounds or ("0", text.size(loop.extent))
        if len(loops) > 1:
            with text.block(f"for {name} in range({start}, {stop}):", {loop.name}):
                self.sweep_rows(text, elements, stage, arrays, column, loops[1:], None)
            return
        if not self.swept_outputs(stage) and self.is_cheap(stage):
            width = text.size(column.extent)
            if self.lies_flat(stage, loop, column):
                start = self.sweep_flat(text, elements, stage, arrays, column, loop, (start, stop))
            length = stop if start == "0" else f"({stop} - {start})"
            text.line(f"whole = {start} if last - first == {width} else {stop} - {length} % {_ROWS_AT_ONCE}")
            with text.block(f"for {name} in range({start}, whole, {_ROWS_AT_ONCE}):", {loop.name}):
                rows = [name, *(f"{name}_{number}" for number in range(1, _ROWS_AT_ONCE))]
                for number, row in enumerate(rows[1:], 1):
                    text.line(f"{row} = {name} + {number}")
                with text.block(self.columns_header(text, column), {column.name}):
                    self.add_rows(text, elements, stage, arrays, column, loop, rows)
            start = "whole"
        with (
            text.block(f"for {name} in range({start}, {stop}):", {loop.name}),
            text.block(self.columns_header(text, column), {column.name}),
        ):
            self.store_swept(text, elements, stage)
            self.add_rows(text, elements, stage, arrays, column, loop, [name])

    def lies_flat(self, stage: Stage, loop: Loop, column: Loop) -> bool:
        """Whether all that a stage reads lies row behind row, so that several rows can be read as one long row."""
        for value in self.reach(self.operands([stage])):
            instruction = value.instruction
            if instruction is None or not isinstance(instruction.op.lower, (Elementwise, View)):
                return False
            if any(operand in self.group.reductions for operand in instruction.inputs):
                return False
        places = [
            substitute(position(value, indices), self.merged)
            for value, accesses in self.group.accesses.items()
            if value not in self.group.inlined and value not in self.group.reductions
            for indices in accesses
        ]
        return all(move_together(place, loop, column) for place in places)

    def sweep_flat(
        self,
        text: Text,
        elements: Elements,
        stage: Stage,
        arrays: dict[Value, str],
        column: Loop,
        loop: Loop,
        bounds: tuple[str, str],
    ) -> str:
        """Several short rows at a time, as one with an accumulator per element; gives the row to go on from."""
        start, stop = bounds
        name, row, width = text.variable(column.name), text.variable(loop.name), text.size(column.extent)
        text.line(f"several = {min(_FLAT, self.most_columns())} // max({width}, 1) if last - first == {width} else 0")
        text.line(f"rest = {start}")
        with text.condition("if several > 1:"):
            with text.block(f"for {name} in range({width}, several * {width}):", {column.name}):
                for value in stage.reductions:
                    text.line(f"{arrays[value]}[{name}] = {self.initial(elements, value)}")
            text.line(f"rest = {stop} - ({stop} - {start}) % several")
            with (
                text.block(f"for {row} in range({start}, rest, several):", {loop.name}),
                text.block(f"for {name} in range(several * {width}):", {column.name}),
            ):
                self.add_rows(text, elements, stage, arrays, column, loop, [row])
            with (
                text.block("for part in range(1, several):"),
                text.block(f"for {name} in range({width}):", {column.name}),
            ):
                for value in stage.reductions:
                    places = [f"{arrays[value]}[{at}]" for at in (name, f"part * {width} + {name}")]
                    total, more = (self.accumulator(value, place) for place in places)
                    joined = self.combine(elements, value, total, more, free_order=False)
                    text.line(f"{places[0]} = {self.stored(text, value, joined)}")
        return "rest"

    def add_rows(
        self,
        text: Text,
        elements: Elements,
        stage: Stage,
        arrays: dict[Value, str],
        column: Loop,
        loop: Loop,
        rows: Sequence[str],
    ) -> None:
        """Accumulate the elements of some rows at the current column, in order; `rows` are the loop's values."""
        place = {value: f"{arrays[value]}[{text.variable(column.name)} - first]" for value in stage.reductions}
        current = {value: self.accumulator(value, place[value]) for value in stage.reductions}
        free = self.short_column() is not None
        for row in rows:
            text.names[loop.name] = row
            # What was computed for one row is not what another needs.
            known = [dict(scope.memo) for scope in text.scopes]
            for value in stage.reductions:
                _, _, dtype = self.reduction_parts(value)
                code = self.mapped(elements, value)
                joined = self.combine(elements, value, current[value], code.text, free_order=free)
                current[value] = joined if row == rows[-1] else text.assign(text.scope, joined, dtype, "", "c").text
            if len(rows) > 1:
                for scope, memo in zip(text.scopes, known, strict=True):
                    scope.memo = memo
        text.names[loop.name] = rows[0]
        for value in stage.reductions:
            text.line(f"{place[value]} = {self.stored(text, value, current[value])}")

    def is_cheap(self, stage: Stage) -> bool:
        """Whether the operands of a stage are little more than loads."""
        computed = self.reach(self.operands([stage]))
        return sum(own_cost(v.instruction) for v in computed if v.instruction is not None) <= _CHEAP

    def is_finished_later(self, value: Value) -> bool:
        """Whether a reduction's result is not its accumulator as it is."""
        _, lowering, dtype = self.reduction_parts(value)
        assert isinstance(value.type, TensorType)
        return lowering.finish != "{acc}" or dtype is not value.type.dtype

    def accumulator(self, value: Value, place: str) -> str:
        """An accumulator on the stack as a scalar of the reduction's dtype; integers are kept in 64 bits."""
        _, _, dtype = self.reduction_parts(value)
        if dtype.kind == "f" or dtype is dtypes.int64:
            return place
        return f"({place} != 0)" if dtype is dtypes.bool_ else f"np.{dtype.name}({place})"

    def stored(self, text: Text, value: Value, code: str) -> str:
        _, _, dtype = self.reduction_parts(value)
        if dtype.kind == "f" or dtype is dtypes.int64:
            return code
        text.requirements.helpers.add("as_i64")
        return f"as_i64({code})"
