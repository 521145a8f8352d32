"""Tensor types by name, as `FloatTensor`: PyTorch's former constructors, which older programs still call."""

from typing import Any

from ..ir.dtypes import DTYPES, DType
from .creation import empty, tensor
from .tensor import Tensor

__all__ = ["CUDA_TENSOR_TYPES", "TENSOR_TYPES", "make_tensor"]

_NAMES = {
    "FloatTensor": "float32",
    "DoubleTensor": "float64",
    "HalfTensor": "float16",
    "BFloat16Tensor": "bfloat16",
    "ByteTensor": "uint8",
    "CharTensor": "int8",
    "ShortTensor": "int16",
    "IntTensor": "int32",
    "LongTensor": "int64",
    "BoolTensor": "bool",
}


def make_tensor(dtype: DType, data: tuple[Any, ...], device: str = "cpu") -> Tensor:
    """A tensor of sizes, which are ints (its values are not set), or of one sequence, array or tensor."""
    if len(data) == 1 and not isinstance(data[0], int):
        (value,) = data
        return value.to(device, dtype) if isinstance(value, Tensor) else tensor(value, dtype=dtype, device=device)
    return empty(data or (0,), dtype=dtype, device=device)


class _TensorType(type):
    """A type whose instances are the tensors of its dtype on a kind of device."""

    dtype: DType
    place: str

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype and instance.device.type == cls.place

    def __call__(cls, *data: Any) -> Tensor:
        return make_tensor(cls.dtype, data, cls.place)


def _tensor_type(name: str, dtype: DType, place: str) -> Any:
    doc = f"Tensors of {dtype.name} on the {place}, as a type and a constructor."
    made = _TensorType(name, (), {"__doc__": doc, "dtype": dtype, "place": place})
    made.__module__ = "ingot" if place == "cpu" else f"ingot.{place}"
    return made


_BY_NAME = {dtype.name: dtype for dtype in DTYPES.values()}
TENSOR_TYPES: dict[str, Any] = {name: _tensor_type(name, _BY_NAME[dtype], "cpu") for name, dtype in _NAMES.items()}
CUDA_TENSOR_TYPES: dict[str, Any] = {
    name: _tensor_type(name, _BY_NAME[dtype], "cuda") for name, dtype in _NAMES.items()
}
