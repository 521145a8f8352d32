"""In-place writes: into the memory, into the autograd graph (also through views), and past the mode that watches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dtypes import from_numpy
from ..ir.ops._op import Op
from . import modes
from .autograd import PythonNode, refresh_view, replay_view
from .blockwise import compute_in_place
from .device import device_of, is_writable, require_same_device
from .placement import moved
from .tensor import Tensor, wrap

__all__ = ["alias", "check_writable", "make_inplace", "snapshot", "write"]


def check_writable(target: Tensor, name: str) -> None:
    """RuntimeError where the tensor must not be written: a leaf that requires grad, or a view of one, or read-only."""
    if modes.state.grad_enabled:
        root = target
        while root._view is not None:
            root = root._view[0]
        if root._node is None and root._requires_grad:
            what = "a leaf Variable" if root is target else "a view of a leaf Variable"
            raise RuntimeError(f"{what} that requires grad is being used in an in-place operation. ({name})")
    if target._inference and not modes.state.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a "
            f"normal tensor before doing inplace update. ({name})"
        )
    if not is_writable(target._array):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location, "
            f"or its memory comes from a read-only array. Please clone() the tensor before performing the operation. "
            f"({name})"
        )


def alias(target: Tensor) -> Tensor:
    """A tensor at the target's present place in the graph, for the operands of an op that overwrites the target."""
    if modes.active_modes and (mode := modes.state.mode) is not None and (kept := mode.former(target)) is not None:
        return kept  # type: ignore[no-any-return]
    if target._view is not None:
        target._refresh()
    former = wrap(target._array)
    former._alias_of = target
    former._requires_grad, former._node, former._output_index = (
        target._requires_grad,
        target._node,
        target._output_index,
    )
    return former


# Whose derivative needs no values of the operand that they overwrite: the output's, or none.
_OVERWRITES_FREELY = frozenset({
    "add", "ceil", "exp", "expm1", "floor", "leaky_relu", "masked_fill", "neg", "reciprocal", "relu", "round",
    "sigmoid", "sign", "sqrt", "sub", "tanh", "trunc",
})  # fmt: skip
# Nor do these, where the other operands need no gradient.
_LINEAR = frozenset({"addcdiv", "addcmul", "div", "lerp", "mul"})


def snapshot(target: Tensor) -> Tensor:
    """As `alias`, with a copy of the present values, which the derivative of what overwrites them reads."""
    former = alias(target)
    if former._alias_of is target:
        former._array, former._alias_of = target._array.copy(order="K"), None
    return former


def _former(op: Op, target: Tensor, others: list[Any]) -> Tensor:
    """The first operand of a recorded in-place op."""
    if op.name in _OVERWRITES_FREELY:
        return alias(target)
    if op.name in _LINEAR and not any(map(_requires_grad, others)):
        return alias(target)
    return snapshot(target)


# In-place methods that copy from one device to another; others take tensors of rank 0 from the CPU only.
_COPIES = frozenset({"copy_", "setitem"})


def write(target: Tensor, value: Tensor, name: str, *, fresh: bool = False) -> Tensor:
    """Make the target's elements those of `value` (broadcast to its shape), and its history that of `value`.

    Nothing is written where shapes or dtypes do not fit (RuntimeError). `fresh`: nobody else holds the value.
    """
    from .functions import call

    if modes.active_modes and (mode := modes.state.mode) is not None and mode.replaces_write(target, value, name):
        return target
    check_writable(target, name)
    if target._view is not None:
        target._refresh()
    array = target._array
    if modes.devices and (place := device_of(array)) is not device_of(value._array):
        if value._array.ndim and name not in _COPIES:
            require_same_device(place, device_of(value._array))
        value = moved(value, place)
    if not fresh and modes.state.grad_enabled and value.requires_grad:
        value = call(
            "clone", value
        )  # the target's place in the graph is its own: neither a leaf's nor another tensor's
    if value._array.dtype != array.dtype:
        if from_numpy(value._array.dtype).category > target.dtype.category:
            raise RuntimeError(
                f"{name}: result type {value.dtype.name} can't be cast to the desired output type {target.dtype.name}"
            )
        value = call("cast", value, dtype=target.dtype)
    if value._array.shape != array.shape:
        try:
            fits = np.broadcast_shapes(value._array.shape, array.shape) == array.shape
        except ValueError:
            fits = False
        if not fits:
            raise RuntimeError(
                f"{name}: output with shape {list(array.shape)} doesn't match the broadcast shape of the value, "
                f"{list(value._array.shape)}"
            )
        value = call("expand", value, tuple(target.shape))
    if modes.active_modes and (mode := modes.state.mode) is not None:
        mode.written(target, value)
    np.copyto(array, value._array)
    record = modes.state.grad_enabled and (value._requires_grad or target._requires_grad)
    if not record:
        target.bump_version()
    elif target._view is None:
        target.bump_version()
        target._requires_grad, target._node, target._output_index = (
            value._requires_grad,
            value._node,
            value._output_index,
        )
    else:
        _record_view_write(target, value)
    return target


