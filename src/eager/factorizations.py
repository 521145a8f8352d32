"""Matrix factorisations in PyTorch's call forms: LU, LDL, Householder products, low-rank and checked solutions."""

from typing import Any, NamedTuple

import numpy as np

from ..ir.ops.linalg import LinAlgError
from . import creation
from .families import with_out
from .functions import call as _call
from .placement import beside
from .random import randn
from .return_types import result_text
from .tensor import Tensor, wrap

FUNCTIONS = ("geqrf", "lu", "lu_solve", "lu_unpack", "orgqr", "ormqr", "pca_lowrank", "svd_lowrank")
METHODS = ("geqrf", "lu", "lu_solve", "orgqr", "ormqr")
LINALG_NAMES = (
    "householder_product", "ldl_factor", "ldl_factor_ex", "linalg_lu", "linalg_lu_solve", "lu_factor", "lu_factor_ex",
    "solve_ex",
)  # fmt: skip

__all__ = ["FUNCTIONS", "LINALG_NAMES", "METHODS"]


class LUFactor(NamedTuple):
    """What `linalg.lu_factor` finds."""

    LU: Any
    pivots: Any

    def __repr__(self) -> str:
        return result_text("linalg_lu_factor", self)


class LUFactorChecked(NamedTuple):
    """What `linalg.lu_factor_ex` finds."""

    LU: Any
    pivots: Any
    info: Any

    def __repr__(self) -> str:
        return result_text("linalg_lu_factor_ex", self)


class LU(NamedTuple):
    """The factors of `linalg.lu`."""

    P: Any
    L: Any
    U: Any

    def __repr__(self) -> str:
        return result_text("linalg_lu", self)


class LDLFactor(NamedTuple):
    """What `linalg.ldl_factor` finds."""

    LD: Any
    pivots: Any

    def __repr__(self) -> str:
        return result_text("linalg_ldl_factor", self)


class LDLFactorChecked(NamedTuple):
    """What `linalg.ldl_factor_ex` finds."""

    LD: Any
    pivots: Any
    info: Any

    def __repr__(self) -> str:
        return result_text("linalg_ldl_factor_ex", self)


class Reflectors(NamedTuple):
    """What `geqrf` finds."""

    a: Any
    tau: Any

    def __repr__(self) -> str:
        return result_text("geqrf", self)


class CheckedSolution(NamedTuple):
    """A solution, and per system 0 or 1 where there is none."""

    result: Any
    info: Any

    def __repr__(self) -> str:
        return result_text("linalg_solve_ex", self)


# -- LU ----------------------------------------------------------------------------------------------------------------


def _require_info(name: str, info: Tensor, what: str) -> None:
    wrong = np.argwhere(info._array != 0)
    if len(wrong):
        number = info._array[tuple(wrong[0])]
        where = f"(Batch element {', '.join(map(str, wrong[0]))}): " if info.ndim else ""
        raise LinAlgError(f"{name}: {where}{what} {number} is zero")


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> LUFactorChecked:
    """L and U of A = P L U in one matrix, the rows exchanged, and per matrix the first zero on U's diagonal, or 0.

    >>> ingot.linalg.lu_factor_ex(ingot.tensor([[4., 2.], [2., 4.]])).LU
    tensor([[4.0000, 2.0000],
            [0.5000, 3.0000]])
    """
    result = LUFactorChecked(*_call("lu_factor_ex", A, pivot=pivot))
    if check_errors:
        _require_info("torch.linalg.lu_factor_ex", result.info, "U: diagonal element")
    return result


def lu_factor(A: Tensor, *, pivot: bool = True) -> LUFactor:
    """L and U of A = P L U in one matrix, and the rows exchanged, counted from 1.

    >>> ingot.linalg.lu_factor(ingot.tensor([[4., 2.], [2., 4.]])).pivots
    tensor([1, 2], dtype=ingot.int32)
    """
    return LUFactor(*_call("lu_factor_ex", A, pivot=pivot)[:2])


@beside
def _triangles(LU: Tensor) -> tuple[Tensor, Tensor]:
    m, n = (int(s) for s in LU.shape[-2:])
    count = min(m, n)
    lower = _call("tril", _call("slice", LU, 0, count, dim=-1), -1)
    eye = creation.eye(m, count, dtype=LU.dtype)
    return _call("add", lower, eye), _call("triu", _call("slice", LU, 0, count, dim=-2))


