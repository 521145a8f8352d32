"""Scalar functions that generated kernels call beside vector mathematics: casts, NaN-aware choice, integer division.

As in `bits`, each has a Numba lowering to a few LLVM instructions and a Python form that computes the same on numpy
scalars. Operands of one call have one type, which is also the type of the result unless stated otherwise.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from .bits import wrap_i64
from .bits_lowering import float_remainder
from .near_division import floor_quotient, floored
from .primitives import set_slot_i64
from .random_stream import random_word, take_random

__all__ = [
    "compare_int_float", "difference_overflows", "power_overflows", "product_overflows", "sum_overflows",
    "absolute", "as_bool", "as_f32", "as_f64", "as_i16", "as_i32", "as_i64", "as_i8", "as_u8", "ceil", "floor",
    "floor_divide", "floor_remainder", "fmod", "integer_power", "is_finite", "is_infinite", "is_inside", "maximum",
    "maximum_step", "minimum", "minimum_step", "product_step", "quotient_of", "random_word",
    "set_slots", "rint", "sign", "square_root_of", "stack_f32", "stack_f64", "stack_i32", "stack_i64", "sum_step",
    "take_random", "trunc", "wrapped_index", "wrapping_difference", "wrapping_product", "wrapping_sum",
]  # fmt: skip

Lowering = Callable[[Any, Any, Any, list[Any]], Any]


def _native(function: Callable[..., Any], arity: int, typing: Callable[..., Any], lowering: Lowering) -> None:
    """Give `function` a native form; `typing(*argument types)` is the result type or None for "no match"."""
    typers: dict[int, Callable[..., Any]] = {
        1: lambda a: typing(a),
        2: lambda a, b: typing(a, b),
        3: lambda a, b, c: typing(a, b, c),
    }

    @type_callable(function)  # type: ignore[untyped-decorator]
    def register_typing(context: Any) -> Any:
        return typers[arity]

    @lower_builtin(function, *[types.Any] * arity)  # type: ignore[untyped-decorator]
    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return lowering(context, builder, signature, list(arguments))


def _same(*arguments: Any) -> Any:
    first = arguments[0]
    matches = isinstance(first, types.Float | types.Integer) and all(a == first for a in arguments)
    return first if matches else None


def _call(builder: Any, name: str, arguments: list[Any], flags: tuple[str, ...] = ()) -> Any:
    kind = arguments[0].type
    function = builder.module.declare_intrinsic(name, [kind], ir.FunctionType(kind, [kind] * len(arguments)))
    return builder.call(function, arguments, fastmath=flags)


# Casts. Floats become integers by truncation toward zero and then wrap, as a C conversion does on today's processors.


def _make_cast(name: str, numpy_name: str, numba_type: Any) -> Callable[[Any], Any]:
    dtype = np.dtype(numpy_name)

    def cast(value: Any) -> Any:
        source = np.asarray(value)
        if source.dtype.kind == "f" and dtype.kind in "iu" and dtype.itemsize < 8:
            source = source.astype(np.int64)
        return source.astype(dtype)[()]

    cast.__name__ = cast.__qualname__ = name
    cast.__doc__ = f"A number or bool as {numpy_name}, converted as C does."

    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        (given,) = signature.args
        if isinstance(given, types.Float) and dtype.kind in "iu":
            wide = builder.fptosi(arguments[0], ir.IntType(64))
            return wide if numba_type.bitwidth == 64 else builder.trunc(wide, ir.IntType(numba_type.bitwidth))
        return context.cast(builder, arguments[0], given, numba_type)

    _native(cast, 1, lambda a: numba_type if isinstance(a, types.Number | types.Boolean) else None, lower)
    return cast


as_f32 = _make_cast("as_f32", "float32", types.float32)
as_f64 = _make_cast("as_f64", "float64", types.float64)
as_i8 = _make_cast("as_i8", "int8", types.int8)
as_u8 = _make_cast("as_u8", "uint8", types.uint8)
as_i16 = _make_cast("as_i16", "int16", types.int16)
as_i32 = _make_cast("as_i32", "int32", types.int32)
as_i64 = _make_cast("as_i64", "int64", types.int64)


def as_bool(value: Any) -> bool:
    """Whether a number is not zero; NaN is not.

    >>> as_bool(0.0), as_bool(float("nan"))
    (False, True)
    """
    return bool(value != 0)


def _lower_as_bool(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    (value,), (given,) = arguments, signature.args
    if isinstance(given, types.Boolean):
        return value
    zero = value.type(0)
    if isinstance(given, types.Float):
        return builder.fcmp_unordered("!=", value, zero)
    return builder.icmp_signed("!=", value, zero)


_native(
    as_bool,
    1,
    lambda a: types.boolean if isinstance(a, types.Number | types.Boolean) else None,
    _lower_as_bool,
)


# Choice. IEEE 754-2019 `maximum` and `minimum`: NaN where either is NaN, and -0 is below +0.


def maximum(a: Any, b: Any) -> Any:
    """The larger of two numbers; NaN where either is NaN.

    >>> int(maximum(2, 3))
    3
    """
    return np.maximum(a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two numbers; NaN where either is NaN.

    >>> int(minimum(2, 3))
    2
    """
    return np.minimum(a, b)


