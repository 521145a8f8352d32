"""Products with a single column: the matrix streams by, whichever operand it is."""

from typing import Any

import ingot
import numpy as np
from ingot import jit

F = ingot.nn.functional
SIZES = ((1, 1), (7, 1), (1, 9), (33, 130), (257, 67), (5, 0), (0, 5))


def sample(*shape: int) -> Any:
    return np.random.default_rng([4, *shape]).standard_normal(shape).astype(np.float32)


def same(result: Any, expected: Any) -> None:
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_matrix_times_vector() -> None:
    compiled = jit.trace(
        lambda a, v, b: ((a @ v + b).relu(), a @ v.unsqueeze(1), a.T.contiguous().T @ v),
        (ingot.zeros(3, 4), ingot.zeros(4), ingot.zeros(3)),
        check_trace=False,
    )
    for rows, depth in SIZES:
        a, v, b = sample(rows, depth), sample(depth), sample(rows)
        first, column, across = compiled(*(ingot.tensor(x) for x in (a, v, b)))
        same(first, np.maximum(a @ v + b, 0))
        same(column, (a @ v)[:, None])
        same(across, a @ v)


def test_batches_and_strides() -> None:
    a, v, w = sample(3, 5, 40), sample(40), sample(3, 40, 1)
    x, y, z = ingot.tensor(a), ingot.tensor(v), ingot.tensor(w)
    compiled = jit.trace(lambda x, y, z: (x @ y, x @ z, x[:, ::2, 1::3] @ y[::3][:13]), (x, y, z), check_trace=False)
    shared, each, strided = compiled(x, y, z)
    same(shared, a @ v)
    same(each, a @ w)
    same(strided, a[:, ::2, 1::3] @ v[::3][:13])


def test_layers_with_one_output_and_constant_matrices() -> None:
    layer = ingot.nn.Linear(50, 1).eval()
    for rows in (1, 6, 300):
        x = ingot.tensor(sample(rows, 50))
        expected = x.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        compiled = jit.trace(layer, x, check_trace=False)
        with ingot.no_grad():
            same(compiled(x), expected)
            same(jit.freeze(compiled)(x), expected)
    matrix = sample(71, 30)
    constant = ingot.tensor(matrix)
    product = jit.freeze(jit.trace(lambda v: constant @ v, ingot.zeros(30), check_trace=False, on_bake="ignore"))
    same(product(ingot.tensor(sample(30))), matrix @ sample(30))
