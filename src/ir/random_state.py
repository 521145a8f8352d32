"""The generators that random ops draw from: seeded, copyable, and the same numbers in numpy and in compiled code.

The stream is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): word i
is a mixing function of `start + i * STEP`. So a draw of n words is one addition to the generator's state, and each of
the words can be computed anywhere from where the draw began: in any order, on any thread, inside any kernel.
"""

import ctypes
import math
import os
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = [
    "MIX_MULTIPLIERS", "MIX_SHIFTS", "STEP", "Generator", "default_generator", "integers_at", "normal_at",
    "random_words", "signed", "uniform_at", "words_per_normal",
]  # fmt: skip

_Array = np.ndarray[Any, np.dtype[Any]]

STEP = 0x9E3779B97F4A7C15
"""The distance between the states of two words: 2**64 divided by the golden ratio, odd."""
# Stafford's thirteenth variant of the finalizer of MurmurHash3, as in the paper's reference code.
MIX_SHIFTS = (30, 27, 31)
MIX_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MASK = (1 << 64) - 1
# So many words at a time stay in the first levels of cache through the passes of the mixing function.
_CHUNK = 4096
_STEPS = np.arange(_CHUNK, dtype=np.uint64) * np.uint64(STEP)
_SHIFTS = tuple(np.uint64(s) for s in MIX_SHIFTS)
_MULTIPLIERS = tuple(np.uint64(m) for m in MIX_MULTIPLIERS)


def signed(word: int) -> int:
    """A 64-bit word as the signed integer with the same bits."""
    word &= _MASK
    return word - (1 << 64) if word >> 63 else word


def _chunks(start: int, count: int, words: _Array | None = None) -> Iterator[tuple[slice, _Array]]:
    """The words of the stream from `start` on, a piece at a time: where each is, and its words until the next one."""
    shifted: _Array = np.empty(min(count, _CHUNK), np.uint64)
    space = np.empty_like(shifted) if words is None else words
    for first in range(0, count, _CHUNK):
        where = slice(first, min(first + _CHUNK, count))
        z = space[: where.stop - first] if words is None else space[where]
        t = shifted[: z.size]
        np.add(_STEPS[: z.size], np.uint64((start + first * STEP) & _MASK), out=z)
        for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
            np.right_shift(z, shift, out=t)
            np.bitwise_xor(z, t, out=z)
            np.multiply(z, multiplier, out=z)
        np.right_shift(z, _SHIFTS[2], out=t)
        np.bitwise_xor(z, t, out=z)
        yield where, z


def random_words(start: int, count: int) -> _Array:
    """The `count` words of the stream from `start` on, as uint64."""
    words: _Array = np.empty(count, np.uint64)
    for _ in _chunks(start, count, words):
        pass
    return words


# -- what words become ------------------------------------------------------------------------------------------------


def uniform_at(start: int, shape: tuple[int, ...], dtype: Any = np.float32) -> _Array:
    """Floats uniform in [0, 1): multiples of 2**-p from one word each, p the dtype's number of significant bits."""
    kind = np.dtype(dtype)
    bits = 8 if kind.kind == "V" else np.finfo(kind).nmant + 1  # bfloat16, of which numpy knows nothing
    wide = np.dtype(np.float32) if kind.kind == "V" else kind
    shift, unit = np.uint64(64 - bits), wide.type(2.0**-bits)
    values: _Array = np.empty(math.prod(shape), wide)
    for where, words in _chunks(start, values.size):
        np.right_shift(words, shift, out=words)
        # From signed integers: processors have an instruction for that.
        np.multiply(words.view(np.int64), unit, out=values[where], dtype=wide, casting="unsafe")
    return values.reshape(shape).astype(kind, copy=False)


def words_per_normal(dtype: Any) -> int:
    """How many words a number of the standard normal distribution takes in a dtype."""
    return 2 if np.dtype(dtype) == np.float64 else 1


