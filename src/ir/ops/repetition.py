"""Ops that repeat elements: expand without a copy, repeat and repeat_interleave with one."""

from collections.abc import Sequence
from typing import Any

from ..dims import Dim
from ..sizes import Sizes
from ..types import TensorType
from ._common import dim_of, dim_value, normalise_dim, randoms, require_tensor, shape_text
from ._op import ErrorSample, F, Sample, Trait, View, VjpContext, define


def _infer_expand(sizes: Sizes, input: Any, size: tuple[Any, ...]) -> TensorType:
    input = require_tensor("expand", "input", input)
    wanted = [dim_value("expand", "size", s) for s in size]
    extra = len(wanted) - input.rank
    if extra < 0:
        raise RuntimeError(
            f"expand: the number of sizes ({len(wanted)}) must be at least the rank ({input.rank}), given {input}"
        )
    shape: list[Dim] = []
    for axis, target in enumerate(wanted):
        if isinstance(target, int) and target < (0 if axis < extra else -1):
            raise RuntimeError(f"expand: the size {target} at dimension {axis} isn't allowed in {wanted}")
        if axis < extra:
            shape.append(target)
            continue
        existing = sizes.resolve(input.shape[axis - extra])
        if isinstance(target, int) and target == -1:
            shape.append(existing)
            continue
        shape.append(_expanded(sizes, existing, sizes.resolve(target), axis, input.shape, tuple(wanted)))
    return TensorType(input.dtype, tuple(shape), input.device)


def _expanded(
    sizes: Sizes, existing: Dim, target: Dim, axis: int, shape: tuple[Dim, ...], wanted: tuple[Dim, ...]
) -> Dim:
    if existing == 1:
        return target
    message = (
        f"expand: the expanded size ({target}) must match the existing size ({existing}) at dimension {axis}, which is "
        f"not 1; target sizes {shape_text(wanted)}, tensor sizes {shape_text(shape)}"
    )
    hint, target_hint = sizes.hint(existing), sizes.hint(target)
    if hint == 1 and target_hint != 1:
        sizes.equal(existing, 1, message)
        return target
    if hint is None or target_hint is None:
        if existing != target:
            sizes.equal(sizes.broadcast(existing, target, message), target, message)
        return target
    return sizes.equal(existing, target, message)


def _evaluate_expand(xp: Any, input: Any, size: tuple[int, ...]) -> Any:
    extra = len(size) - input.ndim
    return xp.broadcast_to(input, tuple(input.shape[i - extra] if s == -1 else s for i, s in enumerate(size)))


def _expand_map(indices: Sequence[Any], input_shape: Sequence[Any], result_shape: Sequence[Any], **_: Any) -> Any:
    extra = len(result_shape) - len(input_shape)
    # Where it is not known which dimension is repeated, the remainder is the index (equal sizes) or 0 (size 1).
    return [
        0 if _is(size, 1) else index if _same(size, result) else index % size
        for index, size, result in zip(indices[extra:], input_shape, result_shape[extra:], strict=True)
    ]


def _is(size: Any, value: int) -> bool:
    return isinstance(size, int) and size == value


def _same(a: Any, b: Any) -> bool:
    # Sizes that are neither ints nor expressions (code being generated) compare as unknown.
    equal = a == b
    return isinstance(equal, bool) and equal


EXPAND = define(
    "expand(input: Tensor, *size: Size)",
    "The tensor with dimensions of size 1 repeated to `size` without copying; -1 keeps a dimension's size.\n\n"
    ">>> ingot.tensor([[1.], [2.]]).expand(-1, 3)\ntensor([[1., 1., 1.],\n        [2., 2., 2.]])",
    infer=_infer_expand,
    evaluate=_evaluate_expand,
    vjp=lambda c, g, input, size: (F.sum_to_size(g, tuple(input.shape)), None),
    lower=View(_expand_map),
    traits=(Trait.PURE, Trait.VIEW),
    public=("method",),
    samples=lambda: [
        Sample((randoms(3, 1), 3, 4)),
        Sample((randoms(3, 1), (2, -1, 5))),
        Sample((randoms(), 2, 3)),
        Sample((randoms(1, 3), 0, 3)),
        Sample((randoms(0, 1), -1, 2)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 2), 3, 4), RuntimeError, r"expanded size \(4\) must match the existing size \(2\)"),
        ErrorSample((randoms(3, 2), 3), RuntimeError, "at least the rank"),
        ErrorSample((randoms(3), -1, 3), RuntimeError, "isn't allowed"),
    ],
)


