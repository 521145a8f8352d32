"""Images and sequences at another resolution: interpolate, pixel_shuffle and its inverse."""

import math
from typing import Any

import numpy as np

from ..dims import Dim
from ..sizes import Sizes
from ..types import TensorType
from ._common import ints, randoms, require_tensor
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Sample, VjpContext, define
from .resampling import weighted_neighbours

__all__ = ["INTERPOLATE", "lookups"]

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}
_MODES = ("nearest", "nearest-exact", *_LINEAR)


def _factors(scale_factor: Any, spatial: int) -> tuple[float, ...]:
    values = scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * spatial
    if len(values) != spatial or any(not isinstance(v, (int, float)) or v <= 0 for v in values):
        raise ValueError(
            f"interpolate: expected scale_factor to be one or {spatial} numbers above 0, given {scale_factor}"
        )
    return tuple(float(v) for v in values)


def _scaled(size: Dim, factor: float) -> Dim:
    """floor(size * factor); for a symbolic size the factor must be an int or one over an int."""
    if isinstance(size, int):
        return math.floor(size * factor)
    if factor == int(factor):
        return size * int(factor)
    if 1 / factor == round(1 / factor):
        return size // round(1 / factor)
    raise RuntimeError(f"interpolate: a factor of {factor} needs sizes that are known; pass size= instead")


def _output_size(shape: tuple[Dim, ...], size: Any, scale_factor: Any) -> tuple[Dim, ...]:
    spatial = len(shape) - 2
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: exactly one of size and scale_factor should be given")
    if size is None:
        return tuple(_scaled(d, f) for d, f in zip(shape[2:], _factors(scale_factor, spatial), strict=True))
    values = size if isinstance(size, tuple) else (size,) * spatial
    if len(values) != spatial or any(not isinstance(v, int) or v < 1 for v in values):
        raise ValueError(f"interpolate: expected size to be one or {spatial} ints above 0, given {size}")
    return values


def _infer_interpolate(
    sizes: Sizes, input: Any, *, size: Any, scale_factor: Any, mode: str, align_corners: bool
) -> TensorType:
    input = require_tensor("interpolate", "input", input)
    spatial = input.rank - 2
    if mode not in _MODES:
        raise NotImplementedError(f"interpolate: expected mode to be one of {', '.join(_MODES)}, given {mode!r}")
    if not 1 <= spatial <= 3 or _LINEAR.get(mode, spatial) != spatial or not input.dtype.is_floating_point:
        raise NotImplementedError(f"interpolate: mode {mode!r} does not fit the input {input}")
    if align_corners and mode not in _LINEAR:
        raise ValueError(f"interpolate: align_corners needs a linear mode, given {mode!r}")
    shape = _output_size(input.shape, size, scale_factor)
    if any(sizes.hint(d) == 0 for d in (*input.shape[1:], *shape)):
        raise RuntimeError(f"interpolate: input and output sizes must be above 0, given {input} and {list(shape)}")
    return TensorType(input.dtype, (*input.shape[:2], *shape), input.device)


def _ratios(shape: tuple[Any, ...], out: tuple[Any, ...], scale_factor: Any, spatial: int) -> list[tuple[Any, Any]]:
    """For each dimension the step between source places as a fraction: 1 / factor if that was given, else in / out."""
    if scale_factor is not None:
        return [(1.0 / f, 1) for f in _factors(scale_factor, spatial)]
    return list(zip(shape[2:], out, strict=True))


