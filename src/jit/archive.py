"""Ingots on disk: a zip with the graphs as text, the weights ready to be mapped, and machine code.

    ingot.json             format version, signature of the callable, structures of arguments and results
    graph.ir, graph.1.ir   the graphs, with locations and source lines
    weights.safetensors    constants and parameters, each at a multiple of 64 bytes
    kernels.py             the generated kernels, to be read; never run
    native/<target>*.o     machine code (a static library), its layout in .json, further constants in .safetensors
    extra/                 what the caller added

Loading parses and verifies the graphs. Nothing in the file is executed unless this user signed it (see `signing`) or
the caller trusts it; damage anywhere is a LoadError that names the part.
"""

import contextlib
import json
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..eager.device import as_device, device
from ..eager.module import Module
from ..ir.budget import limited_work
from ..ir.core import Array, Graph
from ..ir.dtypes import dtype_named
from ..ir.safetensors import write_safetensors
from ..ir.text import parse, print_graph
from .archive_calls import check_saved, disown
from .archive_format import Member, Members, part, read_members, write_members
from .archive_graphs import complete_modes, graphs_of, methods_of, read_guarded, read_state
from .archive_module import ModuleReader, ModuleWriter, module_of
from .archive_native import Interface, is_ours, native_members, usable_part
from .archive_parts import (
    FORMAT_VERSION,
    READING_SECONDS,
    check_amount,
    check_version,
    checksum,
    field,
    graph_numbers,
    numbered,
    parameter_name,
    parameter_places,
    read_json,
    read_safetensors_part,
    read_text,
)
from .archive_ptx import gpu_targets, ptx_members, read_ptx
from .archive_signature import leaf_from_json, leaf_to_json, signature_from_json, signature_to_json
from .containers import MOST_DYNAMIC
from .errors import FallbackWarning, JitError, LoadError
from .function import CompiledFunction
from .loaded import LoadedFunction, LoadedModule
from .native import NativeBundle, graph_arrays, native_bundle
from .program import NativeProgram
from .runtime.objects import ObjectError
from .specialisation import Specialisation
from .structure import Structure

if TYPE_CHECKING:
    from .cross import CpuChoice

# Graphs of fewer characters cannot take long.
_SMALL_TEXT = 1 << 16

__all__ = ["LoadedFunction", "LoadedModule", "load", "save"]


# -- saving ------------------------------------------------------------------------------------------------------------


