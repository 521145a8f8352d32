"""Normalisations: softmax and its logarithm, layer, RMS, group and batch normalisation."""

import math
from typing import Any

import numpy as np

from ..dims import Dim, product
from ..dtypes import DType, limits
from ..sizes import Sizes
from ..types import TensorType
from ._common import array_dtype, cast, ints, normalise_dim, randoms, require_tensor
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Op, Sample, VjpContext, define
from .reduce import widened

# -- softmax -----------------------------------------------------------------------------------------------------------


def _infer_softmax(name: str, sizes: Sizes, input: Any, dim: int, dtype: DType | None) -> TensorType:
    input = require_tensor(name, "input", input)
    normalise_dim(name, dim, input.rank)
    result = dtype or input.dtype
    if not result.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating-point tensor, given {input}; pass dtype= or convert first")
    return TensorType(result, input.shape, input.device)


def _softmax(name: str, doc: str, compute: Any, decompose: Any, vjp: Any) -> Op:
    def evaluate(xp: Any, input: Any, *, dim: int, dtype: DType | None) -> Any:
        result = dtype or array_dtype(input)
        x = widened(cast(xp, input, result))
        if not x.size:
            return x.astype(result.numpy)
        axis = dim if x.ndim else None
        with np.errstate(all="ignore"):
            shifted = xp.asarray(x - x.max(axis=axis, keepdims=True))
            return xp.asarray(compute(xp, shifted, axis), result.numpy)

    def decomposed(input: Any, *, dim: int, dtype: DType | None) -> Any:
        if dtype is not None and input.dtype is not dtype:
            input = F.cast(input, dtype=dtype)
        dims = (dim,) if input.ndim else ()
        return decompose(F.sub(input, F.peak(input, dims, True)), dims)

    def gradient(c: VjpContext, g: Any, input: Any, *, dim: int, dtype: DType | None) -> tuple[Any]:
        result = vjp(c, g, (dim,) if input.ndim else ())
        return (result if result.dtype is input.dtype else F.cast(result, dtype=input.dtype),)

    return define(
        f"{name}(input: Tensor, dim: int, *, dtype: dtype | None = None)",
        doc,
        infer=lambda sizes, input, *, dim, dtype: _infer_softmax(name, sizes, input, dim, dtype),
        evaluate=evaluate,
        vjp=gradient,
        lower=Decompose(decomposed),
        public=("", "method"),
        samples=lambda: [
            Sample((randoms(3, 5), 1)),
            Sample((randoms(2, 3, 4), -2)),
            Sample((randoms(), 0)),
            Sample((randoms(2, 0), 0)),
            Sample((np.array([[1e4, 1e4, -1e4], [0.0, -np.inf, 1.0]], np.float32), 1), differentiable=False),
            Sample((np.array([[np.nan, 1.0]], np.float32), 1), differentiable=False),
            Sample((ints(3, 4), 1), {"dtype": "float32"}, differentiable=False),
        ],
        errors=lambda: [
            ErrorSample((randoms(3, 5), 2), IndexError, "out of range"),
            ErrorSample((ints(3), 0), RuntimeError, "floating-point"),
        ],
    )


def _softmax_compute(xp: Any, shifted: Any, axis: int | None) -> Any:
    xp.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=axis, keepdims=True)
    return shifted


def _softmax_parts(shifted: Any, dims: tuple[int, ...]) -> Any:
    # The sum is at least 1, so that its reciprocal loses nothing; one division a row costs less than one an element.
    exponentials = F.exp(shifted)
    return F.mul(exponentials, F.reciprocal(F.sum(exponentials, dims, True)))


SOFTMAX = _softmax(
    "softmax",
    "e**x over the sum of e**x along one dimension.\n\n"
    ">>> ingot.softmax(ingot.tensor([1., 1.]), 0)\ntensor([0.5000, 0.5000])",
    _softmax_compute,
    _softmax_parts,
    lambda c, g, dims: F.mul(c.output, F.sub(g, F.sum(F.mul(g, c.output), dims, True))),
)
LOG_SOFTMAX = _softmax(
    "log_softmax",
    "The logarithm of softmax along one dimension, without overflow or loss of small probabilities.\n\n"
    ">>> ingot.log_softmax(ingot.tensor([1., 1.]), 0)\n"
    "tensor([-0.6931, -0.6931])",
    lambda xp, shifted, axis: shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True)),
    lambda shifted, dims: F.sub(shifted, F.log(F.sum(F.exp(shifted), dims, True))),
    lambda c, g, dims: F.sub(g, F.mul(F.exp(c.output), F.sum(g, dims, True))),
)


