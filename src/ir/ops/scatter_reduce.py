"""Elements of one tensor combined into places of another: scatter_reduce, and logcumsumexp's running sums."""

from typing import Any

import numpy as np

from ..sizes import Sizes
from ..types import TensorType
from ._common import floating, ints, normalise_dim, randoms, require_tensor
from ._derive import derived_vjp
from ._op import Custom, ErrorSample, F, Sample, VjpContext, define
from .gather import _along, _infer_scatter, _one_dim, positions
from .scan import _place

_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _infer(sizes: Sizes, input: Any, index: Any, src: Any, *, dim: int, reduce: str, include_self: bool) -> TensorType:
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"scatter_reduce: reduce argument must be one of {', '.join(_REDUCTIONS)}, got {reduce}")
    src = require_tensor("scatter_reduce", "src", src)
    return _infer_scatter(sizes, input, index, src, dim=dim, name="scatter_reduce")


_START = {"sum": 0, "mean": 0, "prod": 1}


def _evaluate(xp: Any, input: Any, index: Any, src: Any, *, dim: int, reduce: str, include_self: bool) -> Any:
    result = xp.array(input, copy=True, order="C")
    if not index.size:
        return result
    target, where = _one_dim(result), _one_dim(index)
    positions("scatter_reduce", where, target.shape[dim], dim)
    values = _one_dim(src)[tuple(slice(n) for n in where.shape)]
    place = _along(xp, where, dim)
    with np.errstate(all="ignore"):
        if not include_self:
            target[place] = _START.get(reduce, values)
        ufunc = {"sum": xp.add, "mean": xp.add, "prod": xp.multiply, "amax": xp.maximum, "amin": xp.minimum}[reduce]
        if target.dtype == bool and reduce in ("sum", "prod"):
            ufunc = xp.logical_or if reduce == "sum" else xp.logical_and
        ufunc.at(target, place, values)
        if reduce == "mean":
            count = xp.full(target.shape, int(include_self), np.int64)
            xp.add.at(count, place, 1)
            count = np.maximum(count, 1)
            if target.dtype.kind in "fc":
                target /= count.astype(target.dtype)
            else:
                target[...] = np.floor_divide(target, count)
    return result


def _count(c: VjpContext, input: Any, index: Any, g: Any, dim: int, include_self: bool) -> Any:
    start = F.full(tuple(input.shape), int(include_self), dtype=g.dtype)
    return F.scatter_add(start, dim, index, F.full(tuple(index.shape), 1, dtype=g.dtype))


def _vjp(
    c: VjpContext, g: Any, input: Any, index: Any, src: Any, *, dim: int, reduce: str, include_self: bool
) -> tuple[Any, Any, Any]:
    part = src
    if tuple(src.shape) != tuple(index.shape):
        for d in range(index.ndim):
            part = F.slice(part, 0, index.shape[d], dim=d)
    untouched = F.eq(_count(c, input, index, g, dim, False), 0)
    if reduce in ("sum", "mean"):
        if reduce == "mean":
            g = F.div(g, F.clamp(_count(c, input, index, g, dim, include_self), 1))
        for_input, for_part = g, F.gather(g, dim, index)
    elif reduce == "prod":
        if _has_zero(input, part):
            raise RuntimeError("scatter_reduce: the gradient of 'prod' is not supported where a factor is zero")
        scaled = F.mul(g, c.output)
        for_input, for_part = F.div(scaled, input), F.div(F.gather(scaled, dim, index), part)
    else:
        # Shared by all elements that are the extreme.
        of_input = F.cast(F.eq(input, c.output), dtype=g.dtype)
        of_part = F.cast(F.eq(part, F.gather(c.output, dim, index)), dtype=g.dtype)
        start = of_input if include_self else F.mul(of_input, 0.0)
        shared = F.div(g, F.clamp(F.scatter_add(start, dim, index, of_part), 1))
        for_input, for_part = F.mul(shared, of_input), F.mul(of_part, F.gather(shared, dim, index))
    if not include_self:
        for_input = F.where(untouched, g, 0.0)
    elif reduce in ("prod", "amax", "amin"):
        for_input = F.where(untouched, g, for_input)
    if tuple(src.shape) != tuple(index.shape):
        pads: list[int] = []
        for d in reversed(range(src.ndim)):
            pads += [0, src.shape[d] - index.shape[d]]
        for_part = F.pad(for_part, tuple(pads))
    return for_input, None, for_part


def _has_zero(*tensors: Any) -> bool:
    """Whether an element is zero, where the tensors are at hand (in a graph it is the user's to know)."""
    arrays = [getattr(t, "_array", getattr(t, "array", None)) for t in tensors]
    return any(a is not None and bool((a == 0).any()) for a in arrays)


SCATTER_REDUCE = define(
    "scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True)",
    "A copy of the input with elements of `src` combined ('sum', 'prod', 'mean', 'amax', 'amin') into positions along "
    "`dim`; without `include_self` the input's own elements there do not count.\n\n"
    ">>> ingot.zeros(3).scatter_reduce(0, ingot.tensor([1, 1]), ingot.tensor([5., 7.]), 'amax')\n"
    "tensor([0., 7., 0.])",
    infer=_infer,
    evaluate=_evaluate,
    vjp=_vjp,
    lower=Custom("scatter_reduce"),
    public=("", "method"),
    inplace=True,
    samples=lambda: [
        Sample((randoms(3, 5), 1, ints(3, 4, low=0, high=5), randoms(3, 4, seed=1), "sum")),
        Sample((randoms(3, 5), 0, ints(4, 5, low=0, high=3), randoms(4, 5, seed=1), "mean")),
        Sample((randoms(5), 0, ints(7, low=0, high=5), randoms(7, seed=1), "prod")),
        Sample((randoms(5), 0, ints(7, low=0, high=5), randoms(7, seed=1), "amax")),
        Sample((randoms(5), 0, ints(7, low=0, high=4), randoms(7, seed=1), "amin"), {"include_self": False}),
        Sample((randoms(5), 0, ints(7, low=0, high=4), randoms(7, seed=1), "mean"), {"include_self": False}),
        Sample((ints(5), 0, ints(7, low=0, high=5), ints(7, seed=1), "mean"), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 0, ints(2, low=0, high=2), randoms(2), "median"), RuntimeError, "reduce argument"),
        ErrorSample((randoms(3), 0, ints(2, low=3, high=5), randoms(2), "sum"), RuntimeError, "out of bounds"),
    ],
)


