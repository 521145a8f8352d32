"""Reading and writing tensors through indices: ints, slices, None, Ellipsis, tensors, lists and masks, mixed."""

from typing import Any

import numpy as np

from ..ir.ops._op import get_op
from . import modes
from .dispatch import dispatch
from .inplace import alias, check_writable, write
from .tensor import Tensor, wrap

__all__ = ["advanced_spec", "getitem", "setitem"]

_MARKS = (type(None), type(Ellipsis))
_BASIC = (int, slice, *_MARKS)


def _is_basic(index: tuple[Any, ...]) -> bool:
    return all(type(i) in _BASIC for i in index)


def _check_basic(index: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    """IndexError or ValueError where a basic index does not fit; messages as PyTorch words them."""
    consumed = sum(i is not None and i is not Ellipsis for i in index)
    if consumed > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}: {consumed} given")
    if sum(i is Ellipsis for i in index) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    axis = 0
    for i in index:
        if i is None:
            continue
        if i is Ellipsis:
            axis += len(shape) - consumed
            continue
        if isinstance(i, slice):
            if i.step is not None and i.step <= 0:
                raise ValueError(f"step must be greater than zero, given {i.step}")
        elif not -shape[axis] <= i < shape[axis]:
            raise IndexError(f"index {i} is out of bounds for dimension {axis} with size {shape[axis]}")
        axis += 1


def _as_tuple(index: Any) -> tuple[Any, ...]:
    if type(index) is tuple:
        return index
    # A list with anything but numbers in it means a tuple, as it did in NumPy once and still does in PyTorch.
    if isinstance(index, list) and any(isinstance(i, (slice, Tensor, list, tuple, range, *_MARKS)) for i in index):
        return tuple(index)
    return (index,)


def getitem(tensor: Tensor, index: Any) -> Tensor:
    """`tensor[index]`: a view for basic indices, a copy where an index is a tensor, list or mask."""
    if (index.__class__ is int or index.__class__ is slice) and not modes.active_modes and not tensor.requires_grad:
        view = _one_index(tensor, index)
        if view is not None:
            return view
    index = _as_tuple(index)
    if not tensor.requires_grad and not modes.active_modes and _is_basic(index):
        _check_basic(index, tensor._array.shape)
        result = wrap(np.asarray(tensor._array[index]))
        if result._array.base is None:  # a full index: numpy gave a copy of the element
            result._array = tensor._array[(*index, ...)]
        result._view, result._view_version = (tensor, None, index, {}), tensor.version
        return result
    index = _expand(tensor, index)
    if not any(isinstance(i, (Tensor, np.ndarray)) for i in index):
        return _apply_basic(tensor, index)
    spec, tensors = _advanced(index)
    result_tensor: Tensor = dispatch(get_op("index"), (tensor, tensors), {"spec": spec})
    return result_tensor


def _one_index(tensor: Tensor, index: Any) -> Tensor | None:
    """The view that an int or a slice of step 1 gives; None where there may be an error to word."""
    array = tensor._array
    if not array.ndim:
        return None
    if index.__class__ is slice:
        if index.step is not None:
            return None
        result = wrap(array[index])
    else:
        size = len(array)
        if not -size <= index < size:
            return None
        result = wrap(array[index, ...])
    result._view, result._view_version = (tensor, None, (index,), {}), tensor.version
    return result


