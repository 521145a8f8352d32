"""What is in an ingot, as data, without using any of it."""

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ..ir.core import Graph
from .archive import LoadedFunction, load_members
from .archive_format import Members, part, read_members
from .archive_graphs import methods_of
from .archive_native import is_signed, native_labels, runs_here
from .archive_parts import field, numbered, read_json, read_safetensors_part
from .archive_signature import signature_from_json
from .runtime.loader import features_subset, host_architecture
from .specialisation import Specialisation

__all__ = ["ArchiveInfo", "read_info"]


@dataclass(frozen=True)
class ArchiveInfo:
    """An ingot: `data` is what `ingot inspect --json` prints, `function` has the graphs, `source` is kernels.py."""

    data: dict[str, Any]
    function: LoadedFunction
    source: str


def read_info(path: "str | os.PathLike[str]") -> ArchiveInfo:
    """Read an ingot for inspection; its machine code is checked and not loaded. LoadError where it is damaged."""
    members = read_members(path)
    description = read_json(members, "ingot.json")
    # Without the machine code: looking at a file runs nothing.
    graphs_only = Members({name: members[name] for name in members if not name.startswith("native/")}, {})
    function = load_members(graphs_only, trust=False)
    arrays = read_safetensors_part(members, "weights.safetensors")
    with part("ingot.json"):
        signature = signature_from_json(description.get("signature"))
        metadata = field(description, "metadata", dict)
    callables = {"": function, **methods_of(function)}
    states = {s: text for callable_ in callables.values() for s, text in _states(callable_).items()}
    graphs = [(name, s.graph, states[s]) for name, c in callables.items() for s in c.specialisations]
    machine_code = []
    for label in native_labels(members):
        first = numbered(f"native/{label}", 0, "json")
        data = read_json(members, first)
        with part(first):
            missing = features_subset(field(data, "features", str))
            here = runs_here(field(data, "triple", str), field(data, "features", str))
        other = not label.startswith(host_architecture())
        indices = [i for i in range(len(graphs)) if numbered(f"native/{label}", i, "o") in members]
        signed = [is_signed(members, label, index, arrays) for index in indices]
        machine_code.append(
            {
                "target": label,
                "cpu": str(data.get("cpu", "")),
                "triple": str(data.get("triple", "")),
                "graphs": len(indices),
                "bytes": sum(len(members[numbered(f"native/{label}", index, "o")]) for index in indices),
                "runs_here": here and not other,
                "missing_features": missing if not other else [f"the {label.split('-')[0]} architecture"],
                "signed_by_you": bool(signed) and all(signed),
            }
        )
    source = bytes(members["kernels.py"]).decode(errors="replace") if "kernels.py" in members else ""
    data = {
        "file": os.fspath(path),
        "bytes": os.stat(path).st_size,
        "format": description["format"],
        "producer": str(description.get("producer", "")),
        "name": function.__name__,
        "signature": None if signature is None else str(signature),
        "training": getattr(function, "training", None),
        "methods": sorted(name for name in callables if name),
        "graphs": [_graph(*graph) for graph in graphs],
        "weights": [
            {"name": name, "dtype": str(array.dtype), "shape": list(array.shape), "bytes": array.nbytes}
            for name, array in arrays.items()
        ],
        "machine_code": machine_code,
        "extra_files": sorted(name.removeprefix("extra/") for name in members if name.startswith("extra/")),
        "metadata": {str(key): str(value) for key, value in metadata.items()},
    }
    return ArchiveInfo(data, function, source)


def _states(function: Any) -> dict[Specialisation, list[str]]:
    """For which values of attributes each graph is, as far as graphs differ in them."""
    found: dict[Specialisation, list[str]] = {}
    every = [key[1] for key in function._specialisations]
    for (_, state), known in function._specialisations.items():
        texts = [
            f"{path}.{name} is {value[-1]!r}".lstrip(".")
            for i, ((path, name), value) in enumerate(zip(function._guarded, state or (), strict=False))
            if any(other[i] != value for other in every)
        ]
        found |= dict.fromkeys(known, texts)
    return found


def _graph(method: str, graph: Graph, state: list[str]) -> dict[str, Any]:
    own = len(graph.arguments) - len(graph.parameters)
    outputs = len(graph.results) if graph.outputs is None else graph.outputs
    return {
        "method": method,
        "arguments": [{"name": value.name or "", "type": str(value.type)} for value in graph.arguments[:own]],
        "parameters": list(graph.parameters),
        "results": [str(value.type) for value in graph.results[:outputs]],
        "conditions": [*map(str, graph.guards), *state],
        "instructions": dict(Counter(instruction.op.name for instruction in graph.walk_all()).most_common()),
    }
