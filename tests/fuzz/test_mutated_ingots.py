"""No damage to a file crashes a load, hangs it, exhausts memory, or gets anything but a LoadError.

`INGOT_FUZZ_MUTATIONS` is how many files are damaged in the long run (20000, 45 s of one core), `INGOT_FUZZ_SEED` the
first of their numbers. A number that failed is tried again with `fuzz_worker.py report.json NUMBER 1 FILE...`.
"""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ingot
import pytest
from ingot import jit, nn

MUTATIONS = int(os.environ.get("INGOT_FUZZ_MUTATIONS", "20000"))
A_FEW = 1000
SEED = int(os.environ.get("INGOT_FUZZ_SEED", "0"))
WORKERS = 2

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers and resource limits are POSIX's")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return self.fc(self.conv(x).relu().flatten(1)).softmax(-1)


def search(values: list[float], limit: float, steps: int) -> tuple[list[float], int]:
    found: list[float] = []
    i = 0
    while i < steps:
        for value in values:
            if value > limit:
                found.append(value * 2)
            elif value < 0:
                raise ValueError("negative")
        i += 1
    return found, i


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(3, 3)
        self.again = self.part
        self.normal = nn.BatchNorm1d(3)
        self.options = {"scale": [1.0, None], "name": "gate"}

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return self.again(x) if self.training else self.normal(self.part(x))

    @jit.export
    def sizes(self, x: ingot.Tensor) -> tuple[int, ingot.Tensor]:
        return x.shape[0], self.part.weight.sum()


def count(words: list[str], known: dict[str, int]) -> dict[str, int]:
    for word in words:
        if word in known:
            known[word] += 1
        elif word != "":
            known[word.upper()] = len(word)
    return known


def combine(x: ingot.Tensor, parts: dict[str, ingot.Tensor], scale: float = 2.0) -> dict[str, ingot.Tensor]:
    y = ingot.cat([x, parts["left"] * scale], 0)
    return {"sum": y.sum(0), "top": y.max(dim=1)[0], "x": x.reshape(-1)[1:]}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("originals")
    ingot.manual_seed(0)
    net = jit.trace(Net().eval(), ingot.randn(2, 1, 4, 4))
    scripted = jit.script(search)
    scripted.graph_for([1.0], 0.5, 2)
    traced = jit.trace(combine, (ingot.ones(2, 3), {"left": ingot.ones(4, 3)}))
    traced.save(folder / "traced.ingot", metadata={"a": "b"}, _extra_files={"notes.txt": "hello"})
    net.save(folder / "net.ingot")
    net.save(folder / "graphs.ingot", native=False)
    scripted.save(folder / "scripted.ingot", native=False)
    words = jit.script(count)
    words.graph_for(["a"], {"b": 1})
    words.save(folder / "words.ingot", native=False)
    module = jit.script(Gate().eval())
    module.graph_for(ingot.ones(2, 3))
    module.sizes.graph_for(ingot.ones(2, 3))
    module.save(folder / "module.ingot", native=False)
    return sorted(folder.iterdir())


def run(first: int, count: int, originals: list[Path], report: Path) -> dict[str, Any]:
    """The report of a worker process."""
    worker = Path(__file__).with_name("fuzz_worker.py")
    command = [sys.executable, str(worker), str(report), str(first), str(count), *map(str, originals)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=report.parent, timeout=60 + count)
    last = report.with_suffix(".current").read_text().strip()
    assert process.returncode == 0, f"mutation {last} ended the process: {process.stderr[-2000:]}"
    outcomes: dict[str, Any] = json.loads(report.read_text())
    return outcomes


@pytest.mark.parametrize(
    ("first", "count"), [(SEED, A_FEW), pytest.param(SEED + A_FEW, MUTATIONS, marks=pytest.mark.slow)]
)
def test_damaged_files_are_refused(originals: list[Path], tmp_path: Path, first: int, count: int) -> None:
    share = -(-count // WORKERS)
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = [
            pool.submit(run, first + index * share, share, originals, tmp_path / f"{index}") for index in range(WORKERS)
        ]
    reports = [run.result() for run in runs]
    wrong = [f"{w['seed']} of {w['file']}: {w['outcome']}" for report in reports for w in report["wrong"]]
    assert not wrong, "\n".join(wrong[:5])
    loaded, refused = (sum(report[outcome] for report in reports) for outcome in ("loaded", "refused"))
    assert loaded + refused == share * WORKERS
    # Damage that nothing notices (a comment, a date) is rare, and damage that everything notices tests nothing.
    assert refused > loaded > 0
