"""Tensors in compiled programs: op calls, attributes, in-place writes and the aliases that see them."""

from collections.abc import Sequence as SequenceOf
from typing import Any

import numpy as np

from ...eager.tensor import Size, Tensor
from ...ir.core import Array, Value
from ...ir.dtypes import DType
from ...ir.ops._op import Op, Trait
from ...ir.ops.schema import Role
from ...ir.symbolic import SymbolicTensor, building, wrap
from ...ir.types import BoolType, IntType, ScalarType, TensorType
from ...ir.views import write_through
from ..placement import compiling_place
from .context import Context
from .values import (
    Abstract,
    Cell,
    Constant,
    DictItems,
    Entries,
    Items,
    ListRef,
    Method,
    RunTimeItems,
    RunTimeObject,
    Scalar,
    TensorRef,
    Tuple,
    Union,
    View,
)

__all__ = ["attribute", "call_op", "item", "write", "write_item"]

_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x1": "input", "x2": "other"}
_COPIES = frozenset({"reshape", "flatten", "contiguous"})  # views or copies, by how the memory lies
# Ops with attributes that people give as sizes of tensors: `layer_norm(x, x.shape[-1:])`.
_SHAPED = frozenset({"layer_norm", "rms_norm"})
_LIST_OPS = {"cat": "list.cat", "stack": "list.stack"}


# -- calling ops -------------------------------------------------------------------------------------------------------


def _here() -> tuple[Any, ...]:
    """What means the device that a program runs on."""
    place = compiling_place()
    return (None, place, str(place), place.type)


