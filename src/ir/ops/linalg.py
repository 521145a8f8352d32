"""Linear algebra on square matrices: inverse, determinant, linear systems, Cholesky factor, matrix exponential."""

from typing import Any

import numpy as np

from ..dims import Dim
from ..dtypes import DType, complex64, complex128, float32, float64
from ..sizes import STATIC, Sizes
from ..types import TensorType
from ._common import ints, largest, randoms, require_tensor, sum_to
from ._derive import derived_vjp
from ._op import Custom, Decompose, ErrorSample, F, Sample, VjpContext, define

__all__ = ["LinAlgError", "conj_transpose", "matrices", "real_dtype", "require_matrix", "require_square", "transposed"]


class LinAlgError(RuntimeError):
    """A matrix for which a result does not exist, such as the inverse of a singular one."""


def require_matrix(name: str, type: Any, argument: str = "A") -> TensorType:
    """The type, if it is a matrix's or a batch of matrices' of floats of at least 32 bits; RuntimeError otherwise."""
    type = require_tensor(name, argument, type)
    if type.rank < 2:
        raise RuntimeError(
            f"linalg.{name}: The input tensor {argument} must have at least 2 dimensions, given {type} of {type.rank}"
        )
    if type.dtype.category < 2 or type.dtype.itemsize == 2:
        raise RuntimeError(
            f"linalg.{name}: Expected a float32, float64 or complex tensor, given {argument} of {type.dtype.name}"
        )
    return type


def require_square(sizes: Sizes, name: str, type: Any, argument: str = "A") -> TensorType:
    """`require_matrix`, and as many rows as columns."""
    type = require_matrix(name, type, argument)
    sizes.equal(
        type.shape[-2],
        type.shape[-1],
        f"linalg.{name}: {argument} must be batches of square matrices, but they are {type.shape[-2]} by "
        f"{type.shape[-1]} matrices",
    )
    return type


def transposed(x: Any) -> Any:
    """The matrix transposed."""
    return F.transpose(x, -2, -1)


def conj_transpose(x: Any) -> Any:
    """The matrix transposed and conjugated, for rules."""
    return F.transpose(F.conj(x) if x.dtype.is_complex else x, -2, -1)


