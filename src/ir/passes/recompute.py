"""What a forward part keeps for its backward part made less: cheap values are computed again there."""

from collections.abc import Mapping
from dataclasses import replace

from ..core import Instruction, Value
from ..rewrite import clone
from ..types import TensorType
from .differentiate import Derivative
from .rematerialise import bytes_of, can_repeat
from .residuals import repetition, stands_anywhere, substitute_values

__all__ = ["recompute_residuals", "residual_bytes"]

# Operations in a row that are done again for one value.
_LONGEST = 16


def recompute_residuals(derivative: Derivative, budget: int, sizes: Mapping[str, int] | None = None) -> Derivative:
    """A derivative that keeps at most `budget` bytes between its two parts, where cheap operations allow it.

    A residual that an elementwise operation makes of other residuals or of arguments is computed in the backward part
    again, the largest first. `sizes` are those to plan for, by symbol; by default, the graph's examples. Arguments do
    not count: the caller has them.
    """
    forward, backward = clone(derivative.forward), clone(derivative.backward)
    known = {**forward.examples, **(sizes or {})}
    derivative = replace(derivative, forward=forward, backward=backward)
    count = len(forward.results) - derivative.residuals
    while residual_bytes(derivative, known) > budget and _drop_one(derivative, known):
        derivative = replace(derivative, residuals=len(forward.results) - count)
    return derivative


def residual_bytes(derivative: Derivative, sizes: Mapping[str, int] | None = None) -> int:
    """The bytes that the forward part keeps for the backward part, beside the arguments."""
    known = {**derivative.forward.examples, **(sizes or {})}
    return sum(bytes_of(v, known) for v in dict.fromkeys(_residuals(derivative)) if v.instruction is not None)


def _residuals(derivative: Derivative) -> list[Value]:
    results = derivative.forward.results
    return results[len(results) - derivative.residuals :]


def _drop_one(derivative: Derivative, sizes: Mapping[str, int]) -> bool:
    """Compute one residual in the backward part instead; whether there was one."""
    kept = _residuals(derivative)
    for value in sorted(kept, key=lambda v: -bytes_of(v, sizes)):
        chain: dict[Instruction, None] = {}
        if value.instruction is not None and _collect(value, set(kept) - {value}, derivative, chain):
            _repeat(derivative, kept, value, list(chain))
            return True
    return False


def _collect(value: Value, kept: set[Value], derivative: Derivative, chain: dict[Instruction, None]) -> bool:
    """Whether a value can be made of what is kept by cheap operations, which are put into `chain` in their order."""
    instruction = value.instruction
    if value in kept or instruction in chain or _is_given(value, derivative):
        return True
    if instruction is None or instruction.block is not derivative.forward.block or len(chain) > _LONGEST:
        return False
    if not (can_repeat(instruction) or stands_anywhere(instruction)):
        return False
    if not all(_collect(operand, kept, derivative, chain) for operand in instruction.inputs):
        return False
    chain[instruction] = None
    return True


def _is_given(value: Value, derivative: Derivative) -> bool:
    """Whether it is a tensor that the forward part takes, and does not write to."""
    if value.instruction is not None or not isinstance(value.type, TensorType):
        return False
    return value not in [derivative.forward.arguments[argument] for argument, _ in derivative.forward.writes]


def _repeat(derivative: Derivative, kept: list[Value], value: Value, chain: list[Instruction]) -> None:
    """Move the computing of `value` to the backward part, which is given what that takes."""
    forward, backward = derivative.forward, derivative.backward
    inside = dict(zip(kept, backward.arguments, strict=False))
    arrives, given = inside.pop(value), backward.arguments[len(kept) :]
    copies: list[Instruction] = []
    for instruction in chain:
        for operand in instruction.inputs:
            if operand not in inside:
                inside[operand] = Value(operand.type, operand.name)
                kept.append(operand)
        copies.append(repetition(instruction, inside))
        inside.update(zip(instruction.results, copies[-1].results, strict=True))
    substitute_values(backward.block, {arrives: inside[value]})
    for copy in copies:
        copy.block = backward.block
    backward.block.instructions[:0] = copies
    kept.remove(value)
    backward.block.arguments = [*(inside[v] for v in kept), *given]
    for index, argument in enumerate(backward.arguments):
        argument.block, argument.index = backward.block, index
    terminator = forward.block.terminator
    results = len(terminator.operands) - derivative.residuals
    terminator.operands = [*terminator.operands[:results], *kept]
