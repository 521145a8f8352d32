"""Strings: f-strings, `%`, `str.format` and `print` of values known now or at run time."""

import ast
import functools
import re
import string
from collections.abc import Callable
from typing import Any

from ...ir.core import Value
from .context import Context
from .operators import binary, scalar_kind, spread
from .values import (
    Abstract,
    Closure,
    Constant,
    DictRef,
    Items,
    ListRef,
    Method,
    ObjectRef,
    Scalar,
    TensorRef,
    Tuple,
    Union,
)

__all__ = [
    "constant_of",
    "format_template",
    "format_value",
    "formatted_value",
    "joined_string",
    "percent_format",
    "print_values",
]

_CONVERSIONS: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}


# -- f-strings ---------------------------------------------------------------------------------------------------------


def joined_string(context: Context, node: ast.JoinedStr) -> Abstract:
    """An f-string."""
    pieces = [
        formatted_value(context, part) if isinstance(part, ast.FormattedValue) else context.evaluate(part)
        for part in node.values
    ]
    return concatenated(context, pieces)


def concatenated(context: Context, pieces: list[Abstract]) -> Abstract:
    """Strings one after the other."""
    result: Abstract = Constant("")
    for piece in pieces:
        if isinstance(piece, Constant) and piece.value == "":
            continue
        empty = isinstance(result, Constant) and result.value == ""
        result = piece if empty else binary(context, "Add", result, piece)
    return result


def formatted_value(context: Context, node: ast.FormattedValue) -> Abstract:
    """What stands in the braces of an f-string."""
    value = context.evaluate(node.value)
    spec = Constant("") if node.format_spec is None else context.evaluate(node.format_spec)
    with context.at(node):
        return format_value(context, value, spec, node.conversion)


def format_value(context: Context, value: Abstract, spec: Abstract, conversion: int = -1) -> Abstract:
    """A value as text, as in an f-string."""
    if isinstance(value, Union):
        # The strings of all alternatives are one type, so that the result is a string and no union.
        return spread(context, lambda v: _run_time(context, format_value(context, v, spec, conversion)), value)
    if isinstance(value, Tuple) and value.type.__name__ in ("Raised", "Caught"):
        from .raised import error_text

        value, conversion = error_text(context, value), -1
    known = constant_of(context, value)
    if known is not None and isinstance(spec, Constant):
        python = known[0] if conversion == -1 else _CONVERSIONS[conversion](known[0])
        try:
            return Constant(format(python, spec.value))
        except (TypeError, ValueError) as error:
            context.fails(error)
    if isinstance(value, (Scalar, TensorRef)) or (known is not None and isinstance(known[0], (bool, int, float, str))):
        return _format_simple(context, value, spec, conversion)
    if isinstance(value, ObjectRef) and conversion == -1 and _own(value.type, "__format__"):
        return context.call(Method(value, "__format__", value.type.__format__), [spec], {})
    text = _text_of(context, value, "repr" if conversion == ord("r") else "str")
    if isinstance(spec, Constant) and not spec.value:
        return text
    if conversion == -1:
        context.fails(TypeError(f"unsupported format string passed to {context.describe(value)}.__format__"))
    return format_value(context, text, spec)


def _run_time(context: Context, value: Abstract) -> Abstract:
    return Scalar(context.constant(value.value)) if isinstance(value, Constant) else value


def _format_simple(context: Context, value: Abstract, spec: Abstract, conversion: int) -> Abstract:
    """The text of a number, string or tensor."""
    is_text = scalar_kind(value) == "str"
    if isinstance(spec, Constant) and not spec.value:
        if is_text and conversion in (-1, ord("s")):
            return value
        if isinstance(value, Scalar) and not is_text and conversion != ord("a"):
            return Scalar(context.emit("scalar.to_str", value.value))
    operand = context.read(value) if isinstance(value, TensorRef) else _value(context, value)
    code = 0 if conversion == -1 else conversion
    return Scalar(context.emit("text.format", operand, _value(context, spec), conversion=code))


def _value(context: Context, value: Abstract) -> Value:
    if isinstance(value, Scalar):
        return value.value
    assert isinstance(value, Constant)
    return context.constant(value.value)


# -- containers and objects --------------------------------------------------------------------------------------------


