"""Modules in ingots: the tree of submodules with its tensors, attributes and flags, as JSON data and back.

A tensor is named after its first place in the tree and kept once, so that shared weights stay shared; a submodule that
occurs twice is described once. Attributes that are numbers, strings, tensors and containers of them are kept.
"""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from ..eager.device import host_array
from ..eager.module import Module
from ..eager.parameter import Parameter
from ..eager.tensor import Tensor, wrap
from .errors import JitError
from .structure import Structure, constant_structure, unflatten

__all__ = ["ModuleReader", "ModuleWriter", "SavedModule", "module_of", "modules_by_path"]

MAX_DEPTH = 100
_MAX_NAME = 500
_TYPE_NAME = re.compile(r"[^\W\d][\w.]*")
_REFERENCE = "same"


def module_of(function: Any) -> Module | None:
    """The module that a compiled callable was made of, if it was one."""
    if isinstance(function, Module):
        own: Module | None = function.__dict__.get("original", function)
        return own
    source = getattr(function, "_source", None)
    if source is not None:  # frozen: what was the module's is in the graph
        frozen = module_of(source)
        return None if frozen is None else SavedModule(type(frozen).__name__).eval()
    found = getattr(function, "_module", None)
    return found if isinstance(found, Module) else None


def modules_by_path(module: Module | None) -> dict[int, str]:
    """The place of every module in a tree, by its identity."""
    return {} if module is None else {id(part): path for path, part in module.named_modules()}


