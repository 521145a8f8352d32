"""Orthogonal polynomials of a degree given per element: Chebyshev, Hermite, Laguerre and Legendre."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType, float16
from ..sizes import Sizes
from ..types import TensorType
from ._common import broadcast_types, cast, floating, largest, promoted, promoted_array_dtype, randoms
from ._op import Elementwise, ErrorSample, Op, Sample, define

# Above so large a degree the recurrence would leave the range of doubles; PyTorch has the limit too.
_HERMITE_LIMIT = 512


def _recurrence(x: Any, degree: Any, first: Any, step: Callable[[Any, Any, int], Any]) -> Any:
    """The polynomial of each element's degree: 1, `first`, and then step(p_k, p_(k-1), k), which is p_(k+1)."""
    value = np.where(degree == 0, 1.0, 0.0)
    before, now = np.ones_like(x), first
    value = np.where(degree == 1, now, value)
    for k in range(1, int(largest(degree, None, False, 0))):
        before, now = now, step(now, before, k)
        value = np.where(degree == k + 1, now, value)
    return value


def _chebyshev(first: Callable[[Any], Any], shifted: bool) -> Callable[[Any, Any], Any]:
    """Those that share p_(k+1) = 2 x p_k - p_(k-1) (DLMF 18.9.2) and differ in p_1; `shifted` takes 2x - 1 for x."""

    def compute(x: Any, n: Any) -> Any:
        x = 2 * x - 1 if shifted else x
        return _recurrence(x, n, first(x), lambda p, q, k: 2 * x * p - q)

    return compute


def _hermite(x: Any, n: Any, probabilists: bool) -> Any:
    scale = 1 if probabilists else 2
    capped = np.minimum(n, _HERMITE_LIMIT)
    value = _recurrence(x, capped, scale * x, lambda p, q, k: scale * (x * p - k * q))
    return np.where(n > _HERMITE_LIMIT, np.nan, value)


def _laguerre(x: Any, n: Any) -> Any:
    return _recurrence(x, n, 1 - x, lambda p, q, k: ((2 * k + 1 - x) * p - k * q) / (k + 1))


def _legendre(x: Any, n: Any) -> Any:
    return _recurrence(x, n, x, lambda p, q, k: ((2 * k + 1) * x * p - k * q) / (k + 1))


def _computed(dtype: DType) -> DType:
    return floating(dtype)


def _polynomial(
    name: str, title: str, compute: Callable[[Any, Any], Any], values: str, places: str = "0.25, 0.5"
) -> Op:
    def infer(sizes: Sizes, input: Any, n: Any) -> TensorType:
        dtype = _computed(promoted((input, n)))
        if dtype.is_complex or dtype is float16:
            raise NotImplementedError(f"{name}: expected float32, float64 or integer tensors, given {input} and {n}")
        return broadcast_types(sizes, name, (input, n), dtype)

    def evaluate(xp: Any, input: Any, n: Any) -> Any:
        dtype = _computed(promoted_array_dtype((input, n)))
        x, degree = xp.broadcast_arrays(xp.asarray(input, np.float64), xp.asarray(n, np.float64))
        with np.errstate(all="ignore"):
            degree = np.trunc(np.where(np.isfinite(degree), degree, -1))
            value = np.where(degree < 0, 0.0, compute(x, degree))
            return cast(xp, xp.asarray(value), dtype)

    return define(
        f"{name}(input: Tensor | Scalar, n: Tensor | Scalar)",
        f"Elementwise {title} polynomial of degree `n`; 0 for a negative degree.\n\n"
        f">>> ingot.special.{name}(ingot.tensor([{places}]), 3)\n"
        f"tensor([{values}])",
        infer=infer,
        evaluate=evaluate,
        lower=Elementwise(f"{name}({{input}}, {{n}})"),
        public=("special",),
        samples=lambda: [
            Sample((randoms(3, 5, low=-1.5), np.array([0, 1, 2, 7, 12])), differentiable=False),
            Sample((randoms(2, 1, low=0.0, dtype="float64"), 5), differentiable=False),
            Sample((0.5, np.arange(-1, 4)), differentiable=False),
            Sample((np.array([1.0, -1.0, 0.0, np.nan], np.float32), 4), differentiable=False),
        ],
        errors=lambda: [
            ErrorSample((randoms(3), randoms(2)), RuntimeError, r"\[3\] and \[2\]"),
            ErrorSample((np.zeros(2, np.complex64), 1), NotImplementedError, "complex|c64"),
        ],
    )


for _prefix, _shifted, _values in (
    ("", False, {"t": "-0.6875, -1.0000", "u": "-0.8750, -1.0000", "v": "-0.1250, -1.0000", "w": "-1.6250, -1.0000"}),
    ("shifted_", True, {"t": "1., 1.", "u": "1., 4.", "v": "1., 1.", "w": "1., 7."}),
):
    for _kind, _first in (
        ("t", lambda x: x), ("u", lambda x: 2 * x), ("v", lambda x: 2 * x - 1), ("w", lambda x: 2 * x + 1)
    ):  # fmt: skip
        _polynomial(
            f"{_prefix}chebyshev_polynomial_{_kind}",
            f"{'shifted ' if _shifted else ''}Chebyshev {_kind.upper()}",
            _chebyshev(_first, _shifted),
            _values[_kind],
            "0.25, 1." if _shifted else "0.25, 0.5",
        )

HERMITE_H = _polynomial(
    "hermite_polynomial_h", "physicists' Hermite", lambda x, n: _hermite(x, n, False), "-2.8750, -5.0000"
)
HERMITE_HE = _polynomial(
    "hermite_polynomial_he", "probabilists' Hermite", lambda x, n: _hermite(x, n, True), "-0.7344, -1.3750"
)
LAGUERRE_L = _polynomial("laguerre_polynomial_l", "Laguerre", _laguerre, " 0.3411, -0.1458")
LEGENDRE_P = _polynomial("legendre_polynomial_p", "Legendre", _legendre, "-0.3359, -0.4375")