def _convert(i: Any) -> Any:
    """One index entry as int, slice, None, Ellipsis or an integer or bool tensor."""
    if isinstance(i, (bool, np.bool_)):
        return wrap(np.asarray(i))
    if isinstance(i, np.integer):
        return int(i)
    if isinstance(i, (list, tuple, range)):
        array = np.asarray([_plain(v) for v in i])
        return wrap(array.astype(np.int64) if array.size == 0 else array)
    if isinstance(i, np.ndarray):
        return wrap(i)
    if isinstance(i, (Tensor, int, slice, type(None), type(Ellipsis))):
        return i
    if hasattr(i, "__index__"):
        return i.__index__()
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or bool tensors are valid indices "
        f"(got {type(i).__name__})"
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _expand(tensor: Tensor, index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Entries converted and the Ellipsis written out as full slices; 0-d integer tensors are ints."""
    entries = [_convert(i) for i in index]
    for position, i in enumerate(entries):
        if isinstance(i, Tensor):
            kind = i._array.dtype.kind
            if kind not in "iub":
                raise IndexError(
                    f"tensors used as indices must be long, int, byte or bool tensors, given {i.dtype.name}"
                )
            if kind != "b" and i._array.ndim == 0 and modes.current_mode() is None:
                entries[position] = int(i._array)
    consumed = sum(
        i._array.ndim if isinstance(i, Tensor) and i._array.dtype.kind == "b" else i is not None and i is not Ellipsis
        for i in entries
    )
    rank = tensor.ndim
    if consumed > rank:
        raise IndexError(f"too many indices for tensor of dimension {rank}: {consumed} given")
    if sum(i is Ellipsis for i in entries) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    fill = [slice(None)] * (rank - consumed)
    at = next((p for p, i in enumerate(entries) if i is Ellipsis), None)
    return (*entries, *fill) if at is None else (*entries[:at], *fill, *entries[at + 1 :])


def _slice_bound(value: Any) -> Any:
    """An end of a slice as an int, unless a mode watches tensors that are ends."""
    return int(value) if isinstance(value, Tensor) and modes.current_mode() is None else value


def _apply_basic(tensor: Tensor, index: tuple[Any, ...]) -> Tensor:
    """Ints, slices and Nones as `select`, `slice` and `unsqueeze`, from left to right."""
    axis = 0
    result = tensor
    for i in index:
        if i is None:
            result = dispatch(get_op("unsqueeze"), (result,), {"dim": axis})
            axis += 1
        elif isinstance(i, slice):
            step = 1 if i.step is None else int(i.step)
            if not (i.start is None and i.stop is None and step == 1):
                start, stop = (_slice_bound(v) for v in (i.start, i.stop))
                result = dispatch(get_op("slice"), (result, start, stop), {"dim": axis, "step": step})
            axis += 1
        else:
            size = result._array.shape[axis]
            if not -size <= i < size:
                raise IndexError(f"index {int(i)} is out of bounds for dimension {axis} with size {size}")
            result = dispatch(get_op("select"), (result, i), {"dim": axis})
    if result is tensor:
        result = (
            dispatch(get_op("slice"), (tensor, None, None), {"dim": 0, "step": 1}) if tensor.ndim else result.view(())
        )
    return result


def _advanced(index: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:
    """The static description of an index, and its tensors in order (see the op `index`)."""
    spec: list[Any] = []
    tensors: list[Tensor] = []
    for i in index:
        if isinstance(i, Tensor):
            spec.append("tensor")
            tensors.append(i)
        elif isinstance(i, slice):
            spec.append((_bound(i.start), _bound(i.stop), 1 if i.step is None else int(i.step)))
        else:
            spec.append(i if i is None else int(i))
    return tuple(spec), tuple(tensors)


def advanced_spec(tensor: Tensor, index: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:
    """The description and tensors of an index with at least one tensor (see the op `index`)."""
    return _advanced(_expand(tensor, index))


def _bound(value: Any) -> int | None:
    return None if value is None else int(value)


def _value(tensor: Tensor, value: Any) -> Tensor:
    """A number as a tensor of the dtype it is written into; TypeError for anything else."""
    if not isinstance(value, (bool, int, float, complex, np.generic)):
        raise TypeError(
            f"can't assign a {type(value).__name__} to a {tensor.dtype.name} tensor: expected a number or a Tensor; "
            "make one with ingot.tensor(...)"
        )
    try:
        if isinstance(value, (complex, np.complexfloating)) and not tensor.dtype.is_complex:
            raise OverflowError
        return wrap(np.asarray(value, dtype=tensor._array.dtype))
    except (OverflowError, ValueError):
        raise RuntimeError(f"value {value} cannot be converted to type {tensor.dtype.name} without overflow") from None


def setitem(tensor: Tensor, index: Any, value: Any) -> None:
    """`tensor[index] = value`: the value, a number or a tensor that broadcasts, is written in place."""
    check_writable(tensor, "index_put_")
    if value.__class__ in (int, float) and -1e38 < value < 1e38 and tensor._array.dtype.char in "fd":
        # A number at a basic index, with nothing recorded: numpy writes it.
        place = _as_tuple(index)
        recorded = modes.active_modes or (modes.state.grad_enabled and tensor.requires_grad)
        if _is_basic(place) and not recorded:
            _check_basic(place, tensor._array.shape)
            tensor._array[place] = value
            tensor.bump_version()
            return
    source = value if isinstance(value, Tensor) else _value(tensor, value)
    if source is not value and (mode := modes.current_mode()) is not None:
        mode.created(source)
    index = _expand(tensor, _as_tuple(index))
    if any(isinstance(i, (Tensor, np.ndarray)) for i in index):
        spec, tensors = _advanced(index)
        if source.dtype is not tensor.dtype:
            source = source.to(tensor.dtype)
        updated = dispatch(get_op("index_put"), (alias(tensor), tensors, source), {"spec": spec, "accumulate": False})
        write(tensor, updated, "index_put_")
        return
    part = _apply_basic(tensor, index)
    shape = source._array.shape
    while len(shape) > part.ndim and shape[0] == 1:  # leading ones are dropped, as in PyTorch
        source, shape = source.squeeze(0), shape[1:]
    if source.dtype is not tensor.dtype:
        source = source.to(tensor.dtype)
    write(part, source, "setitem")
