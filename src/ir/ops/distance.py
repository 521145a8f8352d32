"""Distances and similarities of vectors, and vectors made unit length: composites with decompositions."""

import math
from typing import Any

import numpy as np

from ..dims import Dim
from ..sizes import Sizes
from ..types import TensorType
from ._common import broadcast_types, floating, ints, normalise_dim, promoted_array_dtype, randoms, require_tensor
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Sample, define
from .linalg import real_dtype
from .matmul import require_one_dtype


def _require_floats(name: str, type: TensorType) -> TensorType:
    if type.dtype.category < 2:
        raise RuntimeError(f"{name}: expected floating-point tensors, given {type}")
    return type


def _infer_normalize(sizes: Sizes, input: TensorType, *, p: float, dim: int, eps: float) -> TensorType:
    input = _require_floats("normalize", require_tensor("normalize", "input", input))
    normalise_dim("normalize", dim, input.rank)
    return input


def _lengths(x: Any, p: float, axis: int) -> Any:
    if p == 2:
        return np.sqrt(np.square(np.abs(x) if x.dtype.kind == "c" else x).sum(axis=axis, keepdims=True))
    if p == 0:
        return (x != 0).sum(axis=axis, keepdims=True).astype(x.real.dtype)
    if p == math.inf:
        return np.abs(x).max(axis=axis, keepdims=True)
    return (np.abs(x) ** p).sum(axis=axis, keepdims=True) ** (1 / p)


def _evaluate_normalize(xp: Any, input: Any, *, p: float, dim: int, eps: float) -> Any:
    with np.errstate(all="ignore"):
        return xp.asarray(input / xp.maximum(_lengths(input, p, dim), input.real.dtype.type(eps)), input.dtype)


def _decompose_normalize(input: Any, *, p: float, dim: int, eps: float) -> Any:
    return F.div(input, F.clamp(F.vector_norm(input, p, (dim,), True), eps))


NORMALIZE = define(
    "normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12)",
    "The input over its norm of order p along a dimension (or over eps, where the norm is less).\n\n"
    ">>> ingot.nn.functional.normalize(ingot.tensor([[3., 4.]]))\n"
    "tensor([[0.6000, 0.8000]])",
    infer=_infer_normalize,
    evaluate=_evaluate_normalize,
    vjp=derived_vjp(_decompose_normalize),
    lower=Decompose(_decompose_normalize),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 4),)),
        Sample((randoms(2, 3, 4), 1.0, -1)),
        Sample((randoms(3, 4), 3.0, 0)),
        Sample((np.zeros((2, 3), np.float32),), differentiable=False),
    ],
    errors=lambda: [ErrorSample((ints(3, 3),), RuntimeError, "floating-point")],
)


def _reduced(sizes: Sizes, name: str, a: Any, b: Any, dim: int, keepdim: bool = False) -> TensorType:
    result = _require_floats(name, broadcast_types(sizes, name, (require_tensor(name, "x1", a), b)))
    axis = normalise_dim(name, dim, result.rank)
    middle: tuple[Dim, ...] = (1,) if keepdim else ()
    return TensorType(result.dtype, (*result.shape[:axis], *middle, *result.shape[axis + 1 :]), result.device)


def _evaluate_cosine(xp: Any, x1: Any, x2: Any, *, dim: int, eps: float) -> Any:
    dtype = promoted_array_dtype((x1, x2)).numpy
    a, b = xp.broadcast_arrays(x1.astype(dtype, copy=False), x2.astype(dtype, copy=False))
    with np.errstate(all="ignore"):
        sizes = [xp.maximum(_lengths(v, 2, dim), dtype.type(eps)) for v in (a, b)]
        return xp.asarray(((a / sizes[0]) * (b / sizes[1])).sum(axis=dim), dtype)


def _decompose_cosine(x1: Any, x2: Any, *, dim: int, eps: float) -> Any:
    shape = tuple(F.mul(x1, x2).shape)
    a, b = (F.normalize(v if tuple(v.shape) == shape else F.expand(v, shape), 2.0, dim, eps) for v in (x1, x2))
    return F.sum(F.mul(a, b), (dim,))


COSINE_SIMILARITY = define(
    "cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-08)",
    "The cosine of the angle between vectors along a dimension; lengths count as at least eps.\n\n"
    ">>> ingot.nn.functional.cosine_similarity(ingot.tensor([[1., 0.]]), ingot.tensor([[1., 1.]]))\n"
    "tensor([0.7071])",
    infer=lambda sizes, x1, x2, *, dim, eps: _reduced(sizes, "cosine_similarity", x1, x2, dim),
    evaluate=_evaluate_cosine,
    vjp=derived_vjp(_decompose_cosine),
    lower=Decompose(_decompose_cosine),
    public=("", "functional"),
    samples=lambda: [
        Sample((randoms(3, 4), randoms(3, 4, seed=1))),
        Sample((randoms(2, 3, 4), randoms(3, 4, seed=1), -1)),
        Sample((randoms(3, 1), randoms(3, 4, seed=1), 0)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4), randoms(3, 5)), RuntimeError, "broadcast"),
        ErrorSample((ints(3, 4), ints(3, 4)), RuntimeError, "floating-point"),
    ],
)


