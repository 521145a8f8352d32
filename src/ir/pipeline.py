"""The order of passes, as a list that can be changed."""

import functools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .core import Graph
from .passes import (
    canonicalise,
    common_subexpression_elimination,
    constant_folding,
    dead_code_elimination,
    fold_batch_norm,
    fold_scale,
    hoist_products,
    if_to_select,
    inline_calls,
    loop_invariant_code_motion,
    merge_products,
    rematerialise,
    simplify,
    sink_views,
    unroll_loops,
)
from .rewrite import clone
from .verify import verify as check

__all__ = [
    "DEFAULT", "Pass", "Pipeline", "active_budget", "active_pipeline", "memory_budget", "run_pipeline", "use_pipeline",
]  # fmt: skip

Pass = tuple[str, Callable[[Graph], Graph]]


class Pipeline(list[Pass]):
    """Passes in their order, each with a name.

    >>> mine = ingot.ir.pipeline.DEFAULT.copy()
    >>> mine.remove("licm")
    >>> mine.insert_after("cse", "again", ingot.ir.passes.simplify)
    >>> with ingot.ir.pipeline.use_pipeline(mine):
    ...     double = ingot.jit.trace(lambda x: x + x, ingot.ones(3))
    ...     double(ingot.ones(2))
    tensor([2., 2.])
    """

    def copy(self) -> "Pipeline":
        """A pipeline of the same passes, to be changed."""
        return Pipeline(self)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self]

    def position(self, name: str) -> int:
        """Where the pass of this name is; ValueError where there is none."""
        if name not in self.names:
            raise ValueError(f"there is no pass {name!r}: expected one of {', '.join(self.names)}")
        return self.names.index(name)

    def insert_before(self, existing: str, name: str, function: Callable[[Graph], Graph]) -> None:
        """Put a pass in front of another one."""
        self._insert(self.position(existing), name, function)

    def insert_after(self, existing: str, name: str, function: Callable[[Graph], Graph]) -> None:
        """Put a pass behind another one."""
        self._insert(self.position(existing) + 1, name, function)

    def _insert(self, position: int, name: str, function: Callable[[Graph], Graph]) -> None:
        if name in self.names:
            raise ValueError(f"there is a pass {name!r} already: give this one a name of its own")
        self.insert(position, (name, function))

    def remove(self, name: str) -> None:  # type: ignore[override]
        """Take out the pass of this name."""
        del self[self.position(name)]

    def move(self, name: str, *, before: str | None = None, after: str | None = None) -> None:
        """Put a pass in front of another one, or behind it."""
        if (before is None) == (after is None):
            raise ValueError("move: say either before or after which pass")
        entry = self[self.position(name)]
        place = self.position(before or after or "")
        del self[self.position(name)]
        place -= place > self.position(before or after or "")
        super().insert(place if before is not None else place + 1, entry)


DEFAULT = Pipeline(
    [
        ("inline", inline_calls),
        ("canonicalise", canonicalise),
        ("simplify", simplify),
        ("fold", constant_folding),
        ("unroll", unroll_loops),
        ("select", if_to_select),
        ("fold batch norm", fold_batch_norm),
        ("fold scale", fold_scale),
        ("cse", common_subexpression_elimination),
        ("merge products", merge_products),
        ("licm", loop_invariant_code_motion),
        ("hoist products", hoist_products),
        ("sink views", sink_views),
        ("simplify again", simplify),  # branches and sizes that folding made known, views that met
        ("fold again", constant_folding),
        ("cse again", common_subexpression_elimination),
        ("dce", dead_code_elimination),
    ]
)
"""What every graph goes through before code is generated for it."""

_local = threading.local()


def active_pipeline() -> Pipeline:
    """The pipeline that graphs of this thread go through."""
    chosen: Pipeline | None = getattr(_local, "pipeline", None)
    return DEFAULT if chosen is None else chosen


@contextmanager
def use_pipeline(pipeline: Pipeline) -> Iterator[Pipeline]:
    """Let graphs that this thread compiles go through other passes than `DEFAULT`."""
    previous = active_pipeline()
    _local.pipeline = pipeline
    try:
        yield pipeline
    finally:
        _local.pipeline = previous


