"""Orders of elements in memory, the one layout there is, and options of PyTorch's factories that say nothing here."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import modes
from .device import as_device, device, move_array

__all__ = [
    "channels_last", "channels_last_3d", "contiguous_format", "in_format", "is_in_format", "layout", "memory_format",
    "preserve_format", "strided", "with_options",
]  # fmt: skip


class _Constant:
    """A named constant of this module, which pickles by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"ingot.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class memory_format(_Constant):
    """An order of a tensor's elements in memory, as `ingot.channels_last`."""


class layout(_Constant):
    """A way to store tensors; all are `ingot.strided`."""


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
strided = layout("strided")
_CHANNELS_LAST = {channels_last: 4, channels_last_3d: 5}


def _order(array: np.ndarray[Any, Any], format: memory_format) -> tuple[int, ...]:
    """The dimensions from the outermost in memory, for a format with channels last; RuntimeError for other ranks."""
    rank = _CHANNELS_LAST[format]
    if array.ndim != rank:
        raise RuntimeError(f"required rank {rank} tensor to use {format} format, given one of rank {array.ndim}")
    return (0, *range(2, rank), 1)


def is_in_format(array: np.ndarray[Any, Any], format: memory_format | None) -> bool:
    """Whether the elements lie in memory in that order, without gaps."""
    if format in _CHANNELS_LAST and array.ndim == _CHANNELS_LAST[format]:
        return array.transpose(_order(array, format)).flags.c_contiguous
    return array.flags.c_contiguous if format not in _CHANNELS_LAST else False


def in_format(array: np.ndarray[Any, Any], format: memory_format | None) -> np.ndarray[Any, Any]:
    """A copy whose elements lie in memory in that order."""
    if format not in _CHANNELS_LAST:
        return array.copy(order="C" if format is contiguous_format else "K")
    order = _order(array, format)
    return array.transpose(order).copy(order="C").transpose(np.argsort(order).tolist())


def _make_on(place: device, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """What a factory makes, on a device: there from the start, or copied where it is made on the CPU."""
    requires_grad = kwargs.pop("requires_grad", False)
    with modes.placing(place):
        result = function(*args, **kwargs)
    if result.device is not place:
        result = result.detach()
        result._array, result._alias_of = move_array(result._array, place), None
    return result.requires_grad_() if requires_grad else result


def with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """A factory with `out=`, and with the options `layout`, `pin_memory` and `memory_format` of PyTorch's.

    RuntimeError for a layout other than strided.
    """

    follows = function.__name__.endswith("_like") or function.__name__ == "normal"  # is made where its operand is

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if modes.devices and follows and kwargs.get("device") is None:
            first = args[0] if args else kwargs.get("input")
            if first is not None and hasattr(first, "_array"):
                kwargs["device"] = first.device
        if not kwargs and modes.state.device is None:
            return function(*args)
        out = kwargs.pop("out", None)
        if kwargs.pop("layout", None) not in (None, strided):
            raise RuntimeError(f"{function.__name__}: tensors are strided; there is no other layout")
        kwargs.pop("pin_memory", None)
        kwargs.pop("memory_format", None)
        if out is None:
            if modes.state.device is None and kwargs.get("device") is None:
                return function(*args, **kwargs)
            return _make_on(as_device(kwargs.pop("device", None)), function, args, kwargs)
        from .methods import write_out

        kwargs.setdefault("dtype", out.dtype)
        if modes.devices:
            kwargs["device"] = out.device
            kwargs["requires_grad"] = False
            return write_out(out, call(*args, **kwargs), function.__name__)
        return write_out(out, function(*args, **kwargs), function.__name__)

    return call
