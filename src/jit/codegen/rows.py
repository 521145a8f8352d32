"""Rows: the innermost dimension is reduced, and a row may be swept several times while it is in cache."""

from collections.abc import Callable, Sequence

from ...ir import dtypes
from ...ir.core import Value
from ...ir.ops._op import View
from ...ir.types import TensorType
from .elements import Elements, describe
from .fusion import own_cost
from .image_layout import position
from .indexing import Indices, Loop, element_count
from .kernel_text import Text
from .nest import Launch, Nest, Stage
from .scalar_code import Code

__all__ = ["Rows"]

# Floats are summed in runs of at most this many elements, whose sums are then added: errors grow with the run only.
_RUN = 4096


class Rows(Nest):
    """One item of the range is a row of the kept dimensions."""

    def lower_rows(self) -> Launch:
        text, elements = self.start()
        self.write_rows(text, elements)
        per_row = element_count([loop.extent for loop in self.reduced])
        return self.finish(text, element_count([loop.extent for loop in self.kept]), per_row)

    def write_rows(self, text: Text, elements: Elements) -> None:
        spill = Spill(self, elements)
        # What depends on a reduction must not move in front of the loop over rows, whatever its indices.
        text.barrier = len(text.scopes) + (1 if len(self.kept) > 1 else 0)
        self.over_rows(text, lambda: self.lower_row(text, elements, spill))

    def row_place(self, text: Text, value: Value, indices: Indices) -> tuple[str, str]:
        """The pointer and the address of an element of a stored row."""
        assert isinstance(value.type, TensorType)
        pointer = text.pointer(self.storage(value), value.type.dtype, written=True)
        return pointer, text.index(position(value, indices))

    def over_rows(self, text: Text, body: Callable[[], None]) -> None:
        """A loop over the rows of the range around what `body` writes: neighbours in a loop of their own."""
        if len(self.kept) < 2:
            row = text.variable(self.kept[0].name) if self.kept else "row"
            with text.block(f"for {row} in range(lo, hi):", {loop.name for loop in self.kept}):
                body()
            return
        *outer, inner = self.kept
        size = text.size(inner.extent)
        with self.rows_of(text, outer, size, "lo", "hi") as row:
            bounds = f"max(lo - {row} * {size}, 0), min(hi - {row} * {size}, {size})"
            with text.block(f"for {text.variable(inner.name)} in range({bounds}):", {inner.name}):
                body()

    def lower_row(self, text: Text, elements: Elements, spill: "Spill") -> None:
        """Everything that is done with one row."""
        kept = frozenset(loop.name for loop in self.kept)
        for number, stage in enumerate(self.stages()):
            accumulators = {}
            for value in stage.reductions:
                _, _, dtype = self.reduction_parts(value)
                instruction = value.instruction
                assert instruction is not None
                start = self.initial(elements, value)
                accumulators[value] = text.assign(text.scope, start, dtype, describe(instruction), "a").text
            self.sweep(text, elements, stage, accumulators, self.reduced, spill.of_stage(number))
            self.done.update(self.swept_outputs(stage))
            for value, accumulator in accumulators.items():
                code = self.complete(elements, value, accumulator)
                if code.text != accumulator:
                    code = text.assign(text.scope, code.text, code.dtype, "", "r")
                text.scope.memo[value, self.kept_indices(value)] = code
        self.store_outputs(text, elements, self.kept)
        left = [i for v, i in self.group.outputs.items() if v not in self.done]
        if any(self.level(i) != kept for i in left):
            self.nested(text, self.reduced, lambda: self.store_outputs(text, elements, self.loops))

    def in_runs(self, value: Value) -> bool:
        """Whether a sum is long enough to be made from runs."""
        _, lowering, dtype = self.reduction_parts(value)
        extent = self.reduced[-1].extent
        return (
            lowering.combine == "{acc} + {x}" and dtype.kind == "f" and not (isinstance(extent, int) and extent <= _RUN)
        )

    def sweep(
        self,
        text: Text,
        elements: Elements,
        stage: Stage,
        accumulators: dict[Value, str],
        loops: Sequence[Loop],
        spill: Callable[[], None] | None = None,
        bounds: tuple[str, str] | None = None,
    ) -> None:
        """Loops over the reduced dimensions that accumulate the stage's reductions."""
        if len(loops) > 1:
            loop = loops[0]
            start, stop = bounds or ("0", text.size(loop.extent))
            header = f"for {text.variable(loop.name)} in range({start}, {stop}):"
            with text.block(header, {loop.name}):
                self.run(text, elements, stage, accumulators, loops[1:], spill)
            return
        if not loops:
            self.step(text, elements, stage, accumulators, spill)
            return
        loop = loops[0]
        name = text.variable(loop.name)
        start, stop = bounds or ("0", text.size(loop.extent))
        if bounds is None and any(self.in_runs(v) for v in stage.reductions):
            with text.block(f"for start in range(0, {stop}, {_RUN}):"):
                partial = self.partials(text, elements, stage)
                with text.block(f"for {name} in range(start, min(start + {_RUN}, {stop})):", {loop.name}):
                    self.step(text, elements, stage, partial, spill)
                self.join(text, elements, stage, accumulators, partial)
            return
        with text.block(f"for {name} in range({start}, {stop}):", {loop.name}):
            self.step(text, elements, stage, accumulators, spill)

    def run(
        self,
        text: Text,
        elements: Elements,
        stage: Stage,
        accumulators: dict[Value, str],
        loops: Sequence[Loop],
        spill: Callable[[], None] | None,
    ) -> None:
        """The inner loops with accumulators of their own, which are then joined to the outer ones."""
        partial = self.partials(text, elements, stage)
        self.sweep(text, elements, stage, partial, loops, spill)
        self.join(text, elements, stage, accumulators, partial)

    def partials(self, text: Text, elements: Elements, stage: Stage) -> dict[Value, str]:
        return {
            value: text.assign(text.scope, self.initial(elements, value), dtypes.float32, "", "p").text
            for value in stage.reductions
        }

    def join(
        self, text: Text, elements: Elements, stage: Stage, accumulators: dict[Value, str], partial: dict[Value, str]
    ) -> None:
        for value in stage.reductions:
            joined = self.combine(elements, value, accumulators[value], partial[value], free_order=False)
            text.line(f"{accumulators[value]} = {joined}")

    def step(
        self,
        text: Text,
        elements: Elements,
        stage: Stage,
        accumulators: dict[Value, str],
        spill: Callable[[], None] | None,
    ) -> None:
        if spill is not None:
            spill()
        self.store_swept(text, elements, stage)
        for value in stage.reductions:
            code = self.mapped(elements, value)
            text.line(
                f"{accumulators[value]} = "
                f"{self.combine(elements, value, accumulators[value], code.text, free_order=True)}"
            )