# -- over the last dimensions ------------------------------------------------------------------------------------------


def _infer_last_dims(
    sizes: Sizes, name: str, input: TensorType, normalized_shape: tuple[int, ...], parameters: tuple[Any, ...]
) -> TensorType:
    input = require_tensor(name, "input", input)
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating-point input, given {input}")
    if not normalized_shape:
        raise RuntimeError(f"{name}: expected normalized_shape to be at least 1-dimensional, given []")
    message = f"{name}: expected an input whose last dimensions are {list(normalized_shape)}, given {input}"
    if input.rank < len(normalized_shape):
        raise RuntimeError(message)
    for a, b in zip(input.shape[-len(normalized_shape) :], normalized_shape, strict=True):
        sizes.equal(a, b, message)
    for what, type in zip(("weight", "bias"), parameters, strict=False):
        if type is None:
            continue
        require_tensor(name, what, type)
        message = f"{name}: expected {what} of shape {list(normalized_shape)} and the input's dtype, given {type}"
        if type.rank != len(normalized_shape) or type.dtype is not input.dtype:
            raise RuntimeError(message)
        for a, b in zip(type.shape, normalized_shape, strict=True):
            sizes.equal(a, b, message)
    return input


def _last_axes(normalized_shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(-len(normalized_shape), 0))


def _standardised(xp: Any, x: Any, axes: tuple[int, ...], eps: float) -> Any:
    """(x - mean) / sqrt(variance + eps) over the axes."""
    count = x.dtype.type(math.prod(x.shape[a] for a in axes))
    centred = x - x.sum(axis=axes, keepdims=True) / count
    variance = xp.square(centred).sum(axis=axes, keepdims=True) / count
    centred /= xp.sqrt(variance + x.dtype.type(eps))
    return centred


def _standardise(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    centred = F.sub(x, F.mean(x, axes, True))
    variance = F.mean(F.mul(centred, centred), axes, True)
    return F.mul(centred, F.rsqrt(F.add(variance, eps)))


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    if weight is not None:
        x = F.mul(x, weight)
    return x if bias is None else F.add(x, bias)


def _evaluate_layer_norm(
    xp: Any, input: Any, weight: Any, bias: Any, *, normalized_shape: tuple[int, ...], eps: float
) -> Any:
    with np.errstate(all="ignore"):
        x = _standardised(xp, widened(input), _last_axes(normalized_shape), eps)
        if weight is not None:
            x = x * weight
        if bias is not None:
            x = x + bias
    return xp.asarray(x, input.dtype)


def _layer_norm_vjp(
    c: VjpContext, g: Any, input: Any, weight: Any, bias: Any, *, normalized_shape: tuple[int, ...], eps: float
) -> tuple[Any, Any, Any]:
    axes = _last_axes(normalized_shape)
    leading = tuple(range(input.ndim - len(normalized_shape)))
    centred = F.sub(input, F.mean(input, axes, True))
    scale = F.rsqrt(F.add(F.mean(F.mul(centred, centred), axes, True), eps))
    x = F.mul(centred, scale)
    for_input = for_weight = for_bias = None
    if c.needs[0]:
        h = g if weight is None else F.mul(g, weight)
        slope = F.mean(F.mul(h, x), axes, True)
        for_input = F.mul(scale, F.sub(F.sub(h, F.mean(h, axes, True)), F.mul(x, slope)))
    if weight is not None and c.needs[1]:
        for_weight = F.sum(F.mul(g, x), leading) if leading else F.mul(g, x)
    if bias is not None and c.needs[2]:
        for_bias = F.sum(g, leading) if leading else g
    return for_input, for_weight, for_bias


LAYER_NORM = define(
    "layer_norm(input: Tensor, normalized_shape: ints, weight: Tensor | None = None, bias: Tensor | None = None, "
    "eps: float = 1e-05)",
    "The input with mean 0 and variance 1 over its last dimensions, which are `normalized_shape`, times weight plus "
    "bias (Ba, Kiros and Hinton, 2016).\n\n"
    ">>> ingot.nn.functional.layer_norm(ingot.tensor([1., 2., 3.]), (3,))\n"
    "tensor([-1.2247,  0.0000,  1.2247])",
    infer=lambda sizes, input, weight, bias, *, normalized_shape, eps: _infer_last_dims(
        sizes, "layer_norm", input, normalized_shape, (weight, bias)
    ),
    evaluate=_evaluate_layer_norm,
    vjp=_layer_norm_vjp,
    lower=Decompose(
        lambda input, weight, bias, *, normalized_shape, eps: _affine(
            _standardise(input, _last_axes(normalized_shape), eps), weight, bias
        )
    ),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 5), (5,), randoms(5, seed=1), randoms(5, seed=2))),
        Sample((randoms(2, 3, 4), (3, 4), randoms(3, 4, seed=1))),
        Sample((randoms(4, 6), 6), {"eps": 0.1}),
        Sample((randoms(5), (5,), randoms(5, seed=1), randoms(5, seed=2))),
        Sample((randoms(0, 5), (5,), randoms(5, seed=1), randoms(5, seed=2))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 5), (4,)), RuntimeError, r"last dimensions are \[4\]"),
        ErrorSample((randoms(3, 5), (5,), randoms(3)), RuntimeError, "weight of shape"),
        ErrorSample((randoms(5), (3, 5)), RuntimeError, "last dimensions"),
        ErrorSample((ints(3), (3,)), RuntimeError, "floating-point"),
    ],
)


