"""Parts of a whole that one kernel stores, and small steps through memory as constants."""

import ingot
import numpy as np
import pytest
from ingot import jit

RNG = np.random.default_rng(0)


def tensor(*shape, dtype=np.float32):
    return ingot.from_numpy((RNG.standard_normal(shape) * 10).astype(dtype))


def check(function, *calls, kernels=None):
    """Trace with the first inputs, and compare with eager mode for all of them, also on three threads."""
    traced = jit.trace(function, calls[0], check_trace=False)
    threads = ingot.get_num_threads()
    for inputs in calls:
        wanted = function(*inputs)
        for count in (1, 3):
            ingot.set_num_threads(count)
            try:
                found = traced(*inputs)
            finally:
                ingot.set_num_threads(threads)
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    assert "native code" in traced.explain()
    if kernels is not None:
        assert traced.explain().count("kernel k_") == kernels
    return traced


def test_parts_of_equal_shape_are_stored_by_one_kernel():
    def pieces(x):
        return ingot.stack([x, x * x, x + 1, x * x - x], -1)

    traced = check(pieces, (tensor(40),), (tensor(1),), (tensor(0),), (tensor(7919),), kernels=1)
    special = ingot.tensor([float("nan"), float("inf"), -0.0])
    np.testing.assert_array_equal(traced(special).numpy(), pieces(special).numpy())


def test_parts_along_the_first_dimension():
    check(
        lambda x: ingot.cat([x, -x, x * 2], 0),
        (tensor(5, 7, dtype=np.float64),),
        (tensor(0, 7, dtype=np.float64),),
        (tensor(31, 33, dtype=np.float64),),
        kernels=1,
    )


def test_short_rows_of_parts_of_different_lengths():
    def whole(x, y, z):
        return ingot.cat([x * 2, y, z - 1], 1)

    check(
        whole,
        (tensor(50, 3), tensor(50, 1), tensor(50, 2)),
        (tensor(1, 3), tensor(1, 1), tensor(1, 2)),
        (tensor(0, 3), tensor(0, 1), tensor(0, 2)),
        (tensor(997, 5), tensor(997, 20), tensor(997, 4)),
        (tensor(13, 3), tensor(13, 0), tensor(13, 2)),
        kernels=1,
    )


def test_parts_of_rows_of_several_dimensions():
    def whole(x, y):
        return ingot.cat([x, y], 1)

    x, y = tensor(19, 2, 2), tensor(19, 1, 2)
    check(whole, (x, y), (tensor(3, 4, 9), tensor(3, 2, 9)), kernels=1)


def test_the_same_value_may_be_two_parts():
    check(lambda x: ingot.cat([x, x], 1), (tensor(11, 3),), (tensor(2, 9),))


def test_parts_that_are_products_or_reductions_have_kernels_of_their_own():
    def whole(x, w):
        return ingot.cat([x @ w, x.sum(1, keepdim=True), x], 1)

    x, w = tensor(9, 4), tensor(4, 5)
    traced = jit.trace(whole, (x, w), check_trace=False)
    for rows in (9, 1, 0, 101):
        x = tensor(rows, 4)
        np.testing.assert_allclose(traced(x, w).numpy(), whole(x, w).numpy(), rtol=1e-5, atol=1e-4)


def test_a_part_that_is_needed_elsewhere_is_stored_twice():
    def pieces(x):
        y = x.exp()
        return ingot.cat([y, x], 1), y

    x = tensor(17, 3) / 10
    traced = jit.trace(pieces, (x,), check_trace=False)
    for found, wanted in zip(traced(x), pieces(x), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_columns_of_short_rows(dtype):
    """The rows are as long as in the first call, or longer."""

    def grey(x):
        return (x[..., 0].float() * 2 - x[..., 1].float()) * x[..., 2].float()

    shapes = [(6, 11, 3), (6, 11, 4), (1, 1, 3), (0, 5, 3), (31, 3, 17)]
    traced = check(grey, *((ingot.from_numpy(RNG.integers(0, 100, s).astype(dtype)),) for s in shapes))
    assert "== 3" in traced.kernel_source()


def test_pairs_of_boxes():
    def overlap(a, b):
        return ingot.minimum(a[:, None, 2], b[None, :, 2]) - ingot.maximum(a[:, None, 0], b[None, :, 1])

    check(overlap, (tensor(5, 4), tensor(23, 4)), (tensor(1, 3), tensor(40, 9)), (tensor(0, 4), tensor(3, 4)))


def test_interleaved_channels_are_read_by_pixels():
    def planes(x, m):
        return x.permute(2, 0, 1).float() - m.reshape(-1, 1, 1)

    def call(*shape):
        return ingot.from_numpy(RNG.integers(0, 256, shape).astype(np.uint8)), tensor(shape[-1])

    traced = check(planes, call(6, 35, 3), call(1, 1, 3), call(0, 4, 3), call(7, 9, 11), call(16, 16, 1))
    assert "== 3:" in traced.kernel_source()


def test_sizes_that_run_time_decides_are_expected_to_broadcast():
    @jit.script
    def closure(d: ingot.Tensor) -> ingot.Tensor:
        for k in range(d.shape[0]):
            d = ingot.minimum(d, d[:, k : k + 1] + d[k : k + 1, :])
        return d

    for n in (13, 1, 40):
        d = np.abs(tensor(n, n).numpy())
        wanted = d.copy()
        for k in range(n):
            wanted = np.minimum(wanted, wanted[:, k : k + 1] + wanted[k : k + 1, :])
        np.testing.assert_array_equal(closure(ingot.from_numpy(d)).numpy(), wanted)


@pytest.mark.parametrize("length", [9, 16, 24])
def test_whole_rows_of_a_known_length(length):
    """The length is known, or expected; rows may be longer than in the first call, and none is cut."""

    def known(x, y):
        return ingot.maximum(x.reshape(-1, 3, length)[:, 1:] * y[:length], y[1 : length + 1])

    def expected(x, y):
        return ingot.minimum(x * y, y)

    y = tensor(length + 1)
    check(known, *((tensor(rows, 3 * length), y) for rows in (5, 1, 0, 997)))
    check(
        expected, *((tensor(rows, n), tensor(n)) for rows, n in ((31, length), (1, length), (0, 4), (7, 100), (9, 1)))
    )
