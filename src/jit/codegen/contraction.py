"""Matrix products and convolutions in the driver: operands as strides, packed weights, and what follows as epilogue."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.core import Array, Instruction, Value
from ...ir.dims import Dim
from ...ir.types import TensorType
from .access import StridedView, forward_view
from .byte_products import byte_reads, is_byte_product, run_byte_product
from .driver import Driver
from .elements import Elements
from .epilogue import Epilogue
from .fusion import Group, Unsupported
from .gemm import GEMM_SLOTS, GemmSpec, gemm_source, pack_b_numpy
from .image_layout import layout_of
from .indexing import coefficient, element_count, flat_index, terms
from .inline import INLINE
from .kernel_text import Text, named_source, preamble
from .loop_packing import packed_at_run_time, packed_before_loop
from .module import PLAIN, KernelSource
from .products import MATMULS, Axis, Product, in_runs, narrow_source, product_of, streamed
from .scalar_code import Code
from .target import Target

__all__ = [
    "accepts_epilogue",
    "contraction_reads",
    "epilogue_of",
    "run_contraction_kernel",
    "run_matmul",
    "store_strides",
    "strided_constant",
    "view_address",
]


def _tensor(value: Value | None) -> TensorType:
    assert value is not None and isinstance(value.type, TensorType)
    return value.type


def contraction_reads(instruction: Instruction) -> list[Value] | None:
    """What a product reads from memory: operands are read through views where strides express them."""
    if instruction.op.name not in MATMULS:
        return None
    if (reads := byte_reads(instruction)) is not None:
        return reads
    left, right = instruction.inputs[:2]
    return [forward_view(v, instruction.block).base for v in (left, narrow_source(right) or right)]


def store_strides(group: Group, value: Value) -> dict[int, tuple[str, Dim]] | None:
    """Per dimension of a contraction's result, its loop in the group and the stride at which the group stores it."""
    (output, indices), *_ = group.outputs.items()
    assert isinstance(output.type, TensorType)
    if layout_of(output) is not None:
        return None
    position = flat_index(indices, output.type.shape)
    found: dict[int, tuple[str, Dim]] = {}
    (read,) = group.accesses[value]
    for axis, index in enumerate(read):
        if isinstance(index, int):
            continue
        name = str(index)
        stride = coefficient(position, name)
        if stride is None:
            return None
        found[axis] = (name, stride)
    if any(not isinstance(part, int) and not part.is_symbol() for part, _ in terms(position)):
        return None
    return found


def accepts_epilogue(instruction: Instruction, group: Group) -> bool:
    """Whether a group's operations can be applied to the tiles of a product as they are stored."""
    value = instruction.results[0]
    (output,) = group.outputs
    if group.placements or _tensor(output).dtype is not _tensor(value).dtype:
        return False
    if instruction.op.name not in MATMULS or _tensor(value).dtype not in (dtypes.float32, dtypes.float64):
        return False
    store = store_strides(group, value)
    if store is None:
        return False
    product = streamed(product_of(instruction, store), instruction)
    return product.columns.c == 1 and len(product.batches) <= 2


# -- epilogues -------------------------------------------------------------------------------------------------------


