"""Which graphs of a callable go into an ingot: those for its arguments, in the states that its module may be in."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..eager.module import Module
from ..eager.tensor import wrap
from ..ir.dims import Dim, substitute
from ..ir.types import TensorType, type_symbols
from .archive_module import modules_by_path
from .attribute_state import attribute_state
from .function import CompiledFunction
from .specialisation import Specialisation
from .structure import Structure, constant_structure, unflatten

__all__ = ["Entry", "complete_modes", "graphs_of", "methods_of", "read_guarded", "read_state"]

Place = tuple[str, str]
# Sizes of examples, none of which is special: 1 broadcasts, and 2 is the size of many things.
_EXAMPLE_SIZES = (5, 7, 11, 13, 17, 19, 23)


class Entry(NamedTuple):
    """A graph with the arguments that it is for (see `Call.key`) and the state of the module, as JSON data."""

    key: tuple[Any, ...]
    specialisation: Specialisation
    state: list[Any] | None


def methods_of(function: CompiledFunction) -> dict[str, CompiledFunction]:
    """The compiled methods of a module besides `forward`."""
    if not isinstance(function, Module):
        return {}
    return {
        name: value
        for name, value in vars(function).items()
        if isinstance(value, CompiledFunction) and not isinstance(value, Module)
    }


def graphs_of(function: CompiledFunction, module: Module | None) -> tuple[list[Place], Any, list[Entry]]:
    """The attributes that a callable's graphs are chosen by, their values now, and the graphs.

    Attributes of other objects than the module's parts, and values that have no saved form, are as they are now: graphs
    for others are left out.
    """
    guards = _guards(function)
    paths = modules_by_path(module)
    now = function.state_key()
    places: list[Place] = []
    kept: list[int] = []
    for index, (owner, name) in enumerate(guards):
        if id(owner) in paths and _to_json(now[index]) is not None:
            places.append((paths[id(owner)], name))
            kept.append(index)
    entries = []
    for key, known in function._specialisations.items():
        state = key[1]
        if (state is None) != (now is None) or (now is not None and len(state) != len(now)):
            continue
        if now is not None and any(state[i] != now[i] for i in range(len(now)) if i not in kept):
            continue
        values = _values(state, kept)
        if values is not None:
            entries += [Entry(key[0], specialisation, values) for specialisation in known]
    return places, _values(now, kept), entries


def _values(state: Any, kept: Sequence[int]) -> list[Any] | None:
    """The kept values of a state as JSON data; None where one has no such form."""
    values = [_to_json(state[index]) for index in kept]
    return None if None in values else values


def _guards(function: CompiledFunction) -> list[tuple[Any, str]]:
    """The objects and names of attributes by which the callable chooses, in the order of its state."""
    guards = getattr(function, "_guards", None)
    if guards is not None:
        return [(owner, name) for owner, name, _ in guards.values()]
    root = getattr(function, "_root", None)
    owners = {path: owner for path, owner in root.named_modules()} if root is not None else {}
    return [(owners.get(path), name) for path, name in getattr(function, "_guarded", ())]


def complete_modes(function: CompiledFunction) -> None:
    """Make the graphs for training where there are those for evaluation, and the other way round.

    A module is saved in one mode and may be used in the other. What cannot be compiled there is left out.
    """
    for callable_ in (function, *methods_of(function).values()):
        root = getattr(callable_, "_root", None)
        if isinstance(root, Module) and any(name == "training" for _, name in _guards(callable_)):
            _complete(callable_, root)


def _complete(function: CompiledFunction, root: Module) -> None:
    if getattr(function, "_guards", None) is None:
        return  # a loaded callable, which cannot make graphs
    now = function.state_key()
    calls = [
        _example(key[0], known[0]) for key, known in list(function._specialisations.items()) if key[1] == now and known
    ]
    modes = {part: part.training for part in root.modules()}
    try:
        # Graphs of one mode may show further attributes to choose by, and then those of the other are made again.
        for training in (not root.training, root.training):
            root.train(training)
            if training == modes[root]:
                _restore(modes)
            for call in calls:
                with contextlib.suppress(Exception):
                    function._select(function._bind(*call))
    finally:
        _restore(modes)


def _restore(modes: dict[Module, bool]) -> None:
    for part, training in modes.items():
        part.training = training


def _example(key: tuple[Any, ...], specialisation: Specialisation) -> tuple[Any, Any]:
    """Arguments of a call that the graph is for, positional and by name."""
    graph = specialisation.graph
    kinds = [value.type for value in graph.arguments[: len(key) - 2]]
    names = sorted(frozenset[str]().union(*(type_symbols(kind) for kind in kinds)))
    sizes: dict[str, Dim] = {name: _EXAMPLE_SIZES[i % len(_EXAMPLE_SIZES)] for i, name in enumerate(names)}
    sizes |= graph.examples
    leaves: list[Any] = []
    shapes = iter(specialisation.example_shapes)
    for kind, leaf in zip(kinds, key[2:], strict=True):
        if isinstance(kind, TensorType):
            shape = next(shapes, None) or [substitute(dim, sizes) for dim in kind.shape]
            leaves.append(wrap(np.ones([n if isinstance(n, int) else 5 for n in shape], kind.dtype.numpy)))
        else:
            leaves.append(leaf(1))
    arguments, keywords = unflatten(key[0], leaves)
    return arguments, keywords


# -- states as JSON data -----------------------------------------------------------------------------------------------


def _to_json(value: tuple[Any, ...]) -> Any:
    """JSON data for the state of one attribute (see `attribute_state`); None where it has no saved form."""
    match value:
        case (_, bool(absent)):
            return {"absent": absent}
        case (_, type(), constant):
            return constant_structure(constant).to_json()
    return None


def read_guarded(data: dict[str, Any], module: Module | None) -> tuple[Place, ...]:
    """The attributes that a description says graphs are chosen by; ValueError where the module has none of them."""
    guarded = data.get("guarded", [])
    if not isinstance(guarded, list) or (guarded and module is None):
        raise ValueError("the attributes to choose by are not described as expected")
    owners = {path: owner for path, owner in module.named_modules()} if guarded and module is not None else {}
    places: list[Place] = []
    for item in guarded:
        match item:
            case [str(path), str(name)] if path in owners:
                attribute_state(owners[path], name)
                places.append((path, name))
            case _:
                raise ValueError(f"not an attribute of the module: {str(item)[:80]}")
    return tuple(places)


def read_state(data: Any, guarded: Sequence[Place]) -> Any:
    """The state that a graph is for, as `state_key` gives it."""
    if not guarded:
        return None
    if not isinstance(data, list) or len(data) != len(guarded):
        raise ValueError("the state of a graph is not described as expected")
    state: list[tuple[Any, ...]] = []
    for (_, name), item in zip(guarded, data, strict=True):
        match item:
            case {"absent": bool(absent), **rest} if not rest:
                state.append((name, absent))
            case {"constant": _}:
                value = unflatten(Structure.from_json(item), [])
                state.append((name, type(value), value))
            case _:
                raise ValueError(f"not a state: {str(item)[:80]}")
    return tuple(state)
