"""Probability distributions over tensors, as `torch.distributions`: draws, densities, entropies, divergences.

>>> ingot.distributions.Normal(0.0, 1.0).log_prob(ingot.tensor(0.0))
tensor(-0.9189)
"""

from .base import Distribution, Independent
from .continuous import Cauchy, Exponential, Gumbel, Laplace, LogNormal, MultivariateNormal, Normal, Uniform
from .discrete import Bernoulli, Categorical, Geometric, OneHotCategorical, Poisson
from .divergence import kl_divergence, register_kl

__all__ = [
    "Bernoulli", "Categorical", "Cauchy", "Distribution", "Exponential", "Geometric", "Gumbel", "Independent",
    "Laplace", "LogNormal", "MultivariateNormal", "Normal", "OneHotCategorical", "Poisson", "Uniform", "kl_divergence",
    "register_kl",
]  # fmt: skip
