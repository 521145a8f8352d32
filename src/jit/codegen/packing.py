"""Matrices packed ahead of time for the micro-kernels: panels of a tile's width, on cache lines."""

from typing import Any

import numpy as np

from .target import TileShape


def packed_elements(k: int, n: int, tile: TileShape) -> int:
    """How many elements a packed K x N matrix takes: N is rounded up to whole panels.

    >>> packed_elements(3, 33, TileShape("f32", 14, 2, 16))
    192
    """
    return -(-n // tile.columns) * k * tile.columns


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An uninitialised array whose data starts on a cache line, so that no vector load of it crosses two."""
    count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.empty(count + 64, np.uint8)
    start = -memory.ctypes.data % 64
    array: np.ndarray[Any, Any] = memory[start : start + count].view(dtype).reshape(shape)
    return array


def pack_b_numpy(b: np.ndarray[Any, Any], tile: TileShape) -> np.ndarray[Any, Any]:
    """B packed for the kernels: `packed[..., panel, k, s] = B[..., k, panel * tile.columns + s]`, zero past the end.

    `b` is `(..., K, N)` of the tile's dtype; pass `weight.T` for a linear layer. The result is contiguous and starts on
    a cache line. Raises ValueError for another dtype or fewer than two dimensions.

    >>> pack_b_numpy(np.ones((5, 40), np.float32), TileShape("f32", 14, 2, 16)).shape
    (2, 5, 32)
    """
    expected = np.dtype(np.float32 if tile.dtype == "f32" else np.float64)
    if b.ndim < 2 or b.dtype != expected:
        raise ValueError(f"pack_b_numpy: got {b.dtype}{list(b.shape)}, expected (..., K, N) of {expected}")
    *batch, k, n = b.shape
    panels = -(-n // tile.columns)
    packed = aligned_empty((*batch, panels, k, tile.columns), expected)
    whole = n // tile.columns
    head = b[..., : whole * tile.columns].reshape(*batch, k, whole, tile.columns)
    packed[..., :whole, :, :] = np.moveaxis(head, -3, -2)
    if whole < panels:
        packed[..., whole, :, : n - whole * tile.columns] = b[..., whole * tile.columns :]
        packed[..., whole, :, n - whole * tile.columns :] = 0
    return packed
