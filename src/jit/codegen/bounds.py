"""What is known of ints without running a program: a lower bound, by how a value is computed."""

from ...ir.core import Value
from ...ir.dims import Dim
from ...ir.ops._common import is_at_most
from ...ir.types import BoolType, IntType

__all__ = ["lowest"]

_COUNTS = {
    "bind_dim", "dict.length", "list.count", "list.index", "list.length", "set.length", "str.length", "str.ord"
}  # fmt: skip
_DEEPEST = 8


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


def _lowest_size(size: Dim) -> int | None:
    if isinstance(size, int):
        return size
    return 0 if is_at_most(0, size) else None


def _is_constant(value: Value | None) -> bool:
    return value is not None and isinstance(value.type, IntType) and isinstance(value.type.value, int)


def _constant(value: Value | None) -> int:
    assert value is not None and isinstance(value.type, IntType) and isinstance(value.type.value, int)
    return value.type.value
