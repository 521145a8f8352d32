"""Shapes: what changes the form of a tensor and not its elements, and tensors made of a shape."""

from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.dims import product
from ...ir.ops._op import F
from ..registry import op
from ..values import Known


@op("Constant")
def constant(node: Any) -> Any:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if node.has(name):
            value = node.attribute(name)
            return Known.of(np.asarray(value, dtype=np.float32 if "float" in name else None))
    raise node.error("Constant: expected a tensor or numbers; sparse tensors and strings are not supported")


@op("Shape", raw=True)
def shape(node: Any, scope: Any, x: Any) -> Any:
    dims = list(x.array.shape if isinstance(x, Known) else node.tensor(x).shape)
    start, end = node.attribute("start", 0), node.attribute("end", len(dims))
    return Known.sizes(dims[start:end])


@op("Size", raw=True)
def size(node: Any, scope: Any, x: Any) -> Any:
    return Known.sizes(np.array(product(tuple(node.tensor(x).shape)), dtype=object))


@op("Reshape", values=(1,))
def reshape(node: Any, x: Any, shape: Any = None) -> Any:
    wanted = node.attribute("shape", None) if shape is None else node.sizes(shape, "the shape")
    if not node.attribute("allowzero", 0):
        for i, d in enumerate(wanted):
            if isinstance(d, int) and d == 0 and i >= x.ndim:
                raise node.error(f"Reshape: 0 at {i} copies a dimension that {x.ndim} dimensions do not have")
        wanted = [x.shape[i] if isinstance(d, int) and d == 0 else d for i, d in enumerate(wanted)]
    return F.reshape(x, tuple(wanted))


