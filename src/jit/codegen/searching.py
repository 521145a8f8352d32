"""The kernel of searches in sorted rows: halving without branches, so that searches of neighbours run side by side."""

from ...ir import dtypes
from ...ir.core import Instruction
from ...ir.types import TensorType
from .driver import Driver
from .fusion import Unsupported
from .indexing import element_count
from .template import LoopText, tensor_type

__all__ = ["run_searchsorted"]

# All searches in rows of one length take the same number of steps. NaN is above all.
_SEARCH = """
for item in range(lo, hi):
    v = x[item]
    first = {row}
    start = first
    count = n
    while count > 1:
        half = count >> 1
        a = s[first + half - 1]
        first = first + half if {before} else first
        count -= half
    if count == 1:
        a = s[first]
        first = first + 1 if {before} else first
    y[item] = {cast}(first - start)
"""


def run_searchsorted(driver: Driver, instruction: Instruction) -> None:
    sequence, values, sorter = instruction.operands
    assert sequence is not None and values is not None
    result = instruction.results[0]
    if sorter is not None or not isinstance(values.type, TensorType):
        raise Unsupported("searchsorted of a number, or with a sorter, has no native kernel", instruction.location)
    dtype = tensor_type(sequence).dtype
    if values.type.dtype is not dtype or dtype is dtypes.bool_:
        raise Unsupported("searchsorted among elements of another dtype has no native kernel", instruction.location)
    right = instruction.attributes["right"]
    before = "a <= v or v != v" if right else "a < v or (v != v and a == a)"
    loops = LoopText(driver, instruction)
    loops.read("s", sequence)
    loops.read("x", values)
    loops.write("y", result)
    n = tensor_type(sequence).shape[-1]
    loops.sizes(n=n)
    row = "0"
    if tensor_type(sequence).rank > 1:
        loops.sizes(per_row=values.type.shape[-1])
        row = "item // per_row * n"
    cast = f"as_{tensor_type(result).dtype.short}"
    loops.requirements.helpers.add(cast)
    loops.run(_SEARCH.format(row=row, before=before, cast=cast), element_count(values.type.shape), 40)
