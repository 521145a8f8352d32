"""Reads tokens, sizes and types: the part of the graph text that needs no graph."""

from collections.abc import Callable
from typing import Any

from .dims import Dim, parse_dim_tokens
from .dtypes import DTYPES
from .lexer import ParseError, Source, Token, tokenize, unescape
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
)

__all__ = ["MAX_NESTING", "TokenReader"]

MAX_NESTING = 40
"""How deep types, and tuples in attributes, may be nested."""
_MAX_RANK = 64
_MAX_ELEMENTS = 1 << 56

_SIMPLE_TYPES: dict[str, Type] = {
    "bool": BoolType(), "float": FloatType(), "complex": ComplexType(), "str": StrType(), "None": NoneType()
}  # fmt: skip


class TokenReader:
    """A position in the tokens of a source, and what can be read there."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens = tokenize(source)
        self.texts = self.tokens.texts
        self.position = 0
        self.tensor_types: dict[tuple[str, ...], TensorType] = {}

    def error(self, message: str, token: Token | None = None, hint: str | None = None) -> ParseError:
        token = token or self.tokens[self.position]
        return self.source.error(message, token.offset, len(token.text), hint)

    def peek(self) -> str:
        return self.texts[self.position]

    def next(self) -> Token:
        token = self.tokens[self.position]
        if token.kind != "end":
            self.position += 1
        return token

    def accept(self, text: str) -> bool:
        if self.texts[self.position] == text:
            self.position += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected {text!r}, found {self.peek() or 'the end of the text'!r}")

    def take(self, kind: str, what: str) -> Token:
        token = self.tokens[self.position]
        if token.kind != kind:
            raise self.error(f"expected {what}, found {token.text or 'the end of the text'!r}")
        self.position += 1
        return token

    def separated(self, item: Callable[[], Any], end: str) -> list[Any]:
        """Items with commas between them, up to `end`."""
        items: list[Any] = []
        if self.accept(end):
            return items
        while True:
            items.append(item())
            if self.accept(end):
                return items
            self.expect(",")

    def string(self) -> str:
        token = self.take("string", "a string")
        try:
            return unescape(token.text)
        except (ValueError, OverflowError) as error:
            raise self.error(str(error), token) from None

    def integer(self, low: int = -(1 << 63), high: int = 1 << 64) -> int:
        start = self.tokens[self.position]
        negative = self.accept("-")
        token = self.take("number", "an integer")
        if not token.text.isdigit():
            raise self.error(f"expected an integer, found {token.text!r}", token)
        value = int(token.text) if len(token.text) <= 20 else high
        value = -value if negative else value
        if not low <= value < high:
            raise self.error(f"the integer is not in [{low}, {high})", start)
        return value

    def dim(self) -> Dim:
        start = self.position
        try:
            dim, self.position = parse_dim_tokens(self.texts, start)
        except ValueError as error:
            raise self.error(str(error), self.tokens[start]) from None
        return dim

    def type(self, depth: int = 0) -> Type:
        if depth > MAX_NESTING:
            raise self.error(f"types are nested deeper than {MAX_NESTING}")
        token = self.take("name", "a type")
        if token.text in DTYPES and self.peek() == "[":
            return self.tensor_type(token)
        if token.text == "int":
            if not self.accept("<"):
                return IntType()
            value = self.dim()
            self.expect(">")
            return IntType(value)
        if token.text in _SIMPLE_TYPES:
            return _SIMPLE_TYPES[token.text]
        if token.text in ("Optional", "List", "Tuple", "Dict", "Set", "Record"):
            self.expect("[")
            return self.container_type(token, depth + 1)
        hint = f"a tensor's type has its sizes: {token.text}[]" if token.text in DTYPES else None
        raise self.error(f"there is no type {token.text!r}", token, hint)

    def tensor_type(self, token: Token) -> TensorType:
        # The same few types occur again and again, and sizes have no brackets in them.
        start = self.position - 1
        ahead = self.texts[start : start + 40]
        key = tuple(ahead[: ahead.index("]") + 1]) if "]" in ahead else None
        known = self.tensor_types.get(key) if key is not None else None
        if known is None:
            known = self.plain_tensor_type(token)
            if key is not None:
                self.tensor_types[key] = known
        else:
            self.position = start + len(key or ())
        if not self.accept("@"):
            return known
        device = self.take("name", "a device such as cuda:0").text
        if self.accept(":"):
            device += f":{self.integer(0, 1 << 16)}"
        return TensorType(known.dtype, known.shape, device)

    def plain_tensor_type(self, token: Token) -> TensorType:
        self.expect("[")
        shape = tuple(self.separated(self.dim, "]"))
        elements = 1
        for dim in shape:
            if isinstance(dim, int):
                if dim < 0:
                    raise self.error(f"a tensor has a negative size: {dim}", token)
                elements *= max(dim, 1)
        if len(shape) > _MAX_RANK or elements > _MAX_ELEMENTS:
            raise self.error("the tensor is too large: more than 64 dimensions or 2**56 elements", token)
        return TensorType(DTYPES[token.text], shape)

    def container_type(self, token: Token, depth: int) -> Type:
        if token.text == "Tuple":
            return TupleType(tuple(self.separated(lambda: self.type(depth), "]")))
        if token.text == "Record":
            quoted = self.tokens[self.position].kind == "string"
            name = self.string() if quoted else self.take("name", "the record's name").text
            fields: list[tuple[str, Type]] = []
            while self.accept(","):
                field = self.take("name", "a field's name").text
                self.expect(":")
                fields.append((field, self.type(depth)))
            self.expect("]")
            return RecordType(name, tuple(fields))
        element = self.type(depth)
        if token.text == "Dict":
            self.expect(",")
            element, key = self.type(depth), element
            self.expect("]")
            return DictType(key, element)
        self.expect("]")
        kinds: dict[str, type[OptionalType] | type[ListType] | type[SetType]] = {
            "Optional": OptionalType,
            "Set": SetType,
        }
        return kinds.get(token.text, ListType)(element)
