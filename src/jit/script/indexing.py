"""Indexing of tensors: views for ints and slices, gathers for tensors and masks, and writes through both."""

from typing import Any

import numpy as np

from ...eager import creation
from ...ir.core import Value
from ...ir.dtypes import bool_
from ...ir.ops._op import get_op
from ...ir.types import BoolType, IntType, TensorType
from .context import Context
from .operators import number, scalar_kind
from .regions import branch
from .tensors import call_op, item, write, write_item
from .values import Abstract, Constant, Items, ListRef, Scalar, Slice, TensorRef, Tuple

__all__ = ["get_item", "set_item"]

_FULL = Slice(Constant(None), Constant(None), Constant(None))


def get_item(context: Context, tensor: TensorRef, index: Abstract) -> Abstract:
    """`tensor[index]`."""
    entries = _entries(context, tensor, index)
    if any(isinstance(e, TensorRef) for e in entries):
        spec, source, tensors = _advanced(context, tensor, entries)
        return _index_op(context, "index", source, tensors, None, spec)
    return _basic(context, tensor, entries)


def set_item(context: Context, tensor: TensorRef, index: Abstract, value: Abstract) -> None:
    """`tensor[index] = value`."""
    entries = _entries(context, tensor, index)
    stepped = [i for i, e in enumerate(entries) if isinstance(e, Slice) and not isinstance(e.step, Constant)]
    if stepped:
        if len(stepped) > 1 or any(isinstance(e, TensorRef) for e in entries):
            raise context.error(
                "writes through a slice with a run-time step and further index tensors cannot be compiled",
                "use a constant step, or write through one after the other",
            )
        axis = sum(not _is_none(e) and not _is_flag(e) for e in entries[: stepped[0]])
        found = entries[stepped[0]]
        assert isinstance(found, Slice)
        index_tensor = _steps(context, tensor, found, axis)
        entries[stepped[0]] = index_tensor
    if not any(isinstance(e, TensorRef) for e in entries):
        part = _basic(context, tensor, entries)
        assert isinstance(part, TensorRef)
        write_item(context, part, value, "setitem", assign=True)
        return
    spec, source, tensors = _advanced(context, tensor, entries)
    type = context.tensor_type(source)
    from .tensors import as_tensor_value, cast

    given = as_tensor_value(context, value, type)
    if context.type_of(given).dtype is not type.dtype:  # type: ignore[attr-defined]
        given = cast(context, given, type.dtype)
    given = _without_leading(context, given, _indexed_rank(context, type, tensors))
    updated = _index_op(context, "index_put", source, tensors, context.new_tensor(given), spec)
    assert isinstance(updated, TensorRef)
    write(context, source, context.read(updated), "index_put_")


def _indexed_rank(context: Context, source: TensorType, tensors: list[Abstract]) -> int:
    """The rank of what index tensors choose: a mask stands for as many dimensions as it has, an index for one."""
    rank, joint = source.rank, 0
    for tensor in tensors:
        assert isinstance(tensor, TensorRef)
        kind = context.tensor_type(tensor)
        is_mask = kind.dtype.kind == "b"
        rank -= kind.rank if is_mask else 1
        joint = max(joint, 1 if is_mask else kind.rank)
    return rank + joint


def _without_leading(context: Context, value: Value, rank: int) -> Value:
    """A value that is assigned, without leading dimensions of 1 beyond a rank."""
    sizes = context.builder.sizes
    while isinstance(type := context.type_of(value), TensorType) and type.rank > rank:
        if sizes.hint(type.shape[0]) != 1:
            break
        sizes.equal(type.shape[0], 1, "setitem: leading dimensions of the value are left out where their size is 1")
        value = context.emit("squeeze", value, dim=(0,))
    return value


def _index_op(
    context: Context, name: str, source: TensorRef, tensors: list[Abstract], value: TensorRef | None, spec: Any
) -> Abstract:
    op = get_op(name)
    arguments: list[Abstract] = [source, Tuple(tuple(tensors))]
    if value is not None:
        arguments.append(value)
    return call_op(context, op, arguments, {"spec": Constant(spec)})


