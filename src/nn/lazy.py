"""Layers that take their input sizes from the first input."""

from typing import Any

from ..eager.creation import empty, zeros
from ..eager.tensor import Tensor
from ..ir.dtypes import as_dtype, default_dtype
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .layers import BatchNorm1d, BatchNorm2d, Linear
from .module import Module
from .norm import BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .parameter import Buffer, Parameter

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
    "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d",
    "LazyInstanceNorm3d", "LazyLinear", "UninitializedBuffer", "UninitializedParameter",
]  # fmt: skip


def is_lazy(value: Any) -> bool:
    """Whether a parameter or buffer waits for its shape."""
    return isinstance(value, (UninitializedParameter, UninitializedBuffer))


class _Shapeless:
    """What has no shape yet: asking for it is a RuntimeError."""

    @property
    def shape(self) -> Any:
        """RuntimeError: there is no shape yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )


class UninitializedBuffer(_Shapeless, Buffer):
    """A buffer whose shape is not known yet: `materialize` gives it one and makes it an ordinary buffer."""

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> None:
        element = default_dtype() if dtype is None else as_dtype(dtype)
        super().__init__(empty(0, dtype=element, device=device))

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Take this shape; the values are arbitrary until they are set."""
        element = self.dtype if dtype is None else as_dtype(dtype)
        self._array = zeros(tuple(shape), dtype=element, device=device or self.device)._array
        self.__class__ = Buffer  # type: ignore[assignment]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override,unused-ignore]
        return "<UninitializedBuffer>"


class UninitializedParameter(_Shapeless, Parameter):
    """A parameter whose shape is not known yet: `materialize` gives it one and makes it an ordinary parameter."""

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        element = default_dtype() if dtype is None else as_dtype(dtype)
        super().__init__(empty(0, dtype=element, device=device), requires_grad)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Take this shape; the values are arbitrary until they are set."""
        element = self.dtype if dtype is None else as_dtype(dtype)
        self._array = zeros(tuple(shape), dtype=element, device=device or self.device)._array
        self.__class__ = Parameter  # type: ignore[assignment]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override,unused-ignore]
        return "<UninitializedParameter>"


class _Lazy(Module):
    """Makes a layer lazy: before the first call its sizes are read from the input, and it becomes the plain layer."""

    _plain: type[Module]
    _size_name = "in_channels"
    _sized: tuple[str, ...] = ("weight",)

    def _begin(self, dtype: Any) -> None:
        """Parameters without a shape in place of those that the plain layer has."""
        for name in self._sized:
            plain = self._parameters.get(name)
            if plain is not None:
                self._parameters[name] = UninitializedParameter(dtype=dtype, device=plain.device)
        setattr(self, self._size_name, 0)
        self._size_hook = self.register_forward_pre_hook(type(self)._complete)

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter waits for the first input."""
        return any(isinstance(p, UninitializedParameter) for p in self._parameters.values())

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        raise NotImplementedError

    def _complete(self, args: tuple[Any, ...]) -> None:
        size = self._size(args[0])
        setattr(self, self._size_name, size)
        if self.has_uninitialized_params():
            for name, shape in self._shapes(size).items():
                parameter = self._parameters.get(name)
                if isinstance(parameter, UninitializedParameter):
                    parameter.materialize(shape)
            self._reset(size)
        self._size_hook.remove()
        del self._size_hook
        self.__class__ = self._plain  # type: ignore[assignment]

    def _size(self, input: Tensor) -> int:
        raise NotImplementedError

    def _reset(self, size: int) -> None:
        self.reset_parameters()  # type: ignore[operator]


class LazyLinear(_Lazy, Linear):  # type: ignore[misc]
    """Linear whose in_features come from the first input.

    >>> layer = ingot.nn.LazyLinear(2)
    >>> layer(ingot.ones(3, 5)).shape, layer
    (ingot.Size([3, 2]), Linear(in_features=5, out_features=2, bias=True))
    """

    _plain = Linear
    _size_name = "in_features"

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        Linear.__init__(self, 1, out_features, bias, device, dtype)
        self._begin(dtype)

    def _size(self, input: Tensor) -> int:
        return input.shape[-1]

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.out_features, size)}


