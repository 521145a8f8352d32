"""Loop nests: a fused group as the source of one or two range kernels.

Four shapes of nest cover all groups. *Map*: no reduction; the range is over elements. *Rows*: the innermost dimension
is reduced; the range is over rows, and each row may be swept several times while it is in cache (softmax: maximum, sum,
quotient). *Columns*: the innermost dimension is kept; the range is over blocks of columns, with one accumulator per
column on the stack. *Split*: few results of a long reduction; a first kernel reduces chunks of fixed size in parallel,
a second one combines them. The order of every sum is fixed by the sizes alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim, dim_max, dim_min, substitute
from ...ir.dtypes import DType
from ...ir.ops._op import Reduce, View
from ...ir.types import TensorType
from .elements import Elements, describe
from .fusion import Group, Loop, Unsupported, operand_indices, own_cost
from .indexing import Indices, coefficient, element_count, flat_index, loop_symbols
from .inline import INLINE
from .kernel_text import Kernel, Text
from .scalar_code import Code, Untranslatable, cast, literal, translate

__all__ = ["Launch", "Temporary", "lower_group"]

# Floats are summed in runs of at most this many elements, whose sums are then added: errors grow with the run only.
_RUN = 4096
# Elements that one item of a split reduction sums.
_CHUNK = 16384
# Columns that one item of a column reduction handles: their accumulators stay in L1.
_COLUMNS = 256
# Work of about 20 microseconds, in units of simple operations on one element.
_GRAIN = 200_000

# How steps are written inside one loop, where LLVM may use one accumulator per lane.
_STEPS = {
    "{acc} + {x}": "sum_step({acc}, {x})",
    "{acc} * {x}": "product_step({acc}, {x})",
    "maximum({acc}, {x})": "maximum_step({acc}, {x})",
    "minimum({acc}, {x})": "minimum_step({acc}, {x})",
}


@dataclass(frozen=True)
class Temporary:
    """Memory that a group needs between its kernels: a number of elements of a dtype."""

    count: Dim
    dtype: DType


@dataclass
class Launch:
    """One run of a kernel over [0, n) in ranges of at least `grain`; both are known with the sizes."""

    kernel: Kernel
    n: Dim
    grain: Dim
    temporaries: list[Temporary] = field(default_factory=list)


def lower_group(group: Group, storage: Callable[[Value], Value]) -> list[Launch]:
    """The kernels of a group, in order. `storage` maps a value to the stored value in whose memory it lies."""
    return _Nest(group, storage).lower()


def _ceil_div(a: Dim, b: int) -> Dim:
    return (a + (b - 1)) // b


@dataclass
class _Stage:
    """Reductions that need no others than those of earlier stages."""

    reductions: list[Value]


class _Nest:
    def __init__(self, group: Group, storage: Callable[[Value], Value]) -> None:
        self.group = group
        self.storage = storage
        self.merged: dict[str, Dim] = {}
        self.done: set[Value] = set()  # outputs that a sweep has stored
        self.loops = self.merge_loops()
        self.kept = [loop for loop in self.loops if not loop.reduced]
        self.reduced = [loop for loop in self.loops if loop.reduced]
        instructions = group.instructions + ([group.origin] if group.origin is not None else [])
        self.cost = sum(own_cost(i) for i in instructions) + len(group.accesses)
        lines = dict.fromkeys(str(i.location) for i in instructions if i.location is not None)
        names = dict.fromkeys(i.op.name for i in instructions if i.op.name not in ("constant", "full"))
        self.title = ", ".join(names) + (f" ({', '.join(lines)})" if lines else "")
        kept_names = [n.replace(".", "_") for n in names] or ["fill"]
        self.stem = "k_" + "_".join(kept_names[:3]) + (f"_and_{len(kept_names) - 3}" if len(kept_names) > 3 else "")

    # -- merging loops that always move together --

    def merge_loops(self) -> list[Loop]:
        """The loops with neighbours made one where every address allows it: contiguous tensors get one flat loop."""
        positions = self.positions()
        loops = [Loop(loop.name, loop.extent, loop.reduced) for loop in self.group.loops]
        at = len(loops) - 2
        while at >= 0:
            outer, inner = loops[at], loops[at + 1]
            if outer.reduced == inner.reduced and all(_move_together(p, outer, inner) for p in positions):
                self.merged[outer.name] = 0
                loops[at : at + 2] = [Loop(inner.name, outer.extent * inner.extent, inner.reduced)]
                # An address in the merged loop has the inner factor; the outer variable is dropped.
                positions = [_drop(p, outer.name) for p in positions]
            at -= 1
        return loops

    def positions(self) -> list[Dim]:
        """Every index polynomial that the kernel will use."""
        group = self.group
        found: list[Dim] = []
        for value, indices in group.stores():
            assert isinstance(value.type, TensorType)
            found.append(flat_index(indices, value.type.shape))
        for value, accesses in group.accesses.items():
            assert isinstance(value.type, TensorType)
            inlined = value in group.inlined or value in group.outputs
            instruction = value.instruction
            for indices in accesses:
                if not inlined:
                    found.append(flat_index(indices, value.type.shape))
                elif instruction is not None and instruction.op.name in INLINE:
                    found.extend(indices)
        for value, indices in group.outputs.items():
            if value.instruction is not None and value.instruction.op.name in INLINE:
                found.extend(indices)
        return found

    # -- shapes of nests --

    def lower(self) -> list[Launch]:
        if not self.group.reductions:
            return [self.lower_map()]
        if self.should_split():
            return self.lower_split()
        if not self.reduced or self.loops[-1].reduced:
            return [self.lower_rows()]
        return [self.lower_columns()]

    def start(self) -> tuple[Text, Elements]:
        text = Text(renamed=dict(self.merged))
        text.names = {loop.name: f"i{number}" for number, loop in enumerate(self.loops)}
        # What depends on a reduction must not move in front of the loop over rows, whatever its indices.
        text.barrier = 1 if self.group.reductions else 0
        return text, Elements(text, self.group, self.storage, INLINE)

    def finish(self, text: Text, launch_n: Dim, per_item: Dim, stem: str = "", title: str = "") -> Launch:
        kernel = text.finish(stem or self.stem, title or self.title, self.traffic())
        grain: Dim = _GRAIN // (2 + self.cost)
        if per_item != 1:
            grain = dim_max(grain // (per_item + 1), 1)
        return Launch(kernel, launch_n, grain)

    def traffic(self) -> dict[str, Dim | None]:
        """Bytes that the kernel moves and operations that it does, for reports."""
        nbytes: Dim = 0
        for value in (*self.group.outputs, *(v for v in self.group.accesses if v not in self.group.inlined)):
            assert isinstance(value.type, TensorType)
            nbytes = nbytes + element_count(value.type.shape) * value.type.dtype.itemsize
        work = element_count([loop.extent for loop in self.group.loops])
        return {"bytes_moved": nbytes, "flops": work * max(1, sum(own_cost(i) for i in self.group.instructions))}

    def recover(self, text: Text, loops: Sequence[Loop], flat: str) -> None:
        """Statements that split a flat position into the loops' variables."""
        divisor: Dim = 1
        lines = []
        for number, loop in enumerate(reversed(loops)):
            name = text.variable(loop.name)
            value = flat if divisor == 1 else f"{flat} // {_atom(text.size(divisor))}"
            if number < len(loops) - 1:
                value = f"{value} % {_atom(text.size(loop.extent))}"
            if value != name:
                lines.append(f"{name} = {value}")
            divisor = divisor * loop.extent
        for line in reversed(lines):
            text.line(line)

    def lower_map(self) -> Launch:
        text, elements = self.start()
        if len(self.loops) <= 1:
            variables = {loop.name for loop in self.loops}
            name = text.variable(self.loops[0].name) if self.loops else "_"
            with text.block(f"for {name} in range(lo, hi):", variables):
                self.store_outputs(text, elements, self.loops)
            return self.finish(text, self.loops[0].extent if self.loops else 1, 1)
        *outer, inner = self.loops
        size = text.size(inner.extent)
        row = "row" if len(outer) > 1 else text.variable(outer[0].name)
        with text.block(f"for {row} in range(lo // {size}, (hi - 1) // {size} + 1):", {loop.name for loop in outer}):
            if len(outer) > 1:
                self.recover(text, outer, row)
            bounds = f"max(lo - {row} * {size}, 0), min(hi - {row} * {size}, {size})"
            with text.block(f"for {text.variable(inner.name)} in range({bounds}):", {inner.name}):
                self.store_outputs(text, elements, self.loops)
        return self.finish(text, element_count([loop.extent for loop in self.loops]), 1)

    def store_outputs(self, text: Text, elements: Elements, loops: Sequence[Loop]) -> None:
        """Store the outputs whose indices use exactly these loops, in the innermost scope."""
        names = frozenset(loop.name for loop in loops)
        for value, indices in self.group.outputs.items():
            if self.group.reductions and (self.level(indices) != names or value in self.done):
                continue
            self.store_output(text, elements, value)

    def store_output(self, text: Text, elements: Elements, value: Value) -> Callable[[], Code]:
        """Store one output; gives what loads it again."""
        indices = self.group.outputs[value]
        target, place = self.group.placements.get(value, (value, indices))
        assert isinstance(target.type, TensorType)
        dtype = target.type.dtype
        code = elements.element(value, indices)
        pointer = text.pointer(self.storage(target), dtype, written=True)
        address = text.index(flat_index(place, target.type.shape))
        text.store(pointer, address, code)
        return lambda: text.assign(text.scope, text.load(pointer, address, dtype), dtype)

    def level(self, indices: Indices) -> frozenset[str]:
        """The merged loops that an output is stored in: all of them, or the kept ones."""
        used = {s for i in indices for s in _loops_in(i)}
        reduced = {loop.name for loop in self.group.loops if loop.reduced}
        loops = self.loops if used & reduced else self.kept
        return frozenset(loop.name for loop in loops)

    # -- reductions --

    def stages(self) -> list[_Stage]:
        """The reductions in an order in which each finds those that it depends on complete."""
        order = {value: number for number, value in enumerate(self.group.inlined)}
        for value in self.group.outputs:
            order.setdefault(value, len(order))
        depth: dict[Value, int] = {}

        def depth_of(value: Value) -> int:
            if value not in depth:
                instruction = value.instruction
                result = 0
                if instruction is not None and (value in self.group.inlined or value in self.group.outputs):
                    tensors = [o for o in instruction.inputs if isinstance(o.type, TensorType)]
                    result = max((depth_of(o) for o in tensors), default=0)
                    if value in self.group.reductions:
                        result += 1
                depth[value] = result
            return depth[value]

        by_depth: dict[int, list[Value]] = {}
        for value in self.group.reductions:
            by_depth.setdefault(depth_of(value), []).append(value)
        return [_Stage(by_depth[d]) for d in sorted(by_depth)]

    def operands(self, stages: Sequence[_Stage]) -> list[Value]:
        """What the reductions of some stages reduce."""
        found = []
        for stage in stages:
            for value in stage.reductions:
                assert value.instruction is not None and value.instruction.operands[0] is not None
                found.append(value.instruction.operands[0])
        return found

    def reach(self, roots: Sequence[Value], stop: Value | None = None) -> set[Value]:
        """Values computed here that the roots are made from, up to reductions and `stop`."""
        group = self.group
        seen: set[Value] = set()
        pending = list(roots)
        while pending:
            value = pending.pop()
            if value in seen or value in group.reductions or value is stop:
                continue
            if value not in group.inlined and value not in group.outputs:
                continue
            seen.add(value)
            assert value.instruction is not None
            pending.extend(o for o in value.instruction.inputs if isinstance(o.type, TensorType))
        return seen

    def swept_outputs(self, stage: _Stage) -> list[Value]:
        """Outputs of the size of the rows that a stage's sweep computes anyway: they are stored there."""
        full = frozenset(loop.name for loop in self.loops)
        computed = self.reach(self.operands([stage]))
        return [v for v, i in self.group.outputs.items() if v in computed and self.level(i) == full]

    def store_swept(self, text: Text, elements: Elements, stage: _Stage) -> None:
        """Store the outputs of a sweep; later sweeps load them."""
        for value in self.swept_outputs(stage):
            if value not in self.done:
                load = self.store_output(text, elements, value)
                elements.overrides[value, self.group.outputs[value]] = load

    def kept_indices(self, value: Value) -> Indices:
        """The indices at which the group reads a reduction's result."""
        indices = self.group.outputs.get(value)
        return indices if indices is not None else next(iter(self.group.accesses[value]))

    def reduction_parts(self, value: Value) -> tuple[Instruction, Reduce, DType]:
        instruction = value.instruction
        assert instruction is not None and isinstance(instruction.op.lower, Reduce)
        assert isinstance(value.type, TensorType)
        return instruction, instruction.op.lower, value.type.dtype

    def mapped(self, elements: Elements, value: Value) -> Code:
        """The reduction's operand at the current loop variables, as it is accumulated."""
        instruction, lowering, dtype = self.reduction_parts(value)
        operand = instruction.operands[0]
        assert operand is not None
        read = operand_indices(instruction, operand, self.kept_indices(value), self.group.extents, self.group.reduced)
        code = elements.element(operand, read)
        if lowering.map == "{x}":
            return cast(code, dtype, elements.text.requirements)
        return self.translate(elements, instruction, lowering.map, {"x": code}, None, dtype)

    def translate(
        self,
        elements: Elements,
        instruction: Instruction,
        expression: str,
        operands: dict[str, Code],
        compute: DType | None,
        result: DType,
    ) -> Code:
        try:
            return translate(
                expression, operands, instruction.attributes, compute, result, elements.text.requirements, []
            )
        except Untranslatable as error:
            raise Unsupported(f"{instruction.op.name}: {error}", instruction.location) from error

    def initial(self, elements: Elements, value: Value) -> str:
        instruction, lowering, dtype = self.reduction_parts(value)
        if lowering.init in ("-inf", "inf"):
            return extreme(dtype, lowest=lowering.init == "-inf")
        return self.translate(elements, instruction, lowering.init, {}, dtype, dtype).text

    def combine(self, elements: Elements, value: Value, accumulator: str, code: str, *, free_order: bool) -> str:
        """The accumulator joined with another value; `free_order` lets LLVM keep one accumulator per lane."""
        instruction, lowering, dtype = self.reduction_parts(value)
        expression = lowering.combine
        if free_order and dtype.kind == "f":
            expression = _STEPS.get(expression, expression)
        operands = {"acc": Code(accumulator, dtype), "x": Code(code, dtype)}
        return self.translate(elements, instruction, expression, operands, dtype, dtype).text

    def complete(self, elements: Elements, value: Value, accumulator: str) -> Code:
        """The reduction's result from its accumulator."""
        instruction, lowering, dtype = self.reduction_parts(value)
        if lowering.finish == "{acc}":
            return Code(accumulator, dtype)
        count = element_count([loop.extent for loop in self.group.reduced])
        operands = {"acc": Code(accumulator, dtype), "n": Code(elements.text.size(count), dtypes.int64)}
        return self.translate(elements, instruction, lowering.finish, operands, dtype, dtype)

    def in_runs(self, value: Value) -> bool:
        """Whether a sum is long enough to be made from runs."""
        _, lowering, dtype = self.reduction_parts(value)
        extent = self.reduced[-1].extent
        return (
            lowering.combine == "{acc} + {x}" and dtype.kind == "f" and not (isinstance(extent, int) and extent <= _RUN)
        )

    def lower_rows(self) -> Launch:
        text, elements = self.start()
        spill = _Spill(self, elements)
        kept = {loop.name for loop in self.kept}
        single = text.variable(self.kept[0].name) if len(self.kept) == 1 else "row"
        with text.block(f"for {single} in range(lo, hi):", kept):
            if len(self.kept) > 1:
                self.recover(text, self.kept, "row")
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
            if any(self.level(i) != frozenset(kept) for i in left):
                self.nested(text, self.reduced, lambda: self.store_outputs(text, elements, self.loops))
        per_row = element_count([loop.extent for loop in self.reduced])
        return self.finish(text, element_count([loop.extent for loop in self.kept]), per_row)

    def nested(self, text: Text, loops: Sequence[Loop], innermost: Callable[[], None]) -> None:
        """Plain nested loops."""
        if not loops:
            innermost()
            return
        loop = loops[0]
        with text.block(f"for {text.variable(loop.name)} in range({text.size(loop.extent)}):", {loop.name}):
            self.nested(text, loops[1:], innermost)

    def sweep(
        self,
        text: Text,
        elements: Elements,
        stage: _Stage,
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
        stage: _Stage,
        accumulators: dict[Value, str],
        loops: Sequence[Loop],
        spill: Callable[[], None] | None,
    ) -> None:
        """The inner loops with accumulators of their own, which are then joined to the outer ones."""
        partial = self.partials(text, elements, stage)
        self.sweep(text, elements, stage, partial, loops, spill)
        self.join(text, elements, stage, accumulators, partial)

    def partials(self, text: Text, elements: Elements, stage: _Stage) -> dict[Value, str]:
        return {
            value: text.assign(text.scope, self.initial(elements, value), dtypes.float32, "", "p").text
            for value in stage.reductions
        }

    def join(
        self, text: Text, elements: Elements, stage: _Stage, accumulators: dict[Value, str], partial: dict[Value, str]
    ) -> None:
        for value in stage.reductions:
            joined = self.combine(elements, value, accumulators[value], partial[value], free_order=False)
            text.line(f"{accumulators[value]} = {joined}")

    def step(
        self,
        text: Text,
        elements: Elements,
        stage: _Stage,
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

    # -- columns --

    def lower_columns(self) -> Launch:
        text, elements = self.start()
        *outer, column = self.kept
        blocks = _ceil_div(column.extent, _COLUMNS)
        item = "item"
        arrays = self.column_arrays(text)
        with text.block(f"for {item} in range(lo, hi):", {loop.name for loop in outer}):
            self.open_columns(text, outer, column, blocks, item)
            self.column_stages(text, elements, arrays, column)
            with text.block(self.columns_header(text, column), {column.name}):
                self.store_outputs(text, elements, self.kept)
        n = element_count([loop.extent for loop in outer]) * blocks
        rows = element_count([loop.extent for loop in self.reduced])
        return self.finish(text, n, rows * _COLUMNS)

    def column_arrays(self, text: Text) -> dict[Value, str]:
        """One accumulator per column and reduction, on the stack."""
        arrays: dict[Value, str] = {}
        for value in self.group.reductions:
            arrays[value] = text.fresh("a")
            text.line(f"{arrays[value]} = {self.stack(text, value)}({_COLUMNS})")
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
            text.line(f"first = {item} % {size} * {_COLUMNS}")
            if len(outer) > 1:
                self.recover(text, outer, "row")
        else:
            text.line(f"first = {item} * {_COLUMNS}")
        text.line(f"last = min(first + {_COLUMNS}, {text.size(column.extent)})")

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

            def innermost(stage: _Stage = stage) -> None:
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
            if any(self.reduction_parts(v)[1].finish != "{acc}" for v in stage.reductions):
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

    # -- split reductions --

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
            items = outer * _ceil_div(self.kept[-1].extent, _COLUMNS)
        work = element_count([loop.extent for loop in self.loops])
        return isinstance(items, int) and 0 < items < 16 and not (isinstance(work, int) and work <= 4 * _CHUNK)

    def lower_split(self) -> list[Launch]:
        columns = not self.loops[-1].reduced
        first = self.reduced[0]
        inner = element_count([loop.extent for loop in self.reduced[1:]])
        if columns:
            inner = inner * dim_min(self.kept[-1].extent, _COLUMNS)
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
        with text.block("for item in range(lo, hi):", {loop.name for loop in self.kept}):
            if self.kept:
                text.line(f"row = item // {text.size(chunks)}")
                text.line(f"chunk = item % {text.size(chunks)}")
                self.recover(text, self.kept, "row")
            else:
                text.line("chunk = item")
            bounds = self.chunk_bounds(text, first, length)
            accumulators = {}
            for value in stage.reductions:
                instruction, _, dtype = self.reduction_parts(value)
                start = self.initial(elements, value)
                accumulators[value] = text.assign(text.scope, start, dtype, describe(instruction), "a").text
            self.sweep(text, elements, stage, accumulators, self.reduced, None, bounds)
            for number, value in enumerate(stage.reductions):
                _, _, dtype = self.reduction_parts(value)
                text.store(text.temporary(number, dtype), "item", Code(accumulators[value], dtype))
        per_item = element_count([length, *(loop.extent for loop in self.reduced[1:])])
        launches = [self.finish(text, rows * chunks, per_item, f"{self.stem}_chunks", f"{self.title}, in chunks")]
        text, elements = self.start()
        kept = {loop.name for loop in self.kept}
        with text.block("for row in range(lo, hi):", kept):
            self.recover(text, self.kept, "row")
            self.combine_chunks(text, elements, stage, f"row * {text.size(chunks)} + chunk", chunks)
            self.store_outputs(text, elements, self.kept)
        launches.append(self.finish(text, rows, chunks, f"{self.stem}_join", f"{self.title}, chunks joined"))
        return launches

    def combine_chunks(self, text: Text, elements: Elements, stage: _Stage, place: str, chunks: Dim) -> None:
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
        blocks = _ceil_div(column.extent, _COLUMNS)
        rows = element_count([loop.extent for loop in outer])
        text, elements = self.start()
        arrays = self.column_arrays(text)
        with text.block("for item in range(lo, hi):", {loop.name for loop in outer}):
            text.line(f"chunk = item // {text.size(rows * blocks)}")
            text.line(f"block = item % {text.size(rows * blocks)}")
            self.open_columns(text, outer, column, blocks, "block")
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
        per_item = element_count([length, *(loop.extent for loop in self.reduced[1:])]) * _COLUMNS
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


class _Spill:
    """Which value of a row is kept in the output's own row between sweeps, so that it is not computed again.

    Only one value at a time: the costliest that a sweep computes and a later one needs.
    """

    def __init__(self, nest: _Nest, elements: Elements) -> None:
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
        for value in now & later:
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
            pointer = text.pointer(nest.storage(output), dtype, written=True)
            address = text.index(flat_index(place, output.type.shape))  # type: ignore[attr-defined]
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


def _loops_in(dim: Dim) -> set[str]:
    return set(loop_symbols(dim))


def _atom(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _move_together(position: Dim, outer: Loop, inner: Loop) -> bool:
    outer_factor, inner_factor = coefficient(position, outer.name), coefficient(position, inner.name)
    return outer_factor is not None and inner_factor is not None and outer_factor == inner_factor * inner.extent


def _drop(position: Dim, name: str) -> Dim:
    return substitute(position, {name: 0})


def extreme(dtype: DType, *, lowest: bool) -> str:
    """The identity of maximum (`lowest`) or minimum as a typed literal."""
    if dtype is dtypes.bool_:
        return str(not lowest)
    if dtype.kind == "f":
        return literal(float("-inf") if lowest else float("inf"), dtype)
    bits = 8 * dtype.itemsize
    if dtype.kind == "u":
        return literal(0 if lowest else (1 << bits) - 1, dtype)
    value = -(1 << (bits - 1)) if lowest else (1 << (bits - 1)) - 1
    # The most negative int64 has no literal of its own: -x is the negation of x, which does not fit.
    return f"(-{(1 << 63) - 1} - 1)" if value == -(1 << 63) else literal(value, dtype)
