"""Passes over graphs: each a named pure function from a graph to a graph, one to a file."""

from .cse import common_subexpression_elimination
from .dce import dead_code_elimination
from .decompose import decompose
from .differentiate import Derivative, DifferentiationError, differentiate
from .fold import constant_folding
from .fold_batch_norm import fold_batch_norm
from .licm import loop_invariant_code_motion
from .simplify import simplify

__all__ = [
    "Derivative",
    "DifferentiationError",
    "common_subexpression_elimination",
    "constant_folding",
    "dead_code_elimination",
    "decompose",
    "differentiate",
    "fold_batch_norm",
    "loop_invariant_code_motion",
    "simplify",
]
