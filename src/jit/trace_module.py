"""`jit.trace_module`: several methods of a module traced, over the same parameters and buffers."""

from collections.abc import Mapping
from typing import Any

from .errors import JitError, TraceError
from .trace import TracedFunction, trace

__all__ = ["TracedModule", "trace_module"]


class TracedModule:
    """What `jit.trace_module` returns: traced methods by name; calling it calls `forward`.

    Every other attribute is the module's: its parameters are shared with the traced methods, not copied.
    """

    def __init__(self, module: Any, methods: Mapping[str, TracedFunction]) -> None:
        self._module = module
        self._methods = dict(methods)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if "forward" not in self._methods:
            raise JitError(f"forward was not traced: call one of {', '.join(self._methods)}, or trace forward, too")
        return self._methods["forward"](*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        methods = self.__dict__.get("_methods", {})
        return methods[name] if name in methods else getattr(self.__dict__["_module"], name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._module), *self._methods})

    @property
    def baked(self) -> list[Any]:
        """What the traces fixed to their examples, over all methods."""
        return [entry for method in self._methods.values() for entry in method.baked]

    def __repr__(self) -> str:
        return f"<TracedModule {type(self._module).__name__}: {', '.join(self._methods)}>"


def trace_module(
    mod: Any, inputs: Mapping[str, Any], check_trace: bool = True, *, on_bake: str = "warn"
) -> TracedModule:
    """Trace the methods of a module that `inputs` names, each on its example arguments (see `trace`).

    >>> class Pair(ingot.nn.Module):
    ...     def forward(self, x): return x * 2
    ...     def twice(self, x): return self.forward(x) * 2
    >>> pair = ingot.jit.trace_module(Pair(), {"forward": ingot.ones(1), "twice": ingot.ones(1)})
    >>> pair(ingot.ones(2)), pair.twice(ingot.ones(2))
    (tensor([2., 2.]), tensor([4., 4.]))
    """
    if not hasattr(mod, "named_parameters"):
        raise TypeError(f"trace_module: expected a module, given {type(mod).__name__}")
    if not isinstance(inputs, Mapping) or not inputs:
        raise TypeError("trace_module: expected a dictionary from names of methods to their example inputs")
    methods = {}
    for name, example in inputs.items():
        if not callable(getattr(mod, name, None)):
            raise TraceError(f"trace_module: {type(mod).__name__} has no method {name!r}")
        subject = mod if name == "forward" else getattr(mod, name)
        methods[name] = trace(subject, example, check_trace, on_bake=on_bake)
    return TracedModule(mod, methods)
