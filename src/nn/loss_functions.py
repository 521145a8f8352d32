"""Losses that are made of other ops: margins, distances, likelihoods of distributions, CTC."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..eager.creation import arange as _arange
from ..eager.creation import tensor as _tensor
from ..eager.creation import zeros_like as _zeros_like
from ..eager.device import host_array
from ..eager.functions import call as _call
from ..eager.placement import beside
from ..eager.tensor import Tensor

__all__ = [
    "cosine_embedding_loss", "ctc_loss", "gaussian_nll_loss", "hinge_embedding_loss", "margin_ranking_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "poisson_nll_loss",
    "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
]  # fmt: skip


def reduced(loss: Any, reduction: str) -> Any:
    """The losses, their mean or their sum; ValueError for another reduction."""
    match reduction:
        case "none":
            return loss
        case "mean":
            return loss.mean()
        case "sum":
            return loss.sum()
    raise _invalid(reduction)


def _invalid(reduction: Any) -> ValueError:
    return ValueError(f"{reduction} is not a valid value for reduction: expected 'none', 'mean' or 'sum'")


def require_reduction(reduction: Any) -> None:
    """ValueError for another reduction than those of `reduced`, before anything else is looked at."""
    if reduction not in ("none", "mean", "sum"):
        raise _invalid(reduction)


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction, or what the two flags that came before it say, with a warning."""
    if size_average is None and reduce is None:
        return reduction
    mean, whole = size_average is not False, reduce is not False
    chosen = ("mean" if mean else "sum") if whole else "none"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{chosen}' instead.", stacklevel=3
    )
    return chosen


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log likelihood of counts under a Poisson distribution whose (log) rate is the input.

    `full` adds Stirling's approximation of log(target!) where the target is above 1.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + _call("where", target > 1, stirling, 0.0)
    return reduced(loss, reduction)


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """The negative log likelihood of targets under normal distributions of mean `input` and variance `var`.

    The variance may have the input's shape, lack its last dimension, or have size 1 there. Variances are clamped to
    `eps`, with no gradient through the clamp.
    """
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = _tensor(float(var), dtype=input.dtype).expand(input.shape)
    elif (var._array < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        if tuple(input.shape[:-1]) == tuple(var.shape):
            var = var.unsqueeze(-1)
        elif (
            var.ndim != input.ndim or sum(v for v, n in zip(var.shape, input.shape, strict=True) if v != n) != 1
        ):  # one dimension of size 1 is spread
            raise ValueError(f"var is of incorrect size: {list(var.shape)} for an input of {list(input.shape)}")
    clamped = var + (var.detach().clamp(min=eps) - var.detach())
    loss = 0.5 * (clamped.log() + (input - target).square() / clamped)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


def hinge_embedding_loss(
    input: Any,
    target: Any,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    zero = _zeros_like(input)
    positive = _call("where", target != -1, input, zero)
    negative = _call("where", target != 1, (margin - input).relu(), zero)
    return reduced(positive + negative, reduction)


def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin): target 1 wants the first to rank higher, -1 the second."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if input1.ndim != input2.ndim or input1.ndim != target.ndim:
        raise RuntimeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{list(input1.shape)}, input2: {list(input2.shape)}, target: {list(target.shape)}"
        )
    return reduced((-target * (input1 - input2) + margin).relu(), reduction)


def soft_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)) for targets 1 and -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return reduced((-target * input).exp().log1p(), reduction)


