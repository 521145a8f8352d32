"""Distributions of whole numbers and classes."""

from typing import Any

from ..eager import Tensor, no_grad
from ..eager.creation import arange
from ..eager.random import rand
from ..nn import functional
from .base import Distribution, function, together

__all__ = ["Bernoulli", "Categorical", "Geometric", "OneHotCategorical", "Poisson"]

PROBABILITY = ("between 0 and 1", lambda p: (p >= 0) & (p <= 1))


def _one_of(probs: Any, logits: Any) -> None:
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


def _inside(p: Tensor) -> Tensor:
    """Probabilities whose logarithms are finite."""
    epsilon = float(function("finfo")(p.dtype).eps)
    return p.clamp(epsilon, 1 - epsilon)


class _Binary(Distribution):
    """A distribution of one probability, given as such or by its log odds."""

    constraints = {"probs": PROBABILITY}  # noqa: RUF012

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        _one_of(probs, logits)
        if probs is not None:
            (self.probs,) = together(probs)
            self.logits = _inside(self.probs).logit()
        else:
            (self.logits,) = together(logits)
            self.probs = self.logits.sigmoid()
        super().__init__(self.probs.shape, (), validate_args)


class Bernoulli(_Binary):
    """1 with a probability, else 0."""

    @property
    def mean(self) -> Tensor:
        """The probability."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws."""
        with no_grad():
            draws: Tensor = function("bernoulli")(self.probs.expand(self._shape(sample_shape)))
            return draws

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the probability."""
        logits, value = together(self.logits, value)
        return -functional.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return functional.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")


class Geometric(_Binary):
    """How often an event of a probability fails to happen before it first does."""

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return 1 / self.probs - 1

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws."""
        with no_grad():
            uniform = 1 - rand(self._shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device)
            return (uniform.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the probability."""
        value, probs = together(value, self.probs)
        never = (value == 0) & (probs == 1)
        return value * (-probs.masked_fill(never, 0)).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return functional.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs


class Poisson(Distribution):
    """How often events of a rate happen."""

    constraints = {"rate": ("at least 0", lambda x: x >= 0)}  # noqa: RUF012

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = together(rate)
        super().__init__(self.rate.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        """The rate."""
        return self.rate

    @property
    def variance(self) -> Tensor:
        """The rate."""
        return self.rate

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws."""
        with no_grad():
            draws: Tensor = function("poisson")(self.rate.expand(self._shape(sample_shape)))
            return draws

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the probability."""
        rate, value = together(self.rate, value)
        result: Tensor = function("xlogy")(value, rate) - rate - (value + 1).lgamma()
        return result


class Categorical(Distribution):
    """A class from 0 on, with probabilities (or logits) along the last dimension, which need not sum to 1."""

    constraints = {"probs": PROBABILITY}  # noqa: RUF012

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        _one_of(probs, logits)
        given = probs if probs is not None else logits
        assert given is not None
        if given.ndim < 1:
            raise ValueError("`probs` or `logits` parameter must be at least one-dimensional.")
        if probs is not None:
            if validate_args is not False and not bool((probs.detach() >= 0).all()):
                raise ValueError(f"Expected parameter probs of distribution {type(self).__name__} to be at least 0")
            self.probs = probs / probs.sum(-1, keepdim=True)
            self.logits = _inside(self.probs).log()
        else:
            self.logits = given - given.logsumexp(-1, keepdim=True)
            self.probs = self.logits.exp()
        super().__init__(given.shape[:-1], (), validate_args)

    @property
    def mode(self) -> Tensor:
        """The likeliest class."""
        return self.probs.argmax(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, of int64."""
        shape = self._shape(sample_shape)
        count = 1
        for size in shape[: len(shape) - len(self.batch_shape)]:
            count *= size
        with no_grad():
            classes = self.probs.shape[-1]
            draws = function("multinomial")(self.probs.reshape(-1, classes), count, True)
            result: Tensor = draws.T.reshape(shape)
            return result

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of classes."""
        places = value.long().unsqueeze(-1)
        shape = function("broadcast_shapes")(tuple(places.shape[:-1]), tuple(self.batch_shape))
        logits = self.logits.expand(*shape, self.logits.shape[-1])
        return logits.gather(-1, places.expand(*shape, 1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        least = float(function("finfo")(self.logits.dtype).min)
        return -(self.logits.clamp(min=least) * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All classes, along a new first dimension."""
        classes = self.probs.shape[-1]
        values = arange(classes, device=self.probs.device).view(-1, *(1,) * len(self.batch_shape))
        return values.expand(classes, *self.batch_shape) if expand else values


class OneHotCategorical(Categorical):
    """A class as a vector that is 1 at its place and 0 elsewhere."""

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(probs, logits, validate_args)
        self.event_shape = type(self.event_shape)(self.probs.shape[-1:])

    @property
    def mean(self) -> Tensor:
        """The probabilities."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The likeliest class, as a vector."""
        return functional.one_hot(self.probs.argmax(-1), self.probs.shape[-1]).to(self.probs.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of each element."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, of the dtype of the probabilities."""
        classes = self.probs.shape[-1]
        places = Categorical(self.probs, validate_args=False).sample(sample_shape)
        return functional.one_hot(places, classes).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of vectors."""
        return super().log_prob(value.argmax(-1))
