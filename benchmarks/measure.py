"""Interleaved timing of the same work done by several candidates in one process, and the machine's limits."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

__all__ = ["compare", "require_same"]


def require_same(name: str, results: dict[str, Any], tolerance: float = 1e-4) -> None:
    """SystemExit where the candidates' results differ by more than the tolerance, relative to the largest value."""
    arrays = {who: np.asarray(result) for who, result in results.items()}
    (first, reference), *others = arrays.items()
    scale = max(float(np.abs(reference).max(initial=0.0)), 1e-30)
    for who, array in others:
        if array.shape != reference.shape or not np.allclose(array, reference, rtol=tolerance, atol=tolerance * scale):
            raise SystemExit(f"{name}: {who} and {first} disagree: nothing was measured")


def compare(
    candidates: dict[str, Callable[[], Any]], seconds: float = 1.0, rounds: int = 15, *, quietest: bool = False
) -> dict[str, float]:
    """Median microseconds of a call for each candidate, over rounds of each in turn.

    With `quietest`, the median of each one's best round: for a machine that others use too.

    The candidates alternate, so that a change of the machine's speed meets them all. Each round starts with calls that
    are not counted: threads of the previous candidate may still spin, and caches hold its data.
    """
    for function in candidates.values():
        for _ in range(3):
            function()
    slots: dict[str, list[float]] = {who: [] for who in candidates}
    share = seconds / rounds / len(candidates)
    for _ in range(rounds):
        for who, function in candidates.items():
            time.sleep(0.02)
            function()
            times: list[float] = []
            end = time.perf_counter() + share
            while not times or time.perf_counter() < end:
                start = time.perf_counter()
                function()
                times.append(time.perf_counter() - start)
            slots[who].append(median(times))
    choose = min if quietest else median
    return {who: choose(times) * 1e6 for who, times in slots.items()}
