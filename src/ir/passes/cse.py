"""Common subexpression elimination."""

from typing import Any

from ..core import Block, Graph, Instruction, Value
from ..ops._op import Trait
from ..printer import format_attribute
from ..rewrite import Rewriter, is_function

__all__ = ["common_subexpression_elimination"]


def common_subexpression_elimination(graph: Graph) -> Graph:
    """With each value computed once: an instruction without effects gives way to an earlier one in scope like it.

    The operands of commutative ops may be in either order. The earlier instruction keeps its location.

    Precondition: the graph is valid.
    """
    return _Eliminator(graph).run()


class _Eliminator(Rewriter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.available: dict[Any, list[Value]] = {}
        self.trail: list[Any] = []

    def visit(self, instruction: Instruction) -> None:
        if not is_function(instruction.op) or instruction.regions or not instruction.results:
            super().visit(instruction)
            return
        copied = self.copy(instruction)
        key = _key(copied)
        results = self.available.get(key)
        if results is None:
            self.builder.block.append(copied)
            results = self.available[key] = copied.results
            self.trail.append(key)
        self.replace(instruction.results, results)

    def fill_region(self, new: Block, region: Block) -> None:
        mark = len(self.trail)
        super().fill_region(new, region)
        for key in self.trail[mark:]:
            del self.available[key]
        del self.trail[mark:]


def _key(instruction: Instruction) -> Any:
    """Equal for instructions that compute the same. Attributes are compared by their text: 1, 1.0 and True differ."""
    operands: list[Value | None] = list(instruction.operands)
    if Trait.COMMUTATIVE in instruction.op.traits:
        operands[:2] = sorted(operands[:2], key=id)
    attributes = tuple(format_attribute(v, names=False) for v in instruction.attributes.values())
    return (instruction.op.name, tuple(operands), attributes)
