"""Products of tensors and matrices in PyTorch's call forms: tensordot, kron, baddbmm, trace, block_diag, ..."""

import math
from typing import Any, NamedTuple

import numpy as np

from . import linear_algebra
from .families import with_out
from .functions import call as _call
from .placement import beside
from .return_types import result_text
from .tensor import Tensor

__all__ = ["ALIASES", "FUNCTIONS", "INPLACE", "METHODS"]

FUNCTIONS = (
    "addbmm", "addmv", "addr", "baddbmm", "block_diag", "cartesian_prod", "cdist", "chain_matmul", "cholesky",
    "cholesky_inverse", "cholesky_solve", "cross", "inner", "inverse", "kron", "logdet", "pinverse", "qr",
    "slogdet", "svd", "tensordot", "trace", "triangular_solve", "vander", "vdot",
)  # fmt: skip
METHODS = (
    "addbmm", "addmv", "addr", "baddbmm", "cholesky", "cholesky_inverse", "cholesky_solve", "cross", "inner",
    "inverse", "kron", "logdet", "pinverse", "qr", "slogdet", "svd", "trace", "triangular_solve", "vdot",
)  # fmt: skip
INPLACE = ("addbmm", "addmv", "addr", "baddbmm")
ALIASES = {"ger": "outer"}


class SVD(NamedTuple):
    """The factors of `svd`."""

    U: Any
    S: Any
    V: Any

    def __repr__(self) -> str:
        return result_text("svd", self)


class TriangularSolution(NamedTuple):
    """What `triangular_solve` finds."""

    solution: Any
    cloned_coefficient: Any

    def __repr__(self) -> str:
        return result_text("triangular_solve", self)


def _weighted(name: str, input: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """beta * input + alpha * product; with beta 0 the input does not count, not even where it is NaN."""
    if name in ("baddbmm", "addbmm") and product.dtype.category == 1:
        beta, alpha = int(beta), int(alpha)
    if any(isinstance(s, float) for s in (beta, alpha)) and product.dtype.category < 2:
        raise RuntimeError(f"{name}: For integral input tensors, beta and alpha must not be floating point numbers")
    scaled = product if alpha == 1 else _call("mul", product, alpha)
    if beta == 0:
        return _call("expand", scaled, *_broadcast(input, scaled)) if input.ndim > scaled.ndim else scaled  # type: ignore[no-any-return]
    return _call("add", input if beta == 1 else _call("mul", input, beta), scaled)  # type: ignore[no-any-return]


def _broadcast(a: Tensor, b: Tensor) -> tuple[int, ...]:
    return np.broadcast_shapes(a._array.shape, b._array.shape)


def _require_ranks(name: str, ranks: tuple[int, ...], *tensors: Tensor) -> None:
    given = tuple(t.ndim for t in tensors)
    if given != ranks:
        raise RuntimeError(f"{name}: expected tensors of {ranks} dimensions, given {given}")


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), of batches of matrices.

    >>> ingot.baddbmm(ingot.ones(1), ingot.ones(1, 1, 2), ingot.ones(1, 2, 1))
    tensor([[[3.]]])
    """
    _require_ranks("baddbmm", (3, 3), batch1, batch2)
    return _weighted("baddbmm", input, _call("bmm", batch1, batch2), beta, alpha)


def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * the sum over the batch of batch1 @ batch2.

    >>> ingot.addbmm(ingot.ones(1), ingot.ones(3, 1, 2), ingot.ones(3, 2, 1))
    tensor([[7.]])
    """
    _require_ranks("addbmm", (3, 3), batch1, batch2)
    return _weighted("addbmm", input, _call("sum", _call("bmm", batch1, batch2), 0, dtype=batch1.dtype), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec).

    >>> ingot.addmv(ingot.ones(2), ingot.ones(2, 3), ingot.ones(3))
    tensor([4., 4.])
    """
    _require_ranks("addmv", (2, 1), mat, vec)
    return _weighted("addmv", input, _call("matmul", mat, vec), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2).

    >>> ingot.addr(ingot.zeros(2, 2), ingot.tensor([1., 2.]), ingot.tensor([3., 4.]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    _require_ranks("addr", (1, 1), vec1, vec2)
    product = _call("outer", vec1, vec2)
    if product.dtype.category == 0 and input.dtype.category == 0:
        return _call("logical_or", _call("logical_and", input, bool(beta)), _call("logical_and", product, bool(alpha)))  # type: ignore[no-any-return]
    return _weighted("addr", input, product, beta, alpha)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """The products summed over the last dimension of both.

    >>> ingot.inner(ingot.tensor([1., 2.]), ingot.tensor([3., 4.]))
    tensor(11.)
    """
    if not input.ndim or not other.ndim:
        return _call("mul", input, other)  # type: ignore[no-any-return]
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(input.shape)} and "
            f"{list(other.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The dot product of two vectors, of which the first is conjugated.

    >>> ingot.vdot(ingot.tensor([1., 2.]), ingot.tensor([3., 4.]))
    tensor(11.)
    """
    return _call("dot", _call("conj", input) if input.dtype.is_complex else input, other)  # type: ignore[no-any-return]


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Products summed over dimensions: the last `dims` of `a` with the first of `b`, or a pair of lists of them.

    >>> ingot.tensordot(ingot.ones(2, 3), ingot.ones(3, 4), 1).shape
    ingot.Size([2, 4])
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist()  # type: ignore[operator]
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
    first, second = (([d] if isinstance(d, int) else list(d)) for d in dims)
    if len(first) != len(second):
        raise RuntimeError(f"both dimension lists should have same length, given {first} and {second}")
    first, second = [_dim(d, a.ndim) for d in first], [_dim(d, b.ndim) for d in second]
    if len(set(first)) != len(first) or len(set(second)) != len(second):
        raise RuntimeError(f"tensordot: a dimension appears twice in {dims}")
    for i, j in zip(first, second, strict=True):
        if a.shape[i] == 1 != b.shape[j]:  # a size of 1 goes with any, and what it is multiplied with is summed
            b = _call("sum", b, j, True, dtype=b.dtype)
        elif b.shape[j] == 1 != a.shape[i]:
            a = _call("sum", a, i, True, dtype=a.dtype)
        elif a.shape[i] != b.shape[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has size "
                f"{b.shape[j]} in dim {j}"
            )
    kept_a, kept_b = [d for d in range(a.ndim) if d not in first], [d for d in range(b.ndim) if d not in second]
    shape = [*(a.shape[d] for d in kept_a), *(b.shape[d] for d in kept_b)]
    rows, inner_size = math.prod(a.shape[d] for d in kept_a), math.prod(a.shape[d] for d in first)
    columns = math.prod(b.shape[d] for d in kept_b)
    left = _call("reshape", _call("permute", a, *kept_a, *first) if a.ndim else a, rows, inner_size)
    right = _call("reshape", _call("permute", b, *second, *kept_b) if b.ndim else b, inner_size, columns)
    return (
        _call("reshape", _call("matmul", left, right), *shape)
        if shape
        else _call(  # type: ignore[no-any-return]
            "reshape", _call("matmul", left, right), ()
        )
    )


