"""Ops on GPUs: on which device a call runs, which operands come along, and what moves a tensor."""

from typing import Any

from ..ir.ops._op import Op
from . import modes
from .autograd import PythonNode
from .device import CPU, _accelerator, device, device_of, move_array, require_same_device
from .tensor import Tensor, wrap

__all__ = ["moved", "placed", "run_on"]

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
    place: device | None = None
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
        indices = _INDICES.get(op.name)
        operands = tuple([_along(o, place, position == indices) for position, o in enumerate(operands)])
    return operands, place


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
