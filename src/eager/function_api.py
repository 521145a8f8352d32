"""`autograd.Function`: operations whose forward and backward are written by the user."""

import weakref
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..ir.dtypes import FLOATING_KINDS, from_numpy
from . import modes
from .creation import zeros
from .saved_hooks import pack
from .tape import FREED, Node, PythonNode, Saved
from .tensor import Tensor, wrap

__all__ = ["Function", "FunctionContext", "once_differentiable"]


class FunctionContext:
    """What `forward` leaves for `backward`; any other attribute may be set on it too."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: tuple[Tensor | None, ...] = ()
        self._saved: list[Any] | None = None
        self._freed = False
        self._dirty: tuple[Tensor, ...] = ()
        self._non_differentiable: tuple[Tensor, ...] = ()
        self._materialize = True
        self._node: Callable[[], PythonNode | None] = lambda: None
        self._name = ""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs for backward; a later in-place write to one of them is caught there."""
        for tensor in tensors:
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(f"save_for_backward can only save variables, but argument is of type {type(tensor)}")
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept."""
        if self._freed:
            raise RuntimeError(FREED)
        if self._saved is None:
            return self._to_save
        return tuple(entry() if callable(entry) else entry for entry in self._saved)

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for a `jvp` of the user's; derivatives along directions come from `backward` here."""

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Say which outputs have no gradient."""
        self._non_differentiable = outputs

    def mark_dirty(self, *inputs: Tensor) -> None:
        """Say which inputs `forward` wrote in place; they must be returned."""
        self._dirty = inputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether gradients that are None reach `backward` as zeros (the default) or as None."""
        self._materialize = value


class _FunctionNode(PythonNode):
    """A node of a user's function, which may return what it also keeps."""

    __slots__ = ("context",)
    shares = True
    context: FunctionContext

    def release(self) -> None:
        Node.release(self)  # the rule stays: a function that saved nothing can run backward again
        self.context._freed = bool(self.context._saved)
        self.context._saved = []


