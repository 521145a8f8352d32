"""Checkpointing: a part of a model keeps nothing for backward and is computed once more there."""

from collections.abc import Callable
from typing import Any

from ..eager.autograd import grad as _gradients
from ..eager.autograd import mark
from ..eager.function_api import Function
from ..eager.modes import current_mode, enable_grad, is_grad_enabled
from ..eager.random import get_rng_state, set_rng_state
from ..eager.tensor import Tensor

__all__ = ["checkpoint", "checkpoint_sequential"]


def _sources(outputs: list[Tensor], start: int) -> list[Tensor]:
    """The tensors from before `start` that the outputs depend on: arguments, parameters, whatever was captured."""
    found: dict[int, Tensor] = {}
    pending = [o._node for o in outputs if o._node is not None and o._node.sequence > start]
    seen = set(map(id, pending))
    while pending:
        for edge in pending.pop().edges():
            if edge.node is not None and edge.node.sequence > start:
                if id(edge.node) not in seen:
                    seen.add(id(edge.node))
                    pending.append(edge.node)
            else:
                found[id(edge.tensor)] = edge.tensor
    return list(found.values())


class _Recomputed(Function):
    @staticmethod
    def forward(context: Any, run: Callable[[], list[Tensor]], results: list[Tensor], *sources: Tensor) -> Any:
        context.run = run
        context.save_for_backward(*sources)  # so that a later write to one of them is caught
        return tuple(r.detach() for r in results)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        sources = context.saved_tensors
        create_graph = is_grad_enabled()
        with enable_grad():
            outputs = context.run()
            pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad and g is not None]
            found = _gradients(
                [o for o, _ in pairs], sources, [g for _, g in pairs], create_graph=create_graph, allow_unused=True
            )
        return None, None, *found


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`, keeping nothing of it for backward but its arguments: it runs again there.

    With `preserve_rng_state` it draws the same random numbers then. `use_reentrant` has no effect.

    >>> x = ingot.ones(2, requires_grad=True)
    >>> ingot.utils.checkpoint.checkpoint(lambda x: (x * x).exp().sum(), x).backward()
    >>> x.grad
    tensor([5.4366, 5.4366])
    """
    if not is_grad_enabled() or current_mode() is not None:
        return function(*args, **kwargs)
    state = get_rng_state() if preserve_rng_state else None
    start = mark()
    result = function(*args, **kwargs)
    single = isinstance(result, Tensor)
    outputs = [result] if single else list(result)
    tensors = [o for o in outputs if isinstance(o, Tensor) and o.requires_grad]
    sources = _sources(tensors, start)
    if not sources:
        return result

    def run() -> list[Tensor]:
        after = get_rng_state() if state is not None else None
        if state is not None:
            set_rng_state(state)
        try:
            again = function(*args, **kwargs)
        finally:
            if after is not None:
                set_rng_state(after)
        found = [again] if isinstance(again, Tensor) else list(again)
        return [o for o in found if isinstance(o, Tensor) and o.requires_grad]

    kept = _Recomputed.apply(run, tensors, *sources)
    pending = iter(kept if isinstance(kept, tuple) else (kept,))
    final = [next(pending) if isinstance(o, Tensor) and o.requires_grad else o for o in outputs]
    if single:
        return final[0]
    return type(result)(*final) if hasattr(result, "_fields") else type(result)(final)


def checkpoint_sequential(functions: Any, segments: int, input: Any, **kwargs: Any) -> Any:
    """The composition of functions, cut into checkpointed segments of about equal length but the last.

    >>> layers = ingot.nn.Sequential(ingot.nn.ReLU(), ingot.nn.Tanh())
    >>> ingot.utils.checkpoint.checkpoint_sequential(layers, 2, ingot.zeros(2))
    tensor([0., 0.])
    """
    layers = list(functions.children()) if hasattr(functions, "children") else list(functions)
    length = max(len(layers) // segments, 1)

    def part(first: int, last: int) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            for layer in layers[first:last]:
                value = layer(value)
            return value

        return run

    first = 0
    for _ in range(segments - 1):
        input = checkpoint(part(first, first + length), input, **kwargs)
        first += length
    return part(first, len(layers))(input)
