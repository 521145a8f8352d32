"""Ops that count and look up: unique elements, bins, histograms, positions in sorted sequences, the mode."""

from typing import Any

import numpy as np

from ..dims import Dim
from ..dtypes import bool_, float64, int32, int64
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    array_dtype,
    cast,
    ints,
    normalise_dim,
    promoted,
    promoted_array_dtype,
    randoms,
    require_tensor,
)
from ._op import Custom, ErrorSample, F, Sample, VjpContext, define
from .index import unknown_size

_PUBLIC = ("", "method")


# -- unique ------------------------------------------------------------------------------------------------------------


def _infer_unique(
    sizes: Sizes, input: Any, *, dim: int | None, consecutive: bool
) -> tuple[TensorType, TensorType, TensorType]:
    input = require_tensor("unique", "input", input)
    count = unknown_size(sizes)
    counts = TensorType(int64, (count,), input.device)
    if dim is None:
        return TensorType(input.dtype, (count,), input.device), TensorType(int64, input.shape, input.device), counts
    if not input.rank:
        raise IndexError(f"unique: dim={dim} needs a tensor of at least one dimension")
    axis = normalise_dim("unique", dim, input.rank)
    shape: tuple[Dim, ...] = (*input.shape[:axis], count, *input.shape[axis + 1 :])
    inverse = TensorType(int64, (input.shape[axis],), input.device)
    return TensorType(input.dtype, shape, input.device), inverse, counts


def _evaluate_unique(xp: Any, input: Any, *, dim: int | None, consecutive: bool) -> tuple[Any, Any, Any]:
    if dim is None:
        rows, shape = input.reshape(-1), input.shape
        new = rows[1:] != rows[:-1]
    else:
        rows = np.moveaxis(input, dim, 0)
        shape = rows.shape[:1]
        flat = rows.reshape(len(rows), -1) if rows.size else xp.zeros((len(rows), 0), input.dtype)
        new = (flat[1:] != flat[:-1]).any(axis=1)
    if consecutive:
        first = xp.concatenate((xp.ones(min(len(rows), 1), bool), new))
        inverse = np.cumsum(first) - 1
        values, counts = rows[first], np.bincount(inverse, minlength=int(first.sum()))
    elif dim is None:
        # Every NaN is an element of its own, as in PyTorch.
        values, inverse, counts = np.unique(rows, return_inverse=True, return_counts=True, equal_nan=False)
    else:
        values, inverse, counts = np.unique(rows, return_inverse=True, return_counts=True, axis=0)
    if dim is not None:
        values = xp.ascontiguousarray(np.moveaxis(values, 0, dim))
    return (
        xp.asarray(values, input.dtype),
        xp.asarray(np.reshape(inverse, shape), np.int64),
        xp.asarray(counts, np.int64),
    )


UNIQUE = define(
    "unique(input: Tensor, *, dim: int | None = None, consecutive: bool = False)",
    "The different elements (or slices along `dim`) in order, where each element is among them, and how often each "
    "occurs; with `consecutive` only neighbours that are equal are joined.",
    infer=_infer_unique,
    evaluate=_evaluate_unique,
    lower=Custom("unique"),
    outputs=3,
    samples=lambda: [
        Sample((ints(9, low=0, high=4),)),
        Sample((ints(2, 5, low=0, high=4),)),
        Sample((ints(6, 2, low=0, high=2),), {"dim": 0}),
        Sample((ints(2, 6, low=0, high=2),), {"dim": -1, "consecutive": True}),
        Sample((np.array([1.0, np.nan, np.nan, 1.0, 1.0], np.float32),), {"consecutive": True}),
        Sample((ints(0),)),
        Sample((ints(),)),
        Sample((ints(7) > 0,)),
    ],
    errors=lambda: [ErrorSample((ints(3),), IndexError, "out of range", {"dim": 1})],
)


# -- counting in bins --------------------------------------------------------------------------------------------------


