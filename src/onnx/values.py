"""What the importer knows of a value: an array, integers that may be sizes, a tensor of the graph, or a sequence."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.dims import Dim, DimExpr
from ..ir.symbolic import SymbolicTensor

__all__ = ["Entry", "Known", "NeedsValue", "Sequence", "has_symbols"]


@dataclass(frozen=True, eq=False)
class Known:
    """A tensor whose elements are known while the model is imported.

    `array` holds numbers, or is an object array of sizes (ints and expressions) that stand for elements of `dtype`.
    """

    array: np.ndarray[Any, Any]
    dtype: np.dtype[Any]
    name: str | None = None

    @staticmethod
    def of(array: Any, name: str | None = None) -> "Known":
        """A known value of an array of numbers."""
        array = np.asarray(array)
        return Known(array, array.dtype, name)

    @staticmethod
    def sizes(values: "list[Dim] | np.ndarray[Any, Any]", dtype: Any = np.int64) -> "Known":
        """A known value of sizes: plain numbers where no expression is among them."""
        given: Any = values
        array: np.ndarray[Any, Any] = np.empty(np.shape(given), dtype=object)
        array[...] = given
        known = Known(array, np.dtype(dtype))
        return known if has_symbols(known) else Known(array.astype(dtype), np.dtype(dtype))


@dataclass(frozen=True, eq=False)
class Sequence:
    """An ONNX sequence, whose length is known while the model is imported."""

    items: tuple["Entry", ...]


Entry = Known | Sequence | SymbolicTensor | None


class NeedsValue(Exception):
    """The value of a tensor decides about the graph: the import starts again with it known, if the caller gives it."""

    def __init__(self, tensor: SymbolicTensor, reason: str) -> None:
        super().__init__(reason)
        self.tensor = tensor
        self.reason = reason


def has_symbols(known: Known) -> bool:
    """Whether a size expression is among the elements."""
    return known.array.dtype == object and any(isinstance(d, DimExpr) for d in known.array.flat)
