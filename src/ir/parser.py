"""Text to graphs: recursive descent over tokens, in linear time, that refuses whatever is not a valid graph."""

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from .budget import spend
from .core import Array, Block, Graph, Guard, Instruction, Value
from .dtypes import DTYPES, DType, from_numpy
from .lexer import ParseError, Source, Token, unescape
from .location import Location
from .ops._op import Op, get_op
from .reader import MAX_NESTING, TokenReader
from .records import replace
from .types import TensorType, Type
from .verify import VerifyError, verify

__all__ = ["ParseError", "parse"]

_MAX_REGION_DEPTH = 100


def parse(
    text: str,
    weights: Mapping[str, "np.ndarray[Any, Any] | Array"] | None = None,
    *,
    file: str = "<graph>",
    check: bool = True,
) -> Graph:
    """The graph that a text describes; ParseError, with line and column, where it describes none.

    `weights` holds the arrays that the text refers to by name (or digest, where it gives no name); each must have the
    dtype, shape and digest that the text says. Without it such constants have no data. `check=False` leaves out
    `verify`, for texts that are wrong on purpose.

    >>> graph = parse("graph @double(%x: f32[n]) -> (f32[n]) { %y: f32[n] = add(%x, %x) return(%y) }")
    >>> parse(str(graph)) == graph
    True
    """
    source = Source(text, file)
    parser = _Parser(source, weights)
    graph = parser.graph()
    if check:
        try:
            verify(graph)
        except VerifyError as error:
            token = parser.places.get(error.instruction) if error.instruction is not None else parser.tokens[0]
            token = token or parser.tokens[0]
            raise source.error(error.message, token.offset, len(token.text), error.hint) from error
    parser.check_returns()
    return graph


