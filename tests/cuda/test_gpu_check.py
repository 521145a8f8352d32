"""`make gpu-check` as far as it goes without a GPU: rows that end their process or hang, reports, and its tables."""

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gpu_check
import ingot
import pytest
from device_cases import optimised, ptxas, real_kernels
from ingot.jit.codegen.cuda import frontend
from ingot.jit.codegen.cuda.programs import kernel_ptx

ROOT = Path(__file__).resolve().parents[2]
needs_nvvm = pytest.mark.skipif(bool(frontend.nvvm_problem()), reason=frontend.nvvm_problem() or "NVVM is here")


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def options(path: Path) -> argparse.Namespace:
    return argparse.Namespace(json=str(path), only="", simulate=False)


def test_a_row_that_ends_its_process_or_hangs_is_named_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, commands = tmp_path / "figures.json", []
    # What a process leaves in the file, and how it ends: by a signal, ended for its silence, by the device, well.
    runs = [
        ([{"row": "a"}, {"row": "b", "error": "the process ended"}], -11),
        ([{"row": "c", "error": "the process ended"}], None),
        ([{"row": "d", "error": "AcceleratorError: ..."}], 3),
        ([{"row": "e"}], 0),
    ]

    def limited(command: Any, inside: Any, seconds: float, idle: float = 0) -> tuple[int | None, str]:
        commands.append(list(map(str, command)))
        rows, status = runs[len(commands) - 1]
        known = gpu_check.rows_of(path)
        path.write_text(json.dumps({"device": "GPU", "versions": "1", "rows": known + rows}))
        return status, ""

    monkeypatch.setattr(gpu_check, "limited", limited)
    rows = gpu_check.figures(options(path), {}, time.monotonic() + 100)
    assert [r["row"] for r in rows] == list("abcde")
    assert rows[1]["error"] == "ended the process (status -11)" and rows[2]["error"] == "took too long"
    assert rows[3]["error"].startswith("AcceleratorError")
    assert ["--resume" in c for c in commands] == [False, True, True, True]
    assert "b" in capsys.readouterr().out


def test_a_benchmark_that_does_not_start_is_not_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(gpu_check, "limited", lambda *given, **_: (calls.append(given), (2, ""))[1])
    assert gpu_check.figures(options(tmp_path / "none.json"), {}, time.monotonic() + 100) == [] and len(calls) == 1
    assert gpu_check.figures(options(tmp_path / "none.json"), {}, time.monotonic()) == [] and len(calls) == 1


def test_commands_are_ended_when_they_are_silent_or_late() -> None:
    inside = dict(os.environ)
    talk = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
    assert gpu_check.limited(talk, inside, 30, idle=1.0) == (None, "begun\n")
    assert gpu_check.limited([sys.executable, "-c", "raise SystemExit(3)"], inside, 30) == (3, "")


@pytest.mark.slow
def test_all_of_it_goes_through_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    assert gpu_check.main(["--simulate", "--only", "sum of all", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert [r["row"] for r in found["rows"]] == ["sum of all, 2^26"] and "skipped" in found["tests"]
    assert "1 rows" in capsys.readouterr().out


def test_figures_become_a_section_of_the_documentation(benchmarks: Any, tmp_path: Path) -> None:
    row = {
        "row": "sum", "bound": 0.85, "milliseconds": {"ingot": 0.1, "copy": 0.09}, "host_microseconds": {"ingot": 12.0},
        "gigabytes_per_second": 2700.0, "against": "copy", "ratio": 0.9, "holds": True,
    }  # fmt: skip
    text = benchmarks("gpu").markdown(
        {"device": "A GPU", "versions": "v", "rows": [row, {"row": "softmax", "error": "RuntimeError: no"}]}
    )
    assert "| sum | 0.1000 | 12 | 2700 | copy | 0.0900 | 0.90 | >= 0.85 | reached |" in text
    assert "failed: RuntimeError: no" in text
    document = tmp_path / "gpu.md"
    document.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n")
    write = benchmarks("gpu_kernels").write_section
    write(text, "figures", document)
    assert document.read_text() == f"before\n<!-- figures -->\n{text}\n<!-- end of figures -->\nafter\n"
    with pytest.raises(ValueError, match="has no section 'kernels'"):
        write(text, "kernels", document)
    for name in ("figures", "kernels"):  # both are there, to be written into
        assert f"<!-- {name} -->" in (ROOT / "docs" / "gpu.md").read_text()


def test_occupancy_follows_from_registers_and_shared_memory(benchmarks: Any) -> None:
    module = benchmarks("gpu_kernels")
    a100, h100 = module.DEVICES

    def made(registers: int, shared: int) -> Any:
        return module.Assembled(registers, 0, shared, 0, 0, 0, 0)

    # As NVIDIA's calculator has it.
    assert module.occupancy(made(32, 0), 256, 0, h100) == 1.0
    assert module.occupancy(made(40, 0), 256, 0, h100) == 0.75
    assert module.occupancy(made(64, 24960), 256, 0, a100) == 0.5
    assert module.occupancy(made(32, 48 << 10), 256, 0, a100) == 3 * 256 / 2048
    assert module.occupancy(made(32, 0), 1024, 0, h100) == 1.0


@needs_nvvm
def test_what_the_assembler_says_is_read(benchmarks: Any) -> None:
    module, program = benchmarks("gpu_kernels"), ptxas()
    if program is None:
        pytest.skip("ptxas comes with the CUDA toolkit or `pip install 'ingot[ptx]'`")
    text = "graph @f(%x: f32[m, n]) -> (f32[m, n]) { %a: f32[m, n] = softmax(%x) {dim=-1} return(%a) }"
    with ingot.cuda.simulate():
        kernels = real_kernels(optimised(text))
    ptx = kernel_ptx(kernels[-1], (9, 0))
    found = module.assembled(ptx, (9, 0), program)
    assert 16 <= found.registers <= 64 and found.spilled == found.local == 0 and found.shared == 64
    assert (found.wide, found.narrow) == (2, 0)  # a row is read once and written once, 16 bytes at a time
    # Drivers older than this NVVM read it: the version is the first one that has the target.
    assert ".version 7.8" in ptx and ".version 7.0" in kernel_ptx(kernels[-1], (8, 0))
    with pytest.raises(RuntimeError, match="ptxas"):
        module.assembled(ptx.replace("add.f32", "no.f32"), (9, 0), program)


def test_versions_are_only_lowered_for_targets_that_are_known() -> None:
    lower = frontend._for_older_drivers
    assert lower(".version 8.8\n.target sm_75", (7, 5)) == ".version 6.3\n.target sm_75"
    assert lower(".version 6.0\n", (7, 5)) == ".version 6.0\n" and lower(".version 9.9\n", (99, 9)) == ".version 9.9\n"
