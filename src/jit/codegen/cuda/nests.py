"""Loop nests on a device: a fused group as the source of one or two kernels.

The shapes are those of the CPU path (`codegen.loops`). *Map*: a grid-stride loop over elements. *Rows*: a team of
threads, a warp or a block, for each row; what several sweeps read is kept in shared memory, where each thread finds
only what it put there itself. *Columns*: the innermost dimension is kept, a thread for each column. *Split*: few
results of a long reduction; a first kernel reduces chunks of fixed size, a second one joins them. No sum is made with
atomics: its order is fixed by the sizes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ....ir import dtypes
from ....ir.core import Value
from ....ir.dims import Dim, substitute
from ....ir.dtypes import DType
from ....ir.types import TensorType
from ..elements import Elements, describe
from ..fusion import Group
from ..image_layout import position
from ..indexing import Indices, Loop, coefficient, depends_on, element_count
from ..inline import INLINE
from ..nest import Nest, Stage, Temporary
from ..scalar_code import Code
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid
from .keeping import Keeper

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
    kernel = nest.lower_rows(keeps=False)
    keeping = Reduced(group, storage, target).lower_rows(keeps=bool(nest.reduced))
    if keeping.shared != 0:
        kernel = replace(kernel, faster=keeping)
    return [kernel], []


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
        text, elements = self.start()
        n = element_count([loop.extent for loop in self.loops])
        variables = {loop.name for loop in self.loops}
        flat = text.variable(self.loops[0].name) if len(self.loops) == 1 else "item"
        with text.block(f"for {flat} in range(cuda.grid(1), {text.size(n)}, cuda.gridsize(1)):", variables) as scope:
            if len(self.loops) > 1:
                self.recover(text, self.loops, flat)
            self.store_outputs(text, elements, self.loops)
            lines = list(scope.lines)
        before = text.scope.lines[: -1 - len(lines)]
        kernel = self.done_with(text, Grid("elements", n))
        lanes = self.lanes()
        if lanes > 1 and not text.flags and not _is_branching(lines):
            kernel = self.with_wide(text, kernel, before, lines, flat, lanes)
        return kernel

    def lanes(self) -> int:
        """Elements that 16 bytes hold, if every access of the loop is of that size and runs along it; else 1."""
        if len(self.loops) != 1:
            return 1
        name = self.loops[0].name
        sizes = set()
        for value, indices in [*self.group.stores(), *self.loaded()]:
            assert isinstance(value.type, TensorType)
            place = substitute(position(value, indices), self.merged)
            step = coefficient(place, name)
            if step == 0 and name not in depends_on([place]):
                continue
            if step != 1 or substitute(place, {name: 0}) != 0:
                return 1
            sizes.add(value.type.dtype.itemsize)
        return {4: 4, 8: 2}.get(sizes.pop(), 1) if len(sizes) == 1 else 1

    def loaded(self) -> list[tuple[Value, Indices]]:
        group = self.group
        inside = [v for v in group.accesses if v in group.inlined or (v in group.outputs and v not in group.placements)]
        return [(v, i) for v, places in group.accesses.items() if v not in inside for i in places]

    def with_wide(
        self,
        text: DeviceText,
        kernel: DeviceKernel,
        before: Sequence[str],
        lines: Sequence[str],
        flat: str,
        lanes: int,
    ) -> DeviceKernel:
        """The kernel with a form that loads, computes and stores `lanes` neighbours at a time.

        The loads of the neighbours stand together and so do the stores, which `wide.widen` makes one access of 16
        bytes each.
        """
        local = {m.group(1) for line in lines if (m := re.match(r"(\w+) = ", line))}
        names = re.compile(rf"\b({'|'.join(map(re.escape, sorted(local | {flat})))})\b")
        body: list[str] = []
        stores: list[str] = []
        for line in lines:
            if line.startswith("#"):
                body.append(line)
                continue
            into = stores if re.match(r"\w+\[", line) else body
            for lane in range(lanes):
                place = flat if lane == 0 else f"({flat} + {lane})"
                into.append(names.sub(lambda m, lane=lane, at=place: at if m[1] == flat else f"{m[1]}_{lane}", line))  # type: ignore[misc]
        count = text.size(kernel.grid.n)
        first, step = f"cuda.grid(1) * {lanes}", f"cuda.gridsize(1) * {lanes}"
        header = f"for {flat} in range({first}, {count}, {step}):"
        nested = [*before, header, *("    " + line for line in (*body, *stores))]
        grid = Grid("elements", (kernel.grid.n + (lanes - 1)) // lanes)
        wide = text.kernel(nested, f"{self.stem}_wide", kernel.title, kernel.traffic, grid)
        return replace(kernel, faster=replace(wide, lanes=lanes))


def _is_branching(lines: Sequence[str]) -> bool:
    return any(line.startswith((" ", "if ", "for ")) for line in lines)


class Reduced(_DeviceNest):
    """Groups with reductions."""

    # -- rows: a team of threads for each --

    def lower_rows(self, *, keeps: bool) -> DeviceKernel:
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
        return self.done_with(text, Grid("rows", rows, length), keeper.nbytes if keeper is not None else 0)

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
        first = "cuda.threadIdx.x" if start == "0" else f"{start} + cuda.threadIdx.x"
        name = self.place_in_row(text)
        variables = {loop.name for loop in self.reduced}
        with text.block(f"for {name} in range({first}, {stop}, cuda.blockDim.x):", variables):
            if len(self.reduced) != 1:
                self.recover(text, self.reduced, name)
            yield

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
        partial = self.split_columns if columns else self.split_rows
        return [partial(first, length, chunks), self.join_chunks(chunks)], temporaries

    def split_rows(self, first: Loop, length: Dim, chunks: Dim) -> DeviceKernel:
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
        return self.done_with(text, grid, 0, f"{self.stem}_chunks", f"{self.title}, in chunks")

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
