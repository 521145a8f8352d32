"""PyTorch's call forms of reductions and of sorting."""

from typing import Any

from . import return_types
from .functions import call as _call
from .tensor import Tensor

__all__ = ["max", "min", "norm", "sort", "std", "std_mean", "topk", "var", "var_mean"]


def max(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, axis: Any = None, keepdims: Any = None
) -> Any:
    """The largest element; with `dim` the pair (values, indices) along it; with a tensor the elementwise maximum.

    >>> ingot.max(ingot.tensor([[1.0, 5.0], [4.0, 2.0]]), dim=1).indices
    tensor([1, 0])
    """
    _require_tensor("max", input)
    dim = _first(other, axis, dim)
    if isinstance(dim, Tensor):
        return _call("maximum", input, dim)
    if dim is None:
        _require_elements("max", input)
        return _call("amax", input)
    values, indices = _call("max_dim", input, dim=dim, keepdim=keepdim if keepdims is None else keepdims)
    return return_types.max(values, indices)


def min(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, axis: Any = None, keepdims: Any = None
) -> Any:
    """The smallest element; with `dim` the pair (values, indices) along it; with a tensor the elementwise minimum."""
    _require_tensor("min", input)
    dim = _first(other, axis, dim)
    if isinstance(dim, Tensor):
        return _call("minimum", input, dim)
    if dim is None:
        _require_elements("min", input)
        return _call("amin", input)
    values, indices = _call("min_dim", input, dim=dim, keepdim=keepdim if keepdims is None else keepdims)
    return return_types.min(values, indices)


def _require_tensor(name: str, input: Any) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")


def _first(*values: Any) -> Any:
    for value in values:
        if value is not None:
            return value
    return None


def _require_elements(name: str, input: Tensor) -> None:
    if 0 in input.shape:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
            "with the 'dim' argument."
        )


def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: int | None = None
) -> Any:
    """The elements in order along a dimension, as (values, indices).

    >>> ingot.sort(ingot.tensor([3, 1, 2])).values
    tensor([1, 2, 3])
    """
    dim = dim if axis is None else axis
    values, indices = _call("sort", input, dim, descending, stable)
    return return_types.sort(values, indices)


def topk(input: Tensor, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) elements along a dimension, as (values, indices)."""
    values, indices = _call("topk", input, k, dim, largest, sorted)
    return return_types.topk(values, indices)


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The variance over `dim` (all by default): the sum of squared deviations over n - correction.

    `correction` is 1 unless given; `unbiased` False means 0. A bool in the place of `dim` is `unbiased`.

    >>> ingot.var(ingot.tensor([1.0, 2.0, 3.0])), ingot.var(ingot.tensor([1.0, 2.0, 3.0]), correction=0)
    (tensor(1.), tensor(0.6667))
    """
    return _spread("var", input, dim if axis is None else axis, unbiased, keepdim or bool(keepdims), correction)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The standard deviation over `dim`: the square root of `var`."""
    return _spread("std", input, dim if axis is None else axis, unbiased, keepdim or bool(keepdims), correction)


def _spread(name: str, input: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> Any:
    if isinstance(dim, bool):
        unbiased = dim
        dim = None
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    elif unbiased is not None:
        raise TypeError(f"{name}(): give either unbiased or correction, not both")
    return _call(name, input, dim, correction=correction, keepdim=keepdim)


def var_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Any:
    """The variance and the mean over `dim`."""
    axes = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), _call("mean", input, axes, keepdim)


def std_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Any:
    """The standard deviation and the mean over `dim`."""
    axes = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), _call("mean", input, axes, keepdim)


def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The vector norm over `dim` (all elements by default): (sum |x|^p)^(1/p); "fro" is p = 2.

    "nuc" is the sum of the singular values of the matrices in the two dimensions `dim`.

    >>> ingot.norm(ingot.tensor([3.0, 4.0]))
    tensor(5.)
    """
    if p == "fro" or p is None:
        p = 2
    if p == "nuc":
        from .linear_algebra import matrix_norm

        return matrix_norm(input, "nuc", (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(p, str):
        raise RuntimeError(f"norm: p must be a number or 'fro', given {p!r}")
    return _call("vector_norm", input, p, dim, keepdim, dtype=dtype)  # type: ignore[no-any-return]
