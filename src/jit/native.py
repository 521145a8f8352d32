"""From a graph to a native program, through a cache of whole programs: a warm start generates and compiles nothing.

The cache keeps bundles by the text of the graph, so that neither passes nor code generation nor Numba run where the
same graph was compiled before.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.core import Array, Graph
from ..ir.pipeline import DEFAULT, active_pipeline
from ..ir.safetensors import SafetensorsError, read_safetensors, write_safetensors
from ..ir.text import print_graph
from .bundle import KernelInfo, NativeBundle, array_key
from .codegen.compile import CompileRecord, CpuTarget, compile_module, require_compiling, toolchain
from .layout import Layout
from .program import NativeProgram
from .runtime import cache
from .runtime.objects import ObjectError
from .runtime.pieces import PIECE_BYTES, in_threads
from .tuning import chosen_tiles

if TYPE_CHECKING:
    from .cross import CpuChoice
    from .specialisation import Specialisation

__all__ = ["KernelInfo", "NativeBuild", "NativeBundle", "graph_arrays", "native_bundle", "native_program"]


@dataclass(frozen=True)
class NativeBuild:
    """A native program, the bundle it came from, and what making it cost."""

    program: NativeProgram
    bundle: NativeBundle
    records: tuple[CompileRecord, ...]
    milliseconds: float
    cached: bool


def graph_arrays(graph: Graph) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays that a graph's constants hold, by digest, dtype and shape."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for instruction in graph.walk_all():
        for value in instruction.attributes.values():
            if isinstance(value, Array) and value.data is not None:
                arrays[array_key(value.digest, value.data)] = np.ascontiguousarray(value.data)
    return arrays


def _digest_weights(graph: Graph) -> None:
    """Compute the digests of large constants, which the text of the graph has, in several threads."""
    arrays = [a for i in graph.walk_all() for a in i.attributes.values() if isinstance(a, Array)]
    large = [array for array in arrays if array.data is not None and array.data.nbytes > PIECE_BYTES // 8]
    in_threads(lambda array: array.digest, large)


@functools.cache
def _package_stamp() -> str:
    """Stands for the contents of the sources that decide what is generated from a graph."""
    package = Path(__file__).resolve().parent.parent
    files = sorted([*package.joinpath("ir").rglob("*.py"), *package.joinpath("jit").glob("*.py")])
    return ";".join(f"{path.name}:{(s := path.stat()).st_size}:{s.st_mtime_ns}" for path in files)


def _bundle_key(specialisation: "Specialisation", target: CpuTarget) -> str:
    # Passes of the user's are not in the key, but what they make of the graph is.
    graph = specialisation.graph if active_pipeline() is DEFAULT else specialisation.optimised
    _digest_weights(graph)
    text = print_graph(graph, locations=True)
    choices = (
        "winograd" if specialisation.winograd else "direct",
        "by threads" if specialisation.fast_reductions else "by sizes",
        str(sorted(specialisation.expected_sizes.items())),
        str(chosen_tiles()),
    )
    stamps = (_package_stamp(), toolchain(), *choices)
    return cache.cache_key("program", *stamps, target.triple, target.cpu, target.features, text)


def native_bundle(
    specialisation: "Specialisation", choice: "CpuChoice | None" = None
) -> tuple[NativeBundle, tuple[CompileRecord, ...], float, bool]:
    """Generate and compile native code for a specialisation's graph, or find it in the cache; for this CPU by default.

    Returns the bundle, what compiling each part cost, the milliseconds in all, and whether it was cached. Raises
    Unsupported if the graph has something without a native form, and CompileError inside `no_compile()` unless the
    cache has the code.
    """
    target = CpuTarget() if choice is None else choice.cpu
    store = cache.default_cache()
    key = _bundle_key(specialisation, target)
    known = graph_arrays(specialisation.graph)
    blob = store.view(key)
    if blob is not None and (bundle := _unpack(blob, known)) is not None:
        return bundle, (), 0.0, True
    require_compiling(specialisation.name)
    if choice is None:
        module = specialisation.module()
    else:
        from .codegen.generate import generate

        with specialisation.choices():
            module = generate(specialisation.optimised, choice.tiles)
    compiled = compile_module(module, target)
    kernels = tuple(KernelInfo(k.name, k.title, _text(k.bytes_moved), _text(k.flops)) for k in module.kernels)
    bundle = NativeBundle(Layout.of(module), compiled.object, kernels, tuple(module.report))
    store.put(key, _pack(bundle, known))
    return bundle, compiled.records, compiled.milliseconds, False


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _pack(bundle: NativeBundle, known: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    data, own = bundle.to_parts(known)
    description = np.frombuffer(json.dumps(data).encode(), np.uint8)
    return write_safetensors({"description": description, "object": np.frombuffer(bundle.object, np.uint8), **own})


def _unpack(blob: memoryview, known: Mapping[str, np.ndarray[Any, Any]]) -> NativeBundle | None:
    """The bundle in a cached blob; None where it is not one of this version, which is a miss."""
    try:
        arrays, _ = read_safetensors(blob)
        description, code = arrays.pop("description"), arrays.pop("object")
        return NativeBundle.from_parts(json.loads(description.tobytes()), arrays, known, code.tobytes())
    except (SafetensorsError, ValueError, KeyError):
        return None


def native_program(specialisation: "Specialisation") -> NativeBuild:
    """The native program of a specialisation, compiled or from the cache; see `native_bundle`."""
    bundle, records, milliseconds, cached = native_bundle(specialisation)
    try:
        program = NativeProgram(bundle.layout, bundle.object, specialisation.exceptions)
    except ObjectError:
        if not cached:
            raise
        # The cache vouches for its bytes, but not that this version of LLVM can load them: compile afresh.
        cache.default_cache().put(_bundle_key(specialisation, CpuTarget()), b"")
        bundle, records, milliseconds, cached = native_bundle(specialisation)
        program = NativeProgram(bundle.layout, bundle.object, specialisation.exceptions)
    return NativeBuild(program, bundle, records, milliseconds, cached)
