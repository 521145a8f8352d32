"""One element of a value as code: loads, expressions of inlined operations, views as substituted indices."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...ir import dtypes
from ...ir.core import Array, Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import DType
from ...ir.ops._common import promoted
from ...ir.ops._op import Elementwise, Reduce, View
from ...ir.types import BoolType, IntType, ScalarType, TensorType
from .fusion import Group, Unsupported, operand_indices
from .indexing import Indices, flat_index
from .kernel_text import Text
from .scalar_code import Code, Untranslatable, cast, literal, translate

__all__ = ["Elements", "INLINE", "describe", "expression_of"]

# Composite ops that have a vector function of their own: expression for given attributes, or None.
_COMPOSITES: dict[str, Callable[..., str | None]] = {
    "gelu": lambda approximate="none": "gelu({input})" if approximate == "none" else "gelu_tanh({input})",
}


def expression_of(instruction: Instruction) -> Elementwise | None:
    """The instruction as one scalar expression, if it is one."""
    lowering = instruction.op.lower
    if isinstance(lowering, Elementwise):
        return lowering
    composite = _COMPOSITES.get(instruction.op.name)
    if composite is not None:
        text = composite(**instruction.attributes)
        return None if text is None else Elementwise(text)
    return None


def describe(instruction: Instruction) -> str:
    """What a comment in a kernel says of an instruction: its op and the user's line."""
    location = instruction.location
    return instruction.op.name if location is None else f"{instruction.op.name}: {location}"


@dataclass
class Elements:
    """Writes elements of a group's values into the text of its kernel.

    `address_of` maps a value to the stored value whose memory it is in (itself, or what a reshape looks at).
    """

    text: Text
    group: Group
    storage: Callable[[Value], Value]
    overrides: dict[tuple[Value, Indices], Callable[[], Code]] = field(default_factory=dict)
    overridden: dict[Value, Callable[[Indices], Code]] = field(default_factory=dict)

    def element(self, value: Value, indices: Indices) -> Code:
        """Code for the value's element at `indices`, written once per scope."""
        key = (value, indices)
        for scope in reversed(self.text.scopes):
            if key in scope.memo:
                return scope.memo[key]
        if key in self.overrides:
            code = self.overrides[key]()
        elif value in self.overridden:
            code = self.overridden[value](indices)
        elif value in self.group.inlined or value in self.group.outputs:
            code = self.compute(value, indices)
        else:
            return self.load(value, indices)
        self.text.place(indices).memo[key] = code
        return code

    def load(self, value: Value, indices: Indices) -> Code:
        assert isinstance(value.type, TensorType)
        dtype = value.type.dtype
        base = self.storage(value)
        scope = self.text.place(indices)
        key = (base, "load", self.text.resolve(flat_index(indices, value.type.shape)))
        for outer in self.text.scopes:
            if key in outer.memo:
                return outer.memo[key]
        pointer = self.text.pointer(base, dtype)
        address = self.text.index(flat_index(indices, value.type.shape))
        code = self.text.assign(scope, self.text.load(pointer, address, dtype), dtype)
        scope.memo[key] = code
        return code

    def operand(self, instruction: Instruction, operand: Value, indices: Indices) -> Code:
        """An operand of an elementwise operation: an element, or a Python number."""
        if isinstance(operand.type, TensorType):
            read = operand_indices(instruction, operand, indices, self.group.extents, self.group.reduced)
            return self.element(operand, read)
        return self.number(operand)

    def number(self, operand: Value) -> Code:
        """A Python number: a literal, a size, or a parameter."""
        constant = operand.instruction
        if constant is not None and constant.op.name == "constant":
            value = constant.attributes["value"]
            dtype = {bool: dtypes.bool_, int: dtypes.int64, float: dtypes.float64}.get(type(value))
            if dtype is None:
                raise Unsupported(f"an operand {value!r} in a tensor operation", constant.location)
            return Code(literal(value, dtype), dtype, value)
        match operand.type:
            case BoolType():
                text = self.text.scalar(operand, dtypes.int64).text
                return Code(f"({text} != 0)", dtypes.bool_)
            case IntType():
                return self.text.scalar(operand, dtypes.int64)
        if not isinstance(operand.type, ScalarType):
            raise Unsupported(f"an operand of type {operand.type} in a tensor operation")
        return self.text.scalar(operand, dtypes.float64)

    def compute(self, value: Value, indices: Indices) -> Code:
        instruction = value.instruction
        assert instruction is not None and isinstance(value.type, TensorType)
        lowering = instruction.op.lower
        if isinstance(lowering, View):
            source = instruction.operands[0]
            assert source is not None
            return self.element(source, operand_indices(instruction, source, indices, self.group.extents))
        expression = expression_of(instruction)
        if expression is not None:
            return self.compute_expression(instruction, expression, indices)
        if isinstance(lowering, Reduce):
            raise AssertionError(f"the reduction {instruction} is read at {indices} before it is complete")
        inline = INLINE.get(instruction.op.name)
        if inline is None:
            raise Unsupported(f"{instruction.op.name} has no native kernel", instruction.location)
        return inline(self, instruction, indices)

    def compute_expression(self, instruction: Instruction, expression: Elementwise, indices: Indices) -> Code:
        value = instruction.results[0]
        assert isinstance(value.type, TensorType)
        result = value.type.dtype
        names = [p.name for p in instruction.op.schema.operands]
        by_parameter = instruction.op.schema.unflatten(instruction.operands)
        operands: dict[str, Code] = {}
        attributes = dict(instruction.attributes)
        types: list[Any] = []
        for name, operand in zip(names, by_parameter, strict=True):
            if isinstance(operand, Value):
                operands[name] = self.operand(instruction, operand, indices)
                types.append(operand.type)
            else:
                attributes[name] = operand
        compute: DType | None = result
        if expression.compute == "input":
            compute = None
        elif expression.compute == "operands" or (result is dtypes.bool_ and instruction.op.name != "where"):
            compute = promoted(tuple(types))
        checks: list[str] = []
        try:
            code = translate(
                expression.expression, operands, attributes, compute, result, self.text.requirements, checks
            )
        except Untranslatable as error:
            raise Unsupported(f"{instruction.op.name}: {error}", instruction.location) from error
        scope = self.text.place(indices)
        for check in checks:
            scope.lines.append(f"if {check}:")
            scope.lines.append(f"    {self.text.status()}[0] = {1 if '== 0' in check else 2}")
        return self.text.assign(scope, code.text, result, describe(instruction))


