"""Kernels of extremes' positions and of prefix sums: along rows, and along columns in blocks of neighbours."""

from collections.abc import Callable
from textwrap import indent

from ...ir import dtypes
from ...ir.core import Instruction
from ...ir.dims import Dim
from ..expected_sizes import SHORT, expected_size
from .columns import COLUMNS, ceil_div
from .driver import Driver
from .fusion import Unsupported
from .indexing import element_count
from .kernel_text import Parameter
from .reads import axis_of
from .scalar_code import literal
from .template import LoopText, along, tensor_type
from .turning import LANES, LONGEST, are_turned, turning_statements

__all__ = ["extreme_and_place", "place_of_extreme", "scan"]

# A row in blocks: the extreme of each is found first, its place only in the block that has it. NaN is above all.
_EXTREME = """
for item in range(lo, hi):
    start = item // inner * n * inner + item % inner
    best = x[start]
    block = 0
    for first in range(0, n, 512):
        top = x[start + first * inner]
        for k in range(first + 1, min(first + 512, n)):
            top = {step}(top, x[start + k * inner])
        if top {symbol} best or (top != top and best == best):
            best = top
            block = first
    place = block
    for k in range(block, min(block + 512, n)):
        v = x[start + k * inner]
        if v == best or (v != v and best != best):
            place = k
            break
    {store}
"""

# Short rows without branches: where the length is a constant, LLVM handles several rows beside each other.
_EXTREME_SHORT = """
for item in range(lo, hi):
    start = item * n
    best = x[start]
    place = 0
    for k in range(1, n):
        v = x[start + k]
        better = v {symbol} best or (v != v and best == best)
        place = k if better else place
        best = v if better else best
    {store}
"""

# Of so many rows beside each other, each element in a vector; places are numbers of the same kind.
_EXTREME_TURNED = """
if n > {longest} or n < 2:
{plain}
else:
    tile = tile_buffer()
    turned = pointer_{kind}(tile)
    tops = stack_{kind}({lanes})
    places = stack_{kind}({lanes})
    for first in range(lo, hi, {lanes}):
        count = min({lanes}, hi - first)
        turn_rows_{kind}(rows + first * n * {size}, n, n, count, tile)
        for c in range({lanes}):
            tops[c] = turned[c]
            places[c] = {zero}
        for k in range(1, n):
            number = as_{kind}(k)
            for c in range({lanes}):
                v = turned[k * {lanes} + c]
                better = (v {symbol} tops[c]) | ((v != v) & (tops[c] == tops[c]))
                places[c] = select(better, number, places[c])
                tops[c] = select(better, v, tops[c])
        for c in range(count):
            item = first + c
            best, place = tops[c], as_i64(places[c])
            {store}
"""

_EXTREME_COLUMNS = """
tops = stack_{kind}({columns})
places = stack_i64({columns})
for item in range(lo, hi):
    first = item % blocks * {columns}
    count = min({columns}, inner - first)
    start = item // blocks * n * inner + first
    for c in range(count):
        tops[c] = x[start + c]
        places[c] = 0
    for k in range(1, n):
        for c in range(count):
            v = x[start + k * inner + c]
            better = v {symbol} tops[c] or (v != v and tops[c] == tops[c])
            places[c] = k if better else places[c]
            tops[c] = v if better else tops[c]
    for c in range(count):
        item_place = item // blocks * inner + first + c
        {store}
"""


def _run_extreme(driver: Driver, instruction: Instruction, symbol: str, *, with_value: bool) -> None:
    source, results = instruction.inputs[0], instruction.results
    dtype = tensor_type(source).dtype
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.write("y", results[0])
    if with_value:
        loops.write("z", results[1])
    shape = tensor_type(source).shape
    around: dict[str, Dim] = {"outer": 1, "n": element_count(shape), "inner": 1}
    if instruction.attributes["dim"] is not None and shape:
        around = along(source, axis_of(instruction, source))
    n, inner = around["n"], around["inner"]
    if dtype in (dtypes.float32, dtypes.float64) and inner != 1:
        loops.sizes(n=n, inner=inner, blocks=ceil_div(inner, COLUMNS))
        loops.requirements.helpers.update((f"stack_{dtype.short}", "stack_i64"))
        store = "y[item_place] = places[c]"
        if with_value:
            store = "y[item_place] = tops[c]\n        z[item_place] = places[c]"
        text = _EXTREME_COLUMNS.format(symbol=symbol, store=store, kind=dtype.short, columns=COLUMNS)
        loops.run(text, around["outer"] * ceil_div(inner, COLUMNS), n * COLUMNS)
        return
    loops.sizes(n=n, inner=inner)
    store = "y[item] = best\n    z[item] = place" if with_value else "y[item] = place"
    step = "maximum_step" if symbol == ">" else "minimum_step"
    size = expected_size(n)
    if inner == 1 and size is not None and 1 < size <= SHORT:
        text = _EXTREME_SHORT.format(symbol=symbol, store=store)
        loops.run(text, around["outer"], n, {"n": size})
        return
    loops.requirements.helpers.add(step)
    text = _EXTREME.format(symbol=symbol, step=step, store=store)
    if inner == 1 and are_turned(n, dtype) and dtype is not dtypes.int32:
        kind = dtype.short
        loops.parameters.append(Parameter("rows", "i64", ("address", source)))
        loops.requirements.helpers.update((f"stack_{kind}", f"as_{kind}", "as_i64"))
        loops.requirements.bits.add("select")
        loops.requirements.statements.extend(turning_statements(dtype))
        text = _EXTREME_TURNED.format(
            longest=LONGEST,
            plain=indent(text, "    "),
            kind=kind,
            lanes=LANES,
            size=dtype.itemsize,
            zero=literal(0, dtype),
            symbol=symbol,
            store=store.replace("    ", "            "),
        )
    loops.run(text, around["outer"] * inner, n)