def _infer_repeat(sizes: Sizes, input: Any, repeats: tuple[Any, ...]) -> TensorType:
    input = require_tensor("repeat", "input", input)
    counts = tuple(dim_value("repeat", "repeats", r) for r in repeats)
    if len(counts) < input.rank:
        raise RuntimeError(
            f"repeat: the number of repeats ({len(counts)}) must be at least the rank ({input.rank}), given {input}"
        )
    if any(isinstance(n, int) and n < 0 for n in counts):
        raise RuntimeError(f"repeat: repeats must not be negative, given {shape_text(counts)}")
    shape = (*(1 for _ in counts[input.rank :]), *input.shape)
    return TensorType(input.dtype, tuple(n * d for n, d in zip(counts, shape, strict=True)), input.device)


def _repeat_vjp(c: VjpContext, g: Any, input: Any, repeats: Any) -> tuple[Any, Any]:
    shape = (*(1 for _ in range(len(repeats) - input.ndim)), *input.shape)
    # Each dimension becomes (repeat, size); the sum over repeats is the gradient.
    split = [d for n, d in zip(repeats, shape, strict=True) for d in (-1 if _is(n, -1) else n, d)]
    summed = F.sum(F.reshape(g, tuple(split)), dim=tuple(range(0, 2 * len(shape), 2))) if shape else g
    return F.reshape(summed, tuple(input.shape)), None


REPEAT = define(
    "repeat(input: Tensor, *repeats: Size)",
    "The tensor repeated that many times along each dimension; extra repeats add leading dimensions.\n\n"
    ">>> ingot.tensor([1, 2]).repeat(2, 1)\n"
    "tensor([[1, 2],\n"
    "        [1, 2]])",
    infer=_infer_repeat,
    evaluate=lambda xp, input, repeats: xp.tile(input, repeats),
    vjp=_repeat_vjp,
    lower=View(
        lambda indices, input_shape, result_shape, **_: [
            index % size for index, size in zip(indices[len(indices) - len(input_shape) :], input_shape, strict=True)
        ]
    ),
    public=("method",),
    samples=lambda: [
        Sample((randoms(2, 3), 2, 1)),
        Sample((randoms(3), 2, 2)),
        Sample((randoms(), 3)),
        Sample((randoms(2, 3), 0, 1)),
        Sample((randoms(), ())),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 3), 2), RuntimeError, "at least the rank"),
        ErrorSample((randoms(3), -1), RuntimeError, "negative"),
    ],
)


def _infer_repeat_interleave(sizes: Sizes, input: Any, repeats: Any, *, dim: int) -> TensorType:
    input = require_tensor("repeat_interleave", "input", input)
    axis = normalise_dim("repeat_interleave", dim, input.rank)
    count = dim_value("repeat_interleave", "repeats", repeats)
    if isinstance(count, int) and count < 0:
        raise RuntimeError(f"repeat_interleave: repeats must not be negative, given {count}")
    if not input.rank:
        raise RuntimeError("repeat_interleave: expected a tensor of rank 1 or more, given one of rank 0")
    shape = (*input.shape[:axis], input.shape[axis] * count, *input.shape[axis + 1 :])
    return TensorType(input.dtype, shape, input.device)


def _interleave_map(
    indices: Sequence[Any],
    input_shape: Sequence[Any],
    result_shape: Sequence[Any],
    *,
    operands: Sequence[Any],
    dim: int,
) -> Any:
    result = list(indices)
    result[dim] = result[dim] // operands[0]
    return result


def _interleave_vjp(c: VjpContext, g: Any, input: Any, repeats: Any, *, dim: int) -> tuple[Any, Any]:
    axis = dim % input.ndim
    return F.sum(F.unflatten(g, axis, (input.shape[axis], dim_of(repeats))), axis + 1), None


REPEAT_INTERLEAVE = define(
    "repeat_interleave(input: Tensor, repeats: Int, *, dim: int)",
    "The tensor with each element repeated along a dimension, next to itself.",
    infer=_infer_repeat_interleave,
    evaluate=lambda xp, input, repeats, *, dim: xp.repeat(input, repeats, dim),
    vjp=_interleave_vjp,
    lower=View(_interleave_map, operands_in_map=True),
    samples=lambda: [
        Sample((randoms(2, 3), 2), {"dim": 1}),
        Sample((randoms(3), 1), {"dim": -1}),
        Sample((randoms(2, 3), 3), {"dim": -2}),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), -1), RuntimeError, "negative", {"dim": 0}),
        ErrorSample((randoms(3), 2), IndexError, "out of range", {"dim": 1}),
    ],
)
