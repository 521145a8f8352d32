"""Composite ops replaced by the simpler ones that they are made of."""

from collections.abc import Callable

from ..core import Graph, Instruction, Value
from ..ops._op import Decompose
from ..rewrite import Rewriter, rewrite, rule

__all__ = ["decompose"]


def decompose(graph: Graph, keep: Callable[[Instruction], bool] | None = None) -> Graph:
    """With each op whose record has a decomposition replaced by it, and what that gives likewise.

    Instructions for which `keep` is true stay: those that the code generator has a kernel for.

    Precondition: the graph is valid.
    """

    @rule("composite -> its parts", when=lambda op: isinstance(op.lower, Decompose))
    def expand(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if keep is not None and keep(instruction):
            return None
        assert isinstance(instruction.op.lower, Decompose)
        return rewriter.call(instruction.op.lower.function, instruction)

    return rewrite(graph, expand)
