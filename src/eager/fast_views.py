"""Shorter ways to make common views; as in `fast`, numpy refuses what `infer` refuses, and NotImplemented means no."""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["VIEW_SHORTCUTS"]

_ALL = slice(None)
# Full slices for the dimensions before the one that an index is about.
_BEFORE = tuple((_ALL,) * n for n in range(16))


def _reshape(x: Any, shape: tuple[int, ...]) -> Any:
    if shape and min(shape) < -1:  # numpy takes any negative size for -1
        return NotImplemented
    return x.reshape(shape)


def _flatten(x: Any, *, start_dim: int, end_dim: int) -> Any:
    rank = x.ndim
    if start_dim == 0 and end_dim in (-1, rank - 1) and rank > 1:
        return x.reshape(-1)
    start, end = start_dim if start_dim >= 0 else start_dim + rank, end_dim if end_dim >= 0 else end_dim + rank
    if not 0 <= start < end < rank or not x.size:
        return NotImplemented
    return x.reshape((*x.shape[:start], -1, *x.shape[end + 1 :]))


def _unsqueeze(x: Any, *, dim: int) -> Any:
    rank = x.ndim
    if dim < 0:
        dim += rank + 1
    if not 0 <= dim <= rank < len(_BEFORE):
        return NotImplemented
    return x[(*_BEFORE[dim], None, ...)]


def _squeeze(x: Any, *, dim: tuple[int, ...] | None) -> Any:
    return x.squeeze() if dim is None else x.squeeze(dim)


def _permute(x: Any, *, dims: tuple[int, ...]) -> Any:
    return x.transpose(dims) if len(dims) == x.ndim else NotImplemented


def _transpose(x: Any, *, dim0: int, dim1: int) -> Any:
    return x.swapaxes(dim0, dim1)


def _expand(x: Any, size: tuple[int, ...]) -> Any:
    """The array with stride 0 along the dimensions that are repeated; it cannot be written."""
    shape, strides, rank = x.shape, x.strides, len(size)
    extra = rank - len(shape)
    if extra < 0 or not x.flags.c_contiguous or not x.size:
        return NotImplemented
    new_shape, new_strides = list(size), [0] * rank
    for axis in range(extra, rank):
        have, wanted = shape[axis - extra], size[axis]
        if wanted == have or wanted == -1:
            new_shape[axis], new_strides[axis] = have, strides[axis - extra]
        elif have != 1:
            return NotImplemented
    if min(new_shape, default=1) < 1:
        return NotImplemented
    result: Any = np.ndarray(new_shape, x.dtype, x, 0, new_strides)
    result.flags.writeable = False
    return result


def _select(x: Any, index: int, *, dim: int) -> Any:
    rank = x.ndim
    if dim < 0:
        dim += rank
    if not 0 <= dim < rank < len(_BEFORE) or index.__class__ is not int:
        return NotImplemented
    return x[(*_BEFORE[dim], index, ...)]


def _slice(x: Any, start: Any, stop: Any, *, dim: int, step: int) -> Any:
    rank = x.ndim
    if dim < 0:
        dim += rank
    if not 0 <= dim < rank < len(_BEFORE) or start.__class__ is not int or stop.__class__ is not int or step < 1:
        return NotImplemented
    return x[(*_BEFORE[dim], slice(start, stop, step))]


VIEW_SHORTCUTS: dict[str, Callable[..., Any]] = {
    "reshape": _reshape,
    "flatten": _flatten,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "permute": _permute,
    "transpose": _transpose,
    "expand": _expand,
    "select": _select,
    "slice": _slice,
}
