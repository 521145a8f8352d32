"""Ingot's public functions as one object; most are made at import, out of sight of type checkers."""

from typing import Any

from .. import namespace as _module

namespace: Any = _module


def named(function: Any, name: str, summary: str) -> Any:
    """A function that was made inside another one, with a name and a docstring of its own."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = summary
    return function