def _infer_bincount(sizes: Sizes, input: Any, weights: Any, *, minlength: int) -> TensorType:
    input = require_tensor("bincount", "input", input)
    if input.rank != 1 or input.dtype.category != 1:
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, given {input}")
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, given {minlength}")
    if weights is None:
        return TensorType(int64, (unknown_size(sizes),), input.device)
    weights = require_tensor("bincount", "weights", weights)
    if weights.rank != 1:
        raise RuntimeError(f"bincount: weights should have the same shape as input, given {input} and {weights}")
    message = f"bincount: weights should have the same length as input, given {input} and {weights}"
    sizes.equal(input.shape[0], weights.shape[0], message)
    dtype = weights.dtype if weights.dtype.name == "float32" else float64
    return TensorType(dtype, (unknown_size(sizes),), input.device)


def _evaluate_bincount(xp: Any, input: Any, weights: Any, *, minlength: int) -> Any:
    if input.size and int(input.min()) < 0:
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, given {int(input.min())}")
    counts = np.bincount(input.astype(np.int64), weights, minlength)
    if weights is None:
        return xp.asarray(counts, np.int64)
    return xp.asarray(counts, np.float32 if weights.dtype == np.float32 else np.float64)


BINCOUNT = define(
    "bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0)",
    "How often each of 0, 1, 2, ... occurs in a vector, or the sum of the weights there.\n\n"
    ">>> ingot.bincount(ingot.tensor([1, 3, 1]))\n"
    "tensor([0, 2, 0, 1])",
    infer=_infer_bincount,
    evaluate=_evaluate_bincount,
    lower=Custom("bincount"),
    public=_PUBLIC,
    samples=lambda: [
        Sample((ints(7, low=0, high=4),), differentiable=False),
        Sample((ints(7, low=0, high=4), randoms(7), 8), differentiable=False),
        Sample((ints(0), None, 3), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((np.array([-1]),), RuntimeError, "non-negative"),
        ErrorSample((randoms(3),), RuntimeError, "integral"),
        ErrorSample((ints(3, low=0), randoms(2)), RuntimeError, "same length"),
    ],
)


def _infer_histc(sizes: Sizes, input: Any, *, bins: int, min: Any, max: Any) -> TensorType:
    input = require_tensor("histc", "input", input)
    if input.dtype.category != 2:
        raise RuntimeError(f"histc: expected a floating-point tensor, given {input}")
    if bins <= 0:
        raise RuntimeError(f"histc: bins must be > 0, given {bins}")
    if max < min:
        raise RuntimeError(f"histc: max must be larger than min, given {min} and {max}")
    return TensorType(input.dtype, (bins,), input.device)


def _evaluate_histc(xp: Any, input: Any, *, bins: int, min: Any, max: Any) -> Any:
    low, high = float(min), float(max)
    if low == high and input.size:
        low, high = float(input.min()), float(input.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"histc: range of [{low}, {high}] is not finite")
    counts, _ = np.histogram(input[(input >= low) & (input <= high)], bins, (low, high))
    return xp.asarray(counts, input.dtype)


HISTC = define(
    "histc(input: Tensor, bins: int = 100, min: number = 0, max: number = 0)",
    "How many elements fall into each of `bins` equal parts of [min, max]; of the elements' own range where both are "
    "equal.\n\n"
    ">>> ingot.histc(ingot.tensor([1., 2., 1.]), bins=4, min=0, max=3)\n"
    "tensor([0., 2., 1., 0.])",
    infer=_infer_histc,
    evaluate=_evaluate_histc,
    lower=Custom("histc"),
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(20), 5, -1, 1.5)),
        Sample((randoms(3, 7), 4)),
        Sample((randoms(0), 3)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 0), RuntimeError, "bins must be > 0"),
        ErrorSample((randoms(3), 3, 2, 1), RuntimeError, "larger than min"),
        ErrorSample((np.array([np.inf, 1], np.float32), 3), RuntimeError, "not finite"),
    ],
)


# -- positions in sorted sequences -------------------------------------------------------------------------------------


