"""Reading the parts of an ingot, each checked as it is read; what is wrong is a LoadError that names the part."""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..ir.safetensors import SafetensorsError, read_safetensors
from .archive_format import Members, part
from .bundle import array_key
from .errors import LoadError

__all__ = [
    "FORMAT_VERSION", "READING_SECONDS", "check_amount", "check_version", "checksum", "field", "graph_numbers",
    "numbered", "parameter_name", "parameter_places", "read_json", "read_safetensors_part", "read_text", "read_weights",
]  # fmt: skip

FORMAT_VERSION = 2
MAX_SPECIALISATIONS = 1000
# What is read of a file from elsewhere: text becomes up to 40 times as much memory, and a graph's instruction takes up
# to 0.1 ms. Files with more weights may have more text.
_MAX_TEXT_BYTES = 3 << 19
_TEXT_SHARE = 16
READING_SECONDS = 0.8


def numbered(stem: str, index: int, suffix: str) -> str:
    """The name of a part that there is one of for each graph."""
    return f"{stem}.{suffix}" if index == 0 else f"{stem}.{index}.{suffix}"


def parameter_name(name: str) -> str:
    """The name of a parameter among the weights."""
    return f"parameter:{name}"


def read_text(members: Members, name: str) -> str:
    """A part that is text."""
    if name not in members:
        raise LoadError(f"{name}: the file has no such part, so it is not an ingot")
    with part(name):
        return str(members[name], "utf-8")


def read_json(members: Members, name: str) -> dict[str, Any]:
    """A part that is a JSON object."""
    text = read_text(members, name)
    with part(name):
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        return data


def check_amount(members: Members, suffixes: tuple[str, ...]) -> None:
    """LoadError where a file has more text in parts with these suffixes than one from elsewhere may have."""
    allowed = _MAX_TEXT_BYTES + sum(map(members.size, members)) // _TEXT_SHARE
    texts = {}
    for name in members:
        if not name.endswith(suffixes):
            continue
        texts[name] = members.size(name)
        if name.endswith(".safetensors"):  # whose text is its header
            texts[name] = min(int.from_bytes(members.unchecked(name)[:8], "little"), texts[name])
    if sum(texts.values()) > allowed:
        name = max(texts, key=lambda name: texts[name])
        raise LoadError(
            f"{name}: {texts[name]} bytes of text are more than is read of a file that is not known to be yours; where "
            "you trust it, load it with trust=True"
        )


def read_safetensors_part(members: Members, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a part, as views of its bytes."""
    if name not in members:
        raise LoadError(f"{name}: the file has no such part")
    try:
        return read_safetensors(members[name])[0]
    except SafetensorsError as error:
        raise LoadError(f"{name}: {error}") from error


def field(data: dict[str, Any], name: str, kind: type) -> Any:
    """A field of a JSON object, of exactly this type."""
    value = data.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name!r} must be {kind.__name__}, given {str(value)[:50]!r}")
    return value


def check_version(description: dict[str, Any]) -> None:
    """ValueError where the file is of a later format than this version reads."""
    version = description.get("format")
    if type(version) is not int or version < 1:
        raise ValueError(f"the format version is {str(version)[:50]!r}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"the format version is {version}, and this version of Ingot reads {FORMAT_VERSION}: upgrade Ingot, or "
            "save the file with an older one"
        )


class CheckedArrays(Mapping[str, np.ndarray[Any, Any]]):
    """Arrays of a part, each verified by its own checksum when it is taken: who runs machine code needs few of them."""

    def __init__(
        self, part_name: str, arrays: Mapping[str, np.ndarray[Any, Any]], checksums: Mapping[str, int]
    ) -> None:
        self._part = part_name
        self._arrays = arrays
        self._checksums = dict(checksums)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        array = self._arrays[name]
        if name in self._checksums:
            if checksum(array) != self._checksums[name]:
                raise LoadError(f"{self._part}: damaged: the checksum of {name!r} does not match")
            del self._checksums[name]
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class NamedArrays(Mapping[str, np.ndarray[Any, Any]]):
    """The constants among a file's weights, as native programs name those of their graph (see `array_key`)."""

    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]], keys: Mapping[str, str]) -> None:
        self._arrays = arrays
        self._names = {key: name for name, key in keys.items()}

    def __getitem__(self, key: str) -> np.ndarray[Any, Any]:
        return self._arrays[self._names[key]]

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def checksum(array: np.ndarray[Any, Any]) -> int:
    """The CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data) if array.size else 0


def read_weights(
    members: Members, description: dict[str, Any]
) -> tuple[dict[str, np.ndarray[Any, Any]], Mapping[str, np.ndarray[Any, Any]], NamedArrays]:
    """The arrays of a file as they are, the same to be verified as they are taken, and its constants by key."""
    name = "weights.safetensors"
    with part("ingot.json"):
        digests = field(description, "digests", dict)
        checksums = description.get("checksums", {})
        if not isinstance(checksums, dict) or not all(isinstance(value, int) for value in checksums.values()):
            raise ValueError("the checksums are not described as expected")
    if name not in members:
        raise LoadError(f"{name}: the file has no such part")
    try:
        arrays = read_safetensors(members.unchecked(name))[0]
    except SafetensorsError as error:
        raise LoadError(f"{name}: {error}") from error
    if any(key not in checksums for key in arrays):
        members[name]  # verified as a whole
    checked = CheckedArrays(name, arrays, checksums)
    keys = {key: array_key(str(digests[key]), array) for key, array in arrays.items() if key in digests}
    return arrays, checked, NamedArrays(checked, keys)


def graph_numbers(description: dict[str, Any]) -> None:
    """ValueError unless every graph of a file's callables has a number of its own, and there are some."""
    methods = description.get("methods", {})
    if not isinstance(methods, dict):
        raise ValueError("the methods are not described as expected")
    callables = [description, *methods.values()]
    numbers: list[int] = []
    for data in callables:
        if not isinstance(data, dict):
            raise ValueError("a method is not described by an object")
        for position, item in enumerate(field(data, "specialisations", list)):
            if not isinstance(item, dict):
                raise ValueError("a graph is not described by an object")
            numbers.append(field(item, "graph", int) if "graph" in item else position)
    if not 1 <= len(numbers) <= MAX_SPECIALISATIONS:
        raise ValueError(f"{len(numbers)} graphs are described")
    if sorted(numbers) != list(range(len(numbers))):
        raise ValueError(f"the graphs have the numbers {str(sorted(numbers))[:80]}")


def parameter_places(data: dict[str, Any]) -> dict[str, str]:
    """Where the tensors are that graphs know as parameters, by the name that graphs use."""
    places = data.get("parameters")
    if isinstance(places, list):  # format 1: under the same name
        places = {name: name for name in places if isinstance(name, str)}
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise ValueError("the parameters are not described as expected")
    return places
