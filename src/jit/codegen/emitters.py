"""Kernels of ops that are written out as loops, by op; here those of extremes' positions and scans.

Operands lie in memory, contiguous.
"""

from collections.abc import Callable

from ...ir import dtypes
from ...ir.core import Instruction
from ...ir.dims import Dim
from .driver import Driver
from .fusion import Unsupported
from .indexing import element_count
from .pooling import run_avg_pool_grad, run_max_pool_grad, run_max_pool_with_indices
from .reads import axis_of
from .scalar_code import literal
from .template import LoopText, along, tensor_type
from .writes import run_index_add, run_index_put, run_nonzero, run_scatter

__all__ = ["EMITTERS"]

# -- positions of extremes -------------------------------------------------------------------------------------------

_EXTREME = """
for item in range(lo, hi):
    start = item // inner * n * inner + item % inner
    best = x[start]
    place = 0
    for k in range(1, n):
        v = x[start + k * inner]
        if v {symbol} best or (v != v and best == best):
            best = v
            place = k
    {store}
"""


def _argument(symbol: str) -> Callable[[Driver, Instruction], None]:
    def emit(driver: Driver, instruction: Instruction) -> None:
        source, result = instruction.inputs[0], instruction.results[0]
        loops = LoopText(driver, instruction)
        shape = tensor_type(source).shape
        if instruction.attributes["dim"] is None or not shape:
            sizes: dict[str, Dim] = {"n": element_count(shape), "inner": 1}
            count: Dim = 1
        else:
            around = along(source, axis_of(instruction, source))
            sizes = {"n": around["n"], "inner": around["inner"]}
            count = around["outer"] * around["inner"]
        loops.read("x", source)
        loops.write("y", result)
        loops.sizes(**sizes)
        loops.run(_EXTREME.format(symbol=symbol, store="y[item] = place"), count, sizes["n"])

    return emit


def _extreme_and_place(symbol: str) -> Callable[[Driver, Instruction], None]:
    def emit(driver: Driver, instruction: Instruction) -> None:
        source, (value, place) = instruction.inputs[0], instruction.results
        loops = LoopText(driver, instruction)
        sizes: dict[str, Dim] = {"n": 1, "inner": 1}
        count: Dim = 1
        if tensor_type(source).shape:
            around = along(source, axis_of(instruction, source))
            sizes = {"n": around["n"], "inner": around["inner"]}
            count = around["outer"] * around["inner"]
        loops.read("x", source)
        loops.write("y", value)
        loops.write("z", place)
        loops.sizes(**sizes)
        text = _EXTREME.format(symbol=symbol, store="y[item] = best\n    z[item] = place")
        loops.run(text, count, sizes["n"])

    return emit


# -- scans -----------------------------------------------------------------------------------------------------------


def _scan(symbol: str, start: int) -> Callable[[Driver, Instruction], None]:
    def emit(driver: Driver, instruction: Instruction) -> None:
        source, result = instruction.inputs[0], instruction.results[0]
        dtype = tensor_type(result).dtype
        around: dict[str, Dim] = {"outer": 1, "n": 1, "inner": 1}
        if tensor_type(source).shape:
            around = along(source, axis_of(instruction, source))
        loops = LoopText(driver, instruction)
        loops.read("x", source)
        loops.write("y", result)
        loops.sizes(n=around["n"], inner=around["inner"])
        cast = f"as_{dtype.short}"
        if dtype is dtypes.bool_:
            raise Unsupported(f"{instruction.op.name} in bool", instruction.location)
        loops.requirements.helpers.add(cast)
        element = "(x[place] != 0)" if tensor_type(source).dtype is dtypes.bool_ else "x[place]"
        body = f"""
for item in range(lo, hi):
    start = item // inner * n * inner + item % inner
    total = {literal(start, dtype)}
    for k in range(n):
        place = start + k * inner
        total = {cast}(total {symbol} {cast}({element}))
        y[place] = total
"""
        loops.run(body, around["outer"] * around["inner"], around["n"])

    return emit


EMITTERS: dict[str, Callable[[Driver, Instruction], None]] = {
    "argmax": _argument(">"),
    "argmin": _argument("<"),
    "max_dim": _extreme_and_place(">"),
    "min_dim": _extreme_and_place("<"),
    "cumsum": _scan("+", 0),
    "cumprod": _scan("*", 1),
    "scatter": run_scatter,
    "scatter_add": run_scatter,
    "index_add": run_index_add,
    "index_put": run_index_put,
    "nonzero": run_nonzero,
    "max_pool2d_with_indices": run_max_pool_with_indices,
    "max_pool2d_grad": run_max_pool_grad,
    "avg_pool2d_grad": run_avg_pool_grad,
}
