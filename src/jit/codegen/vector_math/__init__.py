"""Elementwise mathematical functions as branch-free Python that LLVM's loop vectoriser turns into full-width SIMD.

`FUNCTIONS[name][dtype]` is the function; `source(name, dtype)` is its text and the text of all it needs, in order, to be pasted
into a generated kernel module whose only other imports are `numpy as np` and `primitives(name, dtype)` from `..bits`. Names
end in the dtype and are unique over the package.

Compile each function with `numba.njit(**JIT_OPTIONS)`: no fast-math flags are needed, for multiply-adds are asked for by name
(`bits.mul_add`). `contract` and `nsz`-free code is right too; `reassoc`, `nnan`, `ninf` and `afn` break results.
Called un-jitted on numpy scalars they give the same values; numpy then warns of overflows that are part of the algorithm, so
call them under `numpy.errstate(all="ignore")`.
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
    exponential_f64,
    trigonometric_f64,
    activation_f64,
    special_f64,
    rounding,
)


@dataclass(frozen=True)
class Function:
    """One function for one dtype.

    `max_ulp` bounds the error in units in the last place of the exact result; 0 means correctly rounded. Arguments after the
    first (`arity` counts all) have the same dtype.
    """

    name: str
    dtype: str
    function: Callable[..., Any]
    arity: int
    max_ulp: float


# Bounds on the error: (float32, float64).
_MAX_ULP: dict[str, tuple[float, float]] = {
    "exp": (2, 2),
}
_DEFAULT_MAX_ULP = (2.0, 2.0)


def _collect() -> dict[str, dict[str, Function]]:
    functions: dict[str, dict[str, Function]] = {}
    for module in _MODULES:
        for full_name, function in vars(module).items():
            name, _, dtype = full_name.rpartition("_")
            if (
                dtype not in ("f32", "f64")
                or not inspect.isfunction(function)
                or function.__module__ != module.__name__
            ):
                continue
            if (
                name.endswith("_reduced")
                or name.endswith("_special")
                or name.endswith("_wide")
                or name.endswith("_pair")
            ):
                continue
            arity = len(inspect.signature(function).parameters)
            bound = _MAX_ULP.get(name, _DEFAULT_MAX_ULP)[dtype == "f64"]
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
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                name = node.name
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
            else:
                continue
            segment = ast.get_source_segment(text, node)
            assert segment is not None
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
    """The definitions of a function and of all constants and functions it needs, as (name, text), each after what it uses.

    >>> [name for name, text in source("exp2", "f32")][-1]
    'exp2_f32'
    """
    full_name = FUNCTIONS[name][dtype].function.__name__
    return [(needed, _definitions()[needed].text) for needed in _needed(full_name)]


def primitives(name: str, dtype: str) -> list[str]:
    """The names that the source of a function needs from `..bits`, sorted.

    >>> primitives("sigmoid", "f32")[:2]
    ['float_to_bits_f32', 'horner']
    """
    full_name = FUNCTIONS[name][dtype].function.__name__
    used = {use for needed in _needed(full_name) for use in _definitions()[needed].uses}
    return sorted(use for use in used if getattr(getattr(bits, use, None), "__module__", None) == bits.__name__)
