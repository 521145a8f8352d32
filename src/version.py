"""The version of Ingot, and of the GPU libraries that it was made for: none."""

from . import __version__

__all__ = ["__version__", "cuda", "hip"]

cuda: str | None = None
hip: str | None = None
