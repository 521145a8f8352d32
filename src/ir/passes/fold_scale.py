"""Scaling by constants before or after a layer with constant weights, made part of the weights."""

from typing import Any

import numpy as np

from ..core import Array, Graph, Instruction, Value
from ..rewrite import Rewriter, constant_value, uses
from ..types import TensorType

__all__ = ["fold_scale"]

# The rank of the result in which the channels are in dimension 1; of `linear` they are in the last one.
_CONVOLUTIONS = {"conv1d": 3, "conv2d": 4, "conv3d": 5}


def fold_scale(graph: Graph) -> Graph:
    """With `layer(x) * c`, `layer(x) / c` and `layer(x * c)` as `layer(x)` of scaled weights.

    Layers are `linear` and convolutions whose weight and bias are constants and whose result is used nowhere else; c is
    a number, or after the layer a tensor with an element for each channel. As with batch norm, the result may differ by
    a rounding.

    Precondition: the graph is valid.
    """
    return _Folder(graph).run()


def _data(value: Value | None) -> np.ndarray[Any, Any] | None:
    constant = constant_value(value)
    return constant.data if isinstance(constant, Array) else None


class _Folder(Rewriter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.uses = uses(graph)

    def visit(self, instruction: Instruction) -> None:
        folded = None
        if instruction.op.name in ("mul", "div"):
            folded = self.after(instruction)
        elif instruction.op.name in (*_CONVOLUTIONS, "linear"):
            folded = self.before(instruction)
        if folded is None:
            super().visit(instruction)
        else:
            self.replace(instruction.results, [folded])

    def layer_of(self, value: Value | None) -> Instruction | None:
        """The layer with constant parameters that makes a value of the source, if nothing else uses it."""
        if value is None or len(self.uses.get(value, ())) != 1 or not isinstance(value.type, TensorType):
            return None
        layer = self.value(value).instruction
        if layer is None or layer.op.name not in (*_CONVOLUTIONS, "linear") or not value.type.dtype.is_floating_point:
            return None
        weight = _data(layer.operands[1])
        if weight is None or weight.ndim < 2 or (layer.operands[2] is not None and _data(layer.operands[2]) is None):
            return None
        rank = _CONVOLUTIONS.get(layer.op.name)
        return None if rank is not None and value.type.rank != rank else layer

    def after(self, instruction: Instruction) -> Value | None:
        value, other = instruction.operands
        layer = self.layer_of(value)
        if layer is None or other is None or value is None or instruction.result.type != value.type:
            return None
        scale = self.scale(self.value(other), layer, value)
        if scale is None:
            return None
        if instruction.op.name == "div":
            if not np.all(scale):
                return None
            scale = 1.0 / scale
        weight, bias = _data(layer.operands[1]), _data(layer.operands[2])
        assert weight is not None
        by_row = scale.reshape(-1, *[1] * (weight.ndim - 1)) if scale.ndim else scale
        return self.again(layer, layer.operands[0], weight * by_row, None if bias is None else bias * scale)

    def scale(self, other: Value, layer: Instruction, value: Value) -> np.ndarray[Any, Any] | None:
        """What a constant multiplies each channel by, in float64: one number, or one for each."""
        constant = constant_value(other)
        if isinstance(constant, (int, float)) and not isinstance(constant, bool):
            return np.asarray(float(constant))
        data = _data(other)
        weight = _data(layer.operands[1])
        if data is None or weight is None or data.dtype.kind != "f":
            return None
        if data.size == 1:
            return data.astype(np.float64).reshape(())
        assert isinstance(value.type, TensorType)
        place = -1 if layer.op.name == "linear" else 1 - value.type.rank
        shape = [1] * data.ndim
        if data.ndim < -place or data.size != weight.shape[0]:
            return None
        shape[place] = weight.shape[0]
        return data.astype(np.float64).reshape(-1) if data.shape == tuple(shape) else None

    def before(self, layer: Instruction) -> Value | None:
        scaled = layer.operands[0]
        weight = _data(self.value(layer.operands[1])) if layer.operands[1] is not None else None
        if scaled is None or weight is None or scaled.instruction is None or scaled.instruction.op.name != "mul":
            return None
        source, factor = scaled.instruction.operands
        number = constant_value(self.value(factor)) if factor is not None else None
        if not isinstance(number, (int, float)) or isinstance(number, bool) or source is None:
            return None
        if source.type != scaled.type or len(self.uses.get(scaled, ())) != 1:
            return None
        bias = layer.operands[2]
        with self.builder.at(layer.location):
            constant = self.builder.constant(Array((weight * float(number)).astype(weight.dtype)))
            operands = [self.value(source), constant, None if bias is None else self.value(bias)]
            return self.builder.emit(layer.op, *operands, **layer.attributes)

    def again(
        self, layer: Instruction, source: Value | None, weight: np.ndarray[Any, Any], bias: np.ndarray[Any, Any] | None
    ) -> Value:
        old = _data(layer.operands[1])
        assert old is not None
        with self.builder.at(layer.location):
            constants = [
                None if a is None else self.builder.constant(Array(np.ascontiguousarray(a.astype(old.dtype))))
                for a in (weight, bias)
            ]
            return self.builder.emit(layer.op, source, *constants, **layer.attributes)
