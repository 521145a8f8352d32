"""Ops that read and write along one dimension at positions from a tensor: gather, scatter, index_select, index_add."""

from typing import Any

import numpy as np

from ..dtypes import from_numpy, int32, int64, uint8
from ..sizes import Sizes
from ..types import TensorType
from ._common import cast, dim_value, ints, normalise_dim, randoms, require_tensor
from ._op import Custom, ErrorSample, F, Sample, VjpContext, define

_PUBLIC = ("", "method")


def require_index(name: str, index: TensorType, argument: str = "index") -> TensorType:
    """The type, if it is that of a tensor of positions."""
    index = require_tensor(name, argument, index)
    empty = index.dtype is uint8 and 0 in index.shape  # which PyTorch lets pass
    if index.dtype not in (int32, int64) and not empty:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for {argument}, given {index}")
    return index


def positions(name: str, index: Any, size: int, dim: int, *, negative: bool = False) -> Any:
    """The index array, if every element is inside a dimension of `size`.

    Otherwise, in words of `name`, IndexError, but RuntimeError from gather and scatter, as in PyTorch.
    """
    low = -size if negative else 0
    if index.size and (int(index.min()) < low or int(index.max()) >= size):
        outside = index[(index < low) | (index >= size)].ravel()[0]
        error = RuntimeError if name.startswith(("gather", "scatter")) else IndexError
        raise error(f"{name}: index {outside} is out of bounds for dimension {dim} with size {size}")
    return index


def _one_dim(array: Any) -> Any:
    """A tensor of rank 0 counts as one of rank 1 here."""
    return array.reshape(1) if array.ndim == 0 else array


# -- gather and scatter: an index of the result's rank -----------------------------------------------------------------


def _require_same_rank(name: str, input: TensorType, index: TensorType, src: TensorType | None = None) -> None:
    ranks = {max(t.rank, 1) for t in (input, index, src) if t is not None}
    if len(ranks) > 1:
        given = " and ".join(str(t) for t in (input, index, src) if t is not None)
        raise RuntimeError(f"{name}(): Expected an index with the same number of dimensions, given {given}")


def _require_inside(sizes: Sizes, name: str, index: TensorType, other: TensorType, axis: int | None, what: str) -> None:
    """RuntimeError where the index is larger than another tensor in a dimension other than `axis`."""
    for i, (a, b) in enumerate(zip(index.shape, other.shape, strict=False)):
        hint_a, hint_b = sizes.hint(a), sizes.hint(b)
        if i != axis and hint_a is not None and hint_b is not None and hint_a > hint_b:
            raise RuntimeError(
                f"{name}(): Expected index {index} to be no larger than {what} {other} apart from dimension {axis}"
            )


def _infer_gather(sizes: Sizes, input: Any, index: Any, *, dim: int) -> TensorType:
    input, index = require_tensor("gather", "input", input), require_index("gather", index)
    axis = normalise_dim("gather", dim, input.rank)
    if any(sizes.hint(d) == 0 for d in index.shape):
        return TensorType(input.dtype, index.shape, input.device)
    _require_same_rank("gather", input, index)
    _require_inside(sizes, "gather", index, input, axis, "input")
    return TensorType(input.dtype, index.shape, input.device)


def _along(xp: Any, index: Any, dim: int) -> tuple[Any, ...]:
    """The numpy index that pairs each element of `index` with its own place in the other dimensions."""
    dim %= index.ndim
    return tuple(
        index if axis == dim else xp.arange(size).reshape(-1, *(1,) * (index.ndim - axis - 1))
        for axis, size in enumerate(index.shape)
    )


def _evaluate_gather(xp: Any, input: Any, index: Any, *, dim: int) -> Any:
    if not index.size:
        return xp.empty(index.shape, input.dtype)
    source, where = _one_dim(input), _one_dim(index)
    positions("gather", where, source.shape[dim], dim)
    return xp.asarray(source[_along(xp, where, dim)]).reshape(index.shape)


