"""Linear layers of one input made one product, as the queries, keys and values of attention."""

from typing import Any

import numpy as np

from ..core import Array, Graph, Instruction, Value
from ..ops._op import View
from ..rewrite import Rewriter, constant_value, uses
from ..types import TensorType

__all__ = ["merge_products"]


def merge_products(graph: Graph) -> Graph:
    """With `linear` layers of the same input and with constant weights as one layer, whose result is taken apart.

    Only where each result is only looked at through views, or taken by attention: what is computed of single elements
    would otherwise join the product that makes them.

    Precondition: the graph is valid.
    """
    return _Merger(graph).run()


def _data(value: Value | None) -> np.ndarray[Any, Any] | None:
    constant = constant_value(value)
    return constant.data if isinstance(constant, Array) else None


class _Merger(Rewriter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        used = uses(graph)
        groups: dict[Any, list[Instruction]] = {}
        for instruction in graph.walk():
            if instruction.op.name != "linear":
                continue
            source, weight, bias = instruction.operands
            data = _data(weight)
            if data is None or data.ndim != 2 or (bias is not None and _data(bias) is None) or source is None:
                continue
            if not isinstance(source.type, TensorType) or source.type.rank < 2:
                continue
            if all(_only_looks(user) for user, _ in used.get(instruction.result, ())):
                groups.setdefault((source, instruction.block, bias is None, data.dtype), []).append(instruction)
        self.groups = {layers[0]: layers for layers in groups.values() if len(layers) > 1}

    def visit(self, instruction: Instruction) -> None:
        if instruction in self.groups:
            self.merge(self.groups[instruction])
        elif instruction.op.name != "linear" or instruction.result not in self.values:
            super().visit(instruction)

    def merge(self, layers: list[Instruction]) -> None:
        source = layers[0].operands[0]
        assert source is not None
        weights = [w for layer in layers if (w := _data(layer.operands[1])) is not None]
        biases = [b for layer in layers if (b := _data(layer.operands[2])) is not None]
        with self.builder.at(layers[0].location):
            weight = self.builder.constant(Array(np.concatenate(weights)))
            bias = self.builder.constant(Array(np.concatenate(biases))) if biases else None
            product = self.builder.emit("linear", self.value(source), weight, bias)
            start = 0
            for layer, rows in zip(layers, (w.shape[0] for w in weights), strict=True):
                bounds = [self.builder.constant(n) for n in (start, start + rows)]
                part = self.builder.emit("slice", product, *bounds, dim=-1)
                self.replace(layer.results, [part])
                start += rows


def _only_looks(user: Instruction) -> bool:
    return isinstance(user.op.lower, View) or user.op.name == "scaled_dot_product_attention"
