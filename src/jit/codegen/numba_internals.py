"""The only module that touches private parts of Numba: generated source in, LLVM IR with C entry points out.

Numba types a function and lowers it to LLVM IR; here that is all it does. `_Library` keeps Numba from optimising and
from emitting machine code, so that every function is optimised once, by `compile`, after everything is inlined.
Functions become C functions of 64-bit integers; there is no reference counting (NRT) and no Python object in them.
"""

import ast
import functools
import gc
import hashlib
import threading
import types as python_types
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import callconv, cgutils, codegen, compiler, cpu, errors, fastmathpass, typing
from numba.core.compiler_lock import global_compiler_lock
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_constant
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys
from numba.core.typing import mathdecl, npydecl, templates
from numba.cpython import builtins, iterators, mathimpl, numbers, rangeobj, tupleobj
from numba.extending import typeof_impl

from ..errors import CompileError
from . import calls
from .module import STATUS_INTERNAL
from .numba_direct import Indirect, QuietConvention, Unit
from .numba_lowering import Passes, operator_signature, ranges, returns_only_zero, user_function
from .source import ENTRY_KINDS, KernelReference, entry_points, namespace, register_source, run_source

__all__ = [
    "TESTED_NUMBA", "CompiledSource", "KernelReference", "compile_source", "entry_points", "namespace", "run_source",
]  # fmt: skip

# Private interfaces move between minor versions; tests/jit/test_compile.py says which ones are relied on.
TESTED_NUMBA = ("0.68",)

_I64 = ir.IntType(64)
# Importing these registers the lowerings that generated code uses.
_LOWERINGS = (builtins, iterators, numbers, rangeobj, tupleobj)


def check_version(version: str = numba.__version__) -> None:
    """Raise CompileError if Numba is a version that this module was not tested with."""
    if ".".join(version.split(".")[:2]) not in TESTED_NUMBA:
        raise CompileError(
            f"compiling needs Numba {' or '.join(TESTED_NUMBA)}, but {version} is installed, whose private interfaces "
            f"may differ. Install numba=={TESTED_NUMBA[-1]}.* (jit.executor('interpreter') needs no Numba)"
        )


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


class _Compiler(compiler.CompilerBase):  # type: ignore[misc]
    """Numba's nopython pipeline without what generated code has no use for: closures, parfors, literal unrolling."""

    def define_pipelines(self) -> list[Passes]:
        return [Passes()]


class _TypingContext(typing.Context):  # type: ignore[misc]
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


