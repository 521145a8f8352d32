"""Functions of `nn.functional` that look at elements of their arguments, written so that they can be compiled."""

import math
from collections.abc import Callable
from typing import Any

from ...eager.creation import arange, full, full_like, tensor, zeros, zeros_like
from ...eager.functions import call as op
from ...eager.modes import no_grad
from ...eager.shapes import where

__all__ = ["NN_PROGRAMS"]

# mypy: disable-error-code="no-untyped-def,no-untyped-call"


def _reduced(loss, reduction):
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    if input.ndim == 1:
        loss = multilabel_margin_loss(input.reshape(1, -1), target.reshape(1, -1), reduction="none")
        return _reduced(loss.squeeze(0), reduction)
    count = input.size(1)
    if ((target < -1) | (target >= count)).any().item():
        raise RuntimeError(f"multilabel_margin_loss: expected labels from 0 to {count - 1}, or -1 after the last")
    used = op("cumprod", (target >= 0).long(), 1) > 0
    labels = where(used, target, zeros_like(target))
    is_label = op("scatter_add", zeros_like(target), 1, labels, used.long()) > 0
    margins = (1 - input.gather(1, labels).unsqueeze(2) + input.unsqueeze(1)).relu()
    counted = used.unsqueeze(2) & ~is_label.unsqueeze(1)
    return _reduced(where(counted, margins, zeros_like(margins)).sum((1, 2)) / count, reduction)


# -- connectionist temporal classification -----------------------------------------------------------------------------


def _log_sum(terms):
    stacked = op("stack", terms, 0)
    blocked = stacked.detach().amax(0) == -math.inf
    total = where(blocked, zeros_like(stacked), stacked).logsumexp(0)
    return where(blocked, full_like(total, -math.inf), total)


def _shifted(alpha, count, width):
    return op("pad", alpha, (count, 0), value=-math.inf)[:, :width]


def _lengths(lengths, name, batch):
    found = tensor(lengths).long().reshape(-1)
    if found.size(0) != batch:
        raise RuntimeError(f"input_lengths and target_lengths must be of size {batch} (the batch size)")
    return found


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    single = log_probs.ndim == 2
    logs = log_probs.unsqueeze(1) if single else log_probs
    steps, batch, classes = logs.size(0), logs.size(1), logs.size(2)
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range: expected 0 to {classes - 1}, given {blank}")
    frames, lengths = _lengths(input_lengths, "input_lengths", batch), _lengths(target_lengths, "target_lengths", batch)
    if (frames > steps).any().item():
        raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value {frames.max().item()}")
    if single or targets.ndim == 1:
        flat = targets.reshape(-1).long()
        size = flat.size(0)
        if size < lengths.sum().item():
            raise RuntimeError(f"expected {lengths.sum().item()} targets (the sum of target_lengths), given {size}")
        places = (op("cumsum", lengths, 0) - lengths).unsqueeze(1) + arange(size)
        labels = flat[places.clamp(max=size - 1)]
    else:
        size = targets.size(1)
        if (lengths > size).any().item():
            raise RuntimeError(f"Expected target_lengths to have value at most {size}, got {lengths.max().item()}")
        labels = targets.long()
    longest = 2 * size + 1
    index = full((batch, longest), blank)
    index[:, 1::2] = where(arange(size) < lengths.unsqueeze(1), labels, full_like(labels, blank))
    # A label may follow the one two places before it, over a blank, unless both are equal.
    before = op("pad", index, (2, 0), value=blank)[:, :longest]
    allowed = (index != blank) & (index != before)
    place = arange(longest)
    impossible = full_like(logs[0, 0, 0], -math.inf)
    starts = (place == 0) | ((place == 1) & (lengths.unsqueeze(1) > 0))
    alpha = where(starts, logs[0].gather(1, index), impossible)
    for t in range(1, steps):
        two = where(allowed, _shifted(alpha, 2, longest), impossible)
        following = _log_sum([alpha, _shifted(alpha, 1, longest), two]) + logs[t].gather(1, index)
        alpha = where((t < frames).unsqueeze(1), following, alpha)
    last = (2 * lengths).unsqueeze(1)
    label = alpha.gather(1, (last - 1).clamp(min=0))
    loss = -_log_sum([alpha.gather(1, last), where(last > 0, label, impossible)]).squeeze(1)
    if zero_infinity:
        loss = where(loss == math.inf, zeros_like(loss), loss)
    if reduction == "mean":
        return (loss / lengths.clamp(min=1).to(loss.dtype)).mean()
    if single and reduction == "none":
        return loss.squeeze(0)
    return _reduced(loss, reduction)


# -- tables ------------------------------------------------------------------------------------------------------------


def _shorten(weight, input, max_norm, norm_type):
    with no_grad():
        norms = weight.norm(norm_type, 1, keepdim=True)
        used = _counts(input, weight.size(0)).unsqueeze(1) > 0
        change = where(used & (norms > max_norm), weight * (max_norm / (norms + 1e-7)) - weight, zeros_like(weight))
    # The gradient is that of the table as it is afterwards.
    weight.copy_(weight + change.detach())


def _counts(indices, size):
    flat = indices.reshape(-1).long()
    return op("index_add", zeros(size), 0, flat, full((flat.size(0),), 1.0))


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    rows = op("embedding", input, weight, padding_idx=padding_idx)
    if scale_grad_by_freq:
        values = rows.detach()
        shares = 1.0 / _counts(input, weight.size(0))[input.long()].unsqueeze(-1)
        rows = values + (rows - values) * shares.to(rows.dtype)  # the values as they are: only the gradient is scaled
    return rows


def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=None,
):  # fmt: skip
    if scale_grad_by_freq and mode == "max":
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, given {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights was given: expected mode 'sum', not {mode!r}")
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated as bags of equal length")
        starts = arange(input.size(0)) * input.size(1)
        indices = input.reshape(-1)
    else:
        if input.ndim != 1:
            raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        starts, indices = offsets.long(), input
        if include_last_offset:
            starts = starts[:-1]
    count, width = starts.size(0), weight.size(1)
    bag_of = op("searchsorted", starts, arange(indices.size(0)), right=True) - 1
    rows = embedding(indices, weight, None, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    counted = indices == indices
    if padding_idx is not None:
        counted = indices != padding_idx % weight.size(0)
    present = op("index_add", zeros(count), 0, bag_of, counted.to(zeros(1).dtype)).unsqueeze(1)
    if mode == "max":
        places = bag_of.unsqueeze(1).expand(-1, width)
        low = full((count, width), -math.inf, dtype=weight.dtype)
        masked = where(counted.unsqueeze(1), rows, full_like(rows, -math.inf))
        highest = op("scatter_reduce", low, 0, places, masked, reduce="amax")
        return where(present > 0, highest, zeros_like(highest))
    rows = where(counted.unsqueeze(1), rows, zeros_like(rows))
    sums = op("index_add", zeros(count, width, dtype=weight.dtype), 0, bag_of, rows)
    return sums / present.clamp(min=1.0).to(sums.dtype) if mode == "mean" else sums


NN_PROGRAMS: dict[str, Callable[..., Any]] = {
    "nn.embedding_functions.embedding": embedding,
    "nn.embedding_functions.embedding_bag": embedding_bag,
    "nn.loss_functions.ctc_loss": ctc_loss,
    "nn.loss_functions.multilabel_margin_loss": multilabel_margin_loss,
}