def _lower_extreme(operator: str, comparison: str) -> Lowering:
    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        a, b = arguments
        kind = signature.args[0]
        if isinstance(kind, types.Float):
            # a where it wins or is NaN, else b (which may be NaN): two comparisons and a blend, which vectorise.
            wins = builder.fcmp_ordered(comparison, a, b)
            return builder.select(builder.or_(wins, builder.fcmp_unordered("uno", a, a)), a, b)
        compare = builder.icmp_signed if kind.signed else builder.icmp_unsigned
        return builder.select(compare(comparison, a, b), a, b)

    return lower


_native(maximum, 2, _same, _lower_extreme("maximum", ">"))
_native(minimum, 2, _same, _lower_extreme("minimum", "<"))


# Steps of reductions. Only these additions may be reordered by LLVM, into one accumulator per lane; the arithmetic of
# what is summed keeps its order. The result depends on the vector width and the loop's bounds, never on threads.


def sum_step(accumulator: Any, value: Any) -> Any:
    """accumulator + value, in a sum whose order is free within one loop.

    >>> sum_step(1, 2)
    3
    """
    return accumulator + value


def product_step(accumulator: Any, value: Any) -> Any:
    """accumulator * value, in a product whose order is free within one loop.

    >>> product_step(2, 3)
    6
    """
    return accumulator * value


def maximum_step(accumulator: Any, value: Any) -> Any:
    """The larger, as `maximum`; LLVM keeps one accumulator per lane.

    >>> int(maximum_step(1, 2))
    2
    """
    return np.maximum(accumulator, value)


def minimum_step(accumulator: Any, value: Any) -> Any:
    """The smaller, as `minimum`; LLVM keeps one accumulator per lane.

    >>> int(minimum_step(1, 2))
    1
    """
    return np.minimum(accumulator, value)


def _lower_extreme_step(name: str, comparison: str) -> Lowering:
    choose = _lower_extreme(name, comparison)

    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        if isinstance(signature.args[0], types.Float):
            # Which zero is taken is nobody's business, and telling them apart takes half of the instructions.
            return _call(builder, f"llvm.{name}", arguments, ("nsz",))
        return choose(context, builder, signature, arguments)

    return lower


_native(maximum_step, 2, _same, _lower_extreme_step("maximum", ">"))
_native(minimum_step, 2, _same, _lower_extreme_step("minimum", "<"))


def _lower_step(float_operation: str, integer_operation: str) -> Lowering:
    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        if isinstance(signature.args[0], types.Float):
            return getattr(builder, float_operation)(*arguments, flags=("reassoc", "contract"))
        return getattr(builder, integer_operation)(*arguments)

    return lower


