"""The mode that records a trace: ops run eagerly and become instructions; writes become functional updates."""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..eager.device import device_of
from ..eager.dispatch import execute
from ..eager.modes import Mode
from ..eager.tensor import Tensor, wrap
from ..ir.builder import Builder
from ..ir.core import Array, Graph, Value
from ..ir.dims import Dim
from ..ir.dtypes import from_numpy
from ..ir.location import Location
from ..ir.ops._op import Op
from ..ir.ops.schema import Role
from ..ir.sizes import Sizes
from ..ir.symbolic import SymbolicTensor, building
from ..ir.types import TensorType
from ..ir.views import ViewStep, write_through
from .errors import TraceError
from .inline_graph import inline_graph
from .placement import host_copy, is_array, place_of_arrays
from .tracked import TrackedInt, dim_of, track
from .tracked_float import TrackedFloat, tracked_source

__all__ = ["Baked", "Recorder", "Recording", "user_location"]

# As code objects have it: symbolic links (`lib64`) must not be resolved.
_PACKAGE = str(Path(__file__).parent.parent)


def user_location() -> Location | None:
    """The innermost place on the stack that is not in this package."""
    frame = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            code = frame.f_code
            line, end_line, column, end_column = _position(frame)
            return Location(
                code.co_filename,
                line or frame.f_lineno,
                column or 0,
                end_column if end_line == line else None,
                code.co_qualname,
            )
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _position(frame: Any) -> tuple[int | None, int | None, int | None, int | None]:
    positions = list(frame.f_code.co_positions())
    index = frame.f_lasti // 2
    return positions[index] if index < len(positions) else (None, None, None, None)


@dataclass(frozen=True)
class Baked:
    """Something that a trace recorded as the example had it: what kind, a sentence about it, and where.

    kind: "bool", "int", "float", "list", "numpy", "iteration", "size", "tensor", "mode", ...
    """

    kind: str
    message: str
    location: Location | None = None

    def __str__(self) -> str:
        if self.location is None:
            return self.message
        source = self.location.source_line()
        return f"{self.location}: {self.message}" + (f"\n    {source.strip()}" if source else "")


_BAKED_MESSAGES = {
    "bool": "a tensor was turned into a bool, so a branch on it is recorded as the example took it",
    "int": "a tensor was turned into an int, which is recorded as a constant",
    "float": "a tensor was turned into a float, which is recorded as a constant",
    "complex": "a tensor was turned into a complex number, which is recorded as a constant",
    "list": "a tensor was turned into a list, which is recorded as constants",
    "numpy": "a tensor was turned into a numpy array, so what is computed from it is recorded as constants",
    "iteration": "a tensor was iterated over, so the number of iterations is recorded as the example had it",
}
_ITEM_KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool", "c": "complex"}
# Ops that make tensors whose elements are known without any other's.
_FILLED = frozenset({"constant", "full", "full_like", "zeros", "ones", "zeros_like", "ones_like"})
_SIZE_MESSAGES = {
    "comparison": "a size was compared, so a branch on it is recorded as the example took it",
    "bool": "a size was turned into a bool, so a branch on it is recorded as the example took it",
    "count": "a size was used as a plain number, as of iterations, which is recorded as the example had it",
    "float": "a size was turned into a float, which is recorded as a constant",
}


Condition = tuple[Callable[[], Any], Any]


@dataclass
class Recording:
    """What a trace gave: the graph, and how a call supplies its parameters and what it does besides.

    parameters: for each name, what finds the tensor at a call. conditions: the graph holds while each gives this value.
    gradients: tensors (or positions of arguments) whose `.grad` a call replaces, by a result or (None) by None.
    trains: whether gradients were computed in the trace, so that a call need not make any.
    """

    graph: Graph
    parameters: dict[str, Callable[[], Tensor]]
    conditions: list[Condition]
    gradients: list[tuple[Tensor | int, int | None]]
    trains: bool
    baked: list[Baked] = field(default_factory=list)


@dataclass
class _Gradient:
    """The `.grad` of a tensor from outside, as it was before the trace."""

    tensor: Tensor
    before: Tensor | None