class _LazyConv(_Lazy):
    def __init__(self, out_channels: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        groups = kwargs.get("groups", args[self._groups_at] if len(args) > self._groups_at else 1)
        self._plain.__init__(self, groups, out_channels, kernel_size, *args, **kwargs)  # type: ignore[call-arg,arg-type]
        self._begin(kwargs.get("dtype"))

    # Where `groups` stands among the arguments after kernel_size.
    _groups_at = 3

    def _size(self, input: Tensor) -> int:
        spatial: int = self._spatial  # type: ignore[assignment]
        if input.ndim not in (spatial + 1, spatial + 2):
            raise RuntimeError(f"Expected {spatial + 1}D or {spatial + 2}D input to {type(self).__name__}, but got "
                               f"input of size: {list(input.shape)}")  # fmt: skip
        return input.shape[-spatial - 1]

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        if size % self.groups:  # type: ignore[operator]
            raise ValueError(f"in_channels must be divisible by groups, given {size} and {self.groups}")
        return {"weight": self._weight_shape()}  # type: ignore[operator]


class LazyConv1d(_LazyConv, Conv1d):  # type: ignore[misc]
    """Conv1d whose in_channels come from the first input."""

    _plain = Conv1d


class LazyConv2d(_LazyConv, Conv2d):  # type: ignore[misc]
    """Conv2d whose in_channels come from the first input."""

    _plain = Conv2d


class LazyConv3d(_LazyConv, Conv3d):  # type: ignore[misc]
    """Conv3d whose in_channels come from the first input."""

    _plain = Conv3d


class LazyConvTranspose1d(_LazyConv, ConvTranspose1d):  # type: ignore[misc]
    """ConvTranspose1d whose in_channels come from the first input."""

    _plain = ConvTranspose1d


class LazyConvTranspose2d(_LazyConv, ConvTranspose2d):  # type: ignore[misc]
    """ConvTranspose2d whose in_channels come from the first input."""

    _plain = ConvTranspose2d


class LazyConvTranspose3d(_LazyConv, ConvTranspose3d):  # type: ignore[misc]
    """ConvTranspose3d whose in_channels come from the first input."""

    _plain = ConvTranspose3d


class _LazyNorm(_Lazy):
    _size_name = "num_features"
    _sized = ("weight", "bias")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._plain.__init__(self, 1, *args, **kwargs)  # type: ignore[call-arg,arg-type]
        self._begin(kwargs.get("dtype"))

    def _size(self, input: Tensor) -> int:
        spatial = getattr(self, "_spatial", None)
        return input.shape[1] if spatial is None else input.shape[-spatial - 1]

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (size,), "bias": (size,)}

    def _complete(self, args: tuple[Any, ...]) -> None:
        size = self._size(args[0])
        for name in ("running_mean", "running_var"):
            buffer = self._buffers.get(name)
            if buffer is not None and buffer.shape[0] != size:
                self._buffers[name] = buffer.new_full((size,), float(name == "running_var"))
        super()._complete(args)

    def _reset(self, size: int) -> None:
        if self._parameters.get("weight") is not None:
            self.weight._array[...] = 1
        if self._parameters.get("bias") is not None:
            self.bias._array[...] = 0


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):  # type: ignore[misc]
    """BatchNorm1d whose num_features come from the first input."""

    _plain = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):  # type: ignore[misc]
    """BatchNorm2d whose num_features come from the first input."""

    _plain = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):  # type: ignore[misc]
    """BatchNorm3d whose num_features come from the first input."""

    _plain = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):  # type: ignore[misc]
    """InstanceNorm1d whose num_features come from the first input."""

    _plain = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):  # type: ignore[misc]
    """InstanceNorm2d whose num_features come from the first input."""

    _plain = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):  # type: ignore[misc]
    """InstanceNorm3d whose num_features come from the first input."""

    _plain = InstanceNorm3d
