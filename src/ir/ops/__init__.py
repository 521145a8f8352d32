"""The op families; importing this package defines every op."""

from . import (
    control,
    create,
    einsum,
    elementwise,
    gather,
    joining,
    matmul,
    random,
    reduce,
    scan,
    shape,
    slicing,
    statistics,
)

__all__ = [
    "control",
    "create",
    "einsum",
    "elementwise",
    "gather",
    "joining",
    "matmul",
    "random",
    "reduce",
    "scan",
    "shape",
    "slicing",
    "statistics",
]
