"""Special functions, as `torch.special`: ops whose record says "special", and others by the names they have there."""

import math
from typing import Any

from .eager import namespaces as _namespaces
from .eager.families import with_out as _with_out
from .eager.functions import call as _call
from .eager.tensor import Tensor

globals().update(_namespaces["special"])

# By the name in this module, the public function that it is.
_SAME = {
    "digamma": "digamma", "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "exp2": "exp2", "expit": "sigmoid",
    "expm1": "expm1", "gammaln": "lgamma", "log1p": "log1p", "log_softmax": "log_softmax", "logsumexp": "logsumexp",
    "psi": "digamma", "round": "round", "softmax": "softmax", "xlogy": "xlogy",
}  # fmt: skip
for _name, _source in _SAME.items():
    globals()[_name] = _namespaces[""][_source]


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma.

    >>> ingot.special.polygamma(1, ingot.tensor([1.]))
    tensor([1.6449])
    """
    return _call("digamma", input) if n == 0 else _call("polygamma", input, order=n)  # type: ignore[no-any-return]


def multigammaln(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p.

    >>> ingot.special.multigammaln(ingot.tensor([2.]), 1)
    tensor([0.])
    """
    if p < 1:
        raise RuntimeError(f"mvlgamma: p has to be greater than or equal to 1, given {p}")
    total: Any = p * (p - 1) / 4 * math.log(math.pi)
    for k in range(p):
        total = _call("add", _call("lgamma", _call("sub", input, k / 2)), total)
    return total  # type: ignore[no-any-return]


polygamma, multigammaln = _with_out(polygamma), _with_out(multigammaln)
__all__ = sorted({*_namespaces["special"], *_SAME, "multigammaln", "polygamma"})
