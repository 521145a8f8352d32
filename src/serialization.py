"""Saving and loading state: a safetensors file whose metadata holds the structure as JSON; no pickle anywhere.

Any nesting of dictionaries, lists, tuples, tensors, numpy arrays, strings, numbers, booleans and None can be saved. A
flat dictionary of tensors by name, as `Module.state_dict` gives it, becomes a plain safetensors file that others can
read; and the files of others load as such a dictionary.
"""

import json
import math
import os
import re
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .eager.device import as_device, device, device_of, host_array, is_host
from .eager.placement import moved
from .eager.tensor import Tensor
from .ir.dtypes import as_dtype
from .ir.safetensors import SafetensorsError, read_safetensors, write_safetensors

__all__ = ["load", "save", "write_file"]

_STRUCTURE = "ingot.structure"
_DEVICES = "ingot.devices"  # of the tensors that were not on the CPU, by name
_NAME = re.compile(r"cpu|cuda(:\d{1,4})?")
_MAX_DEPTH = 200


def save(obj: Any, f: "str | os.PathLike[str] | IO[bytes]") -> None:
    """Write an object to a file, which is either there in full afterwards or as it was before (the disk may be full).

    TypeError names the place of what cannot be saved; OSError where the file cannot be written.

    >>> import io
    >>> file = io.BytesIO()
    >>> ingot.save({"epoch": 3, "model": ingot.nn.Linear(2, 1).state_dict()}, file)
    >>> ingot.load(io.BytesIO(file.getvalue()))["epoch"]
    3
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if _is_state(obj):
        for name, value in obj.items():
            arrays[name] = value._array
        metadata = {"format": "pt"}
    else:
        structure = _encode(obj, arrays, {}, "", 0)
        metadata = {_STRUCTURE: json.dumps(structure, separators=(",", ":"))}
    places = {name: str(device_of(array)) for name, array in arrays.items() if not is_host(array)}
    if places:
        metadata[_DEVICES] = json.dumps(places, separators=(",", ":"))
        arrays = {name: host_array(array) for name, array in arrays.items()}
    data = write_safetensors(arrays, metadata)
    if hasattr(f, "write"):
        f.write(data)
    else:
        write_file(f, data)


def write_file(path: "str | os.PathLike[str]", data: bytes) -> None:
    """Write a file so that at every moment the old or the new one is there in full (written aside, synced, renamed)."""
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(f: "str | os.PathLike[str] | IO[bytes]", map_location: Any = None, *, weights_only: bool = True) -> Any:
    """What `save` wrote, or the dictionary of tensors of anybody's safetensors file; tensors are copies.

    map_location: the device that they are made on, by default the one that each was saved from; or, as in PyTorch, a
    dictionary from saved devices to others, or a function of a tensor on the CPU and the name of the device it was
    saved from, which returns the tensor to take (None: where it was). SafetensorsError (a ValueError) for a file that
    is not valid, RuntimeError where it was saved from a GPU and there is none.
    """
    place = _placement(map_location)
    data = f.read() if hasattr(f, "read") else Path(f).read_bytes()
    where = getattr(f, "name", None) if hasattr(f, "read") else os.fspath(f)
    if data[:2] == b"PK" or data[:2] in (b"\x80\x02", b"\x80\x04"):
        raise SafetensorsError(
            f"{where or 'the file'} holds pickled data, as torch.save writes it, which Ingot does not load: convert it "
            f"with safetensors.torch.save_file(state_dict, path)"
        )
    try:
        arrays, metadata = read_safetensors(data)
    except SafetensorsError as error:
        raise SafetensorsError(f"{where or 'the file'}: {error}") from None
    try:
        saved = json.loads(metadata.get(_DEVICES, "{}"))
        if not isinstance(saved, dict) or not all(isinstance(v, str) and _NAME.fullmatch(v) for v in saved.values()):
            raise ValueError("expected names of devices by names of tensors")
    except ValueError as error:
        raise SafetensorsError(f"{where or 'the file'}: its devices are damaged: {error}") from None

    def tensor_of(name: str) -> Tensor:
        return place(_tensor(arrays[name]), saved.get(name, "cpu"))

    if _STRUCTURE not in metadata:
        return OrderedDict((name, tensor_of(name)) for name in arrays)
    try:
        return _decode(json.loads(metadata[_STRUCTURE]), arrays, {}, 0, tensor_of)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise SafetensorsError(f"{where or 'the file'}: its structure is damaged: {error}") from None


def _placement(map_location: Any) -> Callable[[Tensor, str], Tensor]:
    """What puts a tensor that was read where `map_location` says, from the device that it was saved from."""
    if callable(map_location) and not isinstance(map_location, device):

        def chosen(tensor: Tensor, saved: str) -> Tensor:
            found = map_location(tensor, saved)
            if found is not None and not isinstance(found, Tensor):
                raise RuntimeError(f"load: map_location returned {type(found).__name__}, expected a Tensor or None")
            return moved(tensor, _saved_device(saved)) if found is None else found

        return chosen
    if isinstance(map_location, Mapping):
        devices = {str(key): as_device(value) for key, value in map_location.items()}
        return lambda tensor, saved: moved(tensor, devices.get(saved) or _saved_device(saved))
    if map_location is None:
        return lambda tensor, saved: moved(tensor, _saved_device(saved))
    target = as_device(map_location)
    return lambda tensor, saved: moved(tensor, target)


def _saved_device(name: str) -> device:
    """The device of that name; RuntimeError says what to pass where there is none."""
    try:
        return as_device(name)
    except RuntimeError as error:
        raise RuntimeError(f"load: a tensor was saved from {name}, and {error}; pass map_location='cpu'") from error


def _is_state(obj: Any) -> bool:
    """Whether it is a flat dictionary of tensors by name."""
    return (
        isinstance(obj, Mapping)
        and bool(obj)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in obj.items())
        and "__metadata__" not in obj
    )


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    return Tensor(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _store(array: np.ndarray[Any, Any], arrays: dict[str, Any], known: dict[int, str], key: int, path: str) -> str:
    """Keep an array under its path; one that is met again is kept once."""
    if key not in known:
        name = path or "value"
        while name in arrays:
            name += "'"
        arrays[name] = array
        known[key] = name
    return known[key]


def _encode(value: Any, arrays: dict[str, Any], known: dict[int, str], path: str, depth: int) -> Any:
    """A value as JSON: plain ones as they are, others as a list of a tag and what it takes."""
    if depth > _MAX_DEPTH:
        raise TypeError(f"save: {path[:100]}: nested deeper than {_MAX_DEPTH}, or inside itself")
    if value is None or isinstance(value, (bool, str)):
        return value
    if type(value) is int:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else ["float", repr(float(value))]
    if isinstance(value, complex):
        return ["complex", repr(value.real), repr(value.imag)]
    if isinstance(value, Tensor):
        name = _store(value._array, arrays, known, id(value), path)
        return ["tensor", name, bool(value.requires_grad and value.is_leaf)]
    if isinstance(value, (np.ndarray, np.generic)):
        return ["array", _store(np.asarray(value), arrays, known, id(value), path)]

    def inner(item: Any, key: Any) -> Any:
        return _encode(item, arrays, known, f"{path}.{key}" if path else str(key), depth + 1)

    if isinstance(value, Mapping):
        if any(not isinstance(k, (str, int, float, bool, type(None), tuple)) for k in value):
            raise TypeError(f"save: {path or 'the object'}: keys must be strings or numbers, given {list(value)[:5]}")
        return ["dict", [[inner(k, "key"), inner(v, k)] for k, v in value.items()]]
    if isinstance(value, (tuple, list)):
        return ["tuple" if isinstance(value, tuple) else "list", [inner(v, i) for i, v in enumerate(value)]]
    if hasattr(value, "numpy") and hasattr(value, "is_floating_point"):
        return ["dtype", value.name]
    raise TypeError(
        f"save: {path or 'the object'} is a {type(value).__name__}, which cannot be saved: expected tensors, arrays, "
        f"dictionaries, lists, tuples, strings, numbers, booleans or None (save a module's state_dict())"
    )


def _decode(
    value: Any, arrays: dict[str, Any], made: dict[str, Tensor], depth: int, tensor_of: Callable[[str], Tensor]
) -> Any:
    if depth > 2 * _MAX_DEPTH + 10:
        raise ValueError("nested too deep")
    match value:
        case ["float", str(text)]:
            return float(text)
        case ["complex", str(real), str(imag)]:
            return complex(float(real), float(imag))
        case ["tensor", str(name), bool(grad)]:
            if name not in made:
                made[name] = tensor_of(name)
                if grad:
                    made[name].requires_grad_()
            return made[name]
        case ["array", str(name)]:
            return np.array(arrays[name])
        case ["dict", list(entries)]:
            return {
                _decode(k, arrays, made, depth + 1, tensor_of): _decode(v, arrays, made, depth + 1, tensor_of)
                for k, v in entries
            }
        case ["list", list(items)]:
            return [_decode(v, arrays, made, depth + 1, tensor_of) for v in items]
        case ["tuple", list(items)]:
            return tuple(_decode(v, arrays, made, depth + 1, tensor_of) for v in items)
        case ["dtype", str(name)]:
            return as_dtype(name)
        case list() | dict():
            raise ValueError(f"unknown entry {str(value)[:60]}")
    return value
