"""From a generated module to one object file: each kernel compiled and optimised once, then linked with its driver.

Two levels of the kernel cache keep work from being done twice: the optimised bitcode of each kernel (equal layers, and
programs that share kernels, compile once), and the linked object. Keys cover the source, the flags, the CPU, and the
versions of everything that turns source into code. Numba is imported only when something must be compiled.
"""

import functools
import importlib.metadata
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CompileError
from ..runtime import cache, loader
from ..runtime.targets import llvm
from .module import GeneratedModule, KernelSource

if TYPE_CHECKING:
    from .numba_internals import KernelReference

__all__ = ["CompileRecord", "CompiledModule", "CpuTarget", "compile_module", "compiling_allowed", "no_compile"]

_local = threading.local()


@contextmanager
def no_compile() -> Iterator[None]:
    """Raise CompileError in this thread wherever something would have to be compiled; cached code is not compiling.

    >>> from ingot import jit
    >>> with jit.no_compile():
    ...     pass
    """
    previous = getattr(_local, "forbidden", False)
    _local.forbidden = True
    try:
        yield
    finally:
        _local.forbidden = previous


def compiling_allowed() -> bool:
    """Whether this thread is outside every `no_compile()`."""
    return not getattr(_local, "forbidden", False)


def require_compiling(what: str) -> None:
    """Raise CompileError inside `no_compile()`; `what` says what would be compiled."""
    if not compiling_allowed():
        raise CompileError(
            f"{what} would have to be compiled, which jit.no_compile() forbids",
            hint="call it once with such arguments outside of no_compile(), or load an ingot compiled for this CPU",
        )


@dataclass(frozen=True)
class CpuTarget:
    """The CPU that code is generated for, as LLVM names it; by default the host."""

    cpu: str = field(default_factory=loader.host_cpu_name)
    features: str = field(default_factory=lambda: loader.feature_string(loader.host_features()))
    triple: str = field(default_factory=loader.host_triple)

    @property
    def label(self) -> str:
        """A file-name-safe identifier: `x86_64-znver4`."""
        return re.sub(r"[^\w-]", "_", f"{self.triple.split('-')[0]}-{self.cpu or 'generic'}")


@dataclass(frozen=True)
class CompileRecord:
    """What compiling one function cost, in milliseconds, or that the cache had it."""

    name: str
    milliseconds: float
    cached: bool


@dataclass(frozen=True)
class CompiledModule:
    """One object file with the driver's C entry point, and what making it cost."""

    object: bytes
    driver: str
    records: tuple[CompileRecord, ...]
    cached: bool
    milliseconds: float


