"""Algebraic simplification: a table of local rules."""

from typing import Any

from ..core import Array, Graph, Instruction, Value
from ..dims import DimExpr, is_nonnegative, symbol
from ..dtypes import DType
from ..ops._op import Op, Trait, View
from ..rewrite import Rewriter, Rules, constant_value, has_effect, is_constant, is_function, rewrite, rule
from ..types import IntType, TensorType, Type

__all__ = ["SIMPLIFY", "simplify"]


def simplify(graph: Graph) -> Graph:
    """With the algebraic identities of `SIMPLIFY` applied until none applies.

    Identities hold for NaN and infinities; the sign of a floating-point zero may change where 0 is added.

    Precondition: the graph is valid.
    """
    return rewrite(graph, SIMPLIFY)


def _producer(value: Value | None, *names: str) -> Instruction | None:
    """The instruction that makes a value, if it is one of the named ops."""
    if value is None or value.instruction is None or value.instruction.op.name not in names:
        return None
    return value.instruction


def _is_number(value: Value | None, number: float) -> bool:
    """Whether a value is the constant `number`, or a small tensor full of it."""
    constant = constant_value(value)
    if isinstance(constant, Array):
        data = constant.data
        return data is not None and 0 < data.size <= 16 and bool((data == number).all())
    return isinstance(constant, (bool, int, float)) and constant == number


def _same_type(instruction: Instruction, value: Value | None) -> Value | None:
    """The value, if it can stand for the instruction's only result."""
    return value if value is not None and value.type == instruction.result.type else None


# -- numbers ----------------------------------------------------------------------------------------------------------


