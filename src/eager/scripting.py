"""What code asks about how it runs and what it is given, in plain Python and compiled: `is_scripting`, `isinstance`."""

import builtins
import types
import typing
from typing import Any

from .modes import current_mode

__all__ = ["is_scripting", "is_tracing", "isinstance"]


def is_scripting() -> bool:
    """Whether the code runs compiled: False in plain Python, True in what `jit.script` makes of it."""
    return False


def is_tracing() -> bool:
    """Whether the code is being recorded by `jit.trace`."""
    return current_mode() is not None


def isinstance(obj: Any, target_type: Any) -> bool:
    """Whether an object is of a type or one of several, the types of what a container holds included.

    >>> ingot.jit.isinstance([1, 2], list[int]), ingot.jit.isinstance([1, 2], list[float])
    (True, False)
    """
    if builtins.isinstance(target_type, tuple):
        return any(isinstance(obj, t) for t in target_type)
    origin, parts = typing.get_origin(target_type), typing.get_args(target_type)
    if origin in (typing.Union, types.UnionType):
        return any(isinstance(obj, t) for t in parts)
    if target_type is typing.Any:
        return True
    if origin is None:
        kind = type(None) if target_type is None else target_type
        # A bool is no int here, as in static types of numbers.
        return type(obj) is kind if kind in (int, float, complex) else builtins.isinstance(obj, kind)
    if not builtins.isinstance(obj, origin):
        return False
    if origin is dict:
        return all(isinstance(k, parts[0]) and isinstance(v, parts[1]) for k, v in obj.items())
    if origin is tuple and not (len(parts) == 2 and parts[1] is Ellipsis):
        return len(parts) == len(obj) and all(isinstance(v, t) for v, t in zip(obj, parts, strict=True))
    return all(isinstance(v, parts[0]) for v in obj)
