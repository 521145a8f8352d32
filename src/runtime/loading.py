"""Loading models: the signed machine code of a file where it can be used, otherwise its graphs."""

import importlib.util
import os
import warnings
from typing import Any, BinaryIO

import numpy as np

from ..ir.types import BoolType, ComplexType, FloatType, IntType, TensorType, Type
from ..jit.archive_format import Members, part, read_members
from ..jit.archive_native import Interface, usable_part
from ..jit.archive_parts import (
    MAX_SPECIALISATIONS,
    check_version,
    field,
    named_arrays,
    numbered,
    parameter_name,
    read_json,
    read_safetensors_part,
)
from ..jit.archive_signature import leaf_from_json, signature_from_json
from ..jit.errors import FallbackWarning, LoadError
from ..jit.program import NativeProgram
from ..jit.runtime.objects import ObjectError
from ..jit.structure import Structure
from .model import Model, Variant

__all__ = ["load"]

Arrays = dict[str, np.ndarray[Any, Any]]
_SCALARS: dict[type, type[Type]] = {bool: BoolType, int: IntType, float: FloatType, complex: ComplexType}


def load(path: "str | os.PathLike[str] | BinaryIO", *, trust: bool = False) -> Model:
    """A model from a file that `jit.save` wrote, ready to run; weights are mapped into memory, not read.

    Machine code is used if this user signed it and this CPU can run it; `trust=True` uses it whoever made it, so pass
    that only for files whose origin you trust. Otherwise the graphs are compiled at the first call, where Numba is
    installed, and interpreted, with a FallbackWarning, where it is not.

    Raises LoadError, which names the part, for a file that is not an ingot or is damaged.
    """
    members = read_members(path)
    description = read_json(members, "ingot.json")
    with part("ingot.json"):
        check_version(description)
        name = field(description, "name", str)
        signature = signature_from_json(description.get("signature"))
        metadata = field(description, "metadata", dict)
        bakes_numbers = field(description, "bakes_numbers", bool)
        described = field(description, "specialisations", list)
        digests = field(description, "digests", dict)
        if not 1 <= len(described) <= MAX_SPECIALISATIONS:
            raise ValueError(f"{len(described)} graphs are described")
    arrays = read_safetensors_part(members, "weights.safetensors")
    with part("weights.safetensors"):
        known = named_arrays(arrays, digests)
    variants: list[Variant] = []
    for index, item in enumerate(described):
        variant = _variant(members, index, item, arrays, known, trust)
        if variant is None:
            return Model(name, signature, metadata, [], general=_general(members, name, trust))
        variants.append(variant)
    return Model(name, signature, metadata, variants, bakes_numbers=bakes_numbers)


def _variant(members: Members, index: int, item: Any, arrays: Arrays, known: Arrays, trust: bool) -> Variant | None:
    """The program of one graph; None where the file has no machine code that may run here."""
    if numbered("graph", index, "ir") not in members:
        raise LoadError(f"{numbered('graph', index, 'ir')}: the file has no such part, so it is not an ingot")
    found = usable_part(members, index, arrays, trust)
    if found is None:
        return None
    bundle = found.bundle(known)
    layout = bundle.layout
    with part(found.names["json"]):
        interface = Interface.from_json(found.data.get("interface"), len(layout.arguments), len(layout.results))
    with part("weights.safetensors"):
        parameters = tuple(
            _parameter(arrays, name, spec.type)
            for name, spec in zip(
                interface.parameters, layout.arguments[len(layout.arguments) - len(interface.parameters) :], strict=True
            )
        )
    with part("ingot.json"):
        if not isinstance(item, dict):
            raise ValueError("a graph is not described by an object")
        leaves = tuple(leaf_from_json(leaf) for leaf in field(item, "leaves", list))
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


def _general(members: Members, name: str, trust: bool) -> Any:
    """The callable that compiles the file's graphs, or interprets them where there is no compiler."""
    from ..jit.archive import load_members

    function = load_members(members, trust)
    if importlib.util.find_spec("numba") is None:
        warnings.warn(
            f"{name} runs in the interpreter: the file has no machine code that may run here, and Numba, which "
            "compiles it, is not installed",
            FallbackWarning,
            stacklevel=3,
        )
        return _Interpreted(function)
    return function


class _Interpreted:
    """A loaded callable, always run by the interpreter."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.specialisations = function.specialisations

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        from ..jit.executors import executor

        with executor("interpreter"):
            return self.function(*arguments, **keywords)