def _own(cls: type, name: str) -> bool:
    return getattr(cls, name) is not getattr(object, name)


def _text_of(context: Context, value: Abstract, kind: str) -> Abstract:
    """`str(value)` or `repr(value)` of something that holds run-time values."""
    match value:
        case Tuple(items=items, type=cls):
            return _tuple_text(context, items, cls)
        case ListRef(cell=cell) if isinstance(context.heap[cell], Items):
            return _enclosed(context, "[", [_repr(context, i) for i in context.heap[cell].items], "]")
        case ListRef():
            return _joined(context, value, "'[' + ', '.join([repr(x) for x in items]) + ']'")
        case DictRef():
            return _joined(
                context, value, "'{' + ', '.join([repr(k) + ': ' + repr(v) for k, v in items.items()]) + '}'"
            )
        case ObjectRef(type=cls):
            if kind == "str" and _own(cls, "__str__"):
                return context.call(Method(value, "__str__", cls.__str__), [], {})
            if "__dataclass_fields__" in cls.__dict__ and hasattr(cls.__repr__, "__wrapped__"):  # made by dataclass
                return _dataclass_text(context, value)
            if _own(cls, "__repr__"):
                return context.call(Method(value, "__repr__", cls.__repr__), [], {})
    raise context.error(
        f"{context.describe(value)} cannot be formatted in a compiled program",
        "format numbers, strings, tensors and containers of them; or give its class a __str__",
    )


def _repr(context: Context, value: Abstract) -> Abstract:
    return format_value(context, value, Constant(""), ord("r"))


def _enclosed(context: Context, opening: str, texts: list[Abstract], closing: str) -> Abstract:
    pieces: list[Abstract] = [Constant(opening)]
    for position, text in enumerate(texts):
        pieces += [Constant(", "), text] if position else [text]
    return concatenated(context, [*pieces, Constant(closing)])


def _tuple_text(context: Context, items: tuple[Abstract, ...], cls: type) -> Abstract:
    texts = [_repr(context, i) for i in items]
    if hasattr(cls, "_fields"):
        named = [concatenated(context, [Constant(f"{n}="), t]) for n, t in zip(cls._fields, texts, strict=True)]
        return _enclosed(context, f"{cls.__name__}(", named, ")")
    if cls.__name__ == "Size":
        return _enclosed(context, "ingot.Size([", texts, "])")
    return _enclosed(context, "(", texts, ",)" if len(items) == 1 else ")")


def _dataclass_text(context: Context, value: ObjectRef) -> Abstract:
    shown = [f.name for f in value.type.__dataclass_fields__.values() if f.repr]  # type: ignore[attr-defined]
    from .objects import attribute

    texts = [concatenated(context, [Constant(f"{n}="), _repr(context, attribute(context, value, n))]) for n in shown]
    return _enclosed(context, f"{value.type.__qualname__.rpartition('.<locals>.')[2]}(", texts, ")")


@functools.cache
def _lambda(expression: str) -> ast.Lambda:
    node = ast.parse(f"lambda items: {expression}", mode="eval").body
    assert isinstance(node, ast.Lambda)
    return node


def _joined(context: Context, value: Abstract, expression: str) -> Abstract:
    """A container's text as an expression of it."""
    node = _lambda(expression)
    return context.call(Closure(context.frame.source.nested(node), context.frame, (), {}), [value], {})


# -- other ways of formatting ------------------------------------------------------------------------------------------

_PERCENT = re.compile(r"%(?P<flags>[-+ #0]*)(?P<width>\d*)(?:\.(?P<precision>\d+))?(?P<type>[a-zA-Z%])")


def percent_format(context: Context, template: str, right: Abstract) -> Abstract:
    """`template % right`."""
    values = list(right.items) if isinstance(right, Tuple) else [right]
    known = [constant_of(context, v) for v in values]
    if all(k is not None for k in known):
        try:
            return Constant(template % tuple(k[0] for k in known if k is not None))
        except (TypeError, ValueError) as error:
            raise context.type_error(str(error)) from error
    pieces: list[Abstract] = []
    end = 0
    for found in _PERCENT.finditer(template):
        pieces.append(Constant(template[end : found.start()]))
        end = found.end()
        if found["type"] == "%":
            pieces.append(Constant("%"))
        elif not values:
            raise context.type_error("not enough arguments for format string")
        else:
            pieces.append(_percent_item(context, found, values.pop(0)))
    pieces.append(Constant(template[end:]))
    if values:
        raise context.type_error("not all arguments converted during string formatting")
    return concatenated(context, pieces)


