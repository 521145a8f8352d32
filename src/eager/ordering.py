"""Order statistics and counting in PyTorch's call forms: median, quantile, unique, searchsorted, histogram."""

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from . import return_types
from .families import with_out
from .functions import call as _call
from .modes import current_mode
from .placement import beside, on_host
from .return_types import result_text
from .tensor import Tensor, wrap

__all__ = ["FUNCTIONS", "METHODS"]

FUNCTIONS = (
    "aminmax", "bucketize", "count_nonzero",
    "histogram", "histogramdd", "kthvalue", "median", "mode", "msort", "nanmean", "nanmedian", "nanquantile", "nansum",
    "quantile", "searchsorted", "unique", "unique_consecutive",
)  # fmt: skip
METHODS = (
    "aminmax", "count_nonzero", "histogram", "kthvalue", "median", "mode", "msort",
    "nanmean", "nanmedian", "nanquantile", "nansum", "quantile", "unique", "unique_consecutive",
)  # fmt: skip


class Extremes(NamedTuple):
    """The smallest and the largest elements."""

    min: Any
    max: Any

    def __repr__(self) -> str:
        return result_text("aminmax", self)


class Histogram(NamedTuple):
    """Counts, and the bins' edges."""

    hist: Any
    bin_edges: Any

    def __repr__(self) -> str:
        return result_text("histogram", self)


def _axis(name: str, input: Tensor, dim: int) -> int:
    extent = max(input.ndim, 1)
    if not -extent <= dim < extent:
        raise IndexError(
            f"{name}: Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], but got {dim})"
        )
    return dim % extent


def _last(input: Tensor, dim: int) -> Tensor:
    """The tensor with a dimension moved to the end."""
    if dim == input.ndim - 1 or not input.ndim:
        return input
    order = [d for d in range(input.ndim) if d != dim]
    return _call("permute", input, *order, dim)  # type: ignore[no-any-return]


def _finish(value: Tensor, dim: int, rank: int, keepdim: bool) -> Tensor:
    """A result with its reduced dimension last and of size 1, put where it belongs."""
    if not rank:
        return _call("reshape", value, ())  # type: ignore[no-any-return]
    if not keepdim:
        return _call("squeeze", value, (-1,))  # type: ignore[no-any-return]
    order = [*range(dim), rank - 1, *range(dim, rank - 1)]
    return _call("permute", value, *order)  # type: ignore[no-any-return]


# -- order statistics --------------------------------------------------------------------------------------------------


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Extremes:
    """The smallest and the largest element, of all or along a dimension.

    >>> ingot.aminmax(ingot.tensor([3., 1., 2.])).max
    tensor(3.)
    """
    if dim is None and 0 in input.shape:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    dims = () if dim is None else dim
    return Extremes(_call("amin", input, dims, keepdim), _call("amax", input, dims, keepdim))


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> return_types.kthvalue:
    """The k-th smallest element along a dimension (k from 1) and where it is.

    >>> ingot.kthvalue(ingot.tensor([3., 1., 2.]), 2).values
    tensor(2.)
    """
    axis = _axis("kthvalue", input, dim)
    size = input.shape[axis] if input.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}: given {k} of {size}")
    values, indices = _call("sort", _call("reshape", input, 1) if not input.ndim else _last(input, axis), -1)
    parts = (_call("slice", v, k - 1, k, dim=-1) for v in (values, indices))
    return return_types.kthvalue(*(_finish(p, axis, input.ndim, keepdim) for p in parts))


