"""Exceptions as values of a program: made, raised, caught and asked for what they hold.

An exception that the program makes is the tuple of its class and arguments. Where a handler wants the exception, what
was raised last is kept under a cell of the heap, so that the handler knows the arguments; for errors that operations
raise there is only the text.
"""

import inspect
import types
from typing import NoReturn

from ...ir.core import Value
from .context import Context, PathEnds
from .operators import scalar_kind, spread
from .text import format_value
from .values import (
    Abstract,
    Cell,
    Constant,
    Entries,
    Method,
    ObjectRef,
    Scalar,
    Tuple,
    Union,
)

__all__ = [
    "RAISED", "Caught", "Raised", "assertion", "error_attribute", "error_text", "exception_class_of", "forget_raised",
    "make_exception", "raise_value", "raised_value", "set_arguments",
]  # fmt: skip

RAISED = "raised"


class Raised(tuple):  # type: ignore[type-arg]
    """Marks the tuple (class, arguments...) that stands for an exception instance."""


class Caught(tuple):  # type: ignore[type-arg]
    """Marks the tuple (error, what the program raised or None, classes...) that stands for a caught exception."""

    @staticmethod
    def of(error: Scalar, raised: Abstract, kinds: tuple[type[BaseException], ...]) -> Tuple:
        """The value that `except ... as name` binds."""
        return Tuple((error, raised, *(Constant(k) for k in kinds)), Caught)


