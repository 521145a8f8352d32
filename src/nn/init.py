"""Initial values of parameters, written in place (formulas: He et al. 2015, Glorot and Bengio 2010)."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..eager.device import CPU, device_of, move_array
from ..eager.tensor import Tensor
from ..ir.random_state import Generator, default_generator

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip


def _set(tensor: Tensor, values: Any) -> Tensor:
    place = device_of(tensor._array)
    tensor._array[...] = values if place is CPU or not np.ndim(values) else move_array(np.asarray(values), place)
    tensor.bump_version()
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with draws from the uniform distribution over [a, b)."""
    draws = generator or default_generator
    return _set(tensor, a + (b - a) * draws.uniform(tensor._array.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with draws from the normal distribution."""
    draws = generator or default_generator
    return _set(tensor, mean + std * draws.normal(tensor._array.shape))


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
            if isinstance(param, bool) or not isinstance(param, (int, float, type(None))):
                raise ValueError(f"negative_slope {param} not a valid number")
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


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill by He et al. (2015) from a uniform distribution."""
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(max(_fan(tensor, mode), 1))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill by He et al. (2015) from a normal distribution."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(max(_fan(tensor, mode), 1)), generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill by Glorot and Bengio (2010) from a uniform distribution."""
    fan_in, fan_out = fan_in_and_out(tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill by Glorot and Bengio (2010) from a normal distribution."""
    fan_in, fan_out = fan_in_and_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with draws from the normal distribution that lie in [a, b]; others are drawn again."""
    draws = generator or default_generator
    if a > b:
        raise ValueError(f"trunc_normal_: expected a <= b, given {a} and {b}")
    shape = tensor._array.shape
    values = mean + std * draws.normal(shape, np.float64)
    for _ in range(1000):
        outside = (values < a) | (values > b)
        count = int(outside.sum())
        if not count:
            break
        values[outside] = mean + std * draws.normal((count,), np.float64)
    else:  # almost nothing of the distribution lies within: take the nearest
        values = np.clip(values, a, b)
    return _set(tensor, values)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity; ValueError for other ranks."""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _set(tensor, np.eye(*tensor._array.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution's weight so that it hands on as many channels as it can."""
    shape = tensor._array.shape
    if len(shape) not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    values = np.zeros(shape)
    each = shape[0] // groups
    centre = tuple(n // 2 for n in shape[2:])
    for g in range(groups):
        for d in range(min(each, shape[1])):
            values[(g * each + d, d, *centre)] = 1
    return _set(tensor, values)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with a (semi-)orthogonal matrix, later dimensions taken together (Saxe et al., 2014)."""
    draws = generator or default_generator
    shape = tensor._array.shape
    if len(shape) < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if not tensor._array.size:
        return tensor
    rows, columns = shape[0], tensor._array.size // shape[0]
    flat = draws.normal((max(rows, columns), min(rows, columns)), np.float64)
    q, r = np.linalg.qr(flat)
    q *= np.sign(np.diag(r))  # makes the distribution uniform (Mezzadri, 2007)
    return _set(tensor, gain * (q if rows >= columns else q.T).reshape(shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fill a matrix with normal draws, a part of each column with 0 (Martens, 2010)."""
    draws = generator or default_generator
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor._array.shape
    values = std * draws.normal((rows, columns))
    for column in range(columns):
        values[draws.permutation(rows)[: math.ceil(sparsity * rows)], column] = 0
    return _set(tensor, values)


def _former(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function by its name from before, which had no underscore."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Tensor:
        message = f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`."
        warnings.warn(message, FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    return call


for _name in ("uniform", "normal", "constant", "eye", "dirac", "xavier_uniform", "xavier_normal", "kaiming_uniform",
              "kaiming_normal", "orthogonal", "sparse"):  # fmt: skip
    globals()[_name] = _former(_name, globals()[f"{_name}_"])
