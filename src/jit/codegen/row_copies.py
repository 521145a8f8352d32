"""Copies of the rows of a matrix's last columns into a panel, with zeros beside them: masked vectors, no calls."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .dots import Vectors
from .external import lower
from .microkernel_llvm import I64

__all__ = ["has_masks", "row_copies"]

_PARAMETERS = ("source", "source_step", "target", "target_step", "rows", "columns")


def has_masks(dtype: str, lanes: int) -> bool:
    """Whether CPUs with vectors of so many lanes load vectors under a mask: AVX and later do."""
    return lanes * (4 if dtype == "f32" else 8) >= 32


@cache
def row_copies(dtype: str, lanes: int) -> Callable[..., None]:
    """The function `(source, source_step, target, target_step, rows, columns)` for vectors of so many lanes.

    It copies `columns` elements of each row and fills the row of the target, which is `target_step` long, with zeros.
    Addresses, and steps in bytes; `target_step` is a multiple of a vector.
    """
    size = 4 if dtype == "f32" else 8

    def copy_rows(source: int, source_step: int, target: int, target_step: int, rows: int, columns: int) -> None:
        for r in range(rows):
            row = np.zeros(target_step // size, np.float32 if dtype == "f32" else np.float64)
            ctypes.memmove(row.ctypes.data, source + r * source_step, columns * size)
            ctypes.memmove(target + r * target_step, row.ctypes.data, target_step)

    def emit(builder: ir.IRBuilder, arguments: list[ir.Value]) -> None:
        source, source_step, target, target_step, rows, columns = arguments
        vectors = Vectors(builder, dtype, lanes, True)

        def column(k: ir.Value, _: Any) -> list[ir.Value]:
            mask = vectors.mask(builder.sub(columns, k))

            def row(r: ir.Value, _: Any) -> list[ir.Value]:
                value = vectors.load(vectors.at(builder.add(source, builder.mul(r, source_step)), k), mask)
                vectors.store(value, vectors.at(builder.add(target, builder.mul(r, target_step)), k))
                return []

            return vectors.loop(I64(0), rows, 1, [], row)

        vectors.loop(I64(0), builder.sdiv(target_step, I64(size)), lanes, [], column)

    lower(copy_rows, _PARAMETERS, emit)
    return copy_rows
