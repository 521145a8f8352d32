"""Linear algebra in PyTorch's call forms: the functions of `ingot.linalg`, over the ops of matrices."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..ir.ops.linalg import LinAlgError
from .device import host_array
from .families import with_out
from .functions import call as _call
from .placement import beside, moved
from .return_types import result_text
from .tensor import Tensor, wrap

__all__ = [
    "LINALG", "cholesky_ex", "cond", "cross", "diagonal", "eig", "eigh", "inv_ex", "lstsq", "matmul", "matrix_norm",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "svd", "tensorinv", "tensorsolve", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip


class QR(NamedTuple):
    """The factors of `linalg.qr`."""

    Q: Any
    R: Any

    def __repr__(self) -> str:
        return result_text("linalg_qr", self)


class SVD(NamedTuple):
    """The factors of `linalg.svd`."""

    U: Any
    S: Any
    Vh: Any

    def __repr__(self) -> str:
        return result_text("linalg_svd", self)


class Eig(NamedTuple):
    """What `linalg.eig` and `linalg.eigh` find."""

    eigenvalues: Any
    eigenvectors: Any

    def __repr__(self) -> str:
        return result_text("linalg_eig", self)


class SlogDet(NamedTuple):
    """Sign and logarithm of a determinant."""

    sign: Any
    logabsdet: Any

    def __repr__(self) -> str:
        return result_text("linalg_slogdet", self)


class LeastSquares(NamedTuple):
    """What `linalg.lstsq` finds."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any

    def __repr__(self) -> str:
        return result_text("linalg_lstsq", self)


class CheckedInverse(NamedTuple):
    """An inverse, and per matrix 0 or the number of the first part that failed."""

    inverse: Any
    info: Any

    def __repr__(self) -> str:
        return result_text("linalg_inv_ex", self)


class CheckedFactor(NamedTuple):
    """A Cholesky factor, and per matrix 0 or the number of the first part that failed."""

    L: Any
    info: Any

    def __repr__(self) -> str:
        return result_text("linalg_cholesky_ex", self)


# -- named results -----------------------------------------------------------------------------------------------------


def qr(A: Tensor, mode: str = "reduced") -> QR:
    """Q with orthonormal columns and an upper triangular R with Q @ R = A.

    >>> q, r = ingot.linalg.qr(ingot.tensor([[1., 2.], [3., 4.], [5., 6.]]))
    >>> q.shape, r.shape
    (ingot.Size([3, 2]), ingot.Size([2, 2]))
    """
    return QR(*_call("qr", A, mode))


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> SVD:
    """U, S and Vh with U @ diag(S) @ Vh = A; `driver` has no effect on a CPU.

    >>> ingot.linalg.svd(ingot.tensor([[2., 0.], [0., 3.]])).S
    tensor([3., 2.])
    """
    return SVD(*_call("svd", A, full_matrices))


def eig(A: Tensor) -> Eig:
    """The eigenvalues and eigenvectors of a square matrix, as complex tensors.

    >>> ingot.linalg.eig(ingot.tensor([[2., 0.], [0., 2.]])).eigenvalues
    tensor([2.+0.j, 2.+0.j])
    """
    return Eig(*_call("eig", A))


def eigh(A: Tensor, UPLO: str = "L") -> Eig:
    """The eigenvalues, from the smallest up, and eigenvectors of a symmetric matrix.

    >>> ingot.linalg.eigh(ingot.tensor([[3., 0.], [0., 2.]])).eigenvalues
    tensor([2., 3.])
    """
    return Eig(*_call("eigh", A, UPLO))


def slogdet(A: Tensor) -> SlogDet:
    """The sign of the determinant and the logarithm of its absolute value.

    >>> ingot.linalg.slogdet(ingot.tensor([[0., 1.], [1., 0.]])).sign
    tensor(-1.)
    """
    return SlogDet(*_call("slogdet", A))


