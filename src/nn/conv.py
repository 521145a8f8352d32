"""Convolution layers and their transposes in one to three dimensions."""

import math
from typing import Any

from ..eager.creation import empty
from ..eager.tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter
from .windows import spread

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What the convolutions share: arguments, parameters and their first values."""

    _spatial = 0
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        n = self._spatial
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError(f"in_channels must be divisible by groups, given {in_channels} and {groups}")
        if out_channels % groups:
            raise ValueError(f"out_channels must be divisible by groups, given {out_channels} and {groups}")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode='{padding_mode}'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = spread(kernel_size, n, "kernel_size")
        self.stride = spread(stride, n, "stride")
        self.dilation = spread(dilation, n, "dilation")
        self.groups = groups
        self.padding_mode = padding_mode
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string '{padding}', should be one of 'same', 'valid'")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
            self.padding: Any = padding
        else:
            self.padding = spread(padding, n, "padding")
        self._border = self._border_sizes()
        self.weight = Parameter(empty(*self._weight_shape(), dtype=dtype, device=device))
        if bias:
            self.bias = Parameter(empty(out_channels, dtype=dtype, device=device))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _border_sizes(self) -> tuple[int, ...]:
        """What `pad` takes to put a border that is not of zeros around the input, last dimension first."""
        if isinstance(self.padding, str):
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            if self.padding == "valid":
                totals = [0] * len(totals)
            return tuple(n for t in reversed(totals) for n in (t // 2, t - t // 2))
        return tuple(n for p in reversed(self.padding) for n in (p, p))

    def _weight_shape(self) -> tuple[int, ...]:
        outer, inner = self.out_channels, self.in_channels
        if self._transposed:
            outer, inner = inner, outer
        return (outer, inner // self.groups, *self.kernel_size)

    def reset_parameters(self) -> None:
        """Draw new weights."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init.fan_in_and_out(self.weight)
            if fan_in:
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def extra_repr(self) -> str:
        n = self._spatial
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * n:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            text += f", dilation={self.dilation}"
        if getattr(self, "output_padding", (0,) * n) != (0,) * n:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text + ("" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode}")


class Conv1d(_ConvNd):
    """1-D convolution: (N, in_channels, L) -> (N, out_channels, L').

    `padding` is a number, "valid" or "same"; `padding_mode` is zeros, reflect, replicate or circular.
    """

    _spatial = 1

    def forward(self, input: Tensor) -> Tensor:
        if self.padding_mode != "zeros":
            bordered = F.pad(input, self._border, self.padding_mode)
            return F.conv1d(bordered, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return F.conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_ConvNd):
    """2-D convolution: (N, in_channels, H, W) -> (N, out_channels, H', W').

    `padding` is a number, a pair, "valid" or "same"; `padding_mode` is zeros, reflect, replicate or circular.

    >>> ingot.nn.Conv2d(1, 4, 3, padding="same")(ingot.ones(2, 1, 8, 8)).shape
    ingot.Size([2, 4, 8, 8])
    """

    _spatial = 2

    def forward(self, input: Tensor) -> Tensor:
        if self.padding_mode != "zeros":
            bordered = F.pad(input, self._border, self.padding_mode)
            return F.conv2d(bordered, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv3d(_ConvNd):
    """3-D convolution: (N, in_channels, D, H, W) -> (N, out_channels, D', H', W')."""

    _spatial = 3

    def forward(self, input: Tensor) -> Tensor:
        if self.padding_mode != "zeros":
            bordered = F.pad(input, self._border, self.padding_mode)
            return F.conv3d(bordered, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return F.conv3d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class _ConvTransposeNd(_ConvNd):
    """What the transposed convolutions share; `output_size` of a call chooses among the sizes that a stride allows."""

    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        self.output_padding = spread(output_padding, self._spatial, "output_padding")

    def _extra(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives `output_size`; ValueError where the stride cannot."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self._spatial :]
        extra = []
        for size, want, k, s, p, d in zip(
            input.shape[-self._spatial :],
            wanted,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            strict=True,
        ):
            least = (size - 1) * s - 2 * p + d * (k - 1) + 1
            if not least <= want < least + s:
                raise ValueError(
                    f"requested an output size of {tuple(output_size)}, but each must be within a stride "
                    f"of the smallest, here {least} to {least + s - 1}, for an input of {list(input.shape)}"
                )
            extra.append(want - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed 1-D convolution: (N, in_channels, L) -> (N, out_channels, L')."""

    _spatial = 1

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self._extra(input, output_size)
        return F.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed 2-D convolution: (N, in_channels, H, W) -> (N, out_channels, H', W')."""

    _spatial = 2

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self._extra(input, output_size)
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed 3-D convolution: (N, in_channels, D, H, W) -> (N, out_channels, D', H', W')."""

    _spatial = 3

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self._extra(input, output_size)
        return F.conv_transpose3d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )
