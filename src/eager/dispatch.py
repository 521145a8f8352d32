"""The one door: every op call is run here, recorded for backward, or handed to the mode that watches."""

from contextlib import suppress
from typing import Any

import numpy as np

from ..ir import dtypes
from ..ir.dtypes import DType
from ..ir.ops._op import Op, Trait, set_dispatcher
from ..ir.ops._reduced import is_reduced, type_of
from ..ir.ops.schema import Role
from ..ir.sizes import STATIC
from . import modes
from .autograd import Node, refresh_view
from .fast import CHECKED_SHORTCUTS, SHORTCUTS, quiet
from .fast_views import VIEW_SHORTCUTS
from .native import HEAVY, HEAVY_SHORTCUTS
from .placement import placed, run_on
from .quick import mark_view
from .tensor import Tensor, wrap

__all__ = ["dispatch", "execute", "quiet"]

_NUMBERS = frozenset({bool, int, float, complex})
# Calls that were checked, by op, dtypes, shapes and attributes: whether they compute in reduced precision.
_inferred: dict[Any, bool] = {}
_INFERRED_LIMIT = 8192


def dispatch(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Run an op: operands one per operand parameter (tensors, numbers, groups as tuples), attributes normalised."""
    if modes.active_modes and (mode := modes.state.mode) is not None:
        return mode.dispatch(op, operands, attributes)
    return execute(op, operands, attributes)


class _Plan:
    """What `execute` asks an op's record at every call, looked up once."""

    __slots__ = (
        "checked_shortcut", "differentiable", "evaluate", "is_view", "names", "optional", "roles", "shortcut", "single",
    )  # fmt: skip

    def __init__(self, op: Op) -> None:
        parameters = op.schema.operands
        self.roles = tuple(p.role for p in parameters)
        self.names = tuple(p.name for p in parameters)
        self.optional = tuple(p.role in (Role.OPTIONAL_TENSOR, Role.INT) or not p.required for p in parameters)
        self.evaluate = op.evaluate
        found = HEAVY_SHORTCUTS.get(op.name) or SHORTCUTS.get(op.name) or VIEW_SHORTCUTS.get(op.name)
        self.shortcut: Any = found
        self.checked_shortcut = HEAVY.get(op.name) or CHECKED_SHORTCUTS.get(op.name)
        self.is_view = Trait.VIEW in op.traits
        self.single = op.outputs == 1
        self.differentiable = op.vjp is not None


_plans: dict[Op, _Plan] = {}


def execute(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Compute an op on arrays, check its operands, and record it for backward where that is wanted."""
    plan = _plans.get(op)
    if plan is None:
        plan = _plans[op] = _Plan(op)
    place = None
    if modes.devices:
        operands, place = placed(op, operands)
    if plan.shortcut is not None and place is None:
        output = _shortly(plan, op, operands, attributes)
        if output is not None:
            return output
    arrays: list[Any] = []
    key: list[Any] = [op, dtypes._default]
    needs_grad = False
    converted: list[Any] | None = None
    for position, operand in enumerate(operands):
        if isinstance(operand, Tensor):
            array = operand._array
            arrays.append(array)
            key += (array.dtype, array.shape)
            if operand._view is not None:
                operand._refresh()
            if operand._requires_grad:
                needs_grad = True
            continue
        role = plan.roles[position]
        if operand is None and plan.optional[position]:
            arrays.append(None)
            key.append(None)
        elif role is Role.INT:
            arrays.append(operand if operand.__class__ is int else _as_index(op, plan.names[position], operand))
            key.append(arrays[-1])
        elif role is Role.SIZE:
            sizes = tuple([v if v.__class__ is int else _as_index(op, plan.names[position], v) for v in operand])
            arrays.append(sizes)
            key.append(sizes)
        elif role is Role.TENSORS:
            for item in operand:
                if item is not None and not isinstance(item, Tensor):
                    raise TypeError(
                        f"{op.name}(): argument '{plan.names[position]}' must hold Tensors, not {type(item).__name__}"
                    )
                needs_grad |= item is not None and item.requires_grad
            arrays.append(tuple([None if item is None else item._array for item in operand]))
            key.append(tuple([None if a is None else (a.dtype, a.shape) for a in arrays[-1]]))
        else:
            scalar = _as_scalar(op, plan.names[position], role, operand)
            if scalar is not operand:
                converted = list(operands) if converted is None else converted
                converted[position] = scalar
            if isinstance(scalar, Tensor):
                arrays.append(scalar._array)
                key += (scalar._array.dtype, scalar._array.shape)
                needs_grad |= scalar._requires_grad
            else:
                arrays.append(scalar)
                key.append(scalar.__class__)
    try:
        reduced = _inferred.get((*key, *attributes.values()))
    except TypeError:  # an attribute that cannot be hashed, as a slice: infer afresh
        reduced = None
    if reduced is None:
        reduced = _infer(op, arrays, attributes, key)
    if plan.evaluate is None:
        raise RuntimeError(f"{op.name} runs only inside a compiled graph")
    if place is not None:
        results = run_on(place, op, tuple(arrays), attributes)
    else:
        results = NotImplemented if plan.checked_shortcut is None else plan.checked_shortcut(*arrays, **attributes)
    if results is NotImplemented:
        results = op.run(np, tuple(arrays), attributes) if reduced else plan.evaluate(np, *arrays, **attributes)
    if converted is not None:
        operands = tuple(converted)
    record = needs_grad and plan.differentiable and modes.state.grad_enabled
    if plan.single and results.__class__ is not tuple:
        output = wrap(results) if results.__class__ is np.ndarray else _wrap_result(results)
        if plan.is_view and isinstance(output, Tensor):
            _mark_view(output, op, operands, attributes)
        if record and isinstance(output, Tensor):
            Node.attach(op, operands, attributes, (output,))
        return output
    outputs = tuple([_wrap_result(r) for r in results])
    if record:
        Node.attach(op, operands, attributes, outputs)
    return outputs


def _shortly(plan: _Plan, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Tensor | None:
    """The result of an op with a short form, recorded where wanted; None where the short form does not apply."""
    arrays: list[Any] = []
    needs_grad = False
    for operand in operands:
        if isinstance(operand, Tensor):
            if operand._view is not None:
                operand._refresh()
            if operand._requires_grad:
                needs_grad = True
            arrays.append(operand._array)
        elif operand.__class__ is tuple and operand and isinstance(operand[0], Tensor):
            if not all([isinstance(item, Tensor) for item in operand]):
                return None
            if any([item.requires_grad for item in operand]):
                needs_grad = True
            arrays.append([item._array for item in operand])
        else:
            arrays.append(operand)
    try:
        result = plan.shortcut(*arrays, **attributes)
    except (AttributeError, TypeError, ValueError, IndexError):
        return None  # operands that do not fit: the general way says so
    if result is NotImplemented:
        return None
    output = wrap(result if result.__class__ is np.ndarray else np.asarray(result))
    if plan.is_view:
        _mark_view(output, op, operands, attributes)
    if needs_grad and modes.state.grad_enabled:
        Node.attach(op, operands, attributes, (output,))
    return output


def _infer(op: Op, arrays: list[Any], attributes: dict[str, Any], key: list[Any]) -> bool:
    """Check the operands by inferring result types; what passed is remembered per dtypes, shapes and attributes."""
    operand_types = tuple(type_of(a, p.role) for a, p in zip(arrays, op.schema.operands, strict=True))
    op.infer_types(STATIC, operand_types, attributes)
    if len(_inferred) >= _INFERRED_LIMIT:
        _inferred.clear()
    reduced = is_reduced(arrays)
    with suppress(TypeError):
        _inferred[(*key, *attributes.values())] = reduced
    return reduced


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
    if type(value) in _NUMBERS:
        return value
    if isinstance(value, (bool, int, float, complex)):  # subclasses, as numpy.float64 and tracked sizes are
        plain: Any = value
        return next(t(plain) for t in (bool, int, float, complex) if isinstance(value, t))
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
    return wrap(value) if hasattr(value, "__cuda_array_interface__") else value


def _mark_view(output: Tensor, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """Remember which tensor the result is a view of, so that in-place writes reach the right place in both graphs."""
    source = operands[0]
    # Only a reshape may have to copy, and only what is not contiguous.
    if source._array.flags.c_contiguous or not output._array.size or np.may_share_memory(output._array, source._array):
        mark_view(output, source, op, operands[1:], attributes)


set_dispatcher(dispatch)

__all__ += ["DType", "refresh_view"]
