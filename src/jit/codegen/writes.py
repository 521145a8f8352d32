"""Kernels that write where data says: scatters, index_add, index_put, nonzero."""

from collections.abc import Sequence

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim, dim_max, dim_min
from ...ir.dtypes import DType
from ...ir.types import TensorType
from ..expected_sizes import SHORT_TO_GATHER, expected_size
from .access import StridedView, forward_view
from .driver import Driver
from .fusion import Unsupported
from .indexing import element_count, row_major_strides
from .reads import axis_of, index_layout, slice_start
from .scalar_code import Requirements, literal, pointer_kind
from .template import LoopText, along, tensor_type

__all__ = ["run_index_add", "run_index_put", "run_nonzero", "run_scatter", "scatter_reads"]


def _copied(driver: Driver, source: Value, result: Value) -> None:
    storage = driver.store(result)
    driver.line(f"copy_bytes({storage.address}, {driver.address(source)}, {driver.size(driver.nbytes(result.type))})")
    driver.clock += 1


def _combined(reduce: str | None, dtype: DType, target: str, value: str, requirements: Requirements) -> str:
    if reduce is None:
        return f"{target} = {value}"
    if dtype is dtypes.bool_:
        return f"{target} = {target} {'|' if reduce in ('add', 'amax') else '&'} {value}"
    if reduce in ("amax", "amin"):
        helper = "maximum" if reduce == "amax" else "minimum"
        requirements.helpers.add(helper)
        return f"{target} = {helper}({target}, {value})"
    requirements.helpers.add(f"as_{dtype.short}")
    return f"{target} = as_{dtype.short}({target} {'+' if reduce == 'add' else '*'} {value})"


def scatter_reads(instruction: Instruction) -> list[Value] | None:
    """What a scatter reads from memory, through views of its index and values; None for other instructions."""
    if instruction.op.name not in ("scatter", "scatter_add", "scatter_reduce"):
        return None
    source, *others = (v for v in instruction.inputs if isinstance(v.type, TensorType))
    return [source, *(forward_view(v, instruction.block).base for v in others)]


def run_scatter(driver: Driver, instruction: Instruction) -> None:
    source, index, values = instruction.inputs
    result = instruction.results[0]
    reduce = "add" if instruction.op.name == "scatter_add" else instruction.attributes["reduce"]
    dtype = tensor_type(result).dtype
    if reduce == "mean" and dtype is dtypes.bool_:
        raise Unsupported(f"{instruction.op.name} of means of bools has no native kernel", instruction.location)
    means, reduce = reduce == "mean", {"sum": "add", "prod": "multiply", "mean": "add"}.get(reduce, reduce)
    _copied(driver, source, result)
    include_self = instruction.attributes.get("include_self", True)
    counts = _Counts(driver, instruction, result, int(include_self)) if means else None
    shape = tensor_type(index).shape
    axis = axis_of(instruction, source)
    loops = LoopText(driver, instruction)
    index_offset = _strided(loops, "index", "i", forward_view(index, instruction.block))
    loops.write("y", result)
    loops.status()
    loops.sizes(**{f"e{a}": size for a, size in enumerate(shape)})
    target_shape = tensor_type(result).shape
    strides = [_written(loops, f"ys{a}", stride) for a, stride in enumerate(row_major_strides(target_shape))]
    loops.sizes(size=target_shape[axis] if target_shape else 1)
    if isinstance(values.type, TensorType):
        value = f"source[{_strided(loops, 'source', 'v', forward_view(values, instruction.block))[0]}]"
    else:
        loops.scalar("source", values)
        loops.requirements.helpers.add(f"as_{pointer_kind(dtype)}")
        value = f"as_{pointer_kind(dtype)}(source)"
        if dtype is dtypes.bool_:
            value = "as_u8(source != 0)"
    # Only the dimension that is scattered along can bring two elements to one place.
    parallel = bool(shape) and axis != 0
    start = [] if parallel else ["for once in range(lo, hi):"]
    place = " + ".join(
        [
            f"position * {strides[axis] if shape else 1}",
            *(f"k{a} * {strides[a]}" for a in range(len(shape)) if a != axis),
        ]
    )
    actions = [_combined(reduce, dtype, f"y[{place}]", value, loops.requirements)]
    if counts is not None:
        loops.read("counts", counts.holder)
        actions[0] += f"; counts[{place}] += 1"
    if not include_self:
        # What is there does not count: first the places get a value that changes nothing.
        neutral = {"add": 0, "multiply": 1}
        kind = dtypes.uint8 if dtype is dtypes.bool_ else dtype
        actions.insert(0, f"y[{place}] = {literal(neutral[reduce], kind) if reduce in neutral else value}")
    lines = []
    offset, inner = index_offset
    for action in actions:
        depth = len(start)
        lines += start
        for a in range(len(shape) + 1):
            if a == len(shape) - inner:
                # The loops inside move along one place of the index.
                indent = "    " * depth
                lines += [
                    f"{indent}position = index[{offset}]",
                    f"{indent}if position < 0 or position >= size:",
                    f"{indent}    status[0] = 3",
                    f"{indent}else:",
                ]
                depth += 1
            if a < len(shape):
                bounds = "lo, hi" if parallel and a == 0 else f"e{a}"
                lines.append("    " * depth + f"for k{a} in range({bounds}):")
                depth += 1
        lines.append("    " * depth + action)
    count: Dim = shape[0] if parallel else 1
    per_item = element_count(shape[1:] if parallel else shape)
    loops.run("\n".join(lines), count, per_item)
    if counts is not None:
        counts.divide()


