"""Views and copies by memory: as_strided over a tensor's storage, resizing in place, and views as fresh copies."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dtypes import as_dtype, default_dtype
from . import modes, shapes
from .device import address, default_device, make_on
from .families import with_out
from .functions import call as _call
from .memory_format import with_options
from .methods import clone
from .placement import beside, moved
from .tensor import Tensor, wrap

_COPIES = (
    "diagonal", "expand", "permute", "transpose", "unsqueeze", "unfold", "view_as_complex", "view_as_real", "narrow",
    "select", "squeeze", "t", "unbind", "split", "split_with_sizes", "as_strided", "view",
)  # fmt: skip
FUNCTIONS = (
    "alias_copy", "as_strided", "as_strided_scatter", "detach_copy", "empty_permuted", "empty_strided", "fill",
    "slice_copy", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes",
    *(f"{name}_copy" for name in _COPIES),
)  # fmt: skip
METHODS = (
    "as_strided", "as_strided_scatter", "narrow_copy", "new_empty_strided", "resize_", "resize_as_", "unsafe_chunk",
    "unsafe_split", "unsafe_split_with_sizes",
)  # fmt: skip

__all__ = [*FUNCTIONS, "FUNCTIONS", "METHODS"]


# -- strides -----------------------------------------------------------------------------------------------------------


def _larger(array: Any) -> Any:
    """The array that this one is a view of; None where there is none, or one of no elements."""
    base = array.base
    is_array = isinstance(base, np.ndarray) or hasattr(base, "__cuda_array_interface__")
    return base if is_array and base.size else None


def _storage(array: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], int]:
    """The whole memory that an array is part of, as a vector of its dtype, and the position of its first element."""
    base = array
    while (larger := _larger(base)) is not None:
        base = larger
    offset = (address(array) - address(base)) // array.itemsize
    flat = base
    if not base.flags.c_contiguous:
        flat = base.transpose(sorted(range(base.ndim), key=lambda d: -base.strides[d]))
        if not flat.flags.c_contiguous:
            return array, 0
    return flat.reshape(-1).view(array.dtype), offset


def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the input's memory with these sizes, strides (in elements) and first element.

    The memory is that of the tensor the input is a view of. RuntimeError where the view would leave it.

    >>> ingot.as_strided(ingot.arange(6), (2, 2), (1, 2))
    tensor([[0, 2],
            [1, 3]])
    """
    size, stride = ((v,) if isinstance(v, int) else tuple(v) for v in (size, stride))
    array = input._array
    if modes.current_mode() is not None:
        return _call("as_strided", input, size, stride, storage_offset or 0)  # type: ignore[no-any-return]
    storage, own = _storage(array)
    offset = own if storage_offset is None else storage_offset
    if array.flags.c_contiguous and (own == 0 or not array.size) and storage.size == array.size:
        return _call("as_strided", input, size, stride, offset)  # type: ignore[no-any-return]
    if input.requires_grad:
        return _strided_by_position(input, size, stride, offset, own)
    whole = _call("as_strided", wrap(storage), size, stride, offset)
    result = wrap(whole._array)
    result._alias_of = input
    return result


def _strided_by_position(input: Tensor, size: Any, stride: Any, offset: int, own: int) -> Tensor:
    """The same elements as a copy, taken from the input by position, so that gradients reach it."""
    array = input._array
    steps = [s // array.itemsize for s in array.strides]
    held = np.lib.stride_tricks.as_strided(np.zeros(1, np.int64), array.shape, (0,) * array.ndim) + own
    for axis, step in enumerate(steps):
        held = held + (np.arange(array.shape[axis]) * step).reshape(-1, *(1,) * (array.ndim - axis - 1))
    wanted = np.full(size, offset)
    for axis, step in enumerate(stride):
        wanted = wanted + (np.arange(size[axis]) * step).reshape(-1, *(1,) * (len(size) - axis - 1))
    order = np.argsort(held, axis=None, kind="stable")
    ranked = held.reshape(-1)[order]
    places = np.searchsorted(ranked, wanted)
    if wanted.size and not (ranked[np.minimum(places, ranked.size - 1)] == wanted).all():
        raise RuntimeError("as_strided: of a tensor that requires grad only its own elements can be viewed")
    flat = _call("reshape", input, -1)
    found = _call("index_select", flat, 0, moved(wrap(order[places].reshape(-1)), input.device))
    return _call("reshape", found, *size)  # type: ignore[no-any-return]


@beside
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A copy of the input with `src` written where `as_strided` with the same arguments would view it.

    >>> ingot.as_strided_scatter(ingot.zeros(2, 2), ingot.ones(2), (2,), (3,))
    tensor([[1., 0.],
            [0., 1.]])
    """
    size, stride = tuple(size), tuple(stride)
    if tuple(src.shape) != size:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
            f"{list(size)}"
        )
    flat = _call("reshape", input, -1)
    positions = _call("arange", 0, flat.shape[0], 1)
    places = _call("as_strided", positions, size, stride, storage_offset or 0)
    written = _call("index_put", flat, (_call("reshape", places, -1),), _call("reshape", src, -1), spec=("tensor",))
    return _call("reshape", written, tuple(input.shape))  # type: ignore[no-any-return]


@with_options
def empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with these sizes and strides whose elements are whatever was in memory.

    >>> ingot.empty_strided((2, 3), (1, 2)).stride()
    (1, 2)
    """
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride):
        raise RuntimeError(f"mismatch in length of strides and shape: given {list(size)} and {list(stride)}")
    element = default_dtype() if dtype is None else as_dtype(dtype)
    count = 0 if 0 in size else 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    steps = tuple(s * element.itemsize for s in stride)
    array = make_on(
        default_device(), lambda xp: xp.lib.stride_tricks.as_strided(xp.empty(count, element.numpy), size, steps)
    )
    result = wrap(array)
    return result.requires_grad_() if requires_grad else result


