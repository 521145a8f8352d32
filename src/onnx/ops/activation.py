"""Activations and softmax."""

import math
from typing import Any

from ...ir.ops._op import F
from ..registry import op


@op("Relu")
def relu(node: Any, x: Any) -> Any:
    return F.relu(x)


@op("LeakyRelu")
def leaky_relu(node: Any, x: Any) -> Any:
    return F.leaky_relu(x, node.attribute("alpha", 0.01))


@op("PRelu")
def prelu(node: Any, x: Any, slope: Any) -> Any:
    if node.version < 7 and slope.ndim == 1 and x.ndim > 2:
        for _ in range(x.ndim - 2):
            slope = F.unsqueeze(slope, -1)
    return F.where(F.lt(x, 0), F.mul(x, slope), x)


@op("Elu")
def elu(node: Any, x: Any) -> Any:
    return F.elu(x, node.attribute("alpha", 1.0))


@op("Celu")
def celu(node: Any, x: Any) -> Any:
    return F.celu(x, node.attribute("alpha", 1.0))


@op("Selu")
def selu(node: Any, x: Any) -> Any:
    # The defaults are those of Klambauer et al., "Self-Normalizing Neural Networks" (2017), as ONNX rounds them.
    alpha, gamma = (
        node.attribute("alpha", 1.67326319217681884765625),
        node.attribute("gamma", 1.05070102214813232421875),
    )
    return F.where(F.gt(x, 0), F.mul(x, gamma), F.mul(F.expm1(x), alpha * gamma))


@op("ThresholdedRelu")
def thresholded_relu(node: Any, x: Any) -> Any:
    return F.where(F.gt(x, node.attribute("alpha", 1.0)), x, node.like(0, x))


@op("HardSigmoid")
def hard_sigmoid(node: Any, x: Any) -> Any:
    return F.clamp(F.add(F.mul(x, node.attribute("alpha", 0.2)), node.attribute("beta", 0.5)), 0, 1)


@op("HardSwish")
def hard_swish(node: Any, x: Any) -> Any:
    return F.hardswish(x)


@op("Gelu")
def gelu(node: Any, x: Any) -> Any:
    return F.gelu(x, approximate=node.attribute("approximate", "none"))


@op("Mish")
def mish(node: Any, x: Any) -> Any:
    return F.mish(x)


@op("Swish")
def swish(node: Any, x: Any) -> Any:
    alpha = node.attribute("alpha", 1.0)
    return F.mul(x, F.sigmoid(x if alpha == 1 else F.mul(x, alpha)))


@op("Softplus")
def softplus(node: Any, x: Any) -> Any:
    return F.logaddexp(x, node.like(0, x))


@op("Softsign")
def softsign(node: Any, x: Any) -> Any:
    return F.softsign(x)


@op("Shrink")
def shrink(node: Any, x: Any) -> Any:
    bias, bound = node.attribute("bias", 0.0), node.attribute("lambd", 0.5)
    number = (lambda v: v) if x.dtype.is_floating_point else math.trunc
    low = F.where(F.lt(x, -bound), F.add(x, number(bias)), node.like(0, x))
    return F.where(F.gt(x, bound), F.sub(x, number(bias)), low)


def _along(node: Any, x: Any, function: Any) -> Any:
    """A function along the axis; before opset 13 over all dimensions from the axis on, taken as one."""
    if node.version >= 13:
        return function(x, node.axis(node.attribute("axis", -1), x.ndim))
    axis = node.axis(node.attribute("axis", 1), x.ndim)
    if axis == x.ndim - 1:
        return function(x, axis)
    shape = tuple(x.shape)
    return F.reshape(function(F.reshape(x, (*shape[:axis], -1)), axis), shape)


@op("Softmax")
def softmax(node: Any, x: Any) -> Any:
    return _along(node, x, F.softmax)


@op("LogSoftmax")
def log_softmax(node: Any, x: Any) -> Any:
    return _along(node, x, F.log_softmax)


@op("Hardmax")
def hardmax(node: Any, x: Any) -> Any:
    def first_largest(x: Any, axis: int) -> Any:
        best = F.argmax(x, axis, True)
        return F.scatter(F.mul(x, 0), axis, best, F.cast(F.add(F.mul(best, 0), 1), dtype=x.dtype))

    return _along(node, x, first_largest)
