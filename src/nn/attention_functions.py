"""Attention as functions: over heads with projected inputs, as MultiheadAttention does it."""

from typing import Any

from ..eager.functions import call as _call
from ..eager.tensor import Tensor
from ..ir.dtypes import bool_ as _bool

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value over the last two dimensions (Vaswani et al., 2017).

    A mask of bools is True where attention is allowed; a mask of floats is added. Dropout is applied where
    `dropout_p` is above 0, whatever the mode.
    """
    if dropout_p == 0.0:
        return _call(
            "scaled_dot_product_attention",
            query,
            key,
            value,
            attn_mask,
            is_causal=is_causal,
            scale=scale,
            enable_gqa=enable_gqa,
        )
    if is_causal:
        if attn_mask is not None:
            raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
        rows: Any = query.new_ones((query.shape[-2], key.shape[-2]), dtype=_bool)
        attn_mask = rows.tril()
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    factor = float(query.shape[-1]) ** -0.5 if scale is None else scale
    weights = _weights(query * factor, key, attn_mask)
    return _call("native_dropout", weights, p=dropout_p)[0] @ value


def _weights(scaled_query: Any, key: Any, mask: Any) -> Any:
    scores = scaled_query @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype is _bool else scores + mask
    return _call("softmax", scores, -1)


def additive_mask(mask: Any, dtype: Any, name: str) -> Any:
    """A mask of floats to be added: of bools, which are True where attention is *not* allowed, minus infinity."""
    if mask is None or mask.dtype is dtype:
        return mask
    if mask.dtype is not _bool:
        raise AssertionError(f"only bool and floating types of {name} are supported: given {mask.dtype}, not {dtype}")
    return mask.new_zeros(tuple(mask.shape), dtype=dtype).masked_fill(mask, float("-inf"))


def multi_head_attention_forward(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of `num_heads` heads of (L, N, E) queries over (S, N, E) keys and values, projected in and out.

    Masks of bools are True where attention is *not* allowed: attn_mask (L, S) or (N * heads, L, S), key_padding_mask
    (N, S). Returns the output and, with `need_weights`, the weights (N, L, S), or (N, heads, L, S) unaveraged.
    """
    batched = query.ndim == 3
    if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
        raise AssertionError(
            f"query, key and value should all be 2-D (unbatched) or 3-D (batched), given {query.ndim}-D, {key.ndim}-D "
            f"and {value.ndim}-D"
        )
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, embed = query.shape
    if embed != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed}")
    if embed % num_heads:
        raise AssertionError(f"embed_dim {embed} not divisible by num_heads {num_heads}")
    if tuple(key.shape[:2]) != tuple(value.shape[:2]):
        raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
    head = embed // num_heads
    if not use_separate_proj_weight:
        q_proj_weight = in_proj_weight[:embed]
        k_proj_weight = in_proj_weight[embed : 2 * embed]
        v_proj_weight = in_proj_weight[2 * embed :]
    if in_proj_bias is None:
        q = _call("linear", query, q_proj_weight)
        k = _call("linear", key, k_proj_weight)
        v = _call("linear", value, v_proj_weight)
    else:
        q = _call("linear", query, q_proj_weight, in_proj_bias[:embed])
        k = _call("linear", key, k_proj_weight, in_proj_bias[embed : 2 * embed])
        v = _call("linear", value, v_proj_weight, in_proj_bias[2 * embed :])
    source = k.shape[0]
    mask = _joined_mask(attn_mask, key_padding_mask, (batch, num_heads, length, source), q.dtype)
    if bias_k is not None and bias_v is not None:
        k = _call("cat", [k, bias_k.expand(1, batch, embed)], 0)
        v = _call("cat", [v, bias_v.expand(1, batch, embed)], 0)
        mask = None if mask is None else _call("pad", mask, (0, 1))
    q = q.reshape(length, batch, num_heads, head).permute(1, 2, 0, 3)
    k = k.reshape(k.shape[0], batch, num_heads, head).permute(1, 2, 0, 3)
    v = v.reshape(v.shape[0], batch, num_heads, head).permute(1, 2, 0, 3)
    if add_zero_attn:
        nothing = k.new_zeros((batch, num_heads, 1, head))
        k, v = _call("cat", [k, nothing], 2), _call("cat", [v, nothing], 2)
        mask = None if mask is None else _call("pad", mask, (0, 1))
    rate = dropout_p if training else 0.0
    weights = None
    if need_weights:
        weights = _weights(q * float(head) ** -0.5, k, mask)
        kept = _call("native_dropout", weights, p=rate)[0] if rate else weights
        mixed = kept @ v
        weights = kept.mean(1) if average_attn_weights else kept
        weights = weights if batched else weights.squeeze(0)
    else:
        mixed = scaled_dot_product_attention(q, k, v, mask, rate)
    joined = mixed.permute(2, 0, 1, 3).reshape(length, batch, embed)
    output = _call("linear", joined, out_proj_weight, out_proj_bias)
    return output if batched else output.squeeze(1), weights


def _joined_mask(attn_mask: Any, padding: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Both masks as one of floats that broadcasts to (N, heads, L, S), or None."""
    batch, heads, length, source = shape
    mask = additive_mask(attn_mask, dtype, "attn_mask")
    if mask is not None:
        if mask.ndim == 2:
            if tuple(mask.shape) != (length, source):
                raise RuntimeError(
                    f"The shape of the 2D attn_mask is {tuple(mask.shape)}, but should be {(length, source)}."
                )
            mask = mask.reshape(1, 1, length, source)
        else:
            if tuple(mask.shape) != (batch * heads, length, source):
                raise RuntimeError(
                    f"The shape of the 3D attn_mask is {tuple(mask.shape)}, but should be "
                    f"{(batch * heads, length, source)}."
                )
            mask = mask.reshape(batch, heads, length, source)
    padding = additive_mask(padding, dtype, "key_padding_mask")
    if padding is None:
        return mask
    if tuple(padding.shape) != (batch, source):
        raise AssertionError(f"expecting key_padding_mask shape of {(batch, source)}, but got {tuple(padding.shape)}")
    padding = padding.reshape(batch, 1, 1, source)
    return padding if mask is None else mask + padding
