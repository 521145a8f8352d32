"""The `ingot` command: what each prints and writes, exit codes, and errors in one line."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingot.cli import main

MODEL = """
from ingot import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x).relu()


def collatz(n: int) -> int:
    steps = 0
    while n != 1:
        if n <= 0:
            raise ValueError("n must be positive")
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def pair(x, factor: float):
    return {"scaled": x * factor, "count": 2}


constant = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source file and what `ingot compile` makes of it."""
    folder = tmp_path_factory.mktemp("command")
    source = folder / "model.py"
    source.write_text(MODEL)
    for name, examples in (("Net", ["f32[2,4]"]), ("collatz", ["5"]), ("pair", ["f32[3]", "2.0"])):
        options = [item for example in examples for item in ("--example", example)]
        assert main(["compile", f"{source}:{name}", "--output", str(folder / f"{name}.ingot"), *options]) == 0
    np.save(folder / "x.npy", np.arange(8, dtype=np.float32).reshape(2, 4))
    return folder


@pytest.fixture
def ingot(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command; names of files that exist in the folder stand for their paths."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(folder / a) if (folder / a).exists() else a for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


Run = Callable[..., tuple[int, str, str]]


class TestRun:
    def test_numbers(self, ingot: Run) -> None:
        assert ingot("run", "collatz.ingot", "--input", "27") == (0, "111\n", "")

    def test_json(self, ingot: Run) -> None:
        code, out, _ = ingot("run", "pair.ingot", "-i", "[1, 2.5]", "-i", "2", "--json")
        assert code == 0
        assert json.loads(out)["result"] == {"scaled": [2.0, 5.0], "count": 2}

    def test_arguments_by_name(self, ingot: Run) -> None:
        code, out, _ = ingot("run", "pair.ingot", "-i", "factor=3.0", "-i", "x=[1]", "--json")
        assert code == 0 and json.loads(out)["result"]["scaled"] == [3.0]

    def test_files(self, ingot: Run, folder: Path) -> None:
        output = folder / "y.npy"
        code, _, _ = ingot("run", "Net.ingot", "-i", "x.npy", "-o", str(output))
        assert code == 0
        written = np.load(output)
        assert written.dtype == np.float32 and written.shape == (2, 3)
        again = folder / "y.json"
        assert ingot("run", "Net.ingot", "-i", "x.npy", "-o", str(again))[0] == 0
        np.testing.assert_allclose(json.loads(again.read_text()), written, rtol=1e-6)

    def test_named_arrays(self, ingot: Run, folder: Path) -> None:
        np.savez(folder / "named.npz", x=np.ones(2, np.float32))
        code, out, _ = ingot("run", "pair.ingot", "-i", "named.npz", "-i", "factor=2.0", "--json")
        assert code == 0 and json.loads(out)["result"]["scaled"] == [2.0, 2.0]

    def test_standard_input(self, ingot: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("[[1, 2, 3, 4]]"))
        code, out, _ = ingot("run", "Net.ingot", "-i", "-", "--json")
        assert code == 0 and np.shape(json.loads(out)["result"]) == (1, 3)

    def test_all_results_in_one_archive(self, ingot: Run, folder: Path) -> None:
        output = folder / "all.npz"
        assert ingot("run", "pair.ingot", "-i", "[1]", "-i", "2", "-o", str(output))[0] == 0
        with np.load(output) as archive:
            assert archive["output0"].tolist() == [2.0] and archive["output1"] == 2


# arguments, exit code, what the one line says
BAD = [
    (["run", "collatz.ingot", "-i", "-3"], 1, "ValueError: n must be positive"),
    (["run", "Net.ingot", "-i", "[[1, 2]]"], 1, "size 1 of x is 2, expected 4"),
    (["run", "Net.ingot"], 2, "missing a required argument: 'x'"),
    (["run", "collatz.ingot", "-i", "[1]"], 2, "no program for"),
    (["run", "Net.ingot", "-i", "[[1], [2, 3]]"], 2, "lists of equal lengths"),
    (["run", "missing.ingot"], 2, "No such file"),
    (["run", "x.npy"], 2, "not an ingot"),
    (["run", "model.py"], 2, "not an ingot"),
    (["run", "Net.ingot", "-i", "missing.npy"], 2, "No such file"),
    (["run", "Net.ingot", "-i", "{"], 2, "not JSON"),
    (["run", "Net.ingot", "-i", "x.npy", "-o", "y.txt"], 2, "must end in .npy"),
    (["run", "pair.ingot", "-i", "[1]", "-i", "2", "-o", "a.npy"], 2, "1 --output files were given for 2 results"),
    (["inspect", "missing.ingot"], 2, "No such file"),
    (["show", "x.npy"], 2, "not an ingot"),
    (["bench", "Net.ingot", "--size", "n"], 2, "--size n"),
    (["bench", "Net.ingot", "--seconds", "-1"], 2, "positive"),
    (["bench", "Net.ingot", "--against", "missing.onnx"], 2, "no such file"),
    (["compile", "model.py", "-o", "z.ingot"], 2, "name what to compile"),
    (["compile", "model.txt:f", "-o", "z.ingot"], 2, "expected FILE.py:NAME"),
    (["cache", "info", "Net.ingot"], 2, "takes no models"),
    (["cache", "warm"], 2, "give the models"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_input_is_one_line(ingot: Run, arguments: list[str], code: int, message: str) -> None:
    given, out, err = ingot(*arguments)
    assert given == code
    assert out == "" and err.startswith("ingot: ") and err.count("\n") == 1 and message in err
    given, out, _ = ingot(*arguments, "--json")
    assert given == code
    data = json.loads(out)
    assert message in data["error"] and data["exit_code"] == code


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nope", [], "has no nope"),
        ("constant", [], "cannot be compiled"),
        ("Net", [], "give an example of each argument"),
        ("Net", ["-e", "f99[2]"], "not a dtype"),
        ("Net", ["-e", "hello"], "expected dtype and sizes"),
        ("Net", ["-e", "f32[2,4]", "-t", "pdp11"], "not the name of a CPU"),
    ],
)
def test_what_compile_refuses(folder: Path, ingot: Run, name: str, options: list[str], message: str) -> None:
    code, _, err = ingot("compile", f"{folder / 'model.py'}:{name}", "-o", str(folder / "z.ingot"), *options)
    assert code == 2 and message in err and err.count("\n") == 1
    assert not (folder / "z.ingot").exists()


def test_usage_errors(ingot: Run) -> None:
    for arguments in ([], ["fly"], ["run"], ["cache", "fly"], ["run", "Net.ingot", "--nope"]):
        code, out, err = ingot(*arguments)
        assert code == 2 and out == "" and err.count("\n") == 1 and "--help" in err
    code, out, err = ingot("run", "--json")
    assert code == 2 and json.loads(out)["exit_code"] == 2 and "MODEL" in json.loads(out)["error"]


def test_help_and_version(ingot: Run) -> None:
    code, out, _ = ingot("--help")
    assert code == 0 and "export-c" in out and "doctor" in out
    assert ingot("--version")[:2] == (0, "ingot 0.1.0\n")


def test_inspect(ingot: Run) -> None:
    code, out, _ = ingot("inspect", "Net.ingot")
    assert code == 0 and "graph      (x: f32[" in out and "compiled by you, used" in out
    data = json.loads(ingot("inspect", "Net.ingot", "--json")[1])
    assert data["name"] == "Net" and data["signature"] == "(x)"
    assert [w["shape"] for w in data["weights"]] == [[3, 4], [3]]
    (code_part,) = data["machine_code"]
    assert code_part["runs_here"] and code_part["signed_by_you"] and code_part["bytes"] > 0


def test_inspect_says_that_others_compiled_it(ingot: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "elsewhere"))
    code, out, _ = ingot("inspect", "Net.ingot")
    assert code == 0 and "compiled by somebody else" in out


def test_show(ingot: Run, folder: Path) -> None:
    code, out, _ = ingot("show", "Net.ingot", "--kernels")
    assert code == 0 and out.startswith("graph @Net(") and "@kernel" in out
    data = json.loads(ingot("show", "collatz.ingot", "--json")[1])
    assert "loop" in data["graphs"][0]
    page = folder / "page.html"
    assert ingot("show", "pair.ingot", "--html", str(page))[0] == 0
    text = page.read_text()
    assert "<svg" in text and text.count("<rect") >= 4 and "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_pages_escape_what_files_say() -> None:
    from ingot import ir
    from ingot.ir.drawing import graph_page

    builder = ir.Builder("<script>alert(1)</script>")
    builder.return_([builder.argument('"><img src=x>', ir.TensorType(ir.dtypes.float32, (2,)))])
    page = graph_page("<b>", [builder.finish()], "</pre><script>")
    assert "<script" not in page and "<img" not in page and "<b>" not in page


def test_bench(ingot: Run) -> None:
    code, out, _ = ingot("bench", "Net.ingot", "--size", "s0=5", "--seconds", "0.01")
    assert code == 0 and "float32[5, 4]" in out and "per call" in out
    data = json.loads(ingot("bench", "collatz.ingot", "-i", "27", "--seconds", "0.01", "--json")[1])
    assert data["call_us"]["ingot"] > 0


def test_doctor(ingot: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = ingot("doctor")
    assert code == 0 and out.rstrip().endswith("all is well")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("INGOT_CACHE_DIR", str(shared))
    code, out, _ = ingot("doctor", "--json")
    assert code == 1 and any("can be written by other users" in problem for problem in json.loads(out)["problems"])


def test_cache(ingot: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))
    assert json.loads(ingot("cache", "info", "--json")[1])["entries"] == 0
    # The file was signed with another key, so its code is compiled into the new cache.
    code, out, _ = ingot("cache", "warm", "pair.ingot", "--json")
    assert code == 0 and json.loads(out)["graphs"][0]["native"]
    entries = json.loads(ingot("cache", "info", "--json")[1])["entries"]
    assert entries > 0
    assert json.loads(ingot("cache", "clear", "--json")[1]) == {"removed": entries}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(ingot: Run, shell: str) -> None:
    code, script, _ = ingot("completion", shell)
    assert code == 0 and "export-c" in script and "trust" in script
    if shell == "bash" and os.path.exists("/bin/bash"):
        assert subprocess.run(["/bin/bash", "-n"], input=script, text=True).returncode == 0


def test_as_a_process(folder: Path) -> None:
    def run(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "ingot", *arguments]
        return subprocess.run(command, text=True, timeout=60, capture_output=True, **options)

    result = run("run", str(folder / "collatz.ingot"), "-i", "27")
    assert (result.returncode, result.stdout, result.stderr) == (0, "111\n", "")
    # A reader that goes away is no error.
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [sys.executable, "-m", "ingot", "show", str(folder / "Net.ingot")]
        process = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (process.returncode, process.stderr) == (0, "")


METHODS = """
from ingot import jit, nn