class _Counts:
    """How many values came to each place of a tensor."""

    def __init__(self, driver: Driver, instruction: Instruction, result: Value, first: int) -> None:
        self.driver, self.instruction, self.result = driver, instruction, result
        self.total = element_count(tensor_type(result).shape)
        self.storage = driver.temporary(self.total, dtypes.int64)
        driver.touch(self.storage)
        self.holder = Value(TensorType(dtypes.int64, (self.total,)))
        driver.storages[self.holder] = self.storage
        loops = LoopText(driver, instruction)
        loops.read("counts", self.holder)
        loops.run(f"for k in range(lo, hi):\n    counts[k] = {first}", self.total, 1)

    def divide(self) -> None:
        """Divide the sums by the counts; what no value came to stays."""
        dtype = tensor_type(self.result).dtype
        loops = LoopText(self.driver, self.instruction)
        loops.read("y", self.result)
        loops.read("counts", self.holder)
        cast = f"as_{dtype.short}"
        loops.requirements.helpers.add(cast)
        count = f"{cast}(max(counts[k], 1))"
        quotient = f"y[k] / {count}" if dtype.kind == "f" else f"{cast}(y[k] // {count})"
        loops.run(f"for k in range(lo, hi):\n    y[k] = {quotient}", self.total, 1)
        self.driver.touch(self.storage)


def _written(loops: LoopText, name: str, dim: Dim) -> str:
    """A stride as text: a literal where it is known, so that LLVM sees what is contiguous."""
    if isinstance(dim, int):
        return str(dim)
    loops.sizes(**{name: dim})
    return name


def _strided(loops: LoopText, name: str, prefix: str, view: StridedView) -> tuple[str, int]:
    """Read a tensor through a view: the text of an element's position, and how many inner loops do not move it."""
    loops.read(name, view.base)
    terms = [] if view.offset == 0 else [_written(loops, f"{prefix}o", view.offset)]
    still = 0
    for a, stride in enumerate(view.strides):
        still = still + 1 if stride == 0 else 0
        if stride != 0:
            terms.append(f"k{a} * {_written(loops, f'{prefix}s{a}', stride)}")
    return " + ".join(terms) or "0", still


def run_index_add(driver: Driver, instruction: Instruction) -> None:
    base, index, source = instruction.inputs
    result = instruction.results[0]
    dtype = tensor_type(result).dtype
    _copied(driver, base, result)
    axis = axis_of(instruction, base)
    around = along(source, axis) if tensor_type(source).shape else {"outer": 1, "n": 1, "inner": 1}
    size = tensor_type(base).shape[axis] if tensor_type(base).shape else 1
    loops = LoopText(driver, instruction)
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
    target = "y[(outer * size + position) * inner + i]"
    if around["inner"] == 1:
        value, target = value.replace(" * inner + i", ""), "y[outer * size + position]"
    combined = _combined("add", dtype, target, value, loops.requirements)
    short = expected_size(around["inner"])
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
    if around["inner"] == 1:
        body = body.replace("            for i in range(inner):\n    ", "")
    constants = {"inner": short} if short is not None and 1 < short <= SHORT_TO_GATHER else None
    loops.run(body, around["outer"], around["n"] * around["inner"], constants)


