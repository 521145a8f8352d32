"""The table of `make bench` as a picture: bars of how much faster Ingot is than each peer, as SVG."""

import json
import math
import sys
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["picture"]

_COLOURS = {
    "torch": "#ee4c2c", "torchscript": "#f59e6c", "inductor": "#8b5cf6", "onnxruntime": "#5b6472", "jax": "#2f9e63",
}  # fmt: skip
_ROW, _LEFT, _PLOT = 22, 290, 560
# Ratios are drawn on a logarithmic scale between these.
_LOW, _HIGH = 0.5, 64.0


def _x(ratio: float) -> float:
    place = math.log(min(max(ratio, _LOW), _HIGH) / _LOW) / math.log(_HIGH / _LOW)
    return _LEFT + place * _PLOT


def picture(record: dict[str, Any]) -> str:
    """An SVG of the record that `python -m benchmarks --json` writes."""
    rows = record["workloads"]
    height = 92 + _ROW * len(rows)
    width = _LEFT + _PLOT + 90
    machine = record["machine"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="12" y="22" font-size="15" font-weight="600">How many times as long each peer takes</text>',
        f'<text x="12" y="40" fill="#666">{escape(machine["text"])}</text>',
    ]
    x = float(_LEFT)
    for name in record["peers"]:
        parts.append(f'<circle cx="{x}" cy="56" r="5" fill="{_COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 10}" y="60">{escape(name)}</text>')
        x += 22 + 7.2 * len(name)
    bottom = 74 + _ROW * len(rows)
    for tick in (0.5, 1, 2, 4, 8, 16, 32, 64):
        stroke = "#222" if tick == 1 else "#ddd"
        parts.append(f'<line x1="{_x(tick)}" y1="70" x2="{_x(tick)}" y2="{bottom}" stroke="{stroke}"/>')
        parts.append(f'<text x="{_x(tick)}" y="{bottom + 14}" text-anchor="middle" fill="#666">{tick:g}x</text>')
    for number, row in enumerate(rows):
        y = 74 + _ROW * number + _ROW / 2
        ratios = {who: t / row["times"]["ingot"] for who, t in row["times"].items() if who != "ingot"}
        best = min(ratios.values(), default=1.0)
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(row["name"])}</text>')
        colour = "#dbeafe" if best >= 1 else "#fde2e2"
        left, right = sorted((_x(1), _x(best)))
        parts.append(f'<rect x="{left}" y="{y - 7}" width="{right - left}" height="14" fill="{colour}"/>')
        for who, ratio in ratios.items():
            parts.append(f'<circle cx="{_x(ratio):.1f}" cy="{y}" r="4" fill="{_COLOURS[who]}" fill-opacity="0.85"/>')
        parts.append(f'<text x="{_LEFT + _PLOT + 14}" y="{y + 4}" font-weight="600">{best:.2f}x</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    target.write_text(picture(json.loads(source.read_text())))
