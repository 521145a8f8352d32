"""Distributions against SciPy's: densities, entropies, moments, quantiles; draws against moments; divergences."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import distributions as D

stats = pytest.importorskip("scipy.stats", reason="SciPy's distributions are what these are compared with")

LOC, SCALE = np.array([0.5, -1.0, 2.0]), np.array([[0.7], [1.6]])
PROBS = np.array([[0.2, 0.5, 0.3], [0.05, 0.05, 0.9]])
COVARIANCE = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 1.5]])
T = ingot.tensor

CONTINUOUS: dict[str, tuple[Any, Any]] = {
    "normal": (lambda: D.Normal(T(LOC), T(SCALE)), stats.norm(LOC, SCALE)),
    "log-normal": (lambda: D.LogNormal(T(LOC), T(SCALE)), stats.lognorm(SCALE, scale=np.exp(LOC))),
    "laplace": (lambda: D.Laplace(T(LOC), T(SCALE)), stats.laplace(LOC, SCALE)),
    "cauchy": (lambda: D.Cauchy(T(LOC), T(SCALE)), stats.cauchy(LOC, SCALE)),
    "gumbel": (lambda: D.Gumbel(T(LOC), T(SCALE)), stats.gumbel_r(LOC, SCALE)),
    "uniform": (lambda: D.Uniform(T(LOC), T(LOC + SCALE)), stats.uniform(LOC, SCALE)),
    "exponential": (lambda: D.Exponential(T(SCALE)), stats.expon(scale=1 / SCALE)),
}
DISCRETE: dict[str, tuple[Any, Any]] = {
    "bernoulli": (lambda: D.Bernoulli(T(PROBS)), stats.bernoulli(PROBS)),
    "geometric": (lambda: D.Geometric(T(PROBS)), stats.geom(PROBS, -1)),
    "poisson": (lambda: D.Poisson(T(SCALE)), stats.poisson(SCALE)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_distributions_are_those_of_scipy(name: str) -> None:
    make, reference = CONTINUOUS[name]
    distribution = make()
    share = np.array([0.02, 0.3, 0.9])
    values = reference.ppf(share)
    np.testing.assert_allclose(distribution.icdf(T(share)).numpy(), values, 1e-9)
    np.testing.assert_allclose(distribution.cdf(T(values)).numpy(), np.broadcast_to(share, values.shape), 1e-9)
    np.testing.assert_allclose(distribution.log_prob(T(values)).numpy(), reference.logpdf(values), 1e-9)
    entropy = np.broadcast_to(reference.entropy(), distribution.batch_shape)
    np.testing.assert_allclose(distribution.entropy().numpy(), entropy, 1e-9)
    check_moments(distribution, reference, has_moments=name != "cauchy")


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_distributions_are_those_of_scipy(name: str) -> None:
    make, reference = DISCRETE[name]
    distribution = make()
    for value in (0.0, 1.0):
        np.testing.assert_allclose(distribution.log_prob(T(value)).numpy(), reference.logpmf(value), 1e-6)
    if name != "poisson":
        np.testing.assert_allclose(distribution.entropy().numpy(), reference.entropy(), 1e-6)
    check_moments(distribution, reference, has_moments=True)


def check_moments(distribution: Any, reference: Any, has_moments: bool) -> None:
    ingot.manual_seed(0)
    draws = distribution.sample((5000,))
    assert draws.shape == (5000, *distribution.batch_shape)
    shares = np.asarray(reference.cdf(draws.numpy()))
    assert shares.min(0).max() + 0.5 > 0.02 and shares.max() > 0.9  # they spread over the distribution
    if has_moments:
        shape = distribution.batch_shape
        np.testing.assert_allclose(distribution.mean.numpy(), np.broadcast_to(reference.mean(), shape), 1e-9)
        np.testing.assert_allclose(distribution.variance.numpy(), np.broadcast_to(reference.var(), shape), 1e-9)
        error = (draws.mean(0) - distribution.mean) / (distribution.variance / 5000).sqrt()
        assert error.abs().max() < 5


def test_gradients_flow_through_draws() -> None:
    loc = ingot.zeros(2, requires_grad=True)
    scale = ingot.ones(2, requires_grad=True)
    D.Normal(loc, scale).rsample((3,)).sum().backward()
    assert loc.grad.tolist() == [3.0, 3.0]
    assert scale.grad is not None
    assert not D.Normal(loc, scale).sample().requires_grad
    with pytest.raises(NotImplementedError, match="use sample"):
        D.Bernoulli(ingot.tensor(0.5)).rsample()


def test_classes() -> None:
    ingot.manual_seed(1)
    distribution = D.Categorical(T(PROBS * 7))
    draws = distribution.sample((4000,))
    assert draws.shape == (4000, 2) and draws.dtype is ingot.int64
    shares = np.stack([np.bincount(draws[:, row].numpy(), minlength=3) / 4000 for row in range(2)])
    np.testing.assert_allclose(shares, PROBS, atol=0.03)
    np.testing.assert_allclose(distribution.log_prob(T([1, 2])).numpy(), np.log([0.5, 0.9]), 1e-9)
    np.testing.assert_allclose(distribution.entropy().numpy(), stats.entropy(PROBS, axis=1), 1e-9)
    np.testing.assert_allclose(D.Categorical(logits=T(np.log(PROBS))).probs.numpy(), PROBS, 1e-9)
    assert distribution.enumerate_support().tolist() == [[0, 0], [1, 1], [2, 2]]
    hot = D.OneHotCategorical(T(PROBS))
    assert hot.event_shape == (3,) and hot.sample((2,)).sum(-1).tolist() == [[1, 1], [1, 1]]
    assert hot.log_prob(hot.mode).exp().tolist() == pytest.approx([0.5, 0.9])


def test_vectors() -> None:
    for options in (
        {"covariance_matrix": T(COVARIANCE)},
        {"precision_matrix": T(np.linalg.inv(COVARIANCE))},
        {"scale_tril": T(np.linalg.cholesky(COVARIANCE))},
    ):
        distribution = D.MultivariateNormal(T(LOC), **options)
        reference = stats.multivariate_normal(LOC, COVARIANCE)
        values = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
        np.testing.assert_allclose(distribution.log_prob(T(values)).numpy(), reference.logpdf(values), 1e-9)
        np.testing.assert_allclose(float(distribution.entropy()), reference.entropy(), 1e-9)
    ingot.manual_seed(0)
    draws = distribution.sample((4000,)).numpy()
    np.testing.assert_allclose(np.cov(draws.T), COVARIANCE, atol=0.15)
    with pytest.raises(ValueError, match="Exactly one of covariance_matrix"):
        D.MultivariateNormal(T(LOC))


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (lambda: D.Normal(T(LOC), T(SCALE)), lambda: D.Normal(T(0.3), T(1.1))),
        (lambda: D.Laplace(T(LOC), T(SCALE)), lambda: D.Laplace(T(0.3), T(1.1))),
        (lambda: D.Exponential(T(SCALE)), lambda: D.Exponential(T(0.4))),
        (lambda: D.Uniform(T(LOC), T(LOC + SCALE)), lambda: D.Uniform(T(-5.0), T(9.0))),
        (lambda: D.Bernoulli(T(PROBS)), lambda: D.Bernoulli(T(0.4))),
        (lambda: D.Geometric(T(PROBS)), lambda: D.Geometric(T(0.4))),
        (lambda: D.Poisson(T(SCALE)), lambda: D.Poisson(T(0.4))),
    ],
    ids=["normal", "laplace", "exponential", "uniform", "bernoulli", "geometric", "poisson"],
)
def test_a_divergence_is_the_mean_difference_of_logarithms(p: Any, q: Any) -> None:
    one, other = p(), q()
    ingot.manual_seed(2)
    draws = one.sample((20000,))
    differences = one.log_prob(draws) - other.log_prob(draws)
    error = (differences.std(0) / 20000**0.5).clamp(min=1e-6)
    assert ((differences.mean(0) - D.kl_divergence(one, other)) / error).abs().max() < 5


def test_dimensions_of_the_batch_become_those_of_values() -> None:
    normal = D.Normal(T(LOC), T(SCALE))
    together = D.Independent(normal, 1)
    assert (together.batch_shape, together.event_shape) == ((2,), (3,))
    value = ingot.zeros(2, 3)
    assert ingot.allclose(together.log_prob(value), normal.log_prob(value).sum(-1))
    assert D.kl_divergence(together, together).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="actual 3 vs 2"):
        D.Independent(normal, 3)
    with pytest.raises(NotImplementedError, match="p type Normal and q type Poisson"):
        D.kl_divergence(normal, D.Poisson(T(1.0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: D.Normal(0.0, -1.0), "parameter scale of distribution Normal to be greater than 0, found -1.0"),
        (lambda: D.Bernoulli(1.5), "probs of distribution Bernoulli to be between 0 and 1"),
        (lambda: D.Bernoulli(), "Either `probs` or `logits` must be specified, but not both"),
        (lambda: D.Uniform(1.0, 0.0), "Uniform is not defined when low>= high"),
        (lambda: D.Categorical(T([-1.0, 1.0])), "Categorical to be at least 0"),
        (lambda: D.Categorical(T(1.0)), "at least one-dimensional"),
    ],
)
def test_parameters_that_make_no_distribution(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