def _checked(
    function: Callable[..., Tensor], fallback: Callable[[Tensor], Tensor], A: Tensor, check: bool
) -> tuple[Any, Any]:
    batch = tuple(A.shape[:-2])
    try:
        return function(A), moved(wrap(np.zeros(batch, np.int32)), A.device)
    except LinAlgError:
        if check:
            raise
        info = np.zeros(batch, np.int32)
        parts = host_array(A._array).reshape(-1, *A.shape[-2:])
        results = []
        for index, part in enumerate(parts):
            try:
                results.append(function(wrap(part))._array)
            except LinAlgError:
                info.reshape(-1)[index] = 1
                results.append(fallback(wrap(part))._array)
        found = wrap(np.asarray(np.stack(results).reshape(A.shape)))
        return moved(found, A.device), moved(wrap(info), A.device)


def inv_ex(A: Tensor, *, check_errors: bool = False) -> CheckedInverse:
    """The inverse, and per matrix 1 where it is singular (the result is NaN there) or 0.

    >>> ingot.linalg.inv_ex(ingot.zeros(2, 2))[1]
    tensor(1, dtype=ingot.int32)
    """
    return CheckedInverse(*_checked(lambda x: _call("inv", x), lambda x: x * math.nan, A, check_errors))  # type: ignore[operator]


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> CheckedFactor:
    """The Cholesky factor, and per matrix 1 where it is not positive definite (the result is NaN there) or 0.

    >>> ingot.linalg.cholesky_ex(-ingot.eye(2))[1]
    tensor(1, dtype=ingot.int32)
    """
    factor = lambda x: _call("cholesky", x, upper=upper)  # noqa: E731
    return CheckedFactor(*_checked(factor, lambda x: x * math.nan, A, check_errors))  # type: ignore[operator]


# -- norms -------------------------------------------------------------------------------------------------------------


def _as_dims(dim: Any) -> tuple[int, ...] | None:
    return None if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)


