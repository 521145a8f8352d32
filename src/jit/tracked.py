"""Integers that a trace follows: sizes, and arithmetic on them, as plain ints that remember their expression."""

from collections.abc import Callable
from typing import Any

from ..ir.dims import Dim, DimExpr, dim_max, dim_min

__all__ = ["TrackedInt", "dim_of", "track"]


class TrackedInt(int):
    """An int with the size expression that it came from; sums, products and quotients of such are tracked too.

    Comparing one, or turning it into a float, gives a plain Python value: `report` is told, so that the trace can say
    that the example's size is baked in there.
    """

    dim: DimExpr
    report: Callable[[str, "TrackedInt"], None]

    def _make(self, value: int, dim: Dim) -> int:
        return track(value, dim, self.report)

    def settled(self) -> int:
        """The plain int; the trace holds only for sizes that give the same."""
        self.report("settled", self)
        return int(self)

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __float__(self) -> float:
        self.report("float", self)
        return int.__float__(self)

    def __bool__(self) -> bool:
        self.report("bool", self)
        return int.__bool__(self)

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def __copy__(self) -> "TrackedInt":
        return self

    def __deepcopy__(self, memo: Any) -> "TrackedInt":
        return self


def track(value: int, dim: Dim, report: Callable[[str, TrackedInt], None]) -> int:
    """The int `value`, remembering `dim` unless that is a constant."""
    if isinstance(dim, int):
        return value
    tracked = TrackedInt(value)
    tracked.dim = dim
    tracked.report = report
    return tracked


def dim_of(value: int) -> Dim:
    """The expression of a tracked int, or the int itself."""
    return value.dim if isinstance(value, TrackedInt) else int(value)


def _arithmetic(name: str, on_dims: Callable[[Dim, Dim], Dim], reflected: bool) -> Any:
    plain = getattr(int, name)

    def method(self: TrackedInt, other: Any) -> Any:
        value = plain(self, other)
        if type(value) is not int or isinstance(other, bool):
            return value
        a, b = self.dim, dim_of(other)
        return self._make(value, on_dims(b, a) if reflected else on_dims(a, b))

    method.__name__ = name
    return method


def _comparison(name: str) -> Any:
    plain = getattr(int, name)

    def method(self: TrackedInt, other: Any) -> Any:
        value = plain(self, other)
        if value is not NotImplemented and not (isinstance(other, TrackedInt) and other.dim == self.dim):
            self.report("comparison", self)
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


def _true_quotient(self: TrackedInt, other: Any) -> Any:
    self.report("float", self)
    return int(self) / other


def _reflected_true_quotient(self: TrackedInt, other: Any) -> Any:
    self.report("float", self)
    return other / int(self)


TrackedInt.__truediv__ = _true_quotient  # type: ignore[method-assign,assignment]
TrackedInt.__rtruediv__ = _reflected_true_quotient  # type: ignore[method-assign,assignment]


def tracked_max(a: int, b: int) -> int:
    """The larger of two ints that may be tracked."""
    return _extreme(max, dim_max, a, b)


def tracked_min(a: int, b: int) -> int:
    """The smaller of two ints that may be tracked."""
    return _extreme(min, dim_min, a, b)


def _extreme(plain: Callable[..., int], on_dims: Callable[[Dim, Dim], Dim], a: int, b: int) -> int:
    source = a if isinstance(a, TrackedInt) else b
    value = plain(int(a), int(b))
    return source._make(value, on_dims(dim_of(a), dim_of(b))) if isinstance(source, TrackedInt) else value
