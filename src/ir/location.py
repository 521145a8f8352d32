"""Where a value came from in the user's program, and the one renderer of located errors."""

import linecache

from .records import field, record

__all__ = ["LocatedError", "Location", "printable", "render_error"]


@record
class Location:
    """A place in source text: 1-based line, 0-based columns; `source` is the line's text where it is at hand.

    An empty `source` says that the line is not known, as in text from elsewhere: the file is not looked into then.
    """

    file: str
    line: int
    column: int = 0
    end_column: int | None = None
    function: str = ""
    source: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        # One line of text, whatever the file is called: it goes into comments of generated code.
        return f"{printable(self.file)}:{self.line}:{self.column + 1}"

    def source_line(self) -> str | None:
        """The text of the line, from the location itself or the file; None where neither has it."""
        text = linecache.getline(self.file, self.line).rstrip("\n") if self.source is None else self.source
        return text or None


def printable(text: str) -> str:
    r"""The text with line breaks, control characters and the like as escapes.

    >>> print(printable("model\n.py"))
    model\n.py
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def render_error(
    message: str, location: Location | None, chain: tuple[Location, ...] = (), hint: str | None = None
) -> str:
    """A message with its place: `file:line:col`, the source line, a caret, the calls that led there, and a hint.

    >>> print(render_error("no such name: y", Location("model.py", 3, 11, source="    return y")))
    model.py:3:12: no such name: y
        return y
               ^
    """
    lines = [f"{location}: {message}" if location else message]
    if location is not None and (text := location.source_line()) is not None:
        indent = len(text) - len(text.lstrip())
        shown = text.strip()
        start = max(location.column - indent, 0)
        end = location.end_column - indent if location.end_column is not None else start + 1
        width = max(min(end, len(shown)) - start, 1)
        lines += [f"    {shown}", f"    {' ' * start}{'^' * width}"]
    for call in chain:
        where = f" in {call.function}" if call.function else ""
        lines.append(f"  called from {call}{where}")
        if (text := call.source_line()) is not None:
            lines.append(f"    {text.strip()}")
    if hint:
        lines.append(f"  hint: {hint}")
    return "\n".join(lines)


class LocatedError(Exception):
    """An error with a place in the user's program; its text is rendered once, by `render_error`."""

    def __init__(
        self,
        message: str,
        location: Location | None = None,
        *,
        chain: tuple[Location, ...] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(render_error(message, location, chain, hint))
        self.message = message
        self.location = location
        self.chain = chain
        self.hint = hint

    def __str__(self) -> str:
        # That of KeyError, from which some of these errors also come, shows a string quoted.
        return str(self.args[0])
