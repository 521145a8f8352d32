"""Raising the user's exceptions from compiled code, with the user's line in the traceback."""

import ast
import linecache
import os
from collections.abc import Mapping
from typing import Any, NoReturn

from ..ir.exception_names import find_exception
from ..ir.location import Location

# Sources of programs have fewer lines; a file that says otherwise gets none shown.
_MAX_LINES = 100_000

__all__ = ["arguments_of", "raise_at", "raise_error_at"]


def arguments_of(message: str, details: tuple[int, int]) -> tuple[Any, ...]:
    """The arguments of an exception, from the message of an error's site and the two detail slots.

    >>> arguments_of("given {0}, expected {1}", (2, 3)), arguments_of("{key:i}", (7, 0)), arguments_of("", (0, 0))
    (('given 2, expected 3',), (7,), ())
    """
    from .memory_form import read_arguments, read_float, read_text

    match message:
        case "":
            return ()
        case "{key:s}":
            return (read_text(*details),)
        case "{key:f}":
            return (read_float(details[0]),)
        case "{key:b}":
            return (details[0] != 0,)
        case "{key:i}":
            return (details[0],)
    if message.startswith("{args:"):
        return read_arguments(message[6:-1], details[0])
    if "{text" in message:
        text = read_text(*details)
        return (message.replace("{text!r}", repr(text)).replace("{text}", text),)
    for index, detail in enumerate(details):
        message = message.replace(f"{{{index}}}", str(detail))
    return (message,)


def raise_at(
    name: str,
    message: Any,
    location: Location | None,
    registered: Mapping[str, type[BaseException]] | None = None,
    arguments: tuple[Any, ...] | None = None,
) -> NoReturn:
    """Raise the exception `name` with a message, as if from the user's line: tracebacks show that line.

    The message of a KeyError is the key itself. An empty message is none. `arguments` are those of the exception,
    where they are not just the message.

    >>> raise_at("ValueError", "n must be positive", None)
    Traceback (most recent call last):
    ValueError: n must be positive
    """
    kind = find_exception(name, registered or {})
    if arguments is not None:
        error = kind(*arguments)
    else:
        error = kind() if message == "" else kind(message)
    raise_error_at(error, location)


def raise_error_at(error: BaseException, location: Location | None) -> NoReturn:
    """Raise an exception as if from the user's line."""
    if location is None:
        raise error
    _let_tracebacks_show(location)
    # A traceback shows the file, line and function of code objects: here, one `raise` that claims to stand there.
    statement = ast.Raise(exc=ast.Name("__error__", ast.Load()))
    for node in ast.walk(statement):
        if isinstance(node, (ast.stmt, ast.expr)):
            node.lineno = node.end_lineno = location.line
            node.col_offset = node.end_col_offset = 0
    code = compile(ast.Module([statement], []), location.file, "exec").replace(
        co_name=location.function or "<compiled>"
    )
    # The code is the one statement built above; of the location it has only names for the traceback.
    exec(code, {"__error__": error})
    raise AssertionError("unreachable: the code above raises")


def _let_tracebacks_show(location: Location) -> None:
    """Give the line of a program that was loaded to tracebacks, where there is no such file."""
    if not location.source or location.line > _MAX_LINES or os.path.exists(location.file):
        return
    known = linecache.cache.get(location.file)
    lines = list(known[2]) if known is not None and len(known) == 4 and known[1] is None else []
    lines += ["\n"] * (location.line - len(lines))
    if not lines[location.line - 1].strip():
        lines[location.line - 1] = f"{location.source}\n"
        linecache.cache[location.file] = (sum(map(len, lines)), None, lines, location.file)
