"""Eager operations beside PyTorch's: the overhead of small ones, the throughput of large ones, a training step.

Run with `python -m benchmarks.eager`; `--only add` runs the rows whose name contains the text.
"""

import argparse
from collections.abc import Callable
from typing import Any

import ingot
import numpy as np

from .measure import compare, require_same

try:
    import torch
except ImportError:  # without the peer only Ingot's own figures are shown
    torch = None  # type: ignore[assignment]

# Name, the digits' arrays, and the work on tensors of them.
Row = tuple[str, tuple[Any, ...], Callable[..., Any]]


def _array(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random(shape, dtype=np.float32) + 0.5


def chain(x: Any, y: Any) -> Any:
    """Ten operations."""
    return ((((x + y) * x - y) / x + 1.0) * 0.5 + x).exp().sqrt() * y


def add_in_place(x: Any, y: Any) -> Any:
    """An in-place sum; the values stay small."""
    return x.add_(y).sub_(y)


def rows_of_matrix(x: Any) -> Any:
    """Indexing and a view."""
    return x[1:].t()


def gradient(x: Any, y: Any) -> Any:
    """A small graph and its backward."""
    w = x.detach().requires_grad_()
    ((w * y + y) * w).sum().backward()
    return w.grad


def with_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """The gradients of a function's operands, one after another in one row, for a gradient that is its result."""

    def work(*operands: Any) -> Any:
        leaves = [x.detach().requires_grad_() for x in operands]
        result = function(*leaves)
        result.backward(result.detach())
        return _library(result).cat([x.grad.reshape(-1) for x in leaves])

    return work


def _functional(x: Any) -> Any:
    return _library(x).nn.functional


def convolution(x: Any, weight: Any, bias: Any) -> Any:
    """3 x 3, inside a border."""
    return _functional(x).conv2d(x, weight, bias, padding=1)


def pooling(x: Any) -> Any:
    """The maximum of 2 x 2."""
    return _functional(x).max_pool2d(x, 2)


def batch_norm(x: Any, weight: Any, bias: Any) -> Any:
    """In training."""
    return _functional(x).batch_norm(x, None, None, weight, bias, training=True)


def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    """Over the last dimension."""
    return _functional(x).layer_norm(x, weight.shape, weight, bias)


_CONVOLUTION = (_array(64, 16, 8, 8), _array(32, 16, 3, 3, seed=1), _array(32, seed=2))
_LARGE_CONVOLUTION = (_array(8, 64, 56, 56), _array(64, 64, 3, 3, seed=1), _array(64, seed=2))
_NORMALISED = (_array(64, 32, 8, 8), _array(32, seed=1), _array(32, seed=2))

ROWS: list[Row] = [
    ("x + y, 10 elements", (_array(10), _array(10, seed=1)), lambda x, y: x + y),
    ("x * 2.0, 10 elements", (_array(10),), lambda x: x * 2.0),
    ("x.exp(), 10 elements", (_array(10),), lambda x: x.exp()),
    ("x.sum(), 10 elements", (_array(10),), lambda x: x.sum()),
    ("x > y, 10 elements", (_array(10), _array(10, seed=1)), lambda x, y: x > y),
    ("x.add_(y).sub_(y), 10 elements", (_array(10), _array(10, seed=1)), add_in_place),
    ("x[1:].t(), 10 x 3", (_array(10, 3),), rows_of_matrix),
    ("x.reshape(5, 2), 10 elements", (_array(10),), lambda x: x.reshape(5, 2)),
    ("x @ y, 4 x 4", (_array(4, 4), _array(4, 4, seed=1)), lambda x, y: x @ y),
    ("cat of two, 10 elements", (_array(10), _array(10, seed=1)), lambda x, y: _library(x).cat([x, y])),
    ("10-op chain, 10 elements", (_array(10), _array(10, seed=1)), chain),
    ("forward and backward of 4 ops, 10 elements", (_array(10), _array(10, seed=1)), gradient),
    ("exp, 4 million elements", (_array(4_000_000),), lambda x: x.exp()),
    ("x + y, 4 million elements", (_array(4_000_000), _array(4_000_000, seed=1)), lambda x, y: x + y),
    ("sum, 4 million elements", (_array(4_000_000),), lambda x: x.sum()),
    ("sum over rows, 2000 x 2000", (_array(2000, 2000),), lambda x: x.sum(1)),
    ("tanh, 1 million elements", (_array(1_000_000),), lambda x: x.tanh()),
    ("softmax, 1000 x 1000", (_array(1000, 1000),), lambda x: x.softmax(-1)),
    ("softmax and its gradient, 1000 x 1000", (_array(1000, 1000),), with_gradients(lambda x: x.softmax(-1))),
    ("layer norm, 1000 x 1000", (_array(1000, 1000), _array(1000, seed=1), _array(1000, seed=2)), layer_norm),
    (
        "layer norm and gradients, 1000 x 1000",
        (_array(1000, 1000), _array(1000, seed=1), _array(1000, seed=2)),
        with_gradients(layer_norm),
    ),
    ("conv2d, 64 x 16 x 8 x 8 to 32", _CONVOLUTION, convolution),
    ("conv2d and gradients, 64 x 16 x 8 x 8 to 32", _CONVOLUTION, with_gradients(convolution)),
    ("conv2d, 8 x 64 x 56 x 56 to 64", _LARGE_CONVOLUTION, convolution),
    ("conv2d and gradients, 8 x 64 x 56 x 56 to 64", _LARGE_CONVOLUTION, with_gradients(convolution)),
    ("max_pool2d, 64 x 32 x 8 x 8", (_array(64, 32, 8, 8),), pooling),
    ("max_pool2d and gradient, 64 x 32 x 8 x 8", (_array(64, 32, 8, 8),), with_gradients(pooling)),
    ("batch norm, 64 x 32 x 8 x 8", _NORMALISED, batch_norm),
    ("batch norm and gradients, 64 x 32 x 8 x 8", _NORMALISED, with_gradients(batch_norm)),
    ("matmul, 512 x 512", (_array(512, 512), _array(512, 512, seed=1)), lambda x, y: x @ y),
    ("matmul, 1024 x 1024", (_array(1024, 1024), _array(1024, 1024, seed=1)), lambda x, y: x @ y),
]


def _library(x: Any) -> Any:
    return ingot if isinstance(x, ingot.Tensor) else torch


def run_row(row: Row) -> str:
    """One line of the table: medians of interleaved rounds."""
    name, arrays, work = row
    candidates: dict[str, Callable[[], Any]] = {}
    results = {}
    for who, library in (("ingot", ingot), ("torch", torch)):
        if library is None:
            continue
        tensors = [library.from_numpy(a.copy()) for a in arrays]
        results[who] = work(*tensors).numpy()
        candidates[who] = lambda tensors=tensors: work(*tensors)
    require_same(name, results, 1e-3)
    return _line(name, compare(candidates))


def training_step(library: Any, inputs: Any, labels: Any) -> Callable[[], Any]:
    """One step of Adam on the digits CNN of the quickstart, at batch 64."""
    nn = library.nn
    functional = nn.functional
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimiser = library.optim.Adam(model.parameters(), lr=1e-3)
    x, y = library.from_numpy(inputs), library.from_numpy(labels)

    def step() -> Any:
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        return loss

    return step


def run_training() -> str:
    """The training step's line."""
    generator = np.random.default_rng(0)
    inputs = generator.random((64, 1, 8, 8), dtype=np.float32)
    labels = generator.integers(0, 10, 64)
    libraries = [("ingot", ingot)] + ([("torch", torch)] if torch is not None else [])
    return _line(
        "training step, digits CNN, batch 64",
        compare({who: training_step(library, inputs, labels) for who, library in libraries}, seconds=3.0),
    )


def _line(name: str, times: dict[str, float]) -> str:
    theirs = times.get("torch")
    text = f"{name:<46} {times['ingot']:12,.2f}"
    return text if theirs is None else f"{text} {theirs:12,.2f} {times['ingot'] / theirs:8.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the rows whose name contains this")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    ingot.set_num_threads(arguments.threads)
    if torch is not None:
        torch.set_num_threads(arguments.threads)
    print(f"{'microseconds':<46} {'ingot':>12} {'torch':>12} {'ratio':>8}")
    for row in ROWS:
        if arguments.only in row[0]:
            print(run_row(row), flush=True)
    if arguments.only in "training step, digits CNN, batch 64":
        print(run_training())


if __name__ == "__main__":
    main()
