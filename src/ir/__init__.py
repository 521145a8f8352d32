"""The graph language: typed SSA with symbolic sizes, its text form, verifier, interpreter and passes.

>>> import numpy as np
>>> from ingot import ir
>>> graph = ir.parse("graph @f(%x: f32[n]) -> (f32[n]) { %y: f32[n] = exp(%x) return(%y) }")
>>> [r.tolist() for r in ir.run(graph, [np.zeros(2, "float32")])]
[[1.0, 1.0]]
"""

from . import dims, dtypes, ops, passes, types
from .builder import Builder
from .core import Array, Block, Graph, Guard, Instruction, Value
from .interp import run
from .location import LocatedError, Location
from .ops._op import Op, all_ops, get_op
from .pipeline import run_pipeline
from .sizes import Sizes
from .text import ParseError, parse, print_graph
from .types import *  # noqa: F403
from .types import __all__ as _type_names
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
