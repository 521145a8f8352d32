"""Graphs as pages, DOT and Mermaid; and the page of `explain()`."""

from html.parser import HTMLParser
from pathlib import Path

import ingot
import pytest
from ingot import ir, jit

GRAPH = """graph @f(%x: f32[n], %c: bool) -> (f32[n]) {
  %1: f32[n] = if(%c) {
    %2: f32[n] = exp(%x)
    yield(%2)
  } else {
    yield(%x)
  }
  return(%1)
}
"""


class _Checker(HTMLParser):
    """Notes open elements and what would be loaded from elsewhere."""

    void = ("meta", "rect", "path", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        self.loaded += [v or "" for k, v in attributes if k in ("src", "href")]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(text: str) -> None:
    checker = _Checker()
    checker.feed(text)
    assert not checker.open and not checker.loaded
    assert "<script" not in text


def test_a_page_is_complete_and_loads_nothing(tmp_path: Path) -> None:
    graph = ir.parse(GRAPH)
    text = graph.html(tmp_path / "graph.html")
    assert (tmp_path / "graph.html").read_text(encoding="utf-8") == text
    check_page(text)
    assert "<svg" in text and ">if</text>" in text and "f32[n]" in text
    check_page(graph._repr_html_())


def test_dot_and_mermaid_have_every_node_and_edge(tmp_path: Path) -> None:
    graph = ir.parse(GRAPH)
    dot, flow = graph.dot(tmp_path / "g.dot"), graph.mermaid()
    assert (tmp_path / "g.dot").read_text(encoding="utf-8") == dot
    assert dot.count("->") == flow.count("-->") == 3  # x and c into the branch, the branch into the return
    assert dot.count("label=") == 4 and flow.startswith("flowchart TD")


def test_what_a_graph_is_called_cannot_break_out() -> None:
    builder = ir.Builder('a"b<script>')
    x = builder.argument('"]-->end', ir.TensorType(ir.dtypes.float32, (2,)))
    builder.return_([x])
    graph = builder.finish()
    check_page(graph.html())
    assert '\\"]' in graph.dot()
    assert graph.mermaid().count('"') == 4


def test_the_explanation_is_text_and_a_page(tmp_path: Path) -> None:
    function = jit.trace(lambda x: (x * 2 + 1).sum(), ingot.ones(4))
    assert "not called yet" not in function.explain()
    function(ingot.ones(3))
    found = function.explain()
    assert isinstance(found, str) and "kernel k_" in found
    text = found.html(tmp_path / "page.html")
    check_page(text)
    assert "After the passes" in text and "<table>" in text and "mul, add" in text
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == text == found._repr_html_()


def test_a_report_on_nothing() -> None:
    @jit.script
    def function(x: int) -> int:
        return x

    assert "not called yet" in function.explain()
    with pytest.raises(AttributeError):
        function.explain().missing  # noqa: B018
    check_page(function.explain().html())
