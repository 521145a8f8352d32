"""Kernels of ops whose results are as long as the data says: different elements, and counts of small numbers."""

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import DType
from ...ir.types import TensorType
from .driver import Driver
from .fusion import Unsupported
from .indexing import element_count
from .ordering import sort_all
from .template import LoopText, tensor_type

__all__ = ["run_bincount", "run_unique"]


class _Memory:
    """Memory of this op's own, as a value that kernels read and write."""

    def __init__(self, driver: Driver, count: Dim, dtype: DType) -> None:
        self.driver = driver
        self.storage = driver.temporary(count, dtype)
        self.value = Value(TensorType(dtype, (count,)))
        driver.touch(self.storage)
        driver.storages[self.value] = self.storage

    def number(self, place: int) -> str:
        """An element as a local of the driver."""
        name = self.driver.fresh("d")
        self.driver.touch(self.storage)
        self.driver.line(f"{name} = pointer_i64({self.storage.address})[{place}]")
        return name


_EXTREMES = """
for once in range(lo, hi):
    low, high = np.int64(0), np.int64(-1)
    for k in range(n):
        low = min(low, np.int64(x[k]))
        high = max(high, np.int64(x[k]))
    extremes[0] = low
    extremes[1] = high
"""

_COUNT = """
for once in range(lo, hi):
    for k in range(size):
        y[k] = 0
    for k in range(n):
        y[x[k]] += {weight}
"""


def run_bincount(driver: Driver, instruction: Instruction) -> None:
    source, weights = instruction.operands
    assert source is not None
    result, n = instruction.results[0], tensor_type(source).shape[0]
    extremes = _Memory(driver, 2, dtypes.int64)
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.read("extremes", extremes.value)
    loops.sizes(n=n)
    loops.run(_EXTREMES, 1, n)
    low, high = extremes.number(0), extremes.number(1)
    message = "bincount only supports 1-d non-negative integral inputs"
    driver.fail_if(f"{low} < 0", "RuntimeError", message, instruction.location)
    size = driver.fresh("d")
    driver.line(f"{size} = max({high} + 1, {instruction.attributes['minlength']})")
    driver.bind_symbols(result.type, [size])
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    weight = "1"
    if weights is not None:
        loops.read("w", weights)
        cast = f"as_{tensor_type(result).dtype.short}"
        loops.requirements.helpers.add(cast)
        weight = f"{cast}(w[k])"
    loops.write("y", result)
    loops.sizes(n=n, size=tensor_type(result).shape[0])
    loops.run(_COUNT.format(weight=weight), 1, n * 2)


_FIND = """
for once in range(lo, hi):
    found = 0
    for k in range(n):
        found += k == 0 or x[k] != x[max(k - 1, 0)]
        inverse[{place}] = found - 1
    count[0] = found
"""

_TAKE = """
for once in range(lo, hi):
    found, start = 0, 0
    for k in range(n):
        if k == 0 or x[k] != x[max(k - 1, 0)]:
            if found > 0:
                counts[found - 1] = k - start
            start = k
            y[found] = x[k]
            found += 1
    if found > 0:
        counts[found - 1] = n - start
"""


def run_unique(driver: Driver, instruction: Instruction) -> None:
    (source,) = instruction.inputs
    result, inverse, counts = instruction.results
    kind = tensor_type(source)
    if instruction.attributes["dim"] is not None:
        raise Unsupported("unique of slices has no native kernel", instruction.location)
    n = element_count(kind.shape)
    ordered, places = source, None
    if not instruction.attributes["consecutive"]:
        memory, places = _Memory(driver, n, kind.dtype), _Memory(driver, n, dtypes.int64)
        ordered = memory.value
        sort_all(driver, instruction, source, ordered, places.value)
    count = _Memory(driver, 1, dtypes.int64)
    loops = LoopText(driver, instruction)
    loops.read("x", ordered)
    if places is not None:
        loops.read("places", places.value)
    loops.read("count", count.value)
    loops.write("inverse", inverse)
    loops.sizes(n=n)
    loops.run(_FIND.format(place="k" if places is None else "places[k]"), 1, n)
    driver.bind_symbols(result.type, [count.number(0)])
    loops = LoopText(driver, instruction)
    loops.read("x", ordered)
    loops.write("y", result)
    loops.write("counts", counts)
    loops.sizes(n=n)
    loops.run(_TAKE, 1, n)
    if ordered is not source:
        driver.touch(driver.storages[ordered])
