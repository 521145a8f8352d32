"""Integer arithmetic on known sizes: what models compute from `Shape` before they reshape, done at import."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dims import DimExpr, dim_max, dim_min
from .values import Known

__all__ = ["fold_sizes"]

MAX_ELEMENTS = 256


def fold_sizes(node: Any, inputs: list[Any]) -> Known | None:
    """The node's only output where its inputs are known sizes and the operator has a rule here, else None."""
    if node.domain == "" and node.op_type == "Equal":
        return _fold_equal(inputs)
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is None or not all(e is None or (isinstance(e, Known) and e.array.size <= MAX_ELEMENTS) for e in inputs):
        return None
    arrays = [None if e is None else e.array for e in inputs]
    result = rule(node, *arrays)
    if result is None or result is NotImplemented:
        return None
    return Known.sizes(
        result, node.attribute_dtype("to", inputs[0].dtype) if node.op_type == "Cast" else _dtype(inputs)
    )


def _dtype(inputs: list[Any]) -> Any:
    return inputs[-1 if len(inputs) == 3 and inputs[0].dtype == np.bool_ else 0].dtype


def _elementwise(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def rule(node: Any, *arrays: Any) -> Any:
        if not all(a.dtype == object or a.dtype.kind in "iu" for a in arrays):
            return None
        result = arrays[0].astype(object)  # Python's ints, which expressions take
        for other in arrays[1:]:
            result = np.frompyfunc(function, 2, 1)(result, other.astype(object))
        return result

    return rule


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, (int, np.integer)) and isinstance(b, (int, np.integer)):
        return int(a) // int(b) if (a < 0) == (b < 0) else -(-int(a) // int(b))
    return a // b  # sizes are not negative


def _cast(node: Any, array: Any) -> Any:
    to = node.attribute_dtype("to", None)
    return array if to in (np.int64, np.int32) else None


def _axes(node: Any, given: Any) -> list[int] | None:
    axes = given if given is not None else node.attribute("axes", None)
    return None if axes is None else [int(a) for a in np.asarray(axes).reshape(-1)]


def _squeeze(node: Any, array: Any, axes: Any = None) -> Any:
    wanted = _axes(node, axes)
    return np.squeeze(array, None if wanted is None else tuple(wanted))


def _unsqueeze(node: Any, array: Any, axes: Any = None) -> Any:
    wanted = _axes(node, axes)
    return None if wanted is None else np.expand_dims(array, tuple(wanted))


def _gather(node: Any, array: Any, indices: Any) -> Any:
    return None if indices.dtype == object else np.take(array, indices, axis=node.attribute("axis", 0))


def _slice(node: Any, array: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    if array.ndim != 1:
        return None
    starts = node.attribute("starts", None) if starts is None else starts
    ends = node.attribute("ends", None) if ends is None else ends
    step = 1 if steps is None else steps[0]
    bounds = [np.asarray(b).reshape(-1)[0] for b in (starts, ends)]
    return None if any(isinstance(b, DimExpr) for b in (*bounds, step)) else array[bounds[0] : bounds[1] : step]


def _reduce(function: Any) -> Callable[..., Any]:
    def rule(node: Any, array: Any, axes: Any = None) -> Any:
        wanted = _axes(node, axes)
        if array.ndim != 1 or wanted not in (None, [0], [-1]) or not array.size:
            return None
        total = array[0]
        for item in array[1:]:
            total = function(total, item)
        return np.asarray([total] if node.attribute("keepdims", 1) else total, dtype=object)

    return rule


def _where(node: Any, condition: Any, a: Any, b: Any) -> Any:
    return None if condition.dtype != np.bool_ else np.where(condition, a, b)


def _equal(a: Any, b: Any) -> Any:
    # A size is never negative: models ask whether a requested size is -1. Other questions are left to run time.
    def decide(x: Any, y: Any) -> Any:
        if isinstance(x, DimExpr) or isinstance(y, DimExpr):
            other = y if isinstance(x, DimExpr) else x
            if x == y:
                return True
            return False if not isinstance(other, DimExpr) and other < 0 else None
        return bool(x == y)

    return np.frompyfunc(decide, 2, 1)(a, b)


def _reshape(node: Any, array: Any, shape: Any) -> Any:
    return None if shape.dtype == object else array.reshape(tuple(int(n) for n in shape))


_RULES: dict[str, Callable[..., Any]] = {
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_divide),
    "Max": _elementwise(dim_max),
    "Min": _elementwise(dim_min),
    "Cast": _cast,
    "Identity": lambda node, array: array,
    "Concat": lambda node, *arrays: np.concatenate(arrays, axis=node.attribute("axis", 0)),
    "Gather": _gather,
    "ReduceProd": _reduce(lambda a, b: a * b),
    "ReduceSum": _reduce(lambda a, b: a + b),
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}


def _fold_equal(inputs: list[Any]) -> Known | None:
    """`Equal` of known sizes where it can be decided."""
    if len(inputs) != 2 or not all(isinstance(e, Known) and e.array.size <= MAX_ELEMENTS for e in inputs):
        return None
    result = np.asarray(_equal(inputs[0].array.astype(object), inputs[1].array.astype(object)), dtype=object)
    if any(value is None for value in result.flat):
        return None
    return Known.of(result.astype(np.bool_))
