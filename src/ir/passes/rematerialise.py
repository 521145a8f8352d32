"""Values computed again where they are used, rather than kept, so that memory stays within a budget."""

from collections.abc import Mapping

from ..core import Graph, Instruction, Value
from ..dims import Dim, substitute
from ..ops._op import Decompose, Elementwise, View, get_op
from ..rewrite import clone
from ..types import TensorType
from .decompose import decompose
from .residuals import repetition

__all__ = ["bytes_of", "can_repeat", "peak_memory", "rematerialise"]

# Candidates tried in one step: those that are kept longest for their size come first.
_TRIED = 8
# Which composites, by op, types and attributes, are made of elementwise operations.
_COMPOSITES: dict[tuple[str, str, str], bool] = {}


def rematerialise(graph: Graph, budget: int, sizes: Mapping[str, int] | None = None) -> Graph:
    """With values that cost little repeated before a late use, while more than `budget` bytes would live at a time.

    Elementwise operations are repeated, and random words (which are a function of their place), where their operands
    are there at the late use anyway (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, with
    operations that cost next to nothing instead of whole segments). `sizes` are those to plan for, by symbol; by
    default, the graph's examples.

    Precondition: the graph is valid.
    """
    graph = clone(graph)
    known = {**graph.examples, **(sizes or {})}
    for _ in range(len(graph.block.instructions)):
        peak = peak_memory(graph, known)
        if peak <= budget or not _repeat_one(graph, known, peak):
            break
    return graph


def peak_memory(graph: Graph, sizes: Mapping[str, int] | None = None) -> int:
    """The most bytes of computed tensors that live at a time, where each is kept from its making to its last use.

    What an elementwise operation makes for one other is not counted: fusion computes it in the same kernel.
    """
    known = {**graph.examples, **(sizes or {})}
    change: dict[int, int] = {}
    for value, (first, last) in _Lives(graph).spans.items():
        size = bytes_of(value, known)
        change[first] = change.get(first, 0) + size
        change[last + 1] = change.get(last + 1, 0) - size
    peak = total = 0
    for position in sorted(change):
        total += change[position]
        peak = max(peak, total)
    return peak


def bytes_of(value: Value, sizes: Mapping[str, int]) -> int:
    """The bytes of a tensor, a size that is not known counting as one; none for other values."""
    if not isinstance(value.type, TensorType):
        return 0
    size: Dim = value.type.dtype.itemsize
    for dim in value.type.shape:
        number = substitute(dim, sizes)
        size = size * (number if isinstance(number, int) else 1)
    return size if isinstance(size, int) else 0


class _Lives:
    """Where the values of a graph's block are made and used.

    `spans` are those with memory of their own, from position to position; `uses` are the positions of a value's users,
    those in regions counting as their instruction, and those that are computed in a later kernel as that.
    """

    def __init__(self, graph: Graph) -> None:
        self.uses: dict[Value, list[int]] = {}
        self.spans: dict[Value, tuple[int, int]] = {}
        block = graph.block
        users: dict[Value, list[Instruction]] = {}
        for instruction in block.instructions:
            for value in _operands(instruction):
                users.setdefault(value, []).append(instruction)
        self.kernel: dict[Instruction, int] = {}  # where each instruction is computed
        kernel = self.kernel
        for position in range(len(block.instructions) - 1, -1, -1):
            instruction = block.instructions[position]
            kernel[instruction] = position
            after = [user for result in instruction.results for user in users.get(result, ())]
            if _is_fused(instruction, after):
                kernel[instruction] = kernel[after[0]]
            else:
                for result in instruction.results:
                    if _has_memory(instruction):
                        self.spans[result] = (position, max(self.uses.get(result, [position])))
            for value in _operands(instruction):
                self.uses.setdefault(value, []).insert(0, kernel[instruction])


def _operands(instruction: Instruction) -> dict[Value, None]:
    """Each value that an instruction or its regions use, once."""
    inner = (value for region in instruction.regions for i in region.walk() for value in i.inputs)
    return dict.fromkeys((*instruction.inputs, *inner))