def epilogue_of(
    driver: Driver,
    group: Group,
    value: Value,
    recover: Sequence[tuple[str, Sequence[str], Sequence[Dim]]],
    merged: dict[str, Dim] | None = None,
) -> tuple[Epilogue, Text]:
    """A group's operations as an epilogue.

    `recover` says which loops a variable of the epilogue stands for: ("i", loops, extents), outermost first. `merged`
    are loops that others stand for.
    """
    dtype = _tensor(value).dtype
    text = Text(renamed=merged or {})
    names = {loop.name: f"i{number}" for number, loop in enumerate(group.loops)}
    for variable, loops, _ in recover:
        if len(loops) == 1:
            names[loops[0]] = variable
    text.names = names
    scope = text.scopes[0]
    scope.variables = frozenset(loop.name for loop in group.loops)
    start: list[str] = []
    advance: list[str] = []
    for variable, loops, extents in recover:
        if len(loops) > 1:
            divisor: Dim = 1
            lines: list[str] = []
            for number, (loop, extent) in enumerate(zip(reversed(loops), reversed(extents), strict=True)):
                part = variable if divisor == 1 else f"{variable} // {text.size(divisor)}"
                if number < len(loops) - 1:
                    part = f"{part} % {text.size(extent)}"
                lines.append(f"{names[loop]} = {part}")
                divisor = divisor * extent
            if variable == "i":
                # Rows follow each other: the first one's place is worked out, the next ones' counted.
                start, advance = lines[::-1], _counted([names[loop] for loop in loops], extents, text)
            else:
                scope.lines.extend(reversed(lines))
    (read,) = group.accesses[value]
    scope.memo[value, read] = Code("v", dtype)
    elements = Elements(text, group, driver.root, INLINE)
    (output, indices), *_ = group.outputs.items()
    code = elements.element(output, indices)
    lines = [*scope.lines, f"v = {code.text}"]
    parameters = tuple((p.name, p.kind) for p in text.parameters.values())
    functions = preamble(text.requirements) if text.requirements.vector or text.requirements.helpers else ""
    if not functions and text.requirements.bits:
        functions = preamble(text.requirements)
    return Epilogue(parameters, "\n".join(lines), functions, "\n".join(start), "\n".join(advance)), text


def _counted(names: Sequence[str], extents: Sequence[Dim], text: Text) -> list[str]:
    """Statements that lead nested counters, the innermost last, to their next values."""
    lines = [f"{names[-1]} += 1"]
    for outer, inner, extent in zip(names[-2::-1], names[:0:-1], extents[:0:-1], strict=True):
        lines += [f"if {inner} == {text.size(extent)}:", f"    {inner} = 0", f"    {outer} += 1"]
    return lines


# -- products --------------------------------------------------------------------------------------------------------


def constant_array(view: StridedView) -> np.ndarray[Any, Any] | None:
    """The data of a strided view of a constant; None where it is no constant or its sizes are not known."""
    instruction = view.base.instruction
    if instruction is None or instruction.op.name != "constant":
        return None
    array = instruction.attributes["value"]
    if not isinstance(array, Array) or array.data is None:
        return None
    return np.ascontiguousarray(array.data)


def strided_constant(view: StridedView, shape: tuple[Dim, ...], strides: tuple[Dim, ...]) -> Any:
    data = constant_array(view)
    if data is None or not all(isinstance(d, int) for d in (*shape, *strides, view.offset)):
        return None
    flat: Any = data.reshape(-1)[view.offset :]  # all sizes are ints, as was checked
    nbytes: Any = [s * data.itemsize for s in strides]
    known: Any = shape
    return np.lib.stride_tricks.as_strided(flat, known, nbytes, writeable=False)


# Code in vectors, and loops around it that move addresses.
_PLAIN = re.compile(r"microkernel_|copies_|conv_loops_|gemm_f(32|64)_packed")


def add_shared(driver: Driver, sources: dict[str, str]) -> None:
    for name, source in sources.items():
        level = PLAIN if _PLAIN.match(name) else 2
        driver.add_kernel(KernelSource(name, source, title="shared by all products of this kind", level=level))


def title_of(instruction: Instruction, group: Group | None) -> tuple[str, str]:
    """(title, stem of the name) of a contraction's kernel."""
    names = [instruction.op.name]
    lines = [str(instruction.location)] if instruction.location is not None else []
    for member in group.instructions if group is not None else []:
        if member.op.name != "constant":
            names.append(member.op.name)
        if member.location is not None:
            lines.append(str(member.location))
    unique = list(dict.fromkeys(names))
    title = ", ".join(unique) + (f" ({', '.join(dict.fromkeys(lines))})" if lines else "")
    stem = "k_" + "_".join(n.replace(".", "_") for n in unique[:3])
    return title, stem


