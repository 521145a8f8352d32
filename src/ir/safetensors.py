"""Named arrays in a file that holds nothing else and can be memory-mapped: the safetensors format.

Eight bytes of header length (little-endian), a JSON header `{name: {dtype, shape, data_offsets}}`, then the arrays'
bytes without holes (https://huggingface.co/docs/safetensors, "Format"). Arrays written here start at multiples of 64
bytes: where the one before ends earlier, an array of bytes named `__padding__.<n>` fills the gap.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from .dtypes import bfloat16

__all__ = ["ALIGNMENT", "SafetensorsError", "read_safetensors", "write_safetensors"]

ALIGNMENT = 64
MAX_HEADER_BYTES = 100_000_000
_PADDING = "__padding__."
_METADATA = "__metadata__"

_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind).newbyteorder("<")
    for name, kind in {
        "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "F16": np.float16,
        "U32": np.uint32, "I32": np.int32, "F32": np.float32, "U64": np.uint64, "I64": np.int64, "F64": np.float64,
        "C64": np.complex64, "C128": np.complex128,
    }.items()
}  # fmt: skip
_NAMES = {(dtype.kind, dtype.itemsize): name for name, dtype in _DTYPES.items()}


def _name_of(dtype: np.dtype[Any]) -> str | None:
    return "BF16" if dtype.name == "bfloat16" else _NAMES.get((dtype.kind, dtype.itemsize))


def _dtype_of(name: str) -> np.dtype[Any] | None:
    return bfloat16.numpy if name == "BF16" else _DTYPES.get(name)


class SafetensorsError(ValueError):
    """Bytes that are not a valid safetensors file, or arrays that cannot be written as one."""


def write_safetensors(arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file with these arrays, in C order, and metadata strings.

    SafetensorsError for a dtype that the format does not have, or a name that it reserves.

    >>> blob = write_safetensors({"w": np.arange(3.0)})
    >>> read_safetensors(blob)[0]["w"]
    array([0., 1., 2.])
    """
    header: dict[str, Any] = {}
    chunks: list[bytes] = []
    if metadata:
        header[_METADATA] = {str(key): str(value) for key, value in metadata.items()}
    position = 0
    for index, (name, array) in enumerate(arrays.items()):
        if name == _METADATA or name.startswith(_PADDING):
            raise SafetensorsError(f"the name {name!r} is reserved")
        dtype = _name_of(array.dtype)
        if dtype is None:
            raise SafetensorsError(f"the array {name!r} has dtype {array.dtype}, which the format does not have")
        if gap := -position % ALIGNMENT:
            header[f"{_PADDING}{index}"] = _entry("U8", (gap,), position, position + gap)
            chunks.append(bytes(gap))
            position += gap
        data = np.ascontiguousarray(array, dtype=_dtype_of(dtype)).tobytes()
        header[name] = _entry(dtype, array.shape, position, position + len(data))
        chunks.append(data)
        position += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Spaces after the header are allowed; they put the first array at a multiple of 64, too.
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    return b"".join([struct.pack("<Q", len(text)), text, *chunks])


def _entry(dtype: str, shape: tuple[int, ...], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def read_safetensors(
    data: "bytes | bytearray | memoryview",
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """The arrays in a file's bytes, as views of them, and its metadata; nothing is copied.

    SafetensorsError for anything that is not valid: sizes that do not add up, arrays that overlap or leave holes,
    unknown dtypes, repeated names.
    """
    view = memoryview(data)
    if len(view) < 8:
        raise SafetensorsError(f"{len(view)} bytes are too few for a header")
    (length,) = struct.unpack_from("<Q", view)
    if length > min(MAX_HEADER_BYTES, len(view) - 8):
        raise SafetensorsError(f"the header is said to have {length} bytes, of {len(view) - 8} that there are")
    header = _parse_header(bytes(view[8 : 8 + length]))
    body = view[8 + length :]
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise SafetensorsError("the metadata must be strings by name")
    entries = [(name, *_parse_entry(name, entry, len(body))) for name, entry in header.items()]
    position = 0
    for name, _, _, start, end in sorted(entries, key=lambda entry: (entry[3], entry[4])):
        if start != position:
            raise SafetensorsError(f"the array {name!r} starts at byte {start}, expected {position}")
        position = end
    if position != len(body):
        raise SafetensorsError(f"the arrays end at byte {position}, the data at {len(body)}")
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, dtype, shape, start, end in entries:
        if not name.startswith(_PADDING):
            arrays[name] = np.frombuffer(body[start:end], dtype).reshape(shape)
    return arrays, metadata


def _parse_header(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise SafetensorsError("a name occurs twice in the header")
        return made

    if not text.startswith(b"{"):
        raise SafetensorsError("the header does not start with '{'")
    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, SafetensorsError):
            raise
        raise SafetensorsError(f"the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise SafetensorsError("the header is not a JSON object")
    return header


def _parse_entry(name: str, entry: Any, available: int) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(start), int(end)]} if len(entry) == 3:
            pass
        case _:
            raise SafetensorsError(f"the array {name!r} is described by {str(entry)[:100]}")
    dtype = _dtype_of(kind)
    if dtype is None:
        raise SafetensorsError(f"the array {name!r} has dtype {kind!r}, expected one of {', '.join(_DTYPES)}, BF16")
    if len(shape) > 64 or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape):
        raise SafetensorsError(f"the array {name!r} has shape {str(shape)[:100]}")
    if not 0 <= start <= end <= available:
        raise SafetensorsError(f"the array {name!r} lies at bytes {start} to {end} of {available}")
    if math.prod(shape) * dtype.itemsize != end - start:
        raise SafetensorsError(f"the array {name!r} has {end - start} bytes, which {kind}{shape} does not")
    if 0 in shape and math.prod(n for n in shape if n) >= 1 << 62:
        raise SafetensorsError(f"the array {name!r} has shape {str(shape)[:100]}")
    return dtype, tuple(shape), start, end