def real_dtype(dtype: DType) -> DType:
    """The dtype of the absolute values of numbers of `dtype`."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def matrices(*shape: int, seed: int = 0) -> Any:
    """Well-conditioned square matrices for samples: random ones with a heavier diagonal."""
    return randoms(*shape, seed=seed) + 3 * np.eye(shape[-1], dtype=np.float32)


# -- inverse and determinant -------------------------------------------------------------------------------------------


def _evaluate_inv(xp: Any, A: Any) -> Any:
    try:
        with np.errstate(all="ignore"):
            return xp.asarray(xp.linalg.inv(A), A.dtype)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            f"linalg.inv: {_singular(A)}the inversion could not be completed because the input matrix is singular."
        ) from None


def _singular(A: Any) -> str:
    """Which of a batch of matrices is singular, for an error message."""
    if A.ndim == 2:
        return ""
    with np.errstate(all="ignore"):
        zero = np.argwhere(np.linalg.slogdet(A)[0] == 0)
    return f"(Batch element {', '.join(map(str, zero[0]))}): " if len(zero) else ""


def _inv_vjp(c: VjpContext, g: Any, A: Any) -> tuple[Any]:
    adjoint = conj_transpose(c.output)
    return (F.neg(F.matmul(adjoint, F.matmul(g, adjoint))),)


INV = define(
    "inv(A: Tensor)",
    "The inverse of a square matrix, or of each of a batch; LinAlgError for a singular one.\n\n"
    ">>> ingot.linalg.inv(ingot.tensor([[2., 0.], [0., 4.]]))\n"
    "tensor([[0.5000, 0.0000],\n"
    "        [0.0000, 0.2500]])",
    infer=lambda sizes, A: require_square(sizes, "inv", A),
    evaluate=_evaluate_inv,
    vjp=_inv_vjp,
    lower=Custom("inv"),
    public=("linalg",),
    samples=lambda: [
        Sample((matrices(3, 3),)),
        Sample((matrices(2, 2, 4, 4),)),
        Sample((np.zeros((0, 0), np.float32),)),
        Sample((np.zeros((0, 3, 3), np.float32),)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4),), RuntimeError, "square matrices, but they are 3 by 4"),
        ErrorSample((randoms(3),), RuntimeError, "at least 2 dimensions"),
        ErrorSample((ints(3, 3),), RuntimeError, "given A of int64"),
        ErrorSample((np.ones((2, 2), np.float32),), LinAlgError, "singular"),
    ],
)


def _slogdet_types(sizes: Sizes, A: Any) -> tuple[TensorType, TensorType]:
    A = require_square(sizes, "slogdet", A)
    batch = A.shape[:-2]
    return TensorType(A.dtype, batch, A.device), TensorType(real_dtype(A.dtype), batch, A.device)


def _evaluate_slogdet(xp: Any, A: Any) -> tuple[Any, Any]:
    with np.errstate(all="ignore"):
        sign, logarithm = xp.linalg.slogdet(A)
    return xp.asarray(sign, A.dtype), xp.asarray(logarithm)


def _per_matrix(x: Any) -> Any:
    """A number per matrix, with two more dimensions."""
    return F.unsqueeze(F.unsqueeze(x, -1), -1)


SLOGDET = define(
    "slogdet(A: Tensor)",
    "The sign of the determinant of a square matrix and the logarithm of its absolute value.\n\n"
    ">>> ingot.linalg.slogdet(ingot.tensor([[0., 1.], [1., 0.]]))[0]\n"
    "tensor(-1.)",
    infer=_slogdet_types,
    evaluate=_evaluate_slogdet,
    vjp=lambda c, g, A: (None if g[1] is None else F.mul(_per_matrix(g[1]), conj_transpose(F.inv(A))),),
    lower=Custom("slogdet"),
    outputs=2,
    public=("", "method", "linalg"),
    samples=lambda: [
        Sample((matrices(3, 3),)),
        Sample((matrices(2, 4, 4),)),
        Sample((-matrices(3, 3),)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4),), RuntimeError, "square"),
        ErrorSample((ints(3, 3),), RuntimeError, "int64"),
    ],
)


def _infer_det(sizes: Sizes, A: Any) -> TensorType:
    A = require_square(sizes, "det", A)
    return TensorType(A.dtype, A.shape[:-2], A.device)


def _evaluate_det(xp: Any, A: Any) -> Any:
    with np.errstate(all="ignore"):
        return xp.asarray(xp.linalg.det(A), A.dtype)


DET = define(
    "det(A: Tensor)",
    "The determinant of a square matrix, or of each of a batch.\n\n"
    ">>> ingot.det(ingot.tensor([[2., 0.], [0., 4.]]))\n"
    "tensor(8.)",
    infer=_infer_det,
    evaluate=_evaluate_det,
    vjp=lambda c, g, A: (F.mul(_per_matrix(g), F.cofactor_matrix(A)),),
    lower=Custom("det"),
    public=("", "method", "linalg"),
    samples=lambda: [
        Sample((matrices(3, 3),)),
        Sample((matrices(2, 4, 4),)),
        Sample((randoms(1, 1),)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4),), RuntimeError, "square"),
        ErrorSample((ints(3, 3),), RuntimeError, "int64"),
    ],
)


def _evaluate_cofactors(xp: Any, A: Any) -> Any:
    """Of A = U diag(s) V: det(U) det(V) U diag(products of the other s) V, which singular matrices have too."""
    try:
        u, s, v = xp.linalg.svd(A)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.det: the gradient could not be computed: {error}") from None
    count = s.shape[-1]
    others = xp.ones_like(s)
    for k in range(count):
        others[..., k] = xp.prod(xp.delete(s, k, axis=-1), axis=-1)
    with np.errstate(all="ignore"):
        phase = xp.asarray(xp.linalg.det(u) * xp.linalg.det(v))
        return xp.asarray(phase[..., None, None] * ((u * others[..., None, :]) @ v).conj(), A.dtype)


def _cofactors_of_invertible(A: Any) -> Any:
    return F.mul(_per_matrix(F.det(A)), transposed(F.inv(A)))


COFACTORS = define(
    "cofactor_matrix(A: Tensor)",
    "The derivative of the determinant by each element: det(A) * inv(A).T where A is invertible.",
    infer=lambda sizes, A: require_square(sizes, "cofactor_matrix", A),
    evaluate=_evaluate_cofactors,
    vjp=derived_vjp(_cofactors_of_invertible),
    lower=Custom("cofactor_matrix"),
    samples=lambda: [Sample((matrices(3, 3),)), Sample((matrices(2, 2, 2),))],
    errors=lambda: [ErrorSample((randoms(3, 4),), RuntimeError, "square")],
)


# -- linear systems ----------------------------------------------------------------------------------------------------


def _is_vector(A: Any, B: Any, sizes: Sizes = STATIC) -> bool:
    """Whether B holds vectors: one, or a batch with as many dimensions as A's matrices less one and their sizes."""
    if len(B.shape) != len(A.shape) - 1:
        return len(B.shape) == 1
    pairs = [(sizes.resolve(a), sizes.resolve(b)) for a, b in zip(A.shape[:-1], B.shape, strict=True)]
    equal = all(a == b or (sizes.hint(a) is not None and sizes.hint(a) == sizes.hint(b)) for a, b in pairs)
    return len(B.shape) == 1 or equal


