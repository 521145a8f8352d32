"""Matrix decompositions: QR, singular values, eigenvalues, and what is computed from them."""

from typing import Any

import numpy as np

from ..dims import Dim, dim_min
from ..dtypes import complex64, complex128, float64
from ..sizes import Sizes
from ..types import TensorType
from ._common import ints, largest, randoms
from ._derive import derived_vjp
from ._op import Custom, Decompose, ErrorSample, F, Sample, VjpContext, define
from .linalg import (
    LinAlgError,
    conj_transpose,
    matrices,
    real_dtype,
    require_matrix,
    require_square,
)


def _run(name: str, function: Any, *arrays: Any, **kwargs: Any) -> Any:
    if not all(np.isfinite(a).all() for a in arrays):
        raise LinAlgError(f"linalg.{name}: the input matrix contains NaN or infinity")
    try:
        return function(*arrays, **kwargs)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: the algorithm failed to converge: {error}") from None


def _diagonal_matrix(x: Any) -> Any:
    """Matrices with these numbers on the diagonal."""
    return F.mul(F.unsqueeze(x, -1), F.eye(x.shape[-1], dtype=x.dtype))


# -- QR ----------------------------------------------------------------------------------------------------------------


def _infer_qr(sizes: Sizes, A: Any, *, mode: str) -> tuple[TensorType, TensorType]:
    A = require_matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"linalg.qr: expected mode to be 'reduced', 'complete' or 'r', given {mode!r}")
    *batch, m, n = A.shape
    inner: Dim = m if mode == "complete" else dim_min(m, n)
    q: tuple[Dim, ...] = (0,) if mode == "r" else (*batch, m, inner)
    return TensorType(A.dtype, q, A.device), TensorType(A.dtype, (*batch, inner, n), A.device)


def _evaluate_qr(xp: Any, A: Any, *, mode: str) -> tuple[Any, Any]:
    with np.errstate(all="ignore"):
        if mode == "r":
            return xp.empty(0, A.dtype), xp.asarray(xp.linalg.qr(A, mode="r"), A.dtype)
        q, r = xp.linalg.qr(A, mode=mode)
    return xp.asarray(q, A.dtype), xp.asarray(r, A.dtype)


def _qr_vjp(c: VjpContext, g: Any, A: Any, *, mode: str) -> tuple[Any]:
    """(gQ + Q @ symmetric(M)) @ inv(R).H with M = R @ gR.H - gQ.H @ Q, for at least as many rows as columns.

    Walter and Lehmann, "Algorithmic differentiation of linear algebra functions", 2012. A wider matrix is A = [X | Y]
    with X square: Q and R[:, :k] are X's, and Y = Q @ R[:, k:].
    """
    if mode == "r":
        raise RuntimeError("linalg.qr: the gradient needs Q: with mode='r' the function is not differentiable")
    q, r = c.outputs
    for_q, for_r = g
    m, n = A.shape[-2:]
    size = q.shape[-1]
    if mode == "complete" and m != n:
        raise RuntimeError("linalg.qr: with mode='complete' only square matrices have a gradient; use mode='reduced'")
    if for_q is None:
        for_q = F.mul(q, 0.0)
    if n != size:  # wide, or of sizes yet unknown: then Y may have no columns
        m = size
        square = F.slice(r, 0, m, dim=-1)
        rest = None
        if for_r is not None:
            y, for_y = F.slice(A, m, None, dim=-1), F.slice(for_r, m, None, dim=-1)
            for_q = F.add(for_q, F.matmul(y, conj_transpose(for_y)))
            rest, for_r = F.matmul(q, for_y), F.slice(for_r, 0, m, dim=-1)
        else:
            rest = F.mul(F.slice(A, m, None, dim=-1), 0.0)
        return (F.cat((_tall_qr(q, square, for_q, for_r), rest), -1),)
    return (_tall_qr(q, r, for_q, for_r),)


def _tall_qr(q: Any, r: Any, for_q: Any, for_r: Any) -> Any:
    m = F.neg(F.matmul(conj_transpose(for_q), q))
    if for_r is not None:
        m = F.add(F.matmul(r, conj_transpose(for_r)), m)
    lower = F.tril(m, -1)
    diagonal = F.mul(m, F.eye(m.shape[-1], dtype=m.dtype))
    if m.dtype.is_complex:
        diagonal = F.cast(F.real(diagonal), dtype=m.dtype)
    symmetric = F.add(F.add(lower, conj_transpose(lower)), diagonal)
    return F.solve_triangular(conj_transpose(r), F.add(for_q, F.matmul(q, symmetric)), upper=False, left=False)


