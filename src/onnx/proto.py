"""Reading model files: the protobuf, element types, and tensors, whose external data must lie in the model's folder."""

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..ir import dtypes
from ..ir.dtypes import DType
from .errors import OnnxError

__all__ = ["array_of", "element_type", "onnx", "read_model", "type_name"]

try:
    import onnx
except ImportError as error:  # the extra is optional, and only this package needs it
    raise ImportError("ingot.onnx needs the onnx package: pip install 'ingot[onnx]'") from error

MAX_PROTOBUF_BYTES = 2**31 - 1  # the format's own limit
MAX_GRAPH_DEPTH = 64

_TYPES: dict[int, DType] = {
    onnx.TensorProto.BOOL: dtypes.bool_,
    onnx.TensorProto.UINT8: dtypes.uint8,
    onnx.TensorProto.UINT16: dtypes.uint16,
    onnx.TensorProto.UINT32: dtypes.uint32,
    onnx.TensorProto.UINT64: dtypes.uint64,
    onnx.TensorProto.INT8: dtypes.int8,
    onnx.TensorProto.INT16: dtypes.int16,
    onnx.TensorProto.INT32: dtypes.int32,
    onnx.TensorProto.INT64: dtypes.int64,
    onnx.TensorProto.FLOAT16: dtypes.float16,
    onnx.TensorProto.BFLOAT16: dtypes.bfloat16,
    onnx.TensorProto.FLOAT: dtypes.float32,
    onnx.TensorProto.DOUBLE: dtypes.float64,
    onnx.TensorProto.COMPLEX64: dtypes.complex64,
    onnx.TensorProto.COMPLEX128: dtypes.complex128,
}


def type_name(code: int) -> str:
    """ONNX's name of an element type, for messages."""
    try:
        return str(onnx.TensorProto.DataType.Name(code))
    except ValueError:
        return f"element type {code}"


def element_type(code: int) -> DType:
    """The dtype of an ONNX element type; OnnxError where Ingot has none."""
    found = _TYPES.get(code)
    if found is None:
        known = ", ".join(type_name(c) for c in _TYPES)
        raise OnnxError(f"tensors of {type_name(code)} are not supported: expected one of {known}")
    return found


def read_model(source: Any) -> tuple[Any, str, Path | None]:
    """A model, the name to give it in messages, and its folder (None without a file), from a path, bytes or a model.

    OnnxError where the file is no ONNX model, or is one without a graph or an operator set.
    """
    folder: Path | None = None
    if isinstance(source, onnx.ModelProto):
        model, name = source, source.graph.name or "model"
    elif isinstance(source, (bytes, bytearray, memoryview)):
        model, name = _parse(bytes(source), "model"), "model"
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            if path.stat().st_size > MAX_PROTOBUF_BYTES:
                raise OnnxError(f"{path}: larger than 2 GiB, which a protobuf cannot be; use external data")
            data = path.read_bytes()
        except OSError as error:
            raise OnnxError(f"{path}: cannot be read: {error.strerror or error}") from None
        model, name, folder = _parse(data, str(path)), str(path), path.resolve().parent
    else:
        raise TypeError(f"onnx.load: expected a path, bytes or an onnx.ModelProto, given {type(source).__name__}")
    if not model.HasField("graph") or not model.graph.output:
        raise OnnxError(f"{name}: not an ONNX model: it has no graph with outputs")
    if not model.opset_import:
        raise OnnxError(f"{name}: the model does not say which operator set it uses (opset_import is empty)")
    return model, name, folder


def _parse(data: bytes, name: str) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise OnnxError(f"{name}: not an ONNX model: the protobuf is damaged ({error})") from None
    return model


def array_of(tensor: Any, folder: Path | None) -> np.ndarray[Any, Any]:
    """The elements of a TensorProto as an array that nobody else changes.

    OnnxError for sizes that the data does not fill, element types without a numpy dtype, and external data that is
    not a plain file inside the model's folder.
    """
    label = f"the tensor {tensor.name!r}" if tensor.name else "a tensor"
    shape = tuple(tensor.dims)
    if any(n < 0 for n in shape):
        raise OnnxError(f"{label} has a negative size: {list(shape)}")
    if tensor.data_type == onnx.TensorProto.STRING:
        raise OnnxError(f"{label} holds strings, which are not supported")
    dtype = element_type(tensor.data_type).numpy
    count = math.prod(shape)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _external(tensor, label, dtype, count, folder).reshape(shape)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != count * dtype.itemsize:
            raise OnnxError(
                f"{label}: {list(shape)} of {dtype} needs {count * dtype.itemsize} bytes, the file has "
                f"{len(tensor.raw_data)}"
            )
        return np.frombuffer(tensor.raw_data, dtype=dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    field = {"f": "float_data", "d": "double_data", "q": "int64_data", "F": "float_data", "D": "double_data"}
    values = getattr(tensor, field.get(dtype.char, "int64_data" if dtype == np.int64 else "int32_data"))
    expected = count * (2 if dtype.kind == "c" else 1)
    if len(values) != expected:
        raise OnnxError(f"{label}: {list(shape)} needs {expected} numbers, the file has {len(values)}")
    try:
        result: np.ndarray[Any, Any] = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise OnnxError(f"{label} is damaged: {error}") from None
    return np.array(result, dtype=dtype).reshape(shape)


def _external(tensor: Any, label: str, dtype: Any, count: int, folder: Path | None) -> np.ndarray[Any, Any]:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise OnnxError(f"{label} has its data in {location!r}: load the model from its file, so that it can be found")
    relative = Path(location)
    if not location or relative.is_absolute() or ".." in relative.parts or "\\" in location or ":" in location:
        raise OnnxError(f"{label} has its data in {location!r}: expected a file inside the model's folder")
    path = folder
    for part in relative.parts:  # no link on the way: what it points to may be anywhere
        path = path / part
        if path.is_symlink():
            raise OnnxError(f"{label} has its data in {location!r}, which is a link: links are not followed")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", count * dtype.itemsize))
    except ValueError:
        raise OnnxError(f"{label}: the offset or length of its external data is no number") from None
    if offset < 0 or length != count * dtype.itemsize:
        raise OnnxError(
            f"{label}: needs {count * dtype.itemsize} bytes, the model says {length} at offset {offset} of {location!r}"
        )
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size < offset + length:
                raise OnnxError(f"{label}: {location!r} is no plain file of at least {offset + length} bytes")
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise OnnxError(f"{label}: {location!r} cannot be read: {error.strerror or error}") from None
    return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype)


def nested_graphs(node: Any) -> Iterator[Any]:
    """The graphs among a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
