"""Padded tensors: the inside of a row is a loop of its own, and nothing outside of the source is read."""

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

F = ingot.nn.functional


def stencil(x: Any) -> Any:
    inner = x[1:-1, 2:] + x[1:-1, :-2] + x[2:, 1:-1] + x[:-2, 1:-1]
    return F.pad(inner * 0.25, (1, 1, 1, 1), value=-1.0) - x


def stepped(x: Any) -> Any:
    return F.pad(x, (3, 2, 1, 4), value=2.0)[:, ::2].flip(-1) + 1


def backwards(x: Any) -> Any:
    return F.pad(x.flip(0, 1), (2, 5))[:, 1::3] * 2


def cropped(x: Any) -> Any:
    return F.pad(x, (-2, 3, 1, -1), value=7.0) * 2


def of_products(x: Any) -> Any:
    return F.pad(x[:, :1] * x[:1], (1, 2, 2, 1)) + 1


def twice(x: Any) -> Any:
    y = F.pad(x.exp(), (1, 0, 0, 0))
    return F.pad(y, (0, 1, 1, 0), value=3.0) * F.pad(x, (2, 0, 0, 1), value=5.0)


def rows_only(x: Any) -> Any:
    return F.pad(x, (0, 0, 2, 3)) * 2


@pytest.mark.parametrize("function", [stencil, stepped, backwards, cropped, of_products, twice, rows_only])
def test_borders_of_all_sizes(function: Callable[[Any], Any]) -> None:
    random = np.random.default_rng(0)

    def tensor(rows: int, columns: int) -> ingot.Tensor:
        return ingot.from_numpy(random.standard_normal((rows, columns)).astype(np.float32))

    compiled = jit.trace(function, tensor(13, 21), check_trace=False)
    threads = ingot.get_num_threads()
    for shape in ((13, 21), (4, 4), (3, 5), (37, 130), (4, 1031)):
        x = tensor(*shape)
        expected = function(x).numpy()
        for count in (1, 2, 3):
            ingot.set_num_threads(count)
            try:
                np.testing.assert_allclose(compiled(x).numpy(), expected, rtol=1e-6, atol=1e-6)
            finally:
                ingot.set_num_threads(threads)
    assert "inside0" in compiled.kernel_source() or function is rows_only


@pytest.mark.parametrize("function", [stencil, stepped, backwards, cropped, of_products, twice])
def test_nothing_outside_is_read(function: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_CHECK_BOUNDS", "1")
    x = ingot.from_numpy(np.random.default_rng(1).standard_normal((6, 7)).astype(np.float32))
    with jit.executor("python"):
        compiled = jit.trace(function, x, check_trace=False)
        np.testing.assert_allclose(compiled(x).numpy(), function(x).numpy(), rtol=1e-6, atol=1e-6)
