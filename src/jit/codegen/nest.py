"""What all shapes of loop nests share: loops, outputs, reductions as text, and the finished kernel."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim, DimExpr, dim_max, substitute
from ...ir.dtypes import DType
from ...ir.ops._op import Reduce
from ...ir.types import TensorType
from ..expected_sizes import SHORT, SHORT_TO_GATHER, expected_size, probable_step
from .access import operand_indices
from .elements import Elements
from .fusion import Group, Unsupported, own_cost
from .image_layout import position
from .indexing import Indices, Loop, coefficient, element_count, loop_symbols
from .inline import INLINE
from .kernel_text import Kernel, Text
from .scalar_code import Code, Untranslatable, cast, literal, translate, working

__all__ = ["Launch", "Nest", "Stage", "Temporary", "extreme", "move_together"]

# Work of about 20 microseconds, in units of simple operations on one element.
_GRAIN = 200_000
# The cost of an exponential and more.
_MUCH = 10

# How steps are written inside one loop, where LLVM may use one accumulator per lane.
_STEPS = {
    "{acc} + {x}": "sum_step({acc}, {x})",
    "{acc} * {x}": "product_step({acc}, {x})",
    "maximum({acc}, {x})": "maximum_step({acc}, {x})",
    "minimum({acc}, {x})": "minimum_step({acc}, {x})",
}
# Ops that read their operand under a condition.
_GUARDS = ("pad", "max_pool2d", "avg_pool2d")


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
    note: str = ""  # what the user should know of it


@dataclass
class Stage:
    """Reductions that need no others than those of earlier stages."""

    reductions: list[Value]


class Nest:
    """A group with its loops merged as far as addresses allow; subclasses write the loops."""

    def __init__(self, group: Group, storage: Callable[[Value], Value]) -> None:
        self.group = group
        self.storage = storage
        self.merged: dict[str, Dim] = {}
        self.done: set[Value] = set()  # outputs that a sweep has stored
        self.unrolls = False  # whether its innermost loops are short, and known to be
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

    def merge_loops(self) -> list[Loop]:
        """The loops with neighbours made one where every address allows it: contiguous tensors get one flat loop."""
        positions = self.positions()
        loops = [Loop(loop.name, loop.extent, loop.reduced) for loop in self.group.loops]
        at = len(loops) - 2
        while at >= 0:
            outer, inner = loops[at], loops[at + 1]
            if outer.reduced == inner.reduced and all(move_together(p, outer, inner) for p in positions):
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
            found.append(position(value, indices))
        for value, accesses in group.accesses.items():
            assert isinstance(value.type, TensorType)
            inlined = value in group.inlined or value in group.outputs
            instruction = value.instruction
            for indices in accesses:
                if not inlined:
                    found.append(position(value, indices))
                elif instruction is not None and instruction.op.name in INLINE:
                    found.extend(indices)
        for value, indices in group.outputs.items():
            if value.instruction is not None and value.instruction.op.name in INLINE:
                found.extend(indices)
        return found

    def start(self) -> tuple[Text, Elements]:
        text = Text(renamed=dict(self.merged))
        loops = [*self.loops, *(loop for rows in self.group.rows.values() for loop in rows)]
        names = dict.fromkeys(loop.name for loop in loops)
        text.names = {name: f"i{number}" for number, name in enumerate(names)}
        # What depends on a reduction must not move in front of the loop over rows, whatever its indices.
        text.barrier = 1 if self.group.reductions else 0
        return text, Elements(text, self.group, self.storage, INLINE)

    def finish(self, text: Text, launch_n: Dim, per_item: Dim, stem: str = "", title: str = "") -> Launch:
        kernel = text.finish(
            stem or self.stem, title or self.title, self.traffic(), self.short_parameters(text), unrolls=self.unrolls
        )
        grain: Dim = _GRAIN // (2 + self.cost)
        if per_item != 1:
            grain = dim_max(grain // (per_item + 1), 1)
        return Launch(kernel, launch_n, grain)

    def rows(self) -> list[Loop]:
        """The innermost loops, which are one for each item of the range."""
        return self.reduced if self.reduced and self.loops[-1].reduced else []

    def gathers(self) -> bool:
        """Whether it pays to gather the elements of short rows: no rows are stored, and much is computed."""
        if not self.group.reductions or self.cost < _MUCH:
            return False
        kept = frozenset(loop.name for loop in self.kept)
        return all(self.level(indices) == kept for indices in self.group.outputs.values())

    def short_parameters(self, text: Text) -> dict[str, int]:
        """The kernel's parameters whose expected values are small and decide how it is vectorised, with these values.

        They are the lengths of short rows, and the steps with which the inner loops move through memory: LLVM loads
        three neighbours of each element together where it knows that they are three.
        """
        loops = self.rows()
        size = expected_size(element_count([loop.extent for loop in loops]))
        short = size is not None and 1 < size <= (SHORT_TO_GATHER if self.gathers() else SHORT)
        if not loops and not self.group.reductions and len(self.loops) > 1:
            inner = expected_size(self.loops[-1].extent)
            if inner is not None and SHORT < inner <= SHORT_TO_GATHER:
                loops, short = self.loops[-1:], True
        short_loops = [*(loops if short else ()), *(loop for rows in self.group.rows.values() for loop in rows)]
        symbols = {s for loop in short_loops if isinstance(loop.extent, DimExpr) for s in loop.extent.symbols()}
        found = {}
        small = {}
        for parameter in text.parameters.values():
            kind, dim = parameter.source[0], parameter.source[-1]
            if kind != "dim" or not isinstance(dim, DimExpr):
                continue
            value = expected_size(dim)
            if value is None:
                step = probable_step(dim)
                if step is not None and dim in self.steps():
                    found[parameter.name] = step
                continue
            if dim.symbols() <= symbols:
                found[parameter.name] = value
            elif 0 <= value <= SHORT_TO_GATHER:
                small[parameter.name] = value
                if 1 < value <= SHORT and dim in self.steps():
                    found[parameter.name] = value
        return found | small if found else {}

    def steps(self) -> set[Dim]:
        """How far the innermost loops move through what they read and write."""
        rows = self.rows()
        around = next((loop for loop in reversed(self.loops) if loop not in rows), None)
        found: set[Dim] = set()
        for place in self.positions():
            for loop in (*rows, around):
                if loop is not None:
                    step = coefficient(substitute(place, self.merged), loop.name)
                    found |= {step} if isinstance(step, DimExpr) else set()
        return found

    def traffic(self) -> dict[str, Dim | None]:
        """Bytes that the kernel moves and operations that it does, for reports."""
        nbytes: Dim = 0
        for value in (*self.group.outputs, *(v for v in self.group.accesses if v not in self.group.inlined)):
            assert isinstance(value.type, TensorType)
            nbytes = nbytes + element_count(value.type.shape) * value.type.dtype.itemsize
        work = element_count([loop.extent for loop in self.group.loops])
        return {"bytes_moved": nbytes, "flops": work * max(1, sum(own_cost(i) for i in self.group.instructions))}

    @contextmanager
    def rows_of(self, text: Text, outer: Sequence[Loop], size: str, start: str, stop: str) -> Iterator[str]:
        """A loop over the rows of a size that items [start, stop) lie in, whole or not; gives the row in the text."""
        row, first = text.variable(outer[0].name), f"{start} // {size}"
        if len(outer) > 1:
            row, first = "row", "first"
            text.line(f"first = {start} // {size}")
            self.recover(text, outer, first)
        with text.block(f"for {row} in range({first}, ({stop} - 1) // {size} + 1):", {loop.name for loop in outer}):
            yield row
            if len(outer) > 1:
                self.advance(text, outer)

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

    def advance(self, text: Text, loops: Sequence[Loop]) -> None:
        """Statements that move the loops' variables to the next position: a division takes longer than a short row."""
        if not loops:
            return
        *outer, loop = loops
        name = text.variable(loop.name)
        text.line(f"{name} += 1")
        if outer:
            with text.block(f"if {name} == {text.size(loop.extent)}:"):
                text.line(f"{name} = 0")
                self.advance(text, outer)

    def nested(self, text: Text, loops: Sequence[Loop], innermost: Callable[[], None]) -> None:
        """Plain nested loops."""
        if not loops:
            innermost()
            return
        loop = loops[0]
        with text.block(f"for {text.variable(loop.name)} in range({text.size(loop.extent)}):", {loop.name}):
            self.nested(text, loops[1:], innermost)

    def store_outputs(self, text: Text, elements: Elements, loops: Sequence[Loop]) -> None:
        """Store the outputs whose indices use exactly these loops, in the innermost scope."""
        names = frozenset(loop.name for loop in loops)
        by_rows: dict[tuple[str, ...], list[Value]] = {}
        for value, indices in self.group.outputs.items():
            if self.group.reductions and (self.level(indices) != names or value in self.done):
                continue
            by_rows.setdefault(tuple(loop.name for loop in self.group.rows.get(value, ())), []).append(value)

        def store(values: Sequence[Value]) -> None:
            for value in values:
                self.store_output(text, elements, value)

        for values in by_rows.values():
            self.nested(text, self.group.rows.get(values[0], ()), partial(store, values))

    def store_output(self, text: Text, elements: Elements, value: Value) -> Callable[[], Code]:
        """Store one output; gives what loads it again."""
        indices = self.group.outputs[value]
        target, place = self.group.placements.get(value, (value, indices))
        assert isinstance(target.type, TensorType)
        dtype = target.type.dtype
        code = cast(elements.element(value, indices), dtype, text.requirements)
        pointer = text.pointer(self.storage(target), dtype, written=True)
        address = text.index(position(target, place))
        text.store(pointer, address, code)
        return lambda: text.assign(text.scope, text.load(pointer, address, dtype), dtype)

    def level(self, indices: Indices) -> frozenset[str]:
        """The merged loops that an output is stored in: all of them, or the kept ones."""
        used = {s for i in indices for s in _loops_in(i)}
        reduced = {loop.name for loop in self.group.loops if loop.reduced}
        loops = self.loops if used & reduced else self.kept
        return frozenset(loop.name for loop in loops)

    def stages(self) -> list[Stage]:
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
        return [Stage(by_depth[d]) for d in sorted(by_depth)]

    def operands(self, stages: Sequence[Stage]) -> list[Value]:
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

    def guarded(self) -> set[Value]:
        """Values that are read only where a border or a window's edge is not: elsewhere their indices are outside."""
        group = self.group
        found: set[Value] = set()
        pending = [o for i in group.instructions if i.op.name in _GUARDS for o in i.inputs]
        while pending:
            value = pending.pop()
            if value in found or not isinstance(value.type, TensorType):
                continue
            found.add(value)
            if value in group.inlined and value.instruction is not None:
                pending.extend(value.instruction.inputs)
        return found

    def swept_outputs(self, stage: Stage) -> list[Value]:
        """Outputs of the size of the rows that a stage's sweep computes anyway: they are stored there."""
        full = frozenset(loop.name for loop in self.loops)
        computed = self.reach(self.operands([stage]))
        return [v for v, i in self.group.outputs.items() if v in computed and self.level(i) == full]

    def store_swept(self, text: Text, elements: Elements, stage: Stage) -> None:
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
        return instruction, instruction.op.lower, working(value.type.dtype)

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
            raise Unsupported(f"{instruction.op.name}: {error}", instruction.location, instruction) from error

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
        assert isinstance(value.type, TensorType)
        if lowering.finish == "{acc}":
            return cast(Code(accumulator, dtype), value.type.dtype, elements.text.requirements)
        count = element_count([loop.extent for loop in self.group.reduced])
        operands = {"acc": Code(accumulator, dtype), "n": Code(elements.text.size(count), dtypes.int64)}
        return self.translate(elements, instruction, lowering.finish, operands, dtype, value.type.dtype)


def _loops_in(dim: Dim) -> set[str]:
    return set(loop_symbols(dim))


def _atom(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def move_together(position: Dim, outer: Loop, inner: Loop) -> bool:
    """Whether a step of the outer loop moves an address as far as the whole inner loop does: they can be one."""
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
