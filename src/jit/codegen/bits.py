"""Scalar primitives of vector mathematics: Python functions with a Numba lowering to one or a few LLVM instructions.

Called from compiled code a primitive costs no call and no branch, so loops around it vectorise. Called from Python it
computes the same value on numpy scalars, so that generated source runs under a debugger. Integers are int64 in compiled
code and plain ints in Python; the results agree as long as they fit in 64 bits (`wrap_i64` where they may not).
"""

import math
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from . import bits_lowering

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_F32, _F64 = ir.FloatType(), ir.DoubleType()
_MASK_64 = (1 << 64) - 1

Builder = Any  # llvmlite's IRBuilder
Lowering = Callable[[Builder, Any, list[Any]], Any]


def _native(
    typing: Callable[..., Any], *signature: Any
) -> Callable[[Lowering], Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Give a Python function a native form: `typing(*argument types)` is the result type or None for "no match"."""

    # Numba reads the number of parameters from the typer's signature.
    typers: dict[int, Callable[..., Any]] = {
        1: lambda a: typing(a),
        2: lambda a, b: typing(a, b),
        3: lambda a, b, c: typing(a, b, c),
    }

    def with_lowering(lowering: Lowering) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @type_callable(function)  # type: ignore[untyped-decorator]
            def register_typing(context: Any) -> Any:
                return typers[len(signature)]

            @lower_builtin(function, *signature)  # type: ignore[no-untyped-call, untyped-decorator]
            def lower(context: Any, builder: Builder, sig: Any, args: list[Any]) -> Any:
                return lowering(builder, sig, args)

            return function

        return decorate

    return with_lowering


def _integer(builder: Builder, value: Any, width: int) -> Any:
    """`value` sign-extended or truncated to `width` bits."""
    if value.type.width < width:
        return builder.sext(value, ir.IntType(width))
    return builder.trunc(value, ir.IntType(width)) if value.type.width > width else value


def _call(builder: Builder, name: str, args: list[Any]) -> Any:
    """Call the LLVM intrinsic `name`, whose arguments and result have one type."""
    kind = args[0].type
    return builder.call(builder.module.declare_intrinsic(name, [kind], ir.FunctionType(kind, [kind] * len(args))), args)


def _same_float(*arguments: Any) -> Any:
    first = arguments[0]
    return first if isinstance(first, types.Float) and all(a == first for a in arguments) else None


def _llvm_function(name: str, arity: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function of `arity` floats of one type that is the LLVM intrinsic `name`."""
    return _native(_same_float, *[types.Float] * arity)(lambda builder, sig, args: _call(builder, name, args))


# Bit patterns.


def _lower_float_to_bits(builder: Builder, sig: Any, args: list[Any]) -> Any:
    if sig.args[0].bitwidth == 32:
        return builder.sext(builder.bitcast(args[0], _I32), _I64)
    return builder.bitcast(args[0], _I64)


@_native(lambda x: types.int64 if x == types.float32 else None, types.float32)(_lower_float_to_bits)
def float_to_bits_f32(x: Any) -> int:
    """The bit pattern of a float32 as a signed integer.

    >>> hex(float_to_bits_f32(np.float32(1)))
    '0x3f800000'
    """
    return int(struct.unpack("<i", struct.pack("<f", np.float32(x)))[0])


@_native(lambda x: types.int64 if x == types.float64 else None, types.float64)(_lower_float_to_bits)
def float_to_bits_f64(x: Any) -> int:
    """The bit pattern of a float64 as a signed integer.

    >>> hex(float_to_bits_f64(1.0))
    '0x3ff0000000000000'
    """
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def _any_integer(result: Any) -> Callable[[Any], Any]:
    return lambda bits: result if isinstance(bits, types.Integer) else None


@_native(_any_integer(types.float32), types.Integer)(
    lambda builder, sig, args: builder.bitcast(_integer(builder, args[0], 32), _F32)
)
def bits_to_float_f32(bits: int) -> Any:
    """The float32 whose bit pattern is the low 32 bits of an integer.

    >>> float(bits_to_float_f32(0x3F800000))
    1.0
    """
    return np.frombuffer(struct.pack("<I", int(bits) & 0xFFFFFFFF), dtype="<f4")[0]


@_native(_any_integer(types.float64), types.Integer)(
    lambda builder, sig, args: builder.bitcast(_integer(builder, args[0], 64), _F64)
)
def bits_to_float_f64(bits: int) -> Any:
    """The float64 whose bit pattern is the low 64 bits of an integer.

    >>> float(bits_to_float_f64(0x3FF0000000000000))
    1.0
    """
    return np.frombuffer(struct.pack("<Q", int(bits) & _MASK_64), dtype="<f8")[0]


def _lower_power_of_two_f32(builder: Builder, sig: Any, args: list[Any]) -> Any:
    biased = builder.add(_integer(builder, args[0], 32), ir.Constant(_I32, 127))
    return builder.bitcast(builder.shl(biased, ir.Constant(_I32, 23)), _F32)


def _lower_power_of_two_f64(builder: Builder, sig: Any, args: list[Any]) -> Any:
    biased = builder.add(_integer(builder, args[0], 64), ir.Constant(_I64, 1023))
    return builder.bitcast(builder.shl(biased, ir.Constant(_I64, 52)), _F64)


@_native(_any_integer(types.float32), types.Integer)(_lower_power_of_two_f32)
def power_of_two_f32(exponent: int) -> Any:
    """2**exponent as a float32, for exponents of normal numbers (-126 to 127) and 128, which gives infinity.

    >>> float(power_of_two_f32(-3))
    0.125
    """
    return bits_to_float_f32((int(exponent) + 127) << 23)


@_native(_any_integer(types.float64), types.Integer)(_lower_power_of_two_f64)
def power_of_two_f64(exponent: int) -> Any:
    """2**exponent as a float64, for exponents of normal numbers (-1022 to 1023) and 1024, which gives infinity.

    >>> float(power_of_two_f64(-3))
    0.125
    """
    return bits_to_float_f64((int(exponent) + 1023) << 52)


def _scaled_type(value: Any, exponent: Any) -> Any:
    return value if value == types.float32 and isinstance(exponent, types.Integer) else None


def _lower_scaled(builder: Builder, sig: Any, args: list[Any]) -> Any:
    # AVX-512 has an instruction for it (vscalef); `emission` writes it out for other processors.
    function = builder.module.declare_intrinsic("llvm.ldexp", [_F32, _I32], ir.FunctionType(_F32, [_F32, _I32]))
    return builder.call(function, [args[0], _integer(builder, args[1], 32)])


@_native(_scaled_type, types.Float, types.Integer)(_lower_scaled)
def scaled(value: Any, exponent: int) -> Any:
    """A float32 times 2**exponent, rounded once, for exponents from -252 to 254: twice those of normal numbers.

    >>> float(scaled(np.float32(1.5), -1))
    0.75
    """
    return np.ldexp(value, int(exponent))


@_native(_any_integer(types.float32), types.Integer)(
    lambda builder, sig, args: builder.sitofp(_integer(builder, args[0], 32), _F32)
)
def integer_to_f32(value: int) -> Any:
    """An integer of at most 32 bits as a float32 (conversions from 64 bits vectorise on few processors).

    >>> float(integer_to_f32(-3))
    -3.0
    """
    return np.float32(value)


@_native(_any_integer(types.float64), types.Integer)(
    lambda builder, sig, args: builder.sitofp(_integer(builder, args[0], 32), _F64)
)
def integer_to_f64(value: int) -> Any:
    """An integer of at most 32 bits as a float64.

    >>> float(integer_to_f64(-3))
    -3.0
    """
    return np.float64(value)


@_native(_any_integer(types.int64), types.Integer)(lambda builder, sig, args: _integer(builder, args[0], 64))
def wrap_i64(value: int) -> int:
    """The value modulo 2**64 as a signed 64-bit integer (in compiled code integers wrap by themselves).

    >>> wrap_i64(1 << 63)
    -9223372036854775808
    """
    return ((int(value) + (1 << 63)) & _MASK_64) - (1 << 63)


@_native(
    lambda value, count: types.int64 if isinstance(value, types.Integer) and isinstance(count, types.Integer) else None,
    types.Integer,
    types.Integer,
)(lambda builder, sig, args: builder.lshr(_integer(builder, args[0], 64), _integer(builder, args[1], 64)))
def shift_right_logical(value: int, count: int) -> int:
    """A 64-bit value shifted right by 0 to 63 places, zeros coming in.

    >>> shift_right_logical(-1, 60)
    15
    """
    shifted: int = wrap_i64((int(value) & _MASK_64) >> int(count))
    return shifted


@_native(_any_integer(types.int64), types.Integer)(
    lambda builder, sig, args: bits_lowering.inverse_turn_word(builder, _integer(builder, args[0], 64))
)
def inverse_turn_word(index: int) -> int:
    """64 bits of 1 / (2 pi) from bit 64 * index of its fraction behind 53 zeros, index 0 to 19, unchecked.

    >>> hex(inverse_turn_word(0))
    '0x145'
    """
    word: int = wrap_i64(bits_lowering.INVERSE_TURN[index])
    return word


# Choice and arithmetic.


def _of_integers(result: Any) -> Callable[[Any, Any], Any]:
    return lambda a, b: result if isinstance(a, types.Integer) and isinstance(b, types.Integer) else None


def _unsigned(builder: Builder, args: list[Any]) -> tuple[Any, Any]:
    return _integer(builder, args[0], 64), _integer(builder, args[1], 64)


@_native(_of_integers(types.boolean), types.Integer, types.Integer)(
    lambda builder, sig, args: builder.icmp_unsigned(">=", *_unsigned(builder, args))
)
def is_outside(index: int, count: int) -> bool:
    """Whether an index is negative, or not below a count (which is not negative).

    >>> is_outside(-1, 3), is_outside(0, 3), is_outside(3, 3)
    (True, False, True)
    """
    return not 0 <= index < count


@_native(_of_integers(types.int64), types.Integer, types.Integer)(
    lambda builder, sig, args: builder.udiv(*_unsigned(builder, args))
)
def count_quotient(a: int, b: int) -> int:
    """The quotient, rounded down, of ints that are not negative; the second is not 0.

    >>> count_quotient(7, 2)
    3
    """
    return a // b


@_native(_of_integers(types.int64), types.Integer, types.Integer)(
    lambda builder, sig, args: builder.urem(*_unsigned(builder, args))
)
def count_remainder(a: int, b: int) -> int:
    """The remainder of ints that are not negative; the second is not 0.

    >>> count_remainder(7, 2)
    1
    """
    return a % b


def _select_type(condition: Any, if_true: Any, if_false: Any) -> Any:
    if not isinstance(condition, types.Boolean):
        return None
    if isinstance(if_true, types.Integer) and isinstance(if_false, types.Integer):
        return types.int64
    return if_true if if_true == if_false and isinstance(if_true, types.Float | types.Boolean) else None


def _lower_select(builder: Builder, sig: Any, args: list[Any]) -> Any:
    condition, if_true, if_false = args
    if sig.return_type == types.int64:
        if_true, if_false = _integer(builder, if_true, 64), _integer(builder, if_false, 64)
    return builder.select(condition, if_true, if_false)


@_native(_select_type, types.Boolean, types.Any, types.Any)(_lower_select)
def select(condition: Any, if_true: Any, if_false: Any) -> Any:
    """One of two values of the same type; both are computed, so there is no branch.

    >>> select(True, 1, 2)
    1
    """
    chosen = if_true if condition else if_false
    # numpy's division by zero gives infinity where Python's raises.
    return np.float64(chosen) if type(chosen) is float else chosen


@_llvm_function("llvm.fmuladd", 3)
def mul_add(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once where the processor has a fused multiply-add and twice where it has not.

    >>> mul_add(2.0, 3.0, 4.0)
    10.0
    """
    return a * b + c


@_llvm_function("llvm.fma", 3)
def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c rounded once, always: for error-free products.

    >>> float(fma(1.0 + 2.0**-52, 1.0 + 2.0**-52, -1.0 - 2.0**-51)) == 2.0**-104
    True
    """
    rough = a * b + c
    if not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)):
        return rough
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return rough
    return _round(exact, np.float32 if isinstance(a, np.float32) else np.float64)