class _Parser(TokenReader):
    def __init__(self, source: Source, weights: Mapping[str, "np.ndarray[Any, Any] | Array"] | None) -> None:
        super().__init__(source)
        self.weights = weights
        self.values: dict[str, Value] = {}  # in scope
        self.defined: set[str] = set()
        self.trail: list[str] = []  # the same in order, so that a scope can be left
        self.places: dict[Instruction, Token] = {}
        self.returns: list[tuple[Graph, Token, list[Type]]] = []

    # -- graph and instructions --------------------------------------------------------------------------------------

    def graph(self) -> Graph:
        self.expect("graph")
        graph = self.header()
        if self.accept("where"):
            self.expect("(")
            graph.guards = self.separated(self.guard, ")")
        if self.accept("example"):
            self.expect("(")
            graph.examples = dict(self.separated(self.example, ")"))
        if self.accept("writes"):
            self.expect("(")
            graph.writes = self.separated(self.write, ")")
        if self.accept("outputs"):
            graph.outputs = self.integer(0)
        if self.accept("parameters"):
            self.expect("(")
            graph.parameters = tuple(self.separated(self.string, ")"))
        self.body(graph)
        while self.accept("func"):
            place = self.tokens[self.position]
            self.values, self.defined, self.trail = {}, set(), []  # a function sees no values but its own
            function = self.header()
            if function.name in graph.functions:
                raise self.error(f"the function @{function.name} is defined twice", place)
            graph.functions[function.name] = function
            self.body(function)
        self.source_table()
        if self.tokens.kinds[self.position] != "end":
            raise self.error(f"expected the end of the text, found {self.peek()!r}")
        return graph

    def header(self) -> Graph:
        """The name, arguments and result types of a graph or function."""
        self.expect("@")
        graph = Graph(self.function_name())
        self.expect("(")
        self.separated(lambda: self.argument(graph.block), ")")
        self.expect("->")
        self.expect("(")
        start = self.tokens[self.position]
        self.returns.append((graph, start, self.separated(self.type, ")")))
        return graph

    def function_name(self) -> str:
        return self.string() if self.tokens.kinds[self.position] == "string" else self.take("name", "a name").text

    def body(self, graph: Graph) -> None:
        self.expect("{")
        self.block(graph.block, 0)
        if graph.block.terminator.op.name != "return":
            raise self.error("a graph must end in return", self.places[graph.block.terminator])

    def check_returns(self) -> None:
        """Compare the types in headers with those returned; after `verify`, whose errors are nearer to the cause."""
        for number, (graph, start, declared) in enumerate(self.returns):
            returned = [v.type for v in graph.results]
            if declared != returned:
                given, found = (f"({', '.join(map(str, types))})" for types in (declared, returned))
                what = f"function @{graph.name}" if number else "graph"
                raise self.error(f"the {what} is declared to return {given} and returns {found}", start)

    def argument(self, block: Block) -> None:
        spend()
        token, name = self.new_name()
        self.expect(":")
        self.define(token, block.add_argument(self.type(), name))

    def guard(self) -> Guard:
        left = self.dim()
        self.expect("==")
        right = self.dim()
        return Guard(left, right, self.string() if self.tokens.kinds[self.position] == "string" else "")

    def example(self) -> tuple[str, int]:
        name = self.take("name", "a dimension symbol").text
        self.expect("=")
        return name, self.integer(0, 1 << 63)

    def write(self) -> tuple[int, int]:
        value = self.operand()
        if value is None or value.block is None:
            raise self.error("expected an argument of the graph", self.tokens[self.position - 1])
        self.expect("=")
        return value.index, self.integer(0)

    def new_name(self) -> tuple[Token, str | None]:
        token = self.take("value", "a value such as %x")
        if token.text in self.defined:
            raise self.error(f"the value {token.text} is defined twice", token)
        self.defined.add(token.text)
        self.trail.append(token.text)
        return token, self.value_name(token)

    def value_name(self, token: Token) -> str | None:
        if token.text.startswith('%"'):
            try:
                return unescape(token.text[1:])
            except (ValueError, OverflowError) as error:
                raise self.error(str(error), token) from None
        return None if token.text[1:].isdigit() else token.text[1:]

    def define(self, token: Token, value: Value) -> None:
        self.values[token.text] = value

    def operand(self) -> Value | None:
        if self.accept("_"):
            return None
        token = self.take("value", "a value such as %x, or _")
        value = self.values.get(token.text)
        if value is None:
            if token.text in self.defined:
                raise self.error(f"the value {token.text} is not in scope here", token)
            near = difflib.get_close_matches(token.text, list(self.values)[-1000:], 3)
            raise self.error(
                f"the value {token.text} is not defined before this",
                token,
                f"near names: {', '.join(near)}" if near else None,
            )
        return value

    def block(self, block: Block, depth: int) -> None:
        """Instructions up to the closing brace, which is taken too."""
        if depth > _MAX_REGION_DEPTH:
            raise self.error(f"regions are nested deeper than {_MAX_REGION_DEPTH}")
        while not self.accept("}"):
            if block.instructions and block.instructions[-1].op.name in ("return", "yield"):
                raise self.error("an instruction after the end of the block")
            block.append(self.instruction(depth))
        if not block.instructions or block.instructions[-1].op.name not in ("return", "yield"):
            raise self.error("the block does not end in return or yield", self.tokens[self.position - 1])

    def instruction(self, depth: int) -> Instruction:
        spend()
        results: list[tuple[Token, str | None, Type]] = []
        if self.tokens.kinds[self.position] == "value":
            while True:
                token, name = self.new_name()
                self.expect(":")
                results.append((token, name, self.type()))
                if not self.accept(","):
                    break
            self.expect("=")
        place = self.take("name", "the name of an op")
        op = self.op(place)
        function = None
        if op.name == "call":
            self.expect("@")
            function = self.function_name()
        self.expect("(")
        operands = self.separated(self.operand, ")")
        attributes = self.attributes(op) if function is None else {"function": function}
        regions = self.regions(depth)
        location = self.location() if self.accept("loc") else None
        instruction = Instruction(op, operands, attributes, tuple(t for _, _, t in results), regions, location)
        self.places[instruction] = place
        for (token, name, _), value in zip(results, instruction.results, strict=True):
            value.name = name
            self.define(token, value)
        return instruction

    def op(self, token: Token) -> Op:
        try:
            return get_op(token.text)
        except KeyError as error:
            raise self.error(str(error.args[0]), token) from None

    def regions(self, depth: int) -> list[Block]:
        regions: list[Block] = []
        while self.peek() in ("(", "{") if not regions else self.accept("else"):
            region = Block()
            mark = len(self.trail)
            if self.accept("("):
                self.separated(lambda region=region: self.argument(region), ")")  # type: ignore[misc]
            self.expect("{")
            self.block(region, depth + 1)
            for name in self.trail[mark:]:
                self.values.pop(name, None)
            del self.trail[mark:]
            regions.append(region)
        return regions

    # -- attributes --------------------------------------------------------------------------------------------------

    def attributes(self, op: Op) -> dict[str, Any]:
        given: dict[str, Any] = {}
        parameters = {p.name: p for p in op.schema.attributes}
        # A brace begins attributes where a name and "=" follow, else a region.
        following = self.tokens[self.position + 1 : self.position + 3]
        if self.peek() == "{" and [following[0].kind, following[-1].text] == ["name", "="]:
            self.position += 1
            self.separated(lambda: self.attribute(op, parameters, given), "}")
        for name, parameter in parameters.items():
            if name not in given:
                if parameter.required:
                    raise self.error(f"{op.name}: the attribute {name!r} is missing", self.tokens[self.position - 1])
                given[name] = parameter.normalised
        return {name: given[name] for name in parameters}

    def attribute(self, op: Op, parameters: Mapping[str, Any], given: dict[str, Any]) -> None:
        token = self.take("name", "the name of an attribute")
        if token.text not in parameters:
            expected = ", ".join(parameters) or "none"
            raise self.error(f"{op.name}: there is no attribute {token.text!r}: expected {expected}", token)
        if token.text in given:
            raise self.error(f"{op.name}: the attribute {token.text!r} is given twice", token)
        self.expect("=")
        given[token.text] = self.attribute_value(0)

    def attribute_value(self, depth: int) -> Any:
        if depth > MAX_NESTING:
            raise self.error(f"attributes are nested deeper than {MAX_NESTING}")
        token = self.tokens[self.position]
        if token.kind == "string":
            return self.string()
        if token.kind == "number" or token.text in ("-", "inf", "nan"):
            return self.number()
        self.next()
        match token.text:
            case "None":
                return None
            case "True" | "False":
                return token.text == "True"
            case "...":
                return Ellipsis
            case "(":
                values = []
                while not self.accept(")"):
                    values.append(self.attribute_value(depth + 1))
                    if not self.accept(","):
                        self.expect(")")
                        break
                return tuple(values)
            case "slice":
                self.expect("(")
                parts = self.separated(lambda: self.attribute_value(depth + 1), ")")
                if len(parts) != 3:
                    raise self.error("slice takes start, stop and step", token)
                return slice(*parts)
            case "complex":
                return self.complex()
            case "dim":
                self.expect("<")
                dim = self.dim()
                self.expect(">")
                return dim
            case "type":
                self.expect("<")
                type = self.type()
                self.expect(">")
                return type
            case "dense":
                return self.dense()
            case "weight":
                return self.weight()
            case name if name in DTYPES:
                return DTYPES[name]
        raise self.error(f"expected an attribute's value, found {token.text or 'the end of the text'!r}", token)

    def number(self) -> int | float:
        sign = -1.0 if self.peek() == "-" else 1.0
        text = self.texts[self.position + 1] if sign < 0 and self.position + 1 < len(self.texts) else self.peek()
        if text.isdigit():
            return self.integer()
        self.position += sign < 0
        token = self.next()
        if token.text not in ("inf", "nan") and (token.kind != "number" or token.text.startswith("0x")):
            raise self.error(f"expected a number, found {token.text or 'the end of the text'!r}", token)
        return sign * float(token.text)

    def complex(self) -> complex:
        self.expect("(")
        real = self.number()
        self.expect(",")
        imaginary = self.number()
        self.expect(")")
        return complex(real, imaginary)

    def array_type(self) -> tuple[DType, tuple[int, ...], str | None]:
        self.expect("<")
        token = self.tokens[self.position]
        type = self.type()
        if not isinstance(type, TensorType) or not all(isinstance(d, int) for d in type.shape):
            raise self.error("expected the type of an array, such as f32[2, 3]", token)
        name = self.string() if self.tokens.kinds[self.position] == "string" else None
        return type.dtype, tuple(int(d) for d in type.shape if isinstance(d, int)), name

    def dense(self) -> Array:
        token = self.tokens[self.position - 1]
        dtype, shape, name = self.array_type()
        self.expect(":")
        elements: list[Any] = []
        while not self.accept(">"):
            elements.append(self.element(dtype))
        try:
            data = np.empty(len(elements), dtype.numpy)
            for index, element in enumerate(elements):
                data[index] = element
            return Array(data.reshape(shape), name)
        except (ValueError, OverflowError, TypeError) as error:
            raise self.error(f"{len(elements)} elements for {dtype.short}{list(shape)}: {error}", token) from None

    def element(self, dtype: DType) -> Any:
        token = self.tokens[self.position]
        if dtype.kind == "c":
            self.expect("complex")
            self.expect("(")
            part = DTYPES[f"f{dtype.itemsize * 4}"]
            value = np.zeros(2, part.numpy)
            value[0] = self.element(part)
            self.expect(",")
            value[1] = self.element(part)
            self.expect(")")
            return value.view(dtype.numpy)[0]
        if token.text in ("True", "False"):
            self.position += 1
            return token.text == "True"
        if token.text.startswith("0x") and dtype.kind == "f" and len(token.text) <= 2 + 2 * dtype.itemsize:
            self.position += 1
            return np.array(int(token.text, 16), f"u{dtype.itemsize}").view(dtype.numpy)[()]
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return dtype.numpy.type(self.number())
        return self.integer()

    def weight(self) -> Array:
        token = self.tokens[self.position - 1]
        dtype, shape, name = self.array_type()
        digest = self.take("digest", "a digest such as sha256:0123456789abcdef").text.removeprefix("sha256:")
        if len(digest) != 16:
            raise self.error(f"a digest has 16 digits, given {len(digest)}", token)
        self.expect(">")
        stated = Array(None, name, digest=digest, dtype=dtype.numpy, shape=shape)
        if self.weights is None:
            return stated
        key = name if name is not None else digest
        if key not in self.weights:
            raise self.error(f"the weight {key!r} is not among those given", token)
        given = self.weights[key]
        array = Array(given.data, name, digest=given.digest) if isinstance(given, Array) else Array(given, name)
        array = array if array.data is None or from_numpy(array.dtype).numpy == array.dtype else stated
        if array != stated:
            found = f"{array.dtype}{list(array.shape)} with digest {array.digest}"
            raise self.error(f"the weight {key!r} is {found}, expected {dtype.name}{list(shape)} with {digest}", token)
        return array

    # -- locations ---------------------------------------------------------------------------------------------------

    def location(self) -> Location:
        self.expect("(")
        file = self.string()
        self.expect(":")
        line = self.integer(0, 1 << 31)
        self.expect(":")
        column = self.integer(0, 1 << 31)
        end = self.integer(0, 1 << 31) if self.accept("-") else None
        function = ""
        if self.accept("in"):
            quoted = self.tokens.kinds[self.position] == "string"
            function = self.string() if quoted else self.take("name", "a function's name").text
        self.expect(")")
        # Without looking into a file whose name anybody may have written here.
        return Location(file, line, column, end, function, source="")

    def source_table(self) -> None:
        """The source lines after the graph, which are put into the locations of its instructions."""
        if not self.accept("source"):
            return
        self.expect("{")
        lines: dict[tuple[str, int], str] = {}
        while not self.accept("}"):
            file = self.string()
            self.expect(":")
            line = self.integer(0, 1 << 31)
            self.expect("=")
            lines[file, line] = self.string()
        for instruction in self.places:
            location = instruction.location
            if location is not None and (text := lines.get((location.file, location.line))) is not None:
                instruction.location = replace(location, source=text)