def _evaluate_pairwise(xp: Any, x1: Any, x2: Any, *, p: float, eps: float, keepdim: bool) -> Any:
    dtype = floating(promoted_array_dtype((x1, x2))).numpy
    with np.errstate(all="ignore"):
        value = _lengths((x1 - x2).astype(dtype, copy=False) + dtype.type(eps), p, -1)
    return xp.asarray(value if keepdim else value[..., 0], value.real.dtype)


def _infer_pairwise(sizes: Sizes, x1: Any, x2: Any, *, p: float, eps: float, keepdim: bool) -> TensorType:
    name = "pairwise_distance"
    x1, x2 = require_tensor(name, "x1", x1), require_tensor(name, "x2", x2)
    floats = [TensorType(floating(t.dtype), t.shape, t.device) for t in (x1, x2)]
    result = _reduced(sizes, name, floats[0], floats[1], -1, keepdim)
    return TensorType(real_dtype(result.dtype), result.shape, result.device)


def _decompose_pairwise(x1: Any, x2: Any, *, p: float, eps: float, keepdim: bool) -> Any:
    return F.vector_norm(F.add(F.sub(x1, x2), eps), p, (-1,), keepdim)


PAIRWISE_DISTANCE = define(
    "pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-06, keepdim: bool = False)",
    "The norm of order p of x1 - x2 + eps along the last dimension.\n\n"
    ">>> ingot.nn.functional.pairwise_distance(ingot.tensor([[0., 0.]]), ingot.tensor([[3., 4.]]))\n"
    "tensor([5.0000])",
    infer=_infer_pairwise,
    evaluate=_evaluate_pairwise,
    vjp=derived_vjp(_decompose_pairwise),
    lower=Decompose(_decompose_pairwise),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 4), randoms(3, 4, seed=1))),
        Sample((randoms(2, 3, 4), randoms(4, seed=1), 1.0), {"keepdim": True}),
    ],
    errors=lambda: [ErrorSample((randoms(3, 4), randoms(3, 5)), RuntimeError, "broadcast")],
)


def _infer_cdist(sizes: Sizes, x1: Any, x2: Any, *, p: float) -> TensorType:
    a, b = require_tensor("cdist", "x1", x1), require_tensor("cdist", "x2", x2)
    require_one_dtype("cdist", (a, b))
    if a.rank < 2 or b.rank < 2:
        raise RuntimeError(f"cdist: expected tensors of rank 2 or more, given {a} and {b}")
    sizes.equal(a.shape[-1], b.shape[-1], f"cdist: x1 and x2 must have the same number of columns, given {a} and {b}")
    batch = sizes.broadcast_shapes(a.shape[:-2], b.shape[:-2], name="cdist")
    return TensorType(_require_floats("cdist", a).dtype, (*batch, a.shape[-2], b.shape[-2]), a.device)


def _evaluate_cdist(xp: Any, x1: Any, x2: Any, *, p: float) -> Any:
    with np.errstate(all="ignore"):
        difference = xp.expand_dims(x1, -2) - xp.expand_dims(x2, -3)
        if p == 0:
            return xp.asarray((difference != 0).sum(axis=-1), x1.dtype)
        return xp.asarray(_lengths(difference, p, -1)[..., 0], x1.dtype)


def _decompose_cdist(x1: Any, x2: Any, *, p: float) -> Any:
    return F.vector_norm(F.sub(F.unsqueeze(x1, -2), F.unsqueeze(x2, -3)), p, (-1,))


CDIST = define(
    "cdist(x1: Tensor, x2: Tensor, p: float = 2.0)",
    "The distance of order p of each row of x1 from each row of x2.\n\n"
    ">>> ingot.cdist(ingot.tensor([[0., 0.]]), ingot.tensor([[3., 4.], [0., 1.]]))\n"
    "tensor([[5., 1.]])",
    infer=_infer_cdist,
    evaluate=_evaluate_cdist,
    vjp=derived_vjp(_decompose_cdist),
    lower=Decompose(_decompose_cdist),
    public=("",),
    samples=lambda: [
        Sample((randoms(3, 4), randoms(2, 4, seed=1))),
        Sample((randoms(2, 3, 2), randoms(4, 2, seed=1), 1.0)),
        Sample((randoms(3, 4), randoms(2, 4, seed=1), math.inf)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4), randoms(3, 5)), RuntimeError, "number of columns"),
        ErrorSample((randoms(4), randoms(3, 4)), RuntimeError, "rank 2"),
    ],
)