QR = define(
    "qr(A: Tensor, mode: str = 'reduced')",
    "Q with orthonormal columns and an upper triangular R with Q @ R = A; `mode` is 'reduced', 'complete' or 'r'.\n\n"
    ">>> ingot.linalg.qr(ingot.tensor([[-2., 0.], [0., -3.]]))[1].abs()\n"
    "tensor([[2., 0.],\n"
    "        [0., 3.]])",
    infer=_infer_qr,
    evaluate=_evaluate_qr,
    vjp=_qr_vjp,
    lower=Custom("qr"),
    outputs=2,
    public=("", "method", "linalg"),
    samples=lambda: [
        Sample((matrices(3, 3),)),
        Sample((randoms(2, 4, 2),)),
        Sample((randoms(2, 4),), differentiable=False),
        Sample((randoms(4, 2), "complete"), differentiable=False),
        Sample((randoms(4, 2), "r"), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3),), RuntimeError, "at least 2 dimensions"),
        ErrorSample((randoms(3, 3), "full"), RuntimeError, "'reduced', 'complete' or 'r'"),
        ErrorSample((ints(3, 3),), RuntimeError, "int64"),
    ],
)


# -- singular values ---------------------------------------------------------------------------------------------------


def _infer_svd(sizes: Sizes, A: Any, *, full_matrices: bool) -> tuple[TensorType, TensorType, TensorType]:
    A = require_matrix("svd", A)
    *batch, m, n = A.shape
    k = dim_min(m, n)
    return (
        TensorType(A.dtype, (*batch, m, m if full_matrices else k), A.device),
        TensorType(real_dtype(A.dtype), (*batch, k), A.device),
        TensorType(A.dtype, (*batch, n if full_matrices else k, n), A.device),
    )


def _evaluate_svd(xp: Any, A: Any, *, full_matrices: bool) -> tuple[Any, Any, Any]:
    u, s, v = _run("svd", xp.linalg.svd, A, full_matrices=full_matrices)
    return xp.asarray(u, A.dtype), s, xp.asarray(v, A.dtype)


def _differences(s: Any) -> Any:
    """s[j] - s[i] at row i and column j, with ones on the diagonal."""
    difference = F.sub(F.unsqueeze(s, -2), F.unsqueeze(s, -1))
    return F.add(difference, F.eye(s.shape[-1], dtype=s.dtype))


def _without_diagonal(x: Any) -> Any:
    return F.mul(x, F.sub(1.0, F.eye(x.shape[-1], dtype=x.dtype)))


def _svd_vjp(c: VjpContext, g: Any, A: Any, *, full_matrices: bool) -> tuple[Any]:
    """Townsend, "Differentiating the singular value decomposition", 2016.

    With E[i, j] = s[j]**2 - s[i]**2: the gradient inside is U @ (diag(gS) + (skew(U.H @ gU) / E) @ S
    + S @ (skew(V.H @ gV) / E)) @ V.H with skew(X) = X - X.H, and outside what is orthogonal to U, over S. Complex
    vectors turn by a phase that goes with the diagonal of skew(U.H @ gU), over 2 S.
    """
    u, s, vh = c.outputs
    for_u, for_s, for_vh = g
    if full_matrices:
        k = s.shape[-1]
        u, vh = F.slice(u, 0, k, dim=-1), F.slice(vh, 0, k, dim=-2)
        for_u = None if for_u is None else F.slice(for_u, 0, k, dim=-1)
        for_vh = None if for_vh is None else F.slice(for_vh, 0, k, dim=-2)
    if for_u is None and for_vh is None:
        if for_s is None:
            return (None,)
        scaled = F.unsqueeze(F.cast(for_s, dtype=u.dtype) if u.dtype is not for_s.dtype else for_s, -2)
        return (F.matmul(F.mul(u, scaled), vh),)
    row, column = F.unsqueeze(s, -2), F.unsqueeze(s, -1)
    gaps = F.mul(_differences(s), F.add(F.add(row, column), F.mul(F.eye(s.shape[-1], dtype=s.dtype), 1.0)))
    inner = F.mul(_diagonal_matrix(s), 0.0) if for_s is None else _diagonal_matrix(for_s)
    outside = None
    if for_u is not None:
        turned = F.matmul(conj_transpose(u), for_u)
        difference = F.sub(turned, conj_transpose(turned))
        skew = _without_diagonal(F.div(difference, gaps))
        inner = F.add(inner, F.mul(skew, row))
        if A.dtype.is_complex:
            phase = F.mul(difference, F.eye(s.shape[-1], dtype=s.dtype))
            inner = F.add(inner, F.div(phase, F.mul(row, 2.0)))
        rest = F.div(F.sub(for_u, F.matmul(u, turned)), row)
        outside = F.matmul(rest, vh)
    if for_vh is not None:
        turned = F.matmul(vh, conj_transpose(for_vh))
        skew = _without_diagonal(F.div(F.sub(turned, conj_transpose(turned)), gaps))
        inner = F.add(inner, F.mul(column, skew))
        rest = F.div(F.sub(for_vh, F.matmul(conj_transpose(turned), vh)), column)
        part = F.matmul(u, rest)
        outside = part if outside is None else F.add(outside, part)
    return (F.add(F.matmul(F.matmul(u, inner), vh), outside),)


