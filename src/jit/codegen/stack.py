"""Where the machine's stack is, so that functions that call each other stop before its end."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

__all__ = ["stack_address"]

_I64 = ir.IntType(64)


def stack_address() -> int:
    """An address in the frame of the function that asks; 0 in Python, which has no use for the machine's stack."""
    return 0


@type_callable(stack_address)  # type: ignore[untyped-decorator]
def _typing(context: Any) -> Any:
    return lambda: types.int64


@lower_builtin(stack_address)  # type: ignore[untyped-decorator]
def _lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    with builder.goto_entry_block():
        place = builder.alloca(_I64)
    return builder.ptrtoint(place, _I64)
