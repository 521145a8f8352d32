"""Loop nests on a device: a fused group as the source of one or two kernels.

The shapes are those of the CPU path (`codegen.loops`). *Map*: a grid-stride loop over elements. *Rows*: a team of
threads, a warp or a block, for each row; what several sweeps read is kept in shared memory, where each thread finds
only what it put there itself. *Columns*: the innermost dimension is kept, a thread for each column. *Split*: few
results of a long reduction; a first kernel reduces chunks of fixed size, a second one joins them. No sum is made with
atomics: its order is fixed by the sizes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ....ir import dtypes
from ....ir.core import Value
from ....ir.dims import Dim
from ....ir.dtypes import DType
from ..elements import Elements, describe
from ..fusion import Group
from ..indexing import Loop, element_count
from ..inline import INLINE
from ..nest import Nest, Stage, Temporary
from ..scalar_code import Code
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid
from .keeping import Keeper
from .lanes import divisible_by, repeated, vector_form

__all__ = ["lower_device_group"]

# Elements that one team of a split reduction reduces.
_CHUNK = 16384
# Fewer rows than this leave most of a device idle, so that a long reduction is cut.
_FEW_ROWS = 128
_FEW_COLUMNS = 8192


def lower_device_group(
    group: Group, storage: Callable[[Value], Value], target: DeviceTarget
) -> tuple[list[DeviceKernel], list[Temporary]]:
    """The kernels of a group, in order, and the memory that they share. `storage` maps a value to the stored one."""
    if not group.reductions:
        return [_Map(group, storage, target).lower_map()], []
    nest = Reduced(group, storage, target)
    if nest.should_split():
        return nest.lower_split()
    if nest.reduced and not nest.loops[-1].reduced:
        return [nest.lower_columns()], []
    return [nest.lower_rows()], []


def chained(kernels: Sequence[DeviceKernel | None]) -> DeviceKernel:
    """Kernels that do the same, each of which is faster than the one before it, as one."""
    found = [kernel for kernel in kernels if kernel is not None]
    result = found.pop()
    while found:
        result = replace(found.pop(), faster=result)
    return result


class _DeviceNest(Nest):
    def __init__(self, group: Group, storage: Callable[[Value], Value], target: DeviceTarget) -> None:
        super().__init__(group, storage)
        self.target = target

    def start(self) -> tuple[DeviceText, Elements]:
        text = DeviceText(dict(self.merged))
        text.names = {loop.name: f"i{number}" for number, loop in enumerate(self.loops)}
        text.barrier = 1 if self.group.reductions else 0
        return text, Elements(text, self.group, self.storage, INLINE)

    def done_with(self, text: DeviceText, grid: Grid, shared: Dim = 0, stem: str = "", title: str = "") -> DeviceKernel:
        return text.finish_kernel(stem or self.stem, title or self.title, self.traffic(), grid, shared)


class _Map(_DeviceNest):
    """One element for each step of a grid-stride loop."""

    def lower_map(self) -> DeviceKernel:
        text, kernel = self.written(1)
        assert kernel is not None
        if not self.loops:
            return kernel
        inner = self.loops[-1]
        lanes, divisible = vector_form(text.accesses, inner.name, inner.extent)
        if lanes > 1 and (wide := self.written(lanes)[1]) is not None:
            return replace(kernel, faster=replace(wide, lanes=lanes, divisible=divisible))
        return kernel

    def written(self, lanes: int) -> tuple[DeviceText, DeviceKernel | None]:
        """The kernel that handles `lanes` neighbours at a time; None where it cannot."""
        text, elements = self.start()
        n = element_count([loop.extent for loop in self.loops])
        variables = {loop.name for loop in self.loops}
        flat = text.variable(self.loops[0].name) if len(self.loops) == 1 else "item"
        by = "" if lanes == 1 else f" * {lanes}"
        header = f"for {flat} in range(cuda.grid(1){by}, {text.size(n)}, cuda.gridsize(1){by}):"
        with text.block(header, variables) as scope:
            if len(self.loops) > 1:
                self.recover(text, self.loops, flat)
            before = len(scope.lines)
            self.store_outputs(text, elements, self.loops)
            if lanes > 1:
                inner = text.variable(self.loops[-1].name)
                body = None if text.flags else repeated(scope.lines[before:], inner, lanes)
                if body is None:
                    return text, None
                scope.lines[before:] = body
        if lanes == 1:
            return text, self.done_with(text, Grid("elements", n))
        return text, self.done_with(text, Grid("elements", (n + (lanes - 1)) // lanes), stem=f"{self.stem}_wide")


class Reduced(_DeviceNest):
    """Groups with reductions. Threads of a team handle `lanes` neighbours of a row at a time."""

    lanes = 1
    is_wide = True  # whether all loops over rows could be written so

    # -- rows: a team of threads for each --

    def lower_rows(self) -> DeviceKernel:
        """The kernel of a team for each row, with those that are faster where sizes and memory allow it."""
        text, plain = self.teams(keeps=False)
        assert plain is not None
        found = [plain, self.wider(text, lambda nest: nest.teams(keeps=False)[1])]
        if self.reduced:
            text, keeping = self.again().teams(keeps=True)
            if keeping is not None and keeping.shared != 0:
                found += [keeping, self.wider(text, lambda nest: nest.teams(keeps=True)[1])]
        return chained(found)

    def again(self) -> "Reduced":
        return Reduced(self.group, self.storage, self.target)

    def wider(self, text: DeviceText, write: "Callable[[Reduced], DeviceKernel | None]") -> DeviceKernel | None:
        """A kernel whose threads handle neighbours in a row together; None where they cannot."""
        if len(self.reduced) != 1:
            return None
        inner = self.reduced[0]
        lanes, divisible = vector_form(text.accesses, inner.name, inner.extent)
        if lanes == 1:
            return None
        nest = self.again()
        nest.lanes = lanes
        kernel = write(nest)
        return None if kernel is None else replace(kernel, lanes=lanes, divisible=divisible)

    def teams(self, *, keeps: bool) -> tuple[DeviceText, DeviceKernel | None]:
        """One of the kernels; None where `lanes` neighbours cannot be handled together."""
        text, elements = self.start()
        kept = {loop.name for loop in self.kept}
        length = element_count([loop.extent for loop in self.reduced])
        rows = element_count([loop.extent for loop in self.kept])
        keeper = Keeper(self, text, elements, length) if keeps else None
        with self.team_of_rows(text, kept, rows):
            for number, stage in enumerate(self.stages()):
                self.sweep(text, elements, stage, length, keeper.of_stage(number) if keeper is not None else None)
            self.store_row_results(text, elements)
            left = [i for v, i in self.group.outputs.items() if v not in self.done]
            if any(self.level(i) != frozenset(kept) for i in left):
                with self.team_loop(text, length):
                    self.store_outputs(text, elements, self.loops)
        if self.lanes > 1 and (text.flags or not self.is_wide):
            return text, None
        shared = keeper.nbytes if keeper is not None else 0
        return text, self.done_with(text, Grid("rows", rows, length), shared, self.wide_stem)

    @property
    def wide_stem(self) -> str:
        return f"{self.stem}_wide" if self.lanes > 1 else self.stem

    @contextmanager
    def team_of_rows(self, text: DeviceText, kept: set[str], rows: Dim) -> Iterator[None]:
        """The loop over rows: each step of a block handles as many as it has teams."""
        count = text.size(rows)
        text.requirements.helpers.add("shuffle_down")
        step = "cuda.blockDim.y * cuda.gridDim.x"
        with text.block(f"for first in range(cuda.blockIdx.x * cuda.blockDim.y, {count}, {step}):", kept):
            # All threads of a block take part in exchanges: past the last row they compute it once more.
            text.line(f"row = min(first + cuda.threadIdx.y, {count} - 1)")
            self.recover_row(text)
            yield

    def recover_row(self, text: DeviceText) -> None:
        if len(self.kept) == 1:
            text.line(f"{text.variable(self.kept[0].name)} = row")
        else:
            self.recover(text, self.kept, "row")

    @contextmanager
    def team_loop(self, text: DeviceText, length: Dim, bounds: tuple[str, str] | None = None) -> Iterator[None]:
        """The loop of a team over a row's elements."""
        start, stop = bounds or ("0", text.size(length))
        by = "" if self.lanes == 1 else f" * {self.lanes}"
        first = f"cuda.threadIdx.x{by}" if start == "0" else f"{start} + cuda.threadIdx.x{by}"
        name = self.place_in_row(text)
        variables = {loop.name for loop in self.reduced}
        with text.block(f"for {name} in range({first}, {stop}, cuda.blockDim.x{by}):", variables) as scope:
            if len(self.reduced) != 1:
                self.recover(text, self.reduced, name)
            yield
            if self.lanes > 1:
                body = repeated(scope.lines, name, self.lanes)
                self.is_wide = self.is_wide and body is not None
                scope.lines[:] = body or scope.lines

    def place_in_row(self, text: DeviceText) -> str:
        """The variable that counts a row's elements."""
        return text.variable(self.reduced[0].name) if len(self.reduced) == 1 else "k"

    def sweep(
        self,
        text: DeviceText,
        elements: Elements,
        stage: Stage,
        length: Dim,
        before: Callable[[], None] | None = None,
        bounds: tuple[str, str] | None = None,
        *,
        complete: bool = True,
    ) -> dict[Value, str]:
        """One pass of a team over a row that reduces the stage's values; every thread has the results then."""
        accumulators = self.accumulators(text, elements, stage)
        with self.team_loop(text, length, bounds):
            if before is not None:
                before()
            self.store_swept(text, elements, stage)
            for value in stage.reductions:
                code = self.mapped(elements, value)
                joined = self.combine(elements, value, accumulators[value], code.text, free_order=False)
                text.line(f"{accumulators[value]} = {joined}")
        self.done.update(self.swept_outputs(stage))
        for value, accumulator in accumulators.items():
            self.join_team(text, elements, value, accumulator)
            if complete:
                self.keep_result(text, elements, value, accumulator)
        return accumulators

    def accumulators(self, text: DeviceText, elements: Elements, stage: Stage) -> dict[Value, str]:
        found = {}
        for value in stage.reductions:
            instruction, _, dtype = self.reduction_parts(value)
            start = self.initial(elements, value)
            found[value] = text.assign(text.scope, start, dtype, describe(instruction), "a").text
        return found

    def keep_result(self, text: DeviceText, elements: Elements, value: Value, accumulator: str) -> None:
        code = self.complete(elements, value, accumulator)
        if code.text != accumulator:
            code = text.assign(text.scope, code.text, code.dtype, "", "r")
        text.scope.memo[value, self.kept_indices(value)] = code

    def join_team(self, text: DeviceText, elements: Elements, value: Value, accumulator: str) -> None:
        """A team's accumulators made one, in all its threads: in warps by shuffles, then by shared memory."""
        _, _, dtype = self.reduction_parts(value)
        warp = self.target.warp
        number = text.fresh("w")

        def exchanged(name: str) -> str:
            # Warps exchange 32 and 64 bits.
            return name if dtype.itemsize >= 4 else f"np.int32({name})"

        def received(name: str) -> str:
            if dtype.itemsize >= 4:
                return name
            return f"({name} != 0)" if dtype is dtypes.bool_ else self.narrowed(text, name, dtype)

        offset = warp // 2
        while offset:
            other = f"{number}_{offset}"
            text.line(f"{other} = shuffle_down({exchanged(accumulator)}, {offset})")
            joined = self.combine(elements, value, accumulator, received(other), free_order=False)
            text.line(f"{accumulator} = {joined}")
            offset //= 2
        kind = {1: "int32", 2: "int32"}.get(dtype.itemsize, dtype.name)
        shared = text.fresh("shared")
        # One place for each warp of the block.
        self.declare(text, f"{shared} = cuda.shared.array({max(self.target.threads // warp, 1)}, types.{kind})")
        thread = "(cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x)"
        text.line(f"if cuda.threadIdx.x % {warp} == 0:")
        text.line(f"    {shared}[{thread} // {warp}] = {exchanged(accumulator)}")
        text.line("cuda.syncthreads()")
        base = text.fresh("base")
        text.line(f"{base} = cuda.threadIdx.y * cuda.blockDim.x // {warp}")
        text.line(f"{accumulator} = {received(f'{shared}[{base}]')}")
        with text.block(f"for warp in range(1, cuda.blockDim.x // {warp}):"):
            text.line(f"{number} = {received(f'{shared}[{base} + warp]')}")
            joined = self.combine(elements, value, accumulator, number, free_order=False)
            text.line(f"{accumulator} = {joined}")
        text.line("cuda.syncthreads()")

    def narrowed(self, text: DeviceText, name: str, dtype: DType) -> str:
        text.requirements.helpers.add(f"as_{dtype.short}")
        return f"as_{dtype.short}({name})"

    def declare(self, text: DeviceText, line: str) -> None:
        """A statement at the start of the kernel."""
        text.scopes[0].lines.insert(0, line)

    def store_row_results(self, text: DeviceText, elements: Elements) -> None:
        """Outputs of one element per row, by the team's first thread."""
        names = frozenset(loop.name for loop in self.kept)
        wanted = [v for v, i in self.group.outputs.items() if self.level(i) == names and v not in self.done]
        if not wanted:
            return
        with text.condition("if cuda.threadIdx.x == 0 and first + cuda.threadIdx.y == row:"):
            self.store_outputs(text, elements, self.kept)

    # -- columns: a thread for each --

    def lower_columns(self) -> DeviceKernel:
        text, elements = self.start()
        n = element_count([loop.extent for loop in self.kept])
        flat = text.variable(self.kept[0].name) if len(self.kept) == 1 else "item"
        kept = {loop.name for loop in self.kept}
        with text.block(f"for {flat} in range(cuda.grid(1), {text.size(n)}, cuda.gridsize(1)):", kept):
            if len(self.kept) > 1:
                self.recover(text, self.kept, flat)
            for stage in self.stages():
                accumulators = self.column_sweep(text, elements, stage, None)
                for value, accumulator in accumulators.items():
                    self.keep_result(text, elements, value, accumulator)
            self.store_outputs(text, elements, self.kept)
            left = [i for v, i in self.group.outputs.items() if v not in self.done]
            if any(self.level(i) != frozenset(kept) for i in left):
                self.nested(text, self.reduced, lambda: self.store_outputs(text, elements, self.loops))
        return self.done_with(text, Grid("elements", n))

    def column_sweep(
        self, text: DeviceText, elements: Elements, stage: Stage, bounds: tuple[str, str] | None
    ) -> dict[Value, str]:
        accumulators = self.accumulators(text, elements, stage)

        def innermost() -> None:
            self.store_swept(text, elements, stage)
            for value in stage.reductions:
                code = self.mapped(elements, value)
                joined = self.combine(elements, value, accumulators[value], code.text, free_order=False)
                text.line(f"{accumulators[value]} = {joined}")

        if bounds is None:
            self.nested(text, self.reduced, innermost)
        else:
            loop = self.reduced[0]
            with text.block(f"for {text.variable(loop.name)} in range({bounds[0]}, {bounds[1]}):", {loop.name}):
                self.nested(text, self.reduced[1:], innermost)
        self.done.update(self.swept_outputs(stage))
        return accumulators

    # -- split: chunks of a long reduction --

    def should_split(self) -> bool:
        """Few results and much to reduce: too few threads without cutting the reduction."""
        if not self.reduced or len(self.stages()) != 1:
            return False
        kept = frozenset(loop.name for loop in self.kept)
        if any(self.level(i) != kept for i in self.group.outputs.values()) or self.swept_outputs(self.stages()[0]):
            return False
        results = element_count([loop.extent for loop in self.kept])
        length = element_count([loop.extent for loop in self.reduced])
        if isinstance(length, int) and length <= (_CHUNK if self.loops[-1].reduced else 256):
            return False
        few = _FEW_ROWS if self.loops[-1].reduced else _FEW_COLUMNS
        return isinstance(results, int) and 0 < results < few

    def lower_split(self) -> tuple[list[DeviceKernel], list[Temporary]]:
        columns = not self.loops[-1].reduced
        first = self.reduced[0]
        inner = element_count([loop.extent for loop in self.reduced[1:]])
        # Chunks of whole steps of the first reduced loop.
        size = 256 if columns else _CHUNK
        length: Dim = max(size // inner, 1) if isinstance(inner, int) and inner else size // (inner + 1) + 1
        chunks = (first.extent + (length - 1)) // length
        results = element_count([loop.extent for loop in self.kept])
        temporaries = [Temporary(chunks * results, self.reduction_parts(v)[2]) for v in self.group.reductions]
        if columns:
            partial = self.split_columns(first, length, chunks)
        else:
            text, plain = self.split_rows(first, length, chunks)
            wide = self.wider(text, lambda nest: nest.split_rows(first, length, chunks)[1])
            if wide is not None:
                chunk = divisible_by([length * inner], wide.lanes)
                wide = None if chunk is None else replace(wide, divisible=(*wide.divisible, *chunk))
            partial = chained([plain, wide])
        return [partial, self.again().join_chunks(chunks)], temporaries

    def split_rows(self, first: Loop, length: Dim, chunks: Dim) -> tuple[DeviceText, DeviceKernel | None]:
        """A team for each chunk of a row."""
        (stage,) = self.stages()
        text, elements = self.start()
        results = element_count([loop.extent for loop in self.kept])
        inner = element_count([loop.extent for loop in self.reduced[1:]])
        whole = element_count([loop.extent for loop in self.reduced])
        count, per = text.size(results * chunks), text.size(chunks)
        text.requirements.helpers.add("shuffle_down")
        kept = {loop.name for loop in self.kept}
        with text.block(f"for item in range(cuda.blockIdx.x, {count}, cuda.gridDim.x):", kept):
            text.line(f"row = item // {per}")
            if self.kept:
                self.recover_row(text)
            text.line(f"start = item % {per} * {text.size(length * inner)}")
            text.line(f"stop = min(start + {text.size(length * inner)}, {text.size(whole)})")
            accumulators = self.sweep(text, elements, stage, whole, None, ("start", "stop"), complete=False)
            with text.condition("if cuda.threadIdx.x == 0:"):
                for number, value in enumerate(stage.reductions):
                    _, _, dtype = self.reduction_parts(value)
                    text.store(text.temporary(number, dtype), "item", Code(accumulators[value], dtype))
        grid = Grid("blocks", results * chunks, threads=(self.target.threads, 1))
        if self.lanes > 1 and (text.flags or not self.is_wide):
            return text, None
        return text, self.done_with(text, grid, 0, f"{self.wide_stem}_chunks", f"{self.title}, in chunks")

    def split_columns(self, first: Loop, length: Dim, chunks: Dim) -> DeviceKernel:
        """A thread for each column of each chunk; the columns of one chunk are neighbours."""
        (stage,) = self.stages()
        text, elements = self.start()
        results = element_count([loop.extent for loop in self.kept])
        per, count = text.size(results), text.size(results * chunks)
        kept = {loop.name for loop in self.kept}
        with text.block(f"for item in range(cuda.grid(1), {count}, cuda.gridsize(1)):", kept):
            text.line(f"row = item % {per}")
            self.recover_row(text)
            text.line(f"start = item // {per} * {text.size(length)}")
            text.line(f"stop = min(start + {text.size(length)}, {text.size(first.extent)})")
            accumulators = self.column_sweep(text, elements, stage, ("start", "stop"))
            for number, value in enumerate(stage.reductions):
                _, _, dtype = self.reduction_parts(value)
                # As rows of chunks, which are what the second kernel reads.
                place = f"row * {text.size(chunks)} + item // {per}"
                text.store(text.temporary(number, dtype), place, Code(accumulators[value], dtype))
        return self.done_with(
            text, Grid("elements", results * chunks), 0, f"{self.stem}_chunks", f"{self.title}, in chunks"
        )

    def join_chunks(self, chunks: Dim) -> DeviceKernel:
        """A team for each result, which joins its chunks."""
        (stage,) = self.stages()
        text, elements = self.start()
        results = element_count([loop.extent for loop in self.kept])
        kept = {loop.name for loop in self.kept}
        with self.team_of_rows(text, kept, results):
            accumulators = self.accumulators(text, elements, stage)
            with text.block(f"for chunk in range(cuda.threadIdx.x, {text.size(chunks)}, cuda.blockDim.x):"):
                for number, value in enumerate(stage.reductions):
                    _, _, dtype = self.reduction_parts(value)
                    place = f"row * {text.size(chunks)} + chunk"
                    loaded = text.load(text.temporary(number, dtype), place, dtype)
                    joined = self.combine(elements, value, accumulators[value], loaded, free_order=False)
                    text.line(f"{accumulators[value]} = {joined}")
            for value, accumulator in accumulators.items():
                self.join_team(text, elements, value, accumulator)
                self.keep_result(text, elements, value, accumulator)
            self.store_row_results(text, elements)
        return self.done_with(
            text, Grid("rows", results, chunks), 0, f"{self.stem}_join", f"{self.title}, chunks joined"
        )