def _entries(context: Context, tensor: TensorRef, index: Abstract) -> list[Abstract]:
    """One entry per index: Constant int or None, Scalar int, Slice or index tensor; the Ellipsis written out."""
    given = list(index.items) if isinstance(index, Tuple) else [index]
    if isinstance(index, ListRef):
        content = context.heap[index.cell]
        if isinstance(content, Items) and any(
            isinstance(i, (Slice, TensorRef)) or (isinstance(i, Constant) and i.value in (None, Ellipsis))
            for i in content.items
        ):
            given = list(content.items)
    entries = [_entry(context, e) for e in given]
    if any(isinstance(e, TensorRef) for e in entries):
        # Beside index tensors a flag is a mask of no dimensions; alone it is a dimension of size 1 or 0.
        entries = [_array(context, np.asarray(e.value)) if _is_flag(e) else e for e in entries]  # type: ignore[attr-defined]
    rank = context.tensor_type(tensor).rank
    consumed = 0
    dots: int | None = None
    for position, entry in enumerate(entries):
        if isinstance(entry, Constant) and entry.value is Ellipsis:
            if dots is not None:
                context.fails(IndexError("an index can only have a single ellipsis ('...')"))
            dots = position
        elif isinstance(entry, TensorRef) and context.tensor_type(entry).dtype is bool_:
            consumed += context.tensor_type(entry).rank
        elif not (isinstance(entry, Constant) and (entry.value is None or isinstance(entry.value, bool))):
            consumed += 1
    if consumed > rank:
        context.fails(IndexError(f"too many indices for tensor of dimension {rank}: {consumed} given"))
    fill: list[Abstract] = [_FULL] * (rank - consumed)
    return [*entries, *fill] if dots is None else [*entries[:dots], *fill, *entries[dots + 1 :]]


def _is_flag(entry: Abstract) -> bool:
    return isinstance(entry, Constant) and isinstance(entry.value, bool)


def _entry(context: Context, entry: Abstract) -> Abstract:
    match entry:
        case Slice():
            return entry
        case Constant(value=int() | None):
            return entry
        case Constant(value=constant) if constant is Ellipsis:
            return entry
        case Constant(value=(list() | tuple() | range()) as constant):
            return _array(context, np.asarray(constant, np.int64 if not len(constant) else None))
        case Scalar(value=graph_value):
            if isinstance(graph_value.type, IntType):
                return entry
            if isinstance(graph_value.type, BoolType):
                return context.new_tensor(context.emit("full", graph_value, dtype=bool_))
        case TensorRef():
            type = context.tensor_type(entry)
            if type.dtype.kind not in "iub":
                context.fails(
                    IndexError(
                        f"tensors used as indices must be long, int, byte or bool tensors, given {type.dtype.name}"
                    )
                )
            return item(context, entry, "int") if not type.shape and type.dtype.kind != "b" else entry
        case ListRef() | Tuple():
            values = context.known_items(context, entry)
            if all(isinstance(v, Constant) for v in values):
                known = [v.value for v in values]  # type: ignore[attr-defined]
                return _array(context, np.asarray(known, np.int64 if not known else None))
            if all(scalar_kind(v) == "int" for v in values):
                parts = [context.new_tensor(context.emit("full", number(context, v), dtype=None)) for v in values]
                return call_op(context, get_op("stack"), [Tuple(tuple(parts))], {})
    raise context.type_error(
        "only integers, slices (`:`), ellipsis (`...`), None and long or bool tensors are valid indices "
        f"(got {context.describe(entry)})"
    )


def _array(context: Context, array: Any) -> TensorRef:
    return context.new_tensor(context.constant(array))


def _basic(context: Context, tensor: TensorRef, entries: list[Abstract]) -> Abstract:
    axis = 0
    result: Abstract = tensor
    for entry in entries:
        assert isinstance(result, TensorRef)
        dim: dict[str, Abstract] = {"dim": Constant(axis)}
        if isinstance(entry, Slice):
            result = _slice(context, result, entry, axis)
            axis += 1
        elif isinstance(entry, Constant) and (entry.value is None or isinstance(entry.value, bool)):
            result = call_op(context, get_op("unsqueeze"), [result], dim)
            if entry.value is False:
                assert isinstance(result, TensorRef)
                result = _slice(context, result, Slice(Constant(0), Constant(0), Constant(None)), axis)
            axis += 1
        else:
            result = _select(context, result, entry, axis)
    return result


def _select(context: Context, tensor: TensorRef, index: Abstract, axis: int) -> Abstract:
    """The elements at one index, of any sign: `select` itself says what is out of range."""
    if isinstance(index, Constant) or (isinstance(index, Scalar) and context.is_size(index.value)):
        return call_op(context, get_op("select"), [tensor, index], {"dim": Constant(axis)})
    assert isinstance(index, Scalar)
    size = number(context, context.dim_scalar(context.tensor_type(tensor).shape[axis]))
    position = _checked_position(context, index.value, size, axis)
    return call_op(context, get_op("select"), [tensor, Scalar(position)], {"dim": Constant(axis)})


def _checked_position(context: Context, index: Value, size: Value, axis: int) -> Value:
    """An index of any sign as one in [0, size), after a run-time check; a size for the type system."""
    outside = context.emit("scalar.ge", index, size)
    signed = index not in context.nonnegative
    if signed:
        below = context.emit("scalar.lt", index, context.emit("scalar.neg", size))
        outside = context.emit("scalar.or_", outside, below)

    def fail() -> Abstract:
        context.fails(
            IndexError(f"index is out of bounds for dimension {axis} of size {getattr(size.type, 'value', '?')}")
        )

    branch(context, outside, fail, lambda: Constant(None))
    if signed:
        negative = context.emit("scalar.to_int", context.emit("scalar.lt", index, context.constant(0)))
        index = context.emit("scalar.add", index, context.emit("scalar.mul", negative, size))
    return context.as_size(index)


