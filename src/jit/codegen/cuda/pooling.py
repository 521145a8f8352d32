"""Pooling that remembers places, and the gradients of pooling, on a device: a thread for each element."""

from collections.abc import Callable

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.dtypes import DType
from ....ir.types import TensorType
from ...errors import Unsupported
from ..indexing import element_count
from ..nest import extreme
from ..reads import pool_geometry
from ..scalar_code import literal
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid, device_kind

__all__ = ["POOLING"]

Storage = Callable[[Value], Value]
Lowered = tuple[list[DeviceKernel], dict[Value, Value]]


def _tensor(value: Value) -> TensorType:
    assert isinstance(value.type, TensorType)
    return value.type


def _kernel(text: DeviceText, instruction: Instruction, lines: str, n: Dim, note: str = "") -> DeviceKernel:
    with text.block(f"for item in range(cuda.grid(1), {text.size(n)}, cuda.gridsize(1)):"):
        for line in lines.strip("\n").splitlines():
            text.line(line)
    where = f" ({instruction.location})" if instruction.location is not None else ""
    name = instruction.op.name
    traffic: dict[str, Dim | None] = {"bytes_moved": None, "flops": None}
    return text.finish_kernel(f"k_{name}{note}", f"{name}{where}", traffic, Grid("elements", n))


def _float(instruction: Instruction, value: Value) -> DType:
    dtype = _tensor(value).dtype
    if dtype not in (dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64):
        name = instruction.op.name
        raise Unsupported(f"{name} of {dtype.name} has no kernel on devices", instruction.location)
    return dtype


def _winner(text: DeviceText, instruction: Instruction, source: Value, pooled: Value, storage: Storage) -> str:
    """Statements that find the maximum `best` of the window `item` and its `place`; NaN wins, then the first."""
    kernel, stride, padding, dilation = pool_geometry(instruction)
    dtype = _float(instruction, source)
    height, width = (text.size(s) for s in _tensor(source).shape[-2:])
    across, down = (text.size(s) for s in (_tensor(pooled).shape[-1], _tensor(pooled).shape[-2]))
    x = text.pointer(storage(source), dtype)
    return f"""
image = item // ({across} * {down}) * {height} * {width}
top = item // {across} % {down} * {stride[0]} - {padding[0]}
left = item % {across} * {stride[1]} - {padding[1]}
best = {extreme(dtype, lowest=True)}
place = np.int64(-1)
for a in range({kernel[0]}):
    row = top + a * {dilation[0]}
    if row >= 0 and row < {height}:
        for b in range({kernel[1]}):
            column = left + b * {dilation[1]}
            if column >= 0 and column < {width}:
                v = {x}[image + row * {width} + column]
                if place < 0 or v > best or (v != v and best == best):
                    best = v
                    place = np.int64(row * {width} + column)
"""


def _max_with_indices(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    source, (value, places) = instruction.inputs[0], instruction.results
    text = DeviceText()
    lines = _winner(text, instruction, source, value, storage)
    y = text.pointer(storage(value), _tensor(value).dtype, written=True)
    z = text.pointer(storage(places), _tensor(places).dtype, written=True)
    return [_kernel(text, instruction, f"{lines}{y}[item] = best\n{z}[item] = place", _count(value))], {}


def _count(value: Value) -> Dim:
    count: Dim = element_count(_tensor(value).shape)
    return count


def _max_grad(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    """Zeros, to which each window adds its gradient at its maximum; atomically, since windows may overlap."""
    gradient, source = instruction.inputs[:2]
    (result,) = instruction.results
    dtype = _float(instruction, result)
    clear = DeviceText()
    y = clear.pointer(storage(result), dtype, written=True)
    zeros = _kernel(clear, instruction, f"{y}[item] = {literal(0, dtype)}", _count(result), "_zeros")
    text = DeviceText()
    lines = _winner(text, instruction, source, gradient, storage)
    g = text.pointer(storage(gradient), dtype)
    y = text.parameter("y", f"{device_kind(dtype)}[]", "address", storage(result))
    lines += f"if place >= 0:\n    cuda.atomic.add({y}, image + place, {g}[item])"
    return [zeros, _kernel(text, instruction, lines, _count(gradient))], {}


def _average_grad(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    """Each element of an image sums what the windows around it give, divided by the size of the window."""
    gradient, (result,) = instruction.inputs[0], instruction.results
    kernel, stride, padding, _ = pool_geometry(instruction)
    attributes = instruction.attributes
    dtype = _float(instruction, result)
    text = DeviceText()
    height, width = (text.size(s) for s in _tensor(result).shape[-2:])
    down, across = (text.size(s) for s in _tensor(gradient).shape[-2:])
    g = text.pointer(storage(gradient), dtype)
    y = text.pointer(storage(result), dtype, written=True)
    text.requirements.helpers.add(f"as_{dtype.short}")
    if attributes["divisor_override"] is not None:
        count = str(attributes["divisor_override"])
    else:
        pads = padding if attributes["count_include_pad"] else (0, 0)
        starts = ("top", "left") if attributes["count_include_pad"] else ("max(top, 0)", "max(left, 0)")
        count = (
            f"(min(top + {kernel[0]}, {height} + {pads[0]}) - {starts[0]}) * "
            f"(min(left + {kernel[1]}, {width} + {pads[1]}) - {starts[1]})"
        )
    lines = f"""
image = item // ({width} * {height}) * {across} * {down}
row = item // {width} % {height} + {padding[0]}
column = item % {width} + {padding[1]}
total = {literal(0, dtype)}
for a in range({kernel[0]}):
    if row - a >= 0 and (row - a) % {stride[0]} == 0 and (row - a) // {stride[0]} < {down}:
        top = row - a - {padding[0]}
        for b in range({kernel[1]}):
            if column - b >= 0 and (column - b) % {stride[1]} == 0 and (column - b) // {stride[1]} < {across}:
                left = column - b - {padding[1]}
                v = {g}[image + (row - a) // {stride[0]} * {across} + (column - b) // {stride[1]}]
                total += v / as_{dtype.short}({count})
{y}[item] = total
"""
    return [_kernel(text, instruction, lines, _count(result))], {}


POOLING: dict[str, Callable[[Instruction, Storage, DeviceTarget], Lowered]] = {
    "max_pool2d_with_indices": _max_with_indices,
    "max_pool2d_grad": _max_grad,
    "avg_pool2d_grad": _average_grad,
}
