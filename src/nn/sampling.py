"""Functions that read images at computed places: grid_sample, affine_grid, fractional pooling; distances of rows."""

import math
from typing import Any

import numpy as np

from ..eager import creation
from ..eager.functions import call as _call
from ..eager.placement import moved, on_host
from ..eager.random import rand
from ..eager.tensor import Tensor, wrap
from .windows import spread

__all__ = [
    "affine_grid", "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "grid_sample", "pdist", "upsample_bilinear", "upsample_nearest",
]  # fmt: skip


# -- grids -------------------------------------------------------------------------------------------------------------


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The image at the places of a grid: coordinates from -1 to 1, x first.

    input: (N, C, H, W) with grid (N, H', W', 2), or (N, C, D, H, W) with grid (N, D', H', W', 3). `mode` is "bilinear",
    "nearest" or, for images of two dimensions, "bicubic"; `padding_mode` is "zeros", "border" or "reflection".

    >>> image = ingot.arange(4.0).reshape(1, 1, 2, 2)
    >>> ingot.nn.functional.grid_sample(image, ingot.zeros(1, 1, 1, 2))
    tensor([[[[1.5000]]]])
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    rank = input.ndim - 2
    if rank not in (2, 3) or grid.ndim != input.ndim:
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with "
            f"sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            f"grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != rank:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {rank} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    if 0 in input.shape[2:]:
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
            f"{list(input.shape)}"
        )
    if mode == "bicubic" and rank == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    return _call("grid_sample", input, grid, mode, padding_mode, bool(align_corners))  # type: ignore[no-any-return]


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grid for `grid_sample` of an affine map: theta (N, 2, 3) for (N, C, H, W), (N, 3, 4) for (N, C, D, H, W).

    >>> identity = ingot.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> ingot.nn.functional.affine_grid(identity, (1, 1, 1, 2))
    tensor([[[[-0.5000,  0.0000],
              [ 0.5000,  0.0000]]]])
    """
    if not theta.dtype.is_floating_point:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    rank = len(size) - 2
    if rank not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{tuple(size)}."
        )
    if theta.ndim != 3 or tuple(theta.shape[-2:]) != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size {tuple(size)}. Got "
            f"{tuple(theta.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    spatial = [int(n) for n in size[2:]]
    base = np.ones((*spatial, rank + 1))
    for d, n in enumerate(spatial):
        steps = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        steps = steps if align_corners else steps * (n - 1) / n
        base[..., rank - 1 - d] = steps.reshape(-1, *(1,) * (rank - 1 - d))
    points = moved(wrap(base.reshape(-1, rank + 1).astype(theta._array.dtype)), theta.device)
    mapped = _call("matmul", points, _call("transpose", theta, -2, -1))
    return _call("reshape", mapped, int(theta.shape[0]), *spatial, rank)  # type: ignore[no-any-return]


# -- fractional pooling ------------------------------------------------------------------------------------------------


def _starts(samples: np.ndarray[Any, Any], size: int, count: int, kernel: int) -> np.ndarray[Any, Any]:
    """The first positions of `count` windows, by a random number per plane (Graham, "Fractional max-pooling", 2014)."""
    last = np.full((*samples.shape, 1), size - kernel)
    if count == 1:
        return last
    alpha = samples.dtype.type(size - kernel) / samples.dtype.type(count - 1)
    steps = np.arange(count - 1, dtype=samples.dtype)
    found = ((steps + samples[..., None]) * alpha).astype(np.int64) - (samples * alpha).astype(np.int64)[..., None]
    return np.concatenate((found, last), -1)


@on_host
def _fractional(
    name: str, input: Any, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Tensor | None, rank: int
) -> tuple[Tensor, Tensor]:
    if input.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(f"{name}: Expected {rank + 1}D or {rank + 2}D tensor, but got: {list(input.shape)}")
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    batched = input.ndim == rank + 2
    image = input if batched else input.unsqueeze(0)
    planes, sizes = tuple(int(n) for n in image.shape[:2]), [int(n) for n in image.shape[2:]]
    kernel = spread(kernel_size, rank, "kernel_size")
    if output_size is None:
        ratios = (output_ratio,) * rank if isinstance(output_ratio, float) else tuple(output_ratio)
        counts = [int(n * r) for n, r in zip(sizes, ratios, strict=True)]
    else:
        counts = list(spread(output_size, rank, "output_size"))
    for size, count, extent in zip(sizes, counts, kernel, strict=True):
        if count + extent - 1 > size:
            raise RuntimeError(f"{name}: kernel size {extent} is too large for {count} windows of {size} elements")
    drawn: Any = rand(*planes, rank, dtype=input.dtype) if samples is None else samples
    draws = drawn.detach()._array.reshape(-1, planes[1], rank)[: planes[0]]
    index = np.zeros((*planes, *(1,) * (2 * rank)), np.int64)
    for d, (size, count, extent) in enumerate(zip(sizes, counts, kernel, strict=True)):
        # of two dimensions the first number is the width's, of three the depth's
        sample = draws[..., rank - 1 - d if rank == 2 else d]
        places = _starts(np.ascontiguousarray(sample), size, count, extent)[..., None] + np.arange(extent)
        shape = [*planes, *(1,) * (2 * rank)]
        shape[2 + d], shape[2 + rank + d] = count, extent
        index = index * size + places.reshape(shape)
    flat = image.reshape(*planes, math.prod(sizes))
    windows = index.reshape(*planes, math.prod((*counts, *kernel)))
    values = _call("gather", flat, 2, wrap(windows)).reshape(*planes, *counts, math.prod(kernel))
    best, where = _call("max_dim", values, dim=-1, keepdim=False)
    grouped = index.reshape(*planes, *counts, math.prod(kernel))
    found = np.take_along_axis(grouped, where._array[..., None], -1)[..., 0]
    indices = wrap(np.ascontiguousarray(found))
    return (best, indices) if batched else (best[0], indices[0])  # type: ignore[index]


def fractional_max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`fractional_max_pool2d` with `return_indices`."""
    return _fractional(
        "fractional_max_pool2d", input, kernel_size, output_size, output_ratio, _random_samples, 2
    )  # fmt: skip