def linalg_lu(A: Tensor, *, pivot: bool = True) -> LU:
    """P, L and U with P @ L @ U = A: a permutation, lower triangular with ones, upper triangular.

    >>> ingot.linalg.lu(ingot.tensor([[4., 2.], [2., 4.]])).U
    tensor([[4., 2.],
            [0., 3.]])
    """
    factors, pivots, _ = _call("lu_factor_ex", A, pivot=pivot)
    lower, upper = _triangles(factors)
    return LU(_call("lu_permutation", pivots, int(A.shape[-2]), dtype=A.dtype), lower, upper)


@beside
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> LU:
    """P, L and U from what `linalg.lu_factor` gave; empty where they are not unpacked.

    >>> ingot.lu_unpack(*ingot.linalg.lu_factor(ingot.tensor([[4., 2.], [2., 4.]]))).L
    tensor([[1.0000, 0.0000],
            [0.5000, 1.0000]])
    """
    none = creation.empty(0, dtype=LU_data.dtype)
    if unpack_pivots and LU_pivots.dtype.name != "int32":
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype, as "
            f"linalg.lu_factor gives it, not {LU_pivots.dtype.name}"
        )
    permutation = none
    if unpack_pivots:
        permutation = _call("lu_permutation", LU_pivots, int(LU_data.shape[-2]), dtype=LU_data.dtype)
    lower, upper = _triangles(LU_data) if unpack_data else (none, none)
    return LU(permutation, lower, upper)


def linalg_lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """The X with A @ X = B (or X @ A = B; with `adjoint`, of A's conjugate transpose), for A from `linalg.lu_factor`.

    >>> LU, pivots = ingot.linalg.lu_factor(ingot.tensor([[4., 2.], [2., 4.]]))
    >>> ingot.linalg.lu_solve(LU, pivots, ingot.tensor([[6.], [6.]]))
    tensor([[1.],
            [1.]])
    """
    if LU.ndim < 2 or LU.shape[-1] != LU.shape[-2]:
        raise RuntimeError(f"torch.linalg.lu_solve: LU must be batches of square matrices, given {list(LU.shape)}")
    if B.dtype is not LU.dtype:
        raise RuntimeError(
            f"linalg.lu_solve: Expected LU and B to have the same dtype, but found LU of type {LU.dtype.name} and B of "
            f"type {B.dtype.name} instead"
        )
    if pivots.dtype.name != "int32":
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    if tuple(pivots.shape) != tuple(LU.shape[:-1]):
        raise RuntimeError(
            f"linalg.lu_solve: Number of pivots per batch should be same as the dimension of the matrix, given "
            f"{list(pivots.shape)} and {list(LU.shape)}"
        )
    lower, upper = _triangles(LU)
    permutation = _call("lu_permutation", pivots, int(LU.shape[-1]), dtype=LU.dtype)
    turned = _call("transpose", permutation, -2, -1)

    def solve(factor: Tensor, right: Any, is_upper: bool, unit: bool) -> Any:
        if adjoint:
            factor, is_upper = _conjugate_transpose(factor), not is_upper
        return _call("solve_triangular", factor, right, upper=is_upper, left=left, unitriangular=unit)

    if left != adjoint:  # P L U X = B, or X (P L U)^H = B
        right = _call("matmul", turned, B) if left else _call("matmul", B, permutation)
        return solve(upper, solve(lower, right, False, True), True, False)  # type: ignore[no-any-return]
    right = solve(lower, solve(upper, B, True, False), False, True)
    return _call("matmul", permutation, right) if left else _call("matmul", right, turned)  # type: ignore[no-any-return]


def _conjugate_transpose(x: Tensor) -> Tensor:
    turned = _call("transpose", x, -2, -1)
    return _call("conj", turned) if x.dtype.is_complex else turned  # type: ignore[no-any-return]


def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """The X with A @ X = b, for A from `linalg.lu_factor`.

    >>> ingot.lu_solve(ingot.tensor([[6.], [6.]]), *ingot.linalg.lu_factor(ingot.tensor([[4., 2.], [2., 4.]])))
    tensor([[1.],
            [1.]])
    """
    return linalg_lu_solve(LU_data, LU_pivots, b)


def lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """`linalg.lu_factor`, and with `get_infos` also the first zero on U's diagonal.

    >>> len(ingot.lu(ingot.eye(2), get_infos=True))
    3
    """
    factors, pivots, info = _call("lu_factor_ex", A, pivot=pivot)
    if not get_infos:
        _require_info("torch.lu", info, "U: diagonal element")
    return LUFactorChecked(factors, pivots, info) if get_infos else LUFactor(factors, pivots)


