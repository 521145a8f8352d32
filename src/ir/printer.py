"""Graphs to text: the form that `parser` reads back, and the canonical form by which graphs are compared."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .core import Array, Block, Graph, Instruction, Value, substitute_attribute
from .dims import Dim, DimExpr, substitute, symbol
from .dtypes import DType, from_numpy
from .lexer import escape
from .location import Location
from .types import Type, substitute_type, type_dims

__all__ = ["format_attribute", "graph_dims", "print_graph", "same_attribute"]

SYMBOL = "symbol"
"""An attribute of this name holds the name of the dimension symbol that the instruction introduces (`bind_dim`)."""
DENSE_LIMIT = 16
"""Constants of up to so many elements are printed in full, larger ones by name and digest."""

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_PLAIN_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def print_graph(graph: Graph, *, locations: bool = False, canonical: bool = False) -> str:
    """The text of a graph; `parse` gives an equal graph back.

    With `locations`, each instruction ends in its place in the user's program, and a table of those source lines
    follows, so that errors can quote them where the files are not. With `canonical`, names of values, constants and
    dimension symbols are replaced by numbers in order of appearance.
    """
    printer = _Printer(locations and not canonical, _canonical_symbols(graph) if canonical else None)
    return printer.graph(graph)


class _Printer:
    def __init__(self, locations: bool, renaming: Mapping[str, Dim] | None) -> None:
        self.locations = locations
        self.canonical = renaming is not None
        self.renaming: Mapping[str, Dim] = renaming or {}
        self.names: dict[Value, str] = {}
        self.taken: dict[str, int] = {}
        self.unnamed = 0
        self.lines: list[str] = []
        self.sources: dict[tuple[str, int], str] = {}

    def graph(self, graph: Graph) -> str:
        self.function(graph, "graph")
        for function in graph.functions.values():
            self.names, self.taken, self.unnamed = {}, {}, 0
            self.function(function, "func")
        if self.sources:
            self.lines.append("source {")
            for (file, line), text in self.sources.items():
                self.lines.append(f"  {escape(file)}:{line} = {escape(text)}")
            self.lines.append("}")
        return "\n".join(self.lines)

    def function(self, graph: Graph, keyword: str) -> None:
        arguments = ", ".join(self.argument(a) for a in graph.arguments)
        instructions = graph.block.instructions
        results = instructions[-1].inputs if instructions and instructions[-1].op.name == "return" else []
        types = ", ".join(self.type(r.type) for r in results)
        header = f"{keyword} @{_function_name(graph.name)}({arguments}) -> ({types})"
        if graph.guards:
            header += f" where ({', '.join(map(self.guard, graph.guards))})"
        if graph.examples and not self.canonical:
            header += f" example ({', '.join(f'{name} = {size}' for name, size in graph.examples.items())})"
        if graph.writes:
            pairs = (f"{self.name(graph.arguments[argument])} = {result}" for argument, result in graph.writes)
            header += f" writes ({', '.join(pairs)})"
        if graph.outputs is not None:
            header += f" outputs {graph.outputs}"
        if graph.parameters:
            header += f" parameters ({', '.join(map(escape, graph.parameters))})"
        self.lines.append(header + " {")
        self.block(graph.block, "  ")
        self.lines.append("}")

    def guard(self, guard: Any) -> str:
        text = f"{self.dim(guard.left)} == {self.dim(guard.right)}"
        return f"{text} {escape(guard.reason)}" if guard.reason else text

    def dim(self, dim: Dim) -> str:
        return str(substitute(dim, self.renaming) if self.renaming else dim)

    def type(self, type: Type) -> str:
        return str(substitute_type(type, self.renaming) if self.renaming else type)

    def name(self, value: Value) -> str:
        if (known := self.names.get(value)) is not None:
            return known
        wanted = None if self.canonical or not value.name or value.name.isdigit() else value.name
        if wanted is None:
            chosen = str(self.unnamed)
            self.unnamed += 1
        else:
            chosen, count = wanted, self.taken.get(wanted, 0)
            while count and (chosen := f"{wanted}.{count}") in self.taken:
                count += 1
            self.taken[wanted] = count + 1
            self.taken.setdefault(chosen, 1)
        text = f"%{chosen}" if wanted is None or _PLAIN_NAME.fullmatch(chosen) else f"%{escape(chosen)}"
        self.names[value] = text
        return text

    def argument(self, value: Value) -> str:
        return f"{self.name(value)}: {self.type(value.type)}"

    def block(self, block: Block, indent: str) -> None:
        for instruction in block.instructions:
            self.instruction(instruction, indent)

    def instruction(self, instruction: Instruction, indent: str) -> None:
        operands = ", ".join("_" if v is None else self.name(v) for v in instruction.operands)
        results = ", ".join(self.argument(r) for r in instruction.results)
        op = instruction.op.name
        if op == "call":
            op = f"call @{_function_name(instruction.attributes['function'])}"
        text = f"{indent}{results}{' = ' if results else ''}{op}({operands})"
        if attributes := self.attributes(instruction):
            text += f" {{{', '.join(attributes)}}}"
        for index, region in enumerate(instruction.regions):
            text += " else" if index else ""
            if region.arguments:
                text += f" ({', '.join(self.argument(a) for a in region.arguments)})"
            self.lines.append(f"{text} {{")
            self.block(region, indent + "  ")
            text = f"{indent}}}"
        if self.locations and instruction.location is not None:
            text += f" {self.location(instruction.location)}"
        self.lines.append(text)

    def attributes(self, instruction: Instruction) -> list[str]:
        defaults = {p.name: p.normalised for p in instruction.op.schema.attributes if not p.required}
        shown: list[str] = []
        for name, value in instruction.attributes.items() if instruction.op.name != "call" else ():
            if name in defaults and same_attribute(defaults[name], value):
                continue
            if self.renaming:
                value = substitute_attribute(value, self.renaming)
                if name == SYMBOL:
                    value = str(self.renaming.get(value, value))
            shown.append(f"{name}={format_attribute(value, names=not self.canonical)}")
        return sorted(shown) if self.canonical else shown

    def location(self, location: Location) -> str:
        if (source := location.source_line()) is not None:
            self.sources.setdefault((location.file, location.line), source)
        text = f"loc({escape(location.file)}:{location.line}:{location.column}"
        if location.end_column is not None:
            text += f"-{location.end_column}"
        if location.function:
            plain = _PLAIN_FUNCTION.fullmatch(location.function)
            text += f" in {location.function if plain else escape(location.function)}"
        return text + ")"


def _function_name(name: str) -> str:
    return name if _PLAIN_FUNCTION.fullmatch(name) else escape(name)


def same_attribute(a: Any, b: Any) -> bool:
    """Whether two attribute values are the same, in type too: 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same_attribute, a, b))
    if isinstance(a, (float, complex)):
        return repr(a) == repr(b)
    return bool(a == b)


