"""The random stream in generated code: where a draw begins, and the word at a place in it (see `ir.random_state`).

Both have a Numba form of a few instructions and a Python form that does the same, so that generated source runs
un-jitted.
"""

import ctypes
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from ...ir.random_state import MIX_MULTIPLIERS, MIX_SHIFTS, STEP, signed

__all__ = ["random_word", "take_random"]

_I64 = ir.IntType(64)
_MASK = (1 << 64) - 1


def take_random(generator: int, count: int) -> int:
    """Advance the generator whose state is at an address by `count` words; where they begin."""
    state = ctypes.c_uint64.from_address(generator)
    start = state.value
    state.value = (start + count * STEP) & _MASK
    return signed(start)


def random_word(start: int, index: int) -> int:
    """The word `index` of the stream from `start` on, as a signed integer."""
    z = (start + index * STEP) & _MASK
    for shift, multiplier in zip(MIX_SHIFTS, MIX_MULTIPLIERS, strict=False):
        z = ((z ^ (z >> shift)) * multiplier) & _MASK
    return signed(z ^ (z >> MIX_SHIFTS[2]))


@type_callable(take_random)  # type: ignore[untyped-decorator]
def _type_take(context: Any) -> Any:
    return lambda generator, count: types.int64


@type_callable(random_word)  # type: ignore[untyped-decorator]
def _type_word(context: Any) -> Any:
    return lambda start, index: types.int64


def _integers(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    return [context.cast(builder, a, given, types.int64) for a, given in zip(arguments, signature.args, strict=True)]


@lower_builtin(take_random, types.Integer, types.Integer)  # type: ignore[untyped-decorator]
def _lower_take(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    generator, count = _integers(context, builder, signature, arguments)
    state = builder.inttoptr(generator, _I64.as_pointer())
    # Atomic: calls on several threads get different parts of the stream.
    return builder.atomic_rmw("add", state, builder.mul(count, _I64(STEP)), "monotonic")


@lower_builtin(random_word, types.Integer, types.Integer)  # type: ignore[untyped-decorator]
def _lower_word(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    start, index = _integers(context, builder, signature, arguments)
    z = builder.add(start, builder.mul(index, _I64(STEP)))
    for shift, multiplier in zip(MIX_SHIFTS, MIX_MULTIPLIERS, strict=False):
        z = builder.mul(builder.xor(z, builder.lshr(z, _I64(shift))), _I64(multiplier))
    return builder.xor(z, builder.lshr(z, _I64(MIX_SHIFTS[2])))