def _places(xp: Any, size: int, out: int, ratio: float, mode: str, align_corners: bool) -> Any:
    index = xp.arange(out, dtype=np.float64)
    if mode in ("nearest", "nearest-exact"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        return xp.minimum(xp.floor((index + shift) * ratio), size - 1).astype(np.int64)
    if align_corners:
        return index * ((size - 1) / (out - 1)) if out > 1 else index * 0
    return xp.clip((index + 0.5) * ratio - 0.5, 0, size - 1)


def _evaluate_interpolate(xp: Any, input: Any, *, size: Any, scale_factor: Any, mode: str, align_corners: bool) -> Any:
    out = _output_size(input.shape, size, scale_factor)
    x = input
    ratios = _ratios(input.shape, out, scale_factor, input.ndim - 2)
    for axis, (count, (numerator, denominator)) in enumerate(zip(out, ratios, strict=True), 2):
        extent = x.shape[axis]
        places = _places(xp, extent, count, numerator / denominator, mode, align_corners)  # type: ignore[arg-type]
        if mode not in _LINEAR:
            x = xp.take(x, places, axis)
            continue
        low = xp.minimum(xp.floor(places).astype(np.int64), extent - 1)
        shape = [1] * x.ndim
        shape[axis] = -1
        weight = (places - low).astype(np.float32 if x.dtype == np.float16 else x.dtype).reshape(shape)
        with np.errstate(all="ignore"):
            x = xp.take(x, low, axis) * (1 - weight) + xp.take(x, xp.minimum(low + 1, extent - 1), axis) * weight
    return xp.asarray(x, input.dtype)


def _nearest_places(count: Any, extent: Any, ratio: tuple[Any, Any], mode: str) -> Any:
    index = F.arange(0, count, 1, dtype="float64")
    shifted = F.add(index, 0.5) if mode == "nearest-exact" else index
    step = F.div(F.full((), ratio[0], dtype="float64"), ratio[1])
    return F.minimum(F.cast(F.floor(F.mul(shifted, step)), dtype="int64"), extent - 1)


def _linear_table(count: Any, extent: Any, ratio: tuple[Any, Any], align_corners: bool, dtype: Any) -> tuple[Any, Any]:
    """Where the pairs of neighbours begin, and their weights."""
    index = F.arange(0, count, 1, dtype="float64")
    last = F.full((), extent - 1, dtype="float64")
    if align_corners:
        places = F.mul(index, F.div(last, F.clamp(F.full((), count - 1, dtype="float64"), 1)))
    else:
        step = F.div(F.full((), ratio[0], dtype="float64"), ratio[1])
        places = F.clamp(F.sub(F.mul(F.add(index, 0.5), step), 0.5), 0, last)
    low = F.cast(F.floor(places), dtype="int64")
    weight = F.cast(F.sub(places, low), dtype=dtype)
    return low, F.stack((F.sub(1.0, weight), weight), 1)


def _by_dimension(resample: Any, input: Any, *, size: Any, scale_factor: Any, mode: str, align_corners: bool) -> Any:
    out = _output_size(tuple(input.shape), size, scale_factor)
    ratios = _ratios(tuple(input.shape), out, scale_factor, input.ndim - 2)
    x = input
    for axis, (count, ratio) in enumerate(zip(out, ratios, strict=True), 2):
        extent = x.shape[axis]
        if mode not in _LINEAR:
            x = F.index_select(x, axis, _nearest_places(count, extent, ratio, mode))
            continue
        start, weight = _linear_table(count, extent, ratio, align_corners, x.dtype)
        x = resample(x, start, weight, taps=2, dim=axis)
    return x


def _decompose_interpolate(input: Any, **attributes: Any) -> Any:
    return _by_dimension(F.resample, input, **attributes)


def lookups(input: Any, **attributes: Any) -> Any:
    """`interpolate` by lookups of neighbours along whole dimensions, with no op that needs them in memory."""
    return _by_dimension(weighted_neighbours, input, **attributes)


_linear_vjp = derived_vjp(_decompose_interpolate)


def _vjp_interpolate(c: VjpContext, g: Any, input: Any, **attributes: Any) -> tuple[Any, ...]:
    mode = attributes["mode"]
    if mode in _LINEAR:
        return _linear_vjp(c, g, input, **attributes)
    shape = tuple(input.shape)
    out = _output_size(shape, attributes["size"], attributes["scale_factor"])
    ratios = _ratios(shape, out, attributes["scale_factor"], len(shape) - 2)
    for axis, (count, ratio) in reversed(list(enumerate(zip(out, ratios, strict=True), 2))):
        places = _nearest_places(count, shape[axis], ratio, mode)
        g = F.resample_grad(g, places, F.full((count, 1), 1.0, dtype=g.dtype), shape[axis], taps=1, dim=axis)
    return (g,)


INTERPOLATE = define(
    "interpolate(input: Tensor, size: any = None, scale_factor: any = None, mode: str = 'nearest', "
    "align_corners: bool = False)",
    "The input [N, C, ...] at another size of its last one to three dimensions: the nearest element, or linear "
    "interpolation ('linear', 'bilinear', 'trilinear').\n\n"
    ">>> ingot.nn.functional.interpolate(ingot.tensor([[[1., 2.]]]), scale_factor=2)\n"
    "tensor([[[1., 1., 2., 2.]]])",
    infer=_infer_interpolate,
    evaluate=_evaluate_interpolate,
    vjp=_vjp_interpolate,
    lower=Decompose(_decompose_interpolate),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(1, 2, 3, 4),), {"scale_factor": 2}),
        Sample((randoms(2, 1, 5),), {"size": 3}),
        Sample((randoms(1, 2, 3, 4), (5, 6)), {"mode": "bilinear"}),
        Sample((randoms(1, 1, 4, 4), (7, 3)), {"mode": "bilinear", "align_corners": True}),
        Sample((randoms(1, 2, 5),), {"scale_factor": 0.5, "mode": "linear"}),
        Sample((randoms(1, 1, 3, 5), (4, 2), None, "nearest-exact")),
    ],
    errors=lambda: [
        ErrorSample((randoms(1, 1, 3),), ValueError, "exactly one"),
        ErrorSample((randoms(1, 1, 3), 2), NotImplementedError, "does not fit", {"mode": "bilinear"}),
        ErrorSample((randoms(1, 1, 3), 2), NotImplementedError, "one of", {"mode": "area"}),
        ErrorSample((randoms(1, 1, 3), 0), ValueError, "above 0"),
    ],
)