@op("Flatten")
def flatten(node: Any, x: Any) -> Any:
    axis = node.attribute("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    shape = tuple(x.shape)
    return F.reshape(x, (product(shape[:axis]), product(shape[axis:])))


@op("Squeeze", values=(1,))
def squeeze(node: Any, x: Any, axes: Any = None) -> Any:
    given = node.ints_of("axes", axes)
    if given is None:
        given = [i for i, d in enumerate(x.shape) if node.fix(d) == 1]
    dims = sorted({node.axis(a, x.ndim) for a in given})
    for a in dims:
        if node.fix(x.shape[a]) != 1:
            raise node.error(f"Squeeze: dimension {a} of shape {list(x.shape)} has not the size 1")
    return F.squeeze(x, tuple(dims))


@op("Unsqueeze", values=(1,))
def unsqueeze(node: Any, x: Any, axes: Any = None) -> Any:
    given = node.ints_of("axes", axes)
    if given is None:
        raise node.error("Unsqueeze needs axes")
    rank = x.ndim + len(given)
    dims = sorted(node.axis(a, rank) for a in given)
    if len(set(dims)) != len(dims):
        raise node.error(f"Unsqueeze: an axis is given twice: {list(given)}")
    for a in dims:
        x = F.unsqueeze(x, a)
    return x


@op("Transpose")
def transpose(node: Any, x: Any) -> Any:
    return F.permute(x, tuple(node.attribute("perm", tuple(reversed(range(x.ndim))))))


@op("Expand", values=(1,))
def expand(node: Any, x: Any, shape: Any) -> Any:
    """Broadcast with a shape: sizes of the tensor and of the shape may both be 1."""
    wanted = node.sizes(shape, "the shape")
    rank = max(len(wanted), x.ndim)
    wanted = [1] * (rank - len(wanted)) + wanted
    own = [1] * (rank - x.ndim) + list(x.shape)
    return F.expand(x, tuple(o if isinstance(w, int) and w == 1 else w for w, o in zip(wanted, own, strict=True)))


@op("Concat")
def concat(node: Any, *inputs: Any) -> Any:
    axis = node.attribute("axis", 1) if node.version < 4 else node.attribute("axis")
    return F.cat(inputs, node.axis(axis, inputs[0].ndim))


@op("Split", values=(1,))
def split(node: Any, x: Any, split: Any = None) -> Any:
    axis = node.axis(node.attribute("axis", 0), x.ndim)
    sizes = node.sizes(split, "the sizes of the parts") if split is not None else node.attribute("split", None)
    if sizes is None:
        # Parts of equal size, the last one smaller.
        count = node.attribute("num_outputs", node.n_outputs)
        if count != node.n_outputs:
            raise node.error(f"Split: num_outputs is {count}, and the node has {node.n_outputs} outputs")
        total = node.fix(x.shape[axis])
        part = -(-total // count)
        sizes = [max(min(part, total - i * part), 0) for i in range(count)]
    elif all(isinstance(n, int) for n in (*sizes, x.shape[axis])) and sum(sizes) != x.shape[axis]:
        raise node.error(f"Split: the parts {list(sizes)} do not add up to the size {x.shape[axis]}")
    results, start = [], 0
    for n in sizes:
        results.append(F.slice(x, start, start + n, dim=axis))
        start = start + n
    return tuple(results)


@op("Slice", values=(1, 2, 3, 4))
def slice_(node: Any, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    first = node.sizes(starts, "starts") if starts is not None else node.attribute("starts")
    last = node.sizes(ends, "ends") if ends is not None else node.attribute("ends")
    dims = node.ints_of("axes", axes, tuple(range(len(first))))
    by = node.ints(steps, "steps") if steps is not None else (1,) * len(first)
    for start, end, axis, step in zip(first, last, dims, by, strict=True):
        dim = node.axis(axis, x.ndim)
        if step == 0:
            raise node.error("Slice: a step is 0")
        if step > 0:
            x = F.slice(x, start, end, dim=dim, step=step)
            continue
        # Backwards: the same elements of the flipped tensor, counted from its front.
        n = node.fix(x.shape[dim])
        begin, stop, _ = slice(node.fix(start), node.fix(end), step).indices(n)
        x = F.slice(F.flip(x, (dim,)), n - 1 - begin, max(n - 1 - stop, n - 1 - begin), dim=dim, step=-step)
    return x


@op("Tile", values=(1,))
def tile(node: Any, x: Any, repeats: Any) -> Any:
    return F.repeat(x, tuple(node.sizes(repeats, "the repeats")))


@op("ConstantOfShape", values=(0,))
def constant_of_shape(node: Any, shape: Any) -> Any:
    value = node.attribute("value", np.zeros(1, np.float32)).reshape(-1)[0]
    sizes = node.sizes(shape, "the shape")
    if any(isinstance(n, int) and n < 0 for n in sizes):
        raise node.error(f"ConstantOfShape: negative size in {list(sizes)}")
    return F.full(tuple(sizes), value.item(), dtype=dtypes.as_dtype(value.dtype))


@op("Range", values=(0, 1, 2))
def range_(node: Any, start: Any, limit: Any, delta: Any) -> Any:
    if all(isinstance(e, Known) and e.dtype.kind == "i" for e in (start, limit, delta)):
        # Symbolic ends, as in positions up to the length of a sentence.
        (low,), (high,), (step,) = (node.sizes(e) for e in (start, limit, delta))
        return F.arange(low, high, step, dtype=dtypes.as_dtype(start.dtype))
    low, high, step = (node.array(e, "a bound").reshape(-1)[0] for e in (start, limit, delta))
    if step == 0:
        raise node.error("Range: the step is 0")
    count = max(int(np.ceil((float(high) - float(low)) / float(step))), 0)
    if count > 1 << 28:
        raise node.error(f"Range: {count} elements are too many")
    return node.constant(low + np.arange(count).astype(low.dtype) * step, dtypes.as_dtype(low.dtype))


@op("EyeLike")
def eye_like(node: Any, x: Any) -> Any:
    from ..proto import element_type

    dtype = element_type(node.attribute("dtype")) if node.has("dtype") else x.dtype
    rows, columns = x.shape
    offset = node.attribute("k", 0)
    row = F.unsqueeze(F.arange(0, rows, 1), 1)
    return F.cast(F.eq(F.add(row, offset), F.arange(0, columns, 1)), dtype=dtype)


@op("DepthToSpace")
def depth_to_space(node: Any, x: Any) -> Any:
    n, c, h, w = x.shape
    b = node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "DCR":
        x = F.permute(F.reshape(x, (n, b, b, c // (b * b), h, w)), (0, 3, 4, 1, 5, 2))
    else:
        x = F.permute(F.reshape(x, (n, c // (b * b), b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return F.reshape(x, (n, c // (b * b), h * b, w * b))


@op("SpaceToDepth")
def space_to_depth(node: Any, x: Any) -> Any:
    n, c, h, w = x.shape
    b = node.attribute("blocksize")
    order = (0, 3, 5, 1, 2, 4) if node.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    x = F.permute(F.reshape(x, (n, c, h // b, b, w // b, b)), order)
    return F.reshape(x, (n, c * b * b, h // b, w // b))


@op("Trilu", values=(1,))
def trilu(node: Any, x: Any, k: Any = None) -> Any:
    offset = int(node.number(k, 0, "the diagonal"))
    return F.triu(x, offset) if node.attribute("upper", 1) else F.tril(x, offset)


@op("Pad", values=(1, 2, 3))
def pad(node: Any, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    amounts = list(node.ints_of("pads", pads) or node.attribute("paddings", ()))
    fill = node.number(value, node.attribute("value", 0), "the padding value")
    dims = [node.axis(a, x.ndim) for a in node.ints(axes, "axes")] if axes is not None else list(range(x.ndim))
    before = dict(zip(dims, amounts[: len(dims)], strict=True))
    after = dict(zip(dims, amounts[len(dims) :], strict=True))
    mode = node.attribute("mode", "constant")
    if mode == "constant":
        flat = [n for d in reversed(range(x.ndim)) for n in (before.get(d, 0), after.get(d, 0))]
        return F.pad(x, tuple(flat), "constant", fill)
    for d in dims:
        if before[d] or after[d]:
            x = _pad_by_index(node, x, d, before[d], after[d], mode)
    return x


def _pad_by_index(node: Any, x: Any, dim: int, before: int, after: int, mode: str) -> Any:
    """Padding with elements of the tensor itself, gathered by their positions."""
    n = x.shape[dim]
    position = F.arange(-before, n + after, 1)
    if mode == "edge":
        index = F.clamp(position, 0, None)
        index = F.minimum(index, n - 1)
    elif mode == "wrap":
        index = F.remainder(position, n)
    elif mode == "reflect":
        last = node.fix(n) - 1
        index = F.remainder(position, max(2 * last, 1))
        index = F.sub(last, F.abs(F.sub(index, last)))
    else:
        raise node.error(f"Pad: unknown mode {mode!r}: expected constant, edge, reflect or wrap")
    return F.index_select(x, dim, index)


@op("CenterCropPad", values=(1,))
def center_crop_pad(node: Any, x: Any, shape: Any) -> Any:
    target = node.ints(shape, "the shape")
    axes = [node.axis(a, x.ndim) for a in node.attribute("axes", tuple(range(len(target))))]
    for axis, wanted in zip(axes, target, strict=True):
        size = node.fix(x.shape[axis])
        if size > wanted:
            start = (size - wanted) // 2
            x = F.slice(x, start, start + wanted, dim=axis)
        elif size < wanted:
            before = (wanted - size) // 2
            amounts = [0] * (2 * x.ndim)
            amounts[2 * (x.ndim - 1 - axis)] = before
            amounts[2 * (x.ndim - 1 - axis) + 1] = wanted - size - before
            x = F.pad(x, tuple(amounts), "constant", 0)
    return x


@op("OneHot", values=(1,))
def one_hot(node: Any, indices: Any, depth: Any, values: Any) -> Any:
    count = int(node.number(depth, what="the depth"))
    axis = node.axis(node.attribute("axis", -1), indices.ndim + 1)
    classes = F.reshape(F.arange(0, count, 1), tuple(count if i == axis else 1 for i in range(indices.ndim + 1)))
    wanted = F.unsqueeze(F.remainder(F.cast(indices, dtype=dtypes.int64), count), axis)
    given = F.cast(indices, dtype=dtypes.int64)
    inside = F.unsqueeze(F.logical_and(F.ge(given, -count), F.lt(given, count)), axis)
    chosen = F.logical_and(F.eq(wanted, classes), inside)
    return F.where(chosen, F.select(values, 1, dim=0), F.select(values, 0, dim=0))
