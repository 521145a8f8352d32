"""Ops on GPUs: on which device a call runs, which operands come along, and what moves a tensor."""

import functools
from collections.abc import Callable
from typing import Any

from ..ir.ops._op import Op
from . import modes
from .autograd import PythonNode
from .device import CPU, _accelerator, device, device_of, move_array, require_same_device
from .tensor import Tensor, wrap

__all__ = ["beside", "moved", "on_host", "place_of", "placed", "run_on"]

# What may be on the CPU though the tensor is not: the positions of groups of indices, as in PyTorch.
_INDICES = {"index": 1, "index_put": 1}


def moved(tensor: Tensor, place: device) -> Tensor:
    """A copy of the tensor on another device, with its history; the tensor itself where it is there."""
    array = tensor._array
    here = device_of(array)
    if here is place:
        return tensor
    result = wrap(move_array(array, place))
    if tensor.requires_grad and modes.state.grad_enabled:
        node = PythonNode("ToCopyBackward0", [tensor], lambda gradient: (moved(gradient, here),))
        node.output_meta.append((array.shape, array.dtype))
        result._requires_grad, result._node = True, node
    return result


def placed(op: Op, operands: tuple[Any, ...]) -> tuple[tuple[Any, ...], device | None]:
    """The operands on the device where the call runs, and that device; None for the CPU.

    Tensors of rank 0 on the CPU, and indices there, are copied. RuntimeError where others are not on one device.
    """
    indices = _INDICES.get(op.name)
    if indices is not None:
        place = _place_of_indexed(operands, indices)
        if place is not None:
            operands = tuple([_along(o, place, position == indices) for position, o in enumerate(operands)])
        return operands, place
    place = None
    fallback: device | None = None
    any_tensor = False
    strays = False
    for operand in operands:
        for item in operand if operand.__class__ is tuple else (operand,):
            if not isinstance(item, Tensor):
                continue
            any_tensor = True
            array = item._array
            here = device_of(array)
            if here is CPU:
                strays = True
            elif array.ndim == 0:
                fallback = fallback or here
                strays = strays or here is not fallback
            elif place is None:
                place = here
            else:
                require_same_device(place, here)
    if not any_tensor:
        wanted = modes.state.device
        return operands, None if wanted is None or wanted is CPU else wanted
    place = place or fallback
    if place is None:
        return operands, None
    if strays or (fallback is not None and fallback is not place):
        operands = tuple([_along(o, place, False) for o in operands])
    return operands, place


def _place_of_indexed(operands: tuple[Any, ...], indices: int) -> device | None:
    """Where a tensor is that is read or written through indices; RuntimeError where one is elsewhere than it may be."""
    here = device_of(operands[0]._array)
    for item in operands[indices]:
        other = here if item is None else device_of(item._array)
        if other is not here and other is not CPU:
            raise RuntimeError(f"indices should be either on cpu or on the same device as the indexed tensor ({here})")
    for value in operands[indices + 1 :]:
        if isinstance(value, Tensor) and value.ndim:
            require_same_device(here, device_of(value._array))
    return None if here is CPU else here


def _along(operand: Any, place: device, is_index: bool) -> Any:
    if operand.__class__ is tuple:
        return tuple([_along(item, place, is_index) for item in operand])
    if not isinstance(operand, Tensor):
        return operand
    here = device_of(operand._array)
    if here is place:
        return operand
    if operand.ndim and not (is_index and here is CPU):
        require_same_device(place, here)
    return moved(operand, place)


def run_on(place: device, op: Op, arrays: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """What an op computes on a GPU (see `cuda.backends.run`)."""
    return _accelerator().run(op, arrays, attributes, place.index)


def _tensors(values: Any) -> Any:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif value.__class__ in (tuple, list):
            yield from _tensors(value)


def place_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> device | None:
    """The GPU that the first tensor on one among a call's arguments is on; None where there is none."""
    if modes.devices:
        for tensor in _tensors((*args, *kwargs.values())):
            if (here := tensor.device) is not CPU:
                return here  # type: ignore[no-any-return]
    return None


def beside(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function make on the GPU of its arguments what it makes of nothing."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        place = place_of(args, kwargs)
        if place is None:
            return function(*args, **kwargs)
        with modes.placing(place):
            return function(*args, **kwargs)

    return call


def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that computes with numpy take tensors of a GPU, by copies to the CPU and back, with a warning."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        place = place_of(args, kwargs)
        if place is None:
            return function(*args, **kwargs)
        _accelerator().warn_of_host(function.__name__, "it is computed with numpy")
        with modes.placing(None):
            result = function(*_at(args, CPU), **{k: _at(v, CPU) for k, v in kwargs.items()})
        return _at(result, place)

    return call


def _at(value: Any, place: device) -> Any:
    """A value with its tensors moved to a device."""
    if isinstance(value, Tensor):
        return moved(value, place)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_at(v, place) for v in value])
    return value.__class__([_at(v, place) for v in value]) if value.__class__ in (tuple, list) else value
