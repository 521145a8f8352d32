"""Products of the rows that a loop takes one by one: one product of all of them, before the loop."""

from ..core import Graph, Instruction, Value
from ..ops._op import get_op
from ..rewrite import Rewriter, is_constant
from ..rewrite import constant_value as constant
from ..types import IntType, TensorType

__all__ = ["hoist_products"]


def hoist_products(graph: Graph) -> Graph:
    """With `x[t] @ w`, for a loop that takes every t and changes neither x nor w, as rows of one product before it.

    That is what makes recurrent networks fast: the product with the inputs is a large one. The loop must count all the
    rows and not end early, so that nothing is computed in vain.

    Precondition: the graph is valid.
    """
    return _Hoister(graph).run()


class _Hoister(Rewriter):
    def copy(self, instruction: Instruction) -> Instruction:
        copied = super().copy(instruction)
        if copied.op.name == "loop" and _counts(copied):
            self.hoist(copied)
        return copied

    def hoist(self, loop: Instruction) -> None:
        (region,) = loop.regions
        inside: set[Value] = set(region.arguments)
        kept: list[Instruction] = []
        for instruction in region.instructions:
            row = _row_of(instruction, loop, inside)
            kept.append(instruction if row is None else self.from_all(instruction, row))
            inside.update(instruction.results)
        region.instructions = []
        for instruction in kept:
            region.append(instruction)

    def from_all(self, product: Instruction, row: Instruction) -> Instruction:
        """The instruction that takes a row of the whole product, which is emitted before the loop."""
        rows, index = row.operands
        assert rows is not None and isinstance(rows.type, TensorType)
        result = product.results[0]
        builder = self.builder
        shape = rows.type.shape
        with builder.at(product.location):
            flat = rows
            if len(shape) == 3:
                flat = builder.emit("reshape", rows, builder.dim(shape[0] * shape[1]), builder.dim(shape[2]))
            whole = builder.emit(product.op, flat, *product.operands[1:], **product.attributes)
            if len(shape) == 3:
                assert isinstance(result.type, TensorType)
                whole = builder.emit("reshape", whole, *(builder.dim(d) for d in (shape[0], *result.type.shape)))
        taken = Instruction(get_op("select"), [whole, index], {"dim": 0}, (result.type,), None, product.location)
        # The value stays the same object, so that what uses it needs no change.
        taken.results = [result]
        result.instruction = taken
        return taken


def _counts(loop: Instruction) -> bool:
    """Whether a loop runs exactly as often as its trip count, a size, says."""
    trip_count, condition = loop.operands[:2]
    following = loop.regions[0].terminator.operands[0]
    always = all(is_constant(v) and constant(v) is True for v in (condition, following))
    return (
        always and trip_count is not None and isinstance(trip_count.type, IntType) and trip_count.type.value is not None
    )


def _row_of(instruction: Instruction, loop: Instruction, inside: set[Value]) -> Instruction | None:
    """Where a product of a loop is that of a row with something that does not change: how the row is taken."""
    if instruction.op.name not in ("matmul", "linear"):
        return None
    left, *others = instruction.operands
    row = left.instruction if left is not None else None
    if row is None or row.op.name != "select" or left not in inside or row.attributes["dim"] != 0:
        return None
    rows = row.operands[0]
    fixed = [v for v in (rows, *others) if v is not None]
    if any(v in inside or not isinstance(v.type, TensorType) for v in fixed):
        return None
    assert rows is not None and isinstance(rows.type, TensorType)
    weight = others[0]
    assert weight is not None and isinstance(weight.type, TensorType)
    trip_count = loop.operands[0]
    assert trip_count is not None and isinstance(trip_count.type, IntType)
    if weight.type.rank != 2 or rows.type.rank not in (2, 3) or rows.type.shape[0] != trip_count.type.value:
        return None
    return row