def format_attribute(value: Any, *, names: bool = True) -> str:
    """The text of an attribute; TypeError for a value that the text form does not have."""
    match value:
        case None | bool():
            return str(value)
        case int():
            return str(int(value))
        case float():
            return repr(float(value))
        case complex():
            return f"complex({value.real!r}, {value.imag!r})"
        case str():
            return escape(value)
        case DType():
            return value.short
        case DimExpr():
            return f"dim<{value}>"
        case Type():
            return f"type<{value}>"
        case tuple() | list():
            parts = [format_attribute(v, names=names) for v in value]
            return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
        case slice():
            parts = [format_attribute(v) for v in (value.start, value.stop, value.step)]
            return f"slice({', '.join(parts)})"
        case Array():
            return _format_array(value, names)
        case np.generic():
            return format_attribute(value.item(), names=names)
    if value is Ellipsis:
        return "..."
    raise TypeError(f"an attribute of type {type(value).__name__} has no text form: {value!r}")


def _format_array(array: Array, names: bool) -> str:
    dtype = from_numpy(array.dtype)
    head = f"{dtype.short}[{', '.join(map(str, array.shape))}]"
    if names and array.name is not None:
        head += f" {escape(array.name)}"
    if array.data is None or array.data.size > DENSE_LIMIT:
        return f"weight<{head} sha256:{array.digest}>"
    elements = np.asarray(array.data, dtype.numpy).ravel()
    return f"dense<{head}:{''.join(f' {_format_element(e)}' for e in elements)}>"


def _format_element(element: Any) -> str:
    """A number that reads back to the same bits; hexadecimal bits where decimal digits cannot say them (-nan)."""
    if element.dtype.kind == "c":
        return f"complex({_format_element(element.real)}, {_format_element(element.imag)})"
    if element.dtype.kind not in "fV":
        return str(element.item())
    # The shortest digits for this width: read back through float64, they could round twice, so that is tried.
    for text in (str(element), repr(float(element))):
        if element.dtype.type(float(text)).tobytes() == element.tobytes():
            return text
    return hex(int(element.view(_BITS[element.dtype.itemsize])))


def _canonical_symbols(graph: Graph) -> dict[str, Dim]:
    """New names for the dimension symbols that depend on their places only.

    A symbol that stands alone somewhere is numbered where it first does. The rest are told apart by the expressions
    that they occur in, with all other such symbols masked.
    """
    order: dict[str, None] = {}
    compound: list[DimExpr] = []
    for dim in graph_dims(graph):
        if dim.is_symbol():
            order.update(dict.fromkeys(dim.symbols()))
        else:
            compound.append(dim)
    rest = sorted({name for dim in compound for name in dim.symbols()} - order.keys())
    if rest:
        known: dict[str, Dim] = {name: symbol(f"s{i}") for i, name in enumerate(order)}
        masked: dict[str, Dim] = known | {name: symbol("other") for name in rest}
        involved = {name: [d for d in compound if name in d.symbols()] for name in rest}
        signature = {name: [str(d.evaluate(masked | {name: symbol("self")})) for d in involved[name]] for name in rest}
        first = {name: next(i for i, d in enumerate(compound) if name in d.symbols()) for name in rest}
        order.update(dict.fromkeys(sorted(rest, key=lambda name: (first[name], signature[name], name))))
    return {name: symbol(f"s{i}") for i, name in enumerate(order)}


def graph_dims(graph: Graph) -> Iterator[DimExpr]:
    """Every size expression of a graph in the order of its text."""
    for value in (a for part in graph.parts for a in part.arguments):
        yield from type_dims(value.type)
    for guard in graph.guards:
        yield from (d for d in (guard.left, guard.right) if isinstance(d, DimExpr))
    for instruction in graph.walk_all():
        for result in instruction.results:
            yield from type_dims(result.type)
        for name, value in instruction.attributes.items():
            if name == SYMBOL:
                yield symbol(value)
            else:
                yield from _attribute_dims(value)
        for region in instruction.regions:
            for argument in region.arguments:
                yield from type_dims(argument.type)


def _attribute_dims(value: Any) -> Iterator[DimExpr]:
    if isinstance(value, DimExpr):
        yield value
    elif isinstance(value, Type):
        yield from type_dims(value)
    elif isinstance(value, tuple):
        for element in value:
            yield from _attribute_dims(element)
