"""Distributions of real numbers and vectors."""

import math
from typing import Any

from ..eager import Tensor
from ..eager.random import rand, randn
from ..linalg import cholesky, inv, solve_triangular  # type: ignore[attr-defined]
from .base import Distribution, function, together

__all__ = ["Cauchy", "Exponential", "Gumbel", "Laplace", "LogNormal", "MultivariateNormal", "Normal", "Uniform"]

POSITIVE = ("greater than 0", lambda x: x > 0)
REAL = ("a real number", lambda x: x == x)
EULER = 0.57721566490153286  # Euler's constant


def _open_uniform(shape: Any, like: Tensor) -> Tensor:
    """Numbers in (0, 1): both ends left out, so that logarithms are finite."""
    tiny = float(function("finfo")(like.dtype).tiny)
    return rand(tuple(shape), dtype=like.dtype, device=like.device).clamp(min=tiny)


class _LocationScale(Distribution):
    """A distribution that is moved by `loc` and stretched by `scale`."""

    has_rsample = True
    constraints = {"loc": REAL, "scale": POSITIVE}  # noqa: RUF012

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = together(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)


class Normal(_LocationScale):
    """The normal distribution of mean `loc` and standard deviation `scale`."""

    @property
    def mean(self) -> Tensor:
        """`loc`."""
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        """The square of `scale`."""
        return self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that gradients flow through."""
        return self.loc + self.scale * randn(self._shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density."""
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - 0.5 * math.log(2 * math.pi)

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()

    def cdf(self, value: Any) -> Tensor:
        """The probability of a value that is not greater."""
        return 0.5 * (1 + ((value - self.loc) / (self.scale * math.sqrt(2))).erf())

    def icdf(self, value: Any) -> Tensor:
        """The value that `cdf` gives this probability."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)


class LogNormal(Normal):
    """The distribution of the exponential of a normal variable."""

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return (self.loc + self.scale**2 / 2).exp()

    @property
    def mode(self) -> Tensor:  # type: ignore[override]
        """Where the density is greatest."""
        return (self.loc - self.scale**2).exp()

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        return (self.scale**2).expm1() * (2 * self.loc + self.scale**2).exp()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that gradients flow through."""
        return super().rsample(sample_shape).exp()

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density."""
        return super().log_prob(value.log()) - value.log()

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return super().entropy() + self.loc

    def cdf(self, value: Any) -> Tensor:
        """The probability of a value that is not greater."""
        return super().cdf(value.log())

    def icdf(self, value: Any) -> Tensor:
        """The value that `cdf` gives this probability."""
        return super().icdf(value).exp()


class Laplace(_LocationScale):
    """The two-sided exponential distribution around `loc`."""

    @property
    def mean(self) -> Tensor:
        """`loc`."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        return 2 * self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that gradients flow through."""
        centred = _open_uniform(self._shape(sample_shape), self.loc) - 0.5
        return self.loc - self.scale * centred.sign() * (-2 * centred.abs()).log1p()

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density."""
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return 1 + (2 * self.scale).log()

    def cdf(self, value: Any) -> Tensor:
        """The probability of a value that is not greater."""
        distance = value - self.loc
        return 0.5 - 0.5 * distance.sign() * (-distance.abs() / self.scale).expm1()

    def icdf(self, value: Any) -> Tensor:
        """The value that `cdf` gives this probability."""
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()


class Cauchy(_LocationScale):
    """The Cauchy distribution, which has neither mean nor variance."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that gradients flow through."""
        return self.icdf(_open_uniform(self._shape(sample_shape), self.loc))

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density."""
        return -math.log(math.pi) - self.scale.log() - (((value - self.loc) / self.scale) ** 2).log1p()

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return math.log(4 * math.pi) + self.scale.log()

    def cdf(self, value: Any) -> Tensor:
        """The probability of a value that is not greater."""
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Any) -> Tensor:
        """The value that `cdf` gives this probability."""
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc


class Gumbel(_LocationScale):
    """The distribution of the greatest of many draws."""

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return self.loc + self.scale * EULER

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        return self.scale**2 * (math.pi**2 / 6)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that gradients flow through."""
        return self.icdf(_open_uniform(self._shape(sample_shape), self.loc))

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density."""
        y = (self.loc - value) / self.scale
        return y - y.exp() - self.scale.log()

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return self.scale.log() + (1 + EULER)

    def cdf(self, value: Any) -> Tensor:
        """The probability of a value that is not greater."""
        return (-((self.loc - value) / self.scale).exp()).exp()

    def icdf(self, value: Any) -> Tensor:
        """The value that `cdf` gives this probability."""
        return self.loc - self.scale * (-value.log()).log()


class Uniform(Distribution):
    """The uniform distribution on [low, high)."""

    has_rsample = True
    constraints = {"low": REAL, "high": REAL}  # noqa: RUF012

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = together(low, high)
        super().__init__(self.low.shape, (), validate_args)
        if self._validates and not bool((self.low < self.high).all()):
            raise ValueError("Uniform is not defined when low>= high")

    @property
    def mean(self) -> Tensor:
        """The middle."""
        return (self.low + self.high) / 2

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that gradients flow through."""
        draws: Any = rand(self._shape(sample_shape), dtype=self.low.dtype, device=self.low.device)
        return self.low + draws * (self.high - self.low)

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density; -inf outside."""
        inside = (value >= self.low) & (value < self.high)
        return inside.to(self.low.dtype).log() - (self.high - self.low).log()

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return (self.high - self.low).log()

    def cdf(self, value: Any) -> Tensor:
        """The probability of a value that is not greater."""
        return ((value - self.low) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, value: Any) -> Tensor:
        """The value that `cdf` gives this probability."""
        return value * (self.high - self.low) + self.low


class Exponential(Distribution):
    """The distribution of waiting times of a `rate`."""

    has_rsample = True
    constraints = {"rate": POSITIVE}  # noqa: RUF012

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = together(rate)
        super().__init__(self.rate.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return 1 / self.rate

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        return 1 / self.rate**2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that gradients flow through."""
        return -_open_uniform(self._shape(sample_shape), self.rate).log() / self.rate

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density."""
        return self.rate.log() - self.rate * value

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return 1 - self.rate.log()

    def cdf(self, value: Any) -> Tensor:
        """The probability of a value that is not greater."""
        return -(-self.rate * value).expm1()

    def icdf(self, value: Any) -> Tensor:
        """The value that `cdf` gives this probability."""
        return -(-value).log1p() / self.rate


class MultivariateNormal(Distribution):
    """The normal distribution of vectors, by its mean and one of covariance, precision or Cholesky factor."""

    has_rsample = True
    constraints = {"loc": REAL}  # noqa: RUF012

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = [m for m in (covariance_matrix, precision_matrix, scale_tril) if m is not None]
        if len(given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified, given "
                f"{len(given)}"
            )
        if loc.ndim < 1 or given[0].ndim < 2:
            raise ValueError(
                f"loc must be at least one-dimensional and the matrix two-dimensional, given {loc.ndim} and "
                f"{given[0].ndim} dimensions"
            )
        if scale_tril is not None:
            factor = scale_tril
        else:
            factor = cholesky(covariance_matrix if covariance_matrix is not None else inv(precision_matrix))
        size = loc.shape[-1]
        batch = function("broadcast_shapes")(tuple(factor.shape[:-2]), tuple(loc.shape[:-1]))
        self.loc = loc.expand(*batch, size)
        self.scale_tril = factor.expand(*batch, size, size)
        super().__init__(batch, (size,), validate_args)

    @property
    def mean(self) -> Tensor:
        """`loc`."""
        return self.loc

    mode = mean

    @property
    def covariance_matrix(self) -> Tensor:
        """The expected products of distances from the mean."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return inv(self.covariance_matrix)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        """The variance of each element."""
        return (self.scale_tril**2).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that gradients flow through."""
        draws = randn(self._shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self.scale_tril @ draws.unsqueeze(-1)).squeeze(-1)

    def _half_log_determinant(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density."""
        size = self.loc.shape[-1]
        distance = (value - self.loc).unsqueeze(-1)
        factor = self.scale_tril.expand(*distance.shape[:-2], size, size)
        scaled = solve_triangular(factor, distance, upper=False).squeeze(-1)
        return -0.5 * (size * math.log(2 * math.pi) + (scaled**2).sum(-1)) - self._half_log_determinant()

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        size = self.loc.shape[-1]
        return 0.5 * size * (1 + math.log(2 * math.pi)) + self._half_log_determinant()
