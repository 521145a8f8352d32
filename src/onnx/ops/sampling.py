"""DeformConv and RoiAlign: elements at places that are computed, between which images are interpolated."""

import itertools
import math
from typing import Any

from ...ir import dtypes
from ...ir.dims import DimExpr
from ...ir.ops._op import F
from ..registry import op


def _interpolated(x: Any, places: list[Any], sizes: list[Any], low: float | None, join: Any = F.add) -> Any:
    """Elements of x, [rows, channels, positions], at places [rows, points] of each dimension: [rows, channels, points].

    A corner outside counts as 0. Where `low` is given, a place up to it below the first element takes that one, and
    places farther out are 0 (as RoiAlign has it). `join` puts the weighted corners together.
    """
    rows, channels, _ = x.shape
    inside_all = None
    total = None
    if low is not None:
        for place, size in zip(places, sizes, strict=True):
            fits = F.logical_and(F.ge(place, low), F.le(place, F.cast(_number(size, place), dtype=place.dtype)))
            inside_all = fits if inside_all is None else F.logical_and(inside_all, fits)
        places = [F.clamp(place, 0, None) for place in places]
        places = [
            F.minimum(place, F.cast(_number(size - 1, place), dtype=place.dtype))
            for place, size in zip(places, sizes, strict=True)
        ]
    floors = [F.floor(place) for place in places]
    weight: Any
    position: Any
    inside: Any
    for corner in itertools.product((0, 1), repeat=len(places)):
        weight, position, inside = None, None, None
        for place, start, size, step in zip(places, floors, sizes, corner, strict=True):
            index = F.cast(start, dtype=dtypes.int64)
            index = F.add(index, 1) if step else index
            share = F.sub(place, start) if step else F.sub(F.add(start, 1.0), place)
            weight = share if weight is None else F.mul(weight, share)
            fits = F.logical_and(F.ge(index, 0), F.lt(index, size))
            inside = fits if inside is None else F.logical_and(inside, fits)
            index = F.where(fits, index, F.full((), 0, dtype=dtypes.int64))
            position = index if position is None else F.add(F.mul(position, size), index)
        zero = F.full((), 0, dtype=x.dtype)
        weight = F.where(inside, F.cast(weight, dtype=x.dtype), zero)
        points = position.shape[-1]
        wanted = F.expand(F.unsqueeze(position, 1), (rows, channels, points))
        part = F.mul(F.gather(x, 2, wanted), F.unsqueeze(weight, 1))
        total = part if total is None else join(total, part)
    return total if inside_all is None else F.where(F.unsqueeze(inside_all, 1), total, F.full((), 0, dtype=x.dtype))


def _number(size: Any, like: Any) -> Any:
    """A size as a tensor."""
    return (
        F.scalar_tensor(size, dtype=dtypes.int64) if isinstance(size, DimExpr) else F.full((), size, dtype=like.dtype)
    )


