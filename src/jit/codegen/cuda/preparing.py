"""What a graph goes through before CUDA kernels are made: as for the CPU, and gradients of weights are convolutions."""

from typing import Any

from ....ir.core import Graph, Instruction, Value
from ....ir.ops._op import F
from ....ir.rewrite import Rewriter, rewrite, rule
from ..prepare import prepare

__all__ = ["prepare_for_device"]

# Groups that the gradient of a weight is unrolled for.
_MAX_GROUPS = 64


def prepare_for_device(graph: Graph) -> Graph:
    """The graph in the form that is lowered; the given one is not changed."""
    return rewrite(prepare(rewrite(graph, _WEIGHT_GRADIENT)), _WEIGHT_GRADIENT)


def _weight_grad(gradient: Any, input: Any, size: Any, **attributes: Any) -> Any:
    """The input convolved with the gradient, images and channels swapped: the stride becomes the dilation."""
    stride, pads, dilation, groups = (attributes[n] for n in ("stride", "padding", "dilation", "groups"))
    wanted = [s if not hasattr(s, "value") else s.value.type.value for s in size]
    in_group, out_group = input.shape[1] // groups, gradient.shape[1] // groups
    parts = []
    for g in range(groups):
        images = F.transpose(F.slice(input, g * in_group, (g + 1) * in_group, dim=1), 0, 1)
        filters = F.transpose(F.slice(gradient, g * out_group, (g + 1) * out_group, dim=1), 0, 1)
        part = F.conv2d(images, filters, None, stride=dilation, padding=pads, dilation=stride)
        for i in (0, 1):
            part = F.slice(part, 0, wanted[i], dim=2 + i)
        parts.append(F.transpose(part, 0, 1))
    return parts[0] if groups == 1 else F.cat(tuple(parts), 0)


@rule("gradient of a convolution's weight -> convolution", "conv2d_weight_grad")
def _weight_gradient(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    if instruction.attributes["groups"] > _MAX_GROUPS:
        return None
    return rewriter.call(_weight_grad, instruction)


_WEIGHT_GRADIENT = _weight_gradient