class Chooser(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x) if self.training else x * 2

    @jit.export
    def shift(self, x, by: float = 1.0):
        return x + by


module = jit.script(Chooser().eval())
import ingot
module.shift.graph_for(ingot.ones(2))
"""


def test_methods_and_modes(folder: Path, ingot: Run) -> None:
    (folder / "methods.py").write_text(METHODS)
    assert ingot("compile", f"{folder / 'methods.py'}:module", "-o", "methods.ingot", "-e", "f32[1,2]")[0] == 0
    assert ingot("run", "methods.ingot", "-i", "[[1, 2]]")[1].endswith("[[2. 4.]]\n")
    assert ingot("run", "methods.ingot", "--method", "shift", "-i", "[1, 2]", "-i", "0.5")[1].endswith("[1.5 2.5]\n")
    code, _, err = ingot("run", "methods.ingot", "--method", "nope", "-i", "[1]")
    assert code == 2 and err == "ingot: --method nope: the model has forward, shift\n"
    out = ingot("inspect", "methods.ingot")[1]
    assert "where training is True" in out and "where training is False" in out and "graph      shift(" in out


def test_what_files_say_is_no_command_to_the_terminal(folder: Path, ingot: Run) -> None:
    from ingot import jit

    jit.save(jit.load(folder / "pair.ingot"), folder / "loud.ingot", metadata={"note": "\x1b[2J\x07bell"}, native=False)
    code, out, _ = ingot("inspect", "loud.ingot")
    assert code == 0 and "\x1b" not in out and "\x07" not in out and "\\x1b[2J" in out


def test_onnx_models_need_no_examples(folder: Path, ingot: Run) -> None:
    onnx = pytest.importorskip("onnx", reason="reads an ONNX model")
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", kinds.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", kinds.FLOAT, ["n", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    assert ingot("compile", str(folder / "m.onnx"), "-o", "onnx.ingot")[0] == 0
    assert ingot("run", "onnx.ingot", "-i", "[[1, 2, 3]]")[1].endswith("[[2. 4. 6.]]\n")
