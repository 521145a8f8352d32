"""What `explain()` says of fusion: for each instruction, where it is computed, and why there."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...ir.core import Instruction, Value
from ...ir.types import TensorType
from .image_layout import layout_of

if TYPE_CHECKING:
    from .fusion import Group, Planner

__all__ = ["describe", "named"]


def describe(planner: "Planner") -> list[str]:
    """A line for each instruction that makes tensors: where it is computed, and why there."""
    members: dict[Instruction, list[Group]] = {}
    stored: set[Value] = set()
    for group in planner.groups:
        stored.update(group.outputs)
        made = {v.instruction: None for v in (*group.outputs, *group.inlined) if v.instruction is not None}
        for instruction in (*made, *([group.contraction] if group.contraction is not None else [])):
            members.setdefault(instruction, []).append(group)
    lines = []
    for instruction in planner.block.instructions:
        results = [r for r in instruction.results if isinstance(r.type, TensorType)]
        if not results or instruction.op.name == "constant":
            continue
        groups = members.get(instruction, [])
        notes = planner.notes.get(instruction, [])
        parts = [*notes, *_placed(instruction, results, groups, stored, planner)]
        if parts:
            lines.append(f"{named(instruction)}: {'; '.join(parts)}")
    return lines


def _placed(
    instruction: Instruction,
    results: Sequence[Value],
    groups: Sequence["Group"],
    stored: set[Value],
    planner: "Planner",
) -> Iterator[str]:
    """Where an instruction is computed."""
    result = results[0]
    if result in planner.aliases:
        yield "shares its operand's memory"
    elif not groups:
        if planner.stored_operands(instruction) is not None:
            yield "runs by itself"
    elif len(groups) > 1:
        yield f"computed in each of {len(groups)} kernels that use it, which costs less than to store it"
    else:
        group = groups[0]
        first = [group.contraction] if group.contraction is not None else []
        others = [i.op.name for i in (*first, *group.instructions) if i is not instruction]
        if others:
            yield f"fused with {', '.join(dict.fromkeys(others))}"
    if (layout := layout_of(result)) is not None and (result in stored or not groups):
        border = (layout.top, layout.bottom, layout.left, layout.right)
        inside = f", inside a border of zeros {border}" if layout.has_border else ""
        yield f"kept with its channels last{inside}"
    if result in stored and (reader := planner.readers.get(result)) is not None:
        why = "it is a result" if reader.op.name == "return" else f"{named(reader)} reads it from memory"
        yield f"stored, because {why}"


def named(instruction: Instruction) -> str:
    """An instruction as reports name it: the op, and the line of the user that it comes from."""
    where = f" ({instruction.location})" if instruction.location is not None else ""
    return f"{instruction.op.name}{where}"
