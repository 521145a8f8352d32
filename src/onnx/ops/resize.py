"""Resize, Upsample and GridSample: elements at computed places, weighted by an interpolation kernel."""

import itertools
import math
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.ops._op import F
from ..registry import op

_Floats = np.ndarray[Any, np.dtype[np.float64]]


def cubic_kernel(t: _Floats, a: float) -> _Floats:
    """The cubic convolution kernel (Keys, 1981, equation 4 with a free parameter)."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _places(mode: str, size: int, out: int, scale: float, roi: tuple[float, float]) -> _Floats:
    """For every element of the result, the place in the input that it is taken from."""
    i = np.arange(out, dtype=np.float64)
    match mode:
        case "half_pixel":
            return (i + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            return (i + 0.5) / scale - 0.5 if out > 1 else i * 0
        case "half_pixel_symmetric":
            # The middle of the input stays the middle of the result, although its size is rounded.
            offset = size / 2 * (1 - out / (scale * size))
            return offset + (i + 0.5) / scale - 0.5
        case "align_corners":
            # By the size before it is rounded down, as the operator's definition has it.
            return i * ((size - 1) / (scale * size - 1)) if out > 1 else i * 0
        case "asymmetric":
            return i / scale
        case "tf_crop_and_resize":
            start, end = roi
            if out == 1:
                return i * 0 + 0.5 * (start + end) * (size - 1)
            return start * (size - 1) + i * ((end - start) * (size - 1) / (out - 1))
    raise ValueError(f"unknown coordinate_transformation_mode {mode!r}")


def _weights(node: Any, kind: str, places: _Floats, size: int, scale: float) -> _Floats:
    """The matrix [result, input] that interpolates along one dimension."""
    out = len(places)
    matrix = np.zeros((out, size))
    rows = np.arange(out)
    if kind == "nearest":
        rounding = node.attribute("nearest_mode", "round_prefer_floor" if node.version >= 11 else "floor")
        functions: dict[str, Any] = {
            "round_prefer_floor": lambda x: np.ceil(x - 0.5),
            "round_prefer_ceil": lambda x: np.floor(x + 0.5),
            "floor": np.floor,
            "ceil": np.ceil,
        }
        chosen = np.clip(functions[rounding](places), 0, size - 1).astype(np.int64)
        matrix[rows, chosen] = 1
        return matrix
    radius = 1 if kind == "linear" else 2
    shrink = min(scale, 1.0) if node.attribute("antialias", 0) else 1.0  # a wider kernel averages when shrinking
    reach = math.ceil(radius / shrink)
    base = np.floor(places).astype(np.int64)
    exclude = node.attribute("exclude_outside", 0)
    for k in range(1 - reach, reach + 1):
        index = base + k
        distance = (index - places) * shrink
        if kind == "linear":
            weight = np.maximum(1 - np.abs(distance), 0)
        else:
            weight = cubic_kernel(distance, node.attribute("cubic_coeff_a", -0.75))
        if exclude:
            weight = np.where((index < 0) | (index >= size), 0.0, weight)
        np.add.at(matrix, (rows, np.clip(index, 0, size - 1)), weight)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _apply(node: Any, x: Any, axis: int, matrix: _Floats) -> Any:
    """A matrix with few elements other than 0 per row, applied along an axis."""
    out, size = matrix.shape
    filled = matrix != 0
    first = np.where(filled.any(axis=1), filled.argmax(axis=1), 0)
    last = np.where(filled.any(axis=1), size - 1 - filled[:, ::-1].argmax(axis=1), 0)
    shape = [1] * x.ndim
    shape[axis] = out
    total = None
    for k in range(int((last - first).max()) + 1 if out else 1):
        index = np.minimum(first + k, size - 1)
        weight = np.where(first + k < size, matrix[np.arange(out), index], 0.0)
        part = F.index_select(x, axis, node.constant(index, dtypes.int64))
        if not (weight == 1).all():
            part = F.mul(part, node.constant(weight.reshape(shape), x.dtype))
        total = part if total is None else F.add(total, part)
    return total


def _resized(node: Any, x: Any, scales: list[float], outs: list[int | None], mode: str, roi: Any) -> Any:
    """The tensor with every dimension whose scale is not 1 resized; sizes of the result follow from the scales."""
    kind = node.attribute("mode", "nearest")
    original = x
    exact = x.dtype if x.dtype.is_floating_point else None
    if exact is None and kind != "nearest":
        x = F.cast(x, dtype=dtypes.float32)
    outside = None
    for axis, (scale, given) in enumerate(zip(scales, outs, strict=True)):
        if scale == 1 and given is None and mode != "tf_crop_and_resize":
            continue
        repeats = kind == "nearest" and given is None and scale == int(scale) and _repeats(node, mode)
        if repeats:
            x = F.repeat_interleave(x, int(scale), dim=axis)  # also where the size is not known
            continue
        size = node.fix(x.shape[axis])
        out = given if given is not None else math.floor(size * scale)
        if out == size and given is not None and scale == 1 and mode != "tf_crop_and_resize":
            continue
        if not 0 <= out <= 1 << 24:
            raise node.error(f"{node.op_type}: a size of {out} is out of range")
        places = _places(mode, size, out, scale, (roi[axis], roi[len(scales) + axis]) if roi is not None else (0, 1))
        if out != size or (places != np.arange(size)).any():
            x = _apply(node, x, axis, _weights(node, kind, places, size, scale))
        if mode == "tf_crop_and_resize":
            shape = [1] * x.ndim
            shape[axis] = out
            beyond = ((places < 0) | (places > size - 1)).reshape(shape)
            if beyond.any():
                outside = beyond if outside is None else outside | beyond
    if outside is not None:
        value = node.like(node.attribute("extrapolation_value", 0.0), x)
        x = F.where(node.constant(outside), value, x)
    if exact is None and kind != "nearest":
        x = F.cast(F.round(x), dtype=original.dtype)
    return x


def _repeats(node: Any, mode: str) -> bool:
    """Whether scaling by an integer repeats every element that often."""
    rounding = node.attribute("nearest_mode", "round_prefer_floor" if node.version >= 11 else "floor")
    if mode == "asymmetric":
        return bool(rounding == "floor")
    return mode in ("half_pixel", "half_pixel_symmetric") and rounding.startswith("round")


@op("Resize", values=(1, 2, 3))
def resize(node: Any, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Any:
    if node.version < 11:
        roi, scales = None, roi
    mode = node.attribute("coordinate_transformation_mode", "half_pixel" if node.version >= 11 else "asymmetric")
    axes = [node.axis(a, x.ndim) for a in node.attribute("axes", tuple(range(x.ndim)))]
    factors, outs = [1.0] * x.ndim, list[int | None]([None] * x.ndim)
    if scales is not None and node.array(scales, "the scales").size:
        for axis, scale in zip(axes, node.array(scales).reshape(-1), strict=True):
            factors[axis] = float(scale)
    elif sizes is not None:
        wanted = node.ints(sizes, "the sizes")
        given = [n / node.fix(x.shape[a]) for a, n in zip(axes, wanted, strict=True)]
        policy = node.attribute("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            common = min(given) if policy == "not_larger" else max(given)
            given = [common] * len(axes)
            wanted = tuple(math.floor(common * node.fix(x.shape[a]) + 0.5) for a in axes)
        for axis, scale, n in zip(axes, given, wanted, strict=True):
            factors[axis], outs[axis] = scale, n
    else:
        raise node.error("Resize needs scales or sizes")
    region = None
    if mode == "tf_crop_and_resize":
        given_roi = node.array(roi, "the region")
        region = [0.0] * x.ndim + [1.0] * x.ndim
        for i, axis in enumerate(axes):
            region[axis], region[x.ndim + axis] = float(given_roi[i]), float(given_roi[len(axes) + i])
    if any(f <= 0 for f in factors):
        raise node.error(f"Resize: the scales must be above 0, given {factors}")
    return _resized(node, x, factors, outs, mode, region)


@op("Upsample", values=(1,))
def upsample(node: Any, x: Any, scales: Any = None) -> Any:
    given = node.attribute("scales", None) if scales is None else node.array(scales, "the scales").reshape(-1)
    return _resized(node, x, [float(s) for s in given], [None] * x.ndim, "asymmetric", None)


# -- GridSample --------------------------------------------------------------------------------------------------------


def _reflected(x: Any, low: float, high: float) -> Any:
    """Places reflected at both ends until they are between them."""
    extent = high - low
    if extent <= 0:
        return F.mul(x, 0)
    place = F.remainder(F.sub(x, low), 2 * extent)
    return F.add(F.sub(extent, F.abs(F.sub(place, extent))), low)


@op("GridSample")
def grid_sample(node: Any, x: Any, grid: Any) -> Any:
    """Elements at places between -1 and 1 (Jaderberg et al., "Spatial Transformer Networks", 2015)."""
    rank = x.ndim - 2
    align = node.attribute("align_corners", 0)
    padding = node.attribute("padding_mode", "zeros")
    kind = {"bilinear": "linear", "bicubic": "cubic"}.get(m := node.attribute("mode", "linear"), m)
    sizes = [node.fix(d) for d in tuple(x.shape)[2:]]
    batch, channels = x.shape[0], x.shape[1]
    places = []
    for i, size in enumerate(sizes):
        given = F.select(grid, rank - 1 - i, dim=grid.ndim - 1)  # the last coordinate is that of the first dimension
        if align:
            place = F.mul(F.add(given, 1.0), (size - 1) / 2)
        else:
            place = F.sub(F.mul(F.add(given, 1.0), size / 2), 0.5)
        places.append(place)
    low = [0.0 if align else -0.5] * rank
    high = [size - 1.0 if align else size - 0.5 for size in sizes]
    flat = F.reshape(x, (batch, channels, math.prod(sizes)))
    points = places[0].shape[1:]

    def at(index: list[Any]) -> Any:
        """The elements at integral places, by the rules for what is outside."""
        inside = None
        position = None
        for i, size in enumerate(sizes):
            value = index[i]
            if padding == "reflection":
                value = F.clamp(_reflected(value, low[i], high[i]), 0, size - 1)
            elif padding == "zeros":
                fits = F.logical_and(F.ge(value, 0), F.le(value, size - 1))
                inside = fits if inside is None else F.logical_and(inside, fits)
            whole = F.cast(F.clamp(value, 0, size - 1), dtype=dtypes.int64)
            position = whole if position is None else F.add(F.mul(position, size), whole)
        wanted = F.reshape(position, (batch, 1, -1))
        found = F.gather(flat, 2, F.expand(wanted, (batch, channels, wanted.shape[2])))
        if inside is not None:
            found = F.mul(found, F.cast(F.reshape(inside, (batch, 1, -1)), dtype=x.dtype))
        return found

    if padding == "border":
        if kind != "cubic":
            places = [F.clamp(p, 0, size - 1) for p, size in zip(places, sizes, strict=True)]
    elif padding == "reflection" and kind != "cubic":
        places = [
            F.clamp(_reflected(p, a, b), 0, size - 1) for p, a, b, size in zip(places, low, high, sizes, strict=True)
        ]
    if kind == "nearest":
        result = at([F.round(p) for p in places])
        return F.reshape(result, (batch, channels, *points))
    bases = [F.floor(p) for p in places]
    fractions = [F.sub(p, b) for p, b in zip(places, bases, strict=True)]
    taps = range(2) if kind == "linear" else range(-1, 3)
    result = None
    for offsets in itertools.product(taps, repeat=rank):
        weight = None
        for fraction, offset in zip(fractions, offsets, strict=True):
            if kind == "linear":
                factor = fraction if offset else F.sub(1.0, fraction)
            else:
                factor = _cubic(F.abs(F.sub(fraction, float(offset))), abs(offset - 0.5) < 1)
            weight = factor if weight is None else F.mul(weight, factor)
        value = at([F.add(b, float(offset)) for b, offset in zip(bases, offsets, strict=True)])
        part = F.mul(value, F.reshape(weight, (batch, 1, -1)))
        result = part if result is None else F.add(result, part)
    return F.reshape(result, (batch, channels, *points))


def _cubic(t: Any, near: bool, a: float = -0.75) -> Any:
    """Keys' kernel at distances that are all below 1 (near) or between 1 and 2."""
    if near:
        return F.add(F.mul(F.mul(F.sub(F.mul(t, a + 2), a + 3), t), t), 1.0)
    return F.sub(F.mul(F.add(F.mul(F.sub(F.mul(t, a), 5 * a), t), 8 * a), t), 4 * a)
