"""`ingot.compile`: a module or function compiled if it can be, and run as it is, with a warning, if not."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

from .errors import FallbackWarning, ScriptError
from .script.api import script

__all__ = ["compile"]


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str = "ingot",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """A callable that computes what `model` does, compiled at its first call; also a decorator, as `torch.compile` is.

    It is `jit.script` with a way out: what cannot be scripted runs as ordinary Python, which a `jit.FallbackWarning`
    says with the reason. With `fullgraph` the `jit.ScriptError` is raised instead. `dynamic`, `backend`, `mode` and
    `options` are taken for the sake of programs that pass them: sizes are always open, and there is one back end.

    >>> double = ingot.compile(lambda x: x * 2)
    >>> double(ingot.ones(2))
    tensor([2., 2.])
    """
    if model is None:
        return functools.partial(compile, fullgraph=fullgraph, disable=disable)
    if disable:
        return model
    try:
        scripted = script(model)
    except ScriptError as error:
        if fullgraph:
            raise
        _warn(model, error)
        return model
    return scripted if fullgraph else _WithFallback(model, scripted)


class _WithFallback:
    """A scripted callable until its types cannot be compiled; from then on the original one."""

    def __init__(self, original: Callable[..., Any], scripted: Callable[..., Any]) -> None:
        self._original, self._call = original, scripted
        functools.update_wrapper(self, original, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._call is self._original:
            return self._original(*args, **kwargs)
        try:
            return self._call(*args, **kwargs)
        except ScriptError as error:
            _warn(self._original, error)
            self._call = self._original
            return self._original(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # A module's parameters, train(), state_dict() and so on are those of the module itself.
        return getattr(self.__dict__["_original"], name)


def _warn(model: Any, error: ScriptError) -> None:
    name = getattr(model, "__qualname__", type(model).__name__)
    warnings.warn(
        f"{name} runs as ordinary Python, because it cannot be scripted: {error}", FallbackWarning, stacklevel=3
    )
