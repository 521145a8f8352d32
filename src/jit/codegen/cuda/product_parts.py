"""A product or convolution as texts of a kernel: where the elements of operands are, and how a result is stored."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.ops.conv import geometry
from ....ir.types import TensorType
from ..access import strided_view
from ..elements import Elements
from ..fusion import Group
from ..image_layout import position
from ..indexing import element_count, row_major_strides
from ..inline import INLINE
from ..products import Product, product_of, view_strides
from ..scalar_code import Code, cast, literal
from .device_text import DeviceText

__all__ = ["Tiles", "convolution_parts", "product_parts", "store_product", "tensor_type", "title_of"]


def tensor_type(value: Value | None) -> TensorType:
    """The type of a value that is a tensor."""
    assert value is not None and isinstance(value.type, TensorType)
    return value.type


@dataclass
class Tiles:
    """A product as texts: its sizes, and how its operands' elements are found.

    `bases` run once per block and see `batch`; `left` and `right` are the elements at (row, depth) and (depth, column),
    with the statements before them; `place` is the position of an element in the contiguous result, and sees `batch`,
    `row` and `column`; `known` are dimensions of the result whose index needs no division.
    """

    batches: Dim
    rows: Dim
    columns: Dim
    depth: Dim
    bases: list[str]
    left: tuple[list[str], str]
    right: tuple[list[str], str]
    place: str
    known: dict[int, str] = field(default_factory=dict)
    left_along_rows: bool = False
    right_along_depth: bool = False
    stored_along_rows: bool = False


def title_of(instruction: Instruction, group: Group | None) -> tuple[str, str]:
    """How the kernel of a product and what follows it begins its name, and its title."""
    members = [instruction, *(group.instructions if group is not None else [])]
    names = list(dict.fromkeys(i.op.name for i in members if i.op.name not in ("constant", "full")))
    where = dict.fromkeys(str(i.location) for i in members if i.location is not None)
    title = ", ".join(names) + (f" ({', '.join(where)})" if where else "")
    return "k_" + "_".join(n.replace(".", "_") for n in names[:3]), title


def store_product(
    text: DeviceText,
    instruction: Instruction,
    group: Group | None,
    storage: Callable[[Value], Value],
    dtype: dtypes.DType,
    tiles: Tiles,
) -> None:
    """Store an element of the result, `value`, or what the group makes of it."""
    value = instruction.results[0]
    if group is None:
        text.line(f"place = {tiles.place}")
        text.store(text.pointer(storage(value), dtype, written=True), "place", Code("value", dtype))
        return
    (read,) = group.accesses[value]
    names = {loop.name: f"i{number}" for number, loop in enumerate(group.loops)}
    text.names = names
    shape = tensor_type(value).shape
    wanted = [axis for axis, index in enumerate(read) if not isinstance(index, int)]
    if any(axis not in tiles.known for axis in wanted):
        text.line(f"place = {tiles.place}")
    strides = row_major_strides(shape)
    for axis in wanted:
        part = tiles.known.get(axis)
        if part is None:
            part = "place" if strides[axis] == 1 else f"place // {text.size(strides[axis])}"
            part = part if axis == 0 else f"{part} % {text.size(shape[axis])}"
        text.line(f"{names[str(read[axis])]} = {part}")
    text.scope.variables |= frozenset(names)
    elements = Elements(text, group, storage, INLINE)
    elements.overridden[value] = lambda indices: Code("value", dtype)
    for output, indices in group.outputs.items():
        code = elements.element(output, indices)
        stored = tensor_type(output).dtype
        code = cast(code, stored, text.requirements)
        text.store(text.pointer(storage(output), stored, written=True), text.index(position(output, indices)), code)


def product_parts(instruction: Instruction, text: DeviceText, storage: Callable[[Value], Value]) -> Tiles:
    """The parts of a matmul or linear."""
    product = product_of(instruction)
    left_type, right_type = tensor_type(product.a.base), tensor_type(product.b.base)
    result = tensor_type(instruction.results[0])
    dtype = result.dtype
    bases = [
        "rest = batch",
        "left_base = " + text.size(product.a.offset),
        "right_base = " + text.size(product.b.offset),
    ]
    place = "0"
    for axis in reversed(product.batches):
        at = text.fresh("axis")
        bases += [
            f"{at} = rest % {text.size(axis.extent)}",
            f"rest = rest // {text.size(axis.extent)}",
            f"left_base += {at} * {text.size(axis.a)}",
            f"right_base += {at} * {text.size(axis.b)}",
        ]
        place += f" + {at} * {text.size(axis.c)}"
    place += f" + row * {text.size(product.rows.c)} + column * {text.size(product.columns.c)}"
    x = text.pointer(storage(product.a.base), left_type.dtype)
    w = text.pointer(storage(product.b.base), right_type.dtype)

    def element(pointer: str, address: str, given: dtypes.DType) -> str:
        loaded = text.load(pointer, address, given)
        if given is dtype:
            return loaded
        text.requirements.helpers.add(f"as_{dtype.short}")
        return f"as_{dtype.short}({loaded})"

    a_place = f"left_base + row * {text.size(product.rows.a)} + k * {text.size(product.a_depth)}"
    b_place = f"right_base + k * {text.size(product.b_depth)} + column * {text.size(product.columns.b)}"
    return Tiles(
        element_count([axis.extent for axis in product.batches]),
        product.rows.extent,
        product.columns.extent,
        product.depth,
        bases,
        ([], element(x, a_place, left_type.dtype)),
        ([], element(w, b_place, right_type.dtype)),
        place,
        _known_dimensions(product, result),
        left_along_rows=product.a_depth != 1,
        right_along_depth=product.b_depth == 1 and product.columns.b != 1,
    )


def _known_dimensions(product: Product, result: TensorType) -> dict[int, str]:
    """Dimensions of a product's result that its rows or its columns are."""
    found = {}
    for axis, (size, stride) in enumerate(zip(result.shape, row_major_strides(result.shape), strict=True)):
        for part, name in ((product.rows, "row"), (product.columns, "column")):
            if size != 1 and part.extent == size and part.c == stride:
                found[axis] = name
    return found