GATHER = define(
    "gather(input: Tensor, dim: int, index: Tensor)",
    "Elements of the input at positions along `dim`: result[i][j] = input[index[i][j]][j] for dim 0.\n\n"
    ">>> ingot.gather(ingot.tensor([[1, 2], [3, 4]]), 1, ingot.tensor([[0], [1]]))\ntensor([[1],\n        [4]])",
    infer=_infer_gather,
    evaluate=_evaluate_gather,
    vjp=lambda c, g, input, index, *, dim: (
        F.scatter_add(F.full(tuple(input.shape), 0, dtype=g.dtype), dim, index, g),
        None,
    ),
    lower=Custom("gather"),
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(3, 5), 1, ints(3, 2, low=0, high=5))),
        Sample((randoms(3, 5), 0, ints(2, 4, low=0, high=3))),
        Sample((randoms(2, 3, 4), -1, ints(2, 3, 6, low=0, high=4))),
        Sample((randoms(3), 0, ints(0))),
        Sample((randoms(), 0, ints(low=0, high=1))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 5), 1, ints(3, 2, low=5, high=9)), RuntimeError, "bounds for dimension 1 with size 5"),
        ErrorSample((randoms(3, 5), 1, ints(3, low=0)), RuntimeError, "same number of dimensions"),
        ErrorSample((randoms(3, 5), 1, ints(4, 2, low=0, high=2)), RuntimeError, "no larger"),
        ErrorSample((randoms(3, 5), 1, randoms(3, 2)), RuntimeError, "int64"),
    ],
)


def _infer_scatter(
    sizes: Sizes, input: TensorType, index: Any, src: Any, *, dim: int, name: str = "scatter", reduce: str | None = None
) -> TensorType:
    input, index = require_tensor(name, "input", input), require_index(name, index)
    axis = normalise_dim(name, dim, input.rank)
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError(f"{name}: reduce argument must be either 'add' or 'multiply', given {reduce!r}")
    if isinstance(src, TensorType):
        if src.dtype is not input.dtype:
            raise RuntimeError(f"{name}(): Expected src to be of the input's dtype, given {input} and {src}")
        if all(sizes.hint(d) != 0 for d in index.shape):
            _require_same_rank(name, input, index, src)
            _require_inside(sizes, name, index, src, None, "src")
            _require_inside(sizes, name, index, input, axis, "input")
    elif all(sizes.hint(d) != 0 for d in index.shape):
        _require_same_rank(name, input, index)
        _require_inside(sizes, name, index, input, axis, "input")
    return input


def _evaluate_scatter(xp: Any, input: Any, index: Any, src: Any, *, dim: int, reduce: str | None = None) -> Any:
    result = xp.array(input, copy=True, order="C")
    if not index.size:
        return result
    target, where = _one_dim(result), _one_dim(index)
    positions("scatter", where, target.shape[dim], dim)
    values: Any = src
    if hasattr(src, "dtype"):
        values = _one_dim(src)[tuple(slice(n) for n in where.shape)]
    place = _along(xp, where, dim)
    with np.errstate(all="ignore"):
        if reduce is None:
            target[place] = values
        else:
            (xp.add if reduce == "add" else xp.multiply).at(target, place, values)
    return target.reshape(input.shape)


def _index_part(g: Any, index: Any, src: Any) -> Any:
    """A gradient of the index's shape as one of the shape of `src`, of which only that leading part was read."""
    for axis, (size, full) in enumerate(zip(index.shape, src.shape, strict=True)):
        if size != full:
            whole = (*g.shape[:axis], full, *g.shape[axis + 1 :])
            g = F.slice_scatter(F.full(whole, 0, dtype=g.dtype), g, 0, size, dim=axis)
    return g


def _scatter_vjp(
    c: VjpContext, g: Any, input: Any, index: Any, src: Any, *, dim: int, reduce: str | None
) -> tuple[Any, Any, Any]:
    if reduce == "multiply":
        raise RuntimeError("scatter: reduce='multiply' is not differentiable")
    for_input = g if reduce == "add" else F.scatter(g, dim, index, 0)
    for_src = _index_part(F.gather(g, dim, index), index, src) if hasattr(src, "shape") and c.needs[2] else None
    return for_input, None, for_src