SVD = define(
    "svd(A: Tensor, full_matrices: bool = True)",
    "U, S and Vh with U @ diag(S) @ Vh = A, S the singular values from the largest down.\n\n"
    "Gradients through U and Vh are finite only where the singular values differ and none is 0; with `full_matrices` "
    "the columns past the number of singular values get none.\n\n"
    ">>> ingot.linalg.svd(ingot.tensor([[2., 0.], [0., 3.]]))[1]\n"
    "tensor([3., 2.])",
    infer=_infer_svd,
    evaluate=_evaluate_svd,
    vjp=_svd_vjp,
    lower=Custom("svd"),
    outputs=3,
    public=("linalg",),
    samples=lambda: [
        Sample((matrices(3, 3),)),
        Sample((randoms(2, 4, 2), False)),
        Sample((randoms(2, 4), False)),
        Sample((randoms(4, 2),), differentiable=False),
        Sample((np.zeros((3, 0), np.float32),), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3),), RuntimeError, "at least 2 dimensions"),
        ErrorSample((ints(3, 3),), RuntimeError, "int64"),
        ErrorSample((np.full((2, 2), np.nan, np.float32),), LinAlgError, "NaN or infinity"),
    ],
)


def _infer_svdvals(sizes: Sizes, A: Any) -> TensorType:
    return _infer_svd(sizes, A, full_matrices=False)[1]


SVDVALS = define(
    "svdvals(A: Tensor)",
    "The singular values of a matrix from the largest down.\n\n"
    ">>> ingot.linalg.svdvals(ingot.tensor([[2., 0.], [0., 3.]]))\n"
    "tensor([3., 2.])",
    infer=_infer_svdvals,
    evaluate=lambda xp, A: _run("svdvals", xp.linalg.svd, A, compute_uv=False),
    vjp=derived_vjp(lambda A: F.svd(A, False)[1]),
    lower=Decompose(lambda A: F.svd(A, False)[1]),
    public=("linalg",),
    samples=lambda: [Sample((matrices(3, 3),)), Sample((randoms(2, 4, 2),))],
    errors=lambda: [ErrorSample((randoms(3),), RuntimeError, "at least 2 dimensions")],
)


# -- eigenvalues -------------------------------------------------------------------------------------------------------


