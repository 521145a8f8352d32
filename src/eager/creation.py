"""Making tensors: from Python and numpy data, filled, counted."""

import math
from typing import Any

import numpy as np

from ..ir.dtypes import DType, as_dtype, bool_, default_dtype, from_numpy, int64, promote, scalar_dtype
from ..ir.ops._op import get_op
from . import modes
from .device import as_device, default_device, host_array, make_on, move_array, of_interface
from .dispatch import dispatch
from .memory_format import with_options
from .tensor import Tensor, wrap

__all__ = [
    "arange", "as_tensor", "asarray", "empty", "empty_like", "eye", "from_numpy_array", "full", "full_like", "linspace",
    "ones", "ones_like", "tensor", "zeros", "zeros_like",
]  # fmt: skip


def _to_array(data: Any, dtype: DType | None) -> np.ndarray[Any, Any]:
    """A new array from nested sequences, numbers, arrays and tensors, with PyTorch's default dtypes."""
    if isinstance(data, Tensor):
        array = host_array(data._array)
    elif hasattr(data, "__cuda_array_interface__"):
        array = host_array(data)
    elif isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
    else:
        if _holds_tensors(data):
            data = _unwrap(data)
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise ValueError(f"tensor(): expected nested sequences of equal lengths ({error})") from None
        if array.dtype.kind == "O" and not isinstance(_first_leaf(data), (str, bytes)):
            raise _no_dtype(data)
        if array.dtype.kind in "USO" or (array.dtype.kind == "V" and array.dtype.name != "bfloat16"):
            raise TypeError(f"tensor(): expected numbers or nested sequences of numbers, given {type(data).__name__}")
        if dtype is None:
            if isinstance(data, list) and any(isinstance(v, np.generic) for v in data):
                dtype = _common_dtype(data)
            elif _first_leaf_is_numpy(data):
                dtype = from_numpy(array.dtype)
            elif array.dtype.kind == "f":
                dtype = default_dtype()
            elif array.dtype.kind == "c":
                dtype = as_dtype(complex)
            elif array.dtype.kind in "iu":
                dtype = int64
    target = from_numpy(array.dtype) if dtype is None else dtype
    return np.array(array, dtype=target.numpy, order="C")


def _common_dtype(values: list[Any]) -> DType:
    """The dtype that numbers, of numpy's types and Python's, are promoted to."""
    if not all(isinstance(v, (np.generic, bool, int, float, complex)) for v in values):
        return from_numpy(np.asarray(values).dtype)
    kinds = [from_numpy(v.dtype) if isinstance(v, np.generic) else scalar_dtype(v) for v in values]
    found = kinds[0]
    for kind in kinds[1:]:
        found = promote(found, kind)
    return found


def _no_dtype(data: Any) -> Exception:
    leaf = _first_leaf(data)
    if isinstance(leaf, int):
        return ValueError(f"tensor(): Overflow when unpacking long long: an integer of {data!r} has more than 64 bits")
    return RuntimeError(f"Could not infer dtype of {type(leaf).__name__}")


def _first_leaf(data: Any) -> Any:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _holds_tensors(data: Any) -> bool:
    return isinstance(_first_leaf(data), Tensor)


def _first_leaf_is_numpy(data: Any) -> bool:
    return isinstance(_first_leaf(data), (np.generic, np.ndarray, Tensor))


def _unwrap(data: Any) -> Any:
    if isinstance(data, Tensor):
        return host_array(data._array)
    return [_unwrap(d) for d in data] if isinstance(data, (list, tuple)) else data