def _dim(dim: int, rank: int) -> int:
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")
    return dim % rank


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every element of `input` times all of `other`.

    >>> ingot.kron(ingot.tensor([1, 2]), ingot.tensor([1, 10]))
    tensor([ 1, 10,  2, 20])
    """
    rank = max(input.ndim, other.ndim)
    left, right = (1,) * (rank - input.ndim) + tuple(input.shape), (1,) * (rank - other.ndim) + tuple(other.shape)
    a = _call("reshape", input, [n for size in left for n in (size, 1)])
    b = _call("reshape", other, [n for size in right for n in (1, size)])
    product = _call("mul", a, b)
    return _call("reshape", product, [m * n for m, n in zip(left, right, strict=True)])  # type: ignore[no-any-return]


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix.

    >>> ingot.trace(ingot.tensor([[1., 2.], [3., 4.]]))
    tensor(5.)
    """
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return _call("sum", _call("diagonal", input))  # type: ignore[no-any-return]


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross products of vectors of 3 along `dim` (the first dimension of size 3 by default).

    >>> ingot.cross(ingot.tensor([1., 0., 0.]), ingot.tensor([0., 1., 0.]))
    tensor([0., 0., 1.])
    """
    if dim is None:
        dim = next((d for d, size in enumerate(input.shape) if size == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    return linear_algebra.cross(input, other, dim=dim)  # type: ignore[no-any-return]


def block_diag(*tensors: Tensor) -> Tensor:
    """The matrix with these matrices, vectors (as rows) and numbers along its diagonal and zeros elsewhere.

    >>> ingot.block_diag(ingot.tensor([[1, 2]]), ingot.tensor(3))
    tensor([[1, 2, 0],
            [0, 0, 3]])
    """
    parts = []
    for tensor in tensors:
        if tensor.ndim > 2:
            raise RuntimeError(f"block_diag: Input tensors must have 2 or fewer dimensions. Got {tensor.ndim}")
        parts.append(_call("reshape", tensor, (1,) * (2 - tensor.ndim) + tuple(tensor.shape)))
    columns = sum(int(p.shape[1]) for p in parts)
    rows, before = [], 0
    for part in parts:
        width = int(part.shape[1])
        rows.append(_call("pad", part, (before, columns - before - width)))
        before += width
    return _call("cat", rows, 0)  # type: ignore[no-any-return]


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements of vectors, as rows.

    >>> ingot.cartesian_prod(ingot.tensor([1, 2]), ingot.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    if any(t.ndim != 1 for t in tensors):
        raise RuntimeError("cartesian_prod: expected vectors")
    if len(tensors) == 1:
        return tensors[0]
    sizes = [int(t.shape[0]) for t in tensors]
    columns = []
    for position, tensor in enumerate(tensors):
        shape = [1] * len(tensors)
        shape[position] = sizes[position]
        columns.append(_call("reshape", _call("expand", _call("reshape", tensor, shape), *sizes), -1))
    return _call("stack", columns, 1)  # type: ignore[no-any-return]


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices in the order of fewest operations.

    >>> ingot.chain_matmul(ingot.ones(1, 2), ingot.ones(2, 3), ingot.ones(3, 1))
    tensor([[6.]])
    """
    return matrices[0] if len(matrices) == 1 else linear_algebra.multi_dot(matrices)  # type: ignore[no-any-return]


