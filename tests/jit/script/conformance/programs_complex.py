"""Complex numbers: arithmetic, parts, cmath, text, in containers, with tensors."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import cmath
import math
from typing import Optional

import ingot
from conformance_table import accept, reject

nan, inf = math.nan, math.inf


@accept("complex", (1.0, 2.0), (0.0, -1.0), (-0.0, inf))
def complex_numbers(a: float, b: float):
    z = complex(a, b)
    w = z * (1 + 2j) - 3
    return w, z.real, z.imag, abs(z), z.conjugate(), z == w, w / (z + 1), z**2


@accept("complex", (1 + 2j, 3, 0.5), (complex(-0.0, nan), -2, -0.0), (0j, 2, 1.0), (1j, 2, 0.0))
def mixed_arithmetic(z: complex, n: int, x: float):
    made = complex(n, x), complex(x), complex(z, x), complex(x, z), complex(z, z), complex(imag=x)
    return made, z + n, n - z, z * x, z / 2, -z, z**2, z == n, z != z, bool(z), not z, n.imag, x.real


@accept("complex", (1j, 0j), (complex(1e308, 1e308), 1e308 + 0j), (3 + 4j, complex(0.0, -2.5)))
def complex_division(z: complex, w: complex):
    try:
        return z / w, abs(z), repr(w)
    except ZeroDivisionError as error:
        return str(error)


@accept("complex", (0j, -1 + 0j), (1e200 + 1j, 2 + 0j), (2j, 0.5 - 1j))
def complex_powers(z: complex, w: complex):
    try:
        return str(z**w), pow(w, 3)
    except ZeroDivisionError as error:
        return str(error), None
    except OverflowError:
        return "too large", None


@accept("complex", (complex(1e308, 1e308) * 1.5,))
def too_long_to_measure(z: complex):
    return abs(z)


@accept("complex", (1 + 2j,), (complex(-4.0, -0.0),), (0j,), (complex(1e4, 1.0),))
def functions_of_cmath(z: complex):
    return (
        cmath.sqrt(z),
        cmath.phase(z),
        cmath.polar(z),
        cmath.atan(z / 10),
        cmath.exp(z),
        cmath.log(z),
        cmath.log(z, 2),
    )


@accept("complex", (1.5, 0.3), (nan, 1.0), (inf, 1.0))
def classes_of_complex(r: float, p: float):
    z = complex(r, p)
    return cmath.rect(r, p), cmath.isclose(z, z * (1 + 1e-12)), cmath.isnan(z), cmath.isinf(z), cmath.isfinite(z)


@accept("complex", (1 + 2j, 3), (complex(-0.0, inf), 0), (complex(nan, -0.0), 1))
def complex_text(z: complex, n: int):
    return str(z), f"{z:.3f} {z!r:>12}", "%s" % z, hash(2 + 0j * n)


@accept("complex", (0.3 + 0.1j, 50), (1j, 50), (2 + 0j, 5))
def mandelbrot(c: complex, n: int):
    z = 0j
    for i in range(n):
        z = z * z + c
        if abs(z) > 2.0:
            return i
    return -1


@accept("complex", ([1j, 2 + 0j], {"a": 1j}, (1j, 2)))
def complex_containers(zs: list[complex], named: dict[str, complex], pair: tuple[complex, int]):
    zs.append(zs[0] * 2)
    named["k"] = zs[0]
    keyed = {z: i for i, z in enumerate(zs)}
    return sum(zs), [z.imag for z in zs], keyed[2j], 1j in zs, zs.index(zs[-1]), pair[0] * pair[1], sorted(map(abs, zs))


@accept("complex", (None, 3), (1j, 4), (1j, 1))
def optional_complex(z: Optional[complex], n: int):
    if z is None:
        return complex(n)
    w = z if n > 3 else None
    return w


@accept("complex", (3,), (1,))
def complex_in_exceptions(n: int):
    z = 1 + 2j if n > 2 else complex(n, 0.0)
    if z.imag:
        raise ValueError("bad", z)
    return z


@accept("complex", (ingot.tensor([1 + 2j, 3j]), 2j))
def complex_with_tensors(x, z: complex):
    return x * z, x[0].item() * z, (x + z).real


@reject("complex", "'<' not supported between complex and complex", marked="z < 1j", arguments=(1j,))
def complex_order(z: complex):
    return z < 1j


@reject("complex", "int() cannot convert complex", marked="int(z)", arguments=(1j,))
def complex_to_int(z: complex):
    return int(z)


@reject("complex", "unsupported operands for //", marked="z // 2", arguments=(1j,))
def complex_floor_division(z: complex):
    return z // 2


@reject("complex", "expected a real number", marked="math.sqrt(z)", arguments=(1j,))
def complex_in_math(z: complex):
    return math.sqrt(z)


@reject("complex", "complex(): expected numbers", marked="complex(str(x))", arguments=(1.5,))
def complex_from_text(x: float):
    return complex(str(x))