SCATTER = define(
    "scatter(input: Tensor, dim: int, index: Tensor, src: Tensor | Scalar, *, reduce: str | None = None)",
    "A copy of the input with elements of `src` (or a number) written at positions along `dim`; reduce='add' or "
    "'multiply' combines them with what is there. Where a position occurs twice, the last write stays.\n\n"
    ">>> ingot.scatter(ingot.zeros(4), 0, ingot.tensor([1, 3]), ingot.tensor([5., 7.]))\n"
    "tensor([0., 5., 0., 7.])",
    infer=_infer_scatter,
    evaluate=_evaluate_scatter,
    vjp=_scatter_vjp,
    lower=Custom("scatter"),
    public=_PUBLIC,
    inplace=True,
    samples=lambda: [
        Sample((randoms(3, 5), 1, np.array([[0, 4], [1, 2], [3, 0]]), randoms(3, 2, seed=1))),
        Sample((randoms(3, 5), 0, np.array([[2, 0, 1]]), randoms(2, 4, seed=1))),
        Sample((randoms(3, 5), 1, np.array([[0], [1]]), 1.5)),
        Sample((randoms(5), 0, np.array([1, 1, 3]), randoms(3, seed=1)), {"reduce": "add"}),
        Sample((randoms(5), 0, np.array([1, 1, 3]), randoms(3, seed=1)), {"reduce": "multiply"}, differentiable=False),
        Sample((randoms(3), 0, ints(0), randoms(0))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 0, ints(2, low=3, high=5), 1.0), RuntimeError, "out of bounds"),
        ErrorSample((randoms(3), 0, ints(2, low=0, high=2), randoms(1)), RuntimeError, "no larger than src"),
        ErrorSample((randoms(3), 0, ints(2, low=0, high=2), ints(2)), RuntimeError, "input's dtype"),
    ],
)


SCATTER_ADD = define(
    "scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor)",
    "A copy of the input with elements of `src` added at positions along `dim`.\n\n"
    ">>> ingot.scatter_add(ingot.zeros(3), 0, ingot.tensor([1, 1]), ingot.tensor([5., 7.]))\n"
    "tensor([ 0., 12.,  0.])",
    infer=lambda sizes, input, index, src, *, dim: _infer_scatter(
        sizes, input, index, require_tensor("scatter_add", "src", src), dim=dim, name="scatter_add"
    ),
    evaluate=lambda xp, input, index, src, *, dim: _evaluate_scatter(xp, input, index, src, dim=dim, reduce="add"),
    vjp=lambda c, g, input, index, src, *, dim: (
        g,
        None,
        _index_part(F.gather(g, dim, index), index, src) if c.needs[2] else None,
    ),
    lower=Custom("scatter_add"),
    public=_PUBLIC,
    inplace=True,
    samples=lambda: [
        Sample((randoms(3, 5), 1, ints(3, 4, low=0, high=5), randoms(3, 4, seed=1))),
        Sample((randoms(2, 3), 0, ints(5, 2, low=0, high=2), randoms(6, 3, seed=1))),
        Sample((randoms(3), 0, ints(0), randoms(0))),
        Sample((ints(3), 0, ints(4, low=0, high=3), ints(4, seed=1)), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 0, ints(2, low=3, high=5), randoms(2)), RuntimeError, "out of bounds"),
        ErrorSample((randoms(3), 0, ints(2, low=0, high=2), 1.0), TypeError, "must be Tensor"),
    ],
)


# -- whole slices at positions from a vector ---------------------------------------------------------------------------


def _infer_index_select(sizes: Sizes, input: TensorType, index: Any, *, dim: int) -> TensorType:
    input, index = require_tensor("index_select", "input", input), require_index("index_select", index)
    axis = normalise_dim("index_select", dim, input.rank)
    if index.rank > 1:
        raise IndexError(f"index_select(): Index is supposed to be a vector, given {index}")
    if not input.rank:
        return input
    count = index.shape[0] if index.rank else 1
    return TensorType(input.dtype, (*input.shape[:axis], count, *input.shape[axis + 1 :]), input.device)


def _evaluate_index_select(xp: Any, input: Any, index: Any, *, dim: int) -> Any:
    source = _one_dim(input)
    where = positions("index_select", _one_dim(index), source.shape[dim], dim)
    value = xp.take(source, where, dim)
    return value if input.ndim else value.reshape(())


def _vector(index: Any) -> Any:
    return index if index.ndim else F.unsqueeze(index, 0)


