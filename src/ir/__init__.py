"""The graph language: typed SSA with symbolic sizes, its text form, verifier, interpreter and passes.

>>> import numpy as np
>>> from ingot import ir
>>> graph = ir.parse("graph @f(%x: f32[n]) -> (f32[n]) { %y: f32[n] = exp(%x) return(%y) }")
>>> [r.tolist() for r in ir.run(graph, [np.zeros(2, "float32")])]
[[1.0, 1.0]]
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import dims, dtypes, types
from .dims import Guard
from .location import LocatedError, Location
from .types import *  # noqa: F403
from .types import __all__ as _type_names

if TYPE_CHECKING:
    from . import ops, passes
    from .builder import Builder
    from .core import Array, Block, Graph, Instruction, Value
    from .interp import run
    from .ops._op import Op, all_ops, get_op
    from .pipeline import run_pipeline
    from .sizes import Sizes
    from .text import ParseError, parse, print_graph
    from .verify import VerifyError, verify

__all__ = [
    "Array",
    "Block",
    "Builder",
    "Graph",
    "Guard",
    "Instruction",
    "LocatedError",
    "Location",
    "Op",
    "ParseError",
    "Sizes",
    "Value",
    "VerifyError",
    "all_ops",
    "dims",
    "dtypes",
    "get_op",
    "ops",
    "parse",
    "passes",
    "print_graph",
    "run",
    "run_pipeline",
    "types",
    "verify",
    *_type_names,
]

# What needs the op records is imported when it is first used: running a compiled program does not.
_HOMES = {
    "Array": "core", "Block": "core", "Graph": "core", "Instruction": "core", "Value": "core",
    "Builder": "builder", "run": "interp", "Op": "ops._op", "all_ops": "ops._op", "get_op": "ops._op",
    "run_pipeline": "pipeline", "Sizes": "sizes", "ParseError": "text", "parse": "text", "print_graph": "text",
    "VerifyError": "verify", "verify": "verify",
}  # fmt: skip
_MODULES = frozenset({"builder", "interp", "ops", "passes", "pipeline", "sizes", "text"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `ir.verify` the function when the submodule of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
