"""Numba's contexts for generated code: what it uses of types and lowerings, kernels as types, and text for LLVM.

`_Library` keeps Numba from optimising and from emitting machine code, so that every function is optimised once, by
`emission`, after everything is inlined.
"""

import types as python_types
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, codegen, compiler, cpu, errors, fastmathpass, typing
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_constant
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys
from numba.core.typing import mathdecl, npydecl, templates
from numba.cpython import builtins, iterators, mathimpl, numbers, rangeobj, tupleobj
from numba.extending import lower_builtin, type_callable, typeof_impl

from . import calls
from .numba_lowering import Passes, operator_signature, ranges, returns_only_zero, user_function
from .source import KernelReference

__all__ = ["Compiler", "Context", "Extremum", "KernelType", "TypingContext", "call_extremum"]

_I64 = ir.IntType(64)
# Importing these registers the lowerings that generated code uses.
_LOWERINGS = (builtins, iterators, numbers, rangeobj, tupleobj)


class _Library(codegen.AOTCodeLibrary):  # type: ignore[misc]
    """Collects the text of LLVM modules, which `emit` reads, links and optimises, in other threads."""

    def add_ir_module(self, module: Any) -> None:
        self.__dict__.setdefault("texts", []).append(cgutils.normalize_ir_text(str(module)))

    def finalize(self) -> None:
        self._finalized = True

    def modules(self) -> tuple[str, ...]:
        """The texts of this library and of all that it links, each once."""
        found: dict[int, tuple[str, ...]] = {}
        libraries = [self]
        for library in libraries:
            if id(library) not in found and isinstance(library, _Library):
                found[id(library)] = tuple(library.__dict__.get("texts", ()))
                libraries.extend(library._linking_libraries)
            elif id(library) not in found:
                found[id(library)] = (str(library._get_module_for_linking()),)
        return tuple(text for texts in found.values() for text in texts)

    def add_linking_library(self, library: Any) -> None:
        # Generated code never calls Numba's runtime (reference counting), which libraries of built-in functions link.
        if library is not getattr(rtsys, "_library", None):
            super().add_linking_library(library)


class _Codegen(codegen.AOTCPUCodegen):  # type: ignore[misc]
    _library_class = _Library


class Compiler(compiler.CompilerBase):  # type: ignore[misc]
    """Numba's nopython pipeline without what generated code has no use for: closures, parfors, literal unrolling."""

    def define_pipelines(self) -> list[Passes]:
        return [Passes()]


class TypingContext(typing.Context):  # type: ignore[misc]
    """A typing context with what generated code uses, which remembers what operators and primitives give for numbers.

    Resolving one operator tries dozens of templates; a kernel has hundreds of operators, of few kinds. Attributes
    that are defined by overloads (of arrays, strings, containers) are left out: installing them takes 0.25 s.
    """

    def __init__(self) -> None:
        self.resolved: dict[tuple[int, tuple[Any, ...]], tuple[Any, Any]] = {}
        super().__init__()

    def load_additional_registries(self) -> None:
        self.install_registry(mathdecl.registry)
        self.install_registry(npydecl.registry)

    def install_registry(self, registry: Any) -> None:
        loader = self._registries.setdefault(registry, templates.RegistryLoader(registry))
        for template in loader.new_registrations("functions"):
            if (getattr(template, "metadata", None) or {}).get("target") in (None, "generic", "cpu"):
                self.insert_function(template(self))
        for template in loader.new_registrations("attributes"):
            if not issubclass(template, templates._OverloadAttributeTemplate):
                self.insert_attributes(template(self))
        for value, kind in loader.new_registrations("globals"):
            known = self._lookup_global(value)
            if known is not None:
                kind = known.augment(kind)
                self._remove_global(value)
            self._insert_global(value, kind)

    def resolve_function_type(self, function: Any, arguments: Any, keywords: Any) -> Any:
        if keywords or not all(isinstance(a, (types.Number, types.Boolean)) for a in arguments):
            return super().resolve_function_type(function, arguments, keywords)
        if isinstance(function, python_types.BuiltinFunctionType):
            # What an operator gives does not depend on the value of a literal.
            arguments = tuple(types.unliteral(a) for a in arguments)
        elif not isinstance(function, types.Function):
            return super().resolve_function_type(function, arguments, keywords)
        # By identity: a function type remembers itself which implementation belongs to which signature.
        key = (id(function), tuple(arguments))
        known = self.resolved.get(key)
        if known is None:
            result = operator_signature(function, tuple(arguments))
            if result is None:
                result = super().resolve_function_type(function, arguments, keywords)
            if result is None:
                return None
            known = self.resolved[key] = (function, result)
        return known[1]