@op("DeformConv")
def deform_conv(node: Any, x: Any, w: Any, offset: Any, b: Any = None, mask: Any = None) -> Any:
    """A convolution whose taps are moved by offsets (Dai et al., 2017) and weighted by a mask (Zhu et al., 2019)."""
    rank = x.ndim - 2
    batch, channels = x.shape[0], node.fix(x.shape[1])
    outputs = node.fix(w.shape[0])
    kernel = node.shape(w)[2:]
    group, offset_group = node.attribute("group", 1), node.attribute("offset_group", 1)
    if group < 1 or offset_group < 1 or channels % offset_group or channels % group or outputs % group:
        raise node.error(
            f"DeformConv: {channels} channels to {outputs} in {group} groups, {offset_group} of offsets, do not divide"
        )
    strides = node.attribute("strides", (1,) * rank)
    dilations = node.attribute("dilations", (1,) * rank)
    pads = node.attribute("pads", (0,) * (2 * rank))
    taps = math.prod(kernel)
    sizes = list(x.shape[2:])
    out = list(offset.shape[2:])
    # Offsets lie as [batch, group of offsets, tap, dimension, output place...].
    moved = F.reshape(offset, (batch, offset_group, taps, rank, *out))
    points = math.prod(out)
    places = []
    for dim in range(rank):
        start = F.mul(F.arange(0, out[dim], 1), strides[dim])
        start = F.sub(F.cast(start, dtype=x.dtype), float(pads[dim]))
        shape = [1] * rank
        shape[dim] = out[dim]
        start = F.reshape(start, tuple(shape))
        tap = [index[dim] * dilations[dim] for index in itertools.product(*(range(k) for k in kernel))]
        tap = F.reshape(node.constant(tap, x.dtype), (taps, *(1,) * rank))
        place = F.add(F.add(F.select(moved, dim, dim=3), tap), start)  # [batch, offset group, tap, output place...]
        places.append(F.reshape(place, (batch * offset_group, taps * points)))
    flat = F.reshape(x, (batch * offset_group, channels // offset_group, math.prod(sizes)))
    values = _interpolated(flat, places, sizes, None)
    if mask is not None:
        values = F.mul(values, F.reshape(mask, (batch * offset_group, 1, taps * points)))
    columns = F.reshape(values, (batch, group, channels // group * taps, points))
    weights = F.reshape(w, (1, group, outputs // group, channels // group * taps))
    result = F.reshape(F.matmul(weights, columns), (batch, outputs, *out))
    return result if b is None else F.add(result, F.reshape(b, (1, outputs, *(1,) * rank)))


@op("RoiAlign")
def roi_align(node: Any, x: Any, rois: Any, batch_indices: Any) -> Any:
    """Regions of images, each cut into equal bins of averaged samples (He et al., "Mask R-CNN", 2017, section 3)."""
    count = rois.shape[0]
    channels = x.shape[1]
    height, width = x.shape[2], x.shape[3]
    rows, columns = node.attribute("output_height", 1), node.attribute("output_width", 1)
    ratio = node.attribute("sampling_ratio", 0)
    if rows < 1 or columns < 1 or ratio < 0:
        raise node.error(
            f"RoiAlign: expected sizes of at least 1 and a ratio of at least 0, given {rows}, {columns}, {ratio}"
        )
    mode = node.attribute("mode", "avg")
    if mode not in ("avg", "max"):
        raise node.error(f"RoiAlign: expected mode avg or max, given {mode!r}")
    default = "half_pixel" if node.version >= 16 else "output_half_pixel"
    half = node.attribute("coordinate_transformation_mode", default) == "half_pixel"
    scaled = F.mul(rois, node.attribute("spatial_scale", 1.0))
    if half:
        scaled = F.sub(scaled, 0.5)
    left, top, right, bottom = (F.select(scaled, k, dim=1) for k in range(4))
    spans = [F.sub(bottom, top), F.sub(right, left)]
    if not half:
        spans = [F.clamp(span, 1.0, None) for span in spans]
    bins = [F.div(span, float(n)) for span, n in zip(spans, (rows, columns), strict=True)]
    if ratio:
        wanted = [None, None]
        steps = [F.arange(0, ratio, 1)] * 2
    else:
        # Each region has its own number of samples, the size of a bin rounded up: the most that any needs are laid out.
        wanted = [F.clamp(F.ceil(size), 1.0, None) for size in bins]
        one = node.constant([1.0], rois.dtype)
        most = [F.item(F.cast(F.amax(F.cat((number, one), 0), (0,), False), dtype=dtypes.int64)) for number in wanted]
        steps = [F.arange(0, number, 1) for number in most]
    image = F.index_select(x, 0, F.cast(batch_indices, dtype=dtypes.int64))
    flat = F.reshape(image, (count, channels, height * width))
    axes: list[Any] = []
    lives: list[Any] = []
    for start, size, n, step, limit in zip((top, left), bins, (rows, columns), steps, wanted, strict=True):
        step = F.reshape(F.cast(step, dtype=rois.dtype), (1, 1, -1))
        places = F.reshape(F.cast(F.arange(0, n, 1), dtype=rois.dtype), (1, n, 1))
        share = float(ratio) if limit is None else F.reshape(limit, (count, 1, 1))
        size3, start3 = F.reshape(size, (count, 1, 1)), F.reshape(start, (count, 1, 1))
        inner = F.div(F.mul(F.add(step, 0.5), size3), share)
        axes.append(F.add(start3, F.add(F.mul(places, size3), inner)))  # [region, bin, sample]
        lives.append(None if limit is None else F.lt(step, share))
    (y, v), (sy, sx) = axes, (step.shape[0] for step in steps)
    shape = (count, rows, sy, columns, sx)
    grid = [
        F.expand(F.reshape(y, (count, rows, sy, 1, 1)), shape),
        F.expand(F.reshape(v, (count, 1, 1, columns, sx)), shape),
    ]
    points = rows * sy * columns * sx
    # The operator's reference takes the greatest weighted corner in mode max, not that of interpolated values.
    join = F.add if mode == "avg" else F.maximum
    values = _interpolated(flat, [F.reshape(g, (count, points)) for g in grid], [height, width], -1.0, join)
    values = F.reshape(values, (count, channels, *shape[1:]))
    if lives[0] is None:
        return F.mean(values, (3, 5)) if mode == "avg" else F.amax(values, (3, 5), False)
    live = F.logical_and(F.reshape(lives[0], (count, 1, 1, sy, 1, 1)), F.reshape(lives[1], (count, 1, 1, 1, 1, sx)))
    if mode == "max":
        return F.amax(F.where(live, values, F.full((), -math.inf, dtype=x.dtype)), (3, 5), False)
    number = F.reshape(F.mul(wanted[0], wanted[1]), (count, 1, 1, 1))
    return F.div(F.sum(F.where(live, values, F.full((), 0, dtype=x.dtype)), (3, 5)), number)
