"""Public functions in families: how a module's functions become names of `ingot`, methods and in-place methods."""

import functools
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from . import modes
from .methods import inplace_of, write_out
from .tensor import Tensor

__all__ = ["install", "with_out"]

SPELLINGS = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x1": "input", "x2": "other"}


def with_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with `out=`, and with NumPy's spellings of PyTorch's parameters where it has the latter."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]
    spellings = {k: v for k, v in SPELLINGS.items() if v in names and k not in names}

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if kwargs and not kwargs.keys().isdisjoint(spellings):
            kwargs = {spellings.get(k, k): v for k, v in kwargs.items()}
        if out is None:
            return function(*args, **kwargs)
        return write_out(out, function(*args, **kwargs), function.__name__)

    return call


def install(namespace: dict[str, Any], module: ModuleType) -> None:
    """Put a family where it says: `FUNCTIONS` are names of `ingot`, `METHODS` are methods, `INPLACE` have `name_` too.

    `ALIASES` maps further names to those.
    """
    functions: Iterable[str] = module.FUNCTIONS
    methods: Iterable[str] = module.METHODS
    for name in functions:
        namespace[name] = getattr(module, name)
    for name in methods:
        function = getattr(module, name)
        existing = getattr(Tensor, name, None)
        if hasattr(existing, "__ingot_op__"):
            function.__ingot_op__ = existing.__ingot_op__  # type: ignore[union-attr]
        setattr(Tensor, name, function)
    for name in getattr(module, "INPLACE", ()):
        setattr(Tensor, f"{name}_", inplace_of(f"{name}_", getattr(module, name)))
    for alias, name in getattr(module, "ALIASES", {}).items():
        if name in namespace:
            namespace[alias] = namespace[name]
        if name in methods:
            setattr(Tensor, alias, getattr(Tensor, name))


def values_of(name: str, *tensors: Tensor) -> None:
    """RuntimeError where a trace is running: what the function does depends on the tensors' values."""
    mode = modes.current_mode()
    if mode is not None:
        raise RuntimeError(f"{name}: its result depends on the tensors' values, which a trace does not record")
