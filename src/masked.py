"""Reductions and normalisations of the elements under a mask, as `torch.masked`.

`mask` is a bool tensor that broadcasts to the input; what it leaves out counts as the reduction's identity. Without a
mask all elements count.
"""

import builtins
import math
from typing import Any

import numpy as np

from .eager.functions import call as _call
from .eager.placement import beside
from .eager.tensor import Tensor
from .ir.dtypes import DType, as_dtype

__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean", "median",
    "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var",
]  # fmt: skip


def _dims(dim: Any, rank: int) -> tuple[int, ...]:
    """All dimensions for None and (), else those given, in order; RuntimeError for one given twice."""
    if dim is None or dim == ():
        return tuple(range(rank))
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    extent = builtins.max(rank, 1)
    for d in given:
        if not -extent <= d < extent:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], but got {d})"
            )
    found = sorted(d % extent for d in given)
    if len(set(found)) != len(found):
        raise RuntimeError("dim appears multiple times in the list of dims")
    return tuple(found) if rank else ()


def _filled(input: Tensor, mask: Tensor | None, value: Any) -> Any:
    """The input with `value` where the mask is false."""
    if mask is None:
        return input
    if not isinstance(mask, Tensor):
        raise TypeError(f"masked: mask must be a Tensor, not {type(mask).__name__}")
    fill = _call("full", (), value, dtype=input.dtype)
    return _call("where", mask if mask.dtype.name == "bool" else _call("ne", mask, 0), input, fill)


def _lowest(dtype: DType) -> Any:
    return -math.inf if dtype.category >= 2 else _bounds(dtype)[0]


def _highest(dtype: DType) -> Any:
    return math.inf if dtype.category >= 2 else _bounds(dtype)[1]


def _bounds(dtype: DType) -> tuple[int, int]:
    if dtype.name == "bool":
        raise NotImplementedError("masked: there is no smallest bool")
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)


def _converted(input: Tensor, dtype: Any) -> Any:
    return input if dtype is None or input.dtype is as_dtype(dtype) else _call("cast", input, dtype=as_dtype(dtype))


def _summed_dtype(input: Tensor, dtype: Any) -> Any:
    return dtype if dtype is not None or input.dtype.category >= 2 else "int64"


