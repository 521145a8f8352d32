"""Neighbours along the innermost loop handled together by one thread, so that memory is read 16 bytes at a time.

The statements for an element are repeated for its neighbours, those that load and compute side by side, so that
`wide.widen` finds the accesses next to each other and so that several loads are under way at once. What a loop carries
from element to element (the accumulators of reductions) follows in the order of the elements.
"""

import re
from collections.abc import Iterable, Sequence

from ....ir.dims import Dim, substitute
from ..indexing import coefficient, depends_on, terms
from .special_functions import looping

__all__ = ["divisible_by", "repeated", "vector_form"]

# These loop, take much longer than memory does, and would be written out once for each neighbour.
_SERIES = re.compile(rf"\b({'|'.join(sorted(looping()))}|(floor_remainder|floor_divide|fmod|digamma)_f\d+)\(")


def vector_form(accesses: Iterable[tuple[Dim, int]], inner: str, extent: Dim) -> tuple[int, tuple[Dim, ...]]:
    """How many neighbours 16 bytes hold, and what must be divisible by that; 1 where they cannot be taken together.

    `accesses` are addresses in elements with the size of an element. Each must go along the innermost loop or not
    depend on it, with elements of 4 or 8 bytes; smaller ones are read one by one.
    """
    sizes: set[int] = set()
    steps: dict[Dim, None] = {extent: None}  # in order
    for place, size in accesses:
        step = coefficient(place, inner)
        if step == 0 and inner not in depends_on([place]):
            continue
        if step != 1:
            return 1, ()
        if size < 4:
            continue
        sizes.add(size)
        for _, factor in terms(substitute(place, {inner: 0})):
            steps[factor] = None
    if not sizes or not sizes <= {4, 8}:
        return 1, ()
    lanes = 16 // min(sizes)
    divisible = divisible_by(steps, lanes)
    return (1, ()) if divisible is None else (lanes, divisible)


def divisible_by(sizes: Iterable[Dim], lanes: int) -> tuple[Dim, ...] | None:
    """Those of the sizes of which it is not known that `lanes` divides them, each once; None where it does not."""
    if any(isinstance(s, int) and s % lanes for s in sizes):
        return None
    return tuple(dict.fromkeys(s for s in sizes if not isinstance(s, int)))


def repeated(lines: Sequence[str], inner: str, lanes: int) -> list[str] | None:
    """The statements of a loop's body for `lanes` neighbours at `inner`; None where that cannot be.

    Statements that branch, or call what loops, or read memory that others of them store to, stay as they are.

    >>> repeated(["v = x[i]", "a = a + v"], "i", 2)
    ['v = x[i]', 'v_1 = x[(i + 1)]', 'a = a + v', 'a = a + v_1']
    """
    if any(line.startswith((" ", "if ", "for ")) or _SERIES.search(line) for line in lines):
        return None
    carried = _carried(lines)
    varying = {inner}  # what differs between neighbours
    for line in lines:
        target = re.match(r"(\w+) = (.*)", line)
        if target is not None and target[1] not in carried and varying & _names(target[2]):
            varying.add(target[1])
    names = re.compile(rf"\b({'|'.join(map(re.escape, sorted(varying)))})\b")

    def at(line: str, lane: int) -> str:
        if lane == 0:
            return line
        return names.sub(lambda m: f"({inner} + {lane})" if m[1] == inner else f"{m[1]}_{lane}", line)

    side_by_side: list[str] = []
    stores: list[str] = []
    in_order: list[str] = []
    after = set(carried)  # what depends on what is carried
    stored: set[str] = set()
    for line in lines:
        assigned = re.match(r"(\w+) = ", line)
        if line.startswith("#"):
            side_by_side.append(line)
        elif stored & set(re.findall(r"(\w+)\[", line if assigned is None else line[assigned.end() :])):
            return None
        elif after & _names(line):
            in_order.append(line)
            if assigned is not None:
                after.add(assigned[1])
        else:
            if assigned is None:
                stored.add(line.partition("[")[0])
            own = lanes if assigned is None or assigned[1] in varying else 1
            (side_by_side if assigned is not None else stores).extend(at(line, lane) for lane in range(own))
    return [*side_by_side, *stores, *(at(line, lane) for lane in range(lanes) for line in in_order)]


def _names(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", text))


def _carried(lines: Sequence[str]) -> set[str]:
    """The variables that are read before the body assigns them."""
    assigned: set[str] = set()
    read: set[str] = set()
    for line in lines:
        if line.startswith("#"):
            continue
        target = re.match(r"(\w+) = (.*)", line)
        read |= _names(line if target is None else target[2]) - assigned
        if target is not None:
            assigned.add(target[1])
    return assigned & read
