"""Convolutions of volumes: conv3d and its transpose. Slices of depth make them sums of two-dimensional ones."""

from typing import Any

import numpy as np

from ..sizes import Sizes
from ..types import TensorType
from ._common import randoms
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Sample, VjpContext, define
from .conv import conjugated, example_size, geometry, infer_conv, spread
from .conv_derived import infer_transposed, transposed_size
from .conv_reference import forward, input_gradient, windows_in

_AXES = (0, 1, 2)


def _infer_conv3d(
    sizes: Sizes, input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> TensorType:
    result = infer_conv("conv3d", sizes, input, weight, bias, stride, padding, dilation, groups, 3)
    _require_kernel(sizes, "conv3d", weight)
    return result


def _require_kernel(sizes: Sizes, name: str, weight: TensorType) -> None:
    """The kernel's size is a condition of the graph: rules go over its elements."""
    for size in weight.shape[2:]:
        example_size(sizes, size, f"{name}: expected a kernel of size {list(weight.shape[2:])}")


def _geometry(name: str, weight: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Any, Any, Any]:
    """Stride, padding (before and after in each dimension) and dilation, each spelled out."""
    return geometry(name, weight, stride, padding, dilation)


def _volumes(x: Any) -> tuple[Any, bool]:
    """The operand as a batch, and whether it was one volume."""
    return (F.unsqueeze(x, 0), True) if x.ndim == 4 else (x, False)


def _pairs(pads: Any) -> tuple[int, ...]:
    """Padding as `F.pad` takes it: the last dimension first."""
    return (*pads[4:], *pads[2:4], *pads[:2])


# -- evaluation --------------------------------------------------------------------------------------------------------


def _depth_places(k: int, count: int, stride: int, dilation: int) -> slice:
    """The slices of a padded input that element k of the kernel meets."""
    start = k * dilation
    return slice(start, start + (count - 1) * stride + 1 if count > 0 else start, stride)


def _as_images(x: Any) -> Any:
    """Slices of depth as images of a batch: [N, C, D, H, W] as [N * D, C, H, W]."""
    n, c, d, h, w = x.shape
    return x.swapaxes(1, 2).reshape(n * d, c, h, w)


def _as_volumes(y: Any, images: int) -> Any:
    """The opposite of `_as_images`, for so many volumes."""
    depth = y.shape[0] // images if images else 0
    return y.reshape(images, depth, *y.shape[1:]).swapaxes(1, 2)


def _evaluate_conv3d(
    xp: Any, input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    stride, pads, dilation = _geometry("conv3d", weight, stride, padding, dilation)
    x = input[None] if input.ndim == 4 else input
    padded = xp.zeros((*x.shape[:2], x.shape[2] + pads[0] + pads[1], *x.shape[3:]), x.dtype)
    padded[:, :, pads[0] : pads[0] + x.shape[2]] = x
    count: Any = windows_in(x.shape[2], pads[0], pads[1], weight.shape[2], stride[0], dilation[0])
    parts = [padded[:, :, _depth_places(k, count, stride[0], dilation[0])] for k in range(weight.shape[2])]
    # The slices that one output meets are channels of one image.
    slices = xp.stack(parts, 2).reshape(x.shape[0], x.shape[1] * weight.shape[2], count, *x.shape[3:])
    kernel = weight.reshape(weight.shape[0], -1, *weight.shape[3:])
    images = forward(xp, _as_images(slices), kernel, stride[1:], pads[2:], dilation[1:], groups)
    value = xp.ascontiguousarray(images.reshape(x.shape[0], count, *images.shape[1:]).swapaxes(1, 2))
    if bias is not None:
        with np.errstate(all="ignore"):
            value += bias[:, None, None, None]
    return value[0] if input.ndim == 4 else value


# -- rules -------------------------------------------------------------------------------------------------------------


def _sliced(x: Any, k: int, count: Any, stride: int, dilation: int) -> Any:
    """The slices of depth that element k of the kernel meets, as images of a batch."""
    part = F.slice(x, k * dilation, k * dilation + (count - 1) * stride + 1, dim=2, step=stride)
    return F.flatten(F.transpose(part, 1, 2), 0, 1)


def _decompose_conv3d(
    input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    stride, pads, dilation = _geometry("conv3d", weight, stride, padding, dilation)
    x, single = _volumes(input)
    x = F.pad(x, (0, 0, 0, 0, *pads[:2])) if any(pads[:2]) else x
    count = windows_in(x.shape[2], 0, 0, weight.shape[2], stride[0], dilation[0])
    total: Any = None
    for k in range(weight.shape[2]):
        part = _sliced(x, k, count, stride[0], dilation[0])
        images = F.conv2d(part, F.select(weight, k, dim=2), None, stride[1:], pads[2:], dilation[1:], groups)
        total = images if total is None else F.add(total, images)
    value = F.transpose(F.unflatten(total, 0, (x.shape[0], count)), 1, 2)
    if bias is not None:
        value = F.add(value, F.unflatten(bias, 0, (bias.shape[0], 1, 1, 1)))
    return F.squeeze(value, 0) if single else value


def _turned(weight: Any, groups: int) -> Any:
    """The weight with its places reversed, and inputs and outputs swapped within each group."""
    flipped = F.flip(weight, (2, 3, 4))
    if groups == 1:
        return F.transpose(flipped, 0, 1)
    grouped = F.unflatten(flipped, 0, (groups, weight.shape[0] // groups))
    return F.flatten(F.transpose(grouped, 1, 2), 0, 1)


def _input_gradient(gradient: Any, weight: Any, wanted: Any, stride: Any, pads: Any, dilation: Any, groups: int) -> Any:
    """The gradient of an input of spatial sizes `wanted`: convolutions with the turned weight.

    Places of the input that are equal modulo the stride meet every stride-th element of the weight only: each such
    phase is a convolution of its own, and the results are put beside each other.
    """
    counts = []
    for i in _AXES:
        # In units of the stride; a dilated kernel meets all places of a gradient that zeros spread.
        if dilation[i] > 1 and stride[i] > 1:
            gradient, stride = _spread(gradient, 2 + i, stride[i]), (*stride[:i], 1, *stride[i + 1 :])
        counts.append((pads[2 * i] + wanted[i] + (stride[i] - 1)) // stride[i])

    def phase(part: Any, axis: int) -> Any:
        if axis == 3:
            reach = [(part.shape[2 + i] - 1) * dilation[i] for i in _AXES]
            sizes = [wanted[i] if stride[i] == 1 else counts[i] for i in _AXES]
            if any(part.shape[2 + i] == 0 for i in _AXES):
                return F.full((gradient.shape[0], weight.shape[1] * groups, *sizes), 0.0, dtype=gradient.dtype)
            # Before, a window reaches back; what lies before the image is cut off afterwards where there is a stride.
            before = [reach[i] - (pads[2 * i] if stride[i] == 1 else 0) for i in _AXES]
            borders = [n for i in _AXES for n in (before[i], sizes[i] + reach[i] - before[i] - gradient.shape[2 + i])]
            image, padding = gradient, tuple(borders)
            if not all(isinstance(b, int) and b >= 0 for b in borders):
                image, padding = F.pad(gradient, _pairs(borders)), (0,) * 6
            return F.conv3d(image, _turned(part, groups), None, padding=padding, dilation=dilation, groups=groups)
        if stride[axis] == 1:
            return phase(part, axis + 1)
        size = part.shape[2 + axis]
        rows = [
            phase(F.slice(part, min(first, size), size, dim=2 + axis, step=stride[axis]), axis + 1)
            for first in range(stride[axis])
        ]
        return F.flatten(F.stack(tuple(rows), 3 + axis), 2 + axis, 3 + axis)

    whole = phase(weight, 0)
    for i in _AXES:
        if stride[i] > 1:
            whole = F.slice(whole, pads[2 * i], pads[2 * i] + wanted[i], dim=2 + i)
    return whole


def _spread(g: Any, axis: int, step: int) -> Any:
    """Zeros put between the places of a dimension: step - 1 after each but the last."""
    size = g.shape[axis]
    pads = (0, 0) * (g.ndim - 1 - axis) + (0, step - 1)
    wide = F.flatten(F.pad(F.unsqueeze(g, axis + 1), pads), axis, axis + 1)
    return F.slice(wide, 0, (size - 1) * step + 1, dim=axis)


def _conv3d_vjp(
    c: VjpContext, g: Any, input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Any, Any, Any]:
    stride, pads, dilation = _geometry("conv3d", weight, stride, padding, dilation)
    (x, single), (grad, _) = _volumes(input), _volumes(g)
    for_input = for_weight = for_bias = None
    if c.needs[0]:
        for_input = _input_gradient(grad, conjugated(weight), x.shape[2:], stride, pads, dilation, groups)
        for_input = F.squeeze(for_input, 0) if single else for_input
    if c.needs[1]:
        padded = F.pad(x, (0, 0, 0, 0, *pads[:2])) if any(pads[:2]) else x
        images = F.flatten(F.transpose(grad, 1, 2), 0, 1)
        rest = {"stride": stride[1:], "padding": pads[2:], "dilation": dilation[1:], "groups": groups}
        parts = [
            F.conv2d_weight_grad(
                images,
                _sliced(conjugated(padded), k, grad.shape[2], stride[0], dilation[0]),
                tuple(weight.shape[3:]),
                **rest,
            )
            for k in range(weight.shape[2])
        ]
        for_weight = F.stack(tuple(parts), 2)
    if bias is not None and c.needs[2]:
        for_bias = F.sum(grad, (0, 2, 3, 4))
    return for_input, for_weight, for_bias


CONV3D = define(
    "conv3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: ints = 1, padding: any = 0, "
    "dilation: ints = 1, groups: int = 1)",
    "Cross-correlation of [N, C, D, H, W] (or [C, D, H, W]) with a weight [O, C / groups, kd, kh, kw].\n\n"
    ">>> ingot.nn.functional.conv3d(ingot.ones(1, 2, 4, 4, 4), ingot.ones(3, 2, 2, 2, 2)).shape\n"
    "ingot.Size([1, 3, 3, 3, 3])",
    infer=_infer_conv3d,
    evaluate=_evaluate_conv3d,
    vjp=_conv3d_vjp,
    lower=Decompose(_decompose_conv3d),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 3, 4, 5, 6), randoms(4, 3, 2, 3, 2, seed=1), randoms(4, seed=2))),
        Sample((randoms(1, 2, 5, 4, 5), randoms(2, 1, 3, 3, 3, seed=1)), {"padding": 1, "stride": 2, "groups": 2}),
        Sample((randoms(2, 5, 4, 4), randoms(3, 2, 1, 2, 2, seed=1), randoms(3)), {"padding": "same"}),
        Sample((randoms(1, 1, 5, 6, 4), randoms(2, 1, 2, 2, 2, seed=1)), {"dilation": (2, 1, 3), "padding": (0, 1, 1)}),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 2, 4, 4, 4), randoms(3, 3, 2, 2, 2)), RuntimeError, "to have 3 channels, but got 2"),
        ErrorSample((randoms(1, 2, 2, 4, 4), randoms(3, 2, 3, 2, 2)), RuntimeError, "does not fit"),
        ErrorSample((randoms(1, 2, 4, 4), randoms(3, 2, 2, 2, 2)), RuntimeError, "to have 2 channels"),
        ErrorSample((randoms(1, 2, 4, 4, 4), randoms(3, 2, 2, 2)), RuntimeError, "weight of rank 5"),
        ErrorSample((randoms(1, 2, 4, 4, 4), randoms(3, 2, 2, 2, 2)), RuntimeError, "at least 0", {"padding": -1}),
    ],
)


