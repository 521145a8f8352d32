"""Reductions made of others: variance, standard deviation, logsumexp, vector norms."""

import math
from typing import Any

import numpy as np

from ..dtypes import DType, complex64, complex128, float32, float64
from ..sizes import Sizes
from ..types import TensorType
from ._common import array_dtype, cast, floating, ints, largest, normalise_dims, randoms, require_tensor
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Op, Sample, VjpContext, define
from .reduce import axes_of, count_of, mean_dtype, reduced_shape, reduction_errors, require_elements, restore, widened

_PUBLIC = ("", "method")
_Dims = tuple[int, ...] | int | None


# -- variance ----------------------------------------------------------------------------------------------------------


def _spread(name: str, doc: str, root: bool) -> Op:
    def infer(sizes: Sizes, input: Any, *, dim: _Dims, correction: Any, keepdim: bool) -> TensorType:
        input = require_tensor(name, "input", input)
        dims = normalise_dims(name, dim, input.rank)
        dtype = mean_dtype(name, input, None)
        if isinstance(correction, bool) or not isinstance(correction, (int, float)):
            raise TypeError(f"{name}(): argument 'correction' must be Number, not {type(correction).__name__}")
        return TensorType(_real_dtype(dtype), reduced_shape(input.shape, dims, keepdim), input.device)

    def evaluate(xp: Any, input: Any, *, dim: _Dims, correction: Any, keepdim: bool) -> Any:
        x = widened(input)
        axes = axes_of(dim, input.ndim)
        with np.errstate(all="ignore"):
            real = x.real.dtype.type
            count = real(count_of(input.shape, dim))
            mean = x.sum(axis=axes, keepdims=True) / count
            squares = xp.square(xp.abs(x - mean)).sum(axis=axes, keepdims=keepdim)
            value = squares / xp.maximum(count - real(correction), real(0))
            return xp.asarray(xp.sqrt(value) if root else value, input.real.dtype, order="C")

    def decompose(input: Any, *, dim: _Dims, correction: Any, keepdim: bool) -> Any:
        dim = axes_of(dim, input.ndim)
        centred = F.sub(input, F.mean(input, dim, True))
        size = F.abs(centred) if input.dtype.is_complex else centred
        total = F.sum(F.mul(size, size), dim, keepdim)
        value = F.div(total, _degrees(input, dim, correction))
        return F.sqrt(value) if root else value

    def vjp(c: VjpContext, g: Any, input: Any, *, dim: _Dims, correction: Any, keepdim: bool) -> tuple[Any]:
        dim = axes_of(dim, input.ndim)
        centred = F.sub(input, F.mean(input, dim, True))
        if root:
            g = F.where(F.eq(c.output, 0), 0.0, F.div(g, F.mul(c.output, 2.0)))
        scale = F.div(F.mul(restore(g, input, dim, keepdim), 2.0), _degrees(input, dim, correction))
        return (F.mul(centred, scale),)

    return define(
        f"{name}(input: Tensor, dim: ints | None = None, *, correction: number = 1, keepdim: bool = False)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=vjp,
        lower=Decompose(decompose),
        samples=lambda: [
            Sample((randoms(3, 5),)),
            Sample((randoms(2, 3, 4), 1)),
            Sample((randoms(2, 3, 4), (0, 2)), {"correction": 0, "keepdim": True}),
            Sample((randoms(5, 1), 1), {"correction": 0}, differentiable=name == "var"),
            Sample((randoms(1),), differentiable=False),
            Sample((randoms(0, 3), 0), differentiable=False),
        ],
        errors=lambda: [
            *reduction_errors(),
            ErrorSample((ints(3),), RuntimeError, "could not infer output dtype"),
            ErrorSample((randoms(3),), TypeError, "correction", {"correction": "x"}),
        ],
    )


def _degrees(input: Any, dim: _Dims, correction: Any) -> Any:
    """The degrees of freedom, n - correction, never below 0."""
    count = count_of(tuple(input.shape), dim)
    if isinstance(count, int):
        return float(max(count - correction, 0))
    return F.maximum(F.sub(F.full((), count, dtype=_real_dtype(input.dtype)), correction), 0.0)


