"""Constant folding."""

import math
from typing import Any

import numpy as np

from ..core import Array, Graph, Instruction, Value
from ..interp import has_type
from ..ops._op import Op
from ..rewrite import Rewriter, constant_value, is_constant, is_function, rewrite, rule
from ..types import IntType, ScalarType, StrType, TensorType

__all__ = ["FOLD", "constant_folding"]

_SMALL = 16
_LARGEST = 1 << 26


def constant_folding(graph: Graph) -> Graph:
    """With instructions on constants computed now, where the result is no larger than its operands.

    An instruction that raises on its constants stays, so that it raises when the program gets there.

    Precondition: the graph is valid.
    """
    return rewrite(graph, FOLD)


def _can_fold(op: Op) -> bool:
    return is_function(op) and op.evaluate is not None and op.name != "constant"


def _elements(value: Any) -> int:
    return math.prod(value.shape) if isinstance(value, Array) else 1


@rule("op(constants) -> constant", when=_can_fold)
def FOLD(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    if not all(map(is_constant, instruction.inputs)):
        return None
    types = [r.type for r in instruction.results]
    constants = [constant_value(v) for v in instruction.operands]
    if any(isinstance(c, Array) and c.data is None for c in constants):
        return None
    limit = min(max(_SMALL, sum(map(_elements, constants))), _LARGEST)
    for type in types:
        if isinstance(type, TensorType):
            if type.device != "cpu" or not all(isinstance(d, int) for d in type.shape):
                return None
            if math.prod(d for d in type.shape if isinstance(d, int)) > limit:
                return None
        elif not isinstance(type, (ScalarType, StrType)):
            return None
    arguments = [c.require() if isinstance(c, Array) else c for c in constants]
    op = instruction.op
    try:
        with np.errstate(all="ignore"):
            results = op.run(np, op.schema.unflatten(arguments), instruction.attributes)
    except Exception:  # the program raises it when it gets there
        return None
    results = results if isinstance(results, tuple) else (results,)
    values: list[Any] = []
    for result, type in zip(results, types, strict=True):
        if isinstance(type, TensorType):
            result = np.asarray(result)
            if tuple(result.shape) != type.shape:
                return None
        if not has_type(result, type) or (isinstance(type, IntType) and not -(1 << 63) <= result < 1 << 63):
            return None
        values.append(
            Array(np.ascontiguousarray(result).reshape(type.shape)) if isinstance(type, TensorType) else result
        )
    return [rewriter.constant(v) for v in values]