@dataclass
class _Known:
    tensor: Tensor  # keeps the id taken
    value: Value
    version: int


class Recorder(Mode):
    """Records what happens to tensors into a graph.

    `parameters` are tensors that the graph takes by name (a module's parameters and buffers), by id. Every other
    tensor from outside is taken as a parameter at first, and made a constant in `finish` unless it was written.
    """

    def __init__(
        self,
        name: str,
        parameters: dict[int, tuple[str, Tensor]] | None = None,
        names: dict[int, tuple[str, Tensor]] | None = None,
        *,
        scale: float = 1.0,
    ) -> None:
        self.builder = Builder(name, Sizes())
        self.baked_entries: list[Baked] = []
        self._known: dict[int, _Known] = {}
        # Autograd keeps arrays of outputs and wraps them again: such a tensor is what had the array first.
        self._by_array: dict[int, _Known] = {}
        self._arguments: list[tuple[Tensor, Value]] = []
        self._named = parameters or {}
        self._parameters: list[tuple[str, Tensor, Value, Location | None]] = []
        self._constants: dict[Any, Value] = {}
        self._before: dict[int, tuple[Tensor, np.ndarray[Any, Any]]] = {}
        # What tensors from outside were called in traces before: other names would be other parameters.
        self._names = names or {}
        self._outside_ids: set[int] = set()
        self._gradients: dict[int, _Gradient] = {}
        self._conditions: list[Condition] = []
        self._trains = False
        # Options that are read: by dictionary and name, the tensor and what reads it. They are seen scaled.
        self._options: dict[str, tuple[Tensor, Callable[[], Any]]] = {}
        self._option_dicts: list[dict[str, Any]] = []
        self._sources: dict[str, TrackedFloat] = {}
        self._numbers: dict[int, tuple[TrackedFloat, Value]] = {}
        self._scale = scale

    # -- what is known about a tensor ---------------------------------------------------------------------------------

    def argument(self, name: str, tensor: Tensor) -> Value:
        """Make the tensor an argument of the graph, its sizes symbols with the example's as hints."""
        array = tensor._array
        sizes = self.builder.sizes
        shape = tuple(sizes.fresh(int(n)) for n in array.shape)
        value = self.builder.argument(name, TensorType(from_numpy(array.dtype), shape))
        self._arguments.append((tensor, value))
        self._outside_ids.add(id(tensor))
        self._remember(tensor, value)
        return value

    def _remember(self, tensor: Tensor, value: Value) -> None:
        known = _Known(tensor, value, tensor.version)
        self._known[id(tensor)] = known
        self._by_array[id(tensor._array)] = known

    def value_of(self, tensor: Tensor) -> Value:
        """The graph value of a tensor as it is now."""
        while tensor._alias_of is not None:
            tensor = tensor._alias_of
        known = self._known.get(id(tensor))
        if known is not None and known.version == tensor.version:
            return known.value
        if tensor._view is not None:
            source, op, operands, attributes = tensor._view
            if op is None:
                raise RuntimeError("a view made outside the trace was written inside it; clone() it before the trace")
            value = self._emit(op, (source, *operands), attributes)[0]
            self._remember(tensor, value)
            return value
        wrapped = self._by_array.get(id(tensor._array))
        if known is None and wrapped is not None:
            return wrapped.value
        if known is not None:  # its memory was written behind the trace's back
            raise RuntimeError("a tensor was changed in a way that the trace cannot follow (through numpy or .data)")
        return self._outside(tensor)

    def _outside(self, tensor: Tensor) -> Value:
        name = self._outside_name(tensor)
        type = TensorType(from_numpy(tensor._array.dtype), tuple(int(n) for n in tensor._array.shape))
        value = Value(type, name)
        self._parameters.append((name, tensor, value, user_location()))
        self._outside_ids.add(id(tensor))
        self._remember(tensor, value)
        return value

    def _outside_name(self, tensor: Tensor) -> str:
        """What a tensor from outside is called: as before, after the tensor whose gradient it is, or by a number."""
        known = self._named.get(id(tensor)) or self._names.get(id(tensor))
        if known is not None:
            return known[0]
        taken = {name for name, *_ in self._parameters} | {name for name, _ in self._names.values()}
        owner = next((g.tensor for g in self._gradients.values() if g.before is tensor), None)
        if owner is not None:
            wanted = next((name for name, t, *_ in self._parameters if t is owner), None)
            wanted = f"{wanted or self._outside_name(owner)}.grad"
            if wanted not in taken:
                return wanted
        return next(name for i in itertools.count() if (name := f"outside{i}") not in taken)

    # -- the mode -----------------------------------------------------------------------------------------------------

    def dispatch(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Run the op on the example and append it to the graph."""
        attributes = {name: self._plain_attribute(value) for name, value in attributes.items()}
        plain = tuple([o.plain() if isinstance(o, TrackedFloat) else o for o in operands])
        results = execute(op, plain, attributes)
        with self.builder.at(user_location()):
            values = self._emit(op, operands, attributes)
        for tensor, value in zip(results if isinstance(results, tuple) else (results,), values, strict=True):
            if isinstance(tensor, Tensor):
                self._remember(tensor, value)
        return results

    def inline(self, graph: Graph, arguments: Sequence[Any], results: Sequence[Any]) -> None:
        """Record a graph as it is, branches and loops included, that gave these results for the example."""
        values = [self._operand(Role.SCALAR, a) for a in arguments]
        for result, value in zip(results, inline_graph(self.builder, graph, values), strict=True):  # type: ignore[arg-type]
            if isinstance(result, Tensor):
                self._remember(result, value)

    def _emit(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> list[Value]:
        flat: list[Value | None] = []
        for parameter, operand in zip(op.schema.operands, operands, strict=True):
            for item in operand if parameter.role.is_group else (operand,):
                flat.append(self._operand(parameter.role, item))
        return self.builder.emit_all(op, flat, attributes)

    def _operand(self, role: Role, item: Any) -> Value | None:
        if item is None:
            return None
        if isinstance(item, Tensor):
            value = self.value_of(item)
            if role in (Role.INT, Role.SIZE):
                value = self.builder.emit("item", value)
                return self.builder.as_dim(value)[0]
            return value
        if isinstance(item, TrackedInt):
            return self.builder.dim(item.dim)
        if isinstance(item, TrackedFloat):
            return self._number(item)
        if is_array(item):
            return self.builder.constant(Array(host_copy(item)))
        if isinstance(item, np.generic):
            item = item.item()
        key = (type(item), repr(item))
        if key not in self._constants or self.builder.block is not self.builder.graph.block:
            self._constants[key] = self.builder.constant(item)
        return self._constants[key]

    def _plain_attribute(self, value: Any) -> Any:
        if isinstance(value, TrackedInt):
            self._bake("size", f"the size {value.dim} is recorded as {int(value)}: this argument is static")
            return int(value)
        if isinstance(value, TrackedFloat):
            return float(value)
        if isinstance(value, tuple):
            return tuple(self._plain_attribute(v) for v in value)
        return value

    def _number(self, number: TrackedFloat) -> Value:
        """The graph value of a number that is followed."""
        known = self._numbers.get(id(number))
        if known is not None:
            return known[1]
        if callable(number.expression):
            value = self._option(number)
        else:
            name, *operands = number.expression
            values = [self._operand(Role.SCALAR, o) for o in operands]
            value = self.builder.emit(f"scalar.{name}", *values)
        if self.builder.block is self.builder.graph.block:
            self._numbers[id(number)] = (number, value)
        return value

    def options(self, values: dict[str, Any]) -> dict[str, Any]:
        """Numbers that a call reads afresh: they are parameters of the graph, supplied from the dictionary."""
        position = next((i for i, d in enumerate(self._option_dicts) if d is values), len(self._option_dicts))
        if position == len(self._option_dicts):
            self._option_dicts.append(values)

        def followed(name: str, value: Any, read: Callable[[], Any]) -> Any:
            if isinstance(value, tuple):
                return tuple(
                    followed(f"{name}.{i}", item, lambda i=i: read()[i])  # type: ignore[misc]
                    for i, item in enumerate(value)
                )
            if isinstance(value, Tensor):
                self._options[f"option{position}.{name}"] = (value, read)
            if isinstance(value, (bool, TrackedFloat)) or not isinstance(value, (int, float)):
                return value
            return self._source(f"option{position}.{name}", float(value), lambda: float(read()))

        return {name: followed(name, value, lambda name=name: values[name]) for name, value in values.items()}  # type: ignore[misc]

    def _source(self, name: str, value: float, read: Callable[[], float]) -> TrackedFloat:
        if name not in self._sources:
            self._sources[name] = tracked_source(value * self._scale, self, read)
        return self._sources[name]

    def _option(self, number: TrackedFloat) -> Value:
        """An option as a number of the graph: the only element of a parameter."""
        name = next(n for n, source in self._sources.items() if source is number)
        tensor = wrap(np.array(number.expression(), np.float64))
        argument = Value(TensorType(from_numpy(tensor._array.dtype), ()), name)
        self._options[name] = (tensor, number.expression)
        self._parameters.append((name, tensor, argument, None))
        self._remember(tensor, argument)
        with self.builder.at(None):
            return self.builder.emit("item", argument)

    def condition(self, read: Callable[[], Any]) -> None:
        """The trace holds while `read()` gives what it gives now."""
        self._conditions.append((read, read()))

    def unfollowed(self, what: str) -> None:
        """A number that depends on a size became a plain one."""
        self._bake("size", _SIZE_MESSAGES[what])

    def gradient(self, tensor: Any, event: str) -> None:
        """Note what `.grad` of a tensor from outside was before; that there was none is a condition if it mattered."""
        self._trains = self._trains or event == "add"
        if id(tensor) in self._gradients or (id(tensor) in self._known and id(tensor) not in self._outside_ids):
            return
        self._gradients[id(tensor)] = _Gradient(tensor, tensor._grad)
        if event != "set":
            if id(tensor) in {id(t) for t, _ in self._arguments}:
                if tensor._grad is not None and event == "add":
                    self._bake("tensor", "an argument's gradient is added to, which the graph does not see")
                return
            self.condition(lambda: tensor._grad is None)

    def moves(self, tensor: Tensor, moved: Tensor) -> None:
        """What was made here and moves to where the graph runs is there already; nothing else moves."""
        while tensor._alias_of is not None:
            tensor = tensor._alias_of
        if id(tensor) not in self._known and tensor._view is None:
            return  # a tensor from outside, whose copy is one, too
        given = [t._array for t, _ in self._arguments] or [t._array for _, t in self._named.values()]
        here = place_of_arrays(given)
        if device_of(moved._array) is not here:
            raise TraceError(
                f"a tensor is moved to {device_of(moved._array)}, in a program that runs on {here}: "
                "programs run on one device",
                user_location(),
                hint="move the arguments before the call, or the results after it",
            )
        self._remember(moved, self.value_of(tensor))

    def keeps(self, tensor: Any) -> None:
        """State that begins with constants is outside from here on; calls change it like a parameter."""
        known = self._known.get(id(tensor))
        if known is None:
            return
        if known.value.instruction is None or known.value.instruction.op.name not in _FILLED:
            self._bake("state", "state that is computed in the trace is kept, but calls do not change it")
            return
        del self._known[id(tensor)]
        self._by_array.pop(id(tensor._array), None)

    def created(self, tensor: Any) -> None:
        """A tensor made from Python data inside the trace is a constant."""
        with self.builder.at(user_location()):
            self._remember(tensor, self.builder.constant(Array(host_copy(tensor._array))))

    def written(self, target: Tensor, value: Any) -> None:
        """A write becomes a new value of the memory's root; views of it are taken anew when they are used."""
        root = target._version_root()
        self._before.setdefault(id(root), (root, root._array.copy()))
        steps: list[ViewStep] = []
        node = target
        while node._view is not None:
            source, op, operands, attributes = node._view
            if op is None:
                raise RuntimeError("a view made outside the trace was written inside it; clone() it before the trace")
            steps.append((op, operands, attributes))
            node = source
        with self.builder.at(user_location()):
            update = self.value_of(value)
            if steps:
                with building(self.builder):
                    base = SymbolicTensor(self.builder, self.value_of(root))
                    symbolic_steps = [(op, self._symbolic(op, o), a) for op, o, a in reversed(steps)]
                    update = write_through(base, symbolic_steps, SymbolicTensor(self.builder, update)).value
        # The version is bumped after this call, once.
        self._known[id(root)] = _Known(root, update, root.version + 1)

    def _symbolic(self, op: Op, operands: tuple[Any, ...]) -> tuple[Any, ...]:
        """A view's further operands (sizes, indices) for a rule that builds."""
        return tuple(
            tuple(dim_of(v) if isinstance(v, int) else v for v in o)
            if isinstance(o, tuple)
            else dim_of(o)
            if isinstance(o, int)
            else o
            for o in operands
        )

    def tracked_shape(self, tensor: Tensor) -> tuple[int, ...]:
        """Sizes as ints that remember which argument's size they come from."""
        if id(tensor) not in self._known and tensor._view is None and tensor._alias_of is None:
            return tuple(tensor._array.shape)
        type = self.builder.resolve(self.value_of(tensor).type)
        assert isinstance(type, TensorType)
        return tuple(
            track(int(n), dim, self._size_baked) for n, dim in zip(tensor._array.shape, type.shape, strict=True)
        )

    def baked(self, what: str, tensor: Any) -> None:
        """Note that Python took a value out of a tensor."""
        if id(tensor) not in self._known and tensor._view is None and tensor._alias_of is None:
            return  # a tensor from outside that nothing here made: its value does not depend on the arguments
        source = self.value_of(tensor).instruction
        if source is not None and source.op.name == "constant":
            return
        kind = _ITEM_KINDS.get(what, what)
        if kind == "iteration":
            type = self.builder.resolve(self.value_of(tensor).type)
            if isinstance(type, TensorType) and isinstance(type.shape[0], int):
                return
        self._bake(kind, _BAKED_MESSAGES.get(kind, f"a tensor was turned into {kind}, which is recorded as it was"))

    def _size_baked(self, what: str, condition: tuple[Dim, Dim]) -> None:
        """Python took a value out of a size: other sizes that would give another value are traced again."""
        left, right = condition
        sizes = self.builder.sizes
        if sizes.hint(left) == sizes.hint(right) is not None:
            sizes.equal(left, right, f"when the trace was made, {left} was {right}")
        # Checks inside this package compare sizes too: those decide nothing that need be known.
        if what in _SIZE_MESSAGES and not sys._getframe(2).f_code.co_filename.startswith(_PACKAGE):
            self._bake("size", _SIZE_MESSAGES[what])

    def _bake(self, kind: str, message: str) -> None:
        entry = Baked(kind, message, user_location())
        if entry not in self.baked_entries:
            self.baked_entries.append(entry)

    def note(self, kind: str, message: str) -> None:
        """Add an entry to the list of what the trace fixed."""
        self._bake(kind, message)

    # -- the finished graph -------------------------------------------------------------------------------------------

    def finish(self, outputs: list[Any]) -> Recording:
        """End the graph with these outputs; tensors from outside that were only read become constants."""
        results = [self._result(o) for o in outputs]
        gradients: list[tuple[_Gradient, Value | None]] = []
        for gradient in self._gradients.values():
            now = gradient.tensor._grad
            if now is not gradient.before and not _is_same_memory(now, gradient.before):
                gradients.append((gradient, None if now is None else self.value_of(now)))
        replacement, kept, written = self._settle_outside()
        for position, (tensor, argument) in enumerate(self._arguments):
            if (current := self.value_of(tensor)) is not argument:
                written.insert(0, (position, tensor, current))
        graph = self.builder.graph
        for instruction in graph.walk():
            instruction.operands = [None if v is None else replacement.get(v, v) for v in instruction.operands]
        returned = [replacement.get(v, v) for v in results]
        for position, tensor, current in written:
            index = _output_index(outputs, tensor)
            if index is None:
                index = len(returned)
                returned.append(replacement.get(current, current))
            graph.writes.append((position, index))
        replaced: list[tuple[Tensor | int, int | None]] = []
        positions = {id(tensor): position for position, (tensor, _) in enumerate(self._arguments)}
        for gradient, value in gradients:
            target = positions.get(id(gradient.tensor), gradient.tensor)
            if value is None:
                replaced.append((target, None))
                continue
            value = replacement.get(value, value)
            if value not in returned:
                returned.append(value)
            replaced.append((target, returned.index(value)))
        graph.parameters = tuple(name for name, _ in kept)
        self.builder.return_(returned, len(results) if len(returned) > len(results) else None)
        return Recording(
            self.builder.finish(),
            {n: self._finder(t) for n, t in kept},
            self._conditions,
            replaced,
            self._trains,
            self.baked_entries,
        )

    def _finder(self, tensor: Tensor) -> Callable[[], Tensor]:
        """What finds a parameter at a call: an option is read, and a gradient asked for."""
        for own, read in self._options.values():
            if own is tensor:
                return _OptionReader(tensor, read)
        for gradient in self._gradients.values():
            if gradient.before is tensor:
                leaf = gradient.tensor
                return lambda: leaf._grad  # type: ignore[return-value]  # that it is there is a condition
        return lambda: tensor

    def _settle_outside(self) -> tuple[dict[Value, Value], list[tuple[str, Tensor]], list[tuple[int, Tensor, Value]]]:
        """Make each tensor from outside an argument or a constant.

        Returns what replaces its value in the graph, the named parameters, and what was written: argument position,
        tensor and new value.
        """
        graph = self.builder.graph
        replacement: dict[Value, Value] = {}
        kept: list[tuple[str, Tensor]] = []
        written: list[tuple[int, Tensor, Value]] = []
        for name, tensor, value, location in self._parameters:
            current = self.value_of(tensor)
            is_live = tensor.requires_grad or any(g.before is tensor for g in self._gradients.values())
            is_live = is_live or any(own is tensor for own, _ in self._options.values())
            if id(tensor) in self._named or current is not value or is_live:
                replacement[value] = graph.block.add_argument(value.type, name)
                kept.append((name, tensor))
                if current is not value:
                    written.append((len(graph.arguments) - 1, tensor, current))
                continue
            if tensor._array.size > 1 or location is not None:
                message = "a tensor from outside was recorded as a constant: changes to it are not seen"
                self.baked_entries.append(Baked("tensor", message, location))
            with self.builder.at(location):
                replacement[value] = self.builder.constant(Array(host_copy(tensor._array), value.name))
            graph.block.instructions.insert(0, graph.block.instructions.pop())
        return replacement, kept, written

    def restore(self) -> None:
        """Give every tensor that the trace wrote the elements it had before, and back its gradient."""
        for gradient in self._gradients.values():
            gradient.tensor._grad = gradient.before
        for tensor, array in self._before.values():
            tensor._array[...] = array
        self._before.clear()

    def _result(self, output: Any) -> Value:
        if isinstance(output, Tensor):
            return self.value_of(output)
        if isinstance(output, TrackedInt):
            return self.builder.dim(output.dim)
        return self.builder.constant(output)


class _OptionReader:
    """Reads an option at a call: a number is put into the tensor that the graph takes, a tensor is taken itself."""

    def __init__(self, tensor: Tensor, read: Callable[[], Any]) -> None:
        self.tensor = tensor
        self.read = read

    def __call__(self) -> Tensor:
        value = self.read()
        if isinstance(value, Tensor):
            return value
        self.tensor._array[...] = value
        return self.tensor


def _is_same_memory(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two tensors are names for the same elements, as a detached gradient is."""
    if a is None or b is None:
        return False
    x, y = a._array.__array_interface__, b._array.__array_interface__
    return all(x[part] == y[part] for part in ("data", "shape", "strides", "typestr"))


def _output_index(outputs: list[Any], tensor: Tensor) -> int | None:
    """Where among the outputs the tensor itself is, so that the call returns it and not a copy."""
    for index, output in enumerate(outputs):
        if isinstance(output, Tensor) and output._view is None and output._version_root() is tensor:
            return index
    return None