def _round(exact: Fraction, kind: Any) -> Any:
    """The nearest float32 or float64 to a rational number, ties to even."""
    try:
        nearest = float(exact)
    except OverflowError:
        return kind(np.inf if exact > 0 else -np.inf)
    if kind is np.float64:
        return kind(nearest)
    # Rounding to odd first makes the second rounding right (Boldo and Melquiond, "Emulation of FMA", 2008).
    if Fraction(nearest) != exact and not float_to_bits_f64(nearest) & 1:
        nearest = float(np.nextafter(nearest, np.inf if exact > Fraction(nearest) else -np.inf))
    return kind(nearest)


def _horner_type(x: Any, coefficients: Any) -> Any:
    if isinstance(coefficients, types.UniTuple) and coefficients.dtype == x and isinstance(x, types.Float):
        return x
    return None


def _lower_horner(builder: Builder, sig: Any, args: list[Any]) -> Any:
    x, coefficients = args
    value = builder.extract_value(coefficients, 0)
    for i in range(1, sig.args[1].count):
        value = _call(builder, "llvm.fmuladd", [value, x, builder.extract_value(coefficients, i)])
    return value


@_native(_horner_type, types.Float, types.UniTuple)(_lower_horner)
def horner(x: Any, coefficients: tuple[Any, ...]) -> Any:
    """The polynomial with these coefficients, the highest power first, evaluated by Horner's rule.

    >>> horner(2.0, (1.0, 0.0, 3.0))
    7.0
    """
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


