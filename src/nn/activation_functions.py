"""Activations that may overwrite their input."""

from collections.abc import Callable
from typing import Any

from ..eager.functions import call as _call
from ..eager.inplace import write
from ..eager.tensor import Tensor

__all__ = [
    "celu", "celu_", "elu", "elu_", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_",
    "mish", "relu", "relu6", "relu_", "rrelu_", "selu", "selu_", "silu", "threshold", "threshold_",
]  # fmt: skip


def _applied(name: str, input: Any, inplace: bool, *options: Any) -> Tensor:
    if not inplace:
        return _call(name, input, *options)  # type: ignore[no-any-return]
    # Of a copy: the derivative needs the input as it was.
    return write(input, _call(name, input.clone(), *options), f"{name}_")


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Elementwise max(x, 0); NaN stays NaN.

    >>> ingot.nn.functional.relu(ingot.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return input.relu_() if inplace else _call("relu", input)  # type: ignore[attr-defined,no-any-return]


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Elementwise x where x > 0, else negative_slope * x."""
    return _applied("leaky_relu", input, inplace, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Elementwise x where x > 0, else alpha * (e**x - 1)."""
    return _applied("elu", input, inplace, alpha)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Elementwise max(0, x) + min(0, alpha * (e**(x / alpha) - 1)) (Barron, 2017)."""
    return _applied("celu", input, inplace, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Elementwise scaled ELU (Klambauer et al., 2017)."""
    return _applied("selu", input, inplace)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Elementwise x * sigmoid(x)."""
    return _applied("silu", input, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Elementwise x * tanh(softplus(x)) (Misra, 2019)."""
    return _applied("mish", input, inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Elementwise min(max(x, 0), 6)."""
    return _applied("relu6", input, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Elementwise x cut off at min_val and max_val."""
    return _applied("hardtanh", input, inplace, min_val, max_val)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Elementwise min(max(x + 3, 0), 6) / 6."""
    return _applied("hardsigmoid", input, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Elementwise x * hardsigmoid(x) (Howard et al., 2019)."""
    return _applied("hardswish", input, inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Elementwise x where x > threshold, else value."""
    return _applied("threshold", input, inplace, threshold, value)


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The form of an activation that overwrites its input."""

    def overwriting(input: Tensor, *options: Any, **named: Any) -> Tensor:
        return function(input, *options, **named, inplace=True)

    overwriting.__name__ = overwriting.__qualname__ = f"{function.__name__}_"
    overwriting.__doc__ = f"`{function.__name__}` in place."
    return overwriting


def rrelu_(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """`rrelu` in place."""
    from .layer_functions import rrelu

    return rrelu(input, lower, upper, training, True)


relu_, leaky_relu_, elu_, celu_ = _in_place(relu), _in_place(leaky_relu), _in_place(elu), _in_place(celu)
selu_, hardtanh_, threshold_ = _in_place(selu), _in_place(hardtanh), _in_place(threshold)
