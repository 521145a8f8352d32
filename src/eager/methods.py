"""Methods of tensors that are not ops: memory, writing whole tensors, and properties; with those of `conversion`."""

import builtins
import warnings
from typing import Any

import numpy as np

from ..ir.dtypes import DType
from . import modes
from .conversion import CONVERSIONS, clone
from .device import address, is_host, is_writable, make_on, require_same_device
from .functions import call as _call
from .inplace import alias, check_writable, snapshot, write
from .memory_format import is_in_format, strided
from .tensor import Tensor, wrap

__all__ = ["METHODS", "PROPERTIES", "clone", "inplace_of", "write_out"]


# -- shape and memory ----------------------------------------------------------------------------------------------


def _view(self: Tensor, *shape: Any, dtype: DType | None = None, size: Any = None) -> Tensor:
    """A view of the same memory in another shape, or as another dtype; RuntimeError where strides do not allow it."""
    if size is not None:
        shape = tuple(size)
    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], DType)):
        return _view_as_dtype(self, dtype if dtype is not None else shape[0])
    result: Tensor = _call("reshape", self, *shape)
    if result._view is not None:  # known to share memory
        return result
    own = self._array
    is_seen = isinstance(own, np.ndarray) or not is_host(own)  # within vmap it is not
    if is_seen and own.size and not np.may_share_memory(result._array, own):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            f"contiguous subspaces): {list(self._array.shape)} with strides {list(_stride(self))} as "
            f"{list(result._array.shape)}. Use .reshape(...) instead."
        )
    return result


def _view_as_dtype(self: Tensor, dtype: DType) -> Tensor:
    """The same bytes read as another element type; a change of width changes the last size."""
    if self.requires_grad:
        raise RuntimeError("view(dtype) has no gradient: call it on tensor.detach()")
    array = self._array
    if dtype.itemsize != array.itemsize:
        if not array.ndim:
            raise RuntimeError(f"self.dim() cannot be 0 to view {self.dtype!r} as {dtype!r} (different element sizes)")
        bytes_ = array.shape[-1] * array.itemsize
        if array.strides[-1] != array.itemsize or bytes_ % dtype.itemsize:
            raise RuntimeError(
                f"view: the last dimension ({array.shape[-1]} elements of {array.itemsize} bytes) must be contiguous "
                f"and divisible into {dtype!r}s of {dtype.itemsize} bytes"
            )
    result = wrap(array.view(dtype.numpy))
    result._alias_of = self
    return result


def _size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or the size of one dimension."""
    if dim is None:
        return self.shape
    rank = builtins.max(self.ndim, 1)
    if not -rank <= dim < rank or not self.ndim:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")
    return self.shape[dim]


def _numel(self: Tensor) -> int:
    """The number of elements."""
    return self.shape.numel()


def _rank(self: Tensor) -> int:
    """The number of dimensions."""
    return self.ndim


def _stride(self: Tensor, dim: int | None = None) -> Any:
    """Elements to step over per index of each dimension, or of one."""
    strides = tuple(s // self._array.itemsize for s in self._array.strides)
    return strides if dim is None else strides[dim]


def _storage_offset(self: Tensor) -> int:
    """The position of the first element in the memory that the tensor and its views share."""
    base = self._array
    while base.base is not None and hasattr(base.base, "strides"):
        base = base.base
    return (_data_ptr(self) - address(base)) // self._array.itemsize


def _data_ptr(self: Tensor) -> int:
    """The address of the first element."""
    return address(self._array)


def _is_contiguous(self: Tensor, *, memory_format: Any = None) -> bool:
    """Whether the elements lie in memory in row-major order without gaps, or in the order of another format."""
    return self._array.flags.c_contiguous if memory_format is None else is_in_format(self._array, memory_format)


def _contiguous(self: Tensor, *, memory_format: Any = None) -> Tensor:
    """The tensor laid out in row-major order, or in a memory format: itself where it is, else a copy."""
    if memory_format is not None and not is_in_format(self._array, memory_format):
        return clone(self, memory_format=memory_format)
    if (memory_format is not None or self._array.flags.c_contiguous) and modes.current_mode() is None:
        return self
    return _call("contiguous", self)  # type: ignore[no-any-return]


def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor expanded to the shape of another, as a view."""
    return _call("expand", self, tuple(other.shape))  # type: ignore[no-any-return]


def _view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor."""
    return self.view(tuple(other.shape))  # type: ignore[attr-defined,no-any-return]


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The same elements in the shape of another tensor."""
    return _call("reshape", self, tuple(other.shape))  # type: ignore[no-any-return]