def convolution_parts(instruction: Instruction, text: DeviceText, storage: Callable[[Value], Value]) -> Tiles:
    """The parts of a conv2d: a row for each place of its results, a column for each channel."""
    images, weight = instruction.operands[:2]
    assert images is not None and weight is not None
    given, filters, result = tensor_type(images), tensor_type(weight), tensor_type(instruction.results[0])
    groups = instruction.attributes["groups"]
    stride, pads, dilation = geometry(
        "conv2d", filters, *(instruction.attributes[n] for n in ("stride", "padding", "dilation"))
    )
    x_view, w_view = strided_view(images, instruction.block), strided_view(weight, instruction.block)
    xs, ws = view_strides(x_view, given.shape), view_strides(w_view, filters.shape)
    n, channels, height, width = result.shape
    per_group, in_group = channels // groups, filters.shape[1]
    kernel = filters.shape[2:]
    x = text.pointer(storage(x_view.base), given.dtype)
    w = text.pointer(storage(w_view.base), filters.dtype)
    size = text.size
    bases = [
        f"left_base = {size(x_view.offset)} + batch * {size(in_group)} * {size(xs[1])}",
        f"right_base = {size(w_view.offset)} + batch * {size(per_group)} * {size(ws[0])}",
    ]
    taps = kernel[0] * kernel[1]
    before = [
        f"channel, tap = k // {size(taps)}, k % {size(taps)}",
        f"down, right_step = tap // {size(kernel[1])}, tap % {size(kernel[1])}",
        f"y = row // {size(width)} % {size(height)} * {stride[0]} - {size(pads[0])} + down * {dilation[0]}",
        f"z = row % {size(width)} * {stride[1]} - {size(pads[2])} + right_step * {dilation[1]}",
        f"image = row // {size(width * height)}",
        f"inside = y >= 0 and y < {size(given.shape[2])} and z >= 0 and z < {size(given.shape[3])}",
    ]
    address = f"left_base + image * {size(xs[0])} + channel * {size(xs[1])} + y * {size(xs[2])} + z * {size(xs[3])}"
    zero = literal(0, given.dtype)
    filter_address = f"right_base + column * {size(ws[0])} + channel * {size(ws[1])}"
    filter_address += f" + down * {size(ws[2])} + right_step * {size(ws[3])}"
    place = (
        f"((row // {size(width * height)} * {size(channels)} + batch * {size(per_group)} + column) * {size(height)} "
        f"+ row // {size(width)} % {size(height)}) * {size(width)} + row % {size(width)}"
    )
    return Tiles(
        groups,
        n * height * width,
        per_group,
        in_group * taps,
        bases,
        (before, f"{x}[{address}] if inside else {zero}"),
        (before[:2], f"{w}[{filter_address}]"),
        place,
        {1: f"batch * {size(per_group)} + column"},
        left_along_rows=True,
        right_along_depth=True,
        stored_along_rows=True,
    )
