"""Strings known at run time only: indexing, slices, iteration, and Python's string methods as ops of the graph."""

from collections.abc import Callable

from ...ir.core import Value
from ...ir.types import ListType, StrType
from . import lists
from .context import Context
from .operators import either, number, scalar_kind, truth
from .values import (
    Abstract,
    Constant,
    Items,
    ListRef,
    RunTimeItems,
    Scalar,
    Sequence,
    Slice,
    Tuple,
)

__all__ = ["contains", "get", "iterate", "join", "length", "method", "repeat"]

_FIND = ("find", "rfind", "index", "rindex", "count")
_CASE = ("upper", "lower", "title", "capitalize", "swapcase", "casefold")
_PAD = ("ljust", "rjust", "center", "zfill")
_TEST = (
    "isdigit", "isdecimal", "isnumeric", "isalpha", "isalnum", "isupper", "islower", "istitle", "isspace",
    "isidentifier", "isprintable", "isascii",
)  # fmt: skip


def _text(context: Context, value: Abstract, what: str) -> Value:
    if scalar_kind(value) != "str":
        raise context.type_error(f"{what} expects a str, not {context.describe(value)}")
    return number(context, value)


def _int(context: Context, value: Abstract, what: str) -> Value | None:
    """An int operand; None where the argument is None."""
    if isinstance(value, Constant) and value.value is None:
        return None
    if scalar_kind(value) not in ("int", "bool"):
        raise context.type_error(f"{what} expects an int, not {context.describe(value)}")
    found = number(context, value)
    return context.emit("scalar.to_int", found) if scalar_kind(value) == "bool" else found


def length(context: Context, value: Abstract) -> Abstract:
    """`len(text)`."""
    return Scalar(context.emit("str.length", number(context, value)))


def get(context: Context, value: Abstract, index: Abstract) -> Abstract:
    """`text[index]`."""
    text = number(context, value)
    if isinstance(index, Slice):
        bounds = [_int(context, part, "a slice") for part in (index.start, index.stop, index.step)]
        return Scalar(context.emit("str.slice", text, *bounds))
    if scalar_kind(index) not in ("int", "bool"):
        raise context.type_error(f"string indices must be integers, not {context.describe(index)}")
    return Scalar(context.emit("str.get", text, _int(context, index, "an index")))


def iterate(context: Context, value: Abstract) -> Sequence:
    """The characters of a string."""
    text = number(context, value)
    return Sequence(
        context.emit("str.length", text),
        lambda i: Scalar(context.emit("str.get", text, number(context, i))),
        kind="str",
    )


def contains(context: Context, container: Abstract, item: Abstract) -> Abstract:
    """`item in text`."""
    if scalar_kind(item) != "str":
        raise context.type_error(f"'in <string>' requires a string on the left, not {context.describe(item)}")
    return Scalar(context.emit("str.contains", number(context, container), number(context, item)))


def repeat(context: Context, value: Abstract, count: Abstract) -> Abstract:
    """`text * count`."""
    return Scalar(context.emit("str.repeat", number(context, value), _int(context, count, "*")))


def join(context: Context, separator: Abstract, value: Abstract) -> Abstract:
    """`separator.join(value)` of a list whose length is known at run time only."""
    items = context.call(Constant(list), [value], {})
    assert isinstance(items, ListRef)
    content = context.list_items(items.cell)
    if isinstance(content, Items):
        for part in content.items:
            _text(context, part, "str.join")
        value_list: Value = context.emit("list.make", *(number(context, i) for i in content.items), element=StrType())
    else:
        if content.element != StrType():
            raise context.type_error(f"str.join expects strings, not {content.element}")
        value_list = content.value
    return Scalar(context.emit("str.join", number(context, separator), value_list))


def _list(context: Context, value: Value) -> ListRef:
    made = lists.new(context, ())
    type = context.type_of(value)
    assert isinstance(type, ListType)
    context.heap[made.cell] = RunTimeItems(value, type.element)
    return made


