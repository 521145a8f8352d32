"""Loops over padded tensors: the inside, where no element is in a border, is a loop without conditions."""

from collections.abc import Callable, Iterator

from ...ir.core import Instruction
from ...ir.dims import Dim, substitute
from ...ir.types import TensorType
from .elements import Elements
from .groups import Group
from .indexing import Indices, coefficient, loop_symbols
from .kernel_text import Text
from .reads import READS, pad_pairs

__all__ = ["border_conditions", "inside_and_border"]

# An index that is at least 0 (None), or smaller than a size, where a padded element is one of the source.
Condition = tuple[Dim, Dim | None]
# Above so many, the loop stays one.
_MOST = 12


def border_conditions(instruction: Instruction, indices: Indices) -> list[Condition]:
    """When the element of a constant pad's result at `indices` is one of its source."""
    ((source, (place,)),) = READS["pad"](instruction, indices)
    assert isinstance(source.type, TensorType)
    found: list[Condition] = []
    for index, (before, after), size in zip(place, pad_pairs(instruction), source.type.shape, strict=True):
        if before != 0:
            found.append((index, None))
        if after != 0:
            found.append((index, size))
    return found


def _conditions(group: Group) -> Iterator[Condition]:
    """The conditions of all constant pads of a group."""
    for instruction in group.instructions:
        if instruction.op.name == "pad" and instruction.attributes["mode"] == "constant":
            value = instruction.results[0]
            places = set(group.accesses.get(value, ()))
            if value in group.outputs and value not in group.placements:
                places.add(group.outputs[value])
            for indices in sorted(places, key=str):
                yield from border_conditions(instruction, indices)


def inside_and_border(
    text: Text,
    elements: Elements,
    variable: str,
    first: str,
    stop: str,
    loop: Callable[[str, str], None],
) -> None:
    """Write a loop of a variable over range(first, stop), by `loop(first, stop)`, with its inside apart.

    LLVM would compute what is in a border and what is not by masks, whatever the place.
    """
    known = text.scope.variables | {variable}
    conditions = dict.fromkeys(_conditions(elements.group))
    steps = {c: coefficient(text.resolve(c[0]), variable) for c in conditions}
    usable = [c for c, step in steps.items() if isinstance(step, int) and loop_symbols(text.resolve(c[0])) <= known]
    if not any(steps[c] for c in usable) or len(usable) > _MOST:
        loop(first, stop)
        return
    whole_start, whole_stop = text.fresh("first"), text.fresh("stop")
    start, end = text.fresh("inside"), text.fresh("outside")
    text.line(f"{whole_start}, {whole_stop} = {first}, {stop}")
    text.line(f"{start}, {end} = {whole_start}, {whole_stop}")
    for condition in usable:
        index, size = condition
        rest = text.index(substitute(text.resolve(index), {variable: 0}))
        step = steps[condition]
        assert isinstance(step, int)
        if step == 0:
            # The whole row is outside.
            with text.block(f"if {rest} < 0:" if size is None else f"if {rest} >= {text.size(size)}:"):
                text.line(f"{end} = {start}")
        elif (step > 0) == (size is None):
            # From here on it holds; rounded up.
            away = f"-({rest})" if size is None else f"({rest}) - {text.size(size)} + 1"
            text.line(f"{start} = max({start}, {_ceil(away, abs(step))})")
        else:
            # Up to here.
            away = f"{rest} + 1" if size is None else f"{text.size(size)} - ({rest})"
            text.line(f"{end} = min({end}, {_ceil(away, abs(step))})")
    with text.block(f"if {start} >= {end}:"):
        text.line(f"{start}, {end} = {whole_stop}, {whole_stop}")
    part, left, right = text.fresh("part"), text.fresh("left"), text.fresh("right")
    with text.condition(f"if {start} < {end}:"):
        elements.inside = frozenset(usable)
        loop(start, end)
        elements.inside = frozenset()
    with text.block(f"for {part} in range(2):"):
        text.line(f"{left} = {whole_start} if {part} == 0 else {end}")
        text.line(f"{right} = {start} if {part} == 0 else {whole_stop}")
        loop(left, right)


def _ceil(text: str, step: int) -> str:
    return text if step == 1 else f"({text} + {step - 1}) // {step}"
