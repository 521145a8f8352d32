"""Batch normalisation with constant statistics, folded into the convolution or linear layer before it."""

from typing import Any

import numpy as np

from ..core import Array, Graph, Instruction, Value
from ..rewrite import Rewriter, constant_value, uses
from ..types import TensorType

__all__ = ["fold_batch_norm"]

# The rank of the result in which dimension 1 holds the rows of the weight.
_LAYERS = {"conv1d": 3, "conv2d": 4, "conv3d": 5, "linear": 2}


def fold_batch_norm(graph: Graph) -> Graph:
    """With `batch_norm` after a convolution or `linear` made part of that layer's weight and bias.

    Only where all parameters are constants and nothing else uses the layer's result. The old layer is left without
    uses, for dead code elimination.

    Precondition: the graph is valid.
    """
    return _Folder(graph).run()


def _array(value: Value | None) -> np.ndarray[Any, Any] | None:
    constant = constant_value(value)
    return constant.data if isinstance(constant, Array) else None


class _Folder(Rewriter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.uses = uses(graph)

    def visit(self, instruction: Instruction) -> None:
        folded = self.fold(instruction) if instruction.op.name == "batch_norm" else None
        if folded is None:
            super().visit(instruction)
        else:
            self.replace(instruction.results, [folded])

    def fold(self, norm: Instruction) -> Value | None:
        source = norm.operands[0]
        layer = self.value(source).instruction if source is not None else None
        if source is None or layer is None or len(self.uses[source]) != 1:
            return None
        if not isinstance(source.type, TensorType) or _LAYERS.get(layer.op.name) != source.type.rank:
            return None
        input, weight, bias = layer.operands
        parameters = [self.value(v) if v is not None else None for v in norm.operands[1:]]
        old_weight, old_bias = _array(weight), _array(bias)
        mean, variance, scale, shift = map(_array, parameters)
        given = (bias, *parameters)
        if old_weight is None or mean is None or variance is None:
            return None
        if any(v is not None and _array(v) is None for v in given):
            return None
        # In float64, so that the result is rounded once.
        factor = 1 / np.sqrt(variance.astype(np.float64) + norm.attributes["eps"])
        if scale is not None:
            factor = factor * scale
        offset = (0.0 if old_bias is None else old_bias.astype(np.float64)) - mean
        new_bias = offset * factor + (0.0 if shift is None else shift)
        new_weight = old_weight * factor.reshape(-1, *[1] * (old_weight.ndim - 1))
        dtype = old_weight.dtype
        with self.builder.at(layer.location):
            constants = [self.builder.constant(Array(v.astype(dtype))) for v in (new_weight, new_bias)]
            return self.builder.emit(layer.op, input, *constants, **layer.attributes)
