"""The plainest calls of common ops, taken before their arguments are bound: small tensors spend most time on that.

Each takes the positional arguments of a call and gives the result, or None where the general way is to be gone. History
is never recorded here, nothing watches, and all is on the CPU.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.ops._op import Op, get_op
from . import modes
from .fast import quiet
from .tensor import Tensor, wrap

__all__ = ["QUICK", "mark_view"]

# From so many elements on, sums go another way (see `fast`).
_SMALL = 1 << 15
_reduce: Any = np.add.reduce
_accumulate: Any = np.add.accumulate


def mark_view(
    output: Tensor, source: Tensor, op: Op | None, operands: tuple[Any, ...], attributes: dict[str, Any]
) -> None:
    """Remember which tensor the result is a view of, so that in-place writes reach the right place in both graphs."""
    output._view = (source, op, operands, attributes)
    if source._counter is not None or source._view is not None or source._alias_of is not None:
        output._view_version = source.version
    output._inference = source._inference


def _plain(x: Any) -> bool:
    """Whether it is a tensor on the CPU whose history is not recorded."""
    return x.__class__ is Tensor and not modes.devices and not (x.requires_grad and modes.state.grad_enabled)


def _sum(x: Any, *rest: Any) -> Any:
    if rest or not _plain(x):
        return None
    array = x._array
    if array.size >= _SMALL or array.dtype.char not in "fd" or not array.ndim:
        return None
    return wrap(np.asarray(quiet(_reduce, array, None)))


def _cumsum(x: Any, *dims: Any) -> Any:
    if len(dims) != 1 or dims[0].__class__ is not int or not _plain(x):
        return None
    array = x._array
    if array.dtype.char not in "fd" or not -array.ndim <= dims[0] < array.ndim:
        return None
    return wrap(quiet(_accumulate, array, dims[0]))


def _reshape(x: Any, *shape: Any) -> Any:
    if not _plain(x):
        return None
    if len(shape) == 1 and shape[0].__class__ is tuple:
        shape = shape[0]
    for size in shape:
        if size.__class__ is not int or size < 0:
            return None
    array = x._array
    if not array.flags.c_contiguous:
        return None
    try:
        output = wrap(array.reshape(shape))
    except ValueError:
        return None
    mark_view(output, x, _RESHAPE, (shape,), {})
    return output


def _cat(tensors: Any, *rest: Any) -> Any:
    if rest or tensors.__class__ not in (list, tuple) or not tensors:
        return None
    arrays = []
    dtype = None
    for tensor in tensors:
        if not _plain(tensor):
            return None
        array = tensor._array
        if dtype is None:
            dtype = array.dtype
        elif array.dtype is not dtype:
            return None
        arrays.append(array)
    try:
        return wrap(np.concatenate(arrays))
    except ValueError:
        return None


def _transpose(x: Any, *dims: Any) -> Any:
    """Of a matrix."""
    if x._array.ndim != 2 or dims != (0, 1) or not _plain(x):
        return None
    output = wrap(x._array.T)
    mark_view(output, x, _TRANSPOSE, (), {"dim0": 0, "dim1": 1})
    return output


def _matmul(x: Any, *others: Any) -> Any:
    """Of two matrices."""
    if len(others) != 1 or not (_plain(x) and _plain(others[0])):
        return None
    a, b = x._array, others[0]._array
    if a.ndim != 2 or b.ndim != 2 or a.dtype is not b.dtype or a.dtype.char not in "fd":
        return None
    try:
        return wrap(quiet(np.matmul, a, b))
    except ValueError:
        return None


_RESHAPE, _TRANSPOSE = get_op("reshape"), get_op("transpose")
QUICK: dict[str, Callable[..., Any]] = {
    "sum": _sum, "reshape": _reshape, "cat": _cat, "transpose": _transpose, "matmul": _matmul,
    "cumsum": _cumsum,
}  # fmt: skip
