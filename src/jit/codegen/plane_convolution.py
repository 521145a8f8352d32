"""Convolutions in the driver that are computed plane by plane: contiguous images in and out."""

from collections.abc import Sequence
from typing import Any

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim, dim_max, dim_min
from ...ir.dtypes import DType
from ...ir.ops.conv import geometry
from ...ir.types import TensorType
from .access import StridedView, forward_view, strided_view
from .contraction import (
    add_shared,
    epilogue_of,
    run_contraction_kernel,
    strided_constant,
    title_of,
    view_address,
)
from .driver import Driver
from .epilogue import Epilogue
from .fusion import Group
from .indexing import element_count
from .kernel_text import Text, named_source
from .layout import LAYOUT_IMPORTS
from .module import KernelSource
from .nest import Nest, move_together
from .planes import PLANE_SLOTS, SLACK, WORKERS, PlaneSpec, pack_planes_numpy, planes_source
from .target import Target

__all__ = ["run_planes"]

# Elements of the planes of an item, which stay in the L2 cache, and the pixels of one of them.
_ELEMENTS, _MOST_PIXELS, _FEWEST_PIXELS = 1 << 16, 768, 128
# Elements that one range of a change of layout copies.
_PACK_GRAIN = 1 << 15
_AXES = ("depth", "height", "width")


def run_planes(driver: Driver, instruction: Instruction, group: Group | None, target: Target) -> None:
    """Run a convolution of one, two or three dimensions, with the group's operations in its epilogue."""
    value = instruction.results[0]
    x, result = (_tensor(v) for v in (instruction.inputs[0], value))
    weight, a = _tensor(instruction.inputs[1]), instruction.attributes
    dtype, groups = x.dtype, a["groups"]
    stride, pads, dilation = geometry(instruction.op.name, weight, a["stride"], a["padding"], a["dilation"])
    output = next(iter(group.outputs)) if group is not None else value
    storage = driver.store(output)
    merged = _merged_rows(driver, group, value)
    spec = PlaneSpec(dtype.short, group is not None and merged is None, target)
    view = forward_view(instruction.inputs[0], instruction.block)
    weights = _packed(driver, instruction, groups, spec, dtype)
    epilogue, text = Epilogue(), Text()
    if group is not None:
        epilogue, text = _epilogue(driver, group, value, merged or {})
    title, stem = title_of(instruction, group)
    name, source = named_source(stem, lambda n: planes_source(n, spec, epilogue))
    in_group, out_group = x.shape[1] // groups, weight.shape[0] // groups
    work = element_count([*result.shape, *weight.shape[1:]])
    driver.add_kernel(KernelSource(name, f"# {title}\n{source}", title=title, flops=work * 2))
    add_shared(driver, spec.shared_sources())
    sizes: dict[str, Dim] = {
        "images": x.shape[0],
        "channels": in_group,
        "out_channels": out_group,
        "groups": groups,
        "x_image_stride": view.strides[0],
        "x_channel_stride": view.strides[1],
        "x_depth_stride": view.strides[2] if len(x.shape) == 5 else 0,
        "x_row_stride": view.strides[-2],
        "x_pixel_stride": view.strides[-1],
    }
    for prefix, values in (("in", x.shape[2:]), ("out", result.shape[2:]), ("kernel", weight.shape[2:]),
                           ("stride", stride), ("dilation", dilation)):  # fmt: skip
        sizes |= {f"{prefix}_{axis}": v for axis, v in zip(_AXES, _three(values, 1), strict=True)}
    sizes |= {f"pad_{axis}": v for axis, v in zip(_AXES, _three(pads[::2], 0), strict=True)}
    sizes |= _blocks(sizes, spec)
    slots = {slot: driver.size(dim) for slot, dim in sizes.items()}
    scratch = driver.temporary(sizes["scratch_elements"] * WORKERS, dtype)
    driver.touch(scratch)
    slots |= {"x": view_address(driver, view, dtype.itemsize), "w": weights, "y": storage.address}
    slots["scratch"] = scratch.address
    run_contraction_kernel(driver, name, spec, PLANE_SLOTS, slots, text, output)
    driver.clock += 1


def _tensor(value: Value) -> TensorType:
    assert isinstance(value.type, TensorType)
    return value.type


def _three(values: Sequence[Dim], fill: int) -> list[Dim]:
    """The numbers for depth, height and width."""
    return [fill] * (3 - len(values)) + list(values)


