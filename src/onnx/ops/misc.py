"""Detection, spectra, random numbers and the other operators that stand alone."""

import math
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.dims import dim_min
from ...ir.ops._op import F
from ..proto import element_type
from ..registry import op
from ..values import Known
from .control import run_loop


def _areas_overlap(node: Any, boxes: Any, best: Any) -> Any:
    """Intersection over union of each class's best box with all boxes, as [batch, class, box]."""
    if node.attribute("center_point_box", 0):
        x, y, w, h = (F.select(boxes, k, dim=2) for k in range(4))
        sides = (F.sub(y, F.div(h, 2)), F.sub(x, F.div(w, 2)), F.add(y, F.div(h, 2)), F.add(x, F.div(w, 2)))
    else:
        a, b, c, d = (F.select(boxes, k, dim=2) for k in range(4))  # corners in any order
        sides = (F.minimum(a, c), F.minimum(b, d), F.maximum(a, c), F.maximum(b, d))
    top, left, bottom, right = sides
    area = F.mul(F.sub(bottom, top), F.sub(right, left))
    mine = [F.unsqueeze(F.gather(v, 1, best), 2) for v in (top, left, bottom, right, area)]
    top, left, bottom, right, area = (F.unsqueeze(v, 1) for v in (top, left, bottom, right, area))
    height = F.clamp(F.sub(F.minimum(bottom, mine[2]), F.maximum(top, mine[0])), 0, None)
    width = F.clamp(F.sub(F.minimum(right, mine[3]), F.maximum(left, mine[1])), 0, None)
    common = F.mul(height, width)
    union = F.sub(F.add(area, mine[4]), common)
    return F.where(F.gt(union, 0), F.div(common, union), node.like(0, common))


@op("NonMaxSuppression", raw=True)
def non_max_suppression(
    node: Any, scope: Any, boxes: Any, scores: Any, count: Any = None, iou: Any = None, score: Any = None
) -> Any:
    """The best box of every class, then the best of those that overlap it little, and so on, all classes at once."""
    boxes, scores = node.tensor(boxes), node.tensor(scores)
    batch, classes, total = scores.shape
    limit = int(node.number(count, 0, "the number of boxes"))
    if limit <= 0:
        return Known.of(np.zeros((0, 3), np.int64))
    rounds = dim_min(limit, total)
    threshold = float(node.number(iou, 0.0, "the overlap"))
    builder = node.importer.builder
    left = F.mul(scores, 1)
    if score is not None:
        lowest = float(node.number(score, what="the lowest score"))
        left = F.where(F.gt(scores, lowest), scores, node.like(-math.inf, scores))
    chosen = F.full((batch, classes, rounds), -1, dtype=dtypes.int64)
    numbers = F.arange(0, rounds, 1)

    def body(iteration: Any, carried: list[Any]) -> tuple[Any, list[Any], list[Any]]:
        left, chosen = carried
        best = F.argmax(left, 2)
        found = F.gt(F.amax(left, (2,), False), -math.inf)
        overlap = _areas_overlap(node, boxes, best)
        taken = F.eq(F.arange(0, total, 1), F.unsqueeze(best, 2))
        gone = F.logical_or(F.gt(overlap, threshold), taken)
        left = F.where(F.logical_and(gone, F.unsqueeze(found, 2)), node.like(-math.inf, left), left)
        value = F.unsqueeze(F.where(found, best, F.full((), -1, dtype=dtypes.int64)), 2)
        return Known.of(np.array(True)), [left, F.where(F.eq(numbers, iteration), value, chosen)], []

    (_, chosen), _ = run_loop(node, builder.dim(rounds), builder.constant(True), [left, chosen], body, None)
    rows = F.nonzero(F.ge(chosen, 0))
    parts = [F.select(rows, k, dim=1) for k in range(3)]
    box = F.index(chosen, tuple(parts), spec=("tensor",) * 3)
    return F.stack([parts[0], parts[1], box], 1)


# -- spectra -----------------------------------------------------------------------------------------------------------