def _rms_eps(dtype: DType, eps: float | None) -> float:
    return float(limits(dtype).eps) if eps is None else eps


def _evaluate_rms_norm(
    xp: Any, input: Any, weight: Any, *, normalized_shape: tuple[int, ...], eps: float | None
) -> Any:
    x, axes = widened(input), _last_axes(normalized_shape)
    with np.errstate(all="ignore"):
        square = xp.square(x).mean(axis=axes, keepdims=True, dtype=x.dtype)
        x = x / xp.sqrt(square + x.dtype.type(_rms_eps(array_dtype(input), eps)))
        return xp.asarray(x if weight is None else x * weight, input.dtype)


def _decompose_rms_norm(input: Any, weight: Any, *, normalized_shape: tuple[int, ...], eps: float | None) -> Any:
    square = F.mean(F.mul(input, input), _last_axes(normalized_shape), True)
    return _affine(F.mul(input, F.rsqrt(F.add(square, _rms_eps(input.dtype, eps)))), weight, None)


RMS_NORM = define(
    "rms_norm(input: Tensor, normalized_shape: ints, weight: Tensor | None = None, eps: float | None = None)",
    "The input over its root mean square in the last dimensions, times weight (Zhang and Sennrich, 2019); `eps` is "
    "the dtype's machine epsilon unless given.\n\n"
    ">>> ingot.nn.functional.rms_norm(ingot.tensor([3., 4.]), (2,))\n"
    "tensor([0.8485, 1.1314])",
    infer=lambda sizes, input, weight, *, normalized_shape, eps: _infer_last_dims(
        sizes, "rms_norm", input, normalized_shape, (weight,)
    ),
    evaluate=_evaluate_rms_norm,
    vjp=derived_vjp(_decompose_rms_norm),
    lower=Decompose(_decompose_rms_norm),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 5), (5,), randoms(5, seed=1))),
        Sample((randoms(2, 3, 4), (3, 4)), {"eps": 0.01}),
    ],
    errors=lambda: [ErrorSample((randoms(3, 5), (4,)), RuntimeError, r"last dimensions are \[4\]")],
)


# -- over channels -----------------------------------------------------------------------------------------------------


def _channel_shape(parameter: Any, rank: int) -> tuple[int, ...]:
    return (-1, *(1 for _ in range(rank - 2)))


def _per_channel(value: Any, rank: int) -> Any:
    """A vector with an element for each channel, as a tensor that broadcasts with dimension 1."""
    for _ in range(rank - 2):
        value = F.unsqueeze(value, -1)
    return value


def _infer_channels(sizes: Sizes, name: str, input: TensorType, vectors: dict[str, Any], low: int) -> TensorType:
    input = require_tensor(name, "input", input)
    if not input.dtype.is_floating_point or input.rank < low:
        raise RuntimeError(f"{name}: expected a floating-point input of rank {low} or more, given {input}")
    for what, type in vectors.items():
        if type is None:
            continue
        require_tensor(name, what, type)
        message = f"{name}: expected {what} of shape [{input.shape[1]}] and the input's dtype, given {type}"
        if type.rank != 1 or type.dtype is not input.dtype:
            raise RuntimeError(message)
        sizes.equal(type.shape[0], input.shape[1], message)
    return input


