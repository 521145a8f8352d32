"""Scalar programs as people write them, for `benchmarks.scripts`: plain Python that both compilers take as it is."""

__all__ = ["gcd_sum", "knapsack", "rk4", "scan", "sieve"]


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
    """A pendulum with friction, integrated by the classical Runge-Kutta method."""
    x = 1.0
    v = 0.0
    for _ in range(steps):
        k1x = v
        k1v = -x - 0.1 * v
        k2x = v + 0.5 * h * k1v
        k2v = -(x + 0.5 * h * k1x) - 0.1 * k2x
        k3x = v + 0.5 * h * k2v
        k3v = -(x + 0.5 * h * k2x) - 0.1 * k3x
        k4x = v + h * k3v
        k4v = -(x + h * k3x) - 0.1 * k4x
        x = x + h / 6.0 * (k1x + 2.0 * k2x + 2.0 * k3x + k4x)
        v = v + h / 6.0 * (k1v + 2.0 * k2v + 2.0 * k3v + k4v)
    return x


def gcd_sum(n: int) -> int:
    """The sum of greatest common divisors of all pairs below n."""
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
