"""PyTorch's call forms that one op record does not cover, and methods of tensors that are not ops."""

import builtins
from typing import Any

import numpy as np

from ..ir.dtypes import DType, as_dtype
from ..ir.ops._op import Op, get_op
from . import indexing
from .device import as_device, device
from .dispatch import dispatch
from .functions import __getattr__ as _op_function
from .tensor import Tensor, wrap


def _f(name: str) -> Any:
    return _op_function(name)


def _call(name: str, *operands: Any, **attributes: Any) -> Any:
    op: Op = get_op(name)
    bound, normalised = op.schema.bind(*operands, **attributes)
    return dispatch(op, bound, normalised)


# -- arithmetic with alpha -----------------------------------------------------------------------------------------


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """Elementwise `input + alpha * other`.

    >>> ingot.add(ingot.tensor([1.0, 2.0]), 1, alpha=3)
    tensor([4., 5.])
    """
    return _call("add", input, other if alpha == 1 else _scale(other, alpha))  # type: ignore[no-any-return]


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """Elementwise `input - alpha * other`."""
    return _call("sub", input, other if alpha == 1 else _scale(other, alpha))  # type: ignore[no-any-return]


def _scale(other: Any, alpha: Any) -> Any:
    return _call("mul", other, alpha) if isinstance(other, Tensor) else other * alpha


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Elementwise quotient; `rounding_mode` "floor" rounds down, "trunc" toward 0, None divides truly."""
    if rounding_mode is None:
        return _call("div", input, other)  # type: ignore[no-any-return]
    if rounding_mode == "floor":
        return _call("floor_divide", input, other)  # type: ignore[no-any-return]
    if rounding_mode == "trunc":
        quotient = _call("trunc", _call("div", input, other))
        kinds = [x.dtype for x in (input, other) if isinstance(x, Tensor)]
        return quotient if any(k.category > 1 for k in kinds) else _call("cast", quotient, dtype=kinds[0])  # type: ignore[no-any-return]
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """Elementwise `other - alpha * input`."""
    return sub(other, input, alpha=alpha)


def _inplace(name: str) -> Any:
    def method(self: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
        plain = getattr(Tensor, f"__i{name}__")
        return plain(self, other if alpha == 1 else _scale(other, alpha))  # type: ignore[no-any-return]

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"In-place version of `{name}`; returns the tensor itself."
    return method


# -- parts ---------------------------------------------------------------------------------------------------------


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts of one dimension: parts of a size (the last may be smaller), or of the given sizes.

    >>> ingot.split(ingot.arange(5), 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    size = tensor.shape[dim]
    if isinstance(split_size_or_sections, (list, tuple)):
        sections = list(split_size_or_sections)
        if builtins.sum(sections) != size:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {size} (the size of dimension {dim}), "
                f"but got split_sizes={sections}"
            )
    else:
        step = int(split_size_or_sections)
        if step < 0 or (step == 0 and size):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
        sections = [builtins.min(step, size - i) for i in builtins.range(0, size, step)] if size else [0]
    parts = []
    start = 0
    for length in sections:
        parts.append(_call("slice", tensor, start, start + length, dim=dim))
        start += length
    return tuple(parts)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of about equal consecutive parts of one dimension, at most `chunks` of them."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    size = input.shape[dim]
    return split(input, builtins.max(1, -(-size // chunks)), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of every slice along one dimension, without that dimension."""
    return tuple(_call("select", input, i, dim=dim) for i in builtins.range(input.shape[dim]))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The view of `length` elements of a dimension from `start`."""
    size = input.shape[dim]
    first = start + size if start < 0 else start
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if first < 0 or first + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return _call("slice", input, first, first + length, dim=dim)  # type: ignore[no-any-return]


# -- reductions with several forms ---------------------------------------------------------------------------------


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; with `dim` the pair (values, indices) along it; with a tensor the elementwise maximum."""
    return _extreme("max", "amax", "maximum", input, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; with `dim` the pair (values, indices) along it; with a tensor the elementwise minimum."""
    return _extreme("min", "amin", "minimum", input, dim, keepdim)


def _extreme(name: str, full: str, pairwise: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    if isinstance(dim, Tensor):
        return _call(pairwise, input, dim)
    if dim is None:
        if 0 in input._array.shape:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                "with the 'dim' argument."
            )
        return _call(full, input)
    return _call(f"{name}_dim", input, dim=dim, keepdim=keepdim)


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """The view without dimensions of size 1: all of them, or those given that have size 1."""
    return _call("squeeze", input, dim=dim)  # type: ignore[no-any-return]


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Elements of `input` where the condition holds, else of `other`; alone, the indices of its true elements."""
    if input is None and other is None:
        return _call("nonzero", condition).unbind(1)
    return _call("where", condition, input, other)


# -- methods that are not ops --------------------------------------------------------------------------------------


def _to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor with another dtype or device: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`."""
    dtype: Any = kwargs.pop("dtype", None)
    copy = kwargs.pop("copy", False)
    target: Any = kwargs.pop("device", None)
    kwargs.pop("non_blocking", None)
    kwargs.pop("memory_format", None)
    if kwargs:
        raise TypeError(f"to() got unexpected keyword arguments {', '.join(kwargs)}")
    for a in args:
        if isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, DType) or a in (float, int, bool, complex) or isinstance(a, np.dtype):
            dtype = as_dtype(a)
        elif isinstance(a, (str, device)):
            target = a
        elif not isinstance(a, bool):
            raise TypeError(f"to() received an invalid argument: expected a dtype, device or Tensor, given {a!r}")
    if target is not None:
        as_device(target)
    if dtype is None or as_dtype(dtype) is self.dtype:
        return _call("clone", self) if copy else self  # type: ignore[no-any-return]
    return _call("cast", self, dtype=as_dtype(dtype))  # type: ignore[no-any-return]


def _converter(name: str) -> Any:
    dtype = as_dtype(name)

    def method(self: Tensor) -> Tensor:
        return _to(self, dtype)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor as {dtype.name}; itself where it is that already."
    return method


def _view(self: Tensor, *shape: Any) -> Tensor:
    """A view of the same memory in another shape; RuntimeError where the strides do not allow one."""
    if len(shape) == 1 and isinstance(shape[0], DType):
        return _view_as_dtype(self, shape[0])
    result: Tensor = _call("reshape", self, *shape)
    if self._array.size and not np.may_share_memory(result._array, self._array):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return result


def _view_as_dtype(self: Tensor, dtype: DType) -> Tensor:
    """The same bytes read as another element type of the same width."""
    if dtype.itemsize != self._array.itemsize:
        wanted = f"{self._array.itemsize} bytes as {self.dtype.name}"
        raise RuntimeError(f"view: expected a dtype of {wanted}, given {dtype.name}")
    return wrap(self._array.view(dtype.numpy))


def _size_method(self: Tensor, dim: int | None = None) -> Any:
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


def _copy(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Write the elements of `src`, broadcast and converted, into this tensor; returns it."""
    from .inplace import write

    value = src if isinstance(src, Tensor) else wrap(np.asarray(src))
    return write(self, value if value.dtype is self.dtype else _call("cast", value, dtype=self.dtype), "copy_")


def _fill(self: Tensor, value: Any) -> Tensor:
    """Write one value into every element; returns the tensor."""
    from .inplace import write

    return write(self, _call("full", tuple(self.shape), _plain(value), dtype=self.dtype), "fill_")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _zero(self: Tensor) -> Tensor:
    """Write 0 into every element; returns the tensor."""
    return _fill(self, 0)


def _detach(self: Tensor) -> Tensor:
    """The same memory without history: nothing done to the result is recorded for backward."""
    from . import modes

    if modes.active_modes and modes.state.mode is not None:
        return _call("detach", self)  # type: ignore[no-any-return]
    result = wrap(self._array)
    result._alias_of = self
    return result


def _stride(self: Tensor, dim: int | None = None) -> Any:
    """Elements to step over per index of each dimension, or of one."""
    strides = tuple(s // self._array.itemsize for s in self._array.strides)
    return strides if dim is None else strides[dim]


def _is_contiguous(self: Tensor, *, memory_format: Any = None) -> bool:
    """Whether the elements lie in memory in row-major order without gaps."""
    return self._array.flags.c_contiguous


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype of another."""
    return _to(self, other.dtype)


def _new(name: str) -> Any:
    def method(self: Tensor, *args: Any, dtype: Any = None, **kwargs: Any) -> Tensor:
        from . import creation

        return getattr(creation, name)(*args, dtype=dtype or self.dtype, **kwargs)  # type: ignore[no-any-return]

    method.__name__ = method.__qualname__ = f"new_{name}"
    method.__doc__ = f"`ingot.{name}` with this tensor's dtype unless another is given."
    return method


def is_tensor(obj: Any) -> bool:
    """Whether the object is a tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:
    """The number of elements of a tensor."""
    return _numel(input)


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements satisfy |input - other| <= atol + rtol * |other|."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.name} did not match {other.dtype.name}")
    return bool(np.allclose(input._array, other._array, rtol=rtol, atol=atol, equal_nan=equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    return bool(np.array_equal(input._array, other._array))


def install(namespace: dict[str, Any]) -> None:
    """Put these functions into the public namespace and on Tensor, over the generated ones."""
    both = (add, sub, div, split, chunk, unbind, narrow, max, min, squeeze)
    for function in both:
        name = function.__name__
        if hasattr(Tensor, name):
            function.__ingot_op__ = getattr(getattr(Tensor, name), "__ingot_op__", None)  # type: ignore[attr-defined]
        setattr(Tensor, name, function)
        namespace[name] = function
    for function in (where, is_tensor, numel, allclose, equal, rsub):
        namespace[function.__name__] = function
    Tensor.subtract = Tensor.sub  # type: ignore[attr-defined]
    Tensor.divide = Tensor.true_divide = Tensor.div  # type: ignore[attr-defined]
    namespace.update(subtract=sub, divide=div, true_divide=div)
    for name in ("add", "sub"):
        setattr(Tensor, f"{name}_", _inplace(name))
    methods: dict[str, Any] = {
        "to": _to,
        "view": _view,
        "view_as": lambda self, other: _view(self, *other.shape),
        "reshape_as": lambda self, other: _call("reshape", self, *other.shape),
        "size": _size_method,
        "numel": _numel,
        "nelement": _numel,
        "dim": lambda self: self.ndim,
        "ndimension": lambda self: self.ndim,
        "copy_": _copy,
        "fill_": _fill,
        "zero_": _zero,
        "detach": _detach,
        "stride": _stride,
        "is_contiguous": _is_contiguous,
        "type_as": _type_as,
        "allclose": allclose,
        "equal": equal,
        "cpu": lambda self: self,
        "element_size": lambda self: self._array.itemsize,
        "data_ptr": lambda self: self._array.__array_interface__["data"][0],
        "is_floating_point": lambda self: self.dtype.is_floating_point,
        "where": lambda self, condition, other: where(condition, self, other),
        "__getitem__": indexing.getitem,
        "__setitem__": indexing.setitem,
    }
    for name, method in methods.items():
        setattr(Tensor, name, method)
    for name in ("float", "double", "half", "long", "int", "short", "bool"):
        setattr(Tensor, name, _converter(name))
    for name in ("zeros", "ones", "empty", "full"):
        setattr(Tensor, f"new_{name}", _new(name))
    Tensor.new_tensor = _new("tensor")  # type: ignore[attr-defined]
    Tensor.T = property(lambda self: self.permute(*builtins.reversed(builtins.range(self.ndim))))  # type: ignore[attr-defined]
    Tensor.mT = property(lambda self: self.transpose(-2, -1))  # type: ignore[attr-defined]