def run_matmul(driver: Driver, instruction: Instruction, group: Group | None, target: Target) -> None:
    """Run a product, with the group's operations in its epilogue; without a group its result is stored as it is."""
    value = instruction.results[0]
    result = _tensor(value)
    dtype = result.dtype
    if is_byte_product(instruction):
        run_byte_product(driver, instruction, product_of(instruction), target, run_contraction_kernel)
        return
    if dtype not in (dtypes.float32, dtypes.float64):
        raise Unsupported(f"{instruction.op.name} of {dtype.name}", instruction.location)
    store = store_strides(group, value) if group is not None else None
    product, runs = in_runs(streamed(product_of(instruction, store), instruction))
    output = next(iter(group.outputs)) if group is not None else value
    storage = driver.store(output)
    batched = bool(product.batches) and not runs
    columns = product.columns.extent
    known_columns = _representative(columns, GemmSpec(dtype.short, target=target).tile.columns)
    narrow = narrow_source(instruction.operands[1])
    kind = _tensor(narrow).dtype.short if narrow is not None else ""
    spec = GemmSpec(dtype.short, False, batched, known_columns, target, kind, bool(runs))
    packed = None
    if not batched and not kind:
        packed = _packed_weight(driver, product, spec) or packed_before_loop(driver, product, spec, add_shared)
    if packed is not None:
        spec = replace(spec, packed=True)
    either = None
    if packed is None and not batched and not kind:
        either = packed_at_run_time(driver, product, spec, add_shared)
    packed_spec = replace(spec, packed=True) if either is not None else None
    epilogue, text = Epilogue(), Text()
    if group is not None:
        axes = [("i", product.rows), ("j", product.columns)]
        recover = [(name, axis.loops, axis.sizes) for name, axis in axes]
        if batched:
            loops = tuple(loop for axis in product.batches for loop in axis.loops)
            extents = tuple(size for axis in product.batches for size in axis.sizes)
            recover.append(("batch", loops, extents))
        epilogue, text = epilogue_of(driver, group, value, recover)
    title, stem = title_of(instruction, group)
    if target.tile_rows:
        driver.report.append(f"{title}: tiles of {spec.tile.rows} x {spec.tile.columns}, measured on this machine")
    name, source = named_source(stem, lambda n: gemm_source(n, spec, epilogue, packed_spec))
    work = element_count([*(axis.extent for axis in product.batches), product.rows.extent, columns, product.depth])
    driver.add_kernel(KernelSource(name, f"# {title}\n{source}", title=title, flops=work * 2))
    add_shared(driver, spec.shared_sources())
    if packed_spec is not None:
        add_shared(driver, packed_spec.shared_sources())
    outer, batches = _outer_batches(product, 0 if runs else 2)
    size = dtype.itemsize
    a = view_address(driver, product.a, size)
    b_size = _tensor(narrow).dtype.itemsize if narrow is not None else size
    b = packed if packed is not None else view_address(driver, product.b, b_size)
    c = storage.address
    depth_of_loops = 0
    for axis in outer:
        index = driver.fresh("t")
        driver.line(f"for {index} in range({driver.size(axis.extent)}):")
        driver.depth += 1
        depth_of_loops += 1
        a = f"{a} + {index} * {driver.size(axis.a * size)}"
        b = f"{b} + {index} * {driver.size(axis.b * b_size)}"
        c = f"{c} + {index} * {driver.size(axis.c * size)}"
    if either is not None:
        b = f"{either[1]} if {either[0]} != 0 else {b}"
    slots: dict[str, str] = {"a": a, "b": b, "c": c}
    sizes: dict[str, Dim] = {
        "m": product.rows.extent,
        "n": columns,
        "k": product.depth,
        "a_row_stride": product.rows.a,
        "a_k_stride": product.a_depth,
        "b_k_stride": product.b_depth,
        "b_column_stride": product.columns.b,
        "c_row_stride": product.rows.c if product.rows.extent != 1 else columns,
    }
    if batched:
        first = batches[0] if len(batches) == 2 else Axis(1, 0, 0, 0)
        second = batches[-1]
        sizes |= {
            "batches": first.extent * second.extent,
            "inner_batches": second.extent,
            "a_outer_stride": first.a,
            "a_inner_stride": second.a,
            "b_outer_stride": first.b,
            "b_inner_stride": second.b,
            "c_outer_stride": first.c,
            "c_inner_stride": second.c,
        }
    sizes |= runs
    slots |= {slot: driver.size(dim) for slot, dim in sizes.items()}
    plan = ""
    if either is not None and packed_spec is not None:
        slots["b_is_packed"] = either[0]
        plan = f"{packed_spec.name}_plan(p, threads) if {either[0]} != 0 else {spec.name}_plan(p, threads)"
    run_contraction_kernel(driver, name, spec, GEMM_SLOTS, slots, text, output, plan)
    driver.depth -= depth_of_loops
    driver.clock += 1


