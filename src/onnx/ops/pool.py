"""Pooling: by Ingot's in two dimensions with equal padding, else as a maximum or sum over shifted windows."""

import itertools
import math
from typing import Any

import numpy as np

from ...ir.ops._op import F
from ..registry import op
from .conv import pad_spatial, same_pads

# Every place of such a window is an operation of the graph.
MAX_WINDOW = 4096


class _Window:
    """The attributes of a pooling operator, with the padding that `ceil_mode` and `auto_pad` add put in."""

    def __init__(self, node: Any, x: Any) -> None:
        rank = x.ndim - 2
        self.kernel = list(node.attribute("kernel_shape"))
        self.strides = list(node.attribute("strides", (1,) * rank))
        self.dilations = list(node.attribute("dilations", (1,) * rank))
        self.pads = same_pads(node, list(x.shape)[2:], self.kernel, self.strides, self.dilations)
        self.ceil = bool(node.attribute("ceil_mode", 0)) and node.attribute("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        self.rank = rank

    @property
    def is_plain(self) -> bool:
        """Whether Ingot's two-dimensional pooling takes it."""
        pads = self.pads[: self.rank]
        small = all(2 * p <= k for p, k in zip(pads, self.kernel, strict=True))
        return self.rank in (1, 2) and pads == self.pads[self.rank :] and small and not self.ceil

    def output(self, node: Any, x: Any) -> list[Any]:
        """The sizes of the result; with `ceil_mode` no window starts in the padding behind."""
        sizes = []
        for i in range(self.rank):
            size = x.shape[2 + i]
            room = size + self.pads[i] + self.pads[self.rank + i] - self.dilations[i] * (self.kernel[i] - 1) - 1
            if not self.ceil:
                sizes.append(room // self.strides[i] + 1)
                continue
            count = -(-node.fix(room) // self.strides[i]) + 1
            if (count - 1) * self.strides[i] >= node.fix(size) + self.pads[i]:
                count -= 1
            sizes.append(count)
        return sizes

    def slices(self, node: Any, x: Any, value: float) -> list[Any]:
        """For every place in the window, the elements that all windows have there."""
        if math.prod(self.kernel) > MAX_WINDOW:
            raise node.error(f"{node.op_type}: a window of {self.kernel} has more than {MAX_WINDOW} places")
        out = self.output(node, x)
        pads = list(self.pads)
        if self.ceil:
            for i in range(self.rank):
                # Windows may reach past the padding behind.
                end = (out[i] - 1) * self.strides[i] + self.dilations[i] * (self.kernel[i] - 1) + 1
                pads[self.rank + i] = max(pads[self.rank + i], end - node.fix(x.shape[2 + i]) - pads[i])
        padded = pad_spatial(x, pads, value)
        found = []
        for place in itertools.product(*map(range, self.kernel)):
            part = padded
            for i, k in enumerate(place):
                start = k * self.dilations[i]
                stop = start + (out[i] - 1) * self.strides[i] + 1
                part = F.slice(part, start, stop, dim=2 + i, step=self.strides[i])
            found.append(part)
        return found


def _lowest(x: Any) -> Any:
    return float("-inf") if x.dtype.is_floating_point else int(np.iinfo(x.dtype.numpy).min)


def _total(parts: list[Any]) -> Any:
    result = parts[0]
    for part in parts[1:]:
        result = F.add(result, part)
    return result


@op("MaxPool")
def max_pool(node: Any, x: Any) -> Any:
    window = _Window(node, x)
    if node.has_output(1):
        return _max_with_indices(node, x, window)
    if window.is_plain and x.dtype.is_floating_point:
        function = F.max_pool1d if window.rank == 1 else F.max_pool2d
        arguments = (window.kernel, window.strides, window.pads[: window.rank], window.dilations)
        return function(x, *(tuple(a) for a in arguments))
    result, *others = window.slices(node, x, _lowest(x))
    for part in others:
        result = F.maximum(result, part)
    return result


def _max_with_indices(node: Any, x: Any, window: _Window) -> Any:
    """The maxima and their positions in the whole tensor, counted in row-major order (or column-major)."""
    shape = tuple(x.shape)
    spatial = shape[2:]
    if node.attribute("storage_order", 0):
        order: list[Any] = []
        step: Any = 1
        for size in spatial:
            order.append(step)
            step = step * size
    else:
        order, step = [], 1
        for size in reversed(spatial):
            order.insert(0, step)
            step = step * size
    position = F.reshape(F.mul(F.arange(0, shape[0] * shape[1], 1), step), (shape[0], shape[1], *[1] * window.rank))
    for i, (size, stride) in enumerate(zip(spatial, order, strict=True)):
        along = F.reshape(F.mul(F.arange(0, size, 1), stride), (size, *[1] * (window.rank - 1 - i)))
        position = F.add(position, along)
    values, places = window.slices(node, x, _lowest(x)), window.slices(node, F.expand(position, shape), 0)
    best, where = values[0], places[0]
    for value, place in zip(values[1:], places[1:], strict=True):
        larger = F.gt(value, best)
        best, where = F.where(larger, value, best), F.where(larger, place, where)
    return best, where


@op("AveragePool")
def average_pool(node: Any, x: Any) -> Any:
    window = _Window(node, x)
    padded = bool(node.attribute("count_include_pad", 0))
    if window.is_plain and all(d == 1 for d in window.dilations):
        function = F.avg_pool1d if window.rank == 1 else F.avg_pool2d
        pads = tuple(window.pads[: window.rank])
        return function(x, tuple(window.kernel), tuple(window.strides), pads, False, padded)
    total = _total(window.slices(node, x, 0))
    ones = F.full(tuple(x.shape), 1, dtype=x.dtype)
    if padded:
        # What ceil_mode adds behind the padding is not counted.
        ones = pad_spatial(ones, window.pads, 1)
        window.pads = [0] * len(window.pads)
        whole = _Whole(window, total)
        return F.div(total, _total(whole.slices(node, ones, 0)))
    return F.div(total, _total(window.slices(node, ones, 0)))


class _Whole(_Window):
    """A window over a tensor that is padded already, with as many results as another tensor has elements."""

    def __init__(self, window: _Window, like: Any) -> None:
        self.__dict__.update(window.__dict__)
        self._sizes = list(like.shape)[2:]

    def output(self, node: Any, x: Any) -> list[Any]:
        return self._sizes


@op("LpPool")
def lp_pool(node: Any, x: Any) -> Any:
    p = node.attribute("p", 2)
    total = _total([F.pow(F.abs(part), p) for part in _Window(node, x).slices(node, x, 0)])
    return F.pow(total, 1.0 / p)


def _spatial(x: Any) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@op("GlobalAveragePool")
def global_average_pool(node: Any, x: Any) -> Any:
    return F.mean(x, _spatial(x), True)


@op("GlobalMaxPool")
def global_max_pool(node: Any, x: Any) -> Any:
    return F.amax(x, _spatial(x), True)


@op("GlobalLpPool")
def global_lp_pool(node: Any, x: Any) -> Any:
    p = node.attribute("p", 2)
    return F.pow(F.sum(F.pow(F.abs(x), p), _spatial(x), True), 1.0 / p)


@op("MaxUnpool", values=(2,))
def max_unpool(node: Any, x: Any, indices: Any, shape: Any = None) -> Any:
    rank = x.ndim - 2
    kernel = node.attribute("kernel_shape")
    strides, pads = node.attribute("strides", (1,) * rank), node.attribute("pads", (0,) * (2 * rank))
    sizes = [(x.shape[2 + i] - 1) * strides[i] - pads[i] - pads[rank + i] + kernel[i] for i in range(rank)]
    inner = [x.shape[0], x.shape[1], *sizes]
    target = inner if shape is None else node.sizes(shape, "the output shape")
    total: Any = 1
    for d in inner:
        total = total * d
    flat = F.full((total,), 0, dtype=x.dtype)
    result = F.reshape(F.scatter(flat, 0, F.reshape(indices, (-1,)), F.reshape(x, (-1,))), tuple(inner))
    amounts = [n for i in reversed(range(rank)) for n in (0, target[2 + i] - inner[2 + i])]
    return F.pad(result, tuple(amounts), "constant", 0)