def _solve_types(sizes: Sizes, name: str, A: Any, B: Any, left: bool) -> tuple[TensorType, tuple[Dim, ...]]:
    """The type of A and the shape of the solution, for B of matrices."""
    A = require_square(sizes, name, A)
    B = require_matrix(name, B, "B")
    if A.dtype is not B.dtype:
        raise RuntimeError(f"linalg.{name}: Expected A and B to have the same dtype, given {A} and {B}")
    inner = B.shape[-2] if left else B.shape[-1]
    sizes.equal(
        A.shape[-1], inner, f"linalg.{name}: Incompatible shapes of A and B for the equation "
        f"{'AX = B' if left else 'XA = B'}: {A} and {B}"
    )  # fmt: skip
    batch = sizes.broadcast_shapes(A.shape[:-2], B.shape[:-2], name=f"linalg.{name}")
    return A, (*batch, *B.shape[-2:])


def _infer_solve(sizes: Sizes, A: Any, B: Any, *, left: bool) -> TensorType:
    A, B = require_square(sizes, "solve", A), require_tensor("solve", "B", B)
    if B.rank and _is_vector(A, B, sizes):
        if not left:
            raise RuntimeError("linalg.solve: vectors as B need left=True")
        B = TensorType(B.dtype, (*B.shape, 1), B.device)
        shape = _solve_types(sizes, "solve", A, B, left)[1][:-1]
    else:
        shape = _solve_types(sizes, "solve", A, B, left)[1]
    return TensorType(A.dtype, shape, A.device)


def _evaluate_solve(xp: Any, A: Any, B: Any, *, left: bool) -> Any:
    vector = _is_vector(A, B)
    right = B[..., None] if vector else B
    if not left:
        A, right = A.swapaxes(-1, -2), right.swapaxes(-1, -2)
    try:
        with np.errstate(all="ignore"):
            value = xp.linalg.solve(A, right)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            f"linalg.solve: {_singular(A)}The solver failed because the input matrix is singular."
        ) from None
    value = value if left else value.swapaxes(-1, -2)
    return xp.asarray(value[..., 0] if vector else value, A.dtype)


def _solve_vjp(c: VjpContext, g: Any, A: Any, B: Any, *, left: bool) -> tuple[Any, Any]:
    result = c.output
    vector = result.ndim < A.ndim
    if vector:
        g, result = F.unsqueeze(g, -1), F.unsqueeze(result, -1)
    for_b = F.solve(conj_transpose(A), g, left=left)
    for_a = None
    if c.needs[0]:
        product = F.matmul(for_b, conj_transpose(result)) if left else F.matmul(conj_transpose(result), for_b)
        for_a = sum_to(F.neg(product), A)
    return for_a, sum_to(F.squeeze(for_b, -1) if vector else for_b, B) if c.needs[1] else None


