"""Ops that put tensors together (cat, stack), add a border (pad), or blank out a triangle (tril, triu)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dims import Dim, dim_max
from ..dtypes import DType, result_dtype
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    array_dtype,
    cast,
    dim_of,
    dim_value,
    ints,
    normalise_dim,
    promoted_array_dtype,
    randoms,
    require_tensor,
    same_device,
    shape_text,
)
from ._op import Custom, Decompose, ErrorSample, F, Op, Sample, VjpContext, define

_PUBLIC = ("", "method")


def _joined_types(name: str, tensors: tuple[Any, ...]) -> tuple[list[TensorType], DType, str]:
    if not tensors:
        raise (ValueError if name == "cat" else RuntimeError)(f"{name}(): expected a non-empty list of Tensors")
    types = [require_tensor(name, f"tensors[{i}]", t) for i, t in enumerate(tensors)]
    dtype = result_dtype([t.dtype for t in types if t.shape], [t.dtype for t in types if not t.shape])
    return types, dtype, same_device(name, tensors)


def _is_empty_vector(shape: tuple[Dim, ...]) -> bool:
    """A tensor of shape [0] joins any others, whatever their rank, as it does in PyTorch."""
    return len(shape) == 1 and isinstance(shape[0], int) and shape[0] == 0


def _infer_cat(sizes: Sizes, tensors: tuple[Any, ...], *, dim: int) -> TensorType:
    types, dtype, device = _joined_types("cat", tensors)
    if any(t.rank == 0 for t in types):
        raise RuntimeError("cat: a tensor of rank 0 cannot be concatenated; use stack")
    if len({t.rank for t in types}) > 1:
        for t in types:
            if t.rank == 1 and sizes.hint(t.shape[0]) == 0:
                sizes.equal(t.shape[0], 0, "cat: a tensor was empty when the graph was made")
        types = [TensorType(t.dtype, tuple(sizes.resolve(d) for d in t.shape), t.device) for t in types]
    joined = [t for t in types if not _is_empty_vector(t.shape)]
    if not joined:
        normalise_dim("cat", dim, 1)
        return TensorType(dtype, (0,), device)
    first = joined[0]
    axis = normalise_dim("cat", dim, first.rank)
    shape = list(first.shape)
    for t in joined[1:]:
        message = (
            f"cat: tensors must have the same shape except in dimension {axis}, "
            f"given {shape_text(first.shape)} and {shape_text(t.shape)}"
        )
        if t.rank != first.rank:
            raise RuntimeError(message)
        for i, size in enumerate(t.shape):
            if i != axis:
                shape[i] = sizes.equal(shape[i], size, message)
    shape[axis] = sum((t.shape[axis] for t in joined), start=0)
    return TensorType(dtype, tuple(shape), device)


def _evaluate_cat(xp: Any, tensors: tuple[Any, ...], *, dim: int) -> Any:
    dtype = result_dtype([array_dtype(t) for t in tensors])
    joined = [cast(xp, t, dtype) for t in tensors if t.shape != (0,)]
    return xp.concatenate(joined, dim) if joined else xp.empty(0, dtype.numpy)


def _cat_vjp(c: VjpContext, g: Any, tensors: tuple[Any, ...], *, dim: int) -> tuple[tuple[Any, ...]]:
    gradients: list[Any] = []
    offset: Dim = 0
    for t, needed in zip(tensors, c.needs[0], strict=True):
        if _is_empty_vector(tuple(t.shape)):
            gradients.append(F.full((0,), 0, dtype=t.dtype) if needed else None)
            continue
        end = offset + t.shape[dim]
        part = F.slice(g, offset, end, dim=dim) if needed else None
        gradients.append(part if part is None or part.dtype is t.dtype else F.cast(part, dtype=t.dtype))
        offset = end
    return (tuple(gradients),)


CAT = define(
    "cat(tensors: Tensors, dim: int = 0)",
    "The tensors one after another along an existing dimension.\n\n"
    ">>> ingot.cat((ingot.tensor([1, 2]), ingot.tensor([3])))\ntensor([1, 2, 3])",
    infer=_infer_cat,
    evaluate=_evaluate_cat,
    vjp=_cat_vjp,
    lower=Custom("concatenate"),
    public=("",),
    aliases=("concat", "concatenate"),
    samples=lambda: [
        Sample(((randoms(2, 3), randoms(4, 3, seed=1)),)),
        Sample(((randoms(2, 3), randoms(2, 1, seed=1), randoms(2, 2, seed=2)), -1)),
        Sample(((randoms(0), randoms(2, 3)), 1)),
        Sample(((randoms(0), randoms(0)),)),
        Sample(((randoms(5),),)),
        Sample(((ints(3), randoms(2)),), differentiable=False),
        Sample(((randoms(0, 3), randoms(2, 3)),)),
    ],
    errors=lambda: [
        ErrorSample(((),), ValueError, "non-empty"),
        ErrorSample(((randoms(2, 3), randoms(2, 4)),), RuntimeError, r"\[2, 3\] and \[2, 4\]"),
        ErrorSample(((randoms(2, 3), randoms(2)),), RuntimeError, "same shape"),
        ErrorSample(((randoms(), randoms()),), RuntimeError, "rank 0"),
        ErrorSample(((randoms(2),), 1), IndexError, "out of range"),
        ErrorSample(((randoms(2), 3.0),), TypeError, "must be Tensor"),
    ],
)


def _infer_stack(sizes: Sizes, tensors: tuple[Any, ...], *, dim: int) -> TensorType:
    types, dtype, device = _joined_types("stack", tensors)
    axis = normalise_dim("stack", dim, types[0].rank + 1)
    shape = list(types[0].shape)
    for t in types[1:]:
        message = f"stack: expected tensors of one shape, given {shape_text(types[0].shape)} and {shape_text(t.shape)}"
        if t.rank != len(shape):
            raise RuntimeError(message)
        shape = [sizes.equal(a, b, message) for a, b in zip(shape, t.shape, strict=True)]
    return TensorType(dtype, (*shape[:axis], len(types), *shape[axis:]), device)


def _evaluate_stack(xp: Any, tensors: tuple[Any, ...], *, dim: int) -> Any:
    dtype = promoted_array_dtype(tensors)
    return xp.stack([cast(xp, t, dtype) for t in tensors], dim)


def _stack_vjp(c: VjpContext, g: Any, tensors: tuple[Any, ...], *, dim: int) -> tuple[tuple[Any, ...]]:
    parts = [F.select(g, i, dim=dim) if needed else None for i, needed in enumerate(c.needs[0])]
    return (
        tuple(
            p if p is None or p.dtype is t.dtype else F.cast(p, dtype=t.dtype)
            for p, t in zip(parts, tensors, strict=True)
        ),
    )


STACK = define(
    "stack(tensors: Tensors, dim: int = 0)",
    "The tensors, all of one shape, along a new dimension.\n\n"
    ">>> ingot.stack((ingot.tensor([1, 2]), ingot.tensor([3, 4])))\n"
    "tensor([[1, 2],\n"
    "        [3, 4]])",
    infer=_infer_stack,
    evaluate=_evaluate_stack,
    vjp=_stack_vjp,
    lower=Decompose(lambda tensors, *, dim: F.cat(tuple(F.unsqueeze(t, dim) for t in tensors), dim)),
    public=("",),
    samples=lambda: [
        Sample(((randoms(2, 3), randoms(2, 3, seed=1)),)),
        Sample(((randoms(2, 3), randoms(2, 3, seed=1)), -1)),
        Sample(((randoms(), randoms(seed=1)),)),
        Sample(((randoms(0, 2),), 1)),
        Sample(((ints(3), randoms(3)),), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample(((),), RuntimeError, "non-empty"),
        ErrorSample(((randoms(2), randoms(3)),), RuntimeError, r"one shape, given \[2\] and \[3\]"),
        ErrorSample(((randoms(2),), 2), IndexError, "out of range"),
    ],
)


# -- padding -----------------------------------------------------------------------------------------------------------

_MODES = ("constant", "reflect", "replicate", "circular")


def _pairs(rank: int, pad: Sequence[Any]) -> list[tuple[Any, Any]]:
    """(before, after) for each dimension, from pairs given for the last dimension first."""
    given = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return [(0, 0)] * (rank - len(given)) + given[::-1]


def _infer_pad(sizes: Sizes, input: Any, pad: tuple[Any, ...], *, mode: str, value: Any) -> TensorType:
    input = require_tensor("pad", "input", input)
    if mode not in _MODES:
        raise NotImplementedError(f"pad: expected mode to be one of {', '.join(_MODES)}, given {mode!r}")
    amounts = [dim_value("pad", "pad", p) for p in pad]
    if len(amounts) % 2 or len(amounts) > 2 * input.rank:
        raise RuntimeError(
            f"pad: expected two lengths for each of at most {input.rank} dimensions, given {shape_text(tuple(amounts))}"
        )
    if mode != "constant" and value:
        raise ValueError(f"pad: the mode {mode!r} takes no value, given {value}")
    shape: list[Dim] = []
    for axis, (size, (before, after)) in enumerate(zip(input.shape, _pairs(input.rank, amounts), strict=True)):
        if (before, after) == (0, 0):
            shape.append(size)
            continue
        result = before + size + after
        hint = sizes.hint(result)
        if hint is not None and hint < 0:
            raise RuntimeError(
                f"pad: the size of dimension {axis} would be {hint}, given {input} and {shape_text(tuple(amounts))}"
            )
        if not isinstance(result, int) and dim_max(result, 0) != result:
            sizes.equal(dim_max(result, 0), result, f"pad: the size {result} must not be negative")
        if mode != "constant":
            _require_border(sizes, mode, size, axis, before, after)
        shape.append(result)
    return TensorType(input.dtype, tuple(shape), input.device)


def _require_border(sizes: Sizes, mode: str, size: Dim, axis: int, before: Dim, after: Dim) -> None:
    hint = sizes.hint(size)
    limit = {"reflect": 1, "circular": 0}.get(mode)
    for amount in (before, after):
        width = sizes.hint(amount)
        if hint is None or width is None:
            continue
        if (limit is not None and width > hint - limit) or (limit is None and hint == 0):
            raise RuntimeError(
                f"pad: a border of {width} is too wide for mode {mode!r} in dimension {axis} of size {hint}"
            )


def _crop(array: Any, pairs: list[tuple[int, int]]) -> Any:
    """The array without what negative lengths take away."""
    return array[tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(array.shape, pairs, strict=True))]


def _evaluate_pad(xp: Any, input: Any, pad: tuple[int, ...], *, mode: str, value: Any) -> Any:
    pairs = _pairs(input.ndim, pad)
    # A crop past the far end is made up by padding at the other, so padding comes first.
    widths = [(max(b, 0), max(a, 0)) for b, a in pairs]
    if mode == "constant":
        fill = np.asarray(value or 0).astype(input.dtype)[()]
        padded = xp.pad(input, widths, constant_values=fill) if any(map(any, widths)) else xp.array(input, copy=True)
    else:
        padded = xp.pad(input, widths, mode={"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])
    return xp.ascontiguousarray(_crop(padded, pairs)) if input.ndim else padded


def border_index(mode: str, index: Any, size: Dim) -> Any:
    """The places, as a tensor, that padded places along a dimension of `size` read from; before the border is -1."""
    if mode == "replicate":
        return F.minimum(F.maximum(index, 0), size - 1)
    if mode == "circular":
        return F.remainder(index, size)
    return F.sub(size - 1, F.abs(F.sub(size - 1, F.abs(index))))


def _pad_vjp(c: VjpContext, g: Any, input: Any, pad: tuple[Any, ...], *, mode: str, value: Any) -> tuple[Any, Any]:
    amounts = [dim_of(p) for p in pad]
    if mode == "constant":
        return F.pad(g, tuple(-1 * a for a in amounts)), None
    for axis, (before, after) in enumerate(_pairs(input.ndim, amounts)):
        size = input.shape[axis]
        if (before, after) != (0, 0):
            places = border_index(mode, F.arange(-1 * before, size + after, 1), size)
            zeros = F.full((*g.shape[:axis], size, *g.shape[axis + 1 :]), 0, dtype=g.dtype)
            g = F.index_add(zeros, axis, places, g)
    return g, None


PAD = define(
    "pad(input: Tensor, pad: Size, mode: str = 'constant', value: number | None = None)",
    "The tensor with a border: `pad` gives (before, after) of the last dimension, then of the one before it, ...; "
    "negative lengths crop. The border is `value` (default 0), or a reflection, the edge, or the other side.\n\n"
    ">>> ingot.nn.functional.pad(ingot.tensor([1, 2]), (1, 2))\ntensor([0, 1, 2, 0, 0])",
    infer=_infer_pad,
    evaluate=_evaluate_pad,
    vjp=_pad_vjp,
    lower=Custom("pad"),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 4), (1, 2))),
        Sample((randoms(3, 4), (1, 0, 2, 3)), {"value": 1.5}),
        Sample((randoms(3, 4), (-1, 2, 0, -2))),
        Sample((randoms(3), (4, -5))),
        Sample((randoms(2, 5), (2, 3), "reflect")),
        Sample((randoms(2, 3), (2, 1, 1, 0), "replicate")),
        Sample((randoms(2, 3), (3, 1), "circular")),
        Sample((randoms(0, 2), (0, 0, 1, 1))),
        Sample((randoms(3), ())),
        Sample((ints(3), (1, 1)), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), (1,)), RuntimeError, "two lengths"),
        ErrorSample((randoms(3), (1, 1, 1, 1)), RuntimeError, "at most 1 dimensions"),
        ErrorSample((randoms(3), (-2, -2)), RuntimeError, "would be -1"),
        ErrorSample((randoms(2, 3), (3, 0), "reflect"), RuntimeError, "too wide"),
        ErrorSample((randoms(3), (1, 1), "mirror"), NotImplementedError, "one of"),
    ],
)


# -- triangles ---------------------------------------------------------------------------------------------------------


def _triangle(name: str, doc: str, keep: str) -> Op:
    def infer(sizes: Sizes, input: TensorType, *, diagonal: int) -> TensorType:
        input = require_tensor(name, "input", input)
        if input.rank < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions, given {input}")
        return input

    def decompose(input: Any, *, diagonal: int) -> Any:
        rows = F.unsqueeze(F.arange(diagonal, input.shape[-2] + diagonal, 1), 1)
        columns = F.arange(0, input.shape[-1], 1)
        return F.where(getattr(F, keep)(columns, rows), input, F.full((), 0, dtype=input.dtype))

    return define(
        f"{name}(input: Tensor, diagonal: int = 0)",
        doc,
        infer=infer,
        evaluate=lambda xp, input, *, diagonal: xp.asarray(getattr(xp, name)(input, diagonal)),
        vjp=lambda c, g, input, *, diagonal: (getattr(F, name)(g, diagonal),),
        lower=Decompose(decompose),
        public=_PUBLIC,
        inplace=True,
        samples=lambda: [
            Sample((randoms(3, 4),)),
            Sample((randoms(2, 4, 3), 1)),
            Sample((randoms(3, 3), -2)),
            Sample((randoms(0, 3),)),
            Sample((ints(3, 3),), differentiable=False),
        ],
        errors=lambda: [ErrorSample((randoms(3),), RuntimeError, "at least 2 dimensions")],
    )


TRIL = _triangle(
    "tril",
    "The lower triangle of matrices, up to `diagonal` above the main one; zeros elsewhere.\n\n"
    ">>> ingot.tril(ingot.ones(2, 3))\n"
    "tensor([[1., 0., 0.],\n"
    "        [1., 1., 0.]])",
    "le",
)
TRIU = _triangle(
    "triu",
    "The upper triangle of matrices, from `diagonal` above the main one; zeros elsewhere.\n\n"
    ">>> ingot.triu(ingot.ones(2, 3), 1)\n"
    "tensor([[0., 1., 1.],\n"
    "        [0., 0., 1.]])",
    "ge",
)