def _infer_searchsorted(
    sizes: Sizes, sorted_sequence: Any, input: Any, sorter: Any, *, right: bool, out_int32: bool
) -> TensorType:
    sequence = require_tensor("searchsorted", "sorted_sequence", sorted_sequence)
    dtype = int32 if out_int32 else int64
    if sequence.rank < 1:
        raise RuntimeError("searchsorted(): boundaries tensor should have positive dimension, given rank 0")
    if sorter is not None:
        message = f"searchsorted(): sorter must be int64 and of the sequence's shape, given {sorter}"
        if sorter.dtype is not int64 or sorter.rank != sequence.rank:
            raise RuntimeError(message)
        for a, b in zip(sorter.shape, sequence.shape, strict=True):
            sizes.equal(a, b, message)
    if not isinstance(input, TensorType):
        if sequence.rank != 1:
            raise RuntimeError("searchsorted(): input value can be a scalar only when boundaries has 1 dimension")
        return TensorType(dtype, (), sequence.device)
    if sequence.rank != 1:
        message = (
            f"searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor "
            f"and input value tensor must match, given {sequence} and {input}"
        )
        if input.rank != sequence.rank:
            raise RuntimeError(message)
        for a, b in zip(sequence.shape[:-1], input.shape[:-1], strict=True):
            sizes.equal(a, b, message)
    return TensorType(dtype, input.shape, input.device)


def _evaluate_searchsorted(
    xp: Any, sorted_sequence: Any, input: Any, sorter: Any, *, right: bool, out_int32: bool
) -> Any:
    if sorter is not None:
        sorted_sequence = np.take_along_axis(sorted_sequence, sorter, -1)
    dtype = promoted_array_dtype((sorted_sequence, input)).numpy
    result = np.int32 if out_int32 else np.int64
    side: Any = "right" if right else "left"
    sequence = sorted_sequence.astype(dtype, copy=False)
    values = xp.asarray(input, dtype)
    if sequence.ndim == 1:
        return xp.asarray(np.searchsorted(sequence, values, side), result)
    found = xp.empty(values.shape, result)
    for where in np.ndindex(sequence.shape[:-1]):
        found[where] = np.searchsorted(sequence[where], values[where], side)
    return found


SEARCHSORTED = define(
    "searchsorted(sorted_sequence: Tensor, input: Tensor | Scalar, sorter: Tensor | None = None, *, "
    "right: bool = False, out_int32: bool = False)",
    "Where elements would be put into a sorted sequence (the last dimension): before equal ones, or after them.",
    infer=_infer_searchsorted,
    evaluate=_evaluate_searchsorted,
    lower=Custom("searchsorted"),
    samples=lambda: [
        Sample((np.array([1.0, 2.0, 2.0, 3.0], np.float32), randoms(3, 4))),
        Sample((np.sort(randoms(2, 5)), randoms(2, 3, seed=1)), {"right": True, "out_int32": True}),
        Sample((np.array([3, 1, 2]), 2, np.array([1, 2, 0]))),
        Sample((randoms(0), randoms(3))),
    ],
    errors=lambda: [
        ErrorSample((randoms(), randoms(3)), RuntimeError, "positive dimension"),
        ErrorSample((randoms(2, 3), randoms(3, 3)), RuntimeError, "must match"),
        ErrorSample((randoms(2, 3), 1.0), RuntimeError, "scalar"),
    ],
)


def _infer_isin(sizes: Sizes, elements: Any, test_elements: Any, *, invert: bool) -> TensorType:
    found = [t for t in (elements, test_elements) if isinstance(t, TensorType)]
    if not found:
        raise TypeError(f"isin(): expected at least one Tensor, given {elements} and {test_elements}")
    promoted((elements, test_elements))
    shape = elements.shape if isinstance(elements, TensorType) else ()
    return TensorType(bool_, shape, found[0].device)


def _evaluate_isin(xp: Any, elements: Any, test_elements: Any, *, invert: bool) -> Any:
    dtype = promoted_array_dtype((elements, test_elements))
    return xp.asarray(np.isin(cast(xp, elements, dtype), cast(xp, test_elements, dtype), invert=invert))


