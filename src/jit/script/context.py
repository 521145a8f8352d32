"""The state of a compilation: the graph being built, the functions being inlined, their variables, and the heap."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ...eager.tensor import Tensor
from ...ir.builder import Builder
from ...ir.core import Array, Block, Value
from ...ir.dims import Dim, symbol
from ...ir.exception_names import exception_name
from ...ir.location import Location
from ...ir.ops._common import is_at_most
from ...ir.ops._op import Op
from ...ir.types import IntType, TensorType, Type, type_symbols
from ..errors import ScriptError
from ..record_values import OBJECT
from .hints import hint_for
from .liveness import Liveness
from .open_elements import OpenSize
from .source import FunctionSource
from .values import UNBOUND, Abstract, Cell, Constant, Items, RunTimeItems, Scalar, TensorRef, describe

__all__ = ["Context", "Exit", "Frame", "NeedsUnroll", "PathEnds"]

MAX_CALL_DEPTH = 64
_SYMBOL = re.compile(r"\bs\d+\b")


# Ops that compare what containers hold.
_COMPARING = frozenset({
    "list.contains", "list.count", "list.index", "list.remove", "list.equals", "list.compare", "dict.equals",
})  # fmt: skip


class PathEnds(Exception):
    """The path being compiled raises here at run time: nothing after it is reached."""


class NeedsUnroll(Exception):
    """A loop over a constant range needs its counter at compile time, for the reason in `error`."""

    def __init__(self, error: ScriptError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Exit:
    """How control leaves a block: the ways that are possible, and where there are several the run-time int."""

    NONE = 0
    BREAK = 1
    CONTINUE = 2
    RETURN = 3
    RAISE = 4

    ways: frozenset[int] = frozenset({NONE})
    value: Value | None = None

    @property
    def only(self) -> int | None:
        """The way, where it is known."""
        return next(iter(self.ways)) if len(self.ways) == 1 else None


@dataclass(eq=False)
class Frame:
    """A function being compiled: its source, its variables, and where names that are not its own come from."""

    source: FunctionSource
    liveness: Liveness
    globals: dict[str, Any]
    closure: dict[str, Any]
    outer: "Frame | None" = None  # for functions defined in the program
    scope: dict[str, Abstract] | None = None
    call: Location | None = None
    variables: dict[str, Abstract] = field(default_factory=dict)
    exit: Exit = field(default_factory=Exit)
    result: Abstract = UNBOUND
    locals: frozenset[str] = frozenset()
    boxes: dict[str, Cell] = field(default_factory=dict)  # variables that functions inside assign to (`nonlocal`)
    finals: int = 0  # `finally` blocks and context managers around: they run after a `return`, too
    place: Location | None = None  # where errors in it are shown, if it is no code of the user's
    declared: frozenset[str] = frozenset()  # names that it declares `nonlocal`
    cls: Any = None  # the class that `super()` starts from
    on_yield: Any = None  # what a `yield` does, in the generator of a context manager
    arguments: dict[str, Abstract] = field(default_factory=dict)  # the variables that it started with


class Heap(dict[Cell, Any]):
    """What each cell holds. What was there from the start is found even in copies made before it was first used."""

    def __init__(self, context: "Context", content: dict[Cell, Any] | None = None) -> None:
        super().__init__(content or {})
        self.context = context

    def __missing__(self, cell: Cell) -> Any:
        return self.context.initial[cell]

    def copy(self) -> "Heap":
        return Heap(self.context, self)


class Context:
    """Everything that compiling a function needs to know."""

    def __init__(self, name: str) -> None:
        self.builder = Builder(name)
        self.frames: list[Frame] = []
        self.initial: dict[Cell, Any] = {}  # what arguments, parameters and captured tensors hold at the start
        self.heap: dict[Cell, Any] = Heap(self)
        self.depth = 0  # regions around: code inside may not run
        self.speculative = 0  # unions around that are taken apart: an alternative may not fit what is done with it
        self.unrollable = 0  # loops around that could be unrolled
        self.iterating: list[Cell] = []
        self.nonnegative: set[Value] = set()  # run-time ints that are known not to be negative
        self.blocks: list[Block] = []
        self.bound: dict[Value, tuple[Block, Value]] = {}
        self.node: Any = None
        self.exceptions: dict[str, type[BaseException]] = {}
        self.escaped_cell = Cell("escaped")
        self.escaped_cell.escaped = True
        self.unbound_reads: set[tuple[Frame, str]] = set()  # variables found unbound; loops look at this
        self.parameters: dict[int, tuple[str, TensorRef, Tensor]] = {}  # tensors from outside, by id
        self.parameter_names: dict[int, str] = {}
        self.module_names: dict[int, str] = {}
        self.lifted: dict[int, tuple[Any, Any]] = {}
        self.constructing = 0
        self.attributes: dict[tuple[int, str], Cell] = {}
        self.states: dict[tuple[int, str], Any] = {}  # numbers in attributes that the program assigns
        self.state_tensors: dict[Cell, TensorRef] = {}
        self.literal_types: dict[Any, dict[str, Type]] = {}  # what empty containers hold, by place of the literal
        self.open_sizes: set[OpenSize] = set()  # sizes in which the elements of containers differ
        self.differing: set[OpenSize] = set()  # sizes that were found to differ: they must be open
        self.records: dict[str, type] = {}  # named tuples that run-time containers hold, by the name of their type
        self.guards: dict[tuple[int, str], tuple[Any, str, Any]] = {}  # attributes of modules taken as constants
        self.detaching = 0  # `no_grad()` blocks around
        self.returned: dict[Any, Any] = {}  # what ignored functions return, by call and by function
        self.keep_identity = False  # whether objects stay apart where paths meet, so that writes find the right one
        self.ambiguous = False  # whether a write was refused that might have found its object otherwise
        self.tries: list[Any] = []  # the `try` regions around
        self.try_count = 0
        self.handling: list[Abstract] = []  # the exceptions whose handlers are around
        self.wants_raised = 0  # handlers around that want to know what was raised
        self.raised_cell: Cell | None = None
        self.recursive: set[Any] = set()  # the syntax of functions that call themselves
        self.functions: dict[Any, list[Any]] = {}  # what they were compiled to (see `recursion`)
        self.function_names: set[str] = set()
        self.captured_frames: dict[int, Frame] = {}
        self.in_functions = 0  # how many functions of the graph are being compiled
        self.inlined = 0  # how many calls inside calls of the same function were inlined

    # -- places and errors ------------------------------------------------------------------------------------------

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def location(self, node: Any = None) -> Location | None:
        """The place of a node of the function being compiled (default: the node being compiled)."""
        if self.frames and self.frame.place is not None:
            return self.frame.place
        node = node if node is not None else self.node
        return self.frame.source.location(node) if self.frames and node is not None else None

    def chain(self) -> tuple[Location, ...]:
        """The calls that led to the present function, innermost first; the middle of a long chain is left out."""
        calls = tuple(f.call for f in reversed(self.frames) if f.call is not None and f.place is None)
        return calls if len(calls) <= 8 else (*calls[:4], *calls[-3:])

    def error(self, message: str, hint: str | None = None, node: Any = None) -> ScriptError:
        """A located error for the caller to raise."""
        return ScriptError(message, self.location(node), chain=self.chain(), hint=hint or hint_for(message))

    @contextmanager
    def at(self, node: Any) -> Iterator[None]:
        """Give errors and instructions the place of a node."""
        previous, self.node = self.node, node
        with self.builder.at(self.location(node)):
            try:
                yield
            finally:
                self.node = previous

    # -- instructions -----------------------------------------------------------------------------------------------

    def emit(self, op: Op | str, *operands: Value | None, **attributes: Any) -> Value:
        """Append an instruction with one result."""
        (result,) = self.emit_all(op, operands, attributes)
        return result

    def emit_all(self, op: Op | str, operands: Any, attributes: dict[str, Any] | None = None) -> list[Value]:
        """Append an instruction; what its inference refuses becomes an error with a place.

        Inside a branch or loop the code may never run with these operands, so the refusal becomes a `raise` there.
        """
        if op in _COMPARING and self.records:
            from .objects import require_comparable

            require_comparable(self, [v for v in operands if v is not None])
        try:
            return self.builder.emit_all(op, list(operands), attributes)
        except (RuntimeError, IndexError, ValueError, OverflowError, ZeroDivisionError) as error:
            self.builder.sizes.requirements.clear()
            self.fails(error, *operands)
        except TypeError as error:
            raise self.type_error(self.with_sizes(str(error))) from error

    def fails(self, error: Exception, *operands: Value | None) -> NoReturn:
        """What an operation raises for these operands: at compile time, or at run time where it may not be reached.

        The sizes of the operands, which may be why it fails, become conditions of the graph.
        """
        message = self.with_sizes(str(error))
        if self.depth:
            for name in {n for v in operands if v is not None for n in type_symbols(self.type_of(v))}:
                hint = self.builder.sizes.hints.get(name)
                if hint is not None:
                    self.builder.sizes.equal(symbol(name), hint, message)
            self.forget_raised()
            plain = all(type(a) in (bool, int, float, str) for a in error.args)
            arguments = list(error.args) if isinstance(error, KeyError) and plain else [message]
            self.raises([self.constant(a) for a in arguments], type(error))
        kind = _located_type(type(error))
        if isinstance(error, KeyError):
            message = f"the key {message} is not in the dict"
        raise kind(message, self.location(), chain=self.chain(), hint=hint_for(message)) from error

    def with_sizes(self, message: str) -> str:
        """The message with the sizes of this call in place of symbols."""
        hints = self.builder.sizes.hints
        return _SYMBOL.sub(lambda m: str(hints.get(m[0], m[0])), message)

    def raises(self, arguments: list[Value], type: type[BaseException]) -> NoReturn:
        """Emit a raise; the path ends."""
        name = exception_name(type)
        self.exceptions.setdefault(name, type)
        self.builder.emit_all("raise", arguments, {"exception": name})
        raise PathEnds

    def checkpoint(self) -> None:
        """Save the present state for every `try` around."""
        for region in self.tries:
            region.save(self)

    def forget_raised(self) -> None:
        """What is raised next is not the program's own exception."""
        if self.wants_raised:
            from .raised import forget_raised

            forget_raised(self)
            self.checkpoint()

    def constant(self, value: Any) -> Value:
        """A constant of the graph."""
        if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63:
            raise self.error(f"the integer {value} does not fit in 64 bits", "ints of compiled programs have 64 bits")
        if type(value) not in (bool, int, float, complex, str, type(None), Array):
            bases: tuple[Any, ...] = (bool, int, float, complex, str)
            value = next((base(value) for base in bases if isinstance(value, base)), value)
        return self.builder.constant(value)

    def int_value(self, value: int | Value) -> Value:
        return value if isinstance(value, Value) else self.constant(value)

    # -- the heap ---------------------------------------------------------------------------------------------------

    def new_tensor(self, value: Value, origins: frozenset[Cell] = frozenset(), name: str = "") -> TensorRef:
        """A reference to a tensor with memory of its own (or perhaps that of `origins`)."""
        cell = Cell("tensor", origins, name)
        self.heap[cell] = value
        return TensorRef(cell, value, value)

    def existed(self, cell: Cell, outer: dict[Cell, Any] | None) -> bool:
        """Whether the cell is in an earlier heap."""
        return outer is not None and (cell in outer or cell in self.initial)

    def is_in_scope(self, value: Value) -> bool:
        """Whether a value is defined in the present block or one around it."""
        block = value.block if value.instruction is None else value.instruction.block
        return block is self.builder.graph.block or block is self.builder.block or any(b is block for b in self.blocks)

    def escape(self, cells: Iterable[Cell]) -> None:
        """Note that memory is now also that of an element of a run-time list, which does not share it.

        Once noted this stays, also where the path that put it into the list is not the one taken.
        """
        for cell in cells:
            cell.escaped = True

    def has_escaped(self, cell: Cell) -> bool:
        """Whether the memory may also be that of an element of a run-time list."""
        return cell.escaped

    def read(self, tensor: TensorRef) -> Value:
        """The tensor's present value: what it was made with, unless its memory was written since."""
        base: Value = self.heap[tensor.cell]
        if base is tensor.base:
            return tensor.value
        value = base
        for view in tensor.views:
            value = self.builder.emit_all(view.op, [value, *view.operands], view.attributes)[0]
        return value

    def type_of(self, value: Value) -> Type:
        return self.builder.resolve(value.type)

    def tensor_type(self, tensor: TensorRef) -> TensorType:
        type = self.builder.resolve(tensor.value.type)
        assert isinstance(type, TensorType)
        return type

    def dim_scalar(self, dim: Dim) -> Abstract:
        """A size as an abstract int."""
        dim = self.builder.sizes.resolve(dim)
        return Constant(dim) if isinstance(dim, int) else Scalar(self.builder.dim(dim))

    def describe(self, value: Abstract) -> str:
        """A value's type for an error message, with the sizes of this call."""
        return self.with_sizes(f"Tensor {self.tensor_type(value)}" if isinstance(value, TensorRef) else describe(value))

    def list_items(self, cell: Cell) -> Items | RunTimeItems:
        found = self.heap[cell]
        assert isinstance(found, (Items, RunTimeItems))
        return found

    @contextmanager
    def inside(self, block: Block) -> Iterator[None]:
        """Build into a region."""
        self.depth += 1
        self.blocks.append(block)
        try:
            with self.builder.inside(block):
                yield
        finally:
            self.blocks.pop()
            self.depth -= 1

    def as_size(self, value: Value) -> Value:
        """A run-time int as a size: the same int, bound to a dimension symbol (once, where it stays in scope)."""
        type = self.type_of(value)
        if isinstance(type, IntType) and type.value is not None:
            return value
        known = self.bound.get(value)
        if known is not None and (known[0] in self.blocks or known[0] is self.builder.graph.block):
            return known[1]
        bound, _ = self.builder.as_dim(value)
        self.bound[value] = (self.builder.block, bound)
        return bound

    # -- what other modules of the compiler do, for those below them ------------------------------------------------

    tensor_class = Tensor

    @property
    def lists(self) -> Any:
        """The module that compiles list operations."""
        from . import lists

        return lists

    @property
    def dicts(self) -> Any:
        """The module that compiles dict operations."""
        from . import dicts

        return dicts

    @property
    def sets(self) -> Any:
        """The module that compiles set operations."""
        from . import sets

        return sets

    @property
    def strings(self) -> Any:
        """The module that compiles operations on strings known at run time only."""
        from . import strings

        return strings

    def evaluate(self, node: Any) -> Abstract:
        """The value of an expression."""
        from .expressions import evaluate

        return evaluate(self, node)

    def run_block(self, statements: Any) -> None:
        """Compile statements."""
        from .statements import block

        block(self, statements)

    def assign(self, target: Any, value: Abstract) -> None:
        """Assign to a target of any kind."""
        from .statements import assign

        assign(self, target, value)

    def call(self, function: Abstract, arguments: "list[Abstract]", keywords: dict[str, Abstract]) -> Abstract:
        """Call something callable."""
        from .calls import call

        return call(self, function, arguments, keywords)

    def call_op(self, op: Op, arguments: Any, keywords: dict[str, Abstract]) -> Abstract:
        """Emit an op on abstract values."""
        from .tensors import call_op

        return call_op(self, op, arguments, keywords)

    def item(self, tensor: TensorRef, want: str | None = None) -> Abstract:
        """The only element of a tensor as a number."""
        from .tensors import item

        return item(self, tensor, want)

    def length(self, value: Abstract) -> Abstract:
        """`len(value)`."""
        from .iteration import length

        return length(self, value)

    def known_items(self, context: "Context", value: Abstract) -> tuple[Abstract, ...]:
        """The elements of something iterable whose length is known when compiling."""
        from .iteration import known_items

        return known_items(self, value)

    def item_of(self, context: "Context", items: tuple[Abstract, ...], index: Abstract, kind: str) -> Abstract:
        """An element of a sequence of known length."""
        from .iteration import item_of

        return item_of(self, items, index, kind)

    def check_write(self, context: "Context", cell: Cell) -> None:
        """Refuse a write that other names may or may not see."""
        from .tensors import check_write

        check_write(self, cell)

    def user_operator(self, name: str, *operands: Abstract) -> Abstract | None:
        """An operator method of a user's class, called; None where there is none."""
        from .objects import user_operator

        return user_operator(self, name, *operands)

    def needs_unroll(self, error: ScriptError) -> None:
        """Ask the loops around to be unrolled where one can be; otherwise nothing happens."""
        if self.unrollable:
            raise NeedsUnroll(error)

    def type_error(self, message: str, hint: str | None = None) -> Exception:
        """A wrong type: an error of the program when compiling, or at run time on a path that some types take only."""
        if self.speculative:
            self.fails(TypeError(message))
        return self.error(message, hint)

    def near(self, name: str, names: Iterable[str]) -> str | None:
        """A hint with near names."""
        found = difflib.get_close_matches(name, list(names), 3)
        return f"did you mean {', '.join(found)}?" if found else None

    def true(self) -> Value:
        return self.constant(True)

    def is_size(self, value: Value) -> bool:
        """Whether an int value has a size expression that is not negative."""
        type = self.type_of(value)
        return isinstance(type, IntType) and type.value is not None and is_at_most(0, type.value)

    def lift(self, value: Any) -> Abstract:
        """A Python object from outside the program."""
        from .objects import lift

        return lift(self, value)

    def guard(self, owner: Any, name: str, value: Any) -> None:
        """Note that the program is right only while `owner.name` is `value`."""
        if value is None or isinstance(value, (bool, int, float, str)):
            self.guards[id(owner), name] = (owner, name, value)

    def module_name(self, module: Any) -> str:
        """The dotted name of a module within the scripted one, with a dot at the end; empty where it has none."""
        name = self.module_names.get(id(module))
        if name is None:
            name = f"module{len(self.module_names)}"
            for inner_name, inner in module.named_modules():
                self.module_names.setdefault(id(inner), f"{name}.{inner_name}" if inner_name else name)
            name = self.module_names[id(module)]
        return f"{name}." if name else ""

    def new_literal(self, cell: Cell) -> None:
        """Note where an empty container is written: what it holds is found elsewhere."""
        place = self.location()
        if place is not None:
            cell.literal = (place.file, place.line, place.column)

    def declare(self, value: Abstract, annotation: Any) -> None:
        """Let an annotation (its syntax, or the type itself) say what an empty container holds."""
        from .annotations import declare

        declare(self, value, annotation)

    def record_name(self, cls: type) -> str:
        """The name under which the graph knows a named tuple's class."""
        name, count = cls.__qualname__, 1
        while self.records.setdefault(name, cls) is not cls:
            name, count = f"{cls.__qualname__}_{count}", count + 1
        return name

    def object_name(self, cls: type) -> str:
        """The name under which the graph knows the objects of a class."""
        name, count = f"{OBJECT}{cls.__qualname__}", 1
        while self.records.setdefault(name, cls) is not cls:
            name, count = f"{OBJECT}{cls.__qualname__}_{count}", count + 1
        return name

    def bound_value(self, value: Abstract, what: str) -> Abstract:
        """A value that may be unset, after a check that it is set."""
        from .names import bound_value

        return bound_value(self, value, what)

    def is_type(self, value: Value, *types: type[Type]) -> bool:
        return isinstance(value.type, types)


_located: dict[type[Exception], type[ScriptError]] = {}


def _located_type(base: type[Exception]) -> type[ScriptError]:
    """ScriptError that is also an exception of the operation's own type, so that callers can catch either."""
    if base not in _located:
        _located[base] = type(f"Script{base.__name__}", (ScriptError, base), {"__module__": ScriptError.__module__})
    return _located[base]