def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of order `ord` of vectors along `dim` (all elements by default).

    >>> ingot.linalg.vector_norm(ingot.tensor([3., 4.]))
    tensor(5.)
    """
    return _call("vector_norm", x, ord, _as_dims(dim), keepdim, dtype=dtype)  # type: ignore[no-any-return]


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of matrices: 'fro', 'nuc', 1 and -1 (sums of columns), inf and -inf (of rows), 2 and -2 (spectral).

    >>> ingot.linalg.matrix_norm(ingot.tensor([[1., -2.], [3., 4.]]), ord=1)
    tensor(6.)
    """
    dims = _as_dims(dim)
    if dims is None or len(dims) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple, given {dim}")
    if A.ndim < 2:
        raise RuntimeError(f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions, given {A.ndim}")
    first, second = (d % A.ndim if -A.ndim <= d < A.ndim else _out_of_range(d, A.ndim) for d in dims)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different, given {dim}")
    if A.dtype.category < 2:
        raise RuntimeError(f"linalg.matrix_norm: Expected a floating point or complex tensor, given {A.dtype.name}")
    A = A if dtype is None else A.to(dtype)  # type: ignore[attr-defined]
    if ord == "fro":
        return _call("vector_norm", A, 2, (first, second), keepdim)  # type: ignore[no-any-return]
    if ord in (1, -1, math.inf, -math.inf) and not isinstance(ord, str):
        along, other = (second, first) if abs(ord) == math.inf else (first, second)
        sums = _call("sum", _call("abs", A), along, True)
        if ord > 0 and A.shape[other] == 0:
            sums = _padded(sums, other)
        extreme = _call("amax" if ord > 0 else "amin", sums, other, True)
        return extreme if keepdim else _call("squeeze", extreme, (first, second))  # type: ignore[no-any-return]
    if ord not in ("nuc", 2, -2):
        raise RuntimeError(
            f"linalg.matrix_norm: Order {ord!r} not supported: expected fro, nuc, inf, -inf, 1, -1, 2, -2"
        )
    moved = _call("permute", A, *[d for d in range(A.ndim) if d not in (first, second)], first, second)
    values = _call("svdvals", moved)
    if ord == "nuc":
        result = _call("sum", values, -1)
    else:
        if ord > 0 and 0 in A.shape[-2:]:
            values = _padded(values, values.ndim - 1)  # the norm of an empty matrix is 0
        result = _call("amax" if ord > 0 else "amin", values, -1)
    for d in sorted((first, second)) if keepdim else ():
        result = _call("unsqueeze", result, d)
    return result  # type: ignore[no-any-return]


@beside
def _padded(x: Tensor, dim: int) -> Tensor:
    """With one more element along a dimension: 0, the norm of nothing."""
    shape = [1 if d == dim else n for d, n in enumerate(x.shape)]
    return _call("cat", (x, _call("full", shape, 0, dtype=x.dtype)), dim)  # type: ignore[no-any-return]


def _out_of_range(dim: int, rank: int) -> int:
    raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of vectors (`dim` an int, or a vector given) or matrices (`dim` a pair, or a matrix and an `ord`).

    >>> ingot.linalg.norm(ingot.tensor([[1., 2.], [3., 4.]]), ord=float("inf"))
    tensor(7.)
    """
    if A.dtype.category < 2:
        raise RuntimeError(f"linalg.norm: Expected a floating point or complex tensor as input, given {A.dtype.name}")
    dims = _as_dims(dim)
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype)
    if dims is None:
        if A.ndim not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D."
            )
        dims = tuple(range(A.ndim))
    if len(dims) == 2:
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    if len(dims) != 1:
        raise RuntimeError(f"linalg.norm: dim must be an int or a pair of ints, given {dim}")
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: Order {ord!r} not supported for vectors: expected a number")
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number, norm(A) * norm(inv(A)) in the matrix norm `p` (2 by default).

    >>> ingot.linalg.cond(ingot.tensor([[2., 0.], [0., 4.]]))
    tensor(2.)
    """
    if p in (None, 2, -2) and not isinstance(p, str):
        values = _call("svdvals", A)
        largest, smallest = _call("select", values, 0, dim=-1), _call("select", values, -1, dim=-1)
        return _call("div", smallest, largest) if p == -2 else _call("div", largest, smallest)  # type: ignore[no-any-return]
    try:
        return _call("mul", matrix_norm(A, p), matrix_norm(_call("inv", A), p))  # type: ignore[no-any-return]
    except LinAlgError:
        return matrix_norm(A * 0.0, p) + math.inf  # type: ignore[operator,no-any-return]


# -- rank, pseudoinverse, least squares --------------------------------------------------------------------------------


def _tolerance(value: Any) -> float | None:
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"linalg: a tolerance per matrix is not supported, given shape {list(value.shape)}")
        return float(value.item())  # type: ignore[arg-type]
    return None if value is None else float(value)


