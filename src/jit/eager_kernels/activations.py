"""Kernels of activation functions and their gradients, over elements: what numpy needs many passes for."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from .code import Code, Number
from .geometry import Tile
from .rows import exponential

__all__ = ["ACTIVATION", "build"]

# The operand, the result's gradient (of a gradient only), the result, and two numbers as bits.
ACTIVATION = ("x", "g", "y", "first", "second")

_Formula = Callable[[Code, Number, Number, Number], Number]


def build(module: Any, dtype: str, tile: Tile) -> None:
    """Write the kernels into an LLVM module."""
    formulas: dict[str, tuple[_Formula, _Formula]] = {
        "silu": (lambda code, x, a, b: x * _sigmoid(code, x), _silu_slope),
        "gelu": (_gelu, _gelu_slope),
        "leaky_relu": (lambda code, x, a, b: code.select(x > 0.0, x, x * a), _leaky_slope),
    }
    for name, (value, slope) in formulas.items():
        _write(Code(module, name, dtype, tile.lanes, ACTIVATION), value, gradient=False)
        _write(Code(module, f"{name}_gradient", dtype, tile.lanes, ACTIVATION), slope, gradient=True)
    _write(Code(module, "hardtanh", dtype, tile.lanes, ACTIVATION), _cut, gradient=False)
    _write(Code(module, "hardtanh_gradient", dtype, tile.lanes, ACTIVATION), _inside, gradient=True, mask=True)


def _write(code: Code, formula: _Formula, *, gradient: bool, mask: bool = False) -> None:
    s = code.slots
    x, g, y = code.pointer(s.x), code.pointer(s.g), code.pointer(s.y)
    a, b = code.splat(code.from_bits(s.first)), code.splat(code.from_bits(s.second))
    with code.vectors(code.hi - code.lo) as (i, n):
        at = code.lo + i
        value = formula(code, x.part(at, n), a, b)
        if mask:
            value = code.select(value, g.part(at, n), 0.0)
        elif gradient:
            value = g.part(at, n) * value
        y.set_part(at, value, n)
    code.finish()


def _sigmoid(code: Code, x: Number) -> Number:
    power = exponential(code, code.select(x > 0.0, -x, x))
    return code.select(x > 0.0, code.splat(1.0), power) / (power + 1.0)


def _silu_slope(code: Code, x: Number, a: Number, b: Number) -> Number:
    s = _sigmoid(code, x)
    return s * (x * (code.splat(1.0) - s) + 1.0)


def _gelu(code: Code, x: Number, a: Number, b: Number) -> Number:
    return x * 0.5 * (_erf(code, x * math.sqrt(0.5)) + 1.0)


def _gelu_slope(code: Code, x: Number, a: Number, b: Number) -> Number:
    density = exponential(code, x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return (_erf(code, x * math.sqrt(0.5)) + 1.0) * 0.5 + x * density


def _leaky_slope(code: Code, x: Number, a: Number, b: Number) -> Number:
    return code.select(x > 0.0, code.splat(1.0), a)


def _cut(code: Code, x: Number, a: Number, b: Number) -> Number:
    return code.select(x < a, a, code.select(x > b, b, x))


def _inside(code: Code, x: Number, a: Number, b: Number) -> Number:
    return (x > a) & (x < b)


# The fits of `codegen.vector_math`, which cannot be imported without Numba (but for the float32 tail: compiled
# programs have a form without exponentials): erf(x) = x + x E(x^2) for |x| <= 1, and erf(x) = 1 - exp(-x T(x)) from
# there to where it rounds to 1.
_NEAR = {
    "f32": (
        -8.666783e-06,
        0.00010888574,
        -0.00084270793,
        0.005216643,
        -0.02686362,
        0.11283744,
        -0.37612635,
        0.12837917,
    ),
    "f64": (
        -3.0560073728201685e-11,
        2.6572661719044673e-10,
        -1.7553726430193944e-09,
        1.5745070878461478e-08,
        -1.6474107084599474e-07,
        1.6470617669693459e-06,
        -1.4926114065256542e-05,
        0.00012055350561075977,
        -0.0008548327479847662,
        0.005223977633292176,
        -0.026866170645975063,
        0.11283791670960251,
        -0.376126389031839,
        0.1283791670955126,
    ),
}
_TAIL = {
    "f32": (
        1.4131646e-05,
        -0.0003523131,
        0.0037645958,
        -0.024025403,
        0.10654902,
        0.6349583,
        1.1286972,
    ),
    "f64": (
        -1.5077504542552418e-12,
        6.700690413350159e-11,
        -1.3943068665320354e-09,
        1.8038693990303705e-08,
        -1.6230362124414157e-07,
        1.0740017431602272e-06,
        -5.367324677636644e-06,
        2.029113658024276e-05,
        -5.587992246194144e-05,
        9.515745869731003e-05,
        -4.368256192229572e-07,
        -0.0005753478398801227,
        0.0016932911502783418,
        -0.0002125498240968513,
        -0.01912468225400746,
        0.10277071988554679,
        0.6366202777468873,
        1.1283791081379932,
    ),
}
_END = {"f32": 4.0, "f64": 6.0}


def _polynomial(code: Code, x: Number, coefficients: Sequence[float]) -> Number:
    total = code.splat(coefficients[0])
    for coefficient in coefficients[1:]:
        total = code.fused(total, x, code.splat(coefficient))
    return total


def _erf(code: Code, x: Number) -> Number:
    size = code.select(x < 0.0, -x, x)
    size = code.select(size > _END[code.dtype], _END[code.dtype], size)
    near = code.fused(size, _polynomial(code, size * size, _NEAR[code.dtype]), size)
    tail = code.splat(1.0) - exponential(code, -size * _polynomial(code, size, _TAIL[code.dtype]))
    result = code.select(size < 1.0, near, tail)
    return code.select(x < 0.0, -result, result)
