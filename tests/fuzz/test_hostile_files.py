"""Files made to harm: none runs code, reads another file, or takes more memory or time than it may."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ingot
import pytest
from hostile_files import HARMLESS, hostile_files
from ingot import jit, runtime

WORKER = Path(__file__).parent / "fuzz_worker.py"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hostile")
    jit.trace(lambda x: x + 1, ingot.ones(3)).save(folder / "base.ingot", native=False)
    found = {}
    for index, (name, content) in enumerate(hostile_files((folder / "base.ingot").read_bytes()).items()):
        found[name] = folder / f"{index}.ingot"
        found[name].write_bytes(content)
    return found


@pytest.mark.parametrize("reader", ["jit", "runtime"])
def test_hostile_files(files: dict[str, Path], reader: str, tmp_path: Path) -> None:
    assert len(files) >= 50
    report = tmp_path / "report.json"
    # A warning is an error: the reader must not get as far as one.
    command = [sys.executable, "-W", "error", str(WORKER), "--files", str(report), reader, *map(str, files.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    outcomes = dict(zip(files, json.loads(report.read_text()), strict=True))
    expected = {name: "loaded" if name in HARMLESS else "refused" for name in files}
    assert outcomes == expected


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ingot")
    for path in (tmp_path / "pipe.ingot", tmp_path, Path("/dev/zero"), Path("/dev/null")):
        for load in (jit.load, runtime.load):
            with pytest.raises(jit.LoadError, match="not a file"):
                load(path)


def test_a_file_full_of_holes(tmp_path: Path) -> None:
    with open(tmp_path / "holes.ingot", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises((jit.LoadError, OSError)):
        jit.load(tmp_path / "holes.ingot")


def test_links_to_ingots_are_followed(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "link.ingot").symlink_to(files["comment"])
    assert jit.load(tmp_path / "link.ingot").graph is not None
