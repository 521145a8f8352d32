"""How deep the functions of a driver may call each other, and the slots that they return their results in."""

from .module import FRAME_DETAIL

__all__ = ["SLOT_COUNTS", "depth_limits", "stack_slots_name"]

SLOT_COUNTS = (1, 2, 4, 8, 16, 64, 256)
"""How many slots a function of `stack` may give."""

# Where the caller of a program sets no limits: calls as in Python by default, and bytes of stack.
_DEFAULT_DEPTH = 1000
_DEFAULT_STACK = 256 * 1024


def stack_slots_name(count: int) -> str | None:
    """The name of the function that gives at least so many slots; None where there are too many for the stack.

    >>> stack_slots_name(3)
    'stack_slots_4'
    """
    return next((f"stack_slots_{size}" for size in SLOT_COUNTS if size >= count), None)


def depth_limits(slots: int) -> list[str]:
    """Lines at the start of a driver that calls functions: where results go, and how deep calls may be nested.

    The second detail slot of the frame has, at the start, the address of both limits or 0.
    """
    return [
        f"    returned = {stack_slots_name(slots)}(arena)",
        f"    limits = slot_i64(frame, {FRAME_DETAIL + 1})",
        f"    depth = cell(limits, 0) if limits != 0 else {_DEFAULT_DEPTH}",
        f"    low = cell(limits, 1) if limits != 0 else returned - {_DEFAULT_STACK}",
    ]
