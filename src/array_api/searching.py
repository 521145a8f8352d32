"""Searching, sorting and set functions of the array API standard."""

from collections.abc import Sequence
from typing import NamedTuple

from ..eager import Tensor
from .data_types import KINDS, require_kind, result_type
from .elementwise import ANY, Operand, _pair
from .functions import namespace
from .statistics import _axes


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Tensor
    inverse_indices: Tensor


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first greatest element along an axis, or in the flattened tensor."""
    require_kind("argmax", x, "real floating", "integral")
    return namespace.argmax(x, dim=axis, keepdim=keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first least element along an axis, or in the flattened tensor."""
    require_kind("argmin", x, "real floating", "integral")
    return namespace.argmin(x, dim=axis, keepdim=keepdims)


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort `x` along an axis."""
    require_kind("argsort", x, "real floating", "integral")
    return namespace.argsort(x, dim=axis, descending=descending, stable=stable)


def count_nonzero(x: Tensor, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """How many elements are not 0."""
    axes = _axes(x, axis)
    is_nonzero = (x != 0).to(namespace.int64)
    return namespace.sum(is_nonzero, dim=axes, keepdim=keepdims) if axes else is_nonzero


def isin(x1: Operand, x2: Operand, /, *, invert: bool = False) -> Tensor:
    """Whether each element of `x1` is among those of `x2`, or with `invert` is not."""
    values, among = _pair("isin", x1, x2, ANY)
    if among.numel() == 0:
        return namespace.full(values.shape, invert)
    found = (values.unsqueeze(-1) == among.reshape(-1)).any(dim=-1)
    return namespace.logical_not(found) if invert else found


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The indices of the elements that are not 0, one tensor per axis."""
    if x.ndim == 0:
        raise ValueError("nonzero of a tensor of no dimensions")
    return tuple(namespace.nonzero(x, as_tuple=True))


def searchsorted(x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None) -> Tensor:
    """The positions in the sorted vector `x1` at which the values `x2` keep it sorted."""
    if side not in ("left", "right"):
        raise ValueError(f"side {side!r}, expected 'left' or 'right'")
    dtype = result_type(x1, x2)
    return namespace.searchsorted(x1.to(dtype), x2.to(dtype), right=side == "right", sorter=sorter)


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in order along an axis."""
    require_kind("sort", x, "real floating", "integral")
    return namespace.sort(x, dim=axis, descending=descending, stable=stable).values


def unique_values(x: Tensor, /) -> Tensor:
    """The distinct elements; every NaN counts as distinct."""
    return unique_all(x).values


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The distinct elements and how often each occurs."""
    values, _, _, counts = unique_all(x)
    return UniqueCounts(values, counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The distinct elements, and where each element of `x` is among them."""
    values, _, inverse, _ = unique_all(x)
    return UniqueInverse(values, inverse)


def unique_all(x: Tensor, /) -> UniqueAll:
    """The distinct elements, where each occurs first, where each element of `x` is among them, and the counts.

    >>> from ingot import array_api as xp
    >>> xp.unique_all(xp.asarray([3, 1, 3])).counts
    tensor([1, 2])
    """
    flat = x.reshape(-1)
    number = flat.numel()
    if x.dtype in KINDS["complex floating"]:
        order = namespace.argsort(namespace.imag(flat), stable=True)
        order = order[namespace.argsort(namespace.real(flat)[order], stable=True)]
    else:
        order = namespace.argsort(flat, stable=True)
    ordered = flat[order]
    starts = namespace.ones(number, dtype=namespace.bool)
    if number > 1:
        starts[1:] = ordered[1:] != ordered[:-1]
    group = namespace.cumsum(starts.to(namespace.int64), dim=0) - 1
    inverse = namespace.zeros(number, dtype=namespace.int64)
    inverse[order] = group
    first = order[starts]
    counts = namespace.bincount(group, minlength=first.numel()) if number else namespace.zeros(0, dtype=namespace.int64)
    return UniqueAll(ordered[starts], first, inverse.reshape(*x.shape) if x.ndim else inverse.reshape(()), counts)


def where(condition: Tensor, x1: Operand, x2: Operand, /) -> Tensor:
    """`x1` where the condition is true, `x2` elsewhere."""
    first, second = _pair("where", x1, x2, ANY)
    return namespace.where(condition, first, second)
