"""Ops without a kernel of their own on devices, by why they have none; run, it writes ops_without_kernels.txt."""

import warnings
from pathlib import Path

import ingot
from device_cases import real_kernels
from ingot.ir.ops._op import Op, all_ops
from ingot.jit.codegen.cuda.by_design import reason
from lowering_cases import case_of

__all__ = ["FILE", "OPS", "listing", "recorded"]

FILE = Path(__file__).parent / "ops_without_kernels.txt"
OPS = [op for op in all_ops() if op.evaluate is not None and tuple(op.samples()) and "." not in op.name]
_HEAD = "# Ops without a kernel of their own on devices, and why. Written by tests/cuda/kernel_coverage.py.\n"


def listing(ops: list[Op]) -> str:
    """Ops by reason."""
    by_reason: dict[str, list[str]] = {}
    for op in ops:
        by_reason.setdefault(reason(op) or "MISSING", []).append(op.name)
    parts = [f"\n# {why}\n" + "\n".join(sorted(names)) + "\n" for why, names in sorted(by_reason.items())]
    return "".join([_HEAD, *parts])


def recorded() -> frozenset[str]:
    """The names in the file."""
    return frozenset(line for line in FILE.read_text().splitlines() if line and not line.startswith("#"))


def _has_kernel(op: Op) -> bool:
    return any(real_kernels(case_of(op, sample, symbolic=False).graph) for sample in op.samples())


if __name__ == "__main__":
    with ingot.cuda.simulate(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FILE.write_text(listing([op for op in OPS if not _has_kernel(op)]))
