"""Kernels of ops that are written out as loops: positions of extremes, scans, scatters, and what pooling remembers.

Each emitter gives the body of a range kernel as text over pointers and sizes; `_Loops` turns it into a kernel, as fused
groups are. Operands lie in memory, contiguous.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim, dim_max, dim_min
from ...ir.dtypes import DType
from ...ir.types import TensorType
from .driver import Driver
from .fusion import Unsupported
from .indexing import element_count, row_major_strides
from .kernel_text import Kernel, Parameter, preamble
from .loops import extreme
from .module import KernelSource
from .reads import axis_of, index_layout, pool_geometry, slice_start
from .scalar_code import Requirements, literal, pointer_kind

__all__ = ["EMITTERS"]

# Operations of about 20 microseconds.
_GRAIN = 20_000


def _type(value: Value) -> TensorType:
    assert isinstance(value.type, TensorType)
    return value.type


@dataclass
class _Loops:
    """A kernel in the making: parameters by name, and the text of its body."""

    driver: Driver
    instruction: Instruction
    parameters: list[Parameter] = field(default_factory=list)
    requirements: Requirements = field(default_factory=Requirements)

    def read(self, name: str, value: Value) -> None:
        self.parameters.append(Parameter(name, f"{pointer_kind(_type(value).dtype)}*", ("address", value)))

    def write(self, name: str, value: Value) -> None:
        self.driver.store(value)
        self.read(name, value)

    def sizes(self, **sizes: Dim) -> None:
        for name, dim in sizes.items():
            self.parameters.append(Parameter(name, "i64", ("dim", dim)))

    def scalar(self, name: str, value: Value) -> None:
        kind = "f64" if str(value.type) == "float" else "i64"
        self.parameters.append(Parameter(name, kind, ("scalar", value)))

    def status(self) -> None:
        self.parameters.append(Parameter("status", "i64*", ("status",)))

    def run(self, body: str, n: Dim, per_item: Dim) -> None:
        """Make the kernel from the text of its body, which sees the parameters, `lo` and `hi`, and run it."""
        instruction, driver = self.instruction, self.driver
        names = ", ".join(p.name for p in self.parameters)
        lines = "\n".join(f"    {line}" if line.strip() else "" for line in body.strip("\n").splitlines())
        unpack = "".join(
            f"        pointer_{p.kind[:-1]}(slot_i64(p, {slot})),\n"
            if p.kind.endswith("*")
            else f"        slot_{p.kind}(p, {slot}),\n"
            for slot, p in enumerate(self.parameters)
        )
        text = (
            f"{preamble(self.requirements)}@body\ndef NAME_body({names}, lo, hi):\n{lines}\n\n\n"
            f"@kernel\ndef NAME(p, lo, hi):\n    NAME_body(\n{unpack}        lo,\n        hi,\n    )\n"
        )
        name = f"k_{instruction.op.name}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        where = f" ({instruction.location})" if instruction.location is not None else ""
        title = f"{instruction.op.name}{where}"
        source = KernelSource(name, f"# {title}\n{text.replace('NAME', name)}", title=title)
        grain: Dim = _GRAIN // (per_item + 1) + 1
        driver.run_kernel(Kernel(source, list(self.parameters)), n, grain, [], instruction.location)
        driver.clock += 1


def _along(value: Value, axis: int) -> dict[str, Dim]:
    """(outer, n, inner) around a dimension of a contiguous tensor."""
    shape = _type(value).shape
    return {"outer": element_count(shape[:axis]), "n": shape[axis], "inner": element_count(shape[axis + 1 :])}


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
        loops = _Loops(driver, instruction)
        shape = _type(source).shape
        if instruction.attributes["dim"] is None or not shape:
            sizes: dict[str, Dim] = {"n": element_count(shape), "inner": 1}
            count: Dim = 1
        else:
            around = _along(source, axis_of(instruction, source))
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
        loops = _Loops(driver, instruction)
        sizes: dict[str, Dim] = {"n": 1, "inner": 1}
        count: Dim = 1
        if _type(source).shape:
            around = _along(source, axis_of(instruction, source))
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
        dtype = _type(result).dtype
        around: dict[str, Dim] = {"outer": 1, "n": 1, "inner": 1}
        if _type(source).shape:
            around = _along(source, axis_of(instruction, source))
        loops = _Loops(driver, instruction)
        loops.read("x", source)
        loops.write("y", result)
        loops.sizes(n=around["n"], inner=around["inner"])
        cast = f"as_{dtype.short}"
        if dtype is dtypes.bool_:
            raise Unsupported(f"{instruction.op.name} in bool", instruction.location)
        loops.requirements.helpers.add(cast)
        element = "(x[place] != 0)" if _type(source).dtype is dtypes.bool_ else "x[place]"
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


# -- scatters --------------------------------------------------------------------------------------------------------


def _copied(driver: Driver, source: Value, result: Value) -> None:
    storage = driver.store(result)
    driver.line(f"copy_bytes({storage.address}, {driver.address(source)}, {driver.size(driver.nbytes(result.type))})")
    driver.clock += 1


def _combined(reduce: str | None, dtype: DType, target: str, value: str, requirements: Requirements) -> str:
    if reduce is None:
        return f"{target} = {value}"
    if dtype is dtypes.bool_:
        return f"{target} = {target} {'|' if reduce == 'add' else '&'} {value}"
    requirements.helpers.add(f"as_{dtype.short}")
    return f"{target} = as_{dtype.short}({target} {'+' if reduce == 'add' else '*'} {value})"


def _scatter(driver: Driver, instruction: Instruction) -> None:
    source, index, values = instruction.inputs
    result = instruction.results[0]
    reduce = "add" if instruction.op.name == "scatter_add" else instruction.attributes["reduce"]
    dtype = _type(result).dtype
    _copied(driver, source, result)
    shape = _type(index).shape
    axis = axis_of(instruction, source)
    loops = _Loops(driver, instruction)
    loops.read("index", index)
    loops.write("y", result)
    loops.status()
    extents = {f"e{a}": size for a, size in enumerate(shape)}
    loops.sizes(**extents)
    for prefix, tensor in (("i", index), ("y", result)):
        strides = row_major_strides(_type(tensor).shape)
        loops.sizes(**{f"{prefix}s{a}": stride for a, stride in enumerate(strides)})
    target_shape = _type(result).shape
    loops.sizes(size=target_shape[axis] if target_shape else 1)
    if isinstance(values.type, TensorType):
        loops.read("source", values)
        strides = row_major_strides(values.type.shape)
        loops.sizes(**{f"vs{a}": stride for a, stride in enumerate(strides)})
        value = f"source[{_offset('v', len(shape))}]"
    else:
        loops.scalar("source", values)
        loops.requirements.helpers.add(f"as_{pointer_kind(dtype)}")
        value = f"as_{pointer_kind(dtype)}(source)"
        if dtype is dtypes.bool_:
            value = "as_u8(source != 0)"
    # Only the dimension that is scattered along can bring two elements to one place.
    parallel = bool(shape) and axis != 0
    lines = []
    depth = 0
    if not parallel:
        lines.append("for once in range(lo, hi):")
        depth = 1
    for a in range(len(shape)):
        bounds = "lo, hi" if parallel and a == 0 else f"e{a}"
        lines.append("    " * depth + f"for k{a} in range({bounds}):")
        depth += 1
    place = " + ".join(
        ["position * " + (f"ys{axis}" if shape else "1"), *(f"k{a} * ys{a}" for a in range(len(shape)) if a != axis)]
    )
    indent = "    " * depth
    lines += [
        f"{indent}position = index[{_offset('i', len(shape))}]",
        f"{indent}if position < 0 or position >= size:",
        f"{indent}    status[0] = 3",
        f"{indent}else:",
        f"{indent}    {_combined(reduce, dtype, f'y[{place}]', value, loops.requirements)}",
    ]
    count: Dim = shape[0] if parallel else 1
    per_item = element_count(shape[1:] if parallel else shape)
    loops.run("\n".join(lines), count, per_item)


def _offset(prefix: str, rank: int) -> str:
    return " + ".join(f"k{a} * {prefix}s{a}" for a in range(rank)) or "0"


def _index_add(driver: Driver, instruction: Instruction) -> None:
    base, index, source = instruction.inputs
    result = instruction.results[0]
    dtype = _type(result).dtype
    _copied(driver, base, result)
    axis = axis_of(instruction, base)
    around = _along(source, axis) if _type(source).shape else {"outer": 1, "n": 1, "inner": 1}
    size = _type(base).shape[axis] if _type(base).shape else 1
    loops = _Loops(driver, instruction)
    loops.read("index", index)
    loops.read("source", source)
    loops.write("y", result)
    loops.status()
    loops.sizes(count=around["n"], inner=around["inner"], size=size)
    alpha = instruction.attributes["alpha"]
    value = "source[(outer * count + k) * inner + i]"
    if alpha != 1:
        loops.requirements.helpers.add(f"as_{pointer_kind(dtype)}")
        value = f"as_{pointer_kind(dtype)}({value} * {literal(alpha, dtype)})"
    combined = _combined("add", dtype, "y[(outer * size + position) * inner + i]", value, loops.requirements)
    body = f"""
