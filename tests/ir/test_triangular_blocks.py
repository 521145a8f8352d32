"""Triangular systems of more rows than one block: every form, and zeros and infinities, as substitution gives them."""

import itertools

import ingot
import numpy as np
import pytest
from ingot.ir.ops import linalg


@pytest.mark.parametrize("upper, left, unit", list(itertools.product([False, True], repeat=3)))
def test_blocks_solve_what_rows_solve(upper: bool, left: bool, unit: bool) -> None:
    random = np.random.default_rng(1)
    for rows in (9, 64, 131):
        a = random.standard_normal((2, rows, rows)) / rows + 2 * np.eye(rows)
        b = random.standard_normal((3, 1, rows, 5) if left else (3, 1, 5, rows))
        x = ingot.linalg.solve_triangular(
            ingot.from_numpy(a), ingot.from_numpy(b), upper=upper, left=left, unitriangular=unit
        ).numpy()
        triangle = np.triu(a) if upper else np.tril(a)
        if unit:
            triangle = triangle * (1 - np.eye(rows)) + np.eye(rows)
        assert x.shape == (3, 2, *b.shape[2:])
        np.testing.assert_allclose(triangle @ x if left else x @ triangle, np.broadcast_to(b, x.shape), atol=1e-9)


@pytest.mark.parametrize("place, value", [((3, 3), 0.0), ((40, 7), np.inf), ((50, 2), np.nan)])
def test_what_is_not_regular_goes_row_by_row(place: tuple[int, int], value: float) -> None:
    random = np.random.default_rng(2)
    a, b = random.standard_normal((70, 70)) / 70 + np.eye(70), random.standard_normal((70, 2))
    a[place] = value
    found = ingot.linalg.solve_triangular(ingot.from_numpy(a), ingot.from_numpy(b), upper=False).numpy()
    expected = b.copy()
    with np.errstate(all="ignore"):
        linalg._substitute_rows(a, expected, False, False)
    np.testing.assert_array_equal(found, expected)
    assert np.isfinite(found[: place[0]]).all() and not np.isfinite(found[place[0] :]).all()
