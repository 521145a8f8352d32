"""Losses that are ops, with PyTorch's further call forms: weights per element, flags that came before reduction."""

from typing import Any

from ..eager.functions import call as _call
from ..eager.tensor import Tensor
from .loss_functions import legacy_reduction, reduced

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "kl_div", "l1_loss",
    "mse_loss", "nll_loss", "smooth_l1_loss",
]  # fmt: skip


def _weighted(loss: Any, input: Any, weight: Any, reduction: str) -> Any:
    """Losses times weights; their mean is over the weights."""
    if weight.shape != input.shape:
        raise ValueError(
            f"Weights and input must have the same size, given {list(weight.shape)} and {list(input.shape)}."
        )
    loss = loss * weight
    return loss.sum() / weight.sum() if reduction == "mean" else reduced(loss, reduction)


def mse_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The squared differences; `weight` gives each element one, and the mean is then over the weights.

    >>> ingot.nn.functional.mse_loss(ingot.tensor([1.0, 4.0]), ingot.tensor([1.0, 2.0]))
    tensor(2.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if weight is not None:
        return _weighted(_call("mse_loss", input, target, reduction="none"), input, weight, reduction)
    return _call("mse_loss", input, target, reduction=reduction)


def l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The absolute differences; `weight` gives each element one, and the mean is then over the weights.

    >>> ingot.nn.functional.l1_loss(ingot.tensor([1.0, 4.0]), ingot.tensor([1.0, 2.0]))
    tensor(1.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if weight is not None:
        return _weighted(_call("l1_loss", input, target, reduction="none"), input, weight, reduction)
    return _call("l1_loss", input, target, reduction=reduction)


def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """The squared difference over 2 * beta where it is below beta, else the absolute difference less beta / 2."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _call("smooth_l1_loss", input, target, beta=beta, reduction=reduction)


def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Half the squared difference below delta, else delta times (the absolute difference less delta / 2)."""
    if weight is not None:
        if weight.shape != input.shape:
            raise ValueError("Weights and input must have the same size.")
        return reduced(_call("huber_loss", input, target, delta=delta, reduction="none") * weight, reduction)
    return _call("huber_loss", input, target, delta=delta, reduction=reduction)


def kl_div(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """The Kullback-Leibler divergence of log-probabilities from probabilities (or log-probabilities: log_target).

    'batchmean' divides the sum by the first size.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if reduction == "batchmean" and input.ndim == 0:
        reduction = "sum"
    return _call("kl_div", input, target, log_target=log_target, reduction=reduction)


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The binary cross entropy of probabilities against probabilities."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _call("binary_cross_entropy", input, target, weight, reduction=reduction)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(input), without overflow; `pos_weight` scales the loss of positive targets."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _call("binary_cross_entropy_with_logits", input, target, weight, pos_weight=pos_weight, reduction=reduction)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy of logits (N, C, ...) against class indices (N, ...) or probabilities (N, C, ...).

    >>> ingot.nn.functional.cross_entropy(ingot.tensor([[0.0, 0.0]]), ingot.tensor([1]))
    tensor(0.6931)
    """
    return _call(
        "cross_entropy",
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=legacy_reduction(size_average, reduce, reduction),
        label_smoothing=label_smoothing,
    )


def nll_loss(
    input: Any,
    target: Any,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-weight[target] * input[target] of log-probabilities (N, C, ...) at class indices (N, ...)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _call("nll_loss", input, target, weight, ignore_index=ignore_index, reduction=reduction)
