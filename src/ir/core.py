"""The graph itself: values, instructions, blocks and graphs, as plain data.

A graph has one block; an instruction may hold further blocks (its regions), as `if` and `loop` do. Each block ends in a
`yield` (in a region) or `return` (in the graph). Nothing here checks meaning: `builder` infers types while it
builds, `verify` checks a finished graph.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .dims import Dim, DimExpr, Guard
from .location import Location
from .types import Type, substitute_type

if TYPE_CHECKING:
    from .ops._op import Op

__all__ = ["Array", "Block", "Graph", "Guard", "Instruction", "Value"]


class Value:
    """An SSA value: a type, and the instruction or block that defines it. Identity is what it is."""

    __slots__ = ("__weakref__", "block", "index", "instruction", "name", "type")

    def __init__(self, type: Type, name: str | None = None) -> None:
        self.type = type
        self.name = name
        self.instruction: Instruction | None = None
        self.block: Block | None = None  # set where the value is an argument of a block
        self.index = 0

    def __repr__(self) -> str:
        return f"%{self.name or '?'}: {self.type}"


class Array:
    """A constant tensor in a graph: its data, or only its digest where the data lives elsewhere (a weights file).

    Equal where dtype, shape and content are. `name` says where the data came from (`fc1.weight`).
    """

    __slots__ = ("_digest", "data", "dtype", "name", "shape")

    def __init__(
        self,
        data: np.ndarray[Any, Any] | None,
        name: str | None = None,
        *,
        digest: str | None = None,
        dtype: np.dtype[Any] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        if data is None and (digest is None or dtype is None or shape is None):
            raise ValueError("a constant without data needs its digest, dtype and shape")
        self.data = data
        self.name = name
        self._digest = digest
        self.dtype: np.dtype[Any] = dtype if data is None else data.dtype  # type: ignore[assignment]
        self.shape: tuple[int, ...] = shape if data is None else data.shape  # type: ignore[assignment]

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the elements in C order."""
        if self._digest is None:
            assert self.data is not None
            data: Any = np.ascontiguousarray(self.data).reshape(-1).view(np.uint8)
            self._digest = hashlib.sha256(data).hexdigest()[:16]
        return self._digest

    def require(self) -> np.ndarray[Any, Any]:
        """The data; ValueError where the graph was read from text without its weights."""
        if self.data is None:
            raise ValueError(
                f"the constant {self.name or self.digest!r} has no data: the graph was parsed from text; "
                "pass its arrays as parse(text, weights={name: array})"
            )
        return self.data

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Array)
            and self.dtype == other.dtype
            and self.shape == other.shape
            and self.digest == other.digest
        )

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape, self.digest))

    def __repr__(self) -> str:
        return f"Array({self.dtype}{list(self.shape)}, {self.name or self.digest})"


class Instruction:
    """One operation: operands (None where an optional one is absent), static attributes, regions, results, place."""

    __slots__ = ("attributes", "block", "location", "op", "operands", "regions", "results")

    def __init__(
        self,
        op: "Op",
        operands: list[Value | None],
        attributes: dict[str, Any],
        result_types: tuple[Type, ...],
        regions: "list[Block] | None" = None,
        location: Location | None = None,
    ) -> None:
        self.op = op
        self.operands = operands
        self.attributes = attributes
        self.regions = regions if regions is not None else []
        self.location = location
        self.block: Block | None = None
        self.results = [Value(t) for t in result_types]
        for index, result in enumerate(self.results):
            result.instruction, result.index = self, index
        for region in self.regions:
            region.parent = self

    @property
    def result(self) -> Value:
        """The only result."""
        (result,) = self.results
        return result

    @property
    def inputs(self) -> list[Value]:
        """The operands that are present."""
        return [v for v in self.operands if v is not None]

    def __repr__(self) -> str:
        return f"<{self.op.name} -> {', '.join(map(repr, self.results))}>"


