"""Kernels that search sorted sequences, and that combine elements into places that data says."""

from collections.abc import Callable

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.ops._common import promoted
from ....ir.types import IntType, TensorType
from ...errors import Unsupported
from ..indexing import element_count, row_major_strides
from ..nest import Temporary
from ..reads import axis_of
from ..scalar_code import Code, cast, is_half, literal, working
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid
from .indexed import scatter_kernel

__all__ = ["LOOKUPS"]

Storage = Callable[[Value], Value]
Lowered = tuple[list[DeviceKernel], dict[Value, Value], list[Temporary]]


def _tensor(value: Value) -> TensorType:
    assert isinstance(value.type, TensorType)
    return value.type


def _finish(text: DeviceText, instruction: Instruction, lines: str, n: Dim) -> DeviceKernel:
    with text.block(f"for item in range(cuda.grid(1), {text.size(n)}, cuda.gridsize(1)):"):
        for line in lines.strip("\n").splitlines():
            text.line(line)
    name, location = instruction.op.name, instruction.location
    title = name if location is None else f"{name} ({location})"
    return text.finish_kernel(f"k_{name}", title, {"bytes_moved": None, "flops": None}, Grid("elements", n))


def _searchsorted(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    """A thread for each value halves the sequence until one place is left; NaN is above all."""
    sequence, values, sorter = instruction.operands
    assert sequence is not None and values is not None
    (result,) = instruction.results
    right = instruction.attributes["right"]
    text = DeviceText()
    shape = _tensor(sequence).shape
    dtype = promoted((sequence.type, values.type))
    size = text.size(shape[-1])

    def number(value: Value, place: str) -> str:
        kind = _tensor(value).dtype
        code = Code(text.load(text.pointer(storage(value), kind), place, kind), kind)
        return cast(code, working(dtype), text.requirements).text

    if isinstance(values.type, TensorType):
        wanted = number(values, "item")
        columns = text.size(values.type.shape[-1]) if len(shape) > 1 else "1"
    else:
        given = dtypes.int64 if isinstance(values.type, IntType) else dtypes.float64
        wanted, columns = cast(text.scalar(values, given), working(dtype), text.requirements).text, "1"
    row = f"item // {columns} * {size}" if len(shape) > 1 else "0"
    middle = "middle"
    if sorter is not None:
        middle = f"{text.pointer(storage(sorter), dtypes.int64)}[row + middle]"
    found = number(sequence, f"row + {middle}")
    after = "v <= wanted or wanted != wanted" if right else "v < wanted or (wanted != wanted and v == v)"
    kind = _tensor(result).dtype
    y = text.pointer(storage(result), kind, written=True)
    lines = f"""
row = {row}
wanted = {wanted}
low = 0
high = {size}
while low < high:
    middle = (low + high) // 2
    v = {found}
    if {after}:
        low = middle + 1
    else:
        high = middle
{y}[item] = np.{kind.name}(low)
"""
    return [_finish(text, instruction, lines, element_count(_tensor(result).shape))], {}, []


def _scatter_reduce(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    source, result = instruction.inputs[0], instruction.results[0]
    reduce, include_self = instruction.attributes["reduce"], instruction.attributes["include_self"]
    dtype = _tensor(result).dtype
    if reduce == "sum" and dtype.itemsize >= 4:
        zeros = [] if include_self else [scatter_kernel(instruction, storage, adds=False, fill=0)]
        return [*zeros, scatter_kernel(instruction, storage, adds=True)], {result: source}, []
    return _by_lines(instruction, storage, reduce, include_self)


def _scatter(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    reduce = instruction.attributes["reduce"]
    if reduce == "multiply":
        return _by_lines(instruction, storage, "prod", True)
    kernel = scatter_kernel(instruction, storage, adds=reduce == "add")
    return [kernel], {instruction.results[0]: instruction.inputs[0]}, []


# What a place starts from where the input's own element does not count, and how an element joins it.
_START = {"sum": "0", "mean": "0", "prod": "1"}
_JOINED = {
    "sum": "{y} + v",
    "mean": "{y} + v",
    "prod": "{y} * v",
    "amax": "v if v > {y} or v != v else {y}",
    "amin": "v if v < {y} or v != v else {y}",
}


def _by_lines(instruction: Instruction, storage: Storage, reduce: str, include_self: bool) -> Lowered:
    """A thread for each line of the index along the dimension: no other writes where it does, so the order is fixed."""
    source, index, values = instruction.inputs
    (result,) = instruction.results
    dtype = _tensor(result).dtype
    if is_half(dtype) or dtype is dtypes.bool_:
        raise Unsupported(f"{instruction.op.name} of {dtype.name} has no kernel on devices", instruction.location)
    shape, whole = (_tensor(v).shape or (1,) for v in (index, result))
    given = (_tensor(values).shape if isinstance(values.type, TensorType) else ()) or (1,) * len(shape)
    axis = axis_of(instruction, source) if _tensor(source).shape else 0
    text = DeviceText()
    places = text.pointer(storage(index), _tensor(index).dtype)
    y = text.pointer(storage(result), dtype, written=True)
    text.requirements.helpers.add(f"as_{dtype.short}")
    others = [a for a in range(len(shape)) if a != axis]
    steps = dict(zip(others, row_major_strides([shape[a] for a in others]), strict=True))
    lines = [f"k{a} = item // {text.size(steps[a])} % {text.size(shape[a])}" for a in others]

    def start(sizes: tuple[Dim, ...]) -> str:
        strides = row_major_strides(sizes)
        return " + ".join(f"k{a} * {text.size(strides[a])}" for a in others) or "0"

    lines += [f"first = {start(shape)}", f"from_ = {start(given)}", f"into = {start(whole)}"]
    count, size = text.size(shape[axis]), text.size(whole[axis])
    step, given_step, whole_step = (text.size(row_major_strides(s)[axis]) for s in (shape, given, whole))

    def sweep(*body: str) -> list[str]:
        return [
            f"for k in range({count}):",
            f"    position = {places}[first + k * {step}]",
            f"    if position < 0 or position >= {size}:",
            f"        {text.status()}[0] = 3",
            "    else:",
            f"        place = into + position * {whole_step}",
            *(f"        {line}" for line in body),
        ]

    if isinstance(values.type, TensorType):
        value = f"{text.pointer(storage(values), dtype)}[from_ + k * {given_step}]"
    else:
        kind = dtypes.int64 if isinstance(values.type, IntType) else dtypes.float64
        value = cast(text.scalar(values, kind), dtype, text.requirements).text
    counts, temporaries = "", []
    if reduce == "mean":
        counts = text.temporary(0, dtypes.int32)
        temporaries.append(Temporary(element_count(whole), dtypes.int32))
        lines += sweep(f"{counts}[place] = {int(include_self)}")
    if not include_self:
        begin = _START.get(reduce)
        lines += sweep(f"{y}[place] = {value if begin is None else literal(int(begin), dtype)}")
    joined = _JOINED[reduce].format(y=f"{y}[place]")
    counted = [f"{counts}[place] += 1"] if counts else []
    lines += sweep(f"v = {value}", f"{y}[place] = as_{dtype.short}({joined})", *counted)
    if counts:
        divide = "/" if dtype.kind == "f" else "//"
        number = f"as_{dtype.short}({counts}[place])" if dtype.kind == "f" else f"np.int64({counts}[place])"
        held = f"{y}[place]" if dtype.kind == "f" else f"np.int64({y}[place])"
        # The first that comes divides.
        lines += sweep(
            f"if {counts}[place] > 0:",
            f"    {y}[place] = as_{dtype.short}({held} {divide} {number})",
            f"    {counts}[place] = 0",
        )
    n = element_count([shape[a] for a in others])
    return [_finish(text, instruction, "\n".join(lines), n)], {result: source}, temporaries


LOOKUPS: dict[str, Callable[[Instruction, Storage, DeviceTarget], Lowered]] = {
    "searchsorted": _searchsorted,
    "scatter": _scatter,
    "scatter_reduce": _scatter_reduce,
}
