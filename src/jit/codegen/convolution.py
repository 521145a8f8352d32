"""Convolutions in the driver: images to padded NHWC, packed weights, and a kernel that stores NCHW."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import DType
from ...ir.ops.conv import geometry
from ...ir.types import TensorType
from ..expected_sizes import expected_size
from ..winograd import is_winograd_allowed
from .access import StridedView, forward_view, strided_view
from .channel_blocks import run_channel_blocks, takes_channel_blocks
from .contraction import (
    add_shared,
    constant_array,
    epilogue_of,
    run_contraction_kernel,
    strided_constant,
    title_of,
    view_address,
)
from .conv import CONV_SLOTS, ConvSpec, conv_source, pack_conv_numpy, pack_depthwise_numpy
from .depthwise import DEPTHWISE_SLOTS, MOST_TAPS, depthwise_source, pack_taps_numpy
from .driver import Driver, Storage
from .epilogue import Epilogue
from .fusion import Group
from .image_layout import ImageLayout, layout_of
from .indexing import element_count, flat_index
from .kernel_text import Text, named_source
from .layout import LAYOUT_IMPORTS, LAYOUT_SLOTS, to_nhwc_source
from .module import KernelSource
from .plane_convolution import run_planes
from .target import Target
from .winograd import (
    WINOGRAD_SLOTS,
    WinogradSpec,
    output_size,
    pack_winograd_numpy,
    scratch_elements,
    winograd_source,
)

__all__ = ["convolution_reads", "padded_images", "run_convolution", "stores_images"]

# Elements that one range of a layout change copies.
_COPY_GRAIN = 1 << 15
# Where pixels in vectors are better than channels: with few channels on one side, with strides only where the sums are
# short (strided copies take longer), and 1x1 with not too many inputs.
_FEW_CHANNELS, _SHORT_DEPTH, _MANY_CHANNELS = 16, 48, 128
# In images up to this high and wide, windows of 3x3 have no more places in the image than Winograd's tiles have.
_TINY_IMAGE = 2


def convolution_reads(instruction: Instruction) -> list[Value] | None:
    """What a convolution reads from memory."""
    if instruction.op.name not in ("conv2d", "conv3d"):
        return None
    images, weight = instruction.inputs[:2]
    read = images if layout_of(images) is not None else forward_view(images, instruction.block).base
    return [read, strided_view(weight, instruction.block).base]


def stores_images(instruction: Instruction, group: Group) -> bool:
    """Whether a group's operations can be applied to the result of a convolution as it is stored."""
    value = instruction.results[0]
    (output,) = group.outputs
    assert isinstance(value.type, TensorType) and isinstance(output.type, TensorType)
    if output.type.dtype is not value.type.dtype or value.type.dtype not in (dtypes.float32, dtypes.float64):
        return False
    (read,) = group.accesses[value]
    if layout_of(output) is not None:
        return output.type.shape == value.type.shape and read == group.outputs[output]
    return flat_index(read, value.type.shape) == flat_index(group.outputs[output], output.type.shape)


@dataclass(frozen=True)
class _Shape:
    """A convolution's sizes."""

    images: Dim
    channels: Dim
    height: Dim
    width: Dim
    out_channels: Dim
    out_height: Dim
    out_width: Dim
    kernel: tuple[Dim, Dim]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def padded(self) -> tuple[Dim, Dim]:
        return self.height + self.pads[0] + self.pads[1], self.width + self.pads[2] + self.pads[3]


def _shape_of(instruction: Instruction) -> tuple[_Shape, DType]:
    x, w, result = (v.type for v in (*instruction.inputs[:2], instruction.results[0]))
    assert isinstance(x, TensorType) and isinstance(w, TensorType) and isinstance(result, TensorType)
    a = instruction.attributes
    stride, pads, dilation = geometry("conv2d", w, a["stride"], a["padding"], a["dilation"])
    images, channels, height, width = x.shape
    _, out_channels, out_height, out_width = result.shape
    kernel = (w.shape[2], w.shape[3])
    return (
        _Shape(
            images, channels, height, width, out_channels, out_height, out_width, kernel,
            stride, pads, dilation, a["groups"],
        ),
        x.dtype,
    )  # fmt: skip