def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The number of singular values above max(atol, rtol * the largest).

    >>> ingot.linalg.matrix_rank(ingot.tensor([[1., 2.], [2., 4.]]))
    tensor(1)
    """
    values = host_array(_call("abs", _call("eigvalsh" if hermitian else "svdvals", A)).detach()._array)
    given = tol if atol is None else atol
    absolute = np.asarray(0.0 if given is None else _as_array(given))
    if rtol is not None or tol is not None:
        relative = np.asarray(0.0 if tol is not None else _as_array(rtol))
    else:
        relative = np.where(absolute > 0, 0.0, max(A.shape[-2:]) * float(np.finfo(values.dtype).eps))
    limit = np.maximum(absolute, relative * np.max(values, axis=-1, initial=0.0))
    return moved(wrap(np.asarray((values > limit[..., None]).sum(-1), np.int64)), A.device)


def _as_array(value: Any) -> Any:
    return host_array(value._array) if isinstance(value, Tensor) else value


def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The Moore-Penrose inverse, from singular values above max(atol, rtol * the largest).

    >>> ingot.linalg.pinv(ingot.tensor([[2., 0.], [0., 4.]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    relative = _tolerance(rcond if rtol is None else rtol)
    return _call("pinv", A, atol=_tolerance(atol), rtol=relative, hermitian=hermitian)  # type: ignore[no-any-return]


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> LeastSquares:
    """The X of least |A @ X - B| (of several the smallest), residuals, rank, and singular values.

    Residuals are given by the drivers 'gels', 'gelsd' and 'gelss' where A has full rank and more rows than columns, the
    rank by all but 'gels', and singular values by 'gelsd' and 'gelss'; otherwise they are empty.

    >>> A, b = ingot.tensor([[1., 0.], [1., 1.], [1., 2.]]), ingot.tensor([[1.], [3.], [5.]])
    >>> ingot.linalg.lstsq(A, b).solution.round()
    tensor([[1.],
            [2.]])
    """
    if driver is not None and driver not in _DRIVERS:
        raise RuntimeError(f"linalg.lstsq: parameter `driver` should be one of {_DRIVERS}, given {driver!r}")
    if A.ndim < 2 or B.ndim < 1 or A.dtype is not B.dtype:
        raise RuntimeError(
            f"linalg.lstsq: expected matrices A and B of one dtype, given {A.dtype.name}{list(A.shape)} and "
            f"{B.dtype.name}{list(B.shape)}"
        )
    vector = B.ndim == A.ndim - 1
    right = _call("unsqueeze", B, -1) if vector else B
    if A.shape[-2] != right.shape[-2]:
        raise RuntimeError(
            f"linalg.lstsq: input.size(-2) should match other.size(-2), given {list(A.shape)} and {list(B.shape)}"
        )
    relative = _tolerance(rcond)
    solution = _call("matmul", _call("pinv", A, rtol=relative), right)
    rank = moved(wrap(np.zeros(0, np.int64)), A.device) if driver == "gels" else matrix_rank(A, rtol=relative)
    m, n = A.shape[-2:]
    residuals = _call("slice", _call("abs", _call("reshape", solution, -1)), 0, 0, dim=0)
    if m > n and driver not in (None, "gelsy") and bool(np.all(rank._array == n)):
        error = _call("abs", _call("sub", _call("matmul", A, solution), right))
        residuals = _call("sum", _call("mul", error, error), -2)
    values = _call("svdvals", A) if driver in ("gelsd", "gelss") else residuals.new_zeros(0)
    if vector:
        solution = _call("squeeze", solution, -1)
    return LeastSquares(solution, residuals, rank, values)


# -- products and others -----------------------------------------------------------------------------------------------


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, as `ingot.matmul`."""
    return _call("matmul", input, other)  # type: ignore[no-any-return]


