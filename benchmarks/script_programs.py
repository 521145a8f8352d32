"""Scalar programs as people write them, for `benchmarks.scripts`: plain Python that both compilers take as it is."""

__all__ = ["fib", "gcd_sum", "knapsack", "rk4", "scan", "sieve"]


def sieve(n: int) -> int:
    """How many primes lie below n."""
    flags = [True] * n
    count = 0
    for i in range(2, n):
        if flags[i]:
            count += 1
            for j in range(i * i, n, i):
                flags[j] = False
    return count


def rk4(steps: int, h: float) -> float:
    """The Lorenz system, integrated by the classical Runge-Kutta method."""
    x = 1.0
    y = 1.0
    z = 1.0
    for _ in range(steps):
        ax = 10.0 * (y - x)
        ay = x * (28.0 - z) - y
        az = x * y - 2.5 * z
        u = x + 0.5 * h * ax
        v = y + 0.5 * h * ay
        w = z + 0.5 * h * az
        bx = 10.0 * (v - u)
        by = u * (28.0 - w) - v
        bz = u * v - 2.5 * w
        u = x + 0.5 * h * bx
        v = y + 0.5 * h * by
        w = z + 0.5 * h * bz
        cx = 10.0 * (v - u)
        cy = u * (28.0 - w) - v
        cz = u * v - 2.5 * w
        u = x + h * cx
        v = y + h * cy
        w = z + h * cz
        dx = 10.0 * (v - u)
        dy = u * (28.0 - w) - v
        dz = u * v - 2.5 * w
        x = x + h * (ax + 2.0 * bx + 2.0 * cx + dx) * 0.16666
        y = y + h * (ay + 2.0 * by + 2.0 * cy + dy) * 0.16666
        z = z + h * (az + 2.0 * bz + 2.0 * cz + dz) * 0.16666
    return x


def gcd_sum(n: int) -> int:
    """The sum of the greatest common divisors of all pairs below n."""
    total = 0
    for a in range(1, n):
        for b in range(1, n):
            x = a
            y = b
            while y != 0:
                x, y = y, x % y
            total += x
    return total


def knapsack(items: int, capacity: int) -> int:
    """The best value within a capacity, by dynamic programming over weights; weights and values by formula."""
    best = [0] * (capacity + 1)
    for k in range(items):
        weight = 3 + (k * 7) % 23
        value = 10 + (k * 13) % 41
        for room in range(capacity, weight - 1, -1):
            taken = best[room - weight] + value
            if taken > best[room]:
                best[room] = taken
    return best[capacity]


def scan(text: str) -> int:
    """Words, digits and the deepest bracket of a text, in one pass over its characters."""
    words = 0
    digits = 0
    depth = 0
    deepest = 0
    inside = False
    for c in text:
        if c == " " or c == "\n":
            inside = False
        elif not inside:
            inside = True
            words += 1
        if c >= "0" and c <= "9":
            digits += ord(c) - 48
        elif c == "(":
            depth += 1
            if depth > deepest:
                deepest = depth
        elif c == ")":
            depth -= 1
    return words * 1000000 + digits * 100 + deepest


def fib(n: int) -> int:
    """Fibonacci numbers, by the recursive definition."""
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)
