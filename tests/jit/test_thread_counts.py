"""Results are the same to the last bit on any number of threads: all sums have an order that the sizes decide."""

from collections.abc import Callable, Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

F = ingot.nn.functional


def floats(*shape: int) -> Any:
    return ingot.tensor(np.random.default_rng([5, *shape]).standard_normal(shape).astype(np.float32))


def indices(high: int, *shape: int) -> Any:
    return ingot.tensor(np.random.default_rng([6, *shape]).integers(0, high, shape))


# Large enough that threads share the work, with sizes that do not divide evenly.
CASES: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {
    "products": (
        lambda a, b, c: (a @ b, a.T @ a, (b @ c).relu()),
        lambda: (floats(317, 1009), floats(1009, 131), floats(131, 67)),
    ),
    "products in batches": (lambda a, b: a @ b, lambda: (floats(7, 61, 83), floats(7, 83, 45))),
    "few rows": (lambda a, w: F.linear(a, w), lambda: (floats(3, 1024), floats(1000, 1024))),
    "sums": (lambda x: (x.sum(), x.sum(0), x.sum(1), x.mean(), x.amax(0)), lambda: (floats(1013, 517),)),
    "sums of few columns": (lambda x: (x.sum(0), x.var(0)), lambda: (floats(9001, 5),)),
    "middle": (lambda x: (x.sum(1), x.logsumexp(1)), lambda: (floats(5, 503, 77),)),
    "rows": (
        lambda x: (x.softmax(-1), F.layer_norm(x, (777,)), x.cumsum(1), x.cumsum(0), x.topk(5, -1)[0]),
        lambda: (floats(253, 777),),
    ),
    "attention": (
        lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True),
        lambda: (floats(2, 3, 131, 24),),
    ),
    "gathering": (
        lambda x, i, y: (x.index_add(0, i, y), F.embedding(i, x).sum(0)),
        lambda: (floats(97, 33), indices(97, 2003), floats(2003, 33)),
    ),
    "convolution": (
        lambda x, w: F.conv2d(x, w, padding=1),
        lambda: (floats(3, 17, 29, 31), floats(19, 17, 3, 3)),
    ),
    "convolutions of small images": (
        lambda x, w, v: (F.conv2d(x, w, padding=2), F.conv_transpose2d(x, v, stride=2), F.conv2d(x, w, padding=1)),
        lambda: (floats(37, 300, 2, 2), floats(70, 300, 3, 3), floats(300, 41, 2, 2)),
    ),
}


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = ingot.get_num_threads()
    yield
    ingot.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_bit_by_bit(name: str) -> None:
    function, make = CASES[name]
    arguments = make()
    compiled = jit.trace(function, arguments, check_trace=False)
    results = []
    for threads in (1, 2, 3, 5):
        ingot.set_num_threads(threads)
        value = compiled(*arguments)
        results.append([t.numpy().tobytes() for t in (value if isinstance(value, tuple) else (value,))])
    assert all(result == results[0] for result in results)


@pytest.mark.slow
def test_gradients_bit_by_bit() -> None:
    layer = ingot.nn.Sequential(
        ingot.nn.Linear(129, 257), ingot.nn.GELU(), ingot.nn.LayerNorm(257), ingot.nn.Linear(257, 31)
    )
    compiled = jit.trace(layer, floats(391, 129), check_trace=False)
    results = []
    for threads in (1, 2, 3):
        ingot.set_num_threads(threads)
        layer.zero_grad()
        compiled(floats(391, 129)).square().sum().backward()
        results.append([p.grad.numpy().tobytes() for p in layer.parameters()])
    assert results[0] == results[1] == results[2]
