"""Losses of classification: negative log likelihood and cross entropy."""

from typing import Any

import numpy as np

from ..dims import product
from ..dtypes import int32, int64
from ..sizes import Sizes
from ..types import TensorType
from ._common import ints, largest, randoms, require_tensor, shape_text
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Sample, VjpContext, define
from .loss import reduce, reduce_array, reduced, require_reduction


def _class_dim(rank: int) -> int:
    return 0 if rank == 1 else 1


def _infer_classes(sizes: Sizes, name: str, input: Any, target: Any, weight: Any, reduction: str) -> TensorType:
    """The type of the loss for class indices."""
    require_reduction(name, reduction)
    if not input.dtype.is_floating_point or not input.rank:
        raise RuntimeError(f"{name}: expected a floating-point input of rank 1 or more, given {input}")
    axis = _class_dim(input.rank)
    if target.dtype not in (int64, int32):
        raise RuntimeError(f"{name}: expected class indices (int64) or probabilities, given {target}")
    expected = (*input.shape[:axis], *input.shape[axis + 1 :])
    message = f"{name}: expected target of shape {shape_text(expected)} for input {input}, given {target}"
    if len(expected) != target.rank:
        raise ValueError(message)
    for i, (a, b) in enumerate(zip(expected, target.shape, strict=True)):
        if i == 0 and sizes.hint(a) != sizes.hint(b) and sizes.hint(a) is not None and sizes.hint(b) is not None:
            raise ValueError(f"Expected input batch_size ({a}) to match target batch_size ({b}).")
        sizes.equal(a, b, message)
    _require_class_weight(sizes, name, input, weight)
    return reduced(TensorType(input.dtype, target.shape, input.device), reduction)


def _require_class_weight(sizes: Sizes, name: str, input: TensorType, weight: Any) -> None:
    if weight is not None:
        classes = input.shape[_class_dim(input.rank)]
        message = f"{name}: weight should be defined for all {classes} classes or not at all, given {weight}"
        if weight.rank != 1 or weight.dtype is not input.dtype:
            raise RuntimeError(message)
        sizes.equal(weight.shape[0], classes, message)


def _picked(
    log_probabilities: Any, target: Any, weight: Any, ignore_index: int, less: tuple[Any, ...] = ()
) -> tuple[Any, Any]:
    """For each position -weight * log probability of its class, and that weight; both 0 where it is ignored.

    `less` has what the log probabilities given still exceed the right ones by, for each position.
    """
    axis = _class_dim(log_probabilities.ndim)
    ignored = F.eq(target, ignore_index)
    index = F.where(ignored, 0, target)
    chosen = F.gather(log_probabilities, axis, F.unsqueeze(index, axis))
    for excess in less:
        chosen = F.sub(chosen, excess)
    chosen = F.squeeze(chosen, axis)
    if weight is None:
        scale = F.cast(F.logical_not(ignored), dtype=chosen.dtype)
    else:
        scale = F.where(ignored, 0.0, F.reshape(F.index_select(weight, 0, F.reshape(index, (-1,))), tuple(index.shape)))
    return F.where(ignored, 0.0, F.neg(F.mul(chosen, scale))), scale


def _decompose_nll(input: Any, target: Any, weight: Any, *, ignore_index: int, reduction: str) -> Any:
    value, scale = _picked(input, target, weight, ignore_index)
    return F.div(F.sum(value), F.sum(scale)) if reduction == "mean" else reduce(value, reduction)


def _picked_arrays(xp: Any, log_probabilities: Any, target: Any, weight: Any, ignore_index: int) -> tuple[Any, Any]:
    axis = _class_dim(log_probabilities.ndim)
    classes = log_probabilities.shape[axis]
    ignored = target == ignore_index
    index = xp.where(ignored, 0, target)
    if index.size and (int(index.min()) < 0 or int(index.max()) >= classes):
        outside = index[(index < 0) | (index >= classes)].ravel()[0]
        raise IndexError(f"Target {outside} is out of bounds: expected class indices from 0 to {classes - 1}")
    dtype = log_probabilities.dtype
    if not index.size:
        return xp.zeros(index.shape, dtype), xp.zeros(index.shape, dtype)
    chosen = xp.take_along_axis(log_probabilities, xp.expand_dims(index, axis), axis).squeeze(axis)
    scale = xp.where(ignored, dtype.type(0), dtype.type(1) if weight is None else weight[index])
    return xp.where(ignored, dtype.type(0), -chosen * scale), scale


def _mean_by_weight(xp: Any, value: Any, scale: Any) -> Any:
    wide = np.float32 if value.dtype == np.float16 else value.dtype
    return xp.asarray(value.sum(dtype=wide) / scale.sum(dtype=wide), value.dtype)


def _evaluate_nll(xp: Any, input: Any, target: Any, weight: Any, *, ignore_index: int, reduction: str) -> Any:
    with np.errstate(all="ignore"):
        value, scale = _picked_arrays(xp, input, target, weight, ignore_index)
        return _mean_by_weight(xp, value, scale) if reduction == "mean" else reduce_array(xp, value, reduction)