def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """The maximum over windows (height, width) at random steps, so many that the result has the size asked for.

    >>> ingot.nn.functional.fractional_max_pool2d(ingot.ones(1, 1, 5, 5), 2, output_size=3).shape
    ingot.Size([1, 1, 3, 3])
    """
    found = _fractional("fractional_max_pool2d", input, kernel_size, output_size, output_ratio, _random_samples, 2)
    return found if return_indices else found[0]


def fractional_max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`fractional_max_pool3d` with `return_indices`."""
    return _fractional("fractional_max_pool3d", input, kernel_size, output_size, output_ratio, _random_samples, 3)


def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """The maximum over windows (depth, height, width) at random steps, so many that the result has the size asked for.

    >>> ingot.nn.functional.fractional_max_pool3d(ingot.ones(1, 1, 5, 5, 5), 2, output_size=3).shape
    ingot.Size([1, 1, 3, 3, 3])
    """
    found = _fractional("fractional_max_pool3d", input, kernel_size, output_size, output_ratio, _random_samples, 3)
    return found if return_indices else found[0]


# -- others ------------------------------------------------------------------------------------------------------------


def pdist(input: Tensor, p: float = 2) -> Tensor:
    """The distances of order p between all pairs of rows, row 0 with the others first.

    >>> ingot.nn.functional.pdist(ingot.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    tensor([5.0000, 1.0000, 4.2426])
    """
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"pdist only supports floating-point dtypes, given {input.dtype.name}")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = np.triu_indices(int(input.shape[0]), 1)
    left, right = (_call("index_select", input, 0, moved(wrap(i), input.device)) for i in (first, second))
    if not input.shape[1]:
        return creation.zeros(len(first), dtype=input.dtype, device=input.device)  # type: ignore[no-any-return]
    return _call("vector_norm", _call("sub", left, right), float(p), (-1,))  # type: ignore[no-any-return]


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode "bilinear" and corners aligned.

    >>> ingot.nn.functional.upsample_bilinear(ingot.ones(1, 1, 2, 2), scale_factor=2).shape
    ingot.Size([1, 1, 4, 4])
    """
    from .functional import interpolate

    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)  # type: ignore[no-any-return]


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode "nearest".

    >>> ingot.nn.functional.upsample_nearest(ingot.ones(1, 1, 2, 2), scale_factor=2).shape
    ingot.Size([1, 1, 4, 4])
    """
    from .functional import interpolate

    return interpolate(input, size, scale_factor, mode="nearest")  # type: ignore[no-any-return]
