"""Window functions, as `torch.signal.windows`: tapers of M points, symmetric or for periodic use.

The formulas are those of Harris, "On the use of windows for harmonic analysis with the discrete Fourier transform",
1978; Nuttall's coefficients are from "Some windows with very good sidelobe behavior", 1981.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..eager.device import as_device
from ..eager.memory_format import strided
from ..eager.placement import moved
from ..eager.tensor import Tensor, wrap
from ..ir.dtypes import as_dtype, default_dtype
from ..ir.ops.special_functions import modified_bessel

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann",
    "kaiser", "nuttall",
]  # fmt: skip


def _points(name: str, M: int, options: dict[str, Any]) -> None:
    """ValueError for arguments that no window takes."""
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if options.get("layout") not in (None, strided):
        raise ValueError(f"{name} is implemented for strided tensors only, got: {options['layout']}")
    if _dtype(options).name not in ("float32", "float64"):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {_dtype(options)}")


def _dtype(options: dict[str, Any]) -> Any:
    return default_dtype() if options.get("dtype") is None else as_dtype(options["dtype"])


def _finish(values: Any, options: dict[str, Any]) -> Tensor:
    unknown = options.keys() - {"dtype", "layout", "device", "requires_grad"}
    if unknown:
        raise TypeError(f"a window function got an unexpected keyword argument {sorted(unknown)[0]!r}")
    result = moved(wrap(np.asarray(values, _dtype(options).numpy)), as_device(options.get("device")))
    return result.requires_grad_() if options.get("requires_grad") else result


def _fractions(M: int, sym: bool) -> Any:
    """How far along the window each point is, from 0; to 1 at the last point of a symmetric one."""
    return np.arange(M) / max(M - 1 if sym else M, 1)


def general_cosine(M: int, *, a: Any, sym: bool = True, **options: Any) -> Tensor:
    """The sum of (-1)**i * a[i] * cos(2 pi i n / (M - 1)).

    >>> ingot.signal.windows.general_cosine(3, a=[0.5, 0.5])
    tensor([0., 1., 0.])
    """
    _points("general_cosine", M, options)
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    weights = list(a)
    if not weights:
        raise ValueError("Coefficients cannot be empty")
    if M == 1:
        return _finish([1.0], options)
    angle = 2 * np.pi * _fractions(M, sym)
    return _finish(sum((-1) ** i * float(w) * np.cos(i * angle) for i, w in enumerate(weights)), options)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """alpha - (1 - alpha) * cos(2 pi n / (M - 1)).

    >>> ingot.signal.windows.general_hamming(3, alpha=0.75)
    tensor([0.5000, 1.0000, 0.5000])
    """
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, **options)


def hamming(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """The Hamming window: `general_hamming` with alpha 0.54.

    >>> ingot.signal.windows.hamming(3)
    tensor([0.0800, 1.0000, 0.0800])
    """
    return general_hamming(M, sym=sym, **options)


def hann(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """The Hann window: `general_hamming` with alpha 0.5.

    >>> ingot.signal.windows.hann(4, sym=False)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return general_hamming(M, alpha=0.5, sym=sym, **options)


def blackman(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """The Blackman window: `general_cosine` of 0.42, 0.5, 0.08.

    >>> ingot.signal.windows.blackman(4, sym=False).abs().round(decimals=4)
    tensor([0.0000, 0.3400, 1.0000, 0.3400])
    """
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **options)


def nuttall(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """The minimum 4-term Blackman-Harris window according to Nuttall.

    >>> ingot.signal.windows.nuttall(3)
    tensor([3.6280e-04, 1.0000e+00, 3.6280e-04])
    """
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, **options)


def bartlett(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """The triangular window that is 0 at both ends.

    >>> ingot.signal.windows.bartlett(5)
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    _points("bartlett", M, options)
    if M == 1:
        return _finish([1.0], options)
    return _finish(1 - np.abs(2 * _fractions(M, sym) - 1), options)


def cosine(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Half a wave of the sine: sin(pi (n + 0.5) / M).

    >>> ingot.signal.windows.cosine(3)
    tensor([0.5000, 1.0000, 0.5000])
    """
    _points("cosine", M, options)
    return _finish(np.sin(np.pi * (np.arange(M) + 0.5) / (M if sym or M <= 1 else M + 1)), options)


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """exp(-|n - center| / tau); the center is the middle by default.

    >>> ingot.signal.windows.exponential(3)
    tensor([0.3679, 1.0000, 0.3679])
    """
    _points("exponential", M, options)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = (M if not sym and M > 1 else M - 1) / 2 if center is None else center
    return _finish(np.exp(-np.abs(np.arange(M) - middle) / tau), options)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """exp(-((n - middle) / std)**2 / 2).

    >>> ingot.signal.windows.gaussian(3)
    tensor([0.6065, 1.0000, 0.6065])
    """
    _points("gaussian", M, options)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    middle = (M if not sym and M > 1 else M - 1) / 2
    return _finish(np.exp(-(((np.arange(M) - middle) / std) ** 2) / 2), options)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, **options: Any) -> Tensor:
    """I0(beta * sqrt(1 - (2n / (M - 1) - 1)**2)) / I0(beta), with the modified Bessel function of order 0.

    >>> ingot.signal.windows.kaiser(3, beta=2.0)
    tensor([0.4387, 1.0000, 0.4387])
    """
    _points("kaiser", M, options)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    if M == 1:
        return _finish([1.0], options)
    inside = np.maximum(0.0, 1 - (2 * _fractions(M, sym) - 1) ** 2)
    value = modified_bessel(beta * np.sqrt(inside), 0) if M else inside
    return _finish(value / modified_bessel(np.float64(beta), 0), options)


# -- the older names, periodic unless told otherwise -------------------------------------------------------------------


def _length(name: str, window_length: int) -> int:
    if window_length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={window_length}")
    return window_length


def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """The Hann window, for periodic use by default.

    >>> ingot.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return hann(_length("hann_window", window_length), sym=not periodic, **options)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, **options: Any
) -> Tensor:
    """alpha - beta * cos(2 pi n / N), for periodic use by default.

    >>> ingot.hamming_window(4)
    tensor([0.0800, 0.5400, 1.0000, 0.5400])
    """
    return general_cosine(_length("hamming_window", window_length), a=[alpha, beta], sym=not periodic, **options)


def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """The Blackman window, for periodic use by default.

    >>> ingot.blackman_window(4).abs().round(decimals=4)
    tensor([0.0000, 0.3400, 1.0000, 0.3400])
    """
    return blackman(_length("blackman_window", window_length), sym=not periodic, **options)


def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """The triangular window, for periodic use by default.

    >>> ingot.bartlett_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return bartlett(_length("bartlett_window", window_length), sym=not periodic, **options)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any) -> Tensor:
    """The Kaiser window, for periodic use by default.

    >>> ingot.kaiser_window(4, beta=0.0)
    tensor([1., 1., 1., 1.])
    """
    return kaiser(_length("kaiser_window", window_length), beta=beta, sym=not periodic, **options)
