"""Functions of layers that are made of other ops: dropouts, normalisation, activations."""

import math
from typing import Any

import numpy as np

from ..eager.creation import tensor as _tensor
from ..eager.functions import call as _call
from ..eager.inplace import write as _write
from ..eager.random import rand as _rand
from ..eager.tensor import Tensor

__all__ = [
    "alpha_dropout", "bilinear", "channel_shuffle", "dropout1d", "dropout2d", "dropout3d",
    "feature_alpha_dropout", "gumbel_softmax", "hardshrink", "instance_norm", "local_response_norm", "rrelu", "softmin",
    "tanhshrink", "upsample", "softsign",
]  # fmt: skip


def _require_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _maybe_inplace(input: Tensor, result: Any, inplace: bool, name: str) -> Any:
    return _write(input, result, name) if inplace else result


def _channel_dropout(name: str, input: Any, p: float, training: bool, inplace: bool, ranks: tuple[int, int]) -> Any:
    """Dropout of whole channels; `ranks` are those without and with a batch dimension."""
    _require_probability(p)
    if input.ndim not in ranks:
        raise RuntimeError(f"{name}: expected {ranks[0]}D or {ranks[1]}D input, given {list(input.shape)}")
    if not training or p == 0.0:
        return input
    x = input if input.ndim == ranks[1] else input.unsqueeze(0)
    ones = x.new_ones((*x.shape[:2], *(1,) * (x.ndim - 2)))
    mask, _ = _call("native_dropout", ones, p=p)
    result = x * mask if input.ndim == ranks[1] else (x * mask).squeeze(0)
    return _maybe_inplace(input, result, inplace, f"{name}_")


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zeroes whole channels of (N, C, L) or (C, L) with probability `p` and scales the others."""
    return _channel_dropout("dropout1d", input, p, training, inplace, (2, 3))


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zeroes whole channels of (N, C, H, W) or (C, H, W) with probability `p` and scales the others."""
    return _channel_dropout("dropout2d", input, p, training, inplace, (3, 4))


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zeroes whole channels of (N, C, D, H, W) or (C, D, H, W) with probability `p`, scales the others."""
    return _channel_dropout("dropout3d", input, p, training, inplace, (4, 5))


# SELU's value at minus infinity, -lambda * alpha (Klambauer et al., 2017).
_SELU_FLOOR = -1.7580993408473766


def _alpha_dropout(name: str, input: Any, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Any:
    _require_probability(p)
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return _maybe_inplace(input, input * 0.0, inplace, f"{name}_")
    draws: Any = _rand(shape, dtype=input.dtype, device=input.device)
    kept = draws >= p
    # Scale and shift keep mean 0 and variance 1 (Klambauer et al., 2017, "alpha dropout").
    scale = ((1 - p) * (1 + p * _SELU_FLOOR**2)) ** -0.5
    shift = -scale * p * _SELU_FLOOR
    result = _call("where", kept, input, _tensor(_SELU_FLOOR, dtype=input.dtype)) * scale + shift
    return _maybe_inplace(input, result, inplace, f"{name}_")


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout to SELU's floor that keeps mean 0 and variance 1 (Klambauer et al., 2017)."""
    return _alpha_dropout("alpha_dropout", input, p, training, inplace, tuple(input.shape))


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Alpha dropout of whole channels of (N, C, ...)."""
    if not training or p == 0:
        _require_probability(p)
        return input
    if input.ndim < 2:
        raise RuntimeError(f"feature_alpha_dropout: expected at least 2 dimensions, given {list(input.shape)}")
    shape = (*input.shape[:2], *(1,) * (input.ndim - 2))
    return _alpha_dropout("feature_alpha_dropout", input, p, training, inplace, shape)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each channel of each example (N, C, ...) (Ulyanov et al., 2016); ValueError for a single element.

    The running statistics are those of the batch: the means over the examples of their means and variances.
    """
    x: Any = input
    channels = x.shape[1]
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("Expected running_mean and running_var to be defined when use_input_stats=False")
        return _call("batch_norm", x, running_mean, running_var, weight, bias, eps=eps)
    count = x.numel() // (x.shape[0] * channels) if x.shape[0] * channels else 0
    if count == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(x.shape)}")
    if running_mean is not None and running_var is not None:
        flat = x.detach().reshape(x.shape[0], channels, count)
        running_mean.mul_(1 - momentum).add_(flat.mean((0, 2)), alpha=momentum)
        running_var.mul_(1 - momentum).add_(flat.var(2).mean(0), alpha=momentum)
    return _call("group_norm", x, channels, weight, bias, eps=eps)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divides by (k + alpha * mean of squares over `size` channels around)**beta (Krizhevsky et al., 2012)."""
    x: Any = input
    if x.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {x.ndim} dimensions)")
    squares = (x * x).reshape(x.shape[0], 1, x.shape[1], math.prod(x.shape[2:]))
    squares = _call("pad", squares, (0, 0, size // 2, (size - 1) // 2))
    means = _call("avg_pool2d", squares, (size, 1), 1).reshape(x.shape)
    return x / (means * alpha + k).pow(beta)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1 @ weight[o] @ x2 for each output o: (*, I1), (*, I2), (O, I1, I2) -> (*, O)."""
    a, b, w = (t for t in (input1, input2, weight))
    if tuple(a.shape[:-1]) != tuple(b.shape[:-1]):
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {list(a.shape)} and {list(b.shape)}, "
            f"expected the same but in the last"
        )
    if a.shape[-1] != w.shape[1] or b.shape[-1] != w.shape[2]:
        raise RuntimeError(
            f"bilinear(): the inputs have {a.shape[-1]} and {b.shape[-1]} features, expected {w.shape[1]} and "
            f"{w.shape[2]} of the weight {list(w.shape)}"
        )
    result = _call("einsum", "...i,oij,...j->...o", a, w, b)
    return result if bias is None else result + bias


