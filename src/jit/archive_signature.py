"""The arguments of a callable as JSON data: its signature, and the types of a specialisation's leaves."""

import inspect
from typing import Any

import numpy as np

from ..ir.dtypes import DTYPES, bfloat16
from ..ir.types import DictType, ListType, SetType, StrType, Type
from .layout import parse_type
from .structure import Structure, constant_structure, unflatten

__all__ = ["leaf_from_json", "leaf_to_json", "signature_from_json", "signature_to_json"]

_SCALAR_NAMES: dict[str, type] = {"bool": bool, "int": int, "float": float, "complex": complex}


def _array_name(dtype: np.dtype[Any]) -> str:
    return "bf16" if dtype.kind == "V" else dtype.str.lstrip("<>=|")


# Dtypes by name; that of bfloat16 comes from a package which is imported only where it is used.
_ARRAY_NAMES = {"bf16": bfloat16} | {_array_name(d.numpy): d for d in DTYPES.values() if d is not bfloat16}


def leaf_to_json(leaf: Any) -> Any:
    if isinstance(leaf, tuple):
        dtype, rank = leaf[:2]  # the device comes with the call
        return [_array_name(dtype), rank]
    if isinstance(leaf, Type):
        return {"type": str(leaf)}
    return leaf.__name__


def leaf_from_json(data: Any) -> Any:
    match data:
        case str(name) if name in _SCALAR_NAMES:
            return _SCALAR_NAMES[name]
        case [str(dtype), int(rank)] if 0 <= rank <= 64 and dtype in _ARRAY_NAMES:
            return (_ARRAY_NAMES[dtype].numpy, rank)
        case {"type": str(text)}:
            found = parse_type(text)
            if isinstance(found, (StrType, ListType, DictType, SetType)):
                return found
    raise ValueError(f"not an argument's type: {str(data)[:50]}")


def signature_to_json(signature: inspect.Signature | None) -> Any:
    if signature is None:
        return None
    parameters = []
    for parameter in signature.parameters.values():
        default: Any = None
        if parameter.default is not inspect.Parameter.empty:
            try:
                default = constant_structure(parameter.default).to_json()
            except ValueError:
                default = "unknown"  # must be given then
        parameters.append([parameter.name, parameter.kind.name, default])
    return parameters


def signature_from_json(data: Any) -> inspect.Signature | None:
    if data is None:
        return None
    if not isinstance(data, list):
        raise ValueError("the signature is not a list")
    parameters = []
    for item in data:
        match item:
            case [str(name), str(kind), default] if kind in inspect._ParameterKind.__members__:
                pass
            case _:
                raise ValueError(f"not a parameter: {str(item)[:50]}")
        value: Any = inspect.Parameter.empty
        if default is not None and default != "unknown":
            structure = Structure.from_json(default)
            if structure.kind != "constant":
                raise ValueError(f"not a default: {str(default)[:50]}")
            value = unflatten(structure, [])
        parameters.append(inspect.Parameter(name, inspect._ParameterKind[kind], default=value))
    return inspect.Signature(parameters)
