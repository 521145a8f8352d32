"""Sharing memory with other libraries: DLPack, the array interface, buffers; and the display of notebooks."""

import html
import importlib
from typing import Any

import numpy as np

from ..ir.dtypes import as_dtype, bfloat16, from_numpy
from .device import host_array, imported, is_host, move_array
from .dlpack import DLPACK_BFLOAT, DLPACK_UINT, Capsule, dtype_code, retyped, writable
from .inplace import check_writable
from .tensor import Tensor, wrap

__all__ = ["FUNCTIONS", "METHODS"]

FUNCTIONS = ("from_dlpack", "frombuffer")
METHODS = ("apply_", "map_")


def _shared(tensor: Tensor, what: str) -> np.ndarray[Any, Any]:
    """The tensor's array; BufferError where the tensor requires grad, since writes would go past autograd."""
    _require_no_grad(tensor, what)
    return tensor.numpy()


def _require_no_grad(tensor: Tensor, what: str) -> None:
    if tensor.requires_grad:
        raise BufferError(f"{what}: Can't export tensors that require gradient, use tensor.detach()")


def _dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A DLPack capsule of the tensor's memory (Python array API standard, 2023.12)."""
    if not is_host(self._array):
        return _device_capsule(self, stream, max_version, dl_device, copy)
    if stream is not None and stream != -1:
        raise BufferError(f"__dlpack__: a CPU tensor has no stream, given {stream!r}")
    if self._array.dtype.kind == "V":  # bfloat16, whose code numpy does not write
        _require_no_grad(self, "__dlpack__")
        return retyped(self._array.view(np.uint16).__dlpack__(), DLPACK_BFLOAT)
    return _shared(self, "__dlpack__").__dlpack__(max_version=max_version, dl_device=dl_device, copy=copy)


def _device_capsule(self: Tensor, stream: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    """The capsule that the array module of the GPU makes."""
    _require_no_grad(self, "__dlpack__")
    if dl_device is not None and tuple(dl_device) == (1, 0):
        return self.cpu().__dlpack__(max_version=max_version, copy=copy)
    export = getattr(self._array, "__dlpack__", None)
    if export is None:
        raise BufferError("__dlpack__: memory of a simulated GPU cannot be shared; use tensor.cpu()")
    return export(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def _cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """How cupy and numba find the memory of a tensor on a GPU (the CUDA array interface, version 3)."""
    if is_host(self._array):
        raise AttributeError(
            "Can't get __cuda_array_interface__ on non-CUDA tensor. Use tensor.cuda() to copy the tensor to device "
            "memory."
        )
    if self.requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients aren't required, use "
            "var.detach() to get Variable that doesn't require grad."
        )
    array: Any = self._array
    return dict(array.__cuda_array_interface__)


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    """The kind and number of the device: (1, 0), the CPU, or (2, i), the i-th GPU."""
    index = self.device.index
    return (1, 0) if index is None else (2, index)


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor over the memory of another library's array, which both then write to.

    >>> import numpy
    >>> array = numpy.zeros(2)
    >>> ingot.from_dlpack(array).add_(1)
    tensor([1., 1.], dtype=ingot.float64)
    >>> array
    array([1., 1.])
    """
    if hasattr(ext_tensor, "__dlpack_device__") and ext_tensor.__dlpack_device__()[0] != 1:
        return wrap(imported(ext_tensor))
    if hasattr(ext_tensor, "__dlpack__") and "bfloat16" not in str(getattr(ext_tensor, "dtype", "")):
        array = np.from_dlpack(ext_tensor)
    else:
        capsule = ext_tensor.__dlpack__() if hasattr(ext_tensor, "__dlpack__") else ext_tensor
        narrow = dtype_code(capsule) == DLPACK_BFLOAT
        array = writable(np.from_dlpack(Capsule(retyped(capsule, DLPACK_UINT) if narrow else capsule)))
        array = array.view(bfloat16.numpy) if narrow else array
    from_numpy(array.dtype)  # refuses dtypes that no tensor has
    return wrap(array)


def to_dlpack(tensor: Tensor) -> Any:
    """The tensor's memory as a DLPack capsule, which one consumer may take (`utils.dlpack.to_dlpack`)."""
    return _dlpack(tensor)


def _array_wrap(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
    """The result of a numpy ufunc on a tensor, as a tensor."""
    return wrap(np.asarray(array) if is_host(array) else array)


def apply_(self: Tensor, callable: Any) -> Tensor:
    """Replace every element by `callable(element)`; for where no op does it, since it is slow. Returns the tensor."""
    check_writable(self, "apply_")
    values = np.array([callable(v) for v in self.reshape(-1).tolist()])  # type: ignore[attr-defined]
    _overwrite(self, values)
    return self


def _overwrite(tensor: Tensor, values: np.ndarray[Any, Any]) -> None:
    """Write numbers that Python computed, one after the other, into the tensor."""
    array = tensor._array
    shaped = values.reshape(array.shape)
    if is_host(array):
        np.copyto(array, shaped, casting="unsafe")
    else:
        array[...] = move_array(shaped.astype(array.dtype), tensor.device)
    tensor.bump_version()


def map_(self: Tensor, tensor: Tensor, callable: Any) -> Tensor:
    """Replace every element by `callable(element, other's element)`; slow, as `apply_` is. Returns the tensor."""
    check_writable(self, "map_")
    others = np.broadcast_to(host_array(tensor._array), self._array.shape).reshape(-1).tolist()
    values = np.array([callable(v, w) for v, w in zip(self.reshape(-1).tolist(), others, strict=True)])  # type: ignore[attr-defined]
    _overwrite(self, values)
    return self


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
    if not is_host(self._array):
        raise AttributeError("__array_interface__: the tensor is on a GPU; use tensor.cpu()")
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
    if stream is not None and is_host(self._array):
        raise ValueError(f"to_device: a CPU tensor has no stream, given {stream!r}")
    return self.to(device=device)


for _name, _value in {
    "__array_namespace__": _array_namespace,
    "to_device": _to_device,
    "__dlpack__": _dlpack,
    "__dlpack_device__": _dlpack_device,
    "__cuda_array_interface__": property(_cuda_array_interface, doc="How cupy and numba find the memory."),
    "__array_wrap__": _array_wrap,
    "_repr_html_": _html,
    "__array_interface__": property(_array_interface, doc="How NumPy finds the memory."),
}.items():
    setattr(Tensor, _name, _value)
