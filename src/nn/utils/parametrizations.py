"""Parametrisations to register: weight and spectral normalisation, orthogonal matrices."""

from typing import Any

from ...eager.functions import call as _call
from ...eager.modes import no_grad
from ...eager.module import Module
from .. import init
from .orthogonal import orthogonal
from .parametrize import register_parametrization

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def norm_except(v: Any, dim: int | None) -> Any:
    """The Euclidean norms of the slices along one dimension, kept; of everything where it is None."""
    if dim is None or dim == -1:
        return v.square().sum().sqrt()
    others = tuple(d for d in range(v.ndim) if d != dim % v.ndim)
    return v.square().sum(others, keepdim=True).sqrt() if others else v.abs()


def unit(vector: Any, eps: float) -> Any:
    """The vector over its norm, which counts as `eps` at least."""
    return _call("normalize", vector, dim=0, eps=eps)


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Any) -> tuple[Any, Any]:
        """Magnitude and direction of a weight."""
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Learn a weight as magnitude times direction (Salimans and Kingma, 2016)."""
    return register_parametrization(module, name, _WeightNorm(dim))


class _SpectralNorm(Module):
    """Divides by an estimate of the largest singular value, improved by power iteration at each use in training."""

    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(f"Dimension out of range: expected -{weight.ndim} to {weight.ndim - 1}, got {dim}")
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % weight.ndim
        self.eps = eps
        self.n_power_iterations = n_power_iterations
        if weight.ndim > 1:
            with no_grad():
                matrix = self._matrix(weight)
                self.register_buffer("_u", unit(init.normal_(matrix.new_empty(matrix.shape[0])), eps))
                self.register_buffer("_v", unit(init.normal_(matrix.new_empty(matrix.shape[1])), eps))
                self._iterate(matrix, 15)

    def _matrix(self, weight: Any) -> Any:
        moved = weight if self.dim == 0 else weight.movedim(self.dim, 0)
        return moved.reshape(moved.shape[0], -1)

    def _iterate(self, matrix: Any, count: int) -> None:
        for _ in range(count):
            self._u.copy_(unit(matrix @ self._v, self.eps))
            self._v.copy_(unit(matrix.mT @ self._u, self.eps))

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return unit(weight, self.eps)
        matrix = self._matrix(weight)
        if self.training:
            with no_grad():
                self._iterate(matrix.detach(), self.n_power_iterations)
        # Copies: backward needs them as they are, also after another forward.
        sigma = (self._u.clone() * (matrix @ self._v.clone())).sum()
        return weight / sigma

    def right_inverse(self, value: Any) -> Any:
        """A value of which one hopes that its norm is 1."""
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Keep the largest singular value of a weight near 1 (Miyato et al., 2018)."""
    weight = getattr(module, name, None)
    if weight is None:
        raise ValueError(f"Module '{type(module).__name__}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
