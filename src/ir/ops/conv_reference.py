"""Convolution and its gradients by array functions: windows as matrices (im2col) and matrix products."""

from typing import Any

import numpy as np

from ..dims import Dim

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]  # before and after of rows, before and after of columns


def windows_in(size: Dim, before: int, after: int, kernel: Dim, stride: int, dilation: int) -> Dim:
    """The number of places at which a kernel fits."""
    return (size + (before + after - 1) - dilation * (kernel - 1)) // stride + 1


def padded(xp: Any, x: Any, pads: Padding, fill: Any = 0) -> Any:
    """The array with a border around its last two dimensions."""
    if not any(pads):
        return x
    top, bottom, left, right = pads
    height, width = x.shape[-2:]
    result = xp.full((*x.shape[:-2], top + height + bottom, left + width + right), fill, x.dtype)
    result[..., top : top + height, left : left + width] = x
    return result


def _columns(xp: Any, x: Any, kernel: Pair, out: Pair, stride: Pair, pads: Padding, dilation: Pair, groups: int) -> Any:
    """The input's windows as matrices [N, groups, channels * kernel, places] (im2col)."""
    x = padded(xp, x, pads)
    n, c = x.shape[:2]
    if kernel == (1, 1) and stride == (1, 1):
        return x.reshape(n, groups, c // groups, out[0] * out[1])
    sn, sc, sh, sw = x.strides
    view = xp.lib.stride_tricks.as_strided(
        x, (n, c, *kernel, *out), (sn, sc, sh * dilation[0], sw * dilation[1], sh * stride[0], sw * stride[1])
    )
    return view.reshape(n, groups, c // groups * kernel[0] * kernel[1], out[0] * out[1])


def _single(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def forward(xp: Any, x: Any, w: Any, stride: Pair, pads: Padding, dilation: Pair, groups: int) -> Any:
    """Cross-correlation of [N, C, H, W] with [O, C / groups, kh, kw]."""
    dtype, x, w = x.dtype, _single(x), _single(w)
    kernel = (w.shape[2], w.shape[3])
    out = tuple(
        windows_in(x.shape[2 + i], pads[2 * i], pads[2 * i + 1], kernel[i], stride[i], dilation[i]) for i in (0, 1)
    )
    columns = _columns(xp, x, kernel, out, stride, pads, dilation, groups)  # type: ignore[arg-type]
    rows = w.reshape(groups, w.shape[0] // groups, columns.shape[2])
    with np.errstate(all="ignore"):
        value = xp.matmul(rows[0], columns[:, 0]) if groups == 1 else xp.matmul(rows, columns)
    return value.reshape(x.shape[0], w.shape[0], *out).astype(dtype, copy=False)


def input_gradient(
    xp: Any, g: Any, w: Any, size: Pair, stride: Pair, pads: Padding, dilation: Pair, groups: int
) -> Any:
    """The gradient of `forward` with respect to its input of spatial size `size`."""
    dtype, g, w = g.dtype, _single(g), _single(w)
    n, o, *out = g.shape
    c, kernel = w.shape[1], w.shape[2:]
    rows = w.reshape(groups, o // groups, c * kernel[0] * kernel[1]).swapaxes(1, 2)
    top, bottom, left, right = pads
    result = xp.zeros((n, groups * c, size[0] + top + bottom, size[1] + left + right), g.dtype)
    with np.errstate(all="ignore"):
        flat = g.reshape(n, groups, o // groups, out[0] * out[1])
        columns = xp.matmul(rows[0], flat[:, 0]) if groups == 1 else xp.matmul(rows, flat)
        columns = columns.reshape(n, groups * c, *kernel, *out)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                result[
                    :, :, _places(i, dilation[0], out[0], stride[0]), _places(j, dilation[1], out[1], stride[1])
                ] += columns[:, :, i, j]
    inner = result[:, :, top : top + size[0], left : left + size[1]]
    return inner.astype(dtype, copy=not inner.flags.c_contiguous)


def _places(offset: int, dilation: int, count: int, stride: int) -> slice:
    """The input places that one element of the kernel meets."""
    start = offset * dilation
    return slice(start, start + (count - 1) * stride + 1 if count else start, stride)


_BATCHED_LIMIT = 1 << 22  # elements: above it, products are accumulated one image at a time


def weight_gradient(
    xp: Any, g: Any, x: Any, kernel: Pair, stride: Pair, pads: Padding, dilation: Pair, groups: int
) -> Any:
    """The gradient of `forward` with respect to its weight of kernel size `kernel`."""
    dtype, g, x = g.dtype, _single(g), _single(x)
    n, o, *out = g.shape
    columns = _columns(xp, x, kernel, (out[0], out[1]), stride, pads, dilation, groups)
    flat = g.reshape(n, groups, o // groups, out[0] * out[1])
    inner = columns.shape[2]
    with np.errstate(all="ignore"):
        if n * o * inner <= _BATCHED_LIMIT:
            value = xp.matmul(flat, columns.swapaxes(2, 3)).sum(axis=0)
        else:
            value = xp.zeros((groups, o // groups, inner), g.dtype)
            for i in range(n):
                value += xp.matmul(flat[i], columns[i].swapaxes(1, 2))
    return value.reshape(o, x.shape[1] // groups, *kernel).astype(dtype, copy=False)
