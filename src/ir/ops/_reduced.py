"""Reduced precision: ops on float16 and bfloat16 compute in float32 and round once, as PyTorch does on a CPU."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import bfloat16, float16, float32, from_numpy, scalar_dtype
from ..sizes import STATIC
from ..types import BoolType, ComplexType, FloatType, IntType, StrType, TensorType
from .schema import Role

if TYPE_CHECKING:
    from ._op import Op

__all__ = ["BY_DTYPE", "is_reduced", "run_widened", "type_of"]

# Ops whose result depends on the operand's own dtype: its neighbours, its limits, its bits.
BY_DTYPE = frozenset({"bitcast", "nan_to_num", "nextafter"})
_CONTAINERS = frozenset({list, dict, set})
_SCALARS = {"bool": BoolType(), "int64": IntType()}


def is_reduced(values: Any) -> bool:
    """Whether an array among the values (in groups, too) is float16 or bfloat16, and none is a container for it.

    >>> is_reduced((np.zeros(2, np.float16), 1.0)), is_reduced((np.zeros(2), None))
    (True, False)
    """
    found = False
    for value in values:
        if value.__class__ is tuple:
            found = found or is_reduced(value)
        elif value.__class__ in _CONTAINERS:
            return False
        elif (dtype := getattr(value, "dtype", None)) is not None and dtype.char in "eE":
            found = True
    return found


def run_widened(op: "Op", xp: Any, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """The op on float32 copies of its reduced operands, its results rounded to the dtypes that `infer` says."""
    types = tuple(type_of(value, p.role) for value, p in zip(operands, op.schema.operands, strict=True))
    expected = op.infer_types(STATIC, types, attributes)
    wide = attributes
    if op.name != "cast" and attributes.get("dtype") in (float16, bfloat16):
        wide = attributes | {"dtype": float32}
    assert op.evaluate is not None
    results = op.evaluate(xp, *_widened(operands), **wide)
    several = isinstance(results, tuple)
    found = tuple(
        _rounded(xp, result, type) for result, type in zip(results if several else (results,), expected, strict=True)
    )
    return found if several else found[0]


def _widened(value: Any) -> Any:
    if value.__class__ is tuple:
        return tuple([_widened(v) for v in value])
    return value.astype(np.float32) if hasattr(value, "dtype") and value.dtype.char in "eE" else value


def _rounded(xp: Any, value: Any, type: Any) -> Any:
    if not isinstance(type, TensorType) or value.dtype == type.dtype.numpy:
        return value
    with np.errstate(all="ignore"):
        return xp.asarray(value).astype(type.dtype.numpy)


def type_of(value: Any, role: Role) -> Any:
    """The type of an operand of an op: an array, a number, nothing, or a group of them."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return TensorType(from_numpy(value.dtype), tuple(value.shape))
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(type_of(v, role) for v in value)
    if role in (Role.INT, Role.SIZE):
        return IntType(int(value))
    if isinstance(value, str):
        return StrType()
    dtype = scalar_dtype(value)
    return _SCALARS.get(dtype.name) or (ComplexType() if dtype.is_complex else FloatType())