def multi_dot(tensors: Any) -> Tensor:
    """The product of matrices in the order of fewest operations; the first and last may be vectors.

    The order is found by dynamic programming (Cormen et al., Introduction to Algorithms, section 15.2).

    >>> ingot.linalg.multi_dot([ingot.ones(2, 3), ingot.ones(3, 4), ingot.ones(4)])
    tensor([12., 12.])
    """
    parts = list(tensors)
    if len(parts) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(parts)}")
    row, column = parts[0].ndim == 1, parts[-1].ndim == 1
    if row:
        parts[0] = _call("unsqueeze", parts[0], 0)
    if column:
        parts[-1] = _call("unsqueeze", parts[-1], -1)
    if any(p.ndim != 2 for p in parts):
        raise RuntimeError("multi_dot(): expected matrices, and vectors only first and last, given ranks "
                           f"{[t.ndim for t in tensors]}")  # fmt: skip
    sizes = [int(p.shape[0]) for p in parts] + [int(parts[-1].shape[1])]
    count = len(parts)
    cost = [[0] * count for _ in range(count)]
    cut = [[0] * count for _ in range(count)]
    for length in range(2, count + 1):
        for i in range(count - length + 1):
            j = i + length - 1
            options = [(cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i][j], cut[i][j] = min(options)

    def product(i: int, j: int) -> Tensor:
        return parts[i] if i == j else _call("matmul", product(i, cut[i][j]), product(cut[i][j] + 1, j))  # type: ignore[no-any-return]

    result = product(0, count - 1)
    if row:
        result = _call("squeeze", result, 0)
    return _call("squeeze", result, -1) if column else result  # type: ignore[no-any-return]


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The dot products of vectors along `dim`; complex ones of `x` are conjugated.

    >>> ingot.linalg.vecdot(ingot.tensor([[1., 2.], [3., 4.]]), ingot.tensor([1., 1.]))
    tensor([3., 7.])
    """
    return _call("sum", _call("mul", _call("conj", x) if x.dtype.is_complex else x, y), dim)  # type: ignore[no-any-return]


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross products of vectors of 3 along `dim`.

    >>> ingot.linalg.cross(ingot.tensor([1., 0., 0.]), ingot.tensor([0., 1., 0.]))
    tensor([0., 0., 1.])
    """
    if input.ndim != other.ndim:
        raise RuntimeError(
            f"linalg.cross: inputs must have the same number of dimensions, given {input.ndim} and {other.ndim}"
        )
    if input.shape[dim] != 3 or other.shape[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and {other.shape[dim]}"
        )
    first = _call("mul", _call("roll", input, -1, dim), _call("roll", other, -2, dim))
    return _call("sub", first, _call("mul", _call("roll", input, -2, dim), _call("roll", other, -1, dim)))  # type: ignore[no-any-return]


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices, as a view.

    >>> ingot.linalg.diagonal(ingot.tensor([[1., 2.], [3., 4.]]))
    tensor([1., 4.])
    """
    return _call("diagonal", A, offset, dim1, dim2)  # type: ignore[no-any-return]


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """The matrix with rows 1, x, x**2, ..., x**(N - 1).

    >>> ingot.linalg.vander(ingot.tensor([1, 2, 3]))
    tensor([[1, 1, 1],
            [1, 2, 4],
            [1, 3, 9]])
    """
    if x.ndim < 1 and N is None:
        raise RuntimeError("linalg.vander: expected a tensor of at least 1 dimension, or N")
    if x.dtype.category < 2:
        x = _call("cast", x, dtype="int64")
    if not x.ndim:
        x = _call("unsqueeze", x, 0)
    count = int(x.shape[-1]) if N is None else N
    if count < 1:
        raise RuntimeError(f"linalg.vander: N must be greater than 0, given {N}")
    ones = _call("full_like", x, 1)
    powers = [ones]
    for _ in range(count - 1):
        powers.append(_call("mul", powers[-1], x))
    return _call("stack", powers, -1)  # type: ignore[no-any-return]


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of a tensor seen as a matrix of its first `ind` dimensions by the others.

    >>> ingot.linalg.tensorinv(ingot.eye(6).reshape(2, 3, 6), ind=2).shape
    ingot.Size([6, 2, 3])
    """
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', given {ind}")
    first, second = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if math.prod(first) != math.prod(second):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{math.prod(second)} != {math.prod(first)}"
        )
    matrix = _call("reshape", A, math.prod(first), math.prod(second))
    return _call("reshape", _call("inv", matrix), *second, *first)  # type: ignore[no-any-return]


def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """The X with tensordot(A, X, X.ndim) = B.

    >>> ingot.linalg.tensorsolve(ingot.eye(6).reshape(2, 3, 6), ingot.ones(2, 3))
    tensor([1., 1., 1., 1., 1., 1.])
    """
    if dims is not None:
        moved = [d % A.ndim for d in _as_dims(dims) or ()]
        A = _call("permute", A, *[d for d in range(A.ndim) if d not in moved], *moved)
    shape = tuple(A.shape[B.ndim :])
    size = math.prod(shape)
    if size != B.shape.numel():
        raise RuntimeError(
            f"Expected A to satisfy the requirement prod(A.shape[B.ndim:]) == prod(A.shape[:B.ndim]), but got {size} "
            f"!= {B.shape.numel()}"
        )
    solution = _call("solve", _call("reshape", A, size, size), _call("reshape", B, size))
    return _call("reshape", solution, *shape)  # type: ignore[no-any-return]


for _name in __all__[1:]:
    globals()[_name] = with_out(globals()[_name])
LINALG: dict[str, Any] = {name: globals()[name] for name in __all__[1:]} | {"LinAlgError": LinAlgError}
