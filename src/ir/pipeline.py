"""The order of passes, as one list."""

import os
import sys
import time
from collections.abc import Callable, Sequence

from .core import Graph
from .passes import (
    common_subexpression_elimination,
    constant_folding,
    dead_code_elimination,
    fold_batch_norm,
    loop_invariant_code_motion,
    simplify,
)
from .verify import verify as check

__all__ = ["DEFAULT", "Pass", "run_pipeline"]

Pass = tuple[str, Callable[[Graph], Graph]]

DEFAULT: list[Pass] = [
    ("simplify", simplify),
    ("fold", constant_folding),
    ("fold batch norm", fold_batch_norm),
    ("cse", common_subexpression_elimination),
    ("licm", loop_invariant_code_motion),
    ("simplify again", simplify),  # branches and sizes that folding made known
    ("fold again", constant_folding),
    ("cse again", common_subexpression_elimination),
    ("dce", dead_code_elimination),
]
"""What every graph goes through before code is generated for it."""


def run_pipeline(
    graph: Graph,
    upto: str | None = None,
    passes: Sequence[Pass] | None = None,
    *,
    verify: bool = False,
    on_pass: Callable[[str, Graph], None] | None = None,
) -> Graph:
    """The graph after the passes in their order (default: `DEFAULT`), or up to and including the one named `upto`.

    The given graph is not changed. With `verify`, each pass's result is checked, and an error names the pass. `on_pass`
    is called with each pass's name and result. INGOT_LOG=passes prints how long each took and what it left.

    Raises ValueError where no pass is named `upto`.
    """
    chosen = list(DEFAULT if passes is None else passes)
    if upto is not None:
        names = [name for name, _ in chosen]
        if upto not in names:
            raise ValueError(f"there is no pass {upto!r}: expected one of {', '.join(names)}")
        chosen = chosen[: names.index(upto) + 1]
    is_logged = "passes" in os.environ.get("INGOT_LOG", "").split(",")
    for name, function in chosen:
        start = time.perf_counter()
        graph = function(graph)
        if is_logged:
            count = sum(1 for _ in graph.walk())
            milliseconds = (time.perf_counter() - start) * 1e3
            print(f"ingot: {graph.name}: {name}: {milliseconds:.1f} ms, {count} instructions", file=sys.stderr)
        if verify:
            check(graph, after=name)
        if on_pass is not None:
            on_pass(name, graph)
    return graph