def channel_shuffle(input: Any, groups: int) -> Tensor:
    """Channels of (N, C, ...) in the order that mixes the groups (Zhang et al., 2018)."""
    n, channels = input.shape[:2]
    if groups <= 0 or channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups, got {channels} channels and {groups} groups"
        )
    split = input.reshape(n, groups, channels // groups, *input.shape[2:])
    return split.transpose(1, 2).reshape(input.shape)


def softmin(input: Any, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Softmax of the negated input along one dimension."""
    if dim is None:
        raise TypeError("softmin(): missing dim: say along which dimension, as in softmin(x, dim=-1)")
    negated = -input  # in the input's dtype, as PyTorch has it
    return _call("softmax", negated if dtype is None else negated.to(dtype), dim)


def tanhshrink(input: Any) -> Tensor:
    """Elementwise x - tanh(x)."""
    return input - input.tanh()


def softsign(input: Any) -> Tensor:
    """Elementwise x / (1 + |x|), of integers and complex numbers, too."""
    if input.dtype.is_floating_point:
        return _call("softsign", input)
    return input / (input.abs() + 1)


def hardshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """Elementwise x where |x| > lambd, else 0."""
    return _call("hardshrink", input, lambd)


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Leaky ReLU whose slope is drawn per element from [lower, upper] in training, and their mean otherwise."""
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound, given {lower} and {upper}")
    slope: Any = (lower + upper) / 2
    if training:
        draws: Any = _rand(tuple(input.shape), dtype=input.dtype, device=input.device)
        slope = draws * (upper - lower) + lower
    x = input.clone() if inplace else input
    return _maybe_inplace(input, _call("where", x > 0, x, x * slope), inplace, "rrelu_")


def gumbel_softmax(logits: Any, tau: float = 1.0, hard: bool = False, dim: int = -1) -> Tensor:
    """A differentiable draw from a categorical distribution (Jang et al., 2017); `hard` rounds it to one-hot."""
    uniform = _rand(tuple(logits.shape), dtype=logits.dtype, device=logits.device)
    tiny = np.finfo(logits.dtype.numpy).tiny
    noise = -(-(uniform.clamp(min=float(tiny)).log())).log()
    soft = _call("softmax", (logits + noise) / tau, dim)
    if not hard:
        return soft
    best = soft.max(dim=dim, keepdim=True).indices
    ones = soft.new_ones(tuple(best.shape))
    return soft.new_zeros(tuple(soft.shape)).scatter(dim, best, ones) - soft.detach() + soft


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """The input at another resolution: `interpolate` by its older name."""
    return _call("interpolate", input, size, scale_factor, mode, bool(align_corners))
