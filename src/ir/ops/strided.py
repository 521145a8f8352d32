"""Views by strides: sliding windows along a dimension, and elements at any strides of a tensor's memory."""

import math
from collections.abc import Sequence
from typing import Any

from ..dims import Dim, dim_min
from ..sizes import Sizes
from ..types import TensorType
from ._common import is_at_most, normalise_dim, randoms, require_tensor
from ._op import Decompose, ErrorSample, F, Sample, Trait, View, VjpContext, define

_VIEW = (Trait.PURE, Trait.VIEW)


# -- sliding windows ---------------------------------------------------------------------------------------------------


def _infer_unfold(sizes: Sizes, input: Any, *, dimension: int, size: int, step: int) -> TensorType:
    input = require_tensor("unfold", "input", input)
    axis = normalise_dim("unfold", dimension, input.rank)
    if size < 0:
        raise RuntimeError(f"unfold: size is {size} but must be >= 0")
    extent: Dim = input.shape[axis] if input.rank else 1
    if isinstance(extent, int) and size > extent:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {extent} but size is {size}")
    if not isinstance(extent, int) and not is_at_most(size, extent):
        message = f"maximum size for tensor at dimension {axis} is {extent} but size is {size}"
        sizes.equal(dim_min(extent, size), size, message)
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not input.rank:
        return TensorType(input.dtype, (size,), input.device)
    count = (extent - size) // step + 1
    return TensorType(input.dtype, (*input.shape[:axis], count, *input.shape[axis + 1 :], size), input.device)


def _evaluate_unfold(xp: Any, input: Any, *, dimension: int, size: int, step: int) -> Any:
    if not input.ndim:
        return input.reshape(1)[:size]
    axis = dimension % input.ndim
    count = (input.shape[axis] - size) // step + 1
    shape = (*input.shape[:axis], count, *input.shape[axis + 1 :], size)
    strides = (*input.strides[:axis], input.strides[axis] * step, *input.strides[axis + 1 :], input.strides[axis])
    return xp.lib.stride_tricks.as_strided(input, shape, strides)


def _unfold_map(
    indices: Sequence[Any], input_shape: Any, result_shape: Any, *, dimension: int, size: int, step: int
) -> list[Any]:
    if not len(input_shape):
        return []
    found = list(indices[:-1])
    axis = dimension % len(input_shape)
    found[axis] = found[axis] * step + indices[-1]
    return found


def _unfold_vjp(c: VjpContext, g: Any, input: Any, *, dimension: int, size: int, step: int) -> tuple[Any]:
    if not input.ndim:
        return (F.sum(g),)
    axis = dimension % input.ndim
    count = g.shape[axis]
    starts = F.mul(F.arange(0, count, 1), step)
    places = F.reshape(F.add(F.unsqueeze(starts, 1), F.arange(0, size, 1)), count * size)
    rank = input.ndim
    turned = F.permute(g, *range(axis + 1), rank, *range(axis + 1, rank))
    flat = F.reshape(turned, *input.shape[:axis], count * size, *input.shape[axis + 1 :])
    return (F.index_add(F.full(tuple(input.shape), 0, dtype=g.dtype), axis, places, flat),)


UNFOLD = define(
    "unfold(input: Tensor, dimension: int, size: int, step: int)",
    "Windows of `size` every `step` along a dimension, as a view; their elements are along a new last dimension.\n\n"
    ">>> ingot.arange(5).unfold(0, 3, 2)\n"
    "tensor([[0, 1, 2],\n"
    "        [2, 3, 4]])",
    name="unfold",
    infer=_infer_unfold,
    evaluate=_evaluate_unfold,
    vjp=_unfold_vjp,
    lower=View(index_map=_unfold_map),
    traits=_VIEW,
    public=("method",),
    samples=lambda: [
        Sample((randoms(7), 0, 3, 2)),
        Sample((randoms(2, 5, 3), 1, 2, 1)),
        Sample((randoms(3, 4), -1, 4, 7)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), 0, 4, 1), RuntimeError, "maximum size for tensor at dimension 0 is 3 but size is 4"),
        ErrorSample((randoms(3), 0, 2, 0), RuntimeError, "step is 0"),
        ErrorSample((randoms(3), 1, 2, 1), IndexError, "out of range"),
    ],
)


# -- any strides -------------------------------------------------------------------------------------------------------


def _infer_as_strided(
    sizes: Sizes, input: Any, *, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int
) -> TensorType:
    input = require_tensor("as_strided", "input", input)
    if len(size) != len(stride):
        raise RuntimeError(
            f"as_strided: mismatch in length of strides and shape: given {list(size)} and {list(stride)}"
        )
    if min((*size, *stride, storage_offset), default=0) < 0:
        raise RuntimeError(
            f"as_strided: sizes, strides and the offset must not be negative, given size {list(size)}, stride "
            f"{list(stride)} and storage_offset {storage_offset}"
        )
    if 0 not in size and all(isinstance(d, int) for d in input.shape):
        last = storage_offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        count = math.prod(input.shape)
        if last >= count:
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {storage_offset} are out of "
                f"bounds for storage of {count} elements"
            )
    return TensorType(input.dtype, size, input.device)


def _evaluate_as_strided(
    xp: Any, input: Any, *, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int
) -> Any:
    flat = xp.ascontiguousarray(input).reshape(-1)[storage_offset:]
    return xp.lib.stride_tricks.as_strided(flat, size, tuple(s * flat.itemsize for s in stride))


def _places(size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int) -> Any:
    """The positions in memory of the elements of such a view, in a vector."""
    places = F.full((), storage_offset, dtype="int64")
    for count, step in zip(size, stride, strict=True):
        places = F.add(F.unsqueeze(places, -1), F.mul(F.arange(0, count, 1), step))
    return F.reshape(places, math.prod(size))


def _decompose_as_strided(input: Any, *, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int) -> Any:
    flat = F.index_select(F.reshape(input, -1), 0, _places(size, stride, storage_offset))
    return F.reshape(flat, *size)


def _as_strided_vjp(
    c: VjpContext, g: Any, input: Any, *, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int
) -> tuple[Any]:
    zeros = F.reshape(F.full(tuple(input.shape), 0, dtype=g.dtype), -1)
    added = F.index_add(zeros, 0, _places(size, stride, storage_offset), F.reshape(g, math.prod(size)))
    return (F.reshape(added, *input.shape),)


AS_STRIDED = define(
    "as_strided(input: Tensor, size: ints, stride: ints, storage_offset: int = 0)",
    "A view of a tensor's memory, as if in row-major order, with these sizes, strides and first element.\n\n"
    ">>> ingot.as_strided(ingot.arange(6), (2, 2), (1, 2))\n"
    "tensor([[0, 2],\n"
    "        [1, 3]])",
    infer=_infer_as_strided,
    evaluate=_evaluate_as_strided,
    vjp=_as_strided_vjp,
    lower=Decompose(_decompose_as_strided),
    traits=_VIEW,
    samples=lambda: [
        Sample((randoms(3, 4), (2, 2), (1, 2))),
        Sample((randoms(12), (3, 3), (2, 1), 1)),
        Sample((randoms(5), (), (), 3)),
        Sample((randoms(2, 3), (0, 2), (1, 1))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), (2, 2), (1,)), RuntimeError, "mismatch in length"),
        ErrorSample((randoms(3), (2, 2), (1, 2)), RuntimeError, "out of bounds for storage"),
        ErrorSample((randoms(3), (2,), (-1,)), RuntimeError, "must not be negative"),
    ],
)
