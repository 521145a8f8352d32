"""PyTorch's exported graphs run by JAX: one translation of each operator serves all workloads.

`torch.export` gives a graph of core operators; `program` runs it with `jax.numpy`, to be compiled by `jax.jit`. Loops,
which an export would unroll, are written as scans.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

__all__ = ["program", "scan"]

_DTYPES = {
    torch.float32: jnp.float32,
    torch.int8: jnp.int8,
    torch.float16: jnp.float16,
    torch.bool: jnp.bool_,
    torch.int64: jnp.int32,
}


def _dims(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def _convolution(
    x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, turned: bool, more: Any, groups: int
) -> Any:
    rank = x.ndim - 2
    stride, padding, dilation = ([*v] * (rank if len(v) == 1 else 1) for v in (stride, padding, dilation))
    letters = "DHW"[3 - rank :]
    numbers = (f"NC{letters}", f"OI{letters}", f"NC{letters}")
    if turned:
        kernel = w.shape[2:]
        w = jnp.flip(w, tuple(range(2, w.ndim))).swapaxes(0, 1)
        pads = [(k - 1 - p, k - 1 - p + o) for k, p, o in zip(kernel, padding, more, strict=True)]
        y = lax.conv_general_dilated(x, w, (1,) * rank, pads, lhs_dilation=stride, dimension_numbers=numbers)
    else:
        pads = [(p, p) for p in padding]
        y = lax.conv_general_dilated(x, w, stride, pads, rhs_dilation=dilation, dimension_numbers=numbers,
                                     feature_group_count=groups)  # fmt: skip
    return y if b is None else y + b.reshape((1, -1) + (1,) * rank)


def _plain_convolution(
    x: Any, w: Any, b: Any = None, stride: Any = (1,), padding: Any = (0,), dilation: Any = (1,), groups: int = 1
) -> Any:
    return _convolution(x, w, b, stride, padding, dilation, False, (), groups)


def _norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(-len(shape), 0))
    mean = x.mean(axes, keepdims=True)
    y = (x - mean) * lax.rsqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _group_norm(x: Any, groups: int, weight: Any, bias: Any, eps: float = 1e-5, *_: Any) -> Any:
    y = x.reshape(x.shape[0], groups, -1)
    y = _norm(y, (1,), eps=eps).reshape(x.shape)
    place = (1, -1) + (1,) * (x.ndim - 2)
    return y * weight.reshape(place) + bias.reshape(place)


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any) -> Any:
    eps = rest[-1] if isinstance(rest[-1], float) else rest[-2]
    place = (1, -1) + (1,) * (x.ndim - 2)
    scale = weight * lax.rsqrt(variance + eps)
    return x * scale.reshape(place) + (bias - mean * scale).reshape(place)


def _attention(q: Any, k: Any, v: Any, mask: Any = None, dropout: float = 0.0, causal: bool = False, **_: Any) -> Any:
    scores = (q * q.shape[-1] ** -0.5) @ jnp.swapaxes(k, -1, -2)
    if causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    return jax.nn.softmax(scores, -1) @ v


def _max_pool(x: Any, kernel: Any, stride: Any = (), padding: Any = (0, 0), *_: Any) -> Any:
    pads = ((0, 0), (0, 0), *((p, p) for p in padding))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, *kernel), (1, 1, *(stride or kernel)), pads)


def _nll(x: Any, target: Any, *_: Any) -> Any:
    return -jnp.take_along_axis(x, target[:, None], 1).mean()


def _resize(x: Any, size: Any, *_: Any) -> Any:
    shape = (*x.shape[:2], *(size if size is not None else [2 * s for s in x.shape[2:]]))
    return jax.image.resize(x, shape, "bilinear")


def _split(x: Any, size: int, dim: int = 0) -> Any:
    return jnp.split(x, list(range(size, x.shape[dim], size)), dim)


def _cast(x: Any, dtype: Any = None, **_: Any) -> Any:
    return x if dtype is None else x.astype(_DTYPES[dtype])


def _reduction(function: Any) -> Callable[..., Any]:
    return lambda x, dim=None, keepdim=False, **_: function(x, axis=_dims(dim), keepdims=keepdim)


_OPERATORS: dict[str, Callable[..., Any]] = {
    "add.Tensor": lambda a, b: a + b,
    "sub.Tensor": lambda a, b: a - b,
    "mul.Tensor": operator.mul,
    "div.Tensor": operator.truediv,
    "relu.default": jax.nn.relu,
    "tanh.default": jnp.tanh,
    "sigmoid.default": jax.nn.sigmoid,
    "silu.default": jax.nn.silu,
    "exp.default": jnp.exp,
    "log.default": jnp.log,
    "sqrt.default": jnp.sqrt,
    "erf.default": jax.scipy.special.erf,
    "neg.default": operator.neg,
    "reciprocal.default": lambda x: 1 / x,
    "gelu.default": lambda x, **_: jax.nn.gelu(x, approximate=False),
    "hardtanh.default": lambda x, low=-1.0, high=1.0: jnp.clip(x, low, high),
    "clamp.default": jnp.clip,
    "relu6.default": jax.nn.relu6,
    "softmax.int": lambda x, dim, *_: jax.nn.softmax(x, dim),
    "_softmax.default": lambda x, dim, *_: jax.nn.softmax(x, dim),
    "layer_norm.default": lambda x, shape, w=None, b=None, eps=1e-5, *_: _norm(x, shape, w, b, eps),
    "native_layer_norm.default": lambda *a: (_norm(*a),),
    "rms_norm.default": lambda x, shape, w=None, eps=None: _rms(x, w),
    "_fused_rms_norm.default": lambda x, shape, w=None, eps=None: (_rms(x, w),),
    "group_norm.default": _group_norm,
    "native_group_norm.default": lambda x, w, b, n, c, hw, groups, eps: (_group_norm(x, groups, w, b, eps),),
    "_native_batch_norm_legit_no_training.default": lambda *a: (_batch_norm(*a),),
    "batch_norm.default": _batch_norm,
    "linear.default": lambda x, w, b=None: x @ w.T if b is None else x @ w.T + b,
    "matmul.default": jnp.matmul,
    "mm.default": jnp.matmul,
    "bmm.default": jnp.matmul,
    "addmm.default": lambda b, x, y: b + x @ y,
    "scaled_dot_product_attention.default": _attention,
    "conv1d.default": _plain_convolution,
    "conv2d.default": _plain_convolution,
    "conv3d.default": _plain_convolution,
    "conv_transpose2d.input": lambda x, w, b=None, s=(1, 1), p=(0, 0), o=(0, 0), g=1, d=(1, 1): _convolution(
        x, w, b, s, p, d, True, o, g
    ),
    "convolution.default": _convolution,
    "max_pool2d.default": _max_pool,
    "max_pool2d_with_indices.default": lambda *a: (_max_pool(*a),),
    "adaptive_avg_pool2d.default": lambda x, size: x.mean((2, 3), keepdims=True),
    "upsample_bilinear2d.vec": _resize,
    "view.default": jnp.reshape,
    "reshape.default": jnp.reshape,
    "_unsafe_view.default": jnp.reshape,
    "flatten.using_ints": lambda x, start=0, end=-1: x.reshape(*x.shape[:start], -1),
    "transpose.int": jnp.swapaxes,
    "t.default": lambda x: x.T,
    "permute.default": jnp.transpose,
    "contiguous.default": lambda x, **_: x,
    "clone.default": lambda x, **_: x,
    "chunk.default": lambda x, n, dim=0: jnp.split(x, n, dim),
    "split.Tensor": _split,
    "split_with_sizes.default": lambda x, sizes, dim=0: jnp.split(x, list(np.cumsum(sizes)[:-1]), dim),
    "cat.default": lambda xs, dim=0: jnp.concatenate(xs, dim),
    "unsqueeze.default": jnp.expand_dims,
    "to.dtype": _cast,
    "_to_copy.default": _cast,
    "sum.default": lambda x, **_: x.sum(),
    "sum.dim_IntList": _reduction(jnp.sum),
    "mean.dim": _reduction(jnp.mean),
    "logsumexp.default": _reduction(jax.scipy.special.logsumexp),
    "argmax.default": lambda x, dim=None, keepdim=False: jnp.argmax(x, axis=dim),
    "cumsum.default": jnp.cumsum,
    "sort.default": lambda x, dim=-1, descending=False: (jnp.sort(x, dim),),
    "topk.default": lambda x, k, dim=-1, *_: lax.top_k(x, k),
    "gather.default": lambda x, dim, index, **_: jnp.take_along_axis(x, index, dim),
    "index_add.default": lambda x, dim, index, source, **_: x.at[index].add(source),
    "embedding.default": lambda w, i, *_: jnp.take(w, i, 0),
    "cross_entropy_loss.default": lambda x, t, *_: _nll(jax.nn.log_softmax(x, -1), t),
    "_log_softmax.default": lambda x, dim, *_: jax.nn.log_softmax(x, dim),
    "nll_loss_forward.default": lambda *a: (_nll(*a),),
    "_assert_tensor_metadata.default": lambda *_, **__: None,
    "getitem": operator.getitem,
}  # fmt: skip


def _rms(x: Any, weight: Any) -> Any:
    y = x * lax.rsqrt((x * x).mean(-1, keepdims=True) + np.finfo(np.float32).eps)
    return y if weight is None else y * weight


def _name(target: Any) -> str:
    return "getitem" if target is operator.getitem else str(target).removeprefix("aten.")


def program(model: Any, inputs: tuple[Any, ...]) -> Callable[..., Any]:
    """A function of JAX arrays that computes what a PyTorch module does; its weights are constants of the program."""
    exported = torch.export.export(model, inputs)
    state = {**exported.state_dict, **exported.constants}
    signature = exported.graph_signature
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    weights = {name: jnp.asarray(state[key].detach().numpy()) for name, key in held.items()}
    nodes = list(exported.graph.nodes)

    def run(*arguments: Any) -> Any:
        values: dict[str, Any] = dict(weights)
        rest = iter(arguments)

        def value(x: Any) -> Any:
            if isinstance(x, torch.fx.Node):
                return values[x.name]
            if isinstance(x, (list, tuple)):
                return [value(item) for item in x]
            return x

        for node in nodes:
            if node.op == "placeholder":
                if node.name not in values:
                    values[node.name] = next(rest)
            elif node.op == "output":
                return value(node.args[0])[0]
            else:
                operands = [value(a) for a in node.args]
                options = {k: value(v) for k, v in node.kwargs.items()}
                if "is_causal" in options:
                    options["causal"] = options.pop("is_causal")
                values[node.name] = _OPERATORS[_name(node.target)](*operands, **options)
        raise AssertionError("the graph has no output")

    return run


def scan(kind: str, model: Any) -> Callable[..., Any]:
    """The recurrence of a looping module as a scan."""
    weights = {k: jnp.asarray(v.detach().numpy()) for k, v in model.state_dict().items()}
    first, second = weights["inner.weight"], weights["hidden.weight"]

    def step(carry: Any, x: Any) -> Any:
        h, c = carry
        inner, hidden = x @ first.T + weights["inner.bias"], h @ second.T + weights["hidden.bias"]
        if kind == "rnn":
            return (jnp.tanh(inner + hidden), c), None
        if kind == "gru":
            (a, b, n), (d, e, m) = jnp.split(inner, 3, -1), jnp.split(hidden, 3, -1)
            r, z = jax.nn.sigmoid(a + d), jax.nn.sigmoid(b + e)
            n = jnp.tanh(n + r * m)
            return (n + z * (h - n), c), None
        a, b, g, o = jnp.split(inner + hidden, 4, -1)
        c = jax.nn.sigmoid(b) * c + jax.nn.sigmoid(a) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    def run(x: Any) -> Any:
        zero = jnp.zeros_like(x[0])
        (h, _), _ = lax.scan(step, (zero, zero), x)
        return h

    return run
