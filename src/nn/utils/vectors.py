"""Parameters as one vector, and back."""

from collections.abc import Iterable
from typing import Any

from ...eager.functions import call as _call
from ...eager.modes import no_grad
from ...eager.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Any]) -> Tensor:
    """All parameters one after another as a vector."""
    return _call("cat", [p.reshape(-1) for p in parameters], 0)


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Write a vector back into the parameters; RuntimeError where the sizes do not add up."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected Tensor, but got: {type(vec).__name__}")
    targets = list(parameters)
    expected = sum(p.numel() for p in targets)
    if vec.ndim != 1 or vec.shape[0] != expected:
        raise RuntimeError(f"expected a vector of {expected} elements, given {list(vec.shape)}")
    position = 0
    values: Any = vec
    with no_grad():
        for p in targets:
            p.copy_(values[position : position + p.numel()].reshape(p.shape))
            position += p.numel()
