"""Weighted sums of neighbours along one dimension, which all kinds of interpolation are made of, and their gradient."""

from typing import Any

import numpy as np

from ..sizes import Sizes
from ..types import TensorType
from ._common import dim_of, dim_value, normalise_dim, randoms, require_tensor
from ._op import Decompose, ErrorSample, F, Sample, VjpContext, define

__all__ = ["RESAMPLE", "RESAMPLE_GRAD", "weighted_neighbours"]


def _require_table(name: str, sizes: Sizes, start: Any, weight: Any, taps: int) -> None:
    start, weight = require_tensor(name, "start", start), require_tensor(name, "weight", weight)
    if start.rank != 1 or start.dtype.kind != "i" or weight.rank != 2 or taps < 1:
        raise RuntimeError(
            f"{name}: expected start to be a vector of ints and weight a matrix with a row of taps (at least 1) for "
            f"each, given {start}, {weight} and taps={taps}"
        )
    sizes.equal(start.shape[0], weight.shape[0], f"{name}: start {start} and weight {weight} differ in length")
    sizes.equal(weight.shape[1], taps, f"{name}: expected {taps} columns of weights, given {weight}")


def _infer(sizes: Sizes, input: Any, start: Any, weight: Any, *, taps: int, dim: int) -> TensorType:
    input = require_tensor("resample", "input", input)
    _require_table("resample", sizes, start, weight, taps)
    axis = normalise_dim("resample", dim, input.rank)
    if weight.dtype is not input.dtype or not input.dtype.is_floating_point:
        raise RuntimeError(
            f"resample: expected input and weight of one floating-point type, given {input} and {weight}"
        )
    return TensorType(input.dtype, (*input.shape[:axis], start.shape[0], *input.shape[axis + 1 :]), input.device)


def _column(weight: Any, tap: int, behind: int) -> Any:
    """One weight for each place, with dimensions of size 1 behind."""
    return weight[:, tap].reshape(-1, *(1,) * behind)


def _evaluate(xp: Any, input: Any, start: Any, weight: Any, *, taps: int, dim: int) -> Any:
    axis = dim % input.ndim
    total: Any = None
    with np.errstate(all="ignore"):
        for tap in range(taps):
            places = xp.clip(start + tap, 0, input.shape[axis] - 1)
            part = xp.take(input, places, axis) * _column(weight, tap, input.ndim - axis - 1)
            total = part if total is None else total + part
    return xp.asarray(total, input.dtype)


def _weight_column(weight: Any, tap: int, behind: int) -> Any:
    column = F.select(weight, tap, dim=1)
    for _ in range(behind):
        column = F.unsqueeze(column, -1)
    return column


def _places(start: Any, tap: int, size: Any) -> Any:
    return F.minimum(F.maximum(F.add(start, tap), 0), size - 1)


def weighted_neighbours(input: Any, start: Any, weight: Any, *, taps: int, dim: int) -> Any:
    """`resample` in public ops: one lookup for each weight."""
    axis = dim % input.ndim
    total: Any = None
    for tap in range(taps):
        rows = F.index_select(input, axis, _places(start, tap, input.shape[axis]))
        part = F.mul(rows, _weight_column(weight, tap, input.ndim - axis - 1))
        total = part if total is None else F.add(total, part)
    return total


def _vjp(c: VjpContext, g: Any, input: Any, start: Any, weight: Any, *, taps: int, dim: int) -> tuple[Any, ...]:
    axis = dim % input.ndim
    parts: Any = None
    if c.needs[2]:
        others = tuple(i for i in range(input.ndim) if i != axis)
        parts = []
        for tap in range(taps):
            product = F.mul(g, F.index_select(input, axis, _places(start, tap, input.shape[axis])))
            parts.append(F.sum(product, others) if others else product)
        parts = F.stack(tuple(parts), 1)
    back = F.resample_grad(g, start, weight, input.shape[axis], taps=taps, dim=dim) if c.needs[0] else None
    return back, None, parts


def _samples() -> list[Sample]:
    start = np.array([-1, 0, 3, 5, 2], np.int64)
    return [
        Sample((randoms(2, 6, 3), start, randoms(5, 2, seed=1), 2, 1)),
        Sample((randoms(3, 6), start, randoms(5, 3, seed=1), 3, -1)),
        Sample((randoms(4), start[:0], randoms(0, 2), 2, 0)),
    ]


