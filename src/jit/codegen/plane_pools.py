"""The kernel of pooling over contiguous planes: rows of a window are joined along memory, then its columns.

Rows of planes are often shorter than a vector or two, so what is done for each row counts: sizes that are small at the
first call are constants in a second form of the kernel, in which LLVM writes out whole rows.
"""

from ...ir.dims import Dim
from ..expected_sizes import SMALL_PLANE, expected_size
from .template import LoopText

__all__ = ["PlaneWindows", "plane_parameters", "pool_text"]

# Elements of the buffer that holds a joined row.
_BUFFER = 4096
# Windows with more rows or columns are joined by a loop, not by written-out steps.
_UNROLLED = 16


def plane_parameters(loops: LoopText, **sizes: Dim) -> tuple[list[str], dict[str, int]]:
    """Parameters for sizes of planes; gives statements for those that are literals, and the second form's constants."""
    known = {name: size for name, size in sizes.items() if isinstance(size, int)}
    others = {name: size for name, size in sizes.items() if not isinstance(size, int)}
    loops.sizes(**others)
    expected = {name: expected_size(size) for name, size in others.items()}
    short = {name: size for name, size in expected.items() if size is not None and size <= SMALL_PLANE}
    if len(short) < len(others) or any(size > SMALL_PLANE for size in known.values()):
        short = {}
    return [f"{name} = {size}" for name, size in known.items()], short


class PlaneWindows:
    """Windows over planes: their geometry, how elements are joined, and what a sum is divided by."""

    def __init__(self, geometry: tuple[tuple[int, int], ...], step: str, identity: str, dtype: str) -> None:
        self.kernel, self.stride, self.padding, dilation = geometry
        self.dilation = dilation
        self.step, self.identity, self.dtype = step, identity, dtype
        self.reach = [(self.kernel[axis] - 1) * dilation[axis] + 1 for axis in (0, 1)]

    def joined(self, places: list[str]) -> str:
        """The elements at these places, the first ones first."""
        text = places[0]
        for place in places[1:]:
            text = f"{self.step}({text}, {place})"
        return text


def _indented(lines: list[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]


def pool_text(windows: PlaneWindows, row_count: list[str], column_count: list[str], divided: str) -> str:
    """Statements for output rows [lo, hi) of planes of height x width, at `x` and `y`."""
    w = windows
    step = max(1, (_BUFFER - w.reach[1]) // w.stride[1] + 1)
    lines = [
        f"v = stack_{w.dtype}({_BUFFER})",
        "image = lo // out_height",
        "down = lo - image * out_height",
        "for item in range(lo, hi):",
        f"    top = down * {w.stride[0]} - {w.padding[0]}",
        "    x_row = (image * height + top) * width",
        *_indented(row_count, 1),
        f"    for first_window in range(0, out_width, {step}):",
        f"        windows = min({step}, out_width - first_window)",
        f"        start = first_window * {w.stride[1]} - {w.padding[1]}",
        f"        span = (windows - 1) * {w.stride[1]} + {w.reach[1]}",
        "        first = min(max(-start, 0), span)",
        "        last = max(first, min(span, width - start))",
        "        for e in range(first):",
        f"            v[e] = {w.identity}",
        "        for e in range(last, span):",
        f"            v[e] = {w.identity}",
        *_indented(_rows(w), 2),
        *_indented(_columns(w, column_count, divided), 2),
        "    down += 1",
        "    if down == out_height:",
        "        down = 0",
        "        image += 1",
    ]
    return "\n".join(lines)


def _rows(w: PlaneWindows) -> list[str]:
    """Statements that join the rows of the windows into `v[first:last]`: those inside the plane in one sweep."""
    place = "x_row + start + e"
    lines = [
        "seen = 0",
        f"for a in range({w.kernel[0]}):",
        f"    row = top + a * {w.dilation[0]}",
        "    if row >= 0 and row < height:",
        f"        base = x_row + a * {w.dilation[0]} * width + start",
        "        if seen == 0:",
        "            for e in range(first, last):",
        "                v[e] = x[base + e]",
        "        else:",
        "            for e in range(first, last):",
        f"                v[e] = {w.step}(v[e], x[base + e])",
        "        seen = 1",
        "if seen == 0:",
        "    for e in range(first, last):",
        f"        v[e] = {w.identity}",
    ]
    if w.kernel[0] > _UNROLLED:
        return lines
    rows = [f"x[{place} + {a * w.dilation[0]} * width]" if a else f"x[{place}]" for a in range(w.kernel[0])]
    return [
        f"if top >= 0 and top + {w.reach[0]} <= height:",
        "    for e in range(first, last):",
        f"        v[e] = {w.joined(rows)}",
        "else:",
        *_indented(lines, 1),
    ]


def _columns(w: PlaneWindows, column_count: list[str], divided: str) -> list[str]:
    """Statements that join the columns of each window and store the result."""
    target = "y[item * out_width + first_window + t]"
    if column_count:
        column_count = [f"left = (first_window + t) * {w.stride[1]} - {w.padding[1]}", *column_count]
    if w.kernel[1] <= _UNROLLED:
        columns = [f"v[t * {w.stride[1]} + {b * w.dilation[1]}]" for b in range(w.kernel[1])]
        return ["for t in range(windows):", *_indented([*column_count, f"{target} = {w.joined(columns)}{divided}"], 1)]
    return [
        "for t in range(windows):",
        *_indented(column_count, 1),
        f"    total = {w.identity}",
        f"    for b in range({w.kernel[1]}):",
        f"        total = {w.step}(total, v[t * {w.stride[1]} + b * {w.dilation[1]}])",
        f"    {target} = total{divided}",
    ]