class Spill:
    """Which value of a row is kept in the output's own row between sweeps, so that it is not computed again.

    Only one value at a time: the costliest that a sweep computes and a later one needs.
    """

    def __init__(self, nest: Rows, elements: Elements) -> None:
        self.nest = nest
        self.elements = elements
        self.slot: tuple[Value, Indices] | None = None
        group = nest.group
        full = frozenset(loop.name for loop in nest.loops)
        self.stages = nest.stages()
        swept = {v for stage in self.stages for v in nest.swept_outputs(stage)}
        for value, indices in group.outputs.items():
            if nest.level(indices) == full and value not in group.placements and value not in swept:
                self.slot = (value, indices)
                break
        self.spilled: Value | None = None

    def uses(self, roots: Sequence[Value]) -> set[Value]:
        """Values that the roots are computed from, up to reductions and what is spilled."""
        return self.nest.reach(roots, self.spilled)

    def cost(self, value: Value) -> int:
        return sum(own_cost(v.instruction) for v in self.uses([value]) if v.instruction is not None)

    def of_stage(self, number: int) -> Callable[[], None] | None:
        """What the sweep of a stage does first: compute the chosen value and store it."""
        if self.slot is None:
            return None
        nest, group = self.nest, self.nest.group
        output, place = self.slot
        assert isinstance(output.type, TensorType)
        now = self.uses(nest.operands(self.stages[number : number + 1]))
        finals = [v for v in group.outputs if v not in group.reductions]
        later = self.uses([*nest.operands(self.stages[number + 1 :]), *finals])
        if self.spilled is not None and self.spilled_is_needed(number):
            return None
        candidates = []
        for value in (now & later) - nest.guarded():
            accesses = group.accesses.get(value, set())
            if value.type != output.type and not _same_elements(value, output):
                continue
            if isinstance(value.instruction.op.lower, View) if value.instruction is not None else True:
                continue
            if len(accesses) == 1 and nest.level(next(iter(accesses))) == frozenset(x.name for x in nest.loops):
                candidates.append((self.cost(value), value))
        best = max(candidates, key=lambda c: c[0], default=(0, None))
        if best[1] is None or best[0] < 6:
            return None
        chosen = best[1]
        indices = next(iter(group.accesses[chosen]))
        text, elements = self.elements.text, self.elements
        dtype = output.type.dtype

        def store() -> None:
            elements.overrides.pop((chosen, indices), None)
            code = elements.element(chosen, indices)
            pointer, address = nest.row_place(text, output, place)
            text.store(pointer, address, code)

            def load() -> Code:
                return text.assign(text.scope, text.load(pointer, address, dtype), dtype)

            elements.overrides[chosen, indices] = load

        self.spilled = chosen
        return store

    def spilled_is_needed(self, number: int) -> bool:
        """Whether what is spilled now is read after the stage, and so must not be overwritten."""
        spilled, self.spilled = self.spilled, None
        group = self.nest.group
        finals = [v for v in group.outputs if v not in group.reductions]
        needed = spilled in self.uses([*self.nest.operands(self.stages[number + 1 :]), *finals])
        self.spilled = spilled
        return needed


def _same_elements(a: Value, b: Value) -> bool:
    return isinstance(a.type, TensorType) and isinstance(b.type, TensorType) and a.type.dtype is b.type.dtype
