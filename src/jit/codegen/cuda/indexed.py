"""Kernels that write where data says, or look for places: scatters with atomics, extremes' positions, running sums."""

from collections.abc import Callable

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.types import TensorType
from ...errors import Unsupported
from ..indexing import element_count, row_major_strides
from ..reads import axis_of
from ..scalar_code import Code, cast, literal
from ..template import along
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid, device_kind

__all__ = ["INDEXED", "scatter_kernel"]

Storage = Callable[[Value], Value]
Lowered = tuple[list[DeviceKernel], dict[Value, Value]]
# What the atomic additions of a device take.
_ATOMIC = (dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64)


def _tensor(value: Value) -> TensorType:
    assert isinstance(value.type, TensorType)
    return value.type


def _finish(
    text: DeviceText, instruction: Instruction, n: Dim, kind: str = "elements", length: Dim = 1
) -> DeviceKernel:
    where = f" ({instruction.location})" if instruction.location is not None else ""
    name = instruction.op.name
    traffic: dict[str, Dim | None] = {"bytes_moved": None, "flops": None}
    return text.finish_kernel(f"k_{name}", f"{name}{where}", traffic, Grid(kind, n, length))


def _target(text: DeviceText, storage: Storage, value: Value, *, adds: bool) -> str:
    """The pointer to what is written; a flat array where it is added to."""
    dtype = _tensor(value).dtype
    if not adds:
        return text.pointer(storage(value), dtype, written=True)
    if dtype not in _ATOMIC:
        raise Unsupported(f"devices do not add to {dtype.name} in memory")
    return text.parameter("y", f"{device_kind(dtype)}[]", "address", storage(value))


def _write(text: DeviceText, pointer: str, place: str, code: Code, *, adds: bool) -> None:
    if adds:
        text.line(f"cuda.atomic.add({pointer}, {place}, {code.text})")
    else:
        text.store(pointer, place, code)


