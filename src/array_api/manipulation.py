"""Manipulation and indexing functions of the array API standard."""

import builtins
from collections.abc import Sequence

from ..eager import Tensor
from .data_types import result_type
from .functions import namespace

Axes = int | Sequence[int]


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """The tensors joined along an existing axis, or flattened and joined where the axis is None."""
    dtype = result_type(*arrays)
    parts = [one.to(dtype) for one in arrays]
    return namespace.cat([one.reshape(-1) for one in parts] if axis is None else parts, dim=axis or 0)


def expand_dims(x: Tensor, /, axis: Axes = 0) -> Tensor:
    """`x` with a new axis of size 1 at each position `axis` of the result."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = x.ndim + len(axes)
    for one in axes:
        if not -rank <= one < rank:
            raise IndexError(f"axis {one}, expected {-rank} to {rank - 1} for a result of {rank} dimensions")
    positions = sorted(one % rank for one in axes)
    if len({*positions}) < len(positions):
        raise ValueError(f"axis {axes}: the same axis twice")
    for position in positions:
        x = x.unsqueeze(position)
    return x


def flip(x: Tensor, /, *, axis: Axes | None = None) -> Tensor:
    """The elements in reverse order along the axes, or along all of them."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return namespace.flip(x, list(axes))


def moveaxis(x: Tensor, source: Axes, destination: Axes, /) -> Tensor:
    """`x` with the axes `source` moved to the positions `destination`."""
    return namespace.movedim(x, source, destination)


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """`x` with its axes in the order `axes`."""
    return x.permute(*axes) if axes else x.permute(())


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element `repeats` times, along an axis or of the flattened tensor."""
    return namespace.repeat_interleave(x, repeats, dim=axis)


def reshape(x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """`x` in another shape; `copy`: True copies, False raises where it would have to, None copies where it must."""
    if copy is False:
        try:
            return x.view(*shape) if shape else x.view(())
        except RuntimeError as error:
            raise ValueError(f"copy=False, but {tuple(x.shape)} to {shape} needs a copy: {error}") from None
    result = x.reshape(*shape) if shape else x.reshape(())
    return result.clone() if copy else result


def roll(x: Tensor, /, shift: Axes, *, axis: Axes | None = None) -> Tensor:
    """The elements moved on by `shift` along each axis, those at the end to the start."""
    if axis is None:
        return namespace.roll(x, shift)
    shifts = (shift,) if isinstance(shift, int) else tuple(shift)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if len(shifts) == 1:
        shifts *= len(axes)
    return namespace.roll(x, shifts, axes)


def squeeze(x: Tensor, /, axis: Axes) -> Tensor:
    """`x` without the axes, each of which must have size 1."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for one in axes:
        if not -x.ndim <= one < x.ndim:
            raise IndexError(f"axis {one} of a tensor of {x.ndim} dimensions")
        if x.shape[one] != 1:
            raise ValueError(f"axis {one} has size {x.shape[one]}, expected 1")
    return namespace.squeeze(x, axes)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """The tensors, all of one shape, joined along a new axis."""
    dtype = result_type(*arrays)
    return namespace.stack([one.to(dtype) for one in arrays], dim=axis)


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The elements at one-dimensional `indices` along an axis, which only a vector may leave out."""
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"take of a tensor of {x.ndim} dimensions: axis must be given")
        axis = 0
    if indices.ndim == 0:
        return namespace.index_select(x, axis, indices.reshape(1)).squeeze(axis)
    size = x.shape[axis]
    wrapped = namespace.where(indices < 0, indices + size, indices)
    return namespace.index_select(x, axis, wrapped)


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements picked along one axis: the index at each place of `indices`, whose other axes broadcast with `x`."""
    size = x.shape[axis]
    wrapped = namespace.where(indices < 0, indices + size, indices)
    return namespace.take_along_dim(x, wrapped.to(namespace.int64), dim=axis)


def tile(x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """`x` repeated, as a whole, along each axis."""
    return namespace.tile(x, repetitions)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of `x` along an axis."""
    return builtins.tuple(namespace.unbind(x, dim=axis))
