"""Gradients kept within bounds before an optimiser's step."""

import math
from collections.abc import Iterable
from typing import Any

from ...eager.creation import tensor as _tensor
from ...eager.functions import call as _call
from ...eager.modes import no_grad
from ...eager.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _gradients(parameters: Any) -> list[Any]:
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in parameters if p.grad is not None]


def get_total_norm(tensors: Iterable[Any], norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """The p-norm of all tensors together; RuntimeError for NaN or infinity where asked for."""
    values = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    order = float(norm_type)
    if not values:
        return _tensor(0.0)
    with no_grad():
        flat = [v.detach().reshape(-1) for v in values]
        norms = _call("stack", [_norm(v, order) for v in flat])
        total = _norm(norms, order)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {order} for gradients from `parameters` is non-finite ({total.item()}), so it "
            f"cannot be clipped. To disable this error and scale the gradients anyway, set `error_if_nonfinite=False`"
        )
    return total


def _norm(flat: Any, order: float) -> Any:
    if order == math.inf:
        return flat.abs().amax() if flat.numel() else flat.sum()
    if order == -math.inf:
        return flat.abs().amin()
    if order == 0.0:
        return (flat != 0).sum().to(flat.dtype)
    if order == 2.0:
        return flat.square().sum().sqrt()
    return flat.abs().pow(order).sum().pow(1.0 / order)


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any) -> None:
    """Scale gradients by max_norm / total_norm where that is below 1."""
    scale = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.mul_(scale.to(gradient.dtype))


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: Any = None
) -> Tensor:
    """Scale all gradients so that their norm together is at most `max_norm`; returns the norm before.

    >>> w = ingot.nn.Parameter(ingot.zeros(2))
    >>> w.grad = ingot.tensor([3.0, 4.0])
    >>> ingot.nn.utils.clip_grad_norm_([w], 1.0), w.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters: Any, clip_value: float, foreach: Any = None) -> None:
    """Cut every gradient element off at plus and minus `clip_value`."""
    bound = float(clip_value)
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.clamp_(-bound, bound)