def _representative(columns: Dim, whole: int) -> int | None:
    """A number of columns that stands for all with the same tile and edges, so that layers share kernels."""
    if not isinstance(columns, int) or columns <= whole // 2:
        return columns if isinstance(columns, int) else None
    return whole if columns % whole == 0 else whole + 1


def run_contraction_kernel(
    driver: Driver,
    name: str,
    spec: Any,
    layout: dict[str, int],
    slots: dict[str, str],
    text: Text,
    output: Value,
    plan: str = "",
) -> None:
    """Fill the table, let the plan function (that of `spec`, or what `plan` says) cut the work, and launch."""
    for slot, value in slots.items():
        driver.set_slot(layout[slot], "i64", value)
    driver.scratch_slots = max(driver.scratch_slots, len(layout) + len(text.parameters))
    for position, parameter in enumerate(text.parameters.values(), len(layout)):
        match parameter.source:
            case ("address", Value() as stored):
                driver.set_slot(position, "i64", driver.address(stored))
            case ("dim", dim):
                driver.set_slot(position, "i64", driver.size(dim))  # type: ignore[arg-type]
            case ("scalar", Value() as number):
                driver.set_slot(position, parameter.kind, driver.slot_value(number))
            case _:
                raise Unsupported("an epilogue that can fail")
    items = driver.fresh("items")
    driver.line(f"{items} = {plan or f'{spec.name}_plan(p, threads)'}")
    driver.line(f"launch({name}, p, {items}, slot_i64(p, {layout['grain']}), pool)")


def _outer_batches(product: Product, most: int) -> tuple[list[Axis], list[Axis]]:
    """Batch axes beyond the `most` that a kernel handles are loops of the driver."""
    batches = list(product.batches)
    first = max(0, len(batches) - most)
    return batches[:first], batches[first:]


def view_address(driver: Driver, view: StridedView, size: int) -> str:
    """The address of a view's first element, of `size` bytes."""
    address = driver.address(view.base)
    return address if view.offset == 0 else f"{address} + {driver.size(view.offset * size)}"


def _packed_weight(driver: Driver, product: Product, spec: GemmSpec) -> str | None:
    """The packed form of a constant B, made now."""
    shape, strides = (product.depth, product.columns.extent), (product.b_depth, product.columns.b)
    matrix = strided_constant(product.b, shape, strides)
    if matrix is None:
        return None
    instruction = product.b.base.instruction
    assert instruction is not None
    key = (id(instruction.attributes["value"]), product.b.offset, shape, strides, spec.tile)
    if key in driver.constant_keys:
        return driver.constant_keys[key]
    return driver.constant(pack_b_numpy(matrix, spec.tile), key)
