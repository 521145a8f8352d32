"""The compiler: `script` and `trace` make compiled callables of Python, `freeze`, `save` and `load` ship them."""

from .archive import load, save
from .codegen.compile import no_compile
from .errors import CompileError, FallbackWarning, JitError, LoadError, ScriptError, TraceError, TraceWarning
from .executors import executor
from .freeze import freeze, optimize_for_inference
from .function import CompiledFunction
from .script import Final, ScriptFunction, ScriptModule, annotate, export, ignore, is_scripting, script, unused
from .trace import TracedFunction, trace

__all__ = [
    "CompileError", "CompiledFunction", "FallbackWarning", "Final", "JitError", "LoadError", "ScriptError",
    "ScriptFunction", "ScriptModule", "TraceError", "TraceWarning", "TracedFunction", "annotate", "executor", "export",
    "freeze", "ignore", "is_scripting", "load", "no_compile", "optimize_for_inference", "save", "script", "trace",
    "unused",
]  # fmt: skip
