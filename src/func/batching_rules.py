"""Batching rules of ops whose records do not tell them: views, products, convolutions, indexing, joining.

See `rules` for what a rule is. `x.value` is a batched operand with its batch in front.
"""

import itertools
from collections.abc import Callable
from typing import Any

from ..eager.creation import arange
from ..eager.dispatch import dispatch
from ..eager.functions import call
from ..eager.tensor import Tensor
from ..ir.ops._op import Op, get_op
from .batching import BatchMode

__all__ = ["RULES"]

_Operands = tuple[Any, ...]
_Attributes = dict[str, Any]


def _wrap_dim(dim: int, rank: int) -> int:
    """A dimension of a sample as one of the batch."""
    if not -max(rank, 1) <= dim < max(rank, 1):
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-max(rank, 1)}, {max(rank, 1) - 1}], but got {dim})"
        )
    return dim + 1 if dim >= 0 else dim + rank + 1


# -- views ------------------------------------------------------------------------------------------------------------


def _sizes_of(shape: tuple[Any, ...], count: int, name: str) -> list[Any]:
    """The sizes with -1 replaced by what is left of the sample's number of elements."""
    sizes = list(shape)
    if -1 in sizes:
        known = 1
        for n in sizes:
            known *= n if n != -1 else 1
        if not known or count % known:
            raise RuntimeError(f"{name}: shape {list(shape)} is invalid for input of size {count}")
        sizes[sizes.index(-1)] = count // known
    return sizes