def _class_errors() -> list[ErrorSample]:
    return [
        ErrorSample((randoms(3, 4), ints(2, low=0, high=4)), ValueError, r"batch_size \(3\) .*batch_size \(2\)"),
        ErrorSample((randoms(3, 4), np.array([0, 1, 4])), IndexError, "Target 4 is out of bounds"),
        ErrorSample((randoms(3, 4), ints(3, low=0, high=4), randoms(3)), RuntimeError, "all 4 classes"),
        ErrorSample((randoms(3, 4), ints(3, low=0, high=4)), ValueError, "reduction", {"reduction": "x"}),
    ]


NLL_LOSS = define(
    "nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, "
    "reduction: str = 'mean')",
    "-weight[target] * input[target] of log-probabilities [N, C, ...] at class indices [N, ...], averaged by weight."
    "\n\n>>> ingot.nn.functional.nll_loss(ingot.tensor([[-0.5, -2.]]), ingot.tensor([1]))\n"
    "tensor(2.)",
    infer=lambda sizes, input, target, weight, *, ignore_index, reduction: _infer_classes(
        sizes,
        "nll_loss",
        require_tensor("nll_loss", "input", input),
        require_tensor("nll_loss", "target", target),
        weight,
        reduction,
    ),
    evaluate=_evaluate_nll,
    vjp=derived_vjp(_decompose_nll),
    lower=Decompose(_decompose_nll),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 4), ints(3, low=0, high=4))),
        Sample((randoms(3, 4), np.array([1, -100, 3]), randoms(4, low=0.5, seed=1))),
        Sample((randoms(4), np.array(2)), {"reduction": "sum"}),
        Sample((randoms(2, 3, 5), ints(2, 5, low=0, high=3)), {"reduction": "none", "ignore_index": 1}),
    ],
    errors=_class_errors,
)