@functools.cache
def toolchain() -> str:
    """Identifies everything besides the source that decides what code comes out: versions and our own primitives."""
    parts = []
    for package in ("numba", "llvmlite", "numpy"):
        try:
            parts.append(f"{package}={importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            parts.append(f"{package}=none")
    # Their size and time stand for the contents of the files that lower primitives; reading them would take longer.
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        status = path.stat()
        parts.append(f"{path.name}:{status.st_size}:{status.st_mtime_ns}")
    return ";".join(parts)


def _kernel_key(kernel: KernelSource, target: CpuTarget) -> str:
    flags = ",".join(sorted(kernel.flags))
    return cache.cache_key("kernel", toolchain(), target.triple, target.cpu, target.features, flags, kernel.source)


def module_key(module: GeneratedModule, target: CpuTarget) -> str:
    """The cache key of a module's object."""
    kernels = [_kernel_key(kernel, target) for kernel in module.kernels]
    return cache.cache_key(
        "object", toolchain(), target.triple, target.cpu, target.features, module.driver, module.driver_source, *kernels
    )


def compile_module(
    module: GeneratedModule, target: CpuTarget | None = None, *, use_cache: bool = True
) -> CompiledModule:
    """Compile a generated module to one object for `target` (the host by default).

    Raises CompileError if the sources do not compile, and inside `no_compile()` unless the cache has the object.
    """
    target = target or CpuTarget()
    store = cache.default_cache() if use_cache else None
    start = time.perf_counter()
    key = module_key(module, target)
    if store is not None and (blob := store.get(key)) is not None:
        return CompiledModule(blob, module.driver, (), True, _since(start))
    require_compiling(module.name)
    records: list[CompileRecord] = []
    kernels: dict[str, tuple[bytes, list[KernelReference]]] = {}
    for kernel in module.kernels:
        if kernel.name not in kernels:
            bitcode, references, record = _compile_kernel(kernel, target, store)
            kernels[kernel.name] = (bitcode, references)
            records.append(record)
    references = [reference for _, entries in kernels.values() for reference in entries]
    driver_start = time.perf_counter()
    driver = _compile(module.driver, module.driver_source, target, frozenset({"contract"}), references, module.driver)
    records.append(CompileRecord(module.driver, _since(driver_start), False))
    link_start = time.perf_counter()
    blob = link([*(bitcode for bitcode, _ in kernels.values()), driver], target, [module.driver])
    records.append(CompileRecord("link", _since(link_start), False))
    if store is not None:
        store.put(key, blob)
    return CompiledModule(blob, module.driver, tuple(records), False, _since(start))


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


def _compile_kernel(
    kernel: KernelSource, target: CpuTarget, store: cache.Cache | None
) -> tuple[bytes, list["KernelReference"], CompileRecord]:
    from .numba_internals import entry_points

    start = time.perf_counter()
    key = _kernel_key(kernel, target)
    references = list(entry_points(kernel.source))
    bitcode = store.get(key) if store is not None else None
    cached = bitcode is not None
    if bitcode is None:
        bitcode = _compile(kernel.name, kernel.source, target, kernel.flags, (), None)
        if store is not None:
            store.put(key, bitcode)
    return bitcode, references, CompileRecord(kernel.name, _since(start), cached)


def _compile(
    name: str,
    source: str,
    target: CpuTarget,
    flags: frozenset[str],
    kernels: Sequence["KernelReference"],
    entry: str | None,
) -> bytes:
    from .numba_internals import compile_source

    compiled = compile_source(name, source, fastmath=flags, kernels=kernels, entry=entry)
    return optimise(compiled.bitcode, target, [reference.name for reference in compiled.entries])


def _machine(target: CpuTarget) -> Any:
    features = f"{target.features},+64bit".lstrip(",") if target.triple.startswith("x86_64") else target.features
    made = llvm().Target.from_triple(target.triple)
    # Position-independent, and reached relative to the instruction: LLVM's loader adds stubs for what is far.
    return made.create_target_machine(cpu=target.cpu, features=features, opt=3, reloc="pic", codemodel="small")


def _open(binding: Any, bitcode: bytes, target: CpuTarget, machine: Any, context: Any) -> Any:
    module = binding.parse_bitcode(bitcode, context)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    return module


def _internalise(module: Any, keep: Sequence[str]) -> None:
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and not value.name.startswith("llvm."):
            value.linkage = "external" if value.name in keep else "internal"


def optimise(bitcode: bytes, target: CpuTarget, keep: Sequence[str]) -> bytes:
    """Optimised bitcode of a module of which only `keep` stays visible."""
    binding = llvm()
    machine = _machine(target)
    context = binding.create_context()
    try:
        module = _open(binding, bitcode, target, machine, context)
        try:
            _internalise(module, keep)
            module.verify()
            options = binding.create_pipeline_tuning_options(speed_level=3)
            options.loop_vectorization = options.slp_vectorization = True
            builder = binding.create_pass_builder(machine, options)
            builder.getModulePassManager().run(module, builder)
            result: bytes = module.as_bitcode()
        finally:
            module.close()
    finally:
        context.close()
    return result


def link(modules: Sequence[bytes], target: CpuTarget, keep: Sequence[str]) -> bytes:
    """An object file from optimised modules, of which only `keep` stays visible."""
    binding = llvm()
    machine = _machine(target)
    context = binding.create_context()
    try:
        module = _open(binding, modules[0], target, machine, context)
        try:
            for other in modules[1:]:
                module.link_in(_open(binding, other, target, machine, context))
            _internalise(module, keep)
            module.verify()
            builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options())
            manager = binding.create_new_module_pass_manager()
            # Declarations that nothing uses would otherwise appear in the object's symbol table.
            manager.add_global_dead_code_eliminate_pass()
            manager.add_strip_dead_prototype_pass()
            manager.run(module, builder)
            blob: bytes = machine.emit_object(module)
        finally:
            module.close()
    finally:
        context.close()
    return blob


def describe(records: Sequence[CompileRecord]) -> str:
    """The records as text, one per line."""
    return "\n".join(f"{r.name}: {'cached' if r.cached else f'{r.milliseconds:.1f} ms'}" for r in records)
