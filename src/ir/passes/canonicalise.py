"""One form for what can be written in several: constants once and first, and on the right of a comparison."""

from ..core import Graph, Instruction, Value
from ..printer import format_attribute
from ..rewrite import Rewriter, Rules, clone, is_constant, rewrite, rule

__all__ = ["canonicalise"]

_MIRRORED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}
_MIRRORED |= {f"scalar.{a}": f"scalar.{b}" for a, b in _MIRRORED.items()}


def canonicalise(graph: Graph) -> Graph:
    """With every constant at the start of the graph, once, and constants on the right of comparisons.

    Constants are ordered by their types and values, so that graphs that compute the same in the same order are equal
    wherever each made its constants.

    Precondition: the graph is valid.
    """
    return _constants_first(rewrite(graph, _COMPARISONS))


@rule("constant < x -> x > constant", *_MIRRORED)
def _constant_right(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    left, right = instruction.operands
    if not is_constant(left) or right is None or is_constant(right):
        return None
    return rewriter.emit(_MIRRORED[instruction.op.name], right, left, **instruction.attributes)


_COMPARISONS: Rules = _constant_right


def _constants_first(graph: Graph) -> Graph:
    graph = clone(graph)
    first: dict[tuple[str, str], Instruction] = {}
    replaced: dict[Value, Value] = {}
    for instruction in graph.walk():
        if instruction.op.name != "constant":
            continue
        key = str(instruction.result.type), format_attribute(instruction.attributes["value"], names=False)
        kept = first.setdefault(key, instruction)
        if kept is not instruction:
            replaced[instruction.result] = kept.result
    blocks = [graph.block, *(region for i in graph.walk() for region in i.regions)]
    for block in blocks:
        block.instructions = [i for i in block.instructions if i.op.name != "constant"]
    ordered = [first[key] for key in sorted(first)]
    for instruction in ordered:
        instruction.block = graph.block
    graph.block.instructions[:0] = ordered
    if replaced:
        for instruction in graph.walk():
            instruction.operands = [None if v is None else replaced.get(v, v) for v in instruction.operands]
    return graph
