"""Writes, reductions and searches by index in PyTorch's call forms: index_reduce, nonzero_static, segment_reduce."""

import itertools
from typing import Any

import numpy as np

from .device import host_array
from .families import values_of, with_out
from .functions import call as _call
from .ordering import _axis
from .placement import beside, on_host
from .tensor import Tensor, wrap

FUNCTIONS = ("index_reduce", "nonzero_static", "segment_reduce")
METHODS = ("index_reduce", "nonzero_static")
INPLACE = ("index_reduce",)

__all__ = ["FUNCTIONS", "INPLACE", "METHODS", "index_reduce", "nonzero_static", "segment_reduce"]

_REDUCTIONS = ("prod", "mean", "amax", "amin")


def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """The tensor with the slices of `source` reduced into its slices at indices of a dimension.

    `reduce` is "prod", "mean", "amax" or "amin"; without `include_self` the slices written to do not count themselves.

    >>> ones = ingot.ones(3)
    >>> ingot.index_reduce(ones, 0, ingot.tensor([0, 0, 2]), ingot.tensor([2., 3., 4.]), "prod")
    tensor([6., 1., 4.])
    """
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    if index.ndim > 1:
        raise IndexError(f"index_reduce(): Index is supposed to be a vector, but got dim: {index.ndim}")
    if index.dtype.name not in ("int32", "int64"):
        raise RuntimeError("index_reduce(): Expected dtype int32/int64 for index")
    if input.dtype is not source.dtype:
        raise RuntimeError(
            f"index_reduce(): self ({input.dtype.name}) and source ({source.dtype.name}) must have the same scalar type"
        )
    axis = _axis("index_reduce", input, dim)
    target = _call("unsqueeze", input, 0) if not input.ndim else input
    values = _call("reshape", source, -1) if not source.ndim else source
    count = index.shape.numel()
    if values.ndim != target.ndim or values.shape[axis] != count:
        raise RuntimeError(
            f"index_reduce(): Number of indices ({count}) should be equal to source.size(dim): "
            f"({values.shape[axis] if values.ndim == target.ndim else list(source.shape)}), for dim: {dim}"
        )
    places = _call("reshape", index, *(count if d == axis else 1 for d in range(target.ndim)))
    places = _call("cast", places, dtype="int64") if index.dtype.name != "int64" else places
    places = _call("expand", places, tuple(values.shape))
    result = _call("scatter_reduce", target, axis, places, values, reduce, include_self=include_self)
    return _call("squeeze", result, 0) if not input.ndim else result  # type: ignore[no-any-return]


@on_host
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """`nonzero` with exactly `size` rows: further ones are left out, missing ones are `fill_value`.

    >>> ingot.nonzero_static(ingot.tensor([0, 5, 6]), size=3)
    tensor([[ 1],
            [ 2],
            [-1]])
    """
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    values_of("nonzero_static", input)
    found = np.argwhere(input._array)[:size]
    result = np.full((size, input.ndim), fill_value, np.int64)
    result[: len(found)] = found
    return wrap(result)


_INITIAL = {"sum": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf, "mean": np.nan}


def segment_reduce(
    data: Tensor,
    reduce: str,
    *,
    lengths: Tensor | None = None,
    indices: Tensor | None = None,
    offsets: Tensor | None = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: Any = None,
) -> Tensor:
    """Reductions of consecutive pieces along a dimension, given by their lengths or offsets.

    `reduce` is "sum", "mean", "max", "min" or "prod"; `initial` takes part, and is what an empty piece gives.

    >>> ingot.segment_reduce(ingot.tensor([1., 2., 3.]), "sum", lengths=ingot.tensor([1, 2]))
    tensor([1., 5.])
    """
    if reduce not in _INITIAL:
        raise RuntimeError(f"segment_reduce(): expected reduce to be one of {', '.join(_INITIAL)}, given {reduce!r}")
    if (lengths is None) == (offsets is None):
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    bounds = _bounds(lengths, offsets)
    values_of("segment_reduce", *(t for t in (lengths, offsets) if t is not None))
    if bounds.ndim != axis + 1:
        raise RuntimeError(
            f"segment_reduce(): expected lengths or offsets of {axis + 1} dimensions, given {bounds.ndim}"
        )
    outer = tuple(data.shape[:axis])
    rows = []
    for place in np.ndindex(*outer):
        part: Any = data
        for i in place:
            part = _call("select", part, i, dim=0)
        limits = bounds[place]
        if not unsafe and lengths is not None and limits[-1] > part.shape[0]:
            raise RuntimeError("segment_reduce(): Expected all rows of lengths along axis to sum to data.size(axis)")
        pieces = [
            _reduce_piece(_call("slice", part, int(a), int(b), dim=0), reduce, initial)
            for a, b in itertools.pairwise(limits)
        ]
        rows.append(_call("stack", pieces, 0))
    if not outer:
        return rows[0]  # type: ignore[no-any-return]
    stacked = _call("stack", rows, 0)
    return _call("reshape", stacked, *outer, *stacked.shape[1:])  # type: ignore[no-any-return]


def _bounds(lengths: Tensor | None, offsets: Tensor | None) -> np.ndarray[Any, Any]:
    if offsets is not None:
        return host_array(offsets._array)
    assert lengths is not None
    counts = host_array(lengths._array)
    if counts.size and counts.min() < 0:
        raise RuntimeError("lengths contains negative value!")
    ends = np.cumsum(counts, -1)
    return np.concatenate((np.zeros((*ends.shape[:-1], 1), ends.dtype), ends), -1)


@beside
def _reduce_piece(piece: Any, reduce: str, initial: Any) -> Any:
    """The reduction of one piece over its first dimension, with the initial value."""
    count = int(piece.shape[0])
    if reduce in ("max", "min"):
        if not count:
            start = _INITIAL[reduce] if initial is None else initial
            return _call("full", tuple(piece.shape[1:]), float(start), dtype=piece.dtype)
        found = _call("amax" if reduce == "max" else "amin", piece, 0)
        if initial is None:
            return found
        return _call("maximum" if reduce == "max" else "minimum", found, float(initial))
    if reduce == "prod":
        found = _call("prod", piece, dim=0)
        return found if initial is None else _call("mul", found, initial)
    if reduce == "mean" and not count:
        start = _INITIAL[reduce] if initial is None else initial
        return _call("full", tuple(piece.shape[1:]), float(start), dtype=piece.dtype)
    total = _call("sum", piece, 0)
    if initial is not None:
        total = _call("add", total, initial)
    return _call("div", total, count) if reduce == "mean" else total


for _name in FUNCTIONS:
    globals()[_name] = with_out(globals()[_name])
