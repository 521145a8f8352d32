"""Packed matrix factorisations as LAPACK stores them: LU with partial pivoting, symmetric LDL, Householder QR."""

import math
from typing import Any

import numpy as np

from ..dims import dim_min
from ..dtypes import int32
from ..sizes import Sizes
from ..types import TensorType
from ._common import dim_value, randoms, require_tensor
from ._op import Custom, ErrorSample, F, Sample, VjpContext, define
from .linalg import conj_transpose, matrices, require_matrix, require_square

# -- LU ----------------------------------------------------------------------------------------------------------------


def _infer_lu(sizes: Sizes, A: Any, *, pivot: bool) -> tuple[TensorType, TensorType, TensorType]:
    A = require_matrix("lu_factor", A)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    batch = A.shape[:-2]
    count = dim_min(A.shape[-2], A.shape[-1])
    return A, TensorType(int32, (*batch, count), A.device), TensorType(int32, batch, A.device)


def _evaluate_lu(xp: Any, A: Any, *, pivot: bool) -> tuple[Any, Any, Any]:
    """Gaussian elimination, column by column, for a whole batch (Golub and Van Loan, algorithm 3.4.1)."""
    m, n = A.shape[-2:]
    count = min(m, n)
    factors = np.array(A, copy=True, order="C").reshape(math.prod(A.shape[:-2]), m, n)
    batch = np.arange(len(factors))
    pivots = np.zeros((len(factors), count), np.int32)
    info = np.zeros(len(factors), np.int32)
    with np.errstate(all="ignore"):
        for k in range(count):
            column = factors[:, k:, k]
            row = np.argmax(np.abs(column.real) + np.abs(column.imag), axis=1) + k
            pivots[:, k] = row + 1
            above = factors[batch, k].copy()
            factors[batch, k] = factors[batch, row]
            factors[batch, row] = above
            head = factors[:, k, k]
            zero = head == 0
            info = np.where((info == 0) & zero, k + 1, info).astype(np.int32)
            factors[:, k + 1 :, k] /= np.where(zero, 1, head)[:, None]
            factors[:, k + 1 :, k + 1 :] -= factors[:, k + 1 :, k, None] * factors[:, k, None, k + 1 :]
    shape = A.shape[:-2]
    return factors.reshape(A.shape), pivots.reshape(*shape, count), np.asarray(info.reshape(shape))


def _lu_vjp(c: VjpContext, g: Any, A: Any, *, pivot: bool) -> tuple[Any]:
    """P L^-H (tril(L^H gL, -1) + triu(gU U^H)) U^-H for a square matrix A = P L U.

    A wide one has further columns P L Y of A, a tall one further rows Y U; what their gradients say of L and U is added
    to that of the square part.
    """
    gradient = g[0]
    if gradient is None:
        return (None,)
    lu, pivots = c.outputs[0], c.outputs[1]
    m, n = A.shape[-2:]
    count = pivots.shape[-1]
    permutation = F.lu_permutation(pivots, m, dtype=lu.dtype)
    square = F.slice(F.slice(lu, 0, count, dim=-2), 0, count, dim=-1)
    lower = F.add(F.tril(square, -1), F.eye(count, dtype=lu.dtype))
    upper = F.triu(square)
    for_square = F.slice(F.slice(gradient, 0, count, dim=-2), 0, count, dim=-1)
    for_lower, for_upper = F.tril(for_square, -1), F.triu(for_square)
    adjoint_lower, adjoint_upper = conj_transpose(lower), conj_transpose(upper)
    right = below = None  # both for sizes not yet known, one of which then has no columns or rows
    if n != count:
        rest = F.slice(F.slice(gradient, 0, count, dim=-2), count, None, dim=-1)
        right = F.solve_triangular(adjoint_lower, rest, upper=True, unitriangular=True)
        columns = F.slice(F.slice(lu, 0, count, dim=-2), count, None, dim=-1)
        for_lower = F.sub(for_lower, F.tril(F.matmul(right, conj_transpose(columns)), -1))
    if m != count:
        rest = F.slice(F.slice(gradient, 0, count, dim=-1), count, None, dim=-2)
        below = F.solve_triangular(adjoint_upper, rest, upper=False, left=False)
        rows = F.slice(F.slice(lu, 0, count, dim=-1), count, None, dim=-2)
        for_upper = F.sub(for_upper, F.triu(F.matmul(conj_transpose(rows), below)))
    middle = F.add(
        F.tril(F.matmul(adjoint_lower, for_lower), -1),
        F.triu(F.matmul(for_upper, adjoint_upper)),
    )
    middle = F.solve_triangular(adjoint_lower, middle, upper=True, unitriangular=True)
    middle = F.solve_triangular(adjoint_upper, middle, upper=False, left=False)
    if right is not None:
        middle = F.cat((middle, right), -1)
    if below is not None:
        if right is not None:
            corner = F.full((*A.shape[:-2], m - count, n - count), 0, dtype=lu.dtype)
            below = F.cat((below, corner), -1)
        middle = F.cat((middle, below), -2)
    return (F.matmul(permutation, middle),)


