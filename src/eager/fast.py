"""Shorter ways to evaluate common ops on common operands; the op records stay the reference, and a test compares both.

Each takes what `evaluate` takes (without the array module) and answers NotImplemented where it does not apply. Those in
`SHORTCUTS` run before operands are checked: they apply only where numpy itself refuses exactly what `infer` refuses, by
a ValueError, TypeError or IndexError, after which the general way words the error. `CHECKED_SHORTCUTS` run after it.
"""

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import numpy as np

from . import parallel
from .selection import chosen, kept

__all__ = [
    "CHECKED_SHORTCUTS", "FLOAT_UFUNCS", "SHORTCUTS", "float_unary", "large_binary", "log_softmax", "max_pool2d",
    "max_pool2d_grad", "quiet", "silu", "softmax",
]  # fmt: skip


class _Quiet(threading.local):
    """Each thread's way to call a function where numpy's floating-point warnings are off.

    numpy keeps that switch in a context variable. Running in a context where it is off, made once, takes a tenth of
    the time that `np.errstate` takes to turn it off and on again, which is more than small ufuncs take.
    """

    def __init__(self) -> None:
        with np.errstate(all="ignore"):
            self.run = copy_context().run


_quiet = _Quiet()


def quiet(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a numpy function without its floating-point warnings: infinities and NaN are results, as in PyTorch."""
    try:
        return _quiet.run(function, *arguments)
    except RuntimeError as error:
        if "cannot enter context" not in str(error):  # what a finaliser meets that runs inside another such call
            raise
        with np.errstate(all="ignore"):
            return function(*arguments)


# Ops of one operand that numpy computes in the operand's own floating-point dtype.
FLOAT_UFUNCS: dict[str, Any] = {
    "neg": np.negative, "abs": np.absolute, "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log,
    "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "sqrt": np.sqrt, "square": np.square, "sin": np.sin,
    "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh,
    "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "reciprocal": np.reciprocal, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
}  # fmt: skip

_BINARY: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "maximum": np.maximum,
    "minimum": np.minimum, "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
}  # fmt: skip
_NUMBERS = (float, int)
# With axis, dtype, out and keepdims in their places.
_add_along: Any = np.add.reduce
_max_along: Any = np.maximum.reduce
# Reductions of at least so many elements are done in chunks by einsum, which adds in vector registers.
_LARGE = 1 << 15
_CHUNK = 4096


def _unary(ufunc: Any) -> Callable[..., Any]:
    def evaluate(x: Any) -> Any:
        return float_unary(ufunc, x) if x.dtype.kind == "f" else NotImplemented

    return evaluate


def float_unary(ufunc: Any, x: Any) -> Any:
    """A ufunc of a floating-point array, by several threads where it is large."""
    if x.size >= parallel.LARGE and x.flags.c_contiguous:
        return parallel.unary(quiet, ufunc, x)
    return quiet(ufunc, x)


def _binary(ufunc: Any) -> Callable[..., Any]:
    """Two arrays of one floating-point dtype, or one and a Python number (which float16 would round first)."""

    def evaluate(a: Any, b: Any) -> Any:
        if a.__class__ is np.ndarray:
            if b.__class__ is np.ndarray:
                if a.dtype is b.dtype and a.dtype.kind == "f":
                    if a.size >= parallel.LARGE:
                        return large_binary(ufunc, a, b)
                    return quiet(ufunc, a, b)
            elif b.__class__ in _NUMBERS and a.dtype.char in "fd":
                return quiet(ufunc, a, b)
        elif b.__class__ is np.ndarray and a.__class__ in _NUMBERS and b.dtype.char in "fd":
            return quiet(ufunc, a, b)
        return NotImplemented

    return evaluate


_OF_OWN_DTYPE = {np.add, np.subtract, np.multiply, np.true_divide, np.maximum, np.minimum}


def large_binary(ufunc: Any, a: Any, b: Any) -> Any:
    """A ufunc of two floating-point arrays of one dtype, by several threads where they are contiguous."""
    if a.shape == b.shape and a.flags.c_contiguous and b.flags.c_contiguous and ufunc in _OF_OWN_DTYPE:
        return parallel.binary(quiet, ufunc, a, b)
    return quiet(ufunc, a, b)


def _relu(x: Any) -> Any:
    return quiet(np.maximum, x, 0) if x.dtype.kind == "f" else NotImplemented


def _pow(a: Any, b: Any) -> Any:
    if a.__class__ is np.ndarray and a.dtype.kind == "f" and b.__class__ in _NUMBERS and b == 2:
        return quiet(np.square, a)
    return NotImplemented


def _axes(dim: Any, rank: int) -> Any:
    if dim is None or dim == ():
        return None
    dims = (dim,) if dim.__class__ is int else dim
    for d in dims:
        if not -rank <= d < rank:
            raise IndexError(f"dimension {d} of {rank}")
    return tuple([d % rank for d in dims])


def _sum(x: Any, *, dim: Any, keepdim: bool, dtype: Any) -> Any:
    if dim is None and dtype is None and x.size < _LARGE and x.dtype.char in "fd" and x.ndim and not keepdim:
        return quiet(np.add.reduce, x, None)
    if x.dtype.char in "lq" and dtype is None:
        return _add_along(x, _axes(dim, x.ndim), None, None, keepdim) if x.ndim else NotImplemented
    if (dtype is not None and dtype.numpy != x.dtype) or x.dtype.char not in "fd" or not x.ndim:
        return NotImplemented
    axes = _axes(dim, x.ndim)
    if x.size >= _LARGE and x.flags.c_contiguous:
        total = _large_sum(x, axes)
        if total is not None:
            if keepdim:
                shape = tuple([1 if axes is None or d in _as_tuple(axes) else n for d, n in enumerate(x.shape)])
                return np.asarray(total).reshape(shape)
            return total
    if axes.__class__ is tuple and not x.flags.c_contiguous:
        return NotImplemented  # the reference sees to the order of the result
    return quiet(np.add.reduce, x, axes, None, None, keepdim)


def _amax(x: Any, *, dim: Any, keepdim: bool) -> Any:
    if x.dtype.char not in "fd" or not x.ndim or not x.flags.c_contiguous:
        return NotImplemented
    return quiet(np.maximum.reduce, x, _axes(dim, x.ndim), None, None, keepdim)


def _amin(x: Any, *, dim: Any, keepdim: bool) -> Any:
    if x.dtype.char not in "fd" or not x.ndim or not x.flags.c_contiguous:
        return NotImplemented
    return quiet(np.minimum.reduce, x, _axes(dim, x.ndim), None, None, keepdim)


def _as_tuple(axes: Any) -> tuple[int, ...]:
    return axes if axes.__class__ is tuple else (axes,)


def _large_sum(x: Any, axes: Any) -> Any:
    """The sum over all or over the last dimensions, chunk by chunk; None where this is no faster."""
    if axes is None:
        rows = x.size // _CHUNK
        flat = x.reshape(-1)
        table = flat[: rows * _CHUNK].reshape(rows, _CHUNK)
        sums = np.empty(rows, x.dtype)
        _row_sums(table, sums)
        return quiet(np.add.reduce, sums) + quiet(np.add.reduce, flat[rows * _CHUNK :])
    last = _as_tuple(axes)
    kept = x.ndim - len(last)
    if sorted(last) != list(range(kept, x.ndim)):
        return None
    length = 1
    for size in x.shape[kept:]:
        length *= size
    if not 64 <= length <= _CHUNK:
        return None
    sums = np.empty(x.shape[:kept], x.dtype)
    _row_sums(x.reshape(-1, length), sums.reshape(-1))
    return sums


def _row_sums(table: Any, sums: Any) -> None:
    """The sums of the rows of a matrix, by several threads where it is large."""
    width = table.shape[1]

    def part(first: int, end: int) -> None:
        low, high = -(-first // width), -(-end // width)
        np.einsum("ij->i", table[low:high], out=sums[low:high])

    if table.size < parallel.LARGE:
        quiet(part, 0, table.size)
    else:
        parallel.in_parts(lambda first, end: quiet(part, first, end), table.size)


def _mean(x: Any, *, dim: Any, keepdim: bool, dtype: Any) -> Any:
    total = _sum(x, dim=dim, keepdim=keepdim, dtype=dtype) if x.dtype.char in "fd" else NotImplemented
    if total is NotImplemented or not x.size:
        return NotImplemented
    return quiet(np.true_divide, total, x.dtype.type(x.size // max(1, np.size(total))))


def _matmul(a: Any, b: Any) -> Any:
    if a.__class__ is b.__class__ is np.ndarray and a.dtype is b.dtype and a.dtype.char in "fd" and a.ndim < 3 > b.ndim:
        return quiet(np.matmul, a, b)
    return NotImplemented


def _mm(a: Any, b: Any) -> Any:
    return _matmul(a, b) if a.ndim == 2 == b.ndim else NotImplemented


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    if not (x.dtype is weight.dtype and x.dtype.char in "fd" and x.ndim == 2 == weight.ndim):
        return NotImplemented
    if bias is None:
        return quiet(np.matmul, x, weight.T)
    if bias.dtype is not x.dtype or bias.shape != weight.shape[:1]:
        return NotImplemented
    result = quiet(np.matmul, x, weight.T)
    return quiet(np.add, result, bias, result)


def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)): where exp overflows, the quotient is 0, as it should be."""
    if x.dtype.char not in "fd":
        return NotImplemented
    result = np.asarray(np.negative(x))
    quiet(np.exp, result, result)
    np.add(result, 1, result)
    return quiet(np.reciprocal, result, result)


def silu(x: Any) -> Any:
    """Of one dtype."""
    if x.dtype.char not in "fd":
        return NotImplemented
    result = np.asarray(np.negative(x))
    quiet(np.exp, result, result)
    np.add(result, 1, result)
    return quiet(np.true_divide, x, result, result)


def _clamp(x: Any, low: Any, high: Any) -> Any:
    if x.dtype.char not in "fd":
        return NotImplemented
    for bound in (low, high):
        if bound is not None and bound.__class__ not in _NUMBERS:
            return NotImplemented
    if low is None:
        return NotImplemented if high is None else np.minimum(x, high)
    result = np.maximum(x, low)
    return result if high is None else np.minimum(result, high)


def softmax(x: Any, *, dim: int, dtype: Any) -> Any:
    """Of one dtype, not empty."""
    if x.dtype.char not in "fd" or dtype is not None or not x.size or not x.ndim:
        return NotImplemented
    result = np.empty(x.shape, x.dtype)
    quiet(_softmax_part, x, dim, result)
    return result


def _softmax_part(x: Any, axis: int, result: Any) -> None:
    np.subtract(x, _max_along(x, axis, None, None, True), result)
    np.exp(result, result)
    # The sum is at least 1, so that its reciprocal loses nothing; dividing once a row costs less.
    np.multiply(result, np.reciprocal(_add_along(result, axis, None, None, True)), result)


def log_softmax(x: Any, *, dim: int, dtype: Any) -> Any:
    """Its logarithm, likewise."""
    if x.dtype.char not in "fd" or dtype is not None or not x.size or not x.ndim:
        return NotImplemented
    result = np.empty(x.shape, x.dtype)
    quiet(_log_softmax_part, x, dim, result)
    return result


def _log_softmax_part(x: Any, axis: int, result: Any) -> None:
    np.subtract(x, _max_along(x, axis, None, None, True), result)
    np.subtract(result, np.log(_add_along(np.exp(result), axis, None, None, True)), result)


def _cat(arrays: list[Any], *, dim: int) -> Any:
    dtype = arrays[0].dtype
    for a in arrays:
        if a.dtype is not dtype or not a.ndim:
            return NotImplemented
    return np.concatenate(arrays, dim)


def _stack(arrays: list[Any], *, dim: int) -> Any:
    first = arrays[0]
    rank = first.ndim
    if dim < 0:
        dim += rank + 1
    if not 0 <= dim <= rank:
        return NotImplemented
    for a in arrays:
        if a.dtype is not first.dtype or a.shape != first.shape:
            return NotImplemented
    place = (*(slice(None),) * dim, None)
    return np.concatenate([a[(*place, ...)] for a in arrays], dim)


def _logical(ufunc: Any) -> Callable[..., Any]:
    def evaluate(a: Any, b: Any) -> Any:
        return ufunc(a, b) if a.dtype.char == b.dtype.char == "?" else NotImplemented

    return evaluate


def _isnan(x: Any) -> Any:
    return np.isnan(x) if x.dtype.kind == "f" else NotImplemented


def _dot(a: Any, b: Any) -> Any:
    return (
        quiet(np.dot, a, b) if a.ndim == 1 == b.ndim and a.dtype is b.dtype and a.dtype.char in "fd" else NotImplemented
    )


def _clone(x: Any) -> Any:
    return x.copy() if x.flags.c_contiguous else NotImplemented


def _index_select(x: Any, index: Any, *, dim: int) -> Any:
    if index.ndim != 1 or index.dtype.char not in "lq" or not x.ndim:
        return NotImplemented
    if index.size and int(index.min()) < 0:
        return NotImplemented
    return np.take(x, index, dim)


def _cross_entropy(
    x: Any, target: Any, weight: Any, *, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    """For class indices over [N, C] that all count."""
    if weight is not None or label_smoothing or x.ndim != 2 or target.ndim != 1 or target.dtype.char not in "lq":
        return NotImplemented
    rows, classes = x.shape
    if x.dtype.char not in "fd" or len(target) != rows or not rows or reduction not in ("mean", "sum"):
        return NotImplemented
    if int(target.min()) < 0 or int(target.max()) >= classes or ignore_index >= 0:
        return NotImplemented  # ignored ones, or an error
    value = quiet(_log_softmax_of, x)[np.arange(rows), target]
    total = quiet(np.add.reduce, value)
    return -total if reduction == "sum" else -total / x.dtype.type(rows)


def _log_softmax_of(x: Any) -> Any:
    result = np.empty(x.shape, x.dtype)
    _log_softmax_part(x, 1, result)
    return result


def _plain_windows(x: Any, window: dict[str, Any]) -> Any:
    """The elements of pooling windows that tile the input, one array per place in the window; None for others."""
    kernel, stride, ones = window["kernel_size"], window["stride"], window["dilation"]
    if any(window["padding"]) or any(d != 1 for d in ones) or window["ceil_mode"] or x.dtype.char not in "fd":
        return None
    high, wide = kernel if len(kernel) == 2 else kernel * 2
    if stride and tuple(stride if len(stride) == 2 else stride * 2) != (high, wide):
        return None
    rows, columns = x.shape[-2] // high, x.shape[-1] // wide
    tiled = x[..., : rows * high, : columns * wide]
    return [tiled[..., i::high, j::wide] for i in range(high) for j in range(wide)]


def max_pool2d(x: Any, **window: Any) -> Any:
    """Windows that tile the image."""
    parts = _plain_windows(x, window)
    return NotImplemented if parts is None else _largest(parts)


def _largest(parts: list[Any]) -> Any:
    best = parts[0].copy(order="C")
    with np.errstate(all="ignore"):
        for part in parts[1:]:
            np.maximum(best, part, out=best)
    return best


def max_pool2d_grad(gradient: Any, x: Any, **window: Any) -> Any:
    """The gradient of `max_pool2d`."""
    parts = _plain_windows(x, window)
    if parts is None:
        return NotImplemented
    best = _largest(parts)
    if (best != best).any():
        return NotImplemented  # NaN equals nothing
    result = np.zeros(x.shape, gradient.dtype)
    free = np.ones(best.shape, bool)  # windows whose first largest element is not found yet
    for part, place in zip(parts, _plain_windows(result, window), strict=True):
        hit = part == best
        hit &= free
        place[...] = kept(hit, gradient)
        free ^= hit
    return result


def _where(condition: Any, a: Any, b: Any) -> Any:
    """Two arrays of one floating-point dtype, or one and a Python number."""
    if condition.dtype.kind != "b":
        return NotImplemented
    if a.__class__ is float or a.__class__ is int:
        if b.__class__ is np.ndarray and b.dtype.kind == "f" and b.ndim:
            return chosen(condition, b.dtype.type(a), b)
    elif a.__class__ is np.ndarray and a.dtype.kind == "f":
        if b.__class__ is np.ndarray and b.dtype is a.dtype:
            return chosen(condition, a, b)
        if (b.__class__ is float or b.__class__ is int) and a.ndim:
            return chosen(condition, a, a.dtype.type(b))
    return NotImplemented


SHORTCUTS: dict[str, Callable[..., Any]] = {
    **{name: _unary(ufunc) for name, ufunc in FLOAT_UFUNCS.items()},
    **{name: _binary(ufunc) for name, ufunc in _BINARY.items()},
    "relu": _relu,
    "pow": _pow,
    "sum": _sum,
    "mean": _mean,
    "matmul": _matmul,
    "mm": _mm,
    "linear": _linear,
    "where": _where,
    "amax": _amax,
    "amin": _amin,
    "sigmoid": _sigmoid,
    "silu": silu,
    "clamp": _clamp,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "cat": _cat,
    "stack": _stack,
    "bitwise_and": _logical(np.logical_and),
    "bitwise_or": _logical(np.logical_or),
    "bitwise_xor": _logical(np.logical_xor),
    "isnan": _isnan,
    "dot": _dot,
    "clone": _clone,
    "index_select": _index_select,
    "cross_entropy": _cross_entropy,
}

CHECKED_SHORTCUTS: dict[str, Callable[..., Any]] = {
    "max_pool2d": max_pool2d,
    "max_pool2d_grad": max_pool2d_grad,
}
