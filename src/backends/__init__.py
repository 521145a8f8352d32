"""What programs written for PyTorch set about libraries that it uses; Ingot has none of them.

One setting has an effect: where `cudnn.allow_tf32` is true, as it is at first, compiled convolutions of float32 on a
GPU round what they multiply to 10 bits after the point, as PyTorch's do; products of matrices never do.

>>> ingot.backends.cudnn.benchmark = True  # taken, without an effect
>>> ingot.backends.mps.is_available()
False
"""

from types import SimpleNamespace

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]


def _library(**settings: bool) -> SimpleNamespace:
    return SimpleNamespace(is_available=lambda: False, **settings)


cudnn = _library(enabled=False, benchmark=False, deterministic=True, allow_tf32=True)
cuda = SimpleNamespace(is_built=lambda: False, matmul=SimpleNamespace(allow_tf32=False))
mps = SimpleNamespace(is_available=lambda: False, is_built=lambda: False)
mkl, mkldnn, openmp = _library(), _library(enabled=False), _library()
