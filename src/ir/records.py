"""Immutable records: what `@dataclass(frozen=True)` gives, without generating and compiling code for every class.

A frozen dataclass takes 0.4 ms to make, and running a compiled model needs forty of them: that was most of its start-up
time. These take 0.01 ms, and are made, compared and hashed as fast.
"""

import inspect
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

__all__ = ["Field", "field", "record", "replace"]

T = TypeVar("T")
_MISSING = object()


class Field:
    """What `field` says of one field of a record."""

    def __init__(self, default: Any, default_factory: Callable[[], Any] | None, compare: bool) -> None:
        self.default = default
        self.default_factory = default_factory
        self.compare = compare


def field(*, default: Any = _MISSING, default_factory: Callable[[], Any] | None = None, compare: bool = True) -> Any:
    """A field with a default, one that is made anew for each record, or one that comparing and hashing leave out."""
    return Field(default, default_factory, compare)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class a record: its annotated names, after those of its bases, are the fields, in order.

    Records are made by position or by name, cannot be changed, and are equal where their classes and fields are.

    >>> @record
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1, 0) == Point(x=1), replace(Point(1), y=2)
    (Point(x=1, y=0), True, Point(x=1, y=2))
    """
    described: dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        described |= base.__dict__.get("_described", {})
    for name in inspect.get_annotations(cls):
        default = cls.__dict__.get(name, _MISSING)
        found = default if isinstance(default, Field) else Field(default, None, True)
        described[name] = found
        if found.default is not _MISSING:
            setattr(cls, name, found.default)
        elif name in cls.__dict__:
            delattr(cls, name)
    names = tuple(described)
    made: Any = cls
    made._described = described
    cls.__match_args__ = names  # type: ignore[attr-defined, misc]  # what a class statement would put there
    defined: dict[str, Any] = {
        "__init__": _make_init(cls.__qualname__, names, described),
        "__repr__": _repr,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
    }
    if "__eq__" not in cls.__dict__:
        values = _getter([name for name in names if described[name].compare])
        defined["__eq__"] = _make_eq(values)
        defined["__hash__"] = cls.__dict__.get("__hash__") or _make_hash(values)
    for name, function in defined.items():
        if name in ("__eq__", "__hash__") or name not in cls.__dict__:
            setattr(cls, name, function)
    return cls


def replace(value: T, **changes: Any) -> T:
    """A record like this one but for some fields."""
    kind: Any = type(value)
    described = kind._described
    return kind(**{**{name: getattr(value, name) for name in described}, **changes})


def _make_init(qualname: str, names: tuple[str, ...], described: dict[str, Field]) -> Callable[..., None]:
    count = len(names)
    # Defaults by position, from the first field after the last that has none that could be shared.
    first = max((i + 1 for i, name in enumerate(names) if described[name].default is _MISSING), default=0)
    defaults = tuple(described[name].default for name in names[first:])
    # Not through `__dict__`: an object whose dictionary was asked for takes twice as long to read.
    put = object.__setattr__

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        given = len(values)
        if not named and first <= given <= count:
            for name, value in zip(names, values + defaults[given - first :], strict=True):
                put(self, name, value)
            return
        if given > count:
            raise TypeError(f"{qualname}() takes {count} arguments, but {given} were given")
        for name, value in zip(names, values, strict=False):
            put(self, name, value)
        for name in names[given:]:
            description = described[name]
            if name in named:
                put(self, name, named.pop(name))
            elif description.default is not _MISSING:
                put(self, name, description.default)
            elif description.default_factory is not None:
                put(self, name, description.default_factory())
            else:
                raise TypeError(f"{qualname}() misses the argument {name!r}")
        if named:
            wrong = next(iter(named))
            problem = "was given twice" if wrong in described else "is not a field"
            raise TypeError(f"{qualname}(): {wrong!r} {problem}")

    return __init__


def _getter(names: list[str]) -> Callable[[Any], Any]:
    """The compared fields as one value."""
    return attrgetter(*names) if names else lambda _: ()


def _make_eq(values: Callable[[Any], Any]) -> Callable[[Any, object], Any]:
    def __eq__(self: Any, other: object) -> Any:
        if self is other:
            return True
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _make_hash(values: Callable[[Any], Any]) -> Callable[[Any], int]:
    return lambda self: hash(values(self))


def _repr(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self)._described)
    return f"{type(self).__qualname__}({fields})"


def _refuse(self: Any, name: str, *value: Any) -> None:
    raise AttributeError(f"{type(self).__name__} is immutable: its field {name!r} cannot be changed")
