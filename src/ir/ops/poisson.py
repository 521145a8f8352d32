"""Draws from the Poisson distribution."""

from typing import Any

import numpy as np

from ..sizes import Sizes
from ..types import TensorType
from ._common import ints, randoms, require_tensor
from ._op import Custom, ErrorSample, Sample, Trait, define
from .random import uniform_array
from .special_functions import ndtri
from .special_pairs import _incomplete_gamma as incomplete_gamma


def _infer(sizes: Sizes, input: Any) -> TensorType:
    input = require_tensor("poisson", "input", input)
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"poisson: expected a floating-point tensor of rates, given {input}")
    return input


def _evaluate(xp: Any, input: Any) -> Any:
    """The least count k whose cumulative probability Q(k + 1, rate) is not below a uniform number, one per element.

    The search starts at the Cornish-Fisher expansion around the normal distribution (Johnson, Kemp and Kotz,
    "Univariate Discrete Distributions", 2005, section 4.5), which is off by a few counts at most.
    """
    rates = input.astype(np.float64)
    if not bool((rates >= 0).all()) or not bool(np.isfinite(rates).all()):
        raise RuntimeError("invalid Poisson rate, expected all rates to be non-negative and finite")
    uniform = uniform_array(xp, rates.shape, np.float64)
    positive = np.where(rates > 0, rates, 1.0)
    with np.errstate(all="ignore"):
        z = ndtri(np.clip(uniform, 1e-300, None))
        counts = np.maximum(np.floor(positive + np.sqrt(positive) * z + (z * z - 1) / 6), 0.0)
        while True:
            too_low = incomplete_gamma(counts + 1, positive, True) < uniform
            too_high = ~too_low & (counts > 0) & (incomplete_gamma(np.maximum(counts, 1), positive, True) >= uniform)
            if not bool((too_low | too_high).any()):
                break
            counts = counts + too_low - too_high
    return xp.asarray(np.where(rates > 0, counts, 0.0)).astype(input.dtype)


POISSON = define(
    "poisson(input: Tensor)",
    "Counts from the Poisson distribution with the rate that the input says, for each element; no gradient flows.\n\n"
    ">>> ingot.poisson(ingot.zeros(2))\n"
    "tensor([0., 0.])",
    infer=_infer,
    evaluate=_evaluate,
    vjp=lambda c, g, input: (None,),
    traits=(Trait.RANDOM,),
    lower=Custom("poisson"),
    public=("",),
    samples=lambda: [
        Sample((randoms(3, 4, low=0.0, high=9.0),), differentiable=False),
        Sample((np.array([0.0, 1e-3, 500.0, 2e4]),), differentiable=False),
        Sample((randoms(0, 2),), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((ints(3),), RuntimeError, "floating-point"),
        ErrorSample((randoms(3) - 9,), RuntimeError, "expected all rates to be non-negative"),
    ],
)
