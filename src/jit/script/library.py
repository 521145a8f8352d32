"""Functions of Python's library, written in the language itself: what a program calls of them is compiled with it.

They stand in for builtins and functions of `math` where an argument is known at run time only and no op does the same.
Errors raised in here are shown at the call.
"""

import builtins
import cmath
import itertools
import math
import operator
import types
from collections.abc import Callable
from typing import Any

from ...eager.functions import call as op
from ...ir.dtypes import float64

__all__ = ["LIBRARY", "library_key", "stands_in"]

LIBRARY: dict[Any, tuple[Any, Callable[..., Any]]] = {}


def library_key(target: Any) -> Any:
    """How the table knows a function: methods of classes, as `dict.fromkeys`, are new objects each time."""
    owner = getattr(target, "__self__", None)
    return (
        (owner, target.__name__)
        if isinstance(target, types.BuiltinMethodType) and isinstance(owner, type)
        else id(target)
    )


def stands_in(*targets: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Say what a function stands in for."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for target in targets:
            LIBRARY[library_key(target)] = (target, function)
        return function

    return register


# mypy: disable-error-code="no-untyped-def"


@stands_in(math.gcd)
def gcd(*numbers):
    result = 0
    for number in numbers:
        a, b = result, number
        while b != 0:
            a, b = b, a % b
        result = abs(a)
    return result


@stands_in(math.lcm)
def lcm(*numbers):
    result = 1
    for number in numbers:
        divisor = gcd(result, number)
        if divisor == 0:
            return 0
        result = abs(result // divisor * number)
    return result


@stands_in(math.factorial)
def factorial(n):
    if n < 0:
        raise ValueError("factorial() not defined for negative values")
    result = 1
    for k in range(2, n + 1):
        result *= k
    return result


@stands_in(math.comb)
def comb(n, k):
    if n < 0:
        raise ValueError("n must be a non-negative integer")
    if k < 0:
        raise ValueError("k must be a non-negative integer")
    if k > n:
        return 0
    if k > n - k:
        k = n - k
    result = 1
    for i in range(k):
        # The product is divisible, and dividing as early as possible keeps it small.
        divisor = gcd(result, i + 1)
        result = result // divisor * ((n - i) // ((i + 1) // divisor))
    return result


@stands_in(math.perm)
def perm(n, k=None):
    if k is None:
        return factorial(n)
    if n < 0:
        raise ValueError("n must be a non-negative integer")
    if k < 0:
        raise ValueError("k must be a non-negative integer")
    if k > n:
        return 0
    result = 1
    for i in range(k):
        result *= n - i
    return result


@stands_in(math.isqrt)
def isqrt(n):
    if n < 0:
        raise ValueError("isqrt() argument must be nonnegative")
    if n == 0:
        return 0
    root = int(math.sqrt(n))
    while root > n // root:
        root -= 1
    while root + 1 <= n // (root + 1):
        root += 1
    return root


@stands_in(math.isclose)
def isclose(a, b, *, rel_tol=1e-09, abs_tol=0.0):
    if rel_tol < 0.0 or abs_tol < 0.0:
        raise ValueError("tolerances must be non-negative")
    if a == b:
        return True
    if math.isinf(a) or math.isinf(b):
        return False
    difference = abs(a - b)
    return difference <= abs(rel_tol * b) or difference <= abs(rel_tol * a) or difference <= abs_tol


@stands_in(cmath.isclose)
def complex_isclose(a, b, *, rel_tol=1e-09, abs_tol=0.0):
    if rel_tol < 0.0 or abs_tol < 0.0:
        raise ValueError("tolerances must be non-negative")
    if a == b:
        return True
    if cmath.isinf(a) or cmath.isinf(b):
        return False
    difference = abs(a - b)
    return difference <= rel_tol * abs(b) or difference <= rel_tol * abs(a) or difference <= abs_tol


@stands_in(math.log)
def log(x, base):
    return math.log(x) / math.log(base)


@stands_in(math.degrees)
def degrees(x):
    return x * (180.0 / math.pi)


@stands_in(math.radians)
def radians(x):
    return x * (math.pi / 180.0)


@stands_in(math.prod)
def prod(numbers, *, start=1):
    result = start
    for number in numbers:
        result = result * number
    return result


@stands_in(math.dist)
def dist(p, q):
    if len(p) != len(q):
        raise ValueError("both points must have the same number of dimensions")
    total = 0.0
    for a, b in zip(p, q):  # noqa: B905
        total = math.hypot(total, a - b)
    return total


@stands_in(math.modf)
def modf(x):
    x = float(x)
    if math.isinf(x):
        return math.copysign(0.0, x), x
    if math.isnan(x):
        return x, x
    if abs(x) >= 4503599627370496.0:
        return math.copysign(0.0, x), x
    whole = math.copysign(float(math.trunc(x)), x)
    return math.copysign(x - whole, x), whole


@stands_in(math.frexp)
def frexp(x):
    x = float(x)
    if x == 0.0 or math.isinf(x) or math.isnan(x):
        return x, 0
    exponent = 0
    while abs(x) >= 1.0:
        x *= 0.5
        exponent += 1
    while abs(x) < 0.5:
        x *= 2.0
        exponent -= 1
    return x, exponent


@stands_in(math.ldexp)
def ldexp(x, i):
    x = float(x)
    if x == 0.0 or math.isinf(x) or math.isnan(x):
        return x
    mantissa, exponent = frexp(x)
    exponent += i
    if exponent > 1024:
        raise OverflowError("math range error")
    if exponent < -1100:
        return math.copysign(0.0, x)
    # The last factor is where a subnormal result is rounded, once.
    if exponent < -1000:
        return mantissa * 2.0 ** (exponent + 1000) * 2.0**-1000
    return mantissa * 2.0 * 2.0 ** (exponent - 1)


@stands_in(builtins.pow)
def power_modulo(base, exponent, modulus):
    if modulus == 0:
        raise ValueError("pow() 3rd argument cannot be 0")
    if exponent < 0:
        # The inverse by the extended Euclidean algorithm.
        a, b, x, y = base % abs(modulus), abs(modulus), 1, 0
        while b != 0:
            q = a // b
            a, b, x, y = b, a - q * b, y, x - q * y
        if a != 1:
            raise ValueError("base is not invertible for the given modulus")
        base, exponent = x, -exponent
    result = 1 % modulus
    base = base % modulus
    while exponent > 0:
        if exponent & 1:
            result = result * base % modulus
        exponent >>= 1
        if exponent > 0:
            base = base * base % modulus
    return result


@stands_in(builtins.bin)
def bin_(n):
    return f"{n:#b}"


@stands_in(builtins.oct)
def oct_(n):
    return f"{n:#o}"


@stands_in(builtins.hex)
def hex_(n):
    return f"{n:#x}"


@stands_in(builtins.filter)
def filter_(function, items):
    if function is None:
        return [item for item in items if item]
    return [item for item in items if function(item)]


@stands_in(operator.contains)
def contains(container, item):
    return item in container


@stands_in(operator.truth)
def truth(value):
    return bool(value)


@stands_in(operator.is_)
def is_(a, b):
    return a is b


@stands_in(operator.is_not)
def is_not(a, b):
    return a is not b


@stands_in(itertools.chain)
def chain(*iterables):
    return [item for items in iterables for item in items]


@stands_in(math.remainder)
def remainder(x, y):
    x, y = float(x), float(y)
    if math.isnan(x) or math.isnan(y):
        return x + y
    if math.isinf(x) or y == 0.0:
        raise ValueError("math domain error")
    if math.isinf(y):
        return x
    size, width = abs(x), abs(y)
    part = math.fmod(size, width)
    rest = width - part
    if part < rest:
        result = part
    elif part > rest:
        result = -rest
    else:  # halfway: the quotient is even
        result = part - 2.0 * math.fmod(0.5 * (size - part), width)
    return math.copysign(1.0, x) * result


@stands_in(math.fsum)
def fsum(numbers):
    """Exact partial sums that do not overlap (Shewchuk, "Adaptive precision floating-point arithmetic", 1997)."""
    partials = [0.0]
    special = 0.0
    for number in numbers:
        x = float(number)
        if math.isinf(x) or math.isnan(x):
            special += x
            continue
        kept = [0.0]
        for y in partials:
            if abs(x) < abs(y):
                x, y = y, x
            high = x + y
            low = y - (high - x)
            if low != 0.0:
                kept.append(low)
            x = high
        kept.append(x)
        partials = kept
    if special != 0.0:
        return special
    # From the largest down; the last correction rounds to even as if the sum were exact.
    total = 0.0
    low = 0.0
    place = len(partials)
    while place > 0:
        place -= 1
        x = total
        y = partials[place]
        total = x + y
        low = y - (total - x)
        if low != 0.0:
            break
    while place > 0 and partials[place - 1] == 0.0:
        place -= 1
    if place > 0 and ((low < 0.0 and partials[place - 1] < 0.0) or (low > 0.0 and partials[place - 1] > 0.0)):
        y = low * 2.0
        x = total + y
        if y == x - total:
            total = x
    return total


@stands_in(math.lgamma)
def lgamma(x):
    x = float(x)
    if math.isinf(x):
        return math.inf
    if x <= 0.0 and x == math.floor(x):
        raise ValueError("math domain error")
    return op("lgamma", op("full", (), x, dtype=float64)).item()


@stands_in(math.gamma)
def gamma(x):
    x = float(x)
    if x <= 0.0 and (x == math.floor(x) or math.isinf(x)):
        raise ValueError("math domain error")
    if math.isnan(x) or math.isinf(x):
        return x
    if x == math.floor(x) and x <= 23.0:
        result = 1.0
        factor = 2.0
        while factor < x:
            result *= factor
            factor += 1.0
        return result
    if x > 171.7:
        raise OverflowError("math range error")
    size = math.exp(lgamma(x))
    return -size if x < 0.0 and math.floor(x) % 2 != 0 else size
