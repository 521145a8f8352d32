"""Programs that random testing found to go wrong: each runs on every executor and gives what eager execution gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ingot
from ingot import jit

EXECUTORS = ("interpreter", "python", "native")
torch = ingot  # programs are written as users of PyTorch write them


def array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().numpy()) if isinstance(value, ingot.Tensor) else np.asarray(value)


def assert_agrees(function: Callable[..., Any], compiled: Any, *arguments: Any) -> None:
    """The compiled callable gives what the function gives, on every executor, and leaves the same in the arguments."""

    def copied() -> list[Any]:
        return [a.clone() if isinstance(a, ingot.Tensor) else a for a in arguments]

    given = copied()
    expected = function(*given)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for name in EXECUTORS:
        inputs = copied()
        with jit.executor(name):
            found = compiled(*inputs)
        found = found if isinstance(found, tuple) else (found,)
        for a, b in zip((*found, *inputs), (*expected, *given), strict=True):
            a, b = array(a), array(b)
            assert (a.dtype, a.shape) == (b.dtype, b.shape), name
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)


def mask_and_add(x, y):  # type: ignore[no-untyped-def]
    return x[x > 0] + y


@pytest.mark.parametrize("name", EXECUTORS)
def test_sizes_known_at_run_time_only_must_broadcast(name: str) -> None:
    """Native code read past the end where they did not."""
    compiled = jit.trace(mask_and_add, (torch.ones(3), torch.ones(3)))
    y = torch.tensor([1.0, 2.0, 3.0])
    with jit.executor(name):
        assert compiled(torch.tensor([1.0, -1.0, 1.0]), torch.ones(1)).tolist() == [2.0, 2.0]
        assert compiled(torch.tensor([1.0, -1.0, -1.0]), y).tolist() == [2.0, 3.0, 4.0]
        assert compiled(-y, torch.ones(1)).shape == (0,)
        with pytest.raises(RuntimeError, match="sizes 2 and 3 do not broadcast"):
            compiled(torch.tensor([1.0, 1.0, -1.0]), y)


def changes_type(x, n: int):  # type: ignore[no-untyped-def]
    k = 0
    while k < 3 and n > 3:
        k += 1
        mask = x < -1
        x = torch.where(mask > 0, mask, mask)
    return mask.clone(), x.clone()


def test_a_loop_carries_what_is_not_defined_yet() -> None:
    """Native code copied from address 0."""
    scripted = jit.script(changes_type)
    assert_agrees(changes_type, scripted, torch.tensor([-2.0, 3.0, 1.0]), 4)
    for name in EXECUTORS:
        with jit.executor(name), pytest.raises(UnboundLocalError, match="'mask'"):
            scripted(torch.ones(3), 0)
