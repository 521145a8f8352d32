"""Columns: the innermost dimension is kept, and each column has an accumulator on the stack."""

from collections.abc import Sequence

from ...ir import dtypes
from ...ir.core import Value
from ...ir.dims import Dim
from ...ir.types import TensorType
from .elements import Elements
from .indexing import Loop, element_count
from .kernel_text import Text
from .nest import Launch, Nest, Stage
from .scalar_code import Code

__all__ = ["COLUMNS", "Columns", "ceil_div"]

# Columns that one item of a column reduction handles: their accumulators stay in L1.
COLUMNS = 256


def ceil_div(a: Dim, b: int) -> Dim:
    """The quotient rounded up."""
    return (a + (b - 1)) // b


class Columns(Nest):
    """One item of the range is a block of columns."""

    def lower_columns(self) -> Launch:
        text, elements = self.start()
        *outer, column = self.kept
        blocks = ceil_div(column.extent, COLUMNS)
        item = "item"
        arrays = self.column_arrays(text)
        with text.block(f"for {item} in range(lo, hi):", {loop.name for loop in outer}):
            self.open_columns(text, outer, column, blocks, item)
            self.column_stages(text, elements, arrays, column)
            with text.block(self.columns_header(text, column), {column.name}):
                self.store_outputs(text, elements, self.kept)
        n = element_count([loop.extent for loop in outer]) * blocks
        rows = element_count([loop.extent for loop in self.reduced])
        return self.finish(text, n, rows * COLUMNS)

    def column_arrays(self, text: Text) -> dict[Value, str]:
        """One accumulator per column and reduction, on the stack."""
        arrays: dict[Value, str] = {}
        for value in self.group.reductions:
            arrays[value] = text.fresh("a")
            text.line(f"{arrays[value]} = {self.stack(text, value)}({COLUMNS})")
        return arrays

    def stack(self, text: Text, value: Value) -> str:
        _, _, dtype = self.reduction_parts(value)
        kind = dtype.short if dtype.kind == "f" else "i64"
        text.requirements.helpers.add(f"stack_{kind}")
        return f"stack_{kind}"

    def open_columns(self, text: Text, outer: Sequence[Loop], column: Loop, blocks: Dim, item: str) -> None:
        size = text.size(blocks)
        if outer:
            row = "row" if len(outer) > 1 else text.variable(outer[0].name)
            text.line(f"{row} = {item} // {size}")
            text.line(f"first = {item} % {size} * {COLUMNS}")
            if len(outer) > 1:
                self.recover(text, outer, "row")
        else:
            text.line(f"first = {item} * {COLUMNS}")
        text.line(f"last = min(first + {COLUMNS}, {text.size(column.extent)})")

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
        name = text.variable(column.name)
        for stage in self.stages():
            with text.block(self.columns_header(text, column), {column.name}):
                for value in stage.reductions:
                    text.line(f"{arrays[value]}[{name} - first] = {self.initial(elements, value)}")

            def innermost(stage: Stage = stage) -> None:
                with text.block(self.columns_header(text, column), {column.name}):
                    self.store_swept(text, elements, stage)
                    for value in stage.reductions:
                        code = self.mapped(elements, value)
                        place = f"{arrays[value]}[{name} - first]"
                        current = self.accumulator(value, place)
                        joined = self.combine(elements, value, current, code.text, free_order=False)
                        text.line(f"{place} = {self.stored(text, value, joined)}")

            if bounds is None:
                self.nested(text, self.reduced, innermost)
            else:
                loop = self.reduced[0]
                with text.block(f"for {text.variable(loop.name)} in range({bounds[0]}, {bounds[1]}):", {loop.name}):
                    self.nested(text, self.reduced[1:], innermost)
            self.done.update(self.swept_outputs(stage))
            if not finish:
                continue
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
