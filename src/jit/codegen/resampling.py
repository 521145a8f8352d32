"""Kernels of interpolation: weighted sums of neighbours along a dimension, and the nearest pixels of images.

Along the last dimension each result has its own neighbours; no vector instruction reads them faster than scalar loads
do, so several rows go side by side and share what the tables say. Along other dimensions whole rows are joined.
"""

from collections.abc import Callable

from ...ir import dtypes
from ...ir.core import Block, Graph, Instruction, Value
from ...ir.dims import Dim
from ...ir.ops.resample import lookups
from ...ir.rewrite import Rewriter
from ...ir.types import TensorType
from .driver import Driver
from .indexing import element_count
from .plane_pools import plane_parameters
from .scalar_code import literal
from .template import LoopText, tensor_type

__all__ = ["RESAMPLING", "for_convolutions", "is_resampled", "run_nearest", "run_resample", "run_resample_gradient"]

RESAMPLING = ("resample", "resample_grad", "interpolate")
# More neighbours than this are summed by a loop.
_UNROLLED = 16
# Rows that share the reading of the tables.
_ROWS = 4
# Up to so many weights, rows that get so many times as long are computed by vectors where their weights repeat.
_REPEATED, _PERIODS = 4, (2, 4)
# Columns of the table on the stack that says which pixels of a row are the nearest.
_COLUMNS = 2048


def is_resampled(instruction: Instruction) -> bool:
    """Whether an interpolation has a kernel here."""
    if instruction.op.name not in RESAMPLING:
        return False
    if instruction.op.name == "interpolate" and not instruction.attributes["mode"].startswith("nearest"):
        return False
    type = instruction.results[0].type
    return isinstance(type, TensorType) and type.dtype in (dtypes.float32, dtypes.float64)


def for_convolutions(graph: Graph) -> Graph:
    """The graph with interpolations of what convolutions read as lookups, which keep the layout of their images."""
    found = {i for i in graph.walk_all() if i.op.name == "interpolate" and i.results[0] in _convolved(i.block)}
    return _Lookups(graph, found).run() if found else graph


class _Lookups(Rewriter):
    """Replaces some interpolations by lookups of their neighbours."""

    def __init__(self, source: Graph, found: set[Instruction]) -> None:
        super().__init__(source)
        self.found = found

    def visit(self, instruction: Instruction) -> None:
        if instruction not in self.found:
            super().visit(instruction)
            return
        values = self.call(lookups, self.copy(instruction))
        self.replace(instruction.results, values)


def _convolved(block: Block | None) -> set[Value]:
    """Values that reach a convolution of images of the same block as images."""
    found: set[Value] = set()
    for instruction in reversed(block.instructions if block is not None else []):
        name = instruction.op.name
        if name.startswith("conv2d") or name.startswith("conv_transpose2d"):
            found.add(instruction.inputs[0])
        elif any(r in found for r in instruction.results):
            found.update(v for v in instruction.inputs if isinstance(v.type, TensorType) and v.type.rank == 4)
    return found


