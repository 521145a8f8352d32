"""What a Python variable holds while a function is compiled: graph values, or objects known at compile time.

Mutable things (a tensor's memory, a list, a dict, an object's attributes) live in the *heap* of the compile-time
state, under a `Cell` that stands for their identity; references share the cell. So branches and loops can copy, join
and carry what a cell holds, and every alias sees a write.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...ir.core import Value
from ...ir.types import BoolType, ComplexType, FloatType, IntType, RecordType, StrType, Type

if TYPE_CHECKING:
    from .context import Frame
    from .source import FunctionSource

__all__ = [
    "NOTHING", "UNBOUND", "Abstract", "Cell", "Closure", "Constant", "DictItems", "DictRef", "Entries", "Items",
    "ListRef", "Method", "ObjectRef", "RunTimeDict", "RunTimeItems", "RunTimeObject", "RunTimeSet", "Scalar",
    "Sequence", "SetItems", "SetRef", "Slice", "TensorRef", "Tuple", "Union", "View", "constant_key", "describe",
]  # fmt: skip


class Abstract:
    """Base of what a variable can hold while a function is compiled."""

    __slots__ = ()


class Cell:
    """The identity of something mutable. `origins` are the cells that it may be the same object as."""

    __slots__ = ("escaped", "kind", "literal", "name", "origins")

    def __init__(self, kind: str, origins: "frozenset[Cell]" = frozenset(), name: str = "") -> None:
        self.kind = kind
        self.name = name
        self.literal: Any = None  # where an empty container was written
        self.escaped = False  # whether a run-time list may hold this too
        self.origins: frozenset[Cell] = origins | {self}

    @property
    def is_ambiguous(self) -> bool:
        """Whether this may or may not be the same object as another cell."""
        return len(self.origins) > 1


class _Unbound:
    def __repr__(self) -> str:
        return "<unbound>"


@dataclass(frozen=True, eq=False)
class Constant(Abstract):
    """A Python object known when the graph is built: a number, string, None, dtype, function, class, module..."""

    value: Any


UNBOUND = Constant(_Unbound())
"""What a variable that has no value holds."""


NOTHING = Constant(None)
"""What compiling a statement gives."""


@dataclass(frozen=True, eq=False)
class Scalar(Abstract):
    """A number, bool or string known at run time only."""

    value: Value


@dataclass(frozen=True, eq=False)
class View:
    """One step from a tensor to a view of it: an op on it with further operands."""

    op: Any
    operands: tuple[Value | None, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True, eq=False)
class TensorRef(Abstract):
    """A tensor: memory (a cell), the view steps from it, and the value this was when `base` was the memory's."""

    cell: Cell
    value: Value
    base: Value
    views: tuple[View, ...] = ()


@dataclass(frozen=True, eq=False)
class Tuple(Abstract):
    """A tuple; `type` is its class (a named tuple's, Size's)."""

    items: tuple[Abstract, ...]
    type: type = tuple


@dataclass(frozen=True, eq=False)
class ListRef(Abstract):
    """A list; its cell holds `Items` (length known) or `RunTimeItems`."""

    cell: Cell


@dataclass(frozen=True, eq=False)
class DictRef(Abstract):
    """A dict; its cell holds `DictItems` (keys known when compiling) or `RunTimeDict`."""

    cell: Cell


@dataclass(frozen=True, eq=False)
class ObjectRef(Abstract):
    """An instance of a user class made in the program; its cell holds `Entries`, attributes by name."""

    cell: Cell
    type: type


@dataclass(frozen=True, eq=False)
class Items:
    """Elements of a list whose length is known at compile time."""

    items: tuple[Abstract, ...]


@dataclass(frozen=True, eq=False)
class RunTimeItems:
    """A list of the graph and the type of its elements."""

    value: Value
    element: Type


@dataclass(frozen=True, eq=False)
class DictItems:
    """Keys (Python constants) and values of a dict."""

    entries: tuple[tuple[Any, Abstract], ...]

    def find(self, key: Any) -> Abstract | None:
        for k, v in self.entries:
            if constant_key(k) == constant_key(key):
                return v
        return None


@dataclass(frozen=True, eq=False)
class SetRef(Abstract):
    """A set; its cell holds `SetItems` (elements known when compiling) or `RunTimeSet`."""

    cell: Cell


