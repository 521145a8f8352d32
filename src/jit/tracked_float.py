"""Floats that a trace follows: options of optimisers, and arithmetic on them, that remember how they came about.

A learning rate is a Python number, read at every step. In a trace it is a `TrackedFloat`: where it reaches a tensor,
the graph computes with the number as it is at the call. Where Python looks at its value (a comparison, a conversion),
the trace holds while the same comes out.
"""

import operator
from collections.abc import Callable
from typing import Any, Protocol

from .tracked import TrackedInt

__all__ = ["NumberTrace", "TrackedFloat", "tracked_source"]


class NumberTrace(Protocol):
    """The trace that follows numbers."""

    def condition(self, read: Callable[[], Any]) -> None:
        """The trace holds while `read()` gives what it gives now."""

    def unfollowed(self, what: str) -> None:
        """A number that depends on a size became a plain one."""


class TrackedFloat(float):
    """A float with where it came from: a source that can be read again, or an operation on such numbers.

    expression: a function for a source; else the name of a scalar op and its operands.
    """

    trace: NumberTrace
    expression: Any

    def plain(self) -> float:
        """The number as an ordinary float."""
        return float.__add__(self, 0.0)

    def depends_on_sizes(self) -> bool:
        """Whether a size went in: its value is known to a call's graph only, not when a call looks for its graph."""
        if callable(self.expression):
            return False
        return any(
            isinstance(o, TrackedInt) or (isinstance(o, TrackedFloat) and o.depends_on_sizes())
            for o in self.expression[1:]
        )

    def read(self) -> Any:
        """The number as it is now."""
        if callable(self.expression):
            return self.expression()
        name, *operands = self.expression
        return _FUNCTIONS[name](*(o.read() if isinstance(o, TrackedFloat) else o for o in operands))

    def settle(self, what: str, read: Callable[[], Any]) -> None:
        """Python is about to look at the number: the trace holds while `read()` gives the same."""
        if self.depends_on_sizes():
            self.trace.unfollowed(what)
        else:
            self.trace.condition(read)

    def __float__(self) -> float:
        self.settle("float", self.read)
        return self.plain()

    def __bool__(self) -> bool:
        self.settle("bool", lambda: bool(self.read()))
        return self.plain() != 0.0

    def __hash__(self) -> int:
        return float.__hash__(self)

    def __reduce__(self) -> Any:
        return float, (self.plain(),)

    def __copy__(self) -> "TrackedFloat":
        return self

    def __deepcopy__(self, memo: Any) -> "TrackedFloat":
        return self

    def __pos__(self) -> "TrackedFloat":
        return self


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "pow": operator.pow, "neg": operator.neg, "abs": abs,
}  # fmt: skip


def tracked_source(value: float, trace: NumberTrace, read: Callable[[], float]) -> TrackedFloat:
    """A float that is read from somewhere."""
    tracked = TrackedFloat(value)
    tracked.trace = trace
    tracked.expression = read
    return tracked


def _tracked(value: Any, trace: NumberTrace, name: str, *operands: Any) -> Any:
    if type(value) is not float:  # a complex power
        return value
    result = TrackedFloat(value)
    result.trace = trace
    result.expression = (name, *operands)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, TrackedFloat):
        return value.plain()
    return int.__int__(value) if isinstance(value, TrackedInt) else value


def _binary(name: str, reflected: bool) -> Any:
    function = _FUNCTIONS[name]

    def method(self: TrackedFloat, other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        left, right = (other, self) if reflected else (self, other)
        return _tracked(function(_plain(left), _plain(right)), self.trace, name, left, right)

    return method


def _unary(name: str) -> Any:
    return lambda self: _tracked(_FUNCTIONS[name](self.plain()), self.trace, name, self)


def _comparison(name: str) -> Any:
    function = getattr(operator, name)

    def method(self: TrackedFloat, other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        if isinstance(other, TrackedInt) or (isinstance(other, TrackedFloat) and other.depends_on_sizes()):
            self.trace.unfollowed("comparison")
        else:
            self.settle(
                "comparison", lambda: function(self.read(), other.read() if isinstance(other, TrackedFloat) else other)
            )
        return function(self.plain(), _plain(other))

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(TrackedFloat, f"__{_name}__", _binary(_name, False))
    setattr(TrackedFloat, f"__r{_name}__", _binary(_name, True))
for _name in ("neg", "abs"):
    setattr(TrackedFloat, f"__{_name}__", _unary(_name))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(TrackedFloat, f"__{_name}__", _comparison(_name))


def _settled(name: str) -> Any:
    plain = getattr(float, name)

    def method(self: TrackedFloat, *others: Any) -> Any:
        self.settle("float", self.read)
        return plain(self, *others)

    return method


for _name in ("__int__", "__trunc__", "__floor__", "__ceil__", "__round__", "__divmod__", "__rdivmod__", "is_integer"):
    setattr(TrackedFloat, _name, _settled(_name))
