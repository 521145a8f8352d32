"""Annotations of a compiled function's parameters: checked against the arguments where they name simple types."""

import ast
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ...eager.tensor import Tensor
from ..errors import ScriptError
from .calls import python_type
from .source import FunctionSource
from .values import Abstract, Constant

__all__ = ["check_arguments"]

# What an annotation accepts besides instances of itself, as static type checkers have it.
_ACCEPTED: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (float, int),
    complex: (complex, float, int),
    bool: (bool,),
    str: (str,),
    Tensor: (Tensor,),
    type(None): (type(None),),
}


def check_arguments(
    function: Callable[..., Any],
    source: FunctionSource,
    arguments: list[Abstract],
    keywords: Mapping[str, Abstract],
    describe: Callable[[Abstract], str],
) -> None:
    """ScriptError at the parameter whose annotation the argument contradicts; what is not understood says nothing."""
    if not getattr(function, "__annotations__", None):
        return
    try:
        hints = typing.get_type_hints(function)
        bound = inspect.signature(function).bind(*arguments, **keywords)
    except Exception:
        return  # names that exist for type checkers only; a wrong call is reported where arguments are bound
    nodes = {a.arg: a for a in ast.walk(source.node.args) if isinstance(a, ast.arg)}
    for name, value in bound.arguments.items():
        if name not in hints or not isinstance(value, Abstract) or accepts(hints[name], value) is not False:
            continue
        shown = getattr(hints[name], "__name__", None) or str(hints[name])
        raise ScriptError(
            f"argument {name!r} is annotated {shown}, but {describe(value)} was given",
            source.location(nodes[name]) if name in nodes else None,
            hint="pass what the annotation says, or change or remove it",
        )


def accepts(hint: Any, value: Abstract) -> bool | None:
    """Whether a value fits an annotation; None where the annotation is of a kind that is not checked."""
    if hint is None:
        hint = type(None)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        answers = [accepts(h, value) for h in typing.get_args(hint)]
        return True if True in answers else None if None in answers else False
    accepted = _ACCEPTED.get(hint)
    cls = type(value.value) if isinstance(value, Constant) else python_type(value)
    if accepted is None or cls is None:
        return None
    return issubclass(cls, accepted)