LU_FACTOR = define(
    "lu_factor_ex(A: Tensor, *, pivot: bool = True)",
    "L (below the diagonal, which is 1) and U of A = P L U in one matrix, the rows exchanged (from 1), and per matrix "
    "the number of the first zero on U's diagonal, or 0.\n\n"
    ">>> ingot.linalg.lu_factor_ex(ingot.tensor([[1., 2.], [2., 4.]])).info\n"
    "tensor(2, dtype=ingot.int32)",
    infer=_infer_lu,
    evaluate=_evaluate_lu,
    vjp=_lu_vjp,
    lower=Custom("lu_factor_ex"),
    outputs=3,
    samples=lambda: [
        Sample((matrices(3, 3),)),
        Sample((randoms(2, 4, 2),)),
        Sample((randoms(2, 3, 5),)),
        Sample((np.zeros((0, 3), np.float32),)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3),), RuntimeError, "at least 2 dimensions"),
        ErrorSample((matrices(3, 3),), RuntimeError, "without pivoting", {"pivot": False}),
    ],
)


def _infer_permutation(sizes: Sizes, pivots: Any, rows: Any, *, dtype: Any) -> TensorType:
    pivots = require_tensor("lu_unpack", "pivots", pivots)
    if pivots.dtype is not int32:
        raise RuntimeError(f"torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of int32, given {pivots}")
    if not pivots.rank:
        raise RuntimeError("lu_unpack: expected LU_pivots with at least one dimension")
    count = dim_value("lu_unpack", "rows", rows)
    return TensorType(dtype, (*pivots.shape[:-1], count, count), pivots.device)


def _evaluate_permutation(xp: Any, pivots: Any, rows: int, *, dtype: Any) -> Any:
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    order = np.tile(np.arange(rows), (len(flat), 1))
    batch = np.arange(len(flat))
    if flat.size and (flat.min() < 1 or flat.max() > rows):
        raise RuntimeError(f"lu_unpack: pivots must be from 1 to {rows}, the number of rows")
    for k in range(flat.shape[1]):
        other = flat[:, k] - 1
        kept = order[batch, k].copy()
        order[batch, k] = order[batch, other]
        order[batch, other] = kept
    result = np.zeros((len(flat), rows, rows), dtype.numpy)
    result[batch[:, None], order, np.arange(rows)] = 1
    return result.reshape(*pivots.shape[:-1], rows, rows)


