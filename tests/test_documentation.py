"""Examples in documentation run and give what they show: docstrings of every module, and the README's code."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import ingot
import numpy as np
import pytest
from ingot import ir, jit, nn

ROOT = Path(__file__).resolve().parent.parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[str]:
    """Every module of the package, apart from those that run when imported."""
    found = pkgutil.walk_packages(ingot.__path__, "ingot.")
    return ["ingot", *(m.name for m in found if not m.name.endswith("__main__"))]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    namespace = {**vars(module), "ingot": ingot, "ir": ir, "jit": jit, "nn": nn, "np": np}
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    finder = doctest.DocTestFinder(exclude_empty=True)
    for test in finder.find(module, name, module=module, globs=namespace):
        runner.run(test)
    assert runner.failures == 0


def test_the_code_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    # Scripted functions are read from their file: the README's code becomes one.
    path = tmp_path / "readme_code.py"
    path.write_text("\n".join(blocks))
    namespace: dict[str, object] = {"__name__": "readme_code"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    assert namespace["collatz"](27) == 111  # type: ignore[operator]
