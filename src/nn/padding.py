"""Padding layers: constant, zero, reflected, replicated and circular borders in one to three dimensions."""

from typing import Any

from ..eager.tensor import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
    "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip


class _Pad(Module):
    _spatial = 0
    _mode = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        sides = 2 * self._spatial
        self.padding = (padding,) * sides if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != sides:
            raise ValueError(f"{type(self).__name__}: expected padding to be an int or {sides} ints, given {padding}")

    def forward(self, input: Tensor) -> Tensor:
        n = self._spatial
        if self._mode == "circular" and input.ndim not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input.ndim}D input)")
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Puts a border of one value around (N, C, L); `padding` is an int or 2, last side first."""

    _spatial = 1


class ConstantPad2d(_ConstantPad):
    """Puts a border of one value around (N, C, H, W); `padding` is an int or 4, last side first."""

    _spatial = 2


class ConstantPad3d(_ConstantPad):
    """Puts a border of one value around (N, C, D, H, W); `padding` is an int or 6, last side first."""

    _spatial = 3


class ZeroPad1d(_Pad):
    """Puts a border of zeros around (N, C, L); `padding` is an int or 2, last side first."""

    _spatial = 1


class ZeroPad2d(_Pad):
    """Puts a border of zeros around (N, C, H, W); `padding` is an int or 4, last side first."""

    _spatial = 2


class ZeroPad3d(_Pad):
    """Puts a border of zeros around (N, C, D, H, W); `padding` is an int or 6, last side first."""

    _spatial = 3


class ReflectionPad1d(_Pad):
    """Puts a mirrored border (without the edge) around (N, C, L); `padding` is an int or 2, last side first."""

    _spatial = 1
    _mode = "reflect"


class ReflectionPad2d(_Pad):
    """Puts a mirrored border (without the edge) around (N, C, H, W); `padding` is an int or 4, last side first."""

    _spatial = 2
    _mode = "reflect"


class ReflectionPad3d(_Pad):
    """Puts a mirrored border (without the edge) around (N, C, D, H, W); `padding` is an int or 6, last side first."""

    _spatial = 3
    _mode = "reflect"


class ReplicationPad1d(_Pad):
    """Puts a border that repeats the edge around (N, C, L); `padding` is an int or 2, last side first."""

    _spatial = 1
    _mode = "replicate"


class ReplicationPad2d(_Pad):
    """Puts a border that repeats the edge around (N, C, H, W); `padding` is an int or 4, last side first."""

    _spatial = 2
    _mode = "replicate"


class ReplicationPad3d(_Pad):
    """Puts a border that repeats the edge around (N, C, D, H, W); `padding` is an int or 6, last side first."""

    _spatial = 3
    _mode = "replicate"


class CircularPad1d(_Pad):
    """Puts a border that is the other side around (N, C, L); `padding` is an int or 2, last side first."""

    _spatial = 1
    _mode = "circular"


class CircularPad2d(_Pad):
    """Puts a border that is the other side around (N, C, H, W); `padding` is an int or 4, last side first."""

    _spatial = 2
    _mode = "circular"


class CircularPad3d(_Pad):
    """Puts a border that is the other side around (N, C, D, H, W); `padding` is an int or 6, last side first."""

    _spatial = 3
    _mode = "circular"
