"""Heavy ops by machine code where there is enough work: convolutions, pooling, normalisation, softmax, activations.

Who computes depends on dtypes and shapes alone, so that a program gives the same numbers every time. The kernels are in
`jit.eager_kernels`, which this package must not import: `set_kernels` says where they are. They are compiled when the
first such op is met (0.3 s, once for each machine). What they do not do, and everything with INGOT_EAGER_KERNELS=0,
is computed by numpy.
"""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.ops.conv import geometry
from ..ir.ops.pool import pooled_size
from . import fast

__all__ = [
    "HEAVY", "HEAVY_SHORTCUTS", "activation_gradient", "batch_norm_gradient", "conv2d_gradients", "group_norm_gradient",
    "layer_norm_gradient", "max_pool2d_gradient", "relu_gradient", "set_kernels", "softmax_gradient",
]  # fmt: skip

# Multiply-adds of a convolution, and elements of other ops, from which on the kernels are used.
_MULTIPLY_ADDS = 1 << 19
_ELEMENTS = 1 << 15
# Rows of a channel shorter than this are no work for vectors.
_SHORT = 8

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


def _nobody() -> Any:
    return None


_find: Callable[[], Any] = _nobody
_calls: Any = None
_off = os.environ.get("INGOT_EAGER_KERNELS") == "0"


def set_kernels(find: Callable[[], Any]) -> None:
    """Say where the kernels are: a function that imports and returns `jit.eager_kernels.calls`."""
    global _find
    _find = find


def _kernels(family: str, dtype: Any) -> Any:
    """What calls the kernels of a family, for arrays of a dtype; None where there are none."""
    global _calls
    if _off or not (dtype is _DTYPES[0] or dtype is _DTYPES[1]):
        return None
    if _calls is None:
        _calls = _find()
        if _calls is None:
            return None
    return _calls if _calls.ready(family, dtype) else None


# -- convolution -------------------------------------------------------------------------------------------------------


def _convolution(x: Any, y: Any, per_element: int, *others: Any) -> Any:
    """The kernels, where `y` takes enough multiply-adds and all arrays are of one dtype."""
    dtype = x.dtype
    if y.size * per_element < _MULTIPLY_ADDS or not x.size:
        return None
    if y.dtype is not dtype or any([o is not None and o.dtype is not dtype for o in others]):
        return None
    return _kernels("convolution", dtype)


def _batch(x: Any) -> Any:
    return x[None] if x.ndim == 3 else x


