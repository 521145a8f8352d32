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

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from ..eager.tensor import Tensor, wrap
from ..ir.core import Array, Graph
from ..ir.dtypes import dtype_named
from ..ir.safetensors import write_safetensors
from ..ir.text import parse, print_graph
from .archive_format import Member, Members, part, read_members, write_members
from .archive_native import Interface, native_members, usable_part
from .archive_parts import (
    FORMAT_VERSION,
    MAX_SPECIALISATIONS,
    check_version,
    field,
    numbered,
    parameter_name,
    read_json,
    read_safetensors_part,
    read_text,
)
from .archive_signature import leaf_from_json, leaf_to_json, signature_from_json, signature_to_json
from .cross import CpuChoice, named_target
from .errors import JitError, LoadError
from .function import Call, CompiledFunction, Specialised
from .native import NativeBundle, graph_arrays, native_bundle
from .program import NativeProgram
from .runtime.objects import ObjectError
from .specialisation import Specialisation
from .structure import Structure, with_constant_numbers

__all__ = ["LoadedFunction", "load", "save"]


class LoadedFunction(CompiledFunction):
    """What `jit.load` returns: a compiled callable with the graphs that were saved, and no source to make others from.

    `metadata` is what the file says about itself.
    """

    def __init__(self, name: str, signature: inspect.Signature | None, metadata: dict[str, Any]) -> None:
        super().__init__(name, signature)
        self.metadata = metadata
        self._parameters: dict[str, Tensor] = {}

    def parameter(self, name: str) -> Tensor:
        return self._parameters[name]

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Call:
        call = super()._bind(arguments, keywords)
        if self.bakes_numbers:
            call.structure, call.leaves = with_constant_numbers(
                call.structure, call.leaves, lambda leaf: not isinstance(leaf, Tensor)
            )
        return call

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters and buffers by name; they share memory with the callable."""
        return dict(self._parameters)

    def specialise(self, call: Call) -> Specialised:
        have = "\n".join(
            f"  ({', '.join(f'{v.name}: {v.type}' for v in s.graph.arguments)})"
            + (f" where {', '.join(map(str, s.graph.guards))}" if s.graph.guards else "")
            for s in self.specialisations
        )
        types, _ = call.types()
        raise JitError(
            f"{self.__name__} was loaded from a file, which has no graph for ({', '.join(map(str, types))}); it has\n"
            f"{have}\nsave it again after calling it with such arguments"
        )


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
    "x86-64-v3", "x86-64-v4", "aarch64-neoverse-n1", "apple-m1" and others (see `cross.target_names`). The file is
    replaced at once, when it is complete.

    Raises JitError if there is no graph yet, ValueError for arguments whose structure has no saved form.
    """
    if not isinstance(function, CompiledFunction):
        raise TypeError(
            f"save: expected a compiled callable (of jit.script or jit.trace), given {type(function).__name__}"
        )
    # A module's graphs for training and for evaluation take the same arguments: the file gets those of its state now.
    state = function.state_key()
    choices = [named_target(name) for name in dict.fromkeys(targets)] if native else []
    entries = [(key, s) for key, known in function._specialisations.items() if key[1] == state for s in known]
    if not entries:
        raise JitError(
            f"save: {function.__name__} has no graph yet: call it, or function.graph_for(*arguments), for every kind "
            "of arguments that the file is to serve"
        )
    weights: dict[str, np.ndarray[Any, Any]] = {}
    digests: dict[str, str] = {}
    described: list[dict[str, Any]] = []
    texts: list[str] = []
    members: list[Member] = []
    sources: list[str] = []
    for key, specialisation in entries:
        graph = specialisation.graph
        _collect_weights(graph, weights, digests)
        for name in graph.parameters:
            weights.setdefault(parameter_name(name), np.ascontiguousarray(function.parameter(name)._array))
        texts.append(print_graph(graph, locations=True))
        described.append(
            {
                "arguments": key[0][0].to_json(),
                "default_dtype": key[0][1].name,
                "leaves": [leaf_to_json(leaf) for leaf in key[0][2:]],
                "results": specialisation.results.to_json(),
                "exceptions": sorted(specialisation.exceptions),
            }
        )
    for index, (_, specialisation) in enumerate(entries if native else []):
        source, added = _native_members(specialisation, index, texts[index], weights, choices)
        sources += source
        members += added
    description = {
        "format": FORMAT_VERSION,
        "producer": f"ingot {_version()}",
        "name": function.__name__,
        "signature": signature_to_json(function._signature),
        "bakes_numbers": function.bakes_numbers,
        "parameters": sorted({n for _, s in entries for n in s.graph.parameters}),
        "digests": digests,
        "specialisations": described,
        "metadata": {str(k): str(v) for k, v in (metadata or {}).items()},
    }
    first = [
        # First, so that its place in the file is known when its padding is chosen.
        Member("weights.safetensors", write_safetensors(weights)),
        Member("ingot.json", json.dumps(description, indent=1).encode()),
        *(Member(numbered("graph", i, "ir"), text.encode()) for i, text in enumerate(texts)),
    ]
    if sources:
        first.append(Member("kernels.py", "\n\n".join(sources).encode()))
    extra = [
        Member(f"extra/{_extra_name(name)}", data.encode() if isinstance(data, str) else bytes(data))
        for name, data in (_extra_files or {}).items()
    ]
    write_members(path, [*first, *members, *extra])


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
    for instruction in graph.walk():
        for value in instruction.attributes.values():
            if not isinstance(value, Array):
                continue
            value.require()
            if value.name is not None and digests.get(value.name, value.digest) != value.digest:
                value.name = f"{value.name}#{value.digest}"
            name = value.name if value.name is not None else value.digest
            digests[name] = value.digest
            weights[name] = np.ascontiguousarray(value.require())


