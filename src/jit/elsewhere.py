"""Graphs that are the same on all devices: those of traces and of files."""

from typing import Any

from ..eager import modes
from ..eager.tensor import Tensor
from .function import Call, CompiledFunction, Specialised
from .placement import place_of_arrays

__all__ = ["graph_of_another_device"]


def graph_of_another_device(function: CompiledFunction, call: Call) -> Specialised | None:
    """The graph that a callable has for such arguments on another device; None where it has none."""
    if not modes.devices and all(s.place.type == "cpu" for s in function.specialisations):
        return None
    wanted, state = _without_devices(call.key()), function.state_key()
    values = [leaf._array if isinstance(leaf, Tensor) else leaf for leaf in call.leaves]
    for (key, other), known in list(function._specialisations.items()):
        if other != state or _without_devices(key) != wanted:
            continue
        for found in known:
            arrays = [*values, *(function.parameter(name)._array for name in found.graph.parameters)]
            if place_of_arrays(arrays) is not found.place and found.binding.bind(arrays)[0] is not None:
                return Specialised(
                    found.graph, found.results, found.exceptions, found.conditions, found.trains, ptx=found.ptx
                )
    return None


def _without_devices(key: Any) -> tuple[Any, ...]:
    return tuple([part[:2] if isinstance(part, tuple) and len(part) == 3 else part for part in key])
