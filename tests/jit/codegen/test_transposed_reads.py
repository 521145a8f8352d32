"""Operands that lie across the loops are read in tiles: the results are the same at any size, full tiles or not."""

import ingot
import numpy as np
import pytest
from ingot import jit


def rearranged(x: ingot.Tensor, y: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
    """Transposed operands beside plain ones, copies, and two that lie across each other."""
    return (
        x.transpose(0, 1) * 2 + y,
        x.permute(2, 0, 1).contiguous(),
        x.transpose(1, 2) + y.transpose(0, 1).transpose(1, 2),
    )


def arguments(dtype: str, a: int, b: int, c: int) -> list[ingot.Tensor]:
    random = np.random.default_rng(a)
    return [ingot.from_numpy((random.standard_normal(s) * 9).astype(dtype)) for s in ((a, b, c), (b, a, c))]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_sizes_around_tiles(dtype: str) -> None:
    compiled = jit.trace(rearranged, tuple(arguments(dtype, 3, 4, 5)), check_trace=False)
    for shape in ((3, 4, 5), (33, 64, 32), (32, 32, 32), (2, 100, 64), (70, 2, 3), (0, 3, 4), (65, 31, 129)):
        tensors = arguments(dtype, *shape)
        for result, expected in zip(compiled(*tensors), rearranged(*tensors), strict=True):
            np.testing.assert_array_equal(result.numpy(), expected.numpy())
    tensors = arguments(dtype, 33, 40, 9)
    with jit.executor("python"):
        results = compiled(*tensors)
    for result, expected in zip(results, rearranged(*tensors), strict=True):
        np.testing.assert_array_equal(result.numpy(), expected.numpy())