def _infer_group_norm(
    sizes: Sizes, input: TensorType, weight: Any, bias: Any, *, num_groups: int, eps: float
) -> TensorType:
    input = _infer_channels(sizes, "group_norm", input, {"weight": weight, "bias": bias}, 2)
    channels = sizes.hint(input.shape[1])
    if num_groups < 1 or (channels is not None and channels % num_groups):
        raise RuntimeError(
            f"group_norm: expected the number of channels to be divisible by num_groups ({num_groups}), given {input}"
        )
    return input


def _grouped(shape: tuple[Dim, ...], num_groups: int) -> tuple[Dim, ...]:
    return (shape[0], num_groups, product(shape[1:]) // num_groups)


def _evaluate_group_norm(xp: Any, input: Any, weight: Any, bias: Any, *, num_groups: int, eps: float) -> Any:
    with np.errstate(all="ignore"):
        x = _standardised(xp, widened(input).reshape(_grouped(input.shape, num_groups)), (2,), eps)
        x = x.reshape(input.shape)
        shape = _channel_shape(weight, input.ndim)
        if weight is not None:
            x = x * weight.reshape(shape)
        if bias is not None:
            x = x + bias.reshape(shape)
    return xp.asarray(x, input.dtype)


def _decompose_group_norm(input: Any, weight: Any, bias: Any, *, num_groups: int, eps: float) -> Any:
    # The channels as two dimensions, groups and members, to the end: then it is one kernel over rows of groups.
    shape, members = tuple(input.shape), input.shape[1] // num_groups
    x = F.reshape(input, (shape[0], num_groups, members, *shape[2:]))
    x = _standardise(x, tuple(range(2, x.ndim)), eps)
    place = (num_groups, members) + (1,) * (input.ndim - 2)
    return F.reshape(_affine(x, *(v if v is None else F.reshape(v, place) for v in (weight, bias))), shape)


GROUP_NORM = define(
    "group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, "
    "eps: float = 1e-05)",
    "The input with mean 0 and variance 1 in each group of channels (dimension 1), times weight plus bias (Wu and He, "
    "2018).\n\n"
    ">>> ingot.nn.functional.group_norm(ingot.tensor([[1., 3., 10., 30.]]), 2)\n"
    "tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])",
    infer=_infer_group_norm,
    evaluate=_evaluate_group_norm,
    vjp=derived_vjp(_decompose_group_norm),
    lower=Decompose(_decompose_group_norm),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 4, 3), 2, randoms(4, seed=1), randoms(4, seed=2))),
        Sample((randoms(3, 6), 3)),
        Sample((randoms(1, 2, 3, 2), 1, randoms(2, seed=1))),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 4, 3), 3), RuntimeError, "divisible by num_groups"),
        ErrorSample((randoms(2, 4, 3), 2, randoms(3)), RuntimeError, r"weight of shape \[4\]"),
    ],
)


def _evaluate_batch_norm(
    xp: Any, input: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, *, eps: float
) -> Any:
    with np.errstate(all="ignore"):
        scale = 1 / xp.sqrt(widened(running_var) + widened(running_var).dtype.type(eps))
        if weight is not None:
            scale = scale * weight
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
        shape = _channel_shape(scale, input.ndim)
        value = input * scale.reshape(shape)
        value += shift.reshape(shape)
    return xp.asarray(value, input.dtype)


def _decompose_batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, *, eps: float
) -> Any:
    scale = F.rsqrt(F.add(running_var, eps))
    if weight is not None:
        scale = F.mul(scale, weight)
    shift = F.mul(running_mean, scale)
    shift = F.neg(shift) if bias is None else F.sub(bias, shift)
    return F.add(F.mul(input, _per_channel(scale, input.ndim)), _per_channel(shift, input.ndim))


BATCH_NORM = define(
    "batch_norm(input: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor | None = None, "
    "bias: Tensor | None = None, *, eps: float = 1e-05)",
    "Each channel (dimension 1) less its mean, over the root of its variance plus eps, times weight plus bias, with "
    "statistics that are given (Ioffe and Szegedy, 2015).",
    infer=lambda sizes, input, running_mean, running_var, weight, bias, *, eps: _infer_channels(
        sizes,
        "batch_norm",
        input,
        {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias},
        2,
    ),
    evaluate=_evaluate_batch_norm,
    vjp=derived_vjp(_decompose_batch_norm),
    lower=Decompose(_decompose_batch_norm),
    samples=lambda: [
        Sample((randoms(2, 3, 4, 2), randoms(3), randoms(3, low=0.5), randoms(3, seed=1), randoms(3, seed=2))),
        Sample((randoms(4, 3), randoms(3), randoms(3, low=0.5)), {"eps": 0.1}),
        Sample((randoms(0, 3, 2), randoms(3), randoms(3, low=0.5))),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 3), randoms(4), randoms(4)), RuntimeError, r"running_mean of shape \[3\]"),
        ErrorSample((randoms(3), randoms(3), randoms(3)), RuntimeError, "rank 2 or more"),
    ],
)


