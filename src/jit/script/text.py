"""Strings: f-strings and other formatting of values known now or at run time."""

import ast
from collections.abc import Callable
from typing import Any

from ...ir.types import StrType
from . import iteration
from .context import Context
from .operators import binary, spread
from .values import (
    Abstract,
    Constant,
    Items,
    ListRef,
    Scalar,
    Tuple,
)

__all__ = [
    "constant_of",
    "format_value",
    "formatted_value",
    "joined_string",
    "percent_format",
]


def percent_format(context: Context, template: str, right: Abstract) -> Abstract:
    values = right.items if isinstance(right, Tuple) else (right,)
    if all(isinstance(v, Constant) for v in values):
        try:
            return Constant(template % tuple(v.value for v in values))  # type: ignore[attr-defined]
        except (TypeError, ValueError) as error:
            raise context.type_error(str(error)) from error
    raise context.error("% formatting of run-time values is not supported", "use an f-string without format specs")


def joined_string(context: Context, node: ast.JoinedStr) -> Abstract:
    result: Abstract = Constant("")
    for part in node.values:
        piece = formatted_value(context, part) if isinstance(part, ast.FormattedValue) else context.evaluate(part)
        empty = isinstance(result, Constant) and result.value == ""
        result = piece if empty else binary(context, "Add", result, piece)
    return result


def formatted_value(context: Context, node: ast.FormattedValue) -> Abstract:
    value = context.evaluate(node.value)
    spec = Constant("") if node.format_spec is None else context.evaluate(node.format_spec)
    with context.at(node):
        return spread(context, lambda v: format_value(context, v, spec, node.conversion), value)


def format_value(context: Context, value: Abstract, spec: Abstract, conversion: int = -1) -> Abstract:
    """A value as text, as in an f-string."""
    if isinstance(value, Tuple) and value.type.__name__ in ("Raised", "Caught"):
        from .raised import error_text

        value = error_text(context, value)
    if not isinstance(spec, Constant):
        raise context.error("a format spec must be known when the program is compiled")
    known = constant_of(context, value)
    if known is not None:
        python = known[0]
        if conversion != -1:
            convert: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}
            python = convert[conversion](python)
        try:
            return Constant(format(python, spec.value))
        except (TypeError, ValueError) as error:
            context.fails(error)
    if isinstance(value, Scalar) and not spec.value and conversion in (-1, ord("s"), ord("r")):
        if isinstance(context.type_of(value.value), StrType):
            return value
        return Scalar(context.emit("scalar.to_str", value.value))
    if isinstance(value, (Tuple, ListRef)) and not spec.value:
        items = iteration.known_items(context, value)
        parts: list[Abstract] = [Constant("(" if isinstance(value, Tuple) else "[")]
        if isinstance(value, Tuple) and value.type.__name__ == "Size":
            parts = [Constant("ingot.Size([")]
        for position, item in enumerate(items):
            if position:
                parts.append(Constant(", "))
            parts.append(format_value(context, item, spec, ord("r")))
        closing = ")" if isinstance(value, Tuple) else "]"
        if parts[0].value == "ingot.Size([":  # type: ignore[attr-defined]
            closing = "])"
        elif isinstance(value, Tuple) and len(items) == 1:
            closing = ",)"
        parts.append(Constant(closing))
        result = parts[0]
        for part in parts[1:]:
            result = binary(context, "Add", result, part)
        return result
    raise context.error(
        f"{context.describe(value)} cannot be formatted in a compiled program",
        "format numbers and strings, without a format spec; or move the message out of the function",
    )


def constant_of(context: Context, value: Abstract) -> tuple[Any] | None:
    """The Python object that a value is, in a tuple, where it is known when compiling."""
    match value:
        case Constant(value=constant):
            return (constant,)
        case Tuple(items=items, type=cls):
            parts = [constant_of(context, i) for i in items]
            if all(p is not None for p in parts):
                known = [p[0] for p in parts if p is not None]
                return (cls(*known) if hasattr(cls, "_fields") else cls(known),)
        case ListRef(cell=cell) if isinstance(content := context.heap[cell], Items):
            parts = [constant_of(context, i) for i in content.items]
            if all(p is not None for p in parts):
                return ([p[0] for p in parts if p is not None],)
    return None