# -- channels and space ------------------------------------------------------------------------------------------------


def _infer_shuffle(name: str, sizes: Sizes, input: Any, factor: int, up: bool) -> TensorType:
    input = require_tensor(name, "input", input)
    if input.rank < 3 or factor < 1:
        raise RuntimeError(
            f"{name}: expected an input of rank 3 or more and a positive factor, given {input}, {factor}"
        )
    channels, height, width = input.shape[-3:]
    square = factor * factor
    if up:
        message = f"{name}: the number of channels ({channels}) must be divisible by {square}, given {input}"
        sizes.equal(channels // square * square, channels, message)
        shape = (channels // square, height * factor, width * factor)
    else:
        for size in (height, width):
            message = f"{name}: height and width must be divisible by {factor}, given {input}"
            sizes.equal(size // factor * factor, size, message)
        shape = (channels * square, height // factor, width // factor)
    return TensorType(input.dtype, (*input.shape[:-3], *shape), input.device)


def _shuffled(reshape: Any, permute: Any, x: Any, factor: int, up: bool) -> Any:
    *batch, channels, height, width = x.shape
    rank = len(batch)
    axes = tuple(range(rank))
    if up:
        x = reshape(x, (*batch, channels // (factor * factor), factor, factor, height, width))
        order = (rank, rank + 3, rank + 1, rank + 4, rank + 2)
        shape = (*batch, channels // (factor * factor), height * factor, width * factor)
    else:
        x = reshape(x, (*batch, channels, height // factor, factor, width // factor, factor))
        order = (rank, rank + 2, rank + 4, rank + 1, rank + 3)
        shape = (*batch, channels * factor * factor, height // factor, width // factor)
    return reshape(permute(x, (*axes, *order)), shape)


def _define_shuffle(name: str, parameter: str, doc: str, up: bool) -> None:
    def infer(sizes: Sizes, input: Any, **factor: int) -> TensorType:
        return _infer_shuffle(name, sizes, input, factor[parameter], up)

    def evaluate(xp: Any, input: Any, **factor: int) -> Any:
        return xp.array(_shuffled(xp.reshape, xp.transpose, input, factor[parameter], up), copy=True)

    def decompose(input: Any, **factor: int) -> Any:
        return _shuffled(F.reshape, F.permute, input, factor[parameter], up)

    define(
        f"{name}(input: Tensor, {parameter}: int)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=derived_vjp(decompose),
        lower=Decompose(decompose),
        public=("functional",),
        samples=lambda: [
            Sample((randoms(2, 8, 4, 2), 2)),
            Sample((randoms(9, 3, 6), 3)),
            Sample((ints(1, 4, 2, 2), 1), differentiable=False),
        ],
        errors=lambda: [ErrorSample((randoms(1, 3, 3, 5), 2), RuntimeError, "divisible")],
    )


_define_shuffle(
    "pixel_shuffle",
    "upscale_factor",
    "Channels [C * r * r, H, W] laid out as an image [C, H * r, W * r] (Shi et al., 2016).\n\n"
    ">>> ingot.nn.functional.pixel_shuffle(ingot.ones(1, 8, 2, 3), 2).shape\n"
    "ingot.Size([1, 2, 4, 6])",
    True,
)
_define_shuffle(
    "pixel_unshuffle",
    "downscale_factor",
    "An image [C, H * r, W * r] laid out as channels [C * r * r, H, W]: the inverse of pixel_shuffle.\n\n"
    ">>> ingot.nn.functional.pixel_unshuffle(ingot.ones(1, 2, 4, 6), 2).shape\n"
    "ingot.Size([1, 8, 2, 3])",
    False,
)
