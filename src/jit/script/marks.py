"""Marks on functions and values that the script front end understands: ignore, unused, export, Final, annotate."""

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from ...eager.scripting import is_scripting

__all__ = ["Final", "Site", "annotate", "export", "ignore", "is_scripting", "noting", "unused"]

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")


def _mark(function: _F, treatment: str) -> _F:
    function.__ingot_script__ = treatment  # type: ignore[attr-defined]
    return function


Site = tuple[Any, str, int]
"""A call: the function, and the file and line that call it."""


class _Notes(threading.local):
    """Who wants to know, in this thread, what ignored functions return."""

    def __init__(self) -> None:
        self.takers: list[Callable[[Site, Any], None]] = []


_notes = _Notes()


@contextmanager
def noting(take: Callable[[Site, Any], None]) -> Iterator[None]:
    """Tell `take` what each call of an ignored function returns."""
    _notes.takers.append(take)
    try:
        yield
    finally:
        _notes.takers.remove(take)


def ignore(function: _F | None = None, *, drop: bool = False, drop_on_export: bool = False) -> Any:
    """Mark a function that stays Python: compiled programs call it back at run time, and cannot be saved.

    It sees copies of tensors, and must return what its annotation says (without one, a tensor). With `drop`, it is
    `unused` instead.

    >>> @ingot.jit.ignore
    ... def log(x) -> None:
    ...     print(x)
    """
    if function is None or isinstance(function, bool):
        return functools.partial(ignore, drop=drop or function is True, drop_on_export=drop_on_export)
    if drop or drop_on_export:
        return unused(function)
    wrapped: Callable[..., Any] = function

    @functools.wraps(wrapped)
    def ignored(*arguments: Any, **keywords: Any) -> Any:
        result = wrapped(*arguments, **keywords)
        if _notes.takers:
            caller = sys._getframe(1)
            for take in _notes.takers:
                take((ignored, caller.f_code.co_filename, caller.f_lineno), result)
        return result

    return _mark(ignored, "ignore")


def unused(function: _F) -> _F:
    """Mark a function that compiled programs never call: a call raises RuntimeError at run time."""
    return _mark(function, "unused")


def export(function: _F) -> _F:
    """Mark a method of a module that is compiled along with `forward`."""
    return _mark(function, "export")


def annotate(the_type: Any, the_value: _T) -> _T:
    """The value itself; the type is for readers."""
    return the_value