def _finish(array: np.ndarray[Any, Any], device: Any, requires_grad: bool) -> Tensor:
    if modes.devices or device is not None:
        array = move_array(array, as_device(device))
    result = wrap(array)
    if modes.active_modes and (mode := modes.state.mode) is not None:
        mode.created(result)
    return result.requires_grad_() if requires_grad else result


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of the data: nested sequences, numbers, arrays.

    dtype: floats get the default dtype, ints int64, bools bool. TypeError for what is not numbers, ValueError for
    ragged sequences.

    >>> ingot.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if isinstance(data, Tensor) and modes.current_mode() is not None:
        return as_tensor(data.detach().clone(), dtype=dtype, device=device)  # type: ignore[attr-defined]
    if device is None and isinstance(data, Tensor):
        device = data.device
    elif hasattr(data, "__cuda_array_interface__"):
        return tensor(wrap(of_interface(data)), dtype=dtype, device=device, requires_grad=requires_grad)
    return _finish(_to_array(data, None if dtype is None else as_dtype(dtype)), device, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """The data as a tensor, sharing memory where it can: a tensor of that dtype is returned itself."""
    wanted = None if dtype is None else as_dtype(dtype)
    if not isinstance(data, Tensor) and hasattr(data, "__cuda_array_interface__"):
        data = wrap(of_interface(data))
    if isinstance(data, Tensor):
        if device is not None:
            data = data.to(as_device(device))  # type: ignore[attr-defined]
        return data if wanted is None or data.dtype is wanted else data.to(wanted)  # type: ignore[attr-defined,no-any-return]
    if device is not None or modes.devices:
        place = as_device(device)
        if place.type != "cpu":
            return tensor(data, dtype=dtype, device=place)
    if isinstance(data, np.ndarray):
        shared = wrap(data) if from_numpy(data.dtype) else None
        assert shared is not None
        return shared if wanted is None or shared.dtype is wanted else shared.to(wanted)  # type: ignore[attr-defined,no-any-return]
    return tensor(data, dtype=dtype)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """The object as a tensor; `copy` True always copies, False never (ValueError where it must)."""
    result = tensor(obj, dtype=dtype, device=device) if copy else as_tensor(obj, dtype, device)
    if copy is False and not (
        isinstance(obj, (Tensor, np.ndarray)) and np.shares_memory(result._array, np.asarray(obj))
    ):
        raise ValueError("asarray: this object cannot become a tensor without a copy")
    return result.requires_grad_() if requires_grad else result


def from_numpy_array(array: np.ndarray[Any, Any]) -> Tensor:
    """The array as a tensor that shares its memory; TypeError for anything but a numpy array of a supported dtype."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    from_numpy(array.dtype)
    return wrap(array)


def _size(size: tuple[Any, ...], name: str) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    for n in size:
        if not hasattr(n, "__index__"):
            raise TypeError(
                f"{name}(): argument 'size' must be tuple of ints, but found element of type {type(n).__name__}"
            )
        if n < 0:
            raise RuntimeError(f"{name}: Trying to create tensor with negative dimension {n}: {list(size)}")
    return size


def _filled(name: str, size: Any, value: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    size = _size(size, name)
    if dtype is not None:
        element = as_dtype(dtype)
    elif isinstance(value, bool):
        element = bool_
    elif isinstance(value, int):
        element = int64
    else:
        element = as_dtype(complex) if isinstance(value, complex) else default_dtype()
    if modes.active_modes and modes.state.mode is not None:
        result: Tensor = dispatch(get_op("full"), (size, value), {"dtype": element})
        return result.requires_grad_() if requires_grad else result
    if element.kind == "u" and value.__class__ is int and value < 0:
        value = np.asarray(value).astype(element.numpy)[()]  # wraps, as PyTorch has it
    if not modes.devices:
        return _finish(np.full(size, value, element.numpy), device, requires_grad)
    array = make_on(default_device(), lambda xp: xp.full(size, value, element.numpy))
    return _finish(array, device, requires_grad)


@with_options
def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of that size with every element `fill_value`; the dtype follows the value's type unless given.

    >>> ingot.full((2, 2), 7)
    tensor([[7, 7],
            [7, 7]])
    """
    size = (size,) if isinstance(size, int) else tuple(size)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    return _filled("full", size, fill_value, dtype, device, requires_grad)


def _sizes(name: str, positional: tuple[Any, ...], named: Any) -> tuple[Any, ...]:
    """The sizes of a call `zeros(2, 3)`, `zeros((2, 3))` or `zeros(size=(2, 3))`."""
    if named is None:
        if not positional:
            raise TypeError(f"{name}() missing 1 required argument: 'size'")
        return positional
    if positional:
        raise TypeError(f"{name}() got multiple values for argument 'size'")
    return (tuple(named),)


@with_options
def zeros(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of that size filled with 0.

    >>> ingot.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return _filled("zeros", _sizes("zeros", sizes, size), 0.0, dtype or default_dtype(), device, requires_grad)


@with_options
def ones(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of that size filled with 1."""
    return _filled("ones", _sizes("ones", sizes, size), 1.0, dtype or default_dtype(), device, requires_grad)


@with_options
def empty(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of that size whose elements are whatever was in memory."""
    size = _sizes("empty", sizes, size)
    element = default_dtype() if dtype is None else as_dtype(dtype)
    if modes.active_modes and modes.state.mode is not None:
        return _filled("empty", size, 0, element, device, requires_grad)
    shape = _size(size, "empty")
    if not modes.devices:
        return _finish(np.empty(shape, element.numpy), device, requires_grad)
    return _finish(make_on(default_device(), lambda xp: xp.empty(shape, element.numpy)), device, requires_grad)


def _like(input: Tensor, value: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    return _filled("full", tuple(input.shape), value, dtype or input.dtype, device, requires_grad)


@with_options
def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the input's size and dtype filled with 0."""
    return _like(input, 0, dtype, device, requires_grad)


@with_options
def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the input's size and dtype filled with 1."""
    return _like(input, 1, dtype, device, requires_grad)


@with_options
def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of the input's size and dtype filled with a value."""
    return _like(input, fill_value, dtype, device, requires_grad)


@with_options
def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the input's size and dtype whose elements are whatever was in memory."""
    return empty(tuple(input.shape), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


@with_options
def arange(
    start: Any = None,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from `start` (default 0) to before `end`, `step` apart: int64 for ints, the default dtype for floats.

    >>> ingot.arange(5), ingot.arange(1, 2, 0.5)
    (tensor([0, 1, 2, 3, 4]), tensor([1.0000, 1.5000]))
    """
    if end is None:
        start, end = 0, start
    if end is None:
        raise TypeError("arange() missing 1 required positional argument: 'end'")
    if start is None:
        start = 0
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if any(isinstance(v, float) and not math.isfinite(v) for v in (start, end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError(f"upper bound and lower bound inconsistent with step sign: arange({start}, {end}, {step})")
    integral = all(isinstance(v, int) for v in (start, end, step))
    element = as_dtype(dtype) if dtype is not None else (int64 if integral else default_dtype())
    if integral and modes.active_modes and modes.state.mode is not None:
        return dispatch(get_op("arange"), (start, end, step), {"dtype": element})  # type: ignore[no-any-return]
    count = int(np.ceil((end - start) / step)) if not integral else max(0, -(-(end - start) // step))
    if element.category == 1 and not integral:  # computed in integers, as PyTorch does
        start, step = int(start), int(step)
    array = make_on(default_device(), lambda xp: (start + step * xp.arange(count)).astype(element.numpy))
    return _finish(array, device, requires_grad)


@with_options
def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers from `start` to `end`, both included, equally far apart."""
    element = default_dtype() if dtype is None else as_dtype(dtype)
    start, end = (v.item() if isinstance(v, Tensor) else v for v in (start, end))
    if steps < 0:
        raise RuntimeError(f"linspace: number of steps must be non-negative, given {steps}")
    if modes.active_modes and modes.state.mode is not None:
        return dispatch(get_op("linspace"), (start, end, steps), {"dtype": element})  # type: ignore[no-any-return]
    return _finish(np.linspace(start, end, steps).astype(element.numpy), device, requires_grad)


@with_options
def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The n x m matrix (default square) with ones on its diagonal and zeros elsewhere."""
    element = default_dtype() if dtype is None else as_dtype(dtype)
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"eye: n and m must be greater or equal to 0, given {n} and {m}")
    if modes.active_modes and modes.state.mode is not None:
        return dispatch(get_op("eye"), (n, m), {"dtype": element})  # type: ignore[no-any-return]
    return _finish(np.eye(n, m, dtype=element.numpy), device, requires_grad)
