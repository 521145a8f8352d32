"""Pooling over windows of the last two dimensions: maximum, mean, and mean to a given size."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dims import Dim, dim_min
from ..dtypes import int64
from ..sizes import Sizes
from ..types import TensorType
from ._common import dim_value, ints, randoms, require_tensor
from ._derive import derived_vjp
from ._op import Custom, Decompose, ErrorSample, F, Sample, define
from .conv import spread
from .conv_reference import Padding, Pair, padded

_WINDOW = "kernel_size: ints, stride: ints | None = None, padding: ints = 0"


def _pool_geometry(
    name: str, kernel_size: tuple[int, ...], stride: tuple[int, ...] | None, padding: tuple[int, ...]
) -> tuple[Pair, Pair, Pair]:
    kernel = spread(name, "kernel_size", kernel_size, 2, 1)
    strides = spread(name, "stride", stride or kernel, 2, 1)
    pads = spread(name, "padding", padding, 2, 0)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise RuntimeError(
            f"{name}: pad should be at most half of effective kernel size, given padding={pads}, kernel={kernel}"
        )
    return kernel, strides, pads  # type: ignore[return-value]


def pooled_size(size: Dim, kernel: int, stride: int, pad: int, dilation: int, ceil_mode: bool) -> Dim:
    """The number of windows; with `ceil_mode` also one that hangs over the end, if it starts inside or in the left
    border."""
    span = size + (2 * pad - dilation * (kernel - 1) - 1)
    if not ceil_mode:
        return span // stride + 1
    return dim_min((span + (stride - 1)) // stride + 1, (size + (pad - 1)) // stride + 1)


def _pooled_shape(
    sizes: Sizes, name: str, input: TensorType, kernel: Pair, stride: Pair, pads: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Dim, ...]:
    if input.rank not in (3, 4):
        raise RuntimeError(f"{name}: expected an input of rank 3 or 4, given {input}")
    shape: list[Dim] = list(input.shape[:-2])
    for i in (0, 1):
        size = pooled_size(input.shape[i - 2], kernel[i], stride[i], pads[i], dilation[i], ceil_mode)
        hint = sizes.hint(size)
        if hint is not None and hint < 1:
            raise RuntimeError(f"{name}: the output size would be {hint} in spatial dimension {i}, given {input}")
        shape.append(size)
    return tuple(shape)


def _slices(kernel: Pair, stride: Pair, dilation: Pair, out: Pair) -> Iterator[tuple[slice, slice]]:
    """For each element of the window, in row-major order, the places in the padded input that it meets."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            yield (
                slice(top, top + (out[0] - 1) * stride[0] + 1, stride[0]),
                slice(left, left + (out[1] - 1) * stride[1] + 1, stride[1]),
            )


