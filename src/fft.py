"""Discrete Fourier transforms, as `torch.fft`."""

from collections.abc import Sequence
from typing import Any

from .eager.creation import arange
from .eager.families import with_out
from .eager.functions import call as _call
from .eager.tensor import Tensor

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip


def _resolve(name: str, input: Tensor, s: Any, dim: Any, half: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and dimensions as the ops take them; `half` is for a last dimension that holds half a spectrum."""
    sizes = None if s is None else (s,) if isinstance(s, int) else tuple(s)
    if dim is None:
        dims = tuple(range(input.ndim if sizes is None else 0))
        if sizes is not None:
            if len(sizes) > input.ndim:
                raise RuntimeError(f"{name}: Got shape with {len(sizes)} values but input tensor only has {input.ndim}")
            dims = tuple(range(input.ndim - len(sizes), input.ndim))
    else:
        given = (dim,) if isinstance(dim, int) else tuple(dim)
        for d in given:
            if not -max(input.ndim, 1) <= d < max(input.ndim, 1):
                raise IndexError(
                    f"Dimension out of range (expected to be in range of [{-input.ndim}, {input.ndim - 1}], "
                    f"but got {d})"
                )
        dims = tuple(d % max(input.ndim, 1) for d in given)
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"{name}: FFT dims must be unique, given {dim}")
    if sizes is None:
        sizes = tuple(input.shape[d] for d in dims)
        if half:
            sizes = (*sizes[:-1], 2 * (sizes[-1] - 1))
    elif len(sizes) != len(dims):
        raise RuntimeError(
            f"{name}: When given, dim and shape arguments must have the same length, given {s} and {dim}"
        )
    sizes = tuple(
        (2 * (input.shape[d] - 1) if half and d == dims[-1] else input.shape[d]) if n == -1 else n
        for n, d in zip(sizes, dims, strict=True)
    )
    return sizes, dims


def _transform(op: str, name: str, input: Tensor, s: Any, dim: Any, norm: str | None) -> Tensor:
    sizes, dims = _resolve(name, input, s, dim, op == "irfftn")
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    return _call(op, input, s=sizes, dim=dims, norm=norm or "backward")  # type: ignore[no-any-return]


def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The Fourier transform along a dimension, cut off or padded to `n`; `norm` is "backward", "ortho" or "forward".

    >>> ingot.fft.fft(ingot.tensor([1., 0., 0., 0.]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
    """
    return _transform("fftn", "fft", input, n, dim, norm)


def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `fft`.

    >>> ingot.fft.ifft(ingot.tensor([4., 0., 0., 0.]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
    """
    return _transform("ifftn", "ifft", input, n, dim, norm)


def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The first n // 2 + 1 elements of the transform of reals, which the others follow from.

    >>> ingot.fft.rfft(ingot.tensor([1., 0., 0., 0.]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j])
    """
    return _transform("rfftn", "rfft", input, n, dim, norm)


def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`; `n` is the size of the result, 2 * (size - 1) by default.

    >>> ingot.fft.irfft(ingot.tensor([4., 0., 0.]))
    tensor([1., 1., 1., 1.])
    """
    return _transform("irfftn", "irfft", input, n, dim, norm)


def fft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """The Fourier transform over two dimensions.

    >>> ingot.fft.fft2(ingot.ones(2, 2))
    tensor([[4.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _transform("fftn", "fft2", input, s, dim, norm)


def ifft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """The inverse of `fft2`.

    >>> ingot.fft.ifft2(ingot.ones(2, 2))
    tensor([[1.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _transform("ifftn", "ifft2", input, s, dim, norm)


def rfft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """The Fourier transform of reals over two dimensions, half of the last.

    >>> ingot.fft.rfft2(ingot.ones(2, 4)).shape
    ingot.Size([2, 3])
    """
    return _transform("rfftn", "rfft2", input, s, dim, norm)


def irfft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """The inverse of `rfft2`.

    >>> ingot.fft.irfft2(ingot.fft.rfft2(ingot.ones(2, 2)))
    tensor([[1., 1.],
            [1., 1.]])
    """
    return _transform("irfftn", "irfft2", input, s, dim, norm)


def fftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The Fourier transform over several dimensions, all by default.

    >>> ingot.fft.fftn(ingot.ones(2))
    tensor([2.+0.j, 0.+0.j])
    """
    return _transform("fftn", "fftn", input, s, dim, norm)


def ifftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of `fftn`.

    >>> ingot.fft.ifftn(ingot.ones(2))
    tensor([1.+0.j, 0.+0.j])
    """
    return _transform("ifftn", "ifftn", input, s, dim, norm)


def rfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The Fourier transform of reals over several dimensions, half of the last.

    >>> ingot.fft.rfftn(ingot.ones(2, 4)).shape
    ingot.Size([2, 3])
    """
    return _transform("rfftn", "rfftn", input, s, dim, norm)


def irfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of `rfftn`.

    >>> ingot.fft.irfftn(ingot.tensor([2., 0.]))
    tensor([1., 1.])
    """
    return _transform("irfftn", "irfftn", input, s, dim, norm)


# -- Hermitian symmetry in the other domain ----------------------------------------------------------------------------

_OPPOSITE = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def _opposite(norm: str | None) -> str:
    if norm not in _OPPOSITE:
        raise RuntimeError(f"Invalid normalization mode: {norm!r}; expected 'backward', 'ortho' or 'forward'")
    return _OPPOSITE[norm]


def _conjugate(input: Tensor) -> Tensor:
    return _call("conj", input) if input.dtype.is_complex else input  # type: ignore[no-any-return]


def hfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The transform, which is real, of half a signal with Hermitian symmetry, over several dimensions.

    >>> ingot.fft.hfftn(ingot.tensor([1., 0.]))
    tensor([1., 1.])
    """
    return _transform("irfftn", "hfftn", _conjugate(input), s, dim, _opposite(norm))


def ihfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of `hfftn`: half a signal with Hermitian symmetry.

    >>> ingot.fft.ihfftn(ingot.tensor([1., 1.])).real
    tensor([1., 0.])
    """
    return _conjugate(_transform("rfftn", "ihfftn", input, s, dim, _opposite(norm)))


def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The transform, which is real, of half a signal with Hermitian symmetry.

    >>> ingot.fft.hfft(ingot.tensor([1., 0.]))
    tensor([1., 1.])
    """
    return hfftn(input, n, dim, norm)


def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `hfft`.

    >>> ingot.fft.ihfft(ingot.tensor([1., 1.])).real
    tensor([1., 0.])
    """
    return ihfftn(input, n, dim, norm)


def hfft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """`hfftn` over two dimensions.

    >>> ingot.fft.hfft2(ingot.ones(1, 2)).shape
    ingot.Size([1, 2])
    """
    return hfftn(input, s, dim, norm)


def ihfft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """`ihfftn` over two dimensions.

    >>> ingot.fft.ihfft2(ingot.ones(1, 2)).shape
    ingot.Size([1, 2])
    """
    return ihfftn(input, s, dim, norm)


# -- frequencies and order ---------------------------------------------------------------------------------------------


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of the elements of `fft` of n samples at a distance `d`.

    >>> ingot.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    ascending = arange(0, n, dtype=dtype or "float32", device=device)
    shifted = _call("where", _call("ge", ascending, (n + 1) // 2), _call("sub", ascending, n), ascending)
    return _call("mul", shifted, 1.0 / (n * d))  # type: ignore[no-any-return]


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of the elements of `rfft` of n samples at a distance `d`.

    >>> ingot.fft.rfftfreq(4)
    tensor([0.0000, 0.2500, 0.5000])
    """
    ascending = arange(0, n // 2 + 1, dtype=dtype or "float32", device=device)
    return _call("mul", ascending, 1.0 / (n * d))  # type: ignore[no-any-return]


def _shifts(input: Tensor, dim: int | Sequence[int] | None, up: bool) -> Tensor:
    dims = list(range(input.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    shifts = [input.shape[d] // 2 if up else (input.shape[d] + 1) // 2 for d in dims]
    return _call("roll", input, shifts, dims)  # type: ignore[no-any-return]


def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The spectrum with frequency 0 in the middle.

    >>> ingot.fft.fftshift(ingot.fft.fftfreq(4))
    tensor([-0.5000, -0.2500,  0.0000,  0.2500])
    """
    return _shifts(input, dim, True)


def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`.

    >>> ingot.fft.ifftshift(ingot.fft.fftshift(ingot.fft.fftfreq(4)))
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    return _shifts(input, dim, False)


for _name in __all__:
    if _name not in ("fftfreq", "rfftfreq"):
        globals()[_name] = with_out(globals()[_name])
