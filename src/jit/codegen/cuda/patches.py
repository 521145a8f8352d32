"""The patches of images that a convolution multiplies with its weight, written out for the device's library.

A team writes one tap of one channel for all places of one image: which pixels those are is worked out once for each
row, and inside a row the place moves on without a division.
"""

from ....ir.core import Instruction
from ....ir.dims import Dim
from ....ir.ops.conv import geometry
from ..scalar_code import Code, literal
from .device_text import DeviceKernel, DeviceText, Grid, device_kind
from .product_parts import tensor_type

__all__ = ["lower_patches", "reads_images"]


def reads_images(instruction: Instruction) -> bool:
    """Whether a convolution multiplies the images as they are: kernels of size 1, one step at a time."""
    _, filters, stride, pads, _ = _geometry(instruction)
    return filters[2:] == (1, 1) and stride == (1, 1) and not any(pads)


def _geometry(instruction: Instruction) -> tuple[tuple[Dim, ...], tuple[Dim, ...], tuple, tuple, tuple]:  # type: ignore[type-arg]
    images, weight = (tensor_type(v) for v in instruction.operands[:2])
    found = geometry("conv2d", weight, *(instruction.attributes[n] for n in ("stride", "padding", "dilation")))
    return images.shape, weight.shape, *found


def lower_patches(instruction: Instruction) -> DeviceKernel:
    """The kernel that writes the patches of some images as [images, channels * taps, places].

    Its parameters are the images ("images"), how many ("count"), the patches (temporary 0), and sizes.
    """
    shape, filters, stride, pads, dilation = _geometry(instruction)
    result = tensor_type(instruction.results[0])
    height, width = result.shape[2:]
    _, channels, down, across = filters
    text = DeviceText()
    size = text.size
    x = text.parameter("x", f"{device_kind(result.dtype)}*", "images")
    patches = text.temporary(0, result.dtype)
    count = text.parameter("count", "i64", "count")
    depth, places, w = size(channels * down * across), size(height * width), size(width)
    row = "cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y"
    with text.block(f"for row in range({row}, {count} * {depth}, cuda.blockDim.y * cuda.gridDim.x):"):
        for line in (
            f"image, k = row // {depth}, row % {depth}",
            f"channel, tap = k // {size(down * across)}, k % {size(down * across)}",
            f"top = tap // {size(across)} * {dilation[0]} - {size(pads[0])}",
            f"side = tap % {size(across)} * {dilation[1]} - {size(pads[2])}",
            f"base = image * {size(shape[1] * shape[2] * shape[3])} + channel * {size(shape[2] * shape[3])}",
            f"y, z = cuda.threadIdx.x // {w}, cuda.threadIdx.x % {w}",
            f"further, aside = cuda.blockDim.x // {w}, cuda.blockDim.x % {w}",
        ):
            text.line(line)
        with text.block(f"for place in range(cuda.threadIdx.x, {places}, cuda.blockDim.x):"):
            for line in (
                f"line = y * {stride[0]} + top",
                f"column = z * {stride[1]} + side",
                f"value = {literal(0, result.dtype)}",
                f"if (line >= 0) & (line < {size(shape[2])}) & (column >= 0) & (column < {size(shape[3])}):",
                f"    value = {x}[base + line * {size(shape[3])} + column]",
            ):
                text.line(line)
            text.store(patches, f"row * {places} + place", Code("value", result.dtype))
            for line in ("y += further", "z += aside", f"if z >= {w}:", f"    z -= {w}", "    y += 1"):
                text.line(line)
    rows = shape[0] * channels * down * across
    where = f" ({instruction.location})" if instruction.location is not None else ""
    traffic: dict[str, Dim | None] = {"bytes_moved": rows * height * width * result.dtype.itemsize, "flops": None}
    return text.finish_kernel("k_patches", f"patches of conv2d{where}", traffic, Grid("rows", rows, height * width))
