"""Initial values of parameters, written in place (formulas: He et al. 2015, Glorot and Bengio 2010)."""

import math
from typing import Any

import numpy as np

from ..eager.tensor import Tensor
from ..ir.random_state import default_generator

__all__ = [
    "calculate_gain", "constant_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_", "uniform_",
    "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip


def _set(tensor: Tensor, values: Any) -> Tensor:
    tensor._array[...] = values
    tensor.bump_version()
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with draws from the uniform distribution over [a, b)."""
    return _set(tensor, a + (b - a) * default_generator.uniform(tensor._array.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with draws from the normal distribution."""
    return _set(tensor, mean + std * default_generator.normal(tensor._array.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    return _set(tensor, val)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return _set(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return _set(tensor, 1)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity."""
    match nonlinearity:
        case "relu":
            return math.sqrt(2.0)
        case "leaky_relu":
            return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
        case "tanh":
            return 5.0 / 3
        case "selu":
            return 3.0 / 4
        case "linear" | "sigmoid" | "conv1d" | "conv2d" | "conv3d":
            return 1.0
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def fan_in_and_out(tensor: Tensor) -> tuple[int, int]:
    """The numbers of inputs and outputs that one weight connects; ValueError for fewer than 2 dimensions."""
    shape = tensor._array.shape
    if len(shape) < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = int(np.prod(shape[2:], dtype=int))
    return shape[1] * field, shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return fan_in_and_out(tensor)[mode == "fan_out"]


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Fill by He et al. (2015) from a uniform distribution."""
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(max(_fan(tensor, mode), 1))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Fill by He et al. (2015) from a normal distribution."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(max(_fan(tensor, mode), 1)))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill by Glorot and Bengio (2010) from a uniform distribution."""
    fan_in, fan_out = fan_in_and_out(tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill by Glorot and Bengio (2010) from a normal distribution."""
    fan_in, fan_out = fan_in_and_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)))
