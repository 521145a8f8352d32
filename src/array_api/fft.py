"""Discrete Fourier transforms of the array API standard."""

from collections.abc import Callable, Sequence
from typing import Any

from ..eager import Tensor
from ..ir.dtypes import DType
from .data_types import require_kind
from .functions import named, namespace

_fft = namespace.fft


def _one(name: str, kinds: Sequence[str], summary: str) -> Callable[..., Tensor]:
    """A transform along one axis."""
    compute = getattr(_fft, name)

    def transform(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
        _check(name, x, kinds, norm)
        result: Tensor = compute(x, n=n, dim=axis, norm=norm)
        return result

    return named(transform, name, f"{summary} {_NORMS}")


def _several(name: str, kinds: Sequence[str], summary: str) -> Callable[..., Tensor]:
    """A transform along several axes."""
    compute = getattr(_fft, name)

    def transform(
        x: Tensor, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
    ) -> Tensor:
        _check(name, x, kinds, norm)
        result: Tensor = compute(x, s=s, dim=axes, norm=norm)
        return result

    return named(transform, name, f"{summary} {_NORMS}")


_NORMS = '`norm`: "backward", "ortho" or "forward".'


def _check(name: str, x: Tensor, kinds: Sequence[str], norm: str) -> None:
    require_kind(name, x, *kinds)
    if norm not in ("backward", "ortho", "forward"):
        raise ValueError(f"{name}: norm {norm!r}, expected 'backward', 'ortho' or 'forward'")


_REAL = ["real floating"]
_EITHER = ["real floating", "complex floating"]

fft = _one("fft", _EITHER, "The transform along one axis.")
ifft = _one("ifft", _EITHER, "The inverse transform along one axis.")
rfft = _one("rfft", _REAL, "The transform of real numbers, of which half is kept.")
irfft = _one("irfft", _EITHER, "The inverse of `rfft`.")
hfft = _one("hfft", _EITHER, "The transform of a Hermitian-symmetric signal, of which half is given.")
ihfft = _one("ihfft", _REAL, "The inverse of `hfft`.")
fftn = _several("fftn", _EITHER, "The transform along several axes.")
ifftn = _several("ifftn", _EITHER, "The inverse transform along several axes.")
rfftn = _several("rfftn", _REAL, "The transform of real numbers along several axes, of which half is kept.")
irfftn = _several("irfftn", _EITHER, "The inverse of `rfftn`.")


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Any = None) -> Tensor:
    """The frequencies of a transform of length `n` of samples `d` apart."""
    return _fft.fftfreq(n, d=d, dtype=dtype)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Any = None) -> Tensor:
    """The frequencies that `rfft` of length `n` keeps."""
    return _fft.rfftfreq(n, d=d, dtype=dtype)


def fftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """Frequency 0 in the middle."""
    return _fft.fftshift(x, dim=axes)


def ifftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _fft.ifftshift(x, dim=axes)
