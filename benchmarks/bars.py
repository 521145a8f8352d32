"""The bars of the benchmark: which of them a workload misses, by how much, and what is known about why."""

import math
from collections.abc import Iterable
from typing import Any

__all__ = ["best_peer", "missed_bars", "misses", "summary"]

# No workload slower than the best peer; some are asked to be ahead of ONNX Runtime by more (by the start of the name).
AHEAD_OF_ONNXRUNTIME = {"resnet-18": 1.3, "mlp 784-256-128-10, batch 1": 1.5}
# Of the machine's measured limit, where a workload is compared with one.
OF_LIMIT = 0.9
# Cold compile: at most this many times as long as a peer's.
COMPILE = {"inductor": 1.0, "jax": 3.0}
COMPILE_REASON = (
    "Each workload begins with an empty cache, so each pays for the kernels that all products or convolutions share "
    "and that peers have in their libraries; every kernel is optimised by LLVM in full."
)
_UNITS = {"compute": "multiply-adds", "read": "reading", "copy": "copying", "add": "reading two and writing one"}


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm; 1 for nothing."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / max(1, len(logs)))


def best_peer(row: dict[str, Any]) -> tuple[str, float] | None:
    """The fastest peer of a row and how many times as long as Ingot it takes."""
    others = {who: t for who, t in row["times"].items() if who != "ingot"}
    if not others:
        return None
    who = min(others, key=lambda name: others[name])
    return who, others[who] / row["times"]["ingot"]


def missed_bars(row: dict[str, Any]) -> dict[str, str]:
    """For each kind of bar that a row misses, the number."""
    found: dict[str, str] = {}
    best = best_peer(row)
    if best is not None and best[1] < 1:
        found["peer"] = f"{best[1]:.2f}x of {best[0]}"
    onnxruntime = row["times"].get("onnxruntime")
    for name, bar in AHEAD_OF_ONNXRUNTIME.items():
        asked = row["name"] == name or row["name"].startswith(f"{name},")
        if asked and onnxruntime is not None and onnxruntime < bar * row["times"]["ingot"]:
            found["onnxruntime"] = f"{onnxruntime / row['times']['ingot']:.2f}x of onnxruntime, bar {bar}x"
    if row["share"] is not None and row["share"] < OF_LIMIT:
        found["limit"] = f"{row['share']:.0%} of the limit of {_UNITS[row['kind']]}"
    ours = row["compile"].get("ingot")
    slower = [
        f"{ours:.2f} s, {who} {row['compile'][who]:.2f} s"
        for who, most in COMPILE.items()
        if ours is not None and ours > most * row["compile"].get(who, math.inf)
    ]
    if slower:
        found["compile"] = "cold compile " + "; ".join(slower)
    return found


def misses(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each bar that is missed: the workload, the number, the reason that is kept beside the workload."""
    speed, compiling = [], []
    for row in rows:
        for bar, number in missed_bars(row).items():
            reason = row.get("reasons", {}).get(bar, "")
            line = f"{row['name']}: {number}" + (f": {reason}" if reason else "")
            (compiling if bar == "compile" else speed).append(line)
    return [*speed, COMPILE_REASON, *compiling] if compiling else speed


def summary(rows: list[dict[str, Any]]) -> str:
    """The geometric means, and how many workloads are ahead."""
    best = [b[1] for row in rows if (b := best_peer(row)) is not None]
    eager = [row["times"]["torch"] / row["times"]["ingot"] for row in rows if "torch" in row["times"]]
    ahead = sum(b >= 1 for b in best)
    return (
        f"geometric means: {geometric_mean(best):.2f}x the best peer, {geometric_mean(eager):.2f}x PyTorch eager; "
        f"{ahead} of {len(best)} workloads are ahead of every peer"
    )
