"""Elementwise ops written into their first operand block by block, so that no second array of its size is made."""

import math
from typing import Any

import numpy as np

from ..ir.dtypes import FLOATING_KINDS
from ..ir.ops._op import Elementwise, Op
from ..ir.ops._reduced import type_of
from ..ir.sizes import STATIC
from . import modes
from .device import is_host
from .fast import quiet
from .tensor import Tensor

__all__ = ["BLOCK", "add_scaled", "compute_in_place"]

# Elements of a block: a few arrays of so many stay in the second level of cache.
BLOCK = 1 << 14
# Elementwise too, though their records say how by other ops.
_ALSO = frozenset({"clamp", "nan_to_num"})


def compute_in_place(op: Op, target: Tensor, operands: tuple[Any, ...], attributes: dict[str, Any]) -> bool:
    """Write the op's result into the target, its first operand; False, with nothing written, where that must be done
    in one piece: for small arrays, integers (whose division can fail half way), operands that overlap the target.

    Operands are as `dispatch` takes them. Raises what `infer` raises.
    """
    array = target._array
    if modes.devices and not all(is_host(t._array) for t in (target, *operands) if isinstance(t, Tensor)):
        return False
    if array.size <= BLOCK or array.dtype.kind not in FLOATING_KINDS or not array.flags.c_contiguous:
        return False
    if not (isinstance(op.lower, Elementwise) or op.name in _ALSO) or op.evaluate is None or op.outputs != 1:
        return False
    arrays: list[Any] = [array]
    for operand in operands[1:]:
        if isinstance(operand, Tensor):
            other = operand._array
            same = other.shape == array.shape and other.__array_interface__ == array.__array_interface__
            if not same and np.may_share_memory(other, array):
                return False
            arrays.append(other)
        elif operand is None or operand.__class__ in (bool, int, float, complex):
            arrays.append(operand)
        else:
            return False
    types = tuple([type_of(a, p.role) for a, p in zip(arrays, op.schema.operands, strict=True)])
    (result,) = op.infer_types(STATIC, types, attributes)
    if result.shape != array.shape or result.dtype.category > target.dtype.category:  # type: ignore[attr-defined]
        return False
    large = [a.__class__ is np.ndarray and a.ndim > 0 for a in arrays]
    if all(
        a.shape == array.shape and a.flags.c_contiguous for a, is_large in zip(arrays, large, strict=True) if is_large
    ):
        pieces = [a.reshape(-1) if is_large else a for a, is_large in zip(arrays, large, strict=True)]
        step = BLOCK
    else:
        pieces = [np.broadcast_to(a, array.shape) if is_large else a for a, is_large in zip(arrays, large, strict=True)]
        step = max(1, BLOCK // math.prod(array.shape[1:]))
    into = array.reshape(-1) if pieces[0].ndim == 1 else array
    with np.errstate(all="ignore"):
        for first in range(0, len(into), step):
            part = slice(first, first + step)
            operands_of_part = tuple([p[part] if is_large else p for p, is_large in zip(pieces, large, strict=True)])
            into[part] = op.run(np, operands_of_part, attributes)
    target.bump_version()
    return True


def add_scaled(target: Tensor, other: Tensor, factor: float) -> bool:
    """`target += factor * other` on arrays of one floating-point dtype and shape; False, with nothing written, else."""
    array, added = target._array, other._array
    if array.dtype is not added.dtype or array.dtype.char not in "fd" or array.shape != added.shape:
        return False
    if not (array.flags.c_contiguous and added.flags.c_contiguous and array.flags.writeable):
        return False
    if added is not array and np.may_share_memory(array, added):
        return False
    into, source = array.reshape(-1), added.reshape(-1)
    for first in range(0, into.size, BLOCK):
        part = slice(first, first + BLOCK)
        quiet(np.add, into[part], quiet(np.multiply, source[part], factor), into[part])
    target.bump_version()
    return True
