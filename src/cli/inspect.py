"""`ingot inspect`: what is in a model's file."""

import argparse
from typing import Any

from ..jit.archive_info import read_info
from .result import Result
from .units import size_text

__all__ = ["command"]

_MOST_WEIGHTS = 12


def command(options: argparse.Namespace) -> Result:
    """Describe a file."""
    data = read_info(options.model).data
    return Result("\n".join(_lines(data)), data)


def _lines(data: dict[str, Any]) -> list[str]:
    lines = [
        f"{data['name']}{data['signature'] or ''}",
        f"  file       {data['file']}, {size_text(data['bytes'])}, format {data['format']}, made by {data['producer']}",
    ]
    if data["training"]:
        lines.append("  mode       training")
    for graph in data["graphs"]:
        label = graph["method"]
        arguments = ", ".join(f"{a['name']}: {a['type']}" for a in graph["arguments"])
        lines.append(f"  graph      {label}({arguments}) -> ({', '.join(graph['results'])})")
        lines += [f"             where {condition}" for condition in graph["conditions"]]
    weights = data["weights"]
    lines.append(f"  weights    {len(weights)} arrays, {size_text(sum(w['bytes'] for w in weights))}")
    for weight in weights[:_MOST_WEIGHTS]:
        lines.append(f"             {weight['name'].removeprefix('parameter:')}: {weight['dtype']}{weight['shape']}")
    if len(weights) > _MOST_WEIGHTS:
        lines.append(f"             and {len(weights) - _MOST_WEIGHTS} more")
    if not data["machine_code"]:
        lines.append("  code       none: it is compiled at the first call")
    for code in data["machine_code"]:
        lines.append(f"  code       {code['target']}, {size_text(code['bytes'])}: {_verdict(code)}")
    for name, value in data["metadata"].items():
        lines.append(f"  metadata   {name}: {value}")
    lines += [f"  extra      {name}" for name in data["extra_files"]]
    return lines


def _verdict(code: dict[str, Any]) -> str:
    if not code["runs_here"]:
        return f"not for this machine, which lacks {', '.join(code['missing_features'][:5])}"
    if code["signed_by_you"]:
        return "compiled by you, used"
    return "compiled by somebody else, not used unless you pass trust=True"
