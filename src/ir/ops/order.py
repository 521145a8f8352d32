"""Ops on the order of elements along a dimension: sort, argsort, topk."""

from typing import Any

import numpy as np

from ..dims import Dim, dim_min
from ..dtypes import int64
from ..sizes import Sizes
from ..types import TensorType
from ._common import dim_value, ints, normalise_dim, randoms, require_tensor
from ._op import Custom, Decompose, ErrorSample, F, Sample, VjpContext, define


def _infer_sort(sizes: Sizes, input: Any, *, dim: int, descending: bool, stable: bool) -> tuple[TensorType, TensorType]:
    input = require_tensor("sort", "input", input)
    normalise_dim("sort", dim, input.rank)
    return input, TensorType(int64, input.shape, input.device)


def _order(xp: Any, input: Any, dim: int, descending: bool) -> Any:
    """Positions in sorted order, equal elements in their own order; NaN is above everything."""
    if not descending:
        return xp.argsort(input, axis=dim, kind="stable")
    # Sorting the reversed tensor upward and reversing the result keeps equal elements in order.
    size = input.shape[dim]
    return xp.flip(size - 1 - xp.argsort(xp.flip(input, dim), axis=dim, kind="stable"), dim)


def _evaluate_sort(xp: Any, input: Any, *, dim: int, descending: bool, stable: bool) -> tuple[Any, Any]:
    if not input.ndim:
        return xp.array(input, copy=True), xp.zeros((), np.int64)
    order = xp.ascontiguousarray(_order(xp, input, dim, descending), np.int64)
    return xp.take_along_axis(input, order, dim), order


def _scatter_back(c: VjpContext, g: Any, input: Any, dim: int) -> Any:
    if g[0] is None or not input.ndim:
        return g[0]
    return F.scatter_add(F.full(tuple(input.shape), 0, dtype=g[0].dtype), dim, c.outputs[1], g[0])


SORT = define(
    "sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False)",
    "The elements in order along a dimension, and where they came from; equal elements keep their order.",
    infer=_infer_sort,
    evaluate=_evaluate_sort,
    vjp=lambda c, g, input, *, dim, descending, stable: (_scatter_back(c, g, input, dim),),
    lower=Custom("sort"),
    outputs=2,
    samples=lambda: [
        Sample((randoms(3, 5),)),
        Sample((randoms(3, 4), 0, True)),
        Sample((randoms(),)),
        Sample((ints(9, low=0, high=3),), {"descending": True}, differentiable=False),
        Sample((np.array([2.0, np.nan, -np.inf, 1.0], np.float32),), differentiable=False),
        Sample((randoms(0, 2), 0)),
    ],
    errors=lambda: [ErrorSample((randoms(3), 1), IndexError, "out of range")],
)
ARGSORT = define(
    "argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False)",
    "Where the elements in order along a dimension come from; equal elements keep their order.\n\n"
    ">>> ingot.argsort(ingot.tensor([3., 1., 2.]))\n"
    "tensor([1, 2, 0])",
    infer=lambda sizes, input, **attributes: _infer_sort(sizes, input, **attributes)[1],
    evaluate=lambda xp, input, **attributes: _evaluate_sort(xp, input, **attributes)[1],
    lower=Decompose(lambda input, **attributes: F.sort(input, **attributes)[1]),
    public=("", "method"),
    samples=lambda: [Sample((randoms(3, 5), 0)), Sample((ints(7, low=0, high=3), -1, True))],
    errors=lambda: [ErrorSample((randoms(3), 1), IndexError, "out of range")],
)


def _infer_topk(
    sizes: Sizes, input: Any, k: Any, *, dim: int, largest: bool, sorted: bool
) -> tuple[TensorType, TensorType]:
    input = require_tensor("topk", "input", input)
    axis = normalise_dim("topk", dim, input.rank)
    count: Dim = dim_value("topk", "k", k)
    size: Dim = input.shape[axis] if input.rank else 1
    message = f"topk: selected index k out of range: given k={count} for dimension {axis} of size {size}"
    hint, size_hint = sizes.hint(count), sizes.hint(size)
    if hint is not None and size_hint is not None and not 0 <= hint <= size_hint:
        raise RuntimeError(message)
    if not (isinstance(count, int) and isinstance(size, int)):
        sizes.equal(dim_min(count, size), count, message)
    shape = (*input.shape[:axis], count, *input.shape[axis + 1 :]) if input.rank else ()
    return TensorType(input.dtype, shape, input.device), TensorType(int64, shape, input.device)


def _evaluate_topk(xp: Any, input: Any, k: int, *, dim: int, largest: bool, sorted: bool) -> tuple[Any, Any]:
    if not input.ndim:
        return xp.array(input, copy=True), xp.zeros((), np.int64)
    order = _order(xp, input, dim, largest)
    order = xp.ascontiguousarray(xp.moveaxis(xp.moveaxis(order, dim, 0)[:k], 0, dim), np.int64)
    return xp.take_along_axis(input, order, dim), order


TOPK = define(
    "topk(input: Tensor, k: Int, dim: int = -1, largest: bool = True, sorted: bool = True)",
    "The k largest (or smallest) elements along a dimension in order, and where they are.",
    infer=_infer_topk,
    evaluate=_evaluate_topk,
    vjp=lambda c, g, input, k, *, dim, largest, sorted: (_scatter_back(c, g, input, dim), None),
    lower=Custom("topk"),
    outputs=2,
    samples=lambda: [
        Sample((randoms(3, 5), 2)),
        Sample((randoms(4, 3), 3, 0, False)),
        Sample((randoms(3), 0)),
        Sample((randoms(), 1)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 4), RuntimeError, "k=4 for dimension 0 of size 3"),
        ErrorSample((randoms(3), 1, 1), IndexError, "out of range"),
    ],
)