def _is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape."""
    return self._array.shape == other._array.shape


def _itself(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor itself."""
    return self


def _positive(self: Tensor) -> Tensor:
    """The tensor itself."""
    if self._array.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return self


# -- history -------------------------------------------------------------------------------------------------------


def _detach(self: Tensor) -> Tensor:
    """The same memory without history: nothing done to the result is recorded for backward."""
    if modes.active_modes and modes.state.mode is not None:
        return _call("detach", self)  # type: ignore[no-any-return]
    result = wrap(self._array)
    result._alias_of = self
    return result


def _detach_(self: Tensor) -> Tensor:
    """Take the tensor out of the graph: it becomes a leaf that does not require grad."""
    if self._view is not None:
        raise RuntimeError("Can't detach views in-place. Use detach() instead")
    self._node, self._output_index, self._requires_grad = None, 0, False
    return self


# -- writing -------------------------------------------------------------------------------------------------------


def _copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write the elements of `src`, broadcast and converted, into this tensor; returns it."""
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    recorded = modes.state.grad_enabled and (self.requires_grad or src.requires_grad)
    here, there = self._array, src._array
    real_part = there.dtype.kind == "c" != here.dtype.kind  # numpy warns of that
    if not (recorded or modes.active_modes or real_part) and here.shape == there.shape and is_writable(here):
        with np.errstate(all="ignore"):
            np.copyto(here, there, casting="unsafe")
        self.bump_version()
        return self
    return write(self, src if src.dtype is self.dtype else _call("cast", src, dtype=self.dtype), "copy_")


def _fill_(self: Tensor, value: Any) -> Tensor:
    """Write one value into every element; returns the tensor."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions."
            )
        return _copy_(self, value)
    check_writable(self, "fill_")
    if modes.current_mode() is None and not self.requires_grad:
        if value.__class__ is not float or self._array.dtype.char not in "fd":
            with modes.placing(None):
                value = _call("full", (), value, dtype=self.dtype)._array  # raises for what does not fit the dtype
            value = value if is_host(self._array) else value[()]
        with np.errstate(over="ignore"):
            self._array.fill(value)
        self.bump_version()
        return self
    with modes.placing(self.device if modes.devices else None):
        filled = _call("full", tuple(self.shape), value, dtype=self.dtype)
    if self.requires_grad:  # the result still belongs to the graph, with a gradient of 0
        filled = _call("where", _call("full", (), False, dtype="bool"), alias(self), filled)
    return write(self, filled, "fill_", fresh=True)


def _zero_(self: Tensor) -> Tensor:
    """Write 0 into every element; returns the tensor."""
    array = self._array
    if modes.active_modes or self.requires_grad or not is_writable(array):
        return _fill_(self, 0)
    array.fill(0)
    self.bump_version()
    return self


def _uniform_(self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **kwargs: Any) -> Tensor:
    """Fill with numbers uniform in [from, to); returns the tensor."""
    from .random import rand

    from_ = kwargs.pop("from", from_)
    if from_ > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={from_} > to={to}")
    draws: Any = rand(tuple(self.shape), dtype=_floating(self, "uniform_"), generator=generator, device=self.device)
    low: Any = complex(from_, from_) if self.dtype.is_complex else from_
    return write(self, draws * (to - from_) + low, "uniform_", fresh=True)


def _normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with numbers from the normal distribution; returns the tensor."""
    from .random import randn

    if std < 0:
        raise RuntimeError(f"normal_ expects std >= 0.0, but found std {std}")
    draws: Any = randn(tuple(self.shape), dtype=_floating(self, "normal_"), generator=generator, device=self.device)
    return write(self, draws * std + mean, "normal_", fresh=True)


def _bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with 1 with probability `p` (a number or a tensor), else 0; returns the tensor."""
    from .random import rand

    if not isinstance(p, Tensor) and not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    draws = rand(tuple(self.shape), generator=generator, device=self.device)
    return write(self, _call("cast", draws < p, dtype=self.dtype), "bernoulli_", fresh=True)


def _random_(self: Tensor, from_: int = 0, to: int | None = None, *, generator: Any = None) -> Tensor:
    """Fill with integers uniform in [from, to): `random_(to)` or `random_(from, to)`; returns the tensor."""
    from .random import randint

    if to is None and from_:
        from_, to = 0, from_
    if to is None:
        bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53, "bool": 1, "uint8": 8}.get(self.dtype.name)
        to = 2 ** (bits if bits is not None else 8 * self.dtype.itemsize - 1)
        to = builtins.min(to, 2**63 - 1)
    draws = randint(from_, to, tuple(self.shape), generator=generator, device=self.device)
    return write(self, _call("cast", draws, dtype=self.dtype), "random_", fresh=True)


