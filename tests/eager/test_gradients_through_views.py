"""Gradients of every differentiable op in eager mode, of operands that are contiguous, permuted views, or expanded."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot.eager.dispatch import dispatch
from ingot.eager.tensor import Tensor
from ingot.ir.dtypes import float64
from ingot.ir.ops._op import Op, Trait
from ingot.ir.random_state import default_generator
from op_samples import SAMPLES, SEED, mapped, sample_name, sample_of

DIFFERENTIABLE = [
    (op, i)
    for op, i in SAMPLES
    if i < 4 and op.vjp is not None and op.evaluate is not None and tuple(op.samples())[i].differentiable
]


def gradients(op: Op, index: int, make: Any) -> list[np.ndarray]:
    """The gradients of the floating-point leaves that `make(array)` gives as (leaf, operand)."""
    _, operands, attributes = sample_of(op, index)
    if attributes.get("dtype") is not None:
        attributes["dtype"] = float64
    leaves: list[Tensor] = []

    def operand_of(array: np.ndarray) -> Tensor:
        if array.dtype.kind != "f":
            return Tensor(array.copy())
        leaf, operand = make(array.astype(np.float64))
        leaves.append(leaf)
        return operand

    default_generator.manual_seed(SEED)
    results = dispatch(op, mapped(operands, operand_of), attributes)
    results = results if isinstance(results, tuple) else (results,)
    outputs = [r for r in results if isinstance(r, Tensor) and r.requires_grad]
    generator = np.random.default_rng(SEED)
    cotangents = [ingot.from_numpy(np.asarray(generator.uniform(-1, 1, r.shape))) for r in outputs]
    found = ingot.autograd.grad(outputs, leaves, cotangents, allow_unused=True)
    return [np.zeros(leaf.shape) if g is None else g.numpy() for leaf, g in zip(leaves, found, strict=True)]


def plain(array: np.ndarray) -> tuple[Tensor, Tensor]:
    leaf = Tensor(array).requires_grad_()
    return leaf, leaf


def permuted(array: np.ndarray) -> tuple[Tensor, Tensor]:
    """A leaf in the other order, with gaps, of which the operand is a view."""
    turned = np.array(array.T, order="C")
    spaced = np.zeros((*turned.shape, 2))
    spaced[..., 0] = turned
    leaf = Tensor(spaced).requires_grad_()
    return leaf, leaf[..., 0].permute(*reversed(range(array.ndim)))


def expanded(array: np.ndarray) -> tuple[Tensor, Tensor]:
    """A leaf with one row, of which the operand is an expanded view: all rows are the first of the sample."""
    row = array[:1].copy() if array.ndim else array.copy()
    leaf = Tensor(row).requires_grad_()
    return leaf, leaf.expand(array.shape)


def repeated(array: np.ndarray) -> tuple[Tensor, Tensor]:
    """The same values as `expanded`, with memory of their own."""
    full = np.array(np.broadcast_to(array[:1], array.shape)) if array.ndim else array.copy()
    leaf = Tensor(full).requires_grad_()
    return leaf, leaf


@pytest.mark.parametrize(("op", "index"), DIFFERENTIABLE, ids=sample_name)
def test_a_permuted_operand_has_the_same_gradient(op: Op, index: int) -> None:
    for expected, found in zip(gradients(op, index, plain), gradients(op, index, permuted), strict=True):
        assert not found[..., 1].any()
        np.testing.assert_allclose(found[..., 0].T, expected, rtol=1e-7, atol=1e-9)


# Equal rows are where these have no derivative, or none that does not depend on rounding.
_TIES = {
    "cdist", "pairwise_distance", "svd", "svdvals", "eig", "eigvals", "eigh", "eigvalsh", "det", "slogdet", "inv",
    "matrix_power", "solve", "solve_triangular", "cholesky", "qr", "pinv", "lu_factor_ex", "cofactor_matrix", "sort",
    "topk", "max_dim", "min_dim", "amax", "amin", "cummax", "cummin", "median", "kthvalue", "mode",
    "batch_norm_training", "std", "vector_norm", "var", "group_norm", "ctc_loss",
}  # fmt: skip


@pytest.mark.parametrize(
    ("op", "index"),
    [(op, i) for op, i in DIFFERENTIABLE if op.name not in _TIES and Trait.RANDOM not in op.traits],
    ids=sample_name,
)
def test_an_expanded_operand_gets_the_sum(op: Op, index: int) -> None:
    for whole, found in zip(gradients(op, index, repeated), gradients(op, index, expanded), strict=True):
        expected = whole.sum(0, keepdims=True) if whole.ndim else whole
        expected = expected if whole.shape[:1] != (0,) else np.zeros(found.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