def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x1, x2) where the target is 1, max(0, cos(x1, x2) - margin) where it is -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    epsilon = 1e-12
    squares = (input1 * input1).sum(-1) + epsilon, (input2 * input2).sum(-1) + epsilon
    cosine = (input1 * input2).sum(-1) / (squares[0] * squares[1]).sqrt()
    zero = _zeros_like(cosine)
    positive = _call("where", target == 1, 1.0 - cosine, zero)
    negative = _call("where", target == -1, (cosine - margin).relu(), zero)
    return reduced(positive + negative, reduction)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |a - p| - |a - n| + margin); `swap` takes |p - n| where it is smaller (Balntas et al., 2016)."""
    reduction = legacy_reduction(size_average, reduce, reduction)

    def distance(a: Any, b: Any) -> Any:
        return _call("pairwise_distance", a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap, reduction=reduction
    )


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(a, p) - d(a, n) + margin) with any distance; the Euclidean one by default."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = distance_function or (lambda a, b: _call("pairwise_distance", a, b))
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((near - far + margin).relu(), reduction)


@beside
def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the other classes i of max(0, margin - x[target] + x[i])**p: (N, C) and (N,)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    require_reduction(reduction)
    x, y = (input, target) if input.ndim == 2 else (input.reshape(1, -1), target.reshape(1))
    if y.numel() and not 0 <= int(y._array.min()) <= int(y._array.max()) < x.shape[1]:
        raise RuntimeError(f"multi_margin_loss: expected targets from 0 to {x.shape[1] - 1}")
    index = y.unsqueeze(1)
    margins = (margin - x.gather(1, index) + x).relu()
    if p == 2:
        margins = margins * margins
    if weight is not None:
        margins = margins * weight[y].unsqueeze(1)
    others = _arange(x.shape[1]).unsqueeze(0) != index
    loss = _call("where", others, margins, _zeros_like(margins)).sum(1) / x.shape[1]
    return reduced(loss if input.ndim == 2 else loss.squeeze(0), reduction)


@beside
def multilabel_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of max(0, 1 - (x[label] - x[other])), for labels before the first -1: (N, C), (N, C)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    require_reduction(reduction)
    if input.shape != target.shape:
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    x, y = (input, target) if input.ndim == 2 else (input.reshape(1, -1), target.reshape(1, -1))
    labels = host_array(y._array)
    count = x.shape[1]
    if labels.size and not -1 <= int(labels.min()) <= int(labels.max()) < count:
        raise RuntimeError(f"multilabel_margin_loss: expected labels from 0 to {count - 1}, or -1 after the last")
    used = np.cumprod(labels >= 0, axis=1).astype(bool)
    clipped = np.where(used, labels, 0)
    is_label = np.zeros(labels.shape, bool)
    rows = np.broadcast_to(np.arange(labels.shape[0])[:, None], labels.shape)
    is_label[rows[used], labels[used]] = True
    chosen = x.gather(1, _tensor(clipped))
    margins = (1 - chosen.unsqueeze(2) + x.unsqueeze(1)).relu()
    counted = _tensor(used[:, :, None] & ~is_label[:, None, :])
    loss = _call("where", counted, margins, _zeros_like(margins)).sum((1, 2)) / count
    return reduced(loss if input.ndim == 2 else loss.squeeze(0), reduction)


def multilabel_soft_margin_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of the binary cross entropy of logits: (N, C), (N, C) -> (N,) before the reduction."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    loss = -(target * _call("logsigmoid", input) + (1 - target) * _call("logsigmoid", -input))
    if weight is not None:
        loss = loss * weight
    return reduced(loss.mean(-1), reduction)


@beside
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Connectionist temporal classification (Graves et al., 2006, eq. 6 to 8, in logarithms).

    log_probs (T, N, C) or (T, C); targets (N, S) or all of them one after another; lengths as tensors or tuples. 'mean'
    divides each loss by its target length first. `zero_infinity` makes impossible alignments cost 0.
    """
    single = log_probs.ndim == 2
    logs = log_probs.unsqueeze(1) if single else log_probs
    steps, batch, classes = logs.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range: expected 0 to {classes - 1}, given {blank}")
    frames = np.asarray(host_array(getattr(input_lengths, "_array", input_lengths)), np.int64).reshape(-1)
    lengths = np.asarray(host_array(getattr(target_lengths, "_array", target_lengths)), np.int64).reshape(-1)
    if len(frames) != batch or len(lengths) != batch:
        raise RuntimeError(f"input_lengths and target_lengths must be of size {batch} (the batch size)")
    if frames.max(initial=0) > steps:
        raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value {frames.max()}")
    labels = np.asarray(host_array(targets._array), np.int64)
    if single or labels.ndim == 1:
        if labels.size < lengths.sum():
            raise RuntimeError(f"expected {lengths.sum()} targets (the sum of target_lengths), given {labels.size}")
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = [labels.reshape(-1)[a : a + n] for a, n in zip(starts, lengths, strict=False)]
    else:
        if lengths.max(initial=0) > labels.shape[1]:
            raise RuntimeError(f"Expected target_lengths to have value at most {labels.shape[1]}, got {lengths.max()}")
        rows = [labels[i, :n] for i, n in enumerate(lengths)]
    longest = 2 * int(lengths.max(initial=0)) + 1
    extended = np.full((batch, longest), blank, np.int64)
    for i, row in enumerate(rows):
        extended[i, 1 : 2 * len(row) : 2] = row
    # A label may follow the one two places before it, over a blank, unless both are equal.
    skips = np.zeros((batch, longest), bool)
    skips[:, 2:] = (extended[:, 2:] != blank) & (extended[:, 2:] != extended[:, :-2])
    allowed, index = _tensor(skips), _tensor(extended)
    impossible = _tensor(-np.inf, dtype=logs.dtype)
    start = np.zeros((batch, longest), bool)
    start[:, 0] = True
    for i, row in enumerate(rows):
        start[i, 1:2] = len(row) > 0
    alpha = _call("where", _tensor(start), logs[0].gather(1, index), impossible)
    for t in range(1, steps):
        one = _call("pad", alpha, (1, 0), value=-math.inf)[:, :longest]
        two = _call("where", allowed, _call("pad", alpha, (2, 0), value=-math.inf)[:, :longest], impossible)
        following = _log_sum([alpha, one, two]) + logs[t].gather(1, index)
        alpha = _call("where", _tensor((t < frames)[:, None]), following, alpha)
    last = _tensor((2 * lengths)[:, None])
    before = _tensor(np.maximum(2 * lengths - 1, 0)[:, None])
    has_label = _tensor((lengths > 0)[:, None])
    ends = [alpha.gather(1, last), _call("where", has_label, alpha.gather(1, before), impossible)]
    loss = -_log_sum(ends).squeeze(1)
    if zero_infinity:
        loss = _call("where", loss == math.inf, _zeros_like(loss), loss)
    if reduction == "mean":
        return (loss / _tensor(np.maximum(lengths, 1), dtype=loss.dtype)).mean()
    if single and reduction == "none":
        return loss.squeeze(0)
    return reduced(loss, reduction)


def _log_sum(terms: list[Any]) -> Any:
    """log(sum(exp)), -inf with gradient 0 where all terms are -inf."""
    stacked = _call("stack", terms, 0)
    blocked = stacked.detach().amax(0) == -math.inf
    safe = _call("where", blocked, _zeros_like(stacked), stacked).logsumexp(0)
    return _call("where", blocked, _tensor(-math.inf, dtype=safe.dtype), safe)
