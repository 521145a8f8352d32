"""Comparison of tensors in tests, as `torch.testing`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..eager import Tensor
from ..eager.creation import as_tensor
from ..ir.dtypes import DType, promote

__all__ = ["assert_close"]

# The tolerances that PyTorch's documentation states, relative and absolute, by dtype.
_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """AssertionError where values differ by more than `atol + rtol * |expected|`, or in dtype or shape.

    Numbers, tensors, arrays, and sequences and mappings of them are compared; the tolerances depend on the dtype where
    none are given (give both or none). ValueError, TypeError for what cannot be compared.

    >>> ingot.testing.assert_close(ingot.tensor([1.0]), ingot.tensor([1.0 + 1e-7]))
    >>> ingot.testing.assert_close(ingot.ones(2), ingot.zeros(2), rtol=0.0, atol=1.0)
    """
    if (rtol is None) != (atol is None):
        raise ValueError(f"rtol and atol must both be specified or both be unspecified, but got {rtol=} and {atol=}.")
    problem = _difference(actual, expected, rtol, atol, equal_nan, check_dtype, check_stride, "")
    if problem:
        raise AssertionError(problem if msg is None else msg(problem) if callable(msg) else msg)


def _difference(
    actual: Any,
    expected: Any,
    rtol: float | None,
    atol: float | None,
    equal_nan: bool,
    check_dtype: bool,
    check_stride: bool,
    where: str,
) -> str | None:
    """What is different, or None."""
    further = (rtol, atol, equal_nan, check_dtype, check_stride)
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if actual.keys() != expected.keys():
            return f"The keys of the mappings do not match: {sorted(actual)} and {sorted(expected)}{where}"
        pairs = [(actual[key], expected[key], f"[{key!r}]") for key in actual]
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            return f"The length of the sequences mismatch: {len(actual)} != {len(expected)}{where}"
        pairs = [(one, other, f"[{index}]") for index, (one, other) in enumerate(zip(actual, expected, strict=True))]
    else:
        return _tensor_difference(actual, expected, *further, where)
    for one, other, place in pairs:
        problem = _difference(one, other, *further, f"{where}{place}")
        if problem:
            return problem
    return None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _tensor_difference(
    actual: Any,
    expected: Any,
    rtol: float | None,
    atol: float | None,
    equal_nan: bool,
    check_dtype: bool,
    check_stride: bool,
    where: str,
) -> str | None:
    place = f"\n\nThe failure occurred for item {where}" if where else ""
    if actual is None and expected is None:
        return None
    try:
        a, b = (v if isinstance(v, Tensor) else as_tensor(v, dtype=_exact(v)) for v in (actual, expected))
    except (TypeError, ValueError, RuntimeError):
        if type(actual) is type(expected):
            return None if actual == expected else f"{actual!r} is not equal to {expected!r}{place}"
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}."
        ) from None
    numbers = not isinstance(actual, Tensor | np.ndarray) and not isinstance(expected, Tensor | np.ndarray)
    if a.shape != b.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}.{place}"
    if check_dtype and not numbers and a.dtype is not b.dtype:
        return f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}.{place}"
    if check_stride and a.stride() != b.stride():
        return f"The values for attribute 'stride()' do not match: {a.stride()} != {b.stride()}.{place}"
    dtype = promote(a.dtype, b.dtype)
    relative, absolute = _tolerances(dtype, rtol, atol, numbers)
    one, other = (np.asarray(t.detach().to(dtype)._array, _wide(dtype)) for t in (a, b))
    with np.errstate(all="ignore"):
        gap = np.abs(one - other)
        close = (one == other) | ((gap <= absolute + relative * np.abs(other)) & np.isfinite(other))
        if equal_nan:
            close |= np.isnan(one) & np.isnan(other)
        if bool(close.all()):
            return None
        share = gap / np.abs(other)
    return _report(close, gap, share, relative, absolute, numbers, one, other) + place


def _exact(value: Any) -> str | None:
    """The dtype that holds a Python number as it is."""
    return {float: "float64", complex: "complex128"}.get(type(value))


def _wide(dtype: DType) -> Any:
    """The numpy type in which differences are exact enough."""
    if dtype.is_complex:
        return np.complex128
    return np.float64 if dtype.is_floating_point else np.int64 if dtype.name != "uint64" else np.float64


def _tolerances(dtype: DType, rtol: float | None, atol: float | None, numbers: bool) -> tuple[float, float]:
    if rtol is not None and atol is not None:
        return rtol, atol
    if numbers and dtype.category >= 2:
        return _TOLERANCES["float64"]
    return _TOLERANCES.get(dtype.name, (0.0, 0.0))


def _report(
    close: Any, gap: Any, share: Any, relative: float, absolute: float, numbers: bool, one: Any, other: Any
) -> str:
    exact = relative == absolute == 0
    title = "equal" if exact else "close"
    if numbers:
        kind = "Booleans mismatch" if one.dtype == np.bool_ else f"Scalars are not {title}"
        lines = [f"{kind}!", "", f"Expected {other.item()} but got {one.item()}."]
        lines.append(f"Absolute difference: {float(gap)}{_allowed(absolute, exact)}")
        lines.append(f"Relative difference: {float(share)}{_allowed(relative, exact)}")
        return "\n".join(lines)
    wrong = int((~close).sum())
    lines = [
        f"Tensor-likes are not {title}!",
        "",
        f"Mismatched elements: {wrong} / {close.size} ({wrong / close.size:.1%})",
    ]
    for name, values, limit in (("absolute", gap, absolute), ("relative", share, relative)):
        counted = np.where(close, -1.0, np.where(np.isnan(values), np.inf, values))
        index = np.unravel_index(int(counted.argmax()), close.shape)
        at = f" at index {tuple(int(i) for i in index)}" if close.ndim else ""
        lines.append(f"Greatest {name} difference: {float(values[index])}{at}{_allowed(limit, exact)}")
    return "\n".join(lines)


def _allowed(limit: float, exact: bool) -> str:
    return "" if exact else f" (up to {limit} allowed)"
