"""The sizes that code is generated for: it works for all sizes, and is fastest at those of the first call."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from ..ir.core import Value
from ..ir.dims import Dim, DimExpr, dim_hint
from ..ir.types import TensorType

__all__ = [
    "SHORT", "SHORT_TO_GATHER", "SMALL_PLANE", "expected_size", "expecting", "large_sizes", "plane_sizes",
    "short_sizes",
]  # fmt: skip

# Up to this, loops are worth a form of their own: LLVM unrolls them, and vectorises the loop around them.
SHORT = 8
# And up to this where rows are only read, and much is computed of an element: elements of rows are then gathered.
SHORT_TO_GATHER = 16
# Up to this, the height and width of planes (images) are worth a form of their own: whole rows are written out.
SMALL_PLANE = 64
# Bytes from which on a tensor may not fit into the caches beside others.
LARGE = 1 << 23

_expected: ContextVar[Mapping[str, int] | None] = ContextVar("expected_sizes", default=None)


def short_sizes(arguments: Iterable[Value], shapes: Iterable[tuple[int, ...]]) -> dict[str, int]:
    """The symbols of short dimensions of tensor arguments, with their sizes; the first dimension is often a batch."""
    found: dict[str, int] = {}
    tensors = [a.type for a in arguments if isinstance(a.type, TensorType)]
    for kind, shape in zip(tensors, shapes, strict=False):
        for dim, size in list(zip(kind.shape, shape, strict=False))[1:]:
            if isinstance(dim, DimExpr) and dim.is_symbol() and 1 < size <= SHORT_TO_GATHER:
                found[str(dim)] = size
    return found


def large_sizes(arguments: Iterable[Value], shapes: Iterable[tuple[int, ...]]) -> dict[str, int]:
    """The symbols of all dimensions of large tensor arguments, with their sizes rounded down to powers of two."""
    found: dict[str, int] = {}
    tensors = [a.type for a in arguments if isinstance(a.type, TensorType)]
    for kind, shape in zip(tensors, shapes, strict=False):
        if math.prod(shape) * kind.dtype.itemsize < LARGE:
            continue
        for dim, size in zip(kind.shape, shape, strict=False):
            if isinstance(dim, DimExpr) and dim.is_symbol():
                found[str(dim)] = 1 << (size.bit_length() - 1)
    return found


def plane_sizes(arguments: Iterable[Value], shapes: Iterable[tuple[int, ...]]) -> dict[str, int]:
    """The symbols of the height and width of tensors of small planes, with their sizes."""
    found: dict[str, int] = {}
    tensors = [a.type for a in arguments if isinstance(a.type, TensorType)]
    for kind, shape in zip(tensors, shapes, strict=False):
        if len(shape) < 3 or max(shape[-2:]) > SMALL_PLANE:
            continue
        for dim, size in zip(kind.shape[-2:], shape[-2:], strict=False):
            if isinstance(dim, DimExpr) and dim.is_symbol():
                found[str(dim)] = size
    return found


@contextmanager
def expecting(sizes: Mapping[str, int]) -> Iterator[None]:
    """Generate code that is fastest at these sizes of symbols."""
    token = _expected.set(sizes)
    try:
        yield
    finally:
        _expected.reset(token)


def expected_size(dim: Dim) -> int | None:
    """What a dimension is at the expected sizes; None where that is not known."""
    return dim_hint(dim, _expected.get() or {})