def _infer_cross_entropy(
    sizes: Sizes,
    input: Any,
    target: Any,
    weight: Any,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> TensorType:
    input = require_tensor("cross_entropy", "input", input)
    target = require_tensor("cross_entropy", "target", target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if not target.dtype.is_floating_point:
        if target.rank == input.rank and [sizes.hint(d) for d in target.shape] == [sizes.hint(d) for d in input.shape]:
            raise RuntimeError(
                f"cross_entropy: Expected floating point type for target with class probabilities, got {target}"
            )
        return _infer_classes(sizes, "cross_entropy", input, target, weight, reduction)
    require_reduction("cross_entropy", reduction)
    message = f"cross_entropy: expected target probabilities of the input's type {input}, given {target}"
    if ignore_index >= 0:
        raise RuntimeError("cross_entropy: ignore_index is not supported for floating point target")
    if not input.rank or target.rank != input.rank or target.dtype is not input.dtype:
        raise RuntimeError(message)
    for a, b in zip(input.shape, target.shape, strict=True):
        sizes.equal(a, b, message)
    _require_class_weight(sizes, "cross_entropy", input, weight)
    axis = _class_dim(input.rank)
    shape = (*input.shape[:axis], *input.shape[axis + 1 :])
    return reduced(TensorType(input.dtype, shape, input.device), reduction)


def _class_weights(weight: Any, rank: int) -> Any:
    """The weights as a tensor that broadcasts with the input."""
    for _ in range(rank - 2):
        weight = F.unsqueeze(weight, -1)
    return weight


def _decompose_cross_entropy(
    input: Any,
    target: Any,
    weight: Any,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Any:
    axis = _class_dim(input.ndim)
    classes = input.shape[axis]
    log_probabilities = F.log_softmax(input, axis)
    if target.dtype.is_floating_point:
        if label_smoothing:
            spread = F.div(F.full((), label_smoothing, dtype=input.dtype), classes)
            target = F.add(F.mul(target, 1.0 - label_smoothing), spread)
        terms = F.mul(log_probabilities, target)
        if weight is not None:
            terms = F.mul(terms, _class_weights(weight, input.ndim))
        value = F.neg(F.sum(terms, axis))
        if reduction == "mean":
            return F.div(F.sum(value), product([d for i, d in enumerate(input.shape) if i != axis]))
        return reduce(value, reduction)
    value, scale = _picked(log_probabilities, target, weight, ignore_index)
    if label_smoothing:
        every = log_probabilities if weight is None else F.mul(log_probabilities, _class_weights(weight, input.ndim))
        smooth = F.where(F.eq(target, ignore_index), 0.0, F.neg(F.sum(every, axis)))
        spread = F.div(F.full((), label_smoothing, dtype=input.dtype), classes)
        value = F.add(F.mul(value, 1.0 - label_smoothing), F.mul(smooth, spread))
    return F.div(F.sum(value), F.sum(scale)) if reduction == "mean" else reduce(value, reduction)


def _evaluate_cross_entropy(
    xp: Any,
    input: Any,
    target: Any,
    weight: Any,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Any:
    x = input.astype(np.float32) if input.dtype == np.float16 else input
    axis = _class_dim(x.ndim)
    classes = x.shape[axis]
    shape = (-1, *(1 for _ in range(x.ndim - 2)))
    with np.errstate(all="ignore"):
        shifted = x - largest(x, axis, True, -np.inf)
        log_probabilities = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
        every = log_probabilities if weight is None else log_probabilities * weight.reshape(shape)
        if target.dtype.kind == "f":
            smoothed = target * (1 - label_smoothing) + label_smoothing / classes
            value = -(every * smoothed).sum(axis=axis)
            result = reduce_array(xp, xp.asarray(value), reduction)
        else:
            value, scale = _picked_arrays(xp, log_probabilities, target, weight, ignore_index)
            if label_smoothing:
                smooth = xp.where(target == ignore_index, x.dtype.type(0), -every.sum(axis=axis))
                value = value * (1 - label_smoothing) + smooth * (label_smoothing / classes)
            value = xp.asarray(value, x.dtype)
            result = _mean_by_weight(xp, value, scale) if reduction == "mean" else reduce_array(xp, value, reduction)
    return xp.asarray(result, input.dtype)


def _lower_cross_entropy(input: Any, target: Any, weight: Any, **attributes: Any) -> Any:
    """The decomposition that is computed: of class indices, log probabilities are made for the chosen classes only."""
    if target.dtype.is_floating_point or attributes["label_smoothing"]:
        return _decompose_cross_entropy(input, target, weight, **attributes)
    axis = _class_dim(input.ndim)
    peak = F.peak(input, (axis,), True)
    total = F.log(F.sum(F.exp(F.sub(input, peak)), (axis,), True))
    value, scale = _picked(input, target, weight, attributes["ignore_index"], (peak, total))
    reduction = attributes["reduction"]
    return F.div(F.sum(value), F.sum(scale)) if reduction == "mean" else reduce(value, reduction)


_derived_cross_entropy = derived_vjp(_decompose_cross_entropy)


def _cross_entropy_vjp(
    c: VjpContext, g: Any, input: Any, target: Any, weight: Any, **attributes: Any
) -> tuple[Any, Any, Any]:
    plain = weight is None and not attributes["label_smoothing"] and not target.dtype.is_floating_point
    if not plain or input.ndim != 2:
        return _derived_cross_entropy(c, g, input, target, weight, **attributes)
    # softmax(x) - 1 at the class: the common case in few steps.
    ignored = F.eq(target, attributes["ignore_index"])
    index = F.unsqueeze(F.where(ignored, 0, target), 1)
    # Where nothing is counted the loss is NaN, but its gradient is 0 as for every ignored position.
    share = F.div(g, F.sum(F.cast(F.logical_not(ignored), dtype=g.dtype))) if attributes["reduction"] == "mean" else g
    scale = F.unsqueeze(F.where(ignored, 0.0, share), 1)
    return F.scatter_add(F.mul(F.softmax(input, 1), scale), 1, index, F.neg(scale)), None, None


CROSS_ENTROPY = define(
    "cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, "
    "reduction: str = 'mean', label_smoothing: float = 0.0)",
    "The cross entropy of logits [N, C, ...] against class indices [N, ...] or probabilities [N, C, ...].\n\n"
    ">>> ingot.nn.functional.cross_entropy(ingot.tensor([[0., 0.]]), ingot.tensor([1]))\ntensor(0.6931)",
    infer=_infer_cross_entropy,
    evaluate=_evaluate_cross_entropy,
    vjp=_cross_entropy_vjp,
    lower=Decompose(_lower_cross_entropy),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 4), ints(3, low=0, high=4))),
        Sample((randoms(3, 4), np.array([1, -100, 3]))),
        Sample((randoms(3, 4), np.array([1, -100, 3]), randoms(4, low=0.5, seed=1)), {"label_smoothing": 0.1}),
        Sample((randoms(3, 4), ints(3, low=0, high=4)), {"reduction": "none"}),
        Sample((randoms(4), np.array(2)), {"reduction": "sum"}),
        Sample((randoms(2, 3, 5), ints(2, 5, low=0, high=3)), {"ignore_index": 1}),
        Sample((randoms(3, 4), randoms(3, 4, low=0.0, high=1.0, seed=1)), {"label_smoothing": 0.2}),
        Sample((randoms(2, 3, 2), randoms(2, 3, 2, low=0.0, high=1.0), randoms(3, low=0.5)), {"reduction": "none"}),
        Sample((np.array([[1000.0, -1000.0]], np.float32), np.array([1])), differentiable=False),
    ],
    errors=lambda: [
        *_class_errors(),
        ErrorSample(
            (randoms(3, 4), ints(3, low=0, high=4)), RuntimeError, "between 0.0 and 1.0", {"label_smoothing": 2.0}
        ),
        ErrorSample((randoms(3, 4), randoms(3, 3)), RuntimeError, "probabilities"),
    ],
)
