"""The main job: train a small CNN on real scans of digits, compile it, save it, and use it in a fresh process.

Run it with `make demo`. It ends with a table of what was measured.
"""

import argparse
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import ingot
import numpy as np
from ingot import jit, nn
from ingot.nn import functional as F
from sklearn.datasets import load_digits
from tqdm import tqdm

PATH = Path("digits.ingot")


class DigitNet(nn.Module):
    """Two convolutions and two linear layers: (N, 1, 8, 8) scans -> (N, 10) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


def longest_collatz(limit: int) -> int:
    """The start below `limit` with the longest Collatz sequence."""
    best = 1
    longest = 0
    n = 1
    while n < limit:
        steps = 0
        k = n
        while k != 1:
            if k % 2 == 0:
                k = k // 2
            else:
                k = 3 * k + 1
            steps += 1
        if steps > longest:
            longest = steps
            best = n
        n += 1
    return best


def load_data() -> tuple[ingot.Tensor, ingot.Tensor, ingot.Tensor, ingot.Tensor]:
    """Training images and labels, test images and labels: 1,797 scans of 8x8, a fifth of them for the test."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[360:], order[:360]
    return (
        ingot.from_numpy(images[train]),
        ingot.from_numpy(digits.target[train].astype(np.int64)),
        ingot.from_numpy(images[test]),
        ingot.from_numpy(digits.target[test].astype(np.int64)),
    )


def train(model: nn.Module, images: ingot.Tensor, labels: ingot.Tensor, epochs: int) -> None:
    """Train eagerly with AdamW; the learning rate falls along half a cosine."""
    peak = 3e-3
    optimizer = ingot.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.05)
    batch = 64
    steps = epochs * -(-len(images) // batch)
    with tqdm(total=steps, desc="training", unit="step", file=sys.stdout, mininterval=0.5) as bar:
        for _ in range(epochs):
            order = ingot.randperm(len(images))
            for index in order.split(batch):
                optimizer.param_groups[0]["lr"] = peak * 0.5 * (1 + math.cos(math.pi * bar.n / steps))
                optimizer.zero_grad()
                loss = F.cross_entropy(model(images[index]), labels[index])
                loss.backward()
                optimizer.step()
                bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}")


def accuracy(predict: Callable[[ingot.Tensor], ingot.Tensor], images: ingot.Tensor, labels: ingot.Tensor) -> float:
    """The share of images whose highest score is their label."""
    with ingot.no_grad():
        return float((predict(images).argmax(1) == labels).float().mean().item())


def microseconds(function: Callable[..., Any], *arguments: Any, seconds: float = 0.5) -> float:
    """The median time of a call."""
    function(*arguments)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return median(times) * 1e6


def predict_in_a_fresh_process() -> None:
    """What the fresh process does: load the ingot, predict once, and say how long that took and how good it is."""
    start = time.perf_counter()
    model = jit.load(PATH)
    _, _, images, labels = load_data()
    model(images[:1])
    loaded = time.perf_counter() - start
    print(f"{accuracy(model, images, labels)} {loaded}")


def run_fresh_process() -> tuple[float, float]:
    """Accuracy in a fresh process, and the seconds from its start to its first prediction (without its data)."""
    code = (
        "import time; start = time.perf_counter()\n"
        "import numpy, ingot\n"
        f"model = ingot.jit.load({str(PATH)!r})\n"
        "model(ingot.zeros(1, 1, 8, 8))\n"
        "print(time.perf_counter() - start)"
    )
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    check = subprocess.run([sys.executable, __file__, "--predict"], check=True, capture_output=True, text=True)
    return float(check.stdout.split()[0]), seconds


def shortest_kernel(source: str) -> str:
    """The shortest kernel of a generated module: its body and the entry that reads its parameter table."""
    parts = source.split("\n\n\n")
    pairs = [
        f"{parts[i]}\n\n\n{parts[i + 1]}"
        for i in range(len(parts) - 1)
        if parts[i].startswith("@body") and "(p, lo, hi):" in parts[i + 1]
    ]
    return min(pairs, key=len)