def _has_memory(instruction: Instruction) -> bool:
    return not isinstance(instruction.op.lower, View) and instruction.op.name != "constant"


def _is_fused(instruction: Instruction, users: list[Instruction]) -> bool:
    """Whether a value exists only inside the kernel of the one elementwise operation that uses it."""
    return len(users) == 1 and _is_elementwise(instruction) and _is_elementwise(users[0])


def _is_elementwise(instruction: Instruction) -> bool:
    """Whether an instruction is one scalar expression for each element, or made of such."""
    if not instruction.op.is_pure or len(instruction.results) != 1 or instruction.regions:
        return False
    if isinstance(instruction.op.lower, Decompose):
        result, operands = instruction.result.type, [o.type for o in instruction.inputs]
        if not isinstance(result, TensorType) or result not in operands:
            return False
        key = (instruction.op.name, str(operands), repr(instruction.attributes))
        if key not in _COMPOSITES:
            _COMPOSITES[key] = _is_made_of_elementwise(instruction)
        return _COMPOSITES[key]
    return isinstance(instruction.op.lower, Elementwise)


def can_repeat(instruction: Instruction) -> bool:
    """Whether computing a value again costs next to nothing: it becomes part of the kernel that uses it."""
    return _is_elementwise(instruction) or (instruction.op.name == "random_bits" and instruction.op.is_pure)


def _is_made_of_elementwise(instruction: Instruction) -> bool:
    """Whether what a composite is decomposed into is one kernel's work: expressions of elements only."""
    graph = Graph(instruction.op.name)
    arguments = {value: Value(value.type) for value in instruction.inputs}
    graph.block.arguments = list(arguments.values())
    copy = repetition(instruction, arguments)
    graph.block.append(copy)
    graph.block.append(Instruction(get_op("return"), list(copy.results), {}, (), None, None))
    parts = decompose(graph).block.instructions[:-1]
    return all(not any(isinstance(r.type, TensorType) for r in p.results) or _is_elementwise(p) for p in parts)


def _repeat_one(graph: Graph, sizes: Mapping[str, int], peak: int) -> bool:
    """Repeat the value that is kept longest for its size, where that makes the peak smaller than it is."""
    lives = _Lives(graph)
    block = graph.block
    candidates: list[tuple[int, Instruction, int]] = []
    for instruction in block.instructions:
        value = instruction.results[0] if instruction.results else None
        if value not in lives.spans or not can_repeat(instruction):
            continue
        places = lives.uses.get(value, [])
        for earlier, later in zip([lives.spans[value][0], *places], places, strict=False):
            if later - earlier >= 2 and all(_is_there(o, later, lives) for o in instruction.inputs):
                candidates.append((bytes_of(value, sizes) * (later - earlier), instruction, later))
    for _, instruction, later in sorted(candidates, key=lambda c: -c[0])[:_TRIED]:
        value = instruction.result
        copy = repetition(instruction, {})
        # The first that uses it in the late kernel may come before the kernel's own place.
        place = next(p for p, i in enumerate(block.instructions) if value in _operands(i) and lives.kernel[i] >= later)
        saved = [(i, list(i.operands)) for user in block.instructions[place:] for i in _with_inner(user)]
        for user, operands in saved:
            user.operands = [copy.result if v is value else v for v in operands]
        block.instructions.insert(place, copy)
        copy.block = block
        if peak_memory(graph, sizes) < peak:
            return True
        block.instructions.remove(copy)
        for user, operands in saved:
            user.operands = operands
    return False


def _with_inner(instruction: Instruction) -> list[Instruction]:
    return [instruction, *(inner for region in instruction.regions for inner in region.walk())]


def _is_there(value: Value, position: int, lives: _Lives) -> bool:
    """Whether an operand lives until a position without being kept for it."""
    if value.instruction is None or not isinstance(value.type, TensorType):
        return True  # arguments and numbers
    if not _has_memory(value.instruction):
        return all(_is_there(o, position, lives) for o in value.instruction.inputs)
    return value in lives.spans and lives.spans[value][1] >= position
