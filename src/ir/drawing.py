"""Graphs as drawings: an SVG in layers, an HTML page that loads nothing from elsewhere, and DOT and Mermaid text."""

from collections.abc import Iterator, Sequence
from html import escape

from .core import Block, Graph, Instruction, Value

__all__ = ["STYLE", "dot", "drawing", "graph_page", "mermaid", "page"]

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 190, 40, 24, 36, 20
STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }
pre { background: #f6f6f6; padding: 1em; overflow-x: auto; }
table { border-collapse: collapse; } td, th { border: 1px solid #ddd; padding: 3px 8px; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.drawing { overflow: auto; max-height: 80vh; border: 1px solid #ddd; }
rect { fill: #eef3fb; stroke: #5577aa; } rect.end { fill: #f0f0f0; stroke: #888; } rect.control { fill: #fdf1e3; }
text { font: 12px system-ui, sans-serif; text-anchor: middle; } text.type { font-size: 10px; fill: #666; }
path { fill: none; stroke: #999; }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A self-contained page of HTML parts."""
    head = f'<head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style></head>'
    return "\n".join(
        ["<!doctype html>", f'<html lang="en">{head}', f"<body><h1>{escape(title)}</h1>", *parts, "</body></html>", ""]
    )


def graph_page(title: str, graphs: Sequence[Graph], kernels: str = "") -> str:
    """The page for some graphs and the kernels generated from them."""
    parts = []
    for graph in graphs:
        for part in graph.parts:
            parts.append(f'<h2>{escape(part.name)}</h2><div class="drawing">{drawing(part)}</div>')
        parts.append(f"<details open><summary>Text</summary><pre>{escape(str(graph))}</pre></details>")
    if kernels:
        parts.append(f"<details><summary>Kernels</summary><pre>{escape(kernels)}</pre></details>")
    return page(title, parts)


def _edges(graph: Graph) -> Iterator[tuple[Instruction | Value, Instruction]]:
    """What is used, and the instruction of the graph's block that uses it, itself or in its regions."""
    own = {*graph.arguments, *graph.block.instructions}
    for instruction in graph.block.instructions:
        for node in dict.fromkeys(_node(v) for v in _uses(instruction)):
            if node in own:
                yield node, instruction


def _names(graph: Graph) -> dict[Instruction | Value, str]:
    nodes: list[Instruction | Value] = [*graph.arguments, *graph.block.instructions]
    return {node: f"n{i}" for i, node in enumerate(nodes)}


def _label(node: Instruction | Value) -> tuple[str, str]:
    if isinstance(node, Value):
        return node.name or "argument", str(node.type)
    name = f"call @{node.attributes['function']}" if node.op.name == "call" else node.op.name
    return name, ", ".join(str(result.type) for result in node.results)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def dot(graph: Graph) -> str:
    """The graph in Graphviz's language; regions count as the instruction that has them."""
    names = _names(graph)
    lines = [f'digraph "{_quoted(graph.name)}" {{', "  node [shape=box];"]
    for node, name in names.items():
        shape = ", style=dashed" if isinstance(node, Value) else ", style=bold" if node.regions else ""
        lines.append(f'  {name} [label="{_quoted(_label(node)[0])}\\n{_quoted(_label(node)[1])}"{shape}];')
    lines += [f"  {names[start]} -> {names[end]};" for start, end in _edges(graph)]
    return "\n".join([*lines, "}", ""])


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart."""
    names = _names(graph)
    lines = ["flowchart TD"]
    for node, name in names.items():
        # Mermaid reads entities of its own in quoted labels.
        label, kind = (text.replace("#", "#35;").replace('"', "#quot;") for text in _label(node))
        label, kind = (text.replace("<", "#lt;").replace(">", "#gt;") for text in (label, kind))
        left, right = ("([", "])") if isinstance(node, Value) else ("{{", "}}") if node.regions else ("[", "]")
        lines.append(f'  {name}{left}"{label}<br/>{kind}"{right}')
    lines += [f"  {names[start]} --> {names[end]}" for start, end in _edges(graph)]
    return "\n".join([*lines, ""])


def drawing(graph: Graph) -> str:
    """An SVG: every node one layer below the lowest of those that it uses."""
    layers: dict[Instruction | Value, int] = {argument: 0 for argument in graph.arguments}
    for instruction in graph.block.instructions:
        layers[instruction] = 1 + max((layers[_node(v)] for v in _uses(instruction) if _node(v) in layers), default=-1)
    rows: dict[int, list[Instruction | Value]] = {}
    for node, layer in layers.items():
        rows.setdefault(layer, []).append(node)
    places = {
        node: (_MARGIN + column * (_WIDTH + _GAP_X), _MARGIN + layer * (_HEIGHT + _GAP_Y))
        for layer, nodes in rows.items()
        for column, node in enumerate(nodes)
    }
    width = max((x for x, _ in places.values()), default=0) + _WIDTH + _MARGIN
    height = max((y for _, y in places.values()), default=0) + _HEIGHT + _MARGIN
    items = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">']
    items += [_edge(places[start], places[end]) for start, end in _edges(graph)]
    items += [_box(node, *places[node]) for node in layers]
    return "\n".join([*items, "</svg>"])


def _node(value: Value) -> Instruction | Value:
    return value if value.instruction is None else value.instruction


def _uses(instruction: Instruction) -> Iterator[Value]:
    """The operands of an instruction and of what is in its regions."""
    yield from instruction.inputs
    for region in instruction.regions:
        yield from _region_uses(region)


def _region_uses(block: Block) -> Iterator[Value]:
    for instruction in block.instructions:
        yield from _uses(instruction)


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + _WIDTH // 2, start[1] + _HEIGHT
    x2, y2 = end[0] + _WIDTH // 2, end[1]
    middle = (y1 + y2) // 2
    return f'<path d="M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}"/>'


def _box(node: Instruction | Value, x: int, y: int) -> str:
    name, kind = _label(node)
    style = "end" if isinstance(node, Value) or name == "return" else "control" if node.regions else "op"
    centre = x + _WIDTH // 2
    return (
        f'<g><title>{escape(name)}: {escape(kind)}</title><rect class="{style}" x="{x}" y="{y}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="6"/><text x="{centre}" y="{y + 17}">{escape(_short(name, 26))}</text>'
        f'<text class="type" x="{centre}" y="{y + 32}">{escape(_short(kind, 32))}</text></g>'
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
