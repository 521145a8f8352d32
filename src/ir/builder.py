"""Builds a graph one instruction at a time, inferring types and recording conditions on sizes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .core import Array, Block, Graph, Instruction, Value, substitute_attribute
from .dims import Dim, DimExpr, symbols
from .dtypes import from_numpy
from .location import Location
from .ops._op import Op, get_op
from .sizes import Sizes
from .types import IntType, TensorType, Type, substitute_type

__all__ = ["Builder"]


class Builder:
    """Appends instructions to a current block, keeping what is known about sizes.

    >>> from ingot.ir import TensorType, dtypes
    >>> builder = Builder("double")
    >>> x = builder.argument("x", TensorType(dtypes.float32, (builder.sizes.fresh(),)))
    >>> _ = builder.return_([builder.emit("add", x, builder.constant(1))])
    >>> print(builder.finish())
    graph @double(%x: f32[s0]) -> (f32[s0]) {
      %0: int<1> = constant() {value=1}
      %1: f32[s0] = add(%x, %0)
      return(%1)
    }
    """

    def __init__(self, name: str, sizes: Sizes | None = None) -> None:
        self.graph = Graph(name)
        self.sizes = sizes if sizes is not None else Sizes()
        self.block = self.graph.block
        self.location: Location | None = None
        self._constants: dict[tuple[int, Any], Value] = {}

    def argument(self, name: str, type: Type) -> Value:
        """Add an argument to the graph."""
        return self.graph.block.add_argument(type, name)

    @contextmanager
    def at(self, location: Location | None) -> Iterator[None]:
        """Give instructions built inside this location."""
        previous, self.location = self.location, location if location is not None else self.location
        try:
            yield
        finally:
            self.location = previous

    @contextmanager
    def inside(self, block: Block) -> Iterator[Block]:
        """Build into another block (a region) for a while."""
        previous, self.block = self.block, block
        try:
            yield block
        finally:
            self.block = previous

    def emit(self, op: Op | str, *operands: Any, **attributes: Any) -> Value:
        """Append an instruction with one result; operands are flat, None where one is absent."""
        (result,) = self.emit_all(op, operands, attributes)
        return result

    def emit_all(
        self,
        op: Op | str,
        operands: Sequence[Value | None],
        attributes: dict[str, Any] | None = None,
        regions: list[Block] | None = None,
        result_types: tuple[Type, ...] | None = None,
    ) -> list[Value]:
        """Append an instruction and return all its results; types are inferred unless given (ops with regions)."""
        op = get_op(op) if isinstance(op, str) else op
        attributes = dict(attributes or {})
        for parameter in op.schema.attributes:
            if parameter.name not in attributes and not parameter.required:
                attributes[parameter.name] = parameter.normalised
        if result_types is None:
            types = [None if v is None else self.resolve(v.type) for v in operands]
            since = len(self.sizes.unvalued)
            result_types = op.infer_types(self.sizes, op.schema.unflatten(types), attributes)
            self._emit_requirements(since)
        instruction = Instruction(op, list(operands), attributes, result_types, regions, self.location)
        self.block.append(instruction)
        return instruction.results

    def constant(self, value: Any) -> Value:
        """A constant: a Python scalar, string, None, or an array (numpy array or `Array`)."""
        if not isinstance(value, (bool, int, float, complex, str, Array, type(None))):
            value = Array(value)
        return self.emit("constant", value=value)

    def dim(self, dim: Dim) -> Value:
        """A dimension as an int value: a constant, or what the shapes of arguments make it."""
        dim = self.sizes.resolve(dim)
        return self.constant(dim) if isinstance(dim, int) else self.emit("dim", expression=dim)

    def as_dim(self, value: Value) -> tuple[Value, Dim]:
        """An int value and the dimension it stands for, binding a new symbol where it is known at run time only."""
        type = self.resolve(value.type)
        if not isinstance(type, IntType):
            raise TypeError(f"a size must be an int, given {type}")
        if type.value is None:
            value = self.emit("bind_dim", value, symbol=str(self.sizes.fresh(prefix="d")))
            type = value.type
        assert isinstance(type, IntType) and type.value is not None
        return value, type.value

    def resolve(self, type: Type) -> Type:
        """The type with everything known about sizes put in."""
        return substitute_type(type, self.sizes.substitution()) if self.sizes.solved else type

    def return_(self, values: Sequence[Value], outputs: int | None = None) -> None:
        """End the graph."""
        self.emit_all("return", values, result_types=())
        self.graph.outputs = outputs

    def yield_(self, values: Sequence[Value]) -> None:
        """End the current region."""
        self.emit_all("yield", values, result_types=())

    def finish(self) -> Graph:
        """The finished graph, with sizes that were found equal made one and the remaining conditions as guards."""
        substitution = self.sizes.substitution()
        if substitution:
            for part in self.graph.parts:
                _substitute_block(part.block, substitution)
        graph, hints = self.graph, self.sizes.hints
        graph.guards = self.sizes.remaining_guards()
        used = sorted({name for g in graph.guards for name in symbols(g.left) | symbols(g.right)} & hints.keys())
        graph.examples = {name: hints[name] for name in used}
        return graph

    def _emit_requirements(self, since: int) -> None:
        for guard in self.sizes.take_requirements(since):
            left, right = self.dim(guard.left), self.dim(guard.right)
            self.emit_all("require_equal", [left, right], {"message": guard.reason})


def tensor_type(array: Any, device: str = "cpu") -> TensorType:
    """The type of an array."""
    return TensorType(from_numpy(array.dtype), tuple(array.shape), device)


def _substitute_block(block: Block, values: dict[str, Dim]) -> None:
    for argument in block.arguments:
        argument.type = substitute_type(argument.type, values)
    for instruction in block.walk():
        for region in instruction.regions:
            for argument in region.arguments:
                argument.type = substitute_type(argument.type, values)
        for result in instruction.results:
            result.type = substitute_type(result.type, values)
        for name, value in instruction.attributes.items():
            if isinstance(value, (DimExpr, Type, tuple)):
                instruction.attributes[name] = substitute_attribute(value, values)
