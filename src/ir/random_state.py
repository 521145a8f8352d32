"""The generators that random ops draw from: seeded, copyable, and safe to share between threads."""

import os
import threading
from typing import Any

import numpy as np

__all__ = ["Generator", "default_generator"]


class Generator:
    """A stream of random numbers (PCG64, O'Neill 2014, by numpy), from a seed or from the system's entropy.

    >>> a, b = Generator(), Generator()
    >>> _ = a.manual_seed(7), b.manual_seed(7)
    >>> bool((a.uniform((3,)) == b.uniform((3,))).all())
    True
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._lock = threading.Lock()
        self._seed = 0
        self.seed()

    def manual_seed(self, seed: int) -> "Generator":
        """Restart the stream from a seed (any 64-bit integer; negative ones count from 2**64) and return self."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(f"manual_seed: expected an int, given {type(seed).__name__}")
        value = seed.__index__()
        if not -(1 << 63) <= value < 1 << 64:
            raise RuntimeError(f"manual_seed: expected a seed of at most 64 bits, given {value}")
        with self._lock:
            self._seed = value
            self._random = np.random.Generator(np.random.PCG64(value % (1 << 64)))
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
            state = self._random.bit_generator.state
            numbers = state["state"]
            words = (numbers["state"], numbers["inc"], state["has_uint32"] << 32 | state["uinteger"], self._seed)
        data = b"".join((w % (1 << 128)).to_bytes(16, "little") for w in words)
        return np.frombuffer(data, np.uint8).copy()

    def set_state(self, state: Any) -> None:
        """Go back to where `get_state` was called; RuntimeError for anything else."""
        data = np.asarray(state)
        if data.dtype != np.uint8 or data.shape != (64,):
            raise RuntimeError(
                f"set_state: expected the uint8 array of 64 elements from get_state, given {data.dtype}{data.shape}"
            )
        position, increment, cached, seed = (
            int.from_bytes(data[i : i + 16].tobytes(), "little") for i in range(0, 64, 16)
        )
        with self._lock:
            self._seed = seed if seed < 1 << 127 else seed - (1 << 128)
            self._random.bit_generator.state = {
                "bit_generator": "PCG64",
                "state": {"state": position, "inc": increment},
                "has_uint32": cached >> 32 & 1,
                "uinteger": cached & 0xFFFFFFFF,
            }

    def uniform(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray[Any, Any]:
        """Floats uniform in [0, 1)."""
        wide = np.dtype(dtype) == np.float64
        with self._lock:
            values = self._random.random(shape, np.float64 if wide else np.float32)
        if np.dtype(dtype) != np.float16:
            return np.asarray(values)
        return np.minimum(values.astype(np.float16), np.float16(1 - 2**-11))  # rounding must not reach 1

    def normal(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray[Any, Any]:
        """Floats of the standard normal distribution."""
        wide = np.dtype(dtype) == np.float64
        with self._lock:
            values = self._random.standard_normal(shape, np.float64 if wide else np.float32)
        return np.asarray(values).astype(dtype, copy=False)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """64-bit integers uniform in [low, high)."""
        with self._lock:
            return np.asarray(self._random.integers(low, high, shape))

    def permutation(self, n: int) -> np.ndarray[Any, Any]:
        """The integers 0 to n - 1 in random order."""
        with self._lock:
            return np.asarray(self._random.permutation(n))


default_generator = Generator()
"""The generator that random ops use unless told otherwise."""