def _infer_batch_norm_training(
    sizes: Sizes, input: Any, weight: Any, bias: Any, *, eps: float
) -> tuple[TensorType, TensorType, TensorType]:
    input = _infer_channels(sizes, "batch_norm", input, {"weight": weight, "bias": bias}, 2)
    count = product([input.shape[0], *input.shape[2:]])
    if sizes.hint(count) == 1:
        raise ValueError(f"batch_norm: expected more than 1 value per channel when training, got input size {input}")
    statistics = TensorType(input.dtype, (input.shape[1],), input.device)
    return input, statistics, statistics


def _evaluate_batch_norm_training(xp: Any, input: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Any, Any, Any]:
    x = widened(input)
    axes = (0, *range(2, x.ndim))
    shape = _channel_shape(x, x.ndim)
    with np.errstate(all="ignore"):
        count = x.dtype.type(x.size // max(x.shape[1], 1))
        mean = x.sum(axis=axes) / count
        centred = x - mean.reshape(shape)
        variance = xp.square(centred).sum(axis=axes) / count
        scale = 1 / xp.sqrt(variance + x.dtype.type(eps))
        centred *= (scale if weight is None else scale * weight).reshape(shape)
        if bias is not None:
            centred += bias.reshape(shape)
    return tuple(xp.asarray(v, input.dtype) for v in (centred, mean, variance))


def _decompose_batch_norm_training(input: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Any, Any, Any]:
    axes = (0, *range(2, input.ndim))
    mean = F.mean(input, axes)
    centred = F.sub(input, _per_channel(mean, input.ndim))
    variance = F.mean(F.mul(centred, centred), axes)
    x = F.mul(centred, _per_channel(F.rsqrt(F.add(variance, eps)), input.ndim))
    result = _affine(x, *(v if v is None else _per_channel(v, input.ndim) for v in (weight, bias)))
    return result, mean, variance


_derived_training_vjp = derived_vjp(_decompose_batch_norm_training)


def _batch_norm_training_vjp(
    c: VjpContext, g: Any, input: Any, weight: Any, bias: Any, *, eps: float
) -> tuple[Any, ...]:
    if g[0] is None or g[1] is not None or g[2] is not None:
        return _derived_training_vjp(c, g, input, weight, bias, eps=eps)
    rank = input.ndim
    axes = (0, *range(2, rank))
    scale = F.rsqrt(F.add(c.outputs[2], eps))
    x = F.mul(F.sub(input, _per_channel(c.outputs[1], rank)), _per_channel(scale, rank))
    total, slope = F.sum(g[0], axes), F.sum(F.mul(g[0], x), axes)
    for_input = None
    if c.needs[0]:
        count = product([input.shape[0], *input.shape[2:]])
        means = (_per_channel(F.div(v, count), rank) for v in (total, slope))
        centred = F.sub(F.sub(g[0], next(means)), F.mul(x, next(means)))
        for_input = F.mul(centred, _per_channel(scale if weight is None else F.mul(scale, weight), rank))
    return (
        for_input,
        slope if weight is not None and c.needs[1] else None,
        total if bias is not None and c.needs[2] else None,
    )


BATCH_NORM_TRAINING = define(
    "batch_norm_training(input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, "
    "eps: float = 1e-05)",
    "batch_norm with the statistics of the batch itself; also gives them: the mean and the (biased) variance.",
    infer=_infer_batch_norm_training,
    evaluate=_evaluate_batch_norm_training,
    vjp=_batch_norm_training_vjp,
    lower=Decompose(_decompose_batch_norm_training),
    outputs=3,
    samples=lambda: [
        Sample((randoms(3, 2, 4), randoms(2, seed=1), randoms(2, seed=2))),
        Sample((randoms(2, 3, 2, 2), randoms(3, seed=1))),
        Sample((randoms(5, 3),)),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 3),), ValueError, "more than 1 value per channel"),
        ErrorSample((randoms(2, 3), randoms(2)), RuntimeError, r"weight of shape \[3\]"),
    ],
)
