"""Generated source text: the names it may use, its entry points, and running it as plain Python."""

import ast
import linecache
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from . import bits, calls, cells, primitives, stack

__all__ = ["ENTRY_KINDS", "KernelReference", "entry_points", "namespace", "register_source", "run_source"]

# Decorators of functions with a C entry point.
ENTRY_KINDS = ("kernel", "driver")
_I64 = ir.IntType(64)


@dataclass(frozen=True)
class KernelReference:
    """A kernel as a driver sees it: the name of an external symbol, its number of parameters and whether it returns.

    A driver's functions return `results` more integers besides.
    """

    name: str
    arity: int
    returns: bool
    results: int = 0

    @property
    def function_type(self) -> ir.FunctionType:
        """The C signature: 64-bit integers in, one or nothing out (or several, between functions of one driver)."""
        returned = _I64 if self.returns else ir.VoidType()
        if self.results:
            returned = ir.LiteralStructType([_I64] * (1 + self.results))
        return ir.FunctionType(returned, [_I64] * self.arity)

    def declare(self, module: ir.Module) -> ir.Function:
        """The symbol in an LLVM module, declared on first use."""
        existing = module.globals.get(self.name)
        return existing if existing is not None else ir.Function(module, self.function_type, self.name)


def entry_points(source: str | ast.Module) -> tuple[KernelReference, ...]:
    """The functions of a source that are decorated `@kernel` or `@driver`, in order, without compiling anything."""
    found = []
    for node in (ast.parse(source) if isinstance(source, str) else source).body:
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(d, ast.Name) and d.id in ENTRY_KINDS for d in node.decorator_list
        ):
            found.append(KernelReference(node.name, len(node.args.args), _returns_value(node), _more_results(node)))
    return tuple(found)


def _returns_value(tree: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(tree))


def _more_results(tree: ast.FunctionDef) -> int:
    """How many values a function returns besides a status."""
    last = tree.body[-1]
    return len(last.value.elts) - 1 if isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple) else 0


def _public(module: Any) -> dict[str, Any]:
    names = getattr(module, "__all__", None) or [
        n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__ and n[0] != "_"
    ]
    return {name: getattr(module, name) for name in names}


def namespace() -> dict[str, Any]:
    """The names that generated source may use (see `module`), with decorators that do nothing."""

    from . import host

    def nothing(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    return {
        "__builtins__": __builtins__,
        "np": np,
        "math": math,
        **_public(primitives),
        **_public(bits),
        **_public(calls),
        **_public(cells),
        **_public(stack),
        "host_call": host.host_call,
        **dict.fromkeys(("kernel", "body", "driver"), nothing),
    }


def register_source(name: str, source: str) -> str:
    """Make the source known to tracebacks and debuggers; returns the file name that it goes by."""
    filename = f"<ingot {name}>"
    # An entry without a modification time is never checked against a file.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return filename


def run_source(name: str, source: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Execute generated source as plain Python, and return its namespace."""
    space = {**namespace(), "__name__": f"ingot_generated.{name}", **names}
    # Generated from a verified graph: names and constants from a file never reach it unescaped.
    exec(compile(source, register_source(name, source), "exec"), space)
    return space