def show_source(text: str, lines: int) -> None:
    """The first lines of a longer text."""
    shown = text.rstrip().split("\n")
    print("\n".join(f"    {line}" for line in shown[:lines]))
    if len(shown) > lines:
        print(f"    ... {len(shown) - lines} more lines")


def table(rows: list[tuple[str, str]]) -> None:
    """A table that a person can read."""
    width = max(len(name) for name, _ in rows)
    print(f"\n{'what':<{width}}   result\n{'-' * width}   {'-' * 40}")
    for name, value in rows:
        print(f"{name:<{width}}   {value}")


def main() -> None:
    """Train, compile, save, load and measure."""
    ingot.manual_seed(0)
    train_images, train_labels, test_images, test_labels = load_data()
    print(f"digits: {len(train_images)} training and {len(test_images)} test scans of 8x8 pixels\n")
    model = DigitNet()
    start = time.perf_counter()
    train(model, train_images, train_labels, epochs=25)
    training_seconds = time.perf_counter() - start
    model.eval()
    eager_accuracy = accuracy(model, test_images, test_labels)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a fallback or something baked in would be a warning
        traced = jit.freeze(jit.trace(model, test_images[:1]))
        scripted = jit.script(model)
        start = time.perf_counter()
        with ingot.no_grad():
            traced(test_images[:1])
        compile_seconds = time.perf_counter() - start
        traced_accuracy = accuracy(traced, test_images, test_labels)
        scripted_accuracy = accuracy(scripted, test_images, test_labels)

    print("\nIts graph:\n")
    show_source(str(traced.graph), 24)
    print("\nOne of its generated kernels:\n")
    show_source(shortest_kernel(traced.kernel_source()), 40)

    one, many = test_images[:1], train_images[:256]
    times: dict[str, float] = {}
    with ingot.no_grad(), jit.no_compile():  # a new batch size compiles nothing
        for name, batch in (("1", one), ("256", many)):
            times[f"eager {name}"] = microseconds(model, batch)
            times[f"native {name}"] = microseconds(traced, batch)

    traced.save(PATH)
    fresh_accuracy, fresh_seconds = run_fresh_process()

    limit = 20_000
    native_loop = jit.script(longest_collatz)
    native_loop(10)
    python_us = microseconds(longest_collatz, limit, seconds=0)
    native_us = microseconds(native_loop, limit, seconds=0.2)
    if native_loop(limit) != longest_collatz(limit):
        raise SystemExit("the compiled loop disagrees with Python")

    table(
        [
            ("test accuracy, eager", f"{eager_accuracy:.1%} after {training_seconds:.0f} s of training"),
            ("test accuracy, traced / scripted", f"{traced_accuracy:.1%} / {scripted_accuracy:.1%}"),
            ("first native call, compiling included", f"{compile_seconds * 1e3:.0f} ms"),
            *(
                (
                    f"forward, batch {n}",
                    f"eager {times[f'eager {n}']:,.0f} us, native {times[f'native {n}']:,.0f} us: "
                    f"{times[f'eager {n}'] / times[f'native {n}']:.1f}x",
                )
                for n in ("1", "256")
            ),
            (f"{PATH} ({PATH.stat().st_size / 1024:.0f} KiB), fresh process", f"accuracy {fresh_accuracy:.1%}"),
            ("  from its start to its first prediction", f"{fresh_seconds * 1e3:.0f} ms"),
            (
                "a scripted while loop",
                f"Python {python_us / 1e3:,.0f} ms, native {native_us / 1e3:,.2f} ms: {python_us / native_us:.0f}x",
            ),
        ]
    )
    if eager_accuracy < 0.97 or abs(fresh_accuracy - eager_accuracy) > 1e-9:
        raise SystemExit("the accuracy is below 97 %, or the loaded model disagrees with the trained one")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predict", action="store_true", help="load digits.ingot and print its accuracy")
    if parser.parse_args().predict:
        predict_in_a_fresh_process()
    else:
        main()
