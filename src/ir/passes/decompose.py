"""Composite ops replaced by the simpler ones that they are made of."""

from collections.abc import Callable

from ..core import Graph, Instruction, Value
from ..ops._op import Decompose
from ..rewrite import Rewriter, rewrite, rule
from ..types import TensorType, Type

__all__ = ["as_inferred", "decompose"]


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
        values = rewriter.call(instruction.op.lower.function, instruction)
        return [as_inferred(rewriter, v, r.type) for v, r in zip(values, instruction.results, strict=True)]

    return rewrite(graph, expand)


def as_inferred(rewriter: Rewriter, value: Value, type: Type) -> Value:
    """The value with the dtype that the composite's inference gave it: promotion of its parts may give another."""
    if isinstance(type, TensorType) and isinstance(value.type, TensorType) and value.type.dtype is not type.dtype:
        return rewriter.builder.emit("cast", value, dtype=type.dtype)
    return value
