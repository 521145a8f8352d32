"""Memory on the machine's stack, where the functions of a driver leave what they return.

Numba's form is an `alloca` in the function's entry block; the Python form takes memory of the call's arena, which is
freed after the call.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable

from ..runtime.arena import allocate
from .limits import SLOT_COUNTS

__all__ = [
    "stack_slots_1", "stack_slots_16", "stack_slots_2", "stack_slots_256", "stack_slots_4", "stack_slots_64",
    "stack_slots_8",
]  # fmt: skip

_I64 = ir.IntType(64)


def _stack_slots(size: int) -> Callable[[int], int]:
    def stack_slots(arena: int) -> int:
        return allocate(arena, 8 * size)

    stack_slots.__name__ = stack_slots.__qualname__ = f"stack_slots_{size}"
    stack_slots.__doc__ = f"The address of {size} slots of 8 bytes that last as long as the function that asks."

    @type_callable(stack_slots)  # type: ignore[untyped-decorator]
    def typing(context: Any) -> Any:
        return lambda arena: types.int64

    @lower_builtin(stack_slots, types.Integer)  # type: ignore[untyped-decorator]
    def lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(cgutils.alloca_once(builder, ir.ArrayType(_I64, size)), _I64)

    return stack_slots


# The lowering of a call sees no constants among its arguments, hence a function for each size.
stack_slots_1, stack_slots_2, stack_slots_4, stack_slots_8, stack_slots_16, stack_slots_64, stack_slots_256 = map(
    _stack_slots, SLOT_COUNTS
)