ISIN = define(
    "isin(elements: Tensor | Scalar, test_elements: Tensor | Scalar, *, assume_unique: bool = False, "
    "invert: bool = False)",
    "Whether each element is among the test elements (or, inverted, is not).\n\n"
    ">>> ingot.isin(ingot.tensor([1, 2, 3]), ingot.tensor([3, 1]))\n"
    "tensor([ True, False,  True])",
    infer=lambda sizes, elements, test_elements, *, assume_unique, invert: _infer_isin(
        sizes, elements, test_elements, invert=invert
    ),
    evaluate=lambda xp, elements, test_elements, *, assume_unique, invert: _evaluate_isin(
        xp, elements, test_elements, invert=invert
    ),
    lower=Custom("isin"),
    public=("",),
    samples=lambda: [
        Sample((ints(3, 4), ints(5, seed=1))),
        Sample((ints(5), 2), {"invert": True}),
        Sample((randoms(3), ints(0))),
    ],
    errors=lambda: [ErrorSample((1, 2), TypeError, "at least one Tensor")],
)


# -- the mode ----------------------------------------------------------------------------------------------------------


def _infer_mode(sizes: Sizes, input: Any, *, dim: int, keepdim: bool) -> tuple[TensorType, TensorType]:
    input = require_tensor("mode", "input", input)
    axis = normalise_dim("mode", dim, input.rank)
    if input.rank and sizes.hint(input.shape[axis]) == 0:
        raise IndexError(f"mode(): Expected reduction dim {dim} to have non-zero size, given {input}")
    kept = (1,) if keepdim else ()
    shape = (*input.shape[:axis], *kept, *input.shape[axis + 1 :]) if input.rank else ()
    return TensorType(input.dtype, shape, input.device), TensorType(int64, shape, input.device)


def _evaluate_mode(xp: Any, input: Any, *, dim: int, keepdim: bool) -> tuple[Any, Any]:
    if not input.ndim:
        return xp.array(input, copy=True), xp.zeros((), np.int64)
    rows = np.moveaxis(input, dim, -1)
    order = np.argsort(rows, axis=-1, kind="stable")
    ordered = np.take_along_axis(rows, order, -1)
    n = rows.shape[-1]
    place = xp.arange(n)
    starts = xp.concatenate((xp.ones((*rows.shape[:-1], 1), bool), ordered[..., 1:] != ordered[..., :-1]), -1)
    # The length of a run so far; the first of the longest runs is the smallest of the most frequent elements.
    length = place - np.maximum.accumulate(np.where(starts, place, 0), axis=-1)
    last = np.argmax(length, axis=-1)[..., None] if n else xp.zeros((*rows.shape[:-1], 1), np.int64)
    values, indices = np.take_along_axis(ordered, last, -1), np.take_along_axis(order, last, -1)
    if keepdim:
        values, indices = np.moveaxis(values, -1, dim), np.moveaxis(indices, -1, dim)
    else:
        values, indices = values[..., 0], indices[..., 0]
    return xp.array(values, array_dtype(input).numpy), xp.array(indices, np.int64)


def _mode_vjp(c: VjpContext, g: Any, input: Any, *, dim: int, keepdim: bool) -> tuple[Any]:
    if g[0] is None or not input.ndim:
        return (g[0],)
    gradient, index = g[0], c.outputs[1]
    if not keepdim:
        gradient, index = F.unsqueeze(gradient, dim), F.unsqueeze(index, dim)
    return (F.scatter_add(F.full(tuple(input.shape), 0, dtype=gradient.dtype), dim, index, gradient),)


MODE = define(
    "mode(input: Tensor, dim: int = -1, keepdim: bool = False)",
    "The most frequent element along a dimension (the smallest of several) and where it last occurs.",
    infer=_infer_mode,
    evaluate=_evaluate_mode,
    vjp=_mode_vjp,
    lower=Custom("mode"),
    outputs=2,
    samples=lambda: [
        Sample((ints(3, 7, low=0, high=3),), differentiable=False),
        Sample((ints(7, 3, low=0, high=3), 0, True), differentiable=False),
        Sample((randoms(3, 4),)),
        Sample((randoms(),)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 1), IndexError, "out of range"),
        ErrorSample((randoms(3, 0), 1), IndexError, "non-zero size"),
    ],
)