@_llvm_function("llvm.fabs", 1)
def magnitude(x: Any) -> Any:
    """The absolute value; clears the sign of zeros and NaNs too.

    >>> magnitude(-2.0)
    2.0
    """
    return abs(x)


@_llvm_function("llvm.copysign", 2)
def copy_sign(size: Any, sign: Any) -> Any:
    """The magnitude of the first argument with the sign of the second.

    >>> float(copy_sign(2.0, -0.0))
    -2.0
    """
    return np.copysign(size, sign)


@_llvm_function("llvm.sqrt", 1)
def square_root(x: Any) -> Any:
    """The square root, correctly rounded; NaN below zero.

    >>> float(square_root(9.0))
    3.0
    """
    return np.sqrt(x)


@_llvm_function("llvm.floor", 1)
def round_down(x: Any) -> Any:
    """The largest integer not above x, as a float.

    >>> float(round_down(-1.5))
    -2.0
    """
    return np.floor(x)


@_llvm_function("llvm.ceil", 1)
def round_up(x: Any) -> Any:
    """The smallest integer not below x, as a float.

    >>> float(round_up(1.5))
    2.0
    """
    return np.ceil(x)


@_llvm_function("llvm.trunc", 1)
def round_to_zero(x: Any) -> Any:
    """x without its fraction, as a float.

    >>> float(round_to_zero(-1.5))
    -1.0
    """
    return np.trunc(x)


