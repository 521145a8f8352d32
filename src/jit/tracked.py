"""Integers that a trace follows: sizes, and arithmetic on them, as plain ints that remember their expression."""

import builtins
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..ir.dims import Dim, DimExpr, dim_max, dim_min, is_nonnegative

__all__ = ["TrackedInt", "dim_of", "followed_builtins", "track"]


class TrackedInt(int):
    """An int with the size expression that it came from; sums, products and quotients of such are tracked too.

    Comparing one, or turning it into a float, gives a plain Python value: `report` is told, so that the trace can say
    that the example's size is baked in there, and the condition on sizes under which the same value would come out.
    """

    dim: DimExpr
    report: "Report"

    def _make(self, value: int, dim: Dim) -> int:
        return track(value, dim, self.report)

    def settled(self) -> int:
        """The plain int; the trace holds only for sizes that give the same."""
        self.report("settled", (self.dim, int(self)))
        return int(self)

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __float__(self) -> float:
        self.report("float", (self.dim, int(self)))
        return int.__float__(self)

    def __bool__(self) -> bool:
        self.report("bool", _condition("ne", self.dim, 0, int(self) != 0))
        return int.__bool__(self)

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def __copy__(self) -> "TrackedInt":
        return self

    def __deepcopy__(self, memo: Any) -> "TrackedInt":
        return self


# What a value is used for, and two dimensions: where they are equal, the same comes out.
Report = Callable[[str, tuple[Dim, Dim]], None]


def _condition(name: str, left: Dim, right: Dim, outcome: bool) -> tuple[Dim, Dim]:
    """Two dimensions that are equal where the comparison has this outcome."""
    gap = left - right
    if name in ("eq", "ne"):
        return (gap, 0) if outcome == (name == "eq") else (dim_min(gap * gap, 1), 1)
    if name in ("gt", "le"):
        gap, name = -1 * gap, {"gt": "lt", "le": "ge"}[name]
    # Left of it: a negative gap; else a gap that is at least 0.
    if outcome == (name == "lt"):
        return dim_min(-1 * gap, 1), 1
    return (0, 0) if is_nonnegative(gap) else (dim_min(gap, 0), 0)


def track(value: int, dim: Dim, report: Report) -> int:
    """The int `value`, remembering `dim` unless that is a constant."""
    if isinstance(dim, int):
        return value
    tracked = TrackedInt(value)
    tracked.dim = dim
    tracked.report = report
    return tracked


_len, _range = builtins.len, builtins.range
_lock = threading.Lock()
_followers = 0


class _RangeType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _range)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _range)


class _Range(metaclass=_RangeType):
    """Makes ranges, and says when a size decides how long one is."""

    def __new__(cls, *arguments: Any) -> Any:
        for argument in arguments:
            if isinstance(argument, TrackedInt):
                argument.report("count", (argument.dim, int(argument)))
        return _range(*(int(a) if isinstance(a, TrackedInt) else a for a in arguments))


@contextmanager
def followed_builtins(tensor: type) -> Iterator[None]:
    """Within it, `len` of a tensor is tracked, and `range` reports sizes: Python makes plain ints of them.

    For the time of a trace the builtins are replaced by ones that give the same for everything else.
    """
    global _followers

    def followed(container: Any, /) -> int:
        return container.shape[0] if isinstance(container, tensor) and container.ndim else _len(container)  # type: ignore[attr-defined,no-any-return]

    # The script front end knows builtins by identity: it must see the real ones when it is loaded, at its first call.
    if f"{__package__}.script" in sys.modules:
        importlib.import_module(".script.builtins", __package__)
    with _lock:
        _followers += 1
        builtins.len, builtins.range = followed, _Range  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        with _lock:
            _followers -= 1
            if not _followers:
                builtins.len, builtins.range = _len, _range  # type: ignore[misc]


def dim_of(value: int) -> Dim:
    """The expression of a tracked int, or the int itself."""
    return value.dim if isinstance(value, TrackedInt) else int(value)


def _arithmetic(name: str, on_dims: Callable[[Dim, Dim], Dim], reflected: bool) -> Any:
    plain = getattr(int, name)

    def method(self: TrackedInt, other: Any) -> Any:
        value = plain(self, other)
        if type(value) is not int or isinstance(other, bool):
            if value is NotImplemented and isinstance(other, (float, list, tuple, str, bytes)):
                self.report("float" if isinstance(other, float) else "count", (self.dim, int(self)))
            return value
        a, b = self.dim, dim_of(other)
        return self._make(value, on_dims(b, a) if reflected else on_dims(a, b))

    method.__name__ = name
    return method


def _comparison(name: str) -> Any:
    plain = getattr(int, name)

    def method(self: TrackedInt, other: Any) -> Any:
        value = plain(self, other)
        if value is NotImplemented or (isinstance(other, TrackedInt) and other.dim == self.dim):
            return value
        self.report("comparison", _condition(name.strip("_"), self.dim, dim_of(other), value))
        return value

    method.__name__ = name
    return method


for _name, _function in (
    ("add", lambda a, b: a + b),
    ("sub", lambda a, b: a - b),
    ("mul", lambda a, b: a * b),
    ("floordiv", lambda a, b: a // b),
    ("mod", lambda a, b: a % b),
):
    setattr(TrackedInt, f"__{_name}__", _arithmetic(f"__{_name}__", _function, False))
    setattr(TrackedInt, f"__r{_name}__", _arithmetic(f"__r{_name}__", _function, True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(TrackedInt, f"__{_name}__", _comparison(f"__{_name}__"))
TrackedInt.__neg__ = lambda self: self._make(-int(self), -self.dim)  # type: ignore[assignment,method-assign,misc,attr-defined]
TrackedInt.__pos__ = lambda self: self  # type: ignore[assignment,method-assign,misc]


def _plainly(name: str) -> Any:
    """An operation that sizes have no expression for: the result is that of the example."""
    plain = getattr(int, name)

    def method(self: TrackedInt, *others: Any) -> Any:
        self.report("count", (self.dim, int(self)))
        return plain(int(self), *others)

    return method


for _name in ("lshift", "rshift", "and", "or", "xor", "pow"):
    setattr(TrackedInt, f"__{_name}__", _plainly(f"__{_name}__"))
    setattr(TrackedInt, f"__r{_name}__", _plainly(f"__r{_name}__"))


def _rounded(self: TrackedInt, digits: int | None = None) -> int:
    return self if digits is None or digits >= 0 else int(_plainly("__round__")(self, digits))


_SPECIAL: dict[str, Callable[..., Any]] = {
    "invert": lambda self: -self - 1,
    "abs": lambda self: self._make(abs(int(self)), dim_max(self.dim, -1 * self.dim)),
    "divmod": lambda self, other: (self // other, self % other),
    "rdivmod": lambda self, other: (other // self, other % self),
    "round": _rounded,
    **dict.fromkeys(("trunc", "floor", "ceil"), lambda self: self),
}
for _name, _method in _SPECIAL.items():
    setattr(TrackedInt, f"__{_name}__", _method)


def _true_quotient(self: TrackedInt, other: Any) -> Any:
    self.report("float", (self.dim, int(self)))
    return int(self) / other


def _reflected_true_quotient(self: TrackedInt, other: Any) -> Any:
    self.report("float", (self.dim, int(self)))
    return other / int(self)


TrackedInt.__truediv__ = _true_quotient  # type: ignore[method-assign,assignment]
TrackedInt.__rtruediv__ = _reflected_true_quotient  # type: ignore[method-assign,assignment]
