"""Numbers of 16 bits, which are computed with in float32: from their bits, to their bits, and rounded to them.

As in `helpers`, each function has a Numba lowering and a Python form that computes the same.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from .helpers import _call, _native

__all__ = ["as_bf16", "as_f16", "from_bf16", "from_f16", "rounded_half", "to_bf16", "to_f16"]


def rounded_half(value: float, short: str) -> float:
    """A number rounded to float16 ("f16") or bfloat16 ("bf16").

    >>> rounded_half(1.0005, "f16"), rounded_half(1.01, "bf16")
    (1.0009765625, 1.0078125)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if short == "f16":
            return float(np.float16(value))
        return float(from_bf16(to_bf16(_odd_f32(value))))


def _odd_f32(value: Any) -> Any:
    """A float64 as a float32 whose last bit says that something was lost: rounding it again is right."""
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.float32(value)
        if np.float64(near) == value or value != value:
            return near
        bits = int(near.view(np.int32)) - int(abs(np.float64(near)) > abs(value))
        return np.int32(bits | 1).view(np.float32)


def from_f16(bits: Any) -> Any:
    """The float16 with these bits, as a float32."""
    return np.float32(np.int16(bits).view(np.float16))


def to_f16(value: Any) -> Any:
    """The bits of a float32 rounded to float16."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.float16(value).view(np.int16)


def from_bf16(bits: Any) -> Any:
    """The bfloat16 with these bits, as a float32."""
    return np.uint32((int(bits) & 0xFFFF) << 16).view(np.float32)


def to_bf16(value: Any) -> Any:
    """The bits of a float32 rounded to bfloat16, to even."""
    bits = int(np.float32(value).view(np.uint32))
    if bits & 0x7FFFFFFF > 0x7F800000:
        bits = bits >> 16 | 0x40
    else:
        bits = bits + 0x7FFF + (bits >> 16 & 1) >> 16
    return np.uint16(bits).view(np.int16)


def as_f16(value: Any) -> Any:
    """A float rounded to float16, as a float32."""
    return np.float32(rounded_half(float(value), "f16"))


def as_bf16(value: Any) -> Any:
    """A float rounded to bfloat16, as a float32."""
    return np.float32(rounded_half(float(value), "bf16"))


_I16, _I32, _HALF, _FLOAT, _DOUBLE = ir.IntType(16), ir.IntType(32), ir.HalfType(), ir.FloatType(), ir.DoubleType()


def _f16_from_bits(builder: Any, bits: Any) -> Any:
    return builder.fpext(builder.bitcast(bits, _HALF), _FLOAT)


def _f16_to_bits(builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.fptrunc(value, _HALF), _I16)


def _bf16_from_bits(builder: Any, bits: Any) -> Any:
    return builder.bitcast(builder.shl(builder.zext(bits, _I32), _I32(16)), _FLOAT)


def _bf16_to_bits(builder: Any, value: Any) -> Any:
    bits = builder.bitcast(value, _I32)
    high = builder.lshr(bits, _I32(16))
    even = builder.add(_I32(0x7FFF), builder.and_(high, _I32(1)))
    rounded = builder.lshr(builder.add(bits, even), _I32(16))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, builder.or_(high, _I32(0x40)), rounded), _I16)


def _lower_odd(builder: Any, value: Any) -> Any:
    """What `_odd_f32` does."""
    near = builder.fptrunc(value, _FLOAT)
    back, magnitude = builder.fpext(near, _DOUBLE), "llvm.fabs"
    larger = builder.fcmp_ordered(">", _call(builder, magnitude, [back]), _call(builder, magnitude, [value]))
    lost = builder.fcmp_ordered("!=", back, value)
    bits = builder.sub(builder.bitcast(near, _I32), builder.zext(larger, _I32))
    return builder.bitcast(builder.or_(bits, builder.zext(lost, _I32)), _FLOAT)


def _define_half(from_bits: Any, to_bits: Any, rounded: Any, lower_from: Any, lower_to: Any) -> None:
    def lower_rounded(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        value = arguments[0] if signature.args[0] == types.float32 else _lower_odd(builder, arguments[0])
        return lower_from(builder, lower_to(builder, value))

    _native(from_bits, 1, lambda a: types.float32, lambda context, builder, signature, a: lower_from(builder, a[0]))
    _native(
        to_bits,
        1,
        lambda a: types.int16 if a == types.float32 else None,
        lambda context, builder, signature, a: lower_to(builder, a[0]),
    )
    _native(rounded, 1, lambda a: types.float32 if isinstance(a, types.Float) else None, lower_rounded)


_define_half(from_f16, to_f16, as_f16, _f16_from_bits, _f16_to_bits)
_define_half(from_bf16, to_bf16, as_bf16, _bf16_from_bits, _bf16_to_bits)