def run_convolution(driver: Driver, instruction: Instruction, group: Group | None, target: Target) -> None:
    """Run a convolution, with the group's operations in its epilogue."""
    where = f" ({instruction.location})" if instruction.location is not None else ""
    note = f"{instruction.op.name}{where}: "
    if takes_planes(instruction, group):
        if takes_channel_blocks(instruction, target):
            driver.report.append(note + "one filter per channel, blocks of channels transposed as they are read")
            run_channel_blocks(driver, instruction, group, target)
            return
        driver.report.append(note + "plane by plane, pixels in vectors: its images are contiguous")
        run_planes(driver, instruction, group, target)
        return
    value = instruction.results[0]
    shape, dtype = _shape_of(instruction)
    images, w = instruction.inputs[0], strided_view(instruction.inputs[1], instruction.block)
    output = next(iter(group.outputs)) if group is not None else value
    storage = driver.store(output)
    groups = shape.groups
    in_group, out_group = _divided(shape.channels, groups), _divided(shape.out_channels, groups)
    inputs = _grouped_inputs(groups, in_group, out_group, target.lanes(dtype.short))
    depthwise = inputs > 0
    known = out_group if isinstance(out_group, int) and not depthwise else None
    whole = ConvSpec(dtype.short, target=target).tile.columns
    if known is not None and known > whole // 2:
        known = None
    layout = layout_of(output)
    spec: ConvSpec | WinogradSpec = ConvSpec(dtype.short, known, depthwise, layout is None, target, max(inputs, 1))
    outputs = winograd_outputs(instruction)
    if outputs:
        spec = WinogradSpec(outputs, known, layout is None, target)
    padded = ImageLayout(*shape.pads)
    given = layout_of(images)
    if given is None:
        view = forward_view(images, instruction.block)
        buffer = padded_images(driver, instruction, view, _tensor_shape(images), shape.pads, dtype)
        x = buffer.address
    else:
        # The border may be wider than this convolution's padding: another one reads the same images.
        x = driver.address(images)
        extra: Dim = given.first(_tensor_shape(images)) - _padded_first(given, padded, _tensor_shape(images))
        x = x if extra == 0 else f"{x} + {driver.size(extra * dtype.itemsize)}"
    taps = _taps(driver, instruction, w, shape) if inputs == 1 and layout is not None else None
    driver.report.append(note + _method(outputs, inputs, taps is not None))
    weights = taps if taps is not None else _packed_weights(driver, instruction, w, shape, spec, dtype)
    epilogue, text = Epilogue(), Text()
    if group is not None:
        epilogue, text = _epilogue(driver, group, value) if taps is None else _pixel_epilogue(driver, group, value)
    title, stem = title_of(instruction, group)
    name, source = named_source(stem, lambda n: _kernel_source(n, spec, epilogue))
    if taps is not None:
        window: tuple[Any, Any, Any] = (shape.kernel, shape.stride, shape.dilation)
        name, source = named_source(stem, lambda n: depthwise_source(n, dtype.short, *window, epilogue))
    work = element_count([shape.images, shape.out_channels, shape.out_height, shape.out_width, in_group, *shape.kernel])
    driver.add_kernel(KernelSource(name, f"# {title}\n{source}", title=title, flops=work * 2))
    if taps is None:
        add_shared(driver, spec.shared_sources())
    x_strides = (given or padded).strides(_tensor_shape(images))
    plane = shape.out_height * shape.out_width
    if layout is None:
        strides: tuple[Dim, ...] = (plane * shape.out_channels, plane, shape.out_width, 1)
        first: Dim = 0
    else:
        result_shape = _tensor_shape(value)
        strides = layout.strides(result_shape)
        first = layout.first(result_shape)
    sizes: dict[str, Dim] = {
        "images": shape.images,
        "channels": 1 if depthwise else in_group,
        "out_channels": 1 if depthwise else out_group,
        "groups": shape.channels if depthwise else groups,
        "out_height": shape.out_height,
        "out_width": shape.out_width,
        "kernel_height": shape.kernel[0],
        "kernel_width": shape.kernel[1],
        "stride_height": shape.stride[0],
        "stride_width": shape.stride[1],
        "dilation_height": shape.dilation[0],
        "dilation_width": shape.dilation[1],
        "x_image_stride": x_strides[0],
        "x_row_stride": x_strides[2],
        "x_pixel_stride": x_strides[3],
        "y_image_stride": strides[0],
        "y_row_stride": strides[2],
        "y_pixel_stride": strides[3],
        "y_channel_stride": plane,
        "in_height": shape.height,
        "in_width": shape.width,
        "pad_height": shape.pads[0],
        "pad_width": shape.pads[2],
    }
    slots = {slot: driver.size(dim) for slot, dim in sizes.items()}
    if given is None:
        driver.touch(buffer)
    y = storage.address if first == 0 else f"{storage.address} + {driver.size(first * dtype.itemsize)}"
    slots |= {"x": x, "w": weights, "y": y}
    table = CONV_SLOTS
    if isinstance(spec, WinogradSpec):
        assert isinstance(shape.channels, int)
        table = WINOGRAD_SLOTS
        scratch = driver.temporary(scratch_elements(spec, shape.channels), dtype)
        slots = {slot: text for slot, text in slots.items() if slot in table} | {"scratch": scratch.address}
        driver.touch(scratch)
    plan = ""
    if taps is not None:
        table, plan = DEPTHWISE_SLOTS, f"{name}_plan(p, threads)"
        slots = {slot: given for slot, given in slots.items() if slot in table}
    run_contraction_kernel(driver, name, spec, table, slots, text, output, plan)
    driver.clock += 1