@dataclass(frozen=True, eq=False)
class SetItems:
    """Elements of a set that are all known when compiling, in order of insertion."""

    items: tuple[Abstract, ...]


@dataclass(frozen=True, eq=False)
class RunTimeDict:
    """A dict of the graph and the types of its keys and values."""

    value: Value
    key: Type
    element: Type


@dataclass(frozen=True, eq=False)
class RunTimeSet:
    """A set of the graph and the type of its elements."""

    value: Value
    element: Type


@dataclass(frozen=True, eq=False)
class Entries:
    """Attributes of an object."""

    attributes: dict[str, Abstract]


@dataclass(frozen=True, eq=False)
class RunTimeObject:
    """Attributes of an object that a container of the graph may hold: a list, for its identity, of one record."""

    value: Value
    record: RecordType


@dataclass(frozen=True, eq=False)
class Union(Abstract):
    """One of several things; which one, the run-time int `tag` says."""

    tag: Value
    alternatives: tuple[Abstract, ...]


@dataclass(frozen=True, eq=False)
class Closure(Abstract):
    """A function defined in the program, with the frame whose variables it sees."""

    source: "FunctionSource"
    frame: "Frame"
    defaults: tuple[Abstract, ...]
    keyword_defaults: dict[str, Abstract] = field(default_factory=dict)
    scope: dict[str, Abstract] | None = None  # variables of a comprehension around it


@dataclass(frozen=True, eq=False)
class Method(Abstract):
    """A method bound to its object: `function` is a Python function, or one that compiles the call itself."""

    instance: Abstract
    name: str
    function: Callable[..., Any] | None = None


@dataclass(frozen=True, eq=False)
class Slice(Abstract):
    """`start:stop:step`; absent parts are Constant(None)."""

    start: Abstract
    stop: Abstract
    step: Abstract


@dataclass(frozen=True, eq=False)
class Sequence(Abstract):
    """Something that can be iterated: its length and a function from an index to the element.

    Where `items` is given the elements are known at compile time. `iterating` is the cell of the list that must not
    change meanwhile.
    """

    length: Value | int | None
    element: Callable[[Abstract], Abstract]
    items: tuple[Abstract, ...] | None = None
    kind: str = "iterator"
    parts: tuple[Any, ...] = ()


_SCALAR_NAMES: dict[type[Type], str] = {
    BoolType: "bool",
    IntType: "int",
    FloatType: "float",
    ComplexType: "complex",
    StrType: "str",
}


def constant_key(value: Any) -> Any:
    """A key under which two compile-time objects are interchangeable."""
    if isinstance(value, float):
        return (float, value.hex() if value == value else "nan")
    if isinstance(value, complex):
        return (complex, constant_key(value.real), constant_key(value.imag))
    if type(value) in (bool, int, str, bytes):
        return (type(value), value)
    if type(value) is tuple:
        return (tuple, tuple(constant_key(v) for v in value))
    return (None, id(value))


def describe(value: Abstract) -> str:
    """A value's type as error messages show it."""
    match value:
        case Constant(value=_Unbound()):
            return "an unbound variable"
        case Constant(value=None):
            return "None"
        case Constant(value=bool() | int() | float() | complex() | str() as constant):
            return f"{type(constant).__name__} ({constant!r})"
        case Constant(value=type() as cls):
            return f"class {cls.__name__}"
        case Constant(value=constant):
            name = getattr(constant, "__qualname__", None) or getattr(constant, "__name__", None)
            return f"{type(constant).__name__} {name}" if name else type(constant).__name__
        case Scalar(value=graph_value):
            return _SCALAR_NAMES.get(type(graph_value.type), str(graph_value.type))
        case TensorRef(value=graph_value):
            return f"Tensor {graph_value.type}"
        case Tuple(items=items, type=cls):
            if cls is not tuple:
                return cls.__name__
            return f"tuple[{', '.join(describe(i) for i in items)}]"
        case ListRef():
            return "list"
        case DictRef():
            return "dict"
        case SetRef():
            return "set"
        case ObjectRef(type=cls):
            return cls.__name__
        case Union(alternatives=alternatives):
            return " | ".join(dict.fromkeys(describe(a) for a in alternatives))
        case Closure(source=source):
            return f"function {source.name}"
        case Method(name=name):
            return f"method {name}"
        case Slice():
            return "slice"
        case Sequence(kind=kind):
            return kind
    return type(value).__name__