SOLVE = define(
    "solve(A: Tensor, B: Tensor, *, left: bool = True)",
    "The X with A @ X = B (or X @ A = B); B is a matrix or a vector, or a batch; LinAlgError where A is singular.\n\n"
    ">>> ingot.linalg.solve(ingot.tensor([[2., 0.], [0., 4.]]), ingot.tensor([2., 2.]))\n"
    "tensor([1.0000, 0.5000])",
    infer=_infer_solve,
    evaluate=_evaluate_solve,
    vjp=_solve_vjp,
    lower=Custom("solve"),
    public=("linalg",),
    samples=lambda: [
        Sample((matrices(3, 3), randoms(3, 2))),
        Sample((matrices(3, 3), randoms(3))),
        Sample((matrices(2, 3, 3), randoms(2, 3, seed=1))),
        Sample((matrices(2, 1, 3, 3), randoms(5, 3, 2))),
        Sample((matrices(3, 3), randoms(2, 3)), {"left": False}),
        Sample((matrices(3, 3), randoms(3, 0))),
    ],
    errors=lambda: [
        ErrorSample((matrices(3, 3), randoms(4, 2)), RuntimeError, "Incompatible shapes"),
        ErrorSample((randoms(3, 4), randoms(3, 2)), RuntimeError, "square"),
        ErrorSample((matrices(3, 3), ints(3, 2)), RuntimeError, "int64"),
        ErrorSample((np.ones((2, 2), np.float32), randoms(2)), LinAlgError, "singular"),
    ],
)


def _infer_triangular(sizes: Sizes, A: Any, B: Any, *, upper: bool, left: bool, unitriangular: bool) -> TensorType:
    A, shape = _solve_types(sizes, "solve_triangular", A, B, left)
    return TensorType(A.dtype, shape, A.device)


# Rows of a block that LAPACK solves at once.
_BLOCK = 64


def _evaluate_triangular(xp: Any, A: Any, B: Any, *, upper: bool, left: bool, unitriangular: bool) -> Any:
    """Substitution; a zero on the diagonal gives infinities or NaN, as it does in PyTorch."""
    if not left:
        A, B, upper = A.swapaxes(-1, -2), B.swapaxes(-1, -2), not upper
    batch = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    value = xp.array(np.broadcast_to(B, (*batch, *B.shape[-2:])), copy=True)
    with np.errstate(all="ignore"):
        diagonal = xp.ones(()) if unitriangular else xp.diagonal(A, 0, -2, -1)
        # General solves of blocks are as exact, but would refuse zeros and spread what is not finite.
        plain = A.shape[-1] > 8 and bool(xp.isfinite(A).all() & xp.isfinite(value).all() & (diagonal != 0).all())
        if plain:
            _substitute_blocks(xp, A, value, upper, unitriangular)
        else:
            _substitute_rows(A, value, upper, unitriangular)
    return value if left else xp.ascontiguousarray(value.swapaxes(-1, -2))


def _substitute_rows(A: Any, value: Any, upper: bool, unitriangular: bool) -> None:
    count = A.shape[-1]
    for k in reversed(range(count)) if upper else range(count):
        done = slice(k + 1, None) if upper else slice(0, k)
        value[..., k, :] -= (A[..., k : k + 1, done] @ value[..., done, :])[..., 0, :]
        if not unitriangular:
            value[..., k, :] /= A[..., k, k][..., None]


def _substitute_blocks(xp: Any, A: Any, value: Any, upper: bool, unitriangular: bool) -> None:
    count = A.shape[-1]
    starts = range(0, count, _BLOCK)
    for start in reversed(starts) if upper else starts:
        rows = slice(start, min(start + _BLOCK, count))
        done = slice(rows.stop, None) if upper else slice(0, start)
        block = (xp.triu if upper else xp.tril)(A[..., rows, rows], (1 if upper else -1) if unitriangular else 0)
        if unitriangular:
            block = block + xp.eye(block.shape[-1], dtype=block.dtype)
        rest = value[..., rows, :] - A[..., rows, done] @ value[..., done, :]
        value[..., rows, :] = xp.linalg.solve(xp.broadcast_to(block, (*rest.shape[:-2], *block.shape[-2:])), rest)


def _triangular_vjp(
    c: VjpContext, g: Any, A: Any, B: Any, *, upper: bool, left: bool, unitriangular: bool
) -> tuple[Any, Any]:
    for_b = F.solve_triangular(conj_transpose(A), g, upper=not upper, left=left, unitriangular=unitriangular)
    for_a = None
    if c.needs[0]:
        adjoint = conj_transpose(c.output)
        product = F.neg(F.matmul(for_b, adjoint) if left else F.matmul(adjoint, for_b))
        offset = int(unitriangular)
        for_a = sum_to(F.triu(product, offset) if upper else F.tril(product, -offset), A)
    return for_a, sum_to(for_b, B) if c.needs[1] else None


