"""Shorter ways to compute the gradients of common ops, on arrays, where the gradient's own graph is not wanted.

A rule takes the gradient of the output, the output, the operands (arrays and numbers), which gradients are wanted, and
the op's attributes; it gives one array or None per operand, or NotImplemented. The op records' rules stay the
reference, and a test compares both.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import native
from .fast import quiet
from .selection import kept

__all__ = ["FAST_GRADIENTS"]

_Arrays = tuple[Any, ...]


def _sum_to(gradient: Any, like: Any) -> Any:
    """The gradient summed over the dimensions along which `like` was broadcast."""
    shape = like.shape
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    axes = (*range(extra), *[i + extra for i, n in enumerate(shape) if n == 1 != gradient.shape[i + extra]])
    total = quiet(np.add.reduce, gradient, axes)
    return np.asarray(total).reshape(shape)


def _add(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    a, b = operands
    return _sum_to(g, a) if needs[0] else None, _sum_to(g, b) if needs[1] else None


def _sub(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    a, b = operands
    return _sum_to(g, a) if needs[0] else None, _sum_to(np.negative(g), b) if needs[1] else None


def _mul(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    a, b = operands
    return (
        _sum_to(quiet(np.multiply, g, b), a) if needs[0] else None,
        _sum_to(quiet(np.multiply, g, a), b) if needs[1] else None,
    )


def _div(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    a, b = operands
    other = None
    if needs[1]:
        other = quiet(np.multiply, g, out)
        other = _sum_to(np.negative(quiet(np.true_divide, other, b)), b)
    return _sum_to(quiet(np.true_divide, g, b), a) if needs[0] else None, other


def _pow(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    base, exponent = operands
    if exponent.__class__ not in (int, float) or exponent != 2 or not needs[0]:
        return NotImplemented
    return quiet(np.multiply, g, quiet(np.multiply, base, 2.0)), None


def _relu(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    found = native.relu_gradient(g, out)
    return (kept(out > 0, g) if found is NotImplemented else found,)


def _of_output(derivative: Callable[[Any], Any]) -> Callable[..., Any]:
    """Of an op of one operand, whose derivative is a function of its output."""

    def rule(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
        return (quiet(np.multiply, g, quiet(derivative, out)),)

    return rule


def _square(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    return (quiet(np.multiply, g, quiet(np.multiply, operands[0], 2.0)),)


def _log(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    return (quiet(np.true_divide, g, operands[0]),)


def _sqrt(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    return (quiet(np.true_divide, g, quiet(np.multiply, out, 2.0)),)


def _neg(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    return (np.negative(g),)


def _restored(g: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    """The gradient of a reduction's result, at every element that was reduced."""
    shape = x.shape
    if not keepdim and g.ndim != len(shape):
        if dim is None or dim == ():
            g = g.reshape((1,) * len(shape))
        else:
            dims = [d % len(shape) for d in (dim if dim.__class__ is tuple else (dim,))]
            g = g.reshape([1 if axis in dims else n for axis, n in enumerate(shape)])
    return np.broadcast_to(g, shape)


def _sum(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, dim: Any, keepdim: bool, dtype: Any) -> Any:
    (x,) = operands
    return (_restored(g, x, dim, keepdim),) if dtype is None else NotImplemented


