"""Kernels of discrete Fourier transforms whose lengths are products of small primes; numpy computes others.

Each dimension is a kernel. Long rows are transformed one by one, reals as complex numbers of half the length (Press et
al., "Numerical Recipes", 12.3); short rows and other dimensions several beside each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import complex64, complex128
from ..errors import Unsupported
from .columns import ceil_div
from .driver import Driver
from .fourier_text import Transform, factors, half_angles
from .indexing import element_count
from .kernel_text import Parameter
from .template import LoopText, tensor_type

__all__ = ["FOURIER"]

# Rows from this length on are transformed one by one.
_LONG = 64
# The longest columns, and bytes of the longest rows of reals: a quarter of a megabyte of buffers lies on the stack.
_LONGEST_COLUMN = 1024
_LARGEST_ROW = 65536


@dataclass
class _Pass:
    """One dimension of a transform: what it reads and writes. `kind` is "complex", "to half" or "from half"."""

    n: int
    kind: str
    inverse: bool
    scale: float
    reads: Any  # a value, or a temporary's number
    writes: Any
    real_input: bool
    outer: Dim
    given: Dim  # places in the input
    inner: Dim


def _indented(text: str, depth: int) -> str:
    return "\n".join(" " * depth + line if line else "" for line in text.strip("\n").splitlines())


def _run_fourier(driver: Driver, instruction: Instruction) -> None:
    """All dimensions of a transform, the last one first (last, where it gives reals)."""
    source, result = instruction.inputs[0], instruction.results[0]
    name, attributes = instruction.op.name, instruction.attributes
    sizes, dims, norm = attributes["s"], attributes["dim"], attributes["norm"]
    inverse = name in ("ifftn", "irfftn")
    dtype = "float64" if tensor_type(result).dtype.name in ("float64", "complex128") else "float32"
    if tensor_type(source).dtype.name not in (dtype, "complex128" if dtype == "float64" else "complex64"):
        raise Unsupported(f"{name} of {tensor_type(source).dtype.name} has no native kernel", instruction.location)
    shape: list[Dim] = list(tensor_type(source).shape)
    order = list(zip(dims, sizes, strict=True))
    order = order if name == "irfftn" else order[::-1]
    for dim, n in order:
        longest = _LARGEST_ROW // (8 if dtype == "float64" else 4) if dim == len(shape) - 1 else _LONGEST_COLUMN
        if factors(n) is None or n > longest:
            raise Unsupported(f"{name} of length {n} has no native kernel", instruction.location)
    driver.store(result)
    reads: Any = source
    real = not tensor_type(source).dtype.is_complex
    for place, (dim, n) in enumerate(order):
        last = place == len(order) - 1
        kind = "complex"
        if name == "rfftn" and place == 0:
            kind = "to half"
        elif name == "irfftn" and last:
            kind = "from half"
        scale = {"backward": 1 / n if inverse else 1.0, "forward": 1.0 if inverse else 1 / n, "ortho": n**-0.5}[norm]
        outer, inner = element_count(shape[:dim]), element_count(shape[dim + 1 :])
        given = shape[dim]
        shape[dim] = n // 2 + 1 if kind == "to half" else n
        writes: Any = result
        if not last and (name == "irfftn" or any(shape[d] != m for d, m in order[place + 1 :])):
            # What does not lie as the result does has memory of its own.
            writes = driver.temporary(element_count(shape), complex128 if dtype == "float64" else complex64)
        one = _Pass(n, kind, inverse, scale, reads, writes, real, outer, given, inner)
        row = n // 2 if kind != "complex" and n % 2 == 0 else n
        _Kernel(driver, instruction, one, dtype).run(long=dim == len(shape) - 1 and row >= _LONG)
        reads, real = writes, False


class _Kernel:
    """The kernel of one dimension in the making."""

    def __init__(self, driver: Driver, instruction: Instruction, one: _Pass, dtype: str) -> None:
        self.one, self.dtype = one, dtype
        self.short = "f64" if dtype == "float64" else "f32"
        self.lanes = 8 if dtype == "float64" else 16
        self.transform = Transform(dtype)
        self.loops = LoopText(driver, instruction)
        self.loops.requirements.helpers.add(f"stack_{self.short}")
        self.x = "x" if one.reads is not one.writes else "y"
        if self.x == "x":
            self.memory("x", one.reads)
        self.memory("y", one.writes)
        self.loops.sizes(given=one.given)

    def memory(self, name: str, where: Any) -> None:
        """A pointer to a tensor or to memory that several kernels share; a complex number is two elements."""
        source: tuple[object, ...] = ("address", where)
        if not isinstance(where, Value):
            source = ("temporary", len(self.loops.temporaries))
            self.loops.temporaries.append(where)
        self.loops.parameters.append(Parameter(name, f"{self.short}*", source))

    def run(self, *, long: bool) -> None:
        one = self.one
        if long:
            halves = one.kind != "complex" and one.n % 2 == 0
            make = {"to half": self.to_half, "from half": self.from_half}[one.kind] if halves else self.whole_row
            count, body, size = one.outer, make(), one.n
        else:
            count, body = self.beside()
            size = one.n * self.lanes
        head = "\n".join(f"{a}{part} = stack_{self.short}({size + 1})" for a in "ab" for part in "ri")
        if not long:  # lanes that nothing is loaded into are computed with
            head += f"\nfor i in range({size}):\n    ar[i] = zero\n    ai[i] = zero"
        text = f"zero = np.{self.dtype}(0)\n{self.transform.definitions()}\n{head}\nfor item in range(lo, hi):\n"
        array = self.transform.array()
        self.loops.parameters.append(Parameter("t", f"{self.short}*", ("constant", array)))
        per_item = one.n * 3 * one.n.bit_length() * (1 if long else self.lanes) // 4
        self.loops.run(f"{text}{_indented(body, 4)}", count, per_item)

    def scaled(self, text: str, factor: float) -> str:
        return text if factor == 1 else f"{text} * {self.transform.number(factor)}"

    def load(self, place: str, at: str) -> str:
        """Load the number at `place` of the input; parts are exchanged for an inverse."""
        first, second = "ir" if self.one.inverse else "ri"
        if self.one.real_input:
            return f"a{first}[{at}] = {self.x}[{place}]\na{second}[{at}] = zero"
        return f"a{first}[{at}] = {self.x}[2 * ({place})]\na{second}[{at}] = {self.x}[2 * ({place}) + 1]"

    def store(self, end: str, place: str, at: str) -> str:
        first, second = "ir" if self.one.inverse else "ri"
        scale = self.one.scale
        if self.one.kind == "from half":
            return f"y[{place}] = {self.scaled(f'{end}{first}[{at}]', scale)}"
        real, imaginary = (self.scaled(f"{end}{part}[{at}]", scale) for part in (first, second))
        return f"y[2 * ({place})] = {real}\ny[2 * ({place}) + 1] = {imaginary}"

    # -- rows, one by one --

    def whole_row(self) -> str:
        """A row of complex numbers, or of an odd number of reals."""
        n, kind = self.one.n, self.one.kind
        text, end = self.transform.row(n, "a", "b")
        if kind == "from half":
            return f"""
{self.spectrum("item * given + i", "i", "mirrored")}
{text}
for i in range({n}):
    {self.store(end, f"item * {n} + i", "i")}
