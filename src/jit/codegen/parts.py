"""Values made of parts (concatenations) whose parts one kernel stores."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.ops._op import Elementwise, View
from ...ir.types import TensorType
from ..expected_sizes import SHORT_TO_GATHER, expected_size
from .groups import Group, loops_over
from .image_layout import layout_of
from .indexing import LOOP_PREFIX, Loop, element_count
from .reads import READS, UPDATES, Part

if TYPE_CHECKING:
    from .fusion import Planner

__all__ = ["parts_together"]

# More outputs than these keep too many values and addresses in registers.
_MOST = 16
# As many values are looked at to see what a part is computed from.
_DEPTH = 64


def parts_together(planner: "Planner", instruction: Instruction, parts: Sequence[Part]) -> Group | None:
    """A group that stores all parts of a value, where that is better than a kernel for each; None elsewhere.

    What several parts are computed from is computed once, and short rows are written as a whole. Products, reductions
    and the like store their results into parts themselves, so these get groups of their own.
    """
    whole = instruction.results[0]
    values = [part for part, _ in parts]
    if instruction.op.name in UPDATES or not 1 < len(parts) <= _MOST or len(set(values)) != len(values):
        return None
    if layout_of(whole) is not None or any(layout_of(v) is not None for v in values):
        return None
    if not all(_is_pointwise(planner, v) for v in values):
        return None
    shapes = [v.type.shape for v in values if isinstance(v.type, TensorType)]
    if any(0 in shape for shape in shapes):
        return None
    if all(shape == shapes[0] for shape in shapes):
        loops, indices = loops_over(values[0], whole)
        group = Group(0, loops, dict.fromkeys(values, indices), {v: {indices} for v in values}, origin=instruction)
        for part, place in parts:
            group.placements[part] = (whole, tuple(place(list(indices))))
        return group
    axis: int = instruction.attributes["dim"] % len(shapes[0])
    rows = [shape[axis:] for shape in shapes]
    lengths = [expected_size(element_count(row)) for row in rows]
    if not axis or any(n is None or n < 1 for n in lengths) or sum(n or 0 for n in lengths) > SHORT_TO_GATHER:
        return None
    return _rows_of_parts(instruction, parts, axis, rows)


def _rows_of_parts(
    instruction: Instruction, parts: Sequence[Part], axis: int, rows: Sequence[tuple[Dim, ...]]
) -> Group:
    """A group whose loops run over the dimensions before `axis`, with loops over the rest for each kind of part."""
    whole = instruction.results[0]
    outer = [loop for loop in loops_over(parts[0][0], whole)[0] if int(loop.name.removeprefix(LOOP_PREFIX)) < axis]
    by_name = {loop.name: loop.variable for loop in outer}
    group = Group(0, outer, {}, origin=instruction)
    kinds = list(dict.fromkeys(rows))
    for (part, place), row in zip(parts, rows, strict=True):
        loops = [Loop(f"{LOOP_PREFIX}row{kinds.index(row)}_{a}", size) for a, size in enumerate(row)]
        indices: tuple[Dim, ...] = (
            *(by_name.get(f"{LOOP_PREFIX}{a}", 0) for a in range(axis)),
            *(0 if loop.extent == 1 else loop.variable for loop in loops),
        )
        group.outputs[part] = indices
        group.accesses[part] = {indices}
        group.rows[part] = tuple(loop for loop in loops if loop.extent != 1)
        group.placements[part] = (whole, tuple(place(list(indices))))
    return group


def _is_pointwise(planner: "Planner", value: Value) -> bool:
    """Whether a value is computed from what lies in memory by operations on single elements."""
    seen = {value}
    pending = [value]
    while pending:
        instruction = pending.pop().instruction
        if instruction is None or instruction.block is not planner.block or instruction.op.name == "constant":
            continue
        if planner.stored_operands(instruction) is not None:
            return False
        if not isinstance(instruction.op.lower, (Elementwise, View)) and instruction.op.name not in READS:
            return False
        new = {o for o in instruction.inputs if isinstance(o.type, TensorType)} - seen
        seen |= new
        pending += new
        if len(seen) > _DEPTH:
            return False
    return True
