"""Ops whose attributes are numbers that a program computes, written in ops that take them as operands.

The functions are compiled into the programs that call them; an op with attributes known when compiling is itself.
"""

from collections.abc import Callable
from typing import Any

from ...eager.creation import arange, full_like, ones_like, zeros_like
from ...eager.functions import call as op
from ...eager.random import rand_like
from ...eager.shapes import where

__all__ = ["STAND_INS"]

# mypy: disable-error-code="no-untyped-def,no-untyped-call"


def leaky_relu(input, negative_slope=0.01):
    return where(input > 0, input, input * negative_slope)


def elu(input, alpha=1.0):
    return where(input > 0, input, alpha * op("expm1", input))


def celu(input, alpha=1.0):
    return where(input > 0, input, alpha * op("expm1", input / alpha))


def softplus(input, beta=1.0, threshold=20.0):
    scaled = input * beta
    return where(scaled > threshold, input, op("log1p", op("exp", scaled)) / beta)


def hardshrink(input, lambd=0.5):
    return where((input >= -lambd) & (input <= lambd), zeros_like(input), input)


def softshrink(input, lambd=0.5):
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0))


def hardtanh(input, min_val=-1.0, max_val=1.0):
    low = where(input <= min_val, full_like(input, min_val), input)
    return where(input >= max_val, full_like(input, max_val), low)


def threshold(input, threshold=0.0, value=0.0):
    return where(input <= threshold, full_like(input, value), input)


def addcmul(input, tensor1, tensor2, *, value=1):
    return input + value * tensor1 * tensor2


def addcdiv(input, tensor1, tensor2, *, value=1):
    return input + value * (tensor1 / tensor2)


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    if beta == 0:  # then NaN and infinity in the input do not count
        return alpha * (mat1 @ mat2) + zeros_like(input)
    return beta * input + alpha * (mat1 @ mat2)


def index_add(input, dim, index, source, *, alpha=1):
    return op("index_add", input, dim, index, source * alpha)


def tril(input, diagonal=0):
    rows, columns = arange(input.size(-2)).unsqueeze(1), arange(input.size(-1))
    return where(columns - rows <= diagonal, input, zeros_like(input))


def triu(input, diagonal=0):
    rows, columns = arange(input.size(-2)).unsqueeze(1), arange(input.size(-1))
    return where(columns - rows >= diagonal, input, zeros_like(input))


def roll(input, shifts, dims=None):
    if dims is None:
        return roll(input.reshape(-1), shifts, 0).reshape(input.shape)
    if isinstance(shifts, (tuple, list)):
        for shift, dim in zip(shifts, dims, strict=True):
            input = roll(input, shift, dim)
        return input
    dim = dims[0] if isinstance(dims, (tuple, list)) else dims
    size = input.size(dim)
    if size == 0:
        return input.clone()
    return op("index_select", input, dim, (arange(size) - shifts) % size)


def pad(input, pad, mode="constant", value=0):
    inside = op("pad", ones_like(input), pad)
    return where(inside != 0, op("pad", input, pad), full_like(inside, value))


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05):
    dims = [-1 - k for k in range(len(normalized_shape))]
    centred = input - input.mean(dims, keepdim=True)
    result = centred / op("sqrt", (centred * centred).mean(dims, keepdim=True) + eps)
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias


def normalize(input, p=2.0, dim=1, eps=1e-12):
    length = op("vector_norm", input, p, dim, True)
    return input / where(length > eps, length, full_like(length, eps))


def huber_loss(input, target, *, delta=1.0, reduction="mean"):
    distance = (input - target).abs()
    return _reduced(where(distance <= delta, 0.5 * distance**2, delta * (distance - 0.5 * delta)), reduction)


def smooth_l1_loss(input, target, *, beta=1.0, reduction="mean"):
    distance = (input - target).abs()
    if beta == 0:
        return _reduced(distance, reduction)
    return _reduced(where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta), reduction)


def _reduced(losses, reduction):
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    near = op("abs", input - other) <= atol + rtol * op("abs", other)
    same = input == other
    if equal_nan:
        same = same | ((input != input) & (other != other))
    return same | (near & op("isfinite", input) & op("isfinite", other))


def native_dropout(input, p):
    kept = rand_like(input) >= p
    return where(kept, input / (1 - p), zeros_like(input)), kept


STAND_INS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        addcdiv, addcmul, addmm, celu, elu, hardshrink, hardtanh, huber_loss, index_add, isclose, layer_norm,
        leaky_relu, native_dropout, normalize, pad, roll, smooth_l1_loss, softplus, softshrink, threshold, tril, triu,
    )
}  # fmt: skip
