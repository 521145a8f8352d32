"""Convolutions: in one and two dimensions by Ingot's, in three as a sum over the first kernel dimension."""

from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.dtypes import DType
from ...ir.ops._op import F
from ...ir.symbolic import SymbolicTensor
from ..registry import op


def same_pads(node: Any, sizes: list[Any], kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Paddings before, then after each dimension, by the attributes `pads` and `auto_pad`."""
    rank = len(kernel)
    auto = node.attribute("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return list(node.attribute("pads", (0,) * (2 * rank)))
    if auto == "VALID":
        return [0] * (2 * rank)
    before, after = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        extent = dilation * (k - 1) + 1
        # With stride 1 the padding does not depend on the size, which then stays symbolic.
        total = extent - 1 if stride == 1 else max((-(-(n := node.fix(size)) // stride) - 1) * stride + extent - n, 0)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before + after


def pad_spatial(x: Any, pads: list[int], value: float = 0) -> Any:
    """The tensor with its last dimensions padded."""
    rank = len(pads) // 2
    if not any(pads):
        return x
    flat = [n for d in reversed(range(rank)) for n in (pads[d], pads[rank + d])]
    return F.pad(x, tuple(flat), "constant", value)


# From so many channels on, and positions of a window, products of bytes pay for the copies of windows.
_MANY_CHANNELS = 32


@op("Conv")
def conv(node: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    rank = x.ndim - 2
    if rank < 1 or weight.ndim != x.ndim:
        raise node.error(f"Conv: expected input and weight of one rank above 2, given {x.ndim} and {weight.ndim}")
    kernel = [node.fix(d) for d in tuple(weight.shape)[2:]]
    strides = list(node.attribute("strides", (1,) * rank))
    dilations = list(node.attribute("dilations", (1,) * rank))
    pads = same_pads(node, list(x.shape)[2:], kernel, strides, dilations)
    return convolve(node, x, weight, bias, strides, pads, dilations, node.attribute("group", 1))


def convolve(node: Any, x: Any, weight: Any, bias: Any, strides: Any, pads: Any, dilations: Any, groups: int) -> Any:
    """A convolution in one, two or three dimensions."""
    rank = x.ndim - 2
    if pads[:rank] != pads[rank:] or min(pads) < 0:
        x, pads = pad_spatial(x, pads), [0] * (2 * rank)
    if rank == 1:
        return F.conv1d(x, weight, bias, tuple(strides), tuple(pads[:1]), tuple(dilations), groups)
    if rank == 2:
        return F.conv2d(x, weight, bias, tuple(strides), tuple(pads[:2]), tuple(dilations), groups)
    if rank != 3:
        raise node.error(f"Conv in {rank} dimensions is not supported: expected 1, 2 or 3")
    return F.conv3d(x, weight, bias, tuple(strides), tuple(pads[:3]), tuple(dilations), groups)


@op("ConvTranspose")
def conv_transpose(node: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    """The gradient of a convolution: the input spread out by the strides, then convolved with the flipped weight."""
    rank = x.ndim - 2
    kernel = [node.fix(d) for d in tuple(weight.shape)[2:]]
    strides = list(node.attribute("strides", (1,) * rank))
    dilations = list(node.attribute("dilations", (1,) * rank))
    extra = list(node.attribute("output_padding", (0,) * rank))
    groups = node.attribute("group", 1)
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    auto = node.attribute("auto_pad", "NOTSET")
    shape = node.attribute("output_shape", None)
    if shape is not None or auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes = [node.fix(d) for d in tuple(x.shape)[2:]]
        wanted = list(shape)[-rank:] if shape is not None else [n * s for n, s in zip(sizes, strides, strict=True)]
        totals = [s * (n - 1) + e + o - w for s, n, e, o, w in zip(strides, sizes, extents, extra, wanted, strict=True)]
        before = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in totals]
        pads = before + [t - b for t, b in zip(totals, before, strict=True)]
    else:
        pads = [0] * (2 * rank) if auto == "VALID" else list(node.attribute("pads", (0,) * (2 * rank)))
    if rank in (1, 2, 3) and pads[:rank] == pads[rank:] and min(pads) >= 0 and _fits(extra, strides, dilations):
        function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
        return function(x, weight, bias, tuple(strides), tuple(pads[:rank]), tuple(extra), groups, tuple(dilations))
    for axis, stride in enumerate(strides, 2):
        x = _spread(x, axis, stride)
    channels, per_group = weight.shape[0], weight.shape[1]
    weight = F.flip(weight, tuple(range(2, weight.ndim)))
    # (groups, in, out, ...) becomes (groups * out, in, ...), as convolutions take it.
    weight = F.reshape(weight, (groups, channels // groups, per_group, *kernel))
    order = (0, 2, 1, *range(3, 3 + rank))
    weight = F.reshape(F.permute(weight, order), (groups * per_group, channels // groups, *kernel))
    around = [e - 1 - p for e, p in zip(extents, pads[:rank], strict=True)]
    around += [e - 1 - p + o for e, p, o in zip(extents, pads[rank:], extra, strict=True)]
    return convolve(node, x, weight, bias, [1] * rank, around, dilations, groups)


def _fits(extra: list[int], strides: list[int], dilations: list[int]) -> bool:
    return all(e < max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True))


def _spread(x: Any, axis: int, stride: int) -> Any:
    """The tensor with `stride - 1` zeros between its elements along an axis."""
    if stride == 1:
        return x
    size = x.shape[axis]
    wide = F.unsqueeze(x, axis + 1)
    amounts = [0] * (2 * wide.ndim)
    amounts[2 * (wide.ndim - 2 - axis) + 1] = stride - 1
    wide = F.pad(wide, tuple(amounts), "constant", 0)
    shape = [*tuple(x.shape)[:axis], size * stride, *tuple(x.shape)[axis + 1 :]]
    return F.slice(F.reshape(wide, tuple(shape)), 0, size * stride - (stride - 1), dim=axis)


@op("ConvInteger")
def conv_integer(node: Any, x: Any, weight: Any, x_zero: Any = None, weight_zero: Any = None) -> Any:
    return F.cast(whole_convolution(node, x, weight, x_zero, weight_zero), dtype=dtypes.int32)


def whole_convolution(node: Any, x: Any, weight: Any, x_zero: Any, weight_zero: Any) -> Any:
    """A convolution of 8-bit integers, exactly: sums of 32 bits, or floats that hold them.

    Products of bytes with copied windows where enough channels come out to make up for the copy. Else in float32 where
    its 24 bits are known to hold all sums, which are far below the 53 bits of a float64.
    """
    zero = np.zeros((), np.int8) if x_zero is None else _constant(x_zero)
    known, weight_zeros = _constant(weight), np.array(0) if weight_zero is None else _constant(weight_zero)
    is_plain = x.ndim == 4 and node.attribute("group", 1) == 1 and zero is not None and zero.size == 1
    is_large = known is not None and known.size >= _MANY_CHANNELS * max(known.shape[0], _MANY_CHANNELS)
    if is_plain and is_large and weight_zeros is not None and not weight_zeros.any():
        return _window_products(node, x, weight, int(zero.reshape(())))
    dtype = dtypes.float32 if _is_small(weight, weight_zero) else dtypes.float64
    return conv(node, _centred(x, x_zero, dtype), _centred(weight, weight_zero, dtype, 0))


def _window_products(node: Any, x: Any, weight: Any, zero: int) -> Any:
    """A convolution in two dimensions as the product of the weight with windows of the image, less the zero points."""
    kernel = [node.fix(d) for d in tuple(weight.shape)[2:]]
    strides = list(node.attribute("strides", (1, 1)))
    dilations = list(node.attribute("dilations", (1, 1)))
    pads = same_pads(node, list(x.shape)[2:], kernel, strides, dilations)
    x = pad_spatial(x, pads, zero)
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(tuple(x.shape)[2:], kernel, strides, dilations, strict=True)
    ]
    windows = []
    for at in np.ndindex(*kernel):
        window = x
        for axis, (i, n, s, d) in enumerate(zip(at, sizes, strides, dilations, strict=True), 2):
            window = F.slice(window, i * d, i * d + (n - 1) * s + 1, dim=axis, step=s)
        windows.append(window)
    depth = weight.shape[1] * len(windows)
    columns = F.cat(windows, 1) if len(windows) > 1 else windows[0]
    columns = F.cast(F.reshape(columns, (x.shape[0], depth, sizes[0] * sizes[1])), dtype=dtypes.int32)
    rows = F.cast(F.reshape(F.permute(weight, (0, 2, 3, 1)), (weight.shape[0], depth)), dtype=dtypes.int32)
    product = F.matmul(rows, columns)
    if zero:
        product = F.sub(product, F.mul(F.sum(rows, (1,), True, dtype=dtypes.int32), zero))
    return F.reshape(product, (x.shape[0], weight.shape[0], *sizes))


def _is_small(weight: Any, zero: Any) -> bool:
    """Whether the weights are known, and no sum of their products with 8-bit numbers has more than 24 bits."""
    known, zeros = _constant(weight), np.array(0) if zero is None else _constant(zero)
    if known is None or zeros is None or known.size == 0:
        return False
    rows = known.astype(np.int64).reshape(known.shape[0], -1) - zeros.astype(np.int64).reshape(-1, 1)
    return int(np.abs(rows).sum(axis=1).max()) * 255 < 1 << 24


def _constant(tensor: Any) -> Any:
    """The data of a constant of the graph, None for other tensors."""
    made = tensor.value.instruction if isinstance(tensor, SymbolicTensor) else None
    return made.attributes["value"].data if made is not None and made.op.name == "constant" else None


def _centred(x: Any, zero: Any, dtype: DType, axis: int | None = None) -> Any:
    x = F.cast(x, dtype=dtype)
    if zero is None:
        return x
    zero = F.cast(zero, dtype=dtype)
    if zero.ndim == 1 and axis is not None:
        for _ in range(x.ndim - 1 - axis):
            zero = F.unsqueeze(zero, -1)
    return F.sub(x, zero)