def run_index_put(driver: Driver, instruction: Instruction) -> None:
    source, *_, values = instruction.inputs
    result = instruction.results[0]
    dtype = tensor_type(result).dtype
    shape = tensor_type(source).shape
    layout = index_layout(instruction, shape)
    _copied(driver, source, result)
    loops = LoopText(driver, instruction)
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
    target = [_written(loops, f"ys{a}", stride) for a, stride in enumerate(row_major_strides(shape))]
    # The loops inside those over the index tensors move along one place.
    outside = layout.place + q
    lines = ["for once in range(lo, hi):"]
    for a in range(outside):
        lines.append("    " * (a + 1) + f"for k{a} in range(e{a}):")
    indent = "    " * (outside + 1)
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
                strides = _broadcast_strides(tensor_type(tensor).shape, layout.shape)
                loops.sizes(**{f"i{a}s{b}": stride for b, stride in enumerate(strides)}, **{f"size{a}": shape[a]})
                place = " + ".join(f"{k} * i{a}s{b}" for b, k in enumerate(part)) or "0"
                loops.requirements.helpers.add("as_i64")
                lines.append(f"{indent}place{a} = as_i64(index{a}[{place}])")
                lines.append(f"{indent}if place{a} < 0:")
                lines.append(f"{indent}    place{a} += size{a}")
                lines.append(f"{indent}if place{a} < 0 or place{a} >= size{a}:")
                lines.append(f"{indent}    status[0] = 3")
                lines.append(f"{indent}    valid = False")
                terms.append(f"place{a} * {target[a]}")
            case ("along", start, step):
                loops.sizes(**{f"start{a}": start})  # type: ignore[arg-type]
                terms.append(f"(start{a} + {next(rest)} * {step}) * {target[a]}")
            case (_, fixed):
                loops.sizes(**{f"fixed{a}": fixed})  # type: ignore[arg-type]
                terms.append(f"fixed{a} * {target[a]}")
    steps = [_written(loops, f"vs{a}", s) for a, s in enumerate(_broadcast_strides(tensor_type(values).shape, full))]
    value = f"source[{' + '.join(f'k{a} * {step}' for a, step in enumerate(steps)) or 0}]"
    reduce = "add" if instruction.attributes["accumulate"] else None
    place_text = " + ".join(terms) or "0"
    lines.append(f"{indent}if valid:")
    for a in range(outside, len(full)):
        indent += "    "
        lines.append(f"{indent}for k{a} in range(e{a}):")
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


def run_nonzero(driver: Driver, instruction: Instruction) -> None:
    source, result = instruction.inputs[0], instruction.results[0]
    shape = tensor_type(source).shape
    total = element_count(shape)
    counter = driver.temporary(1, dtypes.int64)
    driver.touch(counter)
    holder = Value(TensorType(dtypes.int64, ()))
    driver.storages[holder] = counter
    loops = LoopText(driver, instruction)
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
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.write("y", result)
    width = shape[-1] if shape else 1
    loops.sizes(n=total, width=width)
    outer = [f"row // s{axis} % e{axis}" for axis in range(len(shape) - 1)]
    for axis, stride in enumerate(row_major_strides(shape[:-1])):
        loops.sizes(**{f"s{axis}": stride, f"e{axis}": shape[axis]})
    coordinates = [f"c{axis}" for axis in range(len(outer))] + (["k"] if shape else [])
    loops.run(
        _NONZERO.format(
            rows="; ".join(f"c{axis} = {text}" for axis, text in enumerate(outer)) or "pass",
            store="; ".join(f"y[found * {len(shape)} + {axis}] = {c}" for axis, c in enumerate(coordinates)) or "pass",
        ),
        1,
        total,
    )


# Every place is written and then kept or not: a branch that nobody can predict would take longer. Nothing is written
# behind the last element that is not zero.
_NONZERO = """
for once in range(lo, hi):
    found, last = 0, n - 1
    while last >= 0 and x[last] == 0:
        last -= 1
    for row in range(last // max(width, 1) + 1):
        base = row * width
        stop = min(width, last + 1 - base)
        {rows}
        for first in range(0, stop, 32):
            until = min(first + 32, stop)
            some = 0
            for k in range(first, until):
                some |= x[base + k] != 0
            if some != 0:
                for k in range(first, until):
                    {store}
                    found += x[base + k] != 0
"""