def make_exception(
    context: Context, cls: type[BaseException], arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    """`cls(*arguments, **keywords)`."""
    if keywords:
        try:
            signature = inspect.signature(cls.__init__)
            bound = signature.bind(None, *arguments, **keywords)
        except (TypeError, ValueError) as error:
            raise context.type_error(f"{cls.__name__}: {error}") from error
        if bound.kwargs:
            raise context.error(
                f"keyword arguments of {cls.__name__} cannot be compiled", "pass the arguments by position"
            )
        arguments = list(bound.args[1:])
    return Tuple((Constant(cls), *arguments), Raised)


def exception_class_of(value: Abstract) -> type[BaseException] | None:
    """The class of an exception that the program made; None where it is none, or not known."""
    if isinstance(value, Tuple) and value.type is Raised:
        (cls, *_) = value.items
        return cls.value if isinstance(cls, Constant) else None
    if isinstance(value, Constant) and isinstance(value.value, BaseException):
        return type(value.value)
    return None


# -- raising -----------------------------------------------------------------------------------------------------------


def raise_value(context: Context, value: Abstract) -> NoReturn:
    """`raise value`: the path ends."""
    spread(context, lambda v: _raise(context, v), value)
    raise PathEnds


def _raise(context: Context, value: Abstract) -> Abstract:
    if isinstance(value, Tuple) and value.type is Caught:
        return _raise_again(context, value)
    if isinstance(value, Constant) and isinstance(value.value, type) and issubclass(value.value, BaseException):
        value = Tuple((value,), Raised)
    if isinstance(value, Constant) and isinstance(value.value, BaseException):
        value = Tuple((Constant(type(value.value)), *(Constant(a) for a in value.value.args)), Raised)
    cls = exception_class_of(value)
    if cls is None or not issubclass(cls, Exception):
        raise context.type_error(
            f"exceptions must derive from Exception, given {context.describe(value)}",
            "raise an exception class or an instance of one",
        )
    assert isinstance(value, Tuple)
    for position, argument in enumerate(value.items):
        if isinstance(argument, Union) and not all(scalar_kind(a) == "str" for a in argument.alternatives):
            before, after = value.items[:position], value.items[position + 1 :]
            return spread(context, lambda v: _raise(context, Tuple((*before, v, *after), Raised)), argument)  # noqa: B023
    operands = [_argument(context, a) for a in value.items[1:]]
    if context.wants_raised:
        context.heap[_cell(context)] = Entries({RAISED: value})
    context.checkpoint()
    context.raises(operands, cls)


def _raise_again(context: Context, value: Tuple) -> Abstract:
    if context.wants_raised:
        context.heap[_cell(context)] = Entries({RAISED: value.items[1]})
    context.checkpoint()
    error = value.items[0]
    assert isinstance(error, Scalar)
    context.builder.emit_all("reraise", [error.value])
    raise PathEnds


def _argument(context: Context, value: Abstract) -> Value:
    """An argument of an exception as a graph value."""
    match value:
        case Scalar(value=graph_value):
            return graph_value
        case Constant(value=bool() | int() | float() | complex() | str() | None):
            return context.constant(value.value)
        case Tuple(items=items, type=cls) if cls is tuple:
            return context.emit("tuple.make", *(_argument(context, i) for i in items))
    # Objects that the graph cannot pass are there as their text.
    return _argument(context, format_value(context, value, Constant("")))


def assertion(context: Context, message: Abstract | None) -> NoReturn:
    """What `assert` raises."""
    raise_value(context, Tuple((Constant(AssertionError), *(() if message is None else (message,))), Raised))


# -- what was raised last ----------------------------------------------------------------------------------------------


def _cell(context: Context) -> Cell:
    if context.raised_cell is None:
        context.raised_cell = Cell("raised")
        context.initial[context.raised_cell] = Entries({RAISED: Constant(None)})
    return context.raised_cell


def raised_value(context: Context) -> Abstract:
    """What the program raised last; None where an operation did."""
    found: Abstract = context.heap[_cell(context)].attributes[RAISED]
    return found


def forget_raised(context: Context) -> None:
    """An exception is being handled: the next may be an operation's."""
    context.heap[_cell(context)] = Entries({RAISED: Constant(None)})


# -- what exceptions hold ----------------------------------------------------------------------------------------------


def error_text(context: Context, value: Tuple) -> Abstract:
    """`str(value)` of an exception."""
    if value.type is Caught:
        error, raised, *_ = value.items
        assert isinstance(error, Scalar)

        def one(v: Abstract) -> Abstract:
            if isinstance(v, Tuple) and v.type is Raised:
                text = error_text(context, v)
                return Scalar(context.constant(text.value)) if isinstance(text, Constant) else text
            return Scalar(context.emit("error.text", error.value))

        return spread(context, one, raised)
    if isinstance(value.items[0], Union):
        return spread(context, lambda c: error_text(context, _of_class(value, c)), value.items[0])
    cls = exception_class_of(value)
    assert cls is not None
    if isinstance(cls.__str__, types.FunctionType):
        return context.call(Method(_instance(context, value), "__str__", cls.__str__), [], {})
    arguments = _arguments(context, value)
    if not arguments:
        return Constant("")
    if len(arguments) == 1:
        conversion = ord("r") if issubclass(cls, KeyError) else -1
        return spread(context, lambda v: format_value(context, v, Constant(""), conversion), arguments[0])
    return format_value(context, Tuple(tuple(arguments)), Constant(""))


def _of_class(value: Tuple, cls: Abstract) -> Tuple:
    """An exception of which of several classes is known."""
    return Tuple((cls, *value.items[1:]), value.type)


def _attribute_of(context: Context, value: Tuple, name: str) -> Abstract:
    found = error_attribute(context, value, name)
    if found is None:
        context.fails(AttributeError(f"the exception object has no attribute {name!r}"))
    return found


def error_attribute(context: Context, value: Tuple, name: str) -> Abstract | None:
    """An attribute of an exception; None where it has none."""
    if value.type is Caught:
        error, raised, *_ = value.items

        def one(v: Abstract) -> Abstract:
            if isinstance(v, Tuple) and v.type is Raised:
                found = error_attribute(context, v, name)
                if found is not None:
                    return found
            if name == "args":
                assert isinstance(error, Scalar)
                return Tuple((Scalar(context.emit("error.text", error.value)),))
            context.fails(AttributeError(f"the exception object has no attribute {name!r}"))

        return spread(context, one, raised)
    if isinstance(value.items[0], Union):
        return spread(context, lambda c: _attribute_of(context, _of_class(value, c), name), value.items[0])
    cls = exception_class_of(value)
    if name == "args":
        return Tuple(tuple(_arguments(context, value)))
    instance = _instance(context, value)
    if name in context.heap[instance.cell].attributes or hasattr(cls, name):
        from .objects import attribute

        return attribute(context, instance, name)
    return None


def _arguments(context: Context, value: Tuple) -> list[Abstract]:
    cls = exception_class_of(value)
    if cls is not None and isinstance(cls.__init__, types.FunctionType):
        found = context.heap[_instance(context, value).cell].attributes["args"]
        assert isinstance(found, Tuple)
        return list(found.items)
    return list(value.items[1:])


def _instance(context: Context, value: Tuple) -> ObjectRef:
    """The exception as an object with attributes, made by its class's own `__init__`."""
    cls = exception_class_of(value)
    assert cls is not None
    cell = Cell("object")
    arguments = value.items[1:]
    context.heap[cell] = Entries({"args": Tuple(tuple(arguments))})
    instance = ObjectRef(cell, cls)
    if isinstance(cls.__init__, types.FunctionType):
        context.call(Method(instance, "__init__", cls.__init__), list(arguments), {})
    return instance


def set_arguments(context: Context, instance: Abstract, arguments: list[Abstract]) -> Abstract:
    """What `BaseException.__init__` does."""
    if isinstance(instance, ObjectRef):
        attributes = context.heap[instance.cell].attributes
        context.heap[instance.cell] = Entries({**attributes, "args": Tuple(tuple(arguments))})
    return Constant(None)
