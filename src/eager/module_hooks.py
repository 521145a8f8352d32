"""Hooks of modules: around forward, around backward, and how a call runs them."""

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .creation import zeros_like
from .function_api import Function
from .hooks import RemovableHandle
from .tensor import Tensor

__all__ = ["HookedModule"]


class _Gate(Function):
    """The identity for several tensors; what passes backward goes through a function of all its gradients."""

    @staticmethod
    def forward(ctx: Any, change: Callable[..., Any], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.change = change
        ctx.set_materialize_grads(False)
        return tuple(t.view_as(t) for t in tensors)  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *ctx.change(gradients)


def _through_gate(values: Any, change: Callable[..., Any]) -> Any:
    """A tensor, or a tuple (or list) with tensors, whose gradients will go through `change`; other values stay."""
    items = list(values) if isinstance(values, (tuple, list)) else [values]
    places = [i for i, value in enumerate(items) if isinstance(value, Tensor) and value.requires_grad]
    if not places:
        return None
    passed = _Gate.apply(lambda gradients: change(gradients, places, items), *[items[i] for i in places])
    for i, tensor in zip(places, passed, strict=True):
        items[i] = tensor
    if not isinstance(values, (tuple, list)):
        return items[0]
    return type(values)(*items) if hasattr(values, "_fields") else type(values)(items)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


class _BackwardHooks:
    """One call's backward hooks: gradients of the outputs arrive first, those of the inputs complete them."""

    def __init__(self, module: Any, hooks: list[Callable[..., Any]], pre_hooks: list[Callable[..., Any]]) -> None:
        self._module = module
        self._hooks = hooks
        self._pre_hooks = pre_hooks
        self._output_gradients: tuple[Any, ...] | None = None
        self._input_count = 0
        self._watches_inputs = False

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self._input_count = len(args)
        passed = _through_gate(args, self._at_inputs) if self._hooks else None
        self._watches_inputs = passed is not None
        return args if passed is None else passed

    def outputs(self, result: Any) -> Any:
        passed = _through_gate(result, self._at_outputs)
        return result if passed is None else passed

    def _at_outputs(self, gradients: tuple[Any, ...], places: list[int], outputs: list[Any]) -> list[Any]:
        full = _spread(gradients, places, len(outputs))
        for hook in self._pre_hooks:
            replaced = hook(self._module, full)
            if replaced is not None:
                full = _checked(_as_tuple(replaced), len(full), "output")
        self._output_gradients = full
        if self._hooks and not self._watches_inputs:  # no input has a gradient that could complete the call
            for hook in self._hooks:
                if hook(self._module, (None,) * self._input_count, full) is not None:
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
        return [full[i] for i in places]

    def _at_inputs(self, gradients: tuple[Any, ...], places: list[int], inputs: list[Any]) -> list[Any]:
        # Gradients that did not arrive are zeros here, as PyTorch has it.
        full = tuple(
            zeros_like(x.detach()) if g is None and isinstance(x, Tensor) and x.dtype.is_floating_point else g
            for g, x in zip(_spread(gradients, places, len(inputs)), inputs, strict=True)
        )
        if self._output_gradients is None:
            raise RuntimeError(
                f"the backward hook of {type(self._module).__name__} was reached before the gradients of its outputs: "
                "an input is used outside of the module in the same backward pass"
            )
        for hook in self._hooks:
            replaced = hook(self._module, full, self._output_gradients)
            if replaced is not None:
                full = _checked(_as_tuple(replaced), len(full), "input")
        self._output_gradients = None
        return [full[i] for i in places]


def _spread(gradients: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
    full: list[Any] = [None] * count
    for i, gradient in zip(places, gradients, strict=True):
        full[i] = gradient
    return tuple(full)


def _checked(replaced: tuple[Any, ...], count: int, what: str) -> tuple[Any, ...]:
    if len(replaced) != count:
        raise RuntimeError(
            f"Backward hook returned an invalid number of grad_{what}s: got {len(replaced)}, but expected {count}"
        )
    return replaced


class HookedModule:
    """What a module's call does beside `forward`."""

    _forward_hooks: "OrderedDict[int, Callable[..., Any]]"
    _forward_pre_hooks: "OrderedDict[int, Callable[..., Any]]"
    _backward_hooks: "OrderedDict[int, Callable[..., Any]]"
    _backward_pre_hooks: "OrderedDict[int, Callable[..., Any]]"
    # Identifiers of hooks that take keyword arguments too, and of those that run also after an exception.
    _hooks_with_kwargs: set[int]
    _hooks_always: set[int]
    forward: Callable[..., Any]

    def _init_hooks(self) -> None:
        self.__dict__.update(
            _forward_hooks=OrderedDict(),
            _forward_pre_hooks=OrderedDict(),
            _backward_hooks=OrderedDict(),
            _backward_pre_hooks=OrderedDict(),
            _hooks_with_kwargs=set(),
            _hooks_always=set(),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks):
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(args, kwargs)

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        called: set[int] = set()
        result: Any = None
        try:
            for key, hook in list(self._forward_pre_hooks.items()):
                if key in self._hooks_with_kwargs:
                    replaced = hook(self, args, kwargs)
                    if replaced is not None:
                        if not isinstance(replaced, tuple) or len(replaced) != 2:
                            raise RuntimeError(
                                f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
                                f"{replaced}."
                            )
                        args, kwargs = replaced
                else:
                    replaced = hook(self, args)
                    if replaced is not None:
                        args = _as_tuple(replaced)
            backward = None
            if self._backward_hooks or self._backward_pre_hooks:
                backward = _BackwardHooks(
                    self, list(self._backward_hooks.values()), list(self._backward_pre_hooks.values())
                )
                args = backward.inputs(args)
            result = self.forward(*args, **kwargs)
            for key, hook in list(self._forward_hooks.items()):
                called.add(key)
                replaced = self._after(key, hook, args, kwargs, result)
                if replaced is not None:
                    result = replaced
            return result if backward is None else backward.outputs(result)
        except Exception:
            for key, hook in list(self._forward_hooks.items()):
                if key in self._hooks_always and key not in called:
                    try:
                        replaced = self._after(key, hook, args, kwargs, result)
                        result = result if replaced is None else replaced
                    except Exception as error:
                        warnings.warn(
                            "module forward hook with ``always_call=True`` raised an exception that was silenced as "
                            f"another error was raised in forward: {error}",
                            stacklevel=3,
                        )
            raise

    def _after(
        self, key: int, hook: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        return hook(self, args, kwargs, result) if key in self._hooks_with_kwargs else hook(self, args, result)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after each forward; what it returns replaces the output.

        `with_kwargs` makes that `hook(module, args, kwargs, output)`. `prepend` puts it before the
        hooks that are there. `always_call` calls it (with output None) also where forward raises.
        """
        handle = self._register(self._forward_hooks, hook, prepend)
        if with_kwargs:
            self._hooks_with_kwargs.add(handle.id)
        if always_call:
            self._hooks_always.add(handle.id)
        return handle

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before each forward; what it returns replaces the arguments.

        `with_kwargs` makes that `hook(module, args, kwargs)`, which returns None or new (args, kwargs).
        """
        handle = self._register(self._forward_pre_hooks, hook, prepend)
        if with_kwargs:
            self._hooks_with_kwargs.add(handle.id)
        return handle

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` once the gradients of the inputs are known.

        Both are tuples over the positional arguments and the outputs; what the hook returns replaces grad_input.
        """
        return self._register(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The same as `register_full_backward_hook`: the former name."""
        return self.register_full_backward_hook(hook)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the module's backward; what it returns replaces grad_output."""
        return self._register(self._backward_pre_hooks, hook, prepend)

    def _register(
        self, table: "OrderedDict[int, Callable[..., Any]]", hook: Callable[..., Any], prepend: bool
    ) -> RemovableHandle:
        handle = RemovableHandle(table, hook)
        if prepend:
            table.move_to_end(handle.id, last=False)
        return handle
