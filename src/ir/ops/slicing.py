"""Ops that read part of a tensor by position (slice, select, diagonal, flip, roll), and writes through such parts."""

from collections.abc import Sequence
from typing import Any

from ..dims import Dim, DimExpr, dim_max, dim_min, product
from ..sizes import Sizes
from ..types import IntType, TensorType
from ._common import (
    dim_value,
    is_at_most,
    normalise_dim,
    normalise_dims,
    randoms,
    require_tensor,
    shape_text,
)
from ._op import Custom, ErrorSample, F, Sample, Trait, View, VjpContext, define
from .shape import linear_index, unravel_index

_VIEW = (Trait.PURE, Trait.VIEW)
_END = 1 << 62  # bounds this large (sys.maxsize) mean "to the end"


# -- bounds of slices --------------------------------------------------------------------------------------------------


def _decide(sizes: Sizes, a: Dim, b: Dim) -> bool | None:
    """Whether a <= b at the example sizes, which then becomes a condition of the graph; None without examples."""
    if is_at_most(a, b):
        return True
    hint_a, hint_b = sizes.hint(a), sizes.hint(b)
    if hint_a is None or hint_b is None:
        return None
    smaller, larger = (a, b) if hint_a <= hint_b else (b, a)
    message = f"slice: {smaller} was at most {larger} when the graph was made"
    if not is_at_most(smaller, larger):
        sizes.equal(dim_min(smaller, larger), smaller, message)
    return hint_a <= hint_b


def _bound(sizes: Sizes, value: Dim | None, size: Dim, default: Dim) -> Dim:
    """A start or stop as an index in [0, size], by Python's rules."""
    if value is None or (isinstance(value, int) and value >= _END):
        return default if value is None else size
    value = sizes.resolve(value)
    if isinstance(value, int):
        negative = value < 0
    elif is_at_most(0, value):
        negative = False
    else:
        decided = _decide(sizes, 0, value)
        if decided is None:
            sizes.equal(dim_max(value, 0), value, f"slice: the bound {value} is negative, which must be known earlier")
        negative = decided is False
    if negative:
        value = size + value
        at_least_zero = _decide(sizes, 0, value)
        return dim_max(value, 0) if at_least_zero is None else value if at_least_zero else 0
    within = _decide(sizes, value, size)
    return dim_min(value, size) if within is None else value if within else size


def slice_bounds(sizes: Sizes, start: Dim | None, stop: Dim | None, step: int, size: Dim) -> tuple[Dim, Dim]:
    """The first index and the number of elements of a slice of a dimension, conditions on sizes recorded."""
    first = _bound(sizes, start, size, 0)
    end = _bound(sizes, stop, size, size)
    span = end - first
    if end != size and not is_at_most(0, span):  # a start is never past the size
        ordered = _decide(sizes, first, end)
        span = dim_max(span, 0) if ordered is None else span if ordered else 0
    return first, (span + (step - 1)) // step


def _start_index(start: Any, size: Any) -> Any:
    """The first index of a slice where code is generated: exact for every size."""
    if start is None:
        return 0
    if not isinstance(start, int):
        return start
    if isinstance(size, int):
        return min(start, size) if start >= 0 else max(size + start, 0)
    return start if start >= 0 else dim_max(size + start, 0) if isinstance(size, DimExpr) else size + start


def _slice_parts(
    sizes: Sizes, name: str, input: Any, start: Any, stop: Any, dim: int, step: int
) -> tuple[TensorType, int, TensorType]:
    input = require_tensor(name, "input", input)
    if input.rank == 0:
        raise IndexError(f"{name}: a tensor of rank 0 cannot be sliced")
    axis = normalise_dim(name, dim, input.rank)
    if step <= 0:
        raise ValueError(f"{name}: step must be greater than zero, given {step}")
    bounds = [None if b is None else dim_value(name, what, b) for what, b in (("start", start), ("stop", stop))]
    _, length = slice_bounds(sizes, bounds[0], bounds[1], step, sizes.resolve(input.shape[axis]))
    shape = (*input.shape[:axis], length, *input.shape[axis + 1 :])
    return input, axis, TensorType(input.dtype, shape, input.device)


def _infer_slice(sizes: Sizes, input: Any, start: Any, stop: Any, *, dim: int, step: int) -> TensorType:
    return _slice_parts(sizes, "slice", input, start, stop, dim, step)[2]


def _part(rank: int, dim: int, index: Any) -> tuple[Any, ...]:
    """A numpy index that applies `index` to one dimension."""
    return (*(slice(None) for _ in range(dim % rank)), index)


