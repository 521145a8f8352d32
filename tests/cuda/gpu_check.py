"""`make gpu-check`: figures and tests on the GPU that is there, in nine minutes; without one it says so.

Installs nothing: it needs an interpreter with numpy, numba and cupy, and for the tests pytest, and finds the package in
the tree where it is not installed. The figures come first, in a process that is started again where a row ends it or
takes too long; then the kernels of all operators' samples are compiled by all cores, and the tests marked `gpu` run
with what time is left. `--json FILE` (gpu-check.json) keeps what was found, `--docs` writes the figures into
docs/gpu.md, `--minutes N` changes the time, `--simulate` goes through all of it without a GPU. Exit status 0 where
everything held or there is no GPU; else 1.
"""

import argparse
import importlib.util
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SAYS_WHETHER = "import ingot; print(ingot.cuda.unavailable_reason() or '')"
TELLS = """
import ingot, json
from ingot.jit.codegen.cuda import frontend
found = {"front end": str(frontend.cuda().__file__), "problem": frontend.nvvm_problem()}
with ingot.no_grad():
    x = ingot.arange(1000.0, device="cuda")
    function = ingot.jit.trace(lambda x: (x * 2).sum(), (x,), check_trace=False)
    found["smoke"] = [float(function(x)) for _ in range(3)]
print(json.dumps(found))
"""
# A row without progress for so long is given up; compiling its kernels and PyTorch's is part of it.
ROW_SECONDS = 150.0


def environment(folder: str) -> dict[str, str]:
    """The environment of the runs, in which `ingot` is this tree."""
    found = dict(os.environ)
    found.pop("INGOT_CUDA", None)  # a GPU, and no stand-in
    found.pop("NUMBA_ENABLE_CUDASIM", None)
    paths = [str(ROOT)]
    if importlib.util.find_spec("ingot") is None:
        (Path(folder) / "ingot").symlink_to(ROOT / "src", target_is_directory=True)
        paths.append(folder)
    found["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [found.get("PYTHONPATH")])])
    return found


def say(text: str) -> None:
    print(f"gpu-check: {text}", flush=True)


def limited(
    command: Sequence[Any], inside: dict[str, str], seconds: float, idle: float = float("inf")
) -> tuple[int | None, str]:
    """Run a command for so long, and no longer than `idle` seconds after it last printed something.

    Gives its exit status (None where it was ended), and what it printed, which is shown as it comes.
    """
    printed = b""
    given = list(map(str, command))
    with subprocess.Popen(given, cwd=ROOT, env=inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        deadline, latest = time.monotonic() + seconds, time.monotonic()
        while True:
            now = time.monotonic()
            if now > deadline or now - latest > idle:
                process.kill()
                return None, printed.decode(errors="replace")
            if not select.select([process.stdout], [], [], 0.5)[0]:
                continue
            part = os.read(process.stdout.fileno(), 1 << 16)
            if not part:
                break
            sys.stdout.write(part.decode(errors="replace"))
            sys.stdout.flush()
            printed, latest = printed + part, now
    return process.returncode, printed.decode(errors="replace")


def figures(options: argparse.Namespace, inside: dict[str, str], deadline: float) -> list[dict[str, Any]]:
    """The rows of the benchmark, in as many processes as it takes."""
    path = Path(options.json)
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu", "--json", path, "--only", options.only]
    command += ["--simulate"] if options.simulate else []
    for attempt in range(12):
        left = deadline - time.monotonic()
        if left < 5:
            say("no time is left for more rows")
            break
        before = len(rows_of(path))
        status, _ = limited([*command, *(["--resume"] if attempt else [])], inside, left, ROW_SECONDS)
        found = rows_of(path)
        if status in (0, 1):
            break
        if len(found) == before:
            say("the benchmark does not start")
            break
        last = found[-1]
        if last.get("error") == "the process ended":
            last["error"] = "took too long" if status is None else f"ended the process (status {status})"
            whole = json.loads(path.read_text())
            whole["rows"] = found
            path.write_text(json.dumps(whole, indent=1))
            print(f"{last['row']:36s} FAILED: {last['error']}", flush=True)
    return rows_of(path)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


def tests(options: argparse.Namespace, inside: dict[str, str], deadline: float) -> str:
    """Run the tests marked `gpu`, and say how that ended."""
    if importlib.util.find_spec("pytest") is None:
        return f"not run: pytest is not there for {sys.executable}, and nothing is installed from here"
    if not options.simulate:
        left = deadline - time.monotonic()
        say("compiling the kernels of all samples")
        limited([sys.executable, "tests/cuda/precompile_kernels.py"], inside, min(left / 3, 120))
    files = ["tests/cuda/test_gpu.py", "tests/cuda/test_kernels_on_a_gpu.py"]
    command = [sys.executable, "-m", "pytest", *files, "-m", "gpu", "-rfE", "-p", "no:cacheprovider", "-vv"]
    command += ["-W", "ignore::DeprecationWarning"]  # of libraries newer than those that the project is tested with
    status, printed = limited(command, inside, max(deadline - time.monotonic(), 20))
    counts = {word: len(re.findall(rf"::\S+ {word}", printed)) for word in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
    told = ", ".join(f"{count} {word.lower()}" for word, count in counts.items() if count) or "none ran"
    return f"{told}{' until the time was over' if status is None else ''}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--json", default=str(ROOT / "gpu-check.json"), help="where what was found is kept")
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/gpu.md")
    parser.add_argument("--minutes", type=float, default=9.0, help="how long all of it may take")
    parser.add_argument("--only", default="", help="rows of the benchmark whose name contains the text")
    parser.add_argument("--simulate", action="store_true", help="go through all of it without a GPU")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    end = start + options.minutes * 60 - 5
    with tempfile.TemporaryDirectory() as folder:
        inside = environment(folder)
        if not options.simulate:
            asked = subprocess.run([sys.executable, "-c", SAYS_WHETHER], env=inside, capture_output=True, text=True)
            if asked.returncode:
                say(f"Ingot cannot be imported by {sys.executable}:\n{asked.stderr}")
                return 1
            if reason := asked.stdout.strip():
                say(f"NOTHING WAS CHECKED: {reason}")
                return 0
            say("a kernel of each kind, with what is installed here")
            limited([sys.executable, "-c", TELLS], inside, 90)
        rows = figures(options, inside, start + (end - start) * 0.6)
        said = tests(options, inside, end)
        if Path(options.json).exists():
            whole = json.loads(Path(options.json).read_text())
            whole["tests"] = said
            Path(options.json).write_text(json.dumps(whole, indent=1))
            if options.docs:
                limited([sys.executable, "-m", "benchmarks.gpu", "--json", options.json, "--docs"], inside, 60)
    failed = [r["row"] for r in rows if "error" in r]
    missed = [r["row"] for r in rows if not options.simulate and not r.get("holds", True)]
    say(f"{len(rows)} rows in {time.monotonic() - start:.0f} s; failed: {failed or 'none'}")
    say(f"bounds {'NOT reached by ' + str(missed) if missed else 'reached'}")
    say(f"tests: {said}")
    say(f"all of it is in {options.json}")
    bad = failed or missed or not rows or "failed" in said or "error" in said or "over" in said
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
