"""What argument sizes decide: the values of size symbols, the layout of the workspace, the shapes of results."""

import ctypes
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.dims import Dim, DimExpr, Guard, solve, substitute
from ..ir.types import IntType, TensorType, Type
from .errors import JitError
from .layout import Layout
from .runtime.memory import ALIGNMENT, address_of, recycler

if TYPE_CHECKING:
    from ..ir.core import Graph

__all__ = ["Plan", "SizeBinding", "allocator_of", "pack_buffers"]

_INT64 = np.iinfo(np.int64)


class SizeBinding:
    """Reads the symbols in argument types off actual arguments and checks the conditions between them."""

    def __init__(self, names: Sequence[str], types: Sequence[Type], guards: Sequence[Guard]) -> None:
        self.names = [name or f"argument {i}" for i, name in enumerate(names)]
        self.types = list(types)
        self.guards = list(guards)

    @classmethod
    def of(cls, graph: "Graph") -> "SizeBinding":
        """The sizes of a graph's arguments, under its guards."""
        return cls([v.name or "" for v in graph.arguments], [v.type for v in graph.arguments], graph.guards)

    def bind(self, arguments: Sequence[Any]) -> tuple[dict[str, int] | None, str]:
        """The symbols' values, or None and the reason why the arguments do not fit the graph."""
        values: dict[str, int] = {}
        pending: list[tuple[str, Dim, int]] = []
        for name, type, argument in zip(self.names, self.types, arguments, strict=True):
            if isinstance(type, TensorType):
                shape = argument.shape
                if len(shape) != len(type.shape):
                    return None, f"{name} has {len(shape)} dimensions, expected {len(type.shape)} as in {type}"
                sizes = enumerate(zip(type.shape, shape, strict=True))
                where = [(f"size {axis} of {name}", d, n) for axis, (d, n) in sizes]
            elif isinstance(type, IntType) and type.value is not None:
                where = [(name, type.value, argument)]
            else:
                continue
            for what, dim, size in where:
                if isinstance(dim, DimExpr) and dim.is_symbol() and str(dim) not in values:
                    values[str(dim)] = size
                else:
                    pending.append((what, dim, size))
        for what, dim, size in pending:
            try:
                expected = substitute(dim, values)
            except (ValueError, ZeroDivisionError) as error:
                return None, f"{what} is {size}, expected {dim}: {error}"
            # A gradient may be of a sum of sizes of which only one is that of another argument.
            if (solved := solve(expected, size)) is not None:
                values[solved[0]] = solved[1]
                continue
            if expected != size:
                shown = f"{dim} = {expected}" if isinstance(dim, DimExpr) else str(dim)
                return None, f"{what} is {size}, expected {shown}"
        for guard in self.guards:
            try:
                left, right = substitute(guard.left, values), substitute(guard.right, values)
            except (ValueError, ZeroDivisionError) as error:
                return None, f"{guard} does not hold: {error}"
            if left != right:
                return None, f"{guard} does not hold: {left} != {right}" + (
                    f" ({guard.reason})" if guard.reason else ""
                )
        return values, ""


def pack_buffers(sizes: Sequence[int], intervals: Sequence[tuple[int, int]]) -> tuple[list[int], int]:
    """Offsets of buffers in one workspace and its size, such that buffers that live at the same time do not overlap.

    Greedy by decreasing size, each in the tightest gap that holds it (Y. Pisarchyk and J. Lee, "Efficient Memory
    Management for Deep Neural Net Inference", 2020); offsets are multiples of 64.

    >>> pack_buffers([100, 300, 50], [(0, 1), (1, 2), (2, 3)])
    ([320, 0, 320], 448)
    """
    offsets = [0] * len(sizes)
    placed: list[int] = []
    rounded = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
    total = 0
    for index in sorted(range(len(sizes)), key=lambda i: (-rounded[i], i)):
        first, last = intervals[index]
        size = rounded[index]
        best, best_gap = -1, 0
        position = 0
        for other in placed:
            if intervals[other][0] > last or intervals[other][1] < first:
                continue
            gap = offsets[other] - position
            if gap >= size and (best < 0 or gap < best_gap):
                best, best_gap = position, gap
            position = max(position, offsets[other] + rounded[other])
        offsets[index] = best if best >= 0 else position
        total = max(total, offsets[index] + size)
        # Kept in order of offset, so that one pass sees the gaps.
        placed.append(index)
        placed.sort(key=lambda i: offsets[i])
    return offsets, total


class Plan:
    """What is the same for all calls with the same argument sizes."""

    __slots__ = ("_table", "address", "allocators", "buffers", "call", "outputs", "workspace")

    def __init__(self, layout: Layout, values: Mapping[str, int]) -> None:
        sizes = [_size(dim, values) for dim in layout.sizes]
        nbytes = [_size(buffer.nbytes, values) for buffer in layout.buffers]
        offsets, self.workspace = pack_buffers(nbytes, [(b.first, b.last) for b in layout.buffers])
        self.buffers = list(zip(offsets, nbytes, strict=True))
        addresses = [address_of(constant) for constant in layout.constants]
        table = [*sizes, *offsets, *addresses]
        self._table = (ctypes.c_int64 * max(len(table), 1))(*table)
        self.address = ctypes.addressof(self._table)
        # Shape and dtype of every result that the caller allocates, None for other results.
        self.outputs = [_output(result.type, values) if result.kind == "output" else None for result in layout.results]
        # Functions that allocate the results, where the caller allocates all of them.
        self.allocators: list[Callable[[], Any]] | None = None
        if None not in self.outputs:
            self.allocators = [allocator_of(*output) for output in self.outputs if output is not None]
        self.call: Callable[[Sequence[Any]], list[Any]] | None = None


def allocator_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[], Any]:
    """A function that makes arrays for a result."""
    small = math.prod(shape) * dtype.itemsize < recycler.smallest
    return functools.partial(np.empty if small else recycler.empty, shape, dtype)


def _size(dim: Dim, values: Mapping[str, int]) -> int:
    value = substitute(dim, values)
    if not isinstance(value, int):
        raise JitError(f"the size {dim} is not known from the arguments, which give {sorted(values)}")
    if not _INT64.min <= value <= _INT64.max:
        raise MemoryError(f"the size {dim} is {value}, which does not fit into 64 bits")
    return value


def _output(type: Type, values: Mapping[str, int]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    assert isinstance(type, TensorType)
    return tuple(_size(dim, values) for dim in type.shape), type.dtype.numpy
