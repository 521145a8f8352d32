"""What is known of ints without running a program: bounds, by how a value is computed."""

from ...ir.core import Block, Instruction, Value
from ...ir.dims import Dim
from ...ir.ops._common import is_at_most
from ...ir.types import BoolType, IntType

__all__ = ["LARGEST", "highest_values", "is_count", "lowest", "nonnegative_values"]

LARGEST = (1 << 63) - 1

_COUNTS = {
    "bind_dim", "dict.length", "list.count", "list.index", "list.length", "set.length", "str.length", "str.ord"
}  # fmt: skip
_DEEPEST = 8
# Rounds in which what a loop carries may grow before nothing is known of it.
_ROUNDS = 3


def lowest(value: Value, depth: int = 0) -> int | None:
    """An int that the value is not below; None where none is known."""
    if isinstance(value.type, BoolType):
        return 0
    if isinstance(value.type, IntType) and value.type.value is not None:
        return _lowest_size(value.type.value)
    instruction = value.instruction
    if instruction is None:
        # The number of a loop's iteration.
        owner = value.block.parent if value.block is not None else None
        return 0 if owner is not None and owner.op.name == "loop" and value.index == 0 else None
    if depth > _DEEPEST or not isinstance(value.type, IntType):
        return None
    name = instruction.op.name
    if name in _COUNTS:
        return 0
    known = [lowest(v, depth + 1) for v in instruction.operands if v is not None]
    match name, known:
        case "scalar.range_item", [start, _, int(step), _] if step > 0:
            return start
        case "scalar.range_item", [_, _, _, int(stop)]:
            return stop + 1 if _is_constant(instruction.operands[2]) else None
        case "scalar.add", [int(a), int(b)]:
            return a + b
        case "scalar.sub", [int(a), _] if _is_constant(instruction.operands[1]):
            return a - _constant(instruction.operands[1])
        case "scalar.sub", _:
            left, right = instruction.inputs
            return _lowest_difference(left, right, depth + 1)
        case (("scalar.mul" | "scalar.floordiv" | "scalar.rshift" | "scalar.or_"), [int(a), int(b)]) if (
            a >= 0 and b >= 0
        ):
            return 0
        case "scalar.mod", [_, int(b)] if b >= 0:
            return 0
        case "scalar.and_", [a, b] if (a is not None and a >= 0) or (b is not None and b >= 0):
            return 0
        case "scalar.min", [int(a), int(b)]:
            return min(a, b)
        case "scalar.max", [a, b]:
            return max((k for k in (a, b) if k is not None), default=None)
        case "scalar.abs", _:
            return 0
    return None


def _lowest_difference(left: Value, right: Value, depth: int) -> int | None:
    """An int that `left - right` is not below, where one is computed from the other: `range(n, k - 1, -1)` has k and
    more."""
    if left is right:
        return 0
    instruction = left.instruction
    if instruction is None or depth > _DEEPEST:
        return None
    match instruction.op.name, instruction.operands:
        case "scalar.range_item", [_, _, step, Value() as stop] if _is_constant(step) and _constant(step) < 0:
            difference = _lowest_difference(stop, right, depth + 1)
            return None if difference is None else difference + 1
        case "scalar.range_item", [Value() as start, _, step, _] if _is_constant(step) and _constant(step) > 0:
            return _lowest_difference(start, right, depth + 1)
        case "scalar.add", [Value() as a, b] if _is_constant(b):
            difference = _lowest_difference(a, right, depth + 1)
            return None if difference is None else difference + _constant(b)
        case "scalar.sub", [Value() as a, b] if _is_constant(b):
            difference = _lowest_difference(a, right, depth + 1)
            return None if difference is None else difference - _constant(b)
    return None


def _lowest_size(size: Dim) -> int | None:
    if isinstance(size, int):
        return size
    return 0 if is_at_most(0, size) else None


def _is_constant(value: Value | None) -> bool:
    return value is not None and isinstance(value.type, IntType) and isinstance(value.type.value, int)


def _constant(value: Value | None) -> int:
    assert value is not None and isinstance(value.type, IntType) and isinstance(value.type.value, int)
    return value.type.value


def nonnegative_values(block: Block) -> set[Value]:
    """The ints of a block and its regions that are surely not negative, what loops carry included.

    At first all ints are taken to be, then those are taken out of which it does not follow, until nothing changes: what
    is left holds at the start of every loop, and every iteration keeps it.
    """
    found: set[Value] = set()
    checked: list[tuple[Value, Instruction]] = []
    for instruction in block.walk():
        for result in instruction.results:
            if isinstance(result.type, (IntType, BoolType)):
                found.add(result)
                checked.append((result, instruction))
        for region in instruction.regions if instruction.op.name == "loop" else ():
            for argument in region.arguments:
                if isinstance(argument.type, (IntType, BoolType)):
                    found.add(argument)
                    if argument.index:
                        checked.append((argument, instruction))
    changed = True
    while changed:
        changed = False
        for value, instruction in checked:
            if value in found and not _stays_nonnegative(value, instruction, found):
                found.discard(value)
                changed = True
    return found