def _blocks(sizes: dict[str, Dim], spec: PlaneSpec) -> dict[str, Dim]:
    """The largest item, and the scratch memory of a worker."""
    reach = [(sizes[f"kernel_{a}"] - 1) * sizes[f"dilation_{a}"] for a in _AXES]
    phases: Dim = sizes["channels"] * sizes["kernel_depth"]
    for axis in (1, 2):
        phases = phases * dim_min(sizes[f"stride_{_AXES[axis]}"], reach[axis] + 1)
    down, right = (reach[axis] // sizes[f"stride_{_AXES[axis]}"] for axis in (1, 2))
    pixels = dim_max(_FEWEST_PIXELS, dim_min(_MOST_PIXELS, _ELEMENTS // dim_max(phases, 1)))
    columns = dim_max(1, dim_min(sizes["out_width"], pixels))
    rows = dim_max(1, dim_min(sizes["out_height"], pixels // (columns + right)))
    images: Dim = 1
    if down == right == 0 and sizes["out_depth"] == sizes["kernel_depth"] == 1:
        # Nothing lies between the rows, so that small images can follow each other.
        images = dim_max(1, dim_min(sizes["images"], pixels // dim_max(1, sizes["out_height"] * sizes["out_width"])))
    plane = images * (rows + down) * (columns + right) + 32
    count = element_count([sizes["channels"], *(sizes[f"kernel_{a}"] for a in _AXES)])
    scratch = count * 2 + 16 + (plane + SLACK) * (2 * spec.tile.rows) + phases * plane + 2 * SLACK
    return {"image_block": images, "row_block": rows, "column_block": columns, "scratch_elements": scratch}


# -- weights -----------------------------------------------------------------------------------------------------------


def _packed(driver: Driver, instruction: Instruction, groups: int, spec: PlaneSpec, dtype: DType) -> str:
    """The address of the packed weights: packed now if they are constant, else in the driver."""
    weight = instruction.inputs[1]
    w, shape = strided_view(weight, instruction.block), _tensor(weight).shape
    data = strided_constant(w, shape, w.strides)
    if data is None:
        return _pack_at_run_time(driver, w, shape, groups, spec, dtype)
    key = (id(w.base.instruction), w.offset, w.strides, shape, spec.tile, "planes", groups)
    if key not in driver.constant_keys:
        driver.constant(pack_planes_numpy(data, groups, spec.tile.rows), key)
    return driver.constant_keys[key]


_PACK_SLOTS = (
    "w", "packed", "tiles", "out_channels", "channels", *(f"kernel_{a}" for a in _AXES), "group_stride", "out_stride",
    "channel_stride", *(f"{a}_stride" for a in _AXES),
)  # fmt: skip


def _pack_source(name: str, dtype: str, rows: int) -> str:
    """Source of `<name>(p, lo, hi)` over groups x tiles."""
    names = _PACK_SLOTS[2:]
    return f"""{LAYOUT_IMPORTS}
@kernel
def {name}(p, lo, hi):
    w, packed = pointer_{dtype}(slot_i64(p, 0)), pointer_{dtype}(slot_i64(p, 1))
    {", ".join(names)} = {", ".join(f"slot_i64(p, {i})" for i in range(2, len(_PACK_SLOTS)))}
    count = channels * kernel_depth * kernel_height * kernel_width
    for item in range(lo, hi):
        first = item % tiles * {rows}
        start = item // tiles * group_stride + first * out_stride
        filled, out = min({rows}, out_channels - first), item * count * {rows}
        for c in range(channels):
            for d in range(kernel_depth):
                for a in range(kernel_height):
                    for b in range(kernel_width):
                        place = start + c * channel_stride + d * depth_stride + a * height_stride + b * width_stride
                        for s in range(filled):
                            packed[out + s] = w[place + s * out_stride]
                        for s in range(filled, {rows}):
                            packed[out + s] = 0
                        out += {rows}
"""


def _pack_at_run_time(
    driver: Driver, w: StridedView, shape: Sequence[Dim], groups: int, spec: PlaneSpec, dtype: DType
) -> str:
    rows = spec.tile.rows
    name, source = named_source("k_pack_planes", lambda n: _pack_source(n, dtype.short, rows))
    driver.add_kernel(KernelSource(name, source, title="weights packed for convolutions over planes"))
    out_group = shape[0] // groups
    tiles = (out_group + (rows - 1)) // rows
    buffer = driver.temporary(element_count(shape[1:]) * tiles * groups * rows, dtype)
    driver.set_slot(0, "i64", view_address(driver, w, dtype.itemsize))
    driver.set_slot(1, "i64", buffer.address)
    values: list[Dim] = [tiles, out_group, shape[1], *_three(shape[2:], 1), w.strides[0] * out_group, *w.strides[:2]]
    values += _three(w.strides[2:], 0)
    for slot, dim in enumerate(values, 2):
        driver.set_slot(slot, "i64", driver.size(dim))
    per_item = element_count(shape[1:]) * rows
    grain = f"{_PACK_GRAIN} // ({driver.size(per_item)} + 1) + 1"
    driver.line(f"launch({name}, p, {driver.size(tiles * groups)}, {grain}, pool)")
    driver.clock += 1
    driver.touch(buffer)
    return buffer.address


# -- epilogues ---------------------------------------------------------------------------------------------------------


def _pixel_loops(group: Group, value: Value) -> dict[int, str]:
    """The group's loop for each dimension of a convolution's result that has one."""
    (read,) = group.accesses[value]
    return {axis: str(index) for axis, index in enumerate(read) if not isinstance(index, int)}


def _merged_rows(driver: Driver, group: Group | None, value: Value) -> dict[str, Dim] | None:
    """That rows and columns are one loop where all that the group reads and stores allows it; None where not."""
    if group is None:
        return {}
    loops, rank = _pixel_loops(group, value), _tensor(value).rank
    row, column = loops.get(rank - 2), loops.get(rank - 1)
    if row is None or column is None:
        return {}
    by_name = {loop.name: loop for loop in group.loops}
    positions = Nest(group, driver.root).positions()
    if all(move_together(p, by_name[row], by_name[column]) for p in positions):
        return {row: 0}
    return None


def _epilogue(driver: Driver, group: Group, value: Value, merged: dict[str, Any]) -> tuple[Epilogue, Text]:
    loops, rank = _pixel_loops(group, value), _tensor(value).rank
    # Where images are one column wide, a pixel's row is its place.
    variables = {2: "z"} if rank == 5 else {}
    variables |= {0: "n", 1: "j", rank - 2: "y" if rank - 1 in loops else "x", rank - 1: "x"}
    extents = {loop.name: loop.extent for loop in group.loops}
    recover = [(variables[axis], [name], [extents[name]]) for axis, name in loops.items() if name not in merged]
    return epilogue_of(driver, group, value, recover, merged)


def is_plane_dtype(dtype: DType) -> bool:
    """Whether there are kernels for a dtype."""
    return dtype in (dtypes.float32, dtypes.float64)