@_llvm_function("llvm.rint", 1)
def round_to_even(x: Any) -> Any:
    """The nearest integer as a float, halves to even.

    >>> float(round_to_even(2.5))
    2.0
    """
    return np.rint(x)


def _lower_c_function(name: str) -> Lowering:
    """A call of a float64 function of the C library, which does not vectorise."""

    def lower(builder: Builder, sig: Any, args: list[Any]) -> Any:
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(_F64, [_F64] * len(args)), name)
        return builder.call(function, args)

    return lower


@_native(lambda x: types.float64 if x == types.float64 else None, types.float64)(_lower_c_function("lgamma"))
def c_lgamma(x: Any) -> Any:
    """log(|gamma(x)|) from the C library, in float64; infinite at 0, -1, -2 ...

    >>> round(float(c_lgamma(5.0)), 6)
    3.178054
    """
    try:
        return np.float64(math.lgamma(x))
    except (ValueError, OverflowError):
        return np.float64(np.inf)


@_native(_same_float, types.Float, types.Float)(
    lambda builder, sig, args: bits_lowering.float_remainder(builder, *args)
)
def division_rest(x: Any, y: Any) -> Any:
    """x - n y, exactly, n the quotient x / y without its fraction; the C library's fmod, which does not vectorise.

    >>> float(division_rest(-7.0, 3.0))
    -1.0
    """
    return np.fmod(x, y)