class _Call:
    """A call of a string method: its arguments by position or name."""

    def __init__(
        self, context: Context, name: str, arguments: list[Abstract], keywords: dict[str, Abstract], names: str
    ) -> None:
        self.context, self.name = context, f"str.{name}()"
        parameters = names.split()
        if len(arguments) > len(parameters) or not set(keywords) <= set(parameters[len(arguments) :]):
            raise context.type_error(f"{self.name} takes the arguments ({', '.join(parameters)})")
        self.values = {**dict(zip(parameters, arguments, strict=False)), **keywords}

    def value(self, name: str) -> Abstract:
        if name not in self.values:
            raise self.context.type_error(f"{self.name} is missing the argument {name!r}")
        return self.values[name]

    def text(self, name: str) -> Value:
        return _text(self.context, self.value(name), self.name)

    def optional_text(self, name: str) -> Value | None:
        value = self.values.get(name, Constant(None))
        return None if isinstance(value, Constant) and value.value is None else _text(self.context, value, self.name)

    def int(self, name: str) -> Value | None:
        return _int(self.context, self.values.get(name, Constant(None)), self.name)


def method(
    context: Context, target: Abstract, name: str, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    """`text.name(...)`."""
    text = number(context, target)

    def call(names: str) -> _Call:
        return _Call(context, name, arguments, keywords, names)

    emit: Callable[..., Value] = context.emit
    if name in _FIND:
        given = call("sub start end")
        part, start, stop = given.text("sub"), given.int("start"), given.int("end")
        return Scalar(emit("str.find", text, part, start, stop, method=name))
    if name in ("startswith", "endswith"):
        given = call("prefix start end")
        prefixes = given.value("prefix")
        options = prefixes.items if isinstance(prefixes, Tuple) else (prefixes,)
        if isinstance(prefixes, Constant) and isinstance(prefixes.value, tuple):
            options = tuple(Constant(v) for v in prefixes.value)
        found: bool | Value = False
        for option in options:
            part = _text(context, option, given.name)
            answer = Scalar(emit("str.ends", text, part, given.int("start"), given.int("end"), method=name))
            found = either(context, found, truth(context, answer))
        return Constant(found) if isinstance(found, bool) else Scalar(found)
    if name == "replace":
        given = call("old new count")
        return Scalar(emit("str.replace", text, given.text("old"), given.text("new"), given.int("count")))
    if name in ("strip", "lstrip", "rstrip"):
        return Scalar(emit("str.strip", text, call("chars").optional_text("chars"), method=name))
    if name in _CASE:
        call("")
        return Scalar(emit("str.case", text, method=name))
    if name in _TEST:
        call("")
        return Scalar(emit("str.test", text, method=name))
    if name in ("split", "rsplit"):
        given = call("sep maxsplit")
        return _list(context, emit("str.split", text, given.optional_text("sep"), given.int("maxsplit"), method=name))
    if name == "splitlines":
        keep = call("keepends").values.get("keepends", Constant(False))
        if not isinstance(keep, Constant):
            raise context.error("str.splitlines(): keepends must be known when the program is compiled")
        return _list(context, emit("str.splitlines", text, keepends=bool(keep.value)))
    if name in ("partition", "rpartition"):
        parts = emit("str.partition", text, call("sep").text("sep"), method=name)
        return Tuple(tuple(Scalar(emit("tuple.get", parts, index=i)) for i in range(3)))
    if name in _PAD:
        given = call("width fillchar" if name != "zfill" else "width")
        width = given.int("width")
        fill = given.text("fillchar") if "fillchar" in given.values else context.constant(" ")
        return Scalar(emit("str.pad", text, width, fill, method=name))
    if name in ("removeprefix", "removesuffix"):
        return Scalar(emit("str.remove", text, call("part").text("part"), method=name))
    if name == "join":
        return join(context, target, call("iterable").value("iterable"))
    if name in ("__len__", "__contains__", "__getitem__", "__add__", "__eq__"):
        raise context.error(f"str.{name} cannot be called by its name in a compiled program", "use the operator")
    raise context.error(f"str.{name}() of a run-time value is not supported in a compiled program")