def _method(outputs: int, inputs: int, written_out: bool) -> str:
    """How a convolution with channels last is computed, for reports."""
    if outputs:
        return winograd_note(outputs)
    if written_out:
        return "one filter per channel, its elements written out, channels in vectors"
    if inputs:
        return (
            f"groups of {inputs}, several in a vector" if inputs > 1 else "one filter per channel, channels in vectors"
        )
    return "direct: windows, as they lie with channels last, times packed weights"


def _taps(driver: Driver, instruction: Instruction, w: StridedView, shape: _Shape) -> str | None:
    """The address of constant weights with one filter per channel, in the order of kernels that write them out."""
    known = [size for size in shape.kernel if isinstance(size, int)]
    if len(known) < 2 or not 0 < known[0] * known[1] <= MOST_TAPS:
        return None
    data = strided_constant(w, _tensor_shape(instruction.inputs[1]), w.strides)
    if data is None:
        return None
    key = (id(w.base.instruction), w.offset, w.strides, "taps")
    if key not in driver.constant_keys:
        driver.constant(pack_taps_numpy(data), key)
    return driver.constant_keys[key]


def _pixel_epilogue(driver: Driver, group: Group, value: Value) -> tuple[Epilogue, Text]:
    """The epilogue of kernels that know image, channel, row and column of a pixel."""
    (read,) = group.accesses[value]
    extents = {loop.name: loop.extent for loop in group.loops}
    named = [(v, str(index)) for v, index in zip("njzq", read, strict=True) if not isinstance(index, int)]
    return epilogue_of(driver, group, value, [(v, [name], [extents[name]]) for v, name in named])


def takes_planes(instruction: Instruction, group: Group | None) -> bool:
    """Whether a convolution is computed plane by plane: its images are contiguous, and that is faster.

    Large ones gain more from channels in vectors than changes of layout cost.
    """
    output = next(iter(group.outputs)) if group is not None else instruction.results[0]
    if layout_of(instruction.inputs[0]) is not None or layout_of(output) is not None:
        return False
    if instruction.op.name != "conv2d":
        return True
    shape, _ = _shape_of(instruction)
    # Planes are computed so for all sizes: what the first call has will do to choose.
    weight = instruction.inputs[1].type
    assert isinstance(weight, TensorType)
    channels = expected_size(weight.shape[1])
    out_channels = expected_size(_divided(shape.out_channels, shape.groups))
    if shape.groups > 1 and channels is not None and channels <= _FEW_CHANNELS:
        return True
    if shape.stride != (1, 1):
        depth = expected_size(element_count([channels if channels is not None else shape.channels, *shape.kernel]))
        return depth is not None and depth <= _SHORT_DEPTH
    if winograd_outputs(instruction):
        return False
    if shape.height == shape.kernel[0] == 1:
        return True
    if shape.kernel == (1, 1):
        return channels is not None and channels < _MANY_CHANNELS
    # A dilated kernel reaches far past the image, and most of what lies between rows of planes is computed, too.
    few = any(c is not None and c < _FEW_CHANNELS for c in (channels, out_channels))
    return few and shape.dilation == (1, 1)


def _grouped_inputs(groups: int, channels: Dim, out_channels: Dim, lanes: int) -> int:
    """The channels of a group where several groups are computed in one vector, else 0."""
    if groups == 1 or channels != out_channels or not isinstance(channels, int):
        return 0
    return channels if channels in (1, 2, 4, 8) and channels < lanes else 0