def _floating(self: Tensor, name: str) -> DType:
    if self.dtype.category < 2:
        raise NotImplementedError(f"{name}: expected a floating-point tensor, given {self.dtype.name}")
    return self.dtype


def _fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write a value to the main diagonal; returns the tensor."""
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.ndim > 2 and len(set(self.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    if wrap:
        raise RuntimeError("fill_diagonal_: wrap=True is not supported; write to slices of tensor.view(-1)")
    part = self
    for _ in range(self.ndim - 1):
        part = _call("diagonal", part) if part is self else _call("diagonal", part, 0, 0, -1)
    _fill_(part, fill_value)
    return self


def _masked_scatter(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The tensor with the elements under the mask replaced by those of `source` in order."""
    if mask.dtype.name != "bool":
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype.name}")
    if source.dtype is not self.dtype:
        raise RuntimeError(
            f"masked_scatter_: expected self and source to have same dtypes but got {self.dtype.name} and "
            f"{source.dtype.name}"
        )
    shape = np.broadcast_shapes(mask._array.shape, self._array.shape)
    chosen = np.broadcast_to(mask._array, shape)
    count = int(chosen.sum())
    if source.numel() < count:  # type: ignore[attr-defined]
        raise RuntimeError(
            f"masked_scatter_: expected at least {count} elements in source, given {source.numel()}"  # type: ignore[attr-defined]
        )
    spec = ("tensor",)
    flat = _call("reshape", source, -1)
    values = _call("slice", flat, 0, count, dim=0)
    base = _call("expand", self, shape)
    return _call("index_put", base, (wrap(chosen.copy()),), values, spec=spec)  # type: ignore[no-any-return]


def _index_put(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """The tensor with `values` written (or, with `accumulate`, added) at `tensor[indices]`."""
    from .indexing import advanced_spec

    spec, tensors = advanced_spec(self, tuple(indices))
    return _call("index_put", self, tensors, values, spec=spec, accumulate=accumulate)  # type: ignore[no-any-return]


def inplace_of(name: str, function: Any) -> Any:
    """The method `name_` of a function of a tensor that is not one op."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_writable(self, name)
        recorded = modes.state.grad_enabled and self.requires_grad
        return write(self, function(snapshot(self) if recorded else alias(self), *args, **kwargs), name)

    method.__doc__ = f"In-place version of `{name[:-1]}`; returns the tensor itself."
    return method


def _geometry_(name: str) -> Any:
    """The method `name_` that turns the tensor into the view `name` of it."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if modes.state.grad_enabled and self.requires_grad and self._node is None and self._view is None:
            raise RuntimeError(f"{name}_: a leaf Variable that requires grad is being used in an in-place operation.")
        former = alias(self)
        former._view, former._view_version = self._view, self._view_version
        view = getattr(former, name)(*args, **kwargs)
        self._array = view._array
        self._requires_grad, self._node, self._output_index = view._requires_grad, view._node, view._output_index
        if self._view is not None:
            self._view, self._view_version = view._view, view._view_version
        return self

    method.__doc__ = f"Turn the tensor into its `{name}`, in the same memory; returns the tensor itself."
    return method


def _set_data(self: Tensor, source: Any = None) -> Tensor:
    """Let the tensor be the memory of another; returns the tensor."""
    dtype = self._array.dtype
    self._array = make_on(self.device, lambda xp: xp.empty(0, dtype)) if source is None else source._array
    return self


# What PyTorch does not convert to the dtype of `out=`, and what it computes in that dtype whatever the input's.
_EXACT = {"complex", "gather", "multinomial"}
_CONVERTED = {"cumprod", "cumsum"}


def write_out(out: Any, result: Any, name: str) -> Any:
    """Write a result into the tensors of `out=`, resized where they are empty; returns `out`."""
    if isinstance(result, tuple):
        if not isinstance(out, (tuple, list)) or len(out) != len(result):
            raise TypeError(f"{name}(): argument 'out' must be a tuple of {len(result)} Tensors")
        for target, value in zip(out, result, strict=True):
            write_out(target, value, name)
        return out
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if modes.state.grad_enabled and (result.requires_grad or out.requires_grad):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    array = out._array
    if array.size and any(step == 0 and size > 1 for step, size in zip(array.strides, array.shape, strict=True)):
        raise RuntimeError(
            f"{name}(): unsupported operation: more than one element of the written-to tensor refers to a single "
            "memory location. Please clone() the tensor before performing the operation."
        )
    if name in _EXACT and out.dtype is not result.dtype:
        raise RuntimeError(f"{name}(): Expected out tensor to have dtype {result.dtype.name}, but got {out.dtype.name}")
    if name in _CONVERTED and out.dtype is not result.dtype:
        result = _call("cast", result, dtype=out.dtype)
    if out._array.shape != result._array.shape and modes.current_mode() is None:
        if out._array.size:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out._array.shape)}, which "
                f"does not match the required output shape {list(result._array.shape)}.",
                stacklevel=3,
            )
        shape, dtype = result._array.shape, out._array.dtype
        out._array = make_on(out.device, lambda xp: xp.empty(shape, dtype))
    if modes.devices:
        require_same_device(result.device, out.device)
    return write(out, result, name, fresh=True)


