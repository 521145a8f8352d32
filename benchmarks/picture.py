"""The table of `make bench` as a picture: how much faster Ingot is than each peer, with the columns beside it."""

import json
import math
import sys
from html import escape
from pathlib import Path
from typing import Any

from .bars import best_peer, missed_bars

__all__ = ["picture"]

_COLOURS = {
    "torch": "#ee4c2c", "torchscript": "#f59e6c", "inductor": "#8b5cf6", "onnxruntime": "#5b6472", "jax": "#2f9e63",
}  # fmt: skip
_ROW, _LEFT, _PLOT = 22, 290, 560
# Ratios are drawn on a logarithmic scale between these.
_LOW, _HIGH = 0.5, 64.0
# Columns on the right, by the place of their right edges: the best peer, share of the machine's limit, seconds of cold
# compiling.
_COLUMNS = (
    ("best peer", 58), ("of limit", 122), ("ingot", 190), ("inductor", 246), ("jax", 290),
)  # fmt: skip
_GOOD, _MISSED = "#222", "#b3261e"


def _x(ratio: float) -> float:
    place = math.log(min(max(ratio, _LOW), _HIGH) / _LOW) / math.log(_HIGH / _LOW)
    return _LEFT + place * _PLOT


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = _GOOD, weight: str = "") -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{fill}"{bold}>{escape(text)}</text>'


def _columns(row: dict[str, Any], y: float) -> list[str]:
    """The figures right of a row; what misses its bar is red."""
    cold = row["compile"]
    best = best_peer(row)
    missed = missed_bars(row)
    cells = [f"{best[1]:.2f}x" if best is not None else ""]
    cells.append(f"{row['share']:.0%}" if row["share"] is not None else "")
    cells += [f"{cold[who]:.1f}" if who in cold else "" for who in ("ingot", "inductor", "jax")]
    bars = ("peer", "limit", "compile", "", "")
    right = _LEFT + _PLOT
    return [
        _text(right + edge, y, cell, "end", _MISSED if bar in missed else _GOOD, "600" if bar == "peer" else "")
        for cell, bar, (_, edge) in zip(cells, bars, _COLUMNS, strict=True)
    ]


def picture(record: dict[str, Any]) -> str:
    """An SVG of the record that `python -m benchmarks --json` writes."""
    rows = record["workloads"]
    height = 100 + _ROW * len(rows)
    width = _LEFT + _PLOT + _COLUMNS[-1][1] + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="12" y="22" font-size="15" font-weight="600">How many times as long each peer takes</text>',
        _text(12, 40, record["machine"]["text"], fill="#666"),
        _text(_LEFT + _PLOT + _COLUMNS[-1][1], 46, "cold compile, seconds", "end", "#666"),
    ]
    parts += [_text(_LEFT + _PLOT + edge, 64, name, "end", "#666") for name, edge in _COLUMNS]
    x = float(_LEFT)
    for name in record["peers"]:
        parts.append(f'<circle cx="{x}" cy="60" r="5" fill="{_COLOURS[name]}"/>')
        parts.append(_text(x + 10, 64, name))
        x += 22 + 7.2 * len(name)
    bottom = 78 + _ROW * len(rows)
    for tick in (0.5, 1, 2, 4, 8, 16, 32, 64):
        stroke = "#222" if tick == 1 else "#ddd"
        parts.append(f'<line x1="{_x(tick):.1f}" y1="74" x2="{_x(tick):.1f}" y2="{bottom}" stroke="{stroke}"/>')
        parts.append(_text(_x(tick), bottom + 14, f"{tick:g}x", "middle", "#666"))
    for number, row in enumerate(rows):
        y = 78 + _ROW * number + _ROW / 2
        ratios = {who: t / row["times"]["ingot"] for who, t in row["times"].items() if who != "ingot"}
        best = min(ratios.values(), default=1.0)
        parts.append(_text(_LEFT - 12, y + 4, row["name"], "end"))
        colour = "#dbeafe" if best >= 1 else "#fde2e2"
        left, right = sorted((_x(1), _x(best)))
        parts.append(f'<rect x="{left:.1f}" y="{y - 7}" width="{right - left:.1f}" height="14" fill="{colour}"/>')
        for who, ratio in ratios.items():
            parts.append(f'<circle cx="{_x(ratio):.1f}" cy="{y}" r="4" fill="{_COLOURS[who]}" fill-opacity="0.85"/>')
        parts += _columns(row, y + 4)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    target.write_text(picture(json.loads(source.read_text())))
