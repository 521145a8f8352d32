"""Convolutions by a device's matrix products: patches of some images at a time, and one product for each image.

The patches of a few images stay in the device's cache until they are multiplied, so that they cost little more than
reading the images (im2col; Chellapilla, Puri and Simard, "High performance convolutional neural networks for document
processing", 2006).
"""

from typing import TYPE_CHECKING, Any

from ..backends import cudnn
from ..ir.types import TensorType
from .runtime.cuda_launch import threads_of

if TYPE_CHECKING:
    from .codegen.cuda.planning import KernelStep
    from .device_interpreter import DeviceInterpreter

__all__ = ["convolve"]

# Bytes of patches that are written before they are multiplied: a part of the cache of a large GPU.
_PATCH_BYTES = 32 << 20


def convolve(interpreter: "DeviceInterpreter", step: "KernelStep") -> None:
    """Compute the convolution that a step has for the library."""
    instruction, kernel = step.library, step.kernels[0].patches
    assert instruction is not None
    program, (result,) = interpreter.program, instruction.results
    assert isinstance(result.type, TensorType)
    count, channels, height, width = interpreter.shape(result)
    places = height * width
    images, filters = (interpreter.on_device(v) for v in instruction.operands[:2] if v is not None)
    dtype = result.type.dtype.numpy
    out = interpreter.empty((count, channels, places), dtype)
    interpreter.values[result] = out.reshape(count, channels, height, width)
    weight = filters.reshape(channels, -1)
    depth = weight.shape[1]
    if out.size == 0 or depth == 0:
        out.fill(0)
        return
    multiply: Any = program.launcher.multiply  # type: ignore[attr-defined]
    if kernel is None:  # the images are their own patches
        multiply(weight, images.reshape(count, depth, places), out, cudnn.allow_tf32)
        return
    each = min(max(_PATCH_BYTES // (depth * places * dtype.itemsize), 1), count)
    patches = interpreter.empty((each, depth, places), dtype)
    target = program.target
    for first in range(0, count, each):
        part = min(each, count - first)
        given: dict[tuple[object, ...], Any] = {("images",): images[first : first + part].reshape(-1), ("count",): part}
        given[("temporary", 0)] = patches.reshape(-1)
        arguments = [
            given[p.source] if p.source in given else interpreter.size(p.source[1])  # type: ignore[arg-type]
            for p in kernel.parameters
        ]
        threads = threads_of("rows", part * depth, places, (1, 1), target.threads, target.warp, target.blocks)
        program.launcher.launch(kernel, threads, 0, arguments)
        multiply(weight, patches[:part], out[first : first + part], cudnn.allow_tf32)