def _slice_map(
    indices: Sequence[Any],
    input_shape: Sequence[Any],
    result_shape: Sequence[Any],
    *,
    operands: Sequence[Any],
    dim: int,
    step: int,
) -> Any:
    axis = dim % len(input_shape)
    result = list(indices)
    result[axis] = _start_index(operands[0], input_shape[axis]) + indices[axis] * step
    return result


SLICE = define(
    "slice(input: Tensor, start: Int, stop: Int, *, dim: int = 0, step: int = 1)",
    "Elements start, start + step, ... before stop of one dimension, as a view; bounds are Python's (None: no bound).",
    infer=_infer_slice,
    evaluate=lambda xp, input, start, stop, *, dim, step: input[_part(input.ndim, dim, slice(start, stop, step))],
    vjp=lambda c, g, input, start, stop, *, dim, step: (
        F.slice_scatter(F.full(tuple(input.shape), 0, dtype=g.dtype), g, start, stop, dim=dim, step=step),
        None,
        None,
    ),
    lower=View(_slice_map, operands_in_map=True),
    traits=_VIEW,
    samples=lambda: [
        Sample((randoms(5, 3), 1, 4)),
        Sample((randoms(5, 3), -2, None), {"dim": -1}),
        Sample((randoms(7, 2), None, -1), {"step": 3}),
        Sample((randoms(3, 4), 2, 100), {"dim": 1}),
        Sample((randoms(3), 5, 7)),
        Sample((randoms(3), 2, 1)),
        Sample((randoms(3), -9, 9223372036854775807), {"step": 2}),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 0, 1), ValueError, "step must be greater than zero", {"step": -1}),
        ErrorSample((randoms(3), 0, 1), IndexError, "out of range", {"dim": 1}),
        ErrorSample((randoms(), 0, 1), IndexError, "rank 0"),
        ErrorSample((randoms(3), 0.5, 1), TypeError, "must be int"),
    ],
)


def _infer_slice_scatter(
    sizes: Sizes, input: TensorType, src: Any, start: Any, stop: Any, *, dim: int, step: int
) -> TensorType:
    input, _, part = _slice_parts(sizes, "slice_scatter", input, start, stop, dim, step)
    _require_part(sizes, "slice_scatter", require_tensor("slice_scatter", "src", src), part)
    return input


def _require_part(sizes: Sizes, name: str, src: TensorType, part: TensorType) -> None:
    message = f"{name}: expected src to have the shape of the written part, {shape_text(part.shape)}, given {src}"
    if src.rank != part.rank:
        raise RuntimeError(message)
    for a, b in zip(src.shape, part.shape, strict=True):
        sizes.equal(a, b, message)


def _with_part(xp: Any, input: Any, index: Any, src: Any) -> Any:
    result = xp.array(input, copy=True, order="C")
    result[index] = src.astype(result.dtype, copy=False)
    return result


def _slice_scatter_vjp(
    c: VjpContext, g: Any, input: Any, src: Any, start: Any, stop: Any, *, dim: int, step: int
) -> tuple[Any, ...]:
    zeros = F.full(tuple(src.shape), 0, dtype=g.dtype)
    return (
        F.slice_scatter(g, zeros, start, stop, dim=dim, step=step) if c.needs[0] else None,
        F.slice(g, start, stop, dim=dim, step=step) if c.needs[1] else None,
        None,
        None,
    )


SLICE_SCATTER = define(
    "slice_scatter(input: Tensor, src: Tensor, start: Int = None, stop: Int = None, *, dim: int = 0, step: int = 1)",
    "A copy of the input in which the elements of that slice are those of `src`.",
    infer=_infer_slice_scatter,
    evaluate=lambda xp, input, src, start, stop, *, dim, step: _with_part(
        xp, input, _part(input.ndim, dim, slice(start, stop, step)), src
    ),
    vjp=_slice_scatter_vjp,
    lower=Custom("slice_scatter"),
    samples=lambda: [
        Sample((randoms(5, 3), randoms(3, 3, seed=1), 1, 4)),
        Sample((randoms(5, 4), randoms(5, 2, seed=1), None, -1), {"dim": 1, "step": 2}),
        Sample((randoms(2), randoms(0, seed=1), 4, 7)),
    ],
    errors=lambda: [ErrorSample((randoms(5, 3), randoms(2, 3), 0, 3), RuntimeError, r"\[3, 3\], given f32\[2, 3\]")],
)


# -- one index ---------------------------------------------------------------------------------------------------------


