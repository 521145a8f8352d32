"""Indices that are linear in pieces along the innermost loop: every piece at any size, and sizes that are one piece."""

from collections.abc import Callable

import ingot
import numpy as np
import pytest
from ingot import jit

F = ingot.nn.functional


def _pads(x: ingot.Tensor) -> tuple[ingot.Tensor, ...]:
    return F.pad(x, (3, 2, 1, 2), mode="reflect"), F.pad(x, (2, 5, 3, 0), mode="replicate")


CASES: dict[str, Callable[[ingot.Tensor], tuple[ingot.Tensor, ...]]] = {
    "rolled": lambda x: (x.roll(-4, -1) + x.roll(1, -1), x.roll(7), x.roll((2, -3), (-2, -1)) * x),
    "rolled backwards": lambda x: (x.roll(3, -1).flip(-1), x.flip(-1).roll(3, -1), x.flip((0, -1)).roll(2)),
    "repeated": lambda x: (x.repeat(1, 1, 2, 3), x.roll(2, -1).repeat(2, 1, 1, 2), x.repeat(1, 1, 1, 2).roll(5, -1)),
    "padded": _pads,
    "padded and rolled": lambda x: (
        F.pad(x, (4, 4, 0, 0), mode="reflect").roll(3, -1),
        F.pad(x.flip(-1), (1, 3, 0, 0), mode="replicate"),
        F.pad(x, (2, 1, 0, 0), mode="circular"),
    ),
    "every second": lambda x: (x.roll(1, -1)[..., ::2], F.pad(x, (3, 3, 1, 1), mode="reflect")[..., 1::3]),
    "short rows": lambda x: (
        F.pixel_shuffle(x, 2),
        F.pixel_unshuffle(x.repeat(1, 1, 2, 2), 2),
        ingot.stack([x, x * 2, -x], -1),
        x.permute(2, 3, 0, 1)[..., :3].contiguous(),
        x.unfold(3, 4, 1).contiguous(),
    ),
}
SHAPES = ((1, 4, 5, 5), (2, 4, 6, 37), (1, 8, 7, 5), (3, 4, 5, 128), (0, 4, 5, 5))


def image(*shape: int) -> ingot.Tensor:
    array = np.random.default_rng(shape).standard_normal(shape).astype(np.float32)
    array[:, :, ::3, ::5] = np.nan
    return ingot.from_numpy(array)


@pytest.mark.parametrize("name", CASES)
def test_pieces(name: str) -> None:
    function = CASES[name]
    compiled = jit.trace(function, image(2, 4, 5, 7), check_trace=False)
    for shape in SHAPES:
        x = image(*shape)
        for result, expected in zip(compiled(x), function(x), strict=True):
            np.testing.assert_array_equal(result.numpy(), expected.numpy(), err_msg=str(shape))
    with jit.executor("python"):
        results = compiled(image(1, 4, 5, 9))
    for result, expected in zip(results, function(image(1, 4, 5, 9)), strict=True):
        np.testing.assert_array_equal(result.numpy(), expected.numpy())


def test_ranges_may_end_anywhere() -> None:
    function = CASES["padded and rolled"]
    x = image(3, 4, 61, 509)
    compiled = jit.trace(function, x, check_trace=False)
    before = ingot.get_num_threads()
    try:
        for threads in (1, 2, 3):
            ingot.set_num_threads(threads)
            for result, expected in zip(compiled(x), function(x), strict=True):
                np.testing.assert_array_equal(result.numpy(), expected.numpy())
    finally:
        ingot.set_num_threads(before)


def test_what_is_empty_inside_of_a_border() -> None:
    """Indices wrapped by a size of zero stop nothing, and nobody reads by them."""

    def bordered(x: ingot.Tensor) -> ingot.Tensor:
        return F.pad(x.roll(1, 0), (1, 2)) + F.pad(x.roll(-4, 0).flip(0), (2, 1))

    for example in (0, 3):
        compiled = jit.trace(bordered, ingot.ones(example), check_trace=False)
        for size in (0, 1, 3, 7):
            x = ingot.arange(size).float()
            np.testing.assert_array_equal(compiled(x).numpy(), bordered(x).numpy())


def _windows(x: ingot.Tensor) -> ingot.Tensor:
    n, h, w, c = x.shape
    shifted = x.roll((-3, -2), (1, 2))
    return shifted.view(n, h // 4, 4, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, c)


def test_windows_of_shifted_images() -> None:
    """Each dimension is split by itself, at any size, though only products of sizes have to be equal."""
    traced = jit.trace(_windows, (image(1, 8, 6, 5),), check_trace=False)
    for shape in ((1, 8, 6, 5), (2, 12, 4, 3), (1, 4, 2, 7)):
        np.testing.assert_array_equal(traced(image(*shape)).numpy(), _windows(image(*shape)).numpy())
    guards = [(str(g.left), str(g.right)) for g in traced.graph.guards]
    assert ("s1", "(s1//4)*4") in guards and ("s2", "(s2//2)*2") in guards
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        traced(image(1, 6, 6, 5))
