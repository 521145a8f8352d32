"""The compiler: `script` and `trace` make compiled callables of Python, `freeze`, `save` and `load` ship them.

Each name is imported when it is first used: loading a compiled model needs neither front end.
"""

import builtins
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import CompileError, FallbackWarning, JitError, LoadError, ScriptError, TraceError, TraceWarning

if TYPE_CHECKING:
    from ..eager.scripting import is_tracing, isinstance
    from ..ir.pipeline import memory_budget
    from .archive import load, save
    from .codegen.compile import no_compile
    from .executors import current_executor, executor
    from .fast_reductions import fast_reductions
    from .freeze import freeze, optimize_for_inference
    from .function import CompiledFunction
    from .script import Final, ScriptFunction, ScriptModule, annotate, export, ignore, is_scripting, script, unused
    from .script.forks import Future, fork, wait
    from .trace import TracedFunction, trace
    from .trace_module import TracedModule, trace_module
    from .tuning import tune
    from .winograd import winograd

__all__ = [
    "CompileError", "CompiledFunction", "FallbackWarning", "Final", "JitError", "LoadError", "ScriptError",
    "ScriptFunction", "ScriptModule", "TraceError", "TraceWarning", "TracedFunction", "TracedModule", "annotate",
    "current_executor", "Future", "executor", "export", "fast_reductions", "fork", "freeze", "ignore", "is_scripting",
    "is_tracing", "isinstance", "load", "memory_budget", "no_compile", "optimize_for_inference", "save", "script",
    "trace", "trace_module", "tune", "unused", "wait", "winograd",
]  # fmt: skip

_HOMES = {
    "CompiledFunction": "function", "TracedFunction": "trace", "executor": "executors", "freeze": "freeze",
    "load": "archive", "no_compile": "codegen.compile", "optimize_for_inference": "freeze", "save": "archive",
    "trace": "trace", "trace_module": "trace_module", "TracedModule": "trace_module",
    "current_executor": "executors", "Future": "script.forks", "fork": "script.forks", "wait": "script.forks",
    "memory_budget": ".ir.pipeline", "winograd": "winograd", "tune": "tuning", "fast_reductions": "fast_reductions",
    "is_tracing": ".eager.scripting", "isinstance": ".eager.scripting",
} | dict.fromkeys(
    ("Final", "ScriptFunction", "ScriptModule", "annotate", "export", "ignore", "is_scripting", "script", "unused"),
    "script",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `jit.script` and `jit.trace` the functions when the submodules of these names are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and builtins.isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
