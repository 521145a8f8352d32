"""A kernel of pooling that remembers where each maximum was."""

from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import DType
from .driver import Driver
from .indexing import element_count
from .nest import extreme
from .reads import pool_geometry
from .template import LoopText, tensor_type

__all__ = ["run_max_pool_with_indices"]


def _pool_sizes(loops: LoopText, image: Value, pooled: Value) -> tuple[Dim, Dim]:
    """Sizes of the image and of the pooled image; gives the number of planes and of pooled elements in each."""
    height, width = tensor_type(image).shape[-2:]
    out_height, out_width = tensor_type(pooled).shape[-2:]
    loops.sizes(height=height, width=width, out_height=out_height, out_width=out_width)
    return element_count(tensor_type(image).shape[:-2]), out_height * out_width


def _window_loop(instruction: Instruction, indent: int) -> list[str]:
    """Statements that run over the elements of a window inside the image: `row` and `column`."""
    kernel, stride, padding, dilation = pool_geometry(instruction)
    space = "    " * indent
    return [
        f"{space}for a in range({kernel[0]}):",
        f"{space}    row = oy * {stride[0]} - {padding[0]} + a * {dilation[0]}",
        f"{space}    if row >= 0 and row < height:",
        f"{space}        for b in range({kernel[1]}):",
        f"{space}            column = ox * {stride[1]} - {padding[1]} + b * {dilation[1]}",
        f"{space}            if column >= 0 and column < width:",
    ]


def _winner(instruction: Instruction, indent: int, dtype: DType) -> list[str]:
    """Statements that find a window's maximum, `best`, and its place in the plane; NaN wins, then the first."""
    space = "    " * indent
    return [
        f"{space}best = {extreme(dtype, lowest=True)}",
        f"{space}place = -1",
        *_window_loop(instruction, indent),
        f"{space}                v = x[plane + row * width + column]",
        f"{space}                if place < 0 or v > best or (v != v and best == best):",
        f"{space}                    best = v",
        f"{space}                    place = row * width + column",
    ]


def run_max_pool_with_indices(driver: Driver, instruction: Instruction) -> None:
    source, (value, place) = instruction.inputs[0], instruction.results
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.write("y", value)
    loops.write("z", place)
    planes, windows = _pool_sizes(loops, source, value)
    lines = [
        "for item in range(lo, hi):",
        "    plane = item * height * width",
        "    for oy in range(out_height):",
        "        for ox in range(out_width):",
        *_winner(instruction, 3, tensor_type(source).dtype),
        "            y[(item * out_height + oy) * out_width + ox] = best",
        "            z[(item * out_height + oy) * out_width + ox] = place",
    ]
    loops.run("\n".join(lines), planes, windows * 8)
