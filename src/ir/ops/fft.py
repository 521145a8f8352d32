"""Discrete Fourier transforms over several dimensions: complex, of reals, and to reals."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dims import Dim
from ..dtypes import DType, complex64, complex128, default_dtype, float32, float64
from ..sizes import Sizes
from ..types import TensorType
from ._common import array_dtype, randoms, require_tensor
from ._op import Custom, ErrorSample, F, Op, Sample, Trait, VjpContext, define
from .complex import complexes

_REAL = {complex64: float32, complex128: float64}
_COMPLEX = {float32: complex64, float64: complex128}


def _operate(name: str, dtype: DType) -> DType:
    """The real dtype of the precision that a transform is computed in."""
    if dtype.itemsize == 2:
        raise RuntimeError(f"{name}: {dtype.name} is not supported on a CPU; convert to float32")
    real = _REAL.get(dtype, dtype)
    return real if real.category == 2 else default_dtype()


def _checked(name: str, input: Any, dim: tuple[int, ...], s: tuple[int, ...]) -> TensorType:
    input = require_tensor(name, "input", input)
    if not all(0 <= d < input.rank for d in dim) or len(set(dim)) != len(dim) or len(s) != len(dim) or not dim:
        raise RuntimeError(f"{name}: expected different dimensions of the input with a size each, given {dim} and {s}")
    if any(n < 1 for n in s):
        raise RuntimeError(f"{name}: Invalid number of data points, given {s}: expected at least 1")
    return input


def _sized(shape: tuple[Dim, ...], dim: tuple[int, ...], s: tuple[Any, ...]) -> tuple[Dim, ...]:
    result = list(shape)
    for d, n in zip(dim, s, strict=True):
        result[d] = n
    return tuple(result)


def _fitted(x: Any, dim: int, size: Dim) -> Any:
    """The tensor cut off or padded with zeros to a size along a dimension."""
    given = x.shape[dim]
    if given == size:
        return x
    if isinstance(given, int) and isinstance(size, int) and given > size:
        return F.slice(x, 0, size, dim=dim)
    return F.slice(F.pad(x, (0, 0) * (x.ndim - 1 - dim) + (0, size)), 0, size, dim=dim)


def _like_input(gradient: Any, input: Any, dim: tuple[int, ...]) -> Any:
    for d in dim:
        gradient = _fitted(gradient, d, input.shape[d])
    return gradient


def _define(
    name: str,
    doc: str,
    infer: Callable[..., TensorType],
    compute: Callable[..., Any],
    vjp: Callable[..., Any],
    of_reals: bool,
) -> Op:
    def evaluate(xp: Any, input: Any, *, s: tuple[int, ...], dim: tuple[int, ...], norm: str) -> Any:
        real = _operate(name, array_dtype(input))
        result = _COMPLEX[real] if name != "irfftn" else real
        with np.errstate(all="ignore"):
            return xp.asarray(compute(xp.fft, input, s, dim, norm), result.numpy)

    samples = [
        Sample((randoms(3, 5),), {"s": (5,), "dim": (1,)}, differentiable=False),
        Sample((randoms(4, 3, 5),), {"s": (6, 4), "dim": (0, 2), "norm": "ortho"}, differentiable=False),
    ]
    if not of_reals:
        samples.append(
            Sample((complexes(3, 4),), {"s": (3, 4), "dim": (0, 1), "norm": "forward"}, differentiable=False)
        )
    return define(
        f"{name}(input: Tensor, *, s: ints, dim: ints, norm: str = 'backward')",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=vjp,
        lower=Custom(name),
        traits=(Trait.PURE,),
        samples=lambda: samples,
        errors=lambda: [
            ErrorSample((randoms(3),), RuntimeError, "different dimensions", {"s": (3,), "dim": (1,)}),
            ErrorSample((randoms(3),), RuntimeError, "number of data points", {"s": (0,), "dim": (0,)}),
            ErrorSample((randoms(3, dtype="float16"),), RuntimeError, "float16", {"s": (3,), "dim": (0,)}),
        ],
    )


def _check_norm(name: str, norm: str) -> None:
    if norm not in ("backward", "ortho", "forward"):
        raise RuntimeError(f"{name}: Invalid normalization mode: {norm!r}; expected 'backward', 'ortho' or 'forward'")


# The adjoint of a transform scales in the other direction.
_ADJOINT = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _infer_complex(name: str) -> Callable[..., TensorType]:
    def infer(sizes: Sizes, input: Any, *, s: tuple[int, ...], dim: tuple[int, ...], norm: str) -> TensorType:
        input = _checked(name, input, dim, s)
        _check_norm(name, norm)
        return TensorType(_COMPLEX[_operate(name, input.dtype)], _sized(input.shape, dim, s), input.device)

    return infer


def _to_input(gradient: Any, input: Any) -> Any:
    if input.dtype.is_complex:
        return gradient if gradient.dtype is input.dtype else F.cast(gradient, dtype=input.dtype)
    gradient = F.real(gradient) if gradient.dtype.is_complex else gradient
    return gradient if gradient.dtype is input.dtype else F.cast(gradient, dtype=input.dtype)


def _complex_vjp(inverse: str) -> Callable[..., tuple[Any]]:
    def vjp(c: VjpContext, g: Any, input: Any, *, s: Any, dim: Any, norm: str) -> tuple[Any]:
        back = getattr(F, inverse)(g, s=s, dim=dim, norm=_ADJOINT[norm])
        return (_to_input(_like_input(back, input, dim), input),)

    return vjp


FFTN = _define(
    "fftn",
    "The Fourier transform over dimensions of given sizes.",
    _infer_complex("fftn"),
    lambda fft, x, s, dim, norm: fft.fftn(x, s, dim, norm),
    _complex_vjp("ifftn"),
    False,
)
IFFTN = _define(
    "ifftn",
    "The inverse Fourier transform over dimensions of given sizes.",
    _infer_complex("ifftn"),
    lambda fft, x, s, dim, norm: fft.ifftn(x, s, dim, norm),
    _complex_vjp("fftn"),
    False,
)


def _infer_rfftn(sizes: Sizes, input: Any, *, s: tuple[int, ...], dim: tuple[int, ...], norm: str) -> TensorType:
    input = _checked("rfftn", input, dim, s)
    _check_norm("rfftn", norm)
    if input.dtype.is_complex:
        raise RuntimeError(f"rfftn expects a real input tensor, but got {input}")
    shape = _sized(input.shape, dim, (*s[:-1], s[-1] // 2 + 1))
    return TensorType(_COMPLEX[_operate("rfftn", input.dtype)], shape, input.device)


def _rfftn_vjp(c: VjpContext, g: Any, input: Any, *, s: Any, dim: Any, norm: str) -> tuple[Any]:
    """The adjoint: the half spectrum is part of the whole one, whose other half got no gradient."""
    whole = F.ifftn(_fitted(g, dim[-1], s[-1]), s=s, dim=dim, norm=_ADJOINT[norm])
    return (_to_input(_like_input(F.real(whole), input, dim), input),)


RFFTN = _define(
    "rfftn",
    "The Fourier transform of reals: the half of the last dimension that the other half follows from.",
    _infer_rfftn,
    lambda fft, x, s, dim, norm: fft.rfftn(x, s, dim, norm),
    _rfftn_vjp,
    True,
)


def _infer_irfftn(sizes: Sizes, input: Any, *, s: tuple[int, ...], dim: tuple[int, ...], norm: str) -> TensorType:
    input = _checked("irfftn", input, dim, s)
    _check_norm("irfftn", norm)
    return TensorType(_operate("irfftn", input.dtype), _sized(input.shape, dim, s), input.device)


def _irfftn_vjp(c: VjpContext, g: Any, input: Any, *, s: Any, dim: Any, norm: str) -> tuple[Any]:
    """The transform of the gradient, where elements that stand for two of the whole spectrum count twice."""
    size, last = s[-1], dim[-1]
    half = size // 2 + 1
    spectrum = F.rfftn(g, s=s, dim=dim, norm=_ADJOINT[norm])
    single = half - 1 if size % 2 == 0 else half
    place = F.cumsum(F.full((half,), 1, dtype=spectrum_dtype(spectrum)), 0)
    doubled = F.add(1.0, F.cast(F.logical_and(F.gt(place, 1), F.le(place, single)), dtype=spectrum_dtype(spectrum)))
    for _ in range(g.ndim - 1 - last):
        doubled = F.unsqueeze(doubled, -1)
    result = F.mul(spectrum, doubled)
    if not input.dtype.is_complex:
        result = F.real(result)
    return (_to_input(_like_input(result, input, dim), input),)


def spectrum_dtype(spectrum: Any) -> DType:
    """The real dtype that a complex tensor is made of."""
    return _REAL[spectrum.dtype]


IRFFTN = _define(
    "irfftn",
    "The inverse of rfftn: reals of given sizes from half a spectrum.",
    _infer_irfftn,
    lambda fft, x, s, dim, norm: fft.irfftn(x, s, dim, norm),
    _irfftn_vjp,
    False,
)