@dataclass(eq=False)
class _Function:
    """A Python function that compiled code can call; it is compiled into its callers, once for each argument types."""

    python: Callable[..., Any]
    kind: str
    fastmath: frozenset[str] = frozenset()
    compiled: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def __call__(self, *arguments: Any) -> Any:
        return self.python(*arguments)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Equal for functions with the same code and the same globals: kernels share what they are compiled to."""
        code = self.python.__code__
        uses = [f"{name}={_fingerprint(self.python.__globals__[name])}" for name in code.co_names
                if name in self.python.__globals__]  # fmt: skip
        parts = (code.co_code, code.co_consts, code.co_names, code.co_varnames, self.kind, sorted(self.fastmath), uses)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def _fingerprint(value: Any) -> str:
    if isinstance(value, _Function):
        return value.fingerprint
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


class _FunctionType(types.Callable, types.Opaque):  # type: ignore[misc]
    """The type of one `_Function`: calling it compiles it for the given argument types."""

    def __init__(self, function: _Function) -> None:
        self.function = function
        super().__init__(f"ingot function {function.python.__name__} at {id(function):#x}")

    def get_call_type(self, context: Any, arguments: Any, keywords: Any) -> Any:
        if keywords:
            raise errors.TypingError("generated code passes arguments by position")
        return _compile_callee(self.function, tuple(types.unliteral(a) for a in arguments)).signature

    def get_call_signatures(self) -> Any:
        return [r.signature for r in self.function.compiled.values()], False

    def get_impl_key(self, signature: Any) -> Any:
        return self.function.python


class _KernelType(types.Callable, types.Opaque):  # type: ignore[misc]
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
class _Extremum:
    """Python's `min` or `max` of numbers: Numba's own forms take 0.1 s to compile, these are two instructions."""

    name: str


class _ExtremumType(types.Callable, types.Opaque):  # type: ignore[misc]
    def __init__(self, extremum: _Extremum) -> None:
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


for _opaque in (_FunctionType, _KernelType, _ExtremumType):
    register_default(_opaque)(models.OpaqueModel)


@typeof_impl.register(_Function)  # type: ignore[untyped-decorator]
def _typeof_function(value: _Function, context: Any) -> Any:
    return _FunctionType(value)


@typeof_impl.register(KernelReference)  # type: ignore[untyped-decorator]
def _typeof_kernel(value: KernelReference, context: Any) -> Any:
    return _KernelType(value)


@typeof_impl.register(_Extremum)  # type: ignore[untyped-decorator]
def _typeof_extremum(value: _Extremum, context: Any) -> Any:
    return _ExtremumType(value)


@lower_constant(_ExtremumType)  # type: ignore[untyped-decorator]
@lower_constant(_FunctionType)  # type: ignore[untyped-decorator]
@lower_constant(_KernelType)  # type: ignore[untyped-decorator]
def _lower_opaque(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


def _call_kernel(kernel: KernelReference, builder: Any, arguments: list[Any]) -> Any:
    result = builder.call(kernel.declare(builder.module), arguments)
    if kernel.results:
        result = cgutils.pack_array(builder, [builder.extract_value(result, i) for i in range(1 + kernel.results)])
    return result


def _call_extremum(extremum: _Extremum, is_float: bool, builder: Any, arguments: list[Any]) -> Any:
    best = arguments[0]
    compare = builder.fcmp_ordered if is_float else builder.icmp_signed
    for value in arguments[1:]:
        # As in Python, a later argument wins only where it compares better, which decides what NaN does.
        best = builder.select(compare("<" if extremum.name == "min" else ">", value, best), value, best)
    return best


class _Context(cpu.CPUContext):  # type: ignore[misc]
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
        if not isinstance(function, (_KernelType, _ExtremumType)):
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
            if isinstance(function, _KernelType):
                result = _call_kernel(function.kernel, builder, arguments)
                return result if function.kernel.returns else self.get_dummy_value()
            is_float = isinstance(signature.return_type, types.Float)
            return _call_extremum(function.extremum, is_float, builder, arguments)

        return implementation


_state = threading.local()


_context: Any = None
_typing_context: Any = None
_writing: Any = None


def _prepare_contexts() -> None:
    global _context, _typing_context
    if _context is None:
        check_version()
        _typing_context = _TypingContext()
        _context = _Context(_typing_context, "cpu")
    # Primitives that were defined since the last compilation become known.
    _context.refresh()


def _flags(kind: str, fastmath: Iterable[str]) -> Any:
    flags = compiler.Flags()
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.no_compile = True
    flags.enable_pyobject = False
    flags.nrt = False
    flags.release_gil = True
    flags.error_model = "numpy"
    flags.fastmath = cpu.FastMathOptions(set(fastmath) or False)
    if kind not in ENTRY_KINDS:
        flags.forceinline = True
    flags.noalias = kind == "body"
    return flags


def _compile_python(
    function: Callable[..., Any], arguments: tuple[Any, ...], kind: str, fastmath: Iterable[str]
) -> Any:
    return compiler.compile_extra(
        _typing_context,
        _context,
        function,
        arguments,
        None,
        _flags(kind, fastmath),
        {},
        pipeline_class=_Compiler,
    )


# Compiled functions of earlier sources, by fingerprint: vector mathematics recurs in every other kernel.
_shared: dict[tuple[str, tuple[Any, ...]], Any] = {}
_MAX_SHARED = 1000


def _compile_callee(function: _Function, arguments: tuple[Any, ...]) -> Any:
    result = function.compiled.get(arguments)
    if result is None:
        key = (function.fingerprint, arguments)
        result = _shared.get(key)
        if result is None:
            result = _compile_python(function.python, arguments, function.kind, function.fastmath)
            if len(_shared) >= _MAX_SHARED:
                _shared.clear()
            _shared[key] = result
        _context.insert_user_function(function.python, result.fndesc, [result.library])
        function.compiled[arguments] = result
        _state.inserted.append(function.python)
    return result


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection: a compiler makes many objects that live, and looking at them takes a fifth of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class CompiledSource:
    """The text of LLVM modules to be linked, not optimised, and the entry points that they define."""

    modules: tuple[str, ...]
    entries: tuple[KernelReference, ...]


def compile_source(
    name: str,
    source: str,
    *,
    fastmath: Iterable[str] = (),
    kernels: Iterable[KernelReference] = (),
    entry: str | None = None,
    twice: bool = False,
) -> CompiledSource:
    """Compile generated source to LLVM IR with C entry points, which are its `@kernel` functions and `entry`.

    `twice`: LLVM is to simplify entry points twice, for forms with constant sizes (see `Unit.entry`).
    Raises CompileError, with Numba's message, if the source does not type or needs what native code cannot have.
    """
    fastmath = frozenset(fastmath)
    decorated: dict[str, str] = {}

    def mark(kind: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
            decorated[function.__name__] = kind
            return function

        return decorator

    space = {**namespace(), "__name__": f"ingot_generated.{name}"}
    space.update({kind: mark(kind) for kind in ("kernel", "body", "driver")})
    space.update(min=_Extremum("min"), max=_Extremum("max"))
    filename = register_source(name, source)
    # Generated from a verified graph: names and constants from a file never reach it unescaped.
    tree = ast.parse(source, filename)
    exec(compile(tree, filename, "exec"), space)
    if entry is not None:
        if not isinstance(space.get(entry), python_types.FunctionType):
            raise CompileError(f"{name}: the source does not define {entry}")
        decorated[entry] = "driver"
    space.update({kernel.name: kernel for kernel in kernels if kernel.name not in decorated})
    own = {
        key: value
        for key, value in space.items()
        if isinstance(value, python_types.FunctionType) and value.__code__.co_filename == filename
    }
    functions = {key: _Function(value, decorated.get(key, "function"), fastmath) for key, value in own.items()}
    entries = {key: function for key, function in functions.items() if function.kind in ENTRY_KINDS}
    if not entries:
        raise CompileError(f"{name}: the source has no function decorated with @kernel")
    # Compiled functions find each other as globals of the source's namespace.
    space.update({key: function for key, function in functions.items() if key not in entries})
    references = {r.name: r for r in entry_points(tree)}
    # Entry points call each other, and themselves, by symbol.
    space.update({key: references[key] for key in entries if key in references})
    with global_compiler_lock, warnings.catch_warnings(), _no_collection():
        # Numba warns of what does not matter here (an unused cache, an experimental feature).
        warnings.simplefilter("ignore")
        _prepare_contexts()
        _state.inserted = []
        try:
            for key, function in entries.items():
                if key not in references:
                    references[key] = KernelReference(key, function.python.__code__.co_argcount, True)
            try:
                modules = _compile_directly(name, tree, space, [references[key] for key in entries], fastmath, twice)
            except Indirect:
                library = _context.codegen().create_library(f"ingot.{name}")
                for key, function in entries.items():
                    _add_entry(library, references[key], function)
                modules = library.modules()
        except errors.NumbaError as error:
            raise CompileError(f"{name}: Numba cannot compile the generated source\n{error}") from error
        except (NotImplementedError, AssertionError, KeyError, TypeError, ValueError) as error:
            raise CompileError(f"{name}: Numba failed on the generated source: {error!r}") from error
        finally:
            for python in _state.inserted:
                _context._defns.pop(python, None)
    # A driver's functions are nobody else's business: what is not an entry may be inlined and get other conventions.
    return CompiledSource(modules, tuple(references[key] for key in (entries if entry is None else (entry,))))


def _compile_directly(
    name: str,
    tree: ast.Module,
    space: dict[str, Any],
    entries: Iterable[KernelReference],
    fastmath: frozenset[str],
    twice: bool,
) -> tuple[str, ...]:
    """The text of LLVM modules with these entry points, by one walk over the source; Indirect where that is not all."""
    context = _direct_context()
    library = context.codegen().create_library(f"ingot.{name}")
    with context.push_code_library(library):
        unit = Unit(
            f"ingot.{name}",
            context,
            tree,
            space,
            lambda value: isinstance(value, _Function),
            (_Extremum, _call_extremum),
            sorted(fastmath),
        )
        for reference in entries:
            unit.entry(reference, twice=twice)
    library.add_ir_module(unit.module)
    return library.modules()


def _direct_context() -> Any:
    """The context in which functions are written directly: division by zero is NumPy's."""
    global _writing
    if _writing is None:
        _writing = _context.subtarget(convention=QuietConvention(_context))
        _writing.error_model = callconv.create_error_model("numpy", _writing)
    return _writing


