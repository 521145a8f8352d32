"""Products whose rows come in runs: a batch that shares one matrix and cannot be merged with its rows."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.nn import functional as F

SHAPES = ((1, 50), (4, 20), (4, 1), (3, 7), (1, 1), (20, 33), (0, 4), (2, 300))


def normal(*shape: int) -> ingot.Tensor:
    return ingot.from_numpy(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


WEIGHT, NARROW, BIAS = normal(70, 40), normal(3, 40), normal(70)
PROGRAMS: list[tuple[str, Callable[..., Any], tuple[ingot.Tensor, ...]]] = [
    ("transposed_batch", lambda x, w: (x.transpose(0, 1) @ w.T).relu(), (WEIGHT,)),
    ("constant_weight", lambda x: F.linear(x.transpose(0, 1), WEIGHT, BIAS).relu() + 1, ()),
    ("stored_transposed", lambda x, w, b: F.linear(x, w, b).transpose(0, 1).contiguous(), (WEIGHT, BIAS)),
    ("sliced_rows", lambda x, w: F.linear(x[:, ::2], w), (NARROW,)),
    ("sliced_depth", lambda x, w: F.linear(x[:, :, ::2], w[:, ::2]), (NARROW,)),
    ("two_batches", lambda x, w: F.linear(x.reshape(*x.shape[:2], 2, 20).permute(1, 2, 0, 3), w[:, :20]), (NARROW,)),
    ("half_weight", lambda x, w: F.linear(x.transpose(0, 1), w.to(ingot.float16).to(ingot.float32)), (NARROW,)),
    ("a_single_column", lambda x, w: x.transpose(0, 1) @ w[0], (WEIGHT,)),
]


@pytest.mark.filterwarnings("ignore::ingot.jit.TraceWarning")
@pytest.mark.parametrize("program, more", [p[1:] for p in PROGRAMS], ids=[p[0] for p in PROGRAMS])
def test_runs_of_rows(program: Callable[..., Any], more: tuple[ingot.Tensor, ...]) -> None:
    threads = ingot.get_num_threads()
    with ingot.no_grad():
        compiled = jit.trace(program, (normal(3, 5, 40), *more), check_trace=False)
        for shape in SHAPES:
            arguments = (normal(*shape, 40), *more)
            expected, results = program(*arguments).numpy(), []
            try:
                for count in (1, 2, 3):
                    ingot.set_num_threads(count)
                    results.append(compiled(*arguments).numpy())
            finally:
                ingot.set_num_threads(threads)
            np.testing.assert_allclose(results[0], expected, rtol=1e-4, atol=1e-4)
            for other in results[1:]:
                np.testing.assert_array_equal(other, results[0])


def test_nan_and_infinity_stay_in_their_rows() -> None:
    x = normal(3, 5, 40)
    x[1, 2, 3], x[2, 4, 39] = float("nan"), float("inf")
    compiled = jit.trace(lambda x, w: F.linear(x.transpose(0, 1), w), (x, WEIGHT), check_trace=False)
    with ingot.no_grad():
        finite = np.isfinite(compiled(x, WEIGHT).numpy()).all(axis=-1)
    expected = np.ones((5, 3), bool)
    expected[2, 1] = expected[4, 2] = False
    np.testing.assert_array_equal(finite, expected)
