"""Kernels of running extremes and of running sums of exponentials, along rows and along columns."""

import math
from collections.abc import Callable

from ...ir.core import Instruction
from ...ir.dims import Dim
from .columns import COLUMNS, ceil_div
from .driver import Driver
from .reads import axis_of
from .scalar_code import literal
from .template import LoopText, along, tensor_type

__all__ = ["run_logcumsumexp", "running_extreme"]

# One element of a row: NaN is above all and stays, and of equal ones the last counts.
_ELEMENT = """
v = x[{start} + k]
better = (v {symbol}= {best}) | (v != v)
{place} = select(better, k, {place})
{best} = select(better, v, {best})
y[{start} + k] = {best}
z[{start} + k] = {place}
"""

# Long rows in blocks, most of which change nothing; short rows beside each other: one need not wait for another.
_ROWS = """
if n >= {long}:
    for item in range(lo, hi):
        a = item * n
        best, place = x[a], 0
        for first in range(0, n, {block}):
            last = min(first + {block}, n)
            top = x[a + first]
            for k in range(first + 1, last):
                top = {step}(top, x[a + k])
            if best {symbol} top or (best != best and top == top):
                for k in range(first, last):
                    y[a + k] = best
                    z[a + k] = place
            else:
                for k in range(first, last):
{one}
elif n > 0:
    for item in range(lo, hi - 3, 4):
        a = item * n
        b, c, d = a + n, a + 2 * n, a + 3 * n
        ta, tb, tc, td = x[a], x[b], x[c], x[d]
        pa, pb, pc, pd = 0, 0, 0, 0
        for k in range(n):
{several}
    for item in range(hi - (hi - lo) % 4, hi):
        a = item * n
        ta = x[a]
        pa = 0
        for k in range(n):
{single}
"""
# Elements of a block, and of the rows from which on there are blocks.
_BLOCK, _LONG = 64, 512

_COLUMNS = """
places = stack_i64({columns})
for item in range(lo, hi):
    first = item % blocks * {columns}
    count = min({columns}, inner - first)
    start = item // blocks * n * inner + first
    for c in range(count):
        places[c] = 0
    for k in range(n):
        here = start + k * inner
        before = here - inner if k > 0 else here
        for c in range(count):
            v = x[here + c]
            best = v if k == 0 else y[before + c]
            better = v {symbol}= best or v != v
            places[c] = k if better else places[c]
            y[here + c] = v if better else best
            z[here + c] = places[c]
"""


def _around(instruction: Instruction) -> tuple[Dim, Dim, Dim]:
    source = instruction.inputs[0]
    if not tensor_type(source).shape:
        return 1, 1, 1
    around = along(source, axis_of(instruction, source))
    return around["outer"], around["n"], around["inner"]


def _indented(text: str, depth: int) -> str:
    return "\n".join(" " * depth + line for line in text.strip("\n").splitlines())


def running_extreme(symbol: str) -> Callable[[Driver, Instruction], None]:
    """The kernel of cummax (">") or cummin ("<")."""

    def emit(driver: Driver, instruction: Instruction) -> None:
        outer, n, inner = _around(instruction)
        loops = LoopText(driver, instruction)
        loops.read("x", instruction.inputs[0])
        loops.write("y", instruction.results[0])
        loops.write("z", instruction.results[1])
        if inner == 1:
            loops.sizes(n=n)
            parts = [
                _indented(_ELEMENT.format(start=row, best=f"t{row}", place=f"p{row}", symbol=symbol), 12)
                for row in "abcd"
            ]
            one = _indented(_ELEMENT.format(start="a", best="best", place="place", symbol=symbol), 20)
            step = "maximum_step" if symbol == ">" else "minimum_step"
            loops.requirements.helpers.add(step)
            loops.requirements.bits.add("select")
            text = _ROWS.format(
                several="\n".join(parts), single=parts[0], one=one, step=step, symbol=symbol, block=_BLOCK, long=_LONG
            )
            loops.run(text, outer, n)
            return
        loops.sizes(n=n, inner=inner, blocks=ceil_div(inner, COLUMNS))
        loops.requirements.helpers.add("stack_i64")
        loops.run(_COLUMNS.format(symbol=symbol, columns=COLUMNS), outer * ceil_div(inner, COLUMNS), n * COLUMNS)

    return emit


# The sum is kept as s e^m with the largest element m: one exponential for each element, of what is not above 0.
_SUM = """
e = exp_{kind}(select(v == m, {zero}, -magnitude(v - m)))
s = select(v > m, s * e + {one}, s + e)
m = select(v > m, v, m)
"""

_SUM_ROWS = """
for item in range(lo, hi):
    m, s = {lowest}, {zero}
    for k in range(item * n, item * n + n):
        v = x[k]
{sum}
        y[k] = m + log_{kind}(s)
"""

_SUM_COLUMNS = """
peaks = stack_{kind}({columns})
sums = stack_{kind}({columns})
for item in range(lo, hi):
    first = item % blocks * {columns}
    count = min({columns}, inner - first)
    start = item // blocks * n * inner + first
    for c in range(count):
        peaks[c] = {lowest}
        sums[c] = {zero}
    for k in range(n):
        here = start + k * inner
        for c in range(count):
            v = x[here + c]
            m, s = peaks[c], sums[c]
{sum}
            peaks[c], sums[c] = m, s
            y[here + c] = m + log_{kind}(s)
"""


def run_logcumsumexp(driver: Driver, instruction: Instruction) -> None:
    """Logarithms of running sums of exponentials, without overflow."""
    outer, n, inner = _around(instruction)
    dtype = tensor_type(instruction.results[0]).dtype
    loops = LoopText(driver, instruction)
    loops.read("x", instruction.inputs[0])
    loops.write("y", instruction.results[0])
    loops.sizes(n=n, inner=inner, blocks=ceil_div(inner, COLUMNS))
    loops.requirements.vector.update({("exp", dtype.short), ("log", dtype.short)})
    loops.requirements.bits.update(("select", "magnitude"))
    parts = {"kind": dtype.short, "zero": literal(0, dtype), "one": literal(1, dtype), "columns": COLUMNS}
    parts["lowest"] = literal(-math.inf, dtype)
    update = _SUM.format(**parts)
    if inner == 1:
        loops.run(_SUM_ROWS.format(**parts, sum=_indented(update, 8)), outer, n * 20)
        return
    loops.requirements.helpers.add(f"stack_{dtype.short}")
    text = _SUM_COLUMNS.format(**parts, sum=_indented(update, 12))
    loops.run(text, outer * ceil_div(inner, COLUMNS), n * COLUMNS * 4)