for outer in range(lo, hi):
    for k in range(count):
        position = index[k]
        if position < 0 or position >= size:
            status[0] = 3
        else:
            for i in range(inner):
                {combined}
"""
    loops.run(body, around["outer"], around["n"] * around["inner"])


def _index_put(driver: Driver, instruction: Instruction) -> None:
    source, *_, values = instruction.inputs
    result = instruction.results[0]
    dtype = _type(result).dtype
    shape = _type(source).shape
    layout = index_layout(instruction, shape)
    _copied(driver, source, result)
    loops = _Loops(driver, instruction)
    loops.write("y", result)
    loops.read("source", values)
    loops.status()
    kept = [size for size, entry in zip(shape, layout.entries, strict=True) if entry[0] == "along"]
    # The shape of what is indexed: that of the index tensors among the dimensions that are kept.
    along = [a for a, entry in enumerate(layout.entries) if entry[0] == "along"]
    extents: list[Dim] = []
    counts = iter(zip(along, kept, strict=True))
    for new in layout.new:
        if new:
            extents.append(1)
        else:
            axis, size = next(counts)
            _, start, step = layout.entries[axis]
            bounds = [e for e in instruction.attributes["spec"] if not (e is None or isinstance(e, str))]
            stop = size
            position = sum(entry[0] != "tensor" for entry in layout.entries[:axis])
            if position < len(bounds) and isinstance(bounds[position], tuple):
                stop = slice_start(bounds[position][1], size) if bounds[position][1] is not None else size
                stop = min(stop, size) if isinstance(stop, int) and isinstance(size, int) else stop
            extents.append(dim_max((stop - start + (step - 1)) // step, 0))  # type: ignore[operator]
    q = len(layout.shape)
    full = [*extents[: layout.place], *layout.shape, *extents[layout.place :]]
    loops.sizes(**{f"e{a}": size for a, size in enumerate(full)})
    loops.sizes(**{f"ys{a}": stride for a, stride in enumerate(row_major_strides(shape))})
    lines = ["for once in range(lo, hi):"]
    depth = 1
    for a in range(len(full)):
        lines.append("    " * depth + f"for k{a} in range(e{a}):")
        depth += 1
    indent = "    " * depth
    part = [f"k{a}" for a in range(layout.place, layout.place + q)]
    rest = iter(
        [
            f"k{a}"
            for a, new in zip([*range(layout.place), *range(layout.place + q, len(full))], layout.new, strict=True)
            if not new
        ]
    )
    terms: list[str] = []
    lines.append(f"{indent}valid = True")
    for a, entry in enumerate(layout.entries):
        match entry:
            case ("tensor", Value() as tensor):
                loops.read(f"index{a}", tensor)
                strides = _broadcast_strides(_type(tensor).shape, layout.shape)
                loops.sizes(**{f"i{a}s{b}": stride for b, stride in enumerate(strides)}, **{f"size{a}": shape[a]})
                place = " + ".join(f"{k} * i{a}s{b}" for b, k in enumerate(part)) or "0"
                loops.requirements.helpers.add("as_i64")
                lines.append(f"{indent}place{a} = as_i64(index{a}[{place}])")
                lines.append(f"{indent}if place{a} < 0:")
                lines.append(f"{indent}    place{a} += size{a}")
                lines.append(f"{indent}if place{a} < 0 or place{a} >= size{a}:")
                lines.append(f"{indent}    status[0] = 3")
                lines.append(f"{indent}    valid = False")
                terms.append(f"place{a} * ys{a}")
            case ("along", start, step):
                loops.sizes(**{f"start{a}": start})  # type: ignore[arg-type]
                terms.append(f"(start{a} + {next(rest)} * {step}) * ys{a}")
            case (_, fixed):
                loops.sizes(**{f"fixed{a}": fixed})  # type: ignore[arg-type]
                terms.append(f"fixed{a} * ys{a}")
    strides = _broadcast_strides(_type(values).shape, full)
    loops.sizes(**{f"vs{a}": stride for a, stride in enumerate(strides)})
    value = f"source[{_offset('v', len(full))}]"
    reduce = "add" if instruction.attributes["accumulate"] else None
    place_text = " + ".join(terms) or "0"
    lines.append(f"{indent}if valid:")
    lines.append(f"{indent}    {_combined(reduce, dtype, f'y[{place_text}]', value, loops.requirements)}")
    loops.run("\n".join(lines), 1, element_count(full))


def _broadcast_strides(shape: tuple[Dim, ...], wanted: Sequence[Dim]) -> list[Dim]:
    """Strides of a contiguous tensor that is broadcast to another shape."""
    strides = row_major_strides(shape)
    result: list[Dim] = [0] * (len(wanted) - len(shape))
    for size, stride, target in zip(shape, strides, wanted[len(wanted) - len(shape) :], strict=True):
        if size == 1:
            result.append(0)
        elif size == target or isinstance(size, int):
            result.append(stride)
        else:
            result.append(stride * dim_min(size - 1, 1))
    return result


def _nonzero(driver: Driver, instruction: Instruction) -> None:
    source, result = instruction.inputs[0], instruction.results[0]
    shape = _type(source).shape
    total = element_count(shape)
    counter = driver.temporary(1, dtypes.int64)
    driver.touch(counter)
    holder = Value(TensorType(dtypes.int64, ()))
    driver.storages[holder] = counter
    loops = _Loops(driver, instruction)
    loops.read("x", source)
    loops.read("count", holder)
    loops.sizes(n=total)
    loops.run(
        "for once in range(lo, hi):\n    found = 0\n    for k in range(n):\n        if x[k] != 0:\n"
        "            found += 1\n    count[0] = found",
        1,
        total,
    )
    found = driver.fresh("d")
    driver.touch(counter)
    driver.line(f"{found} = pointer_i64({counter.address})[0]")
    driver.bind_symbols(result.type, [found, str(len(shape))])
    loops = _Loops(driver, instruction)
    loops.read("x", source)
    loops.write("y", result)
    loops.sizes(n=total)
    lines = ["for once in range(lo, hi):", "    found = 0", "    for k in range(n):", "        if x[k] != 0:"]
    for axis, stride in enumerate(row_major_strides(shape)):
        loops.sizes(**{f"s{axis}": stride, f"e{axis}": shape[axis]})
        lines.append(f"            y[found * {len(shape)} + {axis}] = k // s{axis} % e{axis}")
    lines.append("            found += 1")
    loops.run("\n".join(lines), 1, total)


# -- pooling ---------------------------------------------------------------------------------------------------------


def _pool_sizes(loops: _Loops, image: Value, pooled: Value) -> tuple[Dim, Dim]:
    """Sizes of the image and of the pooled image; gives the number of planes and of pooled elements in each."""
    height, width = _type(image).shape[-2:]
    out_height, out_width = _type(pooled).shape[-2:]
    loops.sizes(height=height, width=width, out_height=out_height, out_width=out_width)
    return element_count(_type(image).shape[:-2]), out_height * out_width


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


def _max_pool_with_indices(driver: Driver, instruction: Instruction) -> None:
    source, (value, place) = instruction.inputs[0], instruction.results
    loops = _Loops(driver, instruction)
    loops.read("x", source)
    loops.write("y", value)
    loops.write("z", place)
    planes, windows = _pool_sizes(loops, source, value)
    lines = [
        "for item in range(lo, hi):",
        "    plane = item * height * width",
        "    for oy in range(out_height):",
        "        for ox in range(out_width):",
        *_winner(instruction, 3, _type(source).dtype),
        "            y[(item * out_height + oy) * out_width + ox] = best",
        "            z[(item * out_height + oy) * out_width + ox] = place",
    ]
    loops.run("\n".join(lines), planes, windows * 8)


def _max_pool_grad(driver: Driver, instruction: Instruction) -> None:
    gradient, source = instruction.inputs
    result = instruction.results[0]
    loops = _Loops(driver, instruction)
    loops.read("g", gradient)
    loops.read("x", source)
    loops.write("y", result)
    planes, windows = _pool_sizes(loops, source, gradient)
    lines = [
        "for item in range(lo, hi):",
        "    plane = item * height * width",
        "    for k in range(height * width):",
        f"        y[plane + k] = {literal(0, _type(result).dtype)}",
        "    for oy in range(out_height):",
        "        for ox in range(out_width):",
        *_winner(instruction, 3, _type(source).dtype),
        "            y[plane + place] += g[(item * out_height + oy) * out_width + ox]",
    ]
    loops.run("\n".join(lines), planes, windows * 8)


def _avg_pool_grad(driver: Driver, instruction: Instruction) -> None:
    gradient, result = instruction.inputs[0], instruction.results[0]
    dtype = _type(result).dtype
    kernel, stride, padding, _ = pool_geometry(instruction)
    attributes = instruction.attributes
    loops = _Loops(driver, instruction)
    loops.read("g", gradient)
    loops.write("y", result)
    planes, windows = _pool_sizes(loops, result, gradient)
    loops.requirements.helpers.add(f"as_{dtype.short}")
    counts = []
    for axis, (size, place) in enumerate((("height", "oy"), ("width", "ox"))):
        start = f"{place} * {stride[axis]} - {padding[axis]}"
        if attributes["count_include_pad"]:
            counts.append(f"(min({start} + {kernel[axis]}, {size} + {padding[axis]}) - ({start}))")
        else:
            counts.append(f"(min({start} + {kernel[axis]}, {size}) - max({start}, 0))")
    override = attributes["divisor_override"]
    count = " * ".join(counts) if override is None else str(override)
    lines = [
        "for item in range(lo, hi):",
        "    plane = item * height * width",
        "    for k in range(height * width):",
        f"        y[plane + k] = {literal(0, dtype)}",
        "    for oy in range(out_height):",
        "        for ox in range(out_width):",
        f"            share = g[(item * out_height + oy) * out_width + ox] / as_{dtype.short}({count})",
        *_window_loop(instruction, 3),
        "                            y[plane + row * width + column] += share",
    ]
    loops.run("\n".join(lines), planes, windows * 8)


EMITTERS: dict[str, Callable[[Driver, Instruction], None]] = {
    "argmax": _argument(">"),
    "argmin": _argument("<"),
    "max_dim": _extreme_and_place(">"),
    "min_dim": _extreme_and_place("<"),
    "cumsum": _scan("+", 0),
    "cumprod": _scan("*", 1),
    "scatter": _scatter,
    "scatter_add": _scatter,
    "index_add": _index_add,
    "index_put": _index_put,
    "nonzero": _nonzero,
    "max_pool2d_with_indices": _max_pool_with_indices,
    "max_pool2d_grad": _max_pool_grad,
    "avg_pool2d_grad": _avg_pool_grad,
}