class KernelType(types.Callable, types.Opaque):  # type: ignore[misc]
    """The type of a reference to a kernel; calling it calls the external symbol."""

    def __init__(self, kernel: KernelReference) -> None:
        self.kernel = kernel
        super().__init__(f"ingot kernel {kernel.name}/{kernel.arity}/{kernel.returns}/{kernel.results}")

    def get_call_type(self, context: Any, arguments: Any, keywords: Any) -> Any:
        if keywords or len(arguments) != self.kernel.arity:
            raise errors.TypingError(
                f"{self.kernel.name} takes {self.kernel.arity} positional arguments, given {len(arguments)}"
            )
        result = types.int64 if self.kernel.returns else types.void
        if self.kernel.results:
            result = types.UniTuple(types.int64, 1 + self.kernel.results)
        return typing.signature(result, *[types.int64] * self.kernel.arity)

    def get_call_signatures(self) -> Any:
        return [], False

    def get_impl_key(self, signature: Any) -> Any:
        return type(self)


@dataclass(frozen=True)
class Extremum:
    """Python's `min` or `max` of numbers: Numba's own forms take 0.1 s to compile, these are two instructions."""

    name: str


class ExtremumType(types.Callable, types.Opaque):  # type: ignore[misc]
    def __init__(self, extremum: Extremum) -> None:
        self.extremum = extremum
        super().__init__(f"ingot {extremum.name}")

    def get_call_type(self, context: Any, arguments: Any, keywords: Any) -> Any:
        if keywords or len(arguments) < 2:
            raise errors.TypingError(f"{self.extremum.name} takes two or more numbers in generated code")
        result = context.unify_types(*(types.unliteral(a) for a in arguments))
        if not isinstance(result, (types.Integer, types.Float)):
            raise errors.TypingError(f"{self.extremum.name} of {arguments}: expected integers or floats")
        return typing.signature(result, *[result] * len(arguments))

    def get_call_signatures(self) -> Any:
        return [], False

    def get_impl_key(self, signature: Any) -> Any:
        return type(self)


for _opaque in (KernelType, ExtremumType):
    register_default(_opaque)(models.OpaqueModel)


@typeof_impl.register(KernelReference)  # type: ignore[untyped-decorator]
def _typeof_kernel(value: KernelReference, context: Any) -> Any:
    return KernelType(value)


@typeof_impl.register(Extremum)  # type: ignore[untyped-decorator]
def _typeof_extremum(value: Extremum, context: Any) -> Any:
    return ExtremumType(value)