@rule("constant op x -> x op constant", when=lambda op: Trait.COMMUTATIVE in op.traits)
def _constants_right(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    left, right, *rest = instruction.operands
    if not is_constant(left) or right is None or is_constant(right):
        return None
    return rewriter.emit(instruction.op.name, right, left, *rest, **instruction.attributes)


# The number on the right with which an op gives back its left operand, and on the left its right one.
_RIGHT_IDENTITY = {
    "add": 0, "sub": 0, "mul": 1, "div": 1, "pow": 1, "bitwise_or": 0, "bitwise_xor": 0, "scalar.add": 0,
    "scalar.sub": 0, "scalar.mul": 1, "scalar.truediv": 1, "scalar.pow": 1, "scalar.floordiv": 1,
}  # fmt: skip
_LEFT_IDENTITY = {"scalar.add": 0, "scalar.mul": 1}


@rule("x + 0 -> x and the like", *_RIGHT_IDENTITY)
def _identity(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    left, right, *rest = instruction.operands
    if rest:  # a scale such as `alpha`
        return None
    name = instruction.op.name
    if _is_number(right, _RIGHT_IDENTITY[name]):
        if _is_float_floordiv(instruction):
            return None
        return _same_type(instruction, left)
    if name in _LEFT_IDENTITY and _is_number(left, _LEFT_IDENTITY[name]):
        return _same_type(instruction, right)
    return None


def _is_float_floordiv(instruction: Instruction) -> bool:
    return instruction.op.name == "scalar.floordiv" and not isinstance(instruction.result.type, IntType)


@rule("x * 0 -> 0 for integers", "scalar.mul")
def _times_zero(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    if isinstance(instruction.result.type, IntType) and any(_is_number(v, 0) for v in instruction.operands):
        return rewriter.constant(0)
    return None


@rule("pow(x, 2) -> square(x)", "pow")
def _square(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    base, exponent = instruction.operands
    if base is None or not isinstance(base.type, TensorType) or base.type != instruction.result.type:
        return None
    if _is_number(exponent, 2):
        return rewriter.emit("square", base)
    if _is_number(exponent, -1) and base.type.dtype.is_floating_point:
        return rewriter.emit("reciprocal", base)
    return None


@rule("product over a depth of one -> elementwise product", "matmul")
def _outer_product(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    left, right = instruction.operands
    for value, axis in ((left, -1), (right, -2)):
        if value is None or not isinstance(value.type, TensorType) or value.type.rank < 2:
            return None
        # Sums of other dtypes need not be what products are: those of bool are alternatives.
        if value.type.shape[axis] != 1 or not value.type.dtype.is_floating_point:
            return None
    return rewriter.emit("mul", left, right)


@rule("-(-x) -> x", "neg", "scalar.neg", "logical_not", "bitwise_not", "scalar.not_")
def _involution(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    inner = _producer(instruction.operands[0], instruction.op.name)
    return _same_type(instruction, inner.operands[0]) if inner is not None else None


@rule("f(f(x)) -> f(x)", when=lambda op: Trait.IDEMPOTENT in op.traits)
def _idempotent(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    inner = _producer(instruction.operands[0], instruction.op.name)
    if inner is None or inner.attributes != instruction.attributes or inner.operands[1:] != instruction.operands[1:]:
        return None
    return _same_type(instruction, instruction.operands[0])


@rule("cast to the dtype that it has", "cast")
def _cast(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    (operand,) = instruction.operands
    if (same := _same_type(instruction, operand)) is not None:
        return same
    inner = _producer(operand, "cast")
    if inner is None or inner.operands[0] is None or not isinstance(inner.operands[0].type, TensorType):
        return None
    if not _holds(inner.attributes["dtype"], inner.operands[0].type.dtype):
        return None
    return rewriter.emit("cast", inner.operands[0], **instruction.attributes)


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether every number of `narrow` is one of `wide` and converts to any third dtype as that does."""
    return wide.kind == narrow.kind and wide.itemsize >= narrow.itemsize


@rule("where(constant, x, y)", "where")
def _where(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    condition, input, other = instruction.operands
    if input is other:
        return _same_type(instruction, input)
    constant = constant_value(condition)
    data = constant.data if isinstance(constant, Array) else None
    if data is None or not data.size or bool(data.all()) != bool(data.any()):
        return None
    return _same_type(instruction, input if data.all() else other)


# -- views ------------------------------------------------------------------------------------------------------------


def _is_view(op: Op) -> bool:
    # `detach` changes no element, but it stops gradients, so that it must be there when a graph is differentiated.
    return isinstance(op.lower, View) and op.name != "detach"


def _view_indices(instruction: Instruction, indices: list[Any]) -> list[Any] | None:
    """Indices into a view's operand for indices into its result; None where they are not known."""
    view, operand = instruction.op.lower, instruction.operands[0]
    assert isinstance(view, View)
    if view.index_map is None or operand is None or not isinstance(operand.type, TensorType):
        return None
    extra: dict[str, Any] = {}
    if view.operands_in_map:
        values: list[Any] = []
        for value in instruction.operands[1:]:
            if value is not None and (not isinstance(value.type, IntType) or value.type.value is None):
                return None
            values.append(value.type.value if value is not None and isinstance(value.type, IntType) else None)
        extra["operands"] = values
    shape = instruction.result.type.shape  # type: ignore[attr-defined]
    try:
        found = view.index_map(indices, operand.type.shape, shape, **extra, **instruction.attributes)
    except (TypeError, ValueError, ZeroDivisionError, IndexError):  # a map that must branch on what is not known
        return None
    return list(found)


@rule("view that changes nothing -> its operand", when=_is_view)
def _identity_view(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    operand = instruction.operands[0]
    if operand is None or operand.type != instruction.result.type or not isinstance(operand.type, TensorType):
        return None
    assert isinstance(instruction.op.lower, View)
    if instruction.op.lower.reinterpret:
        return operand
    indices: list[Any] = [symbol(f"_i{i}") for i in range(operand.type.rank)]
    return operand if _view_indices(instruction, indices) == indices else None


@rule("view of its inverse -> x", when=_is_view)
def _inverse_view(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    outer = instruction.operands[0]
    inner = outer.instruction if outer is not None else None
    if inner is None or not _is_view(inner.op) or inner.operands[0] is None:
        return None
    assert isinstance(inner.op.lower, View)
    source = inner.operands[0]
    assert isinstance(instruction.op.lower, View)
    if instruction.op.lower.reinterpret and inner.op.lower.reinterpret:
        if source.type == instruction.result.type:
            return source
        if not isinstance(instruction.result.type, TensorType) or not isinstance(source.type, TensorType):
            return None
        dims = [rewriter.builder.dim(d) for d in instruction.result.type.shape]
        reshaped = rewriter.emit("reshape", source, *dims)
        return reshaped if reshaped.type == instruction.result.type else None
    if not isinstance(source.type, TensorType) or not isinstance(instruction.result.type, TensorType):
        return None
    indices: list[Any] = [symbol(f"_i{i}") for i in range(instruction.result.type.rank)]
    middle = _view_indices(instruction, indices)
    final = None if middle is None else _view_indices(inner, middle)
    if final is None:
        return None
    if final == indices and source.type == instruction.result.type:
        return source
    if instruction.op.name == inner.op.name == "permute" and len(final) == len(indices):
        dims_of = [final.index(i) for i in indices if i in final]
        if len(dims_of) == len(indices):
            return rewriter.emit("permute", source, dims=tuple(dims_of))
    return None


# -- sizes, tuples ----------------------------------------------------------------------------------------------------


@rule("int whose size is known -> that size", when=lambda op: is_function(op) and op.name != "constant")
def _known_int(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    if instruction.regions or len(instruction.results) != 1:
        return None
    type: Type = instruction.result.type
    if not isinstance(type, IntType) or type.value is None or instruction.op.name == "undefined":
        return None
    if isinstance(type.value, DimExpr):
        return None if instruction.op.name == "dim" else rewriter.builder.dim(type.value)
    return rewriter.constant(type.value)


@rule("bind_dim(known size) -> that size", "bind_dim")
def _bind_known(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    (value,) = instruction.operands
    if value is None or not isinstance(value.type, IntType) or value.type.value is None:
        return None
    return value if is_nonnegative(value.type.value) else None


@rule("require_equal of equal sizes -> nothing", "require_equal")
def _require_known(instruction: Instruction, rewriter: Rewriter) -> tuple[Value, ...] | None:
    left, right = instruction.operands
    if left is right:
        return ()
    a, b = (getattr(v.type, "value", None) if v is not None else None for v in (left, right))
    return () if a is not None and b is not None and rewriter.sizes.are_known_equal(a, b) else None


@rule("tuple.get(tuple.make(x, ...)) -> x", "tuple.get")
def _get_of_make(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    made = _producer(instruction.operands[0], "tuple.make")
    return made.operands[instruction.attributes["index"]] if made is not None else None


# -- branches and loops -----------------------------------------------------------------------------------------------


@rule("if of a constant -> its branch", "if")
def _constant_if(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    condition = constant_value(instruction.operands[0])
    if condition is None:
        return None
    return rewriter.inline(instruction.regions[0 if condition else 1])


@rule("if without a difference -> either branch", "if")
def _same_branches(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    left, right = (region.terminator.operands for region in instruction.regions)
    if not instruction.results or has_effect(instruction):
        return None
    same = [a for a, b in zip(left, right, strict=True) if a is b and a is not None]
    return same if len(same) == len(instruction.results) else None


@rule("if c: True else: False -> c", "if")
def _if_is_condition(instruction: Instruction, rewriter: Rewriter) -> Value | None:
    if len(instruction.results) != 1 or has_effect(instruction):
        return None
    left, right = (constant_value(region.terminator.operands[0]) for region in instruction.regions)
    return instruction.operands[0] if left is True and right is False else None


@rule("loop that never runs -> what it starts with", "loop")
def _no_loop(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    trip_count, condition, *carried = instruction.operands
    trips = constant_value(trip_count)
    if constant_value(condition) is False or (isinstance(trips, int) and trips <= 0):
        return [v for v in carried if v is not None]
    return None


@rule("loop that runs once -> its body", "loop")
def _one_trip(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    trip_count, condition, *carried = instruction.operands
    trips = constant_value(trip_count)
    if constant_value(condition) is not True:
        return None
    if trips != 1 and constant_value(instruction.regions[0].terminator.operands[0]) is not False:
        return None
    if isinstance(trips, int) and trips < 1:
        return None
    if trips is None and trip_count is not None:
        return None  # a count that is not known may be 0
    arguments = [rewriter.constant(0), *(v for v in carried if v is not None)]
    return rewriter.inline(instruction.regions[0], arguments)[1:]


SIMPLIFY: Rules = (
    _constants_right
    + _identity
    + _times_zero
    + _square
    + _outer_product
    + _involution
    + _idempotent
    + _cast
    + _where
    + _identity_view
    + _inverse_view
    + _known_int
    + _bind_known
    + _require_known
    + _get_of_make
    + _constant_if
    + _same_branches
    + _if_is_condition
    + _no_loop
    + _one_trip
)
"""All rules of `simplify`, in the order in which they are tried."""