def _extended(xp: Any, x: Any, kernel: Pair, stride: Pair, pads: Pair, dilation: Pair, out: Pair, fill: Any) -> Any:
    """The input with its border, and more after its end where the last window needs it."""
    after = [
        max((out[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 - x.shape[i - 2] - pads[i], 0) for i in (0, 1)
    ]
    return padded(xp, x, (pads[0], after[0], pads[1], after[1]), fill)


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


# -- maximum -----------------------------------------------------------------------------------------------------------


def _max_types(
    sizes: Sizes, input: Any, *, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> TensorType:
    input = require_tensor("max_pool2d", "input", input)
    geometry = _pool_geometry("max_pool2d", kernel_size, stride, padding)
    dilations: Any = spread("max_pool2d", "dilation", dilation, 2, 1)
    shape = _pooled_shape(sizes, "max_pool2d", input, *geometry, dilations, ceil_mode)
    return TensorType(input.dtype, shape, input.device)


def _winners(
    xp: Any, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, *, places: bool
) -> tuple[Any, Any, Pair, list[tuple[slice, slice]], Any]:
    """The maximum of each window, and which element of the window it is (where `places`)."""
    kernel, strides, pads = _pool_geometry("max_pool2d", kernel_size, stride, padding)
    dilations: Any = spread("max_pool2d", "dilation", dilation, 2, 1)
    out: Any = tuple(
        pooled_size(x.shape[i - 2], kernel[i], strides[i], pads[i], dilations[i], ceil_mode) for i in (0, 1)
    )
    wide = _extended(xp, x, kernel, strides, pads, dilations, out, _lowest(x.dtype))
    slices = list(_slices(kernel, strides, dilations, out))
    best = wide[(..., *slices[0])].copy()
    with np.errstate(all="ignore"):
        for part in slices[1:]:
            xp.maximum(best, wide[(..., *part)], out=best)
    which = _first_equal(xp, best, wide, slices, _pads_of(wide, x, pads), x.shape[-2:]) if places else None
    return best, which, out, slices, wide


def _first_equal(xp: Any, best: Any, wide: Any, slices: list[tuple[slice, slice]], pads: Padding, size: Pair) -> Any:
    """For each window, its first element that is the maximum; one in the border never is."""
    which = xp.zeros(best.shape, np.uint8 if len(slices) <= 256 else np.int32)
    inside = padded(xp, xp.ones(size, bool), pads, False) if any(pads) else None
    nan = xp.isnan(best) if best.dtype.kind == "f" else None
    for k in range(len(slices) - 1, -1, -1):
        candidate = wide[(..., *slices[k])]
        equal = candidate == best
        if nan is not None and nan.any():
            equal |= nan & xp.isnan(candidate)
        if inside is not None:
            equal &= inside[slices[k]]
        xp.copyto(which, k, where=equal)
    return which


def _pads_of(wide: Any, x: Any, pads: Pair) -> Padding:
    return (
        pads[0],
        wide.shape[-2] - x.shape[-2] - pads[0],
        pads[1],
        wide.shape[-1] - x.shape[-1] - pads[1],
    )


def _evaluate_max(xp: Any, input: Any, **window: Any) -> Any:
    return _winners(xp, input, **window, places=False)[0]


def _evaluate_max_with_indices(xp: Any, input: Any, **window: Any) -> tuple[Any, Any]:
    best, which, out, _, _ = _winners(xp, input, **window, places=True)
    kernel, stride, pads = _pool_geometry("max_pool2d", window["kernel_size"], window["stride"], window["padding"])
    dilation = spread("max_pool2d", "dilation", window["dilation"], 2, 1)
    which = which.astype(np.int64)
    row, column = which // kernel[1] * dilation[0], which % kernel[1] * dilation[1]
    row = row + (xp.arange(out[0]) * stride[0] - pads[0])[:, None]
    column = column + (xp.arange(out[1]) * stride[1] - pads[1])
    return best, row * input.shape[-1] + column


def _gather_places(values: Any, indices: Any) -> Any:
    """Values at places of the last two dimensions, given as positions in them."""
    found = F.gather(F.flatten(values, -2), -1, F.flatten(indices, -2))
    return F.reshape(found, tuple(indices.shape))


_MAX_SCHEMA = f"{_WINDOW}, dilation: ints = 1, ceil_mode: bool = False"


def _max_samples() -> list[Sample]:
    return [
        Sample((randoms(2, 3, 6, 4), 2)),
        Sample((randoms(1, 2, 7, 5), 3), {"stride": 2, "padding": 1}),
        Sample((randoms(2, 5, 7), (2, 3)), {"stride": (1, 2), "dilation": (2, 1)}),
        Sample((randoms(1, 1, 5, 6), 2), {"ceil_mode": True}),
        Sample((randoms(1, 1, 4, 5), (2, 4)), {"stride": 3, "padding": (1, 2), "ceil_mode": True}),
        Sample((randoms(0, 1, 4, 4), 2)),
        Sample((ints(1, 4, 4), 2), differentiable=False),
        Sample((np.array([[[np.nan, 1, -np.inf, -np.inf]]], np.float32), (1, 2)), differentiable=False),
    ]


def _max_errors() -> list[ErrorSample]:
    return [
        ErrorSample((randoms(1, 1, 4, 4), 2), RuntimeError, "half of effective kernel", {"padding": 2}),
        ErrorSample((randoms(1, 1, 2, 4), 3), RuntimeError, "output size would be 0"),
        ErrorSample((randoms(4, 4), 2), RuntimeError, "rank 3 or 4"),
        ErrorSample((randoms(1, 4, 4), (2, 2, 2)), RuntimeError, "one int or 2"),
    ]


MAX_POOL2D = define(
    f"max_pool2d(input: Tensor, {_MAX_SCHEMA})",
    "The maximum of each window of the last two dimensions; the stride is the kernel's size unless given.\n\n"
    ">>> ingot.nn.functional.max_pool2d(ingot.tensor([[[1., 2.], [3., 4.]]]), 2)\n"
    "tensor([[[4.]]])",
    infer=_max_types,
    evaluate=_evaluate_max,
    vjp=lambda c, g, input, **window: (F.max_pool2d_grad(g, input, **window),),
    lower=Custom("max_pool2d"),
    public=("functional",),
    samples=_max_samples,
    errors=_max_errors,
)


def _max_with_indices_types(sizes: Sizes, input: Any, **window: Any) -> tuple[TensorType, TensorType]:
    result = _max_types(sizes, input, **window)
    return result, TensorType(int64, result.shape, result.device)


MAX_POOL2D_WITH_INDICES = define(
    f"max_pool2d_with_indices(input: Tensor, {_MAX_SCHEMA})",
    "As max_pool2d, and where each maximum is: its row * width + column in the input.",
    infer=_max_with_indices_types,
    evaluate=_evaluate_max_with_indices,
    vjp=lambda c, g, input, **window: (None if g[0] is None else F.max_pool2d_grad(g[0], input, **window),),
    lower=Custom("max_pool2d_with_indices"),
    outputs=2,
    samples=_max_samples,
    errors=_max_errors,
)


def _evaluate_max_grad(xp: Any, gradient: Any, input: Any, **window: Any) -> Any:
    _, which, _, slices, wide = _winners(xp, input, **window, places=True)
    result = xp.zeros(wide.shape, gradient.dtype)
    with np.errstate(all="ignore"):
        for k, part in enumerate(slices):
            result[(..., *part)] += xp.where(which == k, gradient, gradient.dtype.type(0))
    top, left = spread("max_pool2d", "padding", window["padding"], 2, 0)
    return xp.ascontiguousarray(result[..., top : top + input.shape[-2], left : left + input.shape[-1]])


def _max_grad_types(sizes: Sizes, gradient: Any, input: Any, **window: Any) -> TensorType:
    result = _max_types(sizes, input, **window)
    for a, b in zip(gradient.shape, result.shape, strict=True):
        sizes.equal(a, b, f"max_pool2d_grad: expected a gradient of shape {result.shape}, given {gradient}")
    return TensorType(gradient.dtype, input.shape, input.device)


MAX_POOL2D_GRAD = define(
    f"max_pool2d_grad(gradient: Tensor, input: Tensor, {_MAX_SCHEMA})",
    "The gradient of max_pool2d: each goes to the place of its window's maximum.",
    infer=_max_grad_types,
    evaluate=_evaluate_max_grad,
    vjp=lambda c, g, gradient, input, **window: (
        _gather_places(g, F.max_pool2d_with_indices(input, **window)[1]) if c.needs[0] else None,
        None,
    ),
    lower=Custom("max_pool2d_grad"),
    samples=lambda: [
        Sample((randoms(2, 3, 3, 2), randoms(2, 3, 6, 4, seed=1), 2)),
        Sample((randoms(1, 2, 4, 3), randoms(1, 2, 7, 5, seed=1), 3), {"stride": 2, "padding": 1}),
        Sample((randoms(1, 3, 3), randoms(1, 5, 5, seed=1), 2), {"ceil_mode": True}),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 1, 3, 3), randoms(1, 1, 4, 4), 2), RuntimeError, "gradient of shape"),
    ],
)