def _infer_eigh(sizes: Sizes, A: Any, *, UPLO: str) -> tuple[TensorType, TensorType]:
    A = require_square(sizes, "eigh", A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.eigh: Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return TensorType(real_dtype(A.dtype), A.shape[:-1], A.device), A


def _evaluate_eigh(xp: Any, A: Any, *, UPLO: str) -> tuple[Any, Any]:
    values, vectors = _run("eigh", xp.linalg.eigh, A, UPLO=UPLO.upper())
    return values, xp.asarray(vectors, A.dtype)


def _eigh_vjp(c: VjpContext, g: Any, A: Any, *, UPLO: str) -> tuple[Any]:
    """V @ (diag(gL) + (V.H @ gV) / E) @ V.H with E[i, j] = l[j] - l[i] and nothing on its diagonal (Giles, 2008)."""
    values, vectors = c.outputs
    for_values, for_vectors = g
    inner = None
    if for_values is not None:
        scale = for_values if for_values.dtype is A.dtype else F.cast(for_values, dtype=A.dtype)
        inner = F.mul(F.unsqueeze(scale, -2), F.eye(values.shape[-1], dtype=A.dtype))
    if for_vectors is not None:
        turned = _without_diagonal(F.div(F.matmul(conj_transpose(vectors), for_vectors), _differences(values)))
        inner = turned if inner is None else F.add(inner, turned)
    if inner is None:
        return (None,)
    result = F.matmul(F.matmul(vectors, inner), conj_transpose(vectors))
    if for_vectors is None:
        return (result,)
    return (F.mul(F.add(result, conj_transpose(result)), 0.5),)  # the op sees nothing else of the matrix


def symmetric(*shape: int) -> Any:
    """Symmetric matrices with eigenvalues that differ, for samples."""
    half = randoms(*shape) + np.diag(2 * np.arange(shape[-1])).astype(np.float32)
    return half + half.swapaxes(-1, -2)


EIGH = define(
    "eigh(A: Tensor, UPLO: str = 'L')",
    "The eigenvalues of a symmetric matrix from the smallest up, and its eigenvectors as columns; one triangle of the "
    "matrix is read. Gradients through the vectors are finite only where the values differ.\n\n"
    ">>> ingot.linalg.eigh(ingot.tensor([[3., 0.], [0., 2.]]))[0]\n"
    "tensor([2., 3.])",
    infer=_infer_eigh,
    evaluate=_evaluate_eigh,
    vjp=_eigh_vjp,
    lower=Custom("eigh"),
    outputs=2,
    public=("linalg",),
    samples=lambda: [  # differences of one element would leave the symmetric matrices: see tests/ir/ops/test_linalg.py
        Sample((symmetric(3, 3),), differentiable=False),
        Sample((symmetric(2, 4, 4), "U"), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4),), RuntimeError, "square"),
        ErrorSample((randoms(3, 3), "X"), RuntimeError, "UPLO"),
    ],
)
EIGVALSH = define(
    "eigvalsh(A: Tensor, UPLO: str = 'L')",
    "The eigenvalues of a symmetric matrix from the smallest up; one triangle of the matrix is read.\n\n"
    ">>> ingot.linalg.eigvalsh(ingot.tensor([[3., 0.], [0., 2.]]))\n"
    "tensor([2., 3.])",
    infer=lambda sizes, A, *, UPLO: _infer_eigh(sizes, A, UPLO=UPLO)[0],
    evaluate=lambda xp, A, *, UPLO: _evaluate_eigh(xp, A, UPLO=UPLO)[0],
    vjp=derived_vjp(lambda A, *, UPLO: F.eigh(A, UPLO)[0]),
    lower=Decompose(lambda A, *, UPLO: F.eigh(A, UPLO)[0]),
    public=("linalg",),
    samples=lambda: [Sample((symmetric(3, 3),), differentiable=False)],
    errors=lambda: [ErrorSample((randoms(3, 4),), RuntimeError, "square")],
)


def _infer_eig(sizes: Sizes, A: Any) -> tuple[TensorType, TensorType]:
    A = require_square(sizes, "eig", A)
    dtype = complex128 if real_dtype(A.dtype) is float64 else complex64
    return TensorType(dtype, A.shape[:-1], A.device), TensorType(dtype, A.shape, A.device)


def _evaluate_eig(xp: Any, A: Any) -> tuple[Any, Any]:
    dtype = np.complex128 if A.dtype in (np.float64, np.complex128) else np.complex64
    values, vectors = _run("eig", xp.linalg.eig, A)
    return xp.asarray(values, dtype), xp.asarray(vectors, dtype)


def _eig_vjp(c: VjpContext, g: Any, A: Any) -> tuple[Any]:
    """inv(V).H @ (diag(gL) + (V.H gV - V.H V diag(re(V.H gV))) / conj(E)) @ V.H, E[i, j] = l[j] - l[i].

    Boeddeker et al., "On the computation of complex-valued gradients", 2017, with eigenvectors of length 1.
    """
    values, vectors = c.outputs
    for_values, for_vectors = g
    inner = None if for_values is None else F.mul(
        F.unsqueeze(for_values, -2), F.eye(values.shape[-1], dtype=values.dtype)
    )  # fmt: skip
    adjoint = conj_transpose(vectors)
    if for_vectors is not None:
        turned = F.matmul(adjoint, for_vectors)
        lengths = F.sum(F.mul(turned, F.eye(values.shape[-1], dtype=values.dtype)), -2, True)
        lengths = F.cast(F.real(lengths), dtype=values.dtype)
        turned = F.sub(turned, F.mul(F.matmul(adjoint, vectors), lengths))
        turned = _without_diagonal(F.div(turned, F.conj(_differences(values))))
        inner = turned if inner is None else F.add(inner, turned)
    if inner is None:
        return (None,)
    result = F.solve(adjoint, F.matmul(inner, adjoint))
    return (result if A.dtype.is_complex else F.real(result),)


