"""Which device a call runs on, and arrays of either kind: numpy's, and those of a device."""

import contextlib
import contextvars
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..eager import modes
from ..eager.device import CPU, device, device_of, host_array, require_same_device
from ..eager.tensor import Tensor

__all__ = [
    "compiling_on", "compiling_place", "device_key", "host_copy", "is_array", "may_share_memory", "place_of_arrays",
    "share_memory", "write_array",
]  # fmt: skip

_place: contextvars.ContextVar[device] = contextvars.ContextVar("place", default=CPU)


def is_array(value: Any) -> bool:
    """Whether a value is an array, of numpy's or of a device."""
    if isinstance(value, (np.ndarray, Tensor)):
        return not isinstance(value, Tensor)
    return hasattr(type(value), "__cuda_array_interface__")  # of the value itself, it would be worked out


def device_key(array: Any) -> tuple[device, ...]:
    """What tells calls on different devices apart: nothing for the CPU."""
    if not modes.devices or isinstance(array, np.ndarray):
        return ()
    return (device_of(array),)


def place_of_arrays(values: Iterable[Any]) -> device:
    """The one device of a call's tensors; RuntimeError where there are two.

    Tensors of rank 0 on the CPU go with the others, as in eager execution.
    """
    if not modes.devices:
        return CPU
    place: device | None = None
    for value in values:
        array = value._array if isinstance(value, Tensor) else value
        if not is_array(array):
            continue
        here = device_of(array)
        if here is CPU and array.ndim == 0:
            continue
        if place is None:
            place = here
        require_same_device(place, here)
    return place or CPU


@contextlib.contextmanager
def compiling_on(place: device) -> Iterator[None]:
    """Let front ends know for which device a graph is made."""
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def compiling_place() -> device:
    """The device that the graph being made is for."""
    return _place.get()


def host_copy(array: Any) -> np.ndarray[Any, Any]:
    """A copy of an array in the memory of the CPU."""
    return array.copy() if isinstance(array, np.ndarray) else host_array(array)


def may_share_memory(a: Any, b: Any) -> bool:
    """Whether the memory of two arrays overlaps, from first to last element."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.may_share_memory(a, b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    (first, last), (start, stop) = _extent(a), _extent(b)
    return first < stop and start < last


def share_memory(a: Any, b: Any) -> bool:
    """Whether two arrays have an element in common; where that takes long to find out, that they do."""
    if not may_share_memory(a, b):
        return False
    if not isinstance(a, np.ndarray):
        return True
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # any int
    except np.exceptions.TooHardError:
        return True


def _extent(array: Any) -> tuple[int, int]:
    """The addresses from the first byte to behind the last."""
    low = high = int(array.data.ptr)
    for size, stride in zip(array.shape, array.strides, strict=True):
        if size == 0:
            return low, low
        low, high = low + min(stride, 0) * (size - 1), high + max(stride, 0) * (size - 1)
    return low, high + array.dtype.itemsize


def write_array(target: Any, source: Any) -> None:
    """Copy elements into an array; a counter on the CPU takes what the device counted."""
    if isinstance(target, np.ndarray):
        np.copyto(target, host_array(source))
    else:
        target[...] = source
