"""Other functions: compiled by Numba, and called back in Python (`@jit.ignore`, `@jit.unused`)."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import math

import numba
import numpy as np

import ingot
from conformance_table import accept, reject
from ingot import jit


@numba.njit
def generator(x, n):
    for _ in range(n):
        x = x * 6364136223846793005 + 1442695040888963407
    return x


@numba.njit
def area(width, height=2.0):
    return width * height


@numba.njit
def share(a, b):
    if b == 0:
        raise ValueError("nothing to share among", 0)
    return a // b


@numba.njit
def rotated(z, pair):
    return z * pair[0], (pair[1], z.real > 1.0)


@numba.njit("float64(float64)")
def wave(x):
    return math.sin(x) + 1


@numba.njit
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@numba.njit
def filled(n):
    return np.full(n, 2.0).sum()


@numba.njit
def vector(n):
    return np.zeros(n)


@accept("numba.njit", (3, 1.5), (-1, 0.0))
def numba_numbers(n: int, x: float):
    total = 0.0
    for i in range(4):
        total += area(x + i) + area(i, 0.5) + area(2, height=n)
    return generator(n, 5), total, wave(n) + wave(0.5), fibonacci(10)


@accept("numba.njit", (2 + 1j, 3))
def numba_tuples(z: complex, n: int):
    a, (b, c) = rotated(z, (n, 2.5))
    return a, b, c


@accept("numba.njit", (7, -2), (1, 0), save=False)
def numba_exceptions(a: int, b: int):
    return share(a, b)


@accept("numba.njit", (7, 2), (7, 0), save=False)
def caught_from_numba(a: int, b: int):
    try:
        return share(a, b)
    except ValueError as error:
        return str(error)


@accept("numba.njit", (5,), save=False)
def numba_runtime(n: int):
    return filled(n)


@reject("numba.njit", "is called with Tensor", marked="area(x)", arguments=(ingot.ones(2),), hint="x.item()")
def numba_of_tensors(x):
    return area(x)


@reject("numba.njit", "it returns array", marked="vector(n)", arguments=(3,), hint="@jit.ignore")
def numba_arrays(n: int):
    return vector(n)


# -- jit.ignore --------------------------------------------------------------------------------------------------------


@jit.ignore
def shout(text: str, x) -> None:
    print(text.upper(), x.sum().item())


@jit.ignore
def lookup(key: int) -> float:
    if key > 3:
        raise KeyError("no such key", key)
    return [0.5, 1.5, 2.5, 3.5][key]


@jit.ignore
def letters(n: int) -> list[str]:
    return [chr(97 + i) for i in range(n)]


@jit.script
def triangle(n: int):
    total = 0
    for i in range(n):
        total += i
    return total


@jit.ignore
def again(n: int) -> tuple[int, bool]:
    return triangle(n) * 2, n > 2


@jit.unused
def unused_function(x):
    return eval("x")


@jit.ignore(drop=True)
def dropped(x):
    return eval("x")


@accept("jit.ignore", (ingot.tensor([1.0, 2.0]), 2), save=False)
def calls_back(x, n: int):
    for i in range(n):
        shout(f"round {i}", x * i)
    value, large = again(n)
    return lookup(n) + value, large


@accept("jit.ignore", (2,), (4,), save=False)
def exceptions_from_python(n: int):
    return lookup(n)


@accept("jit.ignore", (2,), (4,), save=False)
def caught_from_python(n: int):
    try:
        return lookup(n)
    except KeyError as error:
        return -1.0


@accept("jit.ignore", (3,), native=False, save=False)
def containers_from_python(n: int):
    return ",".join(letters(n))


@accept("jit.unused", (ingot.tensor([1.0]), 0))
def never_called(x, n: int):
    if n > 0:
        x = unused_function(x)
    if n > 1:
        x = dropped(x)
    return x


@reject("jit.unused", "is marked @jit.unused and was called", marked="dropped(x)", arguments=(ingot.ones(1),))
def is_called(x):
    return dropped(x)
