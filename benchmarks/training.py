"""Training the digits CNN: seconds per epoch of Ingot, eager and compiled, and of PyTorch, side by side.

Run `python -m benchmarks.training [EPOCHS]`. Each epoch of each is timed in turn, and the median is reported.
"""

import sys
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import ingot
import numpy as np
from ingot import train

BATCH = 64
EXAMPLES = 1280


def make_model(nn: Any) -> Any:
    """Two convolutions with batch norm and two linear layers: (N, 1, 8, 8) -> (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def batches(library: Any) -> list[tuple[Any, Any]]:
    generator = np.random.default_rng(0)
    images = generator.random((EXAMPLES, 1, 8, 8)).astype("float32")
    labels = generator.integers(0, 10, EXAMPLES)
    starts = range(0, EXAMPLES, BATCH)
    return [(library.from_numpy(images[i : i + BATCH]), library.from_numpy(labels[i : i + BATCH])) for i in starts]


def torch_epoch() -> Callable[[], None]:
    import torch

    model = make_model(torch.nn)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = torch.nn.CrossEntropyLoss()
    data = batches(torch)

    def epoch() -> None:
        for inputs, targets in data:
            optimizer.zero_grad()
            value = loss(model(inputs), targets)
            value.backward()
            optimizer.step()
            value.item()

    return epoch


def ingot_epoch(compiled: bool) -> Callable[[], None]:
    model = make_model(ingot.nn)
    optimizer = ingot.optim.AdamW(model.parameters(), lr=1e-3)
    trainer = train.Trainer(model, optimizer, ingot.nn.CrossEntropyLoss(), compile=compiled)
    data = batches(ingot)
    return lambda: trainer.fit(data, epochs=trainer.epoch + 1) and None


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    runs = {"ingot eager": ingot_epoch(False), "ingot compiled": ingot_epoch(True)}
    try:
        runs["pytorch eager"] = torch_epoch()
    except ImportError:
        warnings.warn("PyTorch is not installed: there is nothing to compare with", stacklevel=1)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(epochs + 1):  # the first one warms up
        for name, epoch in runs.items():
            time.sleep(0.2)  # threads of the one before may still spin
            begin = time.perf_counter()
            epoch()
            times[name].append(time.perf_counter() - begin)
    for name, values in times.items():
        print(f"{name:16} {1e3 * median(values[1:]):8.1f} ms per epoch   (first: {values[0]:.2f} s)")


if __name__ == "__main__":
    main()
