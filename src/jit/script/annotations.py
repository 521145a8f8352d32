"""Annotations of a compiled function's parameters: checked against the arguments where they name simple types."""

import ast
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ...eager.tensor import Tensor
from ...ir.types import DictType, Type, contained_types
from ..errors import ScriptError
from .calls import python_type
from .context import Context, Frame
from .source import FunctionSource
from .unknown import annotated_type, resolve_unknown
from .values import Abstract, Constant, DictRef, ListRef, RunTimeDict, RunTimeItems, RunTimeSet, SetRef

__all__ = ["check_arguments", "declare", "type_of_annotation"]

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


def type_of_annotation(frame: Frame, annotation: Any) -> Type | None:
    """The graph type that an annotation (its syntax, or the type itself) names; None where it names none."""
    hint = annotation
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return None
    if isinstance(annotation, ast.expr):
        try:
            code = compile(ast.Expression(annotation), "<annotation>", "eval")
            # The user's own annotation, in the user's own module: Python itself evaluates it at module level.
            hint = eval(code, {**vars(typing), **frame.globals}, dict(frame.closure))
        except Exception:
            return None  # names that exist for type checkers only
    return annotated_type(hint)


def declare(context: Context, value: Abstract, annotation: Any) -> None:
    """Let an annotation say what an empty container holds; what it does not say of a graph type is no matter."""
    cell = getattr(value, "cell", None)
    if not isinstance(value, (ListRef, DictRef, SetRef)) or cell is None:
        return
    type = type_of_annotation(context.frame, annotation)
    if type is None:
        return
    content = context.heap[cell]
    if isinstance(content, (RunTimeItems, RunTimeDict, RunTimeSet)):
        resolve_unknown(context.type_of(content.value), type)
    elif cell.literal is not None:
        names = ("key", "element") if isinstance(type, DictType) else ("element",)
        context.literal_types.setdefault(cell.literal, {}).update(zip(names, contained_types(type), strict=True))
