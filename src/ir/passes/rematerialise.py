"""Values computed again where they are used, rather than kept, so that memory stays within a budget."""

from collections.abc import Mapping

from ..core import Graph, Instruction, Value
from ..dims import Dim, substitute
from ..ops._op import Elementwise, View
from ..rewrite import clone
from ..types import TensorType

__all__ = ["peak_memory", "rematerialise"]


def rematerialise(graph: Graph, budget: int, sizes: Mapping[str, int] | None = None) -> Graph:
    """With values that cost little repeated before a late use, while more than `budget` bytes would live at a time.

    Elementwise operations are repeated, and random words (which are a function of their place), where their operands
    are there at the late use anyway. `sizes` are those to plan for, by symbol; by default, the graph's examples.

    Precondition: the graph is valid.
    """
    graph = clone(graph)
    known = {**graph.examples, **(sizes or {})}
    for _ in range(len(graph.block.instructions)):
        if peak_memory(graph, known) <= budget or not _repeat_one(graph, known):
            break
    return graph


def peak_memory(graph: Graph, sizes: Mapping[str, int] | None = None) -> int:
    """The most bytes of computed tensors that live at a time, where each is kept from its making to its last use."""
    known = {**graph.examples, **(sizes or {})}
    spans = _spans(graph)
    change: dict[int, int] = {}
    for value, (first, last) in spans.items():
        size = _bytes(value, known)
        change[first] = change.get(first, 0) + size
        change[last + 1] = change.get(last + 1, 0) - size
    peak = total = 0
    for position in sorted(change):
        total += change[position]
        peak = max(peak, total)
    return peak


def _bytes(value: Value, sizes: Mapping[str, int]) -> int:
    if not isinstance(value.type, TensorType):
        return 0
    size: Dim = value.type.dtype.itemsize
    for dim in value.type.shape:
        number = substitute(dim, sizes)
        size = size * (number if isinstance(number, int) else 1)
    return size if isinstance(size, int) else 0


def _positions(graph: Graph) -> dict[Value, list[int]]:
    """Where in the graph's block each value is used, regions counting as their instruction."""
    found: dict[Value, list[int]] = {}
    for position, instruction in enumerate(graph.block.instructions):
        used = set(instruction.inputs)
        for region in instruction.regions:
            used |= {v for inner in region.walk() for v in inner.inputs}
        for value in used:
            found.setdefault(value, []).append(position)
    return found


def _spans(graph: Graph) -> dict[Value, tuple[int, int]]:
    used = _positions(graph)
    spans = {}
    for position, instruction in enumerate(graph.block.instructions):
        if isinstance(instruction.op.lower, View) or instruction.op.name == "constant":
            continue  # no memory of its own
        for result in instruction.results:
            spans[result] = (position, max(used.get(result, [position])))
    return spans


def _can_repeat(instruction: Instruction) -> bool:
    cheap = isinstance(instruction.op.lower, Elementwise) or instruction.op.name == "random_bits"
    return cheap and instruction.op.is_pure and len(instruction.results) == 1 and not instruction.regions


def _repeat_one(graph: Graph, sizes: Mapping[str, int]) -> bool:
    """Repeat the value that is kept longest for its size, where that makes the peak smaller."""
    used, spans = _positions(graph), _spans(graph)
    before = peak_memory(graph, sizes)
    candidates: list[tuple[int, Instruction, int]] = []
    for instruction in graph.block.instructions:
        if not _can_repeat(instruction):
            continue
        value = instruction.result
        places = used.get(value, [])
        for earlier, later in zip([spans[value][0], *places], places, strict=False):
            if later - earlier < 2 or any(not _is_there(o, later, spans, used) for o in instruction.inputs):
                continue
            candidates.append((_bytes(value, sizes) * (later - earlier), instruction, later))
    for _, instruction, later in sorted(candidates, key=lambda c: -c[0])[:8]:
        copy = Instruction(
            instruction.op,
            list(instruction.operands),
            dict(instruction.attributes),
            (instruction.result.type,),
            None,
            instruction.location,
        )
        block = graph.block
        tail = block.instructions[later:]
        saved = [(i, list(i.operands)) for user in tail for i in (user, *(x for r in user.regions for x in r.walk()))]
        for user, operands in saved:
            user.operands = [copy.result if v is instruction.result else v for v in operands]
        block.instructions.insert(later, copy)
        copy.block = block
        if peak_memory(graph, sizes) < before:
            return True
        block.instructions.remove(copy)
        for user, operands in saved:
            user.operands = operands
    return False


def _is_there(
    value: Value, position: int, spans: Mapping[Value, tuple[int, int]], used: Mapping[Value, list[int]]
) -> bool:
    """Whether an operand lives until a position without being kept for it."""
    if value.instruction is None or value not in spans or not isinstance(value.type, TensorType):
        return True  # arguments, constants, numbers
    return max(used.get(value, [0])) >= position
