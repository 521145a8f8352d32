"""Running sums, products and extremes along a dimension."""

from typing import Any

import numpy as np

from ..dtypes import DType, int64
from ..sizes import Sizes
from ..types import TensorType
from ._common import array_dtype, cast, ints, normalise_dim, randoms, require_tensor
from ._derive import derived_vjp
from ._op import Custom, Decompose, ErrorSample, F, Op, Sample, VjpContext, define
from .reduce import widened


def _scan(name: str, doc: str, vjp: Any) -> Op:
    def result_dtype(input: DType, dtype: DType | None) -> DType:
        return dtype or (input if input.category >= 2 else int64)

    def infer(sizes: Sizes, input: Any, *, dim: int, dtype: DType | None) -> TensorType:
        input = require_tensor(name, "input", input)
        normalise_dim(name, dim, input.rank)
        return TensorType(result_dtype(input.dtype, dtype), input.shape, input.device)

    def evaluate(xp: Any, input: Any, *, dim: int, dtype: DType | None) -> Any:
        result = result_dtype(array_dtype(input), dtype)
        if not input.ndim:
            return xp.array(input, result.numpy)
        with np.errstate(all="ignore"):
            return getattr(xp, name)(widened(cast(xp, input, result)), axis=dim).astype(result.numpy, copy=False)

    def gradient(c: VjpContext, g: Any, input: Any, *, dim: int, dtype: DType | None) -> tuple[Any]:
        if input.ndim and g.dtype.kind == "c":
            g = F.conj(vjp(c, F.conj(g), input if dtype is None else F.cast(input, dtype=dtype), dim))
        elif input.ndim:
            g = vjp(c, g, input if dtype is None else F.cast(input, dtype=dtype), dim)
        return (g if g.dtype is input.dtype else F.cast(g, dtype=input.dtype),)

    return define(
        f"{name}(input: Tensor, dim: int, *, dtype: dtype | None = None)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=gradient,
        lower=Custom(name),
        public=("", "method"),
        samples=lambda: [
            Sample((randoms(3, 5), 1)),
            Sample((randoms(2, 3, 4), -2)),
            Sample((randoms(), 0)),
            Sample((randoms(0, 3), 0)),
            Sample((np.array([[1.5, 0.0, 2.0, 0.5], [0.0, 3.0, 0.0, 1.0]], np.float32), 1)),
            Sample((ints(7, dtype="int32"), 0), differentiable=False),
            Sample((randoms(3), 0), {"dtype": "float64"}),
        ],
        errors=lambda: [ErrorSample((randoms(3), 1), IndexError, "out of range")],
    )


def _reverse_cumsum(x: Any, dim: int) -> Any:
    return F.flip(F.cumsum(F.flip(x, dim), dim), dim)


def _cumprod_vjp(output: Any, g: Any, x: Any, dim: int) -> Any:
    """Without zeros: the sums of g * output from each place on, divided by x.

    With zeros, that holds before the first one, at z. At z itself the outputs from z on count, each without the factor
    x[z]; after z nothing does.
    """
    zero = F.eq(x, 0)
    zeros_so_far = F.cumsum(zero, dim)
    from_first = F.ge(zeros_so_far, 1)
    first = F.logical_and(zero, F.eq(zeros_so_far, 1))
    after_first = F.logical_and(from_first, F.logical_not(first))
    before = F.cumprod(F.where(from_first, 1.0, x), dim)  # at z: the product of everything before z
    after = F.cumprod(F.where(after_first, x, 1.0), dim)  # from z on: the product of everything after z
    at_first = F.mul(before, _reverse_cumsum(F.where(from_first, F.mul(g, after), 0.0), dim))
    plain = F.div(_reverse_cumsum(F.mul(g, output), dim), F.where(zero, 1.0, x))
    return F.where(from_first, F.where(first, at_first, 0.0), plain)


def _place(x: Any, dim: int, axes: int) -> Any:
    """Positions along a dimension, shaped to stand before `axes` further dimensions."""
    place = F.cumsum(F.full((x.shape[dim],), 1, dtype=int64), 0)
    for _ in range(axes):
        place = F.unsqueeze(place, -1)
    return place


def _cumprod_gradient(g: Any, x: Any, *, dim: int) -> Any:
    """At k the product of what is before k, times the sum over i >= k of g[i] * (product of x from k + 1 to i).

    All those products at once take memory of n * n, but the formula has a derivative at zeros too.
    """
    dim = dim % x.ndim
    after = x.ndim - dim - 1
    row, column = _place(x, dim, after + 1), _place(x, dim, after)  # k and i
    factors = F.where(F.lt(row, column), F.unsqueeze(x, dim), 1.0)
    terms = F.mul(F.cumprod(factors, dim + 1), F.unsqueeze(g, dim))
    total = F.sum(F.where(F.le(row, column), terms, 0.0), dim + 1)
    before = F.cumprod(F.where(F.eq(column, 1), 1.0, F.roll(x, 1, dim)), dim)
    return F.mul(before, total)


def _infer_cumprod_grad(sizes: Sizes, gradient: Any, input: Any, *, dim: int) -> TensorType:
    input = require_tensor("cumprod_grad", "input", input)
    gradient = require_tensor("cumprod_grad", "gradient", gradient)
    normalise_dim("cumprod_grad", dim, input.rank)
    if not input.rank or gradient.dtype is not input.dtype or gradient.rank != input.rank:
        raise RuntimeError(f"cumprod_grad: expected two tensors of one dtype and shape, given {gradient} and {input}")
    for a, b in zip(gradient.shape, input.shape, strict=True):
        sizes.equal(a, b, f"cumprod_grad: expected two tensors of one shape, given {gradient} and {input}")
    return input