def place_of_extreme(symbol: str) -> Callable[[Driver, Instruction], None]:
    """The kernel of argmax (">") or argmin ("<")."""
    return lambda driver, instruction: _run_extreme(driver, instruction, symbol, with_value=False)


def extreme_and_place(symbol: str) -> Callable[[Driver, Instruction], None]:
    """The kernel of a maximum or minimum with its place."""
    return lambda driver, instruction: _run_extreme(driver, instruction, symbol, with_value=True)


_SCAN = """
for item in range(lo, hi):
    start = item // inner * n * inner + item % inner
    total = {first}
    for k in range(n):
        place = start + k * inner
        total = {cast}(total {symbol} {cast}({element}))
        y[place] = total
"""

# Four rows beside each other: one sum need not wait for another.
_SCAN_ROWS = """
for item in range(lo, hi - 3, 4):
    a = item * n
    b, c, d = a + n, a + 2 * n, a + 3 * n
    ta, tb, tc, td = {first}, {first}, {first}, {first}
    for k in range(n):
        ta = {cast}(ta {symbol} {cast}(x[a + k]))
        tb = {cast}(tb {symbol} {cast}(x[b + k]))
        tc = {cast}(tc {symbol} {cast}(x[c + k]))
        td = {cast}(td {symbol} {cast}(x[d + k]))
        y[a + k] = ta
        y[b + k] = tb
        y[c + k] = tc
        y[d + k] = td
for item in range(hi - (hi - lo) % 4, hi):
    total = {first}
    for k in range(item * n, item * n + n):
        total = {cast}(total {symbol} {cast}(x[k]))
        y[k] = total
"""

_SCAN_COLUMNS = """
totals = stack_{kind}({columns})
for item in range(lo, hi):
    first = item % blocks * {columns}
    count = min({columns}, inner - first)
    start = item // blocks * n * inner + first
    for c in range(count):
        totals[c] = {first}
    for k in range(n):
        for c in range(count):
            total = {cast}(totals[c] {symbol} {cast}(x[start + k * inner + c]))
            totals[c] = total
            y[start + k * inner + c] = total
"""


def scan(symbol: str, first: int) -> Callable[[Driver, Instruction], None]:
    """The kernel of running sums ("+", 0) or products ("*", 1)."""

    def emit(driver: Driver, instruction: Instruction) -> None:
        source, result = instruction.inputs[0], instruction.results[0]
        dtype = tensor_type(result).dtype
        if dtype is dtypes.bool_:
            raise Unsupported(f"{instruction.op.name} in bool", instruction.location)
        around: dict[str, Dim] = {"outer": 1, "n": 1, "inner": 1}
        if tensor_type(source).shape:
            around = along(source, axis_of(instruction, source))
        n, inner, outer = around["n"], around["inner"], around["outer"]
        loops = LoopText(driver, instruction)
        loops.read("x", source)
        loops.write("y", result)
        parts = {"cast": f"as_{dtype.short}", "symbol": symbol, "first": literal(first, dtype)}
        loops.requirements.helpers.add(parts["cast"])
        is_bool = tensor_type(source).dtype is dtypes.bool_
        if is_bool or dtype not in (dtypes.float32, dtypes.float64, dtypes.int64):
            loops.sizes(n=n, inner=inner)
            loops.run(_SCAN.format(**parts, element="(x[place] != 0)" if is_bool else "x[place]"), outer * inner, n)
        elif inner == 1:
            loops.sizes(n=n)
            loops.run(_SCAN_ROWS.format(**parts), outer, n)
        else:
            loops.sizes(n=n, inner=inner, blocks=ceil_div(inner, COLUMNS))
            loops.requirements.helpers.add(f"stack_{dtype.short}")
            text = _SCAN_COLUMNS.format(**parts, kind=dtype.short, columns=COLUMNS)
            loops.run(text, outer * ceil_div(inner, COLUMNS), n * COLUMNS)

    return emit
