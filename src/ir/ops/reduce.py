"""Reductions: sum, mean, prod, extremes, any and all, variance, logsumexp, norms."""

from typing import Any

import numpy as np

from ..dims import Dim, DimExpr, dim_min, product
from ..dtypes import DType, bool_, int64, uint8
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    array_dtype,
    cast,
    conjugating,
    dim_value,
    ints,
    largest,
    normalise_dim,
    normalise_dims,
    randoms,
    require_tensor,
    shape_text,
)
from ._op import Custom, Decompose, ErrorSample, F, Op, Reduce, Sample, VjpContext, define

_PUBLIC = ("", "method")
_Dims = tuple[int, ...] | int | None


# Results are asked for in row-major order, in which PyTorch has them whatever the order of the input.


def reduced_shape(shape: tuple[Dim, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[Dim, ...]:
    """The shape after a reduction over `dims`."""
    if keepdim:
        return tuple(1 if i in dims else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in dims)


def axes_of(dim: _Dims, rank: int) -> tuple[int, ...]:
    """The dimensions that `dim` names, all for None or (); valid because `infer` has checked them."""
    if dim is None or dim == ():
        return tuple(range(rank))
    dims = (dim,) if isinstance(dim, int) else dim
    return tuple(d % rank for d in dims) if rank else ()


def restore(value: Any, input: Any, dim: _Dims, keepdim: bool) -> Any:
    """A reduction's result (or its gradient) with the reduced dimensions put back with size 1."""
    if not keepdim:
        for axis in sorted(axes_of(dim, input.ndim)):
            value = F.unsqueeze(value, axis)
    return value


def count_of(shape: tuple[Dim, ...], dim: _Dims) -> Dim:
    """The number of elements that each result is made from."""
    return product([shape[axis] for axis in axes_of(dim, len(shape))])


def require_elements(sizes: Sizes, name: str, input: TensorType, dims: tuple[int, ...]) -> None:
    """IndexError where a dimension to be reduced is empty: such a reduction has no identity."""
    for axis in dims:
        size = input.shape[axis]
        message = f"{name}(): Expected reduction dim {axis} to have non-zero size, given {input}"
        if sizes.hint(size) == 0:
            raise IndexError(message)
        if not isinstance(size, int):
            sizes.equal(dim_min(size, 1), 1, message)


def widened(array: Any) -> Any:
    """Half precision is summed in single precision."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


# -- sums --------------------------------------------------------------------------------------------------------------


def _sum_dtype(input: DType, dtype: DType | None) -> DType:
    return dtype or (input if input.category >= 2 else int64)


def _infer_sum(
    sizes: Sizes, input: Any, *, dim: _Dims, keepdim: bool, dtype: DType | None, name: str = "sum"
) -> TensorType:
    input = require_tensor(name, "input", input)
    dims = normalise_dims(name, dim, input.rank)
    return TensorType(_sum_dtype(input.dtype, dtype), reduced_shape(input.shape, dims, keepdim), input.device)


def _evaluate_sum(xp: Any, input: Any, *, dim: _Dims, keepdim: bool, dtype: DType | None) -> Any:
    result = _sum_dtype(array_dtype(input), dtype)
    with np.errstate(all="ignore"):
        value = widened(cast(xp, input, result)).sum(axis=axes_of(dim, input.ndim), keepdims=keepdim)
        return xp.asarray(value, result.numpy, order="C")


def _sum_vjp(c: VjpContext, g: Any, input: Any, *, dim: _Dims, keepdim: bool, dtype: DType | None) -> tuple[Any]:
    g = F.expand(restore(g, input, dim, keepdim), tuple(input.shape))
    return (g if g.dtype is input.dtype else F.cast(g, dtype=input.dtype),)


def _reduction_samples(low: float = -2.0) -> list[Sample]:
    return [
        Sample((randoms(3, 5, low=low),)),
        Sample((randoms(2, 3, 4, low=low), 1)),
        Sample((randoms(2, 3, 4, low=low), -1), {"keepdim": True}),
        Sample((randoms(low=low),)),
        Sample((ints(3, 4),), differentiable=False),
    ]


def _dims_samples() -> list[Sample]:
    return [
        Sample((randoms(2, 3, 4), (0, -1))),
        Sample((randoms(2, 3, 4), (0, 2)), {"keepdim": True}),
        Sample((randoms(2, 3), ())),
        Sample((randoms(0, 3), 0)),
        Sample((randoms(3, 0),)),
    ]


def reduction_errors() -> list[ErrorSample]:
    return [
        ErrorSample((randoms(3, 4), 2), IndexError, r"\[-2, 1\], but got 2"),
        ErrorSample((2.0,), TypeError, "must be Tensor"),
    ]


SUM = define(
    "sum(input: Tensor, dim: ints | None = None, keepdim: bool = False, *, dtype: dtype | None = None)",
    "The sum over `dim` (None: all elements); integers and bools are summed in int64.\n\n"
    ">>> ingot.sum(ingot.tensor([[1., 2.], [3., 4.]]), 0)\ntensor([4., 6.])",
    infer=_infer_sum,
    evaluate=_evaluate_sum,
    vjp=_sum_vjp,
    lower=Reduce("0", "{acc} + {x}"),
    public=_PUBLIC,
    samples=lambda: [
        *_reduction_samples(),
        *_dims_samples(),
        Sample((randoms(3, 2), 0), {"dtype": "float64"}),
        Sample((ints(5) > 0,), differentiable=False),
    ],
    errors=lambda: [*reduction_errors(), ErrorSample((randoms(3, 4), (1, -1)), RuntimeError, "twice")],
)


def mean_dtype(name: str, input: TensorType, dtype: DType | None) -> DType:
    result = dtype or input.dtype
    if result.category < 2:
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Given {result!r}; pass dtype= or convert first"
        )
    return result


def _infer_mean(sizes: Sizes, input: Any, *, dim: _Dims, keepdim: bool, dtype: DType | None) -> TensorType:
    input = require_tensor("mean", "input", input)
    dims = normalise_dims("mean", dim, input.rank)
    return TensorType(mean_dtype("mean", input, dtype), reduced_shape(input.shape, dims, keepdim), input.device)


def _evaluate_mean(xp: Any, input: Any, *, dim: _Dims, keepdim: bool, dtype: DType | None) -> Any:
    result = dtype or array_dtype(input)
    total = _evaluate_sum(xp, widened(cast(xp, input, result)), dim=dim, keepdim=keepdim, dtype=None)
    with np.errstate(all="ignore"):
        return xp.asarray(total / total.dtype.type(count_of(input.shape, dim)), result.numpy, order="C")


def _mean_vjp(c: VjpContext, g: Any, input: Any, *, dim: _Dims, keepdim: bool, dtype: DType | None) -> tuple[Any]:
    return _sum_vjp(c, F.div(g, count_of(input.shape, dim)), input, dim=dim, keepdim=keepdim, dtype=dtype)


MEAN = define(
    "mean(input: Tensor, dim: ints | None = None, keepdim: bool = False, *, dtype: dtype | None = None)",
    "The mean over `dim` (None: all elements) of a floating-point tensor; NaN where there are no elements.\n\n"
    ">>> ingot.mean(ingot.tensor([[1., 5.], [4., 2.]]), 1)\n"
    "tensor([3., 3.])",
    infer=_infer_mean,
    evaluate=_evaluate_mean,
    vjp=_mean_vjp,
    lower=Reduce("0", "{acc} + {x}", "{acc} / {n}"),
    public=_PUBLIC,
    samples=lambda: [*(s for s in _reduction_samples() if s.differentiable), *_dims_samples()],
    errors=lambda: [*reduction_errors(), ErrorSample((ints(3),), RuntimeError, "could not infer output dtype")],
)


def _infer_sum_to_size(sizes: Sizes, input: Any, size: tuple[Any, ...]) -> TensorType:
    input = require_tensor("sum_to_size", "input", input)
    wanted = tuple(dim_value("sum_to_size", "size", s) for s in size)
    message = f"sum_to_size: size {shape_text(wanted)} does not broadcast to the shape of {input}"
    extra = input.rank - len(wanted)
    if extra < 0:
        raise RuntimeError(message)
    for target, existing in zip(wanted, input.shape[extra:], strict=True):
        if target == 1 or target == existing:
            continue
        if sizes.hint(target) == 1 != sizes.hint(existing):
            sizes.equal(target, 1, message)
        elif sizes.hint(target) is not None and sizes.hint(existing) is not None:
            sizes.equal(target, existing, message)
        else:
            sizes.equal(sizes.broadcast(target, existing, message), existing, message)
    return TensorType(input.dtype, wanted, input.device)


def _evaluate_sum_to_size(xp: Any, input: Any, size: tuple[int, ...]) -> Any:
    extra = input.ndim - len(size)
    axes = (*range(extra), *(i + extra for i, s in enumerate(size) if s == 1 and input.shape[i + extra] != 1))
    if not axes:
        return input
    with np.errstate(all="ignore"):
        total = widened(input).sum(axis=axes, keepdims=True)
    return xp.asarray(total, input.dtype).reshape(size)


def _decompose_sum_to_size(input: Any, size: Any) -> Any:
    wanted = [_size_of(s) for s in size]
    extra = input.ndim - len(wanted)
    if extra:
        input = F.sum(input, tuple(range(extra)), dtype=input.dtype)
    axes = tuple(i for i, (a, b) in enumerate(zip(wanted, input.shape, strict=True)) if a == 1 and b != 1)
    if axes:
        input = F.sum(input, axes, True, dtype=input.dtype)
    for axis, target in enumerate(wanted):
        existing = input.shape[axis]
        if existing != target:
            # Known at run time only: the target is the size itself (add each to its place) or 1 (all to place 0).
            place = F.remainder(F.arange(0, existing, 1), target)
            shape = (*input.shape[:axis], target, *input.shape[axis + 1 :])
            input = F.index_add(F.full(shape, 0, dtype=input.dtype), axis, place, input)
    return input


def _size_of(value: Any) -> Dim:
    return value if isinstance(value, (int, DimExpr)) else value.builder.resolve(value.value.type).value


SUM_TO_SIZE = define(
    "sum_to_size(input: Tensor, *size: Size)",
    "The sum over the dimensions along which `size` was broadcast to the input's shape.\n\n"
    ">>> ingot.ones(2, 3).sum_to_size(1, 3)\n"
    "tensor([[2., 2., 2.]])",
    infer=_infer_sum_to_size,
    evaluate=_evaluate_sum_to_size,
    vjp=lambda c, g, input, size: (F.expand(g, tuple(input.shape)), None),
    lower=Decompose(_decompose_sum_to_size),
    public=("method",),
    samples=lambda: [
        Sample((randoms(2, 3, 4), 3, 1)),
        Sample((randoms(2, 3), ())),
        Sample((randoms(2, 3), (2, 3))),
        Sample((randoms(1, 3), (1, 1))),
        Sample((randoms(0, 3), (1, 3))),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 3), 2, 2), RuntimeError, r"\[2, 2\] does not broadcast"),
        ErrorSample((randoms(3), 1, 1, 3), RuntimeError, "does not broadcast"),
    ],
)


# -- products ----------------------------------------------------------------------------------------------------------


def _infer_prod(sizes: Sizes, input: Any, *, dim: int | None, keepdim: bool, dtype: DType | None) -> TensorType:
    return _infer_sum(sizes, input, dim=dim, keepdim=keepdim, dtype=dtype, name="prod")


def _evaluate_prod(xp: Any, input: Any, *, dim: int | None, keepdim: bool, dtype: DType | None) -> Any:
    result = _sum_dtype(array_dtype(input), dtype)
    with np.errstate(all="ignore"):
        value = widened(cast(xp, input, result)).prod(axis=axes_of(dim, input.ndim), keepdims=keepdim)
        return xp.asarray(value, result.numpy, order="C")


@conjugating
def _prod_vjp(c: VjpContext, g: Any, input: Any, *, dim: int | None, keepdim: bool, dtype: DType | None) -> tuple[Any]:
    x = input if dtype is None else F.cast(input, dtype=dtype)
    if dim is None or not input.ndim:
        others = F.reshape(_product_of_others(F.reshape(x, (-1,) if input.ndim else (1,)), 0), tuple(input.shape))
    else:
        others = _product_of_others(x, dim)
    g = F.mul(restore(g, input, dim, keepdim), others)
    return (g if g.dtype is input.dtype else F.cast(g, dtype=input.dtype),)


def _product_of_others(x: Any, dim: int) -> Any:
    """For each element the product of all others along a dimension, exact also where some are zero."""
    return F.mul(exclusive_cumprod(x, dim), F.flip(exclusive_cumprod(F.flip(x, dim), dim), dim))


def exclusive_cumprod(x: Any, dim: int) -> Any:
    """For each element the product of those before it along a dimension."""
    axis = dim % x.ndim
    ones = F.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), 1, dtype=x.dtype)
    return F.slice(F.cumprod(F.cat((ones, x), axis), axis), 0, x.shape[axis], dim=axis)


PROD = define(
    "prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: dtype | None = None)",
    "The product over `dim` (None: all elements); integers and bools are multiplied in int64.\n\n"
    ">>> ingot.prod(ingot.tensor([[1., 5.], [4., 2.]]), 1)\n"
    "tensor([5., 8.])",
    infer=_infer_prod,
    evaluate=_evaluate_prod,
    vjp=_prod_vjp,
    lower=Reduce("1", "{acc} * {x}"),
    public=_PUBLIC,
    samples=lambda: [
        *_reduction_samples(),
        Sample((np.array([[1.5, 0.0, 2.0], [0.0, 3.0, 0.0]], np.float32), 1)),
        Sample((randoms(0, 3), 0)),
    ],
    errors=reduction_errors,
)


# -- truth -------------------------------------------------------------------------------------------------------------


def _truth(name: str, doc: str, init: str, combine: str) -> Op:
    def infer(sizes: Sizes, input: Any, *, dim: _Dims, keepdim: bool) -> TensorType:
        input = require_tensor(name, "input", input)
        dims = normalise_dims(name, dim, input.rank)
        result = uint8 if input.dtype is uint8 else bool_
        return TensorType(result, reduced_shape(input.shape, dims, keepdim), input.device)

    def evaluate(xp: Any, input: Any, *, dim: _Dims, keepdim: bool) -> Any:
        value = getattr(xp, name)(input, axis=axes_of(dim, input.ndim), keepdims=keepdim)
        return xp.asarray(value, np.uint8 if input.dtype == np.uint8 else np.bool_, order="C")

    return define(
        f"{name}(input: Tensor, dim: ints | None = None, keepdim: bool = False)",
        doc,
        infer=infer,
        evaluate=evaluate,
        lower=Reduce(init, combine, map="{x} != 0"),
        public=_PUBLIC,
        samples=lambda: [
            Sample((ints(3, 4) > 0,)),
            Sample((ints(3, 4), 1)),
            Sample((ints(2, 3, 4, low=0, high=2), (0, 2)), {"keepdim": True}),
            Sample((randoms(0),)),
            Sample((ints(4, dtype="uint8", low=0),)),
        ],
        errors=reduction_errors,
    )


ANY = _truth(
    "any",
    "Whether some element over `dim` (None: all) is nonzero.\n\n"
    ">>> ingot.any(ingot.tensor([[0, 1], [0, 0]]), 1)\n"
    "tensor([ True, False])",
    "False",
    "{acc} | {x}",
)
ALL = _truth(
    "all",
    "Whether every element over `dim` (None: all) is nonzero.\n\n"
    ">>> ingot.all(ingot.tensor([[1, 1], [0, 1]]), 1)\n"
    "tensor([ True, False])",
    "True",
    "{acc} & {x}",
)


# -- extremes ----------------------------------------------------------------------------------------------------------


def _extreme(name: str, doc: str, function: str, init: str) -> Op:
    def infer(sizes: Sizes, input: Any, *, dim: _Dims, keepdim: bool) -> TensorType:
        input = require_tensor(name, "input", input)
        dims = normalise_dims(name, dim, input.rank)
        if dim in (None, ()) and any(sizes.hint(d) == 0 for d in input.shape):
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0, given {input}. Specify the "
                "reduction dim with the 'dim' argument."
            )
        require_elements(sizes, name, input, dims)
        return TensorType(input.dtype, reduced_shape(input.shape, dims, keepdim), input.device)

    def evaluate(xp: Any, input: Any, *, dim: _Dims, keepdim: bool) -> Any:
        with np.errstate(all="ignore"):
            return xp.asarray(
                getattr(xp, function[:3])(input, axis=axes_of(dim, input.ndim), keepdims=keepdim), order="C"
            )

    def vjp(c: VjpContext, g: Any, input: Any, *, dim: _Dims, keepdim: bool) -> tuple[Any]:
        # Elements that are equal to the extreme share its gradient evenly.
        chosen = F.cast(F.eq(input, restore(c.output, input, dim, keepdim)), dtype=g.dtype)
        share = F.div(restore(g, input, dim, keepdim), F.sum(chosen, axes_of(dim, input.ndim), True))
        return (F.mul(chosen, share),)

    return define(
        f"{name}(input: Tensor, dim: ints = (), keepdim: bool = False)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=vjp,
        lower=Reduce(init, f"{function}({{acc}}, {{x}})"),
        public=_PUBLIC,
        samples=lambda: [
            *_reduction_samples(),
            Sample((randoms(2, 3, 4), (0, -1))),
            Sample((np.array([1.0, np.nan, 3.0], np.float32),), differentiable=False),
            Sample((randoms(0, 3), 1), differentiable=False),
        ],
        errors=lambda: [*reduction_errors(), ErrorSample((randoms(0, 3), 0), IndexError, "non-zero size")],
    )


AMAX = _extreme(
    "amax",
    "The maximum over `dim` (none: all elements); NaN where an element is NaN.\n\n"
    ">>> ingot.amax(ingot.tensor([[1., 5.], [4., 2.]]), 1)\n"
    "tensor([5., 4.])",
    "maximum",
    "-inf",
)
AMIN = _extreme(
    "amin",
    "The minimum over `dim` (none: all elements); NaN where an element is NaN.\n\n"
    ">>> ingot.amin(ingot.tensor([[1., 5.], [4., 2.]]), 1)\n"
    "tensor([1., 2.])",
    "minimum",
    "inf",
)


def _evaluate_peak(xp: Any, input: Any, *, dim: _Dims, keepdim: bool) -> Any:
    with np.errstate(all="ignore"):
        return xp.asarray(largest(input, axes_of(dim, input.ndim), keepdim, -np.inf))


PEAK = define(
    "peak(input: Tensor, dim: ints = (), keepdim: bool = False)",
    "The maximum of floats over `dim`, -inf where there are none: what softmax subtracts.\n\n"
    "As what is subtracted cancels, its derivative is taken to be zero.",
    infer=lambda sizes, input, *, dim, keepdim: TensorType(
        input.dtype, reduced_shape(input.shape, normalise_dims("peak", dim, input.rank), keepdim), input.device
    ),
    evaluate=_evaluate_peak,
    vjp=lambda c, g, input, *, dim, keepdim: (None,),
    lower=Reduce("-inf", "maximum({acc}, {x})"),
    samples=lambda: [
        Sample((randoms(3, 5), 1, True), differentiable=False),
        Sample((randoms(0, 3), 0), differentiable=False),
        Sample((np.array([1.0, np.nan, 3.0], np.float32),), differentiable=False),
    ],
    errors=lambda: [ErrorSample((randoms(3), 1), IndexError, "out of range")],
)


def _position(xp: Any, function: str, input: Any, axis: int | None, keepdim: bool) -> Any:
    if not input.ndim:
        return xp.zeros((), np.int64)
    return xp.asarray(getattr(xp, function)(input, axis=axis, keepdims=keepdim), np.int64)


def _argument(name: str, doc: str) -> Op:
    def infer(sizes: Sizes, input: Any, *, dim: int | None, keepdim: bool) -> TensorType:
        input = require_tensor(name, "input", input)
        if input.dtype is bool_:
            raise RuntimeError(f"{name}: bool tensors are not supported, given {input}")
        dims = normalise_dims(name, dim, input.rank)
        require_elements(sizes, name, input, dims)
        return TensorType(int64, reduced_shape(input.shape, dims, keepdim), input.device)

    return define(
        f"{name}(input: Tensor, dim: int | None = None, keepdim: bool = False)",
        doc,
        infer=infer,
        evaluate=lambda xp, input, *, dim, keepdim: _position(xp, name, input, dim, keepdim),
        lower=Custom(name),
        public=_PUBLIC,
        samples=lambda: [
            *_reduction_samples(),
            Sample((np.array([1.0, 3.0, 3.0, np.nan, np.nan], np.float32),)),
            Sample((ints(3, 7, low=0, high=3), 1)),
        ],
        errors=lambda: [*reduction_errors(), ErrorSample((randoms(0, 3), 0), IndexError, "non-zero size")],
    )


ARGMAX = _argument(
    "argmax",
    "The index of the maximum (the first of equal ones; NaN counts as largest) along `dim`.\n\n"
    ">>> ingot.argmax(ingot.tensor([[1., 5.], [4., 2.]]), 1)\n"
    "tensor([1, 0])",
)
ARGMIN = _argument(
    "argmin",
    "The index of the minimum (the first of equal ones; NaN counts as smallest) along `dim`.\n\n"
    ">>> ingot.argmin(ingot.tensor([[1., 5.], [4., 2.]]), 1)\n"
    "tensor([0, 1])",
)


def _extreme_with_index(name: str, doc: str, function: str) -> Op:
    def infer(sizes: Sizes, input: Any, *, dim: int, keepdim: bool) -> tuple[TensorType, TensorType]:
        input = require_tensor(name, "input", input)
        axis = normalise_dim(name, dim, input.rank)
        dims = (axis,) if input.rank else ()
        require_elements(sizes, name, input, dims)
        shape = reduced_shape(input.shape, dims, keepdim)
        return TensorType(input.dtype, shape, input.device), TensorType(int64, shape, input.device)

    def evaluate(xp: Any, input: Any, *, dim: int, keepdim: bool) -> tuple[Any, Any]:
        if not input.ndim:
            return xp.array(input, copy=True), xp.zeros((), np.int64)
        index = _position(xp, function, input, dim, True)
        value = xp.take_along_axis(input, index, dim)
        return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))

    def vjp(c: VjpContext, g: Any, input: Any, *, dim: int, keepdim: bool) -> tuple[Any]:
        if g[0] is None:
            return (None,)
        if not input.ndim:
            return (g[0],)
        index, gradient = (restore(v, input, dim, keepdim) for v in (c.outputs[1], g[0]))
        return (F.scatter_add(F.full(tuple(input.shape), 0, dtype=gradient.dtype), dim, index, gradient),)

    return define(
        f"{name}(input: Tensor, dim: int, keepdim: bool = False)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=vjp,
        lower=Custom(name),
        outputs=2,
        samples=lambda: [
            Sample((randoms(3, 5), 1)),
            Sample((randoms(2, 3, 4), -2, True)),
            Sample((randoms(), 0)),
            Sample((np.array([[1.0, np.nan], [2.0, 0.0]], np.float32), 1), differentiable=False),
            Sample((ints(3, 4), 0), differentiable=False),
        ],
        errors=lambda: [
            ErrorSample((randoms(3), 1), IndexError, "out of range"),
            ErrorSample((randoms(0, 3), 0), IndexError, "non-zero size"),
        ],
    )


MAX_DIM = _extreme_with_index("max_dim", "The maxima along a dimension, and their indices.", "argmax")
MIN_DIM = _extreme_with_index("min_dim", "The minima along a dimension, and their indices.", "argmin")