LU_PERMUTATION = define(
    "lu_permutation(pivots: Tensor, rows: Int, *, dtype: dtype)",
    "The permutation matrix P of row exchanges as `lu_factor_ex` gives them.",
    infer=_infer_permutation,
    evaluate=_evaluate_permutation,
    lower=Custom("lu_permutation"),
    samples=lambda: [
        Sample((np.array([3, 3, 3], np.int32), 3), {"dtype": "float32"}, differentiable=False),
        Sample((np.array([[2, 2], [1, 4]], np.int32), 4), {"dtype": "float64"}, differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((np.array([1, 2]), 2), RuntimeError, "int32", {"dtype": "float32"}),
        ErrorSample((np.array([5], np.int32), 2), RuntimeError, "from 1 to 2", {"dtype": "float32"}),
    ],
)

# -- LDL ---------------------------------------------------------------------------------------------------------------

_BUNCH_KAUFMAN = (1 + 17**0.5) / 8  # the bound that keeps elements from growing


def _infer_ldl(sizes: Sizes, A: Any, *, hermitian: bool) -> tuple[TensorType, TensorType, TensorType]:
    A = require_square(sizes, "ldl_factor", A)
    batch = A.shape[:-2]
    return A, TensorType(int32, A.shape[:-1], A.device), TensorType(int32, batch, A.device)


def _swap(a: Any, k: int, p: int, step: int, hermitian: bool) -> None:
    """Exchange rows and columns k and p > k of the part of a symmetric matrix that its lower triangle holds."""
    below = a[p + 1 :, k].copy()
    a[p + 1 :, k] = a[p + 1 :, p]
    a[p + 1 :, p] = below
    column, row = a[k + 1 : p, k].copy(), a[p, k + 1 : p].copy()
    a[k + 1 : p, k] = row.conj() if hermitian else row
    a[p, k + 1 : p] = column.conj() if hermitian else column
    if hermitian:
        a[p, k] = a[p, k].conj()
    a[k, k], a[p, p] = a[p, p], a[k, k]
    if step == 2:  # the column before belongs to the same block
        a[k, k - 1], a[p, k - 1] = a[p, k - 1], a[k, k - 1]


def _ldl(a: Any, hermitian: bool) -> tuple[Any, int]:
    """Bunch-Kaufman diagonal pivoting on the lower triangle, in place (Golub and Van Loan, section 4.4.4).

    Pivots are as LAPACK gives them: p for a block of one row exchanged with p, -p twice for a block of two.
    """
    n = len(a)
    pivots = np.zeros(n, np.int32)
    info, k = 0, 0

    def size(x: Any) -> Any:
        return np.abs(x.real) + np.abs(x.imag)

    while k < n:
        step, chosen = 1, k
        head = abs(a[k, k].real) if hermitian else size(a[k, k])
        below = size(a[k + 1 :, k])
        largest = below.max(initial=0.0)
        if max(head, largest) == 0:
            info = info or k + 1
        elif head < _BUNCH_KAUFMAN * largest:
            row = k + 1 + int(below.argmax())
            rest = max(size(a[row, k:row]).max(initial=0.0), size(a[row + 1 :, row]).max(initial=0.0))
            corner = abs(a[row, row].real) if hermitian else size(a[row, row])
            if head * rest >= _BUNCH_KAUFMAN * largest * largest:
                chosen = k
            elif corner >= _BUNCH_KAUFMAN * rest:
                chosen = row
            else:
                chosen, step = row, 2
        other = k + step - 1
        if chosen != other:
            _swap(a, other, chosen, step, hermitian)
        if hermitian:
            for d in range(k, k + step):
                a[d, d] = a[d, d].real
        rest = a[k + step :, k : k + step]
        if rest.size and max(head, largest) != 0:
            block = a[k : k + step, k : k + step].copy()
            if step == 2:
                block[0, 1] = block[1, 0].conj() if hermitian else block[1, 0]
            multipliers = np.linalg.solve(block.T, rest.T).T
            update = multipliers @ (rest.conj().T if hermitian else rest.T)
            a[k + step :, k + step :] -= np.tril(update)
            rest[...] = multipliers
        pivots[k : k + step] = chosen + 1 if step == 1 else -(chosen + 1)
        k += step
    return pivots, info


def _evaluate_ldl(xp: Any, A: Any, *, hermitian: bool) -> tuple[Any, Any, Any]:
    n = A.shape[-1]
    hermitian = hermitian and A.dtype.kind == "c"
    factors = np.tril(np.array(A, copy=True, order="C").reshape(math.prod(A.shape[:-2]), n, n))
    pivots = np.zeros((len(factors), n), np.int32)
    info = np.zeros(len(factors), np.int32)
    with np.errstate(all="ignore"):
        for index, a in enumerate(factors):
            pivots[index], info[index] = _ldl(a, hermitian)
    return factors.reshape(A.shape), pivots.reshape(A.shape[:-1]), np.asarray(info.reshape(A.shape[:-2]))


LDL_FACTOR = define(
    "ldl_factor_ex(A: Tensor, *, hermitian: bool = False)",
    "L and the block diagonal D of a symmetric (Hermitian) matrix in one matrix, its pivots as LAPACK has them, and "
    "per matrix the number of the first zero block of D, or 0.\n\n"
    ">>> ingot.linalg.ldl_factor_ex(ingot.tensor([[4., 2.], [2., 3.]])).LD\n"
    "tensor([[4.0000, 0.0000],\n"
    "        [0.5000, 2.0000]])",
    infer=_infer_ldl,
    evaluate=_evaluate_ldl,
    lower=Custom("ldl_factor_ex"),
    outputs=3,
    samples=lambda: [
        Sample((matrices(3, 3),), differentiable=False),
        Sample((randoms(2, 4, 4),), differentiable=False),
        Sample((randoms(5, 5).astype(np.complex64),), {"hermitian": True}, differentiable=False),
    ],
    errors=lambda: [ErrorSample((randoms(3, 4),), RuntimeError, "square")],
)


def _infer_ldl_solve(sizes: Sizes, LD: Any, pivots: Any, B: Any, *, hermitian: bool) -> TensorType:
    LD, B = require_square(sizes, "ldl_solve", LD, "LD"), require_matrix("ldl_solve", B, "B")
    pivots = require_tensor("ldl_solve", "pivots", pivots)
    if LD.dtype is not B.dtype:
        raise RuntimeError(f"linalg.ldl_solve: Expected LD and B to have the same dtype, given {LD} and {B}")
    if pivots.dtype.category != 1:
        raise RuntimeError(f"torch.linalg.ldl_solve: Expected pivots to be integers. Got {pivots.dtype.name}")
    message = f"torch.linalg.ldl_solve: Expected LD.shape[:-1] and pivots.shape to be equal, given {LD} and {pivots}"
    if pivots.rank != LD.rank - 1:
        raise RuntimeError(message)
    for a, b in zip(pivots.shape, LD.shape[:-1], strict=True):
        sizes.equal(a, b, message)
    sizes.equal(LD.shape[-1], B.shape[-2], f"linalg.ldl_solve: Incompatible shapes of LD and B: {LD} and {B}")
    batch = sizes.broadcast_shapes(LD.shape[:-2], B.shape[:-2], name="linalg.ldl_solve")
    return TensorType(B.dtype, (*batch, *B.shape[-2:]), B.device)


def _solve_one(ld: Any, pivots: Any, b: Any, hermitian: bool) -> Any:
    """L D L^T x = b with the exchanges of `_ldl`: down for L and D, up for L^T."""
    n = len(ld)
    steps: list[tuple[int, int]] = []
    k = 0
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        steps.append((k, step))
        k += step
    for k, step in steps:
        other, chosen = k + step - 1, abs(int(pivots[k])) - 1
        if chosen != other:
            b[[other, chosen]] = b[[chosen, other]]
        b[k + step :] -= ld[k + step :, k : k + step] @ b[k : k + step]
        block = ld[k : k + step, k : k + step].copy()
        if step == 2:
            block[0, 1] = block[1, 0].conj() if hermitian else block[1, 0]
        b[k : k + step] = np.linalg.solve(block, b[k : k + step])
    for k, step in reversed(steps):
        below = ld[k + step :, k : k + step]
        b[k : k + step] -= (below.conj().T if hermitian else below.T) @ b[k + step :]
        other, chosen = k + step - 1, abs(int(pivots[k])) - 1
        if chosen != other:
            b[[other, chosen]] = b[[chosen, other]]
    return b


def _evaluate_ldl_solve(xp: Any, LD: Any, pivots: Any, B: Any, *, hermitian: bool) -> Any:
    batch = np.broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    n = LD.shape[-1]
    factors = np.broadcast_to(LD, (*batch, n, n)).reshape(math.prod(batch), n, n)
    exchanged = np.broadcast_to(pivots, (*batch, n)).reshape(math.prod(batch), n)
    result = np.array(np.broadcast_to(B, (*batch, *B.shape[-2:])), order="C")
    with np.errstate(all="ignore"):
        flat = zip(factors, exchanged, result.reshape(math.prod(batch), *B.shape[-2:]), strict=True)
        for ld, p, b in flat:
            _solve_one(ld, p, b, hermitian and LD.dtype.kind == "c")
    return result


LDL_SOLVE = define(
    "ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False)",
    "The X with A @ X = B, for an A factored by `ldl_factor`.\n\n"
    ">>> LD, pivots = ingot.linalg.ldl_factor(ingot.tensor([[4., 2.], [2., 3.]]))\n"
    ">>> ingot.linalg.ldl_solve(LD, pivots, ingot.tensor([[6.], [5.]]))\n"
    "tensor([[1.],\n"
    "        [1.]])",
    infer=_infer_ldl_solve,
    evaluate=_evaluate_ldl_solve,
    lower=Custom("ldl_solve"),
    public=("linalg",),
    samples=lambda: [
        Sample((np.tril(matrices(3, 3)), np.array([1, 2, 3], np.int32), randoms(3, 2)), differentiable=False),
        Sample((np.tril(matrices(2, 2)), np.array([-2, -2], np.int32), randoms(4, 2, 1)), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((matrices(3, 3), np.array([1, 2, 3]), randoms(4, 2)), RuntimeError, "Incompatible shapes"),
        ErrorSample((matrices(3, 3), np.array([1, 2]), randoms(3, 2)), RuntimeError, "to be equal"),
    ],
)

# -- Householder QR ----------------------------------------------------------------------------------------------------


def _infer_geqrf(sizes: Sizes, input: Any) -> tuple[TensorType, TensorType]:
    input = require_matrix("geqrf", input, "input")
    tau = TensorType(input.dtype, (*input.shape[:-2], dim_min(*input.shape[-2:])), input.device)
    return input, tau


def _evaluate_geqrf(xp: Any, input: Any) -> tuple[Any, Any]:
    if not input.size:
        shape = (*input.shape[:-2], min(input.shape[-2:]))
        return xp.empty(input.shape, input.dtype), xp.zeros(shape, input.dtype)
    packed, tau = xp.linalg.qr(input, mode="raw")
    return xp.ascontiguousarray(packed.swapaxes(-1, -2)).astype(input.dtype), tau.astype(input.dtype)


GEQRF = define(
    "geqrf(input: Tensor)",
    "R of a QR factorisation above the diagonal, Householder vectors below it, and their factors.\n\n"
    ">>> a, tau = ingot.geqrf(ingot.tensor([[3., 0.], [4., 2.]]))\n"
    ">>> a.abs()[0, 0], tau.shape\n"
    "(tensor(5.), ingot.Size([2]))",
    infer=_infer_geqrf,
    evaluate=_evaluate_geqrf,
    lower=Custom("geqrf"),
    outputs=2,
    samples=lambda: [
        Sample((randoms(3, 3),), differentiable=False),
        Sample((randoms(2, 4, 2),), differentiable=False),
        Sample((randoms(2, 5),), differentiable=False),
    ],
    errors=lambda: [ErrorSample((randoms(3),), RuntimeError, "at least 2 dimensions")],
)