def _evaluate_cumprod_grad(xp: Any, gradient: Any, input: Any, *, dim: int) -> Any:
    wide = np.float32 if input.dtype == np.float16 else input.dtype
    x, g = np.moveaxis(input.astype(wide), dim, 0), np.moveaxis(gradient.astype(wide), dim, 0)
    result = xp.empty(x.shape, wide)
    with np.errstate(all="ignore"):
        if xp.all(x != 0):
            reverse = xp.cumsum((g * xp.cumprod(x, axis=0))[::-1], axis=0)[::-1]
            return xp.ascontiguousarray(np.moveaxis(reverse / x, 0, dim), input.dtype)
        following = xp.zeros(x.shape[1:], wide)  # sum over i >= k of g[i] * (product of x from k + 1 to i)
        for k in reversed(range(len(x))):
            following = g[k] + (x[k + 1] * following if k + 1 < len(x) else 0)
            result[k] = following
        if len(x) > 1:
            result[1:] *= xp.cumprod(x[:-1], axis=0)
    return xp.ascontiguousarray(np.moveaxis(result, 0, dim), input.dtype)


CUMPROD_GRAD = define(
    "cumprod_grad(gradient: Tensor, input: Tensor, *, dim: int)",
    "The gradient of cumprod along a dimension.",
    infer=_infer_cumprod_grad,
    evaluate=_evaluate_cumprod_grad,
    vjp=derived_vjp(_cumprod_gradient),
    lower=Decompose(lambda g, x, *, dim: _cumprod_vjp(F.cumprod(x, dim), g, x, dim)),
    samples=lambda: [
        Sample((randoms(3, 5), randoms(3, 5, seed=1)), {"dim": 1}),
        Sample((randoms(2, 3, 4), randoms(2, 3, 4, seed=1)), {"dim": -2}),
        Sample((randoms(4), np.array([1.5, 0.0, 2.0, 0.5], np.float32)), {"dim": 0}),
        Sample((randoms(4), np.array([1.5, 0.0, 0.0, 0.5], np.float32)), {"dim": 0}),
        Sample((randoms(0, 3), randoms(0, 3)), {"dim": 0}),
    ],
    errors=lambda: [ErrorSample((randoms(3), randoms(4)), RuntimeError, "one shape", {"dim": 0})],
)
CUMSUM = _scan(
    "cumsum",
    "The sum of each element and those before it along a dimension.\n\n"
    ">>> ingot.cumsum(ingot.tensor([1, 2, 3]), 0)\n"
    "tensor([1, 3, 6])",
    lambda c, g, x, dim: _reverse_cumsum(g, dim),
)
CUMPROD = _scan(
    "cumprod",
    "The product of each element and those before it along a dimension.\n\n"
    ">>> ingot.cumprod(ingot.tensor([1, 2, 3]), 0)\n"
    "tensor([1, 2, 6])",
    lambda c, g, x, dim: F.cumprod_grad(g, x, dim=dim),
)


# -- running extremes --------------------------------------------------------------------------------------------------


def _running(name: str, doc: str, ufunc: str) -> Op:
    def infer(sizes: Sizes, input: Any, *, dim: int) -> tuple[TensorType, TensorType]:
        input = require_tensor(name, "input", input)
        normalise_dim(name, dim, input.rank)
        return input, TensorType(int64, input.shape, input.device)

    def evaluate(xp: Any, input: Any, *, dim: int) -> tuple[Any, Any]:
        if not input.ndim:
            return xp.array(input, copy=True), xp.zeros((), np.int64)
        with np.errstate(all="ignore"):
            values = getattr(xp, ufunc).accumulate(input, axis=dim)
        chosen = (input == values) | ((input != input) & (values != values))
        shape = [1] * input.ndim
        shape[dim] = -1
        places = xp.where(chosen, xp.arange(input.shape[dim]).reshape(shape), 0)
        return values, xp.maximum.accumulate(places, axis=dim).astype(np.int64, copy=False)

    def vjp(c: VjpContext, g: Any, input: Any, *, dim: int) -> tuple[Any]:
        if g[0] is None or not input.ndim:
            return (g[0],)
        return (F.scatter_add(F.full(tuple(input.shape), 0, dtype=g[0].dtype), dim, c.outputs[1], g[0]),)

    return define(
        f"{name}(input: Tensor, dim: int)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=vjp,
        lower=Custom(name),
        outputs=2,
        public=("", "method"),
        samples=lambda: [
            Sample((randoms(3, 5), 1)),
            Sample((randoms(2, 3, 4), -2)),
            Sample((randoms(), 0)),
            Sample((randoms(0, 3), 0)),
            Sample((ints(9, low=0, high=3), 0), differentiable=False),
            Sample((np.array([1.0, np.nan, 2.0, np.nan], np.float32), 0), differentiable=False),
        ],
        errors=lambda: [ErrorSample((randoms(3), 1), IndexError, "out of range")],
    )


CUMMAX = _running(
    "cummax",
    "The maximum of each element and those before it along a dimension, and where it is (the last of equal ones).\n\n"
    ">>> ingot.cummax(ingot.tensor([1., 3., 2.]), 0)[1]\ntensor([0, 1, 1])",
    "maximum",
)
CUMMIN = _running(
    "cummin",
    "The minimum of each element and those before it along a dimension, and where it is (the last of equal ones).\n\n"
    ">>> ingot.cummin(ingot.tensor([3., 1., 2.]), 0)[1]\ntensor([0, 1, 1])",
    "minimum",
)
