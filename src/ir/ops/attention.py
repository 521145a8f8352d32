"""Attention as one op."""

import math
from typing import Any

import numpy as np

from ..dims import Dim
from ..dtypes import bool_
from ..sizes import Sizes
from ..types import TensorType
from ._common import ints, randoms, require_broadcast, require_tensor, same_device, shape_text
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Sample, define
from .matmul import multiply, require_one_dtype
from .reduce import widened

_NAME = "scaled_dot_product_attention"


def _infer_attention(
    sizes: Sizes,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    *,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> TensorType:
    q, k, v = (require_tensor(_NAME, n, t) for n, t in (("query", query), ("key", key), ("value", value)))
    require_one_dtype(_NAME, (q, k, v))
    if min(q.rank, k.rank, v.rank) < 2 or not q.dtype.is_floating_point:
        raise RuntimeError(f"{_NAME}: expected floating-point tensors of rank 2 or more, given {q}, {k} and {v}")
    sizes.equal(q.shape[-1], k.shape[-1], f"{_NAME}: query and key differ in their last dimension: {q} and {k}")
    sizes.equal(k.shape[-2], v.shape[-2], f"{_NAME}: key and value differ in length: {k} and {v}")
    if is_causal and attn_mask is not None:
        raise RuntimeError(f"{_NAME}: Explicit attn_mask should not be set when is_causal=True")
    key_batch, value_batch = k.shape[:-2], v.shape[:-2]
    if enable_gqa:
        key_batch, value_batch = (_repeated_heads(sizes, q, t) for t in (k, v))
    batch = sizes.broadcast_shapes(q.shape[:-2], key_batch, value_batch, name=_NAME)
    if attn_mask is not None:
        scores = (*batch, q.shape[-2], k.shape[-2])
        if attn_mask.dtype is not bool_ and attn_mask.dtype is not q.dtype:
            raise RuntimeError(f"{_NAME}: expected a mask of bools or of the query's dtype, given {attn_mask} and {q}")
        message = f"{_NAME}: the mask {attn_mask} does not broadcast to the scores' shape {shape_text(scores)}"
        require_broadcast(sizes, attn_mask, scores, message)
    device = same_device(_NAME, (q, k, v, attn_mask))
    return TensorType(q.dtype, (*batch, q.shape[-2], v.shape[-1]), device)


def _repeated_heads(sizes: Sizes, query: TensorType, other: TensorType) -> tuple[Dim, ...]:
    """The leading dimensions of a key or value whose heads are shared by groups of query heads."""
    if query.rank < 3 or other.rank < 3:
        raise RuntimeError(f"{_NAME}: enable_gqa needs tensors of rank 3 or more, given {query} and {other}")
    heads, shared = query.shape[-3], other.shape[-3]
    message = f"{_NAME}: the query's heads ({heads}) must be a multiple of the key's and value's ({shared})"
    sizes.equal(heads // shared * shared, heads, message)
    return (*other.shape[:-3], heads)


def _scale(query: Any, scale: float | None) -> Any:
    """1 / sqrt(size of a head) unless given."""
    if scale is not None:
        return scale
    size = query.shape[-1]
    if isinstance(size, int):
        return 1.0 / math.sqrt(size) if size else 1.0
    return F.rsqrt(F.full((), size, dtype=query.dtype))


def _decompose_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    *,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Any:
    if enable_gqa:
        key, value = (
            F.repeat_interleave(t, query.shape[-3] // t.shape[-3], dim=-3) if t.shape[-3] != query.shape[-3] else t
            for t in (key, value)
        )
    scores = F.matmul(F.mul(query, _scale(query, scale)), F.transpose(key, -2, -1))
    if is_causal:
        rows = F.unsqueeze(F.arange(0, query.shape[-2], 1), 1)
        scores = F.where(F.le(F.arange(0, key.shape[-2], 1), rows), scores, -math.inf)
    elif attn_mask is not None and attn_mask.dtype is bool_:
        scores = F.where(attn_mask, scores, -math.inf)
        # A row that may look at nothing gives zeros, as in PyTorch, not the NaN of an empty softmax.
        blocked = F.logical_not(F.any(attn_mask, (-1,), True)) if attn_mask.ndim else F.logical_not(attn_mask)
        return F.matmul(F.where(blocked, 0.0, F.softmax(scores, -1)), value)
    elif attn_mask is not None:
        scores = F.add(scores, attn_mask)
    return F.matmul(F.softmax(scores, -1), value)


def _evaluate_attention(
    xp: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    *,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Any:
    q, k, v = widened(query), widened(key), widened(value)
    if enable_gqa:
        k, v = (xp.repeat(t, q.shape[-3] // t.shape[-3], -3) for t in (k, v))
    factor = q.dtype.type(_scale(query, scale))
    with np.errstate(all="ignore"):
        scores = multiply(xp, q * factor, xp.swapaxes(k, -2, -1))
        if is_causal:
            attn_mask = xp.tri(q.shape[-2], k.shape[-2], dtype=bool)
        if attn_mask is not None:
            scores = xp.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
            scores = scores.astype(q.dtype, copy=False)
        if scores.size:
            scores -= scores.max(axis=-1, keepdims=True)
        xp.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        if attn_mask is not None and attn_mask.dtype == bool:
            scores = xp.where(attn_mask.any(axis=-1, keepdims=True) if attn_mask.ndim else attn_mask, scores, 0)
        return xp.asarray(multiply(xp, scores.astype(q.dtype, copy=False), v), query.dtype)


SCALED_DOT_PRODUCT_ATTENTION = define(
    "scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *, "
    "is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False)",
    "softmax(query @ key.T * scale + mask) @ value over the last two dimensions (Vaswani et al., 2017).\n\n"
    "A mask of bools says what takes part; one of floats is added. `is_causal` lets each place look at those before it "
    "and itself; `enable_gqa` shares each head of key and value between several of the query.",
    infer=_infer_attention,
    evaluate=_evaluate_attention,
    vjp=derived_vjp(_decompose_attention),
    lower=Decompose(_decompose_attention),
    samples=lambda: [
        Sample((randoms(2, 3, 4), randoms(2, 5, 4, seed=1), randoms(2, 5, 3, seed=2))),
        Sample((randoms(2, 2, 3, 4), randoms(2, 2, 3, 4, seed=1), randoms(2, 2, 3, 4, seed=2)), {"is_causal": True}),
        Sample((randoms(3, 4), randoms(5, 4, seed=1), randoms(5, 2, seed=2), randoms(3, 5, seed=3)), {"scale": 0.3}),
        Sample((randoms(2, 3, 4), randoms(1, 3, 4, seed=1), randoms(2, 3, 4, seed=2), ints(3, 3) > 0)),
        Sample((randoms(4, 3, 2), randoms(2, 3, 2, seed=1), randoms(2, 3, 2, seed=2)), {"enable_gqa": True}),
        Sample((randoms(2, 0, 4), randoms(2, 3, 4), randoms(2, 3, 2))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 4), randoms(3, 5), randoms(3, 5)), RuntimeError, "last dimension"),
        ErrorSample((randoms(3, 4), randoms(3, 4), randoms(2, 4)), RuntimeError, "differ in length"),
        ErrorSample((randoms(3, 4), randoms(3, 4), randoms(3, 4), ints(3, 3)), RuntimeError, "mask of bools"),
        ErrorSample((randoms(3, 4), randoms(3, 4), randoms(3, 4), randoms(2, 3)), RuntimeError, "does not broadcast"),
        ErrorSample(
            (randoms(3, 4), randoms(3, 4), randoms(3, 4), randoms(3, 3)), RuntimeError, "is_causal", {"is_causal": True}
        ),
    ],
)
