"""The one door: every op call is run here, recorded for backward, or handed to the mode that watches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dtypes import DType, default_dtype, from_numpy
from ..ir.ops._op import Op, Trait, set_dispatcher
from ..ir.ops.schema import Role
from ..ir.sizes import STATIC
from ..ir.types import BoolType, ComplexType, FloatType, IntType, StrType, TensorType
from . import modes
from .autograd import Node, refresh_view
from .tensor import Tensor, wrap

__all__ = ["dispatch", "execute", "quiet"]

_SCALAR_TYPES: dict[type, Any] = {
    bool: BoolType(),
    int: IntType(),
    float: FloatType(),
    complex: ComplexType(),
    str: StrType(),
}
_inferred: dict[Any, tuple[Any, ...]] = {}
_INFERRED_LIMIT = 8192


@np.errstate(all="ignore")
def quiet(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a numpy function without its floating-point warnings: infinities and NaN are results, as in PyTorch."""
    return function(*arguments)


def dispatch(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Run an op: operands one per operand parameter (tensors, numbers, groups as tuples), attributes normalised."""
    if modes.active_modes and (mode := modes.state.mode) is not None:
        return mode.dispatch(op, operands, attributes)
    return execute(op, operands, attributes)


def execute(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Compute an op on arrays, check its operands, and record it for backward where that is wanted."""
    arrays: list[Any] = []
    key: list[Any] = [op.name, default_dtype()]
    needs_grad = False
    converted: list[Any] | None = None
    for position, (parameter, operand) in enumerate(zip(op.schema.operands, operands, strict=True)):
        role = parameter.role
        if isinstance(operand, Tensor):
            array = operand._array
            arrays.append(array)
            key.append((array.dtype, array.shape))
            if operand._view is not None:
                operand._refresh()
            needs_grad |= operand._requires_grad
        elif operand is None and (role in (Role.OPTIONAL_TENSOR, Role.INT) or not parameter.required):
            arrays.append(None)
            key.append(None)
        elif role is Role.TENSORS:
            for item in operand:
                if item is not None and not isinstance(item, Tensor):
                    raise TypeError(
                        f"{op.name}(): argument '{parameter.name}' must hold Tensors, not {type(item).__name__}"
                    )
                needs_grad |= item is not None and item.requires_grad
            arrays.append(tuple(None if item is None else item._array for item in operand))
            key.append(tuple(None if a is None else (a.dtype, a.shape) for a in arrays[-1]))
        elif role is Role.SIZE:
            sizes = tuple(_as_index(op, parameter.name, v) for v in operand)
            arrays.append(sizes)
            key.append(sizes)
        elif role is Role.INT:
            arrays.append(_as_index(op, parameter.name, operand))
            key.append(arrays[-1])
        else:
            scalar = _as_scalar(op, parameter.name, role, operand)
            if scalar is not operand:
                converted = list(operands) if converted is None else converted
                converted[position] = scalar
            if isinstance(scalar, Tensor):
                array = scalar._array
                arrays.append(array)
                key.append((array.dtype, array.shape))
                needs_grad |= scalar._requires_grad
            else:
                arrays.append(scalar)
                key.append(type(scalar))
    types = infer(op, arrays, attributes, tuple(key))
    evaluate = op.evaluate
    if evaluate is None:
        raise RuntimeError(f"{op.name} runs only inside a compiled graph")
    results = evaluate(np, *arrays, **attributes)
    if converted is not None:
        operands = tuple(converted)
    record = needs_grad and op.vjp is not None and modes.state.grad_enabled
    if op.outputs == 1 and not isinstance(results, tuple):
        output = _wrap_result(results)
        if Trait.VIEW in op.traits and isinstance(output, Tensor):
            _mark_view(output, op, operands, attributes)
        if record and isinstance(output, Tensor):
            Node.attach(op, operands, attributes, (output,))
        return output
    outputs = tuple(_wrap_result(r) for r in results)
    if record:
        Node.attach(op, operands, attributes, outputs)
    assert len(outputs) == len(types) or not types
    return outputs


def infer(op: Op, arrays: list[Any], attributes: dict[str, Any], key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Result types, which checks the operands; remembered per dtypes, shapes and attributes."""
    try:
        full_key = (key, tuple(attributes.items()))
        known = _inferred.get(full_key)
        if known is not None:
            return known
    except TypeError:  # an attribute that cannot be hashed, as a slice: infer afresh
        full_key = None
    operand_types = tuple(_type_of(a, p.role) for a, p in zip(arrays, op.schema.operands, strict=True))
    types = op.infer_types(STATIC, operand_types, attributes)
    if full_key is not None:
        if len(_inferred) >= _INFERRED_LIMIT:
            _inferred.clear()
        _inferred[full_key] = types
    return types


def _type_of(value: Any, role: Role) -> Any:
    if isinstance(value, np.ndarray):
        return TensorType(from_numpy(value.dtype), value.shape)
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_type_of(v, role) for v in value)
    if role in (Role.INT, Role.SIZE):
        return IntType(int(value))
    return _SCALAR_TYPES[type(value)]


def _as_index(op: Op, name: str, value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, Tensor) and value._array.ndim == 0 and value._array.dtype.kind in "iu":
        return int(value.item())
    try:
        return int(value.__index__())
    except (AttributeError, TypeError):
        raise TypeError(f"{op.name}(): argument '{name}' must be int, not {type(value).__name__}") from None


def _as_scalar(op: Op, name: str, role: Role, value: Any) -> Any:
    if type(value) in _SCALAR_TYPES and (type(value) is not str):
        return value
    if isinstance(value, (bool, int, float, complex)):  # subclasses, as numpy.float64 and tracked sizes are
        return next(t(value) for t in (bool, int, float, complex) if isinstance(value, t))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and role is Role.OPERAND:
        return Tensor(value)
    expected = {Role.OPERAND: "Tensor or a number", Role.SCALAR: "a number"}.get(role, "Tensor")
    raise TypeError(f"{op.name}(): argument '{name}' must be {expected}, not {type(value).__name__}")


def _wrap_result(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return wrap(value)
    if isinstance(value, np.generic):
        return wrap(np.asarray(value))
    return value


def _mark_view(output: Tensor, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """Remember which tensor the result is a view of, so that in-place writes reach the right place in both graphs."""
    source = operands[0]
    if np.may_share_memory(output._array, source._array) or not output._array.size:
        output._view = (source, op, operands[1:], attributes)
        output._view_version = source.version


set_dispatcher(dispatch)

__all__ += ["DType", "refresh_view"]
