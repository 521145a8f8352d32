"""Gradients of tensors in lists: each list gets a second one, of gradients, while the program is reversed.

A list that only grows holds, when the backward part runs, every element that it ever had. So its list of gradients
starts as that many zeros; what was read from place i adds to the gradient at i, and what was put there takes it.
"""

from collections.abc import Callable
from typing import Protocol

from ..builder import Builder
from ..core import Block, Instruction, Value
from ..dims import symbol
from ..open_sizes import has_open_sizes
from ..ops._op import get_op
from ..types import IntType, ListType, TensorType, Type, type_symbols

__all__ = ["ListGradients", "is_tensor_list", "sized_symbols"]


class Gradients(Protocol):
    """Gradients found so far."""

    def add(self, value: Value | None, gradient: Value | None) -> None: ...

    def take(self, value: Value) -> Value | None: ...


def is_tensor_list(type: Type) -> bool:
    """Whether this is a list of floating-point tensors."""
    return isinstance(type, ListType) and isinstance(type.element, TensorType) and type.element.dtype.category >= 2


class ListGradients:
    """The lists of gradients, and the rules of the list ops.

    `sized` holds the symbols whose value is not that of a list's element: sizes of elements must be made of those.
    """

    def __init__(self, builder: Builder, zeros: Callable[[TensorType], Value], sized: set[str]) -> None:
        self.builder = builder
        self.zeros = zeros
        self.sized = sized
        self.lists: dict[Value, Value] = {}
        self.rules: dict[str, Callable[[Instruction, Gradients], None]] = {
            "list.make": self.make,
            "list.append": self.append,
            "list.get": self.get,
            "list.stack": self.stack,
            "list.cat": self.cat,
        }

    def supports(self, instruction: Instruction) -> bool:
        """Whether gradients can go through this list op."""
        values = instruction.operands[:1] if instruction.op.name != "list.make" else instruction.results
        return (
            instruction.op.name in self.rules
            and all(v is not None and is_tensor_list(v.type) for v in values)
            and (instruction.op.name == "list.make" or instruction.operands[0] in self.lists)
        )

    def start(self, made: Instruction) -> bool:
        """Emit the list of gradients of a list, all zero; False where its elements differ in size."""
        values = made.result
        assert isinstance(values.type, ListType) and isinstance(values.type.element, TensorType)
        element = values.type.element
        if has_open_sizes(element) or not type_symbols(element) <= self.sized:
            return False
        gradients = self.builder.emit("list.make", element=element)
        self.lists[values] = gradients
        count = self.builder.emit("list.length", values)
        zero = self.zeros(element)
        self.for_each(count, lambda index: self.builder.emit_all("list.append", [gradients, zero]))
        return True

    def for_each(self, count: Value, body: Callable[[Value], object]) -> None:
        """Emit a loop over the places below `count`."""
        block = Block()
        iteration = block.add_argument(IntType(), "place")
        with self.builder.inside(block):
            index, _ = self.builder.as_dim(iteration)
            body(index)
            self.builder.yield_([self.builder.constant(True)])
        self.builder.emit_all("loop", [count, self.builder.constant(True)], {}, [block], ())

    def add(self, values: Value, index: Value, gradient: Value) -> None:
        """Add to the gradient at a place."""
        gradients = self.lists[values]
        known = self.builder.emit("list.get", gradients, index)
        self.builder.emit_all("list.set", [gradients, index, self.builder.emit("add", known, gradient)])

    def length_before(self, instruction: Instruction, values: Value) -> Value:
        """The length of a list just before an instruction of the forward part, which gets an instruction for it."""
        block = instruction.block
        assert block is not None
        length = Instruction(get_op("list.length"), [values], {}, (IntType(),), None, instruction.location)
        length.block = block
        block.instructions.insert(block.instructions.index(instruction), length)
        return length.result

    # -- rules -------------------------------------------------------------------------------------------------------

    def make(self, instruction: Instruction, gradients: Gradients) -> None:
        for place, value in enumerate(instruction.operands):
            gradients.add(value, self.at(instruction.result, self.builder.constant(place)))

    def append(self, instruction: Instruction, gradients: Gradients) -> None:
        values, value = instruction.inputs
        gradients.add(value, self.at(values, self.length_before(instruction, values)))

    def at(self, values: Value, index: Value) -> Value:
        return self.builder.emit("list.get", self.lists[values], index)

    def get(self, instruction: Instruction, gradients: Gradients) -> None:
        values, index = instruction.inputs
        gradient = gradients.take(instruction.result)
        if gradient is None:
            return
        known = index.type.value if isinstance(index.type, IntType) else None
        if not isinstance(known, int) or known < 0:
            # Counted from the end of what the list was then.
            index = self.builder.emit("scalar.mod", index, self.length_before(instruction, values))
        self.add(values, index, gradient)

    def stack(self, instruction: Instruction, gradients: Gradients) -> None:
        (values,) = instruction.inputs
        gradient = gradients.take(instruction.result)
        if gradient is None:
            return
        dim = instruction.attributes["dim"]
        count = self.builder.dim(symbol(instruction.attributes["symbol"]))
        self.for_each(
            count, lambda index: self.add(values, index, self.builder.emit("select", gradient, index, dim=dim))
        )

    def cat(self, instruction: Instruction, gradients: Gradients) -> None:
        (values,) = instruction.inputs
        gradient = gradients.take(instruction.result)
        if gradient is None:
            return
        assert isinstance(values.type, ListType) and isinstance(values.type.element, TensorType)
        element = values.type.element
        dim = instruction.attributes["dim"] % element.rank
        count, _ = self.builder.as_dim(self.length_before(instruction, values))
        size = self.builder.dim(element.shape[dim])
        parts = self.builder.emit("unflatten", gradient, count, size, dim=dim)
        self.for_each(count, lambda index: self.add(values, index, self.builder.emit("select", parts, index, dim=dim)))


def sized_symbols(definitions: dict[str, Value]) -> set[str]:
    """The symbols that something else than an element of a list gives a value."""
    return {
        name
        for name, value in definitions.items()
        if value.instruction is None or value.instruction.op.name not in ("list.get", "list.pop")
    }