def active_budget() -> int | None:
    """The bytes of `memory_budget` in this thread; None outside of it."""
    return getattr(_local, "budget", None)


@contextmanager
def memory_budget(size: int | str) -> Iterator[int]:
    """Let graphs that this thread compiles need at most so many bytes for what they compute, where that can be had.

    Cheap values (elementwise operations, dropout's random words) are then computed again where they are used late
    instead of being kept, in training steps (`passes.rematerialise`) and between the two parts of a compiled gradient
    (`passes.recompute_residuals`). It counts for what is compiled inside: at the first call with new types.

    `size` is in bytes, or text as "64 MiB", "500 kB", "2GB". The context gives it in bytes. ValueError for another
    text or a negative size, TypeError for what is neither.

    >>> with ingot.jit.memory_budget("1 MiB") as size:
    ...     double = ingot.jit.trace(lambda x: x + x, ingot.ones(3))
    ...     double(ingot.ones(2)), size
    (tensor([2., 2.]), 1048576)
    """
    budget = _bytes(size)
    chosen = Pipeline(entry for entry in active_pipeline() if entry[0] != "rematerialise")
    chosen.append(("rematerialise", functools.partial(rematerialise, budget=budget)))
    previous = active_budget()
    _local.budget = budget
    try:
        with use_pipeline(chosen):
            yield budget
    finally:
        _local.budget = previous


_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


def _bytes(size: int | str) -> int:
    expected = 'expected a number of bytes, or text such as "64 MiB"'
    if isinstance(size, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*((?:[kmg]i?)?)b?\s*", size.lower())
        if found is None:
            raise ValueError(f"memory_budget: given {size!r}, {expected}")
        return int(float(found[1]) * _UNITS[found[2]])
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"memory_budget: given {size!r}, {expected}")
    if size < 0:
        raise ValueError(f"memory_budget: given {size}, {expected}")
    return size


def run_pipeline(
    graph: Graph,
    upto: str | None = None,
    passes: Sequence[Pass] | None = None,
    *,
    verify: bool = False,
    on_pass: Callable[[str, Graph], None] | None = None,
) -> Graph:
    """The graph after the passes in their order (default: those in use), or up to and including the one named `upto`.

    The given graph is not changed. With `verify`, each pass's result is checked, and an error names the pass. `on_pass`
    is called with each pass's name and result. INGOT_LOG=passes prints, on standard error, how long each took and the
    graph that it left, where it changed it.

    Raises ValueError where no pass is named `upto`.
    """
    chosen = Pipeline(active_pipeline() if passes is None else passes)
    if upto is not None:
        chosen = Pipeline(chosen[: chosen.position(upto) + 1])
    is_logged = "passes" in os.environ.get("INGOT_LOG", "").split(",")
    text = str(graph) if is_logged else ""
    for name, function in chosen:
        start = time.perf_counter()
        graph = _apply(function, graph)
        if is_logged:
            milliseconds = (time.perf_counter() - start) * 1e3
            text = _log(graph, name, milliseconds, text)
        if verify:
            check(graph, after=name)
        if on_pass is not None:
            on_pass(name, graph)
    return graph


def _apply(function: Callable[[Graph], Graph], graph: Graph) -> Graph:
    """A pass applied to a graph and then to each of the functions that it left."""
    changed = function(graph)
    if changed.functions:
        changed = changed if changed is not graph else clone(graph)
        changed.functions = {name: function(inner) for name, inner in changed.functions.items()}
    return changed


def _log(graph: Graph, name: str, milliseconds: float, before: str) -> str:
    """Print what a pass left; its text."""
    text = str(graph)
    count = sum(1 for _ in graph.walk_all())
    what = f"{count} instructions" if text != before else "nothing changed"
    print(f"ingot: {graph.name}: {name}: {milliseconds:.1f} ms, {what}", file=sys.stderr)
    if text != before:
        print(text, file=sys.stderr)
    return text
