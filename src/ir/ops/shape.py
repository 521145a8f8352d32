"""Ops that give the same elements another shape or order of dimensions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dims import Dim, dim_min, product
from ..sizes import Sizes
from ..types import TensorType
from ._common import dim_value, ints, normalise_dim, normalise_dims, randoms, require_tensor, shape_text
from ._op import Elementwise, ErrorSample, F, Sample, Trait, View, VjpContext, define

_PUBLIC = ("", "method")
_VIEW = (Trait.PURE, Trait.VIEW)


# -- reshape: the same row-major sequence of elements ------------------------------------------------------------------


def linear_index(indices: Sequence[Any], shape: Sequence[Any]) -> Any:
    """The row-major position of an element."""
    position: Any = 0
    for index, size in zip(indices, shape, strict=True):
        position = position * size + index
    return position


def unravel_index(position: Any, shape: Sequence[Any]) -> list[Any]:
    """The indices of the element at a row-major position."""
    indices: list[Any] = []
    for size in reversed(shape[1:]):
        indices.append(position % size)
        position = position // size
    return [position, *reversed(indices)] if shape else []


def _reshape_map(indices: Sequence[Any], input_shape: Sequence[Any], result_shape: Sequence[Any], **_: Any) -> Any:
    return unravel_index(linear_index(indices, result_shape), input_shape)


_RESHAPE = View(_reshape_map, reinterpret=True)


def reshape_dims(sizes: Sizes, name: str, shape: tuple[Dim, ...], wanted: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The wanted shape with -1 filled in; RuntimeError where the number of elements differs."""
    total = product(shape)
    missing = [i for i, d in enumerate(wanted) if isinstance(d, int) and d == -1]
    if len(missing) > 1:
        raise RuntimeError(f"{name}: only one dimension can be inferred, given shape {shape_text(wanted)}")
    for d in wanted:
        if isinstance(d, int) and d < -1:
            raise RuntimeError(f"{name}: invalid shape dimension {d} in {shape_text(wanted)}")
    known = product([d for i, d in enumerate(wanted) if i not in missing])
    message = f"{name}: shape '{shape_text(wanted)}' is invalid for input of size {total}, given {shape_text(shape)}"
    if not missing:
        if sizes.resolve(total) != sizes.resolve(known):
            for left, right in _runs(sizes, shape, wanted):
                sizes.equal(left, right, message)
        return wanted
    if isinstance(known, int) and known == 0:
        raise RuntimeError(
            f"{name}: cannot reshape {shape_text(shape)} into {shape_text(wanted)}: with 0 elements the size -1 can be "
            "any value and is ambiguous"
        )
    inferred = total // known
    sizes.equal(inferred * known, total, message)
    return tuple(inferred if i in missing else d for i, d in enumerate(wanted))


def _runs(sizes: Sizes, shape: tuple[Dim, ...], wanted: tuple[Dim, ...]) -> list[tuple[Dim, Dim]]:
    """Products of dimensions of both shapes that must be equal: of the shortest runs that are at the example's sizes.

    [n, 56] becomes [n, 8, 7] where h is 56; that n * h is n * 56 would be enough, but with h unknown, an index in the
    result is one in the input only by a division.
    """
    whole = [(product(shape), product(wanted))]
    found: list[tuple[Dim, Dim]] = []
    i = j = 0
    while i < len(shape) or j < len(wanted):
        left: Dim = 1
        right: Dim = 1
        first = True
        while first or sizes.resolve(left) != sizes.resolve(right):
            hints = sizes.hint(left), sizes.hint(right)
            if not first and hints[0] is not None and hints[0] == hints[1]:
                break
            if first and i < len(shape) and j < len(wanted):
                left, right, i, j = shape[i], wanted[j], i + 1, j + 1
            elif j == len(wanted) or (i < len(shape) and None not in hints and hints[0] < hints[1]):  # type: ignore[operator]
                if i == len(shape):
                    return whole
                left, i = left * shape[i], i + 1
            elif None in hints:
                return whole
            else:
                right, j = right * wanted[j], j + 1
            first = False
        if 0 in (sizes.hint(left), sizes.hint(right)):
            return whole
        found.append((left, right))
    return found


