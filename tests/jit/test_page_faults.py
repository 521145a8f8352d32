"""Memory of compiled calls comes from earlier ones: in the steady state the system gives none."""

from collections.abc import Callable

import ingot
import numpy as np
import pytest
from ingot import jit

resource = pytest.importorskip("resource", reason="the system counts page faults")
F = ingot.nn.functional


def floats(*shape: int) -> ingot.Tensor:
    return ingot.from_numpy(np.random.default_rng(shape).standard_normal(shape).astype(np.float32))


CASES: dict[str, tuple[Callable[..., ingot.Tensor], tuple[ingot.Tensor, ...]]] = {
    "small": (lambda x: (x * 2 + 1).cumsum(0), (floats(40, 25),)),
    "a quarter of a million": (lambda x, y: (x + y).relu(), (floats(250_007), floats(250_007))),
    "four million": (lambda x, y: x + y, (floats(1 << 22), floats(1 << 22))),
    "with a workspace": (lambda x, w: F.softmax(F.linear(x, w), -1) @ w, (floats(300, 200), floats(150, 200))),
}


@pytest.mark.parametrize("name", CASES)
def test_calls_touch_no_new_pages(name: str) -> None:
    function, arguments = CASES[name]
    compiled = jit.trace(function, arguments, check_trace=False)
    with ingot.no_grad():
        results = [compiled(*arguments) for _ in range(2)]  # two at a time, as in `x = f(x)`
        for number in range(10):
            results[number % 2] = compiled(*arguments)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for number in range(50):
            results[number % 2] = compiled(*arguments)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    # A result of four million numbers alone has 4,096 pages; other threads of the process may touch a few.
    assert faults < 100