"""
        kept = n // 2 + 1 if kind == "to half" else n
        return f"""
count = min(given, {n})
for i in range(count):
{_indented(self.load("item * given + i", "i"), 4)}
for i in range(count, {n}):
    ar[i] = zero
    ai[i] = zero
{text}
for i in range({kept}):
{_indented(self.store(end, f"item * {kept} + i", "i"), 4)}
"""

    def to_half(self) -> str:
        """An even number of reals: pairs are complex numbers, and the spectrum is taken from theirs."""
        n = self.one.n
        h = n // 2
        cosines, sines = (self.transform.table(v) for v in half_angles(n))
        text, end = self.transform.row(h, "a", "b")
        factor = self.one.scale / 2
        real = self.scaled("(er + wr * gr - wi * gi)", factor)
        imaginary = self.scaled("(ei + wr * gi + wi * gr)", factor)
        return f"""
x0 = item * given
count = min(given, {n})
pairs = count // 2
for i in range(pairs):
    ar[i] = {self.x}[x0 + 2 * i]
    ai[i] = {self.x}[x0 + 2 * i + 1]
for i in range(pairs, {h}):
    ar[i] = zero
    ai[i] = zero
if count > 2 * pairs:
    ar[pairs] = {self.x}[x0 + count - 1]
{text}
{end}r[{h}] = {end}r[0]
{end}i[{h}] = {end}i[0]
y0 = item * {2 * (h + 1)}
for k in range({h + 1}):
    a = {end}r[k]
    b = {end}i[k]
    c = {end}r[{h} - k]
    d = {end}i[{h} - k]
    wr = t[{cosines} + k]
    wi = t[{sines} + k]
    er = a + c
    ei = b - d
    gr = b + d
    gi = c - a
    y[y0 + 2 * k] = {real}
    y[y0 + 2 * k + 1] = {imaginary}
