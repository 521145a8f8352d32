"""Products with a matrix of 8 or 16 bits, which is converted as it is read: every layout, few rows and many."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

KINDS = ("float16", "bfloat16", "int8", "uint8")
SIZES = (
    (1, 70, 45),
    (2, 1100, 33),
    (3, 9, 300),
    (4, 33, 64),
    (5, 40, 7),
    (8, 31, 40),
    (9, 33, 17),
    (40, 65, 257),
    (1, 1, 1),
)
random = np.random.default_rng(0)


def matrix(kind: str, *shape: int) -> ingot.Tensor:
    values = random.integers(0, 128, shape) if "int" in kind else random.standard_normal(shape)
    return ingot.from_numpy(values.astype(np.float32)).to(getattr(ingot, kind))


def check(program: Any, compiled: Any, *arguments: ingot.Tensor) -> Any:
    threads, results = ingot.get_num_threads(), []
    with ingot.no_grad():
        expected = program(*arguments).numpy()
        try:
            for count in (1, 2, 3):
                ingot.set_num_threads(count)
                results.append(compiled(*arguments).numpy())
        finally:
            ingot.set_num_threads(threads)
    scale = np.abs(expected).max(initial=1)
    np.testing.assert_allclose(results[0] / scale, expected / scale, atol=1e-6, equal_nan=True)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    return results[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transposed", [False, True])
def test_every_size(kind: str, transposed: bool) -> None:
    def program(x: Any, w: Any) -> Any:
        return (x @ (w.T if transposed else w).float()).relu() + 1

    def operands(m: int, n: int, k: int) -> tuple[Any, Any]:
        return matrix("float32", m, k), matrix(kind, *((n, k) if transposed else (k, n)))

    compiled = jit.trace(program, operands(3, 5, 7), check_trace=False)
    for m, n, k in SIZES:
        check(program, compiled, *operands(m, n, k))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_nan_and_infinity(kind: str) -> None:
    programs = (((70, 45), lambda x, w: x @ w.T.float()), ((45, 70), lambda x, w: x @ w.float()))
    for shape, program in programs:
        x, w = matrix("float32", 2, 45), matrix(kind, *shape)
        w[3, 4] = float("nan")
        x[1, 7] = float("inf")
        check(program, jit.trace(program, (x, w), check_trace=False), x, w)


@pytest.mark.filterwarnings("ignore::ingot.jit.TraceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_constant_weights_stay_narrow(kind: str) -> None:
    w = matrix(kind, 300, 260)

    def program(x: Any) -> Any:
        return ingot.nn.functional.linear(x, w.float())

    compiled = jit.trace(program, (matrix("float32", 3, 260),), check_trace=False)
    for m in (1, 3, 20):
        check(program, compiled, matrix("float32", m, 260))
