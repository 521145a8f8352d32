"""Quantised tensors of 8 and 16 bits: integers q that stand for (q - zero point) * scale."""

from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.dtypes import DType
from ...ir.ops._op import F
from ..proto import element_type
from ..registry import op
from .conv import whole_convolution


def _aligned(node: Any, x: Any, parameter: Any) -> Any:
    """A scale or zero point as it broadcasts to the tensor: one number, one per index of an axis, or one per block."""
    if parameter.ndim == 0:
        return parameter
    if parameter.ndim == 1 and parameter.shape[0] == 1 and not node.attribute("block_size", 0):
        # One number in a list of one, as ONNX Runtime's tools write it, whatever the axis.
        return F.squeeze(parameter, 0)
    axis = node.axis(node.attribute("axis", 1), x.ndim)
    block = node.attribute("block_size", 0)
    if block:
        repeated = F.repeat_interleave(parameter, block, dim=axis)
        return F.slice(repeated, 0, x.shape[axis], dim=axis)
    if parameter.ndim == 1 and x.ndim > 1:
        return F.reshape(parameter, tuple(parameter.shape[0] if d == axis else 1 for d in range(x.ndim)))
    return parameter


def _quantise(x: Any, scale: Any, zero: Any, dtype: DType) -> Any:
    """Rounded to nearest even and saturated."""
    info = np.iinfo(dtype.numpy)
    wide = dtypes.float32 if x.dtype is dtypes.float16 else x.dtype
    scaled = F.round(F.div(F.cast(x, dtype=wide), F.cast(scale, dtype=wide)))
    if zero is not None:
        scaled = F.add(scaled, F.cast(zero, dtype=wide))
    return F.cast(F.clamp(scaled, int(info.min), int(info.max)), dtype=dtype)


@op("QuantizeLinear")
def quantize_linear(node: Any, x: Any, scale: Any, zero: Any = None) -> Any:
    dtype = zero.dtype if zero is not None else dtypes.uint8
    if zero is None and node.attribute("output_dtype", 0):
        dtype = element_type(node.attribute("output_dtype"))
    aligned = None if zero is None else _aligned(node, x, zero)
    return _quantise(x, _aligned(node, x, scale), aligned, dtype)


@op("DequantizeLinear")
def dequantize_linear(node: Any, x: Any, scale: Any, zero: Any = None) -> Any:
    aligned = _aligned(node, x, scale)
    if zero is None:
        return F.mul(F.cast(x, dtype=scale.dtype), aligned)
    difference = F.sub(F.cast(x, dtype=dtypes.int32), F.cast(_aligned(node, x, zero), dtype=dtypes.int32))
    return F.mul(F.cast(difference, dtype=scale.dtype), aligned)


@op("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: Any, x: Any) -> Any:
    axes = tuple(range(x.ndim))
    high = F.clamp(F.amax(x, axes, False), 0, None)
    low = F.clamp(F.amin(x, axes, False), None, 0)
    scale = F.div(F.sub(high, low), 255.0)
    zero = F.clamp(F.round(F.div(F.neg(low), scale)), 0, 255)
    return _quantise(x, scale, zero, dtypes.uint8), scale, F.cast(zero, dtype=dtypes.uint8)


def _rows(zero: Any) -> Any:
    """A zero point per row, as it broadcasts."""
    return None if zero is None else F.unsqueeze(zero, -1) if zero.ndim == 1 else zero


def _product(a: Any, b: Any, a_zero: Any, b_zero: Any) -> Any:
    """(a - a_zero) @ (b - b_zero) in int32, exactly: the zero points come off the product of the bytes themselves.

    Sums of all products, of rows and of columns wrap around as int32 does, so that their difference is right.
    """
    wide_a, wide_b = F.cast(a, dtype=dtypes.int32), F.cast(b, dtype=dtypes.int32)
    product = F.matmul(wide_a, wide_b)
    if a_zero is not None:
        a_zero = F.cast(a_zero, dtype=dtypes.int32)
        columns = F.sum(wide_b, (-2,), True, dtype=dtypes.int32) if b.ndim > 1 else F.sum(wide_b, dtype=dtypes.int32)
        if b_zero is not None:
            # What the zero points of both have in common.
            columns = F.sub(columns, F.mul(F.cast(b_zero, dtype=dtypes.int32), a.shape[-1]))
        # One zero point for each row has no column of its own where b is a vector.
        zeros = a_zero if b.ndim > 1 or a_zero.ndim == 0 else F.squeeze(a_zero, -1)
        product = F.sub(product, F.mul(zeros, columns if a.ndim > 1 or b.ndim == 1 else F.squeeze(columns, -2)))
    if b_zero is not None:
        rows = F.sum(wide_a, (-1,), a.ndim > 1 and b.ndim > 1, dtype=dtypes.int32)
        product = F.sub(product, F.mul(rows, F.cast(b_zero, dtype=dtypes.int32)))
    return product


@op("MatMulInteger")
def matmul_integer(node: Any, a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    return _product(a, b, _rows(a_zero), b_zero)


@op("QLinearMatMul")
def qlinear_matmul(
    node: Any, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any
) -> Any:
    product = F.cast(_product(a, b, _rows(a_zero), b_zero), dtype=dtypes.float64)
    scales = [F.cast(s, dtype=dtypes.float64) for s in (_rows(a_scale), b_scale, y_scale)]
    result = F.mul(F.mul(product, scales[0]), scales[1])
    return _quantise(result, scales[2], y_zero, y_zero.dtype)


@op("QLinearConv")
def qlinear_conv(
    node: Any, x: Any, x_scale: Any, x_zero: Any, w: Any, w_scale: Any, w_zero: Any, y_scale: Any, y_zero: Any,
    bias: Any = None,
) -> Any:  # fmt: skip
    total = F.cast(whole_convolution(node, x, w, x_zero, w_zero), dtype=dtypes.float64)
    if bias is not None:
        total = F.add(total, F.reshape(F.cast(bias, dtype=dtypes.float64), (-1, *[1] * (x.ndim - 2))))
    scale = F.mul(F.cast(x_scale, dtype=dtypes.float64), F.cast(w_scale, dtype=dtypes.float64))
    if scale.ndim == 1:
        scale = F.reshape(scale, (-1, *[1] * (x.ndim - 2)))
    return _quantise(F.mul(total, scale), F.cast(y_scale, dtype=dtypes.float64), y_zero, y_zero.dtype)