def _conv2d(input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    # About as many as there are: the result has at most an element for each stride.
    steps = stride[0] * stride[-1]
    work = weight.size * input.size // max(1, weight.shape[1] * groups * steps)
    if work < _MULTIPLY_ADDS or input.dtype is not weight.dtype or not weight.size:
        return NotImplemented
    if bias is not None and bias.dtype is not input.dtype:
        return NotImplemented
    calls = _kernels("convolution", input.dtype)
    if calls is None:
        return NotImplemented
    result = calls.convolve(_batch(input), weight, bias, *geometry("conv2d", weight, stride, padding, dilation), groups)
    return result[0] if input.ndim == 3 else result


def _conv1d(input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    pads = padding if isinstance(padding, str) else (0, *((padding,) if isinstance(padding, int) else padding))
    if isinstance(padding, str) and padding == "same":
        pads = "same"
    result = _conv2d(
        input[..., None, :], weight[..., None, :], bias, stride=(1, *stride), padding=pads, dilation=(1, *dilation),
        groups=groups,
    )  # fmt: skip
    return result if result is NotImplemented else result[..., 0, :]


def _conv3d(input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The slices that one output meets are channels of one image, for all outputs at once."""
    stride, pads, dilation = geometry("conv3d", weight, stride, padding, dilation)
    x = input[None] if input.ndim == 4 else input
    images, channels, depth = x.shape[:3]
    kernel = weight.shape[2]
    count = (depth + pads[0] + pads[1] - dilation[0] * (kernel - 1) - 1) // stride[0] + 1
    if not images or x.dtype is not weight.dtype:
        return NotImplemented
    slices = np.zeros((images, count, channels, kernel, *x.shape[3:]), x.dtype)
    for k in range(kernel):
        # Output z meets slice z * stride + start.
        start = k * dilation[0] - pads[0]
        first = max(0, -(start // stride[0]))
        last = min(count, (depth - 1 - start) // stride[0] + 1)
        if first < last:
            place = slice(first * stride[0] + start, (last - 1) * stride[0] + start + 1, stride[0])
            slices[:, first:last, :, k] = x[:, :, place].swapaxes(1, 2)
    result = _conv2d(
        slices.reshape(images * count, channels * kernel, *x.shape[3:]),
        weight.reshape(len(weight), -1, *weight.shape[3:]),
        bias, stride=stride[1:], padding=pads[2:], dilation=dilation[1:], groups=groups,
    )  # fmt: skip
    if result is NotImplemented:
        return result
    result = np.ascontiguousarray(result.reshape(images, count, *result.shape[1:]).swapaxes(1, 2))
    return result[0] if input.ndim == 4 else result


def _input_gradient(
    gradient: Any, weight: Any, size: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    calls = _convolution(weight, gradient, weight.size // max(1, len(weight)))
    if calls is None or not size[0] * size[1]:
        return NotImplemented
    return calls.input_gradient(gradient, weight, tuple(size), stride, padding, dilation, groups)


def _weight_gradient(
    gradient: Any, input: Any, size: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    calls = _convolution(input, gradient, input.shape[1] // groups * size[0] * size[1])
    if calls is None:
        return NotImplemented
    return calls.weight_gradient(gradient, input, tuple(size), stride, padding, dilation, groups)


def conv2d_gradients(
    gradient: Any, input: Any, weight: Any, bias: Any, needs: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """The gradients of conv2d that are needed, one or None per operand; NotImplemented where numpy should."""
    calls = _convolution(input, gradient, weight.size // max(1, len(weight)), weight, bias)
    if calls is None or input.ndim != 4:
        return NotImplemented
    shapes = geometry("conv2d", weight, stride, padding, dilation)
    for_input = for_weight = for_bias = None
    if needs[0]:
        for_input = calls.input_gradient(gradient, weight, input.shape[-2:], *shapes, groups)
    if needs[1]:
        for_weight = calls.weight_gradient(gradient, input, weight.shape[-2:], *shapes, groups)
    if bias is not None and needs[2]:
        channels = gradient.reshape(*gradient.shape[:2], -1)
        for_bias = fast.quiet(_sum_of_channels, channels)
    return for_input, for_weight, for_bias


def _sum_of_channels(x: Any) -> Any:
    return np.add.reduce(np.einsum("nck->nc", x), 0)


# -- pooling -----------------------------------------------------------------------------------------------------------


def _pair(value: Any) -> tuple[int, int]:
    return value if len(value) == 2 else value * 2  # type: ignore[no-any-return]


def _window(kernel_size: Any, stride: Any, padding: Any, dilation: Any = (1,), **_: Any) -> _Window:
    return _pair(kernel_size), _pair(stride or kernel_size), _pair(padding), _pair(dilation)


def _pooled(x: Any, window: _Window, ceil_mode: bool) -> tuple[int, int]:
    kernel, stride, pads, dilation = window
    sizes = [pooled_size(x.shape[i - 2], kernel[i], stride[i], pads[i], dilation[i], ceil_mode) for i in (0, 1)]
    return int(sizes[0]), int(sizes[1])  # type: ignore[call-overload]


def _max_pool2d(x: Any, **window: Any) -> Any:
    found = fast.max_pool2d(x, **window)  # where windows tile the image, numpy is as fast
    if found is not NotImplemented or x.size < _ELEMENTS:
        return found
    calls = _kernels("images", x.dtype)
    if calls is None:
        return NotImplemented
    shape = _window(**window)
    return calls.max_pool(x, _pooled(x, shape, window["ceil_mode"]), shape)


def max_pool2d_gradient(gradient: Any, x: Any, **window: Any) -> Any:
    """The gradient of max_pool2d; NotImplemented where the op's record should compute it."""
    if x.size >= _ELEMENTS and gradient.dtype is x.dtype:
        calls = _kernels("images", x.dtype)
        if calls is not None:
            return calls.max_pool_gradient(gradient, x, _window(**window))
    return fast.max_pool2d_grad(gradient, x, **window)


def _avg_pool2d(x: Any, *, ceil_mode: bool, count_include_pad: bool, divisor_override: Any, **window: Any) -> Any:
    calls = _kernels("images", x.dtype) if x.size >= _ELEMENTS else None
    if calls is None:
        return NotImplemented
    shape = _window(**window)
    return calls.average_pool(x, _pooled(x, shape, ceil_mode), shape, count_include_pad, divisor_override or 0)


def _avg_pool2d_grad(
    gradient: Any, size: Any, *, ceil_mode: bool, count_include_pad: bool, divisor_override: Any, **window: Any
) -> Any:
    planes = gradient.size // max(1, gradient.shape[-1] * gradient.shape[-2])
    calls = _kernels("images", gradient.dtype) if planes * size[0] * size[1] >= _ELEMENTS else None
    if calls is None:
        return NotImplemented
    return calls.average_pool_gradient(
        gradient, tuple(size), _window(**window), count_include_pad, divisor_override or 0
    )


# -- normalisation and relu --------------------------------------------------------------------------------------------


def _channelled(family: str, x: Any, *others: Any) -> Any:
    """The kernels of a family for [N, C, ...] with long enough rows, where all arrays are of one dtype."""
    dtype = x.dtype
    if x.size < _ELEMENTS or x.size < _SHORT * x.shape[0] * x.shape[1]:
        return None
    if any([o is not None and o.dtype is not dtype for o in others]):
        return None
    return _kernels(family, dtype)


def _batch_norm(input: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    calls = _channelled("images", input, weight, bias)
    return NotImplemented if calls is None else calls.batch_norm(input, weight, bias, eps)


def batch_norm_gradient(g: Any, x: Any, weight: Any, mean: Any, variance: Any, eps: float) -> Any:
    """The gradients of batch_norm_training for x, weight and bias; NotImplemented where numpy should compute them."""
    calls = _channelled("images", x, g, weight)
    return NotImplemented if calls is None else calls.batch_norm_gradient(g, x, weight, mean, variance, eps)


def relu_gradient(g: Any, out: Any) -> Any:
    """The gradient where the result is positive; NotImplemented where numpy should compute it."""
    if out.size < _ELEMENTS or g.shape != out.shape or g.dtype is not out.dtype:
        return NotImplemented
    calls = _kernels("images", out.dtype)
    return NotImplemented if calls is None else calls.relu_gradient(g, out)


# -- activations -------------------------------------------------------------------------------------------------------


def _activations(x: Any, g: Any = None) -> Any:
    if x.size < _ELEMENTS or (g is not None and (g.dtype is not x.dtype or g.shape != x.shape)):
        return None
    return _kernels("activations", x.dtype)


def _silu(x: Any) -> Any:
    calls = _activations(x)
    return fast.silu(x) if calls is None else calls.activation("silu", x)


def _gelu(x: Any, *, approximate: str) -> Any:
    calls = _activations(x) if approximate == "none" else None
    return NotImplemented if calls is None else calls.activation("gelu", x)


def _leaky_relu(x: Any, *, negative_slope: float) -> Any:
    calls = _activations(x)
    return NotImplemented if calls is None else calls.activation("leaky_relu", x, negative_slope)


def _hardtanh(x: Any, *, min_val: float = 0.0, max_val: float = 6.0) -> Any:
    calls = _activations(x)
    return NotImplemented if calls is None else calls.activation("hardtanh", x, min_val, max_val)


def activation_gradient(name: str, g: Any, x: Any, first: float = 0.0, second: float = 0.0) -> Any:
    """The gradient of an activation function; NotImplemented where its record should compute it."""
    calls = _activations(x, g)
    return NotImplemented if calls is None else calls.activation_gradient(name, g, x, first, second)


# -- rows --------------------------------------------------------------------------------------------------------------


def _along_last(x: Any, dim: int, dtype: Any) -> Any:
    """The kernels, for rows that are long enough and lie together."""
    if x.size < _ELEMENTS or dtype is not None or dim not in (-1, x.ndim - 1) or x.shape[-1] < _SHORT:
        return None
    return _kernels("rows", x.dtype) if x.flags.c_contiguous else None


def _softmax(x: Any, *, dim: int, dtype: Any) -> Any:
    calls = _along_last(x, dim, dtype)
    return fast.softmax(x, dim=dim, dtype=dtype) if calls is None else calls.row_result("softmax", x)


def _log_softmax(x: Any, *, dim: int, dtype: Any) -> Any:
    calls = _along_last(x, dim, dtype)
    return fast.log_softmax(x, dim=dim, dtype=dtype) if calls is None else calls.row_result("log_softmax", x)


def softmax_gradient(name: str, g: Any, out: Any, dim: int, dtype: Any) -> Any:
    """The gradient of softmax or log_softmax by its result; NotImplemented where numpy should compute it."""
    calls = _along_last(out, dim, dtype) if g.dtype is out.dtype else None
    return NotImplemented if calls is None else calls.row_gradient(name, g, out)


def _rows(x: Any, shape: Any, *others: Any) -> tuple[Any, int]:
    """The kernels for rows of a shape, and how long these are."""
    size = math.prod(shape)
    if x.size < _ELEMENTS or size < _SHORT or any([o is not None and o.dtype is not x.dtype for o in others]):
        return None, size
    return _kernels("rows", x.dtype), size


def _layer_norm(input: Any, weight: Any, bias: Any, *, normalized_shape: Any, eps: float) -> Any:
    calls, size = _rows(input, normalized_shape, weight, bias)
    return NotImplemented if calls is None else calls.layer_norm(input, weight, bias, size, eps)


def layer_norm_gradient(g: Any, x: Any, weight: Any, normalized_shape: Any, eps: float) -> Any:
    """The gradients of layer_norm for x, weight and bias; NotImplemented where its record should compute them."""
    calls, size = _rows(x, normalized_shape, g, weight)
    if calls is None:
        return NotImplemented
    for_input, *others = calls.layer_norm_gradient(g, x, weight, size, eps)
    return for_input, *[o.reshape(normalized_shape) for o in others]


def _group_norm(input: Any, weight: Any, bias: Any, *, num_groups: int, eps: float) -> Any:
    calls = _channelled("rows", input, weight, bias)
    return NotImplemented if calls is None else calls.group_norm(input, weight, bias, num_groups, eps)


def group_norm_gradient(g: Any, x: Any, weight: Any, groups: int, eps: float) -> Any:
    """The gradients of group_norm for x, weight and bias; NotImplemented where its record should compute them."""
    calls = _channelled("rows", x, g, weight)
    return NotImplemented if calls is None else calls.group_norm_gradient(g, x, weight, groups, eps)


# By op, as `evaluate` takes operands; NotImplemented where that should compute.
HEAVY: dict[str, Callable[..., Any]] = {
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "conv3d": _conv3d,
    "conv2d_input_grad": _input_gradient,
    "conv2d_weight_grad": _weight_gradient,
    "max_pool2d": _max_pool2d,
    "max_pool2d_grad": max_pool2d_gradient,
    "avg_pool2d": _avg_pool2d,
    "avg_pool2d_grad": _avg_pool2d_grad,
    "batch_norm_training": _batch_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "relu6": _hardtanh,
}
# Likewise, before operands are checked (see `fast`).
HEAVY_SHORTCUTS: dict[str, Callable[..., Any]] = {
    "softmax": _softmax, "log_softmax": _log_softmax, "silu": _silu,
}  # fmt: skip