RESAMPLE = define(
    "resample(input: Tensor, start: Tensor, weight: Tensor, taps: int, dim: int)",
    "Weighted sums of neighbours along a dimension: element i is the sum over t of weight[i, t] times the input's "
    "element start[i] + t, or the first or last element where that is outside.\n\nEach kind of interpolation is such a "
    "sum for each dimension.",
    infer=_infer,
    evaluate=_evaluate,
    vjp=_vjp,
    lower=Decompose(weighted_neighbours),
    samples=_samples,
    errors=lambda: [
        ErrorSample((randoms(3), randoms(2), randoms(2, 2), 2, 0), RuntimeError, "vector of ints"),
        ErrorSample((randoms(3), np.array([0]), randoms(2, 2), 2, 0), RuntimeError, "differ in length"),
        ErrorSample((randoms(3), np.array([0]), randoms(1, 2), 3, 0), RuntimeError, "columns of weights"),
    ],
)


# -- gradient ----------------------------------------------------------------------------------------------------------


def _infer_grad(sizes: Sizes, gradient: Any, start: Any, weight: Any, size: Any, *, taps: int, dim: int) -> TensorType:
    gradient = require_tensor("resample_grad", "gradient", gradient)
    _require_table("resample_grad", sizes, start, weight, taps)
    axis = normalise_dim("resample_grad", dim, gradient.rank)
    message = f"resample_grad: the gradient {gradient} has not the places of {start} in dimension {axis}"
    sizes.equal(gradient.shape[axis], start.shape[0], message)
    extent = dim_value("resample_grad", "size", size)
    return TensorType(gradient.dtype, (*gradient.shape[:axis], extent, *gradient.shape[axis + 1 :]), gradient.device)


def _evaluate_grad(xp: Any, gradient: Any, start: Any, weight: Any, size: int, *, taps: int, dim: int) -> Any:
    axis = dim % gradient.ndim
    moved = xp.moveaxis(gradient, axis, 0)
    total = xp.zeros((size, *moved.shape[1:]), gradient.dtype)
    with np.errstate(all="ignore"):
        for tap in range(taps):
            xp.add.at(total, xp.clip(start + tap, 0, size - 1), moved * _column(weight, tap, gradient.ndim - 1))
    return xp.ascontiguousarray(xp.moveaxis(total, 0, axis))


def _decompose_grad(gradient: Any, start: Any, weight: Any, size: Any, *, taps: int, dim: int) -> Any:
    axis = dim % gradient.ndim
    shape = (*gradient.shape[:axis], size, *gradient.shape[axis + 1 :])
    total = F.full(shape, 0.0, dtype=gradient.dtype)
    for tap in range(taps):
        part = F.mul(gradient, _weight_column(weight, tap, gradient.ndim - axis - 1))
        total = F.index_add(total, axis, _places(start, tap, dim_of(size)), part)
    return total


def _vjp_grad(
    c: VjpContext, g: Any, gradient: Any, start: Any, weight: Any, size: Any, *, taps: int, dim: int
) -> tuple[Any, ...]:
    back = F.resample(g, start, weight, taps=taps, dim=dim) if c.needs[0] else None
    parts = _vjp(VjpContext((), (False, False, True, False)), gradient, g, start, weight, taps=taps, dim=dim)[2]
    return back, None, parts if c.needs[2] else None, None


RESAMPLE_GRAD = define(
    "resample_grad(gradient: Tensor, start: Tensor, weight: Tensor, size: Int, taps: int, dim: int)",
    "The gradient of resample's input, which has `size` elements along the dimension.",
    infer=_infer_grad,
    evaluate=_evaluate_grad,
    vjp=_vjp_grad,
    lower=Decompose(_decompose_grad),
    samples=lambda: [
        Sample((randoms(2, 5, 3), np.array([-1, 0, 3, 5, 2]), randoms(5, 2, seed=1), 6, 2, 1)),
        Sample((randoms(3, 5), np.array([-1, 0, 3, 5, 2]), randoms(5, 3, seed=1), 7, 3, -1)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), np.array([0]), randoms(1, 2), 4, 2, 0), RuntimeError, "has not the places")
    ],
)
