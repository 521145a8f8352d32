"""Large arrays computed in parts by several threads give what one thread gives."""

import os

import ingot
import numpy as np
import pytest
from ingot.eager import parallel


@pytest.fixture(autouse=True)
def three_threads():
    before = ingot.get_num_threads()
    ingot.set_num_threads(3)
    yield
    ingot.set_num_threads(before)


@pytest.mark.parametrize("size", [parallel.LARGE - 1, parallel.LARGE, parallel.LARGE * 2 + 12345])
def test_elementwise_ops_and_sums(size: int) -> None:
    values = np.random.default_rng(0).random((2, size), np.float32)
    x, y = ingot.from_numpy(values[0]), ingot.from_numpy(values[1])
    np.testing.assert_array_equal((x + y).numpy(), values[0] + values[1])
    np.testing.assert_array_equal((x / y).numpy(), values[0] / values[1])
    np.testing.assert_array_equal(x.exp().numpy(), np.exp(values[0]))
    np.testing.assert_array_equal(ingot.maximum(x, y).numpy(), np.maximum(*values))
    np.testing.assert_array_equal((x > y).numpy(), values[0] > values[1])
    np.testing.assert_allclose(x.sum().item(), values[0].astype(np.float64).sum(), rtol=1e-6)
    table = x[: size // 1000 * 1000].view(-1, 1000)
    np.testing.assert_allclose(table.sum(1).numpy(), table.numpy().astype(np.float64).sum(1), rtol=1e-5)
    assert (x.log() + y.sqrt()).dtype is ingot.float32


def test_parts_cover_everything_once_and_pass_errors_on() -> None:
    covered = np.zeros(parallel.LARGE * 3, int)

    def work(first: int, end: int) -> int:
        covered[first:end] += 1
        return end - first

    assert sum(parallel.in_parts(work, covered.size)) == covered.size and (covered == 1).all()

    def fails(first: int, end: int) -> None:
        if first:
            raise ValueError("in a part")

    with pytest.raises(ValueError, match="in a part"):
        parallel.in_parts(fails, covered.size)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    x = ingot.ones(parallel.LARGE * 2)
    x.exp()
    child = os.fork()
    if child == 0:
        os._exit(0 if float((x + x).sum()) == parallel.LARGE * 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
