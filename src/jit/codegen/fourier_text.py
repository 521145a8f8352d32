"""The text of discrete Fourier transforms of one length: passes over separate arrays of real and imaginary parts.

A transform of n places, with `lanes` numbers at each, is one pass for each factor of n (Stockham's form: Van Loan,
"Computational Frameworks for the Fast Fourier Transform", 1992, 1.7); neighbours in the innermost loop are neighbours
in memory. A single row of n1 * n2 numbers is n2 lanes of n1 places, turned, and then n1 lanes of n2 (Bailey, "FFTs in
external or hierarchical memory", 1990).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Transform", "factors", "split"]

# Primes with a pass of their own; numpy transforms lengths with others.
_RADICES = (4, 2, 3, 5, 7, 11, 13)


def factors(n: int) -> list[int] | None:
    """The lengths of the passes whose product is n; None where there is no pass for a prime of it.

    >>> factors(96), factors(34)
    ([4, 4, 2, 3], None)
    """
    found = []
    for radix in _RADICES:
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return found if n == 1 else None


def split(n: int) -> tuple[int, int]:
    """Two factors of n, about alike, that vectors of eight fill best.

    >>> split(1024), split(500)
    ((32, 32), (20, 25))
    """

    def waste(lanes: int) -> float:
        return -(-lanes // 8) * 8 / lanes

    pairs = [(a, n // a) for a in range(1, math.isqrt(n) + 1) if n % a == 0]
    return min(pairs, key=lambda p: (waste(p[0]) + waste(p[1]), -p[0]))


@dataclass
class Transform:
    """Writes the passes of a kernel. `tables` are constants that it reads from `t`; `numbers` are named constants."""

    dtype: str  # "float32" or "float64"
    tables: list[Any] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    size: int = 0

    def table(self, values: Any) -> int:
        """The place in `t` of an array."""
        place = self.size
        self.tables.append(np.asarray(values, np.float64).reshape(-1))
        self.size += self.tables[-1].size
        return place

    def array(self) -> Any:
        """What `t` points to."""
        return np.concatenate([*self.tables, np.zeros(1)]).astype(self.dtype)

    def number(self, value: float) -> str:
        """The name of a constant."""
        for name, known in self.numbers.items():
            if known == value:
                return name
        name = f"n{len(self.numbers)}"
        self.numbers[name] = value
        return name

    def definitions(self) -> str:
        """Statements that make the constants."""
        return "\n".join(f"{name} = np.{self.dtype}({value!r})" for name, value in self.numbers.items())

    def passes(self, n: int, lanes: int, source: str, target: str) -> tuple[str, str]:
        """The passes of a transform from arrays `source`, and the arrays (`source` or `target`) where it ends."""
        lines: list[str] = []
        length, step = n, lanes
        for radix in factors(n) or []:
            lines += self.one_pass(radix, length // radix, step, source, target)
            source, target = target, source
            length //= radix
            step *= radix
        return "\n".join(lines), source

    def one_pass(self, radix: int, rest: int, step: int, source: str, target: str) -> list[str]:
        lines = []
        indent = ""
        if rest > 1:
            angles = -2 * np.pi / (radix * rest) * np.outer(np.arange(rest), np.arange(1, radix))
            place = self.table(np.stack([np.cos(angles), np.sin(angles)], -1))
            lines.append(f"for p in range({rest}):")
            indent = "    "
            for k in range(1, radix):
                at = f"{place} + p * {2 * (radix - 1)} + {2 * (k - 1)}"
                lines += [f"    w{k}r = t[{at}]", f"    w{k}i = t[{at} + 1]"]
        read, write = (f"p * {step} + q", f"p * {step * radix} + q") if rest > 1 else ("q", "q")
        lines.append(f"{indent}for q in range({step}):")
        body = [f"i = {read}", f"o = {write}"]
        for j in range(radix):
            body += [f"a{j}{part} = {source}{part}[i + {step * rest * j}]" for part in "ri"]
        body += self.butterfly(radix)
        for k in range(radix):
            real, imaginary = f"b{k}r", f"b{k}i"
            if k and rest > 1:
                body += [
                    f"c{k}r = {real} * w{k}r - {imaginary} * w{k}i",
                    f"c{k}i = {real} * w{k}i + {imaginary} * w{k}r",
                ]
                real, imaginary = f"c{k}r", f"c{k}i"
            body += [f"{target}r[o + {step * k}] = {real}", f"{target}i[o + {step * k}] = {imaginary}"]
        return lines + [f"{indent}    {line}" for line in body]

    def butterfly(self, radix: int) -> list[str]:
        """Transforms of `radix` numbers a into b."""
        lines = []
        if radix == 2:
            for part in "ri":
                lines += [f"b0{part} = a0{part} + a1{part}", f"b1{part} = a0{part} - a1{part}"]
            return lines
        if radix == 4:
            for part in "ri":
                lines += [
                    f"s{part} = a0{part} + a2{part}",
                    f"d{part} = a0{part} - a2{part}",
                    f"u{part} = a1{part} + a3{part}",
                    f"v{part} = a1{part} - a3{part}",
                    f"b0{part} = s{part} + u{part}",
                    f"b2{part} = s{part} - u{part}",
                ]
            return [*lines, "b1r = dr + vi", "b1i = di - vr", "b3r = dr - vi", "b3i = di + vr"]
        half = radix // 2
        for part in "ri":
            for j in range(1, half + 1):
                lines += [
                    f"s{j}{part} = a{j}{part} + a{radix - j}{part}",
                    f"d{j}{part} = a{j}{part} - a{radix - j}{part}",
                ]
            lines.append(f"b0{part} = a0{part} + {' + '.join(f's{j}{part}' for j in range(1, half + 1))}")
        for k in range(1, half + 1):
            angles = [2 * math.pi * (j * k % radix) / radix for j in range(1, half + 1)]
            for part in "ri":
                even = " + ".join(f"{self.number(math.cos(a))} * s{j}{part}" for j, a in enumerate(angles, 1))
                odd = " + ".join(f"{self.number(math.sin(a))} * d{j}{part}" for j, a in enumerate(angles, 1))
                lines += [f"e{part} = a0{part} + {even}", f"f{part} = {odd}"]
            lines += [f"b{k}r = er + fi", f"b{k}i = ei - fr", f"b{radix - k}r = er - fi", f"b{radix - k}i = ei + fr"]
        return lines

    def row(self, n: int, source: str, target: str) -> tuple[str, str]:
        """The transform of a single row, and the arrays where it ends."""
        first, second = split(n)
        text, source, target = self._swapped(self.passes(first, second, source, target), source, target)
        angles = -2 * np.pi / n * np.outer(np.arange(first), np.arange(second))
        real, imaginary = self.table(np.cos(angles)), self.table(np.sin(angles))
        text += f"""
for k in range({second}):
    for j in range({first}):
        i = j * {second} + k
        wr = t[{real} + i]
        wi = t[{imaginary} + i]
        xr = {source}r[i]
        xi = {source}i[i]
        {target}r[k * {first} + j] = xr * wr - xi * wi
        {target}i[k * {first} + j] = xr * wi + xi * wr
"""
        source, target = target, source
        more, end = self.passes(second, first, source, target)
        return text + more, end

    @staticmethod
    def _swapped(made: tuple[str, str], source: str, target: str) -> tuple[str, str, str]:
        text, end = made
        return text, end, target if end == source else source


def half_angles(n: int) -> Sequence[Any]:
    """Cosines and sines of -2 pi k / n up to half of n."""
    angles = -2 * np.pi / n * np.arange(n // 2 + 1)
    return [np.cos(angles), np.sin(angles)]