def call_op(context: Context, op: Op, arguments: SequenceOf[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    """Bind a call to an op's schema and emit it."""
    given = [_to_binder(context, a) for a in arguments]
    named = {k: _to_binder(context, v) for k, v in keywords.items()}
    if op.name in _SHAPED:
        given = [given[0], *(_settled(context, v) for v in given[1:])] if given else given
        named = {k: _settled(context, v) for k, v in named.items()}
    for ignored in ("out", "device", "layout", "memory_format", "non_blocking"):
        if ignored in named and named[ignored] in _here() and not _has(op, ignored):
            del named[ignored]
    if op.name in _LIST_OPS and given and isinstance(given[0], ListRef):
        dim = given[1] if len(given) > 1 else named.get("dim", named.get("axis", 0))
        return _list_op(context, op, given[0], dim)
    try:
        try:
            operands, attributes = op.schema.bind(*given, **named)
        except TypeError:
            renamed = {_ALIASES.get(k, k): v for k, v in named.items()}
            if renamed.keys() == named.keys():
                raise
            operands, attributes = op.schema.bind(*given, **renamed)
        _require_known(op, attributes)
    except TypeError as error:
        # What must be known may be a size: then it is that of this call.
        settled = [_settled(context, v) for v in given]
        named_settled = {k: _settled(context, v) for k, v in named.items()}
        try:
            operands, attributes = op.schema.bind(*settled, **named_settled)
            _require_known(op, attributes)
        except TypeError:
            found = _decided(context, op, arguments, keywords)
            if found is not None:
                return found
            raise _binding_error(context, op, error, [*arguments, *keywords.values()]) from error
    flat: list[Value | None] = []
    for parameter, operand in zip(op.schema.operands, operands, strict=True):
        group = operand if parameter.role.is_group else (operand,)
        flat += [_operand(context, op, parameter.name, parameter.role, o) for o in group]
    results = context.emit_all(op, flat, attributes)
    first = operands[0] if operands else None
    if isinstance(first, tuple):
        first = None
    built = [_result(context, op, first, r, flat[1:], attributes) for r in results]
    return built[0] if len(built) == 1 else Tuple(tuple(built))


def _require_known(op: Op, attributes: dict[str, Any]) -> None:
    """TypeError where an attribute that takes anything is not known when compiling."""
    for name, value in attributes.items():
        if any(isinstance(v, Abstract) for v in (value if isinstance(value, tuple) else (value,))):
            raise TypeError(f"{op.schema.name}(): argument '{name}' must be a number, not one computed at run time")


def _decided(
    context: Context, op: Op, arguments: SequenceOf[Abstract], keywords: dict[str, Abstract]
) -> Abstract | None:
    """The call with arguments that must be known, but are not, decided at run time; None where that cannot be."""
    from .deciding import decided

    if not any(isinstance(v, Scalar) for v in _leaves(context, [*arguments, *keywords.values()])):
        return None
    return decided(context, op, arguments, keywords)


def _settled(context: Context, value: Any) -> Any:
    """Sizes of the call as ints, in tuples and lists; that they are these becomes a condition of the graph."""
    if isinstance(value, (tuple, list)):
        return type(value)(_settled(context, v) for v in value)
    if not isinstance(value, Scalar):
        return value
    kind, sizes = context.type_of(value.value), context.builder.sizes
    if not isinstance(kind, IntType) or kind.value is None or (hint := sizes.hint(kind.value)) is None:
        return value
    sizes.equal(
        kind.value, hint, f"{kind.value} was {hint} when the graph was made, and an argument that must be known"
    )
    return hint


def _has(op: Op, name: str) -> bool:
    return any(p.name == name for p in op.schema.parameters)


def _to_binder(context: Context, value: Abstract) -> Any:
    """What the schema's binder sees: Python values where they are known, else the abstract value itself."""
    match value:
        case Constant(value=constant):
            return constant
        case Tuple(items=items):
            return tuple(_to_binder(context, i) for i in items)
        case ListRef(cell=cell) if isinstance(content := context.heap[cell], Items):
            return [_to_binder(context, i) for i in content.items]
    return value


def _binding_error(context: Context, op: Op, error: TypeError, values: list[Abstract]) -> Exception:
    message = str(error)
    if "must be" in message and any(isinstance(v, Scalar) for v in _leaves(context, values)):
        return context.error(
            f"{message.partition(', not')[0]} known when the program is compiled, but here it is computed at run time",
            "take it from a constant, a default argument or an attribute of the module",
        )
    if "_SCHEMA" in message or "normalise" in message:
        message = f"{op.name}(): {message}"
    return context.type_error(message)


def _leaves(context: Context, values: list[Abstract]) -> list[Abstract]:
    found: list[Abstract] = []
    for value in values:
        if isinstance(value, Tuple):
            found += _leaves(context, list(value.items))
        elif isinstance(value, ListRef) and isinstance(content := context.heap[value.cell], Items):
            found += _leaves(context, list(content.items))
        else:
            found.append(value)
    return found


def _operand(context: Context, op: Op, name: str, role: Role, value: Any) -> Value | None:
    match value:
        case None:
            return None
        case TensorRef():
            if role in (Role.INT, Role.SIZE):
                return _operand(context, op, name, role, item(context, value, "int"))
            return context.read(value)
        case Scalar(value=graph_value):
            if role in (Role.INT, Role.SIZE):
                return _size(context, op, name, graph_value)
            if role in (Role.TENSOR, Role.OPTIONAL_TENSOR, Role.TENSORS):
                break_type = context.type_of(graph_value)
                raise context.type_error(f"{op.schema.name}(): argument '{name}' must be Tensor, not {break_type}")
            return graph_value
        case np.ndarray():
            return context.constant(Array(value))
        case np.generic():
            return context.constant(value.item())
        case bool() | int() | float() | complex() | str():
            if role in (Role.TENSOR, Role.OPTIONAL_TENSOR, Role.TENSORS):
                kind = type(value).__name__
                raise context.type_error(f"{op.schema.name}(): argument '{name}' must be Tensor, not {kind}")
            if role in (Role.INT, Role.SIZE) and not isinstance(value, int):
                kind = type(value).__name__
                raise context.type_error(f"{op.schema.name}(): argument '{name}' must be int, not {kind}")
            return context.constant(int(value) if role in (Role.INT, Role.SIZE) and isinstance(value, int) else value)
        case Union():
            raise context.error(
                f"{op.schema.name}(): argument '{name}' may be {context.describe(value)}",
                "decide which it is with an `if` before the call",
            )
    shown = context.describe(value) if isinstance(value, Abstract) else type(value).__name__
    raise context.type_error(f"{op.schema.name}(): argument '{name}' must be {role.value}, not {shown}")


def _size(context: Context, op: Op, name: str, value: Value) -> Value:
    """An int operand whose size is known to the type system: bound to a new symbol where it is not."""
    type = context.type_of(value)
    if isinstance(type, BoolType):
        value = context.emit("scalar.to_int", value)
        type = context.type_of(value)
    if not isinstance(type, IntType):
        raise context.type_error(f"{op.schema.name}(): argument '{name}' must be int, not {type}")
    return context.as_size(value)


def _result(
    context: Context, op: Op, first: Any, value: Value, operands: list[Value | None], attributes: dict[str, Any]
) -> Abstract:
    type = context.type_of(value)
    if isinstance(type, TensorType):
        if Trait.VIEW in op.traits and isinstance(first, TensorRef):
            if op.name in _COPIES and not _lies_straight(context, first):
                return context.new_tensor(value, first.cell.origins)
            step = View(op, tuple(operands), attributes)
            return TensorRef(first.cell, value, context.heap[first.cell], (*first.views, step))
        return context.new_tensor(value)
    if isinstance(type, IntType) and isinstance(type.value, int):
        return Constant(type.value)
    return Scalar(value)


def _lies_straight(context: Context, tensor: TensorRef) -> bool:
    """Whether the memory is surely row-major without gaps, so that a reshape of it is a view."""
    return (
        tensor.cell.kind == "tensor"
        and not tensor.cell.is_ambiguous
        and all(getattr(v.op.lower, "reinterpret", False) for v in tensor.views)
    )


def _list_op(context: Context, op: Op, items: ListRef, dim: Any) -> Abstract:
    content = context.heap[items.cell]
    assert isinstance(content, RunTimeItems)
    if not isinstance(content.element, TensorType):
        raise context.type_error(f"{op.name}(): expected a list of tensors, given a list of {content.element}")
    symbol = str(context.builder.sizes.fresh(prefix="d"))
    value = context.emit(_LIST_OPS[op.name], content.value, dim=dim, symbol=symbol)
    return context.new_tensor(value)


def item(context: Context, tensor: TensorRef, want: str | None = None) -> Abstract:
    """The only element of a tensor as a Python number."""
    value = context.emit("item", context.read(tensor))
    if want is not None:
        type = context.type_of(value)
        wanted = {"bool": "BoolType", "int": "IntType", "float": "FloatType"}[want]
        if type.__class__.__name__ != wanted:
            value = context.emit(f"scalar.to_{want}", value)
    return Scalar(value)


# -- attributes --------------------------------------------------------------------------------------------------------


def shape(context: Context, tensor: TensorRef) -> Tuple:
    """The sizes of the dimensions, ints known or computed at run time."""
    return Tuple(tuple(context.dim_scalar(d) for d in context.tensor_type(tensor).shape), Size)


def attribute(context: Context, tensor: TensorRef, name: str) -> Abstract:
    """`tensor.name`."""
    type = context.tensor_type(tensor)
    match name:
        case "shape":
            return shape(context, tensor)
        case "dtype":
            return Constant(type.dtype)
        case "ndim":
            return Constant(type.rank)
        case "device":
            return Constant(compiling_place())
        case "T":
            return context.call(Method(tensor, "permute"), [Constant(d) for d in reversed(range(type.rank))], {})
        case "H" | "mH" if type.dtype.is_complex:
            return context.call(Method(attribute(context, tensor, "mT"), "conj"), [], {})  # type: ignore[arg-type]
        case "mT" | "H" | "mH":
            return context.call(Method(tensor, "transpose"), [Constant(-2), Constant(-1)], {})
        case "data":
            return tensor
        case "is_cuda":
            return Constant(False)
        case "itemsize":
            return Constant(type.dtype.itemsize)
        case "_array":  # how Ingot's own functions reach shape and dtype
            return tensor
        case "grad" | "requires_grad" | "grad_fn" | "is_leaf" | "backward":
            raise context.error(
                f"a compiled program cannot use Tensor.{name}",
                "use gradients outside: they flow through compiled functions",
            )
    if hasattr(Tensor, name):
        found = getattr(Tensor, name)
        if isinstance(found, property):
            assert found.fget is not None
            return context.call(Constant(found.fget), [tensor], {})
        return Method(tensor, name)
    error = AttributeError(f"'Tensor' object has no attribute '{name}'")
    if context.speculative:
        context.fails(error)
    raise context.error(str(error), context.near(name, [n for n in dir(Tensor) if not n.startswith("_")]))


# -- writing in place --------------------------------------------------------------------------------------------------


def _reachable(context: Context) -> "set[Cell]":
    """Cells that variables refer to, in every function on the stack."""
    found: set[Cell] = set()
    queue: list[Any] = [v for f in context.frames for v in (*f.variables.values(), *(f.scope or {}).values())]
    while queue:
        match queue.pop():
            case Tuple(items=items) | Items(items=items) | Union(alternatives=items):
                queue += items
            case DictItems(entries=entries):
                queue += [v for _, v in entries]
            case Entries(attributes=attributes):
                queue += attributes.values()
            case Method(instance=instance):
                queue.append(instance)
            case Abstract() as value if (cell := getattr(value, "cell", None)) is not None and cell not in found:
                found.add(cell)
                content = context.heap[cell]
                if not isinstance(content, (Value, RunTimeItems, RunTimeObject)):
                    queue.append(content)
    return found


def check_write(context: Context, cell: Cell) -> None:
    """ScriptError where a write could be seen, or not, through another name, depending on the path taken."""
    if any(context.has_escaped(c) for c in cell.origins):
        raise context.error(
            "a tensor is written in place after it was put into a list that grows at run time",
            "append a copy: `items.append(x.clone())`",
        )
    hint = "make a copy first with `.clone()`, or write `x = x + y` instead of `x += y`"
    if cell.is_ambiguous and any(c.kind in ("argument", "parameter") for c in cell.origins if c is not cell):
        context.ambiguous = True
        raise context.error(
            "this in-place write may or may not change an argument of the function: it depends on the path taken", hint
        )
    for other in _reachable(context):
        if other is not cell and cell.origins & other.origins:
            context.ambiguous = True
            depends = ": it depends on the path taken" if other.kind == cell.kind else ""
            raise context.error(f"this in-place write may or may not be seen through another variable{depends}", hint)


def write(context: Context, target: TensorRef, value: Value, name: str) -> TensorRef:
    """Make the elements of the target those of `value`, converted to its dtype and broadcast to its shape."""
    cell = target.cell
    check_write(context, cell)
    target_type, type = context.tensor_type(target), context.type_of(value)
    assert isinstance(type, TensorType)
    if any(v.op.name in ("expand", "broadcast_to") for v in target.views):
        context.fails(
            RuntimeError(f"{name}: an expanded tensor is written in place, of which several elements are one; clone it")
        )
    sizes = context.builder.sizes
    while name == "setitem" and type.rank > target_type.rank and sizes.hint(type.shape[0]) == 1:
        sizes.equal(type.shape[0], 1, "setitem: leading dimensions of the value are left out where their size is 1")
        value = context.emit("squeeze", value, dim=(0,))
        type = context.type_of(value)
        assert isinstance(type, TensorType)
    if type.dtype is not target_type.dtype:
        if type.dtype.category > target_type.dtype.category:
            context.fails(
                RuntimeError(
                    f"{name}: result type {type.dtype.name} can't be cast to the desired output type "
                    f"{target_type.dtype.name}"
                )
            )
        value = cast(context, value, target_type.dtype)
    if type.shape != target_type.shape:
        if type.rank > target_type.rank:
            context.fails(
                RuntimeError(
                    f"{name}: output with shape {list(target_type.shape)} doesn't match the broadcast shape "
                    f"{list(type.shape)}"
                )
            )
        value = context.emit("expand", value, *(context.builder.dim(d) for d in target_type.shape))
    base: Value = context.heap[cell]
    if target.views:
        builder = context.builder
        steps = [(v.op, _grouped(context, v), v.attributes) for v in target.views]
        try:
            with building(builder):
                written = write_through(SymbolicTensor(builder, base), steps, SymbolicTensor(builder, value))
        except (RuntimeError, ValueError, IndexError) as error:
            context.fails(error, base, value)
        new = written.value
    else:
        new = value
    old_type, new_type = context.type_of(base), context.type_of(new)
    assert isinstance(old_type, TensorType) and isinstance(new_type, TensorType)
    for size, other in zip(old_type.shape, new_type.shape, strict=True):
        context.builder.sizes.equal(size, other, f"{name}: a write keeps the shape {list(old_type.shape)}")
    context.heap[cell] = new
    return TensorRef(cell, value, new, target.views)


def _grouped(context: Context, view: View) -> tuple[Any, ...]:
    """A view step's further operands, one entry per operand parameter."""
    rest = view.op.schema.unflatten([None, *view.operands])[1:]
    builder = context.builder
    return tuple(tuple(wrap(builder, v) for v in r) if isinstance(r, tuple) else wrap(builder, r) for r in rest)


def cast(context: Context, value: Value, dtype: DType) -> Value:
    """The tensor as another dtype."""
    return context.emit("cast", value, dtype=dtype)


def as_tensor_value(context: Context, value: Abstract, like: TensorType) -> Value:
    """A tensor, or a number made into one of the dtype of `like`."""
    if isinstance(value, TensorRef):
        return context.read(value)
    if isinstance(value, (Constant, Scalar)):
        scalar = value.value if isinstance(value, Scalar) else context.constant(value.value)
        if isinstance(context.type_of(scalar), ScalarType):
            return context.emit("full", scalar, dtype=like.dtype)
    raise context.type_error(f"expected a Tensor or a number, given {context.describe(value)}")


def write_item(
    context: Context, target: TensorRef, value: Abstract, name: str = "copy_", *, assign: bool = False
) -> TensorRef:
    """Write a tensor or number into the target; `assign` converts it first, as `x[i] = value` does."""
    type = context.tensor_type(target)
    graph_value = as_tensor_value(context, value, type)
    given = context.type_of(graph_value)
    assert isinstance(given, TensorType)
    if assign and given.dtype is not type.dtype:
        graph_value = cast(context, graph_value, type.dtype)
    while given.rank > type.rank and given.shape[0] == 1:  # leading ones are dropped, as in PyTorch
        graph_value = context.emit("squeeze", graph_value, dim=(0,))
        given = context.type_of(graph_value)
        assert isinstance(given, TensorType)
    return write(context, target, graph_value, name)


def inplace_op(
    context: Context, op: Op, target: TensorRef, arguments: SequenceOf[Abstract], keywords: dict[str, Abstract]
) -> TensorRef:
    """`target.op_(...)`: the op's result is written into the target."""
    result = call_op(context, op, [target, *arguments], keywords)
    assert isinstance(result, TensorRef)
    return write(context, target, context.read(result), f"{op.schema.name}_")