def _slice(context: Context, tensor: TensorRef, entry: Slice, axis: int) -> Abstract:
    if all(isinstance(p, Constant) and p.value is None for p in (entry.start, entry.stop, entry.step)):
        return tensor
    step = entry.step
    if not isinstance(step, Constant):
        # The elements are gathered: what is written into them later would not be seen in the tensor, so that the
        # result counts as one that may share its memory.
        index = _steps(context, tensor, entry, axis)
        found = call_op(context, get_op("index_select"), [tensor, Constant(axis), index], {})
        assert isinstance(found, TensorRef)
        return context.new_tensor(context.read(found), tensor.cell.origins)
    if step.value is not None and step.value <= 0:
        context.fails(ValueError("step must be greater than zero"))
    size = context.dim_scalar(context.tensor_type(tensor).shape[axis])
    bounds = [_bound(context, b, size) for b in (entry.start, entry.stop)]
    keywords: dict[str, Abstract] = {"dim": Constant(axis), "step": Constant(1 if step.value is None else step.value)}
    return call_op(context, get_op("slice"), [tensor, *bounds], keywords)


def _steps(context: Context, tensor: TensorRef, entry: Slice, axis: int) -> Abstract:
    """The indices of a slice whose step is known at run time only."""
    step = number(context, entry.step)
    wrong = context.emit("scalar.le", step, context.constant(0))

    def fail() -> Abstract:
        context.fails(ValueError("step must be greater than zero"))

    branch(context, wrong, fail, lambda: Constant(None))
    size = context.dim_scalar(context.tensor_type(tensor).shape[axis])
    start = Constant(0) if _is_none(entry.start) else _within(context, entry.start, size)
    stop = size if _is_none(entry.stop) else _within(context, entry.stop, size)
    return context.call(Constant(creation.arange), [start, stop, Scalar(step)], {})


def _is_none(value: Abstract) -> bool:
    return isinstance(value, Constant) and value.value is None


def _within(context: Context, bound: Abstract, size: Abstract) -> Abstract:
    """A bound of either sign, counted from the start and within the size."""
    value = number(context, item(context, bound, "int") if isinstance(bound, TensorRef) else bound)
    extent = number(context, size)
    negative = context.emit("scalar.to_int", context.emit("scalar.lt", value, context.constant(0)))
    value = context.emit("scalar.add", value, context.emit("scalar.mul", negative, extent))
    value = context.emit("scalar.max", value, context.constant(0))
    return Scalar(context.emit("scalar.min", value, extent))


def _bound(context: Context, bound: Abstract, size: Abstract) -> Abstract:
    """A bound as the op `slice` takes it: a run-time number that may be negative is counted from the end here."""
    if isinstance(bound, TensorRef):
        bound = item(context, bound, "int")
    if isinstance(bound, Constant):
        if bound.value is not None and not hasattr(bound.value, "__index__"):
            raise context.type_error(f"slice indices must be integers or None, not {context.describe(bound)}")
        return bound
    if scalar_kind(bound) not in ("int", "bool"):
        raise context.type_error(f"slice indices must be integers or None, not {context.describe(bound)}")
    value = number(context, bound)
    if context.is_size(value) or value in context.nonnegative:
        return Scalar(value)
    negative = context.emit("scalar.to_int", context.emit("scalar.lt", value, context.constant(0)))
    extent: Value = number(context, size)
    value = context.emit("scalar.add", value, context.emit("scalar.mul", negative, extent))
    value = context.emit("scalar.max", value, context.constant(0))
    return Scalar(context.as_size(context.emit("scalar.min", value, extent)))


def _advanced(
    context: Context, tensor: TensorRef, entries: list[Abstract]
) -> tuple[tuple[Any, ...], TensorRef, list[Abstract]]:
    """The static description of an index, its source (with run-time slices applied), and its tensors in order."""
    spec: list[Any] = []
    tensors: list[Abstract] = []
    source = tensor
    axis = 0
    for entry in entries:
        match entry:
            case TensorRef():
                spec.append("tensor")
                tensors.append(entry)
                type = context.tensor_type(entry)
                axis += type.rank if type.dtype is bool_ else 1
                continue
            case Scalar(value=value):
                spec.append("tensor")
                tensors.append(context.new_tensor(context.emit("full", value, dtype=None)))
            case Slice(start=start, stop=stop, step=Constant(value=step)):
                if isinstance(start, Constant) and isinstance(stop, Constant):
                    spec.append((start.value, stop.value, 1 if step is None else step))
                else:
                    part = _slice(context, source, entry, axis)
                    assert isinstance(part, TensorRef)
                    source = part
                    spec.append((None, None, 1))
            case Constant(value=None):
                spec.append(None)
                continue
            case Constant(value=position):
                spec.append(position)
            case _:
                raise context.error("the step of a slice must be known when the program is compiled")
        axis += 1
    return tuple(spec), source, tensors
