"""Settings that programs written for PyTorch make, and that hold here already or have one value."""

from typing import Any

from ..ir.dtypes import as_dtype, set_default_dtype
from . import modes
from .device import CPU, as_device, default_device, device
from .legacy import CUDA_TENSOR_TYPES, TENSOR_TYPES
from .tensor import Tensor

__all__ = [
    "are_deterministic_algorithms_enabled", "get_default_device", "get_float32_matmul_precision", "set_default_device",
    "set_default_tensor_type", "set_float32_matmul_precision", "typename", "use_deterministic_algorithms",
]  # fmt: skip

_PRECISIONS = ("highest", "high", "medium")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Nothing: results never depend on the number of threads or on chance."""


def are_deterministic_algorithms_enabled() -> bool:
    """Whether every run gives the same results: always."""
    return True


def set_float32_matmul_precision(precision: str) -> None:
    """Nothing: products of float32 are computed in float32. ValueError for an unknown name."""
    if precision not in _PRECISIONS:
        raise ValueError(f"precision {precision!r}, expected one of {', '.join(_PRECISIONS)}")


def get_float32_matmul_precision() -> str:
    """How exactly float32 tensors are multiplied: "highest"."""
    return "highest"


def get_default_device() -> device:
    """Where this thread makes new tensors."""
    return default_device()


def set_default_device(device: Any) -> None:
    """Where this thread makes new tensors from here on (None: on the CPU); RuntimeError for what is not available."""
    place = CPU if device is None else as_device(device)
    modes.state.device = None if place is CPU else place


def set_default_tensor_type(t: Any) -> None:
    """Set the default dtype and device by a tensor type, `ingot.cuda.DoubleTensor` or its name (the former way)."""
    name = t if isinstance(t, str) else f"{t.__module__}.{t.__name__}"
    dtypes = {"FloatTensor": "float32", "DoubleTensor": "float64", "HalfTensor": "float16"}
    kind = name.rpartition(".")[2]
    if kind not in dtypes:
        raise TypeError(f"set_default_tensor_type: expected one of {', '.join(dtypes)}, given {name}")
    set_default_device("cuda" if ".cuda." in name else "cpu")
    set_default_dtype(as_dtype(dtypes[kind]))


def typename(obj: Any) -> str:
    """The name of an object's type; of a tensor, that of its dtype.

    >>> ingot.typename(ingot.ones(1)), ingot.typename(3)
    ('ingot.FloatTensor', 'int')
    """
    if isinstance(obj, Tensor):
        types = TENSOR_TYPES if obj.device is CPU else CUDA_TENSOR_TYPES
        return next((f"{t.__module__}.{name}" for name, t in types.items() if obj.dtype is t.dtype), "ingot.Tensor")
    kind = type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
