"""From a generated module to a static library: an object file for each kernel, and one for the driver.

Two levels of the kernel cache keep work from being done twice: the object of each kernel (equal layers, and programs
that share kernels, compile once), and the library. Keys cover the source, the flags, the CPU, and the
versions of everything that turns source into code. Numba is imported only when something must be compiled.
"""

import functools
import importlib.util
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.records import field, record
from ..errors import CompileForbidden
from ..runtime import cache, loader
from ..runtime.static_library import pack_objects
from ..runtime.targets import llvm
from .module import GeneratedModule, KernelSource

if TYPE_CHECKING:
    from .numba_internals import KernelReference

__all__ = [
    "CompileRecord", "CompiledModule", "CpuTarget", "compile_kernels", "compile_module", "compiling_allowed", "emit",
    "no_compile",
]  # fmt: skip

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
        raise CompileForbidden(
            f"{what} would have to be compiled, which jit.no_compile() forbids",
            hint="call it once with such arguments outside of no_compile(), or load an ingot compiled for this CPU",
        )


@record
class CpuTarget:
    """The CPU that code is generated for, as LLVM names it; by default the host."""

    cpu: str = field(default_factory=loader.host_cpu_name)
    features: str = field(default_factory=lambda: loader.feature_string(loader.host_features()))
    triple: str = field(default_factory=loader.host_triple)

    @property
    def label(self) -> str:
        """A file-name-safe identifier: `x86_64-znver4`, `x86_64-v3`."""
        architecture = self.triple.split("-")[0].replace("arm64", "aarch64")
        # LLVM calls the levels of x86-64 by the architecture's own name.
        return re.sub(r"[^\w-]", "_", f"{architecture}-{self.cpu.removeprefix('x86-64').lstrip('-') or 'generic'}")


@record
class CompileRecord:
    """What compiling one function cost, in milliseconds, or that the cache had it."""

    name: str
    milliseconds: float
    cached: bool


@record
class CompiledModule:
    """A static library with the driver's C entry point, and what making it cost."""

    object: bytes
    driver: str
    records: tuple[CompileRecord, ...]
    cached: bool
    milliseconds: float


@functools.cache
def toolchain() -> str:
    """Identifies everything besides the source that decides what code comes out: versions and our own primitives."""
    files = list(Path(__file__).parent.rglob("*.py"))
    for package in ("numba", "llvmlite"):
        # Found without importing them, which would take longer than everything else on the way to cached code.
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            files.append(Path(spec.origin).with_name("_version.py"))
    # Size and time stand for the contents of files; reading them would take longer.
    stamps = [f"{path.name}:{(s := path.stat()).st_size}:{s.st_mtime_ns}" for path in sorted(files) if path.exists()]
    return ";".join([f"numpy={np.__version__}", *stamps])


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
    """Compile a generated module for `target` (the host by default).

    Raises CompileError if the sources do not compile, and inside `no_compile()` unless the cache has the object.
    """
    target = target or CpuTarget()
    store = cache.default_cache() if use_cache else None
    start = time.perf_counter()
    key = module_key(module, target)
    if store is not None and (blob := store.get(key)) is not None:
        return CompiledModule(blob, module.driver, (), True, _since(start))
    require_compiling(module.name)
    objects, references, records = compile_kernels(module.kernels, target, store)
    driver_start = time.perf_counter()
    # No contraction: numbers of the program are Python's floats, where each operation rounds.
    driver = _compile(module.driver, module.driver_source, target, frozenset(), references, module.driver)
    records.append(CompileRecord(module.driver, _since(driver_start), False))
    blob = pack_objects([*objects, driver])
    if store is not None:
        store.put(key, blob)
    return CompiledModule(blob, module.driver, tuple(records), False, _since(start))


def compile_kernels(
    kernels: Sequence[KernelSource], target: CpuTarget, store: cache.Cache | None
) -> tuple[list[bytes], list["KernelReference"], list[CompileRecord]]:
    """The objects of kernels (equal ones once), the entry points that they define, and what compiling each cost."""
    objects: dict[str, bytes] = {}
    references: list[KernelReference] = []
    records: list[CompileRecord] = []
    for kernel in kernels:
        if kernel.name not in objects:
            objects[kernel.name], entries, record = _compile_kernel(kernel, target, store)
            references += entries
            records.append(record)
    return list(objects.values()), references, records


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


def _compile_kernel(
    kernel: KernelSource, target: CpuTarget, store: cache.Cache | None
) -> tuple[bytes, list["KernelReference"], CompileRecord]:
    from .numba_internals import entry_points

    start = time.perf_counter()
    key = _kernel_key(kernel, target)
    references = list(entry_points(kernel.source))
    blob = store.get(key) if store is not None else None
    cached = blob is not None
    if blob is None:
        blob = _compile(kernel.name, kernel.source, target, kernel.flags, (), None)
        if store is not None:
            store.put(key, blob)
    return blob, references, CompileRecord(kernel.name, _since(start), cached)


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
    return emit(compiled.bitcode, target, [reference.name for reference in compiled.entries])


def emit(bitcode: bytes | Sequence[bytes], target: CpuTarget, keep: Sequence[str]) -> bytes:
    """An object file from one LLVM module or several: linked, optimised, and only `keep` visible."""
    binding = llvm()
    features = f"{target.features},+64bit".lstrip(",") if target.triple.startswith("x86_64") else target.features
    # Position-independent, and reached relative to the instruction: LLVM's loader adds stubs for what is far.
    machine = binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=features, opt=3, reloc="pic", codemodel="small"
    )
    # A context of its own is freed as a whole, and names of other compilations cannot leak in.
    context = binding.create_context()
    modules = [bitcode] if isinstance(bitcode, bytes) else bitcode
    try:
        module = _parse(modules[0], target, machine, context)
        try:
            for other in modules[1:]:
                module.link_in(_parse(other, target, machine, context))
            for value in (*module.functions, *module.global_variables):
                if not value.is_declaration and not value.name.startswith("llvm."):
                    value.linkage = "external" if value.name in keep else "internal"
            module.verify()
            options = binding.create_pipeline_tuning_options(speed_level=3)
            options.loop_vectorization = options.slp_vectorization = True
            builder = binding.create_pass_builder(machine, options)
            builder.getModulePassManager().run(module, builder)
            # Declarations that nothing uses would otherwise appear in the object's symbol table.
            manager = binding.create_new_module_pass_manager()
            manager.add_strip_dead_prototype_pass()
            manager.run(module, builder)
            blob: bytes = machine.emit_object(module)
        finally:
            module.close()
    finally:
        context.close()
    return blob


def _parse(bitcode: bytes, target: CpuTarget, machine: Any, context: Any) -> Any:
    module = llvm().parse_bitcode(bitcode, context)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    return module


def describe(records: Sequence[CompileRecord]) -> str:
    """The records as text, one per line."""
    return "\n".join(f"{r.name}: {'cached' if r.cached else f'{r.milliseconds:.1f} ms'}" for r in records)