def save(
    function: CompiledFunction,
    path: "str | os.PathLike[str] | BinaryIO",
    _extra_files: Mapping[str, "str | bytes"] | None = None,
    *,
    native: bool = True,
    targets: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a compiled callable to a file, or to a binary file object: its graphs, weights and machine code.

    A scripted function must have been called, or asked for `graph_for(...)`, with arguments of the types that the
    file is to serve. `native=False` leaves machine code out; `targets` adds code for other CPUs to that for this one:
    "x86-64-v3", "x86-64-v4", "aarch64-neoverse-n1", "apple-m1" and others (see `cross.target_names`), and for GPUs:
    "sm_80", "sm_90" (PTX, which needs NVVM but no GPU, and also runs on later ones). The file is replaced at once, when
    it is complete.

    Raises JitError if there is no graph yet, ValueError for arguments whose structure has no saved form.
    """
    if not isinstance(function, CompiledFunction):
        raise TypeError(
            f"save: expected a compiled callable (of jit.script or jit.trace), given {type(function).__name__}"
        )
    from .cross import named_target  # not at the top: loading needs no compiler

    cpus, gpus = gpu_targets(targets if native else ())
    choices = [named_target(name) for name in cpus]
    writer = ModuleWriter()
    module = module_of(function)
    tree = None if module is None else writer.module(module)
    saved = _Saved(writer, native=native)
    complete_modes(function)
    description = {
        "format": FORMAT_VERSION,
        "producer": f"ingot {_version()}",
        "name": function.__name__,
        **saved.function(function, module),
        "methods": {name: saved.function(method, module) for name, method in methods_of(function).items()},
        "module": tree,
        "digests": saved.digests,
        "device": _device_of(saved.graphs),
        "checksums": {},
        "metadata": {str(k): str(v) for k, v in (metadata or {}).items()},
    }
    if not saved.graphs:
        raise JitError(
            f"save: {function.__name__} has no graph yet: call it, or function.graph_for(*arguments), for every kind "
            "of arguments that the file is to serve"
        )
    weights = saved.weights | {parameter_name(name): array for name, array in writer.arrays.items()}
    description["checksums"] = {name: checksum(array) for name, array in weights.items()}
    members: list[Member] = []
    sources: list[str] = []
    for index, specialisation in enumerate(saved.graphs if native else []):
        with warnings.catch_warnings():
            if index in saved.unasked:
                warnings.simplefilter("ignore", FallbackWarning)
            source, added = _native_members(specialisation, index, saved.texts[index], weights, choices)
        sources += source
        members += [*added, *ptx_members(specialisation, index, gpus)]
    first = [
        # First, so that its place in the file is known when its padding is chosen.
        Member("weights.safetensors", write_safetensors(weights)),
        Member("ingot.json", json.dumps(description, indent=1).encode()),
        *(Member(numbered("graph", i, "ir"), text.encode()) for i, text in enumerate(saved.texts)),
    ]
    if sources:
        first.append(Member("kernels.py", "\n\n".join(sources).encode()))
    extra = [
        Member(f"extra/{_extra_name(name)}", data.encode() if isinstance(data, str) else bytes(data))
        for name, data in (_extra_files or {}).items()
    ]
    write_members(path, [*first, *members, *extra])


class _Saved:
    """What goes into a file: the graphs of all its callables, and the arrays that they refer to."""

    def __init__(self, writer: ModuleWriter, *, native: bool) -> None:
        self.writer = writer
        self.native = native  # whether machine code goes in, too
        self.graphs: list[Specialisation] = []
        self.texts: list[str] = []
        # Numbers of graphs for another state than the present one.
        self.unasked: set[int] = set()
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        self.digests: dict[str, str] = {}

    def function(self, function: CompiledFunction, module: Module | None) -> dict[str, Any]:
        """The description of a callable, whose graphs are added."""
        described = []
        places: dict[str, str] = {}
        guarded, present, entries = graphs_of(function, module)
        for entry in entries:
            graph = entry.specialisation.graph
            check_saved(function.__name__, graph, native=self.native)
            _collect_weights(graph, self.weights, self.digests)
            for name in graph.parameters:
                places[name] = self.writer.tensor(function.parameter(name), name)
            described.append(
                {
                    "graph": len(self.graphs),
                    "arguments": entry.key[0].to_json(),
                    "default_dtype": entry.key[1].name,
                    "leaves": [leaf_to_json(leaf) for leaf in entry.key[2:]],
                    "results": entry.specialisation.results.to_json(),
                    "exceptions": sorted(entry.specialisation.exceptions),
                    "state": entry.state,
                }
            )
            if entry.state != present:
                self.unasked.add(len(self.graphs))
            self.graphs.append(entry.specialisation)
            self.texts.append(print_graph(graph, locations=True))
        return {
            "signature": signature_to_json(function._signature),
            "bakes_numbers": function.bakes_numbers,
            "parameters": places,
            "guarded": [list(pair) for pair in guarded],
            "state": present,
            "specialisations": described,
        }


def _device_of(specialisations: Sequence[Specialisation]) -> str:
    """Where the callable was used last, and is loaded to."""
    return str(specialisations[0].place) if specialisations else "cpu"


def _extra_name(name: str) -> str:
    if not name or name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"save: {name!r} cannot be the name of an extra file")
    return name


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("ingot")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _collect_weights(graph: Graph, weights: dict[str, np.ndarray[Any, Any]], digests: dict[str, str]) -> None:
    """Add a graph's large constants; names that two different arrays share are told apart by their digests."""
    for instruction in graph.walk_all():
        for value in instruction.attributes.values():
            if not isinstance(value, Array):
                continue
            value.require()
            if value.name is not None and digests.get(value.name, value.digest) != value.digest:
                value.name = f"{value.name}#{value.digest}"
            name = value.name if value.name is not None else value.digest
            digests[name] = value.digest
            weights[name] = np.asarray(value.require(), order="C")


def _native_members(
    specialisation: Specialisation,
    index: int,
    text: str,
    weights: dict[str, np.ndarray[Any, Any]],
    choices: Sequence["CpuChoice"],
) -> tuple[list[str], list[Member]]:
    """The generated source and the members of one specialisation's machine code; none where it has no native form."""
    from .codegen.compile import CpuTarget

    specialisation.program("native")
    bundle = specialisation.bundle
    if specialisation.fallback is not None or bundle is None:
        return [], []
    graph = specialisation.graph
    known = graph_arrays(graph)
    codes = [(CpuTarget(), bundle)] + [(choice.cpu, native_bundle(specialisation, choice)[0]) for choice in choices]
    members: list[Member] = []
    for target, code in codes:
        members += native_members(code, target, Interface.of(graph), index, text.encode(), known, weights)
    return [specialisation.source()], members


# -- loading -----------------------------------------------------------------------------------------------------------


def load(
    path: "str | os.PathLike[str] | BinaryIO",
    map_location: Any = None,
    _extra_files: "dict[str, Any] | None" = None,
    *,
    trust: bool = False,
) -> LoadedFunction:
    """A compiled callable from a file that `save` wrote; weights are mapped into memory, not read.

    What was a module is a LoadedModule, with its state dict, attributes, submodules, other compiled methods and
    training flag. Machine code in the file is used if this user signed it and this CPU can run it; `trust=True` uses it
    whoever made it, so pass that only for files whose origin you trust. Otherwise the graphs are compiled at the first
    call. `_extra_files` is filled in with the contents of the extra files whose names it has and the file, too.

    Tensors are put on the device `map_location`, "cpu" or "cuda"; without it, on the one that the file was saved from.
    On a GPU the kernels in the file run, where it has them for its architecture or an earlier one.

    Raises LoadError, which names the part, for a file that is not an ingot or is damaged; RuntimeError where there is
    no such device.
    """
    members = read_members(path)
    function = load_members(members, trust)
    function.move_to(_location(map_location, function.saved_device))
    if _extra_files is not None:
        for name in _extra_files:
            if f"extra/{name}" in members:
                _extra_files[name] = bytes(members[f"extra/{name}"])
    return function


def _location(wanted: Any, saved: str) -> device:
    """The device to load to; RuntimeError where there is none, with what to do."""
    if wanted is not None:
        return as_device(wanted)
    try:
        return as_device(saved)
    except RuntimeError as error:
        raise RuntimeError(
            f"load: the file was saved from {saved}, and {error}; pass map_location='cpu' to load it there"
        ) from error


def load_members(members: Members, trust: bool) -> LoadedFunction:
    """The callable that the parts of a file describe."""
    if not trust:
        check_amount(members, (".json", ".safetensors"))
    with limited_work(math.inf if trust else READING_SECONDS):
        return _load_members(members, trust)


def _load_members(members: Members, trust: bool) -> LoadedFunction:
    description = read_json(members, "ingot.json")
    with part("ingot.json"):
        check_version(description)
        graph_numbers(description)
        tree = description.get("module")
        kind = LoadedFunction if tree is None else LoadedModule
        name = field(description, "name", str)
        function = kind(name, signature_from_json(description.get("signature")), field(description, "metadata", dict))
        digests = field(description, "digests", dict)
        saved = field(description, "device", str) if "device" in description else "cpu"
        if not re.fullmatch(r"cpu|cuda(:\d{1,4})?", saved):
            raise ValueError(f"not a device: {saved[:50]!r}")
        function.__dict__["saved_device"] = saved
    arrays = read_safetensors_part(members, "weights.safetensors")
    weights = {
        # The digest is stated, not computed: the zip's checksum covers the bytes.
        name: Array(array, name, digest=str(digests[name])) if name in digests else Array(array, name)
        for name, array in arrays.items()
        if not name.startswith("parameter:")
    }
    reader = ModuleReader(
        {name.removeprefix("parameter:"): a for name, a in arrays.items() if name.startswith("parameter:")}
    )
    with part("ingot.json"):
        if isinstance(function, LoadedModule):
            reader.fill(function, tree)
    file = _File(members, arrays, weights, reader, trust)
    file.fill(function, description, function if isinstance(function, LoadedModule) else None)
    with part("ingot.json"):
        methods = description.get("methods", {})
        if methods and not isinstance(function, LoadedModule):
            raise ValueError("the methods are not described as expected")
    for name, item in methods.items():
        with part("ingot.json"):
            if not isinstance(item, dict) or not _is_method_name(name, function):
                raise ValueError(f"not a method: {name[:80]!r}")
            method = LoadedFunction(name, signature_from_json(item.get("signature")), {})
        file.fill(method, item, function)  # type: ignore[arg-type]  # methods are of modules
        function.__dict__[name] = method
    return function


def _is_method_name(name: str, function: LoadedFunction) -> bool:
    return name.isidentifier() and not hasattr(LoadedModule, name) and name not in function.__dict__


class _File:
    """The parts of a file that callables are read from."""

    def __init__(
        self,
        members: Members,
        arrays: dict[str, np.ndarray[Any, Any]],
        weights: dict[str, Array],
        reader: ModuleReader,
        trust: bool,
    ) -> None:
        self.members = members
        self.arrays = arrays
        self.weights = weights
        self.reader = reader
        self.trust = trust

    def fill(self, function: LoadedFunction, data: dict[str, Any], module: "LoadedModule | None") -> None:
        """Give a callable what its description says."""
        with part("ingot.json"):
            function.bakes_numbers = field(data, "bakes_numbers", bool)
            function.dynamic = 0 if function.bakes_numbers else MOST_DYNAMIC
            function._guarded = read_guarded(data, module)
            function._has_state = bool(function._guarded)
            function.__dict__["_root"] = module  # not as a submodule of itself
            function._parameter_places = parameter_places(data)
        with part("weights.safetensors"):
            for place in function._parameter_places.values():
                function._tensors[place] = self.reader.tensor(place)
        described = list(enumerate(field(data, "specialisations", list)))
        for position, item in reversed(described):
            key, index, specialisation = self._specialisation(position, item, function)
            function._add(key, specialisation)
            self._adopt_native(specialisation, index)
            specialisation.ptx = read_ptx(self.members, index, self.trust)

    def _specialisation(self, position: int, item: Any, function: LoadedFunction) -> tuple[Any, int, Specialisation]:
        with part("ingot.json"):
            if not isinstance(item, dict):
                raise ValueError("a graph is not described by an object")
            leaves = tuple(leaf_from_json(leaf) for leaf in field(item, "leaves", list))
            index = field(item, "graph", int) if "graph" in item else position
        name = numbered("graph", index, "ir")
        text = read_text(self.members, name)
        with part(name), self._allowance(text, index):
            graph = parse(text, self.weights, file=name)
            disown(graph)
            for parameter in graph.parameters:
                if parameter not in function._parameter_places:
                    raise ValueError(f"the parameter {parameter!r} is missing")
        with part("ingot.json"):
            arguments = Structure.from_json(item.get("arguments"))
            dtype = dtype_named(field(item, "default_dtype", str))
            if len(leaves) != arguments.n_leaves or len(leaves) + len(graph.parameters) != len(graph.arguments):
                raise ValueError(f"{len(leaves)} arguments are described, and the graph has {len(graph.arguments)}")
            results = Structure.from_json(item.get("results"))
            specialisation = Specialisation(function.__name__, graph, results)
            state = read_state(item.get("state"), function._guarded)
        return ((arguments, dtype, *leaves), state), index, specialisation

    def _allowance(self, text: str, index: int) -> "contextlib.AbstractContextManager[None]":
        """The bound on the work of reading a graph: none for one that this user wrote."""
        if self.trust or len(text) < _SMALL_TEXT:
            return contextlib.nullcontext()
        if is_ours(self.members, index, self.arrays):
            return limited_work(math.inf)
        check_amount(self.members, (".ir",))
        return contextlib.nullcontext()

    def _adopt_native(self, specialisation: Specialisation, index: int) -> None:
        """Use the machine code for this CPU, if there is any that may run."""
        found = usable_part(self.members, index, self.arrays, self.trust)
        if found is None:
            return
        bundle = found.bundle(graph_arrays(specialisation.graph))
        with part(found.names["json"]):
            _check_layout(bundle, specialisation.graph)
        try:
            program = NativeProgram(bundle.layout, bundle.object, specialisation.exceptions)
        except ObjectError as error:
            raise LoadError(f"{found.names['o']}: {error}") from error
        specialisation.bundle = bundle
        specialisation.adopt("native", program)


def _check_layout(bundle: NativeBundle, graph: Graph) -> None:
    if [spec.type for spec in bundle.layout.arguments] != [value.type for value in graph.arguments]:
        raise ValueError("the machine code is for other arguments than the graph's")
    if len(bundle.layout.results) != len(graph.results):
        raise ValueError("the machine code has other results than the graph")
