"""Fusion: which values of a block are computed together, in one loop nest, and which are stored.

A *group* becomes one kernel: loops over an iteration space, values that exist only inside ("inlined"), and outputs that
are stored. The block is walked backwards. A value that one group alone uses is inlined into it; one that several use
is inlined into each if it is cheap, else stored. For every inlined value the group knows at which indices it is read,
so that "is this read once per element?" and "is this row's reduction complete?" are questions about index polynomials.

Reductions join the group of their consumers in three cases: the consumers need only the reduced values (an epilogue:
mean, then square root); the group reduces over the same loops already (mean, then variance); or the group's inner loops
are what is reduced, so that rows are handled one by one while they are in cache (softmax, layer_norm).
"""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from ...ir.core import Block, Instruction, Value
from ...ir.dims import Dim
from ...ir.ops._op import Elementwise, Reduce, View
from ...ir.types import TensorType
from ..errors import Unsupported
from ..expected_sizes import SHORT, expected_size
from .access import operand_indices, reduced_axes
from .complex_parts import ALIASES
from .fusion_report import describe, named
from .groups import Group, Plan, count_uses, loops_over, order_of, own_cost, visits_once
from .image_layout import layout_of
from .indexing import (
    LOOP_PREFIX,
    Indices,
    Loop,
    depends_on,
    element_count,
)
from .parts import parts_together
from .reads import PARTS, READS, UPDATES, is_anywhere

__all__ = ["Group", "Plan", "Unsupported", "count_uses", "own_cost", "plan_block", "visits_once"]

# Inner rows up to this many elements may be handled one by one even where there is a single row.
_SMALL_ROW = 4096
_CHEAP = 4
# The cost of an exponential and more, and the numbers up to which a loop is short beside one that is not vectorised.
_MUCH, _FEW = 10, 64
# The cost of what a reduction is part of.
_UNKNOWN = 1000
_PRODUCTS = ("matmul", "linear", "conv2d", "conv3d")