EIG = define(
    "eig(A: Tensor)",
    "The eigenvalues of a square matrix in no order, and its eigenvectors as columns, both complex.\n\n"
    ">>> ingot.linalg.eig(ingot.tensor([[2., 0.], [0., 2.]]))[0]\n"
    "tensor([2.+0.j, 2.+0.j])",
    infer=_infer_eig,
    evaluate=_evaluate_eig,
    vjp=_eig_vjp,
    lower=Custom("eig"),
    outputs=2,
    public=("linalg",),
    samples=lambda: [
        Sample((matrices(3, 3),), differentiable=False),
        Sample((randoms(2, 4, 4),), differentiable=False),
    ],
    errors=lambda: [ErrorSample((randoms(3, 4),), RuntimeError, "square")],
)
EIGVALS = define(
    "eigvals(A: Tensor)",
    "The eigenvalues of a square matrix in no order, as complex numbers.\n\n"
    ">>> ingot.linalg.eigvals(ingot.tensor([[2., 0.], [0., 2.]]))\n"
    "tensor([2.+0.j, 2.+0.j])",
    infer=lambda sizes, A: _infer_eig(sizes, A)[0],
    evaluate=lambda xp, A: _evaluate_eig(xp, A)[0],
    vjp=derived_vjp(lambda A: F.eig(A)[0]),
    lower=Decompose(lambda A: F.eig(A)[0]),
    public=("linalg",),
    samples=lambda: [Sample((matrices(3, 3),), differentiable=False)],
    errors=lambda: [ErrorSample((randoms(3, 4),), RuntimeError, "square")],
)


# -- pseudoinverse -----------------------------------------------------------------------------------------------------


def _infer_pinv(sizes: Sizes, A: Any, *, atol: float | None, rtol: float | None, hermitian: bool) -> TensorType:
    A = require_square(sizes, "pinv", A) if hermitian else require_matrix("pinv", A)
    return TensorType(A.dtype, (*A.shape[:-2], A.shape[-1], A.shape[-2]), A.device)


def cutoff(s: Any, shape: tuple[int, ...], atol: float | None, rtol: float | None) -> Any:
    """The singular value up to which others count as 0: the larger of atol and rtol * the largest of them."""
    if rtol is None:
        rtol = 0.0 if atol else max(shape[-2:]) * float(np.finfo(s.dtype).eps)
    return np.maximum(atol or 0.0, rtol * largest(s, -1, True, 0.0))


def _evaluate_pinv(xp: Any, A: Any, *, atol: float | None, rtol: float | None, hermitian: bool) -> Any:
    if hermitian:
        s, u = _run("pinv", xp.linalg.eigh, A)
        v = u.conj().swapaxes(-1, -2)
    else:
        u, s, v = _run("pinv", xp.linalg.svd, A, full_matrices=False)
    size = xp.abs(s)
    kept = size > cutoff(size, A.shape, atol, rtol)
    inverse = xp.where(kept, 1.0, 0.0) / xp.where(kept, s, 1.0)
    adjoint = u.conj().swapaxes(-1, -2)
    return xp.asarray((v.conj().swapaxes(-1, -2) * inverse[..., None, :]) @ adjoint, A.dtype)


def _pinv_vjp(c: VjpContext, g: Any, A: Any, **attributes: Any) -> tuple[Any]:
    """Golub and Pereyra, 1973, for matrices near which the rank does not change."""
    p, h = c.output, conj_transpose
    left, right = h(g), h(p)
    inside = F.neg(F.matmul(right, F.matmul(g, right)))
    row_part = F.matmul(F.matmul(left, p), right)
    row_part = F.sub(row_part, F.matmul(A, F.matmul(p, row_part)))
    column_part = F.matmul(right, F.matmul(p, left))
    column_part = F.sub(column_part, F.matmul(F.matmul(column_part, p), A))
    return (F.add(inside, F.add(row_part, column_part)),)


PINV = define(
    "pinv(A: Tensor, *, atol: float | None = None, rtol: float | None = None, hermitian: bool = False)",
    "The Moore-Penrose inverse of a matrix, from its singular values above max(atol, rtol * the largest).\n\n"
    ">>> ingot.linalg.pinv(ingot.tensor([[2., 0.], [0., 0.]]))\n"
    "tensor([[0.5000, 0.0000],\n"
    "        [0.0000, 0.0000]])",
    infer=_infer_pinv,
    evaluate=_evaluate_pinv,
    vjp=_pinv_vjp,
    lower=Custom("pinv"),
    public=("linalg",),
    samples=lambda: [
        Sample((matrices(3, 3),)),
        Sample((randoms(2, 4, 2),)),
        Sample((randoms(2, 4),)),
        Sample((np.ones((3, 2), np.float32),), differentiable=False),
        Sample((symmetric(3, 3),), {"hermitian": True}, differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3),), RuntimeError, "at least 2 dimensions"),
        ErrorSample((ints(3, 3),), RuntimeError, "int64"),
    ],
)