def _middle(name: str, input: Tensor, dim: int, keepdim: bool, skip_nan: bool) -> Any:
    axis = _axis(name, input, dim)
    rows = _last(input, axis) if input.ndim else _call("reshape", input, 1)
    if rows.shape[-1] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    values, indices = _call("sort", rows, -1, False, True)
    missing = _call("sum", _call("ne", rows, rows), -1, True)
    size = rows.shape[-1]
    if skip_nan:
        place = _call("clamp", _call("floor_divide", _call("sub", _call("sub", size, missing), 1), 2), 0)
    else:  # The first NaN is the median where there are any: it is what argmax finds, too.
        middle = (size - 1) // 2
        place = _call("slice", indices, middle, middle + 1, dim=-1)
        place = _call("where", _call("gt", missing, 0), _call("argmax", rows, -1, True), place)
        values, indices = rows, None
    result = return_types.nanmedian if skip_nan else return_types.median
    found = _call("gather", values, -1, place), place if indices is None else _call("gather", indices, -1, place)
    return result(*(_finish(v, axis, input.ndim, keepdim) for v in found))


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, the lower one of two; NaN where there is a NaN. With `dim` the pair (values, indices) along it.

    >>> ingot.median(ingot.tensor([3., 1., 2., 4.]))
    tensor(2.)
    """
    return _median("median", input, dim, keepdim, False)


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of the elements that are not NaN. With `dim` the pair (values, indices) along it.

    >>> ingot.nanmedian(ingot.tensor([3., float("nan"), 2.]))
    tensor(2.)
    """
    return _median("nanmedian", input, dim, keepdim, True)


@beside
def _median(name: str, input: Tensor, dim: int | None, keepdim: bool, skip_nan: bool) -> Any:
    if dim is not None:
        return _middle(name, input, dim, keepdim, skip_nan)
    if 0 in input.shape:
        if input.dtype.category < 2:
            return _call("full", (), np.iinfo(input.dtype.numpy).min, dtype=input.dtype)
        return _call("full", (), math.nan, dtype=input.dtype)
    return _middle(name, _call("reshape", input, -1), 0, False, skip_nan).values


def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> return_types.mode:
    """The most frequent element along a dimension, the smallest of several, and where it last occurs.

    >>> ingot.mode(ingot.tensor([3, 1, 3])).values
    tensor(3)
    """
    return return_types.mode(*_call("mode", input, dim, keepdim))


def msort(input: Tensor) -> Tensor:
    """The tensor sorted along its first dimension.

    >>> ingot.msort(ingot.tensor([3, 1, 2]))
    tensor([1, 2, 3])
    """
    return _call("sort", input, 0)[0]  # type: ignore[no-any-return]


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The q-quantiles (0 <= q <= 1) along a dimension, or of all elements; several `q` come first in the result.

    `interpolation` says what is between two elements: 'linear', 'lower', 'higher', 'midpoint' or 'nearest'.

    >>> ingot.quantile(ingot.tensor([1., 2., 3., 4.]), 0.5)
    tensor(2.5000)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """As `quantile`, of the elements that are not NaN.

    >>> ingot.nanquantile(ingot.tensor([1., float("nan"), 3.]), 0.5)
    tensor(2.)
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


@beside
def _quantile(
    name: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip_nan: bool
) -> Tensor:
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype, given {input.dtype.name}")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of {', '.join(_INTERPOLATIONS)}, but got {interpolation}"
        )
    fractions = q if isinstance(q, Tensor) else _call("full", (), float(q), dtype=input.dtype)
    if fractions.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor, given {fractions.ndim} dimensions")
    if fractions.dtype is not input.dtype:
        raise RuntimeError(
            f"{name}() q tensor must be same dtype as the input tensor, given {fractions.dtype.name} and "
            f"{input.dtype.name}"
        )
    given = fractions._array
    if current_mode() is None and not bool(np.all((given >= 0) & (given <= 1))):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    rank, axis = input.ndim, 0 if dim is None else _axis(name, input, dim)
    rows = _call("reshape", input, -1) if dim is None or not rank else _last(input, axis)
    if rows.shape[-1] == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    ordered = _call("sort", rows, -1)[0]
    missing = _call("sum", _call("ne", rows, rows), -1, True)
    flat = _call("reshape", fractions, -1)
    if skip_nan:
        count = _call("clamp", _call("sub", rows.shape[-1], missing), 1)
        places = _call("mul", _call("cast", _call("sub", count, 1), dtype=input.dtype), flat)
    else:
        places = _call("mul", flat, float(rows.shape[-1] - 1))
        places = _call("expand", places, *rows.shape[:-1], flat.shape[0])
        places = _call("where", _call("gt", missing, 0), float(rows.shape[-1] - 1), places)
    result = _between(ordered, places, interpolation)
    if dim is None:
        shape: tuple[int, ...] = (1,) * rank if keepdim else ()
        return _call("reshape", result, *((flat.shape[0],) if fractions.ndim else ()), *shape)  # type: ignore[no-any-return]
    if rank == 0:
        return _call("reshape", result, (flat.shape[0],) if fractions.ndim else ())  # type: ignore[no-any-return]
    result = _call("permute", result, rank - 1, *range(rank - 1))  # the quantiles first
    if keepdim:
        result = _call("unsqueeze", result, axis + 1)
    return result if fractions.ndim else _call("squeeze", result, (0,))  # type: ignore[no-any-return]


def _between(ordered: Tensor, places: Tensor, interpolation: str) -> Tensor:
    """Elements at fractional places of the last dimension."""
    from ..ir.dtypes import int64

    def at(rounded: Tensor) -> Any:
        return _call("gather", ordered, -1, _call("cast", rounded, dtype=int64))

    if interpolation == "nearest":
        return at(_call("round", places))  # type: ignore[no-any-return]
    low = at(_call("floor", places))
    if interpolation == "lower":
        return low  # type: ignore[no-any-return]
    high = at(_call("ceil", places))
    if interpolation == "higher":
        return high  # type: ignore[no-any-return]
    weight = 0.5 if interpolation == "midpoint" else _call("frac", places)
    if interpolation == "midpoint":
        weight = _call("mul", _call("ne", _call("frac", places), 0), 0.5)
    weight = _call("cast", weight, dtype=ordered.dtype)
    return _call("where", _call("eq", low, high), low, _call("lerp", low, high, weight))  # type: ignore[no-any-return]


# -- reductions that skip NaN ------------------------------------------------------------------------------------------


def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of the elements that are not NaN.

    >>> ingot.nansum(ingot.tensor([1., float("nan")]))
    tensor(1.)
    """
    plain = input if input.dtype.category < 2 else _call("where", _call("isnan", input), 0.0, input)
    return _call("sum", plain, dim, keepdim, dtype=dtype)  # type: ignore[no-any-return]


