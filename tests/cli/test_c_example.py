"""The C example of the documentation, built and run as its comment says, through the command line."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ingot import runtime
from ingot.cli import main

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "c"


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model.py", "predict.c"):
        shutil.copy(EXAMPLE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^ {7}(\S.*)$", (EXAMPLE / "predict.c").read_text().split("*/")[0], re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["ingot", "ingot", "cc", "./predict"]
    for command in commands[:2]:
        assert main(command.replace("'", "").split()[1:]) == 0
    subprocess.run(commands[2], shell=True, check=True)
    printed = subprocess.run(commands[3], shell=True, check=True, capture_output=True, text=True).stdout
    image, row, column = np.indices((3, 8, 8))
    images = ((image + row * column) % 5 / 4).astype(np.float32)
    expected = runtime.load("classifier.ingot")(images)
    np.testing.assert_allclose(np.array(printed.split(), float).reshape(3, 10), expected, atol=6e-5)
