"""The linear algebra library inside numpy's wheels: eager products run on it, so its threads follow Ingot's."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np

from .cpus import available_cpus

__all__ = ["blas_threads", "set_blas_threads"]

# OpenBLAS as numpy's wheels name it (64-bit and 32-bit integers), and as systems install it.
_NAMES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")


@functools.cache
def _library() -> Any:
    """The library that numpy has loaded; None where it is another one, or not in a place of its own."""
    package = Path(np.__file__).resolve().parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            try:
                return ctypes.CDLL(str(path))  # loaded already: this only finds it
            except OSError:
                continue
    return None


def _function(purpose: str) -> Any:
    library = _library()
    for name in _NAMES:
        found = getattr(library, name.format(purpose), None)
        if found is not None:
            return found
    return None


def set_blas_threads(n: int) -> bool:
    """Let numpy's products run on `n` threads, at most one per CPU; False where its library cannot be told."""
    function = _function("set_num_threads")
    if function is None:
        return False
    function(ctypes.c_int(min(n, available_cpus())))
    return True


def blas_threads() -> int | None:
    """How many threads numpy's products run on; None where its library cannot be asked.

    >>> blas_threads() is None or blas_threads() >= 1
    True
    """
    function = _function("get_num_threads")
    return None if function is None else int(function())
