"""Which images convolutions and what lies between them keep with channels last, inside a border of zeros.

A convolution reads such a buffer as it lies, so that between two of them nothing is copied: the first one's kernel, or
the pooling or addition after it, stores into the inside of the buffer, whose border is what the second one's padding
reads. The graph knows nothing of it. A value is kept so where all that uses it is a convolution or is computed in
kernels, whose addresses come from `position`; images change their layout at the edges only.
"""

from collections.abc import Callable, Container

from ...ir import dtypes
from ...ir.core import Block, Instruction, Value
from ...ir.ops._op import Elementwise, View
from ...ir.ops.conv import geometry
from ...ir.types import TensorType
from ..expected_sizes import expected_size
from .elements import expression_of
from .image_layout import ImageLayout, set_layout
from .image_pools import IMAGE_POOLS, is_image_pool
from .prepare import has_kernel

__all__ = ["choose_layouts", "has_few_outputs"]

# Up to so many output channels, pixels in vectors are better than channels, even where images change their layout.
_FEW_OUTPUTS = 8
# Images of fewer channels stay contiguous: most of a vector of channels would be empty.
_FEWEST_CHANNELS = 16


def choose_layouts(block: Block, in_kernels: Callable[[Instruction], bool]) -> None:
    """Decide for each image of a block how it is stored."""
    uses: dict[Value, list[tuple[Instruction, int]]] = {}
    for instruction in block.walk():
        for place, operand in enumerate(instruction.operands):
            if operand is not None:
                uses.setdefault(operand, []).append((instruction, place))
    found: dict[Value, None] = {}
    pending = [v for i in block.instructions if i.op.name == "conv2d" for v in (i.results[0], i.inputs[0])]
    pending += [v for i in block.instructions if i.op.name == "conv2d_weight_grad" for v in i.inputs[:2]]
    while pending:
        value = pending.pop()
        if value in found or not _is_image(value, block):
            continue
        found[value] = None
        producer = value.instruction
        assert producer is not None
        if _keeps_places(producer):
            pending.extend(v for v in producer.inputs if _is_whole(v, value))
        for user, _ in uses.get(value, []):
            if user.block is block and _keeps_places(user) and _is_whole(value, user.results[0]):
                pending.append(user.results[0])
    chosen: dict[Value, ImageLayout] = {}
    for value in found:
        set_layout(value, None)
        layout = ImageLayout()
        for user, place in uses.get(value, []):
            if user.op.name == "conv2d" and place == 0 and user.block is block:
                if has_few_outputs(user) or _has_unknown_groups(user):
                    break
                layout = layout.joined(_pads(user))
            elif user.op.name == "conv2d_weight_grad" and user.block is block:
                layout = layout.joined(user.attributes["padding"]) if place == 1 else layout
            elif user.block is not block or _reads_memory(user) or not (_takes_images(user) or in_kernels(user)):
                break
        else:
            chosen[value] = layout
    # What only goes to images that are contiguous is contiguous too; a pool reads channels last better, whatever it
    # makes.
    changed = True
    while changed:
        changed = False
        for value in list(chosen):
            users = [user for user, _ in uses.get(value, [])]
            if any(user.op.name in ("conv2d", "conv2d_weight_grad", *IMAGE_POOLS) for user in users):
                continue
            if any(_keeps_places(u) and u.results[0] in found and u.results[0] not in chosen for u in users):
                del chosen[value]
                changed = True
    for value in _gathered(block, found, chosen):
        del chosen[value]
    for value, layout in chosen.items():
        set_layout(value, layout)


def _gathered(block: Block, found: Container[Value], chosen: Container[Value]) -> list[Value]:
    """Images that are made from pixels looked up in contiguous images, which are better made contiguous, too."""
    gathered: dict[Value, None] = {}
    for instruction in block.instructions:
        for value in instruction.results:
            if value not in found or not _keeps_places(instruction):
                continue
            looks_up = instruction.op.name == "index_select"
            sources = [v for v in instruction.inputs if _is_whole(v, value)]
            if any(v in gathered or (looks_up and v not in chosen) for v in sources):
                gathered[value] = None
    return [value for value in gathered if value in chosen]


def has_few_outputs(convolution: Instruction) -> bool:
    """Whether a convolution makes so few channels that they would not fill a vector: it reads contiguous images."""
    weight = convolution.inputs[1].type
    assert isinstance(weight, TensorType)
    outputs, channels, *kernel = weight.shape
    is_plain = convolution.attributes["groups"] == 1 and set(convolution.attributes["stride"]) == {1}
    if not is_plain or set(convolution.attributes["dilation"]) != {1} or kernel == [1, 1]:
        return False
    few, inputs = expected_size(outputs), expected_size(channels)
    return few is not None and few <= _FEW_OUTPUTS and (inputs is None or inputs >= _FEWEST_CHANNELS)


def _has_unknown_groups(convolution: Instruction) -> bool:
    """Whether the channels of groups are not known, so that vectors cannot be laid out for them."""
    weight = convolution.inputs[1].type
    assert isinstance(weight, TensorType)
    return convolution.attributes["groups"] > 1 and not all(isinstance(n, int) for n in weight.shape[:2])


def _pads(convolution: Instruction) -> tuple[int, ...]:
    weight, attributes = convolution.inputs[1].type, convolution.attributes
    _, pads, _ = geometry("conv2d", weight, attributes["stride"], attributes["padding"], attributes["dilation"])
    return pads


def _is_image(value: Value, block: Block) -> bool:
    """Whether a value may be stored in any layout: an image that is computed in this block."""
    instruction, type = value.instruction, value.type
    if instruction is None or instruction.block is not block or len(instruction.results) != 1:
        return False
    if not isinstance(type, TensorType) or type.rank != 4 or type.dtype not in (dtypes.float32, dtypes.float64):
        return False
    channels = expected_size(type.shape[1])
    if channels is not None and channels < _FEWEST_CHANNELS:
        return False
    if instruction.op.name == "conv2d":
        return not _has_unknown_groups(instruction)
    return _keeps_places(instruction) and has_kernel(instruction)


def _keeps_places(instruction: Instruction) -> bool:
    """Whether an instruction goes from images to images pixel by pixel, or window by window."""
    if len(instruction.results) != 1:
        return False
    name = instruction.op.name
    if name == "index_select":
        return instruction.attributes["dim"] in (2, 3, -1, -2)
    return name in (*IMAGE_POOLS, "cat", "pad") or isinstance(expression_of(instruction), Elementwise)


def _takes_images(instruction: Instruction) -> bool:
    """Whether an operation that reads memory reads images in any layout."""
    return instruction.op.name == "cat" or is_image_pool(instruction)


def _reads_memory(instruction: Instruction) -> bool:
    """Whether an instruction looks at the memory of its operand in another shape."""
    return isinstance(instruction.op.lower, View) and instruction.op.lower.reinterpret


def _is_whole(value: Value, image: Value) -> bool:
    """Whether an operand of an operation on images is an image itself, not something that is broadcast."""
    if not isinstance(value.type, TensorType) or not isinstance(image.type, TensorType):
        return False
    return value.type.rank == image.type.rank == 4 and value.type.shape[0] == image.type.shape[0]