@with_options
def empty_permuted(
    size: Any, physical_layout: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of that size without gaps, whose dimensions lie in memory in this order, outermost first.

    >>> ingot.empty_permuted((2, 3, 4), (0, 2, 1)).stride()
    (12, 1, 3)
    """
    size, order = tuple(size), tuple(physical_layout)
    if len(size) != len(order):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
            f"{len(size)} is not equal to len(physical_layout) = {len(order)}"
        )
    if sorted(order) != list(range(len(size))):
        raise RuntimeError(f"empty_permuted: expected physical_layout to be a permutation, given {list(order)}")
    element = default_dtype() if dtype is None else as_dtype(dtype)
    memory = make_on(default_device(), lambda xp: xp.empty([size[d] for d in order], element.numpy))
    result = wrap(memory.transpose(np.argsort(order).tolist()))
    return result.requires_grad_() if requires_grad else result


def new_empty_strided(self: Tensor, size: Any, stride: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """`ingot.empty_strided` with this tensor's dtype unless another is given."""
    options.setdefault("device", self.device)
    return empty_strided(size, stride, dtype=dtype or self.dtype, **options)  # type: ignore[no-any-return]


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Give the tensor another size in place: elements stay in their order, further ones are whatever was in memory."""
    size = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    count = math.prod(size)
    array = self._array
    if array.flags.c_contiguous and count <= array.size:
        self._array = array.reshape(-1)[:count].reshape(size)
        return self
    memory = make_on(self.device, lambda xp: xp.empty(count, array.dtype))
    kept = min(count, array.size)
    memory[:kept] = np.ravel(array)[:kept]
    self._array = memory.reshape(size)
    return self


def resize_as_(self: Tensor, other: Tensor, *, memory_format: Any = None) -> Tensor:
    """`resize_` to the size of another tensor."""
    return resize_(self, tuple(other.shape))


@beside
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor of the input's size and dtype with every element `value`, which may be a tensor of rank 0.

    >>> ingot.fill(ingot.zeros(2), 3)
    tensor([3., 3.])
    """
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"fill only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions."
            )
        value = _call("cast", value, dtype=input.dtype)
        return clone(_call("expand", value, tuple(input.shape)))
    filled = _call("full", tuple(input.shape), value, dtype=input.dtype)
    if not input.requires_grad:
        return filled  # type: ignore[no-any-return]
    return _call("where", _call("full", (), False, dtype="bool"), input, filled)  # type: ignore[no-any-return]


# -- pieces that share no memory ---------------------------------------------------------------------------------------


def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """`ingot.chunk`.

    >>> [part.tolist() for part in ingot.unsafe_chunk(ingot.arange(3), 2)]
    [[0, 1], [2]]
    """
    return shapes.chunk(input, chunks, dim)


def unsafe_split(input: Tensor, split_size: Any, dim: int = 0) -> Any:
    """`ingot.split`.

    >>> [part.tolist() for part in ingot.unsafe_split(ingot.arange(3), 2)]
    [[0, 1], [2]]
    """
    return shapes.split(input, split_size, dim)


def unsafe_split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> Any:
    """`ingot.split` with a list of sizes."""
    return shapes.split(input, list(split_sizes), dim)


def alias_copy(input: Tensor) -> Tensor:
    """A copy of the tensor.

    >>> ingot.alias_copy(ingot.ones(2))
    tensor([1., 1.])
    """
    return clone(input)


def detach_copy(input: Tensor) -> Tensor:
    """A copy without history.

    >>> ingot.detach_copy(ingot.ones(1, requires_grad=True)).requires_grad
    False
    """
    return clone(input.detach())  # type: ignore[attr-defined]


def slice_copy(input: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    """A copy of a slice along a dimension.

    >>> ingot.slice_copy(ingot.arange(5), 0, 1, 4, 2)
    tensor([1, 3])
    """
    return clone(_call("slice", input, start, end, dim=dim, step=step))


def _copied(result: Any) -> Any:
    if isinstance(result, Tensor):
        return clone(result)
    return tuple(clone(part) for part in result)


def _copy_of(name: str) -> Callable[..., Any]:
    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        return _copied(getattr(Tensor, name)(input, *args, **kwargs))

    function.__name__ = function.__qualname__ = f"{name}_copy"
    function.__doc__ = f"What `{name}` gives, as a copy that shares no memory with the input."
    return function


for _name in _COPIES:
    globals()[f"{_name}_copy"] = with_out(_copy_of(_name))
for _name in ("alias_copy", "as_strided_scatter", "detach_copy", "slice_copy", "fill"):
    globals()[_name] = with_out(globals()[_name])