def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of the elements that are not NaN.

    >>> ingot.nanmean(ingot.tensor([1., float("nan")]))
    tensor(1.)
    """
    if input.dtype.category < 2:
        raise RuntimeError(f"nanmean(): expected input to have floating point dtype but got {input.dtype.name}")
    count = _call("sum", _call("logical_not", _call("isnan", input)), dim, keepdim)
    return _call("div", nansum(input, dim, keepdim, dtype=dtype), count)  # type: ignore[no-any-return]


def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are not zero, of all or along dimensions.

    >>> ingot.count_nonzero(ingot.tensor([0, 3, 4]))
    tensor(2)
    """
    return _call("sum", _call("ne", input, 0), dim)  # type: ignore[no-any-return]


# -- counting ----------------------------------------------------------------------------------------------------------


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements in order (slices along `dim`), and if asked where each element is among them and counts.

    >>> ingot.unique(ingot.tensor([2, 1, 2]), return_counts=True)
    (tensor([1, 2]), tensor([1, 2]))
    """
    return _pick(_call("unique", input, dim=dim), return_inverse, return_counts)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements without those equal to the one before them, and if asked where each is and counts.

    >>> ingot.unique_consecutive(ingot.tensor([2, 2, 1, 2]))
    tensor([2, 1, 2])
    """
    return _pick(_call("unique", input, dim=dim, consecutive=True), return_inverse, return_counts)


def _pick(results: Any, return_inverse: bool, return_counts: bool) -> Any:
    values, inverse, counts = results
    chosen = (values, *((inverse,) if return_inverse else ()), *((counts,) if return_counts else ()))
    return chosen if len(chosen) > 1 else values


def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where elements would go into sorted sequences (along the last dimension): before equal ones, or after them.

    >>> ingot.searchsorted(ingot.tensor([1, 3, 5]), ingot.tensor([3, 6]))
    tensor([1, 3])
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    after = right or side == "right"
    return _call("searchsorted", sorted_sequence, input, sorter, right=after, out_int32=out_int32)  # type: ignore[no-any-return]


