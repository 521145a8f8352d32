"""Convolutions made of conv2d and its gradient: transposed, and over one dimension."""

from typing import Any

from ..dims import Dim
from ..sizes import Sizes
from ..types import TensorType
from ._common import randoms, same_device
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Sample, define
from .conv import (
    add_bias,
    batched,
    evaluate_conv2d,
    geometry,
    infer_conv,
    require_bias,
    require_conv,
    require_groups,
    spread,
)
from .conv_reference import input_gradient

# -- transposed --------------------------------------------------------------------------------------------------------


def transposed_size(size: Dim, kernel: Dim, stride: int, pads: int, extra: int, dilation: int) -> Dim:
    return (size - 1) * stride - pads + dilation * (kernel - 1) + (extra + 1)


def infer_transposed(
    name: str,
    sizes: Sizes,
    input: Any,
    weight: Any,
    bias: Any,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    groups: int,
    dilation: tuple[int, ...],
    spatial: int,
) -> TensorType:
    x, w = require_conv(sizes, name, input, weight, bias, spatial)
    stride = spread(name, "stride", stride, spatial, 1)
    dilation = spread(name, "dilation", dilation, spatial, 1)
    padding = spread(name, "padding", padding, spatial, 0)
    extra = spread(name, "output_padding", output_padding, spatial, 0)
    require_groups(sizes, name, groups, w.shape[0], "the number of input channels")
    sizes.equal(
        x.shape[-spatial - 1],
        w.shape[0],
        f"{name}: given weight {w}, expected the input to have {w.shape[0]} channels, but got {x}",
    )
    channels = w.shape[1] * groups
    require_bias(sizes, name, bias, channels)
    shape: list[Dim] = []
    for i in range(spatial):
        if extra[i] >= max(stride[i], dilation[i]):
            raise RuntimeError(
                f"{name}: output padding must be smaller than either stride or dilation, given output_padding="
                f"{list(extra)}, stride={list(stride)}, dilation={list(dilation)}"
            )
        size = (
            (x.shape[i - spatial] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (w.shape[2 + i] - 1) + extra[i] + 1
        )
        hint = sizes.hint(size)
        if hint is not None and hint < 1:
            raise RuntimeError(f"{name}: the output size would be {hint} in spatial dimension {i}, given {x} and {w}")
        shape.append(size)
    return TensorType(x.dtype, (*x.shape[: -spatial - 1], channels, *shape), same_device(name, (x, w, bias)))


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
    stride, pads, dilation = geometry("conv_transpose2d", weight, stride, padding, dilation)
    extra = spread("conv_transpose2d", "output_padding", output_padding, 2, 0)
    x = F.unsqueeze(input, 0) if input.ndim == 3 else input
    size = tuple(
        transposed_size(x.shape[2 + i], weight.shape[2 + i], stride[i], 2 * pads[2 * i], extra[i], dilation[i])
        for i in (0, 1)
    )
    # Output padding beyond stride - 1 would leave room for more places of the kernel: it is cut off the padding at the
    # end, and what that has not is added as zeros.
    excess = [max(0, extra[i] - stride[i] + 1) for i in (0, 1)]
    taken = [min(excess[i], pads[2 * i + 1]) for i in (0, 1)]
    rest = [excess[i] - taken[i] for i in (0, 1)]
    pads = (pads[0], pads[1] - taken[0], pads[2], pads[3] - taken[1])
    size = tuple(size[i] - rest[i] for i in (0, 1))
    value = F.conv2d_input_grad(x, weight, size, stride=stride, padding=pads, dilation=dilation, groups=groups)
    if any(rest):
        value = F.pad(value, (0, rest[1], 0, rest[0]))
    if bias is not None:
        value = F.add(value, F.unsqueeze(F.unsqueeze(bias, 1), 1))
    return F.squeeze(value, 0) if input.ndim == 3 else value


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
    shapes = geometry("conv_transpose2d", weight, stride, padding, dilation)
    strides, pads, dilations = shapes
    extra = spread("conv_transpose2d", "output_padding", output_padding, 2, 0)
    size: Any = tuple(
        transposed_size(input.shape[i - 2], weight.shape[2 + i], strides[i], 2 * pads[2 * i], extra[i], dilations[i])
        for i in (0, 1)
    )
    value = batched(lambda x: input_gradient(xp, x, weight, size, *shapes, groups), input)
    return add_bias(value, bias)


CONV_TRANSPOSE2D = define(
    "conv_transpose2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: ints = 1, padding: ints = 0, "
    "output_padding: ints = 0, groups: int = 1, dilation: ints = 1)",
    "The transposed convolution of [N, C, H, W] (or [C, H, W]) with a weight [C, O / groups, kh, kw]: the gradient of "
    "conv2d with respect to its input, as a function of its own.\n\n"
    ">>> ingot.nn.functional.conv_transpose2d(ingot.ones(1, 1, 2, 2), ingot.ones(1, 1, 2, 2)).shape\n"
    "ingot.Size([1, 1, 3, 3])",
    infer=lambda sizes, input, weight, bias, *, stride, padding, output_padding, groups, dilation: infer_transposed(
        "conv_transpose2d", sizes, input, weight, bias, stride, padding, output_padding, groups, dilation, 2
    ),
    evaluate=_evaluate_transposed,
    vjp=derived_vjp(_decompose_transposed),
    lower=Decompose(_decompose_transposed),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 3, 3, 4), randoms(3, 2, 3, 2, seed=1), randoms(2, seed=2))),
        Sample((randoms(1, 4, 3, 3), randoms(4, 1, 3, 3, seed=1)), {"stride": 2, "padding": 1, "groups": 2}),
        Sample((randoms(2, 3, 3), randoms(2, 3, 2, 2, seed=1), randoms(3)), {"stride": (2, 3), "output_padding": 1}),
        Sample((randoms(1, 2, 3, 3), randoms(2, 1, 2, 2, seed=1)), {"output_padding": 2, "dilation": 3, "padding": 1}),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 2, 3, 3), randoms(3, 2, 2, 2)), RuntimeError, "to have 3 channels"),
        ErrorSample((randoms(1, 2, 3, 3), randoms(2, 2, 2, 2)), RuntimeError, "smaller than", {"output_padding": 1}),
        ErrorSample((randoms(1, 2, 1, 1), randoms(2, 2, 1, 1)), RuntimeError, "output size", {"padding": 1}),
    ],
)


