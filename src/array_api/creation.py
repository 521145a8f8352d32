"""Creation functions of the array API standard."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..eager import Tensor, creation
from ..eager import device as to_device
from ..eager.interop import from_dlpack as _from_dlpack
from ..ir.dtypes import DType
from .functions import namespace

Shape = int | Sequence[int]


def _on(where: Any) -> None:
    """Raise where `where` names another device than the CPU."""
    if where is not None and to_device(str(where)).type != "cpu":
        raise RuntimeError(f"device {str(where)!r}: these tensors live on 'cpu', the one device that there is")


def asarray(obj: Any, /, *, dtype: DType | None = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of a number, a nested sequence, an array or whatever speaks DLPack.

    `copy`: True always copies, False never does (ValueError where it would have to), None where it must.

    >>> from ingot import array_api as xp
    >>> xp.asarray([1, 2])
    tensor([1, 2])
    """
    _on(device)
    if isinstance(obj, Tensor):
        if copy is False and dtype is not None and dtype is not obj.dtype:
            raise ValueError(f"copy=False, but a tensor of {obj.dtype} has to be copied to become {dtype}")
        result = obj if dtype is None else obj.to(dtype)
        return result.clone() if copy and result is obj else result
    if isinstance(obj, np.ndarray) or hasattr(obj, "__dlpack__") or hasattr(obj, "__array__"):
        array = np.asarray(obj) if isinstance(obj, np.ndarray | np.generic) else _from_dlpack_or_array(obj)
        shared = array if isinstance(array, Tensor) else creation.as_tensor(array)
        if copy is False and dtype is not None and dtype is not shared.dtype:
            raise ValueError(f"copy=False, but {shared.dtype} has to be copied to become {dtype}")
        result = shared if dtype is None else shared.to(dtype)
        return result.clone() if copy and result is shared else result
    if copy is False:
        raise ValueError(f"copy=False, but a {type(obj).__name__} holds no memory that a tensor could share")
    return creation.tensor(obj, dtype=dtype)


def _from_dlpack_or_array(value: Any) -> Any:
    return _from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value)


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DType | None = None,
    device: Any = None,
) -> Tensor:
    """Evenly spaced numbers of [start, stop), or of [0, start) where no stop is given."""
    _on(device)
    low, high = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ValueError("step is 0, expected another number")
    if (high - low) / step <= 0:
        values = creation.arange(0, 0, 1, dtype=dtype)
        number_is_integer = all(isinstance(number, int) for number in (low, high, step))
        return values if dtype is not None or number_is_integer else values.to(creation.ones(0).dtype)
    return creation.arange(low, high, step, dtype=dtype)


def empty(shape: Shape, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """A tensor of `shape` whose values are not set."""
    _on(device)
    return creation.empty(_tuple(shape), dtype=dtype)


def empty_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """A tensor of the shape of `x` whose values are not set."""
    _on(device)
    return creation.empty_like(x, dtype=dtype)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """Ones on the diagonal `k`, zeros elsewhere.

    >>> from ingot import array_api as xp
    >>> xp.eye(2, 3, k=1)
    tensor([[0., 1., 0.],
            [0., 0., 1.]])
    """
    _on(device)
    columns = n_rows if n_cols is None else n_cols
    on_diagonal = creation.arange(columns) == creation.arange(n_rows).unsqueeze(1) + k
    return on_diagonal.to(creation.ones(0).dtype if dtype is None else dtype)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of `x`, or a copy of it where `copy` is True."""
    _on(device)
    shared = _from_dlpack(x)
    return shared.clone() if copy else shared


def full(shape: Shape, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """A tensor of `shape` filled with `fill_value`."""
    _on(device)
    return creation.full(_tuple(shape), fill_value, dtype=dtype)


def full_like(x: Tensor, /, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """A tensor of the shape and, where no dtype is given, the dtype of `x`, filled with `fill_value`."""
    _on(device)
    return creation.full_like(x, fill_value, dtype=dtype)


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: DType | None = None,
    device: Any = None,
    endpoint: bool = True,
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`, which is left out where `endpoint` is False."""
    _on(device)
    if endpoint:
        return creation.linspace(start, stop, num, dtype=dtype)
    return creation.linspace(start, stop, num + 1, dtype=dtype)[:num]


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Coordinate tensors of one-dimensional `arrays`."""
    if len(arrays) == 0:
        return []
    return list(namespace.meshgrid(*arrays, indexing=indexing))


def ones(shape: Shape, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """A tensor of `shape` filled with ones."""
    _on(device)
    return creation.ones(_tuple(shape), dtype=dtype)


def ones_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Ones in the shape of `x`."""
    _on(device)
    return creation.ones_like(x, dtype=dtype)


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The lower triangle of the matrices of `x`; zeros above the diagonal `k`."""
    return namespace.tril(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The upper triangle of the matrices of `x`; zeros below the diagonal `k`."""
    return namespace.triu(x, k)


def zeros(shape: Shape, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """A tensor of `shape` filled with zeros."""
    _on(device)
    return creation.zeros(_tuple(shape), dtype=dtype)


def zeros_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Zeros in the shape of `x`."""
    _on(device)
    return creation.zeros_like(x, dtype=dtype)


def _tuple(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)
