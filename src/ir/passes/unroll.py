"""Short loops whose number of iterations is known, written out."""

from ..core import Graph, Instruction, Value
from ..matching import binding_symbols
from ..rewrite import Rewriter, constant_value
from ..types import type_symbols

__all__ = ["unroll_loops"]

MOST_ITERATIONS = 8
MOST_INSTRUCTIONS = 64


def unroll_loops(graph: Graph) -> Graph:
    """With loops of at most 8 iterations, and at most 64 instructions when written out, written out.

    The number of iterations is in a number, or in an index, that later passes then know; operations of one iteration
    can join the kernels of another.

    Precondition: the graph is valid.
    """
    return _Unroller(graph).run()


class _Unroller(Rewriter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.bound = frozenset().union(*(binding_symbols(v.type).keys() for v in graph.arguments))

    def visit(self, instruction: Instruction) -> None:
        trips = self.trips(instruction) if instruction.op.name == "loop" else None
        if trips is None:
            super().visit(instruction)
            return
        (region,) = instruction.regions
        carried = [self.value(v) for v in instruction.operands[2:] if v is not None]
        for iteration in range(trips):
            number, *arguments = region.arguments
            self.values[number] = self.constant(iteration)
            self.values.update(zip(arguments, carried, strict=True))
            for inner in region.body:
                self.visit(inner)
            carried = [self.value(v) for v in region.terminator.inputs[1:]]
        self.replace(instruction.results, carried)

    def trips(self, loop: Instruction) -> int | None:
        """How often the loop runs, where it is to be written out."""
        region = loop.regions[0]
        trips = constant_value(self.of(loop.operands[0]))
        if not isinstance(trips, int) or not 0 <= trips <= MOST_ITERATIONS:
            return None
        if constant_value(self.of(loop.operands[1])) is not True:
            return None
        if constant_value(region.terminator.operands[0]) is not True:
            return None
        inside = list(region.walk())
        if trips * len(inside) > MOST_INSTRUCTIONS:
            return None
        # Sizes that get their values inside would each need a name of their own in every iteration.
        types = [v.type for i in inside for v in i.results] + [v.type for v in region.arguments]
        types += [r.type for r in loop.results]
        if any(i.op.name == "bind_dim" for i in inside) or not all(type_symbols(t) <= self.bound for t in types):
            return None
        changed = zip(region.arguments[1:], region.terminator.inputs[1:], loop.operands[2:], strict=True)
        if any(v is None or not argument.type == following.type == v.type for argument, following, v in changed):
            return None
        return trips

    def of(self, value: Value | None) -> Value | None:
        return None if value is None else self.value(value)
