"""The cross entropy of a linear layer's outputs."""

from typing import Any

from ..eager.functions import call as _call
from ..eager.tensor import Tensor

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """`cross_entropy` of `linear(input, linear_weight, linear_bias)` with the target.

    input: (N, in) or (in); linear_weight: (C, in), or (C, d1, ..., in) for a loss of further dimensions. `options` say
    how PyTorch may save memory; the result does not depend on them.

    >>> x, w = ingot.ones(2, 3), ingot.zeros(4, 3)
    >>> ingot.nn.functional.linear_cross_entropy(x, w, ingot.tensor([0, 1]))
    tensor(1.3863)
    """
    from .functional import cross_entropy

    classes = tuple(linear_weight.shape[:-1])
    matrix = _call("reshape", linear_weight, -1, linear_weight.shape[-1]) if linear_weight.ndim != 2 else linear_weight
    bias = linear_bias if linear_bias is None or linear_bias.ndim == 1 else _call("reshape", linear_bias, -1)
    logits = _call("linear", input, matrix, bias)
    if len(classes) != 1:
        logits = _call("reshape", logits, *input.shape[:-1], *classes)
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(  # type: ignore[no-any-return]
        logits, target, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
    )