def winograd_outputs(instruction: Instruction) -> int:
    """The outputs of a Winograd tile in each direction where a convolution is computed so, else 0."""
    if not is_winograd_allowed() or instruction.op.name != "conv2d":
        return 0
    shape, dtype = _shape_of(instruction)
    height, width = expected_size(shape.out_height), expected_size(shape.out_width)
    if height is not None and width is not None and max(height, width) <= _TINY_IMAGE:
        return 0
    w = strided_view(instruction.inputs[1], instruction.block)
    is_plain = shape.kernel == (3, 3) and shape.stride == shape.dilation == (1, 1) and shape.groups == 1
    weight = constant_array(w) if dtype is dtypes.float32 and is_plain else None
    # Sums of whole numbers are exact as long as they are computed directly.
    if weight is None or (weight == np.round(weight)).all():
        return 0
    return output_size(shape.channels, shape.out_channels)


def winograd_note(outputs: int) -> str:
    """What a report says of it."""
    products = {2: "4 instead of 9", 4: "2.25 instead of 9"}[outputs]
    error = {2: "about that of the direct form", 4: "about ten times that of the direct form"}[outputs]
    return (
        f"by Winograd F({outputs}x{outputs}, 3x3): {products} products for each output and channel; "
        f"rounding error {error}; jit.winograd(False) forbids it"
    )


def _kernel_source(name: str, spec: ConvSpec | WinogradSpec, epilogue: Epilogue) -> str:
    if isinstance(spec, WinogradSpec):
        return winograd_source(name, spec, epilogue)
    return conv_source(name, spec, epilogue)


def _tensor_shape(value: Value) -> tuple[Dim, ...]:
    assert isinstance(value.type, TensorType)
    return value.type.shape


def _padded_first(given: ImageLayout, padded: ImageLayout, shape: Sequence[Dim]) -> Dim:
    """Where the first image starts in a buffer whose border is `padded` of the strides of `given`."""
    _, _, row, column = given.strides(shape)
    return row * padded.top + column * padded.left


def _divided(size: Dim, groups: int) -> Dim:
    return size // groups


def padded_images(
    driver: Driver,
    instruction: Instruction,
    x: StridedView,
    shape: Sequence[Dim],
    pads: tuple[int, int, int, int],
    dtype: DType,
) -> Storage:
    """Images of any strides in a buffer with channels last, inside a border of (above, below, left, right) zeros.

    Instructions of one block that read the same images share the buffer.
    """
    key = ("padded images", id(instruction.block), driver.root(x.base), x.offset, x.strides, pads)
    if key in driver.packed:
        return driver.packed[key]
    images, channels, rows, columns = shape
    height, width = rows + (pads[0] + pads[1]), columns + (pads[2] + pads[3])
    buffer = driver.temporary(images * height * width * channels, dtype)
    name, source = named_source("k_to_nhwc", lambda n: LAYOUT_IMPORTS + to_nhwc_source(n, dtype.short))
    driver.add_kernel(KernelSource(name, source, title="images to padded NHWC"))
    strides = x.strides
    sizes: dict[str, Dim] = {
        "images": images,
        "channels": channels,
        "height": rows,
        "width": columns,
        "x_image_stride": strides[0],
        "x_channel_stride": strides[1],
        "x_row_stride": strides[2],
        "x_column_stride": strides[3],
        "y_height": height,
        "y_width": width,
        "top": pads[0],
        "left": pads[2],
    }
    driver.set_slot(LAYOUT_SLOTS["x"], "i64", view_address(driver, x, dtype.itemsize))
    driver.set_slot(LAYOUT_SLOTS["y"], "i64", buffer.address)
    for slot, dim in sizes.items():
        driver.set_slot(LAYOUT_SLOTS[slot], "i64", driver.size(dim))
    grain = f"{_COPY_GRAIN} // ({driver.size(width * channels)} + 1) + 1"
    driver.line(f"launch({name}, p, {driver.size(images * height)}, {grain}, pool)")
    driver.clock += 1
    driver.touch(buffer)
    driver.packed[key] = buffer
    return buffer


def _packed_weights(
    driver: Driver,
    instruction: Instruction,
    w: StridedView,
    shape: _Shape,
    spec: ConvSpec | WinogradSpec,
    dtype: DType,
) -> str:
    """The address of the packed weights: packed now if they are constant, else in the driver."""
    weight = instruction.inputs[1]
    assert isinstance(weight.type, TensorType)
    data = strided_constant(w, weight.type.shape, w.strides)
    if isinstance(spec, WinogradSpec):
        key = (id(w.base.instruction), w.offset, w.strides, weight.type.shape, spec.tile, "winograd", spec.outputs)
        if key not in driver.constant_keys:
            driver.constant(pack_winograd_numpy(data, spec.outputs, spec.tile), key)
        return driver.constant_keys[key]
    if data is not None:
        key = (id(w.base.instruction), w.offset, w.strides, weight.type.shape, spec.tile, "conv", shape.groups)
        if key in driver.constant_keys:
            return driver.constant_keys[key]
        if spec.depthwise:
            return driver.constant(pack_depthwise_numpy(data, spec.tile), key)
        return driver.constant(pack_conv_numpy(data, shape.groups, spec.tile), key)
    return _pack_at_run_time(driver, w, shape, spec, dtype)