def _select_parts(sizes: Sizes, name: str, input: Any, index: Any, dim: int) -> tuple[TensorType, TensorType]:
    input = require_tensor(name, "input", input)
    if input.rank == 0:
        raise IndexError(f"{name}() cannot be applied to a 0-dim tensor.")
    axis = normalise_dim(name, dim, input.rank)
    if not isinstance(index, IntType):
        raise TypeError(f"{name}(): argument 'index' must be int, not {index}")
    size = sizes.resolve(input.shape[axis])
    position = None if index.value is None else sizes.resolve(index.value)
    message = f"{name}: index {position} is out of range for dimension {axis} of size {size}"
    hint, size_hint = None if position is None else sizes.hint(position), sizes.hint(size)
    if hint is not None and size_hint is not None and not -size_hint <= hint < size_hint:
        raise IndexError(message)
    if position is not None:
        if isinstance(position, int) or (hint is not None and hint < 0):
            last = position if hint is not None and hint >= 0 else -position - 1
        else:
            last = position
        if not is_at_most(last, size - 1):
            sizes.equal(dim_min(last, size - 1), last, message)
        if not isinstance(position, int) and (hint is None or hint >= 0) and not is_at_most(0, position):
            sizes.equal(dim_max(position, 0), position, message)
    shape = (*input.shape[:axis], *input.shape[axis + 1 :])
    return input, TensorType(input.dtype, shape, input.device)


def _select_map(
    indices: Sequence[Any],
    input_shape: Sequence[Any],
    result_shape: Sequence[Any],
    *,
    operands: Sequence[Any],
    dim: int,
) -> Any:
    axis, index = dim % len(input_shape), operands[0]
    if isinstance(index, int) and index < 0:
        index = input_shape[axis] + index
    elif isinstance(index, DimExpr) and not is_at_most(0, index):
        index = index % input_shape[axis]
    return [*indices[:axis], index, *indices[axis:]]


SELECT = define(
    "select(input: Tensor, index: Int, *, dim: int)",
    "The elements at one index of a dimension, which goes away; negative indices count from its end. A view.",
    infer=lambda sizes, input, index, *, dim: _select_parts(sizes, "select", input, index, dim)[1],
    evaluate=lambda xp, input, index, *, dim: input[(*_part(input.ndim, dim, index), ...)],
    vjp=lambda c, g, input, index, *, dim: (
        F.select_scatter(F.full(tuple(input.shape), 0, dtype=g.dtype), g, index, dim=dim),
        None,
    ),
    lower=View(_select_map, operands_in_map=True),
    traits=_VIEW,
    samples=lambda: [
        Sample((randoms(5, 3), 1), {"dim": 0}),
        Sample((randoms(5, 3), -3), {"dim": -1}),
        Sample((randoms(2, 3, 5), 2), {"dim": 1}),
        Sample((randoms(7), -1), {"dim": 0}),
    ],
    errors=lambda: [
        ErrorSample((randoms(5, 3), 5), IndexError, "index 5 is out of range for dimension 0 of size 5", {"dim": 0}),
        ErrorSample((randoms(5, 3), -4), IndexError, "out of range", {"dim": 1}),
        ErrorSample((randoms(), 0), IndexError, "0-dim", {"dim": 0}),
    ],
)


def _infer_select_scatter(sizes: Sizes, input: TensorType, src: Any, index: Any, *, dim: int) -> TensorType:
    input, part = _select_parts(sizes, "select_scatter", input, index, dim)
    _require_part(sizes, "select_scatter", require_tensor("select_scatter", "src", src), part)
    return input


SELECT_SCATTER = define(
    "select_scatter(input: Tensor, src: Tensor, index: Int, *, dim: int)",
    "A copy of the input in which the elements at that index of a dimension are those of `src`.",
    infer=_infer_select_scatter,
    evaluate=lambda xp, input, src, index, *, dim: _with_part(xp, input, _part(input.ndim, dim, index), src),
    vjp=lambda c, g, input, src, index, *, dim: (
        F.select_scatter(g, F.full(tuple(src.shape), 0, dtype=g.dtype), index, dim=dim) if c.needs[0] else None,
        F.select(g, index, dim=dim) if c.needs[1] else None,
        None,
    ),
    lower=Custom("select_scatter"),
    samples=lambda: [
        Sample((randoms(5, 3), randoms(3, seed=1), 1), {"dim": 0}),
        Sample((randoms(5, 3), randoms(5, seed=1), -1), {"dim": 1}),
        Sample((randoms(3), randoms(seed=1), 0), {"dim": 0}),
    ],
    errors=lambda: [
        ErrorSample((randoms(5, 3), randoms(4), 1), RuntimeError, "shape of the written part", {"dim": 0}),
        ErrorSample((randoms(5, 3), randoms(3), 5), IndexError, "out of range", {"dim": 0}),
    ],
)


