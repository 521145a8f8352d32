"""The source of functions: found once, parsed once per file, and mapped back to places that errors can show."""

import ast
import inspect
import linecache
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from ...ir.location import Location
from ..errors import ScriptError

__all__ = ["FunctionNode", "FunctionSource", "function_source", "parse_file"]

FunctionNode = ast.FunctionDef | ast.Lambda


@dataclass(frozen=True, eq=False)
class FunctionSource:
    """A function's syntax tree with its file, so that every node has a `Location`."""

    node: FunctionNode
    file: str
    lines: tuple[str, ...]
    name: str
    checked: bool = False

    def location(self, node: ast.AST) -> Location:
        """The place of a node of this function's tree."""
        line = getattr(node, "lineno", self.node.lineno)
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else None
        column = _characters(text, getattr(node, "col_offset", 0))
        end: int | None = None
        if getattr(node, "end_lineno", None) == line:
            end = _characters(text, getattr(node, "end_col_offset", 0))
        return Location(self.file, line, column, end, self.name, text)

    def nested(self, node: FunctionNode) -> "FunctionSource":
        """The source of a function defined inside this one."""
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        return FunctionSource(node, self.file, self.lines, name)


def _characters(text: str | None, offset: int) -> int:
    """A column in characters from the parser's, which counts UTF-8 bytes."""
    if text is None or text.isascii():
        return offset
    return len(text.encode()[:offset].decode(errors="ignore"))


@lru_cache(maxsize=256)
def _parse_text(text: str, file: str) -> ast.Module:
    return ast.parse(text, filename=file)


def parse_file(file: str, module_globals: dict[str, Any] | None = None) -> tuple[ast.Module, tuple[str, ...]] | None:
    """The tree and lines of a file (or of text that `linecache` knows by that name); None where there is none."""
    linecache.checkcache(file)
    lines = linecache.getlines(file, module_globals)
    if not lines:
        return None
    try:
        tree = _parse_text("".join(lines), file)
    except SyntaxError:
        return None
    return tree, tuple(line.rstrip("\r\n") for line in lines)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node


def _body_span(code: CodeType) -> tuple[int, int] | None:
    """The first place of a code object's own instructions: it tells lambdas on one line apart."""
    places = [
        (line, column)
        for line, _, column, end_column in code.co_positions()
        if line is not None and column is not None and line >= code.co_firstlineno and (column or end_column)
    ]
    return min(places) if places else None


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> tuple[str, ...]:
    a = node.args
    names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    names += [p.arg for p in (a.vararg, a.kwarg) if p is not None]
    return tuple(names)


def _matches(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, code: CodeType) -> bool:
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    if _parameters(node) != code.co_varnames[:count]:
        return False
    if isinstance(node, ast.Lambda):
        if code.co_name != "<lambda>" or not node.lineno <= code.co_firstlineno <= (node.end_lineno or node.lineno):
            return False
        start = _body_span(code)
        body = node.body
        return start is None or (body.lineno, body.col_offset) <= start <= (
            body.end_lineno or body.lineno,
            body.end_col_offset or body.col_offset,
        )
    first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
    return node.name == code.co_name and first == code.co_firstlineno


# Equal code may come from two files.
_sources: dict[tuple[CodeType, str], FunctionSource] = {}


def function_source(function: Callable[..., Any]) -> FunctionSource:
    """The source of a Python function; ScriptError where it has none that can be read."""
    if inspect.ismethod(function):
        function = function.__func__
    if not isinstance(function, FunctionType):
        raise ScriptError(
            f"{_describe(function)} is not a Python function, so it has no source to compile",
            hint="script a function, a method, a lambda, a class or a Module",
        )
    code = function.__code__
    found = _sources.get((code, code.co_filename))
    if found is not None:
        return found
    parsed = parse_file(code.co_filename, function.__globals__)
    candidates = [n for n in _functions(parsed[0]) if _matches(n, code)] if parsed is not None else []
    # Since Python 3.13 "<string>" may hold the text of `python -c`, which is another program than this one.
    is_pseudo_file = code.co_filename.startswith("<")
    if parsed is None or (not candidates and is_pseudo_file):
        raise ScriptError(
            f"the source of {function.__qualname__} cannot be read from {code.co_filename!r}",
            hint="define it in a file or a notebook cell: code typed into a plain Python prompt, or run by exec(), "
            "keeps no source",
        )
    _, lines = parsed
    # Two lambdas can share parameters and place only by being nested: the innermost is the smaller.
    if not candidates:
        raise ScriptError(
            f"the source of {function.__qualname__} is not in {code.co_filename!r} at line {code.co_firstlineno}: "
            "the file has changed since it was imported",
            hint="restart Python, or reload the module",
        )
    node = candidates[-1]
    if isinstance(node, ast.AsyncFunctionDef):
        place = Location(code.co_filename, node.lineno, node.col_offset, None, node.name, lines[node.lineno - 1])
        raise ScriptError("async functions cannot be compiled", place, hint="write a plain `def`")
    from .matching import desugar

    desugar(node)
    source = FunctionSource(node, code.co_filename, lines, function.__qualname__.rpartition(".<locals>.")[2])
    _sources[code, code.co_filename] = source
    return source


def _describe(value: object) -> str:
    return getattr(value, "__qualname__", None) or f"an object of type {type(value).__name__}"
