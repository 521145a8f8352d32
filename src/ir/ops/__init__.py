"""The op families; importing this package defines every op."""

from . import (
    control,
    conv,
    conv_derived,
    create,
    einsum,
    elementwise,
    gather,
    joining,
    matmul,
    pool,
    random,
    reduce,
    scan,
    shape,
    slicing,
    statistics,
)

__all__ = [
    "control",
    "conv",
    "conv_derived",
    "create",
    "einsum",
    "elementwise",
    "gather",
    "joining",
    "matmul",
    "pool",
    "random",
    "reduce",
    "scan",
    "shape",
    "slicing",
    "statistics",
]
