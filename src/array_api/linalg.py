"""Linear algebra of the array API standard; the last two axes are those of the matrices."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..eager import Tensor
from ..ir.dtypes import DType
from . import elementwise
from .data_types import require_kind, result_type
from .functions import namespace
from .statistics import widened

_linalg = namespace.linalg


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class EigResult(NamedTuple):
    """What `eig` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _together(name: str, *tensors: Tensor) -> list[Tensor]:
    for tensor in tensors:
        require_kind(name, tensor, "numeric")
    dtype = result_type(*tensors)
    return [tensor.to(dtype) for tensor in tensors]


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The Cholesky factor: lower triangular, or its conjugate transpose where `upper`."""
    factor = _linalg.cholesky(x)
    return factor.mT.conj() if upper else factor


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The vector product along an axis of size 3; the other axes broadcast."""
    first, second = _together("cross", x1, x2)
    return _linalg.cross(first, second, dim=axis)


def det(x: Tensor, /) -> Tensor:
    """The determinant."""
    return _linalg.det(x)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The diagonals, as a view."""
    return namespace.diagonal(x, offset=offset, dim1=-2, dim2=-1)


def eig(x: Tensor, /) -> EigResult:
    """Eigenvalues and right eigenvectors (columns) of general matrices; complex."""
    return EigResult(*_linalg.eig(x))


def eigh(x: Tensor, /) -> EighResult:
    """Eigenvalues in ascending order and eigenvectors (columns) of Hermitian matrices."""
    return EighResult(*_linalg.eigh(x))


def eigvals(x: Tensor, /) -> Tensor:
    """Eigenvalues of general matrices; complex."""
    return _linalg.eigvals(x)


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues of Hermitian matrices in ascending order."""
    return _linalg.eigvalsh(x)


def inv(x: Tensor, /) -> Tensor:
    """The inverse."""
    return _linalg.inv(x)


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices or vectors; leading axes broadcast."""
    first, second = _together("matmul", x1, x2)
    if first.ndim == 0 or second.ndim == 0:
        raise ValueError(f"matmul of tensors of {first.ndim} and {second.ndim} dimensions, expected at least 1")
    return namespace.matmul(first, second)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """The norm of matrices: "fro", "nuc", 1, 2, inf or the negative of a number."""
    return _linalg.matrix_norm(x, ord=ord, keepdim=keepdims)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """The `n`-th power of square matrices."""
    return _linalg.matrix_power(x, n)


def matrix_rank(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """How many singular values exceed the greatest times `rtol` (where None, the larger size times epsilon)."""
    values = svdvals(x)
    if rtol is None:
        rtol = max(x.shape[-2:]) * float(namespace.finfo(values.dtype).eps)
    greatest = namespace.amax(values, dim=-1, keepdim=True)
    limit = greatest * (rtol.unsqueeze(-1) if isinstance(rtol, Tensor) else rtol)
    return namespace.sum((values > limit).to(namespace.int64), dim=-1)


def matrix_transpose(x: Tensor, /) -> Tensor:
    """`x` with its last two axes exchanged, as a view."""
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose of a tensor of {x.ndim} dimensions, expected at least 2")
    return x.mT


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The products of every element of a vector with every one of another."""
    first, second = _together("outer", x1, x2)
    return namespace.outer(first, second)


def pinv(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """The pseudo-inverse; singular values at most the greatest times `rtol` count as 0."""
    if rtol is None:
        rtol = max(x.shape[-2:]) * float(namespace.finfo(_parts(x.dtype)).eps)
    return _linalg.pinv(x, rtol=rtol)


def _parts(dtype: DType) -> DType:
    return {namespace.complex64: namespace.float32, namespace.complex128: namespace.float64}.get(dtype, dtype)


def qr(x: Tensor, /, *, mode: str = "reduced") -> QRResult:
    """The QR decomposition; `mode` "reduced" or "complete"."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"mode {mode!r}, expected 'reduced' or 'complete'")
    return QRResult(*_linalg.qr(x, mode=mode))


def slogdet(x: Tensor, /) -> SlogdetResult:
    """The sign and the natural logarithm of the magnitude of the determinant."""
    return SlogdetResult(*_linalg.slogdet(x))


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The solution of `x1 @ result == x2`; `x2` is a vector only if it has one axis."""
    first, second = _together("solve", x1, x2)
    if second.ndim == 1:
        return _linalg.solve(first, second.unsqueeze(-1).expand(*first.shape[:-2], second.shape[0], 1)).squeeze(-1)
    return _linalg.solve(first, second)


def svd(x: Tensor, /, *, full_matrices: bool = True) -> SVDResult:
    """The singular value decomposition, singular values in descending order."""
    return SVDResult(*_linalg.svd(x, full_matrices=full_matrices))


def svdvals(x: Tensor, /) -> Tensor:
    """The singular values in descending order."""
    return _linalg.svdvals(x)


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The product summed over the last `axes` of `x1` and first of `x2`, or over the pairs of axes named."""
    first, second = _together("tensordot", x1, x2)
    return namespace.tensordot(first, second, dims=axes)


def trace(x: Tensor, /, *, offset: int = 0, dtype: DType | None = None) -> Tensor:
    """The sum of the diagonal; that of integers has 64 bits."""
    wide = widened(x, dtype)
    return namespace.sum(diagonal(x, offset=offset).to(wide), dim=-1).to(wide)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The product of vectors along an axis, `x1` conjugated; the other axes broadcast."""
    first, second = _together("vecdot", x1, x2)
    if not -min(first.ndim, second.ndim) <= axis < 0:
        raise ValueError(f"vecdot: axis {axis}, expected {-min(first.ndim, second.ndim)} to -1")
    if first.shape[axis] != second.shape[axis]:
        raise ValueError(f"vecdot: sizes {first.shape[axis]} and {second.shape[axis]} of axis {axis} differ")
    product = elementwise.conj(first) * second
    return namespace.sum(product, dim=axis).to(first.dtype)


def vector_norm(
    x: Tensor, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """The norm of the vectors along the axes, or of all elements."""
    require_kind("vector_norm", x, "real floating", "complex floating")
    if not isinstance(axis, int) and axis is not None:
        axis = tuple(axis)
        if not axis:
            return elementwise.abs(x)
    if x.ndim == 0:
        return elementwise.abs(x)
    return _linalg.vector_norm(x, ord=ord, dim=axis, keepdim=keepdims)