# -- the functions of linalg by their older names ----------------------------------------------------------------------


def inverse(input: Tensor) -> Tensor:
    """The inverse of a square matrix: `linalg.inv`.

    >>> ingot.inverse(ingot.tensor([[2.]]))
    tensor([[0.5000]])
    """
    return _call("inv", input)  # type: ignore[no-any-return]


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The Moore-Penrose inverse: `linalg.pinv`.

    >>> ingot.pinverse(ingot.tensor([[2.]]))
    tensor([[0.5000]])
    """
    return _call("pinv", input, rtol=rcond)  # type: ignore[no-any-return]


def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative.

    >>> ingot.logdet(ingot.eye(2))
    tensor(0.)
    """
    sign, logarithm = _call("slogdet", input)
    if input.dtype.is_complex:
        return _call("add", _call("log", sign), logarithm)  # type: ignore[no-any-return]
    return _call("where", _call("lt", sign, 0), math.nan, logarithm)  # type: ignore[no-any-return]


def slogdet(input: Tensor) -> Any:
    """The sign of the determinant and the logarithm of its absolute value.

    >>> ingot.slogdet(ingot.eye(2)).logabsdet
    tensor(0.)
    """
    return linear_algebra.slogdet(input)


def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The Cholesky factor: `linalg.cholesky`.

    >>> ingot.cholesky(ingot.tensor([[4.]]))
    tensor([[2.]])
    """
    return _call("cholesky", input, upper=upper)  # type: ignore[no-any-return]


def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """The X with A @ X = B, by the Cholesky factor L of A.

    >>> ingot.cholesky_solve(ingot.tensor([[8.]]), ingot.tensor([[2.]]))
    tensor([[2.]])
    """
    turned = _call("transpose", _call("conj", L) if L.dtype.is_complex else L, -2, -1)
    lower, raised = (turned, L) if upper else (L, turned)
    half = _call("solve_triangular", lower, B, upper=False)
    return _call("solve_triangular", raised, half, upper=True)  # type: ignore[no-any-return]


@beside
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A by its Cholesky factor L.

    >>> ingot.cholesky_inverse(ingot.tensor([[2.]]))
    tensor([[0.2500]])
    """
    return cholesky_solve(_call("add", _call("mul", L, 0.0), _call("eye", L.shape[-1], dtype=L.dtype)), L, upper)


def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> TriangularSolution:
    """The X with A @ X = b for a triangular A, and A.

    >>> ingot.triangular_solve(ingot.tensor([[8.]]), ingot.tensor([[2.]]))[0]
    tensor([[4.]])
    """
    matrix = _call("transpose", A, -2, -1) if transpose else A
    solution = _call("solve_triangular", matrix, b, upper=upper != transpose, unitriangular=unitriangular)
    return TriangularSolution(solution, _call("clone", A))


def qr(input: Tensor, some: bool = True) -> Any:
    """The QR decomposition: `linalg.qr`, reduced where `some`.

    >>> ingot.qr(ingot.ones(3, 2)).R.shape
    ingot.Size([2, 2])
    """
    return linear_algebra.qr(input, "reduced" if some else "complete")


@beside
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> SVD:
    """U, S and V (not transposed) with U @ diag(S) @ V.T the input.

    >>> ingot.svd(ingot.tensor([[2., 0.], [0., 3.]]))[1]
    tensor([3., 2.])
    """
    if not compute_uv:
        values = _call("svdvals", input)
        rows, columns = input.shape[-2:]
        batch = tuple(input.shape[:-2])
        zeros = [_call("full", (*batch, n, n), 0.0, dtype=input.dtype) for n in (rows, columns)]
        return SVD(zeros[0], values, zeros[1])
    u, s, vh = _call("svd", input, not some)
    v = _call("transpose", _call("conj", vh) if input.dtype.is_complex else vh, -2, -1)
    return SVD(u, s, v)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The matrix with the powers of a vector as columns, falling unless `increasing`.

    >>> ingot.vander(ingot.tensor([1, 2]), 3)
    tensor([[1, 1, 1],
            [4, 2, 1]])
    """
    if x.ndim != 1:
        raise RuntimeError(f"vander: x must be a one-dimensional tensor, given {x.ndim} dimensions")
    matrix = linear_algebra.vander(x, N)
    return matrix if increasing else _call("flip", matrix, -1)  # type: ignore[no-any-return]


def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """The distance of order p of each row of x1 from each row of x2; all values of `compute_mode` give the same.

    >>> ingot.cdist(ingot.tensor([[0., 0.]]), ingot.tensor([[3., 4.], [0., 1.]]))
    tensor([[5., 1.]])
    """
    if compute_mode not in (
        None, "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"
    ):  # fmt: skip
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    return _call("cdist", x1, x2, p)  # type: ignore[no-any-return]


for _name in FUNCTIONS:
    globals()[_name] = with_out(globals()[_name])