def _record_view_write(target: Tensor, value: Tensor) -> None:
    """The base of a view now depends on what was written through the view."""
    chain: list[tuple[Op | None, tuple[Any, ...], dict[str, Any]]] = []
    root = target
    while root._view is not None:
        source, op, operands, attributes = root._view
        chain.append((op, operands, attributes))
        root = source
    chain.reverse()
    former = alias(root)

    def through(tensor: Tensor) -> Tensor:
        for op, operands, attributes in chain:
            tensor = replay_view(tensor, op, operands, attributes)
        return tensor

    def rule(gradient: Tensor) -> tuple[Tensor, Tensor]:
        from .functions import call

        rest = call("clone", gradient)
        part = through(rest)
        written = call("clone", part)
        part.zero_()  # type: ignore[attr-defined]
        return rest, written

    node = PythonNode("CopySlices", [former, value], rule)
    node.output_meta.append((root._array.shape, root._array.dtype))
    root.bump_version()
    root._requires_grad, root._node, root._output_index = True, node, 0
    refresh_view(target)


def make_inplace(op: Op) -> Callable[..., Tensor]:
    """The method `name_` of an op: computes it and writes the result into the first operand."""
    from .dispatch import dispatch
    from .fast import FLOAT_UFUNCS, quiet

    name = f"{op.name}_"
    ufunc = op.ufunc if len(op.schema.operands) == 2 else None
    kinds = "fiu"
    if op.name == "div":
        ufunc, kinds = np.true_divide, "f"
    unary = FLOAT_UFUNCS.get(op.name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if ufunc is not None and len(args) == 1 and not kwargs and not modes.active_modes:
            other = args[0]
            recorded = modes.state.grad_enabled and (self.requires_grad or getattr(other, "requires_grad", False))
            if not recorded and _same_kind(self, other, kinds):
                try:
                    quiet(ufunc, self._array, getattr(other, "_array", other), self._array)
                except (ValueError, OverflowError):  # a shape or a number that does not fit: nothing was written
                    pass
                else:
                    self.bump_version()
                    return self
        elif unary is not None and not args and not kwargs and not modes.active_modes:
            array = self._array
            recorded = modes.state.grad_enabled and self.requires_grad
            if not recorded and array.dtype.kind == "f" and array.flags.writeable and not self._inference:
                quiet(unary, array, array)
                self.bump_version()
                return self
        check_writable(self, name)
        recorded = modes.state.grad_enabled and (
            self.requires_grad or any(map(_requires_grad, args)) or any(map(_requires_grad, kwargs.values()))
        )
        former = _former(op, self, [*args, *kwargs.values()]) if recorded else alias(self)
        if recorded:  # the tensor may be among its own operands, as in y.mul_(y)
            args = tuple([former if a is self else a for a in args])
        operands, attributes = op.schema.bind(former, *args, **kwargs)
        if modes.current_mode() is None and not recorded:
            operands = tuple([wrap(o) if isinstance(o, np.ndarray) else o for o in operands])
            if compute_in_place(op, self, operands, attributes):
                return self
        return write(self, dispatch(op, operands, attributes), name, fresh=True)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place version of `{op.name}`; returns the tensor itself."
    return method


def _same_kind(target: Tensor, other: Any, kinds: str) -> bool:
    """Whether numpy itself computes the op in place with the right dtype and shape, or refuses to."""
    array = target._array
    if other.__class__ is Tensor:
        second = other._array
        kind = array.dtype
        return second.dtype is kind and kind.kind in kinds and second.ndim <= array.ndim and not target._inference
    if not array.flags.writeable or array.dtype.kind not in kinds or target._inference:
        return False
    if isinstance(other, Tensor):
        return other._array.dtype == array.dtype and other._array.ndim <= array.ndim
    return other.__class__ is float and array.dtype.char in "fd"


def _requires_grad(operand: Any) -> bool:
    return isinstance(operand, Tensor) and operand.requires_grad
