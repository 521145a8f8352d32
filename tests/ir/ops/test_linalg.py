"""Matrix functions whose gradients hold on part of the matrices only: symmetric ones, invertible ones."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.autograd import gradcheck, gradgradcheck

linalg = ingot.linalg


def matrix(*shape: int) -> ingot.Tensor:
    values = np.random.default_rng(list(shape)).uniform(-1, 1, shape)
    return ingot.from_numpy(values).requires_grad_()


def symmetric(x: Any) -> Any:
    return x + x.mT


def definite(x: Any) -> Any:
    return x @ x.mT + ingot.eye(x.shape[-1], dtype=ingot.float64)


def svd_up_to_signs(x: Any) -> Any:
    u, s, vh = linalg.svd(x)
    k = s.shape[-1]
    return u[..., :k].abs(), s, vh[..., :k, :].abs()


CASES: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "cholesky": (lambda x: linalg.cholesky(definite(x)), (3, 3)),
    "cholesky upper": (lambda x: linalg.cholesky(definite(x), upper=True), (2, 3, 3)),
    "eigh": (lambda x: (lambda w, v: (w, v.abs()))(*linalg.eigh(symmetric(x))), (3, 3)),
    "eigvalsh": (lambda x: linalg.eigvalsh(symmetric(x)), (2, 3, 3)),
    "qr of a wide matrix": (lambda x: tuple(linalg.qr(x)), (2, 4)),
    "complete qr": (lambda x: tuple(linalg.qr(x, "complete")), (3, 3)),
    "svd of a tall matrix": (svd_up_to_signs, (4, 2)),
    "svd of a wide matrix": (svd_up_to_signs, (2, 4)),
    "pinv of a symmetric matrix": (lambda x: linalg.pinv(symmetric(x), hermitian=True), (3, 3)),
    "eigvals": (lambda x: linalg.eigvals(x).abs().sum(), (3, 3)),
    "eig": (lambda x: linalg.eig(x).eigenvectors.abs().sum(-1).prod(), (3, 3)),
    "nuclear norm": (lambda x: linalg.matrix_norm(x, "nuc"), (3, 4)),
    "lstsq": (lambda x: linalg.lstsq(x, matrix(4, 2).detach()).solution, (4, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_first_and_second_derivatives_agree_with_differences(name: str) -> None:
    function, shape = CASES[name]
    assert gradcheck(function, (matrix(*shape),))
    assert gradgradcheck(function, (matrix(*shape),))


def test_the_determinant_of_a_singular_matrix_has_a_gradient() -> None:
    x = ingot.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    ingot.det(x).backward()
    np.testing.assert_allclose(x.grad.numpy(), [[4.0, -2.0], [-2.0, 1.0]], atol=1e-5)


def test_slogdet_of_a_singular_matrix() -> None:
    sign, logarithm = linalg.slogdet(ingot.ones(2, 2))
    assert sign.item() == 0.0 and logarithm.item() == -np.inf


def test_the_gradient_of_cholesky_is_symmetric() -> None:
    x = definite(matrix(3, 3)).detach().requires_grad_()
    linalg.cholesky(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), x.grad.numpy().T)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3, 3), (2, 0, 0)])
def test_empty_matrices(shape: tuple[int, ...]) -> None:
    x = ingot.zeros(*shape)
    assert linalg.inv(x).shape == shape
    assert linalg.det(x).tolist() == np.ones(shape[:-2]).tolist()
    assert linalg.eigh(x).eigenvectors.shape == shape
    assert linalg.svd(x).S.shape == shape[:-1]


def test_decompositions_multiply_back() -> None:
    x = matrix(2, 5, 3).detach()
    q, r = linalg.qr(x)
    np.testing.assert_allclose((q @ r).numpy(), x.numpy())
    u, s, vh = linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(((u * s.unsqueeze(-2)) @ vh).numpy(), x.numpy())
    square = matrix(4, 4).detach()
    w, v = linalg.eig(square)
    np.testing.assert_allclose((v @ ingot.diag(w) @ linalg.inv(v)).real.numpy(), square.numpy(), atol=1e-12)


def test_a_singular_matrix_of_a_batch_is_named() -> None:
    with pytest.raises(linalg.LinAlgError, match="Batch element 1"):
        linalg.inv(ingot.stack([ingot.eye(2), ingot.ones(2, 2)]))
    result, info = linalg.inv_ex(ingot.stack([ingot.eye(2), ingot.ones(2, 2)]))
    assert info.tolist() == [0, 1]
    assert result[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_values_that_are_not_finite_are_refused_where_no_result_exists() -> None:
    with pytest.raises(linalg.LinAlgError, match="NaN or infinity"):
        linalg.svd(ingot.tensor([[float("nan"), 1.0], [1.0, 1.0]]))


def test_multi_dot_takes_the_cheap_order_and_computes_the_product() -> None:
    parts = [matrix(10, 2), matrix(2, 30), matrix(30, 1)]
    expected = parts[0].detach().numpy() @ parts[1].detach().numpy() @ parts[2].detach().numpy()
    np.testing.assert_allclose(linalg.multi_dot(parts).detach().numpy(), expected)


def test_matrix_exp_of_a_large_norm() -> None:
    turn = ingot.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=ingot.float64) * 100.0
    expected = [[np.cos(100), -np.sin(100)], [np.sin(100), np.cos(100)]]
    np.testing.assert_allclose(linalg.matrix_exp(turn).numpy(), expected, atol=1e-12)
