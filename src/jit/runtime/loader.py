"""Object files without Numba: `emit_object` optimises LLVM IR into one, `load_object` maps one into the process.

An object may need only symbols of a short list: what the C library and the mathematics library define, and what the
runtime provides itself (names that start with `ingot_`). Everything else is refused before LLVM sees the object,
because LLVM ends the process at an unknown symbol.
"""

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .elf import NotMappable, can_map, map_objects
from .objects import ObjectError, object_symbols
from .static_library import MAGIC, unpack_objects
from .targets import (
    CPU_LEVELS,
    feature_string,
    features_subset,
    host_architecture,
    host_cpu_name,
    host_features,
    host_triple,
    llvm,
    native_llvm,
)

__all__ = [
    "CPU_LEVELS",
    "ObjectError",
    "emit_object",
    "feature_string",
    "features_subset",
    "host_architecture",
    "host_cpu_name",
    "host_features",
    "host_triple",
    "load_object",
    "provide_symbol",
]

_LIBC = "malloc calloc realloc free memcpy memmove memset memcmp bcmp"
# C11 7.12, in double precision and, with the suffix f, in single precision.
_LIBM = """
    acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma fmax
    fmin fmod frexp hypot ilogb ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nearbyint
    nextafter pow remainder rint round scalbn sin sinh sqrt tan tanh tgamma trunc
"""
# What LLVM calls where the CPU has no instruction: 128-bit integers, half precision, integer powers, stack probes.
_COMPILER_RUNTIME = """
    __chkstk __divti3 __udivti3 __modti3 __umodti3 __multi3 __powidf2 __powisf2 __extendhfsf2 __truncsfhf2 __truncdfhf2
    sincos sincosf exp10 exp10f
"""
ALLOWED_SYMBOLS: frozenset[str] = frozenset(
    f"{_LIBC} {_LIBM} {_COMPILER_RUNTIME}".split() + [name + "f" for name in _LIBM.split()]
)

_lock = threading.Lock()
# Addresses are handed out for good, so engines, which own the code, are never dropped.
_engines: list[Any] = []
_providers: dict[str, Callable[[], int]] = {}


def provide_symbol(name: str, provider: Callable[[], int]) -> None:
    """Let objects refer to `name`; `provider` is called for its address when an object first needs it.

    The name must start with `ingot_`, because LLVM keeps one table of names for the whole process.
    """
    if not name.startswith("ingot_"):
        raise ValueError(
            f"provide_symbol: {name!r} must start with 'ingot_', or it could hide another library's symbol"
        )
    _providers[name] = provider


def load_object(blob: bytes, symbols: Sequence[str]) -> dict[str, int]:
    """Map an object file, or a static library, and return the addresses of `symbols`, valid until the process ends.

    Raises ObjectError, before anything is mapped, if the object is malformed or made for another machine, does not
    define one of `symbols`, or needs a symbol that neither the C library nor the runtime provides.
    """
    if not isinstance(blob, bytes):
        raise TypeError(f"load_object: expected the object file as bytes, got {type(blob).__name__}")
    table = object_symbols(blob)
    if table.architecture != host_architecture():
        raise ObjectError(f"object file: made for {table.architecture}, but this machine is {host_architecture()}")
    container = "mach-o" if sys.platform == "darwin" else "elf"
    if table.container != container:
        raise ObjectError(f"object file: {table.container}, but this system loads {container}")
    if absent := [name for name in symbols if name not in table.defined]:
        present = ", ".join(sorted(table.defined)) or "nothing"
        raise ObjectError(f"object file: does not define {', '.join(absent)}; it defines {present}")
    addresses = {name: _external_address(name) for name in table.undefined}
    if unknown := sorted(name for name, address in addresses.items() if not address):
        raise ObjectError(
            f"object file: needs {', '.join(unknown)}, which neither the C library nor the runtime provides to kernels"
        )
    members = unpack_objects(blob) if blob.startswith(MAGIC) else [blob]
    if can_map() and table.architecture == "x86_64":
        with contextlib.suppress(NotMappable):
            mapped = map_objects(members, lambda name: addresses.get(name, 0))
            if all(name in mapped for name in symbols):
                return {name: mapped[name] for name in symbols}
    return _load_by_llvm(members, symbols, addresses)


def _load_by_llvm(members: Sequence[bytes], symbols: Sequence[str], addresses: Mapping[str, int]) -> dict[str, int]:
    binding = native_llvm()
    with _lock:
        for name, address in addresses.items():
            binding.add_symbol(name, address)
        machine = binding.Target.from_triple(host_triple()).create_target_machine()
        engine = binding.create_mcjit_compiler(binding.parse_assembly("", binding.create_context()), machine)
        for member in members:
            engine.add_object_file(binding.ObjectFileRef.from_data(member))
        engine.finalize_object()
        found = {name: engine.get_function_address(name) for name in symbols}
        if lost := [name for name, address in found.items() if not address]:
            raise ObjectError(f"object file: LLVM finds no address for {', '.join(lost)}")
        _engines.append(engine)
    return found