# The slots of the kernel that packs weights, after the address of the weights and of the packed form.
_PACK_SIZES = ("groups", "out_channels", "channels", "kernel_height", "kernel_width", "panels")
_PACK_STRIDES = ("group_stride", "out_stride", "channel_stride", "row_stride", "column_stride", "offset")


def _pack_source(name: str, dtype: str, columns: int) -> str:
    slots = {n: i for i, n in enumerate(("w", "packed", *_PACK_SIZES, *_PACK_STRIDES))}

    def read(*names: str) -> str:
        return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {slots[n]})' for n in names)}"

    return f"""{LAYOUT_IMPORTS}
@kernel
def {name}(p, lo, hi):
    w, packed = pointer_{dtype}(slot_i64(p, 0)), pointer_{dtype}(slot_i64(p, 1))
    {read(*_PACK_SIZES)}
    {read(*_PACK_STRIDES)}
    depth = kernel_height * kernel_width * channels
    for item in range(lo, hi):
        first = item % panels * {columns}
        start = offset + item // panels * group_stride + first * out_stride
        count = min({columns}, out_channels - first)
        for k in range(depth):
            row, column, channel = k // channels // kernel_width, k // channels % kernel_width, k % channels
            place = start + row * row_stride + column * column_stride + channel * channel_stride
            out = (item * depth + k) * {columns}
            for s in range(count):
                packed[out + s] = w[place + s * out_stride]
            for s in range(count, {columns}):
                packed[out + s] = 0
"""


def _pack_at_run_time(driver: Driver, w: StridedView, shape: _Shape, spec: ConvSpec, dtype: DType) -> str:
    columns = spec.tile.columns
    name, source = named_source("k_pack_weights", lambda n: _pack_source(n, dtype.short, columns))
    driver.add_kernel(KernelSource(name, source, title="weights packed for the micro-kernel"))
    groups, out_channels, channels = shape.groups, _divided(shape.out_channels, shape.groups), shape.channels
    in_group = _divided(channels, groups)
    group_stride: Dim = out_channels * w.strides[0]
    if spec.depthwise:
        # Few filters per channel: the channels are the columns of a single group.
        groups, out_channels, in_group, group_stride = 1, shape.out_channels, spec.inputs, 0
    panels = (out_channels + (columns - 1)) // columns
    depth = element_count([*shape.kernel, in_group])
    buffer = driver.temporary(panels * columns * depth * groups, dtype)
    values: list[Dim] = [groups, out_channels, in_group, *shape.kernel, panels]
    values += [group_stride, w.strides[0], w.strides[1], w.strides[2], w.strides[3], w.offset]
    driver.set_slot(0, "i64", driver.address(w.base))
    driver.set_slot(1, "i64", buffer.address)
    for slot, dim in enumerate(values, 2):
        driver.set_slot(slot, "i64", driver.size(dim))
    grain = f"{_COPY_GRAIN} // ({driver.size(depth * columns)} + 1) + 1"
    driver.line(f"launch({name}, p, {driver.size(panels * groups)}, {grain}, pool)")
    driver.clock += 1
    driver.touch(buffer)
    return buffer.address


def _epilogue(driver: Driver, group: Group, value: Value) -> tuple[Epilogue, Text]:
    assert isinstance(value.type, TensorType)
    (read,) = group.accesses[value]
    named: list[tuple[str, Any]] = [
        (str(index), size) for index, size in zip(read, value.type.shape, strict=True) if not isinstance(index, int)
    ]
    by_axis = {axis: str(index) for axis, index in enumerate(read) if not isinstance(index, int)}
    pixels = [by_axis[a] for a in (0, 2, 3) if a in by_axis]
    sizes = dict(named)
    recover = [("i", pixels, [sizes[n] for n in pixels])]
    if 1 in by_axis:
        recover.append(("j", [by_axis[1]], [sizes[by_axis[1]]]))
    return epilogue_of(driver, group, value, recover)
