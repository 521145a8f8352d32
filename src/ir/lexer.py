"""Tokens of the graph text, and the error that its reader raises."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, overload

from .budget import spend
from .location import LocatedError, Location

__all__ = ["ParseError", "Source", "Token", "Tokens", "escape", "tokenize", "unescape"]


class ParseError(LocatedError):
    """The text is not a valid graph; the message shows the line and column."""


class Token(NamedTuple):
    """A piece of text: its kind ("name", "value", "number", "string", "digest", "mark", "end") and where it starts."""

    kind: str
    text: str
    offset: int


class Source:
    """The text being read, for locations in it."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]

    def location(self, offset: int, length: int = 1) -> Location:
        """The place of `length` characters at an offset."""
        line = bisect_right(self._starts, offset) - 1
        start = self._starts[line]
        end = self._starts[line + 1] - 1 if line + 1 < len(self._starts) else len(self.text)
        column = offset - start
        return Location(self.file, line + 1, column, column + length, source=self.text[start:end])

    def error(self, message: str, offset: int, length: int = 1, hint: str | None = None) -> ParseError:
        """The error of that message at an offset."""
        return ParseError(message, self.location(offset, length), hint=hint)


_TOKENS = re.compile(
    r"""
    (?P<space>(?:[ \t\r\n]|\#[^\n]*)+)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<value>%(?:[A-Za-z0-9_.]+|"(?:[^"\\\n]|\\.)*"))
  | (?P<digest>sha256:[0-9a-f]+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
  | (?P<number>0x[0-9a-f]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
  | (?P<mark>->|==|//|\.\.\.|[-+*%/(){}\[\]<>:,=@])
    """,
    re.VERBOSE,
)


class Tokens(Sequence[Token]):
    """The tokens of a text, in lists that take a third of the memory of as many objects."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.offsets = array("Q")

    def add(self, kind: str, text: str, offset: int) -> None:
        """Append a token."""
        self.kinds.append(kind)
        self.texts.append(text)
        self.offsets.append(offset)

    def __len__(self) -> int:
        return len(self.kinds)

    @overload
    def __getitem__(self, index: int) -> Token: ...
    @overload
    def __getitem__(self, index: slice) -> list[Token]: ...
    def __getitem__(self, index: int | slice) -> Token | list[Token]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Token(self.kinds[index], self.texts[index], self.offsets[index])


# How many tokens are read between two looks at the clock.
_TOKENS_PER_CHECK = 4096


def tokenize(source: Source) -> Tokens:
    """Every token of the text, and one of kind "end"."""
    text, position = source.text, 0
    tokens = Tokens()
    add = tokens.add
    for found in _TOKENS.finditer(text):
        if found.start() != position:
            break
        position = found.end()
        kind = found.lastgroup
        if kind != "space":
            add(kind, found[0], found.start())  # type: ignore[arg-type]  # every branch has a name
            if not len(tokens.kinds) % _TOKENS_PER_CHECK:
                spend()
    if position != len(text):
        what = "a string without its end" if text[position] == '"' else f"unexpected {text[position]!r}"
        raise source.error(what, position)
    add("end", "", len(text))
    return tokens


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_UNESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)


def _escape_character(character: str) -> str:
    if (short := _ESCAPES.get(character)) is not None:
        return short
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape(text: str) -> str:
    """A string in double quotes, on one line, whatever it holds (lone surrogates too)."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escape_character(c) for c in text) + '"'


def unescape(text: str) -> str:
    """The string that `escape` wrote; ValueError for an unknown escape."""
    body = text[1:-1]
    if "\\" not in body:
        return body

    def replace(match: re.Match[str]) -> str:
        if (digits := match[1] or match[2] or match[3]) is not None:
            return chr(int(digits, 16))
        if match[4] not in _UNESCAPES:
            raise ValueError(f"unknown escape \\{match[4]} in a string")
        return _UNESCAPES[match[4]]

    return _ESCAPE.sub(replace, body)