# -- mean --------------------------------------------------------------------------------------------------------------


def _avg_types(
    sizes: Sizes,
    input: Any,
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> TensorType:
    input = require_tensor("avg_pool2d", "input", input)
    if not input.dtype.is_floating_point and input.dtype is not int64:
        raise RuntimeError(f"avg_pool2d: expected a floating-point tensor, given {input}")
    if divisor_override == 0:
        raise RuntimeError("avg_pool2d: divisor must be not zero")
    geometry = _pool_geometry("avg_pool2d", kernel_size, stride, padding)
    return TensorType(
        input.dtype, _pooled_shape(sizes, "avg_pool2d", input, *geometry, (1, 1), ceil_mode), input.device
    )


def _divisors(
    xp: Any, size: Pair, out: Pair, kernel: Pair, stride: Pair, pads: Pair, include: bool, override: int | None
) -> Any:
    """What each window's sum is divided by: the elements that count."""
    if override is not None:
        return override
    counts = []
    for i in (0, 1):
        start = xp.arange(out[i]) * stride[i] - pads[i]
        end = xp.minimum(start + kernel[i], size[i] + pads[i])
        counts.append(end - start if include else xp.minimum(end, size[i]) - xp.maximum(start, 0))
    return xp.multiply.outer(counts[0], counts[1])


def _evaluate_avg(
    xp: Any,
    input: Any,
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Any:
    kernel, strides, pads = _pool_geometry("avg_pool2d", kernel_size, stride, padding)
    x = input.astype(np.float32) if input.dtype == np.float16 else input
    size = x.shape[-2:]
    out: Any = tuple(pooled_size(size[i], kernel[i], strides[i], pads[i], 1, ceil_mode) for i in (0, 1))
    wide = _extended(xp, x, kernel, strides, pads, (1, 1), out, 0)
    total = xp.zeros((*x.shape[:-2], *out), x.dtype)
    with np.errstate(all="ignore"):
        for part in _slices(kernel, strides, (1, 1), out):
            total += wide[(..., *part)]
        divisors = _divisors(xp, size, out, kernel, strides, pads, count_include_pad, divisor_override)
        if x.dtype.kind == "i":
            return xp.trunc(total / divisors).astype(input.dtype)
        total /= xp.asarray(divisors, x.dtype)
    return total.astype(input.dtype, copy=False)


_AVG_SCHEMA = f"{_WINDOW}, ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None"

AVG_POOL2D = define(
    f"avg_pool2d(input: Tensor, {_AVG_SCHEMA})",
    "The mean of each window of the last two dimensions; zeros of the border count unless `count_include_pad` is off."
    "\n\n>>> ingot.nn.functional.avg_pool2d(ingot.tensor([[[1., 2.], [3., 4.]]]), 2)\n"
    "tensor([[[2.5000]]])",
    infer=_avg_types,
    evaluate=_evaluate_avg,
    vjp=lambda c, g, input, **window: (F.avg_pool2d_grad(g, tuple(input.shape[-2:]), **window),),
    lower=Custom("avg_pool2d"),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 3, 6, 4), 2)),
        Sample((randoms(1, 2, 7, 5), 3), {"stride": 2, "padding": 1}),
        Sample((randoms(1, 2, 7, 5), 3), {"stride": 2, "padding": 1, "count_include_pad": False}),
        Sample((randoms(2, 5, 6), (2, 4)), {"stride": 3, "ceil_mode": True, "padding": (1, 1)}),
        Sample((randoms(1, 1, 4, 4), 2), {"divisor_override": 3, "stride": 1}),
    ],
    errors=lambda: [
        ErrorSample((ints(1, 4, 4, dtype="int32"), 2), RuntimeError, "floating-point"),
        ErrorSample((randoms(1, 4, 4), 2), RuntimeError, "not zero", {"divisor_override": 0}),
        ErrorSample((randoms(1, 1, 4), 2), RuntimeError, "output size would be 0"),
    ],
)


