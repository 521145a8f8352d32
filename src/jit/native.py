"""From a specialisation to a native program, through the cache of whole programs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .codegen.compile import CompileRecord, compile_module
from .program import Layout, NativeProgram

if TYPE_CHECKING:
    from .specialisation import Specialisation

__all__ = ["NativeBuild", "native_program"]


@dataclass(frozen=True)
class NativeBuild:
    """A native program and what making it cost."""

    program: NativeProgram
    records: tuple[CompileRecord, ...]
    milliseconds: float
    cached: bool


def native_program(specialisation: "Specialisation") -> NativeBuild:
    """Generate, compile and load native code for a specialisation's graph.

    Raises Unsupported if the graph has something without a native form, and CompileError inside `no_compile()` unless
    the cache has the code.
    """
    module = specialisation.module()
    compiled = compile_module(module)
    program = NativeProgram(module.graph, Layout.of(module), compiled.object, specialisation.exceptions)
    return NativeBuild(program, compiled.records, compiled.milliseconds, compiled.cached)
