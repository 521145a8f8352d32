"""Lookups in tables of vectors, with limits on lengths and gradients by frequency; bags of rows."""

from typing import Any

import numpy as np

from ..eager.creation import tensor as _tensor
from ..eager.device import host_array
from ..eager.functions import call as _call
from ..eager.modes import no_grad
from ..eager.placement import beside
from ..eager.tensor import Tensor

__all__ = ["embedding", "embedding_bag"]


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` by index; the row `padding_idx` gets no gradient.

    `max_norm` first scales those of the rows that are longer, in place. `scale_grad_by_freq` divides a row's gradient
    by how often it was looked up. `sparse` is accepted: the gradient is dense all the same.
    """
    if max_norm is not None:
        _shorten_rows(weight, input, max_norm, norm_type)
    rows = _call("embedding", input, weight, padding_idx=padding_idx)
    if scale_grad_by_freq:
        _, place, counts = np.unique(host_array(input._array), return_inverse=True, return_counts=True)
        shares = 1.0 / counts[place.reshape(input._array.shape)][..., None]
        share = _tensor(shares, dtype=rows.dtype, device=rows.device)
        values = rows.detach()
        rows = values + (rows - values) * share  # the values as they are: only the gradient is scaled
    return rows  # type: ignore[no-any-return]


def _shorten_rows(weight: Any, input: Any, max_norm: float, norm_type: float) -> None:
    with no_grad():
        used = _tensor(np.unique(host_array(input._array)), device=input.device)
        rows = weight.detach().index_select(0, used)
        norms = rows.norm(norm_type, 1, keepdim=True)
        scale = _call("where", norms > max_norm, max_norm / (norms + 1e-7), 1.0)
        weight.index_copy_(0, used, rows * scale)


@beside
def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of rows of a table by bag: input (B, L), or all indices and where each bag starts.

    Indices equal to `padding_idx` do not count. An empty bag gives zeros. Further options are those of `embedding`.

    >>> table = ingot.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> ingot.nn.functional.embedding_bag(ingot.tensor([0, 1, 1]), table, ingot.tensor([0, 2]), mode="sum")
    tensor([[4., 6.],
            [3., 4.]])
    """
    if scale_grad_by_freq and mode == "max":
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, given {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights was given: expected mode 'sum', not {mode!r}")
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: expected per_sample_weights of the input's shape {list(input.shape)}, given "
            f"{list(per_sample_weights.shape)}"
        )
    if input.ndim == 2 and offsets is None and padding_idx is None and mode != "max" and input.shape[1] != 0:
        # Bags of one length: nothing depends on what the indices are.
        rows = embedding(input, weight, None, max_norm, norm_type, scale_grad_by_freq)
        if per_sample_weights is not None:
            rows = rows * per_sample_weights.unsqueeze(-1)
        return rows.sum(1) if mode == "sum" else rows.mean(1)  # type: ignore[no-any-return]
    indices, starts = _bags(input, offsets, include_last_offset)
    count = len(starts)
    bag_of = np.searchsorted(starts, np.arange(indices.shape[0]), side="right") - 1
    counted = np.ones(len(bag_of), bool)
    if padding_idx is not None:
        counted = host_array(indices._array) != padding_idx % weight.shape[0]
    rows = embedding(indices, weight, None, max_norm, norm_type, scale_grad_by_freq)
    sizes = np.bincount(bag_of[counted], minlength=count)
    if mode == "max":
        return _bag_maxima(rows, bag_of, counted, sizes)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    if not counted.all():
        rows = _call("where", _tensor(counted[:, None]), rows, _tensor(0.0, dtype=rows.dtype))
    sums = rows.new_zeros((count, weight.shape[1])).index_add(0, _tensor(bag_of), rows)
    if mode == "mean":
        sums = sums / _tensor(np.maximum(sizes, 1)[:, None], dtype=rows.dtype)
    return sums


def _bags(input: Any, offsets: Any, include_last_offset: bool) -> tuple[Any, np.ndarray[Any, Any]]:
    """All indices in a row and where each bag starts."""
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated as bags of equal length")
        return input.reshape(-1), np.arange(input.shape[0]) * input.shape[1]
    if input.ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    starts = np.asarray(host_array(getattr(offsets, "_array", offsets)))
    if starts.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if include_last_offset:
        if not len(starts) or starts[-1] != input.shape[0]:
            raise ValueError(f"include_last_offset: expected the last offset to be {input.shape[0]}, given {starts}")
        starts = starts[:-1]
    if len(starts) and (starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] > input.shape[0]):
        raise ValueError(f"offsets must start at 0, not fall, and end within {input.shape[0]} indices, given {starts}")
    return input, starts


def _bag_maxima(rows: Any, bag_of: Any, counted: Any, sizes: Any) -> Any:
    """The maxima by bag: bags become rows of one table, padded by repeats of their first index."""
    if not sizes.size or not sizes.max():
        return rows.new_zeros((len(sizes), rows.shape[1])) + rows.sum() * 0
    members = np.zeros((len(sizes), int(sizes.max())), np.int64)
    for bag in range(len(sizes)):
        places = np.flatnonzero((bag_of == bag) & counted)
        if len(places):
            members[bag] = places[0]
            members[bag, : len(places)] = places
    values = rows[_tensor(members)].max(dim=1).values
    return _call("where", _tensor((sizes > 0)[:, None]), values, _tensor(0.0, dtype=rows.dtype))