def _native_members(
    specialisation: Specialisation,
    index: int,
    text: str,
    weights: dict[str, np.ndarray[Any, Any]],
    choices: Sequence[CpuChoice],
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

    Machine code in the file is used if this user signed it and this CPU can run it; `trust=True` uses it whoever made
    it, so pass that only for files whose origin you trust. Otherwise the graphs are compiled at the first call.
    `_extra_files` is filled in with the contents of the extra files whose names it has.

    Raises LoadError, which names the part, for a file that is not an ingot or is damaged.
    """
    if map_location is not None and str(map_location) != "cpu":
        raise ValueError(f"load: map_location is {map_location!r}, but loaded callables live on the cpu")
    members = read_members(path)
    function = load_members(members, trust)
    for name in _extra_files or {}:
        member = members.get(f"extra/{name}")
        if member is None:
            raise LoadError(f"extra/{name}: the file has no such part")
        assert _extra_files is not None
        _extra_files[name] = bytes(member)
    return function


def load_members(members: Members, trust: bool) -> LoadedFunction:
    """The callable that the parts of a file describe."""
    description = read_json(members, "ingot.json")
    with part("ingot.json"):
        check_version(description)
        function = LoadedFunction(
            field(description, "name", str),
            signature_from_json(description.get("signature")),
            field(description, "metadata", dict),
        )
        function.bakes_numbers = field(description, "bakes_numbers", bool)
        described = field(description, "specialisations", list)
        digests = field(description, "digests", dict)
        if not 1 <= len(described) <= MAX_SPECIALISATIONS:
            raise ValueError(f"{len(described)} graphs are described")
    arrays = read_safetensors_part(members, "weights.safetensors")
    weights = {
        # The digest is stated, not computed: the zip's checksum covers the bytes.
        name: Array(array, name, digest=str(digests[name])) if name in digests else Array(array, name)
        for name, array in arrays.items()
        if not name.startswith("parameter:")
    }
    with part("weights.safetensors"):
        for name in field(description, "parameters", list):
            if parameter_name(str(name)) not in arrays:
                raise ValueError(f"the parameter {name!r} is missing")
            function._parameters[str(name)] = wrap(arrays[parameter_name(str(name))])
    for index, item in reversed(list(enumerate(described))):
        key, specialisation = _read_specialisation(members, index, item, weights, function)
        function._add(key, specialisation)
        _adopt_native(members, specialisation, index, arrays, trust)
    return function


def _read_specialisation(
    members: Members, index: int, item: Any, weights: dict[str, Array], function: LoadedFunction
) -> tuple[Any, Specialisation]:
    name = numbered("graph", index, "ir")
    text = read_text(members, name)
    with part(name):
        graph = parse(text, weights, file=name)
        for parameter in graph.parameters:
            if parameter not in function._parameters:
                raise ValueError(f"the parameter {parameter!r} is missing")
    with part("ingot.json"):
        if not isinstance(item, dict):
            raise ValueError("a graph is not described by an object")
        leaves = tuple(leaf_from_json(leaf) for leaf in field(item, "leaves", list))
        arguments = Structure.from_json(item.get("arguments"))
        dtype = dtype_named(field(item, "default_dtype", str))
        if len(leaves) != arguments.n_leaves or len(leaves) + len(graph.parameters) != len(graph.arguments):
            raise ValueError(f"{len(leaves)} arguments are described, and the graph has {len(graph.arguments)}")
        results = Structure.from_json(item.get("results"))
        specialisation = Specialisation(function.__name__, graph, results)
    return ((arguments, dtype, *leaves), None), specialisation


def _adopt_native(
    members: Members,
    specialisation: Specialisation,
    index: int,
    arrays: dict[str, np.ndarray[Any, Any]],
    trust: bool,
) -> None:
    """Use the machine code for this CPU, if there is any that may run."""
    found = usable_part(members, index, arrays, trust)
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
