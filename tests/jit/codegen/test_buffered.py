"""Kernels that compute much in short rows or at odd places: through buffers, with the same results everywhere."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.nn import functional as F


def values(*shape: int, dtype: Any = np.float32) -> ingot.Tensor:
    array = np.random.default_rng(sum(shape)).uniform(-3, 3, shape).astype(dtype)
    if array.size > 2:
        array.reshape(-1)[[0, -1]] = np.nan, np.inf
    return ingot.from_numpy(array)


def encoding(x: ingot.Tensor, f: ingot.Tensor) -> ingot.Tensor:
    y = (x[..., None] * f).reshape(x.shape[0], x.shape[1] * 6)
    return ingot.cat((x, y.sin(), y.cos()), -1)


# Name, program, the shape of what is traced, shapes of other calls, further operands, and whether buffers are used.
PROGRAMS: list[tuple[str, Callable[..., Any], tuple[int, ...], list[tuple[int, ...]], tuple[ingot.Tensor, ...]]] = [
    ("encoding", encoding, (130, 3), [(1, 3), (0, 3), (7, 5), (1031, 3)], (values(6),)),
    ("bias", lambda x, b: (x + b).exp(), (90, 10), [(1, 10), (0, 10), (617, 10)], (values(10),)),
    ("repeated", lambda x: x.repeat(1, 3).sin(), (30, 7), [(1, 1), (5, 0), (211, 11), (2, 90)], ()),
    ("each_repeated", lambda x: x.repeat_interleave(3, 1).exp(), (30, 7), [(1, 1), (3, 300)], ()),
    ("two_results", lambda x, b: (x + b, (x + b).tanh() * x), (60, 12), [(1, 12), (311, 12)], (values(12),)),
    ("condition", lambda x, b: ingot.where(x > b, x.exp(), b), (60, 12), [(3, 12), (151, 12)], (values(12),)),
    (
        "of_ints",
        lambda x, b: ((x + b).nan_to_num(1, 2, 3).to(ingot.int32) % 7).sin(),
        (60, 12),
        [(1, 12)],
        (values(12) * 0 + 1,),
    ),
    ("halves", lambda x, b: (x.to(ingot.float16) + b).tanh(), (60, 12), [(77, 12)], (values(12).to(ingot.float16),)),
    ("far_apart", lambda x: ingot.cat((x.exp(), x.sin(), x[:, ::2]), 1), (60, 24), [(1, 24), (57, 24)], ()),
    ("planes", lambda x, b: F.gelu(x + b[:, None, None]), (9, 10, 5, 5), [(1, 10, 5, 5), (3, 10, 7, 2)], (values(10),)),
    ("padded", lambda x: F.pad(x.exp(), (1, 2)).tanh(), (60, 12), [(1, 12), (57, 12)], ()),
    ("flipped", lambda x: x.flip(1).exp() + x.exp(), (60, 12), [(1, 12), (57, 1)], ()),
]


def same_on_all_threads(compiled: Callable[..., Any], arguments: tuple[ingot.Tensor, ...]) -> Any:
    before, results = ingot.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            ingot.set_num_threads(count)
            found = compiled(*arguments)
            results.append([r.numpy() for r in (found if isinstance(found, tuple) else (found,))])
    finally:
        ingot.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    return results[0]


@pytest.mark.filterwarnings("ignore::ingot.jit.TraceWarning")
@pytest.mark.parametrize("program, traced, shapes, more", [p[1:] for p in PROGRAMS], ids=[p[0] for p in PROGRAMS])
def test_buffered(
    program: Callable[..., Any],
    traced: tuple[int, ...],
    shapes: list[tuple[int, ...]],
    more: tuple[ingot.Tensor, ...],
) -> None:
    with ingot.no_grad(), np.errstate(all="ignore"):
        compiled = jit.trace(program, (values(*traced), *more), check_trace=False)
        for shape in (traced, *shapes):
            arguments = (values(*shape), *more)
            found = same_on_all_threads(compiled, arguments)
            expected = program(*arguments)
            for a, b in zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True):
                tolerance = 2e-3 if a.dtype == np.float16 else 1e-6
                np.testing.assert_allclose(a, b.numpy(), rtol=tolerance, atol=tolerance)
    if traced[0] > 10:
        assert ("stack_" in compiled.kernel_source()) == (program is not PROGRAMS[-2][1])


def test_operands_that_are_not_contiguous() -> None:
    x, b = values(12, 40), values(12)
    with ingot.no_grad():
        compiled = jit.trace(lambda x, b: (x * b).exp(), (x.T[::2], b), check_trace=False)
        found = compiled(x.T[::2], b).numpy()
        np.testing.assert_allclose(found, np.exp(x.numpy().T[::2] * b.numpy()), rtol=1e-6)


def test_generated_source_runs_as_python() -> None:
    x, b = values(11, 10), values(10)
    with ingot.no_grad():
        compiled = jit.trace(lambda x, b: (x + b).exp(), (x, b), check_trace=False)
        with jit.executor("python"), np.errstate(all="ignore"):
            found = compiled(x, b).numpy()
        np.testing.assert_allclose(found, np.exp(x.numpy() + b.numpy()), rtol=1e-6)