def _percent_item(context: Context, found: re.Match[str], value: Abstract) -> Abstract:
    flags, width, precision, kind = found["flags"], found["width"], found["precision"], found["type"]
    align = "<" if "-" in flags else ">" if width else ""
    point = f".{precision}" if precision is not None else ""
    if kind in "sra":
        text = format_value(context, value, Constant(""), ord(kind))
        return format_value(context, text, Constant(f"{align}{width}{point}"))
    if isinstance(value, TensorRef):
        value = context.item(value)
    sign = "+" if "+" in flags else " " if " " in flags else ""
    zero = "0" if "0" in flags and "-" not in flags else ""
    align = "" if zero else align
    if kind in "diu" and not point:
        number = context.call(Constant(int), [value], {})
        return format_value(context, number, Constant(f"{align}{sign}{zero}{width}d"))
    if kind in "xXo" and not point and scalar_kind(value) in ("int", "bool"):
        return format_value(context, value, Constant(f"{align}{sign}{'#' if '#' in flags else ''}{zero}{width}{kind}"))
    if kind in "eEfFgG" and scalar_kind(value) in ("int", "float", "bool"):
        number = context.call(Constant(float), [value], {})
        return format_value(context, number, Constant(f"{align}{sign}{zero}{width}{point or '.6'}{kind}"))
    raise context.error(f"the format {found[0]!r} of {context.describe(value)} cannot be compiled", "use an f-string")


def format_template(
    context: Context, template: str, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    """`template.format(*arguments, **keywords)`."""
    from .objects import attribute

    pieces: list[Abstract] = []
    automatic = 0
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        context.fails(error)
    for literal, name, spec, conversion in parsed:
        pieces.append(Constant(literal))
        if name is None:
            continue
        first, rest = string._string.formatter_field_name_split(name)  # type: ignore[attr-defined]
        if first == "":
            first, automatic = automatic, automatic + 1
        if isinstance(first, int):
            if first >= len(arguments):
                context.fails(IndexError(f"Replacement index {first} out of range for positional args tuple"))
            value = arguments[first]
        elif first not in keywords:
            context.fails(KeyError(first))
        else:
            value = keywords[first]
        for is_attribute, key in rest:
            if not is_attribute:
                raise context.error("indexing in a format string cannot be compiled", "use an f-string")
            value = attribute(context, value, key)
        inner = format_template(context, spec, arguments[automatic:], keywords) if spec else Constant("")
        pieces.append(format_value(context, value, inner, ord(conversion) if conversion else -1))
    return concatenated(context, pieces)


def print_values(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    """`print(...)`: what is printed is one string, so that it is written at once."""
    import sys

    separator, end = (_option(context, keywords, k, d) for k, d in (("sep", " "), ("end", "\n")))
    file = keywords.get("file", Constant(None))
    if not isinstance(file, Constant) or (file.value is not None and file.value is not sys.stdout):
        raise context.error("print() of compiled programs writes to sys.stdout only", "leave `file` out")
    unknown = set(keywords) - {"sep", "end", "file", "flush"}
    if unknown:
        raise context.type_error(f"print() got an unexpected keyword argument {min(unknown)!r}")
    pieces: list[Abstract] = []
    for position, value in enumerate(arguments):
        if position:
            pieces.append(separator)
        pieces.append(format_value(context, value, Constant(""), ord("s")))
    context.builder.emit_all("text.print", [_value(context, concatenated(context, [*pieces, end]))])
    return Constant(None)


def _option(context: Context, keywords: dict[str, Abstract], name: str, default: str) -> Abstract:
    value = keywords.get(name, Constant(None))
    if isinstance(value, Constant) and value.value is None:
        return Constant(default)
    if scalar_kind(value) != "str":
        raise context.type_error(f"{name} must be None or a string, not {context.describe(value)}")
    return value


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