def _indented(lines: list[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]


def _around(value: Value, axis: int) -> tuple[Dim, Dim, Dim]:
    shape = tensor_type(value).shape
    return element_count(shape[:axis]), shape[axis], element_count(shape[axis + 1 :])


def _sum(terms: list[str]) -> str:
    return " + ".join(terms)


# -- weighted sums -----------------------------------------------------------------------------------------------------


def run_resample(driver: Driver, instruction: Instruction) -> None:
    """Weighted sums of neighbours along one dimension."""
    source, start, weight = instruction.inputs
    result = instruction.results[0]
    taps = instruction.attributes["taps"]
    axis = instruction.attributes["dim"] % tensor_type(source).rank
    outer, n, inner = _around(source, axis)
    count = tensor_type(result).shape[axis]
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.read("start", start)
    loops.read("weight", weight)
    loops.write("y", result)
    loops.sizes(n=n, count=count)
    if inner == 1:
        loops.run("\n".join(_along_rows(taps)), outer, count * (2 * taps))
        return
    loops.sizes(inner=inner)
    loops.run("\n".join(_across_rows(taps)), outer * count, inner * taps)


def _by_rows(body: Callable[[int], list[str]]) -> list[str]:
    """Rows [lo, hi): several beside each other as long as there are as many, then one by one."""
    return [
        "item = lo",
        "while item < hi:",
        f"    if hi - item >= {_ROWS}:",
        *_indented(body(_ROWS), 2),
        f"        item += {_ROWS}",
        "    else:",
        *_indented(body(1), 2),
        "        item += 1",
    ]


def _along_rows(taps: int) -> list[str]:
    """Rows [lo, hi): by vectors where they get two or four times as long and weights repeat, else side by side."""
    plain = _by_rows(lambda rows: _row_loop(taps, rows))
    if taps > _REPEATED:
        return plain
    lines = _find_period(taps)
    for number, period in enumerate(_PERIODS):
        lines += [f"{'elif' if number else 'if'} period == {period}:", *_indented(_periodic_rows(taps, period), 1)]
    return [*lines, "else:", *_indented(plain, 1)]


def _find_period(taps: int) -> list[str]:
    """Statements that find the `period` of the tables, but for two periods at either end; 0 where there is none."""
    differs = [f"weight[(o + period) * {taps} + {t}] != weight[o * {taps} + {t}]" for t in range(taps)]
    lines = ["period = 0"]
    for period in _PERIODS:
        lines += [f"if count == {period} * n and n > 6:", f"    period = {period}"]
    return [
        *lines,
        "if period > 0:",
        "    same = True",
        "    for o in range(2 * period, count - 3 * period):",
        f"        if start[o + period] != start[o] + 1 or {' or '.join(differs)}:",
        "            same = False",
        "    for o in range(2 * period, 3 * period):",
        f"        if start[o] < 0 or start[o + count - 5 * period] + {taps} > n:",
        "            same = False",
        "    if not same:",
        "        period = 0",
    ]


def _periodic_rows(taps: int, period: int) -> list[str]:
    stores = []
    for r in range(period):
        total = _sum([f"x[s{r} + q + {t}] * w{r}_{t}" for t in range(taps)])
        stores.append(f"y[y0 + q * {period} + {r}] = {total}")
    edge = _sum([f"x[x0 + p{t}] * w{t}" for t in range(taps)])
    return [
        *(f"w{r}_{t} = weight[{(2 * period + r) * taps + t}]" for r in range(period) for t in range(taps)),
        "for item in range(lo, hi):",
        "    x0, y0 = item * n, item * count",
        f"    for k in range({4 * period}):",
        f"        o = k if k < {2 * period} else count - {4 * period} + k",
        *_indented([*_tap_lines(taps), f"y[y0 + o] = {edge}"], 2),
        *(f"    s{r} = x0 + start[{2 * period + r}] - 2" for r in range(period)),
        "    for q in range(2, n - 2):",
        *_indented(stores, 2),
    ]


def _row_loop(taps: int, rows: int) -> list[str]:
    bases = [f"x{r} = (item + {r}) * n" for r in range(rows)]
    if taps > _UNROLLED:
        return [
            *bases,
            "for o in range(count):",
            "    first, w = start[o], o * " + str(taps),
            *_indented([f"total{r} = x[x{r} + min(max(first, 0), n - 1)] * weight[w]" for r in range(rows)], 1),
            f"    for t in range(1, {taps}):",
            "        place = min(max(first + t, 0), n - 1)",
            *_indented([f"total{r} += x[x{r} + place] * weight[w + t]" for r in range(rows)], 2),
            *_indented([f"y[(item + {r}) * count + o] = total{r}" for r in range(rows)], 1),
        ]
    stores = [
        f"y[(item + {r}) * count + o] = " + _sum([f"x[x{r} + p{t}] * w{t}" for t in range(taps)]) for r in range(rows)
    ]
    return [*bases, "for o in range(count):", *_indented([*_tap_lines(taps), *stores], 1)]


def _tap_lines(taps: int, scale: str = "") -> list[str]:
    """The places and weights of the neighbours of result `o`."""
    lines = ["first = start[o]"]
    for t in range(taps):
        lines.append(f"p{t} = min(max(first + {t}, 0), n - 1){scale}")
    return [*lines, *(f"w{t} = weight[o * {taps} + {t}]" for t in range(taps))]


def _across_rows(taps: int) -> list[str]:
    """Results [lo, hi) of `inner` elements each, which are sums of rows."""
    lines = [
        "part = lo // count",
        "o = lo - part * count",
        "for item in range(lo, hi):",
        "    x_part, y_row = part * n * inner, item * inner",
    ]
    if taps <= _UNROLLED:
        total = _sum([f"x[x_part + p{t} + e] * w{t}" for t in range(taps)])
        lines += _indented([*_tap_lines(taps, " * inner"), "for e in range(inner):", f"    y[y_row + e] = {total}"], 1)
    else:
        lines += [
            "    place, w = x_part + min(max(start[o], 0), n - 1) * inner, weight[o * " + f"{taps}]",
            "    for e in range(inner):",
            "        y[y_row + e] = x[place + e] * w",
            f"    for t in range(1, {taps}):",
            f"        place, w = x_part + min(max(start[o] + t, 0), n - 1) * inner, weight[o * {taps} + t]",
            "        for e in range(inner):",
            "            y[y_row + e] += x[place + e] * w",
        ]
    return [*lines, "    o += 1", "    if o == count:", "        o = 0", "        part += 1"]


# -- gradients ---------------------------------------------------------------------------------------------------------


def run_resample_gradient(driver: Driver, instruction: Instruction) -> None:
    """Gradients of weighted sums, given to the neighbours."""
    gradient, start, weight = instruction.inputs[:3]
    result = instruction.results[0]
    taps = instruction.attributes["taps"]
    axis = instruction.attributes["dim"] % tensor_type(result).rank
    outer, n, inner = _around(result, axis)
    count = tensor_type(gradient).shape[axis]
    zero = literal(0, tensor_type(result).dtype)
    loops = LoopText(driver, instruction)
    loops.read("g", gradient)
    loops.read("start", start)
    loops.read("weight", weight)
    loops.write("x", result)
    loops.sizes(n=n, count=count)
    if inner == 1:
        lines = _by_rows(lambda rows: _row_gradients(taps, rows, zero))
        loops.run("\n".join(lines), outer, count * (4 * taps))
        return
    loops.sizes(inner=inner)
    lines = [
        "for part in range(lo, hi):",
        "    x_part, g_part = part * n * inner, part * count * inner",
        "    for e in range(n * inner):",
        f"        x[x_part + e] = {zero}",
        "    for o in range(count):",
        f"        for t in range({taps}):",
        "            place = x_part + min(max(start[o] + t, 0), n - 1) * inner",
        f"            w, g_row = weight[o * {taps} + t], g_part + o * inner",
        "            for e in range(inner):",
        "                x[place + e] += g[g_row + e] * w",
    ]
    loops.run("\n".join(lines), outer, inner * count * (2 * taps))


def _row_gradients(taps: int, rows: int, zero: str) -> list[str]:
    adds = [f"x[x{r} + place] += g[(item + {r}) * count + o] * w" for r in range(rows)]
    return [
        *(f"x{r} = (item + {r}) * n" for r in range(rows)),
        f"for e in range({rows} * n):",
        f"    x[x0 + e] = {zero}",
        "for o in range(count):",
        f"    for t in range({taps}):",
        f"        place, w = min(max(start[o] + t, 0), n - 1), weight[o * {taps} + t]",
        *_indented(adds, 2),
    ]


# -- nearest pixels ----------------------------------------------------------------------------------------------------


def run_nearest(driver: Driver, instruction: Instruction) -> None:
    """The nearest elements of images: rows of 2 or 4 times the length are spread, others that repeat are copied."""
    source, result = instruction.inputs[0], instruction.results[0]
    shape, out = tensor_type(source).shape, tensor_type(result).shape
    spatial = len(shape) - 2
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.write("y", result)
    names = ("depth", "height", "width")[3 - spatial :]
    sizes = dict(zip(names, shape[2:], strict=True)) | {f"out_{n}": s for n, s in zip(names, out[2:], strict=True)}
    lines, short = plane_parameters(loops, **sizes)
    loops.requirements.helpers.add("stack_i64")
    factors = instruction.attributes["scale_factor"]
    shift = "0.5" if instruction.attributes["mode"] == "nearest-exact" else "0.0"
    for axis, name in enumerate(names):
        if factors is None:
            lines.append(f"{name}_step = float({name}) / float(out_{name})")
        else:
            factor = factors[axis] if isinstance(factors, tuple) else factors
            lines.append(f"{name}_step = {1.0 / float(factor)!r}")

    def nearest(name: str, index: str) -> str:
        return f"min(int((float({index}) + {shift}) * {name}_step), {name} - 1)"

    lines += [
        f"table = stack_i64({_COLUMNS})",
        f"for left in range(0, out_width, {_COLUMNS}):",
        f"    columns = min({_COLUMNS}, out_width - left)",
        "    for o in range(columns):",
        f"        table[o] = {nearest('width', 'left + o')}",
        "    before, last = -1, 0",
        "    for item in range(lo, hi):",
    ]
    if spatial == 1:
        lines.append("        row = item")
    else:
        lines += ["        part = item // out_height", "        down = item - part * out_height"]
        if spatial == 3:
            lines += [
                "        plane = part // out_depth",
                f"        part = plane * depth + {nearest('depth', 'part - plane * out_depth')}",
            ]
        lines.append(f"        row = part * height + {nearest('height', 'down')}")
    lines += [
        "        place, base = item * out_width + left, row * width",
    ]
    for number, factor in enumerate((2, 4)):
        lines += [
            f"        {'elif' if number else 'if'} out_width == {factor} * width and width_step * {factor}.0 == 1.0:",
            f"            first = base + left // {factor}",
            f"            for o in range(columns // {factor}):",
            *(f"                y[place + o * {factor} + {k}] = x[first + o]" for k in range(factor)),
        ]
    lines += [
        "        elif row == before:",
        "            for o in range(columns):",
        "                y[place + o] = y[last + o]",
        "        else:",
        "            for o in range(columns):",
        "                y[place + o] = x[base + table[o]]",
        "        before, last = row, place",
    ]
    loops.run("\n".join(lines), element_count(out[:-1]), out[-1], short)
