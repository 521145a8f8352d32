"""Functions that PyTorch has beside `nn.functional`: layers that also give what their backward needs, samplers."""

from typing import Any

from ..eager.functions import call as _call
from ..eager.placement import beside
from ..eager.tensor import Tensor
from . import functional

__all__ = [
    "constant_pad_nd", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "native_batch_norm",
    "native_dropout", "native_group_norm", "native_layer_norm",
]  # fmt: skip


def _moments(input: Any, dims: tuple[int, ...], eps: float) -> tuple[Any, Any]:
    """The mean over dimensions and 1 / sqrt(variance + eps)."""
    mean = _call("mean", input, dims, True)
    variance = _call("var", input, dims, correction=0, keepdim=True)
    return mean, _call("rsqrt", _call("add", variance, eps))


def native_layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`nn.functional.layer_norm`, the means, and one over the standard deviations.

    >>> ingot.native_layer_norm(ingot.tensor([[1.0, 3.0]]), (2,), None, None, 0.0)[1]
    tensor([[2.]])
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    result = functional.layer_norm(input, shape, weight, bias, eps)
    mean, scale = _moments(input, tuple(range(input.ndim - len(shape), input.ndim)), eps)
    return result, mean, scale


def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`nn.functional.group_norm`, the means per group, and one over the standard deviations.

    >>> ingot.native_group_norm(ingot.tensor([[1.0, 3.0]]), None, None, 1, 2, 1, 1, 0.0)[1]
    tensor([[2.]])
    """
    result = functional.group_norm(input, group, weight, bias, eps)
    mean, scale = _moments(_call("reshape", input, N, group, C // group * HxW), (2,), eps)
    return result, _call("squeeze", mean, -1), _call("squeeze", scale, -1)


@beside
def native_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """`nn.functional.batch_norm`, and in training the means and one over the standard deviations of the channels.

    >>> x = ingot.tensor([[1.0], [3.0]])
    >>> ingot.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)[1]
    tensor([2.])
    """
    result = functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        empty = _call("full", (0,), 0.0, dtype=input.dtype)
        return result, empty, _call("clone", empty)
    dims = tuple(d for d in range(input.ndim) if d != 1)
    mean, scale = _moments(input, dims, eps)
    return result, _call("reshape", mean, -1), _call("reshape", scale, -1)


@beside
def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """`nn.functional.dropout`, and which elements are kept.

    >>> ingot.native_dropout(ingot.ones(2), 0.0, True)[1]
    tensor([True, True])
    """
    if train is False:
        return _call("clone", input), _call("full", tuple(input.shape), True, dtype="bool")
    result, mask = _call("native_dropout", input, p=p)
    return result, _call("ne", mask, 0) if mask.dtype.name != "bool" else mask


def constant_pad_nd(input: Tensor, pad: Any, value: Any = 0) -> Tensor:
    """`nn.functional.pad` with a value.

    >>> ingot.constant_pad_nd(ingot.ones(1), (1, 0), 5)
    tensor([5., 1.])
    """
    return functional.pad(input, tuple(pad), "constant", value)  # type: ignore[no-any-return]


_INTERPOLATIONS = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`nn.functional.grid_sample` with numbers for modes: bilinear, nearest, bicubic; zeros, border, reflection.

    >>> ingot.grid_sampler(ingot.ones(1, 1, 2, 2), ingot.zeros(1, 1, 1, 2), 0, 0, False)
    tensor([[[[1.]]]])
    """
    return functional.grid_sample(
        input, grid, _INTERPOLATIONS[interpolation_mode], _PADDINGS[padding_mode], align_corners
    )  # type: ignore[no-any-return]


def grid_sampler_2d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sampler` of images of two dimensions."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def grid_sampler_3d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sampler` of images of three dimensions."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


# Functions of `nn.functional` that PyTorch has at the top, too, with the same parameters in the same order.
SAME = (
    "adaptive_avg_pool1d", "adaptive_max_pool1d", "alpha_dropout", "avg_pool1d", "bilinear", "celu", "celu_",
    "channel_shuffle", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "cosine_similarity", "dropout", "feature_alpha_dropout", "group_norm", "hardshrink", "layer_norm", "max_pool1d",
    "max_pool2d", "max_pool3d", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle", "prelu", "relu",
    "relu_", "rms_norm", "rrelu", "rrelu_", "selu", "selu_", "threshold", "threshold_",
)  # fmt: skip
