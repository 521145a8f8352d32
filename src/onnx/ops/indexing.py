"""Reading and writing elements at computed positions."""

from typing import Any

import numpy as np

from ...eager.tensor import Tensor
from ...ir import dtypes
from ...ir.ops._op import F
from ..registry import op
from ..values import Known

_ALL = (None, None, 1)


def _positions(x: Any, axis: int, index: Any) -> Any:
    """Indices counted from the front, as int64; the negative ones count from the end."""
    if isinstance(index, Tensor) and bool((index._array >= 0).all()):
        return F.cast(index, dtype=dtypes.int64)
    index = F.cast(index, dtype=dtypes.int64)
    return F.where(F.lt(index, 0), F.add(index, x.shape[axis]), index)


@op("Gather", values=(1,))
def gather(node: Any, x: Any, indices: Any) -> Any:
    axis = node.axis(node.attribute("axis", 0), x.ndim)
    if isinstance(indices, Known) and indices.array.ndim == 0 and indices.array.dtype != object:
        return F.select(x, int(indices.array), dim=axis)
    index = F.cast(node.tensor(indices), dtype=dtypes.int64)
    return F.index(x, (index,), spec=(*[_ALL] * axis, "tensor"))


@op("GatherElements")
def gather_elements(node: Any, x: Any, indices: Any) -> Any:
    axis = node.axis(node.attribute("axis", 0), x.ndim)
    return F.gather(x, axis, _positions(x, axis, indices))


def _batched(x: Any, indices: Any, batch: int) -> tuple[Any, ...]:
    """One index tensor per indexed dimension, batch dimensions first."""
    index = F.cast(indices, dtype=dtypes.int64)
    depth = index.shape[-1]
    parts = [F.select(index, k, dim=index.ndim - 1) for k in range(depth)]
    rank = index.ndim - 1
    counts = []
    for b in range(batch):
        shape = tuple(index.shape[b] if d == b else 1 for d in range(rank))
        counts.append(F.reshape(F.arange(0, index.shape[b], 1), shape))
    return (*counts, *parts)


@op("GatherND")
def gather_nd(node: Any, x: Any, indices: Any) -> Any:
    node.fix(indices.shape[-1])
    parts = _batched(x, indices, node.attribute("batch_dims", 0))
    return F.index(x, parts, spec=("tensor",) * len(parts))


_REDUCTIONS = {"none": None, "add": "add", "mul": "multiply"}


@op("ScatterElements", "Scatter")
def scatter_elements(node: Any, x: Any, indices: Any, updates: Any) -> Any:
    axis = node.axis(node.attribute("axis", 0), x.ndim)
    index, how = _positions(x, axis, indices), node.attribute("reduction", "none")
    if how in _REDUCTIONS:
        return F.scatter(x, axis, index, updates, reduce=_REDUCTIONS[how])
    if how not in ("min", "max"):
        raise node.error(f"{node.op_type}: unknown reduction {how!r}: expected none, add, mul, min or max")
    # One update at a time along the axis, so that repeated positions are combined.
    function = F.minimum if how == "min" else F.maximum
    for k in range(node.fix(index.shape[axis])):
        place, value = (F.slice(t, k, k + 1, dim=axis) for t in (index, updates))
        sliced = x
        for d in range(x.ndim):
            if d != axis:
                sliced = F.slice(sliced, 0, place.shape[d], dim=d)
        x = F.scatter(x, axis, place, function(F.gather(sliced, axis, place), value))
    return x


@op("ScatterND")
def scatter_nd(node: Any, x: Any, indices: Any, updates: Any) -> Any:
    depth = node.fix(indices.shape[-1])
    how = node.attribute("reduction", "none")
    if how in ("none", "add"):
        parts = _batched(x, indices, 0)
        return F.index_put(x, parts, updates, spec=("tensor",) * depth, accumulate=how == "add")
    # Otherwise as a scatter of rows: positions of the indexed dimensions as one number, the rest of a row behind it.
    sizes = node.shape(x)
    rows, row = int(np.prod(sizes[:depth], dtype=np.int64)), int(np.prod(sizes[depth:], dtype=np.int64))
    index = F.reshape(F.cast(indices, dtype=dtypes.int64), (-1, depth))
    flat = None
    for k in range(depth):
        place = F.select(index, k, dim=1)
        place = F.where(F.lt(place, 0), F.add(place, sizes[k]), place)
        flat = place if flat is None else F.add(F.mul(flat, sizes[k]), place)
    table, values = F.reshape(x, (rows, row)), F.reshape(updates, (-1, row))
    if how == "mul":
        place = F.expand(F.unsqueeze(flat, 1), (values.shape[0], row))
        return F.reshape(F.scatter(table, 0, place, values, reduce="multiply"), sizes)
    function = F.minimum if how == "min" else F.maximum
    for k in range(node.fix(values.shape[0])):
        place = F.expand(F.unsqueeze(F.slice(flat, k, k + 1, dim=0), 1), (1, row))
        table = F.scatter(table, 0, place, function(F.gather(table, 0, place), F.slice(values, k, k + 1, dim=0)))
    return F.reshape(table, sizes)


@op("TopK", values=(1,))
def top_k(node: Any, x: Any, k: Any = None) -> Any:
    count = node.attribute("k") if k is None else node.sizes(k, "k")[0]
    axis = node.axis(node.attribute("axis", -1), x.ndim)
    return F.topk(x, count, axis, bool(node.attribute("largest", 1)), True)


@op("NonZero")
def non_zero(node: Any, x: Any) -> Any:
    return F.transpose(F.nonzero(x), 0, 1)


@op("Compress")
def compress(node: Any, x: Any, condition: Any) -> Any:
    """The slices where the condition, which may be shorter than the axis, is true."""
    if not node.has("axis"):
        x = F.reshape(x, (-1,))
    axis = node.axis(node.attribute("axis", 0), x.ndim)
    positions = F.select(F.nonzero(condition), 0, dim=1)
    return F.index_select(x, axis, positions)


@op("ReverseSequence")
def reverse_sequence(node: Any, x: Any, lengths: Any) -> Any:
    batch, time = node.attribute("batch_axis", 1), node.attribute("time_axis", 0)
    shape = [1] * x.ndim
    shape[batch] = x.shape[batch]
    limits = F.reshape(lengths, tuple(shape))
    shape = [1] * x.ndim
    shape[time] = x.shape[time]
    position = F.reshape(F.arange(0, x.shape[time], 1), tuple(shape))
    index = F.where(F.lt(position, limits), F.sub(F.sub(limits, 1), position), position)
    return F.gather(x, time, F.expand(index, tuple(x.shape)))


@op("Unique", raw=True)
def unique(node: Any, scope: Any, x: Any) -> Any:
    """Distinct elements or slices of a tensor whose values are known; the number of results depends on them."""
    array = node.array(x, "the input")
    axis = node.attribute("axis", None)
    values, first, inverse, counts = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not node.attribute("sorted", 1):
        order = np.argsort(first)
        values = np.take(values, order, axis=0 if axis is None else axis)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        first, counts, inverse = first[order], counts[order], rank[inverse]
    return tuple(Known.of(a) for a in (values, *(t.astype(np.int64) for t in (first, inverse, counts))))
