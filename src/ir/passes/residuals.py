"""What the backward part of a derivative needs of the forward part, and how it gets there."""

from collections.abc import Mapping

from ..builder import Builder
from ..core import Block, Instruction, Value
from ..dims import symbol
from ..matching import binding_symbols
from ..rewrite import attribute_symbols
from ..types import type_symbols

__all__ = ["Residuals", "repetition", "stands_anywhere", "substitute_values", "values_of"]


class Residuals:
    """Makes forward blocks give what backward blocks use.

    A backward block is built with references to values of the forward block that it reverses. Each method here finds
    them, makes the forward part pass them on, and puts what arrives into the backward block in their place.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def capture(self, forward: Block, backward: Block, needed: set[str]) -> list[Value]:
        """The values of a forward block that its backward block uses; sizes as ints where no value has them.

        Instructions without operands are repeated in the backward block instead.
        """
        inside = set(values_of(forward))
        repeated: dict[Value, Value] = {}
        copies: list[Instruction] = []
        captured: dict[Value, None] = {}
        for instruction in backward.walk():
            for value in instruction.inputs:
                if value not in inside or value in captured or value in repeated:
                    continue
                origin = value.instruction
                if origin is not None and stands_anywhere(origin):
                    copy = repetition(origin, {})
                    copies.append(copy)
                    repeated.update(zip(origin.results, copy.results, strict=True))
                else:
                    captured[value] = None
        for copy in copies:
            copy.block = backward
        backward.instructions[:0] = copies
        substitute_values(backward, repeated)
        used, own = set(needed), {name for v in backward.arguments for name in binding_symbols(v.type)}
        for instruction in backward.walk():
            for value in (*instruction.results, *(a for r in instruction.regions for a in r.arguments)):
                used |= type_symbols(value.type)
                if instruction.op.name != "dim":
                    own |= {n for n in binding_symbols(value.type) if _introduces(instruction, n)}
            used |= {name for v in instruction.attributes.values() for name in attribute_symbols(v)}
        for value in captured:
            used |= type_symbols(value.type)
            own |= binding_symbols(value.type).keys()
        bound = {name for v in inside for name in binding_symbols(v.type)}
        missing = sorted((used - own) & bound)
        if missing:
            with self.builder.inside(forward):
                terminator = forward.instructions.pop()
                for name in missing:
                    captured[self.builder.emit("dim", expression=symbol(name))] = None
                forward.append(terminator)
        return list(captured)

    def capture_branch(self, instruction: Instruction, index: int, backward: Block) -> None:
        """Make an `if` give what the backward block of one of its branches uses."""
        region = instruction.regions[index]
        captured = self.capture(region, backward, set())
        outer: dict[Value, Value] = {}
        for value in captured:
            result = Value(value.type, value.name)
            result.instruction, result.index = instruction, len(instruction.results)
            instruction.results.append(result)
            outer[value] = result
            for other in instruction.regions:
                terminator = other.instructions.pop()
                given = value
                if other is not region:
                    with self.builder.inside(other):
                        given = self.builder.emit("undefined", type=value.type)
                terminator.operands.append(given)
                other.append(terminator)
        substitute_values(backward, outer)

    def capture_iterations(self, loop: Instruction, backward: Block, iteration: Value) -> Value:
        """Make a loop put what its backward block uses into lists, one for each value; the number of iterations."""
        (region,) = loop.regions
        captured = [v for v in self.capture(region, backward, set()) if v is not region.arguments[0]]
        listed = captured or [region.arguments[0]]
        lists: list[Value] = []
        home = loop.block
        assert home is not None
        making = Block()
        with self.builder.inside(making):
            for value in listed:
                lists.append(self.builder.emit("list.make", element=value.type))
        at = home.instructions.index(loop)
        for made in making.instructions:
            made.block = home
        home.instructions[at:at] = making.instructions
        with self.builder.inside(region):
            terminator = region.instructions.pop()
            for values, value in zip(lists, listed, strict=True):
                self.builder.emit_all("list.append", [values, value])
            region.append(terminator)
        length = self.builder.emit("list.length", lists[0])
        count, size = self.builder.as_dim(length)
        reading = Block()
        with self.builder.inside(reading):
            _, number = self.builder.as_dim(iteration)
            index = self.builder.dim(size - number - 1)
            replaced = {
                v: self.builder.emit("list.get", values, index) for values, v in zip(lists, captured, strict=False)
            }
        for read in reading.instructions:
            read.block = backward
        backward.instructions[:0] = reading.instructions
        substitute_values(backward, replaced | {region.arguments[0]: index})
        return count


def values_of(block: Block) -> list[Value]:
    """The values that a block itself defines."""
    return [*block.arguments, *(r for i in block.instructions for r in i.results)]


def _introduces(instruction: Instruction, name: str) -> bool:
    """Whether an instruction gives a symbol its value, rather than taking it from its operands' types."""
    if instruction.regions:
        return False
    given = {n for v in instruction.inputs for n in type_symbols(v.type)}
    return name not in given


def stands_anywhere(instruction: Instruction) -> bool:
    """Whether an instruction, a constant for one, can be repeated in any block: it needs nothing and does nothing."""
    return instruction.op.is_pure and not instruction.operands and not instruction.regions


def repetition(instruction: Instruction, operands: Mapping[Value, Value]) -> Instruction:
    """An instruction without regions once more, on `operands` in place of its own where they are given."""
    return Instruction(
        instruction.op,
        [None if o is None else operands.get(o, o) for o in instruction.operands],
        dict(instruction.attributes),
        tuple(r.type for r in instruction.results),
        None,
        instruction.location,
    )


def substitute_values(block: Block, values: dict[Value, Value]) -> None:
    if not values:
        return
    for instruction in block.walk():
        instruction.operands = [None if v is None else values.get(v, v) for v in instruction.operands]