SOLVE_TRIANGULAR = define(
    "solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False)",
    "The X with A @ X = B (or X @ A = B) for a triangular A, of which only that triangle is read.\n\n"
    ">>> A = ingot.tensor([[2., 0.], [1., 4.]])\n"
    ">>> ingot.linalg.solve_triangular(A, ingot.tensor([[2.], [5.]]), upper=False)\n"
    "tensor([[1.],\n"
    "        [1.]])",
    infer=_infer_triangular,
    evaluate=_evaluate_triangular,
    vjp=_triangular_vjp,
    lower=Custom("solve_triangular"),
    public=("linalg",),
    samples=lambda: [
        Sample((matrices(3, 3), randoms(3, 2)), {"upper": True}),
        Sample((matrices(2, 1, 3, 3), randoms(5, 3, 2)), {"upper": False}),
        Sample((matrices(3, 3), randoms(2, 3)), {"upper": True, "left": False}),
        Sample((matrices(3, 3), randoms(3, 2)), {"upper": False, "unitriangular": True}),
    ],
    errors=lambda: [
        ErrorSample((matrices(3, 3), randoms(4, 2)), RuntimeError, "Incompatible shapes", {"upper": True}),
        ErrorSample((matrices(3, 3), randoms(3)), RuntimeError, "at least 2 dimensions", {"upper": True}),
    ],
)


# -- Cholesky factor ---------------------------------------------------------------------------------------------------


def _evaluate_cholesky(xp: Any, A: Any, *, upper: bool) -> Any:
    try:
        with np.errstate(all="ignore"):
            # The upper triangle of A is the conjugate of the lower one of its transpose: so is that of the factor.
            factor = xp.linalg.cholesky(xp.conj(A.swapaxes(-1, -2)) if upper else A)
            factor = xp.conj(factor.swapaxes(-1, -2)) if upper else factor
    except np.linalg.LinAlgError:
        raise LinAlgError(
            "linalg.cholesky: The factorization could not be completed because the input is not positive-definite."
        ) from None
    return xp.asarray(factor, A.dtype)


def _cholesky_vjp(c: VjpContext, g: Any, A: Any, *, upper: bool) -> tuple[Any]:
    """inv(L).H @ phi(L.H @ g) @ inv(L), made Hermitian; phi keeps the lower triangle and halves the diagonal.

    Murray, "Differentiation of the Cholesky decomposition", 2016.
    """
    factor, g = (conj_transpose(c.output), conj_transpose(g)) if upper else (c.output, g)
    inner = F.tril(F.matmul(conj_transpose(factor), g))
    symmetric = F.mul(0.5, F.add(inner, conj_transpose(F.tril(inner, -1))))
    half = F.solve_triangular(conj_transpose(factor), symmetric, upper=True)
    return (F.solve_triangular(factor, half, upper=False, left=False),)


def definite(*shape: int) -> Any:
    """Symmetric positive definite matrices for samples."""
    half = randoms(*shape)
    return half @ half.swapaxes(-1, -2) + np.eye(shape[-1], dtype=np.float32)


CHOLESKY = define(
    "cholesky(A: Tensor, *, upper: bool = False)",
    "The lower triangular L with L @ L.T = A (or its transpose) of a symmetric positive definite matrix, of which one "
    "triangle is read; LinAlgError where it is not positive definite. The gradient is symmetric.\n\n"
    ">>> ingot.linalg.cholesky(ingot.tensor([[4., 2.], [2., 5.]]))\n"
    "tensor([[2., 0.],\n"
    "        [1., 2.]])",
    infer=lambda sizes, A, *, upper: require_square(sizes, "cholesky", A),
    evaluate=_evaluate_cholesky,
    vjp=_cholesky_vjp,
    lower=Custom("cholesky"),
    public=("linalg",),
    samples=lambda: [  # differences of one element would leave the symmetric matrices: see tests/ir/ops/test_linalg.py
        Sample((definite(3, 3),), differentiable=False),
        Sample((definite(2, 4, 4),), {"upper": True}, differentiable=False),
        Sample((np.zeros((0, 0), np.float32),), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4),), RuntimeError, "square"),
        ErrorSample((-np.eye(3, dtype=np.float32),), LinAlgError, "not positive-definite"),
    ],
)


# -- powers and the exponential ----------------------------------------------------------------------------------------


def _power(A: Any, exponent: int) -> Any:
    if exponent < 0:
        A, exponent = F.inv(A), -exponent
    if exponent == 0:
        return F.add(F.mul(A, 0.0), F.eye(A.shape[-1], dtype=A.dtype))
    result = None
    while exponent:
        if exponent & 1:
            result = A if result is None else F.matmul(result, A)
        exponent >>= 1
        A = F.matmul(A, A) if exponent else A
    return F.clone(result) if result is A else result