# -- diagonals ---------------------------------------------------------------------------------------------------------


def _diagonal_parts(
    sizes: Sizes, name: str, input: Any, offset: int, dim1: int, dim2: int
) -> tuple[TensorType, TensorType]:
    input = require_tensor(name, "input", input)
    a, b = normalise_dim(name, dim1, input.rank), normalise_dim(name, dim2, input.rank)
    if a == b:
        raise RuntimeError(f"{name}: diagonal dimensions cannot be identical, given {dim1} and {dim2}")
    rows, columns = input.shape[a] + min(offset, 0), input.shape[b] - max(offset, 0)
    shorter = _decide(sizes, rows, columns)
    length = dim_min(rows, columns) if shorter is None else rows if shorter else columns
    positive = _decide(sizes, 0, length)
    length = dim_max(length, 0) if positive is None else length if positive else 0
    rest = [d for i, d in enumerate(input.shape) if i not in (a, b)]
    return input, TensorType(input.dtype, (*rest, length), input.device)


def _diagonal_map(
    indices: Sequence[Any],
    input_shape: Sequence[Any],
    result_shape: Sequence[Any],
    *,
    offset: int,
    dim1: int,
    dim2: int,
) -> Any:
    rank = len(input_shape)
    a, b = dim1 % rank, dim2 % rank
    rest = iter(indices[:-1])
    along = {a: indices[-1] - min(offset, 0), b: indices[-1] + max(offset, 0)}
    return [along[i] if i in along else next(rest) for i in range(rank)]


def _writable_diagonal(xp: Any, array: Any, offset: int, dim1: int, dim2: int) -> Any:
    """A view of a diagonal that may be written to, which numpy's own `diagonal` is not."""
    rank = array.ndim
    moved = xp.moveaxis(array, (dim1 % rank, dim2 % rank), (-2, -1))
    rows, columns = moved.shape[-2] + min(offset, 0), moved.shape[-1] - max(offset, 0)
    length = max(min(rows, columns), 0)
    start = moved[..., -min(offset, 0) :, max(offset, 0) :]
    strides = (*start.strides[:-2], start.strides[-2] + start.strides[-1])
    return xp.lib.stride_tricks.as_strided(start, (*moved.shape[:-2], length), strides)


def _evaluate_diagonal_scatter(xp: Any, input: Any, src: Any, *, offset: int, dim1: int, dim2: int) -> Any:
    result = xp.array(input, copy=True, order="C")
    if src.size:
        _writable_diagonal(xp, result, offset, dim1, dim2)[...] = src.astype(result.dtype, copy=False)
    return result


def _infer_diagonal_scatter(
    sizes: Sizes, input: TensorType, src: Any, *, offset: int, dim1: int, dim2: int
) -> TensorType:
    input, part = _diagonal_parts(sizes, "diagonal_scatter", input, offset, dim1, dim2)
    _require_part(sizes, "diagonal_scatter", require_tensor("diagonal_scatter", "src", src), part)
    return input


DIAGONAL = define(
    "diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1)",
    "The diagonal of two dimensions, `offset` above the main one, as the last dimension of a view.\n\n"
    ">>> ingot.diagonal(ingot.tensor([[1, 2], [3, 4]]))\n"
    "tensor([1, 4])",
    infer=lambda sizes, input, *, offset, dim1, dim2: _diagonal_parts(sizes, "diagonal", input, offset, dim1, dim2)[1],
    evaluate=lambda xp, input, *, offset, dim1, dim2: _writable_diagonal(xp, input, offset, dim1, dim2),
    vjp=lambda c, g, input, *, offset, dim1, dim2: (
        F.diagonal_scatter(F.full(tuple(input.shape), 0, dtype=g.dtype), g, offset, dim1, dim2),
    ),
    lower=View(_diagonal_map),
    traits=_VIEW,
    public=("", "method"),
    samples=lambda: [
        Sample((randoms(3, 4),)),
        Sample((randoms(5, 3), -1)),
        Sample((randoms(2, 3, 4), 1, -1, 0)),
        Sample((randoms(2, 3), 5)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 3), 0, 1, 1), RuntimeError, "identical"),
        ErrorSample((randoms(3), 0), IndexError, "out of range"),
    ],
)
DIAGONAL_SCATTER = define(
    "diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1)",
    "A copy of the input in which the elements of that diagonal are those of `src`.\n\n"
    ">>> ingot.diagonal_scatter(ingot.zeros(2, 2), ingot.tensor([5., 7.]))\n"
    "tensor([[5., 0.],\n"
    "        [0., 7.]])",
    infer=_infer_diagonal_scatter,
    evaluate=_evaluate_diagonal_scatter,
    vjp=lambda c, g, input, src, *, offset, dim1, dim2: (
        F.diagonal_scatter(g, F.full(tuple(src.shape), 0, dtype=g.dtype), offset, dim1, dim2) if c.needs[0] else None,
        F.diagonal(g, offset, dim1, dim2) if c.needs[1] else None,
    ),
    lower=Custom("diagonal_scatter"),
    public=("", "method"),
    samples=lambda: [
        Sample((randoms(3, 4), randoms(3, seed=1))),
        Sample((randoms(2, 3, 4), randoms(3, 1, seed=1), 1, 2, 0)),
    ],
    errors=lambda: [ErrorSample((randoms(3, 3), randoms(2)), RuntimeError, "shape of the written part")],
)