class Block:
    """A straight line of instructions with arguments; its last instruction is its terminator."""

    __slots__ = ("arguments", "instructions", "parent")

    def __init__(self, argument_types: tuple[Type, ...] = (), names: tuple[str | None, ...] | None = None) -> None:
        self.arguments: list[Value] = []
        self.instructions: list[Instruction] = []
        self.parent: Instruction | None = None
        for i, t in enumerate(argument_types):
            self.add_argument(t, names[i] if names else None)

    def add_argument(self, type: Type, name: str | None = None) -> Value:
        value = Value(type, name)
        value.block, value.index = self, len(self.arguments)
        self.arguments.append(value)
        return value

    def append(self, instruction: Instruction) -> Instruction:
        instruction.block = self
        self.instructions.append(instruction)
        return instruction

    @property
    def terminator(self) -> Instruction:
        return self.instructions[-1]

    @property
    def body(self) -> list[Instruction]:
        """The instructions without the terminator."""
        return self.instructions[:-1]

    def walk(self) -> Iterator[Instruction]:
        """Every instruction here and in regions, each before its regions' own."""
        for instruction in list(self.instructions):
            yield instruction
            for region in instruction.regions:
                yield from region.walk()


@dataclass
class Graph:
    """A function: a name, one block, guards on sizes, and which results are written back into which arguments.

    `writes` holds pairs (argument index, result index): the argument is overwritten with that result after the call.
    Results past `outputs` (None: all) are only written back and not returned. `parameters` names the trailing
    arguments that the caller does not pass but the callable supplies (module parameters and buffers), in order.
    `examples` holds example values of the symbols in guards: at sizes where the guards hold, inference takes the same
    decisions again. `functions` are what `call` instructions call, by name: graphs with a name, arguments and a block
    only, which see no value and no dimension symbol but their own.
    """

    name: str
    block: Block = field(default_factory=Block)
    guards: list[Guard] = field(default_factory=list)
    writes: list[tuple[int, int]] = field(default_factory=list)
    outputs: int | None = None
    parameters: tuple[str, ...] = ()
    examples: dict[str, int] = field(default_factory=dict)
    functions: "dict[str, Graph]" = field(default_factory=dict)

    @property
    def arguments(self) -> list[Value]:
        return self.block.arguments

    @property
    def results(self) -> list[Value]:
        """The values that the graph returns, written-back ones included."""
        return self.block.terminator.inputs

    @property
    def parts(self) -> "list[Graph]":
        """The graph itself and its functions."""
        return [self, *self.functions.values()]

    def walk(self) -> Iterator[Instruction]:
        """Every instruction of the graph, without those of its functions."""
        return self.block.walk()

    def walk_all(self) -> Iterator[Instruction]:
        """Every instruction of the graph and of its functions."""
        for part in self.parts:
            yield from part.walk()

    def __str__(self) -> str:
        from .text import print_graph  # the printer needs this module

        return print_graph(self)

    def html(self, path: Any = None) -> str:
        """A self-contained HTML page with a drawing of the graph and its text, written to `path` if that is given."""
        from .drawing import graph_page

        return _written(graph_page(self.name, [self]), path)

    def dot(self, path: Any = None) -> str:
        """The graph in Graphviz's language, written to `path` if that is given."""
        from .drawing import dot

        return _written(dot(self), path)

    def mermaid(self, path: Any = None) -> str:
        """The graph as a Mermaid flowchart, written to `path` if that is given."""
        from .drawing import mermaid

        return _written(mermaid(self), path)

    def _repr_html_(self) -> str:
        from .drawing import STYLE, drawing

        return f'<style>{STYLE}</style><div class="drawing">{drawing(self)}</div>'

    def __eq__(self, other: object) -> bool:
        """Whether both graphs have the same text form (locations and value names apart)."""
        from .text import print_graph

        if not isinstance(other, Graph):
            return NotImplemented
        return print_graph(self, canonical=True) == print_graph(other, canonical=True)

    __hash__ = None  # type: ignore[assignment]


def _written(text: str, path: Any) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def substitute_attribute(value: Any, values: Mapping[str, Dim]) -> Any:
    """An attribute with dimension symbols replaced."""
    if isinstance(value, DimExpr):
        return value.evaluate(values)
    if isinstance(value, Type):
        return substitute_type(value, values)
    if isinstance(value, tuple):
        return tuple(substitute_attribute(v, values) for v in value)
    return value