# -- LDL and checked solutions -----------------------------------------------------------------------------------------


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> LDLFactorChecked:
    """L and D of a symmetric matrix in one matrix, its pivots, and the first zero block of D, or 0.

    >>> ingot.linalg.ldl_factor_ex(ingot.eye(2)).info
    tensor(0, dtype=ingot.int32)
    """
    result = LDLFactorChecked(*_call("ldl_factor_ex", A, hermitian=hermitian))
    if check_errors:
        _require_info("torch.linalg.ldl_factor_ex", result.info, "D: block")
    return result


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> LDLFactor:
    """L and D of a symmetric matrix in one matrix, and its pivots.

    >>> ingot.linalg.ldl_factor(ingot.eye(2)).pivots
    tensor([1, 2], dtype=ingot.int32)
    """
    return LDLFactor(*ldl_factor_ex(A, hermitian=hermitian, check_errors=True)[:2])


@beside
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> CheckedSolution:
    """`linalg.solve`, and per system 0, or 1 where the matrix is singular (the solution is NaN there).

    >>> ingot.linalg.solve_ex(ingot.eye(2), ingot.ones(2)).info
    tensor(0, dtype=ingot.int32)
    """
    batch = tuple(A.shape[:-2])
    try:
        return CheckedSolution(_call("solve", A, B, left=left), wrap(np.zeros(batch, np.int32)))
    except LinAlgError:
        if check_errors:
            raise
    _, _, info = _call("lu_factor_ex", A.detach())  # type: ignore[attr-defined]
    singular = _call("reshape", _call("ne", info, 0), *batch, 1, 1)
    safe = _call("where", singular, creation.eye(int(A.shape[-1]), dtype=A.dtype), A)
    result = _call("solve", safe, B, left=left)
    if result.ndim < A.ndim:
        singular = _call("squeeze", singular, -1)
    return CheckedSolution(_call("where", singular, float("nan"), result), info)


# -- Householder -------------------------------------------------------------------------------------------------------


def geqrf(input: Tensor) -> Reflectors:
    """R of a QR factorisation above the diagonal, Householder vectors below it, and their factors.

    >>> ingot.geqrf(ingot.tensor([[3., 0.], [4., 2.]])).tau.shape
    ingot.Size([2])
    """
    return Reflectors(*_call("geqrf", input))


@beside
def _reflect(matrix: Any, A: Tensor, tau: Tensor, k: int, adjoint: bool = False) -> Any:
    """(I - tau v v^H) @ matrix, or its adjoint, for the k-th Householder vector of A."""
    m = int(A.shape[-2])
    below = _call("slice", _call("select", A, k, dim=-1), k + 1, m, dim=-1)
    batch = tuple(A.shape[:-2])
    head = creation.ones((*batch, 1), dtype=A.dtype)
    parts = [creation.zeros((*batch, k), dtype=A.dtype), head, below] if k else [head, below]
    v = _call("unsqueeze", _call("cat", parts, -1), -1)
    factor = _call("unsqueeze", _call("unsqueeze", _call("select", tau, k, dim=-1), -1), -1)
    if adjoint and A.dtype.is_complex:
        factor = _call("conj", factor)
    projected = _call("matmul", _conjugate_transpose(v), matrix)
    return _call("sub", matrix, _call("mul", factor, _call("matmul", v, projected)))


def _require_reflectors(name: str, A: Tensor, tau: Tensor) -> None:
    if A.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if tau.ndim != A.ndim - 1 or tuple(tau.shape[:-1]) != tuple(A.shape[:-2]):
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, with the same batch, given "
            f"{list(tau.shape)} and {list(A.shape)}"
        )
    if tau.dtype is not A.dtype:
        raise RuntimeError(f"{name}: tau dtype {tau.dtype.name} does not match input dtype {A.dtype.name}")


