"""Grids, sequences and index tensors in PyTorch's call forms: meshgrid, logspace, tril_indices, combinations."""

import itertools
import math
from typing import Any

import numpy as np

from ..ir.dtypes import as_dtype, default_dtype, int64
from . import creation
from .device import as_device
from .families import with_out
from .functions import call as _call
from .placement import beside, moved
from .tensor import Tensor, wrap

__all__ = ["FUNCTIONS", "METHODS"]

FUNCTIONS = (
    "combinations", "logspace", "meshgrid", "range", "scalar_tensor", "tril_indices", "triu_indices", "unravel_index",
)  # fmt: skip
METHODS = ()


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of rank 0, of the default dtype unless another is given.

    >>> ingot.scalar_tensor(2)
    tensor(2.)
    """
    return creation.full((), s, dtype=dtype or default_dtype(), device=device, requires_grad=requires_grad)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` powers of `base` with evenly spaced exponents from `start` to `end`.

    >>> ingot.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    target = default_dtype() if dtype is None else as_dtype(dtype)
    if target.category == 1:  # the bounds count in the result's dtype
        start, end = (int(v.item() if isinstance(v, Tensor) else v) for v in (start, end))
    exponents = creation.linspace(start, end, steps, dtype="float64", device=device)
    result = _call("cast", _call("pow", float(base), exponents), dtype=target)
    return result.requires_grad_() if requires_grad else result  # type: ignore[no-any-return]


def range(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The numbers from start to end, `end` included.

    >>> ingot.range(1, 3)
    tensor([1., 2., 3.])
    """
    first, last = (0, start) if end is None else (start, end)
    count = math.floor((last - first) / step) + 1
    values = (first + step * np.arange(max(count, 0))).astype((as_dtype(dtype or default_dtype())).numpy)
    return moved(wrap(values), as_device(device))


def _triangle(row: int, col: int, offset: int, upper: bool, dtype: Any, device: Any) -> Tensor:
    found = np.triu_indices(row, offset, col) if upper else np.tril_indices(row, offset, col)
    return moved(wrap(np.asarray(np.stack(found), as_dtype(dtype or int64).numpy)), as_device(device))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The positions of the lower triangle of a matrix, in two rows.

    >>> ingot.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    return _triangle(row, col, offset, False, dtype, device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The positions of the upper triangle of a matrix, in two rows.

    >>> ingot.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    return _triangle(row, col, offset, True, dtype, device)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates on a grid of vectors; "xy" swaps the first two dimensions.

    >>> ingot.meshgrid(ingot.tensor([1, 2]), ingot.tensor([3, 4]), indexing="ij")[1]
    tensor([[3, 4],
            [3, 4]])
    """
    parts = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    if not parts:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if any(t.ndim > 1 for t in parts):
        raise RuntimeError(f"meshgrid: Expected 0D or 1D tensors, given {[list(t.shape) for t in parts]}")
    if any(t.dtype is not parts[0].dtype for t in parts):
        raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(parts) > 1
    if swap:
        parts[0], parts[1] = parts[1], parts[0]
    sizes = [t.shape[0] if t.ndim else 1 for t in parts]
    grids = []
    for position, tensor in enumerate(parts):
        shape = [1] * len(parts)
        shape[position] = sizes[position]
        grids.append(_call("expand", _call("reshape", tensor, shape), *sizes))
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@beside
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, in rows.

    >>> ingot.combinations(ingot.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    chosen = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.asarray(list(chosen(np.arange(int(input.shape[0])), r)), np.int64).reshape(-1, r)
    if r == 0:
        return creation.empty((0,), dtype=input.dtype)
    return _call("index", input, (wrap(rows),), spec=("tensor",))  # type: ignore[no-any-return]


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates, in a tensor of that shape, of positions in the flat tensor.

    >>> ingot.unravel_index(ingot.tensor([3]), (2, 2))
    (tensor([1]), tensor([1]))
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if indices.dtype.category != 1:
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype.name}")
    if any(size < 0 for size in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    parts: list[Tensor] = []
    rest = _call("cast", indices, dtype=int64)
    for size in reversed(sizes):
        parts.append(_call("remainder", rest, size))
        rest = _call("floor_divide", rest, size)
    return tuple(reversed(parts))


for _name in FUNCTIONS:
    globals()[_name] = with_out(globals()[_name])