@lower_constant(ExtremumType)  # type: ignore[untyped-decorator]
@lower_constant(KernelType)  # type: ignore[untyped-decorator]
def _lower_opaque(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


def _call_kernel(kernel: KernelReference, builder: Any, arguments: list[Any]) -> Any:
    result = builder.call(kernel.declare(builder.module), arguments)
    if kernel.results:
        result = cgutils.pack_array(builder, [builder.extract_value(result, i) for i in range(1 + kernel.results)])
    return result


def call_extremum(extremum: Extremum, is_float: bool, builder: Any, arguments: list[Any]) -> Any:
    best = arguments[0]
    compare = builder.fcmp_ordered if is_float else builder.icmp_signed
    for value in arguments[1:]:
        # As in Python, a later argument wins only where it compares better, which decides what NaN does.
        best = builder.select(compare("<" if extremum.name == "min" else ">", value, best), value, best)
    return best


class Context(cpu.CPUContext):  # type: ignore[misc]
    """Numba's CPU context with our code library, and with lowerings of what generated code uses."""

    convention: Any = None  # another one than Numba's own

    def init(self) -> None:
        super().init()
        self.quiet: set[str] = set()  # names of functions that raise nothing
        self._internal_codegen = _Codegen("ingot")
        self.aot_mode = True

    @property
    def call_conv(self) -> Any:
        return self.convention or super().call_conv

    def load_additional_registries(self) -> None:
        self.install_registry(mathimpl.registry)

    def refresh(self) -> None:
        super().refresh()
        # After Numba's own, which it replaces.
        self.install_registry(ranges)

    def post_lowering(self, module: Any, library: Any) -> None:
        if self.fastmath:
            fastmathpass.rewrite_module(module, self.fastmath)
        self.quiet.update(f.name for f in module.functions if f.blocks and returns_only_zero(f))

    def insert_user_function(self, function: Any, descriptor: Any, libraries: Any = ()) -> None:
        if descriptor.llvm_func_name not in self.quiet:
            super().insert_user_function(function, descriptor, libraries)
            return
        implementation = user_function(descriptor, *libraries)
        self._defns[function].append(implementation, implementation.signature)

    def get_function(self, function: Any, signature: Any, _firstcall: bool = True) -> Any:
        if isinstance(function, types.Callable) and hasattr(function, "implementation"):
            return function.implementation(self)
        if not isinstance(function, (KernelType, ExtremumType)):
            try:
                return super().get_function(function, signature, _firstcall)
            except NotImplementedError:
                # What Numba itself compiles of Python source (`round`, say) is known to its own context only. Asking
                # for that context costs 0.3 s in a process, so it is not there from the start.
                key = function.get_impl_key(signature) if isinstance(function, types.Callable) else function
                known = cpu_target.target_context._defns
                if key not in known:
                    raise
                self._defns[key] = known[key]
                return super().get_function(function, signature, _firstcall=False)

        def implementation(builder: Any, arguments: Any, loc: Any = None) -> Any:
            # Numba has cast the arguments to the signature's types.
            if isinstance(function, KernelType):
                result = _call_kernel(function.kernel, builder, arguments)
                return result if function.kernel.returns else self.get_dummy_value()
            is_float = isinstance(signature.return_type, types.Float)
            return call_extremum(function.extremum, is_float, builder, arguments)

        return implementation


def _type_launch() -> None:
    """Let compiled code call `calls.launch`, whose first argument is a kernel."""

    @type_callable(calls.launch)  # type: ignore[untyped-decorator]
    def typing_launch(context: Any) -> Any:
        def typer(kernel: Any, p: Any, n: Any, grain: Any, pool: Any) -> Any:
            if not isinstance(kernel, KernelType) or kernel.kernel.arity != 3 or kernel.kernel.returns:
                raise errors.TypingError("launch: the first argument must be a range kernel (p, lo, hi)")
            return typing.signature(types.void, kernel, *[types.int64] * 4)

        return typer

    @lower_builtin(calls.launch, KernelType, *[types.Integer] * 4)  # type: ignore[untyped-decorator]
    def lower_launch(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        reference = signature.args[0].kernel
        p, n, grain, pool = (
            context.cast(builder, value, given, types.int64)
            for value, given in zip(arguments[1:], signature.args[1:], strict=True)
        )
        kernel = reference.declare(builder.module)
        parallel_for = calls.declare(builder.module, "ingot_parallel_for", ir.VoidType(), [_I64] * 5)
        # One range: a direct call saves the trip through the pool.
        several = builder.icmp_signed(">=", builder.sdiv(n, _at_least_one(builder, grain)), _I64(2))
        with builder.if_else(several) as (parallel, serial):
            with parallel:
                builder.call(parallel_for, [pool, builder.ptrtoint(kernel, _I64), p, n, grain])
            with serial, builder.if_then(builder.icmp_signed(">", n, _I64(0))):
                builder.call(kernel, [p, _I64(0), n])
        return context.get_dummy_value()


def _at_least_one(builder: Any, value: Any) -> Any:
    return builder.select(builder.icmp_signed(">", value, _I64(1)), value, _I64(1))


_type_launch()