def _mean(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, dim: Any, keepdim: bool, dtype: Any) -> Any:
    (x,) = operands
    if dtype is not None or not out.size:
        return NotImplemented
    share = quiet(np.true_divide, g, x.dtype.type(x.size // out.size))
    return (_restored(np.asarray(share), x, dim, keepdim),)


def _matmul(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    a, b = operands
    if a.ndim != 2 or b.ndim != 2:
        return NotImplemented
    return (
        quiet(np.matmul, g, b.T) if needs[0] else None,
        quiet(np.matmul, a.T, g) if needs[1] else None,
    )


def _linear(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    x, weight, bias = operands
    if x.ndim != 2 or weight.ndim != 2:
        return NotImplemented
    return (
        quiet(np.matmul, g, weight) if needs[0] else None,
        quiet(np.matmul, g.T, x) if needs[1] else None,
        quiet(np.add.reduce, g, 0) if bias is not None and needs[2] else None,
    )


def _reshaped(g: Any, out: Any, operands: _Arrays, needs: _Arrays, **attributes: Any) -> Any:
    return (g.reshape(operands[0].shape), *(None,) * (len(operands) - 1))


def _permute(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, dims: tuple[int, ...]) -> Any:
    back = [0] * len(dims)
    for place, d in enumerate(dims):
        back[d] = place
    return (g.transpose(back),)


def _transpose(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, dim0: int, dim1: int) -> Any:
    return (g.swapaxes(dim0, dim1),) if g.ndim else NotImplemented


def _expand(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    return _sum_to(g, operands[0]), None


def _same(g: Any, out: Any, operands: _Arrays, needs: _Arrays) -> Any:
    return (g,)


def _softmax(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, dim: int, dtype: Any) -> Any:
    if dtype is not None or not out.ndim:
        return NotImplemented
    found = native.softmax_gradient("softmax", g, out, dim, dtype)
    if found is not NotImplemented:
        return (found,)
    result = quiet(np.multiply, g, out)
    total = quiet(np.add.reduce, result, dim, None, None, True)
    quiet(np.subtract, g, total, result)
    return (quiet(np.multiply, result, out, result),)


def _log_softmax(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, dim: int, dtype: Any) -> Any:
    if dtype is not None or not out.ndim:
        return NotImplemented
    found = native.softmax_gradient("log_softmax", g, out, dim, dtype)
    if found is not NotImplemented:
        return (found,)
    result = quiet(np.exp, out)
    quiet(np.multiply, result, quiet(np.add.reduce, g, dim, None, None, True), result)
    return (quiet(np.subtract, g, result, result),)


def _cross_entropy(
    g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    """For class indices over [N, C]: softmax less the class that was right, shared among the rows that count."""
    logits, target, weight = operands
    if weight is not None or label_smoothing or reduction == "none" or logits.ndim != 2 or target.dtype.kind != "i":
        return NotImplemented
    counted = target != ignore_index
    rows = np.arange(len(target))
    index = np.where(counted, target, 0)
    result = quiet(np.subtract, logits, quiet(np.maximum.reduce, logits, 1, None, None, True))
    quiet(np.exp, result, result)
    quiet(np.true_divide, result, quiet(np.add.reduce, result, 1, None, None, True), result)
    result[rows, index] -= 1
    count = int(np.count_nonzero(counted))
    scale = g if reduction == "sum" else quiet(np.true_divide, g, g.dtype.type(count))
    quiet(np.multiply, result, np.where(counted, scale, g.dtype.type(0))[:, None], result)
    return result, None, None


def _batch_norm_training(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, eps: float) -> Any:
    """Of the normalised result only; `out` has mean and variance too."""
    x, weight, _ = operands
    if not x.size:
        return NotImplemented
    if needs[0]:
        found = native.batch_norm_gradient(g, x, weight, out[1], out[2], eps)
        if found is not NotImplemented:
            return found
    n, channels = x.shape[:2]
    count = x.dtype.type(max(x.size // max(channels, 1), 1))
    column = (1, channels, 1)
    rows, gradient = x.reshape(n, channels, -1), g.reshape(n, channels, -1)
    scale = quiet(np.true_divide, 1, quiet(np.sqrt, quiet(np.add, out[2], x.dtype.type(eps))))
    centred = quiet(np.subtract, rows, out[1].reshape(column))
    total = quiet(np.einsum, "nck->nc", gradient).sum(0)
    slope = quiet(np.multiply, quiet(np.einsum, "nck,nck->nc", gradient, centred).sum(0), scale)
    for_input = None
    if needs[0]:
        factor = scale if weight is None else quiet(np.multiply, scale, weight)
        centred *= quiet(np.multiply, scale, slope / count).reshape(column)
        centred += (total / count).reshape(column)
        np.subtract(gradient, centred, out=centred)
        centred *= factor.reshape(column)
        for_input = centred.reshape(x.shape)
    return for_input, slope, total


def _activation(name: str, *names: str, numbers: tuple[float, ...] = ()) -> Callable[..., Any]:
    """Of an activation function with a kernel, whose numbers are attributes of these names, or always the same."""

    def rule(g: Any, out: Any, operands: _Arrays, needs: _Arrays, **attributes: Any) -> Any:
        given = numbers or [attributes[n] for n in names]
        found = native.activation_gradient(name, g, operands[0], *given)
        return found if found is NotImplemented else (found,)

    return rule


_gelu_kernel = _activation("gelu")


def _gelu(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, approximate: str) -> Any:
    return _gelu_kernel(g, out, operands, needs) if approximate == "none" else NotImplemented


def _conv2d(g: Any, out: Any, operands: _Arrays, needs: _Arrays, **geometry: Any) -> Any:
    x, weight, bias = operands
    return native.conv2d_gradients(g, x, weight, bias, needs, **geometry)


def _layer_norm(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, normalized_shape: Any, eps: float) -> Any:
    x, weight, _ = operands
    return native.layer_norm_gradient(g, x, weight, normalized_shape, eps) if needs[0] else NotImplemented


def _group_norm(g: Any, out: Any, operands: _Arrays, needs: _Arrays, *, num_groups: int, eps: float) -> Any:
    x, weight, _ = operands
    return native.group_norm_gradient(g, x, weight, num_groups, eps) if needs[0] else NotImplemented


def _max_pool2d(g: Any, out: Any, operands: _Arrays, needs: _Arrays, **window: Any) -> Any:
    found = native.max_pool2d_gradient(g, operands[0], **window)
    return found if found is NotImplemented else (found,)


FAST_GRADIENTS: dict[str, Callable[..., Any]] = {
    "conv2d": _conv2d,
    "gelu": _gelu,
    "group_norm": _group_norm,
    "hardtanh": _activation("hardtanh", "min_val", "max_val"),
    "leaky_relu": _activation("leaky_relu", "negative_slope"),
    "relu6": _activation("hardtanh", numbers=(0.0, 6.0)),
    "silu": _activation("silu"),
    "layer_norm": _layer_norm,
    "max_pool2d": _max_pool2d,
    "batch_norm_training": _batch_norm_training,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "relu": _relu,
    "exp": _of_output(lambda y: y),
    "tanh": _of_output(lambda y: 1 - y * y),
    "sigmoid": _of_output(lambda y: y * (1 - y)),
    "square": _square,
    "log": _log,
    "sqrt": _sqrt,
    "neg": _neg,
    "sum": _sum,
    "mean": _mean,
    "matmul": _matmul,
    "mm": _matmul,
    "linear": _linear,
    "reshape": _reshaped,
    "flatten": _reshaped,
    "unsqueeze": _reshaped,
    "squeeze": _reshaped,
    "permute": _permute,
    "transpose": _transpose,
    "expand": _expand,
    "clone": _same,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "cross_entropy": _cross_entropy,
}