def _add_entry(library: Any, reference: KernelReference, function: _Function) -> None:
    """Compile one entry point into the library, with its C wrapper."""
    result = _compile_python(function.python, (types.int64,) * reference.arity, function.kind, function.fastmath)
    returned = result.signature.return_type
    found = tuple(returned) if isinstance(returned, types.BaseTuple) else () if returned == types.none else (returned,)
    expected = 1 + reference.results if reference.returns else 0
    if len(found) != expected or not all(isinstance(t, (types.Integer, types.Boolean)) for t in found):
        wanted = "nothing" if not expected else "an int" if expected == 1 else f"{expected} ints"
        raise CompileError(f"{reference.name}: returns {returned}, expected {wanted}")
    library.add_linking_library(result.library)
    module = _context.create_module(f"entry.{reference.name}")
    native = _context.declare_function(module, result.fndesc)
    native.attributes.add("alwaysinline")
    wrapper = ir.Function(module, reference.function_type, reference.name)
    builder = ir.IRBuilder(wrapper.append_basic_block("entry"))
    status, value = _context.call_conv.call_function(
        builder, native, result.fndesc.restype, result.fndesc.argtypes, list(wrapper.args)
    )
    if reference.results:
        parts = cgutils.unpack_tuple(builder, value, expected)
        parts = [_context.cast(builder, p, t, types.int64) for p, t in zip(parts, found, strict=True)]
        parts[0] = builder.select(status.is_ok, parts[0], _I64(STATUS_INTERNAL))
        builder.ret(cgutils.make_anonymous_struct(builder, parts))
    elif reference.returns:
        value = _context.cast(builder, value, result.signature.return_type, types.int64)
        builder.ret(builder.select(status.is_ok, value, _I64(STATUS_INTERNAL)))
    else:
        builder.ret_void()
    library.add_ir_module(module)


def _type_launch() -> None:
    """Let compiled code call `calls.launch`, whose first argument is a kernel."""

    @numba.extending.type_callable(calls.launch)  # type: ignore[untyped-decorator]
    def typing_launch(context: Any) -> Any:
        def typer(kernel: Any, p: Any, n: Any, grain: Any, pool: Any) -> Any:
            if not isinstance(kernel, _KernelType) or kernel.kernel.arity != 3 or kernel.kernel.returns:
                raise errors.TypingError("launch: the first argument must be a range kernel (p, lo, hi)")
            return typing.signature(types.void, kernel, *[types.int64] * 4)

        return typer

    @numba.extending.lower_builtin(calls.launch, _KernelType, *[types.Integer] * 4)  # type: ignore[untyped-decorator]
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