def _evaluate_power(xp: Any, A: Any, *, n: int) -> Any:
    if n < 0:
        A, n = _evaluate_inv(xp, A), -n
    with np.errstate(all="ignore"):
        return xp.array(xp.linalg.matrix_power(A, n), A.dtype, copy=True)


MATRIX_POWER = define(
    "matrix_power(A: Tensor, n: int)",
    "A square matrix multiplied with itself n times; a negative n inverts it first.\n\n"
    ">>> ingot.matrix_power(ingot.tensor([[1., 1.], [0., 1.]]), 3)\n"
    "tensor([[1., 3.],\n"
    "        [0., 1.]])",
    infer=lambda sizes, A, *, n: require_square(sizes, "matrix_power", A),
    evaluate=_evaluate_power,
    vjp=derived_vjp(lambda A, *, n: _power(A, n)),
    lower=Decompose(lambda A, *, n: _power(A, n)),
    public=("", "method", "linalg"),
    samples=lambda: [
        Sample((matrices(3, 3), 3)),
        Sample((matrices(2, 3, 3), 2)),
        Sample((matrices(3, 3), 1)),
        Sample((matrices(3, 3), 0), differentiable=False),
        Sample((matrices(3, 3), -2)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4), 2), RuntimeError, "square"),
        ErrorSample((matrices(3, 3), "2"), TypeError, "must be int"),
    ],
)

# Higham, "The scaling and squaring method for the matrix exponential revisited", 2005: coefficients of the [13/13]
# Pade approximant, and the norm up to which it is accurate.
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_PADE_NORM = 5.371920351148152


def _evaluate_matrix_exp(xp: Any, A: Any) -> Any:
    wide = A.astype(np.complex128 if A.dtype.kind == "c" else np.float64)
    with np.errstate(all="ignore"):
        norm = float(largest(xp.abs(wide).sum(axis=-2), None, False, 0.0))
        if not np.isfinite(norm):
            bad = ~xp.isfinite(wide).all(axis=(-2, -1), keepdims=True)
            return xp.asarray(xp.where(bad, np.nan, _evaluate_matrix_exp(xp, xp.where(bad, 0, A))), A.dtype)
        squarings = max(0, int(np.ceil(np.log2(norm / _PADE_NORM)))) if norm else 0
        wide = wide / 2.0**squarings
        b, eye = _PADE, xp.eye(A.shape[-1])
        a2 = wide @ wide
        a4 = a2 @ a2
        a6 = a4 @ a2
        u = wide @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye)
        v = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * eye
        result = xp.linalg.solve(v - u, v + u)
        for _ in range(squarings):
            result = result @ result
        return xp.asarray(result, A.dtype)


def _matrix_exp_vjp(c: VjpContext, g: Any, A: Any) -> tuple[Any]:
    """The upper right block of exp([[A.H, g], [0, A.H]]) (Al-Mohy and Higham, 2009)."""
    adjoint, size = conj_transpose(A), A.shape[-1]
    top = F.cat((adjoint, g), -1)
    bottom = F.cat((F.mul(adjoint, 0.0), adjoint), -1)
    whole = F.matrix_exp(F.cat((top, bottom), -2))
    return (F.slice(F.slice(whole, 0, size, dim=-2), size, None, dim=-1),)


MATRIX_EXP = define(
    "matrix_exp(A: Tensor)",
    "The exponential of a square matrix, the sum of A**k / k! over all k.\n\n"
    ">>> ingot.matrix_exp(ingot.tensor([[0., 1.], [0., 0.]]))\n"
    "tensor([[1., 1.],\n"
    "        [0., 1.]])",
    infer=lambda sizes, A: require_square(sizes, "matrix_exp", A),
    evaluate=_evaluate_matrix_exp,
    vjp=_matrix_exp_vjp,
    lower=Custom("matrix_exp"),
    public=("", "method", "linalg"),
    samples=lambda: [
        Sample((randoms(3, 3),)),
        Sample((randoms(2, 2, 2) * 5,)),
        Sample((np.zeros((0, 0), np.float32),)),
    ],
    errors=lambda: [ErrorSample((randoms(3, 4),), RuntimeError, "square")],
)