class Function:
    """An operation with a derivative of its own: write `forward(ctx, ...)` and `backward(ctx, *gradients)`.

    `backward` returns one gradient (or None) per argument of `forward`. Call it with `apply`. With `setup_context(ctx,
    inputs, output)`, `forward` takes no ctx.

    >>> class Cube(ingot.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, gradient):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x * x * gradient
    >>> x = ingot.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward(); x.grad
    tensor(12.)
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """What the operation computes; nothing in it is recorded."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Gradients of the arguments of `forward` from those of its outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    setup_context: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"{type(self).__name__} is not instantiated: call {type(self).__name__}.apply(...)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run `forward` and record the call for `backward`."""
        if modes.active_modes and (mode := modes.state.mode) is not None:
            replaced = mode.function(cls, args)
            if replaced is not NotImplemented:
                return replaced
        context = FunctionContext()
        context.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        with modes.no_grad():
            if cls.setup_context is not None:
                outputs = cls.forward(*args)
                cls.setup_context(context, args, outputs)
            else:
                outputs = cls.forward(context, *args)
        several = isinstance(outputs, (tuple, list))
        results = list(outputs) if several else [outputs]
        for dirty in context._dirty:
            dirty.bump_version()
            if not any(dirty is r for r in results):
                raise RuntimeError(f"{cls.__name__}: an input that was marked dirty must be returned by forward")
        if modes.state.grad_enabled and any(context.needs_input_grad):
            results = _record(cls, context, args, results)
        return tuple(results) if several else results[0]


def _record(cls: type[Function], context: FunctionContext, args: Sequence[Any], results: list[Any]) -> list[Any]:
    """Connect the results to the arguments by a node."""

    def rule(*gradients: Any) -> tuple[Any, ...]:
        return _gradients(cls, context, args_meta, outputs_meta, gradients)

    args_meta = [(a._array.shape, a._array.dtype) if isinstance(a, Tensor) else None for a in args]
    node = _FunctionNode(f"{cls.__name__}Backward", args, rule)
    node.context = context
    context._name, context._node = node.name(), weakref.ref(node)
    outputs_meta: list[Any] = []
    connected: list[Any] = []
    for index, result in enumerate(results):
        if not isinstance(result, Tensor) or any(result is n for n in context._non_differentiable):
            node.output_meta.append(None)
            outputs_meta.append(None)
            connected.append(result)
            continue
        if any(result is a for a in args) and not any(result is d for d in context._dirty):
            alias = wrap(result._array)
            alias._alias_of = result
            result = alias
        elif result._view is not None and any(result is d for d in context._dirty):
            raise RuntimeError(f"{cls.__name__}: an input that is a view cannot be written in place; clone() it first")
        elif result._array.dtype.kind in FLOATING_KINDS and result._node is None and result._view is not None:
            # A view of an input: the node, not the history of its base, is where its gradient goes.
            alias = wrap(result._array)
            alias._alias_of = result
            result = alias
        if result._array.dtype.kind in FLOATING_KINDS:
            result._requires_grad, result._node, result._output_index = True, node, index
            node.output_meta.append((result._array.shape, result._array.dtype))
        else:
            node.output_meta.append(None)
        outputs_meta.append(node.output_meta[-1])
        connected.append(result)
    context._saved = [_keep(context, t, results, connected) for t in context._to_save]
    context._to_save = ()
    return connected


def _keep(context: FunctionContext, tensor: Any, results: list[Any], connected: list[Any]) -> Any:
    """How to get a saved tensor back: None, or a function without arguments."""
    if tensor is None:
        return None
    packed = pack(tensor)
    if packed is not None:
        return packed
    for index, (result, output) in enumerate(zip(results, connected, strict=True)):
        if tensor is result and isinstance(output, Tensor) and output._node is not None:
            return _keep_output(context, output, index)
    saved, reference = Saved(tensor), context._node

    def input_again() -> Tensor:
        node = reference()
        assert node is not None
        found = saved.unpack(node)
        found._array  # noqa: B018  (raises where the values were overwritten)
        return found

    return input_again


def _keep_output(context: FunctionContext, output: Tensor, index: int) -> Callable[[], Tensor]:
    """An output is kept as its array only: its node must not keep it alive."""
    array, counter, node = output._array, output.version_counter(), context._node
    version = counter[0]

    def output_again() -> Tensor:
        if counter[0] != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: an "
                f"output of shape {list(array.shape)} saved by {context._name} is at version {counter[0]}; expected "
                f"version {version} instead"
            )
        again = wrap(array)
        again._requires_grad, again._node, again._output_index = True, node(), index
        return again

    return output_again


def _gradients(
    cls: type[Function], context: FunctionContext, args: list[Any], outputs: list[Any], gradients: Sequence[Any]
) -> tuple[Any, ...]:
    """Run `backward` on the gradients, and check what it returns."""
    given = list(gradients)
    for index, meta in enumerate(outputs):
        if given[index] is None and context._materialize and meta is not None:
            given[index] = zeros(meta[0], dtype=from_numpy(meta[1]))
    found = cls.backward(context, *given)
    found = tuple(found) if isinstance(found, (tuple, list)) else (found,)
    if len(found) < len(args) or any(g is not None for g in found[len(args) :]):
        raise RuntimeError(
            f"function {cls.__name__}Backward returned an incorrect number of gradients (expected {len(args)}, got "
            f"{len(found)})"
        )
    checked = []
    for index, (gradient, meta) in enumerate(zip(found, args, strict=False)):
        if gradient is not None and meta is not None:
            if not isinstance(gradient, Tensor):
                raise TypeError(
                    f"{cls.__name__}Backward: expected Tensor or None as gradient {index}, given "
                    f"{type(gradient).__name__}"
                )
            shape = meta[0]
            if gradient._array.shape != shape:
                try:
                    fits = np.broadcast_shapes(gradient._array.shape, shape) == gradient._array.shape
                except ValueError:
                    fits = False
                if not fits:
                    raise RuntimeError(
                        f"Function {cls.__name__}Backward returned an invalid gradient at index {index} - got "
                        f"{list(gradient._array.shape)} but expected shape compatible with {list(shape)}"
                    )
                gradient = gradient.sum_to_size(shape)  # type: ignore[attr-defined]
        elif gradient is not None and meta is None:
            raise RuntimeError(
                f"function {cls.__name__}Backward returned a gradient different than None at position {index + 1}, but "
                "the corresponding forward input was not a Variable"
            )
        checked.append(gradient)
    return tuple(checked)


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """For a `backward` that cannot itself be differentiated: doing so is a RuntimeError instead of a wrong answer."""

    @wraps(backward)
    def once(ctx: Any, *gradients: Any) -> Any:
        with modes.no_grad():
            found = backward(ctx, *gradients)
        if not modes.state.grad_enabled:
            return found
        several = isinstance(found, (tuple, list))

        def refuse(*_: Any) -> Any:
            raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")

        results = []
        for gradient in found if several else (found,):
            if isinstance(gradient, Tensor) and gradient._array.dtype.kind in FLOATING_KINDS:
                node = PythonNode("OnceDifferentiableBackward", [g for g in gradients if g is not None], refuse)
                node.output_meta.append((gradient._array.shape, gradient._array.dtype))
                gradient = wrap(gradient._array)
                gradient._requires_grad, gradient._node = True, node
            results.append(gradient)
        return tuple(results) if several else results[0]

    return once