def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the bucket that each element falls into, between sorted boundaries.

    >>> ingot.bucketize(ingot.tensor([1, 4]), ingot.tensor([2, 3]))
    tensor([0, 2])
    """
    if boundaries.ndim != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return _call("searchsorted", boundaries, input, right=right, out_int32=out_int32)  # type: ignore[no-any-return]


@on_host
def histogram(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Histogram:
    """Counts of elements in bins: a number of equal ones over `range`, or between given edges.

    >>> ingot.histogram(ingot.tensor([1., 2., 1.]), bins=4, range=(0., 3.)).hist
    tensor([0., 2., 1., 0.])
    """
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError(f"histogram(): expected a float32 or float64 tensor, given {input.dtype.name}")
    if current_mode() is not None:
        raise RuntimeError("histogram: a trace cannot record it; use histc")
    dtype = input._array.dtype
    edges: Any = bins._array if isinstance(bins, Tensor) else int(bins)
    if not isinstance(edges, np.ndarray) and edges < 1:
        raise RuntimeError(f"histogram(): bins must be > 0, but got {edges}")
    limits = None if range is None else (float(range[0]), float(range[1]))
    if limits is not None and limits[0] == limits[1]:
        limits = None if input._array.size and limits[0] == 0 else limits
    if limits is None and not isinstance(edges, np.ndarray) and not input._array.size:
        limits = (0.0, 1.0)
    values = input._array.reshape(-1)
    weights = None if weight is None else weight._array.reshape(-1)
    counts, borders = np.histogram(values, edges, limits, weights=weights, density=density)
    return Histogram(wrap(np.asarray(counts, dtype)), wrap(np.asarray(borders, dtype)))


class HistogramDD(NamedTuple):
    """Counts, and the bins' edges of each dimension."""

    hist: Any
    bin_edges: Any

    def __repr__(self) -> str:
        return result_text("histogramdd", self)


@on_host
def histogramdd(
    input: Tensor, bins: Any, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> HistogramDD:
    """Counts of points (in rows) in boxes: numbers of equal bins per dimension over `range`, or between given edges.

    >>> ingot.histogramdd(ingot.tensor([[0., 1.], [1., 0.]]), [2, 2]).hist
    tensor([[0., 1.],
            [1., 0.]])
    """
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError(f"histogramdd(): expected a float32 or float64 tensor, given {input.dtype.name}")
    if input.ndim < 2:
        raise RuntimeError(f"histogramdd: input tensor should have at least 2 dimensions, but got {input.ndim}")
    if current_mode() is not None:
        raise RuntimeError("histogramdd: a trace cannot record it")
    rank = int(input.shape[-1])
    counts = [int(bins)] * rank if isinstance(bins, int) else list(bins)
    if len(counts) != rank:
        raise RuntimeError(
            f"histogramdd: The size of bins must be equal to the innermost dimension of the input, given {len(counts)} "
            f"and {rank}"
        )
    points = input._array.reshape(-1, rank)
    edges: list[Any] = []
    for d, count in enumerate(counts):
        if isinstance(count, Tensor):
            edges.append(count._array)
            continue
        if range is not None:
            low, high = float(range[2 * d]), float(range[2 * d + 1])
        else:
            low, high = (float(points[:, d].min()), float(points[:, d].max())) if len(points) else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges.append(np.linspace(low, high, int(count) + 1).astype(points.dtype))
    sizes = tuple(len(e) - 1 for e in edges)
    places = np.zeros(len(points), np.int64)
    inside = np.ones(len(points), bool)
    for d, border in enumerate(edges):
        place = np.searchsorted(border, points[:, d], side="right") - 1
        place = np.where(points[:, d] == border[-1], sizes[d] - 1, place)  # the last bin has its end, too
        inside &= (place >= 0) & (place < sizes[d])
        places = places * sizes[d] + place
    weights = np.ones(len(points)) if weight is None else weight._array.reshape(-1)
    found = np.bincount(places[inside], weights[inside], minlength=math.prod(sizes)).reshape(sizes)
    if density:
        volume: Any = 1.0
        for d, border in enumerate(edges):
            volume = volume * np.diff(border).reshape([-1 if i == d else 1 for i in builtins.range(rank)])
        found = found / found.sum() / volume
    return HistogramDD(wrap(found.astype(points.dtype)), tuple(wrap(np.ascontiguousarray(e)) for e in edges))


for _name in FUNCTIONS:
    if _name == "histogramdd":
        continue  # its edges are tensors in a tuple
    globals()[_name] = with_out(globals()[_name])
