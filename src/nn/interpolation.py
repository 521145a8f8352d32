"""Images and sequences at another size: `interpolate` in all of PyTorch's modes."""

import math
from typing import Any

import numpy as np

from ..eager import namespaces
from ..eager.creation import tensor
from ..eager.functions import call as _call
from ..eager.placement import beside
from ..eager.tensor import Tensor

__all__ = ["interpolate"]

_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")
_RANKS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}


def _cubic(x: Any, a: float) -> Any:
    """Keys' kernel with the parameter `a` ("Cubic convolution interpolation", 1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: Any) -> Any:
    return np.maximum(0.0, 1 - np.abs(x))


# Where the neighbours of each place begin, and their weights: what the op `resample` takes for one dimension.
_Table = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def _cubic_table(size: int, out: int, ratio: float, aligned: bool) -> _Table:
    """Cubic interpolation along one dimension; beyond the ends the last element counts."""
    index = np.arange(out)
    places = index * ((size - 1) / (out - 1) if out > 1 else 0.0) if aligned else (index + 0.5) * ratio - 0.5
    start = np.floor(places)
    weights = [_cubic(places - start - k, -0.75) for k in range(-1, 3)]
    return start.astype(np.int64) - 1, np.stack(weights, 1)


def _smoothing_table(size: int, out: int, ratio: float, aligned: bool, cubic: bool) -> _Table:
    """As `_cubic_table`, with the kernel as wide as the step between places, so that details do not alias."""
    scale = ((size - 1) / (out - 1) if out > 1 else 0.0) if aligned else ratio
    widened = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * widened
    centres = scale * (np.arange(out) + 0.5)
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support + 0.5).astype(np.int64), size)
    places = first[:, None] + np.arange(max(int((last - first).max()), 1))
    distances = (places - centres[:, None] + 0.5) / widened
    weights = np.where(places < last[:, None], _cubic(distances, -0.5) if cubic else _triangle(distances), 0.0)
    total = weights.sum(1, keepdims=True)
    return first, weights / np.where(total == 0, 1.0, total)


@beside
def _separable(input: Any, tables: list[_Table]) -> Any:
    """The input resampled along each spatial dimension."""
    result = input
    for axis, (start, weight) in enumerate(tables, 2):
        weights = tensor(weight.astype(input.dtype.numpy))
        result = _call("resample", result, tensor(start), weights, weight.shape[1], axis)
    return result


def _sizes(name: str, given: Any, spatial: int) -> tuple[Any, ...]:
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * spatial
    if len(values) != spatial:
        raise ValueError(
            f"Input and {name} must have the same number of spatial dimensions, but got input with spatial dimensions "
            f"of {spatial} and {name} of {given}. Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
            f"{name} in (d1, d2, ...,dK) format."
        )
    return values


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """The input (N, C, *spatial) at another size, or scaled by a factor.

    `mode` is "nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic" or "area"; with `align_corners`
    the corners' centres stay where they are; `antialias` smooths what is made smaller ("bilinear" and "bicubic").

    >>> ingot.nn.functional.interpolate(ingot.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    spatial = input.ndim - 2
    if mode in ("nearest", "area", "nearest-exact") and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    aligned = bool(align_corners)
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    if mode not in _MODES or not 1 <= spatial <= 3 or _RANKS.get(mode, input.ndim) != input.ndim:
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got "
            f"{input.ndim}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact "
            f"(got {mode})"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )
    factors = None if scale_factor is None else _sizes("scale_factor", scale_factor, spatial)
    out = None if size is None else tuple(int(n) for n in _sizes("output size", size, spatial))
    if factors is not None and (recompute_scale_factor or mode in ("area", "bicubic") or antialias):
        out = tuple(math.floor(float(n) * f) for n, f in zip(input.shape[2:], factors, strict=True))
        factors = None if recompute_scale_factor else factors
    if input.dtype.name in ("float16", "bfloat16") and "nearest" not in mode:
        wide = _call("cast", input, dtype="float32")
        wanted = None if out is not None else factors
        found = interpolate(wide, out, wanted, mode, align_corners, antialias=antialias)
        return _call("cast", found, dtype=input.dtype)  # type: ignore[no-any-return]
    if input.dtype.name == "uint8":
        return _of_bytes(input, out, factors, mode, align_corners, antialias)
    if mode == "area":
        assert out is not None
        return (
            namespaces["functional"][f"adaptive_avg_pool{spatial}d"](input, out) if spatial < 3 else _pooled(input, out)
        )  # type: ignore[no-any-return]
    if mode == "bicubic" or antialias:
        assert out is not None
        extents = [int(n) for n in input.shape[2:]]
        if min(out) < 1 or min(extents) < 1:
            raise RuntimeError(
                f"Input and output sizes should be greater than 0, but got input {extents} output {list(out)}"
            )
        ratios = [n / m for n, m in zip(extents, out, strict=True)] if factors is None else [1.0 / f for f in factors]
        cubic = mode == "bicubic"
        if antialias:
            tables = [_smoothing_table(*p, aligned, cubic) for p in zip(extents, out, ratios, strict=True)]
        else:
            tables = [_cubic_table(*p, aligned) for p in zip(extents, out, ratios, strict=True)]
        return _separable(input, tables)  # type: ignore[no-any-return]
    wanted = factors if out is None else None
    return _call("interpolate", input, out, wanted, mode=mode, align_corners=aligned)  # type: ignore[no-any-return]


def _pooled(input: Tensor, out: tuple[int, ...]) -> Tensor:
    from .windows import adaptive_avg_pool3d

    return adaptive_avg_pool3d(input, out)


def _of_bytes(input: Tensor, out: Any, factors: Any, mode: str, align_corners: Any, antialias: bool) -> Tensor:
    """Of uint8: computed in float32, rounded and cut off."""
    wide = _call("cast", input, dtype="float32")
    found = interpolate(wide, out, None if out is not None else factors, mode, align_corners, antialias=antialias)
    if "nearest" not in mode:
        found = _call("clamp", _call("floor", _call("add", found, 0.5)), 0.0, 255.0)
    return _call("cast", found, dtype="uint8")  # type: ignore[no-any-return]
