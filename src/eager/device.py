"""Devices: where a tensor's data lives, and how arrays get from one to another."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dtypes import from_numpy
from . import modes

__all__ = [
    "CPU", "address", "array_module", "as_device", "default_device", "device", "device_of", "host_array", "imported",
    "is_host", "is_writable", "make_on", "move_array", "of_interface", "require_same_device",
]  # fmt: skip

_KINDS = ("cpu", "cuda")


class device:
    """A device by name and number, as "cpu", "cuda" (the current one) or "cuda:0".

    A context manager, too: what is made inside without `device=` is made there.

    >>> ingot.device("cpu")
    device(type='cpu')
    """

    __slots__ = ("_previous", "index", "type")
    type: str
    index: int | None
    _previous: list[Any]

    def __init__(self, type: "str | int | device", index: int | None = None) -> None:
        name: Any = type
        if isinstance(name, device):
            self.type, self.index = name.type, name.index
            return
        if isinstance(name, int) and not isinstance(name, bool):
            name, index = "cuda", name
        if not isinstance(name, str):
            raise TypeError(f"device(): expected a name such as 'cpu', given {name.__class__.__name__}")
        kind, colon, number = name.partition(":")
        if kind not in _KINDS:
            raise RuntimeError(f"Expected one of {', '.join(_KINDS)} device type at start of device string: {name}")
        if colon and not number.isdigit():
            raise RuntimeError(f"Invalid device string: '{name}'")
        if colon and index is not None:
            raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {name}")
        if index is not None and index < 0:
            raise RuntimeError(f"Device index must not be negative, given {index}")
        self.type = kind
        self.index = int(number) if number else index

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            other = device(other)
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> Any:
        return device, (self.type, self.index)

    def __enter__(self) -> "device":
        if not hasattr(self, "_previous"):
            self._previous = []
        self._previous.append(modes.state.device)
        modes.state.device = as_device(self)
        return self

    def __exit__(self, *exception: object) -> None:
        modes.state.device = self._previous.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with modes.placing(as_device(self)):
                return function(*args, **kwargs)

        return inside


CPU = device("cpu")
_cuda = functools.cache(lambda index: device("cuda", index))


@functools.cache
def _accelerator() -> Any:
    """What computes on GPUs, which is imported when a program asks for one."""
    return importlib.import_module("..cuda.backends", __package__)


def default_device() -> device:
    """Where tensors are made that nothing else places."""
    return modes.state.device or CPU


def as_device(value: Any) -> device:
    """A device that this machine can use, with its number; RuntimeError for one that it cannot."""
    if value is None:
        return default_device()
    found = value if isinstance(value, device) else device(value)
    if found.type == "cpu":
        return CPU
    backend = _accelerator().backend()
    if found.index is None:
        return _cuda(backend.current())  # type: ignore[no-any-return]
    if found.index >= backend.count():
        raise RuntimeError(
            f"CUDA error: invalid device ordinal: {found} was asked for, and there are {backend.count()} (numbered "
            "from 0)"
        )
    return _cuda(found.index)  # type: ignore[no-any-return]


def is_host(array: Any) -> bool:
    """Whether an array is in the memory of the CPU."""
    return isinstance(array, np.ndarray) or not hasattr(type(array), "__cuda_array_interface__")


def device_of(array: Any) -> device:
    """Where an array is."""
    if isinstance(array, np.ndarray) or not hasattr(type(array), "__cuda_array_interface__"):
        return CPU
    return _cuda(int(array.device.id))  # type: ignore[no-any-return]


def array_module(place: device) -> Any:
    """The module whose functions make arrays on a device: numpy, or what stands in for it on a GPU."""
    return np if place.type == "cpu" else _accelerator().backend().xp


def host_array(array: Any) -> np.ndarray[Any, Any]:
    """The array where it is the CPU's, a copy there else."""
    is_here = isinstance(array, np.ndarray) or not hasattr(type(array), "__cuda_array_interface__")
    return array if is_here else array.get()  # type: ignore[no-any-return]


def move_array(array: Any, place: device) -> Any:
    """The array on a device: itself where it is there, a copy else."""
    here = device_of(array)
    if here is place:
        return array
    if place.type == "cpu":
        return array.get()
    backend = _accelerator().backend()
    return backend.put(array, place.index) if here is CPU else backend.move(array, place.index)


def make_on(place: device, make: Callable[[Any], Any]) -> Any:
    """The array that `make(module)` makes on a device."""
    if place.type == "cpu":
        return make(np)
    backend = _accelerator().backend()
    with backend.on(place.index):
        try:
            return make(backend.xp)
        except backend.fatal as error:
            raise backend.clear(error) from error


def of_interface(value: Any) -> Any:
    """The array over the memory of an object with the CUDA array interface, as cupy's and numba's arrays have."""
    array = _accelerator().backend().xp.asarray(value)
    from_numpy(array.dtype)  # refuses dtypes that no tensor has
    return array


def imported(value: Any) -> Any:
    """The array over the memory that another library's tensor on a GPU shares by DLPack."""
    backend = _accelerator().backend()
    if not hasattr(value, "__dlpack__") or backend.name == "simulator":
        raise BufferError("from_dlpack: a simulated GPU shares no memory with other libraries")
    array = backend.xp.from_dlpack(value)
    from_numpy(array.dtype)
    return array


def address(array: Any) -> int:
    """The address of the first element, in the memory of the array's device."""
    return int(array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr)


def is_writable(array: Any) -> bool:
    """Whether elements can be written: none shares its memory with another, and the memory is not read-only."""
    if not hasattr(type(array), "__cuda_array_interface__"):
        return bool(array.flags.writeable)
    return not any(step == 0 and size > 1 for step, size in zip(array.strides, array.shape, strict=True))


def require_same_device(first: device, second: device) -> None:
    """RuntimeError where two devices that must be one are not."""
    if first is not second:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {first} and {second}!"
        )