_native(sum_step, 2, _same, _lower_step("fadd", "add"))
_native(product_step, 2, _same, _lower_step("fmul", "mul"))


# Sign and rounding; on integers rounding does nothing.


def absolute(x: Any) -> Any:
    """The absolute value.

    >>> absolute(-2)
    2
    """
    return abs(x)


def _lower_absolute(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    (x,), (kind,) = arguments, signature.args
    if isinstance(kind, types.Float):
        return _call(builder, "llvm.fabs", [x])
    if not kind.signed:
        return x
    return builder.select(builder.icmp_signed("<", x, x.type(0)), builder.neg(x), x)


_native(absolute, 1, _same, _lower_absolute)


def is_inside(index: Any, size: Any) -> Any:
    """Whether an index is in [0, size); one comparison, since a negative index is a large unsigned one.

    >>> bool(is_inside(-1, 3)), bool(is_inside(2, 3))
    (False, True)
    """
    return 0 <= index < size


def _type_of_is_inside(index: Any, size: Any) -> Any:
    return types.boolean if index == size == types.int64 else None


def _lower_is_inside(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    return builder.icmp_unsigned("<", *arguments)


_native(is_inside, 2, _type_of_is_inside, _lower_is_inside)


def sign(x: Any) -> Any:
    """-1, 0 or 1 by the sign of x; 0 for NaN, as in PyTorch.

    >>> int(sign(-2))
    -1
    """
    kind = type(x)
    return kind(kind(x > 0) - kind(x < 0))


def _lower_sign(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    (x,), (kind,) = arguments, signature.args
    one, zero = x.type(1), x.type(0)
    if isinstance(kind, types.Float):
        positive, negative = builder.fcmp_ordered(">", x, zero), builder.fcmp_ordered("<", x, zero)
        return builder.select(positive, one, builder.select(negative, x.type(-1), zero))
    compare = builder.icmp_signed if kind.signed else builder.icmp_unsigned
    negative = builder.icmp_signed("<", x, zero) if kind.signed else ir.IntType(1)(0)
    minus_one = x.type(-1 if kind.signed else 0)
    return builder.select(compare(">", x, zero), one, builder.select(negative, minus_one, zero))


_native(sign, 1, _same, _lower_sign)


def quotient_of(x: Any, divisor: Any, inverse: Any) -> Any:
    """x / divisor, with the divisor's nearest inverse: three products take a fifth of the time of a quotient.

    >>> quotient_of(6.0, 3.0, 1 / 3)
    2.0
    """
    return x / divisor


def _lower_quotient(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    """What the rounded product with the inverse leaves over, known exactly, corrects it (Markstein, "Computation of
    elementary functions on the IBM RISC System/6000", 1990): the nearest number, or a unit beside where the rest would
    be subnormal or the quotient is the largest number. Nothing is left over of zeros, whose sign stays; what is
    infinite has no rest.
    """
    x, divisor, inverse = arguments
    rough = builder.fmul(x, inverse)
    rest = _call(builder, "llvm.fma", [builder.fneg(rough), divisor, x])
    corrected = _call(builder, "llvm.fma", [rest, inverse, rough])
    has_rest = builder.fcmp_ordered("!=", rest, rest.type(0))
    # An inverse is a constant, and quotients by larger numbers than 1 are never infinite.
    is_small = builder.fcmp_ordered("<=", _call(builder, "llvm.fabs", [inverse]), inverse.type(1))
    is_number = builder.or_(builder.fcmp_ordered("ord", corrected, corrected), is_small)
    return builder.select(builder.and_(has_rest, is_number), corrected, rough)


_native(quotient_of, 3, _same, _lower_quotient)


def _rounding(name: str, intrinsic: str, numpy_function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        return numpy_function(x) if np.asarray(x).dtype.kind == "f" else x

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"A number rounded as numpy's {numpy_function.__name__} does; an integer as it is."

    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        return _call(builder, intrinsic, arguments) if isinstance(signature.args[0], types.Float) else arguments[0]

    _native(function, 1, _same, lower)
    return function


floor = _rounding("floor", "llvm.floor", np.floor)
ceil = _rounding("ceil", "llvm.ceil", np.ceil)
trunc = _rounding("trunc", "llvm.trunc", np.trunc)
rint = _rounding("rint", "llvm.rint", np.rint)


def square_root_of(x: Any) -> Any:
    """The square root of a float, correctly rounded; NaN below zero.

    >>> float(square_root_of(9.0))
    3.0
    """
    return np.sqrt(x)


_native(
    square_root_of,
    1,
    lambda a: a if isinstance(a, types.Float) else None,
    lambda context, builder, signature, arguments: _call(builder, "llvm.sqrt", arguments),
)


def is_infinite(x: Any) -> bool:
    """Whether x is an infinity; False for integers.

    >>> is_infinite(float("-inf"))
    True
    """
    return bool(np.isinf(x))


def is_finite(x: Any) -> bool:
    """Whether x is neither infinite nor NaN; True for integers.

    >>> is_finite(float("nan"))
    False
    """
    return bool(np.isfinite(x))


def _lower_class(comparison: str, integer: int) -> Lowering:
    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        if not isinstance(signature.args[0], types.Float):
            return ir.IntType(1)(integer)
        size = _call(builder, "llvm.fabs", arguments)
        return builder.fcmp_ordered(comparison, size, size.type(float("inf")))

    return lower


def _bool_of_number(a: Any) -> Any:
    return types.boolean if isinstance(a, types.Number) else None


_native(is_infinite, 1, _bool_of_number, _lower_class("==", 0))
_native(is_finite, 1, _bool_of_number, _lower_class("<", 1))


# Division with Python's and C's sign rules. Integer divisors must not be zero: kernels check before.


def floor_divide(a: Any, b: Any) -> Any:
    """The quotient rounded down, as Python's `//`.

    >>> int(floor_divide(-7, 2))
    -4
    """
    return np.floor_divide(a, b)


def floor_remainder(a: Any, b: Any) -> Any:
    """The remainder with the sign of the divisor, as Python's `%`.

    >>> int(floor_remainder(-7, 2))
    1
    """
    return np.remainder(a, b)


def wrapped_index(index: int, size: int) -> int:
    """`index % size`; it divides only where the index is out of range by a whole size or more.

    What is empty has no index: any number will do, which nobody reads by.

    >>> wrapped_index(-1, 5), wrapped_index(7, 5), wrapped_index(23, 5), wrapped_index(3, 0)
    (4, 2, 3, 0)
    """
    return index % max(size, 1)


def _lower_wrapped_index(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    index, size = (
        context.cast(builder, value, given, types.int64) for value, given in zip(arguments, signature.args, strict=True)
    )
    zero = index.type(0)
    near = builder.select(builder.icmp_signed(">=", index, size), builder.sub(index, size), index)
    near = builder.select(builder.icmp_signed("<", near, zero), builder.add(near, size), near)
    start = builder.block
    with builder.if_then(builder.icmp_unsigned(">=", near, size), likely=False):
        size = builder.select(builder.icmp_signed(">", size, zero), size, size.type(1))
        rest = builder.srem(index, size)
        rest = builder.select(builder.icmp_signed("<", rest, zero), builder.add(rest, size), rest)
        far = builder.block
    result = builder.phi(index.type)
    result.add_incoming(near, start)
    result.add_incoming(rest, far)
    return result


_native(
    wrapped_index,
    2,
    lambda index, size: types.int64 if isinstance(index, types.Integer) and isinstance(size, types.Integer) else None,
    _lower_wrapped_index,
)


def fmod(a: Any, b: Any) -> Any:
    """The remainder with the sign of the dividend, as C's `fmod`.

    >>> int(fmod(-7, 2))
    -1
    """
    return np.fmod(a, b)


def _lower_floor_divide(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    (a, b), kind = arguments, signature.args[0]
    if isinstance(kind, types.Float):
        return floor_quotient(builder, a, b, float_remainder(builder, a, b))
    if not kind.signed:
        return builder.udiv(a, b)
    # The most negative number over -1 overflows, which traps on x86: negate instead.
    minus = builder.icmp_signed("==", b, b.type(-1))
    safe = builder.select(minus, b.type(1), b)
    quotient = builder.sdiv(a, safe)
    remainder = builder.srem(a, safe)
    differs = builder.icmp_signed("<", builder.xor(remainder, safe), a.type(0))
    moved = builder.and_(builder.icmp_signed("!=", remainder, a.type(0)), differs)
    quotient = builder.select(moved, builder.sub(quotient, a.type(1)), quotient)
    return builder.select(minus, builder.neg(a), quotient)


def _lower_floor_remainder(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    (a, b), kind = arguments, signature.args[0]
    if isinstance(kind, types.Float):
        return floored(builder, a, b, float_remainder(builder, a, b))[0]
    if not kind.signed:
        return builder.urem(a, b)
    safe = builder.select(builder.icmp_signed("==", b, b.type(-1)), b.type(1), b)
    remainder = builder.srem(a, safe)
    differs = builder.icmp_signed("<", builder.xor(remainder, safe), a.type(0))
    moved = builder.and_(builder.icmp_signed("!=", remainder, a.type(0)), differs)
    return builder.select(moved, builder.add(remainder, safe), remainder)


def _lower_fmod(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    (a, b), kind = arguments, signature.args[0]
    if isinstance(kind, types.Float):
        return float_remainder(builder, a, b)
    if not kind.signed:
        return builder.urem(a, b)
    return builder.srem(a, builder.select(builder.icmp_signed("==", b, b.type(-1)), b.type(1), b))


_native(floor_divide, 2, _same, _lower_floor_divide)
_native(floor_remainder, 2, _same, _lower_floor_remainder)
_native(fmod, 2, _same, _lower_fmod)


def integer_power(base: Any, exponent: Any) -> Any:
    """base ** exponent for 64-bit integers, exponent >= 0, by squaring; wraps on overflow. Pasted into kernels."""
    result = 1
    while exponent > 0:
        if exponent & 1:
            result = wrap_i64(result * base)
        base = wrap_i64(base * base)
        exponent = exponent >> 1
    return result


# Tables of parameters.


def set_slots(table: int, first: int, values: tuple[int, ...]) -> None:
    """Write integers into consecutive slots of the table at address `table`."""
    for index, value in enumerate(values, first):
        set_slot_i64(table, index, int(value))


def _lower_set_slots(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    table, first = (
        context.cast(builder, value, given, types.int64)
        for value, given in zip(arguments[:2], signature.args[:2], strict=True)
    )
    pointer = builder.gep(builder.inttoptr(table, ir.IntType(64).as_pointer()), [first])
    for index, given in enumerate(signature.args[2].types):
        value = context.cast(builder, builder.extract_value(arguments[2], index), given, types.int64)
        builder.store(value, builder.gep(pointer, [ir.IntType(64)(index)]))
    return context.get_dummy_value()


_native(
    set_slots,
    3,
    lambda table, first, values: types.void if isinstance(values, types.BaseTuple) else None,
    _lower_set_slots,
)


# 64-bit integers of scripted programs: whether an operation leaves their range.


def _overflows(name: str, python: Callable[[int, int], int], intrinsic: str) -> Callable[[Any, Any], bool]:
    def function(a: Any, b: Any) -> bool:
        return not -(1 << 63) <= python(int(a), int(b)) < 1 << 63

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Whether the {name.split('_')[0]} of two int64 does not fit in 64 bits."

    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        a, b = (
            context.cast(builder, value, given, types.int64)
            for value, given in zip(arguments, signature.args, strict=True)
        )
        return builder.extract_value(getattr(builder, intrinsic)(a, b), 1)

    def typing(a: Any, b: Any) -> Any:
        return types.boolean if isinstance(a, types.Integer) and isinstance(b, types.Integer) else None

    _native(function, 2, typing, lower)
    return function


def _wrapping(name: str, python: Callable[[int, int], int], instruction: str) -> Callable[[Any, Any], Any]:
    """Arithmetic of int64 tensors, which wraps; Numba's own is undefined where a result does not fit in 64 bits."""

    def function(a: Any, b: Any) -> int:
        return wrap_i64(python(int(a), int(b)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {name.split('_')[1]} of two int64, modulo 2**64."

    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        a, b = (
            context.cast(builder, value, given, types.int64)
            for value, given in zip(arguments, signature.args, strict=True)
        )
        return getattr(builder, instruction)(a, b)

    def typing(a: Any, b: Any) -> Any:
        return types.int64 if isinstance(a, types.Integer) and isinstance(b, types.Integer) else None

    _native(function, 2, typing, lower)
    return function


wrapping_sum = _wrapping("wrapping_sum", lambda a, b: a + b, "add")
wrapping_difference = _wrapping("wrapping_difference", lambda a, b: a - b, "sub")
wrapping_product = _wrapping("wrapping_product", lambda a, b: a * b, "mul")
sum_overflows = _overflows("sum_overflows", lambda a, b: a + b, "sadd_with_overflow")
difference_overflows = _overflows("difference_overflows", lambda a, b: a - b, "ssub_with_overflow")
product_overflows = _overflows("product_overflows", lambda a, b: a * b, "smul_with_overflow")


def compare_int_float(a: Any, b: Any) -> int:
    """-1, 0 or 1 as the int a is below, equal to or above the float b, exactly; 2 for NaN. Pasted into drivers."""
    if b != b:
        return 2
    if b >= 9223372036854775808.0:
        return -1
    if b < -9223372036854775808.0:
        return 1
    whole = as_i64(b)
    if a != whole:
        return -1 if a < whole else 1
    rest = b - as_f64(whole)
    if rest == 0.0:
        return 0
    return -1 if rest > 0.0 else 1


def power_overflows(base: Any, exponent: Any) -> bool:
    """Whether base ** exponent, exponent >= 0, does not fit in 64 bits. Pasted into drivers."""
    result = 1
    while exponent > 0:
        if exponent & 1:
            if product_overflows(result, base):
                return True
            result = result * base
        exponent = exponent >> 1
        if exponent > 0:
            if product_overflows(base, base):
                return True
            base = base * base
    return False


# Arrays on the stack, of a length that is a literal in the source: allocated once per call of the kernel's entry.


def _make_stack(name: str, numpy_name: str, numba_type: Any, llvm_type: ir.Type) -> Callable[[int], Any]:
    def stack(count: int) -> Any:
        return np.empty(count, numpy_name)

    stack.__name__ = stack.__qualname__ = name
    stack.__doc__ = f"An uninitialised array of {numpy_name} on the stack; its length must be a literal."

    def typing(count: Any) -> Any:
        return types.CPointer(numba_type) if isinstance(count, types.IntegerLiteral) else None

    def lower(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        count = signature.args[0].literal_value
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(llvm_type, count))
            memory.align = 64
            return builder.bitcast(memory, llvm_type.as_pointer())

    _native(stack, 1, typing, lower)
    return stack


stack_f32 = _make_stack("stack_f32", "float32", types.float32, ir.FloatType())
stack_f64 = _make_stack("stack_f64", "float64", types.float64, ir.DoubleType())
stack_i64 = _make_stack("stack_i64", "int64", types.int64, ir.IntType(64))
stack_i32 = _make_stack("stack_i32", "int32", types.int32, ir.IntType(32))
