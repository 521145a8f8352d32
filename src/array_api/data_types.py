"""Data types of the array API standard: the objects, their limits, kinds and promotion, and broadcasting of shapes."""

import builtins
from dataclasses import dataclass
from typing import Any

from ..eager import Tensor
from ..eager.creation import full
from ..ir import dtypes
from ..ir.dtypes import DType
from .functions import namespace

bool = dtypes.bool_
int8, int16, int32, int64 = dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64
uint8, uint16, uint32, uint64 = dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64
float32, float64 = dtypes.float32, dtypes.float64
complex64, complex128 = dtypes.complex64, dtypes.complex128

KINDS: dict[str, tuple[DType, ...]] = {
    "bool": (bool,),
    "signed integer": (int8, int16, int32, int64),
    "unsigned integer": (uint8, uint16, uint32, uint64),
    "integral": (int8, int16, int32, int64, uint8, uint16, uint32, uint64),
    "real floating": (float32, float64),
    "complex floating": (complex64, complex128),
    "numeric": (
        int8,
        int16,
        int32,
        int64,
        uint8,
        uint16,
        uint32,
        uint64,
        float32,
        float64,
        complex64,
        complex128,
    ),
}

INTEGERS = KINDS["integral"]
FLOATS = KINDS["real floating"] + KINDS["complex floating"]


@dataclass(frozen=True)
class FloatLimits:
    """The limits of a floating dtype; of a complex one, those of its parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class IntegerLimits:
    """The limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: DType | Tensor, /) -> FloatLimits:
    """The limits of a floating dtype, given as such or by a tensor.

    >>> from ingot import array_api as xp
    >>> xp.finfo(xp.float32).bits
    32
    """
    dtype = type.dtype if isinstance(type, Tensor) else type
    parts = {complex64: float32, complex128: float64}.get(dtype, dtype)
    limits = namespace.finfo(parts)
    return FloatLimits(
        limits.bits,
        float(limits.eps),
        float(limits.max),
        float(limits.min),
        float(limits.tiny),
        parts,
    )


def iinfo(type: DType | Tensor, /) -> IntegerLimits:
    """The limits of an integer dtype, given as such or by a tensor."""
    dtype = type.dtype if isinstance(type, Tensor) else type
    limits = namespace.iinfo(dtype)
    return IntegerLimits(limits.bits, int(limits.max), int(limits.min), dtype)


def isdtype(dtype: DType, kind: DType | str | tuple[DType | str, ...]) -> builtins.bool:
    """Whether a dtype is, or is of, the given kind, or of one of several.

    >>> from ingot import array_api as xp
    >>> xp.isdtype(xp.int8, ("real floating", "signed integer"))
    True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, DType):
        return dtype is kind
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}, expected a dtype or one of {', '.join(KINDS)}")
    return dtype in KINDS[kind]


def require_kind(name: str, x: Any, *kinds: str) -> Tensor:
    """`x`, which must be a tensor whose dtype is of one of the kinds; TypeError says what was given."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: got {type(x).__name__}, expected a tensor")
    if not any(x.dtype in KINDS[kind] for kind in kinds):
        raise TypeError(f"{name}: got a tensor of {x.dtype}, expected {' or '.join(kinds)}")
    return x


def can_cast(from_: DType | Tensor, to: DType, /) -> builtins.bool:
    """Whether values of a dtype, or of a tensor, convert to another dtype by promotion alone."""
    source = from_.dtype if isinstance(from_, Tensor) else from_
    if source is to:
        return True
    same_kind = any(source in members and to in members for members in (INTEGERS, FLOATS))
    return same_kind and dtypes.promote(source, to) is to


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that operands promote to: tensors, dtypes and Python numbers, which do not widen a tensor's."""
    operands = [full((1,), 0, dtype=one) if isinstance(one, DType) else one for one in arrays_and_dtypes]
    # Tensors of no dimensions are scalars to PyTorch's rules, whose dtype counts less; to the standard they are arrays.
    operands = [one.reshape(1) if isinstance(one, Tensor) and one.ndim == 0 else one for one in operands]
    if not any(isinstance(one, Tensor) for one in operands):
        raise ValueError(f"result_type of {len(operands)} operands, of which none is a tensor or a dtype")
    result = operands[0]
    for operand in operands[1:]:
        result = full((1,), 0, dtype=namespace.result_type(result, operand))
    return result.dtype if isinstance(result, Tensor) else namespace.result_type(result)


def astype(x: Tensor, dtype: DType, /, *, copy: builtins.bool = True, device: Any = None) -> Tensor:
    """`x` converted to `dtype`; with `copy=False`, `x` itself where it has that dtype already."""
    if device is not None and str(device) != "cpu":
        raise RuntimeError(f"device {str(device)!r}: these tensors live on 'cpu', the one device that there is")
    if x.dtype in KINDS["complex floating"] and dtype not in KINDS["complex floating"]:
        raise TypeError(f"astype from {x.dtype} to {dtype}: take xp.real(x) or xp.abs(x) first")
    if x.dtype is dtype:
        return x.clone() if copy else x
    return x.to(dtype)


def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """The tensors as views of one shape."""
    return tuple(namespace.broadcast_tensors(*arrays)) if arrays else ()


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that tensors of these shapes broadcast to."""
    return tuple(namespace.broadcast_shapes(*shapes))


def broadcast_to(x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """`x` as a view of `shape`."""
    return namespace.broadcast_to(x, tuple(shape))
