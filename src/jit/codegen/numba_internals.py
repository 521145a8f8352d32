"""Generated source in, LLVM IR with C entry points out: the `numba_*` modules alone touch private parts of Numba.

A source is written directly (`numba_direct`), or typed and lowered by Numba where that does not know something.
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
from numba.core import callconv, cgutils, compiler, cpu, errors
from numba.core.compiler_lock import global_compiler_lock
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_constant
from numba.extending import typeof_impl

from ..errors import CompileError
from .module import STATUS_INTERNAL
from .numba_contexts import Compiler, Context, Extremum, TypingContext, call_extremum
from .numba_direct import Indirect, QuietConvention, Unit
from .source import ENTRY_KINDS, KernelReference, entry_points, namespace, register_source, run_source

__all__ = [
    "TESTED_NUMBA", "CompiledSource", "KernelReference", "compile_source", "entry_points", "namespace", "run_source",
]  # fmt: skip

# Private interfaces move between minor versions; tests/jit/test_compile.py says which ones are relied on.
TESTED_NUMBA = ("0.68",)

_I64 = ir.IntType(64)


def check_version(version: str = numba.__version__) -> None:
    """Raise CompileError if Numba is a version that this module was not tested with."""
    if ".".join(version.split(".")[:2]) not in TESTED_NUMBA:
        raise CompileError(
            f"compiling needs Numba {' or '.join(TESTED_NUMBA)}, but {version} is installed, whose private interfaces "
            f"may differ. Install numba=={TESTED_NUMBA[-1]}.* (jit.executor('interpreter') needs no Numba)"
        )


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


register_default(_FunctionType)(models.OpaqueModel)


@typeof_impl.register(_Function)  # type: ignore[untyped-decorator]
def _typeof_function(value: _Function, context: Any) -> Any:
    return _FunctionType(value)


@lower_constant(_FunctionType)  # type: ignore[untyped-decorator]
def _lower_opaque(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


_state = threading.local()


_context: Any = None
_typing_context: Any = None
_writing: Any = None


def _prepare_contexts() -> None:
    global _context, _typing_context
    if _context is None:
        check_version()
        _typing_context = TypingContext()
        _context = Context(_typing_context, "cpu")
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
        pipeline_class=Compiler,
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
    space.update(min=Extremum("min"), max=Extremum("max"))
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
            (Extremum, call_extremum),
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