def _infer_reshape(sizes: Sizes, input: Any, shape: tuple[Any, ...]) -> TensorType:
    input = require_tensor("reshape", "input", input)
    wanted = tuple(dim_value("reshape", "shape", s) for s in shape)
    return TensorType(input.dtype, reshape_dims(sizes, "reshape", input.shape, wanted), input.device)


def _like_input(c: VjpContext, g: Any, input: Any, *rest: Any, **attributes: Any) -> tuple[Any, ...]:
    """The gradient of an op that only reshapes."""
    return (F.reshape(g, tuple(input.shape)), *(None for _ in rest))


RESHAPE = define(
    "reshape(input: Tensor, *shape: Size)",
    "The same elements in another shape; one size may be -1, which is then inferred. A view where strides allow it.\n\n"
    ">>> ingot.reshape(ingot.arange(6), (2, -1))\ntensor([[0, 1, 2],\n        [3, 4, 5]])",
    infer=_infer_reshape,
    evaluate=lambda xp, input, shape: xp.reshape(input, shape),
    vjp=_like_input,
    lower=_RESHAPE,
    traits=_VIEW,
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(2, 6), 3, 4)),
        Sample((randoms(2, 3, 5), (-1, 5))),
        Sample((randoms(1, 1), ())),
        Sample((randoms(), 1, 1)),
        Sample((randoms(0, 3), 3, 0, 7)),
        Sample((ints(7), -1), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(5), 2, 3), RuntimeError, "invalid for input of size 5"),
        ErrorSample((randoms(5), -1, 2), RuntimeError, "invalid for input of size 5"),
        ErrorSample((randoms(6), -1, -1), RuntimeError, "only one dimension"),
        ErrorSample((randoms(0), -1, 0), RuntimeError, "ambiguous"),
        ErrorSample((randoms(6), -2, 3), RuntimeError, "invalid shape dimension -2"),
        ErrorSample((randoms(6), 2.0, 3), TypeError, "must be int"),
    ],
)


def _infer_flatten(sizes: Sizes, input: Any, *, start_dim: int, end_dim: int) -> TensorType:
    input = require_tensor("flatten", "input", input)
    start = normalise_dim("flatten", start_dim, input.rank)
    end = normalise_dim("flatten", end_dim, input.rank)
    if start > end:
        raise RuntimeError(f"flatten() has invalid args: start_dim ({start_dim}) cannot come after end_dim ({end_dim})")
    shape = (*input.shape[:start], product(input.shape[start : end + 1]), *input.shape[end + 1 :])
    return TensorType(input.dtype, shape, input.device)


def _evaluate_flatten(xp: Any, input: Any, *, start_dim: int, end_dim: int) -> Any:
    shape = input.shape
    start, end = (d + max(len(shape), 1) if d < 0 else d for d in (start_dim, end_dim))
    return xp.reshape(input, (*shape[:start], product(shape[start : end + 1]), *shape[end + 1 :]))


FLATTEN = define(
    "flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1)",
    "The tensor with dimensions start_dim to end_dim (included) made one; a rank-0 tensor becomes [1].\n\n"
    ">>> ingot.flatten(ingot.ones(2, 3, 4), 1).shape\ningot.Size([2, 12])",
    infer=_infer_flatten,
    evaluate=_evaluate_flatten,
    vjp=_like_input,
    lower=_RESHAPE,
    traits=_VIEW,
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(2, 3, 5),)),
        Sample((randoms(2, 3, 5, 2), 1, -2)),
        Sample((randoms(),)),
        Sample((randoms(3), 0, 0)),
        Sample((randoms(2, 0, 3), 1)),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 3), 1, 0), RuntimeError, "cannot come after"),
        ErrorSample((randoms(2, 3), 2), IndexError, "out of range"),
    ],
)