def _avg_grad_types(sizes: Sizes, gradient: Any, size: Any, **window: Any) -> TensorType:
    gradient = require_tensor("avg_pool2d_grad", "gradient", gradient)
    spatial = tuple(dim_value("avg_pool2d_grad", "size", s) for s in size)
    return TensorType(gradient.dtype, (*gradient.shape[:-2], *spatial), gradient.device)


def _evaluate_avg_grad(
    xp: Any,
    gradient: Any,
    size: Pair,
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Any:
    kernel, strides, pads = _pool_geometry("avg_pool2d", kernel_size, stride, padding)
    g = gradient.astype(np.float32) if gradient.dtype == np.float16 else gradient
    out: Any = g.shape[-2:]
    with np.errstate(all="ignore"):
        g = g / xp.asarray(
            _divisors(xp, size, out, kernel, strides, pads, count_include_pad, divisor_override), g.dtype
        )
        result = _extended(xp, xp.zeros((*g.shape[:-2], *size), g.dtype), kernel, strides, pads, (1, 1), out, 0)
        for part in _slices(kernel, strides, (1, 1), out):
            result[(..., *part)] += g
    inner = result[..., pads[0] : pads[0] + size[0], pads[1] : pads[1] + size[1]]
    return xp.ascontiguousarray(inner, gradient.dtype)


AVG_POOL2D_GRAD = define(
    f"avg_pool2d_grad(gradient: Tensor, size: Size, {_AVG_SCHEMA})",
    "The gradient of avg_pool2d with respect to an input whose last two dimensions are `size`.",
    infer=_avg_grad_types,
    evaluate=_evaluate_avg_grad,
    vjp=lambda c, g, gradient, size, **window: (F.avg_pool2d(g, **window), None),
    lower=Custom("avg_pool2d_grad"),
    samples=lambda: [
        Sample((randoms(2, 3, 2), (6, 4), 2)),
        Sample((randoms(1, 2, 4, 3), (7, 5), 3), {"stride": 2, "padding": 1, "count_include_pad": False}),
    ],
    errors=lambda: [ErrorSample((1.5, (6, 4), 2), TypeError, "must be Tensor")],
)


# -- mean to a given size ----------------------------------------------------------------------------------------------


def _adaptive_size(name: str, output_size: Any, shape: tuple[Dim, ...]) -> tuple[Dim, Dim]:
    wanted = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    if len(wanted) != 2 or any(w is not None and (not isinstance(w, int) or w < 1) for w in wanted):
        raise RuntimeError(f"{name}: expected output_size to be one or two positive ints or None, given {output_size}")
    return tuple(size if w is None else w for w, size in zip(wanted, shape[-2:], strict=True))  # type: ignore[return-value]


def _infer_adaptive(sizes: Sizes, input: Any, *, output_size: Any) -> TensorType:
    input = require_tensor("adaptive_avg_pool2d", "input", input)
    if input.rank not in (3, 4) or not input.dtype.is_floating_point:
        raise RuntimeError(f"adaptive_avg_pool2d: expected a floating-point input of rank 3 or 4, given {input}")
    for size in input.shape[-2:]:
        if sizes.hint(size) == 0:
            raise RuntimeError(f"adaptive_avg_pool2d: expected spatial dimensions above 0, given {input}")
    size = _adaptive_size("adaptive_avg_pool2d", output_size, input.shape)
    return TensorType(input.dtype, (*input.shape[:-2], *size), input.device)


def _bin_edges(xp: Any, size: int, out: int) -> tuple[Any, Any]:
    index = xp.arange(out)
    return index * size // out, ((index + 1) * size + out - 1) // out


def _evaluate_adaptive(xp: Any, input: Any, *, output_size: Any) -> Any:
    out = _adaptive_size("adaptive_avg_pool2d", output_size, input.shape)
    x = input.astype(np.float32) if input.dtype == np.float16 else input
    with np.errstate(all="ignore"):
        for axis, count in ((-2, out[0]), (-1, out[1])):
            starts, ends = _bin_edges(np, x.shape[axis], count)  # type: ignore[arg-type]
            index: Any = [slice(None)] * x.ndim
            parts = []
            for start, end in zip(starts, ends, strict=True):
                index[axis] = slice(start, end)
                parts.append(x[tuple(index)].mean(axis=axis, keepdims=True))
            x = xp.concatenate(parts, axis)
    return x.astype(input.dtype, copy=False)


def _decompose_adaptive(input: Any, *, output_size: Any) -> Any:
    out = _adaptive_size("adaptive_avg_pool2d", output_size, tuple(input.shape))
    whole = tuple(axis for axis, count in ((-2, out[0]), (-1, out[1])) if count == 1)
    if whole:
        input = F.mean(input, whole, True)
    for axis, count in ((-2, out[0]), (-1, out[1])):
        size = input.shape[axis]
        if count in (1, size):
            continue
        if isinstance(size, int) and isinstance(count, int) and size % count == 0:
            input = F.mean(F.unflatten(input, axis, (count, size // count)), axis if axis == -1 else -2)
        else:
            input = (
                F.matmul(input, F.transpose(_averaging(size, count, input.dtype), 0, 1))
                if axis == -1
                else (F.matmul(_averaging(size, count, input.dtype), input))
            )
    return input


def _averaging(size: Dim, count: Dim, dtype: Any) -> Any:
    """The matrix [count, size] whose rows average over the bins (i * size // count, ceil((i + 1) * size / count))."""
    index = F.unsqueeze(F.arange(0, count, 1), 1)
    start = F.floor_divide(F.mul(index, size), count)
    end = F.floor_divide(F.add(F.mul(F.add(index, 1), size), count - 1), count)
    place = F.arange(0, size, 1)
    inside = F.cast(F.logical_and(F.ge(place, start), F.lt(place, end)), dtype=dtype)
    return F.div(inside, F.cast(F.sub(end, start), dtype=dtype))


ADAPTIVE_AVG_POOL2D = define(
    "adaptive_avg_pool2d(input: Tensor, output_size: any)",
    "Means over windows that divide the last two dimensions into `output_size` parts (None keeps a size).\n\n"
    ">>> ingot.nn.functional.adaptive_avg_pool2d(ingot.ones(1, 4, 6), (2, 3)).shape\n"
    "ingot.Size([1, 2, 3])",
    infer=_infer_adaptive,
    evaluate=_evaluate_adaptive,
    vjp=derived_vjp(_decompose_adaptive),
    lower=Decompose(_decompose_adaptive),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(2, 3, 6, 4), 1)),
        Sample((randoms(1, 2, 6, 4), (3, 2))),
        Sample((randoms(2, 7, 5), (3, None))),
        Sample((randoms(2, 5, 4), (7, 3))),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 1, 4, 4), (0, 1)), RuntimeError, "positive ints"),
        ErrorSample((randoms(4, 4), 1), RuntimeError, "rank 3 or 4"),
    ],
)
