"""Errors and warnings of the compiler and of what it compiled."""

from collections.abc import Callable
from typing import Any

from ..ir.location import LocatedError, Location

__all__ = [
    "CompileError", "CompileForbidden", "FallbackWarning", "JitError", "LoadError", "NeedsRun", "ScriptError",
    "TraceError", "TraceWarning", "Unsupported",
]  # fmt: skip


class JitError(Exception):
    """Base of the errors of `ingot.jit`."""


class ScriptError(LocatedError, JitError):
    """A program that `jit.script` does not accept; the message shows the place and what to write instead."""


class TraceError(LocatedError, JitError):
    """A callable that `jit.trace` cannot record faithfully."""


class CompileError(LocatedError, JitError):
    """Compilation failed, or was needed where `jit.no_compile()` forbids it."""


class CompileForbidden(CompileError):
    """Something would have to be compiled inside `jit.no_compile()`."""


class NeedsRun(LocatedError, JitError):
    """A program cannot be compiled before it has run once as plain Python; `run(arguments, keywords)` runs it."""

    run: Callable[[tuple[Any, ...], dict[str, Any]], Any] | None = None


class LoadError(JitError):
    """A file that is not an ingot, is damaged, or is not one that this version or this machine can use."""


class Unsupported(LocatedError, JitError):
    """What native code generation has no form for; the callable then runs in the interpreter, with a warning."""

    def __init__(self, reason: str, location: Location | None = None, instruction: Any = None) -> None:
        super().__init__(reason, location)
        self.reason = reason
        self.instruction = instruction  # the one that has no form, where that is known


class TraceWarning(UserWarning):
    """A trace recorded something that is only right for its example inputs."""


class FallbackWarning(UserWarning):
    """A compiled callable runs in the interpreter, slowly, because something in it has no native form."""