def _property(op_call: Any, doc: str) -> Any:
    return property(op_call, doc=doc)


def _transposed(self: Tensor) -> Tensor:
    return _call("permute", self, *builtins.reversed(range(self.ndim)))  # type: ignore[no-any-return]


def _matrix_transposed(self: Tensor) -> Tensor:
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return _call("transpose", self, -2, -1)  # type: ignore[no-any-return]


def _adjoint_matrix(self: Tensor) -> Tensor:
    if self.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor.")
    turned = _transposed(self)
    return _call("conj", turned) if self.dtype.is_complex else turned  # type: ignore[no-any-return]


PROPERTIES: dict[str, Any] = {
    "T": _property(_transposed, "The tensor with its dimensions reversed, as a view."),
    "mT": _property(_matrix_transposed, "The tensor with its last two dimensions swapped, as a view."),
    "H": _property(_adjoint_matrix, "The transposed and conjugated matrix."),
    "itemsize": _property(lambda self: self._array.itemsize, "Bytes per element."),
    "nbytes": _property(lambda self: self._array.nbytes, "Bytes of all elements."),
    "layout": _property(lambda self: strided, "How the elements are stored: always `ingot.strided`."),
    "is_cuda": _property(lambda self: self.device.type == "cuda", "Whether the data lives on a CUDA device."),
    "is_sparse": _property(lambda self: False, "Whether the tensor is sparse; it never is."),
    "is_quantized": _property(lambda self: False, "Whether the tensor is quantised; it never is."),
}

METHODS: dict[str, Any] = {
    **CONVERSIONS,
    "view": _view,
    "view_as": _view_as,
    "reshape_as": _reshape_as,
    "expand_as": _expand_as,
    "size": _size,
    "numel": _numel,
    "nelement": _numel,
    "dim": _rank,
    "ndimension": _rank,
    "stride": _stride,
    "storage_offset": _storage_offset,
    "data_ptr": _data_ptr,
    "is_contiguous": _is_contiguous,
    "contiguous": _contiguous,
    "is_same_size": _is_same_size,
    "element_size": lambda self: self._array.itemsize,
    "is_floating_point": lambda self: self.dtype.is_floating_point,
    "is_complex": lambda self: self.dtype.is_complex,
    "is_signed": lambda self: self.dtype.is_signed,
    "get_device": lambda self: -1 if self.device.index is None else self.device.index,
    "record_stream": lambda self, stream: None,  # memory is given back in the order of the work
    "is_pinned": lambda self, device=None: False,
    "detach": _detach,
    "detach_": _detach_,
    "copy_": _copy_,
    "fill_": _fill_,
    "zero_": _zero_,
    "uniform_": _uniform_,
    "normal_": _normal_,
    "bernoulli_": _bernoulli_,
    "random_": _random_,
    "fill_diagonal_": _fill_diagonal_,
    "masked_scatter": _masked_scatter,
    "masked_scatter_": inplace_of("masked_scatter_", _masked_scatter),
    "index_put": _index_put,
    "index_put_": inplace_of("index_put_", _index_put),
    "set_": _set_data,
    "positive": _positive,
    "__pos__": _positive,
}
for _name in ("t", "transpose", "swapaxes", "unsqueeze", "squeeze"):
    METHODS[f"{_name}_"] = _geometry_(_name)
for _name, _method in METHODS.items():
    if _method.__name__ in ("method", "<lambda>"):
        _method.__name__ = _method.__qualname__ = _name
