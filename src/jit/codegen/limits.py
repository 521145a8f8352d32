"""How deep the functions of a driver may call each other."""

from .module import FRAME_DETAIL

__all__ = ["LOW_SLOT", "depth_limits"]

LOW_SLOT = FRAME_DETAIL + 1
"""The slot of the frame that has the lowest address which the stack may reach; an error's details share it."""

# Where the caller of a program sets no limits: calls as in Python by default, and bytes of stack.
_DEFAULT_DEPTH = 1000
_DEFAULT_STACK = 256 * 1024


def depth_limits() -> list[str]:
    """Lines at the start of a driver that calls functions.

    At first the slot has the address of both limits, or 0.
    """
    return [
        "    here = stack_address()",
        f"    limits = slot_i64(frame, {LOW_SLOT})",
        f"    depth = cell(limits, 0) if limits != 0 else {_DEFAULT_DEPTH}",
        f"    low = cell(limits, 1) if limits != 0 else here - {_DEFAULT_STACK}",
        f"    set_slot_i64(frame, {LOW_SLOT}, low)",
    ]