"""

    def from_half(self) -> str:
        """The inverse of that."""
        n = self.one.n
        h = n // 2
        cosines, sines = (self.transform.table(v) for v in half_angles(n))
        text, end = self.transform.row(h, "a", "b")
        loaded = f"{self.x}[2 * (item * given + i)]", f"{self.x}[2 * (item * given + i) + 1]"
        if self.one.real_input:
            loaded = f"{self.x}[item * given + i]", "zero"
        return f"""
count = min(given, {h + 1})
for i in range(count):
    br[i] = {loaded[0]}
    bi[i] = {loaded[1]}
for i in range(count, {h + 1}):
    br[i] = zero
    bi[i] = zero
bi[0] = zero
bi[{h}] = zero
for k in range({h}):
    a = br[k]
    b = bi[k]
    c = br[{h} - k]
    d = bi[{h} - k]
    wr = t[{cosines} + k]
    wi = t[{sines} + k]
    dr = a - c
    di = b + d
    ar[k] = b - d + wr * dr + wi * di
    ai[k] = a + c - (wr * di - wi * dr)
{text}
y0 = item * {n}
for i in range({h}):
    y[y0 + 2 * i] = {self.scaled(f"{end}i[i]", self.one.scale)}
    y[y0 + 2 * i + 1] = {self.scaled(f"{end}r[i]", self.one.scale)}
"""

    def spectrum(self, place: str, at: str, mirrored: str, inner: str = "") -> str:
        """Load half a spectrum and what follows from it into a whole one, its parts exchanged for the inverse."""
        n = self.one.n
        imaginary = "zero" if self.one.real_input else f"{self.x}[2 * ({place}) + 1]"
        real = f"{self.x}[{place}]" if self.one.real_input else f"{self.x}[2 * ({place})]"
        lines = f"""
real = {real}
imaginary = {imaginary} if i > 0 and 2 * i < {n} else zero
ar[{at}] = imaginary
ai[{at}] = real
ar[{mirrored}] = -imaginary
ai[{mirrored}] = real
"""
        lines = _indented(lines, 4)
        if inner:
            lines = f"    for q in range({inner}):\n{_indented(lines, 4)}"
        zeros = f"for i in range(min(given, {n // 2 + 1}), {n // 2 + 1}):\n"
        clear = f"ar[{at}] = zero\nai[{at}] = zero\nar[{mirrored}] = zero\nai[{mirrored}] = zero"
        clear = _indented(clear, 4)
        if inner:
            clear = f"    for q in range({inner}):\n{_indented(clear, 4)}"
        loads = f"for i in range(min(given, {n // 2 + 1})):\n{lines}\n{zeros}{clear}"
        if mirrored == "mirrored":
            loads = loads.replace("[mirrored]", f"[({n} - i) % {n}]")
        return loads

    # -- several beside each other --

    def beside(self) -> tuple[Dim, str]:
        """The number of blocks of neighbours, and what becomes of one."""
        one, lanes, n = self.one, self.lanes, self.one.n
        kept = n // 2 + 1 if one.kind == "to half" else n
        count: Dim
        if one.inner == 1:
            self.loops.sizes(outer=one.outer)
            count = ceil_div(one.outer, lanes)
            head = f"lane = item * {lanes}\ncount = min({lanes}, outer - lane)"
            read, write = "(lane + q) * given + i", f"(lane + q) * {kept} + i"
        else:
            blocks = ceil_div(one.inner, lanes)
            self.loops.sizes(inner=one.inner, blocks=blocks)
            count = one.outer * blocks
            head = (
                f"lane = item % blocks * {lanes}\ncount = min({lanes}, inner - lane)\n"
                f"x0 = item // blocks * given * inner + lane\ny0 = item // blocks * {kept} * inner + lane"
            )
            read, write = "x0 + i * inner + q", "y0 + i * inner + q"
        text, end = self.transform.passes(n, lanes, "a", "b")
        if one.kind == "from half":
            load = self.spectrum(read, f"i * {lanes} + q", f"({n} - i) % {n} * {lanes} + q", "count")
        else:
            load = f"""
for i in range(min(given, {n})):
    for q in range(count):
{_indented(self.load(read, f"i * {lanes} + q"), 8)}
for i in range(min(given, {n}), {n}):
    for q in range({lanes}):
        ar[i * {lanes} + q] = zero
        ai[i * {lanes} + q] = zero
"""
        store = f"for i in range({kept}):\n    for q in range(count):\n"
        store += _indented(self.store(end, write, f"i * {lanes} + q"), 8)
        return count, f"{head}\n{load}\n{text}\n{store}"


FOURIER: dict[str, Callable[[Driver, Instruction], None]] = dict.fromkeys(
    ("fftn", "ifftn", "rfftn", "irfftn"), _run_fourier
)