@op("DFT", values=(1, 2))
def discrete_fourier_transform(node: Any, x: Any, length: Any = None, axis: Any = None) -> Any:
    """The transform as a product with its matrix; the last dimension holds real and imaginary parts."""
    inverse, onesided = node.attribute("inverse", 0), node.attribute("onesided", 0)
    default = node.attribute("axis", 1 if node.version < 20 else -2)
    dim = node.axis(int(node.number(axis, default, "the axis")), x.ndim)
    size = node.fix(x.shape[dim])
    n = int(node.number(length, 2 * (size - 1) if inverse and onesided else size, "the length"))
    if not 1 <= n <= 8192:
        raise node.error(f"DFT: expected a length from 1 to 8192, given {n}")
    if inverse and onesided:
        # Half a spectrum: the other half are the conjugates.
        used = min(size, n // 2 + 1)
        k = np.arange(used)[:, None] * np.arange(n)[None, :] * (2 * np.pi / n)
        factor = np.where((np.arange(used) == 0) | (2 * np.arange(used) == n), 1.0, 2.0)[:, None] / n
        cosine, sine, rows = np.cos(k) * factor, np.sin(k) * factor, used
    else:
        outputs = n // 2 + 1 if onesided else n
        rows = min(size, n)
        k = np.arange(rows)[:, None] * np.arange(outputs)[None, :] * (2 * np.pi / n)
        scale = 1 / n if inverse else 1.0
        cosine, sine = np.cos(k) * scale, np.sin(k) * scale * (1 if inverse else -1)
    exact, given = dtypes.float64, x.dtype  # the sums cancel
    c, s = (node.constant(m, exact) for m in (cosine, sine))
    x = F.cast(x, dtype=exact)
    x = F.slice(x, 0, rows, dim=dim)
    order = [d for d in range(x.ndim - 1) if d != dim] + [dim]
    back = [order.index(d) for d in range(x.ndim - 1)]
    is_complex = node.fix(x.shape[-1]) == 2
    real = F.permute(F.select(x, 0, dim=x.ndim - 1), tuple(order))
    imaginary = F.permute(F.select(x, 1, dim=x.ndim - 1), tuple(order)) if is_complex else None
    real_part, imaginary_part = F.matmul(real, c), F.matmul(real, s)
    if imaginary is not None:
        real_part = F.sub(real_part, F.matmul(imaginary, s))
        imaginary_part = F.add(imaginary_part, F.matmul(imaginary, c))
    parts = [F.permute(real_part, tuple(back))]
    if not (inverse and onesided):
        parts.append(F.permute(imaginary_part, tuple(back)))
    return F.cast(F.stack(parts, x.ndim - 1), dtype=given)


@op("STFT", values=(1, 3))
def short_time_fourier_transform(node: Any, signal: Any, step: Any, window: Any = None, length: Any = None) -> Any:
    """Transforms of frames of a signal, `step` elements apart, each weighted by the window."""
    onesided = node.attribute("onesided", 1)
    samples = node.fix(signal.shape[1])
    given = node.fix(window.shape[0]) if window is not None else samples
    size, hop = int(node.number(length, given, "the frame length")), int(node.number(step, what="the frame step"))
    if not 1 <= size <= min(samples, 8192) or hop < 1:
        raise node.error(f"STFT: frames of {size}, {hop} apart, do not fit a signal of {samples}")
    if signal.ndim == 3 and node.fix(signal.shape[2]) == 2 and onesided:
        raise node.error("STFT: half of the spectrum (onesided) describes real signals only, and this one is complex")
    starts = np.arange(0, samples - size + 1, hop)
    places = node.constant(starts[:, None] + np.arange(size)[None, :], dtypes.int64)
    parts = [F.select(signal, k, dim=2) for k in range(node.fix(signal.shape[2]))] if signal.ndim == 3 else [signal]
    frames = []
    for part in parts:
        frame = F.reshape(F.index_select(part, 1, F.reshape(places, (-1,))), (part.shape[0], len(starts), size))
        frames.append(frame if window is None else F.mul(frame, F.cast(window, dtype=frame.dtype)))
    k = np.arange(size)[:, None] * np.arange(size // 2 + 1 if onesided else size)[None, :] * (2 * np.pi / size)
    cosine, sine = (node.constant(m, dtypes.float64) for m in (np.cos(k), -np.sin(k)))
    real = F.cast(frames[0], dtype=dtypes.float64)  # the sums cancel
    result = [F.matmul(real, cosine), F.matmul(real, sine)]
    if len(frames) == 2:
        imaginary = F.cast(frames[1], dtype=dtypes.float64)
        result = [
            F.sub(result[0], F.matmul(imaginary, sine)),
            F.add(result[1], F.matmul(imaginary, cosine)),
        ]
    return F.cast(F.stack(result, 3), dtype=signal.dtype)


@op("TfIdfVectorizer")
def tf_idf_vectorizer(node: Any, x: Any) -> Any:
    """How often each n-gram of a list occurs in a row, also with gaps between its items; perhaps weighted."""
    if node.has("pool_strings"):
        raise node.error("TfIdfVectorizer: strings are not supported, only pool_int64s")
    pool, starts = node.attribute("pool_int64s"), node.attribute("ngram_counts")
    columns = node.attribute("ngram_indexes")
    shortest, longest = node.attribute("min_gram_length"), node.attribute("max_gram_length")
    skips, mode = node.attribute("max_skip_count"), node.attribute("mode")
    if mode not in ("TF", "IDF", "TFIDF"):
        raise node.error(f"TfIdfVectorizer: expected mode TF, IDF or TFIDF, given {mode!r}")
    rows = F.reshape(x, (1, -1)) if x.ndim == 1 else x
    length = node.fix(rows.shape[1])
    width = max(columns) + 1
    weights = node.attribute("weights", (1.0,) * len(columns))
    factor = np.ones(width)
    counts = [F.full((rows.shape[0],), 0, dtype=dtypes.float32)] * width
    number = 0
    for n, (start, end) in enumerate(zip(starts, (*starts[1:], len(pool)), strict=True), 1):
        if not 0 <= start <= end <= len(pool) or (end - start) % n:
            raise node.error(f"TfIdfVectorizer: ngram_counts {list(starts)} does not cut a pool of {len(pool)}")
        for first in range(start, end, n):
            if number >= len(columns) or columns[number] < 0:
                raise node.error(f"TfIdfVectorizer: ngram_indexes has no place for the n-gram {number}")
            column = columns[number]
            factor[column] = weights[number]
            if shortest <= n <= longest:
                found = _occurrences(rows, pool[first : first + n], length, skips)
                counts[column] = F.add(counts[column], found)
            number += 1
    table = F.stack(counts, 1)
    if mode == "IDF":
        table = F.cast(F.gt(table, 0), dtype=dtypes.float32)
    if mode != "TF":
        table = F.mul(table, node.constant(factor, dtypes.float32))
    return F.reshape(table, (width,)) if x.ndim == 1 else table


def _occurrences(rows: Any, gram: tuple[int, ...], length: int, skips: int) -> Any:
    """How often the items of an n-gram stand in each row, every two of them equally far apart."""
    total = F.full((rows.shape[0],), 0, dtype=dtypes.float32)
    for gap in range(1, (skips if len(gram) > 1 else 0) + 2):
        places = length - gap * (len(gram) - 1)
        if places <= 0:
            break
        matches = None
        for k, item in enumerate(gram):
            equal = F.eq(F.slice(rows, gap * k, gap * k + places, dim=1), item)
            matches = equal if matches is None else F.logical_and(matches, equal)
        total = F.add(total, F.sum(F.cast(matches, dtype=dtypes.float32), (1,)))
    return total


@op("BitCast")
def bit_cast(node: Any, x: Any) -> Any:
    return F.bitcast(x, dtype=element_type(node.attribute("to")))


@op("MelWeightMatrix", values=(0, 1, 2, 3, 4))
def mel_weight_matrix(node: Any, bins: Any, length: Any, rate: Any, low: Any, high: Any) -> Any:
    """Triangular filters at equal distances on the mel scale (Stevens, Volkmann and Newman, 1937)."""
    n_bins, n_fft, frequency = (int(node.number(v, what="a size")) for v in (bins, length, rate))
    if not (1 <= n_bins <= 1 << 14 and 1 <= n_fft <= 1 << 16 and frequency > 0):
        raise node.error(f"MelWeightMatrix: {n_bins} bins of a transform of {n_fft} at {frequency} Hz are out of range")
    bounds = [float(node.number(v, what="a frequency")) for v in (low, high)]
    lowest, highest = (2595 * math.log10(1 + f / 700) for f in bounds)
    points = np.arange(n_bins + 2) * ((highest - lowest) / (n_bins + 2)) + lowest
    places = np.floor((n_fft + 1) * 700 * (10 ** (points / 2595) - 1) / frequency).astype(np.int64)
    result = np.zeros((n_fft // 2 + 1, n_bins))
    for i in range(n_bins):
        first, middle, last = places[i : i + 3]
        if middle == first:
            result[middle, i] = 1
        else:
            for j in range(first, middle + 1):
                result[j, i] = (j - first) / (middle - first)
        for j in range(middle, last) if last > middle else ():
            result[j, i] = (last - j) / (last - middle)
    return node.constant(result, element_type(node.attribute("output_datatype", 1)))


# -- random numbers ----------------------------------------------------------------------------------------------------


def _shape_and_dtype(node: Any, like: Any) -> tuple[tuple[Any, ...], Any]:
    if like is None:
        return tuple(node.attribute("shape")), element_type(node.attribute("dtype", 1))
    floating = like.dtype if like.dtype.is_floating_point else dtypes.float32
    dtype = element_type(node.attribute("dtype")) if node.has("dtype") else floating
    return tuple(like.shape), dtype


@op("RandomUniform", "RandomUniformLike")
def random_uniform(node: Any, like: Any = None) -> Any:
    shape, dtype = _shape_and_dtype(node, like)
    low, high = node.attribute("low", 0.0), node.attribute("high", 1.0)
    return F.add(F.mul(F.rand(shape, dtype=dtype), high - low), low)


@op("RandomNormal", "RandomNormalLike")
def random_normal(node: Any, like: Any = None) -> Any:
    shape, dtype = _shape_and_dtype(node, like)
    return F.add(F.mul(F.randn(shape, dtype=dtype), node.attribute("scale", 1.0)), node.attribute("mean", 0.0))


@op("Bernoulli")
def bernoulli(node: Any, p: Any) -> Any:
    dtype = element_type(node.attribute("dtype")) if node.has("dtype") else p.dtype
    return F.cast(F.bernoulli(p), dtype=dtype)


# -- patches -----------------------------------------------------------------------------------------------------------


@op("Col2Im", values=(1, 2))
def col2im(node: Any, x: Any, image: Any, block: Any) -> Any:
    """Patches added up where they overlap."""
    sizes, kernel = node.ints(image, "the image's shape"), node.ints(block, "the block's shape")
    rank = len(sizes)
    strides, dilations = node.attribute("strides", (1,) * rank), node.attribute("dilations", (1,) * rank)
    pads = node.attribute("pads", (0,) * (2 * rank))
    padded = [sizes[i] + pads[i] + pads[rank + i] for i in range(rank)]
    counts = [(padded[i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in range(rank)]
    # For every element of the columns the place in the padded image that it is added to.
    places = np.zeros((math.prod(kernel), math.prod(counts)), np.int64)
    for i in range(rank):
        inner, outer = np.indices(kernel)[i].reshape(-1), np.indices(counts)[i].reshape(-1)
        places = places * padded[i] + inner[:, None] * dilations[i] + outer[None, :] * strides[i]
    n, width = x.shape[0], math.prod(kernel)
    channels = x.shape[1] // width
    values = F.reshape(x, (n, channels, places.size))
    index = F.expand(node.constant(places.reshape(1, 1, -1)), (n, channels, places.size))
    total = F.scatter_add(F.full((n, channels, math.prod(padded)), 0, dtype=x.dtype), 2, index, values)
    total = F.reshape(total, (n, channels, *padded))
    for i in range(rank):
        total = F.slice(total, pads[i], pads[i] + sizes[i], dim=2 + i)
    return total


@op("TensorScatter")
def tensor_scatter(node: Any, past: Any, update: Any, indices: Any = None) -> Any:
    """A cache with new rows written from a position per batch on, past its end from the front where it is circular."""
    axis = node.axis(node.attribute("axis", -2), past.ndim)
    length, count = past.shape[axis], update.shape[axis]
    shape = [1] * past.ndim
    shape[axis] = count
    position = F.reshape(F.arange(0, count, 1), tuple(shape))
    if indices is not None:
        position = F.add(position, F.reshape(indices, (indices.shape[0], *[1] * (past.ndim - 1))))
    if node.attribute("mode", "linear") == "circular":
        position = F.remainder(position, length)
    return F.scatter(past, axis, F.expand(position, tuple(update.shape)), update)
