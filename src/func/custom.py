"""`autograd.Function` inside `vmap`: by its own rule, or with forward and backward run on the whole batch."""

from typing import Any, NamedTuple

from ..eager import modes
from ..eager.function_api import Function, FunctionContext
from ..eager.functions import call
from ..eager.tensor import Tensor
from .batching import BatchMode

__all__ = ["run_function"]


class VmapInfo(NamedTuple):
    """What a function's `vmap` method is told."""

    batch_size: int
    randomness: str


def run_function(mode: BatchMode, cls: type[Function], args: tuple[Any, ...]) -> Any:
    """The results of `cls.apply(*args)` for all samples."""
    if not any(mode.mine(a) for a in args):
        with modes.use_mode(mode.outer):
            return cls.apply(*args)
    own = cls.__dict__.get("vmap")
    if own is not None:
        in_dims = tuple([0 if mode.mine(a) else None for a in args])
        values = [a.value if mode.mine(a) else a for a in args]
        with modes.use_mode(mode.outer):
            results, out_dims = cls.vmap(VmapInfo(mode.size, mode.randomness), in_dims, *values)  # type: ignore[attr-defined]
            return _from_dims(mode, results, out_dims)
    return _run_mapped(mode, cls, args)


def _from_dims(mode: BatchMode, results: Any, out_dims: Any) -> Any:
    if isinstance(results, (tuple, list)):
        dims = out_dims if isinstance(out_dims, (tuple, list)) else (out_dims,) * len(results)
        return tuple([_from_dims(mode, r, d) for r, d in zip(results, dims, strict=True)])
    if out_dims is None or not isinstance(results, Tensor):
        return results
    order = [out_dims % results.ndim, *[d for d in range(results.ndim) if d != out_dims % results.ndim]]
    return mode.wrapped(call("permute", results, *order))


def _run_mapped(mode: BatchMode, cls: type[Function], args: tuple[Any, ...]) -> Any:
    """A function of the values: its forward and backward are the class's, run on tensors that look like one sample."""
    inner = FunctionContext()
    several = False

    def run(method: Any, *arguments: Any) -> Any:
        with modes.use_mode(mode):
            return method(*arguments)

    def forward(context: Any, *values: Any) -> Any:
        nonlocal several
        inside = [mode.wrapped(v) if isinstance(v, Tensor) else v for v in values]
        inner.needs_input_grad = context.needs_input_grad
        if cls.setup_context is not None:
            outputs = run(cls.forward, *inside)
            run(cls.setup_context, inner, tuple(inside), outputs)
        else:
            outputs = run(cls.forward, inner, *inside)
        several = isinstance(outputs, (tuple, list))
        results = tuple([mode.front(o) for o in (outputs if several else (outputs,))])
        context.save_for_backward(*[v for v in values if isinstance(v, Tensor)])
        plain = [o for o, r in zip(outputs if several else (outputs,), results, strict=True)]
        context.mark_non_differentiable(
            *[r for o, r in zip(plain, results, strict=True) if any(o is n for n in inner._non_differentiable)]
        )
        return results

    def backward(context: Any, *gradients: Any) -> Any:
        # The saved tensors in their places in the graph of the values, for derivatives of higher order.
        again = iter(context.saved_tensors)
        linked = [next(again) if isinstance(v, Tensor) else v for v in fronts]
        replaced = {id(before): mode.wrapped(after) for before, after in zip(seen, linked, strict=True)}
        inner._to_save = tuple([replaced.get(id(getattr(t, "value", None)), t) for t in inner._to_save])
        found = run(cls.backward, inner, *[mode.wrapped(g) if g is not None else None for g in gradients])
        found = found if isinstance(found, (tuple, list)) else (found,)
        return tuple([mode.front(g) if isinstance(g, Tensor) else g for g in found])

    seen: list[Any] = []
    with modes.use_mode(mode.outer):
        fronts = [mode.front(a) for a in args]
        seen.extend(fronts)
        mapped: Any = type(
            cls.__name__, (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        )
        results = mapped.apply(*fronts)
        wrapped = mode.wrapped(results)
    return wrapped if several else wrapped[0]
