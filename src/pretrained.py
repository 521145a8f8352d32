"""Models in the folder layout of the Hugging Face hub: `config.json` beside `model.safetensors`, or its shards.

>>> import tempfile
>>> class Scale(ingot.pretrained.PretrainedModel):
...     def __init__(self, config):
...         super().__init__(config)
...         self.weight = ingot.nn.Parameter(ingot.full((config["size"],), config["start"]))
...     def forward(self, x):
...         return x * self.weight
>>> folder = tempfile.mkdtemp()
>>> Scale({"size": 2, "start": 3.0}).save_pretrained(folder)
>>> Scale.from_pretrained(folder)(ingot.ones(2))
tensor([3., 3.], grad_fn=<MulBackward0>)
"""

import json
import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .eager import Tensor, no_grad
from .eager.device import host_array
from .eager.module import Module
from .eager.tensor import wrap
from .ir.dtypes import DType
from .ir.safetensors import SafetensorsError, read_safetensors, write_safetensors
from .serialization import write_file

__all__ = ["PretrainedModel", "read_config", "read_weights", "write_weights"]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"


def read_config(folder: str | Path) -> dict[str, Any]:
    """The `config.json` of a model folder. FileNotFoundError where there is none, ValueError where it is no object."""
    return _read_json(Path(folder) / CONFIG)


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of a model folder by name, from one file or from the shards that its index names.

    The files are mapped into memory: bytes are read when a tensor is first used, and a write to a tensor stays in this
    process. FileNotFoundError where there are no weights; ValueError, with the file's name, for damage, for a shard
    outside the folder, and where the index and the shards disagree.
    """
    folder = Path(folder)
    index = folder / INDEX
    if not index.exists():
        if not (folder / WEIGHTS).exists():
            raise FileNotFoundError(f"{folder}: neither {WEIGHTS} nor {INDEX} is there")
        return _map_file(folder / WEIGHTS)
    where = _read_json(index).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(shard, str) for shard in where.values()):
        raise ValueError(f"{index}: weight_map is {str(where)[:80]}, expected file names by tensor name")
    weights: dict[str, Tensor] = {}
    for shard in sorted({*where.values()}):
        path = folder / shard
        if Path(shard).name != shard or path.resolve().parent != folder.resolve():
            raise ValueError(f"{index}: the shard {shard!r} is outside the model's folder")
        if not path.exists():
            raise FileNotFoundError(f"{path}: the index names this shard, which is not there")
        for name, tensor in _map_file(path).items():
            if where.get(name) != shard:
                raise ValueError(f"{path}: holds {name!r}, which the index places in {where.get(name)!r}")
            weights[name] = tensor
    missing = sorted({*where} - {*weights})
    if missing:
        raise ValueError(f"{index}: {', '.join(missing[:5])} in no shard")
    return weights


def write_weights(weights: Mapping[str, Tensor], folder: str | Path, *, max_shard_size: int = 5_000_000_000) -> None:
    """Write tensors to a model folder: one file, or shards of at most `max_shard_size` bytes (or one tensor).

    A tensor that shares its memory with one before it is left out, as a loader ties the two again.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, np.ndarray[Any, Any]]] = [{}]
    stored: set[tuple[Any, ...]] = set()
    size = 0
    for name, tensor in weights.items():
        array = host_array(tensor.detach()._array)
        identity = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        if array.size and identity in stored:
            continue
        stored.add(identity)
        if shards[-1] and size + array.nbytes > max_shard_size:
            shards.append({})
            size = 0
        shards[-1][name] = array
        size += array.nbytes
    if len(shards) == 1:
        write_file(folder / WEIGHTS, write_safetensors(shards[0], {"format": "pt"}))
        (folder / INDEX).unlink(missing_ok=True)
        return
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / file, write_safetensors(shard, {"format": "pt"}))
        where.update(dict.fromkeys(shard, file))
    total = sum(array.nbytes for shard in shards for array in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    write_file(folder / INDEX, json.dumps(index, indent=2).encode())
    (folder / WEIGHTS).unlink(missing_ok=True)


class PretrainedModel(Module):
    """A module that is made from a configuration, and loads and saves the folder layout.

    A subclass takes the configuration (`config.json` as a dictionary) in `__init__` and passes it on. Where files made
    by other programs name things differently, it says how:

    - `prefix`: what such files put before all names ("bert.", "transformer."), or don't;
    - `renamed`: replacements in names, regular expression to text;
    - `ignored`: a regular expression of names that files hold and the model does not need.
    """

    prefix = ""
    renamed: ClassVar[Mapping[str, str]] = {}
    ignored = r"$^"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, dtype: DType | None = None, strict: bool = True) -> Self:
        """The model in a folder, in eval mode, its weights mapped from the files, and cast where a `dtype` is given.

        RuntimeError lists the weights that are missing, unexpected (unless `strict` is False) or of another shape.
        """
        model = cls(read_config(folder))
        names = model.state_dict().keys()
        weights: dict[str, Tensor] = {}
        for stored, tensor in read_weights(folder).items():
            name = model._name_of(stored, names)
            if name in names or not re.search(cls.ignored, stored):
                weights[name] = tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
        for name, first in _ties(model).items():
            if name not in weights and first in weights:
                weights[name] = weights[first]
        with no_grad():
            model.load_state_dict(weights, strict=strict, assign=True)
        model.tie_weights()
        return model.eval()

    def tie_weights(self) -> None:
        """Let weights that are one under several names be one; a subclass with such weights does it here."""

    def save_pretrained(self, folder: str | Path, *, max_shard_size: int = 5_000_000_000) -> None:
        """Write `config.json` and the weights to a folder, which is made where it is not there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(self.state_dict(), folder, max_shard_size=max_shard_size)
        write_file(folder / CONFIG, json.dumps(self.config, indent=2).encode())

    def _name_of(self, stored: str, names: Any) -> str:
        """The model's name of a weight that a file calls `stored`."""
        for pattern, replacement in self.renamed.items():
            stored = re.sub(pattern, replacement, stored)
        if stored in names:
            return stored
        if self.prefix and stored.startswith(self.prefix) and stored.removeprefix(self.prefix) in names:
            return stored.removeprefix(self.prefix)
        return self.prefix + stored if self.prefix + stored in names else stored


def _ties(module: Module) -> dict[str, str]:
    """The names of parameters that are another name of one before, with the first name of each."""
    first: dict[int, str] = {}
    ties: dict[str, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(parameter), name)
        if other != name:
            ties[name] = other
    return ties


def _map_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; their memory is the file, copied where it is written to."""
    with open(path, "rb") as file:
        if path.stat().st_size == 0:
            raise ValueError(f"{path}: the file is empty")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    try:
        arrays, _ = read_safetensors(memoryview(mapped))
    except SafetensorsError as error:
        raise ValueError(f"{path}: {error}") from None
    # NumPy computes on arrays that are not aligned to their elements, but native code does not take them.
    return {name: wrap(array if array.flags.aligned else array.copy()) for name, array in arrays.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: a JSON {type(value).__name__}, expected an object")
    return value
