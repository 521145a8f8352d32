"""The numbers of `random_state` by another array module than numpy, in the memory where they are wanted.

Words are computed from where they are in the stream, as there; each number is made of its words by the same operations.
Only the functions of `normal_on` (log, cos) round as the module's do.
"""

import math
from typing import Any

import numpy as np

from .random_state import MIX_MULTIPLIERS, MIX_SHIFTS, STEP, Generator, words_per_normal

__all__ = ["integers_on", "keep_on", "normal_on", "permutation_on", "uniform_on", "words_on"]

_MASK = (1 << 64) - 1


def words_on(xp: Any, start: int, count: int) -> Any:
    """The words of the stream from `start` on, as uint64 (see `random_state.random_words`)."""
    words = xp.arange(count, dtype=np.uint64)
    words = words * np.uint64(STEP) + np.uint64(start & _MASK)
    for shift, multiplier in zip(MIX_SHIFTS, MIX_MULTIPLIERS, strict=False):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(multiplier)
    return words ^ (words >> np.uint64(MIX_SHIFTS[2]))


def uniform_on(xp: Any, generator: Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    """`Generator.uniform`."""
    kind = np.dtype(dtype)
    bits = 8 if kind.kind == "V" else np.finfo(kind).nmant + 1
    wide = np.dtype(np.float32) if kind.kind == "V" else kind
    count = math.prod(shape)
    words = words_on(xp, generator.take(count), count) >> np.uint64(64 - bits)
    return (words.astype(np.int64).astype(wide) * wide.type(2.0**-bits)).reshape(shape).astype(kind)


def normal_on(xp: Any, generator: Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    """`Generator.normal`."""
    each = words_per_normal(dtype)
    count = math.prod(shape)
    words = words_on(xp, generator.take(count * each), count * each)
    if each == 2:
        words = (words >> np.uint64(11)).astype(np.int64).astype(np.float64)
        u, v = (words[0::2] + 1.0) * 2.0**-53, words[1::2] * 2.0**-53
    else:
        kind, unit = np.float32, np.float32(2.0**-32)
        v = (words & np.uint64(0xFFFFFFFF)).astype(np.int64).astype(kind) * unit
        u = ((words >> np.uint64(32)).astype(np.int64).astype(kind) + kind(0.5)) * unit
    kind = u.dtype.type
    values = xp.sqrt(xp.log(u) * kind(-2.0)) * xp.cos(v * kind(2.0 * math.pi))
    return values.astype(dtype).reshape(shape)


def integers_on(xp: Any, generator: Generator, low: int, high: int, shape: tuple[int, ...]) -> Any:
    """`Generator.integers`."""
    count = math.prod(shape)
    words, span = words_on(xp, generator.take(count), count), high - low
    if span < 1 << 63:
        found = (words >> np.uint64(1)).astype(np.int64) % np.int64(span)
    else:
        found = (words % np.uint64(span) if span <= _MASK else words).view(np.int64)
    return (found + np.int64(low)).reshape(shape)


def permutation_on(xp: Any, generator: Generator, n: int) -> Any:
    """`Generator.permutation`."""
    return xp.argsort(words_on(xp, generator.take(n), n))


def keep_on(xp: Any, generator: Generator, shape: tuple[int, ...], drop: float) -> Any:
    """`Generator.keep`."""
    count = math.prod(shape)
    threshold = math.ceil(float(np.float32(drop)) * 2**24)
    words = words_on(xp, generator.take(count), count)
    if threshold >= 1 << 24:
        return xp.zeros(shape, np.bool_)
    return (words >= np.uint64(threshold << 40)).reshape(shape)
