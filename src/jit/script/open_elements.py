"""Lists and dicts whose tensors differ in size: which sizes of their elements the graph leaves open.

The types of elements are found while a program is compiled. Where two do not fit and differ in sizes only, it is noted
which dimensions do; if compiling then fails, it starts again with these sizes open in every container of tensors of
that dtype and rank. So nothing changes for programs whose containers hold tensors of one size.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...ir.dims import OPEN, Dim, symbols
from ...ir.open_sizes import axes_that_differ, tensor_pairs
from ...ir.types import TensorType, Type, contained_types

if TYPE_CHECKING:
    from .context import Context

__all__ = ["OpenSize", "note_axes", "note_local", "note_types", "with_open_sizes"]

OpenSize = tuple[str, int, str, int]
"""A dimension that is open: dtype, rank and device of the tensors, and its number."""


def note_axes(context: "Context", type: TensorType, axes: Iterable[int]) -> None:
    """Note that tensors of a dtype and rank that one container holds differ in the sizes of these dimensions."""
    context.differing.update((type.dtype.short, type.rank, type.device, axis) for axis in axes)


def note_types(context: "Context", a: Type, b: Type) -> None:
    """Note in which sizes two types of elements differ, where they differ in nothing else."""
    for one, other in tensor_pairs(a, b):
        note_axes(context, one, axes_that_differ(one, other))


def note_local(context: "Context", type: Type, known: frozenset[str]) -> None:
    """Note the sizes in a type of elements that have other symbols than these: they differ between iterations."""
    if isinstance(type, TensorType):
        note_axes(context, type, (a for a, d in enumerate(type.shape) if d != OPEN and not symbols(d) <= known))
    for part in contained_types(type):
        note_local(context, part, known)


def with_open_sizes(context: "Context", type: TensorType, shape: Iterable[Dim | None]) -> TensorType | None:
    """The type of a container's elements for a tensor, some of whose sizes may be unknown (None).

    None where such a size is not open (yet).
    """
    dims: list[Dim] = []
    missing = []
    for axis, (dim, known) in enumerate(zip(type.shape, shape, strict=True)):
        is_open = (type.dtype.short, type.rank, type.device, axis) in context.open_sizes
        if known is None and not is_open:
            missing.append(axis)
        dims.append(OPEN if is_open else dim)
    if missing:
        note_axes(context, type, missing)
        return None
    return TensorType(type.dtype, tuple(dims), type.device)
