"""`ingot show`: a model's graphs and kernels, as text or as a page with a drawing."""

import argparse
from pathlib import Path

from ..ir.drawing import graph_page
from ..jit.archive_graphs import methods_of
from ..jit.archive_info import read_info
from .result import Result

__all__ = ["command"]


def command(options: argparse.Namespace) -> Result:
    """Print graphs, and kernels if asked for; nothing of the file is run."""
    info = read_info(options.model)
    callables = [info.function, *methods_of(info.function).values()]
    specialisations = [s for callable_ in callables for s in callable_.specialisations]
    graphs = [s.optimised if options.optimised else s.graph for s in specialisations]
    data = {"graphs": [str(graph) for graph in graphs]}
    parts = [text.rstrip() for text in data["graphs"]]
    if options.kernels:
        data["kernels"] = [info.source]
        parts.append(info.source.rstrip() or "the file has no generated kernels")
    if options.html:
        Path(options.html).write_text(graph_page(info.function.__name__, graphs, info.source), encoding="utf-8")
        data["written"] = [options.html]
        return Result(f"wrote {options.html}", data)
    return Result("\n\n".join(parts), data)
