"""Kernels over the last dimension: softmax, its logarithm, layer normalisation, and their gradients. A row an item."""

import math
from typing import Any

from .code import Code, Number
from .geometry import Tile
from .stretch import Stretch, read, write, zero

__all__ = ["LAYER_NORM", "LAYER_NORM_GRADIENT", "SOFTMAX", "SOFTMAX_GRADIENT", "build", "exponential"]

SOFTMAX = ("x", "y", "size")
SOFTMAX_GRADIENT = ("g", "out", "y", "size")
# `period`: so many rows have weights of their own, one after another.
LAYER_NORM = ("x", "weight", "bias", "y", "size", "eps", "period")
LAYER_NORM_GRADIENT = ("g", "x", "weight", "y", "sums", "rows", "chunk", "size", "eps", "period")


def build(module: Any, dtype: str, tile: Tile) -> None:
    """Write the kernels into an LLVM module."""
    kernels = {
        "softmax": (_softmax, SOFTMAX),
        "log_softmax": (_log_softmax, SOFTMAX),
        "softmax_gradient": (_softmax_gradient, SOFTMAX_GRADIENT),
        "log_softmax_gradient": (_log_softmax_gradient, SOFTMAX_GRADIENT),
        "layer_norm": (_layer_norm, LAYER_NORM),
        "layer_norm_gradient": (_layer_norm_gradient, LAYER_NORM_GRADIENT),
    }
    for name, (body, slots) in kernels.items():
        code = Code(module, name, dtype, tile.lanes, slots)
        body(code)
        code.finish()


# The least argument whose exponential is not 0, and terms of the series that are exact enough on |r| <= log(2) / 2.
_LEAST = {"f32": -104.0, "f64": -746.0}
_TERMS = {"f32": 7, "f64": 13}
# log(2) as a number with few bits, whose multiples are exact, and the rest (W. J. Cody and W. Waite, 1980).
_HIGH = {"f32": 0.693359375, "f64": 6.93147180369123816490e-01}
_LOW = {"f32": -2.12194440054690583e-04, "f64": 1.90821492927058770002e-10}


def exponential(code: Code, x: Number) -> Number:
    """exp(x) of a vector of numbers up to 0, or NaN: 2^n times the series of the rest."""
    kind = code.dtype
    inside = code.select(x < _LEAST[kind], _LEAST[kind], x)
    n = code.nearest(inside * (1 / math.log(2)))
    rest = code.fused(n, code.splat(-_LOW[kind]), code.fused(n, code.splat(-_HIGH[kind]), inside))
    terms = _TERMS[kind]
    total = code.splat(1 / math.factorial(terms))
    for k in range(terms - 1, -1, -1):
        total = code.fused(total, rest, code.splat(1 / math.factorial(k)))
    # In two steps, the first of which stays in range: the result may be subnormal. NaN has no exponent.
    exponent = code.select(x.differs(x), 0.0, n)
    half = code.nearest(exponent * 0.5)
    return total * code.power_of_two(half) * code.power_of_two(exponent - half)


def _softmax(code: Code) -> None:
    s = code.slots
    x, y = code.pointer(s.x), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        row = Stretch(code, item * s.size, s.size)
        largest = code.splat(row.largest(x))

        def power(index: Number, count: Number | None) -> list[Number]:
            value = exponential(code, read(x, index, count) - largest)
            write(y, index, count, value)
            return [value]

        factor = code.splat(Number(code, code.like(1.0, code.element)) / row.sums(power, 1)[0])
        row.vectors(lambda i, n: write(y, i, n, read(y, i, n) * factor))


def _log_softmax(code: Code) -> None:
    s = code.slots
    x, y = code.pointer(s.x), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        row = Stretch(code, item * s.size, s.size)
        largest = code.splat(row.largest(x))
        total = row.sums(lambda i, n: [exponential(code, read(x, i, n) - largest)], 1)[0]
        minus = code.splat(code.logarithm(total))
        row.vectors(lambda i, n: write(y, i, n, read(x, i, n) - largest - minus))


def _softmax_gradient(code: Code) -> None:
    s = code.slots
    g, out, y = code.pointer(s.g), code.pointer(s.out), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        row = Stretch(code, item * s.size, s.size)
        total = code.splat(row.sums(lambda i, n: [read(g, i, n) * read(out, i, n)], 1)[0])
        row.vectors(lambda i, n: write(y, i, n, (read(g, i, n) - total) * read(out, i, n)))


def _log_softmax_gradient(code: Code) -> None:
    s = code.slots
    g, out, y = code.pointer(s.g), code.pointer(s.out), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        row = Stretch(code, item * s.size, s.size)
        total = code.splat(row.sums(lambda i, n: [read(g, i, n)], 1)[0])
        row.vectors(lambda i, n: write(y, i, n, read(g, i, n) - exponential(code, read(out, i, n)) * total))


def _statistics(code: Code, row: Stretch, x: Any) -> tuple[Number, Number]:
    """The mean of a row, and one over the root of its variance, each in all lanes."""
    count = code.number(row.size)
    mean = code.splat(row.sums(lambda i, n: [read(x, i, n)], 1)[0] / count)

    def square(index: Number, length: Number | None) -> list[Number]:
        centred = read(x, index, length) - mean
        return [centred * centred]

    variance = row.sums(square, 1)[0] / count + code.from_bits(code.slots.eps)
    return mean, code.splat(Number(code, code.like(1.0, code.element)) / code.root(variance))


def _layer_norm(code: Code) -> None:
    s = code.slots
    x, y, weight, bias = (code.pointer(a) for a in (s.x, s.y, s.weight, s.bias))
    with code.loop(code.lo, code.hi) as item:
        start = item * s.size
        row = Stretch(code, start, s.size)
        mean, inverse = _statistics(code, row, x)

        def normalise(index: Number, count: Number | None) -> None:
            at = index - start + item % s.period * s.size
            value = (read(x, index, count) - mean) * inverse * read(weight, at, count) + read(bias, at, count)
            write(y, index, count, value)

        row.vectors(normalise)


def _layer_norm_gradient(code: Code) -> None:
    """A chunk of rows an item, which has sums of its own for weight and bias."""
    s = code.slots
    g, x, y, weight = (code.pointer(a) for a in (s.g, s.x, s.y, s.weight))
    with code.loop(code.lo, code.hi) as item:
        line = s.period * s.size
        sums = code.pointer(s.sums) + item * 2 * line
        zero(code, sums, 2 * line)
        with code.loop(item * s.chunk, code.smaller(s.rows, (item + 1) * s.chunk)) as r:
            row = Stretch(code, r * s.size, s.size)
            shared = r * s.size - r % s.period * s.size
            mean, inverse = _statistics(code, row, x)

            def terms(index: Number, count: Number | None) -> list[Number]:
                at = index - shared
                gradient = read(g, index, count)
                standard = (read(x, index, count) - mean) * inverse
                write(sums, at, count, read(sums, at, count) + gradient * standard)
                write(sums + line, at, count, read(sums + line, at, count) + gradient)
                scaled = gradient * read(weight, at, count)
                return [scaled, scaled * standard]

            count = code.number(s.size)
            shift, slope = (code.splat(total / count) for total in row.sums(terms, 2))

            def spread(index: Number, count: Number | None) -> None:
                standard = (read(x, index, count) - mean) * inverse
                scaled = read(g, index, count) * read(weight, index - shared, count)
                write(y, index, count, (scaled - shift - standard * slope) * inverse)

            row.vectors(spread)
