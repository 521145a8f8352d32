"""The op families; importing this package defines every op."""

from . import control, create, elementwise, joining, random, reduce, scan, shape, slicing, statistics

__all__ = [
    "control", "create", "elementwise", "joining", "random", "reduce", "scan", "shape", "slicing", "statistics",
]  # fmt: skip
