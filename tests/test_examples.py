"""The examples run, here with little to do, and print what a reader is told to expect."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("character_gru.py", ["--epochs", "1", "--rows", "64"], "bits each"),
        ("transformer_sort.py", ["--epochs", "1", "--rows", "256"], "of the places are right"),
        ("vae_digits.py", ["--epochs", "1"], "loss per image"),
        ("policy_gradient.py", ["--rounds", "2"], "of the games won"),
    ],
)
def test_an_example_runs(name: str, arguments: list[str], expected: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert expected in result.stdout


@pytest.mark.slow
def test_the_digits_example_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = []
    for epochs in ("1", "2"):
        command = [sys.executable, str(EXAMPLES / "digits_trainer.py"), "--epochs", epochs, "--directory", "run"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr[-2000:]
        assert f"{epochs} epochs; test accuracy" in result.stdout
        rows.append((tmp_path / "run" / "log.csv").read_text().splitlines())
    assert len(rows[1]) == 3 and rows[1][:2] == rows[0][:2]  # the first epoch was not trained again
    assert {"best.ckpt", "last.ckpt", "events"} <= {p.name for p in (tmp_path / "run").iterdir()}