def _infer_unflatten(sizes: Sizes, input: Any, shape: tuple[Any, ...], *, dim: int) -> TensorType:
    input = require_tensor("unflatten", "input", input)
    dim = normalise_dim("unflatten", dim, input.rank)
    if not shape:
        raise RuntimeError("unflatten: sizes must be non-empty")
    wanted = tuple(dim_value("unflatten", "sizes", s) for s in shape)
    inner = reshape_dims(sizes, "unflatten", (input.shape[dim],), wanted)
    return TensorType(input.dtype, (*input.shape[:dim], *inner, *input.shape[dim + 1 :]), input.device)


def _evaluate_unflatten(xp: Any, input: Any, shape: tuple[int, ...], *, dim: int) -> Any:
    dim = dim + input.ndim if dim < 0 else dim
    if -1 in shape:
        known = -product(shape)
        shape = tuple(input.shape[dim] // known if s == -1 else s for s in shape)
    return xp.reshape(input, (*input.shape[:dim], *shape, *input.shape[dim + 1 :]))


UNFLATTEN = define(
    "unflatten(input: Tensor, dim: int, sizes: Size)",
    "The tensor with dimension `dim` split into `sizes`, one of which may be -1.\n\n"
    ">>> ingot.ones(2, 6).unflatten(1, (2, 3)).shape\n"
    "ingot.Size([2, 2, 3])",
    infer=_infer_unflatten,
    evaluate=_evaluate_unflatten,
    vjp=_like_input,
    lower=_RESHAPE,
    traits=_VIEW,
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(2, 6), 1, (2, 3))),
        Sample((randoms(6, 2), 0, (-1, 2))),
        Sample((randoms(2, 1, 3), -2, (1, 1))),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 6), 1, (4, 2)), RuntimeError, "invalid for input of size 6"),
        ErrorSample((randoms(2, 6), 2, (4, 2)), IndexError, "out of range"),
    ],
)


def _infer_unsqueeze(sizes: Sizes, input: Any, *, dim: int) -> TensorType:
    input = require_tensor("unsqueeze", "input", input)
    dim = normalise_dim("unsqueeze", dim, input.rank + 1)
    return TensorType(input.dtype, (*input.shape[:dim], 1, *input.shape[dim:]), input.device)


UNSQUEEZE = define(
    "unsqueeze(input: Tensor, dim: int)",
    "The tensor with a new dimension of size 1 at `dim`.\n\n"
    ">>> ingot.unsqueeze(ingot.tensor([1, 2]), 1)\n"
    "tensor([[1],\n"
    "        [2]])",
    infer=_infer_unsqueeze,
    evaluate=lambda xp, input, *, dim: xp.expand_dims(input, dim),
    vjp=lambda c, g, input, *, dim: (F.squeeze(g, dim),),
    lower=_RESHAPE,
    traits=_VIEW,
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(2, 3), 0)),
        Sample((randoms(2, 3), -1)),
        Sample((randoms(), 0)),
        Sample((randoms(0, 2), 1)),
    ],
    errors=lambda: [
        ErrorSample((randoms(2), 2), IndexError, r"\[-2, 1\], but got 2"),
        ErrorSample((2.0, 0), TypeError, "Tensor"),
    ],
)


def _infer_squeeze(sizes: Sizes, input: Any, *, dim: tuple[int, ...] | None) -> TensorType:
    input = require_tensor("squeeze", "input", input)
    dims = normalise_dims("squeeze", dim, input.rank) if dim != () else ()
    shape: list[Dim] = []
    for axis, size in enumerate(input.shape):
        size = sizes.resolve(size)
        if axis not in dims:
            shape.append(size)
            continue
        hint = sizes.hint(size)
        if hint is None:
            raise RuntimeError(
                f"squeeze: whether dimension {axis} of {input} has size 1 is known at run time only; "
                "use reshape, or select an index of that dimension"
            )
        if hint == 1:
            sizes.equal(size, 1, f"squeeze: dimension {axis} had size 1 when the graph was made")
            continue
        if hint > 1:  # stays true: the size is at least 2
            sizes.equal(dim_min(size, 2), 2, f"squeeze: dimension {axis} was above 1 when the graph was made")
        else:
            sizes.equal(size, 0, f"squeeze: dimension {axis} had size 0 when the graph was made")
        shape.append(sizes.resolve(size))
    return TensorType(input.dtype, tuple(shape), input.device)


