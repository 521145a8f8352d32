"""Marks on functions and values that the script front end understands: ignore, unused, export, Final, annotate."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ...eager.scripting import is_scripting

__all__ = ["Final", "annotate", "export", "ignore", "is_scripting", "unused"]

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")


def _mark(function: _F, treatment: str) -> _F:
    function.__ingot_script__ = treatment  # type: ignore[attr-defined]
    return function


def ignore(function: _F | None = None, **_: Any) -> Any:
    """Mark a function that must not be compiled: calling it in a compiled program is a ScriptError.

    >>> @ingot.jit.ignore
    ... def log(x):
    ...     print(x)
    """
    if function is None or isinstance(function, bool):
        return ignore
    return _mark(function, "ignore")


def unused(function: _F) -> _F:
    """Mark a function that compiled programs never call: a call raises RuntimeError at run time."""
    return _mark(function, "unused")


def export(function: _F) -> _F:
    """Mark a method of a module that is compiled along with `forward`."""
    return _mark(function, "export")


def annotate(the_type: Any, the_value: _T) -> _T:
    """The value itself; the type is for readers."""
    return the_value
