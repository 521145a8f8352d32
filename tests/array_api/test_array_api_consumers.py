"""scikit-learn and SciPy functions that accept array API inputs compute on tensors, and give tensors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="scikit-learn's functions are called with tensors")
pytest.importorskip("scipy", reason="SciPy's functions are called with tensors")

EXAMPLE = Path(__file__).parents[2] / "examples/scikit_learn_on_tensors.py"


@pytest.mark.slow
def test_functions_of_other_libraries_compute_on_tensors() -> None:
    # SciPy reads its setting when it is imported: the example runs in a process of its own.
    run = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, timeout=120, env=dict(os.environ), check=False
    )
    assert run.returncode == 0, run.stderr
    rows = [line.split() for line in run.stdout.splitlines()]
    assert len(rows) == 11
    for name, kind, difference in rows:
        assert kind == ("float" if name == "r2_score" else "Tensor"), name
        assert float(difference) < 1e-9, name