# -- one dimension: two with a height of 1 -----------------------------------------------------------------------------


def _flat(x: Any) -> Any:
    return F.unsqueeze(x, -2)


def _flat_padding(padding: Any) -> Any:
    return padding if isinstance(padding, str) else (0, padding if isinstance(padding, int) else padding[0])


def _decompose_conv1d(
    input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    value = F.conv2d(
        _flat(input), _flat(weight), bias, (1, stride[0]), _flat_padding(padding), (1, dilation[0]), groups
    )
    return F.squeeze(value, -2)


def _evaluate_conv1d(xp: Any, input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, **rest: Any) -> Any:
    (dilation,) = rest.pop("dilation")
    return evaluate_conv2d(
        xp,
        input[..., None, :],
        weight[..., None, :],
        bias,
        stride=(1, *stride),
        padding=_flat_padding(padding),
        dilation=(1, dilation),
        **rest,
    )[..., 0, :]


CONV1D = define(
    "conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: ints = 1, padding: any = 0, "
    "dilation: ints = 1, groups: int = 1)",
    "Cross-correlation of [N, C, L] (or [C, L]) with a weight [O, C / groups, k].\n\n"
    ">>> ingot.nn.functional.conv1d(ingot.tensor([[[1., 2., 3.]]]), ingot.tensor([[[1., 1.]]]))\n"
    "tensor([[[3., 5.]]])",
    infer=lambda sizes, input, weight, bias, *, stride, padding, dilation, groups: infer_conv(
        "conv1d", sizes, input, weight, bias, stride, padding, dilation, groups, 1
    ),
    evaluate=_evaluate_conv1d,
    vjp=derived_vjp(_decompose_conv1d),
    lower=Decompose(_decompose_conv1d),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 3, 7), randoms(4, 3, 3, seed=1), randoms(4, seed=2))),
        Sample((randoms(1, 2, 8), randoms(2, 1, 3, seed=1)), {"groups": 2, "stride": 2, "padding": 1}),
        Sample((randoms(2, 6), randoms(3, 2, 2, seed=1)), {"padding": "same", "dilation": 2}),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 3, 7), randoms(4, 2, 3)), RuntimeError, "channels"),
        ErrorSample((randoms(2, 3, 2), randoms(4, 3, 3)), RuntimeError, "does not fit"),
    ],
)


def _decompose_transposed1d(
    input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Any:
    value = F.conv_transpose2d(
        _flat(input),
        _flat(weight),
        bias,
        (1, stride[0]),
        (0, padding[0]),
        (0, output_padding[0]),
        groups,
        (1, dilation[0]),
    )
    return F.squeeze(value, -2)


def _evaluate_transposed1d(
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
    return _evaluate_transposed(
        xp,
        input[..., None, :],
        weight[..., None, :],
        bias,
        stride=(1, *stride),
        padding=(0, *padding),
        output_padding=(0, *output_padding),
        groups=groups,
        dilation=(1, *dilation),
    )[..., 0, :]


CONV_TRANSPOSE1D = define(
    "conv_transpose1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: ints = 1, padding: ints = 0, "
    "output_padding: ints = 0, groups: int = 1, dilation: ints = 1)",
    "The transposed convolution of [N, C, L] (or [C, L]) with a weight [C, O / groups, k].\n\n"
    ">>> ingot.nn.functional.conv_transpose1d(ingot.tensor([[[1., 2.]]]), ingot.tensor([[[1., 1.]]]))\n"
    "tensor([[[1., 3., 2.]]])",
    infer=lambda sizes, input, weight, bias, *, stride, padding, output_padding, groups, dilation: infer_transposed(
        "conv_transpose1d", sizes, input, weight, bias, stride, padding, output_padding, groups, dilation, 1
    ),
    evaluate=_evaluate_transposed1d,
    vjp=derived_vjp(_decompose_transposed1d),
    lower=Decompose(_decompose_transposed1d),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 3, 4), randoms(3, 2, 3, seed=1), randoms(2, seed=2))),
        Sample(
            (randoms(4, 3), randoms(4, 1, 3, seed=1)), {"stride": 2, "padding": 1, "groups": 2, "output_padding": 1}
        ),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 2, 3), randoms(3, 2, 2)), RuntimeError, "to have 3 channels"),
        ErrorSample((randoms(1, 2, 3), randoms(2, 2, 2)), RuntimeError, "smaller than", {"output_padding": 1}),
    ],
)
