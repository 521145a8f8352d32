"""Convolutions: conv2d and its two gradients, the transposed convolution, and the one-dimensional forms."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dims import Dim
from ..sizes import Sizes
from ..types import TensorType
from ._common import dim_value, randoms, require_tensor, same_device, shape_text
from ._op import Custom, ErrorSample, F, Sample, VjpContext, define
from .conv_reference import Padding, Pair, forward, input_gradient, weight_gradient, windows_in
from .matmul import require_one_dtype

# -- arguments ---------------------------------------------------------------------------------------------------------


def spread(name: str, argument: str, values: tuple[int, ...], rank: int, low: int) -> tuple[int, ...]:
    """One number for each spatial dimension; RuntimeError where there are others or some are below `low`."""
    values = tuple(values) * rank if len(values) == 1 else tuple(values)
    if len(values) != rank:
        raise RuntimeError(f"{name}: expected {argument} to be one int or {rank}, given {list(values)}")
    if any(v < low for v in values):
        raise RuntimeError(f"{name}: expected {argument} of at least {low}, given {list(values)}")
    return values


def _pads(
    name: str, padding: Any, kernel: tuple[Dim, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...]:
    """(before, after) for each spatial dimension, one after another, from an int, ints, 'same' or 'valid'."""
    rank = len(stride)
    if padding == "valid":
        return (0,) * (2 * rank)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions, given {stride}")
        result: list[int] = []
        for k, d in zip(kernel, dilation, strict=True):
            if not isinstance(k, int):
                raise RuntimeError(f"{name}: padding='same' needs a kernel of known size, given {shape_text(kernel)}")
            total = d * (k - 1)
            result += [total // 2, total - total // 2]
        return tuple(result)
    if isinstance(padding, str):
        raise RuntimeError(f"{name}: expected padding to be ints, 'same' or 'valid', given {padding!r}")
    values = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(values) == 2 * rank and rank > 1:
        if any(v < 0 for v in values):
            raise RuntimeError(f"{name}: expected padding of at least 0, given {list(values)}")
        return values
    return tuple(p for v in spread(name, "padding", values, rank, 0) for p in (v, v))


def geometry(
    name: str, weight: Any, stride: tuple[int, ...], padding: Any, dilation: tuple[int, ...]
) -> tuple[Pair, Padding, Pair]:
    """Stride, padding and dilation of a convolution with such a weight, each spelled out."""
    rank = len(weight.shape) - 2
    stride = spread(name, "stride", stride, rank, 1)
    dilation = spread(name, "dilation", dilation, rank, 1)
    return stride, _pads(name, padding, tuple(weight.shape[2:]), stride, dilation), dilation  # type: ignore[return-value]


def example_size(sizes: Sizes, size: Dim, message: str) -> Dim:
    """The size as a number, its example value then being a condition of the graph."""
    hint = sizes.hint(size)
    return size if hint is None else sizes.equal(size, hint, message)


def require_conv(
    sizes: Sizes, name: str, input: Any, weight: Any, bias: Any, spatial: int
) -> tuple[TensorType, TensorType]:
    x, w = require_tensor(name, "input", input), require_tensor(name, "weight", weight)
    types = (x, w) if bias is None else (x, w, require_tensor(name, "bias", bias))
    if x.rank not in (spatial + 1, spatial + 2):
        raise RuntimeError(f"{name}: expected an input of rank {spatial + 1} or {spatial + 2}, given {x}")
    if w.rank != spatial + 2:
        raise RuntimeError(f"{name}: expected a weight of rank {spatial + 2}, given {w}")
    require_one_dtype(name, types)
    return x, w


def require_groups(sizes: Sizes, name: str, groups: int, channels: Dim, what: str) -> None:
    if groups < 1:
        raise RuntimeError(f"{name}: groups must be positive, given {groups}")
    hint = sizes.hint(channels)
    if hint is not None and hint % groups:
        raise RuntimeError(f"{name}: {what} ({channels}) must be divisible by groups ({groups})")


def require_bias(sizes: Sizes, name: str, bias: Any, channels: Dim) -> None:
    if bias is not None:
        message = f"{name}: expected a bias of shape [{channels}], given {bias}"
        if bias.rank != 1:
            raise RuntimeError(message)
        sizes.equal(bias.shape[0], channels, message)


def infer_conv(
    name: str,
    sizes: Sizes,
    input: Any,
    weight: Any,
    bias: Any,
    stride: tuple[int, ...],
    padding: Any,
    dilation: tuple[int, ...],
    groups: int,
    spatial: int,
) -> TensorType:
    x, w = require_conv(sizes, name, input, weight, bias, spatial)
    stride = spread(name, "stride", stride, spatial, 1)
    dilation = spread(name, "dilation", dilation, spatial, 1)
    kernel = w.shape[2:]
    if padding == "same":
        kernel = tuple(
            example_size(sizes, k, f"{name}: padding='same' was worked out for kernel {kernel}") for k in kernel
        )
    pads = _pads(name, padding, kernel, stride, dilation)
    require_groups(sizes, name, groups, w.shape[0], "the number of output channels")
    sizes.equal(
        x.shape[-spatial - 1],
        w.shape[1] * groups,
        f"{name}: given groups={groups} and weight {w}, expected the input to have {w.shape[1] * groups} channels, "
        f"but got {x.shape[-spatial - 1]}: {x}",
    )
    require_bias(sizes, name, bias, w.shape[0])
    shape: list[Dim] = []
    for i, (size, k, s, d) in enumerate(zip(x.shape[-spatial:], kernel, stride, dilation, strict=True)):
        count = windows_in(size, pads[2 * i], pads[2 * i + 1], k, s, d)
        hint = sizes.hint(count)
        if hint is not None and hint < 1:
            raise RuntimeError(
                f"{name}: the kernel does not fit: padded input size {size + pads[2 * i] + pads[2 * i + 1]}, "
                f"kernel size {d * (k - 1) + 1} in spatial dimension {i}: {x}, {w}"
            )
        shape.append(count)
    return TensorType(x.dtype, (*x.shape[: -spatial - 1], w.shape[0], *shape), same_device(name, (x, w, bias)))


# -- conv2d ------------------------------------------------------------------------------------------------------------


def _infer_conv2d(
    sizes: Sizes, input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> TensorType:
    return infer_conv("conv2d", sizes, input, weight, bias, stride, padding, dilation, groups, 2)


def batched(function: Callable[[Any], Any], x: Any) -> Any:
    """The function of a batch, applied to one image where `x` is one."""
    return function(x[None])[0] if x.ndim == 3 else function(x)


def add_bias(value: Any, bias: Any) -> Any:
    if bias is not None:
        with np.errstate(all="ignore"):
            value += bias[:, None, None]
    return value


def evaluate_conv2d(
    xp: Any, input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    shapes = geometry("conv2d", weight, stride, padding, dilation)
    value = batched(lambda x: forward(xp, x, weight, *shapes, groups), input)
    return add_bias(value, bias)


def conjugated(x: Any) -> Any:
    """The other factor of a product, as its derivative has it."""
    return F.conj(x) if x.dtype.is_complex else x


def _conv2d_vjp(
    c: VjpContext, g: Any, input: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Any, Any, Any]:
    stride, pads, dilation = geometry("conv2d", weight, stride, padding, dilation)
    rest = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}
    x, grad = (F.unsqueeze(v, 0) if input.ndim == 3 else v for v in (input, g))
    for_input = for_weight = for_bias = None
    if c.needs[0]:
        for_input = F.conv2d_input_grad(grad, conjugated(weight), tuple(input.shape[-2:]), **rest)
        for_input = F.squeeze(for_input, 0) if input.ndim == 3 else for_input
    if c.needs[1]:
        for_weight = F.conv2d_weight_grad(grad, conjugated(x), tuple(weight.shape[-2:]), **rest)
    if bias is not None and c.needs[2]:
        for_bias = F.sum(grad, (0, 2, 3))
    return for_input, for_weight, for_bias


CONV2D = define(
    "conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: ints = 1, padding: any = 0, "
    "dilation: ints = 1, groups: int = 1)",
    "Cross-correlation of [N, C, H, W] (or [C, H, W]) with a weight [O, C / groups, kh, kw].\n\n"
    "`padding` is one int, two, 'same' or 'valid'; as an extension also four: top, bottom, left, right.\n\n"
    ">>> ingot.nn.functional.conv2d(ingot.ones(1, 1, 3, 3), ingot.ones(1, 1, 2, 2))\n"
    "tensor([[[[4., 4.],\n"
    "          [4., 4.]]]])",
    infer=_infer_conv2d,
    evaluate=evaluate_conv2d,
    vjp=_conv2d_vjp,
    lower=Custom("conv2d"),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 3, 5, 6), randoms(4, 3, 3, 2, seed=1), randoms(4, seed=2))),
        Sample((randoms(1, 2, 5, 5), randoms(3, 2, 3, 3, seed=1)), {"padding": 1, "stride": 2}),
        Sample((randoms(2, 4, 6, 5), randoms(6, 2, 2, 3, seed=1), randoms(6)), {"groups": 2, "padding": (1, 2)}),
        Sample((randoms(1, 1, 7, 7), randoms(2, 1, 2, 3, seed=1)), {"dilation": (2, 3), "padding": "same"}),
        Sample((randoms(3, 5, 5), randoms(2, 3, 1, 1, seed=1), randoms(2))),
        Sample((randoms(2, 2, 6, 6), randoms(2, 1, 3, 3, seed=1)), {"groups": 2, "stride": (2, 3), "padding": "valid"}),
        Sample((randoms(1, 1, 4, 4), randoms(1, 1, 3, 3, seed=1)), {"padding": (0, 1, 2, 1)}),
        Sample((randoms(0, 2, 4, 4), randoms(3, 2, 3, 3, seed=1), randoms(3))),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 2, 5, 5), randoms(3, 3, 3, 3)), RuntimeError, "to have 3 channels, but got 2"),
        ErrorSample((randoms(1, 2, 2, 5), randoms(3, 2, 3, 3)), RuntimeError, "does not fit"),
        ErrorSample((randoms(2, 5), randoms(3, 2, 3, 3)), RuntimeError, "rank 3 or 4"),
        ErrorSample((randoms(1, 2, 5, 5), randoms(3, 2, 3, 3), randoms(2)), RuntimeError, r"bias of shape \[3\]"),
        ErrorSample((randoms(1, 2, 5, 5), randoms(3, 1, 3, 3)), RuntimeError, "divisible by groups", {"groups": 2}),
        ErrorSample(
            (randoms(1, 2, 5, 5), randoms(3, 2, 3, 3)), RuntimeError, "strided", {"stride": 2, "padding": "same"}
        ),
        ErrorSample((randoms(1, 2, 5, 5), randoms(3, 2, 3, 3)), RuntimeError, "at least 1", {"stride": 0}),
        ErrorSample((randoms(1, 2, 5, 5), randoms(3, 2, 3, 3)), RuntimeError, "at least 0", {"padding": -1}),
    ],
)


# -- its gradients -----------------------------------------------------------------------------------------------------

_GEOMETRY = "stride: ints, padding: ints, dilation: ints, groups: int"


def _require_places(
    sizes: Sizes,
    name: str,
    gradient: TensorType,
    size: tuple[Dim, ...],
    kernel: tuple[Dim, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
) -> None:
    """RuntimeError where the gradient's spatial size is not that of the convolution's result."""
    for i in (0, 1):
        count = windows_in(size[i], padding[2 * i], padding[2 * i + 1], kernel[i], stride[i], dilation[i])
        sizes.equal(
            gradient.shape[2 + i], count, f"{name}: expected size {count} in spatial dimension {i}, given {gradient}"
        )


def _infer_input_grad(
    sizes: Sizes, gradient: Any, weight: Any, size: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> TensorType:
    g, w = require_conv(sizes, "conv2d_input_grad", gradient, weight, None, 2)
    spatial = tuple(dim_value("conv2d_input_grad", "size", s) for s in size)
    _require_places(sizes, "conv2d_input_grad", g, spatial, w.shape[2:], stride, padding, dilation)
    return TensorType(g.dtype, (g.shape[0], w.shape[1] * groups, *spatial), g.device)


def _input_grad_vjp(
    c: VjpContext, g: Any, gradient: Any, weight: Any, size: Any, **geometry: Any
) -> tuple[Any, Any, None]:
    return (
        F.conv2d(g, conjugated(weight), None, **geometry) if c.needs[0] else None,
        F.conv2d_weight_grad(conjugated(gradient), g, tuple(weight.shape[-2:]), **geometry) if c.needs[1] else None,
        None,
    )


CONV2D_INPUT_GRAD = define(
    f"conv2d_input_grad(gradient: Tensor, weight: Tensor, size: Size, *, {_GEOMETRY})",
    "The gradient of conv2d with respect to an input whose spatial size is `size`.",
    infer=_infer_input_grad,
    evaluate=lambda xp, gradient, weight, size, *, stride, padding, dilation, groups: input_gradient(
        xp, gradient, weight, size, stride, padding, dilation, groups
    ),
    vjp=_input_grad_vjp,
    lower=Custom("conv2d_input_grad"),
    samples=lambda: [
        Sample((randoms(2, 4, 3, 5), randoms(4, 3, 3, 2, seed=1), (5, 6)), _geometry_sample()),
        Sample((randoms(1, 2, 3, 3), randoms(2, 1, 3, 3, seed=1), (6, 6)), _geometry_sample((2, 2), (1, 0, 1, 1), 2)),
    ],
    errors=lambda: [
        ErrorSample(
            (randoms(2, 4, 3, 5), randoms(4, 3, 3, 2), (9, 6)), RuntimeError, "expected size", _geometry_sample()
        ),
    ],
)


def _geometry_sample(stride: Pair = (1, 1), padding: Padding = (0, 0, 0, 0), groups: int = 1) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": (1, 1), "groups": groups}


def _infer_weight_grad(
    sizes: Sizes, gradient: Any, input: Any, size: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> TensorType:
    g, x = require_conv(sizes, "conv2d_weight_grad", gradient, input, None, 2)
    kernel = tuple(dim_value("conv2d_weight_grad", "size", s) for s in size)
    _require_places(sizes, "conv2d_weight_grad", g, x.shape[2:], kernel, stride, padding, dilation)
    return TensorType(g.dtype, (g.shape[1], x.shape[1] // groups, *kernel), g.device)


def _weight_grad_vjp(
    c: VjpContext, g: Any, gradient: Any, input: Any, size: Any, **geometry: Any
) -> tuple[Any, Any, None]:
    return (
        F.conv2d(conjugated(input), g, None, **geometry) if c.needs[0] else None,
        F.conv2d_input_grad(conjugated(gradient), g, tuple(input.shape[-2:]), **geometry) if c.needs[1] else None,
        None,
    )


CONV2D_WEIGHT_GRAD = define(
    f"conv2d_weight_grad(gradient: Tensor, input: Tensor, size: Size, *, {_GEOMETRY})",
    "The gradient of conv2d with respect to a weight whose kernel size is `size`.",
    infer=_infer_weight_grad,
    evaluate=lambda xp, gradient, input, size, *, stride, padding, dilation, groups: weight_gradient(
        xp, gradient, input, size, stride, padding, dilation, groups
    ),
    vjp=_weight_grad_vjp,
    lower=Custom("conv2d_weight_grad"),
    samples=lambda: [
        Sample((randoms(2, 4, 3, 5), randoms(2, 3, 5, 6, seed=1), (3, 2)), _geometry_sample()),
        Sample((randoms(1, 2, 3, 3), randoms(1, 2, 6, 6, seed=1), (3, 3)), _geometry_sample((2, 2), (1, 0, 1, 0), 2)),
    ],
    errors=lambda: [
        ErrorSample(
            (randoms(2, 4, 3, 5), randoms(2, 3, 5, 6), (9, 2)), RuntimeError, "expected size", _geometry_sample()
        ),
    ],
)