VAR = _spread("var", "The variance over `dim` (None: all): squared deviations by n - correction.", False)
STD = _spread("std", "The standard deviation over `dim` (None: all): the root of the variance.", True)


# -- logsumexp and norms -----------------------------------------------------------------------------------------------


def _infer_logsumexp(sizes: Sizes, input: Any, *, dim: tuple[int, ...], keepdim: bool) -> TensorType:
    input = require_tensor("logsumexp", "input", input)
    dims = normalise_dims("logsumexp", dim, input.rank)
    return TensorType(floating(input.dtype), reduced_shape(input.shape, dims, keepdim), input.device)


def _evaluate_logsumexp(xp: Any, input: Any, *, dim: tuple[int, ...], keepdim: bool) -> Any:
    result = floating(array_dtype(input))
    x, axes = widened(cast(xp, input, result)), axes_of(dim, input.ndim)
    with np.errstate(all="ignore"):
        peak = largest(x.real, axes, True, -np.inf)
        shift = xp.where(xp.isinf(peak), peak.dtype.type(0), peak)
        value = xp.log(xp.exp(x - shift).sum(axis=axes, keepdims=True)) + shift
    return xp.asarray(value if keepdim else value.squeeze(axes), result.numpy, order="C")


def _decompose_logsumexp(input: Any, *, dim: tuple[int, ...], keepdim: bool) -> Any:
    if input.dtype.category < 2:
        input = F.cast(input, dtype=floating(input.dtype))
    dim = axes_of(dim, input.ndim)
    peak = F.peak(F.real(input) if input.dtype.is_complex else input, dim, True)
    shift = F.where(F.isinf(peak), 0.0, peak)
    value = F.add(F.log(F.sum(F.exp(F.sub(input, shift)), dim, True)), shift)
    return value if keepdim else F.reshape(value, reduced_shape(tuple(input.shape), dim, False))


def _logsumexp_vjp(c: VjpContext, g: Any, input: Any, *, dim: tuple[int, ...], keepdim: bool) -> tuple[Any]:
    result = restore(c.output, input, dim, keepdim)
    weights = F.exp(F.sub(input, F.where(F.isinf(result), 0.0, result)))
    weights = F.conj(weights) if input.dtype.is_complex else weights
    return (F.mul(restore(g, input, dim, keepdim), weights),)


LOGSUMEXP = define(
    "logsumexp(input: Tensor, dim: ints, keepdim: bool = False)",
    "log(sum(exp(input))) over `dim`, without overflow.\n\n"
    ">>> ingot.logsumexp(ingot.tensor([0., 0.]), 0)\n"
    "tensor(0.6931)",
    infer=_infer_logsumexp,
    evaluate=_evaluate_logsumexp,
    vjp=_logsumexp_vjp,
    lower=Decompose(_decompose_logsumexp),
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(3, 5), 1)),
        Sample((randoms(2, 3, 4), (0, -1)), {"keepdim": True}),
        Sample((np.array([[-np.inf, -np.inf], [1000.0, np.inf]], np.float32), 1), differentiable=False),
        Sample((ints(2, 3), 0), differentiable=False),
        Sample((randoms(2, 0), 1)),
    ],
    errors=lambda: [ErrorSample((randoms(3), 1), IndexError, "out of range")],
)


def _infer_vector_norm(
    sizes: Sizes, input: Any, *, ord: Any, dim: _Dims, keepdim: bool, dtype: DType | None
) -> TensorType:
    input = require_tensor("vector_norm", "input", input)
    if isinstance(ord, bool) or not isinstance(ord, (int, float)):
        raise TypeError(f"vector_norm(): argument 'ord' must be Number, not {ord!r}")
    if input.dtype.category < 2:
        raise RuntimeError(f"vector_norm: expected a floating-point tensor, given {input}")
    dims = normalise_dims("vector_norm", dim, input.rank)
    if ord in (math.inf, -math.inf):
        require_elements(sizes, "vector_norm", input, dims)
    return TensorType(_real_dtype(dtype or input.dtype), reduced_shape(input.shape, dims, keepdim), input.device)


