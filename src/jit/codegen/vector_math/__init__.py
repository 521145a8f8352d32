"""Elementwise mathematical functions as branch-free Python that LLVM's loop vectoriser turns into full-width SIMD.

`FUNCTIONS[name][dtype]` is the function; `source(name, dtype)` is its text and the text of all it needs, in order, to
be pasted into a generated kernel module whose only other imports are `numpy as np` and `primitives(name, dtype)` from
`..bits`. Names end in the dtype and are unique over the package. Infinities, NaNs, signed zeros and subnormal numbers
come out right.

The functions are right with no fast-math flags, and with "contract"; they ask for fused multiply-adds by name
(`bits.mul_add`), so that flag gains nothing here. "nsz" loses signs of zeros; "arcp" costs an ulp or so; "reassoc",
"nnan", "ninf" and "afn" give wrong results. Un-jitted, on numpy scalars, they compute the same, and numpy warns of
overflows that are part of an algorithm: call them under `numpy.errstate(all="ignore")`.
"""

import ast
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .. import bits
from . import (
    activation_f32,
    activation_f64,
    exponential_f32,
    exponential_f64,
    rounding,
    special_f32,
    special_f64,
    trigonometric_f32,
    trigonometric_f64,
    wide_f32,
)

# Inlined by LLVM (Numba's own inlining costs more compile time), with IEEE division, and no Python entry points.
JIT_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

_MODULES: tuple[ModuleType, ...] = (
    exponential_f32,
    wide_f32,
    trigonometric_f32,
    activation_f32,
    special_f32,
    exponential_f64,
    trigonometric_f64,
    activation_f64,
    special_f64,
    rounding,
)


@dataclass(frozen=True)
class Function:
    """One function for one dtype.

    `max_ulp` bounds the error in units in the last place of the exact result (for lgamma and digamma near their roots:
    of 1). Arguments after the first (`arity` counts all) have the same dtype.
    """

    name: str
    dtype: str
    function: Callable[..., Any]
    arity: int
    max_ulp: float


# Every function, with bounds on the error in float32 and float64. The tests hold them against wider arithmetic, all
# float32 numbers included. Functions of the modules that are not listed are parts of these.
_MAX_ULP: dict[str, tuple[float, float | None]] = {
    "exp": (1, 1),
    "exp2": (1, 1),
    "expm1": (1.6, 2.1),
    "log": (1, 1),
    "log2": (0.51, 0.51),
    "log10": (0.51, 0.51),
    "log1p": (1.6, 1),
    "pow": (0.51, 1.1),
    "sqrt": (0.5, 0.5),
    "rsqrt": (1.5, 1.5),
    "cbrt": (0.51, 0.8),
    "sin": (1.7, 0.8),
    "cos": (1.7, 0.8),
    "tan": (0.51, 1),
    "asin": (0.51, 1.8),
    "acos": (0.51, 1.3),
    "atan": (0.51, 1.5),
    "atan2": (0.51, 1.5),
    "sinh": (0.51, 1.3),
    "cosh": (0.51, 1.1),
    "tanh": (1.72, 1.7),
    "asinh": (0.51, 1.8),
    "acosh": (0.51, 1.3),
    "atanh": (0.51, 1),
    "erf": (2.15, 1.1),
    "erfc": (2.1, 2),
    "erfinv": (1.78, 2),
    "sinc": (2.03, 2),
    "ndtr": (2.68, 2),
    "i0": (2.4, None),
    "i0e": (2.4, None),
    "i1": (2.4, None),
    "i1e": (2.4, None),
    "lgamma": (0.6, 5),
    "digamma": (0.6, 5),
    "sigmoid": (2, 2),
    "log_sigmoid": (1.8, 1.8),
    "softplus": (2.5, 2.5),
    "silu": (2, 2),
    "mish": (1.8, 1.9),
    "gelu": (2, 2.4),
    "gelu_tanh": (2.07, 2),
    "floor": (0, 0),
    "ceil": (0, 0),
    "trunc": (0, 0),
    "round": (0, 0),
    "fmod": (0, 0),
    "remainder": (0.5, 0.5),
}


def _collect() -> dict[str, dict[str, Function]]:
    functions: dict[str, dict[str, Function]] = {}
    for name, bounds in _MAX_ULP.items():
        for dtype, bound in zip(("f32", "f64"), bounds, strict=True):
            if bound is None:
                continue  # there is none for this dtype
            full_name = f"{name}_{dtype}"
            function = next(vars(module)[full_name] for module in _MODULES if full_name in vars(module))
            arity = len(inspect.signature(function).parameters)
            functions.setdefault(name, {})[dtype] = Function(name, dtype, function, arity, bound)
    return functions


FUNCTIONS: dict[str, dict[str, Function]] = _collect()


@dataclass(frozen=True)
class _Definition:
    """A top-level function or constant: its text and the names that it uses, in order of first use."""

    text: str
    uses: tuple[str, ...]


@functools.cache
def _definitions() -> dict[str, _Definition]:
    """Every function and constant of the package, by name."""
    definitions: dict[str, _Definition] = {}
    for module in _MODULES:
        text = inspect.getsource(module)
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                name = node.name
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
            else:
                continue
            # With the comment above it, which says what a table of coefficients is.
            first = node.lineno - 1
            while lines[first - 1].startswith("#"):
                first -= 1
            segment = "\n".join(lines[first : node.end_lineno])
            uses = dict.fromkeys(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id != name)
            definitions[name] = _Definition(segment.replace(": Any", "").replace(" -> Any", ""), tuple(uses))
    return definitions


@functools.cache
def _needed(full_name: str) -> tuple[str, ...]:
    """The names of the definitions that one needs, itself last."""
    order: dict[str, None] = {}
    for used in _definitions()[full_name].uses:
        if used in _definitions():
            order.update(dict.fromkeys(_needed(used)))
    order[full_name] = None
    return tuple(order)


def source(name: str, dtype: str) -> list[tuple[str, str]]:
    """The definitions of a function and of all it needs, as (name, text), each after what it uses.

    >>> [name for name, text in source("exp2", "f32")][-1]
    'exp2_f32'
    """
    return [(needed, _definitions()[needed].text) for needed in _needed(f"{name}_{dtype}")]


def primitives(name: str, dtype: str) -> list[str]:
    """The names that the source of a function needs from `..bits`, sorted.

    >>> primitives("sigmoid", "f32")[:2]
    ['float_to_bits_f32', 'horner']
    """
    used = {use for needed in _needed(f"{name}_{dtype}") for use in _definitions()[needed].uses}
    return sorted(use for use in used if getattr(getattr(bits, use, None), "__module__", None) == bits.__name__)