def emit_object(
    modules: str | bytes | Sequence[str | bytes],
    *,
    cpu: str,
    features: str,
    triple: str | None = None,
    opt: int = 3,
    keep: Sequence[str],
) -> bytes:
    """Link LLVM modules (text or bitcode), optimise them for one CPU and emit a position-independent object file.

    Only the functions named in `keep` stay visible; everything else becomes internal and is inlined or dropped where
    possible. `triple` is the host's by default; every target in llvmlite's wheel works. Raises ValueError for IR that
    does not parse or verify, for an unknown target, and for names in `keep` that no module defines.
    """
    if opt not in range(4):
        raise ValueError(f"emit_object: opt={opt}, expected 0, 1, 2 or 3")
    sources = [modules] if isinstance(modules, str | bytes) else list(modules)
    if not sources:
        raise ValueError("emit_object: no module was given")
    triple = triple or host_triple()
    binding = native_llvm() if triple == host_triple() else llvm()
    try:
        target = binding.Target.from_triple(triple)
    except RuntimeError as error:
        raise ValueError(f"emit_object: unknown target {triple!r}: {error}") from None
    if triple.startswith("x86_64"):
        # For a CPU name that LLVM does not know it assumes 32 bits, and ends the process.
        features = f"{features},+64bit".lstrip(",")
    # Small code model: calls and constants are reached relative to the instruction; LLVM's loader adds stubs where far.
    machine = target.create_target_machine(cpu=cpu, features=features, opt=opt, reloc="pic", codemodel="small")
    # A context of its own: names and types of other compilations cannot leak in, and it is freed as a whole.
    context = binding.create_context()
    try:
        module = _parse(sources[0], context)
        try:
            _set_target(module, triple, machine)
            for source in sources[1:]:
                other = _parse(source, context)
                _set_target(other, triple, machine)
                try:
                    module.link_in(other)
                except RuntimeError as error:
                    raise ValueError(f"emit_object: the modules do not link: {error}") from None
            _internalise(module, keep)
            try:
                module.verify()
            except RuntimeError as error:
                raise ValueError(f"emit_object: the module does not verify: {error}") from None
            _optimise(module, machine, opt)
            blob: bytes = machine.emit_object(module)
        finally:
            module.close()
    finally:
        context.close()
    return blob


def _parse(source: str | bytes, context: Any) -> Any:
    binding = native_llvm()
    try:
        if isinstance(source, str):
            return binding.parse_assembly(source, context)
        return binding.parse_bitcode(source, context)
    except RuntimeError as error:
        raise ValueError(f"emit_object: LLVM IR does not parse: {error}") from None


def _set_target(module: Any, triple: str, machine: Any) -> None:
    module.triple = triple
    module.data_layout = str(machine.target_data)


def _internalise(module: Any, keep: Sequence[str]) -> None:
    kept, defined = set(keep), set()
    for value in (*module.functions, *module.global_variables):
        # `llvm.*` globals are messages to LLVM itself and have linkages of their own.
        if value.is_declaration or value.name.startswith("llvm."):
            continue
        defined.add(value.name)
        value.linkage = "external" if value.name in kept else "internal"
    if absent := sorted(kept - defined):
        raise ValueError(f"emit_object: keep names {', '.join(absent)}, which the module does not define")


def _optimise(module: Any, machine: Any, opt: int) -> None:
    binding = native_llvm()
    options = binding.create_pipeline_tuning_options(speed_level=opt)
    options.loop_vectorization = options.slp_vectorization = opt >= 2
    builder = binding.create_pass_builder(machine, options)
    # What `keep` does not reach goes first, at any level: nothing is spent on it, and it needs no symbols.
    manager = binding.create_new_module_pass_manager()
    manager.add_global_dead_code_eliminate_pass()
    manager.run(module, builder)
    builder.getModulePassManager().run(module, builder)


@functools.cache
def _libraries() -> list[ctypes.CDLL]:
    if sys.platform == "win32":
        return [ctypes.CDLL("ucrtbase"), ctypes.CDLL("vcruntime140"), ctypes.CDLL("ntdll")]
    libraries = [ctypes.CDLL(None)]
    # musl and macOS have the mathematics library inside the C library; glibc has a file of its own.
    if name := _mathematics_library():
        with contextlib.suppress(OSError):
            libraries.append(ctypes.CDLL(name))
    return libraries


def _mathematics_library() -> str | None:
    if sys.platform == "linux":
        return "libm.so.6"
    import ctypes.util  # not at the top: it imports a lot

    return ctypes.util.find_library("m")


def _external_address(name: str) -> int:
    """The address of a symbol that objects may refer to, or 0."""
    if name in _providers:
        return _providers[name]()
    if name not in ALLOWED_SYMBOLS:
        return 0
    for library in _libraries():
        try:
            function = getattr(library, name)
        except AttributeError:
            continue
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0
