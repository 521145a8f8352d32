"""What loading a file gives: compiled callables without source, and modules of them."""

import inspect
import io
from typing import Any

from ..eager.device import CPU, device, device_of
from ..eager.module import Module
from ..eager.placement import moved
from ..eager.tensor import Tensor
from .archive_format import read_members
from .archive_module import SavedModule
from .attribute_state import attribute_state
from .elsewhere import graph_of_another_device
from .errors import JitError
from .function import Call, CompiledFunction, Specialised
from .structure import with_constant_numbers

__all__ = ["LoadedFunction", "LoadedModule"]


class LoadedFunction(CompiledFunction):
    """What `jit.load` returns: a compiled callable with the graphs that were saved, and no source to make others from.

    `metadata` is what the file says about itself.
    """

    def __init__(self, name: str, signature: inspect.Signature | None, metadata: dict[str, Any]) -> None:
        super().__init__(name, signature)
        self.metadata = metadata
        self.saved_device = "cpu"
        # The module that parameters are looked up in, where they are, and those that are in no module.
        self._root: Module | None = None
        self._parameter_places: dict[str, str] = {}
        self._tensors: dict[str, Tensor] = {}
        # Attributes by which graphs are chosen, as the path of a module and a name.
        self._guarded: tuple[tuple[str, str], ...] = ()

    def parameter(self, name: str) -> Tensor:
        place = self._parameter_places.get(name, name)
        if self._root is not None:
            owner, _, attribute = place.rpartition(".")
            found = _submodule(self._root, owner)
            for table in ("_parameters", "_buffers"):
                value = getattr(found, table, {}).get(attribute)
                if isinstance(value, Tensor):
                    return value
        return self._tensors[place]

    def state_key(self) -> Any:
        if not self._guarded:
            return None
        return tuple(attribute_state(_submodule(self._root, path), name) for path, name in self._guarded)

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Call:
        call = super()._bind(arguments, keywords)
        if self.bakes_numbers:
            call.structure, call.leaves = with_constant_numbers(
                call.structure, call.leaves, lambda leaf: not isinstance(leaf, Tensor)
            )
        return call

    _on_another_device = graph_of_another_device

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters and buffers by name; they share memory with the callable."""
        return {name: self.parameter(name) for name in self._parameter_places}

    def move_to(self, place: device) -> None:
        """Put parameters and buffers on a device; graphs are the same on all."""
        if place is CPU:
            return
        if self._root is not None:
            self._root.to(place)  # type: ignore[attr-defined]
        for name, tensor in self._tensors.items():
            if device_of(tensor._array) is not place:
                self._tensors[name] = moved(tensor, place)

    def specialise(self, call: Call) -> Specialised:
        types, _ = call.types()
        given = f"({', '.join(map(str, types))})"
        states = [key[1] for key in self._specialisations if key[0] == call.key()]
        now = self.state_key()
        if now is not None and states and now not in states:
            # Against the graph that differs in the fewest of them.
            differing = min(
                ([i for i, (a, b) in enumerate(zip(now, state, strict=True)) if a != b] for state in states), key=len
            )
            attributes = ", ".join(".".join(filter(None, self._guarded[i])) for i in differing)
            raise JitError(
                f"{self.__name__} was loaded from a file, which has graphs for {given}, but none for the present "
                f"values of {attributes}: save it again after calling it in this state"
            )
        have = "\n".join(
            f"  ({', '.join(f'{v.name}: {v.type}' for v in s.graph.arguments)})"
            + (f" where {', '.join(map(str, s.graph.guards))}" if s.graph.guards else "")
            for s in self.specialisations
        )
        raise JitError(
            f"{self.__name__} was loaded from a file, which has no graph for {given}; it has\n"
            f"{have or '  none'}\nsave it again after calling it with such arguments"
        )


def _submodule(root: Module | None, path: str) -> Any:
    found: Any = root
    for name in path.split(".") if path else ():
        found = found.__dict__["_modules"].get(name) if isinstance(found, Module) else None
    return found


class LoadedModule(LoadedFunction, SavedModule):
    """What `jit.load` returns for a module: its compiled `forward` and other methods, tensors, attributes and flags."""

    def __init__(self, name: str, signature: inspect.Signature | None, metadata: dict[str, Any]) -> None:
        SavedModule.__init__(self, name)
        LoadedFunction.__init__(self, name, signature, metadata)

    __call__ = CompiledFunction.__call__
    state_dict = SavedModule.state_dict  # type: ignore[assignment]  # a module's, not a function's

    def forward(self, *arguments: Any, **keywords: Any) -> Any:  # type: ignore[override]
        return CompiledFunction.__call__(self, *arguments, **keywords)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LoadedModule":
        from .archive import load_members, save

        buffer = io.BytesIO()
        save(self, buffer, native=False)
        copied = load_members(read_members(io.BytesIO(buffer.getvalue())), trust=False)
        assert isinstance(copied, LoadedModule)
        return copied

    def __repr__(self) -> str:
        return f"LoadedModule({SavedModule.__repr__(self)})"
