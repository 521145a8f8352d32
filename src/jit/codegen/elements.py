"""One element of a value as code: loads, expressions of inlined operations, views as substituted indices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import DType
from ...ir.ops._common import promoted
from ...ir.ops._op import Elementwise, Reduce, View
from ...ir.types import BoolType, IntType, ScalarType, TensorType
from .access import operand_indices
from .fusion import Group, Unsupported
from .image_layout import position
from .indexing import LOOP_PREFIX, Indices, loop_variable
from .kernel_text import Scope, Text
from .scalar_code import Code, Untranslatable, cast, literal, translate

__all__ = ["Elements", "Inline", "describe", "expression_of"]

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

    `storage` maps a value to the stored value whose memory it is in (itself, or what a reshape looks at); `inline` has
    the ops that are neither expressions nor views.
    """

    text: Text
    group: Group
    storage: Callable[[Value], Value]
    inline: Mapping[str, "Inline"]
    overrides: dict[tuple[Value, Indices], Callable[[], Code]] = field(default_factory=dict)
    overridden: dict[Value, Callable[[Indices], Code]] = field(default_factory=dict)
    inside: frozenset[tuple[Dim, Dim | None]] = frozenset()  # conditions of borders that hold here (see `borders`)

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
        elif value in self.group.inlined or (value in self.group.outputs and value not in self.group.placements):
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
        key = (base, "load", self.text.resolve(position(value, indices)))
        for outer in self.text.scopes:
            if key in outer.memo:
                return outer.memo[key]
        pointer = self.text.pointer(base, dtype)
        address = self.text.index(position(value, indices))
        code = self.text.assign(scope, self.text.load(pointer, address, dtype), dtype)
        scope.memo[key] = code
        return code

    def operand(self, instruction: Instruction, operand: Value, indices: Indices) -> Code:
        """An operand of an elementwise operation: an element, or a Python number."""
        if isinstance(operand.type, TensorType):
            read = operand_indices(instruction, operand, indices, self.group.extents, self.group.reduced)
            return self.element(operand, read)
        return self.number(operand)

    def dynamic_index(self, code: Code, size: Dim, indices: Indices, error: int = 3, *, wraps: bool = False) -> Dim:
        """A position that was computed or loaded, as an index; outside [0, size) is reported, and place 0 read.

        With `wraps`, negative positions count from the end.
        """
        text = self.text
        scope = text.place(indices)
        wide = cast(code, dtypes.int64, text.requirements)
        name = text.assign(scope, wide.text, dtypes.int64).text
        # Selections, not branches, and a flag that is reported once: the loop around stays vectorisable.
        if wraps:
            scope.lines.append(f"{name} = {name} + {text.size(size)} if {name} < 0 else {name}")
        flag, inside = text.flag(), text.fresh("o")
        if text.requirements.functions:
            scope.lines.append(f"{inside} = ({name} >= 0) & ({name} < {text.size(size)})")
        else:
            text.requirements.helpers.add("is_inside")
            scope.lines.append(f"{inside} = is_inside({name}, {text.size(size)})")
        scope.lines.append(f"{flag} = {flag} if {inside} else {error}")
        scope.lines.append(f"{name} = {name} if {inside} else 0")
        return self.index_variable(name, scope)

    def index_variable(self, name: str, scope: Scope) -> Dim:
        """A local variable of the kernel as an index, known in `scope` and what is inside it."""
        variable = loop_variable(name)
        inside = False
        for other in self.text.scopes:
            inside = inside or other is scope
            if inside:
                other.variables |= {LOOP_PREFIX + name}
        return variable

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
        try:
            return self.compute_instruction(instruction, indices)
        except Unsupported as unsupported:
            unsupported.instruction = unsupported.instruction or instruction
            raise

    def compute_instruction(self, instruction: Instruction, indices: Indices) -> Code:
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
        inline = self.inline.get(instruction.op.name)
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


Inline = Callable[[Elements, Instruction, Indices], Code]
"""Code for an element of an instruction's result at given indices."""
