"""Sharing memory with other libraries: DLPack, the array interface, buffers; and the display of notebooks."""

import html
import importlib
from typing import Any

import numpy as np

from ..ir.dtypes import as_dtype, from_numpy
from .tensor import Tensor, wrap

__all__ = ["FUNCTIONS", "METHODS"]

FUNCTIONS = ("from_dlpack", "frombuffer")
METHODS = ()


def _shared(tensor: Tensor, what: str) -> np.ndarray[Any, Any]:
    """The tensor's array; BufferError where the tensor requires grad, since writes would go past autograd."""
    if tensor.requires_grad:
        raise BufferError(f"{what}: Can't export tensors that require gradient, use tensor.detach()")
    return tensor.numpy()


def _dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A DLPack capsule of the tensor's memory (Python array API standard, 2023.12)."""
    if stream is not None and stream != -1:
        raise BufferError(f"__dlpack__: a CPU tensor has no stream, given {stream!r}")
    return _shared(self, "__dlpack__").__dlpack__(max_version=max_version, dl_device=dl_device, copy=copy)


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    """The kind and number of the device: (1, 0), the CPU."""
    return 1, 0


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor over the memory of another library's array, which both then write to.

    >>> import numpy
    >>> array = numpy.zeros(2)
    >>> ingot.from_dlpack(array).add_(1)
    tensor([1., 1.], dtype=ingot.float64)
    >>> array
    array([1., 1.])
    """
    array = np.from_dlpack(ext_tensor)
    from_numpy(array.dtype)  # refuses dtypes that no tensor has
    return wrap(array)


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A vector over the memory of an object with the buffer protocol.

    >>> ingot.frombuffer(bytearray(b"\\x01\\x02"), dtype=ingot.uint8)
    tensor([1, 2], dtype=ingot.uint8)
    """
    target = as_dtype(dtype)
    size = memoryview(buffer).nbytes
    if count == 0 or not size:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({size}) - 1")
    if count < 0 and (size - offset) % target.itemsize:
        raise ValueError(
            f"buffer length ({size - offset} bytes) after offset ({offset} bytes) must be a multiple of element size "
            f"({target.itemsize})"
        )
    tensor = wrap(np.frombuffer(buffer, target.numpy, count, offset))
    return tensor.requires_grad_() if requires_grad else tensor


def _html(self: Tensor) -> str:
    """The text of the tensor for notebooks."""
    return f"<pre>{html.escape(repr(self))}</pre>"


def _array_interface(self: Tensor) -> dict[str, Any]:
    """How NumPy finds the memory (the array interface, version 3)."""
    if self.requires_grad:
        raise AttributeError("__array_interface__: the tensor requires grad; use tensor.detach()")
    return dict(self.numpy().__array_interface__)


def _array_namespace(self: Tensor, *, api_version: str | None = None) -> Any:
    """The functions of the Python array API standard over tensors (`ingot.array_api`)."""
    namespace = importlib.import_module("..array_api", __package__)
    if api_version is not None and api_version not in namespace.SUPPORTED_VERSIONS:
        raise ValueError(f"api_version {api_version!r}, expected one of {', '.join(namespace.SUPPORTED_VERSIONS)}")
    return namespace


def _to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The tensor on a device, as the Python array API standard spells it."""
    if stream is not None:
        raise ValueError(f"to_device: a CPU tensor has no stream, given {stream!r}")
    return self.to(device=device)


for _name, _value in {
    "__array_namespace__": _array_namespace,
    "to_device": _to_device,
    "__dlpack__": _dlpack,
    "__dlpack_device__": _dlpack_device,
    "_repr_html_": _html,
    "__array_interface__": property(_array_interface, doc="How NumPy finds the memory."),
}.items():
    setattr(Tensor, _name, _value)
