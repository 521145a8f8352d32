"""Passes over graphs: each a named pure function from a graph to a graph, one to a file."""

from .canonicalise import canonicalise
from .cse import common_subexpression_elimination
from .dce import dead_code_elimination
from .decompose import decompose
from .differentiate import Derivative, DifferentiationError, differentiate
from .fold import constant_folding
from .fold_batch_norm import fold_batch_norm
from .fold_scale import fold_scale
from .hoist_products import hoist_products
from .if_to_select import if_to_select
from .inline import inline_calls, recursive_functions
from .licm import loop_invariant_code_motion
from .merge_products import merge_products
from .recompute import recompute_residuals, residual_bytes
from .rematerialise import peak_memory, rematerialise
from .simplify import simplify
from .sink_views import sink_views
from .unroll import unroll_loops

__all__ = [
    "Derivative",
    "DifferentiationError",
    "canonicalise",
    "common_subexpression_elimination",
    "constant_folding",
    "dead_code_elimination",
    "decompose",
    "differentiate",
    "fold_batch_norm",
    "fold_scale",
    "hoist_products",
    "if_to_select",
    "inline_calls",
    "loop_invariant_code_motion",
    "merge_products",
    "peak_memory",
    "recursive_functions",
    "recompute_residuals",
    "rematerialise",
    "residual_bytes",
    "simplify",
    "sink_views",
    "unroll_loops",
]