def _evaluate_squeeze(xp: Any, input: Any, *, dim: tuple[int, ...] | None) -> Any:
    if dim is None:
        return xp.squeeze(input)
    axes = tuple(d for d in dim if input.ndim and input.shape[d] == 1)
    return xp.squeeze(input, axes)


SQUEEZE = define(
    "squeeze(input: Tensor, dim: ints | None = None)",
    "The tensor without the dimensions of size 1: all of them, or those of `dim` that have size 1.\n\n"
    ">>> ingot.squeeze(ingot.ones(1, 2, 1)).shape\n"
    "ingot.Size([2])",
    infer=_infer_squeeze,
    evaluate=_evaluate_squeeze,
    vjp=_like_input,
    lower=_RESHAPE,
    traits=_VIEW,
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(1, 3, 1),)),
        Sample((randoms(1, 3, 1), 0)),
        Sample((randoms(1, 3, 1), -2)),
        Sample((randoms(1, 3, 1, 2), (0, 2, 3))),
        Sample((randoms(),)),
        Sample((randoms(), 0)),
        Sample((randoms(0, 1),)),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 1), 2), IndexError, "out of range"),
        ErrorSample((randoms(2, 1), (1, -1)), RuntimeError, "twice"),
    ],
)


# -- order of dimensions -----------------------------------------------------------------------------------------------


def _permutation(name: str, dims: tuple[int, ...], rank: int) -> tuple[int, ...]:
    if len(dims) != rank:
        raise RuntimeError(f"{name}: expected {rank} dims for a tensor of rank {rank}, given {list(dims)}")
    return normalise_dims(name, dims, rank) if rank else ()


def _infer_permute(sizes: Sizes, input: Any, *, dims: tuple[int, ...]) -> TensorType:
    input = require_tensor("permute", "input", input)
    order = _permutation("permute", dims, input.rank)
    return TensorType(input.dtype, tuple(input.shape[d] for d in order), input.device)


def _inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    order = [d % len(dims) for d in dims]
    return tuple(order.index(i) for i in range(len(order)))


def _permute_map(
    indices: Sequence[Any], input_shape: Sequence[Any], result_shape: Sequence[Any], *, dims: tuple[int, ...]
) -> Any:
    return [indices[i] for i in _inverse(dims)]


PERMUTE = define(
    "permute(input: Tensor, *dims: ints)",
    "The tensor with its dimensions in the order `dims`, as a view.\n\n"
    ">>> ingot.ones(2, 3, 5).permute(2, 0, 1).shape\ningot.Size([5, 2, 3])",
    infer=_infer_permute,
    evaluate=lambda xp, input, *, dims: xp.transpose(input, dims),
    vjp=lambda c, g, input, *, dims: (F.permute(g, _inverse(dims)) if dims else g,),
    lower=View(_permute_map),
    traits=_VIEW,
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(2, 3, 5), 2, 0, 1)),
        Sample((randoms(2, 3), (-1, 0))),
        Sample((randoms(), ())),
        Sample((randoms(0, 2, 1), (1, 2, 0))),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 3), 0), RuntimeError, "expected 2 dims"),
        ErrorSample((randoms(2, 3), 0, 0), RuntimeError, "twice"),
        ErrorSample((randoms(2, 3), 0, 2), IndexError, "out of range"),
    ],
)


