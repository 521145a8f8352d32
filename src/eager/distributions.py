"""Draws from distributions: functions that take a generator, and methods that fill a tensor."""

import functools
import math
from collections.abc import Callable
from typing import Any

from ..ir.ops._op import get_op
from .functions import call as _call
from .functions import make_function
from .inplace import write
from .placement import beside
from .random import drawing_from, rand, randn
from .tensor import Tensor

FUNCTIONS = ("bernoulli", "multinomial", "poisson")
METHODS = (*FUNCTIONS[:2], "cauchy_", "exponential_", "geometric_", "log_normal_")

__all__ = ["FUNCTIONS", "METHODS", "poisson", *METHODS]


def _with_generator(name: str) -> Callable[..., Any]:
    """The public function of an op that draws, with `generator=` for the stream to draw from."""
    function = make_function(get_op(name))

    @functools.wraps(function)
    def draw(*args: Any, generator: Any = None, **kwargs: Any) -> Any:
        with drawing_from(generator):
            return function(*args, **kwargs)

    return draw


bernoulli, multinomial, poisson = map(_with_generator, FUNCTIONS)


@beside
def _uniform(self: Tensor, generator: Any) -> Any:
    """Numbers in (0, 1], in 64 bits."""
    draws: Any = rand(tuple(self.shape), dtype="float64", generator=generator)
    return 1.0 - draws


def _require(self: Tensor, name: str, integers: bool = False) -> None:
    if self.dtype.is_complex or (not integers and not self.dtype.is_floating_point):
        raise NotImplementedError(f"{name}: expected a floating-point tensor, given {self.dtype.name}")


def _fill(self: Tensor, draws: Any, name: str) -> Tensor:
    return write(self, _call("cast", draws, dtype=self.dtype), name, fresh=True)


def exponential_(self: Tensor, lambd: float = 1, *, generator: Any = None) -> Tensor:
    """Fill with numbers from the exponential distribution of rate `lambd`; returns the tensor.

    >>> bool((ingot.empty(9).exponential_() >= 0).all())
    True
    """
    _require(self, "exponential_")
    if not lambd > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _fill(self, _uniform(self, generator).log() * (-1.0 / lambd), "exponential_")


def cauchy_(self: Tensor, median: float = 0, sigma: float = 1, *, generator: Any = None) -> Tensor:
    """Fill with numbers from the Cauchy distribution; returns the tensor.

    >>> ingot.empty(2).cauchy_().shape
    ingot.Size([2])
    """
    _require(self, "cauchy_")
    if not sigma > 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return _fill(self, ((_uniform(self, generator) - 0.5) * math.pi).tan() * sigma + median, "cauchy_")


@beside
def log_normal_(self: Tensor, mean: float = 1, std: float = 2, *, generator: Any = None) -> Tensor:
    """Fill with numbers whose logarithms are normally distributed; returns the tensor.

    >>> bool((ingot.empty(9).log_normal_() > 0).all())
    True
    """
    _require(self, "log_normal_")
    if not std > 0.0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    draws: Any = randn(tuple(self.shape), dtype="float64", generator=generator)
    return _fill(self, (draws * std + mean).exp(), "log_normal_")


def geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Fill with the numbers of trials up to the first success of probability `p`; returns the tensor.

    >>> bool((ingot.empty(9).geometric_(0.5) >= 1).all())
    True
    """
    _require(self, "geometric_", integers=True)
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _fill(self, (_uniform(self, generator).log() / math.log1p(-p)).ceil().clamp(min=1), "geometric_")
