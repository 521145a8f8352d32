"""What eager execution allocates and keeps: in-place ops no second array, views no copy, backward no tape."""

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest

SIZE = 1 << 18  # elements of float32: 1 MiB


def allocated(work: Callable[[], Any]) -> int:
    """The most bytes that were in use at once during the work, beyond those before."""
    work()  # what the first call makes for good does not count
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    "add_": lambda x, y: x.add_(y),
    "add_ of a number": lambda x, y: x.add_(1.5),
    "add_ with alpha": lambda x, y: x.add_(y, alpha=0.5),
    "sub_ with alpha": lambda x, y: x.sub_(y, alpha=2),
    "+= of a row": lambda x, y: x.view(512, -1).add_(y[:512]),
    "mul_": lambda x, y: x.mul_(y),
    "div_": lambda x, y: x.div_(2.0),
    "exp_": lambda x, y: x.exp_(),
    "neg_": lambda x, y: x.neg_(),
    "relu_": lambda x, y: x.relu_(),
    "sigmoid_": lambda x, y: x.sigmoid_(),
    "clamp_": lambda x, y: x.clamp_(0.1, 0.9),
    "pow_": lambda x, y: x.pow_(3),
    "lerp_": lambda x, y: x.lerp_(y, 0.25),
    "addcmul_": lambda x, y: x.addcmul_(y, y, value=0.5),
    "masked_fill_": lambda x, y: x.masked_fill_(MASK, 0.5),
    "zero_": lambda x, y: x.zero_(),
    "fill_": lambda x, y: x.fill_(0.5),
    "copy_": lambda x, y: x.copy_(y),
    "copy_ of another dtype": lambda x, y: x.copy_(MASK),
    "x[...] = y": lambda x, y: x.__setitem__(slice(1, None), y[1:]),
    "x[mask] = number": lambda x, y: x.__setitem__(slice(2, 9), 1.0),
}
MASK = ingot.arange(SIZE) % 3 == 0


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_ops_make_no_second_array(name: str) -> None:
    start = np.random.default_rng(0).random(SIZE, np.float32)
    x, y = ingot.tensor(start), ingot.tensor(start[::-1].copy())
    assert allocated(lambda: IN_PLACE[name](x, y)) < SIZE * 4 // 2
    # The blocks join to what the op gives in one piece (which a recorded write takes).
    one = ingot.tensor(start)
    IN_PLACE[name](one, y)
    whole = ingot.tensor(start, requires_grad=True) * 1.0
    IN_PLACE[name](whole, y)
    assert whole.requires_grad or name in ("zero_", "fill_", "copy_", "copy_ of another dtype")
    np.testing.assert_allclose(one.numpy(), whole.numpy(force=True), rtol=1e-6)


def test_what_cannot_be_written_in_place_leaves_everything_as_it_was() -> None:
    x = ingot.rand(SIZE)
    before, version = x.tolist()[:10], x._version
    for attempt in (
        lambda: x.add_(ingot.ones(SIZE + 1)),
        lambda: x.add_(ingot.ones(2, SIZE)),
        lambda: x.clamp_(ingot.ones(3), None),
        lambda: x.masked_fill_(ingot.ones(7, dtype=ingot.bool), 1.0),
        lambda: x.add_(1j),
        lambda: x.lerp_(ingot.ones(SIZE, dtype=ingot.float64), 0.5),
    ):
        with pytest.raises(RuntimeError):
            attempt()
    assert x.tolist()[:10] == before and x._version == version


def test_an_operand_that_overlaps_is_read_before_it_is_written() -> None:
    values = np.arange(SIZE, dtype=np.float32)
    x = ingot.tensor(values)
    x[1:].lerp_(x[:-1], 0.5)
    np.testing.assert_allclose(x.numpy()[1:], values[1:] + (values[:-1] - values[1:]) * 0.5)
    x = ingot.tensor(values)
    x.addcmul_(x, x)
    np.testing.assert_allclose(x.numpy(), values + values * values)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "view": lambda x: x.view(512, -1),
    "reshape": lambda x: x.reshape(256, 1024),
    "t": lambda x: x.view(512, -1).t(),
    "permute": lambda x: x.view(4, 8, -1).permute(2, 0, 1),
    "expand": lambda x: x.expand(8, -1),
    "slice": lambda x: x[3:-5:2],
    "select": lambda x: x.view(2, -1)[1],
    "unsqueeze": lambda x: x[None, :, None].squeeze(0),
    "split": lambda x: x.split(1000),
    "unbind": lambda x: x.view(16, -1).unbind(0),
    "unfold": lambda x: x.unfold(0, 8, 2),
    "as_strided": lambda x: x.as_strided((100, 100), (1, 1)),
    "diagonal": lambda x: x.view(512, 512).diagonal(),
    "movedim": lambda x: x.view(4, 8, -1).movedim(0, 2),
    "detach": lambda x: x.detach(),
    "real": lambda x: x.view(-1, 2).view(-1).unflatten(0, (2, -1)),
    "numpy": lambda x: ingot.from_numpy(x.numpy()),
    "DLPack": lambda x: ingot.from_dlpack(x),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_copy_nothing(name: str) -> None:
    x = ingot.rand(SIZE)
    assert allocated(lambda: VIEWS[name](x)) < SIZE
    view = VIEWS[name](x)
    part = view[0] if isinstance(view, (tuple, list)) else view
    assert np.shares_memory(part.numpy(), x.numpy())


def test_backward_frees_what_was_saved() -> None:
    x = ingot.rand(1000, requires_grad=True)
    hidden = x.exp()
    loss = (hidden * hidden).sum()
    kept, node = weakref.ref(hidden._array), weakref.ref(hidden.grad_fn)
    del hidden
    loss.backward()
    assert kept() is None
    del loss
    assert node() is None


def test_a_tape_that_is_dropped_is_freed_without_the_collector() -> None:
    gc.disable()
    try:
        x = ingot.rand(1000, requires_grad=True)
        y = (x.sin() * x.exp()).softmax(0).cumsum(0)
        node, array = weakref.ref(y.grad_fn), weakref.ref(y._array)
        del y
        assert node() is None and array() is None
    finally:
        gc.enable()
