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
    "probable_step", "row_sizes", "short_sizes",
]  # fmt: skip

# Up to this, loops are worth a form of their own: LLVM unrolls them, and vectorises the loop around them.
SHORT = 8
# And up to this where rows are only read, and much is computed of an element: elements of rows are then gathered.
SHORT_TO_GATHER = 16
# Up to this, the height and width of planes (images) are worth a form of their own: whole rows are written out.
SMALL_PLANE = 64
# And up to this, rows are turned in tiles, so that vectors run across them (see `codegen/turning.py`).
ROW = 64
# So many times as large as a vector another tensor is that the vector is taken for one that lies along its rows.
_MUCH_SMALLER = 16
# Bytes from which on a tensor may not fit into the caches beside others.
LARGE = 1 << 23

_expected: ContextVar[Mapping[str, int] | None] = ContextVar("expected_sizes", default=None)


def short_sizes(arguments: Iterable[Value], shapes: Iterable[tuple[int, ...]]) -> dict[str, int]:
    """The symbols of short dimensions of tensor arguments, with their sizes.

    The first dimension is often a batch, if it is not the only one of a tensor that is much smaller than another.
    """
    found: dict[str, int] = {}
    tensors = [a.type for a in arguments if isinstance(a.type, TensorType)]
    shapes = list(shapes)
    largest = max((math.prod(shape) for shape in shapes), default=0)
    for kind, shape in zip(tensors, shapes, strict=False):
        first = 0 if len(shape) == 1 and _MUCH_SMALLER * shape[0] <= largest else 1
        for dim, size in list(zip(kind.shape, shape, strict=False))[first:]:
            if isinstance(dim, DimExpr) and dim.is_symbol() and 0 < size <= SHORT_TO_GATHER:
                found[str(dim)] = size
    return found


def row_sizes(arguments: Iterable[Value], shapes: Iterable[tuple[int, ...]]) -> dict[str, int]:
    """The symbols of last dimensions that are not much longer than vectors, rounded up to powers of two."""
    found: dict[str, int] = {}
    tensors = [a.type for a in arguments if isinstance(a.type, TensorType)]
    for kind, shape in zip(tensors, shapes, strict=False):
        if len(shape) > 1 and SHORT_TO_GATHER < shape[-1] <= ROW:
            dim = kind.shape[-1]
            if isinstance(dim, DimExpr) and dim.is_symbol():
                found[str(dim)] = 1 << (shape[-1] - 1).bit_length()
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


def probable_step(step: Dim) -> int | None:
    """What a step that run time decides (0 for what is broadcast) is likely to be where that is small; None elsewhere.

    It is the step at large sizes, those that are defined first larger than those defined later: in
    `row[:, k : k + 1] + column` the size of the slice is 1 while k is smaller than the row.
    """
    if not isinstance(step, DimExpr):
        return None
    known = _expected.get() or {}
    sizes = {name: known.get(name, 1 << 40 >> min(_number(name), 24)) for name in step.symbols()}
    value = dim_hint(step, sizes)
    return value if value is not None and 0 <= value <= SHORT else None


def _number(name: str) -> int:
    """The number that the name of a size known at run time ends in; 0 of an argument's."""
    digits = name.removeprefix("d")
    return int(digits) + 1 if digits != name and digits.isdigit() else 0
