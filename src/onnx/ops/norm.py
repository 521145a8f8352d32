"""Normalisation and dropout."""

from typing import Any

from ...ir import dtypes
from ...ir.ops._op import F
from ..registry import op


@op("BatchNormalization")
def batch_normalization(node: Any, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    epsilon = node.attribute("epsilon", 1e-5)
    if not node.attribute("training_mode", 0):
        rank = x.ndim
        if mean.dtype == x.dtype == scale.dtype:
            return F.batch_norm(x, mean, variance, scale, bias, eps=epsilon)
        shape = (-1, *[1] * (rank - 2))
        scale, bias, mean, variance = (F.reshape(v, shape) for v in (scale, bias, mean, variance))
        normal = F.div(F.sub(F.cast(x, dtype=mean.dtype), mean), F.sqrt(F.add(variance, epsilon)))
        return F.cast(F.add(F.mul(normal, scale), bias), dtype=x.dtype)
    momentum = node.attribute("momentum", 0.9)
    axes = (0, *range(2, x.ndim))
    current, spread = F.mean(x, axes), F.var(x, axes, correction=0)
    result = F.batch_norm(x, current, spread, scale, bias, eps=epsilon)
    new_mean = F.add(F.mul(mean, momentum), F.mul(current, 1 - momentum))
    return result, new_mean, F.add(F.mul(variance, momentum), F.mul(spread, 1 - momentum))


@op("InstanceNormalization")
def instance_normalization(node: Any, x: Any, scale: Any, bias: Any) -> Any:
    axes = tuple(range(2, x.ndim))
    shape = (-1, *[1] * (x.ndim - 2))
    centred = F.sub(x, F.mean(x, axes, True))
    variance = F.mean(F.mul(centred, centred), axes, True)
    normal = F.mul(centred, F.rsqrt(F.add(variance, node.attribute("epsilon", 1e-5))))
    return F.add(F.mul(normal, F.reshape(scale, shape)), F.reshape(bias, shape))


@op("LayerNormalization")
def layer_normalization(node: Any, x: Any, scale: Any, bias: Any = None) -> Any:
    axis = node.axis(node.attribute("axis", -1), x.ndim)
    epsilon = node.attribute("epsilon", 1e-5)
    dims = tuple(x.shape)[axis:]
    plain = all(isinstance(d, int) for d in dims) and tuple(scale.shape) == dims
    plain = plain and (bias is None or tuple(bias.shape) == dims)
    if plain and not (node.has_output(1) or node.has_output(2)):
        return F.layer_norm(x, dims, scale, bias, epsilon)
    wide = F.cast(x, dtype=dtypes.float32) if x.dtype is dtypes.float16 else x
    axes = tuple(range(axis, x.ndim))
    mean = F.mean(wide, axes, True)
    centred = F.sub(wide, mean)
    inverse = F.rsqrt(F.add(F.mean(F.mul(centred, centred), axes, True), epsilon))
    result = F.mul(F.cast(F.mul(centred, inverse), dtype=x.dtype), scale)
    return (result if bias is None else F.add(result, bias)), mean, inverse


@op("RMSNormalization")
def rms_normalization(node: Any, x: Any, scale: Any) -> Any:
    axes = tuple(range(node.axis(node.attribute("axis", -1), x.ndim), x.ndim))
    wide = F.cast(x, dtype=dtypes.float32) if x.dtype is dtypes.float16 else x
    inverse = F.rsqrt(F.add(F.mean(F.mul(wide, wide), axes, True), node.attribute("epsilon", 1e-5)))
    return F.mul(F.cast(F.mul(wide, inverse), dtype=x.dtype), scale)


@op("LRN")
def local_response_normalization(node: Any, x: Any) -> Any:
    """Division by a power of the mean square over neighbouring channels (Krizhevsky et al., 2012, section 3.3)."""
    size = node.attribute("size")
    if not 1 <= size <= 1024:
        raise node.error(f"LRN: expected a size from 1 to 1024, given {size}")
    before = (size - 1) // 2
    amounts = [0] * (2 * x.ndim)
    amounts[2 * (x.ndim - 2)], amounts[2 * (x.ndim - 2) + 1] = before, size - 1 - before
    squares = F.pad(F.mul(x, x), tuple(amounts), "constant", 0)
    channels = x.shape[1]
    total = None
    for k in range(size):
        part = F.slice(squares, k, k + channels, dim=1)
        total = part if total is None else F.add(total, part)
    base = F.add(F.mul(total, node.attribute("alpha", 1e-4) / size), node.attribute("bias", 1.0))
    return F.div(x, F.pow(base, node.attribute("beta", 0.75)))


@op("LpNormalization")
def lp_normalization(node: Any, x: Any) -> Any:
    axis, p = node.axis(node.attribute("axis", -1), x.ndim), node.attribute("p", 2)
    norm = F.sum(F.abs(x), (axis,), True) if p == 1 else F.sqrt(F.sum(F.mul(x, x), (axis,), True))
    return F.where(F.eq(norm, 0), node.like(0, x), F.div(x, norm))


@op("Dropout", values=(1, 2))
def dropout(node: Any, x: Any, ratio: Any = None, training: Any = None) -> Any:
    """The input itself; in training mode elements are dropped at random."""
    if not node.number(training, False, "training_mode") or node.version < 12:
        mask = F.full(tuple(x.shape), True, dtype=dtypes.bool_)
        return (x, mask) if node.n_outputs > 1 else x
    p = float(node.number(ratio, node.attribute("ratio", 0.5), "the ratio"))
    if p == 0:
        return x, F.full(tuple(x.shape), True, dtype=dtypes.bool_)
    result = F.native_dropout(x, p)
    return result if isinstance(result, tuple) else (result,)
