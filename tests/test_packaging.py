"""The package as users get it: what a wheel contains, and which way imports go."""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"

# Which top-level parts of the package each part may import.
ALLOWED = {
    "ir": {"ir"},
    "eager": {"ir", "eager"},
    "autograd": {"eager", "func", "autograd"},
    "func": {"ir", "eager", "func"},
    "nn": {"ir", "eager", "nn"},
    "optim": {"ir", "eager", "jit", "optim"},
    "jit": {"ir", "eager", "jit", "backends"},  # which are settings, and import nothing
    "runtime": {"ir", "eager", "jit", "runtime"},
    "utils": {"ir", "eager", "utils"},
    "train": {"ir", "eager", "nn", "optim", "jit", "utils", "train", "serialization"},
    "onnx": {"ir", "eager", "jit", "onnx"},
    "array_api": {"ir", "eager", "namespace", "array_api"},
    "backends": set(),
    "cuda": {"amp", "eager", "ir", "cuda"},
    "distributions": {"eager", "linalg", "nn", "distributions"},
    "pytorch": {"ir", "eager", "namespace", "nn", "pytorch"},
    "signal": {"ir", "eager", "signal"},
    "testing": {"ir", "eager", "testing"},
    "cli": {"__version__", "ir", "eager", "nn", "jit", "onnx", "runtime", "cli"},
}


def packages() -> list[str]:
    """Every folder of the tree that is a package, by import name."""
    folders = sorted(path.parent for path in SOURCE.rglob("__init__.py"))
    return [".".join(("ingot", *folder.relative_to(SOURCE).parts)) for folder in folders]


def test_pyproject_lists_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted(settings["tool"]["setuptools"]["packages"]) == packages()


def test_a_wheel_contains_every_module(tmp_path: Path) -> None:
    # From a copy: building in the tree would leave files there, and take along what an earlier build left.
    tree = tmp_path / "tree"
    shutil.copytree(SOURCE, tree / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, tree],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        contained = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    expected = {
        f"ingot/{path.relative_to(SOURCE).as_posix()}"
        for path in [*SOURCE.rglob("*.py"), *SOURCE.rglob("*.pyi"), SOURCE / "py.typed"]
        if "egg-info" not in path.as_posix()
    }
    assert contained == expected


@cache
def parsed(path: Path) -> list[ast.AST]:
    """Every node of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def imports_of(path: Path) -> set[tuple[str, ...]]:
    """What a module imports: relative imports as paths below the package, others as ("", top-level name)."""
    found: set[tuple[str, ...]] = set()
    inside = path.relative_to(SOURCE).parts
    for node in parsed(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = inside[: len(inside) - node.level]
            if node.module:
                found.add((*base, *node.module.split(".")))
            else:
                found |= {(*base, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(("", (node.module or "").split(".")[0]))
        elif isinstance(node, ast.Import):
            found |= {("", alias.name.split(".")[0]) for alias in node.names}
    return found


MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    part = path.relative_to(SOURCE).parts[0]
    used = {target[0] for target in imports_of(path) if target[0] != ""}
    assert used <= ALLOWED[part]


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("ir", {"numba", "llvmlite"}), ("eager", {"numba", "llvmlite"}), ("jit/runtime", {"numba"})],
)
def test_who_never_imports_the_compiler(folder: str, forbidden: set[str]) -> None:
    for path in (SOURCE / folder).rglob("*.py"):
        assert forbidden.isdisjoint(target[1] for target in imports_of(path) if target[0] == ""), path


def test_importing_ingot_does_not_import_numba() -> None:
    code = "import sys, ingot; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_unpickles_or_evaluates() -> None:
    for path in SOURCE.rglob("*.py"):
        names = {target[1] for target in imports_of(path) if target[0] == ""}
        assert names.isdisjoint({"pickle", "marshal", "dill", "shelve"}), path
        calls = [n.func.id for n in parsed(path) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        # Annotations of the function that is scripted are evaluated as Python itself does it, in their own module.
        assert "eval" not in calls or path.relative_to(SOURCE).as_posix() == "jit/script/annotations.py", path


def test_importing_ingot_waits_for_nothing() -> None:
    code = """
import sys, ingot
print([name for name in ("numpy", "ingot.eager", "ingot.ir", "ingot.jit") if name in sys.modules])
names = dir(ingot)
from ingot import *
print(tensor is ingot.tensor, "tensor" in names, "randn" in names, ingot.nn.__name__, hasattr(ingot, "nonsense"))
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "[]\nTrue True True ingot.nn False\n"
