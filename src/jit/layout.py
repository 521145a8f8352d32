"""What a native program needs to know besides its code, as data and as JSON.

The JSON form travels in ingots and in the cache, beside the object file; constants travel as arrays and are named here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.dims import Dim, Guard, parse_dim
from ..ir.lexer import Source
from ..ir.location import Location
from ..ir.reader import TokenReader
from ..ir.records import record
from ..ir.types import Type
from .codegen.module import ArgumentSpec, Buffer, ErrorSite, GeneratedModule, ResultSpec

__all__ = ["Layout", "location_from_json", "location_to_json", "parse_type"]

# No generated driver comes near it; a file that asks for more is damaged.
MAX_SCRATCH_SLOTS = 1 << 20
_RESULT_KINDS = ("output", "argument", "runtime", "scalar", "constant", "list")


@record
class Layout:
    """A generated module without its sources: what is in its frame and its plan, and its errors."""

    name: str
    driver: str
    arguments: tuple[ArgumentSpec, ...]
    results: tuple[ResultSpec, ...]
    sizes: tuple[Dim, ...]
    buffers: tuple[Buffer, ...]
    constants: tuple[np.ndarray[Any, Any], ...]
    errors: tuple[ErrorSite, ...] = ()
    guards: tuple[Guard, ...] = ()
    scratch_slots: int = 64
    uses_arena: bool = False

    @classmethod
    def of(cls, module: GeneratedModule) -> "Layout":
        """The layout of a generated module."""
        return cls(
            module.name,
            module.driver,
            tuple(module.arguments),
            tuple(module.results),
            tuple(module.sizes),
            tuple(module.buffers),
            tuple(np.asarray(constant, order="C") for constant in module.constants),
            tuple(module.errors),
            tuple(module.guards or module.graph.guards),
            module.scratch_slots,
            module.uses_arena,
        )

    def to_json(self, constants: Sequence[str]) -> dict[str, Any]:
        """The layout as JSON data; `constants` are the names under which the constants are kept."""
        return {
            "name": self.name,
            "driver": self.driver,
            "arguments": [[a.name, str(a.type), a.written] for a in self.arguments],
            "results": [[str(r.type), r.kind, r.index] for r in self.results],
            "sizes": [str(dim) for dim in self.sizes],
            "buffers": [[str(b.nbytes), b.first, b.last, b.name] for b in self.buffers],
            "constants": list(constants),
            "errors": [[e.exception, e.message, location_to_json(e.location)] for e in self.errors],
            "guards": [[str(g.left), str(g.right), g.reason] for g in self.guards],
            "scratch_slots": self.scratch_slots,
            "uses_arena": self.uses_arena,
        }

    @classmethod
    def from_json(cls, data: Any, constants: Mapping[str, np.ndarray[Any, Any]]) -> "Layout":
        """The layout that JSON data describes; ValueError or a kind of it for anything else."""
        if not isinstance(data, dict):
            raise ValueError("a layout must be a JSON object")
        read = _Reader(data)
        names = read.items("constants", str)
        if absent := [name for name in names if name not in constants]:
            raise ValueError(f"the constant {absent[0]!r} is missing")
        layout = cls(
            read.value("name", str),
            read.value("driver", str),
            tuple(ArgumentSpec(*_row(row, str, parse_type, bool)) for row in read.items("arguments", list)),
            tuple(ResultSpec(*_row(row, parse_type, str, int)) for row in read.items("results", list)),
            tuple(parse_dim(text) for text in read.items("sizes", str)),
            tuple(Buffer(*_row(row, parse_dim, int, int, str)) for row in read.items("buffers", list)),
            tuple(np.asarray(constants[name], order="C") for name in names),
            tuple(ErrorSite(*_row(row, str, str, location_from_json)) for row in read.items("errors", list)),
            tuple(Guard(*_row(row, parse_dim, parse_dim, str)) for row in read.items("guards", list)),
            read.value("scratch_slots", int),
            read.value("uses_arena", bool),
        )
        if not 0 <= layout.scratch_slots <= MAX_SCRATCH_SLOTS:
            raise ValueError(f"{layout.scratch_slots} scratch slots are asked for")
        for result in layout.results:
            limit = {"argument": len(layout.arguments), "constant": len(names)}.get(result.kind, 1 << 30)
            if result.kind not in _RESULT_KINDS or not 0 <= result.index < limit:
                raise ValueError(f"a result is {result.kind!r} {result.index}")
        return layout


class _Reader:
    """Fields of a JSON object, by type."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def value(self, name: str, kind: type) -> Any:
        value = self.data.get(name)
        if type(value) is not kind:
            raise ValueError(f"{name!r} must be {kind.__name__}, given {str(value)[:50]!r}")
        return value

    def items(self, name: str, kind: type) -> list[Any]:
        items: list[Any] = self.value(name, list)
        for item in items:
            if type(item) is not kind:
                raise ValueError(f"{name!r} must hold {kind.__name__}, given {str(item)[:50]!r}")
        return items


def _row(row: list[Any], *kinds: Callable[[Any], Any]) -> list[Any]:
    """The fields of a row: plain types must match, other readers convert text."""
    if len(row) != len(kinds):
        raise ValueError(f"expected {len(kinds)} fields, given {str(row)[:80]}")
    fields = []
    for value, kind in zip(row, kinds, strict=True):
        if kind in (str, int, bool):
            if type(value) is not kind:
                raise ValueError(f"expected {kind.__name__}, given {str(value)[:50]!r}")
            fields.append(value)
        elif kind is location_from_json or isinstance(value, str):
            fields.append(kind(value))
        else:
            raise ValueError(f"expected text, given {str(value)[:50]!r}")
    return fields


def parse_type(text: str) -> Type:
    """The IR type that a text names, as `f32[n, 3]`; ParseError for anything else."""
    reader = TokenReader(Source(text, "<type>"))
    found = reader.type()
    if reader.tokens[reader.position].kind != "end":
        raise reader.error(f"expected the end of the type, found {reader.peek()!r}")
    return found


def location_to_json(location: Location | None) -> Any:
    """A location as JSON data."""
    if location is None:
        return None
    return [
        location.file, location.line, location.column, location.end_column, location.function, location.source_line()
    ]  # fmt: skip


def location_from_json(data: Any) -> Location | None:
    """The location that JSON data describes."""
    match data:
        case None:
            return None
        case [str(file), int(line), int(column), end, str(function), source] if (
            isinstance(end, (int, type(None))) and isinstance(source, (str, type(None))) and 0 < line < 1 << 30
        ):
            return Location(file, line, column, end, function, source or "")
    raise ValueError(f"not a location: {str(data)[:80]}")