# -- reversal and rotation ---------------------------------------------------------------------------------------------


def _infer_flip(sizes: Sizes, input: TensorType, *, dims: tuple[int, ...]) -> TensorType:
    input = require_tensor("flip", "input", input)
    if dims:
        normalise_dims("flip", dims, input.rank)
    return input


def _flip_map(
    indices: Sequence[Any], input_shape: Sequence[Any], result_shape: Sequence[Any], *, dims: tuple[int, ...]
) -> Any:
    axes = {d % len(input_shape) for d in dims} if input_shape else set()
    return [
        size - 1 - i if axis in axes else i for axis, (i, size) in enumerate(zip(indices, input_shape, strict=True))
    ]


FLIP = define(
    "flip(input: Tensor, *dims: ints)",
    "A copy with the order of elements reversed along `dims`.\n\n"
    ">>> ingot.flip(ingot.tensor([1, 2, 3]), (0,))\ntensor([3, 2, 1])",
    infer=_infer_flip,
    evaluate=lambda xp, input, *, dims: xp.array(xp.flip(input, dims) if input.ndim else input, copy=True),
    vjp=lambda c, g, input, *, dims: (F.flip(g, dims),),
    lower=View(_flip_map),
    public=("", "method"),
    samples=lambda: [
        Sample((randoms(3, 4), 0)),
        Sample((randoms(3, 4), (0, -1))),
        Sample((randoms(3, 4), ())),
        Sample((randoms(0, 2), 0)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 1), IndexError, "out of range"),
        ErrorSample((randoms(3, 2), 0, 0), RuntimeError, "twice"),
    ],
)


def _infer_roll(
    sizes: Sizes, input: TensorType, *, shifts: tuple[int, ...], dims: tuple[int, ...] | None
) -> TensorType:
    input = require_tensor("roll", "input", input)
    if not shifts:
        raise RuntimeError("roll: `shifts` required")
    if len(shifts) != (1 if dims is None or dims == () else len(dims)):
        raise RuntimeError(f"roll: shifts and dimensions must align, given shifts={list(shifts)} and dims={dims}")
    for d in dims or ():
        normalise_dim("roll", d, input.rank)
    return input


def _roll_map(
    indices: Sequence[Any],
    input_shape: Sequence[Any],
    result_shape: Sequence[Any],
    *,
    shifts: tuple[int, ...],
    dims: tuple[int, ...] | None,
) -> Any:
    if not dims:
        return unravel_index((linear_index(indices, input_shape) - shifts[0]) % product(list(input_shape)), input_shape)
    result = list(indices)
    for shift, dim in zip(shifts, dims, strict=True):
        if result:
            result[dim] = (result[dim] - shift) % input_shape[dim]
    return result


ROLL = define(
    "roll(input: Tensor, shifts: ints, dims: ints | None = None)",
    "A copy rotated along `dims` by `shifts`: what leaves at the end comes back at the start. No dims: flattened.\n\n"
    ">>> ingot.roll(ingot.tensor([1, 2, 3]), 1)\n"
    "tensor([3, 1, 2])",
    infer=_infer_roll,
    evaluate=lambda xp, input, *, shifts, dims: xp.roll(input, shifts, dims) if dims else xp.roll(input, shifts[0]),
    vjp=lambda c, g, input, *, shifts, dims: (F.roll(g, tuple(-s for s in shifts), dims),),
    lower=View(_roll_map),
    public=("", "method"),
    samples=lambda: [
        Sample((randoms(3, 4), 1)),
        Sample((randoms(3, 4), 5, 1)),
        Sample((randoms(3, 4), (-1, 2), (0, -1))),
        Sample((randoms(0, 2), 1, 0)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), (1, 2), 0), RuntimeError, "must align"),
        ErrorSample((randoms(3), 1, 1), IndexError, "out of range"),
    ],
)