# -- logcumsumexp ------------------------------------------------------------------------------------------------------


def _infer_logcumsumexp(sizes: Sizes, input: Any, *, dim: int) -> TensorType:
    input = require_tensor("logcumsumexp", "input", input)
    normalise_dim("logcumsumexp", dim, input.rank)
    if input.dtype.category != 2:
        raise RuntimeError(f"logcumsumexp: expected a floating-point tensor, given {input}")
    return TensorType(floating(input.dtype), input.shape, input.device)


def _evaluate_logcumsumexp(xp: Any, input: Any, *, dim: int) -> Any:
    if not input.ndim:
        return xp.array(input, copy=True)
    wide = input.astype(np.float32) if input.dtype == np.float16 else input
    with np.errstate(all="ignore"):
        return xp.logaddexp.accumulate(wide, axis=dim).astype(input.dtype, copy=False)


def _gradient_in_pairs(g: Any, x: Any, *, dim: int) -> Any:
    """exp(x[k] - out[k]) times the sum over i >= k of g[i] * exp(out[k] - out[i]), with memory of n * n."""
    dim = dim % x.ndim
    after = x.ndim - dim - 1
    row, column = _place(x, dim, after + 1), _place(x, dim, after)
    out = F.logcumsumexp(x, dim)
    exponent = F.sub(F.unsqueeze(out, dim + 1), F.unsqueeze(out, dim))
    factors = F.exp(F.where(F.le(row, column), exponent, -np.inf))
    return F.mul(F.exp(F.sub(x, out)), F.sum(F.mul(factors, F.unsqueeze(g, dim)), dim + 1))


def _evaluate_gradient(xp: Any, gradient: Any, input: Any, *, dim: int) -> Any:
    wide = np.float32 if input.dtype == np.float16 else input.dtype
    x, g = np.moveaxis(input.astype(wide), dim, 0), np.moveaxis(gradient.astype(wide), dim, 0)
    result, total = xp.empty(x.shape, wide), xp.zeros(x.shape[1:], wide)
    with np.errstate(all="ignore"):
        out = np.logaddexp.accumulate(x, axis=0) if len(x) else x
        for k in reversed(range(len(x))):
            total = g[k] + (np.exp(out[k] - out[k + 1]) * total if k + 1 < len(x) else 0)
            result[k] = np.exp(x[k] - out[k]) * total
    return xp.ascontiguousarray(np.moveaxis(result, 0, dim), input.dtype)


def _infer_gradient(sizes: Sizes, gradient: Any, input: Any, *, dim: int) -> TensorType:
    if not isinstance(gradient, TensorType) or gradient.dtype is not input.dtype or gradient.rank != input.rank:
        raise RuntimeError(f"logcumsumexp_grad: expected tensors of one dtype and shape, given {gradient} and {input}")
    for a, b in zip(gradient.shape, input.shape, strict=True):
        sizes.equal(a, b, f"logcumsumexp_grad: expected tensors of one shape, given {gradient} and {input}")
    return _infer_logcumsumexp(sizes, input, dim=dim)


define(
    "logcumsumexp(input: Tensor, dim: int)",
    "The logarithm of the sum of the exponentials of each element and those before it, without overflow.\n\n"
    ">>> ingot.logcumsumexp(ingot.tensor([0., 0.]), 0)\n"
    "tensor([0.0000, 0.6931])",
    infer=_infer_logcumsumexp,
    evaluate=_evaluate_logcumsumexp,
    vjp=lambda c, g, x, *, dim: (F.logcumsumexp_grad(g, x, dim=dim) if x.ndim else g,),
    lower=Custom("logcumsumexp"),
    public=("", "method"),
    samples=lambda: [
        Sample((randoms(3, 5), 1)),
        Sample((randoms(2, 3, 4), -2)),
        Sample((randoms(), 0)),
        Sample((randoms(0, 3), 0)),
        Sample((randoms(5, low=-200, high=200), 0)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 1), IndexError, "out of range"),
        ErrorSample((ints(3), 0), RuntimeError, "floating-point"),
    ],
)
define(
    "logcumsumexp_grad(gradient: Tensor, input: Tensor, *, dim: int)",
    "The gradient of logcumsumexp along a dimension.",
    infer=_infer_gradient,
    evaluate=_evaluate_gradient,
    vjp=derived_vjp(_gradient_in_pairs),
    lower=Custom("logcumsumexp_grad"),
    samples=lambda: [
        Sample((randoms(3, 5), randoms(3, 5, seed=1)), {"dim": 1}),
        Sample((randoms(2, 3, 4), randoms(2, 3, 4, seed=1)), {"dim": -2}),
        Sample((randoms(0, 3), randoms(0, 3)), {"dim": 0}),
    ],
    errors=lambda: [ErrorSample((randoms(3), randoms(4)), RuntimeError, "one shape", {"dim": 0})],
)
