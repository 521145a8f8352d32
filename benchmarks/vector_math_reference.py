"""Exact values of the float64 functions of src/jit/codegen/vector_math, for its tests.

Run `python benchmarks/vector_math_reference.py > tests/jit/codegen/vector_math_reference.txt` with mpmath installed. A
line is a name, the arguments and the value as float64s in hexadecimal, and what the value lacks in units of its last
place.
"""

import random
from collections.abc import Callable
from typing import Any

import mpmath as mp

mp.mp.prec = 1400  # enough for the sine of the largest float64
Real = Any

sigmoid = lambda x: 1 / (1 + mp.exp(-x))  # noqa: E731
softplus = lambda x: mp.log1p(mp.exp(x))  # noqa: E731

FUNCTIONS: dict[str, Callable[..., Real]] = {
    "exp": mp.exp,
    "exp2": lambda x: mp.mpf(2) ** x,
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda x: mp.log(x) / mp.log(2),
    "log10": lambda x: mp.log(x) / mp.log(10),
    "log1p": mp.log1p,
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "asin": mp.asin,
    "acos": mp.acos,
    "atan": mp.atan,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "asinh": mp.asinh,
    "acosh": mp.acosh,
    "atanh": mp.atanh,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "erf": mp.erf,
    "erfc": mp.erfc,
    "sigmoid": sigmoid,
    "log_sigmoid": lambda x: -softplus(-x),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * mp.tanh(softplus(x)),
    "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3)),
    "lgamma": lambda x: mp.log(abs(mp.gamma(x))),
    "digamma": mp.digamma,
    "erfinv": mp.erfinv,
    "sinc": mp.sincpi,
    "ndtr": lambda x: mp.erfc(-x / mp.sqrt(2)) / 2,
    "rsqrt": lambda x: 1 / mp.sqrt(x),
    "pow": lambda x, y: x**y,
    "atan2": mp.atan2,
}
POSITIVE = {"log", "log2", "log10", "rsqrt"}
UNIT = {"asin", "acos", "atanh", "erfinv"}
# Where a result that is not 0 or infinite ends.
RANGES = {
    "exp": (-745, 709),
    "exp2": (-1074, 1023),
    "expm1": (-40, 709),
    "sinh": (-710, 710),
    "cosh": (-710, 710),
    "tanh": (-20, 20),
    "erf": (-6, 6),
    "erfc": (-6, 27),
    "ndtr": (-38, 8),
    "sigmoid": (-745, 37),
    "log_sigmoid": (-800, 740),
    "silu": (-750, 40),
    "mish": (-750, 40),
    "gelu": (-38.5, 9),
    "gelu_tanh": (-21, 9),
    "lgamma": (-20, 170),
    "digamma": (-20, 170),
}
# The double next to a multiple of pi / 2 (Muller, "Elementary Functions", 3rd ed., section 11.2), and the largest.
HARD_ANGLES = (6381956970095103.0 * 2.0**797, 1.7976931348623157e308, 1e22, 355.0, 3.141592653589793)


def points(name: str) -> list[tuple[float, ...]]:
    """Arguments for a function: over its range, near 0 and 1, and of every magnitude."""
    generator = random.Random(name)
    if name == "pow":
        pairs = [(generator.uniform(0, 3), generator.uniform(-40, 40)) for _ in range(16)]
        return pairs + [(2.0 ** generator.uniform(-500, 500), generator.uniform(-2, 2)) for _ in range(16)]
    if name == "atan2":
        return [(generator.gauss(0, 1) * 10 ** generator.uniform(-3, 3), generator.gauss(0, 1)) for _ in range(32)]
    if name in UNIT:
        values = [generator.uniform(-1, 1) for _ in range(16)] + [0.5, -0.5, 1 - 2.0**-53, 2.0**-30, 5e-324, 0.4999999]
        return [(v,) for v in values]
    low, high = RANGES.get(name, (-50, 50))
    values = [generator.uniform(low, high) for _ in range(12)] + [generator.uniform(-2, 2) for _ in range(12)]
    values += [0.9999999999999999, 1.0000000000000002, 1e-5, -1e-9, 5e-324, -1.5e-310, 1e-300, 0.3465735902799727]
    values += HARD_ANGLES if name in ("sin", "cos", "tan", "atan", "asinh", "cbrt", *POSITIVE) else ()
    if name in POSITIVE:
        values = [abs(v) for v in values]
    elif name == "acosh":
        values = [1 + abs(v) for v in values]
    elif name == "log1p":
        values = [v for v in values if v > -1] + [-0.9999, -0.5]
    return [(v,) for v in values]


def main() -> None:
    """Print the table."""
    for name, function in FUNCTIONS.items():
        for arguments in points(name):
            value = mp.mpf(function(*(mp.mpf(a) for a in arguments)))
            high = float(value)
            if high in (float("inf"), float("-inf")) or value == 0:
                continue
            unit = mp.mpf(2) ** (max(mp.floor(mp.log(abs(value), 2)), -1022) - 52)
            print(name, *(a.hex() for a in arguments), high.hex(), f"{float((value - high) / unit):.4f}")


if __name__ == "__main__":
    main()
