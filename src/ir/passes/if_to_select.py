"""Small branches without effects computed both, and chosen from element by element."""

from ..core import Graph, Instruction, Value
from ..dtypes import bool_
from ..ops._op import Elementwise, View
from ..rewrite import Rewriter, Rules, rewrite, rule
from ..types import TensorType
from .licm import cannot_raise

__all__ = ["if_to_select"]

# Computing both branches must cost less than a kernel of its own for each.
_MOST_INSTRUCTIONS = 8


def if_to_select(graph: Graph) -> Graph:
    """With an `if` of a few elementwise operations as operations on both sides and `where`.

    The operations then join the kernels around them, and the program has no branch there.

    Precondition: the graph is valid.
    """
    return rewrite(graph, _RULES)


def _is_cheap(instruction: Instruction) -> bool:
    if instruction.op.name in ("constant", "dim"):
        return True
    is_simple = isinstance(instruction.op.lower, (Elementwise, View)) and instruction.op.is_pure
    return is_simple and not instruction.regions and cannot_raise(instruction)


@rule("if of small branches -> where", "if")
def _select(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    bodies = [region.body for region in instruction.regions]
    if not instruction.results or sum(map(len, bodies)) > _MOST_INSTRUCTIONS:
        return None
    if not all(_is_cheap(inner) for body in bodies for inner in body):
        return None
    yields = [region.terminator.operands for region in instruction.regions]
    for result, left, right in zip(instruction.results, *yields, strict=True):
        if left is right:
            continue
        if not isinstance(result.type, TensorType) or left is None or right is None:
            return None
        if left.type != result.type or right.type != result.type:
            return None
    condition = instruction.operands[0]
    assert condition is not None
    sides = [rewriter.inline(region) for region in instruction.regions]
    chosen = rewriter.emit("full", condition, dtype=bool_)
    return [
        left if left is right else rewriter.emit("where", chosen, left, right)
        for left, right in zip(*sides, strict=True)
    ]


_RULES: Rules = _select
