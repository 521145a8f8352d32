"""Saving is all or nothing, also when the process is killed or the disk is full; old formats stay readable."""

import os
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from pathlib import Path

import ingot
import numpy as np
import pytest
from ingot import jit, runtime

resource = pytest.importorskip("resource", reason="resource limits are POSIX's")

STORED = Path(__file__).with_name("data")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.ingot"
    jit.trace(lambda x: x * 2 + 1, ingot.ones(3)).save(path)
    return path


def leftovers(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if p != path)


def test_saving_over_the_file_that_is_mapped(saved: Path) -> None:
    weights = np.arange(4096, dtype=np.float32)
    jit.trace(lambda x: x + ingot.from_numpy(weights), ingot.ones(4096), on_bake="ignore").save(saved)
    first = jit.load(saved)
    model = runtime.load(saved)
    jit.save(first, saved)  # weights come out of the very file that is replaced
    jit.trace(lambda x: x * 0, ingot.ones(4096), on_bake="ignore").save(saved)
    np.testing.assert_array_equal(first(ingot.ones(4096)).numpy(), weights + 1)
    np.testing.assert_array_equal(model(np.ones(4096, np.float32)), weights + 1)
    assert runtime.load(saved)(np.ones(4096, np.float32)).sum() == 0
    assert leftovers(saved) == []


KILLED = """
import sys
from ingot import jit
function = jit.load(sys.argv[1])
print("ready", flush=True)
while True:
    function.save(sys.argv[2], metadata={"big": "x" * 5_000_000})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_while_saving(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.ingot"
    target.write_bytes(saved.read_bytes())
    for delay in (0.0, 0.03, 0.11):
        command = [sys.executable, "-c", KILLED, str(saved), str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        assert jit.load(target)(ingot.ones(2)).tolist() == [3, 3]


FULL = """
import resource, signal, sys
from ingot import jit
function = jit.load(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # as on a full disk, writing more fails
try:
    function.save(sys.argv[1], metadata={"new": "yes"})
except OSError:
    sys.exit(7)
"""


def test_a_full_disk(saved: Path) -> None:
    before = saved.read_bytes()
    assert subprocess.run([sys.executable, "-c", FULL, str(saved)]).returncode == 7
    assert saved.read_bytes() == before and leftovers(saved) == []


def test_a_folder_that_cannot_be_written(saved: Path) -> None:
    with pytest.raises(OSError):
        jit.load(saved).save(saved.parent / "missing" / "x.ingot")


def test_claims_of_size_allocate_nothing(saved: Path) -> None:
    """A part that says it is huge is refused before memory is asked for."""
    content = bytearray(saved.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 20 : at + 28] = b"\xf0\xff\xff\x7f" * 2
    saved.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(jit.LoadError):
        jit.load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


class TestFormat1:
    """The file was written by version 0.1.0; every later version reads it."""

    def test_it_loads_and_runs(self) -> None:
        extra = {"labels.txt": ""}
        loaded = jit.load(STORED / "format1.ingot", _extra_files=extra)
        assert loaded.metadata == {"author": "tests"} and extra == {"labels.txt": b"a b"}
        with jit.executor("interpreter"):
            result, scale = loaded(ingot.ones(1, 3))
            assert result.tolist() == [[13.0, -1.0]] and scale == 2.0
            assert loaded(ingot.ones(1, 3), 0.5)[0].tolist() == [[6.5, -0.5]]

    def test_its_errors_point_at_the_source_it_came_from(self) -> None:
        text = str(jit.load(STORED / "format1.ingot").graph)
        assert "linear(" in text and "if(" in text


class TestFormat2:
    """The file was written by version 0.1.0, the first with modules in files; every later version reads it."""

    def test_it_loads_and_runs(self) -> None:
        extra = {"labels.txt": ""}
        loaded = jit.load(STORED / "format2.ingot", _extra_files=extra)
        assert loaded.metadata == {"author": "tests"} and extra == {"labels.txt": b"a b"}
        assert loaded.labels == ["first", "second"] and loaded.tied is loaded.weight and not loaded.training
        assert list(loaded.state_dict()) == ["weight", "tied", "seen", "part.offset"]
        with jit.executor("interpreter"):
            assert loaded(ingot.ones(1, 3)).tolist() == [[22.0, -11.0]]
            assert loaded.train()(ingot.ones(1, 3)).tolist() == [[12.0, -1.0]]
            rows, total = loaded.sizes(ingot.ones(4, 3))
            assert (rows, total.item()) == (4, 5.5)

    def test_its_errors_point_at_the_source_it_came_from(self) -> None:
        loaded = jit.load(STORED / "format2.ingot")
        line = 'raise ValueError("too large")'
        with jit.executor("interpreter"), pytest.raises(ValueError, match="too large") as caught:
            loaded(ingot.ones(1, 3), 1.0)
        assert any("model.py:21:" in note and line in note for note in caught.value.__notes__)
        with jit.executor("python"), ingot.no_grad(), pytest.raises(ValueError, match="too large") as caught:
            loaded(ingot.ones(1, 3), 1.0)
        last = traceback.extract_tb(caught.value.__traceback__)[-1]
        assert (last.filename, last.lineno, last.name, last.line) == ("model.py", 21, "Scaler.forward", line)

    def test_a_later_format_is_refused(self, tmp_path: Path) -> None:
        with (
            zipfile.ZipFile(STORED / "format2.ingot") as source,
            zipfile.ZipFile(tmp_path / "later.ingot", "w") as copy,
        ):
            for name in source.namelist():
                copy.writestr(name, source.read(name).replace(b'"format": 2', b'"format": 3'))
        with pytest.raises(jit.LoadError, match=r"the format version is 3, .*: upgrade Ingot"):
            jit.load(tmp_path / "later.ingot")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_processes_share_the_weights(tmp_path: Path) -> None:
    """The memory of weights is the file's: what the kernel counts as private stays small."""
    big = np.ones(4 << 20, np.float32)
    path = tmp_path / "big.ingot"
    jit.trace(lambda x: x + ingot.from_numpy(big), ingot.ones(1), on_bake="ignore").save(path, native=False)
    loaded = jit.load(path)
    constant = next(i for i in loaded.graph.walk() if i.op.name == "constant").attributes["value"].data
    assert constant.nbytes == big.nbytes and float(constant.sum()) == big.size
    address = constant.__array_interface__["data"][0]
    for block in Path("/proc/self/smaps").read_text().split("VmFlags")[:-1] if sys.platform == "linux" else []:
        lines = block.strip().splitlines()
        start = next(line for line in lines if "-" in line.split()[0] and not line[0].isupper())
        low, high = (int(part, 16) for part in start.split()[0].split("-"))
        if low <= address < high:
            dirty = next(line for line in lines if line.startswith("Private_Dirty:"))
            assert int(dirty.split()[1]) * 1024 < big.nbytes // 10
            return
    assert sys.platform != "linux", "the weights are in no mapping of the process"
