"""A graph as an HTML page: a drawing in layers, its text, and the kernels. The page loads nothing from elsewhere."""

from collections.abc import Iterator, Sequence
from html import escape

from ..ir.core import Block, Graph, Instruction, Value

__all__ = ["graph_page"]

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 190, 40, 24, 36, 20
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }
pre { background: #f6f6f6; padding: 1em; overflow-x: auto; }
.drawing { overflow: auto; max-height: 80vh; border: 1px solid #ddd; }
rect { fill: #eef3fb; stroke: #5577aa; } rect.end { fill: #f0f0f0; stroke: #888; } rect.control { fill: #fdf1e3; }
text { font: 12px system-ui, sans-serif; text-anchor: middle; } text.type { font-size: 10px; fill: #666; }
path { fill: none; stroke: #999; }
"""


def graph_page(title: str, graphs: Sequence[Graph], kernels: str) -> str:
    """The page for some graphs and the kernels generated from them."""
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head>',
        f"<body><h1>{escape(title)}</h1>",
    ]
    for graph in graphs:
        parts.append(f'<h2>{escape(graph.name)}</h2><div class="drawing">{_drawing(graph)}</div>')
        parts.append(f"<details open><summary>Text</summary><pre>{escape(str(graph))}</pre></details>")
    if kernels:
        parts.append(f"<details><summary>Kernels</summary><pre>{escape(kernels)}</pre></details>")
    return "\n".join([*parts, "</body></html>", ""])


def _drawing(graph: Graph) -> str:
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
    for node in layers:
        if isinstance(node, Instruction):
            for value in dict.fromkeys(_node(v) for v in _uses(node)):
                if value in places:
                    items.append(_edge(places[value], places[node]))
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
    if isinstance(node, Value):
        name, kind, style = node.name or "argument", str(node.type), "end"
    else:
        name = node.op.name
        kind = ", ".join(str(result.type) for result in node.results)
        style = "control" if node.regions else "end" if name == "return" else "op"
    centre = x + _WIDTH // 2
    return (
        f'<g><title>{escape(name)}: {escape(kind)}</title><rect class="{style}" x="{x}" y="{y}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="6"/><text x="{centre}" y="{y + 17}">{escape(_short(name, 26))}</text>'
        f'<text class="type" x="{centre}" y="{y + 32}">{escape(_short(kind, 32))}</text></g>'
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
