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


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "float16", "uint8"])
def test_sizes_around_tiles(dtype: str) -> None:
    compiled = jit.trace(rearranged, tuple(arguments(dtype, 23, 24, 25)), check_trace=False)
    assert compiled(*arguments(dtype, 23, 24, 25))
    assert "transpose_block" in compiled.kernel_source()
    for shape in ((3, 4, 5), (33, 64, 32), (32, 32, 32), (2, 100, 64), (70, 2, 3), (0, 3, 4), (65, 31, 129)):
        tensors = arguments(dtype, *shape)
        for result, expected in zip(compiled(*tensors), rearranged(*tensors), strict=True):
            np.testing.assert_array_equal(result.numpy(), expected.numpy())
    tensors = arguments(dtype, 33, 40, 9)
    with jit.executor("python"):
        results = compiled(*tensors)
    for result, expected in zip(results, rearranged(*tensors), strict=True):
        np.testing.assert_array_equal(result.numpy(), expected.numpy())


@pytest.mark.parametrize("dtype", ["int32", "float64", "bool"])
def test_copies_of_all_sizes_and_alignments(dtype: str) -> None:
    """Large ones are written past the caches; the source begins at any place of a line."""
    compiled = jit.trace(lambda x: x.T.contiguous(), arguments(dtype, 20, 30, 1)[0][:, :, 0], check_trace=False)
    random = np.random.default_rng(3)
    threads = ingot.get_num_threads()
    for rows, columns in ((20, 30), (16, 16), (15, 300), (300, 7), (129, 1040), (1, 1), (0, 5), (2048, 2064)):
        for offset in (0, 3):
            flat = random.integers(0, 100, rows * columns + offset).astype(dtype)
            x = flat[offset:].reshape(rows, columns)
            for count in (1, 2):
                ingot.set_num_threads(count)
                try:
                    result = compiled(ingot.from_numpy(x)).numpy()
                finally:
                    ingot.set_num_threads(threads)
                np.testing.assert_array_equal(result, x.T)
    with jit.executor("python"):
        np.testing.assert_array_equal(compiled(ingot.from_numpy(x[:50, :100])).numpy(), x[:50, :100].T)