def _index_select_vjp(c: VjpContext, g: Any, input: Any, index: Any, *, dim: int) -> tuple[Any, None]:
    if not input.ndim:
        return g, None
    return F.index_add(F.full(tuple(input.shape), 0, dtype=g.dtype), dim, _vector(index), g), None


INDEX_SELECT = define(
    "index_select(input: Tensor, dim: int, index: Tensor)",
    "The slices of the input along `dim` at the positions in a vector.\n\n"
    ">>> ingot.index_select(ingot.tensor([[1, 2], [3, 4]]), 1, ingot.tensor([1]))\n"
    "tensor([[2],\n"
    "        [4]])",
    infer=_infer_index_select,
    evaluate=_evaluate_index_select,
    vjp=_index_select_vjp,
    lower=Custom("index_select"),
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(3, 5), 1, np.array([4, 0, 0]))),
        Sample((randoms(3, 5), -2, np.array([2, 1], np.int32))),
        Sample((randoms(3), 0, ints(0))),
        Sample((randoms(3, 2), 0, np.array(1))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 0, np.array([3])), IndexError, "out of bounds"),
        ErrorSample((randoms(3), 0, np.array([-1])), IndexError, "out of bounds"),
        ErrorSample((randoms(3), 0, ints(2, 2)), IndexError, "vector"),
    ],
)


def _infer_index_add(sizes: Sizes, input: TensorType, index: Any, source: Any, *, dim: int, alpha: Any) -> TensorType:
    input, source = require_tensor("index_add", "input", input), require_tensor("index_add", "source", source)
    index = require_index("index_add", index)
    axis = normalise_dim("index_add", dim, input.rank)
    if index.rank > 1:
        raise IndexError(f"index_add(): Index is supposed to be a vector, given {index}")
    if source.dtype is not input.dtype:
        raise RuntimeError(f"index_add(): the input and source must have one dtype, given {input} and {source}")
    message = f"index_add(): source {source} does not fit input {input} with {index} in dimension {axis}"
    if source.rank != input.rank:
        raise RuntimeError(message)
    for i, (a, b) in enumerate(zip(source.shape, input.shape, strict=True)):
        sizes.equal(a, b if i != axis else (index.shape[0] if index.rank else 1), message)
    return input


def _evaluate_index_add(xp: Any, input: Any, index: Any, source: Any, *, dim: int, alpha: Any) -> Any:
    result = xp.array(input, copy=True, order="C")
    target, values = _one_dim(result), _one_dim(source)
    where = positions("index_add", _one_dim(index), target.shape[dim], dim)
    if alpha != 1:
        values = values * cast(xp, alpha, from_numpy(values.dtype))
    moved, values = xp.moveaxis(target, dim, 0), xp.moveaxis(values, dim, 0)
    with np.errstate(all="ignore"):
        if moved.ndim > 1 and where.size > 8:
            # Summing runs of equal positions is much faster than one addition per row.
            order = xp.argsort(where, kind="stable")
            starts = xp.flatnonzero(xp.diff(where[order], prepend=-1))
            moved[where[order][starts]] += xp.add.reduceat(values[order], starts, axis=0)
        else:
            xp.add.at(moved, where, values)
    return target.reshape(input.shape)


INDEX_ADD = define(
    "index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: number = 1)",
    "A copy of the input with alpha * source added to its slices along `dim` at the positions in a vector.\n\n"
    ">>> ingot.index_add(ingot.zeros(3), 0, ingot.tensor([2, 2]), ingot.tensor([1., 2.]))\n"
    "tensor([0., 0., 3.])",
    infer=_infer_index_add,
    evaluate=_evaluate_index_add,
    vjp=lambda c, g, input, index, source, *, dim, alpha: (
        g,
        None,
        _scaled(F.index_select(g, dim, index), alpha) if c.needs[2] else None,
    ),
    lower=Custom("index_add"),
    public=_PUBLIC,
    inplace=True,
    samples=lambda: [
        Sample((randoms(3, 4), 0, np.array([0, 2, 0, 1, 1]), randoms(5, 4, seed=1))),
        Sample((randoms(2, 3), 1, ints(11, low=0, high=3), randoms(2, 11, seed=1)), {"alpha": -0.5}),
        Sample((randoms(3), 0, np.array([1, 1]), randoms(2, seed=1))),
        Sample((randoms(3, 2), 0, ints(0), randoms(0, 2))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 0, np.array([3]), randoms(1)), IndexError, "out of bounds"),
        ErrorSample((randoms(3), 0, np.array([1]), randoms(2)), RuntimeError, "does not fit"),
    ],
)