def _scatter_add(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    return [scatter_kernel(instruction, storage, adds=True)], {instruction.results[0]: instruction.inputs[0]}


def scatter_kernel(instruction: Instruction, storage: Storage, *, adds: bool, fill: int | None = None) -> DeviceKernel:
    """A thread for each element of the index, which writes its value, or a number, or adds it atomically."""
    source, index, values = instruction.inputs
    result = instruction.results[0]
    text = DeviceText()
    shape, whole = _tensor(index).shape, _tensor(result).shape
    dtype = _tensor(result).dtype
    axis = axis_of(instruction, source) if whole else 0
    places = text.pointer(storage(index), _tensor(index).dtype)
    y = _target(text, storage, result, adds=adds)
    n = element_count(shape)
    with text.block(f"for item in range(cuda.grid(1), {text.size(n)}, cuda.gridsize(1)):"):
        parts, given = [], []
        strides = row_major_strides(whole)
        if isinstance(values.type, TensorType):
            value_strides = row_major_strides(values.type.shape)
        for a, (size, step) in enumerate(zip(shape, row_major_strides(shape), strict=True)):
            text.line(f"k{a} = item // {text.size(step)} % {text.size(size)}")
            if a != axis:
                parts.append(f"k{a} * {text.size(strides[a])}")
            if isinstance(values.type, TensorType):
                given.append(f"k{a} * {text.size(value_strides[a])}")
        text.line(f"position = {places}[item]")
        if fill is not None:
            code = Code(literal(fill, dtype), dtype)
        elif isinstance(values.type, TensorType):
            pointer = text.pointer(storage(values), values.type.dtype)
            code = Code(text.load(pointer, " + ".join(given) or "0", values.type.dtype), values.type.dtype)
        else:
            code = text.scalar(values, dtypes.float64 if str(values.type) == "float" else dtypes.int64)
        code = cast(code, dtype, text.requirements)
        _bounds(text, text.size(whole[axis] if whole else 1))
        with text.condition("else:"):
            reach = text.size(strides[axis]) if whole else "1"
            _write(text, y, " + ".join([f"position * {reach}", *parts]), code, adds=adds)
    return _finish(text, instruction, n)


def _bounds(text: DeviceText, size: str) -> None:
    """An index outside is reported, and nothing is written."""
    text.line(f"if position < 0 or position >= {size}:")
    text.line(f"    {text.status()}[0] = 3")


def _index_add(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    base, index, source = instruction.inputs
    result = instruction.results[0]
    dtype = _tensor(result).dtype
    axis = axis_of(instruction, base)
    around = along(source, axis) if _tensor(source).shape else {"outer": 1, "n": 1, "inner": 1}
    size = _tensor(base).shape[axis] if _tensor(base).shape else 1
    text = DeviceText()
    places = text.pointer(storage(index), _tensor(index).dtype)
    x = text.pointer(storage(source), dtype)
    y = _target(text, storage, result, adds=True)
    count, inner = text.size(around["n"]), text.size(around["inner"])
    n = around["outer"] * around["n"] * around["inner"]
    alpha = instruction.attributes["alpha"]
    with text.block(f"for item in range(cuda.grid(1), {text.size(n)}, cuda.gridsize(1)):"):
        text.line(f"position = {places}[item // {inner} % {count}]")
        value = text.load(x, "item", dtype)
        if alpha != 1:
            value = cast(Code(f"({value} * {literal(alpha, dtype)})", dtype), dtype, text.requirements).text
        _bounds(text, text.size(size))
        with text.condition("else:"):
            place = f"(item // ({inner} * {count}) * {text.size(size)} + position) * {inner} + item % {inner}"
            _write(text, y, place, Code(value, dtype), adds=True)
    return [_finish(text, instruction, n)], {result: base}


def _extreme(symbol: str, *, with_value: bool) -> Callable[[Instruction, Storage, DeviceTarget], Lowered]:
    """The first place of a maximum (">") or minimum ("<") along a dimension; NaN is beyond all."""

    def lower(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
        source, results = instruction.inputs[0], instruction.results
        dtype = _tensor(source).dtype
        shape = _tensor(source).shape
        around: dict[str, Dim] = {"outer": 1, "n": element_count(shape), "inner": 1}
        if instruction.attributes["dim"] is not None and shape:
            around = along(source, axis_of(instruction, source))
        n = around["outer"] * around["inner"]
        text = DeviceText()
        x = text.pointer(storage(source), dtype)
        outputs = [text.pointer(storage(r), _tensor(r).dtype, written=True) for r in results]
        count, inner = text.size(around["n"]), text.size(around["inner"])
        kind = "int32" if dtype.itemsize < 4 else "float32" if dtype is dtypes.float16 else dtype.name
        threads = target.threads
        text.line(f"tops = cuda.shared.array({threads}, types.{kind})")
        text.line(f"places = cuda.shared.array({threads}, types.int64)")
        loaded = x + "[base + k * " + inner + "]"
        if dtype is dtypes.float16:
            loaded = f"np.float32({loaded})"
        elif dtype is dtypes.bfloat16:
            text.requirements.helpers.add("from_bf16")
            loaded = f"from_bf16({loaded})"
        elif dtype.itemsize < 4:
            loaded = f"np.int32({loaded})"
        if dtype is dtypes.bfloat16:
            text.scopes[0].lines[0] = f"tops = cuda.shared.array({threads}, types.float32)"
        first = loaded.replace("base + k", "base + 0")
        better = f"(v {symbol} best or (v != v and best == best))"
        with text.block(f"for item in range(cuda.blockIdx.x, {text.size(n)}, cuda.gridDim.x):"):
            for line in f"""
base = item // {inner} * {count} * {inner} + item % {inner}
thread = cuda.threadIdx.x
best = {first}
place = np.int64(0)
for k in range(thread, {count}, cuda.blockDim.x):
    v = {loaded}
    if {better}:
        best = v
        place = np.int64(k)
tops[thread] = best
places[thread] = place
cuda.syncthreads()
step = cuda.blockDim.x // 2
while step > 0:
    if thread < step:
        v = tops[thread + step]
        best = tops[thread]
        same = v == best or (v != v and best != best)
        if {better} or (same and places[thread + step] < places[thread]):
            tops[thread] = v
            places[thread] = places[thread + step]
    cuda.syncthreads()
    step = step // 2
""".strip("\n").splitlines():
                text.line(line)
            with text.condition("if thread == 0:"):
                if with_value:
                    held = cast(Code("tops[0]", dtype), dtype, text.requirements)
                    if dtype is dtypes.bool_:
                        held = Code("(tops[0] != 0)", dtype)
                    text.store(outputs[0], "item", held)
                text.line(f"{outputs[-1]}[item] = places[0]")
            text.line("cuda.syncthreads()")
        where = f" ({instruction.location})" if instruction.location is not None else ""
        name = instruction.op.name
        grid = Grid("blocks", n, threads=(threads, 1))
        kernel = text.finish_kernel(f"k_{name}", f"{name}{where}", {"bytes_moved": None, "flops": None}, grid)
        return [kernel], {}

    return lower


def _scan(symbol: str, first: int) -> Callable[[Instruction, Storage, DeviceTarget], Lowered]:
    """Running sums or products along a dimension: a block for each row, in steps of as many elements as it has threads.

    In a step each thread adds what stands 1, 2, 4, ... places before it (Hillis and Steele, "Data parallel
    algorithms", 1986), and the total so far is carried to the next.
    """

    def lower(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
        source, result = instruction.inputs[0], instruction.results[0]
        dtype = _tensor(result).dtype
        if dtype not in _ATOMIC:
            raise Unsupported(f"{instruction.op.name} in {dtype.name} has no kernel on devices", instruction.location)
        around: dict[str, Dim] = {"outer": 1, "n": 1, "inner": 1}
        if _tensor(source).shape:
            around = along(source, axis_of(instruction, source))
        n = around["outer"] * around["inner"]
        text = DeviceText()
        x = text.pointer(storage(source), _tensor(source).dtype)
        y = text.pointer(storage(result), dtype, written=True)
        count, inner = text.size(around["n"]), text.size(around["inner"])
        loaded = Code(text.load(x, f"base + k * {inner}", _tensor(source).dtype), _tensor(source).dtype)
        value = cast(loaded, dtype, text.requirements).text
        start = literal(first, dtype)
        text.line(f"steps = cuda.shared.array({target.threads}, types.{dtype.name})")
        with text.block(f"for item in range(cuda.blockIdx.x, {text.size(n)}, cuda.gridDim.x):"):
            for line in f"""
base = item // {inner} * {count} * {inner} + item % {inner}
thread = cuda.threadIdx.x
carried = {start}
for begin in range(0, {count}, {target.threads}):
    k = begin + thread
    held = {start}
    if k < {count}:
        held = {value}
    steps[thread] = held
    cuda.syncthreads()
    distance = 1
    while distance < {target.threads}:
        before = {start}
        if thread >= distance:
            before = steps[thread - distance]
        cuda.syncthreads()
        steps[thread] = np.{dtype.name}(before {symbol} steps[thread])
        cuda.syncthreads()
        distance = distance * 2
    if k < {count}:
        {y}[base + k * {inner}] = np.{dtype.name}(carried {symbol} steps[thread])
    carried = np.{dtype.name}(carried {symbol} steps[{target.threads - 1}])
    cuda.syncthreads()
""".strip("\n").splitlines():
                text.line(line)
        where = f" ({instruction.location})" if instruction.location is not None else ""
        name = instruction.op.name
        grid = Grid("blocks", n, threads=(target.threads, 1))
        kernel = text.finish_kernel(f"k_{name}", f"{name}{where}", {"bytes_moved": None, "flops": None}, grid)
        return [kernel], {}

    return lower


INDEXED: dict[str, Callable[[Instruction, Storage, DeviceTarget], Lowered]] = {
    "scatter_add": _scatter_add,
    "index_add": _index_add,
    "argmax": _extreme(">", with_value=False),
    "argmin": _extreme("<", with_value=False),
    "max_dim": _extreme(">", with_value=True),
    "min_dim": _extreme("<", with_value=True),
    "cumsum": _scan("+", 0),
    "cumprod": _scan("*", 1),
}