@dataclass
class Planner:
    """The backward walk over one block."""

    block: Block
    stored_operands: Any  # (instruction) -> operands that it reads from memory; None: not computed in kernels
    accepts_epilogue: Any  # (instruction, group) -> bool
    writable: Container[Value] = ()  # arguments of the block whose memory may be overwritten
    on_host: Container[Instruction] | None = None  # what Python is called back for; None where it never is
    groups: list[Group] = field(default_factory=list)
    aliases: dict[Value, Value] = field(default_factory=dict)
    hard: dict[Value, int] = field(default_factory=dict)  # value -> first position at which it must lie in memory
    costs: dict[Value, int] = field(default_factory=dict)
    readers: dict[Value, Instruction] = field(default_factory=dict)  # what reads it from memory first
    notes: dict[Instruction, list[str]] = field(default_factory=dict)  # why an instruction is where it is

    def chain_cost(self, value: Value) -> int:
        """The cost of an element, computed from what a chain of elementwise operations reads."""
        if value in self.costs:
            return self.costs[value]
        instruction = value.instruction
        cost = 0
        if instruction is not None and instruction.block is self.block:
            lowering = instruction.op.lower
            if isinstance(lowering, (Elementwise, View)):
                tensors = [o for o in instruction.inputs if isinstance(o.type, TensorType)]
                cost = own_cost(instruction) + sum(self.chain_cost(o) for o in tensors)
            elif isinstance(lowering, Reduce):
                cost = _UNKNOWN
        self.costs[value] = min(cost, _UNKNOWN)
        return self.costs[value]

    def need(self, value: Value, position: int, reader: Instruction) -> None:
        """The value must lie in memory before `position`, where `reader` reads it."""
        if isinstance(value.type, TensorType) and position <= self.hard.get(value, position):
            self.hard[value] = position
            self.readers[value] = reader

    def note(self, instruction: Instruction, text: str) -> None:
        self.notes.setdefault(instruction, []).append(text)

    # -- the walk --

    def run(self) -> Plan:
        instructions = self.block.instructions
        for position in range(len(instructions) - 1, -1, -1):
            instruction = instructions[position]
            lowering = instruction.op.lower
            is_tensor = len(instruction.results) == 1 and isinstance(instruction.results[0].type, TensorType)
            reads = self.stored_operands(instruction)
            if instruction.op.name in PARTS and is_tensor and instruction not in (self.on_host or ()):
                self.visit_parts(instruction, position)
            elif instruction.op.name in ALIASES and self.on_host is not None:
                self.visit_alias(instruction)
            elif reads is not None:
                self.visit_other(instruction, position, reads)
            elif is_tensor and isinstance(lowering, View):
                self.visit_view(instruction, position)
            elif is_tensor and isinstance(lowering, Reduce):
                self.visit_reduction(instruction, position)
            elif is_tensor:
                self.visit_pointwise(instruction, position)
        self.groups.reverse()
        return Plan(self.groups, self.aliases, describe(self))

    def visit_other(self, instruction: Instruction, position: int, reads: list[Value]) -> None:
        if len(instruction.results) == 1 and isinstance(instruction.results[0].type, TensorType):
            value = instruction.results[0]
            users = self.using(value)
            if users and (reason := self.apart(instruction, value, users)) is not None:
                self.note(instruction, f"not fused with what follows: {reason}")
            elif users:
                users[0].contraction = instruction
                position = users[0].position
        for value in reads:
            self.need(value, position, instruction)
        for region in instruction.regions:
            for inner in region.walk():
                for value in inner.inputs:
                    self.need(value, position, inner)

    def apart(self, instruction: Instruction, value: Value, users: list[Group]) -> str | None:
        """Why what follows an instruction with code of its own cannot be done as its result is made; None if it can."""
        group = users[0]
        if value in self.hard:
            return f"{named(self.readers[value])} reads its result from memory"
        if len(users) > 1:
            return f"{len(users)} kernels use its result"
        if group.contraction is not None:
            return f"that is fused with another {group.contraction.op.name}"
        if group.reductions:
            return "that is a reduction"
        if len(group.outputs) != 1:
            return "that has several results"
        if self.single_access(group, value) is None or not self.covers(group, value, group.loops):
            return "that reads its result in another order"
        if any(self.looks_up(other, group) for other in group.instructions):
            return "that reads at places which may be out of bounds"
        if not self.accepts_epilogue(instruction, group):
            return f"{instruction.op.name} cannot store its result in that form"
        return None

    def visit_parts(self, instruction: Instruction, position: int) -> None:
        """A value that is made of parts: each part is stored into its place, by a group of its own."""
        value = instruction.results[0]
        if value not in self.hard and not self.using(value):
            return
        self.need(value, position + 1, instruction)
        parts = PARTS[instruction.op.name](instruction)
        if instruction.op.name in UPDATES and self.may_overwrite(parts[0][0]):
            base = parts[0][0]
            self.aliases[value] = base
            self.need(base, position, instruction)
            parts = parts[1:]
            self.note(instruction, "written into its operand, which nothing else uses")
        if (together := parts_together(self, instruction, parts)) is not None:
            together.position = position
            self.groups.append(together)
            return
        for part, place in reversed(parts):
            loops, indices = loops_over(part, value)
            group = Group(position, loops, {part: indices}, accesses={part: {indices}}, origin=instruction)
            group.placements[part] = (value, tuple(place(list(indices))))
            self.groups.append(group)

    def may_overwrite(self, value: Value) -> bool:
        """Whether a value lies in memory of its own that nothing reads after its only user."""
        if count_uses(self.block, value) != 1:
            return False
        if value in self.writable:
            return True
        instruction = value.instruction
        if instruction is None or instruction.block is not self.block or instruction.regions:
            return False
        if instruction.op.name in ("constant", "tuple.get", "list.get", "call", *ALIASES):
            return False  # somebody else's memory, perhaps
        return not isinstance(instruction.op.lower, View)

    def using(self, value: Value) -> list[Group]:
        return [g for g in self.groups if value in g.accesses]

    def inline(self, group: Group, value: Value) -> None:
        group.inlined[value] = None
        instruction = value.instruction
        assert instruction is not None
        if instruction.op.name == "constant":
            return
        for indices in sorted(group.accesses[value], key=str):
            self.spread(group, instruction, indices)

    def spread(self, group: Group, instruction: Instruction, indices: Indices) -> None:
        """Record what an inlined instruction reads."""
        try:
            self.spread_reads(group, instruction, indices)
        except Unsupported as unsupported:
            unsupported.instruction = unsupported.instruction or instruction
            raise

    def spread_reads(self, group: Group, instruction: Instruction, indices: Indices) -> None:
        reads = READS.get(instruction.op.name)
        if reads is not None:
            for operand, places in reads(instruction, indices):
                group.accesses.setdefault(operand, set()).update(places)
            return
        for operand in instruction.inputs:
            if isinstance(operand.type, TensorType):
                read = operand_indices(instruction, operand, indices, group.extents, group.reduced)
                group.accesses.setdefault(operand, set()).add(read)

    def new_group(self, value: Value, position: int) -> Group:
        """A group whose loops run over the value's own dimensions."""
        assert isinstance(value.type, TensorType)
        loops, indices = loops_over(value, value)
        group = Group(position, loops, {value: indices})
        self.groups.append(group)
        assert value.instruction is not None
        self.spread(group, value.instruction, indices)
        return group

    # -- questions about accesses --

    def single_access(self, group: Group, value: Value) -> Indices | None:
        accesses = group.accesses[value]
        return next(iter(accesses)) if len(accesses) == 1 else None

    def covers(self, group: Group, value: Value, loops: list[Loop]) -> bool:
        """Whether the loops visit every element of the value exactly once."""
        indices = self.single_access(group, value)
        return indices is not None and visits_once(value, indices, loops)

    def looks_up(self, instruction: Instruction, group: Group) -> bool:
        """Whether an instruction reads at places that only memory knows."""
        reads = READS.get(instruction.op.name)
        if reads is None:
            return False
        accesses = [i for result in instruction.results for i in group.accesses.get(result, ())]
        return any(is_anywhere(p) for i in accesses for _, places in reads(instruction, i) for p in places)

    def repeats(self, group: Group, value: Value) -> bool:
        """Whether inlining computes elements of the value more than once (apart from once per row)."""
        accesses = group.accesses[value]
        if len(accesses) > 1:
            return True
        used = depends_on(next(iter(accesses)))
        if not group.loops or group.loops[-1].name not in used:
            return False
        return any(loop.name not in used for loop in group.loops)

    def is_alone(self, group: Group, value: Value) -> bool:
        """Whether much is computed in front of a short inner loop, one number at a time: its own loop fills vectors."""
        if not _MUCH <= self.chain_cost(value) < _UNKNOWN or not group.loops or group.loops[-1].reduced:
            return False
        inner = group.loops[-1]
        size = expected_size(inner.extent) or 0
        used = {name for indices in group.accesses[value] for name in depends_on(indices)}
        # Still shorter loops are unrolled, and vectors run along the loop around them.
        return SHORT < size <= _FEW and bool(used) and inner.name not in used

    def may_join(self, group: Group, value: Value) -> bool:
        """Whether the group runs early enough to store the value for its other users."""
        if self.hard.get(value, 1 << 60) <= group.position:
            return False
        return all(g is group or g.position > group.position for g in self.using(value))

    # -- one method per kind of instruction --

    def visit_alias(self, instruction: Instruction) -> None:
        """Another name for the memory of the operand."""
        value, source = instruction.results[0], instruction.inputs[0]
        positions = [group.position for group in self.using(value)]
        if value in self.hard:
            positions.append(self.hard[value])
        if positions:
            self.aliases[value] = source
            self.need(source, min(positions), self.readers.get(value, instruction))

    def visit_view(self, instruction: Instruction, position: int) -> None:
        value = instruction.results[0]
        for group in self.using(value):
            self.inline(group, value)
        if value in self.hard:
            assert isinstance(instruction.op.lower, View)
            source = instruction.operands[0]
            assert source is not None
            if instruction.op.lower.reinterpret and layout_of(source) is None:
                self.aliases[value] = source
                self.need(source, self.hard[value], self.readers[value])
            else:
                self.new_group(value, position)
                self.note(instruction, "copied, because what uses it reads contiguous memory")

    def visit_pointwise(self, instruction: Instruction, position: int) -> None:
        value = instruction.results[0]
        users = self.using(value)
        cost = self.chain_cost(value)
        free = own_cost(instruction) == 0 and not any(isinstance(o.type, TensorType) for o in instruction.inputs)
        must_store = value in self.hard
        if not users and not must_store:
            return
        if not free and any(is_anywhere(i) for g in users for i in g.accesses[value]):
            # Read at places that memory or a window says: each element may be read many times.
            must_store = True
        if any(g.contraction is not None and self.looks_up(instruction, g) for g in users):
            must_store = True  # a place out of bounds is reported, and the tiles of a product report nothing
        finishing = bool(users) and self.finishes_product(instruction)
        if finishing and (len(users) > 1 or users[0].reductions or self.repeats(users[0], value)):
            # The product is stored in any case: stored with this done, its readers do less.
            self.new_group(value, position)
            return
        joined: Group | None = None
        if must_store or (len(users) > 1 and cost > _CHEAP and not free):
            if len(users) > 1 and not must_store:
                self.note(instruction, f"stored: {len(users)} kernels use it, and computing it again costs more")
            must_store = True
            for group in users:
                if group.contraction is not None or value in group.placements or not self.may_join(group, value):
                    continue
                target = group.kept if group.reductions else group.loops
                if self.covers(group, value, group.loops) or (group.reductions and self.covers(group, value, target)):
                    joined = group
                    break
        elif any(self.is_alone(g, value) for g in users):
            self.note(instruction, "stored: much is computed, between short loops of its consumer")
            must_store = True
        elif any(self.repeats(g, value) for g in users) and cost > _CHEAP and not free:
            self.note(instruction, "stored: its consumer reads every element several times")
            must_store = True
        if joined is not None:
            joined.outputs[value] = _stored_at(value, next(iter(joined.accesses[value])))
            self.inline(joined, value)
            return
        if must_store:
            self.new_group(value, position)
            return
        for group in users:
            self.inline(group, value)

    def finishes_product(self, instruction: Instruction) -> bool:
        """Whether an operation belongs to the chain after a product or convolution that nothing else reads."""
        result = instruction.results[0].type
        for operand in instruction.inputs:
            before = operand.instruction
            if before is None or before.block is not self.block or operand.type != result:
                continue
            if count_uses(self.block, operand) != 1:
                continue
            if before.op.name in _PRODUCTS:
                return True
            if isinstance(before.op.lower, Elementwise) and self.finishes_product(before):
                return True
        return False

    def visit_reduction(self, instruction: Instruction, position: int) -> None:
        value = instruction.results[0]
        users = self.using(value)
        if not users and value not in self.hard:
            return
        if len(users) == 1 and (
            value not in self.hard or (value not in users[0].placements and self.may_join(users[0], value))
        ):
            group = users[0]
            if self.join_reduction(group, instruction):
                if value in self.hard:
                    group.outputs[value] = _stored_at(value, next(iter(group.accesses[value])))
                self.inline(group, value)
                return
        elif len(users) > 1:
            self.note(instruction, f"stored: {len(users)} kernels use it")
        self.new_reduction(instruction, position)

    def join_reduction(self, group: Group, instruction: Instruction) -> bool:
        """Make a reduction part of its consumers' group where the loops allow it."""
        value = instruction.results[0]
        operand = instruction.operands[0]
        assert operand is not None and isinstance(operand.type, TensorType)
        shape, axes = operand.type.shape, reduced_axes(instruction)
        indices = self.single_access(group, value)
        if indices is None or group.contraction is not None:
            return False
        kept_axes = [a for a in range(len(shape)) if a not in axes]
        kept = list(indices) if len(indices) != len(shape) else [indices[a] for a in kept_axes]
        loops = {loop.name: loop for loop in group.loops}
        mapped: dict[int, Loop] = {}
        for axis, index in zip(kept_axes, kept, strict=True):
            if shape[axis] == 1:
                continue
            name = str(index)
            if name not in loops or loops[name].extent != shape[axis] or loops[name].reduced:
                self.note(instruction, "not fused with its consumers: they read its result in another order")
                return False
            mapped[axis] = loops[name]
        wanted = [shape[a] for a in axes if shape[a] != 1]
        if len({loop.name for loop in mapped.values()}) != len(mapped):
            return False
        rest = [loop for loop in group.loops if loop not in mapped.values()]
        if group.reductions:
            if [loop.extent for loop in rest] == wanted and all(loop.reduced for loop in rest):
                group.reductions.append(value)
                return True
            self.note(instruction, "not fused with its consumers: they reduce over other dimensions")
            return False
        if not rest and wanted:
            # An epilogue: the group's loops are the kept dimensions, and the reduced ones are added.
            new: list[Loop] = []
            for axis in order_of(operand):
                if axis in mapped:
                    new.append(mapped[axis])
                elif axis in axes and shape[axis] != 1:
                    new.append(Loop(f"{LOOP_PREFIX}r{axis}", shape[axis], reduced=True))
            group.loops = new
            group.reductions.append(value)
            return True
        inner = group.loops[len(group.loops) - len(rest) :]
        if [loop.extent for loop in rest] != wanted or rest != inner or not rest:
            self.note(instruction, "not fused with its consumers: it does not reduce their innermost dimensions")
            return False
        count = element_count([loop.extent for loop in rest])
        if not mapped and not (isinstance(count, int) and count <= _SMALL_ROW):
            self.note(
                instruction, "not fused with its consumers: there is one row only, and two passes run in parallel"
            )
            return False
        for loop in rest:
            loop.reduced = True
        group.reductions.append(value)
        return True

    def new_reduction(self, instruction: Instruction, position: int) -> None:
        value = instruction.results[0]
        operand = instruction.operands[0]
        assert operand is not None and isinstance(operand.type, TensorType) and isinstance(value.type, TensorType)
        axes = reduced_axes(instruction)
        loops = [
            Loop(f"{LOOP_PREFIX}{axis}", operand.type.shape[axis], axis in axes)
            for axis in order_of(operand)
            if operand.type.shape[axis] != 1
        ]
        by_name = {loop.name: loop for loop in loops}
        kept: list[Dim] = []
        for axis in range(operand.type.rank):
            loop = by_name.get(f"{LOOP_PREFIX}{axis}")
            if axis not in axes:
                kept.append(loop.variable if loop is not None else 0)
            elif value.type.rank == operand.type.rank:
                kept.append(0)
        group = Group(position, loops, {value: tuple(kept)}, reductions=[value])
        self.groups.append(group)
        self.spread(group, instruction, tuple(kept))


def plan_block(
    block: Block,
    stored_operands: Any,
    accepts_epilogue: Any,
    writable: Container[Value] = (),
    on_host: Container[Instruction] | None = None,
) -> Plan:
    """Fuse the instructions of a block.

    `stored_operands(instruction)` gives the values that an instruction reads from memory, or None for one that is
    computed inside kernels; `accepts_epilogue(instruction, group)` says whether the operations of a group can be
    applied to the instruction's result as it is made. `writable` are arguments whose memory may be overwritten;
    `on_host` is what Python is called back for, None where that is never done, as on a GPU.
    """
    return Planner(block, stored_operands, accepts_epilogue, writable, on_host).run()


def _stored_at(value: Value, indices: Indices) -> Indices:
    """Where a value that is read at these indices is stored: a dimension of size 1 has place 0 only."""
    assert isinstance(value.type, TensorType)
    return tuple(0 if size == 1 else index for index, size in zip(indices, value.type.shape, strict=True))