def _stays_nonnegative(value: Value, instruction: Instruction, known: set[Value]) -> bool:
    name, operands = instruction.op.name, instruction.operands
    if name == "loop":
        slot = value.index - (1 if value.block is not None else 0)
        return all(v in known for v in (operands[slot + 2], instruction.regions[0].terminator.operands[slot + 1]))
    if name == "if":
        return all(region.terminator.operands[value.index] in known for region in instruction.regions)
    if isinstance(value.type, BoolType):
        return True
    positive = [v in known for v in operands]
    match name:
        case "scalar.add" | "scalar.mul" | "scalar.floordiv" | "scalar.rshift" | "scalar.or_" | "scalar.min":
            if all(positive):
                return True
        case "scalar.mod":
            if positive[1]:
                return True
        case "scalar.and_" | "scalar.max":
            if any(positive):
                return True
        case "scalar.range_item" if positive[0] and _is_constant(operands[2]) and _constant(operands[2]) > 0:
            return True
    least = lowest(value)
    return least is not None and least >= 0


def highest_values(block: Block, nonnegative: set[Value]) -> dict[Value, int]:
    """Upper bounds, below the largest int, of the ints among `nonnegative`: what was taken modulo something, say.

    What loops carry is first bounded by what they begin with, and the bounds grow until they hold; those that go on
    growing are given up.
    """
    found: dict[Value, int] = {}
    for number in range(1000):
        limit = LARGEST if number < _ROUNDS else 0
        before = dict(found)
        _raise_bounds(block, nonnegative, found, limit)
        if found == before:
            return {value: bound for value, bound in found.items() if bound < LARGEST}
    return {}


def _raise_bounds(block: Block, nonnegative: set[Value], found: dict[Value, int], limit: int) -> None:
    """One round over a block: a bound becomes what follows from the others; one that grows beyond `limit` is lost."""

    def bound(value: Value | None) -> int:
        if value is None or value not in nonnegative:
            return LARGEST
        if isinstance(value.type, BoolType):
            return 1
        if _is_constant(value):
            return _constant(value)
        return found.get(value, LARGEST)

    def put(value: Value, least: int) -> None:
        if isinstance(value.type, IntType) and value in nonnegative:
            before = found.get(value)
            grown = before is not None and least > before
            found[value] = LARGEST if least >= LARGEST or (grown and least > limit) else max(least, before or 0)

    for instruction in block.instructions:
        operands = instruction.operands
        if instruction.op.name == "loop":
            (region,) = instruction.regions
            carried, arguments = operands[2:], region.arguments
            put(arguments[0], LARGEST if operands[0] is None else bound(operands[0]))
            for argument, start in zip(arguments[1:], carried, strict=True):
                put(argument, max(bound(start), found.get(argument, 0)))
            _raise_bounds(region, nonnegative, found, limit)
            for argument, after in zip(arguments[1:], region.terminator.operands[1:], strict=True):
                put(argument, max(found.get(argument, 0), bound(after)))
            for result, argument in zip(instruction.results, arguments[1:], strict=True):
                put(result, bound(argument))
            continue
        for region in instruction.regions:
            _raise_bounds(region, nonnegative, found, limit)
        for result in instruction.results:
            if instruction.op.name == "if":
                put(result, max(bound(region.terminator.operands[result.index]) for region in instruction.regions))
            elif result in nonnegative:
                put(result, _highest(instruction.op.name, [bound(v) for v in operands], operands, nonnegative))


def _highest(name: str, bounds: list[int], operands: list[Value | None], nonnegative: set[Value]) -> int:
    positive = [v is not None and v in nonnegative for v in operands]
    match name, bounds:
        case "scalar.add", [a, b] if all(positive):
            return a + b
        case "scalar.mul", [a, b] if all(positive):
            return a * b
        case "scalar.mod", [a, b] if positive[1]:
            return min(max(b - 1, 0), a if positive[0] else LARGEST)
        case (("scalar.floordiv" | "scalar.rshift"), [a, _]) if all(positive):
            return a
        case "scalar.and_", [a, b]:
            return min(a, b)
        case (("scalar.or_" | "scalar.xor"), [a, b]) if all(positive):
            return int((1 << max(a, b).bit_length()) - 1)
        case "scalar.min", [a, b] if all(positive):
            return min(a, b)
        case "scalar.max", [a, b]:
            return max(a, b)
    return LARGEST


def is_count(instruction: Instruction) -> bool:
    """Whether an addition counts rounds of a loop that knows their number: of 1, at most once a round, from 0 on."""
    value, one = instruction.operands
    loop = value.block.parent if value is not None and value.instruction is None and value.block is not None else None
    if value is None or not _is_constant(one) or _constant(one) != 1 or loop is None or loop.op.name != "loop":
        return False
    start, rounds = loop.operands[value.index + 1], loop.operands[0]
    if rounds is None or value.index == 0 or not _is_constant(start) or _constant(start) != 0:
        return False

    def counts(after: Value | None) -> bool:
        made = after.instruction if after is not None else None
        if after is value or made is instruction:
            return True
        if after is None or made is None or made.op.name != "if":
            return False
        return all(counts(region.terminator.operands[after.index]) for region in made.regions)

    return counts(loop.regions[0].terminator.operands[value.index])
