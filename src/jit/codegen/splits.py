"""Few results of a long reduction: chunks are reduced in parallel, then joined in their order."""

from ...ir.dims import Dim, dim_min
from ..fast_reductions import are_reductions_fast
from .columns import COLUMNS, Columns, ceil_div
from .elements import Elements, describe
from .indexing import Loop, element_count, flat_index
from .kernel_text import Text
from .nest import Launch, Stage, Temporary
from .rows import Rows
from .scalar_code import Code

__all__ = ["Split"]

# Elements that one item of a split reduction sums.
_CHUNK = 16384


class Split(Rows, Columns):
    """Chunks of a long reduction in a first kernel, which a second one joins."""

    def should_split(self) -> bool:
        """Few results and much to reduce: too little parallel work without cutting the reduction."""
        if not self.reduced or len(self.stages()) != 1:
            return False
        if any(self.level(i) != frozenset(loop.name for loop in self.kept) for i in self.group.outputs.values()):
            return False
        if self.loops[-1].reduced:
            items = element_count([loop.extent for loop in self.kept])
        else:
            outer = element_count([loop.extent for loop in self.kept[:-1]])
            items = outer * ceil_div(self.kept[-1].extent, COLUMNS)
        work = element_count([loop.extent for loop in self.loops])
        return isinstance(items, int) and 0 < items < 16 and not (isinstance(work, int) and work <= 4 * _CHUNK)

    def cut_by_threads(self) -> bool:
        """Whether everything is reduced, and threads may decide where it is cut."""
        return are_reductions_fast() and not self.kept

    def lower_split(self) -> list[Launch]:
        columns = not self.loops[-1].reduced
        first = self.reduced[0]
        inner = element_count([loop.extent for loop in self.reduced[1:]])
        if columns:
            inner = inner * dim_min(self.kept[-1].extent, COLUMNS)
        length = _CHUNK // inner + 1 if isinstance(inner, int) and inner else _CHUNK // (inner + 1) + 1
        if inner == 1:
            length = _CHUNK
        chunks = (first.extent + (length - 1)) // length
        per_chunk = element_count([loop.extent for loop in self.kept])
        temporaries = [Temporary(chunks * per_chunk, self.reduction_parts(v)[2]) for v in self.group.reductions]
        lower = self.split_columns if columns else self.split_rows
        launches = lower(first, length, chunks)
        for launch in launches:
            launch.temporaries = temporaries
        return launches

    def chunk_bounds(self, text: Text, first: Loop, length: Dim) -> tuple[str, str]:
        text.line(f"start = chunk * {text.size(length)}")
        text.line(f"stop = min(start + {text.size(length)}, {text.size(first.extent)})")
        return "start", "stop"

    def split_rows(self, first: Loop, length: Dim, chunks: Dim) -> list[Launch]:
        stage = self.stages()[0]
        text, elements = self.start()
        rows = element_count([loop.extent for loop in self.kept])
        by_threads = self.cut_by_threads()
        # Cut by threads, the whole range is one chunk, whose result takes the place of the first one's.
        header = "for item in range(lo, min(lo + 1, hi)):" if by_threads else "for item in range(lo, hi):"
        with text.block(header, {loop.name for loop in self.kept}):
            if self.kept:
                text.line(f"row = item // {text.size(chunks)}")
                text.line(f"chunk = item % {text.size(chunks)}")
                self.recover(text, self.kept, "row")
            else:
                text.line("chunk = item")
            bounds = self.chunk_bounds(text, first, length)
            if by_threads:
                text.line(f"stop = min(hi * {text.size(length)}, {text.size(first.extent)})")
            accumulators = {}
            for value in stage.reductions:
                instruction, _, dtype = self.reduction_parts(value)
                start = self.initial(elements, value)
                accumulators[value] = text.assign(text.scope, start, dtype, describe(instruction), "a").text
            self.sweep(text, elements, stage, accumulators, self.reduced, None, bounds)
            for number, value in enumerate(stage.reductions):
                _, _, dtype = self.reduction_parts(value)
                text.store(text.temporary(number, dtype), "item", Code(accumulators[value], dtype))
        if by_threads:
            with text.block("for item in range(lo + 1, hi):"):
                for number, value in enumerate(stage.reductions):
                    _, _, dtype = self.reduction_parts(value)
                    text.store(text.temporary(number, dtype), "item", Code(self.initial(elements, value), dtype))
        per_item = element_count([length, *(loop.extent for loop in self.reduced[1:])])
        launches = [self.finish(text, rows * chunks, per_item, f"{self.stem}_chunks", f"{self.title}, in chunks")]
        if by_threads:
            launches[0].note = f"{self.title}: cut by threads (jit.fast_reductions), whose number decides how it rounds"
        text, elements = self.start()
        kept = {loop.name for loop in self.kept}
        with text.block("for row in range(lo, hi):", kept):
            self.recover(text, self.kept, "row")
            self.combine_chunks(text, elements, stage, f"row * {text.size(chunks)} + chunk", chunks)
            self.store_outputs(text, elements, self.kept)
        launches.append(self.finish(text, rows, chunks, f"{self.stem}_join", f"{self.title}, chunks joined"))
        return launches

    def combine_chunks(self, text: Text, elements: Elements, stage: Stage, place: str, chunks: Dim) -> None:
        """Join the results of the chunks in order and finish the reductions."""
        accumulators = {}
        for value in stage.reductions:
            instruction, _, dtype = self.reduction_parts(value)
            start = self.initial(elements, value)
            accumulators[value] = text.assign(text.scope, start, dtype, describe(instruction), "a").text
        with text.block(f"for chunk in range({text.size(chunks)}):"):
            for number, value in enumerate(stage.reductions):
                _, _, dtype = self.reduction_parts(value)
                loaded = text.load(text.temporary(number, dtype), place, dtype)
                joined = self.combine(elements, value, accumulators[value], loaded, free_order=False)
                text.line(f"{accumulators[value]} = {joined}")
        for value, accumulator in accumulators.items():
            code = self.complete(elements, value, accumulator)
            if code.text != accumulator:
                code = text.assign(text.scope, code.text, code.dtype, "", "r")
            text.scope.memo[value, self.kept_indices(value)] = code

    def split_columns(self, first: Loop, length: Dim, chunks: Dim) -> list[Launch]:
        stage = self.stages()[0]
        *outer, column = self.kept
        blocks = ceil_div(column.extent, COLUMNS)
        rows = element_count([loop.extent for loop in outer])
        text, elements = self.start()
        arrays = self.column_arrays(text)
        with text.block("for item in range(lo, hi):", {loop.name for loop in outer}):
            text.line(f"chunk = item // {text.size(rows * blocks)}")
            text.line(f"block = item % {text.size(rows * blocks)}")
            self.open_columns(text, outer, column, blocks, "block", COLUMNS)
            bounds = self.chunk_bounds(text, first, length)
            self.column_stages(text, elements, arrays, column, bounds, finish=False)
            name = text.variable(column.name)
            position = flat_index([loop.variable for loop in self.kept], [loop.extent for loop in self.kept])
            per_chunk = element_count([loop.extent for loop in self.kept])
            with text.block(self.columns_header(text, column), {column.name}):
                for number, value in enumerate(stage.reductions):
                    _, _, dtype = self.reduction_parts(value)
                    code = Code(self.accumulator(value, f"{arrays[value]}[{name} - first]"), dtype)
                    place = f"chunk * {text.size(per_chunk)} + {text.index(position)}"
                    text.store(text.temporary(number, dtype), place, code)
        per_item = element_count([length, *(loop.extent for loop in self.reduced[1:])]) * COLUMNS
        launches = [
            self.finish(text, chunks * rows * blocks, per_item, f"{self.stem}_chunks", f"{self.title}, in chunks")
        ]
        text, elements = self.start()
        kept = {loop.name for loop in self.kept}
        with text.block("for row in range(lo, hi):", kept):
            self.recover(text, self.kept, "row")
            per = text.size(element_count([loop.extent for loop in self.kept]))
            self.combine_chunks(text, elements, stage, f"chunk * {per} + row", chunks)
            self.store_outputs(text, elements, self.kept)
        launches.append(
            self.finish(text, rows * column.extent, chunks, f"{self.stem}_join", f"{self.title}, chunks joined")
        )
        return launches
