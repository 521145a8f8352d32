"""Tensors as other dtypes and on other devices, copies, and new tensors like a tensor."""

from typing import Any

import numpy as np

from ..ir.dtypes import DType, as_dtype
from . import modes
from .device import CPU, as_device, device
from .functions import call as _call
from .memory_format import channels_last, channels_last_3d, in_format, is_in_format
from .placement import moved
from .tensor import Tensor

__all__ = ["CONVERSIONS", "clone"]


def _to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor with another dtype or device: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`."""
    dtype: Any = kwargs.pop("dtype", None)
    copy = kwargs.pop("copy", False)
    target: Any = kwargs.pop("device", None)
    kwargs.pop("non_blocking", None)
    format = kwargs.pop("memory_format", None)
    other = kwargs.pop("other", None)
    if kwargs:
        raise TypeError(f"to() got unexpected keyword arguments {', '.join(kwargs)}")
    flags = 0
    for a in args if other is None else (other, *args):
        if isinstance(a, Tensor):
            dtype = a.dtype
            target = a.device
        elif isinstance(a, DType) or a in (float, int, bool, complex) or isinstance(a, np.dtype):
            dtype = as_dtype(a)
        elif isinstance(a, (str, device)) or a.__class__ is int:
            target = a
        elif isinstance(a, bool):  # non_blocking, then copy
            copy = a if flags else copy
            flags += 1
        elif a is not None:
            raise TypeError(f"to() received an invalid argument: expected a dtype, device or Tensor, given {a!r}")
    if target is not None and (place := as_device(target)) is not self.device:
        return _on_other_device(self, place, dtype, format)
    if dtype is None or as_dtype(dtype) is self.dtype:
        if format is not None and not is_in_format(self._array, format):
            copy = copy or format in (channels_last, channels_last_3d)
        return clone(self, memory_format=format) if copy else self
    result: Tensor = _call("cast", self, dtype=as_dtype(dtype))
    if format in (channels_last, channels_last_3d):
        result._array = in_format(result._array, format)
    return result


def _on_other_device(self: Tensor, place: device, dtype: Any, format: Any) -> Tensor:
    """A copy on another device, converted before it travels."""
    source = self if dtype is None or as_dtype(dtype) is self.dtype else _to(self, as_dtype(dtype))
    result = moved(source, place)
    if (mode := modes.current_mode()) is not None:
        mode.moves(source, result)
    if format in (channels_last, channels_last_3d):
        result._array = in_format(result._array, format)
    return result


def _converter(name: str) -> Any:
    dtype = as_dtype(name)

    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return _to(self, dtype) if memory_format is None else _to(self, dtype, memory_format=memory_format)

    method.__doc__ = f"The tensor as {dtype.name}; itself where it is that already."
    return method


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The tensor as another dtype; without one, the name of its type."""
    if dtype is None:
        names = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
                 "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool"}  # fmt: skip
        where = "ingot" if self.device is CPU else "ingot.cuda"
        return f"{where}.{names.get(self.dtype.name, self.dtype.name.capitalize())}Tensor"
    return _to(self, as_dtype(dtype))


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype and on the device of another."""
    return _to(self, other)


def _new(name: str) -> Any:
    def method(self: Tensor, *args: Any, dtype: Any = None, **kwargs: Any) -> Tensor:
        from . import creation

        if modes.devices:
            kwargs.setdefault("device", self.device)
        return getattr(creation, name)(*args, dtype=dtype or self.dtype, **kwargs)  # type: ignore[no-any-return]

    method.__doc__ = f"`ingot.{name}` with this tensor's dtype unless another is given."
    return method


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy; its elements lie in memory in the order of the input's, or of a memory format.

    >>> ingot.clone(ingot.ones(2))
    tensor([1., 1.])
    """
    result: Tensor = _call("clone", input)
    if memory_format is not None:
        result._array = in_format(result._array, memory_format)
    return result


def _cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor on the CPU: itself where it is there, a copy else."""
    return _to(self, CPU, memory_format=memory_format)


def _cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """The tensor on a GPU, the current one unless another is given: itself where it is there, a copy else."""
    place = as_device("cuda" if device is None else device)
    if place.type != "cuda":
        raise RuntimeError(f"Invalid device, must be cuda device: given {place}")
    return _to(self, place, memory_format=memory_format)


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor itself: copies to a GPU wait in any case."""
    if self.device is not CPU:
        raise RuntimeError(f"cannot pin '{_type(self)}' only dense CPU tensors can be pinned")
    return self


CONVERSIONS: dict[str, Any] = {
    "to": _to,
    "type": _type,
    "type_as": _type_as,
    "clone": clone,
    "cpu": _cpu,
    "cuda": _cuda,
    "pin_memory": _pin_memory,
    **{name: _converter(name) for name in ("float", "double", "half", "bfloat16", "long", "int", "short", "bool")},
    **{name: _converter(name) for name in ("cfloat", "cdouble")},
    "byte": _converter("uint8"),
    "char": _converter("int8"),
    **{f"new_{name}": _new(name) for name in ("zeros", "ones", "empty", "full", "tensor")},
}