# -- transposed --------------------------------------------------------------------------------------------------------


def _transposed_geometry(weight: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any) -> tuple[Any, ...]:
    stride, pads, dilation = _geometry("conv_transpose3d", weight, stride, padding, dilation)
    return stride, pads, dilation, spread("conv_transpose3d", "output_padding", output_padding, 3, 0)


def _decompose_transposed(
    input: Any,
    weight: Any,
    bias: Any,
    *,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Any:
    stride, pads, dilation, extra = _transposed_geometry(weight, stride, padding, output_padding, dilation)
    x, single = _volumes(input)
    wanted = [
        transposed_size(x.shape[2 + i], weight.shape[2 + i], stride[i], 2 * pads[2 * i], extra[i], dilation[i])
        for i in _AXES
    ]
    value = _input_gradient(x, weight, wanted, stride, pads, dilation, groups)
    if bias is not None:
        value = F.add(value, F.unflatten(bias, 0, (bias.shape[0], 1, 1, 1)))
    return F.squeeze(value, 0) if single else value


def _evaluate_transposed(
    xp: Any,
    input: Any,
    weight: Any,
    bias: Any,
    *,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Any:
    stride, pads, dilation, extra = _transposed_geometry(weight, stride, padding, output_padding, dilation)
    x = input[None] if input.ndim == 4 else input
    size: list[Any] = [
        transposed_size(x.shape[2 + i], weight.shape[2 + i], stride[i], 2 * pads[2 * i], extra[i], dilation[i])
        for i in _AXES
    ]
    result = xp.zeros((x.shape[0], weight.shape[1] * groups, size[0] + 2 * pads[0], *size[1:]), x.dtype)
    rest: Any = ((size[1], size[2]), stride[1:], pads[2:], dilation[1:], groups)
    with np.errstate(all="ignore"):
        for k in range(weight.shape[2]):
            images = input_gradient(xp, _as_images(x), weight[:, :, k], *rest)
            place = _depth_places(k, x.shape[2], stride[0], dilation[0])
            result[:, :, place] += _as_volumes(images, x.shape[0]) if x.shape[0] else 0
        value = result[:, :, pads[0] : pads[0] + size[0]]
        if bias is not None:
            value = value + bias[:, None, None, None]
    value = xp.ascontiguousarray(value)
    return value[0] if input.ndim == 4 else value


def _infer_transposed3d(sizes: Sizes, input: Any, weight: Any, bias: Any, **attributes: Any) -> TensorType:
    result = infer_transposed("conv_transpose3d", sizes, input, weight, bias, spatial=3, **attributes)
    _require_kernel(sizes, "conv_transpose3d", weight)
    return result


CONV_TRANSPOSE3D = define(
    "conv_transpose3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: ints = 1, padding: ints = 0, "
    "output_padding: ints = 0, groups: int = 1, dilation: ints = 1)",
    "The transposed convolution of [N, C, D, H, W] (or [C, D, H, W]) with a weight [C, O / groups, kd, kh, kw]: the "
    "gradient of conv3d with respect to its input, as a function of its own.\n\n"
    ">>> ingot.nn.functional.conv_transpose3d(ingot.ones(1, 1, 2, 2, 2), ingot.ones(1, 1, 2, 2, 2)).shape\n"
    "ingot.Size([1, 1, 3, 3, 3])",
    infer=_infer_transposed3d,
    evaluate=_evaluate_transposed,
    vjp=derived_vjp(_decompose_transposed),
    lower=Decompose(_decompose_transposed),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 3, 2, 3, 4), randoms(3, 2, 3, 2, 2, seed=1), randoms(2, seed=2))),
        Sample((randoms(1, 4, 3, 2, 3), randoms(4, 1, 3, 3, 3, seed=1)), {"stride": 2, "padding": 1, "groups": 2}),
        Sample(
            (randoms(2, 2, 3, 2), randoms(2, 3, 2, 2, 2, seed=1)), {"stride": (2, 3, 1), "output_padding": (1, 1, 0)}
        ),
        Sample(
            (randoms(1, 2, 3, 3, 2), randoms(2, 1, 2, 2, 2, seed=1)), {"output_padding": 1, "dilation": 2, "stride": 2}
        ),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 2, 3, 3, 3), randoms(3, 2, 2, 2, 2)), RuntimeError, "to have 3 channels"),
        ErrorSample(
            (randoms(1, 2, 3, 3, 3), randoms(2, 2, 2, 2, 2)), RuntimeError, "smaller than", {"output_padding": 1}
        ),
    ],
)
