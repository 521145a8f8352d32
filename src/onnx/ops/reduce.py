"""Reductions, cumulative sums, and the positions of extremes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.ops._op import F
from ..registry import op


def _reduction(function: Callable[[Any, tuple[int, ...], bool], Any]) -> Callable[..., Any]:
    def emit(node: Any, x: Any, axes: Any = None) -> Any:
        given = node.ints_of("axes", axes)
        keep = bool(node.attribute("keepdims", 1))
        if not given:
            if node.attribute("noop_with_empty_axes", 0):
                return function(x, (), keep)
            given = range(x.ndim)
        return function(x, tuple(node.axis(a, x.ndim) for a in given), keep)

    return emit


def _sum(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return F.sum(x, axes, keep, dtype=x.dtype) if axes else x


def _mean(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    if not axes:
        return x
    if x.dtype.is_floating_point:
        return F.mean(x, axes, keep)
    return F.cast(F.mean(F.cast(x, dtype=dtypes.float64), axes, keep), dtype=x.dtype)


def _prod(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    for axis in sorted(axes, reverse=True):
        x = F.prod(x, axis, keep, dtype=x.dtype)
    return x


def _extreme(name: str) -> Callable[..., Any]:
    def function(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
        if not axes:
            return x
        if x.dtype is dtypes.bool_:
            return F.any(x, axes, keep) if name == "amax" else F.all(x, axes, keep)
        if any(isinstance(x.shape[a], int) and x.shape[a] == 0 for a in axes):
            # Of no elements: the identity, as the newest version of the operator has it.
            info: Any = np.finfo(x.dtype.numpy) if x.dtype.is_floating_point else np.iinfo(x.dtype.numpy)
            value = (info.min if name == "amax" else info.max) if not x.dtype.is_floating_point else float("inf")
            value = -value if name == "amax" and x.dtype.is_floating_point else value
            shape = [1 if a in axes else d for a, d in enumerate(x.shape) if keep or a not in axes]
            return F.full(tuple(shape), value, dtype=x.dtype)
        return getattr(F, name)(x, axes, keep)

    return function


def _log_sum_exp(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return F.logsumexp(x, axes, keep) if axes else x


op("ReduceSum", values=(1,))(_reduction(_sum))
op("ReduceMean", values=(1,))(_reduction(_mean))
op("ReduceProd", values=(1,))(_reduction(_prod))
op("ReduceMax", values=(1,))(_reduction(_extreme("amax")))
op("ReduceMin", values=(1,))(_reduction(_extreme("amin")))
op("ReduceL1", values=(1,))(_reduction(lambda x, axes, keep: _sum(F.abs(x), axes, keep)))
op("ReduceL2", values=(1,))(_reduction(lambda x, axes, keep: F.sqrt(_sum(F.mul(x, x), axes, keep))))
op("ReduceSumSquare", values=(1,))(_reduction(lambda x, axes, keep: _sum(F.mul(x, x), axes, keep)))
op("ReduceLogSum", values=(1,))(_reduction(lambda x, axes, keep: F.log(_sum(x, axes, keep))))
op("ReduceLogSumExp", values=(1,))(_reduction(_log_sum_exp))


def _position(name: str) -> Callable[..., Any]:
    def emit(node: Any, x: Any) -> Any:
        axis = node.axis(node.attribute("axis", 0), x.ndim)
        keep = bool(node.attribute("keepdims", 1))
        if not node.attribute("select_last_index", 0):
            return getattr(F, name)(x, axis, keep)
        reversed_ = getattr(F, name)(F.flip(x, (axis,)), axis, keep)
        return F.add(F.neg(reversed_), x.shape[axis] - 1)

    return emit


op("ArgMax")(_position("argmax"))
op("ArgMin")(_position("argmin"))


def _cumulative(name: str) -> Callable[..., Any]:
    def emit(node: Any, x: Any, axis: Any) -> Any:
        dim = node.axis(int(node.number(axis, what="the axis")), x.ndim)
        backwards = node.attribute("reverse", 0)
        x = F.flip(x, (dim,)) if backwards else x
        if node.attribute("exclusive", 0):
            # Without the element itself: everything moves by one, and the first is the neutral element.
            padding = [0] * (2 * x.ndim)
            padding[2 * (x.ndim - 1 - dim)] = 1
            x = F.pad(F.slice(x, 0, -1, dim=dim), tuple(padding), "constant", 0 if name == "cumsum" else 1)
        result = getattr(F, name)(x, dim, dtype=x.dtype)
        return F.flip(result, (dim,)) if backwards else result

    return emit


op("CumSum", values=(1,))(_cumulative("cumsum"))
op("CumProd", values=(1,))(_cumulative("cumprod"))
