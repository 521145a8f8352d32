"""Loading models: the signed machine code of a file where it can be used, otherwise its graphs."""

import importlib.util
import os
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from ..ir.types import BoolType, ComplexType, FloatType, IntType, TensorType, Type
from ..jit.archive_format import Members, part, read_members
from ..jit.archive_native import Interface, usable_part
from ..jit.archive_parts import (
    check_amount,
    check_version,
    field,
    graph_numbers,
    numbered,
    parameter_name,
    parameter_places,
    read_json,
    read_weights,
)
from ..jit.archive_signature import leaf_from_json, signature_from_json
from ..jit.errors import FallbackWarning, LoadError
from ..jit.program import NativeProgram
from ..jit.runtime.objects import ObjectError
from ..jit.structure import Structure
from .model import Model, Variant

__all__ = ["load"]

Arrays = Mapping[str, np.ndarray[Any, Any]]
_SCALARS: dict[type, type[Type]] = {bool: BoolType, int: IntType, float: FloatType, complex: ComplexType}


def load(path: "str | os.PathLike[str] | BinaryIO", *, trust: bool = False) -> Model:
    """A model from a file that `jit.save` wrote, ready to run; weights are mapped into memory, not read.

    Machine code is used if this user signed it and this CPU can run it; `trust=True` uses it whoever made it, so pass
    that only for files whose origin you trust. Otherwise the graphs are compiled at the first call, where Numba is
    installed, and interpreted, with a FallbackWarning, where it is not.

    Raises LoadError, which names the part, for a file that is not an ingot or is damaged.
    """
    members = read_members(path)
    if not trust:
        check_amount(members, (".json", ".safetensors"))
    description = read_json(members, "ingot.json")
    with part("ingot.json"):
        check_version(description)
        graph_numbers(description)
        name = field(description, "name", str)
        metadata = field(description, "metadata", dict)
        methods = description.get("methods", {})
    file = _File(members, *read_weights(members, description), trust)
    model = file.model(name, description, metadata)
    others = {other: file.model(other, data, {}) for other, data in methods.items()}
    if model is None or None in others.values():
        return _general(members, name, trust)
    model.methods.update({other: found for other, found in others.items() if found is not None})
    return model


class _File:
    """The parts of a file that models are read from."""

    def __init__(self, members: Members, arrays: Arrays, checked: Arrays, known: Arrays, trust: bool) -> None:
        self.members = members
        self.arrays = arrays
        self.checked = checked
        self.known = known
        self.trust = trust

    def model(self, name: str, data: dict[str, Any], metadata: dict[str, Any]) -> Model | None:
        """The model of a callable; None where the file has no machine code that may run here."""
        with part("ingot.json"):
            signature = signature_from_json(data.get("signature"))
            bakes_numbers = field(data, "bakes_numbers", bool)
            places = parameter_places(data)
            # In the state of its attributes that it was saved in: the others cannot be changed here.
            described = [
                (item.get("graph", position), item)
                for position, item in enumerate(field(data, "specialisations", list))
                if item.get("state") == data.get("state")
            ]
        variants: list[Variant] = []
        for index, item in described:
            variant = self.variant(index, item, places)
            if variant is None:
                return None
            variants.append(variant)
        return Model(name, signature, metadata, variants, bakes_numbers=bakes_numbers)

    def variant(self, index: int, item: dict[str, Any], places: dict[str, str]) -> Variant | None:
        """The program of one graph; None where the file has no machine code that may run here."""
        if numbered("graph", index, "ir") not in self.members:
            raise LoadError(f"{numbered('graph', index, 'ir')}: the file has no such part, so it is not an ingot")
        found = usable_part(self.members, index, self.arrays, self.trust)
        if found is None:
            return None
        bundle = found.bundle(self.known)
        layout = bundle.layout
        with part(found.names["json"]):
            interface = Interface.from_json(found.data.get("interface"), len(layout.arguments), len(layout.results))
        with part("weights.safetensors"):
            own = len(layout.arguments) - len(interface.parameters)
            parameters = tuple(
                _parameter(self.checked, places.get(name, name), spec.type)
                for name, spec in zip(interface.parameters, layout.arguments[own:], strict=True)
            )
        with part("ingot.json"):
            leaves = tuple(leaf_from_json(leaf) for leaf in field(item, "leaves", list))
            if any(isinstance(leaf, Type) for leaf in leaves):
                return None  # strings and containers of run time: what is done about them is not here
            arguments = Structure.from_json(item.get("arguments"))
            results = Structure.from_json(item.get("results"))
            if len(leaves) != arguments.n_leaves or len(leaves) + len(parameters) != len(layout.arguments):
                raise ValueError(f"{len(leaves)} arguments are described, and the code has {len(layout.arguments)}")
            if results.n_leaves != interface.outputs:
                raise ValueError(f"{results.n_leaves} results are described, and the code has {interface.outputs}")
            for leaf, spec in zip(leaves, layout.arguments, strict=False):
                if not _fits(leaf, spec.type):
                    raise ValueError(f"the argument {spec.name} is described as {leaf}, and is {spec.type}")
        try:
            program = NativeProgram(layout, bundle.object)
        except ObjectError as error:
            raise LoadError(f"{found.names['o']}: {error}") from error
        return Variant(arguments, leaves, results, program, interface, parameters)


def _fits(leaf: Any, kind: Type) -> bool:
    if isinstance(leaf, tuple):
        return isinstance(kind, TensorType) and leaf == (kind.dtype.numpy, kind.rank)
    return isinstance(kind, _SCALARS[leaf])


def _parameter(arrays: Arrays, name: str, kind: Type) -> np.ndarray[Any, Any]:
    array = arrays.get(parameter_name(name))
    if array is None:
        raise ValueError(f"the parameter {name!r} is missing")
    if not isinstance(kind, TensorType) or (array.dtype, array.ndim) != (kind.dtype.numpy, kind.rank):
        raise ValueError(f"the parameter {name!r} is {array.dtype}{list(array.shape)}, expected {kind}")
    return array


def _general(members: Members, name: str, trust: bool) -> Model:
    """The model that compiles the file's graphs, or interprets them where there is no compiler."""
    from ..jit.archive import load_members
    from ..jit.archive_graphs import methods_of

    function = load_members(members, trust)
    callables = [function, *methods_of(function).values()]
    # The file's machine code may be used here, too.
    compiled = all(s.is_compiled for callable_ in callables for s in callable_.specialisations)
    compiles = compiled or importlib.util.find_spec("numba") is not None
    if not compiles:
        warnings.warn(
            f"{name} runs in the interpreter: the file has no machine code that may run here, and Numba, which "
            "compiles it, is not installed",
            FallbackWarning,
            stacklevel=3,
        )

    def model(name: str, callable_: Any) -> Model:
        return Model(name, None, callable_.metadata, [], general=callable_ if compiles else _Interpreted(callable_))

    result = model(name, function)
    result.methods.update({other: model(other, method) for other, method in methods_of(function).items()})
    return result


class _Interpreted:
    """A loaded callable, always run by the interpreter."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.specialisations = function.specialisations

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        from ..jit.executors import executor

        with executor("interpreter"):
            return self.function(*arguments, **keywords)