class ModuleWriter:
    """Describes modules, and collects their tensors by name."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._names: dict[int, str] = {}
        self._places: dict[int, str] = {}
        self._alive: list[Tensor] = []

    def tensor(self, tensor: Tensor, name: str) -> str:
        """The name under which a tensor is kept; `name` is a proposal."""
        known = self._names.get(id(tensor))
        if known is not None:
            return known
        unique, count = name, 1
        while unique in self.arrays:
            unique, count = f"{name}#{count}", count + 1
        self._names[id(tensor)] = unique
        self._alive.append(tensor)  # so that no other tensor gets its identity
        self.arrays[unique] = np.asarray(host_array(tensor._array), order="C")
        return unique

    def module(self, module: Module, path: str = "", depth: int = 0) -> Any:
        """The description of a module and of those in it."""
        if depth > MAX_DEPTH:
            raise JitError(f"save: modules are nested deeper than {MAX_DEPTH}")
        if id(module) in self._places:
            return {_REFERENCE: self._places[id(module)]}
        self._places[id(module)] = path
        prefix = f"{path}." if path else ""
        buffers = {
            name: None if buffer is None else [self.tensor(buffer, prefix + name), name not in module._non_persistent]
            for name, buffer in module._buffers.items()
        }
        parameters = {
            name: None if p is None else [self.tensor(p, prefix + name), bool(p.requires_grad)]
            for name, p in module._parameters.items()
        }
        return {
            "type": getattr(module, "original_name", type(module).__name__),
            "training": bool(module.training),
            "parameters": parameters,
            "buffers": buffers,
            "attributes": self._attributes(module, prefix),
            "modules": {
                name: None if part is None else self.module(part, prefix + name, depth + 1)
                for name, part in module._modules.items()
            },
        }

    def _attributes(self, module: Module, prefix: str) -> dict[str, Any]:
        found = {}
        for name, value in vars(module).items():
            if _is_attribute_name(name):
                data = self._attribute(value, prefix + name, 0)
                if data is not None:
                    found[name] = data
        return found

    def _attribute(self, value: Any, name: str, depth: int) -> Any:
        """JSON data for a value; None for one that has no saved form."""
        if depth > MAX_DEPTH or isinstance(value, Module):
            return None
        if isinstance(value, Tensor):
            return {"tensor": self.tensor(value, name)}
        if type(value) in (list, tuple):
            items = [self._attribute(item, f"{name}.{i}", depth + 1) for i, item in enumerate(value)]
            return None if None in items else {type(value).__name__: items}
        if type(value) is dict:
            pairs = [
                (key, self._attribute(item, f"{name}.{key}", depth + 1)) for key, item in value.items()
            ]  # fmt: skip
            plain = all(isinstance(key, str) and data is not None for key, data in pairs)
            return {"dict": dict(pairs)} if plain else None
        try:
            return constant_structure(value).to_json()
        except ValueError:
            return None


class SavedModule(Module):
    """A submodule of a loaded module: its tensors, attributes and submodules; it has no code of its own.

    `original_name` is the name of the class that it was saved as.
    """

    original_name: str

    def __init__(self, original_name: str = "Module") -> None:
        super().__init__()
        self.__dict__["original_name"] = original_name

    def forward(self, *arguments: Any, **keywords: Any) -> NoReturn:
        """Refuse: only what was compiled as a whole can be called."""
        raise JitError(
            f"{self.original_name} was loaded as a part of another module, into whose graphs its code went: call the "
            "whole module, or compile and save this part by itself"
        )

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, key: int | str) -> Any:
        return self._modules[key] if isinstance(key, str) else list(self._modules.values())[key]

    def __bool__(self) -> bool:
        return True

    def _get_name(self) -> str:
        return self.original_name


class ModuleReader:
    """Builds modules from descriptions; ValueError for anything that `ModuleWriter` does not write."""

    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self._arrays = arrays
        self._tensors: dict[str, Tensor] = {}
        self._built: dict[str, Module] = {}

    def tensor(self, name: Any) -> Tensor:
        """The tensor of a name, one for each."""
        if not isinstance(name, str) or name not in self._arrays:
            raise ValueError(f"the parameter {str(name)[:80]!r} is missing")
        if name not in self._tensors:
            self._tensors[name] = wrap(self._arrays[name])
        return self._tensors[name]

    def fill(self, module: Module, data: Any, path: str = "", depth: int = 0) -> Module:
        """Give a module what a description says."""
        if depth > MAX_DEPTH:
            raise ValueError(f"modules are nested deeper than {MAX_DEPTH}")
        match data:
            case {
                "type": str(name), "training": bool(training), "parameters": dict(parameters), "buffers": dict(buffers),
                "attributes": dict(attributes), "modules": dict(modules),
            } if len(name) <= _MAX_NAME and _TYPE_NAME.fullmatch(name):  # fmt: skip
                pass
            case _:
                raise ValueError(f"not a module: {str(data)[:80]}")
        self._built[path] = module
        module.__dict__["original_name"] = name
        module.training = training
        for key, item in parameters.items():
            module._parameters[_part_name(key)] = self._parameter(item)
        for key, item in buffers.items():
            match item:
                case None:
                    module._buffers[_part_name(key)] = None
                case [str(stored), bool(persistent)]:
                    module._buffers[_part_name(key)] = self.tensor(stored)
                    if not persistent:
                        module._non_persistent.add(key)
                case _:
                    raise ValueError(f"not a buffer: {str(item)[:80]}")
        for key, item in modules.items():
            module._modules[_part_name(key)] = self._submodule(item, f"{path}.{key}" if path else key, depth)
        for key, item in attributes.items():
            if not _is_attribute_name(key) or key in module.__dict__ or len(key) > _MAX_NAME:
                raise ValueError(f"{key[:80]!r} is not the name of an attribute")
            object.__setattr__(module, key, self._attribute(item, 0))
        return module

    def _parameter(self, item: Any) -> Parameter | None:
        match item:
            case None:
                return None
            case [str(name), bool(requires_grad)]:
                tensor = self.tensor(name)
                if not isinstance(tensor, Parameter):
                    dtype = tensor.dtype
                    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
                        raise ValueError(f"the parameter {name[:80]!r} is {dtype}, which has no gradients")
                    self._tensors[name] = tensor = Parameter(tensor, requires_grad)
                return tensor
        raise ValueError(f"not a parameter: {str(item)[:80]}")

    def _submodule(self, item: Any, path: str, depth: int) -> Module | None:
        match item:
            case None:
                return None
            case {"same": str(place), **rest} if not rest:
                if place not in self._built or not place or path.startswith(f"{place}."):
                    raise ValueError(f"there is no module {place[:80]!r} to be used again")
                return self._built[place]
        return self.fill(SavedModule(), item, path, depth + 1)

    def _attribute(self, data: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"attributes are nested deeper than {MAX_DEPTH}")
        match data:
            case {"tensor": name, **rest} if not rest:
                return self.tensor(name)
            case {"list": list(items), **rest} if not rest:
                return [self._attribute(item, depth + 1) for item in items]
            case {"tuple": list(items), **rest} if not rest:
                return tuple([self._attribute(item, depth + 1) for item in items])
            case {"dict": dict(items), **rest} if not rest:
                return {key: self._attribute(item, depth + 1) for key, item in items.items()}
        structure = Structure.from_json(data)
        if structure.kind != "constant":
            raise ValueError(f"not an attribute: {str(data)[:80]}")
        return unflatten(structure, [])


def _part_name(name: str) -> str:
    if not name or "." in name or len(name) > _MAX_NAME:
        raise ValueError(f"{name[:80]!r} cannot be the name of a part of a module")
    return name


def _is_attribute_name(name: str) -> bool:
    """Whether an attribute of a module is the user's: nothing that modules and compiled callables have themselves."""
    return name.isidentifier() and not name.startswith("__") and name not in _taken()


_names: set[str] = set()


def _taken() -> set[str]:
    """The names that mean something in every loaded module."""
    if not _names:
        from .loaded import LoadedModule

        example = LoadedModule("module", None, {})
        _names.update(dir(LoadedModule), vars(example), ("original", "original_name", "training", "target"))
    return _names
