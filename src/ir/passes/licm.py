"""Loop-invariant code motion."""

import re

from ..core import Block, Graph, Instruction, Value
from ..matching import binding_symbols, match_types
from ..ops._op import Custom, Elementwise, View
from ..rewrite import Rewriter, attribute_symbols
from ..types import TensorType, type_symbols

__all__ = ["loop_invariant_code_motion"]


def loop_invariant_code_motion(graph: Graph) -> Graph:
    """With what a loop computes anew each time from values that do not change moved before it.

    The loop may run no times, so that only what cannot raise is moved, and only where the conditions on sizes that it
    needs are known before the loop.

    Precondition: the graph is valid.
    """
    return _Mover(graph).run()


# Divisions of integers by zero raise; emitters whose kernels check nothing but sizes do not.
_RAISING = re.compile(r"\b(floor_divide|remainder|fmod|pow)\(")
_TOTAL_EMITTERS = {"constant", "dim", "matmul", "linear", "tuple.make", "tuple.get"}


def cannot_raise(instruction: Instruction) -> bool:
    """Whether a pure instruction gives results for all operands of its types."""
    match instruction.op.lower:
        case Elementwise(expression=expression):
            return not _RAISING.search(expression) or all(
                isinstance(r.type, TensorType) and r.type.dtype.category >= 2 for r in instruction.results
            )
        case View(operands_in_map=has_operands):
            return not has_operands
        case Custom(emitter=emitter):
            return emitter in _TOTAL_EMITTERS
    return False


class _Mover(Rewriter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.bound = set().union(*(binding_symbols(v.type) for v in graph.arguments))

    def visit(self, instruction: Instruction) -> None:
        super().visit(instruction)
        for result in instruction.results:
            self.bound |= binding_symbols(self.value(result).type).keys()

    def fill_region(self, new: Block, region: Block) -> None:
        outer = set(self.bound)
        self.bound = outer.union(*(binding_symbols(v.type) for v in new.arguments))
        super().fill_region(new, region)
        self.bound = outer

    def copy(self, instruction: Instruction) -> Instruction:
        copied = super().copy(instruction)
        if copied.op.name == "loop":
            self.move_out(copied)
        return copied

    def move_out(self, loop: Instruction) -> None:
        """Put the invariant instructions of a copied loop into the block that is being built, before the loop."""
        (region,) = loop.regions
        inside: set[Value] = set(region.arguments)
        stay: list[Instruction] = []
        for instruction in region.instructions:
            if (
                instruction.op.is_pure
                and not instruction.regions
                and inside.isdisjoint(instruction.inputs)
                and self.symbols_used(instruction) <= self.bound
                and cannot_raise(instruction)
                and self.has_its_types(instruction)
            ):
                self.builder.block.append(instruction)
                for result in instruction.results:
                    self.bound |= binding_symbols(result.type).keys()
            else:
                stay.append(instruction)
                inside.update(instruction.results)
        region.instructions = stay

    def has_its_types(self, instruction: Instruction) -> bool:
        """Whether inference, with what is known before the loop, gives the types that it has in the loop."""
        inferred = self.infer(instruction)
        return inferred is not None and all(
            match_types(r.type, t, self.bound, {}) for r, t in zip(instruction.results, inferred, strict=True)
        )

    def symbols_used(self, instruction: Instruction) -> frozenset[str]:
        return frozenset().union(
            *(type_symbols(v.type) for v in instruction.inputs),
            *map(attribute_symbols, instruction.attributes.values()),
        )