def sum(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The sum of the elements under the mask.

    >>> ingot.masked.sum(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([True, False, True]))
    tensor(4.)
    """
    value = _filled(_converted(input, _summed_dtype(input, dtype)), mask, 0)
    return _call("sum", value, _dims(dim, input.ndim) or None, keepdim)  # type: ignore[no-any-return]


def prod(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The product of the elements under the mask.

    >>> ingot.masked.prod(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([True, False, True]))
    tensor(3.)
    """
    value = _filled(_converted(input, _summed_dtype(input, dtype)), mask, 1)
    for d in reversed(_dims(dim, input.ndim)):
        value = _call("prod", value, dim=d, keepdim=keepdim)
    return value  # type: ignore[no-any-return]


def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """The running sum of the elements under the mask.

    >>> ingot.masked.cumsum(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([True, False, True]))
    tensor([1., 1., 4.])
    """
    (axis,) = _dims(dim, input.ndim) or (0,)
    return _call("cumsum", _filled(_converted(input, dtype), mask, 0), axis, dtype=dtype or input.dtype)  # type: ignore[no-any-return]


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """The running product of the elements under the mask.

    >>> ingot.masked.cumprod(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([True, False, True]))
    tensor([1., 1., 3.])
    """
    (axis,) = _dims(dim, input.ndim) or (0,)
    return _call("cumprod", _filled(_converted(input, dtype), mask, 1), axis, dtype=dtype or input.dtype)  # type: ignore[no-any-return]


def amax(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The largest of the elements under the mask.

    >>> ingot.masked.amax(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([True, True, False]))
    tensor(2.)
    """
    value = _converted(input, dtype)
    value = _filled(value, mask, _lowest(value.dtype)) if mask is not None else value
    return _call("amax", value, _dims(dim, input.ndim), keepdim)  # type: ignore[no-any-return]


def amin(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The smallest of the elements under the mask.

    >>> ingot.masked.amin(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([False, True, True]))
    tensor(2.)
    """
    value = _converted(input, dtype)
    value = _filled(value, mask, _highest(value.dtype)) if mask is not None else value
    return _call("amin", value, _dims(dim, input.ndim), keepdim)  # type: ignore[no-any-return]


def argmax(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The position of the largest of the elements under the mask, in the input's dtype as PyTorch has it.

    >>> ingot.masked.argmax(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([True, True, False]))
    tensor(1.)
    """
    value = _converted(input, dtype)
    value = _filled(value, mask, _lowest(value.dtype)) if mask is not None else value
    return _call("cast", _call("argmax", value, dim, keepdim), dtype=value.dtype)


def argmin(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The position of the smallest of the elements under the mask, in the input's dtype as PyTorch has it.

    >>> ingot.masked.argmin(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([False, True, True]))
    tensor(1.)
    """
    value = _converted(input, dtype)
    value = _filled(value, mask, _highest(value.dtype)) if mask is not None else value
    return _call("cast", _call("argmin", value, dim, keepdim), dtype=value.dtype)


@beside
def _count(input: Tensor, dims: tuple[int, ...], keepdim: bool, mask: Any) -> Any:
    """How many elements count for each result."""
    held = _call("full", tuple(input.shape), True, dtype="bool") if mask is None else mask
    held = _call("expand", held, tuple(input.shape)) if tuple(held.shape) != tuple(input.shape) else held
    return _call("sum", held, dims or None, keepdim)


def mean(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The mean of the elements under the mask; NaN where there are none.

    >>> ingot.masked.mean(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([True, False, True]))
    tensor(2.)
    """
    kind = input.dtype if dtype is None else as_dtype(dtype)
    if kind.category < 2:
        raise ValueError(
            "mean(): Could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
            f"{kind.name}"
        )
    count = _count(input, _dims(dim, input.ndim), keepdim, mask)
    return _call("div", sum(input, dim, keepdim=keepdim, dtype=kind, mask=mask), count)  # type: ignore[no-any-return]


def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The median of the elements under the mask: the lower of two in the middle; NaN where there are none.

    >>> ingot.masked.median(ingot.tensor([1., 2., 3.]), 0, mask=ingot.tensor([True, False, True]))
    tensor(1.)
    """
    from .eager.ordering import nanmedian  # type: ignore[attr-defined]

    value = _converted(input, dtype)
    if value.dtype.category < 2:
        value = _call("cast", value, dtype="float32")
    return nanmedian(_filled(value, mask, math.nan), dim, keepdim).values  # type: ignore[no-any-return]


def logsumexp(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The logarithm of the sum of the exponentials of the elements under the mask.

    >>> ingot.masked.logsumexp(ingot.tensor([0., 0., 9.]), 0, mask=ingot.tensor([True, True, False]))
    tensor(0.6931)
    """
    value = _converted(input, dtype)
    value = _filled(value, mask, _lowest(value.dtype)) if mask is not None else value
    return _call("cast", _call("logsumexp", value, _dims(dim, input.ndim), keepdim), dtype=value.dtype)  # type: ignore[no-any-return]


def logaddexp(
    input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None
) -> Tensor:
    """log(exp(input) + exp(other)) of the elements under their masks.

    >>> ingot.masked.logaddexp(ingot.tensor([0.]), ingot.tensor([9.]), other_mask=ingot.tensor([False]))
    tensor([0.])
    """
    left, right = _converted(input, dtype), _converted(other, dtype)
    left = left if input_mask is None else _filled(left, input_mask, _lowest(left.dtype))
    right = right if other_mask is None else _filled(right, other_mask, _lowest(right.dtype))
    return _call("logaddexp", left, right)  # type: ignore[no-any-return]


def norm(
    input: Tensor, ord: float = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Tensor:
    """The norm of order `ord` of the elements under the mask.

    >>> ingot.masked.norm(ingot.tensor([3., 9., 4.]), 2.0, 0, mask=ingot.tensor([True, False, True]))
    tensor(5.)
    """
    value = _filled(_converted(input, dtype), mask, math.inf if ord == -math.inf else 0)
    return _call("vector_norm", value, ord, _dims(dim, input.ndim) or None, keepdim)  # type: ignore[no-any-return]


def _spread(
    input: Tensor, dim: Any, unbiased: Any, correction: Any, keepdim: bool, dtype: Any, mask: Any, root: bool
) -> Tensor:
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    taken = 1.0 if unbiased is None or unbiased else 0.0
    taken = taken if correction is None else float(correction)
    kind = as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.category >= 2 else as_dtype("float32")
    computed = kind if kind.category >= 2 else as_dtype("float32")
    dims = _dims(dim, input.ndim)
    count = _count(input, dims, True, mask)
    mean = _call("div", sum(input, dim, keepdim=True, dtype=kind, mask=mask), count)
    apart = _call("sub", input, mean)
    squares = _call("mul", apart, _call("conj", apart) if apart.dtype.is_complex else apart)
    total = sum(squares, dim, keepdim=keepdim, dtype=computed, mask=mask)
    count = count if keepdim else _call("reshape", count, tuple(total.shape))
    if taken:
        count = count if computed.is_complex else _call("cast", count, dtype=computed)
        count = _call("clamp", _call("sub", count, taken), 0.0)
    result = _call("cast", _call("div", total, count), dtype=kind)
    return _call("sqrt", result) if root else result  # type: ignore[no-any-return]


def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
    dtype: Any = None, mask: Any = None,
) -> Tensor:  # fmt: skip
    """The variance of the elements under the mask.

    >>> ingot.masked.var(ingot.tensor([1., 9., 3.]), 0, mask=ingot.tensor([True, False, True]))
    tensor(2.)
    """
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask, False)


def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
    dtype: Any = None, mask: Any = None,
) -> Tensor:  # fmt: skip
    """The standard deviation of the elements under the mask.

    >>> ingot.masked.std(ingot.tensor([1., 9., 3.]), 0, False, mask=ingot.tensor([True, False, True]))
    tensor(1.)
    """
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask, True)


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """The softmax of the elements under the mask; the others get 0.

    >>> ingot.masked.softmax(ingot.tensor([0., 0., 9.]), 0, mask=ingot.tensor([True, True, False]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    value = _converted(input, dtype)
    return _call("softmax", _filled(value, mask, _lowest(value.dtype)) if mask is not None else value, dim)  # type: ignore[no-any-return]


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """The logarithm of `softmax`.

    >>> ingot.masked.log_softmax(ingot.tensor([0., 0., 9.]), 0, mask=ingot.tensor([True, True, False]))
    tensor([-0.6931, -0.6931,    -inf])
    """
    value = _converted(input, dtype)
    return _call("log_softmax", _filled(value, mask, _lowest(value.dtype)) if mask is not None else value, dim)  # type: ignore[no-any-return]


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """The softmax of the negated elements under the mask; the others get 0.

    >>> ingot.masked.softmin(ingot.tensor([0., 0., 9.]), 0, mask=ingot.tensor([True, True, False]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    value = _converted(input, dtype)
    value = _filled(value, mask, _highest(value.dtype)) if mask is not None else value
    return _call("softmax", _call("neg", value), dim)  # type: ignore[no-any-return]


def normalize(
    input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None
) -> Tensor:
    """The elements under the mask over their norm of order `ord` along a dimension, which counts as at least eps.

    >>> ingot.masked.normalize(ingot.tensor([3., 9., 4.]), 2.0, 0, mask=ingot.tensor([True, False, True]))
    tensor([0.6000, 0.0000, 0.8000])
    """
    value = _converted(input, dtype)
    length = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _call("div", _filled(value, mask, 0), _call("clamp", length, eps))  # type: ignore[no-any-return]