def normal_at(start: int, shape: tuple[int, ...], dtype: Any = np.float32) -> _Array:
    """Floats of the standard normal distribution (Box and Muller, 1958): sqrt(-2 ln u) cos(2 pi v).

    In float64, u and v are two words of 53 bits; else they are the halves of one word, computed with in float32.
    """
    values: _Array = np.empty(math.prod(shape), np.float64 if np.dtype(dtype) == np.float64 else np.float32)
    kind = values.dtype.type
    each = words_per_normal(dtype)
    for where, words in _chunks(start, each * values.size):
        if each == 2:
            np.right_shift(words, np.uint64(11), out=words)
            u, v = (words[i::2].view(np.int64).astype(np.float64) for i in (0, 1))
            u, v = (u + 1.0) * 2.0**-53, v * 2.0**-53
        else:
            v = (words & np.uint64(0xFFFFFFFF)).view(np.int64).astype(np.float32)
            np.right_shift(words, np.uint64(32), out=words)
            u = words.view(np.int64).astype(np.float32)
            u, v = (u + kind(0.5)) * kind(2.0**-32), v * kind(2.0**-32)
        np.log(u, out=u)
        np.multiply(u, kind(-2.0), out=u)
        np.sqrt(u, out=u)
        np.multiply(v, kind(2.0 * math.pi), out=v)
        np.cos(v, out=v)
        np.multiply(u, v, out=values[where.start // each : where.stop // each])
    return values.astype(dtype, copy=False).reshape(shape)


def integers_at(start: int, low: int, high: int, shape: tuple[int, ...]) -> _Array:
    """64-bit integers uniform in [low, high), by the remainder of 63 bits: no number is likelier by 2**-63 or more.

    Where the range itself needs 64 bits, by the remainder of 64.
    """
    words = random_words(start, math.prod(shape))
    span = high - low
    if span < 1 << 63:
        # The same operations, in signed 64-bit integers, as compiled code has.
        found = (words >> np.uint64(1)).view(np.int64) % np.int64(span)
    else:
        found = (words % np.uint64(span) if span <= _MASK else words).view(np.int64)
    return (found + np.int64(low)).reshape(shape)


class Generator:
    """A stream of random numbers (SplitMix64), from a seed or from the system's entropy.

    Compiled code reads and advances the state at `address`, in one atomic step. Calls from several threads are safe;
    a thread that draws in Python and one in compiled code at the same moment may get the same numbers.

    >>> a, b = Generator(), Generator()
    >>> _ = a.manual_seed(7), b.manual_seed(7)
    >>> bool((a.uniform((3,)) == b.uniform((3,))).all())
    True
    """

    placed: Callable[[Any], Any] = staticmethod(str)  # what says on which device a name is (see `eager.random`)

    def __init__(self, device: Any = "cpu") -> None:
        self.device = type(self).placed(device)
        self._lock = threading.Lock()
        self._seed = 0
        self._state = ctypes.c_uint64()
        self.address = ctypes.addressof(self._state)
        self.seed()

    def manual_seed(self, seed: int) -> "Generator":
        """Restart the stream from a seed (any 64-bit integer; negative ones count from 2**64) and return self."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(f"manual_seed: expected an int, given {type(seed).__name__}")
        value = seed.__index__()
        if not -(1 << 63) <= value < 1 << 64:
            raise RuntimeError(f"manual_seed: expected a seed of at most 64 bits, given {value}")
        # Mixed twice, so that the streams of nearby seeds are far from each other.
        first = int(random_words(value, 1)[0])
        state = int(random_words(first ^ STEP, 1)[0])
        with self._lock:
            self._seed = value
            self._state.value = state
        return self

    def seed(self) -> int:
        """Restart the stream from the system's entropy and return the seed that was used."""
        value = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(value)
        return value

    def initial_seed(self) -> int:
        """The seed that the stream was last restarted from."""
        return self._seed

    def get_state(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Where the stream is, as an array of bytes for `set_state`."""
        with self._lock:
            data = struct.pack("<QQB", self._state.value, self._seed & _MASK, self._seed < 0)
        return np.frombuffer(data, np.uint8).copy()

    def set_state(self, state: Any) -> None:
        """Go back to where `get_state` was called; RuntimeError for anything else."""
        data = np.asarray(state)
        if data.dtype != np.uint8 or data.shape != (17,) or data[16] > 1:
            raise RuntimeError(
                f"set_state: expected the uint8 array of 17 elements from get_state, given {data.dtype}{data.shape}"
            )
        position, seed, is_negative = struct.unpack("<QQB", data.tobytes())
        with self._lock:
            self._seed = seed - (1 << 64) if is_negative else seed
            self._state.value = position

    def take(self, count: int) -> int:
        """Advance by `count` words; where they start, for `random_words`."""
        with self._lock:
            start = self._state.value
            self._state.value = (start + count * STEP) & _MASK
        return start

    def uniform(self, shape: tuple[int, ...], dtype: Any = np.float32) -> _Array:
        """Floats uniform in [0, 1)."""
        return uniform_at(self.take(math.prod(shape)), shape, dtype)

    def normal(self, shape: tuple[int, ...], dtype: Any = np.float32) -> _Array:
        """Floats of the standard normal distribution."""
        return normal_at(self.take(math.prod(shape) * words_per_normal(dtype)), shape, dtype)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> _Array:
        """64-bit integers uniform in [low, high)."""
        return integers_at(self.take(math.prod(shape)), low, high, shape)

    def permutation(self, n: int) -> _Array:
        """The integers 0 to n - 1 in random order: that of n words, which differ from each other."""
        return np.argsort(random_words(self.take(n), n))

    def keep(self, shape: tuple[int, ...], drop: float) -> _Array:
        """Bools that are False with probability `drop`: `uniform(shape, float32) >= drop`, without the floats."""
        # A float that is a multiple of 2**-24 is below the threshold where its integer is below this one.
        threshold = math.ceil(float(np.float32(drop)) * 2**24)
        kept: _Array = np.empty(math.prod(shape), np.bool_)
        start = self.take(kept.size)
        if threshold >= 1 << 24:
            kept.fill(False)
        else:
            for where, words in _chunks(start, kept.size):
                np.greater_equal(words, np.uint64(threshold << 40), out=kept[where])
        return kept.reshape(shape)


default_generator = Generator()
"""The generator that random ops use unless told otherwise."""