@beside
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of reflections I - tau v v^H with the vectors in A's columns, as of `geqrf`.

    >>> a, tau = ingot.geqrf(ingot.tensor([[3., 0.], [4., 2.]]))
    >>> ingot.linalg.householder_product(a, tau).abs()
    tensor([[0.6000, 0.8000],
            [0.8000, 0.6000]])
    """
    _require_reflectors("torch.linalg.householder_product", A, tau)
    m, n = (int(s) for s in A.shape[-2:])
    if m < n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if tau.shape[-1] > n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    result: Any = _call("expand", creation.eye(m, n, dtype=A.dtype), *A.shape)
    for k in reversed(range(int(tau.shape[-1]))):
        result = _reflect(result, A, tau, k)
    if not tau.shape[-1] or not n:  # no vector is read, but the result still belongs to the graph
        result = _call("add", result, _call("mul", A, 0))
    return result  # type: ignore[no-any-return]


def orgqr(input: Tensor, tau: Tensor) -> Tensor:
    """`linalg.householder_product`."""
    return householder_product(input, tau)


def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """Q @ other, or other @ Q, or with `transpose` of Q's conjugate transpose, for the whole Q of a `geqrf`.

    >>> a, tau = ingot.geqrf(ingot.tensor([[3.], [4.]]))
    >>> ingot.ormqr(a, tau, ingot.tensor([[3.], [4.]]), transpose=True).abs().round()
    tensor([[5.],
            [0.]])
    """
    _require_reflectors("torch.ormqr", input, tau)
    if other.ndim < 2:
        raise RuntimeError("torch.ormqr: other must have at least 2 dimensions.")
    if other.dtype is not input.dtype:
        raise RuntimeError("torch.ormqr: Expected input and other to have the same dtype")
    if input.ndim != other.ndim or tuple(input.shape[:-2]) != tuple(other.shape[:-2]):
        raise RuntimeError(
            f"torch.ormqr: Expected batch dimensions of other to be equal to input's, given {list(other.shape)} and "
            f"{list(input.shape)}"
        )
    extent, m = other.shape[-2 if left else -1], int(input.shape[-2])
    if extent != m:
        raise RuntimeError(
            f"torch.ormqr: other.shape[{'-2' if left else '-1'}] must be equal to input.shape[-2], given {extent} "
            f"and {m}"
        )
    if tau.shape[-1] > input.shape[-1]:
        raise RuntimeError("torch.ormqr: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    # other @ Q is the adjoint of Q^H @ other^H.
    result: Any = other if left else _conjugate_transpose(other)
    adjoint = transpose if left else not transpose
    order = range(int(tau.shape[-1]))
    for k in order if adjoint else reversed(order):
        result = _reflect(result, input, tau, k, adjoint)
    return result if left else _conjugate_transpose(result)


# -- low rank ----------------------------------------------------------------------------------------------------------


@beside
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> tuple[Any, Any, Any]:
    """U, S and V of the best approximation of A - M by a matrix of rank `q`, found at random with `niter` iterations.

    Halko, Martinsson and Tropp, "Finding structure with randomness", 2009, algorithms 4.4 and 5.1.

    >>> U, S, V = ingot.svd_lowrank(ingot.ones(4, 3), q=2)
    >>> U.shape, S.shape, V.shape
    (ingot.Size([4, 2]), ingot.Size([2]), ingot.Size([3, 2]))
    """
    count = 6 if q is None else q
    iterations = 2 if niter is None else niter
    matrix: Any = A if M is None else _call("sub", A, M)
    wide = matrix.shape[-2] < matrix.shape[-1]
    if wide:
        matrix = _conjugate_transpose(matrix)
    adjoint = _conjugate_transpose(matrix)
    start = randn(int(matrix.shape[-1]), count, dtype=matrix.dtype)
    basis, _ = _call("qr", _call("matmul", matrix, start), "reduced")
    for _ in range(iterations):
        basis, _ = _call("qr", _call("matmul", adjoint, basis), "reduced")
        basis, _ = _call("qr", _call("matmul", matrix, basis), "reduced")
    u, s, vh = _call("svd", _call("matmul", _conjugate_transpose(basis), matrix), False)
    u, v = _call("matmul", basis, u), _conjugate_transpose(vh)
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Any, Any, Any]:
    """The principal components of the rows of A: `svd_lowrank` of A less the means of its columns.

    >>> ingot.pca_lowrank(ingot.ones(4, 3), q=1)[2].shape
    ingot.Size([3, 1])
    """
    m, n = (int(s) for s in A.shape[-2:])
    count = min(6, m, n) if q is None else q
    if not 0 <= count <= min(m, n):
        raise ValueError(f"q(={count}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    centered = _call("sub", A, _call("mean", A, -2, True)) if center else A
    return svd_lowrank(centered, count, niter)


for _name in (*FUNCTIONS, *LINALG_NAMES):
    globals()[_name] = with_out(globals()[_name])
LINALG: dict[str, Any] = {name.removeprefix("linalg_"): globals()[name] for name in LINALG_NAMES}
