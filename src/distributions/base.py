"""What all distributions have: shapes, draws without gradients, checks of parameters; and `Independent`."""

from collections.abc import Callable, Mapping
from typing import Any

from ..eager import Size, Tensor, namespaces, no_grad
from ..eager.creation import as_tensor

__all__ = ["Distribution", "Independent", "function", "together"]


def function(name: str) -> Callable[..., Any]:
    """A public function of tensors by name."""
    found: Callable[..., Any] = namespaces[""][name]
    return found


def together(*values: Any) -> list[Tensor]:
    """Parameters as tensors of one shape and, for numbers, of the dtype and device of the tensors beside them."""
    dtype, place = next(((v.dtype, v.device) for v in values if isinstance(v, Tensor)), (None, None))
    tensors = [v if isinstance(v, Tensor) else as_tensor(float(v), dtype=dtype, device=place) for v in values]
    return list(function("broadcast_tensors")(*tensors))


class Distribution:
    """A distribution: `batch_shape` of independent ones, each of values of `event_shape`.

    A subclass has `rsample` (draws that gradients flow through) or `sample`, `log_prob`, and what else it can tell.
    `constraints` are conditions on its parameters by name: a description, and a function that gives where it holds.
    """

    has_rsample = False
    constraints: Mapping[str, tuple[str, Callable[[Any], Any]]] = {}

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self.batch_shape, self.event_shape = Size(batch_shape), Size(event_shape)
        self._validates = validate_args is not False
        if self._validates:
            for name, (wanted, holds) in self.constraints.items():
                value = self.__dict__.get(name)
                if isinstance(value, Tensor) and not bool(holds(value.detach()).all()):
                    raise ValueError(
                        f"Expected parameter {name} of distribution {type(self).__name__} to be {wanted}, found {value}"
                    )

    def _shape(self, sample_shape: Any) -> tuple[int, ...]:
        """The shape of draws."""
        return (*Size(sample_shape), *self.batch_shape, *self.event_shape)

    def _without(self, what: str) -> NotImplementedError:
        """The error for what this distribution does not have, or not in closed form."""
        return NotImplementedError(f"{type(self).__name__} has no {what} here")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + event_shape`, which no gradient flows through."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws as a function of the parameters, which gradients flow through (Kingma and Welling, 2014)."""
        raise NotImplementedError(f"{type(self).__name__} has no draws that gradients flow through; use sample()")

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density, or of the probability, of a value."""
        raise self._without("log_prob")

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        raise self._without("entropy")

    def perplexity(self) -> Tensor:
        """The exponential of the entropy."""
        return self.entropy().exp()

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise self._without("mean")

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        raise self._without("variance")

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.variance.sqrt()

    def cdf(self, value: Any) -> Tensor:
        """The probability of a value that is not greater."""
        raise self._without("cdf")

    def icdf(self, value: Any) -> Tensor:
        """The value that `cdf` gives this probability."""
        raise self._without("icdf")

    def __repr__(self) -> str:
        shown = {name: self.__dict__[name] for name in self.constraints if name in self.__dict__}
        parts = [f"{name}: {v if v.numel() == 1 else v.shape}" for name, v in shown.items() if isinstance(v, Tensor)]
        return f"{type(self).__name__}({', '.join(parts)})"


class Independent(Distribution):
    """A distribution whose last batch dimensions count as dimensions of its values: densities are summed over them.

    >>> normal = ingot.distributions.Normal(ingot.zeros(3), ingot.ones(3))
    >>> ingot.distributions.Independent(normal, 1).log_prob(ingot.zeros(3)).shape
    ingot.Size([])
    """

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        base, moved = base_distribution, reinterpreted_batch_ndims
        if moved > len(base.batch_shape):
            raise ValueError(
                f"Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual {moved} vs "
                f"{len(base.batch_shape)}"
            )
        self.base_dist, self.reinterpreted_batch_ndims = base, moved
        self.has_rsample = base.has_rsample
        split = len(base.batch_shape) - moved
        super().__init__(base.batch_shape[:split], (*base.batch_shape[split:], *base.event_shape), validate_args)

    def _summed(self, x: Tensor) -> Tensor:
        dims = tuple(range(-self.reinterpreted_batch_ndims, 0))
        return x.sum(dims) if dims else x

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of the distribution inside."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of the distribution inside, which gradients flow through."""
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Any) -> Tensor:
        """The sum of the logarithms of the densities."""
        return self._summed(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        """The sum of the entropies."""
        return self._summed(self.base_dist.entropy())

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """The variance of each element."""
        return self.base_dist.variance
