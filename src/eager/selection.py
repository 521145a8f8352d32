"""Choosing elements by a mask: in large arrays by their bits, since branches on random masks are mispredicted."""

from typing import Any

import numpy as np

__all__ = ["chosen", "kept"]

_INTEGERS = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}
# Below so many elements numpy's own function is done before the passes over bits have begun.
_LARGE = 1 << 11


def _all_bits(mask: Any, kind: Any) -> Any:
    """-1, all bits set, where the mask holds, and 0 elsewhere."""
    bits = mask.view(np.int8).astype(kind)
    return np.negative(bits, out=bits)


def kept(mask: Any, values: Any) -> Any:
    """The values where the mask holds, and 0 elsewhere whatever they are there.

    >>> kept(np.array([True, False]), np.array([2.5, np.nan]))
    array([2.5, 0. ])
    """
    kind = _INTEGERS.get(values.dtype.itemsize)
    if kind is None or values.size < _LARGE or mask.shape != values.shape or values.dtype.kind != "f":
        return np.where(mask, values, values.dtype.type(0))
    bits = _all_bits(mask, kind)
    return np.bitwise_and(bits, values.view(kind), out=bits).view(values.dtype)


def chosen(mask: Any, a: Any, b: Any) -> Any:
    """`a` where the mask holds, else `b`: arrays of one floating-point dtype, or one of them and a number of it."""
    like = a if a.__class__ is np.ndarray else b
    kind = _INTEGERS.get(like.dtype.itemsize)
    if kind is None or like.size < _LARGE or mask.shape != like.shape:
        return np.where(mask, a, b)
    if a.__class__ is np.ndarray and b.__class__ is np.ndarray and a.shape != b.shape:
        return np.where(mask, a, b)
    first, second = a.view(kind), b.view(kind)
    result = np.bitwise_xor(first, second)  # where both differ, of the mask's places: what turns b into a
    np.bitwise_and(result, _all_bits(mask, kind), out=result)
    return np.bitwise_xor(result, second, out=result).view(like.dtype)