def _scaled(x: Any, factor: Any) -> Any:
    return x if factor == 1 else F.mul(x, factor)


# -- tables ------------------------------------------------------------------------------------------------------------


def _infer_embedding(sizes: Sizes, input: Any, weight: Any, *, padding_idx: int | None) -> TensorType:
    input, weight = require_index("embedding", input, "input"), require_tensor("embedding", "weight", weight)
    if weight.rank != 2:
        raise RuntimeError(f"embedding: 'weight' must be 2-D, given {weight}")
    return TensorType(weight.dtype, (*input.shape, weight.shape[1]), weight.device)


def _evaluate_embedding(xp: Any, input: Any, weight: Any, *, padding_idx: int | None) -> Any:
    positions("embedding", input, weight.shape[0], 0)
    return xp.take(weight, input, 0)


def _embedding_vjp(c: VjpContext, g: Any, input: Any, weight: Any, *, padding_idx: int | None) -> tuple[None, Any]:
    rows, index = F.reshape(g, (-1, weight.shape[1])) if g.ndim != 2 else g, F.reshape(input, (-1,))
    if padding_idx is not None:
        row = padding_idx if padding_idx >= 0 else weight.shape[0] + padding_idx
        rows = F.where(F.unsqueeze(F.eq(index, row), 1), 0.0, rows)
    return None, F.index_add(F.full(tuple(weight.shape), 0, dtype=g.dtype), 0, index, rows)


EMBEDDING = define(
    "embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None)",
    "The rows of a table at the positions in `input`; the row `padding_idx` gets no gradient.",
    infer=_infer_embedding,
    evaluate=_evaluate_embedding,
    vjp=_embedding_vjp,
    lower=Custom("embedding"),
    samples=lambda: [
        Sample((ints(2, 3, low=0, high=5), randoms(5, 4))),
        Sample((np.array([1, 2, 1, 0]), randoms(3, 2)), {"padding_idx": 1}, differentiable=False),
        Sample((np.array(2), randoms(3, 2))),
        Sample((ints(0), randoms(3, 2))),
    ],
    errors=lambda: [
        ErrorSample((np.array([5]), randoms(5, 4)), IndexError, "out of bounds"),
        ErrorSample((np.array([0]), randoms(5)), RuntimeError, "2-D"),
        ErrorSample((randoms(2), randoms(5, 4)), RuntimeError, "int64"),
    ],
)


def _infer_one_hot(sizes: Sizes, input: Any, num_classes: Any) -> TensorType:
    input = require_tensor("one_hot", "input", input)
    if input.dtype is not int64:
        raise RuntimeError(f"one_hot is only applicable to index tensors of type int64, given {input}")
    return TensorType(int64, (*input.shape, dim_value("one_hot", "num_classes", num_classes)), input.device)


def _evaluate_one_hot(xp: Any, input: Any, num_classes: int) -> Any:
    if input.size and int(input.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    if input.size and int(input.max()) >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes, given {int(input.max())} and {num_classes}")
    return (input[..., None] == xp.arange(num_classes)).astype(np.int64)


ONE_HOT = define(
    "one_hot(input: Tensor, num_classes: Int)",
    "1 at the position that each element of `input` names, in a new last dimension of `num_classes`, and 0 elsewhere.",
    infer=_infer_one_hot,
    evaluate=_evaluate_one_hot,
    lower=Custom("one_hot"),
    samples=lambda: [Sample((ints(2, 3, low=0, high=4), 4)), Sample((np.array(1), 3)), Sample((ints(0), 3))],
    errors=lambda: [
        ErrorSample((np.array([-1]), 3), RuntimeError, "non-negative"),
        ErrorSample((np.array([3]), 3), RuntimeError, "smaller than num_classes"),
        ErrorSample((randoms(3), 3), RuntimeError, "int64"),
    ],
)
