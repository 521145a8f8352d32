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
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...ir.records import field, record
from ..errors import CompileForbidden
from ..runtime import cache, loader
from ..runtime.static_library import pack_objects
from .emission import emit, emitters
from .module import PLAIN, GeneratedModule, KernelSource, without_comments

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

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
    flags, source = ",".join(sorted(kernel.flags)), without_comments(kernel.source)
    return cache.cache_key(
        "kernel", toolchain(), target.triple, target.cpu, target.features, flags, str(kernel.level), source
    )


def module_key(module: GeneratedModule, target: CpuTarget) -> str:
    """The cache key of a module's object."""
    kernels = [_kernel_key(kernel, target) for kernel in module.kernels]
    driver = without_comments(module.driver_source)
    return cache.cache_key(
        "object", toolchain(), target.triple, target.cpu, target.features, module.driver, driver, *kernels
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
    with emitters() as threads:
        kernels = [_start_kernel(kernel, target, store, threads) for kernel in _largest_first(module.kernels)]
        references = [reference for kernel in kernels for reference in kernel.references]
        # No contraction: numbers of the program are Python's floats, where each operation rounds.
        source = module.driver_source
        level = 3 if re.search(r"^ *(for|while)\b", source, re.MULTILINE) else PLAIN
        driver = _start(module.driver, source, target, frozenset(), references, module.driver, level, threads)
        objects, _, records = _finished(kernels, module.kernels, store)
        blob = pack_objects([*objects, driver.object.result()])
        records.append(driver.record)
    if store is not None:
        store.put(key, blob)
    return CompiledModule(blob, module.driver, tuple(records), False, _since(start))


def compile_kernels(
    kernels: Sequence[KernelSource], target: CpuTarget, store: cache.Cache | None
) -> tuple[list[bytes], list["KernelReference"], list[CompileRecord]]:
    """The objects of kernels (equal ones once), the entry points that they define, and what compiling each cost."""
    with emitters() as threads:
        started = [_start_kernel(kernel, target, store, threads) for kernel in _largest_first(kernels)]
        return _finished(started, kernels, store)


@dataclass
class _Part:
    """A function whose object is being made: `object` is there when its thread is done."""

    name: str
    references: list["KernelReference"]
    object: "Future[bytes]"
    milliseconds: float
    cached: bool = False
    key: str = ""

    @property
    def record(self) -> CompileRecord:
        return CompileRecord(self.name, self.milliseconds, self.cached)


def _largest_first(kernels: Sequence[KernelSource]) -> list[KernelSource]:
    """Each kernel once, those with much source in front: they take longest, and the others are typed meanwhile."""
    return sorted({k.name: k for k in kernels}.values(), key=lambda k: -len(k.source))


def _finished(
    parts: Sequence[_Part], kernels: Sequence[KernelSource], store: cache.Cache | None
) -> tuple[list[bytes], list["KernelReference"], list[CompileRecord]]:
    """Objects, entry points and costs in the order of the kernels, when all threads are done."""
    by_name = {part.name: part for part in parts}
    ordered = [by_name[name] for name in dict.fromkeys(kernel.name for kernel in kernels)]
    objects = [part.object.result() for part in ordered]
    if store is not None:
        for part, blob in zip(ordered, objects, strict=True):
            if not part.cached:
                store.put(part.key, blob)
    return objects, [r for part in ordered for r in part.references], [part.record for part in ordered]


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


def _start_kernel(
    kernel: KernelSource, target: CpuTarget, store: cache.Cache | None, threads: "ThreadPoolExecutor"
) -> _Part:
    """Find a kernel's object in the cache, or begin to make it."""
    from .numba_internals import entry_points

    start = time.perf_counter()
    key = _kernel_key(kernel, target)
    blob = store.get(key) if store is not None else None
    if blob is not None:
        known: Future[bytes] = Future()
        known.set_result(blob)
        return _Part(kernel.name, list(entry_points(kernel.source)), known, _since(start), True)
    part = _start(kernel.name, kernel.source, target, kernel.flags, (), None, kernel.level, threads)
    part.key = key
    return part


def _start(
    name: str,
    source: str,
    target: CpuTarget,
    flags: frozenset[str],
    kernels: Sequence["KernelReference"],
    entry: str | None,
    level: int,
    threads: "ThreadPoolExecutor",
) -> _Part:
    """Type a function here, and let a thread optimise it and make its machine code."""
    from .numba_internals import compile_source

    start = time.perf_counter()
    compiled = compile_source(
        name, source, fastmath=flags, kernels=kernels, entry=entry, twice=entry is None and level == 3
    )
    part = _Part(name, list(compiled.entries), Future(), _since(start))

    def make() -> bytes:
        begun = time.perf_counter()
        blob = emit(compiled.modules, target, [reference.name for reference in compiled.entries], level)
        part.milliseconds += _since(begun)
        return blob

    part.object = threads.submit(make)
    return part


def describe(records: Sequence[CompileRecord]) -> str:
    """The records as text, one per line."""
    return "\n".join(f"{r.name}: {'cached' if r.cached else f'{r.milliseconds:.1f} ms'}" for r in records)
