"""The rules by which Ingot's operations become ONNX nodes, by operation: `(writer, instruction) -> result names`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..ir.core import Instruction
from ..ir.dtypes import DType
from ..ir.types import TensorType

if TYPE_CHECKING:
    from .exporter import Writer

__all__ = ["RULES", "Rule", "groups", "result_element", "rule"]

Rule = Callable[["Writer", Instruction], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the rule of these operations."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def result_element(instruction: Instruction) -> DType:
    """The element type of the first result, a tensor."""
    assert isinstance(instruction.results[0].type, TensorType)
    return instruction.results[0].type.dtype


def groups(instruction: Instruction) -> list[Any]:
    """The operands, one entry per parameter, as the operation's signature has them."""
    return list(instruction.op.schema.unflatten(instruction.operands))