def _real_dtype(dtype: DType) -> DType:
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def _evaluate_vector_norm(xp: Any, input: Any, *, ord: Any, dim: _Dims, keepdim: bool, dtype: DType | None) -> Any:
    result = dtype or array_dtype(input)
    size, axes = xp.abs(widened(cast(xp, input, result))), axes_of(dim, input.ndim)
    with np.errstate(all="ignore"):
        if ord == 0:
            value = (size != 0).sum(axis=axes, keepdims=keepdim)
        elif ord in (math.inf, -math.inf):
            value = (size.max if ord > 0 else size.min)(axis=axes, keepdims=keepdim)
        elif ord == 2:
            value = xp.sqrt(xp.square(size).sum(axis=axes, keepdims=keepdim))
        else:
            value = (size**ord).sum(axis=axes, keepdims=keepdim) ** (1.0 / ord)
    return xp.asarray(value, _real_dtype(result).numpy, order="C")


def _decompose_vector_norm(input: Any, *, ord: Any, dim: _Dims, keepdim: bool, dtype: DType | None) -> Any:
    dim = axes_of(dim, input.ndim)
    if dtype is not None and input.dtype is not dtype:
        input = F.cast(input, dtype=dtype)
    if ord == 0:
        return F.sum(F.cast(F.ne(input, 0), dtype=_real_dtype(input.dtype)), dim, keepdim)
    size = F.abs(input)
    if ord in (math.inf, -math.inf):
        return (F.amax if ord > 0 else F.amin)(size, dim, keepdim)
    if ord == 1:
        return F.sum(size, dim, keepdim)
    if ord == 2:
        return F.sqrt(F.sum(F.mul(size, size) if input.dtype.is_complex else F.mul(input, input), dim, keepdim))
    return F.pow(F.sum(F.pow(size, ord), dim, keepdim), 1.0 / ord)


_derived_norm_vjp = derived_vjp(_decompose_vector_norm)


def _vector_norm_vjp(
    c: VjpContext, g: Any, input: Any, *, ord: Any, dim: _Dims, keepdim: bool, dtype: DType | None
) -> tuple[Any, ...]:
    if ord != 2:
        return _derived_norm_vjp(c, g, input, ord=ord, dim=dim, keepdim=keepdim, dtype=dtype)
    # x / |x|, and 0 where the norm is 0
    norm, g = (restore(v, input, dim, keepdim) for v in (c.output, g))
    zero = F.eq(norm, 0)
    result = F.where(zero, 0.0, F.div(F.mul(g, input), F.where(zero, 1.0, norm)))
    return (result if result.dtype is input.dtype else F.cast(result, dtype=input.dtype),)


VECTOR_NORM = define(
    "vector_norm(input: Tensor, ord: number = 2, dim: ints | None = None, keepdim: bool = False, *, "
    "dtype: dtype | None = None)",
    "The norm of order `ord` (any number, or inf) over `dim` (None: all elements).",
    infer=_infer_vector_norm,
    evaluate=_evaluate_vector_norm,
    vjp=_vector_norm_vjp,
    lower=Decompose(_decompose_vector_norm),
    public=("linalg",),
    samples=lambda: [
        Sample((randoms(3, 5),)),
        Sample((randoms(3, 5), 1, 0)),
        Sample((randoms(3, 5), 3, -1, True)),
        Sample((randoms(2, 3, 4), math.inf, (0, 2))),
        Sample((randoms(4), -math.inf)),
        Sample((randoms(4), 0), differentiable=False),
        Sample((randoms(0),)),
        Sample((randoms(3), 2.0), {"dtype": "float64"}),
    ],
    errors=lambda: [
        ErrorSample((ints(3),), RuntimeError, "floating-point"),
        ErrorSample((randoms(3), "fro"), TypeError, "must be Number"),
        ErrorSample((randoms(0), math.inf), IndexError, "non-zero size"),
    ],
)