# -- operations that make elements from indices -------------------------------------------------------------------------


def _literal_operand(value: Value | None) -> Any:
    """The Python number that an operand is known to be, or None."""
    if value is not None and value.instruction is not None and value.instruction.op.name == "constant":
        return value.instruction.attributes["value"]
    return None


def _full(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    fill = instruction.operands[-1]
    assert fill is not None
    if isinstance(fill.type, TensorType):
        code = elements.element(fill, ())
    else:
        code = elements.number(fill)
        known = _literal_operand(fill)
        if known is not None:
            if isinstance(known, float) and result.dtype.kind in "iub":
                known = bool(known) if result.dtype is dtypes.bool_ else int(known)
            return Code(literal(known, result.dtype), result.dtype)
    return cast(code, result.dtype, elements.text.requirements)


def _arange(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    start, step = instruction.operands[0], instruction.operands[2]
    assert start is not None and step is not None
    sizes = [v.type.value if isinstance(v.type, IntType) else None for v in (start, step)]
    if sizes[0] is None or sizes[1] is None:
        raise Unsupported("arange: its start or step is not known as a size", instruction.location)
    position: Dim = sizes[0] + indices[0] * sizes[1]
    code = Code(f"({elements.text.index(position)})", dtypes.int64)
    scope = elements.text.place(indices)
    return elements.text.assign(
        scope, cast(code, result.dtype, elements.text.requirements).text, result.dtype, describe(instruction)
    )


def _arange_steps(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    start, step = instruction.operands[0], instruction.operands[1]
    assert start is not None and step is not None
    requirements = elements.text.requirements
    wide = dtypes.int64
    if not (isinstance(start.type, (IntType, BoolType)) and isinstance(step.type, (IntType, BoolType))):
        wide = dtypes.float64
    index = cast(Code(f"({elements.text.index(indices[0])})", dtypes.int64), wide, requirements)
    first, by = (cast(elements.number(v), wide, requirements) for v in (start, step))
    code = Code(f"({first.text} + {index.text} * {by.text})", wide)
    return elements.text.assign(
        elements.text.place(indices), cast(code, result.dtype, requirements).text, result.dtype, describe(instruction)
    )


def _constant(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    """A tensor constant of one element is a literal in the code; others are loaded."""
    value = instruction.attributes["value"]
    assert isinstance(value, Array)
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    return Code(literal(value.require().reshape(()).item(), result.dtype), result.dtype)


INLINE: dict[str, Callable[[Elements, Instruction, Indices], Code]] = {
    "full": _full,
    "arange": _arange,
    "arange_steps": _arange_steps,
    "constant": _constant,
}