def _infer_transpose(sizes: Sizes, input: Any, *, dim0: int, dim1: int) -> TensorType:
    input = require_tensor("transpose", "input", input)
    a, b = (normalise_dim("transpose", d, input.rank) for d in (dim0, dim1))
    shape = list(input.shape)
    if shape:
        shape[a], shape[b] = shape[b], shape[a]
    return TensorType(input.dtype, tuple(shape), input.device)


def _transpose_map(
    indices: Sequence[Any], input_shape: Sequence[Any], result_shape: Sequence[Any], *, dim0: int, dim1: int
) -> Any:
    result = list(indices)
    if result:
        result[dim0], result[dim1] = result[dim1], result[dim0]
    return result


TRANSPOSE = define(
    "transpose(input: Tensor, dim0: int, dim1: int)",
    "The tensor with two dimensions swapped, as a view.\n\n"
    ">>> ingot.transpose(ingot.ones(2, 3, 5), 0, 2).shape\n"
    "ingot.Size([5, 3, 2])",
    infer=_infer_transpose,
    evaluate=lambda xp, input, *, dim0, dim1: xp.swapaxes(input, dim0, dim1) if input.ndim else input[...],
    vjp=lambda c, g, input, *, dim0, dim1: (F.transpose(g, dim0, dim1),),
    lower=View(_transpose_map),
    traits=_VIEW,
    public=_PUBLIC,
    aliases=("swapaxes", "swapdims"),
    samples=lambda: [
        Sample((randoms(2, 3), 0, 1)),
        Sample((randoms(2, 3, 5), -1, 0)),
        Sample((randoms(2, 3), 1, 1)),
        Sample((randoms(), 0, -1)),
    ],
    errors=lambda: [ErrorSample((randoms(2, 3), 0, 2), IndexError, "out of range")],
)


# -- identity ----------------------------------------------------------------------------------------------------------


def _same_type(name: str) -> Any:
    return lambda sizes, input: require_tensor(name, "input", input)


CLONE = define(
    "clone(input: Tensor)",
    "A copy of the tensor with its own memory.\n\n>>> ingot.clone(ingot.tensor([1, 2]))\ntensor([1, 2])",
    infer=_same_type("clone"),
    evaluate=lambda xp, input: xp.array(input, copy=True),
    vjp=lambda c, g, input: (g,),
    lower=Elementwise("{input}"),
    public=_PUBLIC,
    samples=lambda: [Sample((randoms(2, 3),)), Sample((randoms(),)), Sample((ints(0, 2),), differentiable=False)],
    errors=lambda: [ErrorSample((1.5,), TypeError, "must be Tensor")],
)
CONTIGUOUS = define(
    "contiguous(input: Tensor)",
    "The tensor laid out in row-major order: itself where it is, else a copy.\n\n"
    ">>> ingot.ones(2, 3).T.contiguous().is_contiguous()\n"
    "True",
    infer=_same_type("contiguous"),
    evaluate=lambda xp, input: xp.asarray(input, order="C"),
    vjp=lambda c, g, input: (g,),
    lower=Elementwise("{input}"),
    traits=_VIEW,
    public=("method",),
    samples=lambda: [Sample((randoms(2, 3),)), Sample((np.asfortranarray(randoms(2, 3)),)), Sample((randoms(),))],
    errors=lambda: [ErrorSample((1.5,), TypeError, "must be Tensor")],
)
DETACH = define(
    "detach(input: Tensor)",
    "The same tensor, through which no gradient flows.\n\n"
    ">>> ingot.ones(2, requires_grad=True).detach().requires_grad\n"
    "False",
    infer=_same_type("detach"),
    evaluate=lambda xp, input: input[...],
    lower=View(lambda indices, input_shape, result_shape: list(indices), reinterpret=True),
    traits=_VIEW,
    public=_PUBLIC,
    samples=lambda: [Sample((randoms(2, 3),), differentiable=False), Sample((ints(),), differentiable=False)],
    errors=lambda: [ErrorSample((1.5,), TypeError, "must be Tensor")],
)