def _reshape(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, shape = operands
    return call("reshape", x.value, (mode.size, *_sizes_of(shape, x.shape.numel(), "reshape")))


def _flatten(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    if not x.ndim:
        return call("unsqueeze", x.value, 1)
    start, end = (_wrap_dim(attributes[name], x.ndim) for name in ("start_dim", "end_dim"))
    return call("flatten", x.value, start, end)


def _unflatten(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, sizes = operands
    return call("unflatten", x.value, _wrap_dim(attributes["dim"], x.ndim), sizes)


def _unsqueeze(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    return call("unsqueeze", x.value, _wrap_dim(attributes["dim"], x.ndim + 1))


def _squeeze(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    dim = attributes["dim"]
    dims = range(x.ndim) if dim is None else [_wrap_dim(d, x.ndim) - 1 for d in dim]
    return call("squeeze", x.value, dim=tuple([d + 1 for d in dims if x.ndim and x.shape[d] == 1]))


def _permute(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    return call("permute", x.value, 0, *[_wrap_dim(d, x.ndim) for d in attributes["dims"]])


def _transpose(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    if not x.ndim:
        return call("reshape", x.value, (mode.size,))
    return call("transpose", x.value, *[_wrap_dim(attributes[name], x.ndim) for name in ("dim0", "dim1")])


def _expand(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, size = operands
    missing = len(size) - x.ndim
    if missing < 0:
        raise RuntimeError(f"expand: {len(size)} sizes for a tensor of {x.ndim} dimensions")
    shape = tuple(x.value.shape)
    return call("expand", call("reshape", x.value, (shape[0], *(1,) * missing, *shape[1:])), (mode.size, *size))


def _repeat(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, repeats = operands
    missing = len(repeats) - x.ndim
    shape = tuple(x.value.shape)
    return call("repeat", call("reshape", x.value, (shape[0], *(1,) * missing, *shape[1:])), (1, *repeats))


def _diagonal(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    dims = [_wrap_dim(attributes[name], x.ndim) for name in ("dim1", "dim2")]
    return call("diagonal", x.value, attributes["offset"], *dims)


def _roll(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    shifts, dims = attributes["shifts"], attributes["dims"]
    if dims is None or dims == ():
        flat = call("reshape", x.value, (mode.size, -1)) if x.shape.numel() else x.value
        return call("reshape", call("roll", flat, shifts, (1,)), tuple(x.value.shape))
    return call("roll", x.value, shifts, tuple([_wrap_dim(d, x.ndim) for d in dims]))


def _slice(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, start, stop = operands
    return dispatch(op, (x.value, start, stop), attributes | {"dim": _wrap_dim(attributes["dim"], x.ndim)})


def _select(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, index = operands
    return dispatch(op, (x.value, index), {"dim": _wrap_dim(attributes["dim"], x.ndim)})


def _into_part(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    """`slice_scatter`, `select_scatter`, `diagonal_scatter`."""
    x, source, *rest = operands
    moved = {k: _wrap_dim(v, x.ndim) if k.startswith("dim") else v for k, v in attributes.items()}
    return dispatch(op, (mode.front(x), mode.front(source), *rest), moved)


# -- reductions without a Reduce record ------------------------------------------------------------------------------


def _arg(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    """`argmax` and `argmin`: without a dimension they count in the flattened sample."""
    (x,) = operands
    dim, keepdim = attributes["dim"], attributes["keepdim"]
    if dim is not None and x.ndim:
        return dispatch(op, (x.value,), {"dim": _wrap_dim(dim, x.ndim), "keepdim": keepdim})
    found = dispatch(op, (call("reshape", x.value, (mode.size, -1)),), {"dim": 1, "keepdim": False})
    return call("reshape", found, (mode.size, *(1,) * x.ndim)) if keepdim else found


def _single(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    """Ops along one dimension, also of samples that are single numbers."""
    rank = operands[0].ndim
    fronts = tuple([mode.front(o) for o in operands])
    if rank:
        return dispatch(op, fronts, attributes | {"dim": _wrap_dim(attributes["dim"], rank)})
    alone = tuple([call("unsqueeze", f, 1) if isinstance(f, Tensor) else f for f in fronts])
    results = dispatch(op, alone, attributes | {"dim": 1})
    if isinstance(results, tuple):
        return tuple([call("reshape", r, (mode.size,)) for r in results])
    return call("reshape", results, (mode.size,))


# -- products ---------------------------------------------------------------------------------------------------------


def _matmul(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    a, b = operands
    if not a.ndim or not b.ndim:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D")
    if not mode.mine(b) and b.ndim <= 2:  # all samples in one product
        return call("matmul", a.value, b)
    left, right = mode.front(a) if mode.mine(a) or a.ndim > 2 else a, mode.front(b) if mode.mine(b) or b.ndim > 2 else b
    rank = max(a.ndim, b.ndim, 2)
    left = _as_matrices(mode, left, a, rank, row=True)
    right = _as_matrices(mode, right, b, rank, row=False)
    product = call("matmul", left, right)
    if a.ndim == 1:
        product = call("squeeze", product, dim=(-2,))
    return call("squeeze", product, dim=(-1,)) if b.ndim == 1 else product


def _as_matrices(mode: BatchMode, value: Any, sample: Any, rank: int, *, row: bool) -> Any:
    """Vectors as rows or columns, and ones between the batch and the sample's dimensions, to broadcast."""
    if sample.ndim == 1:
        value = call("unsqueeze", value, -2 if row else -1)
    shape = tuple(value.shape)
    batched = value.ndim == max(sample.ndim, 2) + 1
    missing = rank - max(sample.ndim, 2)
    if batched and missing:
        value = call("reshape", value, (shape[0], *(1,) * missing, *shape[1:]))
    return value


def _linear(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, weight, bias = operands
    if not mode.mine(weight) and not mode.mine(bias):
        return call("linear", x.value, weight, bias)
    if weight.ndim != 2:
        return NotImplemented
    flat = mode.front(x) if mode.mine(x) else call("unsqueeze", x, 0)
    if x.ndim == 1:
        flat = call("unsqueeze", flat, 1)
    matrix = call("transpose", mode.front(weight), 1, 2)
    lead = tuple(x.shape)[:-1]
    flat = call("reshape", flat, (flat.shape[0], -1, x.shape[-1]))
    product = call("matmul", flat, matrix)
    if bias is not None:
        product = call("add", product, call("unsqueeze", mode.front(bias), 1))
    return call("reshape", product, (mode.size, *lead, weight.shape[0]))


# -- windows ----------------------------------------------------------------------------------------------------------


def _merged(mode: BatchMode, x: Any, rank: int) -> tuple[Any, bool]:
    """Images with batch and samples' own batch as one dimension; whether the sample has a batch of its own."""
    value = mode.front(x)
    if x.ndim == rank:
        shape = tuple(value.shape)
        return call("reshape", value, (shape[0] * shape[1], *shape[2:])), True
    return value, False


def _split_again(mode: BatchMode, results: Any, own: bool) -> Any:
    if not own:
        return results
    if isinstance(results, tuple):
        return tuple([_split_again(mode, r, own) for r in results])
    shape = tuple(results.shape)
    return call("reshape", results, (mode.size, shape[0] // max(mode.size, 1), *shape[1:]))


def _pool(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    """Windows over the last two dimensions of one or two tensors."""
    found = [_merged(mode, o, 4) if isinstance(o, Tensor) else (o, False) for o in operands]
    own = any(own for _, own in found)
    moved = [value for value, _ in found]
    return _split_again(mode, dispatch(op, tuple(moved), attributes), own)


def _conv2d(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    """One filter for all: more images. A filter for each sample: one convolution with a group for each."""
    x, weight, bias = operands
    own = x.ndim == 4
    if not mode.mine(weight) and not mode.mine(bias):
        value, _ = _merged(mode, x, 4)
        return _split_again(mode, dispatch(op, (value, weight, bias), attributes), own)
    images = _by_sample(mode, x) if own else call("reshape", mode.front(x), (1, -1, *tuple(x.shape)[1:]))
    count = images.shape[0]
    filters = mode.front(weight)
    features = weight.shape[0]
    filters = call("reshape", filters, (mode.size * features, *tuple(weight.shape)[1:]))
    shifts = None if bias is None else call("reshape", mode.front(bias), (mode.size * features,))
    grouped = attributes | {"groups": attributes["groups"] * mode.size}
    result = dispatch(op, (images, filters, shifts), grouped)
    result = call("reshape", result, (count, mode.size, features, *tuple(result.shape)[2:]))
    result = call("transpose", result, 0, 1)
    return result if own else call("squeeze", result, dim=(1,))


def _by_sample(mode: BatchMode, x: Any) -> Any:
    """Images [batch, n, c, h, w] as [n, batch * c, h, w]: the channels of one sample beside those of the next."""
    value = mode.front(x)
    shape = tuple(value.shape)
    return call("reshape", call("transpose", value, 0, 1), (shape[1], shape[0] * shape[2], *shape[3:]))


def _conv2d_input_grad(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    gradient, weight, size = operands
    if gradient.ndim != 4:
        return NotImplemented
    if not mode.mine(weight):
        value, own = _merged(mode, gradient, 4)
        return _split_again(mode, dispatch(op, (value, weight, size), attributes), own)
    filters = mode.front(weight)
    filters = call("reshape", filters, (mode.size * filters.shape[1], *tuple(filters.shape)[2:]))
    grouped = attributes | {"groups": attributes["groups"] * mode.size}
    found = dispatch(op, (_by_sample(mode, gradient), filters, size), grouped)
    count, channels, *place = found.shape
    return call("transpose", call("reshape", found, (count, mode.size, channels // mode.size, *place)), 0, 1)


def _conv2d_weight_grad(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    gradient, x, size = operands
    if gradient.ndim != 4 or x.ndim != 4:
        return NotImplemented
    grouped = attributes | {"groups": attributes["groups"] * mode.size}
    found = dispatch(op, (_by_sample(mode, gradient), _by_sample(mode, x), size), grouped)
    features, *rest = found.shape
    return call("reshape", found, (mode.size, features // mode.size, *rest))


def _pad(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, pad = operands[0], operands[1]
    if attributes["mode"] == "constant":
        return dispatch(op, (x.value, *operands[1:]), attributes)
    width = len(pad) // 2 + 2  # the other modes take at most a batch and channels in front
    lead = tuple(x.value.shape)[: x.value.ndim - width + 1]
    rest = tuple(x.value.shape)[x.value.ndim - width + 1 :]
    count = 1
    for n in lead:
        count *= n
    result = dispatch(op, (call("reshape", x.value, (count, *rest)), *operands[1:]), attributes)
    return call("reshape", result, (*lead, *tuple(result.shape)[1:]))


# -- indices ----------------------------------------------------------------------------------------------------------


def _of_pairs(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    """`gather` and the scatters: the batch is one more dimension along which nothing moves."""
    x, index = operands[0], operands[1]
    if not x.ndim and not index.ndim:
        alone = [mode.front(o) for o in operands]
        alone = [call("reshape", o, (mode.size, 1)) if isinstance(o, Tensor) else o for o in alone]
        return call("reshape", dispatch(op, tuple(alone), attributes | {"dim": 1}), (mode.size,))
    if x.ndim != index.ndim:
        return NotImplemented
    return dispatch(
        op,
        tuple([mode.front(o) for o in operands]),
        attributes | {"dim": _wrap_dim(attributes["dim"], x.ndim)},
    )


def _index_select(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, index = operands
    dim = attributes["dim"]
    if not x.ndim or index.ndim > 1:
        return NotImplemented
    if not mode.mine(index):
        return dispatch(op, (x.value, index), {"dim": _wrap_dim(dim, x.ndim)})
    axis = _wrap_dim(dim, x.ndim)
    value = mode.front(x)
    places = index.value if index.ndim else call("unsqueeze", index.value, 1)
    count = places.shape[1]
    places = call("reshape", places, (mode.size, *[count if d == axis else 1 for d in range(1, value.ndim)]))
    sizes = [count if d == axis else value.shape[d] for d in range(value.ndim)]
    return dispatch(get_op("gather"), (value, call("expand", places, tuple(sizes))), {"dim": axis})


def _index_add(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, index, source = operands
    if not x.ndim or index.ndim != 1:
        return NotImplemented
    axis = _wrap_dim(attributes["dim"], x.ndim)
    value, added = mode.front(x), mode.front(source)
    if not mode.mine(index):
        return dispatch(op, (value, index, added), attributes | {"dim": axis})
    if attributes["alpha"] != 1:
        added = call("mul", added, attributes["alpha"])
    places = call("reshape", index.value, (mode.size, *[-1 if d == axis else 1 for d in range(1, value.ndim)]))
    places = call("expand", places, tuple(added.shape))
    return dispatch(get_op("scatter_add"), (value, places, added), {"dim": axis})


def _masked_fill(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, mask, value = operands
    rank = max(x.ndim, mask.ndim)
    x, mask = (_with_rank(mode, o, rank) for o in (x, mask))
    if not mode.mine(value):
        return dispatch(op, (x, mask, value), attributes)
    fill = call("cast", _with_rank(mode, value, rank), dtype=x.dtype)
    return call("where", mask, fill, x)


def _with_rank(mode: BatchMode, operand: Any, rank: int) -> Any:
    """The operand's value with ones after the batch, to broadcast with samples of this rank."""
    if not mode.mine(operand):
        return operand
    shape = tuple(operand.value.shape)
    return call("reshape", operand.value, (shape[0], *(1,) * (rank - operand.ndim), *shape[1:]))


def _index(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    """`x[indices]`: where an index differs between samples, the batch is indexed too, by 0, 1, 2, ..."""
    x, indices = operands
    spec = attributes["spec"]
    if any(i.dtype.kind == "b" for i in indices):
        return NotImplemented
    if not any(mode.mine(i) for i in indices):
        tensors = [n for n, s in enumerate(spec) if s == "tensor"]
        apart = any(b - a > 1 for a, b in itertools.pairwise(tensors))
        if apart:  # the indexed dimensions would come first, before the batch
            return NotImplemented
        return dispatch(op, (x.value, indices), {"spec": ((None, None, 1), *spec)})
    if any(s != "tensor" for s in spec[: len(indices)]):
        return NotImplemented
    rank = max(i.ndim for i in indices)
    batch = call("reshape", _count(mode.size), (mode.size, *(1,) * rank))
    moved = []
    for i in indices:
        if mode.mine(i):
            shape = tuple(i.value.shape)
            moved.append(call("reshape", i.value, (shape[0], *(1,) * (rank - i.ndim), *shape[1:])))
        else:
            moved.append(i)
    return dispatch(op, (mode.front(x), (batch, *moved)), {"spec": ("tensor", *spec)})


def _count(size: int) -> Any:
    """The numbers of the samples."""
    return arange(size)


def _index_put(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    x, indices, values = operands
    spec = attributes["spec"]
    if any(i.dtype.kind == "b" for i in indices) or any(s != "tensor" for s in spec[: len(indices)]):
        return NotImplemented
    rank = max(i.ndim for i in indices)
    batch = call("reshape", _count(mode.size), (mode.size, *(1,) * rank))
    moved = []
    for i in indices:
        if mode.mine(i):
            shape = tuple(i.value.shape)
            moved.append(call("reshape", i.value, (shape[0], *(1,) * (rank - i.ndim), *shape[1:])))
        else:
            moved.append(i)
    source = values
    if mode.mine(values):
        shape = tuple(values.value.shape)
        missing = max(rank + x.ndim - len(indices) - values.ndim, 0)
        source = call("reshape", values.value, (shape[0], *(1,) * missing, *shape[1:]))
    return dispatch(op, (mode.front(x), (batch, *moved), source), attributes | {"spec": ("tensor", *spec)})


def _embedding(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    index, weight = operands
    if not mode.mine(weight):
        return dispatch(op, (index.value, weight), attributes)
    # Row r of sample b is row b * rows + r of all weights together.
    rows, width = weight.shape
    places = call("reshape", _count(mode.size), (mode.size, *(1,) * index.ndim))
    places = call("add", mode.front(index), call("mul", places, rows))
    table = call("reshape", weight.value, (mode.size * rows, width))
    if attributes["padding_idx"] is not None:
        return NotImplemented
    return dispatch(op, (places, table), attributes)


# -- joining ----------------------------------------------------------------------------------------------------------


def _cat(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (tensors,) = operands
    rank = max(t.ndim for t in tensors)
    kept = [t for t in tensors if not (t.ndim == 1 and t.shape[0] == 0 and rank > 1)]  # PyTorch skips empty vectors
    return call("cat", [mode.front(t) for t in kept], _wrap_dim(attributes["dim"], rank))


def _stack(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (tensors,) = operands
    return call("stack", [mode.front(t) for t in tensors], _wrap_dim(attributes["dim"], tensors[0].ndim + 1))


def _fft(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    return dispatch(op, (x.value,), attributes | {"dim": tuple([_wrap_dim(d, x.ndim) for d in attributes["dim"]])})


def _unfold(mode: BatchMode, op: Op, operands: _Operands, attributes: _Attributes) -> Any:
    (x,) = operands
    if not x.ndim:
        return NotImplemented
    return dispatch(op, (x.value,), attributes | {"dimension": _wrap_dim(attributes["dimension"], x.ndim)})


RULES: dict[str, Callable[[BatchMode, Op, _Operands, _Attributes], Any]] = {
    "reshape": _reshape,
    "flatten": _flatten,
    "unflatten": _unflatten,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "permute": _permute,
    "transpose": _transpose,
    "expand": _expand,
    "repeat": _repeat,
    "diagonal": _diagonal,
    "roll": _roll,
    "slice": _slice,
    "select": _select,
    "unfold": _unfold,
    "slice_scatter": _into_part,
    "select_scatter": _into_part,
    "diagonal_scatter": _into_part,
    "argmax": _arg,
    "argmin": _arg,
    **dict.fromkeys(
        (
            "cumsum",
            "cumprod",
            "cummax",
            "cummin",
            "logcumsumexp",
            "logcumsumexp_grad",
            "sort",
            "topk",
            "max_dim",
            "min_dim",
            "mode",
        ),
        _single,
    ),
    "matmul": _matmul,
    "linear": _linear,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices", "max_pool2d_grad"), _pool),
    **dict.fromkeys(("avg_pool2d", "avg_pool2d_grad"), _pool),
    "conv2d": _conv2d,
    "conv2d_input_grad": _conv2d_input_grad,
    "conv2d_weight_grad": _conv2d_weight_grad,
    "pad": _pad,
    **dict.fromkeys(("gather", "scatter", "scatter_add", "scatter_reduce"), _of_pairs),
    "index_select": _index_select,
    "index_add": _index_add,
    "masked_fill": _masked_fill,
    "index": _index,
    "index_put": _index_put,
    "embedding": _embedding,
    "cat": _cat,
    "stack": _stack,
    **dict.fromkeys(("fftn", "ifftn", "rfftn", "irfftn"), _fft),
}
