"""Functions over windows that are made of the two-dimensional ops: three dimensions, adaptive maxima, fold."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..eager.creation import tensor as _tensor
from ..eager.functions import call as _call
from ..eager.placement import beside
from ..eager.tensor import Tensor

__all__ = [
    "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "avg_pool3d", "fold", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "max_pool1d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "unfold",
]  # fmt: skip


def spread(value: Any, n: int, name: str) -> tuple[int, ...]:
    """One int for all n dimensions, or n ints; ValueError for anything else."""
    if isinstance(value, int):
        return (value,) * n
    values = tuple(value)
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise ValueError(f"expected {name} to be an int or {n} ints, given {value}")
    return values


def _batched(name: str, input: Tensor, spatial: int) -> tuple[Any, bool]:
    """The input with a batch dimension, and whether it had one."""
    if input.ndim == spatial + 2:
        return input, True
    if input.ndim == spatial + 1:
        return input.unsqueeze(0), False
    raise RuntimeError(f"{name}: expected {spatial + 1}D or {spatial + 2}D input, given {list(input.shape)}")


def _window_index(count: int, size: int, stride: int, dilation: int) -> np.ndarray[Any, Any]:
    """The positions [window, place in the window] along one dimension."""
    return np.arange(count)[:, None] * stride + np.arange(size)[None, :] * dilation


@beside
def _rows(input: Any, dim: int, index: np.ndarray[Any, Any]) -> Any:
    return input.index_select(dim, _tensor(index.reshape(-1)))


# -- pooling ----------------------------------------------------------------------------------------------------------


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows of (N, C, L); with `return_indices` also where it stood."""
    if not return_indices:
        return _call("max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode)
    x, had_batch = _batched("max_pool1d", input, 1)
    (k,) = spread(kernel_size, 1, "kernel_size")
    (s,) = spread(kernel_size if stride is None or stride == [] else stride, 1, "stride")
    (p,), (d,) = spread(padding, 1, "padding"), spread(dilation, 1, "dilation")
    found = _call("max_pool2d_with_indices", x.unsqueeze(2), (1, k), (1, s), (0, p), (1, d), ceil_mode)
    values, indices = (t.squeeze(2) if had_batch else t.squeeze(2).squeeze(0) for t in found)
    return values, indices


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows of (N, C, D, H, W), with `return_indices` also its position in the volume D x H x W.

    The maximum of a box is the maximum along its depth of the maxima of its planes.
    """
    x, had_batch = _batched("max_pool3d", input, 3)
    k = spread(kernel_size, 3, "kernel_size")
    s = spread(kernel_size if stride is None or stride == [] else stride, 3, "stride")
    p, d = spread(padding, 3, "padding"), spread(dilation, 3, "dilation")
    batch, channels, depth, height, width = x.shape
    name = "max_pool2d_with_indices" if return_indices else "max_pool2d"
    planes = _call(name, x.reshape(batch * channels, depth, height, width), k[1:], s[1:], p[1:], d[1:], ceil_mode)
    values, positions = planes if return_indices else (planes, None)
    rows, columns = values.shape[2:]
    stacked = values.reshape(batch * channels, 1, depth, rows * columns)
    result = _call(name, stacked, (k[0], 1), (s[0], 1), (p[0], 0), (d[0], 1), ceil_mode)
    best, where = result if return_indices else (result, None)

    def back(t: Any) -> Any:
        t = t.reshape(batch, channels, t.shape[-2], rows, columns)
        return t if had_batch else t.squeeze(0)

    if where is None or positions is None:
        return back(best)
    cells = rows * columns
    at_depth = where // cells
    in_plane = positions.reshape(batch * channels, 1, depth, cells).gather(2, at_depth)
    return back(best), back(at_depth * (height * width) + in_plane)


def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean over windows of (N, C, D, H, W): along the depth, of the means of the planes."""
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    x, had_batch = _batched("avg_pool3d", input, 3)
    k = spread(kernel_size, 3, "kernel_size")
    s = spread(kernel_size if stride is None or stride == [] else stride, 3, "stride")
    p = spread(padding, 3, "padding")
    batch, channels, depth, height, width = x.shape
    options = (ceil_mode, count_include_pad)
    planes = x.reshape(batch * channels, depth, height, width)
    means = _call("avg_pool2d", planes, k[1:], s[1:], p[1:], *options, None if divisor_override is None else 1)
    rows, columns = means.shape[2:]
    stacked = means.reshape(batch * channels, 1, depth, rows * columns)
    y = _call("avg_pool2d", stacked, (k[0], 1), (s[0], 1), (p[0], 0), *options, divisor_override)
    y = y.reshape(batch, channels, y.shape[-2], rows, columns)
    return y if had_batch else y.squeeze(0)


def _sizes(output_size: Any, shape: Sequence[int]) -> tuple[int, ...]:
    given = (output_size,) * len(shape) if output_size is None or isinstance(output_size, int) else tuple(output_size)
    if len(given) == 1:
        given *= len(shape)
    if len(given) != len(shape):
        raise RuntimeError(f"expected output_size to be an int or {len(shape)} ints (None keeps a size), given {given}")
    sizes = tuple(have if want is None else want for want, have in zip(given, shape, strict=True))
    if any(n < 0 for n in sizes):
        raise RuntimeError(f"adaptive pooling: elements of output_size must be at least 0, given {given}")
    return sizes


def _require_dimensions(input: Any, output_size: Any, spatial: int) -> None:
    given = 1 if output_size is None or isinstance(output_size, int) else len(tuple(output_size))
    if given > 1 and input.ndim <= spatial:
        raise ValueError(f"Input dimension should be at least {spatial + 1}, given {input.ndim}")


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The means of (N, C, D, H, W) over as many boxes as the three output sizes say."""
    _require_dimensions(input, output_size, 3)
    x, had_batch = _batched("adaptive_avg_pool3d", input, 3)
    batch, channels, depth, height, width = x.shape
    sizes = _sizes(output_size, x.shape[2:])
    planes = _call("adaptive_avg_pool2d", x.reshape(batch * channels, depth, height, width), sizes[1:])
    stacked = planes.reshape(batch * channels, 1, depth, sizes[1] * sizes[2])
    y = _call("adaptive_avg_pool2d", stacked, (sizes[0], None)).reshape(batch, channels, *sizes)
    return y if had_batch else y.squeeze(0)


def _adaptive_windows(length: int, size: int) -> np.ndarray[Any, Any]:
    """The positions [window, place in the window]; shorter windows repeat their last element: no maximum changes."""
    starts = [i * length // size for i in range(size)]
    stops = [-(-(i + 1) * length // size) for i in range(size)]
    widest = max((b - a for a, b in zip(starts, stops, strict=True)), default=1)
    table = np.array([[min(a + j, b - 1) for j in range(widest)] for a, b in zip(starts, stops, strict=True)], np.int64)
    return table.reshape(size, widest)


@beside
def _adaptive_max(x: Any, dim: int, size: int) -> tuple[Any, Any]:
    """The maxima along one dimension over windows floor(i n / size) to ceil((i + 1) n / size), and their positions."""
    table = _adaptive_windows(x.shape[dim], size)
    widest = table.shape[1]
    moved = x.movedim(dim, -1)
    windows = _rows(moved, moved.ndim - 1, table).reshape(*moved.shape[:-1], size, widest)
    values, place = windows.max(dim=-1)
    first = _tensor(table[:, 0])
    return values.movedim(-1, dim), (place + first).movedim(-1, dim)


def _adaptive_max_pool(name: str, input: Tensor, output_size: Any, spatial: int, return_indices: bool) -> Any:
    _require_dimensions(input, output_size, spatial)
    x, had_batch = _batched(name, input, spatial)
    shape = x.shape[2:]
    sizes = _sizes(output_size, shape)
    values: Any = x
    flat: Any = None
    if all(size == 1 for size in sizes) and 0 not in shape:
        values, flat = (t.reshape(*x.shape[:2], *sizes) for t in x.flatten(2).max(dim=-1))
    else:
        block = 1
        for dim in range(spatial - 1, -1, -1):
            values, places = _adaptive_max(values, dim + 2, sizes[dim])
            flat = places if flat is None else places * block + flat.gather(dim + 2, places)
            block *= shape[dim]
    if not had_batch:
        values, flat = values.squeeze(0), flat.squeeze(0)
    return (values, flat) if return_indices else values


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of (N, C, L) over `output_size` windows of about equal length."""
    return _adaptive_max_pool("adaptive_max_pool1d", input, output_size, 1, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of (N, C, H, W) over as many windows as the output sizes say; `return_indices` adds positions."""
    return _adaptive_max_pool("adaptive_max_pool2d", input, output_size, 2, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of (N, C, D, H, W) over as many boxes as the output sizes say."""
    return _adaptive_max_pool("adaptive_max_pool3d", input, output_size, 3, return_indices)


def _lp_pool(input: Any, norm_type: float, kernel: tuple[int, ...], stride: Any, ceil_mode: bool) -> Any:
    pool = {1: lambda *a: _call("avg_pool1d", *a), 2: lambda *a: _call("avg_pool2d", *a), 3: avg_pool3d}[len(kernel)]
    powers = pool(input.pow(norm_type), kernel, stride, 0, ceil_mode)
    # A sum of odd powers can be negative: as PyTorch, such a window counts as 0.
    return (powers.sign() * powers.abs().relu()).relu().mul(math.prod(kernel)).pow(1.0 / norm_type)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm of windows of (N, C, L): (sum of x**p)**(1 / p)."""
    return _lp_pool(input, norm_type, spread(kernel_size, 1, "kernel_size"), stride, ceil_mode)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm of windows of (N, C, H, W)."""
    return _lp_pool(input, norm_type, spread(kernel_size, 2, "kernel_size"), stride, ceil_mode)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm of windows of (N, C, D, H, W)."""
    return _lp_pool(input, norm_type, spread(kernel_size, 3, "kernel_size"), stride, ceil_mode)


def _unpool(
    input: Any, indices: Any, spatial: int, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Any:
    k = spread(kernel_size, spatial, "kernel_size")
    s = k if stride is None else spread(stride, spatial, "stride")
    p = spread(padding, spatial, "padding")
    if input.shape != indices.shape:
        raise RuntimeError(
            f"max_unpool: Expected shape of indices to be same as that of the input tensor ({list(input.shape)}), "
            f"given {list(indices.shape)}"
        )
    shape = input.shape[-spatial:]
    sizes = tuple((n - 1) * b + a - 2 * c for n, a, b, c in zip(shape, k, s, p, strict=True))
    if output_size is not None:
        given = tuple(output_size)[-spatial:]
        if any(abs(g - n) >= b for g, n, b in zip(given, sizes, s, strict=True)):
            raise ValueError(f"invalid output_size {tuple(output_size)}: expected within a stride {s} of {sizes}")
        sizes = given
    leading = input.shape[:-spatial]
    volume = math.prod(sizes)
    flat = indices.reshape(*leading, -1)
    if flat.numel() and not 0 <= int(flat._array.min()) <= int(flat._array.max()) < volume:
        raise ValueError(f"max_unpool: found an index outside the output, which has {volume} elements: {sizes}")
    zeros = input.new_zeros((*leading, volume))
    return zeros.scatter(-1, flat, input.reshape(*leading, -1)).reshape(*leading, *sizes)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Maxima put back where max_pool1d found them, zeros elsewhere."""
    return _unpool(input, indices, 1, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Maxima put back where max_pool2d found them, zeros elsewhere."""
    return _unpool(input, indices, 2, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Maxima put back where max_pool3d found them, zeros elsewhere."""
    return _unpool(input, indices, 3, kernel_size, stride, padding, output_size)


# -- fold and unfold --------------------------------------------------------------------------------------------------


def _block_index(
    size: tuple[int, ...], k: tuple[int, ...], dilation: tuple[int, ...], stride: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """Positions in the plane `size` (padded), [place in the kernel, block]."""
    counts = [(n - d * (a - 1) - 1) // s + 1 for n, a, d, s in zip(size, k, dilation, stride, strict=True)]
    if min(counts) < 1:
        raise RuntimeError(
            f"the blocks of kernel_size={k}, dilation={dilation} and stride={stride} do not fit into the padded plane "
            f"{size}: their count would be {tuple(counts)}"
        )
    rows = _window_index(counts[0], k[0], stride[0], dilation[0])
    columns = _window_index(counts[1], k[1], stride[1], dilation[1])
    table = rows[:, None, :, None] * size[1] + columns[None, :, None, :]
    return table.transpose(2, 3, 0, 1).reshape(k[0] * k[1], counts[0] * counts[1])


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The blocks under a sliding window as columns: (N, C, H, W) -> (N, C * KH * KW, blocks).

    >>> ingot.nn.functional.unfold(ingot.ones(1, 3, 4, 4), 2).shape
    ingot.Size([1, 12, 9])
    """
    x, had_batch = _batched("unfold", input, 2)
    k, d = spread(kernel_size, 2, "kernel_size"), spread(dilation, 2, "dilation")
    p, s = spread(padding, 2, "padding"), spread(stride, 2, "stride")
    if any(p):
        x = _call("pad", x, (p[1], p[1], p[0], p[0]))
    batch, channels, height, width = x.shape
    table = _block_index((height, width), k, d, s)
    y = _rows(x.reshape(batch, channels, height * width), 2, table)
    y = y.reshape(batch, channels * len(table), table.size // len(table))
    return y if had_batch else y.squeeze(0)


@beside
def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Sums the columns of `unfold` back into a plane: (N, C * KH * KW, blocks) -> (N, C, H, W)."""
    if input.ndim not in (2, 3):
        raise RuntimeError(f"fold: expected 2D or 3D input, given {list(input.shape)}")
    had_batch = input.ndim == 3
    x: Any = input if had_batch else input.unsqueeze(0)
    size, k = spread(output_size, 2, "output_size"), spread(kernel_size, 2, "kernel_size")
    d, p, s = spread(dilation, 2, "dilation"), spread(padding, 2, "padding"), spread(stride, 2, "stride")
    padded = tuple(n + 2 * b for n, b in zip(size, p, strict=True))
    table = _block_index(padded, k, d, s)
    batch, rows, blocks = x.shape
    if rows % len(table):
        raise RuntimeError(f"fold: expected a multiple of {k[0]} x {k[1]} rows for kernel_size={k}, given {rows}")
    if blocks != table.shape[1]:
        raise RuntimeError(
            f"fold: given output_size={size}, kernel_size={k}, dilation={d}, padding={p}, stride={s}, expected "
            f"{table.shape[1]} blocks (the last dimension), given {blocks}"
        )
    channels = rows // len(table)
    plane = x.new_zeros((batch, channels, padded[0] * padded[1]))
    y = plane.index_add(2, _tensor(table.reshape(-1)), x.reshape(batch, channels, len(table) * blocks))
    y = y.reshape(batch, channels, *padded)
    if any(p):
        y = y.narrow(2, p[0], size[0]).narrow(3, p[1], size[1])
    return y if had_batch else y.squeeze(0)
