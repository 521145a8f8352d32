"""Every name of cupy that is used is one that cupy 14.2 has: `cupy_api.txt`, checked against cupy where that is.

A GPU is not needed to import cupy; names of cuBLAS need its library.
"""

import ast
import importlib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
KNOWN = frozenset((HERE / "cupy_api.txt").read_text().split())
# What variables stand for, in the files that talk to cupy.
ROOTS = {
    "self.xp": "cupy", "self.cupy": "cupy", "cupy": "cupy", "xp": "cupy", "self._pool": "cupy.cuda.MemoryPool",
    "cuda": "cupy.cuda", "cublas": "cupy.cuda.cublas", "runtime": "cupy.cuda.runtime", "stream": "cupy.cuda.Stream",
    "pool": "cupy.cuda.MemoryPool", "now": "cupy.cuda.Stream", "end": "cupy.cuda.Event",
    "self._last": "cupy.cuda.Stream", "target.data": "cupy.cuda.MemoryPointer",
}  # fmt: skip
FILES = ("cuda/cupy_backend.py", "jit/runtime/cuda_launch.py", "jit/device_program.py", "jit/device_interpreter.py")


def chain(node: ast.expr) -> str:
    """A dotted name; empty where it is none."""
    if isinstance(node, ast.Name):
        return node.id
    inner = chain(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def used() -> dict[str, str]:
    """The names of cupy in the sources, with a place that uses each."""
    found: dict[str, str] = {}
    for name in FILES:
        tree = ast.parse((SOURCE / name).read_text())
        inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or id(node) in inner or not (text := chain(node)):
                continue
            root = next((r for r in sorted(ROOTS, key=len, reverse=True) if text.startswith(r + ".")), None)
            if root is not None:
                found[ROOTS[root] + text[len(root) :]] = f"{name}:{node.lineno}"
    return found


def test_only_names_that_cupy_has_are_used() -> None:
    names = used()
    assert len(names) > 30 and "cupy.cuda.cublas.gemmStridedBatchedEx" in names
    unknown = {name: place for name, place in names.items() if name not in KNOWN}
    assert not unknown, f"look these up in cupy, and add them to cupy_api.txt: {unknown}"


def test_the_list_is_what_cupy_has() -> None:
    pytest.importorskip("cupy", reason="cupy is not installed; the list was checked against cupy 14.2")
    missing = []
    for name in sorted(KNOWN):
        value = importlib.import_module("cupy")
        for part in name.split(".")[1:]:
            try:
                value = getattr(value, part)
            except ImportError:
                break  # a library of CUDA's that is not installed
            except AttributeError:
                missing.append(name)
                break
    assert not missing
