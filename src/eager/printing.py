"""How tensors print: numbers aligned, four digits, long dimensions cut short."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.dtypes import as_dtype, default_dtype
from .device import host_array, is_host

__all__ = ["set_printoptions", "tensor_repr"]


@dataclass
class _Options:
    precision: int = 4
    threshold: int = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()


def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print; `profile` is "default", "short" (2 digits) or "full" (nothing cut)."""
    global _options
    if profile is not None:
        profiles = {
            "default": _Options(),
            "short": _Options(precision=2, edgeitems=2),
            "full": _Options(threshold=2**62),
        }
        if profile not in profiles:
            raise ValueError(f"set_printoptions: profile must be one of {', '.join(profiles)}, given {profile!r}")
        _options = profiles[profile]
    for name, value in (
        ("precision", precision),
        ("threshold", threshold),
        ("edgeitems", edgeitems),
        ("linewidth", linewidth),
    ):
        if value is not None:
            setattr(_options, name, int(value))
    if sci_mode is not None or profile is None:
        _options.sci_mode = sci_mode


class _Formatter:
    """Formats every element of a tensor to one width, which the finite elements that are not 0 decide."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.kind = array.dtype.kind
        self.integral = True
        self.scientific = False
        self.width = 1
        if self.kind == "c":
            self.parts = _Formatter(array.real), _Formatter(array.imag)
            return
        if self.kind != "f":
            self.width = max((len(self._text(v)) for v in array.ravel().tolist()), default=0)
            return
        values = array[np.isfinite(array) & (array != 0)].astype(np.float64)
        if not values.size:
            return
        sizes = np.abs(values)
        low, high = float(sizes.min()), float(sizes.max())
        self.integral = bool(np.all(np.ceil(values) == values))
        self.scientific = high / low > 1000.0 or high > 1.0e8 or (not self.integral and low < 1.0e-4)
        if _options.sci_mode is not None:
            self.scientific = _options.sci_mode
        self.width = max(len(self._text(v)) for v in values.tolist())

    def _text(self, value: Any) -> str:
        if self.kind != "f":
            return str(value)
        if self.scientific:
            return f"{value:.{_options.precision}e}"
        if self.integral:
            return f"{value:.0f}." if math.isfinite(value) else str(value)
        return f"{value:.{_options.precision}f}"

    def format(self, value: Any) -> str:
        if self.kind != "c":
            return self._text(value).rjust(self.width)
        real, imaginary = (part.format(v) for part, v in zip(self.parts, (value.real, value.imag), strict=True))
        sign = "" if value.imag < 0 else "+"
        return f"{real}{sign}{imaginary.lstrip()}j"

    @property
    def columns(self) -> int:
        """The characters of one element."""
        return self.width if self.kind != "c" else sum(part.width for part in self.parts) + 1


def _cut(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that will be shown, to format them to one width."""
    edge = _options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * edge:
            first = np.take(array, range(edge), axis)
            last = np.take(array, range(size - edge, size), axis)
            array = np.concatenate([first, last], axis)
    return array


def _lines(array: np.ndarray[Any, Any], formatter: _Formatter, indent: int, summarize: bool) -> str:
    edge = _options.edgeitems
    if array.ndim == 0:
        return formatter.format(array.item())
    cut = summarize and array.shape[0] > 2 * edge
    if array.ndim == 1:
        values = array.tolist()
        if cut:
            items = [formatter.format(v) for v in values[:edge]] + [" ..."]
            items += [formatter.format(v) for v in values[-edge:]]
        else:
            items = [formatter.format(v) for v in values]
        per_line = max(1, (_options.linewidth - indent) // (formatter.columns + 2))
        rows = [items[i : i + per_line] for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(", ".join(row) for row in rows) + "]"
    slices = [
        _lines(array[i], formatter, indent + 1, summarize)
        for i in ([*range(edge), *range(array.shape[0] - edge, array.shape[0])] if cut else range(array.shape[0]))
    ]
    if cut:
        slices.insert(edge, "...")
    separator = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return "[" + separator.join(slices) + "]"


def tensor_repr(tensor: Any) -> str:
    """The text of a tensor, as `tensor([1., 2.], requires_grad=True)`."""
    array = host_array(tensor._array)
    if array.dtype.kind == "V":  # bfloat16
        array = array.astype(np.float32)
    prefix = "Parameter containing:\ntensor(" if type(tensor).__name__ == "Parameter" else "tensor("
    summarize = array.size > _options.threshold
    suffixes = []
    if array.size == 0:
        body = "[]"
        if array.ndim != 1:
            suffixes.append(f"size={tuple(array.shape)}")
    else:
        body = _lines(array, _Formatter(_cut(array) if summarize else array), len("tensor("), summarize)
    if not is_host(tensor._array):
        suffixes.append(f"device='{tensor.device}'")
    dtype = tensor.dtype
    usual = dtype in (default_dtype(), as_dtype(complex)) or (dtype.name in ("int64", "bool") and array.size)
    if not usual:
        suffixes.append(f"dtype={dtype!r}")
    if tensor.grad_fn is not None:
        suffixes.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + body, suffixes) + ")"


def _with_suffixes(text: str, suffixes: list[str]) -> str:
    """The text with what is said of the tensor after it, on new lines where one is full."""
    indent = len("tensor(")
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return text
