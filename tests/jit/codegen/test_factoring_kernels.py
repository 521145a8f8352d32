"""Kernels of linear algebra against numpy, around the blocks of eight and the size where numpy takes over."""

from typing import Any

import numpy as np
import pytest
from ingot import ir
from ingot.ir.ops.linalg import LinAlgError
from ingot.jit.codegen.module import GeneratedModule
from ingot.jit.program import NativeProgram
from ingot.jit.runtime import pool
from lowering_cases import native, unjitted

GRAPH = """graph @factors(%a: F[b, n, n], %s: F[b, n, n], %x: F[b, n, m], %r: F[b, m, n])
  -> (F[b, n, n], F[b, n, n], F[b, n, n], F[b], F[b], F[b],
      F[b, n, m], F[b, m, n], F[b, n, m], F[b, n, m], F[b, m, n]) {
  %l: F[b, n, n] = cholesky(%s)
  %u: F[b, n, n] = cholesky(%s) {upper=True}
  %i: F[b, n, n] = inv(%a)
  %d: F[b] = det(%a)
  %sign: F[b], %log: F[b] = slogdet(%a)
  %0: F[b, n, m] = solve(%a, %x) {left=True}
  %1: F[b, m, n] = solve(%a, %r) {left=False}
  %2: F[b, n, m] = solve_triangular(%s, %x) {upper=True}
  %3: F[b, n, m] = solve_triangular(%s, %x) {upper=False, unitriangular=True}
  %4: F[b, m, n] = solve_triangular(%s, %r) {upper=False, left=False}
  return(%l, %u, %i, %d, %sign, %log, %0, %1, %2, %3, %4)
}"""


def arguments(batch: int, n: int, m: int, dtype: Any, seed: int = 0) -> list[Any]:
    random = np.random.default_rng(seed)
    # Rows out of order, so that pivots are looked for; the determinant stays in range.
    a = random.standard_normal((batch, n, n)) / max(n, 1) + np.eye(n)[random.permutation(n)]
    half = random.standard_normal((batch, n, n)) / max(n, 1)
    s = half @ half.swapaxes(-1, -2) + np.eye(n)
    x, r = random.standard_normal((batch, n, m)), random.standard_normal((batch, m, n))
    return [array.astype(dtype) for array in (a, s, x, r)]


@pytest.fixture(scope="module", params=["f32", pytest.param("f64", marks=pytest.mark.slow)])
def compiled(request: pytest.FixtureRequest) -> tuple[ir.Graph, GeneratedModule, NativeProgram, Any]:
    graph = ir.parse(GRAPH.replace("F[", f"{request.param}["))
    module, program = native(graph)
    return graph, module, program, np.dtype(request.param.replace("f", "float"))


SIZES = [(1, 1, 1), (2, 2, 3), (3, 3, 7), (2, 5, 8), (4, 7, 0), (0, 3, 2), (2, 8, 4), (3, 9, 9), (2, 16, 1), (2, 23, 5),
         (1, 64, 12), (1, 65, 2), (1, 131, 17), (1, 257, 3), (2, 0, 2)]  # fmt: skip


@pytest.mark.parametrize(("batch", "n", "m"), SIZES)
def test_factors_and_solutions(compiled: Any, batch: int, n: int, m: int) -> None:
    graph, _, program, dtype = compiled
    given = arguments(batch, n, m, dtype)
    tolerance = 2e-4 if dtype == np.float32 else 1e-11
    for found, expected in zip(program(given), ir.run(graph, given), strict=True):
        assert found.dtype == dtype and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_the_number_of_threads_changes_no_bit(compiled: Any) -> None:
    *_, program, dtype = compiled
    given = arguments(70, 17, 5, dtype)
    threads, found = pool.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            pool.set_num_threads(count)
            found.append(program(given))
    finally:
        pool.set_num_threads(threads)
    for others in zip(*found, strict=True):
        for other in others[1:]:
            np.testing.assert_array_equal(others[0], other)


def test_what_has_no_factor_is_said_by_numpy(compiled: Any) -> None:
    *_, program, dtype = compiled
    a, s, x, r = arguments(3, 9, 2, dtype)
    bad = s.copy()
    bad[1, 4, 4] = -1
    with pytest.raises(LinAlgError, match="not positive-definite"):
        program([a, bad, x, r])
    singular = a.copy()
    singular[2] = 0
    with pytest.raises(LinAlgError, match=r"\(Batch element 2\): the inversion could not be completed"):
        program([singular, s, x, r])


DETERMINANTS = """graph @determinants(%a: f32[b, n, n]) -> (f32[b], f32[b], f32[b]) {
  %d: f32[b] = det(%a)
  %sign: f32[b], %log: f32[b] = slogdet(%a)
  return(%d, %sign, %log)
}"""


def test_determinants_of_singular_matrices_and_nan() -> None:
    graph = ir.parse(DETERMINANTS)
    a = np.array([[[1, 2], [2, 4]], [[0, 1], [1, 0]], [[2, 0], [0, 3]]], np.float32)
    for program in (native(graph)[1], unjitted(graph)):
        for found, expected in zip(program([a]), ir.run(graph, [a]), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        a[1, 0, 0] = np.nan
        assert np.isnan(program([a])[0][1])
        a[1, 0, 0] = 0


def test_a_zero_on_the_diagonal_of_a_triangle_gives_infinities() -> None:
    graph = ir.parse(
        "graph @f(%a: f32[n, n], %x: f32[n, m]) -> (f32[n, m]) {"
        " %0: f32[n, m] = solve_triangular(%a, %x) {upper=False} return(%0) }"
    )
    program = native(graph)[1]
    a = np.array([[2, 9, 9], [1, 0, 9], [0, 0, 4]], np.float32)
    for m in (1, 2, 9):
        x = np.ones((3, m), np.float32)
        np.testing.assert_array_equal(program([a, x])[0][:2], ir.run(graph, [a, x])[0][:2])
