"""Runs a graph one instruction at a time on arrays and Python values: the reference for every faster executor."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .core import Block, Graph, Instruction, Value
from .dims import Dim, DimExpr, substitute, symbol
from .dtypes import from_numpy
from .exception_names import exception_name, find_exception
from .location import render_error
from .matching import required_symbols
from .recursion import RECURSION_MESSAGE, deep_recursion, recursion_limit
from .types import (
    BoolType,
    ComplexType,
    DictType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    OptionalType,
    RecordType,
    SetType,
    StrType,
    TensorType,
    TupleType,
    Type,
    type_dims,
)

__all__ = ["Interpreter", "describe_value", "has_type", "run"]


def run(
    graph: Graph,
    arguments: Sequence[Any],
    *,
    xp: ModuleType = np,
    exceptions: Mapping[str, type[Exception]] | None = None,
    check: bool = False,
) -> list[Any]:
    """The results of a graph on arrays of the module `xp` and Python values, written-back results included.

    Arguments are never written to. TypeError where an argument does not have its declared type, RuntimeError where
    sizes contradict each other or a guard; an exception that the program raises is looked up in `exceptions`, then
    among Python's own. An error has the place in the user's program as a note. With `check`, each result is compared
    with its declared type.

    >>> from ingot import ir
    >>> graph = ir.parse("graph @f(%x: f32[n]) -> (f32[n]) { %y: f32[n] = add(%x, %x) return(%y) }")
    >>> ir.run(graph, [np.ones(3, np.float32)])
    [array([2., 2., 2.], dtype=float32)]
    """
    interpreter = Interpreter(graph, xp, exceptions or {}, check)
    return interpreter.run(list(arguments))


class Interpreter:
    """Runs the instructions of a graph; other executors override `instruction`.

    `values` and `sizes` hold what values and dimension symbols are, as far as the run has come.
    """

    def __init__(self, graph: Graph, xp: Any, exceptions: Mapping[str, type[Exception]], check: bool) -> None:
        self.graph = graph
        self.xp = xp
        self.exceptions = exceptions
        self.check = check
        self.sizes: dict[str, int] = {}
        self.values: dict[Value, Any] = {}
        self.has_symbols: dict[Value, bool] = {}
        self.broadcasts: dict[Instruction, list[DimExpr]] = {}
        self.calls = 0  # how many calls of functions are in progress
        self.saved: dict[str, Sequence[Any]] = {}  # what each `try` gives where something is raised
        self.caught: list[Exception] = []

    def run(self, arguments: list[Any]) -> list[Any]:
        graph = self.graph
        if len(arguments) != len(graph.arguments):
            raise TypeError(f"{graph.name}: expected {len(graph.arguments)} arguments, given {len(arguments)}")
        for value, given in zip(graph.arguments, arguments, strict=True):
            if not has_type(given, value.type):
                raise TypeError(
                    f"{graph.name}: argument %{value.name or value.index} must be {value.type}, "
                    f"given {describe_value(given)}"
                )
        self.bind(graph.arguments, arguments, f"{graph.name}: ")
        for guard in graph.guards:
            left, right = substitute(guard.left, self.sizes), substitute(guard.right, self.sizes)
            if left != right:
                reason = f": {guard.reason}" if guard.reason else ""
                raise RuntimeError(
                    f"{graph.name}: the sizes do not fit: {guard} is needed, given {left} and {right}{reason}"
                )
        return self.block(graph.block)

    # -- sizes -------------------------------------------------------------------------------------------------------

    def bind(self, values: Sequence[Value], given: Sequence[Any], where: str) -> None:
        """Set the values of arguments or results, and of the symbols that stand alone in their types."""
        pairs: list[tuple[Dim, int, Value]] = []
        for value, actual in zip(values, given, strict=True):
            self.values[value] = actual
            has_symbols = self.has_symbols.get(value)
            if has_symbols is None:
                has_symbols = bool(required_symbols(value.type)) or self.check
                self.has_symbols[value] = has_symbols
            if has_symbols:
                pairs.extend((dim, size, value) for dim, size in _sizes(value.type, actual))
        for dim, size, _ in pairs:
            if isinstance(dim, DimExpr) and dim.is_symbol():
                self.sizes.setdefault(str(dim), size)
        for dim, size, value in pairs:
            expected = substitute(dim, self.sizes)
            if expected != size:
                raise RuntimeError(
                    f"{where}%{value.name or value.index} must be {value.type}: its size {dim} must be {expected}, "
                    f"given {size}"
                )

    def check_broadcast(self, instruction: Instruction) -> None:
        """Raise, as inference would, where sizes that were not known do not broadcast."""
        checked = self.broadcasts.get(instruction)
        if checked is None:
            dims = [d for r in instruction.results for d in type_dims(r.type)]
            checked = self.broadcasts[instruction] = [d for d in dims if "bcast(" in str(d)]
        for dim in checked:
            try:
                substitute(dim, self.sizes)
            except ValueError as error:
                raise RuntimeError(f"{instruction.op.name}: {error}") from None

    def dim(self, expression: Dim | str) -> int:
        value = substitute(symbol(expression) if isinstance(expression, str) else expression, self.sizes)
        if not isinstance(value, int):
            raise RuntimeError(f"the size {expression} has no value here")
        return value

    # -- instructions ------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> list[Any]:
        """Run a block; the values that its terminator passes on."""
        values = self.values
        for instruction in block.instructions:
            if instruction.op.name in ("return", "yield"):
                return [values[v] for v in instruction.inputs]
            self.execute(instruction)
        raise RuntimeError(f"{self.graph.name}: a block has no terminator")

    def execute(self, instruction: Instruction) -> None:
        """Run an instruction, with its location in what it raises, and set its results."""
        try:
            results = self.instruction(instruction)
        except Exception as error:
            _add_location(error, instruction)
            raise
        self.bind(instruction.results, results, f"{instruction.op.name}: ")

    def instruction(self, instruction: Instruction) -> Sequence[Any]:
        op = instruction.op
        operands = [None if v is None else self.values[v] for v in instruction.operands]
        special = _SPECIAL.get(op.name)
        if special is not None:
            found: Sequence[Any] = special(self, instruction, operands)
            return found
        if op.evaluate is None:
            raise NotImplementedError(f"the op {op.name} has no reference implementation")
        self.check_broadcast(instruction)
        results = op.run(self.xp, op.schema.unflatten(operands), instruction.attributes)
        if not isinstance(results, tuple):
            results = (results,)
        types = [r.type for r in instruction.results]
        results = tuple(
            self.xp.asarray(v) if isinstance(v, np.generic) and isinstance(t, TensorType) else v
            for v, t in zip(results, types, strict=True)
        )
        if self.check:
            for value, type in zip(results, types, strict=True):
                if not has_type(value, type):
                    raise TypeError(f"{op.name} must give {type}, gave {describe_value(value)}")
        return results

    def run_if(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        return self.region(instruction.regions[0 if operands[0] else 1], ())

    def run_loop(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        trip_count, condition, *carried = operands
        iteration = 0
        while condition and (trip_count is None or iteration < trip_count):
            condition, *carried = self.region(instruction.regions[0], (iteration, *carried))
            iteration += 1
        return carried

    def region(self, region: Block, arguments: Sequence[Any]) -> list[Any]:
        """Run a region in its own scope of sizes."""
        outer = self.sizes
        self.sizes = dict(outer)
        try:
            self.bind(region.arguments, arguments, "")
            return self.block(region)
        finally:
            self.sizes = outer

    def run_call(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        """Call a function: its values and sizes are its own, anew in each call."""
        function = self.graph.functions[instruction.attributes["function"]]
        if self.calls == 0:
            with deep_recursion():
                return self.called(function, operands)
        if self.calls >= recursion_limit():
            raise RecursionError(RECURSION_MESSAGE)
        return self.called(function, operands)

    def called(self, function: Graph, operands: Sequence[Any]) -> Sequence[Any]:
        """What a function returns."""
        outer = self.values, self.sizes, self.saved
        self.values, self.sizes, self.saved = {}, {}, {}
        self.calls += 1
        try:
            self.bind(function.arguments, operands, f"{function.name}: ")
            return self.block(function.block)
        finally:
            self.calls -= 1
            self.values, self.sizes, self.saved = outer

    def run_dim(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        return (self.dim(instruction.attributes["expression"]),)

    def run_bind_dim(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        if operands[0] < 0:
            raise RuntimeError(f"a size must not be negative, given {operands[0]}")
        return (operands[0],)

    def run_undefined(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        return (_undefined(instruction.result.type, self.sizes, self.xp),)

    def run_raise(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        name = instruction.attributes["exception"]
        kind = find_exception(name, self.exceptions)
        if not issubclass(kind, Exception) or (kind is RuntimeError and name != "RuntimeError"):
            raise RuntimeError(f"{name}: {', '.join(map(str, operands))}")
        raise kind(*operands)

    def run_try(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        name = instruction.attributes["name"]
        outer = self.saved.get(name)
        self.saved[name] = operands
        try:
            return (0, 0, *self.region(instruction.regions[0], ()))
        except Exception as error:
            handler = handler_of(type(error), instruction.attributes["catches"])
            if handler == 0:
                raise
            self.caught.append(error)
            return (handler, len(self.caught), *self.saved[name])
        finally:
            if outer is not None:
                self.saved[name] = outer

    def run_save(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        self.saved[instruction.attributes["name"]] = operands
        return ()

    def run_reraise(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        raise self.caught[operands[0] - 1]

    def run_error_text(self, instruction: Instruction, operands: list[Any]) -> Sequence[Any]:
        return (str(self.caught[operands[0] - 1]),)


_SPECIAL: dict[str, Any] = {
    "if": Interpreter.run_if,
    "loop": Interpreter.run_loop,
    "call": Interpreter.run_call,
    "dim": Interpreter.run_dim,
    "bind_dim": Interpreter.run_bind_dim,
    "undefined": Interpreter.run_undefined,
    "raise": Interpreter.run_raise,
    "try": Interpreter.run_try,
    "save": Interpreter.run_save,
    "reraise": Interpreter.run_reraise,
    "error.text": Interpreter.run_error_text,
}


def handler_of(kind: type[BaseException], catches: Sequence[tuple[str, int]]) -> int:
    """The number of the handler that catches exceptions of a class; 0 where none does."""
    numbers = dict(catches)
    return next((numbers[n] for c in kind.__mro__ if c is not object and (n := exception_name(c)) in numbers), 0)


def _add_location(error: Exception, instruction: Instruction) -> None:
    if instruction.location is not None and not hasattr(error, "__ingot_located__"):
        error.add_note(render_error(f"in {instruction.op.name}", instruction.location))
        error.__ingot_located__ = instruction.location  # type: ignore[attr-defined]  # enclosing ones add nothing


def _sizes(type: Type, value: Any) -> list[tuple[Dim, int]]:
    """The sizes in a type with those that a value of it has."""
    if value is None:
        return []  # an optional value that is unwrapped before it is known whether it is None
    match type:
        case TensorType(shape=shape):
            return list(zip(shape, value.shape, strict=True))
        case IntType(value=dim) if dim is not None:
            return [(dim, value)]
        case TupleType(elements=elements):
            return [pair for t, v in zip(elements, value, strict=True) for pair in _sizes(t, v)]
        case RecordType(fields=fields) if isinstance(value, tuple):
            return [pair for (_, t), v in zip(fields, value, strict=True) for pair in _sizes(t, v)]
    return []


def has_type(value: Any, type: Type) -> bool:
    """Whether a run-time value has an IR type, sizes apart."""
    match type:
        case TensorType(dtype=dtype, shape=shape):
            return (
                hasattr(value, "dtype")
                and hasattr(value, "shape")
                and len(value.shape) == len(shape)
                and value.dtype == dtype.numpy
            )
        case BoolType():
            return isinstance(value, bool)
        case IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case FloatType():
            return isinstance(value, float)
        case ComplexType():
            return isinstance(value, complex)
        case StrType():
            return isinstance(value, str)
        case NoneType():
            return value is None
        case OptionalType(element=element):
            return value is None or has_type(value, element)
        case ListType(element=element):
            return isinstance(value, list) and all(has_type(v, element) for v in value)
        case SetType(element=element):
            return isinstance(value, set) and all(has_type(v, element) for v in value)
        case DictType(key=key, element=element):
            return isinstance(value, dict) and all(has_type(k, key) and has_type(v, element) for k, v in value.items())
        case TupleType(elements=elements):
            return isinstance(value, tuple) and len(value) == len(elements) and all(map(has_type, value, elements))
        case RecordType(fields=fields):
            return not isinstance(value, tuple) or len(value) == len(fields)
    return False


def describe_value(value: Any) -> str:
    """A run-time value's type, for an error message."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        try:
            return str(TensorType(from_numpy(value.dtype), tuple(value.shape)))
        except TypeError:
            return f"an array of {value.dtype}{list(value.shape)}"
    return f"{type(value).__name__} {value!r}"[:200]


def _undefined(type: Type, sizes: Mapping[str, int], xp: Any) -> Any:
    """A value of a type, with whatever in it."""
    match type:
        case TensorType(dtype=dtype, shape=shape):
            known = [substitute(d, sizes) for d in shape]
            return xp.zeros([d if isinstance(d, int) else 0 for d in known], dtype.numpy)
        case IntType(value=value):
            known_value = 0 if value is None else substitute(value, sizes)
            return known_value if isinstance(known_value, int) else 0
        case TupleType(elements=elements):
            return tuple(_undefined(t, sizes, xp) for t in elements)
        case RecordType(fields=fields):
            return tuple(_undefined(t, sizes, xp) for _, t in fields)
    simple = {BoolType: False, FloatType: 0.0, ComplexType: 0j, StrType: ""}
    if isinstance(type, (ListType, SetType)):
        return [] if isinstance(type, ListType) else set()
    return {} if isinstance(type, DictType) else simple.get(type.__class__)
