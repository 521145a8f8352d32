"""The text form of graphs, which round-trips: `parse(print_graph(g)) == g`. The grammar is in docs/ir.md."""

from .lexer import ParseError
from .parser import parse
from .printer import print_graph

__all__ = ["ParseError", "parse", "print_graph"]
