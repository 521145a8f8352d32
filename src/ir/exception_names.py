"""Names of exception classes in graphs: a builtin's own name, or "module.Class(Base)" with the nearest builtin base."""

import builtins
import re
import sys
from collections.abc import Mapping

__all__ = ["builtin_names", "exception_name", "find_exception"]

_QUALIFIED = re.compile(r"(?P<path>[\w.<>]+)\((?P<base>\w+)\)")


def exception_name(kind: type[BaseException]) -> str:
    """The name of an exception class.

    >>> exception_name(ValueError)
    'ValueError'
    """
    if getattr(builtins, kind.__name__, None) is kind:
        return kind.__name__
    base = next(c for c in kind.__mro__ if getattr(builtins, c.__name__, None) is c)
    return f"{kind.__module__}.{kind.__qualname__}({base.__name__})"


def find_exception(name: str, registered: Mapping[str, type[BaseException]]) -> type[BaseException]:
    """The class of this name: a registered one, a builtin, one of a module that is loaded, or the builtin base of one
    that is not; else RuntimeError.

    >>> find_exception("some.module.Problem(ValueError)", {})
    <class 'ValueError'>
    """
    found = registered.get(name) or getattr(builtins, name, None)
    qualified = _QUALIFIED.fullmatch(name)
    if found is None and qualified is not None:
        found = _loaded(qualified["path"]) or getattr(builtins, qualified["base"], None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else RuntimeError


def _loaded(path: str) -> type[BaseException] | None:
    """A class of a module that has been imported already; nothing is imported for a name in a file."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found: object = sys.modules.get(".".join(parts[:cut]))
        if found is None:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return None


def builtin_names(name: str) -> list[str]:
    """The names of the builtin classes that an exception of this name is an instance of, nearest first."""
    qualified = _QUALIFIED.fullmatch(name)
    kind = getattr(builtins, qualified["base"] if qualified is not None else name, None)
    return [c.__name__ for c in kind.__mro__] if isinstance(kind, type) else ["Exception", "BaseException"]
