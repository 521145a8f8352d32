"""`make gpu-check`: the tests marked `gpu` and the benchmark where there is a GPU; where there is none it says so.

Installs nothing: it needs what is there, an interpreter with Ingot's dependencies, pytest and cupy, and finds the
package in the tree where it is not installed. Exit status 0 where everything held or there is no GPU; else 1.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAYS_WHETHER = "import ingot; print(ingot.cuda.unavailable_reason() or '')"


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


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        inside = environment(folder)
        asked = subprocess.run([sys.executable, "-c", SAYS_WHETHER], env=inside, capture_output=True, text=True)
        if asked.returncode:
            print(f"gpu-check: Ingot cannot be imported by {sys.executable}:\n{asked.stderr}")
            return 1
        reason = asked.stdout.strip()
        if reason:
            print(f"gpu-check: NOTHING WAS CHECKED: {reason}")
            return 0
        if importlib.util.find_spec("pytest") is None:
            print(f"gpu-check: pytest is not there for {sys.executable}; nothing is installed from here")
            return 1
        tests = subprocess.run([sys.executable, "-m", "pytest", "tests/cuda", "-m", "gpu", "-q"], cwd=ROOT, env=inside)
        figures = subprocess.run([sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:]], cwd=ROOT, env=inside)
        passed, reached = not tests.returncode, not figures.returncode
        print(f"gpu-check: tests {'passed' if passed else 'FAILED'}, bounds {'' if reached else 'NOT '}reached")
        return int(not (passed and reached))


if __name__ == "__main__":
    sys.exit(main())
