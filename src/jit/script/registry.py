"""Which objects outside a program the compiler knows how to call: Python's builtins and Ingot's own functions."""

from collections.abc import Callable
from typing import Any

from .context import Context
from .library import library_key
from .values import Abstract

__all__ = ["Handler", "expect", "find_handler", "handles"]

Handler = Callable[[Context, list[Abstract], dict[str, Abstract]], Abstract]


BUILTINS: dict[Any, tuple[Any, Handler]] = {}


def handles(*targets: Any) -> Callable[[Handler], Handler]:
    """Register how calls of these objects are compiled."""

    def register(handler: Handler) -> Handler:
        for target in targets:
            BUILTINS[library_key(target)] = (target, handler)
        return handler

    return register


def find_handler(target: Any) -> Handler | None:
    """How a call of this object is compiled; None where it has no handler."""
    from . import arithmetic, builtins, characters, complex_numbers, further_builtins  # they fill the table

    assert arithmetic and builtins and characters and complex_numbers and further_builtins
    found = BUILTINS.get(library_key(target))
    if found is not None:
        return found[1]
    from .functions import find_function

    return find_function(target)


def expect(context: Context, name: str, arguments: list[Abstract], low: int, high: int | None = None) -> None:
    """Refuse a wrong number of arguments."""
    high = low if high is None else high
    if not low <= len(arguments) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise context.type_error(f"{name}() expected {wanted} arguments, got {len(arguments)}")
