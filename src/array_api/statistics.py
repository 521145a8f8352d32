"""Statistical and utility functions of the array API standard: reductions and cumulative sums and products."""

from collections.abc import Callable, Sequence
from typing import Any

from ..eager import Tensor
from ..ir.dtypes import DType
from .data_types import INTEGERS, KINDS, require_kind, uint64
from .data_types import bool as bool_dtype
from .functions import namespace

Axis = int | Sequence[int] | None


def _axes(x: Tensor, axis: Axis) -> tuple[int, ...]:
    """The axes as a tuple of distinct numbers from 0."""
    if axis is None:
        return tuple(range(x.ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if x.ndim == 0 and axes in ((0,), (-1,)):
        return ()
    for one in axes:
        if not -x.ndim <= one < x.ndim:
            raise IndexError(f"axis {one} of a tensor of {x.ndim} dimensions")
    result = tuple(one % x.ndim for one in axes)
    if len({*result}) < len(result):
        raise ValueError(f"axis {axes}: the same axis twice")
    return result


def _one_at_a_time(x: Tensor, axis: Axis, keepdims: bool, reduce: Callable[..., Tensor]) -> Tensor:
    """A reduction that takes one axis at a time, over several of them."""
    axes = sorted(_axes(x, axis), reverse=True)
    for one in axes:
        x = reduce(x, dim=one, keepdim=keepdims)
    return x


def widened(x: Tensor, dtype: DType | None) -> DType:
    """The dtype in which a sum or product is taken: 64 bits for integers, that of the tensor for the others."""
    if dtype is not None:
        return dtype
    if x.dtype in KINDS["unsigned integer"]:
        return uint64
    return namespace.int64 if x.dtype in INTEGERS else x.dtype


def all(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are true (not 0)."""
    return _one_at_a_time(x.to(bool_dtype), axis, keepdims, namespace.all)


def any(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether an element is true (not 0)."""
    return _one_at_a_time(x.to(bool_dtype), axis, keepdims, namespace.any)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Tensor:
    """The products of the elements up to each one; with `include_initial` they begin with the empty product, 1."""
    return _cumulative("cumulative_prod", namespace.cumprod, 1, x, axis, dtype, include_initial)


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Tensor:
    """The sums of the elements up to each one; with `include_initial` they begin with the empty sum, 0.

    >>> from ingot import array_api as xp
    >>> xp.cumulative_sum(xp.asarray([1, 2, 3]), include_initial=True)
    tensor([0, 1, 3, 6])
    """
    return _cumulative("cumulative_sum", namespace.cumsum, 0, x, axis, dtype, include_initial)


def _cumulative(
    name: str,
    function: Callable[..., Tensor],
    first: int,
    x: Tensor,
    axis: int | None,
    dtype: DType | None,
    include_initial: bool,
) -> Tensor:
    require_kind(name, x, "numeric")
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"{name} of a tensor of {x.ndim} dimensions: axis must be given")
        axis = 0
    (axis,) = _axes(x, axis)
    wide = widened(x, dtype)
    result = function(x.to(wide), dim=axis).to(wide)
    if not include_initial:
        return result
    shape = list(x.shape)
    shape[axis] = 1
    return namespace.cat([namespace.full(shape, first, dtype=result.dtype), result], dim=axis)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The `n`-th differences between neighbours along an axis."""
    require_kind("diff", x, "numeric")
    return namespace.diff(x, n=n, dim=axis, prepend=prepend, append=append)


def max(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The greatest element; NaN where there is one."""
    return _extreme("max", namespace.amax, x, axis, keepdims)


def min(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The least element; NaN where there is one."""
    return _extreme("min", namespace.amin, x, axis, keepdims)


def _extreme(name: str, function: Callable[..., Tensor], x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    require_kind(name, x, "real floating", "integral")
    axes = _axes(x, axis)
    if 0 in (x.shape[one] for one in axes):
        raise ValueError(f"{name} over an axis of size 0 of a tensor of shape {tuple(x.shape)}")
    return function(x, dim=axes, keepdim=keepdims) if axes else x.clone()


def mean(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean."""
    require_kind("mean", x, "real floating", "complex floating")
    axes = _axes(x, axis)
    return namespace.mean(x, dim=axes, keepdim=keepdims) if axes else x.clone()


def prod(x: Tensor, /, *, axis: Axis = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """The product; that of integers has 64 bits."""
    require_kind("prod", x, "numeric")
    wide = widened(x, dtype)  # PyTorch's sums and products of unsigned integers are signed: the same bits
    return _one_at_a_time(x.to(wide), axis, keepdims, namespace.prod).to(wide)


def std(x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The standard deviation; the divisor is the number of elements less `correction`."""
    return namespace.sqrt(_variance("std", x, axis, correction, keepdims))


def var(x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The variance; the divisor is the number of elements less `correction`."""
    return _variance("var", x, axis, correction, keepdims)


def _variance(name: str, x: Tensor, axis: Axis, correction: float, keepdims: bool) -> Tensor:
    require_kind(name, x, "real floating")
    axes = _axes(x, axis)
    if not axes:
        return (x - x) / (1 - correction)
    return namespace.var(x, dim=axes, correction=correction, keepdim=keepdims)


def sum(x: Tensor, /, *, axis: Axis = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """The sum; that of integers has 64 bits."""
    require_kind("sum", x, "numeric")
    axes: Any = _axes(x, axis)
    wide = widened(x, dtype)
    return namespace.sum(x.to(wide), dim=axes, keepdim=keepdims).to(wide) if axes else x.to(wide, copy=True)
